//! The decision about the release: what is missing of it, and what is in the way.

use kit::{Failure, Note};
use serde::Serialize;

use crate::assets::Local;
use crate::notes::LONGEST;
use crate::observe::{Observed, Release};
use crate::plan::Request;

/// The release that is wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// As given; the default is the tag's name.
    pub(crate) name: Option<String>,
    /// As given.
    pub(crate) notes: Option<String>,
    /// What stands in their place where none are given; without it, the commit's first line.
    pub(crate) usual_notes: Option<String>,
    pub(crate) assets: Vec<Local>,
    pub(crate) draft: bool,
    pub(crate) prerelease: bool,
}

/// What will be done about the release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Step {
    /// None is wanted.
    NotWanted,
    /// It is there.
    Nothing { id: u64 },
    /// A draft is made, and published unless a draft is wanted.
    Create { name: String, body: String, prerelease: bool, publish: bool },
    /// The draft that is there is published.
    Publish { id: u64, name: String },
}

impl Step {
    /// The number of the release that is there already.
    pub(crate) fn id(&self) -> Option<u64> {
        match self {
            Self::Nothing { id } | Self::Publish { id, .. } => Some(*id),
            Self::NotWanted | Self::Create { .. } => None,
        }
    }
}

pub(crate) fn release(
    request: &Request,
    wanted: &Wanted,
    observed: &Observed,
    notes: &mut Vec<Note>,
) -> Result<Step, Failure> {
    let Request { tag, .. } = request;
    let (drafts, published): (Vec<&Release>, Vec<&Release>) =
        observed.releases.iter().partition(|release| release.draft);
    if let Some(release) = published.first() {
        for difference in differences(wanted, release) {
            notes.push(Note::Warning(format!(
                "the release is published and left as it is, though {difference}"
            )));
        }
        if wanted.draft {
            notes.push(Note::Info("the release is published already, so it stays no draft".to_owned()));
        }
        if !drafts.is_empty() {
            notes.push(Note::Warning(format!(
                "there are drafts of {tag} beside the published release: {}",
                list(&drafts)
            )));
        }
        return Ok(Step::Nothing { id: release.id });
    }
    match drafts.as_slice() {
        [] => {
            let given = wanted.notes.clone().or_else(|| wanted.usual_notes.clone());
            let body = given.unwrap_or_else(|| usual(request, &observed.subject));
            let length = body.chars().count();
            if length > LONGEST {
                return Err(Failure::refused(format!("release {tag}"))
                    .because(format!("its notes have {length} characters, and GitHub takes {LONGEST}"))
                    .help("shorten them, or give them as a file of the release: --asset"));
            }
            let name = wanted.name.clone().unwrap_or_else(|| tag.clone());
            Ok(Step::Create { name, body, prerelease: wanted.prerelease, publish: !wanted.draft })
        }
        [draft] => {
            let differences = differences(wanted, draft);
            if !differences.is_empty() {
                return Err(Failure::refused(format!("publish the draft release of {tag}"))
                    .because(format!("draft {} is there, and {}", list(&drafts), differences.join(", and ")))
                    .help("give what the draft has, or nothing, to publish it; or edit or delete the draft on GitHub"));
            }
            if wanted.draft {
                return Ok(Step::Nothing { id: draft.id });
            }
            Ok(Step::Publish { id: draft.id, name: draft.name.clone().unwrap_or_else(|| tag.clone()) })
        }
        _ => Err(Failure::refused(format!("release {tag}"))
            .because(format!("it has several draft releases: {}", list(&drafts)))
            .help("delete all but one of them on GitHub")),
    }
}

fn usual(request: &Request, subject: &str) -> String {
    let files = if request.pending.is_some() { ", with the files of its version" } else { "" };
    format!("{subject}\n\nCommit {}{files}", request.commit)
}

/// In what a release differs from what was explicitly asked for.
fn differences(wanted: &Wanted, release: &Release) -> Vec<String> {
    let mut differences = Vec::new();
    let present = release.name.as_deref().unwrap_or_default();
    if let Some(name) = &wanted.name
        && name != present
    {
        differences.push(format!("its title is \"{present}\" instead of \"{name}\""));
    }
    if let Some(notes) = &wanted.notes
        && !same_text(notes, release.body.as_deref().unwrap_or_default())
    {
        differences.push("its notes are others than those given".to_owned());
    }
    if wanted.prerelease && !release.prerelease {
        differences.push("it is not marked as a pre-release".to_owned());
    }
    differences
}

/// GitHub may give line ends back as CRLF.
pub(crate) fn same_text(a: &str, b: &str) -> bool {
    a.lines().map(str::trim_end).eq(b.lines().map(str::trim_end))
}

fn list(releases: &[&Release]) -> String {
    let one = |release: &&Release| format!("{} ({})", release.id, release.html_url);
    releases.iter().map(one).collect::<Vec<_>>().join(", ")
}
