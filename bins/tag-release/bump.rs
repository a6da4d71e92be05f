//! The commit that a version's files are changed in: whether it is needed, and whether an earlier run has made it.

use std::collections::BTreeSet;

use github::Github;
use kit::{Cx, Failure};
use serde::Serialize;

use crate::files::{self, VersionFile, Writing};
use crate::history;
use crate::tree::{Commit, Entry, SUBMODULE, Trees};

/// How the commit to tag comes about.
#[derive(Clone, Debug)]
pub(crate) enum Bump {
    /// The commit that was asked for has everything already.
    AsIs {
        /// Its parent, where it differs from that in these files alone.
        tested: Option<String>,
    },
    /// An earlier run has made it.
    There(String),
    /// It has to be made.
    Needed(Pending),
}

/// A commit to be made.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Pending {
    pub(crate) branch: String,
    pub(crate) parent: String,
    #[serde(skip)]
    pub(crate) tree: String,
    pub(crate) message: String,
    pub(crate) changes: Vec<Change>,
}

/// A file, or a submodule's pointer, that will be other than in the parent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Change {
    pub(crate) path: String,
    pub(crate) mode: String,
    /// The SHA of what is there.
    pub(crate) before: String,
    #[serde(skip)]
    pub(crate) after: After,
    /// What is changed, in words.
    pub(crate) told: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum After {
    Content(Vec<u8>),
    Submodule(String),
}

/// A submodule's pointer that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pointer {
    pub(crate) path: String,
    pub(crate) commit: String,
}

/// What is to be written, and where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) files: &'a [VersionFile],
    pub(crate) writing: Option<Writing<'a>>,
    pub(crate) pointers: &'a [Pointer],
    pub(crate) branch: &'a str,
    pub(crate) commit: &'a str,
    pub(crate) message: &'a str,
}

pub(crate) async fn observe(cx: &Cx, github: &Github, wanted: Wanted<'_>) -> Result<Bump, Failure> {
    let Wanted { branch, commit, .. } = wanted;
    let mut trees = Trees::new(cx, github);
    let base = trees.commit(commit).await?;
    let changes = changes(&mut trees, &base, wanted).await?;
    if changes.is_empty() {
        return Ok(Bump::AsIs { tested: tested(&mut trees, &base, wanted).await? });
    }
    let head = trees.head(branch).await?;
    if head == commit {
        let (branch, parent, message) = (branch.to_owned(), commit.to_owned(), wanted.message.to_owned());
        return Ok(Bump::Needed(Pending { branch, parent, tree: base.tree, message, changes }));
    }
    let moved =
        || Failure::refused(format!("commit the version files to {branch} in {}", github.repository()));
    let attempt = format!("list the commits of {branch} since {commit} in {}", github.repository());
    let since = history::between(cx, github, &attempt, commit, &head).await?;
    for later in since.into_iter().filter(|later| later.parent.as_deref() == Some(commit)) {
        let later = trees.commit(&later.sha).await?;
        if !is_it(&mut trees, &base, &later, &changes).await? {
            continue;
        }
        let present = trees.commit(&head).await?;
        for change in &changes {
            let there = trees.entry(&present.tree, &change.path).await?;
            if there.is_some_and(|there| there.sha == change.before) {
                return Err(moved()
                    .because(format!(
                        "{} did it, and {} is as before again: it was taken back",
                        later.sha, change.path
                    ))
                    .help(format!("to release what the branch has now: --commit {head}")));
            }
        }
        return Ok(Bump::There(later.sha));
    }
    Err(moved()
        .because(format!("the branch has moved: its head is {head} and not {commit}"))
        .help(format!("what is there now has to be tested first; then: --commit {head}")))
}

