//! How far a file is that is not run in one transaction: one line, beside the ledger, until the file has ended.

use kit::Failure;
use postgres::Session;
use serde::Serialize;

use super::{Ledger, rows};
use crate::files::Way;

/// What is known of the statement after the last one that has surely taken effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Stage {
    /// Not sent yet.
    Ready,
    /// Sent; no answer was recorded.
    Sent,
    /// It failed.
    Failed,
}

impl Stage {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Sent => "sent",
            Self::Failed => "failed",
        }
    }
}

/// A file that has begun and not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Progress {
    pub(crate) version: String,
    pub(crate) way: Way,
    pub(crate) name: String,
    /// The number of statements that have taken effect.
    pub(crate) done: usize,
    /// [`crate::files::prefix`] of these.
    pub(crate) prefix: String,
    pub(crate) stage: Stage,
    /// The text of the statement that was sent or failed.
    pub(crate) statement: String,
    pub(crate) run: String,
    pub(crate) began: String,
}

/// The SQL that makes the table.
pub(crate) fn create(ledger: &Ledger) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {} (version text PRIMARY KEY, way text NOT NULL, name text NOT NULL, done int NOT NULL, \
         prefix text NOT NULL, stage text NOT NULL CHECK (stage IN ('ready', 'sent', 'failed')), statement text NOT NULL, \
         run text NOT NULL, began timestamptz NOT NULL DEFAULT clock_timestamp(), \
         changed timestamptz NOT NULL DEFAULT clock_timestamp())",
        ledger.progress()
    )
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The SQL that writes the line of a file that begins.
pub(crate) fn begin(ledger: &Ledger, version: &str, way: Way, name: &str, prefix: &str, run: &str) -> String {
    format!(
        "INSERT INTO {} (version, way, name, done, prefix, stage, statement, run) VALUES ({}, '{}', {}, 0, '{prefix}', 'ready', '', {})",
        ledger.progress(),
        literal(version),
        way.word(),
        literal(name),
        literal(run)
    )
}

/// The SQL that moves the line on.
pub(crate) fn set(
    ledger: &Ledger,
    version: &str,
    (done, prefix): (usize, &str),
    stage: Stage,
    statement: &str,
) -> String {
    format!(
        "UPDATE {} SET done = {done}, prefix = '{prefix}', stage = '{}', statement = {}, changed = clock_timestamp() WHERE version = {}",
        ledger.progress(),
        stage.word(),
        escape(statement),
        literal(version)
    )
}

/// A literal of a text that may hold backslashes, which means the same whatever `standard_conforming_strings` is.
fn escape(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// The SQL that takes the line away.
pub(crate) fn remove(ledger: &Ledger, version: &str) -> String {
    format!("DELETE FROM {} WHERE version = {}", ledger.progress(), literal(version))
}

/// Reads the lines.
pub(crate) async fn read(session: &Session, ledger: &Ledger) -> Result<Vec<Progress>, Failure> {
    let query = format!(
        "SELECT version, way, name, done, prefix, stage, statement, run, began::timestamptz(0)::text FROM {} ORDER BY began",
        ledger.progress()
    );
    let attempt = format!("read {}", ledger.progress());
    let answer = session.client.simple_query(&query).await;
    let answer = answer.map_err(|error| session.failure(&attempt, &error).untouched(true))?;
    rows(&answer)
        .map(|cells| match cells.as_slice() {
            [version, way, name, done, prefix, stage, statement, run, began] => Ok(Progress {
                version: version.clone(),
                way: if way == "down" { Way::Down } else { Way::Up },
                name: name.clone(),
                done: done.parse().map_err(|_| {
                    Failure::failed(&attempt).because(format!("{done:?} is no number")).untouched(true)
                })?,
                prefix: prefix.clone(),
                stage: match stage.as_str() {
                    "ready" => Stage::Ready,
                    "failed" => Stage::Failed,
                    _ => Stage::Sent,
                },
                statement: statement.clone(),
                run: run.clone(),
                began: began.clone(),
            }),
            other => Err(Failure::failed(&attempt).because(format!("it has {} columns", other.len()))),
        })
        .collect()
}
