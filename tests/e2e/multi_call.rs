//! One executable, called by its own name, by a step's name, and as each step alone.

use std::os::unix::fs::symlink;

use crate::world::{run, scrubbed};

const CUTOVER: &str = env!("CARGO_BIN_EXE_cutover");

fn steps_on_disk() -> Vec<String> {
    let bins = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("bins");
    let mut steps: Vec<String> = std::fs::read_dir(bins)
        .expect("bins/")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().expect("a name").to_string_lossy().into_owned())
        .collect();
    steps.sort();
    steps
}

#[tokio::test]
async fn the_list_has_every_step_that_has_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = scrubbed(CUTOVER, dir.path());
    command.arg("--list");
    let ran = run(command).await.expect(0);
    assert_eq!(ran.stdout.lines().collect::<Vec<_>>(), steps_on_disk());
}

#[tokio::test]
async fn a_link_of_a_steps_name_is_that_step() {
    let dir = tempfile::tempdir().unwrap();
    for step in steps_on_disk() {
        let link = dir.path().join(&step);
        symlink(CUTOVER, &link).unwrap();
        let mut by_link = scrubbed(&link, dir.path());
        by_link.arg("--help");
        let mut by_word = scrubbed(CUTOVER, dir.path());
        by_word.args([step.as_str(), "--help"]);
        let (by_link, by_word) = (run(by_link).await.expect(0), run(by_word).await.expect(0));
        assert_eq!(by_link.stdout, by_word.stdout);
        for part in ["Exit codes:", "Outputs:", "--dry-run", "--undo"] {
            assert!(by_link.stdout.contains(part), "{step} --help has no {part}");
        }
        let mut version = scrubbed(&link, dir.path());
        version.arg("--version");
        let version = run(version).await.expect(0);
        assert!(
            version.stdout.starts_with(&format!("{step} {}", env!("CARGO_PKG_VERSION"))),
            "{}",
            version.stdout
        );
    }
}

/// `tag-release --version v2.1.0` means a version to release, and success would be taken for that of the release.
#[tokio::test]
async fn the_version_beside_other_arguments_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for args in [["--version", "v2.1.0"], ["--dry-run", "-V"]] {
        let mut command = scrubbed(CUTOVER, dir.path());
        command.arg("tag-release").args(args);
        let ran =
            run(command).await.expect(2).says(&["which version of the step this is", "tag-release --help"]);
        assert_eq!(ran.stdout, "");
    }
}

/// Longer ones are broken again by a terminal of 80 columns, in the middle of what was broken by hand.
#[test]
fn the_lines_of_every_help_fit_a_terminal() {
    for step in steps_on_disk() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("bins").join(&step).join("help.md");
        for line in std::fs::read_to_string(file).unwrap().lines().filter(|line| !line.contains("https://")) {
            assert!(line.chars().count() <= 78, "{step}: {line}");
        }
    }
}

#[tokio::test]
async fn an_unknown_step_is_a_usage_error_that_lists_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = scrubbed(CUTOVER, dir.path());
    command.arg("register-taskdef");
    run(command).await.expect(2).says(&[
        "there is no step register-taskdef",
        "register-task-def",
        "nothing was changed",
    ]);
}

#[tokio::test]
async fn a_step_alone_is_the_same_step() {
    let dir = tempfile::tempdir().unwrap();
    let debug = std::path::Path::new(CUTOVER).parent().expect("target/debug");
    let target = debug.parent().expect("target");
    // Without `-p`, so that features are those of the whole workspace and nothing but the executable is built.
    let mut build = tokio::process::Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--bin", "wait-healthy", "--target-dir"]).arg(target);
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    run(build).await.expect(0);
    for (args, code) in
        [(&["--help"][..], 0), (&["--url", "http://127.0.0.1:9/", "--once"], 1), (&["--url", "ftp://x/"], 2)]
    {
        let mut alone = scrubbed(debug.join("wait-healthy"), dir.path());
        alone.args(args);
        let mut in_all = scrubbed(CUTOVER, dir.path());
        in_all.arg("wait-healthy").args(args);
        let (alone, in_all) = (run(alone).await.expect(code), run(in_all).await.expect(code));
        assert_eq!((alone.stdout, alone.stderr), (in_all.stdout, in_all.stderr), "{args:?}");
    }
}
