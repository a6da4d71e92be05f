//! What a dump holds, what its manifest says, and what is left when something dies.

use serde_json::json;
use testkit::front::{Fault, When};
use testkit::pgbouncer::{self, PgBouncer};
use testkit::postgres::{Options, Postgres};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Stage, executable, output, stand_in};
use crate::world::run;

#[tokio::test]
async fn the_manifest_counts_every_row_and_object_in_the_snapshot_of_the_dump() {
    let stage = Stage::full().await;
    stage.sql("ANALYZE").await;
    let ran = stage.backup_db(&["--count-limit", "500"]).await.expect(0);
    let manifest = stage.manifest(&ran).await;
    let rows = &manifest["rows"];
    for (name, count) in [
        ("public.answer_2025", 213),
        ("public.answer_2026", 187),
        ("public.session", 7),
        ("public.empty", 0),
        ("\"odd; \"\"schema\"\" ..\".\".. Größe 'x'\"", 2),
    ] {
        assert_eq!(rows[name], json!(count), "{name}: {rows:#}");
    }
    assert_eq!(rows["public.by_mood_0"].as_u64().unwrap() + rows["public.by_mood_1"].as_u64().unwrap(), 50);
    assert!(rows.get("public.answer").is_none(), "a parent holds no rows: {rows:#}");
    assert!(rows.get("public.titles").is_none() && rows.get("public.survey").is_none(), "{rows:#}");
    assert_eq!(manifest["rows_estimated"], json!({"public.survey": 1000}));
    assert!(manifest.get("rows_unknown").is_none(), "{manifest:#}");
    let objects = &manifest["objects"];
    for (kind, count) in [
        ("tables", 8),
        ("partitioned-tables", 2),
        ("views", 1),
        ("materialized-views", 1),
        ("sequences", 1),
        ("functions", 2),
        ("triggers", 1),
        ("policies", 1),
        ("schemas", 1),
        ("large-objects", 1),
        ("foreign-keys", 1),
    ] {
        assert_eq!(objects[kind], json!(count), "{kind}: {objects:#}");
    }
    let roles: Vec<&str> =
        manifest["roles"].as_array().unwrap().iter().filter_map(|role| role.as_str()).collect();
    assert_eq!(roles, ["odd; role", "postgres", "volunteer"]);
    assert_eq!(manifest["locale"]["encoding"], "UTF8");
    assert_eq!(manifest["compression"], "zstd");
}

#[tokio::test]
async fn each_compression_is_what_it_says_and_the_command_for_restoring_fits_it() {
    let stage = Stage::full().await;
    let mut sizes = Vec::new();
    for method in ["zstd", "gzip", "none"] {
        let ran = stage.backup_db(&["--compression", method, "--count-limit", "0"]).await.expect(0);
        let manifest = stage.manifest(&ran).await;
        assert_eq!(manifest["compression"], method);
        assert!(manifest.get("rows").is_none());
        let key = manifest["key"].as_str().unwrap().to_owned();
        let bytes = stage.object(&key).await;
        sizes.push(bytes.len());
        let around = manifest["zstd_stream"] == json!(true);
        // https://datatracker.ietf.org/doc/html/rfc8878#section-3.1.1, and what a custom archive begins with.
        let magic: &[u8] = if around { &[0x28, 0xb5, 0x2f, 0xfd] } else { b"PGDMP" };
        assert!(bytes.starts_with(magic), "{method}");
        assert_eq!(key.ends_with(".dump.zst"), around);
        assert_eq!(output(&ran, "restore-command").contains("zstd -dc |"), around);
        assert_eq!(output(&ran, "rung"), "read-back");
    }
    assert!(sizes[0] < sizes[2] / 2 && sizes[1] < sizes[2] / 2, "{sizes:?}");
}

