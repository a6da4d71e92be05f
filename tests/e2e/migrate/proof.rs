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

/// `03.01.00_01_pre_add_heartbeat.sql` is `03.01.00_01`.
fn version(name: &str) -> &str {
    name.get(..11).unwrap()
}

/// The migrations of a published crate with ways back, sqlx's names and sqlx's ledger; fetched by cargo, or none.
async fn sqlxmq() -> Option<std::path::PathBuf> {
    let fetched = Command::new("cargo").args(["info", "--quiet", "sqlxmq@0.6.0"]).output().await;
    let home = std::env::var_os("CARGO_HOME").map_or_else(
        || Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(".cargo"),
        std::path::PathBuf::from,
    );
    let sources = std::fs::read_dir(home.join("registry/src")).into_iter().flatten().flatten();
    let found =
        sources.map(|entry| entry.path().join("sqlxmq-0.6.0/migrations")).find(|folder| folder.is_dir());
    if found.is_none() {
        testkit::inputs::skipped(&format!("cargo can't fetch sqlxmq 0.6.0: {fetched:?}"));
    }
    found
}

#[tokio::test]
async fn a_real_chain_goes_forward_and_back_version_by_version() {
    let Some(folder) = sqlxmq().await else { return };
    let db = Db::new().await;
    if db.sql("SELECT 1 FROM pg_available_extensions WHERE name = 'uuid-ossp'").await.is_empty() {
        eprintln!("skipped: this server has no extension uuid-ossp");
        return;
    }
    let names = take(&db, &folder);
    let versions: Vec<&str> = names
        .iter()
        .filter(|name| name.ends_with(".up.sql"))
        .filter_map(|name| name.split('_').next())
        .collect();
    assert_eq!(versions.len(), 5, "{names:?}");
    // Its first file puts a row into a table that its way back drops.
    let allow =
        ["--allow", "ban-drop-table", "--allow", "ban-drop-column", "--allow", "delete-without-where"];
    let step = async |more: &[&str]| db.migrate(&[&["--ledger", "sqlx"], more, &allow[..]].concat()).await;
    // Its ways back write the bodies of functions with other line breaks, and leave comments: what is compared is what there is.
    let objects = async || {
        let named = |line: &String| line.starts_with("-- Name: ") && !line.contains("Type: COMMENT");
        schema(&db).await.into_iter().filter(named).collect::<Vec<_>>()
    };
    let mut after = Vec::new();
    for version in &versions {
        step(&["--to", version]).await.expect(0);
        after.push(objects().await);
    }
    for n in (1..versions.len()).rev() {
        step(&["--action", "revert", "--to", versions[n - 1]]).await.expect(0);
        assert_eq!(objects().await, after[n - 1], "the way back of {}", versions[n]);
    }
    step(&[]).await.expect(0);
    assert_eq!(Some(&objects().await), after.last());
    step(&["--action", "revert", "--to", "none"]).await.expect(0);
    assert_eq!(db.sql("SELECT count(*) FROM _sqlx_migrations").await, "0");
    assert_eq!(db.sql("SELECT to_regclass('mq_msgs') IS NULL").await, "t");
}
