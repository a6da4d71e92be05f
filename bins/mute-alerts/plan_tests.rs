//! The judgement by table.

use kit::{Code, Note, Plan as _};
use time::OffsetDateTime;

use crate::args::Act;
use crate::plan::{Alarm, Changes, Seen, Stand, Subscription, SubscriptionChange, Topic, Wish, plan};
use crate::saved::{LARGEST, Mark, Reading, Saved, read};
use crate::undo;

fn wish(act: Act, keep: &[&str]) -> Wish {
    let since = OffsetDateTime::from_unix_timestamp(1_795_298_400).unwrap();
    Wish {
        act,
        keep: keep.iter().map(ToString::to_string).collect(),
        mark: Mark { by: "run 12 of repository 42".into(), since },
    }
}

fn subscription(endpoint: &str, policy: Option<&str>) -> Subscription {
    let mut one = Subscription {
        arn: format!("arn:aws:sns:us-east-1:123456789012:boss:{endpoint}"),
        topic: "boss".into(),
        label: String::new(),
        endpoint: endpoint.into(),
        protocol: "email".into(),
        foreign: false,
        pending: false,
        policy: policy.map(str::to_owned),
        scope: policy.map(|_| "MessageAttributes".to_owned()),
    };
    one.label = one.shown();
    one
}

fn seen(subscriptions: Vec<Subscription>) -> Seen {
    let arn = "arn:aws:sns:us-east-1:123456789012:boss".to_owned();
    Seen {
        topics: vec![Topic { arn, name: "boss".into(), subscriptions }],
        alarms: Vec::new(),
        missing: Vec::new(),
    }
}

fn alarms(stands: &[(bool, Option<String>)]) -> Seen {
    let alarm = |(n, (enabled, saved)): (usize, &(bool, Option<String>))| Alarm {
        name: format!("a{n}"),
        arn: format!("arn:aws:cloudwatch:us-east-1:123456789012:alarm:a{n}"),
        stand: Stand { enabled: *enabled, saved: saved.clone() },
    };
    Seen { topics: Vec::new(), alarms: stands.iter().enumerate().map(alarm).collect(), missing: Vec::new() }
}

/// The world after the changes, as SNS would tell it: a scope is told beside a policy alone.
fn applied(seen: &Seen, changes: &Changes) -> Seen {
    let mut after = seen.clone();
    for change in &changes.subscriptions {
        let all = after.topics.iter_mut().flat_map(|topic| &mut topic.subscriptions);
        for one in all.filter(|one| one.arn == change.arn) {
            assert_eq!(one.policy, change.before);
            one.policy.clone_from(&change.after);
            one.scope = match (&one.policy, &one.scope) {
                (None, _) => None,
                (Some(_), Some(scope)) => Some(scope.clone()),
                (Some(_), None) => Some("MessageAttributes".to_owned()),
            };
        }
    }
    for change in &changes.alarms {
        for one in after.alarms.iter_mut().filter(|one| one.arn == change.arn) {
            one.stand = change.after.clone();
        }
    }
    after
}

fn warnings(changes: &Changes) -> String {
    let text = |note: &Note| match note {
        Note::Warning(text) => Some(text.clone()),
        Note::Info(_) => None,
    };
    changes.notes.iter().filter_map(text).collect::<Vec<_>>().join("\n")
}

#[test]
fn on_and_off_bring_back_exactly_what_was_there() {
    let policy = "{ \"severity\" : [\"high\"] }";
    let before = seen(vec![
        subscription("a@example.org", None),
        subscription("b@example.org", Some(policy)),
        subscription("me@example.org", None),
    ]);
    let on = plan(&wish(Act::On, &["ME@example.org"]), &before).unwrap();
    assert_eq!(on.subscriptions.len(), 2);
    let silent = applied(&before, &on);
    for one in &silent.topics[0].subscriptions[..2] {
        assert!(matches!(read(one.policy.as_deref()), Reading::Muted(_)), "{one:?}");
    }
    let again = plan(&wish(Act::On, &["me@example.org"]), &silent).unwrap();
    assert!(again.actions().is_empty());
    let off = plan(&wish(Act::Off, &[]), &silent).unwrap();
    let after = applied(&silent, &off);
    assert_eq!(serde_json::to_value(&after).unwrap(), serde_json::to_value(&before).unwrap());
    assert!(plan(&wish(Act::Off, &[]), &after).unwrap().actions().is_empty());
}

