//! A workflow that is started: followed to its end, or left to itself.

use std::path::Path;

use futures::future::{BoxFuture, FutureExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::github::{GithubWorld, Options, TOKEN, Workflow};
use tokio::process::Command;

use crate::proof::{Case, Stage, started};
use crate::world::scrubbed;

const REPO: &str = "acme/rally";

pub(super) const CASES: [Case; 2] = [
    Case { step: "dispatch-workflow", does: "starts and follows", start: || started(Dispatch::new(true)) },
    Case { step: "dispatch-workflow", does: "starts alone", start: || started(Dispatch::new(false)) },
];

struct Dispatch {
    github: GithubWorld,
    dir: TempDir,
    follows: bool,
}

impl Dispatch {
    async fn new(follows: bool) -> Self {
        let github = GithubWorld::start(Options::default()).await.expect("GitHub starts");
        github.repository(REPO, "main");
        let sha = github.commit(REPO, "main", "feat(polls): vote twice (#12)");
        github.set_ref(REPO, "refs/tags/v2.1.0", &sha);
        github.workflow(
            REPO,
            Workflow {
                inputs: vec!["target".to_owned(), "release-run".to_owned()],
                run_name: Some("Build ${{ inputs.release-run }}".to_owned()),
                // One that is not followed is still under way when it is taken back.
                looks: if follows { 2 } else { u64::MAX },
                ..Workflow::default()
            },
        );
        Self { github, dir: tempfile::tempdir().expect("a folder"), follows }
    }
}

impl Stage for Dispatch {
    fn github(&self) -> Option<&GithubWorld> {
        Some(&self.github)
    }

    fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn cutover(&self, args: &[&str]) -> Command {
        let mut command = scrubbed(env!("CARGO_BIN_EXE_cutover"), self.dir.path());
        command
            .env("GITHUB_API_URL", self.github.url())
            .env("GITHUB_REPOSITORY", REPO)
            .env("GITHUB_TOKEN", TOKEN)
            .args(args);
        command
    }

    fn args(&self) -> Vec<String> {
        let args = [
            "dispatch-workflow",
            "--workflow",
            "build.yml",
            "--ref",
            "v2.1.0",
            "--input",
            "target=production",
            "--id-input",
            "release-run",
            "--id",
            "rally-2.1.0",
            "--interval",
            "10ms",
        ];
        let more = if self.follows { None } else { Some("--no-wait") };
        args.into_iter().chain(more).map(str::to_owned).collect()
    }

    fn state(&self) -> BoxFuture<'_, Value> {
        async {
            let runs = self.github.workflow_runs(REPO);
            let keep = ["display_title", "path", "event", "head_sha", "head_branch", "conclusion"];
            let runs = runs.iter().map(|run| keep.map(|field| run[field].clone()));
            runs.map(|run| json!(run)).collect()
        }
        .boxed()
    }

    /// A run that is cancelled stays in the list.
    /// <https://docs.github.com/en/actions/how-tos/manage-workflow-runs/cancel-a-workflow-run>
    fn comes_back(&self, mut state: Value) -> Value {
        let was_cancelled = |run: &Value| run.as_array().is_some_and(|run| run.contains(&"cancelled".into()));
        if let Some(runs) = state.as_array_mut() {
            runs.retain(|run| !was_cancelled(run));
        }
        state
    }

    /// What has ended can't be cancelled.
    fn is_undoable(&self) -> bool {
        !self.follows
    }

    fn given_by_the_platform(&self) -> &'static [&'static str] {
        &["run-id", "run-url"]
    }

    fn told_of_the_run(&self) -> &'static [&'static str] {
        &["dispatched"]
    }
}
