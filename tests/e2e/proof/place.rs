//! Places beside AWS and GitHub where a run is stopped and disturbed.

use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use testkit::postgres::wire::{Fault, Wire};

use super::faults::Wrong;

/// An instant of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    /// Which of the connections that the run makes, from 1.
    pub(crate) line: usize,
    /// Which call on it, from 1.
    pub(crate) nth: usize,
    /// Not before its effect, but after.
    pub(crate) after: bool,
}

/// Something that a run talks to, or through, call by call.
pub(crate) trait Place: Send + Sync {
    /// Calls are counted from 1 again.
    fn forget(&self);

    /// Where the run since then could have been stopped.
    fn points(&self) -> Vec<Spot>;

    /// Stops the next run there.
    fn hold(&self, spot: Spot);

    /// Comes back when it has stopped.
    fn held(&self) -> BoxFuture<'_, ()>;

    /// Nothing is held or wrong any more, and what was held is gone with the run.
    fn clear(&self);

    /// Lets this go wrong for the next run, if it can happen here. `calls` is how many an undisturbed run makes, on the first
    /// connection.
    fn trouble(&self, wrong: Wrong, calls: usize) -> bool;

    /// Whether not every undisturbed run comes there.
    fn varies(&self, spot: Spot) -> bool;
}

/// Points are frontend messages that the server acts upon.
impl Place for Wire {
    fn forget(&self) {
        Self::forget(self);
    }

    fn points(&self) -> Vec<Spot> {
        let mut points = Vec::new();
        for message in self.messages() {
            let spot = |after| Spot { line: message.line, nth: message.nth, after };
            // Nothing of these lasts longer than the connection.
            let is_passing = ["SELECT", "BEGIN", "RESET"].iter().any(|word| message.text.starts_with(word));
            if message.is_answered() && !is_passing {
                points.extend([false, true].map(spot));
            } else if message.is_answered() || matches!(message.kind, 0 | b'X') {
                points.push(spot(false));
            }
        }
        // Connections send side by side: which was the first to send what is chance.
        points.sort_by_key(|spot| (spot.line, spot.nth));
        points
    }

    fn hold(&self, spot: Spot) {
        Self::hold(self, spot.line, spot.nth, spot.after);
    }

    fn held(&self) -> BoxFuture<'_, ()> {
        Self::held(self).boxed()
    }

    fn clear(&self) {
        Self::clear(self);
    }

    /// The words are PostgreSQL's: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
    fn trouble(&self, wrong: Wrong, calls: usize) -> bool {
        self.fault(match wrong {
            Wrong::Throttled => {
                Fault::Refused { times: 2, code: "53300", message: "sorry, too many clients already" }
            }
            Wrong::ServerErrors => Fault::CommitUnanswered,
            Wrong::Unavailable => {
                Fault::Refused { times: 1, code: "57P03", message: "the database system is starting up" }
            }
            Wrong::CutOff => Fault::Reset { nth: calls / 2 },
            Wrong::Slow => Fault::Trickle(Duration::from_secs(1)),
            _ => return false,
        });
        true
    }

    /// What runs beside the first connection ends with the run, wherever it is.
    fn varies(&self, spot: Spot) -> bool {
        spot.line > 1
    }
}
