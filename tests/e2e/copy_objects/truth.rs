//! On the S3 that refuses what S3 refuses: pins, sums, sizes, and what is taken up.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use testkit::front::When;
use testkit::s3::Options;

use super::stage::{MIB, PARTS, Stage, twelve};
use crate::world::run;

/// Twelve MiB that differ from [`twelve`] in one part.
fn other() -> Vec<u8> {
    let mut other = twelve();
    other[6 * MIB] ^= 1;
    other
}

impl Stage {
    /// Runs until the call arrives, and is killed there.
    async fn killed_at(&self, call: &str, when: When, args: &[&str]) {
        let hold = self.front.hold(call, when);
        let mut child = self.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        hold.arrived().await;
        child.kill().await.unwrap();
        drop(hold);
    }

    fn copied_parts(&self) -> usize {
        self.writes().iter().filter(|name| *name == "s3:UploadPartCopy").count()
    }

    /// An unfinished upload to `big.tar` of the first two parts of another object.
    async fn begin(&self, source: &str) {
        let path = format!("{}/big.tar", self.new);
        let headers = [("x-amz-checksum-algorithm", "CRC64NVME"), ("x-amz-checksum-type", "FULL_OBJECT")];
        let answer = self.send("POST", &format!("{path}?uploads"), &headers, Vec::new()).await;
        let text = answer.text().await.unwrap();
        let id = text.split("<UploadId>").nth(1).unwrap().split("</UploadId>").next().unwrap();
        for (part, range) in [(1, "bytes=0-5242879"), (2, "bytes=5242880-10485759")] {
            let source = format!("{}/{source}", self.old);
            let headers = [("x-amz-copy-source", &*source), ("x-amz-copy-source-range", range)];
            self.send("PUT", &format!("{path}?partNumber={part}&uploadId={id}"), &headers, Vec::new()).await;
        }
    }
}

fn long_ago(seconds: u64) -> SystemTime {
    SystemTime::now() - Duration::from_secs(seconds)
}

#[tokio::test]
async fn an_interrupted_copy_in_parts_is_taken_up() {
    let stage = Stage::on_double(Options { largest_copy: 8 * MIB as u64, ..Options::default() }).await;
    stage.double().put(&stage.old, "big.tar", twelve());
    stage.double().set_modified(&stage.old, "big.tar", long_ago(600));
    let (from, to) = (stage.from("big.tar"), stage.to("big.tar"));
    let args = [&["--from", &*from, "--to", &to][..], &PARTS].concat();
    stage.killed_at("s3:CompleteMultipartUpload", When::BeforeForward, &args).await;
    assert_eq!(stage.double().unfinished(&stage.new), ["big.tar"]);
    stage.front.forget();
    let ran =
        stage.copy("big.tar", &PARTS).await.expect(0).says(&["taking up the upload", "3 parts are there"]);
    assert_eq!(ran.json()["outputs"]["verified-by"], "CRC-64/NVME of the whole object");
    assert_eq!(stage.copied_parts(), 0);
    // S3 is told what the whole has to be.
    assert_eq!(
        stage.spy.sent("CompleteMultipartUpload", "x-amz-checksum-crc64nvme").last().unwrap().len(),
        12
    );
    assert!(stage.double().object(&stage.new, "big.tar").unwrap().body == twelve());
    assert!(stage.double().unfinished(&stage.new).is_empty());
    stage.is_played();
}

#[tokio::test]
async fn an_upload_of_something_else_is_refused_by_s3_and_begun_anew() {
    let stage = Stage::on_double(Options::default()).await;
    stage.double().put(&stage.old, "big.tar", twelve());
    stage.double().put(&stage.old, "other.tar", other());
    stage.double().set_modified(&stage.old, "big.tar", long_ago(600));
    stage.begin("other.tar").await;
    stage.front.forget();
    stage.copy("big.tar", &PARTS).await.expect(0).says(&["2 parts are there", "beginning anew", "BadDigest"]);
    assert!(stage.double().object(&stage.new, "big.tar").unwrap().body == twelve());
    assert!(stage.double().unfinished(&stage.new).is_empty());
    assert_eq!(stage.copied_parts(), 1 + 3);
}

