//! `--undo`: deletes the objects that a run wrote, and only those.

use kit::{Action, ActionRecord, Cx, Failure, Go, Note, Outcome, Plan, Receipt};
use s3::Bucket;
use serde::Serialize;

use crate::dump::{Inverse, PROVE, Written};
use crate::key::{archive_of, is_archive, manifest_of};

#[derive(Serialize)]
struct UndoPlan {
    deletions: Vec<Deletion>,
    #[serde(skip)]
    notes: Vec<Note>,
}

#[derive(Clone, Serialize)]
struct Deletion {
    id: String,
    uri: String,
    key: String,
    /// `None` where no object came to be, and what is left of its upload is to be aborted.
    etag: Option<String>,
    #[serde(skip)]
    takes_back: ActionRecord,
}

impl Plan for UndoPlan {
    fn actions(&self) -> Vec<Action> {
        self.deletions
            .iter()
            .map(|deletion| match deletion.etag {
                Some(_) => Action::irreversible(
                    &deletion.id,
                    format!("delete {}", deletion.uri),
                    "the backup is gone then; in a bucket with versions it can be fetched back",
                ),
                None => Action::irreversible(
                    &deletion.id,
                    format!("abort the unfinished upload of {}", deletion.uri),
                    "its parts never became an object",
                ),
            })
            .collect()
    }

    fn notes(&self) -> Vec<Note> {
        self.notes.clone()
    }

    fn unchanged(&self) -> String {
        "nothing of that run is there any more".to_owned()
    }
}

/// The archive that an object of a backup belongs to, or is.
fn archive(key: &str) -> Option<&str> {
    if is_archive(key) { Some(key) } else { archive_of(key) }
}

/// Refuses to delete a dump, or what lies beside it, that another run verified and gave its manifest: this one was killed before.
async fn nobody_elses(cx: &Cx, store: &Bucket, key: &str, own: &[String]) -> Result<(), Failure> {
    let Some(manifest) = archive(key).map(manifest_of).filter(|manifest| !own.contains(manifest)) else {
        return Ok(());
    };
    match cx.or_cancelled(store.head(&manifest, None)).await?? {
        None => Ok(()),
        Some(_) => Err(Failure::refused(format!("delete {}", store.uri(key)))
            .because(format!(
                "another run finished this backup: {} is not of the run that is undone",
                store.uri(&manifest)
            ))
            .help("undo with the receipt of the run that finished it, if the backup is to go")),
    }
}

pub(crate) async fn undo(cx: &Cx, store: &Bucket, receipt: &Receipt) -> Result<Outcome, Failure> {
    let mut plan = UndoPlan { deletions: Vec::new(), notes: Vec::new() };
    let mut gone = Vec::new();
    // What this receipt wrote and nobody took back; the manifest is gone where it was taken back.
    let own: Vec<String> = receipt
        .undoable()
        .into_iter()
        .filter_map(|record| serde_json::from_value::<Inverse>(record.inverse.clone()).ok())
        .map(|inverse| inverse.key)
        .collect();
    for record in receipt.undoable().into_iter().filter(|record| record.reversible) {
        if record.id == PROVE {
            plan.notes.push(Note::Info(
                "the database of the proof that was killed is dropped by the next proof on that server"
                    .to_owned(),
            ));
            continue;
        }
        let inverse: Inverse = serde_json::from_value(record.inverse.clone())
            .map_err(|error| Failure::usage(format!("read the inverse of {}", record.id)).because(error))?;
        if inverse.bucket != store.name {
            return Err(Failure::usage("undo this receipt").because(format!(
                "its objects are in the bucket {}, --to names {}",
                inverse.bucket, store.name
            )));
        }
        let key = inverse.key;
        // A key has the second in it: a run that was killed at once and the next one may have meant the same. The last one wrote it.
        if plan.deletions.iter().any(|deletion| deletion.key == key) {
            gone.push(record.clone());
            continue;
        }
        let etag = if let Some(stored) = cx.or_cancelled(store.head(&key, None)).await?? {
            let left: Option<Written> = serde_json::from_value(record.result.clone()).ok();
            let same = left.is_none_or(|left| left.etag == stored.etag);
            if !stored.written_by(&record.run) || !same {
                return Err(Failure::refused(format!("delete {}", store.uri(&key)))
                    .because("the object that is there now is not the one that the run wrote")
                    .help("look who wrote it; delete it by hand if it is to go"));
            }
            nobody_elses(cx, store, &key, &own).await?;
            Some(stored.etag)
        } else {
            let left = cx.or_cancelled(store.unfinished(&key)).await??;
            if !left.iter().any(|upload| upload.key == key) {
                gone.push(record.clone());
                plan.notes.push(Note::Info(format!("{} is not there", store.uri(&key))));
                continue;
            }
            None
        };
        plan.deletions.push(Deletion {
            id: format!("undo-{}", record.id),
            uri: store.uri(&key),
            key,
            etag,
            takes_back: record.clone(),
        });
    }
    if let Go::Stop(outcome) = cx.show(&plan)? {
        return Ok(outcome);
    }
    for record in &gone {
        cx.mark_undone(record)?;
    }
    for deletion in &plan.deletions {
        let call = async {
            match &deletion.etag {
                Some(etag) => store.delete(&deletion.key, None, etag).await?,
                None => store.abort_all(&deletion.key).await?,
            }
            match store.head(&deletion.key, None).await? {
                None => Ok(()),
                Some(_) => Err(Failure::unverified(format!("delete {}", deletion.uri))
                    .because("S3 accepted it, and the object is still there")),
            }
        };
        cx.act_undo(&deletion.id, &deletion.takes_back, call).await?;
    }
    Ok(match plan.deletions.len() {
        0 => Outcome::unchanged(plan.unchanged()),
        1 => Outcome::changed("1 object of the backup is deleted"),
        n => Outcome::changed(format!("{n} objects of the backup are deleted")),
    })
}
