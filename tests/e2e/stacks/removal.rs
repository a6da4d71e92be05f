//! Deleting, and deleting and making again: what is saved before, what is refused, what a run that was cut off leaves to the next.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use testkit::front::When;

use super::{Stage, texts, tiles};

const GONE: [&str; 2] = ["--allow", "api/TileTable:remove-delete"];

/// The only file in the folder that stacks are saved to.
fn saved(stage: &Stage) -> Value {
    let files: Vec<_> = std::fs::read_dir(stage.path("saved")).expect("a folder").flatten().collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let mode = files[0].metadata().expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "passwords stand in templates of the world");
    serde_json::from_str(&super::read(&files[0].path())).expect("JSON")
}

async fn parameters(stage: &Stage, stack: &str) -> BTreeMap<String, String> {
    let answer = stage.cloudformation("DescribeStacks", &[("StackName", stack)]).await;
    texts(&answer, "ParameterKey").into_iter().zip(texts(&answer, "ParameterValue")).collect()
}

async fn tags(stage: &Stage, stack: &str) -> BTreeMap<String, String> {
    let answer = stage.cloudformation("DescribeStacks", &[("StackName", stack)]).await;
    texts(&answer, "Key").into_iter().zip(texts(&answer, "Value")).collect()
}

/// A stack with a value, a tag, a policy, a topic and a role of its own; the arguments that recreate it.
async fn with_everything(stage: &Stage) -> (Vec<String>, String) {
    let stack = stage.tiles("Api", &tiles("tiles", "one")).await.replace("Api=", "api:Api=");
    let policy =
        json!({"Statement": [{"Effect": "Allow", "Action": "Update:*", "Principal": "*", "Resource": "*"}]})
            .to_string();
    stage.cloudformation("SetStackPolicy", &[("StackName", "Api"), ("StackPolicyBody", &policy)]).await;
    let args = ["--stack", &stack, "--save-to", "saved"].map(str::to_owned).to_vec();
    (args, policy)
}

async fn is_as_it_was(stage: &Stage, before: &str, policy: &str) {
    assert_eq!(stage.status("Api").await.as_deref(), Some("CREATE_COMPLETE"));
    assert_ne!(stage.stack_id("Api").await, before, "it is another stack");
    assert_eq!(parameters(stage, "Api").await["Stage"], "prod", "not the template's default");
    assert_eq!(tags(stage, "Api").await["team"], "boss");
    let answer = stage.cloudformation("GetStackPolicy", &[("StackName", "Api")]).await;
    let present = texts(&answer, "StackPolicyBody").concat().replace("&quot;", "\"");
    assert_eq!(
        serde_json::from_str::<Value>(&present).expect("a policy"),
        serde_json::from_str::<Value>(policy).unwrap()
    );
}

#[tokio::test]
async fn a_recreated_stack_is_what_it_was_and_what_it_was_is_kept() {
    let stage = Stage::start().await;
    let (args, policy) = with_everything(&stage).await;
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let before = stage.stack_id("Api").await;
    stage.front.forget();
    // Not without an approval of what goes with it.
    let review = |allow: &[&str]| [&args[..2], &["--recreate", "api"], allow].concat().join("\u{1}");
    let unapproved = review(&[]);
    let unapproved: Vec<&str> = unapproved.split('\u{1}').collect();
    let (refused, _) = stage.reviewed("refused.json", &unapproved, 3).await;
    stage
        .deploy_as(&refused, "recreate", &args)
        .await
        .expect(3)
        .says(&["api/TileTable: LOSS (remove-delete) is not approved", "state: nothing was changed"]);
    assert_eq!(stage.writes(), Vec::<String>::new());

    let approval = review(&GONE);
    let approval: Vec<&str> = approval.split('\u{1}').collect();
    let (approved, _) = stage.reviewed("review.json", &approval, 0).await;
    let ran = stage.deploy_as(&approved, "recreate", &args).await.expect(0);
    ran.says(&["api: what it was is saved to saved/Api-", "api: it has its policy again"]);
    assert_eq!(stage.writes(), ["DeleteStack", "CreateChangeSet", "ExecuteChangeSet", "SetStackPolicy"]);
    is_as_it_was(&stage, &before, &policy).await;
    let saved = saved(&stage);
    assert_eq!(saved["stack-id"], before.as_str());
    assert_eq!((&saved["parameters"]["Stage"], &saved["tags"]["team"]), (&json!("prod"), &json!("boss")));
    assert_eq!(saved["outputs"]["Stage"], "prod");
    assert_eq!(
        serde_json::from_str::<Value>(saved["template"].as_str().unwrap()).unwrap(),
        tiles("tiles", "one")
    );
    assert_eq!(
        serde_json::from_str::<Value>(saved["stack-policy"].as_str().unwrap()).unwrap(),
        serde_json::from_str::<Value>(&policy).unwrap()
    );

    // The same again: what was reviewed is gone already, and what is there now is not deleted.
    let made = stage.stack_id("Api").await;
    stage.front.forget();
    let again = stage.deploy_as(&approved, "recreate", &args).await.expect(0);
    again.says(&[
        "api was deleted and made anew already: it is not deleted a second time",
        "api: nothing changes",
    ]);
    assert_eq!(stage.writes(), ["CreateChangeSet", "DeleteChangeSet"]);
    assert_eq!(stage.stack_id("Api").await, made);
    stage.is_whole();
}

