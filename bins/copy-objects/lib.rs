#![doc = include_str!("help.md")]

mod apply;
mod args;
mod backup;
mod backup_run;
mod credentials;
mod file;
#[cfg(test)]
mod foreign_tests;
mod latest;
mod observe;
mod parts;
mod place;
mod plan;
#[cfg(test)]
mod plan_tests;
mod problem;
mod prove;
mod read;
mod reader;
mod resume;
mod send;
mod tree;
mod types;
mod undo;
mod unfinished;
mod verify;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use aws::Aws;
use kit::{Cx, ExitCode, Failure, Go, Image, Outcome, Output, Permission, Step};

use apply::Written;
pub use args::Args;
use args::{LatestBy, Verb};
use place::From;
use plan::{How, Request, Work, plan};
use prove::prove;
use s3::Bucket;
use tokio::sync::Semaphore;
use tree::order::Order;
use tree::{Origin, Tree};

/// The step `copy-objects`.
pub const STEP: Step = Step {
    name: "copy-objects",
    command: kit::command::<Args>,
    outputs: &[
        Output {
            name: "source-uri",
            description: "what was copied: its s3:// URI, or the path of a file or folder",
        },
        Output { name: "copy-uri", description: "the s3:// URI of the copy" },
        Output { name: "bytes", description: "its size in bytes, or of all together" },
        Output { name: "etag", description: "the ETag of the copy, with its quotes; of one object" },
        Output {
            name: "version-id",
            description: "the version of the copy; absent where the bucket keeps none",
        },
        Output { name: "manifest-uri", description: "with --latest-by manifest: the manifest of the copy" },
        Output {
            name: "objects",
            description: "of a tree or folder: how many objects or files the source has",
        },
        Output { name: "copied", description: "of a tree or folder: how many of them this run copied" },
        Output { name: "missing", description: "with compare: how many the destination lacks" },
        Output { name: "different", description: "with compare: how many are other there" },
        Output { name: "extra", description: "with compare: how many the destination has alone" },
        Output { name: "verified-by", description: "what was found to be the same on both sides" },
    ],
    permissions: &[
        Permission {
            action: "sts:AssumeRole",
            resource: "arn:aws:iam::SOURCE-ACCOUNT:role/ROLE",
            when: "--source-role-arn",
        },
        Permission { action: "s3:ListBucket", resource: "arn:aws:s3:::SOURCE", when: "not of files" },
        Permission { action: "s3:GetObject", resource: "arn:aws:s3:::SOURCE/*", when: "not of files" },
        Permission {
            action: "s3:GetObjectVersion",
            resource: "arn:aws:s3:::SOURCE/*",
            when: "the source's bucket keeps versions",
        },
        Permission {
            action: "s3:GetObjectTagging",
            resource: "arn:aws:s3:::SOURCE/*",
            when: "not with --no-tags",
        },
        Permission {
            action: "s3:GetObjectVersionTagging",
            resource: "arn:aws:s3:::SOURCE/*",
            when: "the source's bucket keeps versions; not with --no-tags",
        },
        Permission {
            action: "s3:ListBucketMultipartUploads",
            resource: "arn:aws:s3:::SOURCE",
            when: "--latest",
        },
        Permission { action: "s3:ListBucket", resource: "arn:aws:s3:::DESTINATION", when: "" },
        Permission {
            action: "s3:ListBucketMultipartUploads",
            resource: "arn:aws:s3:::DESTINATION",
            when: "",
        },
        Permission {
            action: "s3:ListMultipartUploadParts",
            resource: "arn:aws:s3:::DESTINATION/*",
            when: "an upload to the same key is unfinished",
        },
        Permission { action: "s3:GetObject", resource: "arn:aws:s3:::DESTINATION/*", when: "" },
        Permission { action: "s3:PutObject", resource: "arn:aws:s3:::DESTINATION/*", when: "" },
        Permission { action: "s3:AbortMultipartUpload", resource: "arn:aws:s3:::DESTINATION/*", when: "" },
        Permission {
            action: "s3:GetObjectTagging",
            resource: "arn:aws:s3:::DESTINATION/*",
            when: "not with --no-tags",
        },
        Permission {
            action: "s3:PutObjectTagging",
            resource: "arn:aws:s3:::DESTINATION/*",
            when: "the source has tags; not with --no-tags",
        },
        Permission { action: "s3:DeleteObject", resource: "arn:aws:s3:::DESTINATION/*", when: "--undo" },
        Permission {
            action: "s3:DeleteObjectVersion",
            resource: "arn:aws:s3:::DESTINATION/*",
            when: "--undo where the bucket keeps versions",
        },
        Permission {
            action: "cloudformation:DescribeStacks",
            resource: "arn:aws:cloudformation:REGION:ACCOUNT:stack/STACK/*",
            when: "--to-stack-output",
        },
    ],
    exit_codes: &[
        ExitCode {
            code: kit::Code::Unverified,
            meaning: "the copy is there and is not what the source was, or the source was replaced meanwhile; --undo deletes it. Of a tree: the destination is not as it was left",
        },
        ExitCode {
            code: kit::Code::Refused,
            meaning: "refused by a guard, or compare found a difference; nothing was changed",
        },
        ExitCode {
            code: kit::Code::Deadline,
            meaning: "deadline passed; a copy in parts left nothing, one that is not may yet appear; running again looks",
        },
        ExitCode {
            code: kit::Code::Waiting,
            meaning: "source or destination was changed by someone else after it was looked at; nothing was copied, of a tree all that did not change",
        },
    ],
    image: Image::Steps,
    timeout: Duration::from_hours(2),
    run: |matches, cx| kit::bind(matches, cx, run),
};

