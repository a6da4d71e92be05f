//! Operations that fail, and what is refused before it would: each says why, what state is left, and the next move.

use serde_json::{Value, json};

use super::{Stage, line, tiles};

/// Fails when it is made.
fn broken() -> Value {
    json!({"Type": "AWS::SNS::Topic", "Properties": {"DisplayName": {"Fn::ImportValue": "nobody-exports-this"}}})
}

#[tokio::test]
async fn a_rolled_back_update_tells_the_first_failure_of_the_deepest_stack() {
    let stage = Stage::start().await;
    let bucket = format!("nested-{}", stage.account);
    stage.put(&bucket, "").await;
    let url = |name: &str| format!("https://s3.us-east-1.amazonaws.com/{bucket}/{name}");
    let parent = |name: &str| json!({"Resources": {"S3Res": {"Type": "AWS::CloudFormation::Stack", "Properties": {"TemplateURL": url(name)}}}});
    let absent = "arn:aws:lambda:us-east-1:000000000000:function:absent";
    for (name, inner) in [
        ("good.json", json!({"Type": "AWS::SNS::Topic"})),
        ("bad.json", json!({"Type": "Custom::Loader", "Properties": {"ServiceToken": absent}})),
    ] {
        stage.put(&format!("{bucket}/{name}"), &json!({"Resources": {"Inner": inner}}).to_string()).await;
    }
    stage.file("infra.template", &parent("good.json").to_string());
    let stack = ["--stack", "infra:Infra=infra.template"];
    stage.deploy("create", &stack).await.expect(0);
    stage.file("infra.template", &parent("bad.json").to_string());
    let allow = ["--allow", "infra/S3Res:opaque"];
    let ran = stage.deploy("update", &[&stack[..], &allow].concat()).await;
    ran.expect(5).says(&[
        "error: run stack infra",
        "because: S3Res/Inner (Custom::Loader): ",
        "help: it is as it was before; correct what failed, review and run again",
        "state: stack infra is UPDATE_ROLLBACK_COMPLETE",
    ]);
    // It can be updated again from there.
    stage.file("infra.template", &parent("good.json").to_string());
    stage.deploy("update", &stack).await.expect(0);
    stage.is_whole();
}

