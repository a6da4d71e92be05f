//! The crash matrix: each run killed (SIGKILL) at each call that it makes, before it takes effect and after, and then
//!
//! * run again with its receipt,
//! * run again on a runner that has no receipt,
//! * taken back at once.
//!
//! The end state, the outputs and the number of effects are those of one undisturbed run, and the taking back leaves what was
//! there before.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use testkit::{front, github};

use super::{Case, Place, Spot, Stage, again, command, effects, outputs, seen, undo};
use crate::rehearsal::until;

/// Where a run is killed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Point {
    /// At a call of AWS, `service:Operation#nth`.
    Aws { at: String, after: bool },
    /// At a writing call of GitHub, by its place among them, from 1.
    Github { nth: u64, after: bool },
    /// At a call of another place, such as a message to PostgreSQL.
    Place(Spot),
}

/// What comes after the kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    AgainWithReceipt,
    AgainWithout,
    Undo,
}

const NEXT: [Next; 3] = [Next::AgainWithReceipt, Next::AgainWithout, Next::Undo];

/// What an undisturbed run leaves.
struct Undisturbed {
    before: Value,
    after: Value,
    outputs: Value,
    effects: BTreeMap<String, usize>,
    points: Vec<Point>,
    is_undoable: bool,
}

async fn undisturbed(case: &Case) -> Undisturbed {
    let stage = case.stage().await;
    let before = seen(&*stage).await;
    let ran = again(&*stage, "receipt.json").await.expect(0);
    let after = seen(&*stage).await;
    let (points, effects, outputs) = (points(&*stage), effects(&*stage, false), outputs(&*stage, &ran));
    if stage.leaves_nothing() {
        assert_eq!(before, after, "{}: the run leaves nothing", case.name());
    } else {
        assert_ne!(before, after, "{}: the run changes something", case.name());
    }
    let has_effect = !effects.is_empty() || stage.place().is_some();
    assert!(has_effect, "{}: a kill has something to leave half done", case.name());
    let twice = again(&*stage, "second.json").await.expect(0);
    assert_eq!(twice.json()["changed"], false, "{}: a second run finds all done", case.name());
    assert_eq!(seen(&*stage).await, after, "{}: a second run changes nothing", case.name());
    let is_undoable = stage.is_undoable();
    if is_undoable {
        undo(&*stage, "receipt.json").await.expect(0);
        comes_back(&*stage, &before, &format!("{}: taken back", case.name())).await;
    }
    if let Some(front) = stage.front() {
        assert_eq!(front.unmatched(), [""; 0], "{}: calls that nobody answers", case.name());
    }
    Undisturbed { before, after, outputs, effects, points, is_undoable }
}

/// Before each first call of a kind, since reading twice is no other state than reading once, and before and after each that
/// writes.
fn points(stage: &dyn Stage) -> Vec<Point> {
    let mut points = Vec::new();
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for call in stage.front().into_iter().flat_map(front::Front::calls) {
        // An attempt that is made again is one call.
        if call.attempt.is_some_and(|attempt| attempt > 1) {
            continue;
        }
        let nth = times.entry(call.name()).and_modify(|nth| *nth += 1).or_insert(1);
        let at = format!("{}#{nth}", call.name());
        match call.kind {
            front::Kind::Write => {
                points.extend([false, true].map(|after| Point::Aws { at: at.clone(), after }));
            }
            front::Kind::Read if *nth == 1 => points.push(Point::Aws { at, after: false }),
            front::Kind::Read => {}
        }
    }
    let writes = stage.github().map_or(0, |github| github.writes().len() as u64);
    points.extend((1..=writes).flat_map(|nth| [false, true].map(|after| Point::Github { nth, after })));
    let elsewhere = stage.place().into_iter().flat_map(Place::points);
    points.extend(elsewhere.step_by(stage.stride()).map(Point::Place));
    points
}

