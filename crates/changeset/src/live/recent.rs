//! What this connection has made and deleted a moment ago, and AWS may not know everywhere yet.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// For so long a change set that was just made may not be found, nor its new stack. CloudFormation names no time; clients have met
/// it (<https://github.com/aws/aws-cdk/issues/6674>).
const KNOWN_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
struct Sets {
    made: Option<Instant>,
    deleted: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Recent(Arc<Mutex<Sets>>);

impl Recent {
    pub(super) fn made(&self) {
        self.sets().made = Some(Instant::now());
    }

    /// A set was executed, which deletes the others of its stack: what is not found from now on is gone.
    pub(super) fn executed(&self) {
        self.sets().made = None;
    }

    pub(super) fn deleted(&self, set: &str) {
        self.sets().deleted.push(set.to_owned());
    }

    /// Whether what is not found may be there all the same.
    pub(super) fn may_be_unknown(&self) -> bool {
        self.sets().made.is_some_and(|made| made.elapsed() < KNOWN_WITHIN)
    }

    pub(super) fn is_deleted(&self, set: &str) -> bool {
        self.sets().deleted.iter().any(|deleted| deleted == set)
    }

    fn sets(&self) -> MutexGuard<'_, Sets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
