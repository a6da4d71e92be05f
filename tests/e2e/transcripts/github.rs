//! Steps whose world is GitHub.

use serde_json::json;
use tempfile::TempDir;
use testkit::github::{GithubWorld, Options, TOKEN, Workflow};
use tokio::process::Command;

use super::Terminal;
use crate::world::scrubbed;

const REPO: &str = "acme/rally";

/// Rally after its release 2.0.1, and the commit of the next one, whose checks are green.
struct Stage {
    github: GithubWorld,
    dir: TempDir,
    sha: String,
}

impl Stage {
    async fn start() -> Self {
        let github = GithubWorld::start(Options::default()).await.unwrap();
        github.repository(REPO, "main");
        let before = github.commit(REPO, "main", "fix: close the poll in time (#11)");
        github.set_ref(REPO, "refs/tags/v2.0.1", &before);
        let sha = github.commit(REPO, "main", "feat(polls): vote twice (#12)");
        github.check_run(REPO, &sha, &json!({}));
        Self { github, dir: tempfile::tempdir().unwrap(), sha }
    }

    fn command(&self) -> Command {
        let mut command = scrubbed("cutover", self.dir.path());
        command
            .env("GITHUB_API_URL", self.github.url())
            .env("GITHUB_REPOSITORY", REPO)
            .env("GITHUB_TOKEN", TOKEN);
        command
    }

    fn terminal(&self, step: &'static str) -> Terminal {
        let shown = "7d1f0c2be35a49860c1d7b7f2e9a3c5d8f60b412";
        let mut terminal = Terminal::new(step, &self.command());
        for length in [40, 12, 9, 7] {
            terminal = terminal.shown(&self.sha[..length], &shown[..length]);
        }
        terminal
    }
}

#[tokio::test]
async fn dispatch_workflow() {
    let stage = Stage::start().await;
    stage.github.set_ref(REPO, "refs/tags/v2.1.0", &stage.sha);
    stage.github.workflow(
        REPO,
        Workflow {
            inputs: vec!["target".to_owned(), "release-run".to_owned()],
            run_name: Some("Build ${{ inputs.release-run }}".to_owned()),
            ..Workflow::default()
        },
    );
    stage.terminal("dispatch-workflow").flag("interval", "10ms").plays().await;
}

#[tokio::test]
async fn tag_release() {
    let stage = Stage::start().await;
    stage.terminal("tag-release").id("tag-sha=", "2555dea1b26dbd2f26986703e795a1a1729d5533").plays().await;
}
