//! What the jobs of a workflow came to, as `toJSON(needs)` has it.
//! <https://docs.github.com/en/actions/reference/workflows-and-actions/contexts#needs-context>

use kit::StrictJson;
use serde::Serialize;

use crate::words::clip;

/// A job and its result. Its outputs are not read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Job {
    pub(crate) name: String,
    /// `success`, `failure`, `cancelled` or `skipped`.
    pub(crate) result: String,
}

/// All jobs of the context, in its order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Jobs(pub(crate) Vec<Job>);

impl std::str::FromStr for Jobs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: String| format!("{why}; give it ${{{{ toJSON(needs) }}}}");
        let StrictJson(value) = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let jobs = value.as_object().ok_or_else(|| wrong("it is no object of jobs".to_owned()))?;
        let job = |(name, job): (&String, &serde_json::Value)| {
            let result = job.get("result").and_then(|result| result.as_str());
            let result = result
                .filter(|result| matches!(*result, "success" | "failure" | "cancelled" | "skipped"))
                .ok_or_else(|| wrong(format!("the job {} has no result", kit::one_line(name))))?;
            Ok(Job { name: clip(name, 100), result: result.to_owned() })
        };
        jobs.iter().map(job).collect::<Result<Vec<_>, String>>().map(Self)
    }
}

impl Job {
    pub(crate) fn is_well(&self) -> bool {
        matches!(self.result.as_str(), "success" | "skipped")
    }
}
