//! Clusters, services and service deployments.
//!
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html>,
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServices.html>,
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServiceDeployments.html>

use serde_json::{Map, Value, json};

use super::request::{cluster, count, find_definition, find_service, page, text, texts, wants_tags};
use super::rollout;
use super::state::{Service, Status, counts, set};
use super::{EcsError, World};

/// Fields of `CreateService` and `UpdateService` that are no part of the service's document.
const ARGUMENTS: [&str; 7] = [
    "cluster",
    "service",
    "serviceName",
    "taskDefinition",
    "desiredCount",
    "clientToken",
    "forceNewDeployment",
];

/// A change of one of these starts a new deployment; a change of any other field does not.
const DEPLOYED: [&str; 8] = [
    "capacityProviderStrategy",
    "launchType",
    "loadBalancers",
    "networkConfiguration",
    "platformVersion",
    "serviceConnectConfiguration",
    "serviceRegistries",
    "volumeConfigurations",
];

fn not_found() -> EcsError {
    EcsError::new("ServiceNotFoundException", "Service not found.")
}

impl World<'_> {
    pub(super) fn create_cluster(&mut self, request: &Value) -> Value {
        let name = text(request, "clusterName").unwrap_or("default").to_owned();
        let mut document = request.as_object().cloned().unwrap_or_default();
        document.shift_remove("clusterName");
        let tags = document.shift_remove("tags").and_then(|t| t.as_array().cloned()).unwrap_or_default();
        self.state.tags.entry(self.settings.arn(&format!("cluster/{name}"))).or_insert(tags);
        self.state.clusters.entry(name.clone()).or_insert(document);
        json!({"cluster": self.cluster(&name, true)})
    }

    fn cluster(&self, name: &str, tags: bool) -> Value {
        let arn = self.settings.arn(&format!("cluster/{name}"));
        let tasks = counts(self.state.tasks.iter().filter(|t| t.cluster == name));
        let mut out = Value::Object(self.state.clusters.get(name).cloned().unwrap_or_default());
        set(&mut out, "clusterArn", Some(&arn));
        set(&mut out, "clusterName", Some(name));
        set(&mut out, "status", Some("ACTIVE"));
        set(&mut out, "registeredContainerInstancesCount", Some(0));
        set(&mut out, "runningTasksCount", Some(tasks.running));
        set(&mut out, "pendingTasksCount", Some(tasks.pending));
        let services = self.state.services.iter().filter(|s| s.cluster == name).count();
        set(&mut out, "activeServicesCount", Some(services));
        set(&mut out, "tags", self.state.tags.get(&arn).filter(|_| tags));
        out
    }

    pub(super) fn describe_clusters(&mut self, request: &Value) -> Result<Value, EcsError> {
        let mut wanted = texts(request, "clusters");
        if wanted.is_empty() {
            wanted.push("default");
        }
        if wanted.len() > 100 {
            return Err(EcsError::parameter("Clusters cannot have more than 100 elements."));
        }
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for name in wanted {
            let short = super::request::last_part(name);
            if self.state.clusters.contains_key(short) {
                found.push(self.cluster(short, wants_tags(request)));
            } else {
                failures.push(
                    json!({"arn": self.settings.arn(&format!("cluster/{short}")), "reason": "MISSING"}),
                );
            }
        }
        Ok(json!({"clusters": found, "failures": failures}))
    }

    /// The ARN of a revision that a service may be moved to.
    fn deployable(&self, name: &str) -> Result<String, EcsError> {
        let definition = find_definition(self.state, self.settings, name)
            .and_then(|(family, index)| self.state.definitions.get(&family)?.get(index))
            .ok_or_else(|| EcsError::client("TaskDefinition not found."))?;
        let field = |key: &str| definition.get(key).and_then(Value::as_str).unwrap_or_default();
        if field("status") == "ACTIVE" {
            Ok(field("taskDefinitionArn").to_owned())
        } else {
            // "you can't update an existing service to reference an INACTIVE task definition"
            // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeregisterTaskDefinition.html
            Err(EcsError::client("TaskDefinition is inactive"))
        }
    }

    pub(super) fn create_service(&mut self, request: &Value) -> Result<Value, EcsError> {
        let cluster = cluster(self.state, request)?.to_owned();
        let name = text(request, "serviceName").unwrap_or_default().to_owned();
        if name.is_empty() {
            return Err(EcsError::parameter("Service name must not be empty."));
        }
        if find_service(self.state, &cluster, &name).is_some() {
            return Err(EcsError::parameter("Creation of service was not idempotent."));
        }
        let task_definition = self.deployable(text(request, "taskDefinition").unwrap_or_default())?;
        let desired = count(request, "desiredCount")?.unwrap_or(0);
        let mut document = request.as_object().cloned().unwrap_or_default();
        document.retain(|key, value| !ARGUMENTS.contains(&key.as_str()) && !value.is_null());
        let tags = document.shift_remove("tags").and_then(|t| t.as_array().cloned()).unwrap_or_default();
        self.fill_service_defaults(&mut document);
        let arn = self.settings.arn(&format!("service/{cluster}/{name}"));
        self.state.tags.insert(arn.clone(), tags);
        let mut service = Service {
            arn,
            cluster_arn: self.settings.arn(&format!("cluster/{cluster}")),
            cluster,
            name,
            created_at: self.settings.now(),
            desired,
            task_definition,
            document,
            ..Service::default()
        };
        let (services, fleet) = self.split();
        rollout::deploy(&mut service, &fleet);
        let answer = service.render(fleet.tasks);
        services.push(service);
        Ok(json!({"service": answer}))
    }

    fn fill_service_defaults(&self, document: &mut Map<String, Value>) {
        let breaker = json!({"enable": false, "rollback": false});
        let configuration = document.entry("deploymentConfiguration").or_insert(json!({}));
        if let Some(configuration) = configuration.as_object_mut() {
            configuration.entry("deploymentCircuitBreaker").or_insert(breaker);
            configuration.entry("maximumPercent").or_insert(json!(200));
            configuration.entry("minimumHealthyPercent").or_insert(json!(100));
            configuration.entry("strategy").or_insert(json!("ROLLING"));
        }
        if document.get("launchType").and_then(Value::as_str) == Some("FARGATE") {
            document.entry("platformVersion").or_insert(json!("LATEST"));
            document.entry("platformFamily").or_insert(json!("Linux"));
        }
        let role = "role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS";
        for (key, value) in [
            ("loadBalancers", json!([])),
            ("serviceRegistries", json!([])),
            ("placementConstraints", json!([])),
            ("placementStrategy", json!([])),
            ("schedulingStrategy", json!("REPLICA")),
            ("deploymentController", json!({"type": "ECS"})),
            ("enableECSManagedTags", json!(false)),
            ("propagateTags", json!("NONE")),
            ("enableExecuteCommand", json!(false)),
            ("createdBy", json!(self.settings.principal)),
            ("roleArn", json!(format!("arn:aws:iam::{}:{role}", self.settings.account))),
        ] {
            document.entry(key).or_insert(value);
        }
    }

    pub(super) fn describe_services(&mut self, request: &Value) -> Result<Value, EcsError> {
        let cluster = cluster(self.state, request)?.to_owned();
        let wanted = texts(request, "services");
        if wanted.is_empty() {
            return Err(EcsError::parameter("Services cannot be empty."));
        }
        if wanted.len() > 10 {
            return Err(EcsError::parameter("Services cannot have more than 10 elements."));
        }
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for name in wanted {
            let Some(index) = find_service(self.state, &cluster, name) else {
                let arn = if name.starts_with("arn:") {
                    name.to_owned()
                } else {
                    self.settings.arn(&format!("service/{cluster}/{name}"))
                };
                failures.push(json!({"arn": arn, "reason": "MISSING"}));
                continue;
            };
            self.step(index);
            if let Some(service) = self.state.services.get(index) {
                let mut out = service.render(&self.state.tasks);
                set(&mut out, "tags", self.state.tags.get(&service.arn).filter(|_| wants_tags(request)));
                found.push(out);
            }
        }
        Ok(json!({"services": found, "failures": failures}))
    }

    pub(super) fn update_service(&mut self, request: &Value) -> Result<Value, EcsError> {
        let cluster = cluster(self.state, request)?.to_owned();
        let index = find_service(self.state, &cluster, text(request, "service").unwrap_or_default())
            .ok_or_else(not_found)?;
        let task_definition =
            text(request, "taskDefinition").map(|name| self.deployable(name)).transpose()?;
        let desired = count(request, "desiredCount")?;
        let force = request["forceNewDeployment"].as_bool().unwrap_or(false);
        let (services, fleet) = self.split();
        let service = services.get_mut(index).ok_or_else(not_found)?;

        let mut redeploy = force;
        for (key, value) in request.as_object().into_iter().flatten() {
            if ARGUMENTS.contains(&key.as_str()) || value.is_null() {
                continue;
            }
            redeploy |= DEPLOYED.contains(&key.as_str()) && service.document.get(key) != Some(value);
            match (service.document.get_mut(key).and_then(Value::as_object_mut), value.as_object()) {
                // Percentages and circuit breaker can be changed one at a time.
                (Some(old), Some(new)) if key == "deploymentConfiguration" => old.extend(new.clone()),
                _ => {
                    service.document.insert(key.clone(), value.clone());
                }
            }
        }
        service.desired = desired.unwrap_or(service.desired);
        if let Some(arn) = task_definition {
            redeploy |= arn != service.task_definition;
            service.task_definition = arn;
        }
        if redeploy {
            rollout::deploy(service, &fleet);
        } else if let Some(primary) = service.deployments.first_mut() {
            primary.desired = service.desired;
        }
        Ok(json!({"service": service.render(fleet.tasks)}))
    }

    pub(super) fn list_service_deployments(&mut self, request: &Value) -> Result<Value, EcsError> {
        let name = text(request, "service").unwrap_or_default();
        // An ARN names the cluster too.
        let cluster = if name.starts_with("arn:") && request.get("cluster").is_none() {
            ""
        } else {
            cluster(self.state, request)?
        };
        let index = find_service(self.state, cluster, name).ok_or_else(not_found)?;
        self.step(index);
        let service = self.state.services.get(index).ok_or_else(not_found)?;
        let states = texts(request, "status");
        let after = request["createdAt"]["after"].as_f64().unwrap_or(f64::MIN);
        let before = request["createdAt"]["before"].as_f64().unwrap_or(f64::MAX);
        let all: Vec<Value> = service
            .history
            .iter()
            .filter(|d| d.created_at >= after && d.created_at <= before)
            .map(|d| d.brief(service))
            .filter(|d| states.is_empty() || text(d, "status").is_some_and(|s| states.contains(&s)))
            .collect();
        let (all, next) = page(all, request, 20, 100)?;
        let mut answer = json!({"serviceDeployments": all});
        set(&mut answer, "nextToken", next);
        Ok(answer)
    }

    pub(super) fn describe_service_deployments(&mut self, request: &Value) -> Result<Value, EcsError> {
        let wanted = at_most_20(request, "serviceDeploymentArns")?;
        for index in self.owners(|service| service.history.iter().any(|d| wanted.contains(&d.arn.as_str()))) {
            self.step(index);
        }
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for arn in wanted {
            let out =
                self.state.services.iter().find_map(|service| {
                    service.history.iter().find(|d| d.arn == arn).map(|d| d.render(service))
                });
            match out {
                Some(out) => found.push(out),
                None => failures.push(json!({"arn": arn, "reason": "MISSING"})),
            }
        }
        Ok(json!({"serviceDeployments": found, "failures": failures}))
    }

    pub(super) fn describe_service_revisions(&mut self, request: &Value) -> Result<Value, EcsError> {
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for arn in at_most_20(request, "serviceRevisionArns")? {
            let out = self.state.services.iter().find_map(|service| {
                service.revisions.iter().find(|r| r.arn == arn).map(|r| r.render(service))
            });
            match out {
                Some(out) => found.push(out),
                None => failures.push(json!({"arn": arn, "reason": "MISSING"})),
            }
        }
        Ok(json!({"serviceRevisions": found, "failures": failures}))
    }

    /// From which states it may be stopped:
    /// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stop-service-deployment.html>. `ABORT` is in the model's
    /// list of values and in no description: here the deployment stops without a roll-back.
    pub(super) fn stop_service_deployment(&mut self, request: &Value) -> Result<Value, EcsError> {
        let arn = text(request, "serviceDeploymentArn").unwrap_or_default();
        let status = match text(request, "stopType") {
            None | Some("ROLLBACK") => Status::RollbackRequested,
            Some("ABORT") => Status::StopRequested,
            Some(other) => return Err(EcsError::parameter(format!("Invalid stopType: {other}."))),
        };
        let index = self.owners(|service| service.history.iter().any(|d| d.arn == arn)).pop();
        let missing =
            || EcsError::new("ServiceDeploymentNotFoundException", "The service deployment was not found.");
        let now = self.settings.now();
        let service = index.and_then(|index| self.state.services.get_mut(index)).ok_or_else(missing)?;
        let found = service.history.iter_mut().find(|d| d.arn == arn).ok_or_else(missing)?;
        match found.status {
            Status::Pending | Status::InProgress => {
                found.status = status;
                found.updated_at = now;
                if status == Status::StopRequested {
                    rollout::abort(service, now);
                }
            }
            ended if ended.ended() => {
                return Err(EcsError::new(
                    "ConflictException",
                    "The service deployment has already finished and can't be stopped.",
                ));
            }
            // It "continues to stop" or "continues the rollback operation".
            _ => {}
        }
        Ok(json!({"serviceDeploymentArn": arn}))
    }

    fn owners(&self, test: impl Fn(&Service) -> bool) -> Vec<usize> {
        let services = self.state.services.iter().enumerate();
        services.filter(|(_, service)| test(service)).map(|(index, _)| index).collect()
    }
}

fn at_most_20<'a>(request: &'a Value, key: &str) -> Result<Vec<&'a str>, EcsError> {
    let wanted = texts(request, key);
    if wanted.is_empty() || wanted.len() > 20 {
        return Err(EcsError::parameter(format!("{key} must have between 1 and 20 elements.")));
    }
    Ok(wanted)
}
