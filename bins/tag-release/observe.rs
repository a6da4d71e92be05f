//! What GitHub has: the commit, the tag, the tag's releases.

use github::{Call, Github, encode};
use kit::{Cx, Failure};
use serde::{Deserialize, Serialize};

pub(crate) const READ: &str = "contents: read";

/// What the plan is made from.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Observed {
    pub(crate) default_branch: String,
    /// First line of the commit's message.
    pub(crate) subject: String,
    pub(crate) tag: Option<Tag>,
    /// Every release with the tag's name, drafts too.
    pub(crate) releases: Vec<Release>,
    /// The tags that move with the release.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) moving: Vec<crate::moving::Moving>,
    /// What the version was counted from; absent where it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) history: Option<crate::history::History>,
    /// What the gates saw; absent where nothing is left to be gated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gates: Option<crate::gates::Seen>,
    /// Where the tag is to be signed; absent where no signed one has to be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) clone: Option<crate::sign::LocalClone>,
}

/// Where the tag is to be.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) default_branch: String,
    pub(crate) subject: String,
}

/// An existing tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Tag {
    /// What the ref points to: the tag object, or the commit itself where the tag is lightweight.
    pub(crate) object: String,
    /// The commit it leads to; absent where it leads to something else.
    pub(crate) commit: Option<String>,
    /// What GitHub says of its signature; absent where it is lightweight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) verification: Option<Verification>,
}

/// Source: <https://docs.github.com/en/rest/git/tags#get-a-tag>
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verification {
    pub(crate) verified: bool,
    /// `valid`, `unsigned`, or why it is not verified.
    #[serde(default)]
    pub(crate) reason: String,
}

/// A release, as far as it matters. Source: <https://docs.github.com/en/rest/releases/releases>
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Release {
    pub(crate) id: u64,
    pub(crate) tag_name: String,
    pub(crate) name: Option<String>,
    pub(crate) body: Option<String>,
    pub(crate) draft: bool,
    pub(crate) prerelease: bool,
    #[serde(default)]
    pub(crate) immutable: bool,
    pub(crate) html_url: String,
    #[serde(default)]
    pub(crate) upload_url: String,
    #[serde(default)]
    pub(crate) assets: Vec<Asset>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asset {
    #[serde(default)]
    pub(crate) id: u64,
    pub(crate) name: String,
    /// `uploaded`; `starter` or `open` while it is not.
    #[serde(default)]
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) size: u64,
    /// `sha256:...`; an older server tells none.
    #[serde(default)]
    pub(crate) digest: Option<String>,
}

/// Source: <https://docs.github.com/en/rest/repos/repos#get-a-repository>
#[derive(Deserialize)]
pub(crate) struct Repository {
    pub(crate) default_branch: String,
}

/// A ref or tag object. Source: <https://docs.github.com/en/rest/git/refs>
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Pointer {
    pub(crate) object: Object,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Object {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) sha: String,
}

#[derive(Deserialize)]
struct TagObject {
    object: Object,
    #[serde(default)]
    verification: Option<Verification>,
}

#[derive(Deserialize)]
struct Commit {
    message: String,
}

#[derive(Deserialize)]
struct Resolved {
    sha: String,
}

/// Refuses a repository that can't be seen; after this, 404 means that a thing does not exist.
pub(crate) async fn repository(cx: &Cx, github: &Github) -> Result<Repository, Failure> {
    let attempt = format!("look at the repository {}", github.repository());
    let call = Call { attempt: &attempt, permission: "metadata: read", path: "" };
    github.get(cx, call).await
}

/// The repository and the commit.
pub(crate) async fn place(cx: &Cx, github: &Github, commit: &str) -> Result<Place, Failure> {
    let Repository { default_branch } = repository(cx, github).await?;
    Ok(Place { default_branch, subject: subject(cx, github, commit).await? })
}

/// What there is of the tag.
pub(crate) async fn observe(cx: &Cx, github: &Github, place: Place, tag: &str) -> Result<Observed, Failure> {
    Ok(Observed {
        default_branch: place.default_branch,
        subject: place.subject,
        moving: Vec::new(),
        history: None,
        tag: find_tag(cx, github, tag).await?,
        releases: releases(cx, github, tag).await?,
        gates: None,
        clone: None,
    })
}

/// The first line of the commit's message. Anything but a full SHA is refused with the SHA that it stands for now.
async fn subject(cx: &Cx, github: &Github, commit: &str) -> Result<String, Failure> {
    let repository = github.repository();
    if !is_full_sha(commit) {
        let (attempt, path) =
            (format!("look up {commit} in {repository}"), format!("/commits/{}", encode(commit)));
        let call = Call { attempt: &attempt, permission: READ, path: &path };
        let resolved: Resolved = github.get(cx, call).await.map_err(|failure| {
            failure.help("--commit takes the full SHA of the commit to tag: 40 hexadecimal digits")
        })?;
        return Err(Failure::refused(format!("tag {commit}"))
            .because(format!(
                "it is not a full SHA but a name, which may lead elsewhere a moment later; now it is {}",
                resolved.sha
            ))
            .help(format!("if that is the commit that was tested: --commit {}", resolved.sha)));
    }
    let (attempt, path) =
        (format!("look up the commit {commit} in {repository}"), format!("/git/commits/{commit}"));
    let found: Option<Commit> =
        github.find(cx, Call { attempt: &attempt, permission: READ, path: &path }).await?;
    let commit = found.ok_or_else(|| {
        Failure::refused(format!("tag the commit {commit}"))
            .because(format!("{repository} has no such commit"))
            .help("push it first, or correct --commit or --repository")
    })?;
    Ok(commit.message.lines().next().unwrap_or_default().to_owned())
}

/// Forty hexadecimal digits.
pub(crate) fn is_full_sha(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// The tag by its exact name, led to its commit through every tag object between.
pub(crate) async fn find_tag(cx: &Cx, github: &Github, tag: &str) -> Result<Option<Tag>, Failure> {
    let attempt = format!("look up the tag {tag} in {}", github.repository());
    let path = format!("/git/ref/tags/{}", encode(tag));
    let Some(found): Option<Pointer> =
        github.find(cx, Call { attempt: &attempt, permission: READ, path: &path }).await?
    else {
        return Ok(None);
    };
    let object = found.object.sha.clone();
    let mut end = found.object;
    let mut verification = None;
    // A tag of a tag is rare, a longer chain is a mistake.
    for _ in 0..8 {
        if end.kind != "tag" {
            break;
        }
        let path = format!("/git/tags/{}", end.sha);
        let next: TagObject =
            github.get(cx, Call { attempt: &attempt, permission: READ, path: &path }).await?;
        // Of a tag of a tag, what the ref points to counts.
        verification = verification.or(next.verification);
        end = next.object;
    }
    let commit = (end.kind == "commit").then_some(end.sha);
    Ok(Some(Tag { object, commit, verification }))
}

/// Every release of the tag. Only the list shows drafts: looking one up by its tag finds published ones alone.
pub(crate) async fn releases(cx: &Cx, github: &Github, tag: &str) -> Result<Vec<Release>, Failure> {
    let attempt = format!("list the releases of {}", github.repository());
    let call = Call { attempt: &attempt, permission: READ, path: "/releases" };
    let all: Vec<Release> = github.list(cx, call).await?;
    Ok(all.into_iter().filter(|release| release.tag_name == tag).collect())
}