async fn run(args: Args, cx: Cx) -> Result<Outcome, Failure> {
    let aws = Aws::connect(&cx, &args.aws).await?;
    if let Some(receipt) = cx.undo() {
        return undo::undo(&cx, &aws, receipt).await;
    }
    let from = match source(&args)? {
        From::S3(from) => from,
        From::Path(path) => return of_path(&cx, &aws, &args, &path).await,
    };
    let source = credentials::of_source(&cx, &aws, &args).await?;
    if args.tree || args.action == Verb::Compare {
        let owner = args.expect_source_owner.clone();
        let bucket = cx.or_cancelled(Bucket::find(&source, &from.bucket, owner, "--from")).await??;
        let origin = Origin::Bucket { bucket, prefix: from.path, through: args.through };
        return whole(&cx, &aws, &args, origin).await;
    }
    let request = Request {
        replace: args.replace,
        abort_others: args.abort_others,
        multipart_above: args.multipart_above,
        part_size: args.part_size,
        kms_key: args.kms_key.clone(),
        through: args.through,
    };
    if args.latest && args.latest_by == LatestBy::Manifest {
        return backup_run::run(&cx, (&source, &aws), &args, &request, &from).await;
    }
    let (ends, world) = observe::observe(&cx, (&source, &aws), &args, &from).await?;
    cx.observed(&world);
    let plan = plan(&request, &world)?;
    if let Go::Stop(outcome) = cx.show(&plan)? {
        return Ok(outcome);
    }
    let written = apply::apply(&cx, &ends, &plan).await?;
    let (written, by) = match (&plan.work, written) {
        (Work::Copy(copy), Some(written)) => {
            let taken_up = matches!(&copy.how, How::Parts { resume: Some(_), .. });
            let by = prove(&cx, &ends, &copy.wanted, &written, taken_up).await?;
            (Some(written), by)
        }
        (Work::Keep(by), _) => (world.there.as_ref().map(|there| Written::of(&there.facts)), by.clone()),
        _ => (None, String::new()),
    };
    cx.output("source-uri", &*plan.from);
    cx.output("copy-uri", &*plan.to);
    cx.output("bytes", ends.object.bytes.to_string());
    cx.output("verified-by", &*by);
    if let Some(written) = written {
        cx.output("etag", written.etag);
        if let Some(version) = written.version {
            cx.output("version-id", version);
        }
    }
    let size = kit::size(ends.object.bytes);
    Ok(match plan.work {
        Work::Keep(_) if !plan.abort.is_empty() => Outcome::changed(format!(
            "{} is a copy of {} already ({size}, same {by}); what was left of earlier tries is put away",
            plan.to, plan.from
        )),
        Work::Keep(_) => {
            Outcome::unchanged(format!("{} is a copy of {} already ({size}, same {by})", plan.to, plan.from))
        }
        Work::Copy(_) => {
            Outcome::changed(format!("{} is a copy of {} ({size}, verified: same {by})", plan.to, plan.from))
        }
    })
}