#[tokio::test]
async fn a_pg_dump_that_knows_zstd_is_told_to_use_it_and_one_that_does_not_is_not() {
    let stage = Stage::start().await;
    // Its version is 99; asked for zstd it fails as one with or without zstd does when its file can't be opened.
    let says = stage.world.path("said");
    let script = |refusal: &str| {
        format!(
            "#!/bin/sh\ncase \"$*\" in *--version*) echo 'pg_dump (PostgreSQL) 99.1'; exit 0;; esac\n\
             echo \"$*\" >> '{}'\ncase \"$*\" in */dev/null/x*) echo \"pg_dump: error: {refusal}\" >&2; exit 1;; esac\nexit 3\n",
            says.display()
        )
    };
    let path = stage.world.path("pg_dump");
    let fake = path.display().to_string();
    executable(&stage.world.path("pg_restore"), "#!/bin/sh\necho 'pg_restore (PostgreSQL) 99.1'\n");
    for (refusal, argument) in [
        ("could not open output file \\\"/dev/null/x\\\": Not a directory", "--compress=zstd:3"),
        (
            "invalid compression specification: this build does not support compression with ZSTD",
            "--compress=0",
        ),
    ] {
        executable(&path, &script(refusal));
        let _ = std::fs::remove_file(&says);
        stage.backup_db(&["--pg-dump", &fake, "--no-globals"]).await.expect(1).says(&["exit code 3"]);
        let said = std::fs::read_to_string(&says).unwrap();
        let dump = said.lines().last().unwrap();
        assert!(dump.contains(argument), "{said}");
    }
    assert_eq!(stage.keys().await, Vec::<String>::new());
}

#[tokio::test]
async fn passwords_leave_the_server_encrypted_or_not_at_all() {
    let stage = Stage::start().await;
    stage.sql("CREATE ROLE secretive LOGIN PASSWORD 'hunter2-hunter2'").await;
    stage.backup_db(&["--role-passwords"]).await.expect(2).says(&["--age-recipient"]);
    let secret = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";
    let ran = stage.backup_db(&["--role-passwords", "--age-recipient", secret]).await.expect(2);
    assert!(ran.stderr.contains("secret key") && !ran.stderr.contains(secret), "{}", ran.stderr);
    assert_eq!(stage.keys().await, Vec::<String>::new());

    // From the README of age: https://github.com/FiloSottile/age
    let key = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    let ran = stage.backup_db(&["--role-passwords", "--age-recipient", key]).await.expect(0);
    let manifest = stage.manifest(&ran).await;
    assert_eq!(manifest["globals_recipients"], json!([key]));
    let globals = stage.object(manifest["globals_key"].as_str().unwrap()).await;
    assert!(manifest["globals_key"].as_str().unwrap().ends_with(".globals.sql.age"));
    assert!(globals.starts_with(b"age-encryption.org/v1\n-> X25519 "));
    for key in stage.keys().await {
        let object = stage.object(&key).await;
        assert!(!object.windows(13).any(|part| part == b"SCRAM-SHA-256"), "{key}");
    }
    // Another role can't read them, and a backup without them is not what was asked for.
    stage.sql("CREATE ROLE reader LOGIN PASSWORD 'reader-pw'").await;
    let mut command = stage.command(&["--role-passwords", "--age-recipient", key]);
    command.env("PGUSER", "reader").env("PGPASSWORD", "reader-pw");
    run(command).await.expect(3).says(&["pg_authid", "leave --role-passwords out", "nothing was changed"]);
}

#[tokio::test]
async fn a_policy_that_hides_rows_fails_the_dump_and_says_what_to_do() {
    let stage = Stage::full().await;
    stage.sql("CREATE ROLE reader LOGIN PASSWORD 'reader-pw' IN ROLE pg_read_all_data").await;
    let mut command = stage.command(&["--no-globals"]);
    command.env("PGUSER", "reader").env("PGPASSWORD", "reader-pw");
    run(command).await.says(&["row-level security policy", "BYPASSRLS", "nothing was changed"]).expect(1);
    let mut command = stage.command(&["--no-globals"]);
    stage.sql("ALTER ROLE reader BYPASSRLS; CREATE TABLE private (x int); REVOKE ALL ON private FROM PUBLIC; REVOKE pg_read_all_data FROM reader").await;
    command.env("PGUSER", "reader").env("PGPASSWORD", "reader-pw");
    run(command).await.says(&["permission denied for", "pg_read_all_data", "nothing was changed"]).expect(1);
    assert_eq!(stage.keys().await, Vec::<String>::new());
}

#[tokio::test]
async fn foreign_tables_are_not_read_and_databases_may_have_odd_names() {
    let stage = Stage::start().await;
    let extensions =
        stage.sql("SELECT count(*) FROM pg_available_extensions WHERE name = 'postgres_fdw'").await;
    if extensions == "1" {
        stage.sql("CREATE EXTENSION postgres_fdw; CREATE SERVER dead FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '9'); \
                   CREATE USER MAPPING FOR postgres SERVER dead; CREATE FOREIGN TABLE far (x int) SERVER dead").await;
    } else {
        stage.sql("CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER dead FOREIGN DATA WRAPPER nothing; CREATE FOREIGN TABLE far (x int) SERVER dead").await;
    }
    let manifest = stage.manifest(&stage.backup_db(&[]).await.expect(0)).await;
    assert_eq!((&manifest["rows"], &manifest["objects"]["foreign-tables"]), (&json!({}), &json!(1)));
    for name in ["..", "a=b 'c\" d", "größe/…"] {
        stage.sql(&format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\""))).await;
        let mut command = stage.command(&[]);
        command.env("PGDATABASE", name);
        let ran = run(command).await.expect(0);
        let manifest = stage.manifest(&ran).await;
        assert_eq!(manifest["database"], name);
        assert!(manifest["globals_key"].is_string(), "{manifest:#}");
    }
    assert!(stage.keys().await.iter().any(|key| key.starts_with("safe/%2E%2E/")), "{:?}", stage.keys().await);
}

