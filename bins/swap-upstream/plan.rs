//! What is done on each proxy, or why nothing is done on any. Pure.

use std::collections::BTreeSet;

use kit::{Action, Failure, Note, Plan};
use serde::{Deserialize, Serialize};
use similar::TextDiff;

use crate::edit::{Edited, Replaced, Swap, Unfit, edit, servers};
use crate::lock::Found;
use crate::observe::{Running, Seen, Workers, sum};
use crate::place::Proxy;

/// Seconds by which a worker may be older than the file that it has read: it is started within a moment of the edit, and both ages
/// are cut to whole seconds.
const SLACK: i64 = 2;

/// The action that locks all files.
pub(crate) const LOCK: &str = "lock";

/// What is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) swaps: Vec<Swap>,
    pub(crate) release: String,
}

/// What is done on all proxies.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Switch {
    pub(crate) targets: Vec<Target>,
    #[serde(skip)]
    pub(crate) notes: Vec<Note>,
    pub(crate) unchanged: String,
    /// Whether it takes an earlier run back.
    pub(crate) undo: bool,
}

/// What is done on one proxy.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Target {
    pub(crate) proxy: Proxy,
    pub(crate) real: String,
    pub(crate) work: Work,
    #[serde(skip)]
    pub(crate) before: Vec<u8>,
    #[serde(skip)]
    pub(crate) after: Vec<u8>,
    /// What is replaced, by its place in the text that comes out.
    pub(crate) replaced: Vec<Replaced>,
    pub(crate) whole: bool,
    pub(crate) pid_file: String,
    /// The main configuration, and the one that nginx is started with when it is not told any.
    pub(crate) main: String,
    pub(crate) default: String,
    /// The sum of the lock that is there now.
    pub(crate) lock: Option<String>,
}

/// How far a proxy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Work {
    /// Edit and reload.
    Edit,
    /// An earlier run that did not end has edited the file: reload, and put its text back if the others fail.
    GoOn,
    /// The file is as wanted, and nginx may not have read it yet.
    Reload,
    Nothing,
}

/// What the receipt keeps of an action before it is done, for each proxy that the action is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inverse {
    pub(crate) proxy: Proxy,
    pub(crate) real: String,
    /// Sums of the file before and after.
    pub(crate) before: String,
    pub(crate) after: String,
    pub(crate) replaced: Vec<Replaced>,
}

impl Target {
    pub(crate) fn edits(&self) -> bool {
        matches!(self.work, Work::Edit | Work::GoOn)
    }

    pub(crate) fn reloads(&self) -> bool {
        self.work != Work::Nothing
    }

    pub(crate) fn edit_id(&self) -> String {
        format!("edit-{}", self.proxy.name)
    }

    pub(crate) fn reload_id(&self) -> String {
        format!("reload-{}", self.proxy.name)
    }

    pub(crate) fn running(&self) -> Running<'_> {
        Running { pid_file: &self.pid_file, main: &self.main, default: &self.default }
    }

    pub(crate) fn inverse(&self) -> Inverse {
        Inverse {
            proxy: self.proxy.clone(),
            real: self.real.clone(),
            before: sum(&self.before),
            after: sum(&self.after),
            replaced: self.replaced.clone(),
        }
    }
}

impl Switch {
    /// Of all proxies where there is something to do.
    pub(crate) fn inverses(&self) -> Vec<Inverse> {
        self.targets.iter().filter(|target| target.reloads()).map(Target::inverse).collect()
    }
}

impl Plan for Switch {
    fn actions(&self) -> Vec<Action> {
        let worked_on: Vec<&str> = self
            .targets
            .iter()
            .filter(|target| target.reloads())
            .map(|target| target.proxy.name.as_str())
            .collect();
        let lock = (!worked_on.is_empty()).then(|| {
            let does = format!("lock the files on {} until all is done", worked_on.join(", "));
            if self.undo {
                Action::irreversible(LOCK, does, "the locks go with the run")
            } else {
                Action::new(LOCK, does, "take the locks away that are still there")
            }
        });
        let edits = self.targets.iter().filter(|target| target.edits()).map(|target| {
            let does = match (target.work, self.undo) {
                (Work::GoOn, _) => {
                    format!("leave {} as the run that did not end has edited it", target.proxy)
                }
                (_, false) => format!("edit {}", target.proxy),
                (_, true) => format!("put {} back", target.proxy),
            };
            let detail = difference(&target.before, &target.after, &target.proxy.path);
            let action = if self.undo {
                Action::irreversible(target.edit_id(), does, "run the step again instead")
            } else {
                Action::new(target.edit_id(), does, "put the former bytes back")
            };
            action.detail(detail)
        });
        let reloads = self.targets.iter().filter(|target| target.reloads()).map(|target| {
            let does = format!("reload nginx on {}, once `nginx -t` is content on all", target.proxy.name);
            if target.edits() && !self.undo {
                Action::new(target.reload_id(), does, "reload it with the former file")
            } else if self.undo {
                Action::irreversible(target.reload_id(), does, "run the step again instead")
            } else {
                Action::irreversible(target.reload_id(), does, "what nginx runs now is in no file")
            }
        });
        lock.into_iter().chain(edits).chain(reloads).collect()
    }

