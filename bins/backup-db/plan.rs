//! Decides what is to be done: pure.

use std::time::Duration;

use kit::{Action, Failure, Note, Plan};
use postgres::{Manifest, Rung};
use s3::{Object, Sum, Unfinished, size};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::key::{globals_of, manifest_of};
use crate::tools::{Tools, Version};
use crate::verify::Tables;

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) bucket: String,
    pub(crate) backup_id: String,
    pub(crate) max_age: Duration,
    pub(crate) rung: Rung,
    pub(crate) allow_shrink: bool,
}

/// What was seen before anything was decided.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct World {
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) now: OffsetDateTime,
    pub(crate) database: Database,
    pub(crate) tools: Tools,
    pub(crate) globals: Globals,
    /// The key that a dump taken now would have, and whether it is taken.
    pub(crate) key: String,
    pub(crate) key_taken: bool,
    /// The latest backup of the database, whoever made it.
    pub(crate) last: Option<Manifest>,
    /// Backups with this backup id.
    pub(crate) same: Vec<Earlier>,
    /// Dumps with this backup id that have no manifest.
    pub(crate) unproven: Vec<Unproven>,
    /// Uploads that earlier runs began and did not end. No such run is alive: this one holds the lock.
    pub(crate) unfinished: Vec<Unfinished>,
    /// What the reader should know.
    pub(crate) warnings: Vec<String>,
}

/// The database, as its server describes it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Database {
    pub(crate) name: String,
    /// Host and port, or the folder of the socket.
    pub(crate) server: String,
    pub(crate) system_identifier: Option<String>,
    pub(crate) version: Version,
    pub(crate) bytes: u64,
}

/// Roles and tablespaces, as `pg_dumpall --globals-only` prints them.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Globals {
    NotWanted,
    /// The script.
    Read {
        #[serde(skip)]
        script: Vec<u8>,
    },
    /// The role may not read them, and why.
    Denied(String),
}

/// A backup with its manifest.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Earlier {
    pub(crate) manifest: Manifest,
    /// The dump itself, if it is still there.
    pub(crate) dump: Option<Object>,
}

/// A dump that was committed by a run that died before it wrote the manifest.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Unproven {
    pub(crate) key: String,
    pub(crate) stored: Object,
    pub(crate) origin: Origin,
    /// Whether its globals are there.
    pub(crate) has_globals: bool,
    /// What reading it back said: its sums, or what is wrong with it; `None` where it is too old to be of use.
    pub(crate) proof: Option<Result<Sum, String>>,
}

/// What the dump's own metadata say about its making, for the manifest of a run that finishes another's work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) run: String,
    pub(crate) backup_id: String,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) started: OffsetDateTime,
    pub(crate) database_bytes: u64,
    pub(crate) server_version: String,
    pub(crate) client_version: String,
    pub(crate) tables: Tables,
    pub(crate) snapshot: Option<String>,
}

/// What will be done.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BackupPlan {
    pub(crate) bucket: String,
    pub(crate) database: Database,
    pub(crate) abort: Vec<Unfinished>,
    pub(crate) remove: Vec<Removal>,
    pub(crate) work: Work,
    #[serde(skip)]
    notes: Vec<Note>,
}

