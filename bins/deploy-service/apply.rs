//! The calls that write, but for scaling.

use aws::{failure, without_retry};
use aws_sdk_ecs::types::{DeploymentLifecycleHookAction, StopServiceDeploymentStopType};
use ecs::{ServiceRef, short};
use kit::{Cx, Failure};
use serde_json::json;

use crate::observe::Ecs;
use crate::plan::{Call, Deploy};

/// Begins, ends or lets go on the deployment, or takes up the one that is there, and returns its id. `id` is the action's in
/// the plan that was shown.
pub(crate) async fn apply(cx: &Cx, ecs: &Ecs<'_>, plan: &Deploy, id: &str) -> Result<String, Failure> {
    let inverse = json!({"task-definition": plan.previous, "deployed": plan.target});
    match &plan.call {
        Call::Nothing { deployment } => Ok(deployment.clone()),
        // No call is made, but what an earlier run began is this run's to take back.
        Call::Follow { deployment } | Call::FollowBack { deployment, .. } => {
            cx.act(id, &inverse, async { Ok(deployment.clone()) }).await
        }
        Call::Update => cx.act(id, &inverse, update(ecs, &plan.target, false)).await,
        Call::Restart => cx.act(id, &inverse, update(ecs, &plan.target, true)).await,
        Call::Continue { deployment, rollout, hook } => {
            cx.act(id, &inverse, answer_hook(ecs, rollout, hook, DeploymentLifecycleHookAction::Continue))
                .await?;
            Ok(deployment.clone())
        }
        Call::Return { deployment, rollout, hook } => {
            cx.act(id, &inverse, answer_hook(ecs, rollout, hook, DeploymentLifecycleHookAction::Rollback))
                .await?;
            Ok(deployment.clone())
        }
        Call::Stop { deployment, rollout } => {
            cx.act(id, &inverse, stop(ecs, rollout)).await?;
            Ok(deployment.clone())
        }
    }
}

/// `UpdateService` with nothing but the revision: the number of tasks belongs to auto scaling.
///
/// The same update sent twice begins one deployment, so the SDK may retry it; a forced one begins another each time and
/// is sent once. Source: <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html>
async fn update(ecs: &Ecs<'_>, target: &str, force: bool) -> Result<String, Failure> {
    let ServiceRef { cluster, service } = &ecs.of;
    let mut call = ecs.client.update_service().cluster(cluster).service(service).task_definition(target);
    if force {
        call = call.force_new_deployment(true);
    }
    let mut call = call.customize();
    if force {
        call = call.config_override(aws_sdk_ecs::config::Config::builder().retry_config(without_retry()));
    }
    let attempt = format!("update {} to {}", ecs.of, short(target));
    let answer =
        call.send().await.map_err(|error| failure(&attempt, "ecs:UpdateService", &ecs.arn(), error))?;
    let deployments = answer.service().map(aws_sdk_ecs::types::Service::deployments).unwrap_or_default();
    deployments
        .iter()
        .find(|deployment| {
            deployment.status() == Some("PRIMARY") && deployment.task_definition() == Some(target)
        })
        .and_then(|deployment| deployment.id())
        .map(str::to_owned)
        .ok_or_else(|| {
            Failure::failed(attempt).because("the answer has no primary deployment of that revision")
        })
}

/// A second stop of the same deployment goes on with the first, so the SDK may retry it.
///
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stop-service-deployment.html>
async fn stop(ecs: &Ecs<'_>, rollout: &str) -> Result<(), Failure> {
    let call = ecs
        .client
        .stop_service_deployment()
        .service_deployment_arn(rollout)
        .stop_type(StopServiceDeploymentStopType::Rollback);
    call.send().await.map(|_| ()).map_err(|error| {
        failure(format!("stop the deployment of {}", ecs.of), "ecs:StopServiceDeployment", rollout, error)
    })
}

/// A hook is answered once, by its id, so the SDK may retry it.
///
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContinueServiceDeployment.html>
async fn answer_hook(
    ecs: &Ecs<'_>,
    rollout: &str,
    hook: &str,
    action: DeploymentLifecycleHookAction,
) -> Result<(), Failure> {
    let call =
        ecs.client.continue_service_deployment().service_deployment_arn(rollout).hook_id(hook).action(action);
    call.send().await.map(|_| ()).map_err(|error| {
        failure(
            format!("answer the pause of the deployment of {}", ecs.of),
            "ecs:ContinueServiceDeployment",
            rollout,
            error,
        )
    })
}
