//! The judgement by table.

use std::collections::BTreeMap;

use kit::{Code, Plan as _};
use time::OffsetDateTime;

use crate::args::{Act, Expect};
use crate::plan::{Rule, Stand, Wish, assert, plan};

const ALL: &str = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS";

fn wish(act: Act, by: &str) -> Wish {
    let now = OffsetDateTime::from_unix_timestamp(1_795_298_400).unwrap();
    Wish { act, save: true, by: by.into(), now }
}

fn rule(state: &str, saved: Option<&str>) -> Rule {
    Rule {
        name: "nightly".into(),
        bus: "default".into(),
        arn: "arn:aws:events:us-east-1:123456789012:rule/nightly".into(),
        schedule: Some("rate(1 day)".into()),
        managed_by: None,
        stand: Stand { state: state.into(), saved: saved.map(str::to_owned) },
    }
}

/// The rule after the plan for it.
fn after(wish: &Wish, rule: &Rule) -> Rule {
    let changes = plan(wish, std::slice::from_ref(rule)).unwrap();
    let stand = changes.rules.first().map_or_else(|| rule.stand.clone(), |change| change.after.clone());
    Rule { stand, ..rule.clone() }
}

#[test]
fn restore_puts_back_what_was_there_whatever_was_done_between() {
    for was in ["ENABLED", "DISABLED"] {
        for acts in
            [&[Act::Disable][..], &[Act::Enable], &[Act::Disable, Act::Enable], &[Act::Enable, Act::Disable]]
        {
            let found = rule(was, None);
            let mut now = found.clone();
            for act in acts {
                now = after(&wish(*act, "run 1"), &now);
                assert_eq!(now.stand.state == "DISABLED", *act == Act::Disable);
                let again = plan(&wish(*act, "run 1"), std::slice::from_ref(&now)).unwrap();
                assert!(again.actions().is_empty(), "{again:?}");
            }
            let back = after(&wish(Act::Restore, "run 1"), &now);
            assert_eq!(back.stand, found.stand, "{acts:?}");
        }
    }
}

#[test]
fn what_another_release_saved_is_refused_and_told() {
    let left = after(&wish(Act::Disable, "run 1"), &rule("ENABLED", None));
    for act in [Act::Enable, Act::Disable, Act::Restore] {
        let refused = plan(&wish(act, "run 2"), std::slice::from_ref(&left)).unwrap_err();
        assert_eq!(refused.code(), Code::Refused);
        let why = refused.chain().join("");
        assert!(
            why.contains(
                "run 1, since 2026-11-21 22:00:00 UTC, has it DISABLED and saved that it was ENABLED"
            ),
            "{why}"
        );
    }
    let forgotten = after(&wish(Act::Forget, "run 2"), &left);
    assert_eq!(forgotten.stand, Stand { state: "DISABLED".into(), saved: None });
}

#[test]
fn a_foreign_change_is_refused_with_both_values() {
    // Disabled already when the release came; somebody has enabled it since.
    let left = after(&wish(Act::Disable, "run 1"), &rule("DISABLED", None));
    let changed = Rule { stand: Stand { state: "ENABLED".into(), ..left.stand.clone() }, ..left };
    let refused = plan(&wish(Act::Restore, "run 1"), &[changed]).unwrap_err();
    let why = refused.chain().join("");
    assert!(
        why.contains("it is ENABLED; this release left it DISABLED, and before it was DISABLED"),
        "{why}"
    );
    let nothing = plan(&wish(Act::Restore, "run 1"), &[rule("DISABLED", None)]).unwrap();
    assert!(nothing.actions().is_empty());
    assert!(
        format!("{:?}", nothing.notes)
            .contains("nothing is saved of the rule nightly: it is DISABLED, and stays so")
    );
}

#[test]
fn a_run_that_was_cut_off_between_tag_and_state_is_finished_or_put_back() {
    let found = rule("ENABLED", None);
    let done = after(&wish(Act::Disable, "run 1"), &found);
    let cut = Rule { stand: Stand { state: "ENABLED".into(), ..done.stand.clone() }, ..done.clone() };
    assert_eq!(after(&wish(Act::Disable, "run 1"), &cut).stand, done.stand);
    assert_eq!(after(&wish(Act::Restore, "run 1"), &cut).stand, found.stand);
}