/// A dump that turned out to be unusable.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Removal {
    pub(crate) key: String,
    pub(crate) etag: String,
    pub(crate) why: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Work {
    /// A verified backup with this id is there: nothing to do.
    Keep(Box<Manifest>),
    /// A whole dump with this id is there, read back, and lacks only what comes after it.
    Finish(Box<Finish>),
    /// A new dump.
    Dump(Box<Dump>),
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finish {
    pub(crate) key: String,
    pub(crate) stored: Object,
    pub(crate) origin: Origin,
    pub(crate) sum: Sum,
    pub(crate) write_globals: bool,
    /// Whether the earlier run wrote them.
    pub(crate) has_globals: bool,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Dump {
    pub(crate) key: String,
    pub(crate) tools: Tools,
    pub(crate) rung: Rung,
    pub(crate) write_globals: bool,
    /// A dump smaller than this is refused before it is committed.
    pub(crate) at_least: Option<u64>,
}

impl BackupPlan {
    pub(crate) fn uri(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.bucket)
    }

    /// The ids of the actions that end others' unfinished uploads.
    pub(crate) fn aborts(&self) -> impl Iterator<Item = (String, &Unfinished)> {
        self.abort.iter().enumerate().map(|(n, upload)| (format!("abort-upload-{}", n + 1), upload))
    }

    /// The ids of the actions that delete unusable dumps.
    pub(crate) fn removals(&self) -> impl Iterator<Item = (String, &Removal)> {
        self.remove.iter().enumerate().map(|(n, removal)| (format!("remove-dump-{}", n + 1), removal))
    }
}

pub(crate) const UPLOAD: &str = "upload-dump";
pub(crate) const GLOBALS: &str = "write-globals";
pub(crate) const MANIFEST: &str = "write-manifest";

impl Plan for BackupPlan {
    fn actions(&self) -> Vec<Action> {
        let mut actions: Vec<Action> = Vec::new();
        actions.extend(self.aborts().map(|(id, upload)| {
            Action::irreversible(
                id,
                format!("abort the unfinished upload of {} that an earlier run left", self.uri(&upload.key)),
                "its parts never became an object",
            )
        }));
        actions.extend(self.removals().map(|(id, removal)| {
            Action::irreversible(
                id,
                format!(
                    "delete {}: an earlier run left it without a manifest, and {}",
                    self.uri(&removal.key),
                    removal.why
                ),
                "it can't be restored from",
            )
        }));
        let write = |id: &str, what: &str, key: &str| {
            Action::new(id, format!("{what} {}", self.uri(key)), format!("delete {}", self.uri(key)))
        };
        let (key, globals) = match &self.work {
            Work::Keep(_) => return actions,
            Work::Finish(finish) => (&finish.key, finish.write_globals),
            Work::Dump(dump) => {
                let database = &self.database;
                actions.push(
                    write(
                        UPLOAD,
                        &format!(
                            "dump {} ({}, PostgreSQL {} on {}) with pg_dump {} to",
                            database.name,
                            size(database.bytes),
                            database.version,
                            database.server,
                            dump.tools.version
                        ),
                        &dump.key,
                    )
                    .detail(format!(
                        "committed only when pg_dump has exited with 0, then verified: {}",
                        described(dump.rung)
                    )),
                );
                (&dump.key, dump.write_globals)
            }
        };
        if globals {
            actions.push(write(
                GLOBALS,
                "write the roles and tablespaces, without passwords, to",
                &globals_of(key),
            ));
        }
        actions.push(write(MANIFEST, "write the manifest, last, to", &manifest_of(key)));
        actions
    }

    fn notes(&self) -> Vec<Note> {
        self.notes.clone()
    }

    fn unchanged(&self) -> String {
        match &self.work {
            Work::Keep(manifest) => {
                format!("{} of {} is verified ({})", manifest.uri(), rfc3339(manifest.started), manifest.rung)
            }
            Work::Finish(_) | Work::Dump(_) => String::new(),
        }
    }
}

/// What a rung proves, for a person.
pub(crate) fn described(rung: Rung) -> &'static str {
    match rung {
        Rung::Present => "size and checksum of the object",
        Rung::Contents => "the above and its table of contents against the catalogue",
        Rung::ReadBack => "read back whole, SHA-256 compared, and through pg_restore to its end",
        Rung::Restored => "restored",
    }
}

fn rfc3339(time: OffsetDateTime) -> String {
    time.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}

/// A dump or database of less than half the last one's size is refused.
const SHRINK: u64 = 2;
/// Clocks of two machines may differ by so much.
const SKEW: Duration = Duration::from_mins(5);

