//! What an update leaves as it is, and how each operation is asked for.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Stage, texts, tiles};

/// The members of a list in a request of the Query protocol, as pairs of these two fields.
fn pairs(request: &Value, list: &str, key: &str, value: &str) -> BTreeMap<String, String> {
    let at =
        |n: usize, field: &str| request[format!("{list}.member.{n}.{field}")].as_str().map(str::to_owned);
    (1..).map_while(|n| Some((at(n, key)?, at(n, value).unwrap_or_default()))).collect()
}

#[tokio::test]
async fn an_update_keeps_tags_and_parameters_and_touches_neither_role_nor_topics() {
    let stage = Stage::start().await;
    let with_secret = |text: &str| {
        let mut template = tiles("tiles", text);
        template["Parameters"]["Password"] = json!({"Type": "String", "NoEcho": true});
        template
    };
    let template = stage.file("api.template", &with_secret("one").to_string());
    let given = json!({"Parameters": {"Stage": "prod", "Password": "hunter22-of-the-stack"}, "Tags": {"team": "boss"}});
    let arguments = stage.file("api.arguments", &given.to_string());
    stage.deploy("create", &["--stack", &format!("api:Api={template},{arguments}")]).await.expect(0);
    stage.front.forget();

    stage.file("api.template", &with_secret("two").to_string());
    let (approved, _) = stage.reviewed("review.json", &["--stack", "api:Api=api.template"], 0).await;
    stage.deploy_as(&approved, "update", &["--stack", "api:Api=api.template"]).await.expect(0);
    let made = stage.calls("CreateChangeSet");
    assert_eq!(made.len(), 2, "one to look at, one to run");
    for call in &made {
        let request = &call.request;
        let previous = pairs(request, "Parameters", "ParameterKey", "UsePreviousValue");
        assert_eq!(
            previous,
            [("Password", "true"), ("Stage", "true")].map(|(k, v)| (k.to_owned(), v.to_owned())).into()
        );
        assert_eq!(pairs(request, "Tags", "Key", "Value")["team"], "boss");
        // Given, even empty, they would be changed.
        let fields = request.as_object().unwrap().keys();
        let touched: Vec<&String> = fields
            .filter(|field| {
                ["RoleARN", "NotificationARNs", "RollbackConfiguration"]
                    .iter()
                    .any(|name| field.starts_with(name))
            })
            .collect();
        assert_eq!(touched, Vec::<&String>::new());
        assert_eq!(request["IncludeNestedStacks"], "true");
        assert!(request["ClientToken"].as_str().is_some_and(|token| !token.is_empty()));
    }
    assert_ne!(made[0].request["ChangeSetName"], made[1].request["ChangeSetName"]);
    let run = &stage.calls("ExecuteChangeSet")[0].request;
    assert!(run["ChangeSetName"].as_str().unwrap().starts_with("arn:aws:cloudformation:us-east-1:"), "{run}");
    assert!(run["ClientRequestToken"].as_str().is_some_and(|token| !token.is_empty()), "{run}");
    let after = stage.cloudformation("DescribeStacks", &[("StackName", "Api")]).await;
    let values: BTreeMap<_, _> =
        texts(&after, "ParameterKey").into_iter().zip(texts(&after, "ParameterValue")).collect();
    assert_eq!(values["Stage"], "prod");
    assert_eq!(texts(&after, "Value"), ["boss"]);
    stage.is_whole();
}

#[tokio::test]
async fn a_stack_policy_denies_what_would_lose_data_from_then_on() {
    let stage = Stage::start().await;
    let template = stage.file("api.template", &tiles("tiles", "one").to_string());
    let args = ["--stack", &format!("api:Api={template}"), "--protect"];
    stage
        .deploy("create", &args)
        .await
        .expect(0)
        .says(&["write into the policy of stack Api that what holds data is not replaced or deleted"]);
    let policy = stage.cloudformation("GetStackPolicy", &[("StackName", "Api")]).await;
    let policy = texts(&policy, "StackPolicyBody").concat().replace("&quot;", "\"");
    let policy: Value = serde_json::from_str(&policy).unwrap_or_else(|error| panic!("{error}: {policy}"));
    assert_eq!(policy["Statement"][1]["Effect"], "Deny");
    assert_eq!(policy["Statement"][1]["Resource"], json!(["LogicalResourceId/TileTable"]));
    // Once is enough.
    stage.front.forget();
    stage.deploy("create", &args).await.expect(0);
    assert_eq!(stage.writes(), ["CreateChangeSet", "DeleteChangeSet"]);
    stage.is_whole();
}
