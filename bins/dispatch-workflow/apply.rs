//! The calls that write: the dispatch, which is never sent twice, and cancelling.

use std::cell::Cell;
use std::time::Duration;

use github::{Call, Github, Once, encode};
use kit::{Cx, Failure, Poll, Wait};
use serde::{Deserialize, Serialize};
use serde_json::json;
use time::Date;
use tokio::time::Instant;

use crate::observe::{self, Run};
use crate::plan::{Mark, Request};

const WRITE: &str = "actions: write";

/// Time between two looks for a run that was just started.
const EVERY: Duration = Duration::from_secs(2);
/// For so long a run that was started may be missing, in the list and by its number.
pub(crate) const APPEARS: Duration = Duration::from_mins(2);

/// What is known before the call: enough to find its run afterwards.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Inverse {
    pub(crate) repository: String,
    pub(crate) workflow: String,
    pub(crate) head: String,
    pub(crate) mark: Option<Mark>,
    /// The runs that were there before.
    pub(crate) earlier: Vec<u64>,
}

/// Starts the run and finds it; `known` has its number as soon as GitHub has told it.
///
/// Source: <https://docs.github.com/en/rest/actions/workflows#create-a-workflow-dispatch-event>
pub(crate) async fn dispatch(
    cx: &Cx,
    github: &Github,
    request: &Request,
    before: &Inverse,
    known: &Cell<Option<u64>>,
) -> Result<Run, Failure> {
    let attempt = format!("start {} on {} in {}", request.workflow, request.git_ref, request.repository);
    let path = format!("/actions/workflows/{}/dispatches", encode(&request.workflow));
    let call = Call { attempt: &attempt, permission: WRITE, path: &path };
    let inputs: serde_json::Map<_, _> =
        request.inputs.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let mut body = json!({"ref": request.git_ref, "inputs": inputs, "return_run_details": true});
    let mut sent = github.post_once(cx, call, &body).await?;
    // A server that does not know the question has started nothing.
    if let Once::Refused(failure) = &sent
        && failure.chain().iter().any(|why| why.contains("return_run_details"))
    {
        body.as_object_mut().map(|body| body.remove("return_run_details"));
        sent = github.post_once(cx, call, &body).await?;
    }
    let doubt = match sent {
        Once::Refused(failure) => return Err(failure),
        Once::Doubt(failure) => Some(failure),
        Once::Done(answer) => {
            let id =
                answer.and_then(|answer| answer.get("workflow_run_id").and_then(serde_json::Value::as_u64));
            if let Some(id) = id {
                known.set(Some(id));
                return appear(cx, &attempt, async || observe::seek(cx, github, id).await).await;
            }
            None
        }
    };
    // A day for clocks that differ.
    let since = cx.now().date().previous_day();
    let found = appear(cx, &attempt, async || started(cx, github, before, since).await).await;
    match (found, doubt) {
        (Ok(run), _) => Ok(run),
        (Err(failure), None) => Err(failure.untouched(false)),
        (Err(_), Some(doubt)) => Err(doubt
            .state("whether a run was started is not known: none was seen")
            .help("look at the runs of the workflow; the same command looks first, too")),
    }
}

/// The run that was started since `before`, if it can be seen.
pub(crate) async fn started(
    cx: &Cx,
    github: &Github,
    before: &Inverse,
    since: Option<Date>,
) -> Result<Option<Run>, Failure> {
    let runs = observe::runs(cx, github, &before.workflow, &before.head, before.mark.as_ref(), since).await?;
    let new = runs.into_iter().filter(|run| !before.earlier.contains(&run.id));
    let mut new: Vec<Run> = match &before.mark {
        Some(mark) => new.filter(|run| mark.is_of(run)).collect(),
        None => new.filter(|run| run.head_sha == before.head).collect(),
    };
    if new.len() > 1 {
        let pages: Vec<&str> = new.iter().map(|run| run.html_url.as_str()).collect();
        return Err(Failure::waiting(format!("find the run of {}", before.workflow))
            .because(format!("{} were started at the same moment: {}", new.len(), pages.join(", ")))
            .help("with --id-input they can be told apart"));
    }
    Ok(new.pop())
}

async fn appear(
    cx: &Cx,
    attempt: &str,
    mut look: impl AsyncFnMut() -> Result<Option<Run>, Failure>,
) -> Result<Run, Failure> {
    let what = format!("the run to appear ({attempt})");
    let wait = Wait { what: &what, every: EVERY, deadline: Some(Instant::now() + APPEARS) };
    cx.wait(wait, async || {
        Ok(match look().await? {
            Some(run) => Poll::Ready(run),
            None => Poll::Pending("it is not in the list yet".to_owned()),
        })
    })
    .await
}

/// Source: <https://docs.github.com/en/rest/actions/workflow-runs#cancel-a-workflow-run>
pub(crate) async fn cancel(cx: &Cx, github: &Github, id: u64) -> Result<(), Failure> {
    let attempt = format!("cancel the run {id} in {}", github.repository());
    let path = format!("/actions/runs/{id}/cancel");
    match github.post_once(cx, Call { attempt: &attempt, permission: WRITE, path: &path }, &json!({})).await?
    {
        Once::Done(_) => Ok(()),
        Once::Refused(failure) | Once::Doubt(failure) => Err(failure),
    }
}
