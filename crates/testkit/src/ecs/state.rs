//! What the stand-in remembers, and how each thing is written in an answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Everything that outlives the stand-in's process.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct State {
    /// By name; what `CreateCluster` was given.
    pub(super) clusters: BTreeMap<String, Map<String, Value>>,
    /// By family; revision N is at N - 1.
    pub(super) definitions: BTreeMap<String, Vec<Map<String, Value>>>,
    /// By ARN.
    pub(super) tags: BTreeMap<String, Vec<Value>>,
    pub(super) services: Vec<Service>,
    /// In the order of their start.
    pub(super) tasks: Vec<Task>,
    /// What each client token of `RunTask` has started, by cluster and token.
    pub(super) started: BTreeMap<String, Started>,
}

/// A `RunTask` that can be asked again.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Started {
    pub(super) request: Value,
    /// ARNs.
    pub(super) tasks: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Service {
    pub(super) arn: String,
    pub(super) cluster: String,
    pub(super) cluster_arn: String,
    pub(super) name: String,
    pub(super) created_at: f64,
    pub(super) desired: usize,
    /// ARN of the revision of the PRIMARY deployment.
    pub(super) task_definition: String,
    /// Every other field that `CreateService` or `UpdateService` was given, known to this code or not.
    pub(super) document: Map<String, Value>,
    /// The PRIMARY one first, then the ACTIVE ones, newest first.
    pub(super) deployments: Vec<Deployment>,
    /// The service deployments, newest first.
    pub(super) history: Vec<ServiceDeployment>,
    /// Newest first.
    pub(super) revisions: Vec<ServiceRevision>,
    /// Newest first, at most 100.
    pub(super) events: Vec<Event>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Rollout {
    #[default]
    InProgress,
    Completed,
    Failed,
}

/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Deployment.html>
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Deployment {
    pub(super) id: String,
    pub(super) task_definition: String,
    pub(super) revision_arn: String,
    pub(super) rollout: Rollout,
    pub(super) reason: String,
    pub(super) desired: usize,
    /// Consecutive failures (see `rollout::observe`).
    pub(super) failed_tasks: usize,
    pub(super) created_at: f64,
    pub(super) updated_at: f64,
    pub(super) document: Map<String, Value>,
}

/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-deployment.html>
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Status {
    #[default]
    Pending,
    InProgress,
    StopRequested,
    Stopped,
    RollbackRequested,
    RollbackInProgress,
    RollbackSuccessful,
    RollbackFailed,
    Successful,
}

impl Status {
    pub(super) fn ended(self) -> bool {
        matches!(self, Self::Stopped | Self::RollbackSuccessful | Self::RollbackFailed | Self::Successful)
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServiceDeployment {
    pub(super) arn: String,
    /// `ecs-svc/...` of the deployment that carries out this service deployment.
    pub(super) deployment: String,
    pub(super) status: Status,
    pub(super) status_reason: Option<String>,
    pub(super) created_at: f64,
    pub(super) started_at: Option<f64>,
    pub(super) finished_at: Option<f64>,
    pub(super) stopped_at: Option<f64>,
    pub(super) updated_at: f64,
    pub(super) sources: Vec<RevisionCounts>,
    pub(super) target: RevisionCounts,
    pub(super) configuration: Value,
    pub(super) rollback: Option<Value>,
    pub(super) breaker: BreakerState,
}

/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ServiceDeploymentCircuitBreaker.html>
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BreakerState {
    pub(super) status: String,
    pub(super) failure_count: usize,
    pub(super) threshold: usize,
}

/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ServiceRevisionSummary.html>
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RevisionCounts {
    pub(super) arn: String,
    pub(super) requested_task_count: usize,
    pub(super) running_task_count: usize,
    pub(super) pending_task_count: usize,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServiceRevision {
    pub(super) arn: String,
    pub(super) task_definition: String,
    pub(super) created_at: f64,
    pub(super) container_images: Vec<Value>,
    pub(super) document: Map<String, Value>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event {
    pub(super) id: String,
    pub(super) created_at: f64,
    pub(super) message: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum TaskStatus {
    #[default]
    Pending,
    Running,
    Stopped,
}

/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Task.html>
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Task {
    pub(super) arn: String,
    pub(super) cluster: String,
    pub(super) cluster_arn: String,
    /// Empty for a task that no service has started.
    pub(super) service: String,
    /// `ecs-svc/...`, or what `RunTask` was given.
    pub(super) started_by: String,
    pub(super) definition: String,
    pub(super) status: TaskStatus,
    pub(super) healthy: bool,
    /// A task that was healthy once and ends later is no failure of its deployment.
    pub(super) was_healthy: bool,
    pub(super) created_at: f64,
    pub(super) started_at: Option<f64>,
    pub(super) stopped_at: Option<f64>,
    pub(super) stop_code: Option<String>,
    pub(super) stopped_reason: Option<String>,
    pub(super) containers: Vec<TaskContainer>,
    pub(super) document: Map<String, Value>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TaskContainer {
    pub(super) arn: String,
    pub(super) name: String,
    pub(super) image: String,
    pub(super) image_digest: Option<String>,
    /// The one for which the process stands.
    pub(super) main: bool,
    pub(super) exit_code: Option<i32>,
    pub(super) reason: Option<String>,
}

/// Running, pending and alive (both) tasks of one deployment or of all of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) running: usize,
    pub(super) pending: usize,
    pub(super) healthy: usize,
}

impl Counts {
    pub(super) fn alive(self) -> usize {
        self.running + self.pending
    }
}

impl Task {
    pub(super) fn alive(&self) -> bool {
        self.status != TaskStatus::Stopped
    }

    pub(super) fn belongs_to(&self, service: &Service) -> bool {
        self.cluster == service.cluster && self.service == service.name
    }

    /// Ends the record. Exit codes are set by the caller where there are any.
    pub(super) fn end(&mut self, now: f64, code: &str, reason: impl Into<String>) {
        self.status = TaskStatus::Stopped;
        self.healthy = false;
        self.stopped_at = Some(now);
        self.stop_code = Some(code.to_owned());
        self.stopped_reason = Some(reason.into());
    }

    pub(super) fn render(&self) -> Value {
        let status = json!(self.status);
        let desired = if self.alive() { "RUNNING" } else { "STOPPED" };
        let health = match (self.healthy, self.was_healthy) {
            (true, _) => "HEALTHY",
            (false, true) => "UNHEALTHY",
            (false, false) => "UNKNOWN",
        };
        let containers: Vec<Value> = self
            .containers
            .iter()
            .map(|container| {
                let mut out = json!({
                    "containerArn": container.arn,
                    "taskArn": self.arn,
                    "name": container.name,
                    "image": container.image,
                    "lastStatus": status,
                    "networkInterfaces": [],
                    "healthStatus": health,
                });
                set(&mut out, "imageDigest", container.image_digest.as_ref());
                set(&mut out, "exitCode", container.exit_code);
                set(&mut out, "reason", container.reason.as_ref());
                out
            })
            .collect();
        let mut out = Value::Object(self.document.clone());
        set(&mut out, "taskArn", Some(&self.arn));
        set(&mut out, "clusterArn", Some(&self.cluster_arn));
        set(&mut out, "taskDefinitionArn", Some(&self.definition));
        set(&mut out, "containers", Some(containers));
        set(&mut out, "createdAt", Some(self.created_at));
        set(&mut out, "desiredStatus", Some(desired));
        set(&mut out, "lastStatus", Some(status));
        set(&mut out, "healthStatus", Some(health));
        set(&mut out, "group", (!self.service.is_empty()).then(|| format!("service:{}", self.service)));
        set(&mut out, "startedBy", Some(&self.started_by));
        set(&mut out, "startedAt", self.started_at);
        set(&mut out, "stoppingAt", self.stopped_at);
        set(&mut out, "stoppedAt", self.stopped_at);
        set(&mut out, "stopCode", self.stop_code.as_ref());
        set(&mut out, "stoppedReason", self.stopped_reason.as_ref());
        set(&mut out, "attachments", Some(json!([])));
        set(&mut out, "attributes", Some(json!([])));
        if !self.document.contains_key("overrides") {
            set(&mut out, "overrides", Some(json!({"containerOverrides": []})));
        }
        set(&mut out, "tags", Some(json!([])));
        set(&mut out, "version", Some(1));
        out
    }
}

/// Adds a field unless it has no value: ECS leaves absent fields out.
pub(super) fn set(target: &mut Value, key: &str, value: Option<impl Serialize>) {
    if let (Value::Object(object), Some(value)) = (target, value) {
        object.insert(key.to_owned(), json!(value));
    }
}

pub(super) fn counts<'a>(tasks: impl Iterator<Item = &'a Task>) -> Counts {
    let mut counts = Counts::default();
    for task in tasks {
        match task.status {
            TaskStatus::Pending => counts.pending += 1,
            TaskStatus::Running => counts.running += 1,
            TaskStatus::Stopped => {}
        }
        counts.healthy += usize::from(task.alive() && task.healthy);
    }
    counts
}

impl Service {
    /// Records what the scheduler did, in ECS's words
    /// (<https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html>).
    pub(super) fn event(&mut self, now: f64, text: &str) {
        let message = format!("(service {}) {text}", self.name);
        self.events.insert(0, Event { id: uuid::Uuid::new_v4().to_string(), created_at: now, message });
        self.events.truncate(100);
    }

    /// As `event`, but once per deployment: ECS omits duplicates.
    pub(super) fn event_once(&mut self, now: f64, since: f64, text: &str) {
        let message = format!("(service {}) {text}", self.name);
        if !self.events.iter().any(|e| e.message == message && e.created_at >= since) {
            self.event(now, text);
        }
    }

    pub(super) fn config(&self) -> Config {
        Config::new(self.document.get("deploymentConfiguration").unwrap_or(&Value::Null), self.desired)
    }

    pub(super) fn render(&self, tasks: &[Task]) -> Value {
        let mine: Vec<&Task> = tasks.iter().filter(|t| t.belongs_to(self)).collect();
        let of = |id: &str| counts(mine.iter().copied().filter(|t| t.started_by == id));
        let total = counts(mine.iter().copied());
        let deployments: Vec<Value> = self
            .deployments
            .iter()
            .enumerate()
            .map(|(index, deployment)| {
                let counts = of(&deployment.id);
                let mut out = Value::Object(deployment.document.clone());
                set(&mut out, "id", Some(&deployment.id));
                set(&mut out, "status", Some(if index == 0 { "PRIMARY" } else { "ACTIVE" }));
                set(&mut out, "taskDefinition", Some(&deployment.task_definition));
                set(&mut out, "desiredCount", Some(deployment.desired));
                set(&mut out, "pendingCount", Some(counts.pending));
                set(&mut out, "runningCount", Some(counts.running));
                set(&mut out, "failedTasks", Some(deployment.failed_tasks));
                set(&mut out, "createdAt", Some(deployment.created_at));
                set(&mut out, "updatedAt", Some(deployment.updated_at));
                set(&mut out, "rolloutState", Some(deployment.rollout));
                set(&mut out, "rolloutStateReason", Some(&deployment.reason));
                out
            })
            .collect();
        let revisions: Vec<RevisionCounts> = self
            .deployments
            .iter()
            .map(|deployment| RevisionCounts {
                arn: deployment.revision_arn.clone(),
                requested_task_count: deployment.desired,
                running_task_count: of(&deployment.id).running,
                pending_task_count: of(&deployment.id).pending,
            })
            .collect();
        let mut out = Value::Object(self.document.clone());
        set(&mut out, "serviceArn", Some(&self.arn));
        set(&mut out, "serviceName", Some(&self.name));
        set(&mut out, "clusterArn", Some(&self.cluster_arn));
        set(&mut out, "status", Some("ACTIVE"));
        set(&mut out, "desiredCount", Some(self.desired));
        set(&mut out, "runningCount", Some(total.running));
        set(&mut out, "pendingCount", Some(total.pending));
        set(&mut out, "taskDefinition", Some(&self.task_definition));
        set(&mut out, "deployments", Some(deployments));
        set(&mut out, "events", Some(&self.events));
        set(&mut out, "createdAt", Some(self.created_at));
        set(&mut out, "currentServiceDeployment", self.history.first().map(|d| &d.arn));
        set(&mut out, "currentServiceRevisions", Some(revisions));
        out
    }

    /// Brings the counts that a service deployment shows up to date.
    pub(super) fn refresh_counts(&mut self, tasks: &[Task]) {
        let Some(current) = self.history.first() else { return };
        if current.status.ended() {
            return;
        }
        let fresh: BTreeMap<String, RevisionCounts> = self
            .deployments
            .iter()
            .map(|deployment| {
                let counts =
                    counts(tasks.iter().filter(|t| t.belongs_to(self) && t.started_by == deployment.id));
                let summary = RevisionCounts {
                    arn: deployment.revision_arn.clone(),
                    requested_task_count: deployment.desired,
                    running_task_count: counts.running,
                    pending_task_count: counts.pending,
                };
                (deployment.revision_arn.clone(), summary)
            })
            .collect();
        let failures: BTreeMap<String, usize> =
            self.deployments.iter().map(|d| (d.id.clone(), d.failed_tasks)).collect();
        if let Some(current) = self.history.first_mut() {
            for summary in std::iter::once(&mut current.target).chain(&mut current.sources) {
                if let Some(fresh) = fresh.get(&summary.arn) {
                    *summary = fresh.clone();
                }
            }
            // Once tripped, the count that tripped it stays.
            if current.breaker.status == "MONITORING"
                && let Some(failed) = failures.get(&current.deployment)
            {
                current.breaker.failure_count = *failed;
            }
        }
    }
}

impl ServiceDeployment {
    pub(super) fn render(&self, service: &Service) -> Value {
        let mut out = json!({
            "serviceDeploymentArn": self.arn,
            "serviceArn": service.arn,
            "clusterArn": service.cluster_arn,
            "createdAt": self.created_at,
            "updatedAt": self.updated_at,
            "sourceServiceRevisions": self.sources,
            "targetServiceRevision": self.target,
            "status": self.status,
            "deploymentConfiguration": self.configuration,
            "deploymentCircuitBreaker": self.breaker,
            "alarms": {"status": "DISABLED"},
        });
        set(&mut out, "startedAt", self.started_at);
        set(&mut out, "finishedAt", self.finished_at);
        set(&mut out, "stoppedAt", self.stopped_at);
        set(&mut out, "statusReason", self.status_reason.as_ref());
        set(&mut out, "rollback", self.rollback.as_ref());
        out
    }

    /// The short form of `ListServiceDeployments`.
    pub(super) fn brief(&self, service: &Service) -> Value {
        let mut out = json!({
            "serviceDeploymentArn": self.arn,
            "serviceArn": service.arn,
            "clusterArn": service.cluster_arn,
            "createdAt": self.created_at,
            "targetServiceRevisionArn": self.target.arn,
            "status": self.status,
        });
        set(&mut out, "startedAt", self.started_at);
        set(&mut out, "finishedAt", self.finished_at);
        set(&mut out, "statusReason", self.status_reason.as_ref());
        out
    }

    pub(super) fn finish(&mut self, now: f64, status: Status) {
        self.status = status;
        self.updated_at = now;
        self.finished_at = Some(now);
        if status == Status::Stopped {
            self.stopped_at = Some(now);
        }
        if self.breaker.status == "MONITORING" {
            "MONITORING_COMPLETE".clone_into(&mut self.breaker.status);
        }
    }
}

impl ServiceRevision {
    pub(super) fn render(&self, service: &Service) -> Value {
        let mut out = Value::Object(self.document.clone());
        set(&mut out, "serviceRevisionArn", Some(&self.arn));
        set(&mut out, "serviceArn", Some(&service.arn));
        set(&mut out, "clusterArn", Some(&service.cluster_arn));
        set(&mut out, "taskDefinition", Some(&self.task_definition));
        set(&mut out, "containerImages", Some(&self.container_images));
        set(&mut out, "guardDutyEnabled", Some(false));
        set(&mut out, "createdAt", Some(self.created_at));
        out
    }
}

/// The numbers of `deploymentConfiguration`, with ECS's defaults
/// (<https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html>).
#[derive(Clone, Copy, Debug)]
pub(super) struct Config {
    /// At most this many tasks may be alive; rounded down.
    pub(super) maximum: usize,
    /// At least this many stay healthy; rounded up.
    pub(super) minimum: usize,
    pub(super) breaker: bool,
    pub(super) rollback: bool,
    pub(super) threshold: usize,
    pub(super) reset_on_healthy_task: bool,
}

impl Config {
    pub(super) fn new(configuration: &Value, desired: usize) -> Self {
        let percent = |key: &str, default: u64| {
            let value = configuration[key].as_u64().unwrap_or(default);
            desired.saturating_mul(usize::try_from(value).unwrap_or(usize::MAX))
        };
        let breaker = &configuration["deploymentCircuitBreaker"];
        Self {
            maximum: percent("maximumPercent", 200) / 100,
            minimum: percent("minimumHealthyPercent", 100).div_ceil(100),
            breaker: breaker["enable"].as_bool().unwrap_or(false),
            rollback: breaker["rollback"].as_bool().unwrap_or(false),
            threshold: threshold(&breaker["thresholdConfiguration"], desired),
            reset_on_healthy_task: breaker["resetOnHealthyTask"].as_bool().unwrap_or(true),
        }
    }
}

/// 0.5 * desired count, from 3 to 200
/// (<https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html>), unless the service
/// has a `thresholdConfiguration` of type `BOUNDED_PERCENT`, `UNBOUNDED_PERCENT` or `COUNT`.
fn threshold(configuration: &Value, desired: usize) -> usize {
    let value = configuration["value"].as_u64().and_then(|v| usize::try_from(v).ok()).unwrap_or(50);
    let percent = desired.saturating_mul(value).div_ceil(100);
    match configuration["type"].as_str() {
        Some("COUNT") => value,
        Some("UNBOUNDED_PERCENT") => percent.max(1),
        _ => percent.clamp(3, 200),
    }
}
