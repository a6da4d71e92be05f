//! Blobs, trees and the making of commits.
//!
//! Sources: <https://docs.github.com/en/rest/git/blobs>, <https://docs.github.com/en/rest/git/trees>,
//! <https://docs.github.com/en/rest/git/commits#create-a-commit>.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Answer;
use super::api::{Request, Result, not_found, ok, unprocessable};
use super::state::{Commit, Repo, Sha, now, sha};

/// What a tree has under a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// `100644`, `100755`, `120000`, `040000` or, of a submodule, `160000`.
    pub(super) mode: String,
    pub(super) sha: Sha,
}

impl Entry {
    fn kind(&self) -> &'static str {
        match self.mode.as_str() {
            "040000" => "tree",
            "160000" => "commit",
            _ => "blob",
        }
    }
}

impl Repo {
    /// Keeps the content, as base64.
    pub(super) fn write_blob(&mut self, content: &[u8]) -> Sha {
        let text = STANDARD.encode(content);
        let name = self.real("blob", content).unwrap_or_else(|| sha(&["blob", &text]));
        self.blobs.insert(name.clone(), text);
        name
    }

    pub(super) fn read_blob(&self, sha: &str) -> Option<Vec<u8>> {
        STANDARD.decode(self.blobs.get(sha)?).ok()
    }

    /// Every file beneath a tree, by its whole path.
    pub(super) fn files(&self, tree: &str) -> BTreeMap<String, Entry> {
        let mut found = BTreeMap::new();
        for (name, entry) in self.trees.get(tree).into_iter().flatten() {
            if entry.kind() == "tree" {
                let below = self.files(&entry.sha);
                found.extend(below.into_iter().map(|(path, entry)| (format!("{name}/{path}"), entry)));
            } else {
                found.insert(name.clone(), entry.clone());
            }
        }
        found
    }

    /// Keeps the trees of these files; answers the uppermost.
    pub(super) fn write_tree(&mut self, files: &BTreeMap<String, Entry>) -> Sha {
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        let mut below: BTreeMap<String, BTreeMap<String, Entry>> = BTreeMap::new();
        for (path, entry) in files {
            match path.split_once('/') {
                None => drop(entries.insert(path.clone(), entry.clone())),
                Some((folder, rest)) => {
                    below.entry(folder.to_owned()).or_default().insert(rest.to_owned(), entry.clone());
                }
            }
        }
        for (folder, files) in below {
            let sha = self.write_tree(&files);
            entries.insert(folder, Entry { mode: "040000".to_owned(), sha });
        }
        let told: Vec<String> =
            entries.iter().map(|(name, entry)| format!("{} {name} {}", entry.mode, entry.sha)).collect();
        let lines = entries
            .iter()
            .map(|(name, entry)| format!("{} {} {}\t{name}\n", entry.mode, entry.kind(), entry.sha))
            .collect::<String>();
        let name = self.real_tree(&lines).unwrap_or_else(|| sha(&["tree", &told.join("\n")]));
        self.trees.insert(name.clone(), entries);
        name
    }
}

