//! Where the page's rule goes among those of the listener, and how it comes away again. Pure.
//!
//! Rules are tried in the order of their priorities, which are unique
//! (<https://docs.aws.amazon.com/elasticloadbalancing/latest/application/listener-rules.html>). The page's rule needs one ahead of every
//! rule that a request for the name could match; where none is free, the rules up to the next gap move on by one.

use std::collections::{BTreeMap, BTreeSet};

use kit::{Action, Failure, Note, Plan, clock};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::saved::{Saved, id_of};
use crate::args::Act;

pub(crate) const CREATE: &str = "create-rule";
pub(crate) const MOVE: &str = "set-priorities";
pub(crate) const DELETE: &str = "delete-rule";
/// Source: <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateRule.html>
const LAST: u32 = 50_000;

/// Which hosts a rule takes requests for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Hosts {
    /// It does not ask, or asks in a way that can't be told from here.
    Any,
    /// Patterns with `*` and `?`.
    Like(Vec<String>),
}

impl Hosts {
    fn takes(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Like(patterns) => patterns.iter().any(|pattern| like(&pattern.to_lowercase(), name)),
        }
    }
}

/// Whether `text` fits a pattern in which `*` is any text and `?` any character.
fn like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(&char) if char == '?' || Some(&char) == text.get(t) => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((after, from)) => {
                    star = Some((after, from + 1));
                    (p, t) = (after, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).is_none_or(|rest| rest.iter().all(|char| *char == '*'))
}

/// A rule of the listener, but for the default one, which comes last whatever there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Rule {
    pub(crate) arn: String,
    pub(crate) priority: u32,
    pub(crate) hosts: Hosts,
    /// What it asks and does, in one line.
    pub(crate) shown: String,
    /// The page that it serves, if it serves one as this step would.
    pub(crate) page: Option<Page>,
    pub(crate) tags: BTreeMap<String, String>,
}

/// What the rule of the page does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Page {
    /// 503 with this text.
    Fixed { content_type: String, body: String },
    /// Forwarded to the target group of this ARN.
    Group(String),
}

impl Page {
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Fixed { content_type, body } => {
                format!("answer 503 with {} characters of {content_type}", body.chars().count())
            }
            Self::Group(arn) => {
                format!("forward to {}", arn.split(':').next_back().unwrap_or(arn))
            }
        }
    }
}

/// The listener as it was seen.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Listener {
    pub(crate) arn: String,
    /// "port 443 of elb-production-boss".
    pub(crate) what: String,
    /// Where its load balancer is reached.
    pub(crate) dns: String,
    pub(crate) rules: Vec<Rule>,
}

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) act: Act,
    pub(crate) name: String,
    /// For `on`.
    pub(crate) page: Option<Page>,
    pub(crate) holder: String,
    pub(crate) expires: Duration,
    pub(crate) leave: bool,
    pub(crate) now: OffsetDateTime,
}

/// Priorities by the ARN of their rule.
pub(crate) type Priorities = BTreeMap<String, u32>;

/// What will be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Change {
    Create {
        priority: u32,
        page: Page,
        saved: Saved,
    },
    /// All at once; what was is kept for the way back.
    Move {
        from: Priorities,
        to: Priorities,
    },
    Delete {
        arn: String,
        priority: u32,
        page: Option<Page>,
        saved: Saved,
    },
}

/// The plan.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Switch {
    pub(crate) act: Act,
    pub(crate) name: String,
    pub(crate) listener: String,
    pub(crate) changes: Vec<Change>,
    /// The saved state as it is afterwards.
    pub(crate) saved: Option<Saved>,
    #[serde(skip)]
    pub(crate) notes: Vec<Note>,
    #[serde(skip)]
    pub(crate) unchanged: String,
}

impl Listener {
    /// The page's rule for this name, with what is saved in it.
    pub(crate) fn ours(&self, name: &str) -> Result<Option<(&Rule, Saved)>, Failure> {
        let mut found = self.rules.iter().filter(|rule| Saved::is_for(&rule.tags, name));
        let Some(rule) = found.next() else { return Ok(None) };
        let attempt = || format!("read the saved state of {name} on {}", self.what);
        if let Some(other) = found.next() {
            return Err(Failure::refused(attempt())
                .because(format!("two rules have it: {} and {}", rule.arn, other.arn))
                .help("delete the one that is no longer needed by hand"));
        }
        let saved = Saved::of(&rule.tags).map_err(|why| {
            Failure::refused(attempt())
                .because(format!("{why} (tags of {})", rule.arn))
                .help("see what it is; delete that rule by hand if it is nobody's")
        })?;
        Ok(Some((rule, saved)))
    }

