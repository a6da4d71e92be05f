//! The saved state: a tag on the rule, readable by people too.

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The tag's key.
pub(crate) const KEY: &str = "cutover-schedule";
const BEGIN: &str = "v=1";

/// What the tag says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Saved {
    /// The state before the release.
    pub(crate) was: String,
    /// The state that the release put it into.
    pub(crate) left: String,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) since: OffsetDateTime,
    /// The release.
    pub(crate) by: String,
}

impl Saved {
    /// The value of the tag.
    pub(crate) fn tag(&self) -> String {
        let since = self.since.format(&Rfc3339).unwrap_or_default();
        format!("{BEGIN} was={} left={} since={since} by={}", self.was, self.left, self.by)
    }

    /// What a tag's value says, or why it is not this step's.
    pub(crate) fn of(tag: &str) -> Result<Self, String> {
        let rest = tag.strip_prefix(BEGIN).and_then(|rest| rest.strip_prefix(' '));
        let rest = rest.ok_or("this version did not write it")?;
        let (fields, by) = rest.split_once(" by=").ok_or("it names no run")?;
        let field = |key: &str| fields.split(' ').find_map(|word| word.strip_prefix(key));
        let since = field("since=").and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
        let state = |key: &str| field(key).filter(|state| !state.is_empty()).map(str::to_owned);
        Ok(Self {
            was: state("was=").ok_or("it has no state")?,
            left: state("left=").ok_or("it has no state that was left")?,
            since: since.ok_or("it has no time")?,
            by: by.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]

        #[test]
        fn a_tag_is_read_as_it_was_written(was in "[A-Z_]{1,20}", left in "[A-Z_]{1,20}", by in ".{0,60}", at in 0..4_000_000_000_i64) {
            let since = OffsetDateTime::from_unix_timestamp(at).unwrap();
            let saved = Saved { was, left, since, by };
            proptest::prop_assert_eq!(Saved::of(&saved.tag()).unwrap(), saved);
        }

        #[test]
        fn what_somebody_else_wrote_is_read_or_refused(tag in "(v=1|was=|left=|since=2026-11-22T18:00:00Z| |by=|[^\0]){0,20}") {
            if let Ok(saved) = Saved::of(&tag) {
                proptest::prop_assert!(!saved.was.is_empty() && !saved.left.is_empty());
            }
        }
    }

    #[test]
    fn a_tag_holds_all_and_nothing_else_is_taken_for_one() {
        let saved = Saved {
            was: "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS".into(),
            left: "DISABLED".into(),
            since: OffsetDateTime::from_unix_timestamp(1_795_298_400).unwrap(),
            by: format!("run {} of repository {}", u64::MAX, u64::MAX),
        };
        assert_eq!(Saved::of(&saved.tag()).unwrap(), saved);
        let longest = Saved { by: "x".repeat(100), ..saved };
        assert!(longest.tag().len() <= 256, "the most that AWS takes");
        for (tag, why) in [
            ("", "did not write"),
            ("v=10 was=A left=B since=x by=y", "did not write"),
            ("v=1 was=ENABLED", "no run"),
            ("v=1 left=B since=2026-11-22T18:00:00Z by=y", "no state"),
            ("v=1 was=A left=B since=x by=y", "no time"),
        ] {
            assert!(Saved::of(tag).unwrap_err().contains(why), "{tag}");
        }
    }
}
