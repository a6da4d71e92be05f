//! Which indexes earlier runs have rebuilt: a table beside the ledger, in the database that was connected to.
//!
//! No catalogue says when or in which order an index was built. A line says it of one file of one index, and means nothing
//! once the index lies in another file: what else rebuilds an index does not have to know of the table.

use kit::Failure;
use postgres::Session;
use postgres::tokio_postgres::error::SqlState;

use super::plan::{Done, Item, Part, Reindex};
use crate::ledger::{Ledger, cells, rows};

/// The lines, or none where there is no table.
pub(super) async fn read(session: &Session, ledger: &Ledger) -> Result<Vec<Done>, Failure> {
    let query = format!(
        "SELECT system, database, index, file, server_version, orders FROM {} ORDER BY database, index",
        ledger.reindexed()
    );
    let answer = match session.client.simple_query(&query).await {
        Ok(answer) => answer,
        Err(error)
            if matches!(error.code(), Some(&SqlState::UNDEFINED_TABLE | &SqlState::INVALID_SCHEMA_NAME)) =>
        {
            return Ok(Vec::new());
        }
        Err(error) => {
            return Err(session.failure(format!("read {}", ledger.reindexed()), &error).untouched(true));
        }
    };
    let done = rows(&answer).filter_map(|row| match <[String; 6]>::try_from(row) {
        Ok([system, database, index, file, server_version, orders]) => Some(Done {
            system,
            database: database.parse().ok()?,
            index,
            file: file.parse().ok()?,
            server_version: server_version.parse().ok()?,
            orders,
        }),
        Err(_) => None,
    });
    Ok(done.collect())
}

/// Makes the table, unless it is there, and records its own indexes, which are new. `CREATE SCHEMA IF NOT EXISTS` would need
/// the right to make one even where it exists.
pub(super) async fn create(
    session: &Session,
    ledger: &Ledger,
    plan: &Reindex,
    run: &str,
) -> Result<(), Failure> {
    let attempt = format!("make the table {}", ledger.reindexed());
    let failed = |error| session.failure(&attempt, &error).untouched(true);
    let table = literal(&ledger.reindexed());
    let exists = format!(
        "SELECT to_regnamespace({}) IS NOT NULL, to_regclass({table}) IS NOT NULL",
        literal(&ledger.schema())
    );
    let exists = cells(&session.client.simple_query(&exists).await.map_err(failed)?);
    let is = |n: usize| exists.get(n).is_some_and(|cell| cell == "t");
    if is(1) {
        return Ok(());
    }
    let schema = if is(0) { String::new() } else { format!("CREATE SCHEMA {};", ledger.schema()) };
    let sql = format!(
        "{schema} CREATE TABLE {0} (system text NOT NULL, database oid NOT NULL, index text COLLATE \"C\" NOT NULL, file oid NOT NULL, \
         server_version int NOT NULL, orders text NOT NULL, run text NOT NULL, \
         rebuilt_at timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (database, index)); \
         INSERT INTO {0} (system, database, index, file, server_version, orders, run) \
         SELECT {1}, d.oid, format('%I.%I', n.nspname, c.relname), pg_relation_filenode(c.oid), {2}, '', {3} FROM pg_index i \
         JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_database d ON d.datname = current_database() \
         JOIN pg_class t ON t.oid = {table}::regclass AND i.indrelid IN (t.oid, t.reltoastrelid)",
        ledger.reindexed(),
        literal(&plan.system),
        plan.server_version,
        literal(run)
    );
    session.client.batch_execute(&sql).await.map_err(failed)
}

/// A literal that means the same whatever `standard_conforming_strings` is.
fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// The statement that records an index, which lies in `file` now.
pub(super) fn record(
    ledger: &Ledger,
    plan: &Reindex,
    part: &Part,
    item: &Item,
    file: u32,
    run: &str,
) -> String {
    format!(
        "INSERT INTO {} AS d (system, database, index, file, server_version, orders, run) \
         VALUES ({}, {}, {}, {file}, {}, {}, {}) ON CONFLICT (database, index) DO UPDATE SET system = excluded.system, \
         file = excluded.file, server_version = excluded.server_version, orders = excluded.orders, \
         run = excluded.run, rebuilt_at = clock_timestamp()",
        ledger.reindexed(),
        literal(&plan.system),
        part.oid,
        literal(&item.name),
        plan.server_version,
        literal(&item.orders),
        literal(run)
    )
}
