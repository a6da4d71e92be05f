//! One comment on a pull request that is kept up to date.

use kit::{Cx, Failure};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{Call, Github, Method};
use crate::error::failure;

/// What became of the comment, with the address at which it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Posted {
    /// There was none.
    Created(String),
    /// There was one that said something else.
    Updated(String),
    /// It says so already.
    Unchanged(String),
}

impl Posted {
    /// The address at which it is read.
    pub fn url(&self) -> &str {
        match self {
            Self::Created(url) | Self::Updated(url) | Self::Unchanged(url) => url,
        }
    }
}

/// <https://docs.github.com/en/rest/issues/comments>
#[derive(Clone, Debug, Deserialize)]
struct Comment {
    id: u64,
    node_id: String,
    html_url: String,
    #[serde(default)]
    body: Option<String>,
}

/// A token with `issues: write` is as good where the number is an issue's.
const PERMISSION: &str = "pull-requests: write";

/// How many ids GraphQL takes at once.
/// <https://docs.github.com/en/graphql/overview/rate-limits-and-query-limits-for-the-graphql-api>
const IDS: usize = 100;

/// Makes the comment of issue or pull request `number` whose body begins with `marker` say `body`, which begins with it
/// too. Among the comments with the marker only those count that this token's owner wrote; of several the oldest is
/// kept up to date. Registered secrets are redacted.
///
/// A token without the permission, as the read-only one of a pull request from a fork, is a failure that says so; whether
/// it matters is the caller's to decide.
pub async fn sticky_comment(
    cx: &Cx,
    github: &Github,
    number: u64,
    marker: &str,
    body: &str,
) -> Result<Posted, Failure> {
    let body = kit::redact(body);
    if !begins_with(&body, marker) {
        return Err(Failure::failed(format!("comment on #{number} in {}", github.repository()))
            .because("the text does not begin with its marker, by which it would be found again")
            .untouched(true));
    }
    let Some(comment) = find(cx, github, number, marker).await? else {
        let attempt = format!("comment on #{number} in {}", github.repository());
        let path = format!("/issues/{number}/comments");
        let call = Call { attempt: &attempt, permission: PERMISSION, path: &path };
        let look = async || find(cx, github, number, marker).await;
        let created: Comment = github.write(cx, Method::Post, call, &json!({"body": body}), look).await?;
        return Ok(Posted::Created(created.html_url));
    };
    if says(&comment, &body) {
        return Ok(Posted::Unchanged(comment.html_url));
    }
    let attempt = format!("update the comment {} on #{number} in {}", comment.id, github.repository());
    let path = format!("/issues/comments/{}", comment.id);
    let call = Call { attempt: &attempt, permission: PERMISSION, path: &path };
    let look = async || Ok(find(cx, github, number, marker).await?.filter(|found| says(found, &body)));
    let updated: Comment = github.write(cx, Method::Patch, call, &json!({"body": body}), look).await?;
    Ok(Posted::Updated(updated.html_url))
}

/// Whether the marker is the first line, so that an answer which quotes the comment is not taken for it.
fn begins_with(body: &str, marker: &str) -> bool {
    !marker.is_empty() && body.trim_start().lines().next().is_some_and(|line| line.trim_end() == marker)
}

/// Whether a comment says this already, line ends apart, which a browser changes.
fn says(comment: &Comment, body: &str) -> bool {
    let plain = |text: &str| text.replace("\r\n", "\n").trim_end().to_owned();
    comment.body.as_deref().is_some_and(|said| plain(said) == plain(body))
}

/// Our comment with the marker, the oldest of several.
async fn find(cx: &Cx, github: &Github, number: u64, marker: &str) -> Result<Option<Comment>, Failure> {
    let attempt = format!("list the comments on #{number} in {}", github.repository());
    let path = format!("/issues/{number}/comments");
    let call = Call { attempt: &attempt, permission: "pull-requests: read", path: &path };
    let mut marked: Vec<Comment> = github.list(cx, call).await?;
    marked.retain(|comment| comment.body.as_deref().is_some_and(|body| begins_with(body, marker)));
    marked.sort_by_key(|comment| comment.id);
    for some in marked.chunks(IDS) {
        let ours = ours(cx, github, some).await?;
        if let Some(comment) = some.iter().find(|comment| ours.contains(&comment.node_id)) {
            return Ok(Some(comment.clone()));
        }
    }
    Ok(None)
}

/// Which of the comments this token's owner wrote.
///
/// REST does not tell who the owner is of `GITHUB_TOKEN` or another app's token (`GET /user` is denied to them), and the
/// name that a bot has there is another one than its comments have; GraphQL answers the question itself.
/// <https://github.com/cli/cli/pull/6384>
async fn ours(cx: &Cx, github: &Github, comments: &[Comment]) -> Result<Vec<String>, Failure> {
    const QUERY: &str =
        "query($ids: [ID!]!) { nodes(ids: $ids) { ... on IssueComment { id viewerDidAuthor } } }";
    let ids: Vec<&str> = comments.iter().map(|comment| comment.node_id.as_str()).collect();
    let body = json!({"query": QUERY, "variables": {"ids": ids}});
    let attempt = format!("ask whose comments {} has", github.repository());
    let call = Call { attempt: &attempt, permission: "pull-requests: read", path: "" };
    // On GitHub Enterprise Server it is not beneath the path of the REST API.
    // https://docs.github.com/en/enterprise-server/graphql/guides/forming-calls-with-graphql
    let above = github.base_path()?.strip_suffix("/v3").map(str::to_owned);
    let (octocrab, route) = (github.rooted(cx)?, format!("{}/graphql", above.unwrap_or_default()));
    let answer: Value = github
        .reading(cx, call, async || octocrab.post(&route, Some(&body)).await)
        .await?
        .map_err(|error| failure(attempt.as_str(), call.permission, error))?;
    let Some(nodes) = answer.pointer("/data/nodes").and_then(Value::as_array) else {
        let said = answer.pointer("/errors/0/message").and_then(Value::as_str);
        return Err(Failure::failed(attempt)
            .because(said.unwrap_or("GitHub's answer has neither data nor an error").to_owned())
            .untouched(true));
    };
    Ok(nodes
        .iter()
        .filter(|node| node["viewerDidAuthor"] == true)
        .filter_map(|node| node["id"].as_str().map(str::to_owned))
        .collect())
}
