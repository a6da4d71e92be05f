//! What is asked of an answer: read or refused, and said as it was read; and answers that are not as asked.

use proptest::prelude::*;
use proptest::test_runner::Config;

use serde_json::{Value, json};

use crate::certificate::not_after;
use crate::expect::{Answer, Expectations, HeaderIs, StatusSet};
use crate::json::{CountIs, JsonIs};
use crate::place::{ConnectTo, endpoint};

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    #[test]
    fn codes_are_written_as_they_were_read(text in prop_oneof!["[0-9,-]{0,16}", "([1-5][0-9]{2}(-[1-5][0-9]{2})?,){0,3}[1-5][0-9]{2}"]) {
        if let Ok(set) = text.parse::<StatusSet>() {
            prop_assert_eq!(set.to_string().parse::<StatusSet>().unwrap(), set);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[^\0]{0,24}", body in "[^\0]{0,24}") {
        let body = serde_json::from_str(&body).unwrap_or(Value::String(body));
        if let Ok(wanted) = text.parse::<JsonIs>() {
            let _ = (wanted.unmet(&body), wanted.wanted(), wanted.place());
        }
        if let Ok(wanted) = text.parse::<CountIs>() {
            let _ = (wanted.unmet(&body), wanted.wanted());
        }
        if let Ok(place) = text.parse::<ConnectTo>() {
            prop_assert_eq!(place.to_string().parse::<ConnectTo>().unwrap(), place);
        }
        let _ = (text.parse::<HeaderIs>(), endpoint("--url", &text));
    }

    #[test]
    fn no_password_of_a_url_is_repeated(password in "sekret[@:/?#%a-z]{0,6}sekret", host in "[a-z ]{1,6}") {
        let Err(failure) = endpoint("--url", &format!("https://app:{password}@{host}/x")) else {
            // A character of the password ended the host's part early: the rest is a path or a query.
            return Ok(());
        };
        let said = format!("{failure} {}", failure.chain().join(" "));
        prop_assert!(!said.contains("sekret"), "{}", said);
    }

    /// Whatever a body is: only one that is whole, is JSON and has the value is as expected.
    #[test]
    fn an_answer_is_as_expected_only_where_it_says_so(
        status in 100..600_u16, body in body(), cut in any::<bool>(), header in "[^\0]{0,12}", reject in proptest::bool::ANY,
    ) {
        let answer = Answer {
            status,
            status_line: status.to_string(),
            headers: vec![("x-version".to_owned(), header.clone())],
            body: body.clone().into_bytes(),
            cut,
            url: "https://health.test/".to_owned(),
            redirect: None,
            certificate_ends: None,
        };
        let expected = Expectations {
            header: vec!["x-version: 2".parse().unwrap()],
            json: vec!["/status=up".parse().unwrap()],
            count: vec!["/jobs=1".parse().unwrap()],
            reject_body: if reject { vec!["maintenance".to_owned()] } else { Vec::new() },
            ..Expectations::default()
        };
        for expected in [Expectations { header: Vec::new(), ..expected.clone() }, expected] {
            match expected.judge(&answer) {
                Ok(healthy) => {
                    let value: Value = serde_json::from_str(&body).unwrap();
                    prop_assert!((200..300).contains(&status) && !cut);
                    prop_assert_eq!(&value["status"], &json!("up"));
                    prop_assert!(value["jobs"].as_array().is_some_and(|jobs| !jobs.is_empty()) || value["jobs"].as_object().is_some_and(|jobs| !jobs.is_empty()));
                    prop_assert!(!reject || !body.contains("maintenance"));
                    prop_assert!(expected.header.is_empty() || header == "2");
                    prop_assert!(!healthy.seen.contains(char::is_control), "{:?}", healthy.seen);
                }
                // A page of a proxy is as long as it likes.
                Err(why) => prop_assert!(!why.contains(char::is_control) && why.chars().count() < 2_000, "{:?}", why),
            }
        }
    }

    /// A certificate is what a server sends: read, or none, and never a part of one.
    #[test]
    fn a_certificate_with_mistakes_is_read_or_none(at in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4), end in any::<proptest::sample::Index>(), other in proptest::collection::vec(any::<u8>(), 0..64)) {
        let whole = certificate();
        prop_assert!(not_after(&whole).is_some());
        prop_assert_eq!(not_after(&whole[..end.index(whole.len())]), None);
        let mut mistaken = whole;
        for (at, byte) in at {
            let at = at.index(mistaken.len());
            mistaken[at] = byte;
        }
        let _ = (not_after(&mistaken), not_after(&other));
        for text in [
            &b"\x18\x0f00000101000000Z"[..], b"\x18\x0f99991231235960Z", b"\x17\x0d000000000000Z", b"\x17\x0d+10101000000Z", b"\x18\x7f",
            b"\x18\x84\xff\xff\xff\xff", b"\x18\x88\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            mistaken.extend_from_slice(text);
            prop_assert!(not_after(text).is_none());
            let _ = not_after(&mistaken);
        }
    }

    /// `down` is not `up`, whatever is around it.
    #[test]
    fn a_value_is_another_than_every_other(one in value(), other in value()) {
        let wanted: JsonIs = format!("/x={one}").parse().unwrap();
        let (at, elsewhere, beside) = (json!({"x": &one}), json!({"y": &one}), json!({"x": &other}));
        prop_assert_eq!(wanted.unmet(&at), None);
        // A text that is written as the value is, as in `--expect-json /version=2`.
        let same = one == other || other.as_str() == Some(one.to_string().as_str());
        prop_assert_eq!(wanted.unmet(&beside).is_none(), same);
        prop_assert!(wanted.unmet(&elsewhere).is_some() && wanted.unmet(&Value::Null).is_some());
    }
}