    fn notes(&self) -> Vec<Note> {
        self.notes.clone()
    }

    fn unchanged(&self) -> String {
        self.unchanged.clone()
    }
}

/// The lines that change, with their numbers. None around them: those may hold what is nobody's business.
pub(crate) fn difference(before: &[u8], after: &[u8], path: &str) -> String {
    let (before, after) = (String::from_utf8_lossy(before), String::from_utf8_lossy(after));
    let diff = TextDiff::from_lines(&*before, &*after);
    let text = diff.unified_diff().context_radius(0).header(path, path).to_string();
    text.lines().map(kit::one_line).collect::<Vec<_>>().join("\n")
}

/// The runs that have ended well, by whichever of their locks says so: it is written into all before the first of them goes.
pub(crate) fn finished(seen: &[Seen]) -> BTreeSet<String> {
    let locks = seen.iter().filter_map(|seen| seen.lock.as_ref()?.lock.as_ref());
    locks.filter(|lock| lock.done).map(|lock| lock.run.clone()).collect()
}

/// The text that an unfinished run began with, where the lock and the copy beside it tell.
pub(crate) fn unfinished<'a>(seen: &'a Seen, finished: &BTreeSet<String>) -> Option<&'a Vec<u8>> {
    let lock = seen.lock.as_ref()?.lock.as_ref().filter(|lock| !finished.contains(&lock.run))?;
    let kept = seen.kept.as_ref()?;
    (lock.after == seen.sum && lock.before == sum(kept) && lock.before != lock.after).then_some(kept)
}

/// Whether nginx may not have read the file as it is: a worker was there before it, or a run that had it in hand did not end.
pub(crate) fn unread(seen: &Seen) -> bool {
    let older = |workers: &Workers| workers.active.iter().any(|(_, age)| *age > seen.age + SLACK);
    seen.lock.is_some() || seen.nginx.workers.as_ref().is_ok_and(older)
}

/// What speaks against touching a proxy, whatever is to be done there.
pub(crate) fn unsound(seen: &Seen, release: &str) -> Vec<String> {
    let mut why = Vec::new();
    let nginx = &seen.nginx;
    if let Some(complaint) = nginx.complaint.as_ref().filter(|_| nginx.absent) {
        why.push(format!("{complaint} there"));
        return why;
    }
    if let Some(complaint) = &nginx.complaint {
        why.push(format!("`nginx -t` fails there before any change: {complaint}"));
        return why;
    }
    if !nginx.loaded {
        why.push(format!("nginx does not load {}; it loads {}", seen.proxy.path, nginx.files.join(", ")));
    }
    match &nginx.workers {
        Err(reason) => why.push(format!("nginx does not run there: {reason}")),
        Ok(Workers { started_with: Some(other), .. }) => why.push(format!(
            "the nginx that runs there was started with {other}, and not with {}, which would be tested",
            nginx.main()
        )),
        Ok(workers) if workers.active.is_empty() => {
            why.push(format!("nginx (process {}) has no workers that are seen", workers.master));
        }
        Ok(_) => {}
    }
    if let Some(found) = &seen.lock
        && !found.may_take(release)
    {
        why.push(held(found, &seen.real));
    }
    why
}

/// Whose lock it is, in words, and what to do about it.
pub(crate) fn held(found: &Found, real: &str) -> String {
    let (folder, file) = real.rsplit_once('/').unwrap_or(("", real));
    let lock = format!("{folder}/.{file}.cutover-lock");
    match &found.lock {
        Some(by) => format!(
            "the release {:?} is editing it, or did not end; {lock} is over in {} seconds, or go on in its place with --release",
            kit::one_line(&by.release),
            found.left
        ),
        None => format!("{lock} was not written by this step: delete it if nobody is at work"),
    }
}

