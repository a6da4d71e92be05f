//! `--undo` of a snapshot: deletes it, if it is still the one that the run made.

use ::aws::Aws;
use kit::{Action, ActionRecord, Cx, Failure, Go, Note, Outcome, Plan, Poll, Receipt, Wait};
use serde::Serialize;

use super::calls::{Kind, Rds};
use super::plan::CREATE;
use super::{EVERY, Inverse};

#[derive(Serialize)]
struct UndoPlan {
    deletions: Vec<Deletion>,
    #[serde(skip)]
    notes: Vec<Note>,
}

#[derive(Serialize)]
struct Deletion {
    kind: Kind,
    snapshot: String,
    #[serde(skip)]
    takes_back: ActionRecord,
}

impl Plan for UndoPlan {
    fn actions(&self) -> Vec<Action> {
        let act = |deletion: &Deletion| {
            Action::irreversible(
                format!("undo-{}", deletion.takes_back.id),
                format!("delete the snapshot {}", deletion.snapshot),
                "a deleted snapshot is gone for good",
            )
        };
        self.deletions.iter().map(act).collect()
    }

    fn notes(&self) -> Vec<Note> {
        self.notes.clone()
    }

    fn unchanged(&self) -> String {
        "nothing of that run is there any more".to_owned()
    }
}

pub(crate) async fn undo(cx: &Cx, aws: &Aws, receipt: &Receipt) -> Result<Outcome, Failure> {
    let rds = Rds::new(aws);
    let mut plan = UndoPlan { deletions: Vec::new(), notes: Vec::new() };
    let mut gone = Vec::new();
    for record in receipt.undoable().into_iter().filter(|record| record.id == CREATE) {
        let Inverse { kind, snapshot } = serde_json::from_value(record.inverse.clone())
            .map_err(|error| Failure::usage(format!("read the inverse of {}", record.id)).because(error))?;
        match cx.or_cancelled(rds.snapshot(kind, &snapshot)).await?? {
            None => {
                plan.notes.push(Note::Info(format!("the snapshot {snapshot} is not there")));
                gone.push(record.clone());
            }
            Some(found) if found.tag("cutover-run") == Some(&record.run) => {
                plan.deletions.push(Deletion { kind, snapshot, takes_back: record.clone() });
            }
            Some(_) => {
                return Err(Failure::refused(format!("delete the snapshot {snapshot}"))
                    .because("it is not the one that the run made")
                    .help("look who made it; delete it by hand if it is to go"));
            }
        }
    }
    if let Go::Stop(outcome) = cx.show(&plan)? {
        return Ok(outcome);
    }
    for record in &gone {
        cx.mark_undone(record)?;
    }
    for deletion in &plan.deletions {
        let (kind, name) = (deletion.kind, &deletion.snapshot);
        let call = async {
            rds.delete(kind, name).await?;
            let what = format!("the snapshot {name} to be gone");
            cx.wait(Wait::until(&what, EVERY), async || {
                Ok(match rds.snapshot(kind, name).await? {
                    None => Poll::Ready(()),
                    Some(found) => Poll::Pending(found.status),
                })
            })
            .await
        };
        cx.act_undo(&format!("undo-{}", deletion.takes_back.id), &deletion.takes_back, call).await?;
    }
    Ok(match plan.deletions.first() {
        None => Outcome::unchanged(plan.unchanged()),
        Some(deletion) => Outcome::changed(format!("the snapshot {} is deleted", deletion.snapshot)),
    })
}
