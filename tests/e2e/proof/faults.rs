//! What each step makes of what a network and a cloud do to it.
//!
//! Of every run it is asserted: with exit code 0 all is as wanted; with 1, 2 and 3 nothing was changed, as these codes say; and
//! the same command, run again when the fault is over, ends as one undisturbed run. What each did comes into the table of
//! `docs/reliability.md`, which `make reliability` writes and this test compares.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use testkit::front::{EVENTUAL, Effect, Fault};
use testkit::github;

use super::{Case, Place, again, command, effects, seen};
use crate::world::run;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wrong {
    Throttled,
    ServerErrors,
    Unavailable,
    CutOff,
    Slow,
    Expired,
    Denied,
    Skewed,
    FullDisk,
    NoReader,
    Behind,
    LostBehind,
}

/// How long reads are behind at least: some tries of a client that looks again.
const LAG: Duration = Duration::from_millis(300);

impl Wrong {
    const ALL: [Self; 12] = [
        Self::Throttled,
        Self::ServerErrors,
        Self::Unavailable,
        Self::CutOff,
        Self::Slow,
        Self::Expired,
        Self::Denied,
        Self::Skewed,
        Self::FullDisk,
        Self::NoReader,
        Self::Behind,
        Self::LostBehind,
    ];

    /// For the table's head.
    fn word(self) -> &'static str {
        match self {
            Self::Throttled => "throttled twice",
            Self::ServerErrors => "500 once",
            Self::Unavailable => "503 once",
            Self::CutOff => "reset in a body",
            Self::Slow => "a byte a second",
            Self::Expired => "token expires",
            Self::Denied => "writes denied",
            Self::Skewed => "clock is wrong",
            Self::FullDisk => "disk full",
            Self::NoReader => "stdout closed",
            Self::Behind => "reads are behind",
            Self::LostBehind => "lost, and behind",
        }
    }

    fn is_behind(self) -> bool {
        matches!(self, Self::Behind | Self::LostBehind)
    }

    /// The rules of AWS's side, for a run that makes these calls.
    fn of_aws(self, operations: &[String], writes: &[String]) -> Vec<Fault> {
        let each = |fault: &dyn Fn(&str) -> Fault| operations.iter().map(|at| fault(at)).collect();
        match self {
            Self::Throttled => each(&|at| Fault::throttle(at).times(2)),
            Self::ServerErrors => {
                each(&|at| Fault::error(at, 500, "InternalFailure", "internal failure").times(1))
            }
            Self::Unavailable => {
                each(&|at| Fault::error(at, 503, "ServiceUnavailable", "try again").times(1))
            }
            Self::CutOff => each(&|at| Fault::new(at, Effect::Truncate(10)).times(1)),
            Self::Slow => vec![Fault::new("*:*", Effect::Trickle(1000))],
            // From the third call on, as when a wait is longer than the session.
            Self::Expired => vec![
                Fault::error(
                    "*:*#3",
                    400,
                    "ExpiredTokenException",
                    "The security token included in the request is expired",
                )
                .times(1000),
            ],
            Self::Denied => writes.iter().map(|at| Fault::access_denied(at.as_str())).collect(),
            Self::Skewed => vec![Fault::error(
                "*:*",
                403,
                "RequestTimeTooSkewed",
                "The difference between the request time and the current time is too large.",
            )],
            Self::Behind => {
                let is_eventual =
                    |at: &&String| at.split_once(':').is_some_and(|(service, _)| EVENTUAL.contains(&service));
                let lag = u64::try_from(LAG.as_millis()).unwrap();
                writes.iter().filter(is_eventual).map(|at| Fault::lag(at.as_str(), lag)).collect()
            }
            Self::LostBehind => {
                let mut faults = Self::Behind.of_aws(operations, writes);
                let lost = |behind: &Fault| Fault::new(behind.at.clone(), Effect::Truncate(10)).times(1);
                faults.extend(faults.iter().map(lost).collect::<Vec<_>>());
                faults
            }
            Self::FullDisk | Self::NoReader => Vec::new(),
        }
    }

    /// The rules of GitHub's side; it has no sessions that expire in a run, and no clock of ours to compare.
    fn of_github(self) -> Option<github::Fault> {
        let answer = |status: u16, headers: &[(&str, &str)], message: &str| github::Effect::Answer {
            status,
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            body: serde_json::json!({ "message": message }).to_string(),
        };
        match self {
            // https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#exceeding-the-rate-limit
            Self::Throttled => Some(github::Fault::first_tries(answer(
                429,
                &[("retry-after", "1")],
                "You have exceeded a secondary rate limit",
            ))),
            Self::ServerErrors => Some(github::Fault::first_tries(answer(500, &[], "Server Error"))),
            Self::Unavailable => Some(github::Fault::first_tries(answer(503, &[], "Service Unavailable"))),
            Self::CutOff => Some(github::Fault::first_tries(github::Effect::Reset)),
            Self::LostBehind => Some(github::Fault::first_tries(github::Effect::Reset).after()),
            Self::Denied => Some(github::Fault::any_write(answer(
                403,
                &[("x-accepted-github-permissions", "contents=write")],
                "Resource not accessible by integration",
            ))),
            Self::Expired => Some(github::Fault::all(answer(401, &[], "Bad credentials")).from(3)),
            Self::Slow | Self::Skewed | Self::FullDisk | Self::NoReader | Self::Behind => None,
        }
    }
}

