//! What can hinder one object of several.

use kit::Failure;

#[derive(Debug)]
pub(crate) enum Problem {
    /// Someone else changed it; the others go on.
    Changed(String),
    /// All end here.
    Failed(Failure),
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Problem {
    /// Where there are no others.
    pub(crate) fn alone(self, attempt: &str) -> Failure {
        match self {
            Self::Failed(failure) => failure,
            Self::Changed(what) => Failure::waiting(attempt)
                .because(format!("{what}, and nothing was copied"))
                .help("run the same command again: it looks anew")
                .untouched(true),
        }
    }
}
