//! Copies the newest backup: dump, globals, manifest.

use std::collections::BTreeMap;
use std::io::Write as _;

use aws::Aws;
use futures::{StreamExt as _, TryStreamExt as _};
use kit::{Cx, Failure, Go, Outcome};
use s3::Bucket;
use serde_json::{Map, Value};

use crate::apply::{Ends, Inverse, Written, apply};
use crate::args::Args;
use crate::backup::{Backup, BackupPlan, Copied, MOST, WRITE_MANIFEST, manifests, newest};
use crate::latest::Conditions;
use crate::observe;
use crate::place::{Place, key_of_copy};
use crate::plan::{CopyPlan, How, Request, Work, plan};
use crate::prove::prove;
use crate::reader::{sums, sums_of};
use crate::send::{self, Payload, Target, send};
use crate::verify::Wanted;

/// One object of the backup.
struct Member {
    ends: Ends,
    plan: CopyPlan,
    /// What lies at the destination already.
    there: Option<Written>,
}

pub(crate) async fn run(
    cx: &Cx,
    (source_aws, aws): (&Aws, &Aws),
    args: &Args,
    request: &Request,
    from: &Place,
) -> Result<Outcome, Failure> {
    let owner = args.expect_source_owner.clone();
    let bucket = cx.or_cancelled(Bucket::find(source_aws, &from.bucket, owner, "--from")).await??;
    let backup = find(cx, &bucket, args, from).await?;
    let folder = Place { bucket: from.bucket.clone(), path: from.path.clone() };
    let mut members =
        vec![member(cx, (source_aws, aws), args, request, &folder, &backup.dump(), "copy-dump").await?];
    if let Some(globals) = backup.globals() {
        let globals = member(cx, (source_aws, aws), args, request, &folder, &globals, "copy-globals").await?;
        members.push(globals);
    }
    let [dump, rest @ ..] = members.as_slice() else {
        return Err(Failure::failed("copy a backup").because("it has no dump"));
    };
    is_whole(cx, &backup, &dump.ends).await?;

    let destination = dump.ends.destination.clone();
    let key = key_of_copy(&backup.manifest, &from.path, &dump_folder(args, from, &dump.ends));
    let from_uri = bucket.uri(&backup.manifest);
    let of = |written: &Written| {
        backup.of_copy(&Copied {
            from: &from_uri,
            bucket: &destination.name,
            key: &dump.ends.key,
            etag: &written.etag,
            version: written.version.as_deref(),
            globals: rest.first().map(|globals| globals.ends.key.as_str()),
        })
    };
    let there = cx.or_cancelled(destination.head(&key, None)).await??;
    let keeps = members.iter().all(|member| matches!(member.plan.work, Work::Keep(_)));
    let same = match (&there, &dump.there) {
        (Some(_), Some(written)) if keeps => {
            let text = cx.or_cancelled(destination.text(&key)).await??;
            serde_json::from_slice::<Map<String, Value>>(&text).is_ok_and(|there| there == of(written))
        }
        _ => false,
    };
    if let (Some(other), false, false) = (&there, same, args.replace) {
        return Err(Failure::refused(format!("copy {from_uri} to {}", destination.uri(&key)))
            .because(format!("there is another manifest at the destination ({})", other.in_words()))
            .help("look whose it is; --replace puts this one in its place"));
    }
    let plan = BackupPlan {
        manifest: (!same).then(|| destination.uri(&key)),
        replaces: there.filter(|_| !same).map(|there| (there.etag, there.version)),
        note: backup.in_words(cx.now()),
        copies: members.iter().map(|member| member.plan.clone()).collect(),
    };
    if let Go::Stop(outcome) = cx.show(&plan)? {
        return Ok(outcome);
    }
    let mut written = None;
    let mut by = String::new();
    for (n, member) in members.iter().enumerate() {
        let (now, proven) = one(cx, member).await?;
        if n == 0 {
            (written, by) = (now, proven);
        }
    }
    let Some(written) = written else {
        return Err(Failure::failed("copy a backup").because("nothing is known of the dump"));
    };
    if plan.manifest.is_some() {
        let replaces = plan.replaces.as_ref().map(|(etag, _)| etag.clone());
        manifest(cx, &dump.ends, &key, &of(&written), replaces).await?;
    }
    cx.output("source-uri", bucket.uri(&dump.ends.source_key));
    cx.output("copy-uri", destination.uri(&dump.ends.key));
    cx.output("manifest-uri", destination.uri(&key));
    cx.output("bytes", dump.ends.object.bytes.to_string());
    cx.output("verified-by", &*by);
    cx.output("etag", written.etag);
    if let Some(version) = written.version {
        cx.output("version-id", version);
    }
    let what = format!("{} is a backup: a copy of {from_uri}", destination.uri(&key));
    let size = kit::size(dump.ends.object.bytes);
    Ok(if kit::Plan::actions(&plan).is_empty() {
        Outcome::unchanged(format!("{what} already ({size}, same {by})"))
    } else {
        Outcome::changed(format!("{what} ({size}, verified: same {by})"))
    })
}

