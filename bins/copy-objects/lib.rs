#![doc = include_str!("help.md")]

mod apply;
mod latest;
mod observe;
mod parts;
mod place;
mod plan;
#[cfg(test)]
mod plan_tests;
mod read;
mod undo;
mod verify;

use std::time::Duration;

use aws::{Aws, AwsArgs};
use kit::{Cx, ExitCode, Failure, Go, Outcome, Output, Permission, Step};

use apply::{Ends, Written};
use place::{Place, StackOutput};
use plan::{COPY_LIMIT, Request, SMALLEST_PART, Work, plan};
use verify::Contents;

/// The step `copy-objects`.
pub const STEP: Step = Step {
    name: "copy-objects",
    command: kit::command::<Args>,
    outputs: &[
        Output { name: "source-uri", description: "the s3:// URI of what was copied" },
        Output { name: "copy-uri", description: "the s3:// URI of the copy" },
        Output { name: "bytes", description: "its size in bytes" },
        Output { name: "etag", description: "the ETag of the copy, with its quotes" },
        Output {
            name: "version-id",
            description: "the version of the copy; absent where the bucket keeps none",
        },
        Output { name: "verified-by", description: "what was found to be the same on both sides" },
    ],
    permissions: &[
        Permission { action: "sts:GetCallerIdentity", resource: "*", when: "" },
        Permission { action: "s3:ListBucket", resource: "arn:aws:s3:::SOURCE", when: "" },
        Permission { action: "s3:GetObject", resource: "arn:aws:s3:::SOURCE/*", when: "" },
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
            meaning: "the copy is there and is not what the source was, or the source was replaced meanwhile; --undo deletes it",
        },
        ExitCode {
            code: kit::Code::Deadline,
            meaning: "deadline passed; a copy in parts left nothing, one that is not may yet appear; running again looks",
        },
        ExitCode {
            code: kit::Code::Waiting,
            meaning: "source or destination was changed by someone else after it was looked at; nothing was copied",
        },
    ],
    timeout: Duration::from_hours(2),
    run: |matches, cx| kit::bind(matches, cx, run),
};

/// The arguments of `copy-objects`.
#[derive(clap::Args, Clone, Debug)]
#[command(about = "Copy an object from one S3 bucket to another, server-side, and prove it", long_about = include_str!("help.md"))]
pub struct Args {
    /// What is copied, as <s3://BUCKET/KEY>; with --latest as <s3://BUCKET/PREFIX>
    #[arg(long, value_name = "URI")]
    from: Place,

    /// Copy the newest object below --from, by `LastModified`
    #[arg(long)]
    latest: bool,

    /// With --latest: refuse a newest object older than this, as in 24h
    #[arg(long, value_name = "DURATION", value_parser = kit::parse_duration)]
    max_age: Option<Duration>,

    /// With --latest: refuse a newest object smaller than this, as in 100MiB
    #[arg(long, value_name = "SIZE", default_value = "1", value_parser = parse_size)]
    min_size: u64,

    /// Where the copy goes, as <s3://BUCKET/KEY>, or as <s3://BUCKET/PREFIX/> to keep the name
    #[arg(long, value_name = "URI", conflicts_with = "to_stack_output")]
    to: Option<Place>,

    /// The bucket of the copy is the value of this output of a CloudFormation stack
    #[arg(long, value_name = "STACK.OUTPUT")]
    to_stack_output: Option<StackOutput>,

    /// With --to-stack-output: the copy's KEY, or PREFIX/ to keep the name [default: the source's key]
    #[arg(long, value_name = "KEY", conflicts_with = "to")]
    to_key: Option<String>,

    /// Put the copy in the place of another object
    #[arg(long)]
    replace: bool,

    /// Leave the tags behind
    #[arg(long)]
    no_tags: bool,

    /// Encrypt the copy under this KMS key [default: the source's key, or as the bucket does by default]
    #[arg(long, value_name = "KEY")]
    kms_key: Option<String>,

    /// The account that has to own the source's bucket
    #[arg(long, value_name = "ACCOUNT")]
    expect_source_owner: Option<String>,

    /// The account that has to own the copy's bucket [default: with --to-stack-output the one that has the stack]
    #[arg(long, value_name = "ACCOUNT")]
    expect_destination_owner: Option<String>,

    /// Copy objects larger than this in parts; S3 allows no more than 5GiB in one call, other servers less
    #[arg(long, value_name = "SIZE", default_value = "5GiB", value_parser = parse_limit)]
    multipart_above: u64,

    /// Parts are at least this large, and larger where an object would have more than 9,500 of them
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = parse_part)]
    part_size: u64,

    #[command(flatten)]
    aws: AwsArgs,
}

/// Bytes, as a number or with a binary unit.
fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text} is not a size; write it as in 100MiB (KiB, MiB, GiB, TiB, or bytes)");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return Err(wrong()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift)).ok_or_else(wrong)
}

