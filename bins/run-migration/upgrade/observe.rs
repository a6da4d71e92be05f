//! What the server and its databases hold: plain data, read in transactions that can't write.

use std::collections::{BTreeMap, BTreeSet};

use kit::{Cx, Failure};
use postgres::tokio_postgres::Error;
use postgres::{Session, Target};
use serde::Serialize;

use super::collation::{Collation, DEFAULT};
use super::rules::{Asks, Rule, Scope, types_query};
use crate::connection::{self, Limits};
use crate::ledger::{cells, rows};

/// The server.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Server {
    /// `server_version_num`.
    pub(super) version: u32,
    pub(super) version_text: String,
    /// The system identifier, where the role may ask for it.
    pub(super) system: Option<String>,
    /// When it was started, which is when it loaded the libraries that order text.
    pub(super) started: String,
    pub(super) in_recovery: bool,
    pub(super) role: String,
    pub(super) databases: Vec<Listed>,
}

/// A database as the server lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Listed {
    pub(super) name: String,
    /// Whether it takes connections.
    pub(super) open: bool,
    /// Whether the role may connect.
    pub(super) permitted: bool,
}

/// What lies in one database.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Seen {
    pub(super) oid: u32,
    pub(super) name: String,
    /// Those that something depends on, and the default.
    pub(super) collations: BTreeMap<u32, Collation>,
    pub(super) indexes: Vec<Index>,
    /// Tables partitioned by ranges of text.
    pub(super) ranges: Vec<Ranges>,
    /// Invalid indexes of partitioned tables: they become valid when a valid one is attached for each partition.
    pub(super) invalid_partitioned: Vec<String>,
    /// What the rules have found.
    pub(super) found: Vec<Found>,
    /// The schema of the extension amcheck.
    pub(super) amcheck: Option<String>,
    /// Whether the server has amcheck to install, and the role may.
    pub(super) amcheck_installable: bool,
}

/// An index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a column of the catalogue")]
pub(super) struct Index {
    pub(super) oid: u32,
    /// `schema.index`, as SQL names it.
    pub(super) name: String,
    pub(super) table: String,
    pub(super) method: String,
    pub(super) valid: bool,
    /// False while it is being dropped.
    pub(super) live: bool,
    pub(super) exclusion: bool,
    /// The file that it lies in: rebuilding gives it another one.
    pub(super) file: u32,
    pub(super) bytes: u64,
    pub(super) table_bytes: u64,
    /// Of a system table.
    pub(super) system: bool,
    /// Of a system table that all databases have in common.
    pub(super) shared: bool,
    /// Whether the role may rebuild it.
    pub(super) permitted: bool,
    /// What a `REINDEX CONCURRENTLY` that was broken off has left, beside the index that it was to rebuild.
    pub(super) leftover: bool,
    /// The oids of the collations that its order depends on.
    pub(super) collations: BTreeSet<u32>,
}

/// A table that is partitioned by ranges of text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Ranges {
    pub(super) table: String,
    pub(super) collations: BTreeSet<u32>,
}

/// What a rule has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Found {
    pub(super) rule: &'static str,
    pub(super) names: Vec<String>,
}

fn failed(session: &Session, attempt: &str) -> impl Fn(Error) -> Failure {
    move |error| session.failure(attempt, &error).untouched(true)
}

/// Asks one thing; a transaction that can't write is around it.
async fn ask(session: &Session, attempt: &str, query: &str) -> Result<Vec<Vec<String>>, Failure> {
    let answer = session.client.simple_query(query).await.map_err(failed(session, attempt))?;
    Ok(rows(&answer).collect())
}

async fn read_only(session: &Session) -> Result<(), Failure> {
    let begin = "BEGIN TRANSACTION READ ONLY; SET LOCAL search_path = pg_catalog";
    session.client.batch_execute(begin).await.map_err(failed(session, "begin to read"))
}

async fn end(session: &Session) -> Result<(), Failure> {
    session.client.batch_execute("COMMIT").await.map_err(failed(session, "end reading"))
}

