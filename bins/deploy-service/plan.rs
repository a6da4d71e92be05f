//! The decision: whether the service can be put on the revision, and by which call.

use std::collections::BTreeSet;
use std::time::Duration;

use ecs::{ServiceRef, short};
use kit::{Action, Failure, Note, Plan};
use serde::Serialize;

use crate::observe::Observed;
use crate::service::{Deployment, Event};
use crate::settings::{check_kind, check_room, check_time, notes};

/// What is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) service: ServiceRef,
    pub(crate) target: String,
    /// How long the run has.
    pub(crate) budget: Duration,
    /// A deployment that fails is to be rolled back by this run.
    pub(crate) roll_back: bool,
}

/// What will be done.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Deploy {
    pub(crate) call: Call,
    /// The revision that the service runs before.
    pub(crate) previous: String,
    /// The revision that is to serve at the end.
    pub(crate) target: String,
    /// The other deployments that there were at the beginning.
    pub(crate) before: BTreeSet<String>,
    /// The service deployment that was current before a new one is begun.
    pub(crate) not: Option<String>,
    pub(crate) service: String,
    pub(crate) roll_back: bool,
    pub(crate) notes: Vec<Note>,
    /// The service's events from before.
    #[serde(skip)]
    pub(crate) events: Vec<Event>,
}

/// The call that begins, ends or lets go on a deployment, or that none is needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Call {
    /// `UpdateService` to the revision.
    Update,
    /// `UpdateService` to the same revision again: its last deployment failed.
    Restart,
    /// An earlier run made the call; its deployment is followed.
    Follow { deployment: String },
    /// The revision serves.
    Nothing { deployment: String },
    /// `ContinueServiceDeployment`: a person lets it go on.
    Continue { deployment: String, rollout: String, hook: String },
    /// `ContinueServiceDeployment` with ROLLBACK, from a pause.
    Return { deployment: String, rollout: String, hook: String },
    /// `StopServiceDeployment` with ROLLBACK, from wherever it is.
    Stop { deployment: String, rollout: String },
    /// ECS is rolling it back already; that is followed.
    FollowBack { deployment: String, rollout: String },
}

/// The ids of the actions.
pub(crate) const UPDATE: &str = "update-service";
pub(crate) const CONTINUE: &str = "continue-deployment";
pub(crate) const STOP: &str = "stop-deployment";
pub(crate) const ROLL_BACK: &str = "roll-back";

impl Call {
    /// The deployment ends in ECS's putting the earlier revision back, and that is what is wanted.
    pub(crate) fn goes_back(&self) -> bool {
        matches!(self, Self::Return { .. } | Self::Stop { .. } | Self::FollowBack { .. })
    }

    /// The action's id in the plan.
    pub(crate) fn id(&self) -> &'static str {
        match self {
            Self::Update | Self::Restart | Self::Follow { .. } | Self::Nothing { .. } => UPDATE,
            Self::Continue { .. } => CONTINUE,
            Self::Return { .. } | Self::Stop { .. } | Self::FollowBack { .. } => STOP,
        }
    }
}

impl Plan for Deploy {
    fn actions(&self) -> Vec<Action> {
        let Self { previous, target, service, call, .. } = self;
        let (target, previous) = (short(target), short(previous));
        let does = match call {
            Call::Nothing { .. } => return Vec::new(),
            Call::Update => format!("put {service} from {previous} on {target} and follow the deployment"),
            Call::Restart => {
                format!("deploy {target} again to {service}, since its last deployment failed, and follow it")
            }
            Call::Follow { deployment } => {
                format!("go on following deployment {deployment} of {service} from {previous} to {target}")
            }
            Call::Continue { deployment, hook, .. } => format!(
                "let deployment {deployment} of {service} to {target} go on past its pause (hook {hook}) and follow it"
            ),
            Call::Return { deployment, hook, .. } => format!(
                "end deployment {deployment} of {service} at its pause (hook {hook}), which puts {target} back, and follow that"
            ),
            Call::Stop { deployment, .. } => format!(
                "stop deployment {deployment} of {service} with roll-back, which puts {target} back, and follow that"
            ),
            Call::FollowBack { deployment, .. } => {
                format!("follow how ECS rolls deployment {deployment} of {service} back to {target}")
            }
        };
        let mut actions = vec![if call.goes_back() {
            Action::irreversible(
                call.id(),
                does,
                format!(
                    "a stopped deployment does not go on: begin another with --task-definition, to {previous}"
                ),
            )
        } else {
            Action::new(call.id(), does, format!("put it back on {previous} and follow that deployment"))
        }];
        if self.roll_back && !call.goes_back() {
            actions.push(Action::irreversible(
                ROLL_BACK,
                "if it fails: roll it back, to the last revision whose deployment was successful",
                "deploy the revision again with --task-definition",
            ));
        }
        actions
    }

