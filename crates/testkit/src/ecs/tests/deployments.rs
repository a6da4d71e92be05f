use super::*;

const DEPLOYED: &[(&str, Behaviour)] = &[
    ("v1", Behaviour::Healthy(0)),
    ("v2", Behaviour::Healthy(2)),
    ("v3", Behaviour::Healthy(0)),
    ("broken", Behaviour::Exits(1)),
];

/// Sum of `runningCount` over the deployments with this revision.
fn running(service: &Value, revision: &str) -> u64 {
    let deployments = service["deployments"].as_array().unwrap();
    deployments
        .iter()
        .filter(|d| d["taskDefinition"] == revision)
        .map(|d| d["runningCount"].as_u64().unwrap())
        .sum()
}

/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-type-ecs.html>
#[tokio::test]
async fn rolling_update_keeps_old_tasks_until_new_ones_are_healthy() {
    let script = ScriptedLauncher::new(DEPLOYED);
    let ecs = Ecs::new(script.clone(), settings());
    let v1 = steady(&ecs, json!({})).await;
    let v2 = register(&ecs, "v2").await;

    // As the recorded answer of UpdateService shows it: the new deployment is there, nothing has started.
    let updated = update(&ecs, &v2).await;
    assert_eq!(updated["taskDefinition"], *v2);
    let summary: Vec<_> = updated["deployments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| {
            json!([d["status"], d["taskDefinition"], d["rolloutState"], d["desiredCount"], d["runningCount"]])
        })
        .collect();
    assert_eq!(
        summary,
        [json!(["PRIMARY", v2, "IN_PROGRESS", 0, 0]), json!(["ACTIVE", v1, "COMPLETED", 2, 2]),]
    );
    let deployment = updated["currentServiceDeployment"].clone();
    let brief = ecs.call(
        "ListServiceDeployments",
        json!({"cluster": "prod", "service": "rally", "status": ["IN_PROGRESS"]}),
    );
    assert_eq!(brief.await.unwrap()["serviceDeployments"][0]["serviceDeploymentArn"], deployment);

    let seen = until(&ecs, |s| s["deployments"][0]["rolloutState"] == "COMPLETED").await;
    for answer in &seen {
        let (old, new) = (running(answer, &v1), running(answer, &v2));
        let pending = answer["pendingCount"].as_u64().unwrap();
        assert!(old + new >= 2, "too few tasks: {answer:#}");
        assert!(old + new + pending <= 4, "more than maximumPercent allows: {answer:#}");
    }
    // v2 takes three looks to become healthy, and in that time both old tasks serve.
    assert!(seen.iter().filter(|s| running(s, &v1) == 2 && running(s, &v2) == 2).count() >= 2);

    let last = seen.last().unwrap();
    assert_eq!(last["deployments"].as_array().unwrap().len(), 1);
    assert_eq!(last["runningCount"], 2);
    let id = last["deployments"][0]["id"].as_str().unwrap();
    assert_eq!(last["deployments"][0]["rolloutStateReason"], format!("ECS deployment {id} completed."));
    assert_eq!(messages(last)[0], "(service rally) has reached a steady state.");
    assert_eq!(messages(last)[1], format!("(service rally) (deployment {id}) deployment completed."));

    let done = service_deployment(&ecs, &deployment).await;
    assert_eq!(done["status"], "SUCCESSFUL");
    assert_eq!(done["targetServiceRevision"]["runningTaskCount"], 2);
    assert_eq!(done["targetServiceRevision"]["requestedTaskCount"], 2);
    assert!(done["finishedAt"].as_f64() > done["startedAt"].as_f64());
    let revision = json!({"serviceRevisionArns": [done["targetServiceRevision"]["arn"]]});
    let revisions = ecs.call("DescribeServiceRevisions", revision).await.unwrap();
    assert_eq!(revisions["serviceRevisions"][0]["taskDefinition"], *v2);
    assert_eq!(
        revisions["serviceRevisions"][0]["containerImages"],
        json!([{"containerName": "rally-prod-webapp", "image": "v2"}])
    );

    let stopped = tasks(&ecs, "STOPPED").await;
    assert_eq!(stopped.len(), 2);
    for task in stopped {
        assert_eq!(task["taskDefinitionArn"], *v1);
        assert_eq!(task["stopCode"], "ServiceSchedulerInitiated");
        assert_eq!(task["stoppedReason"], format!("Scaling activity initiated by (deployment {id})"));
        assert_eq!(task["desiredStatus"], "STOPPED");
    }
    for task in tasks(&ecs, "RUNNING").await {
        assert_eq!(task["startedBy"], id);
        assert_eq!(task["group"], "service:rally");
        assert_eq!(task["containers"][0]["lastStatus"], "RUNNING");
    }
    assert_eq!(script.alive().len(), 2);
}