/// Reads what is the server's.
pub(super) async fn server(session: &Session) -> Result<Server, Failure> {
    read_only(session).await?;
    let attempt = "list the databases";
    let query = "SELECT datname, datallowconn AND datconnlimit <> -2, has_database_privilege(oid, 'CONNECT') FROM pg_database ORDER BY datname";
    let found = ask(session, attempt, query).await?;
    let databases = found.into_iter().filter_map(|row| match <[String; 3]>::try_from(row) {
        Ok([name, open, permitted]) => Some(Listed { name, open: is(&open), permitted: is(&permitted) }),
        Err(_) => None,
    });
    let started =
        ask(session, attempt, "SELECT pg_postmaster_start_time()").await?.into_iter().flatten().next();
    end(session).await?;
    let identity = &session.identity;
    Ok(Server {
        version: identity.server_version.0,
        version_text: identity.server_version.to_string(),
        system: identity.system_identifier.clone(),
        started: started.unwrap_or_default(),
        in_recovery: identity.in_recovery,
        role: identity.user.clone(),
        databases: databases.collect(),
    })
}

fn is(cell: &str) -> bool {
    cell == "t"
}

fn oids(cell: &str) -> BTreeSet<u32> {
    cell.split(',').filter_map(|oid| oid.parse().ok()).collect()
}

fn some(cell: String) -> Option<String> {
    Some(cell).filter(|cell| !cell.is_empty())
}

