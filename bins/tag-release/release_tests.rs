//! Files and notes of a release, against a GitHub that answers as documented.

use std::path::PathBuf;

use crate::tests::{REPO, TAG, World};
use kit::Code;
use serde_json::{Value, json};
use testkit::github::Fault;

/// A folder that is gone when the test is.
struct Files(PathBuf);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("cutover-files-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for (name, content) in files {
            std::fs::write(folder.join(name), content).unwrap();
        }
        Self(folder)
    }

    fn flag(&self, name: &str) -> String {
        format!("--asset={}", self.0.join(name).display())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn assets(world: &World) -> Vec<(String, String)> {
    let release = world.github.releases(REPO).pop().unwrap_or_default();
    let text = |asset: &Value, name: &str| asset[name].as_str().unwrap_or_default().to_owned();
    let assets = release["assets"].as_array().cloned().unwrap_or_default();
    assets.iter().map(|asset| (text(asset, "name"), text(asset, "state"))).collect()
}

fn uploaded(names: &[&str]) -> Vec<(String, String)> {
    names.iter().map(|name| ((*name).to_owned(), "uploaded".to_owned())).collect()
}

#[tokio::test]
async fn files_are_there_before_anybody_sees_the_release() {
    let world = World::new().await;
    let files = Files::new(&[("rally.jar", "jar"), ("rally.jar.sha256", "sum")]);
    let flags = [&*files.flag("rally.jar"), &*files.flag("rally.jar.sha256")];
    assert!(world.run(&flags).await.result.unwrap().changed);
    world.assert_released();
    assert_eq!(assets(&world), uploaded(&["rally.jar", "rally.jar.sha256"]));
    let writes = world.writes();
    let publish = writes.iter().position(|write| write.starts_with("PATCH /releases/")).unwrap();
    assert_eq!(publish, writes.len() - 1, "{writes:?}");
    world.github.forget_calls();
    assert!(!world.run(&flags).await.result.unwrap().changed);
    assert_eq!(world.writes(), [""; 0]);
    // One that was forgotten comes too late.
    let late = Files::new(&[("late.txt", "late")]);
    let (code, told) = world.run(&[&late.flag("late.txt")]).await.refused();
    assert_eq!(code, Code::Refused);
    assert!(told.contains("the release is published, and does not have it"), "{told}");
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_done_once_more_and_a_whole_one_kept() {
    for fault in [
        Fault::reset("POST", "/assets").nth(1),
        Fault::reset("POST", "/assets").after().nth(1),
        Fault::status("POST", "/assets", 502, "Bad Gateway").nth(1),
        Fault::status("POST", "/assets", 502, "Bad Gateway").after().nth(1),
    ] {
        let world = World::new().await;
        let files = Files::new(&[("rally.jar", "jar")]);
        world.github.fault(fault.clone());
        let ran = world.run(&[&files.flag("rally.jar")]).await;
        assert!(ran.result.is_ok(), "{fault:?}: {:?}", ran.result);
        world.assert_released();
        assert_eq!(assets(&world), uploaded(&["rally.jar"]));
    }
    let world = World::new().await;
    let files = Files::new(&[("rally.jar", "jar"), ("b.txt", "b")]);
    let flags = [&*files.flag("rally.jar"), &*files.flag("b.txt")];
    world.github.fault(Fault::reset("POST", "/assets").from(2));
    assert!(world.run(&flags).await.result.unwrap_err().is_transient());
    assert_eq!(world.github.releases(REPO)[0]["draft"], json!(true));
    world.github.clear_faults();
    world.github.forget_calls();
    world.run(&flags).await.result.unwrap();
    world.assert_released();
    assert_eq!(assets(&world), uploaded(&["rally.jar", "b.txt"]));
    assert_eq!(world.writes().len(), 2, "{:?}", world.writes());
}

#[tokio::test]
async fn what_an_upload_left_half_done_is_replaced_and_another_file_is_not() {
    let world = World::new().await;
    world.run(&["--draft"]).await.result.unwrap();
    let id = world.github.releases(REPO)[0]["id"].as_u64().unwrap();
    let files = Files::new(&[("rally.jar", "jar")]);
    let half =
        json!({"assets": [{"id": 7, "name": "rally.jar", "state": "starter", "size": 0, "digest": null}]});
    world.github.edit_release(REPO, id, &half);
    world.run(&[&files.flag("rally.jar")]).await.result.unwrap();
    assert_eq!(assets(&world), uploaded(&["rally.jar"]));

    let world = World::new().await;
    world.run(&["--draft"]).await.result.unwrap();
    let id = world.github.releases(REPO)[0]["id"].as_u64().unwrap();
    let other = json!({"assets": [{"id": 7, "name": "rally.jar", "state": "uploaded", "size": 3, "digest": "sha256:00"}]});
    world.github.edit_release(REPO, id, &other);
    world.github.forget_calls();
    let (code, told) = world.run(&[&files.flag("rally.jar")]).await.refused();
    assert_eq!(code, Code::Refused);
    assert!(told.contains("sha256:00") && told.contains("delete the wrong one"), "{told}");
    assert_eq!(world.writes(), [""; 0]);
}

#[tokio::test]
async fn undo_takes_the_files_too_and_leaves_those_of_others() {
    let world = World::new().await;
    let files = Files::new(&[("rally.jar", "jar")]);
    let receipt = world.run(&[&files.flag("rally.jar")]).await.receipt.unwrap();
    world.undo(&receipt).await.result.unwrap();
    assert!(world.github.releases(REPO).is_empty());
    // Added to a draft that was there: the draft stays.
    let world = World::new().await;
    world.run(&["--draft"]).await.result.unwrap();
    let receipt = world.run(&[&files.flag("rally.jar")]).await.receipt.unwrap();
    world.undo(&receipt).await.result.unwrap();
    assert_eq!(world.github.releases(REPO)[0]["draft"], json!(true));
    assert_eq!(assets(&world), []);
}

#[tokio::test]
async fn immutable_releases_are_explained() {
    let world = World::new().await;
    world.github.immutable_releases(REPO);
    let receipt = world.run(&[]).await.receipt.unwrap();
    let (code, told) = world.undo(&receipt).await.refused();
    assert_eq!(code, Code::Refused);
    assert!(told.contains("immutable"), "{told}");
    // Deleted by hand: the name stays used.
    let world = World::new().await;
    let used = "Release.tag_name tag_name was used by an immutable release";
    world.github.fault(Fault::status("PATCH", "", 422, used));
    let (_, told) = world.run(&[]).await.refused();
    assert!(told.contains("choose another version"), "{told}");
}

#[tokio::test]
async fn notes_are_made_from_the_commits_and_given_ones_beat_them() {
    let mut world = World::new().await;
    world.github.set_ref(REPO, "refs/tags/v2.0.3", &world.sha);
    world.github.commit(REPO, "main", "feat(polls): vote twice (#12)");
    world.sha = world.github.commit(REPO, "main", "ci: faster");
    world.github.check_run(REPO, &world.sha, &json!({}));
    let ran = world.run(&["--generate-notes"]).await;
    ran.result.unwrap();
    assert_eq!((&*ran.outputs["previous-version"], &*ran.outputs["bump"]), ("2.0.3", "minor"));
    let body = world.github.releases(REPO)[0]["body"].as_str().unwrap().to_owned();
    assert!(body.starts_with("## Features\n\n- **polls:** vote twice (#12) ("), "{body}");
    assert!(body.contains(&format!("compare/v2.0.3...{TAG}")), "{body}");
    let (code, told) = world.run(&["--generate-notes", "--scheme", "sprintN"]).await.refused();
    assert_eq!(code, Code::Usage);
    assert!(told.contains("not written as sprint{major}"), "{told}");
}

#[tokio::test]
async fn a_workflows_own_token_is_warned_of() {
    let world = World::new().await;
    let job = [
        ("GITHUB_SHA", &*world.sha),
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_TOKEN", testkit::github::APP_TOKEN),
    ];
    let ran = world.run_in(&job, &[]).await;
    ran.result.unwrap();
    assert!(ran.story.iter().any(|line| line.contains("dispatch-workflow")), "{:?}", ran.story);
}

#[tokio::test]
async fn a_correction_of_an_older_line_is_not_the_latest_release() {
    for (latest, then) in [("v3.0.0", "v3.0.0"), ("v2.0.9", TAG)] {
        let world = World::new().await;
        world.github.set_latest(REPO, latest);
        world.run(&[]).await.result.unwrap();
        world.assert_released();
        assert_eq!(world.github.latest(REPO).as_deref(), Some(then));
    }
}

#[tokio::test]
async fn notes_that_github_would_not_take_are_refused_before_anything() {
    let world = World::new().await;
    let (code, told) = world.run(&["--notes", &"n".repeat(125_001)]).await.refused();
    assert_eq!(code, Code::Refused);
    assert!(told.contains("125001 characters"), "{told}");
    assert_eq!(world.writes(), [""; 0]);
    world.run(&["--notes", &"n".repeat(125_000)]).await.result.unwrap();
}
