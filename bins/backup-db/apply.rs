//! Carries the plan out: the only file that writes.

use std::collections::{BTreeMap, HashMap};

use kit::{Cx, Failure};
use postgres::{Manifest, Rung, manifest};
use s3::{Bucket, Object, PartSizes, RUN};
use serde::{Deserialize, Serialize};

use crate::key::{globals_of, manifest_of};
use crate::observe::{ORIGIN, Scene, rows, tables};
use crate::plan::{self, BackupPlan, Dump, Finish, GLOBALS, Globals, MANIFEST, Origin, UPLOAD, Work};
use crate::readback::prove;
use crate::upload::Upload;
use crate::verify::Proof;

/// What takes a written object back: `--undo` deletes it if this run wrote it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Inverse {
    pub(crate) bucket: String,
    pub(crate) key: String,
}

/// What is remembered of a written object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Written {
    pub(crate) etag: String,
    pub(crate) bytes: u64,
}

impl Written {
    fn of(stored: &Object) -> Self {
        Self { etag: stored.etag.clone(), bytes: stored.bytes }
    }
}

/// A dump in its place.
#[derive(Clone, Debug, Serialize)]
struct Taken {
    #[serde(flatten)]
    written: Written,
    #[serde(skip)]
    stored: Object,
    #[serde(skip)]
    origin: Origin,
    sha256: String,
    #[serde(skip)]
    crc64nvme: String,
    #[serde(flatten)]
    proof: Proof,
}

/// Makes the backup that the plan says, and gives its manifest.
pub(crate) async fn apply(
    cx: &Cx,
    store: &Bucket,
    scene: &Scene,
    backup_id: &str,
    plan: &BackupPlan,
) -> Result<Manifest, Failure> {
    for (id, upload) in plan.aborts() {
        cx.act(&id, &serde_json::Value::Null, store.abort(upload)).await?;
    }
    for (id, removal) in plan.removals() {
        cx.act(&id, &serde_json::Value::Null, store.delete(&removal.key, None, &removal.etag)).await?;
    }
    let (key, taken, write_globals, has_globals) = match &plan.work {
        Work::Keep(manifest) => return Ok(Manifest::clone(manifest)),
        Work::Finish(finish) => (&finish.key, found(finish), finish.write_globals, finish.has_globals),
        Work::Dump(dump) => {
            let inverse = Inverse { bucket: store.name.clone(), key: dump.key.clone() };
            let taken = cx.act(UPLOAD, &inverse, take(cx, store, scene, backup_id, dump)).await?;
            (&dump.key, taken, dump.write_globals, false)
        }
    };
    let run = cx.run_id();
    let globals_key = globals_of(key);
    if write_globals && let Globals::Read { script } = &scene.world.globals {
        let inverse = Inverse { bucket: store.name.clone(), key: globals_key.clone() };
        let put = async {
            let stored = store.put(&globals_key, &run, "application/sql", script.clone()).await?;
            Ok(Written::of(&stored))
        };
        cx.act(GLOBALS, &inverse, put).await?;
    }
    let manifest =
        document(cx, store, scene, key, &taken, (write_globals || has_globals).then_some(globals_key));
    let manifest_key = manifest_of(key);
    let inverse = Inverse { bucket: store.name.clone(), key: manifest_key.clone() };
    let put = async {
        let text = serde_json::to_vec_pretty(&manifest)
            .map_err(|error| Failure::failed("write the manifest").because(error).untouched(true))?;
        let stored = store.put(&manifest_key, &run, "application/json", text).await?;
        Ok(Written::of(&stored))
    };
    cx.act(MANIFEST, &inverse, put).await?;
    Ok(manifest)
}

