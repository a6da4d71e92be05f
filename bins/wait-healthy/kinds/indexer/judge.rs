//! What ENCODE's indexer says of itself, and whether that is as wanted. Pure.
//!
//! Its answer is written by `status_app` and filled by `run` in
//! <https://github.com/ENCODE-DCC/snovault/blob/4fac66c11fa8a76ff396cd26bcbcfe6bf539c264/src/snovault/elasticsearch/es_index_listener.py>;
//! what stands in `results` and `last_result` is what the view `index` of `indexer.py` beside it returns, which names some fields
//! otherwise in later versions, as in
//! <https://github.com/codyde/snovault/blob/191d8828901656b2e47ad8629e81fe6070191521/src/snovault/elasticsearch/indexer.py>.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::kinds::Look;

/// How much of an error is shown, in characters.
const SHOWN: usize = 160;
/// How many lags are shown, and compared for their trend.
const TREND: usize = 5;

/// What an indexer is to be. In each case it waits for work, and its last look at the database has not failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// Nothing more.
    Idle,
    /// And it has indexed something since it started, nothing of which was left out.
    Indexed,
    /// And its database is in recovery.
    Standby,
    /// And its database is not.
    Primary,
}

/// One time that it looked at the database.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Cycle {
    timestamp: String,
    /// How many objects were indexed.
    indexed: u64,
    /// From the first transaction that it took in to its end: `lag`, in later versions `txn_lag`.
    lag: Option<Duration>,
    /// What is said of it and is no length of time.
    odd_lag: Option<String>,
    /// How long it took; later versions say so.
    took: Option<Duration>,
    /// Objects that could not be indexed, by their UUIDs, with what each failed with.
    errors: Vec<(String, String)>,
    /// Objects that were changed, or asked for by their UUIDs; none where all were indexed.
    updated: Vec<String>,
}

/// The whole answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Listener {
    status: String,
    started: String,
    /// When it last said something, by its own clock, without a time zone.
    pub(crate) timestamp: String,
    recovery: Option<bool>,
    pub(crate) snapshot: Option<String>,
    /// The newest error, and when it came. It is kept until the indexer is started again.
    error: Option<(String, String)>,
    /// The newest first, of those that indexed something.
    results: Vec<Cycle>,
    last: Option<Cycle>,
    /// Of `/_indexer_state`: objects that are being indexed.
    in_progress: u64,
}

impl Listener {
    /// Reads an answer of `/_indexer`, or of `/_indexer_state`, which has the former in it.
    pub(crate) fn read(body: &Value) -> Option<Self> {
        let listener = body.get("listener").unwrap_or(body);
        let status = listener.get("status")?.as_str()?.to_owned();
        // Every version has these two from the start on; a status page of something else does not.
        let results = listener.get("results")?.as_array()?;
        let errors = listener.get("errors")?.as_array()?;
        let last = listener.get("last_result").filter(|last| last.is_object());
        // None of these is nothing because it can't be read.
        let is_list =
            |cycle: &Value| cycle.get("errors").is_none_or(|errors| errors.is_null() || errors.is_array());
        let in_progress = match body.get("uuids_in_progress") {
            None | Some(Value::Null) => 0,
            Some(number) => number.as_u64()?,
        };
        if !results.iter().chain(last).all(is_list) {
            return None;
        }
        Some(Self {
            status,
            started: text(listener, "started"),
            timestamp: text(listener, "timestamp"),
            recovery: listener.get("recovery").and_then(Value::as_bool),
            snapshot: listener.get("snapshot").and_then(Value::as_str).map(kit::one_line),
            error: errors.first().map(|error| (text(error, "error"), text(error, "timestamp"))),
            results: results.iter().map(cycle).collect(),
            last: last.map(cycle),
            in_progress,
        })
    }

