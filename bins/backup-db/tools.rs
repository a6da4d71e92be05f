//! The client programs of PostgreSQL: which are there, and which fits the server.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use kit::{Env, Failure};
use postgres::ChildEnv;
use serde::Serialize;
use tokio::process::Command;

/// A version of PostgreSQL. Releases of one major version write and read the same dumps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Version {
    /// As the program or server says it: `15.18`, `18beta1`.
    pub(crate) text: String,
    /// `(15, 0)`; before 10 the second number counted too: `(9, 6)`.
    pub(crate) major: (u32, u32),
}

impl Version {
    /// What `pg_dump --version` prints: `pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
    pub(crate) fn of_program(line: &str) -> Option<Self> {
        let (_, rest) = line.split_once("(PostgreSQL) ")?;
        Self::parse(rest.split_whitespace().next()?)
    }

    /// A server's version as PostgreSQL counts it: 150018 is 15.18, 90624 is 9.6.24.
    pub(crate) fn of_server(number: u32) -> Self {
        let (first, rest) = (number / 10_000, number % 10_000);
        if first < 10 {
            let second = rest / 100;
            Self { text: format!("{first}.{second}.{}", rest % 100), major: (first, second) }
        } else {
            Self { text: format!("{first}.{rest}"), major: (first, 0) }
        }
    }

    /// A version as in `SHOW server_version`: `16.4`, `9.6.24`, `18beta1`, `15.18 (Debian ...)`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.split_whitespace().next()?;
        let mut numbers = text.split('.').map(|part| {
            let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part.get(..digits).and_then(|digits| digits.parse::<u32>().ok())
        });
        let first = numbers.next()??;
        let second = if first < 10 { numbers.next()?? } else { 0 };
        Some(Self { text: text.to_owned(), major: (first, second) })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The programs that a backup runs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Tools {
    pub(crate) pg_dump: PathBuf,
    pub(crate) pg_dumpall: PathBuf,
    pub(crate) pg_restore: PathBuf,
    /// Of `pg_dump`.
    pub(crate) version: Version,
    /// Whether this `pg_dump` compresses with zstd itself.
    pub(crate) zstd: bool,
}

impl Tools {
    /// Refuses a `pg_restore` that can't read what this `pg_dump` writes: where there is none beside it, that of `PATH` is used.
    pub(crate) async fn fit(&self, runner: &Runner) -> Result<(), Failure> {
        let restore = candidate(runner, &self.pg_restore, "pg_restore").await?;
        fitting(&self.version, &restore.version, &self.pg_restore)
    }

    /// Another program of the same installation.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        sibling(&self.pg_dump, name)
    }
}

/// See [`Tools::fit`].
fn fitting(dump: &Version, restore: &Version, path: &Path) -> Result<(), Failure> {
    if restore.major >= dump.major {
        return Ok(());
    }
    Err(Failure::refused(format!("use {} as pg_restore", path.display()))
        .because(format!("it is version {restore}, and can't read what pg_dump {dump} writes"))
        .help("name a pg_dump with --pg-dump that has its pg_restore beside it"))
}

/// A `pg_dump` that was found.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) path: PathBuf,
    pub(crate) version: Version,
}

impl Tools {
    /// The `pg_dump` that was named, or else the best one of this machine: the first on `PATH` if it can dump this server,
    /// else of those below `/usr/lib/postgresql` the one whose version is nearest to the server's.
    pub(crate) async fn find(
        runner: &Runner,
        named: Option<&Path>,
        server: &Version,
    ) -> Result<Self, Failure> {
        let candidates = match named {
            Some(path) => vec![candidate(runner, path, "pg_dump").await?],
            None => installed(runner).await,
        };
        let chosen = choose(candidates, server)?;
        Ok(Self {
            zstd: chosen.version.major >= (16, 0) && knows_zstd(runner, &chosen.path).await,
            pg_dumpall: sibling(&chosen.path, "pg_dumpall"),
            pg_restore: sibling(&chosen.path, "pg_restore"),
            pg_dump: chosen.path,
            version: chosen.version,
        })
    }
}

/// Makes commands whose environment holds the connection and nothing that is none of their business, such as AWS
/// credentials.
#[derive(Clone, Debug)]
pub(crate) struct Runner {
    kept: Vec<(String, String)>,
    connection: Option<ChildEnv>,
}

