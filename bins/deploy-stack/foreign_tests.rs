//! What a stack was and what was approved, from files that lay somewhere: read as they were written, or refused with their place.

use std::collections::BTreeSet;

use changeset::fate::{Fate, Need, Old};
use changeset::review::{Operation, Review, Row, StackReview, State, Tier, Verdict, Wishes};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use testkit::foreign::{anything, config, corpus, hostile, mistaken, seeds};

use crate::protect::policy;
use crate::reviewed;
use crate::saved::{self, newest_of};

const SAVED: &str = "saved-stacks";
const REVIEWS: &str = "reviews";
/// What stands for a secret in the corpus.
const SECRET: &str = "s3kr3t-of-the-corpus";

fn text(kind: &str, name: &str) -> String {
    let found = corpus(kind).into_iter().find(|(path, _)| path.ends_with(name));
    String::from_utf8(found.unwrap().1).unwrap()
}

/// What is read is written as it was read; what is refused is not repeated.
fn saved_holds(text: &[u8]) {
    match saved::parse(text) {
        Ok(saved) => {
            assert!(std::str::from_utf8(text).is_ok());
            assert_eq!(saved::parse(serde_json::to_string_pretty(&saved).unwrap().as_bytes()), Ok(saved));
        }
        Err(why) => assert!(!why.contains(SECRET) && !why.contains(char::is_control), "{why:?}"),
    }
}

#[test]
fn every_text_of_the_corpus_is_read_or_refused() {
    for (path, text) in &corpus(SAVED) {
        saved_holds(text);
        assert_eq!(saved::parse(text).is_ok(), path.ends_with("/whole.json"), "{path}");
    }
    for (path, text) in &corpus(REVIEWS) {
        let text = String::from_utf8(text.clone()).unwrap();
        let fingerprint = serde_json::from_str::<Review>(&text)
            .map_or_else(|_| String::new(), |review| review.own_fingerprint());
        let read = reviewed::parse(&path, &text, &fingerprint);
        assert_eq!(read.is_ok(), path.ends_with("/whole.json"), "{path}");
        if let Err(failure) = read {
            assert!(failure.to_string().contains(path.as_str()), "{failure}");
        }
    }
    for text in &hostile() {
        saved_holds(text);
        assert!(reviewed::parse(&"a file", &String::from_utf8_lossy(text), "sha256:0").is_err());
    }
}

#[test]
fn a_file_that_is_cut_off_is_none() {
    let whole = text(SAVED, "/whole.json");
    for end in 0..whole.trim_end().len() {
        let why = saved::parse(&whole.as_bytes()[..end]).unwrap_err();
        assert!(why.contains("cut off") && !why.contains("s3kr3t"), "to {end}: {why}");
    }
    let whole = text(REVIEWS, "/whole.json");
    let fingerprint = serde_json::from_str::<Review>(&whole).unwrap().own_fingerprint();
    for end in 0..whole.trim_end().len() {
        assert!(reviewed::parse(&"a file", &whole[..end], &fingerprint).is_err(), "to {end}");
    }
}

/// None of several is passed over: what follows from it is what a stack is made again from.
#[test]
fn one_that_is_of_no_use_is_named_with_its_place() {
    let whole = text(SAVED, "/whole.json").into_bytes();
    for (path, other) in corpus(SAVED).into_iter().filter(|(path, _)| !path.ends_with("/whole.json")) {
        for found in [
            vec![("first".to_owned(), whole.clone()), (path.clone(), other.clone())],
            vec![(path.clone(), other)],
        ] {
            let failure = newest_of("redis", &found, |_| true).unwrap_err();
            assert!(failure.to_string().contains(&path), "{failure}");
            assert!(!format!("{failure:?}").contains(SECRET), "{failure:?}");
        }
    }
    assert!(newest_of("redis", &[("a".to_owned(), whole.clone())], |_| true).unwrap().is_some());
    assert!(newest_of("redis-two", &[("a".to_owned(), whole)], |_| true).unwrap().is_none());
}

fn words() -> impl Strategy<Value = Value> {
    proptest::collection::btree_map(anything(), anything(), 0..3).prop_map(|map| json!(map))
}

