//! What is asked of an answer: read or refused, and said as it was read.

use proptest::prelude::*;
use proptest::test_runner::Config;

use crate::expect::{HeaderIs, StatusSet};
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
        let body = serde_json::from_str(&body).unwrap_or(serde_json::Value::String(body));
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
}
