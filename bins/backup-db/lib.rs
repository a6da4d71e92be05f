#![doc = include_str!("help.md")]

mod apply;
mod key;
mod observe;
mod plan;
mod readback;
#[cfg(test)]
mod tests;
mod tools;
mod undo;
mod upload;
mod verify;

use std::path::PathBuf;
use std::time::Duration;

use aws::{Aws, AwsArgs};
use kit::{Cx, ExitCode, Failure, Go, Outcome, Output, Permission, Step};
use postgres::{Manifest, PgArgs, Rung};
use s3::Bucket;

use key::{Destination, manifest_of};
use observe::{Wanted, observe};
use plan::{Request, Work, plan};

/// The step `backup-db`.
pub const STEP: Step = Step {
    name: "backup-db",
    command: kit::command::<Args>,
    outputs: &[
        Output { name: "backup-uri", description: "the s3:// URI of the dump" },
        Output {
            name: "manifest-uri",
            description: "the s3:// URI of its manifest, which run-migration --backup asks for",
        },
        Output { name: "sha256", description: "the SHA-256 of the dump in lower-case hexadecimal" },
        Output { name: "bytes", description: "the size of the dump in bytes" },
        Output {
            name: "duration",
            description: "how long it took to dump, store and verify, in whole seconds",
        },
        Output { name: "rung", description: "how far it was verified: present, contents or read-back" },
        Output {
            name: "restore-command",
            description: "a shell command that restores the dump into a new database",
        },
    ],
    permissions: &[
        Permission { action: "sts:GetCallerIdentity", resource: "*", when: "" },
        Permission { action: "s3:ListBucket", resource: "arn:aws:s3:::BUCKET", when: "" },
        Permission { action: "s3:ListBucketMultipartUploads", resource: "arn:aws:s3:::BUCKET", when: "" },
        Permission { action: "s3:GetObject", resource: "arn:aws:s3:::BUCKET/PREFIX/*", when: "" },
        Permission { action: "s3:PutObject", resource: "arn:aws:s3:::BUCKET/PREFIX/*", when: "" },
        Permission { action: "s3:AbortMultipartUpload", resource: "arn:aws:s3:::BUCKET/PREFIX/*", when: "" },
        Permission {
            action: "s3:DeleteObject",
            resource: "arn:aws:s3:::BUCKET/PREFIX/*",
            when: "a dump turns out to be unusable, or --undo",
        },
    ],
    exit_codes: &[
        ExitCode {
            code: kit::Code::Unverified,
            meaning: "the dump that came back from S3 was not the one that was sent; it was deleted",
        },
        ExitCode {
            code: kit::Code::Deadline,
            meaning: "deadline passed; no object was left, running again starts anew",
        },
    ],
    timeout: Duration::from_hours(2),
    run: |matches, cx| kit::bind(matches, cx, run),
};

/// The arguments of `backup-db`.
#[derive(clap::Args, Clone, Debug)]
#[command(about = "Back a PostgreSQL database up to S3, verified, with a manifest", long_about = include_str!("help.md"))]
pub struct Args {
    /// Where backups go, as <s3://BUCKET/PREFIX>
    #[arg(long, value_name = "URI")]
    to: Destination,

    /// The `pg_dump` to use [default: the one on PATH, or the nearest below /usr/lib/postgresql that can dump the server]
    #[arg(long, value_name = "FILE")]
    pg_dump: Option<PathBuf>,

    /// Names this backup: a verified one of the same id is not made again [default: in a GitHub job its run, job and step;
    /// elsewhere a new one each time]
    #[arg(long, value_name = "ID")]
    backup_id: Option<String>,

