//! Splitting and classifying, as tables.

use super::*;

fn texts(sql: &str) -> Vec<String> {
    parse(sql).statements.into_iter().map(|statement| statement.text).collect()
}

#[test]
fn a_semicolon_ends_a_statement_only_where_it_is_one() {
    // Forms of https://www.postgresql.org/docs/current/sql-syntax-lexical.html
    for (sql, statements) in [
        ("", 0),
        (" -- nothing; here\n;;", 0),
        ("SELECT 1; SELECT 2", 2),
        ("SELECT ';' , \"a;b\", 'it''s; one'", 1),
        ("SELECT E'a\\';b'; SELECT 2", 2),
        ("SELECT 'a\\'; SELECT 2", 2),
        ("/* a; /* nested; */ b; */ SELECT 1;", 1),
        ("SELECT $$a;b$$; SELECT $x$ ; $$ ; $x$;", 2),
        ("SELECT U&'d\\0061;t' ; SELECT $1;", 2),
        ("CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); SELECT 3", 2),
        (
            "CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 1 END; END; \
             SELECT 2",
            2,
        ),
        ("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END; $$; SELECT 1", 2),
    ] {
        assert_eq!(texts(sql).len(), statements, "{sql}: {:?}", texts(sql));
    }
    assert_eq!(texts(" SELECT 1 -- one\n ; "), ["SELECT 1"]);
}

#[test]
fn what_can_not_run_in_a_transaction_is_found_with_its_line() {
    for (sql, what) in [
        ("CREATE INDEX CONCURRENTLY i ON t (a)", "CREATE INDEX CONCURRENTLY"),
        ("create unique index concurrently if not exists i on t (a)", "CREATE INDEX CONCURRENTLY"),
        ("DROP INDEX CONCURRENTLY i", "DROP INDEX CONCURRENTLY"),
        ("REINDEX TABLE CONCURRENTLY t", "REINDEX CONCURRENTLY"),
        ("REINDEX (CONCURRENTLY, VERBOSE) INDEX i", "REINDEX CONCURRENTLY"),
        ("REINDEX (VERBOSE) DATABASE d", "REINDEX of more than a table"),
        ("VACUUM FULL t", "VACUUM"),
        ("CLUSTER", "CLUSTER of all tables"),
        ("CLUSTER (VERBOSE)", "CLUSTER of all tables"),
        ("ALTER SYSTEM SET work_mem = '1GB'", "ALTER SYSTEM"),
        ("CREATE DATABASE d", "CREATE DATABASE"),
        ("DROP TABLESPACE s", "DROP TABLESPACE"),
        ("ALTER TABLE t DETACH PARTITION p CONCURRENTLY", "DETACH PARTITION CONCURRENTLY"),
    ] {
        let sql = format!("SELECT 1;\n\n-- a comment\n{sql}\n");
        let script = parse(&sql);
        assert_eq!(script.problems, [], "{sql}");
        let outside: Vec<Remark> = script.outside().collect();
        assert_eq!(outside.len(), 1, "{sql}: {outside:?}");
        assert!(outside[0].what.starts_with(what), "{sql}: {outside:?}");
        assert_eq!(outside[0].line, 4, "{sql}");
        let marked = parse(&format!("{MARK}\n{sql}"));
        assert_eq!((marked.outside().count(), marked.not_resumable().count()), (0, 0), "{sql}");
    }
}

