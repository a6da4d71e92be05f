//! A PostgreSQL server of the run's own, in a temporary folder, for as long as it takes to prove a dump.
//!
//! Its folder is locked by the run. A folder whose lock is free belongs to a run that was killed: the next one ends the
//! server in it and removes it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use kit::{Cx, Env, Failure};
use postgres::{PgArgs, Session, Target};
use rustix::fs::{FlockOperation, flock, statvfs};
use rustix::process::{Pid, Signal, geteuid, kill_process, test_kill_process};
use tokio::process::{Child, Command};

use crate::place::{Place, User};
use crate::tools::Runner;

/// What such folders are called; the rest is the run's id.
const PREFIX: &str = "cutover-scratch-";
const LOCK: &str = "lock";
const DATA: &str = "data";
const LOG: &str = "postgres.log";
/// The superuser that `initdb` makes: not `postgres`, which the script of the roles may make, and make no superuser.
const SUPERUSER: &str = "cutover_scratch";
/// The database that `initdb` makes.
const DATABASE: &str = "postgres";
/// A Unix socket's path has at most 107 bytes (unix(7)), of which PostgreSQL wants so many for its file.
const SOCKET: usize = 107 - "/.s.PGSQL.5432".len();

/// The configuration of a server on files of a base backup, beside its data.
const CONFIG: &str = "postgresql.conf";
const HBA: &str = "pg_hba.conf";
/// What an empty server is started with beside: nothing is replicated from it.
const EMPTY: [&str; 2] = ["wal_level=minimal", "max_wal_senders=0"];
/// What a server on files of a base backup is started with beside; it must know as many prepared transactions as the other.
const FILES: [&str; 6] = [
    "config_file=FOLDER/postgresql.conf",
    "hba_file=FOLDER/pg_hba.conf",
    "ident_file=FOLDER/postgresql.conf",
    "archive_mode=off",
    "max_prepared_transactions=200",
    "shared_preload_libraries=",
];
/// How long a server on files of a base backup may take to replay the write-ahead log in them.
const REPLAYED_WITHIN: Duration = Duration::from_hours(1);

/// A running server. Stopped and removed when dropped; [`Self::end`] waits for it.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// The run's own folder.
    folder: PathBuf,
    _lock: File,
    child: Option<Child>,
    /// Its database `postgres`.
    pub(crate) target: Target,
}

impl Scratch {
    /// An empty server.
    pub(crate) async fn start(cx: &Cx, runner: &Runner, place: &Place) -> Result<Self, Failure> {
        let (mut scratch, attempt) = Self::folder(cx, place)?;
        scratch.init(cx, runner, place, &attempt).await?;
        scratch.launch(runner, place, &EMPTY).map_err(|error| unstarted(&attempt, error))?;
        scratch.answers(cx, &attempt, Duration::from_mins(1)).await?;
        Ok(scratch)
    }

    /// A server on files that `unpack` puts into the folder that it is given: those of a base backup. It is connected to as
    /// `user`, without a password, and none of the configuration that was backed up counts.
    pub(crate) async fn of_files(
        cx: &Cx,
        runner: &Runner,
        place: &Place,
        (user, database): (&str, &str),
        unpack: impl AsyncFnOnce(PathBuf) -> Result<Result<(), String>, Failure>,
    ) -> Result<Result<Self, String>, Failure> {
        let (mut scratch, attempt) = Self::folder(cx, place)?;
        let data = scratch.folder.join(DATA);
        if let Err(why) = unpack(data.clone()).await? {
            return Ok(Err(why));
        }
        scratch.prepare(place).map_err(|error| unstarted(&attempt, error))?;
        scratch.target.user = user.to_owned();
        scratch.target.dbname = database.to_owned();
        scratch.launch(runner, place, &FILES).map_err(|error| unstarted(&attempt, error))?;
        // How long the write-ahead log of a backup takes to be replayed depends on how much was written meanwhile.
        match scratch.answers(cx, &attempt, REPLAYED_WITHIN).await {
            Ok(()) => Ok(Ok(scratch)),
            Err(failure) => {
                cx.or_cancelled(std::future::ready(())).await?;
                Ok(Err(format!("a server can't be started on it: {}", failure.chain().join(": "))))
            }
        }
    }

