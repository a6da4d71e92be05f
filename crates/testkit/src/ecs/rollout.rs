//! The service scheduler: one step of one service at a time.
//!
//! What is modelled, and where AWS describes it:
//! * rolling update within `minimumHealthyPercent` and `maximumPercent`:
//!   <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-type-ecs.html>
//! * circuit breaker and roll-back to the last COMPLETED deployment, which becomes PRIMARY again under its old identifier:
//!   <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html>
//! * the states of a service deployment: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-deployment.html>
//! * stopping one: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stop-service-deployment.html>

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};

use super::Settings;
use super::launcher::{ContainerSpec, Launcher, Running, TaskSpec};
use super::state::{
    BreakerState, Deployment, RevisionCounts, Rollout, Service, ServiceDeployment, ServiceRevision, Status,
    Task, TaskContainer, TaskStatus, counts,
};

/// The processes of the tasks that are alive, by task ARN.
pub(super) type Processes = HashMap<String, Box<dyn Running>>;

/// ECS forgets stopped tasks after about an hour.
const STOPPED_TASKS_SECONDS: f64 = 3600.0;
/// A crash loop that nobody watches must not grow the state for ever.
const STOPPED_TASKS_KEPT: usize = 300;

/// What the scheduler works with, besides the service itself.
pub(super) struct Fleet<'a> {
    pub(super) settings: &'a Settings,
    pub(super) launcher: &'a dyn Launcher,
    pub(super) definitions: &'a BTreeMap<String, Vec<Map<String, Value>>>,
    pub(super) tasks: &'a mut Vec<Task>,
    pub(super) processes: &'a mut Processes,
}

