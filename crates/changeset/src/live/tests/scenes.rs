//! Against scenarios: what the emulator has not.

use std::path::Path;

use kit::Cx;
use testkit::front::Front;
use testkit::scenario::Scenario;

use super::super::*;
use super::{cfn_at, change};
use crate::answer::{Action, PolicyAction};
use crate::set::assemble;

const ROOT: &str = "arn:aws:cloudformation:us-east-1:123456789012:changeSet/cutover-review-1/0b1e7c40-0000-4000-8000-000000000001";
const INFRA: &str =
    "arn:aws:cloudformation:us-east-1:123456789012:stack/jenkins-infra/5f0c1a00-0000-4000-8000-000000000001";

/// A scenario alone: no emulator answers what it does not.
async fn scene(name: &str) -> (Scenario, Front, Cfn, Cx) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/scenarios/cloudformation");
    let scenario = Scenario::load(&Path::new(folder).join(name)).unwrap();
    let front = scenario.serve(Front::builder()).start().await.unwrap();
    let cfn = cfn_at(&front).await;
    (scenario, front, cfn, kit::testing::cx())
}

fn used_up(scenario: &Scenario, front: &Front) {
    assert_eq!(front.unmatched(), Vec::<String>::new());
    assert_eq!(scenario.unused(), Vec::<String>::new());
}

#[tokio::test]
async fn every_page_of_both_descriptions_and_of_nested_sets_is_read() {
    let (scenario, front, cfn, cx) = scene("nested-paged-values.json").await;
    assert_eq!(cfn.await_set(&cx, ROOT).await.unwrap(), Made::Ready);
    let described = cfn.describe(&cx, ROOT).await.unwrap();
    used_up(&scenario, &front);

    let nodes: Vec<(String, bool, Option<&str>)> = described
        .nodes
        .iter()
        .map(|node| (node.path_beneath("infra"), node.set.is_some(), node.stack_name()))
        .collect();
    assert_eq!(
        nodes,
        [
            ("infra".to_owned(), true, Some("jenkins-infra")),
            ("infra/S3Res".to_owned(), true, Some("jenkins-infra-S3Res-ABC")),
            ("infra/S3Res/Inner".to_owned(), true, Some("jenkins-infra-S3Res-ABC-Inner-GHI")),
            // It goes: there is no set of its own.
            ("infra/IamRes".to_owned(), false, Some("jenkins-infra-IamRes-DEF")),
        ]
    );
    // The values of the innermost one could not be had; the table that it removes is told all the same.
    assert_eq!(described.warnings.len(), 1);
    assert!(described.warnings[0].contains("Property values are not available"), "{:?}", described.warnings);

    let set = assemble(described.pages).unwrap().remove(0);
    let ids: Vec<&str> = set.changes.iter().map(|change| change.logical_resource_id.as_str()).collect();
    assert_eq!(ids, ["Topic", "Queue", "S3Res", "IamRes"], "the queue is only in the plain description");
    assert!(set.warnings[0].contains("No export named core-queue found"), "{:?}", set.warnings);
    let topic = change(&set, "Topic");
    assert_eq!(topic.details[0].target.as_ref().unwrap().after_value.as_deref(), Some("two"));
    let bucket = change(&set.children["S3Res"], "Bucket");
    assert_eq!(bucket.policy_action, Some(PolicyAction::ReplaceAndDelete));
    assert!(bucket.after_context.as_ref().unwrap().contains("jenkins-backups-2"));
    let table = change(&set.children["S3Res"].children["Inner"], "Table");
    assert_eq!(
        (table.action.clone(), table.policy_action.clone()),
        (Some(Action::Remove), Some(PolicyAction::Delete))
    );
}

#[tokio::test]
async fn why_a_nested_set_failed_is_asked_there() {
    let (scenario, front, cfn, cx) = scene("nested-set-fails.json").await;
    let Made::Failed { reason, details } = cfn.await_set(&cx, ROOT).await.unwrap() else {
        panic!("it failed")
    };
    used_up(&scenario, &front);
    assert!(reason.starts_with("Nested change set arn:"), "{reason}");
    assert_eq!(
        details[0],
        "jenkins-infra-S3Res-ABC: Bucket (AWS::S3::Bucket) at /Resources/Bucket/Properties/BucketName: Resource of type \
         'AWS::S3::Bucket' with identifier 'jenkins-backups' already exists. [NAME_CONFLICT_VALIDATION]"
    );
    assert!(details[1].contains("ResourceExistenceCheck"), "{details:?}");
}

