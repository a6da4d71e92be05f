use serde_json::json;
use testkit::front::{Effect, Fault, When};

use crate::world::{CLUSTER, REGION, Ran, SERVICE, World, repository};

const IN: &str = "rally-prod/rally-prod-service";

async fn deploy(world: &World, target: &str, more: &[&str]) -> Ran {
    let mut args = vec!["deploy-service", "--service", IN, "--task-definition", target, "--interval", "10ms"];
    args.extend(more);
    world.cutover(&args).await
}

fn good() -> String {
    repository("rally-prod", "@sha256:1111111111111111111111111111111111111111111111111111111111111111")
}

#[tokio::test]
async fn the_service_is_put_on_the_revision_and_back() {
    let world = World::start().await;
    let old = world.service().await["taskDefinition"].as_str().unwrap().to_owned();
    let new = world.register(&good()).await;
    world.front.forget();
    let out = deploy(&world, &new, &["--receipt", "r.json", "--format", "json"]).await.expect(0).json();
    assert_eq!(out["outputs"]["live-task-definition-arn"], new.as_str());
    assert_eq!(out["outputs"]["previous-task-definition-arn"], old.as_str());
    assert_eq!(world.writes(), ["ecs:UpdateService"]);
    let service = world.service().await;
    assert_eq!((&service["runningCount"], service["deployments"].as_array().unwrap().len()), (&json!(2), 1));
    assert_eq!(service["desiredCount"], 2);

    world.front.forget();
    let again = deploy(&world, &new, &["--format", "json"]).await.expect(0).json();
    assert_eq!(again["outputs"]["changed"], "false");
    assert!(world.writes().is_empty());

    let undone =
        world.cutover(&["deploy-service", "--undo", "r.json", "--format", "json"]).await.expect(0).json();
    assert_eq!(undone["outputs"]["live-task-definition-arn"], old.as_str());
    assert_eq!(world.service().await["taskDefinition"], old.as_str());
    world.front.forget();
    world.cutover(&["deploy-service", "--undo", "r.json"]).await.expect(0);
    assert!(world.writes().is_empty());
    assert!(world.front.unmatched().is_empty(), "{:?}", world.front.unmatched());
}

#[tokio::test]
async fn a_rolled_back_deployment_is_exit_5_with_the_tasks_reason() {
    let world = World::start().await;
    let old = world.service().await["taskDefinition"].as_str().unwrap().to_owned();
    let broken = world.register("broken@sha256:2").await;
    let ran = deploy(&world, &broken, &["--format", "json"]).await.expect(5);
    let out = ran.json();
    assert_eq!(out["outputs"]["rolled-back"], "true");
    assert_eq!(out["outputs"]["live-task-definition-arn"], old.as_str());
    ran.says(&[
        "ECS rolled the deployment back",
        "Essential container in task exited; container rally-prod-webapp exited with code 1",
        "state: rally-prod:1 serves",
    ]);
}

#[tokio::test]
async fn without_a_breaker_the_deadline_ends_it_and_undo_puts_the_old_one_back() {
    let world = World::start().await;
    let old = world.service().await["taskDefinition"].as_str().unwrap().to_owned();
    let off = json!({"deploymentCircuitBreaker": {"enable": false, "rollback": false}, "minimumHealthyPercent": 100, "maximumPercent": 200});
    world
        .call(
            "UpdateService",
            json!({"cluster": CLUSTER, "service": SERVICE, "deploymentConfiguration": off}),
        )
        .await;
    world.settle().await;
    let broken = world.register("broken@sha256:2").await;
    deploy(&world, &broken, &["--timeout", "2s", "--fail-after", "0", "--receipt", "r.json"])
        .await
        .expect(6)
        .says(&[
            "the deployment circuit breaker is off",
            "the deadline passed",
            "container rally-prod-webapp exited with code 1",
        ]);
    // Going on waiting makes no call; the way back is known from the world.
    world.front.forget();
    deploy(&world, &broken, &["--timeout", "1s", "--fail-after", "0", "--receipt", "second.json"])
        .await
        .expect(6)
        .says(&["go on following deployment"]);
    assert!(world.writes().is_empty());
    world.cutover(&["deploy-service", "--undo", "second.json"]).await.expect(0);
    assert_eq!(world.service().await["taskDefinition"], old.as_str());
}

