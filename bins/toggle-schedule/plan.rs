//! What is to be done about each rule. Pure.

use std::fmt;

use kit::{Action, Failure, Note, Plan, clock};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::args::{Act, Expect};
use crate::saved::{KEY, Saved};

pub(crate) const ENABLED: &str = "ENABLED";
pub(crate) const DISABLED: &str = "DISABLED";

/// A rule as it was seen.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) bus: String,
    pub(crate) arn: String,
    pub(crate) schedule: Option<String>,
    /// The service of AWS that made the rule, and alone may change it.
    pub(crate) managed_by: Option<String>,
    pub(crate) stand: Stand,
}

/// A rule's state as AWS names it, and the value of this step's tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stand {
    pub(crate) state: String,
    pub(crate) saved: Option<String>,
}

impl Stand {
    /// Whether it is one of the two, or on the way from one to the other.
    pub(crate) fn between(&self, one: &Self, other: &Self) -> bool {
        (self.state == one.state || self.state == other.state)
            && (self.saved == one.saved || self.saved == other.saved)
    }

    fn enabled(&self) -> bool {
        self.state != DISABLED
    }
}

impl fmt::Display for Stand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.saved {
            Some(tag) => write!(f, "{}, tagged `{tag}`", self.state),
            None => write!(f, "{}, without the tag", self.state),
        }
    }
}

/// What is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) act: Act,
    pub(crate) save: bool,
    pub(crate) by: String,
    pub(crate) now: OffsetDateTime,
}

/// One rule goes from one stand to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) bus: String,
    pub(crate) arn: String,
    pub(crate) before: Stand,
    pub(crate) after: Stand,
}

/// The plan.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Changes {
    pub(crate) rules: Vec<Change>,
    #[serde(skip)]
    pub(crate) notes: Vec<Note>,
    #[serde(skip)]
    pub(crate) unchanged: String,
    /// An undo is not undone: the step is run again.
    #[serde(skip)]
    pub(crate) last: bool,
}

impl Change {
    /// Whether `EnableRule` and `DisableRule` can put back the state that was found.
    pub(crate) fn comes_back(&self) -> bool {
        self.before.state == self.after.state || self.before.state == ENABLED || self.before.state == DISABLED
    }

    fn action(&self, last: bool) -> Action {
        let Self { name, before, after, .. } = self;
        let does = match (before.state == after.state, after.state == DISABLED) {
            (false, true) => format!("disable the rule {name}"),
            (false, false) => format!("enable the rule {name}"),
            (true, _) if after.saved.is_some() => format!("save that the rule {name} is {}", after.state),
            (true, _) => format!("drop what is saved of the rule {name}, which stays {}", after.state),
        };
        let action = if last {
            Action::irreversible(&self.id, does, "run the step again instead")
        } else if !self.comes_back() {
            Action::irreversible(
                &self.id,
                does,
                format!("EnableRule makes it {ENABLED}, never {}", before.state),
            )
        } else {
            Action::new(&self.id, does, format!("put back: {before}"))
        };
        action.detail(format!("- {before}\n+ {after}"))
    }
}

impl Plan for Changes {
    fn actions(&self) -> Vec<Action> {
        self.rules.iter().map(|change| change.action(self.last)).collect()
    }

    fn notes(&self) -> Vec<Note> {
        self.notes.clone()
    }

    fn unchanged(&self) -> String {
        self.unchanged.clone()
    }
}

/// `assert`: every rule that is not in the state that is wanted is named.
pub(crate) fn assert(expect: Expect, rules: &[Rule]) -> Result<(), Failure> {
    let wrong: Vec<String> = rules
        .iter()
        .filter(|rule| rule.stand.enabled() != (expect == Expect::Enabled))
        .map(|rule| format!("{} is {}", rule.name, rule.stand.state))
        .collect();
    if wrong.is_empty() {
        return Ok(());
    }
    let (wanted, verb) = match expect {
        Expect::Enabled => ("enabled", "enable"),
        Expect::Disabled => ("disabled", "disable"),
    };
    Err(Failure::refused(format!("assert that every rule is {wanted}"))
        .because(wrong.join("; "))
        .help(format!("find out who changed it; --action {verb} --no-save makes it so, to stay")))
}

