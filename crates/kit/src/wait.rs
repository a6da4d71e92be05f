//! The one loop in which a step waits.

use std::time::Duration;

use tokio::time::Instant;

use crate::{Code, Cx, Failure};

/// What one look at the awaited thing found.
#[derive(Debug)]
pub enum Poll<T> {
    /// It is there.
    Ready(T),
    /// Not yet; one line that says how far it is. It is printed when it changes and in each heartbeat.
    Pending(String),
}

/// What is awaited, and how often to look.
#[derive(Clone, Copy, Debug)]
pub struct Wait<'a> {
    /// Names it in messages ("deployment ecs-svc/123 of web to complete").
    pub what: &'a str,
    /// Time between two looks; each is varied by a fifth so that many waiters don't look at once.
    pub every: Duration,
    /// When to give up, if earlier than the step's own deadline.
    pub deadline: Option<Instant>,
}

/// How long without a change before the last line is said again, so that a quiet job is seen to be alive.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// How long a value that was set may be read as it was.
const READ_BACK: Duration = Duration::from_mins(1);

impl<'a> Wait<'a> {
    /// Looks every `every` until the step's deadline.
    pub fn until(what: &'a str, every: Duration) -> Self {
        Self { what, every, deadline: None }
    }
}

impl Cx {
    /// Looks until `poll` is ready, ends the wait with an error, or the deadline passes (exit 6).
    ///
    /// A transient error (see [`Failure::transient`]) never ends the wait early; any other ends it at once, with its
    /// reason. A cancelled run ends it too.
    pub async fn wait<T>(
        &self,
        wait: Wait<'_>,
        mut poll: impl AsyncFnMut() -> Result<Poll<T>, Failure>,
    ) -> Result<T, Failure> {
        let deadline = wait.deadline.map_or(self.deadline(), |own| own.min(self.deadline()));
        let mut said = String::new();
        let mut said_at = Instant::now();
        loop {
            let state = match self.or_cancelled(poll()).await? {
                Ok(Poll::Ready(value)) => return Ok(value),
                Ok(Poll::Pending(state)) => state,
                Err(error) if error.is_transient() => {
                    let cause = error.chain().pop().unwrap_or_default();
                    format!("could not look ({error}: {cause}), trying again")
                }
                Err(error) => return Err(error),
            };
            let now = Instant::now();
            if state != said || now.duration_since(said_at) >= HEARTBEAT {
                self.report().say(&format!("waiting for {}: {state}", wait.what));
                said.clone_from(&state);
                said_at = now;
            }
            let pause = jittered(wait.every);
            if now + pause > deadline {
                return Err(Failure::new(Code::Deadline, format!("wait for {}", wait.what))
                    .because(format!("the deadline passed; it was last seen so: {state}"))
                    .help("run the same command again to go on waiting, with a longer --timeout if this is usual"));
            }
            self.or_cancelled(self.pause(pause)).await?;
        }
    }

    /// [`Cx::wait`] for a minute, in which what was just set may still be read as it was. What is not read back then was not
    /// proven.
    pub async fn read_back(
        &self,
        poll: impl AsyncFnMut() -> Result<Poll<()>, Failure>,
    ) -> Result<(), Failure> {
        let wait = Wait {
            what: "the changes to be read back",
            every: Duration::from_secs(2),
            deadline: Some(Instant::now() + READ_BACK),
        };
        self.wait(wait, poll).await.map_err(|failure| {
            if failure.code() != Code::Deadline {
                return failure;
            }
            Failure::unverified("read back what was set")
                .because(failure.chain().join(": "))
                .help("somebody else may have changed it: run the same command again, which looks anew")
        })
    }
}

fn jittered(every: Duration) -> Duration {
    let [byte, ..] = *uuid::Uuid::new_v4().as_bytes();
    every.mul_f64(0.8 + 0.4 * f64::from(byte) / 255.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn every_second(what: &str) -> Wait<'_> {
        Wait::until(what, Duration::from_secs(1))
    }

    #[tokio::test(start_paused = true)]
    async fn a_transient_error_does_not_end_a_wait_and_only_changes_are_said() {
        let cx = testing::cx();
        let mut looks = 0;
        let value = cx
            .wait(every_second("the page"), async || {
                looks += 1;
                match looks {
                    1 | 2 => Ok(Poll::Pending("503".into())),
                    3 => Err(Failure::failed("get the page").because("connection reset").transient(true)),
                    _ => Ok(Poll::Ready(7)),
                }
            })
            .await
            .unwrap();
        assert_eq!(value, 7);
        assert_eq!(
            cx.report().story(),
            [
                "waiting for the page: 503",
                "waiting for the page: could not look (get the page: connection reset), trying again"
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_ends_it_at_once_and_time_ends_it_with_the_last_state() {
        let cx = testing::cx();
        let failed = cx.wait::<()>(every_second("x"), async || Err(Failure::unverified("rolled back"))).await;
        assert_eq!(failed.unwrap_err().code(), Code::Unverified);
        let late =
            cx.wait::<()>(every_second("x"), async || Ok(Poll::Pending("1 of 2".into()))).await.unwrap_err();
        assert_eq!(late.code(), Code::Deadline);
        assert_eq!(late.chain(), ["the deadline passed; it was last seen so: 1 of 2"]);
        let beats = cx.report().story().len();
        assert!((2..=130).contains(&beats), "a heartbeat each half minute over the deadline: {beats}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_run_stops_waiting() {
        let cx = testing::cx();
        cx.cancel(Code::Terminated);
        let ended =
            cx.wait::<()>(every_second("x"), async || Ok(Poll::Pending("..".into()))).await.unwrap_err();
        assert_eq!(ended.code(), Code::Terminated);
    }
}
