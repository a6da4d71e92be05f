//! Scenarios: what AWS would say in a situation that no emulator can be brought into, as a state machine from a JSON file.
//!
//! ```json
//! {
//!   "title": "the circuit breaker rolls the deployment back",
//!   "account": "123456789012",
//!   "documents": { "service": { "serviceName": "web", "status": "ACTIVE" } },
//!   "resources": { "deployment": "none" },
//!   "transitions": [
//!     { "resource": "deployment", "from": "rolling", "to": "failed", "after": { "calls": 2, "of": "ecs:DescribeServices" } },
//!     { "resource": "deployment", "from": "failed", "to": "rolled-back", "after": { "milliseconds": 50 } }
//!   ],
//!   "answers": [
//!     { "call": "ecs:UpdateService", "when": { "deployment": "none" }, "set": { "deployment": "rolling" },
//!       "answer": { "service": { "$document": "service", "taskDefinition": { "$request": "/taskDefinition" } } },
//!       "source": "https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html" },
//!     { "call": { "service": "ecs", "operation": "ListTasks", "fields": { "nextToken": "2" } },
//!       "error": { "code": "InvalidParameterException", "message": "Invalid token" }, "source": "..." }
//!   ],
//!   "faults": []
//! }
//! ```
//!
//! * A call is answered by the first of the `answers` whose `call` (a [`Matcher`], its `nth` counting the calls that this
//!   entry's service, operation and fields match, whatever the state) and whose `when` (resource to state, or to a list of
//!   states) fit; then `set` takes effect. An `answer` is JSON, or text that is sent as XML.
//! * A transition takes place before the call that comes after so many calls of that kind, or so much time, in its state.
//! * `{"$document": NAME, ...}` is the named document with the other keys merged into it (RFC 7396), `{"$request": POINTER}` the
//!   part of the request's content, null where there is none. An entry's `keep` (name to pointer) keeps such a part under a name,
//!   and `{"$kept": NAME}` is it in a later answer.
//! * With `account`, `sts:GetCallerIdentity` is answered for that account.
//! * What no entry answers goes to the next service or the emulator; without one the front answers 400 and lists the call as
//!   unmatched. Entries that never answered are told by [`Scenario::unused`]: a test asserts that both are empty.
//! * `faults` are for [`Front::set_faults`](crate::front::Front::set_faults).

mod file;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::{Map, Value};

use self::file::{After, Entry, File, Milliseconds, Refusal, Says};
use crate::front::{Answer, Builder, Fault, Request, Service};

/// A running scenario. Its state lives as long as this, and outlives the clients' processes.
#[derive(Clone)]
pub struct Scenario {
    shared: Arc<Shared>,
}

struct Shared {
    file: File,
    live: Mutex<Live>,
}

struct Live {
    resources: BTreeMap<String, State>,
    /// How many calls each entry's matcher fitted.
    matched: Vec<u64>,
    used: Vec<bool>,
    /// What was kept of requests, by its name.
    kept: BTreeMap<String, Value>,
}

struct State {
    name: String,
    since: Instant,
    /// Calls in this state, by the place of the transition that counts them.
    calls: BTreeMap<usize, u64>,
}

impl State {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), since: Instant::now(), calls: BTreeMap::new() }
    }
}

impl Scenario {
    /// Reads a scenario file.
    ///
    /// # Errors
    /// It can't be read, is no scenario, or names a resource, state or document that it does not define.
    pub fn load(path: &Path) -> io::Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        Self::parse(&text).map_err(|error| io::Error::other(format!("{}: {error}", path.display())))
    }

    /// A scenario from the text of its file.
    ///
    /// # Errors
    /// As [`Scenario::load`].
    pub fn parse(text: &str) -> io::Result<Self> {
        let file: File = serde_json::from_str(text)?;
        file.check().map_err(io::Error::other)?;
        let live = Live {
            resources: file.resources.iter().map(|(name, state)| (name.clone(), State::new(state))).collect(),
            matched: vec![0; file.answers.len()],
            used: vec![false; file.answers.len()],
            kept: BTreeMap::new(),
        };
        Ok(Self { shared: Arc::new(Shared { file, live: Mutex::new(live) }) })
    }

    /// What happens, in a line.
    pub fn title(&self) -> &str {
        &self.shared.file.title
    }

    /// Adds every service that the scenario speaks for to a front, ahead of those added later.
    #[must_use]
    pub fn serve(&self, front: Builder) -> Builder {
        let file = &self.shared.file;
        let mut names: BTreeSet<&str> =
            file.answers.iter().map(|entry| entry.call.service.as_str()).collect();
        names.extend(file.account.as_ref().map(|_| "sts"));
        names.into_iter().fold(front, |front, name| {
            front.service(Arc::new(Part { scenario: self.clone(), service: name.to_owned() }))
        })
    }

    /// The faults that the file wishes for.
    pub fn faults(&self) -> Vec<Fault> {
        self.shared.file.faults.clone()
    }

    /// The state that a resource is in.
    pub fn state(&self, resource: &str) -> Option<String> {
        self.live().resources.get(resource).map(|state| state.name.clone())
    }

    /// The entries that never answered a call, each as its place in the file and its call.
    pub fn unused(&self) -> Vec<String> {
        let live = self.live();
        let entries = self.shared.file.answers.iter().zip(&live.used).enumerate();
        entries
            .filter(|(_, (_, used))| !**used)
            .map(|(n, (entry, _))| format!("answers[{n}]: {}", entry.call))
            .collect()
    }

    fn live(&self) -> std::sync::MutexGuard<'_, Live> {
        self.shared.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, request: &Request) -> Option<Answer> {
        let file = &self.shared.file;
        let mut live = self.live();
        live.pass(file, request);
        for (entry, matched) in file.answers.iter().zip(&mut live.matched) {
            *matched += u64::from(entry.call.matches(request));
        }
        let found = file.answers.iter().enumerate().position(|(n, entry)| live.fits(n, entry, request));
        let Some((n, entry)) = found.and_then(|n| Some((n, file.answers.get(n)?))) else {
            return file.identity(request);
        };
        if let Some(used) = live.used.get_mut(n) {
            *used = true;
        }
        for (resource, state) in &entry.set {
            live.resources.insert(resource.clone(), State::new(state));
        }
        let content = request.content();
        for (name, pointer) in &entry.keep {
            live.kept.insert(name.clone(), content.pointer(pointer).cloned().unwrap_or(Value::Null));
        }
        Some(match entry.says()? {
            Says::Answer(Value::String(xml)) => Answer::xml(xml.clone()),
            Says::Answer(value) => Answer::json(&file.rendered(value, &content, &live.kept)),
            Says::Error(Refusal { code, message, status }) => {
                let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_REQUEST);
                request.error(status, code, message)
            }
        })
    }
}

