//! What the driver does not know, or what refers to nothing, is found before the first step, by name.
//! Which context is at hand where:
//! <https://docs.github.com/en/actions/reference/workflows-and-actions/contexts#context-availability>

use std::collections::BTreeMap;

use github_actions_models::common::Uses;

use super::expr::{self, Reference};
use super::run::GITHUB;
use super::standin::StandIn;
use super::workflow::{Action, Data, Finding, Node};

const TOP: &[&str] = &["name", "run-name", "on", "permissions", "env", "defaults", "concurrency", "jobs"];
const INPUT: &[&str] = &["description", "required", "default", "type", "options"];
const JOB: &[&str] = &[
    "name",
    "needs",
    "if",
    "runs-on",
    "environment",
    "permissions",
    "concurrency",
    "outputs",
    "env",
    "defaults",
    "steps",
    "timeout-minutes",
];
const STEP: &[&str] = &[
    "id",
    "name",
    "if",
    "uses",
    "with",
    "run",
    "shell",
    "working-directory",
    "env",
    "timeout-minutes",
    "continue-on-error",
];
const UNREHEARSED: &[&str] = &[
    "strategy",
    "services",
    "container",
    "uses",
    "with",
    "secrets",
    "continue-on-error",
    "background",
    "wait",
    "wait-all",
    "cancel",
    "parallel",
    "cache-mode",
    "queue",
    "pre-entrypoint",
    "pre-if",
    "post-entrypoint",
    "post-if",
    "main",
    "steps",
];

const BEFORE: &[&str] = &["github", "inputs", "vars"];
const BEFORE_ENV: &[&str] = &["github", "inputs", "vars", "secrets"];
const IN_JOB: &[&str] = &["github", "inputs", "vars", "needs"];
const IN_JOB_ENV: &[&str] = &["github", "inputs", "vars", "needs", "secrets"];
const IN_STEP_IF: &[&str] = &["github", "inputs", "vars", "needs", "env", "job", "runner", "steps"];
const IN_STEP: &[&str] = &["github", "inputs", "vars", "needs", "env", "job", "runner", "steps", "secrets"];

/// What an expression at one place may refer to.
#[derive(Default)]
struct Place<'a> {
    contexts: &'a [&'a str],
    status: bool,
    needs: &'a [String],
    /// The steps before this one that have an id: a script, or what declares outputs.
    steps: Option<&'a BTreeMap<String, Outputs<'a>>>,
    /// The inputs of the action instead of those of the workflow.
    action: Option<&'a Node>,
}

enum Outputs<'a> {
    /// A script may write any name, so the name has at least to occur in it.
    Script(String),
    Action(&'a Node),
    StandIn(&'static [&'static str]),
    Unknown,
}

struct Checker<'a> {
    file: &'a str,
    doc: &'a Node,
    actions: &'a BTreeMap<String, Action>,
    findings: Vec<Finding>,
}

/// Everything in the workflow and its actions that keeps it from being rehearsed.
pub(crate) fn check(file: &str, doc: &Node, actions: &BTreeMap<String, Action>) -> Vec<Finding> {
    let mut checker = Checker { file, doc, actions, findings: Vec::new() };
    checker.workflow();
    for action in actions.values() {
        let mut inner = Checker {
            file: &action.file,
            doc: &action.doc,
            actions,
            findings: std::mem::take(&mut checker.findings),
        };
        inner.action();
        checker.findings = inner.findings;
    }
    checker.findings
}

impl<'a> Checker<'a> {
    fn found(&mut self, line: usize, what: impl Into<String>) {
        self.findings.push(Finding { file: self.file.to_owned(), line, what: what.into() });
    }

    fn keys(&mut self, node: Option<&Node>, known: &[&str], of: &str) {
        for (key, value) in node.map_or(&[][..], Node::entries) {
            if UNREHEARSED.contains(&key.as_str()) && !known.contains(&key.as_str()) {
                self.found(value.line, format!("`{key}` of {of} is not rehearsed"));
            } else if !known.contains(&key.as_str()) {
                self.found(value.line, format!("unknown key `{key}` in {of}"));
            }
        }
    }