fn parse_limit(text: &str) -> Result<u64, String> {
    parse_size(text).and_then(|size| {
        if size <= COPY_LIMIT { Ok(size) } else { Err("S3 copies at most 5GiB in one call".to_owned()) }
    })
}

fn parse_part(text: &str) -> Result<u64, String> {
    parse_size(text).and_then(|size| {
        if (SMALLEST_PART..=COPY_LIMIT).contains(&size) {
            Ok(size)
        } else {
            Err("parts have from 5MiB to 5GiB".to_owned())
        }
    })
}

async fn run(args: Args, cx: Cx) -> Result<Outcome, Failure> {
    let aws = Aws::connect(&cx, &args.aws).await?;
    if let Some(receipt) = cx.undo() {
        return undo::undo(&cx, &aws, receipt).await;
    }
    let from = source(&args)?;
    let (ends, world) = observe::observe(&cx, &aws, &args, &from).await?;
    cx.observed(&world);
    let request = Request {
        replace: args.replace,
        multipart_above: args.multipart_above,
        part_size: args.part_size,
        kms_key: args.kms_key.clone(),
    };
    let plan = plan(&request, &world)?;
    if let Go::Stop(outcome) = cx.show(&plan)? {
        return Ok(outcome);
    }
    let written = apply::apply(&cx, &ends, &plan).await?;
    let (written, by) = match (&plan.work, written) {
        (Work::Copy(copy), Some(written)) => {
            let by = prove(&cx, &ends, &copy.wanted, &written, args.no_tags).await?;
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
    let size = s3::size(ends.object.bytes);
    Ok(match plan.work {
        Work::Keep(_) => {
            Outcome::unchanged(format!("{} is a copy of {} already ({size}, same {by})", plan.to, plan.from))
        }
        Work::Copy(_) => {
            Outcome::changed(format!("{} is a copy of {} ({size}, verified: same {by})", plan.to, plan.from))
        }
    })
}

/// The source, which has to be one object unless the newest is looked for.
fn source(args: &Args) -> Result<Place, Failure> {
    let usage = |because: &str, help: &str| Failure::usage("choose what to copy").because(because).help(help);
    if !args.latest && (args.from.path.is_empty() || args.from.path.ends_with('/')) {
        return Err(usage(
            "--from names a prefix",
            "name an object, or add --latest for the newest below it",
        ));
    }
    if !args.latest && (args.max_age.is_some() || args.min_size != 1) {
        return Err(usage(
            "--max-age and --min-size are conditions of --latest",
            "add --latest, or leave them out",
        ));
    }
    if args.to_key.is_some() && args.to_stack_output.is_none() {
        return Err(usage("--to-key goes with --to-stack-output", "write the key into --to"));
    }
    Ok(args.from.clone())
}

/// Looks at both ends anew. Says by what they are the same.
async fn prove(
    cx: &Cx,
    ends: &Ends,
    wanted: &verify::Wanted,
    written: &Written,
    no_tags: bool,
) -> Result<String, Failure> {
    let uri = ends.destination.uri(&ends.key);
    let unverified = |why: String| {
        Failure::unverified(format!("verify {uri}"))
            .because(why)
            .help("do not rely on it; --undo RECEIPT deletes it, and the source is as it was")
    };
    let there = cx.or_cancelled(ends.destination.head(&ends.key, None)).await??;
    let Some(mut there) = there else {
        return Err(unverified("S3 accepted the copy, and there is no such object".to_owned()));
    };
    if there.etag != written.etag {
        return Err(unverified(format!(
            "another object is there by now: ETag {} was written, {} is there",
            written.etag, there.etag
        )));
    }
    if !no_tags {
        there.tags = Some(observe::tags(cx, &ends.destination, &ends.key, None).await?);
    }
    let judged = match verify::contents(&ends.object, &there) {
        Contents::Unknown => {
            let source = (&ends.source, ends.source_key.as_str(), &ends.object);
            read::compare(cx, source, (&ends.destination, &ends.key, &there)).await?
        }
        judged => judged,
    };
    let by = match judged {
        Contents::Same(by) => by,
        Contents::Different(why) => {
            return Err(unverified(format!("its content is not the source's: {why}")));
        }
        Contents::Unknown => return Err(unverified("its content can't be compared".to_owned())),
    };
    let other = verify::attributes(wanted, &there);
    if !other.is_empty() {
        return Err(unverified(format!("its content is the source's, and {}", other.join(", "))));
    }
    let source = cx.or_cancelled(ends.source.head(&ends.source_key, None)).await??;
    if source.as_ref().is_none_or(|now| now.etag != ends.object.etag || now.version != ends.object.version) {
        return Err(Failure::unverified(format!("verify {uri}"))
            .because(format!(
                "{} was replaced or deleted meanwhile: the copy is whole, and of what was there before",
                ends.source.uri(&ends.source_key)
            ))
            .help("run it again with --replace to copy what is there now"));
    }
    Ok(by)
}