/// The calls of an undisturbed run, and what it leaves.
struct Usual {
    before: Value,
    after: Value,
    operations: Vec<String>,
    writes: Vec<String>,
    effects: BTreeMap<String, usize>,
    /// How many calls of another place.
    elsewhere: usize,
}

async fn usual(case: &Case) -> Usual {
    let stage = case.stage().await;
    let before = seen(&*stage).await;
    again(&*stage, "receipt.json").await.expect(0);
    let names = |calls: Vec<testkit::front::Call>| {
        let mut names: Vec<String> = calls.iter().map(testkit::front::Call::name).collect();
        names.sort();
        names.dedup();
        names
    };
    let front = stage.front();
    let operations = front.map(|front| names(front.calls())).unwrap_or_default();
    let writes = front.map(|front| names(front.writes())).unwrap_or_default();
    let spots = stage.place().map(Place::points).unwrap_or_default();
    let elsewhere = spots.iter().filter(|spot| spot.line == 1).map(|spot| spot.nth).max().unwrap_or(0);
    let effects = effects(&*stage, false);
    Usual { before, after: seen(&*stage).await, operations, writes, effects, elsewhere }
}

/// What came of it, for the table, and what the run said; `None` where this can't happen to the step.
async fn outcome(case: &Case, usual: &Usual, wrong: Wrong) -> Option<(String, String)> {
    let stage = case.stage().await;
    let place = format!("{}, {wrong:?}", case.name());
    let mut command = command(&*stage, "receipt.json");
    match wrong {
        Wrong::FullDisk => {
            command = super::command(&*stage, "/dev/full");
        }
        Wrong::NoReader => {
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            command.stdout(Stdio::from(OwnedFd::from(writer)));
        }
        _ => {
            let faults = wrong.of_aws(&usual.operations, &usual.writes);
            let aws = stage.front().filter(|_| !faults.is_empty()).map(|front| front.set_faults(faults));
            let github = stage.github();
            let lag = github.filter(|_| wrong.is_behind()).map(|github| github.lag(LAG));
            let fault = github.zip(wrong.of_github()).map(|(github, fault)| github.fault(fault));
            let hub = lag.or(fault);
            // Where a run has AWS too, it is AWS that is troubled.
            let place = stage.place().filter(|_| aws.is_none());
            let place = place.and_then(|place| place.trouble(wrong, usual.elsewhere).then_some(()));
            aws.or(hub).or(place)?;
        }
    }
    command.args(["--timeout", if wrong == Wrong::Slow { "6s" } else { "60s" }]);
    let ran = run(command).await;
    let mut done = effects(&*stage, wrong == Wrong::LostBehind);
    let mut wanted = usual.effects.clone();
    if wrong == Wrong::LostBehind {
        // What AWS knows by a token, or sets to the same again, the SDK sends again; and of git's objects nobody sees those that
        // no reference leads to.
        let may_be_twice = |name: &str| {
            name.contains(':')
                || ["blobs", "commits", "tags", "trees"]
                    .map(|kind| format!("POST git/{kind}"))
                    .contains(&name.to_owned())
        };
        for effects in [&mut done, &mut wanted] {
            effects.retain(|name, _| !may_be_twice(name));
        }
    }
    if let Some(front) = stage.front() {
        front.set_faults([]);
        assert_eq!(front.unmatched(), [""; 0], "{place}: calls that nobody answers");
    }
    if let Some(github) = stage.github() {
        github.clear_faults();
    }
    if let Some(place) = stage.place() {
        place.clear();
    }
    let now = seen(&*stage).await;
    let story = format!("{place}\n{}\n{}", ran.stdout, ran.stderr);
    assert!(ran.code >= 0 && ran.code != 101, "ends with a code: {story}");
    // Of a run that leaves nothing both are the same.
    let state = if now == usual.before {
        "nothing changed"
    } else if now == usual.after {
        "done"
    } else {
        "part-way"
    };
    match ran.code {
        0 => assert_eq!(now, usual.after, "exit 0 is done: {story}"),
        1..=3 => assert_eq!(now, usual.before, "exit {} changed nothing: {story}", ran.code),
        _ => {}
    }
    if wrong.is_behind() && ran.code == 0 {
        assert_eq!(done, wanted, "nothing is written twice on what was read too early: {story}");
    }
    if ran.code != 0 {
        assert!(ran.stderr.contains("error: ") && ran.stderr.contains("state: "), "it is told: {story}");
    }
    again(&*stage, "second.json").await.expect(0);
    assert_eq!(seen(&*stage).await, usual.after, "run again: {story}");
    let cell = match ran.code {
        0 => "done".to_owned(),
        code => format!("exit {code}, {state}; again: done"),
    };
    Some((cell, story))
}

