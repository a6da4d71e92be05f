//! Reads the definition, the service and the tasks. Nothing here writes.

use aws::{Aws, failure};
use aws_sdk_ecs::Client;
use aws_sdk_ecs::types::{ContainerDefinition, DesiredStatus, Task};
use ecs::{LogSource, ServiceRef, describe_service, short};
use kit::{Cx, Failure};
use serde::Serialize;
use serde_json::{Value, json};

use crate::observe::SeenBackup;

/// Everything the plan is made from.
#[derive(Debug, Serialize)]
pub(crate) struct World {
    pub(crate) account: String,
    pub(crate) region: String,
    pub(crate) definition: Definition,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) like: Option<Like>,
    /// The tasks of the definition's family that no service has started: those that run, and those that ended in the last
    /// hour, for so long does ECS remember them.
    pub(crate) tasks: Vec<SeenTask>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) backup: Option<SeenBackup>,
}

/// The revision to run.
#[derive(Debug, Serialize)]
pub(crate) struct Definition {
    pub(crate) arn: String,
    pub(crate) family: String,
    /// ACTIVE, INACTIVE, `DELETE_IN_PROGRESS`.
    pub(crate) status: String,
    /// Whether it has a task role, without which ECS runs no task that commands can be executed in.
    pub(crate) task_role: bool,
    /// `awsvpc`, `bridge`, `host`, `none`; ECS gives none where it is the default of the platform.
    pub(crate) network_mode: String,
    #[serde(skip)]
    pub(crate) containers: Vec<Container>,
}

impl Definition {
    pub(crate) fn names(&self) -> Vec<&str> {
        self.containers.iter().map(Container::name).collect()
    }

    pub(crate) fn container(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|container| container.name() == name)
    }
}

/// A container of the definition, as ECS describes it.
#[derive(Clone, Debug)]
pub(crate) struct Container(ContainerDefinition);

impl From<ContainerDefinition> for Container {
    fn from(described: ContainerDefinition) -> Self {
        Self(described)
    }
}

impl Container {
    pub(crate) fn name(&self) -> &str {
        self.0.name().unwrap_or_default()
    }

    /// A container is essential unless the definition says otherwise.
    pub(crate) fn is_essential(&self) -> bool {
        self.0.essential().unwrap_or(true)
    }

    /// The value of a variable of its environment; the last counts, should there be two.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.0.environment().iter().rev().find(|pair| pair.name() == Some(name))?.value()
    }

    /// Where it writes its log in the task with that id.
    pub(crate) fn log(&self, task_id: &str, region: &str) -> Result<LogSource, String> {
        LogSource::of(&self.0, task_id, region)
    }
}

/// Where and how a service's tasks run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Like {
    pub(crate) service: String,
    pub(crate) task_definition: String,
    pub(crate) subnets: Vec<String>,
    pub(crate) security_groups: Vec<String>,
    pub(crate) public_ip: Option<String>,
    pub(crate) launch_type: Option<String>,
    /// As `RunTask` takes it.
    pub(crate) capacity_providers: Vec<Value>,
    pub(crate) platform_version: Option<String>,
    pub(crate) execute_command: bool,
}

/// A task as one look found it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct SeenTask {
    pub(crate) arn: String,
    pub(crate) definition: String,
    pub(crate) group: String,
    pub(crate) started_by: String,
    /// `PROVISIONING`, `PENDING`, `ACTIVATING`, `RUNNING`, `DEACTIVATING`, `STOPPING`, `DEPROVISIONING`, `STOPPED`.
    pub(crate) status: String,
    /// Seconds since the epoch.
    pub(crate) created: i64,
    pub(crate) stop_code: Option<String>,
    pub(crate) stopped_reason: Option<String>,
    pub(crate) containers: Vec<SeenContainer>,
}

/// A container of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct SeenContainer {
    pub(crate) name: String,
    pub(crate) exit_code: Option<i32>,
    pub(crate) reason: Option<String>,
}

impl SeenTask {
    pub(crate) fn stopped(&self) -> bool {
        self.status == "STOPPED"
    }

    fn of(task: &Task) -> Self {
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        Self {
            arn: text(task.task_arn()),
            definition: text(task.task_definition_arn()),
            group: text(task.group()),
            started_by: text(task.started_by()),
            status: text(task.last_status()),
            created: task.created_at().map_or(0, aws_sdk_ecs::primitives::DateTime::secs),
            stop_code: task.stop_code().map(|code| code.as_str().to_owned()).filter(|code| !code.is_empty()),
            stopped_reason: task.stopped_reason().map(str::to_owned).filter(|reason| !reason.is_empty()),
            containers: task
                .containers()
                .iter()
                .map(|container| SeenContainer {
                    name: text(container.name()),
                    exit_code: container.exit_code(),
                    reason: container.reason().map(str::to_owned).filter(|reason| !reason.is_empty()),
                })
                .collect(),
        }
    }
}

/// One account's ECS, and the cluster to work in.
pub(crate) struct Ecs<'a> {
    pub(crate) cx: &'a Cx,
    pub(crate) aws: &'a Aws,
    pub(crate) client: Client,
    pub(crate) cluster: String,
}

/// What one look at a task found.
#[derive(Debug)]
pub(crate) enum Look {
    /// ECS does not know it, or not yet.
    Missing,
    Found(SeenTask),
}

