//! Before and after an upgrade of the server: what stands in the way is named, and what is out of order is rebuilt.

use std::sync::Arc;

use serde_json::Value;
use testkit::inputs::skipped;
use testkit::postgres::{Options, Postgres, installations};

use super::{Db, end};
use crate::world::{Ran, run};

impl Db {
    /// A database in which ICU orders text, or none where the server is built without it. 15 and later.
    async fn icu(name: &str) -> Option<Self> {
        let mut db = Self::new().await;
        db.name = format!("{} {name}", db.name);
        db.icu_database().await.then_some(db)
    }

    async fn icu_database(&self) -> bool {
        let made = self
            .server
            .psql(&format!(
                "CREATE DATABASE \"{}\" TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LOCALE 'C'",
                self.name
            ))
            .await;
        if made.is_err() {
            skipped("the server has no ICU");
        }
        made.is_ok()
    }

    async fn alone(options: Options) -> Self {
        let server = Arc::new(Postgres::start(options).await.unwrap());
        Self { server, name: "postgres".into(), dir: tempfile::tempdir().unwrap() }
    }

    /// As if the library had been another one when the indexes were built.
    async fn changed(&self) {
        self.server
            .psql(&format!(
                "UPDATE pg_database SET datcollversion = '1.1' WHERE datname = '{}'",
                self.name.replace('\'', "''")
            ))
            .await
            .unwrap();
    }

    async fn file(&self, index: &str) -> String {
        self.sql(&format!("SELECT pg_relation_filenode('{index}')")).await
    }

    /// On this database alone: other tests have theirs on the same server.
    async fn reindex(&self, args: &[&str]) -> Ran {
        let only = ["--action", "reindex", "--only-database", &self.name];
        run(self.step(&[&only[..], args].concat())).await
    }

    async fn check(&self, to: u32, args: &[&str]) -> Ran {
        let to = to.to_string();
        let check = ["--action", "upgrade-check", "--to-major", &to];
        run(self.step(&[&check[..], args].concat())).await
    }

    async fn major(&self) -> u32 {
        self.sql("SELECT current_setting('server_version_num')::int / 10000").await.parse().unwrap()
    }
}

fn outputs(ran: &Ran) -> Value {
    ran.json()["outputs"].clone()
}

#[tokio::test]
async fn what_an_upgrade_would_stumble_over_is_named_in_every_database() {
    let db = Db::alone(Options {
        settings: vec![("max_prepared_transactions".into(), "5".into())],
        ..Options::default()
    })
    .await;
    let major = db.major().await;
    db.server.psql("CREATE DATABASE \"Copr \"\"main\"").await.unwrap();
    db.server.psql("CREATE DATABASE closed ALLOW_CONNECTIONS false").await.unwrap();
    db.server
        .psql(
            "\\c \"Copr \"\"main\" \nCREATE TYPE pair AS (call regproc, n int); CREATE DOMAIN calls AS pair[]; \
             CREATE TABLE \"Odd Name\" (id int, \"How\" calls); CREATE VIEW busy AS SELECT pid, query FROM pg_stat_activity; \
             CREATE TABLE grants (acl aclitem)",
        )
        .await
        .unwrap();
    db.server.psql("BEGIN; CREATE TABLE t (); PREPARE TRANSACTION 'left over'").await.unwrap();

    let ran = db.check(major + 1, &["--format", "json"]).await.expect(3);
    ran.says(&[
        "prepared transactions: left over (of postgres",
        "closed",
        "Copr \"main: public.\"Odd Name\".\"How\"",
        "views on system tables",
        "public.busy (on pg_stat_activity)",
        "ROLLBACK PREPARED",
        "nothing was changed",
        "https://www.postgresql.org/docs/",
    ]);
    let ran = db.check(major + 1, &["--format", "json"]).await;
    let aclitem = u32::from(major == 15);
    assert_eq!(outputs(&ran)["blocking"], (3 + aclitem).to_string());
    if major == 15 {
        ran.says(&["columns of type aclitem", "Copr \"main: public.grants.acl"]);
    }

    db.server.psql("ROLLBACK PREPARED 'left over'; DROP DATABASE closed").await.unwrap();
    db.server.psql("\\c \"Copr \"\"main\" \nDROP TABLE \"Odd Name\", grants").await.unwrap();
    let ran = db.check(major + 1, &["--format", "json"]).await.expect(0);
    assert_eq!(outputs(&ran)["blocking"], "0");
    assert_eq!(outputs(&ran)["changed"], "false");
    db.check(major + 1, &["--dry-run"]).await.expect(0).says(&["nothing in its way in 3 databases"]);
    db.check(major - 1, &[]).await.expect(3).says(&["can't go back", "--to-major"]);
    db.check(99, &[]).await.expect(0).says(&["99 is not known to this step"]);
}