/// The source, which has to be one object unless the newest of several or all of them are looked for.
fn source(args: &Args) -> Result<From, Failure> {
    let usage = |because: &str, help: &str| Failure::usage("choose what to copy").because(because).help(help);
    let many = args.tree || args.action == Verb::Compare;
    if !args.latest && (args.max_age.is_some() || args.min_size != 1) {
        return Err(usage(
            "--max-age and --min-size are conditions of --latest",
            "add --latest, or leave them out",
        ));
    }
    if args.to_key.is_some() && args.to_stack_output.is_none() {
        return Err(usage("--to-key goes with --to-stack-output", "write the key into --to"));
    }
    // By value, not by presence: an action passes `false` too.
    for (given, goes_not, help) in [
        (
            args.latest_by == LatestBy::Manifest && !args.latest,
            "--latest-by goes with --latest",
            "add --latest, or leave it out",
        ),
        (args.tree && args.latest, "--tree and --latest don't go together", "leave one of them out"),
        (args.archive && args.latest, "--archive and --latest don't go together", "leave one of them out"),
        (
            args.archive && args.replace,
            "an archive is not replaced",
            "leave --replace out, and choose an empty prefix",
        ),
        (args.allow_empty && !args.archive, "--allow-empty goes with --archive", "add it, or leave both out"),
        (
            !args.through && (args.source_profile.is_some() || args.source_role_arn.is_some()),
            "--source-profile and --source-role-arn go with --through",
            "add --through: other credentials for the source mean that the bytes go through this process",
        ),
    ] {
        if given {
            return Err(usage(goes_not, help));
        }
    }
    let from = match &args.from {
        From::Path(_) if args.latest || args.through => {
            return Err(usage(
                "--latest and --through are about objects, and --from names a file or folder",
                "leave them out; --from takes s3://BUCKET/PREFIX/ too",
            ));
        }
        From::Path(_) => return Ok(args.from.clone()),
        From::S3(_) if args.archive || args.content_type.is_some() => {
            return Err(usage(
                "--archive and --content-type are about files, and --from names objects",
                "leave them out; --tree copies all objects below a prefix",
            ));
        }
        From::S3(from) => from,
    };
    let names_prefix = from.path.is_empty() || from.path.ends_with('/');
    if many && !names_prefix {
        return Err(usage(
            "--from names an object, or a prefix that others begin with too",
            "end it with a slash, or leave --tree out",
        ));
    }
    if !many && !args.latest && names_prefix {
        return Err(usage(
            "--from names a prefix",
            "name an object, or add --latest for the newest below it, or --tree for everything below it",
        ));
    }
    Ok(args.from.clone())
}

/// A file or a folder of this machine.
async fn of_path(cx: &Cx, aws: &Aws, args: &Args, path: &Path) -> Result<Outcome, Failure> {
    let name = path.display();
    let facts = std::fs::symlink_metadata(path).map_err(|error| {
        Failure::refused(format!("copy {name}"))
            .because(error)
            .help("correct --from: a file or a folder, or s3://BUCKET/KEY")
    })?;
    let folder_wanted = args.tree || args.archive || args.action == Verb::Compare;
    if facts.is_dir() {
        return whole(cx, aws, args, Origin::Folder(path.to_owned())).await;
    }
    if !facts.is_file() || folder_wanted {
        let is = if facts.is_symlink() { "a symbolic link" } else { "no folder" };
        return Err(Failure::refused(format!("copy {name}"))
            .because(if facts.is_file() { "it is a file".to_owned() } else { format!("it is {is}") })
            .help("name a regular file or a folder; links are not followed"));
    }
    let fallback = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let destination = observe::destination(cx, aws, args, fallback).await?;
    file::run(cx, aws, args, path, destination).await
}

/// Everything of the origin.
async fn whole(cx: &Cx, aws: &Aws, args: &Args, origin: Origin) -> Result<Outcome, Failure> {
    let prefix = match &origin {
        Origin::Bucket { prefix, .. } => prefix.clone(),
        Origin::Folder(_) => String::new(),
    };
    let (destination, to) = observe::destination(cx, aws, args, &prefix).await?;
    if !to.is_empty() && !to.ends_with('/') {
        return Err(Failure::usage("choose where the copies go")
            .because(format!("{} names an object, and there will be several", destination.uri(&to)))
            .help("end it with a slash"));
    }
    if let Origin::Bucket { bucket, prefix, .. } = &origin
        && bucket.name == destination.name
        && (to.starts_with(prefix) || prefix.starts_with(&to))
    {
        return Err(Failure::refused(format!("copy {} to {}", bucket.uri(prefix), destination.uri(&to)))
            .because("one of them lies in the other")
            .help("correct --from or --to"));
    }
    let ours = cx.or_cancelled(unfinished::principal(aws)).await??;
    let usual = if matches!(origin, Origin::Folder(_)) { Order::Any } else { Order::NewestLast };
    let tree = Tree {
        cx: cx.clone(),
        origin,
        quick: destination.sending_once(tree::SMALL),
        destination,
        to,
        order: args.order.unwrap_or(usual),
        replace: args.replace,
        abort_others: args.abort_others,
        no_tags: args.no_tags,
        kms_key: args.kms_key.clone(),
        multipart_above: args.multipart_above,
        part_size: args.part_size,
        ours,
        careful: AtomicBool::new(false),
        large: Semaphore::new(tree::LARGE),
        content_type: args.content_type.clone(),
        archive: args.archive,
        allow_empty: args.allow_empty,
        memory: send::memory(),
        skipped: Mutex::default(),
    };
    match args.action {
        Verb::Copy => tree::run(tree).await,
        Verb::Compare => tree::compare(tree).await,
    }
}
