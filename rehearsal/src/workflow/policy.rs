//! What a release workflow of this project has to be, beyond being valid. The rehearsal refuses one that is not.

use serde_json::Value;

use super::check::needs;
use super::expr::{self, Reference};
use super::{Finding, Workflow, entries, items, local, text};

/// Steps that change nothing that serves or holds data: everything else writes unless its `dry-run` says literally true. A change
/// set is made to be looked at, and nothing of this step executes one. Where a step has several actions, those that only look.
const READ_ONLY: &[(&str, &[&str])] =
    &[("changeset-review", &[""]), ("wait-healthy", &["", "wait"]), ("release-report", &[""])];

/// The step that runs what another one reviewed, and what ties it to that review.
const REVIEWED: (&str, [&str; 2]) = ("deploy-stack", ["review", "fingerprint"]);

/// The workflow's offences: a writing job that no gate precedes, stacks run without their review, an action that is not pinned to a full SHA,
/// undeclared `permissions` or `concurrency`, an expression inside `run`, a permission that an action lacks, a
/// second job that waits for nothing.
pub fn check(workflow: &Workflow) -> Vec<Finding> {
    let doc = &workflow.doc;
    let mut findings = Vec::new();
    let mut found = |pointer: &str, what: String| findings.push(doc.find(pointer, what));
    for key in ["permissions", "concurrency"].into_iter().filter(|key| doc.value.get(key).is_none()) {
        found("", format!("the workflow declares no `{key}`"));
    }
    let first = entries(&doc.value["jobs"]).find(|(_, job)| needs(job).is_empty());
    for (name, job) in entries(&doc.value["jobs"]) {
        let at = format!("/jobs/{name}");
        if needs(job).is_empty() && first.is_some_and(|(first, _)| first != name) {
            found(&at, format!("job `{name}` needs nothing and would run beside the first job"));
        }
        let mut writer = None;
        for (index, step) in items(&job["steps"]).enumerate() {
            let uses = text(&step["uses"]);
            if text(&step["run"]).contains("${{") {
                let what = format!("an expression inside `run` of job `{name}`: hand it over in `env`");
                found(&format!("{at}/steps/{index}/run"), what);
            } else if workflow.actions.contains_key(&uses) {
                let named = uses.split('@').next().unwrap_or_default();
                let called = named.rsplit('/').next().unwrap_or_default().to_owned();
                let action = text(&step["with"]["action"]);
                let looks =
                    READ_ONLY.iter().any(|(name, actions)| *name == called && actions.contains(&&*action));
                if text(&step["with"]["dry-run"]) != "true" && !looks {
                    if called == REVIEWED.0 {
                        let unbound = REVIEWED.1.into_iter().find(|key| text(&step["with"][key]).is_empty());
                        if let Some(key) = unbound {
                            let what = format!(
                                "`{called}` in job `{name}` has no `{key}`: it would run what nobody saw"
                            );
                            found(&format!("{at}/steps/{index}/uses"), what);
                        }
                    }
                    writer.get_or_insert(called);
                }
            }
            if !uses.is_empty() && local(&uses).is_none() {
                let at = format!("{at}/steps/{index}/uses");
                let pin = uses.rsplit_once('@').map_or("", |(_, pin)| pin);
                if pin.len() != 40 || !pin.bytes().all(|b| b.is_ascii_hexdigit()) {
                    found(&at, format!("`{uses}` is not pinned to a full commit SHA"));
                }
                let permissions = job.get("permissions").unwrap_or(&doc.value["permissions"]);
                let role = !step["with"]["role-to-assume"].is_null();
                let lacks = match uses.split('@').next() {
                    Some("actions/checkout") => !granted(permissions, "contents", "read"),
                    Some("aws-actions/configure-aws-credentials") => {
                        role && !granted(permissions, "id-token", "write")
                    }
                    _ => false,
                };
                if lacks {
                    let wanted = if role { "id-token: write" } else { "contents: read" };
                    found(&at, format!("`{uses}` in job `{name}` lacks the permission `{wanted}`"));
                }
            }
        }
        let Some(writer) = writer else { continue };
        if !gated(&doc.value, name) {
            found(
                &at,
                format!("job `{name}` writes (`{writer}`) and no job with an `environment` precedes it"),
            );
        } else if job.get("environment").is_none() && !asks_after_gate(&doc.value, job) {
            let what =
                format!("job `{name}` writes (`{writer}`) and its `if` holds even when the gate is refused");
            found(&format!("{at}/if"), what);
        }
    }
    findings
}

/// Without any declaration GitHub's default applies, which never holds id-token.
fn granted(permissions: &Value, scope: &str, level: &str) -> bool {
    match permissions {
        Value::Null => scope != "id-token",
        Value::Object(scopes) => scopes.get(scope).is_some_and(|given| given == level || given == "write"),
        all => all == "write-all" || (level == "read" && all == "read-all"),
    }
}

/// Whether the job, or one it needs however far up, waits for an environment's approval.
fn gated(workflow: &Value, name: &str) -> bool {
    let job = &workflow["jobs"][name];
    job.get("environment").is_some() || needs(job).iter().any(|needed| gated(workflow, needed))
}

/// A status function takes the implicit `success()` away; the condition then has to ask after a gated job.
fn asks_after_gate(workflow: &Value, job: &Value) -> bool {
    let condition = text(&job["if"]);
    let references = expr::bare(&condition).and_then(expr::references).unwrap_or_default();
    let asks =
        |r: &Reference| matches!(r, Reference::Context(path) if path.len() > 2 && gated(workflow, &path[1]));
    text(&job["if"]).is_empty()
        || !references.iter().any(|r| matches!(r, Reference::Status(_)))
        || references.iter().any(asks)
}
