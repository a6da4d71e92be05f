//! Check runs and commit statuses.

use http::StatusCode;
use serde_json::{Value, json};

use super::Answer;
use super::api::{Request, Result, invalid, ok, unprocessable};
use super::state::{now, user};

impl Request<'_> {
    /// <https://docs.github.com/en/rest/checks/runs#create-a-check-run>
    pub(super) fn create_check_run(&mut self) -> Result {
        let (Some(name), Some(sha)) = (self.text("name"), self.text("head_sha")) else {
            return Err(unprocessable("Invalid request.\n\n\"name\", \"head_sha\" weren't supplied."));
        };
        if !self.repo.commits.contains_key(&sha) {
            return Err(unprocessable(&format!("No commit found for SHA: {sha}")));
        }
        let (id, api) = (self.id, self.api());
        let conclusion = self.text("conclusion");
        let status = self
            .text("status")
            .unwrap_or_else(|| (if conclusion.is_some() { "completed" } else { "queued" }).to_owned());
        let run = json!({
            "id": id,
            "head_sha": sha,
            "node_id": format!("CR_{id:x}"),
            "external_id": "",
            "url": format!("{api}/check-runs/{id}"),
            "html_url": format!("https://github.com/{}/runs/{id}", self.full),
            "details_url": self.text("details_url"),
            "status": status,
            "conclusion": conclusion,
            "started_at": now(),
            "completed_at": conclusion.as_ref().map(|_| now()),
            "output": {"title": null, "summary": null, "text": null, "annotations_count": 0, "annotations_url": format!("{api}/check-runs/{id}/annotations")},
            "name": name,
            "check_suite": {"id": id},
            "app": null,
            "pull_requests": [],
        });
        self.repo.checks.push((sha, run.clone()));
        Ok(Answer::json(StatusCode::CREATED, run))
    }

    pub(super) fn check_runs(&self, name: &str) -> Result {
        let sha = self.resolved(name)?;
        let runs: Vec<Value> =
            self.repo.checks.iter().rev().filter(|(of, _)| *of == sha).map(|(_, run)| run.clone()).collect();
        Ok(self.counted("check_runs", runs))
    }

    /// <https://docs.github.com/en/rest/commits/statuses#create-a-commit-status>
    pub(super) fn create_status(&mut self, sha: &str) -> Result {
        if !self.repo.commits.contains_key(sha) {
            return Err(unprocessable(&format!("No commit found for SHA: {sha}")));
        }
        let state = self.text("state").unwrap_or_default();
        if !["error", "failure", "pending", "success"].contains(&state.as_str()) {
            return Err(invalid("Status", "state", "custom"));
        }
        let (id, time) = (self.id, now());
        let status = json!({
            "url": format!("{}/statuses/{sha}", self.api()),
            "avatar_url": user()["avatar_url"],
            "id": id,
            "node_id": format!("SC_{id:x}"),
            "state": state,
            "description": self.text("description"),
            "target_url": self.text("target_url"),
            "context": self.text("context").unwrap_or_else(|| "default".to_owned()),
            "created_at": time,
            "updated_at": time,
        });
        self.repo.statuses.push((sha.to_owned(), status.clone()));
        Ok(Answer::json(StatusCode::CREATED, status))
    }

    /// The combined status: `pending` where there is none at all.
    ///
    /// Source: <https://docs.github.com/en/rest/commits/statuses#get-the-combined-status-for-a-specific-reference>
    pub(super) fn status(&self, name: &str) -> Result {
        let sha = self.resolved(name)?;
        let mut latest: Vec<&Value> = Vec::new();
        for (_, status) in self.repo.statuses.iter().rev().filter(|(of, _)| *of == sha) {
            if !latest.iter().any(|other| other["context"] == status["context"]) {
                latest.push(status);
            }
        }
        let any = |state: &str| latest.iter().any(|status| status["state"] == state);
        let state = if any("error") || any("failure") {
            "failure"
        } else if latest.is_empty() || any("pending") {
            "pending"
        } else {
            "success"
        };
        Ok(ok(json!({
            "state": state,
            "statuses": latest,
            "sha": sha,
            "total_count": latest.len(),
            "repository": self.repository(),
            "commit_url": format!("{}/commits/{sha}", self.api()),
            "url": format!("{}/commits/{sha}/status", self.api()),
        })))
    }
}
