//! `--dry-run-into`: times and locks, from a database that is not the one to migrate.

use super::Db;

const TABLES: &str = "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace";

/// A database with a table and rows, and another one that is a copy of it.
async fn restored() -> (Db, String) {
    let db = Db::new().await;
    db.write("1_t.sql", "CREATE TABLE t (a int);\nINSERT INTO t SELECT generate_series(1, 1000);");
    db.migrate(&[]).await.expect(0);
    let scratch = format!("{}_scratch", db.name);
    db.server.psql(&format!("CREATE DATABASE {scratch} TEMPLATE {}", db.name)).await.unwrap();
    (db, scratch)
}

#[tokio::test]
async fn everything_is_run_there_timed_and_rolled_back() {
    let (db, scratch) = restored().await;
    db.write("2_u.sql", "CREATE TABLE u ();\nALTER TABLE t ADD COLUMN b int;");
    db.write("3_i.sql", "CREATE INDEX i ON t (b);");
    let ran = db.migrate(&["--dry-run", "--dry-run-into", &scratch, "--format", "json"]).await.expect(0);
    let document = ran.json();
    assert_eq!(document["changed"], false);
    let statements = document["scratch"]["statements"].as_array().unwrap();
    let locks: Vec<String> =
        statements.iter().map(|one| format!("{} {}", one["line"], one["locks"])).collect();
    assert_eq!(locks, ["1 {}", "2 {\"t\":\"AccessExclusiveLock\"}", "1 {\"t\":\"ShareLock\"}"]);
    assert!(statements.iter().all(|one| one["held_ms"].as_u64() >= one["ms"].as_u64()), "{statements:?}");
    for database in [&db.name, &scratch] {
        let tables = db.server.psql(&format!("\\c {database} \n{TABLES}")).await.unwrap();
        assert_eq!(tables, "t", "{database}");
    }
    let text = db.migrate(&["--dry-run", "--dry-run-into", &scratch]).await.expect(0).stdout;
    assert!(text.contains("ACCESS EXCLUSIVE on t for"), "{text}");
}

#[tokio::test]
async fn a_marked_file_is_kept_there_and_that_is_said() {
    let (db, scratch) = restored().await;
    db.write("2_i.sql", "-- cutover:no-transaction\nCREATE INDEX CONCURRENTLY i ON t (a);");
    let into = ["--dry-run", "--dry-run-into", &scratch];
    db.migrate(&into).await.expect(0).says(&["keeps what is done to it: drop it"]);
    assert_eq!(db.sql("SELECT to_regclass('i') IS NULL").await, "t");
    db.migrate(&into).await.expect(3).says(&["was used already"]);
}

#[tokio::test]
async fn what_the_server_itself_would_keep_is_not_tried_beside_production() {
    let (db, scratch) = restored().await;
    let role = format!("{}_reporting", db.name);
    db.write("2_role.sql", &format!("CREATE ROLE {role};\nGRANT SELECT ON t TO {role};"));
    let into = ["--dry-run", "--dry-run-into", &scratch];
    // Rolled back, as nothing is marked.
    db.migrate(&into).await.expect(0);
    db.write("3_i.sql", "-- cutover:no-transaction\nCREATE INDEX CONCURRENTLY i ON t (a);");
    db.migrate(&into).await.expect(3).says(&[
        "2_role.sql:1: CREATE ROLE",
        "changes roles",
        "on another server",
    ]);
    assert_eq!(db.sql(&format!("SELECT count(*) FROM pg_roles WHERE rolname = '{role}'")).await, "0");
    let tables = db.server.psql(&format!("\\c {scratch} \n{TABLES}")).await.unwrap();
    assert_eq!(tables, "t");
}

#[tokio::test]
async fn the_database_to_migrate_is_never_the_scratch_one() {
    let (db, scratch) = restored().await;
    db.write("2_u.sql", "CREATE TABLE u ();\nSELECT 1/0;");
    db.migrate(&["--dry-run", "--dry-run-into", &db.name])
        .await
        .expect(3)
        .says(&["can't be told apart from it"]);
    db.migrate(&["--dry-run-into", &scratch]).await.expect(2).says(&["needs --dry-run"]);
    db.migrate(&["--dry-run", "--dry-run-into", &scratch]).await.expect(1).says(&[
        "2_u.sql in the scratch database",
        "division by zero",
        "nothing was changed",
    ]);
    db.server.psql(&format!("CREATE DATABASE {}_empty", db.name)).await.unwrap();
    let empty = format!("{}_empty", db.name);
    db.migrate(&["--dry-run", "--dry-run-into", &empty])
        .await
        .expect(3)
        .says(&["its ledger or its tables are not those of the database"]);
    let url = format!("postgresql://postgres:secret@127.0.0.1/{scratch}");
    db.migrate(&["--dry-run", "--dry-run-into", &url]).await.expect(2).says(&["password"]);
}
