//! Judgement by table: receipts in, story out.

use std::path::PathBuf;

use kit::Receipt;
use serde_json::{Value, json};

use crate::expect::Expect;
use crate::jobs::Jobs;
use crate::mask::mask;
use crate::observe::{Found, Lying};
use crate::plan::{Asked, plan};
use crate::story::{Story, Way};
use crate::{html, markdown, mermaid, text};

/// A receipt as `docs/receipts.md` has it, of a run that began so many seconds after nine.
fn receipt(step: &str, run: &str, second: i64, more: Value) -> Lying {
    let at = |second: i64| format!("2026-11-22T09:{:02}:{:02}Z", second / 60, second % 60);
    let mut document = json!({
        "schema": "cutover-receipt/1", "step": step, "version": "0.1.0", "run": run, "arguments": {},
        "account": null, "region": null, "github": null, "started": at(second), "ended": at(second + 5),
        "observed": null, "plan": null, "actions": [], "outputs": {},
        "verdict": {"code": 0, "message": format!("{step} is done")}, "undo_of": null,
    });
    for (key, value) in more.as_object().unwrap() {
        document[key] = value.clone();
    }
    let path = PathBuf::from(format!("receipts/receipts-{run}/{step}.json"));
    let receipt = Receipt::parse(&document.to_string(), &path.display()).unwrap();
    Lying { path, receipt, lacks: Vec::new() }
}

fn action(id: &str, run: &str, state: &str, reversible: bool) -> Value {
    json!({
        "id": id, "run": run, "does": format!("do {id}"), "undo": format!("undo {id}"),
        "reversible": reversible, "state": state, "inverse": {}, "result": null,
    })
}

fn job(job: &str, attempt: &str) -> Value {
    json!({"GITHUB_REPOSITORY": "o/r", "GITHUB_RUN_ID": "7", "GITHUB_JOB": job, "GITHUB_RUN_ATTEMPT": attempt})
}

fn story(receipts: Vec<Lying>, expect: &[&str]) -> Story {
    let asked = Asked {
        title: None,
        expect: expect.iter().map(|text| text.parse::<Expect>().unwrap()).collect(),
        jobs: Vec::new(),
        places: vec!["receipts".into()],
    };
    plan(Found { receipts, ..Found::default() }, &asked)
}

fn ended(code: u8) -> Value {
    json!({"code": code, "message": "it said why"})
}

#[test]
fn a_run_without_a_verdict_is_never_shown_as_done() {
    let killed = receipt(
        "deploy-service",
        "a",
        0,
        json!({"ended": null, "verdict": null, "actions": [
            action("x", "a", "done", true), action("y", "a", "started", true), action("z", "a", "planned", true),
        ]}),
    );
    let story = story(vec![killed], &[]);
    assert_eq!(story.verdict.word(), "killed");
    assert_eq!((story.changes, story.in_doubt), (1, 1));
    assert_eq!(
        story.headline,
        "1 of 1 run did not end well: deploy-service (1) no verdict; 1 change is made; 1 in doubt"
    );
    let states: Vec<&str> = story.runs[0].actions.iter().map(super::story::Act::state_words).collect();
    assert_eq!(states, ["done", "in doubt", "not done"]);
    assert_eq!(story.back[0].takes_back, ["in doubt: undo y", "undo x"]);
    let gantt = mermaid::gantt(&story).unwrap();
    assert!(gantt.contains("1 deploy-service, no verdict :crit, r1,"), "{gantt}");
    for drawn in [markdown::file(&story), html::page(&story), text::text(&story).to_lowercase()] {
        assert!(drawn.contains("no verdict: killed"), "{drawn}");
        assert!(drawn.replace("</strong>", "").contains("in doubt: do y"), "{drawn}");
    }
}

