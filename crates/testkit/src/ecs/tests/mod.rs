//! What a client sees. Expected values come from the AWS pages named at each test and from recorded answers of ECS
//! (`DescribeServices`, `UpdateService`, `RegisterTaskDefinition` of a FARGATE service with rolling updates).

mod definitions;
mod deployments;
mod processes;
mod protocol;

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::{Behaviour, Ecs, EcsError, ScriptedLauncher, Settings};

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
