//! What is judged of a tree, by table.

use kit::{Code, Plan as _};

use super::item::{Count, Names};
use super::observe::Seen;
use super::order::Order;
use super::plan::{COPY_TREE, Request, plan};

fn request() -> Request {
    Request { replace: false, order: Order::NewestLast, archive: false, allow_empty: false, same_sums: false }
}

fn names(all: &[&str]) -> Names {
    let mut names = Names::default();
    for name in all {
        names.add(*name);
    }
    names
}

fn seen() -> Seen {
    Seen {
        from: "s3://old/sync/".into(),
        to: "s3://new/sync/".into(),
        listed: Count { objects: 3, bytes: 30 },
        same: Count { objects: 1, bytes: 10 },
        missing: Count { objects: 2, bytes: 20 },
        missing_names: names(&["a", "b"]),
        ..Seen::default()
    }
}

fn refused(request: Request, seen: &Seen, says: &[&str]) {
    let failure = plan(request, seen).unwrap_err();
    assert_eq!(failure.code(), Code::Refused);
    let text = format!("{failure:?}");
    for part in says {
        assert!(text.contains(part), "`{part}` is not in {text}");
    }
}

#[test]
fn a_tree_is_one_action() {
    let plan = plan(request(), &seen()).unwrap();
    let actions = plan.actions();
    assert_eq!(actions.len(), 1);
    assert_eq!(actions[0].id, COPY_TREE);
    assert!(actions[0].does.starts_with("copy 2 objects (20 B) from s3://old/sync/ to s3://new/sync/"));
    let detail = actions[0].detail.as_deref().unwrap();
    assert!(detail.contains("3 objects (30 B) listed, 1 object (10 B) there already"), "{detail}");
    let all = Seen { same: Count { objects: 3, bytes: 30 }, missing: Count::default(), ..seen() };
    assert!(super::plan::plan(request(), &all).unwrap().actions().is_empty());
}

#[test]
fn what_would_lose_or_mislead_is_refused() {
    let none = Seen { listed: Count::default(), ..Seen::default() };
    refused(request(), &none, &["nothing to copy"]);
    refused(request(), &Seen { archived: names(&["cold (GLACIER)"]), ..seen() }, &["cold (GLACIER)"]);
    refused(request(), &Seen { too_long: names(&["kkk"]), ..seen() }, &["kkk", "1024"]);
    let mut unnameable = seen();
    unnameable.skipped.unnameable.add("\\xff");
    refused(request(), &unnameable, &["\\xff", "UTF-8"]);
    let one = Count { objects: 1, bytes: 1 };
    let other = Seen { different: one, different_names: names(&["c (1 bytes against 2)"]), ..seen() };
    refused(request(), &other, &["c (1 bytes against 2)", "--replace"]);
    let replace = plan(Request { replace: true, ..request() }, &other).unwrap();
    assert_eq!(replace.written(), Count { objects: 3, bytes: 21 });
    assert!(serde_json::to_string(&replace.notes()).unwrap().contains("without versions they are lost"));
}

#[test]
fn an_archive_is_made_once_and_of_something() {
    let archive = Request { archive: true, order: Order::Any, ..request() };
    let ids: Vec<String> =
        plan(archive, &seen()).unwrap().actions().into_iter().map(|action| action.id).collect();
    assert_eq!(ids, ["copy-tree", "write-sums"]);
    let one = Count { objects: 1, bytes: 1 };
    refused(
        archive,
        &Seen { extra: one, extra_names: names(&["theirs"]), ..seen() },
        &["not empty", "theirs"],
    );
    refused(archive, &Seen { different: one, different_names: names(&["grown"]), ..seen() }, &["grown"]);
    refused(archive, &Seen { has_sums: true, ..seen() }, &["SHA256SUMS"]);
    refused(archive, &Seen { own_sums: true, ..seen() }, &["has a file SHA256SUMS", "rename"]);
    let whole = Seen { has_sums: true, same: seen().listed, missing: Count::default(), ..seen() };
    refused(archive, &whole, &["SHA256SUMS"]);
    assert!(plan(Request { same_sums: true, ..archive }, &whole).unwrap().actions().is_empty());
    let none = Seen { listed: Count::default(), same: Count::default(), missing: Count::default(), ..seen() };
    refused(archive, &none, &["nothing to copy"]);
    let allowed = Request { allow_empty: true, ..archive };
    assert!(plan(allowed, &none).unwrap().actions().is_empty());
}
