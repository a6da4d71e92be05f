//! Where a deployment stands, and whether what serves is what was wanted. Pure: it judges what a look found.

use ecs::short;
use kit::Failure;

use crate::observe::{RunningTask, Service};

/// Where our deployment stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It goes on; how far it is.
    Going(String),
    /// It ended well.
    Completed,
    /// ECS gave it up and left it.
    Failed(String),
    /// ECS put the earlier revision back.
    RolledBack(String),
    /// Somebody else's deployment took its place.
    Superseded(String),
}

/// Judges the service by our own deployment's id: never by "one deployment left and running equals desired", which is
/// just as true after a rollback.
///
/// COMPLETED alone is not enough either: a service was recorded that is COMPLETED with 0 of 1 running.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Deployment.html>
pub(crate) fn judge(service: &Service, ours: &str, target: &str) -> Judgement {
    let failed_event =
        service.events.iter().find(|event| event.message.contains(ours) && event.message.contains("failed"));
    let Some(own) = service.deployment(ours) else {
        return replaced(service, ours, failed_event.map(|event| event.message.as_str()));
    };
    let reason = if own.rollout_reason.is_empty() { "ECS gives no reason" } else { &own.rollout_reason };
    let primary = own.status == "PRIMARY";
    match own.rollout.as_deref() {
        Some("FAILED") if primary => Judgement::Failed(reason.to_owned()),
        Some("FAILED") => {
            // The rollback is a deployment of its own; the verdict waits until it has landed.
            match service.primary() {
                Some(back) if back.rollout.as_deref() == Some("IN_PROGRESS") => Judgement::Going(format!(
                    "failed ({reason}); rolling back to {}, {} of {} running",
                    short(&back.task_definition),
                    back.running,
                    back.desired
                )),
                _ => Judgement::RolledBack(reason.to_owned()),
            }
        }
        _ if !primary => replaced(service, ours, failed_event.map(|event| event.message.as_str())),
        // Absent behind a Classic Load Balancer: there the counts decide.
        Some("COMPLETED") | None
            if own.running == service.desired && own.pending == 0 && service.deployments.len() == 1 =>
        {
            if own.task_definition == target { Judgement::Completed } else { replaced(service, ours, None) }
        }
        _ => {
            let old: i32 =
                service.deployments.iter().filter(|other| other.id != ours).map(|other| other.running).sum();
            let mut state = format!("{} of {} running", own.running, own.desired);
            for (count, word) in [
                (own.pending, "pending"),
                (own.failed, "failed"),
                (old, "of earlier revisions still running"),
            ] {
                if count > 0 {
                    state.push_str(&format!(", {count} {word}"));
                }
            }
            Judgement::Going(state)
        }
    }
}

fn replaced(service: &Service, ours: &str, failed: Option<&str>) -> Judgement {
    let Some(primary) = service.primary() else {
        return Judgement::Going("the service has no primary deployment at the moment".to_owned());
    };
    match failed {
        Some(_) if primary.rollout.as_deref() == Some("IN_PROGRESS") => Judgement::Going(format!(
            "failed; rolling back to {}, {} of {} running",
            short(&primary.task_definition),
            primary.running,
            primary.desired
        )),
        Some(event) => Judgement::RolledBack(event.to_owned()),
        None => Judgement::Superseded(format!(
            "deployment {} to {} took the place of {ours}",
            primary.id,
            short(&primary.task_definition)
        )),
    }
}

