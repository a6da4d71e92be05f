//! Carries the plan out: the stream, its check before the commit, the reading back, and the manifest, last.

use std::collections::HashMap;

use kit::{Cx, Failure};
use postgres::manifest::{self, Base};
use postgres::{Manifest, Rung};
use s3::{Bucket, Object, PartSizes, RUN, Sum};
use serde::Serialize;
use serde_json::Value;

use super::archive::{Reader, Trouble};
use super::check::read_back;
use super::listing::compare;
use super::observe::Scene;
use super::plan::{BasePlan, Origin, Take, UPLOAD, Work};
use super::prove::started;
use crate::catalogue::column;
use crate::dump::{Inverse, ORIGIN, Written, ascii, github, parts};
use crate::earlier::{shrunk, write_manifest};
use crate::key::ZST;
use crate::pipe::{Packing, threads};
use crate::place::Place;
use crate::readback::Stored;
use crate::upload::Upload;
use crate::verify;

/// A base backup in its place.
#[derive(Clone, Debug, Serialize)]
struct Taken {
    #[serde(flatten)]
    written: Written,
    #[serde(skip)]
    stored: Object,
    #[serde(skip)]
    origin: Origin,
    #[serde(skip)]
    sum: Sum,
    #[serde(skip)]
    base: Base,
    rung: Rung,
}

/// Gives the manifest of the backup and, where it was not proven as far as was asked, why: the backup is there all the same.
pub(super) async fn apply(
    cx: &Cx,
    store: &Bucket,
    scene: &Scene,
    plan: &BasePlan,
) -> Result<(Manifest, Option<Failure>), Failure> {
    for (id, upload) in plan.aborts() {
        cx.act(&id, &Value::Null, store.abort(upload)).await?;
    }
    for (id, removal) in plan.removals() {
        cx.act(&id, &Value::Null, store.delete(&removal.key, None, &removal.etag)).await?;
    }
    let (key, taken) = match &plan.work {
        Work::Keep(manifest) => return Ok((Manifest::clone(manifest), None)),
        Work::Finish(finish) => {
            let taken = Taken {
                written: Written::of(&finish.stored),
                stored: finish.stored.clone(),
                origin: finish.origin.clone(),
                sum: finish.sum.clone(),
                base: finish.base.clone(),
                rung: Rung::ReadBack,
            };
            (&finish.key, taken)
        }
        Work::Take(plan) => {
            let inverse = Inverse { bucket: store.name.clone(), key: plan.key.clone() };
            (&plan.key, cx.act(UPLOAD, &inverse, Box::pin(take(cx, store, scene, plan))).await?)
        }
    };
    let (rung, unproven) = match &scene.world.place {
        None => (taken.rung, None),
        Some(place) => Box::pin(prove(cx, store, scene, place, key, &taken)).await?,
    };
    let manifest = document(cx, store, scene, key, &Taken { rung, ..taken });
    write_manifest(cx, store, &manifest).await?;
    Ok((manifest, unproven))
}

/// Starts it. Where that does not work, the backup is what it was before.
async fn prove(
    cx: &Cx,
    store: &Bucket,
    scene: &Scene,
    place: &Place,
    key: &str,
    taken: &Taken,
) -> Result<(Rung, Option<Failure>), Failure> {
    let uri = store.uri(key);
    cx.report().say(&format!("starting {uri} to prove it"));
    let archive = Stored { key, object: &taken.stored };
    let database = &scene.session.target.dbname;
    let how = (&scene.runner, place);
    let started = started(cx, store, how, archive, &taken.sum.sha256, (&scene.world.server, database)).await;
    let why = match started {
        Ok(Ok(by)) => {
            cx.report().say(&by);
            return Ok((Rung::Restored, None));
        }
        Ok(Err(why)) => why,
        // A cancelled run has no time left; the next one of the same id finishes it.
        Err(failure) if cx.or_cancelled(std::future::ready(())).await.is_err() => return Err(failure),
        Err(failure) => format!("{failure}: {}", failure.chain().join(": ")),
    };
    let failure = Failure::unverified(format!("start {uri}"))
        .because(why)
        .state(format!("the backup is kept, and is verified up to {}: all of it was read back", taken.rung))
        .help("look at what the server said before you rely on it");
    Ok((taken.rung, Some(failure)))
}