impl Fleet<'_> {
    fn now(&self) -> f64 {
        self.settings.now()
    }

    fn definition(&self, arn: &str) -> Value {
        let (family, revision) =
            arn.rsplit_once('/').and_then(|(_, r)| r.rsplit_once(':')).unwrap_or((arn, ""));
        let index = revision.parse::<usize>().unwrap_or_default().wrapping_sub(1);
        self.definitions
            .get(family)
            .and_then(|all| all.get(index))
            .map_or(Value::Null, |d| Value::Object(d.clone()))
    }

    /// The containers of a new task, none of which has ended.
    pub(super) fn containers_of(&self, spec: &TaskSpec, cluster: &str, id: &str) -> Vec<TaskContainer> {
        let main = spec.main_container().map(|container| &container.name);
        let of = |container: &ContainerSpec| TaskContainer {
            arn: self.settings.arn(&format!("container/{cluster}/{id}/{}", uuid::Uuid::new_v4())),
            name: container.name.clone(),
            image: container.image.clone(),
            image_digest: self.launcher.image_digest(&container.image),
            main: Some(&container.name) == main,
            exit_code: None,
            reason: None,
        };
        spec.containers.iter().map(of).collect()
    }

    /// Starts one task of the deployment; a task that can't start is recorded as stopped.
    fn start(&mut self, service: &Service, deployment: &Deployment) -> Result<String, String> {
        let now = self.now();
        let id = uuid::Uuid::new_v4().simple().to_string();
        let arn = self.settings.arn(&format!("task/{}/{id}", service.cluster));
        let definition = self.definition(&deployment.task_definition);
        let spec = TaskSpec::new(
            &arn,
            &deployment.task_definition,
            &format!("service:{}", service.name),
            &definition,
        );
        let containers = self.containers_of(&spec, &service.cluster, &id);
        let copy = |source: Option<&Map<String, Value>>, keys: [&str; 2]| -> Map<String, Value> {
            keys.iter().filter_map(|k| Some(((*k).to_owned(), source?.get(*k)?.clone()))).collect()
        };
        let mut document = copy(definition.as_object(), ["cpu", "memory"]);
        document.extend(copy(Some(&service.document), ["launchType", "platformVersion"]));
        let mut task = Task {
            arn: arn.clone(),
            cluster: service.cluster.clone(),
            cluster_arn: service.cluster_arn.clone(),
            service: service.name.clone(),
            started_by: deployment.id.clone(),
            definition: deployment.task_definition.clone(),
            created_at: now,
            containers,
            document,
            ..Task::default()
        };
        let outcome = self.run(&mut task, &spec);
        self.tasks.push(task);
        outcome.map(|()| id)
    }

    /// Gives the task a process.
    pub(super) fn run(&mut self, task: &mut Task, spec: &TaskSpec) -> Result<(), String> {
        task.status = TaskStatus::Pending;
        task.healthy = false;
        match self.launcher.launch(spec) {
            Ok(process) => {
                self.processes.insert(task.arn.clone(), process);
                Ok(())
            }
            Err(reason) => {
                task.end(self.now(), "TaskFailedToStart", reason.as_str());
                for container in task.containers.iter_mut().filter(|c| c.main) {
                    container.reason = Some(reason.clone());
                }
                Err(reason)
            }
        }
    }

    /// New processes for the tasks that were alive when the stand-in ended.
    pub(super) fn relaunch(&mut self) {
        let mut tasks = std::mem::take(self.tasks);
        let now = self.now();
        for task in tasks.iter_mut().filter(|t| t.alive()) {
            if task.service.is_empty() {
                // Nobody starts a one-off task twice: it ended with the host that it ran on. AWS documents no text.
                task.end(now, "TerminationNotice", "The host that the task ran on was ended.");
                continue;
            }
            let definition = self.definition(&task.definition);
            let group = format!("service:{}", task.service);
            let spec = TaskSpec::new(&task.arn, &task.definition, &group, &definition);
            // A task that can't be started again is recorded as stopped, and the scheduler replaces it.
            let _ = self.run(task, &spec);
        }
        *self.tasks = tasks;
    }

    /// Ends the process of a task and its record.
    pub(super) fn stop(&mut self, arn: &str, code: &str, reason: &str) {
        let now = self.now();
        if let Some(mut process) = self.processes.remove(arn) {
            process.stop();
        }
        if let Some(task) = self.tasks.iter_mut().find(|t| t.arn == arn && t.alive()) {
            task.end(now, code, reason);
            for container in &mut task.containers {
                container.exit_code = Some(0);
            }
        }
    }

    fn counts(&self, service: &Service, deployment: &str) -> super::state::Counts {
        counts(self.tasks.iter().filter(|t| t.belongs_to(service) && t.started_by == deployment))
    }

    fn forget_old_tasks(&mut self) {
        let now = self.now();
        let mut stopped = self.tasks.iter().filter(|t| !t.alive()).count();
        self.tasks.retain(|task| {
            let Some(at) = task.stopped_at else { return true };
            let forget = stopped > STOPPED_TASKS_KEPT || now - at > STOPPED_TASKS_SECONDS;
            stopped -= usize::from(forget);
            !forget
        });
    }
}

/// Looks at the tasks, then does at most one thing.
pub(super) fn step(service: &mut Service, fleet: &mut Fleet<'_>) {
    observe(service, fleet);
    let _ = end_requested(service, fleet)
        || begin(service, fleet)
        || trip_breaker(service, fleet)
        || scale_up(service, fleet)
        || scale_down(service, fleet)
        || complete(service, fleet);
    service.refresh_counts(fleet.tasks);
    fleet.forget_old_tasks();
}