/// What programs of PostgreSQL need of our environment beside the connection.
const KEPT: [&str; 7] =
    ["HOME", "KRB5CCNAME", "KRB5_CONFIG", "LD_LIBRARY_PATH", "PATH", "SSL_CERT_DIR", "SSL_CERT_FILE"];

impl Runner {
    pub(crate) fn new(env: &Env, connection: Option<ChildEnv>) -> Self {
        let kept =
            KEPT.iter().filter_map(|name| Some(((*name).to_owned(), env.get(name)?.to_owned()))).collect();
        Self { kept, connection }
    }

    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(self.kept.iter().map(|(name, value)| (name, value)));
        if let Some(connection) = &self.connection {
            connection.apply(&mut command);
        }
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// A command that is told of no connection at all.
    pub(crate) fn plain(&self, program: &Path) -> Command {
        Self { connection: None, ..self.clone() }.command(program)
    }

    /// Commands that connect elsewhere.
    pub(crate) fn to(&self, connection: ChildEnv) -> Self {
        Self { connection: Some(connection), ..self.clone() }
    }

    fn path(&self) -> &str {
        let path = self.kept.iter().find(|(name, _)| name == "PATH");
        path.map_or("/usr/local/bin:/usr/bin:/bin", |(_, value)| value)
    }
}

/// The candidate to use, the preferred one first; `pg_dump` refuses a server that is newer than itself
/// (<https://www.postgresql.org/docs/current/app-pgdump.html#PG-DUMP-NOTES>).
fn choose(candidates: Vec<Candidate>, server: &Version) -> Result<Candidate, Failure> {
    let too_old = |candidate: &Candidate| candidate.version.major < server.major;
    let seen: Vec<String> = candidates
        .iter()
        .map(|candidate| format!("{} is version {}", candidate.path.display(), candidate.version))
        .collect();
    let mut usable = candidates.into_iter().filter(|candidate| !too_old(candidate));
    if let Some(first) = usable.next() {
        return Ok(first);
    }
    let help = format!(
        "install the client programs of PostgreSQL {} or newer, or name a pg_dump with --pg-dump",
        server.major.0
    );
    if seen.is_empty() {
        return Err(Failure::refused("find pg_dump")
            .because("there is none on PATH nor below /usr/lib/postgresql")
            .help(help));
    }
    Err(Failure::refused("dump this server")
        .because(format!(
            "the server is version {server} and pg_dump can't dump a server newer than itself: {}",
            seen.join(", ")
        ))
        .help(help))
}

/// Every `pg_dump` of this machine, in the order of preference if all can dump the server.
async fn installed(runner: &Runner) -> Vec<Candidate> {
    let on_path =
        std::env::split_paths(runner.path()).map(|folder| folder.join("pg_dump")).find(|file| file.is_file());
    let mut found = Vec::new();
    if let Some(path) = on_path
        && let Ok(candidate) = candidate(runner, &path, "pg_dump").await
    {
        found.push(candidate);
    }
    let mut below = Vec::new();
    for entry in std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten() {
        let path = entry.path().join("bin/pg_dump");
        if path.is_file()
            && let Ok(candidate) = candidate(runner, &path, "pg_dump").await
        {
            below.push(candidate);
        }
    }
    below.sort_by_key(|candidate| candidate.version.major);
    found.extend(below);
    found
}

/// Whether `pg_dump` was built with zstd, which its version does not tell (nor does `pg_config`: before 16 the server alone
/// used it). It judges the method before it opens its file, and opens its file, which can't be, before it connects.
async fn knows_zstd(runner: &Runner, pg_dump: &Path) -> bool {
    const NOWHERE: &str = "/dev/null/x";
    let mut command = runner.plain(pg_dump);
    command.env("LC_MESSAGES", "C").args(["--format=custom", "--compress=zstd:3", "--file", NOWHERE]);
    match tokio::time::timeout(Duration::from_secs(10), command.output()).await {
        Ok(Ok(output)) => String::from_utf8_lossy(&output.stderr).contains(NOWHERE),
        _ => false,
    }
}

