//! A service whose load balancer was replaced while the page was on (runbook step B32).

use serde_json::json;

use super::stage::{Stage, outputs};
use crate::world::{own, shared_emulator, until};

const TEMPLATE: &str = r#"{
    "Resources": {
        "Topic": {"Type": "AWS::SNS::Topic"},
        "Balancer": {"Type": "AWS::ElasticLoadBalancingV2::LoadBalancer", "Properties": {"Name": "NAME", "Subnets": []}}
    },
    "Outputs": {"Service": {"Value": "live.test"}, "Page": {"Value": "https://x/"}}
}"#;

/// The name of a stack that has a load balancer, and what that is reached by.
async fn stack() -> (String, String) {
    let name = own("api");
    let emulator = shared_emulator().await;
    let template = TEMPLATE.replace("NAME", &name);
    let query = async |service: &str, version: &str, more: &[(&str, &str)]| {
        let (status, text) =
            emulator.query(service, &[more, &[("Version", version)]].concat()).await.unwrap();
        assert_eq!(status, 200, "{text}");
        text
    };
    let create = [("Action", "CreateStack"), ("StackName", &*name), ("TemplateBody", &*template)];
    query("cloudformation", "2010-05-15", &create).await;
    // The emulator makes a stack after it has answered.
    let look = [("Action", "DescribeStacks"), ("StackName", &*name)];
    until(async || query("cloudformation", "2010-05-15", &look).await.contains("CREATE_COMPLETE")).await;
    let find = [("Action", "DescribeLoadBalancers"), ("Names.member.1", &*name)];
    let found = query("elasticloadbalancing", "2015-12-01", &find).await;
    let dns = found.split("<DNSName>").nth(1).and_then(|rest| rest.split('<').next()).unwrap().to_owned();
    (name, dns)
}

#[tokio::test]
async fn nobody_is_led_back_to_where_the_service_is_not() {
    let stage = Stage::empty().await;
    stage.create(&stage.cname("gone.test.", 300)).await;
    let before = stage.records().await;
    let on = stage.world.path("on.json").to_str().unwrap().to_owned();
    stage.on(&["--receipt", &on]).await.expect(0);
    let closed = stage.records().await;
    stage.world.front.forget();
    for ran in [stage.off(&[]).await, stage.on(&["--undo", &on]).await] {
        ran.expect(3).says(&["the service is not served there", "has no address", "--live-from"]);
    }
    assert_eq!(stage.world.writes(), [""; 0]);
    assert_eq!(stage.records().await, closed);

    let (name, _) = stack().await;
    let off = async |part: &str, code: i32, says: &[&str]| {
        let part = format!("{name}{part}");
        stage.off(&["--live-from", &part]).await.expect(code).says(says)
    };
    off(".Nothing", 3, &["no resource of that logical ID and no such output", "its outputs are: "]).await;
    off(".Topic", 3, &["it is a AWS::SNS::Topic, and no load balancer"]).await;
    off(".Page", 3, &["no DNS name: https://x/"]).await;
    off("-none.Service", 3, &["there is no stack", "--region"]).await;
    off("", 2, &["STACK.OUTPUT"]).await;
    stage.on(&["--live-from", "a.B"]).await.expect(2).says(&["belongs to --action off"]);
    assert_eq!(stage.world.writes(), [""; 0]);

    let receipt = stage.world.path("off.json").to_str().unwrap().to_owned();
    let part = format!("{name}.Service");
    let ran = stage
        .off(&["--live-from", &part, "--receipt", &receipt])
        .await
        .expect(0)
        .says(&["CNAME gone.test. (TTL 300), and the service is elsewhere by now"]);
    assert_eq!(outputs(&ran)["record"], "CNAME live.test. (TTL 300)");
    assert_eq!(stage.records().await, before.replace("gone.test.", "live.test."));
    stage.off(&["--undo", &receipt]).await.expect(0);
    assert_eq!(stage.records().await, closed);
}

#[tokio::test]
async fn the_load_balancer_of_a_stack_is_where_the_service_is() {
    let stage = Stage::start().await;
    let (name, dns) = stack().await;
    stage.on(&[]).await.expect(0);
    let part = format!("{name}.Balancer");
    // The resolvers of this test know no address of it.
    let off = ["--live-from", &*part, "--no-fetch"];
    let ran = stage.off(&off).await.expect(0);
    assert_eq!(outputs(&ran)["record"], json!(format!("CNAME {}. (TTL 300)", dns.to_lowercase())));

    // The stack had led the name there itself, which ended the maintenance early: only what was saved goes.
    stage.delete(&stage.cname(&format!("{dns}."), 300)).await;
    stage.create(&stage.cname("live.test.", 300)).await;
    stage.on(&[]).await.expect(0);
    stage.delete(&stage.cname("page.test.", 60)).await;
    stage.create(&stage.cname(&format!("{dns}."), 300)).await;
    stage.off(&off).await.expect(0).says(&["the record leads to the service already"]);
    let left = stage.records().await;
    assert!(left.contains(&dns) && !left.contains("_cutover"), "{left}");
}
