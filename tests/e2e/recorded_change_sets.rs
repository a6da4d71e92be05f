//! Recorded change sets, reviewed by the executable. What each is expected to say was written down by reading where it
//! comes from (the AWS user guide's samples, `LocalStack`'s snapshots validated against AWS, the AWS CDK's test data, issue
//! texts), before the step was run on it.

use std::path::Path;

use serde_json::Value;

use crate::world::{Ran, run_bare};

/// The files of one review, its exit code, and `STACK/LogicalId fate verdict` of each row.
struct Case {
    files: &'static [&'static str],
    code: i32,
    rows: &'static [&'static str],
    /// What is printed beside.
    says: &'static [&'static str],
}

const fn case(files: &'static [&'static str], code: i32, rows: &'static [&'static str]) -> Case {
    Case { files, code, rows, says: &[] }
}

const fn failing(files: &'static [&'static str], code: i32, says: &'static [&'static str]) -> Case {
    Case { files, code, rows: &[], says }
}

const CASES: &[Case] = &[
    // "aws cloudformation describe-change-set": the example changes a function's time-out in place.
    case(&["awscli/describe-change-set.json"], 0, &["function modify safe"]),
    // User guide, nested stacks: the parent's change is automatic, the child's function changes in place.
    case(
        &[
            "awsdocs/nested-1-my-root-stack-change-set.json",
            "awsdocs/nested-2-my-nested-stack-change-set.json",
        ],
        0,
        &["ChildStack modify safe", "function modify safe"],
    ),
    // The parent alone does not say what its child does.
    case(&["awsdocs/nested-1-my-root-stack-change-set.json"], 3, &["ChildStack opaque possible-loss"]),
    // User guide, sample change sets: tags directly, tags by a parameter, a replaced instance, a new group in its place.
    case(&["awsdocs/samples-1-SampleChangeSet-direct.json"], 0, &["MyEC2Instance modify safe"]),
    case(&["awsdocs/samples-2-SampleChangeSet.json"], 0, &["MyEC2Instance modify safe"]),
    case(&["awsdocs/samples-3-SampleChangeSet-multiple.json"], 0, &["MyEC2Instance replace-delete notice"]),
    case(
        &["awsdocs/samples-4-SampleChangeSet-addremove.json"],
        0,
        &["AutoScalingGroup add safe", "LaunchConfig add safe", "MyEC2Instance remove-delete notice"],
    ),
    case(&["awsdocs/view-1-SampleChangeSet-direct.json"], 0, &["MyEC2Instance modify safe"]),
    // A queue under a new name: its unread messages go with the old one.
    case(&["cdk/changeSet.json"], 3, &["Queue replace-delete loss", "mySsmParameter modify safe"]),
    case(
        &["cdk/changeSetWithIamChanges.json"],
        3,
        &[
            "MyRole replace-delete notice",
            "MyRoleDefaultPolicy modify safe",
            "Queue replace-delete loss",
            "mySsmParameter modify safe",
        ],
    ),
    // aws-cdk-cli#1971: a task definition is always replaced and holds nothing.
    case(&["issues/cdk-cli-1971-ecs-taskdef.partial.json"], 0, &["TaskDef54694570 replace-delete notice"]),
    case(&["issues/roadmap-156-conditional.json"], 0, &["rEventBusPolicy may-replace-delete notice"]),
    case(&["issues/roadmap-2113-known-after-apply.partial.json"], 0, &["NAT_GW replace-delete notice"]),
    case(
        &[
            "localstack/test_base_mapping_scenarios_update_string_referencing_resource_.describe-change-set-1.json",
            "localstack/test_base_mapping_scenarios_update_string_referencing_resource_.describe-change-set-1-prop-values.json",
        ],
        0,
        &["MySSMParameter add safe"],
    ),
    case(
        &[
            "localstack/test_base_mapping_scenarios_update_string_referencing_resource_.describe-change-set-2.json",
            "localstack/test_base_mapping_scenarios_update_string_referencing_resource_.describe-change-set-2-prop-values.json",
        ],
        0,
        &["MySSMParameter modify safe"],
    ),
    // A condition turns false and the topic goes; the placeholder is new, whatever its field Replacement says.
    case(
        &["localstack/test_condition_update_removes_resource.describe-change-set-2-prop-values.json"],
        0,
        &["SNSTopic remove-delete notice", "TopicPlaceholder add safe"],
    ),
    case(&["localstack/test_conditions.describe-change-set-2-prop-values.json"], 0, &["Parameter add safe"]),
    case(&["localstack/test_create_change_set_no_changes.change-set-description.json"], 0, &[]),
    case(&["localstack/test_empty_changeset.describe_nochange.json"], 0, &[]),
    // Without PolicyAction, as answers were before 2022: the old topic is taken to be deleted.
    case(
        &["localstack/test_create_change_set_update_without_parameters.describe_change_set.json"],
        0,
        &["topic123 replace-delete notice"],
    ),
    Case {
        files: &["localstack/test_create_while_in_review.describe_change_set.json"],
        code: 0,
        rows: &["SimpleParam add safe"],
        says: &["the change set is OBSOLETE"],
    },
    Case {
        files: &["localstack/test_name_conflicts.initial_changeset_id_desc.json"],
        code: 0,
        rows: &["SimpleParam add safe"],
        says: &["the change set is EXECUTE_COMPLETE"],
    },
    // AWS itself says that the description is incomplete, and the one that is not was not recorded.
    failing(
        &["localstack/test_describe_change_set_import_non_existent_export.describe_with_values.json"],
        1,
        &["leaves changes out", "No export named"],
    ),
    failing(
        &["localstack/test_fn_split_with_get_att.describe-change-set-1-prop-values.json"],
        1,
        &["leaves changes out", "every Fn::Join object requires two parameters"],
    ),
    failing(
        &["localstack/test_describe_failed_change_set.describe.json"],
        1,
        &["Transform AWS::Include failed with: S3 bucket [doesnotexist] does not exist"],
    ),
    case(
        &["localstack/test_direct_update.describe-change-set-2-prop-values.json"],
        0,
        &["Foo replace-delete notice"],
    ),
    case(
        &["localstack/test_dynamic_update.describe-change-set-2-prop-values.json"],
        0,
        &["Foo replace-delete notice", "Parameter modify safe"],
    ),
    case(
        &[
            "localstack/test_immutable_property_update_causes_resource_replacement.describe-change-set-2.json",
            "localstack/test_immutable_property_update_causes_resource_replacement.describe-change-set-2-prop-values.json",
        ],
        0,
        &["Topic1 replace-delete notice", "Topic2 modify safe"],
    ),
    // Tags and metadata of a bucket, by a NoEcho parameter.
    case(
        &["localstack/test_no_echo_parameter.describe_updated_change_set_no_echo_true.json"],
        0,
        &["LocalBucket modify safe"],
    ),
    case(
        &["localstack/test_parameter_changes.describe-change-set-2-prop-values.json"],
        0,
        &["Foo replace-delete notice", "Parameter modify safe"],
    ),
    // The resource called Role is a log group, and its events go with it.
    case(
        &["localstack/test_property_empy_list.describe-change-set-2-prop-values.json"],
        3,
        &["Role remove-delete loss"],
    ),
    case(
        &["localstack/test_unrelated_changes_requires_replacement.describe-change-set-2-prop-values.json"],
        0,
        &["Parameter1 replace-delete notice", "Parameter2 modify safe"],
    ),
    case(
        &["localstack/test_unrelated_changes_update_propagation.describe-change-set-2-prop-values.json"],
        0,
        &["Parameter1 modify safe"],
    ),
];

