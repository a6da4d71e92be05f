//! Comments of issues and pull requests.
//!
//! Sources: <https://docs.github.com/en/rest/issues/comments>,
//! <https://docs.github.com/en/graphql/reference/objects#issuecomment>.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Answer;
use super::api::{Request, Result, error, invalid, not_found, ok, unprocessable};
use super::state::{State, now, user};

/// What GitHub says is the most.
const LONGEST: usize = 65_536;

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Comment {
    pub(super) id: u64,
    pub(super) issue: u64,
    /// A login; the world's own is that of [`user`].
    pub(super) author: String,
    pub(super) body: String,
    created_at: String,
    updated_at: String,
}

impl Comment {
    pub(super) fn new(id: u64, issue: u64, author: &str, body: &str) -> Self {
        let (created_at, updated_at) = (now(), now());
        Self { id, issue, author: author.to_owned(), body: body.to_owned(), created_at, updated_at }
    }

    fn node_id(&self) -> String {
        format!("IC_{:x}", self.id)
    }

    fn ours(&self) -> bool {
        user()["login"] == self.author.as_str()
    }

    pub(super) fn json(&self, url: &str, repo: &str) -> Value {
        let mut author = user();
        if !self.ours() {
            author["login"] = json!(self.author);
            author["type"] = json!("User");
        }
        let api = format!("{url}/repos/{repo}/issues");
        json!({
            "url": format!("{api}/comments/{}", self.id),
            "html_url": format!("https://github.com/{repo}/pull/{}#issuecomment-{}", self.issue, self.id),
            "issue_url": format!("{api}/{}", self.issue),
            "id": self.id,
            "node_id": self.node_id(),
            "user": author,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "author_association": "CONTRIBUTOR",
            "body": self.body,
            "performed_via_github_app": null,
        })
    }
}

impl Request<'_> {
    pub(super) fn comments(&mut self, method: &str, issue: &str) -> Result {
        let known = issue.parse().ok().filter(|issue| self.repo.issues.contains(issue));
        let issue: u64 = known.ok_or_else(not_found)?;
        if method == "GET" {
            // In ascending order of their ids.
            let of = self.repo.comments.iter().filter(|comment| comment.issue == issue);
            let list = of.map(|comment| comment.json(self.url, self.full)).collect();
            return Ok(self.page(list));
        }
        let body = self.comment_body()?;
        let author = user()["login"].as_str().unwrap_or_default().to_owned();
        let comment = Comment::new(self.id, issue, &author, &body);
        let answer = comment.json(self.url, self.full);
        self.repo.comments.push(comment);
        Ok(Answer::json(StatusCode::CREATED, answer))
    }

    /// Whoever may write to the repository may change anybody's comment.
    pub(super) fn edit_comment(&mut self, id: &str) -> Result {
        let at = self.repo.comments.iter().position(|comment| comment.id.to_string() == id);
        let body = self.comment_body();
        let comment = at.and_then(|at| self.repo.comments.get_mut(at)).ok_or_else(not_found)?;
        comment.body = body?;
        comment.updated_at = now();
        Ok(ok(comment.json(self.url, self.full)))
    }

    fn comment_body(&self) -> std::result::Result<String, Answer> {
        let Some(body) = self.text("body") else {
            return Err(invalid("IssueComment", "body", "missing_field"));
        };
        if body.chars().count() > LONGEST {
            let mut answer = unprocessable("Validation Failed");
            if let Some(answer) = &mut answer.body {
                let message = format!("Body is too long (maximum is {LONGEST} characters)");
                answer["errors"] = json!([{"resource": "IssueComment", "code": "unprocessable", "field": "data", "message": message}]);
            }
            return Err(answer);
        }
        Ok(body)
    }
}

/// The one question that is understood: which of these comments the viewer wrote.
pub(super) fn graphql(state: &State, body: &Value) -> Answer {
    let asked = body["query"].as_str().is_some_and(|query| {
        ["nodes(ids:", "... on IssueComment", "viewerDidAuthor"].iter().all(|part| query.contains(part))
    });
    let ids = body["variables"]["ids"].as_array().filter(|ids| asked && ids.len() <= 100);
    let Some(ids) = ids else { return error(StatusCode::BAD_REQUEST, "the world understands no such query") };
    let comments = || state.repos.values().flat_map(|repo| &repo.comments);
    let nodes: Vec<Value> = ids
        .iter()
        .map(|id| match comments().find(|comment| *id == comment.node_id()) {
            Some(comment) => json!({"id": comment.node_id(), "viewerDidAuthor": comment.ours()}),
            None => Value::Null,
        })
        .collect();
    ok(json!({"data": {"nodes": nodes}}))
}
