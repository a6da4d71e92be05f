//! The file, as it is written.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::front::{Fault, Matcher};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) title: String,
    pub(super) account: Option<String>,
    #[serde(default)]
    pub(super) documents: Map<String, Value>,
    #[serde(default)]
    pub(super) resources: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) transitions: Vec<Transition>,
    pub(super) answers: Vec<Entry>,
    #[serde(default)]
    pub(super) faults: Vec<Fault>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Transition {
    pub(super) resource: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) after: After,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum After {
    Calls { calls: u64, of: Matcher },
    Milliseconds(Milliseconds),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Milliseconds {
    pub(super) milliseconds: u64,
}

/// One answer of AWS, and when it is given.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) call: Matcher,
    #[serde(default)]
    pub(super) when: BTreeMap<String, States>,
    #[serde(default)]
    pub(super) set: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) keep: BTreeMap<String, String>,
    answer: Option<Value>,
    error: Option<Refusal>,
    /// The AWS page or the recording that the answer follows.
    source: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Refusal {
    pub(super) code: String,
    pub(super) message: String,
    #[serde(default = "bad_request")]
    pub(super) status: u16,
}

fn bad_request() -> u16 {
    400
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum States {
    One(String),
    Some(Vec<String>),
}

/// What an entry sends.
pub(super) enum Says<'a> {
    Answer(&'a Value),
    Error(&'a Refusal),
}

impl States {
    pub(super) fn all(&self) -> &[String] {
        match self {
            Self::One(state) => std::slice::from_ref(state),
            Self::Some(states) => states,
        }
    }
}

impl Entry {
    pub(super) fn says(&self) -> Option<Says<'_>> {
        match (&self.answer, &self.error) {
            (Some(answer), None) => Some(Says::Answer(answer)),
            (None, Some(error)) => Some(Says::Error(error)),
            _ => None,
        }
    }
}

impl File {
    /// Names must lead somewhere: a misspelt state would make an answer that is never given.
    pub(super) fn check(&self) -> Result<(), String> {
        let mut states: BTreeSet<(&str, &str)> = BTreeSet::new();
        let text = String::as_str;
        states.extend(self.resources.iter().map(|(resource, state)| (text(resource), text(state))));
        states.extend(self.transitions.iter().map(|to| (text(&to.resource), text(&to.to))));
        states.extend(
            self.answers
                .iter()
                .flat_map(|entry| &entry.set)
                .map(|(resource, state)| (text(resource), text(state))),
        );
        let known = |resource: &str, state: &str| {
            if !self.resources.contains_key(resource) {
                return Err(format!("there is no resource {resource}"));
            }
            if !states.contains(&(resource, state)) {
                return Err(format!("nothing brings {resource} into the state {state}"));
            }
            Ok(())
        };
        for transition in &self.transitions {
            known(&transition.resource, &transition.from)?;
        }
        for (n, entry) in self.answers.iter().enumerate() {
            let place = |error: String| format!("answers[{n}] ({}): {error}", entry.call);
            if entry.source.trim().is_empty() {
                return Err(place("it names no source".to_owned()));
            }
            let Some(says) = entry.says() else {
                return Err(place("it has to have either `answer` or `error`".to_owned()));
            };
            let wanted = entry
                .when
                .iter()
                .flat_map(|(resource, states)| states.all().iter().map(move |s| (resource, s)));
            for (resource, state) in wanted.chain(&entry.set) {
                known(resource, state).map_err(place)?;
            }
            if let Says::Answer(value) = says {
                self.documents_of(value).map_err(place)?;
            }
        }
        self.documents.values().try_for_each(|document| self.documents_of(document))
    }

    fn documents_of(&self, value: &Value) -> Result<(), String> {
        match value {
            Value::Object(map) => {
                if let Some(name) = map.get("$document")
                    && !name.as_str().is_some_and(|name| self.documents.contains_key(name))
                {
                    return Err(format!("there is no document {name}"));
                }
                map.values().try_for_each(|value| self.documents_of(value))
            }
            Value::Array(items) => items.iter().try_for_each(|item| self.documents_of(item)),
            _ => Ok(()),
        }
    }
}
