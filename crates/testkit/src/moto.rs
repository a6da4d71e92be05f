//! moto, pinned in `requirements.txt`: another emulator, for the operations in which it is the truer one.
//!
//! Its ECS runs a task to its end, one status per look, always with exit code 0 and with the first container alone.

use std::io;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::server::{self, Server};
use crate::venv;

/// It takes four seconds by itself, and many times that where every core is busy with other tests.
const PATIENCE: Duration = Duration::from_mins(2);

/// Where permissions are enforced, signatures are not looked at: moto computes that of a form from what it has read of it, encoded in its
/// own way (a space as `+`), and so takes what an SDK has signed right to be wrong.
const MAIN: &str = "import sys
from moto.iam.access_control import IAMRequestBase
from moto.server import main
IAMRequestBase.check_signature = lambda self: None
sys.exit(main())";

/// A running moto, which plays the account 123456789012 and forgets; stopped when dropped.
pub struct Moto {
    url: String,
    server: Server,
    /// Removed after the server has ended.
    scratch: TempDir,
}

impl Moto {
    /// Starts it on a free port and waits until it answers.
    ///
    /// # Errors
    /// The Python environment has not been made (`make setup`), or moto ends or stays silent for two minutes; its log is in
    /// the message.
    pub async fn start() -> io::Result<Self> {
        let python = venv::python()?;
        let scratch = tempfile::tempdir()?;
        let log = scratch.path().join("moto.log");
        let port = server::same_port(0).await?;
        let mut command = server::command(&python, Signal::TERM, None)?;
        command
            // `python -m moto.server` fails: the package puts a function of that name over the module.
            .args(["-c", MAIN])
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let server = Server::start(command, &log, Signal::TERM, Duration::from_secs(10))?;
        let mut moto = Self { url: format!("http://127.0.0.1:{port}"), server, scratch };
        moto.ready().await?;
        Ok(moto)
    }

    /// Its address; tests reach it through the front.
    pub fn url(&self) -> &str {
        &self.url
    }

    async fn ready(&mut self) -> io::Result<()> {
        let client = reqwest::Client::builder().no_proxy().build().map_err(io::Error::other)?;
        let log = self.scratch.path().join("moto.log");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.server.ended()? {
                return Err(io::Error::other(format!("moto ended with {status}:\n{}", server::tail(&log))));
            }
            let data = client.get(format!("{}/moto-api/data.json", self.url)).send().await;
            if data.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("moto does not answer:\n{}", server::tail(&log))));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
