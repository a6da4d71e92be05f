//! Folders of receipts that somebody else wrote: each receipt is drawn or named, and nothing that stands in one becomes part of the
//! page: no tag, no link, no cell, no line and no command of a runner.

use std::path::{Path, PathBuf};

use kit::Receipt;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};
use testkit::foreign::{anything, config, corpus, hostile, mistaken, seeds};

use crate::jobs::{Job, Jobs};
use crate::mask::mask;
use crate::observe::{Found, Lying, observe};
use crate::plan::{Asked, plan};
use crate::story::Story;
use crate::{html, markdown, mermaid, text};

const KIND: &str = "receipts";

/// What HTML, Markdown, Mermaid, a runner and a shell would obey.
fn obeyed() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        select(vec![
            "<script>alert(1)</script>",
            "</details>",
            "</code></pre>",
            "<img src=x onerror=y>",
            "](javascript:alert(1))",
            "[x](https://evil.test)",
            "![x](y)",
            "| a | b |",
            "\n| - |\n",
            "```",
            "`",
            "``",
            "-->",
            "<!--",
            "\n\n# x",
            "\n- x",
            "\r\n::set-output name=x::y",
            "::error::x",
            "\n::error::x",
            "##[error]x",
            "@everyone",
            "#1",
            "GH-1",
            "\\",
            "\\|",
            "\\`",
            "*x*",
            "_x_",
            "~~x~~",
            "&lt;",
            "&#60;",
            "\"",
            "'",
            " ",
            "=",
            ";",
            ":",
            "%%",
            "click a href",
            "section x",
            "\u{1b}[31m",
            "\u{202e}",
            "\u{2028}",
            "\0",
            "$(reboot)",
            "<a href=\"javascript:x\">",
            "$$x$$",
            "1. ",
            "+ ",
            "===",
        ])
        .prop_map(str::to_owned),
        anything(),
        "[a-z]{1,4}",
    ];
    vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

/// Where the texts of a release stand.
const PLACES: usize = 24;

/// A release of three receipts with these texts wherever a receipt has one.
fn release(texts: &[String], codes: &[Option<u8>]) -> Story {
    let says = |place: usize| texts.get(place).cloned().unwrap_or_default();
    let receipts = codes.iter().enumerate().map(|(at, code)| {
        let (run, step) = (format!("{at}{}", says(0)), ["tag-release", "backup-db", "deploy-service"][at % 3]);
        let action = |id: usize, state: &str, reversible: bool| {
            json!({
                "id": format!("{id}{}", says(1)), "run": run, "does": says(2), "undo": says(3), "reversible": reversible,
                "state": state, "inverse": {"restore": says(4)}, "result": says(5),
            })
        };
        let document = json!({
            "schema": "cutover-receipt/1", "step": step, "version": says(6), "run": run,
            "arguments": {format!("0{}", says(7)): [says(8), says(9)]}, "account": says(10), "region": says(11),
            "github": {
                "GITHUB_REPOSITORY": says(12), "GITHUB_RUN_ID": says(13), "GITHUB_JOB": says(14), "GITHUB_SHA": says(15),
                "GITHUB_ACTOR": says(16), "GITHUB_RUN_ATTEMPT": "2",
            },
            "started": format!("2026-11-22T09:00:0{at}Z"), "ended": code.map(|_| format!("2026-11-22T09:00:1{at}Z")),
            "observed": null, "plan": null,
            "actions": [action(0, "done", true), action(1, "started", false), action(2, "planned", true)],
            "outputs": {format!("0{}", says(17)): says(18)},
            "verdict": code.map(|code| json!({"code": code, "message": says(19), "causes": [says(20)], "help": [says(21)], "state": [says(20), says(21)]})),
            "undo_of": null,
        });
        let path = PathBuf::from(format!("receipts/{at}{}", kit::one_line(&says(22)).replace('/', "_")));
        Lying { receipt: Receipt::parse(&document.to_string(), &"a file").unwrap(), path, lacks: vec![says(23)] }
    });
    let jobs = vec![Job { name: format!("0{}", says(14)), result: "failure".to_owned() }];
    let found = Found {
        receipts: receipts.collect(),
        passed_over: vec![says(23).into()],
        absent: vec![says(22).into()],
    };
    plan(found, &Asked { title: None, expect: Vec::new(), jobs, places: vec!["receipts".into()] })
}

