//! Counts the rows of every table in the snapshot of the dump, while it runs.

use std::collections::BTreeMap;

use kit::{Cx, Failure};
use postgres::tokio_postgres::SimpleQueryMessage;
use postgres::{Session, Target};
use serde::Serialize;

use crate::catalogue::{all, text};
use crate::sql::{identifier, literal};

/// What is known of the number of rows in each table, by qualified name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Rows {
    /// Counted.
    pub(crate) exact: BTreeMap<String, u64>,
    /// As the server estimates: above the limit of what is counted.
    pub(crate) estimated: BTreeMap<String, u64>,
    /// Why a table that should have been counted was not.
    pub(crate) unknown: BTreeMap<String, String>,
}

impl Rows {
    /// Puts the tables that were not reached in their place.
    pub(crate) fn give_up(&mut self, tables: &[Table], why: &str) {
        for table in tables {
            let known = self.exact.contains_key(&table.name) || self.estimated.contains_key(&table.name);
            if !known {
                self.unknown.entry(table.name.clone()).or_insert_with(|| why.to_owned());
            }
        }
    }
}

/// A table that holds rows of its own: an ordinary one or a partition. A parent holds none, a foreign one's are elsewhere,
/// and what a materialized view holds is computed anew by a restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) oid: u32,
    pub(crate) name: String,
    /// As a `FROM` wants it.
    from: String,
    /// Where the server has one.
    pub(crate) estimate: Option<u64>,
    /// The file that holds it as the snapshot sees the catalogue.
    file: u32,
    /// Why it can't be counted.
    barred: Option<String>,
}

/// The tables of the session's transaction, the smallest first.
///
/// The estimate is the planner's: rows a page when the table was last analysed, times the pages that it has now
/// (<https://www.postgresql.org/docs/current/row-estimation-examples.html>).
pub(crate) async fn tables(session: &Session) -> Result<Vec<Table>, Failure> {
    let rows = all(
        session,
        "list the tables to count",
        "SELECT c.oid, n.nspname, c.relname, c.relfilenode, \
         CASE WHEN pg_relation_size(c.oid) = 0 THEN 0 \
         WHEN c.reltuples > 0 AND c.relpages > 0 THEN round(c.reltuples::numeric / c.relpages \
         * (pg_relation_size(c.oid) / current_setting('block_size')::bigint)) END, \
         has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'), \
         c.relpersistence = 'u' AND pg_is_in_recovery() \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind = 'r' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' \
         AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid \
         AND d.deptype = 'e')",
    )
    .await?;
    let mut tables: Vec<Table> = rows
        .iter()
        .filter_map(|row| {
            let (schema, name) = (text(row, 1)?, text(row, 2)?);
            let barred = if text(row, 6) == Some("t") {
                Some("it is unlogged, and a standby has no rows of such a table")
            } else if text(row, 5) != Some("t") {
                Some("the role may not read it")
            } else {
                None
            };
            Some(Table {
                oid: text(row, 0)?.parse().ok()?,
                name: postgres::manifest::qualified(schema, name),
                from: format!("{}.{}", identifier(schema), identifier(name)),
                estimate: text(row, 4).and_then(|rows| rows.parse().ok()),
                file: text(row, 3)?.parse().ok()?,
                barred: barred.map(str::to_owned),
            })
        })
        .collect();
    tables.sort_by(|a, b| {
        (a.estimate.unwrap_or(u64::MAX), &a.name).cmp(&(b.estimate.unwrap_or(u64::MAX), &b.name))
    });
    Ok(tables)
}

/// A second session in the snapshot of the first.
///
/// Source: <https://www.postgresql.org/docs/current/sql-set-transaction.html>
pub(crate) async fn join(cx: &Cx, target: &Target, snapshot: &str) -> Result<Session, Failure> {
    let session = postgres::connect(cx, target).await?;
    let begin = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}; {QUIET}",
        literal(snapshot)
    );
    if let Err(error) = session.client.batch_execute(&begin).await {
        return Err(session.failure("join the snapshot of the dump", &error));
    }
    Ok(session)
}

/// One process of the server, which no setting ends early; a row that a policy hides is an error instead of one row less;
/// and it gives way to whoever wants to change a table.
const QUIET: &str = "SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL statement_timeout = 0; \
                     SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL row_security = off; \
                     SET LOCAL lock_timeout = '10s'";

/// Counts one table after the other into `rows`, which holds what was counted whenever this is dropped.
///
/// Tables with more than `limit` rows, as the server estimates, are left at the estimate.
pub(crate) async fn count(session: &Session, tables: &[Table], limit: u64, rows: &std::sync::Mutex<Rows>) {
    let rows = || rows.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for table in tables {
        let name = || table.name.clone();
        if let Some(why) = &table.barred {
            rows().unknown.insert(name(), why.clone());
            continue;
        }
        let counted = async {
            let estimate = match table.estimate {
                Some(estimate) => estimate,
                None => planned(session, table).await?,
            };
            if estimate > limit { Ok((estimate, false)) } else { Ok((exactly(session, table).await?, true)) }
        };
        if session.client.batch_execute("SAVEPOINT counting").await.is_err() {
            return;
        }
        let counted: Result<(u64, bool), String> = counted.await;
        let end =
            if counted.is_ok() { "RELEASE SAVEPOINT counting" } else { "ROLLBACK TO SAVEPOINT counting" };
        match counted {
            Ok((exact, true)) => {
                rows().exact.insert(name(), exact);
            }
            Ok((estimate, false)) => {
                rows().estimated.insert(name(), estimate);
            }
            Err(why) => {
                rows().unknown.insert(name(), why);
            }
        }
        if session.client.batch_execute(end).await.is_err() {
            return;
        }
    }
}

/// The planner's estimate of a table that was never analysed.
async fn planned(session: &Session, table: &Table) -> Result<u64, String> {
    let plan = simple(session, &format!("EXPLAIN SELECT FROM ONLY {}", table.from)).await?;
    let rows = plan
        .first()
        .and_then(|row| text(row, 0))
        .and_then(|line| line.split_once("rows=")?.1.split(' ').next()?.parse().ok());
    rows.ok_or_else(|| "the server gives no estimate".to_owned())
}

/// The number of rows.
///
/// `TRUNCATE` and rewriting `ALTER TABLE`s are not seen as the snapshot sees rows
/// (<https://www.postgresql.org/docs/current/mvcc-caveats.html>): a table that has another file by now is not what it was.
/// The count holds a lock that keeps its file as it is, and `pg_relation_filenode` says what it is now.
async fn exactly(session: &Session, table: &Table) -> Result<u64, String> {
    let query = format!("SELECT count(*), pg_relation_filenode({}) FROM ONLY {}", table.oid, table.from);
    let answer = simple(session, &query).await?;
    let row = answer.first().ok_or("the server gave no answer")?;
    if text(row, 1).and_then(|file| file.parse().ok()) != Some(table.file) {
        return Err("it was truncated or rewritten when the dump began".to_owned());
    }
    text(row, 0).and_then(|rows| rows.parse().ok()).ok_or_else(|| "the server gave no number".to_owned())
}

async fn simple(session: &Session, query: &str) -> Result<Vec<Vec<Option<String>>>, String> {
    match session.client.simple_query(query).await {
        Ok(messages) => Ok(messages
            .iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => {
                    Some((0..row.len()).map(|n| row.get(n).map(str::to_owned)).collect())
                }
                _ => None,
            })
            .collect()),
        Err(error) => Err(session.failure("", &error).chain().join(": ")),
    }
}
