//! How what a release did is taken back: which command, in which order, and what stays.

use std::collections::BTreeMap;

use kit::{ActionState, shell_word};

use crate::observe::Lying;
use crate::story::{Act, Back, Run, Way};

/// The last change first. `half` names, for a run that an undo began to take back without success, that undo.
pub(crate) fn way_back(runs: &[Run], lying: &[Lying], half: &BTreeMap<usize, usize>) -> Vec<Back> {
    let mut ways: Vec<Back> = runs
        .iter()
        .zip(lying)
        .rev()
        .filter(|(run, _)| run.continued_by.is_none() && run.takes_back.is_none())
        .filter_map(|(run, lying)| back(run, lying, half.get(&run.number).copied()))
        .collect();
    let steps: Vec<(String, usize)> =
        ways.iter().filter(|way| way.kind != Way::Not).map(|way| (way.step.clone(), way.run)).collect();
    for way in ways.iter_mut().filter(|way| way.kind != Way::Not) {
        let others: Vec<String> = steps
            .iter()
            .rev()
            .filter(|(step, run)| *step == way.step && *run != way.run)
            .map(|(_, run)| format!("#{run}"))
            .collect();
        if !others.is_empty() {
            way.cautions.push(format!(
                "{} ran more than once (also {}): where a later run put back what an earlier one did, taking the later one back brings that state on again",
                way.step,
                others.join(", ")
            ));
        }
    }
    ways
}

fn back(run: &Run, lying: &Lying, half: Option<usize>) -> Option<Back> {
    let held: Vec<&Act> = run.actions.iter().filter(|act| act.holds()).collect();
    if held.is_empty() {
        return None;
    }
    let (can, stay): (Vec<&Act>, Vec<&Act>) = held.into_iter().partition(|act| act.reversible);
    let kind = match (can.is_empty(), stay.is_empty()) {
        (false, true) => Way::Whole,
        (false, false) => Way::Partly,
        (true, _) => Way::Not,
    };
    let mut cautions = Vec::new();
    if let Some(number) = half {
        cautions.push(format!(
            "#{number} began to take it back and did not end well: the command goes on with it"
        ));
    }
    if can.iter().chain(&stay).any(|act| act.state == ActionState::Started) {
        cautions.push("what is in doubt may not have happened: the command looks first".to_owned());
    }
    let mut command = (kind != Way::Not).then(|| format!("{} --undo {}", run.step, shell_word(&run.receipt)));
    if kind == Way::Partly {
        cautions.push(
            "part of it stays, and the step may refuse to take back the rest: ask it with --dry-run"
                .to_owned(),
        );
        command = command.map(|command| format!("{command} --dry-run"));
    }
    if command.is_some() && !lying.lacks.is_empty() {
        cautions.push(format!(
            "it needs {} beside the receipt, which {} not there",
            lying.lacks.join(" and "),
            if lying.lacks.len() == 1 { "is" } else { "are" }
        ));
    }
    let mark = |act: &Act, text: &str| match act.state {
        ActionState::Started => format!("in doubt: {text}"),
        _ => text.to_owned(),
    };
    Some(Back {
        run: run.number,
        step: run.step.clone(),
        kind,
        command,
        // As the step does it: the last action first.
        takes_back: can.iter().rev().map(|act| mark(act, &act.undo)).collect(),
        stays: stay.iter().map(|act| (mark(act, &act.does), act.undo.clone())).collect(),
        cautions,
    })
}