fn page() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/reliability.md")
}

/// The rows of the page's table, by their first cell.
fn rows(page: &str) -> BTreeMap<String, Vec<String>> {
    let table = page.lines().filter(|line| line.starts_with("| `"));
    let cells = table
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>());
    cells.map(|mut cells| (cells.remove(0), cells)).collect()
}

/// Each row is this test's own: `CUTOVER_RELIABILITY=write` puts what was seen into the page, `CUTOVER_FAULT` takes one column of it,
/// by its head.
async fn told(case: &Case) {
    let usual = usual(case).await;
    let whole = std::env::var("CUTOVER_MATRIX").is_ok_and(|extent| extent == "whole");
    let writes = std::env::var("CUTOVER_RELIABILITY").is_ok_and(|verb| verb == "write");
    let name = format!("`{}` {}", case.step, case.does);
    let text = std::fs::read_to_string(page()).unwrap();
    let written = rows(&text).remove(&name).unwrap_or_default();
    let alone = std::env::var("CUTOVER_FAULT").ok();
    let mut cells = written.clone();
    cells.resize(Wrong::ALL.len(), String::new());
    for ((place, wrong), cell) in Wrong::ALL.into_iter().enumerate().zip(&mut cells) {
        let is_asked = match &alone {
            Some(alone) => alone == wrong.word(),
            None => whole || writes || (place + name.len()) % 3 == 0,
        };
        if !is_asked {
            continue;
        }
        let found = outcome(case, &usual, wrong).await;
        let (found, story) = found.unwrap_or_else(|| ("n/a".to_owned(), String::new()));
        if !writes {
            assert_eq!(*cell, found, "{name}, {}: docs/reliability.md\n{story}", wrong.word());
        }
        *cell = found;
    }
    if writes {
        put(&name, &cells);
    }
}

/// Replaces the row, or adds it at its place by name.
fn put(name: &str, cells: &[String]) {
    // Tests of one process write one after the other.
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _turn = TURN.lock().unwrap();
    let text = std::fs::read_to_string(page()).unwrap();
    let mut rows = rows(&text);
    rows.insert(name.to_owned(), cells.to_vec());
    let (before, rest) = text.split_once("<!-- table -->\n").expect("the page has a place for the table");
    let (_, after) = rest.split_once("<!-- end -->").expect("the table ends");
    let head: Vec<&str> = Wrong::ALL.map(Wrong::word).to_vec();
    let mut table = format!("| | {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len() + 1));
    for (name, cells) in rows {
        table.push_str(&format!("| {name} | {} |\n", cells.join(" | ")));
    }
    std::fs::write(page(), format!("{before}<!-- table -->\n{table}<!-- end -->{after}")).unwrap();
}

for_each_step!(told);