    /// The first priority of a rule that a request for the name could match, but for `except`.
    fn first(&self, name: &str, except: Option<&str>) -> Option<u32> {
        let others = self.rules.iter().filter(|rule| Some(rule.arn.as_str()) != except);
        others.filter(|rule| rule.hosts.takes(name)).map(|rule| rule.priority).min()
    }
}

/// Where the new rule is made, and which rules move then: their ARNs with the priorities that they have.
///
/// `None` where there is no gap left.
pub(crate) fn place(listener: &Listener, name: &str) -> Option<(u32, Priorities)> {
    let used: BTreeSet<u32> = listener.rules.iter().map(|rule| rule.priority).collect();
    let Some(first) = listener.first(name, None) else {
        let free = used.last().map_or(1, |last| last + 1);
        return (free <= LAST)
            .then_some(free)
            .or_else(|| (1..=LAST).rev().find(|number| !used.contains(number)))
            .map(|free| (free, Priorities::new()));
    };
    if let Some(free) = (1..first).rev().find(|number| !used.contains(number)) {
        return Some((free, Priorities::new()));
    }
    let gap = (first..=LAST).find(|number| !used.contains(number))?;
    let moves = listener.rules.iter().filter(|rule| (first..gap).contains(&rule.priority));
    Some((gap, moves.map(|rule| (rule.arn.clone(), rule.priority)).collect()))
}

/// Those that move go on by one, and the page's rule takes the place of the first.
fn ahead(ours: &str, now: u32, moved: &Priorities) -> (Priorities, Priorities) {
    let first = moved.values().min().copied().unwrap_or(now);
    let mut from = moved.clone();
    from.insert(ours.to_owned(), now);
    let mut to: Priorities = moved.iter().map(|(arn, number)| (arn.clone(), number + 1)).collect();
    to.insert(ours.to_owned(), first);
    (from, to)
}

/// The plan, or why there is none.
pub(crate) fn plan(wish: &Wish, listener: &Listener) -> Result<Switch, Failure> {
    let mut switch = Switch {
        act: wish.act,
        name: wish.name.clone(),
        listener: listener.what.clone(),
        changes: Vec::new(),
        saved: None,
        notes: Vec::new(),
        unchanged: String::new(),
    };
    let found = listener.ours(&wish.name)?;
    match wish.act {
        Act::On => on(wish, listener, found, &mut switch)?,
        Act::Off => off(wish, listener, found, &mut switch)?,
        Act::Status => "this only looks".clone_into(&mut switch.unchanged),
    }
    Ok(switch)
}

fn since(saved: &Saved) -> String {
    format!("{}, since {}, until {}", saved.by, clock(saved.since), clock(saved.until))
}

fn on(
    wish: &Wish,
    listener: &Listener,
    found: Option<(&Rule, Saved)>,
    switch: &mut Switch,
) -> Result<(), Failure> {
    let attempt = format!("put the maintenance page of {} on {}", wish.name, listener.what);
    let Some(page) = &wish.page else {
        return Err(Failure::usage(attempt).because("it is not said what the page is"));
    };
    let Some((rule, saved)) = found else {
        let Some((priority, moved)) = place(listener, &wish.name) else {
            return Err(Failure::refused(attempt).because("no priority is free"));
        };
        let mut by_id = BTreeMap::new();
        for (arn, number) in &moved {
            by_id.insert(id_of(arn).to_owned(), *number);
        }
        let saved = Saved {
            name: wish.name.clone(),
            by: wish.holder.clone(),
            since: wish.now,
            until: wish.now + wish.expires,
            moved: by_id,
        };
        switch.changes.push(Change::Create { priority, page: page.clone(), saved: saved.clone() });
        if !moved.is_empty() {
            let (from, to) = ahead("", priority, &moved);
            switch.changes.push(Change::Move { from, to });
        }
        switch.saved = Some(saved);
        return Ok(());
    };
    if saved.by != wish.holder {
        return Err(Failure::refused(attempt)
            .because(format!("another release has the maintenance page on: {}", since(&saved)))
            .help(if wish.now < saved.until {
                format!(
                    "wait for it to end; if that release is gone, act in its name: --release '{}'",
                    saved.by
                )
            } else {
                "its time is over: --action off takes it off first".to_owned()
            }));
    }
    if rule.page.as_ref() != Some(page) {
        return Err(Failure::refused(attempt)
            .because(format!("the page is on already, and it is another one: {}", rule.shown))
            .help("switch that one off first"));
    }
    let first = listener.first(&wish.name, Some(&rule.arn));
    if first.is_some_and(|first| first < rule.priority) {
        // Killed between the two calls, or somebody has put a rule before it.
        let moved = still(listener, &saved);
        let (from, to) = ahead(&rule.arn, rule.priority, &moved);
        let would_be_first = to.get(&rule.arn).copied().unwrap_or(rule.priority);
        if moved.len() != saved.moved.len() || first.is_some_and(|first| first < would_be_first) {
            let other = listener.rules.iter().find(|other| Some(other.priority) == first);
            return Err(Failure::refused(attempt)
                .because(format!(
                    "somebody has put a rule before the page, or moved one: {} at {}",
                    other.map_or("", |other| other.shown.as_str()),
                    first.unwrap_or_default()
                ))
                .help("switch the page off, and on again"));
        }
        switch.changes.push(Change::Move { from, to });
    }
    switch.unchanged = format!("the maintenance page is on: {}", since(&saved));
    switch.saved = Some(saved);
    Ok(())
}

