use std::collections::BTreeMap;

use clap::FromArgMatches as _;
use github::GithubArgs;
use kit::{Code, Env, Receipt, testing};
use serde_json::json;
use testkit::github::{Fault, GithubWorld, Options, READ_TOKEN, TOKEN};

use super::*;
use crate::args::parse_tag;

pub(crate) const REPO: &str = "acme/rally";
pub(crate) const TAG: &str = "v2.1.0";

pub(crate) struct World {
    pub(crate) github: GithubWorld,
    pub(crate) sha: String,
}

/// How a run ended, and its receipt.
pub(crate) struct Ran {
    pub(crate) result: Result<Outcome, Failure>,
    pub(crate) outputs: BTreeMap<&'static str, String>,
    pub(crate) receipt: Option<Receipt>,
    pub(crate) story: Vec<String>,
}

impl Ran {
    /// All that a person is told of the failure.
    pub(crate) fn refused(self) -> (Code, String) {
        let failure = self.result.unwrap_err();
        (failure.code(), format!("{failure}: {}; {failure:?}", failure.chain().join("; ")))
    }
}

impl World {
    /// A repository whose one commit has passed its test.
    pub(crate) async fn new() -> Self {
        let world = Self::untested().await;
        world.github.check_run(REPO, &world.sha, &json!({}));
        world
    }

    pub(crate) async fn untested() -> Self {
        let github = GithubWorld::start(Options::default()).await.unwrap();
        github.repository(REPO, "main");
        let sha = github.commit(REPO, "main", "Vote twice\n\nAt most.");
        Self { github, sha }
    }

    fn cx(&self, env: &[(&str, &str)]) -> Cx {
        let usual =
            [("GITHUB_API_URL", self.github.url()), ("GITHUB_TOKEN", TOKEN), ("GITHUB_REPOSITORY", REPO)];
        testing::cx_in(usual.into_iter().chain(env.iter().copied()).collect::<Env>())
    }

    pub(crate) async fn run_in(&self, env: &[(&str, &str)], flags: &[&str]) -> Ran {
        let cx = self.cx(env);
        // What is no flag of its own version is of the usual one.
        let tag = if flags.contains(&"--bump") { &[][..] } else { &["--tag", TAG] };
        let argv = ["tag-release"].iter().chain(tag).chain(flags).copied();
        let matches = (STEP.command)().try_get_matches_from(argv).unwrap();
        let mut outputs = Vec::new();
        let result = release(&TagArgs::from_arg_matches(&matches).unwrap(), &cx, &mut outputs).await;
        let folder = std::env::temp_dir().join(format!("cutover-test-{}", cx.run_id()));
        let receipt = Receipt::read(&folder.join("receipt.json")).ok();
        let _ = std::fs::remove_dir_all(folder);
        Ran { result, outputs: outputs.into_iter().collect(), receipt, story: cx.report().story() }
    }

    pub(crate) async fn run(&self, flags: &[&str]) -> Ran {
        self.run_in(&[("GITHUB_SHA", &self.sha)], flags).await
    }

    pub(crate) async fn undo(&self, receipt: &Receipt) -> Ran {
        let cx = self.cx(&[]);
        let github = Github::new(&cx, &GithubArgs::default()).unwrap();
        let result = undo::undo(&cx, &github, receipt).await;
        let _ = std::fs::remove_dir_all(std::env::temp_dir().join(format!("cutover-test-{}", cx.run_id())));
        Ran { result, outputs: BTreeMap::new(), receipt: None, story: cx.report().story() }
    }

    pub(crate) fn writes(&self) -> Vec<String> {
        let path = |path: &str| {
            path.trim_start_matches("/repos/acme/rally").trim_end_matches(char::is_numeric).to_owned()
        };
        self.github.writes().iter().map(|call| format!("{} {}", call.method, path(&call.path))).collect()
    }

    pub(crate) fn tag(&self) -> Option<String> {
        self.github
            .refs(REPO)
            .into_iter()
            .find(|(name, _)| *name == format!("refs/tags/{TAG}"))
            .map(|(_, sha)| sha)
    }

    /// The tag leads to the commit, and there is one release, published.
    pub(crate) fn assert_released(&self) {
        assert_eq!(self.tag().as_ref(), Some(&self.sha));
        let releases = self.github.releases(REPO);
        assert_eq!(releases.len(), 1, "{releases:?}");
        assert_eq!((&releases[0]["tag_name"], &releases[0]["draft"]), (&json!(TAG), &json!(false)));
    }
}

#[test]
fn the_command_is_sound() {
    STEP.full_command(None).debug_assert();
}

