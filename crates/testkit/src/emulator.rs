//! The AWS emulator, ministack, pinned in `requirements.txt`.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::server::{self, Server};
use crate::venv;

/// It takes two seconds by itself, and many times that where every core is busy with other tests.
const PATIENCE: Duration = Duration::from_mins(2);

/// How the emulator is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The account that it plays, twelve digits.
    pub account: String,
    pub region: String,
    /// Where its state outlives it: objects of S3 at once, everything else when it is stopped. `None` forgets.
    pub state: Option<PathBuf>,
    /// 0 takes a free port.
    pub port: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self { account: "000000000000".to_owned(), region: "us-east-1".to_owned(), state: None, port: 0 }
    }
}

/// A running emulator; stopped when dropped.
pub struct Emulator {
    url: String,
    region: String,
    server: Server,
    /// Removed after the server has ended.
    _scratch: TempDir,
}

impl Emulator {
    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// The Python environment has not been made (`make setup`), or the emulator ends or stays silent for two minutes; its log is
    /// in the message.
    pub async fn start(options: Options) -> io::Result<Self> {
        let python = venv::python()?;
        let scratch = tempfile::tempdir()?;
        let log = scratch.path().join("ministack.log");
        let port = server::same_port(options.port).await?;
        let mut command = server::command(&python, Signal::TERM, None)?;
        command
            .args(["-m", "ministack"])
            .env("BIND_HOST", "127.0.0.1")
            .env("GATEWAY_PORT", port.to_string())
            .env("MINISTACK_ACCOUNT_ID", &options.account)
            .env("MINISTACK_REGION", &options.region)
            // It keeps its pid file and what it does not persist here.
            .env("TMPDIR", scratch.path())
            // On start it removes containers that it takes for its own: it must not see the user's.
            .env("DOCKER_HOST", "unix:///nonexistent")
            // Listeners on fixed ports that nobody here uses.
            .env("IOT_MTLS_ENABLED", "0")
            .env("SFTP_ENABLED", "0")
            .env("PYTHONDONTWRITEBYTECODE", "1");
        if let Some(state) = &options.state {
            persist(&mut command, state)?;
        }
        let server = Server::start(command, &log, Signal::TERM, Duration::from_secs(10))?;
        let mut emulator = Self {
            url: format!("http://127.0.0.1:{port}"),
            region: options.region,
            server,
            _scratch: scratch,
        };
        emulator.ready(&log).await?;
        Ok(emulator)
    }

