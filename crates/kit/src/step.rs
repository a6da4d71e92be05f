//! What a step is: one constant, from which the list, the action files, the documentation and the policies derive.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use clap::{ArgMatches, Command, FromArgMatches};

use crate::{Code, Cx, Failure, Outcome};

/// A step of a release.
#[derive(Debug)]
pub struct Step {
    /// The executable's name, which is its folder's name.
    pub name: &'static str,
    /// Its arguments: `kit::command::<Args>`.
    pub command: fn() -> Command,
    /// What it writes to `GITHUB_OUTPUT` and prints as its result, beside `changed` and `receipt`.
    pub outputs: &'static [Output],
    /// What its principal must be allowed to do.
    pub permissions: &'static [Permission],
    /// What an exit code means in this step, where the common table does not say enough.
    pub exit_codes: &'static [ExitCode],
    /// The image that its action runs in.
    pub image: Image,
    /// The deadline when `--timeout` is not given.
    pub timeout: Duration,
    /// The step itself: `|matches, cx| kit::bind(matches, cx, run)`.
    pub run: fn(ArgMatches, Cx) -> Run,
}

impl Step {
    /// Every output with its description: the step's own, and those that all steps have.
    pub fn all_outputs(&self) -> Vec<(&'static str, &'static str)> {
        let common = [
            ("changed", "true when this run changed anything (or may have, when it failed), else false"),
            ("receipt", "the file that holds the receipt, for --undo; absent when there was nothing to do"),
        ];
        self.outputs.iter().map(|output| (output.name, output.description)).chain(common).collect()
    }

    /// The whole command, with name, version, and the tables at the end of its help.
    pub fn full_command(&'static self, commit: Option<&str>) -> Command {
        crate::run::full_command(self, commit)
    }
}

/// One of the two images of a release, each a stage of the `Dockerfile`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image {
    /// The executable and nothing else: not even a shell.
    Steps,
    /// Beside it PostgreSQL's clients, the SSH client and a shell, for steps that start other programs.
    Clients,
}

/// A running step.
pub type Run = Pin<Box<dyn Future<Output = Result<Outcome, Failure>>>>;

/// One documented output.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// Kebab-case.
    pub name: &'static str,
    /// One sentence without a full stop.
    pub description: &'static str,
}

/// One permission that a step's principal needs.
#[derive(Clone, Copy, Debug)]
pub struct Permission {
    /// An IAM action (`ecs:RegisterTaskDefinition`) or a GitHub one (`contents: write`).
    pub action: &'static str,
    /// The resource, with placeholders in capitals.
    pub resource: &'static str,
    /// When it is needed; empty when always.
    pub when: &'static str,
}

/// What an exit code means in one step.
#[derive(Clone, Copy, Debug)]
pub struct ExitCode {
    /// The code.
    pub code: Code,
    /// Its meaning in this step.
    pub meaning: &'static str,
}

/// Types the arguments of a step and calls it.
pub fn bind<A, F, R>(matches: ArgMatches, cx: Cx, run: F) -> Run
where
    A: FromArgMatches + 'static,
    F: FnOnce(A, Cx) -> R + 'static,
    R: Future<Output = Result<Outcome, Failure>> + 'static,
{
    match A::from_arg_matches(&matches) {
        Ok(args) => Box::pin(run(args, cx)),
        Err(error) => Box::pin(async move { Err(Failure::usage("read the arguments").because(error)) }),
    }
}
