//! The number of tasks, changed for a while: what it was is kept in a tag of the service, so that any machine can restore it, and
//! Application Auto Scaling is suspended meanwhile, or it would change the number back.
//!
//! Sources: <https://docs.aws.amazon.com/autoscaling/application/userguide/application-auto-scaling-suspend-resume-scaling.html>,
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_TagResource.html>

use std::collections::BTreeSet;
use std::time::Duration;

use aws::failure;
use aws_sdk_applicationautoscaling as scaling;
use aws_sdk_applicationautoscaling::types::{ScalableDimension, ServiceNamespace, SuspendedState};
use aws_sdk_ecs::types::Tag;
use kit::{Action, Cx, Failure, Go, Note, Outcome, Plan, Poll, Receipt, Wait};
use serde::{Deserialize, Serialize};

use crate::observe::Ecs;
use crate::service::Service;
use crate::why::Stops;

/// The service's tag that says what was there before.
const TAG: &str = "cutover:scaled-from";

/// What `--scale` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Count(i32),
    Restore,
}

pub(crate) fn parse_want(text: &str) -> Result<Want, String> {
    if text == "restore" {
        return Ok(Want::Restore);
    }
    match text.parse() {
        Ok(count) if count >= 0 => Ok(Want::Count(count)),
        _ => Err("write a number of tasks, or restore".to_owned()),
    }
}

/// Which of the activities of Application Auto Scaling are suspended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Suspended {
    scale_in: bool,
    scale_out: bool,
    scheduled: bool,
}

const ALL: Suspended = Suspended { scale_in: true, scale_out: true, scheduled: true };

/// What the decision needs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Observed {
    desired: i32,
    running: i32,
    pending: i32,
    in_progress: bool,
    /// Absent where the service is no scalable target.
    suspended: Option<Suspended>,
    /// The value of [`TAG`].
    saved: Option<String>,
}

/// One change, which is the inverse of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Change {
    Save { value: String },
    Forget { value: String },
    Scaling { from: Suspended, to: Suspended },
    Count { from: i32, to: i32 },
}

impl Change {
    fn id(&self) -> &'static str {
        match self {
            Self::Save { .. } => "save",
            Self::Forget { .. } => "forget",
            Self::Scaling { .. } => "auto-scaling",
            Self::Count { .. } => "set-count",
        }
    }

    fn inverse(&self) -> Self {
        match self.clone() {
            Self::Save { value } => Self::Forget { value },
            Self::Forget { value } => Self::Save { value },
            Self::Scaling { from, to } => Self::Scaling { from: to, to: from },
            Self::Count { from, to } => Self::Count { from: to, to: from },
        }
    }

    fn in_effect(&self, observed: &Observed) -> bool {
        match self {
            Self::Save { value } => observed.saved.as_ref() == Some(value),
            Self::Forget { .. } => observed.saved.is_none(),
            Self::Scaling { to, .. } => observed.suspended == Some(*to),
            Self::Count { to, .. } => observed.desired == *to,
        }
    }
}

impl Suspended {
    fn words(self) -> String {
        let all = [
            (self.scale_in, "scaling in"),
            (self.scale_out, "scaling out"),
            (self.scheduled, "scheduled scaling"),
        ];
        let on: Vec<&str> = all.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
        if on.is_empty() { "nothing suspended".to_owned() } else { format!("{} suspended", on.join(", ")) }
    }
}

/// The tag's value: `count=2 in=false out=false scheduled=true`, without the last three where there is no auto scaling.
fn written(desired: i32, suspended: Option<Suspended>) -> String {
    let more = suspended.map_or(String::new(), |suspended| {
        format!(" in={} out={} scheduled={}", suspended.scale_in, suspended.scale_out, suspended.scheduled)
    });
    format!("count={desired}{more}")
}

fn read(value: &str) -> Option<(i32, Option<Suspended>)> {
    let field = |name: &str| {
        value
            .split(' ')
            .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value))
    };
    let count = field("count")?.parse().ok()?;
    let flag = |name: &str| field(name)?.parse().ok();
    let suspended = match (flag("in"), flag("out"), flag("scheduled")) {
        (Some(scale_in), Some(scale_out), Some(scheduled)) => {
            Some(Suspended { scale_in, scale_out, scheduled })
        }
        _ => None,
    };
    Some((count, suspended))
}

