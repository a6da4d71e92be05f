//! The judgement, as a table.

use kit::Code;

use super::*;
use crate::bump::Pending;
use crate::observe::Observed;
use crate::verify::verify;

const COMMIT: &str = "1111111111111111111111111111111111111111";
const OTHER: &str = "2222222222222222222222222222222222222222";
const OBJECT: &str = "3333333333333333333333333333333333333333";

fn request() -> Request {
    Request {
        repository: "acme/rally".into(),
        suffix: String::new(),
        tag: "v2.1.0".into(),
        commit: COMMIT.into(),
        message: "Rally 2.1".into(),
        why: Vec::new(),
        pending: None,
        signature: Some(Signature::default()),
        release: None,
    }
}

fn clone(tag: Option<LocalTag>) -> LocalClone {
    LocalClone {
        folder: "/src/rally".into(),
        git: "2.47.3".into(),
        remote: Remote { name: "origin".into(), urls: vec!["git@github.com:acme/rally.git".into()] },
        format: Format::Ssh,
        key: "/home/ada/.ssh/id.pub".into(),
        tagger: "Ada <ada@example.com>".into(),
        knows_signers: true,
        has_commit: true,
        tag,
    }
}

fn local(change: impl FnOnce(&mut LocalTag, &mut Object)) -> Option<LocalTag> {
    let mut object = Object {
        on: COMMIT.into(),
        on_kind: "commit".into(),
        name: "v2.1.0".into(),
        message: "Rally 2.1\n".into(),
        signed: Some(Format::Ssh),
    };
    let mut tag = LocalTag { sha: OBJECT.into(), object: None, checked: Some(Checked::Good("good".into())) };
    change(&mut tag, &mut object);
    tag.object.get_or_insert(object);
    Some(tag)
}

fn refused(request: &Request, clone: &LocalClone) -> String {
    let signature = request.signature.clone().unwrap();
    let failure = judge(request, &signature, clone).unwrap_err();
    assert_eq!(failure.code(), Code::Refused);
    format!("{failure:?}")
}

#[test]
fn a_local_tag_that_is_right_is_taken_and_every_other_refused() {
    let judged = |tag| judge(&request(), &Signature::default(), &clone(tag)).unwrap();
    assert_eq!(judged(None).object, None);
    assert_eq!(judged(local(|_, _| ())).object.as_deref(), Some(OBJECT));
    let alone = local(|tag, _| tag.checked = Some(Checked::KeyOnly("good".into())));
    assert_eq!(judged(alone).object.as_deref(), Some(OBJECT));
    let lightweight = Some(LocalTag { sha: COMMIT.into(), object: None, checked: None });
    for (tag, why) in [
        (lightweight, "on this commit, a lightweight one"),
        (local(|_, object| object.on = OTHER.into()), OTHER),
        (local(|_, object| object.on_kind = "tag".into()), "on the tag"),
        (local(|_, object| object.name = "v2.0.0".into()), "calls itself v2.0.0"),
        (local(|tag, _| tag.checked = None), "it is not signed"),
        (local(|tag, _| tag.checked = Some(Checked::Bad("expired".into()))), "expired"),
        (local(|_, object| object.message = "Rally 2.0\n".into()), "another message: Rally 2.0"),
    ] {
        let said = refused(&request(), &clone(tag));
        assert!(said.contains(why) && said.contains("git -C /src/rally tag -d v2.1.0"), "{why}: {said}");
    }
}

#[test]
fn a_commit_that_the_clone_has_not_is_fetched_only_if_this_step_made_it() {
    let absent = LocalClone { has_commit: false, ..clone(None) };
    assert!(refused(&request(), &absent).contains("git -C /src/rally fetch origin"));
    let from = Signature { from_branch: Some("main".into()), pushed: None };
    assert_eq!(judge(&request(), &from, &absent).unwrap().fetch.as_deref(), Some("main"));
    assert_eq!(judge(&request(), &from, &clone(None)).unwrap().fetch, None);
    let pending = Pending {
        branch: "main".into(),
        parent: COMMIT.into(),
        tree: OTHER.into(),
        message: "Release v2.1.0".into(),
        changes: Vec::new(),
    };
    let request = Request { pending: Some(pending), signature: Some(from.clone()), ..request() };
    assert_eq!(judge(&request, &from, &clone(None)).unwrap().fetch.as_deref(), Some("main"));
    assert!(refused(&request, &clone(local(|_, _| ()))).contains("still to be made"));
}

#[test]
fn the_object_that_was_pushed_is_the_one_to_be_seen() {
    let seen = |object: &str| Observed {
        default_branch: "main".into(),
        subject: "Vote twice".into(),
        tag: Some(Tag { object: object.into(), commit: Some(COMMIT.into()), verification: None }),
        releases: Vec::new(),
        moving: Vec::new(),
        history: None,
        gates: None,
        clone: None,
    };
    let pushed = Some(Signature { from_branch: None, pushed: Some(OBJECT.into()) });
    let request = Request { signature: pushed, ..request() };
    assert!(verify(&request, &seen(OBJECT)).is_ok());
    assert_eq!(verify(&request, &seen(OTHER)).unwrap_err().code(), Code::Unverified);
}

/// The reasons are those of <https://docs.github.com/en/rest/git/tags>.
#[test]
fn a_tag_that_is_there_is_never_replaced() {
    let tag = |verification| Tag { object: OBJECT.into(), commit: Some(COMMIT.into()), verification };
    let by_github = |verified, reason: &str| Some(Verification { verified, reason: reason.into() });
    let note = |it| match there(&request(), &tag(it)).unwrap() {
        Note::Info(text) | Note::Warning(text) => text,
    };
    assert!(note(by_github(true, "valid")).contains("verified by GitHub"));
    assert!(note(by_github(false, "unknown_key")).contains("add the public key"));
    assert!(note(by_github(false, "expired_key")).contains("expired_key"));
    for (unsigned, what) in [(None, "lightweight"), (by_github(false, "unsigned"), "without a signature")] {
        let failure = there(&request(), &tag(unsigned)).unwrap_err();
        assert_eq!(failure.code(), Code::Refused);
        let said = format!("{failure:?}");
        assert!(said.contains(what) && said.contains("without --sign"), "{said}");
    }
}
