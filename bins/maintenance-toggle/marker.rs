//! The saved state: a TXT record beside the entry, readable by people too.
//!
//! It lies at `_cutover.NAME`, since no other record may stand beside a CNAME. Whoever can read the zone can read it, the whole
//! world for a public one: it names a run, never a person.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::record_set::{RecordSet, absolute};

/// Its TTL: nobody but this step reads it.
const TTL: i64 = 60;
/// The most bytes of one string of a TXT record, and of all of its value.
///
/// Source: <https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/ResourceRecordTypes.html#TXTFormat>
const STRING: usize = 255;
const VALUE: usize = 4000;
const BEGIN: &str = "cutover maintenance v=1 ";

/// What is kept while the page is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Marker {
    /// The release that switched the page on.
    pub(crate) by: String,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) since: OffsetDateTime,
    /// Another release may take over from then on.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) until: OffsetDateTime,
    #[serde(flatten)]
    pub(crate) state: State,
}

/// What was there, and what was put in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) found: Vec<RecordSet>,
    pub(crate) page: Vec<RecordSet>,
}

/// Where the marker of an entry lies.
pub(crate) fn name_of(entry: &str) -> String {
    absolute(&format!("_cutover.{entry}"))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

impl Marker {
    /// The record set. `None` when the state is more than a TXT record can hold.
    pub(crate) fn record_set(&self, entry: &str) -> Option<RecordSet> {
        let time = |time: OffsetDateTime| time.format(&Rfc3339).ok();
        let head = format!("{BEGIN}since={} until={} by={}", time(self.since)?, time(self.until)?, self.by);
        let json: String = serde_json::to_string(&self.state).ok()?;
        // Route 53 gives every other character back as its number: `\303\251`.
        let plain = |text: &str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if head.len() > STRING || !plain(&head) || !plain(&json) {
            return None;
        }
        let chunks = json.as_bytes().chunks(STRING).filter_map(|chunk| std::str::from_utf8(chunk).ok());
        let strings: Vec<String> = std::iter::once(head.as_str()).chain(chunks).map(quoted).collect();
        let value = strings.join(" ");
        (value.len() <= VALUE).then(|| RecordSet::simple(&name_of(entry), "TXT", TTL, value))
    }

    /// The marker that the record set holds, or why it is none.
    pub(crate) fn of(set: &RecordSet) -> Result<Self, String> {
        let [value] = &set.values[..] else {
            return Err(format!("it has {} values", set.values.len()));
        };
        let strings = strings(value).ok_or("its strings can't be told apart")?;
        let (head, rest) = strings.split_first().ok_or("it is empty")?;
        let head = head.strip_prefix(BEGIN).ok_or("this project did not write it")?;
        let (times, by) = head.split_once(" by=").ok_or("it names no run")?;
        let time = |key: &str| {
            let text = times.split(' ').find_map(|word| word.strip_prefix(key))?;
            OffsetDateTime::parse(text, &Rfc3339).ok()
        };
        let state = serde_json::from_str(&rest.concat())
            .map_err(|error| format!("its state can't be read: {error}"))?;
        Ok(Self {
            by: by.to_owned(),
            since: time("since=").ok_or("it has no time")?,
            until: time("until=").ok_or("it has no expiry")?,
            state,
        })
    }
}

/// The quoted strings of a TXT value.
fn strings(value: &str) -> Option<Vec<String>> {
    let mut out = Vec::new();
    let mut chars = value.chars();
    loop {
        match chars.find(|char| !char.is_whitespace()) {
            None => return Some(out),
            Some('"') => {}
            Some(_) => return None,
        }
        let mut text = String::new();
        loop {
            match chars.next()? {
                '"' => break,
                '\\' => text.push(chars.next()?),
                char => text.push(char),
            }
        }
        out.push(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record_set::{Alias, Routing};

    fn marker(sets: usize) -> Marker {
        let set = |n: usize| RecordSet {
            name: "api.theboss.io.".into(),
            kind: "A".into(),
            ttl: None,
            values: Vec::new(),
            alias: Some(Alias {
                zone: "Z35SXDOTRQ7X7K".into(),
                name: format!("dualstack.elb-{n}.us-east-1.elb.amazonaws.com."),
                evaluate_health: true,
            }),
            routing: Routing {
                set_identifier: Some(format!("a \"quoted\\name\" {n}")),
                weight: Some(7),
                ..Routing::default()
            },
        };
        Marker {
            by: "run 1234567890 of repository 42".into(),
            since: OffsetDateTime::from_unix_timestamp(1_795_298_400).unwrap(),
            until: OffsetDateTime::from_unix_timestamp(1_795_312_800).unwrap(),
            state: State {
                found: (0..sets).map(set).collect(),
                page: vec![RecordSet::simple("api.theboss.io", "CNAME", 60, "page.test.")],
            },
        }
    }

    #[test]
    fn what_is_saved_is_read_back_from_strings_that_dns_can_carry() {
        for sets in [0, 1, 2, 5] {
            let marker = marker(sets);
            let set = marker.record_set("API.theboss.io").unwrap();
            assert_eq!((set.name.as_str(), set.kind.as_str()), ("_cutover.api.theboss.io.", "TXT"));
            let [value] = &set.values[..] else { panic!("{set:?}") };
            assert!(value.len() <= 4000);
            assert!(strings(value).unwrap().iter().all(|string| string.len() <= 255));
            assert_eq!(Marker::of(&set).unwrap(), marker);
        }
    }

    #[test]
    fn more_than_a_txt_record_holds_is_not_saved_in_part() {
        assert!(marker(40).record_set("api.theboss.io").is_none());
    }

    #[test]
    fn what_somebody_else_wrote_is_no_marker() {
        let set = |value: &str| RecordSet::simple("_cutover.api.theboss.io", "TXT", 60, value);
        for (value, why) in [
            ("\"v=spf1 -all\"", "did not write it"),
            ("\"open", "told apart"),
            ("", "empty"),
            ("\"cutover maintenance v=1 since=x until=y by=z\" \"{}\"", "can't be read"),
            (
                "\"cutover maintenance v=1 since=x until=y by=z\" \"{\\\"found\\\":[],\\\"page\\\":[]}\"",
                "no time",
            ),
        ] {
            let why_not = Marker::of(&set(value)).unwrap_err();
            assert!(why_not.contains(why), "{value}: {why_not}");
        }
    }
}