#[tokio::test]
async fn a_table_that_lost_its_rows_is_warned_of() {
    let stage = Stage::full().await;
    stage.backup_db(&[]).await.expect(0);
    stage.sql("TRUNCATE session; DROP TABLE answer_2025").await;
    stage
        .backup_db(&[])
        .await
        .expect(0)
        .says(&["public.session had 7 rows and has none", "public.answer_2025 had 213 rows and is gone"]);
}

#[tokio::test]
async fn what_cannot_be_counted_is_said_and_fails_nothing() {
    let stage = Stage::full().await;
    // No connection is left for the counting.
    stage.sql("CREATE ROLE lonely LOGIN SUPERUSER PASSWORD 'lonely-pw' CONNECTION LIMIT 2; ALTER ROLE lonely NOSUPERUSER BYPASSRLS; GRANT pg_read_all_data TO lonely").await;
    let mut command = stage.command(&["--no-globals"]);
    command.env("PGUSER", "lonely").env("PGPASSWORD", "lonely-pw");
    let script = "exec \"$REAL\" \"$@\"";
    command.args(["--pg-dump", &stand_in(&stage, "pg_dump", script)]);
    let ran = run(command).await;
    // The session, the counting and pg_dump are three: whichever comes last is refused.
    if ran.code == 0 {
        let manifest = stage.manifest(&ran.says(&["not counted"])).await;
        assert!(manifest["rows_unknown"]["public.survey"].as_str().unwrap().contains("too many connections"));
    } else {
        ran.says(&["too many connections", "nothing was changed"]).expect(1);
    }
    assert!(stage.keys().await.iter().all(|key| !key.starts_with("(unfinished)")));
}

#[tokio::test]
async fn a_standby_is_backed_up_with_counts_and_without_the_rows_of_unlogged_tables() {
    let stage = Stage::full().await;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut command = tokio::process::Command::new(stage.postgres.bin_dir.join("pg_basebackup"));
    command.args(["--checkpoint=fast", "--write-recovery-conf", "--no-sync", "--pgdata"]).arg(&data);
    stage.connected(&mut command).env_remove("PGDATABASE");
    run(command).await.expect(0);
    own(&data, folder.path());
    let standby = Postgres::start(Options {
        data: Some(data),
        bin_dir: Some(stage.postgres.bin_dir.clone()),
        database: Some("rally".into()),
        password: Some(stage.postgres.password.clone()),
        ..Options::default()
    })
    .await
    .unwrap();
    let mut command = stage.command(&[]);
    command.env("PGPORT", standby.port.to_string());
    let ran = run(command).await.expect(0).says(&["the server is a standby"]);
    let manifest = stage.manifest(&ran).await;
    assert_eq!(manifest["rows"]["public.survey"], json!(1000));
    assert!(manifest["rows"].get("public.session").is_none());
    assert!(
        manifest["rows_unknown"]["public.session"].as_str().unwrap().contains("unlogged"),
        "{manifest:#}"
    );
    assert!(manifest["snapshot"].is_string());

    // It has the primary's identifier, and locks of its own: what it uploads is not a dead run's to the primary.
    let hold = stage.world.front.hold("s3:CompleteMultipartUpload", When::BeforeForward);
    let mut command = stage.command(&["--backup-id", "nightly"]);
    command.env("PGPORT", standby.port.to_string());
    let nightly = tokio::spawn(run(command));
    hold.arrived().await;
    run(stage.command(&["--backup-id", "release"])).await.expect(0);
    hold.release();
    nightly.await.unwrap().expect(0);
}

/// What root copied belongs to the account that servers run as.
fn own(data: &std::path::Path, folder: &std::path::Path) {
    if std::fs::metadata("/root").is_ok_and(|_| std::fs::read_dir("/root").is_ok()) {
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
        let user = ["postgres", "nobody"]
            .into_iter()
            .find(|user| passwd.lines().any(|line| line.starts_with(&format!("{user}:"))));
        for path in [data, folder] {
            let _ = std::process::Command::new("chown").args(["-R", user.unwrap()]).arg(path).status();
        }
    }
}