impl Ecs<'_> {
    pub(crate) async fn definition(&self, arn: &str) -> Result<Definition, Failure> {
        let call = self.client.describe_task_definition().task_definition(arn).send();
        let answer = self.cx.or_cancelled(call).await?.map_err(|error| {
            let unknown = error.as_service_error().is_some_and(|error| {
                error.is_client_exception() && error.to_string().contains("Unable to describe")
            });
            if unknown {
                let Aws { account, region, .. } = self.aws;
                return Failure::refused(format!("run {}", short(arn)))
                    .because(format!("there is no such revision in account {account} in {region}"))
                    .help("give the ARN that register-task-def gave as an output");
            }
            failure(
                format!("describe task definition {}", short(arn)),
                "ecs:DescribeTaskDefinition",
                "*",
                error,
            )
        })?;
        let Some(definition) = answer.task_definition() else {
            return Err(Failure::failed(format!("describe task definition {}", short(arn)))
                .because("the answer has no definition"));
        };
        Ok(Definition {
            arn: arn.to_owned(),
            family: definition.family().unwrap_or_default().to_owned(),
            status: definition.status().map_or_else(String::new, |status| status.as_str().to_owned()),
            task_role: definition.task_role_arn().is_some_and(|role| !role.is_empty()),
            network_mode: definition.network_mode().map_or_else(String::new, |mode| mode.as_str().to_owned()),
            containers: definition.container_definitions().iter().cloned().map(Container).collect(),
        })
    }

    pub(crate) async fn like(&self, of: &ServiceRef) -> Result<Like, Failure> {
        let service = describe_service(self.cx, self.aws, &self.client, of).await?;
        let network = service.network_configuration().and_then(|network| network.awsvpc_configuration());
        Ok(Like {
            service: of.to_string(),
            task_definition: service.task_definition().unwrap_or_default().to_owned(),
            subnets: network.map(|network| network.subnets().to_vec()).unwrap_or_default(),
            security_groups: network.map(|network| network.security_groups().to_vec()).unwrap_or_default(),
            public_ip: network
                .and_then(|network| network.assign_public_ip())
                .map(|public_ip| public_ip.as_str().to_owned()),
            launch_type: service.launch_type().map(|launch_type| launch_type.as_str().to_owned()),
            capacity_providers: service
                .capacity_provider_strategy()
                .iter()
                .map(|item| {
                    json!({
                        "capacityProvider": item.capacity_provider(), "weight": item.weight(), "base": item.base(),
                    })
                })
                .collect(),
            platform_version: service.platform_version().map(str::to_owned).filter(|version| !version.is_empty()),
            execute_command: service.enable_execute_command(),
        })
    }

    /// Every one-off task of the family that ECS still knows, newest first.
    ///
    /// By family and not by `startedBy`, which must be the only filter and then shows no stopped task
    /// (<https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListTasks.html>).
    pub(crate) async fn one_off_tasks(&self, family: &str) -> Result<Vec<SeenTask>, Failure> {
        let mut arns: Vec<String> = Vec::new();
        for status in [DesiredStatus::Running, DesiredStatus::Stopped] {
            let mut pages = self
                .client
                .list_tasks()
                .cluster(&self.cluster)
                .family(family)
                .desired_status(status)
                .into_paginator()
                .items()
                .send();
            while let Some(arn) = self.cx.or_cancelled(pages.next()).await? {
                arns.push(arn.map_err(|error| {
                    failure(
                        format!("list the tasks of {family} in cluster {}", self.cluster),
                        "ecs:ListTasks",
                        "*",
                        error,
                    )
                })?);
            }
        }
        arns.sort();
        arns.dedup();
        let mut tasks = Vec::new();
        for some in arns.chunks(100) {
            let call =
                self.client.describe_tasks().cluster(&self.cluster).set_tasks(Some(some.to_vec())).send();
            let answer = self.cx.or_cancelled(call).await?.map_err(|error| {
                failure(
                    format!("describe the tasks of {family}"),
                    "ecs:DescribeTasks",
                    &self.task_arn("*"),
                    error,
                )
            })?;
            // One that is gone since it was listed has ended more than an hour ago.
            tasks.extend(answer.tasks().iter().map(SeenTask::of));
        }
        tasks.retain(|task| !task.group.starts_with("service:"));
        tasks.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.arn.cmp(&b.arn)));
        Ok(tasks)
    }

    pub(crate) async fn look(&self, task: &str) -> Result<Look, Failure> {
        let attempt = format!("describe task {}", short(task));
        let call = self.client.describe_tasks().cluster(&self.cluster).tasks(task).send();
        let answer =
            call.await.map_err(|error| failure(&attempt, "ecs:DescribeTasks", &self.task_arn("*"), error))?;
        if let Some(found) = answer.tasks().iter().find(|found| found.task_arn() == Some(task)) {
            return Ok(Look::Found(SeenTask::of(found)));
        }
        match answer.failures().iter().find(|failure| failure.reason() != Some("MISSING")) {
            None => Ok(Look::Missing),
            Some(other) => {
                let detail = other.detail().map_or_else(String::new, |detail| format!(": {detail}"));
                let reason = format!("{}{detail}", other.reason().unwrap_or("no reason given"));
                Err(Failure::failed(attempt).because(reason))
            }
        }
    }

    pub(crate) fn task_arn(&self, id: &str) -> String {
        format!("arn:aws:ecs:{}:{}:task/{}/{id}", self.aws.region, self.aws.account, self.cluster)
    }
}
