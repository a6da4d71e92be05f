//! Places beside AWS and GitHub where a run is stopped and disturbed.

use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use testkit::postgres::wire::{Fault, Wire};

use super::faults::Wrong;

/// Something that a run talks to, or through, call by call.
pub(crate) trait Place: Send + Sync {
    /// Calls are counted from 1 again.
    fn forget(&self);

    /// Where the run since then could have been stopped: at the nth call, before its effect (`false`) and after it (`true`).
    fn points(&self) -> Vec<(usize, bool)>;

    /// Stops the next run there.
    fn hold(&self, nth: usize, after: bool);

    /// Comes back when it has stopped.
    fn held(&self) -> BoxFuture<'_, ()>;

    /// Nothing is held or wrong any more, and what was held is gone with the run.
    fn clear(&self);

    /// Lets this go wrong for the next run, if it can happen here. `calls` is how many an undisturbed run makes.
    fn trouble(&self, wrong: Wrong, calls: usize) -> bool;

    /// Whether two undisturbed runs may differ in the number of calls, so that one may end before it comes to its point.
    fn varies(&self) -> bool {
        false
    }
}

/// Points are frontend messages that the server acts upon.
impl Place for Wire {
    fn forget(&self) {
        Self::forget(self);
    }

    fn points(&self) -> Vec<(usize, bool)> {
        let mut points = Vec::new();
        for (nth, message) in (1..).zip(self.messages()) {
            if message.is_answered() {
                points.extend([(nth, false), (nth, true)]);
            } else if matches!(message.kind, 0 | b'X') {
                points.push((nth, false));
            }
        }
        points
    }

    fn hold(&self, nth: usize, after: bool) {
        Self::hold(self, nth, after);
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
}
