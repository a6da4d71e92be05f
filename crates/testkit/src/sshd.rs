//! A throw-away SSH server: OpenSSH's, of the system or Debian's, run as an ordinary user.
//!
//! A server that is not root's lets in its own user alone. Where root runs the tests that user is nobody, whose login shell is
//! none; `libnss_wrapper` tells the server of one that he has.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::debian::{Machine, find, library, search_path};
use crate::server::{self, Server};

/// The server's program; `None` where the machine has none, and tests that need one are to be skipped.
pub fn installation() -> Option<PathBuf> {
    let found = find("sshd")?;
    find("ssh-keygen")?;
    find("ssh")?;
    let whole = !rustix::process::geteuid().is_root() || library("libnss_wrapper.so").is_some();
    whole.then_some(found)
}

/// A running server; stopped when dropped.
pub struct Sshd {
    pub port: u16,
    /// Who may log in.
    pub user: String,
    /// The key to log in with.
    pub key: PathBuf,
    /// The server's own key, as `known_hosts` has it.
    pub known_hosts: PathBuf,
    _server: Server,
    /// What the client needs, out of the machine's reach.
    _keys: TempDir,
}

impl Sshd {
    /// Starts it on a machine and waits until it listens.
    ///
    /// # Errors
    /// There is no server, or it does not start: its log is in the message.
    pub async fn start(machine: &Machine) -> io::Result<Self> {
        let program = installation().ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, "there is no SSH server: run `make setup`")
        })?;
        let port = server::same_port(0).await?;
        let keys = tempfile::tempdir()?;
        let own = machine.path().join("ssh");
        fs::create_dir(&own)?;
        machine.give(&own)?;
        let host = key(keys.path(), "host")?;
        let user_key = key(keys.path(), "user")?;
        for (from, to) in [("host", "ssh/host"), ("user.pub", "ssh/authorized_keys")] {
            let to = machine.write(to, &fs::read_to_string(keys.path().join(from))?)?;
            fs::set_permissions(to, fs::Permissions::from_mode(0o600))?;
        }
        let known_hosts = keys.path().join("known_hosts");
        let public = fs::read_to_string(host.with_extension("pub"))?;
        fs::write(&known_hosts, format!("[127.0.0.1]:{port} {public}"))?;
        let folder = own.display();
        let real = machine.install(&program)?;
        let mut config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\nPrintMotd no\n"
        );
        // From 9.8 and 10.0 on, the server is several programs.
        for (option, name) in [("SshdSessionPath", "sshd-session"), ("SshdAuthPath", "sshd-auth")] {
            if let Some(part) = program
                .ancestors()
                .nth(2)
                .map(|usr| usr.join("lib/openssh").join(name))
                .filter(|part| part.is_file())
            {
                config.push_str(&format!("{option} {}\n", machine.install(&part)?.display()));
            }
        }
        let config = machine.write("ssh/sshd_config", &config)?;
        let mut command = machine.command(&real)?;
        command.arg("-D").arg("-e").arg("-f").arg(config).current_dir("/");
        command.env("LD_LIBRARY_PATH", machine.libraries());
        let user = match machine.user() {
            None => whoami()?,
            Some(user) => {
                let (uid, gid) = (user.uid, user.gid);
                let passwd = machine.write(
                    "ssh/passwd",
                    &format!("proxy:x:{uid}:{gid}::{}:/bin/sh\n", machine.path().display()),
                )?;
                let group = machine.write("ssh/group", &format!("proxy:x:{gid}:\n"))?;
                let wrapper = library("libnss_wrapper.so").unwrap_or_default();
                let wrapper = machine.libraries().join(wrapper.file_name().unwrap_or_default());
                command
                    .env("LD_PRELOAD", wrapper)
                    .env("NSS_WRAPPER_PASSWD", passwd)
                    .env("NSS_WRAPPER_GROUP", group);
                "proxy".to_owned()
            }
        };
        let log = machine.path().join("ssh/sshd.log");
        let mut server = Server::start(command, &log, Signal::TERM, Duration::from_secs(5))?;
        server.listens("sshd", port, &log, || true).await?;
        Ok(Self { port, user, key: user_key, known_hosts, _server: server, _keys: keys })
    }

    /// `ssh://USER@127.0.0.1:PORT` and the path.
    pub fn url(&self, path: &Path) -> String {
        format!("ssh://{}@127.0.0.1:{}{}", self.user, self.port, path.display())
    }
}

/// Makes a key in a folder and returns the private part's file.
fn key(folder: &Path, name: &str) -> io::Result<PathBuf> {
    let path = folder.join(name);
    let made = Command::new(find("ssh-keygen").unwrap_or_default())
        .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
        .arg(&path)
        .env("PATH", search_path())
        .stdin(Stdio::null())
        .output()?;
    if made.status.success() {
        return Ok(path);
    }
    Err(io::Error::other(format!("ssh-keygen: {}", String::from_utf8_lossy(&made.stderr))))
}

fn whoami() -> io::Result<String> {
    let output = Command::new("id").arg("-un").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Machine, Sshd, find, installation};

    #[tokio::test]
    async fn a_throw_away_server_lets_in_its_user_with_the_key_alone() {
        if installation().is_none() {
            crate::inputs::skipped("sshd: there is no SSH server on this machine");
            return;
        }
        let machine = Machine::new().unwrap();
        let sshd = Sshd::start(&machine).await.unwrap();
        let login = |key: &std::path::Path| {
            std::process::Command::new(find("ssh").unwrap())
                .args([
                    "-F",
                    "none",
                    "-o",
                    "BatchMode=yes",
                    "-o",
                    "IdentitiesOnly=yes",
                    "-o",
                    "StrictHostKeyChecking=yes",
                ])
                .arg("-o")
                .arg(format!("UserKnownHostsFile={}", sshd.known_hosts.display()))
                .arg("-i")
                .arg(key)
                .args(["-p", &sshd.port.to_string(), &format!("{}@127.0.0.1", sshd.user), "echo here"])
                .output()
                .unwrap()
        };
        let output = login(&sshd.key);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "here\n", "{output:?}");
        assert!(String::from_utf8_lossy(&login(&sshd.known_hosts).stderr).contains("Permission denied"));
    }
}
