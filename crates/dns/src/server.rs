//! Servers as people name them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// Where DNS is asked, unless a port is named.
///
/// Source: <https://www.rfc-editor.org/rfc/rfc1035>
const PORT: u16 = 53;

/// A DNS server: `1.1.1.1`, `10.0.0.2:5353`, `[2606:4700::1111]:53`, `ns-1.awsdns-01.org`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Server {
    host: String,
    port: u16,
}

/// The name of a server has no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved(String);

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unresolved {}

impl Server {
    /// Its address: the first, where its name has several.
    ///
    /// # Errors
    ///
    /// The system's resolver knows none.
    pub async fn address(&self) -> Result<SocketAddr, Unresolved> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok(SocketAddr::new(address, self.port));
        }
        let unresolved =
            |why: String| Unresolved(format!("the name server {} does not resolve: {why}", self.host));
        let mut found = tokio::net::lookup_host((self.host.as_str(), self.port))
            .await
            .map_err(|error| {
                let error = error.to_string();
                unresolved(
                    error.strip_prefix("failed to lookup address information: ").unwrap_or(&error).to_owned(),
                )
            })?
            .collect::<Vec<_>>();
        // Not every network has a way out over IPv6, and a name server that can't be reached looks like one that is down.
        found.sort_by_key(SocketAddr::is_ipv6);
        found.first().copied().ok_or_else(|| unresolved("it has no address".to_owned()))
    }
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no DNS server; write an address or a name, with a port or without: 10.0.0.2:53"
            )
        };
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self { host: address.to_string(), port: PORT });
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            if address.port() == 0 {
                return Err(wrong());
            }
            return Ok(Self { host: address.ip().to_string(), port: address.port() });
        }
        let (host, port) = match text.rsplit_once(':') {
            None => (text, PORT),
            Some((host, port)) => (host, port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?),
        };
        let host = crate::normal(host);
        let label = |label: &str| {
            (1..64).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        if host.len() > 253 || !host.split('.').all(label) {
            return Err(wrong());
        }
        Ok(Self { host, port })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.port, self.host.contains(':')) {
            (PORT, _) => f.write_str(&self.host),
            (port, true) => write!(f, "[{}]:{port}", self.host),
            (port, false) => write!(f, "{}:{port}", self.host),
        }
    }
}