#[test]
fn the_worst_current_run_says_how_the_release_stands() {
    for (codes, word) in [
        (&[0, 0][..], "done"),
        (&[0, 3], "refused"),
        (&[3, 1], "failed"),
        (&[1, 4, 3], "partial"),
        (&[5, 6, 1], "unverified"),
        (&[143, 7], "terminated"),
        (&[9, 4], "unknown"),
    ] {
        let receipts = codes
            .iter()
            .enumerate()
            .map(|(n, code)| {
                let at = i64::try_from(n).unwrap();
                receipt(
                    "wait-healthy",
                    &n.to_string(),
                    at,
                    json!({"verdict": ended(*code), "arguments": {"url": n.to_string()}}),
                )
            })
            .collect();
        assert_eq!(story(receipts, &[]).verdict.word(), word, "{codes:?}");
    }
    assert_eq!(story(vec![], &[]).verdict.word(), "none");
    assert_eq!(story(vec![], &["backup-db"]).verdict.word(), "incomplete");
}

#[test]
fn a_job_that_ran_again_is_judged_by_its_last_attempt() {
    // The first attempt backed up and failed to migrate; the second did both, with another backup, so with other arguments.
    let receipts = vec![
        receipt(
            "run-migration",
            "d",
            300,
            json!({"github": job("data", "2"), "arguments": {"require-backup": "2"}}),
        ),
        receipt("backup-db", "a", 0, json!({"github": job("data", "1")})),
        receipt(
            "run-migration",
            "b",
            10,
            json!({"github": job("data", "1"), "verdict": ended(4), "arguments": {"require-backup": "1"}}),
        ),
        receipt("backup-db", "c", 290, json!({"github": job("data", "2")})),
    ];
    let story = story(receipts, &["run-migration", "data/backup-db", "deploy/backup-db"]);
    let order: Vec<(&str, Option<u64>, Option<usize>)> =
        story.runs.iter().map(|run| (run.step.as_str(), run.attempt, run.superseded_by)).collect();
    assert_eq!(
        order,
        [
            ("backup-db", Some(1), Some(3)),
            ("run-migration", Some(1), Some(3)),
            ("backup-db", Some(2), None),
            ("run-migration", Some(2), None),
        ]
    );
    assert_eq!(story.verdict.word(), "incomplete");
    assert_eq!(story.missing, ["deploy/backup-db"]);
    // It is told all the same.
    assert!(markdown::file(&story).contains("**run-migration (2) failed part-way** (job data, 09:00:10)"));
}

#[test]
fn a_leg_of_a_matrix_that_did_not_run_again_stays() {
    let leg = |run: &str, at, attempt: &str, stack: &str, code| {
        let fields =
            json!({"github": job("stacks", attempt), "verdict": ended(code), "arguments": {"stack": stack}});
        receipt("deploy-stack", run, at, fields)
    };
    // "Re-run failed jobs": of three legs, one.
    let receipts = vec![
        leg("a", 0, "1", "core", 0),
        leg("b", 1, "1", "api", 5),
        leg("c", 2, "1", "redis", 0),
        leg("d", 90, "2", "api", 0),
    ];
    let told = story(receipts, &[]);
    let superseded: Vec<Option<usize>> = told.runs.iter().map(|run| run.superseded_by).collect();
    assert_eq!(superseded, [None, Some(4), None, None]);
    assert_eq!(told.verdict.word(), "done");
    // Twice more: what the second attempt mended, the third does not bring back.
    let receipts = vec![
        leg("a", 0, "1", "core", 0),
        leg("b", 1, "1", "api", 5),
        leg("c", 2, "1", "redis", 5),
        leg("d", 90, "2", "api", 5),
        leg("e", 91, "2", "redis", 0),
        leg("f", 180, "3", "api", 0),
    ];
    let told = story(receipts, &[]);
    let stays: Vec<bool> = told.runs.iter().map(|run| run.superseded_by.is_none()).collect();
    assert_eq!(stays, [true, false, false, false, true, true]);
    assert_eq!(told.verdict.word(), "done");
    // A job that has the step twice and ran again as a whole is one job, whatever differs in its arguments.
    let receipts = vec![
        leg("a", 0, "1", "core-1", 0),
        leg("b", 1, "1", "api", 5),
        leg("c", 90, "2", "core-2", 0),
        leg("d", 91, "2", "api", 0),
    ];
    let superseded: Vec<bool> =
        story(receipts, &[]).runs.iter().map(|run| run.superseded_by.is_some()).collect();
    assert_eq!(superseded, [true, true, false, false]);
}