async fn candidate(runner: &Runner, path: &Path, what: &str) -> Result<Candidate, Failure> {
    let name = path.display();
    let attempt = || Failure::refused(format!("use {name} as {what}"));
    let help = "name a pg_dump with --pg-dump";
    // With the connection in its environment: Debian's wrapper chooses the version by it.
    let run = async { runner.command(path).arg("--version").output().await };
    let output = tokio::time::timeout(Duration::from_secs(10), run)
        .await
        .map_err(|_| attempt().because("`--version` did not end within 10 seconds").help(help))?
        .map_err(|error| attempt().because(error).help(help))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let version = Version::of_program(said.trim()).filter(|_| output.status.success()).ok_or_else(|| {
        attempt()
            .because(format!("`--version` says {:?} and ends with {}", said.trim(), output.status))
            .help(help)
    })?;
    Ok(Candidate { path: path.to_owned(), version })
}

/// The program of the same installation; where it is not beside `pg_dump`, the one on `PATH`.
fn sibling(pg_dump: &Path, name: &str) -> PathBuf {
    Some(pg_dump.with_file_name(name)).filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::Code;

    #[test]
    fn versions_are_read_as_programs_and_servers_say_them() {
        for (said, text, major) in [
            ("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", "15.18", (15, 0)),
            ("pg_dump (PostgreSQL) 18beta1", "18beta1", (18, 0)),
            ("pg_dump (PostgreSQL) 9.6.24", "9.6.24", (9, 6)),
            ("pg_dump (PostgreSQL) 17.2 - Percona Distribution", "17.2", (17, 0)),
        ] {
            let version = Version::of_program(said).unwrap();
            assert_eq!((version.text.as_str(), version.major), (text, major), "{said}");
        }
        assert_eq!(Version::of_program("mysqldump  Ver 8.0"), None);
        assert_eq!(Version::parse("15.18 (Debian 15.18-0+deb12u1)").unwrap().major, (15, 0));
        assert_eq!(Version::parse("devel"), None);
        assert_eq!(Version::of_server(150_018), Version::parse("15.18").unwrap());
        assert_eq!(Version::of_server(90_624), Version::parse("9.6.24").unwrap());
    }

    fn found(path: &str, version: &str) -> Candidate {
        Candidate { path: path.into(), version: Version::parse(version).unwrap() }
    }

    #[test]
    fn the_first_that_is_not_older_than_the_server_is_used() {
        let server = Version::parse("16.4").unwrap();
        let all = vec![found("/usr/bin/pg_dump", "15.18"), found("/16", "16.1"), found("/18", "18.0")];
        assert_eq!(choose(all, &server).unwrap().path, Path::new("/16"));
    }

    #[test]
    fn an_older_pg_dump_is_refused_with_both_versions() {
        let server = Version::parse("17.5").unwrap();
        let refused = choose(vec![found("/usr/bin/pg_dump", "15.18")], &server).unwrap_err();
        assert_eq!(refused.code(), Code::Refused);
        let said = refused.chain().join("\n");
        assert!(
            said.contains("17.5") && said.contains("15.18") && said.contains("/usr/bin/pg_dump"),
            "{said}"
        );
    }

    #[test]
    fn a_pg_restore_that_is_older_than_pg_dump_is_refused() {
        let version = |text: &str| Version::parse(text).unwrap();
        let path = Path::new("pg_restore");
        assert!(fitting(&version("17.2"), &version("17.0"), path).is_ok());
        assert!(fitting(&version("16.4"), &version("18.0"), path).is_ok());
        let refused = fitting(&version("17.2"), &version("15.18"), path).unwrap_err();
        assert_eq!(refused.code(), Code::Refused);
        assert!(refused.chain()[0].contains("15.18") && refused.chain()[0].contains("pg_dump 17.2"));
    }

    #[test]
    fn the_same_major_with_an_older_minor_is_no_obstacle() {
        let server = Version::parse("15.18").unwrap();
        assert!(choose(vec![found("/p", "15.2")], &server).is_ok());
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let server = Version::parse("15.18").unwrap();
        let failure =
            Tools::find(&Runner::new(&Env::default(), None), Some(Path::new("/nowhere/pg_dump")), &server)
                .await
                .unwrap_err();
        assert_eq!(failure.to_string(), "use /nowhere/pg_dump as pg_dump");
    }
}
