//! Versions counted from what GitHub has.

use crate::tests::{REPO, World};
use kit::Code;
use serde_json::json;

/// Puts commits on a branch, the last of them tested; answers it.
fn commits(world: &World, branch: &str, messages: &[&str]) -> String {
    let all: Vec<String> =
        messages.iter().map(|message| world.github.commit(REPO, branch, message)).collect();
    let sha = all.last().unwrap().clone();
    world.github.check_run(REPO, &sha, &json!({}));
    sha
}

fn tag(world: &World, tag: &str, sha: &str) {
    world.github.set_ref(REPO, &format!("refs/tags/{tag}"), sha);
}

fn commit_of(world: &World, tag: &str) -> Option<String> {
    let name = format!("refs/tags/{tag}");
    world.github.refs(REPO).into_iter().find(|(it, _)| *it == name).map(|(_, sha)| sha)
}

#[tokio::test]
async fn the_next_version_is_counted_tagged_and_told() {
    let mut world = World::new().await;
    tag(&world, "v1.9.0", &world.sha);
    let middle = commits(&world, "main", &["fix: keep votes"]);
    // Higher by name, on another line, of another scheme, a pre-release: none of them is the one before.
    tag(&world, "v1.10.0", &middle);
    tag(&world, "v9.0.0", &commits(&world, "hotfix", &["feat: hot"]));
    tag(&world, "v1.9.9", &world.sha);
    tag(&world, "sprint12", &middle);
    tag(&world, "v2.0.0-rc.1", &middle);
    world.sha = commits(&world, "main", &["feat(polls): vote twice", "docs: how"]);
    let ran = world.run(&["--bump", "auto", "--spelling", "image=R_{major}_{minor}_{patch}"]).await;
    assert!(ran.result.unwrap().changed);
    let told = |name: &str| ran.outputs.get(name).map(String::as_str);
    assert_eq!(told("tag"), Some("v1.11.0"));
    assert_eq!((told("version"), told("previous-version")), (Some("1.11.0"), Some("1.10.0")));
    assert_eq!((told("major"), told("minor"), told("patch")), (Some("1"), Some("11"), Some("0")));
    assert_eq!((told("bump"), told("spellings")), (Some("minor"), Some(r#"{"image":"R_1_11_0"}"#)));
    assert_eq!(commit_of(&world, "v1.11.0").as_ref(), Some(&world.sha));
    world.github.forget_calls();
    let again = world.run(&["--bump", "auto", "--spelling", "image=R_{major}_{minor}_{patch}"]).await;
    assert!(!again.result.unwrap().changed);
    assert_eq!(again.outputs, ran.outputs);
    assert_eq!(world.writes(), [""; 0]);
}

#[tokio::test]
async fn a_run_that_was_cut_off_after_its_tag_goes_on_with_that_version() {
    let mut world = World::new().await;
    tag(&world, "v0.4.0", &world.sha);
    world.sha = commits(&world, "main", &["feat!: count anew"]);
    world.run(&["--bump", "auto", "--no-release"]).await.result.unwrap();
    assert_eq!(commit_of(&world, "v0.5.0").as_ref(), Some(&world.sha));
    let ran = world.run(&["--bump", "auto"]).await;
    assert!(ran.result.unwrap().changed);
    assert_eq!(ran.outputs["released"], "true");
    assert_eq!(world.github.releases(REPO)[0]["tag_name"], "v0.5.0");
}

#[tokio::test]
async fn nothing_to_release_is_no_failure_unless_asked() {
    let mut world = World::untested().await;
    tag(&world, "v1.0.0", &world.sha);
    world.sha = world.github.commit(REPO, "main", "docs: how");
    let ran = world.run(&["--bump", "auto"]).await;
    assert!(!ran.result.unwrap().changed);
    assert_eq!((ran.outputs["released"].as_str(), ran.outputs["bump"].as_str()), ("false", "none"));
    assert_eq!(ran.outputs["previous-version"], "1.0.0");
    let (code, told) = world.run(&["--bump", "auto", "--fail-if-nothing"]).await.refused();
    assert_eq!(code, Code::Refused);
    assert!(told.contains("1 commit asks for no release"), "{told}");
    assert_eq!(world.writes(), [""; 0]);
}

#[tokio::test]
async fn other_schemes_count_their_own_way() {
    let mut world = World::new().await;
    tag(&world, "v38.0", &world.sha);
    tag(&world, "sprint12", &world.sha);
    world.sha = commits(&world, "main", &["Whatever"]);
    world.run(&["--bump", "auto", "--scheme", "vN.M"]).await.result.unwrap();
    world.run(&["--bump", "auto", "--scheme", "sprintN", "--no-release"]).await.result.unwrap();
    assert_eq!(commit_of(&world, "v39.0").as_ref(), Some(&world.sha));
    assert_eq!(commit_of(&world, "sprint13").as_ref(), Some(&world.sha));
}

#[tokio::test]
async fn a_first_version_is_asked_for_and_a_prerelease_only_counted_on_request() {
    let mut world = World::new().await;
    let (code, told) = world.run(&["--bump", "auto"]).await.refused();
    assert_eq!(code, Code::Refused);
    assert!(told.contains("no tag written as v{semver}"), "{told}");
    tag(&world, "v1.0.0-rc.1", &world.sha);
    assert_eq!(world.run(&["--bump", "auto"]).await.refused().0, Code::Refused);
    world.sha = commits(&world, "main", &["fix: it"]);
    let ran = world.run(&["--bump", "auto", "--from-prerelease"]).await;
    ran.result.unwrap();
    assert_eq!(ran.outputs["tag"], "v1.0.0");
}

#[tokio::test]
async fn many_commits_are_read_through_every_page() {
    let mut world = World::new().await;
    tag(&world, "v1.0.0", &world.sha);
    let mut messages = vec!["docs: how"; 230];
    messages[0] = "feat: the oldest";
    world.sha = commits(&world, "main", &messages);
    let ran = world.run(&["--bump", "auto"]).await;
    ran.result.unwrap();
    assert_eq!(ran.outputs["tag"], "v1.1.0");
}

#[tokio::test]
async fn a_version_that_another_commit_has_is_refused_with_both() {
    let mut world = World::new().await;
    tag(&world, "v1.0.0", &world.sha);
    let other = commits(&world, "hotfix", &["fix: hot"]);
    tag(&world, "v1.0.1", &other);
    world.sha = commits(&world, "main", &["fix: it"]);
    let (code, told) = world.run(&["--bump", "auto"]).await.refused();
    assert_eq!(code, Code::Refused);
    assert!(told.contains(&other) && told.contains(&world.sha), "{told}");
    assert_eq!(world.writes(), [""; 0]);
}

#[tokio::test]
async fn flags_that_contradict_each_other_are_refused_and_false_is_none() {
    let world = World::new().await;
    for flags in [
        &["--draft", "--move-tag", "v2"][..],
        &["--no-release", "--asset", "a.zip"],
        &["--generate-notes", "--notes", "x"],
        &["--any-branch", "--branch", "main"],
        &["--no-checks", "--check", "test"],
        &["--any-branch", "--version-file", "a=json:version"],
        &["--any-branch", "--submodule", "lib=acme/x"],
    ] {
        let (code, told) = world.run(flags).await.refused();
        assert_eq!(code, Code::Usage, "{told}");
        assert!(told.contains("does not go with"), "{told}");
    }
    assert_eq!(world.writes(), [""; 0]);
    // As a workflow passes inputs on.
    let all_false = [
        "--draft=false",
        "--no-release=false",
        "--generate-notes=false",
        "--any-branch=false",
        "--no-checks=false",
    ];
    world
        .run(
            &[&all_false[..], &["--move-tag", "v2", "--notes", "x", "--branch", "main", "--check", "test"]]
                .concat(),
        )
        .await
        .result
        .unwrap();
    world.assert_released();
}
