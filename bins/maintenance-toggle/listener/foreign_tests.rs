//! The tags of the page's rule, which anybody may edit: read as they were written, or refused with the tag.

use std::collections::BTreeMap;

use proptest::collection::btree_map;
use proptest::prelude::*;
use proptest::sample::Index;
use testkit::foreign::{anything, config};
use time::OffsetDateTime;

use super::saved::Saved;

fn saved() -> impl Strategy<Value = Saved> {
    let moment =
        || (0..4_000_000_000_i64).prop_map(|second| OffsetDateTime::from_unix_timestamp(second).unwrap());
    let moved = btree_map("[0-9a-f]{16}", 1..50_000_u32, 0..60);
    (anything(), anything(), moment(), moment(), moved).prop_map(|(name, by, since, until, moved)| Saved {
        name,
        by,
        since,
        until,
        moved,
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn tags_are_read_as_they_were_written(saved in saved(), tags in btree_map(anything(), anything(), 0..3)) {
        prop_assert_eq!(&Saved::of(&saved.tags()).unwrap(), &saved);
        prop_assert!(Saved::is_for(&saved.tags(), &saved.name));
        // Tags of others, as of a policy of the whole account, change nothing.
        let others = tags.into_iter().filter(|(key, _)| !key.starts_with("cutover:"));
        let both: BTreeMap<String, String> = saved.tags().into_iter().chain(others).collect();
        prop_assert_eq!(Saved::of(&both).unwrap(), saved);
    }

    /// Each tag but the last of the moved rules, of which nothing says how many there were.
    #[test]
    fn without_one_of_its_tags_it_is_none(saved in saved(), which in any::<Index>()) {
        let mut tags = saved.tags();
        let keys: Vec<String> = tags.keys().filter(|key| **key != format!("cutover:moved-{}", tags.len() - 4)).cloned().collect();
        let key = which.get(&keys);
        tags.remove(key);
        prop_assert!(Saved::of(&tags).unwrap_err().contains(key.as_str()));
    }

    #[test]
    fn tags_with_mistakes_are_read_or_refused(saved in saved(), which in any::<Index>(), value in prop_oneof![anything(), "[0-9a-f=+ -]{0,30}"]) {
        let mut tags = saved.tags();
        let keys: Vec<String> = tags.keys().cloned().collect();
        let key = which.get(&keys);
        tags.insert(key.clone(), value);
        match Saved::of(&tags) {
            Ok(read) => prop_assert_eq!(Saved::of(&read.tags()).unwrap(), read),
            Err(why) => prop_assert!(why.contains(key.as_str()) && !why.contains(char::is_control), "{:?}", why),
        }
    }

    /// A priority that is none is not made one, and of two for one rule neither is taken.
    #[test]
    fn priorities_are_taken_or_refused(text in prop_oneof![Just("-1"), Just("4294967296"), Just("1.5"), Just("0x10"), Just(""), Just("one")], more in 1..50_000_u32) {
        let at = |value: String| {
            let mut tags = Saved { name: "x".into(), by: "y".into(), since: OffsetDateTime::UNIX_EPOCH, until: OffsetDateTime::UNIX_EPOCH, moved: BTreeMap::new() }.tags();
            tags.insert("cutover:moved-1".to_owned(), value);
            Saved::of(&tags)
        };
        let (none, twice, both) = (at(format!("a={text}")), at(format!("a={more} a={}", more + 1)), at(format!("a={more} b={more}")));
        prop_assert!(none.is_err() && both.is_ok());
        prop_assert!(twice.unwrap_err().contains("twice"));
    }
}
