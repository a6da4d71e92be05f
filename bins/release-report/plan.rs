//! What a release did, worked out from its receipts. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kit::{ActionState, Receipt};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::expect::Expect;
use crate::facts;
use crate::jobs::Job;
use crate::mask::mask;
use crate::observe::{Found, Lying};
use crate::story::{Act, End, Run, Stand, Story};
use crate::way_back::way_back;
use crate::words::clip;

/// Characters of one text (a message, an action): reasons are long where a server's answer is in them.
pub(crate) const TEXT: usize = 2_000;
/// Of one value of an output or an argument.
pub(crate) const VALUE: usize = 600;

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) title: Option<String>,
    pub(crate) expect: Vec<Expect>,
    pub(crate) jobs: Vec<Job>,
    pub(crate) places: Vec<PathBuf>,
}

pub(crate) fn plan(found: Found, asked: &Asked) -> Story {
    let Found { receipts, passed_over, absent } = found;
    let mut notes: Vec<String> =
        absent.iter().map(|path| format!("{} is not there", path.display())).collect();
    let mut lying = distinct(receipts, &mut notes);
    lying.sort_by(|a, b| order(&a.receipt).cmp(&order(&b.receipt)));
    match passed_over.as_slice() {
        [] => {}
        [one] => notes.push(format!("{} is no receipt and was passed over", one.display())),
        [first, ..] => notes.push(format!(
            "{} files are no receipts and were passed over, such as {}",
            passed_over.len(),
            first.display()
        )),
    }
    let mut runs: Vec<Run> = lying.iter().enumerate().map(|(at, lying)| run(at + 1, lying)).collect();
    supersede(&mut runs, &lying);
    continued(&mut runs, &lying);
    let half_taken_back = taken_back(&mut runs, &lying);
    let back = way_back(&runs, &lying, &half_taken_back);
    let missing: Vec<String> = asked
        .expect
        .iter()
        .filter(|expect| {
            !runs.iter().any(|run| {
                run.is_current()
                    && run.takes_back.is_none()
                    && run.step == expect.step
                    && (expect.job.is_none() || run.job == expect.job)
            })
        })
        .map(ToString::to_string)
        .collect();
    let acts = || {
        runs.iter()
            .filter(|run| run.continued_by.is_none() && run.takes_back.is_none())
            .flat_map(|run| &run.actions)
    };
    let changes = acts().filter(|act| act.state == ActionState::Done).count();
    let in_doubt = runs
        .iter()
        .filter(|run| run.continued_by.is_none())
        .flat_map(|run| &run.actions)
        .filter(|act| act.state == ActionState::Started)
        .count();
    let (silent, verdict) = (silent(&asked.jobs, &runs), stand(&runs, &missing));
    let verdict = silent.iter().map(Stand::of_job).chain([verdict]).max_by_key(|stand| stand.weight());
    let verdict = verdict.unwrap_or(Stand::None);
    let headline = headline(&runs, &silent, changes, in_doubt, &missing);
    let began = runs.iter().map(|run| run.began).min();
    let ended = runs.iter().map(|run| run.ended.unwrap_or(run.began)).max();
    Story {
        title: facts::title(asked, &lying),
        verdict,
        headline,
        began,
        ended,
        facts: facts::facts(&lying),
        jobs: asked.jobs.clone(),
        silent,
        changes,
        in_doubt,
        runs,
        missing,
        back,
        fetch: facts::fetch(asked, &lying),
        notes,
    }
}

/// By time; two that began at the same instant by name, so that the order is always the same.
fn order(receipt: &Receipt) -> (OffsetDateTime, &str, &str) {
    (receipt.started, &receipt.step, &receipt.run)
}

/// Each run once. Of several copies of a receipt, the one that knows the most: it ended, more was done or taken back.
fn distinct(receipts: Vec<Lying>, notes: &mut Vec<String>) -> Vec<Lying> {
    let mut by_run: BTreeMap<String, Vec<Lying>> = BTreeMap::new();
    for lying in receipts {
        by_run.entry(lying.receipt.run.clone()).or_default().push(lying);
    }
    let mut kept = Vec::new();
    for (_, mut copies) in by_run {
        // The sort is stable and the paths are in order: the first of equals stays the first.
        copies.sort_by_key(|lying| {
            let of = |state| lying.receipt.actions.iter().filter(|action| action.state == state).count();
            std::cmp::Reverse((
                of(ActionState::Undone),
                lying.receipt.verdict.is_some(),
                of(ActionState::Done),
                of(ActionState::Started),
                lying.lacks.is_empty(),
            ))
        });
        let mut copies = copies.into_iter();
        let Some(best) = copies.next() else { continue };
        notes.extend(copies.map(|copy| {
            format!("{} is another copy of {}, and was passed over", copy.path.display(), best.path.display())
        }));
        kept.push(best);
    }
    notes.sort();
    kept
}

fn said(text: &str) -> String {
    clip(&mask(text), TEXT)
}

