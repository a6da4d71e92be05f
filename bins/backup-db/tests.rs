//! The step against a real PostgreSQL and an emulated S3, whose calls go through the front.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use aws::Aws;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use clap::FromArgMatches as _;
use http::StatusCode;
use http::header::{CONTENT_RANGE, ETAG, HeaderValue};
use kit::{Code, Cx, Env, Failure, Outcome, Receipt};
use postgres::{Manifest, Rung};
use s3::{Bucket, PartSizes, RUN};
use testkit::emulator::{self, Emulator};
use testkit::front::{Answer, Fault, Front, Request, Service, When};
use testkit::postgres::{self as server, Postgres};
use tokio::process::Command;

use crate::upload::{Committed, Upload};
use crate::{Args, back_up};

/// Started by the first test, stopped after the last one that uses them.
struct Servers {
    emulator: Emulator,
    postgres: Postgres,
}

impl Servers {
    async fn shared() -> Arc<Self> {
        static SHARED: tokio::sync::Mutex<Weak<Servers>> = tokio::sync::Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(servers) = shared.upgrade() {
            return servers;
        }
        let servers = Arc::new(Self {
            emulator: Emulator::start(emulator::Options::default()).await.unwrap(),
            postgres: Postgres::start(server::Options::default()).await.unwrap(),
        });
        *shared = Arc::downgrade(&servers);
        servers
    }
}

/// A bucket and a database of a test's own.
struct World {
    front: Front,
    store: Bucket,
    aws: Aws,
    name: String,
    truncate: Arc<Truncate>,
    servers: Arc<Servers>,
}

const TABLES: &str = "\
    CREATE TABLE surveys (id int PRIMARY KEY, title text);
    INSERT INTO surveys SELECT n, 'survey ' || md5(n::text) FROM generate_series(1, 2000) n;
    CREATE TABLE answers (survey int, made date) PARTITION BY RANGE (made);
    CREATE TABLE answers_2026 PARTITION OF answers FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    INSERT INTO answers VALUES (1, '2026-11-21');
    CREATE SCHEMA \"odd; names\";
    CREATE TABLE \"odd; names\".\"TABLE \"\"x\"\"\" (y int);
    CREATE VIEW open_surveys AS SELECT * FROM surveys;";

impl World {
    async fn new() -> Self {
        let servers = Servers::shared().await;
        let name = format!("t{}", uuid());
        servers.postgres.psql(&format!("CREATE DATABASE {name}")).await.unwrap();
        let truncate = Arc::new(Truncate::default());
        let front = Front::builder()
            .upstream(servers.emulator.url())
            .service(truncate.clone())
            .start()
            .await
            .unwrap();
        let config = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::for_tests())
            .endpoint_url(front.url())
            .load()
            .await;
        let aws = Aws { config, account: "000000000000".into(), region: "us-east-1".into() };
        aws_sdk_s3::Client::new(&aws.config).create_bucket().bucket(&name).send().await.unwrap();
        let world = Self {
            store: Bucket::find(&aws, &name, None, "--to").await.unwrap(),
            front,
            aws,
            name,
            truncate,
            servers,
        };
        world.sql(TABLES).await;
        world.front.forget();
        world
    }

    async fn sql(&self, sql: &str) -> String {
        let bin = &self.servers.postgres.bin_dir;
        let output = Command::new(bin.join("psql"))
            .args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .args(["-h", "127.0.0.1", "-U", "postgres", "-p", &self.servers.postgres.port.to_string()])
            .args(["-d", &self.name])
            .env("PGPASSWORD", &self.servers.postgres.password)
            .output()
            .await
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn env(&self) -> Env {
        [
            ("PATH", std::env::var("PATH").unwrap()),
            ("PGPASSWORD", self.servers.postgres.password.clone()),
            ("PGHOST", "127.0.0.1".into()),
            ("PGPORT", self.servers.postgres.port.to_string()),
            ("PGUSER", server::USER.into()),
            ("PGDATABASE", self.name.clone()),
        ]
        .into_iter()
        .collect()
    }

    fn cx(&self) -> Cx {
        kit::testing::cx_in(self.env())
    }

    fn args(&self, more: &[&str]) -> Args {
        let pg_dump = self.servers.postgres.bin_dir.join("pg_dump");
        let to = format!("--to=s3://{}/backups", self.name);
        let mut argv = vec!["backup-db".to_owned(), to, format!("--pg-dump={}", pg_dump.display())];
        argv.extend(more.iter().map(|arg| (*arg).to_owned()));
        Args::from_arg_matches(&kit::command::<Args>().get_matches_from(argv)).unwrap()
    }

    async fn run(&self, more: &[&str]) -> Result<Outcome, Failure> {
        back_up(&self.cx(), &self.args(more), &self.store).await.map(|(outcome, _)| outcome)
    }

    async fn keys(&self) -> Vec<String> {
        self.store.list("").await.unwrap().into_iter().map(|object| object.key).collect()
    }

    /// The names of the objects, without what every key begins with.
    async fn objects(&self) -> Vec<String> {
        let keys = self.keys().await;
        keys.iter()
            .map(|key| key.strip_prefix(&format!("backups/{}/", self.name)).unwrap_or(key).to_owned())
            .collect()
    }

    async fn manifest(&self) -> Manifest {
        let keys = self.keys().await;
        let key = keys.iter().find(|key| key.ends_with(".manifest.json")).expect("a manifest");
        Manifest::parse(&self.store.text(key).await.unwrap()).unwrap()
    }

    fn writes(&self) -> Vec<String> {
        assert_eq!(self.front.unmatched(), Vec::<String>::new());
        self.front.writes().into_iter().map(|call| call.operation).collect()
    }

    async fn assert_nothing_left(&self) {
        assert_eq!(self.objects().await, Vec::<String>::new());
        assert_eq!(self.store.unfinished("").await.unwrap(), []);
    }

    /// Uploads what a shell script prints, in parts of 64 KiB.
    async fn upload(&self, cx: &Cx, script: &str) -> Result<Committed, Failure> {
        let run = cx.run_id();
        let upload = Upload {
            store: &self.store,
            key: "x.dump",
            metadata: [(RUN.to_owned(), run.clone())].into(),
            run: &run,
            sizes: PartSizes::starting_with(64 << 10),
            attempt: "dump rally",
        };
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(std::process::Stdio::piped());
        upload.run(cx, command, |_| Ok(())).await
    }
}

