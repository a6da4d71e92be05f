//! Says every few seconds how far a stream is.

use std::time::Duration;

use kit::Cx;
use tokio::time::{Instant, MissedTickBehavior};

/// How often it is said how far the stream is.
const EVERY: Duration = Duration::from_secs(5);

/// How far a stream is.
#[derive(Debug)]
pub struct Progress {
    started: Instant,
    ticks: tokio::time::Interval,
    /// How many bytes went by.
    pub bytes: u64,
}

impl Progress {
    /// Of a stream that begins now.
    pub fn new() -> Self {
        let mut ticks = tokio::time::interval_at(Instant::now() + EVERY, EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { started: Instant::now(), ticks, bytes: 0 }
    }

    /// Ends when it is time to say something.
    pub async fn due(&mut self) {
        self.ticks.tick().await;
    }

    /// Says it; `state` is what the stream waits for.
    pub fn say(&self, cx: &Cx, attempt: &str, state: Option<&str>) {
        let time = self.started.elapsed();
        let state = state.map(|state| format!(", {state}")).unwrap_or_default();
        cx.report().say(&format!(
            "{attempt}: {} in {} s ({}/s){state}",
            kit::size(self.bytes),
            time.as_secs(),
            kit::size(rate(self.bytes, time))
        ));
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

fn rate(bytes: u64, time: Duration) -> u64 {
    u64::try_from(u128::from(bytes) * 1000 / time.as_millis().max(1)).unwrap_or(u64::MAX)
}