    fn notes(&self) -> Vec<Note> {
        self.notes.clone()
    }

    fn unchanged(&self) -> String {
        format!("{} runs {}", self.service, short(&self.target))
    }
}

pub(crate) fn plan(request: &Request, observed: &Observed) -> Result<Deploy, Failure> {
    let Observed { service, target_status, .. } = observed;
    let Request { service: name, target, .. } = request;
    check_kind(name, service)?;
    if target_status != "ACTIVE" {
        return Err(Failure::refused(format!("deploy {}", short(target)))
            .because(format!("the revision is {target_status}"))
            .help("register it again with register-task-def"));
    }
    let primary = primary(name, observed)?;
    let going_on = going_on(observed, primary);
    let before = || {
        let older = service.deployments.iter().find(|d| d.id != primary.id && d.task_definition != *target);
        older.map_or(&primary.task_definition, |older| &older.task_definition).clone()
    };
    let (call, previous) = if primary.task_definition != *target {
        if going_on {
            return Err(in_progress(format!("deploy to {name}"), observed, primary));
        }
        (Call::Update, primary.task_definition.clone())
    } else if primary.rollout.as_deref() == Some("FAILED") {
        (Call::Restart, before())
    } else if going_on || service.deployments.len() > 1 {
        (Call::Follow { deployment: primary.id.clone() }, before())
    } else {
        (Call::Nothing { deployment: primary.id.clone() }, primary.task_definition.clone())
    };
    let begins = matches!(call, Call::Update | Call::Restart);
    if begins {
        check_room(name, service)?;
        check_time(name, service, request.budget)?;
    }
    let mut said = Vec::new();
    if !matches!(call, Call::Nothing { .. }) {
        said = notes(service, target);
        said.extend(unread(observed));
    }
    if let Some(rollout) = &observed.rollout
        && begins
        && observed.rollout_brings.as_ref() == Some(target)
        && rollout.status.starts_with("ROLLBACK_")
    {
        said.push(Note::Warning(format!(
            "the last deployment of this very revision was rolled back: {}",
            rollout.why()
        )));
    }
    Ok(Deploy {
        not: if begins { service.current.clone() } else { None },
        before: others(observed, if begins { None } else { Some(&primary.id) }),
        call,
        previous,
        target: target.clone(),
        service: name.to_string(),
        roll_back: request.roll_back,
        notes: said,
        events: service.events.clone(),
    })
}

pub(crate) fn primary<'a>(name: &ServiceRef, observed: &'a Observed) -> Result<&'a Deployment, Failure> {
    observed.service.primary().ok_or_else(|| {
        Failure::refused(format!("deploy to {name}"))
            .because("the service has no primary deployment")
            .help("look at it in the console: a service of the ECS controller always has one")
    })
}

/// Every deployment but ours.
pub(crate) fn others(observed: &Observed, ours: Option<&str>) -> BTreeSet<String> {
    let ids = observed.service.deployments.iter().map(|deployment| deployment.id.clone());
    ids.filter(|id| Some(id.as_str()) != ours).collect()
}

/// That the newer calls can't be made, and what decides then.
pub(crate) fn unread(observed: &Observed) -> Option<Note> {
    observed.unavailable.as_ref().map(|why| {
        Note::Warning(format!(
            "{why}: the deployment's own id decides, and ECS's reasons may be missing; allow \
             ecs:DescribeServiceDeployments, ecs:ListServiceDeployments and ecs:DescribeServiceRevisions"
        ))
    })
}

