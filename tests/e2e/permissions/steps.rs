//! The steps whose calls moto answers as AWS does.
//!
//! Not here, with the reason: `deploy-service`, `run-migration --task` and `wait-healthy` (its ECS never rolls out), `dispatch-workflow` and
//! `tag-release` (GitHub's permissions are not IAM's), alarms of `mute-alerts` (it asks for `monitoring:DescribeAlarms`, as the call is
//! signed, where IAM has `cloudwatch:DescribeAlarms`).

use serde_json::{Value, json};

use super::{Enforced, Proof, element};
use crate::world::own;

fn texts(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| (*arg).to_owned()).collect()
}

#[tokio::test]
async fn a_step_can_do_what_its_policy_allows_and_nothing_without_it() {
    let world = Enforced::start().await;
    schedule(&world).await;
    topic(&world).await;
    definition(&world).await;
    object(&world).await;
}

async fn schedule(world: &Enforced) {
    let proof = Proof { step: "toggle-schedule", places: &[], unasked: &[] };
    let fresh = async || {
        let name = own("nightly");
        let rule = json!({"Name": name, "ScheduleExpression": "rate(1 day)", "State": "ENABLED"});
        world.json("events", "AWSEvents.PutRule", &rule).await;
        (texts(&["toggle-schedule", "--action", "disable", "--rule", &name]), name)
    };
    let state = async |name: &str| {
        let rule = world.json("events", "AWSEvents.DescribeRule", &json!({ "Name": name })).await;
        let tags = json!({ "ResourceARN": rule["Arn"] });
        json!([rule["State"], world.json("events", "AWSEvents.ListTagsForResource", &tags).await["Tags"]])
    };
    world.prove(&proof, fresh, state).await;
}

async fn topic(world: &Enforced) {
    let proof = Proof { step: "mute-alerts", places: &[], unasked: &[] };
    let sns = async |form: &[(&str, &str)]| world.query("sns", "2010-03-31", form).await;
    let fresh = async || {
        let name = own("alerts");
        let made = sns(&[("Action", "CreateTopic"), ("Name", &name)]).await;
        let topic = element(&made, "TopicArn").unwrap();
        let endpoint = "arn:aws:sqs:us-east-1:123456789012:pager";
        let made = sns(&[
            ("Action", "Subscribe"),
            ("TopicArn", &topic),
            ("Protocol", "sqs"),
            ("Endpoint", endpoint),
        ])
        .await;
        let subscription = element(&made, "SubscriptionArn").unwrap();
        (texts(&["mute-alerts", "--action", "on", "--topic", &name]), subscription)
    };
    let state = async |subscription: &str| {
        let form = [("Action", "GetSubscriptionAttributes"), ("SubscriptionArn", subscription)];
        let answer = sns(&form).await;
        json!(answer.split_once("<key>FilterPolicy</key>").map(|(_, rest)| element(rest, "value")))
    };
    world.prove(&proof, fresh, state).await;
}

async fn definition(world: &Enforced) {
    let proof = Proof { step: "register-task-def", places: &[], unasked: &[] };
    let ecs = async |operation: &str, request: &Value| {
        world.json("ecs", &format!("AmazonEC2ContainerServiceV20141113.{operation}"), request).await
    };
    let fresh = async || {
        let family = own("web");
        let definition = |image: &str| json!({"family": family, "containerDefinitions": [{"name": "web", "image": image, "memory": 128}]});
        ecs("RegisterTaskDefinition", &definition("nginx:1")).await;
        let digest = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
        let image = format!("web=public.ecr.aws/nginx/nginx@{digest}");
        (texts(&["register-task-def", "--family", &family, "--image", &image]), family)
    };
    let state = async |family: &str| {
        ecs("ListTaskDefinitions", &json!({ "familyPrefix": family })).await["taskDefinitionArns"].clone()
    };
    world.prove(&proof, fresh, state).await;
}

async fn object(world: &Enforced) {
    let (old, new) = (own("old"), own("new"));
    let s3 = async |method: reqwest::Method, path: &str, body: &str| {
        let url = format!("{}/{path}", world.moto.url());
        world.send("s3", reqwest::Client::new().request(method, url).body(body.to_owned())).await
    };
    for bucket in [&old, &new] {
        s3(reqwest::Method::PUT, bucket, "").await;
    }
    let places = [("SOURCE", &*old), ("DESTINATION", &new)];
    let proof = Proof { step: "copy-objects", places: &places, unasked: &[] };
    let fresh = async || {
        let key = own("backup");
        s3(reqwest::Method::PUT, &format!("{old}/{key}"), "the whole of Jenkins").await;
        let (from, to) = (format!("s3://{old}/{key}"), format!("s3://{new}/{key}"));
        (texts(&["copy-objects", "--from", &from, "--to", &to]), key)
    };
    let state = async |key: &str| {
        let listed = s3(reqwest::Method::GET, &format!("{new}?list-type=2&prefix={key}"), "").await;
        json!(listed.contains("<Key>"))
    };
    world.prove(&proof, fresh, state).await;
}
