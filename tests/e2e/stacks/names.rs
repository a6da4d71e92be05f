//! A resource that outlives its stack keeps its name, which the stack that is made again can't have.

use serde_json::{Value, json};

use super::{Stage, tiles};

/// A table that stays, named by a parameter whose value only the stack has.
fn retained(name: &str) -> Value {
    let mut template = tiles("", "one");
    template["Resources"]["TileTable"]["DeletionPolicy"] = json!("Retain");
    template["Resources"]["TileTable"]["Properties"]["TableName"] = json!({"Fn::Sub": name});
    template
}

#[tokio::test]
async fn a_stack_is_not_deleted_whose_kept_table_has_the_name_that_the_next_needs() {
    let stage = Stage::start().await;
    let api = stage.tiles("Api", &retained("tiles-${Stage}")).await.replace("Api=", "api:Api=");
    let before = stage.stack_id("Api").await;
    let args = ["--stack", api.as_str(), "--save-to", "saved"];
    let allow = ["--allow", "api/TileTable:remove-retain"];
    stage.front.forget();
    let collides =
        "is kept, and keeps the name tiles-prod (TableName) that TileTable of the new stack is to have";
    let review = [&args[..2], &["--recreate", "api"], &allow].concat();
    let (approved, told) = stage.reviewed("refused.json", &review, 3).await;
    let words = told.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains(collides), "{}", told.stdout);
    assert!(told.stdout.contains("--allow api/TileTable:will-fail"), "{}", told.stdout);
    stage
        .deploy_as(&approved, "recreate", &args)
        .await
        .expect(3)
        .says(&["api/TileTable: DETACH (will-fail) is not approved", "state: nothing was changed"]);
    stage
        .deploy("recreate", &[&args[..], &allow].concat())
        .await
        .expect(3)
        .says(&["api/TileTable: DETACH (will-fail) is not approved", "state: nothing was changed"]);
    // Who has seen to it may approve that, too.
    let knowing = ["--allow", "api/TileTable:remove-retain,will-fail", "--dry-run"];
    stage.deploy("recreate", &[&args[..], &knowing].concat()).await.expect(0);
    let review = [&args[..2], &["--recreate", "api"], &knowing[..2]].concat();
    let (approved, _) = stage.reviewed("approved.json", &review, 0).await;
    stage.deploy_as(&approved, "recreate", &[&args[..], &["--dry-run"]].concat()).await.expect(0);
    assert_eq!(stage.writes(), Vec::<String>::new());
    assert_eq!(stage.stack_id("Api").await, before);

    // A name of its own for the new one is all that is needed.
    stage.file("Api.template", &retained("tiles-2-${Stage}").to_string());
    stage.deploy("recreate", &[&args[..], &allow].concat()).await.expect(0);
    assert_ne!(stage.stack_id("Api").await, before);
    for table in ["tiles-prod", "tiles-2-prod"] {
        let told =
            stage.call("dynamodb", "DynamoDB_20120810.DescribeTable", json!({"TableName": table})).await;
        assert_eq!(told["Table"]["TableStatus"], "ACTIVE", "{told}");
    }
    stage.is_whole();
}
