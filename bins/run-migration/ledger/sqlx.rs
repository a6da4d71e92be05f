//! The ledger of sqlx: its table, its names, its checksum and its lock.
//!
//! Source: `sqlx-postgres/src/migrate.rs` and `sqlx-core/src/migrate/source.rs` of <https://github.com/launchbadge/sqlx> at
//! 0.8 and 0.9: `CREATE TABLE _sqlx_migrations`, `INSERT` after the statements in the same transaction with an
//! `execution_time` of -1 that is set after the commit, `DELETE` when reverted; a line with `success = false` stops every run
//! ("dirty"). The checksum is the SHA-384 of the file that goes forward.

use postgres::Session;
use postgres::tokio_postgres::Error;

use super::Line;
use crate::files::stem;

pub(crate) const TABLE: &str = "_sqlx_migrations";

/// Where the search path has the table, else where it would be made.
pub(crate) const SCHEMA_QUERY: &str = "SELECT coalesce((SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.oid = to_regclass('_sqlx_migrations')), current_schema())";

/// The version of a file, when its name is one of sqlx's: a number, an underscore, a description.
pub(crate) fn version(name: &str) -> Result<i64, String> {
    let is_no = || {
        format!("{name} is no name of sqlx's, <VERSION>_<DESCRIPTION>.sql with a whole number as its version")
    };
    let (version, description) = name.split_once('_').ok_or_else(is_no)?;
    if !description.ends_with(".sql") {
        return Err(is_no());
    }
    version.parse().ok().filter(|version| *version > 0).ok_or_else(is_no)
}

fn description(name: &str) -> String {
    let (stem, _) = stem(name);
    stem.split_once('_').map(|(_, description)| description.replace('_', " ")).unwrap_or_default()
}

/// A version as it stands in SQL; what is no number matches nothing.
pub(crate) fn number(version: &str) -> i64 {
    version.parse().unwrap_or_default()
}

/// sqlx's own key: its constant times the CRC-32 of the database's name.
pub(crate) fn lock_key(database: &str) -> i64 {
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, database.as_bytes());
    0x3d32_ad9e_i64.wrapping_mul(i64::try_from(crc).unwrap_or_default())
}

pub(crate) fn create(table: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {table} (version BIGINT PRIMARY KEY, description TEXT NOT NULL, \
         installed_on TIMESTAMPTZ NOT NULL DEFAULT now(), success BOOLEAN NOT NULL, checksum BYTEA NOT NULL, \
         execution_time BIGINT NOT NULL)"
    )
}

pub(crate) fn rows_query(table: &str) -> String {
    format!(
        "SELECT version, description, encode(checksum, 'hex'), installed_on::text, '', false, NULL, success FROM {table} ORDER BY version"
    )
}

/// Writes the line of a migration that has ended well, in place of the one that said that it had begun.
pub(crate) async fn write(session: &Session, table: &str, line: &Line<'_>) -> Result<(), Error> {
    let insert = format!(
        "INSERT INTO {table} (version, description, success, checksum, execution_time) VALUES ($1, $2, true, decode($3, 'hex'), $4) \
         ON CONFLICT (version) DO UPDATE SET success = true, checksum = excluded.checksum, execution_time = excluded.execution_time"
    );
    let nanos = i64::try_from(line.duration.as_nanos()).unwrap_or(i64::MAX);
    let description = description(line.name);
    session
        .client
        .execute(&insert, &[&number(line.version), &description, &line.checksum, &nanos])
        .await
        .map(|_| ())
}

/// Says in sqlx's own table that a file has begun which takes more than one transaction: sqlx stops at it.
pub(crate) fn begun(table: &str, version: &str, name: &str, checksum: &str) -> String {
    format!(
        "INSERT INTO {table} (version, description, success, checksum, execution_time) \
         VALUES ({}, '{}', false, decode('{checksum}', 'hex'), -1) \
         ON CONFLICT (version) DO UPDATE SET success = false",
        number(version),
        description(name).replace('\'', "''")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_sqlx_s() {
        // python3 -c 'import zlib; print(0x3d32ad9e * zlib.crc32(b"rally"))', and the same for "postgres".
        assert_eq!(lock_key("rally"), 1_790_802_443_379_824_026);
        assert_eq!(lock_key("postgres"), 368_907_709_894_077_238);
    }

    #[test]
    fn a_description_has_spaces_and_no_ending() {
        assert_eq!(description("0001_add_user_table.up.sql"), "add user table");
        assert_eq!(description("20240101_x.sql"), "x");
    }
}
