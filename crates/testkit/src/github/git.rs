//! Git objects, refs, branches, and how commits stand to each other.
//!
//! Source: <https://docs.github.com/en/rest/git>

use http::StatusCode;
use serde_json::{Value, json};

use super::Answer;
use super::api::{Request, Result, decoded, error, no_content, not_found, ok, unprocessable};
use super::state::{TagObject, now, user};

impl Request<'_> {
    pub(super) fn object(&self, sha: &str) -> Value {
        let kind = self.repo.kind(sha).unwrap_or("commit");
        json!({"type": kind, "sha": sha, "url": format!("{}/git/{kind}s/{sha}", self.api())})
    }

    pub(super) fn reference(&self, name: &str, sha: &str) -> Value {
        json!({
            "ref": name,
            "node_id": format!("REF_{name}"),
            "url": format!("{}/git/{name}", self.api()),
            "object": self.object(sha),
        })
    }

    pub(super) fn tag(&self, sha: &str) -> Value {
        let Some(tag) = self.repo.tags.get(sha) else { return Value::Null };
        // https://docs.github.com/en/rest/git/tags, the table of reasons
        let (verified, reason) = match (&tag.signature, self.repo.knows_keys) {
            (None, _) => (false, "unsigned"),
            (Some(_), false) => (false, "unknown_key"),
            (Some(_), true) => (true, "valid"),
        };
        let verification = json!({
            "verified": verified,
            "reason": reason,
            "signature": tag.signature,
            "payload": null,
            "verified_at": verified.then(now),
        });
        json!({
            "node_id": format!("TA_{sha}"),
            "tag": tag.tag,
            "sha": sha,
            "url": format!("{}/git/tags/{sha}", self.api()),
            "message": tag.message,
            "tagger": tag.tagger,
            "object": self.object(&tag.object),
            "verification": verification,
        })
    }

    pub(super) fn git_commit(&self, sha: &str) -> Value {
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
            "tree": {"sha": commit.tree, "url": format!("{api}/git/trees/{}", commit.tree)},
            "message": commit.message,
            "parents": parents,
            "verification": {"verified": false, "reason": "unsigned", "signature": null, "payload": null, "verified_at": null},
        })
    }

    pub(super) fn full_commit(&self, sha: &str) -> Value {
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

    pub(super) fn resolved(&self, name: &str) -> std::result::Result<String, Answer> {
        // What GitHub answers for a name that is neither a commit nor a ref.
        self.repo.resolve(name).ok_or_else(|| unprocessable(&format!("No commit found for SHA: {name}")))
    }

    pub(super) fn commit(&self, name: &str) -> Result {
        Ok(ok(self.full_commit(&self.resolved(name)?)))
    }

    pub(super) fn commits(&self) -> Result {
        let start = self.query("sha").map_or_else(|| self.repo.default_branch.clone(), decoded);
        let sha = self.repo.resolve(&start).ok_or_else(not_found)?;
        Ok(self.page(self.repo.log(&sha).iter().map(|sha| self.full_commit(sha)).collect()))
    }

    pub(super) fn branches(&self) -> Result {
        let named = |(name, sha): (&String, &String)| {
            let name = name.strip_prefix("refs/heads/")?;
            let commit = json!({"sha": sha, "url": format!("{}/commits/{sha}", self.api())});
            Some(json!({"name": name, "commit": commit, "protected": false}))
        };
        Ok(self.page(self.repo.refs.iter().filter_map(named).collect()))
    }

    pub(super) fn branch(&self, name: &str) -> Result {
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

    pub(super) fn tags(&self) -> Result {
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

    pub(super) fn git_ref(&self, name: &str) -> Result {
        let name = format!("refs/{name}");
        let sha = self.repo.refs.get(&name).ok_or_else(not_found)?;
        Ok(ok(self.reference(&name, sha)))
    }

    pub(super) fn matching_refs(&self, prefix: &str) -> Result {
        let prefix = format!("refs/{prefix}");
        let found = self.repo.refs.iter().filter(|(name, _)| name.starts_with(&prefix));
        Ok(self.page(found.map(|(name, sha)| self.reference(name, sha)).collect()))
    }

    /// <https://docs.github.com/en/rest/git/refs#create-a-reference>
    pub(super) fn create_ref(&mut self) -> Result {
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
        self.repo.put_ref(&name, &sha);
        Ok(Answer::json(StatusCode::CREATED, self.reference(&name, &sha)))
    }

    pub(super) fn update_ref(&mut self, name: &str) -> Result {
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
        let refusal = name.strip_prefix("refs/heads/").and_then(|branch| self.repo.refusals.get(branch));
        if let Some(refusal) = refusal {
            return Err(unprocessable(refusal));
        }
        self.repo.put_ref(&name, &sha);
        Ok(ok(self.reference(&name, &sha)))
    }

    pub(super) fn delete_ref(&mut self, name: &str) -> Result {
        if name.strip_prefix("tags/").is_some_and(|tag| self.repo.used_tags.contains(tag)) {
            return Err(unprocessable("Cannot delete a tag of an immutable release"));
        }
        if !self.repo.drop_ref(&format!("refs/{name}")) {
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
    pub(super) fn create_tag(&mut self) -> Result {
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
        let sha = self.repo.tag_object(TagObject { tag, message, object, kind, tagger, signature: None });
        Ok(Answer::json(StatusCode::CREATED, self.tag(&sha)))
    }

    /// <https://docs.github.com/en/rest/commits/commits#compare-two-commits>
    pub(super) fn compare(&self, range: &str) -> Result {
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
        // Oldest first, a page of them at a time; the other fields are the same on each.
        let number = |name: &str, default: usize| {
            self.query(name).and_then(|text| text.parse().ok()).unwrap_or(default)
        };
        let (size, at) = (number("per_page", 250), number("page", 1).max(1));
        let shown: Vec<Value> =
            commits.iter().rev().skip((at - 1) * size).take(size).map(|sha| self.full_commit(sha)).collect();
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
            "commits": shown,
            "files": [],
        })))
    }
}
