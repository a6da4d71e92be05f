use super::*;

/// As `status_app` gives it after a few rounds on a standby, with the fields that `run` and the view `index` put in.
fn waiting() -> Value {
    json!({
        "status": "waiting",
        "started": "2016-12-09T17:00:00.123456",
        "timeout": 60,
        "listening": false,
        "recovery": true,
        "snapshot": "6000:6000:",
        "max_xid": 0,
        "timestamp": "2016-12-09T19:00:00.654321",
        "errors": [],
        "results": [
            {
                "xmin": 5990, "last_xmin": 5980, "txn_count": 3, "indexed": 7, "errors": [],
                "first_txn_timestamp": "2016-12-09T18:50:00+00:00", "lag": "0:03:00.500000",
                "stats": {}, "timestamp": "2016-12-09T18:53:00",
            },
            {
                "xmin": 5980, "last_xmin": 5970, "txn_count": 9, "indexed": 2000, "errors": [],
                "lag": "0:12:00.250000", "stats": {}, "timestamp": "2016-12-09T18:40:00.1",
            },
        ],
        "last_result": {"xmin": 6000, "last_xmin": 5990, "txn_count": 0, "stats": {}, "timestamp": "2016-12-09T19:00:00.654321"},
    })
}

fn with(changes: &[(&str, Value)]) -> Listener {
    let mut body = waiting();
    for (pointer, value) in changes {
        match body.pointer_mut(pointer) {
            Some(place) => *place = value.clone(),
            None => body[pointer.trim_start_matches('/')] = value.clone(),
        }
    }
    Listener::read(&body).unwrap()
}

fn verdict(wanted: State, changes: &[(&str, Value)]) -> Result<String, String> {
    judge(wanted, None, &with(changes)).verdict
}

#[test]
fn each_state_of_the_listener_is_told() {
    assert_eq!(
        verdict(State::Standby, &[]).unwrap(),
        "waiting, recovery: true, snapshot 6000:6000:, lags 12m 0s, 3m 0s, falling"
    );
    assert!(verdict(State::Idle, &[]).is_ok());
    assert!(verdict(State::Indexed, &[]).is_ok());
    assert!(verdict(State::Primary, &[]).unwrap_err().starts_with("recovery: true, want false"));
    assert!(verdict(State::Primary, &[("/recovery", json!(false))]).is_ok());
    for (status, why) in [
        ("indexing", "it is indexing since 2016-12-09T19:00:00.654321 (its clock)"),
        ("starting listener", "it is starting"),
        ("connecting", "it is connecting to the database and to Elasticsearch"),
        ("sleeping", "it has lost the database or Elasticsearch and sleeps"),
        ("cycling", "its status is \"cycling\", want \"waiting\""),
    ] {
        let said = verdict(State::Idle, &[("/status", json!(status))]).unwrap_err();
        assert!(said.starts_with(why), "{said}");
    }
}

#[test]
fn a_start_that_waits_and_a_look_that_failed_are_not_idle() {
    assert_eq!(
        verdict(State::Idle, &[("/last_result", Value::Null), ("/results", json!([]))]).unwrap_err(),
        "it has not looked at the database with success since it started"
    );
    // `errors` are kept until the next start: one that a later success followed is over, as that of E32's restart.
    let error = |at: &str| json!([{"error": "OperationalError('FATAL: the database system is shutting down')", "timestamp": at}]);
    assert!(verdict(State::Standby, &[("/errors", error("2016-12-09T18:59:00"))]).is_ok());
    let said = verdict(State::Idle, &[("/errors", error("2016-12-09T19:00:01.5"))]).unwrap_err();
    assert!(
        said.starts_with("its last indexing failed at 2016-12-09T19:00:01.5 (its clock): OperationalError"),
        "{said}"
    );
}

#[test]
fn the_first_indexing_is_done_when_something_was_indexed_and_nothing_left_out() {
    let nothing = verdict(State::Indexed, &[("/results", json!([]))]).unwrap_err();
    assert!(nothing.starts_with("it has indexed nothing since it started"), "{nothing}");
    // Of the earlier versions, and of the later ones.
    for field in ["error", "error_message"] {
        let errors = json!([{field: "TransportError(500)", "timestamp": "x", "uuid": "u-1"}, {field: "b", "uuid": "u-2"}]);
        let look = judge(State::Indexed, None, &with(&[("/results/1/errors", errors.clone())]));
        let said = look.verdict.unwrap_err();
        assert!(
            said.starts_with("2 objects could not be indexed, such as u-1: TransportError(500)"),
            "{said}"
        );
        assert!(look.help.unwrap().contains("/_indexer_state?reindex="));
        let idle = verdict(State::Idle, &[("/results/1/errors", errors.clone())]).unwrap();
        assert!(idle.contains("2 objects could not be indexed"), "said where it is not asked for: {idle}");
        // Asked for again, as by /_indexer_state?reindex=, they are among what a later round updated.
        let mut later = waiting();
        later["results"][1]["errors"] = errors;
        later["results"][0]["updated"] = json!(["u-2", "u-1"]);
        assert!(judge(State::Indexed, None, &Listener::read(&later).unwrap()).verdict.is_ok());
        later["results"][0]["errors"] = json!([{field: "again", "uuid": "u-2"}]);
        let said = judge(State::Indexed, None, &Listener::read(&later).unwrap()).verdict.unwrap_err();
        assert!(said.starts_with("1 object could not be indexed, u-2: again"), "{said}");
    }
}

