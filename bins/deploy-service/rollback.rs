//! The way back without a receipt, and the way on past a pause: the world says which deployment is meant.

use ecs::short;
use kit::{Failure, Note};

use crate::observe::Observed;
use crate::plan::{Call, Deploy, Request, going_on, in_progress, others, primary};
use crate::rollout::{Newer, Past, Rollout};
use crate::service::Deployment;
use crate::settings::{check_kind, check_room};

/// What getting away from a revision needs.
#[derive(Debug)]
pub(crate) enum Way {
    /// Ready to be shown.
    Plan(Box<Deploy>),
    /// The revision to go back to has to be looked at first: it must still be ACTIVE.
    To(String),
}

/// `request.target` is the revision to get away from.
///
/// The way back leads to the last *other* revision whose deployment was SUCCESSFUL: the revision before by number may never
/// have run.
pub(crate) fn roll_back(
    request: &Request,
    observed: &Observed,
    history: Newer<Vec<Past>>,
) -> Result<Way, Failure> {
    let Request { service: name, target: left, .. } = request;
    check_kind(name, &observed.service)?;
    let primary = primary(name, observed)?;
    let brings_it = observed.rollout_brings.as_ref() == Some(left);
    let carried = observed.rollout.as_ref().filter(|rollout| brings_it && rollout.goes_on());
    if let Some(rollout) = carried {
        return Ok(Way::Plan(Box::new(end(request, observed, primary, rollout))));
    }
    let attempt = || format!("roll {name} back from {}", short(left));
    if primary.task_definition != *left {
        if going_on(observed, primary) {
            // What an earlier run of the same roll-back began, and was killed while it followed.
            if let Newer::There(past) = &history
                && last_good(past, left) == Some(primary.task_definition.as_str())
            {
                let call = Call::Follow { deployment: primary.id.clone() };
                let plan = whole(observed, request, call, left, &primary.task_definition);
                return Ok(Way::Plan(Box::new(plan)));
            }
            return Err(in_progress(attempt(), observed, primary));
        }
        let plan = whole(
            observed,
            request,
            Call::Nothing { deployment: primary.id.clone() },
            left,
            &primary.task_definition,
        );
        return Ok(Way::Plan(Box::new(plan)));
    }
    // It serves, and somebody else's deployment goes on: ECS may be rolling that back to this very revision.
    if observed.rollout.as_ref().is_some_and(Rollout::goes_on) {
        return Err(in_progress(attempt(), observed, primary));
    }
    let past = match history {
        Newer::There(past) => past,
        Newer::NotThere => Vec::new(),
        Newer::Unavailable(why) => {
            return Err(Failure::refused(attempt())
                .because(format!("{why}, so the last revision that was deployed successfully is not known"))
                .help(
                    "allow ecs:ListServiceDeployments, ecs:DescribeServiceDeployments and ecs:DescribeServiceRevisions, or \
                     deploy the revision you want with --task-definition",
                ));
        }
    };
    match last_good(&past, left) {
        Some(good) => Ok(Way::To(good.to_owned())),
        None => Err(Failure::refused(attempt())
            .because(if past.is_empty() {
                "ECS remembers no deployment of the service (it keeps them for 90 days)".to_owned()
            } else {
                let lines: Vec<String> = past
                    .iter()
                    .map(|past| format!("{} {}", short(&past.task_definition), past.status))
                    .collect();
                format!(
                    "no other revision was deployed successfully in the last 90 days: {}",
                    lines.join(", ")
                )
            })
            .help("deploy the revision you want with --task-definition")),
    }
}

/// The last revision other than `left` that was deployed successfully.
fn last_good<'a>(past: &'a [Past], left: &str) -> Option<&'a str> {
    let good = past.iter().find(|past| past.status == "SUCCESSFUL" && past.task_definition != left);
    good.map(|past| past.task_definition.as_str())
}

/// The plan to go to `good`, once its status is known.
pub(crate) fn back_to(request: &Request, observed: &Observed, good: &str) -> Result<Deploy, Failure> {
    let Request { service: name, target: left, .. } = request;
    if observed.target_status != "ACTIVE" {
        return Err(Failure::refused(format!("roll {name} back to {}", short(good)))
            .because(format!(
                "it is the last other revision that was deployed successfully, and it is {}",
                observed.target_status
            ))
            .help("register it again with register-task-def, and deploy that with --task-definition"));
    }
    check_room(name, &observed.service)?;
    let mut plan = whole(observed, request, Call::Update, left, good);
    plan.before = others(observed, None);
    plan.not.clone_from(&observed.service.current);
    plan.notes.push(Note::Info(format!(
        "{} is the last other revision that was deployed successfully",
        short(good)
    )));
    Ok(plan)
}

