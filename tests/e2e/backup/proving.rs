//! `--verify restored`: the scratch server, the named server, and what is left of them.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use testkit::front::When;
use testkit::postgres::{Options, Postgres};

use super::{Stage, output, stand_in};
use crate::world::run;

/// A folder that the account of the scratch server may enter, with a short name.
fn scratch() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::Builder::new().prefix("s").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// Whether a scratch server can be had: root can't run one, and another account may not enter every installation, such as a
/// wheel's below root's own folder.
fn possible(stage: &Stage) -> bool {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let open =
        |folder: &Path| std::fs::metadata(folder).is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0);
    !root || stage.postgres.bin_dir.ancestors().all(open)
}

fn left(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()).collect()
}

/// Processes that have the folder among their arguments.
fn processes(folder: &Path) -> Vec<String> {
    let folder = folder.display().to_string();
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok())
        .filter(|line| line.contains("postgres") && line.contains(&folder))
        .collect()
}

#[tokio::test]
async fn a_backup_of_everything_is_restored_compared_and_nothing_of_it_is_left() {
    let stage = Stage::full().await;
    if !possible(&stage) {
        let refused = stage.backup_db(&["--verify", "restored"]).await.expect(3);
        refused.says(&["may not enter", "--prove-into", "nothing was changed"]);
        return;
    }
    let folder = scratch();
    let asserts = stage.world.path("asserts.sql");
    std::fs::write(&asserts, "SELECT count(*) = 1000 FROM survey; -- and\nSELECT convert_from(lo_get(min(oid)), 'UTF8') = 'a large object' FROM pg_largeobject_metadata;\n").unwrap();
    let args = [
        "--verify",
        "restored",
        "--scratch-dir",
        folder.path().to_str().unwrap(),
        "--assert",
        asserts.to_str().unwrap(),
    ];
    let ran =
        stage.backup_db(&args).await.expect(0).says(&["2 assertions hold", "rows in 8 tables counted again"]);
    assert_eq!(output(&ran, "rung"), "restored");
    assert_eq!(stage.manifest(&ran).await["rung"], "restored");
    assert_eq!(left(folder.path()), Vec::<PathBuf>::new());

    std::fs::write(&asserts, "SELECT true;\nSELECT count(*) > 5000 FROM survey;").unwrap();
    let ran = stage.backup_db(&args).await.expect(5).says(&[
        "asserts.sql, line 2 does not hold: it returned f",
        "the backup is kept, and is verified up to read-back",
    ]);
    assert_eq!(output(&ran, "rung"), "read-back");
    assert_eq!(stage.manifest(&ran).await["rung"], "read-back");
    assert_eq!(left(folder.path()), Vec::<PathBuf>::new());
    for (text, why) in [("", "no statement"), ("SELECT 'x", "has no end")] {
        std::fs::write(&asserts, text).unwrap();
        stage.backup_db(&args).await.expect(2).says(&[why, "nothing was changed"]);
    }
}

#[tokio::test]
async fn a_restore_that_loses_rows_or_says_an_error_is_no_proof() {
    let stage = Stage::full().await;
    if !possible(&stage) {
        return;
    }
    let folder = scratch();
    // The last word of a restore is the database; the real pg_restore is let through but for that.
    let dump = stand_in(&stage, "pg_dump", "exec \"$REAL\" \"$@\"");
    let args = ["--verify", "restored", "--scratch-dir", folder.path().to_str().unwrap(), "--pg-dump", &dump];
    for (script, why) in [
        (
            "case \"$*\" in *--dbname*) exec \"$REAL\" --exclude-schema=none --schema=public \"$@\";; esac\nexec \"$REAL\" \"$@\"",
            "is missing",
        ),
        (
            "case \"$*\" in *--dbname*) cat >/dev/null; echo 'pg_restore: warning: errors ignored on restore: 819' >&2; exit 0;; esac\nexec \"$REAL\" \"$@\"",
            "819 errors",
        ),
        (
            "case \"$*\" in *--dbname*) head -c 100 >/dev/null; kill -9 $$;; esac\nexec \"$REAL\" \"$@\"",
            "killed by signal 9",
        ),
    ] {
        stand_in(&stage, "pg_restore", script);
        let ran = stage.backup_db(&args).await.expect(5).says(&[why, "verified up to read-back"]);
        assert_eq!(stage.manifest(&ran).await["rung"], "read-back");
        assert_eq!(left(folder.path()), Vec::<PathBuf>::new());
    }
}

