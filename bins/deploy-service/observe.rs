//! Reads the service, the revision and the tasks. Nothing here writes.

use std::collections::BTreeMap;

use aws::{Aws, failure};
use aws_sdk_ecs::Client;
use aws_sdk_ecs::types::{DesiredStatus, Task};
use ecs::{ServiceRef, describe_service, short};
use kit::{Cx, Failure};
use serde::Serialize;

/// One service, and the means to look at it.
pub(crate) struct Ecs<'a> {
    cx: &'a Cx,
    aws: Aws,
    pub(crate) client: Client,
    pub(crate) of: ServiceRef,
}

/// What the decision needs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Observed {
    pub(crate) service: Service,
    /// The status of the revision to deploy: ACTIVE, INACTIVE, `DELETE_IN_PROGRESS`.
    pub(crate) target_status: String,
}

/// A service as one look found it.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Service {
    pub(crate) task_definition: String,
    pub(crate) desired: i32,
    pub(crate) running: i32,
    pub(crate) pending: i32,
    pub(crate) controller: String,
    pub(crate) strategy: String,
    pub(crate) daemon: bool,
    pub(crate) minimum_percent: i32,
    pub(crate) maximum_percent: i32,
    pub(crate) breaker: Breaker,
    pub(crate) deployments: Vec<Deployment>,
    /// Newest first, as ECS gives them.
    pub(crate) events: Vec<Event>,
}

/// The deployment circuit breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) enum Breaker {
    /// A deployment that can't start goes on for ever.
    #[default]
    Off,
    /// It is marked as failed and left so.
    Stops,
    /// It is rolled back.
    RollsBack,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Deployment {
    pub(crate) id: String,
    /// PRIMARY, ACTIVE or INACTIVE.
    pub(crate) status: String,
    pub(crate) task_definition: String,
    /// Absent for services behind a Classic Load Balancer.
    pub(crate) rollout: Option<String>,
    pub(crate) rollout_reason: String,
    pub(crate) desired: i32,
    pub(crate) running: i32,
    pub(crate) pending: i32,
    pub(crate) failed: i32,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) message: String,
}

/// A running task.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RunningTask {
    pub(crate) arn: String,
    pub(crate) task_definition: String,
    pub(crate) status: String,
}

impl Service {
    pub(crate) fn primary(&self) -> Option<&Deployment> {
        self.deployments.iter().find(|deployment| deployment.status == "PRIMARY")
    }

    pub(crate) fn deployment(&self, id: &str) -> Option<&Deployment> {
        self.deployments.iter().find(|deployment| deployment.id == id)
    }

    /// The revision that most running tasks are of; on a tie the newer deployment's.
    pub(crate) fn live(&self) -> Option<String> {
        let mut live: Option<&Deployment> = None;
        for deployment in self.deployments.iter().filter(|deployment| deployment.running > 0) {
            if live.is_none_or(|live| deployment.running > live.running) {
                live = Some(deployment);
            }
        }
        live.map(|deployment| deployment.task_definition.clone())
    }
}

impl<'a> Ecs<'a> {
    pub(crate) fn new(cx: &'a Cx, aws: Aws, of: ServiceRef) -> Self {
        let client = Client::new(&aws.config);
        Self { cx, aws, client, of }
    }

    pub(crate) fn arn(&self) -> String {
        self.of.arn(&self.aws)
    }

    pub(crate) async fn observe(&self, target: &str) -> Result<Observed, Failure> {
        let service = self.service().await?;
        let call = self.client.describe_task_definition().task_definition(target).send();
        let answer = self.cx.or_cancelled(call).await?.map_err(|error| {
            let unknown = error.as_service_error().is_some_and(|error| {
                error.is_client_exception() && error.to_string().contains("Unable to describe")
            });
            let failed = failure(
                format!("describe task definition {}", short(target)),
                "ecs:DescribeTaskDefinition",
                "*",
                error,
            );
            if unknown {
                Failure::refused(format!("deploy {}", short(target)))
                    .because(format!(
                        "there is no such revision in account {} in {}",
                        self.aws.account, self.aws.region
                    ))
                    .help("give the ARN that register-task-def gave as an output")
            } else {
                failed
            }
        })?;
        let status = answer.task_definition().and_then(|definition| definition.status());
        let target_status = status.map_or_else(|| "unknown".to_owned(), |status| status.as_str().to_owned());
        Ok(Observed { service, target_status })
    }

