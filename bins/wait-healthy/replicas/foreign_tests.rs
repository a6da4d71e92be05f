//! The saved numbers in a cluster that others write to: read as they were written, or refused.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use testkit::foreign::{anything, config, mistaken};
use time::OffsetDateTime;

use super::saved::{Keeper, NAME, Saved, Was};

const KEEPERS: [Keeper; 4] = [Keeper::Component, Keeper::Untyped, Keeper::Typed, Keeper::OnePattern];

/// As each version answers a GET of the template: `saved.rs` names the documentation.
fn answer(keeper: Keeper, document: Value) -> Value {
    match keeper {
        Keeper::Component => json!({"component_templates": [{"name": NAME, "component_template": document}]}),
        _ => json!({NAME: document}),
    }
}

fn saved() -> impl Strategy<Value = Saved> {
    let was =
        (anything(), anything(), anything()).prop_map(|(name, uuid, replicas)| Was { name, uuid, replicas });
    (anything(), 0..4_000_000_000_i64, anything(), proptest::collection::vec(was, 0..4)).prop_map(
        |(replicas, second, by, indexes)| Saved {
            replicas,
            since: OffsetDateTime::from_unix_timestamp(second).unwrap(),
            by,
            indexes,
        },
    )
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_saved_is_read_back(saved in saved(), keeper in select(KEEPERS.to_vec()), other in anything()) {
        let mut found = answer(keeper, keeper.document(&saved));
        prop_assert_eq!(keeper.read(&found).unwrap(), Some(saved.clone()));
        // Other templates stand beside it.
        if let Some(all) = found.get_mut("component_templates").and_then(Value::as_array_mut) {
            all.insert(0, json!({"name": format!("{other}x"), "component_template": {"_meta": {"cutover": other}}}));
        }
        prop_assert_eq!(keeper.read(&found).unwrap(), Some(saved));
    }

    /// One that is there is read or refused: to pass over it would make a new one of the numbers that were set.
    #[test]
    fn one_that_is_there_is_not_passed_over(saved in saved(), keeper in select(KEEPERS.to_vec()), value in prop_oneof![anything().prop_map(Value::from), Just(json!(2)), Just(json!("1")), Just(json!([])), Just(Value::Null)], part in select(vec!["", "/cutover", "/cutover/version", "/cutover/replicas", "/cutover/replicas/indexes", "/cutover/replicas/since"])) {
        let mut document = keeper.document(&saved);
        let meta = match keeper {
            Keeper::Component => "/_meta",
            Keeper::Untyped => "/mappings/_meta",
            Keeper::Typed | Keeper::OnePattern => "/mappings/saved/_meta",
        };
        prop_assume!(!(part.ends_with("indexes") && value == json!([])));
        *document.pointer_mut(&format!("{meta}{part}")).unwrap() = value;
        prop_assert_eq!(keeper.read(&answer(keeper, document)).unwrap_err().code(), kit::Code::Refused);
    }

    #[test]
    fn an_answer_with_mistakes_is_read_or_refused(saved in saved(), keeper in select(KEEPERS.to_vec()), text in mistaken(vec!["{\"component_templates\":[{\"name\":\"cutover-saved-replicas\",\"component_template\":{\"template\":{},\"_meta\":{\"cutover\":{\"version\":1,\"replicas\":{\"replicas\":\"0\",\"since\":\"2026-11-22T18:00:00Z\",\"by\":\"run 7\",\"indexes\":[{\"name\":\"a\",\"uuid\":\"u\",\"replicas\":\"1\"}]}}}}}]}".to_owned()])) {
        for text in [text, answer(keeper, keeper.document(&saved)).to_string()] {
            let Ok(value) = serde_json::from_str::<Value>(&text) else { continue };
            if let Ok(Some(saved)) = keeper.read(&value) {
                prop_assert_eq!(keeper.read(&answer(keeper, keeper.document(&saved))).unwrap(), Some(saved));
            }
        }
    }

    #[test]
    fn a_version_is_one_or_none(distribution in anything(), number in prop_oneof![anything(), "[0-9]{1,12}(\\.[0-9]{1,12}){0,2}(-[a-z]{1,4})?"]) {
        if let Some(keeper) = Keeper::of(&distribution, &number) {
            prop_assert!(keeper.path().ends_with(NAME) && number.starts_with(|c: char| c.is_ascii_digit() || c == '+'));
        }
    }
}
