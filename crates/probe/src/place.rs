//! Where to ask: addresses as people give them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use kit::Failure;
use serde::Serialize;
use url::{Host, Url};

/// The place to open connections to instead of the URL's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectTo {
    /// A name or an address, without brackets.
    pub host: String,
    pub port: u16,
}

impl FromStr for ConnectTo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("{text:?} is no place to connect to; write HOST:PORT, as in 10.0.0.7:443 or [::1]:443")
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
        // An IPv6 address has brackets, or its last group could be the port.
        match Host::parse(host).map_err(|_| wrong())? {
            Host::Ipv6(address) => Ok(Self { host: address.to_string(), port }),
            host => Ok(Self { host: host.to_string(), port }),
        }
    }
}

impl fmt::Display for ConnectTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Serialize for ConnectTo {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An http or https URL without user name and password.
///
/// # Errors
///
/// Anything else: exit 2. A password in it is not repeated.
pub fn endpoint(flag: &str, text: &str) -> Result<Url, Failure> {
    let wrong = |shown: &str, why: String| {
        Failure::usage(format!("use {flag} {shown}"))
            .because(why)
            .help("write the whole address, as in https://rally.example.org/version")
    };
    let mut url = Url::parse(text).map_err(|error| {
        // What can't be parsed may have a password in it all the same.
        let shown = if text.contains('@') { "" } else { text };
        wrong(shown, error.to_string())
    })?;
    if !url.username().is_empty() || url.password().is_some() {
        let _ = url.set_username("");
        let _ = url.set_password(None);
        // After a second @, which was no part's end, the rest of a password may stand anywhere.
        let shown = if text.matches('@').count() > 1 { String::new() } else { url.to_string() };
        return Err(Failure::usage(format!("use {flag} {shown}"))
            .because("the one that was given has a user name or password, and those are seen in process lists and logs")
            .help(format!(
                "put the whole header value in an environment variable: {} authorization=VARIABLE",
                if flag == "--es" { "--es-header-env" } else { "--header-env" }
            )));
    }
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong(
            text,
            format!("{} is no scheme that this step knows: http and https are", url.scheme()),
        ));
    }
    // The URL standard reads http:///version as the host "version": what an empty variable leaves behind.
    let named = text.trim_start().split_once("://").is_some_and(|(_, rest)| !rest.starts_with(['/', '\\']));
    if !named {
        return Err(wrong(text, "it names no host".to_owned()));
    }
    url.set_fragment(None);
    Ok(url)
}

/// Whether it leads to this very machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(host) => loopback(&host.to_string()),
        None => false,
    }
}

/// Whether the name or address is this machine.
pub fn loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
