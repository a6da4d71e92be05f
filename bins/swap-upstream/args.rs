//! The arguments, and what they come to.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use kit::{Env, Failure};
use probe::{ConnectTo, Expectations, HeaderIs, JsonIs, StatusSet};
use url::{Host, Url};

use crate::edit::{Swap, contradiction};
use crate::place::{Proxy, of_proxy};
use crate::remote::Reach;

/// The arguments of `swap-upstream`.
#[derive(clap::Args, Clone, Debug)]
#[command(about = "Lead an upstream of nginx to another server, on all proxies or on none", long_about = include_str!("help.md"))]
pub struct Args {
    /// A proxy's configuration, as [NAME=]/PATH or [NAME=]ssh://[USER@]HOST[:PORT]/PATH; may be repeated
    #[arg(long, value_name = "PROXY", required = true, value_parser = NonEmptyStringValueParser::new())]
    proxy: Vec<String>,

    /// What is replaced on each proxy: the upstream, its server now and its server then; may be repeated
    #[arg(long, value_name = "UPSTREAM=OLD..NEW", required = true)]
    swap: Vec<Swap>,

    /// What is fetched through each proxy to see that the new server answers; may be repeated
    #[arg(long, value_name = "URL")]
    url: Vec<String>,

    /// Fetch nothing: that nginx runs the new configuration is all that is checked
    #[arg(long)]
    no_fetch: bool,

    /// Where --url is fetched [default: the proxy's host, or this machine, at the URL's port]; may be repeated
    #[arg(long, value_name = "[NAME=]HOST:PORT")]
    connect_to: Vec<String>,

    /// Status codes to expect: single ones and ranges, separated by commas
    #[arg(long, value_name = "CODES", default_value = "200-299")]
    expect_status: StatusSet,

    /// Header that the answer has, as in 'x-version: 2.1.0'; may be repeated
    #[arg(long, value_name = "NAME: VALUE", requires = "url")]
    expect_header: Vec<HeaderIs>,

    /// Text that the body contains; may be repeated
    #[arg(long, value_name = "TEXT", requires = "url", value_parser = NonEmptyStringValueParser::new())]
    expect_body: Vec<String>,

    /// Text that the body must not contain; may be repeated
    #[arg(long, value_name = "TEXT", requires = "url", value_parser = NonEmptyStringValueParser::new())]
    reject_body: Vec<String>,

    /// Value at a place of the body's JSON, as in /version=2.1.0; may be repeated
    #[arg(long, value_name = "POINTER=VALUE", requires = "url")]
    expect_json: Vec<JsonIs>,

    /// PEM file with the only certificates to trust when fetching
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,

    /// How long a proxy may take to run the new configuration, and then to answer as wanted, before all is put back
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = kit::parse_duration)]
    settle: Duration,

    /// The command that is nginx on a proxy [default: nginx]; may be repeated, one for each NAME
    #[arg(long, value_name = "[NAME=]COMMAND", value_parser = NonEmptyStringValueParser::new())]
    nginx: Vec<String>,

    /// The command that reloads it, as in 'service nginx reload' [default: nginx -s reload]; may be repeated
    #[arg(long, value_name = "[NAME=]COMMAND", value_parser = NonEmptyStringValueParser::new())]
    reload_command: Vec<String>,

    /// The file with the master's process ID [default: as the configuration says]; may be repeated
    #[arg(long, value_name = "[NAME=]PATH", value_parser = NonEmptyStringValueParser::new())]
    pid_file: Vec<String>,

    /// Work as root on the proxies, by `sudo -n`
    #[arg(long)]
    sudo: bool,

    /// Option for ssh as in `ssh_config(5)`, such as `IdentityFile=key`; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = ssh_option)]
    ssh_option: Vec<String>,

    /// Whose edit it is [default: in a GitHub job its workflow run; elsewhere `a terminal`]
    #[arg(long, value_name = "TEXT", value_parser = kit::parse_release)]
    release: Option<String>,
}

/// What the arguments come to.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) proxies: Vec<Proxy>,
    pub(crate) swaps: Vec<Swap>,
    pub(crate) reach: Reach,
    pub(crate) fetches: Vec<Fetch>,
    pub(crate) expect: Expectations,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) settle: Duration,
    pub(crate) release: String,
    nginx: Vec<String>,
    reload_command: Vec<String>,
    pid_file: Vec<String>,
}

/// One address, fetched through one proxy.
#[derive(Clone, Debug)]
pub(crate) struct Fetch {
    pub(crate) proxy: String,
    pub(crate) url: Url,
    pub(crate) place: ConnectTo,
}

