//! Whatever is killed, and whenever: no backup that is not whole, no upload left behind, no migration done twice.
//!
//! Each round kills or cuts one thing at a random instant of a run, looks, runs the same command again undisturbed, and looks
//! again. What is struck and when follows from a seed, which is printed; `CUTOVER_KILLS` and `CUTOVER_SEED` set both, and
//! `make kills` does a hundred rounds. How a run is hit still depends on the machine: the table says what became of each.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use testkit::front::{Effect, Fault, When};
use testkit::postgres::{Options, Postgres};
use testkit::s3::{self, Double};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::world::{ACCOUNT, Ran, World, run, scrubbed};

const BUCKET: &str = "backups";

/// What is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Blow {
    /// The step is killed.
    Step,
    /// The step is told to end, as a runner tells a job that is cancelled.
    Cancel,
    /// `pg_dump` is killed.
    Dump,
    /// Connections are reset before or after what they asked for was done.
    Reset,
    /// Calls get no answer for a while, and then a reset.
    Silence,
    /// A server process is killed, whereupon PostgreSQL restarts all of them.
    Server,
}

/// A small generator, the same everywhere. <https://prng.di.unimi.it/splitmix64.c>
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    fn instant(&mut self, longest: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(longest.as_micros()).unwrap()))
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }
}

/// The rounds, and what became of the runs that were struck.
struct Rounds {
    number: u64,
    seed: u64,
    dice: Dice,
    /// By what was struck and how the run ended.
    outcomes: BTreeMap<(Blow, String), u32>,
    began: Instant,
}

impl Rounds {
    #[expect(clippy::print_stderr, reason = "shown where a test fails, and with --nocapture")]
    fn new(usual: u64) -> Self {
        let given = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let seed = given("CUTOVER_SEED").unwrap_or(now.as_secs());
        let number = given("CUTOVER_KILLS").unwrap_or(usual);
        eprintln!("{number} rounds, CUTOVER_SEED={seed}");
        Self { number, seed, dice: Dice(seed), outcomes: BTreeMap::new(), began: Instant::now() }
    }

    fn count(&mut self, blow: Blow, status: ExitStatus) {
        let ended = status.code().map_or_else(|| "killed".to_owned(), |code| format!("exit {code}"));
        *self.outcomes.entry((blow, ended)).or_default() += 1;
    }

    #[expect(clippy::print_stderr, reason = "shown with --nocapture")]
    fn print(&self, what: &str) {
        eprintln!(
            "{what}: {} rounds in {:.0?}, CUTOVER_SEED={}",
            self.number,
            self.began.elapsed(),
            self.seed
        );
        for ((blow, ended), times) in &self.outcomes {
            eprintln!("  {:8} {ended:8} {times:4}", format!("{blow:?}").to_lowercase());
        }
    }
}

/// The processes that this one has started, by name, as `/proc` has them.
fn children(parent: u32, name: &str) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // PID (NAME) STATE PARENT ...: the name may hold anything but ends with the last parenthesis.
        let Some((head, rest)) = stat.rsplit_once(") ") else { return false };
        rest.split(' ').nth(1) == Some(&parent.to_string())
            && head.split_once('(').is_some_and(|(_, found)| found == name)
    })
    .collect()
}

async fn signal(name: &str, pid: i32) {
    // What has ended already is as dead as can be.
    let sent =
        Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).stderr(Stdio::null()).status();
    sent.await.unwrap();
}

/// Kills a process of the server that serves a client, else one that it cannot do without.
async fn crash(postgres: &Postgres) {
    let all = children(postgres.pid(), "postgres");
    let serving = |pid: &&i32| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains("127.0.0.1(")
    };
    if let Some(pid) = all.iter().find(serving).or(all.first()) {
        signal("KILL", *pid).await;
    }
}

/// Waits until the server serves again.
async fn recovered(postgres: &Postgres) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while let Err(error) = postgres.psql("SELECT 1").await {
        assert!(Instant::now() < deadline, "{error}");
    }
}

async fn ended(mut child: Child) -> (ExitStatus, String) {
    let mut stderr = String::new();
    let mut pipe = child.stderr.take().unwrap();
    let (status, read) = tokio::join!(child.wait(), pipe.read_to_string(&mut stderr));
    read.unwrap();
    (status.unwrap(), stderr)
}

