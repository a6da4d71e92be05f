//! A definition from anywhere: read or refused, and of what is read nothing is lost.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use testkit::foreign::{anything, config, corpus, hostile, mistaken, recorded, seeds};

use crate::canonical::{canonical, fingerprint, presented};
use crate::document::registrable;
use crate::file::parse;
use crate::image::{parse_container_image, parse_expected_digest, parse_image};

fn read(bytes: &[u8]) {
    for lenient in [true, false] {
        let Ok(document) = parse("a file", bytes, lenient) else { continue };
        let again = parse("a file", document.to_string().as_bytes(), lenient).unwrap();
        assert_eq!(again, document);
        let one = canonical(&document);
        assert_eq!(canonical(&one), one);
        assert_eq!(fingerprint(&one), fingerprint(&document));
        let _ = presented(&document);
    }
}

#[test]
fn every_text_of_the_corpus_is_read_or_refused() {
    for (name, text) in corpus("task-definitions") {
        read(&text);
        let taken = parse(&name, &text, false).is_ok();
        let good = ["described", "minimal", "bom-crlf"].iter().any(|good| name.contains(good));
        assert_eq!(taken, good, "{name}");
    }
    for text in &hostile() {
        read(text);
    }
    for (_, text) in &recorded("task definitions", 100_000) {
        read(text);
    }
}

/// Any JSON, a few levels deep.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(false)),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no others", |number| number.is_finite()).prop_map(Value::from),
        anything().prop_filter("ECS takes no NUL", |text| !text.contains('\0')).prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{1,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_definition_with_mistakes_is_read_or_refused(text in mistaken(seeds("task-definitions"))) {
        read(text.as_bytes());
    }

    #[test]
    fn a_field_that_nobody_knows_yet_is_kept(field in "x[A-Za-z]{3,12}", unknown in value(), deep in value()) {
        let written = json!({
            "family": "web", &field: unknown,
            "containerDefinitions": [{"name": "web", "image": "nginx:1", "memory": 128, &field: deep}],
        });
        let read = parse("a file", written.to_string().as_bytes(), true).unwrap();
        prop_assert_eq!(&read, &written);
        prop_assert_eq!(&registrable(&read, &Value::Null), &written);
        prop_assert!(parse("a file", written.to_string().as_bytes(), false).is_err());
        // A described one too, without what ECS alone sets.
        let described = json!({"taskDefinition": {"revision": 3, "status": "ACTIVE", "family": "web", &field: unknown,
            "containerDefinitions": written["containerDefinitions"]}});
        prop_assert_eq!(&parse("a file", described.to_string().as_bytes(), true).unwrap(), &written);
    }

    #[test]
    fn an_image_is_written_as_it_was_read(text in mistaken(vec![
        "123456789012.dkr.ecr.us-east-1.amazonaws.com/rally/web:v2.1.0".to_owned(), "localhost:5000/web".to_owned(),
        format!("web@sha256:{}", "0a".repeat(32)),
    ])) {
        if let Ok(image) = parse_image(&text) {
            prop_assert_eq!(image.to_string(), text.as_str());
        }
        let _ = (parse_container_image(&text), parse_expected_digest(&text));
    }
}
