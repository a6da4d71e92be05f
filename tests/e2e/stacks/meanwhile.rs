//! What others do to a stack while a run is at work.

use serde_json::json;
use testkit::front::When;

use super::{Stage, tiles};
use crate::world::run;

const GONE: [&str; 4] =
    ["--allow", "api/TileTable:remove-delete", "--allow", "other/TileTable:remove-delete"];

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
