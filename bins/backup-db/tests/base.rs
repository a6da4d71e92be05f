//! `--mode base` with the real `pg_basebackup`, on a server of the test's own.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use kit::Code;
use testkit::front::Fault;
use testkit::postgres::Options;

use super::*;
use crate::base::back_up as back_up_base;

/// A server of its own: what others write to the shared one may not be in the backup twice.
struct Stage {
    world: World,
    postgres: Postgres,
}

impl Stage {
    async fn new() -> Self {
        Self::with(Options::default()).await
    }

    async fn with(options: Options) -> Self {
        let options = Options { database: Some("rally".into()), ..options };
        let (world, postgres) = tokio::join!(World::new(), Postgres::start(options));
        let postgres = postgres.unwrap();
        postgres
            .psql("CREATE TABLE volunteer AS SELECT n AS id FROM generate_series(1, 5000) n")
            .await
            .unwrap();
        Self { world, postgres }
    }

    fn env(&self) -> Env {
        [
            ("PATH", std::env::var("PATH").unwrap()),
            ("PGPASSWORD", self.postgres.password.clone()),
            ("PGHOST", "127.0.0.1".into()),
            ("PGPORT", self.postgres.port.to_string()),
            ("PGUSER", server::USER.into()),
            ("PGDATABASE", "rally".into()),
        ]
        .into_iter()
        .collect()
    }

    fn args(&self, more: &[&str]) -> Args {
        let pg_dump = self.postgres.bin_dir.join("pg_dump").display().to_string();
        let own = ["--mode=base", "--pg-dump", &pg_dump];
        self.world.args_with(&[if more.contains(&"--pg-dump") { &own[..1] } else { &own[..] }, more].concat())
    }

    async fn run(&self, more: &[&str]) -> Result<Outcome, Failure> {
        self.run_in(&kit::testing::cx_of(&crate::STEP, self.env(), false), more).await
    }

    async fn run_in(&self, cx: &Cx, more: &[&str]) -> Result<Outcome, Failure> {
        let args = self.args(more);
        args.check()?;
        back_up_base(cx, &args, &self.world.to(), &self.world.store).await
    }

    async fn slots(&self) -> String {
        self.postgres.psql("SELECT count(*) FROM pg_replication_slots").await.unwrap()
    }

    /// A `pg_basebackup` of the script's making; the other programs beside it are the real ones.
    fn stand_in(&self, folder: &Path, script: &str) -> String {
        let bin = &self.postgres.bin_dir;
        for program in ["pg_dump", "pg_restore", "pg_dumpall"] {
            std::os::unix::fs::symlink(bin.join(program), folder.join(program)).unwrap();
        }
        let real = bin.join("pg_basebackup").display().to_string();
        let version = format!("case \"$*\" in --version) exec {real} --version;; esac");
        let fake = folder.join("pg_basebackup");
        std::fs::write(&fake, format!("#!/bin/sh\n{version}\n{}\n", script.replace("REAL", &real))).unwrap();
        std::fs::set_permissions(&fake, std::fs::Permissions::from_mode(0o755)).unwrap();
        folder.join("pg_dump").display().to_string()
    }
}

