//! The endpoints.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::state::{Repo, State, user};
use super::{APP_TOKEN, Answer, READ_TOKEN, TOKEN, comments};

pub(super) type Result = std::result::Result<Answer, Answer>;

pub(super) fn answer(
    state: &mut State,
    url: &str,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &Bytes,
) -> Answer {
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer ").or_else(|| value.strip_prefix("token ")));
    // A GitHub Enterprise Server has its API beneath the one path, and takes files beneath the other:
    // https://docs.github.com/en/enterprise-server/rest/releases/assets#upload-a-release-asset
    let beneath = ["/api/v3", "/api/uploads"].iter().find_map(|root| uri.path().strip_prefix(root));
    let path = beneath.unwrap_or(uri.path());
    let graphql = ["/graphql", "/api/graphql"].contains(&uri.path());
    match token {
        None => return error(StatusCode::UNAUTHORIZED, "Requires authentication"),
        Some(TOKEN | APP_TOKEN) => {}
        Some(READ_TOKEN) if method == Method::GET || graphql => {}
        Some(READ_TOKEN) => {
            let accepted = if path.contains("/issues/") {
                "issues=write; pull_requests=write"
            } else {
                "contents=write"
            };
            let mut denied = error(StatusCode::FORBIDDEN, "Resource not accessible by integration");
            denied.headers.insert("x-accepted-github-permissions", HeaderValue::from_static(accepted));
            return denied;
        }
        Some(_) => return error(StatusCode::UNAUTHORIZED, "Bad credentials"),
    }
    if graphql && method == Method::POST {
        let question = serde_json::from_slice(body).unwrap_or(Value::Null);
        return comments::graphql(state, &question);
    }
    let parts: Vec<String> = path.split('/').skip(1).map(decoded).collect();
    let [repos, owner, name, rest @ ..] = parts.as_slice() else { return not_found() };
    let full = format!("{owner}/{name}");
    if repos != "repos" {
        return not_found();
    }
    let id = state.next_id();
    let Some(repo) = state.repos.get_mut(&full) else { return not_found() };
    let raw = body.clone();
    // A file's content is none of JSON.
    let upload = matches!(rest, [releases, _, assets] if releases == "releases" && assets == "assets");
    let body: Value = if body.is_empty() || upload {
        Value::Null
    } else {
        match serde_json::from_slice(body) {
            Ok(body) => body,
            Err(_) => return error(StatusCode::BAD_REQUEST, "Problems parsing JSON"),
        }
    };
    let mut request = Request { repo, url, full: &full, id, uri, body, raw, headers };
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    request.route(method.as_str(), &rest).unwrap_or_else(|answer| answer)
}

pub(super) fn decoded(segment: &str) -> String {
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

/// <https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api>
pub(super) fn error(status: StatusCode, message: &str) -> Answer {
    let body = json!({"message": message, "documentation_url": "https://docs.github.com/rest", "status": status.as_u16().to_string()});
    Answer::json(status, body)
}

pub(super) fn not_found() -> Answer {
    error(StatusCode::NOT_FOUND, "Not Found")
}

pub(super) fn unprocessable(message: &str) -> Answer {
    error(StatusCode::UNPROCESSABLE_ENTITY, message)
}

pub(super) fn invalid(resource: &str, field: &str, code: &str) -> Answer {
    let mut answer = unprocessable("Validation Failed");
    if let Some(body) = &mut answer.body {
        body["errors"] = json!([{"resource": resource, "code": code, "field": field}]);
    }
    answer
}

pub(super) struct Request<'a> {
    pub(super) repo: &'a mut Repo,
    pub(super) url: &'a str,
    pub(super) full: &'a str,
    pub(super) id: u64,
    uri: &'a Uri,
    pub(super) body: Value,
    /// As it came.
    pub(super) raw: Bytes,
    pub(super) headers: &'a HeaderMap,
}