    /// Whether it waits for work after a look at the database that did not fail; if not, why.
    fn idle(&self) -> Result<(), String> {
        let error = || {
            self.error
                .as_ref()
                .map_or_else(String::new, |(error, _)| format!(": {}", kit::clip(error, SHOWN)))
        };
        match self.status.as_str() {
            "waiting" => {}
            "indexing" => return Err(format!("it is indexing since {} (its clock)", self.timestamp)),
            "starting listener" => return Err("it is starting".to_owned()),
            "connecting" => {
                return Err(
                    "it is connecting to the database and to Elasticsearch, whose cluster must be yellow"
                        .to_owned(),
                );
            }
            "sleeping" => {
                return Err(format!("it has lost the database or Elasticsearch and sleeps{}", error()));
            }
            other => return Err(format!("its status is {:?}, want \"waiting\"", kit::clip(other, SHOWN))),
        }
        let Some(last) = &self.last else {
            return Err(format!(
                "it has not looked at the database with success since it started{}",
                error()
            ));
        };
        if let Some((_, at)) = &self.error
            && *at > last.timestamp
        {
            return Err(format!("its last indexing failed at {at} (its clock){}", error()));
        }
        if self.in_progress > 0 {
            return Err(format!("{} objects are being indexed", self.in_progress));
        }
        Ok(())
    }

    /// Objects that recent indexing left out and that none has taken in since, and why the first of them.
    fn left_out(&self) -> Option<String> {
        let mut since: BTreeSet<&str> = BTreeSet::new();
        let mut left_out: Vec<&(String, String)> = Vec::new();
        for cycle in &self.results {
            left_out.extend(cycle.errors.iter().filter(|(uuid, _)| !since.contains(uuid.as_str())));
            let failed = |uuid: &&str| cycle.errors.iter().any(|(failed, _)| failed == uuid);
            since.extend(cycle.updated.iter().map(String::as_str).filter(|uuid| !failed(uuid)));
        }
        let (uuid, error) = left_out.first()?;
        let mut named: Vec<&str> = left_out.iter().map(|(uuid, _)| uuid.as_str()).collect();
        named.sort_unstable();
        named.dedup();
        let all = named.len();
        Some(format!(
            "{all} object{} could not be indexed, {}{uuid}: {}",
            if all == 1 { "" } else { "s" },
            if all == 1 { "" } else { "such as " },
            kit::clip(error, SHOWN)
        ))
    }

    /// How far it is behind: no time at all where its last look found no transaction that was new to it.
    fn lag(&self) -> Duration {
        self.last.as_ref().and_then(|last| last.lag).unwrap_or_default()
    }

    /// The last lags, oldest first, and whether they fall.
    fn trend(&self) -> Option<String> {
        let mut lags: Vec<Duration> = self.results.iter().filter_map(|cycle| cycle.lag).take(TREND).collect();
        lags.reverse();
        let (first, newest) = (lags.first()?, lags.last()?);
        let names: Vec<String> = lags.iter().map(|lag| clock(*lag)).collect();
        let course = match (first.as_secs_f64(), newest.as_secs_f64()) {
            _ if lags.len() == 1 => "",
            (first, newest) if newest < first * 0.8 => ", falling",
            (first, newest) if newest > first * 1.25 => ", rising",
            _ => ", level",
        };
        Some(format!("lags {}{course}", names.join(", ")))
    }

    /// "waiting, recovery: true, snapshot 6000:6000:, lags 12m, 3m, falling".
    fn line(&self) -> String {
        let mut line = self.status.clone();
        if let Some(recovery) = self.recovery {
            line.push_str(&format!(", recovery: {recovery}"));
        }
        if let Some(snapshot) = &self.snapshot {
            line.push_str(&format!(", snapshot {}", kit::clip(snapshot, SHOWN)));
        }
        for more in [self.trend(), self.left_out()].into_iter().flatten() {
            line.push_str(&format!(", {more}"));
        }
        line
    }