    /// Replaces the configuration of the server that was backed up, and gives the files to the account that runs this one.
    fn prepare(&self, place: &Place) -> io::Result<()> {
        let data = self.folder.join(DATA);
        for name in ["standby.signal", "recovery.signal"] {
            match fs::remove_file(data.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::write(data.join("postgresql.auto.conf"), "")?;
        fs::write(self.folder.join(CONFIG), "")?;
        fs::write(self.folder.join(HBA), "local all all trust\n")?;
        if let Some(user) = &place.user {
            give(&self.folder, user)?;
        }
        Ok(())
    }

    /// The run's own folder.
    fn folder(cx: &Cx, place: &Place) -> Result<(Self, String), Failure> {
        let attempt =
            format!("start a scratch server of PostgreSQL {} in {}", place.version, place.folder.display());
        for left in leftovers(&place.folder, place.user.as_ref()) {
            cx.report().say(&format!("removing {}, which a run that was killed left", left.display()));
            remove(&left).map_err(|error| {
                Failure::failed(format!("remove {}, which a run that was killed left", left.display()))
                    .because(error)
                    .untouched(true)
            })?;
        }
        let id: String = cx.run_id().chars().filter(char::is_ascii_alphanumeric).take(12).collect();
        let folder = place.folder.join(format!("{PREFIX}{id}"));
        if folder.as_os_str().len() > SOCKET {
            return Err(Failure::refused(attempt)
                .because(format!("a socket below {} would have too long a name", folder.display()))
                .help("name a shorter folder with --scratch-dir"));
        }
        let lock = claim(&folder, place.user.as_ref()).map_err(|error| unstarted(&attempt, error))?;
        // From here on dropping it removes the folder.
        let target = PgArgs {
            host: Some(folder.display().to_string()),
            port: Some("5432".to_owned()),
            dbname: Some(DATABASE.to_owned()),
            user: Some(SUPERUSER.to_owned()),
            ..PgArgs::default()
        }
        .target(&Env::default())?;
        Ok((Self { folder, _lock: lock, child: None, target }, attempt))
    }

    async fn init(&self, cx: &Cx, runner: &Runner, place: &Place, attempt: &str) -> Result<(), Failure> {
        let mut command = as_user(runner.plain(&place.bin.join("initdb")), place);
        command
            .args([
                "--username",
                SUPERUSER,
                "--auth",
                "trust",
                "--encoding",
                "UTF8",
                "--locale",
                "C",
                "--no-sync",
            ])
            .arg("--pgdata")
            .arg(self.folder.join(DATA));
        let output = cx.in_time(attempt, command.output()).await?.map_err(|error| {
            let failure = Failure::failed(attempt).because(error).untouched(true);
            match &place.user {
                Some(user) => failure.help(format!(
                    "root must be able to become {}; else run this as an unprivileged user, or use --prove-into",
                    user.name
                )),
                None => failure,
            }
        })?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Failure::failed(attempt)
            .because(format!("initdb ended with {}: {}", output.status, said.trim()))
            .help("name another folder with --scratch-dir, or another server with --prove-into")
            .untouched(true))
    }

    /// Nothing here outlives the run: durability is left out, and so is everything that a restore does not need.
    fn launch(&mut self, runner: &Runner, place: &Place, settings: &[&str]) -> io::Result<()> {
        let log = File::create(self.folder.join(LOG))?;
        let mut command = as_user(runner.plain(&place.bin.join("postgres")), place);
        command.arg("-D").arg(self.folder.join(DATA));
        let sockets = format!("unix_socket_directories=\"{}\"", self.folder.display());
        for setting in [
            "listen_addresses=",
            &sockets,
            "unix_socket_permissions=0700",
            "port=5432",
            "fsync=off",
            "synchronous_commit=off",
            "full_page_writes=off",
            "max_wal_size=1GB",
            "checkpoint_timeout=30min",
            "autovacuum=off",
            "maintenance_work_mem=128MB",
            "logging_collector=off",
            "max_locks_per_transaction=1024",
        ] {
            command.args(["-c", setting]);
        }
        for setting in settings {
            command.args(["-c", &setting.replace("FOLDER", &self.folder.display().to_string())]);
        }
        command.stdout(log.try_clone()?).stderr(log).stdin(Stdio::null());
        self.child = Some(command.spawn()?);
        Ok(())
    }

    /// Waits until it accepts connections.
    async fn answers(&mut self, cx: &Cx, attempt: &str, within: Duration) -> Result<(), Failure> {
        let until = Instant::now() + within;
        loop {
            let failure = match postgres::connect_once(cx, &self.target).await {
                Ok(session) => {
                    session.close().await;
                    return Ok(());
                }
                Err(failure) => failure,
            };
            cx.or_cancelled(std::future::ready(())).await?;
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = ended {
                return Err(Failure::failed(attempt)
                    .because(format!("it ended with {status}: {}", self.log()))
                    .help("name another folder with --scratch-dir, or another server with --prove-into")
                    .untouched(true));
            }
            if Instant::now() > until {
                return Err(failure.untouched(true));
            }
            cx.or_cancelled(cx.pause(Duration::from_millis(50))).await?;
        }
    }

    /// The last lines that the server wrote, in one.
    pub(crate) fn log(&self) -> String {
        let text = fs::read(self.folder.join(LOG)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(5)..).unwrap_or_default().join("; ")
    }

    /// Bytes that are free where it is.
    pub(crate) fn free(&self) -> u64 {
        statvfs(&self.folder).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    pub(crate) async fn session(&self, cx: &Cx) -> Result<Session, Failure> {
        postgres::connect(cx, &self.target).await
    }

    /// Stops it and removes all that it was.
    pub(crate) async fn end(mut self) -> Result<(), Failure> {
        if let Some(mut child) = self.child.take() {
            quit(child.id());
            if tokio::time::timeout(Duration::from_secs(3), child.wait()).await.is_err() {
                let _ = child.kill().await;
            }
        }
        remove(&self.folder).map_err(|error| {
            Failure::failed(format!("remove the scratch server's folder {}", self.folder.display()))
                .because(error)
        })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            quit(child.id());
            let until = Instant::now() + Duration::from_secs(2);
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = child.start_kill();
        }
        // What can't be removed now is found by the next run.
        let _ = remove(&self.folder);
    }
}

/// "Immediate" shutdown: what is thrown away need not be left clean
/// (<https://www.postgresql.org/docs/current/server-shutdown.html>).
fn quit(pid: Option<u32>) {
    if let Some(pid) = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::QUIT);
    }
}

