//! `deploy-service` in situations that no emulator can be brought into: each a state machine in `tests/scenarios/deploy`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::front::{Call, Fault, Front};
use testkit::scenario::Scenario;
use tokio::process::Command;

use crate::world::{ACCOUNT, REGION, Ran, run, scrubbed};

pub(crate) const IN: &str = "rally-prod/rally-prod-service";

pub(crate) struct Stage {
    pub(crate) front: Front,
    pub(crate) scenario: Scenario,
    pub(crate) dir: TempDir,
}

fn revision(number: u32) -> String {
    format!("arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/rally-prod:{number}")
}

impl Stage {
    async fn of(scenario: Scenario) -> Self {
        let front = scenario.serve(Front::builder()).start().await.expect("the front starts");
        front.set_faults(scenario.faults());
        Self { front, scenario, dir: tempfile::tempdir().expect("a folder") }
    }

    pub(crate) async fn load(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/scenarios/deploy/{name}.json"));
        Self::of(Scenario::load(&path).expect("a scenario")).await
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = scrubbed(env!("CARGO_BIN_EXE_cutover"), self.dir.path());
        command
            .args(args)
            .env("AWS_ENDPOINT_URL", self.front.url())
            .env("AWS_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "planted-secret-key");
        command
    }

    async fn cutover(&self, args: &[&str]) -> Ran {
        let step = ["deploy-service", "--interval", "10ms", "--format", "json"];
        run(self.command(&[&step, args].concat())).await
    }

    /// Puts the service on revision 8.
    async fn deploy(&self, more: &[&str]) -> Ran {
        let revision = revision(8);
        let mut args = vec!["--service", IN, "--task-definition", &revision];
        args.extend(more);
        self.cutover(&args).await
    }

    fn writes(&self) -> Vec<String> {
        self.front.writes().iter().map(Call::name).collect()
    }

    /// Every call was foreseen, and everything foreseen was called.
    fn is_played(&self) {
        assert!(self.front.unmatched().is_empty(), "{:?}", self.front.unmatched());
        assert!(self.scenario.unused().is_empty(), "{}: {:?}", self.scenario.title(), self.scenario.unused());
    }
}

fn outputs(ran: &Ran) -> Value {
    ran.json()["outputs"].clone()
}

#[tokio::test]
async fn a_deployment_that_ends_well_is_done_when_its_tasks_serve_alone() {
    let stage = Stage::load("success").await;
    let ran = stage.deploy(&[]).await.expect(0);
    let out = outputs(&ran);
    assert_eq!(out["status"], "SUCCESSFUL");
    assert_eq!(out["deployment-id"], "ecs-svc/1000000000000000008");
    assert!(out["service-deployment-arn"].as_str().unwrap().ends_with("/rally-prod-service/new"), "{out}");
    assert_eq!(out["rolled-back"], "false");
    assert_eq!(out["live-task-definition-arn"], revision(8).as_str());
    let ran = ran.says(&["2 pending", "1 of earlier revisions still running", "has reached a steady state"]);
    // Each event once, oldest first.
    assert_eq!(ran.stderr.matches("has started 2 tasks").count(), 1, "{}", ran.stderr);
    assert!(ran.stderr.find("has started 2 tasks") < ran.stderr.find("has stopped 1 running tasks"));
    assert_eq!(stage.writes(), ["ecs:UpdateService"]);
    stage.is_played();
}

#[tokio::test]
async fn the_breakers_roll_back_is_exit_5_with_its_reasons() {
    let stage = Stage::load("breaker-rollback").await;
    let ran = stage.deploy(&[]).await.expect(5);
    let out = outputs(&ran);
    assert_eq!((&out["status"], &out["rolled-back"]), (&json!("ROLLBACK_SUCCESSFUL"), &json!("true")));
    assert_eq!(out["live-task-definition-arn"], revision(7).as_str());
    assert!(
        out["failure-reason"].as_str().unwrap().starts_with("3 tasks: Essential container in task exited"),
        "{out}"
    );
    let ran = ran.says(&[
        "warning: ECS is rolling deployment ecs-svc/1000000000000000008 back",
        "ECS rolled the deployment back: Service deployment rolled back because the circuit breaker threshold was exceeded; circuit breaker: failures 3, threshold 3",
        "stopped: 3 tasks: Essential container in task exited; container web exited with code 1",
        "no log: container web has no log configuration",
        "rally-prod:7 serves",
    ]);
    assert_eq!(ran.stderr.matches("warning: ECS is rolling").count(), 1, "{}", ran.stderr);
    stage.is_played();
}

#[tokio::test]
async fn a_failure_without_roll_back_ends_at_once_and_says_how_to_go_back() {
    let stage = Stage::load("failed-without-rollback").await;
    let ran = stage.deploy(&[]).await.expect(5);
    assert_eq!(outputs(&ran)["status"], "STOPPED");
    assert_eq!(outputs(&ran)["rolled-back"], "false");
    ran.says(&[
        "does not roll it back",
        "ECS gave the deployment up and did not roll it back: The circuit breaker threshold was exceeded; circuit",
        "3 tasks: CannotPullContainerError",
        "the image does not exist in the registry",
        "--action roll-back",
        "rally-prod:7 serves",
    ]);
    stage.is_played();
}

#[tokio::test]
async fn somebody_elses_deployment_supersedes_ours() {
    let stage = Stage::load("superseded").await;
    stage.deploy(&[]).await.expect(7).says(&[
        "deployment ecs-svc/1000000000000000009 to rally-prod:9 took the place of ecs-svc/1000000000000000008",
        "find out who deployed",
    ]);
    stage.is_played();
}

#[tokio::test]
async fn somebody_elses_deployment_that_goes_on_is_not_run_over() {
    let stage = Stage::load("foreign-running").await;
    stage.deploy(&[]).await.expect(3).says(&[
        "deployment ecs-svc/1000000000000000009 to rally-prod:9 is in progress (IN_PROGRESS)",
        "wait for it to end",
        "nothing was changed",
    ]);
    assert!(stage.writes().is_empty());
    stage.is_played();
}

#[tokio::test]
async fn a_deployment_that_gets_nowhere_ends_at_the_deadline() {
    let stage = Stage::load("stuck").await;
    let ran = stage.deploy(&["--timeout", "2s"]).await.expect(6);
    assert_eq!(outputs(&ran)["status"], "IN_PROGRESS");
    ran.says(&[
        "the deployment circuit breaker is off",
        "there is no capacity for a task",
        "the deadline passed; it was last seen so: 0 of 2 running, 2 of earlier revisions still running",
        "the deployment goes on without this run",
        "run the same command again to go on waiting",
        "roll it back: deploy-service --service rally-prod/rally-prod-service",
        "rally-prod:7 serves",
    ]);
    stage.is_played();
}

#[tokio::test]
async fn a_pause_is_exit_7_with_the_commands_that_end_it() {
    let stage = Stage::load("pause").await;
    let ran = stage.deploy(&[]).await.expect(7);
    assert_eq!(outputs(&ran)["hook-id"], "hook-0123456789");
    // As many tasks of either run, and the production traffic is on the old one.
    assert_eq!(outputs(&ran)["live-task-definition-arn"], revision(7).as_str());
    ran.says(&[
        "the deployment strategy is BLUE_GREEN",
        "the deployment pauses for a person at POST_TEST_TRAFFIC_SHIFT",
        "stage SCALE_UP (3 of 11)",
        "it waits for a person at its pause (hook hook-0123456789) until 2026-",
        "when ECS rolls it back",
        "--action continue",
        "--action roll-back",
    ]);
    stage.is_played();
}

#[tokio::test]
async fn a_paused_deployment_is_let_go_on_and_followed() {
    let stage = Stage::load("pause-continued").await;
    let revision = revision(8);
    let args = ["--service", IN, "--task-definition", &revision, "--action", "continue"];
    let ran = stage.cutover(&args).await.expect(0);
    assert_eq!(outputs(&ran)["status"], "SUCCESSFUL");
    ran.says(&[
        "stage PRODUCTION_TRAFFIC_SHIFT (8 of 11)",
        "50 % of the production traffic",
        "stage BAKE_TIME (10 of 11)",
    ]);
    assert_eq!(stage.writes(), ["ecs:ContinueServiceDeployment"]);
    // Again: there is nothing to continue any more.
    stage.cutover(&args).await.expect(0).says(&["the deployment does not wait at a pause"]);
    assert_eq!(stage.writes(), ["ecs:ContinueServiceDeployment"]);
    stage.is_played();
}

#[tokio::test]
async fn a_deadline_before_the_end_of_the_bake_time_is_refused() {
    let stage = Stage::load("pause").await;
    stage.deploy(&["--timeout", "4m"]).await.expect(3).says(&[
        "its BLUE_GREEN deployment bakes for 5 minutes, and the deadline is in 4 minutes",
        "--timeout 35m",
    ]);
    assert!(stage.writes().is_empty());
}

#[tokio::test]
async fn without_the_newer_calls_the_deployments_own_id_decides_and_that_is_said() {
    let stage = Stage::load("newer-calls-denied").await;
    let ran = stage.deploy(&[]).await.expect(0);
    assert_eq!(outputs(&ran)["status"], "SUCCESSFUL");
    assert!(outputs(&ran).get("service-deployment-arn").is_none());
    ran.says(&[
        "warning: ecs:DescribeServiceDeployments is denied: the deployment's own id decides",
        "allow ecs:DescribeServiceDeployments, ecs:ListServiceDeployments and ecs:DescribeServiceRevisions",
    ]);
    stage.is_played();
}

#[tokio::test]
async fn throttling_in_bursts_and_broken_connections_do_not_end_the_wait() {
    let stage = Stage::load("success").await;
    // More in a row than the SDK retries within one call.
    stage.front.add_fault(Fault::throttle("ecs:DescribeServices#3").times(6));
    stage.front.add_fault(
        Fault::error("ecs:DescribeServiceDeployments#4", 503, "ServiceUnavailable", "Service is unavailable")
            .times(6),
    );
    stage.deploy(&[]).await.expect(0).says(&["could not look", "Rate exceeded"]);
    assert_eq!(stage.writes(), ["ecs:UpdateService"]);
}

#[tokio::test]
async fn what_ecs_does_not_show_yet_is_no_verdict() {
    let stage = Stage::load("missing-at-first").await;
    stage
        .deploy(&[])
        .await
        .expect(0)
        .says(&["ECS does not show the service", "the service does not show the deployment yet"]);
    stage.is_played();
}

#[tokio::test]
async fn every_page_is_read() {
    let stage = Stage::load("three-pages").await;
    let ran = stage.deploy(&[]).await.expect(0);
    assert!(outputs(&ran)["service-deployment-arn"].as_str().unwrap().ends_with("/new"));
    stage.is_played();
}

#[tokio::test]
async fn completed_with_none_running_is_not_done() {
    let stage = Stage::load("completed-with-none-running").await;
    stage.deploy(&["--timeout", "2s"]).await.expect(6).says(&["0 of 1 running", "nothing serves"]);
    stage.is_played();
}

#[tokio::test]
async fn a_release_that_cannot_start_is_reported_at_the_third_stop() {
    let stage = Stage::load("cannot-start").await;
    let ran = stage.deploy(&[]).await.expect(5);
    assert_eq!(outputs(&ran)["status"], "IN_PROGRESS");
    ran.says(&[
        "warning: task x1 stopped: Essential container in task exited; container web exited with code 255",
        "  | exec /usr/local/bin/rally: exec format error",
        "3 tasks stopped for the same reason, and none has been healthy since",
        "the image is built for another processor architecture",
        "log of web: exec /usr/local/bin/rally: exec format error",
        "ECS goes on starting tasks",
        "--action roll-back",
    ]);
    assert_eq!(stage.writes(), ["ecs:UpdateService"]);
    stage.is_played();
}

#[tokio::test]
async fn a_release_that_cannot_start_is_rolled_back_when_that_was_asked_for() {
    let stage = Stage::load("cannot-start-rolled-back").await;
    let ran = stage.deploy(&["--on-failure", "roll-back"]).await.expect(5);
    assert_eq!(outputs(&ran)["rolled-back"], "true");
    assert_eq!(outputs(&ran)["live-task-definition-arn"], revision(7).as_str());
    assert!(!ran.stderr.contains("goes on without this run"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("help: roll it back"), "{}", ran.stderr);
    ran.says(&[
        "if it fails: roll it back",
        "this run rolled it back, and that was followed to its end",
        "rally-prod:7 serves",
    ]);
    assert_eq!(stage.writes(), ["ecs:UpdateService", "ecs:StopServiceDeployment"]);
    stage.is_played();
}

#[tokio::test]
async fn a_failing_health_check_is_said_in_the_load_balancers_words() {
    let stage = Stage::load("unhealthy-target").await;
    stage.deploy(&[]).await.expect(5).says(&[
        "the load balancer: 1 target of rally: Target.ResponseCodeMismatch (Health checks failed with these codes: [502])",
        "the load balancer's health check failed: check path, port",
    ]);
    stage.is_played();
}

#[tokio::test]
async fn the_number_of_tasks_is_set_and_restored_exactly_from_any_machine() {
    let stage = Stage::load("scale").await;
    let scale = async |to: &str| stage.cutover(&["--service", IN, "--scale", to]).await.expect(0);
    let down = scale("0").await;
    assert_eq!(
        (&outputs(&down)["desired-count"], &outputs(&down)["previous-desired-count"]),
        (&json!("0"), &json!("2"))
    );
    down.says(&[
        "count=2 in=false out=false scheduled=true left=0 since=",
        "scaling in, scaling out, scheduled scaling suspended",
        "put the maintenance page up before",
    ]);
    let order = ["ecs:TagResource", "application-autoscaling:RegisterScalableTarget", "ecs:UpdateService"];
    assert_eq!(stage.writes(), order);
    assert_eq!(outputs(&scale("0").await)["changed"], "false");
    stage.front.forget();
    // No receipt, no state of the first run: only what the world knows.
    scale("restore").await;
    let order = ["ecs:UpdateService", "application-autoscaling:RegisterScalableTarget", "ecs:UntagResource"];
    assert_eq!(stage.writes(), order);
    stage.front.forget();
    scale("restore").await.says(&["there is nothing kept to restore"]);
    assert!(stage.writes().is_empty());
    stage.is_played();
}

#[tokio::test]
async fn scaling_is_taken_back_with_its_receipt_and_only_from_what_it_left() {
    let stage = Stage::load("scale").await;
    stage.cutover(&["--service", IN, "--scale", "0", "--receipt", "r.json"]).await.expect(0);
    stage.front.forget();
    stage.cutover(&["--undo", "r.json"]).await.expect(0).says(&["from 0 to 2"]);
    let order = ["ecs:UpdateService", "application-autoscaling:RegisterScalableTarget", "ecs:UntagResource"];
    assert_eq!(stage.writes(), order);
    stage.front.forget();
    stage.cutover(&["--undo", "r.json"]).await.expect(0);
    assert!(stage.writes().is_empty());
    stage.is_played();
}

#[tokio::test]
async fn what_another_release_has_scaled_is_left_alone() {
    let stage = Stage::load("scale").await;
    let scale = async |release: &str, to: &str, more: &[&str]| {
        stage.cutover(&[&["--service", IN, "--release", release, "--scale", to], more].concat()).await
    };
    scale("v1.0.0", "0", &["--receipt", "first.json"]).await.expect(0);
    stage.front.forget();
    for to in ["0", "restore"] {
        scale("v1.1.0", to, &[]).await.expect(3).says(&[
            "v1.0.0, since ",
            "has set it to 0 and kept that it was 2; it is 0",
            "--scale restore --release 'v1.0.0'",
        ]);
    }
    assert!(stage.writes().is_empty());
    scale("v1.0.0", "restore", &[]).await.expect(0);
    scale("v1.1.0", "0", &[]).await.expect(0);
    stage.front.forget();
    // The receipt of the first release, in the middle of the second one's maintenance: the number fits, and is not its own.
    let undo = stage.cutover(&["--undo", "first.json"]).await.expect(3);
    undo.says(&["is not what that run left: `count=2", "by=v1.1.0`"]);
    assert!(stage.writes().is_empty());
    scale("v1.1.0", "forget", &[]).await.expect(0).says(&["is suspended, and stays so"]);
    assert_eq!(stage.writes(), ["ecs:UntagResource"]);
    stage.front.forget();
    stage.cutover(&["--undo", "first.json"]).await.expect(3).says(&["is gone"]);
    assert!(stage.writes().is_empty());
}

/// From the poll that shows the terminal state to the exit.
#[tokio::test]
async fn the_end_is_told_within_a_second() {
    let stage = Stage::load("failed-without-rollback").await;
    let watch = async {
        let hold = stage.front.hold("ecs:DescribeServiceDeployments#4", testkit::front::When::BeforeForward);
        hold.arrived().await;
        hold.release();
        Instant::now()
    };
    let (ran, shown) = tokio::join!(stage.deploy(&[]), watch);
    let took = shown.elapsed();
    ran.expect(5);
    assert!(took < Duration::from_secs(1), "{took:?}");
}

/// Services as AWS answered for them, recorded by cloud-custodian's tests; read where they lie, and skipped where they don't.
fn recorded() -> Vec<(String, Value)> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/inputs");
    let root = std::env::var_os("CUTOVER_INPUTS").map_or_else(beside, PathBuf::from);
    let folder = root.join("cloud-custodian+cloud-custodian/tests/data/placebo");
    let mut found = Vec::new();
    for test in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
        for file in std::fs::read_dir(test.path()).into_iter().flatten().flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            if !name.starts_with("ecs.DescribeServices_") {
                continue;
            }
            let text = std::fs::read_to_string(file.path()).expect("a recorded answer");
            let answer: Value = serde_json::from_str(&text).expect("JSON");
            for service in answer["data"]["services"].as_array().into_iter().flatten() {
                found.push((
                    format!("{}/{name}", test.file_name().to_string_lossy()),
                    without_classes(service),
                ));
            }
        }
    }
    found
}

