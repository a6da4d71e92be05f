use kit::{Code, Note};

use super::checks::{Run, is_of, passed_over};
use super::judge::judge;
use super::*;

fn check(name: &str, state: &str) -> Check {
    Check { name: name.into(), app: None, state: state.into(), url: None }
}

fn seen(all: &[(&str, &str)]) -> Seen {
    let all = all.iter().map(|(name, state)| check(name, state)).collect();
    Seen {
        branch: Some(Branch { name: "main".into(), relation: "identical".into() }),
        checks: Some(Checks { all, by_branch: true, runs_known: true, ..Checks::default() }),
        ..Seen::default()
    }
}

fn wanting(names: &[&str], all: &[(&str, &str)]) -> Seen {
    let mut seen = seen(all);
    let wanted = names.iter().map(|name| Wanted { name: (*name).into(), app: None }).collect();
    if let Some(checks) = &mut seen.checks {
        checks.wanted = wanted;
    }
    seen
}

fn why(seen: &Seen) -> String {
    let refused = judge("tag it", seen).unwrap_err();
    assert_eq!(refused.code(), Code::Refused);
    refused.chain().join(" ")
}

fn said(seen: &Seen) -> String {
    let text = |note: &Note| match note {
        Note::Info(text) | Note::Warning(text) => text.clone(),
    };
    judge("tag it", seen).unwrap().iter().map(text).collect::<Vec<_>>().join("; ")
}

/// The words of the compare API.
#[test]
fn the_branch_has_a_commit_that_is_its_head_or_behind_it() {
    for (relation, has) in [("identical", true), ("behind", true), ("ahead", false), ("diverged", false)] {
        let mut seen = seen(&[("test", "success")]);
        seen.branch = Some(Branch { name: "release/2.1".into(), relation: relation.into() });
        assert_eq!(judge("tag it", &seen).is_ok(), has, "{relation}");
    }
    assert!(said(&Seen { branch: None, ..seen(&[("test", "success")]) }).contains("was not looked at"));
}

/// Conclusions of check runs and states of statuses, from the API's documentation.
#[test]
fn green_is_success_neutral_and_skipped_and_nothing_else() {
    for state in ["success", "neutral", "skipped"] {
        assert!(judge("tag it", &seen(&[("build", "success"), ("test", state)])).is_ok(), "{state}");
    }
    for state in [
        "failure",
        "cancelled",
        "timed_out",
        "action_required",
        "stale",
        "startup_failure",
        "queued",
        "in_progress",
        "waiting",
        "requested",
        "pending",
        "error",
    ] {
        let why = why(&seen(&[("build", "success"), ("test", state)]));
        assert!(why.contains(&format!("test ({state})")) && !why.contains("build"), "{why}");
    }
}

#[test]
fn none_at_all_is_not_green() {
    assert!(why(&seen(&[])).contains("none at all is not green"));
    assert!(why(&seen(&[("lint", "skipped"), ("docs", "neutral")])).contains("all were skipped"));
    let mut own = seen(&[]);
    if let Some(checks) = &mut own.checks {
        checks.passed_over = 3;
    }
    assert!(why(&own).contains("but those of this workflow"));
}

#[test]
fn of_the_required_each_must_be_there_and_the_others_do_not_count() {
    let ran = [("build", "success"), ("flaky", "failure")];
    assert!(judge("tag it", &wanting(&["build"], &ran)).is_ok());
    assert!(why(&wanting(&["build", "deploy"], &ran)).contains("deploy (it did not run on this commit)"));
    // Of two workflows with a job of that name, both count.
    assert!(
        why(&wanting(&["build"], &[("build", "success"), ("build", "failure")])).contains("build (failure)")
    );
}

#[test]
fn another_app_does_not_speak_for_the_required_one() {
    let mut seen = wanting(&["build"], &[("build", "success")]);
    let checks = seen.checks.as_mut().unwrap();
    checks.wanted[0].app = Some(15368);
    checks.all[0].app = Some(1);
    assert!(why(&seen).contains("build of the app 15368"));
    seen.checks.as_mut().unwrap().all[0].app = Some(15368);
    assert!(judge("tag it", &seen).is_ok());
}

#[test]
fn an_open_pull_request_shuts_the_gate() {
    let open = Open { number: 7, title: "Votes".into(), why: "milestone 2.1".into() };
    let blocked =
        Seen { open: vec![open], asked: vec!["in the milestone 2.1".into()], ..seen(&[("test", "success")]) };
    assert!(why(&blocked).contains("#7 Votes (milestone 2.1)"));
    let free = Seen { open: Vec::new(), ..blocked };
    assert!(said(&free).contains("no pull request is open in the milestone 2.1"));
}

#[test]
fn a_long_list_is_counted() {
    let names: Vec<String> = (0..13).map(|n| format!("job {n}")).collect();
    let all: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "failure")).collect();
    assert!(why(&seen(&all)).ends_with("and 3 more"), "{}", why(&seen(&all)));
}

fn run(id: u64, suite: u64, path: &str, event: &str) -> Run {
    let (path, event) = (Some(path.into()), Some(event.into()));
    Run {
        id,
        check_suite_id: Some(suite),
        path,
        event,
        head_branch: Some("main".into()),
        name: None,
        status: None,
        conclusion: None,
        html_url: None,
    }
}

#[test]
fn a_run_of_another_branch_does_not_hide_one() {
    let mut runs =
        [run(10, 1, ".github/workflows/ci.yml", "push"), run(12, 3, ".github/workflows/ci.yml", "push")];
    runs[1].head_branch = Some("hotfix".into());
    assert!(passed_over(&runs, None).is_empty());
    runs[1].head_branch = Some("main".into());
    assert_eq!(passed_over(&runs, None).into_iter().collect::<Vec<_>>(), [1]);
}

#[test]
fn earlier_runs_of_a_workflow_and_all_of_our_own_are_passed_over() {
    let runs = [
        run(10, 1, ".github/workflows/ci.yml", "push"),
        run(11, 2, ".github/workflows/ci.yml", "pull_request"),
        run(12, 3, ".github/workflows/ci.yml", "push"),
        run(13, 4, ".github/workflows/release.yml", "workflow_dispatch"),
    ];
    let suites = |own| passed_over(&runs, own).into_iter().collect::<Vec<_>>();
    assert_eq!(suites(None), [1]);
    assert_eq!(suites(Some(".github/workflows/release.yml")), [1, 4]);
}

#[test]
fn a_check_of_this_run_is_known_by_its_page() {
    assert!(is_of("https://github.com/o/r/actions/runs/12/job/99", "12"));
    assert!(is_of("https://github.com/o/r/actions/runs/12", "12"));
    assert!(!is_of("https://github.com/o/r/actions/runs/123/job/12", "12"));
    assert!(!is_of("https://ci.example.org/12", "12"));
}
