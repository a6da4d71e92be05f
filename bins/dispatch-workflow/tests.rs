use std::collections::BTreeMap;

use clap::FromArgMatches as _;
use kit::{Code, Env, Receipt, testing};
use serde_json::json;
use testkit::github::{Fault, GithubWorld, Options, TOKEN, Workflow};

use super::*;

const REPO: &str = "acme/rally";
const SHOWN: &str = "Build ${{ inputs.release-run }}";
const DISPATCHES: &str = "/actions/workflows/build.yml/dispatches";

struct World {
    github: GithubWorld,
    sha: String,
}

struct Ran {
    result: Result<Outcome, Failure>,
    receipt: Option<Receipt>,
}

impl Ran {
    fn refused(self) -> (Code, String) {
        let failure = self.result.unwrap_err();
        (failure.code(), format!("{failure}: {}; {failure:?}", failure.chain().join("; ")))
    }
}

impl World {
    /// With a tag on the one commit, and a workflow that shows its text.
    async fn new(workflow: Workflow) -> Self {
        let github = GithubWorld::start(Options::default()).await.unwrap();
        github.repository(REPO, "main");
        let sha = github.commit(REPO, "main", "Vote twice");
        github.set_ref(REPO, "refs/tags/v2.1.0", &sha);
        let inputs = vec!["target".to_owned(), "release-run".to_owned()];
        github.workflow(REPO, Workflow { inputs, ..workflow });
        Self { github, sha }
    }

    async fn marked() -> Self {
        Self::new(Workflow { run_name: Some(SHOWN.to_owned()), ..Workflow::default() }).await
    }

    fn cx(&self, env: &[(&str, &str)]) -> Cx {
        let usual =
            [("GITHUB_API_URL", self.github.url()), ("GITHUB_TOKEN", TOKEN), ("GITHUB_REPOSITORY", REPO)];
        testing::cx_of(&STEP, usual.into_iter().chain(env.iter().copied()).collect::<Env>(), false)
    }

    async fn run_in(&self, env: &[(&str, &str)], flags: &[&str]) -> Ran {
        let cx = self.cx(env);
        let usual = ["dispatch-workflow", "--workflow", "build.yml", "--ref", "v2.1.0", "--interval", "10ms"];
        let argv = usual.into_iter().chain(flags.iter().copied());
        let matches = (STEP.command)().try_get_matches_from(argv).unwrap();
        let result = run(Args::from_arg_matches(&matches).unwrap(), cx.clone()).await;
        let folder = std::env::temp_dir().join(format!("cutover-test-{}", cx.run_id()));
        let receipt = Receipt::read(&folder.join("receipt.json")).ok();
        let _ = std::fs::remove_dir_all(folder);
        Ran { result, receipt }
    }

    /// In a job of the workflow run 7.
    async fn run(&self, flags: &[&str]) -> Ran {
        let job = [("GITHUB_ACTIONS", "true"), ("GITHUB_RUN_ID", "7"), ("GITHUB_JOB", "build")];
        self.run_in(&job, flags).await
    }

    fn titles(&self) -> Vec<String> {
        self.github
            .workflow_runs(REPO)
            .iter()
            .map(|run| run["display_title"].as_str().unwrap().to_owned())
            .collect()
    }
}

const MARKED: [&str; 4] = ["--input", "target=production", "--id-input", "release-run"];

