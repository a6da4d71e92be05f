//! The decision: whether the service can be put on the revision, and by which call.

use ecs::{ServiceRef, short};
use kit::{Action, Failure, Note, Plan};
use serde::Serialize;

use crate::observe::{Breaker, Deployment, Observed, Service};

/// What is wanted.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) service: ServiceRef,
    pub(crate) target: String,
}

/// What will be done.
#[derive(Debug, Serialize)]
pub(crate) struct Deploy {
    pub(crate) call: Call,
    pub(crate) previous: String,
    target: String,
    service: String,
    notes: Vec<Note>,
}

/// The call that begins the deployment, or that none is needed.
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
}

/// The id of the one action.
pub(crate) const UPDATE: &str = "update-service";

impl Plan for Deploy {
    fn actions(&self) -> Vec<Action> {
        let Self { previous, target, service, .. } = self;
        let (target, previous) = (short(target), short(previous));
        let does = match &self.call {
            Call::Nothing { .. } => return Vec::new(),
            Call::Update => format!("put {service} from {previous} on {target} and follow the deployment"),
            Call::Restart => {
                format!("deploy {target} again to {service}, since its last deployment failed, and follow it")
            }
            Call::Follow { deployment } => {
                format!("go on following deployment {deployment} of {service} from {previous} to {target}")
            }
        };
        vec![Action::new(UPDATE, does, format!("put it back on {previous} and follow that deployment"))]
    }

    fn notes(&self) -> Vec<Note> {
        self.notes.clone()
    }

    fn unchanged(&self) -> String {
        format!("{} runs {}", self.service, short(&self.target))
    }
}

pub(crate) fn plan(request: &Request, observed: &Observed) -> Result<Deploy, Failure> {
    let Observed { service, target_status } = observed;
    let Request { service: name, target } = request;
    let refuse = |attempt: String| Failure::refused(attempt);
    if service.controller != "ECS" {
        return Err(refuse(format!("deploy to {name}"))
            .because(format!("its deployment controller is {}", service.controller))
            .help("deploy it with the tool of that controller"));
    }
    if service.strategy != "ROLLING" {
        return Err(refuse(format!("deploy to {name}")).because(format!(
            "its deployment strategy is {}, and this step follows rolling updates",
            service.strategy
        )));
    }
    if target_status != "ACTIVE" {
        return Err(refuse(format!("deploy {}", short(target)))
            .because(format!("the revision is {target_status}"))
            .help("register it again with register-task-def"));
    }
    let Some(primary) = service.primary() else {
        return Err(refuse(format!("deploy to {name}")).because("the service has no primary deployment"));
    };
    let going_on = primary.rollout.as_deref() == Some("IN_PROGRESS");
    let before = || {
        let older = service.deployments.iter().find(|d| d.id != primary.id && d.task_definition != *target);
        older.map_or(&primary.task_definition, |older| &older.task_definition).clone()
    };
    let (call, previous) = if primary.task_definition != *target {
        if going_on {
            return Err(in_progress(name, primary));
        }
        (Call::Update, primary.task_definition.clone())
    } else if primary.rollout.as_deref() == Some("FAILED") {
        (Call::Restart, before())
    } else if going_on || service.deployments.len() > 1 {
        (Call::Follow { deployment: primary.id.clone() }, before())
    } else {
        (Call::Nothing { deployment: primary.id.clone() }, primary.task_definition.clone())
    };
    if matches!(call, Call::Update | Call::Restart) {
        check_room(name, service)?;
    }
    let notes = if matches!(call, Call::Nothing { .. }) { Vec::new() } else { notes(service, target) };
    Ok(Deploy { call, previous, target: target.clone(), service: name.to_string(), notes })
}

fn in_progress(name: &ServiceRef, primary: &Deployment) -> Failure {
    Failure::refused(format!("deploy to {name}"))
        .because(format!("deployment {} to {} is in progress", primary.id, short(&primary.task_definition)))
        .help("wait for it to end, or ask whoever began it; then run this again")
}