#[tokio::test]
async fn indexes_are_counted_by_what_is_known_of_their_order() {
    let Some(db) = Db::icu("of text").await else { return };
    db.sql("CREATE TABLE t (a text, b int, c text COLLATE \"C\"); CREATE INDEX a ON t (a); CREATE INDEX b ON t (b); CREATE INDEX c ON t (c); \
             CREATE INDEX e ON t ((a > 'm')); CREATE INDEX p ON t (b) WHERE a < 'm'; CREATE TABLE j (d jsonb); CREATE INDEX j_d ON j (d)")
        .await;
    let major = db.major().await;
    let only = ["--only-database", &db.name, "--format", "json"];
    let ran = db.check(major, &only).await.expect(0);
    // The index of the text, the one of an expression that compares it, the one with such a condition, and jsonb's.
    assert_eq!(outputs(&ran)["text-indexes"], "4");
    assert_eq!(outputs(&ran)["to-rebuild"], "0");
    db.changed().await;
    let ran = db.check(major, &only).await.expect(0);
    assert_eq!(outputs(&ran)["to-rebuild"], "4");
    ran.says(&[
        "in the order of another version of the collation default (ICU en-US, version 1.1 recorded",
        "public.j_d",
    ]);
    db.server
        .psql(&format!("UPDATE pg_database SET datcollversion = NULL WHERE datname = '{}'", db.name))
        .await
        .unwrap();
    let ran = db.check(major, &only).await.expect(0);
    assert_eq!(outputs(&ran)["unknown-collations"], "4");
    ran.says(&["a change of the library can't be seen", "--indexes text"]);
    db.reindex(&["--format", "json"])
        .await
        .expect(0)
        .says(&["4 indexes depend on collations of which the server keeps no version"]);
}

#[tokio::test]
async fn an_order_that_has_changed_is_rebuilt_and_recorded_once() {
    let Some(db) = Db::icu("Copr's Own").await else { return };
    let files = "SELECT string_agg(relname || '=' || pg_relation_filenode(oid), ' ' ORDER BY relname) FROM pg_class WHERE relkind = 'i' AND relname ~ '^(Odd|plain|number)'";
    db.sql("CREATE TABLE \"T able\" (a text PRIMARY KEY, n int); ALTER INDEX \"T able_pkey\" RENAME TO \"Odd \"\"Name\"; CREATE INDEX plain ON \"T able\" (a); CREATE INDEX number ON \"T able\" (n); \
             CREATE COLLATION mine (provider = icu, locale = 'de'); CREATE TABLE u (b text COLLATE mine); CREATE INDEX plain_mine ON u (b)")
        .await;
    db.changed().await;
    db.sql("UPDATE pg_collation SET collversion = '1.1' WHERE collname = 'mine'").await;
    let before = db.sql(files).await;
    db.reindex(&["--dry-run"]).await.expect(0).says(&[
        "public.\"Odd \"\"Name\"",
        "REFRESH COLLATION VERSION",
        "free disk is not seen",
    ]);
    assert_eq!(db.sql(files).await, before);
    assert_eq!(db.sql("SELECT to_regclass('cutover.migrations_reindexed') IS NULL").await, "t");

    let ran = db.reindex(&["--format", "json"]).await.expect(0);
    assert_eq!(outputs(&ran)["rebuilt"], "3");
    assert_eq!(outputs(&ran)["refreshed"], "2");
    assert_eq!(outputs(&ran)["pending"], "0");
    let after = db.sql(files).await;
    let split = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let same: Vec<String> = split(&before)
        .into_iter()
        .filter(|file| split(&after).contains(file))
        .filter(|file| file.contains('='))
        .collect();
    assert_eq!(same.len(), 1, "only the index of numbers is as it was: {before} / {after}");
    assert_eq!(
        db.sql("SELECT datcollversion = pg_database_collation_actual_version(oid) FROM pg_database WHERE datname = current_database()").await,
        "t"
    );
    assert_eq!(
        db.sql(
            "SELECT collversion = pg_collation_actual_version(oid) FROM pg_collation WHERE collname = 'mine'"
        )
        .await,
        "t"
    );
    let ran = db.reindex(&["--format", "json"]).await.expect(0);
    assert_eq!(outputs(&ran)["changed"], "false");
    assert_eq!(db.sql(files).await, after);
    let receipts = db.dir.path().join("cutover-receipts");
    let newest = std::fs::read_dir(receipts)
        .unwrap()
        .flatten()
        .find(|entry| std::fs::read_to_string(entry.path()).is_ok_and(|text| text.contains("\"rebuild-")));
    let receipt = newest.unwrap().path().display().to_string();
    run(db.step(&["--action", "reindex", "--undo", &receipt]))
        .await
        .expect(3)
        .says(&["holds nothing that its table does not"]);
}