/// The rules that are still at the place that they had before the page.
fn still(listener: &Listener, saved: &Saved) -> Priorities {
    at(listener, saved, 0)
}

/// The rules of the saved state that are `by` further than they were.
fn at(listener: &Listener, saved: &Saved, by: u32) -> Priorities {
    let is = |rule: &&Rule| saved.moved.get(id_of(&rule.arn)).is_some_and(|was| was + by == rule.priority);
    listener.rules.iter().filter(is).map(|rule| (rule.arn.clone(), rule.priority)).collect()
}

fn off(
    wish: &Wish,
    listener: &Listener,
    found: Option<(&Rule, Saved)>,
    switch: &mut Switch,
) -> Result<(), Failure> {
    let attempt = format!("take the maintenance page of {} off {}", wish.name, listener.what);
    let Some((rule, saved)) = found else {
        switch.unchanged = format!("no rule of {} is the maintenance page of {}", listener.what, wish.name);
        return Ok(());
    };
    if saved.by != wish.holder && wish.now < saved.until {
        return Err(Failure::refused(attempt)
            .because(format!("the maintenance is another release's: {}", since(&saved)))
            .help(format!("if that release is gone, act in its name: --release '{}'", saved.by)));
    }
    let moved = at(listener, &saved, 1);
    let back = still(listener, &saved);
    // Where the page's rule is when it is deleted.
    let mut gap = rule.priority;
    if !wish.leave && back.len() != saved.moved.len() {
        if moved.len() != saved.moved.len() {
            let was: Vec<String> =
                saved.moved.iter().map(|(id, number)| format!("{id} at {number}")).collect();
            let is: Vec<String> = listener
                .rules
                .iter()
                .filter(|rule| saved.moved.contains_key(id_of(&rule.arn)))
                .map(|rule| format!("{} at {}", id_of(&rule.arn), rule.priority))
                .collect();
            return Err(Failure::refused(attempt)
                .because(format!(
                    "somebody has changed the priorities since: before the page the rules were {}; they are {}",
                    was.join(", "),
                    is.join(", ")
                ))
                .help("--leave-record takes the page off and leaves the other rules as they are now"));
        }
        gap = moved.values().max().copied().unwrap_or(gap);
        let mut from = moved.clone();
        from.insert(rule.arn.clone(), rule.priority);
        let mut to: Priorities = moved.iter().map(|(arn, number)| (arn.clone(), number - 1)).collect();
        to.insert(rule.arn.clone(), gap);
        switch.changes.push(Change::Move { from, to });
    }
    switch.changes.push(Change::Delete {
        arn: rule.arn.clone(),
        priority: gap,
        page: rule.page.clone(),
        saved,
    });
    Ok(())
}

impl Plan for Switch {
    fn actions(&self) -> Vec<Action> {
        let name = &self.name;
        let numbers = |from: &Priorities, to: &Priorities| {
            let line = |(arn, number): (&String, &u32)| {
                let rule = if arn.is_empty() { "the page's rule" } else { id_of(arn) };
                format!("{rule}: {} becomes {number}", from.get(arn).copied().unwrap_or_default())
            };
            to.iter().map(line).collect::<Vec<_>>().join("\n")
        };
        let action = |change: &Change| match change {
            Change::Create { priority, page, .. } => Action::new(
                CREATE,
                format!(
                    "add a rule to {} with priority {priority}: for {name}, {}",
                    self.listener,
                    page.shown()
                ),
                "delete it",
            ),
            Change::Move { from, to } => Action::new(
                MOVE,
                format!("move {} rules of {} at once", to.len(), self.listener),
                "move them back",
            )
            .detail(numbers(from, to)),
            Change::Delete { arn, priority, .. } => Action::new(
                DELETE,
                format!("delete the page's rule {} (priority {priority}) of {}", id_of(arn), self.listener),
                "add it again",
            ),
        };
        self.changes.iter().map(action).collect()
    }

    fn notes(&self) -> Vec<Note> {
        self.notes.clone()
    }

    fn unchanged(&self) -> String {
        self.unchanged.clone()
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
