//! What starts the tasks: real processes in a rehearsal, scripted ones in unit tests.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::Value;

/// One task to start.
#[derive(Clone, Debug)]
pub struct TaskSpec {
    /// The task's ARN.
    pub task_arn: String,
    /// The revision that it runs.
    pub task_definition_arn: String,
    /// `service:NAME`, as ECS sets it for the tasks of a service, `family:NAME` for a one-off task.
    pub group: String,
    /// The containers in the order of the task definition; never empty.
    pub containers: Vec<ContainerSpec>,
    /// The container that a one-off task overrides.
    pub main: Option<String>,
}

impl TaskSpec {
    /// The task's identifier: the last part of its ARN.
    pub fn task_id(&self) -> &str {
        self.task_arn.rsplit('/').next().unwrap_or(&self.task_arn)
    }

    /// The container for which the process stands: the one that is overridden, else the essential one that publishes a port,
    /// else the first essential one.
    pub fn main_container(&self) -> Option<&ContainerSpec> {
        if let Some(main) = &self.main {
            return self.containers.iter().find(|c| c.name == *main);
        }
        let essential = || self.containers.iter().filter(|c| c.essential);
        essential().find(|c| c.publishes_port).or_else(|| essential().next()).or(self.containers.first())
    }

    pub(super) fn new(task_arn: &str, task_definition_arn: &str, group: &str, definition: &Value) -> Self {
        let containers = definition["containerDefinitions"].as_array().map(Vec::as_slice).unwrap_or_default();
        Self {
            task_arn: task_arn.to_owned(),
            task_definition_arn: task_definition_arn.to_owned(),
            group: group.to_owned(),
            containers: containers.iter().map(ContainerSpec::new).collect(),
            main: None,
        }
    }
}

/// One container of a task.
#[derive(Clone, Debug)]
pub struct ContainerSpec {
    /// Its name in the task definition.
    pub name: String,
    /// The image reference as registered.
    pub image: String,
    /// Whether the task ends with it.
    pub essential: bool,
    /// Whether it has a port mapping.
    pub publishes_port: bool,
    /// What it runs in place of the image's own command; empty where that is meant.
    pub command: Vec<String>,
    /// The plain variables.
    pub environment: BTreeMap<String, String>,
    /// The secret ones: name to `valueFrom` (an ARN of Secrets Manager or SSM).
    pub secrets: BTreeMap<String, String>,
}

impl ContainerSpec {
    fn new(container: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let pairs = |list: &Value, value: &str| {
            let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
            list.iter().map(|pair| (text(&pair["name"]), text(&pair[value]))).collect()
        };
        Self {
            name: text(&container["name"]),
            image: text(&container["image"]),
            essential: container["essential"].as_bool().unwrap_or(true),
            publishes_port: container["portMappings"].as_array().is_some_and(|ports| !ports.is_empty()),
            command: container["command"].as_array().into_iter().flatten().map(text).collect(),
            environment: pairs(&container["environment"], "value"),
            secrets: pairs(&container["secrets"], "valueFrom"),
        }
    }
}

/// Starts tasks.
pub trait Launcher: Send + Sync {
    /// Starts the task and returns at once; whether it lives is found by polling.
    ///
    /// # Errors
    /// The reason why the task can't start, in ECS's words (`CannotPullContainerError: ...`).
    fn launch(&self, spec: &TaskSpec) -> Result<Box<dyn Running>, String>;

    /// The digest to which the image reference resolves, when it is known.
    fn image_digest(&self, image: &str) -> Option<String> {
        image.split_once('@').map(|(_, digest)| digest.to_owned())
    }
}

/// A started task.
pub trait Running: Send {
    /// The exit code of its main container, once it has ended.
    fn poll(&mut self) -> Option<i32>;
    /// Whether its health check passes.
    fn healthy(&mut self) -> bool;
    /// Asks it to end (`SIGTERM`, later `SIGKILL`) and returns at once.
    fn stop(&mut self);
    /// Where it serves, once it says so.
    fn address(&self) -> Option<SocketAddr> {
        None
    }
}