/// Placebo writes a time as `{"__class__": "datetime", "year": ..}`; the wire has seconds since the epoch.
fn without_classes(value: &Value) -> Value {
    match value {
        Value::Object(map) if map.contains_key("__class__") => json!(1_500_000_000),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), without_classes(value))).collect(),
        Value::Array(items) => items.iter().map(without_classes).collect(),
        other => other.clone(),
    }
}

#[tokio::test]
async fn recorded_services_get_the_right_verdict() {
    let recorded = recorded();
    if recorded.is_empty() {
        eprintln!("SKIPPED: the recorded services are not here (CUTOVER_INPUTS)");
        return;
    }
    for (name, service) in recorded {
        let text = |key: &str| service[key].as_str().unwrap_or_default().to_owned();
        let revision = text("taskDefinition");
        let cluster = text("clusterArn").rsplit('/').next().unwrap_or_default().to_owned();
        let count = |key: &str| service[key].as_u64().unwrap_or_default();
        let tasks: Vec<String> = (0..count("runningCount"))
            .map(|n| format!("arn:aws:ecs:{REGION}:{ACCOUNT}:task/{cluster}/{n}"))
            .collect();
        let described: Vec<Value> = tasks
            .iter()
            .map(|arn| json!({"taskArn": arn, "taskDefinitionArn": revision, "lastStatus": "RUNNING"}))
            .collect();
        let answer = |call: Value, answer: Value| json!({"call": call, "answer": answer, "source": name});
        let scenario = json!({
            "title": name, "account": ACCOUNT,
            "answers": [
                answer(json!("ecs:DescribeServices"), json!({"services": [service], "failures": []})),
                answer(
                    json!("ecs:DescribeTaskDefinition"),
                    json!({"taskDefinition": {"taskDefinitionArn": revision, "status": "ACTIVE"}}),
                ),
                answer(
                    json!({"service": "ecs", "operation": "ListTasks", "fields": {"desiredStatus": "RUNNING"}}),
                    json!({"taskArns": tasks}),
                ),
                answer(json!("ecs:ListTasks"), json!({"taskArns": []})),
                answer(json!("ecs:DescribeTasks"), json!({"tasks": described})),
                answer(json!("ecs:ListServiceDeployments"), json!({"serviceDeployments": []})),
            ],
        });
        let stage = Stage::of(Scenario::parse(&scenario.to_string()).expect("a scenario")).await;
        let of = format!("{cluster}/{}", text("serviceName"));
        let ran =
            stage.cutover(&["--service", &of, "--task-definition", &revision, "--timeout", "500ms"]).await;
        let deployments = service["deployments"].as_array().map_or(0, Vec::len);
        let in_progress = service["deployments"][0]["rolloutState"] == "IN_PROGRESS";
        let wanted = if text("status") != "ACTIVE" {
            3
        } else if in_progress || deployments > 1 || count("runningCount") < count("desiredCount") {
            6
        } else {
            0
        };
        assert_eq!(ran.code, wanted, "{name}\n{}", ran.stderr);
        assert!(stage.writes().is_empty(), "{name}");
    }
}

/// A run that was killed and is started again must not take the good revision for the bad one and go back to that.
#[tokio::test]
async fn rolling_back_says_which_revision_to_leave() {
    let stage = Stage::load("success").await;
    let ran = stage.cutover(&["--service", IN, "--action", "roll-back"]).await.expect(2);
    ran.says(&["--task-definition does not say which revision to leave", "state: nothing was changed"]);
    assert_eq!(stage.writes(), Vec::<String>::new());
}