/// A document as this step writes it, of a stack with whatever names and values.
fn document() -> impl Strategy<Value = Value> {
    let texts =
        (anything(), anything(), option::of(anything()), option::of(anything()), vec(anything(), 0..3));
    (texts, words(), words(), words(), option::of(any::<i32>()), 0..4_000_000_000_i64).prop_map(
        |((stack, status, template, role, arns), parameters, tags, outputs, minutes, second)| {
            let saved = time::OffsetDateTime::from_unix_timestamp(second).unwrap();
            json!({
                "schema": saved::SCHEMA, "stack": stack, "stack-id": format!("arn:aws:cloudformation:us-east-1:1:stack/{stack}/1"),
                "saved": saved.format(&time::format_description::well_known::Rfc3339).unwrap(), "status": status,
                "template": template, "parameters": parameters, "tags": tags, "capabilities": arns, "role-arn": role,
                "notification-arns": arns, "rollback-triggers": [{"arn": stack, "type": status}],
                "monitoring-minutes": minutes, "stack-policy": template, "outputs": outputs,
            })
        },
    )
}

fn fate() -> impl Strategy<Value = Fate> {
    let old = || select(vec![Old::Retained, Old::Snapshot, Old::Deleted]);
    prop_oneof![
        select(vec![
            Fate::Sync,
            Fate::Add,
            Fate::Import,
            Fate::Modify,
            Fate::Opaque,
            Fate::Dynamic,
            Fate::Unknown
        ]),
        old().prop_map(Fate::Replace),
        old().prop_map(Fate::MayReplace),
        old().prop_map(Fate::Remove),
    ]
}

fn needs() -> impl Strategy<Value = BTreeSet<Need>> {
    let need = prop_oneof![
        fate().prop_map(Need::Fate),
        select(vec![Need::WeakenGuard, Need::InPlaceRisk, Need::WillFail]),
    ];
    btree_set(need, 0..3)
}

fn row() -> impl Strategy<Value = Row> {
    let verdict =
        select(vec![Verdict::Safe, Verdict::Notice, Verdict::WillFail, Verdict::Detach, Verdict::Loss]);
    let texts =
        (anything(), option::of(anything()), anything(), btree_set(anything(), 0..2), vec(anything(), 0..2));
    (texts, fate(), option::of(select(vec![Tier::Data, Tier::Identity])), verdict, needs(), needs()).prop_map(
        |((logical_id, physical_id, resource_type, risks, reasons), fate, tier, verdict, needs, approved)| {
            Row {
                stack: "api".to_owned(),
                logical_id,
                physical_id,
                resource_type,
                fate,
                tier,
                verdict,
                needs,
                approved,
                risks,
                reasons,
                properties: Vec::new(),
            }
        },
    )
}

fn review() -> impl Strategy<Value = Review> {
    let state =
        prop_oneof![Just(State::Reviewed), Just(State::NoChanges), anything().prop_map(State::Provisional)];
    let operation =
        select(vec![Operation::Create, Operation::Update, Operation::Delete, Operation::Recreate]);
    let stack = (anything(), anything(), option::of(anything()), operation, state, vec(row(), 0..3))
        .prop_map(|(label, stack, stack_id, operation, state, rows)| StackReview {
            label,
            stack,
            stack_id: stack_id.clone(),
            change_set: stack_id,
            operation,
            state,
            rows,
            warnings: Vec::new(),
        });
    let wishes = (any::<bool>(), vec(anything(), 0..2)).prop_map(|(strict, types)| Wishes {
        strict,
        stateful: types.clone(),
        stateless: types,
    });
    (option::of((anything(), anything())), wishes, vec(stack, 0..3))
        .prop_map(|(place, wishes, stacks)| Review::new("0.1.0", place, wishes, stacks))
}

