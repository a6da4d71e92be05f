//! What a release workflow of this project has to be, beyond being valid. The rehearsal refuses one that is not.

use super::check;
use super::expr::{self, Reference};
use super::workflow::{Data, Finding, Node, Workflow, local};

/// Steps that only read: everything else writes unless its `dry-run` says literally true.
const READ_ONLY: &[&str] = &["wait-healthy"];

/// The workflow's offences: a writing job that no gate precedes, an action that is not pinned to a full SHA,
/// undeclared `permissions` or `concurrency`, an expression inside `run`, a token that OIDC or checkout lacks.
pub fn check(workflow: &Workflow) -> Vec<Finding> {
    let doc = &workflow.doc;
    let mut findings = Vec::new();
    let mut found = |line, what| findings.push(Finding { file: workflow.file.clone(), line, what });
    for key in ["permissions", "concurrency"] {
        if doc.get(key).is_none() {
            found(1, format!("the workflow declares no `{key}`"));
        }
    }
    for (name, job) in doc.get("jobs").map_or(&[][..], Node::entries) {
        let mut writer = None;
        for step in job.get("steps").map_or(&[][..], Node::items) {
            if let Some(run) = step.get("run").filter(|run| run.text().contains("${{")) {
                found(run.line, format!("an expression inside `run` of job `{name}`: hand it over in `env`"));
            }
            let Some(uses) = step.get("uses") else { continue };
            let text = uses.text();
            if let Some(path) = local(&text) {
                let step_name = path.rsplit('/').next().unwrap_or_default();
                let dry = step.path(&["with", "dry-run"]).is_some_and(|dry| dry.text() == "true");
                if !dry && !READ_ONLY.contains(&step_name) {
                    writer.get_or_insert_with(|| step_name.to_owned());
                }
                continue;
            }
            let pin = text.rsplit_once('@').map_or("", |(_, pin)| pin);
            if pin.len() != 40 || !pin.bytes().all(|b| b.is_ascii_hexdigit()) {
                found(uses.line, format!("`{text}` is not pinned to a full commit SHA"));
            }
            let role = step.path(&["with", "role-to-assume"]).is_some();
            let wanted = [("actions/checkout@", "contents", "read"), ("aws-actions/", "id-token", "write")];
            for (action, scope, level) in wanted {
                let asked = text.starts_with(action) && (scope == "contents" || role);
                if asked && !granted(job.get("permissions").or(doc.get("permissions")), scope, level) {
                    found(
                        uses.line,
                        format!("`{text}` in job `{name}` lacks the permission `{scope}: {level}`"),
                    );
                }
            }
        }
        let Some(writer) = writer else { continue };
        if !gated(doc, name) {
            found(
                job.line,
                format!("job `{name}` writes (`{writer}`) and no job with an `environment` precedes it"),
            );
        } else if job.get("environment").is_none() && !asks_after_gate(doc, job) {
            let line = job.get("if").map_or(job.line, |condition| condition.line);
            found(
                line,
                format!("job `{name}` writes (`{writer}`) and its `if` holds even when the gate is refused"),
            );
        }
    }
    findings
}

fn granted(permissions: Option<&Node>, scope: &str, level: &str) -> bool {
    match permissions.map(|node| (&node.data, node)) {
        None => scope != "id-token",
        Some((Data::Map(_), node)) => {
            node.get(scope).is_some_and(|given| given.text() == level || given.text() == "write")
        }
        Some((_, node)) => node.text() == "write-all" || (level == "read" && node.text() == "read-all"),
    }
}

/// Whether the job, or one it needs however far up, waits for an environment's approval.
fn gated(doc: &Node, name: &str) -> bool {
    doc.path(&["jobs", name]).is_some_and(|job| {
        job.get("environment").is_some() || check::needs(job).iter().any(|needed| gated(doc, needed))
    })
}

/// A status function takes the implicit `success()` away; the condition then has to ask after a job behind the gate.
fn asks_after_gate(doc: &Node, job: &Node) -> bool {
    let condition = job.get("if").map(Node::text).unwrap_or_default();
    let references = expr::condition_source(&condition).and_then(expr::references).unwrap_or_default();
    !references.iter().any(|r| matches!(r, Reference::Status(_)))
        || references.iter().any(|r| {
            matches!(r, Reference::Context(path) if path.len() > 2 && path[0].eq_ignore_ascii_case("needs")
                && gated(doc, &path[1]))
        })
}
