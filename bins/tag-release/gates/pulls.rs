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

/// What a pull request that holds the release up has.
#[derive(Debug)]
pub(super) enum Mark<'a> {
    /// The milestone of this number.
    Milestone(u64),
    Label(&'a str),
}

/// The open pull requests with a mark, among all that are open: the list of issues, which can be asked for them, leaves pull requests
/// out without a word where the token may not see them (<https://github.com/lemonade-sdk/lemonade/pull/2210>), and the search
/// lags behind.
///
/// Source: <https://docs.github.com/en/rest/pulls/pulls#list-pull-requests>
pub(super) async fn open(cx: &Cx, github: &Github, mark: Mark<'_>, why: &str) -> Result<Vec<Open>, Failure> {
    #[derive(Deserialize)]
    struct Pull {
        number: u64,
        title: String,
        milestone: Option<Numbered>,
        labels: Vec<Named>,
    }
    #[derive(Deserialize)]
    struct Numbered {
        number: u64,
    }
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    let attempt = format!("list the open pull requests of {} with the {why}", github.repository());
    let call = Call { attempt: &attempt, permission: "pull-requests: read", path: "/pulls?state=open" };
    let pulls: Vec<Pull> = github.list(cx, call).await?;
    let has = |pull: &Pull| match mark {
        Mark::Milestone(number) => pull.milestone.as_ref().is_some_and(|it| it.number == number),
        // GitHub knows one label for all ways of writing it in capitals.
        Mark::Label(label) => pull.labels.iter().any(|it| it.name.to_lowercase() == label.to_lowercase()),
    };
    let marked = pulls.into_iter().filter(has);
    Ok(marked.map(|pull| Open { number: pull.number, title: pull.title, why: why.to_owned() }).collect())
}