impl Live {
    /// Counts the call where it is waited for, after the transitions that are due.
    fn pass(&mut self, file: &File, request: &Request) {
        // A transition may lead into a state that another one leaves at once.
        for _ in 0..=file.transitions.len() {
            let due = file.transitions.iter().enumerate().find(|(n, transition)| {
                self.resources.get(&transition.resource).is_some_and(|state| {
                    state.name == transition.from
                        && match &transition.after {
                            After::Calls { calls, of } => {
                                of.matches(request)
                                    && state.calls.get(n).copied().unwrap_or_default() >= *calls
                            }
                            After::Milliseconds(Milliseconds { milliseconds }) => {
                                state.since.elapsed() >= Duration::from_millis(*milliseconds)
                            }
                        }
                })
            });
            let Some((_, transition)) = due else { break };
            self.resources.insert(transition.resource.clone(), State::new(&transition.to));
        }
        for (n, transition) in file.transitions.iter().enumerate() {
            if let After::Calls { of, .. } = &transition.after
                && of.matches(request)
                && let Some(state) = self.resources.get_mut(&transition.resource)
                && state.name == transition.from
            {
                *state.calls.entry(n).or_default() += 1;
            }
        }
    }

    fn fits(&self, n: usize, entry: &Entry, request: &Request) -> bool {
        entry.call.matches(request)
            && entry.call.nth.is_none_or(|nth| self.matched.get(n) == Some(&nth))
            && entry.when.iter().all(|(resource, states)| {
                self.resources.get(resource).is_some_and(|state| states.all().contains(&state.name))
            })
    }
}

impl File {
    /// `account` alone answers who the caller is.
    /// <https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html>
    fn identity(&self, request: &Request) -> Option<Answer> {
        let account = self.account.as_ref()?;
        (request.service == "sts" && request.operation == "GetCallerIdentity").then(|| {
            Answer::xml(format!(
                "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
                 <Arn>arn:aws:sts::{account}:assumed-role/release/test</Arn><UserId>ARO123EXAMPLE123:test</UserId>\
                 <Account>{account}</Account></GetCallerIdentityResult><ResponseMetadata><RequestId>\
                 01234567-89ab-cdef-0123-456789abcdef</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
            ))
        })
    }

    /// The value with its references replaced.
    fn rendered(&self, value: &Value, request: &Value, kept: &BTreeMap<String, Value>) -> Value {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(pointer)) = map.get("$request") {
                    return request.pointer(pointer).cloned().unwrap_or(Value::Null);
                }
                if let Some(Value::String(name)) = map.get("$kept") {
                    return kept.get(name).cloned().unwrap_or(Value::Null);
                }
                let own: Map<String, Value> = map
                    .iter()
                    .filter(|(key, _)| *key != "$document")
                    .map(|(key, value)| (key.clone(), self.rendered(value, request, kept)))
                    .collect();
                let Some(Value::String(name)) = map.get("$document") else { return Value::Object(own) };
                let mut document = self.rendered(&self.documents[name.as_str()], request, kept);
                merge(&mut document, own);
                document
            }
            Value::Array(items) => items.iter().map(|item| self.rendered(item, request, kept)).collect(),
            other => other.clone(),
        }
    }
}

/// <https://www.rfc-editor.org/rfc/rfc7396>
fn merge(target: &mut Value, patch: Map<String, Value>) {
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        match value {
            Value::Null => {
                target.shift_remove(&key);
            }
            Value::Object(inner) => merge(target.entry(key).or_insert(Value::Null), inner),
            other => {
                target.insert(key, other);
            }
        }
    }
}

/// The scenario as one of the services that it speaks for.
struct Part {
    scenario: Scenario,
    service: String,
}

impl Service for Part {
    fn service(&self) -> &str {
        &self.service
    }

    fn handle<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Option<Answer>> {
        std::future::ready(self.scenario.answer(request)).boxed()
    }
}
