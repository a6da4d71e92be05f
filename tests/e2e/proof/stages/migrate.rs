//! A database that is migrated: in transactions, and out of them where a statement can't be in one.

use std::path::Path;

use futures::future::{BoxFuture, FutureExt as _};
use serde_json::Value;
use testkit::postgres::wire::Wire;
use tokio::process::Command;

use crate::migrate::Db;
use crate::proof::{Case, Place, Stage, started};
use crate::world::run;

pub(super) const CASES: [Case; 2] = [
    Case { step: "run-migration", does: "migrates", start: || started(Migrate::new(&[])) },
    Case {
        step: "run-migration",
        does: "goes back",
        start: || {
            started(async {
                let stage = Migrate::new(&["--action", "revert", "--to", "1"]).await;
                run(stage.db.command(&[])).await.expect(0);
                stage
            })
        },
    },
];

/// What each file counts itself in: one that ran twice is there twice.
const FILES: [(&str, &str); 5] = [
    (
        "1_tables.up.sql",
        "CREATE TABLE t AS SELECT n AS a FROM generate_series(1, 50) n; CREATE TABLE log (ran text);",
    ),
    (
        "2_index.up.sql",
        "-- cutover:no-transaction\nINSERT INTO log VALUES ('2');\nCREATE INDEX CONCURRENTLY i ON t (a);\nINSERT INTO log VALUES ('2, after');\n",
    ),
    (
        "2_index.down.sql",
        "-- no-transaction\nINSERT INTO log VALUES ('2, back');\nDROP INDEX CONCURRENTLY i;\n",
    ),
    ("3_view.up.sql", "INSERT INTO log VALUES ('3'); CREATE VIEW v AS SELECT a FROM t;"),
    ("3_view.down.sql", "INSERT INTO log VALUES ('3, back'); DROP VIEW v;"),
];

const STATE: &str = "
    CREATE FUNCTION pg_temp.rows(name text, OUT lines jsonb) LANGUAGE plpgsql AS $$ BEGIN
        IF to_regclass(name) IS NOT NULL THEN
            EXECUTE format('SELECT jsonb_agg(line ORDER BY line) FROM (SELECT to_jsonb(t) - ''{run,applied_at,duration_ms,began,changed}''::text[] AS line FROM %s t) l', name) INTO lines;
        END IF;
    END $$;
    SELECT jsonb_build_object(
        'relations', (SELECT jsonb_agg(jsonb_build_array(c.oid::regclass, relkind, indisvalid) ORDER BY c.oid::regclass::text)
            FROM pg_class c LEFT JOIN pg_index ON indexrelid = c.oid
            WHERE relnamespace IN ('public'::regnamespace, to_regnamespace('cutover'))),
        'log', pg_temp.rows('public.log'),
        'ledger', pg_temp.rows('cutover.migrations'),
        'begun', pg_temp.rows('cutover.migrations_progress'))";

struct Migrate {
    db: Db,
    wire: Wire,
    more: &'static [&'static str],
}

impl Migrate {
    async fn new(more: &'static [&'static str]) -> Self {
        let db = Db::new().await;
        for (name, sql) in FILES {
            db.write(name, sql);
        }
        let wire = Wire::start(db.server.port).await.unwrap();
        Self { db, wire, more }
    }
}

impl Stage for Migrate {
    fn place(&self) -> Option<&dyn Place> {
        Some(&self.wire)
    }

    fn dir(&self) -> &Path {
        self.db.dir.path()
    }

    fn cutover(&self, args: &[&str]) -> Command {
        // `Db` names the step itself.
        let mut command = self.db.step(args.get(1..).unwrap_or_default());
        command.env("PGPORT", self.wire.port().to_string());
        command
    }

    fn args(&self) -> Vec<String> {
        let args = ["run-migration", "--migrations", "migrations", "--without-backup", &self.db.name];
        args.iter().chain(self.more).map(|arg| (*arg).to_owned()).collect()
    }

    fn names(&self) -> Vec<(String, &'static str)> {
        vec![(self.db.name.clone(), "DATABASE")]
    }

    fn state(&self) -> BoxFuture<'_, Value> {
        async { serde_json::from_str(&self.db.sql(STATE).await).unwrap() }.boxed()
    }

    fn told_of_the_run(&self) -> &'static [&'static str] {
        &["applied", "from-version", "reverted"]
    }

    /// `--undo` says which backup is to be restored.
    fn is_undoable(&self) -> bool {
        false
    }
}
