//! Backup and migration as whole processes: a real PostgreSQL, an emulated S3 behind the front.

use std::path::Path;

use testkit::front::Fault;
use testkit::postgres::{Options, Postgres};
use tokio::process::Command;

use crate::world::{Ran, World, own, run, shared_emulator};

struct Data {
    world: World,
    postgres: Postgres,
    bucket: String,
}

impl Data {
    async fn start() -> Self {
        let world = World::start().await;
        let bucket = own("backups");
        shared_emulator().await.create_bucket(&bucket).await.unwrap();
        let postgres =
            Postgres::start(Options { database: Some("rally".into()), ..Options::default() }).await.unwrap();
        postgres.psql("CREATE TABLE volunteer (id int PRIMARY KEY, name text)").await.unwrap();
        postgres
            .psql("INSERT INTO volunteer SELECT n, 'volunteer ' || n FROM generate_series(1, 5000) n")
            .await
            .unwrap();
        world.front.forget();
        Self { world, postgres, bucket }
    }

    fn write(&self, files: &[(&str, &str)]) {
        let folder = self.world.path("migrations");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        for (name, sql) in files {
            std::fs::write(folder.join(name), sql).unwrap();
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.world.command(args);
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

    async fn cutover(&self, args: &[&str]) -> Ran {
        run(self.command(args)).await
    }

    async fn backup(&self, more: &[&str]) -> Ran {
        let to = format!("s3://{}/rally", self.bucket);
        self.cutover(&[&["backup-db", "--to", &to, "--format", "json"][..], more].concat()).await
    }

    async fn migrate(&self, more: &[&str]) -> Ran {
        self.cutover(&[&["run-migration", "--migrations", "migrations"][..], more].concat()).await
    }

    async fn tables(&self) -> String {
        self.postgres
            .psql("SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace")
            .await
            .unwrap()
    }
}

fn manifest(ran: &Ran) -> String {
    ran.json()["outputs"]["manifest-uri"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_proven_backup_lets_the_migration_through_and_a_second_run_writes_nothing() {
    let data = Data::start().await;
    data.write(&[
        ("1_consent.sql", "CREATE TABLE consent (id int);"),
        ("2_review.sql", "CREATE TABLE review (id int);"),
    ]);
    data.migrate(&["--dry-run"]).await.expect(0).says(&["1_consent.sql", "will need a backup"]);
    data.migrate(&[]).await.expect(3).says(&["backup", "--without-backup rally", "nothing was changed"]);
    let backup = data.backup(&["--backup-id", "release-1"]).await.expect(0);
    assert_eq!(backup.json()["outputs"]["rung"], "read-back");
    let manifest = manifest(&backup);
    data.world.front.forget();
    let again = data.backup(&["--backup-id", "release-1"]).await.expect(0);
    assert_eq!(again.json()["outputs"]["changed"], "false");
    assert_eq!(again.json()["outputs"]["manifest-uri"], manifest.as_str());
    assert!(data.world.writes().is_empty(), "{:?}", data.world.writes());

    let migrated = data.migrate(&["--require-backup", &manifest, "--format", "json"]).await.expect(0);
    assert_eq!(migrated.json()["outputs"]["applied"], "2");
    assert_eq!(data.tables().await.trim(), "consent review volunteer");
    let second = data.migrate(&["--format", "json"]).await.expect(0);
    assert_eq!(second.json()["outputs"]["changed"], "false");
    assert!(data.world.front.unmatched().is_empty(), "{:?}", data.world.front.unmatched());
}

#[tokio::test]
async fn a_backup_that_is_old_or_of_another_database_or_gone_is_none() {
    let data = Data::start().await;
    data.write(&[("1_consent.sql", "CREATE TABLE consent (id int);")]);
    let ours = manifest(&data.backup(&[]).await.expect(0));
    data.migrate(&["--require-backup", &ours, "--max-age", "0s"])
        .await
        .expect(3)
        .says(&["--max-age", "run backup-db again"]);
    data.migrate(&["--require-backup", &ours.replace(".manifest", ".other")])
        .await
        .expect(3)
        .says(&["nothing was changed"]);
    data.postgres.psql("CREATE DATABASE other").await.unwrap();
    let to = format!("s3://{}/other", data.bucket);
    let mut command = data.command(&["backup-db", "--to", &to, "--format", "json"]);
    command.env("PGDATABASE", "other");
    let theirs = manifest(&run(command).await.expect(0));
    data.migrate(&["--require-backup", &theirs]).await.expect(3).says(&["of the database other, not rally"]);
    data.migrate(&["--without-backup", "other"]).await.expect(3).says(&["rally"]);
    assert_eq!(data.tables().await.trim(), "volunteer");
    data.migrate(&["--without-backup", "rally"]).await.expect(0);
    assert_eq!(data.tables().await.trim(), "consent volunteer");
}

#[tokio::test]
async fn a_failing_statement_rolls_its_file_back_and_running_again_continues_there() {
    let data = Data::start().await;
    let failing = "CREATE TABLE review (id int);\nINSERT INTO volunteer VALUES (1, 'twice');";
    data.write(&[("1_consent.sql", "CREATE TABLE consent (id int);"), ("2_review.sql", failing)]);
    data.migrate(&["--without-backup", "rally"]).await.expect(4).says(&[
        "2_review.sql",
        "statement 2 of 2 (line 2)",
        "duplicate key",
        "rolled back whole",
        "running again continues at 2_review.sql",
    ]);
    assert_eq!(data.tables().await.trim(), "consent volunteer");
    data.write(&[
        ("1_consent.sql", "CREATE TABLE consent (id int);"),
        ("2_review.sql", "CREATE TABLE review (id int);"),
    ]);
    data.migrate(&["--without-backup", "rally"]).await.expect(0);
    assert_eq!(data.tables().await.trim(), "consent review volunteer");
    // The very first file fails: nothing was changed, not even a ledger made, and the exit code says so.
    data.write(&[("1_consent.sql", "SELECT 1/0;")]);
    data.migrate(&["--without-backup", "rally", "--ledger", "public.other"])
        .await
        .expect(1)
        .says(&["division by zero", "nothing was changed"]);
    assert_eq!(data.tables().await.trim(), "consent review volunteer");
}

#[tokio::test]
async fn no_object_whatever_dies() {
    let data = Data::start().await;
    // A pg_dump that is killed half-way: its output ends like that of one that has succeeded.
    let real = data.postgres.bin_dir.join("pg_dump");
    let fake = data.world.path("pg_dump");
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *--version*) exec {0} --version;; esac\n{0} \"$@\" | head -c 2000\nkill -9 $$\n",
        real.display()
    );
    std::fs::write(&fake, script).unwrap();
    std::fs::set_permissions(&fake, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = fake.display().to_string();
    let ran = data.backup(&["--pg-dump", &path]).await;
    assert!(matches!(ran.code, 1 | 4), "{ran:?}");
    ran.says(&["pg_dump"]);
    // S3 refuses the last act.
    data.world.front.set_faults([Fault::error("s3:CompleteMultipartUpload", 403, "AccessDenied", "no")]);
    let ran = data.backup(&[]).await;
    assert!(matches!(ran.code, 1 | 4), "{ran:?}");
    data.world.front.set_faults([]);
    let objects = data.world.s3_keys(&data.bucket).await;
    assert!(objects.is_empty(), "{objects:?}");
}

#[tokio::test]
async fn what_a_user_gets_wrong_is_said_and_nothing_is_written() {
    let data = Data::start().await;
    data.write(&[("1_consent.sql", "CREATE TABLE consent (id int);")]);
    let bucket = data.bucket.as_str();
    let to = format!("s3://{bucket}/rally");
    let case = async |args: &[&str], change: fn(&mut Command), code: i32, says: &[&str]| {
        let mut command = data.command(args);
        change(&mut command);
        run(command).await.expect(code).says(says);
    };
    let backup = ["backup-db", "--to", &to];
    let migrate = ["run-migration", "--migrations", "migrations", "--without-backup", "rally"];
    for step in [&backup[..], &migrate[..]] {
        case(
            step,
            |c| {
                c.env("PGPORT", "9");
            },
            1,
            &["127.0.0.1:9 can't be reached", "nothing was changed"],
        )
        .await;
        case(
            step,
            |c| {
                c.env("PGPASSWORD", "wrong");
            },
            1,
            &["password", "nothing was changed"],
        )
        .await;
        case(
            step,
            |c| {
                c.env("PGDATABASE", "absent");
            },
            1,
            &["absent", "nothing was changed"],
        )
        .await;
        case(
            &[step, &["--database-url", "postgresql://u:secret@127.0.0.1/rally"]].concat(),
            |_| (),
            2,
            &["password"],
        )
        .await;
    }
    case(&["backup-db", "--to", "s3://no-such-bucket-anywhere/x"], |_| (), 3, &["no-such-bucket-anywhere"])
        .await;
    case(&["run-migration", "--migrations", "absent"], |_| (), 2, &["absent"]).await;
    assert!(!Path::new(&data.world.path("cutover-receipts")).exists());
    assert!(data.world.writes().is_empty());
    assert_eq!(data.tables().await.trim(), "volunteer");
}
