#![doc = include_str!("help.md")]

mod apply;
mod args;
mod backup;
mod chain;
mod connection;
mod files;
#[cfg(test)]
mod foreign_tests;
mod ledger;
mod lint;
mod observe;
mod order;
mod plan;
mod scratch;
mod sql;
mod task;
#[cfg(test)]
mod tests;
mod todo;
mod upgrade;
mod verify;
mod version;
mod watch;

use std::collections::BTreeMap;
use std::time::Duration;

use aws::Aws;
use kit::{Code, Cx, ExitCode, Failure, Go, Image, Outcome, Output, Permission, Receipt, Step};
use postgres::Session;

use crate::apply::{Job, Manner};
pub use crate::args::MigrateArgs;
use crate::args::Verb;
use crate::connection::Limits;
use crate::files::Way;
use crate::observe::{SeenLedger, World};
use crate::plan::Request;
use crate::task::Shared;
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
        Output { name: "reverted", description: "how many versions this run took back" },
        Output {
            name: "pending",
            description: "how many files are still to be applied, or indexes to be rebuilt; in a dry run, how many would be",
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
            name: "blocking",
            description: "with --action upgrade-check: how many objects the upgrade would stumble over",
        },
        Output {
            name: "to-rebuild",
            description: "with --action upgrade-check: how many indexes are to be rebuilt whatever the new server is",
        },
        Output {
            name: "text-indexes",
            description: "with --action upgrade-check: how many indexes depend on a library's order of text",
        },
        Output {
            name: "unknown-collations",
            description: "with --action upgrade-check or reindex: how many of these depend on an order whose change can't be seen",
        },
        Output {
            name: "invalid-indexes",
            description: "with --action upgrade-check: how many indexes are invalid",
        },
        Output { name: "rebuilt", description: "with --action reindex: how many indexes this run rebuilt" },
        Output {
            name: "refreshed",
            description: "with --action reindex: how many recorded collation versions this run brought up to date",
        },
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
        Permission { action: "s3:GetObject", resource: "arn:aws:s3:::BUCKET/KEY*", when: "--require-backup" },
        Permission {
            action: "s3:ListBucket",
            resource: "arn:aws:s3:::BUCKET",
            when: "--require-backup, --chain",
        },
        Permission { action: "s3:GetObject", resource: "arn:aws:s3:::BUCKET/PREFIX/*", when: "--chain" },
        Permission {
            action: "s3:PutObject",
            resource: "arn:aws:s3:::BUCKET/PREFIX/*",
            when: "--chain, unless --dry-run",
        },
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
            resource: "arn:aws:iam::ACCOUNT:role/TASK-ROLE and arn:aws:iam::ACCOUNT:role/EXECUTION-ROLE",
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
    image: Image::Clients,
    timeout: Duration::from_hours(1),
    run: |matches, cx| kit::bind(matches, cx, run),
};

