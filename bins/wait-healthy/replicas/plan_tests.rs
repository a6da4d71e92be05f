use std::collections::BTreeMap;

use kit::{ActionRecord, ActionState, Code};
use serde_json::Value;
use time::OffsetDateTime;

use super::change::{Change, Changes, Made, Named};
use super::observe::{Index, World};
use super::plan::{Set, batches, restore, set};
use super::saved::{Keeper, Saved, Was};
use super::undo;

fn index(name: &str, replicas: &str) -> (String, Index) {
    let index = Index {
        uuid: format!("u-{name}"),
        replicas: replicas.into(),
        auto_expand: None,
        hidden: false,
        plain: true,
    };
    (name.to_owned(), index)
}

fn world(indexes: &[(&str, &str)]) -> World {
    World {
        cluster: "v37-cluster".into(),
        uuid: "c-1".into(),
        keeper: Keeper::Component,
        status: "green".into(),
        data_nodes: 5,
        indexes: indexes.iter().map(|(name, replicas)| index(name, replicas)).collect(),
        saved: None,
    }
}

fn saved(replicas: &str, indexes: &[(&str, &str)]) -> Saved {
    let was = |(name, replicas): &(&str, &str)| Was {
        name: (*name).into(),
        uuid: format!("u-{name}"),
        replicas: (*replicas).into(),
    };
    Saved {
        replicas: replicas.into(),
        since: OffsetDateTime::UNIX_EPOCH,
        by: "run 1".into(),
        indexes: indexes.iter().map(was).collect(),
    }
}

fn wish(replicas: u32) -> Set<'static> {
    Set { replicas, named: &[], by: "run 1".into(), since: OffsetDateTime::UNIX_EPOCH }
}

/// What the indexes have, and what is saved, after the changes.
fn after(world: &World, changes: &Changes) -> World {
    let mut world = world.clone();
    for (_, change) in &changes.changes {
        match change {
            Change::Replicas { indexes, before, after } => {
                for named in indexes {
                    let index = world.indexes.get_mut(&named.name).unwrap();
                    assert_eq!((&index.uuid, &index.replicas), (&named.uuid, before));
                    index.replicas.clone_from(after);
                }
            }
            Change::Saved { before, after } => {
                assert_eq!(world.saved, *before);
                world.saved.clone_from(after);
            }
        }
    }
    world
}

#[test]
fn what_they_were_is_saved_before_the_first_is_set() {
    let before = world(&[("award", "1"), ("experiment", "2"), ("snp", "0")]);
    let changes = set(&wish(2), &before).unwrap();
    let ids: Vec<&str> = changes.changes.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["save", "set-1", "set-2"]);
    let then = after(&before, &changes);
    assert_eq!(then.saved, Some(saved("2", &[("award", "1"), ("snp", "0")])));
    assert!(set(&wish(2), &then).unwrap().changes.is_empty());
    let back = after(&then, &restore(&then).unwrap());
    assert_eq!((back.indexes, back.saved), (before.indexes, None));
}

#[test]
fn a_run_that_was_killed_between_any_two_calls_is_continued() {
    let before = world(&[("award", "1"), ("snp", "0")]);
    let all = set(&wish(2), &before).unwrap();
    let end = after(&before, &all);
    for done in 0..=all.changes.len() {
        let part = Changes { changes: all.changes[..done].to_vec(), ..all.clone() };
        let killed = after(&before, &part);
        let continued = after(&killed, &set(&wish(2), &killed).unwrap());
        assert_eq!((&continued.indexes, &continued.saved), (&end.indexes, &end.saved), "{done}");
        // Or given up.
        let given_up = after(&killed, &restore(&killed).unwrap());
        assert_eq!((&given_up.indexes, &given_up.saved), (&before.indexes, &None), "{done}");
    }
}

#[test]
fn an_index_that_came_since_is_saved_too_and_one_made_anew_in_the_place_of_its_former_self() {
    let mut world = world(&[("award", "2"), ("new", "1"), ("snp", "0")]);
    world.saved = Some(saved("2", &[("award", "1"), ("snp", "1")]));
    world.indexes.get_mut("snp").unwrap().uuid = "u-other".into();
    let then = after(&world, &set(&wish(2), &world).unwrap());
    let is: BTreeMap<String, String> =
        then.saved.unwrap().indexes.into_iter().map(|was| (was.name, was.replicas)).collect();
    assert_eq!(is, [("award", "1"), ("new", "1"), ("snp", "0")].map(|(a, b)| (a.into(), b.into())).into());
}