/// Streams, commits and verifies. An archive that is not what was sent is deleted again: without a manifest nothing relies on
/// it, and nobody should find it.
async fn take(cx: &Cx, store: &Bucket, scene: &Scene, plan: &Take) -> Result<Taken, Failure> {
    let server = &scene.world.server;
    let system = server.system_identifier.as_deref();
    let attempt = format!("back up {}", server.address);
    let untouched = |failure: Failure| failure.untouched(true);
    if plan.slot {
        keep_wal(scene).await.map_err(untouched)?;
    }
    let origin = Origin {
        run: cx.run_id(),
        backup_id: plan.backup_id.clone(),
        started: cx.now(),
        server_bytes: server.bytes,
        server_version: server.version.text.clone(),
        client_version: scene.world.client.text.clone(),
    };
    let carried = serde_json::to_string(&origin)
        .map(|text| ascii(&text))
        .map_err(|error| Failure::failed("describe the backup").because(error).untouched(true))?;
    let mut command = scene.runner.command(&scene.world.program);
    // https://www.postgresql.org/docs/current/app-pgbasebackup.html: to standard output, an archive takes its write-ahead log
    // by `fetch` alone, and no compression by the server beside a manifest.
    command.args([
        "--pgdata=-",
        "--format=tar",
        "--wal-method=fetch",
        "--checkpoint=fast",
        "--manifest-checksums=SHA256",
        "--no-password",
    ]);
    command.arg(format!("--label=cutover {}", origin.run));
    let (from, tap) =
        std::io::pipe().map_err(|error| Failure::failed(&*attempt).because(error).untouched(true))?;
    let reader = Reader::of(from, None);
    let upload = Upload {
        store,
        key: &plan.key,
        metadata: HashMap::from([(RUN.to_owned(), origin.run.clone()), (ORIGIN.to_owned(), carried)]),
        run: &origin.run,
        sizes: PartSizes::for_about(server.bytes),
        packing: if plan.zstd { Packing::Zstd { threads: threads() } } else { Packing::AsItIs },
        tap: Some(tap),
        attempt: &attempt,
    };
    let mut checked = None;
    let permit = async |_: &Sum| {
        let read = cx.in_time(&attempt, reader.end()).await?;
        let read = read.map_err(|(Trouble::Archive(why) | Trouble::Disk(why))| why);
        let base = read.and_then(|read| compare(read, system)).map_err(|why| {
            Failure::failed(&*attempt)
                .because(format!("pg_basebackup ended well, and what it wrote is no whole backup: {why}"))
        })?;
        if let (Some(least), Some(last)) = (plan.at_least, &scene.world.last)
            && base.unpacked_bytes < least
        {
            let before = last.base.as_ref().map_or(0, |base| base.unpacked_bytes);
            return Err(shrunk(&server.address, "it unpacks to", base.unpacked_bytes, before, last));
        }
        checked = Some(base);
        Ok(())
    };
    let committed = upload.run(cx, command, permit).await.map_err(|failure| {
        match advice(&failure.chain().join("\n")) {
            Some(advice) => failure.help(advice),
            None => failure,
        }
    })?;
    let base = checked.ok_or_else(|| Failure::failed(&*attempt).because("it was not checked"))?;
    let (sum, stored) = (committed.sum, committed.stored);
    let judged = if plan.rung >= Rung::ReadBack {
        cx.report().say(&format!("{attempt}: {} committed, reading it back", kit::size(sum.bytes)));
        let archive = Stored { key: &plan.key, object: &stored };
        let read = Box::pin(read_back(cx, store, archive, Some(&sum.sha256), system, None)).await;
        read.map_err(|failure| {
            failure.state(format!(
                "{} is committed and not verified; with the same --backup-id the next run verifies it",
                store.uri(&plan.key)
            ))
        })?
        .map(drop)
    } else {
        verify::present(&sum, &stored).map(drop)
    };
    let why = match judged {
        Ok(()) => {
            return Ok(Taken {
                written: Written::of(&stored),
                stored,
                origin,
                sum,
                base: Base { databases: Some(server.databases.clone()), ..base },
                // What was sent was compared with PostgreSQL's manifest in any case.
                rung: plan.rung.clamp(Rung::Contents, Rung::ReadBack),
            });
        }
        Err(why) => why,
    };
    let failure = Failure::unverified(format!("verify {}", store.uri(&plan.key))).because(why);
    match store.delete(&plan.key, None, &stored.etag).await {
        Ok(()) => Err(failure.help("run again; nothing of this backup was kept").untouched(true)),
        Err(left) => Err(failure.state(format!(
            "the unusable archive is still there ({left}: {}): delete it",
            left.chain().join(": ")
        ))),
    }
}

