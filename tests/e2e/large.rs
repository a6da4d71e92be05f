//! Data above 1 GiB, which `make test-all` has: a database is dumped, restored and compared row by row, and its archive copied.

use tempfile::TempDir;
use testkit::front::Front;
use testkit::postgres::{Options, Postgres};
use testkit::s3::{self, Double};
use tokio::process::Command;

use crate::world::{REGION, Ran, run, scrubbed, shared_emulator};

/// 1.125 GiB of sums in rows of 8 KiB: no compressor makes them smaller. As [`EXTERNAL`], PostgreSQL does not try.
///
/// [`EXTERNAL`]: https://www.postgresql.org/docs/current/storage-toast.html#STORAGE-TOAST-ONDISK
const ROWS: &str = "
    CREATE TABLE rows (id bigint PRIMARY KEY, body bytea NOT NULL);
    ALTER TABLE rows ALTER body SET STORAGE EXTERNAL;
    INSERT INTO rows SELECT n, (SELECT string_agg(sha512((n || '.' || k)::bytea), ''::bytea) FROM generate_series(1, 128) k)
        FROM generate_series(1, 147456) n;";
const SUM: &str = "SELECT count(*), sum(length(body)), md5(string_agg(md5(body), '' ORDER BY id)) FROM rows";
const GIB: usize = 1 << 30;

struct Stage {
    front: Front,
    double: Double,
    postgres: Postgres,
    dir: TempDir,
}

impl Stage {
    async fn start() -> Self {
        // Larger than what one call copies, as 5 GiB are of S3 itself.
        let options = s3::Options { largest_copy: 256 << 20, ..s3::Options::default() };
        let double = Double::start(options).await.unwrap();
        double.create_bucket("backups");
        double.create_bucket("elsewhere");
        let builder = Front::builder().upstream(shared_emulator().await.url());
        let front = builder.upstream_for("s3", double.url()).start().await.unwrap();
        let options = Options { database: Some("rally".into()), ..Options::default() };
        let postgres = Postgres::start(options).await.unwrap();
        Self { front, double, postgres, dir: tempfile::tempdir().unwrap() }
    }

    async fn cutover(&self, args: &[&str]) -> Ran {
        let path = format!("{}:{}", self.postgres.bin_dir.display(), std::env::var("PATH").unwrap());
        let mut command = scrubbed(env!("CARGO_BIN_EXE_cutover"), self.dir.path());
        command
            .args(args)
            .args(["--format", "json"])
            .env("PATH", path)
            .env("AWS_ENDPOINT_URL", self.front.url())
            .env("AWS_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "planted-secret-key");
        self.connect(&mut command, "rally");
        run(command).await
    }

    fn connect(&self, command: &mut Command, database: &str) {
        command
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", self.postgres.port.to_string())
            .env("PGUSER", "postgres")
            .env("PGDATABASE", database)
            .env("PGPASSWORD", &self.postgres.password);
    }

    async fn sum(&self, database: &str) -> String {
        let mut command = Command::new(self.postgres.bin_dir.join("psql"));
        command.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", SUM]);
        self.connect(&mut command, database);
        run(command).await.expect(0).stdout.trim().to_owned()
    }
}

#[tokio::test]
async fn more_than_a_gib_is_dumped_restored_and_copied_whole() {
    if std::env::var_os("CUTOVER_LARGE").is_none() {
        testkit::inputs::skipped("data above 1 GiB: `make test-all` has it");
        return;
    }
    let stage = Stage::start().await;
    stage.postgres.psql(ROWS).await.unwrap();
    let before = stage.sum("rally").await;
    assert!(before.starts_with("147456|1207959552|"), "{before}");

    let dumped = stage.cutover(&["backup-db", "--to", "s3://backups/rally"]).await.expect(0).json();
    let output = |name: &str| dumped["outputs"][name].as_str().unwrap_or_default().to_owned();
    let (archive, manifest) = (output("backup-uri"), output("manifest-uri"));
    let restore = ["backup-db", "--action", "restore", "--to", "s3://backups/rally", "--backup", &manifest];
    stage.cutover(&[&restore[..], &["--into", "again"]].concat()).await.expect(0);
    assert_eq!(stage.sum("again").await, before);

    let key = archive.strip_prefix("s3://backups/").unwrap();
    let to = format!("s3://elsewhere/{key}");
    let copy = ["copy-objects", "--from", &archive, "--to", &to, "--multipart-above", "128MiB"];
    stage.cutover(&copy).await.expect(0);
    let [original, copied] =
        ["backups", "elsewhere"].map(|bucket| stage.double.object(bucket, key).unwrap().body);
    assert!(original.len() > GIB, "{}", original.len());
    assert!(original == copied, "the copy has other bytes");
    assert_eq!(stage.double.refused(), [""; 0]);
}
