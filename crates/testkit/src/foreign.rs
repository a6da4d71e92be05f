//! Foreign text for the tests of what reads it: real texts with mistakes in them, and what is hostile to every reader.
//!
//! The corpus is `tests/corpus/KIND/`: texts that are real-looking, cut off or hostile, which every run reads again. What is too
//! large or too odd to keep in a file is made in [`hostile`].

use std::io;
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::Config;

/// Each law is tried 256 times, with what is read here well under two seconds, or as often as `PROPTEST_CASES` says. Nothing is kept
/// of a failure: what was found goes into the corpus or a table, where it can be read.
pub fn config() -> Config {
    Config { failure_persistence: None, ..Config::default() }
}

/// The texts of `tests/corpus/KIND`, with their names.
///
/// # Panics
/// There is no such folder, or it is empty.
pub fn corpus(kind: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/corpus")).join(kind);
    let texts = files(&folder).unwrap_or_default();
    assert!(!texts.is_empty(), "{} has no texts", folder.display());
    texts
}

/// Recorded inputs, where there are any, of at most so many bytes: whatever they are, every reader gets them.
pub fn recorded(reader: &str, most: u64) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = Vec::from_iter(crate::inputs::recorded(&format!("recorded inputs read as {reader}")));
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.metadata().is_ok_and(|file| file.len() <= most) {
                found.push((path.display().to_string(), std::fs::read(&path).unwrap_or_default()));
            }
        }
    }
    found
}

/// Every file of a folder, with its name.
fn files(folder: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.sort();
    paths.iter().map(|path| Ok((path.display().to_string(), std::fs::read(path)?))).collect()
}

/// The texts of the corpus that are UTF-8, to make mistakes in.
pub fn seeds(kind: &str) -> Vec<String> {
    corpus(kind).into_iter().filter_map(|(_, bytes)| String::from_utf8(bytes).ok()).collect()
}

/// What every reader must come to an end of without falling over: nothing at all, one character a hundred thousand times, brackets
/// ten thousand deep, numbers that fit nowhere, and bytes that are no text.
pub fn hostile() -> Vec<Vec<u8>> {
    const DEEP: usize = 10_000;
    let mut all: Vec<Vec<u8>> = [
        "", "\u{feff}", "\0", "\r", "\r\n\r\n", "\u{2028}", "-", "--", "=", ":", "\\", "'", "\"", "`", "${{",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    for unit in [
        "a", "0", "9", " ", "\n", "\t", "\\", "'", "\"", ";", ".", "/", "%", "é", "\u{202e}", "a=b\n", "- ",
        "a: ", "$$", "--", "!", "1+", "a AND ", "a.", "NOT ", "&& ",
    ] {
        all.push(unit.repeat(100_000 / unit.len()).into_bytes());
    }
    for (open, close) in [
        ("[", "]"),
        ("{", "}"),
        ("(", ")"),
        ("{\"a\":", "}"),
        ("[{\"a\":", "}]"),
        ("a {", "}"),
        ("a: [", "]"),
        ("/*", "*/"),
        ("<a>", "</a>"),
        ("${{ (", ") }}"),
        ("!", ""),
        ("- ", ""),
        ("BEGIN ATOMIC ", "END "),
        ("SELECT (", ")"),
        ("CASE WHEN ", "END "),
    ] {
        all.push(open.repeat(DEEP).into_bytes());
        all.push([open.repeat(DEEP), close.repeat(DEEP)].concat().into_bytes());
        all.push(close.repeat(DEEP).into_bytes());
    }
    for number in ["18446744073709551616", "-9223372036854775809", "1e999", "-0", "NaN", "0x10", "1_000", "٣"]
    {
        all.push(number.as_bytes().to_vec());
        all.push(format!("{{\"a\":{number}}}").into_bytes());
    }
    all.push(vec![0xff, 0xfe, 0x00, 0x80]);
    all.push([b"a = \"".to_vec(), vec![0xc3, 0x28], b"\"".to_vec()].concat());
    all
}

/// Pieces with a meaning in one syntax or another, and characters that programs mistake.
const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    "<",
    ">",
    "\"",
    "'",
    "`",
    ";",
    ":",
    ",",
    ".",
    "=",
    "#",
    "\\",
    "/",
    "|",
    "&",
    "*",
    "!",
    "@",
    "%",
    "$",
    "$$",
    "$a$",
    "${",
    "${{",
    "}}",
    "--",
    "/*",
    "*/",
    "//",
    "..",
    "- ",
    "\n",
    "\r\n",
    "\r",
    "\t",
    " ",
    "\0",
    "\u{feff}",
    "\u{202e}",
    "\u{1b}[31m",
    "\u{85}",
    "\u{2028}",
    "é",
    "e\u{301}",
    "👩‍👩‍👧",
    "null",
    "true",
    "-1",
    "0",
    "18446744073709551616",
    "1e999",
    "%00",
    "%zz",
    "&a",
    "*a",
    "<<",
    "::error::",
    "\nEOF\n",
    "E'",
    "U&'",
    "aws:",
    "s3://",
];

/// One of the texts with up to eight mistakes: pieces put in, cut out, doubled, moved, or the end cut off.
pub fn mistaken(texts: Vec<String>) -> impl Strategy<Value = String> {
    let mistake = (0..6_u8, any::<u16>(), any::<u16>(), select(PIECES));
    (select(texts), vec(mistake, 0..8)).prop_map(|(text, mistakes)| {
        mistakes
            .into_iter()
            .fold(text, |text, (kind, at, length, piece)| mistake_in(&text, kind, at, length, piece))
    })
}

fn mistake_in(text: &str, kind: u8, at: u16, length: u16, piece: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let from = usize::from(at) % (chars.len() + 1);
    let to = (from + usize::from(length) % 20).min(chars.len());
    let part =
        |range: std::ops::Range<usize>| chars.get(range).unwrap_or_default().iter().collect::<String>();
    let (before, middle, after) = (part(0..from), part(from..to), part(to..chars.len()));
    match kind {
        0 => format!("{before}{piece}{middle}{after}"),
        1 => format!("{before}{after}"),
        2 => format!("{before}{middle}{middle}{after}"),
        3 => format!("{middle}{before}{after}"),
        4 => format!("{before}{piece}{after}"),
        _ => before,
    }
}

/// Any text, short, with the pieces that matter more often than chance would have them.
pub fn anything() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        select(PIECES).prop_map(str::to_owned),
        "[a-z0-9_.-]{1,6}",
        any::<char>().prop_map(String::from)
    ];
    vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}
