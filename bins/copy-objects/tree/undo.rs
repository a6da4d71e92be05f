//! Takes a tree back: deletes each object that is still what the run wrote.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use aws::Aws;
use kit::{Action, ActionRecord, Cx, Failure, Note};
use s3::Bucket;
use serde::Serialize;
use tokio::task::JoinSet;

use super::apply::{Inverse, fingerprint};
use super::item::{Count, Names, Work, shown};
use super::list;
use super::manifest::Files;

/// How many are deleted at the same time.
const DELETIONS: usize = 32;

/// What is left of a tree.
#[derive(Debug, Serialize)]
pub(crate) struct Deletions {
    pub(crate) id: String,
    to: String,
    delete: Count,
    gone: u64,
    lost: Names,
    #[serde(skip)]
    prefix: String,
    #[serde(skip)]
    bucket: Option<Bucket>,
    #[serde(skip)]
    objects: Vec<Doomed>,
    #[serde(skip)]
    pub(crate) takes_back: ActionRecord,
}

#[derive(Clone, Debug)]
struct Doomed {
    key: String,
    etag: String,
    version: Option<String>,
}

impl Deletions {
    pub(crate) fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }

    pub(crate) fn action(&self, n: usize) -> Action {
        let does = format!("delete {} below {} that the run wrote", self.delete.in_words(), self.to);
        Action::irreversible(
            format!("{}-{n}", self.id),
            does,
            "the source is as it was, and can be copied again",
        )
    }

    pub(crate) fn notes(&self) -> Vec<Note> {
        let mut notes = Vec::new();
        if self.gone > 0 {
            notes.push(Note::Info(format!("{} that the run wrote are gone already", self.gone)));
        }
        if self.lost.count > 0 {
            notes.push(Note::Warning(format!(
                "{} replaced other objects, and stay: the bucket keeps no versions, what was there is lost (the first: {})",
                self.lost.count,
                self.lost.first.first().map(String::as_str).unwrap_or_default()
            )));
        }
        notes
    }
}

/// Compares what the run noted with what is there. What `earlier`, the deletions of later runs that the receipt continues,
/// have in hand is theirs.
pub(crate) async fn look(
    cx: &Cx,
    aws: &Aws,
    record: &ActionRecord,
    earlier: &[Deletions],
) -> Result<Deletions, Failure> {
    let inverse: Inverse = serde_json::from_value(record.inverse.clone())
        .map_err(|error| Failure::usage(format!("read the inverse of {}", record.id)).because(error))?;
    let Some(receipt) = cx.undo_path() else {
        return Err(Failure::failed("take a tree back").because("there is no receipt"));
    };
    let files = Files::beside(receipt, &inverse.files);
    let find = Bucket::find(aws, &inverse.bucket, inverse.owner.clone(), "the receipt");
    let bucket = cx.or_cancelled(find).await??;
    let mut written: HashMap<String, (u64, Option<String>)> = HashMap::new();
    let mut lines = files.read_written()?;
    while let Some((_, done)) = lines.next()? {
        written.insert(done.key, (fingerprint(&done.etag), done.version));
    }
    let mut deletions = Deletions {
        id: format!("undo-{}", record.id),
        to: bucket.uri(&inverse.prefix),
        delete: Count::default(),
        gone: 0,
        lost: Names::default(),
        prefix: inverse.prefix.clone(),
        bucket: Some(bucket.clone()),
        objects: Vec::new(),
        takes_back: record.clone(),
    };
    let taken: HashSet<&str> = earlier
        .iter()
        .filter(|other| other.bucket.as_ref().is_some_and(|other| other.name == bucket.name))
        .flat_map(|other| other.objects.iter().map(|doomed| doomed.key.as_str()))
        .collect();
    let mut others = Names::default();
    let mut there = list::bucket(&bucket, &inverse.prefix);
    let mut next = None;
    let mut listed = files.read_listed()?;
    while let Some((_, line)) = listed.next()? {
        let known = written.remove(&line.item.key);
        // What was there already stays, also where it was written again to stay the newest.
        if line.work == Work::Keep {
            continue;
        }
        let key = &line.item.key;
        let found = loop {
            let item = match next.take() {
                Some(item) => item,
                None => match cx.or_cancelled(there.recv()).await?.transpose()? {
                    Some(item) => item,
                    None => break None,
                },
            };
            match item.key.as_bytes().cmp(key.as_bytes()) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => break Some(item),
                std::cmp::Ordering::Greater => {
                    next = Some(item);
                    break None;
                }
            }
        };
        let Some(found) = found else {
            deletions.gone += u64::from(known.is_some());
            continue;
        };
        if taken.contains(format!("{}{key}", inverse.prefix).as_str()) {
            continue;
        }
        let version = match known {
            Some((etag, version)) if etag == fingerprint(&found.etag) => version,
            // Not noted: the run was killed between the call and the note, or never came to it.
            None if line.there.as_ref() == Some(&found.etag) => continue,
            None => {
                let full = format!("{}{key}", inverse.prefix);
                let object = cx.or_cancelled(bucket.head(&full, None)).await??;
                match object {
                    Some(object)
                        if object.etag == found.etag
                            && found.bytes == line.item.bytes
                            && found.modified >= inverse.begun
                            && (found.etag == line.item.etag || !line.item.has_md5() || object.is_kms()) =>
                    {
                        object.version
                    }
                    _ => {
                        others.add(shown(key));
                        continue;
                    }
                }
            }
            Some(_) => {
                others.add(shown(key));
                continue;
            }
        };
        if line.work == Work::Replace && version.is_none() {
            deletions.lost.add(shown(key));
            continue;
        }
        deletions.delete.add(found.bytes);
        deletions.objects.push(Doomed { key: format!("{}{key}", inverse.prefix), etag: found.etag, version });
    }
    if let Some(key) = written.keys().min() {
        return Err(Failure::usage(format!("read {}", files.listed.display()))
            .because(format!(
                "{} that the run wrote are not listed in it, such as {}: it was cut off",
                kit::counted(written.len(), "object"),
                shown(key)
            ))
            .help("give it as the run left it, beside the receipt"));
    }
    if others.count > 0 {
        let failure = Failure::refused(format!("take the copies below {} back", deletions.to))
            .because(format!("{} of them are not the ones that the run wrote", others.count))
            .help("look who wrote them; delete by hand what is to go");
        return Err(others.tell(failure, "another"));
    }
    Ok(deletions)
}

