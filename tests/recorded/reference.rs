//! Each policy held against the Service Authorization Reference, whose rows stand in `reference.txt`: an action that is not there, a
//! resource of a type that the action does not have, a required one that is missing, and a condition key that the action does not
//! know would leave a role without the permission, or allow more than the policy says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use fancy_regex::Regex;
use serde_json::Value;

use crate::actions;

/// Actions whose resource is "*" although they have types, each with the reason.
const WIDER: [(&str, &str); 2] = [
    (
        "ecs:ListTasks",
        "its type is the container instance, which is not told of Fargate; the cluster is a condition",
    ),
    ("cloudformation:DescribeStackResources", "it is asked which stack has a certain resource"),
];

/// Dependent actions that the calls of the steps never come to, each with the reason.
const NOT_NEEDED: [(&str, &str); 2] = [
    ("application-autoscaling:TagResource", "no target is given tags"),
    ("cloudformation:ListStacks", "a stack is always named"),
];

/// A row of the reference.
#[derive(Debug)]
struct Row<'a> {
    page: &'a str,
    /// The types by their ARNs' patterns, with whether they are required.
    types: Vec<(&'a str, bool)>,
    keys: Vec<&'a str>,
    dependents: Vec<&'a str>,
}

fn rows() -> BTreeMap<&'static str, Row<'static>> {
    let mut types = BTreeMap::new();
    let mut rows = BTreeMap::new();
    let mut page = None;
    for line in include_str!("reference.txt").lines().filter(|line| !line.starts_with('#')) {
        if line.starts_with("https://docs.aws.amazon.com/service-authorization/latest/reference/list_") {
            page = Some(line);
            types.clear();
        } else if let Some((name, arn)) = line.strip_prefix("type ").and_then(|line| line.split_once(" = ")) {
            types.insert(name, arn);
        } else if !line.is_empty() {
            let page = page.unwrap_or_else(|| panic!("{line}: no page"));
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let [action, of, keys, dependents] = cells[..] else { panic!("{line}: not four cells") };
            let list =
                |cell: &'static str| cell.split(", ").filter(|word| !word.is_empty()).collect::<Vec<_>>();
            let typed = list(of).into_iter().map(|of| {
                let name = of.trim_end_matches('*');
                (*types.get(name).unwrap_or_else(|| panic!("{line}: no type {name}")), of.ends_with('*'))
            });
            let row = Row { page, types: typed.collect(), keys: list(keys), dependents: list(dependents) };
            assert!(rows.insert(action, row).is_none(), "{action} twice");
        }
    }
    rows
}

/// Whether a resource of a policy is of the type. `*` of a type is one part of an ARN, `**` a key; one at the end of a policy's resource
/// stands for any number of parts.
fn is_of(resource: &str, arn: &str) -> bool {
    let pattern: String = arn
        .split("**")
        .map(|text| text.split('*').map(fancy_regex::escape).collect::<Vec<_>>().join("[^/]+"))
        .collect::<Vec<_>>()
        .join(".+");
    let pattern = Regex::new(&format!("^{pattern}$")).unwrap();
    let more = if resource.ends_with('*') { &["", "/x", "/x/x"][..] } else { &[""] };
    more.iter().any(|more| pattern.is_match(&format!("{resource}{more}")).unwrap())
}