#[tokio::test]
async fn killed_between_two_indexes_it_goes_on_with_the_second() {
    let Some(db) = Db::icu("killed").await else { return };
    db.sql("CREATE TABLE a (x text); CREATE INDEX a_x ON a (x); CREATE TABLE b (x text); CREATE INDEX b_x ON b (x)").await;
    db.changed().await;
    let holder = db.hold("INSERT INTO b VALUES ('m')").await;
    let mut step = db.step(&["--action", "reindex", "--only-database", &db.name]).spawn().unwrap();
    db.until("SELECT 1 FROM cutover.migrations_reindexed WHERE index = 'public.a_x'").await;
    db.waiting().await;
    step.kill().await.unwrap();
    let first = db.file("a_x").await;
    end(holder).await;
    let ran = db.reindex(&["--format", "json"]).await.expect(0);
    assert_eq!(outputs(&ran)["rebuilt"], "1");
    ran.says(&["1 were rebuilt by an earlier run"]);
    assert_eq!(db.file("a_x").await, first);
    assert_eq!(db.sql("SELECT count(*) FROM pg_index WHERE NOT indisvalid").await, "0");
    assert_eq!(
        db.sql("SELECT count(*) FROM pg_class WHERE relname ~ '_cc(new|old)'").await,
        "0",
        "nothing is left of the broken-off build"
    );
}

#[tokio::test]
async fn who_stands_in_the_way_is_named_and_the_remains_are_put_away() {
    let Some(db) = Db::icu("waits").await else { return };
    db.sql("CREATE TABLE b (x text); CREATE INDEX b_x ON b (x)").await;
    db.changed().await;
    let before = db.file("b_x").await;
    let holder = db.hold("INSERT INTO b VALUES ('m')").await;
    db.reindex(&["--concurrent-lock-timeout", "1500ms", "--retry-for", "0"]).await.expect(4).says(&[
        "waits for a lock of server process",
        "idle in transaction: INSERT ...",
        "SQLSTATE 55P03",
        "every other one is as it was and in use",
    ]);
    assert_eq!(db.file("b_x").await, before);
    end(holder).await;
    db.reindex(&[]).await.expect(0);
    assert_ne!(db.file("b_x").await, before);
    assert_eq!(db.sql("SELECT count(*) FROM pg_index WHERE NOT indisvalid").await, "0");
}

