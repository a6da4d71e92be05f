//! Reads the database's, the tools' and the bucket's state into plain data.

use std::path::Path;
use std::time::Duration;

use kit::{Cx, Failure, Poll, Wait};
use postgres::{Manifest, Rung, Session, Target, manifest};
use s3::Bucket;
use time::OffsetDateTime;

use super::plan::{Database, Origin, Request, Unproven, World};
use crate::arena::{self, Site};
use crate::args::Compression;
use crate::catalogue::{all, column, facts, stay, text};
use crate::earlier::{latest, same};
use crate::globals::{self, Globals};
use crate::key::{Names, globals_of};
use crate::readback::{Stored, Verdict, prove};
use crate::tools::{Runner, Tools, Version};

/// The user metadata that carries an [`Origin`].
pub(crate) const ORIGIN: &str = "cutover-origin";

/// The key of the advisory lock that one backup at a time holds on its database: "cutoverb" in ASCII.
const LOCK: i64 = 0x6375_746f_7665_7262;

/// An open session, with the lock unless this is a dry run.
pub(crate) struct Scene {
    pub(crate) session: Session,
    pub(crate) runner: Runner,
    pub(crate) world: World,
}

pub(crate) struct Wanted<'a> {
    pub(crate) request: &'a Request,
    pub(crate) prefix: &'a str,
    pub(crate) globals: bool,
    /// Whom the globals are encrypted to, with the passwords in them.
    pub(crate) recipients: &'a [age::x25519::Recipient],
    pub(crate) pg_dump: Option<&'a Path>,
    pub(crate) scratch: Option<&'a Path>,
    pub(crate) prove_into: Option<&'a Target>,
}

pub(crate) async fn observe(
    cx: &Cx,
    store: &Bucket,
    target: &Target,
    wanted: Wanted<'_>,
) -> Result<Scene, Failure> {
    let request = wanted.request;
    let session = postgres::connect(cx, target).await?;
    let identity = session.identity.clone();
    let version = Version::of_server(identity.server_version.0);
    let runner = Runner::new(cx.env(), Some(target.child_env()));
    let tools = cx.or_cancelled(Tools::find(&runner, wanted.pg_dump, &version)).await??;
    cx.or_cancelled(tools.fit(&runner)).await??;
    stay(&session).await?;
    let alone = lock(cx, &session).await?;
    let bytes =
        column(&session, "ask for the database's size", "SELECT pg_database_size(current_database())")
            .await?;
    let database = Database {
        name: identity.database.clone(),
        server: target.server(),
        system_identifier: identity.system_identifier.clone(),
        standby: identity.in_recovery,
        version,
        bytes: bytes.first().and_then(|bytes| bytes.parse().ok()).unwrap_or(0),
    };
    let globals = if wanted.globals {
        globals::read(cx, &runner, &tools, wanted.recipients).await?
    } else {
        Globals::NotWanted
    };
    let site = if request.rung == Rung::Restored {
        Some(match wanted.prove_into {
            None => {
                Site::Own(arena::own(&runner, &tools, &database.version, wanted.scratch, cx.env()).await?)
            }
            Some(named) => {
                let facts = facts(&session).await?;
                let extensions: Vec<String> = facts.extensions.into_keys().collect();
                Site::Named(Box::new(arena::look(cx, named, &extensions, &facts.roles).await?))
            }
        })
    } else {
        None
    };

    let now = cx.now();
    let names =
        Names::new(wanted.prefix, &database.name, database.system_identifier.as_deref(), &request.backup_id)
            .on_standby(database.standby);
    let listed = cx.or_cancelled(store.list(names.folder())).await??;
    let keys: Vec<String> = listed.into_iter().map(|object| object.key).collect();
    let mut warnings = Vec::new();
    let mut unfinished = Vec::new();
    if alone {
        unfinished = cx.or_cancelled(store.unfinished(names.folder())).await??;
        unfinished.retain(|upload| names.is_dead(&upload.key));
    } else {
        warnings.push("another backup of this database is running: this one will wait for it".to_owned());
    }
    let zstd = request.compression == Compression::Zstd && !tools.zstd;
    let key = names.key(now, zstd);
    let mut world = World {
        now,
        key_taken: keys.contains(&key),
        key,
        database,
        tools,
        globals,
        site,
        last: None,
        same: Vec::new(),
        unproven: Vec::new(),
        unfinished,
        warnings: Vec::new(),
    };

    // The latest of this server, and where it has none the latest of any: a server that was upgraded or moved has another
    // identifier. Keys begin with their time, so that those of one folder are listed in its order.
    let (ours, theirs): (Vec<&String>, Vec<&String>) =
        keys.iter().rev().filter(|key| key.ends_with(manifest::SUFFIX)).partition(|key| {
            key.strip_suffix(manifest::SUFFIX).is_some_and(|dump| names.is_of_cluster(dump))
        });
    let manifests = ours.into_iter().chain(theirs);
    world.last = latest(cx, store, manifests, manifest::DUMP, &mut warnings).await?;
    let (same, loose) = same(cx, store, &names, &request.backup_id, &keys).await?;
    world.same = same;
    for key in loose {
        let globals =
            [false, true].into_iter().map(|sealed| globals_of(key, sealed)).find(|key| keys.contains(key));
        world.unproven.extend(unproven(cx, store, &runner, &world.tools, request, now, key, globals).await?);
    }
    world.warnings = warnings;
    Ok(Scene { session, runner, world })
}

