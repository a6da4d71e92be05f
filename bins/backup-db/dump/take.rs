//! One dump: its snapshot, the stream, the rows that are counted meanwhile, and the check of what was stored.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kit::{Cx, Failure};
use postgres::{Rung, Session};
use s3::{Bucket, Object, PartSizes, RUN};
use serde::Serialize;

use super::apply::Written;
use super::decide::advice;
use super::document::Counted;
use super::observe::{ORIGIN, Scene};
use super::plan::{Dump, Finish, Method, Origin, Request};
use crate::catalogue::{self, column};
use crate::earlier::shrunk;
use crate::pipe::{Packing, threads};
use crate::readback::{Stored, Verdict, prove};
use crate::rows::{self, Rows, Table};
use crate::upload::Upload;
use crate::verify::Proof;

/// A dump in its place.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Taken {
    #[serde(flatten)]
    written: Written,
    #[serde(skip)]
    pub(crate) stored: Object,
    #[serde(skip)]
    pub(crate) origin: Origin,
    #[serde(skip)]
    pub(crate) counted: Counted,
    pub(crate) sha256: String,
    #[serde(skip)]
    pub(crate) crc64nvme: String,
    #[serde(flatten)]
    pub(crate) proof: Proof,
}

/// A dump that an earlier run left whole, as [`take`] gives it.
pub(crate) fn found(finish: &Finish) -> Taken {
    Taken {
        written: Written::of(&finish.stored),
        stored: finish.stored.clone(),
        origin: finish.origin.clone(),
        counted: Counted::default(),
        sha256: finish.sum.sha256.clone(),
        crc64nvme: finish.sum.crc64nvme.clone(),
        proof: Proof { rung: Rung::ReadBack, by: "read back by the run that found it".to_owned() },
    }
}