/// Whether the primary deployment has not ended, by its own word or by the service deployment's.
pub(crate) fn going_on(observed: &Observed, primary: &Deployment) -> bool {
    let carried = observed.rollout.as_ref().is_some_and(crate::rollout::Rollout::goes_on);
    primary.rollout.as_deref() == Some("IN_PROGRESS") || carried
}

/// Refuses the attempt: a deployment goes on that is somebody else's.
pub(crate) fn in_progress(attempt: String, observed: &Observed, primary: &Deployment) -> Failure {
    let status = observed.rollout.as_ref().map_or(String::new(), |rollout| format!(" ({})", rollout.status));
    let brings = observed.rollout_brings.as_ref().unwrap_or(&primary.task_definition);
    let what = if *brings == primary.task_definition {
        format!("deployment {} to {} is in progress{status}", primary.id, short(brings))
    } else {
        format!(
            "a deployment to {} is in progress{status}, and {} to {} is the primary one",
            short(brings),
            primary.id,
            short(&primary.task_definition)
        )
    };
    Failure::refused(attempt)
        .because(what)
        .help("wait for it to end, or ask whoever began it; then run this again")
}

/// Puts the earlier revision back. `left` is what the run to undo deployed: any third revision is somebody else's work.
pub(crate) fn undo(request: &Request, left: &str, observed: &Observed) -> Result<Deploy, Failure> {
    let Request { service: name, target: previous, .. } = request;
    let present = observed
        .service
        .primary()
        .map_or(&observed.service.task_definition, |primary| &primary.task_definition);
    if present != previous && present != left {
        return Err(Failure::refused(format!("put {name} back on {}", short(previous)))
            .because(format!(
                "it runs {}, which is neither what that run deployed ({}) nor what it found ({})",
                short(present),
                short(left),
                short(previous)
            ))
            .help(
                "somebody deployed since; deploy the revision you want with deploy-service --task-definition",
            ));
    }
    let ours = observed.rollout_brings.as_deref().is_none_or(|brings| brings == left);
    if present == left && ours {
        // Our own deployment may still be going on: going back is what ends it.
        let mut settled = observed.clone();
        for deployment in &mut settled.service.deployments {
            if deployment.task_definition == *left {
                deployment.rollout = None;
            }
        }
        settled.rollout = None;
        return plan(request, &settled);
    }
    plan(request, observed)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::rollout::Rollout;
    use crate::service::{Breaker, Service, Settings};
    use kit::Code;

    pub(crate) fn arn(revision: u32) -> String {
        format!("arn:aws:ecs:us-east-1:676917001797:task-definition/rally-prod:{revision}")
    }

    pub(crate) fn deployment(id: &str, status: &str, revision: u32, rollout: &str) -> Deployment {
        Deployment {
            id: id.into(),
            status: status.into(),
            task_definition: arn(revision),
            rollout: Some(rollout.into()),
            running: 2,
            desired: 2,
            ..Deployment::default()
        }
    }

    pub(crate) fn observed(deployments: Vec<Deployment>) -> Observed {
        let service = Service {
            task_definition: deployments[0].task_definition.clone(),
            desired: 2,
            running: 2,
            controller: "ECS".into(),
            settings: Settings {
                strategy: "ROLLING".into(),
                minimum_percent: 100,
                maximum_percent: 200,
                breaker: Breaker::RollsBack,
                ..Settings::default()
            },
            deployments,
            ..Service::default()
        };
        Observed { service, target_status: "ACTIVE".into(), ..Observed::default() }
    }

    pub(crate) fn request(revision: u32) -> Request {
        let service = ServiceRef { cluster: "rally-prod".into(), service: "rally-prod-service".into() };
        Request { service, target: arn(revision), budget: Duration::from_mins(30), roll_back: false }
    }

    #[test]
    fn the_call_follows_from_what_the_service_does() {
        let call = |target, deployments| {
            plan(&request(target), &observed(deployments)).map(|plan| (plan.call, plan.previous))
        };
        let steady = deployment("ecs-svc/1", "PRIMARY", 7, "COMPLETED");
        assert_eq!(call(8, vec![steady.clone()]).unwrap(), (Call::Update, arn(7)));
        assert_eq!(call(7, vec![steady]).unwrap().0, Call::Nothing { deployment: "ecs-svc/1".into() });
        // Killed after UpdateService: the same command follows the same deployment, and still knows the way back.
        let ours = vec![
            deployment("ecs-svc/2", "PRIMARY", 8, "IN_PROGRESS"),
            deployment("ecs-svc/1", "ACTIVE", 7, "COMPLETED"),
        ];
        assert_eq!(call(8, ours.clone()).unwrap(), (Call::Follow { deployment: "ecs-svc/2".into() }, arn(7)));
        let theirs = call(9, ours).unwrap_err();
        assert_eq!(
            (theirs.code(), theirs.chain().join("")),
            (Code::Refused, "deployment ecs-svc/2 to rally-prod:8 is in progress".into())
        );
        let failed = vec![
            deployment("ecs-svc/2", "PRIMARY", 8, "FAILED"),
            deployment("ecs-svc/1", "ACTIVE", 7, "COMPLETED"),
        ];
        assert_eq!(call(8, failed).unwrap(), (Call::Restart, arn(7)));
    }

    #[test]
    fn a_service_deployment_that_goes_on_is_in_progress_although_the_deployment_says_completed() {
        let mut seen = observed(vec![deployment("ecs-svc/1", "PRIMARY", 7, "COMPLETED")]);
        let baking = Rollout { status: "ROLLBACK_IN_PROGRESS".into(), ..Rollout::default() };
        (seen.rollout, seen.rollout_brings) = (Some(baking), Some(arn(9)));
        let refused = plan(&request(8), &seen).unwrap_err();
        assert_eq!(refused.code(), Code::Refused);
        assert!(refused.chain()[0].contains("a deployment to rally-prod:9 is in progress"));
    }

    #[test]
    fn a_revision_that_was_rolled_back_before_is_told_of() {
        let mut seen = observed(vec![deployment("ecs-svc/1", "PRIMARY", 7, "COMPLETED")]);
        let back = Rollout {
            status: "ROLLBACK_SUCCESSFUL".into(),
            reason: Some("tasks failed".into()),
            ..Rollout::default()
        };
        (seen.rollout, seen.rollout_brings) = (Some(back), Some(arn(8)));
        let said = serde_json::to_string(&plan(&request(8), &seen).unwrap().notes).unwrap();
        assert!(said.contains("was rolled back: tasks failed"), "{said}");
    }

    #[test]
    fn what_this_step_cannot_follow_is_refused() {
        let with = |change: fn(&mut Observed)| {
            let mut seen = observed(vec![deployment("ecs-svc/1", "PRIMARY", 7, "COMPLETED")]);
            change(&mut seen);
            plan(&request(8), &seen).unwrap_err().code()
        };
        assert_eq!(with(|seen| seen.service.controller = "CODE_DEPLOY".into()), Code::Refused);
        assert_eq!(with(|seen| seen.service.settings.strategy = "NEXT".into()), Code::Refused);
        assert_eq!(with(|seen| seen.target_status = "INACTIVE".into()), Code::Refused);
        assert_eq!(with(|seen| seen.service.deployments.clear()), Code::Refused);
    }

    #[test]
    fn undo_goes_back_from_what_it_left_and_from_nothing_else() {
        let back = |deployments| undo(&request(7), &arn(8), &observed(deployments)).map(|plan| plan.call);
        assert_eq!(back(vec![deployment("ecs-svc/2", "PRIMARY", 8, "COMPLETED")]).unwrap(), Call::Update);
        assert_eq!(back(vec![deployment("ecs-svc/2", "PRIMARY", 8, "IN_PROGRESS")]).unwrap(), Call::Update);
        // Rolled back by ECS already.
        assert_eq!(
            back(vec![deployment("ecs-svc/3", "PRIMARY", 7, "COMPLETED")]).unwrap(),
            Call::Nothing { deployment: "ecs-svc/3".into() }
        );
        let third = back(vec![deployment("ecs-svc/4", "PRIMARY", 9, "COMPLETED")]).unwrap_err();
        assert_eq!(third.code(), Code::Refused);
    }
}
