//! The gates against a GitHub whose answers have the shapes of its documentation.

use crate::tests::{REPO, TAG, World};
use kit::Code;
use serde_json::json;
use testkit::github::Fault;

async fn shut(world: &World, flags: &[&str], says: &[&str]) {
    let (code, told) = world.run(flags).await.refused();
    assert_eq!(code, Code::Refused, "{told}");
    for text in says {
        assert!(told.contains(text), "{text:?} is not in: {told}");
    }
    assert!(world.github.writes().is_empty(), "{:?}", world.github.writes());
}

#[tokio::test]
async fn a_commit_that_the_branch_does_not_have_is_not_tagged() {
    let mut world = World::new().await;
    world.github.commit(REPO, "hotfix", "Mend");
    world.sha = world.github.refs(REPO).into_iter().find(|(name, _)| name == "refs/heads/hotfix").unwrap().1;
    world.github.check_run(REPO, &world.sha, &json!({}));
    shut(&world, &[], &["the branch main does not have the commit (ahead)", "--branch NAME"]).await;
    shut(&world, &["--branch", "hotfx"], &["no such branch"]).await;
    world.run(&["--branch", "hotfix"]).await.result.unwrap();
    world.assert_released();
}

#[tokio::test]
async fn the_branch_may_have_moved_on() {
    let world = World::new().await;
    world.github.commit(REPO, "main", "Next");
    world.run(&[]).await.result.unwrap();
    world.assert_released();
}

#[tokio::test]
async fn red_pending_and_missing_checks_shut_the_gate_and_green_ones_open_it() {
    let world = World::untested().await;
    shut(&world, &[], &["none at all is not green", "--no-checks"]).await;
    // GitHub says `pending` of a commit without any status: that is no status.
    world.github.check_run(REPO, &world.sha, &json!({"name": "build"}));
    world.github.check_run(
        REPO,
        &world.sha,
        &json!({"name": "test", "status": "in_progress", "conclusion": null}),
    );
    shut(&world, &[], &["test (in_progress"]).await;
    shut(&world, &["--check", "lint"], &["lint (it did not run on this commit)"]).await;
    let ran = world.run(&["--check", "build"]).await;
    ran.result.unwrap();
    world.assert_released();
}

#[tokio::test]
async fn statuses_count_as_check_runs_do() {
    let world = World::new().await;
    let body = json!({"state": "failure", "context": "jenkins/acceptance", "target_url": "https://ci.example.org/7"});
    world.github.status(REPO, &world.sha, &body);
    shut(&world, &[], &["jenkins/acceptance (failure, https://ci.example.org/7)"]).await;
    let body = json!({"state": "success", "context": "jenkins/acceptance"});
    world.github.status(REPO, &world.sha, &body);
    world.run(&[]).await.result.unwrap();
}

#[tokio::test]
async fn what_the_branch_requires_is_read_from_its_rules_and_its_protection() {
    let rule = json!({
        "type": "required_status_checks",
        "parameters": {"strict_required_status_checks_policy": false, "required_status_checks": [{"context": "test", "integration_id": 15368}]},
        "ruleset_source_type": "Repository", "ruleset_source": REPO, "ruleset_id": 42,
    });
    let protection = json!({
        "enabled": true,
        "required_status_checks": {"enforcement_level": "everyone", "contexts": ["legacy"], "checks": [{"context": "legacy", "app_id": null}]},
    });
    let world = World::new().await;
    world.github.check_run(REPO, &world.sha, &json!({"name": "flaky", "conclusion": "failure"}));
    shut(&world, &[], &["flaky (failure"]).await;
    world.github.rules(REPO, "main", &[json!({"type": "deletion"}), rule], Some(&protection));
    shut(&world, &[], &["legacy (it did not run on this commit)"]).await;
    world.github.check_run(REPO, &world.sha, &json!({"name": "legacy", "app": {"id": 1}}));
    world.run(&[]).await.result.unwrap();
}