/// Ends a deployment that goes on.
fn end(request: &Request, observed: &Observed, primary: &Deployment, rollout: &Rollout) -> Deploy {
    let left = &request.target;
    let own = observed.service.deployments.iter().find(|deployment| deployment.task_definition == *left);
    let deployment = own.unwrap_or(primary).id.clone();
    let older = observed.service.deployments.iter().find(|deployment| deployment.task_definition != *left);
    let target = older.unwrap_or(primary).task_definition.clone();
    let arn = rollout.arn.clone();
    let call = match (rollout.status.as_str(), rollout.pauses.first()) {
        ("ROLLBACK_REQUESTED" | "ROLLBACK_IN_PROGRESS", _) => Call::FollowBack { deployment, rollout: arn },
        (_, Some(pause)) => Call::Return { deployment, rollout: arn, hook: pause.id.clone() },
        _ => Call::Stop { deployment, rollout: arn },
    };
    whole(observed, request, call, left, &target)
}

/// Lets a paused deployment go on.
pub(crate) fn go_on(request: &Request, observed: &Observed) -> Result<Deploy, Failure> {
    let Request { service: name, target, .. } = request;
    check_kind(name, &observed.service)?;
    let primary = primary(name, observed)?;
    let refuse =
        |because: String| Failure::refused(format!("let the deployment of {name} go on")).because(because);
    if let Some(why) = &observed.unavailable {
        return Err(refuse(format!("{why}, so its pauses can't be seen"))
            .help("allow ecs:DescribeServiceDeployments and ecs:DescribeServiceRevisions"));
    }
    let brings = observed.rollout_brings.as_deref();
    if brings.is_some_and(|brings| brings != target) {
        return Err(refuse(format!(
            "its deployment brings {}, and not {}",
            brings.map_or("an unknown revision", short),
            short(target)
        ))
        .help("somebody deployed since; look at the service"));
    }
    let own = observed.service.deployments.iter().find(|deployment| deployment.task_definition == *target);
    let deployment = own.unwrap_or(primary).id.clone();
    let older = observed.service.deployments.iter().find(|deployment| deployment.task_definition != *target);
    let previous = older.unwrap_or(primary).task_definition.clone();
    let call = match &observed.rollout {
        Some(rollout) if rollout.goes_on() => match rollout.pauses.first() {
            Some(pause) => {
                Call::Continue { deployment, rollout: rollout.arn.clone(), hook: pause.id.clone() }
            }
            None => Call::Follow { deployment },
        },
        _ => Call::Nothing { deployment },
    };
    let mut plan = whole(observed, request, call, &previous, target);
    if !matches!(plan.call, Call::Continue { .. }) {
        plan.notes.push(Note::Info("the deployment does not wait at a pause".to_owned()));
    }
    Ok(plan)
}