#[tokio::test]
async fn a_run_is_started_once_followed_and_taken_up_by_every_further_attempt() {
    let world = World::marked().await;
    assert!(world.run(&MARKED).await.result.unwrap().changed);
    let runs = world.github.workflow_runs(REPO);
    assert_eq!((&runs[0]["head_sha"], &runs[0]["conclusion"]), (&json!(world.sha), &json!("success")));
    assert!(world.titles()[0].starts_with("Build cutover-7-"), "{:?}", world.titles());
    world.github.forget_calls();
    assert!(!world.run(&MARKED).await.result.unwrap().changed);
    assert!(world.github.writes().is_empty());
    // Another thing of the same run, and the same of another run.
    assert!(
        world
            .run(&["--input", "target=integration", "--id-input", "release-run"])
            .await
            .result
            .unwrap()
            .changed
    );
    let later = [("GITHUB_ACTIONS", "true"), ("GITHUB_RUN_ID", "8"), ("GITHUB_JOB", "build")];
    assert!(world.run_in(&later, &MARKED).await.result.unwrap().changed);
    assert_eq!(world.titles().len(), 3);
}

#[tokio::test]
async fn a_run_under_way_is_followed_and_a_failed_one_done_again() {
    let world = World::marked().await;
    world.run(&[&MARKED[..], &["--no-wait"]].concat()).await.result.unwrap();
    assert_eq!(world.github.workflow_runs(REPO)[0]["conclusion"], json!(null));
    assert!(!world.run(&MARKED).await.result.unwrap().changed);
    assert_eq!(world.titles().len(), 1);

    let world = World::new(Workflow {
        run_name: Some(SHOWN.to_owned()),
        conclusion: "failure".to_owned(),
        ..Workflow::default()
    })
    .await;
    let (code, told) = world.run(&MARKED).await.refused();
    assert_eq!(code, Code::Unverified);
    assert!(told.contains("image (failure in Compile") && told.contains("/actions/runs/"), "{told}");
    assert_eq!(world.run(&MARKED).await.refused().0, Code::Unverified);
    assert_eq!(world.titles().len(), 2);
}

#[tokio::test]
async fn without_a_text_a_second_run_on_the_commit_is_refused() {
    let world = World::new(Workflow::default()).await;
    assert!(world.run(&[]).await.result.unwrap().changed);
    let (code, told) = world.run(&[]).await.refused();
    assert_eq!(code, Code::Refused);
    assert!(told.contains("--again") && told.contains("(success)"), "{told}");
    assert!(world.run(&["--again"]).await.result.unwrap().changed);
    assert_eq!(world.titles().len(), 2);
}

#[tokio::test]
async fn a_server_that_does_not_tell_the_run_is_asked_for_it() {
    for run_name in [Some(SHOWN.to_owned()), None] {
        let world =
            World::new(Workflow { tells: false, run_name: run_name.clone(), ..Workflow::default() }).await;
        let flags = if run_name.is_some() { &MARKED[..] } else { &[] };
        assert!(world.run(flags).await.result.unwrap().changed);
        assert_eq!(world.titles().len(), 1);
    }
}

#[tokio::test]
async fn a_lost_answer_starts_no_second_run() {
    for fault in [
        Fault::reset("POST", DISPATCHES).after(),
        Fault::status("POST", DISPATCHES, 502, "Server Error").after(),
    ] {
        let world = World::marked().await;
        world.github.fault(fault.clone().nth(1));
        assert!(world.run(&MARKED).await.result.is_ok(), "{fault:?}");
        assert_eq!(world.titles().len(), 1, "{fault:?}");
    }
    // Refused for want of patience: sent again.
    let world = World::marked().await;
    world.github.fault(Fault::status("POST", DISPATCHES, 429, "Too many requests").nth(1));
    world.run(&MARKED).await.result.unwrap();
    assert_eq!(world.titles().len(), 1);
}