/// What differs from how it is wanted.
async fn changes(trees: &mut Trees<'_>, base: &Commit, wanted: Wanted<'_>) -> Result<Vec<Change>, Failure> {
    let mut changes: Vec<Change> = Vec::new();
    for file in wanted.files {
        let Some(writing) = wanted.writing else { continue };
        let known = changes.iter().position(|change| change.path == file.path);
        let earlier = known.and_then(|place| changes.get(place));
        let (entry, content) =
            if let Some(Change { path, mode, before, after: After::Content(content), .. }) = earlier {
                (Entry { path: path.clone(), mode: mode.clone(), sha: before.clone() }, content.clone())
            } else {
                let entry = file_of(trees, base, &file.path).await?;
                let content = trees.content(&entry).await?;
                (entry, content)
            };
        let changed = files::change(file, &content, writing)?;
        if changed.content == content {
            continue;
        }
        let told = format!("{}: {} -> {}", file.path, changed.before, changed.after);
        if let Some(change) = known.and_then(|place| changes.get_mut(place)) {
            change.after = After::Content(changed.content);
            change.told.push(told);
            continue;
        }
        let (path, mode, before) = (entry.path, entry.mode, entry.sha);
        changes.push(Change { path, mode, before, after: After::Content(changed.content), told: vec![told] });
    }
    for pointer in wanted.pointers {
        let refused = |why: String| {
            Failure::refused(format!("set the submodule {} to {}", pointer.path, pointer.commit))
                .because(why)
                .help("correct the path: it is the one in .gitmodules")
        };
        let entry = trees.entry(&base.tree, &pointer.path).await?;
        let entry = entry.ok_or_else(|| refused(format!("{} has no such path", base.sha)))?;
        if entry.mode != SUBMODULE {
            return Err(refused("it is no submodule".to_owned()));
        }
        if entry.sha != pointer.commit {
            let told = format!("{}: {} -> {}", pointer.path, entry.sha, pointer.commit);
            let after = After::Submodule(pointer.commit.clone());
            let (path, mode, before) = (entry.path, entry.mode, entry.sha);
            changes.push(Change { path, mode, before, after, told: vec![told] });
        }
    }
    Ok(changes)
}

async fn file_of(trees: &mut Trees<'_>, base: &Commit, path: &str) -> Result<Entry, Failure> {
    let refused = |why: String| {
        Failure::refused(format!("read the version file {path}"))
            .because(why)
            .help("correct --version-file: the path is that in the repository")
    };
    let entry = trees.entry(&base.tree, path).await?;
    let entry = entry.ok_or_else(|| refused(format!("{} has no such file", base.sha)))?;
    // A link's content is where it leads to.
    if !["100644", "100755"].contains(&entry.mode.as_str()) {
        return Err(refused("it is a folder, a link or a submodule".to_owned()));
    }
    Ok(entry)
}

/// Whether a commit has these changes, and no others.
async fn is_it(
    trees: &mut Trees<'_>,
    base: &Commit,
    later: &Commit,
    changes: &[Change],
) -> Result<bool, Failure> {
    let paths: BTreeSet<String> = changes.iter().map(|change| change.path.clone()).collect();
    if trees.differences(&base.tree, &later.tree).await? != paths {
        return Ok(false);
    }
    for change in changes {
        let Some(entry) = trees.entry(&later.tree, &change.path).await? else { return Ok(false) };
        let same = match &change.after {
            After::Submodule(commit) => entry.sha == *commit,
            After::Content(content) => entry.mode == change.mode && trees.content(&entry).await? == *content,
        };
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The parent of a commit that an earlier run has made, or one exactly like it: its checks tell of that one too. What else was changed
/// in the same files was not tested.
async fn tested(trees: &mut Trees<'_>, base: &Commit, wanted: Wanted<'_>) -> Result<Option<String>, Failure> {
    let [parent] = base.parents.as_slice() else { return Ok(None) };
    let before = trees.commit(parent).await?;
    let made = match changes(trees, &before, wanted).await {
        Ok(made) => made,
        // It has no such file, or no version in it.
        Err(failure) if failure.code() == kit::Code::Refused => return Ok(None),
        Err(failure) => return Err(failure),
    };
    let only = !made.is_empty() && is_it(trees, &before, base, &made).await?;
    Ok(only.then(|| parent.clone()))
}
