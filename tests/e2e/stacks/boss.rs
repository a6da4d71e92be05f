//! `BossDB`'s runbook with its real templates: eight stacks in their order, the pair of indexes that has to be refused, a table that
//! must not be lost, a stack that is made again. What the emulator does not have stands in the copies as
//! [`testkit::templates::derive`] lists it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use testkit::front::When;
use testkit::inputs;
use testkit::templates::derive;

use super::{Stage, arguments, line, read};

/// In the runbook's order.
const LABELS: [&str; 8] =
    ["core", "redis", "api", "cachedb", "activities", "cloudwatch", "idindexing", "dynamolambda"];

fn stack(label: &str) -> String {
    let (first, rest) = label.split_at(1);
    format!("{}{rest}ProductionBoss", first.to_uppercase())
}

/// The folder of the generated templates; none where there are no recorded inputs.
fn generated(skipped: &str) -> Option<PathBuf> {
    inputs::recorded(skipped).map(|folder| folder.join("jhuapl-boss+boss-manage-generated"))
}

fn parameters(text: &str) -> BTreeMap<String, String> {
    let list: Vec<Value> = serde_json::from_str(text).expect("a list of parameters");
    let pair = |item: &Value| {
        Some((item["ParameterKey"].as_str()?.to_owned(), item["ParameterValue"].as_str()?.to_owned()))
    };
    list.iter().filter_map(pair).collect()
}

/// A template, as the emulator takes it, and its parameters as files: the operand of `--stack`.
fn files(stage: &Stage, from: &Path, label: &str, core: &BTreeMap<String, String>) -> String {
    let name = stack(label);
    let version = from.file_name().expect("a name").to_string_lossy().into_owned();
    let mut values = parameters(&read(&from.join(format!("{name}.arguments"))));
    for (key, value) in &mut values {
        // The generator looks them up in AWS.
        if ["vpc-", "subnet-", "sg-"].iter().any(|kind| value.starts_with(kind))
            && let Some(id) = core.get(key)
        {
            value.clone_from(id);
        }
    }
    let copy = derive(&read(&from.join(format!("{name}.template"))), &values).expect("a template");
    let template = stage.file(&format!("{version}-{label}.template"), &copy.text);
    let arguments = stage.file(&format!("{version}-{label}.arguments"), &arguments(&values));
    format!("{label}:{name}={template},{arguments}")
}

/// What all eight presuppose and none of them makes: the hosted zone of their names.
async fn surroundings(stage: &Stage) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    stage.file("surroundings.json", &read(&root.join("rehearsal/src/world/boss/surroundings.json")));
    stage.deploy("create", &["--stack", "BossSurroundings=surroundings.json"]).await.expect(0);
}

const NAMED: [&str; 2] = ["--capability", "CAPABILITY_NAMED_IAM"];

fn with<'a>(stacks: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    let mut args: Vec<&str> = stacks.iter().flat_map(|stack| ["--stack", stack.as_str()]).collect();
    args.extend(NAMED);
    args.extend(more);
    args
}

/// The core stack as it is before the release, with what it presupposes; its resources by logical id.
async fn core(stage: &Stage, generated: &Path) -> BTreeMap<String, String> {
    surroundings(stage).await;
    let core = [files(stage, &generated.join("development"), "core", &BTreeMap::new())];
    stage.deploy("create", &with(&core, &[])).await.expect(0);
    stage.resources(&stack("core")).await
}