#[tokio::test]
async fn a_server_that_dies_half_way_leaves_nothing() {
    let stage = Stage::full().await;
    let script = format!(
        "\"$REAL\" \"$@\" | head -c 3000; kill -QUIT {}; exec \"$REAL\" \"$@\"",
        stage.postgres.pid()
    );
    let fake = stand_in(&stage, "pg_dump", &script);
    let ran = stage.backup_db(&["--pg-dump", &fake]).await;
    assert!(matches!(ran.code, 1 | 4), "{ran:?}");
    ran.says(&["nothing was changed"]);
    assert_eq!(stage.keys().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_denied_manifest_leaves_a_dump_that_the_next_run_finishes() {
    let stage = Stage::full().await;
    let id = ["--backup-id", "release-7"];
    // The globals come first.
    stage.world.front.set_faults([Fault::access_denied("s3:PutObject").times(10)]);
    stage
        .backup_db(&[&id[..], &["--no-globals"]].concat())
        .await
        .expect(4)
        .says(&["s3:PutObject", "running again"]);
    stage.world.front.set_faults([]);
    let list = stage.backup_db(&["--action", "list"]).await.expect(0);
    assert_eq!(list.json()["shelf"]["without-manifest"].as_array().unwrap().len(), 1);
    let ran = stage.backup_db(&id).await.expect(0);
    assert_eq!(output(&ran, "rung"), "read-back");
    assert_eq!(stage.keys().await.len(), 3);
    let again = stage.backup_db(&id).await.expect(0);
    assert_eq!(output(&again, "changed"), "false");
}

#[tokio::test]
async fn a_dump_whose_reader_was_killed_is_kept_and_finished_by_the_next_run() {
    let stage = Stage::full().await;
    let dump = stand_in(&stage, "pg_dump", "exec \"$REAL\" \"$@\"");
    let id = ["--backup-id", "release-8", "--no-globals", "--pg-dump", &dump];
    // As where memory is short: while it lists, and while it reads all.
    for when in ["--list", "--file"] {
        let script = format!("case \"$*\" in *{when}*) kill -9 $$;; esac; exec \"$REAL\" \"$@\"");
        stand_in(&stage, "pg_restore", &script);
        let mut args = id;
        let own = format!("killed-at{when}");
        args[1] = &own;
        stage
            .backup_db(&args)
            .await
            .expect(5)
            .says(&["killed by signal 9", "is no backup until it is verified"]);
        let left = stage.keys().await.into_iter().find(|key| key.contains(&own)).expect("the dump is kept");
        // The next run that can't read it either makes another, and leaves it. A key has the second in it.
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        let again = stage.backup_db(&args).await.expect(5).says(&["has no manifest"]);
        assert!(stage.keys().await.contains(&left), "{again:?}");
        stand_in(&stage, "pg_restore", "exec \"$REAL\" \"$@\"");
        let before = stage.keys().await.len();
        let ran = stage.backup_db(&args).await.expect(0);
        assert_eq!(output(&ran, "rung"), "read-back");
        assert_eq!(stage.keys().await.len(), before + 1, "the manifest, and no other dump");
    }
}

#[tokio::test]
async fn a_pg_restore_that_is_too_old_for_pg_dump_is_refused_before_anything() {
    let stage = Stage::start().await;
    let dump = stage.world.path("pg_dump");
    executable(&dump, "#!/bin/sh\necho 'pg_dump (PostgreSQL) 99.0'\n");
    let dump = dump.display().to_string();
    stage.backup_db(&["--no-globals", "--pg-dump", &dump]).await.expect(3).says(&[
        "can't read what pg_dump 99.0 writes",
        "--pg-dump",
        "nothing was changed",
    ]);
    assert_eq!(stage.keys().await, Vec::<String>::new());
}

#[tokio::test]
async fn undoing_a_killed_run_leaves_what_another_run_finished() {
    let stage = Stage::full().await;
    let path = |name: &str| stage.world.path(name).display().to_string();
    let (first, second) = (path("first.json"), path("second.json"));
    let id = ["--backup-id", "release-9", "--no-globals", "--receipt"];
    stage.world.front.set_faults([Fault::access_denied("s3:PutObject").times(10)]);
    stage.backup_db(&[&id[..], &[&first]].concat()).await.expect(4);
    stage.world.front.set_faults([]);
    stage.backup_db(&[&id[..], &[&second]].concat()).await.expect(0);
    let keys = stage.keys().await;
    stage
        .backup_db(&["--undo", &first])
        .await
        .expect(3)
        .says(&["another run finished this backup", "nothing was changed"]);
    assert_eq!(stage.keys().await, keys);
    // Without its manifest it is nobody's backup any more.
    stage.backup_db(&["--undo", &second]).await.expect(0);
    stage.backup_db(&["--undo", &first]).await.expect(0);
    assert_eq!(stage.keys().await, Vec::<String>::new());
}

/// Passes connections on, and keeps those to the server when a client has said goodbye, as a pooler does.
async fn keeping(port: u16) -> u16 {
    const GOODBYE: [u8; 5] = [b'X', 0, 0, 0, 4];
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((client, _)) = listener.accept().await {
            let server = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let ((mut from, mut back), (mut answers, mut to)) = (client.into_split(), server.into_split());
            kept.push(tokio::spawn(async move {
                let mut buffer = vec![0; 65536];
                while let Ok(length @ 1..) = from.read(&mut buffer).await {
                    let said = &buffer[..length];
                    if to.write_all(said.strip_suffix(&GOODBYE).unwrap_or(said)).await.is_err() {
                        break;
                    }
                }
                std::future::pending::<()>().await;
            }));
            kept.push(tokio::spawn(async move {
                let _ = tokio::io::copy(&mut answers, &mut back).await;
                std::future::pending::<()>().await;
            }));
        }
    });
    own
}

