//! Where a deployment stands, and whether what serves is what was wanted. Pure: it judges what a look found.

use std::collections::BTreeSet;

use ecs::short;

use crate::rollout::{Pause, Rollout};
use crate::service::Service;
use crate::tasks::RunningTask;

/// The deployment that is followed.
#[derive(Clone, Debug)]
pub(crate) struct Ours {
    /// `ecs-svc/...`
    pub(crate) id: String,
    /// The revision that it brings.
    pub(crate) target: String,
    /// The other deployments that there were when it began: one of them as PRIMARY is a roll-back or a stale read, never
    /// somebody else's deployment.
    pub(crate) before: BTreeSet<String>,
    /// A look at the service has shown it already.
    pub(crate) seen: bool,
    /// Reads may still be older than our own call.
    pub(crate) fresh: bool,
}

/// Where our deployment stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It goes on; how far it is.
    Going(String),
    /// It failed, and ECS is putting the earlier revision back; how far that is.
    RollingBack { reason: String, state: String },
    /// It waits for a person.
    Paused(Pause),
    /// It ended well.
    Completed,
    /// It was given up, and what it started is left.
    Failed(String),
    /// ECS put the earlier revision back.
    RolledBack(String),
    /// Nor could the earlier revision be put back.
    RollbackFailed(String),
    /// Somebody else's deployment took its place.
    Superseded(String),
}

/// Judges by our own deployment: never by "one deployment left and running equals desired", which is just as true after a
/// rollback. Where the service deployment is known, its status decides.
///
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-deployment.html>
pub(crate) fn judge(service: &Service, ours: &Ours, rollout: Option<&Rollout>) -> Judgement {
    let Some(rollout) = rollout else { return by_id(service, ours) };
    let foreign = foreign(service, ours);
    match rollout.status.as_str() {
        "SUCCESSFUL" => match foreign {
            Some(foreign) => Judgement::Superseded(format!("it ended well, and then {foreign}")),
            None => settled(service, ours, "SUCCESSFUL, "),
        },
        "ROLLBACK_REQUESTED" | "ROLLBACK_IN_PROGRESS" => Judgement::RollingBack {
            reason: rollout.why(),
            state: format!("{}: {}", rollout.status, back(service)),
        },
        "ROLLBACK_SUCCESSFUL" => Judgement::RolledBack(rollout.why()),
        "ROLLBACK_FAILED" => Judgement::RollbackFailed(rollout.why()),
        "STOPPED" => foreign.map_or_else(|| Judgement::Failed(rollout.why()), Judgement::Superseded),
        "STOP_REQUESTED" => match (foreign, service.deployment(&ours.id)) {
            (Some(foreign), _) => Judgement::Superseded(foreign),
            (None, Some(own)) if own.rollout.as_deref() == Some("FAILED") => Judgement::Failed(rollout.why()),
            _ => Judgement::Going(format!("STOP_REQUESTED ({})", rollout.why())),
        },
        "PENDING" | "IN_PROGRESS" => {
            if let Some(pause) = rollout.pauses.first() {
                return Judgement::Paused(pause.clone());
            }
            match foreign {
                Some(foreign) => Judgement::Superseded(foreign),
                None => Judgement::Going(progress(service, ours, Some(rollout))),
            }
        }
        unknown => Judgement::Going(format!(
            "its status is {unknown}, which this version does not know; {}",
            progress(service, ours, Some(rollout))
        )),
    }
}

/// Judges by the deployment's own id, where the service deployment can't be read.
///
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Deployment.html>
fn by_id(service: &Service, ours: &Ours) -> Judgement {
    let failed = service
        .events
        .iter()
        .find(|event| event.message.contains(&ours.id) && event.message.contains("failed"))
        .map(|event| event.message.as_str());
    let Some(own) = service.deployment(&ours.id) else {
        return gone(service, ours, failed);
    };
    let reason = if own.rollout_reason.is_empty() { "ECS gives no reason" } else { &own.rollout_reason };
    let primary = own.status == "PRIMARY";
    match own.rollout.as_deref() {
        Some("FAILED") if primary => Judgement::Failed(reason.to_owned()),
        Some("FAILED") if back_goes_on(service) => {
            Judgement::RollingBack { reason: reason.to_owned(), state: back(service) }
        }
        Some("FAILED") => Judgement::RolledBack(reason.to_owned()),
        _ if !primary => gone(service, ours, failed),
        // Absent behind a Classic Load Balancer: there the counts decide.
        Some("COMPLETED") | None => settled(service, ours, ""),
        _ => Judgement::Going(progress(service, ours, None)),
    }
}