#[tokio::test]
async fn a_scratch_server_that_cannot_be_had_is_refused_before_the_dump() {
    let stage = Stage::full().await;
    if !possible(&stage) {
        return;
    }
    let folder = scratch();
    let long = folder.path().join("x".repeat(90));
    std::fs::create_dir(&long).unwrap();
    for (args, code, says) in [
        (vec!["--scratch-dir", "/nonexistent"], 3, "/nonexistent"),
        (vec!["--scratch-dir", long.to_str().unwrap()], 3, "shorter folder"),
        // A file system without any room.
        (vec!["--scratch-dir", "/proc"], 3, "has 0 B free"),
    ] {
        let ran = stage.backup_db(&[&["--verify", "restored"][..], &args].concat()).await;
        ran.expect(code).says(&[says, "nothing was changed"]);
    }
    assert_eq!(stage.keys().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_proof_that_is_cancelled_takes_its_server_along() {
    let stage = Stage::full().await;
    if !possible(&stage) {
        return;
    }
    let folder = scratch();
    let dump = stand_in(&stage, "pg_dump", "exec \"$REAL\" \"$@\"");
    let mark = stage.world.path("restoring");
    let script = format!(
        "case \"$*\" in *--dbname*) touch '{}'; exec sleep 600;; esac\nexec \"$REAL\" \"$@\"",
        mark.display()
    );
    stand_in(&stage, "pg_restore", &script);
    let args = [
        "--verify",
        "restored",
        "--scratch-dir",
        folder.path().to_str().unwrap(),
        "--pg-dump",
        &dump,
        "--backup-id",
        "x",
    ];
    let child = stage.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    appears(&mark).await;
    assert_eq!(processes(folder.path()).len(), 1);
    signal(child.id().unwrap(), "-TERM");
    let ended =
        tokio::time::timeout(Duration::from_secs(30), child.wait_with_output()).await.unwrap().unwrap();
    assert_eq!(ended.status.code(), Some(143), "{}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!((left(folder.path()), processes(folder.path())), (Vec::new(), Vec::new()));

    // Killed without a word, its server stays; the next run ends it and takes its place.
    std::fs::remove_file(&mark).unwrap();
    let mut child = stage.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    appears(&mark).await;
    signal(child.id().unwrap(), "-KILL");
    child.wait().await.unwrap();
    assert_eq!((left(folder.path()).len(), processes(folder.path()).len()), (1, 1));
    stand_in(&stage, "pg_restore", "exec \"$REAL\" \"$@\"");
    let ran = stage.backup_db(&args).await.expect(0).says(&["which a run that was killed left"]);
    assert_eq!(output(&ran, "rung"), "restored");
    assert_eq!((left(folder.path()), processes(folder.path())), (Vec::new(), Vec::new()));
}

async fn appears(path: &Path) {
    let look = async {
        while !path.exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), look).await.unwrap();
}

fn signal(pid: u32, name: &str) {
    assert!(std::process::Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

#[tokio::test]
async fn a_named_server_lends_a_database_for_the_proof_and_gets_it_back() {
    let stage = Stage::full().await;
    let other =
        Postgres::start(Options { bin_dir: Some(stage.postgres.bin_dir.clone()), ..Options::default() })
            .await
            .unwrap();
    other.psql("CREATE ROLE tester LOGIN PASSWORD 'tester-pw' CREATEDB").await.unwrap();
    let url = format!("postgresql://tester@127.0.0.1:{}/postgres", other.port);
    let args = ["--verify", "restored", "--prove-into", &url];
    let prove = async |more: &[&str]| {
        let mut command = stage.command(&[&args[..], more].concat());
        command.env("PROVE_PGPASSWORD", "tester-pw");
        run(command).await
    };
    let databases = "SELECT string_agg(datname, ' ' ORDER BY 1) FROM pg_database";
    let before = other.psql(databases).await.unwrap();
    // Its roles are not there, and are not made: what is no business of a guest.
    prove(&[]).await.expect(5).says(&[
        "does not have the roles odd; role, volunteer",
        "\"odd; role\" does not exist",
        "verified up to read-back",
    ]);
    assert_eq!(other.psql(databases).await.unwrap(), before);
    other.psql("CREATE ROLE volunteer; CREATE ROLE \"odd; role\"; GRANT volunteer TO tester; CREATE DATABASE cutover_prove_00000000000000000000000000000000 OWNER tester").await.unwrap();
    let ran = prove(&[]).await.expect(0).says(&["drop the database cutover_prove_0000"]);
    assert_eq!(output(&ran, "rung"), "restored");
    assert_eq!(other.psql(databases).await.unwrap(), before);

    let own = format!("postgresql://postgres@127.0.0.1:{}/postgres", stage.postgres.port);
    let mut command = stage.command(&["--verify", "restored", "--prove-into", &own]);
    command.env("PROVE_PGPASSWORD", &stage.postgres.password);
    run(command).await.expect(3).says(&["the server that is backed up", "nothing was changed"]);
    let with_password = format!("postgresql://tester:tester-pw@127.0.0.1:{}/postgres", other.port);
    let ran = stage.backup_db(&["--verify", "restored", "--prove-into", &with_password]).await.expect(2);
    assert!(
        ran.stderr.contains("it holds a password") && !ran.stderr.contains("tester-pw"),
        "{}",
        ran.stderr
    );
    other.psql("ALTER ROLE tester NOCREATEDB").await.unwrap();
    prove(&[]).await.expect(3).says(&["may not make databases", "nothing was changed"]);
}

#[tokio::test]
async fn a_proof_on_a_named_server_that_is_cancelled_drops_its_database() {
    let stage = Stage::full().await;
    let other =
        Postgres::start(Options { bin_dir: Some(stage.postgres.bin_dir.clone()), ..Options::default() })
            .await
            .unwrap();
    let url = format!("postgresql://postgres@127.0.0.1:{}/postgres", other.port);
    let mut command = stage.command(&["--verify", "restored", "--prove-into", &url]);
    command.env("PROVE_PGPASSWORD", &other.password).stdout(Stdio::piped()).stderr(Stdio::piped());
    // The third reading of the dump is that of the restore.
    let hold = stage.world.front.hold("s3:GetObject#3", When::BeforeForward);
    let child = command.spawn().unwrap();
    hold.arrived().await;
    let databases = "SELECT count(*) FROM pg_database WHERE datname LIKE 'cutover%'";
    assert_eq!(other.psql(databases).await.unwrap(), "1");
    signal(child.id().unwrap(), "-INT");
    let ended =
        tokio::time::timeout(Duration::from_secs(30), child.wait_with_output()).await.unwrap().unwrap();
    drop(hold);
    assert_eq!(ended.status.code(), Some(130), "{}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!(other.psql(databases).await.unwrap(), "0");
}

#[tokio::test]
async fn an_extension_that_the_scratch_server_lacks_is_named_before_the_dump() {
    let Some(extension) = missing_in_some().await else { return };
    let (with, without, name) = extension;
    let stage = Stage { postgres: with, ..Stage::start().await };
    stage.sql(&format!("CREATE EXTENSION {name}")).await;
    let url = format!("postgresql://postgres@127.0.0.1:{}/postgres", without.port);
    let mut command = stage.command(&["--verify", "restored", "--prove-into", &url]);
    command.env("PROVE_PGPASSWORD", &without.password);
    run(command).await.expect(3).says(&["lacks the extensions", &name, "nothing was changed"]);
}

/// A server with an extension, and one that is not older and lacks it, if this machine has such a pair.
async fn missing_in_some() -> Option<(Postgres, Postgres, String)> {
    let mut installed = testkit::postgres::installations().unwrap();
    installed.sort_by_key(|installation| installation.major);
    let [old, .., new] = installed.as_slice() else { return None };
    let start = async |installation: &testkit::postgres::Installation| {
        let options = Options {
            bin_dir: Some(installation.bin_dir.clone()),
            database: Some("rally".into()),
            ..Options::default()
        };
        Postgres::start(options).await.unwrap()
    };
    let (with, without) = (start(old).await, start(new).await);
    let list = "SELECT string_agg(name, ' ') FROM pg_available_extensions WHERE name IN ('hstore', 'citext', 'pg_trgm')";
    let (there, here) = (with.psql(list).await.unwrap(), without.psql(list).await.unwrap());
    let name = there.split(' ').find(|name| !name.is_empty() && !here.contains(name))?.to_owned();
    Some((with, without, name))
}