/// The same release told in plain words, of which two are the same where two of the texts are.
fn plain(texts: &[String]) -> Vec<String> {
    let word = |text: &String| {
        let first = texts.iter().position(|other| other == text).unwrap_or_default();
        // An empty text is left out, and so is its word.
        if text.is_empty() { String::new() } else { format!("x{first}") }
    };
    texts.iter().map(word).collect()
}

/// The tags of a page, each whole.
fn tags(page: &str) -> Vec<&str> {
    page.split('<').skip(1).map(|rest| rest.split_once('>').map_or(rest, |(tag, _)| tag)).collect()
}

/// A line of Markdown without its code and without what a backslash takes the meaning from.
fn bare(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(char) = rest.chars().next() {
        if char == '\\' {
            rest = rest.get(2..).unwrap_or_default();
        } else if char == '`' {
            let length = rest.bytes().take_while(|byte| *byte == b'`').count();
            let mut inner = &rest[length..];
            loop {
                let end = inner.find('`').unwrap_or_else(|| panic!("code without an end: {line}"));
                let run = inner[end..].bytes().take_while(|byte| *byte == b'`').count();
                inner = &inner[end + run..];
                if run == length {
                    break;
                }
            }
            rest = inner;
        } else {
            out.push(char);
            rest = &rest[char.len_utf8()..];
        }
    }
    out
}

/// Cells of a table's row, as GitHub cuts it before anything else.
fn cells(line: &str) -> usize {
    let before = line.chars().scan(' ', |last, char| Some(std::mem::replace(last, char)));
    line.chars().zip(before).filter(|(char, before)| *char == '|' && *before != '\\').count()
}

/// What begins a line and gives it a meaning.
fn head(line: &str) -> &str {
    line.get(..line.find(|c: char| !" -*#|>+=~".contains(c)).unwrap_or(line.len()))
        .unwrap_or_default()
        .trim_end()
}

fn markdown_holds(told: &str, plainly: &str) {
    let (lines, wanted): (Vec<&str>, Vec<&str>) = (told.lines().collect(), plainly.lines().collect());
    assert_eq!(lines.len(), wanted.len(), "{told}");
    let mut is_chart = false;
    for (line, wanted) in lines.iter().zip(wanted) {
        assert!(!line.contains(char::is_control) && !line.trim_start().starts_with("::"), "{line:?}");
        if line.starts_with("```") {
            assert_eq!(*line, wanted);
            is_chart = !is_chart;
        } else if is_chart {
            assert_eq!(line.matches(':').count(), wanted.matches(':').count(), "{line}");
            assert!(line.chars().all(|c| c.is_alphanumeric() || " .,_-:%".contains(c)), "{line}");
        } else {
            assert_eq!(head(line), head(wanted), "{line}");
            if line.starts_with('|') {
                assert_eq!(cells(line), cells(wanted), "{line}");
            }
            // Of tags there are those of the page itself, and those that keep a name from being a mention or a reference.
            let mut bare = bare(line);
            for own in ["<details>", "</details>", "<summary>", "</summary>"] {
                assert_eq!(bare.matches(own).count(), wanted.matches(own).count(), "{line}");
                bare = bare.replace(own, "");
            }
            let bare = bare.replace("<code>", "").replace("</code>", "");
            assert!(!bare.contains(['<', '>', '[', ']', '`', '*']) || bare.contains("**"), "{line}");
            assert!(!bare.replace("**", "").contains(['<', '>', '[', ']', '`', '*']), "{line}");
        }
    }
}

