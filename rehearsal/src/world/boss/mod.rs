//! The world of `BossDB`: its eight stacks as the generator makes them for the scenario `development`, which the release brings to what
//! it makes for `production`.

mod outside;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use self::outside::Outside;
use super::Fail;
use super::folder::Folder;
use super::stacks::{self, ACCOUNT, Deployed, Inputs, Making, REGION, Running, Stack, Stacks};

const REPOSITORY: &str = "jhuapl-boss+boss-manage-generated";
const FETCH: &str = "let `cloudformation.py generate` of github.com/jhuapl-boss/boss-manage at 125b665e7d write the eight templates of \
                     the scenarios development and production into folders of these names";

/// In the runbook's order.
const LABELS: [&str; 8] =
    ["core", "redis", "api", "cachedb", "activities", "cloudwatch", "idindexing", "dynamolambda"];

/// The stack whose tables are in question when something goes wrong.
const API: &str = "api";

/// Made by nobody's template here and presupposed by all of them.
const SURROUNDINGS: &str = "BossSurroundings";

/// Holds the secrets of everything else.
const TABLE: &str = "vault.production.boss";

/// What a person who has read the review lets pass: larger cache nodes, which AWS gives to the groups in place.
const ALLOW: &str = "redis/Cache:in-place-risk redis/CacheState:in-place-risk";

/// In clear in the generated api template, where the recording has nothing: the generator reads it from Vault.
const PASSWORD: &str = "of-the-rehearsals-endpoint-db";

/// Where what a recreated stack was is saved.
const SAVED: &str = "boss-saved-stacks";

/// As the runbook's own tool names a stack of `production.boss`.
fn stack_name(label: &str) -> String {
    let mut letters = label.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    format!("{}{}ProductionBoss", first.unwrap_or_default(), letters.as_str())
}

/// The folder of the recorded templates.
pub(super) fn inputs(given: Option<&Path>, fail: Option<Fail>) -> Result<PathBuf, String> {
    if fail == Some(Fail::Indexes) {
        let fetch = "let it write the api stack at 583f06e and 81bfbfb into gsi-history/583f06e and gsi-history/81bfbfb too";
        stacks::repository(given, REPOSITORY, "gsi-history/81bfbfb/ApiProductionBoss.template", fetch)?;
    }
    stacks::repository(given, REPOSITORY, "production/CoreProductionBoss.template", FETCH)
}

/// Makes the stacks as they are before the release, and the files that it brings.
pub(super) async fn start(folder: &Folder, given: Option<&Path>, fail: Option<Fail>) -> io::Result<Running> {
    let inputs = inputs(given, fail).map_err(io::Error::other)?;
    let mut making = Making::new(folder).await?;
    let template = include_str!("surroundings.json");
    let none = BTreeMap::new();
    making.emulator().create_bucket(SAVED).await?;
    making.create(&Stack { name: SURROUNDINGS, template, parameters: &none }).await?;

    let mut core = BTreeMap::new();
    let mut files = PathBuf::new();
    for label in LABELS {
        let name = stack_name(label);
        let (from, to) = match fail {
            Some(Fail::Indexes) if label == API => ("gsi-history/583f06e", "gsi-history/81bfbfb"),
            _ => ("development", "production"),
        };
        let parameters = looked_up(&inputs.join(from).join(format!("{name}.arguments")), &core)?;
        let text = generated(&inputs.join(from).join(format!("{name}.template")))?;
        let text = making.copy(&name, &text, &parameters)?;
        making.create(&Stack { name: &name, template: &text, parameters: &parameters }).await?;
        if label == "core" {
            core = making.resources(&name).await?;
            put_secret(&making).await?;
        }

        let parameters = looked_up(&inputs.join(to).join(format!("{name}.arguments")), &core)?;
        let mut text = generated(&inputs.join(to).join(format!("{name}.template")))?;
        if fail == Some(Fail::Table) && label == API {
            text = with_a_renamed_table(&text)?;
        }
        let text = making.copy(&name, &text, &parameters)?;
        files = making.file(&name, &text, &parameters)?;
    }

    let balancer = balancer(&making).await?;
    let [port] = making.ports()?;
    let outside = Outside::start(making.emulator(), &balancer, port).await?;
    let (maintenance, topic) = (outside.entry.clone(), outside.topic.clone());
    let mut inputs = workflow_inputs(&files);
    inputs.extend(outside_inputs(&outside));
    let secrets =
        outside.redis.iter().map(|redis| ("REDIS_PASSWORD".to_owned(), redis.password.clone())).collect();
    making.beside(&[&maintenance.url], outside)?;
    making
        .finish(|aws, pids| Stacks {
            pids,
            aws,
            inputs,
            stacks: LABELS
                .map(|label| Deployed { label: label.to_owned(), name: stack_name(label) })
                .to_vec(),
            untouched: vec![SURROUNDINGS.to_owned()],
            table: Some(TABLE.to_owned()),
            copies: Vec::new(),
            fail,
            maintenance: Some(maintenance),
            topic: Some(topic),
            secrets,
        })
        .await
}

