//! The judgement, as tables.

use std::time::Duration;

use aws_sdk_ecs::types::{ContainerDefinition, KeyValuePair};
use clap::FromArgMatches as _;
use kit::{Code, Plan as _};
use postgres::Rung;

use super::super::observe::{Like, SeenContainer};
use super::*;

const REVISION: &str = "arn:aws:ecs:us-east-1:123456789012:task-definition/rally-migrate:7";

fn args(more: &[&str]) -> TaskArgs {
    let argv = ["x", "--task", REVISION].into_iter().chain(more.iter().copied());
    let matches = kit::command::<crate::MigrateArgs>().try_get_matches_from(argv).unwrap();
    TaskArgs::from_arg_matches(&matches).unwrap()
}

fn container(name: &str, essential: bool) -> Container {
    ContainerDefinition::builder().name(name).essential(essential).build().into()
}

fn world(containers: Vec<Container>) -> World {
    World {
        account: "123456789012".into(),
        region: "us-east-1".into(),
        definition: Definition {
            arn: REVISION.into(),
            family: "rally-migrate".into(),
            status: "ACTIVE".into(),
            task_role: false,
            network_mode: "awsvpc".into(),
            containers,
        },
        like: Some(Like {
            service: "service web in cluster rally".into(),
            task_definition: "arn:aws:ecs:us-east-1:123456789012:task-definition/web:41".into(),
            subnets: vec!["subnet-1".into()],
            security_groups: vec!["sg-1".into()],
            public_ip: Some("DISABLED".into()),
            launch_type: Some("FARGATE".into()),
            capacity_providers: Vec::new(),
            platform_version: Some("1.4.0".into()),
            execute_command: false,
        }),
        tasks: Vec::new(),
        backup: None,
    }
}

fn plain() -> World {
    world(vec![container("migrate", true), container("proxy", false)])
}

/// The plan for a release called `r1`, or for none.
fn judge(world: &World, run: Option<&str>, args: &TaskArgs) -> Result<TaskPlan, Failure> {
    let asked = Asked::read(args)?;
    let request = Request {
        args,
        cluster: "rally",
        asked: &asked,
        run,
        guard: Guard {
            database: "rally",
            server: None,
            backup: None,
            without_backup: Some("rally"),
            max_age: Duration::from_hours(2),
            min_rung: Rung::ReadBack,
            dry_run: false,
            now: OffsetDateTime::UNIX_EPOCH,
        },
    };
    plan(&request, world)
}

fn refusal(result: Result<TaskPlan, Failure>) -> String {
    let failure = result.unwrap_err();
    assert_eq!(failure.code(), Code::Refused);
    format!("{failure}: {}", failure.chain().join(": "))
}

fn task(id: &str, started_by: &str, status: &str, exit_code: Option<i32>) -> SeenTask {
    SeenTask {
        arn: format!("arn:aws:ecs:us-east-1:123456789012:task/rally/{id}"),
        definition: REVISION.into(),
        group: "family:rally-migrate".into(),
        started_by: started_by.into(),
        status: status.into(),
        stop_code: exit_code.map(|_| "EssentialContainerExited".into()),
        containers: vec![SeenContainer { name: "migrate".into(), exit_code, reason: None }],
        ..SeenTask::default()
    }
}

