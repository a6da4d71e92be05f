//! The writing calls, each of which looks before it is made a second time.

use std::path::PathBuf;
use std::time::Duration;

use github::{Call, Github, Method, encode};
use kit::{Cx, Failure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::assets::{Upload, is_it};
use crate::commit::{self, Kept};
use crate::observe::{Asset, Release, find_tag, releases};
use crate::plan::{PUBLISH, RELEASE, Request, TAG, TAG_OBJECT, TagRelease};
use crate::release::{Step, same_text};
use crate::sign;

pub(crate) const WRITE: &str = "contents: write";

/// What is needed to take an action back, as receipts keep it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub(crate) enum Inverse {
    /// A tag object can't be deleted, and can't be seen without its tag.
    TagObject { repository: String },
    /// Of blobs, trees and commits without a branch, the same is so.
    Objects { repository: String },
    /// Put the files back by another commit, if they still are what the run left.
    Branch { repository: String, tag: String, branch: String, commit: String, files: Vec<Kept> },
    /// Delete the tag if it still points to this object.
    Tag { repository: String, tag: String, object: String },
    /// Delete the tag of the clone in this folder if it still is what was signed.
    LocalTag { repository: String, tag: String, folder: PathBuf, commit: String, message: String },
    /// Put the tag back to where it was, if it is where the run left it.
    Moved { repository: String, tag: String, name: String, before: Option<String>, after: String },
    /// Delete the release of this content.
    Release { repository: String, tag: String, name: String, body: String },
    /// Delete the release's file of this content.
    Asset { repository: String, tag: String, release: u64, name: String, digest: String },
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
    request: &mut Request,
    plan: &TagRelease,
) -> Result<(), Failure> {
    if let Some(pending) = request.pending.take() {
        request.commit = commit::write(cx, github, request, &pending).await?;
    }
    if let Some(signing) = &plan.sign {
        let object = sign::apply(cx, github, request, signing).await?;
        if let Some(signature) = &mut request.signature {
            signature.pushed = Some(object);
        }
    }
    let request = &*request;
    if let Some(message) = &plan.create_tag {
        let repository = request.repository.clone();
        let object = cx
            .act(
                &format!("{TAG_OBJECT}{}", request.suffix),
                &Inverse::TagObject { repository: repository.clone() },
                write_tag_object(cx, github, request, message),
            )
            .await?;
        let inverse = Inverse::Tag { repository, tag: request.tag.clone(), object: object.sha.clone() };
        cx.act(&format!("{TAG}{}", request.suffix), &inverse, create_tag(cx, github, request, &object.sha))
            .await?;
    }
    apply_release(cx, github, request, plan).await?;
    for it in &plan.moves {
        it.apply(cx, github, request).await?;
    }
    Ok(())
}

async fn apply_release(
    cx: &Cx,
    github: &Github,
    request: &Request,
    plan: &TagRelease,
) -> Result<(), Failure> {
    let (id, publish) = match &plan.release {
        Step::NotWanted => return Ok(()),
        Step::Nothing { id } => (*id, false),
        Step::Publish { id, .. } => (*id, true),
        Step::Create { name, body, prerelease, publish } => {
            let inverse = Inverse::Release {
                repository: request.repository.clone(),
                tag: request.tag.clone(),
                name: name.clone(),
                body: body.clone(),
            };
            let call = create_release(cx, github, request, name, body, *prerelease);
            (cx.act(RELEASE, &inverse, call).await?.id, *publish)
        }
    };
    for upload in &plan.uploads {
        let inverse = Inverse::Asset {
            repository: request.repository.clone(),
            tag: request.tag.clone(),
            release: id,
            name: upload.file.name.clone(),
            digest: upload.file.digest.clone(),
        };
        cx.act(&upload.id, &inverse, upload_asset(cx, github, id, upload)).await?;
    }
    if publish {
        publish_release(cx, github, request, id).await?;
    }
    Ok(())
}

/// For so long a release that was just made may not be found by its number (<https://github.com/cli/cli/issues/6599>).
const SHOWN_WITHIN: Duration = Duration::from_secs(30);