    fn details(&self) -> Map<String, Value> {
        let seconds = |time: &Option<Duration>| time.map(|time| time.as_secs_f64());
        let cycles: Vec<Value> = self
            .results
            .iter()
            .map(|cycle| {
                json!({
                    "timestamp": cycle.timestamp,
                    "indexed": cycle.indexed,
                    "lag-seconds": seconds(&cycle.lag),
                    "took-seconds": seconds(&cycle.took),
                    "left-out": cycle.errors.iter().map(|(uuid, _)| uuid).collect::<Vec<_>>(),
                })
            })
            .collect();
        let all = json!({
            "status": self.status,
            "started": self.started,
            "timestamp": self.timestamp,
            "recovery": self.recovery,
            "snapshot": self.snapshot,
            "lag-seconds": self.lag().as_secs_f64(),
            "results": cycles,
        });
        if let Value::Object(map) = all { map } else { Map::new() }
    }
}

/// Whether one indexer is as wanted.
pub(crate) fn judge(wanted: State, most_lag: Option<Duration>, listener: &Listener) -> Look {
    let mut look = match unmet(wanted, most_lag, listener) {
        Ok(()) => Look::healthy(listener.line()),
        Err((why, help)) => {
            let trend = listener.trend().map(|trend| format!("; {trend}")).unwrap_or_default();
            Look { help, ..Look::not_yet(format!("{why}{trend}")) }
        }
    };
    look.details = listener.details();
    look
}

type Unmet = (String, Option<String>);

fn unmet(wanted: State, most_lag: Option<Duration>, listener: &Listener) -> Result<(), Unmet> {
    listener.idle().map_err(|why| (why, None))?;
    let recovery = |want: bool| match listener.recovery {
        Some(is) if is == want => Ok(()),
        Some(is) => Err((format!("recovery: {is}, want {want}"), None)),
        None => Err(("it does not say whether its database is in recovery".to_owned(), None)),
    };
    match wanted {
        State::Idle => {}
        State::Indexed => {
            if listener.results.iter().all(|cycle| cycle.indexed == 0) {
                return Err(("it has indexed nothing since it started".to_owned(), None));
            }
            if let Some(left_out) = listener.left_out() {
                return Err((left_out, Some(AGAIN.to_owned())));
            }
        }
        State::Standby => recovery(true)?,
        State::Primary => recovery(false)?,
    }
    let odd = listener.last.as_ref().and_then(|last| last.odd_lag.as_ref());
    match (most_lag, odd) {
        (Some(most), Some(odd)) => {
            Err((format!("its lag is {odd}, which is no length of time; want {} at most", clock(most)), None))
        }
        (Some(most), None) if listener.lag() > most => {
            Err((format!("its lag is {}, want {} at most", clock(listener.lag()), clock(most)), None))
        }
        _ => Ok(()),
    }
}

const AGAIN: &str = "put right what failed and index these objects again, as /_indexer_state?reindex=UUID,UUID of ENCODE does; \
                     one that is started anew forgets what it left out";

/// One indexer's place, for the comparison of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) snapshot: String,
    /// When each of them said so.
    pub(crate) timestamps: Vec<String>,
}

/// Whether all of them are idle, in recovery and at the same snapshot.
pub(crate) fn same(listeners: &[(String, Listener)]) -> Result<At, String> {
    let mut unmet = Vec::new();
    for (name, listener) in listeners {
        let why = self::unmet(State::Standby, None, listener).err().map(|(why, _)| why);
        let why = why.or_else(|| listener.snapshot.is_none().then(|| "it shows no snapshot".to_owned()));
        unmet.extend(why.map(|why| format!("{name}: {why}")));
    }
    if !unmet.is_empty() {
        return Err(unmet.join("; "));
    }
    let snapshot = |listener: &Listener| listener.snapshot.clone().unwrap_or_default();
    let first = listeners.first().map(|(_, listener)| snapshot(listener)).unwrap_or_default();
    if listeners.iter().any(|(_, listener)| snapshot(listener) != first) {
        let seen: Vec<String> = listeners
            .iter()
            .map(|(name, listener)| {
                format!("{name} is at snapshot {}", kit::clip(&snapshot(listener), SHOWN))
            })
            .collect();
        return Err(seen.join("; "));
    }
    Ok(At {
        snapshot: first,
        timestamps: listeners.iter().map(|(_, listener)| listener.timestamp.clone()).collect(),
    })
}

