//! The newest backup of `backup-db`: its dump and what belongs to it, and last the manifest, without which it is none.
//!
//! The manifest is not copied as it stands: it says where the backup lies and which `ETag` it has, and of the copy that
//! would be the old place. What was proven of the bytes holds for the copy, whose bytes are proven to be the same.

use std::time::Duration;

use kit::{Action, Failure, Note, Plan};
use s3::{Listed, Object};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use crate::latest::Conditions;
use crate::plan::CopyPlan;

/// What a manifest's key ends in, beside the dump's key.
pub(crate) const SUFFIX: &str = ".manifest.json";
/// The format of manifests that is known here; `docs/` of `backup-db` describe it.
const SCHEMA: &str = "cutover-backup/1";
/// The action that writes the manifest.
pub(crate) const WRITE_MANIFEST: &str = "write-manifest";
/// How many manifests are read to find the newest.
pub(crate) const MOST: usize = 1000;

/// What has to be known of a manifest; the rest is carried over as it is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Told {
    kind: String,
    bytes: u64,
    sha256: String,
    checksum_crc64nvme: String,
    etag: String,
    #[serde(default)]
    globals_key: Option<String>,
    database: String,
    #[serde(default)]
    system_identifier: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    started: OffsetDateTime,
}

/// A backup, by its manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Backup {
    /// The key of the manifest.
    pub(crate) manifest: String,
    pub(crate) value: Map<String, Value>,
    told: Told,
}

impl Backup {
    /// Reads the manifest at `key`; nothing if it is somebody else's kind of manifest.
    pub(crate) fn parse(uri: &str, key: &str, text: &[u8]) -> Result<Option<Self>, Failure> {
        let refused = |why: String| {
            Failure::refused(format!("read the manifest {uri}"))
                .because(why)
                .help("look what wrote it; a manifest that can't be read may be the newest")
        };
        let value: Value =
            serde_json::from_slice(text).map_err(|error| refused(format!("it is not JSON: {error}")))?;
        match value.get("schema").and_then(Value::as_str) {
            Some(SCHEMA) => {}
            Some(other) if other.starts_with("cutover-backup/") => {
                return Err(refused(format!("its schema is {other}, this version reads {SCHEMA}")));
            }
            _ => return Ok(None),
        }
        let told = Told::deserialize(&value).map_err(|error| refused(format!("it is not whole: {error}")))?;
        let Value::Object(value) = value else { return Ok(None) };
        Ok(Some(Self { manifest: key.to_owned(), value, told }))
    }

    /// The key of the dump, which lies beside its manifest wherever both were copied to.
    pub(crate) fn dump(&self) -> String {
        self.manifest.strip_suffix(SUFFIX).unwrap_or(&self.manifest).to_owned()
    }

    /// The key of the roles and tablespaces, beside it too.
    pub(crate) fn globals(&self) -> Option<String> {
        let name = self.told.globals_key.as_ref()?.rsplit('/').next()?;
        let folder = self.manifest.rfind('/').and_then(|slash| self.manifest.get(..=slash)).unwrap_or("");
        Some(format!("{folder}{name}"))
    }

    pub(crate) fn in_words(&self, now: OffsetDateTime) -> String {
        format!(
            "{} is the newest backup of {}: {}, begun {} ago",
            self.manifest,
            self.told.database,
            kit::size(self.told.bytes),
            kit::age(Duration::try_from(now - self.told.started).unwrap_or_default())
        )
    }

    /// SHA-256 of the dump, lower-case hexadecimal.
    pub(crate) fn sha256(&self) -> &str {
        &self.told.sha256
    }

    /// Whether the object is the dump that the manifest tells of; nothing where only reading it would tell.
    pub(crate) fn is_dump(&self, object: &Object) -> Option<bool> {
        if object.bytes != self.told.bytes {
            return Some(false);
        }
        match &object.crc64nvme {
            Some(crc) => Some(*crc == self.told.checksum_crc64nvme),
            None => (object.etag == self.told.etag).then_some(true),
        }
    }

    /// The manifest of the copy.
    pub(crate) fn of_copy(&self, copy: &Copied<'_>) -> Map<String, Value> {
        let mut value = self.value.clone();
        value.insert("bucket".to_owned(), json!(copy.bucket));
        value.insert("key".to_owned(), json!(copy.key));
        value.insert("etag".to_owned(), json!(copy.etag));
        value.insert("parts".to_owned(), json!(copy.parts()));
        match copy.version {
            Some(version) => value.insert("version_id".to_owned(), json!(version)),
            None => value.remove("version_id"),
        };
        if let Some(globals) = copy.globals {
            value.insert("globals_key".to_owned(), json!(globals));
        }
        value.insert("copied_from".to_owned(), json!(copy.from));
        value
    }
}

