//! A throw-away nginx: that of the system, else Debian's.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Signal, kill_process};

pub use crate::debian::Machine;
use crate::debian::find;
use crate::server::{self, Server};

/// The server's program; `None` where the machine has none, and tests that need one are to be skipped.
pub fn installation() -> Option<PathBuf> {
    find("nginx")
}

/// A running server; stopped when dropped.
pub struct Nginx {
    /// Its configuration.
    pub config: PathBuf,
    /// What runs it: a script with the program's libraries, to be called like `nginx`.
    pub program: PathBuf,
    pub port: u16,
    server: Server,
}

impl Nginx {
    /// Starts it on a machine and waits until it listens. In `http`, what stands within the block of that name, `PORT` is a free
    /// port of loopback.
    ///
    /// # Errors
    /// There is no server, or it does not start: its log is in the message.
    pub async fn start(machine: &Machine, http: &str) -> io::Result<Self> {
        let program = installation()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "there is no nginx: run `make setup`"))?;
        let port = server::same_port(0).await?;
        let folder = machine.path().display().to_string();
        let own = machine.path().join("nginx");
        if !own.exists() {
            std::fs::create_dir(&own)?;
            machine.give(&own)?;
        }
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("    {name}_temp_path {folder}/nginx/{name};\n"))
            .concat();
        let http = http.replace("PORT", &port.to_string());
        let text = format!(
            "worker_processes 2;\npid {folder}/nginx/nginx.pid;\nerror_log {folder}/nginx/error.log;\nevents {{\n    worker_connections 64;\n}}\nhttp {{\n    access_log off;\n{temporary}{http}}}\n"
        );
        let config = machine.write("nginx/nginx.conf", &text)?;
        let real = machine.install(&program)?;
        let script = machine.path().join("bin/run-nginx");
        // Debian's own path of the log is closed to ordinary users, which nginx would complain of.
        let run = format!(
            "#!/bin/sh\nLD_LIBRARY_PATH={} exec {} -e {folder}/nginx/error.log \"$@\"\n",
            machine.libraries().display(),
            real.display()
        );
        std::fs::write(&script, run)?;
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
        let mut command = machine.command(&script)?;
        command.current_dir(machine.path()).arg("-c").arg(&config).args(["-g", "daemon off;"]);
        let log = machine.path().join("nginx/output.log");
        let mut server = Server::start(command, &log, Signal::TERM, Duration::from_secs(5))?;
        server.listens("nginx", port, &log, || pid_file(machine.path()).exists()).await?;
        Ok(Self { config, program: script, port, server })
    }

    /// The master's process ID.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Has it read its configuration again, as `nginx -s reload` does.
    pub fn reload(&self) {
        if let Some(pid) = server::pid(self.server.pid()) {
            let _ = kill_process(pid, Signal::HUP);
        }
    }
}

fn pid_file(machine: &Path) -> PathBuf {
    machine.join("nginx/nginx.pid")
}

#[cfg(test)]
mod tests {
    use super::{Machine, Nginx, installation};

    #[tokio::test]
    async fn a_throw_away_nginx_answers() {
        if installation().is_none() {
            crate::inputs::skipped("nginx: there is none on this machine");
            return;
        }
        for machine in [Machine::new().unwrap(), Machine::local().unwrap()] {
            let nginx =
                Nginx::start(&machine, "server { listen 127.0.0.1:PORT; return 200 here; }").await.unwrap();
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let answer = client.get(format!("http://127.0.0.1:{}/", nginx.port)).send().await.unwrap();
            assert_eq!(answer.text().await.unwrap(), "here");
        }
    }
}
