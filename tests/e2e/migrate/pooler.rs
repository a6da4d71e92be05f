//! Behind a pooler neither locks nor time-outs hold: it is refused, with the direct endpoint as the next move.

use testkit::pgbouncer::{self, PgBouncer};

use super::Db;
use crate::world::run;

#[tokio::test]
async fn a_pooler_that_refuses_or_ignores_start_up_options_is_refused() {
    // Without the setting `PgBouncer` refuses `options`; with it they are dropped without a word.
    for (more, why) in [
        ("", "startup parameter"),
        ("ignore_startup_parameters = options", "start-up options are not in force: "),
    ] {
        let db = Db::new().await;
        db.write("1_t.sql", "CREATE TABLE t ();");
        if pgbouncer::installation().is_none() {
            testkit::inputs::skipped("pgbouncer: there is none on this machine");
            return;
        }
        let pooler = PgBouncer::start(&db.server, more).await.unwrap();
        let mut command = db.command(&[]);
        command.env("PGPORT", pooler.port.to_string()).env("PGSSLMODE", "disable");
        run(command).await.expect(3).says(&[why, "connect to the server itself", "nothing was changed"]);
        assert_eq!(db.sql("SELECT to_regclass('t') IS NULL").await, "t");
    }
}
