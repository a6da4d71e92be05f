//! BossDB's runbook with its real templates: eight stacks in their order, the pair of indexes that has to be refused, a table that
//! must not be lost, a stack that is made again. What the emulator does not have stands in the copies as
//! [`testkit::templates::derive`] lists it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use testkit::inputs;
use testkit::templates::derive;

use super::{Stage, arguments, read};

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
    let pair = |item: &Value| Some((item["ParameterKey"].as_str()?.to_owned(), item["ParameterValue"].as_str()?.to_owned()));
    list.iter().filter_map(pair).collect()
}

/// A template and its parameters as files: the operand after `=`, and what is another thing in the copy.
fn files(stage: &Stage, from: &PathBuf, label: &str, core: &BTreeMap<String, String>) -> (String, Vec<String>) {
    let name = stack(label);
    let version = from.file_name().expect("a name").to_string_lossy().into_owned();
    let mut values = parameters(&read(&from.join(format!("{name}.arguments"))));
    for (key, value) in &mut values {
        // The generator looks them up in AWS.
        if ["vpc-", "subnet-", "sg-"].iter().any(|kind| value.starts_with(kind)) && let Some(id) = core.get(key) {
            value.clone_from(id);
        }
    }
    let copy = derive(&read(&from.join(format!("{name}.template"))), &values).expect("a template");
    let template = stage.file(&format!("{version}-{label}.template"), &copy.text);
    let arguments = stage.file(&format!("{version}-{label}.arguments"), &arguments(&values));
    (format!("{label}:{name}={template},{arguments}"), copy.changes.iter().map(ToString::to_string).collect())
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
    let core = [files(stage, &generated.join("development"), "core", &BTreeMap::new()).0];
    stage.deploy("create", &with(&core, &[])).await.expect(0);
    stage.resources(&stack("core")).await
}

#[tokio::test]
async fn two_indexes_at_once_are_refused_and_one_after_the_other_pass() {
    let Some(generated) = generated("BossDB's history of indexes") else { return };
    let stage = Stage::start().await;
    let core = core(&stage, &generated).await;
    let of = |version: &str| files(&stage, &generated.join("gsi-history").join(version), "api", &core).0;
    let before = [of("583f06e")];
    stage.deploy("create", &with(&before, &[])).await.expect(0);

    let both = [of("81bfbfb")];
    stage.front.forget();
    let (approved, ran) = stage.reviewed("both.json", &with(&both, &[]), 3).await;
    println!("{}\n{}", ran.stdout, ran.stderr);
    let ran = stage.deploy_as(&approved, "update", &with(&both, &[])).await.expect(3);
    println!("{}\n{}", ran.stdout, ran.stderr);
    assert_eq!(stage.operations(), Vec::<String>::new());

    for version in ["19f52d1", "3e84e82"] {
        let next = [of(version)];
        let (approved, ran) = stage.reviewed(version, &with(&next, &[]), 0).await;
        println!("{}\n{}", ran.stdout, ran.stderr);
        let ran = stage.deploy_as(&approved, "update", &with(&next, &[])).await.expect(0);
        println!("{}\n{}", ran.stdout, ran.stderr);
    }
    stage.is_whole();
}

#[tokio::test]
async fn eight_stacks_are_made_in_order_and_brought_to_production() {
    let Some(generated) = generated("BossDB's eight stacks") else { return };
    let stage = Stage::start().await;
    let core = core(&stage, &generated).await;
    let (labels, release): (Vec<String>, Vec<String>) = LABELS
        .iter()
        .map(|label| (files(&stage, &generated.join("development"), label, &core).0, files(&stage, &generated.join("production"), label, &core).0))
        .unzip();
    stage.front.forget();
    let ran = stage.deploy("create", &with(&labels, &[])).await;
    println!("{}\n{}", ran.stdout, ran.stderr);
    println!("{:?}", stage.operations());
    stage.front.forget();
    let ran = stage.review(&with(&release, &["--report", "r.json"])).await;
    println!("{}\n{}", ran.stdout, ran.stderr);
    println!("{:?}", stage.operations());
    stage.is_whole();
}