/// Decides; refuses what would replace a good backup by a doubtful one, or write over anything.
pub(crate) fn plan(request: &Request, world: &World) -> Result<BackupPlan, Failure> {
    let fresh = |started: OffsetDateTime| {
        let age = world.now - started;
        age <= request.max_age && world.now + SKEW >= started
    };
    let mut notes: Vec<Note> = world.warnings.iter().cloned().map(Note::Warning).collect();
    let mut remove = Vec::new();
    let uri = |key: &str| format!("s3://{}/{key}", request.bucket);
    let planned = |work: Work, remove: Vec<Removal>, notes: Vec<Note>| BackupPlan {
        bucket: request.bucket.clone(),
        database: world.database.clone(),
        abort: world.unfinished.clone(),
        remove,
        work,
        notes,
    };

    for earlier in &world.same {
        let manifest = &earlier.manifest;
        if manifest.system_identifier != world.database.system_identifier {
            return Err(Failure::refused(format!(
                "back up {} as {}",
                world.database.name, request.backup_id
            ))
            .because(format!(
                "{} has this backup id and is of another server (system identifier {}, this one's is {})",
                manifest.uri(),
                or_unknown(manifest.system_identifier.as_deref()),
                or_unknown(world.database.system_identifier.as_deref())
            ))
            .help("give each server its own --backup-id, or its own prefix in --to"));
        }
        let whole = earlier.dump.as_ref().is_some_and(|dump| {
            dump.bytes == manifest.bytes
                && dump.crc64nvme.as_ref().is_none_or(|crc| *crc == manifest.checksum_crc64nvme)
        });
        if !fresh(manifest.started) || manifest.rung < request.rung {
            notes.push(Note::Info(format!(
                "{} of {} ({}) has the same backup id; {}",
                manifest.uri(),
                rfc3339(manifest.started),
                manifest.rung,
                if manifest.rung < request.rung {
                    format!("{} is asked for", request.rung)
                } else {
                    "it is older than --max-age".to_owned()
                }
            )));
        } else if whole {
            return Ok(planned(Work::Keep(Box::new(manifest.clone())), remove, notes));
        } else {
            notes.push(Note::Warning(format!(
                "{} is no longer what its manifest says: a new backup is made",
                manifest.uri()
            )));
        }
    }

    if let Globals::Denied(why) = &world.globals {
        notes.push(Note::Warning(format!(
            "roles and tablespaces are not backed up, which a restore into a new server needs: {why}"
        )));
    }
    let write_globals = matches!(world.globals, Globals::Read { .. });
    let mut finish = None;
    for unproven in &world.unproven {
        match &unproven.proof {
            Some(Ok(sum)) => {
                finish = Some(Finish {
                    key: unproven.key.clone(),
                    stored: unproven.stored.clone(),
                    origin: unproven.origin.clone(),
                    sum: sum.clone(),
                    write_globals: write_globals && !unproven.has_globals,
                    has_globals: unproven.has_globals,
                });
            }
            Some(Err(why)) => remove.push(Removal {
                key: unproven.key.clone(),
                etag: unproven.stored.etag.clone(),
                why: why.clone(),
            }),
            None => notes.push(Note::Warning(format!(
                "{} has no manifest: the run that wrote it died, and it is older than --max-age; nothing relies on it",
                uri(&unproven.key)
            ))),
        }
    }
    if let Some(finish) = finish {
        notes.push(Note::Info(format!(
            "an earlier run of this backup left {} whole; it was read back and only the rest is missing",
            uri(&finish.key)
        )));
        return Ok(planned(Work::Finish(Box::new(finish)), remove, notes));
    }

    if world.key_taken {
        return Err(Failure::refused(format!("write {}", uri(&world.key)))
            .because("there is an object with this key")
            .help("run again in a second, or with another --backup-id"));
    }
    let last = world.last.as_ref().filter(|_| !request.allow_shrink);
    if let Some(last) = last
        && let Some(before) = last.database_bytes
        && world.database.bytes < before / SHRINK
    {
        return Err(shrunk("database", world.database.bytes, before, last));
    }
    let dump = Dump {
        key: world.key.clone(),
        tools: world.tools.clone(),
        rung: request.rung,
        write_globals,
        at_least: last.map(|last| last.bytes / SHRINK),
    };
    Ok(planned(Work::Dump(Box::new(dump)), remove, notes))
}

/// The refusal of something that lost more than half of its size since the last backup.
pub(crate) fn shrunk(what: &str, now: u64, before: u64, last: &Manifest) -> Failure {
    Failure::refused(format!("back up {}", last.database))
        .because(format!(
            "the {what} has {}, and had {} in the last backup, {} of {}",
            size(now),
            size(before),
            last.uri(),
            rfc3339(last.started)
        ))
        .help("look what became of the data; if all is well, add --allow-shrink")
}