/// What will be done.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Scale {
    changes: Vec<Change>,
    /// The number of tasks at the end.
    count: i32,
    service: String,
    notes: Vec<Note>,
    unchanged: String,
}

impl Plan for Scale {
    fn actions(&self) -> Vec<Action> {
        let Self { service, .. } = self;
        let actions = self.changes.iter().map(|change| match change {
            Change::Save { value } => Action::new(
                change.id(),
                format!("keep what is there in the tag {TAG} of {service}: {value}"),
                "remove the tag",
            ),
            Change::Forget { value } => Action::new(
                change.id(),
                format!("remove the tag {TAG} of {service}"),
                format!("set it to {value}"),
            ),
            Change::Scaling { from, to } => Action::new(
                change.id(),
                format!("set Application Auto Scaling of {service} to: {}", to.words()),
                format!("set it to: {}", from.words()),
            ),
            Change::Count { from, to } => Action::new(
                change.id(),
                format!("set the number of tasks of {service} from {from} to {to}, and wait until {to} run"),
                format!("set it to {from}"),
            ),
        });
        actions.collect()
    }

    fn notes(&self) -> Vec<Note> {
        self.notes.clone()
    }

    fn unchanged(&self) -> String {
        self.unchanged.clone()
    }
}

fn plan(want: Want, service: &str, observed: &Observed) -> Result<Scale, Failure> {
    let mut changes = Vec::new();
    let mut notes = Vec::new();
    let count = match want {
        Want::Count(count) => {
            // What an earlier run kept is what was there before all of them.
            if observed.saved.is_none() {
                let value = written(observed.desired, observed.suspended);
                changes.push(Change::Save { value });
            }
            if let Some(from) = observed.suspended {
                changes.push(Change::Scaling { from, to: ALL });
            }
            changes.push(Change::Count { from: observed.desired, to: count });
            if count == 0 {
                notes.push(Note::Warning(
                    "with 0 tasks the service does not answer: put the maintenance page up before".to_owned(),
                ));
            }
            count
        }
        Want::Restore => match &observed.saved {
            None => observed.desired,
            Some(value) => {
                let Some((count, suspended)) = read(value) else {
                    return Err(Failure::refused(format!("restore the number of tasks of {service}"))
                        .because(format!(
                            "its tag {TAG} has the value `{value}`, which this step did not write"
                        ))
                        .help("set the number with --scale N, and correct or remove the tag"));
                };
                changes.push(Change::Count { from: observed.desired, to: count });
                match (observed.suspended, suspended) {
                    (Some(from), Some(to)) => changes.push(Change::Scaling { from, to }),
                    (None, None) => {}
                    (Some(_), None) => notes.push(Note::Warning(
                        "auto scaling was set up since the number was changed; it is left as it is"
                            .to_owned(),
                    )),
                    (None, Some(_)) => notes.push(Note::Warning(
                        "the service is no scalable target any more; register it again".to_owned(),
                    )),
                }
                changes.push(Change::Forget { value: value.clone() });
                count
            }
        },
    };
    changes.retain(|change| !change.in_effect(observed));
    // Nothing but the tag: there is nothing to keep.
    if matches!(want, Want::Count(_)) && matches!(changes.as_slice(), [Change::Save { .. }]) {
        changes.clear();
    }
    if observed.in_progress {
        notes.push(Note::Warning("a deployment of the service is in progress".to_owned()));
    }
    let unchanged = if want == Want::Restore && observed.saved.is_none() {
        format!("{service} wants {count} tasks, and there is nothing kept to restore")
    } else {
        format!("{service} wants {count} tasks")
    };
    Ok(Scale { changes, count, service: service.to_owned(), notes, unchanged })
}

