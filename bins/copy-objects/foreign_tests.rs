//! Places, sizes and manifests from anywhere: read or refused.

use proptest::prelude::*;
use testkit::foreign::{anything, config, corpus, hostile, mistaken, recorded, seeds};

use crate::backup::Backup;
use crate::place::{From, Place, StackOutput, is_bucket, key_of_copy};

fn read(bytes: &[u8]) {
    if let Ok(Some(backup)) = Backup::parse("s3://b/k", "a/k.manifest.json", bytes) {
        // What a manifest names lies beside it, whatever path it writes.
        assert!(
            backup.globals().is_none_or(|key| key.strip_prefix("a/").is_some_and(|name| !name.contains('/')))
        );
        let _ = (backup.in_words(time::OffsetDateTime::UNIX_EPOCH), backup.dump(), backup.sha256().len());
    }
    let text = String::from_utf8_lossy(bytes);
    let _ = (text.parse::<From>(), text.parse::<Place>(), text.parse::<StackOutput>());
}

#[test]
fn every_text_of_the_corpus_is_read_or_refused() {
    for (_, text) in &corpus("manifests") {
        read(text);
    }
    for text in &hostile() {
        read(text);
    }
    for (_, text) in &recorded("manifests", 100_000) {
        read(text);
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_manifest_with_mistakes_is_read_or_refused(text in mistaken(seeds("manifests"))) {
        read(text.as_bytes());
    }

    #[test]
    fn a_place_is_written_as_it_was_read(text in prop_oneof![anything(), "[a-z0-9.-]{3,20}(/[^\0]{0,9}){0,3}"]) {
        if let Ok(place) = format!("s3://{text}").parse::<Place>() {
            prop_assert_eq!(place.to_string().parse::<Place>(), Ok(place.clone()));
            prop_assert!(is_bucket(&place.bucket));
        }
    }

    #[test]
    fn a_copy_below_a_prefix_stays_below_it(source in "[a-z/]{1,12}", to in "[a-z]{1,4}/") {
        prop_assert!(key_of_copy(&source, &source, &to).starts_with(&to));
    }
}