fn run(number: usize, lying: &Lying) -> Run {
    let Lying { path, receipt, .. } = lying;
    let actions = receipt
        .actions
        .iter()
        .map(|action| Act {
            id: action.id.clone(),
            run: action.run.clone(),
            does: said(&action.does),
            undo: said(&action.undo),
            reversible: action.reversible,
            state: action.state,
            earlier: action.run != receipt.run,
        })
        .collect();
    let verdict = receipt.verdict.as_ref();
    let lines = |lines: Option<&Vec<String>>| -> Vec<String> {
        lines.into_iter().flatten().take(40).map(|line| said(line)).collect()
    };
    let is_own = |name: &str| !matches!(name, "changed" | "receipt");
    Run {
        number,
        step: receipt.step.clone(),
        version: said(&receipt.version),
        receipt: path.display().to_string(),
        job: github(receipt, "GITHUB_JOB").map(|job| clip(job, 100)),
        attempt: github(receipt, "GITHUB_RUN_ATTEMPT").and_then(|attempt| attempt.parse().ok()),
        began: receipt.started,
        ended: receipt.ended,
        end: verdict.map_or(End::Killed, |verdict| End::Code(verdict.code)),
        message: verdict.map(|verdict| said(&verdict.message)).unwrap_or_default(),
        causes: lines(verdict.map(|verdict| &verdict.causes)),
        help: lines(verdict.map(|verdict| &verdict.help)),
        state: lines(verdict.map(|verdict| &verdict.state)),
        actions,
        outputs: receipt
            .outputs
            .iter()
            .filter(|(name, _)| is_own(name))
            .map(|(name, value)| (clip(name, 100), clip(&masked(name, value), VALUE)))
            .collect(),
        arguments: arguments(&receipt.arguments),
        superseded_by: None,
        continued_by: None,
        takes_back: receipt.undo_of.clone(),
        taken_back_by: None,
    }
}

pub(crate) fn github<'a>(receipt: &'a Receipt, name: &str) -> Option<&'a str> {
    receipt.github.as_ref()?.get(name).map(String::as_str)
}

/// A value, and its name may say that it is a secret.
fn masked(name: &str, value: &str) -> String {
    let pair = mask(&format!("{name}={value}"));
    pair.strip_prefix(&format!("{name}=")).map_or_else(|| mask(value), str::to_owned)
}

fn arguments(arguments: &Map<String, Value>) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for (name, value) in arguments {
        let values = match value {
            Value::Array(values) => values.iter().collect(),
            value => vec![value],
        };
        for value in values {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            pairs.push((format!("--{}", clip(name, 100)), clip(&mask(&text), VALUE)));
        }
    }
    pairs
}

/// A job that ran again as a whole replaces its earlier attempts; at a terminal, the same command does.
fn supersede(runs: &mut [Run], lying: &[Lying]) {
    let mut last: BTreeMap<String, (Option<u64>, usize)> = BTreeMap::new();
    let keys: Vec<String> = lying.iter().map(|lying| key(&lying.receipt)).collect();
    for (key, run) in keys.iter().zip(&*runs) {
        let entry = last.entry(key.clone()).or_insert((run.attempt, run.number));
        // Of one attempt the first run is named; at a terminal there are no attempts, and the last one counts.
        if run.attempt > entry.0 || run.job.is_none() {
            *entry = (run.attempt, run.number);
        }
    }
    let legs: Vec<bool> = (0..runs.len()).map(|at| is_other_leg(at, &keys, runs, lying)).collect();
    for ((key, run), is_other_leg) in keys.iter().zip(runs).zip(legs) {
        let (attempt, number) = last.get(key).copied().unwrap_or_default();
        let is_older = if run.job.is_some() { run.attempt < attempt } else { run.number < number };
        run.superseded_by = (is_older && !is_other_leg).then_some(number);
    }
}

/// Whether a run belongs to a leg of a matrix that did not run again. Legs have their job's name in common, and "re-run failed jobs" repeats
/// some: then each later attempt has fewer runs of the step, every one with the arguments of another leg.
fn is_other_leg(at: usize, keys: &[String], runs: &[Run], lying: &[Lying]) -> bool {
    let (Some(key), Some(run), Some(own)) = (keys.get(at), runs.get(at), lying.get(at)) else { return false };
    let mut attempts: BTreeMap<Option<u64>, Vec<&Map<String, Value>>> = BTreeMap::new();
    for ((other, of), lying) in keys.iter().zip(runs).zip(lying) {
        if run.job.is_some() && other == key && of.step == run.step && of.attempt >= run.attempt {
            attempts.entry(of.attempt).or_default().push(&lying.receipt.arguments);
        }
    }
    let Some(earlier) = attempts.remove(&run.attempt) else { return false };
    let are_others = |later: &Vec<&Map<String, Value>>| {
        later.len() < earlier.len()
            && later.iter().all(|of| earlier.contains(of) && **of != own.receipt.arguments)
    };
    !attempts.is_empty() && attempts.values().all(are_others)
}

