//! Asks the DNS servers that are named, past the cache and the hosts file of this machine.
//!
//! What a zone's own servers answer is what the world gets once its caches are old; what a public resolver answers is what
//! some of its users get now. Neither can be seen through the system's resolver, which has one cache and one opinion.

mod server;

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::Resolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{RData, RecordType};

pub use server::{Server, Unresolved};

/// The types of records that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// The name that this one is another name of.
    Cname,
    /// Text.
    Txt,
}

impl Kind {
    fn record_type(self) -> RecordType {
        match self {
            Self::A => RecordType::A,
            Self::Aaaa => RecordType::AAAA,
            Self::Cname => RecordType::CNAME,
            Self::Txt => RecordType::TXT,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.record_type())
    }
}

/// Whom a server answers for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// For its own zones alone: recursion is not asked for.
    Authority,
    /// For everybody's, from its cache or by asking further.
    Resolver,
}

/// One record of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose it is, in lower case, without the last dot.
    pub name: String,
    /// How long it may be kept, in seconds: from a cache, what is left of it.
    pub ttl: u32,
    /// What it says.
    pub data: Data,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// An address.
    Address(IpAddr),
    /// Another name, in lower case, without the last dot.
    Cname(String),
    /// The strings of a text, put together.
    Text(Vec<u8>),
}

/// Why there is no answer, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoAnswer(String);

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoAnswer {}

/// The name as it is compared: in lower case, without the last dot.
pub fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Asks one server once, over UDP, and over TCP where the answer is too long for it. A name that does not exist, or has
/// no such record, is an empty answer.
///
/// Source: <https://www.rfc-editor.org/rfc/rfc1035>
///
/// # Errors
///
/// No answer within the limit, or one that is an error (`REFUSED`, `SERVFAIL`).
pub async fn ask(
    server: SocketAddr,
    role: Role,
    name: &str,
    kind: Kind,
    limit: Duration,
) -> Result<Vec<Record>, NoAnswer> {
    let resolver = resolver(server, role, limit)?;
    // A last dot keeps the resolver from trying the search domains of this machine.
    let absolute = format!("{}.", normal(name));
    let asked = resolver.lookup(absolute, kind.record_type());
    let answer = match tokio::time::timeout(limit, asked).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(NetError::Dns(DnsError::NoRecordsFound(_)))) => return Ok(Vec::new()),
        Ok(Err(NetError::Dns(DnsError::ResponseCode(code)))) => {
            return Err(NoAnswer(format!("the server answers {code}")));
        }
        Err(_) | Ok(Err(NetError::Timeout)) => return Err(NoAnswer(format!("no answer within {limit:?}"))),
        Ok(Err(error)) => return Err(NoAnswer(error.to_string())),
    };
    let records = answer.answers().iter().filter_map(|record| {
        let data = match &record.data {
            RData::A(address) => Data::Address(IpAddr::V4(address.0)),
            RData::AAAA(address) => Data::Address(IpAddr::V6(address.0)),
            RData::CNAME(name) => Data::Cname(normal(&name.0.to_ascii())),
            RData::TXT(text) => Data::Text(text.txt_data.iter().flatten().copied().collect()),
            _ => return None,
        };
        Some(Record { name: normal(&record.name.to_ascii()), ttl: record.ttl, data })
    });
    Ok(records.collect())
}

fn resolver(
    server: SocketAddr,
    role: Role,
    limit: Duration,
) -> Result<Resolver<TokioRuntimeProvider>, NoAnswer> {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = server.port();
    }
    let server = NameServerConfig::new(server.ip(), true, connections);
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
    let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.recursion_desired = role == Role::Resolver;
    options.preserve_intermediates = true;
    options.edns0 = true;
    options.timeout = limit / 2;
    options.attempts = 1;
    options.avoid_local_udp_ports = Arc::new(HashSet::new());
    builder.build().map_err(|error| NoAnswer(error.to_string()))
}

#[cfg(test)]
mod tests;
