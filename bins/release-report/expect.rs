//! What somebody expects a receipt of.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// A step, in whatever job or in one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Expect {
    pub(crate) job: Option<String>,
    pub(crate) step: String,
}

impl FromStr for Expect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (job, step) = match text.rsplit_once('/') {
            None => (None, text),
            Some((job, step)) => (Some(job), step),
        };
        // <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#jobsjob_id>
        let plain = |char: char| char.is_ascii_alphanumeric() || "_-".contains(char);
        if !is_step(step) || job.is_some_and(|job| job.is_empty() || !job.chars().all(plain)) {
            return Err(
                "write a step's name, as in backup-db, or a job's and a step's: data/backup-db".into()
            );
        }
        Ok(Self { job: job.map(str::to_owned), step: step.to_owned() })
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.job {
            Some(job) => write!(f, "{job}/{}", self.step),
            None => f.write_str(&self.step),
        }
    }
}

/// Whether a step could be called so.
pub(crate) fn is_step(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && !name.starts_with('-')
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}