/// The prefix that the copies go to, as `--to` or `--to-key` names it.
fn dump_folder(args: &Args, from: &Place, dump: &Ends) -> String {
    let given = args.to.as_ref().map(|to| to.path.clone()).or_else(|| args.to_key.clone());
    given.unwrap_or_else(|| {
        // With --to-stack-output alone, the keys stay what they are.
        let name = key_of_copy(&dump.source_key, &from.path, "");
        dump.key.strip_suffix(&name).unwrap_or_default().to_owned()
    })
}

/// Reads every manifest below the prefix and takes the newest.
async fn find(cx: &Cx, bucket: &Bucket, args: &Args, from: &Place) -> Result<Backup, Failure> {
    let listed = cx.or_cancelled(bucket.list(&from.path)).await??;
    let keys = manifests(&listed);
    if keys.len() > MOST {
        return Err(Failure::refused(format!("find the newest backup below {from}"))
            .because(format!("there are {} manifests, and at most {MOST} are read", keys.len()))
            .help("name the folder of one database with --from"));
    }
    let read = futures::stream::iter(keys).map(|key| async move {
        let text = bucket.text(key).await?;
        Backup::parse(&bucket.uri(key), key, &text)
    });
    let read: Vec<Option<Backup>> = cx.or_cancelled(read.buffer_unordered(16).try_collect()).await??;
    let backups: Vec<Backup> = read.into_iter().flatten().collect();
    let conditions = Conditions { max_age: args.max_age, min_size: args.min_size };
    newest(&from.to_string(), &backups, cx.now(), conditions).cloned()
}

async fn member(
    cx: &Cx,
    accounts: (&Aws, &Aws),
    args: &Args,
    request: &Request,
    folder: &Place,
    key: &str,
    id: &str,
) -> Result<Member, Failure> {
    // As a single object that is named, below the same prefix.
    let mut args = args.clone();
    args.latest = false;
    let below = Place { bucket: folder.bucket.clone(), path: folder.path.clone() };
    let (ends, world) = observe::observe_named(cx, accounts, &args, &below, key).await?;
    let mut plan = plan(request, &world)?;
    id.clone_into(&mut plan.id);
    Ok(Member { ends, plan, there: world.there.map(|there| Written::of(&there.facts)) })
}

/// Whether the dump beside the manifest is the one that it tells of.
async fn is_whole(cx: &Cx, backup: &Backup, dump: &Ends) -> Result<(), Failure> {
    let whole = if let Some(whole) = backup.is_dump(&dump.object) {
        whole
    } else {
        let sums = sums_of(cx, &dump.source, &dump.source_key, &dump.object).await?;
        sums.sha256.is_some_and(|sha256| kit::hex(&sha256) == backup.sha256())
    };
    if whole {
        return Ok(());
    }
    Err(Failure::refused(format!("copy the backup {}", dump.source.uri(&backup.manifest)))
        .because(format!(
            "{} is not the dump that its manifest tells of: another size or checksum",
            dump.source.uri(&dump.source_key)
        ))
        .help("it was replaced after it was verified: take a new backup"))
}

/// Copies one object unless it is there.
async fn one(cx: &Cx, member: &Member) -> Result<(Option<Written>, String), Failure> {
    let written = apply(cx, &member.ends, &member.plan).await?;
    Ok(match (&member.plan.work, written) {
        (Work::Copy(copy), Some(written)) => {
            let taken_up = matches!(&copy.how, How::Parts { resume: Some(_), .. });
            let by = prove(cx, &member.ends, &copy.wanted, &written, taken_up).await?;
            (Some(written), by)
        }
        (Work::Keep(by), _) => (member.there.clone(), by.clone()),
        _ => (None, String::new()),
    })
}

async fn manifest(
    cx: &Cx,
    dump: &Ends,
    key: &str,
    value: &Map<String, Value>,
    replaces: Option<String>,
) -> Result<(), Failure> {
    let uri = dump.destination.uri(key);
    let attempt = format!("write the manifest {uri}");
    let failed = |error: std::io::Error| Failure::failed(&attempt).because(error).untouched(true);
    let mut file = tempfile::Builder::new().prefix("copy-objects-").tempfile().map_err(failed)?;
    let text = serde_json::to_string_pretty(value).map_err(|error| failed(error.into()))?;
    file.write_all(format!("{text}\n").as_bytes()).map_err(failed)?;
    let ours = sums(cx, file.path(), false).await.map_err(|problem| problem.alone(&attempt))?;
    let target = Target {
        bucket: dump.destination.clone(),
        key: key.to_owned(),
        replaces: replaces.clone(),
        wanted: Wanted {
            headers: BTreeMap::from([("Content-Type".to_owned(), "application/json".to_owned())]),
            ..Wanted::of_file(String::new(), None)
        },
        bucket_key: None,
        ours: dump.ours.clone(),
        sha256: false,
    };
    let inverse = Inverse {
        bucket: dump.destination.name.clone(),
        key: key.to_owned(),
        owner: dump.destination.owner.clone(),
        replaced: replaces,
        bytes: ours.bytes,
        crc64nvme: Some(ours.crc64nvme),
        etag: String::new(),
    };
    let payload = Payload::File(file.path().to_owned());
    cx.act(WRITE_MANIFEST, &inverse, async {
        let sent = send(cx, &payload, &target, &send::memory()).await;
        let sent = sent.map_err(|problem| problem.alone(&attempt))?;
        Ok(Written { etag: sent.etag, version: sent.version, bytes: sent.bytes })
    })
    .await
    .map(|_| ())
}