#[tokio::test]
async fn a_failed_roll_back_is_recovered_and_what_hinders_it_skipped_by_name() {
    let (stage, scenario) = Stage::scene("recover").await;
    let stack = ["--stack", "core:CoreProductionBoss"];
    let update = stage.file("core.template", &tiles("tiles", "one").to_string());
    let refused = stage.deploy("update", &["--stack", &format!("core:CoreProductionBoss={update}")]).await;
    refused.expect(3).says(&[
        "it is UPDATE_ROLLBACK_FAILED",
        "help: bring it back first: deploy-stack --action recover --stack CoreProductionBoss",
    ]);
    stage.deploy("recover", &stack).await.expect(5).says(&[
        "go on with the roll-back of stack CoreProductionBoss",
        "because: EndpointDB (AWS::RDS::DBInstance): Cannot upgrade mysql from 8.0.40 to 5.7.44",
        "help: mend what the reason names, and run the same command again",
        "deploy-stack --action recover --stack core:CoreProductionBoss --skip EndpointDB",
        "state: stack core is UPDATE_ROLLBACK_FAILED",
    ]);
    let skipped = stage.deploy("recover", &[&stack[..], &["--skip", "EndpointDB"]].concat()).await.expect(0);
    assert_eq!(line(&skipped.stdout, "statuses="), r#"{"core":"UPDATE_ROLLBACK_COMPLETE"}"#);
    skipped.says(&[
        "leave EndpointDB as it is though CloudFormation takes it for rolled back",
        "UPDATE_COMPLETE EndpointDB (AWS::RDS::DBInstance): Resource has been skipped by the user.",
    ]);
    assert_eq!(stage.operations(), ["ContinueUpdateRollback"; 2]);
    // Again there is nothing to recover.
    stage.deploy("recover", &stack).await.expect(0);
    assert_eq!(stage.operations().len(), 2);
    stage.is_played(&scenario);
}

#[tokio::test]
async fn an_update_that_failed_without_a_roll_back_is_rolled_back() {
    let stage = Stage::start().await;
    stage.tiles("Api", &tiles("tiles", "one")).await;
    let mut bad = tiles("tiles", "two");
    bad["Resources"]["New"] = broken();
    let update = [("StackName", "Api"), ("TemplateBody", &bad.to_string()), ("DisableRollback", "true")];
    stage.cloudformation("UpdateStack", &update).await;
    // Followed to its end if need be, and the way back is named.
    let template = stage.file("next.template", &tiles("tiles", "three").to_string());
    let ran = stage.deploy("update", &["--stack", &format!("api:Api={template}")]).await;
    assert!([3, 7].contains(&ran.code), "{ran:?}");
    ran.says(&["--action recover --stack"]);
    stage.front.forget();
    let ran = stage.deploy("recover", &["--stack", "api:Api"]).await.expect(0);
    assert_eq!(line(&ran.stdout, "statuses="), r#"{"api":"UPDATE_ROLLBACK_COMPLETE"}"#);
    assert_eq!(stage.operations(), ["RollbackStack"]);
    stage.is_whole();
}

#[tokio::test]
async fn a_deletion_that_fails_stops_and_retains_nothing_by_force() {
    let (stage, scenario) = Stage::scene("delete-fails").await;
    let args = [
        "--stack",
        "cachedb:CachedbProductionBoss",
        "--stack",
        "OtherProductionBoss",
        "--save-to",
        "saved",
        "--allow",
        "cachedb/Bucket:remove-delete",
    ];
    stage.deploy("delete", &args).await.expect(5).says(&[
        "error: delete stack cachedb",
        "because: Bucket (AWS::S3::Bucket): The bucket you tried to delete is not empty",
        "help: look at what could not be deleted, empty or keep it, and delete again; nothing is retained by force",
        "state: stack cachedb is DELETE_FAILED",
        "state: not begun: OtherProductionBoss",
    ]);
    let deletions = stage.calls("DeleteStack");
    assert_eq!(deletions.len(), 1);
    let request = &deletions[0].request;
    assert!(
        request["ClientRequestToken"].as_str().is_some_and(|token| token.starts_with("delete-")),
        "{request}"
    );
    assert!(
        request.get("RetainResources.member.1").is_none() && request.get("DeletionMode").is_none(),
        "{request}"
    );
    stage.is_played(&scenario);
}

#[tokio::test]
async fn what_could_not_be_deleted_or_made_again_is_refused_before_anything_is() {
    let stage = Stage::start().await;
    let secret = json!({
        "Parameters": {"Password": {"Type": "String", "NoEcho": true, "Default": "x"}},
        "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
        "Outputs": {"TopicArn": {"Value": {"Ref": "Topic"}, "Export": {"Name": "secret-topic"}}},
    });
    let template = stage.file("secret.template", &secret.to_string());
    let operand = format!("secret:Secret={template}");
    stage.deploy("create", &["--stack", &operand]).await.expect(0);
    stage.front.forget();
    let recreate = ["--stack", operand.as_str(), "--save-to", "saved"];
    let refused = async |action: &str, args: &[&str], says: &[&str]| {
        stage.deploy(action, args).await.expect(3).says(says).says(&["state: nothing was changed"]);
        assert_eq!(stage.writes(), Vec::<String>::new());
    };
    refused(
        "recreate",
        &recreate,
        &[
            "Password can't be read back from it: NoEcho hides what it was",
            "help: give each: --param Password=@env:NAME, or in the file of parameters",
        ],
    )
    .await;
    let drain = |program: &'static str| {
        [&recreate[..], &["--param", "Password=@env:HOME", "--drain-check", program]].concat()
    };
    refused(
        "recreate",
        &drain("false"),
        &["its drain check ended with exit status: 1", "run the same command again"],
    )
    .await;
    refused(
        "delete",
        &[&recreate[..], &["--drain-check", "no-such-program"]].concat(),
        &["no-such-program can't be run"],
    )
    .await;
    refused(
        "recreate",
        &["--stack", &format!("Sceret={template}"), "--save-to", "saved"],
        &["there is no stack Sceret", "make a stack that was never there with --action create"],
    )
    .await;

    let importer = json!({"Resources": {"T": {"Type": "AWS::SNS::Topic", "Properties": {"DisplayName": {"Fn::ImportValue": "secret-topic"}}}}});
    let importer = stage.file("importer.template", &importer.to_string());
    stage.deploy("create", &["--stack", &format!("Importer={importer}")]).await.expect(0);
    stage.front.forget();
    refused(
        "delete",
        &recreate,
        &["secret-topic is imported by Importer", "change or delete the stacks that import first"],
    )
    .await;
    stage
        .review(&["--stack", "Secret", "--delete", "Secret"])
        .await
        .expect(3)
        .says(&["secret-topic is imported by Importer"]);
    let guard = [("StackName", "Secret"), ("EnableTerminationProtection", "true")];
    stage.cloudformation("UpdateTerminationProtection", &guard).await;
    refused(
        "delete",
        &recreate,
        &[
            "its termination protection is on",
            "aws cloudformation update-termination-protection --no-enable-termination-protection",
        ],
    )
    .await;
    let guard = [("StackName", "Secret"), ("EnableTerminationProtection", "false")];
    stage.cloudformation("UpdateTerminationProtection", &guard).await;

    // Both in one call, the one that imports first.
    let both = ["--stack", "Importer", "--stack", "Secret", "--save-to", "saved"];
    let ran = stage.deploy("delete", &both).await.expect(0);
    assert_eq!(line(&ran.stdout, "delete: "), "Importer, Secret");
    assert_eq!(stage.operations(), ["DeleteStack"; 2]);
    assert_eq!((stage.status("Importer").await, stage.status("Secret").await), (None, None));
    stage.front.forget();
    let again = stage
        .deploy("delete", &both)
        .await
        .expect(0)
        .says(&["Importer does not exist, so nothing is deleted"]);
    assert_eq!(line(&again.stdout, "changed="), "false");
    assert_eq!(stage.writes(), Vec::<String>::new());
    stage.is_whole();
}