    /// Its address; tests reach it through the front.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Calls it past the front, for what a world is seeded with: a target such as `AmazonSSM.PutParameter`, and its document.
    ///
    /// # Errors
    /// It cannot be reached. A refusal is no error, but a status of 400 with `__type` in the answer.
    pub async fn call(&self, service: &str, target: &str, document: &Value) -> io::Result<(u16, Value)> {
        let request = self.signed(reqwest::Method::POST, service, "/")?;
        let request = request
            .header("x-amz-target", target)
            .header("content-type", "application/x-amz-json-1.1")
            .body(document.to_string());
        let answer = request.send().await.map_err(io::Error::other)?;
        let status = answer.status().as_u16();
        let text = answer.text().await.map_err(io::Error::other)?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// One call of the Query protocol (IAM), past the front; the status, and the answer's XML.
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn query(&self, service: &str, parameters: &[(&str, &str)]) -> io::Result<(u16, String)> {
        let request = self.signed(reqwest::Method::POST, service, "/")?;
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
        let answer = request.send().await.map_err(io::Error::other)?;
        let status = answer.status().as_u16();
        Ok((status, answer.text().await.map_err(io::Error::other)?))
    }

    /// Makes a bucket, past the front; one that is there already stays as it is.
    ///
    /// # Errors
    /// It cannot be reached, or refuses the name.
    pub async fn create_bucket(&self, name: &str) -> io::Result<()> {
        let path = format!("/{name}");
        let answer =
            self.signed(reqwest::Method::HEAD, "s3", &path)?.send().await.map_err(io::Error::other)?;
        if answer.status().is_success() {
            return Ok(());
        }
        let answer =
            self.signed(reqwest::Method::PUT, "s3", &path)?.send().await.map_err(io::Error::other)?;
        if answer.status().is_success() {
            return Ok(());
        }
        let text = answer.text().await.map_err(io::Error::other)?;
        Err(io::Error::other(format!("the emulator did not make the bucket {name}: {text}")))
    }

    /// Puts an object into a bucket, past the front.
    ///
    /// # Errors
    /// It cannot be reached, or refuses the object.
    pub async fn put_object(&self, bucket: &str, key: &str, body: &[u8]) -> io::Result<()> {
        let request = self.signed(reqwest::Method::PUT, "s3", &format!("/{bucket}/{key}"))?;
        let answer = request.body(body.to_vec()).send().await.map_err(io::Error::other)?;
        if answer.status().is_success() {
            return Ok(());
        }
        let text = answer.text().await.map_err(io::Error::other)?;
        Err(io::Error::other(format!("the emulator did not take s3://{bucket}/{key}: {text}")))
    }

    /// One call of S3, past the front: the path with its query; the status, and the answer's body.
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn s3(&self, method: reqwest::Method, path: &str, body: Vec<u8>) -> io::Result<(u16, Vec<u8>)> {
        self.rest("s3", method, path, body).await
    }

    /// One call of a service that goes by method and path, past the front; the status, and the answer's body.
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn rest(
        &self,
        service: &str,
        method: reqwest::Method,
        path: &str,
        body: Vec<u8>,
    ) -> io::Result<(u16, Vec<u8>)> {
        let answer = self.signed(method, service, path)?.body(body).send().await.map_err(io::Error::other)?;
        let status = answer.status().as_u16();
        Ok((status, answer.bytes().await.map_err(io::Error::other)?.to_vec()))
    }

    /// The emulator reads the credential's scope and verifies no signature.
    fn signed(
        &self,
        method: reqwest::Method,
        service: &str,
        path: &str,
    ) -> io::Result<reqwest::RequestBuilder> {
        let client = reqwest::Client::builder().no_proxy().build().map_err(io::Error::other)?;
        let scope = format!("AKIAIOSFODNN7EXAMPLE/20260101/{}/{service}/aws4_request", self.region);
        Ok(client.request(method, format!("{}{path}", self.url)).header(
            "authorization",
            format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=unverified"),
        ))
    }

    async fn ready(&mut self, log: &Path) -> io::Result<()> {
        let client = reqwest::Client::builder().no_proxy().build().map_err(io::Error::other)?;
        let health = format!("{}/_ministack/health", self.url);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.server.ended()? {
                return Err(io::Error::other(format!(
                    "ministack ended with {status}:\n{}",
                    server::tail(log)
                )));
            }
            if client.get(&health).send().await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("ministack does not answer:\n{}", server::tail(log))));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn persist(command: &mut std::process::Command, state: &Path) -> io::Result<()> {
    std::fs::create_dir_all(state)?;
    command
        .env("PERSIST_STATE", "1")
        .env("STATE_DIR", state.join("services"))
        .env("S3_PERSIST", "1")
        .env("S3_DATA_DIR", state.join("s3"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Emulator, Options};
    use crate::front::Front;

    async fn signed(front: &Front, method: &str, path: &str, body: &'static str) -> (u16, String) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let credential = "AKIAIOSFODNN7EXAMPLE/20261121/us-east-1/s3/aws4_request";
        let answer = client
            .request(method.parse().unwrap(), format!("{}{path}", front.url()))
            .header(
                "authorization",
                format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=0"),
            )
            .body(body)
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    #[tokio::test]
    async fn an_object_put_through_the_front_outlives_the_emulator() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { state: Some(folder.path().join("aws")), ..Options::default() };

        let emulator = Emulator::start(options.clone()).await.unwrap();
        let front = Front::builder().upstream(emulator.url()).start().await.unwrap();
        assert_eq!(signed(&front, "PUT", "/rally-backups", "").await.0, 200);
        assert_eq!(signed(&front, "PUT", "/rally-backups/manifest.json", "{}").await.0, 200);
        assert_eq!(
            front.writes().iter().map(|call| call.operation.as_str()).collect::<Vec<_>>(),
            ["CreateBucket", "PutObject"]
        );
        drop((front, emulator));

        let emulator = Emulator::start(options).await.unwrap();
        let front = Front::builder().upstream(emulator.url()).start().await.unwrap();
        assert_eq!(signed(&front, "GET", "/rally-backups/manifest.json", "").await, (200, "{}".to_owned()));
        assert_eq!(front.unmatched(), Vec::<String>::new());
    }
}
