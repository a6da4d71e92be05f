//! Errors as a person needs them: what was attempted on what, why it failed, and the next move.

use std::error::Error;
use std::fmt;

use crate::Code;

/// The cause beneath a failure.
pub type Cause = Box<dyn Error + Send + Sync>;

/// Why a step did not succeed.
///
/// `attempt` is a lower-case fragment that names the attempt and the resource ("describe service web in cluster
/// prod"); the cause is never repeated in it, since the report prints the whole chain. What state was left is added by
/// the run loop, which knows the receipt.
#[derive(Debug)]
pub struct Failure {
    pub(crate) code: Code,
    pub(crate) attempt: String,
    pub(crate) cause: Option<Cause>,
    pub(crate) help: Vec<String>,
    pub(crate) state: Vec<String>,
    pub(crate) transient: bool,
    pub(crate) untouched: bool,
}

impl Failure {
    /// A failure with an explicit code.
    pub fn new(code: Code, attempt: impl Into<String>) -> Self {
        Self {
            code,
            attempt: attempt.into(),
            cause: None,
            help: Vec::new(),
            state: Vec::new(),
            transient: false,
            untouched: false,
        }
    }

    /// Something went wrong: exit 1, or 4 when the receipt holds actions that were started.
    pub fn failed(attempt: impl Into<String>) -> Self {
        Self::new(Code::Failed, attempt)
    }

    /// The arguments can't be used: exit 2.
    pub fn usage(attempt: impl Into<String>) -> Self {
        Self::new(Code::Usage, attempt)
    }

    /// A guard says no before the first write: exit 3.
    pub fn refused(attempt: impl Into<String>) -> Self {
        Self::new(Code::Refused, attempt)
    }

    /// The change was applied and its effect was not seen, or the platform took it back: exit 5.
    pub fn unverified(attempt: impl Into<String>) -> Self {
        Self::new(Code::Unverified, attempt)
    }

    /// Waits for a person, or was superseded by someone else's change: exit 7.
    pub fn waiting(attempt: impl Into<String>) -> Self {
        Self::new(Code::Waiting, attempt)
    }

    /// The cause; its own sources are printed beneath it.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Cause>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// The next move, one `help:` line each time it is called.
    #[must_use]
    pub fn help(mut self, line: impl Into<String>) -> Self {
        self.help.push(line.into());
        self
    }

    /// What state was left, beyond what the receipt tells.
    #[must_use]
    pub fn state(mut self, line: impl Into<String>) -> Self {
        self.state.push(line.into());
        self
    }

    /// The same call may succeed a moment later (throttled, connection reset): a wait goes on.
    #[must_use]
    pub fn transient(mut self, yes: bool) -> Self {
        self.transient = yes;
        self
    }

    /// The call surely had no effect (denied, invalid): its action is not in doubt.
    #[must_use]
    pub fn untouched(mut self, yes: bool) -> Self {
        self.untouched = yes;
        self
    }

    /// The exit code that this failure asks for.
    pub fn code(&self) -> Code {
        self.code
    }

    /// Whether the same call may succeed a moment later.
    pub fn is_transient(&self) -> bool {
        self.transient
    }

    /// Whether the call surely had no effect.
    pub fn is_untouched(&self) -> bool {
        self.untouched
    }

    /// The lines of the cause chain, outermost first, without repetitions: SDK errors often say at one level what
    /// they say again at the next.
    pub fn chain(&self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        let mut next: Option<&(dyn Error + 'static)> =
            self.cause.as_ref().map(|cause| &**cause as &(dyn Error + 'static));
        while let Some(error) = next {
            let line = error.to_string();
            let said = lines.iter().any(|earlier| earlier.contains(&line)) || self.attempt.contains(&line);
            if !line.is_empty() && !said {
                lines.push(line);
            }
            next = error.source();
        }
        lines
    }
}

/// The message at the bottom of a chain: the layers above it ("dispatch failure", "client error (Connect)") say nothing
/// that a reader could act on.
pub fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut said = String::from("no reason given");
    let mut next = Some(error);
    while let Some(layer) = next {
        let text = layer.to_string();
        if !text.is_empty() {
            said = text;
        }
        next = layer.source();
    }
    said
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.attempt)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_ref().map(|cause| &**cause as &(dyn Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Layer(&'static str, Option<Box<Layer>>);
    impl fmt::Display for Layer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }
    impl Error for Layer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_ref().map(|layer| &**layer as &(dyn Error + 'static))
        }
    }

    #[test]
    fn the_chain_says_each_thing_once() {
        let cause =
            Layer("dispatch failure: connection refused", Some(Box::new(Layer("connection refused", None))));
        let failure = Failure::failed("reach sts").because(cause);
        assert_eq!(failure.chain(), ["dispatch failure: connection refused"]);
        assert_eq!(failure.to_string(), "reach sts");
    }
}