    fn workflow(&mut self) {
        let doc = self.doc;
        self.keys(Some(doc), TOP, "the workflow");
        let on = doc.get("on");
        self.keys(on, &["workflow_dispatch", "workflow_call"], "`on`");
        if on.is_none_or(|on| on.get("workflow_dispatch").is_none()) {
            self.found(
                on.map_or(1, |on| on.line),
                "`on` has no workflow_dispatch, which is what is rehearsed",
            );
        }
        for (trigger, body) in on.map_or(&[][..], Node::entries) {
            let dispatch = trigger == "workflow_dispatch";
            let known = if dispatch { &["inputs"][..] } else { &["inputs", "outputs", "secrets"] };
            self.keys(Some(body), known, trigger);
            for (name, input) in body.get("inputs").map_or(&[][..], Node::entries) {
                self.keys(Some(input), INPUT, &format!("input `{name}`"));
                let kind = input.get("type").map_or_else(|| "string".to_owned(), Node::text);
                if !["string", "boolean", "number", "choice", "environment"].contains(&kind.as_str()) {
                    self.found(input.line, format!("input `{name}` has the unknown type `{kind}`"));
                }
                self.expressions(input.get("default"), &Place { contexts: BEFORE, ..Place::default() });
            }
            for (_, output) in body.get("outputs").map_or(&[][..], Node::entries) {
                let place = Place { contexts: &["github", "inputs", "vars", "jobs"], ..Place::default() };
                self.keys(Some(output), &["description", "value"], "an output");
                self.expressions(output.get("value"), &place);
            }
        }
        let place = Place { contexts: BEFORE, ..Place::default() };
        self.expressions(doc.get("run-name"), &place);
        self.concurrency(doc, &place);
        self.defaults(doc, &Place::default());
        self.expressions(doc.get("env"), &Place { contexts: BEFORE_ENV, ..place });
        let jobs = doc.get("jobs").map_or(&[][..], Node::entries);
        for (name, job) in jobs {
            self.job(name, job);
        }
        if let Err(name) = order(doc) {
            self.found(
                doc.path(&["jobs", &name]).map_or(1, |job| job.line),
                format!("job `{name}` needs itself"),
            );
        }
    }

    fn job(&mut self, name: &str, job: &'a Node) {
        self.keys(Some(job), JOB, &format!("job `{name}`"));
        let needs = needs(job);
        for needed in &needs {
            if self.doc.path(&["jobs", needed]).is_none() {
                let line = job.get("needs").map_or(job.line, |n| n.line);
                self.found(line, format!("job `{name}` needs `{needed}`, which is no job"));
            }
        }
        let place = |contexts| Place { contexts, needs: &needs, ..Place::default() };
        for key in ["name", "runs-on", "timeout-minutes"] {
            self.expressions(job.get(key), &place(IN_JOB));
        }
        self.condition(job.get("if"), &Place { status: true, ..place(IN_JOB) });
        self.concurrency(job, &place(IN_JOB));
        self.defaults(job, &place(&["github", "inputs", "vars", "needs", "env"]));
        self.expressions(job.get("env"), &place(IN_JOB_ENV));
        let environment = job.get("environment");
        if environment.is_some_and(|e| e.get("name").is_none() && e.text().is_empty()) {
            self.found(job.line, format!("`environment` of job `{name}` has no name"));
        }
        self.keys(environment, &["name", "url"], "`environment`");
        let mut steps = BTreeMap::new();
        for step in job.get("steps").map_or(&[][..], Node::items) {
            self.step(step, &needs, &mut steps);
        }
        let after = Place { contexts: IN_STEP, needs: &needs, steps: Some(&steps), ..Place::default() };
        self.expressions(environment.and_then(|e| e.get("url")), &after);
        if let Some(environment) = environment {
            let place = place(IN_JOB);
            self.expressions(Some(environment.get("name").unwrap_or(environment)), &place);
        }
        self.expressions(job.get("outputs"), &after);
    }

    fn step(&mut self, step: &'a Node, needs: &[String], steps: &mut BTreeMap<String, Outputs<'a>>) {
        self.keys(Some(step), STEP, "a step");
        let place = Place { contexts: IN_STEP, needs, steps: Some(steps), ..Place::default() };
        self.condition(step.get("if"), &Place { contexts: IN_STEP_IF, status: true, ..place });
        for key in ["name", "with", "run", "working-directory", "env", "timeout-minutes", "continue-on-error"]
        {
            self.expressions(step.get(key), &place);
        }
        self.shell(step);
        let with = step.get("with").map_or(&[][..], Node::entries);
        let mut outputs = Outputs::Unknown;
        match (step.get("run"), step.get("uses")) {
            (Some(run), None) => {
                outputs = Outputs::Script(run.text());
                if let Some(with) = step.get("with") {
                    self.found(with.line, "`with` beside `run`");
                }
            }
            (None, Some(uses)) => {
                for key in ["shell", "working-directory"] {
                    if let Some(node) = step.get(key) {
                        self.found(node.line, format!("`{key}` beside `uses`"));
                    }
                }
                let text = uses.text();
                if let Some(action) = self.actions.get(&text) {
                    outputs = Outputs::Action(&action.doc);
                    for (key, node) in with {
                        if !action.doc.get("inputs").is_some_and(|inputs| inputs.declares(key)) {
                            self.found(node.line, format!("{} has no input `{key}`", action.file));
                        }
                    }
                } else if let Ok(Uses::Repository(action)) = Uses::parse(text.as_str())
                    && let Some(stand_in) = StandIn::of(action.raw())
                {
                    outputs = Outputs::StandIn(stand_in.outputs());
                    for (key, node) in with {
                        if !stand_in.inputs().contains(&key.as_str()) {
                            let slug = action.slug();
                            self.found(node.line, format!("the stand-in for {slug} does not know `{key}`"));
                        }
                    }
                } else if super::workflow::local(&text).is_none() {
                    self.found(uses.line, format!("nothing stands in for the action `{text}`"));
                }
            }
            _ => self.found(step.line, "a step has either `run` or `uses`"),
        }
        if let Some(id) = step.get("id")
            && steps.insert(id.text().to_lowercase(), outputs).is_some()
        {
            self.found(id.line, format!("a second step has the id `{}`", id.text()));
        }
    }

