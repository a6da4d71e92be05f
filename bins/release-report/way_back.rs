//! How what a release did is taken back: which command, in which order, and what stays.

use std::collections::BTreeMap;

use kit::{ActionState, shell_word};

use crate::mask::mask;
use crate::observe::Lying;
use crate::plan::TEXT;
use crate::story::{Act, Back, Run, Stays, Way};
use crate::words::clip;

/// The last change first. `half` names, for a run that an undo began to take back without success, that undo.
///
/// A command that could do harm where it is copied unread is given with `--dry-run`: where part of a run stays, where a later
/// run stays (what an earlier one made, as a backup, may be the way back from it), and where a later run of the same step may
/// be what put an earlier one back.
pub(crate) fn way_back(runs: &[Run], lying: &[Lying], half: &BTreeMap<usize, usize>) -> Vec<Back> {
    let mut ways = Vec::new();
    let mut staying: Option<String> = None;
    for (run, lying) in runs.iter().zip(lying).rev() {
        if run.continued_by.is_some() || run.takes_back.is_some() {
            continue;
        }
        let held: Vec<&Act> = run.actions.iter().filter(|act| act.holds()).collect();
        if held.is_empty() {
            continue;
        }
        let (can, stay): (Vec<&Act>, Vec<&Act>) = held.into_iter().partition(|act| act.reversible);
        let kind = match (can.is_empty(), stay.is_empty()) {
            (false, true) => Way::Whole,
            (false, false) => Way::Partly,
            (true, _) => Way::Not,
        };
        let mut cautions = Vec::new();
        let mut is_read_first = kind != Way::Whole;
        if let Some(number) = half.get(&run.number) {
            cautions
                .push(format!("({number}) began to take it back and did not end well: this goes on with it"));
        }
        if can.iter().chain(&stay).any(|act| act.state == ActionState::Started) {
            cautions.push("what is in doubt may not have happened: the step looks first".to_owned());
        }
        match kind {
            Way::Whole => {}
            Way::Partly => {
                cautions.push("part of it stays, and the step may refuse to take back the rest".to_owned());
            }
            Way::Not => cautions.push("the step says what can be done instead".to_owned()),
        }
        if let Some(later) = &staying
            && kind != Way::Not
        {
            is_read_first = true;
            cautions.push(format!(
                "{later} came later and stays: the way back from it may need this, as a backup"
            ));
        }
        let same =
            |other: &&Run| other.step == run.step && other.number != run.number && other.takes_back.is_none();
        let (earlier, later): (Vec<&Run>, Vec<&Run>) =
            runs.iter().filter(same).partition(|other| other.number < run.number);
        let has_changes = |other: &&Run| other.actions.iter().any(Act::holds);
        if kind != Way::Not && !later.is_empty() {
            cautions.push(format!(
                "{} came later: where it put this back already, nothing is left to do",
                names(&later)
            ));
        }
        let earlier: Vec<&Run> = earlier.into_iter().filter(has_changes).collect();
        if kind != Way::Not && !earlier.is_empty() {
            is_read_first = true;
            cautions.push(format!(
                "{} came earlier: where this put it back, to take this back brings it on again",
                names(&earlier)
            ));
        }
        if !lying.lacks.is_empty() {
            cautions.push(format!(
                "it needs {} beside the receipt, which {} not there",
                lying.lacks.join(" and "),
                if lying.lacks.len() == 1 { "is" } else { "are" }
            ));
        }
        if kind != Way::Whole {
            staying = Some(run.name());
        }
        let dry_run = if is_read_first { " --dry-run" } else { "" };
        ways.push(Back {
            run: run.number,
            step: run.step.clone(),
            kind,
            command: format!("{} --undo {}{dry_run}", run.step, shell_word(&run.receipt)),
            // As the step does it: the last action first.
            takes_back: can.iter().rev().map(|act| mark(act, &act.undo)).collect(),
            stays: stay
                .iter()
                .map(|act| Stays { does: mark(act, &act.does), why: act.undo.clone() })
                .collect(),
            restore: restore(lying),
            cautions,
        });
    }
    ways
}

fn mark(act: &Act, text: &str) -> String {
    match act.state {
        ActionState::Started => format!("in doubt: {text}"),
        _ => text.to_owned(),
    }
}

fn names(runs: &[&Run]) -> String {
    runs.iter().map(|run| run.name()).collect::<Vec<_>>().join(", ")
}

/// What is to be restored where a change has no inverse, as `run-migration` keeps it.
fn restore(lying: &Lying) -> Option<String> {
    let mut irreversible = lying.receipt.undoable().into_iter().filter(|action| !action.reversible);
    let text = irreversible.find_map(|action| action.inverse.get("restore")?.as_str())?;
    Some(clip(&mask(text), TEXT))
}