async fn review(folder: &Path, files: &[&str], more: &[&str]) -> Ran {
    let mut args = vec!["changeset-review".to_owned(), "--format=json".to_owned()];
    args.extend(files.iter().map(|file| format!("--from-file={}", folder.join(file).display())));
    args.extend(more.iter().map(|&arg| arg.to_owned()));
    run_bare(&args).await
}

fn rows(ran: &Ran) -> Vec<String> {
    let document = ran.json();
    let stacks = document["review"]["stacks"].as_array().cloned().unwrap_or_default();
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let mut rows: Vec<String> = stacks
        .iter()
        .flat_map(|stack| stack["rows"].as_array().cloned().unwrap_or_default())
        .map(|row| format!("{} {} {}", text(&row, "logical-id"), text(&row, "fate"), text(&row, "verdict")))
        .collect();
    rows.sort();
    rows
}

#[tokio::test]
async fn every_recorded_change_set_gets_the_verdict_of_its_source() {
    let Some(folder) = testkit::inputs::change_sets("the recorded change sets") else { return };
    let mut reviewed = std::collections::BTreeSet::new();
    for Case { files, code, rows: expected, says } in CASES {
        let ran = review(&folder, files, &[]).await;
        assert_eq!(ran.code, *code, "{files:?}: {}\n{}", ran.stdout, ran.stderr);
        assert_eq!(rows(&ran), *expected, "{files:?}");
        for text in *says {
            let all = format!("{}{}", ran.stdout, ran.stderr);
            assert!(all.contains(text), "{files:?} does not say {text}: {all}");
        }
        reviewed.extend(files.iter().map(|file| folder.join(file)));
    }
    // None was forgotten.
    for kind in
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir())
    {
        for file in std::fs::read_dir(kind).unwrap().map(|entry| entry.unwrap().path()) {
            assert!(reviewed.contains(&file), "{} has no expected verdict", file.display());
        }
    }
}