/// It ended well by ECS's word; the numbers have to agree. A service was recorded that is COMPLETED with 0 of 1 running.
fn settled(service: &Service, ours: &Ours, word: &str) -> Judgement {
    let Some(own) = service.deployment(&ours.id) else {
        return Judgement::Going(format!("{word}and the service does not show the deployment yet"));
    };
    let done = own.status == "PRIMARY"
        && own.task_definition == ours.target
        && own.running == service.desired
        && own.pending == 0
        && service.deployments.len() == 1;
    if done {
        Judgement::Completed
    } else {
        Judgement::Going(format!("{word}{}", progress(service, ours, None)))
    }
}

/// The PRIMARY deployment, in words, where it is neither ours nor one from before.
fn foreign(service: &Service, ours: &Ours) -> Option<String> {
    let primary = service.primary()?;
    (primary.id != ours.id && !ours.before.contains(&primary.id)).then(|| {
        format!(
            "deployment {} to {} took the place of {}",
            primary.id,
            short(&primary.task_definition),
            ours.id
        )
    })
}

fn back_goes_on(service: &Service) -> bool {
    service.primary().is_some_and(|primary| primary.rollout.as_deref() == Some("IN_PROGRESS"))
}

fn back(service: &Service) -> String {
    match service.primary() {
        Some(primary) => format!(
            "rolling back to {}, {} of {} running",
            short(&primary.task_definition),
            primary.running,
            primary.desired
        ),
        None => "rolling back".to_owned(),
    }
}

/// Our deployment is no longer the PRIMARY one, or not listed.
fn gone(service: &Service, ours: &Ours, failed: Option<&str>) -> Judgement {
    let Some(primary) = service.primary() else {
        return Judgement::Going("the service has no primary deployment at the moment".to_owned());
    };
    match failed {
        Some(event) if back_goes_on(service) => {
            Judgement::RollingBack { reason: event.to_owned(), state: back(service) }
        }
        Some(event) => Judgement::RolledBack(event.to_owned()),
        None => match foreign(service, ours) {
            Some(foreign) => Judgement::Superseded(foreign),
            None if ours.fresh && !ours.seen => {
                Judgement::Going("the service does not show the deployment yet".to_owned())
            }
            None => Judgement::RolledBack(format!(
                "the service is on {} again, and ECS gives no reason",
                short(&primary.task_definition)
            )),
        },
    }
}

fn progress(service: &Service, ours: &Ours, rollout: Option<&Rollout>) -> String {
    let mut state = String::new();
    if let Some(stage) = rollout.and_then(|rollout| rollout.stage.as_deref()) {
        state.push_str(&match position(stage) {
            Some(n) => format!("stage {stage} ({n} of {}), ", STAGES.len()),
            None => format!("stage {stage}, "),
        });
    }
    match (service.deployment(&ours.id), rollout) {
        (Some(own), _) => {
            state.push_str(&format!("{} of {} running", own.running, own.desired));
            for (count, word) in [(own.pending, "pending"), (own.failed, "failed")] {
                if count > 0 {
                    state.push_str(&format!(", {count} {word}"));
                }
            }
        }
        (None, Some(rollout)) => {
            state.push_str(&format!("{} of {} running", rollout.running, rollout.requested));
            if rollout.pending > 0 {
                state.push_str(&format!(", {} pending", rollout.pending));
            }
        }
        (None, None) => state.push_str("not shown by the service yet"),
    }
    let old: i32 =
        service.deployments.iter().filter(|other| other.id != ours.id).map(|other| other.running).sum();
    if old > 0 {
        state.push_str(&format!(", {old} of earlier revisions still running"));
    }
    if let Some(rollout) = rollout {
        for (weight, of) in [(rollout.traffic, "production"), (rollout.test_traffic, "test")] {
            if let Some(weight) = weight {
                state.push_str(&format!(", {weight} % of the {of} traffic"));
            }
        }
    }
    let own = service.deployment(&ours.id);
    let shifts = rollout.is_some_and(|rollout| rollout.stage.is_some());
    if old > 0 && !shifts && own.is_some_and(|own| own.running == service.desired && own.pending == 0) {
        // https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-target-group-attributes.html#deregistration-delay
        state.push_str(
            " (they drain: a target group's deregistration delay is 300 seconds unless it is changed)",
        );
    }
    state
}

/// The stages of a deployment that shifts traffic, in their order; a look may miss some.
///
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/blue-green-deployment-how-it-works.html>
const STAGES: [&str; 11] = [
    "RECONCILE_SERVICE",
    "PRE_SCALE_UP",
    "SCALE_UP",
    "POST_SCALE_UP",
    "TEST_TRAFFIC_SHIFT",
    "POST_TEST_TRAFFIC_SHIFT",
    "PRE_PRODUCTION_TRAFFIC_SHIFT",
    "PRODUCTION_TRAFFIC_SHIFT",
    "POST_PRODUCTION_TRAFFIC_SHIFT",
    "BAKE_TIME",
    "CLEAN_UP",
];

