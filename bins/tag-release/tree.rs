//! Trees of commits, read a folder at a time.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use github::{Call, Github, encode};
use kit::{Cx, Failure};
use serde::{Deserialize, Serialize};

use crate::observe::{Pointer, READ};

/// Source: <https://docs.github.com/en/rest/git/trees>
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Of an answer, the name in its folder.
    pub(crate) path: String,
    pub(crate) mode: String,
    pub(crate) sha: String,
}

/// The mode of a folder.
const FOLDER: &str = "040000";

/// The mode of a submodule, whose SHA is that of a commit elsewhere.
pub(crate) const SUBMODULE: &str = "160000";

/// Source: <https://docs.github.com/en/rest/git/commits#get-a-commit-object>
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    pub(crate) sha: String,
    pub(crate) tree: String,
    pub(crate) parents: Vec<String>,
}

#[derive(Deserialize)]
pub(crate) struct Answer {
    pub(crate) sha: String,
    tree: Name,
    parents: Vec<Name>,
}

#[derive(Deserialize)]
struct Name {
    sha: String,
}

impl From<Answer> for Commit {
    fn from(answer: Answer) -> Self {
        let parents = answer.parents.into_iter().map(|parent| parent.sha).collect();
        Self { sha: answer.sha, tree: answer.tree.sha, parents }
    }
}

/// Reads trees, each once: what a SHA names never changes.
pub(crate) struct Trees<'a> {
    cx: &'a Cx,
    github: &'a Github,
    known: BTreeMap<String, Vec<Entry>>,
}

impl<'a> Trees<'a> {
    pub(crate) fn new(cx: &'a Cx, github: &'a Github) -> Self {
        Self { cx, github, known: BTreeMap::new() }
    }

    pub(crate) async fn commit(&self, sha: &str) -> Result<Commit, Failure> {
        let attempt = format!("look up the commit {sha} in {}", self.github.repository());
        let path = format!("/git/commits/{sha}");
        let answer: Answer =
            self.github.get(self.cx, Call { attempt: &attempt, permission: READ, path: &path }).await?;
        Ok(answer.into())
    }

    /// The commit at the head of a branch.
    pub(crate) async fn head(&self, branch: &str) -> Result<String, Failure> {
        self.find_head(branch).await?.ok_or_else(|| {
            Failure::refused(format!("look up the branch {branch} in {}", self.github.repository()))
                .because("there is no such branch")
                .help("correct --branch")
        })
    }

    pub(crate) async fn find_head(&self, branch: &str) -> Result<Option<String>, Failure> {
        let attempt = format!("look up the branch {branch} in {}", self.github.repository());
        let path = format!("/git/ref/heads/{}", encode(branch));
        let call = Call { attempt: &attempt, permission: READ, path: &path };
        let found: Option<Pointer> = self.github.find(self.cx, call).await?;
        Ok(found.map(|found| found.object.sha))
    }

    /// Whether a commit is the other, or before it.
    pub(crate) async fn has(&self, head: &str, commit: &str) -> Result<bool, Failure> {
        #[derive(Deserialize)]
        struct Comparison {
            status: String,
        }
        let attempt = format!("compare {commit} with {head} in {}", self.github.repository());
        let path = format!("/compare/{commit}...{head}?per_page=1");
        let call = Call { attempt: &attempt, permission: READ, path: &path };
        let found: Option<Comparison> = self.github.find(self.cx, call).await?;
        Ok(found.is_some_and(|found| ["ahead", "identical"].contains(&found.status.as_str())))
    }

    async fn folder(&mut self, tree: &str) -> Result<Vec<Entry>, Failure> {
        #[derive(Deserialize)]
        struct Tree {
            tree: Vec<Entry>,
            truncated: bool,
        }
        if let Some(known) = self.known.get(tree) {
            return Ok(known.clone());
        }
        let attempt = format!("read the tree {tree} in {}", self.github.repository());
        let path = format!("/git/trees/{tree}");
        let found: Tree =
            self.github.get(self.cx, Call { attempt: &attempt, permission: READ, path: &path }).await?;
        if found.truncated {
            return Err(Failure::failed(attempt).because("it has more entries than GitHub lists"));
        }
        self.known.insert(tree.to_owned(), found.tree.clone());
        Ok(found.tree)
    }

    /// What there is under a path.
    pub(crate) async fn entry(&mut self, tree: &str, path: &str) -> Result<Option<Entry>, Failure> {
        let mut tree = tree.to_owned();
        let mut parts = path.split('/').peekable();
        while let Some(part) = parts.next() {
            let Some(found) = self.folder(&tree).await?.into_iter().find(|entry| entry.path == part) else {
                return Ok(None);
            };
            if parts.peek().is_none() {
                return Ok(Some(Entry { path: path.to_owned(), ..found }));
            }
            if found.mode != FOLDER {
                return Ok(None);
            }
            tree = found.sha;
        }
        Ok(None)
    }

    /// Every path that is not the same in both, of folders those within.
    pub(crate) async fn differences(&mut self, one: &str, other: &str) -> Result<BTreeSet<String>, Failure> {
        let mut found = BTreeSet::new();
        let mut open = vec![(String::new(), Some(one.to_owned()), Some(other.to_owned()))];
        while let Some((above, one, other)) = open.pop() {
            let mut sides = [Vec::new(), Vec::new()];
            for (side, tree) in sides.iter_mut().zip([one, other]) {
                if let Some(tree) = tree {
                    *side = self.folder(&tree).await?;
                }
            }
            let [one, other] = sides;
            let names: BTreeSet<&String> = one.iter().chain(&other).map(|entry| &entry.path).collect();
            for name in names {
                let of = |side: &[Entry]| side.iter().find(|entry| entry.path == *name).cloned();
                let (one, other) = (of(&one), of(&other));
                if one == other {
                    continue;
                }
                let path = format!("{above}{name}");
                let folder = |entry: &Option<Entry>| {
                    entry.as_ref().filter(|entry| entry.mode == FOLDER).map(|entry| entry.sha.clone())
                };
                let file = |entry: &Option<Entry>| entry.as_ref().is_some_and(|entry| entry.mode != FOLDER);
                if file(&one) || file(&other) {
                    found.insert(path.clone());
                }
                let (one, other) = (folder(&one), folder(&other));
                if one.is_some() || other.is_some() {
                    open.push((format!("{path}/"), one, other));
                }
            }
        }
        Ok(found)
    }

    /// Source: <https://docs.github.com/en/rest/git/blobs#get-a-blob>
    pub(crate) async fn content(&self, entry: &Entry) -> Result<Vec<u8>, Failure> {
        #[derive(Deserialize)]
        struct Blob {
            content: String,
        }
        let attempt = format!("read {} in {}", entry.path, self.github.repository());
        let path = format!("/git/blobs/{}", entry.sha);
        let blob: Blob =
            self.github.get(self.cx, Call { attempt: &attempt, permission: READ, path: &path }).await?;
        let text: String = blob.content.split_whitespace().collect();
        STANDARD.decode(text).map_err(|error| Failure::failed(attempt).because(error))
    }
}