#[test]
fn assert_knows_three_states_and_names_every_rule_that_is_wrong() {
    assert!(assert(Expect::Disabled, &[rule("DISABLED", None)]).is_ok());
    assert!(assert(Expect::Enabled, &[rule("ENABLED", None), rule(ALL, None)]).is_ok());
    let refused = assert(Expect::Disabled, &[rule("DISABLED", None), rule(ALL, None)]).unwrap_err();
    assert_eq!(refused.code(), Code::Refused);
    assert_eq!(refused.chain(), [format!("nightly is {ALL}")]);
    assert!(assert(Expect::Enabled, &[rule("DISABLED", None)]).is_err());
}

#[test]
fn what_could_not_be_put_back_or_is_not_ours_is_refused() {
    let refused = plan(&wish(Act::Disable, "run 1"), &[rule(ALL, None)]).unwrap_err();
    assert!(refused.chain().join("").contains("can only make it ENABLED"));
    let stay = Wish { save: false, ..wish(Act::Disable, "run 1") };
    assert_eq!(after(&stay, &rule(ALL, None)).stand, Stand { state: "DISABLED".into(), saved: None });
    // Enabled in whatever way is enabled, and comes back as it was.
    let enabled = after(&wish(Act::Enable, "run 1"), &rule(ALL, None));
    assert_eq!(enabled.stand.state, ALL);
    assert_eq!(after(&wish(Act::Restore, "run 1"), &enabled).stand, rule(ALL, None).stand);

    let managed = Rule { managed_by: Some("states.amazonaws.com".into()), ..rule("ENABLED", None) };
    let refused = plan(&wish(Act::Disable, "run 1"), &[managed]).unwrap_err();
    assert!(refused.chain().join("").contains("states.amazonaws.com has made it"));
    let foreign = plan(&wish(Act::Disable, "run 1"), &[rule("ENABLED", Some("by hand"))]).unwrap_err();
    assert!(foreign.chain().join("").contains("`by hand`: this version did not write it"));
}

#[test]
fn without_saving_nothing_is_kept_and_nothing_kept_is_lost() {
    let stay = Wish { save: false, ..wish(Act::Disable, "run 1") };
    assert_eq!(after(&stay, &rule("ENABLED", None)).stand, Stand { state: "DISABLED".into(), saved: None });
    let saved = after(&wish(Act::Disable, "run 1"), &rule("ENABLED", None));
    assert!(plan(&stay, &[saved]).unwrap_err().chain().join("").contains("it was ENABLED"));
}

#[test]
fn undo_goes_through_a_continued_receipt_and_refuses_a_third_value() {
    use crate::undo;
    let found = rule("ENABLED", None);
    let disabled = plan(&wish(Act::Disable, "run 1"), std::slice::from_ref(&found)).unwrap().rules.remove(0);
    let between = Rule { stand: disabled.after.clone(), ..found.clone() };
    let restored = plan(&wish(Act::Restore, "run 1"), &[between]).unwrap().rules.remove(0);
    let record = |run: &str| -> kit::ActionRecord {
        serde_json::from_value(serde_json::json!({
            "id": "rule-nightly", "run": run, "does": "", "undo": "", "reversible": true, "state": "done",
            "inverse": null, "result": null,
        }))
        .unwrap()
    };
    let records = [(record("2"), restored.clone()), (record("1"), disabled.clone())];
    let present = |stand: &Stand| BTreeMap::from([(found.arn.clone(), stand.clone())]);
    // After both runs: back by the one, and by the other to where it is already.
    let back = undo::plan(&records, &present(&found.stand)).unwrap();
    assert_eq!((back.changes.rules.len(), back.settled.len()), (0, 2));
    // After the first alone, of which the receipt knows.
    let back = undo::plan(&records[1..], &present(&disabled.after)).unwrap();
    assert_eq!(back.changes.rules[0].after, found.stand);
    let stay = Wish { save: false, ..wish(Act::Disable, "run 1") };
    let lost = plan(&stay, &[rule(ALL, None)]).unwrap();
    assert!(matches!(lost.actions()[0].undo, kit::Undo::Impossible(_)));
    let records_of_it = [(record("3"), lost.rules[0].clone())];
    let refused = undo::plan(&records_of_it, &present(&lost.rules[0].after)).unwrap_err();
    assert!(refused.chain().join("").contains("EnableRule can't make it that"), "{refused:?}");
    let third = Stand { state: ALL.into(), saved: None };
    let refused = undo::plan(&records[1..], &present(&third)).unwrap_err();
    assert!(refused.chain().join("").contains("neither DISABLED, tagged"), "{refused:?}");
}
