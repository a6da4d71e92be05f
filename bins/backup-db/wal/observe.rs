//! Reads what the server, its folder and the prefix are.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use kit::{Cx, Env, Failure};
use postgres::Session;
use s3::{Bucket, Listed};

use super::plan::{Archiver, DataDir, Seen, Server, Tool, World};
use super::sentinel::{self, Sentinel};
use crate::args::Args;
use crate::catalogue::{all, text, value};
use crate::key::Destination;
use crate::tools::Version;

pub(super) async fn observe(
    cx: &Cx,
    args: &Args,
    store: &Bucket,
    to: &Destination,
    tool: Tool,
    session: &Session,
) -> Result<World, Failure> {
    let program = program(tool, args.wal_tool.as_deref(), cx.env())?;
    let server = cx.or_cancelled(server(session)).await??;
    let data_dir = args.data_dir.as_deref().map(data_dir);
    let sentinels = sentinels(cx, store, to).await?;
    let newest = match sentinels.iter().max_by_key(|object| (object.modified, object.key.as_str())) {
        Some(object) => Some(read(cx, store, to, object, server.segment_bytes).await?),
        None => None,
    };
    let yes = |name: &str| cx.env().get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    Ok(World {
        now: cx.now(),
        tool,
        program,
        place: store.uri(&to.prefix),
        server,
        data_dir,
        sentinels,
        newest,
        takes_id: tool == Tool::WalG
            && cx.env().get("WALG_SENTINEL_USER_DATA").is_none()
            && !yes("WALG_WITHOUT_FILES_METADATA"),
        checks_pages: yes("WALG_VERIFY_PAGE_CHECKSUMS"),
    })
}

fn program(tool: Tool, named: Option<&Path>, env: &Env) -> Result<PathBuf, Failure> {
    let found = match named {
        Some(path) => path.is_file().then(|| path.to_owned()),
        None => std::env::split_paths(env.get("PATH").unwrap_or("/usr/local/bin:/usr/bin:/bin"))
            .map(|folder| folder.join(tool.word()))
            .find(|file| file.is_file()),
    };
    found.ok_or_else(|| {
        Failure::refused(format!("run {}", tool.word()))
            .because(match named {
                Some(path) => format!("there is no file {}", path.display()),
                None => "it is not on PATH".to_owned(),
            })
            .help("run this on the server's machine, where the tool is installed, or name it with --wal-tool")
    })
}

async fn server(session: &Session) -> Result<Server, Failure> {
    let attempt = "ask the server what it is";
    let identity = &session.identity;
    let setting = async |name: &str| {
        value(session, attempt, &format!("SELECT setting FROM pg_settings WHERE name = '{name}'")).await
    };
    // Before 11 in blocks of 8 KiB.
    let rows = all(
        session,
        attempt,
        "SELECT setting::bigint * CASE unit WHEN '8kB' THEN 8192 ELSE 1 END FROM pg_settings WHERE name = 'wal_segment_size'",
    )
    .await?;
    let segment_bytes = rows.first().and_then(|row| text(row, 0)?.parse().ok()).unwrap_or(16 << 20);
    let mut archives = false;
    for name in ["archive_command", "archive_library"] {
        archives |= setting(name).await?.is_some_and(|value| !value.is_empty() && value != "(disabled)");
    }
    Ok(Server {
        address: session.target.server(),
        version: Version::of_server(identity.server_version.0),
        standby: identity.in_recovery,
        system_identifier: identity.system_identifier.clone(),
        segment_bytes,
        archive_mode: setting("archive_mode").await?.unwrap_or_default(),
        archives,
        archiver: archiver(session).await?,
    })
}

/// <https://www.postgresql.org/docs/current/monitoring-stats.html#MONITORING-PG-STAT-ARCHIVER-VIEW>
pub(super) async fn archiver(session: &Session) -> Result<Archiver, Failure> {
    let rows = all(
        session,
        "look at the archiver",
        "SELECT last_archived_wal, failed_count, last_failed_wal, \
         CASE WHEN last_failed_time > coalesce(last_archived_time, '-infinity') THEN last_failed_time::timestamptz(0)::text END \
         FROM pg_stat_archiver",
    )
    .await?;
    let row = rows.into_iter().next().unwrap_or_default();
    let word = |column: usize| text(&row, column).map(str::to_owned);
    Ok(Archiver {
        last_archived: word(0),
        failed: text(&row, 1).and_then(|count| count.parse().ok()).unwrap_or(0),
        last_failed: word(2),
        failing_since: word(3),
    })
}

