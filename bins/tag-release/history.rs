//! Which versions a commit comes after, and what has come since the last.

use github::{Call, Github};
use kit::{Cx, Failure};
use serde::{Deserialize, Serialize};

use crate::commits::{self, Weight};
use crate::observe::READ;
use crate::scheme::{Pattern, Version};

/// What the next version is made from.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct History {
    /// The scheme's highest tag on the commit itself.
    pub(crate) here: Option<Tagged>,
    /// The highest below it that the commit comes after.
    pub(crate) previous: Option<Tagged>,
    /// Tags of the scheme that the commit does not come after, the highest first.
    pub(crate) elsewhere: Vec<String>,
    /// What came since the previous one, the newest first.
    pub(crate) commits: Vec<Commit>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Tagged {
    pub(crate) tag: String,
    pub(crate) commit: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Commit {
    pub(crate) sha: String,
    pub(crate) message: String,
    /// Of two branches: what it brings stands in the commits that it joins.
    pub(crate) is_merge: bool,
    /// Its parent, if it has one alone.
    #[serde(skip)]
    pub(crate) parent: Option<String>,
}

impl Commit {
    /// Whether it is listed. What a merge joins stands in the commits that it joins, unless its own message, as the title of its
    /// pull request, asks for a release.
    pub(crate) fn is_listed(&self) -> bool {
        !self.is_merge || commits::read(&self.message).weight > Weight::None
    }
}

/// Source: <https://docs.github.com/en/rest/repos/repos#list-repository-tags>
#[derive(Deserialize)]
struct Listed {
    name: String,
    commit: Name,
}

#[derive(Deserialize)]
struct Name {
    sha: String,
}

/// Source: <https://docs.github.com/en/rest/commits/commits#compare-two-commits>
#[derive(Deserialize)]
struct Comparison {
    status: String,
}

#[derive(Deserialize)]
struct Compared {
    sha: String,
    commit: Text,
    parents: Vec<Name>,
}

#[derive(Deserialize)]
struct Text {
    message: String,
}

/// Which tags count as versions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted<'a> {
    pub(crate) scheme: &'a Pattern,
    pub(crate) prereleases: bool,
    /// Only those below this one.
    pub(crate) below: Option<&'a Version>,
}

/// All tags of the repository.
pub(crate) async fn tags(cx: &Cx, github: &Github) -> Result<Vec<Tagged>, Failure> {
    let attempt = format!("list the tags of {}", github.repository());
    let all: Vec<Listed> =
        github.list(cx, Call { attempt: &attempt, permission: READ, path: "/tags" }).await?;
    Ok(all.into_iter().map(|tag| Tagged { tag: tag.name, commit: tag.commit.sha }).collect())
}

pub(crate) async fn history(
    cx: &Cx,
    github: &Github,
    counted: Counted<'_>,
    commit: &str,
) -> Result<History, Failure> {
    let mut versions: Vec<(Version, Tagged)> = tags(cx, github)
        .await?
        .into_iter()
        .filter_map(|tagged| Some((counted.scheme.read(&tagged.tag)?, tagged)))
        .filter(|(version, _)| counted.prereleases || !version.is_prerelease())
        .filter(|(version, _)| counted.below.is_none_or(|below| version < below))
        .collect();
    versions.sort_by(|(a, _), (b, _)| b.cmp(a));
    let here = versions.iter().position(|(_, tagged)| tagged.commit == commit);
    let here = here.map(|place| versions.remove(place).1);
    let mut found = History { here, ..History::default() };
    let mut passed: Vec<String> = Vec::new();
    for (_, tagged) in versions.into_iter().filter(|(_, tagged)| tagged.commit != commit) {
        if passed.contains(&tagged.commit) || !leads_to(cx, github, &tagged, commit).await? {
            passed.push(tagged.commit);
            found.elsewhere.push(tagged.tag);
            continue;
        }
        found.commits = since(cx, github, &tagged, commit).await?;
        found.previous = Some(tagged);
        break;
    }
    Ok(found)
}

async fn leads_to(cx: &Cx, github: &Github, tagged: &Tagged, commit: &str) -> Result<bool, Failure> {
    let attempt = format!("compare {} with {commit} in {}", tagged.tag, github.repository());
    let path = format!("/compare/{}...{commit}?per_page=1", tagged.commit);
    // 404 when the two have no commit in common.
    let found: Option<Comparison> =
        github.find(cx, Call { attempt: &attempt, permission: READ, path: &path }).await?;
    Ok(found.is_some_and(|found| found.status == "ahead"))
}

async fn since(cx: &Cx, github: &Github, tagged: &Tagged, commit: &str) -> Result<Vec<Commit>, Failure> {
    let attempt = format!("list the commits since {} in {}", tagged.tag, github.repository());
    let commits = between(cx, github, &attempt, &tagged.commit, commit).await?;
    Ok(commits.into_iter().rev().collect())
}

/// The commits that `to` has and `from` has not, the oldest first.
pub(crate) async fn between(
    cx: &Cx,
    github: &Github,
    attempt: &str,
    from: &str,
    to: &str,
) -> Result<Vec<Commit>, Failure> {
    let path = format!("/compare/{from}...{to}");
    let call = Call { attempt, permission: READ, path: &path };
    let found: Option<Vec<Compared>> = github.list_in(cx, call, "commits", &[]).await?;
    let found = found.ok_or_else(|| Failure::failed(attempt).because("the token may not see them"))?;
    let commit = |it: Compared| {
        let is_merge = it.parents.len() > 1;
        let parent = it.parents.into_iter().next().filter(|_| !is_merge).map(|parent| parent.sha);
        Commit { sha: it.sha, message: it.commit.message, is_merge, parent }
    };
    Ok(found.into_iter().map(commit).collect())
}
