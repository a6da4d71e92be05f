//! Where a scratch server can be had on this machine, and whether a database fits there.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use kit::Env;
use rustix::fs::statvfs;
use rustix::process::geteuid;
use serde::Serialize;

use crate::tools::{Runner, Tools, Version};

/// Where a scratch server can be had on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Place {
    /// The installation's programs.
    pub(crate) bin: PathBuf,
    pub(crate) version: Version,
    /// The folder in which it gets its own.
    pub(crate) folder: PathBuf,
    /// Bytes that are free there.
    pub(crate) free: u64,
    /// Whom it runs as, where root runs this.
    pub(crate) user: Option<User>,
}

/// An account of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The server that a dump of `server` can be restored into, or why there is none and what to do.
pub(crate) async fn find(
    runner: &Runner,
    tools: &Tools,
    server: &Version,
    folder: Option<&Path>,
    env: &Env,
) -> Result<Place, String> {
    let folder = folder.map_or_else(|| PathBuf::from(env.get("TMPDIR").unwrap_or("/tmp")), Path::to_path_buf);
    let folder = fs::canonicalize(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let disk = statvfs(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let user = if geteuid().is_root() {
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        Some(unprivileged(&passwd).ok_or(
            "PostgreSQL refuses to run as root, and /etc/passwd has neither `postgres` nor `nobody`",
        )?)
    } else {
        None
    };
    let (bin, version) = installation(runner, tools, server, user.as_ref()).await?;
    Ok(Place { bin, version, folder, free: disk.f_bavail.saturating_mul(disk.f_frsize), user })
}

/// `nobody` if there is such an account, else `postgres`: what is restored may run code, and to `postgres` belong the data of
/// whatever server is on this machine.
fn unprivileged(passwd: &str) -> Option<User> {
    let find = |wanted: &str| {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
            (name == wanted).then_some(())?;
            Some(User { name: name.to_owned(), uid: uid.parse().ok()?, gid: gid.parse().ok()? })
        })
    };
    find("nobody").or_else(|| find("postgres"))
}

/// The server beside `pg_dump`, or the nearest one below `/usr/lib/postgresql` that is not older than what was dumped.
async fn installation(
    runner: &Runner,
    tools: &Tools,
    server: &Version,
    user: Option<&User>,
) -> Result<(PathBuf, Version), String> {
    let beside = fs::canonicalize(&tools.pg_dump).ok().and_then(|path| Some(path.parent()?.to_path_buf()));
    let mut folders: Vec<PathBuf> = beside.into_iter().collect();
    let entries = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    folders.extend(entries.map(|entry| entry.path().join("bin")));
    let mut found = Vec::new();
    let mut older = Vec::new();
    let mut closed = Vec::new();
    for bin in folders {
        if !["initdb", "postgres"].iter().all(|program| bin.join(program).is_file()) {
            continue;
        }
        if user.is_some() && !open_to_all(&bin) {
            closed.push(bin.display().to_string());
            continue;
        }
        let Ok(output) = runner.command(&bin.join("postgres")).arg("--version").output().await else {
            continue;
        };
        let said = String::from_utf8_lossy(&output.stdout);
        let Some(version) = Version::of_program(said.trim()) else { continue };
        if version.major < server.major { older.push(version.text) } else { found.push((bin, version)) }
    }
    // Those of the client's own version first: its pg_restore then speaks to a server of its time.
    found.sort_by_key(|(_, version)| (version.major != tools.version.major, version.major));
    found.into_iter().next().ok_or_else(|| match (older.len(), user, closed.first()) {
        (0, Some(user), Some(closed)) => {
            format!("root can't run PostgreSQL, and {} may not enter {closed}", user.name)
        }
        (0, ..) => format!(
            "there is no PostgreSQL server (initdb and postgres) beside {} nor below /usr/lib/postgresql",
            tools.pg_dump.display()
        ),
        _ => format!(
            "the servers here are older ({}) than the one that is dumped ({server})",
            older.join(", ")
        ),
    })
}

/// Whether every account of this machine may enter the folder.
fn open_to_all(folder: &Path) -> bool {
    folder.ancestors().all(|folder| fs::metadata(folder).is_ok_and(|meta| meta.mode() & 0o001 != 0))
}

/// How much room a restore needs: the database's own size, at most 1 GiB of write-ahead log, and an empty cluster.
pub(crate) fn need(database: u64) -> u64 {
    database.saturating_add(database.min(1 << 30)).saturating_add(128 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_comes_before_postgres_and_root_never() {
        let postgres = "root:x:0:0:root:/root:/bin/bash
postgres:x:107:110::/var/lib/postgresql:/bin/bash
";
        assert_eq!(unprivileged(postgres), Some(User { name: "postgres".into(), uid: 107, gid: 110 }));
        let both = format!(
            "{postgres}nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"
        );
        assert_eq!(unprivileged(&both).unwrap().name, "nobody");
        assert_eq!(
            unprivileged(
                "root:x:0:0:root:/root:/bin/bash
"
            ),
            None
        );
    }

    #[test]
    fn the_room_that_is_needed_grows_with_the_database() {
        const MIB: u64 = 1 << 20;
        assert_eq!(need(0), 128 * MIB);
        assert_eq!(need(100 * MIB), 328 * MIB);
        assert_eq!(need(100 << 30), (101 << 30) + 128 * MIB);
    }

    #[test]
    fn a_folder_below_a_closed_one_is_closed() {
        use std::os::unix::fs::PermissionsExt as _;
        let parent = tempfile::tempdir_in("/tmp").unwrap();
        let folder = parent.path().join("bin");
        fs::create_dir(&folder).unwrap();
        for (mode, open) in [(0o755, true), (0o700, false)] {
            fs::set_permissions(parent.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(open_to_all(&folder), open);
        }
    }
}
