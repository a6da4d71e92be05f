//! Reads both ends' state into plain data.

use std::collections::BTreeMap;

use aws::Aws;
use changeset::live::Cfn;
use kit::{Cx, Failure};
use s3::Bucket;

use crate::Args;
use crate::apply::Ends;
use crate::latest::{Conditions, latest};
use crate::place::{Place, StackOutput, is_bucket, key_of_copy};
use crate::plan::{Side, There, World, how_old};
use crate::read::compare;
use crate::unfinished;
use crate::verify::{Contents, contents};

pub(crate) async fn observe(
    cx: &Cx,
    (source_aws, aws): (&Aws, &Aws),
    args: &Args,
    from: &Place,
) -> Result<(Ends, World), Failure> {
    let now = cx.now();
    let source_owner = args.expect_source_owner.clone();
    let source = cx.or_cancelled(Bucket::find(source_aws, &from.bucket, source_owner, "--from")).await??;
    let (source_key, chosen) = if args.latest {
        let (listed, unfinished) = cx
            .or_cancelled(async { tokio::try_join!(source.list(&from.path), source.unfinished(&from.path)) })
            .await??;
        let conditions = Conditions { max_age: args.max_age, min_size: args.min_size };
        let newest = latest(&from.to_string(), &listed, &unfinished, now, conditions)?;
        let chosen = format!(
            "{} is the newest of {} below {from}: {} old",
            newest.key,
            listed.len(),
            how_old(now, newest.modified)
        );
        (newest.key.clone(), Some((chosen, newest.etag.clone())))
    } else {
        (from.path.clone(), None)
    };
    observed(cx, aws, args, from, source, source_key, chosen).await
}

/// An object that is named, below a prefix that its copy's name does not have.
pub(crate) async fn observe_named(
    cx: &Cx,
    (source_aws, aws): (&Aws, &Aws),
    args: &Args,
    below: &Place,
    key: &str,
) -> Result<(Ends, World), Failure> {
    let owner = args.expect_source_owner.clone();
    let source = cx.or_cancelled(Bucket::find(source_aws, &below.bucket, owner, "--from")).await??;
    observed(cx, aws, args, below, source, key.to_owned(), None).await
}

async fn observed(
    cx: &Cx,
    aws: &Aws,
    args: &Args,
    from: &Place,
    source: Bucket,
    source_key: String,
    chosen: Option<(String, String)>,
) -> Result<(Ends, World), Failure> {
    let now = cx.now();
    let object = cx.or_cancelled(source.head(&source_key, None)).await??;
    let Some(mut object) = object else {
        return Err(Failure::refused(format!("copy {}", source.uri(&source_key)))
            .because("there is no such object")
            .help("correct --from; --latest takes the newest below a prefix"));
    };
    if chosen.as_ref().is_some_and(|(_, etag)| *etag != object.etag) {
        return Err(Failure::refused(format!("copy {}", source.uri(&source_key)))
            .because("it was replaced while it was looked at")
            .help("run the same command again"));
    }
    if !args.no_tags {
        let tags = tags(cx, &source, &source_key, object.version.as_deref()).await?;
        object.tags = Some(tags);
    }

    let (destination, path) = destination(cx, aws, args, &source_key).await?;
    let key = key_of_copy(&source_key, &from.path, &path);
    let mut there = None;
    // That both are the same object is for the plan to say.
    if (source.name != destination.name || source_key != key)
        && let Some(mut facts) = cx.or_cancelled(destination.head(&key, None)).await??
    {
        if !args.no_tags {
            facts.tags = Some(tags(cx, &destination, &key, None).await?);
        }
        let judged = match contents(&object, &facts) {
            Contents::Unknown if object.archived.is_none() && facts.archived.is_none() => {
                compare(cx, (&source, &source_key, &object), (&destination, &key, &facts)).await?
            }
            judged => judged,
        };
        there = Some(There { facts, contents: judged });
    }
    let unfinished = unfinished::begun(cx, aws, &destination, &key).await?;
    let in_parts = object.bytes > args.multipart_above || args.through;
    let ours = if in_parts { cx.or_cancelled(unfinished::principal(aws)).await?? } else { String::new() };
    let newest_beside = if in_parts && !unfinished.is_empty() {
        let folder = key.rfind('/').and_then(|slash| key.get(..=slash)).unwrap_or_default();
        let beside = cx.or_cancelled(destination.list(folder)).await??;
        beside.iter().filter(|other| other.key != key).map(|other| other.modified).max()
    } else {
        None
    };
    let world = World {
        now,
        source: Side { bucket: source.name.clone(), key: source_key.clone(), region: source.region.clone() },
        object: object.clone(),
        destination: Side {
            bucket: destination.name.clone(),
            key: key.clone(),
            region: destination.region.clone(),
        },
        there,
        unfinished,
        newest_beside,
        chosen: chosen.map(|(text, _)| text),
    };
    Ok((Ends { source, source_key, object, destination, key, ours }, world))
}

/// An object's tags.
pub(crate) async fn tags(
    cx: &Cx,
    bucket: &Bucket,
    key: &str,
    version: Option<&str>,
) -> Result<BTreeMap<String, String>, Failure> {
    let found = cx.or_cancelled(bucket.tags(key, version)).await?;
    found.map_err(|failure| failure.help("or leave the tags behind with --no-tags"))
}

/// The destination's bucket, and the key or prefix in it.
pub(crate) async fn destination(
    cx: &Cx,
    aws: &Aws,
    args: &Args,
    source_key: &str,
) -> Result<(Bucket, String), Failure> {
    let owner = args.expect_destination_owner.clone();
    if let Some(to) = &args.to {
        let store = cx.or_cancelled(Bucket::find(aws, &to.bucket, owner, "--to")).await??;
        return Ok((store, to.path.clone()));
    }
    let Some(output) = &args.to_stack_output else {
        return Err(Failure::usage("choose where the copy goes")
            .because("neither --to nor --to-stack-output is given")
            .help("add one of them"));
    };
    let bucket = bucket_of(cx, aws, output).await?;
    // A stack makes its buckets in its own account.
    let owner = owner.or_else(|| Some(aws.account.clone()));
    let store = cx.or_cancelled(Bucket::find(aws, &bucket, owner, "--to-stack-output")).await??;
    Ok((store, args.to_key.clone().unwrap_or_else(|| source_key.to_owned())))
}

/// The bucket that an output of a stack names.
async fn bucket_of(cx: &Cx, aws: &Aws, wanted: &StackOutput) -> Result<String, Failure> {
    let StackOutput { stack: name, output } = wanted;
    let refused = || Failure::refused(format!("find the bucket in the output {output} of stack {name}"));
    let Some(stack) = Cfn::new(aws).observe_stack(cx, name).await? else {
        return Err(refused()
            .because(format!("there is no stack {name} in account {}, region {}", aws.account, aws.region))
            .help("correct --to-stack-output, --region or the credentials"));
    };
    let Some(found) = stack.outputs.get(output) else {
        let names: Vec<&str> = stack.outputs.keys().map(String::as_str).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return Err(refused()
            .because(format!("the stack ({}) has no such output; it has: {names}", stack.status))
            .help("correct --to-stack-output"));
    };
    if !is_bucket(&found.value) {
        return Err(refused()
            .because(format!("its value is not the name of a bucket: {}", found.value))
            .help("name an output that holds the bucket's name"));
    }
    Ok(found.value.clone())
}
