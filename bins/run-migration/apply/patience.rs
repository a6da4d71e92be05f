//! When to try again what another session stood in the way of.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use postgres::tokio_postgres::Error;
use postgres::tokio_postgres::error::SqlState;
use tokio::time::Instant;

/// Pauses that grow and vary, within a budget.
pub(crate) struct Patience {
    until: Instant,
    tries: u32,
}

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

impl Patience {
    pub(crate) fn new(budget: Duration) -> Self {
        Self { until: Instant::now() + budget, tries: 0 }
    }

    /// How many pauses there were.
    pub(crate) fn tries(&self) -> u32 {
        self.tries
    }

    /// The next pause, unless it would go beyond the budget or the step's deadline. Two runs that hinder each other must not
    /// do so in step: each pause is between a half and one and a half of its length.
    pub(crate) fn next(&mut self, deadline: Instant) -> Option<Duration> {
        let length = FIRST.saturating_mul(1 << self.tries.min(10)).min(LONGEST);
        let chance = RandomState::new().hash_one(self.tries) % 1000;
        let pause = length.mul_f64(0.5 + f64::from(u32::try_from(chance).unwrap_or_default()) / 1000.0);
        if Instant::now() + pause > self.until.min(deadline) {
            return None;
        }
        self.tries += 1;
        Some(pause)
    }
}

/// What the server says of a statement that may well succeed a moment later
/// (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
pub(crate) fn again(error: &Error) -> Option<&'static str> {
    match error.code() {
        Some(&SqlState::LOCK_NOT_AVAILABLE) => Some("no lock in time"),
        Some(&SqlState::T_R_DEADLOCK_DETECTED) => Some("deadlock"),
        Some(&SqlState::T_R_SERIALIZATION_FAILURE) => Some("serialization failure"),
        _ => None,
    }
}

/// Whether the connection is gone: a server that ends a session says so before it closes it.
pub(crate) fn lost(error: &Error) -> bool {
    let Some(db) = error.as_db_error() else { return true };
    matches!(db.code(), &SqlState::ADMIN_SHUTDOWN | &SqlState::CRASH_SHUTDOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_vary_and_end_with_the_budget_or_the_deadline() {
        let far = Instant::now() + Duration::from_hours(1);
        let mut patience = Patience::new(Duration::from_mins(5));
        let mut pauses = Vec::new();
        while let Some(pause) = patience.next(far) {
            tokio::time::advance(pause).await;
            pauses.push(pause.as_secs_f64());
        }
        assert!((0.25..=0.75).contains(&pauses[0]), "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= 45.0), "{pauses:?}");
        let sum: f64 = pauses.iter().sum();
        assert!((200.0..=300.0).contains(&sum), "{pauses:?}");
        assert!(Patience::new(Duration::ZERO).next(far).is_none());
        assert!(Patience::new(Duration::from_mins(5)).next(Instant::now()).is_none());
    }
}