/// The inverses of what a run did, last first.
fn plan_undo(receipt: &Receipt, service: &str, observed: &Observed) -> Result<Scale, Failure> {
    receipt.understood(|action| Change::deserialize(&action.inverse).is_ok())?;
    let inverses =
        receipt.undoable().into_iter().filter_map(|action| Change::deserialize(&action.inverse).ok());
    let mut changes: Vec<Change> = inverses.collect();
    for change in &changes {
        if let Change::Count { from, to } = change
            && ![*from, *to].contains(&observed.desired)
        {
            return Err(Failure::refused(format!("put the number of tasks of {service} back to {to}"))
                .because(format!(
                    "it is {}, which is neither what that run left ({from}) nor what it found ({to})",
                    observed.desired
                ))
                .help("somebody changed it since; set the number you want with --scale N"));
        }
    }
    changes.retain(|change| !change.in_effect(observed));
    let count = changes.iter().find_map(|change| match change {
        Change::Count { to, .. } => Some(*to),
        _ => None,
    });
    let count = count.unwrap_or(observed.desired);
    let unchanged = format!("{service} wants {count} tasks");
    Ok(Scale { changes, count, service: service.to_owned(), notes: Vec::new(), unchanged })
}

/// Changes the number of tasks, restores it, or takes a run that did either back.
/// How the tasks are waited for.
pub(crate) struct Waiting {
    pub(crate) interval: Duration,
    /// So many stops in a row for one reason end it; 0 for never.
    pub(crate) fail_after: usize,
}

pub(crate) async fn run(cx: &Cx, ecs: &Ecs<'_>, want: Want, waiting: &Waiting) -> Result<Outcome, Failure> {
    let (service, observed) = observe(ecs).await?;
    cx.observed(&observed);
    let name = ecs.of.to_string();
    let plan = match cx.undo() {
        Some(receipt) => plan_undo(receipt, &name, &observed)?,
        None => plan(want, &name, &observed)?,
    };
    let go = cx.show(&plan)?;
    cx.output("desired-count", plan.count.to_string());
    cx.output("previous-desired-count", observed.desired.to_string());
    if let Go::Stop(outcome) = go {
        return Ok(outcome);
    }
    for change in &plan.changes {
        cx.act(change.id(), &change.inverse(), apply(ecs, &service, change)).await?;
        if let Change::Count { to, .. } = change {
            wait(cx, ecs, *to, waiting).await?;
        }
    }
    // Also after a run that was killed while it waited.
    wait(cx, ecs, plan.count, waiting).await?;
    let (_, now) = observe(ecs).await?;
    if let Some(change) = plan.changes.iter().find(|change| !change.in_effect(&now)) {
        return Err(Failure::unverified(format!("change the number of tasks of {name}"))
            .because(format!("`{}` is not in effect: {}", change.id(), serde_json::json!(now)))
            .help(
                "somebody or something changed it at the same time; look, and run the same command again",
            ));
    }
    if let (Some(receipt), false) = (cx.undo(), cx.dry_run()) {
        for action in receipt.undoable() {
            cx.mark_undone(action)?;
        }
    }
    Ok(if plan.changes.is_empty() {
        Outcome::unchanged(plan.unchanged())
    } else {
        Outcome::changed(format!("{name} runs {} tasks", plan.count))
    })
}

async fn observe(ecs: &Ecs<'_>) -> Result<(String, Observed), Failure> {
    let service = ecs.service().await?;
    let arn = ecs.arn();
    let call = ecs.client.list_tags_for_resource().resource_arn(&arn).send();
    let tags = ecs.cx.or_cancelled(call).await?.map_err(|error| {
        failure(format!("read the tags of {}", ecs.of), "ecs:ListTagsForResource", &arn, error)
    })?;
    let saved = tags.tags().iter().find(|tag| tag.key() == Some(TAG)).and_then(|tag| tag.value());
    Ok((
        arn,
        Observed {
            desired: service.desired,
            running: service.running,
            pending: service.pending,
            in_progress: in_progress(&service),
            suspended: suspended(ecs).await?,
            saved: saved.map(str::to_owned),
        },
    ))
}

fn in_progress(service: &Service) -> bool {
    service.primary().is_some_and(|primary| primary.rollout.as_deref() == Some("IN_PROGRESS"))
}

fn resource_id(ecs: &Ecs<'_>) -> String {
    format!("service/{}/{}", ecs.of.cluster, ecs.of.service)
}

