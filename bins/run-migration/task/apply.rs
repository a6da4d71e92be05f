//! The writing calls: starting the task, and stopping it where that was chosen.

use std::time::Duration;

use aws::{failure, send_json};
use aws_sdk_ecs::operation::run_task::RunTaskError;
use ecs::short;
use kit::{Cx, Failure};
use serde_json::json;

use super::observe::Ecs;
use super::plan::{Does, RUN, TaskPlan};

/// Starts the task, or takes up the one that is there, and returns its ARN.
pub(crate) async fn apply(cx: &Cx, ecs: &Ecs<'_>, plan: &TaskPlan) -> Result<String, Failure> {
    let inverse = json!({"restore": plan.restore, "started-by": plan.started_by});
    match &plan.does {
        Does::Attach { task } | Does::Nothing { task } => {
            cx.act(RUN, &inverse, async { Ok(task.arn.clone()) }).await
        }
        Does::Start => cx.act(RUN, &inverse, run_task(ecs, plan)).await,
    }
}

/// `RunTask` with the document as it was planned. Its client token makes a retry safe, the SDK's own and a later run's: ECS
/// answers with the task that the first one started.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/ECS_Idempotency.html>
async fn run_task(ecs: &Ecs<'_>, plan: &TaskPlan) -> Result<String, Failure> {
    let attempt = format!("start a task of {} in cluster {}", short(&plan.definition), plan.cluster);
    let sent = ecs
        .client
        .run_task()
        .task_definition(&plan.definition)
        .customize()
        .mutate_request(send_json(&plan.document))
        .send()
        .await;
    let answer = sent.map_err(|error| {
        let conflict = match error.as_service_error() {
            Some(RunTaskError::ConflictException(conflict)) => Some(conflict.resource_ids().join(", ")),
            _ => None,
        };
        let failed = failure(&attempt, "ecs:RunTask", &plan.definition, error);
        let pass_role = failed.chain().iter().any(|cause| cause.contains("iam:PassRole"));
        match conflict {
            Some(tasks) => failed.help(format!(
                "this release has started it with another network or capacity{}: repeat that command, or name another release with --run-id",
                if tasks.is_empty() { tasks } else { format!(", as {tasks}") }
            )),
            None if pass_role => failed.help("the principal also needs iam:PassRole on the definition's task role and execution role"),
            None => failed,
        }
    })?;
    if let Some(refused) = answer.failures().first() {
        let reason = refused.reason().unwrap_or("no reason given");
        let detail = refused.detail().map_or_else(String::new, |detail| format!(": {detail}"));
        let on = refused.arn().map_or_else(String::new, |arn| format!(" ({arn})"));
        return Err(Failure::failed(attempt)
            .because(format!("ECS did not start it: {reason}{detail}{on}"))
            .help(placement_help(reason))
            .untouched(answer.tasks().is_empty()));
    }
    match answer.tasks().iter().filter_map(|task| task.task_arn()).collect::<Vec<_>>().as_slice() {
        [task] => Ok((*task).to_owned()),
        other => Err(Failure::failed(attempt)
            .because(format!("ECS answered with {} tasks and no failure", other.len()))
            .help(format!(
                "look for it: aws ecs list-tasks --cluster {} --started-by {}",
                plan.cluster, plan.started_by
            ))),
    }
}

/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html>
fn placement_help(reason: &str) -> &'static str {
    match reason {
        "AGENT" => "the container agent of the instances is not connected: look at the cluster's instances",
        "INACTIVE" => "the capacity provider or the instance is inactive: look at the cluster",
        reason if reason.starts_with("RESOURCE") => {
            "no instance of the cluster has that left: wait until tasks have ended, add an instance, or use --launch-type FARGATE"
        }
        reason if reason.contains("apacity") || reason == "CAPACITY" => {
            "AWS has no such capacity at the moment: run the same command again in some minutes"
        }
        _ => "run the same command again when that is mended: nothing was started",
    }
}

/// Asks ECS to stop the task: SIGTERM to its containers, and SIGKILL after their `stopTimeout`.
///
/// Not part of a plan: it is made when the run is being cancelled or out of time, and has a second or two.
pub(crate) async fn stop(ecs: &Ecs<'_>, task: &str, reason: &str, patience: Duration) -> Result<(), Failure> {
    let attempt = format!("stop task {}", short(task));
    let call = ecs.client.stop_task().cluster(&ecs.cluster).task(task).reason(reason).send();
    match tokio::time::timeout(patience, call).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(failure(attempt, "ecs:StopTask", task, error)),
        Err(_) => Err(Failure::failed(attempt).because("ECS did not answer in time")),
    }
}