fn uuid() -> String {
    let id = kit::testing::cx().run_id();
    id.replace('-', "")
}

/// An S3 that has lost the end of each dump.
#[derive(Default)]
struct Truncate {
    on: AtomicBool,
}

impl Service for Truncate {
    fn service(&self) -> &'static str {
        "s3"
    }

    fn handle<'a>(
        &'a self,
        request: &'a Request,
    ) -> std::pin::Pin<Box<dyn Future<Output = Option<Answer>> + Send + 'a>> {
        Box::pin(async move {
            let dump = request.operation == "GetObject" && request.s3_object().1.ends_with(".dump");
            (dump && self.on.load(Ordering::Relaxed)).then(|| {
                let mut answer = Answer::default().status(StatusCode::PARTIAL_CONTENT).body("PGDMP\x01\x0e");
                answer.headers.insert(CONTENT_RANGE, HeaderValue::from_static("bytes 0-6/7"));
                answer.headers.insert(ETAG, HeaderValue::from_static("\"x\""));
                answer
            })
        })
    }
}

/// A program in the place of `pg_dump` that says another version or dies.
fn fake_pg_dump(folder: &Path, version: &str, body: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.join("pg_dump");
    let version =
        format!("if [ \"$1\" = --version ]; then echo 'pg_dump (PostgreSQL) {version}'; exit 0; fi");
    std::fs::write(&path, format!("#!/bin/sh\n{version}\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn said(failure: &Failure) -> String {
    format!("{failure}: {}", failure.chain().join("; "))
}

#[tokio::test]
async fn a_backup_is_whole_proven_and_described_and_the_same_id_is_not_made_again() {
    let world = World::new().await;
    let made = world.run(&["--backup-id=acme/rally/77"]).await.unwrap();
    assert!(made.changed);

    let manifest = world.manifest().await;
    let stamp = "20261121T120000Z";
    let system = manifest.system_identifier.clone().unwrap();
    let dump = format!("{stamp}-{system}-acme-rally-77.dump");
    assert_eq!(
        world.objects().await,
        [dump.clone(), format!("{dump}.globals.sql"), format!("{dump}.manifest.json")]
    );
    assert_eq!(manifest.rung, Rung::ReadBack);
    assert_eq!(manifest.tables, Some(4));
    assert_eq!(manifest.database, world.name);
    assert_eq!(system, world.sql("SELECT system_identifier FROM pg_control_system()").await);

    let bytes = world.store.text(&manifest.key).await.unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &bytes).unwrap();
    let sum = Command::new("sha256sum").arg(file.path()).output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&sum.stdout).split(' ').next().unwrap(), manifest.sha256);
    let globals = world.store.text(manifest.globals_key.as_deref().unwrap()).await.unwrap();
    let globals = String::from_utf8(globals).unwrap();
    assert!(globals.contains("CREATE ROLE postgres") && !globals.contains("SCRAM"), "{globals}");

    let restored = format!("{}_restored", world.name);
    world.servers.postgres.psql(&format!("CREATE DATABASE {restored}")).await.unwrap();
    let restore = Command::new(world.servers.postgres.bin_dir.join("pg_restore"))
        .args(["--exit-on-error", "-h", "127.0.0.1", "-U", "postgres", "-d", &restored])
        .args(["-p", &world.servers.postgres.port.to_string()])
        .arg(file.path())
        .env("PGPASSWORD", &world.servers.postgres.password)
        .output()
        .await
        .unwrap();
    assert!(restore.status.success(), "{}", String::from_utf8_lossy(&restore.stderr));

    world.front.forget();
    let again = world.run(&["--backup-id=acme/rally/77"]).await.unwrap();
    assert!(!again.changed, "{}", again.headline);
    assert_eq!(world.writes(), Vec::<String>::new());

    let other = world.run(&["--backup-id=acme/rally/78", "--no-globals", "--verify=contents"]).await.unwrap();
    assert!(other.changed);
    assert_eq!(world.objects().await.len(), 5);
    // The same slug is not the same id.
    assert_eq!(world.run(&["--backup-id=acme-rally-77"]).await.unwrap_err().code(), Code::Refused);
}