/// The generator looks ids of the network up in AWS, which the recording had none of: here they are those of the core stack.
fn looked_up(arguments: &Path, core: &BTreeMap<String, String>) -> io::Result<BTreeMap<String, String>> {
    let mut parameters = stacks::parameters(&stacks::read(arguments)?)?;
    for (key, value) in &mut parameters {
        if ["vpc-", "subnet-", "sg-"].iter().any(|kind| value.starts_with(kind))
            && let Some(id) = core.get(key)
        {
            value.clone_from(id);
        }
    }
    Ok(parameters)
}

/// A recorded template, with the password that its generator would have put into it.
fn generated(path: &Path) -> io::Result<String> {
    let text = stacks::read(path)?;
    Ok(text.replace(r#""MasterUserPassword": """#, &format!(r#""MasterUserPassword": "{PASSWORD}""#)))
}

/// The first table of the template under another name: CloudFormation would make a new, empty one and delete the old.
fn with_a_renamed_table(text: &str) -> io::Result<String> {
    let mut template: Value = serde_json::from_str(text)?;
    let resources = template["Resources"].as_object_mut().into_iter().flat_map(|all| all.values_mut());
    let mut tables = resources.filter(|resource| resource["Type"] == "AWS::DynamoDB::Table");
    let name = tables.next().and_then(|table| table.pointer_mut("/Properties/TableName"));
    let name = name.ok_or_else(|| io::Error::other("the api template has no table with a name"))?;
    *name = json!(format!("{}.v2", name.as_str().unwrap_or_default()));
    Ok(serde_json::to_string_pretty(&template)?)
}

/// What the release must not lose.
async fn put_secret(making: &Making<'_>) -> io::Result<()> {
    let item = json!({
        "TableName": TABLE,
        "Item": { "Path": { "S": "secret/auth" }, "Key": { "S": "realm" }, "Value": { "B": "c2VhbGVk" } },
    });
    let (status, answer) = making.emulator().call("dynamodb", "DynamoDB_20120810.PutItem", &item).await?;
    if status == 200 {
        return Ok(());
    }
    Err(io::Error::other(format!("the emulator refused an item of {TABLE} with {status}: {answer}")))
}

/// The host name of the load balancer to which the api stack leads the public name.
async fn balancer(making: &Making<'_>) -> io::Result<String> {
    let resources = making.resources(&stack_name(API)).await?;
    let arn = resources.get("EndpointAppLoadBalancer").map_or("", String::as_str);
    let form =
        [("Action", "DescribeLoadBalancers"), ("Version", "2015-12-01"), ("LoadBalancerArns.member.1", arn)];
    let (_, answer) = making.emulator().query("elasticloadbalancing", &form).await?;
    let name = stacks::texts(&answer, "DNSName").into_iter().next();
    name.ok_or_else(|| io::Error::other(format!("the load balancer {arn} has no name: {answer}")))
}

fn outside_inputs(outside: &Outside) -> Inputs {
    let entry = &outside.entry;
    let mut inputs = vec![
        ("maintenance-name", entry.name.clone()),
        ("maintenance-zone", entry.zone.clone()),
        ("maintenance-text", entry.text.clone()),
        ("url", entry.url.clone()),
        ("live", entry.live.clone()),
        ("name-servers", entry.dns.clone()),
        ("resolvers", entry.dns.clone()),
        ("alerts-topic", outside.topic.clone()),
        ("alerts-keep", outside::OPERATOR.to_owned()),
        ("disabled-rule", "deleteEventRule.production.boss".to_owned()),
    ];
    inputs.extend(outside.redis.iter().map(|redis| ("redis-url", redis.url.clone())));
    inputs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn workflow_inputs(files: &Path) -> Inputs {
    let inputs = [
        ("templates", files.display().to_string()),
        ("allow", ALLOW.to_owned()),
        ("saved", format!("s3://{SAVED}/production")),
        ("account", ACCOUNT.to_owned()),
        ("region", REGION.to_owned()),
        ("role", format!("arn:aws:iam::{ACCOUNT}:role/release")),
    ];
    inputs.map(|(name, value)| (name.to_owned(), value)).into()
}
