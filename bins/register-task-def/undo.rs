//! What `--undo` does: pure, as [`crate::plan`] is.

use ecs::{ServiceRef, short};
use kit::{Action, Failure, Note, Plan};
use serde::Serialize;

use crate::observe::Definition;

/// What `--undo` does.
#[derive(Debug, Serialize)]
pub(crate) struct Deregister {
    arns: Vec<String>,
    notes: Vec<Note>,
}

impl Plan for Deregister {
    fn actions(&self) -> Vec<Action> {
        let deregister = |arn: &String| {
            Action::irreversible(
                crate::apply::deregister_id(arn),
                format!("deregister {}", short(arn)),
                "an inactive revision can't be activated; register-task-def makes the same one again",
            )
        };
        self.arns.iter().map(deregister).collect()
    }

    fn notes(&self) -> Vec<Note> {
        self.notes.clone()
    }

    fn unchanged(&self) -> String {
        "no revision of that run is active".to_owned()
    }
}

/// `service` is the one that the undone run named, with the revision that it runs now.
pub(crate) fn undo(
    registered: &[Definition],
    service: Option<(&ServiceRef, &str)>,
) -> Result<Deregister, Failure> {
    let mut notes = Vec::new();
    match service {
        Some((service, running)) => {
            if let Some(used) = registered.iter().find(|definition| definition.arn == running) {
                return Err(Failure::refused(format!("deregister {}", short(&used.arn)))
                    .because(format!("{service} runs it"))
                    .help("undo deploy-service first"));
            }
        }
        None if !registered.is_empty() => notes.push(Note::Warning(
            "that run named no service: nobody checked that none runs the revision (give --from-service to check one)"
                .to_owned(),
        )),
        None => {}
    }
    Ok(Deregister { arns: registered.iter().map(|definition| definition.arn.clone()).collect(), notes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::Code;
    use serde_json::Value;

    fn definition(revision: i64) -> Definition {
        Definition {
            arn: format!("arn:aws:ecs:us-east-1:676917001797:task-definition/rally-prod:{revision}"),
            family: "rally-prod".into(),
            revision,
            status: "ACTIVE".into(),
            document: Value::Null,
        }
    }

    #[test]
    fn undo_leaves_a_revision_that_the_service_runs() {
        let service = ServiceRef { cluster: "c".into(), service: "s".into() };
        let new = definition(8);
        let of = std::slice::from_ref(&new);
        assert_eq!(undo(of, Some((&service, &new.arn))).unwrap_err().code(), Code::Refused);
        let plan = undo(of, Some((&service, &definition(7).arn))).unwrap();
        assert_eq!(plan.actions()[0].does, "deregister rally-prod:8");
        assert!(plan.notes().is_empty());
        assert!(format!("{:?}", undo(of, None).unwrap().notes()).contains("nobody checked"));
    }
}
