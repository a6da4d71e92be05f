//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html>

use serde_json::{Value, json};

use super::calls::*;
use super::{code, settings};
use crate::ecs::{Behaviour, Ecs, ScriptedLauncher};

/// A cluster and a revision; its image's tasks do as the launcher says.
async fn place(behaviour: Behaviour) -> (Ecs, ScriptedLauncher, String) {
    let launcher = ScriptedLauncher::new(&[("v1", behaviour)]);
    let ecs = Ecs::new(launcher.clone(), settings());
    ecs.call("CreateCluster", json!({"clusterName": "prod"})).await.unwrap();
    let revision = register(&ecs, "v1").await;
    (ecs, launcher, revision)
}

async fn run(ecs: &Ecs, more: Value) -> Result<Value, super::EcsError> {
    let mut request = json!({"cluster": "prod"});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    ecs.call("RunTask", request).await
}

async fn look(ecs: &Ecs, task: &Value) -> Value {
    let answer =
        ecs.call("DescribeTasks", json!({"cluster": "prod", "tasks": [task["taskArn"]]})).await.unwrap();
    answer["tasks"][0].clone()
}

#[tokio::test]
async fn a_task_moves_with_the_looks_at_it_and_keeps_its_exit_code() {
    let (ecs, launcher, revision) = place(Behaviour::NeverHealthy).await;
    let answer = run(&ecs, json!({"taskDefinition": revision, "startedBy": "release/1"})).await.unwrap();
    assert_eq!(answer["failures"], json!([]));
    let task = &answer["tasks"][0];
    assert_eq!((&task["lastStatus"], &task["startedBy"]), (&json!("PENDING"), &json!("release/1")));
    assert!(task["group"].as_str().unwrap().starts_with("family:"), "{task}");
    assert_eq!(look(&ecs, task).await["lastStatus"], "RUNNING");
    let listed = ecs.call("ListTasks", json!({"cluster": "prod", "startedBy": "release/1"})).await.unwrap();
    assert_eq!(listed["taskArns"], json!([task["taskArn"]]));
    launcher.end(task["taskArn"].as_str().unwrap(), 3);
    let ended = look(&ecs, task).await;
    assert_eq!(
        (&ended["lastStatus"], &ended["stopCode"]),
        (&json!("STOPPED"), &json!("EssentialContainerExited"))
    );
    assert_eq!(ended["containers"][0]["exitCode"], 3);
    let family = json!({"cluster": "prod", "family": group(&ended), "desiredStatus": "STOPPED"});
    assert_eq!(ecs.call("ListTasks", family).await.unwrap()["taskArns"], json!([task["taskArn"]]));
}

fn group(task: &Value) -> &str {
    task["group"].as_str().unwrap().strip_prefix("family:").unwrap()
}

#[tokio::test]
async fn a_task_may_have_ended_before_the_first_look() {
    let (ecs, _, revision) = place(Behaviour::Exits(0)).await;
    let answer = run(&ecs, json!({"taskDefinition": revision})).await.unwrap();
    assert_eq!(look(&ecs, &answer["tasks"][0]).await["lastStatus"], "STOPPED");
}

#[tokio::test]
async fn a_client_token_starts_one_task() {
    let (ecs, launcher, revision) = place(Behaviour::NeverHealthy).await;
    let request = json!({"taskDefinition": revision, "clientToken": "t"});
    let first = run(&ecs, request.clone()).await.unwrap();
    let again = run(&ecs, request).await.unwrap();
    assert_eq!(first["tasks"][0]["taskArn"], again["tasks"][0]["taskArn"]);
    assert_eq!(launcher.launched().len(), 1);
    let other = run(&ecs, json!({"taskDefinition": revision, "clientToken": "t", "startedBy": "x"})).await;
    assert_eq!(code(other), "ConflictException");
    run(&ecs, json!({"taskDefinition": revision, "clientToken": "u"})).await.unwrap();
    assert_eq!(launcher.launched().len(), 2);
}

#[tokio::test]
async fn a_task_that_can_not_start_is_stopped_and_says_why() {
    let (ecs, launcher, revision) = place(Behaviour::NeverHealthy).await;
    drop(launcher);
    let absent = register(&ecs, "v2").await;
    let answer = run(&ecs, json!({"taskDefinition": absent})).await.unwrap();
    let task = look(&ecs, &answer["tasks"][0]).await;
    assert_eq!(task["stopCode"], "TaskFailedToStart");
    assert!(task["stoppedReason"].as_str().unwrap().starts_with("CannotPullContainerError"), "{task}");
    assert_eq!(task["containers"][0].get("exitCode"), None);
    let stopped = run(&ecs, json!({"taskDefinition": revision})).await.unwrap();
    let stop = json!({"cluster": "prod", "task": stopped["tasks"][0]["taskArn"], "reason": "cancelled"});
    ecs.call("StopTask", stop).await.unwrap();
    let stopped = look(&ecs, &stopped["tasks"][0]).await;
    assert_eq!(
        (&stopped["stopCode"], &stopped["stoppedReason"]),
        (&json!("UserInitiated"), &json!("cancelled"))
    );
}

#[tokio::test]
async fn what_run_task_does_not_take_is_refused() {
    let (ecs, _, revision) = place(Behaviour::Exits(0)).await;
    let network = json!({"awsvpcConfiguration": {"subnets": ["subnet-1"]}});
    let override_of =
        |name: &str| json!({"containerOverrides": [{"name": name, "command": ["x".repeat(9000)]}]});
    let strategy = json!([{"capacityProvider": "FARGATE"}]);
    for (more, exception) in [
        (json!({"taskDefinition": "absent:1"}), "ClientException"),
        (json!({"taskDefinition": revision, "networkConfiguration": network}), "InvalidParameterException"),
        (
            json!({"taskDefinition": revision, "launchType": "EC2", "capacityProviderStrategy": strategy}),
            "InvalidParameterException",
        ),
        (json!({"taskDefinition": revision, "count": 11}), "InvalidParameterException"),
        (json!({"taskDefinition": revision, "startedBy": "a b"}), "InvalidParameterException"),
        (json!({"taskDefinition": revision, "overrides": override_of("app")}), "InvalidParameterException"),
        (
            json!({"taskDefinition": revision, "overrides": {"containerOverrides": [{"name": "absent"}]}}),
            "InvalidParameterException",
        ),
    ] {
        assert_eq!(code(run(&ecs, more.clone()).await), exception, "{more}");
    }
}
