//! Replicas that are behind: for a while after a write, references, releases and runs are read as they were before it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use http::Method;

use super::state::State;

/// What clients have read too early: references (<https://github.com/PyGithub/PyGithub/issues/2759>,
/// <https://github.com/datafusion-contrib/datafusion-go/pull/10>), releases (<https://github.com/cli/cli/issues/6599>) and the runs
/// that a dispatch has started (<https://github.com/apache/airflow/pull/71305>).
const EVENTUAL: [&str; 5] = ["/git/ref/", "/git/matching-refs/", "/releases", "/branches", "/runs"];

/// How many reads of a path are answered so at least, however slow the client is.
const READS: u32 = 2;

pub(super) struct Lag {
    lasts: Duration,
    behind: Option<Behind>,
}

struct Behind {
    before: State,
    until: Instant,
    told: HashMap<String, u32>,
}

impl Lag {
    pub(super) fn new(lasts: Duration) -> Self {
        Self { lasts, behind: None }
    }

    /// The state that answers this request, if it is not the present one.
    pub(super) fn before(&mut self, method: &Method, path: &str) -> Option<&mut State> {
        let behind = self.behind.as_mut()?;
        let is_eventual = EVENTUAL.iter().any(|part| path.contains(part)) && !path.contains("/jobs");
        let is_read = method == Method::GET && is_eventual;
        let told = behind.told.entry(path.to_owned()).or_default();
        if !is_read || (*told >= READS && Instant::now() > behind.until) {
            return None;
        }
        *told += 1;
        Some(&mut behind.before)
    }

    /// Something is about to be written. What is behind already stays where it is.
    pub(super) fn write(&mut self, state: &State) {
        let now = Instant::now();
        let earlier = self.behind.take().filter(|behind| now <= behind.until).map(|behind| behind.before);
        let before = earlier.or_else(|| {
            // The state is what can be written to a file and read again.
            serde_json::to_value(state).and_then(serde_json::from_value).ok()
        });
        self.behind = before.map(|before| Behind { before, until: now + self.lasts, told: HashMap::new() });
    }
}
