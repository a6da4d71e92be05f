//! `--mode base` beside dumps of the same server: each is told from the other wherever backups are chosen or counted.

use serde_json::json;
use testkit::front::When;

use super::{Stage, output};
use crate::world::run;

fn manifests(keys: &[String], ending: &str) -> usize {
    keys.iter().filter(|key| key.ends_with(&format!("{ending}.manifest.json"))).count()
}

#[tokio::test]
async fn base_backups_and_dumps_are_listed_pruned_and_asked_for_apart() {
    let stage = Stage::full().await;
    // A database of that name keeps its dumps in the folder of the base backups.
    stage.sql("CREATE DATABASE base").await;
    let mut command = stage.command(&[]);
    command.env("PGDATABASE", "base");
    run(command).await.expect(0);
    let dump = stage.backup_db(&[]).await.expect(0);
    let base = stage.backup_db(&["--mode", "base", "--receipt", "base.json"]).await.expect(0);
    let manifest = stage.manifest(&base).await;
    assert_eq!((&manifest["kind"], &manifest["rung"]), (&json!("base"), &json!("read-back")));
    assert!(output(&base, "restore-command").contains("pg_verifybackup NEW_DATA_DIR"));

    let list = stage.backup_db(&["--mode", "base", "--action", "list"]).await.expect(0);
    assert_eq!(list.json()["shelf"]["backups"].as_array().unwrap().len(), 1);
    assert_eq!(output(&list, "manifest-uri"), output(&base, "manifest-uri"));
    let list = stage.backup_db(&["--action", "list", "--database", "base"]).await.expect(0);
    let kinds = |ran: &crate::world::Ran| -> Vec<String> {
        let backups = ran.json()["shelf"]["backups"].as_array().unwrap().clone();
        backups.iter().map(|backup| backup["manifest"]["kind"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(kinds(&list), ["dump"]);

    // Neither counts for the other when something is to go.
    let prune = ["--action", "prune", "--keep", "1", "--keep-for", "0s"];
    stage.backup_db(&[&prune[..], &["--mode", "base"]].concat()).await.expect(0);
    stage.backup_db(&[&prune[..], &["--database", "base"]].concat()).await.expect(0);
    assert_eq!(manifests(&stage.keys().await, ".base.tar.zst"), 1);
    stage.backup_db(&["--mode", "base"]).await.expect(0);
    stage.backup_db(&[&prune[..], &["--mode", "base"]].concat()).await.expect(0);
    let keys = stage.keys().await;
    assert_eq!(manifests(&keys, ".base.tar.zst"), 1, "{keys:?}");
    assert!(!keys.contains(&manifest["key"].as_str().unwrap().to_owned()), "the older one is gone");
    assert_eq!(keys.iter().filter(|key| key.contains(".dump")).count(), 6, "{keys:?}");

    // A restore of one kind does not take the other.
    let newest = stage.backup_db(&["--mode", "base", "--action", "list"]).await.expect(0);
    let uri = output(&newest, "manifest-uri");
    stage
        .backup_db(&["--action", "restore", "--backup", &uri, "--into", "new"])
        .await
        .expect(3)
        .says(&["of a whole server", "--into-dir"]);
    let dumped = output(&dump, "manifest-uri");
    let into = stage.world.path("new").display().to_string();
    stage
        .backup_db(&["--mode", "base", "--action", "restore", "--backup", &dumped, "--into-dir", &into])
        .await
        .expect(3)
        .says(&["it is a dump of one database"]);
    // Nor does a migration.
    let folder = stage.world.path("migrations");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("1_x.sql"), "CREATE TABLE x (y int);").unwrap();
    let mut command =
        stage.world.command(&["run-migration", "--migrations", "migrations", "--require-backup", &uri]);
    stage.connected(&mut command);
    run(command).await.expect(3).says(&["base", "nothing was changed"]);
}

#[tokio::test]
async fn undoing_deletes_what_the_run_wrote_and_only_that() {
    let stage = Stage::start().await;
    stage.backup_db(&[]).await.expect(0);
    let before = stage.keys().await;
    stage.backup_db(&["--mode", "base", "--receipt", "base.json"]).await.expect(0);
    assert_eq!(stage.keys().await.len(), before.len() + 2);
    stage.backup_db(&["--mode", "base", "--undo", "base.json"]).await.expect(0);
    assert_eq!(stage.keys().await, before);
}

#[tokio::test]
async fn a_dry_run_writes_nothing_neither_here_nor_there() {
    let stage = Stage::start().await;
    let ran = stage.backup_db(&["--mode", "base", "--dry-run"]).await.expect(0);
    assert!(ran.json()["headline"].as_str().unwrap().contains("2 changes would be made"), "{ran:?}");
    assert!(stage.world.writes().is_empty() && stage.keys().await.is_empty());
    assert_eq!(stage.sql("SELECT count(*) FROM pg_replication_slots").await, "0");
}

#[tokio::test]
async fn a_second_restore_into_the_folder_of_a_living_one_is_refused_and_takes_nothing_from_it() {
    let stage = Stage::start().await;
    let uri = output(&stage.backup_db(&["--mode", "base"]).await.expect(0), "manifest-uri");
    let into = stage.world.path("new").display().to_string();
    let restore = ["--mode", "base", "--action", "restore", "--backup", &uri, "--into-dir", &into];
    let hold = stage.world.front.hold("s3:GetObject#2", When::BeforeForward);
    let first = tokio::spawn(run(stage.command(&restore)));
    hold.arrived().await;
    // As the operator whose connection broke types it once more.
    for more in [&["--dry-run"][..], &[]] {
        stage
            .backup_db(&[&restore[..], more].concat())
            .await
            .expect(3)
            .says(&["another restore into this folder is under way", "nothing was changed"]);
    }
    drop(hold);
    first.await.unwrap().expect(0);
    let mut verify = tokio::process::Command::new(stage.postgres.bin_dir.join("pg_verifybackup"));
    verify.arg(&into);
    run(verify).await.expect(0);
    assert!(!stage.world.path(".new.cutover-unpacking").exists());
}
