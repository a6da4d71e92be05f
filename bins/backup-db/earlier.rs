//! What dumps and base backups have in common: the backups that are there already, and the manifest that makes one.

use std::time::Duration;

use kit::{Cx, Failure, Note};
use postgres::{Manifest, Rung, manifest};
use s3::{Bucket, Object};
use serde::Serialize;
use time::OffsetDateTime;

use crate::dump::{Inverse, Written, read_manifest, rfc3339};
use crate::key::{Names, manifest_of};
use crate::shelf::age;
use crate::verify::whole;

/// What has less than half the size that it had in the last backup is refused.
pub(crate) const SHRINK: u64 = 2;
/// The id of the action that writes the manifest.
pub(crate) const MANIFEST: &str = "write-manifest";

/// A backup with the backup id of this run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Earlier {
    pub(crate) manifest: Manifest,
    /// The dump or archive itself, if it is still there.
    pub(crate) stored: Option<Object>,
}

/// What an earlier run left and what turned out to be unusable.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Removal {
    pub(crate) key: String,
    pub(crate) etag: String,
    pub(crate) why: String,
}

/// The latest of these manifests of one kind, in their order, and what is to be said of those that can't be read.
pub(crate) async fn latest(
    cx: &Cx,
    store: &Bucket,
    manifests: impl Iterator<Item = &String>,
    kind: &str,
    warnings: &mut Vec<String>,
) -> Result<Option<Manifest>, Failure> {
    for key in manifests {
        match cx.or_cancelled(read_manifest(store, key)).await?? {
            Ok(manifest) if manifest.kind == kind => return Ok(Some(manifest)),
            // A base backup lies where the dumps of a database called `base` do.
            Ok(_) => {}
            Err(why) => warnings.push(format!("{} can't be read: {why}", store.uri(key))),
        }
    }
    Ok(None)
}

/// Those of `keys` that may have this backup id: the backups that do, and what has no manifest and could have been one.
pub(crate) async fn same<'k>(
    cx: &Cx,
    store: &Bucket,
    names: &Names,
    backup_id: &str,
    keys: &'k [String],
) -> Result<(Vec<Earlier>, Vec<&'k str>), Failure> {
    let mut same = Vec::new();
    let mut loose = Vec::new();
    for key in keys.iter().filter(|key| names.may_be_same(key)) {
        let manifest_key = manifest_of(key);
        if keys.contains(&manifest_key) {
            // One that can't be read was warned of with the latest, or is older than it.
            let Ok(manifest) = cx.or_cancelled(read_manifest(store, &manifest_key)).await?? else { continue };
            if manifest.backup_id.as_deref() == Some(backup_id) {
                same.push(Earlier { manifest, stored: cx.or_cancelled(store.head(key, None)).await?? });
            }
        } else if names.is_ours(key) {
            loose.push(&**key);
        }
    }
    Ok((same, loose))
}

/// What an earlier backup must be to do instead of a new one.
pub(crate) struct Asked<'a> {
    /// The database or server.
    pub(crate) subject: &'a str,
    pub(crate) system: Option<&'a str>,
    pub(crate) backup_id: &'a str,
    pub(crate) rung: Rung,
    pub(crate) max_age: Duration,
    pub(crate) now: OffsetDateTime,
}

/// The earlier backup that is good enough. One of another server is refused: the id was meant for that.
pub(crate) fn kept(
    asked: &Asked<'_>,
    same: &[Earlier],
    notes: &mut Vec<Note>,
) -> Result<Option<Manifest>, Failure> {
    for Earlier { manifest, stored } in same {
        if manifest.system_identifier.as_deref() != asked.system {
            return Err(Failure::refused(format!("back up {} as {}", asked.subject, asked.backup_id))
                .because(format!(
                    "{} has this backup id and is of another server (system identifier {}, this one's is {})",
                    manifest.uri(),
                    manifest.system_identifier.as_deref().unwrap_or("unknown"),
                    asked.system.unwrap_or("unknown")
                ))
                .help("give each server its own --backup-id, or its own prefix in --to"));
        }
        let why = match age(asked.now, manifest.started) {
            None => Some("it is from the future".to_owned()),
            Some(age) if age > asked.max_age => Some("it is older than --max-age".to_owned()),
            Some(_) if manifest.rung < asked.rung => Some(format!("{} is asked for", asked.rung)),
            Some(_) => None,
        };
        if let Some(why) = why {
            notes.push(Note::Info(format!(
                "{} of {} ({}) has the same backup id; {why}",
                manifest.uri(),
                rfc3339(manifest.started),
                manifest.rung,
            )));
        } else if stored.as_ref().is_some_and(|stored| whole(manifest, stored)) {
            return Ok(Some(manifest.clone()));
        } else {
            notes.push(Note::Warning(format!(
                "{} is no longer what its manifest says: a new backup is made",
                manifest.uri()
            )));
        }
    }
    Ok(None)
}

/// The refusal of something that lost more than half of its size since the last backup: "the database has", and how much.
pub(crate) fn shrunk(subject: &str, it_has: &str, now: u64, before: u64, last: &Manifest) -> Failure {
    Failure::refused(format!("back up {subject}"))
        .because(format!(
            "{it_has} {}, and had {} in the last backup, {} of {}",
            kit::size(now),
            kit::size(before),
            last.uri(),
            rfc3339(last.started)
        ))
        .help("look what became of the data; if all is well, add --allow-shrink")
}

/// Writes the manifest, with which a dump or archive becomes a backup.
pub(crate) async fn write_manifest(cx: &Cx, store: &Bucket, manifest: &Manifest) -> Result<(), Failure> {
    let key = manifest_of(&manifest.key);
    let inverse = Inverse { bucket: store.name.clone(), key: key.clone() };
    let put = async {
        let text = serde_json::to_vec_pretty(manifest)
            .map_err(|error| Failure::failed("write the manifest").because(error).untouched(true))?;
        Ok(Written::of(&store.put(&key, &cx.run_id(), "application/json", text).await?))
    };
    cx.act(MANIFEST, &inverse, put).await.map_err(|failure| {
        failure.state(format!(
            "the {} is there and was read back, but is no backup without its manifest: running again with the same \
             --backup-id ({}) finishes it",
            if manifest.kind == manifest::BASE { "archive" } else { "dump" },
            manifest.backup_id.as_deref().unwrap_or("unknown")
        ))
    })?;
    Ok(())
}

/// The outputs of a backup.
pub(crate) fn outputs(cx: &Cx, manifest: &Manifest, restore_command: String) {
    cx.output("manifest-uri", format!("s3://{}/{}", manifest.bucket, manifest_of(&manifest.key)));
    cx.output("sha256", &*manifest.sha256);
    cx.output("bytes", manifest.bytes.to_string());
    cx.output("duration", (manifest.ended - manifest.started).whole_seconds().to_string());
    cx.output("rung", manifest.rung.word());
    cx.output("restore-command", restore_command);
    cx.output("backup-uri", manifest.uri());
}
