//! The writing calls, each of which looks before it is made a second time.

use github::{Call, Github, Method, encode};
use kit::{Cx, Failure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::observe::{Release, find_tag, releases};
use crate::plan::{PUBLISH, RELEASE, Request, Step, TAG, TAG_OBJECT, TagRelease, same_text};

pub(crate) const WRITE: &str = "contents: write";

/// What is needed to take an action back, as receipts keep it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub(crate) enum Inverse {
    /// A tag object can't be deleted, and can't be seen without its tag.
    TagObject { repository: String },
    /// Delete the tag if it still points to this object.
    Tag { repository: String, tag: String, object: String },
    /// Delete the release of this content.
    Release { repository: String, tag: String, name: String, body: String },
    /// Make the release a draft again.
    Draft { repository: String, tag: String, id: u64 },
}

#[derive(Deserialize, Serialize)]
struct TagObject {
    sha: String,
}

#[derive(Serialize)]
struct Created {
    id: u64,
}

pub(crate) async fn apply(
    cx: &Cx,
    github: &Github,
    request: &Request,
    plan: &TagRelease,
) -> Result<(), Failure> {
    if let Some(message) = &plan.create_tag {
        let repository = request.repository.clone();
        let object = cx
            .act(
                TAG_OBJECT,
                &Inverse::TagObject { repository: repository.clone() },
                write_tag_object(cx, github, request, message),
            )
            .await?;
        let inverse = Inverse::Tag { repository, tag: request.tag.clone(), object: object.sha.clone() };
        cx.act(TAG, &inverse, create_tag(cx, github, request, &object.sha)).await?;
    }
    match &plan.release {
        Step::NotWanted | Step::Nothing { .. } => {}
        Step::Create { name, body, prerelease, publish } => {
            let inverse = Inverse::Release {
                repository: request.repository.clone(),
                tag: request.tag.clone(),
                name: name.clone(),
                body: body.clone(),
            };
            let call = create_release(cx, github, request, name, body, *prerelease);
            let id = cx.act(RELEASE, &inverse, call).await?.id;
            if *publish {
                publish_release(cx, github, request, id).await?;
            }
        }
        Step::Publish { id, .. } => publish_release(cx, github, request, *id).await?,
    }
    Ok(())
}

/// <https://docs.github.com/en/rest/git/tags#create-a-tag-object>. Without a tagger, GitHub enters the token's user and
/// the present time. A second object after a try in doubt does no harm: it can't be seen.
async fn write_tag_object(
    cx: &Cx,
    github: &Github,
    request: &Request,
    message: &str,
) -> Result<TagObject, Failure> {
    let Request { tag, commit, repository, .. } = request;
    let attempt = format!("write the annotation of {tag} in {repository}");
    let call = Call { attempt: &attempt, permission: WRITE, path: "/git/tags" };
    let body = json!({"tag": tag, "message": message, "object": commit, "type": "commit"});
    github.write(cx, Method::Post, call, &body, async || Ok(None)).await
}

/// <https://docs.github.com/en/rest/git/refs#create-a-reference>
async fn create_tag(cx: &Cx, github: &Github, request: &Request, object: &str) -> Result<Value, Failure> {
    let Request { tag, repository, .. } = request;
    let attempt = format!("create the tag {tag} in {repository}");
    let call = Call { attempt: &attempt, permission: WRITE, path: "/git/refs" };
    let body = json!({"ref": format!("refs/tags/{tag}"), "sha": object});
    github
        .write(cx, Method::Post, call, &body, async || match find_tag(cx, github, tag).await? {
            None => Ok(None),
            Some(there) if there.object == object => Ok(Some(json!({"object": {"sha": object}}))),
            Some(there) => Err(Failure::waiting(&attempt)
                .because(format!(
                    "somebody else created it at the same moment, on {}",
                    there.commit.unwrap_or(there.object)
                ))
                .help("run the same command again: it goes on if the tag is on the same commit")
                .untouched(true)),
        })
        .await
}

/// <https://docs.github.com/en/rest/releases/releases#create-a-release>. GitHub takes any number of drafts for one tag,
/// so that a second try without a look would make a second one.
async fn create_release(
    cx: &Cx,
    github: &Github,
    request: &Request,
    name: &str,
    body: &str,
    prerelease: bool,
) -> Result<Created, Failure> {
    let Request { tag, commit, repository, .. } = request;
    let attempt = format!("create the draft release {name} of {tag} in {repository}");
    let call = Call { attempt: &attempt, permission: WRITE, path: "/releases" };
    let content = json!({
        "tag_name": tag,
        "target_commitish": commit,
        "name": name,
        "body": body,
        "draft": true,
        "prerelease": prerelease,
    });
    let release: Release = github
        .write(cx, Method::Post, call, &content, async || {
            let found = releases(cx, github, tag).await?;
            Ok(found.into_iter().find(|release| release.draft && is_content(release, name, body)))
        })
        .await?;
    Ok(Created { id: release.id })
}

/// Whether a release says what was written into it.
pub(crate) fn is_content(release: &Release, name: &str, body: &str) -> bool {
    release.name.as_deref() == Some(name) && same_text(release.body.as_deref().unwrap_or_default(), body)
}

async fn publish_release(cx: &Cx, github: &Github, request: &Request, id: u64) -> Result<(), Failure> {
    let Request { tag, repository, .. } = request;
    let inverse = Inverse::Draft { repository: repository.clone(), tag: tag.clone(), id };
    let attempt = format!("publish the release of {tag} in {repository}");
    cx.act(PUBLISH, &inverse, set_draft(cx, github, &attempt, id, false)).await.map(drop)
}

/// <https://docs.github.com/en/rest/releases/releases#update-a-release>
pub(crate) async fn set_draft(
    cx: &Cx,
    github: &Github,
    attempt: &str,
    id: u64,
    draft: bool,
) -> Result<Value, Failure> {
    let path = format!("/releases/{id}");
    let call = Call { attempt, permission: WRITE, path: &path };
    let release: Release = github
        .write(cx, Method::Patch, call, &json!({"draft": draft}), async || {
            let release: Release = github.get(cx, call).await?;
            Ok((release.draft == draft).then_some(release))
        })
        .await?;
    Ok(json!({"id": release.id, "url": release.html_url}))
}

pub(crate) async fn delete_release(cx: &Cx, github: &Github, id: u64) -> Result<(), Failure> {
    let (attempt, path) =
        (format!("delete the release {id} in {}", github.repository()), format!("/releases/{id}"));
    github.delete(cx, Call { attempt: &attempt, permission: WRITE, path: &path }).await
}

pub(crate) async fn delete_tag(cx: &Cx, github: &Github, tag: &str) -> Result<(), Failure> {
    let attempt = format!("delete the tag {tag} in {}", github.repository());
    let path = format!("/git/refs/tags/{}", encode(tag));
    github.delete(cx, Call { attempt: &attempt, permission: WRITE, path: &path }).await
}