/// Every form of a release that was read from whatever lay there.
fn draw(story: &Story) {
    let page = html::page(story);
    assert!(!page.contains(|c: char| c.is_control() && c != '\n') && !page.contains("<script"));
    let _ = (markdown::file(story), markdown::summary(story), mermaid::gantt(story), text::text(story));
    for run in &story.runs {
        assert!(page.contains(&format!("id=\"run-{}\"", run.number)), "{}", run.number);
    }
}

fn asked(places: &[PathBuf]) -> Asked {
    Asked { title: None, expect: Vec::new(), jobs: Vec::new(), places: places.to_vec() }
}

/// Looks at a folder of these files: each is a run, is counted among what was passed over, or ends it with its name.
fn folder(files: &[(&str, &[u8])]) -> Result<Story, String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    let places = [folder.path().to_owned()];
    let found = observe(&places, true).map_err(|failure| {
        assert_eq!(failure.code(), kit::Code::Usage);
        let told = failure.to_string();
        assert!(files.iter().any(|(name, _)| told.contains(name)), "{told}");
        told
    })?;
    assert_eq!(found.receipts.len() + found.passed_over.len(), files.len());
    let names: Vec<String> = found.receipts.iter().map(|lying| lying.path.display().to_string()).collect();
    let story = plan(found, &asked(&places));
    for name in &names {
        let is_drawn = story.runs.iter().any(|run| run.receipt == *name);
        assert!(is_drawn || story.notes.iter().any(|note| note.contains(name.as_str())), "{name}");
    }
    draw(&story);
    Ok(story)
}

#[test]
fn every_text_of_the_corpus_is_drawn_or_refused() {
    for (path, bytes) in &corpus(KIND) {
        let name = Path::new(path).file_name().unwrap().to_str().unwrap();
        let read = folder(&[(name, bytes), ("notes.txt", b"x")]);
        assert_eq!(read.is_ok(), matches!(name, "whole.json" | "killed.json"), "{name}: {:?}", read.err());
    }
    for bytes in &hostile() {
        let _ = (folder(&[("a.json", bytes)]), folder(&[("a.txt", bytes)]));
    }
}

#[test]
fn a_receipt_that_is_cut_off_is_told() {
    let whole = seeds(KIND)
        .into_iter()
        .find(|text| Receipt::parse(text, &"a").is_ok_and(|receipt| receipt.ended.is_some()))
        .unwrap();
    let whole = whole.trim_end();
    for end in 0..whole.len() {
        let told = folder(&[("a.json", &whole.as_bytes()[..end])]).err();
        assert!(told.is_some_and(|told| told.contains("a.json")), "to {end}");
    }
    assert_eq!(folder(&[("a.json", whole.as_bytes())]).unwrap().runs.len(), 1);
}

/// At both ends of the calendar there are times that have no date in UTC, and one that nothing can be added to.
#[test]
fn times_at_the_ends_of_the_calendar_are_drawn_or_refused() {
    let whole = seeds(KIND)
        .into_iter()
        .find(|text| Receipt::parse(text, &"a").is_ok_and(|receipt| receipt.ended.is_some()))
        .unwrap();
    let times = [
        "0000-01-01T00:00:00Z",
        "0000-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59Z",
        "9999-12-31T23:59:59.999999999Z",
        "9999-12-31T23:59:59-23:59",
        "9999-12-31T23:59:60Z",
        "2026-11-22T09:00:00+23:59",
    ];
    for started in times {
        for ended in times {
            let mut document: Value = serde_json::from_str(&whole).unwrap();
            document["started"] = started.into();
            document["ended"] = ended.into();
            let _ = folder(&[("a.json", document.to_string().as_bytes())]);
        }
    }
}

