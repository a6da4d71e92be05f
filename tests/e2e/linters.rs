//! Workflows and actions pass zizmor and the schemas that GitHub's own editors use, without a finding and without an exception.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::world::{run, scrubbed};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn tool(name: &str) -> Command {
    let path = testkit::venv::dir().unwrap().join("bin").join(name);
    let mut command = Command::new(path);
    command.env_clear().stdin(Stdio::null()).kill_on_drop(true).current_dir(root());
    command
}

/// What zizmor finds below a folder: `audit: file: the text that it is about`.
async fn zizmor(folder: &Path) -> Vec<String> {
    let mut command = tool("zizmor");
    command.args(["--offline", "--no-progress", "--no-exit-codes", "--format", "json"]).arg(folder);
    let ran = run(command).await.expect(0);
    let found: Value = serde_json::from_str(&ran.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().trim().to_owned();
    let all = found.as_array().unwrap().iter().flat_map(|finding| {
        finding["locations"]
            .as_array()
            .unwrap()
            .iter()
            .map(move |at| format!("{}: {}", text(&finding["ident"]), text(&at["concrete"]["feature"])))
    });
    all.collect()
}

/// The tree as a release has it: `.github`, and the actions with their images by digest.
async fn released(to: &Path) {
    let copy = Command::new("cp").arg("-r").arg(root().join(".github")).arg(to).status().await.unwrap();
    assert!(copy.success());
    let digest = "0123456789abcdef".repeat(4);
    let images = [
        "--images".to_owned(),
        format!("ghcr.io/example/cutover@sha256:{digest}"),
        format!("ghcr.io/example/cutover-clients@sha256:{digest}"),
    ];
    let cutover = |args: Vec<String>| {
        let mut command = scrubbed(env!("CARGO_BIN_EXE_cutover"), to);
        command.args(args);
        run(command)
    };
    let list = cutover(vec!["--list".into()]).await.expect(0).stdout;
    for step in list.lines() {
        let args = [vec!["--action".to_owned(), step.to_owned()], images.to_vec()].concat();
        let folder = to.join("actions").join(step);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("action.yml"), cutover(args).await.expect(0).stdout).unwrap();
    }
    let args = [vec!["--action".to_owned()], images.to_vec()].concat();
    std::fs::write(to.join("action.yml"), cutover(args).await.expect(0).stdout).unwrap();
}

#[tokio::test]
async fn zizmor_finds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    released(dir.path()).await;
    assert_eq!(zizmor(dir.path()).await, [""; 0]);
    assert_eq!(zizmor(&root().join(".github")).await, [""; 0]);
    // Before a release the actions are built. zizmor knows that of `Dockerfile` alone and takes a path to one for the name of an image,
    // which is then not pinned; to the runner it is a path:
    // https://docs.github.com/en/actions/reference/workflows-and-actions/metadata-syntax#runsimage
    let found = zizmor(root()).await;
    let others: Vec<_> =
        found.iter().filter(|found| *found != "unpinned-images: image: ../../Dockerfile").collect();
    assert!(others.is_empty(), "{others:?}");
}

/// So that the tests above could fail.
#[tokio::test]
async fn zizmor_finds_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    released(dir.path()).await;
    let path = dir.path().join(".github/workflows/ci.yml");
    let text = std::fs::read_to_string(&path).unwrap();
    let wrong = text.replace("run: make test", "run: echo ${{ github.head_ref }}");
    assert_ne!(wrong, text);
    std::fs::write(&path, wrong).unwrap();
    let found = zizmor(dir.path()).await;
    assert!(found.iter().any(|found| found.starts_with("template-injection: ")), "{found:?}");
}

#[tokio::test]
async fn the_schemas_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    released(dir.path()).await;
    let files = |folder: &Path, fits: &dyn Fn(&Path) -> bool| {
        let mut files = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if fits(&path) {
                    files.push(path);
                }
            }
        }
        assert!(!files.is_empty());
        files
    };
    let workflow = |path: &Path| path.parent().is_some_and(|folder| folder.ends_with("workflows"));
    let action = |path: &Path| path.ends_with("action.yml");
    let dependabot = |path: &Path| path.ends_with("dependabot.yml");
    let here = files(&root().join("actions"), &action);
    let sets = [
        ("vendor.github-workflows", files(dir.path(), &workflow)),
        (
            "vendor.github-actions",
            [files(dir.path(), &action), here, vec![root().join("action.yml")]].concat(),
        ),
        ("vendor.dependabot", files(dir.path(), &dependabot)),
    ];
    for (schema, files) in sets {
        let mut command = tool("check-jsonschema");
        command.args(["--builtin-schema", schema]).args(files);
        run(command).await.expect(0);
    }
}
