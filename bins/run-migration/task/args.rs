//! The flags of the task form.

use std::time::Duration;

use clap::{Args, ValueEnum};
use ecs::{ServiceRef, parse_revision, parse_service};

/// How the migration runs as a one-off ECS task.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Options of the task form")]
pub(crate) struct TaskArgs {
    /// Run the migration as a one-off ECS task of this revision, in place of --migrations
    #[arg(
        long,
        value_name = "ARN",
        value_parser = parse_revision,
        conflicts_with_all = [
            "migrations", "action", "to", "dry_run_into", "order", "ledger", "baseline", "allow", "lock_timeout", "concurrent_lock_timeout",
            "retry_for", "statement_timeout", "database_url", "service",
            "host", "port", "user", "sslmode", "ssl_root_cert",
        ],
    )]
    pub(crate) task: Option<String>,

    /// Take network, launch type or capacity providers, and platform version from this service
    #[arg(long, value_name = "CLUSTER/SERVICE", requires = "task", value_parser = parse_service)]
    pub(crate) like_service: Option<ServiceRef>,

    /// The cluster to run it in [default: that of --like-service]
    #[arg(long, value_name = "NAME", requires = "task")]
    pub(crate) cluster: Option<String>,

    /// The container whose exit code decides [default: the overridden one, or the only essential one]
    #[arg(long, value_name = "NAME", requires = "task")]
    pub(crate) container: Option<String>,

    /// What that container runs in place of its own command: a JSON array such as `["rails","db:migrate"]`
    #[arg(long, value_name = "JSON", requires = "task", value_parser = parse_command)]
    pub(crate) command: Option<Words>,

    /// A variable of that container, NAME=VALUE; never a secret: everybody who may describe the task reads it
    #[arg(long, value_name = "NAME=VALUE", requires = "task", value_parser = parse_variable)]
    pub(crate) env: Vec<(String, String)>,

    /// The overrides as `RunTask` takes them, as JSON or the name of a file, in place of --command and --env
    #[arg(long, value_name = "JSON|FILE", requires = "task", conflicts_with_all = ["command", "env"])]
    pub(crate) overrides: Option<String>,

    /// A subnet, in place of the service's
    #[arg(long, value_name = "ID", requires = "task")]
    pub(crate) subnet: Vec<String>,

    /// A security group, in place of the service's
    #[arg(long, value_name = "ID", requires = "task")]
    pub(crate) security_group: Vec<String>,

    /// Whether the task gets a public address, in place of what the service says
    #[arg(long, value_enum, value_name = "STATE", requires = "task")]
    pub(crate) public_ip: Option<PublicIp>,

    /// The launch type, in place of the service's launch type or capacity providers
    #[arg(long, value_name = "TYPE", requires = "task", value_parser = ["FARGATE", "EC2", "EXTERNAL"])]
    pub(crate) launch_type: Option<String>,

    /// A capacity provider, in place of the service's launch type or capacity providers
    #[arg(long, value_name = "NAME", requires = "task", conflicts_with = "launch_type")]
    pub(crate) capacity_provider: Vec<String>,

    /// The platform version of Fargate, in place of the service's
    #[arg(long, value_name = "VERSION", requires = "task")]
    pub(crate) platform_version: Option<String>,

    /// Names the release: with it the same migration is run once [default in a GitHub job: the workflow run and step]
    #[arg(long, value_name = "ID", requires = "task", value_parser = parse_run_id)]
    pub(crate) run_id: Option<String>,

    /// What becomes of a task that still runs when this run is cancelled or out of time
    #[arg(long, value_enum, value_name = "CHOICE", default_value = "leave")]
    pub(crate) on_cancel: OnCancel,

    /// Time between two looks at the task
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = kit::parse_duration)]
    pub(crate) interval: Duration,

    /// How long the log must be silent after the task has stopped before it counts as whole
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = kit::parse_duration)]
    pub(crate) log_quiet: Duration,
}

/// What becomes of a running task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnCancel {
    /// It goes on; the same command takes it up again.
    Leave,
    /// It is stopped, in the middle of what it does.
    Stop,
}

/// Whether a task gets a public address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PublicIp {
    Enabled,
    Disabled,
}

impl PublicIp {
    /// As `awsvpcConfiguration` has it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Enabled => "ENABLED",
            Self::Disabled => "DISABLED",
        }
    }
}

/// A command as its words. A type of its own, since clap takes a `Vec` for a flag that may be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Words(pub(crate) Vec<String>);

fn parse_command(text: &str) -> Result<Words, String> {
    match serde_json::from_str::<Vec<String>>(text) {
        Ok(words) if words.is_empty() => Err("an empty command runs nothing".to_owned()),
        Ok(words) => Ok(Words(words)),
        Err(error) => Err(format!("{error}; write a JSON array of texts, as [\"rails\",\"db:migrate\"]")),
    }
}

/// Split at the first `=`: a value may hold others.
fn parse_variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => (name, value),
        _ => return Err("write it as NAME=VALUE".to_owned()),
    };
    let upper = name.to_uppercase();
    let with_password = value
        .split_once("://")
        .and_then(|(_, rest)| rest.split(['/', '?']).next()?.rsplit_once('@'))
        .is_some_and(|(user, _)| user.contains(':'));
    if with_password || ["PASSWORD", "SECRET", "TOKEN", "PRIVATE_KEY"].iter().any(|word| upper.contains(word))
    {
        return Err(format!(
            "{name} looks like a secret, and arguments are seen in logs and receipts: put it into the definition's secrets (register-task-def)"
        ));
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn parse_run_id(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if (1..=64).contains(&text.len()) && text.chars().all(fits) {
        Ok(text.to_owned())
    } else {
        Err("write 1 to 64 letters, digits, - and _".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_half_said_is_refused() {
        assert_eq!(parse_command(r#"["a","b c"]"#).unwrap(), Words(vec!["a".into(), "b c".into()]));
        for bad in ["[]", "rails db:migrate", r#"{"a":1}"#, "[1]"] {
            assert!(parse_command(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_variable("URL=a=b").unwrap(), ("URL".into(), "a=b".into()));
        assert!(parse_variable("=x").is_err() && parse_variable("x").is_err());
        assert!(parse_run_id("release 1").is_err());
        for secret in ["PGPASSWORD=x", "api_token=x", "DATABASE_URL=postgres://rally:x@db/rally"] {
            let said = parse_variable(secret).unwrap_err();
            assert!(said.contains("secrets") && !said.contains("rally:x"), "{said}");
        }
        assert!(parse_variable("DATABASE_URL=postgres://rally@db/rally").is_ok());
    }
}
