//! The decision: what is missing, and what is in the way.

use kit::{Action, Failure, Note, Plan};
use serde::Serialize;

use crate::observe::{Observed, Release, Tag};

pub(crate) const TAG_OBJECT: &str = "create-tag-object";
pub(crate) const TAG: &str = "create-tag";
pub(crate) const RELEASE: &str = "create-release";
pub(crate) const PUBLISH: &str = "publish-release";

/// What is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) repository: String,
    pub(crate) tag: String,
    pub(crate) commit: String,
    pub(crate) message: String,
    /// Why the version is the next, in lines.
    pub(crate) why: Vec<String>,
    /// Absent with `--no-release`.
    pub(crate) release: Option<Wanted>,
}

/// The release that is wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// As given; the default is the tag's name.
    pub(crate) name: Option<String>,
    /// As given; the default is made from the commit.
    pub(crate) notes: Option<String>,
    pub(crate) draft: bool,
    pub(crate) prerelease: bool,
}

/// What will be done.
#[derive(Debug, Serialize)]
pub(crate) struct TagRelease {
    repository: String,
    tag: String,
    commit: String,
    subject: String,
    why: Vec<String>,
    /// The message of the tag to create; absent when the tag is there.
    pub(crate) create_tag: Option<String>,
    pub(crate) release: Step,
    pub(crate) notes: Vec<Note>,
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

impl Plan for TagRelease {
    fn actions(&self) -> Vec<Action> {
        let Self { repository, tag, commit, .. } = self;
        let mut actions = Vec::new();
        if let Some(message) = &self.create_tag {
            let mut detail = format!("commit:  {}\nmessage: {message}", self.subject);
            if !self.why.is_empty() {
                detail.push_str(&format!("\n{}", self.why.join("\n")));
            }
            actions.push(
                Action::new(
                    TAG_OBJECT,
                    format!("write the annotation of {tag} on {commit} in {repository}"),
                    "nothing is left to take back: without the tag it can't be seen, and GitHub drops it in time",
                )
                .detail(detail),
            );
            actions.push(Action::new(
                TAG,
                format!("create the tag {tag}"),
                "delete the tag, if it still is the same",
            ));
        }
        match &self.release {
            Step::NotWanted | Step::Nothing { .. } => {}
            Step::Create { name, body, prerelease, publish } => {
                let kind = if *prerelease { "pre-release" } else { "release" };
                actions.push(
                    Action::new(
                        RELEASE,
                        format!("create the {kind} {name} of {tag} as a draft"),
                        "delete the release, if it still is the same",
                    )
                    .detail(body.clone()),
                );
                if *publish {
                    actions.push(Action::new(
                        PUBLISH,
                        format!("publish the {kind} {name}"),
                        "delete the release, unless the repository's releases are immutable",
                    ));
                }
            }
            Step::Publish { id, name } => actions.push(Action::new(
                PUBLISH,
                format!("publish the draft release {name} (number {id}) that is there"),
                "make it a draft again, unless the repository's releases are immutable",
            )),
        }
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
    let create_tag = match &observed.tag {
        None => Some(request.message.clone()),
        Some(there) if there.commit.as_ref() == Some(commit) => {
            if there.object == *commit {
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
    if matches!(release, Step::Create { publish: true, .. } | Step::Publish { .. }) {
        notes.push(Note::Info(
            "if the repository has immutable releases, publishing can't be undone and uses the tag's name up"
                .to_owned(),
        ));
    }
    Ok(TagRelease {
        repository: repository.clone(),
        tag: tag.clone(),
        commit: commit.clone(),
        subject: observed.subject.clone(),
        why: request.why.clone(),
        create_tag,
        release,
        notes,
    })
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

fn release(
    request: &Request,
    wanted: &Wanted,
    observed: &Observed,
    notes: &mut Vec<Note>,
) -> Result<Step, Failure> {
    let Request { tag, commit, .. } = request;
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
        [] => Ok(Step::Create {
            name: wanted.name.clone().unwrap_or_else(|| tag.clone()),
            body: wanted.notes.clone().unwrap_or_else(|| format!("{}\n\nCommit {commit}", observed.subject)),
            prerelease: wanted.prerelease,
            publish: !wanted.draft,
        }),
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

#[cfg(test)]
mod tests {
    use super::*;
    use kit::Code;

    const COMMIT: &str = "1111111111111111111111111111111111111111";
    const OTHER: &str = "2222222222222222222222222222222222222222";
    const OBJECT: &str = "3333333333333333333333333333333333333333";

    fn request(wanted: Option<Wanted>) -> Request {
        Request {
            repository: "acme/rally".into(),
            tag: "v2.1.0".into(),
            commit: COMMIT.into(),
            message: "v2.1.0".into(),
            why: Vec::new(),
            release: wanted,
        }
    }

    fn tag(object: &str, commit: &str) -> Option<Tag> {
        Some(Tag { object: object.into(), commit: Some(commit.into()) })
    }

    fn observed(tag: Option<Tag>, releases: Vec<Release>) -> Observed {
        Observed {
            default_branch: "main".into(),
            subject: "Vote twice".into(),
            tag,
            releases,
            history: None,
            gates: None,
        }
    }

    fn existing(id: u64, draft: bool) -> Release {
        Release {
            id,
            tag_name: "v2.1.0".into(),
            name: Some("v2.1.0".into()),
            body: Some("Notes\r\nof two lines".into()),
            draft,
            ..Release::default()
        }
    }

    fn ids(plan: &TagRelease) -> Vec<String> {
        plan.actions().into_iter().map(|action| action.id).collect()
    }

    #[test]
    fn what_is_missing_is_made_in_an_order_in_which_nobody_sees_half_a_release() {
        let plan_of = |wanted, seen| ids(&plan(&request(wanted), &seen).unwrap());
        let all = Some(Wanted::default());
        assert_eq!(plan_of(all.clone(), observed(None, vec![])), [TAG_OBJECT, TAG, RELEASE, PUBLISH]);
        assert_eq!(plan_of(None, observed(None, vec![])), [TAG_OBJECT, TAG]);
        // Killed after the tag, annotated or made by `git tag v2.1.0`.
        assert_eq!(plan_of(all.clone(), observed(tag(OBJECT, COMMIT), vec![])), [RELEASE, PUBLISH]);
        assert_eq!(plan_of(all.clone(), observed(tag(COMMIT, COMMIT), vec![])), [RELEASE, PUBLISH]);
        // Killed after the draft.
        assert_eq!(plan_of(all.clone(), observed(tag(OBJECT, COMMIT), vec![existing(7, true)])), [PUBLISH]);
        assert!(plan_of(all, observed(tag(OBJECT, COMMIT), vec![existing(7, false)])).is_empty());
        let draft = Some(Wanted { draft: true, ..Wanted::default() });
        assert_eq!(plan_of(draft.clone(), observed(None, vec![])), [TAG_OBJECT, TAG, RELEASE]);
        assert!(plan_of(draft, observed(tag(OBJECT, COMMIT), vec![existing(7, true)])).is_empty());
    }

    #[test]
    fn a_tag_on_another_commit_is_refused_with_both_shas() {
        let refused = plan(&request(None), &observed(tag(OBJECT, OTHER), vec![])).unwrap_err();
        assert_eq!(refused.code(), Code::Refused);
        let text = format!("{refused}: {}", refused.chain().join(""));
        assert!(text.contains(COMMIT) && text.contains(OTHER), "{text}");
        let tree = Some(Tag { object: OBJECT.into(), commit: None });
        assert_eq!(plan(&request(None), &observed(tree, vec![])).unwrap_err().code(), Code::Refused);
    }

    #[test]
    fn a_draft_with_other_words_than_those_given_is_not_published() {
        let draft = observed(None, vec![existing(7, true)]);
        let with = |name: Option<&str>, notes: Option<&str>| {
            let wanted = Wanted {
                name: name.map(str::to_owned),
                notes: notes.map(str::to_owned),
                ..Wanted::default()
            };
            plan(&request(Some(wanted)), &draft)
        };
        assert!(with(Some("v2.1.0"), Some("Notes\nof two lines\n")).is_ok());
        assert!(
            with(Some("Rally 2.1"), None)
                .unwrap_err()
                .chain()
                .join("")
                .contains("\"v2.1.0\" instead of \"Rally 2.1\"")
        );
        assert!(with(None, Some("Others")).unwrap_err().chain().join("").contains("notes are others"));
    }

    #[test]
    fn several_drafts_are_listed_and_refused() {
        let seen = observed(None, vec![existing(7, true), existing(8, true)]);
        let refused = plan(&request(Some(Wanted::default())), &seen).unwrap_err();
        let text = refused.chain().join("");
        assert!(text.contains('7') && text.contains('8'), "{text}");
    }

    #[test]
    fn publishing_says_when_it_cannot_be_undone() {
        let plan = plan(&request(Some(Wanted::default())), &observed(None, vec![])).unwrap();
        assert!(
            plan.notes().iter().any(|note| matches!(note, Note::Info(text) if text.contains("immutable")))
        );
    }
}