/// Source: <https://docs.aws.amazon.com/autoscaling/application/APIReference/API_DescribeScalableTargets.html>
async fn suspended(ecs: &Ecs<'_>) -> Result<Option<Suspended>, Failure> {
    let client = scaling::Client::new(&ecs.aws.config);
    let call = client
        .describe_scalable_targets()
        .service_namespace(ServiceNamespace::Ecs)
        .resource_ids(resource_id(ecs))
        .scalable_dimension(ScalableDimension::EcsServiceDesiredCount)
        .send();
    let answer = ecs.cx.or_cancelled(call).await?.map_err(|error| {
        failure(
            format!("look at the auto scaling of {}", ecs.of),
            "application-autoscaling:DescribeScalableTargets",
            "*",
            error,
        )
    })?;
    let target = answer.scalable_targets().iter().find(|target| target.resource_id() == resource_id(ecs));
    Ok(target.map(|target| {
        let state = target.suspended_state();
        let is = |of: fn(&SuspendedState) -> Option<bool>| state.and_then(of).unwrap_or(false);
        Suspended {
            scale_in: is(SuspendedState::dynamic_scaling_in_suspended),
            scale_out: is(SuspendedState::dynamic_scaling_out_suspended),
            scheduled: is(SuspendedState::scheduled_scaling_suspended),
        }
    }))
}

/// Each of these calls sets a value, so the SDK may retry it.
async fn apply(ecs: &Ecs<'_>, service: &str, change: &Change) -> Result<(), Failure> {
    match change {
        Change::Save { value } => {
            let tag = Tag::builder().key(TAG).value(value).build();
            let call = ecs.client.tag_resource().resource_arn(service).tags(tag).send();
            call.await
                .map(|_| ())
                .map_err(|error| failure(format!("tag {}", ecs.of), "ecs:TagResource", service, error))
        }
        Change::Forget { .. } => {
            let call = ecs.client.untag_resource().resource_arn(service).tag_keys(TAG).send();
            call.await.map(|_| ()).map_err(|error| {
                failure(format!("remove a tag of {}", ecs.of), "ecs:UntagResource", service, error)
            })
        }
        // What is not given (minimum, maximum, role) is left as it is:
        // https://docs.aws.amazon.com/autoscaling/application/APIReference/API_RegisterScalableTarget.html
        Change::Scaling { to, .. } => {
            let state = SuspendedState::builder()
                .dynamic_scaling_in_suspended(to.scale_in)
                .dynamic_scaling_out_suspended(to.scale_out)
                .scheduled_scaling_suspended(to.scheduled)
                .build();
            let call = scaling::Client::new(&ecs.aws.config)
                .register_scalable_target()
                .service_namespace(ServiceNamespace::Ecs)
                .resource_id(resource_id(ecs))
                .scalable_dimension(ScalableDimension::EcsServiceDesiredCount)
                .suspended_state(state)
                .send();
            call.await.map(|_| ()).map_err(|error| {
                failure(
                    format!("change the auto scaling of {}", ecs.of),
                    "application-autoscaling:RegisterScalableTarget",
                    &format!(
                        "arn:aws:application-autoscaling:{}:{}:scalable-target/*",
                        ecs.aws.region, ecs.aws.account
                    ),
                    error,
                )
            })
        }
        Change::Count { to, .. } => {
            let call = ecs
                .client
                .update_service()
                .cluster(&ecs.of.cluster)
                .service(&ecs.of.service)
                .desired_count(*to)
                .send();
            call.await.map(|_| ()).map_err(|error| {
                failure(
                    format!("set the number of tasks of {} to {to}", ecs.of),
                    "ecs:UpdateService",
                    service,
                    error,
                )
            })
        }
    }
}

