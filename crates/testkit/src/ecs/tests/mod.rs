//! What a client sees. Expected values come from the AWS pages named at each test and from recorded answers of ECS
//! (`DescribeServices`, `UpdateService`, `RegisterTaskDefinition` of a FARGATE service with rolling updates).

mod definitions;
mod deployments;
mod processes;
mod protocol;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

use super::{Ecs, EcsError, Launcher, Running, Settings, TaskSpec};

/// What a task of an image does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Behaviour {
    /// Healthy after so many looks at it.
    Healthy(usize),
    Exits(i32),
    NeverHealthy,
}

/// A launcher whose images do what they are told. Clones share the script.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    images: HashMap<String, Behaviour>,
    /// Task ARN to behaviour, for those that have a process.
    alive: HashMap<String, Behaviour>,
    launched: Vec<String>,
}

impl Script {
    fn new(images: &[(&str, Behaviour)]) -> Self {
        let script = Self::default();
        script.lock().images = images.iter().map(|(image, what)| ((*image).to_owned(), *what)).collect();
        script
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    fn set(&self, image: &str, behaviour: Behaviour) {
        self.lock().images.insert(image.to_owned(), behaviour);
    }

    fn crash(&self, task_arn: &str) {
        *self.lock().alive.get_mut(task_arn).unwrap() = Behaviour::Exits(137);
    }

    fn launched(&self) -> Vec<String> {
        self.lock().launched.clone()
    }

    fn alive(&self) -> usize {
        self.lock().alive.len()
    }
}

impl Launcher for Script {
    fn launch(&self, spec: &TaskSpec) -> Result<Box<dyn Running>, String> {
        let mut inner = self.lock();
        let image = &spec.main_container().unwrap().image;
        let behaviour =
            *inner.images.get(image).ok_or(format!("CannotPullContainerError: {image}: not found"))?;
        inner.alive.insert(spec.task_arn.clone(), behaviour);
        inner.launched.push(spec.task_arn.clone());
        drop(inner);
        Ok(Box::new(Scripted { script: self.clone(), task: spec.task_arn.clone(), looks: 0 }))
    }
}

struct Scripted {
    script: Script,
    task: String,
    looks: usize,
}

impl Running for Scripted {
    fn poll(&mut self) -> Option<i32> {
        match self.script.lock().alive.get(&self.task)? {
            Behaviour::Exits(code) => Some(*code),
            _ => None,
        }
    }

    fn healthy(&mut self) -> bool {
        self.looks += 1;
        matches!(self.script.lock().alive.get(&self.task), Some(Behaviour::Healthy(n)) if self.looks > *n)
    }

    fn stop(&mut self) {
        self.script.lock().alive.remove(&self.task);
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.script.lock().alive.remove(&self.task);
    }
}

/// Settings whose clock moves by a second with every look at it.
fn settings() -> Settings {
    let now = Mutex::new(1_790_000_000.0);
    let clock = Arc::new(move || {
        let mut now = now.lock().unwrap();
        *now += 1.0;
        *now
    });
    Settings { clock, ..Settings::default() }
}

fn breaker(rollback: bool) -> Value {
    json!({"deploymentCircuitBreaker": {"enable": true, "rollback": rollback}})
}

/// Registers `rally-prod` with the image of its web application.
async fn register(ecs: &Ecs, image: &str) -> String {
    let request = json!({
        "family": "rally-prod",
        "containerDefinitions": [{
            "name": "rally-prod-webapp",
            "image": image,
            "memory": 512,
            "portMappings": [{"containerPort": 8080}],
        }],
    });
    let answer = ecs.call("RegisterTaskDefinition", request).await.unwrap();
    answer["taskDefinition"]["taskDefinitionArn"].as_str().unwrap().to_owned()
}

/// A service of two tasks that runs `v1` in a steady state, as ARN of its revision.
async fn steady(ecs: &Ecs, configuration: Value) -> String {
    ecs.call("CreateCluster", json!({"clusterName": "prod"})).await.unwrap();
    let v1 = register(ecs, "v1").await;
    let request = json!({
        "cluster": "prod",
        "serviceName": "rally",
        "taskDefinition": v1,
        "desiredCount": 2,
        "deploymentConfiguration": configuration,
    });
    ecs.call("CreateService", request).await.unwrap();
    until(ecs, |s| s["deployments"][0]["rolloutState"] == "COMPLETED").await;
    v1
}

async fn update(ecs: &Ecs, task_definition: &str) -> Value {
    let request = json!({"cluster": "prod", "service": "rally", "taskDefinition": task_definition});
    ecs.call("UpdateService", request).await.unwrap()["service"].take()
}

/// One poll.
async fn service(ecs: &Ecs) -> Value {
    let request = json!({"cluster": "prod", "services": ["rally"]});
    let mut answer = ecs.call("DescribeServices", request).await.unwrap();
    assert_eq!(answer["failures"], json!([]));
    answer["services"][0].take()
}

/// Polls until the service is as wanted; the answers in their order, that one last.
async fn until(ecs: &Ecs, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    let mut seen = Vec::new();
    for _ in 0..60 {
        seen.push(service(ecs).await);
        if wanted(seen.last().unwrap()) {
            return seen;
        }
    }
    panic!("not reached in 60 polls, at last: {:#}", seen.last().unwrap());
}

async fn service_deployment(ecs: &Ecs, arn: &Value) -> Value {
    let request = json!({"serviceDeploymentArns": [arn]});
    let mut answer = ecs.call("DescribeServiceDeployments", request).await.unwrap();
    answer["serviceDeployments"][0].take()
}

/// The tasks of the service, described.
async fn tasks(ecs: &Ecs, status: &str) -> Vec<Value> {
    let request = json!({"cluster": "prod", "serviceName": "rally", "desiredStatus": status});
    let arns = ecs.call("ListTasks", request).await.unwrap()["taskArns"].take();
    if arns == json!([]) {
        return Vec::new();
    }
    let mut answer = ecs.call("DescribeTasks", json!({"cluster": "prod", "tasks": arns})).await.unwrap();
    serde_json::from_value(answer["tasks"].take()).unwrap()
}

fn messages(service: &Value) -> Vec<String> {
    let events = service["events"].as_array().unwrap();
    events.iter().map(|e| e["message"].as_str().unwrap().to_owned()).collect()
}

fn code<T: std::fmt::Debug>(outcome: Result<T, EcsError>) -> String {
    outcome.unwrap_err().code().to_owned()
}
