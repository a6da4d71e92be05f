//! The backup that a migration asks for, since nothing takes a migration back.

use std::time::Duration;

use kit::{Failure, Note};
use postgres::{Identity, Manifest, Rung};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::observe::SeenBackup;

const AGAIN: &str = "run backup-db again and give its output `manifest-uri`";

/// What the guard knows.
#[derive(Debug)]
pub(crate) struct Guard<'a> {
    pub(crate) database: &'a str,
    /// The server itself, where the step is connected to it.
    pub(crate) server: Option<&'a Identity>,
    pub(crate) backup: Option<&'a SeenBackup>,
    pub(crate) without_backup: Option<&'a str>,
    pub(crate) max_age: Duration,
    pub(crate) min_rung: Rung,
    pub(crate) dry_run: bool,
    pub(crate) now: OffsetDateTime,
}

/// How far clocks of two machines may differ.
const SKEW: Duration = Duration::from_mins(1);

impl Guard<'_> {
    /// Asks for the backup; returns how it is restored.
    pub(crate) fn judge(&self, notes: &mut Vec<Note>) -> Result<String, Failure> {
        let database = self.database;
        let attempt = format!("migrate {database}");
        if let Some(named) = self.without_backup {
            if named != database {
                return Err(Failure::refused(attempt)
                    .because(format!("--without-backup names {named}, and this is the database {database}"))
                    .help("name the database that you mean to change without a backup"));
            }
            notes.push(Note::Warning(format!("no backup of {database} is asked for: --without-backup")));
            return Ok("this run goes without a backup; restore one that was taken before it".to_owned());
        }
        let Some(backup) = self.backup else {
            if self.dry_run {
                notes.push(Note::Info(
                    "applying this will need a backup: --require-backup s3://.../KEY.manifest.json"
                        .to_owned(),
                ));
                return Ok("restore the backup that --require-backup will name".to_owned());
            }
            return Err(Failure::refused(attempt).because("a migration can't be undone, and no backup is given").help(
            format!("run backup-db and give its output `manifest-uri` as --require-backup, or go without: --without-backup {database}"),
        ));
        };
        let manifest = self.check(backup).map_err(|(why, help)| {
            Failure::refused(attempt)
                .because(format!("the backup {} can't stand in for an undo: {why}", backup.uri))
                .help(help)
        })?;
        let of = manifest.started.format(&Rfc3339).unwrap_or_default();
        notes.push(Note::Info(format!(
            "backup: {} of {of}, verified up to {}",
            manifest.uri(),
            manifest.rung
        )));
        if self.server.is_none() {
            let of = manifest.system_identifier.as_deref().unwrap_or("unknown");
            notes.push(Note::Info(format!(
                "the backup is of a server with the system identifier {of}; whether the task migrates that very server can't be seen from here"
            )));
        }
        Ok(format!(
            "restore the backup of {of} into a new database: backup-db --action restore --backup {} --into NEWDB (its dump is {})",
            backup.uri,
            manifest.uri()
        ))
    }

    fn check<'a>(&self, backup: &'a SeenBackup) -> Result<&'a Manifest, (String, &'static str)> {
        let manifest = backup.manifest.as_ref().map_err(|why| (why.clone(), AGAIN))?;
        if manifest.kind != "dump" {
            return Err((
                format!(
                    "it is of the kind {}, and only a dump of this one database takes it back alone",
                    manifest.kind
                ),
                AGAIN,
            ));
        }
        if manifest.database != self.database {
            return Err((
                format!("it is of the database {}, not {}", manifest.database, self.database),
                AGAIN,
            ));
        }
        if let Some(identity) = self.server {
            same_server(manifest, identity)?;
        }
        // What was begun in the future has no age, and would be new for good.
        for (what, time) in [("ended", manifest.ended), ("was begun", manifest.started)] {
            if time > self.now + SKEW {
                let time = time.format(&Rfc3339).unwrap_or_default();
                return Err((
                    format!("it is from the future: it {what} at {time}"),
                    "set the clocks of both machines",
                ));
            }
        }
        // Its data are from when it was begun: a dump of an hour is an hour old when it ends.
        let age = Duration::try_from(self.now - manifest.started).unwrap_or_default();
        if age > self.max_age {
            let minutes = |time: Duration| time.as_secs() / 60;
            return Err((
                format!("it is {} min old, and --max-age is {} min", minutes(age), minutes(self.max_age)),
                AGAIN,
            ));
        }
        if manifest.rung < self.min_rung {
            return Err((
                format!("it was verified up to {}, and --min-rung is {}", manifest.rung, self.min_rung),
                "back up with a higher --verify, or accept less with --min-rung",
            ));
        }
        let uri = manifest.uri();
        let object = backup.object.as_ref().map_err(|why| (format!("the object {uri}: {why}"), AGAIN))?;
        if u64::try_from(object.bytes).ok() != Some(manifest.bytes) {
            return Err((
                format!(
                    "the object {uri} has {} bytes, and the manifest says {}",
                    object.bytes, manifest.bytes
                ),
                AGAIN,
            ));
        }
        if object.etag != manifest.etag {
            return Err((
                format!(
                    "the object {uri} has the ETag {}, and the manifest says {}",
                    object.etag, manifest.etag
                ),
                AGAIN,
            ));
        }
        if let Some(has) =
            object.checksum_crc64nvme.as_ref().filter(|has| **has != manifest.checksum_crc64nvme)
        {
            return Err((
                format!(
                    "the object {uri} has the CRC64NVME checksum {has}, and the manifest says {}",
                    manifest.checksum_crc64nvme
                ),
                AGAIN,
            ));
        }
        Ok(manifest)
    }
}

fn same_server(manifest: &Manifest, identity: &Identity) -> Result<(), (String, &'static str)> {
    match (&manifest.system_identifier, &identity.system_identifier) {
        (Some(theirs), Some(ours)) if theirs == ours => Ok(()),
        (Some(theirs), Some(ours)) => {
            let why =
                format!("it is of another server: its system identifier is {theirs}, and here it is {ours}");
            Err((why, "back up this server, or check the connection settings of both steps"))
        }
        _ => {
            let why = match &identity.system_identifier_unknown {
                Some(reason) => format!("whether it is of this server can't be seen: {reason}"),
                None => "whether it is of this server can't be seen: it has no system identifier".to_owned(),
            };
            Err((why, "GRANT EXECUTE ON FUNCTION pg_control_system() to the role, and back up again"))
        }
    }
}