#[test]
fn at_a_terminal_the_same_command_counts_once_and_another_does_not_hide_it() {
    let of = |run: &str, at, url: &str, code| {
        receipt("wait-healthy", run, at, json!({"verdict": ended(code), "arguments": {"url": url}}))
    };
    let same = story(vec![of("a", 0, "u", 5), of("b", 10, "u", 0)], &[]);
    assert_eq!(same.verdict.word(), "done");
    let other = story(vec![of("a", 0, "u", 5), of("b", 10, "v", 0)], &[]);
    assert_eq!(other.verdict.word(), "unverified");
}

#[test]
fn the_way_back_is_the_way_there_in_reverse_and_what_stays_is_in_its_place() {
    let mut migration = action("apply-1", "c", "done", false);
    migration["inverse"] = json!({"restore": "restore s3://b/k into a new database"});
    let receipts = vec![
        receipt(
            "backup-db",
            "b",
            10,
            json!({"actions": [action("upload", "b", "done", true), action("manifest", "b", "done", true)]}),
        ),
        receipt("run-migration", "c", 20, json!({"actions": [migration]})),
        receipt("deploy-service", "d", 30, json!({"actions": [action("update", "d", "done", true)]})),
        receipt(
            "deploy-stack",
            "e",
            25,
            json!({"actions": [action("set", "e", "done", true), action("run", "e", "done", false)]}),
        ),
        receipt("tag-release", "a", 0, json!({"actions": [action("tag", "a", "planned", true)]})),
    ];
    let story = story(receipts, &[]);
    let ways: Vec<(&str, Way)> = story.back.iter().map(|way| (way.command.as_str(), way.kind)).collect();
    assert_eq!(
        ways,
        [
            ("deploy-service --undo receipts/receipts-d/deploy-service.json", Way::Whole),
            ("deploy-stack --undo receipts/receipts-e/deploy-stack.json --dry-run", Way::Partly),
            ("run-migration --undo receipts/receipts-c/run-migration.json --dry-run", Way::Not),
            // Whoever copies this list from top to bottom must not delete the backup that the migration's way back needs.
            ("backup-db --undo receipts/receipts-b/backup-db.json --dry-run", Way::Whole),
        ]
    );
    assert_eq!(story.back[2].restore.as_deref(), Some("restore s3://b/k into a new database"));
    assert_eq!(story.back[3].takes_back, ["undo manifest", "undo upload"]);
    assert!(
        story.back[3].cautions[0].starts_with("run-migration (3) came later and stays"),
        "{:?}",
        story.back[3]
    );
}

#[test]
fn what_may_have_put_something_back_is_not_taken_back_unread() {
    let of = |run: &str, at| {
        receipt("deploy-service", run, at, json!({"actions": [action("update", run, "done", true)]}))
    };
    let story = story(vec![of("a", 0), of("b", 10)], &[]);
    let commands: Vec<&str> = story.back.iter().map(|way| way.command.as_str()).collect();
    assert_eq!(
        commands,
        [
            "deploy-service --undo receipts/receipts-b/deploy-service.json --dry-run",
            "deploy-service --undo receipts/receipts-a/deploy-service.json",
        ]
    );
    assert!(story.back[0].cautions[0].contains("deploy-service (1) came earlier"), "{:?}", story.back[0]);
    assert!(story.back[1].cautions[0].contains("deploy-service (2) came later"), "{:?}", story.back[1]);
}