#[test]
fn where_a_task_runs_is_the_services_answer_unless_a_flag_says_otherwise() {
    let document = |args: &TaskArgs| judge(&plain(), None, args).unwrap().document;
    let like = document(&args(&["--command", r#"["x"]"#]));
    let vpc = &like["networkConfiguration"]["awsvpcConfiguration"];
    assert_eq!(
        *vpc,
        json!({"subnets": ["subnet-1"], "securityGroups": ["sg-1"], "assignPublicIp": "DISABLED"})
    );
    assert_eq!((&like["launchType"], &like["platformVersion"]), (&json!("FARGATE"), &json!("1.4.0")));
    let own = document(&args(&["--subnet", "subnet-2", "--subnet", "subnet-3", "--public-ip", "enabled"]));
    let vpc = &own["networkConfiguration"]["awsvpcConfiguration"];
    assert_eq!(vpc["subnets"], json!(["subnet-2", "subnet-3"]));
    assert_eq!((&vpc["securityGroups"], &vpc["assignPublicIp"]), (&json!(["sg-1"]), &json!("ENABLED")));
    let spot = document(&args(&["--capacity-provider", "FARGATE_SPOT"]));
    assert_eq!(spot["capacityProviderStrategy"][0]["capacityProvider"], "FARGATE_SPOT");
    assert_eq!(spot["launchType"], Value::Null, "never both");
    assert_eq!(document(&args(&["--launch-type", "EC2"]))["platformVersion"], Value::Null, "Fargate's alone");
}

#[test]
fn a_network_is_sent_with_awsvpc_and_with_no_other_mode() {
    let mut bridge = plain();
    bridge.definition.network_mode = "bridge".into();
    assert_eq!(judge(&bridge, None, &args(&[])).unwrap().document["networkConfiguration"], Value::Null);
    assert!(refusal(judge(&bridge, None, &args(&["--subnet", "subnet-1"]))).contains("only awsvpc"));
    let mut alone = plain();
    alone.like = None;
    assert!(refusal(judge(&alone, None, &args(&[]))).contains("no subnet is given"));
    assert!(judge(&alone, None, &args(&["--subnet", "subnet-1"])).is_ok());
}

#[test]
fn spot_capacity_is_warned_of() {
    let warned = |args: &TaskArgs| {
        let notes = judge(&plain(), None, args).unwrap().notes();
        notes.iter().any(|note| matches!(note, Note::Warning(text) if text.contains("FARGATE_SPOT")))
    };
    assert!(warned(&args(&["--capacity-provider", "FARGATE", "--capacity-provider", "FARGATE_SPOT"])));
    assert!(!warned(&args(&["--capacity-provider", "FARGATE"])));
}

#[test]
fn one_container_decides() {
    let of = |world: &World, more: &[&str]| judge(world, None, &args(more)).map(|plan| plan.container);
    assert_eq!(of(&plain(), &[]).unwrap(), "migrate");
    let two = world(vec![container("web", true), container("worker", true)]);
    assert!(refusal(judge(&two, None, &args(&[]))).contains("web, worker"));
    assert_eq!(of(&two, &["--container", "worker"]).unwrap(), "worker");
    let overrides = r#"{"containerOverrides": [{"name": "web", "command": ["x"]}]}"#;
    assert_eq!(of(&two, &["--overrides", overrides]).unwrap(), "web");
    assert!(refusal(judge(&plain(), None, &args(&["--container", "app"]))).contains("migrate, proxy"));
}

#[test]
fn a_revision_that_is_not_active_and_a_container_with_another_database_are_refused() {
    let mut gone = plain();
    gone.definition.status = "INACTIVE".into();
    assert!(refusal(judge(&gone, None, &args(&[]))).contains("INACTIVE"));
    let variable = KeyValuePair::builder().name("PGDATABASE").value("staging").build();
    let other: Container =
        ContainerDefinition::builder().name("migrate").environment(variable).build().into();
    assert!(refusal(judge(&world(vec![other.clone()]), None, &args(&[]))).contains("PGDATABASE=staging"));
    assert!(judge(&world(vec![other]), None, &args(&["--env", "PGDATABASE=rally"])).is_ok());
}

#[test]
fn a_release_runs_a_migration_once_and_a_failed_one_again() {
    let more = ["--command", r#"["x"]"#];
    let first = judge(&plain(), Some("r1"), &args(&more)).unwrap();
    assert!(matches!(first.does, Does::Start));
    let with = |tasks: Vec<SeenTask>| World { tasks, ..plain() };
    let mine = first.started_by.as_str();

    let going = with(vec![task("1", mine, "RUNNING", None)]);
    let plan = judge(&going, Some("r1"), &args(&more)).unwrap();
    assert!(matches!(&plan.does, Does::Attach { task } if task.arn.ends_with("/1")));

    let well = with(vec![task("1", mine, "STOPPED", Some(0))]);
    let plan = judge(&well, Some("r1"), &args(&more)).unwrap();
    assert!(matches!(plan.does, Does::Nothing { .. }) && plan.actions().is_empty());

    let badly = with(vec![task("1", mine, "STOPPED", Some(1))]);
    let plan = judge(&badly, Some("r1"), &args(&more)).unwrap();
    assert!(matches!(plan.does, Does::Start));
    assert_eq!(plan.started_by, first.started_by);
    assert_ne!(
        plan.document["clientToken"], first.document["clientToken"],
        "or ECS would answer with the failed one"
    );
}

#[test]
fn the_token_is_the_same_for_the_same_try_and_for_nothing_else() {
    let token = |run: Option<&str>, more: &[&str]| {
        let plan = judge(&plain(), run, &args(more)).unwrap();
        plan.document["clientToken"].as_str().unwrap().to_owned()
    };
    let base = token(Some("acme/rally/7"), &["--command", r#"["x"]"#]);
    assert_eq!(base, token(Some("acme/rally/7"), &["--command", r#"["x"]"#]));
    assert_eq!(base, token(Some("acme/rally/7"), &["--command", r#"["x"]"#, "--on-cancel", "stop"]));
    for (run, more) in [
        (Some("acme/rally/8"), &["--command", r#"["x"]"#][..]),
        (None, &["--command", r#"["x"]"#]),
        (Some("acme/rally/7"), &["--command", r#"["y"]"#]),
        (Some("acme/rally/7"), &["--command", r#"["x"]"#, "--env", "A=1"]),
    ] {
        assert_ne!(base, token(run, more), "{run:?} {more:?}");
    }
    // The limits of RunTask: 64 characters, and 128 of letters, digits, -, _ and /.
    assert!(base.len() <= 64);
    let longest = "x".repeat(64);
    let started_by = judge(&plain(), Some(&longest), &args(&["--run-id", &longest])).unwrap().started_by;
    assert!(started_by.len() <= 128, "{started_by}");
}

#[test]
fn without_a_release_what_has_ended_is_started_anew_and_what_runs_is_taken_up() {
    let first = judge(&plain(), None, &args(&[])).unwrap();
    let with = |tasks: Vec<SeenTask>| World { tasks, ..plain() };
    let ended = with(vec![task("1", &first.started_by, "STOPPED", Some(0))]);
    let plan = judge(&ended, None, &args(&[])).unwrap();
    assert!(matches!(plan.does, Does::Start));
    assert_ne!(plan.document["clientToken"], first.document["clientToken"]);
    let runs = with(vec![task("1", &first.started_by, "PENDING", None)]);
    assert!(matches!(judge(&runs, None, &args(&[])).unwrap().does, Does::Attach { .. }));
}

#[test]
fn another_migration_of_the_family_is_refused_while_it_runs() {
    let with = |task: SeenTask| World { tasks: vec![task], ..plain() };
    let theirs = with(task("9", "cutover-migration/run/0123", "RUNNING", None));
    let said = refusal(judge(&theirs, Some("r1"), &args(&[])));
    assert!(said.contains("task 9 of rally-migrate:7 is RUNNING"), "{said}");
    let over = with(task("9", "cutover-migration/run/0123", "STOPPED", Some(0)));
    assert!(judge(&over, Some("r1"), &args(&[])).is_ok());
    let by_hand = with(task("9", "jane", "RUNNING", None));
    let notes = judge(&by_hand, Some("r1"), &args(&[])).unwrap().notes();
    assert!(
        notes.iter().any(|note| matches!(note, Note::Warning(text) if text.contains("started by jane: 9")))
    );
}

#[test]
fn the_plan_shows_names_of_variables_and_no_values() {
    let plan = judge(&plain(), None, &args(&["--env", "LICENSE=0123-4567"])).unwrap();
    let shown = serde_json::to_string(&plan).unwrap() + &serde_json::to_string(&plan.actions()).unwrap();
    assert!(shown.contains("LICENSE") && !shown.contains("0123-4567"), "{shown}");
}
