//! The decision: what is missing, and what is in the way.

use kit::{Action, Failure, Note, Plan};
use serde::Serialize;

use crate::assets::{self, Upload};
use crate::bump::Pending;
use crate::moving::{self, Move};
use crate::observe::{Observed, Tag};
use crate::release::{Step, Wanted, release};
use crate::sign::{self, Signature, Signing};

pub(crate) const COMMIT: &str = "write-version-commit";
pub(crate) const BRANCH: &str = "move-branch";
pub(crate) const TAG_OBJECT: &str = "create-tag-object";
pub(crate) const TAG: &str = "create-tag";
pub(crate) const RELEASE: &str = "create-release";
pub(crate) const PUBLISH: &str = "publish-release";

/// What tells the actions of one repository from those of others.
pub(crate) fn suffix(repository: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    format!("-in-{}", repository.chars().map(plain).collect::<String>())
}

/// What is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) repository: String,
    /// Behind the ids of its actions, where it is one of several.
    pub(crate) suffix: String,
    pub(crate) tag: String,
    pub(crate) commit: String,
    pub(crate) message: String,
    /// Why the version is the next, in lines.
    pub(crate) why: Vec<String>,
    /// What the tag will be on, instead of the commit: its child with the version's files.
    pub(crate) pending: Option<Pending>,
    /// Present where the tag is to be signed, by the local git.
    pub(crate) signature: Option<Signature>,
    /// Absent with `--no-release`.
    pub(crate) release: Option<Wanted>,
}

/// What will be done.
#[derive(Debug, Serialize)]
pub(crate) struct TagRelease {
    repository: String,
    suffix: String,
    tag: String,
    commit: String,
    subject: String,
    why: Vec<String>,
    version_commit: Option<Pending>,
    /// The message of the tag to create by the API; absent when the tag is there.
    pub(crate) create_tag: Option<String>,
    /// How the tag comes there with a signature, instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sign: Option<Signing>,
    pub(crate) release: Step,
    pub(crate) uploads: Vec<Upload>,
    pub(crate) moves: Vec<Move>,
    pub(crate) notes: Vec<Note>,
}

impl Plan for TagRelease {
    fn actions(&self) -> Vec<Action> {
        let Self { repository, tag, commit, .. } = self;
        let mut actions = Vec::new();
        let mut on = commit.as_str();
        if let Some(Pending { branch, parent, changes, .. }) = &self.version_commit {
            on = "that commit";
            let told: Vec<String> = changes.iter().flat_map(|change| change.told.clone()).collect();
            actions.push(
                Action::new(
                    COMMIT,
                    format!("write a commit on {parent} that differs from it in this alone"),
                    "nothing is left to take back: without a branch it can't be seen, and GitHub drops it in time",
                )
                .detail(told.join("\n")),
            );
            actions.push(Action::new(
                BRANCH,
                format!("move the branch {branch} to it"),
                "add a commit in which these files are as before; the history keeps both",
            ));
        }
        let detail = |message: &str| {
            let mut detail = format!("commit:  {}\nmessage: {message}", self.subject);
            if !self.why.is_empty() {
                detail.push_str(&format!("\n{}", self.why.join("\n")));
            }
            detail
        };
        if let Some(signing) = &self.sign {
            actions.extend(signing.actions(tag, on, repository, &detail(&signing.message)));
        }
        if let Some(message) = &self.create_tag {
            actions.push(
                Action::new(
                    format!("{TAG_OBJECT}{}", self.suffix),
                    format!("write the annotation of {tag} on {on} in {repository}"),
                    "nothing is left to take back: without the tag it can't be seen, and GitHub drops it in time",
                )
                .detail(detail(message)),
            );
            let place = if self.suffix.is_empty() { String::new() } else { format!(" in {repository}") };
            actions.push(Action::new(
                format!("{TAG}{}", self.suffix),
                format!("create the tag {tag}{place}"),
                "delete the tag, if it still is the same",
            ));
        }
        if let Step::Create { name, body, prerelease, .. } = &self.release {
            let kind = if *prerelease { "pre-release" } else { "release" };
            actions.push(
                Action::new(
                    RELEASE,
                    if name == tag {
                        format!("create the {kind} {name} as a draft")
                    } else {
                        format!("create the {kind} {name:?} of {tag} as a draft")
                    },
                    "delete the release, if it still is the same",
                )
                .detail(body.clone()),
            );
        }
        for Upload { id, file, replaces } in &self.uploads {
            let instead = replaces.map_or("", |_| ", in place of one that broke off");
            actions.push(
                Action::new(
                    id,
                    format!("upload {} to the draft{instead}", file.name),
                    "delete the file, if it still is the same",
                )
                .detail(format!("{} bytes, {}", file.size, file.digest)),
            );
        }
        match &self.release {
            Step::Create { name, prerelease, publish: true, .. } => {
                let kind = if *prerelease { "pre-release" } else { "release" };
                actions.push(Action::new(
                    PUBLISH,
                    format!("publish the {kind} {name}"),
                    "delete the release, unless the repository's releases are immutable",
                ));
            }
            Step::Publish { id, name } => actions.push(Action::new(
                PUBLISH,
                format!("publish the draft release {name} (number {id}) that is there"),
                "make it a draft again, unless the repository's releases are immutable",
            )),
            Step::NotWanted | Step::Nothing { .. } | Step::Create { .. } => {}
        }
        actions.extend(self.moves.iter().map(|it| it.action(tag)));
        actions
    }

