//! The arguments, and which of them belong together.

use aws::AwsArgs;
use clap::builder::NonEmptyStringValueParser;
use kit::{Env, Failure};

/// The arguments of `toggle-schedule`.
#[derive(clap::Args, Clone, Debug)]
#[command(about = "Enable, disable or assert a scheduled rule, and put it back", long_about = include_str!("help.md"))]
pub struct Args {
    /// What to do
    #[arg(long, value_enum, value_name = "VERB")]
    pub(crate) action: Act,

    /// A rule, by its exact name; may be repeated
    #[arg(long, required = true, value_name = "NAME", value_parser = rule)]
    pub(crate) rule: Vec<String>,

    /// The event bus that has the rules, by its name or ARN
    #[arg(long, value_name = "BUS", default_value = "default", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) event_bus: String,

    /// assert: the state that every rule must be in
    #[arg(long, value_enum, value_name = "STATE")]
    pub(crate) expect: Option<Expect>,

    /// enable, disable: the change is meant to stay; nothing is saved for `restore`
    #[arg(long)]
    pub(crate) no_save: bool,

    /// Whose change it is [default: in a GitHub job its workflow run; elsewhere `a terminal`]
    #[arg(long, value_name = "TEXT", value_parser = kit::parse_release)]
    pub(crate) release: Option<String>,

    #[command(flatten)]
    pub(crate) aws: AwsArgs,
}

/// The verbs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Act {
    /// Let the rules match, and save what they were
    Enable,
    /// Stop the rules, and save what they were
    Disable,
    /// Put the rules back into the saved state
    Restore,
    /// Refuse unless every rule is in the state of --expect
    Assert,
    /// Drop the saved state and leave the rules as they are
    Forget,
    /// Say in what state they are, and what is saved
    Status,
}

/// What `assert` wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Expect {
    /// It matches events or its schedule
    Enabled,
    /// It does not
    Disabled,
}

impl Args {
    /// What can't work is found here, before any call. Returns whose change it is.
    pub(crate) fn check(&self, env: &Env) -> Result<String, Failure> {
        if (self.action == Act::Assert) != self.expect.is_some() {
            let failure = Failure::usage("read the arguments");
            return Err(if self.expect.is_some() {
                failure
                    .because("--expect belongs to --action assert")
                    .help("use --action assert, or leave --expect out")
            } else {
                failure
                    .because("nothing says what is to be asserted")
                    .help("add --expect enabled or --expect disabled")
            });
        }
        if self.no_save && !matches!(self.action, Act::Enable | Act::Disable) {
            return Err(Failure::usage("read the arguments")
                .because("--no-save belongs to --action enable and disable")
                .help("leave --no-save out"));
        }
        Ok(env.release(self.release.as_deref()))
    }
}

/// Source: <https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_DescribeRule.html>
fn rule(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if text.is_empty() || text.len() > 64 || !text.bytes().all(plain) {
        return Err("write the rule's name, not its ARN: up to 64 letters, digits and ._-".to_owned());
    }
    Ok(text.to_owned())
}