/// Takes in what the processes did since the last look.
///
/// `failedTasks` counts consecutive failures and goes back to zero with the first healthy task
/// (<https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Deployment.html>), unless the circuit breaker says
/// `resetOnHealthyTask: false`.
fn observe(service: &mut Service, fleet: &mut Fleet<'_>) {
    let now = fleet.now();
    let reset = service.config().reset_on_healthy_task;
    for task in fleet.tasks.iter_mut().filter(|t| t.alive()) {
        if !task.belongs_to(service) {
            continue;
        }
        let Some(process) = fleet.processes.get_mut(&task.arn) else { continue };
        let deployment = service.deployments.iter_mut().find(|d| d.id == task.started_by);
        if let Some(code) = process.poll() {
            let was_healthy = task.was_healthy;
            task.end(now, "EssentialContainerExited", "Essential container in task exited");
            for container in &mut task.containers {
                // The others are killed with the task: 128 + SIGTERM.
                container.exit_code = Some(if container.main { code } else { 143 });
            }
            fleet.processes.remove(&task.arn);
            if let Some(deployment) = deployment.filter(|d| d.rollout == Rollout::InProgress && !was_healthy)
            {
                deployment.failed_tasks += 1;
                deployment.updated_at = now;
            }
            continue;
        }
        if task.status == TaskStatus::Pending {
            task.status = TaskStatus::Running;
            task.started_at.get_or_insert(now);
        }
        task.healthy = process.healthy();
        if task.healthy && !task.was_healthy {
            task.was_healthy = true;
            if let Some(deployment) = deployment.filter(|_| reset) {
                deployment.failed_tasks = 0;
            }
        }
    }
}

/// Carries out `STOP_REQUESTED` and `ROLLBACK_REQUESTED`, oldest first.
fn end_requested(service: &mut Service, fleet: &mut Fleet<'_>) -> bool {
    let now = fleet.now();
    if let Some(stopping) = service.history.iter_mut().rev().find(|d| d.status == Status::StopRequested) {
        stopping.finish(now, Status::Stopped);
        return true;
    }
    let requested = service.history.first().is_some_and(|d| d.status == Status::RollbackRequested);
    if requested {
        roll_back(service, now, Cause::Request);
    }
    requested
}

fn begin(service: &mut Service, fleet: &mut Fleet<'_>) -> bool {
    let now = fleet.now();
    let Some(current) = service.history.first_mut().filter(|d| d.status == Status::Pending) else {
        return false;
    };
    current.status = Status::InProgress;
    current.started_at = Some(now);
    current.updated_at = now;
    if let Some(primary) = service.deployments.first_mut() {
        primary.desired = service.desired;
        primary.updated_at = now;
    }
    true
}

fn trip_breaker(service: &mut Service, fleet: &mut Fleet<'_>) -> bool {
    let now = fleet.now();
    let config = service.config();
    let Some(primary) = service.deployments.first_mut().filter(|d| d.rollout == Rollout::InProgress) else {
        return false;
    };
    if !config.breaker || primary.failed_tasks < config.threshold {
        return false;
    }
    let failures = primary.failed_tasks;
    let Some(current) = service.history.first_mut() else { return false };
    current.breaker.failure_count = failures;
    "TRIGGERED".clone_into(&mut current.breaker.status);
    current.updated_at = now;
    if config.rollback {
        roll_back(service, now, Cause::Breaker);
    } else {
        // "The rollback option is not in use for the failure detection mechanism ... The state moves to STOPPED."
        // AWS documents no text for it.
        current.status = Status::StopRequested;
        current.status_reason = Some("The circuit breaker threshold was exceeded.".to_owned());
        fail(service, now, Cause::Breaker);
    }
    true
}

/// The PRIMARY deployment has failed; it launches nothing any more.
fn fail(service: &mut Service, now: f64, cause: Cause) {
    let Some(primary) = service.deployments.first_mut() else { return };
    let id = primary.id.clone();
    primary.rollout = Rollout::Failed;
    primary.updated_at = now;
    primary.reason = match cause {
        Cause::Breaker => "ECS deployment circuit breaker: tasks failed to start.".to_owned(),
        Cause::Request => format!("ECS deployment {id} was stopped."),
    };
    let event = match cause {
        Cause::Breaker => format!("(deployment {id}) deployment failed: tasks failed to start."),
        Cause::Request => format!("(deployment {id}) deployment failed: stopped by a user."),
    };
    service.event(now, &event);
}

/// A user stops the deployment without a roll-back.
pub(super) fn abort(service: &mut Service, now: f64) {
    fail(service, now, Cause::Request);
}

