//! What GitHub has: the workflow, the ref, the runs, the jobs of one.

use github::{Call, Github, encode};
use kit::{Cx, Failure};
use serde::{Deserialize, Serialize};
use time::Date;

use crate::plan::Mark;

pub(crate) const READ: &str = "actions: read";

/// What the plan is made from.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Seen {
    pub(crate) workflow: Workflow,
    /// The commit to which the ref leads.
    pub(crate) head: String,
    /// Runs that were dispatched, the newest first: all that are kept, or those of that commit.
    pub(crate) runs: Vec<Run>,
}

/// Source: <https://docs.github.com/en/rest/actions/workflows#get-a-workflow>
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Workflow {
    pub(crate) path: String,
    /// `active`, or the way in which it is switched off.
    pub(crate) state: String,
}

/// Source: <https://docs.github.com/en/rest/actions/workflow-runs#get-a-workflow-run>
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) id: u64,
    /// What its `run-name` came to.
    #[serde(default)]
    pub(crate) display_title: String,
    /// `queued`, `in_progress`, `waiting`, `completed`, ...
    pub(crate) status: String,
    pub(crate) conclusion: Option<String>,
    pub(crate) head_sha: String,
    pub(crate) html_url: String,
}

/// Source: <https://docs.github.com/en/rest/actions/workflow-jobs#list-jobs-for-a-workflow-run>
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Job {
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) conclusion: Option<String>,
    #[serde(default)]
    pub(crate) html_url: Option<String>,
    #[serde(default)]
    pub(crate) steps: Vec<Step>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) conclusion: Option<String>,
}

pub(crate) async fn observe(
    cx: &Cx,
    github: &Github,
    name: &str,
    git_ref: &str,
    mark: Option<&Mark>,
) -> Result<Seen, Failure> {
    let repository = github.repository();
    let attempt = format!("look at the repository {repository}");
    let call = Call { attempt: &attempt, permission: "metadata: read", path: "" };
    github.get::<serde_json::Value>(cx, call).await?;
    let attempt = format!("find the workflow {name} in {repository}");
    let path = format!("/actions/workflows/{}", encode(name));
    let found: Option<Workflow> =
        github.find(cx, Call { attempt: &attempt, permission: READ, path: &path }).await?;
    let workflow = found.ok_or_else(|| {
        Failure::refused(attempt)
            .because("there is none of that file name on the default branch, where GitHub looks for it")
            .help("write the file's name alone, as in build.yml, or correct --repository")
    })?;
    let head = head(cx, github, git_ref).await?;
    let runs = runs(cx, github, name, &head, mark, None).await?;
    Ok(Seen { workflow, head, runs })
}

/// The commit to which the tag or branch leads.
async fn head(cx: &Cx, github: &Github, name: &str) -> Result<String, Failure> {
    #[derive(Deserialize)]
    struct Ref {
        object: Object,
    }
    #[derive(Deserialize)]
    struct Object {
        sha: String,
    }
    #[derive(Deserialize)]
    struct Commit {
        sha: String,
    }
    let attempt = format!("find the tag or branch {name} in {}", github.repository());
    let mut found = Vec::new();
    for kind in ["tags", "heads"] {
        let path = format!("/git/ref/{kind}/{}", encode(name));
        let call = Call { attempt: &attempt, permission: "contents: read", path: &path };
        found.extend(github.find::<Ref>(cx, call).await?.map(|found| (kind, found.object.sha)));
    }
    match &found[..] {
        [(kind, _)] => {
            // A tag may be an object of its own: the commit is what it leads to.
            let path = format!("/commits/{}", encode(&format!("{kind}/{name}")));
            let call = Call { attempt: &attempt, permission: "contents: read", path: &path };
            Ok(github.get::<Commit>(cx, call).await?.sha)
        }
        [] => Err(Failure::refused(attempt)
            .because("there is neither a tag nor a branch of that name")
            .help("a commit alone can't be dispatched: tag it first, as with tag-release")),
        _ => Err(Failure::refused(attempt)
            .because("there is a tag and a branch of that name, and which of them GitHub takes is not said")
            .help("give one of them another name")),
    }
}

/// Runs that were dispatched, the newest first, of the last thousand. A marked one may be on an earlier commit of a branch, and as old
/// as it is; `since` bounds it where it was started just now.
///
/// Source: <https://docs.github.com/en/rest/actions/workflow-runs#list-workflow-runs-for-a-workflow>
pub(crate) async fn runs(
    cx: &Cx,
    github: &Github,
    name: &str,
    head: &str,
    mark: Option<&Mark>,
    since: Option<Date>,
) -> Result<Vec<Run>, Failure> {
    let attempt = format!("list the runs of {name} in {}", github.repository());
    let path = format!("/actions/workflows/{}/runs", encode(name));
    let call = Call { attempt: &attempt, permission: READ, path: &path };
    let since = since.map(|since| format!(">={since}"));
    let which = match mark {
        Some(mark) if mark.is_stable => since.as_deref().map(|since| ("created", since)),
        _ => Some(("head_sha", head)),
    };
    let query: Vec<(&str, &str)> = [("event", "workflow_dispatch")].into_iter().chain(which).collect();
    let mut runs: Vec<Run> = github.list_in(cx, call, "workflow_runs", &query).await?.ok_or_else(|| {
        Failure::failed(&attempt)
            .because("the token may not see them")
            .help("give it `actions: write`")
            .untouched(true)
    })?;
    runs.sort_by_key(|run| std::cmp::Reverse(run.id));
    Ok(runs)
}

pub(crate) async fn run(cx: &Cx, github: &Github, id: u64) -> Result<Run, Failure> {
    let attempt = format!("look at the run {id} in {}", github.repository());
    let path = format!("/actions/runs/{id}");
    github.get(cx, Call { attempt: &attempt, permission: READ, path: &path }).await
}

/// As [`run`]; none where GitHub does not show it, as may be for some seconds after it was started.
pub(crate) async fn seek(cx: &Cx, github: &Github, id: u64) -> Result<Option<Run>, Failure> {
    let attempt = format!("look at the run {id} in {}", github.repository());
    let path = format!("/actions/runs/{id}");
    github.find(cx, Call { attempt: &attempt, permission: READ, path: &path }).await
}

pub(crate) async fn jobs(cx: &Cx, github: &Github, id: u64) -> Result<Vec<Job>, Failure> {
    let attempt = format!("look at the jobs of the run {id} in {}", github.repository());
    let path = format!("/actions/runs/{id}/jobs");
    let call = Call { attempt: &attempt, permission: READ, path: &path };
    Ok(github.list_in(cx, call, "jobs", &[("filter", "latest")]).await?.unwrap_or_default())
}
