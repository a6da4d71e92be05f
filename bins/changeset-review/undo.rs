//! `--undo`: deletes the change sets that a run left, by the names that it chose.

use changeset::live::{Cfn, SetRef};
use kit::{Action, ActionRecord, Cx, Failure, Go, Outcome, Plan, Receipt};
use serde::Serialize;

use crate::apply::{Inverse, take_away};

#[derive(Serialize)]
struct UndoPlan {
    sets: Vec<Left>,
}

#[derive(Serialize)]
struct Left {
    id: String,
    name: String,
    stack: String,
    arn: String,
    stack_id: String,
    is_new: bool,
    #[serde(skip)]
    takes_back: ActionRecord,
}

impl Plan for UndoPlan {
    fn actions(&self) -> Vec<Action> {
        self.sets
            .iter()
            .map(|set| {
                let shell = if set.is_new { ", and the empty stack that it left" } else { "" };
                Action::irreversible(
                    &set.id,
                    format!("delete the change set {} of stack {}{shell}", set.name, set.stack),
                    "a new review makes another",
                )
            })
            .collect()
    }

    fn unchanged(&self) -> String {
        "no change set of that run is left".to_owned()
    }
}

pub(crate) async fn undo(cx: &Cx, cfn: &Cfn, receipt: &Receipt) -> Result<Outcome, Failure> {
    let mut plan = UndoPlan { sets: Vec::new() };
    let mut gone = Vec::new();
    for record in receipt.undoable() {
        let inverse: Inverse = serde_json::from_value(record.inverse.clone())
            .map_err(|error| Failure::usage(format!("read the inverse of {}", record.id)).because(error))?;
        let sets = cfn.sets(cx, &inverse.stack).await?;
        match sets.into_iter().find(|set| set.name == inverse.set) {
            Some(set) => plan.sets.push(Left {
                id: record.id.clone(),
                name: set.name,
                stack: inverse.stack,
                arn: set.arn,
                stack_id: set.stack_id,
                is_new: inverse.is_new,
                takes_back: record.clone(),
            }),
            None => gone.push(record.clone()),
        }
    }
    if let Go::Stop(outcome) = cx.show(&plan)? {
        return Ok(outcome);
    }
    for record in &gone {
        cx.mark_undone(record)?;
    }
    if plan.sets.is_empty() {
        return Ok(Outcome::unchanged(plan.unchanged()));
    }
    for left in &plan.sets {
        let set = SetRef { arn: left.arn.clone(), stack_id: left.stack_id.clone() };
        cx.act_undo(&left.id, &left.takes_back, take_away(cx, cfn, &set, left.is_new)).await?;
    }
    Ok(Outcome::changed("deleted the change sets that the run left"))
}
