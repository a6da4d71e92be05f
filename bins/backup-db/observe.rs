//! Reads the database's, the tools' and the bucket's state into plain data.

use std::time::Duration;

use kit::{Cx, Failure, Poll, Wait};
use postgres::tokio_postgres::SimpleQueryMessage;
use postgres::{Manifest, Rung, Session, Target, manifest};
use s3::Bucket;
use time::OffsetDateTime;
use tokio::process::Command;

use crate::key::{Names, globals_of, manifest_of};
use crate::plan::{Database, Earlier, Globals, Origin, Request, Unproven, World};
use crate::readback::prove;
use crate::tools::{Runner, Tools, Version};
use crate::verify::Tables;

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
    pub(crate) pg_dump: Option<&'a std::path::Path>,
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
    let alone = lock(cx, &session).await?;
    let bytes =
        rows(&session, "ask for the database's size", "SELECT pg_database_size(current_database())").await?;
    let database = Database {
        name: identity.database.clone(),
        server: target.server(),
        system_identifier: identity.system_identifier.clone(),
        version,
        bytes: bytes.first().and_then(|bytes| bytes.parse().ok()).unwrap_or(0),
    };
    let globals = if wanted.globals { read_globals(cx, &runner, &tools).await? } else { Globals::NotWanted };

    let now = cx.now();
    let names =
        Names::new(wanted.prefix, &database.name, database.system_identifier.as_deref(), &request.backup_id);
    let listed = cx.or_cancelled(store.list(names.folder())).await??;
    let keys: Vec<String> = listed.into_iter().map(|object| object.key).collect();
    let mut warnings = Vec::new();
    let mut unfinished = Vec::new();
    if alone {
        unfinished = cx.or_cancelled(store.unfinished(names.folder())).await??;
        unfinished.retain(|upload| names.is_ours(&upload.key));
    } else {
        warnings.push("another backup of this database is running: this one will wait for it".to_owned());
    }
    let key = names.dump(now);
    let mut world = World {
        now,
        key_taken: keys.contains(&key),
        key,
        database,
        tools,
        globals,
        last: None,
        same: Vec::new(),
        unproven: Vec::new(),
        unfinished,
        warnings: Vec::new(),
    };

    // Keys begin with their time, so that they are listed in its order.
    for key in keys.iter().rev().filter(|key| key.ends_with(manifest::SUFFIX)) {
        match cx.or_cancelled(read_manifest(store, key)).await?? {
            Ok(manifest) => {
                world.last = Some(manifest);
                break;
            }
            Err(why) => warnings.push(format!("{} can't be read: {why}", store.uri(key))),
        }
    }
    for key in keys.iter().filter(|key| names.may_be_same(key)) {
        let manifest_key = manifest_of(key);
        if keys.contains(&manifest_key) {
            // One that can't be read was warned of above, or is older than the last.
            let Ok(manifest) = cx.or_cancelled(read_manifest(store, &manifest_key)).await?? else { continue };
            if manifest.backup_id.as_deref() == Some(&*request.backup_id) {
                let dump = cx.or_cancelled(store.head(key, None)).await??;
                world.same.push(Earlier { manifest, dump });
            }
        } else if names.is_ours(key) {
            let has_globals = keys.contains(&globals_of(key));
            world
                .unproven
                .extend(unproven(cx, store, &runner, &world.tools, request, now, key, has_globals).await?);
        }
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
    let query = format!("SELECT pg_try_advisory_lock({LOCK})");
    let holder = format!(
        "SELECT 'process ' || pid || ' on the server' || coalesce(', connected since ' || backend_start::timestamptz(0), '') \
         FROM pg_locks LEFT JOIN pg_stat_activity USING (pid) \
         WHERE locktype = 'advisory' AND granted AND classid::bigint = {} AND objid::bigint = {} AND objsubid = 1 \
         AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        LOCK >> 32,
        LOCK & 0xffff_ffff
    );
    cx.wait(Wait::until(&what, Duration::from_secs(2)), async || {
        let taken = rows(session, attempt, &query).await?;
        if taken.first().is_some_and(|taken| taken == "t") {
            return Ok(Poll::Ready(true));
        }
        if cx.dry_run() {
            return Ok(Poll::Ready(false));
        }
        let held = rows(session, attempt, &holder).await?;
        Ok(Poll::Pending(held.first().map_or_else(|| "held".to_owned(), |held| format!("held by {held}"))))
    })
    .await
}

/// The first column of a query's rows.
pub(crate) async fn rows(session: &Session, attempt: &str, query: &str) -> Result<Vec<String>, Failure> {
    let messages =
        session.client.simple_query(query).await.map_err(|error| session.failure(attempt, &error))?;
    Ok(messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
            _ => None,
        })
        .collect())
}

/// Roles and tablespaces. A role that may not read them is no reason to have no backup.
async fn read_globals(cx: &Cx, runner: &Runner, tools: &Tools) -> Result<Globals, Failure> {
    let mut command: Command = runner.command(&tools.pg_dumpall);
    // Without --database it would look for a database `postgres` that need not exist.
    let database = command
        .as_std()
        .get_envs()
        .find_map(|(name, value)| {
            (name == "PGDATABASE").then(|| value.map(|value| value.to_string_lossy().into_owned()))
        })
        .flatten()
        .unwrap_or_default();
    command
        .args(["--globals-only", "--no-role-passwords", "--no-password"])
        .arg(format!("--database={database}"));
    let output = match cx.in_time("read the roles and tablespaces", command.output()).await? {
        Ok(output) => output,
        Err(error) => {
            return Ok(Globals::Denied(format!("{} can't be started: {error}", tools.pg_dumpall.display())));
        }
    };
    if output.status.success() && !output.stdout.is_empty() {
        return Ok(Globals::Read { script: output.stdout });
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Ok(Globals::Denied(said.lines().next().unwrap_or("pg_dumpall printed nothing").to_owned()))
}

async fn read_manifest(store: &Bucket, key: &str) -> Result<Result<Manifest, String>, Failure> {
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
    has_globals: bool,
) -> Result<Option<Unproven>, Failure> {
    let Some(stored) = cx.or_cancelled(store.head(key, None)).await?? else { return Ok(None) };
    let origin = stored.metadata.get(ORIGIN).and_then(|text| serde_json::from_str::<Origin>(text).ok());
    let Some(origin) = origin.filter(|origin| origin.backup_id == request.backup_id) else { return Ok(None) };
    let proof = if now - origin.started <= request.max_age {
        cx.report()
            .say(&format!("an earlier run left {} without a manifest: reading it back", store.uri(key)));
        let proven =
            prove(cx, store, (runner, tools), (key, &stored), (&origin.tables, None), Rung::ReadBack).await?;
        Some(proven.map(|proven| proven.sum))
    } else {
        None
    };
    Ok(Some(Unproven { key: key.to_owned(), stored, origin, has_globals, proof }))
}

/// The tables that a dump of this database must have, as this transaction sees them: ordinary and partitioned ones that
/// belong neither to the system nor to an extension.
pub(crate) async fn tables(session: &Session) -> Result<Tables, Failure> {
    let oids = rows(
        session,
        "list the tables",
        "SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'p') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' \
         AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid \
         AND d.deptype = 'e')",
    )
    .await?;
    Ok(Tables::of(oids.iter().filter_map(|oid| oid.parse().ok())))
}
