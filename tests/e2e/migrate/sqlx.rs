//! The ledger of sqlx, as sqlx 0.8 makes, writes and reads it: `sqlx-postgres/src/migrate.rs` of
//! <https://github.com/launchbadge/sqlx>.

use super::{Db, end};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, \
    installed_on TIMESTAMPTZ NOT NULL DEFAULT now(), success BOOLEAN NOT NULL, checksum BYTEA NOT NULL, execution_time BIGINT NOT NULL)";

/// The line that sqlx writes when it has applied a file.
fn applied(version: &str, description: &str, file: &str) -> String {
    let file = file.replace('\'', "''");
    format!(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES ({version}, '{description}', TRUE, sha384('{file}'), 1500000)"
    )
}

const USERS: &str = "CREATE TABLE users (id int)";

/// A database that sqlx has migrated once.
async fn by_sqlx() -> Db {
    let db = Db::new().await;
    db.sql(TABLE).await;
    db.sql(USERS).await;
    db.sql(&applied("20240101120000", "create users", USERS)).await;
    db.write("20240101120000_create_users.sql", USERS);
    db
}

#[tokio::test]
async fn a_chain_of_sqlx_s_is_continued_and_its_table_is_as_if_sqlx_had_done_it() {
    let db = by_sqlx().await;
    let orders = "CREATE TABLE orders (id int);";
    db.write("20240202120000_add_orders_table.up.sql", orders);
    db.write("20240202120000_add_orders_table.down.sql", "DROP TABLE orders;");
    let ran = db.migrate(&["--ledger", "sqlx", "--format", "json"]).await.expect(0);
    assert_eq!(ran.json()["outputs"]["applied"], "1");
    assert_eq!(ran.json()["outputs"]["from-version"], "20240101120000");
    let line = format!(
        "SELECT description, success, checksum = sha384('{orders}'), execution_time > 0, installed_on > now() - interval '1 min' \
         FROM _sqlx_migrations WHERE version = 20240202120000"
    );
    assert_eq!(db.sql(&line).await, "add orders table|t|t|t|t");
    assert_eq!(db.sql("SELECT to_regnamespace('cutover') IS NULL").await, "t");
    db.migrate(&["--ledger", "sqlx"]).await.expect(0).says(&["has every migration"]);
    db.migrate(&["--ledger", "sqlx", "--action", "revert", "--to", "20240101120000"]).await.expect(0);
    assert_eq!(db.sql("SELECT version FROM _sqlx_migrations").await, "20240101120000");
}

#[tokio::test]
async fn a_fresh_database_gets_the_table_that_sqlx_makes() {
    let db = Db::new().await;
    db.write("1_users.sql", USERS);
    db.migrate(&["--ledger", "sqlx"]).await.expect(0);
    let columns = "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull, ', ' ORDER BY attnum) \
                   FROM pg_attribute WHERE attrelid = '_sqlx_migrations'::regclass AND attnum > 0";
    assert_eq!(
        db.sql(columns).await,
        "version bigint true, description text true, installed_on timestamp with time zone true, success boolean true, \
         checksum bytea true, execution_time bigint true"
    );
}

#[tokio::test]
async fn what_sqlx_would_refuse_is_refused_and_names_that_it_would_skip_too() {
    let db = by_sqlx().await;
    db.write("20240101120000_create_users.sql", "CREATE TABLE users (id bigint)");
    db.migrate(&["--ledger", "sqlx"]).await.expect(3).says(&["was edited after it was applied"]);
    db.write("20240101120000_create_users.sql", USERS);
    db.write("views.sql", "SELECT 1");
    db.migrate(&["--ledger", "sqlx"]).await.expect(3).says(&["views.sql is no name of sqlx's"]);
    std::fs::remove_file(db.dir.path().join("migrations/views.sql")).unwrap();
    db.sql("UPDATE _sqlx_migrations SET success = false").await;
    db.migrate(&["--ledger", "sqlx"]).await.expect(3).says(&[
        "success = false",
        "DELETE the line",
        "set success to true",
    ]);
}

#[tokio::test]
async fn its_lock_is_sqlx_s_own() {
    let db = by_sqlx().await;
    db.write("20240202120000_x.sql", "CREATE TABLE x ()");
    // 0x3d32ad9e times the CRC-32 of the database's name, computed here as sqlx's test suite does: bit by bit.
    let mut crc = u32::MAX;
    for byte in db.name.bytes() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    let key = 0x3d32_ad9e_i64 * i64::from(!crc);
    let holder = db.hold(&format!("SELECT pg_advisory_lock({key})")).await;
    db.migrate(&["--ledger", "sqlx", "--timeout", "3s"]).await.expect(6).says(&["held by server process"]);
    end(holder).await;
    db.migrate(&["--ledger", "sqlx"]).await.expect(0);
}

#[tokio::test]
async fn while_a_file_is_under_way_sqlx_stops_at_it() {
    let db = by_sqlx().await;
    db.write("20240202120000_index.sql", "-- no-transaction\nCREATE INDEX CONCURRENTLY i ON users (id);");
    let holder = db.hold("INSERT INTO users VALUES (1)").await;
    let mut step = db.command(&["--ledger", "sqlx"]).spawn().unwrap();
    db.waiting().await;
    step.kill().await.unwrap();
    // What sqlx asks before every run.
    let dirty = "SELECT version FROM _sqlx_migrations WHERE success = false ORDER BY version LIMIT 1";
    assert_eq!(db.sql(dirty).await, "20240202120000");
    end(holder).await;
    db.migrate(&["--ledger", "sqlx"]).await.expect(0);
    assert_eq!(db.sql(dirty).await, "");
    assert_eq!(db.sql("SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass").await, "t");
}
