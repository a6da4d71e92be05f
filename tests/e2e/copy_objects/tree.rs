//! Everything below a prefix.

use std::process::Stdio;

use testkit::front::{Effect, Fault, When};
use tokio::process::Command;

use super::stage::{PARTS, Stage, twelve};
use crate::world::{Ran, run};

/// Names that tools resolve, split, decode or drop.
const ODD: [&str; 9] = [
    "a b+c%2B.tar",
    "dir/",
    "double//slash",
    "dots/../x/./y",
    "emoji-🦀",
    "plain",
    "quote'\"<&>",
    "trailing ",
    "ü/größe",
];

/// A key in the path of a URL.
fn quoted(key: &str) -> String {
    key.bytes()
        .map(|byte| match byte {
            b'/' | b'-' | b'_' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

impl Stage {
    async fn copy_tree(&self, more: &[&str]) -> Ran {
        let (from, to) = (self.from("tree/"), self.to("kept/"));
        run(self.command(&[&["--from", &from, "--to", &to, "--tree"][..], more].concat())).await
    }

    async fn compare(&self) -> Ran {
        let (from, to) = (self.from("tree/"), self.to("kept/"));
        run(self.command(&["--action", "compare", "--from", &from, "--to", &to])).await
    }

    async fn put_odd(&self) {
        for key in ODD {
            let body = if key.ends_with('/') { String::new() } else { format!("content of {key}") };
            self.put(&format!("tree/{}", quoted(key)), &[("content-type", "text/x-odd")], body).await;
        }
    }

    /// How often an operation was called.
    fn called(&self, operation: &str) -> usize {
        self.front.calls().iter().filter(|call| call.name() == operation).count()
    }
}

#[tokio::test]
async fn a_tree_is_copied_whole_whatever_its_keys_are_and_a_second_run_writes_nothing() {
    let stage = Stage::start().await;
    stage.put_odd().await;
    stage.put("tree-beside/x", &[], "not below it").await;
    let long = format!("tree/{}", "k".repeat(1015));
    stage.put(&long, &[("x-amz-meta-team", "rally"), ("x-amz-tagging", "keep=yes")], "long").await;
    let dry = stage.copy_tree(&["--dry-run", "--order", "any"]).await.expect(0);
    assert_eq!(dry.json()["outputs"]["changed"], "false");
    assert_eq!(stage.writes(), Vec::<String>::new());

    let ran = stage.copy_tree(&["--receipt", "r.json"]).await.expect(0);
    let outputs = &ran.json()["outputs"];
    assert_eq!((outputs["objects"].as_str(), outputs["copied"].as_str()), (Some("10"), Some("10")));
    assert_eq!(stage.writes(), vec!["s3:CopyObject"; 10]);
    // Neither side is looked at object by object.
    assert_eq!((stage.called("s3:HeadObject"), stage.called("s3:GetObjectTagging")), (0, 0));
    assert!(stage.spy.sent("CopyObject", "x-amz-copy-source-if-match").iter().all(|pin| pin.len() == 34));
    assert!(stage.spy.sent("CopyObject", "if-none-match").iter().all(|pin| pin == "*"));
    for key in ODD {
        let copy = stage.send("GET", &format!("{}/kept/{}", stage.new, quoted(key)), &[], Vec::new()).await;
        assert_eq!(copy.headers().get("content-type").unwrap(), "text/x-odd", "{key}");
        let expected = if key.ends_with('/') { String::new() } else { format!("content of {key}") };
        assert_eq!(copy.text().await.unwrap(), expected);
    }
    let copy = format!("{}/kept/{}", stage.new, "k".repeat(1015));
    let there = stage.send("HEAD", &copy, &[], Vec::new()).await;
    assert_eq!(there.headers().get("x-amz-meta-team").unwrap(), "rally");
    let tags = stage.send("GET", &format!("{copy}?tagging"), &[], Vec::new()).await.text().await.unwrap();
    assert!(tags.contains("<Key>keep</Key>"), "{tags}");
    assert_eq!(stage.copy_of("kept/x").await, None);

    // The manifest beside the receipt, and one action in it.
    let receipt: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(stage.path("r.json")).unwrap()).unwrap();
    assert_eq!(receipt["actions"].as_array().unwrap().len(), 1);
    let name = receipt["actions"][0]["inverse"]["files"].as_str().unwrap();
    for file in ["listed", "written"] {
        let text = std::fs::read_to_string(stage.path(&format!("{name}.{file}.jsonl"))).unwrap();
        assert_eq!(text.lines().count(), 10, "{text}");
    }

    stage.front.forget();
    let again = stage.copy_tree(&[]).await.expect(0);
    assert_eq!(again.json()["outputs"]["changed"], "false");
    assert_eq!(stage.writes(), Vec::<String>::new());
    let same = stage.compare().await.expect(0);
    assert_eq!(same.json()["outputs"]["objects"], "10");

    // A list that was cut off on its way is not all: what stands behind the cut would stay.
    let list = stage.path(&format!("{name}.listed.jsonl"));
    let whole = std::fs::read_to_string(&list).unwrap();
    let at_a_line = whole.lines().take(4).map(|line| format!("{line}\n")).collect::<String>();
    for cut in [&whole[..whole.len() - 9], &at_a_line, ""] {
        std::fs::write(&list, cut).unwrap();
        stage.front.forget();
        let ran = run(stage.command(&["--undo", "r.json"])).await.expect(2);
        ran.says(&["cut off"]);
        assert_eq!(stage.writes(), Vec::<String>::new());
    }
    std::fs::write(&list, &whole).unwrap();

    // Undo deletes what was written, and nothing else.
    stage.send("PUT", &format!("{}/kept/extra", stage.new), &[], b"theirs".to_vec()).await;
    run(stage.command(&["--undo", "r.json"])).await.expect(0);
    let left = stage.keys(&stage.new).await;
    assert_eq!(left, ["kept/extra"]);
    let again = run(stage.command(&["--undo", "r.json"])).await.expect(0);
    assert_eq!(again.json()["outputs"]["changed"], "false");
    stage.is_played();
}

#[tokio::test]
async fn a_second_run_copies_what_is_missing_and_refuses_what_is_other() {
    let stage = Stage::start().await;
    for key in ["a", "b", "c"] {
        stage.put(&format!("tree/{key}"), &[], key).await;
    }
    stage.copy_tree(&[]).await.expect(0);
    stage.put("tree/d", &[], "d").await;
    stage.front.forget();
    stage.copy_tree(&[]).await.expect(0);
    assert_eq!(stage.writes(), ["s3:CopyObject"]);

    stage.send("PUT", &format!("{}/kept/b", stage.new), &[], b"other".to_vec()).await;
    stage.send("PUT", &format!("{}/kept/c", stage.new), &[], b"C".to_vec()).await;
    stage.send("PUT", &format!("{}/kept/z", stage.new), &[], b"z".to_vec()).await;
    stage.send("DELETE", &format!("{}/kept/a", stage.new), &[], Vec::new()).await;
    let differs = stage.compare().await.expect(3).says(&[
        "missing: a",
        "different: b (1 bytes against 5)",
        "different: c (another MD5)",
        "at the destination alone: z",
        "nothing was changed",
    ]);
    let outputs = &differs.json()["outputs"];
    assert_eq!(
        (&outputs["missing"], &outputs["different"], &outputs["extra"]),
        (&"1".into(), &"2".into(), &"1".into())
    );
    stage.front.forget();
    stage.copy_tree(&[]).await.expect(3).says(&[
        "2 objects are",
        "b (1 bytes",
        "--replace",
        "nothing was changed",
    ]);
    assert_eq!(stage.writes(), Vec::<String>::new());
    stage.copy_tree(&["--replace", "--receipt", "r.json"]).await.expect(0).says(&["they are lost"]);
    assert_eq!(stage.copy_of("kept/b").await.unwrap(), b"b");
    assert_eq!(stage.copy_of("kept/z").await.unwrap(), b"z");
    // What was replaced stays: there is nothing to put back.
    run(stage.command(&["--undo", "r.json"])).await.expect(0).says(&["2 replaced other objects"]);
    assert_eq!(stage.keys(&stage.new).await, ["kept/b", "kept/c", "kept/d", "kept/z"]);
}

#[tokio::test]
async fn killed_before_or_after_a_copy_it_goes_on_where_it_ended_and_undo_finds_all() {
    let stage = Stage::start().await;
    stage.put_odd().await;
    for when in [When::BeforeForward, When::AfterEffect] {
        let hold = stage.front.hold("s3:CopyObject#4", when);
        let (from, to) = (stage.from("tree/"), stage.to("kept/"));
        let args = ["--from", &*from, "--to", &to, "--tree", "--receipt", "killed.json"];
        let mut command = stage.command(&args);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        hold.arrived().await;
        child.kill().await.unwrap();
        drop(hold);
        stage.front.forget();
        stage.copy_tree(&["--receipt", "killed.json"]).await.expect(0);
        stage.compare().await.expect(0);
        run(stage.command(&["--undo", "killed.json"])).await.expect(0);
        assert_eq!(stage.keys(&stage.new).await, Vec::<String>::new(), "{when:?}");
        std::fs::remove_file(stage.path("killed.json")).unwrap();
    }
}

#[tokio::test]
async fn a_cancelled_tree_lets_what_is_under_way_end_and_notes_it() {
    let stage = Stage::start().await;
    stage.put_odd().await;
    let hold = stage.front.hold("s3:CopyObject#4", When::BeforeForward);
    let (from, to) = (stage.from("tree/"), stage.to("kept/"));
    let args = ["--from", &*from, "--to", &to, "--tree", "--receipt", "r.json"];
    let mut command = stage.command(&args);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id().unwrap().to_string();
    hold.arrived().await;
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    hold.release();
    let ended = child.wait_with_output().await.unwrap();
    assert_eq!(ended.status.code(), Some(143), "{}", String::from_utf8_lossy(&ended.stderr));
    stage.copy_tree(&[]).await.expect(0);
    stage.compare().await.expect(0);
    run(stage.command(&["--undo", "r.json"])).await.expect(0);
    assert_eq!(stage.keys(&stage.new).await, Vec::<String>::new());
}

#[tokio::test]
async fn throttled_denied_reset_and_dead() {
    let stage = Stage::start().await;
    stage.put_odd().await;
    let refused = Fault::error("s3:CopyObject", 403, "AccessDenied", "Access Denied");
    stage.front.set_faults([refused]);
    stage.copy_tree(&[]).await.expect(1).says(&["s3:PutObject", "s3:GetObject", "nothing was changed"]);
    stage.front.set_faults([Fault::error("s3:CopyObject#3", 403, "AccessDenied", "Access Denied")]);
    stage.copy_tree(&[]).await.expect(4).says(&["running again copies the others", "of 9 objects"]);
    stage.front.set_faults([
        Fault::error("s3:CopyObject", 503, "SlowDown", "Please reduce your request rate.").times(3),
        Fault::new("s3:CopyObject", Effect::Reset).after_effect().times(2),
    ]);
    stage.copy_tree(&["--replace"]).await.expect(0);
    stage.compare().await.expect(0);
    stage.front.set_faults([Fault::new("s3:ListObjectsV2", Effect::Reset)]);
    stage.compare().await.expect(1).says(&["can't be reached", "nothing was changed"]);
    stage.front.set_faults([Fault::error("s3:ListObjectsV2", 403, "AccessDenied", "Access Denied")]);
    stage.compare().await.expect(1).says(&["s3:ListBucket", "nothing was changed"]);
}

#[tokio::test]
async fn the_newest_of_a_folder_is_copied_after_the_others() {
    let stage = Stage::load("tree-order").await;
    for (key, body) in [("a.tar", "a"), ("b.tar", "b"), ("c.tar", "c")] {
        stage.put(&format!("tree/sync/{key}"), &[], body).await;
    }
    stage.copy_tree(&[]).await.expect(0).says(&["the newest of each folder after the others"]);
    let keys: Vec<String> = stage.spy.sent("CopyObject", "x-amz-copy-source");
    assert!(keys.last().unwrap().ends_with("tree/sync/b.tar"), "{keys:?}");
    // The newest is there, and an older one has to be copied: it is written again, or the older would be taken for it.
    stage.send("DELETE", &format!("{}/kept/sync/c.tar", stage.new), &[], Vec::new()).await;
    stage.front.forget();
    stage.copy_tree(&[]).await.expect(0).says(&["copy again, to stay the newest: sync/b.tar"]);
    let keys: Vec<String> = stage.spy.sent("CopyObject", "x-amz-copy-source").split_off(3);
    assert!(keys.len() == 2 && keys[0].ends_with("c.tar") && keys[1].ends_with("b.tar"), "{keys:?}");
    // One at a time where all of the order counts.
    for key in ["a", "b", "c"] {
        stage.send("DELETE", &format!("{}/kept/sync/{key}.tar", stage.new), &[], Vec::new()).await;
    }
    stage.copy_tree(&["--order", "oldest-first"]).await.expect(0);
    let keys: Vec<String> = stage.spy.sent("CopyObject", "x-amz-copy-source").split_off(5);
    let names: Vec<&str> = keys.iter().map(|key| key.rsplit('/').next().unwrap()).collect();
    assert_eq!(names, ["c.tar", "a.tar", "b.tar"]);
    stage.is_played();
}

#[tokio::test]
async fn what_changes_meanwhile_is_said() {
    let stage = Stage::start().await;
    for key in ["a", "b", "c"] {
        stage.put(&format!("tree/{key}"), &[], key).await;
    }
    let hold = stage.front.hold("s3:CopyObject#2", When::BeforeForward);
    let copy = stage.copy_tree(&[]);
    let replace = async {
        hold.arrived().await;
        for key in ["a", "b", "c"] {
            stage.put(&format!("tree/{key}"), &[], format!("new {key}")).await;
        }
        stage.put("tree/d", &[], "d").await;
        hold.release();
    };
    let (ran, ()) = tokio::join!(copy, replace);
    ran.expect(7).says(&["changed since they were listed", "(replaced)"]);
    // What is there of it is of before, and the next run says so.
    stage.copy_tree(&[]).await.expect(3).says(&["--replace"]);
    stage.copy_tree(&["--replace"]).await.expect(0);
    stage.compare().await.expect(0);
}

#[tokio::test]
async fn a_large_object_of_a_tree_is_copied_in_parts() {
    let stage = Stage::start().await;
    stage.put("tree/big.tar", &[("x-amz-meta-jenkins", "2.5")], twelve()).await;
    stage.put("tree/small", &[], "small").await;
    let hold = stage.front.hold("s3:UploadPartCopy#2", When::BeforeForward);
    let (from, to) = (stage.from("tree/"), stage.to("kept/"));
    let args = [&["--from", &*from, "--to", &to, "--tree"][..], &PARTS].concat();
    let mut child = stage.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    hold.arrived().await;
    child.kill().await.unwrap();
    drop(hold);
    assert_eq!(stage.unfinished().await, 1);
    stage.copy_tree(&PARTS).await.expect(0).says(&["1 object (12.0 MiB) are written in parts"]);
    assert_eq!(stage.unfinished().await, 0);
    assert_eq!(stage.copy_of("kept/big.tar").await.unwrap(), twelve());
    stage.front.forget();
    stage.copy_tree(&PARTS).await.expect(0);
    assert_eq!(stage.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn what_a_user_gets_wrong_is_said_and_nothing_is_written() {
    let stage = Stage::start().await;
    stage.put("tree/a", &[], "a").await;
    stage.front.forget();
    let case = async |args: &[&str], code: i32, says: &[&str]| {
        run(stage.command(args)).await.expect(code).says(says);
    };
    let (from, to) = (stage.from("tree/"), stage.to("kept/"));
    let tree = |from: &str, to: &str| {
        vec!["--tree".to_owned(), "--from".into(), from.into(), "--to".into(), to.into()]
    };
    let strs = |args: &[String]| args.to_vec();
    for (args, code, says) in [
        (strs(&tree(&stage.from("tree"), &to)), 2, "end it with a slash"),
        (strs(&tree(&from, &stage.to("kept"))), 2, "end it with a slash"),
        (strs(&tree(&stage.from("none/"), &to)), 3, "nothing to copy"),
        (strs(&tree(&from, &from)), 3, "lies in the other"),
        (strs(&tree(&from, &stage.from("tree/below/"))), 3, "lies in the other"),
        (strs(&tree(&from, &stage.from(""))), 3, "lies in the other"),
        (strs(&tree(&from, &stage.to(&format!("{}/", "k".repeat(1023))))), 3, "longer than 1024 bytes"),
        (strs(&tree("s3://no-such-bucket-anywhere/a/", &to)), 3, "--from"),
    ] {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        case(&args, code, &[says, "nothing was changed"]).await;
    }
    case(&["--tree", "--latest", "--from", &from, "--to", &to], 2, &["--latest"]).await;
    assert_eq!(stage.writes(), Vec::<String>::new());
}
