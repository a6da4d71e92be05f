//! `--action restore`, and taking it back.

use std::process::Stdio;
use std::time::Duration;

use testkit::front::{Fault, When};

use super::{Stage, output, stand_in};

#[tokio::test]
async fn a_backup_becomes_a_new_database_and_is_taken_back_while_it_is_what_it_was() {
    let stage = Stage::full().await;
    let manifest = output(&stage.backup_db(&[]).await.expect(0), "manifest-uri");
    let receipt = stage.world.path("restore.json").display().to_string();
    let restore = ["--action", "restore", "--backup", &manifest, "--into", "rally; \"2\""];
    let before = stage.databases().await;
    stage
        .backup_db(&[&restore[..], &["--dry-run"]].concat())
        .await
        .expect(0)
        .says(&["into the new database", "ANALYZE"]);
    assert_eq!(stage.databases().await, before);
    let ran = stage.backup_db(&[&restore[..], &["--receipt", &receipt]].concat()).await.expect(0);
    assert_eq!(output(&ran, "database"), "rally; \"2\"");
    let name = "rally; \"2\"";
    assert_eq!(stage.sql_in(name, "SELECT count(*), max(words) FROM survey").await, "1000|11");
    assert_eq!(
        stage.sql_in(name, "SELECT tableowner FROM pg_tables WHERE tablename = 'survey'").await,
        "volunteer"
    );
    assert_eq!(stage.sql_in(name, "SELECT count(*) FROM titles").await, "1000");
    assert_eq!(stage.sql_in(name, "INSERT INTO survey (title) VALUES ('x') RETURNING id").await, "1001");
    // The second run finds it made. What is in it now is somebody's.
    let again = stage.backup_db(&restore).await.expect(0);
    assert_eq!(output(&again, "changed"), "false");
    stage
        .backup_db(&["--undo", &receipt])
        .await
        .expect(3)
        .says(&["written to since it was restored (rows: 1 inserted)", "nothing was changed"]);
    // One that has as many rows again was written to all the same.
    stage.sql_in(name, "DELETE FROM survey WHERE title = 'x'").await;
    stage
        .backup_db(&["--undo", &receipt])
        .await
        .expect(3)
        .says(&["1 inserted, 1 deleted", "nothing was changed"]);
    assert!(stage.databases().await.contains(name));
    let receipt = stage.world.path("another.json").display().to_string();
    let another = ["--action", "restore", "--backup", &manifest, "--into", "another", "--receipt", &receipt];
    stage.backup_db(&another).await.expect(0);
    stage.backup_db(&["--undo", &receipt]).await.expect(0).says(&["drop the database another"]);
    assert!(!stage.databases().await.contains("another"));
}

#[tokio::test]
async fn a_restored_database_that_somebody_writes_to_or_is_connected_to_is_not_dropped() {
    let stage = Stage::full().await;
    let restored = async |name: &str, more: &[&str]| {
        let manifest = output(&stage.backup_db(more).await.expect(0), "manifest-uri");
        let receipt = stage.world.path(&format!("{name}.json")).display().to_string();
        let restore = ["--action", "restore", "--backup", &manifest, "--into", name, "--receipt", &receipt];
        stage.backup_db(&restore).await.expect(0);
        receipt
    };
    // A table above the limit is not counted, and no count sees an update.
    let receipt = restored("live", &["--count-limit", "500"]).await;
    let undo = async || stage.backup_db(&["--undo", &receipt]).await;
    let script = "SELECT pg_sleep(600)";
    let mut command = tokio::process::Command::new(stage.postgres.bin_dir.join("psql"));
    stage
        .connected(command.args(["-X", "-c", script]))
        .env("PGDATABASE", "live")
        .env("PGAPPNAME", "rally-web");
    let mut app = command.kill_on_drop(true).spawn().unwrap();
    let connected = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'rally-web'";
    while stage.sql(connected).await != "1" {
        tokio::task::yield_now().await;
    }
    undo()
        .await
        .expect(3)
        .says(&["somebody is connected to it: rally-web as postgres", "nothing was changed"]);
    assert_eq!(stage.sql(connected).await, "1", "nobody's session is ended");
    stage
        .sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'rally-web'")
        .await;
    app.wait().await.unwrap();
    stage.sql_in("live", "UPDATE survey SET title = 'answered' WHERE id <= 3").await;
    undo()
        .await
        .expect(3)
        .says(&["written to since it was restored (rows: 3 updated)", "nothing was changed"]);
    stage.sql_in("live", "SELECT pg_stat_reset()").await;
    undo().await.expect(3).says(&["can't be told", "counters were reset"]);
    assert!(stage.databases().await.contains("live"));

    // Nothing was counted: there is nothing to compare it with.
    let bare = restored("bare", &["--count-limit", "0", "--backup-id", "bare"]).await;
    stage.backup_db(&["--undo", &bare]).await.expect(3).says(&["no counts to compare it with"]);
    let large = restored("large", &["--count-limit", "500", "--backup-id", "large"]).await;
    stage.backup_db(&["--undo", &large]).await.expect(0).says(&["drop the database large"]);
}