#[test]
fn what_an_undo_took_back_is_not_offered_again() {
    let first =
        || receipt("toggle-schedule", "a", 0, json!({"actions": [action("rule", "a", "done", true)]}));
    let undo = |code| {
        let actions = json!([{
            "id": "rule", "run": "u", "does": "put it back", "undo": "run the step again", "reversible": false,
            "state": "done", "inverse": null, "result": null,
        }]);
        receipt(
            "toggle-schedule",
            "u",
            60,
            json!({"undo_of": "a", "verdict": ended(code), "actions": actions}),
        )
    };
    let taken = story(vec![first(), undo(0)], &[]);
    assert!(taken.back.is_empty(), "{:?}", taken.back);
    assert_eq!((taken.changes, taken.runs[0].actions[0].state_words()), (0, "taken back"));
    assert_eq!(taken.runs[0].taken_back_by, Some(2));
    let half = story(vec![first(), undo(4)], &[]);
    assert_eq!(half.back.len(), 1);
    assert!(half.back[0].cautions[0].starts_with("(2) began to take it back"), "{:?}", half.back[0].cautions);
}

#[test]
fn a_receipt_that_another_continues_or_copies_counts_once() {
    let first = || {
        receipt(
            "run-migration",
            "a",
            0,
            json!({"verdict": ended(4), "actions": [action("m1", "a", "done", true)]}),
        )
    };
    let second = receipt(
        "run-migration",
        "b",
        60,
        json!({"actions": [action("m1", "a", "done", true), action("m2", "b", "done", true)]}),
    );
    let continued = story(vec![first(), second], &[]);
    assert_eq!((continued.changes, continued.runs[0].continued_by), (2, Some(2)));
    assert_eq!(continued.back.len(), 1);
    assert_eq!(continued.back[0].takes_back, ["undo m2", "undo m1"]);

    let mut copy = first();
    copy.path = "receipts/again/run-migration.json".into();
    copy.receipt.actions[0].state = kit::ActionState::Undone;
    let copied = story(vec![first(), copy], &[]);
    assert_eq!((copied.runs.len(), copied.changes), (1, 0));
    assert_eq!(
        copied.notes,
        [
            "receipts/receipts-a/run-migration.json is another copy of receipts/again/run-migration.json, and was passed over"
        ]
    );
}

#[test]
fn nothing_from_outside_gets_out_of_its_place() {
    let nasty = "a|b`c` <script>alert(1)</script> \"x\" 'y' &amp; \u{1b}[31m\u{202e}\n::error::no\n```\n# h; : @ops #12";
    let receipts = vec![receipt(
        "tag-release",
        "a",
        0,
        json!({
            "github": {"GITHUB_JOB": "j; crit: x\n  section #y", "GITHUB_REPOSITORY": nasty, "GITHUB_RUN_ID": "1"},
            "verdict": {"code": 3, "message": nasty, "causes": [nasty], "help": [nasty], "state": [nasty]},
            "outputs": {"o": nasty}, "arguments": {"flag": [nasty, "-"]},
            "actions": [{"id": "x", "run": "a", "does": nasty, "undo": nasty, "reversible": true, "state": "done", "inverse": null, "result": null}],
        }),
    )];
    let story = story(receipts, &[]);
    let page = html::page(&story);
    assert!(!page.contains("<script") && !page.contains("alert(1)</"), "{page}");
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    let file = markdown::file(&story);
    assert!(!file.contains("<script") && !file.contains("@ops, ") && !file.contains("\n```\n# h"), "{file}");
    // One fence, opened and closed by us.
    assert_eq!(file.matches("\n```").count(), 2, "{file}");
    for row in file.lines().filter(|line| line.starts_with("| ")) {
        let bars = row.replace("\\|", "").matches('|').count();
        assert!(matches!(bars, 3 | 8), "{row}");
    }
    let gantt = mermaid::gantt(&story).unwrap();
    for line in gantt.lines().skip(5) {
        let label = line.split(" :").next().unwrap();
        assert!(!label.contains([':', ';', '#', '"', '%']), "{line}");
    }
    assert_eq!(gantt.lines().count(), 7, "{gantt}");
    for drawn in [page, file, text::text(&story)] {
        assert!(!drawn.contains('\u{1b}') && !drawn.contains('\u{202e}'));
        assert!(!drawn.lines().any(|line| line.trim_start().starts_with("::")), "{drawn}");
    }
}

