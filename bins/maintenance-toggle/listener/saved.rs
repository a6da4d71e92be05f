//! What is saved while the page is on: tags of the page's own rule, which appear and go with it in one call.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const NAME: &str = "cutover:maintenance";
const BY: &str = "cutover:by";
const SINCE: &str = "cutover:since";
const UNTIL: &str = "cutover:until";
const MOVED: &str = "cutover:moved-";
/// The most characters of a value: <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-tags.html>
const VALUE: usize = 256;

/// Whose the page is, and what was moved for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Saved {
    pub(crate) name: String,
    pub(crate) by: String,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) since: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) until: OffsetDateTime,
    /// The priorities that the moved rules had, by the last part of their ARNs.
    pub(crate) moved: BTreeMap<String, u32>,
}

/// The last part of a rule's ARN, which no other rule of the listener has.
pub(crate) fn id_of(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

impl Saved {
    pub(crate) fn is_for(tags: &BTreeMap<String, String>, name: &str) -> bool {
        tags.get(NAME).is_some_and(|of| of == name)
    }

    /// The tags, in order.
    pub(crate) fn tags(&self) -> BTreeMap<String, String> {
        let time = |time: OffsetDateTime| time.format(&Rfc3339).unwrap_or_default();
        let mut tags = BTreeMap::from([
            (NAME.to_owned(), self.name.clone()),
            (BY.to_owned(), self.by.clone()),
            (SINCE.to_owned(), time(self.since)),
            (UNTIL.to_owned(), time(self.until)),
        ]);
        let mut values = vec![String::new()];
        for (id, number) in &self.moved {
            let one = format!("{id}={number}");
            match values.last_mut() {
                Some(last) if last.is_empty() => *last = one,
                Some(last) if last.len() + 1 + one.len() <= VALUE => *last = format!("{last} {one}"),
                _ => values.push(one),
            }
        }
        let values = values.into_iter().filter(|value| !value.is_empty());
        tags.extend(values.enumerate().map(|(n, value)| (format!("{MOVED}{}", n + 1), value)));
        tags
    }

    /// Reads them, or says what is wrong.
    pub(crate) fn of(tags: &BTreeMap<String, String>) -> Result<Self, String> {
        let tag = |key: &str| tags.get(key).cloned().ok_or_else(|| format!("it has no tag {key}"));
        let time = |key: &str| {
            OffsetDateTime::parse(&tag(key)?, &Rfc3339).map_err(|error| format!("its tag {key}: {error}"))
        };
        let mut moved = BTreeMap::new();
        let parts = tags.iter().filter(|(key, _)| key.starts_with(MOVED)).count();
        for part in 1..=parts {
            let key = format!("{MOVED}{part}");
            // Without one of them, the rules in it would keep the numbers that they were moved to.
            for one in tag(&key)?.split(' ') {
                let pair = one.split_once('=').and_then(|(id, number)| Some((id, number.parse().ok()?)));
                let told = || format!("its tag {key} has `{}`", kit::clip(&kit::one_line(one), VALUE));
                let (id, number) = pair.ok_or_else(told)?;
                if moved.insert(id.to_owned(), number).is_some() {
                    return Err(format!("{} twice", told()));
                }
            }
        }
        Ok(Self { name: tag(NAME)?, by: tag(BY)?, since: time(SINCE)?, until: time(UNTIL)?, moved })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_fits_into_tags_and_is_read_back() {
        for count in [0, 1, 13, 99] {
            let saved = Saved {
                name: "api.theboss.io".into(),
                by: "run 1234567890 of repository 42".into(),
                since: OffsetDateTime::from_unix_timestamp(1_795_298_400).unwrap(),
                until: OffsetDateTime::from_unix_timestamp(1_795_312_800).unwrap(),
                moved: (0..count).map(|n| (format!("{n:016x}"), n + 1)).collect(),
            };
            let tags = saved.tags();
            // A rule has at most 50 tags.
            assert!(tags.len() <= 50 && tags.values().all(|value| value.chars().count() <= 256), "{tags:?}");
            let allowed = |char: char| char.is_alphanumeric() || " +-=._:/@".contains(char);
            assert!(
                tags.iter().all(|(key, value)| key.chars().chain(value.chars()).all(allowed)),
                "{tags:?}"
            );
            assert_eq!(Saved::of(&tags).unwrap(), saved);
            assert!(Saved::is_for(&tags, "api.theboss.io") && !Saved::is_for(&tags, "auth.theboss.io"));
        }
    }

    #[test]
    fn tags_that_somebody_cut_are_told() {
        let tags = BTreeMap::from([(NAME.to_owned(), "api.theboss.io".to_owned())]);
        assert!(Saved::of(&tags).unwrap_err().contains(BY));
    }
}
