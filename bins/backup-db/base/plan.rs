//! What is asked for, what was seen of the server and the bucket, and what will be done about it: pure.

use std::time::Duration;

use kit::{Action, Failure, Note, Plan};
use postgres::manifest::Base;
use postgres::{Manifest, Rung};
use s3::{Object, PartSizes, Sum, Unfinished};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::dump::rfc3339;
use crate::earlier::{Asked, Earlier, MANIFEST, Removal, SHRINK, kept, shrunk};
use crate::key::manifest_of;
use crate::pipe::MEMORY;
use crate::place::{self, Place};
use crate::tools::Version;

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) bucket: String,
    pub(super) backup_id: String,
    pub(super) max_age: Duration,
    pub(super) rung: Rung,
    pub(super) zstd: bool,
    pub(super) allow_shrink: bool,
}

/// What was seen before anything was decided.
#[derive(Clone, Debug, Serialize)]
pub(super) struct World {
    #[serde(with = "time::serde::rfc3339")]
    pub(super) now: OffsetDateTime,
    pub(super) server: Server,
    /// `pg_basebackup`.
    pub(super) program: std::path::PathBuf,
    pub(super) client: Version,
    /// Where the backup is proven, if it is to be started.
    pub(super) place: Option<Place>,
    /// The key that a backup made now would have, and whether it is taken.
    pub(super) key: String,
    pub(super) key_taken: bool,
    /// The latest base backup of this server, whoever made it.
    pub(super) last: Option<Manifest>,
    /// Those with this backup id.
    pub(super) same: Vec<Earlier>,
    /// Archives with this backup id that have no manifest.
    pub(super) unproven: Vec<Unproven>,
    /// Uploads of this server that dead runs began: this run is the only one.
    pub(super) unfinished: Vec<Unfinished>,
    pub(super) warnings: Vec<String>,
}

/// The server, as it describes itself.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Server {
    /// Host and port, or the folder of the socket.
    pub(super) address: String,
    pub(super) system_identifier: Option<String>,
    pub(super) standby: bool,
    pub(super) version: Version,
    /// Of the databases whose size the role may ask for.
    pub(super) bytes: u64,
    /// Those that take connections.
    pub(super) databases: Vec<String>,
    /// Tablespaces beside PostgreSQL's own two, and where they lie.
    pub(super) tablespaces: Vec<String>,
    pub(super) role: String,
    pub(super) may_replicate: bool,
    pub(super) wal_level: String,
    /// Connections for replication that are in use, and how many there can be.
    pub(super) senders: (u32, u32),
    /// Replication slots, likewise.
    pub(super) slots: (u32, u32),
    pub(super) data_checksums: bool,
}

/// An archive that was committed by a run that died before it wrote the manifest.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Unproven {
    pub(super) key: String,
    pub(super) stored: Object,
    pub(super) origin: Origin,
    /// What reading it back said; `None` where it is too old to be of use.
    pub(super) proof: Option<Result<(Sum, Base), String>>,
}

/// What the archive's own metadata say about its making.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    pub(super) run: String,
    pub(super) backup_id: String,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) started: OffsetDateTime,
    pub(super) server_bytes: u64,
    pub(super) server_version: String,
    pub(super) client_version: String,
}

