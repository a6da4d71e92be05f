//! What another session stands in the way of is tried again, and that session is named.

use super::{Db, end};
use crate::world::run;

#[tokio::test]
async fn a_file_that_gets_no_lock_is_rolled_back_and_tried_again_and_the_holder_is_named() {
    let db = Db::new().await;
    db.write("1_t.sql", "CREATE TABLE t (a int);");
    db.migrate(&[]).await.expect(0);
    db.write("2_column.sql", "CREATE TABLE u ();\nALTER TABLE t ADD COLUMN b int;");
    let holder = db.hold("SELECT * FROM t").await;
    let step = tokio::spawn(run(db.command(&["--lock-timeout", "1s"])));
    db.waiting().await;
    // The first try has failed when the step is idle, and a second one has begun when it waits again.
    db.until("SELECT 1 FROM pg_stat_activity WHERE application_name = 'cutover run-migration' AND state = 'idle' AND datname = current_database()").await;
    db.waiting().await;
    end(holder).await;
    let ran = step.await.unwrap().expect(0);
    ran.says(&[
        "2_column.sql: statement 2 of 2 (line 2) waits for a lock of server process",
        "as postgres from 127.0.0.1",
        "in a transaction since",
        "idle in transaction: SELECT ...",
        "SQLSTATE 55P03",
        "tried again in",
        "applied 2_column.sql",
    ]);
    assert_eq!(db.ledger().await, "1 2");
}

#[tokio::test]
async fn when_the_budget_is_over_nothing_was_changed_and_the_holder_is_named() {
    let db = Db::new().await;
    db.write("1_t.sql", "CREATE TABLE t (a int);");
    db.migrate(&[]).await.expect(0);
    db.write("2_column.sql", "ALTER TABLE t ADD COLUMN b int;");
    let holder = db.hold("SELECT 'personal data', * FROM t").await;
    for (budget, code) in [("0", 1), ("2s", 1)] {
        let ran = db.migrate(&["--lock-timeout", "1s", "--retry-for", budget]).await.expect(code);
        assert!(!ran.stderr.contains("personal data"), "{}", ran.stderr);
        ran.says(&[
            "SQLSTATE 55P03",
            "in its way stood server process",
            "2_column.sql was rolled back whole",
            "nothing was changed",
        ]);
    }
    end(holder).await;
}

#[tokio::test]
async fn a_deadlock_is_tried_again() {
    let db = Db::new().await;
    db.write(
        "1_t.sql",
        "CREATE TABLE t (a int); CREATE TABLE u (a int); INSERT INTO t VALUES (1); INSERT INTO u VALUES (1);",
    );
    db.migrate(&[]).await.expect(0);
    db.write("2_both.sql", "UPDATE t SET a = 2 WHERE a = 1;\nUPDATE u SET a = 2 WHERE a = 1;");
    // The holder has u and will want t; the step has t and wants u. The step alone looks for deadlocks, so it is the one to go.
    let mut holder = db
        .hold("UPDATE u SET a = 1 WHERE a = 1; SET deadlock_timeout = '1h'; UPDATE u SET a = 1 WHERE a = 1")
        .await;
    let step = tokio::spawn(run(db.command(&["--lock-timeout", "0"])));
    db.waiting().await;
    let stdin = holder.stdin.as_mut().unwrap();
    tokio::io::AsyncWriteExt::write_all(stdin, b"UPDATE t SET a = 1 WHERE a = 1;\nCOMMIT;\n").await.unwrap();
    let ran = step.await.unwrap().expect(0);
    ran.says(&["deadlock", "tried again in"]);
    assert_eq!(db.sql("SELECT t.a, u.a FROM t, u").await, "2|2");
}
