//! What decides whether a commit may be released: rules of branches, workflow runs, milestones, labels, open pull requests.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::api::{Request, Result, not_found, ok};
use super::state::{now, user};
use super::workflows::Workflow;

/// What the world keeps of these.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Gates {
    /// By branch, as the API answers them.
    pub(super) rules: BTreeMap<String, Vec<Value>>,
    /// By branch: the `protection` of its description.
    pub(super) protection: BTreeMap<String, Value>,
    pub(super) runs: Vec<Value>,
    #[serde(default)]
    pub(super) workflows: Vec<Workflow>,
    /// Titles; the number is the place, from 1.
    pub(super) milestones: Vec<String>,
    pub(super) labels: BTreeSet<String>,
    pub(super) issues: Vec<Issue>,
}

/// An open issue or pull request.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Issue {
    pub(super) number: u64,
    pub(super) title: String,
    pub(super) milestone: Option<String>,
    pub(super) labels: Vec<String>,
    pub(super) is_pull: bool,
}

/// A check run with these fields over the usual ones.
///
/// Source: <https://docs.github.com/en/rest/checks/runs#get-a-check-run>
pub(super) fn check_run(id: u64, sha: &str, fields: &Value) -> Value {
    let mut run = json!({
        "id": id,
        "head_sha": sha,
        "node_id": format!("CR_{id:x}"),
        "external_id": "",
        "details_url": null,
        "status": "completed",
        "conclusion": "success",
        "started_at": now(),
        "completed_at": now(),
        "name": "test",
        "check_suite": {"id": id},
        "app": {"id": 15368, "slug": "github-actions", "name": "GitHub Actions"},
        "pull_requests": [],
    });
    for (name, value) in fields.as_object().into_iter().flatten() {
        run[name] = value.clone();
    }
    run
}

impl Request<'_> {
    /// <https://docs.github.com/en/rest/repos/rules#get-rules-for-a-branch>
    pub(super) fn rules(&self, branch: &str) -> Result {
        Ok(self.page(self.repo.gates.rules.get(branch).cloned().unwrap_or_default()))
    }

    /// <https://docs.github.com/en/rest/actions/workflow-runs#list-workflow-runs-for-a-repository>
    pub(super) fn workflow_runs(&self) -> Result {
        let sha = self.query("head_sha");
        let of = |run: &&Value| sha.is_none_or(|sha| run["head_sha"] == sha);
        let runs: Vec<Value> = self.repo.gates.runs.iter().rev().filter(of).cloned().collect();
        Ok(self.counted("workflow_runs", runs))
    }

    /// <https://docs.github.com/en/rest/issues/milestones#list-milestones>
    pub(super) fn milestones(&self) -> Result {
        Ok(self.page((0..self.repo.gates.milestones.len()).map(|place| self.milestone(place)).collect()))
    }

    fn milestone(&self, place: usize) -> Value {
        let number = place + 1;
        json!({
            "url": format!("{}/milestones/{number}", self.url),
            "html_url": format!("https://github.com/{}/milestone/{number}", self.full),
            "id": 1_000 + number,
            "number": number,
            "state": "open",
            "title": self.repo.gates.milestones.get(place),
            "description": null,
            "creator": user(),
            "due_on": null,
        })
    }

    /// <https://docs.github.com/en/rest/issues/labels#get-a-label>
    pub(super) fn label(&self, name: &str) -> Result {
        let found = self.repo.gates.labels.iter().find(|label| label.eq_ignore_ascii_case(name));
        found
            .map(|label| ok(json!({"id": self.id, "name": label, "color": "d73a4a", "default": false})))
            .ok_or_else(not_found)
    }

    /// Open ones alone are kept. Issues and pull requests share their numbers.
    ///
    /// Source: <https://docs.github.com/en/rest/pulls/pulls#list-pull-requests>
    pub(super) fn pulls(&self) -> Result {
        let gates = &self.repo.gates;
        let json = |issue: &Issue| {
            let place =
                issue.milestone.as_ref().and_then(|title| gates.milestones.iter().position(|it| it == title));
            json!({
                "id": 10_000 + issue.number,
                "number": issue.number,
                "title": issue.title,
                "state": "open",
                "html_url": format!("https://github.com/{}/pull/{}", self.full, issue.number),
                "user": user(),
                "labels": issue.labels.iter().map(|label| json!({"name": label})).collect::<Vec<_>>(),
                "milestone": place.map(|place| self.milestone(place)),
                "draft": false,
                "created_at": now(),
            })
        };
        Ok(self.page(gates.issues.iter().filter(|issue| issue.is_pull).map(json).collect()))
    }
}