/// The changes that bring about the wish.
pub(crate) fn plan(wish: &Wish, rules: &[Rule]) -> Result<Changes, Failure> {
    let mut changes = Changes::default();
    for rule in rules {
        let after = match wish.act {
            Act::Enable | Act::Disable => toggled(wish, rule)?,
            Act::Restore => restored(wish, rule, &mut changes)?,
            Act::Forget => Stand { saved: None, ..rule.stand.clone() },
            Act::Assert | Act::Status => rule.stand.clone(),
        };
        if after != rule.stand {
            not_managed(rule)?;
            changes.rules.push(Change {
                id: format!("rule-{}", rule.name),
                name: rule.name.clone(),
                bus: rule.bus.clone(),
                arn: rule.arn.clone(),
                before: rule.stand.clone(),
                after,
            });
        }
    }
    let states = rules.iter().map(|rule| format!("{} is {}", rule.name, rule.stand.state));
    changes.unchanged = states.collect::<Vec<_>>().join(", ");
    if changes.rules.iter().any(|change| change.before.state != change.after.state) {
        changes.notes.push(Note::Info("AWS may take a short time until the new state works".to_owned()));
    }
    Ok(changes)
}

/// Source: <https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_DisableRule.html>
fn not_managed(rule: &Rule) -> Result<(), Failure> {
    match &rule.managed_by {
        None => Ok(()),
        Some(service) => Err(Failure::refused(format!("toggle the rule {}", rule.name))
            .because(format!("{service} has made it, and AWS lets nobody else change it"))
            .help("change it where it comes from, or leave it out")),
    }
}

fn saved(rule: &Rule) -> Result<Option<Saved>, Failure> {
    let Some(tag) = &rule.stand.saved else { return Ok(None) };
    Saved::of(tag).map(Some).map_err(|why| {
        Failure::refused(format!("read what is saved of the rule {}", rule.name))
            .because(format!("its tag {KEY} is `{tag}`: {why}"))
            .help("see whose tag that is; --action forget removes it")
    })
}

/// What another release has saved is not this one's to use: it may be from long ago.
fn ours(wish: &Wish, rule: &Rule, saved: &Saved) -> Result<(), Failure> {
    if saved.by == wish.by {
        return Ok(());
    }
    Err(Failure::refused(format!("change the rule {} for {}", rule.name, wish.by))
        .because(format!(
            "{}, since {}, has it {} and saved that it was {}; it is {}",
            saved.by,
            clock(saved.since),
            saved.left,
            saved.was,
            rule.stand.state
        ))
        .help(format!("to put back what it was: --action restore --release '{}'", saved.by))
        .help("to keep it as it is now: --action forget"))
}

fn toggled(wish: &Wish, rule: &Rule) -> Result<Stand, Failure> {
    let stand = &rule.stand;
    let found = saved(rule)?;
    if let Some(found) = &found {
        ours(wish, rule, found)?;
    }
    let left = match wish.act {
        Act::Disable => DISABLED.to_owned(),
        // Enabled in whatever way is enabled.
        _ if stand.enabled() => stand.state.clone(),
        _ => ENABLED.to_owned(),
    };
    if !wish.save {
        return match found {
            None => Ok(Stand { state: left, saved: None }),
            Some(found) => Err(Failure::refused(format!("change the rule {} without saving", rule.name))
                .because(format!("this release has saved already that it was {}", found.was))
                .help("--action forget drops that, --action restore puts it back")),
        };
    }
    let was = found.as_ref().map_or(&stand.state, |found| &found.was);
    if *was != left && *was != ENABLED && *was != DISABLED {
        return Err(Failure::refused(format!("disable the rule {}", rule.name))
            .because(format!("it is {was}, and EnableRule, which would put it back, can only make it {ENABLED}"))
            .help("--no-save disables it all the same; to bring it back, PutRule has to be called with that state"));
    }
    let tag = match &found {
        Some(found) if found.left == left => stand.saved.clone(),
        Some(found) => Some(Saved { left: left.clone(), ..found.clone() }.tag()),
        None => {
            let new =
                Saved { was: stand.state.clone(), left: left.clone(), since: wish.now, by: wish.by.clone() };
            Some(new.tag())
        }
    };
    Ok(Stand { state: left, saved: tag })
}

fn restored(wish: &Wish, rule: &Rule, changes: &mut Changes) -> Result<Stand, Failure> {
    let state = &rule.stand.state;
    let Some(found) = saved(rule)? else {
        // Put back already, by a run that was cut off behind its last call, or never toggled: the same to whoever runs it again.
        changes.notes.push(Note::Warning(format!(
            "nothing is saved of the rule {}: it is {state}, and stays so",
            rule.name
        )));
        return Ok(rule.stand.clone());
    };
    ours(wish, rule, &found)?;
    if *state != found.left && *state != found.was {
        return Err(Failure::refused(format!("put the rule {} back", rule.name))
            .because(format!(
                "somebody has changed it: it is {state}; this release left it {}, and before it was {}",
                found.left, found.was
            ))
            .help("--action forget keeps it as it is; --action enable or disable sets it"));
    }
    Ok(Stand { state: found.was, saved: None })
}