/// Who ended a deployment. AWS documents the texts of the first case only.
#[derive(Clone, Copy)]
enum Cause {
    Breaker,
    Request,
}

/// Makes the last COMPLETED deployment PRIMARY again. Without one, the roll-back has failed.
fn roll_back(service: &mut Service, now: f64, cause: Cause) {
    let why = match cause {
        Cause::Breaker => {
            "Service deployment rolled back because the circuit breaker threshold was exceeded."
        }
        Cause::Request => "Service deployment rolled back because a user requested it.",
    };
    let again = service.history.first().is_some_and(|d| d.status == Status::RollbackInProgress);
    fail(service, now, cause);
    let candidate =
        service.deployments.iter().position(|d| d.rollout == Rollout::Completed).filter(|_| !again);
    let Some(candidate) = candidate else {
        if let Some(current) = service.history.first_mut() {
            current.status_reason = Some("No rollback candidate was found to run the rollback.".to_owned());
            current.rollback.get_or_insert(json!({"reason": why, "startedAt": now}));
            current.finish(now, Status::RollbackFailed);
        }
        return;
    };
    if let Some(failed) = service.deployments.first_mut() {
        failed.desired = 0;
    }
    let mut restored = service.deployments.remove(candidate);
    restored.rollout = Rollout::InProgress;
    restored.reason =
        format!("ECS deployment circuit breaker: rolling back to deploymentId {}.", restored.id);
    restored.failed_tasks = 0;
    restored.desired = service.desired;
    restored.updated_at = now;
    service.task_definition.clone_from(&restored.task_definition);
    service.event(now, &format!("rolling back to deployment {}.", restored.id));
    if let Some(current) = service.history.first_mut() {
        current.status = Status::RollbackInProgress;
        current.status_reason = Some(why.to_owned());
        current.updated_at = now;
        current.rollback =
            Some(json!({"reason": why, "startedAt": now, "serviceRevisionArn": restored.revision_arn}));
    }
    service.deployments.insert(0, restored);
}

/// Starts what the PRIMARY deployment lacks, as far as `maximumPercent` allows.
fn scale_up(service: &mut Service, fleet: &mut Fleet<'_>) -> bool {
    let now = fleet.now();
    let config = service.config();
    let Some(primary) = service.deployments.first().filter(|d| d.rollout != Rollout::Failed).cloned() else {
        return false;
    };
    let alive = counts(fleet.tasks.iter().filter(|t| t.belongs_to(service))).alive();
    let missing = service.desired.saturating_sub(fleet.counts(service, &primary.id).alive());
    let number = missing.min(config.maximum.saturating_sub(alive));
    if number == 0 {
        return false;
    }
    let outcomes: Vec<_> = (0..number).map(|_| fleet.start(service, &primary)).collect();
    let started: Vec<_> = outcomes.iter().flatten().map(|id| format!("(task {id})")).collect();
    let failed = outcomes.iter().filter(|o| o.is_err()).count();
    if let Some(primary) = service.deployments.first_mut() {
        primary.desired = service.desired;
        primary.updated_at = now;
        if primary.rollout == Rollout::InProgress {
            primary.failed_tasks += failed;
        }
    }
    if !started.is_empty() {
        service.event(now, &format!("has started {} tasks: {}.", started.len(), started.join(" ")));
    }
    if service.deployments.first().is_some_and(|d| d.failed_tasks >= 3) {
        service.event_once(
            now,
            primary.created_at,
            "is unable to consistently start tasks successfully. For more information, see the Troubleshooting \
             section of the Amazon ECS Developer Guide.",
        );
    }
    true
}

