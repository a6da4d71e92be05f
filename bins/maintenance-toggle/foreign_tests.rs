//! The saved state in a zone that others write to: read as it was written, or refused.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;
use testkit::foreign::{anything, config, corpus, hostile, mistaken, seeds};
use time::OffsetDateTime;

use crate::marker::{Marker, State};
use crate::record_set::{Alias, RecordSet, Routing};

const KIND: &str = "page-markers";
const ENTRY: &str = "api.theboss.io";

fn set(values: Vec<String>) -> RecordSet {
    RecordSet { values, ..RecordSet::simple("_cutover.api.theboss.io", "TXT", 60, "") }
}

/// What is read is of this version and is written as it was read.
fn holds(value: &str) {
    let Ok(marker) = Marker::of(&set(vec![value.to_owned()])) else { return };
    assert!(value.trim_start().starts_with("\"cutover maintenance v=1 "), "{value}");
    if let Some(written) = marker.record_set(ENTRY) {
        assert_eq!(Marker::of(&written), Ok(marker));
    }
}

#[test]
fn every_text_of_the_corpus_is_read_or_refused() {
    for (path, text) in corpus(KIND) {
        let value = String::from_utf8(text).unwrap();
        holds(&value);
        let read = Marker::of(&set(vec![value]));
        assert_eq!(read.is_ok(), path.ends_with("/whole.txt"), "{path}: {read:?}");
    }
    for text in &hostile() {
        holds(&String::from_utf8_lossy(text));
    }
}

#[test]
fn a_state_that_is_cut_off_is_none() {
    let whole = seeds(KIND).into_iter().find(|text| Marker::of(&set(vec![text.clone()])).is_ok()).unwrap();
    for end in 0..whole.len() {
        assert!(Marker::of(&set(vec![whole[..end].to_owned()])).is_err(), "to {end}");
        // As it is where somebody set a shorter value by hand.
        let closed = format!("{}\"", &whole[..end]);
        assert!(closed == whole || Marker::of(&set(vec![closed])).is_err(), "to {end}");
    }
    for values in [vec![], vec![whole.clone(), whole.clone()], vec![whole, "\"v=spf1 -all\"".to_owned()]] {
        assert!(Marker::of(&set(values)).unwrap_err().contains("values"));
    }
}

fn records() -> impl Strategy<Value = RecordSet> {
    let alias = (anything(), any::<bool>()).prop_map(|(name, evaluate_health)| Alias {
        zone: "Z2FDTNDATAQYW2".into(),
        name,
        evaluate_health,
    });
    let routing = (option::of(anything()), option::of(any::<i64>()), option::of(any::<bool>())).prop_map(
        |(set_identifier, weight, multi_value)| Routing {
            set_identifier,
            weight,
            multi_value,
            ..Routing::default()
        },
    );
    let kind = select(vec!["A", "AAAA", "CNAME", "TXT"]);
    (kind, option::of(any::<i64>()), vec(anything(), 0..3), option::of(alias), routing).prop_map(
        |(kind, ttl, values, alias, routing)| RecordSet {
            name: "api.theboss.io.".into(),
            kind: kind.into(),
            ttl,
            values,
            alias,
            routing,
        },
    )
}

fn marker() -> impl Strategy<Value = Marker> {
    let moment =
        || (0..4_000_000_000_i64).prop_map(|second| OffsetDateTime::from_unix_timestamp(second).unwrap());
    let by = prop_oneof!["[A-Za-z0-9 ._:/+=-]{1,60}", anything()];
    (by, moment(), moment(), vec(records(), 0..3), vec(records(), 0..2))
        .prop_map(|(by, since, until, found, page)| Marker { by, since, until, state: State { found, page } })
}

proptest! {
    #![proptest_config(config())]

    /// Kept whole or not at all, in characters that Route 53 gives back as they are.
    ///
    /// Source: <https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/ResourceRecordTypes.html#TXTFormat>
    #[test]
    fn what_is_saved_is_read_back(marker in marker()) {
        if let Some(set) = marker.record_set(ENTRY) {
            prop_assert!(set.values.iter().all(|value| value.len() <= 4000 && value.bytes().all(|byte| (b' '..=b'~').contains(&byte))));
            prop_assert_eq!(Marker::of(&set), Ok(marker));
        }
    }

    #[test]
    fn a_value_with_mistakes_is_read_or_refused(value in mistaken(seeds(KIND))) {
        holds(&value);
    }

    #[test]
    fn any_value_is_read_or_refused(value in anything(), head in select(vec!["", "\"cutover maintenance v=1 since=2026-11-22T18:00:00Z until=2026-11-22T18:00:00Z by=x\" "])) {
        holds(&format!("{head}{value}"));
        holds(&format!("{head}\"{value}\""));
    }

    /// A record set is put back as it was found.
    #[test]
    fn a_record_set_is_read_as_it_was_written(set in records()) {
        let text = serde_json::to_string(&set).unwrap();
        prop_assert_eq!(serde_json::from_str::<RecordSet>(&text).unwrap(), set);
    }

    #[test]
    fn numbers_out_of_range_are_refused(field in select(vec!["ttl", "weight"]), number in select(vec!["9223372036854775808", "-9223372036854775809", "1.5", "1e3", "\"60\""])) {
        let mut set = serde_json::to_value(RecordSet::simple(ENTRY, "A", 60, "192.0.2.1")).unwrap();
        set[field] = serde_json::from_str::<Value>(number).unwrap();
        prop_assert!(serde_json::from_value::<RecordSet>(set).is_err());
    }
}
