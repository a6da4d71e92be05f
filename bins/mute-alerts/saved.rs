//! The saved state: the muting filter policy itself, and a tag on each alarm.
//!
//! A subscription has no tags, and a topic's tags could be written without its subscriptions or the other way round. The policy
//! is one attribute, set by one call: what it replaces is in it or still in place, never in neither. The policy has one key, which
//! no message has, so that it matches nothing whether it is held against a message's attributes or its body
//! (<https://docs.aws.amazon.com/sns/latest/dg/sns-subscription-filter-policies.html>), and the scope stays as it was.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The key of the muting policy, and of the tag on an alarm.
pub(crate) const KEY: &str = "cutover-muted";
const BEGIN: &str = "v=1";

/// The largest filter policy, in bytes.
///
/// Source: <https://docs.aws.amazon.com/sns/latest/dg/subscription-filter-policy-constraints.html>
pub(crate) const LARGEST: usize = 256 * 1024;

/// By whom and since when something is muted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) by: String,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) since: OffsetDateTime,
}

/// What a muting policy carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Saved {
    v: u8,
    pub(crate) by: String,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) since: OffsetDateTime,
    /// The policy that was there, in the very bytes that SNS gave; `None` where there was none.
    pub(crate) policy: Option<String>,
    /// Its scope. SNS tells the scope only beside a policy, and keeps it when the policy goes.
    pub(crate) scope: Option<String>,
}

/// What a filter policy is to this step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Somebody else's, or none at all.
    Open,
    /// This step's.
    Muted(Saved),
    /// It has the key of this step and is not what this step writes; why.
    Broken(String),
}

impl Saved {
    pub(crate) fn new(mark: &Mark, policy: Option<&str>, scope: Option<&str>) -> Self {
        Self {
            v: 1,
            by: mark.by.clone(),
            since: mark.since,
            policy: policy.map(str::to_owned),
            scope: policy.and(scope).map(str::to_owned),
        }
    }

    /// The policy that matches nothing and carries this.
    pub(crate) fn policy(&self) -> String {
        // Of plain fields: it has a JSON form.
        let text = serde_json::to_string(self).unwrap_or_default();
        json!({ KEY: [text] }).to_string()
    }
}

/// The policy as somebody wrote it. An empty one is none: `{}` is how one is removed
/// (<https://docs.aws.amazon.com/sns/latest/dg/example_sns_SetSubscriptionAttributes_section.html>).
pub(crate) fn present(policy: Option<&str>) -> Option<String> {
    let text = policy.map(str::trim).filter(|text| !text.is_empty())?;
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(map)) if map.is_empty() => None,
        _ => policy.map(str::to_owned),
    }
}

/// Whether two policies say the same, whatever blanks and order they are written with.
pub(crate) fn same(one: Option<&str>, other: Option<&str>) -> bool {
    let read = |text: &str| serde_json::from_str::<Value>(text).ok();
    match (present(one), present(other)) {
        (None, None) => true,
        (Some(one), Some(other)) => one == other || read(&one).is_some_and(|one| read(&other) == Some(one)),
        _ => false,
    }
}

/// What the policy is.
pub(crate) fn read(policy: Option<&str>) -> Reading {
    let Some(Value::Object(map)) = policy.and_then(|text| serde_json::from_str::<Value>(text).ok()) else {
        return Reading::Open;
    };
    let Some(value) = map.get(KEY) else { return Reading::Open };
    if map.len() > 1 {
        return Reading::Broken("other keys were added to it".to_owned());
    }
    let Some([Value::String(text)]) = value.as_array().map(Vec::as_slice) else {
        return Reading::Broken("it has not one saved state".to_owned());
    };
    match serde_json::from_str::<Saved>(text) {
        Ok(saved) if saved.v == 1 => Reading::Muted(saved),
        Ok(saved) => Reading::Broken(format!("a later version wrote it (v={})", saved.v)),
        Err(error) => Reading::Broken(format!("what is saved in it can't be read: {error}")),
    }
}

impl Mark {
    /// The value of the tag.
    pub(crate) fn tag(&self) -> String {
        let since = self.since.format(&Rfc3339).unwrap_or_default();
        format!("{BEGIN} since={since} by={}", self.by)
    }