/// The Markdown is for a summary that is cut when it is too long; what it leaves out, it says.
#[test]
fn of_many_copies_each_is_named_or_counted() {
    let whole = seeds(KIND)
        .into_iter()
        .find(|text| Receipt::parse(text, &"a").is_ok_and(|receipt| receipt.ended.is_some()))
        .unwrap();
    let names: Vec<String> = (100..200).map(|n| format!("copy-{n}.json")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), whole.as_bytes())).collect();
    let story = folder(&files).unwrap();
    assert_eq!((story.runs.len(), story.notes.len()), (1, 99));
    let (page, told) = (html::page(&story), text::text(&story));
    assert!(names.iter().all(|name| page.contains(name.as_str()) && told.contains(name.as_str())));
    assert!(markdown::file(&story).contains("and 49 more"));
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_text_of_a_receipt_becomes_part_of_the_page(texts in vec(obeyed(), PLACES), codes in vec(prop_oneof![Just(None), select(vec![Some(0), Some(1), Some(4), Some(99)])], 1..4)) {
        let (story, plainly) = (release(&texts, &codes), release(&plain(&texts), &codes));
        let (page, wanted) = (html::page(&story), html::page(&plainly));
        prop_assert_eq!(tags(&page), tags(&wanted));
        prop_assert!(!page.contains(|c: char| c.is_control() && c != '\n'));
        markdown_holds(&markdown::file(&story), &markdown::file(&plainly));
        markdown_holds(&markdown::summary(&story), &markdown::summary(&plainly));
        let told = text::text(&story);
        prop_assert_eq!(told.lines().count(), text::text(&plainly).lines().count());
        for line in told.split('\n') {
            prop_assert!(!line.contains(char::is_control) && !line.trim_start().starts_with("::") && !line.contains("##["), "{:?}", line);
        }
        prop_assert_eq!(story.runs.len(), codes.len());
    }

    #[test]
    fn a_folder_with_mistakes_is_drawn_or_refused(one in mistaken(seeds(KIND)), other in mistaken(seeds(KIND)), whole in any::<Index>(), note in anything()) {
        let seeds = seeds(KIND);
        let _ = folder(&[
            ("a.json", one.as_bytes()), ("b.txt", other.as_bytes()), ("c d'$(x).json", whole.get(&seeds).as_bytes()), ("notes", note.as_bytes()),
        ]);
    }

    /// Wherever a token, a password or a value with a name of one stands, and whatever stands beside it.
    #[test]
    fn no_secret_comes_through(before in vec(obeyed(), 0..3), after in vec(obeyed(), 0..3), one in "[A-Za-z0-9]{24,36}", other in "[A-Z0-9]{16}", between in select(vec![":", "/", "-", " ", ",", "\n", "@"]), user in "[a-z]{1,6}", password in "sekret[a-z/?#@:%]{0,9}sekret") {
        let (before, after) = (before.concat(), after.concat());
        let masked = mask(&format!("{before} ghp_{one}{between}AKIA{other}{between}ghs_{one} {after}"));
        prop_assert!(!masked.contains(&one) && !masked.contains(&other), "{}", masked);
        let masked = mask(&format!("{before} postgresql://{user}:{password}@host:5432/db {after}"));
        prop_assert!(!masked.contains("sekret"), "{}", masked);
        let masked = mask(&format!("{before} DB_PASSWORD={one} {after} x-api-key={other}"));
        prop_assert!(!masked.contains(&one) && !masked.contains(&other), "{}", masked);
        prop_assert_eq!(mask(&masked), masked);
    }

    #[test]
    fn jobs_are_read_or_refused(text in prop_oneof![anything(), mistaken(vec!["{\"plan\":{\"result\":\"success\",\"outputs\":{}},\"tag\":{\"result\":\"failure\",\"outputs\":{\"x\":\"y\"}}}".to_owned()])]) {
        if let Ok(Jobs(jobs)) = text.parse::<Jobs>() {
            prop_assert!(jobs.iter().all(|job| ["success", "failure", "cancelled", "skipped"].contains(&job.result.as_str())));
            let named: std::collections::BTreeSet<&str> = jobs.iter().map(|job| job.name.as_str()).collect();
            prop_assert_eq!(named.len(), jobs.len(), "a job twice: its result would be either");
        }
    }
}