#[tokio::test]
async fn this_run_and_yesterdays_release_do_not_hold_it_up() {
    let world = World::untested().await;
    let page = |run: u64| format!("https://github.com/{REPO}/actions/runs/{run}/job/1");
    let check = |name: &str, run: u64, conclusion: Option<&str>| {
        let status = if conclusion.is_some() { "completed" } else { "in_progress" };
        json!({"name": name, "status": status, "conclusion": conclusion, "details_url": page(run), "check_suite": {"id": 1000 + run}})
    };
    let run = |id: u64, path: &str, event: &str| json!({"id": id, "check_suite_id": 1000 + id, "path": path, "event": event, "head_sha": world.sha});
    for (id, path, event) in [
        (6, ".github/workflows/release.yml", "workflow_dispatch"),
        (7, ".github/workflows/release.yml", "workflow_dispatch"),
        (3, ".github/workflows/ci.yml", "push"),
        (4, ".github/workflows/ci.yml", "push"),
    ] {
        world.github.workflow_run(REPO, &run(id, path, event));
    }
    for check in
        [check("deploy", 6, Some("failure")), check("tag", 7, None), check("test", 3, Some("failure"))]
    {
        world.github.check_run(REPO, &world.sha, &check);
    }
    let job = [
        ("GITHUB_SHA", &*world.sha),
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_RUN_ID", "7"),
        ("GITHUB_WORKFLOW_REF", "acme/rally/.github/workflows/release.yml@refs/heads/main"),
    ];
    let (_, told) = world.run_in(&job, &[]).await.refused();
    assert!(told.contains("but those of this workflow"), "{told}");
    world.github.check_run(REPO, &world.sha, &check("test", 4, Some("success")));
    world.run_in(&job, &[]).await.result.unwrap();
    world.assert_released();
}

/// A job has a check from the moment when it may begin
/// (<https://docs.github.com/en/actions/how-tos/write-workflows/choose-when-workflows-run/control-workflow-concurrency>): a run
/// that waits for its group has none at all.
#[tokio::test]
async fn a_workflow_whose_jobs_have_not_begun_holds_it_up() {
    let page = |id: u64| format!("https://github.com/{REPO}/actions/runs/{id}");
    for (status, conclusion, shown) in [
        ("pending", None, "pending"),
        ("in_progress", None, "in_progress"),
        ("completed", Some("startup_failure"), "startup_failure"),
        ("completed", Some("cancelled"), "cancelled"),
    ] {
        let world = World::new().await;
        let run = |status: &str, conclusion: Option<&str>, id: u64| {
            json!({
                "id": id, "check_suite_id": 1000 + id, "name": "Tests", "path": ".github/workflows/tests.yml", "event": "push",
                "status": status, "conclusion": conclusion, "head_sha": world.sha, "html_url": page(id),
            })
        };
        world.github.workflow_run(REPO, &run(status, conclusion, 3));
        shut(&world, &[], &[&format!("the workflow Tests ({shown}, {})", page(3))]).await;
        // Its first job has ended; the next one has not begun.
        let job = json!({"name": "build", "check_suite": {"id": 1003}, "details_url": page(3)});
        world.github.check_run(REPO, &world.sha, &job);
        shut(&world, &[], &[&format!("the workflow Tests ({shown}, {})", page(3))]).await;
        // A job that tells so itself is named alone.
        let red = json!({"name": "lint", "conclusion": "failure", "check_suite": {"id": 1003}, "details_url": page(3)});
        world.github.check_run(REPO, &world.sha, &red);
        let (_, told) = world.run(&[]).await.refused();
        assert!(told.contains("lint (failure") && !told.contains("the workflow"), "{told}");
        // Whoever names the checks that count waits for no other.
        world.run(&["--check", "build"]).await.result.unwrap();
        world.assert_released();
    }
    let world = World::new().await;
    let run = |id: u64, conclusion: &str| {
        json!({
            "id": id, "check_suite_id": 1000 + id, "path": ".github/workflows/tests.yml", "event": "push", "status": "completed",
            "conclusion": conclusion, "head_sha": world.sha,
        })
    };
    // Done again, and green.
    world.github.workflow_run(REPO, &run(3, "cancelled"));
    world.github.workflow_run(REPO, &run(4, "success"));
    world.run(&[]).await.result.unwrap();
    world.assert_released();
}

