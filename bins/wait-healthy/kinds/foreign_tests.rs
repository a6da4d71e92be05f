//! Answers of servers, of what stands before them and of nobody: each is as wanted only where it says so itself, in the words of its
//! documentation, and nothing that it says breaks the line in which it is shown.
//!
//! Sources of the shapes: <https://www.elastic.co/guide/en/elasticsearch/reference/5.6/cluster-health.html>,
//! <https://docs.opensearch.org/latest/api-reference/cluster-api/cluster-health/>, the view of ENCODE's indexer that
//! `indexer/judge.rs` names, <https://developer.hashicorp.com/vault/api-docs/system/health>,
//! <https://redis.io/docs/latest/commands/info/>.

use std::collections::BTreeMap;
use std::time::Duration;

use probe::Answer;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};
use testkit::foreign::{anything, config, corpus, hostile, mistaken, seeds};

use super::cluster::client;
use super::cluster::judge::{self as search, Health, Seen};
use super::indexer::judge::{self as indexer, Listener};
use super::redis_empty::judge::{self as redis, Info, Scanned};
use super::sealed::{self, Answered};
use super::{Look, WHOLE};

const KIND: &str = "health-answers";

fn text(name: &str) -> String {
    let found = corpus(KIND).into_iter().find(|(path, _)| path.ends_with(name));
    String::from_utf8(found.unwrap().1).unwrap()
}

fn answer(status: u16, body: &[u8]) -> Answer {
    Answer {
        status,
        status_line: format!("{status} Said"),
        headers: Vec::new(),
        body: body.to_vec(),
        cut: body.len() > WHOLE,
        url: "https://health.test/".into(),
        redirect: None,
        certificate_ends: None,
    }
}

/// Whether it is as wanted; the line is one line.
fn healthy(look: &Look) -> bool {
    for line in look.verdict.iter().chain(look.verdict.as_ref().err()).chain(&look.help) {
        assert!(!line.contains(char::is_control), "{line:?}");
    }
    look.verdict.is_ok()
}

fn is(body: &Value, pointer: &str, wanted: &Value) -> bool {
    body.pointer(pointer) == Some(wanted)
}

/// What each kind makes of an answer: it is as wanted only where the answer has what its documentation has.
fn look_at(status: u16, body: &[u8]) {
    let answer = answer(status, body);
    let said: Option<Value> = serde_json::from_slice(body).ok();
    match client::judge(&answer) {
        Ok(value) => {
            assert!((200..300).contains(&status) && said.is_some());
            let _ = (search::nodes(&value), search::lacking(&value), search::explain(&value));
            search_cluster(&value);
        }
        Err(trouble) => assert!(!trouble.reason.contains(char::is_control), "{trouble:?}"),
    }
    if let Some(said) = &said {
        an_indexer(said);
    }
    if let (Ok(health), Some(said)) = (serde_json::from_slice::<Answered>(body), &said) {
        for wanted in [sealed::Wanted::Active, sealed::Wanted::Standby, sealed::Wanted::Unsealed] {
            if healthy(&sealed::judge(wanted, &health)) {
                assert!(
                    is(said, "/initialized", &json!(true)) && is(said, "/sealed", &json!(false)),
                    "{said}"
                );
                assert!(!is(said, "/replication_dr_mode", &json!("secondary")), "{said}");
            }
        }
    }
    a_redis(&String::from_utf8_lossy(body));
}

fn search_cluster(value: &Value) {
    let Ok(health) = serde_json::from_value::<Health>(value.clone()) else { return };
    for state in [search::State::Yellow, search::State::Green, search::State::Settled] {
        let wanted = search::Wanted { state, cluster: None, nodes: None, names: Vec::new() };
        let seen = Seen {
            health: health.clone(),
            nodes: search::nodes(value),
            lacking: search::lacking(value),
            explained: search::explain(value),
        };
        if !healthy(&search::judge(&wanted, &seen)) {
            continue;
        }
        let none = |field: &str| is(value, field, &json!(0));
        assert!(!is(value, "/discovered_master", &json!(false)), "{value}");
        match state {
            search::State::Yellow => {
                assert!(["green", "yellow"].iter().any(|colour| is(value, "/status", &json!(colour))));
            }
            search::State::Green => {
                assert!(is(value, "/status", &json!("green")) && none("/unassigned_shards"));
            }
            search::State::Settled => assert!(none("/relocating_shards") && none("/initializing_shards")),
        }
    }
}

const STATES: [indexer::State; 4] =
    [indexer::State::Idle, indexer::State::Indexed, indexer::State::Standby, indexer::State::Primary];

fn an_indexer(value: &Value) {
    let Some(listener) = Listener::read(value) else { return };
    for state in STATES {
        for most in [None, Some(Duration::from_mins(5))] {
            if healthy(&indexer::judge(state, most, &listener)) {
                let inner = value.get("listener").unwrap_or(value);
                assert!(is(inner, "/status", &json!("waiting")), "{value}");
                assert!(
                    inner["errors"].is_array()
                        && inner["results"].is_array()
                        && inner["last_result"].is_object()
                );
                let busy = value.get("uuids_in_progress").filter(|number| !number.is_null());
                assert!(busy.is_none_or(|number| *number == json!(0)), "{value}");
            }
        }
    }
    let _ = indexer::same(&[("one".to_owned(), listener.clone()), ("other".to_owned(), listener)]);
}

