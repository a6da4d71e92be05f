//! Files and folders of this machine to S3.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use testkit::front::{Effect, Fault, When};

use super::stage::{Stage, twelve};
use crate::world::{Ran, run};

impl Stage {
    /// A folder `site` in the run's own.
    fn write(&self, files: &[(&str, &[u8])]) {
        for (name, content) in files {
            let path = self.path("site").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }

    async fn upload(&self, from: &str, to: &str, more: &[&str]) -> Ran {
        run(self.command(&[&["--from", from, "--to", &self.to(to)][..], more].concat())).await
    }

    async fn type_of(&self, key: &str) -> String {
        let there = self.send("HEAD", &format!("{}/{key}", self.new), &[], Vec::new()).await;
        there.headers().get("content-type").unwrap().to_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_file_is_written_with_its_checksum_and_a_second_run_writes_nothing() {
    let stage = Stage::start().await;
    stage.write(&[("page.html", b"123456789")]);
    let first = stage.upload("site/page.html", "v1/", &["--receipt", "r.json"]).await.expect(0);
    assert_eq!(first.json()["outputs"]["copy-uri"], stage.to("v1/page.html"));
    assert_eq!(stage.writes(), ["s3:PutObject"]);
    assert_eq!(stage.spy.sent("PutObject", "if-none-match"), ["*"]);
    // The check value of CRC-64/NVME: <https://reveng.sourceforge.io/crc-catalogue/17plus.htm#crc.cat.crc-64-nvme>
    assert_eq!(stage.spy.sent("PutObject", "x-amz-checksum-crc64nvme"), ["rosUhgp5mIg="]);
    assert_eq!(stage.copy_of("v1/page.html").await.unwrap(), b"123456789");
    assert_eq!(stage.type_of("v1/page.html").await, "text/html");
    stage.front.forget();
    let again = stage.upload("site/page.html", "v1/", &[]).await.expect(0);
    assert_eq!(again.json()["outputs"]["changed"], "false");
    assert_eq!(stage.writes(), Vec::<String>::new());
    stage.write(&[("page.html", b"<b>")]);
    stage.upload("site/page.html", "v1/", &[]).await.expect(3).says(&["--replace", "nothing was changed"]);
    run(stage.command(&["--undo", "r.json"])).await.expect(0);
    assert_eq!(stage.copy_of("v1/page.html").await, None);
}

#[tokio::test]
async fn a_large_file_goes_in_parts_and_leaves_nothing_when_it_fails_or_is_killed() {
    let stage = Stage::start().await;
    stage.write(&[("big.tar", &twelve())]);
    stage.front.set_faults([Fault::error("s3:UploadPart#2", 403, "AccessDenied", "Access Denied")]);
    stage.upload("site/big.tar", "", &[]).await.expect(1).says(&["s3:PutObject", "nothing was changed"]);
    stage.front.set_faults([]);
    assert_eq!(stage.unfinished().await, 0);
    for (call, when) in [
        ("s3:UploadPart#2", When::BeforeForward),
        ("s3:CompleteMultipartUpload", When::BeforeForward),
        ("s3:CompleteMultipartUpload", When::AfterEffect),
    ] {
        let hold = stage.front.hold(call, when);
        let to = stage.to("");
        let mut command = stage.command(&["--from", "site/big.tar", "--to", &to]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        hold.arrived().await;
        child.kill().await.unwrap();
        drop(hold);
        stage.upload("site/big.tar", "", &[]).await.expect(0);
        assert!(stage.copy_of("big.tar").await.unwrap() == twelve(), "{call} {when:?}");
        assert_eq!(stage.unfinished().await, 0, "{call} {when:?}");
        stage.send("DELETE", &format!("{}/big.tar", stage.new), &[], Vec::new()).await;
    }
    stage.front.forget();
    stage.front.set_faults([Fault::new("s3:CompleteMultipartUpload", Effect::Reset).after_effect().times(1)]);
    stage.upload("site/big.tar", "", &["--content-type", "application/x-jenkins"]).await.expect(0);
    assert_eq!(stage.type_of("big.tar").await, "application/x-jenkins");
    assert_eq!(stage.writes().iter().filter(|name| *name == "s3:CompleteMultipartUpload").count(), 1);
}

#[tokio::test]
async fn what_a_killed_run_wrote_is_known_and_taken_back() {
    let stage = Stage::start().await;
    stage.write(&[("page.html", b"<p>")]);
    let hold = stage.front.hold("s3:PutObject", When::AfterEffect);
    let to = stage.to("");
    let mut command = stage.command(&["--from", "site/page.html", "--to", &to, "--receipt", "r.json"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    hold.arrived().await;
    child.kill().await.unwrap();
    drop(hold);
    assert_eq!(stage.copy_of("page.html").await.unwrap(), b"<p>");
    // The answer of the deletion is lost too: the second try is told that there is no such object.
    stage.front.set_faults([Fault::new("s3:DeleteObject", Effect::Reset).after_effect().times(1)]);
    run(stage.command(&["--undo", "r.json"])).await.expect(0);
    assert_eq!(stage.copy_of("page.html").await, None);
}

#[tokio::test]
async fn a_folder_is_copied_and_what_is_no_file_is_counted() {
    let stage = Stage::start().await;
    stage.write(&[("index.html", b"<p>"), ("js/app.js", b"1"), ("a b+%.txt", b"odd"), ("empty", b"")]);
    symlink("/etc/passwd", stage.path("site/link")).unwrap();
    let ran = stage
        .upload("site", "app/4f2c1d/", &["--receipt", "r.json"])
        .await
        .expect(0)
        .says(&["1 symbolic links"]);
    assert_eq!(ran.json()["outputs"]["copied"], "4");
    assert_eq!(stage.type_of("app/4f2c1d/js/app.js").await, "text/javascript");
    assert_eq!(stage.type_of("app/4f2c1d/empty").await, "application/octet-stream");
    assert_eq!(stage.copy_of("app/4f2c1d/a%20b%2B%25.txt").await.unwrap(), b"odd");
    assert_eq!(stage.copy_of("app/4f2c1d/link").await, None);
    assert!(stage.spy.sent("PutObject", "x-amz-acl").iter().all(|acl| acl == "(absent)"));
    stage.front.forget();
    stage.upload("site", "app/4f2c1d/", &[]).await.expect(0);
    assert_eq!(stage.writes(), Vec::<String>::new());
    let to = stage.to("app/4f2c1d/");
    run(stage.command(&["--action", "compare", "--from", "site", "--to", &to])).await.expect(0);
    stage.write(&[("js/app.js", b"2")]);
    run(stage.command(&["--action", "compare", "--from", "site", "--to", &to]))
        .await
        .expect(3)
        .says(&["different: js/app.js (another CRC-64/NVME)"]);
    run(stage.command(&["--undo", "r.json"])).await.expect(0);
    assert_eq!(stage.keys(&stage.new).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_read_is_read_anew_and_then_reported() {
    let stage = Stage::start().await;
    stage.write(&[("app.log", &twelve()), ("other.log", b"quiet")]);
    // Each time the upload waits for its last part, somebody writes on.
    let grow = async |times: usize| {
        for _ in 0..times {
            let hold = stage.front.hold("s3:UploadPart", When::BeforeForward);
            hold.arrived().await;
            let mut content = fs::read(stage.path("site/app.log")).unwrap();
            content.push(b'x');
            fs::write(stage.path("site/app.log"), content).unwrap();
            hold.release();
        }
    };
    let (ran, ()) = tokio::join!(stage.upload("site", "logs/", &[]), grow(1));
    ran.expect(0);
    assert_eq!(stage.copy_of("logs/app.log").await.unwrap().len(), twelve().len() + 1);
    assert_eq!(stage.unfinished().await, 0);
}

#[tokio::test]
async fn logs_are_kept_with_their_sums_last_and_never_added_to() {
    let stage = Stage::start().await;
    stage.write(&[("access.log", b"GET /\n"), ("old/error.log", b"none\n")]);
    let archive = async |more: &[&str]| stage.upload("site", "v88/", &[&["--archive"], more].concat()).await;
    // Killed before its last object: the next run goes on.
    let hold = stage.front.hold("s3:PutObject#3", When::BeforeForward);
    let to = stage.to("v88/");
    let mut command = stage.command(&["--archive", "--from", "site", "--to", &to]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    hold.arrived().await;
    child.kill().await.unwrap();
    drop(hold);
    assert_eq!(stage.copy_of("v88/SHA256SUMS").await, None);
    stage.front.forget();
    archive(&["--receipt", "r.json"]).await.expect(0);
    assert_eq!(stage.writes(), ["s3:PutObject"]);
    // `printf 'GET /\n' | sha256sum; printf 'none\n' | sha256sum`
    let sums = "e120c1625982c2fd785ce9ccb81d519b2bc8ba59c68469557db040d4cd0293d7  access.log\n\
                fcf33dfbe13c2354bf0e1b063f9fb422747a46cee00b7420bceff2b81457b345  old/error.log\n";
    let there = String::from_utf8(stage.copy_of("v88/SHA256SUMS").await.unwrap()).unwrap();
    assert_eq!(there, sums);
    stage.front.forget();
    let again = archive(&[]).await.expect(0);
    assert_eq!(again.json()["outputs"]["changed"], "false");
    assert_eq!(stage.writes(), Vec::<String>::new());
    stage.write(&[("new.log", b"late\n")]);
    archive(&[]).await.expect(3).says(&["a whole archive of other files", "choose another --to"]);
    run(stage.command(&["--undo", "r.json"])).await.expect(0);
    assert_eq!(stage.copy_of("v88/SHA256SUMS").await, None);
    stage.send("PUT", &format!("{}/v89/theirs", stage.new), &[], b"x".to_vec()).await;
    stage.upload("site", "v89/", &["--archive"]).await.expect(3).says(&["not empty", "theirs"]);
    fs::create_dir(stage.path("none")).unwrap();
    stage.upload("none", "v90/", &["--archive"]).await.expect(3).says(&["nothing to copy"]);
    stage.upload("none", "v90/", &["--archive", "--allow-empty"]).await.expect(0);
}

#[tokio::test]
async fn what_a_user_gets_wrong_about_files_is_said() {
    let stage = Stage::start().await;
    stage.write(&[("a", b"a")]);
    symlink("a", stage.path("site/link")).unwrap();
    for (from, more, code, says) in [
        ("absent", &[][..], 3, "No such file"),
        ("site/link", &[], 3, "symbolic link"),
        ("site/a", &["--archive"], 3, "it is a file"),
        ("site", &["--latest"], 2, "--latest"),
        ("site", &["--archive", "--replace"], 2, "an archive is not replaced"),
        ("site", &["--allow-empty"], 2, "--archive"),
        ("https://x/y", &[], 2, "s3://BUCKET/KEY"),
    ] {
        stage.upload(from, "x/", more).await.expect(code).says(&[says]);
    }
    stage.upload("site", "x", &[]).await.expect(2).says(&["end it with a slash"]);
    assert_eq!(stage.writes(), Vec::<String>::new());
}