#[tokio::test]
async fn undo_deletes_what_the_run_wrote_and_refuses_what_was_changed_since() {
    let world = World::new().await;
    let cx = world.cx();
    back_up(&cx, &world.args(&[]), &world.store).await.unwrap();
    let path = std::env::temp_dir().join(format!("cutover-test-{}", cx.run_id())).join("receipt.json");
    let receipt = Receipt::read(&path).unwrap();

    let key = world.manifest().await.key;
    let sdk = aws_sdk_s3::Client::new(&world.aws.config);
    let body = aws_sdk_s3::primitives::ByteStream::from_static(b"mine");
    sdk.put_object().bucket(&world.name).key(format!("{key}.globals.sql")).body(body).send().await.unwrap();
    let refused = crate::undo::undo(&world.cx(), &world.store, &receipt).await.unwrap_err();
    assert_eq!(refused.code(), Code::Refused);
    assert!(refused.to_string().ends_with(".globals.sql"), "{refused}");
    assert_eq!(world.objects().await.len(), 3);

    sdk.delete_object().bucket(&world.name).key(format!("{key}.globals.sql")).send().await.unwrap();
    let undone = crate::undo::undo(&world.cx(), &world.store, &receipt).await.unwrap();
    assert_eq!(undone.headline, "2 objects of the backup are deleted");
    world.assert_nothing_left().await;
}

#[tokio::test]
async fn a_dump_that_dies_half_way_leaves_no_object_and_no_parts() {
    let world = World::new().await;
    let half = "head -c 300000 /dev/zero";
    for (end, why) in [
        ("kill -9 $$", "was killed by signal 9"),
        ("echo 'connection to server was lost' >&2; exit 1", "exit code 1: connection to server was lost"),
    ] {
        let failure = world.upload(&world.cx(), &format!("{half}; {end}")).await.unwrap_err();
        assert!(said(&failure).contains(why), "{}", said(&failure));
        assert!(world.writes().contains(&"AbortMultipartUpload".to_owned()));
        world.assert_nothing_left().await;
    }
}

