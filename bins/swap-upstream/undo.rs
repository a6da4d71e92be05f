//! Takes a run back: each file gets its former bytes again, where it still has those that the run left. Pure.

use std::collections::BTreeSet;

use kit::{ActionRecord, Failure, Receipt};

use crate::edit::revert;
use crate::lock::Found;
use crate::observe::{Seen, sum};
use crate::place::Proxy;
use crate::plan::{Inverse, Switch, Target, Work, finished, fixed, refuse, unfinished, unread, unsound};

/// What the receipt says of one proxy, last first.
#[derive(Clone, Debug)]
pub(crate) struct Left {
    pub(crate) proxy: Proxy,
    records: Vec<(ActionRecord, Inverse)>,
}

impl Left {
    pub(crate) fn records(&self) -> impl Iterator<Item = &ActionRecord> {
        self.records.iter().map(|(record, _)| record)
    }
}

/// The changes of a run, by proxy.
pub(crate) fn of(receipt: &Receipt) -> Result<Vec<Left>, Failure> {
    let mut all: Vec<Left> = Vec::new();
    let actions = receipt.inverses::<Vec<Inverse>>()?;
    let each = actions
        .into_iter()
        .flat_map(|(action, inverses)| inverses.into_iter().map(move |inverse| (action.clone(), inverse)));
    for (action, inverse) in each {
        let same =
            |left: &&mut Left| left.proxy.ssh == inverse.proxy.ssh && left.proxy.path == inverse.proxy.path;
        let record = (action, inverse.clone());
        match all.iter_mut().find(same) {
            Some(left) => left.records.push(record),
            None => all.push(Left { proxy: inverse.proxy, records: vec![record] }),
        }
    }
    // As they were named.
    all.reverse();
    Ok(all)
}

/// Decides for all proxies at once; `seen` is in the order of `left`.
pub(crate) fn plan(release: &str, left: &[Left], seen: &[Seen]) -> Result<Switch, Failure> {
    let (mut problems, mut targets) = (Vec::new(), Vec::new());
    let finished = finished(seen);
    for (left, seen) in left.iter().zip(seen) {
        let mut why = unsound(seen, release);
        match decide(left, seen, &finished) {
            Ok(target) => {
                if target.edits() {
                    why.extend(fixed(seen));
                }
                targets.push(target);
            }
            Err(reason) => why.push(reason),
        }
        problems.extend(why.into_iter().map(|why| (left.proxy.name.clone(), why)));
    }
    if !problems.is_empty() {
        let helps = [
            "what somebody has changed since, put right by hand: swap the servers in it with this step, the other way round",
        ];
        return Err(refuse("take the run back", &problems, &helps));
    }
    let unchanged = "every file is as it was before that run, and nginx has read it".to_owned();
    Ok(Switch { targets, notes: Vec::new(), unchanged, undo: true })
}

fn decide(left: &Left, seen: &Seen, finished: &BTreeSet<String>) -> Result<Target, String> {
    let of = |work: Work, before: Vec<u8>, after: Vec<u8>| Target {
        proxy: left.proxy.clone(),
        real: seen.real.clone(),
        work,
        before,
        after,
        replaced: Vec::new(),
        whole: seen.whole,
        pid_file: seen.nginx.pid_file.clone(),
        main: seen.nginx.main().to_owned(),
        default: seen.nginx.default.clone(),
        lock: seen.lock.as_ref().map(|found: &Found| found.sum.clone()),
    };
    let mut text = seen.content.clone();
    let mut at = seen.sum.clone();
    let wrong = |at: &str, inverse: &Inverse| {
        format!(
            "{} is not as that run left it (its SHA-256 is {at}, not {}), nor as it found it",
            seen.proxy.path, inverse.after
        )
    };
    let mut records = left.records.iter().map(|(_, inverse)| inverse).peekable();
    let last = records.peek().copied();
    // The newest may be taken back already.
    while records.next_if(|inverse| at != inverse.after && at != inverse.before).is_some() {}
    if records.peek().is_none() {
        return Err(last.map_or_else(String::new, |last| wrong(&at, last)));
    }
    for inverse in records {
        if at == inverse.before {
            continue;
        }
        if at != inverse.after || seen.real != inverse.real {
            return Err(wrong(&at, inverse));
        }
        let before = revert(&text, &inverse.replaced).filter(|text| sum(text) == inverse.before);
        text = before.ok_or_else(|| wrong(&at, inverse))?;
        at.clone_from(&inverse.before);
    }
    if at != seen.sum {
        return Ok(of(Work::Edit, seen.content.clone(), text));
    }
    // An undo that did not end has put it back already.
    let after = |kept: &Vec<u8>| left.records.iter().any(|(_, inverse)| inverse.after == sum(kept));
    if let Some(kept) = unfinished(seen, finished).filter(|kept| after(kept)) {
        return Ok(of(Work::GoOn, kept.clone(), text));
    }
    let work = if unread(seen) { Work::Reload } else { Work::Nothing };
    Ok(of(work, text.clone(), text))
}
