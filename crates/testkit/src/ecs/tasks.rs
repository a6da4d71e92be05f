//! Tasks, and tags.
//!
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListTasks.html>,
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTasks.html>

use serde_json::{Value, json};

use super::request::{cluster, find_service, last_part, page, text, texts};
use super::state::Task;
use super::{EcsError, World};

impl World<'_> {
    pub(super) fn list_tasks(&mut self, request: &Value) -> Result<Value, EcsError> {
        let cluster = cluster(self.state, request)?.to_owned();
        let service = match text(request, "serviceName") {
            None => None,
            Some(name) => {
                let index = find_service(self.state, &cluster, name)
                    .ok_or_else(|| EcsError::new("ServiceNotFoundException", "Service not found."))?;
                Some(index)
            }
        };
        let started_by = text(request, "startedBy");
        let family = text(request, "family");
        let status = text(request, "desiredStatus");
        if started_by.is_some() && (service.is_some() || family.is_some() || status.is_some()) {
            // "When you specify startedBy as the filter, it must be the only filter that you use."
            return Err(EcsError::parameter("cannot specify startedBy with any other filters."));
        }
        let owner = started_by.and_then(|id| {
            self.state
                .services
                .iter()
                .position(|s| s.cluster == cluster && s.deployments.iter().any(|d| d.id == id))
        });
        if let Some(index) = service.or(owner) {
            self.step(index);
        }
        let service = service.and_then(|index| self.state.services.get(index)).map(|s| s.name.clone());
        let alive = match status {
            None | Some("RUNNING") => Some(true),
            Some("STOPPED") => Some(false),
            // "this doesn't return any results" (PENDING).
            Some(_) => None,
        };
        let arns: Vec<String> = self
            .state
            .tasks
            .iter()
            .filter(|t| t.cluster == cluster && Some(t.alive()) == alive)
            .filter(|t| service.as_ref().is_none_or(|service| *service == t.service))
            .filter(|t| started_by.is_none_or(|id| t.started_by == id))
            .filter(|t| family.is_none_or(|family| family_of(t) == family))
            .map(|t| t.arn.clone())
            .collect();
        let (arns, next) = page(arns, request, 100, 100)?;
        let mut answer = json!({"taskArns": arns});
        super::state::set(&mut answer, "nextToken", next);
        Ok(answer)
    }

    pub(super) fn describe_tasks(&mut self, request: &Value) -> Result<Value, EcsError> {
        let cluster = cluster(self.state, request)?.to_owned();
        let wanted = texts(request, "tasks");
        if wanted.is_empty() {
            return Err(EcsError::parameter("Tasks cannot be empty."));
        }
        if wanted.len() > 100 {
            return Err(EcsError::parameter("Tasks cannot have more than 100 elements."));
        }
        let find = |tasks: &[Task], name: &str| {
            tasks.iter().position(|t| t.cluster == cluster && last_part(&t.arn) == last_part(name))
        };
        let owners: std::collections::BTreeSet<usize> = wanted
            .iter()
            .filter_map(|name| self.state.tasks.get(find(&self.state.tasks, name)?))
            .filter_map(|task| self.state.services.iter().position(|s| task.belongs_to(s)))
            .collect();
        for index in owners {
            self.step(index);
        }
        let one_off: Vec<String> = wanted
            .iter()
            .filter_map(|name| self.state.tasks.get(find(&self.state.tasks, name)?))
            .filter(|task| task.service.is_empty())
            .map(|task| task.arn.clone())
            .collect();
        for arn in one_off {
            self.step_one_off(&arn);
        }
        let mut found = Vec::new();
        let mut failures = Vec::new();
        for name in wanted {
            let task = find(&self.state.tasks, name).and_then(|index| self.state.tasks.get(index));
            if let Some(task) = task {
                found.push(task.render());
                continue;
            }
            let arn = if name.starts_with("arn:") {
                name.to_owned()
            } else {
                self.settings.arn(&format!("task/{cluster}/{name}"))
            };
            failures.push(json!({"arn": arn, "reason": "MISSING"}));
        }
        Ok(json!({"tasks": found, "failures": failures}))
    }

    pub(super) fn stop_task(&mut self, request: &Value) -> Result<Value, EcsError> {
        let cluster = cluster(self.state, request)?.to_owned();
        let name = text(request, "task").unwrap_or_default();
        let arn = self
            .state
            .tasks
            .iter()
            .find(|t| t.cluster == cluster && last_part(&t.arn) == last_part(name))
            .map(|t| t.arn.clone())
            .ok_or_else(|| EcsError::parameter("The referenced task was not found."))?;
        let reason = text(request, "reason").unwrap_or("Task stopped by user");
        let (_, mut fleet) = self.split();
        fleet.stop(&arn, "UserInitiated", reason);
        let task = self.state.tasks.iter().find(|t| t.arn == arn).map_or(Value::Null, Task::render);
        Ok(json!({"task": task}))
    }

    pub(super) fn tag_resource(&mut self, request: &Value) -> Result<Value, EcsError> {
        let arn = self.taggable(request)?;
        let added = request["tags"].as_array().cloned().unwrap_or_default();
        let tags = self.state.tags.entry(arn).or_default();
        tags.retain(|old| !added.iter().any(|new| new["key"] == old["key"]));
        tags.extend(added);
        Ok(json!({}))
    }

    pub(super) fn untag_resource(&mut self, request: &Value) -> Result<Value, EcsError> {
        let arn = self.taggable(request)?;
        let keys = texts(request, "tagKeys");
        let tags = self.state.tags.entry(arn).or_default();
        tags.retain(|tag| !text(tag, "key").is_some_and(|key| keys.contains(&key)));
        Ok(json!({}))
    }

    pub(super) fn list_tags_for_resource(&mut self, request: &Value) -> Result<Value, EcsError> {
        let arn = self.taggable(request)?;
        Ok(json!({"tags": self.state.tags.get(&arn).map(Vec::as_slice).unwrap_or_default()}))
    }

    /// Clusters, services and task definitions have an entry from their creation on.
    fn taggable(&self, request: &Value) -> Result<String, EcsError> {
        let arn = text(request, "resourceArn").unwrap_or_default();
        if self.state.tags.contains_key(arn) {
            Ok(arn.to_owned())
        } else {
            Err(EcsError::new("ResourceNotFoundException", "The specified resource wasn't found."))
        }
    }
}

fn family_of(task: &Task) -> &str {
    let name = last_part(&task.definition);
    name.split_once(':').map_or(name, |(family, _)| family)
}
