#![doc = include_str!("help.md")]

mod arena;
mod args;
mod base;
mod catalogue;
mod child;
mod compare;
mod dump;
mod earlier;
#[cfg(test)]
mod foreign_tests;
mod globals;
mod key;
mod list;
mod pipe;
mod place;
mod prune;
mod rds;
mod readback;
mod refill;
mod restore;
mod rows;
mod scratch;
mod segment;
mod shelf;
mod sql;
#[cfg(test)]
mod tests;
mod tools;
mod undo;
mod upload;
mod vault;
mod verify;
mod wal;

use std::time::Duration;

use aws::Aws;
use kit::{Cx, ExitCode, Failure, Image, Outcome, Output, Permission, Step};
use s3::Bucket;

pub use args::Args;
use args::{Act, Mode};
use key::Destination;
use list::Which;
use restore::Source;
use wal::Tool;

/// The step `backup-db`.
pub const STEP: Step = Step {
    name: "backup-db",
    command: kit::command::<Args>,
    outputs: &[
        Output { name: "backup-uri", description: "the s3:// URI of the dump, archive, export or sentinel" },
        Output {
            name: "manifest-uri",
            description: "the s3:// URI of its manifest, which run-migration --require-backup asks for",
        },
        Output { name: "sha256", description: "the SHA-256 of the object in lower-case hexadecimal" },
        Output { name: "bytes", description: "the size of the backup in bytes" },
        Output {
            name: "duration",
            description: "how long it took to make, store and verify, in whole seconds",
        },
        Output {
            name: "rung",
            description: "how far it was verified: present, contents, read-back or restored",
        },
        Output {
            name: "restore-command",
            description: "a shell command that restores the backup into a new database or folder",
        },
        Output { name: "database", description: "restore: the database that was made" },
        Output { name: "snapshot-arn", description: "rds-snapshot: the ARN of the snapshot" },
    ],
    permissions: &[
        Permission { action: "s3:ListBucket", resource: "arn:aws:s3:::BUCKET", when: "" },
        Permission { action: "s3:ListBucketMultipartUploads", resource: "arn:aws:s3:::BUCKET", when: "" },
        Permission { action: "s3:GetObject", resource: "arn:aws:s3:::BUCKET/PREFIX/*", when: "" },
        Permission { action: "s3:PutObject", resource: "arn:aws:s3:::BUCKET/PREFIX/*", when: "" },
        Permission { action: "s3:AbortMultipartUpload", resource: "arn:aws:s3:::BUCKET/PREFIX/*", when: "" },
        Permission {
            action: "s3:DeleteObject",
            resource: "arn:aws:s3:::BUCKET/PREFIX/*",
            when: "--action prune, --undo, or where a dump turns out to be unusable",
        },
        Permission {
            action: "rds:DescribeDBInstances",
            resource: "arn:aws:rds:REGION:ACCOUNT:db:INSTANCE",
            when: "--db-instance",
        },
        Permission {
            action: "rds:DescribeDBSnapshots",
            resource: "arn:aws:rds:REGION:ACCOUNT:snapshot:cutover-*",
            when: "--db-instance",
        },
        Permission {
            action: "rds:CreateDBSnapshot",
            resource: "arn:aws:rds:REGION:ACCOUNT:db:INSTANCE and arn:aws:rds:REGION:ACCOUNT:snapshot:cutover-*",
            when: "--db-instance",
        },
        Permission {
            action: "rds:DescribeDBClusters",
            resource: "arn:aws:rds:REGION:ACCOUNT:cluster:CLUSTER",
            when: "--db-cluster",
        },
        Permission {
            action: "rds:DescribeDBClusterSnapshots",
            resource: "arn:aws:rds:REGION:ACCOUNT:cluster-snapshot:cutover-*",
            when: "--db-cluster",
        },
        Permission {
            action: "rds:CreateDBClusterSnapshot",
            resource: "arn:aws:rds:REGION:ACCOUNT:cluster:CLUSTER and arn:aws:rds:REGION:ACCOUNT:cluster-snapshot:cutover-*",
            when: "--db-cluster",
        },
        Permission {
            action: "rds:AddTagsToResource",
            resource: "arn:aws:rds:REGION:ACCOUNT:snapshot:cutover-* and arn:aws:rds:REGION:ACCOUNT:cluster-snapshot:cutover-*",
            when: "--mode rds-snapshot",
        },
        Permission {
            action: "rds:DeleteDBSnapshot",
            resource: "arn:aws:rds:REGION:ACCOUNT:snapshot:cutover-*",
            when: "--undo of a snapshot of an instance",
        },
        Permission {
            action: "rds:DeleteDBClusterSnapshot",
            resource: "arn:aws:rds:REGION:ACCOUNT:cluster-snapshot:cutover-*",
            when: "--undo of a snapshot of a cluster",
        },
    ],
    exit_codes: &[
        ExitCode {
            code: kit::Code::Unverified,
            meaning: "what came back from S3 is not what was sent, and it was deleted; or the backup is there and could not be restored to prove it",
        },
        ExitCode {
            code: kit::Code::Deadline,
            meaning: "deadline passed; no object was left, running again starts anew",
        },
    ],
    image: Image::Clients,
    timeout: Duration::from_hours(2),
    run: |matches, cx| kit::bind(matches, cx, run),
};

