//! The arguments.

use std::time::Duration;

use aws::AwsArgs;
use clap::ValueEnum;

use crate::place::{From, Place, StackOutput};
use crate::plan::{COPY_LIMIT, SMALLEST_PART};
use crate::tree::order::Order;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Verb {
    /// Copy and prove it.
    Copy,
    /// Compare two trees, and write nothing.
    Compare,
}

/// What is the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LatestBy {
    /// By `LastModified`.
    Modified,
    /// By what the manifests of `backup-db` tell.
    Manifest,
}

/// The arguments of `copy-objects`.
#[derive(clap::Args, Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[command(about = "Copy objects inside S3, or files to S3, and prove it", long_about = include_str!("help.md"))]
pub struct Args {
    /// What is done: copy, or only compare the trees --from and --to (exit 3 if they differ)
    #[arg(long, value_enum, default_value = "copy", value_name = "ACTION")]
    pub(crate) action: Verb,

    /// What is copied: <s3://BUCKET/KEY>, with --latest or --tree <s3://BUCKET/PREFIX/>, or a file or folder here
    #[arg(long, value_name = "URI|PATH")]
    pub(crate) from: From,

    /// Copy everything below --from, which ends in a slash
    #[arg(long)]
    pub(crate) tree: bool,

    /// Keep a folder for good: below a prefix that is empty, with a list of SHA-256 sums as the last object
    #[arg(long)]
    pub(crate) archive: bool,

    /// With --archive: a folder without files is no failure
    #[arg(long)]
    pub(crate) allow_empty: bool,

    /// Copy the newest object below --from, by `LastModified`
    #[arg(long)]
    pub(crate) latest: bool,

    /// With --latest: the newest object, or the newest backup of backup-db by its manifest, copied with its manifest
    #[arg(long, value_enum, default_value = "modified", value_name = "HOW")]
    pub(crate) latest_by: LatestBy,

    /// With --latest: refuse a newest object older than this, as in 24h
    #[arg(long, value_name = "DURATION", value_parser = kit::parse_duration)]
    pub(crate) max_age: Option<Duration>,

    /// With --latest: refuse a newest object smaller than this, as in 100MiB
    #[arg(long, value_name = "SIZE", default_value = "1", value_parser = parse_size)]
    pub(crate) min_size: u64,

    /// Where the copy goes, as <s3://BUCKET/KEY>, or as <s3://BUCKET/PREFIX/> to keep the name
    #[arg(long, value_name = "URI", conflicts_with = "to_stack_output")]
    pub(crate) to: Option<Place>,

    /// The bucket of the copy is the value of this output of a CloudFormation stack
    #[arg(long, value_name = "STACK.OUTPUT")]
    pub(crate) to_stack_output: Option<StackOutput>,

    /// With --to-stack-output: the copy's KEY, or PREFIX/ to keep the name [default: the source's key]
    #[arg(long, value_name = "KEY", conflicts_with = "to")]
    pub(crate) to_key: Option<String>,

    /// With --tree: in which order; a copy's `LastModified` is the time of copying [default: newest-last; of files: any]
    #[arg(long, value_enum, value_name = "ORDER")]
    pub(crate) order: Option<Order>,

    /// Of files: their `Content-Type` [default: by their names' endings]
    #[arg(long, value_name = "TYPE")]
    pub(crate) content_type: Option<String>,

    /// Read the source and write the copy in this process, where no one principal may do both
    #[arg(long)]
    pub(crate) through: bool,

    /// With --through: read the source with the credentials of this profile of ~/.aws/config
    #[arg(long, value_name = "NAME")]
    pub(crate) source_profile: Option<String>,

    /// With --through: assume this role to read the source
    #[arg(long, value_name = "ARN")]
    pub(crate) source_role_arn: Option<String>,

    /// Put the copy in the place of another object
    #[arg(long)]
    pub(crate) replace: bool,

    /// Abort unfinished uploads to the same key that another principal began
    #[arg(long)]
    pub(crate) abort_others: bool,

    /// Leave the tags behind
    #[arg(long)]
    pub(crate) no_tags: bool,

    /// Encrypt the copy under this KMS key [default: the source's key, or as the bucket does by default]
    #[arg(long, value_name = "KEY")]
    pub(crate) kms_key: Option<String>,

    /// The account that has to own the source's bucket
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) expect_source_owner: Option<String>,

    /// The account that has to own the copy's bucket [default: with --to-stack-output the one that has the stack]
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) expect_destination_owner: Option<String>,

    /// Copy objects larger than this in parts; S3 allows no more than 5GiB in one call, other servers less
    #[arg(long, value_name = "SIZE", default_value = "5GiB", value_parser = parse_limit)]
    pub(crate) multipart_above: u64,

    /// Parts are at least this large, and larger where an object would have more than 9,500 of them
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = parse_part)]
    pub(crate) part_size: u64,

    #[command(flatten)]
    pub(crate) aws: AwsArgs,
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
