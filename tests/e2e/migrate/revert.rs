//! Ways back.

use super::Db;

async fn three() -> Db {
    let db = Db::new().await;
    for (n, table) in ["a", "b", "c"].iter().enumerate() {
        db.write(&format!("{}_{table}.up.sql", n + 1), &format!("CREATE TABLE {table} (id int);"));
        db.write(&format!("{}_{table}.down.sql", n + 1), &format!("DROP TABLE {table};"));
    }
    db
}

const TABLES: &str = "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace";

#[tokio::test]
async fn down_files_never_run_forward_and_take_back_the_last_first() {
    let db = three().await;
    let ran = db.migrate(&["--format", "json"]).await.expect(0);
    assert_eq!(ran.json()["outputs"]["applied"], "3");
    assert_eq!(db.sql(TABLES).await, "a b c");
    let back = db.migrate(&["--action", "revert", "--to", "1", "--format", "json"]).await.expect(0);
    assert_eq!(back.json()["outputs"]["reverted"], "2");
    assert_eq!(back.json()["outputs"]["to-version"], "1");
    assert_eq!(back.json()["outputs"]["pending"], "2");
    assert_eq!(db.sql(TABLES).await, "a");
    assert_eq!(db.ledger().await, "1");
    let again = db.migrate(&["--action", "revert", "--to", "1", "--format", "json"]).await.expect(0);
    assert_eq!(again.json()["outputs"]["changed"], "false");
    db.migrate(&[]).await.expect(0);
    assert_eq!(db.sql(TABLES).await, "a b c");
    db.migrate(&["--action", "revert", "--to", "none"])
        .await
        .expect(0)
        .says(&["take version 1 back with 1_a.down.sql"]);
    assert_eq!(db.sql(TABLES).await, "");
}

#[tokio::test]
async fn going_back_is_under_the_guards_of_going_forward() {
    let db = three().await;
    db.migrate(&[]).await.expect(0);
    db.migrate(&["--action", "revert"]).await.expect(2).says(&["--to"]);
    db.sql("INSERT INTO c VALUES (1)").await;
    let back = ["--action", "revert", "--to", "2"];
    db.migrate(&back).await.expect(3).says(&[
        "3_c.down.sql, line 1: DROP TABLE throws data away (ban-drop-table, c has 8.0 KiB)",
        "--allow ban-drop-table@3_c.down.sql",
        "nothing was changed",
    ]);
    db.write("3_c.down.sql", "DROP TABLE c; -- edited");
    db.migrate(&back).await.expect(3).says(&["3_c.down.sql was edited after its migration was applied"]);
    std::fs::remove_file(db.dir.path().join("migrations/3_c.down.sql")).unwrap();
    db.migrate(&back).await.expect(3).says(&["no way back is written for 3_c.up.sql"]);
    db.write("3_c.down.sql", "DROP TABLE c;");
    db.write("4_d.down.sql", "SELECT 1;");
    db.migrate(&back).await.expect(3).says(&["4_d.down.sql takes back no file that is here"]);
    std::fs::remove_file(db.dir.path().join("migrations/4_d.down.sql")).unwrap();
    let allowed = [&back[..], &["--allow", "ban-drop-table@3_c.down.sql"]].concat();
    db.migrate(&allowed).await.expect(0).says(&["allowed in 3_c.down.sql"]);
    assert_eq!(db.sql(TABLES).await, "a b");
}

#[tokio::test]
async fn a_way_back_that_fails_leaves_its_version_applied() {
    let db = three().await;
    db.write("2_b.down.sql", "DROP TABLE b; SELECT 1/0;");
    db.migrate(&[]).await.expect(0);
    db.migrate(&["--action", "revert", "--to", "none"]).await.expect(4).says(&[
        "2_b.down.sql: statement 2 of 2",
        "division by zero",
        "running again continues at 2_b.down.sql",
    ]);
    assert_eq!(db.sql(TABLES).await, "a b");
    assert_eq!(db.ledger().await, "1 2");
}

#[tokio::test]
async fn a_marked_way_back_is_continued_too() {
    let db = Db::new().await;
    db.write("1_t.up.sql", "CREATE TABLE t (a int); CREATE INDEX i ON t (a); CREATE TABLE log (n int);");
    db.write(
        "1_t.down.sql",
        "-- no-transaction\nINSERT INTO log VALUES (1);\nDROP INDEX CONCURRENTLY i;\nSELECT 1/0;",
    );
    db.migrate(&[]).await.expect(0);
    let back = ["--action", "revert", "--to", "none"];
    db.migrate(&back).await.expect(4).says(&["2 of 3 statements"]);
    db.migrate(&[]).await.expect(3).says(&["--action revert"]);
    db.write(
        "1_t.down.sql",
        "-- no-transaction\nINSERT INTO log VALUES (1);\nDROP INDEX CONCURRENTLY i;\nSELECT 1;",
    );
    // The checksum of a way back is its reviewer's: what is to run instead is said by restoring the ledger's line.
    db.migrate(&back).await.expect(3).says(&["was edited after its migration was applied"]);
    db.sql("UPDATE cutover.migrations SET down_checksum = NULL").await;
    db.migrate(&back).await.expect(0);
    assert_eq!(db.sql("SELECT count(*) FROM log").await, "1");
    assert_eq!(db.ledger().await, "");
}
