//! A run without a process, for tests of steps: the story is kept in memory, the receipt goes to a temporary folder.

use std::sync::Mutex;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cx::Inner;
use crate::journal::Journal;
use crate::report::Report;
use crate::{Cx, Env, Receipt, Step};

/// How long such a run goes on, in the (usually paused) time of the test.
pub const TIMEOUT: Duration = Duration::from_hours(1);

/// A run in no environment at all, at the time 2026-11-21T12:00:00Z.
pub fn cx() -> Cx {
    cx_in(Env::default())
}

/// A run in the given environment.
pub fn cx_in(env: Env) -> Cx {
    run_in(env, false, Vec::new())
}

/// A run of a whole step, which sets the outputs that it declares.
pub fn cx_of(step: &Step, env: Env, dry_run: bool) -> Cx {
    run_in(env, dry_run, step.outputs.iter().map(|output| output.name).collect())
}

fn run_in(env: Env, dry_run: bool, declared_outputs: Vec<&'static str>) -> Cx {
    let receipt = Receipt::new("test", "0", uuid::Uuid::new_v4().to_string(), clock());
    let path = std::env::temp_dir().join(format!("cutover-test-{}", receipt.run)).join("receipt.json");
    Cx::new(Inner {
        env,
        report: Report::in_memory("test"),
        dry_run,
        deadline: Instant::now() + TIMEOUT,
        clock,
        undo: None,
        cancelled: CancellationToken::new(),
        signal: Mutex::default(),
        journal: Mutex::new(Journal::new(path, receipt)),
        receipt_wanted: false,
        declared_outputs,
    })
}

fn clock() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_795_262_400).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
