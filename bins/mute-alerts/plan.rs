//! What is to be silenced or restored. Pure.

use std::fmt;

use kit::{Action, Failure, Note, Plan, clock};
use serde::{Deserialize, Serialize};

use crate::args::Act;
use crate::saved::{LARGEST, Mark, Reading, Saved, present, read, same};

/// What was seen.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Seen {
    pub(crate) topics: Vec<Topic>,
    pub(crate) alarms: Vec<Alarm>,
    /// Names that no alarm has any more.
    pub(crate) missing: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Topic {
    pub(crate) arn: String,
    pub(crate) name: String,
    pub(crate) subscriptions: Vec<Subscription>,
}

/// A subscription. Its address is a person's, or holds a key: it goes into no output and no receipt.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Subscription {
    pub(crate) arn: String,
    pub(crate) topic: String,
    pub(crate) label: String,
    #[serde(skip)]
    pub(crate) endpoint: String,
    pub(crate) protocol: String,
    /// Another account's, which alone may change it.
    pub(crate) foreign: bool,
    pub(crate) pending: bool,
    pub(crate) policy: Option<String>,
    pub(crate) scope: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Alarm {
    pub(crate) name: String,
    pub(crate) arn: String,
    pub(crate) stand: Stand,
}

/// Whether an alarm acts, and the tag of this step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stand {
    pub(crate) enabled: bool,
    pub(crate) saved: Option<String>,
}

impl Stand {
    /// Whether it is one of the two, or on the way from one to the other.
    pub(crate) fn between(&self, one: &Self, other: &Self) -> bool {
        (self.enabled == one.enabled || self.enabled == other.enabled)
            && (self.saved == one.saved || self.saved == other.saved)
    }
}

impl fmt::Display for Stand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tag =
            self.saved.as_ref().map_or_else(|| "without the tag".to_owned(), |tag| format!("tagged `{tag}`"));
        write!(f, "actions {}, {tag}", if self.enabled { "enabled" } else { "disabled" })
    }
}

impl Subscription {
    /// Its address in part: whose it is can be told, and it can't be used.
    pub(crate) fn shown(&self) -> String {
        let address = match self.protocol.as_str() {
            "email" | "email-json" => {
                let (name, host) = self.endpoint.split_once('@').unwrap_or((&self.endpoint, ""));
                format!("{}…@{host}", name.chars().next().unwrap_or('…'))
            }
            "sms" => {
                let tail: Vec<char> = self.endpoint.chars().rev().take(3).collect();
                format!("…{}", tail.into_iter().rev().collect::<String>())
            }
            "http" | "https" => {
                let rest = self.endpoint.split_once("://").map_or(self.endpoint.as_str(), |(_, rest)| rest);
                let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
                format!("{}/…", host.rsplit('@').next().unwrap_or_default())
            }
            _ => self.endpoint.clone(),
        };
        format!("{} {address}", self.protocol)
    }

    fn at(&self, address: &str) -> bool {
        match self.protocol.as_str() {
            "email" | "email-json" => self.endpoint.eq_ignore_ascii_case(address),
            _ => self.endpoint == address,
        }
    }

    /// The last group of the ARN, for the ID of an action.
    fn id(&self) -> &str {
        self.arn.rsplit(':').next().unwrap_or(&self.arn)
    }
}

/// What is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) act: Act,
    pub(crate) keep: Vec<String>,
    pub(crate) mark: Mark,
}

/// The plan.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Changes {
    pub(crate) subscriptions: Vec<SubscriptionChange>,
    pub(crate) alarms: Vec<AlarmChange>,
    #[serde(skip)]
    pub(crate) notes: Vec<Note>,
    #[serde(skip)]
    pub(crate) unchanged: String,
    /// An undo is not undone: the step is run again.
    #[serde(skip)]
    pub(crate) last: bool,
}

/// One filter policy gives way to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SubscriptionChange {
    pub(crate) id: String,
    pub(crate) arn: String,
    pub(crate) topic: String,
    pub(crate) label: String,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
}

/// One alarm is silenced or let speak.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AlarmChange {
    pub(crate) id: String,
    pub(crate) arn: String,
    pub(crate) name: String,
    pub(crate) before: Stand,
    pub(crate) after: Stand,
}

/// A policy for people; what this step saved is told by what it restores.
pub(crate) fn words(policy: Option<&str>) -> String {
    match read(policy) {
        Reading::Muted(saved) => format!("silence since {} ({})", clock(saved.since), saved.by),
        Reading::Open => {
            present(policy).map_or_else(|| "no filter policy".to_owned(), |text| format!("the policy {text}"))
        }
        Reading::Broken(_) => format!("the policy {}", policy.unwrap_or_default()),
    }
}