/// Where the copy of a backup lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copied<'a> {
    /// The URI of the manifest that was copied.
    pub(crate) from: &'a str,
    pub(crate) bucket: &'a str,
    pub(crate) key: &'a str,
    pub(crate) etag: &'a str,
    pub(crate) version: Option<&'a str>,
    pub(crate) globals: Option<&'a str>,
}

impl Copied<'_> {
    /// As many as the `ETag` of an object in parts says behind its hyphen.
    fn parts(&self) -> u32 {
        self.etag.trim_matches('"').rsplit_once('-').and_then(|(_, parts)| parts.parse().ok()).unwrap_or(1)
    }
}

/// How far the clock of the machine that wrote a backup may be ahead of this one's.
const SKEW: time::Duration = time::Duration::minutes(5);

/// The newest backup by the time at which it was begun: its data are from no earlier than this.
pub(crate) fn newest<'a>(
    place: &str,
    backups: &'a [Backup],
    now: OffsetDateTime,
    conditions: Conditions,
) -> Result<&'a Backup, Failure> {
    let refused = || Failure::refused(format!("find the newest backup below {place}"));
    let Some(newest) = backups.iter().max_by_key(|backup| backup.told.started) else {
        return Err(refused()
            .because(format!("no manifest of backup-db is there (*{SUFFIX})"))
            .help("correct --from, or leave --latest-by out to take the newest object"));
    };
    let source = |backup: &'a Backup| (&backup.told.database, &backup.told.system_identifier);
    if let Some(other) = backups.iter().find(|backup| source(backup) != source(newest)) {
        return Err(refused()
            .because("there are backups of several databases")
            .help("name the folder of one of them with --from")
            .state(format!("one: {} ({})", newest.manifest, newest.told.database))
            .state(format!("another: {} ({})", other.manifest, other.told.database)));
    }
    let ties = backups.iter().filter(|backup| backup.told.started == newest.told.started);
    if ties.clone().count() > 1 {
        return Err(ties.fold(
            refused().because("several are equally new").help("name one with --from, without --latest"),
            |failure, backup| failure.state(format!("candidate: {}", backup.manifest)),
        ));
    }
    if newest.told.kind != "dump" {
        return Err(refused()
            .because(format!(
                "{} is of the kind {}, and only dumps are copied by their manifest",
                newest.manifest, newest.told.kind
            ))
            .help("name the folder of the database's dumps with --from, or copy the folder of that backup with --tree"));
    }
    // What was begun in the future has no age, and would be the newest until then.
    if newest.told.started > now + SKEW {
        return Err(refused()
            .because(format!("{} is from the future: it was begun at {}", newest.manifest, kit::minute(newest.told.started)))
            .help("set the clock of the machine that wrote it, and look at that backup: name another with --from, without --latest"));
    }
    let old = Duration::try_from(now - newest.told.started).unwrap_or_default();
    if let Some(most) = conditions.max_age
        && old > most
    {
        return Err(refused()
            .because(format!(
                "{} is {} old, --max-age allows {}",
                newest.manifest,
                kit::age(old),
                kit::age(most)
            ))
            .help("find out why there is no newer one, or allow a greater age"));
    }
    if newest.told.bytes < conditions.min_size {
        return Err(refused()
            .because(format!(
                "{} has {} bytes, less than --min-size {}",
                newest.manifest, newest.told.bytes, conditions.min_size
            ))
            .help("look at the job that wrote it"));
    }
    Ok(newest)
}

/// The keys of manifests in a list.
pub(crate) fn manifests(listed: &[Listed]) -> Vec<&str> {
    listed.iter().map(|object| object.key.as_str()).filter(|key| key.ends_with(SUFFIX)).collect()
}

/// Copies, and the manifest after them.
#[derive(Debug, Serialize)]
pub(crate) struct BackupPlan {
    pub(crate) copies: Vec<CopyPlan>,
    /// The URI of the manifest that is written; nothing where it is there.
    pub(crate) manifest: Option<String>,
    /// The `ETag` and version of the manifest that it replaces.
    pub(crate) replaces: Option<(String, Option<String>)>,
    #[serde(skip)]
    pub(crate) note: String,
}

impl Plan for BackupPlan {
    fn actions(&self) -> Vec<Action> {
        let mut actions: Vec<Action> = self.copies.iter().flat_map(Plan::actions).collect();
        if let Some(uri) = &self.manifest {
            let does = format!("write the manifest {uri}, which makes the copy a backup");
            actions.push(match &self.replaces {
                Some((_, None)) => {
                    Action::irreversible(WRITE_MANIFEST, does, "the one that is replaced is lost")
                }
                _ => Action::new(WRITE_MANIFEST, does, "delete it if it is still this one"),
            });
        }
        actions
    }

