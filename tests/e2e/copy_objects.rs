//! `copy-objects` as whole processes.

mod backups;
mod files;
pub(crate) mod stage;
mod through;
mod tree;
mod truth;

use std::process::Stdio;

use testkit::front::{Effect, Fault, When};
use tokio::process::Command;

use self::stage::{MD5, PARTS, Stage, twelve};
use crate::world::{ACCOUNT, own, run, shared_emulator, until};

#[tokio::test]
async fn a_copy_has_all_that_its_source_had_and_a_second_run_writes_nothing() {
    let stage = Stage::start().await;
    let headers = [
        ("content-type", "application/x-tar"),
        ("cache-control", "no-store"),
        ("x-amz-meta-jenkins", "a-secret"),
        ("x-amz-tagging", "keep=yes&team=a%26b"),
        ("x-amz-storage-class", "STANDARD_IA"),
    ];
    let key = "Backups/sync/a b+%C3%BC.tar";
    stage.put("Backups/sync/a%20b%2B%25C3%25BC.tar", &headers, "the whole of Jenkins").await;
    let dry = stage.copy(key, &["--dry-run"]).await.expect(0).says(&["one CopyObject", "delete"]);
    assert_eq!(dry.json()["outputs"]["changed"], "false");
    assert_eq!(stage.writes(), Vec::<String>::new());

    let to = stage.to("kept/");
    let receipt = stage.path("r.json").display().to_string();
    let from = stage.from(key);
    let args = ["--from", &from, "--to", &to, "--receipt", &receipt];
    let ran = run(stage.command(&args)).await.expect(0);
    assert_eq!(ran.json()["outputs"]["copy-uri"], format!("{to}a b+%C3%BC.tar"));
    assert_eq!(ran.json()["outputs"]["bytes"], "20");
    let kept = std::fs::read_to_string(&receipt).unwrap();
    assert!(kept.contains("\"jenkins\"") && !kept.contains("a-secret"), "{kept}");
    assert_eq!(stage.writes(), ["s3:CopyObject"]);
    for (header, value) in [
        ("x-amz-copy-source-if-match", MD5),
        ("if-none-match", "*"),
        ("x-amz-checksum-algorithm", "CRC64NVME"),
        ("x-amz-storage-class", "STANDARD_IA"),
    ] {
        assert_eq!(stage.spy.sent("CopyObject", header), [value], "{header}");
    }
    let copy = format!("{}/kept/a%20b%2B%25C3%25BC.tar", stage.new);
    let there = stage.send("GET", &copy, &[], Vec::new()).await;
    for (name, value) in headers.iter().filter(|(name, _)| *name != "x-amz-tagging") {
        assert_eq!(there.headers().get(*name).unwrap(), value);
    }
    assert_eq!(there.text().await.unwrap(), "the whole of Jenkins");
    let tags = stage.send("GET", &format!("{copy}?tagging"), &[], Vec::new()).await.text().await.unwrap();
    assert!(tags.contains("a&amp;b") && tags.contains("<Key>keep</Key>"), "{tags}");

    stage.front.forget();
    let again = run(stage.command(&["--from", &from, "--to", &to])).await.expect(0);
    assert_eq!(again.json()["outputs"]["changed"], "false");
    assert_eq!(stage.writes(), Vec::<String>::new());

    // Another object in its place is not deleted; the copy itself is.
    stage.send("PUT", &copy, &[], b"somebody's".to_vec()).await;
    run(stage.command(&["--undo", &receipt])).await.expect(3).says(&["not the one that the run wrote"]);
    run(stage.command(&["--from", &from, "--to", &to])).await.expect(3).says(&[
        "another object at the destination",
        "--replace",
        "nothing was changed",
    ]);
    let args = ["--from", &from, "--to", &to, "--replace", "--receipt", "replaced.json"];
    run(stage.command(&args))
        .await
        .expect(0)
        .says(&["the object that is replaced is lost", "replaces another object"]);
    run(stage.command(&["--undo", "replaced.json"])).await.expect(3).says(&["can't be taken back"]);
    stage.is_played();
}

#[tokio::test]
async fn undo_deletes_the_copy() {
    let stage = Stage::start().await;
    stage.put("a.tar", &[], "a").await;
    stage.copy("a.tar", &["--receipt", "r.json"]).await.expect(0);
    run(stage.command(&["--undo", "r.json"])).await.expect(0);
    assert_eq!(stage.copy_of("a.tar").await, None);
    let again = run(stage.command(&["--undo", "r.json"])).await.expect(0);
    assert_eq!(again.json()["outputs"]["changed"], "false");
}

