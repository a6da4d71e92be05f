//! `run-migration --task`: what a user sees of a migration that runs as a one-off ECS task.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::ecs::{Behaviour, Ecs, ScriptedLauncher, Settings};
use testkit::front::{Call, Fault, Front, When};
use testkit::moto::Moto;
use testkit::scenario::Scenario;
use tokio::process::Command;

use crate::world::{ACCOUNT, REGION, Ran, client, run, scrubbed, shared_emulator};

const REVISION: &str = "arn:aws:ecs:us-east-1:123456789012:task-definition/rally-migrate:7";
const TASK: &str = "arn:aws:ecs:us-east-1:123456789012:task/rally-prod/0123456789abcdef0123456789abcdef";

/// A scenario with a front of its own, and nothing behind it.
struct Stage {
    scenario: Scenario,
    front: Front,
    dir: TempDir,
}

impl Stage {
    async fn set(name: &str) -> Self {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/scenarios/run-task/{name}.json"));
        let scenario = Scenario::load(&path).expect("a scenario");
        let front = scenario.serve(Front::builder()).start().await.expect("the front starts");
        front.set_faults(scenario.faults());
        Self { scenario, front, dir: tempfile::tempdir().expect("a folder") }
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = scrubbed(env!("CARGO_BIN_EXE_cutover"), self.dir.path());
        command
            .args(["run-migration", "--task", REVISION, "--like-service", "rally-prod/rally-prod-service"])
            .args(["--without-backup", "rally", "--interval", "10ms", "--log-quiet", "200ms"])
            .args(more)
            .env("AWS_ENDPOINT_URL", self.front.url())
            .env("AWS_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "planted-secret-key");
        command
    }

    async fn run(&self, more: &[&str]) -> Ran {
        run(self.command(more)).await
    }

    /// Every call was foreseen, and everything foreseen was called.
    fn ends(&self) {
        assert_eq!(self.front.unmatched(), Vec::<String>::new());
        assert_eq!(self.scenario.unused(), Vec::<String>::new(), "{}", self.scenario.title());
    }

    fn calls(&self, name: &str) -> Vec<Call> {
        self.front.calls().into_iter().filter(|call| call.name() == name).collect()
    }
}

#[tokio::test]
async fn a_migration_runs_to_its_end_with_its_log() {
    let stage = Stage::set("success").await;
    let command = r#"["rails","db:migrate"]"#;
    let mut started = stage.command(&[
        "--command",
        command,
        "--env",
        "MODE=a=b",
        "--format",
        "json",
        "--receipt",
        "r.json",
    ]);
    started.env("GITHUB_ACTIONS", "true").env("GITHUB_REPOSITORY", "acme/rally").env("GITHUB_RUN_ID", "42");
    let ran = run(started).await.expect(0).says(&[
        "start a task of rally-migrate:7 that runs the migration",
        "subnets subnet-0a1b2c3d4e5f60718; security groups sg-0a1b2c3d4e5f60718; public address disabled",
        "launch type FARGATE, platform 1.4.0",
        r#"migrate: command ["rails","db:migrate"]"#,
        "migrate: environment MODE",
        "no backup of rally is asked for",
        "it is PENDING",
        "  | == 001 consent: migrated (3.9 s)",
        "the log has 3 lines",
    ]);
    // What the container wrote can't give the runner a command, neither in front of the line nor inside of it.
    let lines: Vec<&str> = ran.stderr.lines().collect();
    let at = lines.iter().position(|line| line.contains("not a command of the workflow")).expect("the line");
    assert!(lines[at - 1].starts_with("::stop-commands::"), "{lines:#?}");
    assert!(lines[at].starts_with("  | ::error::"), "{lines:#?}");
    assert!(!ran.stderr.contains("a=b"), "a variable's value is not shown:\n{}", ran.stderr);
    let out = ran.json();
    assert_eq!(out["changed"], true);
    let outputs = &out["outputs"];
    assert_eq!(outputs["task-arn"], TASK);
    assert_eq!(outputs["exit-code"], "0");
    assert_eq!(outputs["stop-code"], "EssentialContainerExited");
    assert_eq!(outputs["log-group"], "/ecs/rally-migrate");
    assert_eq!(outputs["log-stream"], "ecs/migrate/0123456789abcdef0123456789abcdef");
    let [call] = &stage.calls("ecs:RunTask")[..] else { panic!("one RunTask") };
    let sent = &call.request;
    assert_eq!(sent["overrides"]["containerOverrides"][0]["environment"][0]["value"], "a=b");
    assert_eq!(sent["launchType"], "FARGATE");
    assert_eq!(sent["capacityProviderStrategy"], Value::Null);
    assert_eq!(sent["networkConfiguration"]["awsvpcConfiguration"]["assignPublicIp"], "DISABLED");
    assert!(sent["clientToken"].as_str().is_some_and(|token| (1..=64).contains(&token.len())));
    let started_by = sent["startedBy"].as_str().expect("startedBy");
    assert!(
        started_by.len() <= 128 && started_by.chars().all(|c| c.is_ascii_alphanumeric() || "-_/".contains(c))
    );
    stage.ends();
}

#[tokio::test]
async fn a_sidecar_that_fails_is_told_and_does_not_decide() {
    let stage = Stage::set("sidecar-exits-1").await;
    stage.run(&[]).await.expect(0).says(&["container log-router ended with exit code 1; it does not decide"]);
    stage.ends();
}

#[tokio::test]
async fn the_containers_own_exit_code_is_an_output_and_ours_is_4() {
    let stage = Stage::set("exit-code-3").await;
    let ran = stage.run(&["--format", "json"]).await.expect(4).says(&[
        "error: run the migration as task 0123456789abcdef0123456789abcdef, container migrate",
        "because: container migrate ended with exit code 3: Essential container in task exited",
        "  | relation \"consent\" already exists",
        "run the same command again",
    ]);
    assert_eq!(ran.json()["outputs"]["exit-code"], "3");
    stage.ends();
}

#[tokio::test]
async fn a_task_that_ends_without_a_verdict_is_not_a_success() {
    for (name, code, why) in [
        ("null-exit-code", 5, "container migrate ended without an exit code"),
        (
            "spot-interruption",
            5,
            "AWS took back the Spot capacity under the task: Your Spot Task was interrupted.",
        ),
        ("failed-to-start", 4, "the task failed to start: CannotPullContainerError"),
    ] {
        let stage = Stage::set(name).await;
        let ran = stage.run(&[]).await.expect(code).says(&[why, TASK]);
        let never = ran.stderr.contains("the migration did not run");
        let half_way = ran.stderr.contains("how far the migration came is not known");
        assert_eq!((never, half_way), (code == 4, code == 5), "{name}:\n{}", ran.stderr);
        assert_eq!(ran.stderr.contains("capacity is FARGATE_SPOT"), name == "spot-interruption", "{name}");
        stage.ends();
    }
}

#[tokio::test]
async fn a_task_is_found_however_fast_it_ends_and_however_late_it_shows() {
    for name in ["ends-before-the-first-poll", "missing-at-first"] {
        let stage = Stage::set(name).await;
        stage.run(&[]).await.expect(0).says(&["  | == 001 consent: migrating"]);
        stage.ends();
    }
}

#[tokio::test]
async fn the_end_of_the_log_is_waited_for_and_each_line_told_once() {
    let stage = Stage::set("late-log").await;
    let ran = stage.run(&[]).await.expect(0);
    let stopped = ran.stderr.find("has stopped").expect("the end of the task");
    for line in [
        "== 001 consent: migrating",
        "== 001 consent: migrated",
        "== 002 study review: migrating",
        "2 migrations applied",
    ] {
        assert_eq!(ran.stderr.matches(line).count(), 1, "{line} in:\n{}", ran.stderr);
    }
    assert!(ran.stderr.find("2 migrations applied").is_some_and(|at| at > stopped));
    stage.ends();
}

#[tokio::test]
async fn throttling_ends_neither_the_wait_nor_the_log() {
    let stage = Stage::set("throttled").await;
    stage.run(&[]).await.expect(0).says(&["could not look", "  | == 001 consent: migrated (3.9 s)"]);
    stage.ends();
}

#[tokio::test]
async fn a_log_that_may_not_be_read_is_said_and_changes_nothing() {
    let stage = Stage::set("success").await;
    stage.front.add_fault(Fault::access_denied("logs:GetLogEvents"));
    stage.run(&[]).await.expect(0).says(&["the log is not whole", "allow logs:GetLogEvents"]);
    assert_eq!(stage.front.unmatched(), Vec::<String>::new());
}

#[tokio::test]
async fn a_task_that_ecs_can_not_place_is_an_error_with_its_reason() {
    let stage = Stage::set("no-capacity").await;
    stage.run(&[]).await.expect(1).says(&[
        "RESOURCE:MEMORY",
        "no instance of the cluster has that left",
        "nothing was changed",
    ]);
    stage.ends();
}

#[tokio::test]
async fn a_cancelled_run_leaves_the_task_or_stops_it_as_was_chosen() {
    for (choice, stops, said) in [
        ("leave", 0, "may still run: it goes on by itself, and the same command takes it up again"),
        ("stop", 1, "was told to stop (--on-cancel stop): the migration may have been ended half-way"),
    ] {
        let stage = Stage::set("running").await;
        let hold = stage.front.hold("ecs:DescribeTasks#3", When::BeforeForward);
        let mut command = stage.command(&["--on-cancel", choice]);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().expect("the executable starts");
        hold.arrived().await;
        let pid = child.id().expect("it runs").to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.expect("kill").success());
        let ended = child.wait_with_output().await.expect("it ends");
        let said_all = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(143), "{said_all}");
        for text in [
            said,
            TASK,
            "aws ecs describe-tasks --region us-east-1 --cluster rally-prod --tasks",
            "aws logs get-log-events",
            "aws ecs stop-task",
        ] {
            assert!(said_all.contains(text), "`{text}` is not in:\n{said_all}");
        }
        let stopped = stage.calls("ecs:StopTask");
        assert_eq!(stopped.len(), stops);
        assert!(stopped.iter().all(|call| call.request["reason"] == "cutover run-migration: cancelled"));
        assert_eq!(stage.front.unmatched(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_deadline_leaves_the_task_and_says_where_it_is() {
    let stage = Stage::set("running").await;
    stage.run(&["--timeout", "2s"]).await.expect(6).says(&[
        "it was last seen so: it is RUNNING",
        "the same command takes it up again",
        "end it: aws ecs stop-task --region us-east-1 --cluster rally-prod --task arn:",
    ]);
    assert_eq!(stage.calls("ecs:StopTask").len(), 0);
}

#[tokio::test]
async fn the_two_forms_do_not_mix() {
    let stage = Stage::set("success").await;
    for (more, why) in [
        (&["--migrations", "sql"][..], "cannot be used with"),
        (&["--baseline", "1"], "cannot be used with"),
        (&["--host", "db"], "cannot be used with"),
        (&["--command", "rails db:migrate"], "JSON array"),
        (
            &["--overrides", r#"{"containerOverrides":[{"name":"migrate","entryPoint":["sh"]}]}"#],
            "ECS can't override it",
        ),
        (
            &["--overrides", r#"{"containerOverrides":[{"name":"migrate","comand":["sh"]}]}"#],
            "did you mean command?",
        ),
    ] {
        let ran = stage.run(more).await.expect(2);
        assert!(ran.stderr.contains(why), "{more:?}: {}", ran.stderr);
    }
    for (more, why) in [
        (&["--container", "web"][..], "it has migrate"),
        (&["--dbname", "other"], "PGDATABASE=rally"),
        (&["--env", "PGDATABASE=other"], "PGDATABASE=other"),
    ] {
        let ran = stage.run(more).await.expect(3);
        assert!(ran.stderr.contains(why), "{more:?}: {}", ran.stderr);
    }
    assert_eq!(stage.front.writes().len(), 0);
    let sql = run({
        let mut command = scrubbed(env!("CARGO_BIN_EXE_cutover"), stage.dir.path());
        command.args(["run-migration", "--migrations", "sql", "--subnet", "subnet-1"]);
        command
    });
    sql.await.expect(2).says(&["--migrations <DIR>", "cannot be used with", "--subnet"]);
}

/// The stand-in for ECS, whose tasks do what the test says, and the emulator behind it for the logs.
struct Place {
    front: Front,
    ecs: Ecs,
    launcher: ScriptedLauncher,
    revision: String,
    group: String,
    dir: TempDir,
}

impl Place {
    async fn new(name: &str) -> Self {
        let launcher = ScriptedLauncher::new(&[("rally@sha256:1", Behaviour::NeverHealthy)]);
        let settings = Settings { account: ACCOUNT.into(), region: REGION.into(), ..Settings::default() };
        let ecs = Ecs::new(launcher.clone(), settings);
        let front = Front::builder()
            .upstream(shared_emulator().await.url())
            .service(Arc::new(ecs.clone()))
            .start()
            .await
            .expect("the front starts");
        let group = format!("/ecs/{name}");
        let options =
            json!({"awslogs-group": group, "awslogs-region": REGION, "awslogs-stream-prefix": "ecs"});
        ecs.call("CreateCluster", json!({"clusterName": "rally"})).await.expect("a cluster");
        let definition = json!({
            "family": "rally-migrate",
            "containerDefinitions": [{
                "name": "migrate", "image": "rally@sha256:1", "memory": 512,
                "logConfiguration": {"logDriver": "awslogs", "options": options},
            }],
        });
        let answer = ecs.call("RegisterTaskDefinition", definition).await.expect("a revision");
        let revision = answer["taskDefinition"]["taskDefinitionArn"].as_str().expect("an ARN").to_owned();
        logs("CreateLogGroup", json!({"logGroupName": group})).await;
        Self { front, ecs, launcher, revision, group, dir: tempfile::tempdir().expect("a folder") }
    }

    /// A run in the workflow run of that number.
    fn command(&self, run: &str, attempt: &str, more: &[&str]) -> Command {
        let mut command = scrubbed(env!("CARGO_BIN_EXE_cutover"), self.dir.path());
        command
            .args([
                "run-migration",
                "--task",
                &self.revision,
                "--cluster",
                "rally",
                "--without-backup",
                "rally",
            ])
            .args(["--interval", "10ms", "--log-quiet", "100ms", "--format", "json"])
            .args(more)
            .env("AWS_ENDPOINT_URL", self.front.url())
            .env("AWS_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "planted-secret-key");
        if !run.is_empty() {
            command
                .env("GITHUB_ACTIONS", "true")
                .env("GITHUB_REPOSITORY", "acme/rally")
                .env("GITHUB_RUN_ID", run)
                .env("GITHUB_RUN_ATTEMPT", attempt)
                .env("GITHUB_JOB", "data");
        }
        command
    }

    /// Runs it, and ends its task with this exit code when it is looked at for the `nth` time.
    async fn run_and_end(&self, command: Command, look: &str, exit_code: i32) -> Ran {
        let hold = self.front.hold(look, When::BeforeForward);
        let end = async {
            hold.arrived().await;
            let task = self.launcher.launched().pop().expect("a task");
            self.launcher.end(&task, exit_code);
            hold.release();
        };
        tokio::join!(run(command), end).0
    }

    fn started(&self) -> usize {
        self.front.calls().iter().filter(|call| call.name() == "ecs:RunTask").count()
    }
}

async fn logs(operation: &str, request: Value) {
    let target = format!("Logs_20140328.{operation}");
    let (status, answer) = shared_emulator().await.call("logs", &target, &request).await.expect("an answer");
    assert_eq!(status, 200, "{operation}: {answer}");
}

#[tokio::test]
async fn a_killed_job_that_is_run_again_takes_up_its_task() {
    let place = Place::new("killed").await;
    let hold = place.front.hold("ecs:RunTask", When::AfterEffect);
    let mut killed = place.command("7", "1", &[]);
    let mut child = killed.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    hold.arrived().await;
    child.kill().await.expect("it is killed");
    drop(hold);
    assert_eq!(place.launcher.launched().len(), 1);

    // The container writes while nobody is looking.
    let task = place.launcher.launched().remove(0);
    let stream = format!("ecs/migrate/{}", task.rsplit('/').next().expect("an id"));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time").as_millis();
    let now = u64::try_from(now).expect("milliseconds");
    let named = json!({"logGroupName": place.group, "logStreamName": stream});
    logs("CreateLogStream", named.clone()).await;
    let mut put = named;
    put["logEvents"] = json!([{"timestamp": now, "message": "consent: migrated"}]);
    logs("PutLogEvents", put).await;

    let again = place.command("7", "2", &[]);
    let ran = place
        .run_and_end(again, "ecs:DescribeTasks#3", 0)
        .await
        .expect(0)
        .says(&["which an earlier run started", "  | consent: migrated"]);
    assert_eq!(ran.json()["outputs"]["task-arn"], task.as_str());
    assert_eq!(place.launcher.launched().len(), 1, "one migration");

    // Once it has ended well, this release has nothing to do any more, and the next one has.
    place.front.forget();
    let third = run(place.command("7", "3", &[])).await.expect(0);
    assert_eq!(third.json()["changed"], false);
    assert_eq!(third.json()["outputs"]["exit-code"], "0");
    assert_eq!(place.front.writes().len(), 0);
    let next = place.command("8", "1", &[]);
    place.run_and_end(next, "ecs:DescribeTasks#3", 0).await.expect(0);
    assert_eq!(place.launcher.launched().len(), 2);
}

#[tokio::test]
async fn what_has_failed_can_be_run_again() {
    let place = Place::new("failed").await;
    let first = place.run_and_end(place.command("7", "1", &[]), "ecs:DescribeTasks", 1).await.expect(4);
    assert_eq!(first.json()["outputs"]["exit-code"], "1");
    let second = place.command("7", "2", &[]);
    place
        .run_and_end(second, "ecs:DescribeTasks#3", 0)
        .await
        .expect(0)
        .says(&["the same migration was started before", "container migrate ended with exit code 1"]);
    assert_eq!(place.launcher.launched().len(), 2);
    assert_eq!(place.started(), 2);
}

#[tokio::test]
async fn one_migration_of_a_family_at_a_time() {
    let place = Place::new("alone").await;
    let theirs = json!({"cluster": "rally", "taskDefinition": place.revision, "startedBy": "jane"});
    let other = place.ecs.call("RunTask", theirs).await.expect("a task")["tasks"][0]["taskArn"].clone();
    let hold = place.front.hold("ecs:DescribeTasks#3", When::BeforeForward);
    let mut first = place.command("", "", &["--run-id", "release-1"]);
    let mut first = first.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    hold.arrived().await;
    let id = place.launcher.launched().pop().expect("a task");
    let id = id.rsplit('/').next().expect("an id");
    run(place.command("", "", &["--run-id", "release-2"])).await.expect(3).says(&[
        "another one is not finished",
        id,
        "cutover-migration/release-1/",
        "nothing was changed",
    ]);
    let dry = run(place.command("", "", &["--run-id", "release-1", "--dry-run"])).await.expect(0);
    assert!(dry.stderr.contains(&format!("take up task {id}")), "{}", dry.stderr);
    first.kill().await.expect("it is killed");
    drop(hold);
    // Somebody's one-off task that this step has not started is pointed at, and does not stop anybody.
    place.launcher.end(&place.launcher.launched()[1], 0);
    run(place.command("", "", &["--run-id", "release-3", "--dry-run"]))
        .await
        .expect(0)
        .says(&["started by jane", other.as_str().and_then(|arn| arn.rsplit('/').next()).expect("an id")]);
}

/// One call of ECS or EC2 to moto, past the front.
async fn moto_call(moto: &Moto, service: &str, target: &str, body: String) -> String {
    let scope = format!("AKIAIOSFODNN7EXAMPLE/20261121/{REGION}/{service}/aws4_request");
    let content =
        if target.is_empty() { "application/x-www-form-urlencoded" } else { "application/x-amz-json-1.1" };
    let answer = client()
        .post(moto.url())
        .header(
            "authorization",
            format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"),
        )
        .header("content-type", content)
        .header("x-amz-target", target)
        .body(body)
        .send()
        .await
        .expect("an answer");
    let status = answer.status();
    let text = answer.text().await.expect("a text");
    assert!(status.is_success(), "{service} {target}: {text}");
    text
}

/// The text of the first element of that name.
fn element(xml: &str, name: &str) -> String {
    let rest = xml.split(&format!("<{name}>")).nth(1).and_then(|rest| rest.split('<').next());
    rest.unwrap_or_else(|| panic!("no {name} in {xml}")).to_owned()
}

#[tokio::test]
async fn motos_task_runs_to_its_end_too() {
    let moto = Moto::start().await.expect("moto starts");
    let ec2 =
        async |action: &str| moto_call(&moto, "ec2", "", format!("Action={action}&Version=2016-11-15")).await;
    let ecs = async |operation: &str, request: Value| {
        let target = format!("AmazonEC2ContainerServiceV20141113.{operation}");
        serde_json::from_str::<Value>(&moto_call(&moto, "ecs", &target, request.to_string()).await)
            .expect("JSON")
    };
    let network = json!({"awsvpcConfiguration": {
        "subnets": [element(&ec2("DescribeSubnets").await, "subnetId")],
        "securityGroups": [element(&ec2("DescribeSecurityGroups").await, "groupId")],
    }});
    ecs("CreateCluster", json!({"clusterName": "rally"})).await;
    let definition = json!({
        "family": "rally-migrate", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512",
        "containerDefinitions": [{"name": "migrate", "image": "rally@sha256:1", "memory": 512, "essential": true}],
    });
    let definition = ecs("RegisterTaskDefinition", definition).await;
    let revision = definition["taskDefinition"]["taskDefinitionArn"].as_str().expect("an ARN").to_owned();
    let service = json!({
        "cluster": "rally", "serviceName": "web", "taskDefinition": revision, "desiredCount": 1, "launchType": "FARGATE",
        "networkConfiguration": network,
    });
    ecs("CreateService", service).await;

    let front = Front::builder().upstream(moto.url()).start().await.expect("the front starts");
    let dir = tempfile::tempdir().expect("a folder");
    let command = || {
        let mut command = scrubbed(env!("CARGO_BIN_EXE_cutover"), dir.path());
        command
            .args([
                "run-migration",
                "--task",
                &revision,
                "--like-service",
                "rally/web",
                "--without-backup",
                "rally",
            ])
            .args(["--command", r#"["rails","db:migrate"]"#, "--run-id", "release-1", "--interval", "10ms"])
            .env("AWS_ENDPOINT_URL", front.url())
            .env("AWS_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "planted-secret-key");
        command
    };
    let first = run(command()).await.expect(0).says(&["it is DEPROVISIONING"]);
    assert!(first.stdout.contains("exit-code=0"), "{}", first.stdout);
    let again = run(command()).await.expect(0);
    assert!(again.stdout.contains("changed=false"), "{}", again.stdout);
}
