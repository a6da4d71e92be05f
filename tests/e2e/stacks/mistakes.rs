//! What a person gets to read who made a slip, lacks a permission, or has a bad network: one message, with the next move.

use testkit::front::Fault;

use super::{Stage, tiles};
use crate::world::run;

async fn with_stack() -> (Stage, String) {
    let stage = Stage::start().await;
    let stack = stage.tiles("Api", &tiles("tiles", "one")).await.replace("Api=", "api:Api=");
    stage.file("Api.template", &tiles("tiles", "two").to_string());
    stage.front.forget();
    (stage, stack)
}

/// Each with what is said of it; nothing is changed by any.
async fn refused(stage: &Stage, action: &str, args: &[&str], code: i32, says: &[&str]) {
    let ran = match action {
        "review" => stage.review(args).await,
        action => stage.deploy(action, args).await,
    };
    ran.expect(code).says(says).says(&["state: nothing was changed"]);
}

#[tokio::test]
async fn slips_of_the_command_line_are_told_with_what_was_meant() {
    let (stage, stack) = with_stack().await;
    let stack = ["--stack", stack.as_str()];
    let with = |more: &[&'static str]| [&stack[..], more].concat();
    let wrong_name = ["--stack", "api:Apl=Api.template"];
    refused(
        &stage,
        "update",
        &wrong_name,
        3,
        &["error: update stack Apl", "it does not exist", "correct its name"],
    )
    .await;
    let wrong_label = with(&["--allow", "apl/TileTable:replace-delete"]);
    for action in ["review", "update"] {
        refused(&stage, action, &wrong_label, 2, &["no --stack has the label apl", "did you mean api?"])
            .await;
    }
    refused(&stage, "review", &[], 2, &["neither --stack nor --from-file is given", "help: name a stack"])
        .await;
    refused(
        &stage,
        "recreate",
        &stack,
        2,
        &["--save-to does not say where", "s3://BUCKET/PREFIX, which outlives the runner"],
    )
    .await;
    refused(
        &stage,
        "create",
        &["--stack", "Api"],
        2,
        &["no template is given", "add =TEMPLATE[,PARAMETERS] to --stack Api"],
    )
    .await;
    refused(
        &stage,
        "update",
        &["--stack", "Api=nowhere.template"],
        2,
        &["error: read the template nowhere.template", "name a file that is there"],
    )
    .await;
    refused(&stage, "update", &[stack, stack].concat(), 2, &["it is given twice"]).await;
    refused(
        &stage,
        "update",
        &with(&["--param", "Stage=@api.Stge"]),
        3,
        &["stack Api has no output Stge", "did you mean @api.Stage?"],
    )
    .await;
    refused(
        &stage,
        "update",
        &with(&["--param", "Stage=@nobody.Stage"]),
        3,
        &["there is no stack nobody", "run that stack first"],
    )
    .await;
    refused(
        &stage,
        "update",
        &with(&["--param", "Stagee=x"]),
        2,
        &["no template of this call has such a parameter", "did you mean Stage?"],
    )
    .await;
    refused(
        &stage,
        "update",
        &with(&["--review", "nowhere.json", "--fingerprint", "sha256:0"]),
        2,
        &["error: read the review nowhere.json", "--report"],
    )
    .await;
    refused(&stage, "update", &with(&["--skip", "X"]), 2, &["--skip belongs to the recovery of one stack"])
        .await;
    refused(
        &stage,
        "create",
        &stack,
        3,
        &["it exists, and is not as the template and the parameters say", "nothing is deleted to make room"],
    )
    .await;
    let mut command = stage.command("deploy-stack", &with(&["--action", "update"]));
    command.env_remove("AWS_REGION");
    run(command).await.expect(3).says(&["error: choose an AWS region", "add --region, or set AWS_REGION"]);
    let word = stage.deploy("update", &with(&["--allow", "api/TileTable:force"])).await;
    word.expect(2).says(&["force is none of", "replace-delete"]);
    assert_eq!(stage.operations(), Vec::<String>::new());
    assert_eq!(stage.sets("Api").await, Vec::<String>::new());
    stage.is_whole();
}

#[tokio::test]
async fn a_missing_permission_is_named_and_what_was_made_goes_again() {
    let (stage, stack) = with_stack().await;
    let args = ["--stack", stack.as_str()];
    stage.front.set_faults([Fault::access_denied("cloudformation:CreateChangeSet")]);
    for action in ["review", "update"] {
        let says = [
            "error: make a change set for stack Api",
            "help: allow `cloudformation:CreateChangeSet` on arn:aws:cloudformation:us-east-1:",
        ];
        refused(&stage, action, &args, 1, &says).await;
    }
    stage.front.set_faults([Fault::access_denied("cloudformation:ExecuteChangeSet")]);
    refused(
        &stage,
        "update",
        &args,
        1,
        &["of stack Api", "help: allow `cloudformation:ExecuteChangeSet` on"],
    )
    .await;
    assert_eq!(stage.sets("Api").await, Vec::<String>::new());
    // What was found out is told though its change set stays.
    stage.front.set_faults([Fault::access_denied("cloudformation:DeleteChangeSet")]);
    stage.review(&args).await.expect(0).says(&[
        "warning: the change set cutover-review-",
        "is left",
        "changeset-review --undo with the receipt takes it away",
    ]);
    let missing = "Requires capabilities : [CAPABILITY_NAMED_IAM]";
    stage.front.set_faults([Fault::error(
        "cloudformation:CreateChangeSet",
        400,
        "InsufficientCapabilitiesException",
        missing,
    )]);
    refused(&stage, "update", &args, 1, &["CAPABILITY_NAMED_IAM", "acknowledge it with --capability"]).await;
    stage.is_whole();
}

#[tokio::test]
async fn somebody_elses_change_meanwhile_is_told() {
    let (stage, stack) = with_stack().await;
    let obsolete = "ChangeSet [arn:aws:cloudformation:us-east-1:111122223333:changeSet/x/1] cannot be executed in its current \
                    execution status of [OBSOLETE]";
    stage.front.set_faults([Fault::error(
        "cloudformation:ExecuteChangeSet",
        400,
        "InvalidChangeSetStatus",
        obsolete,
    )]);
    refused(
        &stage,
        "update",
        &["--stack", &stack],
        1,
        &["[OBSOLETE]", "somebody else changed the stack since it was made"],
    )
    .await;
    stage.front.set_faults([]);
    stage.deploy("update", &["--stack", &stack]).await.expect(0);
    stage.is_whole();
}

#[tokio::test]
async fn throttling_is_waited_out_and_a_dead_endpoint_is_told() {
    let (stage, stack) = with_stack().await;
    let mut command = stage.command("deploy-stack", &["--action", "update", "--stack", &stack]);
    command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
    run(command).await.expect(1).says(&[
        "AWS can't be reached: Connection refused",
        "check the network, the region, and the endpoint if one is set",
        "state: nothing was changed",
    ]);
    let throttled = |at: &str| Fault::error(at, 400, "Throttling", "Rate exceeded").times(1);
    let calls = ["CreateChangeSet", "DescribeChangeSet", "ExecuteChangeSet", "DescribeStackEvents"];
    stage.front.set_faults(calls.map(|call| throttled(&format!("cloudformation:{call}"))));
    stage.deploy("update", &["--stack", &stack]).await.expect(0);
    let effects = stage.calls("ExecuteChangeSet").iter().filter(|call| call.effect).count();
    assert_eq!(effects, 1);
    stage.is_whole();
}