async fn run(args: Args, cx: Cx) -> Result<Outcome, Failure> {
    args.check()?;
    let aws = Aws::connect(&cx, &args.aws).await?;
    if args.mode == Mode::RdsSnapshot {
        return match cx.undo() {
            Some(receipt) => rds::undo(&cx, &aws, receipt).await,
            None => rds::run(&cx, &args, &aws).await,
        };
    }
    let tool = match args.mode {
        Mode::WalE => Some(Tool::WalE),
        Mode::WalG => Some(Tool::WalG),
        _ => None,
    };
    if let Some(tool) = tool {
        let to = tool.prefix(args.to.as_ref(), cx.env())?;
        let store = cx.or_cancelled(Bucket::find(&aws, &to.bucket, None, "--to")).await??;
        return Box::pin(wal::run(&cx, &args, tool, &to, &store)).await;
    }
    if args.action == Act::Restore {
        let (bucket, source) = source(&args, &cx)?;
        let store = cx.or_cancelled(Bucket::find(&aws, &bucket, None, "--backup")).await??;
        if args.mode == Mode::Base {
            return Box::pin(base::restore(&cx, &args, &store, source)).await;
        }
        return match cx.undo() {
            Some(receipt) => Box::pin(restore::undo(&cx, &args, &store, receipt)).await,
            None => Box::pin(restore::restore(&cx, &args, &store, source)).await,
        };
    }
    let to = to(&args)?;
    let store = cx.or_cancelled(Bucket::find(&aws, &to.bucket, None, "--to")).await??;
    if let Some(receipt) = cx.undo() {
        return undo::undo(&cx, &store, receipt).await;
    }
    match (args.action, args.mode) {
        (Act::List, mode) => {
            let named = database(&args, &cx);
            let which = match (mode, named.as_deref()) {
                (Mode::Base, _) => Which::Base,
                (_, Some(database)) => Which::Database(database),
                (_, None) => Which::All,
            };
            list::list(&cx, &store, to, which).await
        }
        (Act::Prune, mode) => {
            let request = prune::Request {
                database: match mode {
                    Mode::Base => None,
                    _ => Some(needed(database(&args, &cx))?),
                },
                keep: usize::try_from(args.keep.unwrap_or(1)).unwrap_or(usize::MAX),
                keep_for: args.keep_for.unwrap_or(Duration::from_hours(7 * 24)),
                rung: args.min_rung(),
                // A daily backup is as old as a day, and takes its time.
                max_age: args.max_age.unwrap_or(Duration::from_hours(25)),
            };
            prune::prune(&cx, &store, to, &request).await
        }
        (_, Mode::Base) => Box::pin(base::back_up(&cx, &args, to, &store)).await,
        (_, Mode::VaultExport) => vault::run(&cx, &args, &store, to).await,
        (_, Mode::Dump | Mode::RdsSnapshot | Mode::WalE | Mode::WalG) => {
            let (manifest, outcome) = Box::pin(dump::back_up(&cx, &args, to, &store)).await?;
            if let Some(manifest) = manifest {
                let uri = manifest.uri();
                let restore = restore_command(&manifest.database, &uri, manifest.zstd_stream);
                earlier::outputs(&cx, &manifest, restore);
            }
            outcome
        }
    }
}

fn to(args: &Args) -> Result<&Destination, Failure> {
    args.to.as_ref().ok_or_else(|| Failure::usage("read the arguments").because("--to is missing"))
}

/// The bucket and the backup to restore from.
fn source(args: &Args, cx: &Cx) -> Result<(String, Source), Failure> {
    match args.backup.as_deref() {
        None | Some("latest") => {
            let to = to(args)?.clone();
            let database = match args.mode {
                Mode::Base => String::new(),
                _ => needed(database(args, cx))?,
            };
            Ok((to.bucket.clone(), Source::Latest { to, database }))
        }
        Some(uri) => Source::parse(uri),
    }
}

/// The database whose backups are meant, where one is named.
fn database(args: &Args, cx: &Cx) -> Option<String> {
    let connection = || args.pg.target(cx.env()).ok().map(|target| target.dbname);
    let named = || args.pg.dbname.clone().or_else(|| cx.env().get("PGDATABASE").map(str::to_owned));
    args.database
        .clone()
        .or_else(|| if args.action == Act::Restore { None } else { connection().or_else(named) })
}

fn needed(database: Option<String>) -> Result<String, Failure> {
    database.ok_or_else(|| {
        Failure::usage("read which database's backups are meant")
            .because("no database is named, and a release must not guess one")
            .help("give --database NAME")
    })
}

/// Into a new database, never over one with data.
fn restore_command(database: &str, uri: &str, zstd: bool) -> String {
    let quote = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let database = format!("{database}_restored");
    let unpack = if zstd { "zstd -dc | " } else { "" };
    format!(
        "createdb {} && aws s3 cp {} - | {unpack}pg_restore --exit-on-error --dbname={}",
        quote(&database),
        quote(uri),
        quote(&globals::conninfo(&database))
    )
}
