//! The ECS stand-in with real processes as its tasks. What a client sees is compared with the AWS pages and recorded answers
//! in the crate's own tests.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "../src/ecs/tests/calls.rs"]
mod calls;

use std::path::Path;

use serde_json::{Value, json};
use testkit::app::LISTENING;
use testkit::ecs::{Balancer, Ecs, ProcessLauncher, ProcessOptions, Settings};
use testkit::postgres;

use self::calls::*;

fn options(folder: &Path) -> ProcessOptions {
    ProcessOptions {
        program: env!("CARGO_BIN_EXE_app").into(),
        leading_args: Vec::new(),
        catalogue: folder.join("images.json"),
        secrets: [("arn:secret".to_owned(), "postgres://nobody@127.0.0.1:1/none".to_owned())].into(),
        logs: Some(folder.to_owned()),
    }
}

/// Polls as a person does, in real time, but without a fixed wait: each round gives the processes the processor.
async fn eventually(ecs: &Ecs, wanted: impl AsyncFn(&Value) -> bool) -> Value {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_mins(3);
    loop {
        let answer = service(ecs).await;
        if wanted(&answer).await {
            return answer;
        }
        assert!(tokio::time::Instant::now() < deadline, "not reached in three minutes, at last: {answer:#}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// A stand-in that is killed outright can't end its tasks; they notice by the pipe.
#[tokio::test]
async fn application_ends_with_its_parent() {
    use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _};
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_app"))
        .args(["--version", "1", "--until-stdin-closes"])
        .env_remove("DATABASE_URL")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdout = tokio::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with(LISTENING) {
        line.clear();
        assert_ne!(stdout.read_line(&mut line).await.unwrap(), 0, "it ended before it listened");
    }
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let health = format!("http://{}/health", line.strip_prefix(LISTENING).unwrap().trim());
    assert_eq!(client.get(&health).send().await.unwrap().status().as_u16(), 200);
    drop(client);
    drop(child.stdin.take());
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
    assert_eq!(stdout.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_processes_behind_a_load_balancer() {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = json!({
        "v1": {"version": "2.0.1"},
        "sha256:aaaa": {"version": "2.1.0"},
        "needs-database": {"version": "2.2.0", "requires": "select true"},
        "ends": {"version": "2.3.0", "exitCode": 1},
    });
    std::fs::write(folder.path().join("images.json"), catalogue.to_string()).unwrap();
    let file = folder.path().join("ecs.json");
    let ecs =
        Ecs::open(&file, ProcessLauncher::new(options(folder.path())).unwrap(), Settings::default()).unwrap();
    let balancer =
        Balancer::start("127.0.0.1:0".parse().unwrap(), ecs.clone(), "prod", "rally").await.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/version", balancer.url());
    let version = async || {
        let answer = client.get(&url).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(version().await.0, 503);

    ecs.call("CreateCluster", json!({"clusterName": "prod"})).await.unwrap();
    let v1 = register(&ecs, "v1").await;
    let request = json!({"cluster": "prod", "serviceName": "rally", "taskDefinition": v1, "desiredCount": 2,
        "deploymentConfiguration": breaker(true)});
    ecs.call("CreateService", request).await.unwrap();
    let completed = async |s: &Value| s["deployments"][0]["rolloutState"] == "COMPLETED";
    eventually(&ecs, completed).await;
    let (old, new) = ((200, r#"{"version":"2.0.1"}"#.to_owned()), (200, r#"{"version":"2.1.0"}"#.to_owned()));
    assert_eq!(version().await, old);

    // Never without an answer during the update, and the new version alone after it.
    let v2 = register(&ecs, "rally@sha256:aaaa").await;
    update(&ecs, &v2).await;
    eventually(&ecs, async |s| {
        let answer = version().await;
        assert!(answer == old || answer == new, "{answer:?}");
        completed(s).await
    })
    .await;
    assert_eq!([version().await, version().await], [new.clone(), new.clone()]);
    assert_eq!(tasks(&ecs, "RUNNING").await[0]["containers"][0]["imageDigest"], "sha256:aaaa");

    // Both bad images are rolled back, with the message that the process left in its log.
    let mut request = json!({"family": "rally-prod", "containerDefinitions": [{"name": "web", "memory": 64, "image": "needs-database",
        "secrets": [{"name": "DATABASE_URL", "valueFrom": "arn:secret"}]}]});
    let needs_database = ecs.call("RegisterTaskDefinition", request.clone()).await.unwrap();
    request["containerDefinitions"][0]["secrets"][0]["valueFrom"] = json!("arn:unknown");
    let no_secret = ecs.call("RegisterTaskDefinition", request).await.unwrap();
    let ends = register(&ecs, "ends").await;
    let arn = |answer: &Value| answer["taskDefinition"]["taskDefinitionArn"].as_str().unwrap().to_owned();
    for (revision, exit, text) in [
        (arn(&needs_database), Some(1), "can't connect to the database"),
        (arn(&no_secret), None, "ResourceInitializationError"),
        (ends, Some(1), "this image ends with exit code 1"),
    ] {
        let deployment = update(&ecs, &revision).await["currentServiceDeployment"].clone();
        eventually(&ecs, async |_| {
            assert_eq!(version().await, new);
            service_deployment(&ecs, &deployment).await["status"] == "ROLLBACK_SUCCESSFUL"
        })
        .await;
        let stopped = tasks(&ecs, "STOPPED").await;
        // Tasks that were still alive when the roll-back came were stopped by the scheduler, with exit code 0.
        let failed =
            |t: &&Value| t["taskDefinitionArn"] == *revision && t["stopCode"] != "ServiceSchedulerInitiated";
        let task = stopped.iter().find(failed).unwrap();
        assert_eq!(task["containers"][0]["exitCode"].as_i64(), exit);
        let id = task["taskArn"].as_str().unwrap().rsplit('/').next().unwrap();
        let log = std::fs::read_to_string(folder.path().join(format!("{id}.log"))).unwrap_or_default();
        let told = format!("{log}{}", task["stoppedReason"]);
        assert!(told.contains(text), "{told}");
    }

    // Opened again, the same tasks serve from new processes.
    ecs.shutdown().await;
    drop(balancer);
    let ecs =
        Ecs::open(&file, ProcessLauncher::new(options(folder.path())).unwrap(), Settings::default()).unwrap();
    eventually(&ecs, async |s| s["runningCount"] == 2 && ecs.targets("prod", "rally").await.len() == 2).await;
    let balancer =
        Balancer::start("127.0.0.1:0".parse().unwrap(), ecs.clone(), "prod", "rally").await.unwrap();
    let answer = client.get(format!("{}/version", balancer.url())).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), new.1);
    ecs.shutdown().await;
    let answer = client.get(format!("{}/version", balancer.url())).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 503);
}

/// The Rally release as its runbook has it: the new tasks end until the migration has run, the old ones serve, then ECS rolls.
#[tokio::test(flavor = "multi_thread")]
async fn new_version_starts_when_its_migration_has_run() {
    let postgres = postgres::Postgres::start(postgres::Options::default()).await.unwrap();
    postgres.psql("create table release (name text)").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let requires = "select exists (select from information_schema.columns where table_name = 'release' and column_name = 'owner')";
    let catalogue = json!({"old": {"version": "2.0.1"}, "new": {"version": "2.1.0", "requires": requires}});
    std::fs::write(folder.path().join("images.json"), catalogue.to_string()).unwrap();
    let mut options = options(folder.path());
    options.secrets.insert("arn:secret".to_owned(), postgres.url());
    options.secrets.insert("arn:password".to_owned(), postgres.password.clone());
    let ecs = Ecs::new(ProcessLauncher::new(options).unwrap(), Settings::default());
    let balancer =
        Balancer::start("127.0.0.1:0".parse().unwrap(), ecs.clone(), "prod", "rally").await.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let version = async || {
        let answer = client.get(format!("{}/version", balancer.url())).send().await.unwrap();
        answer.text().await.unwrap()
    };
    let register = async |image: &str| {
        let request = json!({"family": "rally-prod", "containerDefinitions": [{"name": "web", "memory": 64, "image": image,
            "secrets": [{"name": "DATABASE_URL", "valueFrom": "arn:secret"}, {"name": "PGPASSWORD", "valueFrom": "arn:password"}]}]});
        let answer = ecs.call("RegisterTaskDefinition", request).await.unwrap();
        answer["taskDefinition"]["taskDefinitionArn"].as_str().unwrap().to_owned()
    };
    ecs.call("CreateCluster", json!({"clusterName": "prod"})).await.unwrap();
    let old = register("old").await;
    let request =
        json!({"cluster": "prod", "serviceName": "rally", "taskDefinition": old, "desiredCount": 2});
    ecs.call("CreateService", request).await.unwrap();
    eventually(&ecs, async |s| s["deployments"][0]["rolloutState"] == "COMPLETED").await;

    let new = register("new").await;
    update(&ecs, &new).await;
    eventually(&ecs, async |s| {
        assert_eq!(version().await, r#"{"version":"2.0.1"}"#);
        s["deployments"][0]["failedTasks"].as_u64().unwrap() >= 4
    })
    .await;
    let stopped = tasks(&ecs, "STOPPED").await;
    assert_eq!(stopped[0]["containers"][0]["exitCode"], 1);
    let id = stopped[0]["taskArn"].as_str().unwrap().rsplit('/').next().unwrap();
    let log = std::fs::read_to_string(folder.path().join(format!("{id}.log"))).unwrap();
    assert_eq!(log.trim_end(), format!("version 2.1.0 needs a migration that is missing: {requires}"));

    postgres.psql("alter table release add column owner text").await.unwrap();
    eventually(&ecs, async |s| s["deployments"][0]["rolloutState"] == "COMPLETED").await;
    assert_eq!([version().await, version().await], [r#"{"version":"2.1.0"}"#; 2].map(str::to_owned));
}