#[tokio::test]
async fn what_a_user_gets_wrong_is_refused_before_anything_is_started() {
    let world = World::marked().await;
    world.github.set_ref(REPO, "refs/heads/both", &world.sha);
    world.github.set_ref(REPO, "refs/tags/both", &world.sha);
    let zeros = "0".repeat(40);
    for (flags, code, says) in [
        (&["--workflow", "biuld.yml"][..], Code::Refused, "none of that file name"),
        (&["--ref", "v2.1"], Code::Refused, "neither a tag nor a branch"),
        (&["--ref", "both"], Code::Refused, "a tag and a branch of that name"),
        (&["--commit", &zeros], Code::Refused, "leads to"),
        (&["--input", "traget=x"], Code::Failed, "Unexpected inputs"),
        (&["--input", "a=1", "--input", "a=2"], Code::Usage, "given twice"),
        (&["--input", "release-run=x", "--id-input", "release-run"], Code::Usage, "--id-input fills in"),
    ] {
        let (got, told) = world.run_in(&[], &[&["--no-wait"], flags].concat()).await.refused();
        assert_eq!(got, code, "{flags:?}: {told}");
        assert!(told.contains(says), "{told}");
    }
    world.github.workflow(REPO, Workflow { disabled: true, ..Workflow::default() });
    assert!(world.run(&[]).await.refused().1.contains("disabled_manually"));
    assert!(world.titles().is_empty());
}

#[tokio::test]
async fn undo_cancels_what_is_under_way_and_refuses_what_is_over() {
    let world =
        World::new(Workflow { looks: 1_000, run_name: Some(SHOWN.to_owned()), ..Workflow::default() }).await;
    let ran = world.run(&[&MARKED[..], &["--no-wait"]].concat()).await;
    let receipt = ran.receipt.unwrap();
    let github = &world.github;
    let undo = async || undone(&world, &receipt).await;
    assert!(undo().await.unwrap().changed);
    assert_eq!(github.workflow_runs(REPO)[0]["conclusion"], json!("cancelled"));
    assert!(!undo().await.unwrap().changed);

    let world = World::marked().await;
    let receipt = world.run(&MARKED).await.receipt.unwrap();
    let refused = undone(&world, &receipt).await.unwrap_err();
    assert!(refused.chain().join(" ").contains("it is over, with success"), "{:?}", refused.chain());
}

async fn undone(world: &World, receipt: &Receipt) -> Result<Outcome, Failure> {
    let argv = ["dispatch-workflow", "--workflow", "build.yml", "--ref", "v2.1.0", "--interval", "10ms"];
    let matches = (STEP.command)().try_get_matches_from(argv).unwrap();
    let cx = world.cx(&[]);
    let undone = take_back(&Args::from_arg_matches(&matches).unwrap(), &cx, receipt).await;
    let _ = std::fs::remove_dir_all(std::env::temp_dir().join(format!("cutover-test-{}", cx.run_id())));
    undone
}

#[tokio::test]
async fn undo_does_not_cancel_a_run_that_may_be_somebody_else_s() {
    let world = World::new(Workflow { looks: 1_000, ..Workflow::default() }).await;
    let mut receipt = world.run(&["--no-wait"]).await.receipt.unwrap();
    // Killed before the answer with the run's number came.
    receipt.actions[0].state = kit::ActionState::Started;
    receipt.actions[0].result = Value::Null;
    let refused = undone(&world, &receipt).await.unwrap_err();
    assert_eq!(refused.code(), Code::Refused);
    assert!(refused.chain().join(" ").contains("/actions/runs/"), "{:?}", refused.chain());
    assert_eq!(world.github.workflow_runs(REPO)[0]["conclusion"], json!(null));
    // With a text of its own it is known.
    let world =
        World::new(Workflow { looks: 1_000, run_name: Some(SHOWN.to_owned()), ..Workflow::default() }).await;
    let mut receipt = world.run(&[&MARKED[..], &["--no-wait"]].concat()).await.receipt.unwrap();
    receipt.actions[0].state = kit::ActionState::Started;
    receipt.actions[0].result = Value::Null;
    assert!(undone(&world, &receipt).await.unwrap().changed);
    assert_eq!(world.github.workflow_runs(REPO)[0]["conclusion"], json!("cancelled"));
}

