//! A workflow and the local actions it calls, kept with the line of every key so that a message can name it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use github_actions_models::workflow as model;
use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};
use serde_json::Value;

use super::check;

/// Something in a file that a person has to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
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

#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Of the key for a value in a mapping: a block scalar's own text starts lines later.
    pub(crate) line: usize,
    pub(crate) data: Data,
}

#[derive(Debug, Clone)]
pub(crate) enum Data {
    Scalar(Value),
    Seq(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    fn parse(text: &str) -> Result<Self, (usize, String)> {
        let documents = MarkedYaml::load_from_str(text).map_err(|e| (e.marker().line(), e.to_string()))?;
        match documents.as_slice() {
            [one] => Self::convert(one),
            _ => Err((1, format!("{} YAML documents in one file", documents.len()))),
        }
    }

    fn convert(yaml: &MarkedYaml<'_>) -> Result<Self, (usize, String)> {
        let line = yaml.span.start.line();
        let data = match &yaml.data {
            YamlData::Value(Scalar::Null) => Data::Scalar(Value::Null),
            YamlData::Value(Scalar::Boolean(b)) => Data::Scalar((*b).into()),
            YamlData::Value(Scalar::Integer(i)) => Data::Scalar((*i).into()),
            YamlData::Value(Scalar::FloatingPoint(f)) => Data::Scalar(f.into_inner().into()),
            YamlData::Value(Scalar::String(s)) => Data::Scalar(s.as_ref().into()),
            YamlData::Sequence(items) => {
                Data::Seq(items.iter().map(Self::convert).collect::<Result<_, _>>()?)
            }
            YamlData::Mapping(entries) => {
                let mut map = Vec::new();
                for (key, value) in entries {
                    let key = Self::convert(key)?;
                    map.push((key.text(), Self { line: key.line, ..Self::convert(value)? }));
                }
                Data::Map(map)
            }
            _ => return Err((line, "YAML tags are not read".into())),
        };
        Ok(Self { line, data })
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.entries().iter().find(|(k, _)| k == key).map(|(_, node)| node)
    }

    /// Input and output names are compared without case, as the runner does.
    pub(crate) fn declares(&self, name: &str) -> bool {
        self.entries().iter().any(|(k, _)| k.eq_ignore_ascii_case(name))
    }

    pub(crate) fn path(&self, keys: &[&str]) -> Option<&Self> {
        keys.iter().try_fold(self, |node, key| node.get(key))
    }

    pub(crate) fn entries(&self) -> &[(String, Self)] {
        if let Data::Map(entries) = &self.data { entries } else { &[] }
    }

    pub(crate) fn items(&self) -> &[Self] {
        if let Data::Seq(items) = &self.data { items } else { std::slice::from_ref(self) }
    }

    pub(crate) fn scalar(&self) -> &Value {
        if let Data::Scalar(value) = &self.data { value } else { &Value::Null }
    }

    /// The scalar as the runner hands it on: everything is a string, null is empty.
    pub(crate) fn text(&self) -> String {
        text(self.scalar())
    }
}

pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(s) => s.clone(),
        other => other.to_string(),
    }
}

/// An action of the same repository, as its `action.yml` declares it.
#[derive(Debug)]
pub(crate) struct Action {
    pub(crate) file: String,
    pub(crate) doc: Node,
}

/// A workflow that lies within the rehearsed subset.
#[derive(Debug)]
pub struct Workflow {
    pub(crate) file: String,
    pub(crate) doc: Node,
    pub(crate) model: model::Workflow,
    /// By the text of `uses:`.
    pub(crate) actions: BTreeMap<String, Action>,
}

impl Workflow {
    /// Reads the workflow `file` and, from the tree `repo`, the local actions it calls.
    /// Every key, reference or action outside the rehearsed subset is a finding.
    pub fn load(file: &Path, repo: &Path) -> Result<Self, Vec<Finding>> {
        let name = file.strip_prefix(repo).unwrap_or(file).display().to_string();
        let one = |line, what: String| vec![Finding { file: name.clone(), line, what }];
        let source = std::fs::read_to_string(file).map_err(|e| one(1, format!("can't be read: {e}")))?;
        // libyaml refuses a repeated key, as GitHub does; the reader that keeps lines takes the last one.
        yaml_serde::from_str::<yaml_serde::Value>(&source)
            .map_err(|e| one(e.location().map_or(1, |at| at.line()), e.to_string()))?;
        let doc = Node::parse(&source).map_err(|(line, what)| one(line, what))?;
        let mut actions = BTreeMap::new();
        let mut findings = Vec::new();
        let jobs = doc.get("jobs").map_or(&[][..], Node::entries);
        for uses in jobs.iter().flat_map(|(_, job)| job.get("steps").map_or(&[][..], Node::items)) {
            let Some(uses) = uses.get("uses") else { continue };
            let Some(path) = local(&uses.text()).map(PathBuf::from) else { continue };
            match read_action(repo, &path) {
                Ok(action) => drop(actions.insert(uses.text(), action)),
                Err(what) => findings.extend(one(uses.line, what)),
            }
        }
        findings.extend(check::check(&name, &doc, &actions));
        if !findings.is_empty() {
            findings.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
            findings.dedup();
            return Err(findings);
        }
        let model = yaml_serde::from_str(&source)
            .map_err(|e| one(e.location().map_or(1, |at| at.line()), e.to_string()))?;
        Ok(Self { file: name, doc, model, actions })
    }
}

/// The path inside the repository of `./path`, and of `$/path`, which means the repository of the workflow:
/// <https://github.blog/changelog/2026-07-30-reference-same-repository-actions-with-self-repository-syntax/>.
pub(crate) fn local(uses: &str) -> Option<&str> {
    uses.strip_prefix("./").or_else(|| uses.strip_prefix("$/"))
}

fn read_action(repo: &Path, path: &Path) -> Result<Action, String> {
    let file = path.join("action.yml");
    let source = std::fs::read_to_string(repo.join(&file)).map_err(|e| format!("{}: {e}", file.display()))?;
    let doc = Node::parse(&source).map_err(|(line, e)| format!("{} line {line}: {e}", file.display()))?;
    Ok(Action { file: file.display().to_string(), doc })
}
