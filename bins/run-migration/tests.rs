//! The step against a real server.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use clap::FromArgMatches as _;
use kit::{Code, Cx, Env, Failure, Outcome};
use tempfile::TempDir;
use testkit::postgres::{Options, Postgres, USER};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::MigrateArgs;

/// One server for the tests that run at the same time, and a database of its own for each.
static SERVER: tokio::sync::Mutex<Weak<Postgres>> = tokio::sync::Mutex::const_new(Weak::new());
static DATABASES: AtomicU32 = AtomicU32::new(0);

struct World {
    server: Arc<Postgres>,
    database: String,
    migrations: TempDir,
}

impl World {
    async fn new() -> Self {
        let mut shared = SERVER.lock().await;
        let server = match shared.upgrade() {
            Some(server) => server,
            None => Arc::new(Postgres::start(Options::default()).await.unwrap()),
        };
        *shared = Arc::downgrade(&server);
        drop(shared);
        let database = format!("rally{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        server.psql(&format!("CREATE DATABASE {database}")).await.unwrap();
        Self { server, database, migrations: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str, sql: &str) {
        std::fs::write(self.migrations.path().join(name), sql).unwrap();
    }

    fn cx(&self, port: u16) -> Cx {
        kit::testing::cx_of(&crate::STEP, self.env(port), false)
    }

    fn env(&self, port: u16) -> Env {
        [
            ("PGHOST", "127.0.0.1".to_owned()),
            ("PGPORT", port.to_string()),
            ("PGUSER", USER.to_owned()),
            ("PGDATABASE", self.database.clone()),
            ("PGPASSWORD", self.server.password.clone()),
        ]
        .into_iter()
        .collect()
    }

    fn args(&self, more: &[&str]) -> MigrateArgs {
        let folder = self.migrations.path().display().to_string();
        let argv = ["run-migration", "--migrations", &folder].into_iter().chain(more.iter().copied());
        MigrateArgs::from_arg_matches(&kit::command::<MigrateArgs>().get_matches_from(argv)).unwrap()
    }

    /// Runs the step without a backup, and what it said.
    async fn migrate(&self) -> (Result<Outcome, Failure>, Vec<String>) {
        self.migrate_with(&["--without-backup", &self.database], self.server.port).await
    }

    async fn migrate_with(&self, more: &[&str], port: u16) -> (Result<Outcome, Failure>, Vec<String>) {
        let cx = self.cx(port);
        let result = crate::run(self.args(more), cx.clone()).await;
        (result, cx.report().story())
    }

    async fn sql(&self, sql: &str) -> String {
        self.server.psql(&format!("\\c {} \n{sql}", self.database)).await.unwrap()
    }

    /// Waits until a query gives something.
    async fn until(&self, sql: &str) -> String {
        for _ in 0..600 {
            let answer = self.sql(sql).await;
            if !answer.is_empty() {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{sql} gave nothing in time");
    }

    /// A session of the test that holds advisory lock 42 until it is dropped.
    async fn hold(&self) -> postgres::Session {
        let target = self.args(&[]).pg.target(self.cx(self.server.port).env()).unwrap();
        let session = postgres::connect(&self.cx(self.server.port), &target).await.unwrap();
        session.client.batch_execute("SELECT pg_advisory_lock(42)").await.unwrap();
        session
    }
}

const LEDGER: &str = "SELECT string_agg(version, ' ' ORDER BY version) FROM cutover.migrations";
const NO_LEDGER: &str = "SELECT to_regnamespace('cutover') IS NULL";
const BLOCKED: &str = "SELECT a.pid FROM pg_locks l JOIN pg_stat_activity a USING (pid) \
                       WHERE NOT l.granted AND l.locktype = 'advisory' AND a.datname = current_database()";

#[tokio::test]
async fn files_are_applied_once_and_a_second_run_writes_nothing() {
    let world = World::new().await;
    world.file("0001_users.sql", "CREATE TABLE users (id int); -- one\nINSERT INTO users VALUES (1);");
    world.file(
        "0002_function.sql",
        "CREATE FUNCTION two() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 2; END; $$;\nINSERT INTO users SELECT two();",
    );
    world.file("README.md", "not a migration");
    let dry = kit::testing::cx_of(&crate::STEP, world.env(world.server.port), true);
    let planned = crate::run(world.args(&[]), dry).await.unwrap();
    assert_eq!(planned.headline, "dry run: 2 changes would be made");
    assert_eq!(world.sql(NO_LEDGER).await, "t");

    let (first, story) = world.migrate().await;
    let first = first.unwrap();
    assert!(first.changed);
    assert_eq!(first.headline, format!("{} is at 0002: 2 migrations applied", world.database));
    assert!(story.iter().any(|line| line.contains("ignored in") && line.contains("README.md")), "{story:?}");
    assert_eq!(world.sql("SELECT sum(id) FROM users").await, "3");
    assert_eq!(world.sql(LEDGER).await, "0001 0002");

    let before = world.sql("SELECT pg_snapshot_xmax(pg_current_snapshot())").await;
    let (second, _) = world.migrate_with(&[], world.server.port).await;
    let second = second.unwrap();
    assert!(!second.changed);
    assert_eq!(
        second.headline,
        format!("{} is at 0002, and has every migration of the directory", world.database)
    );
    assert_eq!(world.sql(LEDGER).await, "0001 0002");
    let line = "SELECT count(*) FROM cutover.migrations WHERE xmin::text::bigint >=";
    assert_eq!(world.sql(&format!("{line} {before}")).await, "0");
}

#[tokio::test]
async fn a_failing_statement_rolls_its_file_back_and_the_next_run_continues_there() {
    let world = World::new().await;
    world.file("1_a.sql", "CREATE TABLE a (id int)");
    world.file(
        "2_b.sql",
        "CREATE TABLE b (name text);\n\nINSERT INTO b\n  VALUES ('ä'), (nope);\nCREATE TABLE c ()",
    );
    let (failed, _) = world.migrate().await;
    let failed = failed.unwrap_err();
    assert_eq!(
        failed.to_string(),
        "apply 2_b.sql: statement 2 of 3 (line 4), INSERT INTO b VALUES ('ä'), (nope)"
    );
    assert!(
        failed.chain()[0].contains("column \"nope\" does not exist (SQLSTATE 42703)"),
        "{:?}",
        failed.chain()
    );
    assert!(format!("{failed:?}").contains("running again continues at 2_b.sql"), "{failed:?}");
    assert_eq!(world.sql(LEDGER).await, "1");
    assert_eq!(world.sql("SELECT to_regclass('b') IS NULL").await, "t");

    world.file("2_b.sql", "CREATE TABLE b (id int);\nINSERT INTO b VALUES (1);");
    let (fixed, _) = world.migrate().await;
    assert_eq!(fixed.unwrap().headline, format!("{} is at 2: 1 migration applied", world.database));
    assert_eq!(world.sql(LEDGER).await, "1 2");
}

#[tokio::test]
async fn a_first_file_that_fails_leaves_nothing_not_even_the_ledger() {
    let world = World::new().await;
    world.file(
        "1_a.sql",
        "CREATE TABLE a (id int UNIQUE DEFERRABLE INITIALLY DEFERRED); INSERT INTO a VALUES (1), (1)",
    );
    let (failed, _) = world.migrate().await;
    let failed = failed.unwrap_err();
    assert_eq!(failed.to_string(), "apply 1_a.sql: commit", "a deferred constraint is checked at COMMIT");
    assert!(failed.chain()[0].contains("SQLSTATE 23505"), "{:?}", failed.chain());
    assert_eq!(world.sql(NO_LEDGER).await, "t");
    assert_eq!(world.sql("SELECT to_regclass('a') IS NULL").await, "t");
}

#[tokio::test]
async fn what_one_file_sets_does_not_reach_the_next() {
    let world = World::new().await;
    world.file("1_a.sql", "CREATE SCHEMA other; CREATE ROLE weak; SET search_path = other; SET ROLE weak; CREATE TEMP TABLE t ();");
    world.file(
        "2_b.sql",
        "CREATE TABLE b AS SELECT current_user AS who, current_setting('lock_timeout') AS lock",
    );
    world
        .migrate_with(&["--without-backup", &world.database, "--lock-timeout", "7s"], world.server.port)
        .await
        .0
        .unwrap();
    assert_eq!(world.sql("SELECT who, lock FROM public.b").await, "postgres|7s");
    assert_eq!(world.sql("DROP ROLE weak; SELECT 1").await, "1");
}

#[tokio::test]
async fn killed_in_a_file_and_run_again_it_ends_as_if_undisturbed() {
    let world = World::new().await;
    world.file("1_a.sql", "CREATE TABLE a (id int)");
    world.file(
        "2_b.sql",
        "INSERT INTO a VALUES (1); SELECT pg_advisory_xact_lock(42); INSERT INTO a VALUES (2)",
    );
    let holder = world.hold().await;
    let kill = async {
        let pid = world.until(BLOCKED).await;
        world.sql(&format!("SELECT pg_terminate_backend({pid})")).await;
    };
    let args = ["--without-backup", &world.database, "--lock-timeout", "0"];
    let ((killed, _), ()) = tokio::join!(world.migrate_with(&args, world.server.port), kill);
    let killed = killed.unwrap_err();
    assert_eq!(
        killed.to_string(),
        "apply 2_b.sql: statement 2 of 3 (line 1), SELECT pg_advisory_xact_lock(42)"
    );
    assert!(killed.chain()[0].contains("terminating connection"), "{:?}", killed.chain());
    holder.close().await;
    world.migrate().await.0.unwrap();
    assert_eq!(world.sql("SELECT sum(id) FROM a").await, "3");
    assert_eq!(world.sql(LEDGER).await, "1 2");
}

#[tokio::test]
async fn a_cancelled_run_rolls_its_file_back() {
    let world = World::new().await;
    world.file("1_a.sql", "CREATE TABLE a (); SELECT pg_advisory_xact_lock(42)");
    let holder = world.hold().await;
    let cx = world.cx(world.server.port);
    let cancel = async {
        world.until(BLOCKED).await;
        cx.cancel(Code::Terminated);
    };
    let args = world.args(&["--without-backup", &world.database, "--lock-timeout", "0"]);
    let (cancelled, ()) = tokio::join!(crate::run(args, cx.clone()), cancel);
    assert_eq!(cancelled.unwrap_err().code(), Code::Terminated);
    assert_eq!(world.sql(NO_LEDGER).await, "t");
    assert_eq!(world.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'cutover run-migration' AND datname = current_database()").await, "0");
    holder.close().await;
}

#[tokio::test]
async fn a_second_run_waits_for_the_first_and_finds_nothing_left() {
    let world = World::new().await;
    world.file(
        "1_a.sql",
        "CREATE TABLE a (id int); SELECT pg_advisory_xact_lock(42); INSERT INTO a VALUES (1)",
    );
    let holder = world.hold().await;
    let args = ["--without-backup", &world.database, "--lock-timeout", "0"];
    let (first, second) = (world.cx(world.server.port), world.cx(world.server.port));
    let release = async {
        world.until(BLOCKED).await;
        while !second.report().story().iter().any(|line| line.contains("waiting for the lock")) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        holder.close().await;
    };
    let later = async {
        world.until(BLOCKED).await;
        crate::run(world.args(&args), second.clone()).await
    };
    let (first, second_ended, ()) = tokio::join!(crate::run(world.args(&args), first), later, release);
    assert!(first.unwrap().changed);
    assert!(!second_ended.unwrap().changed);
    let story = second.report().story().join("\n");
    assert!(
        story.contains("held by server process") && story.contains("cutover run-migration as postgres"),
        "{story}"
    );
    assert_eq!(world.sql("SELECT count(*) FROM a").await, "1");
}

/// A proxy that passes everything on, and drops the first connection that says COMMIT before or after the server has
/// answered.
async fn dropping_at_commit(server: u16, after: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let dropped = Arc::new(AtomicBool::new(false));
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let dropped = Arc::clone(&dropped);
            tokio::spawn(async move {
                let mut upstream = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                let (mut up, mut down) = (vec![0; 65536], vec![0; 65536]);
                loop {
                    let commit = tokio::select! {
                        read = client.read(&mut up) => match read {
                            Ok(0) | Err(_) => break,
                            Ok(n) => {
                                let commit = up[..n].windows(7).any(|bytes| bytes == b"COMMIT\0")
                                    && !dropped.swap(true, Ordering::Relaxed);
                                if !commit || after {
                                    upstream.write_all(&up[..n]).await.unwrap();
                                }
                                commit
                            }
                        },
                        read = upstream.read(&mut down) => match read {
                            Ok(0) | Err(_) => break,
                            Ok(n) => {
                                client.write_all(&down[..n]).await.unwrap();
                                false
                            }
                        },
                    };
                    if commit {
                        if after {
                            let _ = upstream.read(&mut down).await;
                        }
                        break;
                    }
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn a_connection_lost_at_commit_is_looked_up() {
    for after in [true, false] {
        let world = World::new().await;
        world.file("1_a.sql", "CREATE TABLE a (id int); INSERT INTO a VALUES (1)");
        world.file("2_b.sql", "INSERT INTO a VALUES (2)");
        let port = dropping_at_commit(world.server.port, after).await;
        let (result, story) = world.migrate_with(&["--without-backup", &world.database], port).await;
        assert!(story.iter().any(|line| line.contains("looking into the ledger")), "{story:?}");
        if after {
            assert!(result.unwrap().changed, "the server had committed, and the run goes on");
        } else {
            assert_eq!(result.unwrap_err().to_string(), "apply 1_a.sql: commit");
            assert_eq!(world.sql(NO_LEDGER).await, "t");
            world.migrate().await.0.unwrap();
        }
        assert_eq!(world.sql("SELECT sum(id) FROM a").await, "3");
        assert_eq!(world.sql(LEDGER).await, "1 2");
    }
}

#[tokio::test]
async fn an_edited_file_is_refused_with_both_checksums() {
    let world = World::new().await;
    world.file("1_a.sql", "SELECT 1");
    world.migrate().await.0.unwrap();
    world.file("1_a.sql", "SELECT 2");
    let refused = world.migrate().await.0.unwrap_err();
    assert_eq!(refused.code(), Code::Refused);
    let why = &refused.chain()[0];
    // printf 'SELECT 1' | sha256sum
    for sum in [
        "e004ebd5b5532a4b85984a62f8ad48a81aa3460c1ca07701f386135d72cdecf5",
        "ebbb5b332060a3ede7047bd7528883b0a560e729848f9feb8ff742145e909b01",
    ] {
        assert!(why.contains(sum), "{why}");
    }
}

#[tokio::test]
async fn a_baseline_records_and_runs_nothing() {
    let world = World::new().await;
    world.sql("CREATE TABLE a (id int)").await;
    world.file("1_a.sql", "CREATE TABLE a (id int)");
    world.file("2_b.sql", "CREATE TABLE b (id int)");
    let baseline = ["--baseline", "1"];
    let recorded = world.migrate_with(&baseline, world.server.port).await.0.unwrap();
    assert_eq!(
        recorded.headline,
        format!("{} is recorded as being at 1: 1 migration not run, 1 pending", world.database)
    );
    assert!(!world.migrate_with(&baseline, world.server.port).await.0.unwrap().changed);
    world.migrate().await.0.unwrap();
    assert_eq!(
        world.sql("SELECT version, baseline FROM cutover.migrations ORDER BY version").await,
        "1|t\n2|f"
    );
}

#[tokio::test]
async fn a_database_that_is_to_be_changed_needs_a_backup_or_its_name() {
    let world = World::new().await;
    world.file("1_a.sql", "CREATE TABLE a ()");
    for more in [&[][..], &["--without-backup", "other"]] {
        let refused = world.migrate_with(more, world.server.port).await.0.unwrap_err();
        assert_eq!(refused.code(), Code::Refused);
    }
    assert_eq!(world.sql(NO_LEDGER).await, "t");
}

#[tokio::test]
async fn migrations_that_nobody_here_wrote() {
    let Ok(folder) = testkit::venv::procrastinate_migrations() else {
        panic!("the package procrastinate is not installed: run `make setup`");
    };
    let world = World::new().await;
    let args = |world: &World| {
        let folder = folder.display().to_string();
        let argv = ["x", "--migrations", &folder, "--without-backup", &world.database];
        MigrateArgs::from_arg_matches(&kit::command::<MigrateArgs>().get_matches_from(argv)).unwrap()
    };
    let cx = world.cx(world.server.port);
    let applied = crate::run(args(&world), cx).await.unwrap();
    assert_eq!(applied.headline, format!("{} is at 03.04.00_50: 38 migrations applied", world.database));
    // The package's own end state. Columns that migrations added later stand elsewhere in their tables, so lines are
    // compared without their order.
    let own = World::new().await;
    own.sql(&std::fs::read_to_string(folder.with_file_name("schema.sql")).unwrap()).await;
    assert_eq!(dump(&world).await, dump(&own).await);
}

/// The lines of a schema, sorted.
async fn dump(world: &World) -> Vec<String> {
    let output = tokio::process::Command::new(world.server.bin_dir.join("pg_dump"))
        .args(["--schema-only", "--exclude-schema=cutover", "-h", "127.0.0.1", "-U", USER, "-p"])
        .args([&world.server.port.to_string(), &world.database])
        .env("PGPASSWORD", &world.server.password)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| line.trim_end_matches(',').to_owned())
        .filter(|line| !line.contains("restrict "))
        .collect();
    lines.sort();
    assert!(lines.len() > 500, "{lines:?}");
    lines
}
