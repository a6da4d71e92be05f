//! Calls of a client, for these tests and for those with real processes.

use serde_json::{Value, json};

use super::Ecs;

pub(super) fn breaker(rollback: bool) -> Value {
    json!({"deploymentCircuitBreaker": {"enable": true, "rollback": rollback}})
}

/// Registers `rally-prod` with the image of its web application.
pub(super) async fn register(ecs: &Ecs, image: &str) -> String {
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

pub(super) async fn update(ecs: &Ecs, task_definition: &str) -> Value {
    let request = json!({"cluster": "prod", "service": "rally", "taskDefinition": task_definition});
    ecs.call("UpdateService", request).await.unwrap()["service"].take()
}

/// One poll.
pub(super) async fn service(ecs: &Ecs) -> Value {
    let request = json!({"cluster": "prod", "services": ["rally"]});
    let mut answer = ecs.call("DescribeServices", request).await.unwrap();
    assert_eq!(answer["failures"], json!([]));
    answer["services"][0].take()
}

pub(super) async fn service_deployment(ecs: &Ecs, arn: &Value) -> Value {
    let request = json!({"serviceDeploymentArns": [arn]});
    let mut answer = ecs.call("DescribeServiceDeployments", request).await.unwrap();
    answer["serviceDeployments"][0].take()
}

/// The tasks of the service, described.
pub(super) async fn tasks(ecs: &Ecs, status: &str) -> Vec<Value> {
    let request = json!({"cluster": "prod", "serviceName": "rally", "desiredStatus": status});
    let arns = ecs.call("ListTasks", request).await.unwrap()["taskArns"].take();
    if arns == json!([]) {
        return Vec::new();
    }
    let mut answer = ecs.call("DescribeTasks", json!({"cluster": "prod", "tasks": arns})).await.unwrap();
    serde_json::from_value(answer["tasks"].take()).unwrap()
}
