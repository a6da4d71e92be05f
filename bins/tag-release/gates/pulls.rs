//! The open pull requests that hold a release up.

use github::{Call, Github, encode};
use kit::{Cx, Failure};
use serde::Deserialize;

use super::Open;

/// Source: <https://docs.github.com/en/rest/issues/milestones#list-milestones>
pub(super) async fn milestone(cx: &Cx, github: &Github, title: &str) -> Result<u64, Failure> {
    #[derive(Deserialize)]
    struct Milestone {
        number: u64,
        title: String,
    }
    let attempt = format!("find the milestone {title} in {}", github.repository());
    let call = Call { attempt: &attempt, permission: "issues: read", path: "/milestones?state=all" };
    let all: Vec<Milestone> = github.list(cx, call).await?;
    // GitHub lets no two milestones have one title.
    if let Some(found) = all.iter().find(|milestone| milestone.title == title) {
        return Ok(found.number);
    }
    let titles: Vec<&str> = all.iter().map(|milestone| milestone.title.as_str()).collect();
    let why = if titles.is_empty() {
        "the repository has no milestones".to_owned()
    } else {
        format!("there are: {}", titles.join(", "))
    };
    Err(Failure::refused(attempt).because(why).help("correct --milestone"))
}

/// A label that is not there would be on no pull request at all.
///
/// Source: <https://docs.github.com/en/rest/issues/labels#get-a-label>
pub(super) async fn known_label(cx: &Cx, github: &Github, label: &str) -> Result<(), Failure> {
    let attempt = format!("find the label {label} in {}", github.repository());
    let path = format!("/labels/{}", encode(label));
    let call = Call { attempt: &attempt, permission: "issues: read", path: &path };
    match github.find::<serde_json::Value>(cx, call).await? {
        Some(_) => Ok(()),
        None => Err(Failure::refused(attempt)
            .because("the repository has no such label")
            .help("correct --blocking-label")),
    }
}

/// The open pull requests among the issues. The search would be shorter, and lags behind.
///
/// Source: <https://docs.github.com/en/rest/issues/issues#list-repository-issues>
pub(super) async fn open(
    cx: &Cx,
    github: &Github,
    which: (&str, &str),
    why: &str,
) -> Result<Vec<Open>, Failure> {
    #[derive(Deserialize)]
    struct Issue {
        number: u64,
        title: String,
        #[serde(default)]
        pull_request: Option<serde_json::Value>,
    }
    let attempt = format!("list the open pull requests of {} with the {why}", github.repository());
    let path = format!("/issues?state=open&{}={}", which.0, encode(which.1).replace('/', "%2F"));
    let call = Call { attempt: &attempt, permission: "pull-requests: read", path: &path };
    let issues: Vec<Issue> = github.list(cx, call).await?;
    let pulls = issues.into_iter().filter(|issue| issue.pull_request.is_some());
    Ok(pulls.map(|issue| Open { number: issue.number, title: issue.title, why: why.to_owned() }).collect())
}