#[tokio::test]
async fn two_indexes_at_once_are_refused_and_one_after_the_other_pass() {
    let Some(generated) = generated("BossDB's history of indexes") else { return };
    let stage = Stage::start().await;
    let core = core(&stage, &generated).await;
    let of = |version: &str| files(&stage, &generated.join("gsi-history").join(version), "api", &core);
    let before = [of("583f06e")];
    stage.deploy("create", &with(&before, &[])).await.expect(0);

    let both = [of("81bfbfb")];
    stage.front.forget();
    let (approved, ran) = stage.reviewed("both.json", &with(&both, &[]), 3).await;
    let told: String = ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for text in [
        "WILL FAIL: 1 of 1 change waits for approval",
        "the update deletes task_index and creates task_id_index among the table's indexes",
        "(1) take the index task_index out of GlobalSecondaryIndexes",
        "(2) add the index task_id_index to GlobalSecondaryIndexes",
    ] {
        assert!(told.contains(text), "`{text}` is not in:\n{}", ran.stdout);
    }
    stage
        .deploy_as(&approved, "update", &with(&both, &[]))
        .await
        .expect(3)
        .says(&["api/tileIndex: WILL FAIL (will-fail) is not approved", "state: nothing was changed"]);
    assert_eq!(stage.operations(), Vec::<String>::new());
    assert_eq!(stage.sets(&stack("api")).await, Vec::<String>::new());

    // The pair that its history made instead.
    for version in ["19f52d1", "3e84e82"] {
        let next = [of(version)];
        let (approved, _) = stage.reviewed(version, &with(&next, &[]), 0).await;
        stage.deploy_as(&approved, "update", &with(&next, &[])).await.expect(0);
        assert_eq!(stage.operations(), ["ExecuteChangeSet"], "{version}");
        stage.front.forget();
    }
    let tile = stage.resources(&stack("api")).await["tileIndex"].clone();
    let table = stage.call("dynamodb", "DynamoDB_20120810.DescribeTable", json!({"TableName": tile})).await;
    let indexes = table["Table"]["GlobalSecondaryIndexes"].as_array().expect("indexes");
    assert!(indexes.iter().any(|index| index["IndexName"] == "task_id_index"), "{table}");
    assert!(!indexes.iter().any(|index| index["IndexName"] == "task_index"), "{table}");
    stage.is_whole();
}

#[tokio::test]
async fn eight_stacks_are_made_in_order_and_brought_to_production_in_order() {
    let Some(generated) = generated("BossDB's eight stacks") else { return };
    // The templates name this account.
    let stage = Stage::of(crate::world::ACCOUNT.to_owned()).await;
    let core = core(&stage, &generated).await;
    let of = |scenario: &str| -> Vec<String> {
        LABELS.iter().map(|label| files(&stage, &generated.join(scenario), label, &core)).collect()
    };
    let (before, release) = (of("development"), of("production"));

    stage.front.forget();
    let created = stage.deploy("create", &with(&before, &[])).await.expect(0);
    assert_eq!(stage.operations(), ["ExecuteChangeSet"; 7], "core is there and as it is to be");
    assert!(created.stdout.contains("\"dynamolambda\":\"CREATE_COMPLETE\""), "{}", created.stdout);
    // Each after the one before it: the order of the call.
    let told: Vec<usize> = LABELS[1..]
        .iter()
        .map(|label| created.stderr.find(&format!("{label}: CREATE_COMPLETE")).unwrap())
        .collect();
    assert!(told.is_sorted(), "{told:?}");

    // What nobody approved stops the release before its first stack.
    stage.front.forget();
    let (unapproved, _) = stage.reviewed("unapproved.json", &with(&release, &[]), 3).await;
    let ran = stage.deploy_as(&unapproved, "update", &with(&release, &[])).await.expect(3);
    ran.says(&[
        "redis/Cache: IN-PLACE RISK (in-place-risk) is not approved",
        "redis/CacheState: IN-PLACE RISK (in-place-risk) is not approved",
        "state: nothing was changed",
    ]);
    assert_eq!(stage.operations(), Vec::<String>::new());

    let allow = ["--allow", "redis/Cache:in-place-risk", "--allow", "redis/CacheState:in-place-risk"];
    let (approved, _) = stage.reviewed("release.json", &with(&release, &allow), 0).await;
    assert_eq!(stage.operations(), Vec::<String>::new());
    let ran = stage.deploy_as(&approved, "update", &with(&release, &[])).await.expect(0);
    assert_eq!(line(&ran.stdout, "update: "), "core, redis, api, cachedb, activities");
    let told: Vec<usize> = LABELS[..5]
        .iter()
        .map(|label| ran.stderr.find(&format!("{label}: UPDATE_COMPLETE")).unwrap())
        .collect();
    assert!(told.is_sorted(), "{told:?}");
    assert_eq!(stage.operations(), ["ExecuteChangeSet"; 5], "three have no changes");
    assert_eq!(stage.status(&stack("cloudwatch")).await.as_deref(), Some("CREATE_COMPLETE"));

    // Once more: each is as it is to be, and the change sets that show it are gone again.
    stage.front.forget();
    let again = stage.deploy_as(&approved, "update", &with(&release, &[])).await.expect(0);
    assert_eq!(line(&again.stdout, "changed="), "false");
    assert_eq!(stage.writes(), [["CreateChangeSet", "DeleteChangeSet"]; 8].concat());
    stage.is_whole();
}