/// As short as one may be up to the end of its validity: <https://www.rfc-editor.org/rfc/rfc5280#section-4.1>.
fn certificate() -> Vec<u8> {
    let wrap = |content: &[u8]| [&[0x30, 0x82, 0, u8::try_from(content.len()).unwrap()], content].concat();
    let validity = wrap(b"\x17\x0d200101000000Z\x17\x0d170714024000Z");
    wrap(&wrap(&[b"\xa0\x03\x02\x01\x02\x02\x01\x07\x30\x00\x30\x00", validity.as_slice()].concat()))
}

/// Values of which no two are equal but where they are the same.
fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z0-9 \"\\\\]{0,6}".prop_map(Value::from),
        proptest::collection::vec(any::<u8>(), 0..3).prop_map(|numbers| json!(numbers)),
        "[a-z]{1,2}".prop_map(|text| json!({"x": text})),
    ]
}

/// Bodies that are nearly as expected, those of proxies and anything.
fn body() -> impl Strategy<Value = String> {
    let whole = ["{\"status\":\"up\",\"jobs\":[1]}", "{\"status\":\"up\",\"jobs\":{\"maintenance\":0}}"];
    let near = (
        proptest::sample::select(whole.to_vec()),
        any::<proptest::sample::Index>(),
        "[^\0]{0,9}",
        any::<bool>(),
    );
    prop_oneof![
        near.prop_map(|(text, at, piece, whole)| {
            let at = at.index(text.len() + 1);
            let (before, after) = text.split_at(at);
            if whole { text.to_owned() } else { format!("{before}{piece}{after}") }
        }),
        proptest::sample::select(vec![
            "",
            "up",
            "\"up\"",
            "null",
            "[]",
            "<html>\"status\":\"up\"</html>",
            "{\"status\":\"up\"}",
            "{\"jobs\":[1]}",
            "{\"status\":[\"up\"],\"jobs\":[1]}",
            "{\"status\":\"up\",\"jobs\":1}",
            "{\"status\":\"UP\",\"jobs\":[1]}",
            "{\"status\":\"up\",\"jobs\":[1]}}",
            "{\"status\":\"up\",\"status\":\"down\",\"jobs\":[1]}",
        ])
        .prop_map(str::to_owned),
        "[^\0]{0,40}",
    ]
}
