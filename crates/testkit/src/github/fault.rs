//! Faults: what happens to a request instead of an answer, or after its effect.

use std::collections::HashSet;

use http::Method;

/// The method of a rule that strikes whatever may change something.
const ANY_WRITE: &str = "any write";

/// The method of a rule that strikes whatever is asked.
const ANY: &str = "any";

/// On which side of the request's effect the fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Before,
    /// What was asked is done, and the client does not learn it.
    After,
}

/// What happens to the request.
#[derive(Clone, Debug)]
pub enum Effect {
    /// An answer as it stands.
    Answer { status: u16, headers: Vec<(String, String)>, body: String },
    /// The connection is cut without an answer.
    Reset,
    /// No answer comes, and the connection stays: for a client that is killed meanwhile.
    Hang,
}

/// A rule: requests of this method whose path ends so.
#[derive(Clone, Debug)]
pub struct Fault {
    method: String,
    path: String,
    first: u64,
    times: u64,
    first_tries: bool,
    when: When,
    effect: Effect,
}

impl Fault {
    /// Strikes every request of `method` whose path ends in `path`, before it takes effect.
    pub fn new(method: &str, path: &str, effect: Effect) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            first: 1,
            times: u64::MAX,
            first_tries: false,
            when: When::Before,
            effect,
        }
    }

    /// Cuts the connection.
    pub fn reset(method: &str, path: &str) -> Self {
        Self::new(method, path, Effect::Reset)
    }

    /// Strikes every request that may change something.
    pub fn any_write(effect: Effect) -> Self {
        Self::new(ANY_WRITE, "", effect)
    }

    /// Leaves the `nth` request that may change something (from 1) without an answer.
    pub fn hang_at_write(nth: u64) -> Self {
        Self::new(ANY_WRITE, "", Effect::Hang).nth(nth)
    }

    /// Strikes the first request of each method and path.
    pub fn first_tries(effect: Effect) -> Self {
        Self { first_tries: true, ..Self::new(ANY, "", effect) }
    }

    /// Strikes every request.
    pub fn all(effect: Effect) -> Self {
        Self::new(ANY, "", effect)
    }

    /// Answers with GitHub's error document.
    pub fn status(method: &str, path: &str, status: u16, message: &str) -> Self {
        let body = serde_json::json!({"message": message, "documentation_url": "https://docs.github.com/rest", "status": status.to_string()});
        Self::new(method, path, Effect::Answer { status, headers: Vec::new(), body: body.to_string() })
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Effect::Answer { headers, .. } = &mut self.effect {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Strikes after the request has taken effect.
    #[must_use]
    pub fn after(mut self) -> Self {
        self.when = When::After;
        self
    }

    /// Strikes the `nth` matching request (from 1) alone.
    #[must_use]
    pub fn nth(mut self, nth: u64) -> Self {
        (self.first, self.times) = (nth, 1);
        self
    }

    /// Strikes from the `nth` matching request (from 1) on.
    #[must_use]
    pub fn from(mut self, nth: u64) -> Self {
        self.first = nth;
        self
    }

    /// Strikes so many requests.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }
}

#[derive(Default)]
pub(super) struct Rules(Vec<(Fault, u64)>, HashSet<String>);

impl Rules {
    pub(super) fn add(&mut self, fault: Fault) {
        self.0.push((fault, 0));
    }

    /// The first fault that strikes this request; counts it for each that matches.
    pub(super) fn striking(&mut self, method: &Method, path: &str) -> Option<(When, Effect)> {
        let mut struck = None;
        let is_first = self.1.insert(format!("{method} {path}"));
        for (fault, seen) in &mut self.0 {
            let write = fault.method == ANY_WRITE && method != Method::GET;
            let any = fault.method == ANY;
            if (write || any || fault.method == method.as_str()) && path.ends_with(&fault.path) {
                *seen += 1;
                let is_spared = fault.first_tries && !is_first;
                let strikes = *seen >= fault.first && *seen - fault.first < fault.times && !is_spared;
                if strikes && struck.is_none() {
                    struck = Some((fault.when, fault.effect.clone()));
                }
            }
        }
        struck
    }
}
