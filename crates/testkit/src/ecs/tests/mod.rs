//! What a client sees. Expected values come from the AWS pages named at each test and from recorded answers of ECS
//! (`DescribeServices`, `UpdateService`, `RegisterTaskDefinition` of a FARGATE service with rolling updates).

mod calls;
mod definitions;
mod deployments;
mod protocol;
mod run_task;

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use self::calls::*;
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

fn messages(service: &Value) -> Vec<String> {
    let events = service["events"].as_array().unwrap();
    events.iter().map(|e| e["message"].as_str().unwrap().to_owned()).collect()
}

fn code<T: std::fmt::Debug>(outcome: Result<T, EcsError>) -> String {
    outcome.unwrap_err().code().to_owned()
}