fn whole(observed: &Observed, request: &Request, call: Call, previous: &str, target: &str) -> Deploy {
    let ours = match &call {
        Call::Update | Call::Restart => None,
        Call::Follow { deployment }
        | Call::Nothing { deployment }
        | Call::Continue { deployment, .. }
        | Call::Return { deployment, .. }
        | Call::Stop { deployment, .. }
        | Call::FollowBack { deployment, .. } => Some(deployment.as_str()),
    };
    Deploy {
        before: others(observed, ours),
        not: None,
        previous: previous.to_owned(),
        target: target.to_owned(),
        service: request.service.to_string(),
        roll_back: false,
        notes: Vec::new(),
        events: observed.service.events.clone(),
        call,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{arn, deployment, observed, request};
    use crate::rollout::Pause;
    use kit::Code;

    fn past(revision: u32, status: &str) -> Past {
        Past { arn: "d".into(), status: status.into(), created: 0.0, task_definition: arn(revision) }
    }

    fn on_8(status: &str) -> Observed {
        let mut seen = observed(vec![
            deployment("ecs-svc/2", "PRIMARY", 8, "IN_PROGRESS"),
            deployment("ecs-svc/1", "ACTIVE", 5, "COMPLETED"),
        ]);
        seen.rollout = Some(Rollout { arn: "sd".into(), status: status.into(), ..Rollout::default() });
        seen.rollout_brings = Some(arn(8));
        seen
    }

    #[test]
    fn the_way_back_leads_to_the_last_other_revision_that_was_successful() {
        let history = vec![
            past(8, "SUCCESSFUL"),
            past(7, "ROLLBACK_SUCCESSFUL"),
            past(5, "SUCCESSFUL"),
            past(4, "SUCCESSFUL"),
        ];
        let way = roll_back(&request(8), &on_8("SUCCESSFUL"), Newer::There(history)).unwrap();
        assert!(matches!(way, Way::To(good) if good == arn(5)));
    }

    #[test]
    fn without_a_revision_known_to_work_it_refuses() {
        for history in [
            Newer::There(vec![past(8, "SUCCESSFUL"), past(7, "STOPPED")]),
            Newer::There(vec![]),
            Newer::Unavailable("ecs:ListServiceDeployments is denied".into()),
        ] {
            let refused = roll_back(&request(8), &on_8("SUCCESSFUL"), history).unwrap_err();
            assert_eq!(refused.code(), Code::Refused);
        }
        let mut inactive = on_8("SUCCESSFUL");
        inactive.target_status = "INACTIVE".into();
        assert_eq!(back_to(&request(8), &inactive, &arn(5)).unwrap_err().code(), Code::Refused);
    }

    #[test]
    fn a_deployment_that_goes_on_is_ended_by_ecs_itself() {
        let call = |seen: &Observed| match roll_back(&request(8), seen, Newer::NotThere).unwrap() {
            Way::Plan(plan) => (plan.call, plan.target),
            Way::To(good) => panic!("{good}"),
        };
        let (deployment, rollout) = ("ecs-svc/2".to_owned(), "sd".to_owned());
        assert_eq!(
            call(&on_8("IN_PROGRESS")),
            (Call::Stop { deployment: deployment.clone(), rollout: rollout.clone() }, arn(5))
        );
        let mut paused = on_8("IN_PROGRESS");
        paused.rollout.as_mut().unwrap().pauses.push(Pause { id: "h".into(), ..Pause::default() });
        assert_eq!(
            call(&paused).0,
            Call::Return { deployment: deployment.clone(), rollout: rollout.clone(), hook: "h".into() }
        );
        assert_eq!(call(&on_8("ROLLBACK_IN_PROGRESS")).0, Call::FollowBack { deployment, rollout });
    }

    #[test]
    fn away_from_a_revision_that_does_not_run_there_is_nothing_to_do() {
        let seen = observed(vec![deployment("ecs-svc/1", "PRIMARY", 5, "COMPLETED")]);
        let way = roll_back(&request(8), &seen, Newer::NotThere).unwrap();
        assert!(
            matches!(way, Way::Plan(plan) if matches!(plan.call, Call::Nothing { .. }) && plan.target == arn(5))
        );
        let ours = observed(vec![deployment("ecs-svc/9", "PRIMARY", 5, "IN_PROGRESS")]);
        let history = || Newer::There(vec![past(8, "SUCCESSFUL"), past(5, "SUCCESSFUL")]);
        let way = roll_back(&request(8), &ours, history()).unwrap();
        assert!(
            matches!(way, Way::Plan(plan) if matches!(plan.call, Call::Follow { .. }) && plan.target == arn(5))
        );
        let theirs = observed(vec![deployment("ecs-svc/9", "PRIMARY", 9, "IN_PROGRESS")]);
        assert_eq!(roll_back(&request(8), &theirs, history()).unwrap_err().code(), Code::Refused);
    }

    /// 8 serves, and ECS rolls somebody's 9 back to it: nothing that leaves 8 has a place in the middle of that.
    #[test]
    fn somebody_elses_roll_back_in_progress_is_not_deployed_over() {
        let history = || {
            Newer::There(vec![past(9, "ROLLBACK_IN_PROGRESS"), past(8, "SUCCESSFUL"), past(7, "SUCCESSFUL")])
        };
        for (status, primary) in [
            ("ROLLBACK_IN_PROGRESS", deployment("ecs-svc/3", "PRIMARY", 8, "IN_PROGRESS")),
            ("ROLLBACK_REQUESTED", deployment("ecs-svc/1", "PRIMARY", 8, "COMPLETED")),
            ("IN_PROGRESS", deployment("ecs-svc/1", "PRIMARY", 8, "COMPLETED")),
        ] {
            let mut seen = observed(vec![primary, deployment("ecs-svc/2", "ACTIVE", 9, "FAILED")]);
            seen.rollout = Some(Rollout { arn: "sd".into(), status: status.into(), ..Rollout::default() });
            seen.rollout_brings = Some(arn(9));
            let refused = roll_back(&request(8), &seen, history()).unwrap_err();
            assert_eq!(refused.code(), Code::Refused);
            let why = refused.chain().join(": ");
            assert!(
                why.contains("a deployment to rally-prod:9 is in progress") && why.contains(status),
                "{why}"
            );
        }
    }

    #[test]
    fn a_pause_is_passed_and_what_does_not_pause_is_followed() {
        let mut paused = on_8("IN_PROGRESS");
        paused.rollout.as_mut().unwrap().pauses.push(Pause { id: "h".into(), ..Pause::default() });
        let plan = go_on(&request(8), &paused).unwrap();
        assert!(matches!(plan.call, Call::Continue { hook, .. } if hook == "h"));
        assert_eq!(plan.previous, arn(5));
        assert!(matches!(go_on(&request(8), &on_8("IN_PROGRESS")).unwrap().call, Call::Follow { .. }));
        assert_eq!(go_on(&request(7), &paused).unwrap_err().code(), Code::Refused);
    }
}
