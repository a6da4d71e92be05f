//! The calls: what is there, each change, and the tasks that come or go.

use std::collections::BTreeSet;

use aws::failure;
use aws_sdk_applicationautoscaling as scaling;
use aws_sdk_applicationautoscaling::types::{ScalableDimension, ServiceNamespace, SuspendedState};
use aws_sdk_ecs::types::Tag;
use kit::{Cx, Failure, Poll, Wait};

use super::plan::{Change, Observed};
use super::saved::Suspended;
use super::{TAG, Waiting};
use crate::observe::Ecs;
use crate::service::Service;
use crate::why::Stops;

pub(super) async fn observe(ecs: &Ecs<'_>) -> Result<(String, Observed), Failure> {
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
pub(super) async fn apply(ecs: &Ecs<'_>, service: &str, change: &Change) -> Result<(), Failure> {
    match change {
        Change::Save { value, .. } => {
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
pub(super) async fn wait(cx: &Cx, ecs: &Ecs<'_>, count: i32, waiting: &Waiting) -> Result<(), Failure> {
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