#[test]
fn what_somebody_changed_meanwhile_is_refused_with_both_values() {
    let mut world = world(&[("award", "3"), ("snp", "2")]);
    world.saved = Some(saved("2", &[("award", "1"), ("snp", "0")]));
    for refused in [set(&wish(2), &world), restore(&world)] {
        let failure = refused.unwrap_err();
        assert_eq!(failure.code(), Code::Refused);
        assert!(failure.chain()[0].contains("award has 3, and had 1"), "{:?}", failure.chain());
    }
    assert_eq!(set(&wish(3), &world).unwrap_err().code(), Code::Refused, "another run's number");
}

#[test]
fn guards_of_the_cluster() {
    let mut small = world(&[("award", "1")]);
    small.data_nodes = 2;
    assert!(set(&wish(2), &small).unwrap_err().chain()[0].contains("2 data nodes"));
    let mut red = world(&[("award", "2")]);
    red.status = "red".into();
    assert!(set(&wish(1), &red).is_err(), "lowered when red");
    assert!(set(&wish(3), &red).is_ok(), "raising drops nothing");
    red.saved = Some(saved("2", &[("award", "1")]));
    assert!(restore(&red).is_err(), "lowered when red");
    assert!(set(&wish(2), &world(&[])).is_err(), "no index at all is a wrong address");
}

#[test]
fn a_request_holds_no_more_names_than_a_server_takes() {
    let names: Vec<String> = (0..300).map(|n| format!("an-index-with-a-long-name-{n:04}")).collect();
    let named = |name: &String| ("1".to_owned(), Named { name: name.clone(), uuid: String::new() });
    let batches = batches(names.iter().map(named));
    assert!(batches.len() > 1);
    assert_eq!(batches.iter().map(|(_, batch)| batch.len()).sum::<usize>(), 300);
    for (_, batch) in &batches {
        let line = batch.iter().map(|index| index.name.len() + 1).sum::<usize>();
        assert!(line <= 3000, "{line}");
    }
}

fn records(changes: &Changes, run: &str) -> Vec<(ActionRecord, Made)> {
    let record = |(id, change): &(String, Change)| {
        let record = ActionRecord {
            id: id.clone(),
            run: run.to_owned(),
            does: String::new(),
            undo: String::new(),
            reversible: true,
            state: ActionState::Done,
            inverse: Value::Null,
            result: Value::Null,
        };
        (record, Made { cluster: world(&[]).identity(), change: change.clone() })
    };
    changes.changes.iter().rev().map(record).collect()
}

#[test]
fn a_run_is_taken_back_last_change_first_also_where_it_was_continued() {
    let before = world(&[("award", "1"), ("snp", "0")]);
    let first = set(&wish(2), &before).unwrap();
    let set_world = after(&before, &first);
    let back = undo::plan(&records(&first, "1"), &set_world).unwrap();
    let then = after(&set_world, &back.changes);
    assert_eq!((&then.indexes, &then.saved), (&before.indexes, &before.saved));
    assert!(
        undo::plan(&records(&first, "1"), &before).unwrap().changes.changes.is_empty(),
        "nothing is left to do"
    );
    // Set, restored, and set again, in one receipt.
    let second = restore(&set_world).unwrap();
    let restored = after(&set_world, &second);
    let third = set(&wish(3), &restored).unwrap();
    let end = after(&restored, &third);
    let all = [records(&third, "3"), records(&second, "2"), records(&first, "1")].concat();
    let back = undo::plan(&all, &end).unwrap();
    let then = after(&end, &back.changes);
    assert_eq!((&then.indexes, &then.saved), (&before.indexes, &before.saved));
    // What is proven is the end, not each step on the way.
    let outcome: BTreeMap<String, String> =
        back.changes.outcome().into_iter().map(|(index, replicas)| (index.name, replicas)).collect();
    assert_eq!(outcome, [("award", "1"), ("snp", "0")].map(|(a, b)| (a.into(), b.into())).into());
    let red = World { status: "red".into(), ..set_world };
    assert_eq!(
        undo::plan(&records(&first, "1"), &red).unwrap_err().code(),
        Code::Refused,
        "copies would be dropped"
    );
    let mut foreign = end;
    foreign.indexes.get_mut("award").unwrap().replicas = "4".into();
    assert_eq!(undo::plan(&all, &foreign).unwrap_err().code(), Code::Refused);
}

#[test]
fn a_run_is_not_taken_back_in_another_cluster() {
    let before = world(&[("award", "1")]);
    let first = records(&set(&wish(2), &before).unwrap(), "1");
    // By its uuid: clusters that are all called by the default name are told apart.
    let other = World { uuid: "c-2".into(), ..world(&[("logs", "1")]) };
    let refused = undo::plan(&first, &other).unwrap_err();
    assert_eq!(refused.code(), Code::Refused);
    let why = refused.chain().join(": ");
    assert!(why.contains("uuid c-1") && why.contains("uuid c-2"), "{why}");
}