#[tokio::test]
async fn the_whole_server_is_backed_up_read_back_and_not_a_second_time_for_the_same_id() {
    let stage = Stage::new().await;
    let outcome = stage.run(&["--backup-id", "release-7"]).await.unwrap();
    assert!(outcome.changed);
    let manifest = stage.world.manifest().await;
    assert_eq!((manifest.kind.as_str(), manifest.rung), ("base", Rung::ReadBack));
    assert!(manifest.key.starts_with("backups/base/") && manifest.key.ends_with("-release-7.base.tar.zst"));
    let base = manifest.base.unwrap();
    assert!(base.files > 900 && base.unpacked_bytes > (20 << 20), "{base:?}");
    assert!(base.databases.unwrap().contains(&"rally".to_owned()));
    assert_eq!(base.wal.len(), 1);
    assert!(manifest.bytes < base.unpacked_bytes / 2, "compressed");
    assert_eq!(stage.slots().await, "0");
    stage.world.front.forget();
    assert!(!stage.run(&["--backup-id", "release-7"]).await.unwrap().changed);
    assert_eq!(stage.world.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn the_archive_is_what_pg_verifybackup_calls_good() {
    let stage = Stage::new().await;
    stage.run(&["--compression", "none", "--verify", "present"]).await.unwrap();
    let manifest = stage.world.manifest().await;
    assert_eq!(
        manifest.rung,
        Rung::Contents,
        "what was sent is compared with PostgreSQL's manifest in any case"
    );
    let folder = tempfile::tempdir().unwrap();
    let tar = folder.path().join("base.tar");
    std::fs::write(&tar, stage.world.store.text(&manifest.key).await.unwrap()).unwrap();
    let run = async |program: &Path, args: &[&str]| {
        let output = Command::new(program).args(args).current_dir(&folder).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(Path::new("tar"), &["-xf", "base.tar"]).await;
    std::fs::remove_file(&tar).unwrap();
    run(&stage.postgres.bin_dir.join("pg_verifybackup"), &["."]).await;
}

#[tokio::test]
async fn whatever_dies_or_is_damaged_on_the_way_there_is_no_object_and_no_upload() {
    let stage = Stage::new().await;
    for (script, says) in [
        ("REAL \"$@\" | head -c 3000000; kill -9 $$", "killed by signal 9"),
        ("REAL \"$@\" | head -c 3000000; exit 0", "no whole backup"),
        ("REAL \"$@\"; exit 3", "exit code 3"),
        // A byte of a table that is overwritten behind PostgreSQL's back.
        ("REAL \"$@\" | sed 's/volunteer/voluntary/' ", "no whole backup"),
        ("printf 'no tar at all'", "no whole backup"),
        ("true", "printed nothing"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let pg_dump = stage.stand_in(folder.path(), script);
        let failure = stage.run(&["--pg-dump", &pg_dump]).await.unwrap_err();
        assert!(said(&failure).contains(says), "{script}: {}", said(&failure));
        stage.world.assert_nothing_left().await;
        assert_eq!(stage.slots().await, "0", "{script}");
    }
}

#[tokio::test]
async fn what_the_server_refuses_is_said_with_the_next_move() {
    let stage = Stage::new().await;
    stage.postgres.psql("CREATE ROLE weak LOGIN PASSWORD 'weak'").await.unwrap();
    let env: Env = stage
        .env()
        .iter()
        .map(|(name, value)| {
            let value = match name {
                "PGUSER" | "PGPASSWORD" => "weak",
                _ => value,
            };
            (name.to_owned(), value.to_owned())
        })
        .collect();
    let failure =
        stage.run_in(&kit::testing::cx_of(&crate::STEP, env.clone(), false), &[]).await.unwrap_err();
    assert_eq!(failure.code(), Code::Refused);
    assert!(said(&failure).contains("the role weak has no right of replication"), "{}", said(&failure));
    // A role that has just that right, and no more.
    stage.postgres.psql("ALTER ROLE weak REPLICATION").await.unwrap();
    assert!(
        stage
            .run_in(&kit::testing::cx_of(&crate::STEP, env, false), &["--verify", "present"])
            .await
            .unwrap()
            .changed
    );

    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let sql = format!("CREATE TABLESPACE fast LOCATION '{}'", place.path().display());
    // Only where the server's account owns the folder.
    if stage.postgres.psql(&sql).await.is_ok() {
        let failure = stage.run(&[]).await.unwrap_err();
        assert!(said(&failure).contains("fast in "), "{}", said(&failure));
    }
}

#[tokio::test]
async fn a_server_without_replication_is_refused() {
    let settings = |pairs: &[(&str, &str)]| Options {
        settings: pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        ..Options::default()
    };
    let stage = Stage::with(settings(&[("wal_level", "minimal"), ("max_wal_senders", "0")])).await;
    let failure = stage.run(&[]).await.unwrap_err();
    assert!(said(&failure).contains("wal_level is minimal"), "{}", said(&failure));
    let stage = Stage::with(settings(&[("max_replication_slots", "0")])).await;
    assert!(stage.run(&["--verify", "present"]).await.unwrap().changed, "without a slot it goes on");
}

#[tokio::test]
async fn a_killed_run_is_finished_by_the_next_of_its_id() {
    let stage = Stage::new().await;
    let id = ["--backup-id", "release-7"];
    // The manifest can't be written: the archive stays, and is no backup.
    stage.world.front.set_faults([Fault::error("s3:PutObject", 403, "AccessDenied", "no")]);
    let failure = stage.run(&id).await.unwrap_err();
    assert!(
        said(&failure).contains("denied") || said(&failure).contains("AccessDenied"),
        "{}",
        said(&failure)
    );
    stage.world.front.set_faults([]);
    let left = stage.world.keys().await;
    assert_eq!(left.len(), 1, "{left:?}");
    stage.world.front.forget();
    assert!(stage.run(&id).await.unwrap().changed);
    assert_eq!(stage.world.writes(), ["PutObject"]);
    let manifest = stage.world.manifest().await;
    assert_eq!((&manifest.key, manifest.rung), (&left[0], Rung::ReadBack));
    assert!(manifest.base.unwrap().files > 900);
}

#[tokio::test]
async fn what_s3_lost_of_it_is_found_and_deleted() {
    let stage = Stage::new().await;
    stage.world.truncate.on.store(true, Ordering::Relaxed);
    let failure = stage.run(&[]).await.unwrap_err();
    assert_eq!(failure.code(), Code::Unverified, "{}", said(&failure));
    stage.world.assert_nothing_left().await;
}

#[tokio::test]
async fn an_upload_that_a_killed_run_left_is_aborted_by_the_next() {
    let stage = Stage::new().await;
    stage.world.front.set_faults([Fault::error("s3:CompleteMultipartUpload", 403, "AccessDenied", "no")]);
    stage.run(&[]).await.unwrap_err();
    stage.world.assert_nothing_left().await;
    stage.world.front.set_faults([]);
    let identifier = stage.postgres.psql("SELECT system_identifier FROM pg_control_system()").await.unwrap();
    let key = format!("backups/base/20261101T000000Z-{identifier}-x.base.tar");
    let other = "backups/base/20261101T000000Z-99-x.base.tar";
    for key in [key.as_str(), other] {
        stage
            .world
            .store
            .client
            .create_multipart_upload()
            .bucket(&stage.world.name)
            .key(key)
            .send()
            .await
            .unwrap();
    }
    stage.run(&["--verify", "present"]).await.unwrap();
    let left: Vec<String> =
        stage.world.store.unfinished("").await.unwrap().into_iter().map(|upload| upload.key).collect();
    assert_eq!(left, [other], "what another server's run uploads is none of ours");
}

#[tokio::test]
async fn it_is_started_to_prove_it_and_unpacked_into_a_new_folder() {
    let stage = Stage::new().await;
    let scratch = tempfile::Builder::new().prefix("s").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let folder = scratch.path().display().to_string();
    let proven = stage.run(&["--verify", "restored", "--scratch-dir", &folder]).await;
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "nothing of the proof is left");
    match proven {
        Ok(_) => assert_eq!(stage.world.manifest().await.rung, Rung::Restored),
        // Root can't run a server, and another account may not enter a wheel's below root's own folder.
        Err(failure) => {
            assert!(said(&failure).contains("may not enter"), "{}", said(&failure));
            stage.run(&[]).await.unwrap();
        }
    }
    let into = scratch.path().join("new");
    let restore = async |into: &Path, more: &[&str]| {
        let into = into.display().to_string();
        let own = ["--mode=base", "--action=restore", "--backup=latest", "--into-dir", &into];
        let args = stage.world.args_with(&[&own[..], more].concat());
        args.check()?;
        let source = crate::restore::Source::Latest { to: stage.world.to(), database: String::new() };
        crate::base::restore(
            &kit::testing::cx_of(&crate::STEP, stage.env(), false),
            &args,
            &stage.world.store,
            source,
        )
        .await
    };
    // What a killed run left is removed, and nothing else.
    let left = scratch.path().join(".new.cutover-unpacking");
    std::fs::create_dir(&left).unwrap();
    std::fs::write(left.join("PG_VERSION"), "9").unwrap();
    assert!(restore(&into, &[]).await.unwrap().changed);
    assert!(!left.exists() && into.join("PG_VERSION").is_file());
    let verify =
        Command::new(stage.postgres.bin_dir.join("pg_verifybackup")).arg(&into).output().await.unwrap();
    assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stderr));
    let again = restore(&into, &[]).await.unwrap_err();
    assert!(said(&again).contains("it is not empty"), "{}", said(&again));
    // An archive that changed since is not restored.
    let manifest = stage.world.manifest().await;
    let other = scratch.path().join("other");
    stage
        .world
        .store
        .client
        .put_object()
        .bucket(&stage.world.name)
        .key(&manifest.key)
        .body(aws_sdk_s3::primitives::ByteStream::from_static(b"x"))
        .send()
        .await
        .unwrap();
    assert!(said(&restore(&other, &[]).await.unwrap_err()).contains("none of the"));
    assert!(!other.exists());
}
