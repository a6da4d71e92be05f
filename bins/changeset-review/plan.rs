//! What a review makes in order to look at it. Pure.

use changeset::live::Kind;
use changeset::prepare::{Prepared, Ready};
use changeset::request::StackArg;
use kit::{Action, Note, Plan};
use serde::Serialize;

/// The change sets to make.
#[derive(Debug, Serialize)]
pub(crate) struct ReviewPlan {
    sets: Vec<MakeSet>,
    notes: Vec<Note>,
}

/// One change set to make.
#[derive(Debug, Serialize)]
struct MakeSet {
    label: String,
    stack: String,
    is_new: bool,
    keep: bool,
}

/// The action's id of a stack's change set.
pub(crate) fn id(label: &str) -> String {
    format!("change-set-{label}")
}

pub(crate) fn plan(stacks: &[(StackArg, Prepared)], keep: bool) -> ReviewPlan {
    let mut plan = ReviewPlan { sets: Vec::new(), notes: Vec::new() };
    for (arg, prepared) in stacks {
        match prepared {
            Prepared::Ready(ready) => plan.add(ready, keep),
            Prepared::Provisional(why) => {
                plan.notes.push(Note::Info(format!("{} can't be planned yet: {why}", arg.label)));
            }
        }
    }
    plan
}

impl ReviewPlan {
    fn add(&mut self, ready: &Ready, keep: bool) {
        self.sets.push(MakeSet {
            label: ready.arg.label.clone(),
            stack: ready.arg.stack.clone(),
            is_new: ready.want.kind == Kind::Create,
            keep,
        });
        self.notes.extend(ready.notes.iter().map(|note| Note::Info(format!("{}: {note}", ready.arg.label))));
    }
}

impl Plan for ReviewPlan {
    fn actions(&self) -> Vec<Action> {
        self.sets
            .iter()
            .map(|set| {
                let (what, gone) = if set.is_new {
                    (format!("the new stack {}", set.stack), "it and the empty stack that it leaves")
                } else {
                    (format!("stack {}", set.stack), "it")
                };
                let then = if set.keep { "and leave it" } else { "and delete it again" };
                Action::new(
                    id(&set.label),
                    format!("make a change set for {what}, look at it {then}"),
                    format!("delete {gone}"),
                )
            })
            .collect()
    }

    fn notes(&self) -> Vec<Note> {
        self.notes.clone()
    }

    fn unchanged(&self) -> String {
        "no change set has to be made for this review".to_owned()
    }
}
