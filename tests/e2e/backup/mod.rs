//! Backups as whole processes: PostgreSQL as it is installed, an emulated S3 behind the front.

mod base;
mod dumping;
mod proving;
mod pruning;
mod restoring;

use std::path::Path;

use serde_json::Value;
use testkit::postgres::{Options, Postgres};
use tokio::process::Command;

use crate::world::{Ran, World, client, own, run, shared_emulator};

/// A world with a bucket and a server of its own, on which lies the database `rally`.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) postgres: Postgres,
    pub(crate) bucket: String,
}

/// One of everything that a dump has ever lost.
const EVERYTHING: &str = r#"
    CREATE ROLE volunteer; CREATE ROLE "odd; role";
    CREATE TYPE mood AS ENUM ('sad', 'glad');
    CREATE TABLE survey (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, title text NOT NULL, kind mood,
        words int GENERATED ALWAYS AS (length(title)) STORED);
    INSERT INTO survey (title, kind) SELECT 'survey ' || n, 'glad' FROM generate_series(1, 1000) n;
    ALTER TABLE survey OWNER TO volunteer;
    CREATE TABLE answer (survey int REFERENCES survey, made date NOT NULL) PARTITION BY RANGE (made);
    CREATE TABLE answer_2025 PARTITION OF answer FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
    CREATE TABLE answer_2026 PARTITION OF answer FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    INSERT INTO answer SELECT n, '2025-06-01'::date + n FROM generate_series(1, 400) n;
    CREATE INDEX ON answer (made);
    CREATE TABLE by_mood (m mood) PARTITION BY HASH (m);
    CREATE TABLE by_mood_0 PARTITION OF by_mood FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE by_mood_1 PARTITION OF by_mood FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    INSERT INTO by_mood SELECT CASE WHEN n % 2 = 0 THEN 'sad' ELSE 'glad' END::mood FROM generate_series(1, 50) n;
    CREATE UNLOGGED TABLE session (id int); INSERT INTO session SELECT generate_series(1, 7);
    CREATE SCHEMA "odd; ""schema"" ..";
    CREATE TABLE "odd; ""schema"" ..".".. Größe 'x'" (y int); INSERT INTO "odd; ""schema"" ..".".. Größe 'x'" VALUES (1), (2);
    CREATE TABLE empty (x int);
    CREATE MATERIALIZED VIEW titles AS SELECT title FROM survey;
    CREATE VIEW glad AS SELECT * FROM survey WHERE kind = 'glad';
    CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql AS 'SELECT $1 * 2';
    CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TRIGGER watch BEFORE INSERT ON survey FOR EACH ROW EXECUTE FUNCTION nothing();
    ALTER TABLE session ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON session TO "odd; role" USING (id > 3);
    SELECT lo_from_bytea(0, 'a large object');
    COMMENT ON TABLE survey IS 'it''s a survey; -- with a comment';
"#;

impl Stage {
    pub(crate) async fn start() -> Self {
        let world = World::start().await;
        let bucket = own("backups");
        shared_emulator().await.create_bucket(&bucket).await.unwrap();
        let options = Options { database: Some("rally".into()), ..Options::default() };
        let postgres = Postgres::start(options).await.unwrap();
        world.front.forget();
        Self { world, postgres, bucket }
    }

    /// With some of everything in it.
    pub(crate) async fn full() -> Self {
        let stage = Self::start().await;
        stage.sql(EVERYTHING).await;
        stage
    }

    pub(crate) async fn sql(&self, sql: &str) -> String {
        self.postgres.psql(sql).await.unwrap()
    }

    /// SQL in another database of the server.
    pub(crate) async fn sql_in(&self, database: &str, sql: &str) -> String {
        let mut command = Command::new(self.postgres.bin_dir.join("psql"));
        command.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql]);
        self.connected(&mut command).env("PGDATABASE", database);
        let ran = run(command).await.expect(0);
        ran.stdout.trim().to_owned()
    }

    pub(crate) fn connected<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let path = std::env::var("PATH").unwrap();
        command
            .env("PATH", format!("{}:{path}", self.postgres.bin_dir.display()))
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", self.postgres.port.to_string())
            .env("PGUSER", "postgres")
            .env("PGDATABASE", "rally")
            .env("PGPASSWORD", &self.postgres.password)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let to = format!("s3://{}/safe", self.bucket);
        let base = ["backup-db", "--to", &to, "--format", "json"];
        let mut command = self.world.command(&[&base, args].concat());
        self.connected(&mut command);
        command
    }

    pub(crate) async fn backup_db(&self, args: &[&str]) -> Ran {
        run(self.command(args)).await
    }

    /// The keys of the bucket, without what all begin with.
    pub(crate) async fn keys(&self) -> Vec<String> {
        self.world.s3_keys(&self.bucket).await
    }

    pub(crate) async fn object(&self, key: &str) -> Vec<u8> {
        let url = format!("{}/{}/{}", shared_emulator().await.url(), self.bucket, key.replace('%', "%25"));
        let answer = client().get(url).send().await.unwrap();
        assert!(answer.status().is_success(), "{key}: {}", answer.status());
        answer.bytes().await.unwrap().to_vec()
    }

    pub(crate) async fn put(&self, key: &str, body: Vec<u8>) {
        let url = format!("{}/{}/{}", shared_emulator().await.url(), self.bucket, key.replace('%', "%25"));
        assert!(client().put(url).body(body).send().await.unwrap().status().is_success());
    }

    /// The one manifest that the run wrote.
    pub(crate) async fn manifest(&self, ran: &Ran) -> Value {
        let uri = ran.json()["outputs"]["manifest-uri"].as_str().unwrap().to_owned();
        let key = uri.strip_prefix(&format!("s3://{}/", self.bucket)).unwrap();
        serde_json::from_slice(&self.object(key).await).unwrap()
    }

    pub(crate) async fn databases(&self) -> String {
        self.sql("SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE NOT datistemplate")
            .await
    }
}

/// A program that says of itself what the real one says, and otherwise runs the script, in which `$REAL` is the real one.
pub(crate) fn stand_in(stage: &Stage, name: &str, script: &str) -> String {
    let real = stage.postgres.bin_dir.join(name);
    let path = stage.world.path(name);
    let text = format!(
        "#!/bin/sh\nREAL='{}'\ncase \"$*\" in *--version*) exec \"$REAL\" --version;; esac\n{script}\n",
        real.display()
    );
    executable(&path, &text);
    path.display().to_string()
}

pub(crate) fn executable(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

pub(crate) fn output(ran: &Ran, name: &str) -> String {
    ran.json()["outputs"][name].as_str().unwrap_or_else(|| panic!("no output {name} in {ran:?}")).to_owned()
}
