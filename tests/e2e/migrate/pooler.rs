//! Behind a pooler neither locks nor time-outs hold: it is refused, with the direct endpoint as the next move.

use std::process::Stdio;
use std::time::Duration;

use testkit::postgres::USER;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use super::Db;
use crate::world::run;

/// A `PgBouncer` before the server, or none where none is installed (`CUTOVER_TEST_PGBOUNCER` names another one than that of
/// `PATH`).
async fn pgbouncer(db: &Db, more: &str) -> Option<(Child, u16)> {
    let named = std::env::var_os("CUTOVER_TEST_PGBOUNCER").map(std::path::PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = named.or_else(|| {
        std::env::split_paths(&path)
            .chain(["/usr/sbin".into()])
            .map(|dir| dir.join("pgbouncer"))
            .find(|file| file.is_file())
    });
    let Some(program) = found else {
        testkit::inputs::skipped("there is no pgbouncer");
        return None;
    };
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let folder = db.dir.path();
    std::fs::write(folder.join("users.txt"), format!("\"{USER}\" \"{}\"\n", db.server.password)).unwrap();
    std::fs::write(
        folder.join("pgbouncer.ini"),
        format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = plain\nauth_file = {}\npool_mode = transaction\n{more}\n",
            db.server.port,
            folder.join("users.txt").display()
        ),
    )
    .unwrap();
    let mut command = Command::new(program);
    // It refuses to run as root. Where the tests do, the files are for everybody.
    if rustix_is_root() {
        command.args(["-u", "nobody"]);
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder, open).unwrap();
    }
    let child = command
        .arg(folder.join("pgbouncer.ini"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    for _ in 0..500 {
        if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return Some((child, port));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("pgbouncer does not listen");
}

fn rustix_is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0
}

#[tokio::test]
async fn a_pooler_that_refuses_or_ignores_start_up_options_is_refused() {
    // Without the setting `PgBouncer` refuses `options`; with it they are dropped without a word.
    for (more, why) in [
        ("", "startup parameter"),
        ("ignore_startup_parameters = options", "start-up options are not in force: "),
    ] {
        let db = Db::new().await;
        db.write("1_t.sql", "CREATE TABLE t ();");
        let Some((_pgbouncer, port)) = pgbouncer(&db, more).await else { return };
        let mut command = db.command(&[]);
        command.env("PGPORT", port.to_string()).env("PGSSLMODE", "disable");
        run(command).await.expect(3).says(&[why, "connect to the server itself", "nothing was changed"]);
        assert_eq!(db.sql("SELECT to_regclass('t') IS NULL").await, "t");
    }
}
