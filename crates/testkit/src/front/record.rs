//! What was called, in memory and as lines of JSON.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

use super::Request;

/// Whether a call changes anything in AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Read,
    Write,
}

/// One call, as it was when it ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Order of arrival, from 1.
    pub sequence: u64,
    /// When it arrived.
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
    pub service: String,
    pub operation: String,
    pub region: String,
    pub access_key: String,
    /// What the client calls itself in its user agent (`app/cutover-backup-db`), if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    pub kind: Kind,
    /// The HTTP status answered; `None` where the connection was cut instead.
    pub status: Option<u16>,
    /// `amz-sdk-invocation-id`: the same for all attempts of one call.
    pub invocation: Option<String>,
    /// The attempt of `amz-sdk-request: attempt=1; max=3`.
    pub attempt: Option<u32>,
    /// Whether the emulator or a service got to see it.
    pub effect: bool,
    /// The fault injected, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// [`Request::content`].
    pub request: Value,
}

impl Call {
    /// `service:Operation`.
    pub fn name(&self) -> String {
        format!("{}:{}", self.service, self.operation)
    }

    pub(super) fn arriving(sequence: u64, request: &Request) -> Self {
        let attempt = request.header("amz-sdk-request").and_then(|text| {
            text.split(';').find_map(|part| part.trim().strip_prefix("attempt=")?.parse().ok())
        });
        Self {
            sequence,
            time: OffsetDateTime::now_utc(),
            service: request.service.clone(),
            operation: request.operation.clone(),
            region: request.region.clone(),
            access_key: request.access_key.clone(),
            app: app(request),
            kind: kind(request),
            status: None,
            invocation: request.header("amz-sdk-invocation-id").map(ToOwned::to_owned),
            attempt,
            effect: false,
            fault: None,
            request: request.content(),
        }
    }
}

/// Source: <https://docs.aws.amazon.com/sdkref/latest/guide/feature-appid.html>
fn app(request: &Request) -> Option<String> {
    let agents = ["user-agent", "x-amz-user-agent"].into_iter().filter_map(|name| request.header(name));
    agents.flat_map(str::split_whitespace).find_map(|word| word.strip_prefix("app/")).map(ToOwned::to_owned)
}

/// Judged by the verb of the operation's name, as AWS's own read-only policies are; S3 by method.
fn kind(request: &Request) -> Kind {
    const READING: [&str; 27] = [
        "Assume",
        "BatchCheck",
        "BatchGet",
        "Check",
        "Decode",
        "Decrypt",
        "Describe",
        "Detect",
        "Download",
        "Estimate",
        "Filter",
        "Generate",
        "Get",
        "Head",
        "List",
        "Lookup",
        "Poll",
        "Preview",
        "Query",
        "Scan",
        "Search",
        "Select",
        "Simulate",
        "StartLiveTail",
        "StartQuery",
        "TransactGet",
        "Validate",
    ];
    let is_read = if request.service == "s3" || request.operation.contains(' ') {
        request.method.is_safe() || request.operation == "SelectObjectContent"
    } else {
        READING.iter().any(|verb| request.operation.starts_with(verb))
    };
    if is_read { Kind::Read } else { Kind::Write }
}

#[derive(Default)]
struct Inner {
    calls: Vec<Call>,
    /// Forgotten ones too: `STEP SERVICE OPERATION`.
    all: BTreeSet<String>,
    unmatched: Vec<String>,
    file: Option<File>,
}

pub(super) struct Record {
    next: AtomicU64,
    inner: Mutex<Inner>,
}

impl Record {
    pub(super) fn open(path: Option<&Path>) -> io::Result<Self> {
        let file = path.map(|path| OpenOptions::new().create(true).append(true).open(path)).transpose()?;
        Ok(Self { next: AtomicU64::new(1), inner: Mutex::new(Inner { file, ..Inner::default() }) })
    }

    pub(super) fn next_sequence(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn add(&self, call: Call) -> io::Result<()> {
        let mut inner = self.lock();
        let written = match &mut inner.file {
            Some(file) => {
                let mut line = serde_json::to_vec(&call)?;
                line.push(b'\n');
                file.write_all(&line)
            }
            None => Ok(()),
        };
        if let Some(step) = call.app.as_deref().and_then(|app| app.strip_prefix("cutover-")) {
            inner.all.insert(format!("{step} {} {}", call.service, call.operation));
        }
        inner.calls.push(call);
        written
    }

    /// Appends each kind of call, by the step that made it, to a file of this process: `STEP SERVICE OPERATION`.
    pub(super) fn keep(&self) {
        let Some(folder) = std::env::var_os("CUTOVER_RECORD_DIR") else { return };
        let all = std::mem::take(&mut self.lock().all);
        let text: String = all.iter().map(|kind| format!("{kind}\n")).collect();
        let path = Path::new(&folder).join(format!("calls-{}.txt", std::process::id()));
        let written = OpenOptions::new().create(true).append(true).open(path);
        // What could not be kept is missed by the test that reads it.
        let _ = written.and_then(|mut file| file.write_all(text.as_bytes()));
    }

    pub(super) fn add_unmatched(&self, reason: String) {
        self.lock().unmatched.push(reason);
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        let mut calls = self.lock().calls.clone();
        calls.sort_by_key(|call| call.sequence);
        calls
    }

    pub(super) fn unmatched(&self) -> Vec<String> {
        self.lock().unmatched.clone()
    }

    pub(super) fn forget(&self) {
        let mut inner = self.lock();
        inner.calls.clear();
        inner.unmatched.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