/// Has the server keep its write-ahead log from now on, for as long as this session lives.
///
/// <https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-REPLICATION>
async fn keep_wal(scene: &Scene) -> Result<(), Failure> {
    const QUERY: &str = "SELECT slot_name FROM \
         pg_create_physical_replication_slot('cutover_base_' || pg_backend_pid(), true, true)";
    column(&scene.session, "have the server keep its write-ahead log", QUERY).await.map(drop)
}

/// The next move for what `pg_basebackup` most often says.
fn advice(said: &str) -> Option<&'static str> {
    let table = [
        (
            "no pg_hba.conf entry",
            "add a line for it to the server's pg_hba.conf, with the database `replication` (the word `all` does not include it), \
             and reload it",
        ),
        (
            "checksum error",
            "pages on the server's disk are damaged: look at its log, and restore or repair them before anything else",
        ),
        (
            "checksum verification fail",
            "pages on the server's disk are damaged: look at its log, and restore or repair them before anything else",
        ),
        (
            "has already been removed",
            "a checkpoint removed what the backup needs: raise wal_keep_size on the server",
        ),
        (
            "could not find WAL file",
            "a checkpoint removed what the backup needs: raise wal_keep_size on the server",
        ),
        ("standby was promoted", "run again: the server is a primary now"),
        ("incompatible server version", "name the pg_dump of the server's version or newer with --pg-dump"),
        (
            "exceeds max_wal_senders",
            "wait until a connection for replication is free, or raise max_wal_senders",
        ),
        ("must be superuser or replication role", "ALTER ROLE ... REPLICATION"),
    ];
    table.into_iter().find(|(sign, _)| said.contains(sign)).map(|(_, advice)| advice)
}

fn document(cx: &Cx, store: &Bucket, scene: &Scene, key: &str, taken: &Taken) -> Manifest {
    let (origin, stored) = (&taken.origin, &taken.stored);
    let zstd = key.ends_with(ZST);
    Manifest {
        schema: manifest::SCHEMA.to_owned(),
        kind: manifest::BASE.to_owned(),
        bucket: store.name.clone(),
        key: key.to_owned(),
        bytes: stored.bytes,
        sha256: taken.sum.sha256.clone(),
        checksum_crc64nvme: taken.sum.crc64nvme.clone(),
        etag: stored.etag.clone(),
        parts: parts(&stored.etag),
        version_id: stored.version.clone(),
        compression: Some(if zstd { "zstd" } else { "none" }.to_owned()),
        zstd_stream: zstd,
        globals_key: None,
        globals_recipients: None,
        database: String::new(),
        database_bytes: Some(origin.server_bytes),
        tables: None,
        backup_id: Some(origin.backup_id.clone()),
        system_identifier: scene.world.server.system_identifier.clone(),
        server_version: origin.server_version.clone(),
        client_version: origin.client_version.clone(),
        snapshot: None,
        rows: None,
        rows_estimated: None,
        rows_unknown: None,
        objects: None,
        extensions: None,
        roles: None,
        locale: None,
        base: Some(taken.base.clone()),
        rung: taken.rung,
        started: origin.started,
        ended: cx.now(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        run: origin.run.clone(),
        github: github(cx),
    }
}
