//! Reads a workflow and the local actions it calls, with the line of every key, and judges them before anything runs.

mod check;
pub(crate) mod expr;
#[cfg(test)]
mod foreign_tests;
pub(crate) mod offer;
pub mod policy;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use github_actions_models::{action, workflow};
use saphyr::{LoadableYamlNode, MarkedYaml, YamlData};
use serde_json::{Map, Value};

/// Something in a file that a person has to look at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} line {}: {}", self.file, self.line, self.what)
    }
}

#[derive(Debug)]
pub(crate) struct Doc {
    pub(crate) file: String,
    pub(crate) value: Value,
    source: String,
    /// By pointer (`/jobs/plan/steps/0/run`): the line of the key, since a block scalar's own text starts below.
    lines: BTreeMap<String, usize>,
}

impl Doc {
    fn read(root: &Path, file: &Path) -> Result<Self, Finding> {
        let name = file.strip_prefix(root).unwrap_or(file).display().to_string();
        let finding = |line, what| Finding { file: name.clone(), line, what };
        let source = fs::read_to_string(root.join(file)).map_err(|e| finding(1, e.to_string()))?;
        // As GitHub does, this refuses a key that is there twice; the reader that keeps lines takes the last one.
        let value: yaml_serde::Value = yaml_serde::from_str(&source)
            .map_err(|e| finding(e.location().map_or(1, |at| at.line()), e.to_string()))?;
        let value = serde_json::to_value(value).map_err(|e| finding(1, e.to_string()))?;
        let marked =
            MarkedYaml::load_from_str(&source).map_err(|e| finding(e.marker().line(), e.to_string()))?;
        let mut lines = BTreeMap::new();
        for node in &marked {
            mark(node, String::new(), &mut lines);
        }
        Ok(Self { file: name, value, source, lines })
    }

    pub(crate) fn find(&self, pointer: &str, what: impl Into<String>) -> Finding {
        let line = self.lines.get(pointer).copied().unwrap_or(1);
        Finding { file: self.file.clone(), line, what: what.into() }
    }

    /// The published model of GitHub's format has the last word on types.
    fn conforms<T: serde::de::DeserializeOwned>(&self) -> Option<Finding> {
        let error = yaml_serde::from_str::<T>(&self.source).err()?;
        let line = error.location().map_or(1, |at| at.line());
        Some(Finding { line, ..self.find("", error.to_string()) })
    }
}

fn mark(node: &MarkedYaml<'_>, pointer: String, lines: &mut BTreeMap<String, usize>) {
    match &node.data {
        YamlData::Sequence(items) => {
            items.iter().enumerate().for_each(|(i, item)| mark(item, format!("{pointer}/{i}"), lines));
        }
        YamlData::Mapping(map) => {
            for (key, value) in map {
                let pointer = format!("{pointer}/{}", key.data.as_str().unwrap_or_default());
                mark(value, pointer.clone(), lines);
                lines.insert(pointer, key.span.start.line());
            }
        }
        _ => {}
    }
    lines.entry(pointer).or_insert_with(|| node.span.start.line());
}

/// A workflow that lies within the rehearsed subset.
#[derive(Debug)]
pub struct Workflow {
    pub(crate) doc: Doc,
    /// By the text of `uses:`.
    pub(crate) actions: BTreeMap<String, Doc>,
}

