//! The front's own paths, for other processes.

use http::{Method, StatusCode, request};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::fault::Fault;
use super::forward::Body;
use super::request::{Answer, pairs};
use super::serve::{State, response};

pub(super) async fn answer(state: &State, head: &request::Parts, body: Incoming) -> http::Response<Body> {
    let answer = match (&head.method, head.uri.path()) {
        (&Method::GET, "/_front/health") => Ok(json!({ "status": "ok" })),
        (&Method::GET, "/_front/calls") => calls(state, head.uri.query().unwrap_or_default()),
        (&Method::GET, "/_front/unmatched") => Ok(json!(state.record.unmatched())),
        (&Method::GET, "/_front/faults") => Ok(json!(state.faults.list())),
        (&Method::POST, "/_front/faults") => match body.collect().await {
            Ok(body) => add_faults(state, &body.to_bytes()),
            Err(error) => Err(format!("the body could not be read: {error}")),
        },
        (&Method::DELETE, "/_front/faults") => {
            state.faults.replace(Vec::new());
            Ok(json!({ "faults": 0 }))
        }
        (&Method::GET, "/_front/held") => Ok(json!(state.faults.held())),
        (&Method::POST, "/_front/release") => Ok(json!({ "released": state.faults.release(None) })),
        (method, path) => Err(format!("the front has no {method} {path}")),
    };
    response(match answer {
        Ok(value) => json_answer(&value),
        Err(reason) => json_answer(&json!({ "error": reason })).status(StatusCode::BAD_REQUEST),
    })
}

/// `?since=N` leaves out the calls up to that sequence number.
fn calls(state: &State, query: &str) -> Result<Value, String> {
    let since =
        pairs(query).into_iter().find(|(name, _)| name == "since").map_or("0".to_owned(), |(_, value)| value);
    let since: u64 = since.parse().map_err(|_| format!("since={since} is no number"))?;
    let calls: Vec<_> = state.record.calls().into_iter().filter(|call| call.sequence > since).collect();
    Ok(json!(calls))
}

/// One fault or a list of them, added to those present.
fn add_faults(state: &State, body: &[u8]) -> Result<Value, String> {
    let value: Value =
        serde_json::from_slice(body).map_err(|error| format!("the body is no JSON: {error}"))?;
    let faults = match value {
        Value::Array(values) => values,
        value => vec![value],
    };
    let faults = faults
        .into_iter()
        .map(serde_json::from_value::<Fault>)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("the body is no fault: {error}"))?;
    for fault in faults {
        state.faults.add(fault);
    }
    Ok(json!({ "faults": state.faults.list().len() }))
}

fn json_answer(value: &Value) -> Answer {
    Answer::default().with(http::header::CONTENT_TYPE, "application/json").body(value.to_string())
}
