//! Reads what the server, the programs and the bucket are.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kit::{Cx, Env, Failure, Poll, Wait};
use postgres::{Rung, Session, Target, manifest};
use s3::Bucket;
use time::OffsetDateTime;

use super::check::read_back;
use super::plan::{Origin, Request, Server, Unproven, World};
use crate::catalogue::{all, column, stay, text};
use crate::dump::ORIGIN;
use crate::earlier::{latest, same};
use crate::key::Names;
use crate::place::{self, Place};
use crate::readback::Stored;
use crate::sql::literal;
use crate::tools::{Runner, Tools, Version};

/// What the session of a run is called on the server: by it another run knows that this one is alive.
const SESSION: &str = "cutover-base-backup";

/// An open session, which holds the slot of the backup and tells others that this run is alive.
pub(super) struct Scene {
    pub(super) session: Session,
    pub(super) runner: Runner,
    pub(super) world: World,
}

pub(super) struct Wanted<'a> {
    pub(super) request: &'a Request,
    pub(super) prefix: &'a str,
    pub(super) pg_dump: Option<&'a Path>,
    pub(super) scratch: Option<&'a Path>,
}

pub(super) async fn observe(
    cx: &Cx,
    store: &Bucket,
    target: &Target,
    wanted: Wanted<'_>,
) -> Result<Scene, Failure> {
    let request = wanted.request;
    let target = Target { application_name: SESSION.to_owned(), ..target.clone() };
    let session = postgres::connect(cx, &target).await?;
    // It is idle for as long as the backup takes.
    stay(&session).await?;
    let server = cx.or_cancelled(server(&session)).await??;
    let connection = Target { application_name: "pg_basebackup".to_owned(), ..target.clone() };
    let runner = Runner::new(cx.env(), Some(connection.child_env()));
    let tools = cx.or_cancelled(Tools::find(&runner, wanted.pg_dump, &server.version)).await??;
    let (program, client) = cx.or_cancelled(pg_basebackup(&runner, &tools, &server.version)).await??;
    let place = if request.rung == Rung::Restored {
        Some(place(&runner, &tools, &server.version, wanted.scratch, cx.env()).await?)
    } else {
        None
    };
    let alone = alone(cx, &session).await?;

    let now = cx.now();
    let names = Names::base(wanted.prefix, server.system_identifier.as_deref(), &request.backup_id)
        .on_standby(server.standby);
    let listed = cx.or_cancelled(store.list(names.folder())).await??;
    let keys: Vec<String> = listed.into_iter().map(|object| object.key).collect();
    let mut warnings = Vec::new();
    let mut unfinished = Vec::new();
    if alone {
        unfinished = cx.or_cancelled(store.unfinished(names.folder())).await??;
        unfinished.retain(|upload| names.is_dead(&upload.key));
    } else {
        warnings.push("another base backup of this server is running: this one will wait for it".to_owned());
    }
    let key = names.key(now, request.zstd);
    let mut world = World {
        now,
        server,
        program,
        client,
        place,
        key_taken: keys.contains(&key),
        key,
        last: None,
        same: Vec::new(),
        unproven: Vec::new(),
        unfinished,
        warnings: Vec::new(),
    };
    // Keys begin with their time, so that those of one folder are listed in its order.
    let ours = keys
        .iter()
        .rev()
        .filter(|key| key.strip_suffix(manifest::SUFFIX).is_some_and(|archive| names.is_of_cluster(archive)));
    world.last = latest(cx, store, ours, manifest::BASE, &mut warnings).await?;
    let (same, loose) = same(cx, store, &names, &request.backup_id, &keys).await?;
    world.same = same;
    for key in loose.into_iter().filter(|_| alone) {
        world.unproven.extend(unproven(cx, store, request, now, key, &world.server).await?);
    }
    world.warnings = warnings;
    Ok(Scene { session, runner, world })
}