    fn action(&mut self) {
        let doc = self.doc;
        self.keys(
            Some(doc),
            &["name", "author", "description", "inputs", "outputs", "runs", "branding"],
            "the action",
        );
        for (name, input) in doc.get("inputs").map_or(&[][..], Node::entries) {
            let known = &["description", "required", "default", "deprecationMessage"];
            self.keys(Some(input), known, &format!("input `{name}`"));
            self.expressions(
                input.get("default"),
                &Place { contexts: &["github", "runner"], ..Place::default() },
            );
        }
        for (name, output) in doc.get("outputs").map_or(&[][..], Node::entries) {
            self.keys(Some(output), &["description"], &format!("output `{name}`"));
        }
        let runs = doc.get("runs");
        let using = runs.and_then(|runs| runs.get("using")).map(Node::text).unwrap_or_default();
        let line = runs.map_or(1, |runs| runs.line);
        if using != "docker" {
            return self.found(line, format!("only docker actions are rehearsed, not `using: {using}`"));
        }
        self.keys(runs, &["using", "image", "entrypoint", "args", "env"], "`runs`");
        if runs.and_then(|runs| runs.get("entrypoint")).is_none() {
            self.found(line, "without `entrypoint` nobody can tell which executable the image starts");
        }
        let place =
            Place { contexts: &["inputs", "github", "runner"], action: Some(doc), ..Place::default() };
        for key in ["args", "env"] {
            self.expressions(runs.and_then(|runs| runs.get(key)), &place);
        }
    }

    fn concurrency(&mut self, of: &Node, place: &Place<'_>) {
        self.keys(of.get("concurrency"), &["group", "cancel-in-progress"], "`concurrency`");
        self.expressions(of.get("concurrency"), place);
    }

    fn defaults(&mut self, of: &Node, place: &Place<'_>) {
        let run = of.path(&["defaults", "run"]);
        self.keys(of.get("defaults"), &["run"], "`defaults`");
        self.keys(run, &["shell", "working-directory"], "`defaults.run`");
        self.expressions(run, place);
        run.into_iter().for_each(|run| self.shell(run));
    }

    fn shell(&mut self, of: &Node) {
        if let Some(shell) = of.get("shell").filter(|shell| shell.text() != "bash") {
            self.found(shell.line, format!("only bash is rehearsed, not the shell `{}`", shell.text()));
        }
    }

    fn condition(&mut self, node: Option<&Node>, place: &Place<'_>) {
        let Some(node) = node else { return };
        let text = node.text();
        match expr::condition_source(&text) {
            Ok("") => {}
            Ok(source) => self.expression(source, node.line, place),
            Err(what) => self.found(node.line, what),
        }
    }

    /// Every expression in every scalar below `node`.
    fn expressions(&mut self, node: Option<&Node>, place: &Place<'_>) {
        let Some(node) = node else { return };
        match &node.data {
            Data::Seq(items) => items.iter().for_each(|item| self.expressions(Some(item), place)),
            Data::Map(entries) => entries.iter().for_each(|(_, value)| self.expressions(Some(value), place)),
            Data::Scalar(_) => match expr::split(&node.text()) {
                Ok(found) => {
                    found.into_iter().for_each(|(_, source)| self.expression(source, node.line, place));
                }
                Err(what) => self.found(node.line, what),
            },
        }
    }

    fn expression(&mut self, source: &str, line: usize, place: &Place<'_>) {
        match expr::references(source) {
            Err(what) => self.found(line, what),
            Ok(references) => {
                for reference in references {
                    let problem = match reference {
                        Reference::Status(_) if place.status => None,
                        Reference::Status(_) => {
                            Some(format!("`{source}`: a status function outside an `if`"))
                        }
                        Reference::Context(path) => self.reference(&path, place).err(),
                    };
                    problem.into_iter().for_each(|what| self.found(line, what));
                }
            }
        }
    }