#[tokio::test]
async fn a_run_that_ends_before_the_cancelling_takes_effect_is_not_called_cancelled() {
    let world = World::new(Workflow { looks: 3, ..Workflow::default() }).await;
    let receipt = world.run(&["--no-wait"]).await.receipt.unwrap();
    let run = world.github.workflow_runs(REPO)[0]["id"].as_u64().unwrap();
    let cancel = format!("/actions/runs/{run}/cancel");
    world.github.fault(Fault::status("POST", &cancel, 202, "Accepted"));
    let failed = undone(&world, &receipt).await.unwrap_err();
    assert_eq!(failed.code(), Code::Unverified);
    assert!(failed.chain().join(" ").contains("ended with success"), "{:?}", failed.chain());
}

#[tokio::test]
async fn a_further_attempt_follows_its_run_though_the_branch_has_moved_on() {
    let world = World::marked().await;
    let on = |sha: &str| [&MARKED[..], &["--ref", "main", "--commit", sha]].concat().join("\0");
    let run = async |flags: &str| world.run(&flags.split('\0').collect::<Vec<_>>()).await;
    assert!(run(&on(&world.sha)).await.result.unwrap().changed);
    world.github.commit(REPO, "main", "the next change");
    assert!(!run(&on(&world.sha)).await.result.unwrap().changed);
    assert_eq!(world.titles().len(), 1);
}

#[tokio::test]
async fn a_run_that_nobody_follows_any_more_is_left_or_cancelled() {
    for (flags, conclusion) in [(&[][..], json!(null)), (&["--on-cancel", "cancel"], json!("cancelled"))] {
        let world = World::new(Workflow {
            looks: 1_000_000,
            run_name: Some(SHOWN.to_owned()),
            ..Workflow::default()
        })
        .await;
        let cx = world.cx(&[]);
        let argv = [
            &["dispatch-workflow", "--workflow", "build.yml", "--ref", "v2.1.0", "--interval", "10ms"][..],
            flags,
        ]
        .concat();
        let matches = (STEP.command)().try_get_matches_from(argv).unwrap();
        let following = run(Args::from_arg_matches(&matches).unwrap(), cx.clone());
        let cancelling = async {
            while world.github.workflow_runs(REPO).first().is_none_or(|run| run["status"] == "queued") {
                tokio::task::yield_now().await;
            }
            cx.cancel(Code::Terminated);
        };
        let (ended, ()) = tokio::join!(following, cancelling);
        assert_eq!(ended.unwrap_err().code(), Code::Terminated);
        assert_eq!(world.github.workflow_runs(REPO)[0]["conclusion"], conclusion);
        let _ = std::fs::remove_dir_all(std::env::temp_dir().join(format!("cutover-test-{}", cx.run_id())));
    }
}

#[test]
fn the_text_is_the_same_in_each_attempt_and_another_for_another_thing() {
    let env: Env =
        [("GITHUB_ACTIONS", "true"), ("GITHUB_RUN_ID", "7"), ("GITHUB_JOB", "build")].into_iter().collect();
    let mark = |env: &Env, flags: &[&str]| {
        let argv =
            [&["dispatch-workflow", "--workflow", "build.yml", "--ref", "v2.1.0", "--id-input", "x"], flags]
                .concat();
        let matches = (STEP.command)().try_get_matches_from(argv).unwrap();
        Args::from_arg_matches(&matches).unwrap().request(env, "run", REPO.to_owned()).unwrap().mark.unwrap()
    };
    let marks: BTreeMap<&str, Mark> = [
        ("one", mark(&env, &["--input", "a=1", "--input", "b=2"])),
        ("order", mark(&env, &["--input", "b=2", "--input", "a=1"])),
        ("other", mark(&env, &["--input", "a=1"])),
    ]
    .into_iter()
    .collect();
    assert_eq!(marks["one"], marks["order"]);
    assert_ne!(marks["one"].text, marks["other"].text);
    assert!(marks["one"].is_stable && !mark(&Env::default(), &[]).is_stable);
    assert!(mark(&Env::default(), &["--id", "nightly-12"]).is_stable);
}