#[test]
fn the_lag_is_that_of_the_last_look_and_its_course_is_shown() {
    let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
    // The last look found nothing new: whatever the lag was before, nothing is behind.
    assert!(judge(State::Idle, minutes(1), &with(&[])).verdict.is_ok());
    let behind =
        with(&[("/last_result", json!({"lag": "1 day, 0:10:00", "timestamp": "2016-12-09T19:00:00.7"}))]);
    let said = judge(State::Idle, minutes(5), &behind).verdict.unwrap_err();
    assert!(
        said.starts_with("its lag is 24h 10m, want 5m 0s at most; lags 12m 0s, 3m 0s, falling"),
        "{said}"
    );
    let newer =
        with(&[("/last_result", json!({"txn_lag": "0:04:00", "timestamp": "2016-12-09T19:00:00.7"}))]);
    assert!(judge(State::Idle, minutes(5), &newer).verdict.is_ok());
    let course = |lags: &[&str]| {
        let results: Vec<Value> = lags.iter().map(|lag| json!({"indexed": 1, "lag": lag})).collect();
        with(&[("/results", json!(results))]).trend()
    };
    assert_eq!(course(&["0:20:00", "0:05:00"]).unwrap(), "lags 5m 0s, 20m 0s, rising");
    assert_eq!(course(&["0:00:09", "0:00:10"]).unwrap(), "lags 10s, 9s, level");
    assert_eq!(course(&["0:00:09"]).unwrap(), "lags 9s");
    assert_eq!(course(&[]), None);
}

#[test]
fn pythons_times_are_read() {
    for (text, seconds) in [
        ("0:12:03.456789", Some(723.456_789)),
        ("1 day, 2:03:04", Some(93_784.0)),
        ("12 days, 0:00:00.5", Some(1_036_800.5)),
        ("-1 day, 23:59:58", Some(0.0)),
        ("unknown", None),
        ("1:2", None),
        ("0:61:00", None),
    ] {
        assert_eq!(timedelta(text).map(|time| time.as_secs_f64()), seconds, "{text}");
    }
}

#[test]
fn an_indexers_state_has_the_listener_in_it() {
    let state = json!({"title": "primary_indexer", "uuids_in_progress": 0, "status": "waiting", "listener": waiting()});
    assert!(judge(State::Standby, None, &Listener::read(&state).unwrap()).verdict.is_ok());
    let mut busy = state;
    busy["uuids_in_progress"] = json!(40);
    assert!(
        judge(State::Idle, None, &Listener::read(&busy).unwrap()).verdict.unwrap_err().contains("40 objects")
    );
    for other in [json!({"status": "green"}), json!([]), json!({"status": 1, "results": [], "errors": []})] {
        assert_eq!(Listener::read(&other), None, "{other}");
    }
}

fn two(one: &[(&str, Value)], two: &[(&str, Value)]) -> Result<At, String> {
    same(&[("old".to_owned(), with(one)), ("new".to_owned(), with(two))])
}

#[test]
fn snapshots_are_equal_only_where_both_wait_in_recovery() {
    assert_eq!(two(&[], &[]).unwrap().snapshot, "6000:6000:");
    assert_eq!(
        two(&[], &[("/snapshot", json!("5990:6000:5990"))]).unwrap_err(),
        "old is at snapshot 6000:6000:; new is at snapshot 5990:6000:5990"
    );
    assert_eq!(
        two(&[("/recovery", json!(false))], &[("/status", json!("indexing"))]).unwrap_err(),
        "old: recovery: false, want true; new: it is indexing since 2016-12-09T19:00:00.654321 (its clock)"
    );
    assert!(
        two(&[("/snapshot", Value::Null)], &[("/snapshot", Value::Null)]).is_err(),
        "absent twice is not equal"
    );
}

#[test]
fn the_same_answer_read_twice_is_one_agreement() {
    let at = |snapshot: &str, old: &str, new: &str| At {
        snapshot: snapshot.to_owned(),
        timestamps: vec![old.to_owned(), new.to_owned()],
    };
    let mut agreed = Agreed::default();
    assert_eq!(agreed.take(Some(&at("a", "1", "1"))), 1);
    assert_eq!(agreed.take(Some(&at("a", "1", "1"))), 1, "neither has looked at its database since");
    assert_eq!(agreed.take(Some(&at("a", "2", "1"))), 1, "one has not");
    assert_eq!(agreed.take(Some(&at("a", "2", "2"))), 2);
    assert_eq!(agreed.take(Some(&at("b", "3", "3"))), 1, "both went on");
    assert_eq!(agreed.take(None), 0);
    assert_eq!(agreed.take(Some(&at("b", "4", "4"))), 1);
}
