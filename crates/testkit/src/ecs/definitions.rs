//! Task definitions.
//!
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html>,
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html>

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::request::{find_definition, page, text, wants_tags};
use super::{EcsError, World};

/// Set by ECS alone; a request that carries them anyway has no effect.
const READ_ONLY: [&str; 9] = [
    "taskDefinitionArn",
    "revision",
    "status",
    "requiresAttributes",
    "compatibilities",
    "registeredAt",
    "registeredBy",
    "deregisteredAt",
    "deleteRequestedAt",
];

impl World<'_> {
    pub(super) fn register_task_definition(&mut self, request: &Value) -> Result<Value, EcsError> {
        let family = text(request, "family").unwrap_or_default();
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if family.is_empty() || family.len() > 255 || !family.chars().all(allowed) {
            return Err(EcsError::client(
                "Family contains invalid characters or is empty: up to 255 letters, numbers, hyphens and underscores.",
            ));
        }
        let mut definition = request.as_object().cloned().unwrap_or_default();
        definition.retain(|key, value| !READ_ONLY.contains(&key.as_str()) && !value.is_null());
        let tags = match definition.shift_remove("tags") {
            None => None,
            Some(Value::Array(tags)) if tags.is_empty() => {
                return Err(EcsError::parameter("Tags can not be empty."));
            }
            Some(Value::Array(tags)) => Some(tags),
            Some(_) => return Err(EcsError::parameter("Tags must be a list.")),
        };
        check_containers(&definition)?;
        fill_defaults(&mut definition);

        let revision = self.state.definitions.get(family).map_or(0, Vec::len) + 1;
        let arn = self.settings.arn(&format!("task-definition/{family}:{revision}"));
        definition.insert("taskDefinitionArn".to_owned(), json!(arn));
        definition.insert("revision".to_owned(), json!(revision));
        definition.insert("status".to_owned(), json!("ACTIVE"));
        definition.insert("requiresAttributes".to_owned(), requires_attributes(&definition));
        definition.insert("compatibilities".to_owned(), compatibilities(&definition));
        definition.insert("registeredAt".to_owned(), json!(self.settings.now()));
        definition.insert("registeredBy".to_owned(), json!(self.settings.principal));
        let mut answer = json!({"taskDefinition": definition});
        super::state::set(&mut answer, "tags", tags.as_ref());
        self.state.definitions.entry(family.to_owned()).or_default().push(definition);
        self.state.tags.insert(arn, tags.unwrap_or_default());
        Ok(answer)
    }

    pub(super) fn describe_task_definition(&mut self, request: &Value) -> Result<Value, EcsError> {
        let name = text(request, "taskDefinition").unwrap_or_default();
        let definition = find_definition(self.state, self.settings, name)
            .and_then(|(family, index)| self.state.definitions.get(&family)?.get(index))
            .ok_or_else(|| EcsError::client("Unable to describe task definition."))?;
        let mut answer = json!({"taskDefinition": definition});
        if wants_tags(request) {
            let arn = definition.get("taskDefinitionArn").and_then(Value::as_str).unwrap_or_default();
            answer["tags"] = json!(self.state.tags.get(arn).map(Vec::as_slice).unwrap_or_default());
        }
        Ok(answer)
    }

    pub(super) fn list_task_definitions(&mut self, request: &Value) -> Result<Value, EcsError> {
        let family = text(request, "familyPrefix");
        let status = text(request, "status").unwrap_or("ACTIVE");
        let mut arns: Vec<&str> = self
            .state
            .definitions
            .iter()
            .filter(|(name, _)| family.is_none_or(|family| family == name.as_str()))
            .flat_map(|(_, all)| all)
            .filter(|d| d.get("status").and_then(Value::as_str) == Some(status))
            .filter_map(|d| d.get("taskDefinitionArn").and_then(Value::as_str))
            .collect();
        match text(request, "sort") {
            None | Some("ASC") => {}
            Some("DESC") => arns.reverse(),
            Some(_) => return Err(EcsError::parameter("sort must be ASC or DESC.")),
        }
        let (arns, next) = page(arns, request, 100, 100)?;
        let mut answer = json!({"taskDefinitionArns": arns});
        super::state::set(&mut answer, "nextToken", next);
        Ok(answer)
    }

    pub(super) fn deregister_task_definition(&mut self, request: &Value) -> Result<Value, EcsError> {
        let name = text(request, "taskDefinition").unwrap_or_default();
        let Some((_, revision)) = name.rsplit('/').next().and_then(|last| last.split_once(':')) else {
            return Err(EcsError::client(format!("Revision is missing: {name}")));
        };
        if revision.parse::<usize>().is_err() {
            return Err(EcsError::client(format!("Invalid revision number. Number: {revision}")));
        }
        let now = self.settings.now();
        let definition = find_definition(self.state, self.settings, name)
            .and_then(|(family, index)| self.state.definitions.get_mut(&family)?.get_mut(index))
            .ok_or_else(|| EcsError::client("The specified task definition does not exist."))?;
        if definition.get("status").and_then(Value::as_str) == Some("ACTIVE") {
            definition.insert("status".to_owned(), json!("INACTIVE"));
            definition.insert("deregisteredAt".to_owned(), json!(now));
        }
        Ok(json!({"taskDefinition": definition}))
    }
}

