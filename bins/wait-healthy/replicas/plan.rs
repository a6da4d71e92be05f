//! What is to be changed, or why nothing may be. Pure.

use std::collections::BTreeMap;

use kit::{Failure, Note, nearest};
use time::OffsetDateTime;

use super::change::{Change, Changes, Named};
use super::observe::{Index, World};
use super::saved::{Saved, Was};
use crate::kinds::cluster::client::segment;
use crate::kinds::cluster::judge::some;

/// The longest list of names in one request: servers take a first line of 4 KiB.
///
/// Source: <https://www.elastic.co/guide/en/elasticsearch/reference/8.17/modules-network.html> (`http.max_initial_line_length`)
const LONGEST: usize = 3000;

/// What the user asks for.
#[derive(Clone, Debug)]
pub(super) struct Set<'a> {
    pub(super) replicas: u32,
    /// None: all that are open and not the cluster's own.
    pub(super) named: &'a [String],
    pub(super) by: String,
    pub(super) since: OffsetDateTime,
}

/// Sets the number of copies, after saving what it is.
pub(super) fn set(wish: &Set<'_>, world: &World) -> Result<Changes, Failure> {
    let wanted = wish.replicas.to_string();
    let refused = || Failure::refused(format!("set number_of_replicas to {wanted} in {}", world.cluster));
    if u64::from(wish.replicas) >= world.data_nodes {
        return Err(refused()
            .because(format!(
                "the cluster sees {} data node{}: two copies of a shard never share one, so {} of them are needed",
                world.data_nodes,
                if world.data_nodes == 1 { "" } else { "s" },
                u64::from(wish.replicas) + 1
            ))
            .help("wait for the missing nodes first: --es URL=yellow --es-nodes N, or set fewer"));
    }
    if let Some(saved) = &world.saved
        && saved.replicas != wanted
    {
        return Err(refused()
            .because(format!(
                "{} has set them to {} at {}, and what they were before is saved once",
                saved.by,
                saved.replicas,
                kit::clock(saved.since)
            ))
            .help("put that back first (--action restore-replicas), or leave it so for good (--action forget-replicas)"));
    }
    let mut notes = Vec::new();
    let targets = targets(wish.named, world, &refused, &mut notes)?;
    let differing: BTreeMap<&String, &Index> =
        targets.into_iter().filter(|(_, index)| index.replicas != wanted).collect();
    let mut indexes = world.saved.as_ref().map(|saved| saved.indexes.clone()).unwrap_or_default();
    let mut foreign = Vec::new();
    for (name, index) in &differing {
        match indexes.iter_mut().find(|was| was.name == **name) {
            Some(was) if was.uuid == index.uuid => {
                if was.replicas != index.replicas {
                    foreign.push(format!("{name} has {}, and had {}", index.replicas, was.replicas));
                }
            }
            // Made anew since: what the former one had is of no use.
            Some(was) => *was = save(name, index),
            None => indexes.push(save(name, index)),
        }
    }
    if !foreign.is_empty() {
        return Err(refused()
            .because(format!("somebody has changed them since they were saved: {}", some(&foreign)))
            .help("set these to what they had, or to what is wanted, by hand, and run it again"));
    }
    let lowers: Vec<&str> = differing
        .iter()
        .filter(|(_, index)| number(&index.replicas) > Some(wish.replicas))
        .map(|(name, _)| name.as_str())
        .collect();
    if !lowers.is_empty() {
        never_when_red(world, &lowers)?;
        notes.push(Note::Warning(format!(
            "copies are dropped, and have to be made again later: {}",
            some(&lowers)
        )));
    }
    if wish.replicas == 0 && !differing.is_empty() {
        notes.push(Note::Warning("without a copy, a node that is lost takes its shards with it".to_owned()));
    }
    let mut changes = Vec::new();
    let saved = Saved { replicas: wanted.clone(), since: wish.since, by: wish.by.clone(), indexes };
    match &world.saved {
        _ if differing.is_empty() => {}
        Some(before) if before.indexes == saved.indexes => {}
        Some(before) => {
            let after = Saved { indexes: saved.indexes, ..before.clone() };
            changes.push((
                "save".to_owned(),
                Change::Saved { before: Some(before.clone()), after: Some(after) },
            ));
        }
        None => changes.push(("save".to_owned(), Change::Saved { before: None, after: Some(saved) })),
    }
    let moves = differing.iter().map(|(name, index)| (index.replicas.clone(), identity(name, index)));
    for (n, (before, indexes)) in batches(moves).into_iter().enumerate() {
        let change = Change::Replicas { indexes, before, after: wanted.clone() };
        changes.push((format!("set-{}", n + 1), change));
    }
    Ok(Changes {
        cluster: world.cluster.clone(),
        changes,
        notes,
        unchanged: format!("number_of_replicas is {wanted} in {} already", world.cluster),
        last: false,
    })
}

