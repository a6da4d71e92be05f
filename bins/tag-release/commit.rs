//! The writing calls of the version's commit, and of its taking back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use github::{Call, Github, Method, encode};
use kit::{Cx, Failure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::apply::{Inverse, WRITE};
use crate::bump::{After, Pending};
use crate::plan::{BRANCH, COMMIT, Request};
use crate::tree::{Answer, Commit, Entry, Trees};

/// A file as receipts keep it, to be put back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) path: String,
    pub(crate) mode: String,
    pub(crate) before: String,
    pub(crate) after: String,
}

#[derive(Deserialize)]
struct Made {
    sha: String,
}

#[derive(Serialize)]
struct Written {
    sha: String,
    files: Vec<Kept>,
}

/// Makes the commit and moves the branch to it; answers its SHA.
pub(crate) async fn write(
    cx: &Cx,
    github: &Github,
    request: &Request,
    pending: &Pending,
) -> Result<String, Failure> {
    let repository = request.repository.clone();
    let inverse = Inverse::Objects { repository: repository.clone() };
    let written = cx.act(COMMIT, &inverse, objects(cx, github, pending)).await?;
    let inverse = Inverse::Branch {
        repository,
        tag: request.tag.clone(),
        branch: pending.branch.clone(),
        commit: written.sha.clone(),
        files: written.files.clone(),
    };
    let moved = move_branch(cx, github, &pending.branch, &pending.parent, &written.sha);
    cx.act(BRANCH, &inverse, moved).await?;
    Ok(written.sha)
}

/// Blobs, tree and commit. Nothing refers to them yet: of two tries, one is dropped by GitHub in time. No author is given, so
/// that GitHub signs what an app commits.
///
/// Source: <https://docs.github.com/en/authentication/managing-commit-signature-verification/about-commit-signature-verification#signature-verification-for-bots>
async fn objects(cx: &Cx, github: &Github, pending: &Pending) -> Result<Written, Failure> {
    let mut files = Vec::new();
    for change in &pending.changes {
        let after = match &change.after {
            After::Submodule(commit) => commit.clone(),
            After::Content(content) => {
                let body = json!({"content": STANDARD.encode(content), "encoding": "base64"});
                let made: Made =
                    post(cx, github, "/git/blobs", &format!("write {}", change.path), &body).await?;
                made.sha
            }
        };
        let (path, mode, before) = (change.path.clone(), change.mode.clone(), change.before.clone());
        files.push(Kept { path, mode, before, after });
    }
    let entries: Vec<Entry> = files
        .iter()
        .map(|file| Entry { path: file.path.clone(), mode: file.mode.clone(), sha: file.after.clone() })
        .collect();
    let base = Commit { sha: pending.parent.clone(), tree: pending.tree.clone(), parents: Vec::new() };
    let made = child(cx, github, &base, &entries, &pending.message).await?;
    Ok(Written { sha: made.sha, files })
}

/// A commit on top of another that differs from it in these entries alone, which is looked at.
pub(crate) async fn child(
    cx: &Cx,
    github: &Github,
    base: &Commit,
    entries: &[Entry],
    message: &str,
) -> Result<Commit, Failure> {
    let tree: Vec<Value> = entries
        .iter()
        .map(|entry| {
            let kind = if entry.mode == crate::tree::SUBMODULE { "commit" } else { "blob" };
            json!({"path": entry.path, "mode": entry.mode, "type": kind, "sha": entry.sha})
        })
        .collect();
    let body = json!({"base_tree": base.tree, "tree": tree});
    let tree: Made = post(cx, github, "/git/trees", "write the tree with the version files", &body).await?;
    let body = json!({"message": message, "tree": tree.sha, "parents": [base.sha]});
    let what = "write the commit of the version files";
    let made: Commit = post::<Answer>(cx, github, "/git/commits", what, &body).await?.into();
    let different = Trees::new(cx, github).differences(&base.tree, &made.tree).await?;
    if !different
        .iter()
        .eq(entries.iter().map(|entry| &entry.path).collect::<std::collections::BTreeSet<_>>())
    {
        let paths = different.into_iter().collect::<Vec<_>>().join(", ");
        return Err(Failure::failed(what)
            .because(format!("it would differ from {} in: {paths}", base.sha))
            .help("no branch has it; look at the version files"));
    }
    Ok(made)
}

async fn post<T: serde::de::DeserializeOwned>(
    cx: &Cx,
    github: &Github,
    path: &str,
    what: &str,
    body: &Value,
) -> Result<T, Failure> {
    let attempt = format!("{what} in {}", github.repository());
    github.write_object(cx, Call { attempt: &attempt, permission: WRITE, path }, body).await
}

/// Moves a branch from one commit to its child, never by force.
///
/// Source: <https://docs.github.com/en/rest/git/refs#update-a-reference>
pub(crate) async fn move_branch(
    cx: &Cx,
    github: &Github,
    branch: &str,
    from: &str,
    to: &str,
) -> Result<Value, Failure> {
    let attempt = format!("move the branch {branch} to {to} in {}", github.repository());
    let path = format!("/git/refs/heads/{}", encode(branch));
    let call = Call { attempt: &attempt, permission: WRITE, path: &path };
    let body = json!({"sha": to, "force": false});
    let superseded = |head: &str| {
        Failure::waiting(&attempt)
            .because(format!("somebody else moved it at the same moment, to {head}"))
            .help("what is there now has to be tested first; then run it again with that commit")
            .untouched(true)
    };
    let trees = Trees::new(cx, github);
    let moved = github
        .write::<Value>(cx, Method::Patch, call, &body, async || {
            let head = trees.head(branch).await?;
            if head == to {
                Ok(Some(json!({})))
            } else if head == from {
                Ok(None)
            } else {
                Err(superseded(&head))
            }
        })
        .await;
    match moved {
        Ok(_) => Ok(json!({"sha": to})),
        Err(failure) if failure.code() != kit::Code::Failed || failure.is_transient() => Err(failure),
        Err(failure) => match trees.head(branch).await {
            Ok(head) if head != from && head != to => Err(superseded(&head)),
            _ => Err(ruled(failure, branch)),
        },
    }
}

/// What a branch's rules say has no one wording.
///
/// Source: <https://docs.github.com/en/repositories/configuring-branches-and-merges-in-your-repository/managing-rulesets/about-rulesets>
fn ruled(failure: Failure, branch: &str) -> Failure {
    failure
        .help(format!(
            "if a rule protects {branch}: change the version files in a pull request, merge it, and run this on the merged commit, which then needs no other"
        ))
        .help("or let the token's app bypass the rule; a workflow's own GITHUB_TOKEN can't be let")
}