fn started(mut command: Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

struct Backups {
    world: World,
    double: Double,
    postgres: Postgres,
    /// The dumps that were compared with their manifests already, by key and entity tag.
    summed: HashSet<(String, String)>,
    /// The dumps that were read back already.
    whole: HashSet<(String, String)>,
}

impl Backups {
    async fn start() -> Self {
        let double =
            Double::start(s3::Options { account: ACCOUNT.into(), ..s3::Options::default() }).await.unwrap();
        double.create_bucket(BUCKET);
        let world = World::with_s3(&double).await;
        let postgres =
            Postgres::start(Options { database: Some("rally".into()), ..Options::default() }).await.unwrap();
        let rows = "CREATE TABLE volunteer (id int PRIMARY KEY, name text);
            INSERT INTO volunteer SELECT n, md5(n::text) || md5((n + 1)::text) FROM generate_series(1, 60000) n;
            CREATE TABLE event (id int, at timestamptz DEFAULT now());
            INSERT INTO event SELECT generate_series(1, 1000)";
        postgres.psql(rows).await.unwrap();
        Self { world, double, postgres, summed: HashSet::new(), whole: HashSet::new() }
    }

    fn command(&self, id: &str) -> Command {
        let to = format!("s3://{BUCKET}/rally");
        let args = ["backup-db", "--to", &to, "--backup-id", id, "--timeout", "60s"];
        let mut command = self.world.command(&args);
        let path = std::env::var("PATH").unwrap();
        command
            .env("PATH", format!("{}:{path}", self.postgres.bin_dir.display()))
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", self.postgres.port.to_string())
            .env("PGUSER", "postgres")
            .env("PGDATABASE", "rally")
            .env("PGPASSWORD", &self.postgres.password);
        command
    }

    async fn strike(&self, blow: Blow, step: u32, dice: &mut Dice) {
        match blow {
            Blow::Step => signal("KILL", step.cast_signed()).await,
            Blow::Cancel => signal("TERM", step.cast_signed()).await,
            Blow::Server => crash(&self.postgres).await,
            Blow::Dump => {
                for pid in children(step, "pg_dump") {
                    signal("KILL", pid).await;
                }
            }
            Blow::Reset => {
                // More of them than the SDK tries again, or fewer.
                let fault = Fault::new("s3:*", Effect::Reset).times(1 + dice.below(5));
                self.world.front.add_fault(if dice.below(2) == 0 { fault } else { fault.after_effect() });
            }
            Blow::Silence => {
                let when = dice.pick(&[When::BeforeForward, When::AfterEffect]);
                let hold = self.world.front.hold("s3:*", when);
                // The run may have no call left to make.
                let _ = tokio::time::timeout(Duration::from_millis(500), hold.arrived()).await;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }

    /// Every dump that has a manifest is what the manifest says, and reads through `pg_restore`.
    async fn committed_are_whole(&mut self, round: &str) -> usize {
        let keys = self.double.keys(BUCKET);
        let manifests: Vec<_> = keys.iter().filter(|key| key.ends_with(".manifest.json")).collect();
        for key in &manifests {
            let manifest: Value =
                serde_json::from_slice(&self.double.object(BUCKET, key).unwrap().body).unwrap();
            let dump = manifest["key"].as_str().unwrap();
            let stored =
                self.double.object(BUCKET, dump).unwrap_or_else(|| panic!("{round}: {key} names no object"));
            // Its entity tag is the MD5 of what is stored.
            if !self.summed.insert((dump.to_owned(), stored.etag.clone())) {
                continue;
            }
            assert_eq!(manifest["bytes"], stored.body.len(), "{round}: {dump}");
            assert_eq!(manifest["sha256"].as_str(), Some(stored.sha256().as_str()), "{round}: {dump}");
            self.is_whole(dump, round).await;
        }
        manifests.len()
    }

    async fn is_whole(&mut self, key: &str, round: &str) {
        let stored = self.double.object(BUCKET, key).unwrap();
        if !self.whole.insert((key.to_owned(), stored.etag.clone())) {
            return;
        }
        let file = self.world.path("dump");
        let plain = stored.unpacked().unwrap_or_else(|error| panic!("{round}: {key}: {error}"));
        std::fs::write(&file, plain).unwrap();
        let mut restore = scrubbed(self.postgres.bin_dir.join("pg_restore"), self.world.dir.path());
        restore.arg("-f").arg("/dev/null").arg(&file);
        let ran = run(restore).await;
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{round}: {key} of {} bytes", stored.body.len());
    }
}

#[tokio::test]
async fn a_backup_that_is_killed_anywhere_leaves_none_that_is_not_whole() {
    let mut rounds = Rounds::new(8);
    let mut world = Backups::start().await;
    let began = Instant::now();
    run(world.command("undisturbed")).await.expect(0);
    // Later than the end of most runs, so that the very last call is struck too.
    let longest = began.elapsed() + began.elapsed() / 10;
    let blows = [Blow::Step, Blow::Cancel, Blow::Dump, Blow::Reset, Blow::Silence, Blow::Server];
    for number in 0..rounds.number {
        let (blow, instant) = (rounds.dice.pick(&blows), rounds.dice.instant(longest));
        let round = format!("round {number} of CUTOVER_SEED={}: {blow:?} after {instant:?}", rounds.seed);
        let id = format!("round-{number}");
        let child = started(world.command(&id));
        let step = child.id().unwrap();
        tokio::time::sleep(instant).await;
        world.strike(blow, step, &mut rounds.dice).await;
        let (status, stderr) = ended(child).await;
        rounds.count(blow, status);
        world.world.front.set_faults([]);
        let before = world.committed_are_whole(&round).await;
        if status.success() {
            assert_eq!(before as u64, number + 2, "{round}: success, and no manifest\n{stderr}");
        }
        recovered(&world.postgres).await;

        let again = run(world.command(&id)).await;
        assert_eq!(again.code, 0, "{round}: the next run fails\n{stderr}\n---\n{}", again.stderr);
        assert_eq!(world.committed_are_whole(&round).await as u64, number + 2, "{round}");
        assert_eq!(world.double.unfinished(BUCKET), Vec::<String>::new(), "{round}");
        // A dump without a manifest is no backup, and still none that is cut off.
        for key in world
            .double
            .keys(BUCKET)
            .iter()
            .filter(|key| key.ends_with(".dump") || key.ends_with(".dump.zst"))
        {
            world.is_whole(key, &round).await;
        }
    }
    assert_eq!(world.double.refused(), Vec::<String>::new());
    rounds.print("backup-db");
}

/// Connections to the server that can be cut.
struct Wire {
    port: u16,
    cut: watch::Sender<u32>,
}

impl Wire {
    async fn start(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (cut, cuts) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { continue };
                tokio::spawn(carry(client, server, cuts.clone()));
            }
        });
        Self { port, cut }
    }

    /// Resets every connection.
    fn cut(&self) {
        self.cut.send_modify(|times| *times += 1);
    }
}