/// Every running task is of the wanted revision, and as many run as are wanted.
pub(crate) fn verify(target: &str, service: &Service, tasks: &[RunningTask]) -> Result<(), Failure> {
    let wrong: Vec<&str> = tasks
        .iter()
        .filter(|task| task.task_definition != target)
        .map(|task| short(&task.task_definition))
        .collect();
    let unverified = || Failure::unverified(format!("verify that {} serves", short(target)));
    if !wrong.is_empty() {
        return Err(unverified().because(format!("tasks of {} are still running", wrong.join(", "))));
    }
    let running = tasks.iter().filter(|task| task.status == "RUNNING").count();
    if usize::try_from(service.desired).is_ok_and(|desired| running < desired) {
        return Err(unverified().because(format!("{running} of {} tasks are running", service.desired)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{Deployment, Event};

    const OURS: &str = "ecs-svc/2";

    fn deployment(id: &str, status: &str, revision: &str, rollout: Option<&str>, running: i32) -> Deployment {
        Deployment {
            id: id.into(),
            status: status.into(),
            task_definition: revision.into(),
            rollout: rollout.map(str::to_owned),
            running,
            desired: 2,
            ..Deployment::default()
        }
    }

    fn service(deployments: Vec<Deployment>, events: &[&str]) -> Service {
        let events = events
            .iter()
            .map(|message| Event { id: (*message).into(), message: (*message).into() })
            .collect();
        Service { desired: 2, deployments, events, ..Service::default() }
    }

    fn judged(deployments: Vec<Deployment>, events: &[&str]) -> Judgement {
        judge(&service(deployments, events), OURS, "web:8")
    }

    #[test]
    fn completed_means_completed_with_all_tasks_running_and_no_other_deployment() {
        let done = deployment(OURS, "PRIMARY", "web:8", Some("COMPLETED"), 2);
        assert_eq!(judged(vec![done.clone()], &[]), Judgement::Completed);
        // cloud-custodian's recorded answer test_ecs_service_autoscaling_offhours: COMPLETED with none running.
        let recorded = deployment(OURS, "PRIMARY", "web:8", Some("COMPLETED"), 0);
        assert!(matches!(judged(vec![recorded], &[]), Judgement::Going(_)));
        let draining = vec![done, deployment("ecs-svc/1", "ACTIVE", "web:7", Some("COMPLETED"), 1)];
        assert_eq!(
            judged(draining, &[]),
            Judgement::Going("2 of 2 running, 1 of earlier revisions still running".into())
        );
        // A recorded service behind a Classic Load Balancer has no rolloutState.
        assert_eq!(judged(vec![deployment(OURS, "PRIMARY", "web:8", None, 2)], &[]), Judgement::Completed);
    }

    #[test]
    fn a_rollback_is_no_success_although_the_service_is_stable() {
        let back = |rollout| deployment("ecs-svc/3", "PRIMARY", "web:7", Some(rollout), 2);
        let mut failed = deployment(OURS, "ACTIVE", "web:8", Some("FAILED"), 0);
        failed.rollout_reason = "ECS deployment circuit breaker: tasks failed to start.".into();
        let reason = failed.rollout_reason.clone();
        assert!(
            matches!(judged(vec![back("IN_PROGRESS"), failed.clone()], &[]), Judgement::Going(text) if text.contains("rolling back to web:7"))
        );
        assert_eq!(judged(vec![back("COMPLETED"), failed], &[]), Judgement::RolledBack(reason));
        // The failed deployment is gone from the list: ECS's event tells it from somebody else's deployment.
        let event = "(service web) (deployment ecs-svc/2) deployment failed: tasks failed to start.";
        assert_eq!(judged(vec![back("COMPLETED")], &[event]), Judgement::RolledBack(event.into()));
        assert!(matches!(judged(vec![back("IN_PROGRESS")], &[event]), Judgement::Going(_)));
    }

    #[test]
    fn a_failure_without_rollback_ends_the_wait_at_once() {
        let mut failed = deployment(OURS, "PRIMARY", "web:8", Some("FAILED"), 0);
        failed.rollout_reason = "tasks failed to start.".into();
        let old = deployment("ecs-svc/1", "ACTIVE", "web:7", Some("COMPLETED"), 2);
        assert_eq!(judged(vec![failed, old], &[]), Judgement::Failed("tasks failed to start.".into()));
    }

    #[test]
    fn somebody_elses_deployment_supersedes_ours() {
        let theirs = deployment("ecs-svc/9", "PRIMARY", "web:9", Some("IN_PROGRESS"), 0);
        let ours = deployment(OURS, "ACTIVE", "web:8", Some("IN_PROGRESS"), 1);
        assert!(
            matches!(judged(vec![theirs.clone(), ours], &[]), Judgement::Superseded(text) if text.contains("ecs-svc/9 to web:9"))
        );
        assert!(matches!(judged(vec![theirs], &[]), Judgement::Superseded(_)));
    }

    #[test]
    fn one_task_of_another_revision_is_not_verified() {
        let task = |revision: &str, status: &str| RunningTask {
            arn: "t".into(),
            task_definition: revision.into(),
            status: status.into(),
        };
        let seen = service(vec![], &[]);
        assert!(verify("web:8", &seen, &[task("web:8", "RUNNING"), task("web:8", "RUNNING")]).is_ok());
        assert!(verify("web:8", &seen, &[task("web:8", "RUNNING"), task("web:7", "RUNNING")]).is_err());
        assert!(verify("web:8", &seen, &[task("web:8", "RUNNING"), task("web:8", "PENDING")]).is_err());
        assert!(verify("web:8", &seen, &[]).is_err());
    }
}