/// What of a review decides what may be done: all that is approved and all that is compared.
fn decides(review: &Review) -> Value {
    let stacks = review.stacks.iter().map(|stack| {
        let mut rows: Vec<Value> = stack
            .rows
            .iter()
            .map(|row| {
                json!([
                    row.name(),
                    row.physical_id,
                    row.resource_type,
                    row.fate,
                    row.verdict,
                    row.needs,
                    row.approved,
                    row.risks
                ])
            })
            .collect();
        rows.sort_by_key(Value::to_string);
        json!([stack.label, stack.stack, stack.stack_id, stack.operation, stack.state, rows])
    });
    json!([review.account, review.region, review.rules, stacks.collect::<Vec<_>>()])
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_was_saved_is_read_back(document in document()) {
        let saved = saved::parse(document.to_string().as_bytes()).unwrap();
        prop_assert_eq!(serde_json::to_value(&saved).unwrap(), document.clone());
        saved_holds(document.to_string().as_bytes());
        let stack = document["stack"].as_str().unwrap();
        let found = newest_of(stack, &[("a".to_owned(), document.to_string().into_bytes())], |_| true).unwrap();
        prop_assert_eq!(found, Some(saved));
    }

    #[test]
    fn what_was_saved_with_mistakes_is_read_or_refused(text in mistaken(seeds(SAVED))) {
        saved_holds(text.as_bytes());
    }

    /// Wherever a secret stands in a document that can't be read, the message does not have it.
    #[test]
    fn no_secret_of_a_document_is_told(mut document in document(), field in any::<prop::sample::Index>(), secret in "s3kr3t[a-z0-9]{8}", deep in any::<bool>()) {
        let names: Vec<String> = document.as_object().unwrap().keys().cloned().collect();
        let field = field.get(&names);
        document[field] = if deep { json!({"x": [&secret]}) } else { json!(&secret) };
        if let Err(why) = saved::parse(document.to_string().as_bytes()) {
            prop_assert!(!why.contains(&secret) || field == "schema", "{}", why);
        }
    }

    #[test]
    fn fields_of_tomorrow_change_nothing_and_a_schema_of_tomorrow_all(document in document(), value in anything(), version in 2..99_u8) {
        let mut later = document.clone();
        later["of-tomorrow"] = json!([value]);
        prop_assert_eq!(saved::parse(later.to_string().as_bytes()), saved::parse(document.to_string().as_bytes()));
        later["schema"] = json!(format!("cutover/saved-stack/{version}"));
        let why = saved::parse(later.to_string().as_bytes()).unwrap_err();
        prop_assert!(why.contains(&format!("saved-stack/{version}")), "{}", why);
    }

    /// A stack policy is somebody's: what it says stays, and the denial is added once.
    #[test]
    fn a_policy_keeps_what_it_says(
        version in anything(), sids in vec(anything(), 0..3), held in vec("[A-Za-z0-9]{1,8}", 1..3), text in mistaken(vec!["{\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"Update:*\",\"Principal\":\"*\",\"Resource\":\"*\"}]}".to_owned()]),
    ) {
        let statements: Vec<Value> = sids.iter().map(|sid| json!({"Sid": sid, "Effect": "Deny", "Action": "Update:*", "Principal": "*", "Resource": "*"})).collect();
        let own = json!({"Version": version, "Statement": statements});
        for text in [own.to_string(), text] {
            let Ok(made) = policy(Some(&text), &held) else { continue };
            let (before, made): (Value, Value) = (serde_json::from_str(&text).unwrap(), made.unwrap());
            let (old, new) = (before["Statement"].as_array().unwrap(), made["Statement"].as_array().unwrap());
            prop_assert_eq!(&new[..old.len()], old.as_slice());
            prop_assert_eq!(new.len(), old.len() + 1);
            prop_assert_eq!(&new[old.len()]["Effect"], "Deny");
            let rest = |policy: &Value| policy.as_object().unwrap().iter().filter(|(name, _)| *name != "Statement").map(|(name, value)| (name.clone(), value.clone())).collect::<Vec<_>>();
            prop_assert_eq!(rest(&before), rest(&made));
            prop_assert_eq!(policy(Some(&made.to_string()), &held).unwrap(), None);
        }
        prop_assert!(policy(Some(&own.to_string()), &held).is_ok());
    }

    #[test]
    fn a_review_is_read_as_it_was_written(review in review()) {
        for text in [serde_json::to_string(&review).unwrap(), serde_json::to_string_pretty(&review).unwrap()] {
            prop_assert_eq!(&reviewed::parse(&"a file", &text, &review.fingerprint).unwrap(), &review);
            prop_assert!(reviewed::parse(&"a file", &text, "sha256:0").is_err());
            prop_assert!(reviewed::parse(&"a file", &text, "").is_err());
        }
    }

    /// Whatever was changed in the file: what is believed is what was approved.
    #[test]
    fn an_edited_review_is_refused_or_says_the_same(text in mistaken(vec![text(REVIEWS, "/whole.json")])) {
        let approved: Review = serde_json::from_str(&self::text(REVIEWS, "/whole.json")).unwrap();
        if let Ok(review) = reviewed::parse(&"a file", &text, &approved.own_fingerprint()) {
            prop_assert_eq!(decides(&review), decides(&approved));
        }
    }

    /// Two reviews that decide differently have two fingerprints.
    #[test]
    fn a_fingerprint_is_of_all_that_decides(one in review(), other in review(), row in row()) {
        prop_assert_eq!(one.fingerprint == other.fingerprint, decides(&one) == decides(&other));
        let mut more = one.clone();
        if let Some(stack) = more.stacks.first_mut() {
            stack.rows.push(row);
            prop_assert_ne!(more.own_fingerprint(), one.fingerprint);
        }
    }
}
