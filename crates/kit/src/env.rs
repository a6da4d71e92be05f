//! The environment as a value, so that nothing reads the process's own behind a test's back.

use std::collections::BTreeMap;

/// A snapshot of environment variables.
#[derive(Clone, Debug, Default)]
pub struct Env(BTreeMap<String, String>);

impl Env {
    /// The process's environment; variables that are not UTF-8 are left out.
    pub fn of_process() -> Self {
        Self(
            std::env::vars_os()
                .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
                .collect(),
        )
    }

    /// The value of a variable; an empty one is an absent one, as GitHub passes unset inputs.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Every variable, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether the process runs as a step of a GitHub Actions job
    /// (<https://docs.github.com/en/actions/reference/workflows-and-actions/variables>).
    pub fn in_github_job(&self) -> bool {
        self.get("GITHUB_ACTIONS") == Some("true")
    }

    /// The workflow run, job and step of a GitHub Actions job: the same in every attempt, and another for every other step.
    ///
    /// Source: <https://docs.github.com/en/actions/reference/workflows-and-actions/variables>
    pub fn job_id(&self) -> Option<String> {
        if !self.in_github_job() {
            return None;
        }
        let mut id = format!("{}/{}", self.get("GITHUB_REPOSITORY")?, self.get("GITHUB_RUN_ID")?);
        for name in ["GITHUB_JOB", "GITHUB_ACTION"] {
            if let Some(value) = self.get(name) {
                id.push('/');
                id.push_str(value);
            }
        }
        Some(id)
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_named_the_same_in_every_attempt() {
        let run = [("GITHUB_ACTIONS", "true"), ("GITHUB_REPOSITORY", "o/r"), ("GITHUB_RUN_ID", "7")];
        let step = [("GITHUB_JOB", "data"), ("GITHUB_ACTION", "__2")];
        let of = |more: &[(&'static str, &'static str)]| {
            run.into_iter().chain(more.iter().copied()).collect::<Env>().job_id()
        };
        assert_eq!(of(&step).as_deref(), Some("o/r/7/data/__2"));
        assert_eq!(of(&[step[0], step[1], ("GITHUB_RUN_ATTEMPT", "2")]), of(&step));
        assert_ne!(of(&[step[0], ("GITHUB_ACTION", "__3")]), of(&step));
        assert_eq!(run[1..].iter().copied().collect::<Env>().job_id(), None);
    }
}
