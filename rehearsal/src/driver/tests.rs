//! The small parsers, by table. Expected values are the runner's and the documentation's.

use std::io::Write;
use std::sync::{Arc, Mutex};

use super::console::Console;
use super::files::pairs;

/// <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#multiline-strings>
#[test]
fn output_files_are_read_as_the_runner_reads_them() {
    let cases: &[(&str, Result<&[(&str, &str)], &str>)] = &[
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