impl Args {
    /// What can't work is found here, before any call.
    pub(crate) fn check(self, env: &Env) -> Result<Request, Failure> {
        let proxies = proxies(&self.proxy)?;
        let names: Vec<&str> = proxies.iter().map(|proxy| proxy.name.as_str()).collect();
        if let Some((one, other)) = contradiction(&self.swap) {
            return Err(Failure::usage(format!("swap {one} and {other}"))
                .because(format!("both are about the same server of the upstream {}", one.upstream))
                .help("swap each server once"));
        }
        for (flag, values) in [("--nginx", &self.nginx), ("--reload-command", &self.reload_command)] {
            let restarts = |value: &&String| {
                value
                    .split(|c: char| !c.is_ascii_alphanumeric())
                    .any(|word| ["restart", "stop", "quit"].contains(&word))
            };
            if let Some(value) = values.iter().find(restarts) {
                return Err(Failure::usage(format!("use {flag} '{value}'"))
                    .because("a restart cuts off every connection, and leaves no nginx at all where it fails")
                    .help("name a command that reloads"));
            }
        }
        if let Some(path) = self
            .pid_file
            .iter()
            .find(|path| !path.rsplit('=').next().is_some_and(|path| path.starts_with('/')))
        {
            return Err(Failure::usage(format!("use --pid-file {path}"))
                .because("it is no absolute path")
                .help("write it as in /run/nginx.pid, or NAME=/run/nginx.pid"));
        }
        if self.url.is_empty() != self.no_fetch {
            let why = if self.no_fetch {
                "--url and --no-fetch contradict each other"
            } else {
                "nothing says what the new server answers"
            };
            return Err(Failure::usage("see the new server answer")
                .because(why)
                .help("name what is fetched through each proxy with --url, or give --no-fetch to go by nginx's processes alone"));
        }
        let mut fetches = Vec::new();
        for url in &self.url {
            let url = probe::endpoint("--url", url)?;
            if let Some(Host::Ipv4(_) | Host::Ipv6(_)) = url.host() {
                return Err(Failure::usage(format!("use --url {url}"))
                    .because("it has an address, and what is fetched is fetched through each proxy, whose addresses differ")
                    .help("write the public name in --url; where a proxy listens, say with --connect-to"));
            }
            for proxy in &proxies {
                let place = place(&self.connect_to, proxy, &names, &url)?;
                fetches.push(Fetch { proxy: proxy.name.clone(), url: url.clone(), place });
            }
        }
        Ok(Request {
            swaps: self.swap,
            reach: Reach { ssh_options: self.ssh_option, sudo: self.sudo },
            fetches,
            expect: Expectations {
                status: self.expect_status,
                header: self.expect_header,
                body: self.expect_body,
                reject_body: self.reject_body,
                json: self.expect_json,
                count: Vec::new(),
            },
            ca_file: self.ca_file,
            settle: self.settle,
            release: env.release(self.release.as_deref()),
            nginx: self.nginx,
            reload_command: self.reload_command,
            pid_file: self.pid_file,
            proxies,
        })
    }
}

fn proxies(texts: &[String]) -> Result<Vec<Proxy>, Failure> {
    let mut proxies: Vec<Proxy> = Vec::new();
    for text in texts {
        let proxy: Proxy = text.parse().map_err(|why: String| {
            // What can't be read may have a password in it.
            let shown = if text.contains('@') { "" } else { text.as_str() };
            Failure::usage(format!("use --proxy {shown}").trim_end().to_owned()).because(why)
        })?;
        let same = |one: &&Proxy| one.name == proxy.name || (one.ssh == proxy.ssh && one.path == proxy.path);
        if let Some(earlier) = proxies.iter().find(same) {
            let why = if earlier.name == proxy.name { "have the same name" } else { "are the same file" };
            return Err(Failure::usage(format!("use --proxy {proxy}"))
                .because(format!("it and {earlier} {why}"))
                .help("name each proxy once; NAME=... before a place gives it another name"));
        }
        proxies.push(proxy);
    }
    Ok(proxies)
}

fn place(given: &[String], proxy: &Proxy, names: &[&str], url: &Url) -> Result<ConnectTo, Failure> {
    if let Some(text) = of_proxy(given, &proxy.name, names) {
        return text.parse().map_err(|why: String| {
            Failure::usage(format!("use --connect-to {text}"))
                .because(why)
                .help("where the part before = is meant for one proxy, it must be a name of --proxy")
        });
    }
    let host = proxy.ssh.as_ref().map_or("127.0.0.1", |ssh| ssh.host.as_str());
    Ok(ConnectTo { host: host.to_owned(), port: url.port_or_known_default().unwrap_or(443) })
}

/// One option of ssh, which is given to it as one word.
fn ssh_option(text: &str) -> Result<String, String> {
    let wrong = "write NAME=VALUE as in ssh_config(5), such as IdentityFile=key";
    let (name, value) = text.split_once('=').ok_or(wrong)?;
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) || value.is_empty() {
        return Err(wrong.to_owned());
    }
    Ok(text.to_owned())
}

impl Request {
    fn of<'a>(&self, values: &'a [String], proxy: &Proxy) -> Option<&'a str> {
        let names: Vec<&str> = self.proxies.iter().map(|proxy| proxy.name.as_str()).collect();
        of_proxy(values, &proxy.name, &names)
    }

    /// The command that is nginx on the proxy.
    pub(crate) fn nginx(&self, proxy: &Proxy) -> &str {
        self.of(&self.nginx, proxy).unwrap_or("nginx")
    }

    /// The command that reloads it; none for nginx's own way.
    pub(crate) fn reload_command(&self, proxy: &Proxy) -> Option<&str> {
        self.of(&self.reload_command, proxy)
    }

    pub(crate) fn pid_file(&self, proxy: &Proxy) -> Option<&str> {
        self.of(&self.pid_file, proxy)
    }
}
