use super::*;
use kit::Code;
use time::format_description::well_known::Rfc3339;

pub(in crate::scale) fn observed(
    desired: i32,
    suspended: Option<Suspended>,
    saved: Option<&str>,
) -> Observed {
    Observed {
        desired,
        running: desired,
        pending: 0,
        in_progress: false,
        suspended,
        saved: saved.map(str::to_owned),
    }
}

pub(in crate::scale) const NONE: Suspended =
    Suspended { scale_in: false, scale_out: false, scheduled: false };
const IN: Suspended = Suspended { scale_in: true, scale_out: false, scheduled: false };
/// What a release in March kept, which then scaled to 0.
pub(in crate::scale) const MARCH: &str =
    "count=2 in=false out=false scheduled=false left=0 since=2026-03-01T20:00:00Z by=v1.0.0";

fn by(release: &str, want: Want, seen: &Observed) -> Result<Scale, Failure> {
    let now = OffsetDateTime::parse("2026-11-22T18:00:00Z", &Rfc3339).unwrap();
    plan(&Wish { want, by: release.to_owned(), now }, "web", seen)
}

fn planned(want: Want, seen: &Observed) -> Result<Scale, Failure> {
    by("v1.0.0", want, seen)
}

fn ids(want: Want, seen: &Observed) -> Vec<&'static str> {
    planned(want, seen).unwrap().changes.iter().map(Change::id).collect()
}

/// The tag that is written.
fn tag(plan: &Scale) -> &str {
    match plan.changes.first() {
        Some(Change::Save { value, .. }) => value,
        other => panic!("{other:?}"),
    }
}

fn refusal(tried: Result<Scale, Failure>) -> String {
    let refused = tried.unwrap_err();
    assert_eq!(refused.code(), Code::Refused);
    refused.chain().join(": ")
}

#[test]
fn what_is_there_is_kept_before_it_is_changed() {
    let seen = observed(2, Some(IN), None);
    let changes = planned(Want::Count(0), &seen).unwrap().changes;
    let value = "count=2 in=true out=false scheduled=false left=0 since=2026-11-22T18:00:00Z by=v1.0.0";
    assert_eq!(
        changes,
        [
            Change::Save { value: value.into(), over: None },
            Change::Scaling { from: IN, to: ALL },
            Change::Count { from: 2, to: 0 },
        ]
    );
    // Killed on the way: the rest, and never what the first half made of it.
    let kept = Some(value);
    assert_eq!(ids(Want::Count(0), &observed(2, Some(ALL), kept)), ["set-count"]);
    assert!(ids(Want::Count(0), &observed(0, Some(ALL), kept)).is_empty());
    assert_eq!(ids(Want::Count(0), &observed(2, None, None)), ["save", "set-count"]);
    assert!(ids(Want::Count(2), &observed(2, None, None)).is_empty());
}

#[test]
fn it_is_restored_exactly_and_auto_scaling_last() {
    for more in ["", " left=0 since=2026-11-22T18:00:00Z by=v1.0.0"] {
        let kept = format!("count=2 in=true out=false scheduled=false{more}");
        let changes = planned(Want::Restore, &observed(0, Some(ALL), Some(&kept))).unwrap().changes;
        assert_eq!(changes[0], Change::Count { from: 0, to: 2 });
        assert_eq!(changes[1], Change::Scaling { from: ALL, to: IN });
        assert!(matches!(&changes[2], Change::Forget { .. }));
        // Killed on the way back.
        assert_eq!(ids(Want::Restore, &observed(2, Some(ALL), Some(&kept))), ["auto-scaling", "forget"]);
        assert_eq!(ids(Want::Restore, &observed(2, Some(IN), Some(&kept))), ["forget"]);
    }
    assert!(ids(Want::Restore, &observed(2, Some(NONE), None)).is_empty());
    assert_eq!(ids(Want::Restore, &observed(0, None, Some("count=2"))), ["set-count", "forget"]);
    for want in [Want::Restore, Want::Count(0)] {
        assert!(refusal(planned(want, &observed(0, None, Some("two")))).contains("`two`"));
    }
}