#[test]
fn one_that_came_later_is_silenced_by_a_second_on_and_one_kept_later_is_restored() {
    let before = seen(vec![subscription("a@example.org", None)]);
    let mut now = applied(&before, &plan(&wish(Act::On, &[]), &before).unwrap());
    now.topics[0].subscriptions.push(subscription("new@example.org", None));
    let second = plan(&wish(Act::On, &["a@example.org"]), &now).unwrap();
    let what: Vec<(&str, bool)> =
        second.subscriptions.iter().map(|one| (one.label.as_str(), one.after.is_some())).collect();
    assert_eq!(what, [("email a…@example.org", false), ("email n…@example.org", true)]);
}

#[test]
fn pending_ones_and_those_of_other_accounts_are_left_and_told() {
    let pending = Subscription { pending: true, ..subscription("p@example.org", None) };
    let foreign = Subscription { foreign: true, ..subscription("f@example.org", None) };
    let changes = plan(&wish(Act::On, &[]), &seen(vec![pending, foreign])).unwrap();
    assert!(changes.actions().is_empty());
    let told = format!("{:?}", changes.notes);
    assert!(told.contains("p…@example.org of boss is not confirmed yet"), "{told}");
    assert!(told.contains("f…@example.org of boss is another account's"), "{told}");
}

