//! Looks at a proxy: its file, its lock, and the nginx that runs there.

use kit::{Cx, Failure, one_line};
use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::args::Request;
use crate::lock::Found;
use crate::place::Proxy;
use crate::script::{Answer, Kind, Script};
use crate::tree;

impl Nginx {
    pub(crate) fn main(&self) -> &str {
        self.files.first().map_or("", String::as_str)
    }
}

/// What was seen of one proxy.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Seen {
    #[serde(rename = "proxy", serialize_with = "as_text")]
    pub(crate) proxy: Proxy,
    /// The file itself, behind all links.
    pub(crate) real: String,
    #[serde(skip)]
    pub(crate) content: Vec<u8>,
    pub(crate) sum: String,
    /// How many names the file has.
    pub(crate) links: i64,
    /// Seconds since it was last changed.
    pub(crate) age: i64,
    /// Whether a file can be put in its place with the same owner.
    pub(crate) replaceable: Result<(), String>,
    #[serde(skip)]
    pub(crate) lock: Option<Found>,
    /// The copy that the holder of the lock kept.
    #[serde(skip)]
    pub(crate) kept: Option<Vec<u8>>,
    /// Whether nginx can be started with this file, not just include it.
    pub(crate) whole: bool,
    pub(crate) nginx: Nginx,
}

/// What nginx says of the configuration as it is.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Nginx {
    /// Whether there is no such command.
    pub(crate) absent: bool,
    /// None when `nginx -t` is content, else what it says.
    pub(crate) complaint: Option<String>,
    /// Every file that it loads.
    pub(crate) files: Vec<String>,
    /// Whether the file is one of them.
    pub(crate) loaded: bool,
    /// Upstreams with the files that they may stand in.
    #[serde(skip)]
    pub(crate) upstreams: Vec<(String, String)>,
    pub(crate) pid_file: String,
    /// The configuration that it is started with when it is not told another.
    pub(crate) default: String,
    /// What runs, or why nothing is seen to.
    pub(crate) workers: Result<Workers, String>,
}

/// The processes of a running nginx.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Workers {
    pub(crate) master: i64,
    /// Process IDs and ages in seconds of those that take connections.
    pub(crate) active: Vec<(i64, i64)>,
    /// How many still finish what they had begun under an earlier configuration.
    pub(crate) leaving: usize,
    /// The configuration that the master was started with, where that is another one.
    pub(crate) started_with: Option<String>,
}

fn as_text<S: Serializer>(proxy: &Proxy, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(proxy)
}

