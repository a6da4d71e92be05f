//! docs/changeset-review.md says what the code does.

use serde_json::Value;

use crate::fate::WORDS;
use crate::review::{Review, SCHEMA};

const PAGE: &str = include_str!("../../../../docs/changeset-review.md");

fn example() -> Value {
    let block = PAGE.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    serde_json::from_str(block).unwrap()
}

#[test]
fn the_example_is_a_review_with_every_field() {
    let review: Review = serde_json::from_value(example()).unwrap();
    assert_eq!(review.schema, SCHEMA);
    assert_eq!(serde_json::to_value(&review).unwrap(), example());
    let counted = Review::new(&review.version, None, review.rules.clone(), review.stacks.clone());
    assert_eq!((counted.counts, counted.verdict), (review.counts, review.verdict));
    assert_eq!(review.blockers().len(), 1);
}

#[test]
fn every_field_and_every_word_is_explained() {
    fn names(value: &Value, into: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    into.push(name.clone());
                    names(value, into);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| names(item, into)),
            _ => {}
        }
    }
    let mut all: Vec<String> = Vec::new();
    names(&example(), &mut all);
    all.extend(WORDS.map(str::to_owned));
    all.extend(["weaken-guard", "in-place-risk", "will-fail"].map(str::to_owned));
    let verdicts =
        ["safe", "notice", "in-place-risk", "guard-removed", "will-fail", "detach", "possible-loss", "loss"];
    for verdict in verdicts {
        let word: crate::review::Verdict = serde_json::from_value(verdict.into()).unwrap();
        assert!(PAGE.contains(&format!("| `{verdict}` | {} |", word.title())), "{verdict}");
    }
    for name in all {
        assert!(PAGE.contains(&format!("`{name}`")), "{name} is not explained");
    }
}