/// The indexes that are meant; what is left alone is noted.
fn targets<'a>(
    named: &[String],
    world: &'a World,
    refused: &dyn Fn() -> Failure,
    notes: &mut Vec<Note>,
) -> Result<Vec<(&'a String, &'a Index)>, Failure> {
    if named.is_empty() {
        let mut alone: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let mut targets = Vec::new();
        for (name, index) in &world.indexes {
            let why = match &index.auto_expand {
                _ if name.starts_with('.') => {
                    "their names begin with a dot, as those of the cluster's own do"
                }
                _ if index.hidden => "they are hidden",
                _ if !index.plain => "they are closed",
                Some(_) => "they choose their number of copies themselves (index.auto_expand_replicas)",
                None => {
                    targets.push((name, index));
                    continue;
                }
            };
            alone.entry(why).or_default().push(name.clone());
        }
        notes.extend(
            alone.iter().map(|(why, names)| Note::Info(format!("left alone, since {why}: {}", some(names)))),
        );
        if targets.is_empty() {
            return Err(refused()
                .because("the cluster has no open index of its user")
                .help("check the address; name one of the others with --es-index, if it is meant"));
        }
        return Ok(targets);
    }
    let mut targets = Vec::new();
    for name in named {
        let Some((name, index)) = world.indexes.get_key_value(name) else {
            let failure = refused()
                .because(format!("there is no index {name}; --es-index takes no alias and no pattern"));
            let names: Vec<&str> = world.indexes.keys().map(String::as_str).collect();
            return Err(match nearest(name, &names) {
                Some(near) => failure.help(format!("did you mean {near}?")),
                None => failure.help("GET /_cat/indices lists them"),
            });
        };
        if let Some(range) = &index.auto_expand {
            return Err(refused()
                .because(format!("the index {name} chooses its number of copies itself (index.auto_expand_replicas is {range})"))
                .help("what is set would be overridden at once: change that setting instead"));
        }
        if !index.plain && !index.hidden && !name.starts_with('.') {
            return Err(refused()
                .because(format!("the index {name} is closed"))
                .help("open it first, or leave it out"));
        }
        if !targets.iter().any(|(other, _)| *other == name) {
            targets.push((name, index));
        }
    }
    Ok(targets)
}

