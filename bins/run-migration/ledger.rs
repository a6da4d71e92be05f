//! The ledger: a table of the database that says which migrations it has, and the lock under which it is written.

use std::fmt;
use std::time::Duration;

use kit::{Cx, Failure, Poll, Wait};
use postgres::Session;
use postgres::tokio_postgres::SimpleQueryMessage;
use sha2::{Digest as _, Sha256};

/// The ledger's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ledger {
    schema: String,
    table: String,
}

/// `schema.table`, both plain names.
pub(crate) fn parse_ledger(text: &str) -> Result<Ledger, String> {
    let plain = |name: &str| {
        name.len() <= 63
            && name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    match text.split_once('.') {
        Some((schema, table)) if plain(schema) && plain(table) => {
            Ok(Ledger { schema: schema.to_owned(), table: table.to_owned() })
        }
        _ => Err("write it as schema.table, in lower-case letters, digits and underscores".to_owned()),
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.table)
    }
}

impl Ledger {
    /// Both parts quoted, since a plain name can still be a key word.
    fn quoted(&self) -> String {
        format!("\"{}\".\"{}\"", self.schema, self.table)
    }

    /// Whether the schema and the table exist.
    pub(crate) fn exists_query(&self) -> String {
        format!(
            "SELECT to_regnamespace('\"{}\"') IS NOT NULL, to_regclass('{}') IS NOT NULL",
            self.schema,
            self.quoted()
        )
    }

    pub(crate) fn rows_query(&self) -> String {
        format!(
            "SELECT version, name, checksum, applied_at::text, run, baseline FROM {} ORDER BY applied_at, version",
            self.quoted()
        )
    }

    /// The statements that make it. `CREATE SCHEMA IF NOT EXISTS` would need the right to make one even where it exists.
    pub(crate) fn create(&self, with_schema: bool) -> String {
        let schema = if with_schema { format!("CREATE SCHEMA \"{}\";", self.schema) } else { String::new() };
        format!(
            "{schema} CREATE TABLE {} (\
             version text PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, \
             applied_at timestamptz NOT NULL DEFAULT clock_timestamp(), duration_ms bigint NOT NULL, \
             run text NOT NULL, baseline boolean NOT NULL DEFAULT false)",
            self.quoted()
        )
    }

    pub(crate) fn insert(&self) -> String {
        format!(
            "INSERT INTO {} (version, name, checksum, duration_ms, run, baseline) VALUES ($1, $2, $3, $4, $5, $6)",
            self.quoted()
        )
    }

    /// Whether the line of a version that a run wrote is there.
    pub(crate) fn has_query(&self) -> String {
        format!("SELECT FROM {} WHERE version = $1 AND run = $2", self.quoted())
    }

    /// The key of the advisory lock: the same for every run on this ledger, unlikely to be another program's.
    fn lock_key(&self) -> i64 {
        let digest = Sha256::digest(format!("cutover run-migration {self}"));
        i64::from_be_bytes(std::array::from_fn(|n| digest.get(n).copied().unwrap_or_default()))
    }
}

/// Takes the ledger's lock for the session, waiting for whoever holds it until the step's deadline.
///
/// It is a session lock (<https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS>): the server frees it
/// when the connection ends, however it ends.
pub(crate) async fn lock(cx: &Cx, session: &Session, ledger: &Ledger) -> Result<(), Failure> {
    let key = ledger.lock_key();
    let (high, low) = (key.cast_unsigned() >> 32, key.cast_unsigned() & u64::from(u32::MAX));
    let attempt = format!("take the lock of {ledger}");
    let what = format!("the lock of {ledger}");
    let ask = format!("SELECT pg_try_advisory_lock({key}), pg_backend_pid()");
    // https://www.postgresql.org/docs/current/view-pg-locks.html: the halves of a bigint key, and objsubid 1.
    let who = format!(
        "SELECT format('server process %s (%s as %s from %s, connected since %s)', a.pid, coalesce(nullif(a.application_name, ''), \
         'unnamed'), a.usename, coalesce(host(a.client_addr), 'the server itself'), a.backend_start::timestamptz(0)) \
         FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid WHERE l.locktype = 'advisory' AND l.granted AND l.classid = {high} \
         AND l.objid = {low} AND l.objsubid = 1 AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    );
    let pid = session.identity.backend_pid.to_string();
    cx.wait(Wait::until(&what, Duration::from_secs(1)), async || {
        let failed = |error| {
            let failure = session.failure(&attempt, &error).untouched(true);
            // A lost connection does not come back by asking again.
            if session.is_closed() { failure.transient(false) } else { failure }
        };
        let taken = cells(&session.client.simple_query(&ask).await.map_err(failed)?);
        if taken.get(1) != Some(&pid) {
            return Err(Failure::refused(&attempt)
                .because("two statements of this connection were answered by two server processes: it goes through a pooler")
                .help("connect to the database directly; behind a pooler in transaction mode a lock does not hold"));
        }
        if taken.first().map(String::as_str) == Some("t") {
            return Ok(Poll::Ready(()));
        }
        let holder = cells(&session.client.simple_query(&who).await.map_err(failed)?);
        Ok(Poll::Pending(match holder.first() {
            Some(holder) => format!("held by {holder}"),
            None => "held by another session".to_owned(),
        }))
    })
    .await
}

/// The cells of the first row; NULL is empty.
pub(crate) fn cells(messages: &[SimpleQueryMessage]) -> Vec<String> {
    messages
        .iter()
        .find_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|n| row.get(n).unwrap_or_default().to_owned()).collect())
            }
            _ => None,
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_is_a_plain_schema_and_table() {
        assert_eq!(parse_ledger("cutover.migrations").unwrap().to_string(), "cutover.migrations");
        for bad in ["migrations", "a.b.c", "A.b", "a.\"b\"", ".b", "a.", "1a.b", "a;b.c"] {
            assert!(parse_ledger(bad).is_err(), "{bad}");
        }
    }
}