#[test]
fn what_another_release_has_kept_is_neither_used_nor_dropped() {
    for seen in [observed(8, Some(NONE), Some(MARCH)), observed(0, Some(ALL), Some(MARCH))] {
        for want in [Want::Count(0), Want::Count(8), Want::Restore] {
            let why = refusal(by("v2.0.0", want, &seen));
            let whose = "v1.0.0, since 2026-03-01 20:00:00 UTC, has set it to 0 and kept that it was 2";
            assert!(why.contains(whose), "{why}");
        }
    }
}

#[test]
fn what_somebody_changed_since_is_not_overwritten_by_what_was_there_long_ago() {
    let eight = observed(8, Some(NONE), Some(MARCH));
    let why = refusal(planned(Want::Restore, &eight));
    assert!(why.contains("it is 8 with nothing suspended; this release left it 0 with"), "{why}");
    // Auto scaling has its own number again: what is there now is what has to come back.
    let down = planned(Want::Count(0), &eight).unwrap();
    assert!(tag(&down).starts_with("count=8 in=false out=false scheduled=false left=0 since=2026-11-22"));
    assert_eq!(down.before, 8);
    // Where nothing tells why the number is another one, a person has to.
    for seen in [
        observed(8, None, Some("count=2 left=0 since=2026-03-01T20:00:00Z by=v1.0.0")),
        observed(8, Some(IN), Some(MARCH)),
    ] {
        for want in [Want::Count(0), Want::Restore] {
            assert!(refusal(planned(want, &seen)).contains("somebody has changed it"));
        }
    }
    assert_eq!(ids(Want::Forget, &eight), ["forget"]);
    assert!(ids(Want::Forget, &observed(8, None, None)).is_empty());
}

#[test]
fn another_number_of_the_same_release_is_restored_from_too() {
    let down = observed(0, Some(ALL), Some(MARCH));
    let up = planned(Want::Count(3), &down).unwrap();
    let value =
        "count=2 in=false out=false scheduled=false left=3 over=0 since=2026-03-01T20:00:00Z by=v1.0.0";
    assert_eq!(tag(&up), value);
    assert_eq!(up.before, 2);
    // Killed behind the tag, and at the end.
    assert_eq!(ids(Want::Count(3), &observed(0, Some(ALL), Some(value))), ["set-count"]);
    for now in [0, 3] {
        let back = planned(Want::Restore, &observed(now, Some(ALL), Some(value))).unwrap();
        assert_eq!(back.changes[0], Change::Count { from: now, to: 2 });
    }
}

/// Whose it is, is not known.
#[test]
fn a_tag_of_an_earlier_version_is_used_only_where_the_service_is_scaled_down() {
    let earlier = Some("count=2 in=false out=false scheduled=false");
    for want in [Want::Count(0), Want::Restore] {
        let eight = planned(want, &observed(8, Some(IN), earlier));
        assert!(refusal(eight).contains("before it was 2"));
        assert!(refusal(planned(want, &observed(8, None, Some("count=2")))).contains("before it was 2"));
    }
    let down = planned(Want::Count(0), &observed(0, Some(ALL), earlier)).unwrap();
    assert!(tag(&down).starts_with("count=2 in=false out=false scheduled=false left=0 since="));
    assert!(matches!(&down.changes[..], [Change::Save { over: Some(_), .. }]));
}

#[test]
fn a_change_is_the_inverse_of_its_inverse() {
    for change in [
        Change::Save { value: "count=1".into(), over: None },
        Change::Save { value: "count=1".into(), over: Some("count=2".into()) },
        Change::Scaling { from: NONE, to: ALL },
        Change::Count { from: 2, to: 0 },
    ] {
        assert_eq!(change.inverse().inverse(), change);
        let kept = serde_json::to_value(&change).unwrap();
        assert_eq!(Change::deserialize(&kept).unwrap(), change);
    }
    // As earlier versions wrote it into receipts.
    let earlier = serde_json::json!({"save": {"value": "count=1"}});
    assert_eq!(Change::deserialize(earlier).unwrap(), Change::Save { value: "count=1".into(), over: None });
}

#[test]
fn a_number_or_restore() {
    assert_eq!(parse_want("0"), Ok(Want::Count(0)));
    assert_eq!(parse_want("restore"), Ok(Want::Restore));
    assert_eq!(parse_want("forget"), Ok(Want::Forget));
    assert!(parse_want("-1").is_err());
    assert!(parse_want("all").is_err());
}
