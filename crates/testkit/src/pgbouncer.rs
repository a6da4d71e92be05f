//! A throw-away `PgBouncer` before a PostgreSQL server: that of the system, else Debian's.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use crate::debian::{Machine, find};
use crate::postgres::{Postgres, USER};
use crate::server::{self, Server};

/// The program; `None` where the machine has none, and tests that need one are to be skipped.
pub fn installation() -> Option<PathBuf> {
    find("pgbouncer")
}

/// A running pooler in transaction mode; stopped when dropped.
pub struct PgBouncer {
    pub port: u16,
    _server: Server,
    _machine: Machine,
}

impl PgBouncer {
    /// Starts it before every database of a server, with `settings` (lines of its configuration) beside its defaults, and waits
    /// until it listens.
    ///
    /// # Errors
    /// There is none, or it does not start: its log is in the message.
    pub async fn start(postgres: &Postgres, settings: &str) -> io::Result<Self> {
        let program = installation().ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, "there is no pgbouncer: run `make setup`")
        })?;
        // It refuses to run as root.
        let machine = Machine::new()?;
        let port = server::same_port(0).await?;
        let users = machine.write("users.txt", &format!("\"{USER}\" \"{}\"\n", postgres.password))?;
        let config = machine.write(
            "pgbouncer.ini",
            &format!(
                "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
                 unix_socket_dir =\nauth_type = plain\nauth_file = {}\npool_mode = transaction\n{settings}\n",
                postgres.port,
                users.display()
            ),
        )?;
        let mut command = machine.command(&machine.install(&program)?)?;
        command.current_dir(machine.path()).env("LD_LIBRARY_PATH", machine.libraries()).arg(config);
        let log = machine.path().join("output.log");
        let mut server = Server::start(command, &log, Signal::TERM, Duration::from_secs(5))?;
        server.listens("pgbouncer", port, &log, || true).await?;
        Ok(Self { port, _server: server, _machine: machine })
    }
}
