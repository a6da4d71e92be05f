//! `--undo`: deletes the object that a run wrote, and only that.

use aws::Aws;
use kit::{Action, ActionRecord, Cx, Failure, Go, Note, Outcome, Plan, Receipt};
use s3::{Bucket, Object};
use serde::Serialize;
use time::{Duration, OffsetDateTime};

use crate::apply::{Inverse, Written};
use crate::backup::WRITE_MANIFEST;
use crate::plan::COPY;
use crate::resume::Whose;
use crate::tree::archive::WRITE_SUMS;
use crate::tree::plan::COPY_TREE;
use crate::tree::undo::Deletions;

/// The actions that wrote one object each.
const IDS: [&str; 5] = [COPY, "copy-dump", "copy-globals", WRITE_MANIFEST, WRITE_SUMS];

#[derive(Serialize)]
struct UndoPlan {
    deletions: Vec<Deletion>,
    trees: Vec<Deletions>,
    #[serde(skip)]
    notes: Vec<Note>,
}

#[derive(Serialize)]
struct Deletion {
    id: String,
    uri: String,
    what: What,
    #[serde(skip)]
    store: Bucket,
    #[serde(skip)]
    inverse: Inverse,
    #[serde(skip)]
    takes_back: ActionRecord,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum What {
    Object {
        etag: String,
        version: Option<String>,
    },
    /// No object came to be, and what is left of its upload is to be aborted.
    Upload {
        ids: Vec<String>,
    },
}

impl Plan for UndoPlan {
    fn actions(&self) -> Vec<Action> {
        let act = |deletion: &Deletion| {
            let (does, why) = match &deletion.what {
                What::Object { version: Some(version), .. } => (
                    format!("delete version {version} of {}", deletion.uri),
                    "a version is deleted for good; the source is as it was, and can be copied again",
                ),
                What::Object { version: None, .. } => (
                    format!("delete {}", deletion.uri),
                    "the copy is gone then; the source is as it was, and can be copied again",
                ),
                What::Upload { .. } => (
                    format!("abort the unfinished upload of {}", deletion.uri),
                    "its parts never became an object",
                ),
            };
            Action::irreversible(&deletion.id, does, why)
        };
        let trees = self
            .trees
            .iter()
            .enumerate()
            .filter(|(_, tree)| !tree.is_empty())
            .map(|(n, tree)| tree.action(n + 1));
        self.deletions.iter().map(act).chain(trees).collect()
    }

    fn notes(&self) -> Vec<Note> {
        self.notes.iter().cloned().chain(self.trees.iter().flat_map(Deletions::notes)).collect()
    }