#[tokio::test]
async fn rows_with_the_same_key_are_shown_and_nothing_is_deleted() {
    let Some(db) = Db::icu("twice").await else { return };
    db.sql("CREATE TABLE t (a text, n int); CREATE UNIQUE INDEX t_a ON t (lower(a)) WHERE n > 0; CREATE INDEX t_n ON t (a, n); INSERT INTO t VALUES ('x', 1)").await;
    // As a broken order lets it in: the second row does not find the first one.
    db.sql("UPDATE pg_index SET indisready = false WHERE indexrelid = 't_a'::regclass").await;
    db.sql("INSERT INTO t VALUES ('X', 2)").await;
    db.sql("UPDATE pg_index SET indisready = true WHERE indexrelid = 't_a'::regclass").await;
    db.changed().await;
    let other = db.file("t_n").await;
    db.reindex(&[]).await.expect(4).says(&[
        "public.t_a: could not create unique index",
        "Key (lower(a))=(x) is duplicated",
        "SELECT lower(a), count(*), array_agg(ctid) FROM ONLY public.t WHERE (n > 0) GROUP BY lower(a) HAVING count(*) > 1",
        "nothing was deleted",
    ]);
    assert_ne!(db.file("t_n").await, other, "the other index is rebuilt");
    assert_eq!(db.sql("SELECT count(*) FROM t").await, "2");
    assert_eq!(
        db.sql("SELECT datcollversion FROM pg_database WHERE datname = current_database()").await,
        "1.1"
    );
    assert_eq!(db.sql("SELECT count(*) FROM pg_class WHERE relname ~ '_ccnew'").await, "0");
    db.sql("SET enable_indexscan = off; SET enable_bitmapscan = off; DELETE FROM t WHERE n = 2").await;
    db.reindex(&[]).await.expect(0).says(&["1 were rebuilt by an earlier run"]);
    assert_ne!(
        db.sql("SELECT datcollversion FROM pg_database WHERE datname = current_database()").await,
        "1.1"
    );
}

#[tokio::test]
async fn an_index_whose_build_has_failed_is_built_when_its_rows_allow_it() {
    let db = Db::new().await;
    db.sql("CREATE TABLE t (a int, during int4range, EXCLUDE USING gist (during WITH &&)); INSERT INTO t VALUES (7), (7)").await;
    let failed =
        db.server.psql(&format!("\\c {} \nCREATE UNIQUE INDEX CONCURRENTLY i ON t (a)", db.name)).await;
    assert!(failed.is_err());
    let major = db.major().await;
    let ran = db.check(major, &["--only-database", &db.name, "--format", "json"]).await.expect(0);
    assert_eq!(outputs(&ran)["invalid-indexes"], "1");
    ran.says(&["invalid indexes", "public.i"]);
    db.reindex(&[]).await.expect(4).says(&["Key (a)=(7) is duplicated", "GROUP BY a HAVING"]);
    db.sql("DELETE FROM t WHERE ctid = '(0,2)'").await;
    db.reindex(&[]).await.expect(0);
    assert_eq!(db.sql("SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass").await, "t");
    db.reindex(&[]).await.expect(0).says(&["no index is invalid"]);
}

#[tokio::test]
async fn every_index_is_rebuilt_once_in_every_version_of_the_server() {
    for installation in installations().unwrap() {
        let db = Db::alone(Options { bin_dir: Some(installation.bin_dir), ..Options::default() }).await;
        db.sql("CREATE TABLE t (a text PRIMARY KEY, during int4range, EXCLUDE USING gist (during WITH &&)); INSERT INTO t VALUES ('a', '[1,2]')").await;
        db.sql("CREATE TABLE parts (a text) PARTITION BY RANGE (a); CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('a') TO ('m'); CREATE INDEX ON parts (a)").await;
        let all = ["--indexes", "all", "--format", "json"];
        let has_amcheck =
            db.sql("SELECT count(*) FROM pg_available_extensions WHERE name = 'amcheck'").await == "1";
        let amcheck: &[&str] = if has_amcheck { &["--amcheck"] } else { &[] };
        let files = "SELECT count(*) FROM pg_class WHERE relkind = 'i'";
        let count: u32 = db.sql(files).await.parse().unwrap();
        let ran = db.reindex(&[&all[..], amcheck].concat()).await.expect(0);
        assert_eq!(outputs(&ran)["rebuilt"], count.to_string(), "PostgreSQL {}", installation.major);
        assert_eq!(db.sql("SELECT count(*) FROM pg_extension WHERE extname = 'amcheck'").await, "0");
        let ran = db.reindex(&all).await.expect(0);
        assert_eq!(outputs(&ran)["changed"], "false", "PostgreSQL {}", installation.major);
        // Without a choice of databases, all are read that take connections.
        db.check(installation.major, &[]).await.expect(0).says(&["in 2 databases"]);
        run(db.step(&["--action", "reindex"])).await.expect(0).says(&["in 2 databases no index is invalid"]);
    }
}

