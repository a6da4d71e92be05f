//! Where a proxy's configuration is: a file of this machine, or of another by SSH.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// A proxy, by the name that messages call it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Proxy {
    pub(crate) name: String,
    /// None: this machine.
    pub(crate) ssh: Option<Ssh>,
    /// The configuration file, absolute.
    pub(crate) path: String,
}

/// Whom to connect to; what is not said is `~/.ssh/config`'s to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ssh {
    pub(crate) user: Option<String>,
    /// A name (that of a `Host` block too) or an address, without brackets.
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
}

const WRITE: &str = "write [NAME=]/PATH, or [NAME=]ssh://[USER@]HOST[:PORT]/PATH, as in backup=ssh://deploy@52.11.61.187/etc/nginx/nginx.conf";

impl FromStr for Proxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_name = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        let (name, place) = match text.split_once('=') {
            Some((name, place)) if is_name(name) => (Some(name.to_owned()), place),
            _ => (None, text),
        };
        if place.starts_with('/') {
            let path = path(place)?;
            return Ok(Self { name: name.unwrap_or_else(|| "local".to_owned()), ssh: None, path });
        }
        let url = Url::parse(place).ok().filter(|url| url.scheme() == "ssh").ok_or(WRITE)?;
        if url.password().is_some() {
            return Err("a password is seen in process lists: let ssh use a key or an agent".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(WRITE.to_owned());
        }
        let host = match url.host() {
            Some(Host::Domain(host)) => decoded(host)?,
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => return Err(WRITE.to_owned()),
        };
        let user = match url.username() {
            "" => None,
            user => Some(decoded(user)?),
        };
        // What begins with a hyphen, ssh reads as an option.
        let plain = |word: &str| {
            !word.starts_with('-')
                && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-:%@+".contains(&byte))
        };
        if host.is_empty() || !plain(&host) || user.as_deref().is_some_and(|user| !plain(user)) {
            return Err(WRITE.to_owned());
        }
        let path = path(&decoded(url.path())?)?;
        let ssh = Ssh { user, host, port: url.port() };
        Ok(Self { name: name.unwrap_or_else(|| ssh.to_string()), ssh: Some(ssh), path })
    }
}

fn decoded(text: &str) -> Result<String, String> {
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
    decoded.map(std::borrow::Cow::into_owned).map_err(|_| WRITE.to_owned())
}

fn path(text: &str) -> Result<String, String> {
    if !text.starts_with('/') || text.ends_with('/') || text.chars().any(char::is_control) {
        return Err(format!("name the configuration file; {WRITE}"));
    }
    Ok(text.to_owned())
}

impl fmt::Display for Ssh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) if self.host.contains(':') => write!(f, "[{}]:{port}", self.host),
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.path, self.name)
    }
}

/// The values of a flag that are `NAME=VALUE` for one proxy or `VALUE` for all others, resolved for the proxy `name`.
pub(crate) fn of_proxy<'a>(values: &'a [String], name: &str, names: &[&str]) -> Option<&'a str> {
    let own = |value: &'a String| {
        let (of, rest) = value.split_once('=')?;
        names.contains(&of).then_some((of, rest))
    };
    let named = values.iter().filter_map(own).find(|(of, _)| *of == name).map(|(_, rest)| rest);
    named.or_else(|| values.iter().find(|value| own(value).is_none()).map(String::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(text: &str) -> Proxy {
        text.parse().unwrap()
    }

    #[test]
    fn a_place_is_a_path_or_an_ssh_url() {
        let local = proxy("/etc/nginx/nginx.conf");
        assert_eq!(
            (local.name.as_str(), local.ssh, local.path.as_str()),
            ("local", None, "/etc/nginx/nginx.conf")
        );
        let far = proxy("stanford=ssh://deploy@171.67.205.70:2222/etc/nginx/nginx.conf");
        assert_eq!((far.name.as_str(), far.path.as_str()), ("stanford", "/etc/nginx/nginx.conf"));
        let ssh = far.ssh.unwrap();
        assert_eq!(
            (ssh.user.as_deref(), ssh.host.as_str(), ssh.port),
            (Some("deploy"), "171.67.205.70", Some(2222))
        );
        assert_eq!(proxy("ssh://proxy-1/etc/nginx/a%20b.conf").path, "/etc/nginx/a b.conf");
        assert_eq!(proxy("ssh://proxy-1/x").name, "proxy-1");
        assert_eq!(proxy("ssh://[::1]:22022/x").name, "[::1]:22022");
        assert_eq!(proxy("ssh://u@Proxy_1/x").ssh.unwrap().host, "Proxy_1");
        // A file whose name has a sign of equality in it.
        assert_eq!(proxy("/etc/a=b.conf").path, "/etc/a=b.conf");
    }

    #[test]
    fn what_could_be_an_option_or_a_secret_is_refused() {
        for wrong in [
            "",
            "nginx.conf",
            "a=nginx.conf",
            "ssh://",
            "ssh:///etc/nginx.conf",
            "ssh://h",
            "ssh://h/",
            "/etc/nginx/",
            "ssh://-oProxyCommand=x/etc/x",
            "ssh://-l@h/x",
            "ssh://u@%2doProxy/x",
            "http://h/x",
            "ssh://h/x?y",
            "/a\nb",
            "ssh://h;id/x",
            "ssh://u%20v@h/x",
        ] {
            assert!(wrong.parse::<Proxy>().is_err(), "{wrong}");
        }
        let secret = "ssh://u:hunter2@h/x".parse::<Proxy>().unwrap_err();
        assert!(secret.contains("process lists") && !secret.contains("hunter2"), "{secret}");
    }

    #[test]
    fn a_value_is_for_one_proxy_or_for_all_others() {
        let values = ["service nginx reload".to_owned(), "a=FOO=1 nginx -s reload".to_owned()];
        assert_eq!(of_proxy(&values, "a", &["a", "b"]), Some("FOO=1 nginx -s reload"));
        assert_eq!(of_proxy(&values, "b", &["a", "b"]), Some("service nginx reload"));
        assert_eq!(of_proxy(&values[1..], "b", &["a", "b"]), None);
        // Not a proxy's name: the command's own.
        assert_eq!(of_proxy(&["FOO=1 x".to_owned()], "b", &["b"]), Some("FOO=1 x"));
    }
}