    fn unchanged(&self) -> String {
        "nothing of that run is there any more".to_owned()
    }
}

pub(crate) async fn undo(cx: &Cx, aws: &Aws, receipt: &Receipt) -> Result<Outcome, Failure> {
    receipt.understood(|record| IDS.contains(&record.id.as_str()) || record.id == COPY_TREE)?;
    let mut plan = UndoPlan { deletions: Vec::new(), trees: Vec::new(), notes: Vec::new() };
    let mut gone = Vec::new();
    for record in receipt.undoable().into_iter().filter(|record| IDS.contains(&record.id.as_str())) {
        let inverse: Inverse = serde_json::from_value(record.inverse.clone())
            .map_err(|error| Failure::usage(format!("read the inverse of {}", record.id)).because(error))?;
        let find = Bucket::find(aws, &inverse.bucket, inverse.owner.clone(), "the receipt");
        let store = cx.or_cancelled(find).await??;
        let uri = store.uri(&inverse.key);
        if !record.reversible {
            return Err(Failure::refused(format!("take the copy to {uri} back"))
                .because(format!("it can't be taken back: {}", record.undo))
                .help("delete it by hand if it is to go, or copy another object in its place"));
        }
        let there = cx.or_cancelled(store.head(&inverse.key, None)).await??;
        let written: Option<Written> = serde_json::from_value(record.result.clone()).ok();
        let what = match there {
            Some(there) if is_copy(&inverse, written.as_ref(), &there) => {
                What::Object { etag: there.etag, version: there.version }
            }
            Some(there) if written.is_none() && inverse.replaced.as_deref() == Some(&there.etag) => {
                plan.notes.push(Note::Info(format!("{uri} is what it was before the run")));
                gone.push(record.clone());
                continue;
            }
            Some(there) => {
                return Err(Failure::refused(format!("delete {uri}"))
                    .because(format!(
                        "the object that is there now ({}) is not the one that the run wrote",
                        there.in_words()
                    ))
                    .help("look who wrote it; delete it by hand if it is to go"));
            }
            None => {
                let left = match written {
                    Some(_) => Vec::new(),
                    None => crate::unfinished::begun(cx, aws, &store, &inverse.key).await?,
                };
                // Two clocks tell the times; of a run that this receipt continues, it has none.
                let began =
                    if record.run == receipt.run { receipt.started } else { OffsetDateTime::UNIX_EPOCH };
                let since = began - Duration::minutes(5);
                let (ours, theirs): (Vec<_>, Vec<_>) =
                    left.into_iter().partition(|it| it.whose != Whose::Others && it.upload.begun >= since);
                plan.notes.extend(theirs.iter().map(|it| {
                    Note::Info(format!(
                        "an unfinished upload of {uri} is not of that run (begun {} by {}): it stays",
                        kit::minute(it.upload.begun),
                        it.upload.by
                    ))
                }));
                if ours.is_empty() {
                    plan.notes.push(Note::Info(format!("{uri} is not there")));
                    gone.push(record.clone());
                    continue;
                }
                What::Upload { ids: ours.into_iter().map(|it| it.upload.id).collect() }
            }
        };
        plan.deletions.push(Deletion {
            id: format!("undo-{}-{}", record.id, plan.deletions.len() + 1),
            uri,
            what,
            store,
            inverse,
            takes_back: record.clone(),
        });
    }
    for record in receipt.undoable().into_iter().filter(|record| record.id == COPY_TREE) {
        let tree = crate::tree::undo::look(cx, aws, record, &plan.trees).await?;
        plan.trees.push(tree);
    }
    if let Go::Stop(outcome) = cx.show(&plan)? {
        return Ok(outcome);
    }
    for record in &gone {
        cx.mark_undone(record)?;
    }
    for deletion in &plan.deletions {
        cx.act_undo(&deletion.id, &deletion.takes_back, delete(deletion)).await?;
    }
    let mut deleted = plan.deletions.len();
    for (n, tree) in plan.trees.iter().enumerate() {
        if tree.is_empty() {
            cx.mark_undone(&tree.takes_back)?;
        } else {
            cx.act_undo(
                &format!("{}-{}", tree.id, n + 1),
                &tree.takes_back,
                crate::tree::undo::delete(cx, tree),
            )
            .await?;
            deleted += tree.len();
        }
    }
    Ok(match deleted {
        0 => Outcome::unchanged(plan.unchanged()),
        1 => Outcome::changed("the copy is deleted"),
        n => Outcome::changed(format!("{n} copies are deleted")),
    })
}

/// Whether the object that is there is the one that the run wrote. Where the answer of its call is not known, it is told by
/// the source's size and checksum.
fn is_copy(inverse: &Inverse, written: Option<&Written>, there: &Object) -> bool {
    if let Some(written) = written {
        return written.etag == there.etag && written.version == there.version;
    }
    let same_crc = inverse.crc64nvme.is_some() && inverse.crc64nvme == there.crc64nvme;
    inverse.replaced.as_deref() != Some(&there.etag)
        && inverse.bytes == there.bytes
        && (same_crc || inverse.etag == there.etag)
}

async fn delete(deletion: &Deletion) -> Result<(), Failure> {
    let (store, key) = (&deletion.store, &deletion.inverse.key);
    match &deletion.what {
        What::Upload { ids } => store.abort_those(key, |upload| ids.contains(&upload.id)).await,
        What::Object { etag, version } => {
            store.delete(key, version.as_deref(), etag).await?;
            let there = store.head(key, None).await?;
            let wanted = deletion.inverse.replaced.as_deref().filter(|_| version.is_some());
            if there.as_ref().map(|there| there.etag.as_str()) == wanted {
                Ok(())
            } else {
                Err(Failure::unverified(format!("delete {}", deletion.uri)).because(match (there, wanted) {
                    (Some(_), None) => "S3 accepted it, and an object is still there",
                    _ => "S3 accepted it, and the object from before is not current again",
                }))
            }
        }
    }
}
