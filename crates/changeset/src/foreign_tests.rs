//! Templates, parameters and answers that nobody wrote well: read or refused with a line, and no secret in what is shown.

use std::collections::BTreeMap;

use kit::redact_value;
use proptest::prelude::*;
use serde_json::{Value, json};
use testkit::foreign::{anything, config, corpus, hostile, mistaken, seeds};

use crate::answer::Answer;
use crate::approve::Approval;
use crate::set::{Page, assemble};
use crate::template::{ParameterFile, Pseudo, Template};

fn read_all(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(template) = Template::parse(&text) {
        let _ = (template.no_echo(), template.resolve(&BTreeMap::new(), &Pseudo::default()));
    }
    let _ = ParameterFile::parse(&text, &["Password"]);
    if let Ok(answer) = serde_json::from_slice::<Answer>(bytes) {
        let _ = assemble(vec![Page { from: "a file".to_owned(), answer, values: None }]);
    }
    let _ = redact_value("/Properties/X", &text);
}

#[test]
fn every_text_of_the_corpus_is_read_or_refused() {
    let kinds = ["templates", "parameters", "change-sets"];
    kinds.iter().flat_map(|kind| corpus(kind)).for_each(|(_, text)| read_all(&text));
    for text in &hostile() {
        read_all(text);
    }
    if let Some(folder) = testkit::inputs::change_sets("recorded change sets read as every kind of file") {
        let texts: Vec<_> = walk(&folder);
        assert!(!texts.is_empty());
        for text in &texts {
            read_all(text);
        }
    }
}

/// The files beneath a folder that are not larger than a template may be.
fn walk(folder: &std::path::Path) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path));
        } else if path.metadata().unwrap().len() < 100_000 {
            found.push(std::fs::read(&path).unwrap());
        }
    }
    found
}

/// A few hundred bytes that would be a billion values.
#[test]
fn aliases_do_not_fill_the_memory() {
    for (name, text) in corpus("templates").into_iter().filter(|(name, _)| name.contains("billion")) {
        let refused = Template::parse(&String::from_utf8(text).unwrap()).err();
        assert!(format!("{:?}", refused.unwrap().flaws).contains("too much of too little"), "{name}");
    }
}

/// Names by which `redact` knows a secret, in the writings of its callers.
fn secret_name() -> impl Strategy<Value = String> {
    proptest::sample::select(vec![
        "MasterUserPassword",
        "DB_PASSWORD",
        "AuthToken",
        "x-api-key",
        "ClientSecret",
        "private_key",
    ])
    .prop_map(str::to_owned)
}

/// What nobody would read as a reference to a secret that is kept elsewhere.
const SECRET: &str = "s3kr3t[A-Za-z0-9+/._-]{8,20}";

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_template_with_mistakes_is_read_or_refused(text in mistaken(seeds("templates"))) {
        read_all(text.as_bytes());
    }

    #[test]
    fn parameters_with_mistakes_are_read_or_refused(text in mistaken(seeds("parameters"))) {
        if let Ok(file) = ParameterFile::parse(&text, &["Password"]) {
            let mut names: Vec<&str> = file.given.iter().map(|given| given.parameter.as_str()).collect();
            names.sort_unstable();
            let all = names.len();
            names.dedup();
            prop_assert_eq!(names.len(), all, "a name twice");
        }
    }

    #[test]
    fn an_answer_with_mistakes_is_read_or_refused(text in mistaken(seeds("change-sets"))) {
        read_all(text.as_bytes());
    }

    /// What is kept of an answer and read again says the same, words of tomorrow included.
    #[test]
    fn an_answer_is_written_as_it_was_read(text in mistaken(seeds("change-sets"))) {
        if let Ok(answer) = serde_json::from_str::<Answer>(&text) {
            let written = serde_json::to_value(&answer).unwrap();
            let again: Answer = serde_json::from_value(written.clone()).unwrap();
            prop_assert_eq!(serde_json::to_value(&again).unwrap(), written);
        }
    }

    #[test]
    fn an_approval_is_read_or_refused(text in prop_oneof![anything(), mistaken(vec!["api/TileTable:replace-delete,loss".to_owned()])]) {
        let _ = text.parse::<Approval>();
    }

    #[test]
    fn no_secret_comes_through_its_name(name in secret_name(), secret in SECRET, beside in anything()) {
        let shown = |path: &str, value: &str| redact_value(path, value).unwrap_or_else(|| value.to_owned());
        let path = format!("/Properties/{name}");
        prop_assert!(!shown(&path, &secret).contains(&secret));
        let document = json!({"Before": beside, &name: secret, "Nested": [{&name: {"Value": [&secret]}}]}).to_string();
        let redacted = shown("/Properties", &document);
        prop_assert!(!redacted.contains(&secret), "{}", redacted);
        // What is masked is still the document, but for the secret.
        let kept: Value = serde_json::from_str(&redacted).unwrap();
        prop_assert!(kept.get("Nested").is_some());
    }

    #[test]
    fn no_password_comes_through_a_url(secret in "[A-Za-z0-9]{8,20}", host in "[a-z]{3,9}", before in "[a-z ]{0,9}") {
        let text = format!("{before}postgres://app:{secret}@{host}:5432/rally");
        let shown = redact_value("/Properties/Command", &text).unwrap_or(text);
        prop_assert!(!shown.contains(&secret), "{}", shown);
    }

    #[test]
    fn redaction_is_done_once(path in prop_oneof![Just("/Properties/X".to_owned()), secret_name()], text in mistaken(seeds("templates"))) {
        if let Some(redacted) = redact_value(&path, &text) {
            prop_assert_eq!(redact_value(&path, &redacted).unwrap_or_else(|| redacted.clone()), redacted);
        }
    }
}