/// SHA-256 in hexadecimal digits.
pub(crate) fn sum(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// Looks at everything that decides.
pub(crate) async fn observe(cx: &Cx, request: &Request, proxy: &Proxy) -> Result<Seen, Failure> {
    let read = Script::new(Kind::Read).with("FILE", &proxy.path);
    let answer = cx.or_cancelled(request.reach.run(cx, proxy, &read)).await??;
    let attempt = || format!("read {proxy}");
    if answer.outcome() != "done" {
        return Err(unread(attempt(), &answer, request.reach.sudo));
    }
    let (Some(content), Some(age), Some(links)) =
        (answer.bytes("content"), answer.number("age"), answer.number("links"))
    else {
        return Err(Failure::failed(attempt()).because("what the shell there answered can't be read"));
    };
    let real = answer.text("real");
    let lock = answer.bytes("lock").map(|bytes| {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Found::of(&text, sum(&bytes), answer.number("now").unwrap_or_default())
    });
    // Of one that can't be read, nginx itself says best what is wrong.
    let whole = tree::read(&content)
        .map_or_else(|_| content.windows(6).any(|word| word == b"events"), |tree| tree::is_whole(&tree));
    let nginx = nginx(cx, request, proxy, whole).await?;
    Ok(Seen {
        proxy: proxy.clone(),
        sum: sum(&content),
        replaceable: replaceable(&answer, &real),
        real,
        content,
        links,
        age,
        lock,
        kept: answer.bytes("kept"),
        whole,
        nginx,
    })
}

fn unread(attempt: String, answer: &Answer, sudo: bool) -> Failure {
    let why = answer.why();
    let failure = Failure::failed(attempt);
    match answer.outcome() {
        "missing" => failure.because("there is no such file").help("correct the path in --proxy"),
        "no-file" => failure.because(format!("{why} is no file")).help("name the file that has the upstream"),
        "unreadable" => {
            let failure = failure.because(why);
            if sudo { failure } else { failure.help("log in as another user, or add --sudo") }
        }
        "too-large" => failure.because(format!("it has {why}, more than 4 MiB: that is no configuration")),
        "tool" => failure
            .because(format!("there is no {} there", answer.get("tool").unwrap_or("shell")))
            .help("the step needs the tools of GNU coreutils or BusyBox on a proxy"),
        other => failure.because(format!("the shell there answered {other:?}: {why}")),
    }
}

/// A file is replaced by renaming another to its name, which takes the right to write to the folder, and root where somebody
/// else is the owner.
fn replaceable(answer: &Answer, real: &str) -> Result<(), String> {
    let about = answer.text("about");
    let owner = about.split(' ').next().unwrap_or_default();
    let me = answer.get("uid").unwrap_or_default();
    if answer.get("writable") != Some("yes") {
        let folder = real.rsplit_once('/').map_or("/", |(folder, _)| folder);
        return Err(format!("the folder {folder} can't be written to by this user"));
    }
    if me != "0" && owner != me {
        return Err(format!(
            "{real} belongs to the user {owner} and this is {me}, so that its owner would change"
        ));
    }
    Ok(())
}

/// `nginx -t` there, with what it loads.
async fn nginx(cx: &Cx, request: &Request, proxy: &Proxy, whole: bool) -> Result<Nginx, Failure> {
    let script = test(request, proxy, whole).with("DUMP", "yes");
    let answer = cx.or_cancelled(request.reach.run(cx, proxy, &script)).await??;
    let complaint = complaint(&answer, request.nginx(proxy));
    let main = answer.bytes("main").unwrap_or_default();
    let build = answer.text("build");
    let files = answer.texts("file");
    let main_file = files.first().cloned().unwrap_or_default();
    let default = built(&build, "--conf-path=").unwrap_or_default();
    let pid_file = request.pid_file(proxy).map_or_else(|| pid_file(&main, &build), str::to_owned);
    let workers = match complaint {
        Some(_) => Err("its configuration is not sound".to_owned()),
        None => {
            workers(cx, request, proxy, &Running { pid_file: &pid_file, main: &main_file, default: &default })
                .await?
        }
    };
    let upstream = |text: &String| {
        text.split_once(' ').map(|(name, file)| (name.trim_matches(['"', '\'']).to_owned(), file.to_owned()))
    };
    Ok(Nginx {
        absent: matches!(answer.number("code"), Some(126 | 127)),
        complaint,
        files,
        loaded: answer.get("loaded") == Some("yes"),
        upstreams: answer.texts("upstream").iter().filter_map(upstream).collect(),
        pid_file,
        default,
        workers,
    })
}

pub(crate) fn test(request: &Request, proxy: &Proxy, whole: bool) -> Script {
    Script::new(Kind::Nginx)
        .with("FILE", &proxy.path)
        .with("NGINX", request.nginx(proxy))
        .with("WHOLE", if whole { "yes" } else { "no" })
}

/// What `nginx -t` complains of; none when it is content.
pub(crate) fn complaint(answer: &Answer, nginx: &str) -> Option<String> {
    match answer.number("code") {
        Some(0) => None,
        Some(126 | 127) => Some(format!("`{nginx}` can't be run")),
        _ => {
            let output = answer.text("output");
            let lines: Vec<String> = output.lines().map(one_line).collect();
            // What it only remarks on, in thousands of lines perhaps, goes ahead of what it fails with.
            let fatal: Vec<String> = lines.iter().filter(|line| line.contains("[emerg]")).cloned().collect();
            let said = if fatal.is_empty() { lines } else { fatal };
            Some(said.get(said.len().saturating_sub(5)..).unwrap_or_default().join("\n"))
        }
    }
}

/// Where the master's process ID is: the main configuration says it, else the build does.
///
/// Source: <https://nginx.org/en/docs/ngx_core_module.html#pid>
fn pid_file(main: &[u8], build: &str) -> String {
    let path = tree::pid(&tree::read(main).unwrap_or_default())
        .or_else(|| built(build, "--pid-path="))
        .unwrap_or_else(|| "logs/nginx.pid".to_owned());
    if path.starts_with('/') {
        return path;
    }
    let prefix = built(build, "--prefix=").unwrap_or_else(|| "/usr/local/nginx".to_owned());
    format!("{}/{path}", prefix.trim_end_matches('/'))
}

/// A path that nginx was built with.
fn built(build: &str, name: &str) -> Option<String> {
    let rest = build.split_once(name)?.1;
    Some(rest.split_whitespace().next().unwrap_or_default().trim_matches('\'').to_owned())
}

/// How the running nginx is found, and known for the one that is meant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running<'a> {
    pub(crate) pid_file: &'a str,
    /// The main configuration, which loads the file.
    pub(crate) main: &'a str,
    /// What it was started with where its command does not say.
    pub(crate) default: &'a str,
}

/// The processes that run now.
pub(crate) async fn workers(
    cx: &Cx,
    request: &Request,
    proxy: &Proxy,
    running: &Running<'_>,
) -> Result<Result<Workers, String>, Failure> {
    let script = Script::new(Kind::Workers)
        .with("PIDFILE", running.pid_file)
        .with("MAIN", running.main)
        .with("DEFAULT", running.default);
    let answer = request.reach.run(cx, proxy, &script).await?;
    if answer.outcome() != "done" {
        return Ok(Err(answer.why()));
    }
    let pair = |text: &String| {
        let (pid, age) = text.split_once(' ')?;
        Some((pid.parse().ok()?, age.parse().ok()?))
    };
    Ok(Ok(Workers {
        master: answer.number("master").unwrap_or_default(),
        active: answer.all("worker").iter().filter_map(pair).collect(),
        leaving: answer.all("leaving").len(),
        started_with: answer.bytes("started").map(|_| answer.text("started")),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_id_is_where_the_configuration_or_the_build_says() {
        let build =
            "configure arguments: --prefix=/usr/share/nginx --pid-path=/run/nginx.pid --modules-path=/x";
        assert_eq!(pid_file(b"# pid /no;\npid '/run/a b.pid';\nevents {}", build), "/run/a b.pid");
        assert_eq!(pid_file(b"events {}", build), "/run/nginx.pid");
        assert_eq!(pid_file(b"pid a.pid; events {}", build), "/usr/share/nginx/a.pid");
        assert_eq!(pid_file(b"", "nginx version: nginx/1.22.1"), "/usr/local/nginx/logs/nginx.pid");
    }
}
