//! What runs is what was reviewed: the file and its fingerprint, the account, each change no worse than it was then.

use super::{Stage, tiles};
use serde_json::{Value, json};

/// A stack `api` as it is, and a release that replaces its table.
async fn replacing(stage: &Stage) -> String {
    stage.tiles("Api", &tiles("tiles", "one")).await;
    let template = stage.file("release.template", &tiles("tiles-2", "one").to_string());
    stage.front.forget();
    format!("api:Api={template}")
}

#[tokio::test]
async fn a_review_that_was_edited_or_made_elsewhere_is_not_believed() {
    let stage = Stage::start().await;
    let release = replacing(&stage).await;
    let (approved, _) = stage.reviewed("review.json", &["--stack", &release], 3).await;
    let mut review: Value = serde_json::from_str(&super::read(approved.file.as_ref())).unwrap();
    review["stacks"][0]["rows"][0]["approved"] = json!(["replace-delete"]);
    let edited = super::Approved { file: stage.file("edited.json", &review.to_string()), ..approved.clone() };
    stage.deploy_as(&edited, "update", &["--stack", &release]).await.expect(3).says(&[
        "error: believe the review edited.json",
        &format!("and {} was approved", approved.fingerprint),
        "a file that was edited is no review",
    ]);
    let elsewhere = Stage::start().await;
    elsewhere.file("release.template", &tiles("tiles-2", "one").to_string());
    elsewhere.deploy_as(&approved, "update", &["--stack", &release]).await.expect(3).says(&[
        &format!(
            "it was reviewed on account {} in us-east-1, and this is account {}",
            stage.account, elsewhere.account
        ),
        "use the credentials and the region of the review",
    ]);
    // The account in the file is part of what was approved.
    let mut moved: Value = serde_json::from_str(&super::read(approved.file.as_ref())).unwrap();
    moved["account"] = json!(elsewhere.account);
    let moved = super::Approved { file: elsewhere.file("moved.json", &moved.to_string()), ..approved };
    elsewhere
        .deploy_as(&moved, "update", &["--stack", &release])
        .await
        .expect(3)
        .says(&["error: believe the review moved.json"]);
    for stage in [&stage, &elsewhere] {
        assert_eq!(stage.operations(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_change_that_became_worse_is_refused_and_a_milder_one_runs() {
    let stage = Stage::start().await;
    let kept = |table: &str, text: &str| {
        let mut template = tiles(table, text);
        template["Resources"]["TileTable"]["UpdateReplacePolicy"] = json!("Retain");
        template["Resources"]["TileTable"]["DeletionPolicy"] = json!("Retain");
        template
    };
    let stack = stage.tiles("Api", &kept("tiles", "one")).await.replace("Api=", "api:Api=");
    let release = ["--stack", stack.as_str()];
    stage.file("Api.template", &kept("tiles-2", "one").to_string());
    let allow = ["--allow", "api/TileTable:replace-retain"];
    let (approved, _) = stage.reviewed("review.json", &[&release[..], &allow].concat(), 0).await;

    // Since then the policies went: the old table would be deleted.
    stage.file("Api.template", &tiles("tiles-2", "one").to_string());
    stage.front.forget();
    stage.deploy_as(&approved, "update", &release).await.expect(3).says(&[
        "api/TileTable: LOSS: ",
        "replace-retain was",
        "review again: changeset-review --stack api:Api=Api.template --report review.json",
        "state: nothing was changed: what this run did is taken back",
    ]);
    assert_eq!(stage.writes(), ["CreateChangeSet", "DeleteChangeSet"]);
    assert_eq!(stage.sets("Api").await, Vec::<String>::new());

    // A change of another resource that nobody reviewed may be a notice at the most.
    let mut beside = kept("tiles-2", "two");
    beside["Resources"]["Queue"] = json!({"Type": "AWS::SQS::Queue"});
    stage.file("Api.template", &beside.to_string());
    stage
        .deploy_as(&approved, "update", &release)
        .await
        .expect(0)
        .says(&["TileTable was kept, outside the stack: tiles"]);
    assert_eq!(stage.operations(), ["ExecuteChangeSet"]);

    // What is reviewed as a replacement and turns out to be none is milder.
    let (approved, _) = {
        stage.file("Api.template", &kept("tiles-3", "two").to_string());
        stage
            .reviewed(
                "milder.json",
                &[
                    &release[..],
                    &["--allow", "api/TileTable:replace-retain", "--allow", "api/Queue:remove-delete"],
                ]
                .concat(),
                0,
            )
            .await
    };
    stage.file("Api.template", &kept("tiles-2", "three").to_string());
    stage.front.forget();
    stage.deploy_as(&approved, "update", &release).await.expect(0);
    assert_eq!(stage.operations(), ["ExecuteChangeSet"]);
    stage.is_whole();
}

#[tokio::test]
async fn a_change_that_was_not_reviewed_is_a_notice_at_the_most() {
    let stage = Stage::start().await;
    let stack = stage.tiles("Api", &tiles("tiles", "one")).await.replace("Api=", "api:Api=");
    let release = ["--stack", stack.as_str()];
    stage.file("Api.template", &tiles("tiles", "two").to_string());
    let (approved, _) = stage.reviewed("review.json", &release, 0).await;
    let mut gone = tiles("tiles", "two");
    gone["Resources"].as_object_mut().unwrap().remove("TileTable");
    stage.file("Api.template", &gone.to_string());
    stage.front.forget();
    stage.deploy_as(&approved, "update", &release).await.expect(3).says(&[
        "api/TileTable: LOSS (remove-delete): it was not among the changes that were reviewed",
        "state: nothing was changed",
    ]);
    assert_eq!(stage.operations(), Vec::<String>::new());
    // A review of an update is none of a deletion.
    let delete = [&release[..], &["--save-to", "saved"]].concat();
    stage
        .deploy_as(&approved, "delete", &delete)
        .await
        .expect(3)
        .says(&["api: that it is deleted was not reviewed"]);
    assert_eq!(stage.operations(), Vec::<String>::new());
    stage.is_whole();
}

#[tokio::test]
async fn a_refusal_after_the_first_stack_says_what_ran_and_the_next_run_goes_on() {
    let stage = Stage::start().await;
    let core = stage.tiles("Core", &tiles("core", "one")).await.replace("Core=", "core:Core=");
    let api = stage.tiles("Api", &tiles("tiles", "one")).await.replace("Api=", "api:Api=");
    let redis = stage.tiles("Redis", &tiles("redis", "one")).await.replace("Redis=", "redis:Redis=");
    let release = ["--stack", &core, "--stack", &api, "--stack", &redis];
    for (stack, table) in [("Core", "core"), ("Api", "tiles"), ("Redis", "redis")] {
        stage.file(&format!("{stack}.template"), &tiles(table, "two").to_string());
    }
    let (approved, _) = stage.reviewed("review.json", &release, 0).await;
    stage.file("Api.template", &tiles("tiles-2", "two").to_string());
    stage.front.forget();
    let ran = stage.deploy_as(&approved, "update", &release).await.expect(4);
    assert!(!ran.stderr.contains("the same command goes on"), "it would be refused again:\n{}", ran.stderr);
    ran.says(&[
        "core: UPDATE_COMPLETE",
        "api/TileTable: LOSS (replace-delete): it was not among the changes that were reviewed",
        "state: through: core",
        "state: not begun: redis",
        "state: done: update stack Core by executing exactly that change set",
    ]);
    assert_eq!(stage.operations(), ["ExecuteChangeSet"]);
    assert_eq!(stage.sets("Api").await, Vec::<String>::new());

    // Put right, the same command goes through: the first stack passes.
    stage.file("Api.template", &tiles("tiles", "two").to_string());
    stage.front.forget();
    let ran = stage.deploy_as(&approved, "update", &release).await.expect(0).says(&["core: nothing changes"]);
    assert_eq!(super::line(&ran.stdout, "update: "), "api, redis");
    assert_eq!(stage.operations(), ["ExecuteChangeSet"; 2]);
    stage.is_whole();
}