/// No circuit breaker watches over tasks that are started outside of a deployment, so this does.
async fn wait(cx: &Cx, ecs: &Ecs<'_>, count: i32, waiting: &Waiting) -> Result<(), Failure> {
    let what = format!("{count} running tasks of {}", ecs.of);
    let mut stops = Stops::default();
    let mut known = BTreeSet::new();
    let ended = cx
        .wait(Wait::until(&what, waiting.interval), async || {
            let service = ecs.service().await?;
            if count > 0
                && let Some(primary) = service.primary()
                && let Ok(found) = ecs.stops(&primary.id, &mut known).await
            {
                for stop in stops.add(found) {
                    cx.report().warn(&format!("task {} stopped: {}", stop.id(), stop.text()));
                }
                let row = stops.in_a_row();
                if waiting.fail_after > 0 && row >= waiting.fail_after {
                    if stops.outlived_by(&primary.id, &ecs.running_tasks().await?) {
                        stops.forgive();
                    } else {
                        return Err(Failure::unverified(format!("run {count} tasks of {}", ecs.of))
                            .because(format!(
                                "{row} tasks stopped for the same reason, and none has been healthy since"
                            ))
                            .help("mend what stops them, or leave the revision with --action roll-back; then run the same command again"));
                    }
                }
            }
            Ok(if service.desired == count && service.running == count && service.pending == 0 {
                Poll::Ready(())
            } else if service.desired == count {
                Poll::Pending(format!("{} running, {} pending", service.running, service.pending))
            } else {
                Poll::Pending(format!("{} wanted, {} running", service.desired, service.running))
            })
        })
        .await;
    ended.map_err(|failure| {
        stops
            .causes()
            .iter()
            .fold(failure, |failure, cause| failure.state(format!("stopped: {}", cause.text())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::Code;

    fn observed(desired: i32, suspended: Option<Suspended>, saved: Option<&str>) -> Observed {
        Observed {
            desired,
            running: desired,
            pending: 0,
            in_progress: false,
            suspended,
            saved: saved.map(str::to_owned),
        }
    }

    const NONE: Suspended = Suspended { scale_in: false, scale_out: false, scheduled: false };
    const IN: Suspended = Suspended { scale_in: true, scale_out: false, scheduled: false };

    fn ids(want: Want, seen: &Observed) -> Vec<&'static str> {
        plan(want, "web", seen).unwrap().changes.iter().map(Change::id).collect()
    }

    #[test]
    fn what_is_there_is_kept_before_it_is_changed() {
        let seen = observed(2, Some(IN), None);
        let changes = plan(Want::Count(0), "web", &seen).unwrap().changes;
        assert_eq!(
            changes,
            [
                Change::Save { value: "count=2 in=true out=false scheduled=false".into() },
                Change::Scaling { from: IN, to: ALL },
                Change::Count { from: 2, to: 0 },
            ]
        );
        // Killed on the way: the rest, and never what the first half made of it.
        let kept = Some("count=2 in=true out=false scheduled=false");
        assert_eq!(ids(Want::Count(0), &observed(2, Some(ALL), kept)), ["set-count"]);
        assert!(ids(Want::Count(0), &observed(0, Some(ALL), kept)).is_empty());
        assert_eq!(ids(Want::Count(0), &observed(2, None, None)), ["save", "set-count"]);
        assert!(ids(Want::Count(2), &observed(2, None, None)).is_empty());
    }

    #[test]
    fn it_is_restored_exactly_and_auto_scaling_last() {
        let seen = observed(0, Some(ALL), Some("count=2 in=true out=false scheduled=false"));
        let changes = plan(Want::Restore, "web", &seen).unwrap().changes;
        assert_eq!(changes[0], Change::Count { from: 0, to: 2 });
        assert_eq!(changes[1], Change::Scaling { from: ALL, to: IN });
        assert!(matches!(&changes[2], Change::Forget { .. }));
        assert!(ids(Want::Restore, &observed(2, Some(NONE), None)).is_empty());
        assert_eq!(ids(Want::Restore, &observed(0, None, Some("count=2"))), ["set-count", "forget"]);
        let strange = plan(Want::Restore, "web", &observed(0, None, Some("two"))).unwrap_err();
        assert_eq!(strange.code(), Code::Refused);
    }

    #[test]
    fn a_change_is_the_inverse_of_its_inverse() {
        for change in [
            Change::Save { value: "count=1".into() },
            Change::Scaling { from: NONE, to: ALL },
            Change::Count { from: 2, to: 0 },
        ] {
            assert_eq!(change.inverse().inverse(), change);
            let kept = serde_json::to_value(&change).unwrap();
            assert_eq!(Change::deserialize(&kept).unwrap(), change);
        }
    }

    #[test]
    fn a_number_or_restore() {
        assert_eq!(parse_want("0"), Ok(Want::Count(0)));
        assert_eq!(parse_want("restore"), Ok(Want::Restore));
        assert!(parse_want("-1").is_err());
        assert!(parse_want("all").is_err());
    }
}
