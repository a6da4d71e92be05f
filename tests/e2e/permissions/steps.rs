//! The steps whose calls moto answers as AWS does.
//!
//! Not here, with the reason:
//!
//! * `deploy-service`, `run-migration --task` and `wait-healthy`: its ECS never rolls out;
//! * `changeset-review` and `deploy-stack`: its CloudFormation needs a package that nothing else here does, and is not installed;
//! * `backup-db`: its S3 gives a CRC-32 where a CRC-64/NVME was asked for;
//! * the alarms of `mute-alerts`: it asks for `monitoring:DescribeAlarms`, as the call is signed, where IAM has
//!   `cloudwatch:DescribeAlarms`;
//! * `dispatch-workflow` and `tag-release`: GitHub's permissions are not IAM's.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use futures::future::{BoxFuture, FutureExt as _};
use serde_json::{Value, json};
use testkit::dns::{Dns, Options};
use testkit::front::{Answer, Fault, Front, Request, Service};

use super::{Enforced, Proof, as_moto_knows_it, element, policy, without};
use crate::maintenance::stage::record as set;
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
    record(&world).await;
}

async fn schedule(world: &Enforced) {
    let needs =
        ["events:DescribeRule", "events:ListTagsForResource", "events:TagResource", "events:DisableRule"];
    let proof = Proof { step: "toggle-schedule", needs: &needs, places: &[], unasked: &[] };
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
    let needs = [
        "sns:ListTopics",
        "sns:ListSubscriptionsByTopic",
        "sns:GetSubscriptionAttributes",
        "sns:SetSubscriptionAttributes",
    ];
    let proof = Proof { step: "mute-alerts", needs: &needs, places: &[], unasked: &[] };
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
    let needs = ["ecs:DescribeTaskDefinition", "ecs:RegisterTaskDefinition"];
    let proof = Proof { step: "register-task-def", needs: &needs, places: &[], unasked: &[] };
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
    let needs = [
        "s3:ListBucket",
        "s3:GetObject",
        "s3:GetObjectTagging",
        "s3:ListBucketMultipartUploads",
        "s3:PutObject",
    ];
    let proof = Proof { step: "copy-objects", needs: &needs, places: &places, unasked: &[] };
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

/// The user has no right to the source, and the role to nothing else.
#[tokio::test]
async fn a_source_is_read_by_the_role_that_may_read_it() {
    const TRUST: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
        "Principal": {"AWS": "arn:aws:iam::123456789012:user/releaser"}}]}"#;
    let world = Enforced::start().await;
    let s3 = async |method: reqwest::Method, path: &str, body: &str| {
        let url = format!("{}/{path}", world.moto.url());
        world.send("s3", reqwest::Client::new().request(method, url).body(body.to_owned())).await
    };
    for bucket in ["theirs", "ours"] {
        s3(reqwest::Method::PUT, bucket, "").await;
    }
    s3(reqwest::Method::PUT, "theirs/backup", "the whole of Jenkins").await;
    let of_step = policy("copy-objects");
    let at = |source, destination| {
        [("SOURCE-ACCOUNT", "123456789012"), ("SOURCE", source), ("DESTINATION", destination)]
    };
    let users = as_moto_knows_it(&of_step, &at("nothing", "ours"));
    let roles = as_moto_knows_it(&of_step, &at("theirs", "nothing"));
    world.allow(&users).await;
    let role = [("Action", "CreateRole"), ("RoleName", "reader"), ("AssumeRolePolicyDocument", TRUST)];
    world.query("iam", "2010-05-08", &role).await;
    world.put_policy(&[("Action", "PutRolePolicy"), ("RoleName", "reader")], &roles).await;
    let copy = texts(&["copy-objects", "--from", "s3://theirs/backup", "--to", "s3://ours/backup"]);
    let by_role =
        [copy.clone(), texts(&["--through", "--source-role-arn", "arn:aws:iam::123456789012:role/reader"])]
            .concat();
    let copies = async || s3(reqwest::Method::GET, "ours?list-type=2", "").await.matches("<Key>").count();

    world.as_user(&copy).await.expect(1).says(&["reach the bucket theirs", "s3:ListBucket"]);
    world.allow(&without(&users, "sts:AssumeRole")).await;
    world.as_user(&by_role).await.expect(1).says(&["sts:AssumeRole", "role/reader"]);
    assert_eq!(copies().await, 0);

    world.allow(&users).await;
    world
        .as_user(&by_role)
        .await
        .expect(0)
        .says(&["the source is read as arn:aws:sts::123456789012:assumed-role/reader/"]);
    assert_eq!(s3(reqwest::Method::GET, "ours/backup", "").await, "the whole of Jenkins");
    assert_eq!(world.front.unmatched(), [""; 0]);
}