#[tokio::test]
async fn an_update_is_over_when_it_has_cleaned_up_and_not_before_it_began() {
    let (scenario, front, cfn, cx) = scene("update-cleans-up.json").await;
    let mark = cfn.mark(&cx, INFRA).await.unwrap();
    assert_eq!(mark, Since::After(Some("r-00".into())));
    let set = SetRef { arn: ROOT.into(), stack_id: INFRA.into() };
    cfn.execute(&set, "deploy-7").await.unwrap();
    let ended = cfn.follow(&cx, INFRA, mark).await.unwrap();
    used_up(&scenario, &front);
    assert_eq!((ended.status.as_str(), ended.phase()), ("UPDATE_COMPLETE", Phase::Settled));
    assert_eq!(ended.first_failure, None, "a resource that is left over fails nothing");
    assert_eq!(ended.undeleted.iter().map(|event| event.path.as_str()).collect::<Vec<_>>(), ["S3Res/Bucket"]);
    assert_eq!(ended.undeleted[0].physical_id.as_deref(), Some("jenkins-backups"));
    assert_eq!(ended.outputs["JenkinsS3Bucket"].value, "jenkins-backups-2");
    assert_eq!(
        cx.report().story(),
        [
            "waiting for stack jenkins-infra: it has not begun",
            "12:30:00 UPDATE_IN_PROGRESS jenkins-infra (AWS::CloudFormation::Stack): User Initiated",
            "12:30:01 UPDATE_IN_PROGRESS S3Res (AWS::CloudFormation::Stack)",
            "waiting for stack jenkins-infra: UPDATE_IN_PROGRESS",
            "12:30:02 UPDATE_IN_PROGRESS S3Res/Bucket (AWS::S3::Bucket)",
            "12:30:04 UPDATE_COMPLETE S3Res/Bucket (AWS::S3::Bucket)",
            "12:30:05 UPDATE_COMPLETE S3Res (AWS::CloudFormation::Stack)",
            "12:30:06 UPDATE_COMPLETE_CLEANUP_IN_PROGRESS jenkins-infra (AWS::CloudFormation::Stack)",
            "waiting for stack jenkins-infra: UPDATE_COMPLETE_CLEANUP_IN_PROGRESS",
            "12:30:03 UPDATE_COMPLETE S3Res/Policy (AWS::S3::BucketPolicy)",
            "12:30:09 UPDATE_COMPLETE_CLEANUP_IN_PROGRESS S3Res (AWS::CloudFormation::Stack)",
            "12:30:10 DELETE_IN_PROGRESS S3Res/Bucket (AWS::S3::Bucket)",
            "12:30:17 DELETE_FAILED S3Res/Bucket (AWS::S3::Bucket)",
            "12:30:19 UPDATE_COMPLETE S3Res (AWS::CloudFormation::Stack)",
            "12:30:20 UPDATE_COMPLETE jenkins-infra (AWS::CloudFormation::Stack)",
        ]
    );
}

#[tokio::test]
async fn a_failed_roll_back_goes_on_without_what_is_skipped() {
    let (scenario, front, cfn, cx) = scene("continue-rollback.json").await;
    front.set_faults(scenario.faults());
    let core = "arn:aws:cloudformation:us-east-1:123456789012:stack/core-production-boss/5f0c1a00-0000-4000-8000-000000000009";
    // What happened is told from the operation that failed.
    let failed = cfn.last_operation(&cx, core).await.unwrap().unwrap();
    let ended = cfn.follow(&cx, core, Since::from(&failed)).await.unwrap();
    assert_eq!(ended.phase(), Phase::NeedsRecovery(Recovery::ContinueRollback));
    let first = ended.first_failure.unwrap();
    assert_eq!(
        (first.path.as_str(), first.reason.as_deref().unwrap()),
        ("EndpointDB", "Cannot upgrade mysql from 8.0.40 to 5.7.44")
    );

    let mark = cfn.mark(&cx, core).await.unwrap();
    cfn.continue_rollback(core, &["TileTable".to_owned()], "recover-1").await.unwrap();
    let ended = cfn.follow(&cx, core, mark).await.unwrap();
    used_up(&scenario, &front);
    assert_eq!((ended.status.as_str(), ended.first_failure), ("UPDATE_ROLLBACK_COMPLETE", None));
    let story = cx.report().story();
    assert!(
        story.iter().any(|line| line.ends_with(
            "UPDATE_COMPLETE TileTable (AWS::DynamoDB::Table): Resource has been skipped by the user."
        )),
        "{story:?}"
    );
}