    /// What a tag's value says, or why it is not this step's.
    pub(crate) fn of(tag: &str) -> Result<Self, String> {
        let rest = tag.strip_prefix(BEGIN).ok_or("this version did not write it")?;
        let (times, by) = rest.split_once(" by=").ok_or("it names no run")?;
        let since =
            times.trim().strip_prefix("since=").and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
        Ok(Self { by: by.to_owned(), since: since.ok_or("it has no time")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> Mark {
        Mark {
            by: "run 12 of repository 42".into(),
            since: OffsetDateTime::from_unix_timestamp(1_795_298_400).unwrap(),
        }
    }

    #[test]
    fn what_was_there_comes_back_byte_for_byte() {
        for policy in [
            None,
            Some(r#"{"store":["example_corp"]}"#),
            Some("{ \"price\" : [ {\"numeric\": [\">=\", 1.0e2]} ],\n \"ü\\u00e9\": [null, \"a\\\"b\"] }"),
        ] {
            let saved = Saved::new(&mark(), policy, policy.map(|_| "MessageBody"));
            let Reading::Muted(read) = read(Some(&saved.policy())) else { panic!("{policy:?}") };
            assert_eq!(read.policy.as_deref(), policy);
            assert_eq!(read.scope.as_deref(), policy.map(|_| "MessageBody"));
            assert_eq!(Mark { by: read.by, since: read.since }, mark());
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]

        #[test]
        fn any_policy_comes_back_byte_for_byte(policy in ".{0,60}", scope in "[^\0]{1,9}", by in ".{0,40}") {
            let mark = Mark { by, ..mark() };
            let saved = Saved::new(&mark, Some(&policy), Some(&scope));
            let Reading::Muted(found) = read(Some(&saved.policy())) else { panic!("{policy:?}") };
            proptest::prop_assert_eq!((found.policy, found.scope), (Some(policy), Some(scope)));
            proptest::prop_assert_eq!(Mark::of(&mark.tag()).unwrap(), mark);
        }

        #[test]
        fn what_somebody_else_wrote_is_read_or_left(policy in ".{0,60}", keyed in "[^\"\\\\]{0,40}", tag in "(v=1 |since=|by=|[^\0]){0,20}") {
            for policy in [policy, format!("{{\"cutover-muted\":[\"{keyed}\"]}}")] {
                let muted = matches!(read(Some(&policy)), Reading::Muted(_));
                proptest::prop_assert!(!muted, "{}", policy);
            }
            let _ = (Mark::of(&tag), present(Some(&tag)), same(Some(&tag), None));
        }
    }

    /// SNS wants a policy to be an object of arrays, flat for the scope `MessageAttributes`, with five keys at most and values that
    /// are strings, numbers, booleans or null.
    #[test]
    fn a_muting_policy_is_one_that_sns_accepts_in_either_scope() {
        let saved = Saved::new(
            &mark(),
            Some(r#"{"a":{"b":[1]},"c":[2],"d":[3],"e":[4],"f":[5]}"#),
            Some("MessageBody"),
        );
        let policy: Value = serde_json::from_str(&saved.policy()).unwrap();
        let keys: Vec<_> = policy.as_object().unwrap().iter().collect();
        let [(key, Value::Array(values))] = &keys[..] else { panic!("{policy}") };
        assert_eq!((key.as_str(), values.len()), ("cutover-muted", 1));
        assert!(values[0].is_string());
    }

    #[test]
    fn what_somebody_edited_is_not_taken_for_ours_nor_for_open() {
        let ours = Saved::new(&mark(), None, None).policy();
        let added = ours.replacen('{', "{\"store\":[\"x\"],", 1);
        for (policy, why) in [
            (added.as_str(), "other keys"),
            (r#"{"cutover-muted":[]}"#, "not one saved state"),
            (r#"{"cutover-muted":["x","y"]}"#, "not one saved state"),
            (r#"{"cutover-muted":["{}"]}"#, "can't be read"),
        ] {
            let Reading::Broken(broken) = read(Some(policy)) else { panic!("{policy}") };
            assert!(broken.contains(why), "{policy}: {broken}");
        }
        for policy in [None, Some(""), Some("{}"), Some("not JSON"), Some(r#"{"store":["cutover-muted"]}"#)] {
            assert_eq!(read(policy), Reading::Open, "{policy:?}");
        }
    }

    #[test]
    fn an_empty_policy_is_none_and_blanks_are_no_difference() {
        assert!(same(None, Some("{}")) && same(Some(""), Some(" { } ")));
        assert!(same(Some(r#"{"a": [1], "b": [2]}"#), Some(r#"{"b":[2],"a":[1]}"#)));
        assert!(!same(Some(r#"{"a":[1]}"#), None) && !same(Some(r#"{"a":[1]}"#), Some(r#"{"a":["1"]}"#)));
    }

    #[test]
    fn a_tag_says_who_and_since_when() {
        assert_eq!(Mark::of(&mark().tag()).unwrap(), mark());
        assert!(mark().tag().len() <= 256);
        for (tag, why) in [("yes", "did not write"), ("v=1 since=x by=y", "no time"), ("v=1", "no run")] {
            assert!(Mark::of(tag).unwrap_err().contains(why), "{tag}");
        }
    }
}