#[tokio::test]
async fn a_role_that_may_not_is_refused_with_everything_it_lacks() {
    let Some(db) = Db::icu("not mine").await else { return };
    let role = db.name.split(' ').next().unwrap_or_default().to_owned() + "_clerk";
    db.server.psql(&format!("CREATE ROLE {role} LOGIN PASSWORD 'x'")).await.unwrap();
    db.sql("CREATE TABLE t (a text PRIMARY KEY)").await;
    db.changed().await;
    let as_clerk = async |args: &[&str]| {
        let mut command = db.step(args);
        command.env("PGUSER", &role).env("PGPASSWORD", "x");
        run(command).await
    };
    as_clerk(&["--action", "reindex", "--only-database", &db.name]).await.expect(3).says(&[
        "may not rebuild",
        "public.t_pkey",
        "does not own the database",
        "nothing was changed",
    ]);
    db.server.psql(&format!("REVOKE CONNECT ON DATABASE \"{}\" FROM PUBLIC", db.name)).await.unwrap();
    let mut command = db.step(&["--action", "upgrade-check", "--to-major", "18"]);
    command.env("PGUSER", &role).env("PGPASSWORD", "x").env("PGDATABASE", "postgres");
    run(command).await.expect(3).says(&["may not connect to", &db.name, "--only-database"]);
    db.reindex(&["--only-database", "absent"]).await.expect(3).says(&["has the name absent"]);
}

#[tokio::test]
async fn a_standby_is_not_rebuilt() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let data = folder.path().join("data");
    let options = || Options {
        data: Some(data.clone()),
        password: Some("follows-nobody".into()),
        ..Options::default()
    };
    drop(Postgres::start(options()).await.unwrap());
    std::fs::write(data.join("standby.signal"), "").unwrap();
    let db = Db::alone(options()).await;
    db.reindex(&[]).await.expect(3).says(&["standby", "connect to the primary"]);
    db.check(99, &[]).await.expect(0).says(&["the server is a standby"]);
}

#[tokio::test]
async fn flags_that_do_not_belong_together_are_usage_errors() {
    let db = Db::new().await;
    let case = async |args: &[&str], says: &[&str]| {
        run(db.step(args)).await.expect(2).says(says);
    };
    case(&["--action", "upgrade-check"], &["--to-major"]).await;
    case(&["--action", "reindex", "--migrations", "migrations"], &["--migrations"]).await;
    case(&["--action", "reindex", "--to-major", "18"], &["--to-major"]).await;
    case(&["--action", "upgrade-check", "--to-major", "18", "--amcheck"], &["--amcheck"]).await;
    case(&["--migrations", "migrations", "--indexes", "all"], &["--indexes"]).await;
    case(&["--action", "reindex", "--indexes", "some"], &["some"]).await;
    case(&[], &["--migrations"]).await;
}

#[tokio::test]
async fn a_rebuilding_whose_session_the_server_has_ended_is_looked_up_and_done() {
    let Some(db) = Db::icu("ended").await else { return };
    db.sql("CREATE TABLE b (x text); CREATE INDEX b_x ON b (x)").await;
    db.changed().await;
    let before = db.file("b_x").await;
    let holder = db.hold("INSERT INTO b VALUES ('m')").await;
    let step = tokio::spawn(run(db.step(&["--action", "reindex", "--only-database", &db.name])));
    let pid = db.waiting().await;
    db.sql(&format!("SELECT pg_terminate_backend({pid})")).await;
    end(holder).await;
    step.await.unwrap().expect(0).says(&["looking what became of it", "rebuilt public.b_x"]);
    assert_ne!(db.file("b_x").await, before);
    assert_eq!(db.sql("SELECT count(*) FROM pg_class WHERE relname ~ '_ccnew'").await, "0");
}
