//! Following one deployment, by its id, to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ecs::short;
use kit::{Cx, Failure, Poll, Wait};

use crate::observe::{Ecs, Service};
use crate::plan::Request;
use crate::verify::{Judgement, judge};

/// Waits until the deployment has ended, well or badly, and says what ECS says on the way.
pub(crate) async fn follow(
    cx: &Cx,
    ecs: &Ecs<'_>,
    deployment: &str,
    request: &Request,
    interval: Duration,
) -> Result<(), Failure> {
    let mut seen_events: Option<BTreeSet<String>> = None;
    let mut reasons: BTreeMap<String, String> = BTreeMap::new();
    let what = format!("deployment {deployment} of {}", short(&request.target));
    let ended = cx
        .wait(Wait::until(&what, interval), async || {
            let service = ecs.service().await?;
            say_events(cx, &service, deployment, &mut seen_events);
            say_reasons(cx, ecs.stop_reasons(deployment).await?, &mut reasons);
            match judge(&service, deployment, &request.target) {
                Judgement::Going(state) => Ok(Poll::Pending(state)),
                end => Ok(Poll::Ready(end)),
            }
        })
        .await;
    let why = grouped(&reasons);
    if !why.is_empty() {
        cx.output("failure-reason", why.join("\n"));
    }
    let with_reasons =
        |failure: Failure| why.iter().fold(failure, |failure, why| failure.state(format!("stopped: {why}")));
    match ended.map_err(with_reasons)? {
        Judgement::Completed | Judgement::Going(_) => Ok(()),
        Judgement::Failed(reason) => Err(with_reasons(
            Failure::unverified(format!("deploy {} to {}", short(&request.target), request.service))
                .because(reason)
                .help("look at the stopped tasks' reasons and their logs; deploy-service --undo RECEIPT puts the earlier revision back"),
        )),
        Judgement::RolledBack(reason) => Err(with_reasons(
            Failure::unverified(format!("deploy {} to {}", short(&request.target), request.service))
                .because(format!("ECS rolled the deployment back: {reason}"))
                .help("look at the stopped tasks' reasons and their logs, and release again once it is mended"),
        )),
        Judgement::Superseded(reason) => Err(with_reasons(
            Failure::waiting(format!("deploy {} to {}", short(&request.target), request.service))
                .because(reason)
                .help("find out who deployed, and release again if this revision is still wanted"),
        )),
    }
}

/// Each event once, oldest first. Those from before the first look are told only where they name our deployment, since
/// clocks differ and ids do not.
fn say_events(cx: &Cx, service: &Service, deployment: &str, seen: &mut Option<BTreeSet<String>>) {
    let first = seen.is_none();
    let seen = seen.get_or_insert_with(BTreeSet::new);
    for event in service.events.iter().rev() {
        if seen.insert(event.id.clone()) && (!first || event.message.contains(deployment)) {
            cx.report().foreign(&event.message);
        }
    }
}

fn say_reasons(cx: &Cx, found: BTreeMap<String, String>, reasons: &mut BTreeMap<String, String>) {
    for (task, reason) in found {
        if !reasons.values().any(|said| *said == reason) {
            cx.report().warn(&format!("task {} stopped: {reason}", short(&task)));
        }
        reasons.insert(task, reason);
    }
}

/// "3 tasks: Essential container in task exited; ...", the commonest first.
fn grouped(reasons: &BTreeMap<String, String>) -> Vec<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in reasons.values() {
        *counts.entry(reason).or_default() += 1;
    }
    let mut counts: Vec<(usize, &str)> = counts.into_iter().map(|(reason, count)| (count, reason)).collect();
    counts.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    counts
        .into_iter()
        .map(|(n, reason)| format!("{n} {}: {reason}", if n == 1 { "task" } else { "tasks" }))
        .collect()
}