#[test]
fn what_the_step_can_not_run_at_all_is_found_with_its_line() {
    for (sql, what) in [
        ("BEGIN", "BEGIN"),
        ("start transaction read only", "START TRANSACTION"),
        ("COMMIT AND CHAIN", "COMMIT"),
        ("END", "END"),
        ("ROLLBACK", "ROLLBACK"),
        ("DISCARD ALL", "DISCARD ALL"),
        ("COPY t FROM STDIN", "COPY with its rows"),
        ("\\i other.sql", "\\i is a command of psql"),
        ("\\copy t from 'x'", "\\copy is a command of psql"),
        ("SELECT 'open", "a string that begins here"),
        ("SELECT 1 /* open", "a comment that begins here"),
        ("DO $x$ BEGIN END $y$", "a string that begins here"),
        ("-- cutover:no-transaction", "`-- cutover:no-transaction` counts in the first line"),
        ("-- no-transaction", "`-- no-transaction` counts in the first line"),
        ("-- migrate:down", "`-- migrate:down` begins the way back of a file of dbmate"),
        ("-- +goose Down", "`-- +goose Down` begins the way back of a file of goose"),
        ("-- +migrate Down", "`-- +migrate Down` begins"),
        ("---- create above / drop below ----", "`---- create above / drop below ----` begins"),
    ] {
        for first in ["SELECT 1;", MARK] {
            let script = parse(&format!("{first}\n\n-- a comment\n{sql}\n"));
            assert_eq!(script.problems.len(), 1, "{sql}: {:?}", script.problems);
            assert!(script.problems[0].what.starts_with(what), "{sql}: {:?}", script.problems);
            assert_eq!(script.problems[0].line, 4, "{sql}");
        }
    }
}

#[test]
fn a_file_is_marked_by_its_first_line_only() {
    for (sql, alone) in [
        ("-- cutover:no-transaction\nVACUUM", true),
        ("-- cutover:no-transaction \r\nVACUUM", true),
        ("-- no-transaction\nVACUUM", true),
        ("-- cutover:no-transactions\nVACUUM", false),
        ("VACUUM", false),
    ] {
        assert_eq!(parse(sql).alone, alone, "{sql}");
    }
}

#[test]
fn where_the_effect_of_a_statement_shows() {
    let text = |text: &str| text.to_owned();
    for (sql, expected) in [
        (
            "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS \"I\" ON ONLY s.t USING gin (a)",
            Probe::Index { name: text("\"I\""), table: text("s.t") },
        ),
        ("CREATE INDEX CONCURRENTLY ON t (a)", Probe::Unnamed),
        ("DROP INDEX CONCURRENTLY IF EXISTS s.i", Probe::NoIndex { name: text("s.i") }),
        ("REINDEX INDEX CONCURRENTLY s.i", Probe::Rebuilt { index: true, name: Some(text("s.i")) }),
        ("REINDEX (CONCURRENTLY) TABLE t", Probe::Rebuilt { index: false, name: Some(text("t")) }),
        ("REINDEX SCHEMA CONCURRENTLY s", Probe::Rebuilt { index: false, name: None }),
        (
            "ALTER TABLE IF EXISTS ONLY s.t DETACH PARTITION s.p CONCURRENTLY",
            Probe::Detached { parent: text("s.t"), partition: text("s.p") },
        ),
        ("VACUUM ANALYZE t", Probe::Again),
        (
            "DROP DATABASE IF EXISTS d WITH (FORCE)",
            Probe::Object { catalogue: Catalogue::Database, name: text("d"), there: false },
        ),
    ] {
        match &parse(sql).statements[0].kind {
            Kind::Alone { probe, .. } => assert_eq!(*probe, expected, "{sql}"),
            other => panic!("{sql}: {other:?}"),
        }
    }
}

#[test]
fn what_a_run_that_continues_would_miss() {
    for (sql, kind) in [
        ("SET maintenance_work_mem = '1GB'", Kind::Session),
        ("RESET ALL", Kind::Session),
        ("SELECT pg_catalog.set_config('search_path', '', false)", Kind::Session),
        ("SET LOCAL work_mem = '1GB'", Kind::Plain),
        ("CALL rebuild()", Kind::Procedure),
        ("DO $$ BEGIN UPDATE t SET a = 1; COMMIT; END $$", Kind::Procedure),
        ("DO $$ BEGIN UPDATE t SET a = 1; END $$", Kind::Plain),
    ] {
        assert_eq!(parse(sql).statements[0].kind, kind, "{sql}");
    }
    for sql in [
        "CREATE TEMP TABLE x ()",
        "SET ROLE weak",
        "PREPARE p AS SELECT 1",
        "CREATE INDEX CONCURRENTLY ON t (a)",
    ] {
        assert_eq!(parse(&format!("{MARK}\n{sql}")).not_resumable().count(), 1, "{sql}");
        assert_eq!(parse(sql).not_resumable().count(), 0, "{sql}");
    }
}

