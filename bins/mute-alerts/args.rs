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
    #[arg(long, value_name = "TEXT", value_parser = kit::parse_release)]
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
        Ok(env.release(self.release.as_deref()))
    }
}