/// Puts back what is saved.
pub(super) fn restore(world: &World) -> Result<Changes, Failure> {
    let mut plan = Changes { cluster: world.cluster.clone(), ..Changes::default() };
    let Some(saved) = &world.saved else {
        plan.unchanged = format!("no number of copies is saved in {}", world.cluster);
        plan.notes.push(Note::Warning(format!(
            "{}: either what was saved is restored already, or --action set-replicas has not run on this cluster",
            plan.unchanged
        )));
        return Ok(plan);
    };
    let mut notes = Vec::new();
    let (mut moves, mut foreign, mut lowers) = (Vec::new(), Vec::new(), Vec::new());
    let mut most = None;
    for was in &saved.indexes {
        let mut alone = |why: String| notes.push(Note::Info(format!("{} is left alone: {why}", was.name)));
        let Some(index) = world.indexes.get(&was.name) else {
            alone("it is there no more".to_owned());
            continue;
        };
        if index.uuid == was.uuid && index.replicas == was.replicas {
            continue;
        }
        if index.uuid != was.uuid {
            alone(format!("it was made anew since, with {}", index.replicas));
        } else if let Some(range) = &index.auto_expand {
            alone(format!("it chooses its number of copies itself now ({range})"));
        } else if index.replicas == saved.replicas {
            if number(&was.replicas) < number(&index.replicas) {
                lowers.push(was.name.as_str());
            }
            most = most.max(number(&was.replicas));
            moves.push((was.replicas.clone(), identity(&was.name, index)));
        } else {
            foreign.push(format!("{} has {}, and had {}", was.name, index.replicas, was.replicas));
        }
    }
    if !foreign.is_empty() {
        return Err(Failure::refused(format!("restore number_of_replicas in {}", world.cluster))
            .because(format!(
                "somebody has changed them since they were set to {}: {}",
                saved.replicas,
                some(&foreign)
            ))
            .help("set these to what they had by hand and run it again, or leave all as it is: --action forget-replicas"));
    }
    if !lowers.is_empty() {
        never_when_red(world, &lowers)?;
    }
    if let Some(most) = most.filter(|most| u64::from(*most) >= world.data_nodes) {
        notes.push(Note::Warning(format!(
            "{most} copies need {} data nodes, and the cluster sees {}: it stays yellow",
            u64::from(most) + 1,
            world.data_nodes
        )));
    }
    let mut changes = Vec::new();
    for (n, (after, indexes)) in batches(moves.into_iter()).into_iter().enumerate() {
        let change = Change::Replicas { indexes, before: saved.replicas.clone(), after };
        changes.push((format!("restore-{}", n + 1), change));
    }
    changes.push(("drop".to_owned(), Change::Saved { before: Some(saved.clone()), after: None }));
    Ok(Changes { changes, notes, ..plan })
}

/// Drops what is saved.
pub(super) fn forget(world: &World) -> Changes {
    let forgotten = |saved: &Saved| Change::Saved { before: Some(saved.clone()), after: None };
    Changes {
        cluster: world.cluster.clone(),
        changes: world.saved.iter().map(|saved| ("drop".to_owned(), forgotten(saved))).collect(),
        unchanged: format!("no number of copies is saved in {}", world.cluster),
        ..Changes::default()
    }
}

/// A shard whose first copy is lost may have its last one among those that would be dropped.
pub(super) fn never_when_red(world: &World, lowers: &[&str]) -> Result<(), Failure> {
    if world.status != "red" {
        return Ok(());
    }
    Err(Failure::refused(format!("lower number_of_replicas in {}", world.cluster))
        .because(format!(
            "the cluster is red, and a copy that is dropped may be the last one: {}",
            some(lowers)
        ))
        .help("see what is missing first: --es URL=yellow --once"))
}

fn save(name: &str, index: &Index) -> Was {
    Was { name: name.to_owned(), uuid: index.uuid.clone(), replicas: index.replicas.clone() }
}

fn identity(name: &str, index: &Index) -> Named {
    Named { name: name.to_owned(), uuid: index.uuid.clone() }
}

pub(super) fn number(replicas: &str) -> Option<u32> {
    replicas.parse().ok()
}

/// The indexes by the value that they share, in lists that fit in a request.
pub(super) fn batches(moves: impl Iterator<Item = (String, Named)>) -> Vec<(String, Vec<Named>)> {
    let mut by_value: BTreeMap<String, Vec<Named>> = BTreeMap::new();
    for (value, index) in moves {
        by_value.entry(value).or_default().push(index);
    }
    let mut batches: Vec<(String, Vec<Named>)> = Vec::new();
    for (value, indexes) in by_value {
        let mut length = LONGEST;
        for index in indexes {
            let more = segment(&index.name).len() + 1;
            length += more;
            if let Some((_, batch)) = batches.last_mut().filter(|_| length <= LONGEST) {
                batch.push(index);
            } else {
                batches.push((value.clone(), vec![index]));
                length = more;
            }
        }
    }
    batches
}
