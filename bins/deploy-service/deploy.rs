//! A plan shown, applied and followed to its end, and what that end means.

use ecs::short;
use kit::{Code, Cx, Failure, Go, Outcome, Plan as _};

use crate::apply;
use crate::follow::{End, Follower, Options, paused};
use crate::observe::Ecs;
use crate::plan::{Call, Deploy, ROLL_BACK, Request};
use crate::rollback::{Way, back_to, roll_back};
use crate::rollout::Rollout;
use crate::verify::Judgement;

/// Shows, applies and follows one plan; undoing and rolling back are deploying another revision.
pub(crate) async fn carry_out(
    cx: &Cx,
    ecs: &Ecs<'_>,
    request: &Request,
    plan: &Deploy,
    options: Options,
) -> Result<Outcome, Failure> {
    let go = cx.show(plan)?;
    cx.output("task-definition-arn", &plan.target);
    cx.output("previous-task-definition-arn", &plan.previous);
    if let Go::Stop(outcome) = go {
        return Ok(outcome);
    }
    let deployment = apply::apply(cx, ecs, plan, plan.call.id()).await?;
    cx.output("deployment-id", &deployment);
    let goes_back = plan.call.goes_back();
    let brings = if goes_back { &plan.previous } else { &plan.target };
    let mut follower = Follower::new(cx, ecs, plan, &deployment, brings, options);
    let ended = follower.run().await;
    tell(cx, &follower, &ended);
    let failure = match ended {
        Ok(End::Judged(Judgement::Completed)) if !goes_back => None,
        Ok(End::Judged(Judgement::RolledBack(_))) if goes_back => None,
        Ok(end) => {
            let goes_on = matches!(end, End::CannotStart(_));
            let goes_on =
                goes_on.then_some("the deployment goes on without this run, and ECS goes on starting tasks");
            Some((failed(&follower, plan, brings, &end), gave_up(&end), goes_on))
        }
        Err(failure) => {
            let late = failure.code() == Code::Deadline;
            let goes_on = "the deployment goes on without this run; the same command follows it again";
            Some((follower.with_reasons(failure), late, Some(goes_on)))
        }
    };
    let mut rolled_back = match &failure {
        None => goes_back,
        Some(_) => follower.status() == Some("ROLLBACK_SUCCESSFUL"),
    };
    let [_, way_back] = follower.commands();
    let failure = match failure {
        Some((failed, true, _)) if plan.roll_back => {
            let back = put_back(cx, ecs, request, options, failed.code() == Code::Deadline).await;
            rolled_back |= matches!(back, Ok(true));
            Some(match back {
                Ok(true) => failed.state("this run rolled it back, and that was followed to its end"),
                Ok(false) => failed
                    .state("this run asked ECS to roll it back; the deadline did not let it follow that"),
                Err(error) => failed
                    .state(format!("rolling it back failed, too: {error}: {}", error.chain().join(": ")))
                    .help(way_back),
            })
        }
        Some((failed, open, goes_on)) => {
            let failed = goes_on.into_iter().fold(failed, Failure::state);
            Some(if open { failed.help(way_back) } else { failed })
        }
        None => None,
    };
    let service = ecs.service().await.ok();
    let seen = service.is_some();
    let other = if goes_back { &plan.target } else { &plan.previous };
    let live = match follower.rollout.as_ref().and_then(Rollout::has_traffic) {
        Some(new) => Some(if new { brings } else { other }.clone()),
        None => service.and_then(|service| service.live()),
    };
    if let Some(live) = &live {
        cx.output("live-task-definition-arn", live);
    }
    let by_the_look = || {
        failure.as_ref().is_some_and(|failure| failure.code() == Code::Unverified)
            && live.as_ref() == Some(&plan.previous)
            && matches!(follower.status(), None | Some("ROLLBACK_SUCCESSFUL"))
    };
    cx.output("rolled-back", (rolled_back || by_the_look()).to_string());
    if let Some(failure) = failure {
        return Err(failure.state(match &live {
            Some(live) => format!("{} serves", short(live)),
            None if seen => "nothing serves: no task of the service runs".to_owned(),
            None => "what serves could not be looked up".to_owned(),
        }));
    }
    Ok(if plan.actions().is_empty() {
        Outcome::unchanged(plan.unchanged())
    } else {
        Outcome::changed(format!("{} runs {}", request.service, short(&plan.target)))
    })
}