/// What will be done.
#[derive(Clone, Debug, Serialize)]
pub(super) struct BasePlan {
    bucket: String,
    server: Server,
    client: Version,
    pub(super) abort: Vec<Unfinished>,
    pub(super) remove: Vec<Removal>,
    pub(super) work: Work,
    #[serde(skip)]
    notes: Vec<Note>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Work {
    /// A verified backup with this id is there.
    Keep(Box<Manifest>),
    /// A whole archive with this id is there, read back, and lacks only its manifest.
    Finish(Box<Finish>),
    Take(Box<Take>),
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Finish {
    pub(super) key: String,
    pub(super) stored: Object,
    pub(super) origin: Origin,
    pub(super) sum: Sum,
    pub(super) base: Base,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Take {
    pub(super) key: String,
    pub(super) backup_id: String,
    pub(super) rung: Rung,
    pub(super) zstd: bool,
    /// Whether the server keeps its write-ahead log meanwhile, in a temporary replication slot.
    pub(super) slot: bool,
    /// A backup that unpacks to less than this is refused before it is committed.
    pub(super) at_least: Option<u64>,
}

/// The ids of the actions.
pub(super) const UPLOAD: &str = "upload-base";

/// The first version whose base backups have a manifest.
const MANIFESTS: (u32, u32) = (13, 0);

/// Decides; refuses what can't succeed, and what would replace a good backup by a doubtful one.
pub(super) fn plan(request: &Request, world: &World) -> Result<BasePlan, Failure> {
    let mut notes: Vec<Note> = world.warnings.iter().cloned().map(Note::Warning).collect();
    let mut remove = Vec::new();
    let planned = |work: Work, remove: Vec<Removal>, notes: Vec<Note>| BasePlan {
        bucket: request.bucket.clone(),
        server: world.server.clone(),
        client: world.client.clone(),
        abort: world.unfinished.clone(),
        remove,
        work,
        notes,
    };
    let asked = Asked {
        subject: &world.server.address,
        system: world.server.system_identifier.as_deref(),
        backup_id: &request.backup_id,
        rung: request.rung,
        max_age: request.max_age,
        now: world.now,
    };
    if let Some(kept) = kept(&asked, &world.same, &mut notes)? {
        return Ok(planned(Work::Keep(Box::new(kept)), remove, notes));
    }
    let mut finish = None;
    for unproven in &world.unproven {
        let uri = format!("s3://{}/{}", request.bucket, unproven.key);
        match &unproven.proof {
            Some(Ok((sum, base))) => {
                notes.push(Note::Info(format!(
                    "an earlier run of this backup left {uri} whole; it was read back and only its manifest is missing"
                )));
                finish = Some(Finish {
                    key: unproven.key.clone(),
                    stored: unproven.stored.clone(),
                    origin: unproven.origin.clone(),
                    sum: sum.clone(),
                    base: base.clone(),
                });
            }
            Some(Err(why)) => remove.push(Removal {
                key: unproven.key.clone(),
                etag: unproven.stored.etag.clone(),
                why: why.clone(),
            }),
            None => notes.push(Note::Warning(format!(
                "{uri} has no manifest: the run that wrote it died, and it is older than --max-age; nothing relies on it"
            ))),
        }
    }
    if let Some(finish) = finish {
        return Ok(planned(Work::Finish(Box::new(finish)), remove, notes));
    }
    able(&world.server)?;
    if world.key_taken {
        return Err(Failure::refused(format!("write s3://{}/{}", request.bucket, world.key))
            .because("there is an object with this key")
            .help("run again in a second, or with another --backup-id"));
    }
    let last = world.last.as_ref().filter(|_| !request.allow_shrink);
    if let Some(last) = last
        && let Some(before) = last.database_bytes
        && world.server.bytes < before / SHRINK
    {
        return Err(shrunk(&world.server.address, "it has", world.server.bytes, before, last));
    }
    room(request, world, &mut notes)?;
    remarks(world, &mut notes);
    let take = Take {
        key: world.key.clone(),
        backup_id: request.backup_id.clone(),
        rung: request.rung,
        zstd: request.zstd,
        slot: world.server.slots.0 < world.server.slots.1,
        at_least: last.and_then(|last| last.base.as_ref()).map(|base| base.unpacked_bytes / SHRINK),
    };
    Ok(planned(Work::Take(Box::new(take)), remove, notes))
}

/// Whether a base backup of this server can be made over the wire, as one archive, with a manifest.
fn able(server: &Server) -> Result<(), Failure> {
    let refused =
        |why: String| Failure::refused(format!("take a base backup of {}", server.address)).because(why);
    if server.version.major < MANIFESTS {
        return Err(refused(format!(
            "it is version {}, and base backups have a manifest to be verified by from 13 on",
            server.version
        ))
        .help("--mode dump of each database, or --mode wal-g where wal-g runs on the server"));
    }
    if !server.may_replicate {
        return Err(refused(format!("the role {} has no right of replication", server.role))
            .help(format!("ALTER ROLE \"{}\" REPLICATION, or connect as a role that has it", server.role)));
    }
    if server.wal_level == "minimal" {
        return Err(refused(
            "its wal_level is minimal, with which a copy of the files can't be made consistent".to_owned(),
        )
        .help("set wal_level = replica and restart the server, or use --mode dump"));
    }
    if server.senders.1 == 0 {
        return Err(refused("its max_wal_senders is 0: it takes no connections for replication".to_owned())
            .help("set max_wal_senders to at least 2 and restart the server, or use --mode dump"));
    }
    if server.senders.0 >= server.senders.1 {
        return Err(refused(format!("all {} of its max_wal_senders are in use", server.senders.1)).help(
            "wait until one is free (SELECT * FROM pg_stat_replication shows them), or raise max_wal_senders",
        ));
    }
    if !server.tablespaces.is_empty() {
        return Err(refused(format!(
            "it has tablespaces of its own ({}), and pg_basebackup writes only a server without any as one stream",
            server.tablespaces.join(", ")
        ))
        .help("back it up with --mode wal-g, or each database with --mode dump"));
    }
    Ok(())
}

fn room(request: &Request, world: &World, notes: &mut Vec<Note>) -> Result<(), Failure> {
    let Some(place) = &world.place else { return Ok(()) };
    if place.version.major != world.server.version.major {
        return Err(Failure::refused("prove the backup")
            .because(format!(
                "only a server of the same major version can start it: this one is {}, the one here {}",
                world.server.version, place.version
            ))
            .help("install the server's own version here, or ask for --verify read-back"));
    }
    let need = place::need(world.server.bytes);
    if place.free < need {
        return Err(Failure::refused("prove the backup")
            .because(format!(
                "a server of {} needs about {}, and {} has {} free",
                kit::size(world.server.bytes),
                kit::size(need),
                place.folder.display(),
                kit::size(place.free)
            ))
            .help("name a larger folder with --scratch-dir, or ask for --verify read-back"));
    }
    if request.rung == Rung::Restored {
        notes.push(Note::Info(format!(
            "it is started to prove it, by PostgreSQL {} in {} ({} of {} free are needed){}",
            place.version,
            place.folder.display(),
            kit::size(need),
            kit::size(place.free),
            place.user.as_ref().map(|user| format!(", run as {}", user.name)).unwrap_or_default()
        )));
    }
    Ok(())
}

fn remarks(world: &World, notes: &mut Vec<Note>) {
    let server = &world.server;
    notes.push(Note::Info(format!(
        "a base backup is restored by PostgreSQL {} alone, on the same kind of machine: before an upgrade to another major \
         version take a dump of each database too",
        server.version.major.0
    )));
    if !server.data_checksums {
        notes.push(Note::Info(
            "the server has no page checksums (data_checksums): damage on its disk goes into the backup unseen"
                .to_owned(),
        ));
    }
    if server.slots.0 >= server.slots.1 {
        notes.push(Note::Warning(
            "no replication slot is free (max_replication_slots) to keep the write-ahead log meanwhile: if a checkpoint \
             removes what the backup needs, it fails at its end and nothing is kept (wal_keep_size prevents that)"
                .to_owned(),
        ));
    }
    if server.standby {
        notes.push(Note::Info(
            "the server is a standby: if it is promoted meanwhile, the backup fails and nothing is kept"
                .to_owned(),
        ));
    }
    let part = PartSizes::for_about(server.bytes).of(1);
    if part * 2 > MEMORY {
        notes.push(Note::Info(format!(
            "a server of this size is uploaded in parts of {}, of which two are in memory at a time",
            kit::size(part)
        )));
    }
}

impl BasePlan {
    /// The ids of the actions that end others' unfinished uploads.
    pub(super) fn aborts(&self) -> impl Iterator<Item = (String, &Unfinished)> {
        self.abort.iter().enumerate().map(|(n, upload)| (format!("abort-upload-{}", n + 1), upload))
    }

    /// The ids of the actions that delete unusable archives.
    pub(super) fn removals(&self) -> impl Iterator<Item = (String, &Removal)> {
        self.remove.iter().enumerate().map(|(n, removal)| (format!("remove-archive-{}", n + 1), removal))
    }
}

impl Plan for BasePlan {
    fn actions(&self) -> Vec<Action> {
        let uri = |key: &str| format!("s3://{}/{key}", self.bucket);
        let mut actions: Vec<Action> = Vec::new();
        actions.extend(self.aborts().map(|(id, upload)| {
            Action::irreversible(
                id,
                format!("abort the unfinished upload of {} that an earlier run left", uri(&upload.key)),
                "its parts never became an object",
            )
        }));
        actions.extend(self.removals().map(|(id, removal)| {
            Action::irreversible(
                id,
                format!(
                    "delete {}: an earlier run left it without a manifest, and {}",
                    uri(&removal.key),
                    removal.why
                ),
                "it can't be restored from",
            )
        }));
        let key = match &self.work {
            Work::Keep(_) => return actions,
            Work::Finish(finish) => &finish.key,
            Work::Take(take) => {
                let server = &self.server;
                actions.push(
                    Action::new(
                        UPLOAD,
                        format!(
                            "back up all of {} ({}, PostgreSQL {}) with pg_basebackup {} to {}",
                            server.address,
                            kit::size(server.bytes),
                            server.version,
                            self.client,
                            uri(&take.key)
                        ),
                        format!("delete {}", uri(&take.key)),
                    )
                    .detail(format!(
                        "databases: {}\n{}, with the write-ahead log that it needs{}; committed only when pg_basebackup has exited \
                         with 0 and every file is the one of PostgreSQL's manifest, then verified: {}",
                        server.databases.join(", "),
                        if take.zstd { "compressed with zstd on the way" } else { "not compressed" },
                        if take.slot { ", which the server keeps meanwhile in a temporary slot" } else { "" },
                        described(take.rung)
                    )),
                );
                &take.key
            }
        };
        let manifest = uri(&manifest_of(key));
        actions.push(Action::new(
            MANIFEST,
            format!("write the manifest, last, to {manifest}"),
            format!("delete {manifest}"),
        ));
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
            Work::Finish(_) | Work::Take(_) => String::new(),
        }
    }
}

/// What a rung proves, for a person.
fn described(rung: Rung) -> &'static str {
    match rung {
        Rung::Present | Rung::Contents => "size and checksum of the object",
        Rung::ReadBack => "read back whole, every file's checksum compared again",
        Rung::Restored => "read back whole, unpacked and started until it is consistent",
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
