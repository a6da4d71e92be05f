//! A migration that says anything at all: split, judged or refused, and never run past its end.

use std::cmp::Ordering;

use proptest::prelude::*;
use testkit::foreign::{anything, config, corpus, hostile, mistaken, recorded, seeds};

use crate::files::stem;
use crate::ledger::parse_ledger;
use crate::lint::{findings, parse_allow};
use crate::sql::{Script, parse};
use crate::version;

/// Every statement stands in the file where it is said to, one after another.
fn splits(text: &str) -> Script {
    let script = parse(text);
    let mut end = 0;
    for statement in &script.statements {
        assert!(statement.start >= end, "{:?} begins before the one before it ends", statement.text);
        assert!(text[statement.start..].starts_with(&statement.text));
        assert_eq!(statement.line, 1 + text[..statement.start].matches('\n').count());
        end = statement.start + statement.text.len();
    }
    script
}

#[test]
fn every_text_of_the_corpus_is_split() {
    let mut texts: Vec<Vec<u8>> = corpus("sql").into_iter().map(|(_, text)| text).collect();
    texts.extend(hostile());
    for bytes in &texts {
        let text = String::from_utf8_lossy(bytes);
        let script = splits(&text);
        // The rules go through a file many times.
        if bytes.len() < 60_000 {
            let _ = findings(&script, server());
        }
        let _ = (stem(&text), version::of(&text), parse_allow(&text), parse_ledger(&text));
    }
    for (_, text) in &recorded("SQL", 100_000) {
        drop(splits(&String::from_utf8_lossy(text)));
    }
}

/// Who judges a file descends into it: so deep that nobody has a stack for it is a refusal, anything less an answer.
#[test]
fn depth_comes_to_an_end() {
    let nested =
        |open: &str, close: &str, depth| format!("SELECT {}1{};", open.repeat(depth), close.repeat(depth));
    for (open, close) in [
        ("(", ")"),
        ("(SELECT ", ")"),
        ("CASE WHEN true THEN ", " END"),
        ("NOT ", ""),
        ("- ", ""),
        ("1+", ""),
    ] {
        let script = splits(&nested(open, close, 900));
        assert_eq!(script.problems, [], "{open}");
        assert_eq!(findings(&script, server()), [], "{open}");
        let script = splits(&nested(open, close, 20_000));
        assert!(script.is_deep(), "{open}");
        let _ = findings(&script, server());
    }
    // Rows by the thousand are none of it.
    let rows = format!("INSERT INTO t VALUES {}(1, 2);", "(1, 'a'), ".repeat(30_000));
    assert_eq!(splits(&rows).problems, []);
}

fn server() -> postgres::ServerVersion {
    postgres::ServerVersion(150_018)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_migration_with_mistakes_is_split_and_judged(text in mistaken(seeds("sql"))) {
        let script = splits(&text);
        let _ = findings(&script, server());
    }

    #[test]
    fn versions_have_one_order(texts in proptest::collection::vec("[0-9]{1,4}([._][0-9]{1,3}){0,3}", 3)) {
        let [a, b, c] = &texts.iter().map(|text| version::numbers(text).unwrap_or_default()).collect::<Vec<_>>()[..] else {
            return Ok(());
        };
        prop_assert_eq!(version::compare(a, b), version::compare(b, a).reverse());
        prop_assert_eq!(version::compare(a, a), Ordering::Equal);
        if version::compare(a, b).is_le() && version::compare(b, c).is_le() {
            prop_assert!(version::compare(a, c).is_le());
        }
    }

    #[test]
    fn names_of_any_kind_are_read_or_refused(text in anything()) {
        let (name, _) = stem(&text);
        prop_assert!(name.contains(version::of(name)) || version::of(name).is_empty());
        let _ = (parse_allow(&text), parse_ledger(&text), version::numbers(&text));
    }
}