/// Deletes them, each only as long as it is the one that was seen.
pub(crate) async fn delete(cx: &Cx, deletions: &Deletions) -> Result<(), Failure> {
    let Some(bucket) = deletions.bucket.clone().map(Arc::new) else { return Ok(()) };
    let mut in_flight = JoinSet::new();
    let mut waiting = deletions.objects.iter().cloned();
    let mut failed: Option<Failure> = None;
    let mut deleted = 0_u64;
    loop {
        while failed.is_none() && in_flight.len() < DELETIONS {
            if cx.or_cancelled(std::future::ready(())).await.is_err() {
                failed = Some(cx.cancellation());
                break;
            }
            let Some(doomed) = waiting.next() else { break };
            let bucket = Arc::clone(&bucket);
            in_flight.spawn(async move {
                bucket.delete(&doomed.key, doomed.version.as_deref(), &doomed.etag).await
            });
        }
        let Some(ended) = in_flight.join_next().await else { break };
        match ended.map_err(|error| Failure::failed("delete").because(error)).and_then(|result| result) {
            Ok(()) => deleted += 1,
            Err(failure) => {
                failed.get_or_insert(failure);
            }
        }
    }
    match failed {
        None => gone(cx, &bucket, deletions).await,
        Some(failure) => Err(failure.untouched(deleted == 0).state(format!(
            "{deleted} of {} are deleted; running it again deletes the others",
            deletions.delete.in_words()
        ))),
    }
}

/// Looks whether they are gone.
async fn gone(cx: &Cx, bucket: &Bucket, deletions: &Deletions) -> Result<(), Failure> {
    let doomed: HashMap<&str, u64> =
        deletions.objects.iter().map(|doomed| (doomed.key.as_str(), fingerprint(&doomed.etag))).collect();
    let mut left = Names::default();
    let mut there = list::bucket(bucket, &deletions.prefix);
    while let Some(item) = cx.or_cancelled(there.recv()).await?.transpose()? {
        let key = format!("{}{}", deletions.prefix, item.key);
        if doomed.get(key.as_str()) == Some(&fingerprint(&item.etag)) {
            left.add(shown(&key));
        }
    }
    if left.count == 0 {
        return Ok(());
    }
    let failure = Failure::unverified(format!("delete what is below {}", deletions.to))
        .because(format!("S3 accepted it, and {} are still there", left.count));
    Err(left.tell(failure, "still there"))
}