#[tokio::test]
async fn an_approval_by_name_lets_a_recorded_loss_pass_and_no_other_word_does() {
    let Some(folder) = testkit::inputs::change_sets("the approval of a recorded loss") else { return };
    let files = ["cdk/changeSet.json"];
    let refused = review(&folder, &files, &[]).await.expect(3);
    let document = refused.json();
    let stack = document["review"]["stacks"][0]["label"].as_str().unwrap().to_owned();
    let argument = format!("--allow {stack}/Queue:replace-delete");
    assert!(refused.stderr.contains(&argument), "the way on is said: {}", refused.stderr);
    let allow = |word: &str| format!("--allow={stack}/Queue:{word}");
    let other = review(&folder, &files, &[&allow("replace-retain")]).await.expect(3);
    assert!(other.stderr.contains("that is not what is done to it: replace-delete"), "{}", other.stderr);
    let passed = review(&folder, &files, &[&allow("replace-delete")]).await.expect(0);
    assert_ne!(
        passed.json()["review"]["fingerprint"],
        document["review"]["fingerprint"],
        "an approved review is another one"
    );
}

/// Nobody has published an answer of a set that reverts drift, so this one is made after AWS's reference: the words of
/// `DeploymentMode`, `ResourceDriftStatus`, `SyncWithActual` and of the three-way comparison.
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ResourceChange.html>,
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ResourceTargetDefinition.html>
#[tokio::test]
async fn a_set_that_reverts_drift_tells_what_is_made_again_empty() {
    let change = |id: &str, resource_type: &str, more: Value| {
        let mut change = serde_json::json!({"LogicalResourceId": id, "ResourceType": resource_type});
        change.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::json!({"Type": "Resource", "ResourceChange": change})
    };
    let target = serde_json::json!({"Attribute": "Properties", "Name": "DelaySeconds", "RequiresRecreation": "Never",
        "BeforeValue": "30", "AfterValue": "0", "BeforeValueFrom": "ACTUAL_STATE",
        "Drift": {"PreviousValue": "0", "ActualValue": "30"}});
    let answer = serde_json::json!({
        "ChangeSetId": "arn:aws:cloudformation:us-east-1:123456789012:changeSet/drift/1", "StackName": "api",
        "Status": "CREATE_COMPLETE", "ExecutionStatus": "AVAILABLE", "DeploymentMode": "REVERT_DRIFT",
        "StackDriftStatus": "DRIFTED",
        "Changes": [
            change("Tiles", "AWS::DynamoDB::Table", serde_json::json!({"Action": "Add", "ResourceDriftStatus": "DELETED"})),
            change("Gone", "AWS::SNS::Topic", serde_json::json!({"Action": "Add", "ResourceDriftStatus": "DELETED"})),
            change("Queue", "AWS::SQS::Queue", serde_json::json!({"Action": "Modify", "Replacement": "False",
                "Scope": ["Properties"], "ResourceDriftStatus": "MODIFIED", "Details": [{"Target": target}]})),
            change("Bucket", "AWS::S3::Bucket", serde_json::json!({"Action": "SyncWithActual"})),
        ],
    });
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("drift.json"), answer.to_string()).unwrap();
    let ran = review(folder.path(), &["drift.json"], &[]).await.expect(3);
    assert_eq!(rows(&ran), ["Bucket sync safe", "Gone add safe", "Queue modify safe", "Tiles add detach"]);
    let reasons = ran.json()["review"]["stacks"][0]["rows"][0]["reasons"].to_string();
    assert!(
        reasons.contains("it was deleted outside the stack; what is made in its place begins empty"),
        "{reasons}"
    );
    let allow = ["--allow=api/Tiles:add"];
    review(folder.path(), &["drift.json"], &allow).await.expect(0);
}
