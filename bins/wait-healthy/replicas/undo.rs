//! Takes a run back: what it found is put back where what it left is still there. Pure.

use std::collections::BTreeMap;

use kit::{ActionRecord, Failure, Receipt};

use super::change::{Change, Changes, Cluster, Made, Named};
use super::observe::World;
use super::plan::{never_when_red, number};

/// The changes of a run, last first, with their records.
pub(super) fn of(receipt: &Receipt) -> Result<Vec<(ActionRecord, Made)>, Failure> {
    receipt.inverses()
}

/// The changes back, each with the record that it takes back, and the records that there is nothing to do about.
#[derive(Debug, Default)]
pub(super) struct Back {
    pub(super) changes: Changes,
    pub(super) takes: BTreeMap<String, ActionRecord>,
    pub(super) settled: Vec<ActionRecord>,
}

/// Goes through the records, last first: of one thing that was changed twice the later change is taken back first.
pub(super) fn plan(records: &[(ActionRecord, Made)], world: &World) -> Result<Back, Failure> {
    if let Some((_, other)) = records.iter().find(|(_, made)| made.cluster != world.identity()) {
        return Err(elsewhere(&other.cluster, world));
    }
    let mut back = Back::default();
    back.changes.cluster.clone_from(&world.cluster);
    back.changes.last = true;
    "all is as it was before that run".clone_into(&mut back.changes.unchanged);
    let mut indexes = world.indexes.clone();
    let mut saved = world.saved.clone();
    for (record, made) in records {
        let change = match &made.change {
            Change::Replicas { indexes: changed, before, after } => {
                let mut moved: Vec<Named> = Vec::new();
                for named in changed {
                    // One that is there no more, or was made anew, is not what that run changed.
                    let Some(index) = indexes.get_mut(&named.name).filter(|index| index.uuid == named.uuid)
                    else {
                        continue;
                    };
                    if index.replicas == *before {
                        continue;
                    }
                    if index.replicas != *after {
                        return Err(Failure::refused(format!(
                            "put number_of_replicas of {} back",
                            named.name
                        ))
                        .because(format!(
                            "it is {}: neither {after}, which that run left, nor {before}, which it found",
                            index.replicas
                        ))
                        .help("somebody has changed it since: set it by hand"));
                    }
                    if number(before) < number(after) {
                        never_when_red(world, &[named.name.as_str()])?;
                    }
                    index.replicas.clone_from(before);
                    moved.push(named.clone());
                }
                (!moved.is_empty()).then(|| Change::Replicas {
                    indexes: moved,
                    before: after.clone(),
                    after: before.clone(),
                })
            }
            Change::Saved { before, .. } if saved == *before => None,
            Change::Saved { before, after } if saved == *after => {
                saved.clone_from(before);
                Some(made.change.back())
            }
            Change::Saved { .. } => {
                return Err(Failure::refused("put the saved numbers of copies back")
                    .because("another run has saved or dropped some since")
                    .help("see what that run did; --action restore-replicas puts back what is saved now"));
            }
        };
        match change {
            None => back.settled.push(record.clone()),
            Some(change) => {
                let id = format!("back-{}", back.changes.changes.len() + 1);
                back.takes.insert(id.clone(), record.clone());
                back.changes.changes.push((id, change));
            }
        }
    }
    Ok(back)
}

/// None of its indexes is there, which would look as if there were nothing left to take back.
fn elsewhere(made_in: &Cluster, world: &World) -> Failure {
    let shown = |cluster: &Cluster| match cluster.uuid.as_str() {
        "" => cluster.name.clone(),
        uuid => format!("{} (uuid {uuid})", cluster.name),
    };
    Failure::refused(format!("take back what a run did in the cluster {}", made_in.name))
        .because(format!(
            "this is another one: {}, and that run was in {}",
            shown(&world.identity()),
            shown(made_in)
        ))
        .help("write the address of that cluster; if it was made anew, what was set in it is gone with it")
}
