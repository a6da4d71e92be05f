//! Tasks that no service has started: `RunTask`, and their life from poll to poll.
//!
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html>,
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/ECS_Idempotency.html>,
//! <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html>

use serde_json::{Map, Value, json};

use super::launcher::TaskSpec;
use super::request::{cluster, count, find_definition, text};
use super::rollout::Fleet;
use super::state::{Started, Task, TaskStatus, set};
use super::{EcsError, World};

/// "You can specify up to 10 tasks for each call."
const MOST: usize = 10;
/// "A total of 8192 characters are allowed for overrides."
const OVERRIDES: usize = 8192;

impl World<'_> {
    pub(super) fn run_task(&mut self, request: &Value) -> Result<Value, EcsError> {
        let cluster = cluster(self.state, request)?.to_owned();
        let number = count(request, "count")?.unwrap_or(1);
        if number == 0 || number > MOST {
            return Err(EcsError::parameter(format!("Count must be between 1 and {MOST}.")));
        }
        // "cluster - Requests with the same token in the same cluster are idempotent."
        let token = text(request, "clientToken").map(|token| format!("{cluster}/{token}"));
        if let Some(before) = token.as_ref().and_then(|token| self.state.started.get(token)) {
            if before.request != *request {
                return Err(EcsError::new(
                    "ConflictException",
                    "The provided clientToken is already in use with a different RunTask request.",
                ));
            }
            let tasks: Vec<Value> = before
                .tasks
                .iter()
                .filter_map(|arn| self.state.tasks.iter().find(|t| t.arn == *arn))
                .map(Task::render)
                .collect();
            return Ok(json!({"tasks": tasks, "failures": []}));
        }
        let definition = self.runnable(request)?;
        check(&definition, request)?;
        let arns: Vec<String> =
            (0..number).map(|_| self.split().1.start_one_off(&cluster, &definition, request)).collect();
        if let Some(token) = token {
            self.state.started.insert(token, Started { request: request.clone(), tasks: arns.clone() });
        }
        let tasks: Vec<Value> =
            self.state.tasks.iter().filter(|task| arns.contains(&task.arn)).map(Task::render).collect();
        Ok(json!({"tasks": tasks, "failures": []}))
    }

    /// The revision to run.
    fn runnable(&self, request: &Value) -> Result<Value, EcsError> {
        let name = text(request, "taskDefinition").unwrap_or_default();
        let (family, index) = find_definition(self.state, self.settings, name)
            .ok_or_else(|| EcsError::client("TaskDefinition not found."))?;
        let definition = self.state.definitions.get(&family).and_then(|all| all.get(index));
        let definition = definition.map_or(Value::Null, |definition| Value::Object(definition.clone()));
        if definition["status"] != "ACTIVE" {
            return Err(EcsError::client("TaskDefinition is inactive"));
        }
        Ok(definition)
    }

    /// A look at one such task: a status at most, unless it has ended in the meantime.
    pub(super) fn step_one_off(&mut self, arn: &str) {
        let (_, mut fleet) = self.split();
        fleet.observe_one_off(arn);
    }
}