impl Request<'_> {
    pub(super) fn blob(&self, sha: &str) -> Result {
        let content = self.repo.read_blob(sha).ok_or_else(not_found)?;
        let text = STANDARD.encode(&content);
        // GitHub breaks the lines of base64.
        let lines: Vec<String> =
            text.as_bytes().chunks(60).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
        Ok(ok(json!({
            "sha": sha,
            "node_id": format!("B_{sha}"),
            "size": content.len(),
            "url": format!("{}/git/blobs/{sha}", self.api()),
            "content": format!("{}\n", lines.join("\n")),
            "encoding": "base64",
        })))
    }

    pub(super) fn create_blob(&mut self) -> Result {
        let content = self.body.get("content").and_then(Value::as_str).map(str::to_owned);
        let Some(content) = content else {
            return Err(unprocessable("Invalid request.\n\n\"content\" wasn't supplied."));
        };
        let content = match self.text("encoding").as_deref() {
            Some("base64") => STANDARD
                .decode(content.replace('\n', ""))
                .map_err(|_| unprocessable("Content is not valid Base64"))?,
            _ => content.into_bytes(),
        };
        let sha = self.repo.write_blob(&content);
        let url = format!("{}/git/blobs/{sha}", self.api());
        Ok(Answer::json(StatusCode::CREATED, json!({"sha": sha, "url": url})))
    }

    /// By its own SHA, or by a commit's.
    pub(super) fn tree(&self, name: &str) -> Result {
        let of_commit =
            || self.repo.resolve(name).and_then(|sha| Some(self.repo.commits.get(&sha)?.tree.clone()));
        let sha = if self.repo.trees.contains_key(name) { Some(name.to_owned()) } else { of_commit() };
        let sha = sha.ok_or_else(not_found)?;
        Ok(ok(self.shown_tree(&sha)))
    }

    fn shown_tree(&self, sha: &str) -> Value {
        let entries = self.repo.trees.get(sha).into_iter().flatten();
        let shown = entries.map(|(path, entry)| {
            let kind = entry.kind();
            let mut shown = json!({"path": path, "mode": entry.mode, "type": kind, "sha": entry.sha});
            if kind == "blob" {
                shown["size"] = json!(self.repo.read_blob(&entry.sha).map(|content| content.len()));
            }
            if kind != "commit" {
                shown["url"] = json!(format!("{}/git/{kind}s/{}", self.api(), entry.sha));
            }
            shown
        });
        json!({
            "sha": sha,
            "url": format!("{}/git/trees/{sha}", self.api()),
            "tree": shown.collect::<Vec<_>>(),
            "truncated": false,
        })
    }

    pub(super) fn create_tree(&mut self) -> Result {
        let base = self.text("base_tree");
        let mut files = match &base {
            None => BTreeMap::new(),
            Some(base) if self.repo.trees.contains_key(base) => self.repo.files(base),
            Some(_) => return Err(unprocessable("Invalid tree info")),
        };
        let entries = self.body.get("tree").and_then(Value::as_array).cloned();
        let Some(entries) = entries else { return Err(unprocessable("Invalid tree info")) };
        for entry in &entries {
            let text = |name: &str| entry.get(name).and_then(Value::as_str).map(str::to_owned);
            let (Some(path), Some(mode)) = (text("path"), text("mode")) else {
                return Err(unprocessable("Must supply a valid tree.mode"));
            };
            if entry.get("sha").is_some_and(Value::is_null) {
                files.remove(&path);
                continue;
            }
            let sha = match (text("sha"), text("content")) {
                (Some(sha), _) => sha,
                (None, Some(content)) => self.repo.write_blob(content.as_bytes()),
                (None, None) => return Err(unprocessable("Must supply either tree.sha or tree.content")),
            };
            // A submodule's commit lies in another repository.
            if mode != "160000" && !self.repo.blobs.contains_key(&sha) {
                return Err(unprocessable(&format!("tree.sha {sha} is not a valid blob")));
            }
            files.insert(path, Entry { mode, sha });
        }
        let sha = self.repo.write_tree(&files);
        Ok(Answer::json(StatusCode::CREATED, self.shown_tree(&sha)))
    }

    pub(super) fn create_commit(&mut self) -> Result {
        let (Some(message), Some(tree)) = (self.text("message"), self.text("tree")) else {
            return Err(unprocessable("Invalid request.\n\n\"message\", \"tree\" weren't supplied."));
        };
        if !self.repo.trees.contains_key(&tree) {
            return Err(unprocessable("Tree SHA does not exist"));
        }
        let parents = self.body.get("parents").and_then(Value::as_array).cloned().unwrap_or_default();
        let parents: Vec<Sha> =
            parents.iter().filter_map(|parent| parent.as_str().map(str::to_owned)).collect();
        if parents.iter().any(|parent| !self.repo.commits.contains_key(parent)) {
            return Err(unprocessable("Parent SHA does not exist or is not a commit object"));
        }
        let sha = self.repo.add(Commit { message, parents, date: now(), tree });
        Ok(Answer::json(StatusCode::CREATED, self.git_commit(&sha)))
    }
}