    fn reference(&self, path: &[String], place: &Place<'_>) -> Result<(), String> {
        let dotted = path.join(".");
        let lower = path.iter().map(|part| part.to_ascii_lowercase()).collect::<Vec<_>>();
        let parts = lower.iter().map(String::as_str).collect::<Vec<_>>();
        let head = parts.first().copied().unwrap_or_default();
        if !place.contexts.contains(&head) {
            return Err(format!("`{dotted}`: the context `{head}` is not at hand here"));
        }
        let known = match (head, &parts[1..]) {
            ("inputs", [name]) | ("github", ["event", "inputs", name]) => return self.input(name, place),
            ("needs", ["*", "result"]) | ("job", ["status"]) | ("env" | "vars" | "secrets", [_]) => true,
            ("github", [name]) => GITHUB.iter().any(|(known, _)| known == name),
            ("runner", [name]) => ["os", "arch", "name", "environment", "temp", "tool_cache"].contains(name),
            ("needs" | "jobs", [job, rest @ ..]) => {
                let job_node = self.doc.get("jobs").filter(|jobs| jobs.declares(job));
                let job_node = job_node.ok_or_else(|| format!("`{dotted}`: there is no job `{job}`"))?;
                if head == "needs" && !place.needs.iter().any(|needed| needed.eq_ignore_ascii_case(job)) {
                    return Err(format!("`{dotted}`: job `{job}` is not in this job's `needs`"));
                }
                let job_node = job_node.entries().iter().find(|(k, _)| k.eq_ignore_ascii_case(job));
                let outputs = job_node.and_then(|(_, node)| node.get("outputs"));
                match rest {
                    ["result"] => true,
                    ["outputs", name] if outputs.is_some_and(|outputs| outputs.declares(name)) => true,
                    ["outputs", name] => {
                        return Err(format!("`{dotted}`: job `{job}` has no output `{name}`"));
                    }
                    _ => false,
                }
            }
            ("steps", [id, rest @ ..]) => {
                let outputs = place.steps.and_then(|steps| steps.get(*id));
                let outputs =
                    outputs.ok_or_else(|| format!("`{dotted}`: no step before this has the id `{id}`"))?;
                match rest {
                    ["outcome" | "conclusion"] => true,
                    ["outputs", name] => {
                        let declared = match outputs {
                            Outputs::Script(text) => text.to_ascii_lowercase().contains(name),
                            Outputs::Action(action) => {
                                action.get("outputs").is_some_and(|o| o.declares(name))
                            }
                            Outputs::StandIn(outputs) => outputs.contains(name),
                            Outputs::Unknown => true,
                        };
                        if !declared {
                            return Err(format!("`{dotted}`: step `{id}` has no output `{name}`"));
                        }
                        true
                    }
                    _ => false,
                }
            }
            _ => false,
        };
        if known { Ok(()) } else { Err(format!("`{dotted}` is not rehearsed")) }
    }

    /// An input has to be declared by every way in: the workflow is called as well as dispatched.
    fn input(&self, name: &str, place: &Place<'_>) -> Result<(), String> {
        let ways = match place.action {
            Some(action) => vec![("the action", action.get("inputs"))],
            None => self
                .doc
                .get("on")
                .map_or(&[][..], Node::entries)
                .iter()
                .map(|(trigger, body)| (trigger.as_str(), body.get("inputs")))
                .collect(),
        };
        match ways.iter().find(|(_, inputs)| !inputs.is_some_and(|inputs| inputs.declares(name))) {
            Some((way, _)) => Err(format!("`inputs.{name}`: {way} declares no such input")),
            None => Ok(()),
        }
    }
}

pub(crate) fn needs(job: &Node) -> Vec<String> {
    job.get("needs").map_or_else(Vec::new, |needs| needs.items().iter().map(Node::text).collect())
}

/// The jobs, each after those it needs and otherwise as written; or one that needs itself.
pub(crate) fn order(doc: &Node) -> Result<Vec<String>, String> {
    let jobs = doc.get("jobs").map_or(&[][..], Node::entries);
    let mut left = jobs.iter().map(|(name, job)| (name, needs(job))).collect::<Vec<_>>();
    let mut order = Vec::new();
    while let Some((first, _)) = left.first() {
        let waits = |needed: &String| left.iter().any(|(name, _)| *name == needed);
        let Some(next) = left.iter().position(|(_, needs)| !needs.iter().any(waits)) else {
            return Err((*first).clone());
        };
        order.push(left.remove(next).0.clone());
    }
    Ok(order)
}
