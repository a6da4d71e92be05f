//! The arguments, and which of them belong together.

use aws::AwsArgs;
use clap::builder::NonEmptyStringValueParser;
use kit::{Env, Failure};

/// The arguments of `mute-alerts`.
#[derive(clap::Args, Clone, Debug)]
#[command(about = "Silence a topic's subscriptions and alarms, and restore them", long_about = include_str!("help.md"))]
pub struct Args {
    /// What to do
    #[arg(long, value_enum, value_name = "VERB")]
    pub(crate) action: Act,

    /// A topic, by its exact name or ARN; may be repeated
    #[arg(long, value_name = "TOPIC", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) topic: Vec<String>,

    /// An address (endpoint) of a subscription that stays as it is; on: is restored if it was muted; may be repeated
    #[arg(long, value_name = "ENDPOINT", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) keep: Vec<String>,

    /// An alarm, by its exact name; may be repeated
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) alarm: Vec<String>,

    /// All alarms whose name begins so; may be repeated
    #[arg(long, value_name = "PREFIX", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) alarm_prefix: Vec<String>,

    /// on: whose silence it is, for people who find it [default: in a GitHub job its workflow run; elsewhere `a terminal`]
    #[arg(long, value_name = "TEXT", value_parser = holder)]
    pub(crate) release: Option<String>,

    #[command(flatten)]
    pub(crate) aws: AwsArgs,
}

/// The verbs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Act {
    /// Silence
    On,
    /// Restore
    Off,
    /// Say what is silenced, by whom and since when
    Status,
}

impl Args {
    /// What can't work is found here, before any call. Returns whose silence it is.
    pub(crate) fn check(&self, env: &Env) -> Result<String, Failure> {
        if self.topic.is_empty() && self.alarm.is_empty() && self.alarm_prefix.is_empty() {
            return Err(Failure::usage("mute alerts")
                .because("neither a topic nor an alarm is named")
                .help("add --topic, --alarm or --alarm-prefix"));
        }
        if self.topic.is_empty() && !self.keep.is_empty() {
            return Err(Failure::usage("use --keep without --topic")
                .because("it names the address of a topic's subscription")
                .help("add --topic, or leave --keep out"));
        }
        Ok(self.release.clone().or_else(|| run_of(env)).unwrap_or_else(|| "a terminal".to_owned()))
    }
}

/// The workflow run, the same in every job and attempt. Numbers alone: a repository's name can be a person's.
///
/// Source: <https://docs.github.com/en/actions/reference/workflows-and-actions/variables>
fn run_of(env: &Env) -> Option<String> {
    if !env.in_github_job() {
        return None;
    }
    let run = env.get("GITHUB_RUN_ID")?;
    Some(match env.get("GITHUB_REPOSITORY_ID") {
        Some(repository) => format!("run {run} of repository {repository}"),
        None => format!("run {run}"),
    })
}

/// What the value of a tag may hold.
///
/// Source: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_Tag.html>
fn holder(text: &str) -> Result<String, String> {
    let plain = |char: char| char.is_ascii_alphanumeric() || " ._:/+-".contains(char);
    if text.is_empty() || text.len() > 100 || !text.chars().all(plain) || text.trim() != text {
        return Err("write up to 100 letters, digits, blanks and ._:/+-, as in v2.1.0".to_owned());
    }
    Ok(text.to_owned())
}