/// The transaction of the dump, which `pg_dump` and the counting join. It stays open while they use it; no server setting may
/// end it early.
///
/// Not `SERIALIZABLE DEFERRABLE`: a dump sees what a transaction of its own would, as with `pg_dump` alone, and never waits
/// for others to end. On a standby snapshots can be exported from 10 on; before, there is none.
async fn open(session: &Session) -> Result<Option<String>, Failure> {
    let attempt = "open the snapshot of the dump";
    column(session, attempt, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    column(
        session,
        attempt,
        "SELECT set_config(name, '0', true) FROM pg_settings WHERE name IN \
         ('idle_in_transaction_session_timeout', 'idle_session_timeout', 'statement_timeout', 'transaction_timeout')",
    )
    .await?;
    if session.identity.in_recovery && session.identity.server_version.0 < 100_000 {
        return Ok(None);
    }
    catalogue::value(session, attempt, "SELECT pg_export_snapshot()").await
}

/// Dumps, commits and verifies. A dump that is not what was sent is deleted again: without a manifest nothing relies on it,
/// and nobody should find it.
pub(crate) async fn take(
    cx: &Cx,
    store: &Bucket,
    scene: &Scene,
    request: &Request,
    dump: &Dump,
) -> Result<Taken, Failure> {
    let untouched = |failure: Failure| failure.untouched(true);
    let database = &scene.world.database;
    let started = cx.now();
    let session = &scene.session;
    let snapshot = open(session).await.map_err(untouched)?;
    let tables = catalogue::tables(session).await.map_err(untouched)?;
    let facts = catalogue::facts(session).await.map_err(untouched)?;
    let to_count = match dump.count_limit {
        0 => None,
        _ => Some(rows::tables(session).await.map_err(untouched)?),
    };
    let origin = Origin {
        run: cx.run_id(),
        backup_id: request.backup_id.clone(),
        started,
        database_bytes: database.bytes,
        server_version: database.version.text.clone(),
        client_version: dump.tools.version.text.clone(),
        tables,
        snapshot: snapshot.clone(),
        compression: Some(dump.method.word().to_owned()),
    };
    let carried = serde_json::to_string(&origin).map(|text| ascii(&text));
    let carried =
        carried.map_err(|error| Failure::failed("describe the dump").because(error).untouched(true))?;
    let mut command = scene.runner.command(&dump.tools.pg_dump);
    command.args(["--format=custom", "--no-password"]).args(dump.method.argument());
    command.args(snapshot.as_ref().map(|snapshot| format!("--snapshot={snapshot}")));
    let attempt = format!("dump {}", database.name);
    let upload = Upload {
        store,
        key: &dump.key,
        metadata: HashMap::from([(RUN.to_owned(), origin.run.clone()), (ORIGIN.to_owned(), carried)]),
        run: &origin.run,
        sizes: PartSizes::for_about(database.bytes),
        packing: match dump.method {
            Method::ZstdAround => Packing::Zstd { threads: threads() },
            _ => Packing::AsItIs,
        },
        tap: None,
        attempt: &attempt,
    };
    let permit = async |sum: &s3::Sum| match (dump.at_least, &scene.world.last) {
        (Some(least), Some(last)) if sum.bytes < least => {
            Err(shrunk(&last.database, "the dump has", sum.bytes, last.bytes, last))
        }
        _ => Ok(()),
    };
    let (committed, rows) = {
        let dumping = Box::pin(upload.run(cx, command, permit));
        let counting = Counting {
            scene,
            snapshot: snapshot.as_deref(),
            tables: to_count.as_deref(),
            limit: dump.count_limit,
        };
        counting.beside(cx, dumping).await
    };
    let committed = committed.map_err(|failure| match advice(&failure.chain().join("\n")) {
        Some(advice) => failure.help(advice),
        None => failure,
    })?;
    // Its work is done: whatever this says, the dump is committed.
    let _ = column(session, "close the snapshot", "COMMIT").await;

    let (sum, stored) = (committed.sum, committed.stored);
    if dump.rung > Rung::Present {
        cx.report().say(&format!("{attempt}: {} committed, verifying it", kit::size(sum.bytes)));
    }
    let judged = Box::pin(prove(
        cx,
        store,
        (&scene.runner, &dump.tools),
        Stored { key: &dump.key, object: &stored },
        (&origin.tables, Some(&sum)),
        dump.rung.min(Rung::ReadBack),
    ))
    .await
    .map_err(|failure| {
        failure.state(format!(
            "{} is committed and not verified; with the same --backup-id the next run verifies it",
            store.uri(&dump.key)
        ))
    })?;
    match judged {
        Verdict::Whole(proven) => Ok(Taken {
            written: Written::of(&stored),
            stored,
            origin,
            counted: Counted { rows, facts: Some(facts) },
            sha256: sum.sha256,
            crc64nvme: sum.crc64nvme,
            proof: proven.proof,
        }),
        Verdict::Unread(why) => Err(Failure::unverified(format!("verify {}", store.uri(&dump.key)))
            .because(why)
            .state(format!(
                "{} is there, and its bytes are those that pg_dump wrote; it is no backup until it is verified, which the next \
                 run with the same --backup-id ({}) does",
                store.uri(&dump.key),
                request.backup_id
            ))
            .help("look why pg_restore failed: a short memory, or another version than pg_dump's, says nothing of the dump")),
        Verdict::Damaged(why) => {
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

/// Counts rows while something else goes on.
struct Counting<'a> {
    scene: &'a Scene,
    snapshot: Option<&'a str>,
    tables: Option<&'a [Table]>,
    limit: u64,
}

/// The counting may go on after the dump for at least so long, or for a tenth of the time that the dump took.
const GRACE: Duration = Duration::from_secs(10);

impl Counting<'_> {
    /// Never fails: what was not counted is said in the manifest and in a warning.
    async fn beside<T>(
        &self,
        cx: &Cx,
        main: impl Future<Output = Result<T, Failure>>,
    ) -> (Result<T, Failure>, Option<Rows>) {
        let Some(tables) = self.tables else { return (main.await, None) };
        let counted = Mutex::new(Rows::default());
        let give_up = |why: &str| {
            let mut rows = counted.lock().unwrap_or_else(PoisonError::into_inner).clone();
            rows.give_up(tables, why);
            rows
        };
        let joined = match self.snapshot {
            None => Err("a standby of this version exports no snapshot to count in".to_owned()),
            Some(snapshot) => rows::join(cx, &self.scene.session.target, snapshot).await.map_err(|failure| {
                format!("the connection to count in could not be had: {}", failure.chain().join(": "))
            }),
        };
        let session = match joined {
            Ok(session) => session,
            Err(why) => {
                let done = main.await;
                return (done, Some(warned(cx, give_up(&why))));
            }
        };
        let begun = Instant::now();
        let mut through = false;
        let done = {
            let mut counting = std::pin::pin!(rows::count(&session, tables, self.limit, &counted));
            let mut main = std::pin::pin!(main);
            let done = loop {
                tokio::select! {
                    done = &mut main => break done,
                    () = &mut counting, if !through => through = true,
                }
            };
            if done.is_ok() && !through {
                let grace = GRACE.max(begun.elapsed() / 10);
                let waited = cx.or_cancelled(tokio::time::timeout(grace, &mut counting)).await;
                through = matches!(waited, Ok(Ok(())));
            }
            done
        };
        if !through {
            session.canceller().cancel().await;
        }
        session.close().await;
        let why = if through {
            "the connection was lost while it was counted"
        } else {
            "the dump was through before it was counted"
        };
        let rows = give_up(why);
        (done, Some(warned(cx, rows)))
    }
}

fn warned(cx: &Cx, rows: Rows) -> Rows {
    if let Some((name, why)) = rows.unknown.first_key_value() {
        let more = rows.unknown.len() - 1;
        let more = if more > 0 { format!(", and {more} other tables") } else { String::new() };
        cx.report().warn(&format!("not counted: {name} ({why}){more}"));
    }
    rows
}

/// JSON in ASCII, as user metadata must be.
pub(crate) fn ascii(json: &str) -> String {
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
}
