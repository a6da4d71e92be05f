//! Tags that move, against a GitHub that answers as documented.

use crate::tests::{REPO, World};
use futures::future::join_all;
use kit::Code;
use serde_json::json;
use testkit::github::Fault;

const FLAGS: [&str; 4] = ["--move-tag", "v2", "--move-tag", "v2.1"];

/// `v2` is on the release before; `v2.1` is not there yet.
async fn world() -> (World, String) {
    let mut world = World::new().await;
    let before = world.sha.clone();
    world.github.set_ref(REPO, "refs/tags/v2", &before);
    world.sha = world.github.commit(REPO, "main", "feat: more");
    world.github.check_run(REPO, &world.sha, &json!({}));
    (world, before)
}

fn at(world: &World, tag: &str) -> Option<String> {
    let name = format!("refs/tags/{tag}");
    world.github.refs(REPO).into_iter().find(|(it, _)| *it == name).map(|(_, sha)| sha)
}

#[tokio::test]
async fn moving_tags_follow_the_release_and_undo_puts_them_back() {
    let (world, before) = world().await;
    let receipt = world.run(&FLAGS).await.receipt.unwrap();
    world.assert_released();
    for tag in ["v2", "v2.1"] {
        assert_eq!(at(&world, tag).as_ref(), Some(&world.sha));
    }
    world.github.forget_calls();
    assert!(!world.run(&FLAGS).await.result.unwrap().changed);
    assert_eq!(world.writes(), [""; 0]);
    world.undo(&receipt).await.result.unwrap();
    assert_eq!((at(&world, "v2"), at(&world, "v2.1"), world.tag()), (Some(before), None, None));
    assert!(!world.undo(&receipt).await.result.unwrap().changed);
}

#[tokio::test]
async fn a_broken_move_is_made_once_or_by_the_next_run() {
    let refs = [("PATCH", "/git/refs/tags/v2"), ("POST", "/git/refs")];
    let faults = refs.map(|(method, path)| [Fault::reset(method, path), Fault::reset(method, path).after()]);
    let runs = faults.concat().into_iter().map(async |fault| {
        let (world, _) = world().await;
        world.github.fault(fault.clone().nth(1));
        world.run(&FLAGS).await.result.unwrap();
        let (world, _) = self::world().await;
        world.github.fault(fault);
        // What took effect is seen, and gone on with.
        let _ = world.run(&FLAGS).await.result;
        world.github.clear_faults();
        world.run(&FLAGS).await.result.unwrap();
        assert_eq!(at(&world, "v2"), at(&world, "v2.1"));
        assert_eq!(at(&world, "v2").as_ref(), Some(&world.sha));
    });
    join_all(runs).await;
}

#[tokio::test]
async fn a_tag_is_not_moved_back_or_sideways() {
    let (world, _) = world().await;
    let newer = world.github.commit(REPO, "main", "feat: newest");
    world.github.set_ref(REPO, "refs/tags/v2", &newer);
    let (code, told) = world.run(&FLAGS).await.refused();
    assert_eq!(code, Code::Refused);
    assert!(told.contains(&newer) && told.contains("forward only"), "{told}");
    let (code, told) = world.run(&["--move-tag", "v2.1.0"]).await.refused();
    assert_eq!(code, Code::Usage);
    assert!(told.contains("the release's own"), "{told}");
    assert_eq!(world.writes(), [""; 0]);
}

#[tokio::test]
async fn a_tag_leaves_a_lower_version_whose_commit_is_beside_the_branch() {
    let (world, before) = world().await;
    // Each release of an action is main's commit with one change, on a branch of its own.
    world.github.set_ref(REPO, "refs/heads/releases/2.0.9", &before);
    let side = world.github.commit(REPO, "releases/2.0.9", "the actions name the images by digest");
    world.github.set_ref(REPO, "refs/tags/v2", &side);
    let (code, told) = world.run(&["--move-tag", "v2"]).await.refused();
    assert_eq!(code, Code::Refused);
    assert!(told.contains("no lower version has"), "{told}");
    assert_eq!(world.writes(), [""; 0]);
    world.github.set_ref(REPO, "refs/tags/v2.0.9", &side);
    let receipt = world.run(&["--move-tag", "v2"]).await.receipt.unwrap();
    assert_eq!(at(&world, "v2").as_ref(), Some(&world.sha));
    world.undo(&receipt).await.result.unwrap();
    assert_eq!(at(&world, "v2"), Some(side));
}

#[tokio::test]
async fn undo_leaves_a_tag_that_somebody_moved_on() {
    let (world, _) = world().await;
    let receipt = world.run(&FLAGS).await.receipt.unwrap();
    let newer = world.github.commit(REPO, "main", "feat: newest");
    world.github.set_ref(REPO, "refs/tags/v2", &newer);
    world.github.forget_calls();
    let (code, told) = world.undo(&receipt).await.refused();
    assert_eq!(code, Code::Refused);
    assert!(told.contains(&newer), "{told}");
    assert_eq!(world.writes(), [""; 0]);
}

#[tokio::test]
async fn a_run_that_only_moved_a_tag_is_taken_back() {
    let (world, before) = world().await;
    world.run(&[]).await.result.unwrap();
    let receipt = world.run(&FLAGS).await.receipt.unwrap();
    assert_eq!(at(&world, "v2").as_ref(), Some(&world.sha));
    world.undo(&receipt).await.result.unwrap();
    assert_eq!((at(&world, "v2"), world.tag()), (Some(before), Some(world.sha.clone())));
}