#[tokio::test]
async fn a_database_that_is_there_is_never_touched() {
    let stage = Stage::full().await;
    stage.backup_db(&[]).await.expect(0);
    let latest = |into: &'static str| {
        ["--action", "restore", "--backup", "latest", "--database", "rally", "--into", into]
    };
    stage
        .backup_db(&latest("rally"))
        .await
        .expect(3)
        .says(&["there is a database rally", "nothing was changed"]);
    stage.sql("CREATE DATABASE empty").await;
    stage.backup_db(&latest("empty")).await.expect(3).says(&["there is a database empty"]);
    assert_eq!(stage.sql("SELECT count(*) FROM survey").await, "1000");
    stage.backup_db(&latest("fresh")).await.expect(0);
    assert_eq!(stage.databases().await, "empty fresh postgres rally");
}

#[tokio::test]
async fn what_is_no_backup_is_not_restored() {
    let stage = Stage::full().await;
    let none = ["--action", "restore", "--backup", "latest", "--database", "rally", "--into", "x"];
    stage.backup_db(&none).await.expect(3).says(&["none of the 0"]);
    let ran = stage.backup_db(&["--verify", "present"]).await.expect(0);
    stage.backup_db(&none).await.expect(3).says(&["none of the 1", "(read-back)"]);
    let manifest = output(&ran, "manifest-uri");
    let restore = |uri: &str| {
        let uri = uri.to_owned();
        let stage = &stage;
        async move { stage.backup_db(&["--action", "restore", "--backup", &uri, "--into", "x"]).await }
    };
    restore(&manifest).await.expect(3).says(&["verified up to present only", "--min-rung present"]);
    restore(&output(&ran, "backup-uri")).await.expect(2).says(&["does not end in .manifest.json"]);
    restore(&manifest.replace("manifest", "x.manifest")).await.expect(3).says(&["there is no such object"]);
    // The dump is another by now.
    let key = output(&ran, "backup-uri").replace(&format!("s3://{}/", stage.bucket), "");
    stage.put(&key, b"PGDMP something else".into()).await;
    restore(&manifest).await.expect(3).says(&["no longer what its manifest says", "nothing was changed"]);
    assert_eq!(stage.databases().await, "postgres rally");
}