#[tokio::test]
async fn the_way_back_needs_no_receipt() {
    let world = World::start().await;
    let old = world.service().await["taskDefinition"].as_str().unwrap().to_owned();
    let broken = world.register("broken@sha256:2").await;
    deploy(&world, &broken, &[]).await.expect(5);
    let new = world.register(&good()).await;
    deploy(&world, &new, &[]).await.expect(0);
    // The re-run of a job whose first run deployed: it changes nothing, so its receipt has nothing to take back.
    deploy(&world, &new, &["--receipt", "rerun.json"]).await.expect(0);
    let undone =
        world.cutover(&["deploy-service", "--undo", "rerun.json", "--format", "json"]).await.expect(0);
    assert!(undone.json()["headline"].as_str().unwrap().contains("--action roll-back"), "{undone:?}");
    world.front.forget();
    let back = deploy(&world, &new, &["--action", "roll-back", "--format", "json", "--receipt", "b.json"])
        .await
        .expect(0);
    let out = back.json();
    // Not to the revision before by number, which never ran.
    assert_eq!(out["outputs"]["live-task-definition-arn"], old.as_str());
    assert_eq!(world.writes(), ["ecs:UpdateService"]);
    world.front.forget();
    let again = deploy(&world, &new, &["--action", "roll-back", "--format", "json"]).await.expect(0).json();
    assert_eq!(again["outputs"]["changed"], "false");
    assert!(world.writes().is_empty());
    // And that can be taken back, too.
    world.cutover(&["deploy-service", "--undo", "b.json"]).await.expect(0);
    assert_eq!(world.service().await["taskDefinition"], new.as_str());
}

#[tokio::test]
async fn a_deployment_that_goes_on_is_rolled_back_by_ecs_and_followed() {
    let world = World::start().await;
    let old = world.service().await["taskDefinition"].as_str().unwrap().to_owned();
    let off = json!({"deploymentCircuitBreaker": {"enable": false, "rollback": false}, "minimumHealthyPercent": 100, "maximumPercent": 200});
    let configured = json!({"cluster": CLUSTER, "service": SERVICE, "deploymentConfiguration": off});
    world.call("UpdateService", configured).await;
    world.settle().await;
    let broken = world.register("broken@sha256:2").await;
    deploy(&world, &broken, &[]).await.expect(5).says(&[
        "tasks stopped for the same reason, and none has been healthy since",
        "--action roll-back",
        "rally-prod:1 serves",
    ]);
    world.front.forget();
    let back = deploy(&world, &broken, &["--action", "roll-back", "--format", "json"]).await.expect(0).json();
    assert_eq!(back["outputs"]["rolled-back"], "true");
    assert_eq!(back["outputs"]["live-task-definition-arn"], old.as_str());
    assert_eq!(world.writes(), ["ecs:StopServiceDeployment"]);
    assert_eq!(world.service().await["taskDefinition"], old.as_str());
}

#[tokio::test]
async fn somebody_elses_deployment_is_neither_success_nor_failure() {
    let world = World::start().await;
    let new = world.register(&good()).await;
    let theirs = world
        .register(&repository(
            "rally-prod",
            "@sha256:3333333333333333333333333333333333333333333333333333333333333333",
        ))
        .await;
    let hold = world.front.hold("ecs:DescribeServices#3", When::BeforeForward);
    let ran = deploy(&world, &new, &[]);
    let meddle = async {
        hold.arrived().await;
        world
            .call("UpdateService", json!({"cluster": CLUSTER, "service": SERVICE, "taskDefinition": theirs}))
            .await;
        hold.release();
    };
    let (ran, ()) = tokio::join!(ran, meddle);
    ran.expect(7).says(&["took the place of", "rally-prod:3"]);
}