#[tokio::test]
async fn a_dump_that_dies_in_its_first_part_makes_no_writing_call() {
    let world = World::new().await;
    let failure = world.upload(&world.cx(), "echo PGDMP; exit 3").await.unwrap_err();
    assert!(said(&failure).contains("exit code 3"), "{}", said(&failure));
    let empty = world.upload(&world.cx(), "exit 0").await.unwrap_err();
    assert!(said(&empty).contains("printed nothing"), "{}", said(&empty));
    assert_eq!(world.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn many_parts_come_out_in_order_although_calls_fail_on_the_way() {
    let world = World::new().await;
    world.front.set_faults([
        Fault::error("s3:CreateMultipartUpload#1", 503, "SlowDown", "Please reduce your request rate.")
            .after_effect(),
        Fault::error("s3:UploadPart#2", 500, "InternalError", "We encountered an internal error."),
        Fault::new("s3:UploadPart#5", testkit::front::Effect::Reset),
        Fault::new("s3:CompleteMultipartUpload#1", testkit::front::Effect::Reset).after_effect(),
    ]);
    let committed = world.upload(&world.cx(), "seq 1 100000").await.unwrap();
    let expected: String = (1..=100_000).map(|n| format!("{n}\n")).collect();
    assert_eq!(world.store.text("x.dump").await.unwrap(), expected.as_bytes());
    assert_eq!(committed.sum.bytes, expected.len() as u64);
    assert_eq!(world.store.unfinished("").await.unwrap(), []);
}

#[tokio::test]
async fn a_cancelled_upload_is_put_away() {
    let world = World::new().await;
    let cx = world.cx();
    let hold = world.front.hold("s3:UploadPart#2", When::BeforeForward);
    let script = "head -c 1000000 /dev/zero; exec sleep 600";
    let (failure, ()) = tokio::join!(world.upload(&cx, script), async {
        hold.arrived().await;
        cx.cancel(Code::Terminated);
        drop(hold);
    });
    assert_eq!(failure.unwrap_err().code(), Code::Terminated);
    world.assert_nothing_left().await;
}

#[tokio::test]
async fn an_object_that_appears_meanwhile_is_not_written_over() {
    let world = World::new().await;
    let hold = world.front.hold("s3:CompleteMultipartUpload", When::BeforeForward);
    let cx = world.cx();
    let (failure, ()) = tokio::join!(world.upload(&cx, "seq 1 100000"), async {
        hold.arrived().await;
        world.store.put("x.dump", "other", "text/plain", b"theirs".into()).await.unwrap();
        hold.release();
    });
    assert!(said(&failure.unwrap_err()).contains("another run"), "the other's object wins");
    assert_eq!(world.store.text("x.dump").await.unwrap(), b"theirs");
    assert_eq!(world.store.unfinished("").await.unwrap(), []);
}

#[tokio::test]
async fn a_dump_that_does_not_come_back_whole_is_deleted_and_has_no_manifest() {
    let world = World::new().await;
    world.truncate.on.store(true, Ordering::Relaxed);
    let failure = world.run(&[]).await.unwrap_err();
    assert_eq!(failure.code(), Code::Unverified);
    world.assert_nothing_left().await;
}

#[tokio::test]
async fn an_older_pg_dump_is_refused_before_anything_with_both_versions() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let fake = fake_pg_dump(folder.path(), "9.6.24", "exit 9");
    let failure = world.run(&["--pg-dump", fake.to_str().unwrap()]).await.unwrap_err();
    assert_eq!(failure.code(), Code::Refused);
    let server = world.sql("SELECT split_part(current_setting('server_version'), ' ', 1)").await;
    assert!(said(&failure).contains(&server) && said(&failure).contains("9.6.24"), "{}", said(&failure));
    assert_eq!(world.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn a_pg_dump_that_fails_at_once_is_quoted_and_nothing_was_changed() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let fake = fake_pg_dump(
        folder.path(),
        "99.0",
        "echo 'pg_dump: error: query failed: ERROR:  permission denied for table surveys' >&2; exit 1",
    );
    let cx = world.cx();
    let args = world.args(&["--pg-dump", fake.to_str().unwrap(), "--no-globals"]);
    let failure = back_up(&cx, &args, &world.store).await.unwrap_err();
    assert_eq!(failure.code(), Code::Failed);
    assert!(said(&failure).contains("permission denied for table surveys"), "{}", said(&failure));
    let story = cx.report().story();
    assert!(story.iter().any(|line| line.starts_with("  | pg_dump: error")), "{story:?}");
    assert_eq!(world.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn the_next_run_aborts_what_a_killed_one_left_and_nothing_else() {
    let world = World::new().await;
    let system = world.sql("SELECT system_identifier FROM pg_control_system()").await;
    let sdk = aws_sdk_s3::Client::new(&world.aws.config);
    let left = |name: String| sdk.create_multipart_upload().bucket(&world.name).key(name).send();
    let folder = format!("backups/{}", world.name);
    left(format!("{folder}/20261120T000000Z-{system}-dead.dump")).await.unwrap();
    let theirs = [format!("{folder}/20261120T000000Z-1-dead.dump"), format!("{folder}/upload-by-hand.bin")];
    for key in &theirs {
        left(key.clone()).await.unwrap();
    }
    let cx = world.cx();
    back_up(&cx, &world.args(&[]), &world.store).await.unwrap();
    let rest: Vec<String> =
        world.store.unfinished("").await.unwrap().into_iter().map(|left| left.key).collect();
    assert_eq!(rest, theirs);
    let story = cx.report().story();
    assert!(story.iter().any(|line| line.contains("abort the unfinished upload of")), "{story:?}");
}

#[tokio::test]
async fn a_run_that_died_before_the_manifest_is_finished_by_the_next_one() {
    let world = World::new().await;
    let run = ["--backup-id=release-7"];
    world.front.set_faults([Fault::access_denied("s3:PutObject")]);
    let failure = world.run(&run).await.unwrap_err();
    assert!(said(&failure).contains("AccessDenied"), "{}", said(&failure));
    assert_eq!(world.objects().await.len(), 1);

    world.front.set_faults([]);
    world.front.forget();
    assert!(world.run(&run).await.unwrap().changed);
    assert_eq!(world.writes(), ["PutObject", "PutObject"]);
    let manifest = world.manifest().await;
    assert_eq!(manifest.rung, Rung::ReadBack);
    assert_eq!(world.objects().await.len(), 3);
    world.front.forget();
    assert!(!world.run(&run).await.unwrap().changed);
    assert_eq!(world.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn a_dump_far_smaller_than_the_last_is_refused_before_it_is_committed() {
    let world = World::new().await;
    world.run(&[]).await.unwrap();
    world.sql("TRUNCATE surveys").await;
    let failure = world.run(&[]).await.unwrap_err();
    assert_eq!(failure.code(), Code::Refused);
    assert!(said(&failure).contains("in the last backup"), "{}", said(&failure));
    assert_eq!(world.objects().await.len(), 3);
    world.run(&["--allow-shrink", "--verify=present"]).await.unwrap();
    assert_eq!(world.objects().await.len(), 6);
}

#[tokio::test]
async fn a_second_backup_of_the_database_waits_for_the_first() {
    let world = World::new().await;
    let (first, second) = (world.cx(), world.cx());
    let hold = world.front.hold("s3:CreateMultipartUpload", When::BeforeForward);
    let args = world.args(&["--backup-id=once"]);
    let (one, two) = tokio::join!(back_up(&first, &args, &world.store), async {
        hold.arrived().await;
        let second_run = back_up(&second, &args, &world.store);
        tokio::pin!(second_run);
        let mut hold = Some(hold);
        let mut look = tokio::time::interval(std::time::Duration::from_millis(20));
        loop {
            tokio::select! {
                done = &mut second_run => break done,
                _ = look.tick(), if hold.is_some() => {
                    if second.report().story().iter().any(|line| line.contains("waiting for another backup")) {
                        hold.take().unwrap().release();
                    }
                }
            }
        }
    });
    assert!(one.unwrap().0.changed);
    assert!(!two.unwrap().0.changed, "the first one's backup is the second one's");
}

#[tokio::test]
async fn what_cannot_work_is_refused_with_the_next_move() {
    let world = World::new().await;
    let failure = Bucket::find(&world.aws, "no-such-bucket", None, "--to").await.unwrap_err();
    assert_eq!(
        (failure.code(), failure.to_string().as_str()),
        (Code::Refused, "reach the bucket no-such-bucket")
    );
    assert!(said(&failure).contains("there is no such bucket"));

    world.front.set_faults([Fault::access_denied("s3:CreateMultipartUpload")]);
    let failure = world.run(&[]).await.unwrap_err();
    assert!(format!("{failure:?}").contains("allow `s3:PutObject` on arn:aws:s3:::"), "{failure:?}");
    world.front.set_faults([]);

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let failure = world.run(&["--port", &closed.to_string()]).await.unwrap_err();
    assert!(failure.to_string().starts_with("connect to database"), "{failure}");
    world.assert_nothing_left().await;
}