#[test]
fn what_looks_like_a_secret_is_masked_and_what_names_one_is_not() {
    for (text, shown) in [
        ("postgresql://u:hunter2@h:5432/db", "postgresql://u:***@h:5432/db"),
        ("x=postgresql://u:p&w,d@h/db and redis://:pw@h", "x=postgresql://u:***@h/db and redis://:***@h"),
        ("postgresql://u@h/db", "postgresql://u@h/db"),
        ("postgresql://u:p/w?d@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:p@w/d@h/db", "postgresql://u:***@h/db"),
        (
            "http://h:8080/x@v1 http://[::1]:80/x@v1 ssh://git@h:o/r@v1",
            "http://h:8080/x@v1 http://[::1]:80/x@v1 ssh://git@h:o/r@v1",
        ),
        ("input DB_PASSWORD=abc, x=1", "input DB_PASSWORD=***, x=1"),
        (
            "https://b.s3.amazonaws.com/k?X-Amz-Signature=0a1b&v=2",
            "https://b.s3.amazonaws.com/k?X-Amz-Signature=***&v=2",
        ),
        (
            "app:DB_PASSWORD=arn:aws:secretsmanager:us-east-1:1:secret:x",
            "app:DB_PASSWORD=arn:aws:secretsmanager:us-east-1:1:secret:x",
        ),
        (
            r#"{"db_password": "abc", "user":"u","token":"t0"}"#,
            r#"{"db_password": "***", "user":"u","token":"***"}"#,
        ),
        (
            r#"{"secret": {"arn": "a"}} the password: it is kept"#,
            r#"{"secret": {"arn": "a"}} the password: it is kept"#,
        ),
        ("token ghp_0123456789abcdefghijKLMNOPQRSTUVWXYZ end", "token *** end"),
        ("key AKIAIOSFODNN7EXAMPLE.", "key ***."),
        ("AKIAIOSFODNN7EXAMPLE:ghp_0123456789abcdefghijKLMNOPQRSTUVWXYZ/xghp_", "***:***/xghp_"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc", "***"),
        ("image=web@sha256:0", "image=web@sha256:0"),
        ("create the tag v2.1.0; no secret", "create the tag v2.1.0; no secret"),
    ] {
        assert_eq!(mask(text), shown);
    }
    let given = json!({"outputs": {"access-token": "s3cret"}, "arguments": {"input": ["api_key=s3cret"]}});
    let story = story(vec![receipt("dispatch-workflow", "a", 0, given)], &[]);
    for drawn in [html::page(&story), markdown::file(&story), serde_json::to_string(&story).unwrap()] {
        assert!(!drawn.contains("s3cret") && drawn.contains("***"), "{drawn}");
    }
}

#[test]
fn a_report_of_very_much_stays_within_its_bounds() {
    let long = "x".repeat(5_000);
    let receipts = (0..300)
        .map(|n| {
            let run = format!("{n:04}");
            let actions: Vec<Value> = (0..3)
                .map(|id| {
                    let mut one = action(&id.to_string(), &run, "done", true);
                    one["does"] = json!(long);
                    one
                })
                .collect();
            receipt("copy-objects", &run, n, json!({"actions": actions, "arguments": {"n": run}}))
        })
        .collect();
    let story = story(receipts, &[]);
    assert!(markdown::file(&story).len() < 900 * 1024);
    assert!(html::page(&story).len() < 20 * 1024 * 1024);
    // <https://mermaid.js.org/config/schema-docs/config-properties-maxtextsize.html>
    assert!(mermaid::gantt(&story).unwrap().len() < 50_000);
    assert!(markdown::file(&story).contains("more runs left out here"));
}

#[test]
fn the_same_receipts_give_the_same_bytes_in_whatever_order_they_are_found() {
    let all = || {
        (0..5)
            .map(|n| receipt("wait-healthy", &n.to_string(), 60 * (n % 2), json!({"github": job("j", "1")})))
            .collect::<Vec<_>>()
    };
    let (there, mut back) = (all(), all());
    back.reverse();
    let (one, two) = (story(there, &[]), story(back, &[]));
    assert_eq!(markdown::file(&one), markdown::file(&two));
    assert_eq!(html::page(&one), html::page(&two));
    assert_eq!(
        one.fetch.as_deref(),
        Some("gh run download 7 --repo o/r --pattern 'receipts-*' --dir receipts")
    );
}

#[test]
fn a_job_that_failed_without_a_receipt_is_never_a_release_that_is_done() {
    let of = |needs: &str, code: u8| {
        let one =
            receipt("deploy-service", "a", 0, json!({"github": job("deploy", "1"), "verdict": ended(code)}));
        let jobs = needs.parse::<Jobs>().unwrap().0;
        let asked = Asked { title: None, expect: Vec::new(), jobs, places: vec!["receipts".into()] };
        plan(Found { receipts: vec![one], ..Found::default() }, &asked)
    };
    let needs = r#"{"deploy": {"result": "success", "outputs": {"x": "s3cret"}}, "sanity": {"result": "failure", "outputs": {}}}"#;
    let failed = of(needs, 0);
    assert_eq!(failed.verdict.word(), "failed");
    assert!(failed.headline.contains("job sanity ended with failure"), "{}", failed.headline);
    for drawn in [html::page(&failed), markdown::file(&failed), text::text(&failed)] {
        assert!(drawn.contains("no receipt says why; its log does") && !drawn.contains("s3cret"), "{drawn}");
    }
    // What its own receipt says is nearer to the truth than the job's result.
    let told = of(r#"{"deploy": {"result": "failure", "outputs": {}}}"#, 5);
    assert_eq!((told.verdict.word(), told.silent.len()), ("unverified", 0));
    assert_eq!(of(r#"{"deploy": {"result": "cancelled"}}"#, 0).verdict.word(), "interrupted");
    assert_eq!(of(r#"{"open": {"result": "skipped"}}"#, 0).verdict.word(), "done");
    for wrong in [
        "",
        "[]",
        r#"{"a": {}}"#,
        r#"{"a": {"result": "maybe"}}"#,
        r#"{"a": {"result": "success"}, "a": {"result": "failure"}}"#,
    ] {
        assert!(wrong.parse::<Jobs>().unwrap_err().contains("toJSON(needs)"), "{wrong}");
    }
}

#[test]
fn the_ticks_of_the_time_line_leave_room_for_their_labels() {
    for (seconds, ticks) in [
        (0, ""),
        (5, "tickInterval 1second"),
        (17, "tickInterval 5second"),
        (600, "tickInterval 2minute"),
        (7_200, "tickInterval 30minute"),
        (259_200, "tickInterval 12hour"),
        (4_000_000, "tickInterval 7day"),
    ] {
        let mut last = receipt("wait-healthy", "a", 0, json!({}));
        last.receipt.ended = Some(last.receipt.started + time::Duration::seconds(seconds));
        let gantt = mermaid::gantt(&story(vec![last], &[])).unwrap();
        let drawn = gantt.lines().find(|line| line.contains("tickInterval")).unwrap_or_default();
        assert_eq!(drawn.trim(), ticks, "{seconds} s");
    }
}