async fn carry(mut client: TcpStream, mut server: TcpStream, mut cuts: watch::Receiver<u32>) {
    cuts.mark_unchanged();
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        _ = cuts.changed() => {
            let _ = (client.set_zero_linger(), server.set_zero_linger());
        }
    }
    let _ = (client.shutdown().await, server.shutdown().await);
}

struct Migrations {
    postgres: Postgres,
    wire: Wire,
    dir: TempDir,
}

/// Each makes a table, counts itself and takes a moment.
const FILES: u32 = 8;

/// The last file: it can't run in a transaction, and a build that is killed leaves an invalid index behind.
const INDEXES: &str = "-- cutover:no-transaction
CREATE INDEX CONCURRENTLY many_n ON many (n);
CREATE INDEX CONCURRENTLY many_text ON many (md5(n::text));
CREATE UNIQUE INDEX CONCURRENTLY effect_file ON effect (file);
";

impl Migrations {
    async fn start() -> Self {
        let postgres = Postgres::start(Options::default()).await.unwrap();
        let wire = Wire::start(postgres.port).await;
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("migrations");
        std::fs::create_dir(&folder).unwrap();
        for number in 1..=FILES {
            let tables = "CREATE TABLE effect (file int);\nCREATE TABLE many AS SELECT generate_series(1, 30000) AS n;\n";
            let first = if number == 1 { tables } else { "" };
            let sql = format!(
                "{first}CREATE TABLE made_{number} (id int);\nINSERT INTO effect VALUES ({number});\n\
                 SELECT pg_sleep(0.03);\nINSERT INTO made_{number} VALUES ({number});\n"
            );
            std::fs::write(folder.join(format!("{number}_step.sql")), sql).unwrap();
        }
        std::fs::write(folder.join("9_indexes.sql"), INDEXES).unwrap();
        Self { postgres, wire, dir }
    }

