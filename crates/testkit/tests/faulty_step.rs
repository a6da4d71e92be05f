//! A bug in a step: the receipt on disk tells what was begun, the exit code is a documented one, and the message says what
//! to do.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

fn run(folder: &Path, panic: &str, more: &[&str]) -> (Output, String, Option<Value>) {
    let receipt = folder.join("receipt.json");
    let output = Command::new(env!("CARGO_BIN_EXE_faulty-step"))
        .args(["--panic", panic, "--receipt"])
        .arg(&receipt)
        .args(more)
        .env_clear()
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr.clone()).unwrap();
    let receipt = std::fs::read(&receipt).ok().map(|bytes| serde_json::from_slice(&bytes).unwrap());
    (output, told, receipt)
}

#[test]
fn panic_before_any_call_changes_nothing_and_leaves_no_receipt() {
    let folder = tempfile::tempdir().unwrap();
    let (output, told, receipt) = run(folder.path(), "before-the-plan", &[]);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("no such thing as BeforeThePlan"), "{told}");
    assert!(told.contains("this is a bug in the step"), "{told}");
    assert!(told.contains("nothing was changed"), "{told}");
    assert_eq!(receipt, None);
}

#[test]
fn panic_during_a_call_leaves_the_action_in_doubt() {
    let folder = tempfile::tempdir().unwrap();
    let (output, told, receipt) = run(folder.path(), "during-the-call", &[]);
    assert_eq!(output.status.code(), Some(4), "{told}");
    let receipt = receipt.unwrap();
    assert_eq!(receipt["actions"][0]["id"], "do-it");
    assert_eq!(receipt["actions"][0]["state"], "started");
    assert_eq!(receipt["actions"][0]["inverse"], json!({"before": 1}));
    assert_eq!(receipt["verdict"]["code"], 4);
    assert!(receipt["ended"].is_string(), "{receipt:#}");
    assert!(told.contains("state: in doubt: do it"), "{told}");
}

#[test]
fn panic_after_a_call_says_what_stands() {
    for place in ["after-the-call", "in-another-task"] {
        let folder = tempfile::tempdir().unwrap();
        let (output, told, receipt) = run(folder.path(), place, &[]);
        assert_eq!(output.status.code(), Some(4), "{told}");
        let receipt = receipt.unwrap();
        assert_eq!(receipt["actions"][0]["state"], "done");
        assert_eq!(receipt["actions"][0]["result"], 2);
        assert_eq!(receipt["verdict"]["code"], 4);
        assert!(told.contains("state: done: do it\n  state: receipt: "), "{told}");
        assert_eq!(String::from_utf8(output.stdout).unwrap().matches("done").count(), 0);
    }
}