/// Runs until the point, and kills there.
async fn killed(stage: &dyn Stage, point: &Point) {
    let mut command = command(stage, "receipt.json");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child;
    let patience = Duration::from_mins(1);
    match point {
        Point::Aws { at, after } => {
            let when = if *after { front::When::AfterEffect } else { front::When::BeforeForward };
            let hold = stage.front().expect("a stage with AWS").hold(at.as_str(), when);
            child = command.spawn().unwrap();
            tokio::time::timeout(patience, hold.arrived()).await.expect("the run comes to this call");
            child.kill().await.unwrap();
        }
        Point::Github { nth, after } => {
            let github = stage.github().expect("a stage with GitHub");
            let hang = github::Fault::hang_at_write(*nth);
            github.fault(if *after { hang.after() } else { hang });
            child = command.spawn().unwrap();
            until("the write", async || github.writes().last().is_some_and(|call| call.status.is_none()))
                .await;
            child.kill().await.unwrap();
            github.clear_faults();
        }
        Point::Place(spot) => {
            let place = stage.place().expect("a stage with another place");
            place.hold(*spot);
            child = command.spawn().unwrap();
            tokio::select! {
                () = place.held() => child.kill().await.unwrap(),
                status = child.wait() => assert!(place.varies(*spot), "the run ends before {point:?}: {status:?}"),
                () = tokio::time::sleep(patience) => panic!("the run does not come to {point:?}"),
            }
            place.clear();
        }
    }
}

async fn survives(case: &Case, wanted: &Undisturbed, point: &Point, next: Next) {
    let stage = case.stage().await;
    let place = format!("{}, killed at {point:?}, {next:?}", case.name());
    killed(&*stage, point).await;
    if next == Next::Undo {
        // Killed before its first write it has left no receipt, or one with nothing in it.
        if stage.dir().join("receipt.json").exists() {
            undo(&*stage, "receipt.json").await.expect(0);
        }
        comes_back(&*stage, &wanted.before, &place).await;
        return;
    }
    if next == Next::AgainWithout {
        let _ = std::fs::remove_file(stage.dir().join("receipt.json"));
    }
    let ran = again(&*stage, "receipt.json").await;
    assert_eq!(ran.code, 0, "{place}\n{}\n{}", ran.stdout, ran.stderr);
    assert_eq!(seen(&*stage).await, wanted.after, "{place}");
    let lasting = |outputs: &Value| {
        let mut outputs = outputs.clone();
        // Whether there was anything left to do is the one thing that may differ.
        for told in stage.told_of_the_run().iter().chain(&["changed"]) {
            outputs.as_object_mut().and_then(|outputs| outputs.shift_remove(*told));
        }
        outputs
    };
    assert_eq!(lasting(&outputs(&*stage, &ran)), lasting(&wanted.outputs), "{place}");
    let mut found = effects(&*stage, matches!(point, Point::Github { after: true, .. }));
    // Of those under way at once each but the one that was killed may be made again; of the others one.
    let is_beside = |call: &str| matches!(point, Point::Aws { at, .. } if at.split('#').next() == Some(call));
    let concurrent = stage.concurrent().iter().filter(|call| is_beside(call));
    let concurrent = concurrent.map(|call| (*call, wanted.effects.get(*call).map_or(0, |usual| usual - 1)));
    for (call, again) in stage.idempotent().iter().map(|(call, _)| (*call, 1)).chain(concurrent) {
        let usual = wanted.effects.get(call).copied();
        let more = found.get(call).map_or(0, |found| found.saturating_sub(usual.unwrap_or_default()));
        if (1..=again).contains(&more) {
            found.remove(call);
            found.extend(usual.map(|usual| (call.to_owned(), usual)));
        }
    }
    if stage.counts_effects() {
        assert_eq!(found, wanted.effects, "{place}: the number of effects");
    }
    if let Some(front) = stage.front() {
        assert_eq!(front.unmatched(), [""; 0], "{place}: calls that nobody answers");
    }
    if next == Next::AgainWithReceipt && stage.is_undoable() {
        undo(&*stage, "receipt.json").await.expect(0);
        comes_back(&*stage, &wanted.before, &format!("{place}, and taken back")).await;
    }
}

async fn comes_back(stage: &dyn Stage, before: &Value, place: &str) {
    let (now, before) = (seen(stage).await, before.clone());
    assert_eq!(stage.comes_back(now), stage.comes_back(before), "{place}");
}

/// Each third place of the matrix, another third for each step, or all of it (`CUTOVER_MATRIX=whole`).
async fn proven(case: &Case) {
    let wanted = undisturbed(case).await;
    let whole = std::env::var("CUTOVER_MATRIX").is_ok_and(|extent| extent == "whole");
    let shift = case.name().len();
    for (place, point) in wanted.points.iter().enumerate() {
        for (turn, next) in NEXT.into_iter().enumerate() {
            let is_undone = wanted.is_undoable || next != Next::Undo;
            if is_undone && (whole || (place + turn + shift).is_multiple_of(3 * sample(wanted.points.len())))
            {
                survives(case, &wanted, point, next).await;
            }
        }
    }
}

/// Of a long run, more places are left out.
fn sample(points: usize) -> usize {
    (points / 8).max(1)
}

for_each_step!(proven);