#[tokio::test]
async fn a_recreation_killed_at_any_call_is_finished_by_the_same_command() {
    for (at, when) in [
        ("DeleteStack", When::BeforeForward),
        ("DeleteStack", When::AfterEffect),
        ("CreateChangeSet", When::BeforeForward),
        ("CreateChangeSet", When::AfterEffect),
        ("ExecuteChangeSet", When::BeforeForward),
        ("ExecuteChangeSet", When::AfterEffect),
        ("SetStackPolicy", When::BeforeForward),
        ("SetStackPolicy", When::AfterEffect),
    ] {
        let stage = Stage::start().await;
        let (args, policy) = with_everything(&stage).await;
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let before = stage.stack_id("Api").await;
        let (approved, _) =
            stage.reviewed("review.json", &[&args[..2], &["--recreate", "api"], &GONE].concat(), 0).await;
        let by = ["--review", &approved.file, "--fingerprint", &approved.fingerprint];
        stage.front.forget();
        stage.killed_at(at, when, "recreate", &[&by[..], &args].concat()).await;
        stage.deploy_as(&approved, "recreate", &args).await.expect(0);
        let effects = |name: &str| stage.calls(name).iter().filter(|call| call.effect).count();
        assert_eq!(effects("DeleteStack"), 1, "{at} {when:?}");
        assert_eq!(effects("ExecuteChangeSet"), 1, "{at} {when:?}");
        is_as_it_was(&stage, &before, &policy).await;
        assert_eq!(saved(&stage)["stack-id"], before.as_str(), "{at} {when:?}");
        stage.is_whole();
    }
}

#[tokio::test]
async fn what_was_saved_is_enough_to_make_a_stack_again() {
    let stage = Stage::start().await;
    let (args, _) = with_everything(&stage).await;
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    stage.deploy("delete", &[&args[..], &GONE].concat()).await.expect(0);
    // The emulator knows nothing of these; what AWS tells of them is saved in these fields.
    let (role, topic) =
        ("arn:aws:iam::111122223333:role/stacks", "arn:aws:sns:us-east-1:111122223333:events");
    let alarm = json!({"arn": "arn:aws:cloudwatch:us-east-1:111122223333:alarm:errors", "type": "AWS::CloudWatch::Alarm"});
    let mut kept = saved(&stage);
    kept["role-arn"] = json!(role);
    kept["notification-arns"] = json!([topic]);
    kept["rollback-triggers"] = json!([alarm]);
    let file = std::fs::read_dir(stage.path("saved")).unwrap().flatten().next().unwrap().path();
    std::fs::write(file, kept.to_string()).unwrap();
    stage.front.forget();
    stage.deploy("recreate", &args).await.expect(0).says(&["api does not exist, so nothing is deleted"]);
    let request = &stage.calls("CreateChangeSet")[0].request;
    for (field, value) in [
        ("RoleARN", role),
        ("NotificationARNs.member.1", topic),
        (
            "RollbackConfiguration.RollbackTriggers.member.1.Arn",
            "arn:aws:cloudwatch:us-east-1:111122223333:alarm:errors",
        ),
        ("Parameters.member.1.ParameterValue", "prod"),
        ("Tags.member.1.Value", "boss"),
    ] {
        assert_eq!(request[field], value, "{field} of {request}");
    }
    assert_eq!(stage.writes(), ["CreateChangeSet", "ExecuteChangeSet", "SetStackPolicy"]);
    stage.is_whole();
}

#[tokio::test]
async fn a_recreation_that_failed_is_mended_and_still_makes_what_the_stack_was() {
    let stage = Stage::start().await;
    let (args, policy) = with_everything(&stage).await;
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let before = stage.stack_id("Api").await;
    let (approved, _) =
        stage.reviewed("review.json", &[&args[..2], &["--recreate", "api"], &GONE].concat(), 0).await;
    let mut broken = tiles("tiles", "one");
    broken["Resources"]["New"] = json!({"Type": "AWS::SNS::Topic", "Properties": {"DisplayName": {"Fn::ImportValue": "nobody-exports-this"}}});
    stage.file("Api.template", &broken.to_string());
    stage.deploy_as(&approved, "recreate", &args).await.expect(5).says(&[
        "error: make stack api again",
        "nobody-exports-this",
        "help: correct what failed, and run the same command again: it is made with what was saved of it",
        "state: stack api is ROLLBACK_COMPLETE",
    ]);
    stage.file("Api.template", &tiles("tiles", "one").to_string());
    stage.deploy_as(&approved, "recreate", &args).await.expect(0);
    is_as_it_was(&stage, &before, &policy).await;
    stage.is_whole();
}

#[tokio::test]
async fn a_runner_that_is_lost_takes_nothing_with_it() {
    let stage = Stage::start().await;
    let bucket = format!("saved-{}", stage.account);
    stage.put(&bucket, "").await;
    let (args, policy) = with_everything(&stage).await;
    let place = format!("s3://{bucket}/stacks");
    let args = ["--stack", args[1].as_str(), "--save-to", &place];
    let before = stage.stack_id("Api").await;
    stage.killed_at("CreateChangeSet", When::BeforeForward, "recreate", &[&args[..], &GONE].concat()).await;
    assert_eq!(stage.status("Api").await, None);
    // Nothing of the first run's disk is there for the second.
    std::fs::remove_dir_all(stage.path("cutover-receipts")).unwrap();
    stage.deploy("recreate", &[&args[..], &GONE].concat()).await.expect(0);
    is_as_it_was(&stage, &before, &policy).await;
    let elsewhere = ["--stack", args[1], "--save-to", &format!("s3://{bucket}/other"), "--allow", GONE[1]];
    stage.cloudformation("DeleteStack", &[("StackName", "Api")]).await;
    stage.front.forget();
    stage
        .deploy("recreate", &elsewhere)
        .await
        .expect(3)
        .says(&["there is no stack Api, and nothing of it is saved in s3://", "/other"]);
    assert_eq!(stage.writes(), Vec::<String>::new());
    stage.is_whole();
}