fn or_unknown(text: Option<&str>) -> &str {
    text.unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::Code;

    const HOUR: Duration = Duration::from_hours(1);
    const MIB: u64 = 1 << 20;

    fn at(minutes: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_795_262_400 + minutes * 60).unwrap()
    }

    fn request() -> Request {
        Request {
            bucket: "b".into(),
            backup_id: "run-7".into(),
            max_age: HOUR,
            rung: Rung::ReadBack,
            allow_shrink: false,
        }
    }

    fn world() -> World {
        let version = Version::parse("15.18").unwrap();
        World {
            now: at(0),
            database: Database {
                name: "rally".into(),
                server: "db.example:5432".into(),
                system_identifier: Some("73".into()),
                version: version.clone(),
                bytes: 100 * MIB,
            },
            tools: Tools {
                pg_dump: "/p/pg_dump".into(),
                pg_dumpall: "/p/pg_dumpall".into(),
                pg_restore: "/p/pg_restore".into(),
                version,
            },
            globals: Globals::Read { script: b"CREATE ROLE rally;".into() },
            key: "rally/now.dump".into(),
            key_taken: false,
            last: None,
            same: Vec::new(),
            unproven: Vec::new(),
            unfinished: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn stored(bytes: u64) -> Object {
        Object::bare(bytes, "\"e\"")
    }

    fn manifest(started: OffsetDateTime) -> Manifest {
        Manifest {
            schema: postgres::manifest::SCHEMA.into(),
            kind: "dump".into(),
            bucket: "b".into(),
            key: "rally/then.dump".into(),
            bytes: 10 * MIB,
            sha256: "aa".into(),
            checksum_crc64nvme: "crc".into(),
            etag: "etag".into(),
            parts: 1,
            version_id: None,
            globals_key: None,
            database: "rally".into(),
            database_bytes: Some(100 * MIB),
            tables: Some(3),
            backup_id: Some("run-7".into()),
            system_identifier: Some("73".into()),
            server_version: "15.18".into(),
            client_version: "15.18".into(),
            snapshot: None,
            rows: None,
            rung: Rung::ReadBack,
            started,
            ended: started,
            tool_version: "0".into(),
            run: "r".into(),
            github: None,
        }
    }

    fn earlier(started: OffsetDateTime) -> Earlier {
        Earlier { manifest: manifest(started), dump: Some(stored(10 * MIB)) }
    }

    fn unproven(proof: Option<Result<Sum, String>>) -> Unproven {
        Unproven {
            key: "rally/left.dump".into(),
            stored: stored(7),
            origin: Origin {
                run: "dead".into(),
                backup_id: "run-7".into(),
                started: at(-5),
                database_bytes: 1,
                server_version: "15.18".into(),
                client_version: "15.18".into(),
                tables: Tables::of([1]),
                snapshot: None,
            },
            has_globals: true,
            proof,
        }
    }

    fn ids(plan: &BackupPlan) -> Vec<String> {
        plan.actions().into_iter().map(|action| action.id).collect()
    }

    fn all_notes(plan: &BackupPlan) -> String {
        let text = |note: Note| match note {
            Note::Info(text) | Note::Warning(text) => text,
        };
        plan.notes().into_iter().map(text).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_new_backup_is_dump_globals_and_manifest_in_this_order() {
        let planned = plan(&request(), &world()).unwrap();
        assert_eq!(ids(&planned), ["upload-dump", "write-globals", "write-manifest"]);
        let first = &planned.actions()[0];
        assert_eq!(
            first.does,
            "dump rally (100.0 MiB, PostgreSQL 15.18 on db.example:5432) with pg_dump 15.18 to s3://b/rally/now.dump"
        );
    }

    #[test]
    fn globals_that_are_denied_are_a_warning() {
        let denied =
            World { globals: Globals::Denied("permission denied for table pg_authid".into()), ..world() };
        let planned = plan(&request(), &denied).unwrap();
        assert_eq!(ids(&planned), ["upload-dump", "write-manifest"]);
        assert!(all_notes(&planned).contains("permission denied for table pg_authid"));
    }

    #[test]
    fn a_fresh_whole_backup_of_the_same_id_is_kept_and_no_other() {
        let with = |earlier: Earlier| World { same: vec![earlier], ..world() };
        let kept = plan(&request(), &with(earlier(at(-59)))).unwrap();
        assert_eq!(ids(&kept), Vec::<String>::new());

        let stale = plan(&request(), &with(earlier(at(-61)))).unwrap();
        assert_eq!(ids(&stale).len(), 3);
        assert!(all_notes(&stale).contains("older than --max-age"));

        let mut lesser = earlier(at(-5));
        lesser.manifest.rung = Rung::Contents;
        assert!(all_notes(&plan(&request(), &with(lesser)).unwrap()).contains("read-back is asked for"));

        let gone = Earlier { dump: None, ..earlier(at(-5)) };
        let other = Earlier { dump: Some(stored(9)), ..earlier(at(-5)) };
        for broken in [gone, other] {
            let planned = plan(&request(), &with(broken)).unwrap();
            assert_eq!(ids(&planned).len(), 3);
            assert!(all_notes(&planned).contains("no longer what its manifest says"));
        }
        assert_eq!(ids(&plan(&request(), &with(earlier(at(60)))).unwrap()).len(), 3, "from the future");
    }

    #[test]
    fn the_same_id_on_another_server_is_refused() {
        let mut theirs = earlier(at(-5));
        theirs.manifest.system_identifier = Some("99".into());
        let refused = plan(&request(), &World { same: vec![theirs], ..world() }).unwrap_err();
        assert_eq!(refused.code(), Code::Refused);
        assert!(refused.chain()[0].contains("99") && refused.chain()[0].contains("73"));
    }

    #[test]
    fn what_a_dead_run_left_is_finished_or_removed_or_named() {
        let sum = Sum { bytes: 7, sha256: "bb".into(), crc64nvme: "c".into() };
        let with = |proof| World { unproven: vec![unproven(proof)], ..world() };
        assert_eq!(ids(&plan(&request(), &with(Some(Ok(sum)))).unwrap()), ["write-manifest"]);
        let broken = plan(&request(), &with(Some(Err("unexpected end of file".into())))).unwrap();
        assert_eq!(ids(&broken), ["remove-dump-1", "upload-dump", "write-globals", "write-manifest"]);
        let old = plan(&request(), &with(None)).unwrap();
        assert_eq!(ids(&old), ["upload-dump", "write-globals", "write-manifest"]);
        assert!(all_notes(&old).contains("s3://b/rally/left.dump has no manifest"));
    }

    #[test]
    fn unfinished_uploads_are_aborted_first_even_where_the_backup_is_made() {
        let left = Unfinished {
            key: "rally/x.dump".into(),
            id: "u".into(),
            begun: OffsetDateTime::UNIX_EPOCH,
            by: "backup".into(),
        };
        let world = World { unfinished: vec![left], same: vec![earlier(at(-5))], ..world() };
        assert_eq!(ids(&plan(&request(), &world).unwrap()), ["abort-upload-1"]);
    }

    #[test]
    fn a_database_that_lost_most_of_its_size_is_refused_unless_allowed() {
        let mut world = World { last: Some(manifest(at(-1440))), ..world() };
        world.database.bytes = 49 * MIB;
        let refused = plan(&request(), &world).unwrap_err();
        assert_eq!(refused.code(), Code::Refused);
        assert!(refused.chain()[0].contains("49.0 MiB") && refused.chain()[0].contains("100.0 MiB"));
        let allowed = plan(&Request { allow_shrink: true, ..request() }, &world).unwrap();
        assert!(matches!(allowed.work, Work::Dump(dump) if dump.at_least.is_none()));
        world.database.bytes = 51 * MIB;
        let planned = plan(&request(), &world).unwrap();
        assert!(matches!(planned.work, Work::Dump(dump) if dump.at_least == Some(5 * MIB)));
    }

    #[test]
    fn a_key_that_is_taken_is_refused() {
        let refused = plan(&request(), &World { key_taken: true, ..world() }).unwrap_err();
        assert_eq!(refused.code(), Code::Refused);
    }
}