#[test]
fn a_tag_is_what_git_takes_as_one() {
    for good in ["v2.1.0", "RALLY-V2_1_0_0-RELEASE", "release/2.1", "sprint12", "v1.0.0+build.5"] {
        assert!(parse_tag(good).is_ok(), "{good}");
    }
    for bad in
        ["", "v 1", "refs/tags/v1", "a..b", "v1.", "-v1", "a//b", "x.lock", "a@{b", "@", ".a", "a\nb", "v~1"]
    {
        assert!(parse_tag(bad).is_err(), "{bad}");
    }
}

#[tokio::test]
async fn a_commit_is_tagged_and_released_and_the_second_run_writes_nothing() {
    let world = World::new().await;
    let first = world.run(&["--release-name", "Rally 2.1", "--notes", "- votes"]).await;
    assert!(first.result.unwrap().changed);
    let release = &world.github.releases(REPO)[0];
    assert_eq!((first.outputs["tag"].as_str(), &first.outputs["sha"]), (TAG, &world.sha));
    // Annotated: the tag is an object of its own.
    assert_ne!(first.outputs["tag-sha"], world.sha);
    assert_eq!(first.outputs["release-id"], release["id"].to_string());
    assert_eq!(first.outputs["release-url"], format!("https://github.com/acme/rally/releases/tag/{TAG}"));
    assert_eq!(first.outputs["released"], "true");
    world.assert_released();
    assert_eq!(world.writes(), ["POST /git/tags", "POST /git/refs", "POST /releases", "PATCH /releases/"]);
    let release = &world.github.releases(REPO)[0];
    assert_eq!((&release["name"], &release["body"]), (&json!("Rally 2.1"), &json!("- votes")));
    assert_eq!(release["target_commitish"], json!(world.sha));
    world.github.forget_calls();
    let second = world.run(&["--release-name", "Rally 2.1", "--notes", "- votes"]).await;
    assert!(!second.result.unwrap().changed);
    assert_eq!(second.outputs, first.outputs);
    assert_eq!(world.writes(), [""; 0]);
    // The branch may move on.
    world.github.commit(REPO, "main", "Next");
    assert!(!world.run(&[]).await.result.unwrap().changed);
}

#[tokio::test]
async fn a_draft_stays_one_and_is_published_by_a_later_run() {
    let world = World::new().await;
    world.run(&["--draft"]).await.result.unwrap();
    assert_eq!(world.github.releases(REPO)[0]["draft"], json!(true));
    assert!(!world.run(&["--draft"]).await.result.unwrap().changed);
    world.run(&[]).await.result.unwrap();
    world.assert_released();
}

#[tokio::test]
async fn a_tag_alone() {
    let world = World::new().await;
    world.run(&["--no-release"]).await.result.unwrap();
    assert_eq!(world.tag().as_ref(), Some(&world.sha));
    assert!(world.github.releases(REPO).is_empty());
}

/// Every way in which one write can fail on its way: within the run, it converges and nothing is doubled.
async fn survives(method: &str, path: &str) {
    for fault in [
        Fault::reset(method, path),
        Fault::reset(method, path).after(),
        Fault::status(method, path, 502, "Server Error"),
        Fault::status(method, path, 502, "Server Error").after(),
    ] {
        let world = World::new().await;
        world.github.fault(fault.clone().nth(1));
        let ran = world.run(&[]).await;
        assert!(ran.result.is_ok(), "{fault:?}: {:?}", ran.result);
        world.assert_released();
    }
    // So often that the run gives up: the next one goes on from what is there.
    for fault in [Fault::reset(method, path), Fault::reset(method, path).after()] {
        let world = World::new().await;
        world.github.fault(fault);
        // Looking is cut too, from the second look on: the first was before the plan.
        world.github.fault(Fault::reset("GET", &format!("/git/ref/tags/{TAG}")).from(2));
        world.github.fault(Fault::reset("GET", "/releases").from(2));
        let ran = world.run(&[]).await;
        assert!(ran.result.unwrap_err().is_transient());
        world.github.clear_faults();
        world.run(&[]).await.result.unwrap();
        world.assert_released();
    }
}

#[tokio::test]
async fn a_broken_tag_object_is_made_again() {
    survives("POST", "/git/tags").await;
}

#[tokio::test]
async fn a_broken_ref_is_made_once() {
    survives("POST", "/git/refs").await;
}

#[tokio::test]
async fn a_broken_release_is_made_once() {
    survives("POST", "/releases").await;
}

#[tokio::test]
async fn a_run_that_ends_after_the_draft_is_continued() {
    let world = World::new().await;
    world.run(&["--draft"]).await.result.unwrap();
    let id = world.github.releases(REPO)[0]["id"].clone();
    world.github.fault(Fault::reset("PATCH", &format!("/releases/{id}")));
    let failed = world.run(&[]).await;
    assert!(failed.result.unwrap_err().is_transient());
    world.github.clear_faults();
    world.run(&[]).await.result.unwrap();
    world.assert_released();
    assert_eq!(world.github.releases(REPO)[0]["id"], id);
}

