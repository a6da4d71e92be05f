//! Migrations that nobody here wrote.

use std::path::Path;

use testkit::postgres::USER;
use tokio::process::Command;

use super::Db;

/// Copies the files of a package into the folder of migrations.
fn take(db: &Db, from: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name.ends_with(".sql") {
            std::fs::copy(entry.path(), db.dir.path().join("migrations").join(&name)).unwrap();
            names.push(name);
        }
    }
    names.sort();
    names
}

/// The lines of a schema, sorted: columns that were added later stand elsewhere in their tables.
async fn schema(db: &Db) -> Vec<String> {
    let output = Command::new(db.server.bin_dir.join("pg_dump"))
        .args(["--schema-only", "--exclude-schema=cutover", "-h", "127.0.0.1", "-U", USER, "-p"])
        .args([&db.server.port.to_string(), &db.name])
        .env("PGPASSWORD", &db.server.password)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| line.trim_end_matches(',').to_owned())
        .filter(|line| !line.contains("restrict "))
        .collect();
    lines.sort();
    lines
}

/// Every file in turn: the step is killed while its last statement waits, and runs again.
#[tokio::test]
async fn killed_in_every_file_of_a_real_chain_it_ends_as_the_package_s_own_schema() {
    let folder = testkit::venv::procrastinate_migrations().expect("run `make setup`");
    let db = Db::new().await;
    let names = take(&db, &folder);
    assert!(names.len() >= 38, "{names:?}");
    for (n, name) in names.iter().enumerate() {
        // The ledger's line is written last in each transaction: who holds the table keeps the file from being committed.
        let holder = match n {
            0 => None,
            _ => Some(db.hold("LOCK TABLE cutover.migrations IN EXCLUSIVE MODE").await),
        };
        if let Some(holder) = holder {
            let mut step = db.command(&["--lock-timeout", "0", "--to", version(name)]).spawn().unwrap();
            db.waiting().await;
            step.kill().await.unwrap();
            super::end(holder).await;
            assert!(!db.ledger().await.split(' ').any(|applied| applied == version(name)), "{name}");
        }
        db.migrate(&["--to", version(name)]).await.expect(0);
        assert_eq!(db.sql("SELECT count(*) FROM cutover.migrations").await, (n + 1).to_string(), "{name}");
    }
    db.migrate(&[]).await.expect(0).says(&["has every migration"]);
    let own = Db::new().await;
    own.sql(&std::fs::read_to_string(folder.with_file_name("schema.sql")).unwrap()).await;
    assert_eq!(schema(&db).await, schema(&own).await);
}

/// `03.01.00_01_pre_add_heartbeat.sql` is 03.01.00_01.
fn version(name: &str) -> &str {
    name.get(..11).unwrap()
}