fn key(receipt: &Receipt) -> String {
    let part = |name| github(receipt, name).unwrap_or_default();
    if let Some(job) = github(receipt, "GITHUB_JOB") {
        return format!("{:?}", ("job", part("GITHUB_REPOSITORY"), part("GITHUB_RUN_ID"), job));
    }
    let arguments = Value::Object(receipt.arguments.clone()).to_string();
    format!("{:?}", ("terminal", &receipt.step, arguments, receipt.undo_of.is_some()))
}

/// A receipt that another one continues: what its run did is in both, and is taken back with the later one.
fn continued(runs: &mut [Run], lying: &[Lying]) {
    for at in 0..runs.len() {
        let Some(Lying { receipt: earlier, .. }) = lying.get(at) else { continue };
        let later = lying.iter().enumerate().rev().find(|(other, later)| {
            *other != at
                && later.receipt.step == earlier.step
                && later.receipt.actions.iter().any(|action| action.run == earlier.run)
        });
        let Some((other, later)) = later else { continue };
        if let Some(run) = runs.get_mut(at) {
            run.continued_by = Some(other + 1);
            for act in &mut run.actions {
                let known =
                    later.receipt.actions.iter().find(|known| known.id == act.id && known.run == act.run);
                act.state = known.map_or(act.state, |known| known.state);
            }
        }
    }
}

/// Marks what an undo took back. Returns, for each run that one began to take back without success, by which run.
fn taken_back(runs: &mut [Run], lying: &[Lying]) -> BTreeMap<usize, usize> {
    let mut half = BTreeMap::new();
    let undos: Vec<(usize, String, bool)> = runs
        .iter()
        .filter_map(|run| Some((run.number, run.takes_back.clone()?, run.end.is_well())))
        .collect();
    for (number, taken, is_well) in undos {
        let Some(at) = lying.iter().position(|lying| lying.receipt.run == taken) else { continue };
        let Some(run) = runs.get_mut(at) else { continue };
        if is_well {
            run.taken_back_by = Some(number);
            half.remove(&(at + 1));
            // With it, what earlier runs did whose receipts it continues.
            for run in runs.iter_mut().filter(|run| run.number == at + 1 || run.continued_by == Some(at + 1))
            {
                for act in run.actions.iter_mut().filter(|act| act.reversible && act.holds()) {
                    act.state = ActionState::Undone;
                }
            }
        } else if run.taken_back_by.is_none() {
            half.insert(at + 1, number);
        }
    }
    half
}

/// The jobs that did not end well, and no receipt of theirs says so.
fn silent(jobs: &[Job], runs: &[Run]) -> Vec<Job> {
    let told = |job: &Job| {
        runs.iter().any(|run| run.is_current() && !run.end.is_well() && run.job.as_ref() == Some(&job.name))
    };
    jobs.iter().filter(|job| !job.is_well() && !told(job)).cloned().collect()
}

fn stand(runs: &[Run], missing: &[String]) -> Stand {
    if runs.is_empty() && missing.is_empty() {
        return Stand::None;
    }
    let least = if missing.is_empty() { Stand::Done } else { Stand::Incomplete };
    runs.iter()
        .filter(|run| run.is_current())
        .map(|run| run.end.stand())
        .chain([least])
        .max_by_key(|stand| stand.weight())
        .unwrap_or(Stand::None)
}

fn headline(runs: &[Run], silent: &[Job], changes: usize, in_doubt: usize, missing: &[String]) -> String {
    let mut parts = Vec::new();
    let bad: Vec<&Run> = runs.iter().filter(|run| run.is_current() && !run.end.is_well()).collect();
    if runs.is_empty() {
        parts.push("no step left a receipt".to_owned());
    } else if bad.is_empty() {
        parts.push(match runs.len() {
            1 => "1 run, which ended well".to_owned(),
            n if runs.iter().all(|run| run.end.is_well()) => format!("{n} runs, all of which ended well"),
            n => format!("{n} runs, of which the last of each job ended well"),
        });
    } else {
        let names =
            bad.iter().take(5).map(|run| format!("{} {}", run.name(), run.end.short())).collect::<Vec<_>>();
        let more = if bad.len() > 5 { format!(" and {} more", bad.len() - 5) } else { String::new() };
        parts.push(format!(
            "{} of {} did not end well: {}{more}",
            bad.len(),
            kit::counted(runs.len(), "run"),
            names.join(", ")
        ));
    }
    parts.extend(silent.iter().map(|job| format!("job {} ended with {}", job.name, job.result)));
    if !runs.is_empty() {
        parts.push(match changes {
            0 => "no change is known to be made".to_owned(),
            1 => "1 change is made".to_owned(),
            n => format!("{n} changes are made"),
        });
    }
    if in_doubt > 0 {
        parts.push(format!("{in_doubt} in doubt"));
    }
    if !missing.is_empty() {
        parts.push(format!("no receipt of {}", missing.join(", ")));
    }
    parts.join("; ")
}
