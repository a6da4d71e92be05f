//! What a database consists of, as its catalogue says within the session's transaction.

use std::collections::BTreeMap;

use kit::Failure;
use postgres::tokio_postgres::SimpleQueryMessage;
use postgres::{Locale, Session};

use crate::verify::Tables;

/// Rows of text.
pub(crate) type Rows = Vec<Vec<Option<String>>>;

/// Every column of a query's rows.
pub(crate) async fn all(session: &Session, attempt: &str, query: &str) -> Result<Rows, Failure> {
    let messages =
        session.client.simple_query(query).await.map_err(|error| session.failure(attempt, &error))?;
    Ok(messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|n| row.get(n).map(str::to_owned)).collect())
            }
            _ => None,
        })
        .collect())
}

/// The first column of a query's rows.
pub(crate) async fn column(session: &Session, attempt: &str, query: &str) -> Result<Vec<String>, Failure> {
    let rows = all(session, attempt, query).await?;
    Ok(rows.into_iter().filter_map(|row| row.into_iter().next()).map(Option::unwrap_or_default).collect())
}

/// The first value of a query's first row.
pub(crate) async fn value(session: &Session, attempt: &str, query: &str) -> Result<Option<String>, Failure> {
    Ok(all(session, attempt, query)
        .await?
        .into_iter()
        .next()
        .and_then(|row| row.into_iter().next())
        .flatten())
}

/// Keeps the server from ending a session that is idle while programs work for hours: it holds a lock, or has the last word.
/// `idle_session_timeout` is there from 14 on
/// (<https://www.postgresql.org/docs/current/runtime-config-client.html#GUC-IDLE-SESSION-TIMEOUT>).
pub(crate) async fn stay(session: &Session) -> Result<(), Failure> {
    column(
        session,
        "keep the session open",
        "SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN ('idle_session_timeout', 'statement_timeout')",
    )
    .await
    .map(drop)
}

/// One value of a row.
pub(crate) fn text(row: &[Option<String>], column: usize) -> Option<&str> {
    row.get(column)?.as_deref()
}

/// What the manifest says of a database beside its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The number of objects of each kind.
    pub(crate) objects: BTreeMap<String, u64>,
    pub(crate) extensions: BTreeMap<String, String>,
    pub(crate) roles: Vec<String>,
    pub(crate) locale: Option<Locale>,
}

/// Belongs to nobody's extension, whose script makes it anew.
fn own(catalogue: &str, oid: &str) -> String {
    format!(
        "NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = '{catalogue}'::regclass AND d.objid = {oid} \
         AND d.deptype = 'e')"
    )
}

const OF_USERS: &str = "n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'";

/// The tables that a dump of this database must have: ordinary and partitioned ones that belong neither to the system nor to
/// an extension.
pub(crate) async fn tables(session: &Session) -> Result<Tables, Failure> {
    let oids = column(
        session,
        "list the tables",
        &format!(
            "SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind IN ('r', 'p') AND {OF_USERS} AND {}",
            own("pg_class", "c.oid")
        ),
    )
    .await?;
    Ok(Tables::of(oids.iter().filter_map(|oid| oid.parse().ok())))
}

