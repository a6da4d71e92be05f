//! Files that can't run in one transaction: continued at the statement where they stopped, with nothing doubled.

use super::{Db, end};
use crate::world::run;

const MARK: &str = "-- cutover:no-transaction\n";
const VALID: &str = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('i')";
const LOG: &str = "SELECT string_agg(n::text, ' ' ORDER BY n) FROM log";

/// A table of some rows, and a file that builds an index on it between two statements that would show if they ran twice.
async fn building() -> Db {
    let db = Db::new().await;
    db.write(
        "1_tables.sql",
        "CREATE TABLE t AS SELECT n AS a FROM generate_series(1, 100) n; CREATE TABLE log (n int);",
    );
    db.write(
        "2_index.sql",
        &format!(
            "{MARK}INSERT INTO log VALUES (1);\nSET maintenance_work_mem = '32MB';\nCREATE INDEX CONCURRENTLY i ON t (a);\nINSERT INTO log VALUES (2);\n"
        ),
    );
    db
}

#[tokio::test]
async fn an_unmarked_file_is_refused_with_the_next_move() {
    let db = Db::new().await;
    db.write("1_index.sql", "CREATE TABLE t (a int);\nCREATE INDEX CONCURRENTLY i ON t (a);\nVACUUM t;");
    db.migrate(&[]).await.expect(3).says(&[
        "1_index.sql, line 2: CREATE INDEX CONCURRENTLY can't run inside a transaction",
        "1_index.sql, line 3: VACUUM can't run inside a transaction",
        "-- cutover:no-transaction",
        "nothing was changed",
    ]);
}

#[tokio::test]
async fn a_marked_file_runs_statement_by_statement_and_leaves_no_trace_of_it() {
    let db = building().await;
    db.write(
        "3_vacuum.sql",
        &format!("{MARK}VACUUM t;\nREINDEX TABLE CONCURRENTLY t;\nDROP INDEX CONCURRENTLY i;"),
    );
    db.migrate(&["--dry-run"]).await.expect(0).says(&["statement by statement, not in one transaction"]);
    db.migrate(&[]).await.expect(0);
    assert_eq!(db.sql(LOG).await, "1 2");
    assert_eq!(db.ledger().await, "1 2 3");
    assert_eq!(db.sql("SELECT count(*) FROM cutover.migrations_progress").await, "0");
    db.migrate(&[]).await.expect(0).says(&["has every migration"]);
    assert_eq!(db.sql(LOG).await, "1 2");
}

/// <https://www.postgresql.org/docs/15/sql-reindex.html>: of a table with partitions, it can't run in a transaction.
#[tokio::test]
async fn what_only_the_server_knows_to_need_no_transaction_runs_in_a_marked_file() {
    let db = Db::new().await;
    db.write(
        "1_parts.sql",
        "CREATE TABLE p (a int) PARTITION BY RANGE (a);\nCREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (9);\nCREATE INDEX ON p (a);",
    );
    db.write("2_rebuild.sql", "REINDEX TABLE p;");
    db.migrate(&[]).await.expect(4).says(&["cannot run inside a transaction", "first line is"]);
    db.write("2_rebuild.sql", &format!("{MARK}REINDEX TABLE p;"));
    db.migrate(&[]).await.expect(0);
    assert_eq!(db.ledger().await, "1 2");
    db.write("3_hidden.sql", &format!("{MARK}DO $$ BEGIN REINDEX TABLE p; END $$;"));
    db.migrate(&[]).await.expect(4).says(&["write the command itself into the file"]);
}

#[tokio::test]
async fn killed_while_an_index_is_built_the_next_run_drops_what_is_left_and_builds_it() {
    let db = building().await;
    db.migrate(&["--to", "1"]).await.expect(0);
    // The build waits for the end of every transaction that has written to the table.
    let holder = db.hold("INSERT INTO t VALUES (1000)").await;
    let mut step = db.command(&[]).spawn().unwrap();
    db.waiting().await;
    step.kill().await.unwrap();
    assert_eq!(db.sql("SELECT version, done, stage FROM cutover.migrations_progress").await, "2|2|sent");
    end(holder).await;
    // The server notices that the process is gone and breaks the build off, or it has just ended: either is found out.
    db.migrate(&[]).await.expect(0).says(&[
        "begun at",
        "2 statements have taken effect",
        "what became of the next one",
    ]);
    assert_eq!(db.sql(VALID).await, "t");
    assert_eq!(db.sql(LOG).await, "1 2");
    assert_eq!(db.ledger().await, "1 2");
}