    fn notes(&self) -> Vec<Note> {
        self.notes.clone()
    }

    fn unchanged(&self) -> String {
        let Self { repository, tag, commit, .. } = self;
        match self.release {
            Step::NotWanted => format!("{tag} is on {commit} in {repository}"),
            _ => format!("{tag} is on {commit} in {repository}, with its release"),
        }
    }
}

pub(crate) fn plan(request: &Request, observed: &Observed) -> Result<TagRelease, Failure> {
    let Request { repository, tag, commit, .. } = request;
    let mut notes = Vec::new();
    let mut sign = None;
    let create_tag = match &observed.tag {
        None => match (&request.signature, &observed.clone) {
            (Some(signature), Some(clone)) => {
                let signing = sign::judge(request, signature, clone)?;
                notes.extend(signing.notes(tag));
                sign = Some(signing);
                None
            }
            _ => Some(request.message.clone()),
        },
        Some(there) if request.pending.is_some() => return Err(bare(request, there)),
        Some(there) if there.commit.as_ref() == Some(commit) => {
            if request.signature.is_some() {
                notes.push(sign::there(request, there)?);
            } else if there.object == *commit {
                notes.push(Note::Info(format!("{tag} is there as a lightweight tag and is left so")));
            }
            None
        }
        Some(there) => return Err(elsewhere(request, there)),
    };
    let release = match &request.release {
        None => Step::NotWanted,
        Some(wanted) => release(request, wanted, observed, &mut notes)?,
    };
    let uploads = match &request.release {
        None => Vec::new(),
        Some(wanted) => {
            let there = observed.releases.iter().find(|there| release.id() == Some(there.id));
            assets::missing(&wanted.assets, there)?
        }
    };
    if matches!(release, Step::Create { publish: true, .. } | Step::Publish { .. }) {
        notes.push(Note::Info(
            "if the repository has immutable releases, publishing can't be undone and uses the tag's name up"
                .to_owned(),
        ));
    }
    Ok(TagRelease {
        repository: repository.clone(),
        suffix: request.suffix.clone(),
        tag: tag.clone(),
        commit: commit.clone(),
        subject: observed.subject.clone(),
        why: request.why.clone(),
        version_commit: request.pending.clone(),
        create_tag,
        sign,
        release,
        uploads,
        moves: moving::judge(request, &observed.moving)?,
        notes,
    })
}

/// The tag is there, and what it leads to has not the version in its files.
fn bare(request: &Request, there: &Tag) -> Failure {
    let Request { repository, tag, .. } = request;
    Failure::refused(format!("commit the version files for {tag} in {repository}"))
        .because(format!(
            "{tag} is there already, on {}, and the version files of the commit to tag are others",
            there.commit.as_ref().unwrap_or(&there.object)
        ))
        .help("tags are never moved: choose another version, or leave --version-file out to go on with the tag as it is")
}

fn elsewhere(request: &Request, there: &Tag) -> Failure {
    let Request { repository, tag, commit, .. } = request;
    let on = there.commit.as_ref().map_or_else(
        || format!("the object {}, which is no commit", there.object),
        |commit| format!("the commit {commit}"),
    );
    Failure::refused(format!("tag {commit} as {tag} in {repository}"))
        .because(format!("{tag} is there already, on {on}"))
        .help("tags are never moved: choose another --tag, or --commit with the commit that has it")
}
