//! Steps that look at and change stacks.

use serde_json::{Value, json};

use super::Terminal;
use crate::stacks::Stage;

/// BossDB's api stack in little: a table, whose name decides whether it is replaced, and a topic.
fn api(table: &str, title: &str) -> Value {
    json!({
        "Resources": {
            "EndpointMetaDB": {"Type": "AWS::DynamoDB::Table", "Properties": {
                "TableName": table,
                "AttributeDefinitions": [{"AttributeName": "lookup_key", "AttributeType": "S"}],
                "KeySchema": [{"AttributeName": "lookup_key", "KeyType": "HASH"}],
                "BillingMode": "PAY_PER_REQUEST"}},
            "ApiTopic": {"Type": "AWS::SNS::Topic", "Properties": {"DisplayName": title}},
        },
    })
}

/// The stack `ApiProductionBoss` as it is.
async fn stage(account: &str) -> Stage {
    let stage = Stage::of(account.to_owned()).await;
    let file = stage.file("before.template", &api("bossmeta", "API").to_string());
    stage.deploy("create", &["--stack", &format!("ApiProductionBoss={file}")]).await.expect(0);
    for folder in ["before.template", "cutover-receipts"] {
        let path = stage.path(folder);
        let _ = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir_all(&path));
    }
    stage
}

fn terminal(step: &'static str, stage: &Stage) -> Terminal {
    Terminal::new(step, &stage.command(step, &[]))
        .flag("interval", "20ms")
        .id("%2F", "e3c47312-6f67-4c32-a4fb-17272922fd00")
        .id("cutover-deploy-", "2ae4f52e-a459-4d01-992a-96f559a82328")
        .shown(&stage.account, "123456789012")
}

#[tokio::test]
async fn changeset_review() {
    let stage = stage("199000000001").await;
    stage.file("api.template", &api("bossmeta.production", "API of BossDB").to_string());
    let fingerprint = "04332a92001f40009f326aef9c5d85f3a7945ddecc6e30630f7f68217c187070";
    terminal("changeset-review", &stage).id("sha256:", fingerprint).plays().await;
    stage.is_whole();
}

#[tokio::test]
async fn deploy_stack() {
    let stage = stage("199000000002").await;
    stage.file("api.template", &api("bossmeta", "API of BossDB").to_string());
    let stack = ["--stack", "api:ApiProductionBoss=api.template"];
    let (approved, _) = stage.reviewed("review.json", &stack, 0).await;
    let shown = "sha256:3f0c6b1de2a95478c0b7d41f6e8a9352b70d1c4e5f6a8b9c0d1e2f3a4b5c6d7e";
    terminal("deploy-stack", &stage)
        .shown(approved.fingerprint, shown)
        .shown(approved.file, "review.json")
        .plays()
        .await;
    stage.is_whole();
}