#[tokio::test]
async fn a_build_that_gets_no_lock_names_who_stood_in_its_way_and_is_repeated_from_nothing() {
    let db = building().await;
    db.migrate(&["--to", "1"]).await.expect(0);
    let holder = db.hold("INSERT INTO t VALUES (1000)").await;
    let impatient = ["--concurrent-lock-timeout", "1500ms", "--retry-for", "0"];
    db.migrate(&impatient).await.expect(4).says(&[
        "2_index.sql: statement 3 of 4 (line 4) waits for a lock of server process",
        "idle in transaction: INSERT ...",
        "SQLSTATE 55P03",
        "2 of 4 statements of 2_index.sql have taken effect",
    ]);
    assert_eq!(db.sql(VALID).await, "f", "PostgreSQL leaves the index of a broken-off build");
    end(holder).await;
    db.migrate(&[]).await.expect(0).says(&["what it has left is dropped first: public.i"]);
    assert_eq!(db.sql(VALID).await, "t");
    assert_eq!(db.sql(LOG).await, "1 2");
}

#[tokio::test]
async fn within_one_run_a_build_is_tried_again_until_it_gets_its_lock() {
    let db = building().await;
    db.migrate(&["--to", "1"]).await.expect(0);
    let holder = db.hold("INSERT INTO t VALUES (1000)").await;
    let step = tokio::spawn(run(db.command(&["--concurrent-lock-timeout", "1s"])));
    db.until("SELECT 1 FROM cutover.migrations_progress WHERE stage = 'failed'").await;
    end(holder).await;
    let ran = step.await.unwrap().expect(0);
    ran.says(&[
        "no lock in time (in its way stood server process",
        "tried again in",
        "dropped first: public.i",
    ]);
    assert_eq!(db.sql(VALID).await, "t");
}

#[tokio::test]
async fn an_invalid_index_that_is_not_ours_is_left_alone() {
    let db = building().await;
    db.migrate(&["--to", "1"]).await.expect(0);
    db.sql("INSERT INTO t VALUES (7), (7)").await;
    let failed =
        db.server.psql(&format!("\\c {} \nCREATE UNIQUE INDEX CONCURRENTLY i ON t (a)", db.name)).await;
    assert!(failed.is_err());
    assert_eq!(db.sql(VALID).await, "f");
    for if_not_exists in ["", "IF NOT EXISTS "] {
        db.write("2_index.sql", &format!("{MARK}CREATE INDEX CONCURRENTLY {if_not_exists}i ON t (a);"));
        db.migrate(&[])
            .await
            .says(&["not by this file: public.i", "DROP INDEX CONCURRENTLY IF EXISTS public.i"]);
        assert_eq!(db.sql(VALID).await, "f");
    }
}

#[tokio::test]
async fn a_statement_that_failed_may_be_corrected_and_those_before_it_may_not() {
    let db = building().await;
    db.write(
        "2_index.sql",
        &format!("{MARK}INSERT INTO log VALUES (1);\nSET work_mem = '1MB';\nCREATE UNIQUE INDEX CONCURRENTLY i ON t ((a / 2));"),
    );
    db.migrate(&[]).await.expect(4).says(&["could not create unique index", "2 of 3 statements"]);
    db.write(
        "2_index.sql",
        &format!(
            "{MARK}INSERT INTO log VALUES (3);\nSET work_mem = '1MB';\nCREATE INDEX CONCURRENTLY i ON t (a);"
        ),
    );
    db.migrate(&[])
        .await
        .expect(3)
        .says(&["its first 2 statements have run, and the file has others there now"]);
    db.write(
        "2_index.sql",
        &format!(
            "{MARK}INSERT INTO log VALUES (1);\nSET work_mem = '2MB';\nCREATE INDEX CONCURRENTLY i ON t (a);"
        ),
    );
    db.migrate(&[]).await.expect(0).says(&["dropped first: public.i"]);
    assert_eq!(db.sql(VALID).await, "t");
    assert_eq!(db.sql(LOG).await, "1");
}

