//! Scripts of roles, names of keys and files, and what archives are called: read or refused.

use proptest::prelude::*;
use testkit::foreign::{anything, config, corpus, hostile, mistaken, seeds};

use crate::key::{Destination, archive_of, is_archive, slug};
use crate::segment;
use crate::sql::split;
use crate::tools::Version;

/// Each statement is one by itself, and stands in the script in its line.
fn splits(script: &str) {
    let Ok(statements) = split(script) else { return };
    for statement in &statements {
        let again = split(&statement.text).unwrap();
        assert_eq!(again.len(), 1, "{:?}", statement.text);
        assert_eq!(again[0].text, statement.text);
        let from = script.split_inclusive('\n').take(statement.line - 1).map(str::len).sum::<usize>();
        assert!(
            script[from..].contains(&statement.text),
            "{:?} is not in line {}",
            statement.text,
            statement.line
        );
    }
}

#[test]
fn every_text_of_the_corpus_is_read_or_refused() {
    let mut texts: Vec<Vec<u8>> = corpus("sql").into_iter().map(|(_, text)| text).collect();
    texts.extend(hostile());
    for bytes in &texts {
        let text = String::from_utf8_lossy(bytes);
        splits(&text);
        let _ =
            (text.parse::<Destination>(), segment::lsn(&text), segment::parse(&text, 16 << 20), slug(&text));
        let _ = (is_archive(&text), archive_of(&text), Version::parse(&text), Version::of_program(&text));
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_script_with_mistakes_is_split_or_refused(script in mistaken(seeds("sql"))) {
        splits(&script);
    }

    /// However a text is quoted, a semicolon in it ends nothing. Of capitals, the tag stands in no text.
    #[test]
    fn what_is_quoted_is_not_split(inner in "[a-z;$'\"\\\\\n/*-]{0,20}", tag in "[A-Z]{1,5}") {
        let string = format!("'{}'", inner.replace('\'', "''"));
        let name = format!("\"{}\"", inner.replace('"', "\"\""));
        let dollar = format!("${tag}${inner}${tag}$");
        for quoted in [string, name, dollar] {
            let script = format!("SELECT {quoted} ; SELECT 2;");
            let texts: Vec<String> = split(&script).unwrap().into_iter().map(|statement| statement.text).collect();
            prop_assert_eq!(texts, vec![format!("SELECT {}", quoted), "SELECT 2".to_owned()]);
        }
    }

    #[test]
    fn a_segment_is_named_as_it_was_read(timeline in 1..u32::MAX, number in 0..u64::from(u32::MAX)) {
        let size = 16 << 20;
        let name = segment::name(timeline, number, size);
        prop_assert_eq!(segment::parse(&name, size), Some((timeline, number)));
    }

    #[test]
    fn names_of_any_kind_are_read_or_refused(text in anything(), size in any::<u64>()) {
        let _ = (segment::lsn(&text), segment::parse(&text, size), Version::parse(&text), Version::of_program(&text));
        if let Ok(place) = format!("s3://{text}").parse::<Destination>() {
            prop_assert!(place.prefix.is_empty() || place.prefix.ends_with('/'));
            prop_assert!(!place.prefix.starts_with('/') && !place.prefix.contains("//"));
        }
        let slug = slug(&text);
        prop_assert!(slug.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)), "{:?}", slug);
    }
}
