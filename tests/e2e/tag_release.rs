//! Whole processes of tag-release against a GitHub that keeps what is written: killed at each of its writes and run again,
//! taken back, and what a person is told.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::github::{Fault, GithubWorld, Options, READ_TOKEN, TOKEN};
use tokio::process::Command;

use crate::rehearsal::until;
use crate::world::{Ran, run, scrubbed};

const REPO: &str = "acme/rally";
const FILE: &str = "version.properties";

/// Rally at its hotfix release, with one feature since; `v2` follows the releases.
pub(crate) struct Stage {
    pub(crate) github: GithubWorld,
    pub(crate) dir: TempDir,
    sha: String,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let github = GithubWorld::start(Options::default()).await.unwrap();
        github.repository(REPO, "main");
        let files = [(FILE, "version=2.0.1.11-RELEASE\n"), ("App.java", "class App {}\n")];
        let before = github.commit_files(REPO, "main", "Hotfix", &files);
        github.set_ref(REPO, "refs/tags/v2.0.1.11", &before);
        github.set_ref(REPO, "refs/tags/v2", &before);
        let sha = github.commit(REPO, "main", "feat(polls): vote twice (#12)");
        github.check_run(REPO, &sha, &json!({}));
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("rally.jar"), "a jar").unwrap();
        Self { github, dir, sha }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.cutover(&["tag-release"]);
        command.args(args);
        command
    }

    pub(crate) fn cutover(&self, args: &[&str]) -> Command {
        let mut command = scrubbed(env!("CARGO_BIN_EXE_cutover"), self.dir.path());
        command
            .current_dir(self.dir.path())
            .env("GITHUB_API_URL", self.github.url())
            .env("GITHUB_REPOSITORY", REPO)
            .env("GITHUB_SHA", &self.sha)
            .env("GITHUB_TOKEN", TOKEN)
            .args(args);
        command
    }

    async fn run(&self, args: &[&str]) -> Ran {
        run(self.command(args)).await
    }

    fn at(&self, name: &str) -> Option<String> {
        self.github.refs(REPO).into_iter().find(|(it, _)| it == name).map(|(_, sha)| sha)
    }

    /// All that a person would look at, without the numbers that GitHub gives.
    pub(crate) fn state(&self) -> Value {
        let releases: Vec<Value> = self
            .github
            .releases(REPO)
            .iter()
            .map(|release| {
                let assets: Vec<&Value> =
                    release["assets"].as_array().unwrap().iter().map(|asset| &asset["digest"]).collect();
                json!([release["tag_name"], release["draft"], release["name"], assets])
            })
            .collect();
        let on_main = |name: &str| self.at(name).is_some() && self.at(name) == self.at("refs/heads/main");
        json!({
            "tag": on_main("refs/tags/v2.1.0"),
            "v2": on_main("refs/tags/v2"),
            "parents": self.github.commit_of(REPO, "main").map(|(_, parents, _)| parents == [self.sha.clone()]),
            "changed": self.github.commit_of(REPO, "main").map(|(_, _, paths)| paths),
            "file": self.github.file(REPO, "main", FILE),
            "releases": releases,
        })
    }
}

pub(crate) const RELEASE: [&str; 14] = [
    "--bump",
    "auto",
    "--scheme",
    "v{major}.{minor}.{patch}[.{build}]",
    "--spelling",
    "file={major}.{minor}.{patch}.{build}-RELEASE",
    "--version-file",
    "version.properties=properties:version={file}",
    "--asset",
    "rally.jar",
    "--move-tag",
    "v2",
    "--receipt",
    "receipt.json",
];

/// What one undisturbed run leaves.
fn released() -> Value {
    // `printf 'a jar' | sha256sum`
    let digest = "sha256:fc8bd814a3051a9717431182d5af2a2d654481aac82a028c05c73afa4ca38823";
    json!({
        "tag": true,
        "v2": true,
        "parents": true,
        "changed": [FILE],
        "file": "version=2.1.0.0-RELEASE\n",
        "releases": [["v2.1.0", false, "v2.1.0", [digest]]],
    })
}

