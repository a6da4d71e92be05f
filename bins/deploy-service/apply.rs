//! The one writing call.

use aws::{failure, without_retry};
use ecs::{ServiceRef, short};
use kit::{Cx, Failure};
use serde_json::json;

use crate::observe::Ecs;
use crate::plan::{Call, Deploy, Request, UPDATE};

/// Begins the deployment, or takes up the one that is there, and returns its id.
pub(crate) async fn apply(
    cx: &Cx,
    ecs: &Ecs<'_>,
    request: &Request,
    plan: &Deploy,
) -> Result<String, Failure> {
    let inverse = json!({"task-definition": plan.previous});
    match &plan.call {
        Call::Nothing { deployment } => Ok(deployment.clone()),
        // No call is made, but what an earlier run began is this run's to take back.
        Call::Follow { deployment } => cx.act(UPDATE, &inverse, async { Ok(deployment.clone()) }).await,
        Call::Update => cx.act(UPDATE, &inverse, update(ecs, request, false)).await,
        Call::Restart => cx.act(UPDATE, &inverse, update(ecs, request, true)).await,
    }
}

/// `UpdateService` with nothing but the revision: the number of tasks belongs to auto scaling.
///
/// The same update sent twice begins one deployment, so the SDK may retry it; a forced one begins another each time and
/// is sent once. Source: <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html>
async fn update(ecs: &Ecs<'_>, request: &Request, force: bool) -> Result<String, Failure> {
    let ServiceRef { cluster, service } = &request.service;
    let mut call =
        ecs.client.update_service().cluster(cluster).service(service).task_definition(&request.target);
    if force {
        call = call.force_new_deployment(true);
    }
    let mut call = call.customize();
    if force {
        call = call.config_override(aws_sdk_ecs::config::Config::builder().retry_config(without_retry()));
    }
    let attempt = format!("update {} to {}", request.service, short(&request.target));
    let answer =
        call.send().await.map_err(|error| failure(&attempt, "ecs:UpdateService", &ecs.arn(), error))?;
    let deployments = answer.service().map(aws_sdk_ecs::types::Service::deployments).unwrap_or_default();
    deployments
        .iter()
        .find(|deployment| {
            deployment.status() == Some("PRIMARY") && deployment.task_definition() == Some(&request.target)
        })
        .and_then(|deployment| deployment.id())
        .map(str::to_owned)
        .ok_or_else(|| {
            Failure::failed(attempt).because("the answer has no primary deployment of that revision")
        })
}
