//! Whether what was wanted is there.

use kit::Failure;

use crate::assets::is_it;
use crate::observe::{Observed, Release, Tag};
use crate::plan::Request;

/// What is there at the end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct There<'a> {
    pub(crate) tag: &'a Tag,
    pub(crate) release: Option<&'a Release>,
}

pub(crate) fn verify<'a>(request: &Request, observed: &'a Observed) -> Result<There<'a>, Failure> {
    let Request { repository, tag, commit, .. } = request;
    let missing = |what: String| {
        Failure::unverified(format!("see {tag} in {repository}"))
            .because(what)
            .help("look at the repository on GitHub, then run the same command again")
    };
    let there = match &observed.tag {
        None => return Err(missing("the tag can't be seen".to_owned())),
        Some(there) if there.commit.as_ref() == Some(commit) => there,
        Some(there) => {
            let on = there.commit.as_ref().unwrap_or(&there.object);
            return Err(missing(format!("the tag is on {on} instead of {commit}")));
        }
    };
    if let Some(pushed) = request.signature.as_ref().and_then(|signature| signature.pushed.as_ref())
        && there.object != *pushed
    {
        return Err(missing(format!(
            "the tag is {} instead of {pushed}, which was signed and pushed",
            there.object
        )));
    }
    if let Some(it) = observed.moving.iter().find(|it| it.commit.as_ref() != Some(commit)) {
        return Err(missing(format!("the tag {} is not on {commit}", it.name)));
    }
    let Some(wanted) = &request.release else { return Ok(There { tag: there, release: None }) };
    let published: Vec<&Release> = observed.releases.iter().filter(|release| !release.draft).collect();
    let found = match (published.as_slice(), observed.releases.as_slice()) {
        ([release], _) => *release,
        ([], [draft]) if wanted.draft => draft,
        ([], []) => return Err(missing("its release can't be seen".to_owned())),
        ([], [_]) => return Err(missing("its release is still a draft".to_owned())),
        (_, several) => {
            let ids = several.iter().map(|release| release.id.to_string()).collect::<Vec<_>>().join(", ");
            return Err(missing(format!("it has several releases: {ids}")));
        }
    };
    for file in &wanted.assets {
        let asset = found.assets.iter().find(|asset| asset.name == file.name);
        if !asset.is_some_and(|asset| is_it(asset, file)) {
            return Err(missing(format!("its release does not have the file {} as it is here", file.name)));
        }
    }
    Ok(There { tag: there, release: Some(found) })
}