#[test]
fn what_only_looks_like_it_is_let_through() {
    for sql in [
        "CREATE INDEX i ON t (a); -- CONCURRENTLY",
        "SELECT 'VACUUM'; /* COMMIT; */",
        "CREATE INDEX \"concurrently\" ON t (a)",
        "SAVEPOINT a; ROLLBACK TO SAVEPOINT a; RELEASE a; ROLLBACK WORK TO a",
        "DO $$ BEGIN PERFORM 1; END $$",
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END",
        "REINDEX TABLE t; CLUSTER t USING i; REFRESH MATERIALIZED VIEW CONCURRENTLY v",
        "COPY t FROM '/srv/rows.csv'; PREPARE p AS SELECT 1",
        "INSERT INTO t VALUES ('a\\b')",
    ] {
        let script = parse(sql);
        assert_eq!(script.problems, [], "{sql}");
        assert_eq!(script.outside().count(), 0, "{sql}");
    }
}

#[test]
fn rows_in_the_file_are_not_read_as_sql() {
    let script = parse("COPY t (a) FROM STDIN;\nit's \\N a row\n\\.\nSELECT 1;");
    assert_eq!(script.problems.len(), 1, "{:?}", script.problems);
}

#[test]
fn statements_that_throw_data_away_are_noticed() {
    for (sql, expected) in [
        ("DROP TABLE a", Some(("ban-drop-table", Some("a")))),
        ("DROP TABLE IF EXISTS s.\"A\" CASCADE", Some(("ban-drop-table", Some("s.\"A\"")))),
        ("DROP TABLE a, b", Some(("ban-drop-table", None))),
        ("TRUNCATE ONLY a", Some(("truncate", Some("a")))),
        ("TRUNCATE TABLE a CASCADE", Some(("truncate", None))),
        ("DELETE FROM a", Some(("delete-without-where", Some("a")))),
        ("DELETE FROM a WHERE b", None),
        ("DELETE FROM a USING (SELECT 1 WHERE true) x", Some(("delete-without-where", Some("a")))),
        ("WITH x AS (SELECT 1 WHERE true) DELETE FROM a", Some(("delete-without-where", Some("a")))),
        ("WITH x AS (SELECT 1) SELECT * FROM a FOR UPDATE", None),
        ("UPDATE ONLY s.a SET b = 1", Some(("update-without-where", Some("s.a")))),
        ("INSERT INTO a VALUES (1) ON CONFLICT (b) DO UPDATE SET c = 1", None),
        ("ALTER TABLE a DROP COLUMN b", Some(("ban-drop-column", Some("a")))),
        ("ALTER TABLE a DROP b", Some(("ban-drop-column", Some("a")))),
        ("ALTER TABLE s.a ADD COLUMN c int, DROP \"b\"", Some(("ban-drop-column", Some("s.a")))),
        ("ALTER TABLE a DROP CONSTRAINT b", None),
        ("ALTER TABLE a ALTER COLUMN b DROP DEFAULT", None),
        ("ALTER TABLE a ALTER b DROP NOT NULL", None),
        ("DROP SCHEMA s", None),
        ("DROP SCHEMA s CASCADE", Some(("ban-drop-schema", None))),
        ("DROP TYPE t", None),
        ("DROP TYPE t CASCADE", Some(("ban-drop-type", None))),
        ("DROP FUNCTION f", None),
        ("DROP INDEX i", None),
    ] {
        let script = parse(sql);
        let found = script.statements[0].destroys.as_ref();
        assert_eq!(found.map(|loss| (loss.rule, loss.table.as_deref())), expected, "{sql}");
    }
}

#[test]
fn a_position_of_the_server_is_a_line_of_the_file() {
    let script = parse("SELECT 1;\nSELECT 'ä',\n  nope\n");
    // The server counts characters from 1: `nope` is the 15th of the second statement.
    assert_eq!(script.statements[1].line_at(15), 3);
    assert_eq!(script.statements[1].line_at(1), 2);
}