/// What speaks against replacing the file.
pub(crate) fn fixed(seen: &Seen) -> Vec<String> {
    let mut why: Vec<String> = seen.replaceable.clone().err().into_iter().collect();
    if seen.links > 1 {
        why.push(format!(
            "{} has {} names (hard links), of which one alone would change",
            seen.real, seen.links
        ));
    }
    why
}

/// Refuses for everything that is in the way, on whichever proxy.
pub(crate) fn refuse(attempt: &str, problems: &[(String, String)], helps: &[&str]) -> Failure {
    let lines: Vec<String> = problems.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    let failure = Failure::refused(attempt).because(lines.join("\n"));
    helps.iter().fold(failure, |failure, help| failure.help(*help))
}

/// Decides for all proxies at once.
pub(crate) fn plan(wish: &Wish, seen: &[Seen]) -> Result<Switch, Failure> {
    let mut problems = Vec::new();
    let mut helps: Vec<&str> = Vec::new();
    let mut targets = Vec::new();
    let finished = finished(seen);
    for one in seen {
        let name = &one.proxy.name;
        let mut why = unsound(one, &wish.release);
        match decide(one, &wish.swaps, &finished) {
            Ok(target) => {
                if target.work == Work::Edit || target.work == Work::GoOn {
                    let stuck = fixed(one);
                    if !stuck.is_empty() {
                        push(&mut helps, "work as a user who may: root, with --sudo");
                    }
                    why.extend(stuck);
                }
                targets.push(target);
            }
            Err(unfit) => {
                why.push(told(one, &unfit));
                push(&mut helps, help(&unfit));
            }
        }
        if one.nginx.absent {
            push(&mut helps, "say with --nginx where nginx lies");
        } else if one.nginx.complaint.is_some() {
            push(&mut helps, "mend the configuration first: it could not be put back either");
        }
        problems.extend(why.into_iter().map(|why| (name.clone(), why)));
    }
    if !problems.is_empty() {
        return Err(refuse(&format!("swap {}", words(&wish.swaps)), &problems, &helps));
    }
    let unchanged = format!("{} on all proxies already", led(&wish.swaps));
    Ok(Switch { notes: notes(seen, &targets), targets, unchanged, undo: false })
}

fn push<'a>(helps: &mut Vec<&'a str>, help: &'a str) {
    if !helps.contains(&help) {
        helps.push(help);
    }
}

/// `production from v31 to v37`, of all swaps.
pub(crate) fn words(swaps: &[Swap]) -> String {
    let words: Vec<String> =
        swaps.iter().map(|swap| format!("{} from {} to {}", swap.upstream, swap.old, swap.new)).collect();
    words.join(", ")
}

/// `production leads to v37`, of all swaps.
pub(crate) fn led(swaps: &[Swap]) -> String {
    let words: Vec<String> =
        swaps.iter().map(|swap| format!("{} leads to {}", swap.upstream, swap.new)).collect();
    words.join(", ")
}

fn told(seen: &Seen, unfit: &Unfit) -> String {
    let elsewhere = match unfit {
        Unfit::NoUpstream { swap, .. } => {
            let of = |(name, file): &&(String, String)| *name == swap.upstream && *file != seen.proxy.path;
            seen.nginx.upstreams.iter().find(of).map(|(_, file)| file)
        }
        _ => None,
    };
    let path = &seen.proxy.path;
    match elsewhere {
        Some(file) => format!("in {path}: {unfit}; {file}, which nginx loads too, seems to have it"),
        None => format!("in {path}: {unfit}"),
    }
}

fn help(unfit: &Unfit) -> &'static str {
    match unfit {
        Unfit::Malformed(_) => "mend the file, or name the one that has the upstream",
        Unfit::NoUpstream { .. } => {
            "name the file that has the upstream in --proxy; what stands in proxy_pass itself, this step does not replace"
        }
        Unfit::Upstreams { .. } => "name the file that has one of them",
        Unfit::NoServer { .. } => "correct --swap: it names the server as it stands there, with its port",
        Unfit::Servers { .. } => "edit the file by hand, so that each server stands there once",
    }
}

