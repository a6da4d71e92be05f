//! The commit of a version's files, against a GitHub that keeps trees.

use crate::tests::{REPO, TAG, World};
use futures::future::join_all;
use kit::Code;
use serde_json::json;
use testkit::github::Fault;

const FILE: &str = "src/main/resources/version.properties";
const BEFORE: &str = "# The release\r\nversion=2.0.1.11-RELEASE\r\n";
const AFTER: &str = "# The release\r\nversion=2.1.0.0-RELEASE\r\n";
const FLAGS: [&str; 6] = [
    "--scheme",
    "v{major}.{minor}.{patch}[.{build}]",
    "--spelling",
    "file={major}.{minor}.{patch}.{build}-RELEASE",
    "--version-file",
    "src/main/resources/version.properties=properties:version={file}",
];

/// Rally's files, in a commit that is tested.
async fn rally() -> World {
    let mut world = World::untested().await;
    let files = [(FILE, BEFORE), ("src/main/App.java", "class App {}"), ("README.md", "Rally")];
    world.sha = world.github.commit_files(REPO, "main", "Vote twice", &files);
    world.github.check_run(REPO, &world.sha, &json!({}));
    world
}

fn head(world: &World) -> String {
    world.github.refs(REPO).into_iter().find(|(name, _)| name == "refs/heads/main").unwrap().1
}

/// The tag is on a child of the tested commit that differs from it in the file alone, which is the branch's one new commit.
fn assert_released(world: &World) {
    let tagged = world.tag().expect("a tag");
    let (message, parents, paths) = world.github.commit_of(REPO, &tagged).unwrap();
    assert_eq!((message.as_str(), parents.as_slice()), ("Release v2.1.0", &[world.sha.clone()][..]));
    assert_eq!(paths, [FILE]);
    assert_eq!(world.github.file(REPO, TAG, FILE).as_deref(), Some(AFTER));
    assert_eq!(head(world), tagged);
    let releases = world.github.releases(REPO);
    assert_eq!((releases.len(), &releases[0]["draft"]), (1, &json!(false)));
}

