//! Laws of what every step says and keeps: nothing of a text is obeyed, no secret is shown, and a receipt is read as it was written.

use proptest::prelude::*;
use proptest::test_runner::Config;
use serde_json::Value;

use crate::github::{
    json_text, lines, log_line, log_lines, markdown_inline, mermaid_label, one_line, shell_word, write_output,
};
use crate::secret::redact_json;
use crate::{Receipt, Secret, parse_duration, redact};

fn config() -> Config {
    Config { cases: 256, failure_persistence: None, ..Config::default() }
}

/// Text with what a terminal, a runner, a shell or Markdown reads, more often than chance would have it.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        proptest::sample::select(vec![
            "::error::x",
            "##[error]",
            "\n",
            "\r",
            "\r\n",
            "\t",
            "\u{1b}[31m",
            "\u{9b}",
            "\u{202e}",
            "\u{2028}",
            "\u{feff}",
            "\0",
            "`",
            "```",
            "|",
            "<b>",
            "@a",
            "#1",
            "'",
            "\"",
            "\\",
            "$(x)",
            "%",
            "&",
            "EOF",
            "x<<EOF",
            "é",
            " ",
            ";",
        ])
        .prop_map(str::to_owned),
        any::<char>().prop_map(String::from),
        "[a-z]{1,4}",
    ];
    proptest::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

fn is_raw(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}'..='\u{200f}' | '\u{feff}')
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_line_is_one_and_obeyed_by_nobody(text in text()) {
        let one = one_line(&text);
        prop_assert!(!one.contains(is_raw));
        prop_assert_eq!(one_line(&one), one.as_str());
        prop_assert_eq!(one.chars().count(), text.chars().count());
        for line in log_lines(&text, true).split('\n') {
            prop_assert!(!line.trim_start().starts_with("::") && !line.contains("##["), "{:?}", line);
            prop_assert_eq!(log_line(line), line);
        }
        prop_assert!(!lines(&text).contains(|c| is_raw(c) && c != '\n' && c != '\t'));
    }

    #[test]
    fn a_document_keeps_its_texts(key in text(), value in text()) {
        let document = serde_json::json!({key: [value, 1.5, null]});
        let written = json_text(&document);
        prop_assert!(!written.contains(|c| is_raw(c) && c != '\n') && !written.contains("##["));
        prop_assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), document);
    }

    #[test]
    fn a_value_sets_its_own_output_and_no_other(value in text()) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("outputs");
        write_output(&file, "name", &value).unwrap();
        let written = std::fs::read_to_string(&file).unwrap();
        let (first, rest) = written.split_once('\n').unwrap();
        let delimiter = first.strip_prefix("name<<").unwrap();
        prop_assert_eq!(rest, format!("{value}\n{delimiter}\n"));
        prop_assert!(!value.contains(delimiter));
    }

    /// By a shell that takes the word apart again.
    #[test]
    fn a_word_of_a_command_is_one_word(text in text()) {
        let word = shell_word(&text);
        let inner = one_line(&text);
        let read = match word.strip_prefix('\'').and_then(|word| word.strip_suffix('\'')) {
            Some(quoted) => quoted.replace("'\\''", "'"),
            None => word.clone(),
        };
        prop_assert_eq!(read, inner);
        let outside: String = word.split("'\\''").collect::<Vec<_>>().concat();
        prop_assert!(outside.matches('\'').count().is_multiple_of(2));
    }

    #[test]
    fn markup_stays_text(text in text()) {
        let inline = markdown_inline(&text);
        prop_assert!(!inline.contains('\n'));
        let unescaped = inline.replace("<code>@</code>", "").replace("<code>#</code>", "").replace("<code>-</code>", "");
        prop_assert!(!unescaped.contains(['<', '>']));
        prop_assert!(mermaid_label(&text).chars().all(|c| c.is_alphanumeric() || " .,-_/#;".contains(c)));
    }

    #[test]
    fn a_duration_is_taken_or_refused(text in prop_oneof![text(), "[0-9]{1,20}(ns|ms|s|m|h|days|y)( [0-9]{1,20}s)?"]) {
        if let Ok(time) = parse_duration(&text) {
            prop_assert!(std::time::Instant::now().checked_add(time).is_some());
            prop_assert!((time::OffsetDateTime::now_utc() - time).year() > 1900);
        }
    }

    #[test]
    fn a_receipt_with_mistakes_is_read_or_refused(
        which in 0..RECEIPTS.len(), cut in any::<u16>(), piece in text(), at in any::<u16>(),
    ) {
        let text = std::str::from_utf8(RECEIPTS[which]).unwrap();
        let place = |number: u16| {
            let mut place = usize::from(number) % (text.len() + 1);
            while !text.is_char_boundary(place) {
                place -= 1;
            }
            place
        };
        let (at, cut) = (place(at), place(cut));
        for mistaken in [format!("{}{piece}{}", &text[..at], &text[at..]), text[..cut].to_owned()] {
            if let Ok(receipt) = Receipt::parse(&mistaken, &"a file") {
                let written = serde_json::to_value(&receipt).unwrap();
                let again = Receipt::parse(&written.to_string(), &"a file").unwrap();
                prop_assert_eq!(serde_json::to_value(&again).unwrap(), written);
                prop_assert!(receipt.undoable().len() <= receipt.actions.len());
            }
        }
    }
}

const RECEIPTS: [&[u8]; 6] = [
    include_bytes!("../../../tests/corpus/receipts/whole.json"),
    include_bytes!("../../../tests/corpus/receipts/killed.json"),
    include_bytes!("../../../tests/corpus/receipts/of-tomorrow.json"),
    include_bytes!("../../../tests/corpus/receipts/wrong-types.json"),
    include_bytes!("../../../tests/corpus/receipts/unknown-state.json"),
    include_bytes!("../../../tests/corpus/receipts/cut-off.json"),
];

#[test]
fn every_receipt_of_the_corpus_is_read_or_refused() {
    let read: Vec<bool> = RECEIPTS
        .iter()
        .map(|bytes| {
            Receipt::parse(std::str::from_utf8(bytes).unwrap(), &"a file")
                .map(|receipt| drop(receipt.undoable()))
                .is_ok()
        })
        .collect();
    assert_eq!(read, [true, true, false, false, false, false]);
    for deep in ["[", "{\"a\":"] {
        assert!(Receipt::parse(&deep.repeat(10_000), &"a file").is_err());
    }
}

/// What is registered stays so for the whole process: few, and long enough not to be in any other test's text.
#[test]
fn no_form_of_a_secret_comes_through() {
    for (n, odd) in ["p@ss w0rd/", "ünïcode", "quo\"te'", "a%20b+c", "line one\nline two"].iter().enumerate()
    {
        let value = format!("planted-{n}-{odd}-planted-{n}");
        let secret = Secret::new(value.clone());
        let url: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
        let base64 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &value);
        for form in [value.clone(), url, base64] {
            let text = format!("before {form} after {form}");
            let redacted = redact(&text);
            assert!(!redacted.contains(&form) && !redacted.contains(&format!("planted-{n}")), "{redacted}");
            assert_eq!(redact(&redacted), redacted);
            let document = redact_json(serde_json::json!({&text: [&text]})).to_string();
            assert!(!document.contains(&format!("planted-{n}")), "{document}");
        }
        assert!(!format!("{secret:?}").contains("planted"));
    }
}
