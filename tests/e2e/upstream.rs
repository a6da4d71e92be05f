//! `swap-upstream` as a whole process, against real nginx servers, here and behind real SSH servers.

mod errors;
mod faults;
pub(crate) mod killed;
mod switched;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use testkit::inputs::skipped;
use testkit::nginx::{self, Machine, Nginx};
use testkit::sshd::{self, Sshd};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::world::{Ran, client, run, scrubbed};

/// A server behind the proxies, which tells its version.
pub(crate) struct App {
    port: u16,
    serving: JoinHandle<()>,
}

impl App {
    async fn start(version: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move {
            let body = format!("{{\"version\": \"{version}\"}}");
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 4096];
                let _ = stream.read(&mut request).await;
                let length = body.len();
                let answer =
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { port, serving }
    }

    pub(crate) fn server(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// One proxy: nginx on a machine of its own, and the way there.
pub(crate) struct Proxy {
    name: &'static str,
    pub(crate) nginx: Nginx,
    ssh: Option<Sshd>,
    machine: Machine,
}

impl Proxy {
    async fn start(name: &'static str, old: &App, far: bool) -> Self {
        let machine = if far { Machine::new().unwrap() } else { Machine::local().unwrap() };
        // Comments and quotes that look like what is meant, and no line feed where lines end by habit.
        let http = format!(
            "    # upstream production {{ server {old}; }}\r\n    upstream test {{ server {old}; }}\n    upstream production {{\n        server {old} max_fails=3; # not: server {old};\n        keepalive 30;\n    }}\n    server {{\n        listen 127.0.0.1:PORT;\n        location / {{\n            proxy_pass http://production;\n            proxy_http_version 1.1;\n            proxy_set_header Connection \"\";\n        }}\n        location /test {{ proxy_pass http://test; }}\n        location /fixed {{ return 200 '{{\"version\": \"v31\"}}'; }}\n    }}",
            old = old.server()
        );
        let nginx = Nginx::start(&machine, &http).await.unwrap();
        let ssh = if far { Some(Sshd::start(&machine).await.unwrap()) } else { None };
        Self { name, nginx, ssh, machine }
    }

    fn place(&self) -> String {
        let path = &self.nginx.config;
        let place = self.ssh.as_ref().map_or_else(|| path.display().to_string(), |ssh| ssh.url(path));
        format!("{}={place}", self.name)
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.nginx.config).unwrap()
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.nginx.config.with_file_name(name)
    }

    /// What lies in the folder of the configuration.
    pub(crate) fn files(&self) -> Vec<String> {
        let folder = self.nginx.config.parent().unwrap();
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name.contains("cutover"))
            .collect();
        names.sort();
        names
    }

    /// The version that its users see.
    async fn version(&self) -> String {
        let url = format!("http://127.0.0.1:{}/version", self.nginx.port);
        let answer: Value = client().get(url).send().await.unwrap().json().await.unwrap();
        answer["version"].as_str().unwrap().to_owned()
    }

    /// What a write would change: the file's own identity and time, and the processes that have read it.
    fn mark(&self) -> (u64, i64, i64, Vec<u32>) {
        let file = fs::metadata(&self.nginx.config).unwrap();
        (file.ino(), file.mtime(), file.mtime_nsec(), workers(self.nginx.pid()))
    }
}

/// The worker processes of a master.
fn workers(master: u32) -> Vec<u32> {
    let children = format!("/proc/{master}/task/{master}/children");
    let mut all: Vec<u32> =
        fs::read_to_string(children).unwrap().split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    all.sort_unstable();
    all
}

/// Two proxies that lead to the old server, and the new one beside it.
pub(crate) struct World {
    pub(crate) old: App,
    pub(crate) new: App,
    pub(crate) proxies: Vec<Proxy>,
    pub(crate) dir: TempDir,
}

impl World {
    /// `far` says which of the proxies is behind SSH; none where the machine lacks a server, which is said.
    pub(crate) async fn start(far: &[bool]) -> Option<Self> {
        if nginx::installation().is_none() {
            skipped("swap-upstream: there is no nginx on this machine");
            return None;
        }
        if far.contains(&true) && sshd::installation().is_none() {
            skipped("swap-upstream: there is no SSH server on this machine");
            return None;
        }
        let (old, new) = (App::start("v31").await, App::start("v37").await);
        let mut proxies = Vec::new();
        for (far, name) in far.iter().zip(["stanford", "backup"]) {
            proxies.push(Proxy::start(name, &old, *far).await);
        }
        Some(Self { old, new, proxies, dir: tempfile::tempdir().unwrap() })
    }

    fn swap(&self, upstream: &str) -> String {
        format!("--swap={upstream}={}..{}", self.old.server(), self.new.server())
    }

    /// The ways to the proxies.
    fn places(&self) -> Vec<String> {
        let mut args = Vec::new();
        let (mut keys, mut known) = (Vec::new(), Vec::new());
        for proxy in &self.proxies {
            args.push(format!("--proxy={}", proxy.place()));
            args.push(format!("--nginx={}={}", proxy.name, proxy.nginx.program.display()));
            args.push(format!("--connect-to={}=127.0.0.1:{}", proxy.name, proxy.nginx.port));
            if let Some(ssh) = &proxy.ssh {
                keys.push(format!("--ssh-option=IdentityFile={}", ssh.key.display()));
                known.push(ssh.known_hosts.display().to_string());
            }
        }
        if !keys.is_empty() {
            args.push(format!("--ssh-option=UserKnownHostsFile={}", known.join(" ")));
            args.push("--ssh-option=IdentitiesOnly=yes".to_owned());
        }
        args.extend(keys);
        args
    }

    /// The whole switch, as a release calls it.
    pub(crate) fn args(&self) -> Vec<String> {
        let mut args = self.places();
        args.push(self.swap("production"));
        args.extend(
            [
                "--url=http://www.encode.test/version",
                "--expect-json=/version=v37",
                "--release=v37",
                "--settle=5s",
            ]
            .map(str::to_owned),
        );
        args
    }

    async fn cutover(&self, args: &[String], more: &[&str]) -> Ran {
        let mut command = scrubbed(env!("CARGO_BIN_EXE_cutover"), self.dir.path());
        command.arg("swap-upstream").args(args).args(more);
        run(command).await
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        self.proxies.iter().map(Proxy::text).collect()
    }

    pub(crate) async fn versions(&self) -> Vec<String> {
        let mut versions = Vec::new();
        for proxy in &self.proxies {
            versions.push(proxy.version().await);
        }
        versions
    }

    /// The line of the production server alone is another.
    fn swapped(&self, text: &str) -> String {
        let line = format!("server {} max_fails=3;", self.old.server());
        assert_eq!(text.matches(&line).count(), 1);
        text.replace(&line, &format!("server {} max_fails=3;", self.new.server()))
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}