#[tokio::test]
async fn a_replacement_that_would_lose_a_table_is_refused_by_both_steps() {
    let Some(generated) = generated("BossDB's tables") else { return };
    let stage = Stage::start().await;
    let core = core(&stage, &generated).await;
    let before = [files(&stage, &generated.join("production"), "api", &core)];
    stage.deploy("create", &with(&before, &[])).await.expect(0);
    let table = stage.resources(&stack("api")).await["s3Index"].clone();
    let item = json!({"object-key": {"S": "a"}, "version-node": {"N": "1"}, "ingest-job-hash": {"S": "j"}, "ingest-job-range": {"S": "r"}});
    stage.call("dynamodb", "DynamoDB_20120810.PutItem", json!({"TableName": table, "Item": item})).await;
    assert_eq!(stage.items(&table).await, 1);

    // As somebody does who finds the old name ugly.
    let renamed = read(&stage.path("production-api.template"))
        .replace("s3index.production.boss", "s3index-2.production.boss");
    stage.file("renamed.template", &renamed);
    let release = [format!("api:{}=renamed.template,production-api.arguments", stack("api"))];
    stage.front.forget();
    let (approved, ran) = stage.reviewed("renamed.json", &with(&release, &[]), 3).await;
    assert!(
        ran.stdout.contains("api/s3Index  AWS::DynamoDB::Table  REPLACE, the old one is DELETED"),
        "{}",
        ran.stdout
    );
    stage
        .deploy_as(&approved, "update", &with(&release, &[]))
        .await
        .expect(3)
        .says(&["api/s3Index: LOSS (replace-delete) is not approved", "state: nothing was changed"]);
    // Without a review it is judged all the same.
    stage
        .deploy("update", &with(&release, &[]))
        .await
        .expect(3)
        .says(&["api/s3Index: LOSS (replace-delete) is not approved", "what this run did is taken back"]);
    assert_eq!(stage.sets(&stack("api")).await, Vec::<String>::new());
    assert_eq!(stage.operations(), Vec::<String>::new());
    assert_eq!(stage.items(&table).await, 1);
    assert_eq!(stage.status(&stack("api")).await.as_deref(), Some("CREATE_COMPLETE"));
    stage.is_whole();
}

#[tokio::test]
async fn redis_is_made_again_when_it_has_drained_and_though_the_run_was_killed() {
    let Some(generated) = generated("BossDB's redis") else { return };
    let stage = Stage::start().await;
    let core = core(&stage, &generated).await;
    let of = |scenario: &str| [files(&stage, &generated.join(scenario), "redis", &core)];
    stage.deploy("create", &with(&of("development"), &[])).await.expect(0);
    let release = of("production");
    let before = stage.stack_id(&stack("redis")).await;
    let allow = ["--allow", "redis/Cache:remove-delete", "--allow", "redis/CacheState:remove-delete"];
    let (approved, _) = stage
        .reviewed("redis.json", &with(&release, &[&["--recreate", "redis"], &allow[..]].concat()), 0)
        .await;
    stage.front.forget();
    let save = ["--save-to", "saved"];
    let pending = with(&release, &["--save-to", "saved", "--drain-check", "sh -c 'echo 12 keys; exit 1'"]);
    stage
        .deploy_as(&approved, "recreate", &pending)
        .await
        .expect(3)
        .says(&["12 keys", "its drain check ended with exit status: 1"]);
    assert_eq!(stage.writes(), Vec::<String>::new());
    let args = with(
        &release,
        &[&["--review", &approved.file, "--fingerprint", &approved.fingerprint], &save[..]].concat(),
    )
    .join("\u{1}");
    let args: Vec<&str> = args.split('\u{1}').collect();
    stage.killed_at("CreateChangeSet", When::BeforeForward, "recreate", &args).await;
    assert_eq!(stage.status(&stack("redis")).await, None);
    stage
        .deploy("recreate", &args)
        .await
        .expect(0)
        .says(&["redis does not exist, so nothing is deleted", "redis: CREATE_COMPLETE"]);
    assert_ne!(stage.stack_id(&stack("redis")).await, before);
    assert_eq!(stage.operations(), ["DeleteStack", "ExecuteChangeSet"]);
    stage.is_whole();
}
