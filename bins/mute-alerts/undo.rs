//! Takes a run back: what each action found is put back where what it left is still there. Pure.

use std::collections::BTreeMap;

use kit::{ActionRecord, Failure, Receipt};
use serde::{Deserialize, Serialize};

use crate::plan::{AlarmChange, Changes, Stand, SubscriptionChange, other_scope, words};
use crate::saved::{Reading, read, same};

/// What the receipt keeps before a call: the change itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub(crate) enum Inverse {
    Subscription(SubscriptionChange),
    Alarm(AlarmChange),
}

/// The changes of a run, last first, with their records.
pub(crate) fn of(receipt: &Receipt) -> Result<Vec<(ActionRecord, Inverse)>, Failure> {
    receipt.inverses()
}

/// What is there now, by ARN. A subscription that is there no more has no policy here, and an alarm `None`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Present {
    pub(crate) policies: BTreeMap<String, Option<String>>,
    /// What of a message each policy looks at, where it is told.
    pub(crate) scopes: BTreeMap<String, String>,
    pub(crate) alarms: BTreeMap<String, Option<Stand>>,
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

/// Goes through the records, last first. What is there must be what a record left, or what it found; one record after
/// another of the same thing, as a continued receipt has them, are taken back in one change.
pub(crate) fn plan(records: &[(ActionRecord, Inverse)], present: &Present) -> Result<Back, Failure> {
    let mut back = Back::default();
    for (record, inverse) in records {
        match inverse {
            Inverse::Subscription(change) => subscription(record, change, present, &mut back)?,
            Inverse::Alarm(change) => alarm(record, change, present, &mut back)?,
        }
    }
    // There and back again: nothing is left to do.
    let takes = &mut back.takes;
    let mut settle = |id: &str| back.settled.extend(takes.remove(id).unwrap_or_default());
    back.changes.subscriptions.retain(|change| {
        let moves = !same(change.before.as_deref(), change.after.as_deref());
        if !moves {
            settle(&change.id);
        }
        moves
    });
    back.changes.alarms.retain(|change| {
        let moves = change.before != change.after;
        if !moves {
            settle(&change.id);
        }
        moves
    });
    back.changes.last = true;
    "all is as it was before that run".clone_into(&mut back.changes.unchanged);
    Ok(back)
}

fn subscription(
    record: &ActionRecord,
    change: &SubscriptionChange,
    present: &Present,
    back: &mut Back,
) -> Result<(), Failure> {
    let Some(now) = present.policies.get(&change.arn) else {
        back.settled.push(record.clone());
        return Ok(());
    };
    let planned = back.changes.subscriptions.iter_mut().find(|one| one.arn == change.arn);
    let at = planned.as_ref().map_or(now, |one| &one.after);
    if same(at.as_deref(), change.before.as_deref()) {
        back.settled.push(record.clone());
    } else if same(at.as_deref(), change.after.as_deref()) {
        if let Reading::Muted(saved) = read(change.after.as_deref())
            && let Some(why) = other_scope(&saved, present.scopes.get(&change.arn).map(String::as_str))
        {
            return Err(Failure::refused(format!("put {} of {} back", change.label, change.topic))
                .because(why)
                .help("somebody has changed it since: put the scope back by hand, then run this again"));
        }
        match planned {
            Some(one) => one.after.clone_from(&change.before),
            None => back.changes.subscriptions.push(SubscriptionChange {
                before: now.clone(),
                after: change.before.clone(),
                ..change.clone()
            }),
        }
        back.takes.entry(change.id.clone()).or_default().push(record.clone());
    } else {
        return Err(Failure::refused(format!("put {} of {} back", change.label, change.topic))
            .because(format!(
                "it has {}: neither {}, which that run left, nor {}, which it found",
                words(at.as_deref()),
                words(change.after.as_deref()),
                words(change.before.as_deref())
            ))
            .help("somebody has changed it since: put it right by hand, or use --action off"));
    }
    Ok(())
}

fn alarm(
    record: &ActionRecord,
    change: &AlarmChange,
    present: &Present,
    back: &mut Back,
) -> Result<(), Failure> {
    let Some(Some(now)) = present.alarms.get(&change.arn) else {
        back.settled.push(record.clone());
        return Ok(());
    };
    let planned = back.changes.alarms.iter_mut().find(|one| one.arn == change.arn);
    let at = planned.as_ref().map_or(now, |one| &one.after);
    if *at == change.before {
        back.settled.push(record.clone());
    } else if at.between(&change.before, &change.after) {
        match planned {
            Some(one) => one.after.clone_from(&change.before),
            None => back.changes.alarms.push(AlarmChange {
                before: now.clone(),
                after: change.before.clone(),
                ..change.clone()
            }),
        }
        back.takes.entry(change.id.clone()).or_default().push(record.clone());
    } else {
        return Err(Failure::refused(format!("put the alarm {} back", change.name))
            .because(format!(
                "it has {at}: neither {}, which that run left, nor {}, which it found",
                change.after, change.before
            ))
            .help("somebody has changed it since: put it right by hand, or use --action off"));
    }
    Ok(())
}