fn decide(seen: &Seen, swaps: &[Swap], finished: &BTreeSet<String>) -> Result<Target, Unfit> {
    let of = |work: Work, before: &[u8], edited: Edited| Target {
        proxy: seen.proxy.clone(),
        real: seen.real.clone(),
        work,
        before: before.to_vec(),
        after: edited.text,
        replaced: edited.replaced,
        whole: seen.whole,
        pid_file: seen.nginx.pid_file.clone(),
        main: seen.nginx.main().to_owned(),
        default: seen.nginx.default.clone(),
        lock: seen.lock.as_ref().map(|found| found.sum.clone()),
    };
    let edited = edit(&seen.content, swaps)?;
    if !edited.replaced.is_empty() {
        return Ok(of(Work::Edit, &seen.content, edited));
    }
    if let Some(kept) = unfinished(seen, finished)
        && let Ok(begun) = edit(kept, swaps)
        && begun.text == seen.content
    {
        return Ok(of(Work::GoOn, kept, begun));
    }
    let work = if unread(seen) { Work::Reload } else { Work::Nothing };
    Ok(of(work, &seen.content, edited))
}

/// What a reader should know beside the actions.
fn notes(seen: &[Seen], targets: &[Target]) -> Vec<Note> {
    let mut notes = Vec::new();
    let ended = finished(seen);
    for (one, target) in seen.iter().zip(targets) {
        let name = &one.proxy.name;
        match (&one.lock, target.work) {
            (Some(Found { lock: Some(lock), .. }), _) if ended.contains(&lock.run) => {
                notes.push(Note::Info(format!(
                    "{name}: a run of the release {:?} ended well, and its lock is still there; it is taken away",
                    kit::one_line(&lock.release)
                )));
            }
            (Some(Found { lock: Some(lock), .. }), work) if work != Work::Nothing => {
                notes.push(Note::Info(format!(
                    "{name}: a run of the release {:?} did not end; its lock is taken over",
                    kit::one_line(&lock.release)
                )));
            }
            (_, Work::Reload) => notes.push(Note::Info(format!(
                "{name}: the file is as wanted, and a worker of nginx is older than it"
            ))),
            (_, Work::Nothing) => {
                notes.push(Note::Info(format!("{name}: the file is as wanted, and nginx has read it")));
            }
            _ => {}
        }
        if one.real != one.proxy.path && target.edits() {
            notes.push(Note::Info(format!(
                "{name}: {} is a link to {}, which is edited",
                one.proxy.path, one.real
            )));
        }
    }
    let first = targets.first();
    for target in targets.iter().skip(1) {
        if let Some(first) = first
            && let Some(text) = unlike(first, target)
        {
            notes.push(Note::Info(text));
        }
    }
    notes
}

/// How two proxies will differ: places and directives, not what the lines say, which may be a secret.
fn unlike(first: &Target, other: &Target) -> Option<String> {
    const SHOWN: usize = 8;
    let (a, b) = (String::from_utf8_lossy(&first.after), String::from_utf8_lossy(&other.after));
    let diff = TextDiff::from_lines(&*a, &*b);
    let changes = diff.iter_all_changes().filter(|change| change.tag() != similar::ChangeTag::Equal);
    let lines: Vec<String> = changes
        .filter_map(|change| {
            let name = match change.tag() {
                similar::ChangeTag::Delete => &first.proxy.name,
                _ => &other.proxy.name,
            };
            let line = change.old_index().or(change.new_index())? + 1;
            let word =
                change.value().split_whitespace().next().unwrap_or_default().trim_end_matches([';', '{']);
            let directive =
                !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            let word = if directive { format!(" ({word})") } else { String::new() };
            Some(format!("line {line} of {name}{word}"))
        })
        .collect();
    if lines.is_empty() {
        return None;
    }
    let more = lines.len().saturating_sub(SHOWN);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let shown = lines.get(..lines.len().min(SHOWN)).unwrap_or_default().join(", ");
    Some(format!(
        "the files of {} and {} differ otherwise too: {shown}{more}",
        first.proxy.name, other.proxy.name
    ))
}

/// What the upstreams lead to when all is done, one of each swap.
pub(crate) fn outcome(switch: &Switch, swaps: &[Swap]) -> Vec<String> {
    let mut all: Vec<String> =
        switch.targets.iter().flat_map(|target| servers(&target.after, swaps)).collect();
    all.sort();
    all.dedup();
    all
}