impl Request<'_> {
    fn route(&mut self, method: &str, path: &[&str]) -> Result {
        match (method, path) {
            ("GET", []) => Ok(ok(self.repository())),
            ("GET", ["branches"]) => self.branches(),
            ("GET", ["branches", name @ ..]) => self.branch(&name.join("/")),
            ("GET", ["commits"]) => self.commits(),
            ("GET", ["commits", name @ .., "check-runs"]) => self.check_runs(&name.join("/")),
            ("GET", ["commits", name @ .., "status"]) => self.status(&name.join("/")),
            ("GET", ["commits", name @ ..]) => self.commit(&name.join("/")),
            ("GET", ["compare", range @ ..]) => self.compare(&range.join("/")),
            ("GET", ["rules", "branches", name @ ..]) => self.rules(&name.join("/")),
            ("GET", ["actions", "runs"]) => self.workflow_runs(),
            ("GET", ["actions", "runs", id]) => self.run(id),
            ("GET", ["actions", "runs", id, "jobs"]) => self.jobs(id),
            ("POST", ["actions", "runs", id, "cancel"]) => self.cancel(id),
            ("GET", ["actions", "workflows", name]) => self.workflow(name),
            ("GET", ["actions", "workflows", name, "runs"]) => self.runs_of(name),
            ("POST", ["actions", "workflows", name, "dispatches"]) => self.dispatch(name),
            ("GET", ["milestones"]) => self.milestones(),
            ("GET", ["labels", name]) => self.label(name),
            ("GET", ["pulls"]) => self.pulls(),
            ("GET", ["tags"]) => self.tags(),
            ("GET", ["git", "commits", sha]) => {
                if self.repo.commits.contains_key(*sha) {
                    Ok(ok(self.git_commit(sha)))
                } else {
                    Err(not_found())
                }
            }
            ("POST", ["git", "commits"]) => self.create_commit(),
            ("GET", ["git", "blobs", sha]) => self.blob(sha),
            ("POST", ["git", "blobs"]) => self.create_blob(),
            ("GET", ["git", "trees", name @ ..]) => self.tree(&name.join("/")),
            ("POST", ["git", "trees"]) => self.create_tree(),
            ("GET", ["git", "ref", name @ ..]) => self.git_ref(&name.join("/")),
            ("GET", ["git", "matching-refs", prefix @ ..]) => self.matching_refs(&prefix.join("/")),
            ("POST", ["git", "refs"]) => self.create_ref(),
            ("PATCH", ["git", "refs", name @ ..]) => self.update_ref(&name.join("/")),
            ("DELETE", ["git", "refs", name @ ..]) => self.delete_ref(&name.join("/")),
            ("POST", ["git", "tags"]) => self.create_tag(),
            ("GET", ["git", "tags", sha]) => {
                if self.repo.tags.contains_key(*sha) {
                    Ok(ok(self.tag(sha)))
                } else {
                    Err(not_found())
                }
            }
            ("GET", ["releases"]) => {
                // Newest first.
                let list = self
                    .repo
                    .releases
                    .iter()
                    .rev()
                    .map(|release| release.json(self.url, self.full))
                    .collect();
                Ok(self.page(list))
            }
            ("GET", ["releases", id, "assets"]) => self.assets(id),
            ("POST", ["releases", id, "assets"]) => self.upload_asset(id),
            ("DELETE", ["releases", "assets", id]) => self.delete_asset(id),
            ("POST", ["releases"]) => self.create_release(),
            ("GET", ["releases", "latest"]) => {
                let latest =
                    self.repo.releases.iter().rev().find(|release| !release.draft && !release.prerelease);
                latest.map(|release| ok(release.json(self.url, self.full))).ok_or_else(not_found)
            }
            ("GET", ["releases", "tags", tag @ ..]) => {
                let tag = tag.join("/");
                let found =
                    self.repo.releases.iter().find(|release| !release.draft && release.tag_name == tag);
                found.map(|release| ok(release.json(self.url, self.full))).ok_or_else(not_found)
            }
            ("GET", ["releases", id]) => {
                let found = self.repo.releases.iter().find(|release| release.id.to_string() == *id);
                found.map(|release| ok(release.json(self.url, self.full))).ok_or_else(not_found)
            }
            ("PATCH", ["releases", id]) => self.edit_release(id),
            ("DELETE", ["releases", id]) => self.delete_release(id),
            ("POST", ["statuses", sha]) => self.create_status(sha),
            ("POST", ["check-runs"]) => self.create_check_run(),
            ("GET" | "POST", ["issues", issue, "comments"]) => self.comments(method, issue),
            ("PATCH", ["issues", "comments", id]) => self.edit_comment(id),
            _ => Err(not_found()),
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.body.get(name) == Some(&Value::Bool(true))
    }

    pub(super) fn object_of(&self, name: &str) -> serde_json::Map<String, Value> {
        self.body.get(name).and_then(Value::as_object).cloned().unwrap_or_default()
    }

    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.uri.query()?.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    pub(super) fn api(&self) -> String {
        format!("{}/repos/{}", self.url, self.full)
    }

    /// One page of a list, with the `Link` header.
    ///
    /// Source: <https://docs.github.com/en/rest/using-the-rest-api/using-pagination-in-the-rest-api>
    pub(super) fn page(&self, list: Vec<Value>) -> Answer {
        let number = |name: &str, default: usize| {
            self.query(name).and_then(|text| text.parse().ok()).unwrap_or(default)
        };
        let size = number("per_page", 30).clamp(1, 100);
        let page = number("page", 1).max(1);
        let last = list.len().div_ceil(size).max(1);
        let shown: Vec<Value> = list.into_iter().skip((page - 1) * size).take(size).collect();
        let mut answer = ok(Value::Array(shown));
        let link = |page: usize, rel: &str| {
            format!("<{}{}?per_page={size}&page={page}>; rel=\"{rel}\"", self.url, self.uri.path())
        };
        let mut links = Vec::new();
        if page > 1 {
            links.extend([link(page - 1, "prev"), link(1, "first")]);
        }
        if page < last {
            links.extend([link(page + 1, "next"), link(last, "last")]);
        }
        if let Ok(value) = links.join(", ").parse::<HeaderValue>()
            && !links.is_empty()
        {
            answer.headers.insert(header::LINK, value);
        }
        answer
    }

    /// [`Request::page`] in a field, beside the length of the whole list.
    pub(super) fn counted(&self, field: &str, list: Vec<Value>) -> Answer {
        let total = list.len();
        let mut answer = self.page(list);
        let shown = answer.body.take();
        answer.body = Some(json!({"total_count": total, field: shown}));
        answer
    }

    pub(super) fn repository(&self) -> Value {
        let name = self.full.split('/').next_back().unwrap_or_default();
        let mut owner = user();
        owner["login"] = json!(self.full.split('/').next());
        owner["type"] = json!("Organization");
        json!({
            "id": self.repo.id,
            "node_id": format!("R_{:x}", self.repo.id),
            "name": name,
            "full_name": self.full,
            "private": true,
            "owner": owner,
            "html_url": format!("https://github.com/{}", self.full),
            "description": null,
            "fork": false,
            "url": self.api(),
            "default_branch": self.repo.default_branch,
            "archived": false,
            "permissions": {"admin": false, "maintain": false, "push": true, "triage": true, "pull": true},
        })
    }
}

pub(super) fn ok(body: Value) -> Answer {
    Answer::json(StatusCode::OK, body)
}

pub(super) fn no_content() -> Answer {
    Answer { status: StatusCode::NO_CONTENT, headers: HeaderMap::new(), body: None }
}
