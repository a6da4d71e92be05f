//! Steps whose world has a database.

use testkit::postgres::{Options, Postgres};

use super::Terminal;
use crate::backup::Stage;
use crate::migrate::Db;
use crate::world::{World, shared_emulator};

#[tokio::test]
async fn backup_db() {
    let world = World::start().await;
    let bucket = "rally-backups".to_owned();
    shared_emulator().await.create_bucket(&bucket).await.unwrap();
    let postgres =
        Postgres::start(Options { database: Some("rally".into()), ..Options::default() }).await.unwrap();
    postgres
        .psql(
            "CREATE TABLE volunteer (id int PRIMARY KEY, name text);
             INSERT INTO volunteer SELECT n, 'volunteer ' || n FROM generate_series(1, 5000) n;",
        )
        .await
        .unwrap();
    let identifier = postgres.psql("SELECT system_identifier FROM pg_control_system()").await.unwrap();
    let stage = Stage { world, postgres, bucket };
    let mut command = stage.world.command(&[]);
    stage.connected(&mut command);
    Terminal::new("backup-db", &command)
        .shown(format!("127.0.0.1:{}", stage.postgres.port), "127.0.0.1:5432")
        .shown(identifier.trim(), "7423908812345678901")
        .figure("PostgreSQL ", "16.9")
        .figure("pg_dump ", "16.9")
        .figure("dump rally (", "7.6")
        .figure("dump rally: ", "21.3")
        .figure("  rally  ", "21.3")
        .figure(".dump (", "21.3")
        .figure("bytes=", "21790")
        .figure("duration=", "1")
        .figure(" UTC  ", "9")
        .figure("read back is ", "9")
        .id("sha256=", "8ab8fa10fcc26d36105b7ef1d7b2d03c70421abf73e34f88671438e5ec66a863")
        .plays()
        .await;
}

#[tokio::test]
async fn run_migration() {
    let db = Db::new().await;
    db.sql("CREATE TABLE build (id int PRIMARY KEY, state text); INSERT INTO build VALUES (1, 'ok')").await;
    db.write("001_project.sql", "CREATE TABLE project (id int PRIMARY KEY, name text NOT NULL);\n");
    db.write("002_build_project.sql", "ALTER TABLE build ADD COLUMN project int REFERENCES project;\n");
    let mut command = db.step(&[]);
    Terminal::new("run-migration", command.args([""; 0]))
        .shown(&db.name, "copr")
        .figure("sql in ", "14")
        .shown(format!("127.0.0.1:{}", db.server.port), "127.0.0.1:5432")
        .plays()
        .await;
}