/// A rolling update needs room for one task more or one less: with neither it never ends.
///
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html> (the minimum is
/// rounded up, the maximum down).
fn check_room(name: &ServiceRef, service: &Service) -> Result<(), Failure> {
    let Service { desired, minimum_percent, maximum_percent, .. } = *service;
    if service.daemon || desired <= 0 {
        return Ok(());
    }
    let least = (desired * minimum_percent + 99) / 100;
    let most = desired * maximum_percent / 100;
    if most > desired || least < desired {
        return Ok(());
    }
    Err(Failure::refused(format!("deploy to {name}"))
        .because(format!(
            "with {desired} tasks wanted, minimumHealthyPercent {minimum_percent} and maximumPercent {maximum_percent} allow \
             neither one task more (at most {most}) nor one less (at least {least}), so no task can ever be replaced"
        ))
        .help("raise maximumPercent or lower minimumHealthyPercent of the service"))
}

fn notes(service: &Service, target: &str) -> Vec<Note> {
    let mut notes = Vec::new();
    match service.breaker {
        Breaker::Off => notes.push(Note::Warning(
            "the deployment circuit breaker is off: tasks that can't start are retried until the deadline, and nothing is \
             rolled back by itself"
                .to_owned(),
        )),
        Breaker::Stops => notes.push(Note::Warning(
            "the deployment circuit breaker stops a failing deployment and does not roll it back".to_owned(),
        )),
        Breaker::RollsBack => notes.push(Note::Info(
            "the deployment circuit breaker rolls back a deployment whose tasks can't start; a database migration has to be \
             done before"
                .to_owned(),
        )),
    }
    if service.desired == 0 {
        notes.push(Note::Warning(
            "no tasks are wanted (desired count 0), so nothing shows whether the revision works".to_owned(),
        ));
    }
    let family = |arn: &str| short(arn).rsplit_once(':').map(|(family, _)| family.to_owned());
    if family(target) != family(&service.task_definition) {
        notes.push(Note::Warning(format!(
            "{} is of another family than {}, which the service runs",
            short(target),
            short(&service.task_definition)
        )));
    }
    notes
}

/// Puts the earlier revision back. `left` is what the run to undo deployed: any third revision is somebody else's work.
pub(crate) fn undo(request: &Request, left: &str, observed: &Observed) -> Result<Deploy, Failure> {
    let Request { service: name, target: previous } = request;
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
    if present == left {
        // Our own deployment may still be going on: going back is what ends it.
        let mut settled = observed.clone();
        for deployment in &mut settled.service.deployments {
            if deployment.task_definition == *left {
                deployment.rollout = None;
            }
        }
        return plan(request, &settled);
    }
    plan(request, observed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::Code;

    fn arn(revision: u32) -> String {
        format!("arn:aws:ecs:us-east-1:676917001797:task-definition/rally-prod:{revision}")
    }

    fn deployment(id: &str, status: &str, revision: u32, rollout: &str) -> Deployment {
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

    fn observed(deployments: Vec<Deployment>) -> Observed {
        let service = Service {
            task_definition: deployments[0].task_definition.clone(),
            desired: 2,
            running: 2,
            controller: "ECS".into(),
            strategy: "ROLLING".into(),
            minimum_percent: 100,
            maximum_percent: 200,
            breaker: Breaker::RollsBack,
            deployments,
            ..Service::default()
        };
        Observed { service, target_status: "ACTIVE".into() }
    }

    fn request(revision: u32) -> Request {
        let service = ServiceRef { cluster: "rally-prod".into(), service: "rally-prod-service".into() };
        Request { service, target: arn(revision) }
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
    fn settings_under_which_nothing_can_be_replaced_are_refused() {
        let room = |desired, minimum_percent, maximum_percent| {
            let mut seen = observed(vec![deployment("ecs-svc/1", "PRIMARY", 7, "COMPLETED")]);
            (seen.service.desired, seen.service.minimum_percent, seen.service.maximum_percent) =
                (desired, minimum_percent, maximum_percent);
            plan(&request(8), &seen).is_ok()
        };
        assert!(!room(2, 100, 100));
        // 150 % of one task is still one task; 50 % of one task, rounded up, is one.
        assert!(!room(1, 50, 150));
        assert!(room(2, 100, 150));
        assert!(room(2, 50, 100));
        assert!(room(0, 100, 100));
    }

    #[test]
    fn what_this_step_cannot_follow_is_refused() {
        let with = |change: fn(&mut Observed)| {
            let mut seen = observed(vec![deployment("ecs-svc/1", "PRIMARY", 7, "COMPLETED")]);
            change(&mut seen);
            plan(&request(8), &seen).unwrap_err().code()
        };
        assert_eq!(with(|seen| seen.service.controller = "CODE_DEPLOY".into()), Code::Refused);
        assert_eq!(with(|seen| seen.service.strategy = "BLUE_GREEN".into()), Code::Refused);
        assert_eq!(with(|seen| seen.target_status = "INACTIVE".into()), Code::Refused);
        assert_eq!(with(|seen| seen.service.deployments.clear()), Code::Refused);
    }

    #[test]
    fn a_breaker_that_is_off_is_told_of() {
        let mut seen = observed(vec![deployment("ecs-svc/1", "PRIMARY", 7, "COMPLETED")]);
        seen.service.breaker = Breaker::Off;
        let notes = plan(&request(8), &seen).unwrap().notes();
        assert!(matches!(&notes[0], Note::Warning(text) if text.contains("circuit breaker is off")));
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