/// Stops tasks that are too many: of the PRIMARY deployment after a smaller desired count, of older deployments as far
/// as `minimumHealthyPercent` allows. Where new tasks could start without it, an old task goes only when a healthy new
/// one has taken its place.
fn scale_down(service: &mut Service, fleet: &mut Fleet<'_>) -> bool {
    let config = service.config();
    let Some(primary) = service.deployments.first().filter(|d| d.rollout != Rollout::Failed).cloned() else {
        return false;
    };
    let mine: Vec<&Task> = fleet.tasks.iter().filter(|t| t.alive() && t.belongs_to(service)).collect();
    let new: Vec<&Task> = mine.iter().copied().filter(|t| t.started_by == primary.id).collect();
    let excess = new.len().saturating_sub(service.desired);
    let mut victims: Vec<(String, TaskStatus)> =
        new.iter().rev().take(excess).map(|t| (t.arn.clone(), t.status)).collect();

    if victims.is_empty() {
        let healthy = counts(mine.iter().copied()).healthy;
        let new_healthy = counts(new.iter().copied()).healthy;
        let blocked = new.len() < service.desired;
        let floor = if blocked { config.minimum } else { config.minimum.max(service.desired) };
        let mut budget = healthy.saturating_sub(floor);
        // Newest deployment first: what failed or was superseded goes before what is known to work.
        for old in service.deployments.iter().skip(1) {
            for task in mine.iter().filter(|t| t.started_by == old.id) {
                let free =
                    !task.healthy && (old.rollout != Rollout::Completed || new_healthy >= service.desired);
                if free || (task.healthy && budget > 0) {
                    budget -= usize::from(!free);
                    victims.push((task.arn.clone(), task.status));
                }
            }
        }
        if victims.is_empty() && blocked && mine.len() > new.len() && config.maximum <= config.minimum {
            let now = fleet.now();
            service.event_once(
                now,
                primary.created_at,
                "was unable to stop or start tasks during a deployment because of the service deployment \
                 configuration. Update the minimumHealthyPercent or maximumPercent value and try again.",
            );
        }
    }
    if victims.is_empty() {
        return false;
    }
    let now = fleet.now();
    let reason = format!("Scaling activity initiated by (deployment {})", primary.id);
    for (arn, _) in &victims {
        fleet.stop(arn, "ServiceSchedulerInitiated", &reason);
    }
    let running: Vec<_> = victims
        .iter()
        .filter(|(_, status)| *status == TaskStatus::Running)
        .map(|(arn, _)| format!("(task {})", arn.rsplit('/').next().unwrap_or_default()))
        .collect();
    if running.len() < victims.len() {
        service.event(now, &format!("stopped {} pending tasks.", victims.len() - running.len()));
    }
    if !running.is_empty() {
        service.event(now, &format!("has stopped {} running tasks: {}.", running.len(), running.join(" ")));
    }
    let left: BTreeMap<String, usize> = service
        .deployments
        .iter()
        .skip(1)
        .map(|d| (d.id.clone(), fleet.counts(service, &d.id).alive()))
        .collect();
    for deployment in &mut service.deployments {
        if let Some(left) = left.get(&deployment.id) {
            deployment.desired = *left;
            deployment.updated_at = now;
        }
    }
    true
}

/// The PRIMARY deployment runs at its desired count and nothing older is left: a steady state.
fn complete(service: &mut Service, fleet: &mut Fleet<'_>) -> bool {
    let now = fleet.now();
    let Some(primary) = service.deployments.first().filter(|d| d.rollout == Rollout::InProgress) else {
        return false;
    };
    let id = primary.id.clone();
    let own = fleet.counts(service, &id);
    let alive = counts(fleet.tasks.iter().filter(|t| t.belongs_to(service))).alive();
    if own.healthy != service.desired || alive != service.desired {
        return false;
    }
    service.deployments.truncate(1);
    if let Some(primary) = service.deployments.first_mut() {
        primary.rollout = Rollout::Completed;
        primary.reason = format!("ECS deployment {id} completed.");
        primary.desired = service.desired;
        primary.updated_at = now;
    }
    service.refresh_counts(fleet.tasks);
    if let Some(current) = service.history.first_mut() {
        match current.status {
            Status::InProgress => current.finish(now, Status::Successful),
            Status::RollbackInProgress => current.finish(now, Status::RollbackSuccessful),
            _ => {}
        }
    }
    service.event(now, &format!("(deployment {id}) deployment completed."));
    service.event(now, "has reached a steady state.");
    true
}