fn data_dir(path: &Path) -> DataDir {
    // The first eight bytes of the control file are the identifier, in the machine's own order:
    // https://github.com/postgres/postgres/blob/master/src/include/catalog/pg_control.h
    let read = || {
        let mut number = [0; 8];
        File::open(path.join("global/pg_control"))?.read_exact(&mut number)?;
        Ok(u64::from_ne_bytes(number).to_string())
    };
    DataDir {
        path: path.to_owned(),
        system_identifier: read().map_err(|error: std::io::Error| format!("global/pg_control: {error}")),
    }
}

pub(super) async fn sentinels(cx: &Cx, store: &Bucket, to: &Destination) -> Result<Vec<Listed>, Failure> {
    let mut listed = cx.in_time("list the backups", store.list(&sentinel::backups(&to.prefix))).await??;
    listed.retain(|object| sentinel::name_of(&object.key, &to.prefix).is_some());
    Ok(listed)
}

pub(super) async fn read(
    cx: &Cx,
    store: &Bucket,
    to: &Destination,
    object: &Listed,
    segment_bytes: u64,
) -> Result<Result<Sentinel, String>, Failure> {
    let name = sentinel::name_of(&object.key, &to.prefix).unwrap_or_default();
    let text = cx.in_time("read the sentinel", store.text(&object.key)).await??;
    Ok(sentinel::parse(name, &text, segment_bytes)
        .map_err(|why| format!("{}: {why}", store.uri(&object.key))))
}

/// More of `wal-g`'s notes on files is not read: they are kept in memory.
const NOTES: u64 = 256 << 20;

/// The archives of a backup, and what `wal-g` noted of its files.
pub(super) async fn look(
    cx: &Cx,
    store: &Bucket,
    to: &Destination,
    sentinel: Sentinel,
) -> Result<Result<Seen, String>, Failure> {
    let folder = format!("{}{}/", sentinel::backups(&to.prefix), sentinel.name);
    let listed = cx.in_time("list the archives of the backup", store.list(&folder)).await??;
    let (archives, stored_bytes) = match sentinel::archives(&listed) {
        Ok(found) => found,
        Err(why) => return Ok(Err(why)),
    };
    let mut corrupt = sentinel.corrupt.clone();
    let notes = format!("{folder}files_metadata.json");
    if let Some(object) = listed.iter().find(|object| object.key == notes) {
        if object.bytes > NOTES {
            cx.report().warn(&format!(
                "{} has {}, and is not looked at for bad blocks",
                store.uri(&notes),
                kit::size(object.bytes)
            ));
        } else {
            let text = cx.in_time("read the notes of wal-g on its files", store.text(&notes)).await??;
            match sentinel::corrupt_files(&text) {
                Ok(files) => corrupt.extend(files),
                Err(why) => return Ok(Err(format!("{} can't be read: {why}", store.uri(&notes)))),
            }
        }
    }
    let uri =
        format!("{}{}_backup_stop_sentinel.json", store.uri(&sentinel::backups(&to.prefix)), sentinel.name);
    Ok(Ok(Seen { sentinel, uri, archives, stored_bytes, corrupt }))
}

/// What lies in the archive of the write-ahead log around these segments.
pub(super) async fn log(
    cx: &Cx,
    store: &Bucket,
    to: &Destination,
    needed: &[String],
) -> Result<Vec<Listed>, Failure> {
    let folder = sentinel::log(&to.prefix);
    // A timeline and the upper half of a position: at most 4,096 segments.
    let mut stems: Vec<&str> = needed.iter().filter_map(|name| name.get(..16)).collect();
    stems.dedup();
    let mut listed = Vec::new();
    for stem in stems {
        let prefix = format!("{folder}{stem}");
        listed.extend(cx.in_time("list the archived write-ahead log", store.list(&prefix)).await??);
    }
    Ok(listed)
}