/// "an upper limit ... rounded down", "a lower limit ... rounded up":
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html>
#[tokio::test]
async fn percentages_bound_the_number_of_tasks() {
    let script = ScriptedLauncher::new(DEPLOYED);
    let ecs = Ecs::new(script.clone(), settings());
    let v1 = steady(&ecs, json!({"maximumPercent": 175, "minimumHealthyPercent": 100})).await;
    let v2 = register(&ecs, "v2").await;
    update(&ecs, &v2).await;
    for answer in until(&ecs, |s| s["deployments"][0]["rolloutState"] == "COMPLETED").await {
        let alive = answer["runningCount"].as_u64().unwrap() + answer["pendingCount"].as_u64().unwrap();
        assert!((2..=3).contains(&alive), "{answer:#}");
    }
    // Without room for a third task, one old task goes first.
    let request = json!({"cluster": "prod", "service": "rally", "taskDefinition": v1,
        "deploymentConfiguration": {"maximumPercent": 100, "minimumHealthyPercent": 50}});
    ecs.call("UpdateService", request).await.unwrap();
    for answer in until(&ecs, |s| s["deployments"][0]["rolloutState"] == "COMPLETED").await {
        let alive = answer["runningCount"].as_u64().unwrap() + answer["pendingCount"].as_u64().unwrap();
        assert!((1..=2).contains(&alive), "{answer:#}");
    }
}

/// With 100 and 100 nothing can move, and ECS says so.
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html>
#[tokio::test]
async fn percentages_that_leave_no_room_are_named_in_an_event() {
    let ecs = Ecs::new(ScriptedLauncher::new(DEPLOYED), settings());
    let v1 = steady(&ecs, json!({"maximumPercent": 100, "minimumHealthyPercent": 100})).await;
    let v2 = register(&ecs, "v2").await;
    update(&ecs, &v2).await;
    let told = "was unable to stop or start tasks during a deployment because of the service deployment configuration";
    let seen = until(&ecs, |s| messages(s).iter().any(|m| m.contains(told))).await;
    assert_eq!(running(seen.last().unwrap(), &v1), 2);
    let later = service(&ecs).await;
    assert_eq!(messages(&later).iter().filter(|m| m.contains(told)).count(), 1);
    assert_eq!(later["deployments"][0]["rolloutState"], "IN_PROGRESS");
}