/// A zone in which the name leads to the page already.
struct Led(String);

impl Service for Led {
    fn service(&self) -> &'static str {
        "route53"
    }

    fn handle<'a>(&'a self, _: &'a Request) -> BoxFuture<'a, Option<Answer>> {
        let list = format!(
            "<ListResourceRecordSetsResponse xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><ResourceRecordSets>{}\
             </ResourceRecordSets><IsTruncated>false</IsTruncated><MaxItems>300</MaxItems></ListResourceRecordSetsResponse>",
            self.0
        );
        async { Some(Answer::xml(list)) }.boxed()
    }
}

/// The DNS server knows from the start where the name is to lead: it is not what is proven.
async fn record(world: &Enforced) {
    let unasked = [("cloudformation:DescribeStackResources", "without it one warning less is given")];
    let needs = [
        "route53:ListHostedZonesByName",
        "route53:ListResourceRecordSets",
        "route53:ChangeResourceRecordSets",
        "route53:GetChange",
    ];
    let proof = Proof { step: "maintenance-toggle", needs: &needs, places: &[], unasked: &unasked };
    let servers = Mutex::new(Vec::new());
    // moto's CloudFormation is not installed; of AWS's, a record that no stack has made gets this answer.
    let nobody = "Stack for api.test does not exist";
    world.front.set_faults([Fault::error("cloudformation:*", 400, "ValidationError", nobody)]);
    let route53 = async |method: reqwest::Method, path: &str, body: String| {
        let url = format!("{}/2013-04-01/{path}", world.moto.url());
        world.send("route53", reqwest::Client::new().request(method, url).body(body)).await
    };
    let fresh = async || {
        let zone = format!("{}.test", own("boss"));
        let made = format!(
            "<CreateHostedZoneRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><Name>{zone}</Name>\
             <CallerReference>{zone}</CallerReference></CreateHostedZoneRequest>"
        );
        let answer = route53(reqwest::Method::POST, "hostedzone", made).await;
        let id = element(&answer, "Id").unwrap().replace("/hostedzone/", "");
        let change = format!(
            "<ChangeResourceRecordSetsRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><ChangeBatch><Changes>\
             <Change><Action>CREATE</Action>{}</Change></Changes></ChangeBatch></ChangeResourceRecordSetsRequest>",
            set(&format!("api.{zone}"), "CNAME", 300, "live.test.")
        );
        route53(reqwest::Method::POST, &format!("hostedzone/{id}/rrset"), change).await;
        let name = format!("api.{zone}");
        let page = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let led = Front::builder().service(Arc::new(Led(set(&name, "CNAME", 60, "page.test."))));
        let led = led.start().await.unwrap();
        let zones = vec![(zone.clone(), id.clone())];
        let options = Options { zones, addresses: vec![("page.test".into(), page)], ..Options::default() };
        let dns = Dns::start(led.url(), options).await.unwrap();
        let server = dns.address().to_string();
        servers.lock().unwrap().push((dns, led));
        let args = ["maintenance-toggle", "--action", "on", "--name", &name, "--zone", &zone, "--no-fetch"];

        let to =
            ["--timeout", "30s", "--to-name", "page.test", "--name-server", &server, "--resolver", &server];
        (texts(&[&args[..], &to].concat()), id)
    };
    let state = async |id: &str| {
        json!(route53(reqwest::Method::GET, &format!("hostedzone/{id}/rrset"), String::new()).await)
    };
    world.prove(&proof, fresh, state).await;
}
