//! What was made again is not deleted a second time by a run that goes on, whatever tells it so.

use serde_json::{Value, json};

use super::{Stage, tiles};

const GONE: [&str; 4] =
    ["--allow", "api/TileTable:remove-delete", "--allow", "other/TileTable:remove-delete"];

async fn restored(stage: &Stage, table: &str) {
    let item = json!({"TableName": table, "Item": {"id": {"S": "restored since"}}});
    stage.call("dynamodb", "DynamoDB_20120810.PutItem", item).await;
    assert_eq!(stage.items(table).await, 1);
}

fn broken(table: &str) -> Value {
    let mut template = tiles(table, "one");
    template["Resources"]["New"] = json!({"Type": "AWS::SNS::Topic", "Properties": {"DisplayName": {"Fn::ImportValue": "nobody-exports-this"}}});
    template
}

#[tokio::test]
async fn the_same_command_without_a_review_goes_on_and_deletes_nothing_twice() {
    for in_s3 in [false, true] {
        let stage = Stage::start().await;
        let bucket = format!("saved-{}", stage.account);
        stage.put(&bucket, "").await;
        let place = if in_s3 { format!("s3://{bucket}/stacks") } else { "saved".to_owned() };
        let api = stage.tiles("Api", &tiles("tiles", "one")).await.replace("Api=", "api:Api=");
        let other = stage.tiles("Other", &tiles("others", "one")).await.replace("Other=", "other:Other=");
        let args = [&["--stack", &api, "--stack", &other, "--save-to", &place], &GONE[..]].concat();
        stage.file("Other.template", &broken("others").to_string());
        stage.deploy("recreate", &args).await.expect(5).says(&[
            "error: make stack other again",
            "help: the same command goes on from here",
            &format!("as long as {place} has what was saved of it"),
            "state: through: api",
        ]);
        let made = stage.stack_id("Api").await;
        restored(&stage, "tiles").await;
        stage.file("Other.template", &tiles("others", "one").to_string());
        stage.front.forget();

        let ran = stage.deploy("recreate", &args).await.expect(0);
        ran.says(&[
            "api was deleted and made anew already: it is not deleted a second time",
            "changeset-review --stack api:Api=Api.template",
            "api: nothing changes",
        ]);
        assert_eq!(stage.items("tiles").await, 1, "restored data are not deleted");
        assert_eq!(stage.stack_id("Api").await, made);
        assert_eq!(stage.status("Other").await.as_deref(), Some("CREATE_COMPLETE"));
        // What had failed of the other one is all that went.
        assert_eq!(stage.operations(), ["DeleteStack", "ExecuteChangeSet"]);

        // Nor by a third run, when both are there.
        stage.front.forget();
        stage.deploy("recreate", &args).await.expect(0);
        assert_eq!(stage.operations(), Vec::<String>::new());
        assert_eq!(stage.items("tiles").await, 1);
        stage.is_whole();
    }
}

#[tokio::test]
async fn a_review_that_names_what_was_made_lets_it_be_made_once_more() {
    let stage = Stage::start().await;
    let api = stage.tiles("Api", &tiles("tiles", "one")).await.replace("Api=", "api:Api=");
    let args = ["--stack", &api, "--save-to", "saved"];
    stage.deploy("recreate", &[&args[..], &GONE[..2]].concat()).await.expect(0);
    let made = stage.stack_id("Api").await;
    // What came to be something else since is refused, and not deleted to make room.
    stage.file("Api.template", &tiles("tiles", "two").to_string());
    stage.front.forget();
    stage.deploy("recreate", &[&args[..], &GONE[..2]].concat()).await.expect(3).says(&[
        "it was deleted and made anew already, and is not as the template and the parameters say",
        "--action update",
        "changeset-review --stack api:Api=Api.template --recreate api",
    ]);
    assert_eq!(stage.operations(), Vec::<String>::new());
    let review = [&args[..2], &["--recreate", "api"], &GONE[..2]].concat();
    let (approved, _) = stage.reviewed("review.json", &review, 0).await;
    stage.deploy_as(&approved, "recreate", &args).await.expect(0);
    assert_eq!(stage.operations(), ["DeleteStack", "ExecuteChangeSet"]);
    assert_ne!(stage.stack_id("Api").await, made);
    stage.is_whole();
}