/// What ECS refuses before it starts anything.
fn check(definition: &Value, request: &Value) -> Result<(), EcsError> {
    let awsvpc = definition["networkMode"] == "awsvpc";
    let network = request.get("networkConfiguration").is_some();
    if awsvpc && !network {
        return Err(EcsError::parameter(
            "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
        ));
    }
    if network && !awsvpc {
        return Err(EcsError::parameter(
            "Network Configuration is not valid for the given networkMode of this task definition.",
        ));
    }
    if request.get("launchType").is_some() && request.get("capacityProviderStrategy").is_some() {
        return Err(EcsError::parameter(
            "Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.",
        ));
    }
    if let Some(started_by) = text(request, "startedBy") {
        let fits = started_by.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/'));
        if started_by.len() > 128 || !fits {
            return Err(EcsError::parameter("startedBy is not valid."));
        }
    }
    let Some(overrides) = request.get("overrides") else { return Ok(()) };
    if overrides.to_string().chars().count() > OVERRIDES {
        return Err(EcsError::parameter(format!("Container Overrides length must be at most {OVERRIDES}")));
    }
    let names: Vec<&str> = definition["containerDefinitions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|c| text(c, "name"))
        .collect();
    for one in container_overrides(overrides) {
        let name = text(one, "name").unwrap_or_default();
        if !names.contains(&name) {
            return Err(EcsError::parameter(format!(
                "Override for container named {name} is not a container in the TaskDefinition."
            )));
        }
    }
    Ok(())
}

fn container_overrides(overrides: &Value) -> impl Iterator<Item = &Value> {
    overrides["containerOverrides"].as_array().into_iter().flatten()
}

/// The definition as the task runs it.
fn overridden(definition: &Value, overrides: &Value) -> Value {
    let mut definition = definition.clone();
    let containers = definition["containerDefinitions"].as_array_mut();
    for container in containers.into_iter().flatten() {
        let Some(one) = container_overrides(overrides).find(|one| one["name"] == container["name"]) else {
            continue;
        };
        if let Some(command) = one.get("command") {
            container["command"] = command.clone();
        }
        let added = one["environment"].as_array().cloned().unwrap_or_default();
        if let Some(environment) = container["environment"].as_array_mut() {
            environment.retain(|old| !added.iter().any(|new| new["name"] == old["name"]));
            environment.extend(added);
        } else {
            container["environment"] = json!(added);
        }
    }
    definition
}

impl Fleet<'_> {
    /// Starts one task; one that can't start is recorded as stopped.
    fn start_one_off(&mut self, cluster: &str, definition: &Value, request: &Value) -> String {
        let now = self.settings.now();
        let id = uuid::Uuid::new_v4().simple().to_string();
        let arn = self.settings.arn(&format!("task/{cluster}/{id}"));
        let definition_arn = text(definition, "taskDefinitionArn").unwrap_or_default();
        let family = text(definition, "family").unwrap_or_default();
        let group = text(request, "group").map_or_else(|| format!("family:{family}"), str::to_owned);
        let overrides = request.get("overrides").cloned().unwrap_or_else(|| json!({}));
        let mut spec = TaskSpec::new(&arn, definition_arn, &group, &overridden(definition, &overrides));
        spec.main = container_overrides(&overrides).find_map(|one| text(one, "name")).map(str::to_owned);
        let containers = self.containers_of(&spec, cluster, &id);
        let mut document = Map::new();
        for (from, key) in [
            (definition, "cpu"),
            (definition, "memory"),
            (request, "launchType"),
            (request, "platformVersion"),
        ] {
            if let Some(value) = from.get(key) {
                document.insert(key.to_owned(), value.clone());
            }
        }
        document.insert("group".to_owned(), json!(group));
        let mut shown = json!({"containerOverrides": []});
        for (key, value) in overrides.as_object().into_iter().flatten() {
            set(&mut shown, key, Some(value));
        }
        document.insert("overrides".to_owned(), shown);
        let mut task = Task {
            arn: arn.clone(),
            cluster: cluster.to_owned(),
            cluster_arn: self.settings.arn(&format!("cluster/{cluster}")),
            started_by: text(request, "startedBy").unwrap_or_default().to_owned(),
            definition: definition_arn.to_owned(),
            created_at: now,
            containers,
            document,
            ..Task::default()
        };
        // What went wrong is in the record, as it is with ECS: RunTask itself has succeeded.
        let _ = self.run(&mut task, &spec);
        self.tasks.push(task);
        arn
    }

    fn observe_one_off(&mut self, arn: &str) {
        let now = self.settings.now();
        let Some(task) = self.tasks.iter_mut().find(|task| task.arn == arn && task.alive()) else { return };
        let Some(process) = self.processes.get_mut(arn) else { return };
        if let Some(code) = process.poll() {
            task.started_at.get_or_insert(now);
            task.end(now, "EssentialContainerExited", "Essential container in task exited");
            for container in &mut task.containers {
                // The others are ended with the task: 128 + SIGTERM.
                container.exit_code = Some(if container.main { code } else { 143 });
            }
            self.processes.remove(arn);
        } else if task.status == TaskStatus::Pending {
            task.status = TaskStatus::Running;
            task.started_at = Some(now);
        }
    }
}