async fn server(session: &Session) -> Result<Server, Failure> {
    let attempt = "ask the server what it is";
    let identity = &session.identity;
    let version = identity.server_version.0;
    let rows = all(
        session,
        attempt,
        "SELECT (SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user), \
         current_setting('wal_level'), (SELECT count(*) FROM pg_stat_replication), current_setting('max_wal_senders'), \
         (SELECT count(*) FROM pg_replication_slots), current_setting('max_replication_slots'), \
         current_setting('data_checksums')",
    )
    .await?;
    let row = rows.into_iter().next().unwrap_or_default();
    let number = |column: usize| text(&row, column).and_then(|text| text.parse().ok()).unwrap_or(0);
    // https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-ADMIN-DBSIZE: CONNECT or pg_read_all_stats.
    let databases = all(
        session,
        attempt,
        "SELECT datname, CASE WHEN has_database_privilege(oid, 'CONNECT') OR pg_has_role('pg_read_all_stats', 'MEMBER') \
         THEN pg_database_size(oid) END, datallowconn AND NOT datistemplate FROM pg_database ORDER BY datname",
    )
    .await?;
    let bytes = databases.iter().filter_map(|row| text(row, 1)?.parse::<u64>().ok()).sum();
    let tablespaces = column(
        session,
        attempt,
        "SELECT quote_ident(spcname) || coalesce(' in ' || nullif(pg_tablespace_location(oid), ''), '') FROM pg_tablespace \
         WHERE spcname NOT IN ('pg_default', 'pg_global') ORDER BY spcname",
    )
    .await?;
    Ok(Server {
        address: session.target.server(),
        system_identifier: identity.system_identifier.clone(),
        standby: identity.in_recovery,
        version: Version::of_server(version),
        bytes,
        databases: databases
            .iter()
            .filter(|row| text(row, 2) == Some("t"))
            .filter_map(|row| text(row, 0).map(str::to_owned))
            .collect(),
        tablespaces,
        role: identity.user.clone(),
        may_replicate: text(&row, 0) == Some("t"),
        wal_level: text(&row, 1).unwrap_or_default().to_owned(),
        senders: (number(2), number(3)),
        slots: (number(4), number(5)),
        data_checksums: text(&row, 6) == Some("on"),
    })
}

/// The program beside `pg_dump`. It works with servers of its own version and older ones
/// (<https://www.postgresql.org/docs/current/app-pgbasebackup.html>).
async fn pg_basebackup(
    runner: &Runner,
    tools: &Tools,
    server: &Version,
) -> Result<(PathBuf, Version), Failure> {
    let path = tools.beside("pg_basebackup");
    let attempt = || Failure::refused(format!("use {}", path.display()));
    let help = "install the client programs of PostgreSQL, or name the pg_dump beside it with --pg-dump";
    let output = runner
        .command(&path)
        .arg("--version")
        .output()
        .await
        .map_err(|error| attempt().because(error).help(help))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let version = Version::of_program(said.trim())
        .filter(|_| output.status.success())
        .ok_or_else(|| attempt().because(format!("`--version` says {:?}", said.trim())).help(help))?;
    if version.major < server.major {
        return Err(attempt()
            .because(format!("it is version {version}, and the server is {server}: it must not be older"))
            .help(help));
    }
    Ok((path, version))
}

async fn place(
    runner: &Runner,
    tools: &Tools,
    server: &Version,
    folder: Option<&Path>,
    env: &Env,
) -> Result<Place, Failure> {
    // That of the server's own version, which alone can start it.
    let tools = Tools { version: server.clone(), ..tools.clone() };
    place::find(runner, &tools, server, folder, env).await.map_err(|why| {
        Failure::refused("prove the backup by starting it")
            .because(why)
            .help("install the server of PostgreSQL beside its client, or ask for --verify read-back")
    })
}

/// Waits until no base backup of this server by this step is running, wherever: those that began before this one go first. A
/// dry run does not wait, and is told whether there is none.
async fn alone(cx: &Cx, session: &Session) -> Result<bool, Failure> {
    let attempt = "look for other base backups";
    // What a role may not see of another's session is NULL: that one goes first.
    let query = format!(
        "SELECT 'process ' || pid || ' on the server' || coalesce(', connected since ' || backend_start::timestamptz(0), '') \
         FROM pg_stat_activity WHERE application_name = {} AND pid <> pg_backend_pid() \
         AND (backend_start IS NULL OR (backend_start, pid) < \
         (SELECT backend_start, pid FROM pg_stat_activity WHERE pid = pg_backend_pid()))",
        literal(SESSION)
    );
    let wait = Wait::until("another base backup of this server to end", Duration::from_secs(2));
    cx.wait(wait, async || {
        let others = column(session, attempt, &query).await?;
        Ok(match others.into_iter().next() {
            None => Poll::Ready(true),
            Some(_) if cx.dry_run() => Poll::Ready(false),
            Some(other) => Poll::Pending(format!("it is of {other}")),
        })
    })
    .await
}

async fn unproven(
    cx: &Cx,
    store: &Bucket,
    request: &Request,
    now: OffsetDateTime,
    key: &str,
    server: &Server,
) -> Result<Option<Unproven>, Failure> {
    let Some(stored) = cx.or_cancelled(store.head(key, None)).await?? else { return Ok(None) };
    let origin = stored.metadata.get(ORIGIN).and_then(|text| serde_json::from_str::<Origin>(text).ok());
    let Some(origin) = origin.filter(|origin| origin.backup_id == request.backup_id) else { return Ok(None) };
    let proof = if now - origin.started <= request.max_age {
        cx.report()
            .say(&format!("an earlier run left {} without a manifest: reading it back", store.uri(key)));
        let archive = Stored { key, object: &stored };
        Some(read_back(cx, store, archive, None, server.system_identifier.as_deref(), None).await?)
    } else {
        None
    };
    Ok(Some(Unproven { key: key.to_owned(), stored, origin, proof }))
}