#[tokio::test]
async fn a_version_that_replaced_another_is_taken_back() {
    let stage = Stage::start().await;
    let on = "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Status>Enabled</Status></VersioningConfiguration>";
    stage.send("PUT", &format!("{}?versioning", stage.new), &[], on.into()).await;
    stage.send("PUT", &format!("{}/a.tar", stage.new), &[], b"before".to_vec()).await;
    stage.put("a.tar", &[], "after").await;
    let ran = stage.copy("a.tar", &["--replace", "--receipt", "r.json"]).await.expect(0);
    assert!(ran.json()["outputs"]["version-id"].is_string());
    assert_eq!(stage.copy_of("a.tar").await.unwrap(), b"after");
    run(stage.command(&["--undo", "r.json"])).await.expect(0);
    assert_eq!(stage.copy_of("a.tar").await.unwrap(), b"before");
}

#[tokio::test]
async fn a_large_object_is_copied_in_pinned_parts_and_read_where_there_is_no_checksum() {
    let stage = Stage::start().await;
    let headers = [("content-type", "application/x-tar"), ("x-amz-meta-jenkins", "2.5")];
    stage.put("big.tar", &headers, twelve()).await;
    let ran = stage.copy("big.tar", &PARTS).await.expect(0).says(&["3 parts of 5.0 MiB"]);
    assert_eq!(ran.json()["outputs"]["verified-by"], "SHA-256, both read whole");
    let pins = stage.spy.sent("UploadPartCopy", "x-amz-copy-source-if-match");
    assert_eq!(pins.len(), 3);
    assert!(pins.iter().all(|pin| pin.len() == 34 && *pin == pins[0]), "{pins:?}");
    let mut ranges = stage.spy.sent("UploadPartCopy", "x-amz-copy-source-range");
    ranges.sort();
    assert_eq!(ranges, ["bytes=0-5242879", "bytes=10485760-12582911", "bytes=5242880-10485759"]);
    assert_eq!(stage.spy.sent("CompleteMultipartUpload", "if-none-match"), ["*"]);
    assert_eq!(stage.spy.sent("CompleteMultipartUpload", "x-amz-mp-object-size"), ["12582912"]);
    assert_eq!(stage.spy.sent("CreateMultipartUpload", "x-amz-checksum-type"), ["FULL_OBJECT"]);
    assert_eq!(stage.copy_of("big.tar").await.unwrap(), twelve());
    let there = stage.send("HEAD", &format!("{}/big.tar", stage.new), &[], Vec::new()).await;
    for (name, value) in headers {
        assert_eq!(there.headers().get(name).unwrap(), value);
    }
    stage.front.forget();
    let again = stage.copy("big.tar", &PARTS).await.expect(0);
    assert_eq!(again.json()["outputs"]["changed"], "false");
    assert_eq!(stage.writes(), Vec::<String>::new());
}

/// The emulator drops the tags of a multipart upload.
#[tokio::test]
async fn a_store_that_loses_the_tags_is_noticed() {
    let stage = Stage::start().await;
    stage.put("big.tar", &[("x-amz-tagging", "team=a%26b")], twelve()).await;
    stage
        .copy("big.tar", &[&PARTS[..], &["--receipt", "r.json"]].concat())
        .await
        .expect(5)
        .says(&["tag team is missing", "--undo"]);
    assert_eq!(stage.spy.sent("CreateMultipartUpload", "x-amz-tagging"), ["team=a%26b"]);
    run(stage.command(&["--undo", "r.json"])).await.expect(0);
    assert_eq!(stage.copy_of("big.tar").await, None);
}

#[tokio::test]
async fn a_copy_in_parts_that_is_killed_is_begun_anew_and_leaves_nothing() {
    let stage = Stage::start().await;
    stage.put("big.tar", &[], twelve()).await;
    for at in ["s3:UploadPartCopy#2", "s3:CompleteMultipartUpload"] {
        let hold = stage.front.hold(at, When::BeforeForward);
        let (from, to) = (stage.from("big.tar"), stage.to("big.tar"));
        let args = [&["--from", &from, "--to", &to][..], &PARTS].concat();
        let mut command = stage.command(&args);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        hold.arrived().await;
        child.kill().await.unwrap();
        drop(hold);
        assert_eq!(stage.unfinished().await, 1, "{at}");
        assert_eq!(stage.copy_of("big.tar").await, None);
    }
    stage.front.forget();
    stage.copy("big.tar", &PARTS).await.expect(0).says(&["abort an unfinished upload"]);
    assert_eq!(stage.unfinished().await, 0);
    assert_eq!(stage.copy_of("big.tar").await.unwrap(), twelve());
}

