//! `--undo`: deletes the change sets that a run left, by the names that it chose.

use changeset::live::{Cfn, Phase, SetRef};
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
    /// None where the set itself is gone, and the empty stack that it left is not.
    arn: Option<String>,
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
                let does = match (&set.arn, set.is_new) {
                    (None, _) => format!("delete the empty stack {} that a change set left", set.stack),
                    (Some(_), true) => format!(
                        "delete the change set {} of stack {}, and the empty stack that it left",
                        set.name, set.stack
                    ),
                    (Some(_), false) => format!("delete the change set {} of stack {}", set.name, set.stack),
                };
                Action::irreversible(&set.id, does, "a new review makes another")
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
        let found = sets.into_iter().find(|set| set.name == inverse.set);
        let left = match found {
            Some(set) => Some((Some(set.arn), set.stack_id)),
            None if inverse.is_new => {
                let stack = cfn.observe_stack(cx, &inverse.stack).await?;
                stack.filter(|stack| stack.phase() == Phase::Review).map(|stack| (None, stack.id))
            }
            None => None,
        };
        match left {
            Some((arn, stack_id)) => plan.sets.push(Left {
                id: record.id.clone(),
                name: inverse.set,
                stack: inverse.stack,
                arn,
                stack_id,
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
        let set = left.arn.as_ref().map(|arn| SetRef { arn: arn.clone(), stack_id: left.stack_id.clone() });
        let call = take_away(cx, cfn, set.as_ref(), left.is_new.then_some(left.stack_id.as_str()));
        cx.act_undo(&left.id, &left.takes_back, call).await?;
    }
    Ok(Outcome::changed("deleted the change sets that the run left"))
}