/// "it looks for the most recent deployment that is in a COMPLETED state ... When the rollback starts, the deployment changes
/// from a COMPLETED to `IN_PROGRESS`":
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html>
#[tokio::test]
async fn circuit_breaker_rolls_back_to_the_last_completed_deployment() {
    let script = ScriptedLauncher::new(DEPLOYED);
    let ecs = Ecs::new(script.clone(), settings());
    let v1 = steady(&ecs, breaker(true)).await;
    let old = service(&ecs).await["deployments"][0]["id"].as_str().unwrap().to_owned();
    let broken = register(&ecs, "broken").await;
    let updated = update(&ecs, &broken).await;
    let (deployment, new) =
        (updated["currentServiceDeployment"].clone(), updated["deployments"][0]["id"].clone());

    let seen = until(&ecs, |s| s["taskDefinition"] == *v1).await;
    let before: Vec<_> = seen.iter().take(seen.len() - 1).collect();
    assert!(seen.iter().all(|s| running(s, &v1) == 2), "the old tasks must serve all the time");
    assert!(before.iter().any(|s| s["deployments"][0]["failedTasks"] == 2));
    let rolling = seen.last().unwrap();
    assert_eq!(rolling["deployments"][0]["id"], *old);
    assert_eq!(rolling["deployments"][0]["status"], "PRIMARY");
    assert_eq!(rolling["deployments"][0]["rolloutState"], "IN_PROGRESS");
    assert_eq!(
        rolling["deployments"][0]["rolloutStateReason"],
        format!("ECS deployment circuit breaker: rolling back to deploymentId {old}.")
    );
    assert_eq!(rolling["deployments"][1]["id"], new);
    assert_eq!(rolling["deployments"][1]["status"], "ACTIVE");
    assert_eq!(rolling["deployments"][1]["rolloutState"], "FAILED");
    assert_eq!(
        rolling["deployments"][1]["rolloutStateReason"],
        "ECS deployment circuit breaker: tasks failed to start."
    );
    assert_eq!(messages(rolling)[0], format!("(service rally) rolling back to deployment {old}."));
    assert_eq!(
        messages(rolling)[1],
        format!(
            "(service rally) (deployment {}) deployment failed: tasks failed to start.",
            new.as_str().unwrap()
        )
    );

    let seen = until(&ecs, |s| s["deployments"][0]["rolloutState"] == "COMPLETED").await;
    assert_eq!(seen.last().unwrap()["deployments"].as_array().unwrap().len(), 1);
    assert_eq!(seen.last().unwrap()["currentServiceDeployment"], deployment);
    let ended = service_deployment(&ecs, &deployment).await;
    assert_eq!(ended["status"], "ROLLBACK_SUCCESSFUL");
    let why = "Service deployment rolled back because the circuit breaker threshold was exceeded.";
    assert_eq!(ended["statusReason"], why);
    assert_eq!(ended["rollback"]["reason"], why);
    assert_eq!(ended["rollback"]["serviceRevisionArn"], ended["sourceServiceRevisions"][0]["arn"]);
    assert_eq!(ended["deploymentCircuitBreaker"]["status"], "TRIGGERED");
    assert_eq!(ended["deploymentCircuitBreaker"]["threshold"], 3);
    assert!(ended["deploymentCircuitBreaker"]["failureCount"].as_u64().unwrap() >= 3);

    for task in tasks(&ecs, "STOPPED").await.iter().filter(|t| t["taskDefinitionArn"] == *broken) {
        assert_eq!(task["stopCode"], "EssentialContainerExited");
        assert_eq!(task["stoppedReason"], "Essential container in task exited");
        assert_eq!(task["containers"][0]["exitCode"], 1);
        assert_eq!(task["startedBy"], new);
    }
}

/// "When the deployment circuit breaker does not find a deployment that is in a COMPLETED state, the circuit breaker does not
/// launch new tasks and the deployment is stalled" (as above).
#[tokio::test]
async fn circuit_breaker_without_a_completed_deployment_stalls() {
    let script = ScriptedLauncher::new(DEPLOYED);
    let ecs = Ecs::new(script.clone(), settings());
    ecs.call("CreateCluster", json!({"clusterName": "prod"})).await.unwrap();
    let broken = register(&ecs, "broken").await;
    let request = json!({"cluster": "prod", "serviceName": "rally", "taskDefinition": broken, "desiredCount": 2,
        "deploymentConfiguration": breaker(true)});
    ecs.call("CreateService", request).await.unwrap();
    let seen = until(&ecs, |s| s["deployments"][0]["rolloutState"] == "FAILED").await;
    let ended = service_deployment(&ecs, &seen[0]["currentServiceDeployment"]).await;
    assert_eq!(ended["status"], "ROLLBACK_FAILED");
    assert_eq!(ended["statusReason"], "No rollback candidate was found to run the rollback.");
    let launched = script.launched().len();
    service(&ecs).await;
    service(&ecs).await;
    assert_eq!(script.launched().len(), launched);
}

