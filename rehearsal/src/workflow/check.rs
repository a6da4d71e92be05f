//! What the driver does not know, and what refers to nothing, is found before the first step and named.

use std::collections::BTreeMap;

use serde_json::Value;

use super::expr::{self, Reference};
use super::offer::{GITHUB, StandIn};
use super::{Doc, Finding, entries, items, local, member, text};

/// Every key there may be, and the contexts at hand in its value:
/// <https://docs.github.com/en/actions/reference/workflows-and-actions/contexts#context-availability>
const WORKFLOW: &str = "
name
run-name: github inputs vars
on/workflow_dispatch/inputs/*/description|required|type|options
on/workflow_call/inputs/*/description|required|type
on/*/inputs/*/default: github inputs vars
on/workflow_call/secrets/*/description|required
on/workflow_call/outputs/*/description
on/workflow_call/outputs/*/value: github inputs vars jobs
permissions/*
concurrency: github inputs vars
concurrency/group|cancel-in-progress: github inputs vars
env/*: github inputs vars secrets
defaults/run/shell|working-directory
jobs/*/needs|permissions
jobs/*/permissions/*
jobs/*/name|runs-on|timeout-minutes|environment|concurrency: github inputs vars needs
jobs/*/environment/name: github inputs vars needs
jobs/*/environment/url: github inputs vars needs env job runner steps
jobs/*/concurrency/group|cancel-in-progress: github inputs vars needs
jobs/*/if: github inputs vars needs status
jobs/*/env/*: github inputs vars needs secrets
jobs/*/defaults/run/shell|working-directory: github inputs vars needs env
jobs/*/outputs/*: github inputs vars needs env job runner steps secrets
jobs/*/steps/id|uses|shell
jobs/*/steps/if: github inputs vars needs env job runner steps status
jobs/*/steps/name|run|working-directory: github inputs vars needs env job runner steps secrets
jobs/*/steps/timeout-minutes|continue-on-error: github inputs vars needs env job runner steps secrets
jobs/*/steps/with|env/*: github inputs vars needs env job runner steps secrets";

const ACTION: &str = "
name|author|description
branding/icon|color
inputs/*/description|required|deprecationMessage
inputs/*/default: github runner
outputs/*/description
runs/using|image|entrypoint
runs/args|env: inputs github runner
runs/env/*: inputs github runner";

/// GitHub's, but not the driver's.
const UNREHEARSED: &str = "strategy services container uses with secrets continue-on-error background wait wait-all \
    cancel parallel cache-mode queue pre-entrypoint pre-if post-entrypoint post-if main pre post steps";

struct Checker<'a> {
    doc: &'a Doc,
    /// The keys of the table as segments, with their contexts.
    keys: Vec<(Vec<&'static str>, &'static str)>,
    actions: &'a BTreeMap<String, Doc>,
    findings: Vec<Finding>,
}

/// Everything in the workflow and its actions that keeps it from being rehearsed.
pub(crate) fn check(doc: &Doc, actions: &BTreeMap<String, Doc>) -> Vec<Finding> {
    let docs = actions.values().map(|action| (action, ACTION)).chain([(doc, WORKFLOW)]);
    let mut findings = Vec::new();
    for (doc, table) in docs {
        let keys = table.lines().filter(|line| !line.is_empty()).map(|line| {
            let (keys, contexts) = line.split_once(": ").unwrap_or((line, ""));
            (keys.split('/').collect(), contexts)
        });
        let mut checker = Checker { doc, keys: keys.collect(), actions, findings };
        checker.walk(&doc.value, &mut Vec::new(), "");
        if table == WORKFLOW {
            checker.jobs();
        } else {
            checker.action();
        }
        findings = checker.findings;
    }
    findings
}

impl Checker<'_> {
    fn found(&mut self, pointer: &str, what: impl Into<String>) {
        self.findings.push(self.doc.find(pointer, what));
    }

    /// The contexts at `path`: none where it only leads to a key, an error where it leads nowhere.
    fn contexts(&self, path: &[String]) -> Result<Option<&'static str>, ()> {
        let fits = |key: &&str, name: &String| *key == "*" || key.split('|').any(|key| key == name);
        let mut leads = self.keys.iter().filter(|(keys, _)| {
            keys.len() >= path.len() && keys.iter().zip(path).all(|(key, name)| fits(key, name))
        });
        let first = leads.next().ok_or(())?;
        let exact = leads.chain([first]).find(|(keys, _)| keys.len() == path.len());
        Ok(exact.map(|(_, contexts)| *contexts))
    }

    fn walk(&mut self, value: &Value, path: &mut Vec<String>, pointer: &str) {
        let Ok(contexts) = self.contexts(path) else {
            let (key, parents) = path.split_last().map_or(("", &[][..]), |(key, rest)| (key.as_str(), rest));
            let parents = if parents.is_empty() { "the file".to_owned() } else { parents.join(".") };
            let foreign = UNREHEARSED.split_whitespace().any(|name| name == key);
            return if foreign {
                self.found(pointer, format!("`{key}` in {parents} is not rehearsed"));
            } else {
                self.found(pointer, format!("unknown key `{key}` in {parents}"));
            };
        };
        match (value, contexts) {
            (Value::Object(map), _) => {
                for (key, value) in map {
                    path.push(key.clone());
                    self.walk(value, path, &format!("{pointer}/{key}"));
                    path.pop();
                }
            }
            (Value::Array(items), _) => {
                for (i, item) in items.iter().enumerate() {
                    self.walk(item, path, &format!("{pointer}/{i}"));
                }
            }
            (Value::Null, _) => {}
            (_, None) => self.found(pointer, format!("`{}` has to be a mapping", path.join("."))),
            (scalar, Some(contexts)) => {
                let text = text(scalar);
                let bare = path.last().is_some_and(|key| key == "if");
                let one = || expr::bare(&text).map(|source| vec![(0..text.len(), source)]);
                let problems = match if bare { one() } else { expr::split(&text) } {
                    Err(what) => vec![what],
                    Ok(found) => {
                        found.iter().flat_map(|(_, e)| self.expression(e, contexts, pointer)).collect()
                    }
                };
                for what in problems {
                    self.found(pointer, what);
                }
            }
        }
    }

    fn expression(&self, source: &str, contexts: &str, pointer: &str) -> Vec<String> {
        match expr::references(source) {
            Err(what) => vec![what],
            Ok(all) => all.iter().filter_map(|one| self.reference(one, contexts, pointer).err()).collect(),
        }
    }

    /// Whether what is referred to is there, seen from `pointer`.
    fn reference(&self, reference: &Reference, contexts: &str, pointer: &str) -> Result<(), String> {
        let dotted = match reference {
            Reference::Context(path) => path.join("."),
            Reference::Status(_) => "status".to_owned(),
        };
        let path = dotted.to_ascii_lowercase();
        let parts = path.split('.').collect::<Vec<_>>();
        let (head, rest) = parts.split_first().ok_or("an empty context")?;
        if !contexts.split_whitespace().any(|context| context == *head) {
            return Err(format!("`{dotted}`: `{head}` is not at hand here"));
        }
        let here = pointer.split('/').skip(1).collect::<Vec<_>>();
        let jobs = &self.doc.value["jobs"];
        let job = &jobs[*here.get(1).unwrap_or(&"")];
        let known = match (*head, rest) {
            ("inputs", [name]) | ("github", ["event", "inputs", name]) => {
                let mut ways = vec![("the action", &self.doc.value["inputs"])];
                if !jobs.is_null() {
                    ways = entries(&self.doc.value["on"])
                        .map(|(way, on)| (way.as_str(), &on["inputs"]))
                        .collect();
                }
                match ways.iter().find(|(_, inputs)| member(inputs, name).is_none()) {
                    Some((way, _)) => return Err(format!("`{dotted}`: {way} declares no such input")),
                    None => true,
                }
            }
            ("status", [])
            | ("needs", [] | ["*", "result"])
            | ("job", ["status"])
            | ("env" | "vars" | "secrets", [_]) => true,
            ("github", [name]) => GITHUB.split_whitespace().any(|pair| pair.split('=').next() == Some(name)),
            ("runner", [name]) => {
                "os arch name environment temp tool_cache".split(' ').any(|known| known == *name)
            }
            ("needs" | "jobs", [name, rest @ ..]) => {
                let target =
                    member(jobs, name).ok_or_else(|| format!("`{dotted}`: there is no job `{name}`"))?;
                if *head == "needs" && !needs(job).iter().any(|needed| needed.eq_ignore_ascii_case(name)) {
                    return Err(format!("`{dotted}`: job `{name}` is not in this job's `needs`"));
                }
                match rest {
                    ["outputs", output] if member(&target["outputs"], output).is_none() => {
                        return Err(format!("`{dotted}`: job `{name}` has no output `{output}`"));
                    }
                    ["outputs", _] | ["result"] => true,
                    _ => false,
                }
            }
            ("steps", [id, rest @ ..]) => {
                let before = here.get(3).and_then(|index| index.parse().ok()).unwrap_or(usize::MAX);
                let step =
                    items(&job["steps"]).take(before).find(|step| text(&step["id"]).eq_ignore_ascii_case(id));
                let step =
                    step.ok_or_else(|| format!("`{dotted}`: no step before this has the id `{id}`"))?;
                match rest {
                    ["outputs", output] if !self.gives(step, output) => {
                        return Err(format!("`{dotted}`: step `{id}` has no output `{output}`"));
                    }
                    ["outputs", _] | ["outcome" | "conclusion"] => true,
                    _ => false,
                }
            }
            _ => false,
        };
        if known { Ok(()) } else { Err(format!("`{dotted}` is not rehearsed")) }
    }

    /// A script can write any name, so the name has at least to occur in it.
    fn gives(&self, step: &Value, output: &str) -> bool {
        let uses = text(&step["uses"]);
        match (self.actions.get(&uses), StandIn::of(&uses)) {
            (Some(action), _) => member(&action.value["outputs"], output).is_some(),
            (_, Some(stand_in)) => stand_in.outputs().split(' ').any(|known| known == output),
            _ => text(&step["run"]).to_ascii_lowercase().contains(output),
        }
    }

    fn jobs(&mut self) {
        let value = &self.doc.value;
        if value["on"].get("workflow_dispatch").is_none() {
            self.found("/on", "`on` has no workflow_dispatch, which is what is rehearsed");
        }
        if let Err(name) = order(value) {
            self.found(&format!("/jobs/{name}"), format!("job `{name}` needs itself"));
        }
        self.shell(&value["defaults"]["run"], "/defaults/run");
        for (name, job) in entries(&value["jobs"]) {
            let at = format!("/jobs/{name}");
            for needed in needs(job).iter().filter(|needed| value["jobs"].get(needed).is_none()) {
                self.found(&format!("{at}/needs"), format!("job `{name}` needs `{needed}`, which is no job"));
            }
            self.shell(&job["defaults"]["run"], &format!("{at}/defaults/run"));
            let mut ids = Vec::new();
            for (index, step) in items(&job["steps"]).enumerate() {
                let at = format!("{at}/steps/{index}");
                self.step(step, &at);
                let id = text(&step["id"]).to_lowercase();
                if !id.is_empty() && ids.contains(&id) {
                    self.found(&format!("{at}/id"), format!("a second step has the id `{id}`"));
                }
                ids.push(id);
            }
        }
    }

    fn step(&mut self, step: &Value, at: &str) {
        self.shell(step, at);
        let uses = text(&step["uses"]);
        if step["run"].is_null() == step["uses"].is_null() {
            return self.found(at, "a step has either `run` or `uses`");
        }
        let foreign = if step["run"].is_null() { ["shell", "working-directory"] } else { ["with", ""] };
        for key in foreign.into_iter().filter(|key| step.get(key).is_some()) {
            self.found(&format!("{at}/{key}"), format!("`{key}` does not belong to this kind of step"));
        }
        let known: Box<dyn Fn(&str) -> bool> = match (self.actions.get(&uses), StandIn::of(&uses)) {
            (Some(action), _) => Box::new(|key| member(&action.value["inputs"], key).is_some()),
            (_, Some(stand_in)) => {
                Box::new(move |key| stand_in.inputs().split(' ').any(|known| known == key))
            }
            _ => {
                if !uses.is_empty() && local(&uses).is_none() {
                    self.found(&format!("{at}/uses"), format!("nothing stands in for the action `{uses}`"));
                }
                return;
            }
        };
        for (key, _) in entries(&step["with"]).filter(|(key, _)| !known(key)) {
            self.found(&format!("{at}/with/{key}"), format!("`{uses}` as rehearsed has no input `{key}`"));
        }
    }

    fn shell(&mut self, of: &Value, at: &str) {
        let shell = text(&of["shell"]);
        if !shell.is_empty() && shell != "bash" {
            self.found(&format!("{at}/shell"), format!("only bash is rehearsed, not the shell `{shell}`"));
        }
    }

    fn action(&mut self) {
        let runs = &self.doc.value["runs"];
        if text(&runs["using"]) != "docker" {
            let using = text(&runs["using"]);
            self.found("/runs/using", format!("only docker actions are rehearsed, not `using: {using}`"));
        } else if runs["entrypoint"].is_null() {
            self.found("/runs", "without `entrypoint` nobody can tell which executable the image starts");
        }
    }
}

pub(crate) fn needs(job: &Value) -> Vec<String> {
    items(&job["needs"]).map(text).collect()
}

/// The jobs, each after those it needs and otherwise as written; or one that needs itself.
pub(crate) fn order(workflow: &Value) -> Result<Vec<&String>, &String> {
    let mut left = entries(&workflow["jobs"]).map(|(name, job)| (name, needs(job))).collect::<Vec<_>>();
    let mut order = Vec::new();
    while let Some((first, _)) = left.first() {
        let waits = |needed: &String| left.iter().any(|(name, _)| *name == needed);
        let Some(next) = left.iter().position(|(_, needs)| !needs.iter().any(waits)) else {
            return Err(first);
        };
        order.push(left.remove(next).0);
    }
    Ok(order)
}
