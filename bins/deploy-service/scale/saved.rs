//! What was there before, and whose change it is: the value of the service's tag, readable by people too.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Which of the activities of Application Auto Scaling are suspended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Suspended {
    pub(super) scale_in: bool,
    pub(super) scale_out: bool,
    pub(super) scheduled: bool,
}

/// What the tag says: `count=2 in=false out=false scheduled=true left=0 since=2026-11-22T18:00:00Z by=v2.1.0`, without the flags
/// where there is no auto scaling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Saved {
    /// The number of tasks before the release.
    pub(super) count: i32,
    pub(super) suspended: Option<Suspended>,
    /// Absent in the tags of versions that did not write it: whose they are is not known.
    pub(super) mark: Option<Mark>,
}

/// Whose change it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The number that the release set, or is about to set.
    pub(super) left: i32,
    /// The number that it had set before that one.
    pub(super) over: Option<i32>,
    pub(super) since: OffsetDateTime,
    /// The release.
    pub(super) by: String,
}

impl Saved {
    /// The value of the tag: 256 characters at most, of those that a tag of ECS can have.
    ///
    /// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-using-tags.html>
    pub(super) fn tag(&self) -> String {
        let mut text = format!("count={}", self.count);
        if let Some(Suspended { scale_in, scale_out, scheduled }) = self.suspended {
            text.push_str(&format!(" in={scale_in} out={scale_out} scheduled={scheduled}"));
        }
        if let Some(Mark { left, over, since, by }) = &self.mark {
            let since = since.format(&Rfc3339).unwrap_or_default();
            let over = over.map_or(String::new(), |over| format!(" over={over}"));
            text.push_str(&format!(" left={left}{over} since={since} by={by}"));
        }
        text
    }

    /// What a tag's value says; nothing where this step did not write it.
    pub(super) fn of(tag: &str) -> Option<Self> {
        let (fields, by) = tag.split_once(" by=").map_or((tag, None), |(fields, by)| (fields, Some(by)));
        let field = |name: &str| {
            let mut pairs = fields.split(' ').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        let number = |name: &str| field(name)?.parse().ok().filter(|count: &i32| *count >= 0);
        let flag = |name: &str| field(name)?.parse().ok();
        // One of three alone is no auto scaling that was absent: to leave it as it is would leave it suspended.
        let suspended = match [field("in"), field("out"), field("scheduled")] {
            [None, None, None] => None,
            _ => Some(Suspended {
                scale_in: flag("in")?,
                scale_out: flag("out")?,
                scheduled: flag("scheduled")?,
            }),
        };
        let mark = match (field("left"), field("over"), field("since"), by) {
            (None, None, None, None) => None,
            (_, over, since, by) => Some(Mark {
                left: number("left")?,
                over: if over.is_some() { Some(number("over")?) } else { None },
                since: OffsetDateTime::parse(since?, &Rfc3339).ok()?,
                by: by?.to_owned(),
            }),
        };
        Some(Self { count: number("count")?, suspended, mark })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::any;

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]

        #[test]
        fn a_tag_is_read_as_it_was_written(
            count in 0..i32::MAX,
            flags in proptest::option::of(any::<[bool; 3]>()),
            mark in proptest::option::of((0..i32::MAX, proptest::option::of(0..i32::MAX), 0..4_000_000_000_i64, "[a-z0-9 ._:/+=-]{1,100}")),
        ) {
            let suspended = flags.map(|[scale_in, scale_out, scheduled]| Suspended { scale_in, scale_out, scheduled });
            let mark = mark.map(|(left, over, at, by)| {
                let since = OffsetDateTime::from_unix_timestamp(at).unwrap();
                Mark { left, over, since, by }
            });
            let saved = Saved { count, suspended, mark };
            proptest::prop_assert_eq!(Saved::of(&saved.tag()), Some(saved));
        }

        /// What it says is what is restored: nothing of it is left out, and a number that is none is not made one.
        #[test]
        fn a_tag_that_somebody_edited_is_read_or_refused(
            parts in proptest::collection::vec("(count|in|out|scheduled|left|over|since|by)=(true|false|-?[0-9]{1,11}|2026-11-22T18:00:00Z|)", 0..8),
        ) {
            if let Some(saved) = Saved::of(&parts.join(" ")) {
                proptest::prop_assert!(saved.count >= 0);
                let said = |names: &[&str]| {
                    parts.iter().take_while(|part| !part.starts_with("by=")).any(|part| {
                        names.iter().any(|name| part.starts_with(&format!("{name}=")))
                    })
                };
                proptest::prop_assert_eq!(saved.suspended.is_some(), said(&["in", "out", "scheduled"]));
                let by = parts.iter().skip(1).any(|part| part.starts_with("by="));
                proptest::prop_assert_eq!(saved.mark.is_some(), by || said(&["left", "over", "since"]));
            }
        }
    }

    #[test]
    fn a_tag_holds_all_and_one_of_an_earlier_version_is_read() {
        let all = Suspended { scale_in: false, scale_out: false, scheduled: false };
        let mark = Mark {
            left: i32::MAX,
            over: Some(i32::MAX),
            since: OffsetDateTime::from_unix_timestamp(1_795_298_400).unwrap(),
            by: "x".repeat(100),
        };
        let longest = Saved { count: i32::MAX, suspended: Some(all), mark: Some(mark) };
        assert!(longest.tag().len() <= 256, "the most that AWS takes");
        assert_eq!(Saved::of("count=2"), Some(Saved { count: 2, suspended: None, mark: None }));
        let earlier = Saved::of("count=2 in=false out=false scheduled=false").unwrap();
        assert_eq!((earlier.suspended, earlier.mark), (Some(all), None));
        for half in ["two", "count=2 in=false", "count=2 left=0", "count=2 by=v1", "left=0", "count=-1"] {
            assert_eq!(Saved::of(half), None, "{half}");
        }
    }
}