/// "`STOP_REQUESTED` when ... the rollback option is not in use for the failure detection mechanism":
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-deployment.html>
#[tokio::test]
async fn circuit_breaker_without_rollback_leaves_two_deployments() {
    let script = ScriptedLauncher::new(DEPLOYED);
    let ecs = Ecs::new(script.clone(), settings());
    let v1 = steady(&ecs, breaker(false)).await;
    let broken = register(&ecs, "broken").await;
    let deployment = update(&ecs, &broken).await["currentServiceDeployment"].clone();
    until(&ecs, |s| s["deployments"][0]["rolloutState"] == "FAILED").await;
    let launched = script.launched().len();
    let mut last = Value::Null;
    for _ in 0..5 {
        last = service(&ecs).await;
    }
    assert_eq!(script.launched().len(), launched, "a FAILED deployment launches nothing");
    assert_eq!(last["deployments"].as_array().unwrap().len(), 2);
    assert_eq!(last["taskDefinition"], *broken);
    assert_eq!(running(&last, &v1), 2);
    assert_eq!(service_deployment(&ecs, &deployment).await["status"], "STOPPED");
}

/// The Rally release: new tasks end again and again until the migration has run, the old ones serve, then the new ones start.
#[tokio::test]
async fn without_a_circuit_breaker_tasks_are_retried_until_they_start() {
    let script = ScriptedLauncher::new(DEPLOYED);
    let ecs = Ecs::new(script.clone(), settings());
    let v1 = steady(&ecs, json!({})).await;
    let broken = register(&ecs, "broken").await;
    let deployment = update(&ecs, &broken).await["currentServiceDeployment"].clone();
    for _ in 0..25 {
        let answer = service(&ecs).await;
        assert_eq!(running(&answer, &v1), 2);
        assert_eq!(answer["deployments"][0]["rolloutState"], "IN_PROGRESS");
    }
    let looping = service(&ecs).await;
    assert!(looping["deployments"][0]["failedTasks"].as_u64().unwrap() > 20);
    assert!(
        messages(&looping).iter().any(|m| m.contains("is unable to consistently start tasks successfully"))
    );
    assert_eq!(service_deployment(&ecs, &deployment).await["deploymentCircuitBreaker"]["status"], "DISABLED");

    script.set("broken", Behaviour::Healthy(0));
    let seen = until(&ecs, |s| s["deployments"][0]["rolloutState"] == "COMPLETED").await;
    assert_eq!(running(seen.last().unwrap(), &broken), 2);
    // "Once a service deployment has one or more successfully running tasks, the failed task count resets to zero"
    // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Deployment.html
    assert_eq!(seen.last().unwrap()["deployments"][0]["failedTasks"], 0);
    assert_eq!(service_deployment(&ecs, &deployment).await["status"], "SUCCESSFUL");
}

/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html>: "Minimum threshold <= 0.5 *
/// desired task count => maximum threshold", with its examples, and a configured threshold.
#[test]
fn circuit_breaker_threshold() {
    use crate::ecs::state::Config;
    let threshold = |desired, configuration| {
        let breaker = json!({"deploymentCircuitBreaker": {"thresholdConfiguration": configuration}});
        Config::new(&breaker, desired).threshold
    };
    assert_eq!([1, 6, 25, 400, 800].map(|desired| threshold(desired, Value::Null)), [3, 3, 13, 200, 200]);
    assert_eq!(threshold(10, json!({"type": "COUNT", "value": 1})), 1);
    assert_eq!(threshold(1000, json!({"type": "UNBOUNDED_PERCENT", "value": 100})), 1000);
}

/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html>
#[tokio::test]
async fn unknown_image_is_a_task_that_failed_to_start() {
    let script = ScriptedLauncher::new(DEPLOYED);
    let ecs = Ecs::new(script.clone(), settings());
    let v1 = steady(&ecs, breaker(true)).await;
    let missing = register(&ecs, "never-pushed").await;
    let deployment = update(&ecs, &missing).await["currentServiceDeployment"].clone();
    let seen = until(&ecs, |s| s["taskDefinition"] == *v1).await;
    assert!(seen.iter().all(|s| running(s, &v1) == 2));
    until(&ecs, |s| s["deployments"][0]["rolloutState"] == "COMPLETED").await;
    assert_eq!(service_deployment(&ecs, &deployment).await["status"], "ROLLBACK_SUCCESSFUL");
    let stopped = tasks(&ecs, "STOPPED").await;
    assert!(stopped.len() >= 3);
    for task in stopped {
        assert_eq!(task["stopCode"], "TaskFailedToStart");
        assert_eq!(task["stoppedReason"], "CannotPullContainerError: never-pushed: not found");
        assert_eq!(task["containers"][0]["reason"], task["stoppedReason"]);
        assert_eq!(task["containers"][0].get("exitCode"), None);
        assert_eq!(task.get("startedAt"), None);
    }
}

