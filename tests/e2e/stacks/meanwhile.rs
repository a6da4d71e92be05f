//! What others do to a stack while a run is at work, or before it came.

use serde_json::{Value, json};
use testkit::front::When;

use super::{Stage, tiles};
use crate::world::{Ran, run};

const GONE: [&str; 4] =
    ["--allow", "api/TileTable:remove-delete", "--allow", "other/TileTable:remove-delete"];

/// An operation that fails when it is signalled, and not before.
fn failing(text: &str) -> Value {
    let mut template = tiles("tiles", text);
    template["Resources"]["Wait"] = json!({"Type": "AWS::CloudFormation::WaitCondition",
        "CreationPolicy": {"ResourceSignal": {"Count": 1, "Timeout": "PT5M"}}});
    template["Resources"]["Late"] = json!({"Type": "AWS::SNS::Topic", "DependsOn": "Wait",
        "Properties": {"DisplayName": {"Fn::ImportValue": "nobody-exports-this"}}});
    template
}

/// A run that is seen to follow what somebody else began, which fails then.
async fn overtaken(stage: &Stage, action: &str, args: &[&str]) -> Ran {
    let hold = stage.front.hold("cloudformation:DescribeStackEvents#3", When::BeforeForward);
    let command = stage.command("deploy-stack", &[&["--action", action], args].concat());
    let then = async {
        hold.arrived().await;
        let signal =
            [("StackName", "Api"), ("LogicalResourceId", "Wait"), ("UniqueId", "1"), ("Status", "SUCCESS")];
        stage.cloudformation("SignalResource", &signal).await;
        hold.release();
    };
    tokio::join!(run(command), then).0
}