/// What each step's policy allows: the action, its resources, its condition.
fn granted(step: &str) -> Vec<(String, Vec<String>, Value)> {
    let output = Command::new(env!("CARGO_BIN_EXE_cutover")).args(["--policy", step]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let policy: Value = serde_json::from_slice(&output.stdout).unwrap();
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let statements = policy["Statement"].as_array().unwrap().iter();
    let allowed = statements.flat_map(|statement| {
        let (resources, condition) = (texts(&statement["Resource"]), statement["Condition"].clone());
        texts(&statement["Action"])
            .into_iter()
            .map(move |action| (action, resources.clone(), condition.clone()))
    });
    allowed.collect()
}

fn steps() -> Vec<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_cutover")).arg("--list").output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn each_policy_is_as_the_service_authorization_reference_has_its_actions() {
    let rows = rows();
    let mut used = BTreeSet::new();
    let mut wrong = Vec::new();
    for step in steps() {
        let granted = granted(&step);
        for (action, resources, condition) in &granted {
            let Some(row) = rows.get(action.as_str()) else {
                wrong.push(format!("{step}: {action} has no row in reference.txt"));
                continue;
            };
            used.insert(action.clone());
            let is_wider = WIDER.iter().any(|(wider, _)| wider == action);
            if row.types.is_empty() || is_wider {
                if resources != &["*"] {
                    wrong.push(format!("{step}: {action} has no such resource: {resources:?}"));
                }
            } else {
                let strange = resources
                    .iter()
                    .filter(|resource| !row.types.iter().any(|(arn, _)| is_of(resource, arn)));
                wrong.extend(strange.map(|resource| format!("{step}: {action} knows no {resource}")));
                let missing = row.types.iter().filter(|(arn, is_required)| {
                    *is_required && !resources.iter().any(|resource| is_of(resource, arn))
                });
                wrong.extend(missing.map(|(arn, _)| format!("{step}: {action} needs a resource {arn} too")));
            }
            let keys = condition.as_object().into_iter().flat_map(|operators| operators.values());
            let keys = keys.flat_map(|keys| keys.as_object().unwrap().keys());
            let unknown = keys.filter(|key| !row.keys.contains(&key.as_str()));
            wrong.extend(unknown.map(|key| format!("{step}: {action} knows no condition key {key}")));
            let lacks = row.dependents.iter().filter(|dependent| {
                !NOT_NEEDED.iter().any(|(action, _)| action == *dependent)
                    && !granted.iter().any(|(action, ..)| action == *dependent)
            });
            wrong.extend(lacks.map(|dependent| format!("{step}: {action} depends on {dependent}")));
        }
    }
    let idle = rows.keys().filter(|action| !used.contains(**action));
    wrong.extend(idle.map(|action| format!("no policy has {action}, which stands in reference.txt")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// On its page, each action leads to its row: the anchors of <https://docs.aws.amazon.com/service-authorization/latest/reference/> are
/// named after the page and the action.
#[test]
fn each_permission_of_a_page_leads_to_its_row() {
    let rows = rows();
    let mut wrong = Vec::new();
    let mut led = BTreeSet::new();
    for step in steps() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/steps/{step}.md"));
        let page = std::fs::read_to_string(page).unwrap();
        let permissions = page.split_once("\n## Permissions\n").unwrap().1.split("\n## ").next().unwrap();
        for line in permissions.lines().filter(|line| line.starts_with("| [")) {
            let (action, rest) = line.strip_prefix("| [`").and_then(|line| line.split_once("`](")).unwrap();
            let (link, _) = rest.split_once(") | ").unwrap();
            let Some(row) = rows.get(action) else {
                wrong.push(format!("{step}: {action} has no row in reference.txt"));
                continue;
            };
            let slug = row.page.rsplit_once("list_").unwrap().1.strip_suffix(".html").unwrap();
            let wanted = format!("{}#{slug}-{}", row.page, action.split_once(':').unwrap().1);
            if link != wanted {
                wrong.push(format!("{step}: {action} leads to {link}, and not to {wanted}"));
            }
            led.insert(action.to_owned());
        }
    }
    let dark = rows.keys().filter(|action| !led.contains(**action));
    wrong.extend(dark.map(|action| format!("no page leads to the row of {action}")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_action_of_a_call_has_a_row() {
    let rows = rows();
    let all = actions::CALLS.iter().flat_map(|(_, _, actions)| *actions).copied();
    let missing: Vec<&str> =
        all.filter(|action| !rows.contains_key(action) && *action != "s3:GetObjectAttributes").collect();
    assert_eq!(missing, [""; 0], "no row in reference.txt");
}

#[test]
fn types_are_told_apart() {
    let (bucket, object) = ("arn:aws:s3:::*", "arn:aws:s3:::*/**");
    assert!(is_of("arn:aws:s3:::BUCKET", bucket) && !is_of("arn:aws:s3:::BUCKET/PREFIX/*", bucket));
    assert!(is_of("arn:aws:s3:::BUCKET/PREFIX/*", object) && !is_of("arn:aws:s3:::BUCKET", object));
    let service = "arn:aws:ecs:*:*:service/*/*";
    assert!(is_of("arn:aws:ecs:REGION:ACCOUNT:service/CLUSTER/SERVICE", service));
    assert!(!is_of("arn:aws:ecs:REGION:ACCOUNT:service-deployment/CLUSTER/SERVICE/*", service));
}