    fn command(&self, database: &str) -> Command {
        let mut command = scrubbed(env!("CARGO_BIN_EXE_cutover"), self.dir.path());
        command
            .args([
                "run-migration",
                "--migrations",
                "migrations",
                "--without-backup",
                database,
                "--timeout",
                "60s",
            ])
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", self.wire.port.to_string())
            .env("PGUSER", "postgres")
            .env("PGDATABASE", database)
            .env("PGSSLMODE", "disable")
            .env("PGPASSWORD", &self.postgres.password);
        command
    }

    async fn ask(&self, database: &str, sql: &str) -> String {
        let asked = Command::new(self.postgres.bin_dir.join("psql"))
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &self.postgres.port.to_string(),
                "-U",
                "postgres",
                "-d",
                database,
            ])
            .args(["-XAtqc", sql])
            .env("PGPASSWORD", &self.postgres.password)
            .output();
        let output = asked.await.unwrap();
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    async fn strike(&self, blow: Blow, step: u32) {
        match blow {
            Blow::Step => signal("KILL", step.cast_signed()).await,
            Blow::Cancel => signal("TERM", step.cast_signed()).await,
            Blow::Reset => self.wire.cut(),
            Blow::Server | Blow::Dump | Blow::Silence => crash(&self.postgres).await,
        }
    }
}

#[tokio::test]
async fn a_migration_that_is_killed_anywhere_is_done_once() {
    let mut rounds = Rounds::new(8);
    let world = Migrations::start().await;
    let (mut database, mut longest) = ("undisturbed".to_owned(), Duration::ZERO);
    let all = (1..=FILES).map(|number| number.to_string()).collect::<Vec<_>>().join(" ");
    for number in 0..=rounds.number {
        world.ask("postgres", &format!("CREATE DATABASE {database}")).await;
        let mut round = database.clone();
        if number == 0 {
            let began = Instant::now();
            run(world.command(&database)).await.expect(0);
            longest = began.elapsed() + began.elapsed() / 10;
        } else {
            let blow = rounds.dice.pick(&[Blow::Step, Blow::Cancel, Blow::Reset, Blow::Server]);
            let instant = rounds.dice.instant(longest);
            round = format!("round {number} of CUTOVER_SEED={}: {blow:?} after {instant:?}", rounds.seed);
            let child = started(world.command(&database));
            let step = child.id().unwrap();
            tokio::time::sleep(instant).await;
            world.strike(blow, step).await;
            let (status, _) = ended(child).await;
            rounds.count(blow, status);
            recovered(&world.postgres).await;
            let again: Ran = run(world.command(&database)).await;
            assert_eq!(again.code, 0, "{round}: the next run fails\n{}", again.stderr);
        }
        let once = "SELECT string_agg(file::text, ' ' ORDER BY file) FROM effect";
        assert_eq!(world.ask(&database, once).await, all, "{round}");
        for file in 1..=FILES {
            assert_eq!(
                world.ask(&database, &format!("SELECT id FROM made_{file}")).await,
                file.to_string(),
                "{round}"
            );
        }
        let ledger = "SELECT string_agg(version, ' ' ORDER BY version) FROM cutover.migrations";
        assert_eq!(world.ask(&database, ledger).await, format!("{all} 9"), "{round}");
        let indexes = "SELECT string_agg(format('%s %s', indexrelid::regclass, indisvalid), ', ' ORDER BY indexrelid::regclass::text) \
            FROM pg_index WHERE indrelid IN ('many'::regclass, 'effect'::regclass)";
        assert_eq!(world.ask(&database, indexes).await, "effect_file t, many_n t, many_text t", "{round}");
        database = format!("round_{}", number + 1);
    }
    rounds.print("run-migration");
}

/// The tests above would see nothing if what they strike were not there.
#[test]
fn a_process_of_ones_own_is_found_by_its_name() {
    let mut sleeper = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    // It has its own name once it is the other program.
    while !std::fs::read_to_string(Path::new("/proc").join(sleeper.id().to_string()).join("comm"))
        .unwrap()
        .contains("sleep")
    {}
    assert_eq!(children(std::process::id(), "sleep"), [sleeper.id().cast_signed()]);
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
}