#[tokio::test]
async fn somebody_elses_deployment_in_progress_is_not_run_over() {
    let world = World::start().await;
    let theirs = world.register(&good()).await;
    let ours = world.register(&good().replace('1', "5")).await;
    world
        .call("UpdateService", json!({"cluster": CLUSTER, "service": SERVICE, "taskDefinition": theirs}))
        .await;
    world.front.forget();
    deploy(&world, &ours, &[]).await.expect(3).says(&["is in progress", "wait for it to end"]);
    assert!(world.writes().is_empty());
}

#[tokio::test]
async fn killed_after_the_call_the_same_command_follows_the_same_deployment() {
    let world = World::start().await;
    let new = world.register(&good()).await;
    world.front.forget();
    let hold = world.front.hold("ecs:UpdateService", When::AfterEffect);
    let args = [
        "deploy-service",
        "--service",
        IN,
        "--task-definition",
        &new,
        "--interval",
        "10ms",
        "--receipt",
        "r.json",
    ];
    let mut child = world.command(&args).spawn().unwrap();
    hold.arrived().await;
    child.kill().await.unwrap();
    drop(hold);
    let receipt: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(world.path("r.json")).unwrap()).unwrap();
    assert_eq!(receipt["actions"][0]["state"], "started");
    world.front.set_faults([]);
    world.cutover(&args).await.expect(0);
    assert_eq!(world.writes(), ["ecs:UpdateService"]);
    assert_eq!(world.service().await["taskDefinition"], new.as_str());
}

#[tokio::test]
async fn a_cancelled_run_writes_its_receipt_and_says_so() {
    let world = World::start().await;
    let new = world.register(&good()).await;
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let hold = world.front.hold("ecs:DescribeServices#2", When::BeforeForward);
        let mut command = world.command(&[
            "deploy-service",
            "--service",
            IN,
            "--task-definition",
            &new,
            "--receipt",
            "r.json",
        ]);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let child = command.spawn().unwrap();
        let pid = child.id().unwrap().to_string();
        hold.arrived().await;
        assert!(tokio::process::Command::new("kill").args([signal, &pid]).status().await.unwrap().success());
        let output = child.wait_with_output().await.unwrap();
        drop(hold);
        world.front.set_faults([]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains("cancelled by SIG"), "{stderr}");
        let receipt: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(world.path("r.json")).unwrap()).unwrap();
        assert_eq!(receipt["verdict"]["code"], code);
    }
}

#[tokio::test]
async fn transient_errors_while_waiting_do_not_end_it() {
    let world = World::start().await;
    let new = world.register(&good()).await;
    world.front.add_fault(
        Fault::new(
            "ecs:DescribeServices#3",
            Effect::Error { status: 500, code: "ServerException".into(), message: "oops".into() },
        )
        .times(6),
    );
    deploy(&world, &new, &[]).await.expect(0);
    assert_eq!(world.service().await["taskDefinition"], new.as_str());
}

#[tokio::test]
async fn what_cannot_be_deployed_is_refused() {
    let world = World::start().await;
    world.front.forget();
    let arn = format!("arn:aws:ecs:{REGION}:123456789012:task-definition/rally-prod:77");
    deploy(&world, &arn, &[]).await.expect(3).says(&["there is no such revision", "register-task-def"]);
    deploy(&world, "rally-prod", &[]).await.expect(2).says(&["full ARN"]);
    let stuck = json!({"minimumHealthyPercent": 100, "maximumPercent": 100});
    world
        .call(
            "UpdateService",
            json!({"cluster": CLUSTER, "service": SERVICE, "deploymentConfiguration": stuck}),
        )
        .await;
    world.settle().await;
    let new = world.register(&good()).await;
    world.front.forget();
    deploy(&world, &new, &[]).await.expect(3).says(&["no task can ever be replaced"]);
    assert!(world.writes().is_empty());
}

#[tokio::test]
async fn a_denied_update_changes_nothing_and_says_what_is_missing() {
    let world = World::start().await;
    let new = world.register(&good()).await;
    world.front.add_fault(Fault::access_denied("ecs:UpdateService"));
    deploy(&world, &new, &["--receipt", "r.json"])
        .await
        .expect(1)
        .says(&["allow `ecs:UpdateService`", "state: nothing was changed"]);
}