/// "`STOP_REQUESTED` when ... a user starts a new service deployment. The state moves to STOPPED":
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-deployment.html>; "ACTIVE: a service deployment that still has
/// running tasks, but are in the process of being replaced with a new PRIMARY deployment":
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Deployment.html>
#[tokio::test]
async fn second_update_supersedes_the_first() {
    let script = ScriptedLauncher::new(DEPLOYED);
    script.set("v2", Behaviour::NeverHealthy);
    let ecs = Ecs::new(script.clone(), settings());
    let v1 = steady(&ecs, json!({})).await;
    let (v2, v3) = (register(&ecs, "v2").await, register(&ecs, "v3").await);
    let first = update(&ecs, &v2).await;
    until(&ecs, |s| running(s, &v2) == 2).await;
    let second = update(&ecs, &v3).await;

    let summary: Vec<_> = second["deployments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| json!([d["status"], d["taskDefinition"], d["rolloutState"]]))
        .collect();
    assert_eq!(
        summary,
        [
            json!(["PRIMARY", v3, "IN_PROGRESS"]),
            json!(["ACTIVE", v2, "IN_PROGRESS"]),
            json!(["ACTIVE", v1, "COMPLETED"]),
        ]
    );
    let list = json!({"cluster": "prod", "service": "rally", "status": ["STOP_REQUESTED", "STOPPED"]});
    let stopped = ecs.call("ListServiceDeployments", list).await.unwrap();
    assert_eq!(stopped["serviceDeployments"][0]["serviceDeploymentArn"], first["currentServiceDeployment"]);

    let seen = until(&ecs, |s| s["deployments"][0]["rolloutState"] == "COMPLETED").await;
    for answer in &seen {
        assert!(running(answer, &v1) + running(answer, &v3) >= 2, "{answer:#}");
    }
    assert_eq!(running(seen.last().unwrap(), &v3), 2);
    assert_eq!(service_deployment(&ecs, &first["currentServiceDeployment"]).await["status"], "STOPPED");
    let second = service_deployment(&ecs, &second["currentServiceDeployment"]).await;
    assert_eq!(second["status"], "SUCCESSFUL");
    assert_eq!(second["sourceServiceRevisions"].as_array().unwrap().len(), 2);
}

/// After a superseded deployment the roll-back goes to the one that was COMPLETED, not to the one before.
#[tokio::test]
async fn rollback_skips_a_deployment_that_never_completed() {
    let script = ScriptedLauncher::new(DEPLOYED);
    script.set("v2", Behaviour::NeverHealthy);
    let ecs = Ecs::new(script.clone(), settings());
    let v1 = steady(&ecs, breaker(true)).await;
    let (v2, broken) = (register(&ecs, "v2").await, register(&ecs, "broken").await);
    update(&ecs, &v2).await;
    until(&ecs, |s| running(s, &v2) == 2).await;
    update(&ecs, &broken).await;
    let seen = until(&ecs, |s| s["deployments"].as_array().unwrap().len() == 1).await;
    assert_eq!(seen.last().unwrap()["taskDefinition"], *v1);
    assert!(seen.iter().all(|s| running(s, &v1) == 2));
}

/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stop-service-deployment.html>
#[tokio::test]
async fn deployment_can_be_rolled_back_on_request() {
    let script = ScriptedLauncher::new(DEPLOYED);
    script.set("v2", Behaviour::NeverHealthy);
    let ecs = Ecs::new(script.clone(), settings());
    let v1 = steady(&ecs, json!({})).await;
    let v2 = register(&ecs, "v2").await;
    let deployment = update(&ecs, &v2).await["currentServiceDeployment"].clone();
    until(&ecs, |s| running(s, &v2) == 2).await;
    let stop = json!({"serviceDeploymentArn": deployment, "stopType": "ROLLBACK"});
    let answer = ecs.call("StopServiceDeployment", stop.clone()).await.unwrap();
    assert_eq!(answer["serviceDeploymentArn"], deployment);
    // "ROLLBACK_REQUESTED - The service deployment continues the rollback operation."
    ecs.call("StopServiceDeployment", stop.clone()).await.unwrap();
    let mut states = Vec::new();
    while states.last() != Some(&json!("ROLLBACK_SUCCESSFUL")) {
        states.push(service_deployment(&ecs, &deployment).await["status"].clone());
        assert!(states.len() < 20, "{states:?}");
    }
    assert!(states.contains(&json!("ROLLBACK_IN_PROGRESS")));
    let last = service(&ecs).await;
    assert_eq!(last["taskDefinition"], *v1);
    assert_eq!(running(&last, &v1), 2);
    assert_eq!(last["deployments"].as_array().unwrap().len(), 1);
    assert_eq!(code(ecs.call("StopServiceDeployment", stop).await), "ConflictException");
    let unknown =
        json!({"serviceDeploymentArn": "arn:aws:ecs:us-east-1:123456789012:service-deployment/prod/rally/x"});
    assert_eq!(code(ecs.call("StopServiceDeployment", unknown).await), "ServiceDeploymentNotFoundException");
}

#[tokio::test]
async fn deployment_can_be_aborted() {
    let script = ScriptedLauncher::new(DEPLOYED);
    let ecs = Ecs::new(script.clone(), settings());
    let v1 = steady(&ecs, json!({})).await;
    let broken = register(&ecs, "broken").await;
    let deployment = update(&ecs, &broken).await["currentServiceDeployment"].clone();
    until(&ecs, |s| s["deployments"][0]["failedTasks"] == 4).await;
    let stop = json!({"serviceDeploymentArn": deployment, "stopType": "ABORT"});
    ecs.call("StopServiceDeployment", stop).await.unwrap();
    assert_eq!(service_deployment(&ecs, &deployment).await["status"], "STOPPED");
    let launched = script.launched().len();
    let last = service(&ecs).await;
    assert_eq!((script.launched().len(), running(&last, &v1)), (launched, 2));
}

/// Which updates start a deployment: <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html>
#[tokio::test]
async fn only_some_updates_start_a_deployment() {
    let script = ScriptedLauncher::new(DEPLOYED);
    let ecs = Ecs::new(script.clone(), settings());
    let v1 = steady(&ecs, json!({})).await;
    let id = service(&ecs).await["deployments"][0]["id"].clone();
    assert_eq!(update(&ecs, &v1).await["deployments"][0]["id"], id);

    let scale = json!({"cluster": "prod", "service": "rally", "desiredCount": 3});
    let scaled = ecs.call("UpdateService", scale).await.unwrap();
    assert_eq!(scaled["service"]["deployments"][0]["id"], id);
    let seen = until(&ecs, |s| s["runningCount"] == 3).await;
    assert_eq!(seen.last().unwrap()["deployments"][0]["desiredCount"], 3);
    let nothing = json!({"cluster": "prod", "service": "rally", "desiredCount": 0});
    ecs.call("UpdateService", nothing).await.unwrap();
    until(&ecs, |s| s["runningCount"] == 0).await;
    assert_eq!(script.alive(), [""; 0]);

    let force = json!({"cluster": "prod", "service": "rally", "desiredCount": 1, "forceNewDeployment": true});
    let forced = ecs.call("UpdateService", force).await.unwrap();
    assert_ne!(forced["service"]["deployments"][0]["id"], id);
    assert_eq!(forced["service"]["taskDefinition"], *v1);
    let seen = until(&ecs, |s| s["deployments"][0]["rolloutState"] == "COMPLETED").await;
    assert_eq!(seen.last().unwrap()["runningCount"], 1);
}

/// "you can't update an existing service to reference an INACTIVE task definition":
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeregisterTaskDefinition.html>
#[tokio::test]
async fn deregistered_revision_is_refused_and_keeps_running() {
    let ecs = Ecs::new(ScriptedLauncher::new(DEPLOYED), settings());
    let v1 = steady(&ecs, json!({})).await;
    let v2 = register(&ecs, "v2").await;
    ecs.call("DeregisterTaskDefinition", json!({"taskDefinition": v2})).await.unwrap();
    ecs.call("DeregisterTaskDefinition", json!({"taskDefinition": v1})).await.unwrap();
    for (revision, message) in
        [(v2.as_str(), "TaskDefinition is inactive"), ("rally-prod:9", "TaskDefinition not found.")]
    {
        let request = json!({"cluster": "prod", "service": "rally", "taskDefinition": revision});
        let error = ecs.call("UpdateService", request).await.unwrap_err();
        assert_eq!(error.body(), json!({"__type": "ClientException", "message": message}));
    }
    let unchanged = service(&ecs).await;
    assert_eq!(unchanged["taskDefinition"], *v1);
    assert_eq!(unchanged["runningCount"], 2);
}

#[tokio::test]
async fn task_that_ends_in_a_steady_state_is_replaced_and_is_no_failed_deployment() {
    let script = ScriptedLauncher::new(DEPLOYED);
    let ecs = Ecs::new(script.clone(), settings());
    steady(&ecs, breaker(true)).await;
    let running = tasks(&ecs, "RUNNING").await;
    let (crashed, stopped) =
        (running[0]["taskArn"].as_str().unwrap(), running[1]["taskArn"].as_str().unwrap());
    script.end(crashed, 137);
    let request = json!({"cluster": "prod", "task": stopped, "reason": "drill"});
    let answer = ecs.call("StopTask", request).await.unwrap();
    assert_eq!(answer["task"]["stopCode"], "UserInitiated");
    assert_eq!(answer["task"]["stoppedReason"], "drill");
    let seen = until(&ecs, |s| s["runningCount"] == 2).await;
    let last = seen.last().unwrap();
    assert_eq!(last["deployments"][0]["rolloutState"], "COMPLETED");
    assert_eq!(last["deployments"][0]["failedTasks"], 0);
    let described = json!({"cluster": "prod", "tasks": [crashed]});
    let crashed = ecs.call("DescribeTasks", described).await.unwrap();
    assert_eq!(crashed["tasks"][0]["containers"][0]["exitCode"], 137);
}

/// Killed in the middle of a roll-out and opened again, the same tasks run in new processes, and the roll-out goes on.
#[tokio::test]
async fn state_outlives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ecs.json");
    let script = ScriptedLauncher::new(DEPLOYED);
    let ecs = Ecs::open(&file, script.clone(), settings()).unwrap();
    let v1 = steady(&ecs, json!({"futureSetting": 1})).await;
    let v2 = register(&ecs, "v2").await;
    let updated = update(&ecs, &v2).await;
    let before = until(&ecs, |s| s["runningCount"] == 4).await.pop().unwrap();
    let (arns, earlier) = (script.alive(), script.launched().len());
    drop(ecs);
    assert_eq!(script.alive(), [""; 0], "processes must not outlive the stand-in");

    let ecs = Ecs::open(&file, script.clone(), settings()).unwrap();
    let mut relaunched = script.launched().split_off(earlier);
    relaunched.sort();
    assert_eq!(relaunched, arns);
    let after = until(&ecs, |s| s["runningCount"] == 4).await.pop().unwrap();
    assert_eq!(after["deployments"][0]["id"], before["deployments"][0]["id"]);
    assert_eq!(after["deploymentConfiguration"]["futureSetting"], 1);
    let seen = until(&ecs, |s| s["deployments"][0]["rolloutState"] == "COMPLETED").await;
    assert!(seen.iter().all(|s| running(s, &v1) + running(s, &v2) >= 2));
    assert_eq!(service_deployment(&ecs, &updated["currentServiceDeployment"]).await["status"], "SUCCESSFUL");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
}

#[tokio::test]
async fn file_that_is_no_state_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ecs.json");
    std::fs::write(&file, "{\"services\":").unwrap();
    assert!(Ecs::open(&file, ScriptedLauncher::default(), settings()).is_err());
}
