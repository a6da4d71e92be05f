//! Whole backups.

use std::sync::atomic::Ordering;

use kit::{Code, Receipt};
use postgres::Rung;
use s3::Bucket;
use testkit::front::{Fault, When};
use tokio::process::Command;

use super::{World, fake_pg_dump, said};

#[tokio::test]
async fn a_backup_is_whole_proven_and_described_and_the_same_id_is_not_made_again() {
    let world = World::new().await;
    let made = world.run(&["--backup-id=acme/rally/77"]).await.unwrap();
    assert!(made.changed);

    let manifest = world.manifest().await;
    let stamp = "20261121T120000Z";
    let system = manifest.system_identifier.clone().unwrap();
    let dump = format!("{stamp}-{system}-acme-rally-77.dump.zst");
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
    std::fs::write(file.path(), zstd::decode_all(&*bytes).unwrap()).unwrap();
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
    world.run_in(&cx, &[]).await.unwrap();
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
    let failure =
        world.run_in(&cx, &["--pg-dump", fake.to_str().unwrap(), "--no-globals"]).await.unwrap_err();
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
    world.run_in(&cx, &[]).await.unwrap();
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
    let (one, two) = tokio::join!(world.run_in(&first, &["--backup-id=once"]), async {
        hold.arrived().await;
        let second_run = world.run_in(&second, &["--backup-id=once"]);
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
    assert!(one.unwrap().changed);
    assert!(!two.unwrap().changed, "the first one's backup is the second one's");
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