async fn shown(cx: &Cx, github: &Github, call: Call<'_>) -> Result<Release, Failure> {
    let until = Instant::now() + SHOWN_WITHIN;
    while Instant::now() < until {
        if let Some(release) = github.find(cx, call).await? {
            return Ok(release);
        }
        cx.or_cancelled(cx.pause(Duration::from_secs(1))).await?;
    }
    github.get(cx, call).await
}

/// How often an upload is begun, one that is refused because the last one has arrived unseen included.
const UPLOADS: usize = 4;

/// Uploads one file. After an upload that broke off, looks what GitHub has of it: a whole file is left, a beginning of one
/// deleted before the next try.
async fn upload_asset(cx: &Cx, github: &Github, id: u64, upload: &Upload) -> Result<Value, Failure> {
    let file = &upload.file;
    let attempt = format!("upload {} to the release {id} in {}", file.name, github.repository());
    let path = format!("/releases/{id}");
    let call = Call { attempt: &attempt, permission: WRITE, path: &path };
    let mut left = UPLOADS;
    let mut doubt = false;
    loop {
        let release = shown(cx, github, call).await?;
        match release.assets.iter().find(|asset| asset.name == file.name) {
            Some(asset) if is_it(asset, file) => return Ok(json!({"id": asset.id})),
            Some(asset) if asset.state == "uploaded" => {
                return Err(Failure::waiting(&attempt)
                    .because("another file of that name was added at the same moment")
                    .help(format!("look at {} and decide there", release.html_url))
                    .untouched(true));
            }
            Some(asset) => delete_asset(cx, github, asset.id).await?,
            None => {}
        }
        left -= 1;
        let failed = match github.upload::<Asset>(cx, call, &release.upload_url, &file.name, &file.path).await
        {
            Ok(asset) if is_it(&asset, file) => return Ok(json!({"id": asset.id})),
            Ok(asset) => {
                return Err(Failure::unverified(&attempt)
                    .because(format!("GitHub has {} bytes of it, in the state {}", asset.size, asset.state))
                    .help("did the file change meanwhile? run the same command again"));
            }
            Err(failed) => explained(failed),
        };
        // A release may be shown for a while as it was before its file came.
        let is_there = doubt && failed.chain().iter().any(|why| why.contains("is taken already"));
        doubt |= failed.is_transient();
        if left == 0 || !(failed.is_transient() || is_there) {
            return Err(if doubt { failed.untouched(false) } else { failed });
        }
        cx.report().say(&if is_there {
            format!("{attempt}: GitHub has a file of that name and does not show it yet, looking again")
        } else {
            format!("could not {attempt}, trying again: {}", failed.chain().join(": "))
        });
        cx.or_cancelled(cx.pause(Duration::from_secs(1))).await?;
    }
}

pub(crate) async fn delete_asset(cx: &Cx, github: &Github, id: u64) -> Result<(), Failure> {
    let attempt = format!("delete the file {id} of a release in {}", github.repository());
    let path = format!("/releases/assets/{id}");
    github.delete(cx, Call { attempt: &attempt, permission: WRITE, path: &path }).await
}

/// What GitHub's words about immutable releases mean for whoever runs into them.
///
/// Source: <https://docs.github.com/en/code-security/concepts/supply-chain-security/immutable-releases>
fn explained(failure: Failure) -> Failure {
    let said = failure.chain().join(" ");
    if said.contains("was used by an immutable release") {
        failure.help("the name of a tag can't be used again once an immutable release had it, even when that was deleted: choose another version")
    } else if said.contains("immutable") {
        failure.help(
            "releases of this repository can't be changed once they are published: release a new version",
        )
    } else {
        failure
    }
}

/// <https://docs.github.com/en/rest/git/tags#create-a-tag-object>. Without a tagger, GitHub enters the token's user and
/// the present time.
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
    github.write_object(cx, call, &body).await
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
    let call = async { set_draft(cx, github, &attempt, id, false).await.map_err(explained) };
    cx.act(PUBLISH, &inverse, call).await.map(drop)
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
    // By default what is published last is the latest, a correction of an older line too: by date and version, it is not.
    let body = if draft { json!({"draft": true}) } else { json!({"draft": false, "make_latest": "legacy"}) };
    let release: Release = github
        .write(cx, Method::Patch, call, &body, async || {
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
