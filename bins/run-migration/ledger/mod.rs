//! The ledger: a table of the database that says which migrations it has, and how far a file is that takes more than one
//! transaction.

mod lock;
pub(crate) mod progress;
pub(crate) mod sqlx;

use std::fmt;

use kit::Failure;
use postgres::Session;
use postgres::tokio_postgres::{Error, SimpleQueryMessage};
use sha2::{Digest as _, Sha256};

pub(crate) use self::lock::lock;
pub(crate) use self::progress::{Progress, Stage};

/// The ledger's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ledger {
    /// This step's own.
    Own { schema: String, table: String },
    /// sqlx's, in the schema that [`Ledger::find`] finds.
    Sqlx { schema: String },
}

/// `schema.table`, both plain names, or `sqlx`.
pub(crate) fn parse_ledger(text: &str) -> Result<Ledger, String> {
    let plain = |name: &str| {
        // The table of what is unfinished has a longer name.
        name.len() <= 50
            && name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    if text == "sqlx" {
        return Ok(Ledger::Sqlx { schema: "public".to_owned() });
    }
    match text.split_once('.') {
        Some((schema, table)) if plain(schema) && plain(table) => {
            Ok(Ledger::Own { schema: schema.to_owned(), table: table.to_owned() })
        }
        _ => {
            Err("write it as schema.table, in lower-case letters, digits and underscores, or as sqlx"
                .to_owned())
        }
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own { schema, table } => write!(f, "{schema}.{table}"),
            Self::Sqlx { schema } => write!(f, "{schema}.{}", sqlx::TABLE),
        }
    }
}

/// A line of the ledger to write.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    pub(crate) version: &'a str,
    pub(crate) name: &'a str,
    /// In hexadecimal.
    pub(crate) checksum: &'a str,
    /// Of the file that takes it back.
    pub(crate) down_checksum: Option<&'a str>,
    pub(crate) duration: std::time::Duration,
    pub(crate) run: &'a str,
    pub(crate) baseline: bool,
}

impl Ledger {
    fn names(&self) -> (&str, &str) {
        match self {
            Self::Own { schema, table } => (schema, table),
            Self::Sqlx { schema } => (schema, sqlx::TABLE),
        }
    }

    pub(crate) fn schema(&self) -> String {
        format!("\"{}\"", self.names().0.replace('"', "\"\""))
    }

    /// Both parts quoted, since a plain name can still be a key word.
    pub(crate) fn quoted(&self) -> String {
        format!("{}.\"{}\"", self.schema(), self.names().1)
    }

    /// The table of what is unfinished.
    pub(crate) fn progress(&self) -> String {
        match self {
            Self::Own { table, .. } => format!("{}.\"{table}_progress\"", self.schema()),
            Self::Sqlx { .. } => format!("{}.\"_cutover_progress\"", self.schema()),
        }
    }

    /// The table of the indexes that `--action reindex` has rebuilt.
    pub(crate) fn reindexed(&self) -> String {
        format!("{}.\"{}_reindexed\"", self.schema(), self.names().1)
    }

    /// sqlx's table is where the search path has it, and is made in the first schema of it.
    pub(crate) async fn find(self, session: &Session) -> Result<Self, Failure> {
        if let Self::Own { .. } = self {
            return Ok(self);
        }
        let attempt = format!("find the table {}", sqlx::TABLE);
        let found = session.client.simple_query(sqlx::SCHEMA_QUERY).await;
        let found = cells(&found.map_err(|error| session.failure(&attempt, &error).untouched(true))?);
        match found.into_iter().next() {
            Some(schema) if !schema.is_empty() => Ok(Self::Sqlx { schema }),
            _ => Err(Failure::refused(attempt)
                .because("no schema of the role's search_path exists")
                .help("ALTER ROLE ... SET search_path, or create the schema")),
        }
    }

    /// Whether the schema, the table, its newest column and the table of what is unfinished exist.
    pub(crate) fn exists_query(&self) -> String {
        let literal = |text: &str| text.replace('\'', "''");
        format!(
            "SELECT to_regnamespace('{0}') IS NOT NULL, to_regclass('{1}') IS NOT NULL, \
             EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('{1}') AND attname = 'down_checksum' AND NOT attisdropped), \
             to_regclass('{2}') IS NOT NULL",
            literal(&self.schema()),
            literal(&self.quoted()),
            literal(&self.progress())
        )
    }

