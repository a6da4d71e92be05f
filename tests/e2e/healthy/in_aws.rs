//! Load balancers, ECS services and logs: the emulator where it is true, scenarios where it is not (it calls every target healthy).

use std::path::Path;

use serde_json::json;
use testkit::front::{Fault, Front};
use testkit::scenario::Scenario;

use super::{Going, command};
use crate::world::{CLUSTER, REGION, Ran, SERVICE, World, own, repository, run, shared_emulator};

struct Stage {
    front: Front,
    scenario: Scenario,
}

impl Stage {
    async fn load(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/scenarios/healthy/{name}.json"));
        let scenario = Scenario::load(&path).unwrap();
        let front = scenario.serve(Front::builder()).start().await.unwrap();
        Self { front, scenario }
    }

    async fn wait(&self, args: &[&str]) -> Ran {
        let args = [&["--interval", "20ms", "--format", "json"][..], args].concat();
        let url = self.front.url();
        let env = [
            ("AWS_ENDPOINT_URL", url),
            ("AWS_REGION", REGION),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "planted-secret-key"),
        ];
        run(command(&args, &env)).await
    }

    fn all_answered(&self) {
        assert_eq!(self.front.unmatched(), [""; 0]);
        assert_eq!(self.scenario.unused(), [""; 0]);
        assert!(self.front.writes().is_empty());
    }
}

#[tokio::test]
async fn targets_are_in_service_when_all_that_stay_are() {
    let stage = Stage::load("targets").await;
    let ran = stage.wait(&["--targets", "boss-api"]).await.expect(0).says(&[
        "none is registered; want 1 at least; draining: i-0old:80",
        "0 of 1 are in service; i-0new:80 is initial (Elb.InitialHealthChecking: Initial health checks in progress)",
    ]);
    assert_eq!(ran.json()["probes"][0]["seen"], "1 of 1 are in service; draining: i-0old:80");
    stage.wait(&["--once", "--targets", "boss-api=2"]).await.expect(1).says(&["want 2 at least"]);
    stage.all_answered();
    stage.front.set_faults([Fault::access_denied("elasticloadbalancing:DescribeTargetHealth")]);
    stage
        .wait(&["--targets", "boss-api"])
        .await
        .expect(1)
        .says(&["allow `elasticloadbalancing:DescribeTargetHealth`"]);
    stage.front.set_faults([Fault::throttle("elasticloadbalancing:DescribeTargetHealth").times(2)]);
    stage.wait(&["--targets", "boss-api"]).await.expect(0);
}

#[tokio::test]
async fn instances_of_a_classic_load_balancer_come_into_service() {
    let stage = Stage::load("classic").await;
    stage.wait(&["--classic-targets", "elb-boss=2"]).await.expect(0).says(&[
        "1 of 2 are in service; i-0b is OutOfService (ELB: Instance registration is still in progress.)",
    ]);
    stage.wait(&["--classic-targets", "elb-bosss"]).await.expect(3).says(&[
        "there is no such classic load balancer in account 123456789012",
        "aws elb describe-load-balancers",
    ]);
    stage.all_answered();
}

#[tokio::test]
async fn a_target_group_of_the_emulator_is_found_by_its_exact_name() {
    let world = World::start().await;
    let emulator = shared_emulator().await;
    let name = own("boss-api");
    let call = async |more: &[(&str, &str)]| {
        let parameters = [&[("Version", "2015-12-01")][..], more].concat();
        let (status, answer) = emulator.query("elasticloadbalancing", &parameters).await.unwrap();
        assert_eq!(status, 200, "{answer}");
        answer
    };
    let made = call(&[
        ("Action", "CreateTargetGroup"),
        ("Name", &name),
        ("Protocol", "HTTP"),
        ("Port", "80"),
        ("VpcId", "vpc-1"),
        ("TargetType", "ip"),
    ])
    .await;
    let arn =
        made.split("<TargetGroupArn>").nth(1).and_then(|rest| rest.split('<').next()).unwrap().to_owned();
    let once = async |group: &str| world.cutover(&["wait-healthy", "--once", "--targets", group]).await;
    once(&name).await.expect(1).says(&["none is registered"]);
    call(&[("Action", "RegisterTargets"), ("TargetGroupArn", &arn), ("Targets.member.1.Id", "10.0.0.7")])
        .await;
    once(&name).await.expect(0);
    once(&arn).await.expect(0);
    once(&format!("{name}=2")).await.expect(1).says(&["1 of 1 are in service; want 2 at least"]);
    once(&name[..name.len() - 1]).await.expect(3).says(&["there is no such target group", "--region"]);
}

