//! SQL migrations as whole processes against a real PostgreSQL.

mod chain;
mod no_transaction;
mod pooler;
mod proof;
mod retry;
mod revert;
mod scratch;
mod sqlx;
mod upgrade;

use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tempfile::TempDir;
use testkit::postgres::{Options, Postgres, USER};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use crate::world::{Ran, run, scrubbed};

/// One server for the tests that run at the same time, and a database of its own for each.
static SERVER: tokio::sync::Mutex<Weak<Postgres>> = tokio::sync::Mutex::const_new(Weak::new());
static DATABASES: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Db {
    pub(crate) server: Arc<Postgres>,
    pub(crate) name: String,
    pub(crate) dir: TempDir,
}

impl Db {
    pub(crate) async fn new() -> Self {
        let mut shared = SERVER.lock().await;
        let server = if let Some(server) = shared.upgrade() {
            server
        } else {
            let settings = vec![("max_connections".to_owned(), "200".to_owned())];
            Arc::new(Postgres::start(Options { settings, ..Options::default() }).await.unwrap())
        };
        *shared = Arc::downgrade(&server);
        drop(shared);
        let name = format!("copr{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        server.psql(&format!("CREATE DATABASE {name}")).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("migrations")).unwrap();
        Self { server, name, dir }
    }

    pub(crate) fn write(&self, name: &str, sql: &str) {
        std::fs::write(self.dir.path().join("migrations").join(name), sql).unwrap();
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let files = ["--without-backup", &self.name, "--migrations", "migrations"];
        self.step(&[&files[..], args].concat())
    }

    /// `run-migration` on this database.
    pub(crate) fn step(&self, args: &[&str]) -> Command {
        let mut command = scrubbed(env!("CARGO_BIN_EXE_cutover"), self.dir.path());
        command
            .arg("run-migration")
            .args(args)
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", self.server.port.to_string())
            .env("PGUSER", USER)
            .env("PGDATABASE", &self.name)
            .env("PGPASSWORD", &self.server.password);
        command
    }

    async fn migrate(&self, args: &[&str]) -> Ran {
        run(self.command(args)).await
    }

    pub(crate) async fn sql(&self, sql: &str) -> String {
        self.server.psql(&format!("\\c \"{}\" \n{sql}", self.name)).await.unwrap()
    }

    /// Waits until a query gives something.
    async fn until(&self, sql: &str) -> String {
        for _ in 0..1500 {
            // What it asks of may not be there yet.
            let answer =
                self.server.psql(&format!("\\c \"{}\" \n{sql}", self.name)).await.unwrap_or_default();
            if !answer.is_empty() {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{sql} gave nothing in time");
    }

    /// A session that has begun a transaction with these statements, until it is dropped.
    async fn hold(&self, sql: &str) -> Child {
        let mark = format!("holder{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        let mut child = Command::new(self.server.bin_dir.join("psql"))
            .args(["-X", "-q", "-h", "127.0.0.1", "-U", USER, "-p"])
            .args([&self.server.port.to_string(), &self.name])
            .env("PGPASSWORD", &self.server.password)
            .env("PGAPPNAME", &mark)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stdin = child.stdin.as_mut().unwrap();
        stdin.write_all(format!("BEGIN;\n{sql};\n").as_bytes()).await.unwrap();
        stdin.flush().await.unwrap();
        // All of it has run when the session is idle in its transaction after the last statement.
        let first = sql.split_whitespace().next().unwrap_or_default();
        self.until(&format!(
            "SELECT pid FROM pg_stat_activity WHERE application_name = '{mark}' AND state = 'idle in transaction' AND query ILIKE '{first}%'"
        ))
        .await;
        child
    }

    /// The server process of the step that waits for a lock.
    async fn waiting(&self) -> String {
        self.until(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'cutover run-migration' AND datname = current_database() \
             AND wait_event_type = 'Lock'",
        )
        .await
    }

    /// What the ledger has, in order.
    async fn ledger(&self) -> String {
        self.sql("SELECT string_agg(version, ' ' ORDER BY version) FROM cutover.migrations").await
    }
}

async fn end(mut child: Child) {
    child.kill().await.unwrap();
}
