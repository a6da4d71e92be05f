//! Workflows that can be dispatched, and their runs. A run goes on by itself: with each look at it.
//!
//! Sources: <https://docs.github.com/en/rest/actions/workflows>, <https://docs.github.com/en/rest/actions/workflow-runs>,
//! <https://docs.github.com/en/rest/actions/workflow-jobs>; the id in the answer to a dispatch:
//! <https://github.blog/changelog/2026-02-19-workflow-dispatch-api-now-returns-run-ids>.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Answer;
use super::api::{Request, Result, error, no_content, not_found, ok, unprocessable};
use super::state::{now, user};

/// A workflow that can be dispatched.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Workflow {
    /// `build.yml`.
    pub file: String,
    /// The inputs that it declares.
    pub inputs: Vec<String>,
    /// Its `run-name`, in which `${{ inputs.NAME }}` is replaced; its name without one.
    pub run_name: Option<String>,
    /// How its runs end.
    pub conclusion: String,
    /// How often a run is looked at until it has ended.
    pub looks: u64,
    /// Whether the answer to a dispatch names the run, as github.com's does when asked; an older server refuses the question.
    pub tells: bool,
    /// Whether it is switched off.
    pub disabled: bool,
}

impl Default for Workflow {
    fn default() -> Self {
        Self {
            file: "build.yml".to_owned(),
            inputs: Vec::new(),
            run_name: None,
            conclusion: "success".to_owned(),
            looks: 2,
            tells: true,
            disabled: false,
        }
    }
}

impl Workflow {
    fn json(&self, api: &str, id: usize) -> Value {
        json!({
            "id": id,
            "name": "Build",
            "path": format!(".github/workflows/{}", self.file),
            "state": if self.disabled { "disabled_manually" } else { "active" },
            "url": format!("{api}/actions/workflows/{id}"),
        })
    }
}

impl Request<'_> {
    fn place_of(&self, name: &str) -> std::result::Result<usize, Answer> {
        let all = &self.repo.gates.workflows;
        all.iter().position(|it| it.file == name).ok_or_else(not_found)
    }

    pub(super) fn workflow(&self, name: &str) -> Result {
        let place = self.place_of(name)?;
        let workflow = self.repo.gates.workflows.get(place).ok_or_else(not_found)?;
        Ok(ok(workflow.json(&format!("{}/repos/{}", self.url, self.full), place + 1)))
    }

    pub(super) fn dispatch(&mut self, name: &str) -> Result {
        let place = self.place_of(name)?;
        let workflow = self.repo.gates.workflows.get(place).cloned().ok_or_else(not_found)?;
        if workflow.disabled {
            return Err(unprocessable("Cannot trigger a 'workflow_dispatch' on a disabled workflow"));
        }
        let Some(git_ref) = self.text("ref") else {
            return Err(unprocessable("Invalid request.\n\n\"ref\" wasn't supplied."));
        };
        let Some(sha) = self.repo.resolve(&git_ref) else {
            return Err(unprocessable(&format!("No ref found for: {git_ref}")));
        };
        let wants_run = self.flag("return_run_details");
        if wants_run && !workflow.tells {
            return Err(unprocessable("Invalid request.\n\n\"return_run_details\" is not a permitted key."));
        }
        let inputs = self.object_of("inputs");
        let unknown: Vec<&String> = inputs.keys().filter(|name| !workflow.inputs.contains(name)).collect();
        if !unknown.is_empty() {
            return Err(unprocessable(&format!("Unexpected inputs provided: {unknown:?}")));
        }
        let mut title = workflow.run_name.clone().unwrap_or_else(|| "Build".to_owned());
        for (name, value) in &inputs {
            title = title.replace(&format!("${{{{ inputs.{name} }}}}"), value.as_str().unwrap_or_default());
        }
        let id = self.id;
        let api = format!("{}/repos/{}", self.url, self.full);
        let (run_url, html_url) = (
            format!("{api}/actions/runs/{id}"),
            format!("https://github.com/{}/actions/runs/{id}", self.full),
        );
        self.repo.gates.runs.push(json!({
            "id": id,
            "name": "Build",
            "display_title": title,
            "path": format!(".github/workflows/{name}"),
            "workflow_id": place + 1,
            "check_suite_id": id + 1,
            "event": "workflow_dispatch",
            "status": "queued",
            "conclusion": null,
            "head_sha": sha,
            "head_branch": git_ref,
            "run_attempt": 1,
            "created_at": now(),
            "url": run_url,
            "html_url": html_url,
            "actor": user(),
            "looks": 0,
        }));
        if wants_run {
            return Ok(ok(json!({"workflow_run_id": id, "run_url": run_url, "html_url": html_url})));
        }
        Ok(no_content())
    }

    pub(super) fn runs_of(&self, name: &str) -> Result {
        let place = self.place_of(name)?;
        let (sha, event) = (self.query("head_sha"), self.query("event"));
        let of = |run: &&Value| {
            run["workflow_id"] == place + 1
                && sha.is_none_or(|sha| run["head_sha"] == sha)
                && event.is_none_or(|event| run["event"] == event)
        };
        let runs: Vec<Value> = self.repo.gates.runs.iter().rev().filter(of).cloned().collect();
        Ok(self.counted("workflow_runs", runs))
    }

    /// With each look the run goes on.
    pub(super) fn run(&mut self, id: &str) -> Result {
        let workflows = self.repo.gates.workflows.clone();
        let run = self.run_mut(id)?;
        let workflow = run["workflow_id"]
            .as_u64()
            .and_then(|id| workflows.get(usize::try_from(id).ok()?.checked_sub(1)?));
        let looks = run["looks"].as_u64().unwrap_or_default() + 1;
        run["looks"] = json!(looks);
        if let Some(workflow) = workflow
            && run["conclusion"].is_null()
        {
            if looks > workflow.looks {
                run["status"] = json!("completed");
                run["conclusion"] = json!(workflow.conclusion);
            } else {
                run["status"] = json!("in_progress");
            }
        }
        Ok(ok(run.clone()))
    }

    pub(super) fn jobs(&mut self, id: &str) -> Result {
        let full = self.full.to_owned();
        let run = self.run_mut(id)?;
        let (status, conclusion) = (run["status"].clone(), run["conclusion"].clone());
        let failed = conclusion == "failure";
        let step = json!({"name": "Compile", "status": status, "conclusion": conclusion, "number": 1});
        let jobs = json!([{
            "id": 7_000,
            "name": "image",
            "status": status,
            "conclusion": conclusion,
            "html_url": format!("https://github.com/{full}/actions/runs/{id}/job/7000"),
            "steps": if failed || status == "in_progress" { json!([step]) } else { json!([]) },
        }]);
        Ok(ok(json!({"total_count": 1, "jobs": jobs})))
    }

    pub(super) fn cancel(&mut self, id: &str) -> Result {
        let run = self.run_mut(id)?;
        if !run["conclusion"].is_null() {
            return Err(error(StatusCode::CONFLICT, "Cannot cancel a workflow run that is completed."));
        }
        run["status"] = json!("completed");
        run["conclusion"] = json!("cancelled");
        Ok(Answer::json(StatusCode::ACCEPTED, json!({})))
    }

    fn run_mut(&mut self, id: &str) -> std::result::Result<&mut Value, Answer> {
        let id: u64 = id.parse().map_err(|_| not_found())?;
        self.repo.gates.runs.iter_mut().find(|run| run["id"] == id).ok_or_else(not_found)
    }
}