fn position(stage: &str) -> Option<usize> {
    STAGES.iter().position(|known| *known == stage).map(|n| n + 1)
}

/// What speaks against every running task being of the wanted revision and as many running as are wanted.
pub(crate) fn amiss(target: &str, service: &Service, tasks: &[RunningTask]) -> Option<String> {
    let wrong: BTreeSet<&str> = tasks
        .iter()
        .filter(|task| task.task_definition != target)
        .map(|task| short(&task.task_definition))
        .collect();
    if !wrong.is_empty() {
        let wrong: Vec<&str> = wrong.into_iter().collect();
        return Some(format!("tasks of {} are still running", wrong.join(", ")));
    }
    let running = tasks.iter().filter(|task| task.status == "RUNNING").count();
    if usize::try_from(service.desired).is_ok_and(|desired| running < desired) {
        return Some(format!("{running} of {} tasks are running", service.desired));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{Deployment, Event};

    const OURS: &str = "ecs-svc/2";

    fn ours() -> Ours {
        Ours {
            id: OURS.into(),
            target: "web:8".into(),
            before: ["ecs-svc/1".to_owned()].into(),
            seen: true,
            fresh: false,
        }
    }

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
        judge(&service(deployments, events), &ours(), None)
    }

    fn with_status(status: &str, deployments: Vec<Deployment>) -> Judgement {
        let rollout = Rollout { status: status.into(), reason: Some("because".into()), ..Rollout::default() };
        judge(&service(deployments, &[]), &ours(), Some(&rollout))
    }

    #[test]
    fn completed_means_completed_with_all_tasks_running_and_no_other_deployment() {
        let done = deployment(OURS, "PRIMARY", "web:8", Some("COMPLETED"), 2);
        assert_eq!(judged(vec![done.clone()], &[]), Judgement::Completed);
        // cloud-custodian's recorded answer test_ecs_service_autoscaling_offhours: COMPLETED with none running.
        let recorded = deployment(OURS, "PRIMARY", "web:8", Some("COMPLETED"), 0);
        assert!(matches!(judged(vec![recorded.clone()], &[]), Judgement::Going(_)));
        assert!(matches!(with_status("SUCCESSFUL", vec![recorded]), Judgement::Going(_)));
        let draining = vec![done, deployment("ecs-svc/1", "ACTIVE", "web:7", Some("COMPLETED"), 1)];
        for going in [judged(draining.clone(), &[]), with_status("SUCCESSFUL", draining)] {
            assert!(
                matches!(&going, Judgement::Going(text) if text.contains("1 of earlier revisions still running"))
            );
        }
        // A recorded service behind a Classic Load Balancer has no rolloutState.
        assert_eq!(judged(vec![deployment(OURS, "PRIMARY", "web:8", None, 2)], &[]), Judgement::Completed);
    }

    #[test]
    fn a_rollback_is_no_success_although_the_service_is_stable() {
        let back = |rollout| deployment("ecs-svc/1", "PRIMARY", "web:7", Some(rollout), 2);
        let mut failed = deployment(OURS, "ACTIVE", "web:8", Some("FAILED"), 0);
        failed.rollout_reason = "ECS deployment circuit breaker: tasks failed to start.".into();
        let reason = failed.rollout_reason.clone();
        assert!(matches!(
            judged(vec![back("IN_PROGRESS"), failed.clone()], &[]),
            Judgement::RollingBack { state, .. } if state.contains("rolling back to web:7")
        ));
        assert_eq!(judged(vec![back("COMPLETED"), failed], &[]), Judgement::RolledBack(reason));
        // The failed deployment is gone from the list: ECS's event tells it from somebody else's deployment.
        let event = "(service web) (deployment ecs-svc/2) deployment failed: tasks failed to start.";
        assert_eq!(judged(vec![back("COMPLETED")], &[event]), Judgement::RolledBack(event.into()));
        assert!(matches!(judged(vec![back("IN_PROGRESS")], &[event]), Judgement::RollingBack { .. }));
        // Nothing says why, but what was there before our deployment is there again.
        assert!(matches!(judged(vec![back("COMPLETED")], &[]), Judgement::RolledBack(_)));
    }

    #[test]
    fn a_read_that_is_older_than_our_call_says_nothing() {
        let stale = service(vec![deployment("ecs-svc/1", "PRIMARY", "web:7", Some("COMPLETED"), 2)], &[]);
        let mut ours = ours();
        (ours.seen, ours.fresh) = (false, true);
        assert!(
            matches!(judge(&stale, &ours, None), Judgement::Going(text) if text.contains("does not show"))
        );
    }

    #[test]
    fn the_service_deployments_status_decides() {
        let own = || vec![deployment(OURS, "PRIMARY", "web:8", Some("IN_PROGRESS"), 1)];
        let done = vec![deployment(OURS, "PRIMARY", "web:8", Some("COMPLETED"), 2)];
        assert_eq!(with_status("SUCCESSFUL", done), Judgement::Completed);
        assert!(matches!(with_status("IN_PROGRESS", own()), Judgement::Going(_)));
        assert!(matches!(with_status("ROLLBACK_IN_PROGRESS", own()), Judgement::RollingBack { .. }));
        assert_eq!(with_status("ROLLBACK_SUCCESSFUL", own()), Judgement::RolledBack("because".into()));
        assert_eq!(with_status("ROLLBACK_FAILED", own()), Judgement::RollbackFailed("because".into()));
        assert_eq!(with_status("STOPPED", own()), Judgement::Failed("because".into()));
        assert!(
            matches!(with_status("A_NEW_ONE", own()), Judgement::Going(text) if text.contains("A_NEW_ONE"))
        );
    }

    #[test]
    fn a_failure_without_rollback_ends_the_wait_at_once() {
        let mut failed = deployment(OURS, "PRIMARY", "web:8", Some("FAILED"), 0);
        failed.rollout_reason = "tasks failed to start.".into();
        let old = deployment("ecs-svc/1", "ACTIVE", "web:7", Some("COMPLETED"), 2);
        let both = vec![failed, old];
        assert_eq!(judged(both.clone(), &[]), Judgement::Failed("tasks failed to start.".into()));
        assert_eq!(with_status("STOP_REQUESTED", both), Judgement::Failed("because".into()));
    }

    #[test]
    fn somebody_elses_deployment_supersedes_ours() {
        let theirs = deployment("ecs-svc/9", "PRIMARY", "web:9", Some("IN_PROGRESS"), 0);
        let ours = deployment(OURS, "ACTIVE", "web:8", Some("IN_PROGRESS"), 1);
        assert!(
            matches!(judged(vec![theirs.clone(), ours.clone()], &[]), Judgement::Superseded(text) if text.contains("ecs-svc/9 to web:9"))
        );
        assert!(matches!(judged(vec![theirs.clone()], &[]), Judgement::Superseded(_)));
        for status in ["STOP_REQUESTED", "STOPPED", "SUCCESSFUL", "IN_PROGRESS"] {
            let judged = with_status(status, vec![theirs.clone(), ours.clone()]);
            assert!(matches!(judged, Judgement::Superseded(_)), "{status}");
        }
    }

    #[test]
    fn a_pause_and_the_traffic_are_told() {
        let own = vec![deployment(OURS, "PRIMARY", "web:8", Some("IN_PROGRESS"), 2)];
        let mut rollout = Rollout {
            status: "IN_PROGRESS".into(),
            stage: Some("PRODUCTION_TRAFFIC_SHIFT".into()),
            traffic: Some(25.0),
            ..Rollout::default()
        };
        assert_eq!(
            judge(&service(own.clone(), &[]), &ours(), Some(&rollout)),
            Judgement::Going(
                "stage PRODUCTION_TRAFFIC_SHIFT (8 of 11), 2 of 2 running, 25 % of the production traffic"
                    .into()
            )
        );
        rollout.pauses.push(Pause { id: "hook-1".into(), ..Pause::default() });
        assert!(
            matches!(judge(&service(own, &[]), &ours(), Some(&rollout)), Judgement::Paused(pause) if pause.id == "hook-1")
        );
    }

    #[test]
    fn one_task_of_another_revision_is_not_verified() {
        let task = |revision: &str, status: &str| RunningTask {
            arn: "t".into(),
            task_definition: revision.into(),
            status: status.into(),
            started_by: OURS.into(),
            health: "UNKNOWN".into(),
            started: 0.0,
        };
        let seen = service(vec![], &[]);
        assert_eq!(amiss("web:8", &seen, &[task("web:8", "RUNNING"), task("web:8", "RUNNING")]), None);
        assert!(amiss("web:8", &seen, &[task("web:8", "RUNNING"), task("web:7", "RUNNING")]).is_some());
        assert!(amiss("web:8", &seen, &[task("web:8", "RUNNING"), task("web:8", "PENDING")]).is_some());
        assert!(amiss("web:8", &seen, &[]).is_some());
    }
}
