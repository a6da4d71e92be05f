//! `wait-healthy` as a whole process, against servers that are real where a machine has them.

mod in_aws;
mod indexers;
mod redis;
mod search;
pub(crate) mod search_double;
mod servers;
mod several;

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;

use crate::world::{Ran, run, scrubbed};

/// A run of `wait-healthy` in a folder of its own.
fn command(args: &[&str], env: &[(&str, &str)]) -> Command {
    let mut command = scrubbed(env!("CARGO_BIN_EXE_cutover"), &std::env::temp_dir());
    command.arg("wait-healthy").args(args).envs(env.iter().copied());
    command
}

async fn wait(args: &[&str], env: &[(&str, &str)]) -> Ran {
    run(command(args, env)).await
}

/// A run that goes on while its story is read.
struct Going {
    child: Child,
    story: tokio::io::Lines<BufReader<ChildStderr>>,
}

impl Going {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let story = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, story }
    }

    /// Reads until a line has the text.
    async fn says(&mut self, text: &str) {
        let mut story = String::new();
        while let Some(line) = self.story.next_line().await.unwrap() {
            if line.contains(text) {
                return;
            }
            story.push_str(&format!("{line}\n"));
        }
        panic!("`{text}` is not in:\n{story}");
    }

    /// The exit code, and what it printed to standard output.
    async fn end(mut self) -> (i32, String) {
        while self.story.next_line().await.unwrap().is_some() {}
        let output = self.child.wait_with_output().await.unwrap();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// A web server that gives one answer to everybody.
struct Web {
    url: String,
    serving: JoinHandle<()>,
}

impl Drop for Web {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Web {
    async fn start(status: &'static str, body: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        Self { url, serving: tokio::spawn(serve(listener, status, body)) }
    }
}

async fn serve(listener: TcpListener, status: &'static str, body: &'static str) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut request = vec![0; 4096];
        let _ = stream.read(&mut request).await;
        let answer =
            format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}
