//! What a step says that it needs is what its calls need, both ways.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::{actions, recorded};

/// Permissions that no recorded call shows, each with the reason.
const UNSEEN: [(&str, &str, &str); 5] = [
    ("copy-objects", "s3:DeleteObjectVersion", VERSIONS),
    ("copy-objects", "s3:GetObjectVersion", VERSIONS),
    ("copy-objects", "s3:GetObjectVersionTagging", VERSIONS),
    // https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html: for the tags that a copy is given.
    (
        "copy-objects",
        "s3:PutObjectTagging",
        "tags go with CopyObject and CreateMultipartUpload, not by a call of their own",
    ),
    ("run-migration", "s3:GetObjectVersion", VERSIONS),
];

const VERSIONS: &str = "the call of an object's version has the name of the call of the object";

/// Every action that the policy of a step allows.
fn granted(step: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_cutover")).args(["--policy", step]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let policy: Value = serde_json::from_slice(&output.stdout).unwrap();
    let statements = policy["Statement"].as_array().unwrap();
    let actions = statements.iter().flat_map(|statement| statement["Action"].as_array().unwrap());
    actions.map(|action| action.as_str().unwrap().to_owned()).collect()
}

#[test]
fn each_step_is_allowed_what_it_calls_and_nothing_else() {
    let Some(texts) = recorded("calls-") else { return };
    let mut called: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for line in texts.iter().flat_map(|text| text.lines()) {
        let [step, service, operation] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        called.entry(step).or_default().extend(actions::of(service, operation));
    }
    // Tests that need recorded inputs were skipped where these are not: then what nobody called says nothing.
    let is_all = testkit::inputs::recorded("whether each permission is used").is_some()
        && testkit::inputs::change_sets("whether each permission is used").is_some();
    let mut wrong = Vec::new();
    for (step, called) in &called {
        let granted = granted(step);
        let lacks = called.difference(&granted);
        wrong.extend(lacks.map(|action| format!("{step} calls {action}, which its permissions lack")));
        let unseen = granted.difference(called).filter(|_| is_all);
        let unseen =
            unseen.filter(|action| !UNSEEN.iter().any(|(s, a, _)| (s, *a) == (step, action.as_str())));
        wrong.extend(unseen.map(|action| format!("{step} asks for {action}, which no test has it call")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(called.len() >= 10, "only {:?} called AWS: were all end-to-end tests run?", called.keys());
}