/// Waits until no other backup of this database is running. The lock ends with the session, however that ends. A dry run
/// does not wait, and is told whether it has the lock.
///
/// It works on a standby too: <https://www.postgresql.org/docs/current/hot-standby.html#HOT-STANDBY-USERS>.
async fn lock(cx: &Cx, session: &Session) -> Result<bool, Failure> {
    let attempt = "take the lock of this database's backups";
    let what = format!("another backup of {} to end", session.identity.database);
    let pid = session.identity.backend_pid;
    // Only in the process that answered first: behind a pooler that gives a connection another one for each transaction, the lock
    // would stay with one that nobody ends.
    let query = format!(
        "SELECT CASE pg_backend_pid() WHEN {pid} THEN pg_try_advisory_lock({LOCK}) END, pg_backend_pid()"
    );
    let holder = format!(
        "SELECT 'process ' || pid || ' on the server' || coalesce(', connected since ' || backend_start::timestamptz(0), '') \
         FROM pg_locks LEFT JOIN pg_stat_activity USING (pid) \
         WHERE locktype = 'advisory' AND granted AND classid::bigint = {} AND objid::bigint = {} AND objsubid = 1 \
         AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        LOCK >> 32,
        LOCK & 0xffff_ffff
    );
    cx.wait(Wait::until(&what, Duration::from_secs(2)), async || {
        let answer = all(session, attempt, &query).await?;
        let row = answer.first().map(Vec::as_slice).unwrap_or_default();
        if text(row, 1) != Some(pid.to_string().as_str()) {
            return Err(Failure::refused(attempt)
                .because("two statements of this connection were answered by two server processes: a pooler is between")
                .help("connect to the server itself, or to a pool in session mode"));
        }
        if text(row, 0) == Some("t") {
            return Ok(Poll::Ready(true));
        }
        if cx.dry_run() {
            return Ok(Poll::Ready(false));
        }
        let held = column(session, attempt, &holder).await?;
        Ok(Poll::Pending(held.first().map_or_else(|| "held".to_owned(), |held| format!("held by {held}"))))
    })
    .await
}

/// Gives the lock back. The end of a session does that too, but not behind a pooler, which keeps its server process.
pub(super) async fn unlock(session: &Session) {
    let query = format!("SELECT pg_advisory_unlock({LOCK})");
    // A server that does not answer any more must not hold up the end.
    let _ = tokio::time::timeout(Duration::from_secs(2), column(session, "give the lock back", &query)).await;
}

pub(crate) async fn read_manifest(store: &Bucket, key: &str) -> Result<Result<Manifest, String>, Failure> {
    Ok(Manifest::parse(&store.text(key).await?))
}

#[expect(clippy::too_many_arguments, reason = "one part of `observe`")]
async fn unproven(
    cx: &Cx,
    store: &Bucket,
    runner: &Runner,
    tools: &Tools,
    request: &Request,
    now: OffsetDateTime,
    key: &str,
    globals_key: Option<String>,
) -> Result<Option<Unproven>, Failure> {
    let Some(stored) = cx.or_cancelled(store.head(key, None)).await?? else { return Ok(None) };
    let origin = stored.metadata.get(ORIGIN).and_then(|text| serde_json::from_str::<Origin>(text).ok());
    let Some(origin) = origin.filter(|origin| origin.backup_id == request.backup_id) else { return Ok(None) };
    let mut unread = None;
    let newer = Version::parse(&origin.client_version).filter(|by| by.major > tools.version.major);
    // The rows that its run had counted are lost, and with them what a restored database would be compared with.
    let proof = if let Some(by) = newer {
        unread = Some(format!("pg_dump {by} wrote it, which pg_restore {} can't read", tools.version));
        None
    } else if now - origin.started <= request.max_age && request.rung < Rung::Restored {
        cx.report()
            .say(&format!("an earlier run left {} without a manifest: reading it back", store.uri(key)));
        let proven = prove(
            cx,
            store,
            (runner, tools),
            Stored { key, object: &stored },
            (&origin.tables, None),
            Rung::ReadBack,
        )
        .await?;
        match proven {
            Verdict::Whole(proven) => Some(Ok(proven.sum)),
            Verdict::Damaged(why) => Some(Err(why)),
            Verdict::Unread(why) => {
                unread = Some(why);
                None
            }
        }
    } else {
        None
    };
    Ok(Some(Unproven { key: key.to_owned(), stored, origin, globals_key, proof, unread }))
}
