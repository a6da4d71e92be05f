use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use super::Scenario;
use crate::front::Front;

const ROLLED_BACK: &str = r#"{
    "title": "rolled back",
    "account": "123456789012",
    "documents": { "service": { "serviceName": "web", "loadBalancers": [], "deploymentConfiguration": { "maximumPercent": 200 } } },
    "resources": { "deployment": "none" },
    "transitions": [
        { "resource": "deployment", "from": "rolling", "to": "failed", "after": { "calls": 2, "of": "ecs:DescribeServices" } },
        { "resource": "deployment", "from": "failed", "to": "back", "after": { "milliseconds": 0 } }
    ],
    "answers": [
        { "call": "ecs:UpdateService", "when": { "deployment": "none" }, "set": { "deployment": "rolling" },
          "answer": { "service": { "$document": "service", "loadBalancers": null, "taskDefinition": { "$request": "/taskDefinition" },
            "deploymentConfiguration": { "minimumHealthyPercent": 50 } } }, "source": "test" },
        { "call": "ecs:DescribeServices#3", "error": { "code": "ThrottlingException", "message": "Rate exceeded" }, "source": "test" },
        { "call": "ecs:DescribeServices", "when": { "deployment": ["none", "rolling"] }, "answer": { "seen": "rolling" }, "source": "test" },
        { "call": "ecs:DescribeServices", "when": { "deployment": "back" }, "answer": { "seen": "back" }, "source": "test" },
        { "call": { "service": "ecs", "operation": "ListTasks", "fields": { "nextToken": "2" } }, "answer": { "taskArns": [] }, "source": "test" }
    ]
}"#;

struct World {
    front: Front,
    client: Client,
}

impl World {
    async fn start(scenario: &Scenario) -> Self {
        let front = scenario.serve(Front::builder()).start().await.unwrap();
        Self { front, client: Client::builder().no_proxy().build().unwrap() }
    }

    fn signed(&self, service: &str) -> RequestBuilder {
        let scope = format!("AKIAIOSFODNN7EXAMPLE/20261121/eu-west-1/{service}/aws4_request");
        self.client.post(self.front.url()).header(
            "authorization",
            format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"),
        )
    }

    async fn call(&self, operation: &str, document: Value) -> (u16, Value) {
        let request = self
            .signed("ecs")
            .header("x-amz-target", format!("AmazonEC2ContainerServiceV20141113.{operation}"))
            .header("content-type", "application/x-amz-json-1.1");
        let answer = request.body(document.to_string()).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
}

#[tokio::test]
async fn answers_follow_the_state_that_calls_bring_about() {
    let scenario = Scenario::parse(ROLLED_BACK).unwrap();
    let world = World::start(&scenario).await;
    let seen = async || world.call("DescribeServices", json!({})).await.1["seen"].clone();
    assert_eq!(seen().await, "rolling");
    let (status, updated) = world.call("UpdateService", json!({"taskDefinition": "web:2"})).await;
    assert_eq!(
        (status, updated),
        (
            200,
            json!({"service": {
                "serviceName": "web", "taskDefinition": "web:2",
                "deploymentConfiguration": {"maximumPercent": 200, "minimumHealthyPercent": 50},
            }})
        )
    );
    assert_eq!(scenario.state("deployment").unwrap(), "rolling");
    // The first poll after the update, then the third of all, then the one for which both transitions are due.
    assert_eq!(seen().await, "rolling");
    let throttled = world.call("DescribeServices", json!({})).await;
    assert_eq!((throttled.0, &throttled.1["__type"]), (400, &json!("ThrottlingException")));
    assert_eq!(seen().await, "back");
    assert_eq!(scenario.state("deployment").unwrap(), "back");
    assert!(world.front.unmatched().is_empty());
    assert_eq!(scenario.unused(), ["answers[4]: ecs:ListTasks"]);
}

#[tokio::test]
async fn what_no_entry_answers_is_told() {
    let scenario = Scenario::parse(ROLLED_BACK).unwrap();
    let world = World::start(&scenario).await;
    assert_eq!(world.call("ListTasks", json!({"nextToken": "1"})).await.0, 400);
    assert_eq!(world.call("ListTasks", json!({"nextToken": "2"})).await, (200, json!({"taskArns": []})));
    world.call("UpdateService", json!({})).await;
    // A second update is not foreseen in this state.
    assert_eq!(world.call("UpdateService", json!({})).await.0, 400);
    assert_eq!(world.front.unmatched().len(), 2, "{:?}", world.front.unmatched());
}

#[tokio::test]
async fn the_account_is_told() {
    let world = World::start(&Scenario::parse(ROLLED_BACK).unwrap()).await;
    let request = world.signed("sts").header("content-type", "application/x-www-form-urlencoded");
    let answer = request.body("Action=GetCallerIdentity&Version=2011-06-15").send().await.unwrap();
    assert!(answer.text().await.unwrap().contains("<Account>123456789012</Account>"));
}

#[test]
fn a_name_that_leads_nowhere_is_refused() {
    for (from, to, message) in [
        (
            r#""when": { "deployment": "back" }"#,
            r#""when": { "deployment": "bakc" }"#,
            "nothing brings deployment into the state bakc",
        ),
        (
            r#""when": { "deployment": "back" }"#,
            r#""when": { "deploiment": "back" }"#,
            "there is no resource deploiment",
        ),
        (r#""$document": "service""#, r#""$document": "servcie""#, "there is no document \"servcie\""),
        (r#""answer": { "seen": "back" }, "#, "", "either `answer` or `error`"),
        (
            r#""answer": { "seen": "back" }, "source": "test""#,
            r#""answer": { "seen": "back" }, "source": " ""#,
            "names no source",
        ),
        (r#""from": "failed""#, r#""form": "failed""#, "unknown field `form`"),
        (r#""milliseconds": 0"#, r#""millisecond": 0"#, "did not match any variant"),
    ] {
        assert!(ROLLED_BACK.contains(from), "{from}");
        let error = Scenario::parse(&ROLLED_BACK.replace(from, to)).err().unwrap().to_string();
        assert!(error.contains(message), "{to}: {error}");
    }
}

#[tokio::test]
async fn what_a_call_said_is_kept_for_a_later_answer() {
    let scenario = Scenario::parse(
        r#"{ "title": "a tag is read as it was written", "answers": [
            { "call": "ecs:TagResource", "keep": { "tag": "/tags/0" }, "answer": {}, "source": "test" },
            { "call": "ecs:ListTagsForResource", "answer": { "tags": [{ "$kept": "tag" }] }, "source": "test" }
        ] }"#,
    );
    let world = World::start(&scenario.unwrap()).await;
    let tags = json!({"tags": [{"key": "a", "value": "b"}]});
    world.call("TagResource", tags.clone()).await;
    assert_eq!(world.call("ListTagsForResource", json!({})).await.1, tags);
}