#[tokio::test]
async fn what_the_rule_does_not_hold_for_is_begun_anew() {
    let stage = Stage::on_double(Options::default()).await;
    stage.double().put(&stage.old, "big.tar", twelve());
    // The upload is older than the source.
    stage.begin("big.tar").await;
    stage.double().set_modified(&stage.old, "big.tar", SystemTime::now() + Duration::from_mins(1));
    stage.copy("big.tar", &PARTS).await.expect(0).says(&["is not taken up: the source is newer"]);
    assert!(stage.double().unfinished(&stage.new).is_empty());
    // What lies beside it would be newer than the copy.
    stage.send("DELETE", &format!("{}/big.tar", stage.new), &[], Vec::new()).await;
    stage.double().set_modified(&stage.old, "big.tar", long_ago(600));
    stage.begin("big.tar").await;
    stage.double().put(&stage.new, "beside.tar", "x");
    stage.double().set_modified(&stage.new, "beside.tar", SystemTime::now() + Duration::from_mins(1));
    stage.copy("big.tar", &PARTS).await.expect(0).says(&["is not taken up: an object beside it"]);
    // A copy that was taken up and begun with other attributes is said to be.
    stage.send("DELETE", &format!("{}/big.tar", stage.new), &[], Vec::new()).await;
    stage.send("DELETE", &format!("{}/beside.tar", stage.new), &[], Vec::new()).await;
    stage.put("typed.tar", &[("content-type", "application/x-tar")], twelve()).await;
    stage.double().set_modified(&stage.old, "typed.tar", long_ago(600));
    stage.begin("typed.tar").await;
    let (from, to) = (stage.from("typed.tar"), stage.to("big.tar"));
    let args = [&["--from", &*from, "--to", &to][..], &PARTS].concat();
    run(stage.command(&args)).await.expect(5).says(&[
        "had been begun otherwise",
        "Content-Type",
        "--replace",
    ]);
    run(stage.command(&[&args[..], &["--replace"]].concat())).await.expect(0);
    assert!(stage.double().unfinished(&stage.new).is_empty());
    stage.is_played();
}

#[tokio::test]
async fn killed_at_any_call_of_a_copy_in_parts_it_ends_whole_and_leaves_nothing() {
    let stage = Stage::on_double(Options { largest_copy: 8 * MIB as u64, ..Options::default() }).await;
    stage.double().put(&stage.old, "big.tar", twelve());
    stage.double().set_modified(&stage.old, "big.tar", long_ago(600));
    let (from, to) = (stage.from("big.tar"), stage.to("big.tar"));
    let args = [&["--from", &*from, "--to", &to][..], &PARTS].concat();
    for call in ["s3:CreateMultipartUpload", "s3:UploadPartCopy#2", "s3:CompleteMultipartUpload"] {
        for when in [When::BeforeForward, When::AfterEffect] {
            stage.killed_at(call, when, &args).await;
            stage.copy("big.tar", &PARTS).await.expect(0);
            assert!(
                stage.double().object(&stage.new, "big.tar").unwrap().body == twelve(),
                "{call} {when:?}"
            );
            assert!(stage.double().unfinished(&stage.new).is_empty(), "{call} {when:?}");
            stage.send("DELETE", &format!("{}/big.tar", stage.new), &[], Vec::new()).await;
        }
    }
    stage.is_played();
}

#[tokio::test]
async fn a_tree_over_many_pages_keeps_its_newest_and_its_large() {
    let stage =
        Stage::on_double(Options { page: 7, largest_copy: 8 * MIB as u64, ..Options::default() }).await;
    for n in 0..40_u64 {
        let key = format!("tree/sync/{n:02}.tar");
        stage.double().put(&stage.old, &key, format!("backup {n}"));
        stage.double().set_modified(&stage.old, &key, long_ago(7200 + (n * 7) % 40));
    }
    // Written in parts, so that its ETag is no MD5; and one without any checksum, as old objects have none.
    stage.double().put(&stage.old, "tree/big.tar", twelve());
    stage.double().set_modified(&stage.old, "tree/big.tar", long_ago(9000));
    stage.double().forget_checksum(&stage.old, "tree/sync/03.tar");
    let (from, to) = (stage.from("tree/"), stage.to("kept/"));
    let args = [&["--from", &*from, "--to", &to, "--tree"][..], &PARTS].concat();
    stage.killed_at("s3:CompleteMultipartUpload", When::BeforeForward, &args).await;
    let ran = run(stage.command(&args)).await.expect(0);
    assert_eq!(ran.json()["outputs"]["objects"], "41");
    assert!(stage.double().unfinished(&stage.new).is_empty());
    assert!(stage.double().object(&stage.new, "kept/big.tar").unwrap().body == twelve());
    let copied = stage.spy.sent("CopyObject", "x-amz-copy-source");
    assert!(copied.last().unwrap().ends_with("tree/sync/00.tar"), "{}", copied.last().unwrap());
    run(stage.command(&["--action", "compare", "--from", &from, "--to", &to])).await.expect(0);
    stage.front.forget();
    run(stage.command(&args)).await.expect(0);
    assert_eq!(stage.writes(), Vec::<String>::new());
    // A byte that turned over is found, where S3 still says what the object should be.
    let latest = stage.to("latest/");
    run(stage.command(&["--from", &from, "--latest", "--to", &latest]))
        .await
        .expect(0)
        .says(&["tree/sync/00.tar"]);
    stage.is_played();
}

