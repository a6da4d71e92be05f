//! The small parsers, by table. Expected values are the runner's and the documentation's.

use std::io::Write;
use std::sync::{Arc, Mutex};

use std::time::Duration;

use tokio::process::Command;
use tokio::time::Instant;

use super::Values;
use super::console::Console;
use super::files::pairs;
use super::process::{self, Cancel, Ended};
use super::standin::Artifacts;

/// <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#multiline-strings>
#[test]
fn output_files_are_read_as_the_runner_reads_them() {
    type Read<'a> = Result<&'a [(&'a str, &'a str)], &'a str>;
    let cases: &[(&str, Read<'_>)] = &[
        ("", Ok(&[])),
        ("\n\n", Ok(&[])),
        ("a=1\nb=x=y", Ok(&[("a", "1"), ("b", "x=y")])),
        ("a=\n", Ok(&[("a", "")])),
        ("a=1\r\n", Ok(&[("a", "1\r")])),
        ("a=<<b\n", Ok(&[("a", "<<b")])),
        ("a<<E\nE\n", Ok(&[("a", "")])),
        ("a<<E\none\n\ntwo=2\nE\nb=3\n", Ok(&[("a", "one\n\ntwo=2"), ("b", "3")])),
        ("a<<E\none\nE", Ok(&[("a", "one")])),
        ("a<<E=F\none\nE=F\n", Ok(&[("a", "one")])),
        ("a<<E\none\n E\nE\n", Ok(&[("a", "one\n E")])),
        ("plain", Err("Invalid format 'plain'")),
        ("=x", Err("Invalid format '=x'. Name must not be empty")),
        ("<<E\nE\n", Err("Invalid format '<<E'. Name must not be empty and delimiter must not be empty")),
        ("a<<\nE\n", Err("Invalid format 'a<<'. Name must not be empty and delimiter must not be empty")),
        ("a<<E\none\n", Err("Invalid value. Matching delimiter not found 'E'")),
        ("a<<E\none", Err("Invalid value. EOF marker missing new line.")),
    ];
    for (text, expected) in cases {
        let expected = expected.map(|pairs| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect());
        assert_eq!(pairs(text), expected.map_err(ToOwned::to_owned), "{text:?}");
    }
}

#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn commands_are_obeyed_and_the_rest_is_shown() {
    let cases = [
        ("plain", "  plain", true),
        ("  ::group::Plan", "  Plan", true),
        ("a ::error::quoted", "  a ::error::quoted", true),
        ("::nonsense::x", "  ::nonsense::x", true),
        ("::error::100%25 sure%0Areally", "  Error: 100% sure\n  Error: really", true),
        ("::error::%250A", "  Error: %0A", true),
        ("::debug::hidden", "", true),
        ("2026 ##[group]Old style", "  Old style", true),
        (
            "::set-output name=a::b",
            "  Error: the command `set-output` is deprecated: write to the runner's files",
            false,
        ),
    ];
    for (line, shown, clean) in cases {
        let screen = Screen::default();
        let mut console = Console::new(Box::new(screen.clone()));
        assert_eq!(console.child_line(line), clean, "{line}");
        assert_eq!(String::from_utf8(screen.0.lock().unwrap().clone()).unwrap().trim_end(), shown, "{line}");
    }
}

#[tokio::test]
async fn a_step_that_is_late_is_ended() {
    let screen = Screen::default();
    let mut command = Command::new("bash");
    command.args(["-c", "trap 'echo asked; exit 0' INT; while :; do sleep 0.1; done"]);
    let (mut console, mut cancel) = (Console::new(Box::new(screen.clone())), Cancel::listen().unwrap());
    let late = Instant::now() + Duration::from_millis(500);
    let ended = process::run(command, &mut console, &mut cancel, false, late).await.unwrap();
    assert_eq!(ended, (Ended::TimedOut, true));
    assert_eq!(String::from_utf8(screen.0.lock().unwrap().clone()).unwrap(), "  asked\n");
}

/// The layouts: <https://github.com/actions/upload-artifact#upload-using-multiple-paths-and-exclusions>
#[test]
fn artefacts_have_the_layout_of_the_real_action() {
    let root = tempfile::tempdir().unwrap();
    let work = root.path().join("work");
    for file in ["out/a.json", "out/deep/b.json", "out/.hidden", "other/c.json", ".state/d.json"] {
        std::fs::create_dir_all(work.join(file).parent().unwrap()).unwrap();
        std::fs::write(work.join(file), file).unwrap();
    }
    let mut artifacts = Artifacts { folder: root.path().join("artifacts"), names: [].into() };
    let with =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect::<Values>();
    for (name, path, files) in [
        ("file", "out/a.json", &["a.json"][..]),
        ("folder", "out/", &["a.json", "deep/b.json"]),
        ("several", "out\nother/c.json\nmissing", &["out/a.json", "out/deep/b.json", "other/c.json"]),
    ] {
        artifacts.upload(&with(&[("name", name), ("path", path)]), &work).unwrap();
        let mut found = Vec::new();
        super::standin::walk(&artifacts.folder.join(name), true, &mut found).unwrap();
        let mut wanted = files.iter().map(|f| artifacts.folder.join(name).join(f)).collect::<Vec<_>>();
        found.sort();
        wanted.sort();
        assert_eq!(found, wanted, "{name}");
    }
    let error = |result: Result<(bool, String), super::Trouble>| result.unwrap_err().to_string();
    assert!(error(artifacts.upload(&with(&[("name", "file"), ("path", "out")]), &work)).contains("409"));
    assert!(error(artifacts.upload(&with(&[("path", "out/*.json")]), &work)).contains("not rehearsable"));
    let hidden = [("path", ".state"), ("if-no-files-found", "error")];
    assert!(error(artifacts.upload(&with(&hidden), &work)).contains("No files were found"));
    assert!(artifacts.upload(&with(&[("path", "missing")]), &work).unwrap().0, "a warning by default");

    artifacts.download(&with(&[("name", "folder"), ("path", "back")]), &work).unwrap();
    assert!(work.join("back/deep/b.json").exists());
    artifacts.download(&with(&[("path", "all")]), &work).unwrap();
    assert!(work.join("all/file/a.json").exists() && work.join("all/folder/a.json").exists());
    let missing = artifacts.download(&with(&[("name", "nothing")]), &work);
    assert!(missing.unwrap_err().to_string().contains("Artifact not found for name: nothing"));
}