    /// How old a backup of the same id may be to count as made, as in 30m
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = kit::parse_duration)]
    max_age: Duration,

    /// How far the dump is verified
    #[arg(long, value_enum, default_value = "read-back", value_name = "RUNG")]
    verify: Verify,

    /// Leave out the roles and tablespaces
    #[arg(long)]
    no_globals: bool,

    /// Accept a database or dump of less than half the last backup's size
    #[arg(long)]
    allow_shrink: bool,

    #[command(flatten)]
    pg: PgArgs,

    #[command(flatten)]
    aws: AwsArgs,
}

/// How far a dump is verified; each includes those before it.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Verify {
    /// The object is there, with the size and the checksum of what was sent
    Present,
    /// Its table of contents names the tables of the catalogue
    Contents,
    /// It is read back whole: the same SHA-256, and `pg_restore` reads it to its end
    ReadBack,
}

impl From<Verify> for Rung {
    fn from(verify: Verify) -> Self {
        match verify {
            Verify::Present => Self::Present,
            Verify::Contents => Self::Contents,
            Verify::ReadBack => Self::ReadBack,
        }
    }
}

async fn run(args: Args, cx: Cx) -> Result<Outcome, Failure> {
    let aws = Aws::connect(&cx, &args.aws).await?;
    let store = cx.or_cancelled(Bucket::find(&aws, &args.to.bucket, None, "--to")).await??;
    if let Some(receipt) = cx.undo() {
        undo::undo(&cx, &store, receipt).await
    } else {
        let (outcome, manifest) = back_up(&cx, &args, &store).await?;
        if let Some(manifest) = manifest {
            outputs(&cx, &manifest);
        }
        Ok(outcome)
    }
}

/// The backup that is there now; none after a dry run.
async fn back_up(cx: &Cx, args: &Args, store: &Bucket) -> Result<(Outcome, Option<Manifest>), Failure> {
    let target = args.pg.target(cx.env())?;
    let request = Request {
        bucket: args.to.bucket.clone(),
        backup_id: args.backup_id.clone().or_else(|| cx.env().job_id()).unwrap_or_else(|| cx.run_id()),
        max_age: args.max_age,
        rung: args.verify.into(),
        allow_shrink: args.allow_shrink,
    };
    let wanted = Wanted {
        request: &request,
        prefix: &args.to.prefix,
        globals: !args.no_globals,
        pg_dump: args.pg_dump.as_deref(),
    };
    let scene = observe(cx, store, &target, wanted).await?;
    cx.observed(&scene.world);
    let plan = plan(&request, &scene.world)?;
    if let Go::Stop(outcome) = cx.show(&plan)? {
        return Ok((outcome, None));
    }
    let manifest = apply::apply(cx, store, &scene, &request.backup_id, &plan).await?;
    scene.session.close().await;
    let headline = format!(
        "{} ({}) is a backup of {}, verified: {}",
        manifest.uri(),
        s3::size(manifest.bytes),
        manifest.database,
        manifest.rung
    );
    let outcome = match &plan.work {
        Work::Keep(_) if plan.abort.is_empty() && plan.remove.is_empty() => Outcome::unchanged(headline),
        _ => Outcome::changed(headline),
    };
    Ok((outcome, Some(manifest)))
}

fn outputs(cx: &Cx, manifest: &Manifest) {
    let uri = manifest.uri();
    cx.output("manifest-uri", format!("s3://{}/{}", manifest.bucket, manifest_of(&manifest.key)));
    cx.output("sha256", &*manifest.sha256);
    cx.output("bytes", manifest.bytes.to_string());
    cx.output("duration", (manifest.ended - manifest.started).whole_seconds().to_string());
    cx.output("rung", manifest.rung.word());
    cx.output("restore-command", restore_command(&manifest.database, &uri));
    cx.output("backup-uri", uri);
}

/// Into a new database, never over one with data.
fn restore_command(database: &str, uri: &str) -> String {
    let quote = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let database = quote(&format!("{database}_restored"));
    format!(
        "createdb {database} && aws s3 cp {} - | pg_restore --exit-on-error --dbname={database}",
        quote(uri)
    )
}
