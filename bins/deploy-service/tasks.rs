//! The service's tasks: those that run, and why those of a deployment stopped.

use std::collections::{BTreeMap, BTreeSet};

use aws::failure;
use aws_sdk_ecs::types as sdk;
use aws_sdk_ecs::types::{DesiredStatus, Task};
use ecs::ServiceRef;
use kit::Failure;
use serde::Serialize;

use crate::observe::Ecs;

/// A running task.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RunningTask {
    pub(crate) arn: String,
    pub(crate) task_definition: String,
    pub(crate) status: String,
    pub(crate) started_by: String,
    /// HEALTHY, UNHEALTHY or UNKNOWN, which is also what a task without a health check is.
    pub(crate) health: String,
    /// Seconds since the epoch; 0 where it has not started.
    pub(crate) started: f64,
}

/// A task of a deployment that ended without being asked to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Stop {
    pub(crate) task: String,
    pub(crate) code: String,
    pub(crate) reason: String,
    /// The container that ended the task, where one can be told from the others.
    pub(crate) container: Option<String>,
    pub(crate) exit_code: Option<i32>,
    pub(crate) container_reason: Option<String>,
    /// Seconds since the epoch.
    pub(crate) started: f64,
    pub(crate) stopped: f64,
}

impl Ecs<'_> {
    /// The service's running tasks.
    pub(crate) async fn running_tasks(&self) -> Result<Vec<RunningTask>, Failure> {
        let tasks = self.tasks(DesiredStatus::Running, &BTreeSet::new()).await?;
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        Ok(tasks
            .iter()
            .map(|task| RunningTask {
                arn: text(task.task_arn()),
                task_definition: text(task.task_definition_arn()),
                status: text(task.last_status()),
                started_by: text(task.started_by()),
                health: text(task.health_status().map(sdk::HealthStatus::as_str)),
                started: seconds(task.started_at()),
            })
            .collect())
    }

    /// The stopped tasks of a deployment, by ARN, but for those already `known`, which grow by those that change no more. ECS
    /// forgets a stopped task in about an hour, so this is asked while waiting.
    pub(crate) async fn stops(
        &self,
        deployment: &str,
        known: &mut BTreeSet<String>,
    ) -> Result<BTreeMap<String, Stop>, Failure> {
        let tasks = self.tasks(DesiredStatus::Stopped, known).await?;
        let ended = |task: &&Task| task.last_status() == Some("STOPPED");
        known.extend(tasks.iter().filter(ended).filter_map(|task| task.task_arn().map(str::to_owned)));
        // One that is still stopping is listed, too, and may not have its exit code yet.
        let told = |task: &&Task| {
            let of =
                |container: &sdk::Container| container.exit_code().is_some() || container.reason().is_some();
            ended(task) || task.containers().iter().any(of)
        };
        let own = tasks.iter().filter(told).filter(|task| task.started_by() == Some(deployment));
        // A task that a finished or superseded deployment scaled in did not fail.
        let failed = own.filter(|task| {
            task.stop_code()
                .is_none_or(|code| code.as_str() != "ServiceSchedulerInitiated" || unhealthy(task))
        });
        Ok(failed.map(Stop::from).map(|stop| (stop.task.clone(), stop)).collect())
    }

    /// Those that are not `known`, through every page.
    async fn tasks(&self, status: DesiredStatus, known: &BTreeSet<String>) -> Result<Vec<Task>, Failure> {
        let ServiceRef { cluster, service } = &self.of;
        let mut arns: Vec<String> = Vec::new();
        let mut token = None;
        loop {
            let call = self
                .client
                .list_tasks()
                .cluster(cluster)
                .service_name(service)
                .desired_status(status.clone())
                .set_next_token(token)
                .send();
            let page = self.cx.or_cancelled(call).await?.map_err(|error| {
                failure(format!("list the tasks of {}", self.of), "ecs:ListTasks", "*", error)
            })?;
            arns.extend(page.task_arns().iter().filter(|arn| !known.contains(*arn)).cloned());
            token = page.next_token().map(str::to_owned);
            if token.is_none() {
                break;
            }
        }
        let mut tasks = Vec::new();
        // DescribeTasks takes at most a hundred.
        for arns in arns.chunks(100) {
            let call = self.client.describe_tasks().cluster(cluster).set_tasks(Some(arns.to_vec())).send();
            let answer = self.cx.or_cancelled(call).await?.map_err(|error| {
                let resource =
                    format!("arn:aws:ecs:{}:{}:task/{cluster}/*", self.aws.region, self.aws.account);
                failure(format!("describe the tasks of {}", self.of), "ecs:DescribeTasks", &resource, error)
            })?;
            tasks.extend(answer.tasks().iter().cloned());
        }
        Ok(tasks)
    }
}

fn seconds(time: Option<&aws_sdk_ecs::primitives::DateTime>) -> f64 {
    time.map_or(0.0, aws_sdk_ecs::primitives::DateTime::as_secs_f64)
}

fn unhealthy(task: &Task) -> bool {
    task.stopped_reason()
        .is_some_and(|reason| reason.contains("health check") || reason.contains("unhealthy"))
}

impl From<&Task> for Stop {
    fn from(task: &Task) -> Self {
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        // ECS does not say which container was the essential one that ended: one with a reason, else one that failed, is it.
        let containers = task.containers();
        let failed = containers
            .iter()
            .find(|container| container.reason().is_some())
            .or_else(|| {
                containers.iter().find(|container| container.exit_code().is_some_and(|code| code != 0))
            })
            .or_else(|| containers.first().filter(|_| containers.len() == 1));
        Self {
            task: text(task.task_arn()),
            code: text(task.stop_code().map(sdk::TaskStopCode::as_str)),
            reason: task.stopped_reason().unwrap_or("stopped without a reason").to_owned(),
            container: failed.and_then(|container| container.name()).map(str::to_owned),
            exit_code: failed.and_then(sdk::Container::exit_code),
            container_reason: failed.and_then(|container| container.reason()).map(str::to_owned),
            started: seconds(task.started_at()),
            stopped: seconds(task.stopped_at()),
        }
    }
}

impl Stop {
    /// "Essential container in task exited; container web exited with code 1".
    pub(crate) fn text(&self) -> String {
        let mut text = self.reason.clone();
        if let Some(name) = &self.container {
            if let Some(code) = self.exit_code {
                text.push_str(&format!("; container {name} exited with code {code}"));
            }
            if let Some(reason) = self.container_reason.as_ref().filter(|reason| !text.contains(*reason)) {
                text.push_str(&format!("; container {name}: {reason}"));
            }
        }
        text
    }

    pub(crate) fn id(&self) -> &str {
        self.task.rsplit('/').next().unwrap_or(&self.task)
    }
}