#[tokio::test]
async fn the_lock_is_given_back_where_a_pooler_keeps_the_connection() {
    let stage = Stage::full().await;
    let port = keeping(stage.postgres.port).await;
    let mut command = stage.command(&[]);
    command.env("PGPORT", port.to_string());
    run(command).await.expect(0);
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    assert_eq!(stage.sql(locks).await, "0", "nobody is left to give it back");
    stage.backup_db(&["--timeout", "20s"]).await.expect(0);
}

/// `PgBouncer` in transaction mode, with a server process for each transaction (`server_lifetime = 0`).
#[tokio::test]
async fn a_pooler_that_changes_server_processes_is_refused_before_anything() {
    if pgbouncer::installation().is_none() {
        testkit::inputs::skipped("pgbouncer: there is none on this machine");
        return;
    }
    let stage = Stage::full().await;
    let pooler = PgBouncer::start(&stage.postgres, "server_lifetime = 0").await.unwrap();
    let mut command = stage.command(&[]);
    command.env("PGPORT", pooler.port.to_string()).env("PGSSLMODE", "disable");
    run(command).await.expect(3).says(&[
        "a pooler is between",
        "connect to the server itself",
        "nothing was changed",
    ]);
    assert_eq!(stage.keys().await, [""; 0]);
}

#[tokio::test]
async fn a_dump_outlasts_the_time_that_the_server_gives_idle_sessions() {
    let stage = Stage::full().await;
    // There from 14 on; the oldest that is tested with is newer.
    stage.sql("ALTER SYSTEM SET idle_session_timeout = '500ms'").await;
    stage.sql("SELECT pg_reload_conf()").await;
    let dump = stand_in(&stage, "pg_dump", "exec \"$REAL\" \"$@\"");
    let reading = stage.world.path("reading");
    let slow = format!("sleep 2; : >'{}'; sleep 1; exec \"$REAL\" \"$@\"", reading.display());
    stand_in(&stage, "pg_restore", &slow);
    let command = stage.command(&["--pg-dump", &dump]);
    let ran = tokio::spawn(async move { run(command).await });
    while !reading.exists() {
        assert!(!ran.is_finished(), "{:?}", ran.await);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    assert_eq!(stage.sql(locks).await, "1", "another run may begin");
    let ran = ran.await.unwrap().expect(0);
    assert_eq!(stage.manifest(&ran).await["rows"]["public.empty"], 0);
}

#[tokio::test]
async fn a_cancelled_dump_leaves_nothing_and_says_so() {
    let stage = Stage::full().await;
    let hold = stage.world.front.hold("s3:UploadPart", When::BeforeForward);
    let child = stage
        .command(&[])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    hold.arrived().await;
    let pid = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let ended = tokio::time::timeout(std::time::Duration::from_secs(30), child.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    drop(hold);
    assert_eq!(ended.status.code(), Some(143), "{}", String::from_utf8_lossy(&ended.stderr));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("nothing was changed"));
    assert_eq!(stage.keys().await, Vec::<String>::new());
}
