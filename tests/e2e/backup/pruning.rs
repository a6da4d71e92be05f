//! `--action list` and `--action prune`.

use serde_json::{Value, json};
use testkit::front::Fault;

use super::{Stage, output};

/// Puts copies of a backup beside it, so many days older each, with rungs of their own.
async fn age(stage: &Stage, manifest: &Value, days: &[(i64, &str)]) {
    let key = manifest["key"].as_str().unwrap();
    let dump = stage.object(key).await;
    for (days, rung) in days {
        let (folder, name) = key.rsplit_once('/').unwrap();
        let older = format!("{folder}/202501{days:02}T000000Z-{}", name.split_once('-').unwrap().1);
        stage.put(&older, dump.clone()).await;
        let mut copy = manifest.clone();
        copy["key"] = json!(older);
        copy["etag"] = json!(etag(stage, &older).await);
        copy["rung"] = json!(rung);
        copy["globals_key"] = Value::Null;
        copy["started"] = json!(format!("2025-01-{days:02}T00:00:00Z"));
        stage.put(&format!("{older}.manifest.json"), serde_json::to_vec(&copy).unwrap()).await;
    }
}

async fn etag(stage: &Stage, key: &str) -> String {
    let url = format!("{}/{}/{key}", crate::world::shared_emulator().await.url(), stage.bucket);
    let answer = crate::world::client().head(url).send().await.unwrap();
    answer.headers()["etag"].to_str().unwrap().to_owned()
}

fn manifests(keys: &[String]) -> usize {
    keys.iter().filter(|key| key.ends_with(".manifest.json")).count()
}

#[tokio::test]
async fn a_listing_shows_the_newest_first_and_everything_as_what_it_is() {
    let stage = Stage::full().await;
    let empty = stage.backup_db(&["--action", "list"]).await.expect(0);
    assert!(empty.json()["headline"].as_str().unwrap().starts_with("there is no backup of rally"));
    let ran = stage.backup_db(&[]).await.expect(0);
    age(&stage, &stage.manifest(&ran).await, &[(9, "read-back"), (16, "present")]).await;
    let folder = stage.keys().await[0].rsplit_once('/').unwrap().0.to_owned();
    stage.put(&format!("{folder}/20250120T000000Z-1-x.dump"), b"PGDMP".into()).await;
    stage.put(&format!("{folder}/20250121T000000Z-1-x.dump.manifest.json"), b"{".into()).await;
    stage.world.front.forget();
    let list = stage.backup_db(&["--action", "list"]).await.expect(0);
    assert_eq!(stage.world.writes(), Vec::<String>::new());
    let shelf = &list.json()["shelf"];
    let times: Vec<&str> = shelf["backups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| b["manifest"]["started"].as_str().unwrap())
        .collect();
    assert_eq!(times[1..], ["2025-01-16T00:00:00Z", "2025-01-09T00:00:00Z"]);
    assert!(shelf["without-manifest"][0].as_str().unwrap().ends_with("20250120T000000Z-1-x.dump"));
    assert!(shelf["unreadable"][0]["why"].as_str().unwrap().contains("not JSON"));
    assert_eq!(output(&list, "manifest-uri"), output(&ran, "manifest-uri"));
    // Another database's, and all of them.
    let other = stage.backup_db(&["--action", "list", "--database", "other"]).await.expect(0);
    assert_eq!(other.json()["shelf"]["backups"], json!([]));
    let mut command = stage.command(&["--action", "list", "--format", "text"]);
    command.env_remove("PGDATABASE");
    let all = crate::world::run(command).await.expect(0);
    assert!(
        all.stdout.contains("3 backups below s3://") && all.stdout.contains("a dump without a manifest"),
        "{}",
        all.stdout
    );
}

#[tokio::test]
async fn what_is_not_needed_goes_and_a_second_run_finds_nothing_to_do() {
    let stage = Stage::full().await;
    let ran = stage.backup_db(&[]).await.expect(0);
    age(
        &stage,
        &stage.manifest(&ran).await,
        &[(1, "read-back"), (2, "read-back"), (3, "present"), (4, "read-back")],
    )
    .await;
    let prune = ["--action", "prune", "--keep", "2"];
    let all = stage.keys().await;
    stage
        .backup_db(&[&prune[..], &["--dry-run"]].concat())
        .await
        .expect(0)
        .says(&["delete the backup of 2025-01-01", "stays: the backup of 2025-01-04"]);
    assert_eq!(stage.keys().await, all);
    let ran = stage.backup_db(&prune).await.expect(0);
    assert!(ran.json()["headline"].as_str().unwrap().starts_with("3 backups are deleted"), "{ran:?}");
    let deleted: Vec<String> = stage
        .world
        .front
        .writes()
        .iter()
        .filter(|call| call.operation == "DeleteObject")
        .map(|call| call.request["key"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(deleted.len(), 6);
    assert!(deleted.iter().step_by(2).all(|path| path.contains("manifest.json")), "{deleted:?}");
    assert_eq!(manifests(&stage.keys().await), 2);
    stage.world.front.forget();
    let again = stage.backup_db(&prune).await.expect(0);
    assert_eq!(output(&again, "changed"), "false");
    assert_eq!(stage.world.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn with_one_verified_backup_left_nothing_goes() {
    let stage = Stage::full().await;
    let prune = ["--action", "prune", "--keep", "1", "--keep-for", "0s"];
    stage
        .backup_db(&prune)
        .await
        .expect(3)
        .says(&["there is no verified backup of rally", "make a new one first"]);
    let ran = stage.backup_db(&["--verify", "present"]).await.expect(0);
    age(&stage, &stage.manifest(&ran).await, &[(1, "read-back"), (2, "read-back")]).await;
    let all = stage.keys().await;
    // The newest was never read back, and what was is too old to be the last.
    stage.backup_db(&prune).await.expect(3).says(&["nothing was changed"]);
    assert_eq!(stage.keys().await, all);
    let ran = stage.backup_db(&["--backup-id", "good"]).await.expect(0);
    stage.backup_db(&prune).await.expect(0);
    assert_eq!(manifests(&stage.keys().await), 1);
    // Its dump is damaged: it counts for nothing, and goes nowhere.
    let key = output(&ran, "backup-uri").replace(&format!("s3://{}/", stage.bucket), "");
    stage.put(&key, b"PGDMP".into()).await;
    stage.backup_db(&prune).await.expect(3).says(&["there is no verified backup"]);
}

#[tokio::test]
async fn a_prune_that_dies_half_way_is_finished_by_the_next_and_denied_ones_say_so() {
    let stage = Stage::full().await;
    let ran = stage.backup_db(&[]).await.expect(0);
    age(&stage, &stage.manifest(&ran).await, &[(1, "read-back"), (2, "read-back")]).await;
    let prune = ["--action", "prune", "--keep", "1"];
    stage.world.front.set_faults([Fault::access_denied("s3:DeleteObject")]);
    stage.backup_db(&prune).await.expect(1).says(&["s3:DeleteObject", "nothing was changed"]);
    stage.world.front.set_faults([Fault::access_denied("s3:DeleteObject#2")]);
    stage.backup_db(&prune).await.expect(4).says(&["its manifest is gone", "is left"]);
    assert_eq!(manifests(&stage.keys().await), 2, "what is half deleted is no backup");
    stage.world.front.set_faults([]);
    stage.backup_db(&prune).await.expect(0);
    assert_eq!(manifests(&stage.keys().await), 1);
}