    fn notes(&self) -> Vec<Note> {
        let notes = self.copies.iter().flat_map(Plan::notes);
        [Note::Info(self.note.clone())].into_iter().chain(notes).collect()
    }

    fn unchanged(&self) -> String {
        let copies: Vec<String> = self.copies.iter().map(Plan::unchanged).collect();
        format!("{}, and its manifest is there", copies.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup(key: &str, started: &str, database: &str) -> Backup {
        let text = json!({
            "schema": SCHEMA, "kind": "dump", "bucket": "old", "key": format!("x/{key}"), "bytes": 10,
            "sha256": "00", "checksum_crc64nvme": "crc", "etag": "\"e-2\"", "parts": 2, "version_id": "v",
            "globals_key": format!("x/{key}.globals.sql"), "database": database, "started": started,
            "something": {"new": [1]},
        });
        let manifest = format!("x/{key}{SUFFIX}");
        Backup::parse("s3://old/m", &manifest, text.to_string().as_bytes()).unwrap().unwrap()
    }

    fn pick(backups: &[Backup], max_age: u64, min_size: u64) -> Result<String, String> {
        let now = OffsetDateTime::from_unix_timestamp(1_795_262_400).unwrap();
        let conditions = Conditions { max_age: Some(Duration::from_secs(max_age)), min_size };
        newest("s3://old/x/", backups, now, conditions)
            .map(|backup| backup.manifest.clone())
            .map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn the_newest_is_by_the_time_that_the_manifest_tells() {
        // 2026-11-21T12:00:00Z is now; the key sorts the other way, and so would the text of the times.
        let backups =
            [backup("b", "2026-11-21T09:00:00Z", "rally"), backup("a", "2026-11-21T12:30:00+02:00", "rally")];
        assert_eq!(pick(&backups, 7200, 1), Ok(format!("x/a{SUFFIX}")));
        assert!(pick(&backups, 5000, 1).unwrap_err().contains("1 h 30 min old"));
        assert!(pick(&backups, 7200, 11).unwrap_err().contains("less than --min-size 11"));
        assert!(pick(&[], 7200, 1).unwrap_err().contains("no manifest"));
        let ahead =
            [backup("a", "2026-11-21T12:06:00Z", "rally"), backup("b", "2026-11-21T11:00:00Z", "rally")];
        assert!(pick(&ahead, 7200, 1).unwrap_err().contains("from the future"));
        let several =
            [backup("b", "2026-11-21T09:00:00Z", "rally"), backup("a", "2026-11-21T10:00:00Z", "cutt")];
        assert!(pick(&several, 7200, 1).unwrap_err().contains("several databases"));
        let ties =
            [backup("b", "2026-11-21T11:00:00Z", "rally"), backup("a", "2026-11-21T13:00:00+02:00", "rally")];
        assert!(pick(&ties, 7200, 1).unwrap_err().contains("equally new"));
    }

    #[test]
    fn the_manifest_of_the_copy_names_the_copy_and_keeps_the_rest() {
        let backup = backup("a", "2026-11-21T10:00:00Z", "rally");
        assert_eq!((backup.dump(), backup.globals()), ("x/a".into(), Some("x/a.globals.sql".into())));
        let copied = Copied {
            from: "s3://old/x/a.manifest.json",
            bucket: "new",
            key: "y/a",
            etag: "\"f\"",
            version: None,
            globals: Some("y/a.globals.sql"),
        };
        let value = backup.of_copy(&copied);
        let text = |name: &str| value.get(name).map(ToString::to_string).unwrap_or_default();
        assert_eq!(
            ["bucket", "key", "etag", "parts", "version_id", "globals_key", "something", "sha256"].map(text),
            [
                "\"new\"",
                "\"y/a\"",
                "\"\\\"f\\\"\"",
                "1",
                "",
                "\"y/a.globals.sql\"",
                "{\"new\":[1]}",
                "\"00\""
            ]
        );
    }

    #[test]
    fn what_is_no_manifest_is_passed_over_and_what_may_be_one_refused() {
        let parse = |text: &str| Backup::parse("u", "k", text.as_bytes());
        assert_eq!(parse(r#"{"name": "a web app"}"#).unwrap(), None);
        for text in ["PGDMP", r#"{"schema":"cutover-backup/2"}"#, r#"{"schema":"cutover-backup/1"}"#] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
