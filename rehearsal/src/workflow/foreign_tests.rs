//! Workflow files and expressions as nobody should write them: rehearsed, or refused with a line.

use proptest::prelude::*;
use serde_json::json;
use testkit::foreign::{anything, config, corpus, hostile, mistaken, seeds};

use super::Workflow;
use super::expr::{Status, bare, evaluate, references, split};

fn read(text: &str) {
    let contexts = json!({"inputs": {"tag": "v1", "dry-run": false}, "needs": {"plan": {"result": "success", "outputs": {"tag": "it's"}}}});
    let _ = (split(text), bare(text));
    if let Ok(found) = split(text) {
        for (range, inner) in found {
            assert!(text[range].contains(inner));
        }
    }
    if references(text).is_ok() {
        let _ = evaluate(text, &contexts, Status::default());
    }
}

fn load(folder: &std::path::Path, bytes: &[u8]) {
    let file = folder.join("workflow.yml");
    std::fs::write(&file, bytes).unwrap();
    if let Err(findings) = Workflow::load(&file, folder, folder) {
        assert!(findings.iter().all(|finding| finding.to_string().contains("workflow.yml line ")));
    }
}

#[test]
fn every_text_of_the_corpus_is_read_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (_, text) in corpus("workflows") {
        load(dir.path(), &text);
    }
    for bytes in hostile() {
        // Two readers of YAML, unoptimised, are slow with more.
        if bytes.len() < 60_000 {
            load(dir.path(), &bytes);
        }
        read(&String::from_utf8_lossy(&bytes));
    }
    seeds("expressions").iter().flat_map(|text| text.lines()).for_each(read);
}

/// Of as many levels as GitHub's runner takes, 50, and no more than anybody writes in a row.
#[test]
fn an_expression_that_has_no_end_is_refused() {
    for deep in ["(", "!", "a[", "format(", "a.", "a && ", "1 == ", "1 < "] {
        assert!(references(&format!("{}true", deep.repeat(10_000))).is_err());
    }
    let nested = |depth: usize| format!("{}true{}", "(".repeat(depth), ")".repeat(depth));
    assert!(references(&nested(40)).is_ok());
    assert!(references(&nested(60)).is_err());
    assert!(references(&format!("'{}'", "(".repeat(1000))).is_ok());
    read(&format!("{}true", "true && ".repeat(190)));
    read(&format!("{}true", "!".repeat(45)));
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn an_expression_with_mistakes_is_read_or_refused(
        text in prop_oneof![anything(), mistaken(seeds("expressions").iter().flat_map(|text| text.lines()).map(str::to_owned).collect())],
    ) {
        read(&text);
    }

    /// Whatever stands in quotes is the text that comes out.
    #[test]
    fn what_is_quoted_is_a_text(text in "[^\0\r\n]{0,20}") {
        let quoted = format!("'{}'", text.replace('\'', "''"));
        let found = evaluate(&quoted, &json!({}), Status::default()).map(|value| value.sema().to_string());
        prop_assert_eq!(found, Ok(text));
    }
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 64, ..config() })]

    #[test]
    fn a_workflow_with_mistakes_is_read_or_refused(text in mistaken(seeds("workflows"))) {
        let dir = tempfile::tempdir().unwrap();
        load(dir.path(), text.as_bytes());
    }
}