fn a_redis(text: &str) {
    let info = Info::parse(text);
    let scanned = Scanned { before: info.clone(), after: info, matching: 0, names: Vec::new() };
    match redis::judge("redis:6379", 0, "*", &scanned) {
        Ok(look) if healthy(&look) => {
            let last = |name: &str| text.lines().rev().find_map(|line| line.trim().strip_prefix(name));
            assert_eq!(last("role:"), Some("master"), "{text}");
            assert!(last("cluster_enabled:") != Some("1") && last("loading:") != Some("1"), "{text}");
        }
        Ok(_) => {}
        Err(failure) => assert!(!failure.chain().concat().contains(char::is_control), "{failure:?}"),
    }
}

#[test]
fn every_text_of_the_corpus_is_read_or_refused() {
    let mut all: Vec<Vec<u8>> = corpus(KIND).into_iter().map(|(_, text)| text).collect();
    all.extend(hostile());
    for body in &all {
        for status in [200, 204, 302, 401, 403, 404, 429, 500, 503] {
            look_at(status, body);
        }
    }
}

/// Whatever else answers at the address: its page is neither a cluster nor an indexer nor a Vault that is well.
#[test]
fn pages_of_others_are_not_healthy() {
    for name in [
        "/log-in.html",
        "/of-somebody-else.json",
        "/true.json",
        "/only-a-word.json",
        "/cut-off.json",
        "/search-of-tomorrow.json",
    ] {
        let body = text(name);
        let value: Value = serde_json::from_str(&body).unwrap_or_default();
        assert!(serde_json::from_value::<Health>(value.clone()).is_err(), "{name}");
        assert!(Listener::read(&value).is_none(), "{name}");
        assert!(serde_json::from_str::<Answered>(&body).is_err(), "{name}");
    }
    let wanted =
        search::Wanted { state: search::State::Yellow, cluster: None, nodes: None, names: Vec::new() };
    for (name, good) in [
        ("/search-green.json", true),
        ("/search-no-master.json", false),
        ("/search-beyond-numbers.json", false),
    ] {
        let health = serde_json::from_str(&text(name)).unwrap();
        let seen = Seen { health, nodes: Vec::new(), lacking: BTreeMap::new(), explained: None };
        assert_eq!(healthy(&search::judge(&wanted, &seen)), good, "{name}");
    }
}

fn wrong() -> impl Strategy<Value = Value> {
    prop_oneof![
        select(vec![json!(-1), json!(0.5), json!("0"), json!(true), json!([]), json!({}), json!({"0": 0})]),
        anything().prop_map(Value::from),
    ]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn an_answer_with_mistakes_is_as_wanted_only_where_it_says_so(body in mistaken(seeds(KIND)), status in select(vec![200, 401, 503])) {
        look_at(status, body.as_bytes());
    }

    /// A number that can't be read is not taken for none.
    #[test]
    fn a_cluster_whose_numbers_are_none_is_not_judged(
        field in select(vec!["active_shards", "relocating_shards", "initializing_shards", "unassigned_shards", "number_of_nodes"]), value in wrong(),
    ) {
        let mut body: Value = serde_json::from_str(&text("/search-green.json")).unwrap();
        body[field] = value;
        prop_assert!(serde_json::from_value::<Health>(body.clone()).is_err());
        body.as_object_mut().unwrap().remove(field);
        prop_assert!(serde_json::from_value::<Health>(body).is_err());
    }

    /// What is in work, what was left out and how far it is behind.
    #[test]
    fn an_indexer_whose_state_can_not_be_read_is_not_idle(
        place in select(vec!["/uuids_in_progress", "/listener/results/0/errors", "/listener/last_result/errors", "/listener/last_result/lag"]), value in wrong(), state in any::<Index>(),
    ) {
        let mut body: Value = serde_json::from_str(&text("/indexer.json")).unwrap();
        // The one value among them that says something: no errors.
        prop_assume!(!(place.ends_with("errors") && value.is_array()));
        *body.pointer_mut(place).unwrap() = value;
        let state = *state.get(&STATES);
        if let Some(listener) = Listener::read(&body) {
            let look = indexer::judge(state, Some(Duration::MAX), &listener);
            prop_assert!(!healthy(&look), "{}", body);
        }
    }

    /// Fields that the documentation of today does not have.
    #[test]
    fn fields_of_tomorrow_change_no_verdict(which in select(vec!["/search-green.json", "/search-no-master.json", "/indexer.json", "/vault.json"]), value in wrong()) {
        let today: Value = serde_json::from_str(&text(which)).unwrap();
        let mut later = today.clone();
        later["of_tomorrow"] = value;
        let verdicts = |body: &Value| {
            let wanted = search::Wanted { state: search::State::Settled, cluster: None, nodes: None, names: Vec::new() };
            let cluster = serde_json::from_value::<Health>(body.clone()).ok().map(|health| {
                let seen = Seen { health, nodes: Vec::new(), lacking: BTreeMap::new(), explained: None };
                search::judge(&wanted, &seen).verdict
            });
            let listener = Listener::read(body).map(|listener| indexer::judge(indexer::State::Standby, None, &listener).verdict);
            let vault = serde_json::from_value::<Answered>(body.clone()).ok().map(|health| sealed::judge(sealed::Wanted::Active, &health).verdict);
            (cluster, listener, vault)
        };
        prop_assert_eq!(verdicts(&later), verdicts(&today));
    }

    /// Names of keys are what somebody stored.
    #[test]
    fn the_names_of_keys_stay_in_their_line(names in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 1..5), pattern in "[A-Z*]{1,8}") {
        let info = Info::parse(&text("/redis.txt"));
        let scanned = Scanned { before: info.clone(), after: info, matching: names.len(), names };
        let look = redis::judge("redis:6379", 0, &pattern, &scanned).unwrap();
        prop_assert!(!healthy(&look));
        prop_assert!(look.verdict.unwrap_err().chars().count() < 400);
    }
}
