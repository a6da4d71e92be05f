//! What the world keeps, and how it shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::comments::Comment;
use super::gates::Gates;
use super::objects::Entry;

pub(super) type Sha = String;

#[derive(Default, Serialize, Deserialize)]
pub(super) struct State {
    last_id: u64,
    /// By `owner/name`.
    pub(super) repos: BTreeMap<String, Repo>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Repo {
    pub(super) id: u64,
    pub(super) default_branch: String,
    pub(super) commits: BTreeMap<Sha, Commit>,
    pub(super) tags: BTreeMap<Sha, TagObject>,
    /// By full name (`refs/tags/v1`).
    pub(super) refs: BTreeMap<String, Sha>,
    pub(super) releases: Vec<Release>,
    /// The tag of the one that is shown as the latest.
    #[serde(default)]
    pub(super) latest: Option<String>,
    /// Check runs and statuses as they were posted, with the commit.
    pub(super) checks: Vec<(Sha, Value)>,
    pub(super) statuses: Vec<(Sha, Value)>,
    /// The numbers of its issues and pull requests, of which nothing else is kept.
    #[serde(default)]
    pub(super) issues: BTreeSet<u64>,
    #[serde(default)]
    pub(super) comments: Vec<Comment>,
    #[serde(default)]
    pub(super) gates: Gates,
    /// Contents, as base64.
    #[serde(default)]
    pub(super) blobs: BTreeMap<Sha, String>,
    #[serde(default)]
    pub(super) trees: BTreeMap<Sha, BTreeMap<String, Entry>>,
    /// What the rules of a branch say to whoever changes it by the API.
    #[serde(default)]
    pub(super) refusals: BTreeMap<String, String>,
    /// Whether its releases become immutable when they are published.
    #[serde(default)]
    pub(super) immutable: bool,
    /// The tags that immutable releases have used.
    #[serde(default)]
    pub(super) used_tags: BTreeSet<String>,
    /// The real repository that git sees.
    #[serde(default)]
    pub(super) bare: Option<PathBuf>,
    /// Whether those who sign have uploaded their keys.
    #[serde(default)]
    pub(super) knows_keys: bool,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Commit {
    pub(super) message: String,
    pub(super) parents: Vec<Sha>,
    pub(super) date: String,
    #[serde(default)]
    pub(super) tree: Sha,
}

#[derive(Serialize, Deserialize)]
pub(super) struct TagObject {
    pub(super) tag: String,
    pub(super) message: String,
    pub(super) object: Sha,
    pub(super) kind: String,
    pub(super) tagger: Value,
    #[serde(default)]
    pub(super) signature: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Release {
    pub(super) id: u64,
    pub(super) tag_name: String,
    pub(super) target: String,
    pub(super) name: Option<String>,
    pub(super) body: Option<String>,
    pub(super) draft: bool,
    pub(super) prerelease: bool,
    pub(super) immutable: bool,
    pub(super) created_at: String,
    pub(super) published_at: Option<String>,
    pub(super) assets: Vec<Value>,
}

pub(super) fn now() -> String {
    // GitHub's time stamps have whole seconds.
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    now.format(&Rfc3339).unwrap_or_default()
}

/// An object name of the right form; git's own would be the SHA-1 of the object.
pub(super) fn sha(parts: &[&str]) -> Sha {
    kit::hex(Sha256::digest(parts.join("\0")).get(..20).unwrap_or_default())
}

impl State {
    pub(super) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        // GitHub's ids are never small: code that takes one for an index shows itself.
        100_000 + self.last_id
    }
}

impl Repo {
    pub(super) fn new(id: u64, default_branch: &str) -> Self {
        Self {
            id,
            default_branch: default_branch.to_owned(),
            commits: BTreeMap::new(),
            tags: BTreeMap::new(),
            refs: BTreeMap::new(),
            releases: Vec::new(),
            latest: None,
            checks: Vec::new(),
            statuses: Vec::new(),
            issues: BTreeSet::new(),
            comments: Vec::new(),
            gates: Gates::default(),
            blobs: BTreeMap::new(),
            trees: BTreeMap::new(),
            refusals: BTreeMap::new(),
            immutable: false,
            used_tags: BTreeSet::new(),
            bare: None,
            knows_keys: false,
        }
    }

    /// A commit on a branch, with these files changed.
    pub(super) fn commit(&mut self, branch: &str, message: &str, changes: &[(&str, Entry)]) -> Sha {
        let name = format!("refs/heads/{branch}");
        let from =
            self.refs.get(&name).or_else(|| self.refs.get(&format!("refs/heads/{}", self.default_branch)));
        let parents: Vec<Sha> = from.cloned().into_iter().collect();
        let before = parents.first().and_then(|sha| Some(self.commits.get(sha)?.tree.clone()));
        let mut files = self.files(&before.unwrap_or_default());
        files.extend(changes.iter().map(|(path, entry)| ((*path).to_owned(), entry.clone())));
        let tree = self.write_tree(&files);
        let sha = self.add(Commit { message: message.to_owned(), parents, date: now(), tree });
        self.put_ref(&name, &sha);
        sha
    }

    pub(super) fn add(&mut self, commit: Commit) -> Sha {
        let number = self.commits.len().to_string();
        let name = self.real_commit(&commit).unwrap_or_else(|| {
            sha(&["commit", &commit.message, &commit.tree, &commit.parents.concat(), &number])
        });
        self.commits.insert(name.clone(), commit);
        name
    }

    pub(super) fn tag_object(&mut self, tag: TagObject) -> Sha {
        let text = |name: &str| tag.tagger.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (name, email) = (text("name"), text("email"));
        let TagObject { object, kind, message, .. } = &tag;
        let whole = format!(
            "object {object}\ntype {kind}\ntag {}\ntagger {name} <{email}> 1700000000 +0000\n\n{message}\n",
            tag.tag
        );
        let made_up = || sha(&["tag", &whole, &self.tags.len().to_string()]);
        let name = self.real("tag", whole.as_bytes()).unwrap_or_else(made_up);
        self.tags.insert(name.clone(), tag);
        name
    }

    pub(super) fn kind(&self, sha: &str) -> Option<&'static str> {
        if self.commits.contains_key(sha) {
            Some("commit")
        } else if self.tags.contains_key(sha) {
            Some("tag")
        } else if self.trees.contains_key(sha) {
            Some("tree")
        } else if self.blobs.contains_key(sha) {
            Some("blob")
        } else {
            None
        }
    }

    /// The commit at the end of a chain of tags.
    pub(super) fn peel(&self, sha: &str) -> Option<Sha> {
        let mut sha = sha;
        while let Some(tag) = self.tags.get(sha) {
            sha = &tag.object;
        }
        self.commits.contains_key(sha).then(|| sha.to_owned())
    }

    /// A commit by SHA, short SHA, branch or tag, in the order in which GitHub tries.
    pub(super) fn resolve(&self, text: &str) -> Option<Sha> {
        let named = |prefix: &str| self.refs.get(&format!("{prefix}{text}")).and_then(|sha| self.peel(sha));
        let short = || {
            let mut found = self.commits.keys().filter(|sha| text.len() >= 7 && sha.starts_with(text));
            found.next().filter(|_| found.next().is_none()).cloned()
        };
        self.commits
            .contains_key(text)
            .then(|| text.to_owned())
            .or_else(|| named("refs/heads/"))
            .or_else(|| named("refs/tags/"))
            .or_else(|| named("refs/"))
            .or_else(|| named(""))
            .or_else(short)
    }

    /// The commit and all its ancestors.
    pub(super) fn history(&self, sha: &str) -> BTreeSet<Sha> {
        let mut seen = BTreeSet::new();
        let mut open = vec![sha.to_owned()];
        while let Some(sha) = open.pop() {
            if let Some(commit) = self.commits.get(&sha) {
                open.extend(commit.parents.iter().filter(|parent| !seen.contains(*parent)).cloned());
                seen.insert(sha);
            }
        }
        seen
    }

    /// Newest first.
    pub(super) fn log(&self, sha: &str) -> Vec<Sha> {
        let mut list = Vec::new();
        let mut next = Some(sha.to_owned());
        while let Some(sha) = next {
            next = self.commits.get(&sha).and_then(|commit| commit.parents.first().cloned());
            list.push(sha);
        }
        list
    }
}

impl Release {
    /// Merges the fields of a request in.
    pub(super) fn edit(&mut self, fields: &Value) {
        let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
        let flag = |name: &str| fields.get(name).and_then(Value::as_bool);
        if let Some(tag) = text("tag_name") {
            self.tag_name = tag;
        }
        if let Some(target) = text("target_commitish") {
            self.target = target;
        }
        self.name = text("name").or(self.name.take());
        self.body = text("body").or(self.body.take());
        self.prerelease = flag("prerelease").unwrap_or(self.prerelease);
        self.immutable = flag("immutable").unwrap_or(self.immutable);
        if let Some(assets) = fields.get("assets").and_then(Value::as_array) {
            self.assets.clone_from(assets);
        }
        self.draft = flag("draft").unwrap_or(self.draft);
        if self.draft {
            self.published_at = None;
        } else if self.published_at.is_none() {
            self.published_at = Some(now());
        }
    }