impl SubscriptionChange {
    pub(crate) fn action(&self, last: bool) -> Action {
        let Self { label, topic, .. } = self;
        let silences = matches!(read(self.after.as_deref()), Reading::Muted(_));
        let does = if silences {
            format!("silence {label} of {topic}")
        } else {
            format!("restore {label} of {topic}")
        };
        let detail = format!("- {}\n+ {}", words(self.before.as_deref()), words(self.after.as_deref()));
        let action = if last {
            Action::irreversible(&self.id, does, "run the step again instead")
        } else {
            Action::new(&self.id, does, format!("put back {}", words(self.before.as_deref())))
        };
        action.detail(detail)
    }
}

impl AlarmChange {
    pub(crate) fn action(&self, last: bool) -> Action {
        let name = &self.name;
        let does = if self.after.enabled && self.before.enabled {
            format!("remove the tag of the alarm {name}, whose actions are enabled already")
        } else if self.after.enabled {
            format!("enable the actions of the alarm {name}")
        } else {
            format!("disable the actions of the alarm {name}")
        };
        if last {
            Action::irreversible(&self.id, does, "run the step again instead")
        } else {
            Action::new(&self.id, does, format!("put back: {}", self.before))
        }
    }
}

impl Plan for Changes {
    fn actions(&self) -> Vec<Action> {
        let subscriptions = self.subscriptions.iter().map(|change| change.action(self.last));
        let alarms = self.alarms.iter().map(|change| change.action(self.last));
        subscriptions.chain(alarms).collect()
    }

    fn notes(&self) -> Vec<Note> {
        self.notes.clone()
    }

    fn unchanged(&self) -> String {
        self.unchanged.clone()
    }
}

/// The changes that bring about the wish.
pub(crate) fn plan(wish: &Wish, seen: &Seen) -> Result<Changes, Failure> {
    kept_are_there(wish, seen)?;
    let mut changes = Changes::default();
    for topic in &seen.topics {
        if topic.subscriptions.is_empty() {
            changes.notes.push(Note::Warning(format!("the topic {} has no subscriptions", topic.name)));
            continue;
        }
        let mut loud = 0;
        for one in &topic.subscriptions {
            loud += usize::from(subscription(wish, one, &mut changes)?);
        }
        if wish.act == Act::On && loud == 0 {
            changes.notes.push(Note::Warning(format!(
                "nobody is told anything that is sent to {} meanwhile; --keep leaves an address as it is",
                topic.name
            )));
        }
    }
    for name in &seen.missing {
        changes
            .notes
            .push(Note::Warning(format!("there is no alarm {name}: deleted meanwhile, or another name")));
    }
    for one in &seen.alarms {
        alarm(wish, one, &mut changes)?;
    }
    if !changes.subscriptions.is_empty() {
        changes.notes.push(Note::Info(match wish.act {
            Act::On => "AWS may take up to 15 minutes until a filter policy works; what is sent from then on is dropped, \
                        never delivered later"
                .to_owned(),
            _ => "AWS may take up to 15 minutes until messages come through again; those dropped meanwhile never come"
                .to_owned(),
        }));
    }
    changes.unchanged = match wish.act {
        Act::On => "all that was named is silent already".to_owned(),
        _ => "nothing that was named is silenced".to_owned(),
    };
    Ok(changes)
}

fn kept_are_there(wish: &Wish, seen: &Seen) -> Result<(), Failure> {
    let all = || seen.topics.iter().flat_map(|topic| &topic.subscriptions);
    for address in &wish.keep {
        if !all().any(|one| one.at(address)) {
            let there: Vec<&str> = all().map(|one| one.label.as_str()).collect();
            return Err(Failure::refused(format!("keep {address} as it is"))
                .because(if there.is_empty() {
                    "there are no subscriptions".to_owned()
                } else {
                    format!("no subscription has that address; there are {}", there.join(", "))
                })
                .help("write the whole address as it was subscribed"));
        }
    }
    Ok(())
}