#[tokio::test]
async fn a_service_is_steady_when_one_deployment_has_all_of_its_tasks() {
    let world = World::start().await;
    let service = format!("{CLUSTER}/{SERVICE}");
    let once = async |service: &str| world.cutover(&["wait-healthy", "--once", "--ecs", service]).await;
    let ran = once(&service).await.expect(0);
    assert!(ran.stdout.contains("is steady: 2 of 2 tasks run, of rally-prod:1"), "{}", ran.stdout);
    once(&format!("{service}=rally-prod:2"))
        .await
        .expect(1)
        .says(&["it runs rally-prod:1, want rally-prod:2"]);
    let next = world.register(&repository("rally-prod", "@sha256:1111")).await;
    world
        .call("UpdateService", json!({"cluster": CLUSTER, "service": SERVICE, "taskDefinition": next}))
        .await;
    once(&service).await.expect(1).says(&["rally-prod:2 (PRIMARY)"]);
    world.settle().await;
    once(&format!("{service}={next}")).await.expect(0);
    once("rally-prod/nobody").await.expect(3).says(&["aws ecs list-services --cluster rally-prod"]);
    once("rally-none/nobody").await.expect(3).says(&["there is no cluster rally-none"]);
    world.call("UpdateService", json!({"cluster": CLUSTER, "service": SERVICE, "desiredCount": 0})).await;
    world.settle().await;
    once(&service).await.expect(1).says(&["its desired count is 0"]);
    assert!(world.front.writes().is_empty());
}

#[tokio::test]
async fn a_line_is_waited_for_and_not_shown() {
    let world = World::start().await;
    let emulator = shared_emulator().await;
    let group = own("/boss/endpoint");
    let call = async |operation: &str, request: serde_json::Value| {
        let target = format!("Logs_20140328.{operation}");
        let (status, answer) = emulator.call("logs", &target, &request).await.unwrap();
        assert_eq!(status, 200, "{answer}");
    };
    let line = format!("{group}=i-0abc");
    let mut command =
        world.command(&["wait-healthy", "--log", &line, "--log-since", "1h", "--interval", "50ms"]);
    command.args(["--timeout", "1m"]);
    let mut going = Going::start(command);
    going.says("there is no such log group").await;
    call("CreateLogGroup", json!({"logGroupName": group})).await;
    call("CreateLogStream", json!({"logGroupName": group, "logStreamName": "one"})).await;
    going.says("none since ").await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let now = u64::try_from(now).unwrap();
    let put = |message: &str| json!({"logGroupName": group, "logStreamName": "one", "logEvents": [{"timestamp": now, "message": message}]});
    call("PutLogEvents", put("i-0ab is here")).await;
    call("PutLogEvents", put("i-0abc is here, password=hunter22")).await;
    let (code, stdout) = going.end().await;
    assert_eq!(code, 0, "{stdout}");
    assert!(stdout.contains("in the stream one") && !stdout.contains("hunter22"), "{stdout}");
}

#[tokio::test]
async fn a_log_is_read_through_every_page() {
    let stage = Stage::load("log-pages").await;
    let args = ["--once", "--log", "/boss/endpoint=i-0abc started", "--log-since", "2026-11-21T12:00:00Z"];
    let ran = stage.wait(&args).await.expect(0);
    assert_eq!(
        ran.json()["probes"][0]["seen"],
        "it came at 2026-11-21T12:00:05Z in the stream i-0abc/endpoint"
    );
    stage.all_answered();
}

#[tokio::test]
async fn without_a_region_or_credentials_nothing_is_guessed() {
    let args = ["--once", "--targets", "boss-api"];
    run(command(&args, &[])).await.expect(3).says(&["choose an AWS region", "--region"]);
    let keys = [("AWS_REGION", REGION), ("AWS_ENDPOINT_URL", "127.0.0.1:1")];
    run(command(&args, &keys)).await.expect(3).says(&["is not an http:// or https:// URL"]);
}
