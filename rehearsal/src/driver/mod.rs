//! Runs a production workflow file as a hosted runner would, in a small, honest subset: jobs in the order of
//! `needs`, steps through bash or the executables of local docker actions, a fresh workspace per job. Anything
//! outside the subset stops before the first step. There is no state, retry or parallelism here: starting it
//! again means what "re-run all jobs" means.
//!
//! Differences from a hosted runner: a docker action is the executable of its entrypoint's name, run without a
//! container; what a step leaves running ends with the step; permissions and concurrency are checked, not enforced.
//! A killed driver takes the running step with it (`setpriv`), as a runner's machine would.
//!
//! A step's environment holds `PATH` (ours), `HOME` (the job's), `LANG`, `CI`, `GITHUB_*`, `RUNNER_*`,
//! `AWS_EC2_METADATA_DISABLED=true`, what `--env` gives and what the workflow sets; nothing else gets through.

mod console;
mod files;
mod given;
mod machine;
mod process;
mod run;
mod standin;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::PathBuf;

pub(crate) use crate::workflow::expr::Values;
use crate::workflow::{Workflow, policy};

/// What keeps a step or job from going on, in words.
type Trouble = Box<dyn std::error::Error + Send + Sync>;

/// Drive a workflow file against a world on this machine.
///
/// Ends with 0 when every job succeeded or was skipped by its own condition, 1 when one failed, 2 when the
/// arguments or the workflow can't be rehearsed, 3 when the workflow breaks the release policy, 130 when cancelled.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The workflow file
    #[arg(long, default_value = ".github/workflows/release-rally.yml")]
    pub workflow: PathBuf,
    /// The tree that checkout gives to a job, and that local actions are read from
    #[arg(long, default_value = ".")]
    pub repo: PathBuf,
    /// The tree of this project, from which its actions are read where the workflow is another repository's
    #[arg(long, default_value = ".")]
    pub project: PathBuf,
    /// Where the executables of the actions' entrypoints are
    #[arg(long)]
    pub bin_dir: PathBuf,
    /// Where uploaded artefacts go, a folder each
    #[arg(long)]
    pub artifacts: PathBuf,
    /// The job summaries are appended to this file
    #[arg(long)]
    pub summary: Option<PathBuf>,
    /// An input of the workflow
    #[arg(long = "input", value_name = "NAME=VALUE", value_parser = pair)]
    pub inputs: Vec<(String, String)>,
    /// A variable of every step's environment: how the endpoints of the world get in
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = pair)]
    pub env: Vec<(String, String)>,
    /// A value of the `github` context, such as repository, sha, ref or actor
    #[arg(long = "github", value_name = "NAME=VALUE", value_parser = pair)]
    pub github: Vec<(String, String)>,
    /// A secret of the repository; `GITHUB_TOKEN` is also github.token. Test values only
    #[arg(long = "secret", value_name = "NAME=VALUE", value_parser = pair)]
    pub secrets: Vec<(String, String)>,
    /// A configuration variable of the repository
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = pair)]
    pub vars: Vec<(String, String)>,
    /// Approve this environment and no other; without it every gate opens, and says so
    #[arg(long, value_name = "ENVIRONMENT")]
    pub approve: Vec<String>,
    /// What configure-aws-credentials stands in with
    #[arg(long, value_name = "ID:SECRET", default_value = "ASIAREHEARSALONLY000:rehearsal-secret-key")]
    pub aws_credentials: String,
}

/// `NAME=VALUE`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Runs the workflow, shows it on `out` and returns the exit code. Problems before the first step go to `out` too.
pub async fn drive(options: &Options, mut out: Box<dyn Write + Send>) -> std::io::Result<u8> {
    let workflow = match Workflow::load(&options.workflow, &options.repo, &options.project) {
        Ok(workflow) => workflow,
        Err(findings) => {
            findings.iter().try_for_each(|finding| writeln!(out, "not rehearsable: {finding}"))?;
            return Ok(2);
        }
    };
    let findings = policy::check(&workflow);
    if !findings.is_empty() {
        findings.iter().try_for_each(|finding| writeln!(out, "against the policy: {finding}"))?;
        return Ok(3);
    }
    run::run(&workflow, options, out).await
}