async fn run(args: MigrateArgs, cx: Cx) -> Result<Outcome, Failure> {
    if let Some(receipt) = cx.undo() {
        return Err(upgrade::no_undo(receipt).unwrap_or_else(|| no_undo(receipt)));
    }
    upgrade::flags(&args)?;
    if let Some(definition) = &args.task.task {
        let shared = Shared {
            backup: args.require_backup.as_ref(),
            without_backup: args.without_backup.as_deref(),
            max_age: args.max_age,
            min_rung: args.min_rung,
            dbname: args.pg.dbname.as_deref(),
            aws: &args.aws,
        };
        return task::run(&cx, definition, &args.task, &shared).await;
    }
    if let Some(folder) = &args.chain.chain {
        return chain::run(&cx, &args, folder).await;
    }
    let manner = Manner {
        limits: Limits { lock: args.lock_timeout, statement: args.statement_timeout },
        patient_lock: args.concurrent_lock_timeout,
        retry_for: args.retry_for,
    };
    if matches!(args.action, Verb::UpgradeCheck | Verb::Reindex) {
        return upgrade::run(&cx, &args, manner).await;
    }
    let Some(migrations) = &args.migrations else {
        return Err(Failure::usage("apply migrations").because(
            "none of --migrations DIR, --chain DIR and --task ARN is given, and --action is that of files",
        ));
    };
    let mut target = args.pg.target(cx.env())?;
    if cx.env().get("PGAPPNAME").is_none() && target.application_name == "cutover" {
        "cutover run-migration".clone_into(&mut target.application_name);
    }
    if args.dry_run_into.is_some() && !cx.dry_run() {
        return Err(Failure::usage("run the migrations in a scratch database")
            .because("--dry-run-into needs --dry-run: it is no way to choose the database to migrate"));
    }
    let scratch = args.dry_run_into.as_deref().map(|text| scratch::target(text, &target, &cx)).transpose()?;
    let directory = files::directory(migrations, &args.ledger)?;
    let session = connection::connect(&cx, &target, manner.limits).await?;
    let ledger = args.ledger.clone().find(&session).await?;
    let (to, baseline) = (args.to.as_deref(), args.baseline.as_deref());
    let (to, baseline) = (to.map(|to| ledger.version(to)), baseline.map(|baseline| ledger.version(baseline)));
    let request = |now| Request {
        way: if args.action == Verb::Revert { Way::Down } else { Way::Up },
        order: args.order,
        ledger: &ledger,
        baseline: baseline.as_deref(),
        to: to.as_deref(),
        allow: &args.allow,
        without_backup: args.without_backup.as_deref(),
        max_age: args.max_age,
        min_rung: args.min_rung,
        dry_run: cx.dry_run(),
        now,
    };
    let mut world = World {
        identity: session.identity.clone(),
        ledger: SeenLedger::Absent { schema: false },
        unfinished: Vec::new(),
        directory,
        tables: BTreeMap::new(),
        backup: None,
    };
    look(&mut world, &session, &request(cx.now())).await?;
    let pending = !todo::todo(&request(cx.now()), &world)?.0.is_empty();
    if pending
        && args.baseline.is_none()
        && let Some(uri) = &args.require_backup
    {
        let aws = Aws::connect(&cx, &args.aws).await?;
        world.backup = Some(observe::backup(&cx, &aws, uri).await?);
    }
    let mut plan = plan::plan(&request(cx.now()), &world)?;
    if !plan.is_empty() && !cx.dry_run() {
        // Another run may have been at work until the lock was ours: what is shown and applied is what is true from here.
        ledger::lock(&cx, &session, &ledger).await?;
        look(&mut world, &session, &request(cx.now())).await?;
        plan = plan::plan(&request(cx.now()), &world)?;
    }
    cx.observed(&world);
    cx.output("ledger", ledger.to_string());
    cx.output("from-version", plan.from_version.clone().unwrap_or_default());
    cx.output("to-version", plan.to_version.clone().unwrap_or_default());
    cx.output("pending", plan.pending_now().to_string());
    cx.output("applied", "0");
    cx.output("reverted", "0");
    match cx.show(&plan)? {
        Go::Stop(mut outcome) => {
            if let Some(scratch) = scratch.filter(|_| !plan.is_empty()) {
                let trial = scratch::Trial {
                    cx: &cx,
                    session: &session,
                    ledger: &ledger,
                    world: &world,
                    plan: &plan,
                };
                let said = trial.run(&scratch, manner.limits).await?;
                outcome.headline = format!("{}; {said}", outcome.headline);
            }
            session.close().await;
            return Ok(outcome);
        }
        Go::Apply => {}
    }
    if plan.is_empty() {
        session.close().await;
        return Ok(Outcome::unchanged(kit::Plan::unchanged(&plan)));
    }
    let job =
        Job { cx: &cx, target: &target, ledger: &ledger, plan: &plan, directory: &world.directory, manner };
    let session = apply::apply(&job, session).await?;
    let (after, _) = observe::ledger(&session, &ledger).await?;
    session.close().await;
    verify::verify(&plan, &ledger, &after, &cx.run_id())?;
    Ok(Outcome::changed(plan.done()))
}

/// Reads what can change while another run is at work.
async fn look(world: &mut World, session: &Session, request: &Request<'_>) -> Result<(), Failure> {
    (world.ledger, world.unfinished) = observe::ledger(session, request.ledger).await?;
    let names = plan::tables(world, &todo::todo(request, world)?.0);
    world.tables = observe::tables(session, names).await?;
    Ok(())
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