/// Adds what is to be done about a subscription. Returns whether it stays open.
fn subscription(wish: &Wish, one: &Subscription, changes: &mut Changes) -> Result<bool, Failure> {
    let Subscription { label, topic, .. } = one;
    if one.pending {
        let text =
            format!("{label} of {topic} is not confirmed yet: it gets no messages, and is left as it is");
        changes.notes.push(Note::Info(text));
        return Ok(false);
    }
    if one.foreign {
        let text = format!(
            "{label} of {topic} is another account's, which alone can silence it: it is left as it is"
        );
        changes.notes.push(Note::Warning(text));
        return Ok(true);
    }
    let kept = wish.keep.iter().any(|address| one.at(address));
    if kept && wish.act == Act::Off {
        changes.notes.push(Note::Info(format!("{label} of {topic} is left as it is (--keep)")));
        return Ok(true);
    }
    let after = match read(one.policy.as_deref()) {
        Reading::Broken(why) => return Err(foreign_change(one, &why, None)),
        Reading::Muted(saved) => {
            if wish.act == Act::On && !kept {
                if saved.by != wish.mark.by {
                    let since = clock(saved.since);
                    let text =
                        format!("{label} of {topic} is silenced already, since {since} by {}", saved.by);
                    changes.notes.push(Note::Warning(text));
                }
                return Ok(false);
            }
            if let Some(why) = other_scope(&saved, one.scope.as_deref()) {
                return Err(foreign_change(one, &why, Some(&saved)));
            }
            saved.policy
        }
        Reading::Open => {
            if wish.act == Act::Off {
                if let Some(policy) = &one.policy {
                    let text = format!("{label} of {topic} is not silenced, and keeps its policy {policy}");
                    changes.notes.push(Note::Info(text));
                }
                return Ok(true);
            }
            if kept {
                return Ok(true);
            }
            let muting = Saved::new(&wish.mark, one.policy.as_deref(), one.scope.as_deref()).policy();
            if muting.len() > LARGEST {
                return Err(Failure::refused(format!("silence {label} of {topic}"))
                    .because(format!(
                        "its policy has {} bytes: with it saved in the muting one, that would be larger than the 256 KB that AWS allows",
                        one.policy.as_deref().unwrap_or_default().len()
                    ))
                    .help("leave it out with --keep"));
            }
            Some(muting)
        }
    };
    changes.subscriptions.push(SubscriptionChange {
        id: format!("subscription-{}", one.id()),
        arn: one.arn.clone(),
        topic: topic.clone(),
        label: label.clone(),
        before: one.policy.clone(),
        after,
    });
    Ok(kept || wish.act == Act::Off)
}

/// Why a saved policy would not say what it said: somebody has changed the scope since.
pub(crate) fn other_scope(saved: &Saved, now: Option<&str>) -> Option<String> {
    let (was, now) = (scope(saved.scope.as_deref()), scope(now));
    let is_other = saved.policy.is_some() && was != now;
    is_other.then(|| format!("its scope is now {now}, and was {was} when it was silenced"))
}

/// What no scope means.
///
/// Source: <https://docs.aws.amazon.com/sns/latest/dg/sns-message-filtering-scope.html>
fn scope(told: Option<&str>) -> &str {
    told.unwrap_or("MessageAttributes")
}

fn foreign_change(one: &Subscription, why: &str, saved: Option<&Saved>) -> Failure {
    let now = one.policy.as_deref().unwrap_or("none");
    let was = match saved {
        Some(saved) => format!("; saved in it is {}", words(saved.policy.as_deref())),
        None => String::new(),
    };
    Failure::refused(format!("tell what {} of {} was before it was silenced", one.label, one.topic))
        .because(format!("somebody has changed the muting policy: {why}; it is now {now}{was}"))
        .help(format!("put it right by hand: aws sns set-subscription-attributes --subscription-arn {} --attribute-name FilterPolicy --attribute-value JSON", one.arn))
        .help("off: --keep with its address leaves this one out and restores the others")
}

fn alarm(wish: &Wish, one: &Alarm, changes: &mut Changes) -> Result<(), Failure> {
    let Alarm { name, stand, .. } = one;
    let mark = match &stand.saved {
        None => None,
        Some(tag) => Some(Mark::of(tag).map_err(|why| {
            Failure::refused(format!("tell whether the alarm {name} is silenced"))
                .because(format!("its tag {} is `{tag}`: {why}", crate::saved::KEY))
                .help("see whose tag that is, and remove it")
        })?),
    };
    let after = match (wish.act, stand.enabled, mark) {
        (Act::On, true, None) => Stand { enabled: false, saved: Some(wish.mark.tag()) },
        // Killed before the actions were disabled, or somebody has enabled them since.
        (Act::On, true, Some(_)) => Stand { enabled: false, saved: stand.saved.clone() },
        (Act::On, false, Some(mark)) => {
            if mark.by != wish.mark.by {
                let since = clock(mark.since);
                let text = format!("the alarm {name} is silenced already, since {since} by {}", mark.by);
                changes.notes.push(Note::Warning(text));
            }
            return Ok(());
        }
        (_, false, None) => {
            let text = format!("the actions of the alarm {name} were disabled by somebody else, and stay so");
            changes.notes.push(Note::Info(text));
            return Ok(());
        }
        (_, true, None) => return Ok(()),
        (_, _, Some(_)) => Stand { enabled: true, saved: None },
    };
    changes.alarms.push(AlarmChange {
        id: format!("alarm-{name}"),
        arn: one.arn.clone(),
        name: name.clone(),
        before: stand.clone(),
        after,
    });
    Ok(())
}

/// Whether a subscription's policy is what was to be.
pub(crate) fn is_set(change: &SubscriptionChange, now: Option<&str>) -> bool {
    same(change.after.as_deref(), now)
}
