#![doc = include_str!("help.md")]

mod apply;
mod backup;
mod ledger;
mod observe;
mod plan;
mod sql;
mod task;
#[cfg(test)]
mod tests;
mod verify;
mod version;

use std::path::PathBuf;
use std::time::Duration;

use aws::{Aws, AwsArgs};
use clap::Args;
use kit::{Code, Cx, ExitCode, Failure, Go, Outcome, Output, Permission, Receipt, Step};
use postgres::{PgArgs, Rung};

use crate::ledger::{Ledger, parse_ledger};
use crate::observe::{S3Uri, World, parse_s3_uri};
use crate::plan::Request;
use crate::task::Shared;
use crate::task::args::TaskArgs;
pub use crate::version::Order;

/// The step.
pub const STEP: Step = Step {
    name: "run-migration",
    command: kit::command::<MigrateArgs>,
    outputs: &[
        Output {
            name: "applied",
            description: "how many files this run applied (or recorded, with --baseline)",
        },
        Output {
            name: "pending",
            description: "how many files are still to be applied; in a dry run, how many would be",
        },
        Output {
            name: "from-version",
            description: "the last applied version before this run; empty when there was none",
        },
        Output {
            name: "to-version",
            description: "the last applied version now; in a dry run, what it would be",
        },
        Output { name: "ledger", description: "the table that records what was applied" },
        Output {
            name: "task-arn",
            description: "with --task: ARN of the task that runs or has run the migration",
        },
        Output {
            name: "exit-code",
            description: "with --task: exit code of the deciding container; empty when it has none",
        },
        Output { name: "stop-code", description: "with --task: why the task stopped, as ECS's stopCode" },
        Output { name: "stopped-reason", description: "with --task: why the task stopped, in ECS's words" },
        Output { name: "log-group", description: "with --task: the CloudWatch log group of that container" },
        Output { name: "log-stream", description: "with --task: its stream in that group" },
    ],
    permissions: &[
        Permission { action: "s3:GetObject", resource: "arn:aws:s3:::BUCKET/KEY*", when: "--backup" },
        Permission {
            action: "s3:GetObjectVersion",
            resource: "arn:aws:s3:::BUCKET/KEY",
            when: "--backup, in a bucket with versions",
        },
        Permission { action: "sts:GetCallerIdentity", resource: "*", when: "--backup or --task" },
        Permission { action: "ecs:DescribeTaskDefinition", resource: "*", when: "--task" },
        Permission {
            action: "ecs:DescribeServices",
            resource: "arn:aws:ecs:REGION:ACCOUNT:service/CLUSTER/SERVICE",
            when: "--like-service",
        },
        Permission { action: "ecs:ListTasks", resource: "*", when: "--task" },
        Permission {
            action: "ecs:DescribeTasks",
            resource: "arn:aws:ecs:REGION:ACCOUNT:task/CLUSTER/*",
            when: "--task",
        },
        Permission {
            action: "ecs:RunTask",
            resource: "arn:aws:ecs:REGION:ACCOUNT:task-definition/FAMILY:*",
            when: "--task, unless --dry-run",
        },
        Permission {
            action: "iam:PassRole",
            resource: "the task role and the execution role of the definition",
            when: "--task, unless --dry-run",
        },
        Permission {
            action: "ecs:StopTask",
            resource: "arn:aws:ecs:REGION:ACCOUNT:task/CLUSTER/*",
            when: "--on-cancel stop",
        },
        Permission {
            action: "logs:GetLogEvents",
            resource: "arn:aws:logs:REGION:ACCOUNT:log-group:GROUP:log-stream:*",
            when: "--task, to show the container's log",
        },
    ],
    exit_codes: &[
        ExitCode {
            code: Code::Failed,
            meaning: "failed; nothing was changed: the first file was rolled back whole",
        },
        ExitCode {
            code: Code::Partial,
            meaning: "a later file failed and was rolled back whole; running again continues at it. With --task: the container ended with another exit code than 0, or never ran",
        },
        ExitCode {
            code: Code::Unverified,
            meaning: "applied, and the ledger read back does not have it. With --task: the task was ended from outside (Spot, host, somebody) or has no exit code, so how far the migration came is not known",
        },
        ExitCode {
            code: Code::Deadline,
            meaning: "deadline passed while waiting for the lock, or in a file, which was rolled back. With --task: the task had not stopped; what became of it is --on-cancel's choice",
        },
    ],
    timeout: Duration::from_hours(1),
    run: |matches, cx| kit::bind(matches, cx, run),
};

/// Apply a directory of SQL migrations, or run a migration as an ECS task, after a proven backup
#[derive(Args, Debug)]
#[command(about, long_about = include_str!("help.md"))]
pub struct MigrateArgs {
    /// The folder of SQL files
    #[arg(long, value_name = "DIR", required_unless_present = "task", conflicts_with = "TaskArgs")]
    migrations: Option<PathBuf>,

    /// The order of the files; needed where the two would differ
    #[arg(long, value_enum, value_name = "SCHEME")]
    order: Option<Order>,

    /// The table that records what was applied
    #[arg(long, value_name = "SCHEMA.TABLE", default_value = "cutover.migrations", value_parser = parse_ledger)]
    ledger: Ledger,

    /// Record the files up to this version as applied without running them, and stop
    #[arg(long, value_name = "VERSION")]
    baseline: Option<String>,