fn unstarted(attempt: &str, error: io::Error) -> Failure {
    Failure::failed(attempt)
        .because(error)
        .help("name a folder with room with --scratch-dir, or another server with --prove-into")
        .untouched(true)
}

/// Gives a folder and all in it to an account.
fn give(folder: &Path, user: &User) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            give(&entry.path(), user)?;
        } else {
            chown(entry.path(), Some(user.uid), Some(user.gid))?;
        }
    }
    chown(folder, Some(user.uid), Some(user.gid))
}

fn as_user(mut command: Command, place: &Place) -> Command {
    if let Some(user) = &place.user {
        command.uid(user.uid).gid(user.gid);
    }
    // A folder that the user may be in.
    command.current_dir("/").kill_on_drop(true);
    command
}

/// Makes the folder and takes its lock, which ends with this process however that ends.
fn claim(folder: &Path, user: Option<&User>) -> io::Result<File> {
    fs::create_dir(folder)?;
    let claimed = || {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        let lock = File::create(folder.join(LOCK))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        if let Some(user) = user {
            chown(folder, Some(user.uid), Some(user.gid))?;
        }
        Ok(lock)
    };
    claimed().inspect_err(|_: &io::Error| drop(fs::remove_dir_all(folder)))
}

/// Folders of runs that are not alive any more, of this account or of the one that servers run as.
fn leftovers(folder: &Path, user: Option<&User>) -> Vec<PathBuf> {
    let ours = |uid: u32| uid == geteuid().as_raw() || user.is_some_and(|user| user.uid == uid);
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX))
        .map(|entry| entry.path())
        .filter(|path| fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir() && ours(meta.uid())))
        .filter(|path| match File::open(path.join(LOCK)) {
            Ok(lock) => flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok(),
            // Made a moment ago by a run that takes its lock now; or left by one that died in that moment.
            Err(_) => fs::symlink_metadata(path)
                .and_then(|meta| meta.modified())
                .is_ok_and(|at| at.elapsed().is_ok_and(|age| age > Duration::from_mins(10))),
        })
        .collect()
}

/// Ends the server that runs in a folder, if one does, and removes the folder.
fn remove(folder: &Path) -> io::Result<()> {
    if let Some(pid) = server_in(folder) {
        let _ = kill_process(pid, Signal::QUIT);
        let until = Instant::now() + Duration::from_secs(5);
        while test_kill_process(pid).is_ok() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        if server_in(folder) == Some(pid) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    // A server's last process may write one more file while the folder is emptied.
    for _ in 0..5 {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => return removed,
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    fs::remove_dir_all(folder)
}

/// The server whose data lie in the folder: `postmaster.pid` names it, and it was started for this folder. A number alone
/// may be that of another process by now.
fn server_in(folder: &Path) -> Option<Pid> {
    let text = fs::read_to_string(folder.join(DATA).join("postmaster.pid")).ok()?;
    let pid: i32 = text.lines().next()?.trim().parse().ok()?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let data = folder.join(DATA).display().to_string();
    let is_its = command.split(|byte| *byte == 0).any(|word| word == data.as_bytes());
    is_its.then(|| Pid::from_raw(pid)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_whose_run_is_dead_is_left_over_and_a_locked_one_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let (alive, dead, other) = (
            parent.path().join("cutover-scratch-a"),
            parent.path().join("cutover-scratch-b"),
            parent.path().join("x"),
        );
        let lock = claim(&alive, None).unwrap();
        drop(claim(&dead, None).unwrap());
        fs::create_dir(&other).unwrap();
        std::os::unix::fs::symlink(&other, parent.path().join("cutover-scratch-link")).unwrap();
        assert_eq!(leftovers(parent.path(), None), std::slice::from_ref(&dead));
        remove(&dead).unwrap();
        drop(lock);
        assert_eq!(leftovers(parent.path(), None), [alive]);
        assert!(other.exists());
    }

    #[test]
    fn a_process_that_only_has_the_number_is_not_the_server() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(DATA)).unwrap();
        fs::write(folder.path().join(DATA).join("postmaster.pid"), format!("{}\n", std::process::id()))
            .unwrap();
        assert_eq!(server_in(folder.path()), None);
        remove(folder.path()).unwrap();
    }
}