#[tokio::test]
async fn what_can_not_be_looked_up_is_asked_of_a_person_with_the_exact_words() {
    let db = Db::new().await;
    db.write("1_procedure.sql", "CREATE TABLE log (n int); CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (1); COMMIT; PERFORM pg_advisory_xact_lock(42); END $$;");
    db.write("2_call.sql", &format!("{MARK}CALL p();\nINSERT INTO log VALUES (2);"));
    db.migrate(&["--to", "1"]).await.expect(0);
    let holder = db.hold("SELECT pg_advisory_lock(42)").await;
    let mut step = db.command(&["--lock-timeout", "0"]).spawn().unwrap();
    db.waiting().await;
    step.kill().await.unwrap();
    end(holder).await;
    let ran = db.migrate(&[]).await.expect(3);
    let done = ran.stderr.lines().find_map(|line| line.split("when it did: ").nth(1)).unwrap().to_owned();
    ran.says(&["whether it took effect can't be looked up", "when it did not, or may be sent again: UPDATE"]);
    db.sql(&done).await;
    db.migrate(&[]).await.expect(0);
    assert_eq!(db.sql(LOG).await, "1 2");
}

#[tokio::test]
async fn a_half_detached_partition_is_detached_to_the_end() {
    let db = Db::new().await;
    db.write(
        "1_tables.sql",
        "CREATE TABLE t (a int) PARTITION BY LIST (a); CREATE TABLE p PARTITION OF t FOR VALUES IN (1);",
    );
    db.write("2_detach.sql", &format!("{MARK}ALTER TABLE t DETACH PARTITION p CONCURRENTLY;"));
    db.migrate(&["--to", "1"]).await.expect(0);
    let holder = db.hold("SELECT * FROM t").await;
    db.migrate(&["--concurrent-lock-timeout", "300ms", "--retry-for", "0"]).await.expect(4).says(&["55P03"]);
    assert_eq!(db.sql("SELECT inhdetachpending FROM pg_inherits").await, "t");
    end(holder).await;
    db.migrate(&[]).await.expect(0).says(&["FINALIZE"]);
    assert_eq!(db.sql("SELECT count(*) FROM pg_inherits").await, "0");
    assert_eq!(db.ledger().await, "1 2");
}

/// Connections to the server through a wire that can be cut: neither side is told more than a reset.
async fn wire(port: u16) -> (u16, tokio::sync::watch::Sender<u32>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = listener.local_addr().unwrap().port();
    let (cut, cuts) = tokio::sync::watch::channel(0);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut cuts = cuts.clone();
            cuts.mark_unchanged();
            tokio::spawn(async move {
                let Ok(mut server) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await else {
                    return;
                };
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                    _ = cuts.changed() => {}
                }
            });
        }
    });
    (here, cut)
}

#[tokio::test]
async fn a_connection_that_is_cut_is_made_again_and_the_file_goes_on_where_it_is() {
    let db = building().await;
    db.migrate(&["--to", "1"]).await.expect(0);
    let (port, cut) = wire(db.server.port).await;
    let holder = db.hold("INSERT INTO t VALUES (1000)").await;
    let mut command = db.command(&[]);
    command.env("PGPORT", port.to_string());
    let step = tokio::spawn(run(command));
    db.waiting().await;
    cut.send_modify(|times| *times += 1);
    end(holder).await;
    step.await.unwrap().expect(0).says(&["the connection to", "looking how far it is"]);
    assert_eq!(db.sql(VALID).await, "t");
    assert_eq!(db.sql(LOG).await, "1 2");
    assert_eq!(db.ledger().await, "1 2");
}

#[tokio::test]
async fn a_session_that_the_server_ends_is_taken_up_with_its_settings() {
    let db = Db::new().await;
    db.write("1_tables.sql", "CREATE TABLE log (n text); CREATE TABLE wait (n int);");
    db.write(
        "2_alone.sql",
        &format!("{MARK}SET application_name = 'mine';\nINSERT INTO log VALUES ('one');\nLOCK TABLE wait;\nINSERT INTO log SELECT current_setting('application_name');\n"),
    );
    db.migrate(&["--to", "1"]).await.expect(0);
    let holder = db.hold("INSERT INTO wait VALUES (1)").await;
    let step = tokio::spawn(run(db.command(&["--lock-timeout", "1m"])));
    let pid = db.until("SELECT pid FROM pg_stat_activity WHERE application_name = 'mine' AND datname = current_database() AND wait_event_type = 'Lock'").await;
    db.sql(&format!("SELECT pg_terminate_backend({pid})")).await;
    end(holder).await;
    step.await.unwrap().expect(0).says(&["terminating connection", "looking how far it is"]);
    assert_eq!(db.sql("SELECT string_agg(n, ' ' ORDER BY n) FROM log").await, "mine one");
}