/// How many objects of each kind there are, of those kinds that every version counts alike: a server of 18 has a constraint
/// for each `NOT NULL`, and what a server makes itself for partitions has changed more than once.
pub(crate) async fn objects(session: &Session) -> Result<BTreeMap<String, u64>, Failure> {
    let number = session.identity.server_version.0;
    let parents = |column: &str, since: u32| {
        if number >= since { format!("AND {column} = 0") } else { String::new() }
    };
    let (no_parent, no_trigger_parent) =
        (parents("k.conparentid", 110_000), parents("t.tgparentid", 130_000));
    let query = format!(
        "SELECT kind, count(*) FROM ( \
         SELECT CASE c.relkind WHEN 'r' THEN 'tables' WHEN 'p' THEN 'partitioned-tables' WHEN 'S' THEN 'sequences' \
         WHEN 'v' THEN 'views' WHEN 'm' THEN 'materialized-views' WHEN 'f' THEN 'foreign-tables' END AS kind \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'p', 'S', 'v', 'm', 'f') AND {OF_USERS} AND {of_class} \
         UNION ALL SELECT 'indexes' FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
         JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE (i.indisvalid OR c.relkind = 'I') AND i.indisready AND {OF_USERS} AND {of_class} \
         UNION ALL SELECT CASE k.contype WHEN 'f' THEN 'foreign-keys' ELSE 'constraints' END FROM pg_constraint k \
         JOIN pg_namespace n ON n.oid = k.connamespace \
         WHERE k.contype IN ('p', 'u', 'f', 'c', 'x') AND {OF_USERS} AND {of_constraint} {no_parent} \
         UNION ALL SELECT 'functions' FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
         WHERE {OF_USERS} AND {of_function} \
         AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'i') \
         UNION ALL SELECT 'triggers' FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid \
         JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE NOT t.tgisinternal AND {OF_USERS} AND {of_class} {no_trigger_parent} \
         UNION ALL SELECT 'policies' FROM pg_policy \
         UNION ALL SELECT 'schemas' FROM pg_namespace n WHERE {OF_USERS} AND n.nspname <> 'public' AND {of_schema} \
         UNION ALL SELECT 'large-objects' FROM pg_largeobject_metadata \
         UNION ALL SELECT 'extensions' FROM pg_extension WHERE extname <> 'plpgsql' \
         ) counted GROUP BY kind",
        of_class = own("pg_class", "c.oid"),
        of_constraint = own("pg_constraint", "k.oid"),
        of_function = own("pg_proc", "p.oid"),
        of_schema = own("pg_namespace", "n.oid"),
    );
    let rows = all(session, "count the objects", &query).await?;
    Ok(rows.iter().filter_map(|row| Some((text(row, 0)?.to_owned(), text(row, 1)?.parse().ok()?))).collect())
}

/// Everything that the manifest says beside the rows.
pub(crate) async fn facts(session: &Session) -> Result<Facts, Failure> {
    let pairs = |rows: Rows| {
        rows.iter().filter_map(|row| Some((text(row, 0)?.to_owned(), text(row, 1)?.to_owned()))).collect()
    };
    let extensions = all(
        session,
        "list the extensions",
        "SELECT extname, extversion FROM pg_extension WHERE extname <> 'plpgsql'",
    )
    .await?;
    Ok(Facts {
        objects: objects(session).await?,
        extensions: pairs(extensions),
        roles: roles(session).await?,
        locale: locale(session).await?,
    })
}

/// The roles that own something in this database, or that privileges and policies in it name. What the first role owns is in
/// no list of dependencies, since that role can't be dropped
/// (<https://www.postgresql.org/docs/current/catalog-pg-shdepend.html>).
async fn roles(session: &Session) -> Result<Vec<String>, Failure> {
    column(
        session,
        "list the roles that the database depends on",
        &format!(
            "SELECT r.rolname FROM pg_roles r WHERE r.rolname !~ '^pg_' AND ( \
             r.oid IN (SELECT refobjid FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass AND dbid = \
             (SELECT oid FROM pg_database WHERE datname = current_database())) \
             OR r.oid = 10 AND EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relowner = 10 AND {OF_USERS})) ORDER BY 1"
        ),
    )
    .await
}

/// `pg_database` of 15 and later says which library a locale is of; of 17 and later it names the locale in one column.
async fn locale(session: &Session) -> Result<Option<Locale>, Failure> {
    let number = session.identity.server_version.0;
    let provider = if number >= 150_000 { "datlocprovider::text" } else { "'c'" };
    let locale = match number {
        170_000.. => "datlocale",
        150_000.. => "daticulocale",
        _ => "NULL",
    };
    let rows = all(
        session,
        "ask for the database's locale",
        &format!(
            "SELECT pg_encoding_to_char(encoding), datcollate, datctype, {provider}, {locale} FROM pg_database \
             WHERE datname = current_database()"
        ),
    )
    .await?;
    Ok(rows.first().and_then(|row| {
        let provider = match text(row, 3)? {
            "i" => "icu",
            "b" => "builtin",
            _ => "libc",
        };
        Some(Locale {
            encoding: text(row, 0)?.to_owned(),
            collate: text(row, 1)?.to_owned(),
            ctype: text(row, 2)?.to_owned(),
            provider: provider.to_owned(),
            locale: text(row, 4).filter(|_| provider != "libc").map(str::to_owned),
        })
    }))
}
