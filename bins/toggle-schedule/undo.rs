//! Takes a run back: each rule goes back to what the run found, where it still is what the run left. Pure.

use std::collections::BTreeMap;

use kit::{ActionRecord, Failure, Receipt};

use crate::plan::{Change, Changes, Stand};

/// The changes of a run, last first, with their records.
pub(crate) fn of(receipt: &Receipt) -> Result<Vec<(ActionRecord, Change)>, Failure> {
    receipt.inverses()
}

/// The changes back, each with the records that it takes back, and the records that there is nothing to do about.
#[derive(Debug, Default)]
pub(crate) struct Back {
    pub(crate) changes: Changes,
    pub(crate) takes: BTreeMap<String, Vec<ActionRecord>>,
    pub(crate) settled: Vec<ActionRecord>,
}

impl Back {
    /// What a change takes back.
    pub(crate) fn records(&self, id: &str) -> &[ActionRecord] {
        self.takes.get(id).map_or(&[], Vec::as_slice)
    }
}

/// Goes through the records, last first; `present` is what is there now, by ARN, without the rules that are gone. Several
/// records of one rule, as a continued receipt has them, are taken back in one change.
pub(crate) fn plan(
    records: &[(ActionRecord, Change)],
    present: &BTreeMap<String, Stand>,
) -> Result<Back, Failure> {
    let mut back = Back::default();
    for (record, change) in records {
        let Some(now) = present.get(&change.arn) else {
            back.settled.push(record.clone());
            continue;
        };
        let planned = back.changes.rules.iter_mut().find(|one| one.arn == change.arn);
        let at = planned.as_ref().map_or(now, |one| &one.after);
        if *at == change.before {
            back.settled.push(record.clone());
        } else if at.state != change.before.state && !change.comes_back() {
            return Err(Failure::refused(format!("put the rule {} back", change.name))
                .because(format!("it was {}, and EnableRule can't make it that", change.before.state))
                .help("call PutRule with that state, and with all else that the rule has"));
        } else if at.between(&change.before, &change.after) {
            match planned {
                Some(one) => one.after.clone_from(&change.before),
                None => back.changes.rules.push(Change {
                    before: now.clone(),
                    after: change.before.clone(),
                    ..change.clone()
                }),
            }
            back.takes.entry(change.id.clone()).or_default().push(record.clone());
        } else {
            return Err(Failure::refused(format!("put the rule {} back", change.name))
                .because(format!(
                    "it is {at}: neither {}, which that run left, nor {}, which it found",
                    change.after, change.before
                ))
                .help("somebody has changed it since: see --action status"));
        }
    }
    // There and back again: nothing is left to do.
    for change in back.changes.rules.extract_if(.., |change| change.before == change.after) {
        back.settled.extend(back.takes.remove(&change.id).unwrap_or_default());
    }
    back.changes.last = true;
    "all is as it was before that run".clone_into(&mut back.changes.unchanged);
    Ok(back)
}