/// Asks the rules of one scope.
pub(super) async fn found(
    session: &Session,
    rules: &[&'static Rule],
    scope: Scope,
) -> Result<Vec<Found>, Failure> {
    read_only(session).await?;
    let mut all = Vec::new();
    for rule in rules.iter().filter(|rule| rule.scope == scope) {
        let attempt = format!("look for {} in {}", rule.id, session.identity.database);
        let query = match rule.asks {
            Asks::Names(query) => query.to_owned(),
            Asks::Types(seed) => types_query(seed),
        };
        let names: Vec<String> = ask(session, &attempt, &query).await?.into_iter().flatten().collect();
        if !names.is_empty() {
            all.push(Found { rule: rule.id, names });
        }
    }
    end(session).await?;
    Ok(all)
}

/// Connects to a database of the server.
pub(super) async fn open(cx: &Cx, target: &Target, limits: Limits) -> Result<Session, Failure> {
    connection::connect(cx, target, limits).await
}

/// Reads what lies in the database of the session.
pub(super) async fn database(session: &Session, server: &Server) -> Result<Seen, Failure> {
    read_only(session).await?;
    let mut seen = Seen { name: session.identity.database.clone(), ..Seen::default() };
    let attempt = format!("read the indexes of {}", seen.name);
    let found = ask(session, &attempt, &indexes_query(server.version)).await?;
    seen.indexes = found.into_iter().filter_map(index).collect();
    let partitioned = "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
                       JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'I' AND NOT i.indisvalid ORDER BY 1";
    seen.invalid_partitioned = ask(session, &attempt, partitioned).await?.into_iter().flatten().collect();
    if server.version >= 100_000 {
        let ranges = "SELECT format('%I.%I', n.nspname, c.relname), \
                      (SELECT string_agg(DISTINCT coll::text, ',') FROM unnest(p.partcollation::oid[]) coll WHERE coll <> 0) \
                      FROM pg_partitioned_table p JOIN pg_class c ON c.oid = p.partrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
                      WHERE p.partstrat = 'r' ORDER BY 1";
        for row in ask(session, &attempt, ranges).await? {
            if let Ok([table, collations]) = <[String; 2]>::try_from(row)
                && !collations.is_empty()
            {
                seen.ranges.push(Ranges { table, collations: oids(&collations) });
            }
        }
    }
    let used: BTreeSet<u32> = seen
        .indexes
        .iter()
        .flat_map(|index| index.collations.iter().copied())
        .chain(seen.ranges.iter().flat_map(|ranges| ranges.collations.iter().copied()))
        .collect();
    let attempt = format!("read the collations of {}", seen.name);
    let (oid, default) = default_collation(session, &attempt, server.version).await?;
    seen.oid = oid;
    seen.collations.insert(DEFAULT, default);
    let others: Vec<String> = used.iter().filter(|oid| **oid != DEFAULT).map(u32::to_string).collect();
    if !others.is_empty() {
        for row in ask(session, &attempt, &collations_query(server.version, &others.join(","))).await? {
            if let Some(collation) = collation(row) {
                seen.collations.insert(collation.oid, collation);
            }
        }
    }
    let amcheck = "SELECT (SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'amcheck'), \
                   EXISTS (SELECT FROM pg_available_extensions WHERE name = 'amcheck') \
                   AND (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)";
    let mut amcheck =
        ask(session, &attempt, amcheck).await?.into_iter().next().unwrap_or_default().into_iter();
    seen.amcheck = amcheck.next().and_then(some);
    seen.amcheck_installable = amcheck.next().is_some_and(|cell| is(&cell));
    end(session).await?;
    Ok(seen)
}

/// Whether the index `i` with the row `c` is what a broken-off `REINDEX CONCURRENTLY` has left: an invalid one with the ending
/// that <https://www.postgresql.org/docs/current/sql-reindex.html#SQL-REINDEX-CONCURRENTLY> names, beside one that is the same.
const LEFTOVER: &str = "NOT i.indisvalid AND c.relname ~ '_cc(new|old)[0-9]*$' AND EXISTS (SELECT FROM pg_index o JOIN pg_class oc ON oc.oid = o.indexrelid \
   WHERE o.indrelid = i.indrelid AND o.indexrelid <> i.indexrelid AND oc.relname !~ '_cc(new|old)[0-9]*$' AND oc.relam = c.relam \
   AND o.indkey = i.indkey AND o.indclass = i.indclass AND o.indcollation = i.indcollation AND o.indoption = i.indoption \
   AND coalesce(pg_get_expr(o.indexprs, o.indrelid), '') = coalesce(pg_get_expr(i.indexprs, i.indrelid), '') \
   AND coalesce(pg_get_expr(o.indpred, o.indrelid), '') = coalesce(pg_get_expr(i.indpred, i.indrelid), ''))";

/// What broken-off runs have left on a table.
pub(super) async fn leftovers(session: &Session, table: &str) -> Result<Vec<String>, Failure> {
    let query = format!(
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE i.indrelid = to_regclass({}) AND {LEFTOVER}",
        literal(table)
    );
    let answer = session.client.simple_query(&query).await;
    let answer =
        answer.map_err(|error| session.failure(format!("look at the indexes of {table}"), &error))?;
    Ok(rows(&answer).flatten().collect())
}

/// The statement that finds the rows with the same key in an index that is to be unique, without using any index.
pub(super) async fn duplicates(session: &Session, name: &str) -> Option<String> {
    let query = format!(
        "SELECT k.keys, format('%I.%I', tn.nspname, t.relname), pg_get_expr(i.indpred, i.indrelid) FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid \
         JOIN pg_namespace tn ON tn.oid = t.relnamespace, LATERAL (SELECT \
         string_agg(pg_get_indexdef(i.indexrelid, n, true), ', ' ORDER BY n) FROM generate_series(1, i.indnkeyatts) n) k(keys) \
         WHERE i.indexrelid = to_regclass({})",
        literal(name)
    );
    let answer = session.client.simple_query(&query).await.ok()?;
    let [keys, table, predicate] = <[String; 3]>::try_from(cells(&answer)).ok()?;
    let filter = if predicate.is_empty() { String::new() } else { format!(" WHERE {predicate}") };
    Some(format!(
        "SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off; \
         SELECT {keys}, count(*), array_agg(ctid) FROM ONLY {table}{filter} GROUP BY {keys} HAVING count(*) > 1"
    ))
}

pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Every index with a file of its own. Beside the collations of its columns, it depends on those with which its expressions
/// compare, those of range and composite types, and with `jsonb` in a B-tree on the default.
fn indexes_query(version: u32) -> String {
    // From 17 on MAINTAIN lets a role rebuild what it does not own.
    let maintain = if version >= 170_000 { "OR has_table_privilege(t.oid, 'MAINTAIN')" } else { "" };
    format!(
        "SELECT i.indexrelid, format('%I.%I', n.nspname, c.relname), format('%I.%I', tn.nspname, t.relname), am.amname, \
         i.indisvalid AND i.indisready, i.indislive, i.indisexclusion, coalesce(pg_relation_filenode(c.oid), 0), \
         coalesce(pg_relation_size(c.oid), 0), coalesce(pg_relation_size(t.oid), 0), t.oid < 12000, t.relisshared, \
         (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) OR t.oid >= 12000 AND (pg_has_role(c.relowner, 'USAGE') {maintain}), \
         {LEFTOVER}, \
         (SELECT string_agg(DISTINCT d.coll::text, ',') FROM ( \
           SELECT unnest(i.indcollation::oid[]) \
           UNION SELECT m[1]::oid FROM regexp_matches(coalesce(i.indexprs::text, '') || coalesce(i.indpred::text, ''), ':inputcollid (\\d+)', 'g') m \
           UNION SELECT r.rngcollation FROM pg_attribute a JOIN pg_range r ON r.rngtypid = a.atttypid WHERE a.attrelid = i.indexrelid \
           UNION SELECT f.attcollation FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid AND y.typtype = 'c' \
             JOIN pg_attribute f ON f.attrelid = y.typrelid AND f.attnum > 0 AND NOT f.attisdropped WHERE a.attrelid = i.indexrelid \
           UNION SELECT {DEFAULT} FROM pg_attribute a WHERE a.attrelid = i.indexrelid AND a.atttypid = 'jsonb'::regtype AND am.amname = 'btree' \
         ) d(coll) WHERE d.coll <> 0) \
         FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_am am ON am.oid = c.relam \
         JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace tn ON tn.oid = t.relnamespace \
         WHERE c.relkind = 'i' AND c.relpersistence <> 't' ORDER BY 3, 2"
    )
}

fn index(row: Vec<String>) -> Option<Index> {
    let [
        oid,
        name,
        table,
        method,
        valid,
        live,
        exclusion,
        file,
        bytes,
        table_bytes,
        system,
        shared,
        permitted,
        leftover,
        collations,
    ] = <[String; 15]>::try_from(row).ok()?;
    Some(Index {
        oid: oid.parse().ok()?,
        name,
        table,
        method,
        valid: is(&valid),
        live: is(&live),
        exclusion: is(&exclusion),
        file: file.parse().ok()?,
        bytes: bytes.parse().unwrap_or_default(),
        table_bytes: table_bytes.parse().unwrap_or_default(),
        system: is(&system),
        shared: is(&shared),
        permitted: is(&permitted),
        leftover: is(&leftover),
        collations: oids(&collations),
    })
}

/// The database's oid and its default collation. Before 15 it is the C library's, and no version of it is kept.
async fn default_collation(
    session: &Session,
    attempt: &str,
    version: u32,
) -> Result<(u32, Collation), Failure> {
    let columns = match version {
        0..150_000 => "'c', datcollate, '', ''",
        150_000..170_000 => {
            "datlocprovider, CASE datlocprovider WHEN 'i' THEN daticulocale ELSE datcollate END, datcollversion, \
             pg_database_collation_actual_version(oid)"
        }
        _ => {
            "datlocprovider, CASE datlocprovider WHEN 'c' THEN datcollate ELSE datlocale END, datcollversion, \
             pg_database_collation_actual_version(oid)"
        }
    };
    let query = format!(
        "SELECT {DEFAULT}, 'default', {columns}, pg_has_role(datdba, 'USAGE'), oid FROM pg_database WHERE datname = current_database()"
    );
    let mut row = ask(session, attempt, &query).await?.into_iter().next().unwrap_or_default();
    let oid = row.pop().and_then(|oid| oid.parse().ok());
    oid.zip(collation(row)).ok_or_else(|| {
        Failure::failed(attempt).because("the server does not list the database it is in").untouched(true)
    })
}

fn collations_query(version: u32, oids: &str) -> String {
    let columns = match version {
        0..100_000 => "'c', c.collcollate, '', ''",
        100_000..150_000 => {
            "c.collprovider, c.collcollate, c.collversion, pg_collation_actual_version(c.oid)"
        }
        150_000..170_000 => {
            "c.collprovider, coalesce(c.collcollate, c.colliculocale), c.collversion, pg_collation_actual_version(c.oid)"
        }
        _ => {
            "c.collprovider, coalesce(c.collcollate, c.colllocale), c.collversion, pg_collation_actual_version(c.oid)"
        }
    };
    format!(
        "SELECT c.oid, format('%I.%I', n.nspname, c.collname), {columns}, pg_has_role(c.collowner, 'USAGE') \
         FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace WHERE c.oid IN ({oids})"
    )
}

fn collation(row: Vec<String>) -> Option<Collation> {
    let [oid, name, provider, locale, recorded, actual, owned] = <[String; 7]>::try_from(row).ok()?;
    Some(Collation {
        oid: oid.parse().ok()?,
        name,
        provider: provider.chars().next()?,
        locale,
        recorded: some(recorded),
        actual: some(actual),
        owned: is(&owned),
    })
}

/// The file of an index and whether it is valid, or none when there is no such index.
pub(super) async fn state(session: &Session, name: &str) -> Result<Option<(u32, bool)>, Failure> {
    let query = format!(
        "SELECT coalesce(pg_relation_filenode(indexrelid), 0), indisvalid AND indisready AND indislive FROM pg_index \
         WHERE indexrelid = to_regclass({})",
        literal(name)
    );
    let answer = session.client.simple_query(&query).await;
    let found = cells(&answer.map_err(|error| session.failure(format!("look at the index {name}"), &error))?);
    Ok(match found.as_slice() {
        [file, valid] => Some((file.parse().unwrap_or_default(), is(valid))),
        _ => None,
    })
}
