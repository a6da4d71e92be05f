//! The endpoints.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::state::{Release, Repo, State, TagObject, now, user};
use super::{Answer, READ_TOKEN, TOKEN, comments};

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
    // A GitHub Enterprise Server has its API beneath this path.
    let path = uri.path().strip_prefix("/api/v3").unwrap_or(uri.path());
    let graphql = ["/graphql", "/api/graphql"].contains(&uri.path());
    match token {
        None => return error(StatusCode::UNAUTHORIZED, "Requires authentication"),
        Some(TOKEN) => {}
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
    let body: Value = if body.is_empty() {
        Value::Null
    } else {
        match serde_json::from_slice(body) {
            Ok(body) => body,
            Err(_) => return error(StatusCode::BAD_REQUEST, "Problems parsing JSON"),
        }
    };
    let mut request = Request { repo, url, full: &full, id, uri, body };
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
    body: Value,
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
            ("GET", ["issues"]) => self.issues(),
            ("GET", ["tags"]) => self.tags(),
            ("GET", ["git", "commits", sha]) => {
                if self.repo.commits.contains_key(*sha) {
                    Ok(ok(self.git_commit(sha)))
                } else {
                    Err(not_found())
                }
            }
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
            ("DELETE", ["releases", id]) => {
                let before = self.repo.releases.len();
                self.repo.releases.retain(|release| release.id.to_string() != *id);
                if self.repo.releases.len() == before { Err(not_found()) } else { Ok(no_content()) }
            }
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

    fn api(&self) -> String {
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

    fn repository(&self) -> Value {
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

    fn object(&self, sha: &str) -> Value {
        let kind = self.repo.kind(sha).unwrap_or("commit");
        json!({"type": kind, "sha": sha, "url": format!("{}/git/{kind}s/{sha}", self.api())})
    }

    fn reference(&self, name: &str, sha: &str) -> Value {
        json!({
            "ref": name,
            "node_id": format!("REF_{name}"),
            "url": format!("{}/git/{name}", self.api()),
            "object": self.object(sha),
        })
    }

    fn tag(&self, sha: &str) -> Value {
        let Some(tag) = self.repo.tags.get(sha) else { return Value::Null };
        json!({
            "node_id": format!("TA_{sha}"),
            "tag": tag.tag,
            "sha": sha,
            "url": format!("{}/git/tags/{sha}", self.api()),
            "message": tag.message,
            "tagger": tag.tagger,
            "object": self.object(&tag.object),
            "verification": {"verified": false, "reason": "unsigned", "signature": null, "payload": null, "verified_at": null},
        })
    }

    fn git_commit(&self, sha: &str) -> Value {
        let Some(commit) = self.repo.commits.get(sha) else { return Value::Null };
        let person = json!({"name": "Ada Release", "email": "ada@example.com", "date": commit.date});
        let api = self.api();
        let page = |sha: &str| format!("https://github.com/{}/commit/{sha}", self.full);
        let parents: Vec<Value> = commit
            .parents
            .iter()
            .map(|sha| json!({"sha": sha, "url": format!("{api}/git/commits/{sha}"), "html_url": page(sha)}))
            .collect();
        json!({
            "sha": sha,
            "node_id": format!("C_{sha}"),
            "url": format!("{api}/git/commits/{sha}"),
            "html_url": page(sha),
            "author": person,
            "committer": person,
            "tree": {"sha": sha, "url": format!("{api}/git/trees/{sha}")},
            "message": commit.message,
            "parents": parents,
            "verification": {"verified": false, "reason": "unsigned", "signature": null, "payload": null, "verified_at": null},
        })
    }

    fn full_commit(&self, sha: &str) -> Value {
        let mut git = self.git_commit(sha);
        let (api, page) = (self.api(), git["html_url"].take());
        let parents = git["parents"].take();
        for key in ["sha", "node_id", "html_url", "parents"] {
            git.as_object_mut().map(|git| git.remove(key));
        }
        git["comment_count"] = json!(0);
        json!({
            "sha": sha,
            "node_id": format!("C_{sha}"),
            "commit": git,
            "url": format!("{api}/commits/{sha}"),
            "html_url": page,
            "comments_url": format!("{api}/commits/{sha}/comments"),
            "author": user(),
            "committer": user(),
            "parents": parents,
        })
    }

    fn resolved(&self, name: &str) -> std::result::Result<String, Answer> {
        // What GitHub answers for a name that is neither a commit nor a ref.
        self.repo.resolve(name).ok_or_else(|| unprocessable(&format!("No commit found for SHA: {name}")))
    }

    fn commit(&self, name: &str) -> Result {
        Ok(ok(self.full_commit(&self.resolved(name)?)))
    }

    fn commits(&self) -> Result {
        let start = self.query("sha").map_or_else(|| self.repo.default_branch.clone(), decoded);
        let sha = self.repo.resolve(&start).ok_or_else(not_found)?;
        Ok(self.page(self.repo.log(&sha).iter().map(|sha| self.full_commit(sha)).collect()))
    }

    fn branches(&self) -> Result {
        let named = |(name, sha): (&String, &String)| {
            let name = name.strip_prefix("refs/heads/")?;
            let commit = json!({"sha": sha, "url": format!("{}/commits/{sha}", self.api())});
            Some(json!({"name": name, "commit": commit, "protected": false}))
        };
        Ok(self.page(self.repo.refs.iter().filter_map(named).collect()))
    }

    fn branch(&self, name: &str) -> Result {
        let sha = self.repo.refs.get(&format!("refs/heads/{name}"));
        let sha = sha.ok_or_else(|| error(StatusCode::NOT_FOUND, "Branch not found"))?;
        let protection = self.repo.gates.protection.get(name);
        let described = json!({
            "name": name,
            "commit": self.full_commit(sha),
            "protected": protection.is_some(),
            "protection": protection.cloned().unwrap_or_else(|| json!({"enabled": false})),
        });
        Ok(ok(described))
    }

    fn tags(&self) -> Result {
        let named = |(name, sha): (&String, &String)| {
            let name = name.strip_prefix("refs/tags/")?;
            let sha = self.repo.peel(sha)?;
            let commit = json!({"sha": sha, "url": format!("{}/commits/{sha}", self.api())});
            Some(json!({
                "name": name,
                "commit": commit,
                "zipball_url": format!("{}/zipball/refs/tags/{name}", self.api()),
                "tarball_url": format!("{}/tarball/refs/tags/{name}", self.api()),
                "node_id": format!("REF_{name}"),
            }))
        };
        Ok(self.page(self.repo.refs.iter().rev().filter_map(named).collect()))
    }

    fn git_ref(&self, name: &str) -> Result {
        let name = format!("refs/{name}");
        let sha = self.repo.refs.get(&name).ok_or_else(not_found)?;
        Ok(ok(self.reference(&name, sha)))
    }

    fn matching_refs(&self, prefix: &str) -> Result {
        let prefix = format!("refs/{prefix}");
        let found = self.repo.refs.iter().filter(|(name, _)| name.starts_with(&prefix));
        Ok(self.page(found.map(|(name, sha)| self.reference(name, sha)).collect()))
    }

    /// <https://docs.github.com/en/rest/git/refs#create-a-reference>
    fn create_ref(&mut self) -> Result {
        let (Some(name), Some(sha)) = (self.text("ref"), self.text("sha")) else {
            return Err(unprocessable("Invalid request.\n\n\"ref\", \"sha\" weren't supplied."));
        };
        if !name.starts_with("refs/") || name.split('/').count() < 3 {
            return Err(unprocessable(
                "Reference name must start with 'refs/' and have at least two slashes.",
            ));
        }
        if self.repo.kind(&sha).is_none() {
            return Err(unprocessable("Object does not exist"));
        }
        if self.repo.refs.contains_key(&name) {
            return Err(unprocessable("Reference already exists"));
        }
        self.repo.refs.insert(name.clone(), sha.clone());
        Ok(Answer::json(StatusCode::CREATED, self.reference(&name, &sha)))
    }

    fn update_ref(&mut self, name: &str) -> Result {
        let name = format!("refs/{name}");
        let Some(present) = self.repo.refs.get(&name).cloned() else {
            return Err(unprocessable("Reference does not exist"));
        };
        let sha = self.text("sha").unwrap_or_default();
        if self.repo.kind(&sha).is_none() {
            return Err(unprocessable("Object does not exist"));
        }
        let force = self.body.get("force").and_then(Value::as_bool).unwrap_or(false);
        let forward = self.repo.peel(&sha).is_some_and(|sha| {
            self.repo.peel(&present).is_some_and(|present| self.repo.history(&sha).contains(&present))
        });
        if !force && !forward {
            return Err(unprocessable("Update is not a fast forward"));
        }
        self.repo.refs.insert(name.clone(), sha.clone());
        Ok(ok(self.reference(&name, &sha)))
    }

    fn delete_ref(&mut self, name: &str) -> Result {
        if self.repo.refs.remove(&format!("refs/{name}")).is_none() {
            return Err(unprocessable("Reference does not exist"));
        }
        // A release whose tag is deleted becomes a draft.
        if let Some(tag) = name.strip_prefix("tags/") {
            for release in self.repo.releases.iter_mut().filter(|release| release.tag_name == tag) {
                release.edit(&json!({"draft": true}));
            }
        }
        Ok(no_content())
    }

    /// <https://docs.github.com/en/rest/git/tags#create-a-tag-object>
    fn create_tag(&mut self) -> Result {
        let (Some(tag), Some(message), Some(object), Some(kind)) =
            (self.text("tag"), self.text("message"), self.text("object"), self.text("type"))
        else {
            return Err(unprocessable(
                "Invalid request.\n\nFor 'allOf/0', \"tag\", \"message\", \"object\", \"type\" are required.",
            ));
        };
        if self.repo.kind(&object) != Some(kind.as_str()) {
            return Err(unprocessable("Could not verify object"));
        }
        let tagger = self.body.get("tagger").cloned().unwrap_or_else(
            || json!({"name": "release-bot", "email": "release-bot@users.noreply.github.com", "date": now()}),
        );
        let sha = self.repo.tag_object(TagObject { tag, message, object, kind, tagger });
        Ok(Answer::json(StatusCode::CREATED, self.tag(&sha)))
    }

    /// <https://docs.github.com/en/rest/releases/releases#create-a-release>
    fn create_release(&mut self) -> Result {
        let Some(tag_name) = self.text("tag_name") else {
            return Err(unprocessable("Invalid request.\n\n\"tag_name\" wasn't supplied."));
        };
        let draft = self.body.get("draft").and_then(Value::as_bool).unwrap_or(false);
        let mut release = Release {
            id: self.id,
            target: self.repo.default_branch.clone(),
            name: None,
            body: None,
            draft: true,
            prerelease: false,
            immutable: false,
            created_at: now(),
            published_at: None,
            assets: Vec::new(),
            tag_name,
        };
        let mut fields = self.body.clone();
        self.check_publishable(&release, &fields, draft)?;
        fields["draft"] = json!(draft);
        release.edit(&fields);
        let shown = release.json(self.url, self.full);
        self.repo.releases.push(release);
        Ok(Answer::json(StatusCode::CREATED, shown))
    }

    fn edit_release(&mut self, id: &str) -> Result {
        let place = self.repo.releases.iter().position(|release| release.id.to_string() == id);
        let place = place.ok_or_else(not_found)?;
        let release = self.repo.releases.remove(place);
        let draft = self.body.get("draft").and_then(Value::as_bool).unwrap_or(release.draft);
        let fields = self.body.clone();
        let checked = self.check_publishable(&release, &fields, draft);
        let mut release = release;
        let shown = checked.map(|()| {
            release.edit(&fields);
            release.json(self.url, self.full)
        });
        self.repo.releases.insert(place, release);
        shown.map(ok)
    }

    /// A published release has its tag's name alone, and a tag that is missing is made at its target.
    fn check_publishable(
        &mut self,
        release: &Release,
        fields: &Value,
        draft: bool,
    ) -> std::result::Result<(), Answer> {
        let text = |name: &str, or: &str| fields.get(name).and_then(Value::as_str).unwrap_or(or).to_owned();
        let (tag, target) = (text("tag_name", &release.tag_name), text("target_commitish", &release.target));
        if draft {
            return Ok(());
        }
        let taken = |other: &&Release| other.id != release.id && !other.draft && other.tag_name == tag;
        if self.repo.releases.iter().any(|other| taken(&other)) {
            return Err(invalid("Release", "tag_name", "already_exists"));
        }
        let name = format!("refs/tags/{tag}");
        if !self.repo.refs.contains_key(&name) {
            let sha = self
                .repo
                .resolve(&target)
                .ok_or_else(|| invalid("Release", "target_commitish", "invalid"))?;
            self.repo.refs.insert(name, sha);
        }
        Ok(())
    }

    /// <https://docs.github.com/en/rest/commits/commits#compare-two-commits>
    fn compare(&self, range: &str) -> Result {
        let (base, head) = range.split_once("...").ok_or_else(not_found)?;
        let base = self.repo.resolve(base).ok_or_else(not_found)?;
        let head = self.repo.resolve(head).ok_or_else(not_found)?;
        let (before, after) = (self.repo.history(&base), self.repo.history(&head));
        let commits: Vec<String> =
            self.repo.log(&head).into_iter().filter(|sha| !before.contains(sha)).collect();
        let (ahead, behind) = (after.difference(&before).count(), before.difference(&after).count());
        let status = match (ahead, behind) {
            (0, 0) => "identical",
            (_, 0) => "ahead",
            (0, _) => "behind",
            _ => "diverged",
        };
        let merge_base =
            self.repo.log(&base).into_iter().find(|sha| after.contains(sha)).ok_or_else(not_found)?;
        let page = format!("https://github.com/{}/compare/{range}", self.full);
        Ok(ok(json!({
            "url": format!("{}/compare/{range}", self.api()),
            "html_url": page,
            "permalink_url": page,
            "diff_url": format!("{page}.diff"),
            "patch_url": format!("{page}.patch"),
            "base_commit": self.full_commit(&base),
            "merge_base_commit": self.full_commit(&merge_base),
            "status": status,
            "ahead_by": ahead,
            "behind_by": behind,
            "total_commits": commits.len(),
            "commits": commits.iter().rev().map(|sha| self.full_commit(sha)).collect::<Vec<_>>(),
            "files": [],
        })))
    }

    /// <https://docs.github.com/en/rest/checks/runs#create-a-check-run>
    fn create_check_run(&mut self) -> Result {
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

    fn check_runs(&self, name: &str) -> Result {
        let sha = self.resolved(name)?;
        let runs: Vec<Value> =
            self.repo.checks.iter().rev().filter(|(of, _)| *of == sha).map(|(_, run)| run.clone()).collect();
        Ok(self.counted("check_runs", runs))
    }

    /// <https://docs.github.com/en/rest/commits/statuses#create-a-commit-status>
    fn create_status(&mut self, sha: &str) -> Result {
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
    fn status(&self, name: &str) -> Result {
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

pub(super) fn ok(body: Value) -> Answer {
    Answer::json(StatusCode::OK, body)
}

pub(super) fn no_content() -> Answer {
    Answer { status: StatusCode::NO_CONTENT, headers: HeaderMap::new(), body: None }
}