    pub(crate) async fn service(&self) -> Result<Service, Failure> {
        let seen = describe_service(self.cx, &self.aws, &self.client, &self.of).await?;
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let configuration = seen.deployment_configuration();
        let breaker = configuration.and_then(|configuration| configuration.deployment_circuit_breaker());
        let percent = |value: Option<i32>, default: i32| value.unwrap_or(default);
        Ok(Service {
            task_definition: text(seen.task_definition()),
            desired: seen.desired_count(),
            running: seen.running_count(),
            pending: seen.pending_count(),
            controller: seen
                .deployment_controller()
                .map_or("ECS", |controller| controller.r#type().as_str())
                .to_owned(),
            strategy: configuration
                .and_then(|configuration| configuration.strategy())
                .map_or("ROLLING", |strategy| strategy.as_str())
                .to_owned(),
            daemon: seen.scheduling_strategy().is_some_and(|strategy| strategy.as_str() == "DAEMON"),
            // The defaults of replica services:
            // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html
            minimum_percent: percent(
                configuration.and_then(aws_sdk_ecs::types::DeploymentConfiguration::minimum_healthy_percent),
                100,
            ),
            maximum_percent: percent(
                configuration.and_then(aws_sdk_ecs::types::DeploymentConfiguration::maximum_percent),
                200,
            ),
            breaker: match breaker {
                Some(breaker) if breaker.enable() && breaker.rollback() => Breaker::RollsBack,
                Some(breaker) if breaker.enable() => Breaker::Stops,
                _ => Breaker::Off,
            },
            deployments: seen
                .deployments()
                .iter()
                .map(|deployment| Deployment {
                    id: text(deployment.id()),
                    status: text(deployment.status()),
                    task_definition: text(deployment.task_definition()),
                    rollout: deployment.rollout_state().map(|state| state.as_str().to_owned()),
                    rollout_reason: text(deployment.rollout_state_reason()),
                    desired: deployment.desired_count(),
                    running: deployment.running_count(),
                    pending: deployment.pending_count(),
                    failed: deployment.failed_tasks(),
                })
                .collect(),
            events: seen
                .events()
                .iter()
                .map(|event| Event { id: text(event.id()), message: text(event.message()) })
                .collect(),
        })
    }

    /// The service's running tasks.
    pub(crate) async fn running_tasks(&self) -> Result<Vec<RunningTask>, Failure> {
        let tasks = self.tasks(DesiredStatus::Running).await?;
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        Ok(tasks
            .iter()
            .map(|task| RunningTask {
                arn: text(task.task_arn()),
                task_definition: text(task.task_definition_arn()),
                status: text(task.last_status()),
            })
            .collect())
    }

    /// Why tasks that a deployment started have stopped, with how many each; ECS forgets a stopped task in about an
    /// hour, so this is asked while waiting.
    pub(crate) async fn stop_reasons(&self, deployment: &str) -> Result<BTreeMap<String, String>, Failure> {
        let tasks = self.tasks(DesiredStatus::Stopped).await?;
        let own = tasks.iter().filter(|task| task.started_by() == Some(deployment));
        // A task that a finished or superseded deployment scaled in did not fail.
        let failed = own.filter(|task| {
            task.stop_code()
                .is_none_or(|code| code.as_str() != "ServiceSchedulerInitiated" || unhealthy(task))
        });
        Ok(failed.filter_map(|task| Some((task.task_arn()?.to_owned(), reason(task)))).collect())
    }

    async fn tasks(&self, status: DesiredStatus) -> Result<Vec<Task>, Failure> {
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
            arns.extend_from_slice(page.task_arns());
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
                failure(format!("describe the tasks of {}", self.of), "ecs:DescribeTasks", &self.arn(), error)
            })?;
            tasks.extend(answer.tasks().iter().cloned());
        }
        Ok(tasks)
    }
}

fn unhealthy(task: &Task) -> bool {
    task.stopped_reason().is_some_and(|reason| reason.contains("health check"))
}

/// "Essential container in task exited: container web exited with code 1".
fn reason(task: &Task) -> String {
    let mut text = task.stopped_reason().unwrap_or("stopped without a reason").to_owned();
    for container in task.containers() {
        let name = container.name().unwrap_or("unnamed");
        if let Some(code) = container.exit_code().filter(|code| *code != 0) {
            text.push_str(&format!("; container {name} exited with code {code}"));
        }
        if let Some(reason) = container.reason().filter(|reason| !text.contains(*reason)) {
            text.push_str(&format!("; container {name}: {reason}"));
        }
    }
    text
}