    /// <https://docs.github.com/en/rest/releases/releases#get-a-release>
    pub(super) fn json(&self, url: &str, repo: &str) -> Value {
        let (id, tag) = (self.id, &self.tag_name);
        let api = format!("{url}/repos/{repo}");
        // A draft's page has no tag's address yet.
        let page = if self.draft { format!("untagged-{id:x}") } else { tag.clone() };
        json!({
            "url": format!("{api}/releases/{id}"),
            "assets_url": format!("{api}/releases/{id}/assets"),
            "upload_url": format!("{api}/releases/{id}/assets{{?name,label}}"),
            "html_url": format!("https://github.com/{repo}/releases/tag/{page}"),
            "id": id,
            "author": user(),
            "node_id": format!("RE_{id:x}"),
            "tag_name": tag,
            "target_commitish": self.target,
            "name": self.name,
            "draft": self.draft,
            "immutable": self.immutable,
            "prerelease": self.prerelease,
            "created_at": self.created_at,
            "published_at": self.published_at,
            "assets": self.assets,
            "tarball_url": format!("{api}/tarball/{tag}"),
            "zipball_url": format!("{api}/zipball/{tag}"),
            "body": self.body,
        })
    }
}

/// <https://docs.github.com/en/rest/users/users#get-a-user> in its short form.
pub(super) fn user() -> Value {
    let url = "https://api.github.com/users/release-bot";
    json!({
        "login": "release-bot",
        "id": 41_898_282,
        "node_id": "MDM6Qm90NDE4OTgyODI=",
        "avatar_url": "https://avatars.githubusercontent.com/in/15368?v=4",
        "gravatar_id": "",
        "url": url,
        "html_url": "https://github.com/apps/release-bot",
        "followers_url": format!("{url}/followers"),
        "following_url": format!("{url}/following{{/other_user}}"),
        "gists_url": format!("{url}/gists{{/gist_id}}"),
        "starred_url": format!("{url}/starred{{/owner}}{{/repo}}"),
        "subscriptions_url": format!("{url}/subscriptions"),
        "organizations_url": format!("{url}/orgs"),
        "repos_url": format!("{url}/repos"),
        "events_url": format!("{url}/events{{/privacy}}"),
        "received_events_url": format!("{url}/received_events"),
        "type": "Bot",
        "site_admin": false,
    })
}