/// A new PRIMARY deployment for the service as it now stands, and the service deployment that carries it.
///
/// "`STOP_REQUESTED` ... when ... a user starts a new service deployment"
/// (<https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-deployment.html>); the deployment that it
/// supersedes becomes ACTIVE and keeps its rollout state.
pub(super) fn deploy(service: &mut Service, fleet: &Fleet<'_>) {
    let now = fleet.now();
    let number = || uuid::Uuid::new_v4().as_u64_pair().0 >> 1;
    let id = format!("ecs-svc/{}", number());
    let path = format!("{}/{}", service.cluster, service.name);
    let revision_arn = fleet.settings.arn(&format!("service-revision/{path}/{}", number()));
    let token: String = uuid::Uuid::new_v4().simple().to_string().chars().take(21).collect();

    for older in service.history.iter_mut().filter(|d| !d.status.ended()) {
        if older.status == Status::RollbackInProgress {
            // Nothing but ROLLBACK_SUCCESSFUL and ROLLBACK_FAILED may follow.
            older.finish(now, Status::RollbackFailed);
        } else if older.status != Status::StopRequested {
            older.status = Status::StopRequested;
            older.updated_at = now;
            // AWS documents no text for this.
            older.status_reason = Some("A new service deployment was started.".to_owned());
        }
    }
    let sources = service
        .deployments
        .iter()
        .map(|deployment| {
            let counts = fleet.counts(service, &deployment.id);
            (deployment, counts)
        })
        .filter(|(_, counts)| counts.alive() > 0)
        .map(|(deployment, counts)| RevisionCounts {
            arn: deployment.revision_arn.clone(),
            requested_task_count: deployment.desired,
            running_task_count: counts.running,
            pending_task_count: counts.pending,
        })
        .collect();

    let pick = |keys: &[&str]| -> Map<String, Value> {
        keys.iter().filter_map(|k| Some(((*k).to_owned(), service.document.get(*k)?.clone()))).collect()
    };
    let shared = [
        "capacityProviderStrategy",
        "launchType",
        "platformVersion",
        "platformFamily",
        "networkConfiguration",
    ];
    let definition = fleet.definition(&service.task_definition);
    let images = definition["containerDefinitions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let container_images = images
        .iter()
        .map(|container| {
            let image = container["image"].as_str().unwrap_or_default();
            let mut out = json!({"containerName": container["name"], "image": image});
            super::state::set(&mut out, "imageDigest", fleet.launcher.image_digest(image));
            out
        })
        .collect();
    let revision = ServiceRevision {
        arn: revision_arn.clone(),
        task_definition: service.task_definition.clone(),
        created_at: now,
        container_images,
        document: pick(&[&shared[..], &["loadBalancers", "serviceRegistries"]].concat()),
    };
    let config = service.config();
    let status = if config.breaker { "MONITORING" } else { "DISABLED" };
    let service_deployment = ServiceDeployment {
        arn: fleet.settings.arn(&format!("service-deployment/{path}/{token}")),
        deployment: id.clone(),
        created_at: now,
        updated_at: now,
        sources,
        target: RevisionCounts { arn: revision_arn.clone(), ..RevisionCounts::default() },
        configuration: service.document.get("deploymentConfiguration").cloned().unwrap_or_else(|| json!({})),
        breaker: BreakerState { status: status.to_owned(), failure_count: 0, threshold: config.threshold },
        ..ServiceDeployment::default()
    };
    let deployment = Deployment {
        reason: format!("ECS deployment {id} in progress."),
        id,
        task_definition: service.task_definition.clone(),
        revision_arn,
        created_at: now,
        updated_at: now,
        document: pick(&shared),
        ..Deployment::default()
    };
    service.deployments.insert(0, deployment);
    service.revisions.insert(0, revision);
    service.history.insert(0, service_deployment);
}
