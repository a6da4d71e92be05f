//! What is asked for, what was seen, and what will be done about it, as plain data.

use std::time::Duration;

use kit::{Action, Note, Plan};
use postgres::{Manifest, Rung};
use s3::{Object, Sum, Unfinished};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::arena::Site;
use crate::args::Compression;
use crate::earlier::{Earlier, MANIFEST, Removal};
use crate::globals::Globals;
use crate::key::manifest_of;
use crate::tools::{Tools, Version};
use crate::verify::Tables;

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) bucket: String,
    pub(crate) backup_id: String,
    /// This run's.
    pub(crate) run: String,
    pub(crate) max_age: Duration,
    pub(crate) rung: Rung,
    pub(crate) compression: Compression,
    /// Tables with more rows are not counted; none are where it is 0.
    pub(crate) count_limit: u64,
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
    /// Where the backup is proven, if it is to be restored.
    pub(crate) site: Option<Site>,
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
    /// Whether it is a standby.
    pub(crate) standby: bool,
    pub(crate) version: Version,
    pub(crate) bytes: u64,
}

/// A dump that was committed by a run that died before it wrote the manifest.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Unproven {
    pub(crate) key: String,
    pub(crate) stored: Object,
    pub(crate) origin: Origin,
    /// The key of its globals, if they are there.
    pub(crate) globals_key: Option<String>,
    /// What reading it back said: its sums, or what is wrong with it; `None` where it is too old to be of use, or can't be read
    /// here.
    pub(crate) proof: Option<Result<Sum, String>>,
    /// Why it can't be read here, which says nothing of the dump.
    pub(crate) unread: Option<String>,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) compression: Option<String>,
}

/// What will be done.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BackupPlan {
    pub(crate) bucket: String,
    pub(crate) database: Database,
    pub(crate) abort: Vec<Unfinished>,
    pub(crate) remove: Vec<Removal>,
    /// Databases on the server of `--prove-into` that dead runs left.
    pub(crate) drop: Vec<String>,
    pub(crate) work: Work,
    #[serde(skip)]
    pub(super) notes: Vec<Note>,
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
    pub(crate) write_globals: Option<GlobalsPlan>,
    /// The key of those that the earlier run wrote.
    pub(crate) globals_key: Option<String>,
}

/// Where the globals go, and whom they are encrypted to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct GlobalsPlan {
    pub(crate) key: String,
    pub(crate) recipients: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Dump {
    pub(crate) key: String,
    pub(crate) tools: Tools,
    pub(crate) rung: Rung,
    pub(crate) method: Method,
    pub(crate) count_limit: u64,
    pub(crate) write_globals: Option<GlobalsPlan>,
    /// The database in which it is proven on a named server.
    pub(crate) prove_in: Option<String>,
    /// A dump smaller than this is refused before it is committed.
    pub(crate) at_least: Option<u64>,
}

/// How the data are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Method {
    /// zstd by `pg_dump`.
    ZstdInside,
    /// zstd around the archive, on the way.
    ZstdAround,
    Gzip,
    None,
}

impl Method {
    /// What the manifest says.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::ZstdInside | Self::ZstdAround => "zstd",
            Self::Gzip => "gzip",
            Self::None => "none",
        }
    }

    /// What `pg_dump` is told; its own default is gzip.
    pub(crate) const fn argument(self) -> Option<&'static str> {
        match self {
            Self::ZstdInside => Some("--compress=zstd:3"),
            Self::ZstdAround | Self::None => Some("--compress=0"),
            Self::Gzip => None,
        }
    }

    const fn in_words(self) -> &'static str {
        match self {
            Self::ZstdInside => "compressed with zstd by pg_dump",
            Self::ZstdAround => "compressed with zstd on the way",
            Self::Gzip => "compressed with gzip by pg_dump",
            Self::None => "not compressed",
        }
    }
}

impl BackupPlan {
    /// The ids of the actions that drop what dead runs left on the server of `--prove-into`.
    pub(crate) fn drops(&self) -> impl Iterator<Item = (String, &String)> {
        self.drop.iter().enumerate().map(|(n, name)| (format!("drop-proof-{}", n + 1), name))
    }

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
pub(crate) const PROVE: &str = "prove-restore";

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
        actions.extend(self.drops().map(|(id, name)| {
            Action::irreversible(
                id,
                format!("drop the database {name} on the server of --prove-into, which a proof that was killed left"),
                "it is a restored copy that nobody works on",
            )
        }));
        let write = |id: &str, what: &str, key: &str| {
            Action::new(id, format!("{what} {}", self.uri(key)), format!("delete {}", self.uri(key)))
        };
        let (key, globals, prove_in) = match &self.work {
            Work::Keep(_) => return actions,
            Work::Finish(finish) => (&finish.key, &finish.write_globals, None),
            Work::Dump(dump) => {
                let database = &self.database;
                actions.push(
                    write(
                        UPLOAD,
                        &format!(
                            "dump {} ({}, PostgreSQL {} on {}) with pg_dump {} to",
                            database.name,
                            kit::size(database.bytes),
                            database.version,
                            database.server,
                            dump.tools.version
                        ),
                        &dump.key,
                    )
                    .detail(format!(
                        "{}; committed only when pg_dump has exited with 0, then verified: {}",
                        dump.method.in_words(),
                        described(dump.rung)
                    )),
                );
                (&dump.key, &dump.write_globals, dump.prove_in.as_ref())
            }
        };
        if let Some(globals) = globals {
            let what = if globals.recipients.is_empty() {
                "write the roles and tablespaces, without passwords, to".to_owned()
            } else {
                format!(
                    "write the roles and tablespaces, with passwords and encrypted to {}, to",
                    globals.recipients.join(" and ")
                )
            };
            actions.push(write(GLOBALS, &what, &globals.key));
        }
        if let Some(name) = prove_in {
            actions.push(Action::new(
                PROVE,
                format!("restore it into the new database {name} on the server of --prove-into, compare, and drop that"),
                format!("drop the database {name}"),
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
        Rung::Restored => "read back whole, restored, and every row and object counted again",
    }
}

pub(crate) fn rfc3339(time: OffsetDateTime) -> String {
    time.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}