#[tokio::test]
async fn a_release_from_its_commits_and_back() {
    let stage = Stage::new().await;
    let dry = stage.run(&[&RELEASE[..], &["--dry-run"]].concat()).await.expect(0);
    assert!(stage.github.writes().is_empty());
    for text in ["version.properties: 2.0.1.11-RELEASE -> 2.1.0.0-RELEASE", "feature   ", "upload rally.jar"]
    {
        assert!(dry.stdout.contains(text) || dry.stderr.contains(text), "{text:?} is not in {dry:?}");
    }
    let before = stage.state();
    let ran = stage.run(&[&RELEASE[..], &["--format", "json"]].concat()).await.expect(0).json();
    assert_eq!(stage.state(), released());
    let outputs = &ran["outputs"];
    for (name, value) in [
        ("version", "2.1.0"),
        ("previous-version", "2.0.1.11"),
        ("tag", "v2.1.0"),
        ("bump", "minor"),
        ("released", "true"),
        ("spellings", r#"{"file":"2.1.0.0-RELEASE"}"#),
    ] {
        assert_eq!(outputs[name], value, "{name} in {outputs}");
    }
    stage.github.forget_calls();
    let again = stage.run(&[&RELEASE[..], &["--format", "json"]].concat()).await.expect(0).json();
    assert_eq!((&again["changed"], stage.github.writes()), (&json!(false), vec![]));
    stage.run(&["--undo", "receipt.json", "--receipt", "undo.json"]).await.expect(0);
    let after = stage.state();
    assert_eq!(
        (&after["tag"], &after["file"], &after["releases"]),
        (&json!(false), &before["file"], &json!([]))
    );
    assert_eq!(stage.at("refs/tags/v2"), stage.at("refs/tags/v2.0.1.11"));
    stage.github.forget_calls();
    stage.run(&["--undo", "receipt.json", "--receipt", "undo.json"]).await.expect(0);
    assert!(stage.github.writes().is_empty());
}

/// Killed while GitHub has not answered a write, which took effect or did not; then the same command in another folder, as on
/// another runner.
#[tokio::test]
async fn killed_at_each_write_and_run_again_it_ends_the_same() {
    let stage = Stage::new().await;
    stage.run(&RELEASE).await.expect(0);
    let writes = stage.github.writes().len() as u64;
    assert_eq!((stage.state(), writes), (released(), 10));
    for (nth, after) in (1..=writes).flat_map(|nth| [(nth, false), (nth, true)]) {
        let stage = Stage::new().await;
        let hang = Fault::hang_at_write(nth);
        stage.github.fault(if after { hang.after() } else { hang });
        let mut killed = stage.command(&RELEASE).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        until("the write", async || stage.github.writes().last().is_some_and(|call| call.status.is_none()))
            .await;
        killed.kill().await.unwrap();
        stage.github.clear_faults();
        std::fs::remove_file(stage.dir.path().join("receipt.json")).unwrap();
        stage.run(&RELEASE).await.expect(0);
        assert_eq!(stage.state(), released(), "killed at write {nth}, after its effect: {after}");
    }
}

/// The receipt of a run that was killed takes back what there is of it.
#[tokio::test]
async fn killed_at_each_write_it_can_be_taken_back() {
    for (nth, after) in (1..=10).flat_map(|nth| [(nth, false), (nth, true)]) {
        let stage = Stage::new().await;
        let hang = Fault::hang_at_write(nth);
        stage.github.fault(if after { hang.after() } else { hang });
        let mut killed = stage.command(&RELEASE).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        until("the write", async || stage.github.writes().last().is_some_and(|call| call.status.is_none()))
            .await;
        killed.kill().await.unwrap();
        stage.github.clear_faults();
        stage.run(&["--undo", "receipt.json", "--receipt", "undo.json"]).await.expect(0);
        let place = format!("killed at write {nth}, after its effect: {after}");
        let state = stage.state();
        assert_eq!(state["file"], "version=2.0.1.11-RELEASE\n", "{place}");
        assert_eq!(state["releases"], json!([]), "{place}");
        assert_eq!(stage.at("refs/tags/v2.1.0"), None, "{place}");
        assert_eq!(stage.at("refs/tags/v2"), stage.at("refs/tags/v2.0.1.11"), "{place}");
    }
}

#[tokio::test]
async fn what_cannot_be_done_is_told_with_the_next_move() {
    let stage = Stage::new().await;
    let full: PathBuf = "/dev/full".into();
    let long = [&RELEASE[..8], &["--asset", "none.jar"]].concat();
    let cases: [(&[&str], i32, &[&str]); 9] = [
        (&[], 2, &["--tag", "--bump"]),
        (&["--tag", "v1.0.0", "--bump", "auto"], 2, &["cannot be used with"]),
        (&["--bump", "auto", "--scheme", "v1"], 2, &["write semver, vN.M, sprintN, or a pattern"]),
        (&["--bump", "auto"], 3, &["no tag written as v{semver}", "give the first version with --tag"]),
        (&["--bump", "minor", "--scheme", "sprintN"], 2, &["has none", "it has: major"]),
        (&["--tag", "v2.1.0", "--version-file", "a=ini:x"], 2, &["ini is no format"]),
        (&["--tag", "v2.1.0", "--version-file", "none=json:x"], 3, &["has no such file"]),
        (&long, 2, &["none.jar", "No such file"]),
        (&["--tag", "v2.1.0", "--commit", "main"], 3, &[&stage.sha]),
    ];
    for (args, code, says) in cases {
        stage.run(args).await.expect(code).says(says);
    }
    let mut command = stage.command(&RELEASE[..12]);
    command.arg("--receipt").arg(full);
    run(command).await.expect(2).says(&["/dev/full"]);
    let mut command = stage.command(&RELEASE);
    command.env("GITHUB_TOKEN", READ_TOKEN);
    run(command).await.expect(1).says(&["contents=write", "nothing was changed"]);
    assert_eq!(stage.at("refs/heads/main").as_ref(), Some(&stage.sha));
    assert!(stage.github.writes().iter().all(|call| call.status == Some(403)));
}
