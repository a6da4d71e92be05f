//! Takes a run back: the inverse batch, if what that run left is still there.

use kit::{Action, ActionRecord, Failure, Plan, Receipt};
use serde::{Deserialize, Serialize};

use crate::args::Act;
use crate::plan::{Batch, SWITCH, Zone};
use crate::record_set::RecordSet;

/// What the receipt keeps before the call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Inverse {
    pub(crate) zone: ZoneId,
    pub(crate) name: String,
    /// What takes the change back.
    pub(crate) batch: Batch,
}

impl Inverse {
    /// Where the name leads then.
    pub(crate) fn leading(&self) -> impl Iterator<Item = &RecordSet> {
        self.batch.create.iter().filter(|set| set.leads())
    }

    /// Whether the name leads anywhere else then. The saved state alone may have been changed.
    pub(crate) fn leads_elsewhere(&self) -> bool {
        self.leading().next().is_some()
    }

    /// What it comes to: the saved state is there exactly while the page is on.
    pub(crate) fn act(&self) -> Act {
        if self.batch.create.iter().any(|set| !set.leads()) { Act::On } else { Act::Off }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ZoneId {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) private: bool,
}

impl From<&Zone> for ZoneId {
    fn from(zone: &Zone) -> Self {
        Self { id: zone.id.clone(), name: zone.name.clone(), private: zone.private }
    }
}

impl From<ZoneId> for Zone {
    fn from(zone: ZoneId) -> Self {
        Self { id: zone.id, name: zone.name, private: zone.private }
    }
}

/// The switch of the receipt, if there is one to take back.
pub(crate) fn of(receipt: &Receipt) -> Result<Option<(ActionRecord, Inverse)>, Failure> {
    Ok(receipt.inverses()?.into_iter().rfind(|(action, _)| action.id == SWITCH))
}

/// The plan of an undo.
#[derive(Debug, Serialize)]
pub(crate) struct Back {
    pub(crate) inverse: Option<Inverse>,
    pub(crate) unchanged: String,
}

impl Plan for Back {
    fn actions(&self) -> Vec<Action> {
        let Some(inverse) = &self.inverse else { return Vec::new() };
        let line = |sign: &str, set: &RecordSet| format!("{sign} {} {set}", dns::normal(&set.name));
        let deleted = inverse.batch.delete.iter().map(|set| line("-", set));
        let created = inverse.batch.create.iter().map(|set| line("+", set));
        let lines: Vec<String> = deleted.chain(created).collect();
        vec![
            Action::irreversible(
                SWITCH,
                format!("put the record of {} and its saved state back as they were", inverse.name),
                "run the step again instead",
            )
            .detail(lines.join("\n")),
        ]
    }

    fn unchanged(&self) -> String {
        self.unchanged.clone()
    }
}

/// Refuses when what is there is neither what the run left nor what it found.
pub(crate) fn refuse(inverse: &Inverse, there: &str) -> Failure {
    Failure::refused(format!("put the record of {} back", inverse.name))
        .because(format!("it is neither what that run left nor what it found: {there}"))
        .help("see --action status, and put it right by hand")
}