/// What was agreed on at earlier looks. An answer is what the indexer kept since its own last look at the database, a minute apart
/// in recovery: the same answer read twice is one agreement, not two.
#[derive(Clone, Debug, Default)]
pub(crate) struct Agreed {
    last: Option<At>,
    times: u32,
}

impl Agreed {
    /// Takes a look in, and says how often in a row they agreed on the same snapshot.
    pub(crate) fn take(&mut self, looked: Option<&At>) -> u32 {
        let Some(at) = looked else {
            *self = Self::default();
            return 0;
        };
        match &self.last {
            Some(last) if last.snapshot == at.snapshot => {
                let fresh = last.timestamps.iter().zip(&at.timestamps).all(|(one, two)| one != two);
                if fresh {
                    self.times += 1;
                    self.last = Some(at.clone());
                }
            }
            _ => {
                self.times = 1;
                self.last = Some(at.clone());
            }
        }
        self.times
    }
}

fn cycle(value: &Value) -> Cycle {
    let list = |field: &str| value.get(field).and_then(Value::as_array).into_iter().flatten();
    let error = |error: &Value| {
        // `error_message` in later versions.
        let said =
            [text(error, "error_message"), text(error, "error")].into_iter().find(|text| !text.is_empty());
        (text(error, "uuid"), said.unwrap_or_default())
    };
    let said = ["txn_lag", "lag"].into_iter().find_map(|field| value.get(field).filter(|lag| !lag.is_null()));
    let lag = said.and_then(Value::as_str).and_then(timedelta);
    Cycle {
        timestamp: text(value, "timestamp"),
        indexed: value.get("indexed").and_then(Value::as_u64).unwrap_or(0),
        lag,
        odd_lag: said
            .filter(|_| lag.is_none())
            .map(|said| kit::clip(&kit::one_line(&said.to_string()), SHOWN)),
        took: value.get("cycle_took").and_then(Value::as_str).and_then(timedelta),
        errors: list("errors").map(error).collect(),
        updated: list("updated").filter_map(Value::as_str).map(str::to_owned).collect(),
    }
}

fn text(value: &Value, field: &str) -> String {
    value.get(field).and_then(Value::as_str).map(kit::one_line).unwrap_or_default()
}

/// `str()` of Python's `timedelta`: `0:12:03.456789`, `1 day, 2:03:04`, `2 days, 0:00:00`. One that is less than nothing
/// (`-1 day, 23:59:58`), as where two clocks differ, is nothing.
///
/// Source: <https://docs.python.org/3/library/datetime.html#timedelta-objects>
fn timedelta(text: &str) -> Option<Duration> {
    let (days, time) = match text.split_once(", ") {
        Some((days, time)) => (days.split_once(" day")?.0.parse::<i64>().ok()?, time),
        None => (0, text),
    };
    let mut parts = time.split(':');
    let (hours, minutes) = (parts.next()?.parse::<u64>().ok()?, parts.next()?.parse::<u64>().ok()?);
    let seconds: f64 = parts.next()?.parse().ok().filter(|seconds: &f64| (0.0..60.0).contains(seconds))?;
    if parts.next().is_some() || hours > 23 || minutes > 59 {
        return None;
    }
    let Ok(days) = u64::try_from(days) else { return Some(Duration::ZERO) };
    let whole = days.checked_mul(86_400)?.checked_add(hours * 3600 + minutes * 60)?;
    Some(Duration::from_secs(whole) + Duration::from_secs_f64(seconds))
}

/// "2h 3m", "12m 3s", "4s".
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m {seconds}s"),
        (hours, minutes, _) => format!("{hours}h {minutes}m"),
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