#[tokio::test]
async fn a_copy_in_parts_that_fails_leaves_nothing() {
    let stage = Stage::start().await;
    stage.put("big.tar", &[], twelve()).await;
    for at in ["s3:UploadPartCopy#3", "s3:CompleteMultipartUpload"] {
        stage.front.set_faults([Fault::error(at, 403, "AccessDenied", "Access Denied")]);
        stage.copy("big.tar", &PARTS).await.expect(1).says(&["s3:PutObject", "nothing was changed"]);
        assert_eq!(stage.unfinished().await, 0, "{at}");
        assert_eq!(stage.copy_of("big.tar").await, None);
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_is_looked_for_and_nothing_is_done_twice() {
    let stage = Stage::start().await;
    stage.put("a.tar", &[], "a").await;
    stage.put("big.tar", &[], twelve()).await;
    for (key, call) in [("a.tar", "s3:CopyObject"), ("big.tar", "s3:CompleteMultipartUpload")] {
        stage.front.forget();
        stage.front.set_faults([Fault::new(call, Effect::Reset).after_effect().times(1)]);
        let ran = stage.copy(key, &PARTS).await.expect(0);
        assert_eq!(ran.json()["outputs"]["changed"], "true");
        assert_eq!(stage.writes().iter().filter(|name| *name == call).count(), 1, "{:?}", stage.writes());
    }
}

#[tokio::test]
async fn a_source_that_is_replaced_before_it_is_copied_is_not_copied() {
    let stage = Stage::start().await;
    stage.put("a.tar", &[], "before").await;
    stage.put("big.tar", &[], twelve()).await;
    for (key, call) in [("a.tar", "s3:CopyObject"), ("big.tar", "s3:UploadPartCopy#2")] {
        let hold = stage.front.hold(call, When::BeforeForward);
        let copy = stage.copy(key, &PARTS);
        let replace = async {
            hold.arrived().await;
            let mut other = twelve();
            other.reverse();
            stage.put(key, &[], other).await;
            hold.release();
        };
        let (ran, ()) = tokio::join!(copy, replace);
        ran.expect(7).says(&["was replaced since it was looked at", "nothing was changed"]);
        assert_eq!(stage.copy_of(key).await, None);
        assert_eq!(stage.unfinished().await, 0);
    }
}

#[tokio::test]
async fn the_newest_is_found_over_all_pages_and_keeps_its_name() {
    let stage = Stage::load("latest").await;
    stage.put("Backups/sync/a.tar", &[], "a").await;
    stage.put("Backups/sync/b.tar", &[], "b").await;
    let (from, to) = (stage.from("Backups/sync/"), stage.to("Backups/sync/"));
    let ran = run(stage.command(&["--from", &from, "--latest", "--to", &to])).await.expect(0);
    assert_eq!(ran.json()["outputs"]["copy-uri"], format!("{to}b.tar"));
    assert_eq!(stage.copy_of("Backups/sync/b.tar").await.unwrap(), b"b");
    assert_eq!(stage.copy_of("Backups/sync/a.tar").await, None);
    stage.is_played();
}

#[tokio::test]
async fn a_tie_is_refused_with_both_names() {
    let stage = Stage::load("tie").await;
    let (from, to) = (stage.from("Backups/sync/"), stage.to("Backups/sync/"));
    run(stage.command(&["--from", &from, "--latest", "--to", &to])).await.expect(3).says(&[
        "equally new",
        "Backups/sync/a.tar",
        "Backups/sync/b.tar",
    ]);
    stage.is_played();
}

#[tokio::test]
async fn an_error_in_a_200_is_an_error() {
    let stage = Stage::load("error-in-200").await;
    stage.put("a.tar", &[], "a").await;
    stage.copy("a.tar", &[]).await.expect(1).says(&["AccessDenied", "s3:GetObject", "nothing was changed"]);
    stage.is_played();
}

#[tokio::test]
async fn the_bucket_can_be_named_by_an_output_of_a_stack() {
    let stage = Stage::start().await;
    stage.put("Backups/sync/a.tar", &[], "a").await;
    let name = own("infra");
    let bucket = own("infra-bucket");
    let template = format!(
        "{{\"Resources\":{{\"Store\":{{\"Type\":\"AWS::S3::Bucket\",\"Properties\":{{\"BucketName\":\"{bucket}\"}}}}}},\
         \"Outputs\":{{\"BucketName\":{{\"Value\":{{\"Ref\":\"Store\"}}}},\"Url\":{{\"Value\":\"https://x/\"}}}}}}"
    );
    let parameters = [
        ("Action", "CreateStack"),
        ("Version", "2010-05-15"),
        ("StackName", &*name),
        ("TemplateBody", &*template),
    ];
    let (status, text) = shared_emulator().await.query("cloudformation", &parameters).await.unwrap();
    assert_eq!(status, 200, "{text}");
    let from = stage.from("Backups/sync/a.tar");
    let case = async |output: &str, code: i32, says: &[&str]| {
        let output = format!("{name}{output}");
        run(stage.command(&["--from", &from, "--to-stack-output", &output])).await.expect(code).says(says)
    };
    // The emulator makes a stack after it has answered.
    until(async || {
        let parameters = [("Action", "DescribeStacks"), ("Version", "2010-05-15"), ("StackName", &*name)];
        shared_emulator()
            .await
            .query("cloudformation", &parameters)
            .await
            .unwrap()
            .1
            .contains("CREATE_COMPLETE")
    })
    .await;
    case(".Bucket", 3, &["no such output; it has: BucketName, Url"]).await;
    case(".Url", 3, &["not the name of a bucket"]).await;
    case("x.BucketName", 3, &["there is no stack"]).await;
    let ran = case(".BucketName", 0, &[]).await;
    assert_eq!(ran.json()["outputs"]["copy-uri"], format!("s3://{bucket}/Backups/sync/a.tar"));
    assert_eq!(stage.spy.sent("CopyObject", "x-amz-expected-bucket-owner"), [ACCOUNT]);
}

#[tokio::test]
async fn what_a_user_gets_wrong_is_said_and_nothing_is_written() {
    let stage = Stage::start().await;
    stage.put("a.tar", &[], "a").await;
    stage.front.forget();
    let (from, to) = (stage.from("a.tar"), stage.to("a.tar"));
    let case = async |args: &[&str], code: i32, says: &[&str]| {
        run(stage.command(args)).await.expect(code).says(says);
    };
    case(
        &["--from", "s3://no-such-bucket-anywhere/a", "--to", &to],
        3,
        &["no-such-bucket-anywhere", "--from"],
    )
    .await;
    case(
        &["--from", &from, "--to", "s3://no-such-bucket-anywhere/"],
        3,
        &["no-such-bucket-anywhere", "--to"],
    )
    .await;
    case(&["--from", &stage.from("b.tar"), "--to", &to], 3, &["there is no such object"]).await;
    case(&["--from", &stage.from("none/"), "--latest", "--to", &to], 3, &["there is no object"]).await;
    case(&["--from", &from, "--to", &from], 3, &["the same object"]).await;
    case(&["--from", &stage.from(""), "--to", &to], 2, &["--latest"]).await;
    case(&["--from", &from], 2, &["--to-stack-output"]).await;
    case(&["--from", &from, "--to", &to, "--max-age", "1h"], 2, &["--latest"]).await;
    case(&["--from", &from, "--to", &to, "--part-size", "1MiB"], 2, &["5MiB"]).await;
    stage.front.set_faults([Fault::error("s3:GetObjectTagging", 403, "AccessDenied", "Access Denied")]);
    case(&["--from", &from, "--to", &to], 1, &["s3:GetObjectTagging", "--no-tags", "nothing was changed"])
        .await;
    assert_eq!(stage.writes(), Vec::<String>::new());
    case(&["--from", &from, "--to", &to, "--no-tags"], 0, &["tags are not carried over"]).await;
}

#[tokio::test]
async fn each_bucket_is_spoken_to_in_its_own_region() {
    let stage = Stage::start().await;
    stage.put("a.tar", &[], "a").await;
    let far = own("far-jenkins");
    let scope = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260101/eu-west-1/s3/aws4_request, \
                 SignedHeaders=host, Signature=unverified";
    let constraint = "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                      <LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>";
    stage.send("PUT", &far, &[("authorization", scope)], constraint.into()).await;
    let (from, to) = (stage.from("a.tar"), format!("s3://{far}/"));
    run(stage.command(&["--from", &from, "--to", &to])).await.expect(0).says(&["us-east-1 to eu-west-1"]);
    let region = |name: &str| {
        let calls = stage.front.calls();
        calls.iter().rfind(|call| call.operation == name).map(|call| call.region.clone())
    };
    assert_eq!(region("CopyObject").as_deref(), Some("eu-west-1"));
    assert_eq!(region("GetObjectTagging").as_deref(), Some("eu-west-1"));
    let of_source =
        stage.front.calls().into_iter().rfind(|call| call.request["bucket"] == stage.old.as_str());
    assert_eq!(of_source.unwrap().region, "us-east-1");
}

#[tokio::test]
async fn killed_at_any_writing_call_and_run_again_it_ends_the_same() {
    let stage = Stage::start().await;
    stage.put("a.tar", &[], "a").await;
    stage.put("big.tar", &[], twelve()).await;
    let in_parts = ["s3:CreateMultipartUpload", "s3:UploadPartCopy#3", "s3:CompleteMultipartUpload"];
    let calls = [("a.tar", "s3:CopyObject")].into_iter().chain(in_parts.map(|call| ("big.tar", call)));
    for (key, call) in calls {
        for when in [When::BeforeForward, When::AfterEffect] {
            let hold = stage.front.hold(call, when);
            let (from, to) = (stage.from(key), stage.to(key));
            let args = [&["--from", &from, "--to", &to][..], &PARTS].concat();
            let mut command = stage.command(&args);
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            hold.arrived().await;
            child.kill().await.unwrap();
            drop(hold);
            stage.copy(key, &PARTS).await.expect(0);
            assert_eq!(stage.unfinished().await, 0, "{call} {when:?}");
            let wanted = if key == "a.tar" { b"a".to_vec() } else { twelve() };
            assert!(stage.copy_of(key).await.unwrap() == wanted, "{call} {when:?}");
            stage.send("DELETE", &format!("{}/{key}", stage.new), &[], Vec::new()).await;
        }
    }
}

#[tokio::test]
async fn a_cancelled_copy_in_parts_puts_its_parts_away() {
    let stage = Stage::start().await;
    stage.put("big.tar", &[], twelve()).await;
    let hold = stage.front.hold("s3:UploadPartCopy#2", When::BeforeForward);
    let (from, to) = (stage.from("big.tar"), stage.to("big.tar"));
    let args = [&["--from", &from, "--to", &to][..], &PARTS].concat();
    let mut command = stage.command(&args);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id().unwrap().to_string();
    hold.arrived().await;
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    let ended = child.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(143), "{said}");
    assert!(said.contains("nothing was changed"), "{said}");
    drop(hold);
    assert_eq!(stage.unfinished().await, 0);
    assert_eq!(stage.copy_of("big.tar").await, None);
}

/// S3 may still be at it.
#[tokio::test]
async fn a_copy_that_is_never_answered_is_in_doubt() {
    let stage = Stage::start().await;
    stage.put("a.tar", &[], "a").await;
    stage.front.set_faults([Fault::new("s3:CopyObject", Effect::Reset)]);
    stage.copy("a.tar", &[]).await.expect(4).says(&["in doubt: copy", "running again looks first"]);
    stage.front.set_faults([]);
    stage.copy("a.tar", &[]).await.expect(0);
}

#[tokio::test]
async fn throttling_and_broken_answers_are_ridden_out() {
    let stage = Stage::start().await;
    stage.put("a.tar", &[], "a").await;
    stage.put("big.tar", &[], twelve()).await;
    for (key, call) in [
        ("a.tar", "s3:CopyObject"),
        ("big.tar", "s3:CreateMultipartUpload"),
        ("big.tar", "s3:UploadPartCopy#2"),
        ("big.tar", "s3:CompleteMultipartUpload"),
    ] {
        stage
            .front
            .set_faults([Fault::error(call, 503, "SlowDown", "Please reduce your request rate.").times(1)]);
        stage.copy(key, &PARTS).await.expect(0);
        assert_eq!(stage.unfinished().await, 0, "{call}");
        stage.send("DELETE", &format!("{}/{key}", stage.new), &[], Vec::new()).await;
    }
}