    /// Version, name, checksum, time, run, baseline, checksum of the way back, success.
    pub(crate) fn rows_query(&self, newest: bool) -> String {
        match self {
            Self::Own { .. } => format!(
                "SELECT version, name, checksum, applied_at::text, run, baseline, {}, true FROM {} ORDER BY applied_at, version",
                if newest { "down_checksum" } else { "NULL" },
                self.quoted()
            ),
            Self::Sqlx { .. } => sqlx::rows_query(&self.quoted()),
        }
    }

    /// The statements that make it. `CREATE SCHEMA IF NOT EXISTS` would need the right to make one even where it exists.
    pub(crate) fn create(&self, with_schema: bool) -> String {
        match self {
            Self::Own { .. } => {
                let schema =
                    if with_schema { format!("CREATE SCHEMA {};", self.schema()) } else { String::new() };
                format!(
                    "{schema} CREATE TABLE {} (\
                     version text PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, \
                     applied_at timestamptz NOT NULL DEFAULT clock_timestamp(), duration_ms bigint NOT NULL, \
                     run text NOT NULL, baseline boolean NOT NULL DEFAULT false, down_checksum text)",
                    self.quoted()
                )
            }
            Self::Sqlx { .. } => sqlx::create(&self.quoted()),
        }
    }

    /// Gives a ledger of an earlier version of this step the column that it lacks.
    pub(crate) fn widen(&self) -> String {
        format!("ALTER TABLE {} ADD COLUMN IF NOT EXISTS down_checksum text", self.quoted())
    }

    /// Writes a line.
    pub(crate) async fn write(&self, session: &Session, line: &Line<'_>) -> Result<(), Error> {
        match self {
            Self::Own { .. } => {
                let insert = format!(
                    "INSERT INTO {} (version, name, checksum, duration_ms, run, baseline, down_checksum) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7)",
                    self.quoted()
                );
                let ms = i64::try_from(line.duration.as_millis()).unwrap_or(i64::MAX);
                session
                    .client
                    .execute(
                        &insert,
                        &[
                            &line.version,
                            &line.name,
                            &line.checksum,
                            &ms,
                            &line.run,
                            &line.baseline,
                            &line.down_checksum,
                        ],
                    )
                    .await
                    .map(|_| ())
            }
            Self::Sqlx { .. } => sqlx::write(session, &self.quoted(), line).await,
        }
    }

    /// Takes the line of a version away.
    pub(crate) fn remove(&self, version: &str) -> String {
        match self {
            Self::Own { .. } => {
                format!("DELETE FROM {} WHERE version = '{}'", self.quoted(), version.replace('\'', "''"))
            }
            Self::Sqlx { .. } => {
                format!("DELETE FROM {} WHERE version = {}", self.quoted(), sqlx::number(version))
            }
        }
    }

    /// A version as a person writes it: sqlx's are numbers, whose leading zeros are only in the names of files.
    pub(crate) fn version(&self, given: &str) -> String {
        match (self, given.parse::<i64>()) {
            (Self::Sqlx { .. }, Ok(number)) => number.to_string(),
            _ => given.to_owned(),
        }
    }

    /// Whether the line of a version is there.
    pub(crate) fn has_query(&self, version: &str) -> String {
        match self {
            Self::Own { .. } => {
                format!("SELECT 1 FROM {} WHERE version = '{}'", self.quoted(), version.replace('\'', "''"))
            }
            Self::Sqlx { .. } => {
                format!(
                    "SELECT 1 FROM {} WHERE version = {} AND success",
                    self.quoted(),
                    sqlx::number(version)
                )
            }
        }
    }

    /// The key of the advisory lock: for the step's own ledger the same for every run on it and unlikely to be another
    /// program's, for sqlx's the one that sqlx takes.
    pub(crate) fn lock_key(&self, database: &str) -> i64 {
        if let Self::Sqlx { .. } = self {
            return sqlx::lock_key(database);
        }
        let digest = Sha256::digest(format!("cutover run-migration {self}"));
        i64::from_be_bytes(std::array::from_fn(|n| digest.get(n).copied().unwrap_or_default()))
    }
}

/// The cells of the first row; NULL is empty.
pub(crate) fn cells(messages: &[SimpleQueryMessage]) -> Vec<String> {
    rows(messages).next().unwrap_or_default()
}

/// The cells of every row; NULL is empty.
pub(crate) fn rows(messages: &[SimpleQueryMessage]) -> impl Iterator<Item = Vec<String>> {
    messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|n| row.get(n).unwrap_or_default().to_owned()).collect())
        }
        _ => None,
    })
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