#[test]
fn what_somebody_changed_is_refused_with_both_values_unless_it_is_kept() {
    let before = seen(vec![
        subscription("a@example.org", Some(r#"{"store":["x"]}"#)),
        subscription("b@example.org", None),
    ]);
    let silent = applied(&before, &plan(&wish(Act::On, &[]), &before).unwrap());
    let mut scope = silent.clone();
    scope.topics[0].subscriptions[0].scope = Some("MessageBody".into());
    let mut added = silent.clone();
    let policy = added.topics[0].subscriptions[0].policy.as_mut().unwrap();
    *policy = policy.replacen('{', r#"{"store":["y"],"#, 1);
    for (world, texts) in [
        (
            scope,
            [
                "its scope is now MessageBody, and was MessageAttributes",
                r#"saved in it is the policy {"store":["x"]}"#,
            ],
        ),
        (added, ["other keys were added", r#"{"store":["y"]"#]),
    ] {
        let refused = plan(&wish(Act::Off, &[]), &world).unwrap_err();
        assert_eq!(refused.code(), Code::Refused);
        let said = refused.chain().join("\n");
        for text in texts {
            assert!(said.contains(text), "{text}: {said}");
        }
        let kept = plan(&wish(Act::Off, &["a@example.org"]), &world).unwrap();
        assert_eq!(kept.subscriptions.len(), 1);
    }
}

#[test]
fn a_scope_that_is_not_told_is_the_default_one() {
    let mut before = seen(vec![subscription("a@example.org", Some(r#"{"store":["x"]}"#))]);
    before.topics[0].subscriptions[0].scope = None;
    let silent = applied(&before, &plan(&wish(Act::On, &[]), &before).unwrap());
    assert_eq!(silent.topics[0].subscriptions[0].scope.as_deref(), Some("MessageAttributes"));
    let off = plan(&wish(Act::Off, &[]), &silent).unwrap();
    assert_eq!(off.subscriptions[0].after.as_deref(), Some(r#"{"store":["x"]}"#));
}

#[test]
fn an_address_that_nobody_has_and_a_policy_too_large_are_refused() {
    let world = seen(vec![subscription("a@example.org", None)]);
    let refused = plan(&wish(Act::On, &["b@example.org"]), &world).unwrap_err();
    assert_eq!(refused.code(), Code::Refused);
    assert!(refused.chain().join("").contains("there are email a…@example.org"));
    let large = format!("{{\"a\":[\"{}\"]}}", "x".repeat(LARGEST - 100));
    let world = seen(vec![subscription("a@example.org", Some(&large))]);
    let refused = plan(&wish(Act::On, &[]), &world).unwrap_err();
    assert!(refused.chain().join("").contains("256 KB"), "{refused:?}");
}

#[test]
fn nobody_left_and_another_release_are_warned_of() {
    let before = seen(vec![subscription("a@example.org", None)]);
    let on = plan(&wish(Act::On, &[]), &before).unwrap();
    assert!(warnings(&on).contains("nobody is told"), "{:?}", on.notes);
    let mut other = wish(Act::On, &[]);
    other.mark.by = "a terminal".into();
    let again = plan(&other, &applied(&before, &on)).unwrap();
    assert!(
        warnings(&again).contains("silenced already, since 2026-11-21 22:00:00 UTC by run 12"),
        "{:?}",
        again.notes
    );
    assert!(again.actions().is_empty());
}

#[test]
fn an_alarm_that_was_disabled_before_stays_disabled() {
    let tag = wish(Act::On, &[]).mark.tag();
    let before =
        alarms(&[(true, None), (false, None), (true, Some(tag.clone())), (false, Some(tag.clone()))]);
    let on = plan(&wish(Act::On, &[]), &before).unwrap();
    let names: Vec<&str> = on.alarms.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["a0", "a2"]);
    let silent = applied(&before, &on);
    assert!(silent.alarms.iter().all(|one| !one.stand.enabled));
    let loud = applied(&silent, &plan(&wish(Act::Off, &[]), &silent).unwrap());
    let enabled: Vec<bool> = loud.alarms.iter().map(|one| one.stand.enabled).collect();
    assert_eq!(enabled, [true, false, true, true]);
    assert!(loud.alarms.iter().all(|one| one.stand.saved.is_none()));
    // `on` was cut off after the tag, and `off` follows.
    let cut = alarms(&[(true, Some(tag))]);
    let off = plan(&wish(Act::Off, &[]), &cut).unwrap();
    assert_eq!(off.alarms[0].after, Stand { enabled: true, saved: None });
}

#[test]
fn a_policy_is_not_put_back_under_another_scope() {
    let mark = Mark { by: "run 1".into(), since: OffsetDateTime::UNIX_EPOCH };
    let before = Some(r#"{"severity":["high"]}"#);
    let change = SubscriptionChange {
        id: "subscription-1".into(),
        arn: "arn:1".into(),
        topic: "alerts".into(),
        label: "email o…@example.org".into(),
        before: before.map(str::to_owned),
        after: Some(Saved::new(&mark, before, Some("MessageAttributes")).policy()),
    };
    let record = kit::ActionRecord {
        id: change.id.clone(),
        run: "1".into(),
        does: String::new(),
        undo: String::new(),
        reversible: true,
        state: kit::ActionState::Done,
        inverse: serde_json::Value::Null,
        result: serde_json::Value::Null,
    };
    let records = [(record, undo::Inverse::Subscription(change.clone()))];
    let present = |scope: &str| undo::Present {
        policies: [(change.arn.clone(), change.after.clone())].into(),
        scopes: [(change.arn.clone(), scope.to_owned())].into(),
        ..undo::Present::default()
    };
    assert_eq!(undo::plan(&records, &present("MessageAttributes")).unwrap().changes.subscriptions.len(), 1);
    let refused = undo::plan(&records, &present("MessageBody")).unwrap_err();
    assert_eq!(refused.code(), Code::Refused);
    assert!(refused.chain().join("").contains("its scope is now MessageBody"), "{:?}", refused.chain());
}

#[test]
fn a_foreign_tag_is_no_saved_state() {
    let world = alarms(&[(false, Some("by hand".into()))]);
    let refused = plan(&wish(Act::Off, &[]), &world).unwrap_err();
    assert_eq!(refused.code(), Code::Refused);
    assert!(refused.chain().join("").contains("`by hand`"));
}

#[test]
fn addresses_are_shown_in_part() {
    for (protocol, endpoint, shown) in [
        ("email", "operator@example.org", "email o…@example.org"),
        ("sms", "+15551234567", "sms …567"),
        (
            "https",
            "https://user:pw@events.pagerduty.com/integration/0123/enqueue?k=1",
            "https events.pagerduty.com/…",
        ),
        ("sqs", "arn:aws:sqs:us-east-1:123456789012:q", "sqs arn:aws:sqs:us-east-1:123456789012:q"),
    ] {
        let one = Subscription { protocol: protocol.into(), ..subscription(endpoint, None) };
        assert_eq!(one.shown(), shown);
    }
}
