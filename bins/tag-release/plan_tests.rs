//! The decision, as a table.

use kit::{Code, Note, Plan as _};

use crate::observe::{Observed, Release, Tag};
use crate::plan::{PUBLISH, RELEASE, Request, TAG, TAG_OBJECT, TagRelease, plan};
use crate::release::Wanted;

const COMMIT: &str = "1111111111111111111111111111111111111111";
const OTHER: &str = "2222222222222222222222222222222222222222";
const OBJECT: &str = "3333333333333333333333333333333333333333";

fn request(wanted: Option<Wanted>) -> Request {
    Request {
        repository: "acme/rally".into(),
        suffix: String::new(),
        tag: "v2.1.0".into(),
        commit: COMMIT.into(),
        message: "v2.1.0".into(),
        why: Vec::new(),
        pending: None,
        signature: None,
        release: wanted,
    }
}

fn tag(object: &str, commit: &str) -> Option<Tag> {
    Some(Tag { object: object.into(), commit: Some(commit.into()), verification: None })
}

fn observed(tag: Option<Tag>, releases: Vec<Release>) -> Observed {
    Observed {
        default_branch: "main".into(),
        subject: "Vote twice".into(),
        tag,
        releases,
        moving: vec![],
        history: None,
        gates: None,
        clone: None,
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
    let tree = Some(Tag { object: OBJECT.into(), commit: None, verification: None });
    assert_eq!(plan(&request(None), &observed(tree, vec![])).unwrap_err().code(), Code::Refused);
}

#[test]
fn a_draft_with_other_words_than_those_given_is_not_published() {
    let draft = observed(None, vec![existing(7, true)]);
    let with = |name: Option<&str>, notes: Option<&str>| {
        let wanted =
            Wanted { name: name.map(str::to_owned), notes: notes.map(str::to_owned), ..Wanted::default() };
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
    assert!(plan.notes().iter().any(|note| matches!(note, Note::Info(text) if text.contains("immutable"))));
}