/// Waits until nothing goes on in a stack.
async fn settled(stage: &Stage, stack: &str) {
    while stage.status(stack).await.is_some_and(|status| status.ends_with("_IN_PROGRESS")) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_stack_that_others_changed_since_it_was_looked_at_is_not_deleted() {
    let with_table = {
        let mut template = tiles("others", "one");
        template["Resources"]["More"] = tiles("more", "one")["Resources"]["TileTable"].clone();
        template.to_string()
    };
    let same = tiles("others", "one").to_string();
    let policy =
        json!({"Statement": [{"Effect": "Deny", "Action": "Update:*", "Principal": "*", "Resource": "*"}]})
            .to_string();
    let stack = ("StackName", "Other");
    let of = |template| vec![stack, ("TemplateBody", template)];
    let stage_of = |value| {
        vec![("Parameters.member.1.ParameterKey", "Stage"), ("Parameters.member.1.ParameterValue", value)]
    };
    for (call, fields, told) in [
        (
            "UpdateStack",
            [of(&with_table), stage_of("prod")].concat(),
            "other/More (AWS::DynamoDB::Table) was not there",
        ),
        ("UpdateStack", [of(&same), stage_of("dev")].concat(), "its parameters changed"),
        ("SetStackPolicy", vec![stack, ("StackPolicyBody", &policy)], "its stack policy changed"),
    ] {
        let stage = Stage::start().await;
        let api = stage.tiles("Api", &tiles("tiles", "one")).await.replace("Api=", "api:Api=");
        let other = stage.tiles("Other", &tiles("others", "one")).await.replace("Other=", "other:Other=");
        let args = [&["--stack", &api, "--stack", &other, "--save-to", "saved"], &GONE[..]].concat();
        let before = stage.stack_id("Other").await;
        // While the first is being deleted.
        let hold = stage.front.hold("cloudformation:DeleteStack", When::AfterEffect);
        let deletion = run(stage.command("deploy-stack", &[&["--action", "recreate"], &args[..]].concat()));
        let meanwhile = async {
            hold.arrived().await;
            stage.cloudformation(call, &fields).await;
            settled(&stage, "Other").await;
            hold.release();
        };
        let ran = tokio::join!(deletion, meanwhile).0.expect(7);
        ran.says(&[
            "error: delete stack other",
            told,
            "help: review what is left of this call",
            "changeset-review --stack other:Other=Other.template --recreate other",
            "state: nothing of stack other was deleted",
            "state: through: api",
        ]);
        assert_eq!(stage.stack_id("Other").await, before, "{call}: {told}");
        assert_eq!(stage.calls("DeleteStack").len(), 1, "{call}: {told}");
        stage.is_whole();
    }
}

#[tokio::test]
async fn a_deletion_that_goes_beyond_what_was_looked_at_can_be_approved_and_goes_on() {
    let stage = Stage::start().await;
    let api = stage.tiles("Api", &tiles("tiles", "one")).await.replace("Api=", "api:Api=");
    let args = [&["--stack", &api, "--save-to", "saved", "--drain-check", "sh check"], &GONE[..2]].concat();
    // The drain check itself is what takes so long.
    stage.file("check", "touch asked; cat drained");
    let pipe = tokio::process::Command::new("mkfifo").arg(stage.path("drained")).status().await;
    assert!(pipe.expect("mkfifo").success());
    let mut template = tiles("tiles", "one");
    template["Resources"]["More"] = tiles("more", "one")["Resources"]["TileTable"].clone();
    stage.front.forget();
    let deletion = run(stage.command("deploy-stack", &[&["--action", "delete"], &args[..]].concat()));
    let meanwhile = async {
        while !stage.path("asked").exists() {
            tokio::task::yield_now().await;
        }
        let update = [("StackName", "Api"), ("TemplateBody", &template.to_string())];
        stage.cloudformation("UpdateStack", &update).await;
        settled(&stage, "Api").await;
        stage.file("drained", "");
    };
    let ran = tokio::join!(deletion, meanwhile).0.expect(7);
    ran.says(&["api/More (AWS::DynamoDB::Table) was not there", "state: nothing was changed"]);
    assert_eq!(stage.operations(), Vec::<String>::new());
    assert!(stage.resources("Api").await.contains_key("More"));
    stage.file("check", "true");
    let allow = ["--allow", "api/More:remove-delete"];
    stage.deploy("delete", &[&args[..], &allow].concat()).await.expect(0);
    assert_eq!(stage.status("Api").await, None);
    stage.is_whole();
}

#[tokio::test]
async fn an_update_of_somebody_else_that_fails_is_told_as_such() {
    let stage = Stage::start().await;
    let release = stage.tiles("Api", &tiles("tiles", "one")).await.replace("Api=", "api:Api=");
    stage.file("Api.template", &tiles("tiles", "three").to_string());
    stage.front.forget();
    let update = [("StackName", "Api"), ("TemplateBody", &failing("two").to_string())];
    stage.cloudformation("UpdateStack", &update).await;
    let args = ["--stack", release.as_str()];
    overtaken(&stage, "update", &args).await.expect(7).says(&[
        "error: follow what was going on in stack api",
        "because: it was UPDATE_IN_PROGRESS before this run came, and ended as UPDATE_ROLLBACK_COMPLETE",
        "nobody-exports-this",
        "help: this run did not begin it: find out who did",
        "state: stack api is UPDATE_ROLLBACK_COMPLETE",
        "state: nothing was changed",
    ]);
    assert_eq!(stage.writes(), Vec::<String>::new());
    // It is as it was, so that the next run has its turn.
    stage.deploy("update", &args).await.expect(0);
    stage.is_whole();
}

#[tokio::test]
async fn a_creation_that_fails_meanwhile_does_not_keep_its_stack_from_being_deleted() {
    let stage = Stage::start().await;
    let template = failing("one").to_string();
    stage.cloudformation("CreateStack", &[("StackName", "Api"), ("TemplateBody", &template)]).await;
    let args = ["--stack", "api:Api", "--save-to", "saved"];
    let ran = overtaken(&stage, "delete", &args).await.expect(0);
    ran.says(&["it was CREATE_IN_PROGRESS before this run came, and ended as ROLLBACK_COMPLETE"]);
    assert_eq!(stage.operations(), ["DeleteStack"]);
    assert_eq!(stage.status("Api").await, None);
    stage.is_whole();
}
