//! The flags of the step.

use std::path::PathBuf;
use std::time::Duration;

use aws::AwsArgs;
use clap::{Args, ValueEnum};
use postgres::{PgArgs, Rung};

use crate::chain::ChainArgs;
use crate::ledger::{Ledger, parse_ledger};
use crate::lint::{Allow, parse_allow};
use crate::observe::{S3Uri, parse_s3_uri};
use crate::task::args::TaskArgs;
use crate::upgrade::UpgradeArgs;
use crate::version::Order;

/// Apply a directory of SQL migrations, or run a migration as an ECS task, after a proven backup
#[derive(Args, Debug)]
#[command(about, long_about = include_str!("help.md"))]
pub struct MigrateArgs {
    /// The folder of SQL files
    #[arg(long, value_name = "DIR", conflicts_with = "TaskArgs")]
    pub(crate) migrations: Option<PathBuf>,

    /// What to do: with the files, or before and after an upgrade of the server
    #[arg(long, value_enum, value_name = "ACTION", default_value = "apply")]
    pub(crate) action: Verb,

    /// The last version to apply; with --action revert the version to go back to, or `none`; with --chain where it leads
    #[arg(long, value_name = "VERSION", required_if_eq("action", "revert"))]
    pub(crate) to: Option<String>,

    /// The order of the files; needed where the two would differ
    #[arg(long, value_enum, value_name = "SCHEME")]
    pub(crate) order: Option<Order>,

    /// The table that records what was applied; `sqlx` is that of sqlx
    #[arg(long, value_name = "SCHEMA.TABLE", default_value = "cutover.migrations", value_parser = parse_ledger)]
    pub(crate) ledger: Ledger,

    /// Record the files up to this version as applied without running them, and stop
    #[arg(long, value_name = "VERSION", conflicts_with = "to")]
    pub(crate) baseline: Option<String>,

    /// Let this dangerous statement through: the name of a rule, in one file or in all
    #[arg(long, value_name = "RULE[@FILE]", value_parser = parse_allow)]
    pub(crate) allow: Vec<Allow>,

    /// The manifest that backup-db left: its output `manifest-uri`
    #[arg(long, value_name = "S3-URI", value_parser = parse_s3_uri, conflicts_with = "without_backup")]
    pub(crate) require_backup: Option<S3Uri>,

    /// How old the backup may be
    #[arg(long, value_name = "DURATION", default_value = "2h", value_parser = kit::parse_duration)]
    pub(crate) max_age: Duration,

    /// How far the backup must have been verified
    #[arg(long, value_enum, value_name = "RUNG", default_value = "read-back")]
    pub(crate) min_rung: Rung,

    /// Go without a backup of this database; must be its name
    #[arg(long, value_name = "DBNAME")]
    pub(crate) without_backup: Option<String>,

    /// With --dry-run: run everything in this database, a scratch restore of the backup, and report times and locks
    #[arg(long, value_name = "DBNAME|URL", conflicts_with = "baseline")]
    pub(crate) dry_run_into: Option<String>,

    /// How long a statement waits for a lock before it fails; 0 waits for ever
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_limit)]
    pub(crate) lock_timeout: Duration,

    /// The same for what stops nobody while it waits: CREATE INDEX CONCURRENTLY and its like
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = parse_limit)]
    pub(crate) concurrent_lock_timeout: Duration,

    /// How long a file is tried again after a lock timeout, a deadlock or a serialization failure; 0 never
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_limit)]
    pub(crate) retry_for: Duration,

    /// How long a statement may run before it fails; 0 is no limit
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = parse_limit)]
    pub(crate) statement_timeout: Duration,

    #[command(flatten)]
    pub(crate) upgrade: UpgradeArgs,

    #[command(flatten)]
    pub(crate) chain: ChainArgs,

    #[command(flatten)]
    pub(crate) task: TaskArgs,

    #[command(flatten)]
    pub(crate) pg: PgArgs,

    #[command(flatten)]
    pub(crate) aws: AwsArgs,
}

/// What is done with the migrations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Verb {
    /// Apply the pending files
    Apply,
    /// Take applied versions back with their NAME.down.sql, last first
    Revert,
    /// Say what a major upgrade of the server would stumble over, and what is to be rebuilt after it
    UpgradeCheck,
    /// Rebuild the indexes of the server that an upgrade has put out of order
    Reindex,
}

/// A duration, or 0 for none.
fn parse_limit(text: &str) -> Result<Duration, String> {
    if text == "0" { Ok(Duration::ZERO) } else { kit::parse_duration(text) }
}