/// Dumps, commits and verifies. A dump that is not what was sent is deleted again: without a manifest nothing relies on it,
/// and nobody should find it.
async fn take(
    cx: &Cx,
    store: &Bucket,
    scene: &Scene,
    backup_id: &str,
    dump: &Dump,
) -> Result<Taken, Failure> {
    let database = &scene.world.database;
    let started = cx.now();
    // One snapshot for the catalogue and the dump, so that a table made in between is in both or in none. The
    // transaction stays open while pg_dump uses it; no server setting may end it early.
    let session = &scene.session;
    let attempt = "open the snapshot of the dump";
    rows(session, attempt, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.map_err(untouched)?;
    rows(
        session,
        attempt,
        "SELECT set_config(name, '0', true) FROM pg_settings WHERE name IN \
         ('idle_in_transaction_session_timeout', 'idle_session_timeout', 'statement_timeout', 'transaction_timeout')",
    )
    .await
    .map_err(untouched)?;
    let snapshot = rows(session, attempt, "SELECT pg_export_snapshot()").await.map_err(untouched)?.pop();
    let tables = tables(session).await.map_err(untouched)?;

    let origin = Origin {
        run: cx.run_id(),
        backup_id: backup_id.to_owned(),
        started,
        database_bytes: database.bytes,
        server_version: database.version.text.clone(),
        client_version: dump.tools.version.text.clone(),
        tables,
        snapshot: snapshot.clone(),
    };
    let carried = serde_json::to_string(&origin).map(|text| ascii(&text));
    let carried =
        carried.map_err(|error| Failure::failed("describe the dump").because(error).untouched(true))?;
    let mut command = scene.runner.command(&dump.tools.pg_dump);
    command.args(["--format=custom", "--no-password"]).stdout(std::process::Stdio::piped());
    command.args(snapshot.map(|snapshot| format!("--snapshot={snapshot}")));
    let attempt = format!("dump {}", database.name);
    let upload = Upload {
        store,
        key: &dump.key,
        metadata: HashMap::from([(RUN.to_owned(), origin.run.clone()), (ORIGIN.to_owned(), carried)]),
        run: &origin.run,
        sizes: PartSizes::for_about(database.bytes),
        attempt: &attempt,
    };
    let permit = |sum: &s3::Sum| match (dump.at_least, &scene.world.last) {
        (Some(least), Some(last)) if sum.bytes < least => {
            Err(plan::shrunk("dump", sum.bytes, last.bytes, last))
        }
        _ => Ok(()),
    };
    let committed = upload.run(cx, command, permit).await?;
    // Its work is done: whatever this says, the dump is committed.
    let _ = rows(session, "close the snapshot", "COMMIT").await;

    let (sum, stored) = (committed.sum, committed.stored);
    if dump.rung > Rung::Present {
        cx.report().say(&format!("{attempt}: {} committed, verifying it", s3::size(sum.bytes)));
    }
    let judged = prove(
        cx,
        store,
        (&scene.runner, &dump.tools),
        (&dump.key, &stored),
        (&origin.tables, Some(&sum)),
        dump.rung,
    )
    .await
    .map_err(|failure| {
        failure.state(format!(
            "{} is committed and not verified; with the same --backup-id the next run verifies it",
            store.uri(&dump.key)
        ))
    })?;
    match judged {
        Ok(proven) => Ok(Taken {
            written: Written::of(&stored),
            stored,
            origin,
            sha256: sum.sha256,
            crc64nvme: sum.crc64nvme,
            proof: proven.proof,
        }),
        Err(why) => {
            let failure = Failure::unverified(format!("verify {}", store.uri(&dump.key))).because(why);
            match store.delete(&dump.key, None, &stored.etag).await {
                Ok(()) => Err(failure.help("run again; nothing of this dump was kept").untouched(true)),
                Err(left) => Err(failure.state(format!(
                    "the unusable dump is still there ({left}: {}): delete it",
                    left.chain().join(": ")
                ))),
            }
        }
    }
}

fn untouched(failure: Failure) -> Failure {
    failure.untouched(true)
}

/// A dump that an earlier run left whole, as [`take`] gives it.
fn found(finish: &Finish) -> Taken {
    Taken {
        written: Written::of(&finish.stored),
        stored: finish.stored.clone(),
        origin: finish.origin.clone(),
        sha256: finish.sum.sha256.clone(),
        crc64nvme: finish.sum.crc64nvme.clone(),
        proof: Proof { rung: Rung::ReadBack, by: "read back by the run that found it".to_owned() },
    }
}

fn document(
    cx: &Cx,
    store: &Bucket,
    scene: &Scene,
    key: &str,
    taken: &Taken,
    globals_key: Option<String>,
) -> Manifest {
    let (origin, database) = (&taken.origin, &scene.world.database);
    Manifest {
        schema: manifest::SCHEMA.to_owned(),
        kind: "dump".to_owned(),
        bucket: store.name.clone(),
        key: key.to_owned(),
        bytes: taken.stored.bytes,
        sha256: taken.sha256.clone(),
        checksum_crc64nvme: taken.crc64nvme.clone(),
        etag: taken.stored.etag.clone(),
        parts: parts(&taken.stored.etag),
        version_id: taken.stored.version.clone(),
        globals_key,
        database: database.name.clone(),
        database_bytes: Some(origin.database_bytes),
        tables: Some(origin.tables.count as u64),
        backup_id: Some(origin.backup_id.clone()),
        system_identifier: database.system_identifier.clone(),
        server_version: origin.server_version.clone(),
        client_version: origin.client_version.clone(),
        snapshot: origin.snapshot.clone(),
        rows: None,
        rung: taken.proof.rung,
        started: origin.started,
        ended: cx.now(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        run: origin.run.clone(),
        github: github(cx),
    }
}

fn github(cx: &Cx) -> Option<BTreeMap<String, String>> {
    const NAMES: [&str; 4] = ["GITHUB_REPOSITORY", "GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT", "GITHUB_SHA"];
    let found = || NAMES.iter().filter_map(|name| Some(((*name).to_owned(), cx.env().get(name)?.to_owned())));
    cx.env().in_github_job().then(|| found().collect())
}

/// The `ETag` of an object uploaded in parts ends in their number
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html>).
fn parts(etag: &str) -> u32 {
    etag.trim_matches('"').rsplit_once('-').and_then(|(_, parts)| parts.parse().ok()).unwrap_or(1)
}

/// JSON in ASCII, as user metadata must be.
fn ascii(json: &str) -> String {
    use std::fmt::Write as _;
    json.chars().fold(String::new(), |mut out, c| {
        if c.is_ascii() {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_are_ascii_and_mean_the_same() {
        let text = serde_json::to_string("Größe 𝄞").unwrap();
        assert!(ascii(&text).is_ascii());
        assert_eq!(serde_json::from_str::<String>(&ascii(&text)).unwrap(), "Größe 𝄞");
    }

    #[test]
    fn the_etag_tells_the_number_of_parts() {
        assert_eq!(parts("\"d41d8cd98f00b204e9800998ecf8427e-38\""), 38);
        assert_eq!(parts("\"d41d8cd98f00b204e9800998ecf8427e\""), 1);
    }
}