/// The outputs that every end has.
fn tell(cx: &Cx, follower: &Follower<'_>, ended: &Result<End, Failure>) {
    let reasons = follower.reasons();
    if !reasons.is_empty() {
        cx.output("failure-reason", reasons.join("\n"));
    } else if let Ok(End::Judged(
        Judgement::Failed(why) | Judgement::RolledBack(why) | Judgement::RollbackFailed(why),
    )) = ended
    {
        cx.output("failure-reason", why);
    }
    if let Some(rollout) = &follower.rollout {
        cx.output("service-deployment-arn", &rollout.arn);
    }
    // In the words of the service deployment, where it could not be read too.
    let status = follower.status().unwrap_or(match ended {
        Ok(End::Judged(Judgement::Completed)) => "SUCCESSFUL",
        Ok(End::Judged(Judgement::RolledBack(_))) => "ROLLBACK_SUCCESSFUL",
        Ok(End::Judged(Judgement::RollbackFailed(_))) => "ROLLBACK_FAILED",
        Ok(End::Judged(Judgement::Failed(_) | Judgement::Superseded(_))) => "STOPPED",
        _ => "IN_PROGRESS",
    });
    cx.output("status", status);
    if let Ok(End::Judged(Judgement::Paused(pause))) = ended {
        cx.output("hook-id", &pause.id);
    }
}

/// The deployment did not work out, and nobody has put anything back.
fn gave_up(end: &End) -> bool {
    matches!(end, End::CannotStart(_) | End::Judged(Judgement::Failed(_)))
}

fn failed(follower: &Follower<'_>, plan: &Deploy, brings: &str, end: &End) -> Failure {
    let attempt = if plan.call.goes_back() {
        format!("roll {} back to {}", plan.service, short(&plan.target))
    } else {
        format!("deploy {} to {}", short(brings), plan.service)
    };
    let [on, back] = follower.commands();
    let failure = match end {
        End::CannotStart(why) => Failure::unverified(attempt)
            .because(why.clone())
            .help("mend what the stopped tasks' reasons name, and release again"),
        End::Judged(judgement) => match judgement {
            Judgement::Failed(reason) => Failure::unverified(attempt)
                .because(format!("ECS gave the deployment up and did not roll it back: {reason}"))
                .help("mend what the stopped tasks' reasons name, and release again"),
            Judgement::RolledBack(reason) => Failure::unverified(attempt)
                .because(format!("ECS rolled the deployment back: {reason}"))
                .help("mend what the stopped tasks' reasons name, and release again"),
            Judgement::RollbackFailed(reason) => Failure::unverified(attempt)
                .because(format!("the deployment failed, and ECS could not roll it back: {reason}"))
                .help(
                    "look at what serves now; deploy a revision that is known to work with --task-definition",
                ),
            Judgement::Superseded(reason) => Failure::waiting(attempt)
                .because(reason.clone())
                .help("find out who deployed, and release again if this revision is still wanted"),
            Judgement::Paused(pause) => Failure::waiting(attempt)
                .because(paused(pause))
                .help(on)
                .help(back)
                .help("or run the same command with --wait-paused, to wait for the person"),
            Judgement::Completed => Failure::unverified(attempt)
                .because("the deployment had ended well before it could be stopped")
                .help("run the same command again: it then deploys the earlier revision"),
            Judgement::Going(state) | Judgement::RollingBack { state, .. } => {
                Failure::unverified(attempt).because(state.clone())
            }
        },
    };
    follower.with_reasons(failure)
}

/// Rolls the failed deployment back, as `--action roll-back` would; true when that was followed to its end.
async fn put_back(
    cx: &Cx,
    ecs: &Ecs<'_>,
    request: &Request,
    options: Options,
    late: bool,
) -> Result<bool, Failure> {
    let plan = way_back(ecs, request).await?;
    cx.report().say(&format!("rolling {} back to {}", request.service, short(&plan.target)));
    let deployment = if matches!(plan.call, Call::Nothing { .. }) {
        return Ok(true);
    } else {
        apply::apply(cx, ecs, &plan, ROLL_BACK).await?
    };
    if late {
        return Ok(false);
    }
    let brings = if plan.call.goes_back() { &plan.previous } else { &plan.target };
    let mut follower = Follower::new(cx, ecs, &plan, &deployment, brings, options);
    match follower.run().await? {
        End::Judged(Judgement::Completed) if !plan.call.goes_back() => Ok(true),
        End::Judged(Judgement::RolledBack(_)) if plan.call.goes_back() => Ok(true),
        end => Err(failed(&follower, &plan, brings, &end)),
    }
}

/// The plan that leads away from `request.target`.
pub(crate) async fn way_back(ecs: &Ecs<'_>, request: &Request) -> Result<Deploy, Failure> {
    let mut observed = ecs.observe_service().await?;
    ecs.cx.observed(&observed);
    let history = ecs.history(None).await?;
    match roll_back(request, &observed, history)? {
        Way::Plan(plan) => Ok(*plan),
        Way::To(good) => {
            let definition = ecs.definition(&good).await?;
            let status = definition.status();
            observed.target_status =
                status.map_or_else(|| "unknown".to_owned(), |status| status.as_str().to_owned());
            back_to(request, &observed, &good)
        }
    }
}
