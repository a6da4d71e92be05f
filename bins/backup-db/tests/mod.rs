//! The step against a real PostgreSQL and an emulated S3, whose calls go through the front.

mod backups;
mod base;
mod uploads;
mod wal;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use aws::Aws;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use clap::FromArgMatches as _;
use http::StatusCode;
use http::header::{CONTENT_RANGE, ETAG, HeaderValue};
use kit::{Cx, Env, Failure, Outcome};
use postgres::{Manifest, Rung};
use s3::{Bucket, PartSizes, RUN};
use testkit::emulator::{self, Emulator};
use testkit::front::{Answer, Front, Request, Service};
use testkit::postgres::{self as server, Postgres};
use tokio::process::Command;

use crate::Args;
use crate::dump::back_up;
use crate::key::Destination;
use crate::pipe::Packing;
use crate::tools::{Tools, Version};
use crate::upload::{Committed, Upload};

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
        let pg_dump = self.servers.postgres.bin_dir.join("pg_dump").display().to_string();
        self.args_with(&[&["--pg-dump", &pg_dump], more].concat())
    }

    fn args_with(&self, more: &[&str]) -> Args {
        let mut argv = vec!["backup-db".to_owned(), format!("--to=s3://{}/backups", self.name)];
        argv.extend(more.iter().map(|arg| (*arg).to_owned()));
        Args::from_arg_matches(&kit::command::<Args>().get_matches_from(argv)).unwrap()
    }

    async fn run(&self, more: &[&str]) -> Result<Outcome, Failure> {
        self.run_in(&self.cx(), more).await
    }

    async fn run_in(&self, cx: &Cx, more: &[&str]) -> Result<Outcome, Failure> {
        back_up(cx, &self.args(more), &self.to(), &self.store).await?.1
    }

    fn to(&self) -> Destination {
        format!("s3://{}/backups", self.name).parse().unwrap()
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
            packing: Packing::AsItIs,
            tap: None,
            attempt: "dump rally",
        };
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        upload.run(cx, command, async |_| Ok(())).await
    }
}

fn uuid() -> String {
    let id = kit::testing::cx().run_id();
    id.replace('-', "")
}

/// An S3 that has lost the end of each archive.
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
            let dump = request.operation == "GetObject" && request.s3_object().1.ends_with(".zst");
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
    // Of its own version beside it, as in an installation; it reads what the machine's own reads.
    let restore = folder.join("pg_restore");
    let script = version.replace("pg_dump", "pg_restore");
    std::fs::write(&restore, format!("#!/bin/sh\n{script}\nexec pg_restore \"$@\"\n")).unwrap();
    std::fs::set_permissions(&restore, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn said(failure: &Failure) -> String {
    format!("{failure}: {}", failure.chain().join("; "))
}

/// A backup of 100 MiB of the database `rally` on the server 73, read back.
pub(crate) fn manifest(started: time::OffsetDateTime) -> Manifest {
    Manifest {
        schema: postgres::manifest::SCHEMA.into(),
        kind: postgres::manifest::DUMP.into(),
        bucket: "b".into(),
        key: "rally/then.dump".into(),
        bytes: 10 << 20,
        sha256: "aa".into(),
        checksum_crc64nvme: "crc".into(),
        etag: "\"e\"".into(),
        parts: 1,
        version_id: None,
        compression: Some("zstd".into()),
        zstd_stream: false,
        globals_key: None,
        globals_recipients: None,
        database: "rally".into(),
        database_bytes: Some(100 << 20),
        tables: Some(3),
        backup_id: Some("run-7".into()),
        system_identifier: Some("73".into()),
        server_version: "15.18".into(),
        client_version: "15.18".into(),
        snapshot: None,
        rows: None,
        rows_estimated: None,
        rows_unknown: None,
        objects: None,
        extensions: None,
        roles: None,
        locale: None,
        base: None,
        rung: Rung::ReadBack,
        started,
        ended: started,
        tool_version: "0".into(),
        run: "r".into(),
        github: None,
    }
}

/// Client programs of 15.18, without zstd.
pub(crate) fn tools() -> Tools {
    Tools {
        pg_dump: "/p/pg_dump".into(),
        pg_dumpall: "/p/pg_dumpall".into(),
        pg_restore: "/p/pg_restore".into(),
        version: Version::parse("15.18").unwrap(),
        zstd: false,
    }
}
