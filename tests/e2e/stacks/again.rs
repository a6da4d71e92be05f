//! Runs that are cut off, and runs again: an operation that goes on is followed to its end by the next run.

use serde_json::{Value, json};
use testkit::front::{Fault, When};

use super::{Stage, line, tiles};
use crate::world::{Ran, run};

/// An update that goes on until its wait condition is signalled, and has a topic after it.
fn waiting(text: &str) -> Value {
    let mut template = tiles("tiles", text);
    template["Resources"]["Wait"] = json!({"Type": "AWS::CloudFormation::WaitCondition",
        "CreationPolicy": {"ResourceSignal": {"Count": 1, "Timeout": "PT5M"}}});
    template["Resources"]["Late"] = json!({"Type": "AWS::SNS::Topic", "DependsOn": "Wait"});
    template
}

async fn signal(stage: &Stage) {
    let signal =
        [("StackName", "Api"), ("LogicalResourceId", "Wait"), ("UniqueId", "1"), ("Status", "SUCCESS")];
    stage.cloudformation("SignalResource", &signal).await;
}

/// A stack, and the release that hangs in it.
async fn hanging(stage: &Stage) -> String {
    let stack = stage.tiles("Api", &tiles("tiles", "one")).await;
    stage.file("Api.template", &waiting("two").to_string());
    stage.front.forget();
    stack.replace("Api=", "api:Api=")
}

/// A run that is seen to follow what goes on before it is signalled.
async fn signalled(stage: &Stage, action: &str, args: &[&str]) -> Ran {
    // The stack is described once to be looked at, and the events are read again and again while it is followed.
    let hold = stage.front.hold("cloudformation:DescribeStackEvents#3", When::BeforeForward);
    let command = stage.command("deploy-stack", &[&["--action", action], args].concat());
    let follow = run(command);
    let then = async {
        hold.arrived().await;
        signal(stage).await;
        hold.release();
    };
    tokio::join!(follow, then).0
}

