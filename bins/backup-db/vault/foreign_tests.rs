//! The document of an export, and its lines: read as they were written, and nothing else is taken for one.

use ::vault::Kv;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use testkit::foreign::{anything, config, corpus, hostile, mistaken, seeds};
use time::OffsetDateTime;

use super::document::{Export, Head, KIND, Line, SCHEMA, SUFFIX, line, manifest_of};

const CORPUS: &str = "vault-exports";
const BUCKET: &str = "backups";
const KEY: &str = "boss/vault.secret/20261121T091502Z-00af5aa8-release-7.jsonl.age";

fn whole() -> String {
    let found = corpus(CORPUS).into_iter().find(|(path, _)| path.ends_with("/whole.json"));
    String::from_utf8(found.unwrap().1).unwrap()
}

/// What is read is this export and no other, and it is written as it was read.
fn holds(text: &[u8]) {
    match Export::parse(text, BUCKET, KEY) {
        Ok(export) => {
            assert_eq!((export.schema.as_str(), export.kind.as_str()), (SCHEMA, KIND));
            assert_eq!((export.bucket.as_str(), export.key.as_str()), (BUCKET, KEY));
            let written = serde_json::to_vec(&export).unwrap();
            assert_eq!(Export::parse(&written, BUCKET, KEY), Ok(export));
        }
        Err(why) => assert!(!why.contains(char::is_control), "{why:?}"),
    }
}

#[test]
fn every_text_of_the_corpus_is_read_or_refused() {
    for (path, text) in &corpus(CORPUS) {
        holds(text);
        assert_eq!(Export::parse(text, BUCKET, KEY).is_ok(), path.ends_with("/whole.json"), "{path}");
    }
    for text in &hostile() {
        holds(text);
    }
}

#[test]
fn a_document_that_is_cut_off_is_none() {
    let text = whole();
    for end in 0..text.trim_end().len() {
        assert!(Export::parse(&text.as_bytes()[..end], BUCKET, KEY).is_err(), "to {end}");
    }
}

/// Outputs name the export by what its document says: that of a copy would name the first one.
#[test]
fn the_document_of_a_copy_is_not_that_of_the_copy() {
    for (bucket, key) in [("other", KEY), (BUCKET, "boss/other.jsonl.age"), ("", ""), (BUCKET, "")] {
        let why = Export::parse(whole().as_bytes(), bucket, key).unwrap_err();
        assert!(why.contains("not what lies beside it"), "{why}");
    }
}

fn moment() -> impl Strategy<Value = OffsetDateTime> {
    (0..4_000_000_000_i64).prop_map(|second| OffsetDateTime::from_unix_timestamp(second).unwrap())
}

fn export() -> impl Strategy<Value = Export> {
    let words = (
        anything(),
        anything(),
        anything(),
        option::of(anything()),
        option::of(anything()),
        option::of(anything()),
    );
    let more = (
        any::<u64>(),
        any::<usize>(),
        vec(anything(), 0..3),
        select(vec![Kv::V1, Kv::V2]),
        moment(),
        moment(),
    );
    let github = option::of(proptest::collection::btree_map(anything(), anything(), 0..3));
    (words, more, github).prop_map(
        |(
            (mount, id, etag, version, cluster, namespace),
            (bytes, secrets, recipients, kv, started, ended),
            github,
        )| {
            Export {
                schema: SCHEMA.to_owned(),
                kind: KIND.to_owned(),
                bucket: BUCKET.to_owned(),
                key: KEY.to_owned(),
                bytes,
                sha256: etag.clone(),
                etag,
                version_id: version,
                cluster_id: cluster.clone(),
                cluster_name: cluster,
                vault_version: id.clone(),
                namespace,
                mount,
                kv,
                secrets,
                deleted: secrets,
                recipients,
                backup_id: id.clone(),
                started,
                ended,
                tool_version: id.clone(),
                run: id,
                github,
            }
        },
    )
}

/// A JSON object as somebody wrote it, with line breaks where blanks may be.
fn object() -> impl Strategy<Value = String> {
    vec((anything(), anything(), select(vec!["", " ", "\n", "\r\n\t"])), 0..4).prop_map(|fields| {
        let field = |(n, (name, value, blank)): (usize, (String, String, &'static str))| {
            format!(
                "{blank}{}{blank}:{blank}{}{blank}",
                Value::from(format!("{name}{n}")),
                Value::from(value)
            )
        };
        format!("{{{}}}", fields.into_iter().enumerate().map(field).collect::<Vec<_>>().join(","))
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_document_is_read_as_it_was_written(export in export()) {
        let written = serde_json::to_vec_pretty(&export).unwrap();
        prop_assert_eq!(Export::parse(&written, BUCKET, KEY), Ok(export));
    }

    #[test]
    fn a_document_with_mistakes_is_read_or_refused(text in mistaken(seeds(CORPUS))) {
        holds(text.as_bytes());
    }

    #[test]
    fn fields_of_tomorrow_change_nothing_and_a_schema_of_tomorrow_all(name in "[a-z]{3,9}_of_tomorrow", value in anything(), schema in "cutover-vault-export/([2-9]|1[0-9])") {
        let mut document: Value = serde_json::from_str(&whole()).unwrap();
        document[name] = json!([value]);
        let today = Export::parse(whole().as_bytes(), BUCKET, KEY);
        prop_assert_eq!(Export::parse(document.to_string().as_bytes(), BUCKET, KEY), today);
        document["schema"] = json!(schema);
        let why = Export::parse(document.to_string().as_bytes(), BUCKET, KEY).unwrap_err();
        prop_assert!(why.contains(&schema), "{}", why);
    }

    #[test]
    fn numbers_out_of_range_are_refused(field in select(vec!["bytes", "secrets", "deleted"]), value in select(vec!["-1", "1.5", "1e30", "18446744073709551616", "\"1\"", "null"])) {
        let mut document: Value = serde_json::from_str(&whole()).unwrap();
        document[field] = serde_json::from_str(value).unwrap();
        prop_assert!(Export::parse(document.to_string().as_bytes(), BUCKET, KEY).is_err());
    }

    #[test]
    fn a_secret_is_one_line_and_says_what_vault_said(path in anything(), version in option::of(any::<u64>()), data in object(), mount in anything()) {
        let raw = RawValue::from_string(data.clone()).unwrap();
        let head = Head { schema: SCHEMA, cluster_id: Some(&path), namespace: None, mount: &mount, kv: Kv::V2, taken: OffsetDateTime::UNIX_EPOCH };
        let written = [line(&head).unwrap(), line(&Line { path: &path, version, data: &raw }).unwrap()].concat();
        let written = String::from_utf8(written).unwrap();
        let lines: Vec<&str> = written.split_inclusive('\n').collect();
        prop_assert_eq!(lines.len(), 2);
        let read: Value = serde_json::from_str(lines[1]).unwrap();
        prop_assert_eq!(&read["data"], &serde_json::from_str::<Value>(&data).unwrap());
        prop_assert_eq!(&read["path"], &json!(path));
        prop_assert_eq!(read.get("version").and_then(Value::as_u64), version);
        // The restoring command leaves out the line that has no path.
        prop_assert!(serde_json::from_str::<Value>(lines[0]).unwrap().get("path").is_none());
    }

    #[test]
    fn an_export_and_its_document_are_told_apart(name in anything()) {
        let key = format!("{name}{SUFFIX}");
        prop_assert!(super::is_manifest(&manifest_of(&key)) && !super::is_manifest(&key));
    }
}