#[tokio::test]
async fn the_tag_is_on_a_commit_of_the_version_files_and_the_second_run_writes_nothing() {
    let world = rally().await;
    let ran = world.run(&FLAGS).await;
    assert!(ran.result.unwrap().changed);
    assert_released(&world);
    assert_eq!(ran.outputs["sha"], head(&world));
    assert_eq!(ran.outputs["spellings"], r#"{"file":"2.1.0.0-RELEASE"}"#);
    world.github.forget_calls();
    let again = world.run(&FLAGS).await;
    assert!(!again.result.unwrap().changed);
    assert_eq!(again.outputs, ran.outputs);
    assert_eq!(world.writes(), [""; 0]);
    // A new run of the workflow begins with the branch's head: the commit that was made.
    let sha = head(&world);
    let later = world.run_in(&[("GITHUB_SHA", &sha)], &FLAGS).await;
    assert!(!later.result.unwrap().changed);
    // The branch may move on.
    world.github.commit(REPO, "main", "Next");
    assert!(!world.run(&FLAGS).await.result.unwrap().changed);
}

#[tokio::test]
async fn a_run_that_is_cut_off_at_any_call_is_continued() {
    let calls = [
        "/git/blobs",
        "/git/trees",
        "/git/commits",
        "/git/refs/heads/main",
        "/git/tags",
        "/git/refs",
        "/releases",
    ];
    let mut runs = Vec::new();
    for (place, path) in calls.into_iter().enumerate() {
        let method = if path.ends_with("main") { "PATCH" } else { "POST" };
        for fault in [
            Fault::reset(method, path),
            Fault::reset(method, path).after(),
            Fault::status(method, path, 502, "Server Error"),
        ] {
            runs.push(async move {
                // Once: within the run.
                let world = rally().await;
                world.github.fault(fault.clone().nth(1));
                world.run(&FLAGS).await.result.unwrap_or_else(|why| panic!("{fault:?}: {why:?}"));
                assert_released(&world);
                // To its end: by the next run, of the same commit or of what the branch has then.
                let world = rally().await;
                world.github.fault(fault);
                // What took effect is seen, and gone on with.
                let _ = world.run(&FLAGS).await.result;
                world.github.clear_faults();
                let sha = if place % 2 == 0 { world.sha.clone() } else { head(&world) };
                world.run_in(&[("GITHUB_SHA", &sha)], &FLAGS).await.result.unwrap();
                assert_released(&world);
            });
        }
    }
    // They wait more than they do.
    join_all(runs).await;
}

#[tokio::test]
async fn a_branch_that_has_moved_is_not_committed_to() {
    let world = rally().await;
    let next = world.github.commit(REPO, "main", "Next");
    let (code, told) = world.run(&FLAGS).await.refused();
    assert_eq!(code, Code::Refused);
    assert!(told.contains(&format!("--commit {next}")), "{told}");
    assert_eq!(world.writes(), [""; 0]);
}

#[tokio::test]
async fn a_push_at_the_same_moment_wins() {
    let world = rally().await;
    let not_forward = Fault::status("PATCH", "/git/refs/heads/main", 422, "Update is not a fast forward");
    world.github.fault(not_forward);
    let (_, told) = world.run(&FLAGS).await.refused();
    assert!(told.contains("not a fast forward"), "{told}");
    assert_eq!((head(&world), world.tag()), (world.sha.clone(), None));
}

#[tokio::test]
async fn a_protected_branch_is_explained_and_a_merged_bump_needs_no_commit() {
    let mut world = rally().await;
    let rule = "Repository rule violations found\n\nChanges must be made through a pull request.\n\n";
    world.github.refuse_changes(REPO, "main", rule);
    let (_, told) = world.run(&FLAGS).await.refused();
    assert!(
        told.contains("through a pull request") && told.contains("run this on the merged commit"),
        "{told}"
    );
    assert_eq!((head(&world), world.tag()), (world.sha.clone(), None));
    world.sha = world.github.commit_files(REPO, "main", "Release 2.1.0 (#7)", &[(FILE, AFTER)]);
    // Its parent was tested, and it differs in the version file alone.
    let ran = world.run(&FLAGS).await;
    ran.result.unwrap();
    assert_eq!((world.tag().as_ref(), head(&world)), (Some(&world.sha), world.sha.clone()));
    assert!(ran.story.iter().any(|line| line.contains("the checks are those of")), "{:?}", ran.story);
}

#[tokio::test]
async fn what_is_changed_beside_the_files_is_not_taken_for_tested() {
    let mut world = rally().await;
    let files = [(FILE, AFTER), ("src/main/App.java", "class App { /* untested */ }")];
    world.sha = world.github.commit_files(REPO, "main", "Release v2.1.0", &files);
    let (code, told) = world.run(&FLAGS).await.refused();
    assert_eq!(code, Code::Refused);
    assert!(told.contains("no check has run"), "{told}");
    // Nor is what is changed beside the version in its own file.
    let mut world = rally().await;
    let more = format!("{AFTER}votes=twice\r\n");
    world.sha = world.github.commit_files(REPO, "main", "Release v2.1.0", &[(FILE, &more)]);
    let (code, told) = world.run(&FLAGS).await.refused();
    assert_eq!(code, Code::Refused);
    assert!(told.contains("no check has run"), "{told}");
    // And a child of the tested commit with more in it is not the one that this step makes.
    let mut world = rally().await;
    let tested = world.sha.clone();
    world.sha = world.github.commit_files(REPO, "main", "Release v2.1.0", &files);
    let (code, told) = world.run_in(&[("GITHUB_SHA", &tested)], &FLAGS).await.refused();
    assert_eq!(code, Code::Refused);
    assert!(told.contains("the branch has moved"), "{told}");
    assert_eq!(world.writes(), [""; 0]);
}

#[tokio::test]
async fn files_that_do_not_fit_are_refused_before_anything() {
    let world = rally().await;
    for (flag, says) in [
        ("none.properties=properties:version", "has no such file"),
        ("src/main=properties:version", "a folder, a link"),
        ("README.md=properties:version", "does not have the key version"),
        ("README.md=json:version", "not JSON"),
    ] {
        let (code, told) = world.run(&["--version-file", flag]).await.refused();
        assert_eq!(code, Code::Refused, "{told}");
        assert!(told.contains(says), "{told}");
    }
    let unknown = format!("{FILE}=properties:version={{image}}");
    let (code, told) = world.run(&["--version-file", &unknown]).await.refused();
    assert_eq!(code, Code::Usage);
    assert!(told.contains("no --spelling image"), "{told}");
    // A tag that was made without the files.
    world.github.set_ref(REPO, &format!("refs/tags/{TAG}"), &world.sha);
    let (code, told) = world.run(&FLAGS).await.refused();
    assert_eq!(code, Code::Refused);
    assert!(told.contains("leave --version-file out"), "{told}");
    assert_eq!(world.writes(), [""; 0]);
}

#[tokio::test]
async fn undo_puts_the_files_back_in_a_commit_and_keeps_what_came_since() {
    let world = rally().await;
    let receipt = world.run(&FLAGS).await.receipt.unwrap();
    let released = head(&world);
    world.github.commit_files(REPO, "main", "Next", &[("README.md", "Rally, next")]);
    assert!(world.undo(&receipt).await.result.unwrap().changed);
    assert_eq!((world.tag(), world.github.releases(REPO).len()), (None, 0));
    assert_eq!(world.github.file(REPO, "main", FILE).as_deref(), Some(BEFORE));
    assert_eq!(world.github.file(REPO, "main", "README.md").as_deref(), Some("Rally, next"));
    let (message, _, paths) = world.github.commit_of(REPO, "main").unwrap();
    assert_eq!(
        (message.as_str(), paths.as_slice()),
        ("Take back the version files of v2.1.0", &[FILE.to_owned()][..])
    );
    assert!(!world.undo(&receipt).await.result.unwrap().changed);
    // The same command does not tag what was taken back.
    let (code, told) = world.run(&FLAGS).await.refused();
    assert_eq!(code, Code::Refused);
    assert!(told.contains(&released) && told.contains("taken back"), "{told}");
}

#[tokio::test]
async fn undo_leaves_files_that_were_changed_again() {
    let world = rally().await;
    let receipt = world.run(&FLAGS).await.receipt.unwrap();
    world.github.commit_files(REPO, "main", "Next", &[(FILE, "version=2.2.0.0-RELEASE\n")]);
    world.github.forget_calls();
    let (code, told) = world.undo(&receipt).await.refused();
    assert_eq!(code, Code::Refused);
    assert!(told.contains("changed again"), "{told}");
    assert_eq!(world.writes(), [""; 0]);
}

#[tokio::test]
async fn a_counted_version_is_the_same_in_the_run_that_continues() {
    let mut world = World::untested().await;
    let first =
        world.github.commit_files(REPO, "main", "Begin", &[("package.json", "{\"version\": \"1.0.0\"}\n")]);
    world.github.set_ref(REPO, "refs/tags/v1.0.0", &first);
    world.sha = world.github.commit(REPO, "main", "feat: vote twice");
    world.github.check_run(REPO, &world.sha, &json!({}));
    let flags = ["--bump", "auto", "--version-file", "package.json=json:version"];
    world.github.fault(Fault::reset("POST", "/git/tags"));
    assert!(world.run(&flags).await.result.is_err());
    world.github.clear_faults();
    for sha in [world.sha.clone(), head(&world)] {
        let ran = world.run_in(&[("GITHUB_SHA", &sha)], &flags).await;
        ran.result.unwrap();
        assert_eq!(ran.outputs["tag"], "v1.1.0");
    }
    assert_eq!(
        world.github.file(REPO, "v1.1.0", "package.json").as_deref(),
        Some("{\"version\": \"1.1.0\"}\n")
    );
    assert_eq!(world.github.commit_of(REPO, "main").unwrap().1, [world.sha.clone()]);
}

/// Its checks are its parent's, but the branch has to have it itself.
#[tokio::test]
async fn a_bump_on_a_branch_of_its_own_is_not_let_in_by_its_parent() {
    let mut world = rally().await;
    world.github.set_ref(REPO, "refs/heads/bump", &world.sha);
    world.sha = world.github.commit_files(REPO, "bump", "Release 2.1.0", &[(FILE, AFTER)]);
    let (code, told) = world.run(&FLAGS).await.refused();
    assert_eq!(code, Code::Refused);
    assert!(told.contains("the branch main does not have the commit"), "{told}");
}

#[tokio::test]
async fn undo_of_a_run_on_a_branch_that_is_gone_takes_back_the_rest() {
    let world = rally().await;
    world.github.set_ref(REPO, "refs/heads/release", &world.sha);
    let receipt = world.run(&[&FLAGS[..], &["--branch", "release"]].concat()).await.receipt.unwrap();
    assert!(world.tag().is_some());
    world.github.delete_ref(REPO, "refs/heads/release");
    world.undo(&receipt).await.result.unwrap();
    assert_eq!((world.tag(), world.github.releases(REPO).len()), (None, 0));
}