#[tokio::test]
async fn a_run_that_was_killed_while_following_is_taken_up_by_the_next() {
    let stage = Stage::start().await;
    let release = hanging(&stage).await;
    let args = ["--stack", release.as_str()];
    stage.killed_at("DescribeStackEvents#3", When::BeforeForward, "update", &args).await;
    assert_eq!(stage.operations(), ["ExecuteChangeSet"]);
    assert_eq!(stage.status("Api").await.as_deref(), Some("UPDATE_IN_PROGRESS"));
    let ran = signalled(&stage, "update", &args).await.expect(0);
    assert_eq!(line(&ran.stdout, "statuses="), r#"{"api":"UPDATE_COMPLETE"}"#);
    ran.says(&[
        "note: api is UPDATE_IN_PROGRESS: it is followed to its end first",
        "api: UPDATE_IN_PROGRESS goes on, followed to its end",
        "_COMPLETE Late (AWS::SNS::Topic)",
        "api: nothing changes",
    ]);
    assert_eq!(stage.operations(), ["ExecuteChangeSet"], "once in both runs");
    assert_eq!(stage.sets("Api").await, Vec::<String>::new());
    stage.is_whole();
}

#[tokio::test]
async fn the_deadline_ends_the_waiting_and_not_the_update() {
    let stage = Stage::start().await;
    let release = hanging(&stage).await;
    let args = ["--stack", release.as_str()];
    let late = stage.deploy("update", &[&args[..], &["--timeout", "2s"]].concat()).await.expect(6);
    late.says(&[
        "the deadline passed; it was last seen so: UPDATE_IN_PROGRESS",
        "run the same command again to go on waiting",
    ]);
    assert_eq!(stage.status("Api").await.as_deref(), Some("UPDATE_IN_PROGRESS"));
    signalled(&stage, "update", &args).await.expect(0);
    assert_eq!(stage.operations(), ["ExecuteChangeSet"]);
    stage.is_whole();
}

#[tokio::test]
async fn an_update_killed_at_any_call_is_finished_by_the_same_command() {
    for (at, when) in [
        ("CreateChangeSet", When::BeforeForward),
        ("CreateChangeSet", When::AfterEffect),
        ("ExecuteChangeSet", When::BeforeForward),
        ("ExecuteChangeSet", When::AfterEffect),
    ] {
        for action in ["create", "update"] {
            let stage = Stage::start().await;
            let mut release =
                format!("Api={}", stage.file("Api.template", &tiles("tiles", "two").to_string()));
            if action == "update" {
                release = stage.tiles("Api", &tiles("tiles", "one")).await;
                stage.file("Api.template", &tiles("tiles", "two").to_string());
            }
            stage.front.forget();
            let args = ["--stack", release.as_str()];
            stage.killed_at(at, when, action, &args).await;
            stage.deploy(action, &args).await.expect(0);
            let effects = stage.calls("ExecuteChangeSet").iter().filter(|call| call.effect).count();
            assert_eq!(effects, 1, "{action} {at} {when:?}");
            assert_eq!(stage.sets("Api").await, Vec::<String>::new(), "{action} {at} {when:?}");
            let wanted = if action == "create" { "CREATE_COMPLETE" } else { "UPDATE_COMPLETE" };
            assert_eq!(stage.status("Api").await.as_deref(), Some(wanted));
            // And once more there is nothing to do.
            stage.front.forget();
            stage.deploy(action, &args).await.expect(0);
            assert_eq!(stage.writes(), ["CreateChangeSet", "DeleteChangeSet"], "{action} {at} {when:?}");
            stage.is_whole();
        }
    }
}

#[tokio::test]
async fn a_running_update_is_cancelled_and_seen_rolled_back() {
    let stage = Stage::start().await;
    let release = hanging(&stage).await;
    stage.killed_at("DescribeStackEvents#3", When::BeforeForward, "update", &["--stack", &release]).await;
    stage.front.forget();
    let cancel = ["--stack", "api:Api"];
    // The emulator ends its waiting only when it is signalled.
    let hold = stage.front.hold("cloudformation:CancelUpdateStack", When::AfterEffect);
    let command = stage.command("deploy-stack", &[&["--action", "cancel"], &cancel[..]].concat());
    let then = async {
        hold.arrived().await;
        signal(&stage).await;
        hold.release();
    };
    let ran = tokio::join!(run(command), then).0.expect(0);
    assert_eq!(line(&ran.stdout, "statuses="), r#"{"api":"UPDATE_ROLLBACK_COMPLETE"}"#);
    assert_eq!(stage.operations(), ["CancelUpdateStack"]);
    // Again: it is rolled back already. And there is no update to cancel when none runs.
    stage.front.forget();
    stage.deploy("cancel", &cancel).await.expect(0);
    stage.file("Api.template", &tiles("tiles", "three").to_string());
    stage.deploy("update", &["--stack", &release]).await.expect(0);
    stage.front.forget();
    stage
        .deploy("cancel", &cancel)
        .await
        .expect(3)
        .says(&["it is UPDATE_COMPLETE: there is no update to cancel", "state: nothing was changed"]);
    assert_eq!(stage.writes(), Vec::<String>::new());
    stage.is_whole();
}

#[tokio::test]
async fn what_a_killed_run_made_goes_with_what_the_next_one_may_not_execute() {
    let stage = Stage::start().await;
    let release = format!("Api={}", stage.file("Api.template", &tiles("tiles", "one").to_string()));
    let args = ["--stack", release.as_str()];
    stage.killed_at("CreateChangeSet", When::AfterEffect, "create", &args).await;
    assert_eq!(stage.sets("Api").await.len(), 1);
    stage.front.add_fault(Fault::access_denied("cloudformation:ExecuteChangeSet"));
    stage.deploy("create", &args).await.expect(1).says(&["what this run did is taken back"]);
    assert_eq!(stage.status("Api").await, None);
    stage.is_whole();
}