#[tokio::test]
async fn two_principals_of_which_each_may_only_its_own() {
    let stage = Stage::on_double(Options::default()).await;
    stage
        .put("big.tar", &[("content-type", "application/x-tar"), ("x-amz-meta-jenkins", "2.5")], twelve())
        .await;
    stage.put("tree/a", &[("x-amz-tagging", "keep=yes")], "a").await;
    stage.double().only_for(&stage.old, &["THEIRKEY"]);
    stage.double().only_for(&stage.new, &["test"]);
    fs::create_dir(stage.path(".aws")).unwrap();
    let profile = "[profile other]\naws_access_key_id = THEIRKEY\naws_secret_access_key = x\n";
    fs::write(stage.path(".aws/config"), profile).unwrap();
    stage.copy("big.tar", &[]).await.expect(1).says(&["reach the bucket old-jenkins", "nothing was changed"]);
    let other = ["--through", "--source-profile", "other"];
    let ran = stage.copy("big.tar", &other).await.expect(0);
    assert_eq!(ran.json()["outputs"]["verified-by"], "CRC-64/NVME of the whole object");
    let there = stage.double().object(&stage.new, "big.tar").unwrap();
    assert!(there.body == twelve());
    let (from, to) = (stage.from("tree/"), stage.to("kept/"));
    run(stage.command(&[&["--from", &*from, "--to", &to, "--tree"][..], &other].concat())).await.expect(0);
    assert_eq!(stage.double().keys(&stage.new), ["big.tar", "kept/a"]);
    stage.copy("big.tar", &["--through", "--source-profile", "absent"]).await.expect(1).says(&["absent"]);
    stage.is_played();
}

#[tokio::test]
async fn a_bucket_of_somebody_else_and_one_elsewhere() {
    let stage = Stage::on_double(Options::default()).await;
    stage.double().put(&stage.old, "tree/a", "a");
    stage.double().set_owner(&stage.old, "999999999999");
    let (from, to) = (stage.from("tree/"), stage.to("kept/"));
    let args = ["--from", &*from, "--to", &to, "--tree"];
    let owned = |owner: &'static str| [&args[..], &["--expect-source-owner", owner]].concat();
    run(stage.command(&owned("123456789012"))).await.expect(1).says(&["old-jenkins", "nothing was changed"]);
    stage.double().set_region(&stage.old, "eu-west-1");
    run(stage.command(&owned("999999999999"))).await.expect(0).says(&["eu-west-1 to us-east-1"]);
    assert_eq!(stage.double().keys(&stage.new), ["kept/a"]);
}

#[tokio::test]
async fn a_file_in_parts_is_checked_by_s3() {
    let stage = Stage::on_double(Options::default()).await;
    fs::write(stage.path("big.tar"), twelve()).unwrap();
    let to = stage.to("");
    let ran = run(stage.command(&["--from", "big.tar", "--to", &to])).await.expect(0);
    assert_eq!(ran.json()["outputs"]["verified-by"], "size and CRC-64/NVME of the whole object");
    let there = stage.double().object(&stage.new, "big.tar").unwrap();
    assert!(there.body == twelve());
    assert_eq!(there.content_type.as_deref(), Some("application/x-tar"));
    stage.is_played();
}