    /// The manifest that backup-db left: its output `manifest-uri`
    #[arg(long, value_name = "S3-URI", value_parser = parse_s3_uri, conflicts_with = "without_backup")]
    backup: Option<S3Uri>,

    /// How old the backup may be
    #[arg(long, value_name = "DURATION", default_value = "2h", value_parser = kit::parse_duration)]
    max_age: Duration,

    /// How far the backup must have been verified
    #[arg(long, value_enum, value_name = "RUNG", default_value = "read-back")]
    min_rung: Rung,

    /// Go without a backup of this database; must be its name
    #[arg(long, value_name = "DBNAME")]
    without_backup: Option<String>,

    /// How long a statement waits for a lock before it fails; 0 waits for ever
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_limit)]
    lock_timeout: Duration,

    /// How long a statement may run before it fails; 0 is no limit
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = parse_limit)]
    statement_timeout: Duration,

    #[command(flatten)]
    task: TaskArgs,

    #[command(flatten)]
    pg: PgArgs,

    #[command(flatten)]
    aws: AwsArgs,
}

/// A duration, or 0 for none.
fn parse_limit(text: &str) -> Result<Duration, String> {
    if text == "0" { Ok(Duration::ZERO) } else { kit::parse_duration(text) }
}

async fn run(args: MigrateArgs, cx: Cx) -> Result<Outcome, Failure> {
    if let Some(receipt) = cx.undo() {
        return Err(no_undo(receipt));
    }
    if let Some(definition) = &args.task.task {
        let shared = Shared {
            backup: args.backup.as_ref(),
            without_backup: args.without_backup.as_deref(),
            max_age: args.max_age,
            min_rung: args.min_rung,
            dbname: args.pg.dbname.as_deref(),
            aws: &args.aws,
        };
        return task::run(&cx, definition, &args.task, &shared).await;
    }
    let Some(migrations) = &args.migrations else {
        return Err(Failure::usage("apply migrations").because("neither --migrations nor --task is given"));
    };
    let mut target = args.pg.target(cx.env())?;
    if cx.env().get("PGAPPNAME").is_none() && target.application_name == "cutover" {
        "cutover run-migration".clone_into(&mut target.application_name);
    }
    // Start-up options beat what a role or the database has set, and RESET returns to them.
    let target = target
        .with_option("lock_timeout", &args.lock_timeout.as_millis().to_string())
        .with_option("statement_timeout", &args.statement_timeout.as_millis().to_string())
        .with_option("idle_in_transaction_session_timeout", "0");
    let directory = observe::directory(migrations)?;
    let session = postgres::connect(&cx, &target).await?;
    let mut world = World {
        identity: session.identity.clone(),
        ledger: observe::ledger(&session, &args.ledger).await?,
        directory,
        backup: None,
    };
    let pending = !plan::pending(&world, args.order)?.is_empty();
    if pending
        && args.baseline.is_none()
        && let Some(uri) = &args.backup
    {
        let aws = Aws::connect(&cx, &args.aws).await?;
        world.backup = Some(observe::backup(&cx, &aws, uri).await?);
    }
    let request = |now| Request {
        order: args.order,
        ledger: &args.ledger,
        baseline: args.baseline.as_deref(),
        without_backup: args.without_backup.as_deref(),
        max_age: args.max_age,
        min_rung: args.min_rung,
        dry_run: cx.dry_run(),
        now,
    };
    let mut plan = plan::plan(&request(cx.now()), &world)?;
    if !plan.is_empty() && !cx.dry_run() {
        // Another run may have been at work until the lock was ours: what is shown and applied is what is true from here.
        ledger::lock(&cx, &session, &args.ledger).await?;
        world.ledger = observe::ledger(&session, &args.ledger).await?;
        plan = plan::plan(&request(cx.now()), &world)?;
    }
    cx.observed(&world);
    cx.output("ledger", args.ledger.to_string());
    cx.output("from-version", plan.from_version.clone().unwrap_or_default());
    cx.output("to-version", plan.to_version().unwrap_or_default());
    cx.output("pending", plan.pending_now().to_string());
    cx.output("applied", "0");
    match cx.show(&plan)? {
        Go::Stop(outcome) => {
            session.close().await;
            return Ok(outcome);
        }
        Go::Apply => {}
    }
    if plan.is_empty() {
        session.close().await;
        return Ok(Outcome::unchanged(kit::Plan::unchanged(&plan)));
    }
    let session = apply::apply(&cx, &target, session, &args.ledger, &plan, &world.directory).await?;
    let after = observe::ledger(&session, &args.ledger).await?;
    session.close().await;
    verify::verify(&plan, &after, &cx.run_id())?;
    Ok(Outcome::changed(plan.done()))
}

/// A migration can't be taken back; the receipt knows which backup to restore.
fn no_undo(receipt: &Receipt) -> Failure {
    let restore = receipt
        .actions
        .iter()
        .find_map(|action| action.inverse.get("restore")?.as_str())
        .map_or_else(|| "restore a backup that was taken before it".to_owned(), str::to_owned);
    Failure::refused("undo run-migration")
        .because("a migration can't be taken back: its statements have no inverse, and rows written since would be lost")
        .help(restore)
        .help("or write a migration that goes forward to what you want")
}