/// A job of this run that has succeeded tells nothing of the commit, unless somebody asks for it by name.
#[tokio::test]
async fn the_jobs_of_this_run_are_no_tests_of_the_commit() {
    let world = World::untested().await;
    let page = format!("https://github.com/{REPO}/actions/runs/7/job/1");
    world.github.check_run(REPO, &world.sha, &json!({"name": "version", "details_url": page}));
    let job = [("GITHUB_SHA", &*world.sha), ("GITHUB_ACTIONS", "true"), ("GITHUB_RUN_ID", "7")];
    let (_, told) = world.run_in(&job, &[]).await.refused();
    assert!(told.contains("but those of this workflow"), "{told}");
    world.run_in(&job, &["--check", "version"]).await.result.unwrap();
    world.assert_released();
}

#[tokio::test]
async fn a_workflow_of_the_same_name_in_another_repository_is_another_one() {
    let world = World::new().await;
    let run = json!({"id": 3, "check_suite_id": 1003, "path": ".github/workflows/ci.yml", "event": "push", "head_sha": world.sha});
    world.github.workflow_run(REPO, &run);
    let red = json!({"name": "test", "conclusion": "failure", "check_suite": {"id": 1003}});
    world.github.check_run(REPO, &world.sha, &red);
    let of = |repository: &str| format!("{repository}/.github/workflows/ci.yml@refs/heads/main");
    for (repository, is_shut) in [("acme/releases", true), (&*REPO.to_uppercase(), false)] {
        let workflow = of(repository);
        let job = [
            ("GITHUB_SHA", &*world.sha),
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_RUN_ID", "7"),
            ("GITHUB_WORKFLOW_REF", &workflow),
        ];
        let ran = world.run_in(&job, &[]).await;
        assert_eq!(ran.result.is_err(), is_shut, "{repository}");
    }
    world.assert_released();
}

#[tokio::test]
async fn open_pull_requests_of_the_milestone_or_with_the_label_hold_it_up() {
    let world = World::new().await;
    world.github.open(REPO, "Later", true, Some("2.2"), &[]);
    world.github.open(REPO, "An issue", false, Some("2.1"), &["release blocker"]);
    world.github.open(REPO, "Votes", true, Some("2.1"), &[]);
    world.github.open(REPO, "Data loss", true, None, &["release blocker"]);
    let flags = ["--milestone", "2.1", "--blocking-label", "release blocker"];
    shut(&world, &flags, &["#3 Votes (milestone 2.1)", "#4 Data loss (label release blocker)"]).await;
    shut(&world, &["--milestone", "2.0"], &["there are: 2.2, 2.1"]).await;
    shut(&world, &["--blocking-label", "blocker"], &["no such label"]).await;
    world.github.close(REPO, "Votes");
    world.github.close(REPO, "Data loss");
    world.run(&flags).await.result.unwrap();
}

#[tokio::test]
async fn what_the_token_may_not_see_is_not_taken_for_green() {
    let world = World::new().await;
    let denied = || Fault::status("GET", "check-runs", 403, "Resource not accessible by integration");
    world.github.fault(denied());
    let (code, told) = world.run(&[]).await.refused();
    assert_eq!(code, Code::Failed);
    assert!(told.contains("permissions: checks: read"), "{told}");
    world.github.clear_faults();
    world.github.open(REPO, "Votes", true, Some("2.1"), &[]);
    world.github.fault(Fault::status("GET", "/pulls", 403, "Resource not accessible by integration"));
    let (code, told) = world.run(&["--milestone", "2.1"]).await.refused();
    assert_eq!(code, Code::Failed);
    assert!(told.contains("pull-requests: read"), "{told}");
    world.github.clear_faults();
    // Only which run a check belongs to stays unknown.
    world.github.fault(Fault::status("GET", "/actions/runs", 403, "Resource not accessible by integration"));
    world.run(&[]).await.result.unwrap();
}

#[tokio::test]
async fn what_is_there_is_not_asked_for_again() {
    let world = World::new().await;
    world.run(&[]).await.result.unwrap();
    world.github.check_run(REPO, &world.sha, &json!({"name": "nightly", "conclusion": "failure"}));
    assert!(!world.run(&[]).await.result.unwrap().changed);
    assert_eq!(world.tag().as_deref(), Some(&*world.sha), "{TAG}");
}