impl Workflow {
    /// Reads the workflow `file` and the actions it calls: local ones from the tree `repo`, those of this project as another
    /// repository calls them from `project`. Every key, reference or action outside the rehearsed subset is a finding.
    pub fn load(file: &Path, repo: &Path, project: &Path) -> Result<Self, Vec<Finding>> {
        let inside = file.strip_prefix(repo).map(|inside| (repo, inside));
        let (root, inside) = inside.unwrap_or((Path::new(""), file));
        let doc = Doc::read(root, inside).map_err(|finding| vec![finding])?;
        let (mut actions, mut findings) = (BTreeMap::new(), Vec::new());
        for (job, body) in entries(&doc.value["jobs"]) {
            for (index, step) in items(&body["steps"]).enumerate() {
                let uses = text(&step["uses"]);
                let (root, path) = match (local(&uses), step_of(&uses)) {
                    (Some(path), _) => (repo, path),
                    (None, Some(path)) if project.join(path).is_dir() => (project, path),
                    _ => continue,
                };
                match Doc::read(root, &Path::new(path).join("action.yml")) {
                    Ok(action) => drop(actions.insert(uses, action)),
                    Err(inner) => {
                        let pointer = format!("/jobs/{job}/steps/{index}/uses");
                        findings.push(doc.find(&pointer, inner.to_string()));
                    }
                }
            }
        }
        findings.extend(check::check(&doc, &actions));
        if findings.is_empty() {
            findings.extend(doc.conforms::<workflow::Workflow>());
            findings.extend(actions.values().filter_map(Doc::conforms::<action::Action>));
        }
        findings.sort();
        findings.dedup();
        if findings.is_empty() { Ok(Self { doc, actions }) } else { Err(findings) }
    }

    /// Whether it can be started with this input.
    pub(crate) fn takes(&self, input: &str) -> bool {
        self.doc.value["on"]["workflow_dispatch"]["inputs"].get(input).is_some()
    }

    /// The inputs with their types, from what was given and the declared defaults.
    pub(crate) fn inputs(&self, given: &[(String, String)]) -> Result<Map<String, Value>, String> {
        let declared = &self.doc.value["on"]["workflow_dispatch"]["inputs"];
        if let Some((name, _)) = given.iter().find(|(name, _)| declared.get(name).is_none()) {
            return Err(format!("Unexpected inputs provided: {name}"));
        }
        let mut inputs = Map::new();
        for (name, input) in entries(declared) {
            let value = given.iter().rfind(|(n, _)| n == name).map(|(_, value)| value.clone());
            let value = value.unwrap_or_else(|| text(&input["default"]));
            if value.is_empty() && input["required"] == true {
                return Err(format!("Required input '{name}' not provided: --input {name}=..."));
            }
            let kind = text(&input["type"]);
            let typed = match kind.as_str() {
                "boolean" if value.is_empty() => Some(false.into()),
                "boolean" => value.parse::<bool>().ok().map(Value::from),
                "number" => serde_json::from_str(&value).ok().filter(Value::is_number),
                "choice" if !items(&input["options"]).any(|option| text(option) == value) => None,
                _ => Some(value.as_str().into()),
            };
            let typed =
                typed.ok_or_else(|| format!("input `{name}`: `{value}` is no {kind} of the workflow"))?;
            inputs.insert(name.clone(), typed);
        }
        Ok(inputs)
    }
}

/// The path inside the repository of `./path`, and of `$/path`, which means the repository of the workflow:
/// <https://github.blog/changelog/2026-07-30-reference-same-repository-actions-with-self-repository-syntax/>.
pub(crate) fn local(uses: &str) -> Option<&str> {
    uses.strip_prefix("./").or_else(|| uses.strip_prefix("$/"))
}

/// The path of a step of this project as another repository calls it: `actions/STEP` of `OWNER/NAME/actions/STEP@COMMIT`.
fn step_of(uses: &str) -> Option<&str> {
    let (named, _) = uses.split_once('@')?;
    let path = named.splitn(3, '/').nth(2)?;
    let step = path.strip_prefix("actions/")?;
    (!step.is_empty() && !step.contains(['/', '.'])).then_some(path)
}

pub(crate) fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

pub(crate) use check::{needs, order};

pub(crate) fn items(value: &Value) -> std::slice::Iter<'_, Value> {
    match value {
        Value::Array(items) => items.iter(),
        Value::Null => [].iter(),
        one => std::slice::from_ref(one).iter(),
    }
}

/// Input and output names are compared without case.
pub(crate) fn member<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    entries(value).find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// A scalar as the runner hands it on: everything is a string, null is empty, 1.0 is 1.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Number(number) => number.as_f64().map_or_else(String::new, |number| number.to_string()),
        other => other.to_string(),
    }
}