#[tokio::test]
async fn a_restore_that_fails_or_is_cancelled_leaves_no_database() {
    let stage = Stage::full().await;
    let manifest = output(&stage.backup_db(&[]).await.expect(0), "manifest-uri");
    let dump = stand_in(&stage, "pg_dump", "exec \"$REAL\" \"$@\"");
    let restore = ["--action", "restore", "--backup", &manifest, "--into", "fresh", "--pg-dump", &dump];
    for (script, code, why) in [
        ("head -c 2000 | \"$REAL\" \"$@\"; kill -9 $$", 1, "killed by signal 9"),
        ("exec \"$REAL\" --schema=public \"$@\"", 5, "is missing"),
    ] {
        stand_in(&stage, "pg_restore", script);
        stage.backup_db(&restore).await.expect(code).says(&[why, "nothing was changed"]);
        assert_eq!(stage.databases().await, "postgres rally");
    }
    stand_in(&stage, "pg_restore", "exec \"$REAL\" \"$@\"");
    stage.world.front.set_faults([Fault::access_denied("s3:GetObject#2").times(9)]);
    stage.backup_db(&restore).await.expect(1).says(&["s3:GetObject", "nothing was changed"]);
    stage.world.front.set_faults([]);
    assert_eq!(stage.databases().await, "postgres rally");

    let spawn = || stage.command(&restore).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let signal = |pid: u32, name: &str| {
        assert!(
            std::process::Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success()
        );
    };
    let hold = stage.world.front.hold("s3:GetObject#2", When::BeforeForward);
    let child = spawn();
    hold.arrived().await;
    signal(child.id().unwrap(), "-TERM");
    let ended =
        tokio::time::timeout(Duration::from_secs(30), child.wait_with_output()).await.unwrap().unwrap();
    drop(hold);
    assert_eq!(ended.status.code(), Some(143), "{}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!(stage.databases().await, "postgres rally");

    // Killed, it leaves its interim database, which never had the name; the next run drops it and ends as if undisturbed.
    let hold = stage.world.front.hold("s3:GetObject#2", When::BeforeForward);
    let mut child = spawn();
    hold.arrived().await;
    signal(child.id().unwrap(), "-KILL");
    child.wait().await.unwrap();
    drop(hold);
    assert!(stage.databases().await.starts_with("cutover_restore_"));
    while stage
        .sql("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'cutover_restore%'")
        .await
        != "0"
    {
        tokio::task::yield_now().await;
    }
    stage.backup_db(&restore).await.expect(0).says(&["which an earlier restore left half done"]);
    assert_eq!(stage.databases().await, "fresh postgres rally");
}

#[tokio::test]
async fn a_restore_outlasts_the_time_that_the_server_gives_idle_sessions() {
    let stage = Stage::full().await;
    let manifest = output(&stage.backup_db(&[]).await.expect(0), "manifest-uri");
    // There from 14 on; the oldest that is tested with is newer.
    stage.sql("ALTER SYSTEM SET idle_session_timeout = '500ms'").await;
    stage.sql("SELECT pg_reload_conf()").await;
    let dump = stand_in(&stage, "pg_dump", "exec \"$REAL\" \"$@\"");
    stand_in(&stage, "pg_restore", "case \"$*\" in *--dbname*) sleep 2;; esac; exec \"$REAL\" \"$@\"");
    stage
        .backup_db(&["--action", "restore", "--backup", &manifest, "--into", "slow", "--pg-dump", &dump])
        .await
        .expect(0);
    assert_eq!(stage.databases().await, "postgres rally slow");
}

#[tokio::test]
async fn roles_that_are_missing_are_named_before_anything_is_made() {
    let stage = Stage::full().await;
    let manifest = output(&stage.backup_db(&[]).await.expect(0), "manifest-uri");
    let other = testkit::postgres::Postgres::start(testkit::postgres::Options {
        bin_dir: Some(stage.postgres.bin_dir.clone()),
        ..Default::default()
    })
    .await
    .unwrap();
    let restore = async |more: &[&str]| {
        let mut command = stage.command(
            &[&["--action", "restore", "--backup", &manifest, "--into", "moved"][..], more].concat(),
        );
        command
            .env("PGPORT", other.port.to_string())
            .env("PGPASSWORD", &other.password)
            .env("PGDATABASE", "postgres");
        crate::world::run(command).await
    };
    restore(&[]).await.expect(3).says(&[
        "lacks the roles odd; role, volunteer",
        ".globals.sql has them",
        "--no-owner",
    ]);
    other.psql("CREATE ROLE volunteer; CREATE ROLE \"odd; role\"").await.unwrap();
    restore(&[]).await.expect(0).says(&["restore s3://"]);
    assert_eq!(other.psql("SELECT count(*) FROM pg_database WHERE datname = 'moved'").await.unwrap(), "1");
}