fn check_containers(definition: &Map<String, Value>) -> Result<(), EcsError> {
    let containers = definition.get("containerDefinitions").and_then(Value::as_array);
    let Some(containers) = containers.filter(|c| !c.is_empty()) else {
        return Err(EcsError::client("Container list cannot be empty."));
    };
    let mut names = BTreeSet::new();
    for container in containers {
        let name = text(container, "name").unwrap_or_default();
        if name.is_empty() {
            return Err(EcsError::client("Container.name should not be null or empty."));
        }
        if text(container, "image").unwrap_or_default().is_empty() {
            return Err(EcsError::client("Container.image should not be null or empty."));
        }
        if !names.insert(name) {
            return Err(EcsError::client(format!("Container names must be unique: {name}")));
        }
        let sized = ["memory", "memoryReservation"].iter().any(|key| container.get(*key).is_some());
        if !sized && !definition.contains_key("memory") {
            return Err(EcsError::client(format!(
                "Invalid setting for container '{name}'. At least one of 'memory' or 'memoryReservation' must be \
                 specified."
            )));
        }
    }
    Ok(())
}

/// Adds what ECS shows although nobody sent it. Values that were sent stay, empty ones included.
fn fill_defaults(definition: &mut Map<String, Value>) {
    let mode = definition.get("networkMode").and_then(Value::as_str).map(str::to_owned);
    if let Some(containers) = definition.get_mut("containerDefinitions").and_then(Value::as_array_mut) {
        for container in containers.iter_mut().filter_map(Value::as_object_mut) {
            let mut default = |key: &str, value: Value| {
                container.entry(key).or_insert(value);
            };
            default("cpu", json!(0));
            default("essential", json!(true));
            for list in ["portMappings", "environment", "mountPoints", "volumesFrom", "systemControls"] {
                default(list, json!([]));
            }
            let ports = container.get_mut("portMappings").and_then(Value::as_array_mut);
            for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
                // "the hostPort is set to the same value as the containerPort" (awsvpc, host); 0 means a free one.
                // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_PortMapping.html
                let own = matches!(mode.as_deref(), Some("awsvpc" | "host"));
                let host = if own { port.get("containerPort").cloned() } else { Some(json!(0)) };
                if let Some(host) = host.filter(|_| !port.contains_key("containerPortRange")) {
                    port.entry("hostPort").or_insert(host);
                }
                port.entry("protocol").or_insert(json!("tcp"));
            }
            // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_HealthCheck.html
            if let Some(check) = container.get_mut("healthCheck").and_then(Value::as_object_mut) {
                check.entry("interval").or_insert(json!(30));
                check.entry("timeout").or_insert(json!(5));
                check.entry("retries").or_insert(json!(3));
            }
        }
    }
    definition.entry("volumes").or_insert(json!([]));
    definition.entry("placementConstraints").or_insert(json!([]));
    // "String values are converted to an integer indicating the CPU units [the MiB] when ... registered."
    for (key, unit) in [("cpu", "vcpu"), ("memory", "gb")] {
        let units = definition.get(key).and_then(Value::as_str).and_then(|value| units(value, unit));
        if let Some(units) = units {
            definition.insert(key.to_owned(), json!(units));
        }
    }
}

/// `1 vCPU` is 1024 units, `.5 GB` is 512 MiB; plain numbers are left as they are.
fn units(value: &str, unit: &str) -> Option<String> {
    let lower = value.to_ascii_lowercase();
    let number: f64 = lower.strip_suffix(unit)?.trim().parse().ok()?;
    Some(format!("{:.0}", number * 1024.0))
}

/// "Amazon ECS validates the task definition parameters with those supported by the launch type": FARGATE wants awsvpc and
/// sizes at the level of the task. <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_TaskDefinition.html>
fn compatibilities(definition: &Map<String, Value>) -> Value {
    let awsvpc = definition.get("networkMode").and_then(Value::as_str) == Some("awsvpc");
    let sized = definition.contains_key("cpu") && definition.contains_key("memory");
    if awsvpc && sized {
        json!(["EC2", "FARGATE"])
    } else if awsvpc {
        json!(["EC2"])
    } else {
        json!(["EXTERNAL", "EC2"])
    }
}

/// Those of the attributes that follow from fields that a release touches.
fn requires_attributes(definition: &Map<String, Value>) -> Value {
    let containers = definition.get("containerDefinitions").and_then(Value::as_array);
    let any = |test: &dyn Fn(&Value) -> bool| containers.into_iter().flatten().any(test);
    let ecr = any(&|c| text(c, "image").is_some_and(|image| image.contains(".dkr.ecr.")));
    let logs = any(&|c| c["logConfiguration"]["logDriver"] == "awslogs");
    let execution = definition.contains_key("executionRoleArn");
    let names = [
        (logs, "com.amazonaws.ecs.capability.logging-driver.awslogs"),
        (logs && execution, "ecs.capability.execution-role-awslogs"),
        (ecr, "com.amazonaws.ecs.capability.ecr-auth"),
        (ecr && execution, "ecs.capability.execution-role-ecr-pull"),
        (definition.contains_key("taskRoleArn"), "com.amazonaws.ecs.capability.task-iam-role"),
        (definition.get("networkMode").and_then(Value::as_str) == Some("awsvpc"), "ecs.capability.task-eni"),
    ];
    let names = names.iter().filter(|(needed, _)| *needed).map(|(_, name)| json!({"name": name}));
    Value::Array(names.collect())
}