#[tokio::test]
async fn a_tag_on_another_commit_is_refused_before_anything() {
    let world = World::new().await;
    let other = world.github.commit(REPO, "main", "Other");
    world.github.set_ref(REPO, &format!("refs/tags/{TAG}"), &other);
    let (code, text) = world.run(&[]).await.refused();
    assert_eq!(code, Code::Refused);
    assert!(text.contains(&other) && text.contains(&world.sha), "{text}");
    assert_eq!(world.writes(), [""; 0]);
}

#[tokio::test]
async fn a_branch_or_short_sha_is_refused_with_the_sha_that_it_is() {
    let world = World::new().await;
    for name in ["main", &world.sha[..9]] {
        let (code, text) = world.run(&["--commit", name]).await.refused();
        assert_eq!(code, Code::Refused);
        assert!(text.contains(&format!("--commit {}", world.sha)), "{text}");
    }
    let unknown = "f".repeat(40);
    let (code, text) = world.run(&["--commit", &unknown]).await.refused();
    assert_eq!(code, Code::Refused);
    assert!(text.contains("has no such commit"), "{text}");
    let pull = [("GITHUB_SHA", world.sha.as_str()), ("GITHUB_REF", "refs/pull/7/merge")];
    assert!(world.run_in(&pull, &[]).await.refused().1.contains("pull request"));
    assert_eq!(world.run_in(&[], &[]).await.refused().0, Code::Usage);
    assert_eq!(world.writes(), [""; 0]);
}

#[tokio::test]
async fn what_the_token_may_not_do_is_told_and_changes_nothing() {
    let world = World::new().await;
    let sha = ("GITHUB_SHA", world.sha.as_str());
    let (code, text) = world.run_in(&[sha, ("GITHUB_TOKEN", "ghp_expired")], &[]).await.refused();
    assert_eq!(code, Code::Failed);
    assert!(text.contains("Bad credentials"), "{text}");
    let (_, text) = world.run_in(&[sha, ("GITHUB_REPOSITORY", "acme/rolly")], &[]).await.refused();
    assert!(text.contains("look at the repository acme/rolly") && text.contains("can't see it"), "{text}");
    let ran = world.run_in(&[sha, ("GITHUB_TOKEN", READ_TOKEN)], &[]).await;
    let receipt = ran.receipt.as_ref().unwrap();
    assert!(receipt.undoable().is_empty(), "a denied call is not in doubt");
    assert!(ran.refused().1.contains("contents=write"));
    assert_eq!(world.tag(), None);
}

#[tokio::test]
async fn undo_deletes_what_the_run_made_and_a_second_undo_nothing() {
    let world = World::new().await;
    let receipt = world.run(&[]).await.receipt.unwrap();
    assert!(world.undo(&receipt).await.result.unwrap().changed);
    assert_eq!((world.tag(), world.github.releases(REPO).len()), (None, 0));
    assert!(!world.undo(&receipt).await.result.unwrap().changed);
    world.run(&[]).await.result.unwrap();
    world.assert_released();
}

#[tokio::test]
async fn undo_leaves_what_was_there_before_the_run() {
    let world = World::new().await;
    world.run(&["--draft"]).await.result.unwrap();
    let receipt = world.run(&[]).await.receipt.unwrap();
    world.undo(&receipt).await.result.unwrap();
    assert_eq!(world.tag().as_ref(), Some(&world.sha));
    assert_eq!(world.github.releases(REPO)[0]["draft"], json!(true));
}

#[tokio::test]
async fn undo_refuses_what_somebody_has_changed_since() {
    for (edit, said) in [
        (json!({"body": "Mine"}), "edited since"),
        (json!({"assets": [{"name": "rally.jar"}]}), "rally.jar"),
        (json!({"immutable": true}), "immutable"),
    ] {
        let world = World::new().await;
        let receipt = world.run(&[]).await.receipt.unwrap();
        let id = world.github.releases(REPO)[0]["id"].as_u64().unwrap();
        world.github.edit_release(REPO, id, &edit);
        world.github.forget_calls();
        let (code, text) = world.undo(&receipt).await.refused();
        assert_eq!(code, Code::Refused);
        assert!(text.contains(said), "{text}");
        assert_eq!(world.writes(), [""; 0]);
    }
    let world = World::new().await;
    let receipt = world.run(&[]).await.receipt.unwrap();
    let other = world.github.commit(REPO, "main", "Other");
    world.github.set_ref(REPO, &format!("refs/tags/{TAG}"), &other);
    let (code, text) = world.undo(&receipt).await.refused();
    assert_eq!(code, Code::Refused);
    assert!(text.contains(&other), "{text}");
    assert_eq!(world.tag(), Some(other));
}
