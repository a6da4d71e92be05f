//! A name that is answered as wanted by every DNS server that is asked.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dns::{Data, Kind, Record, Role, Server};
use futures::future::join_all;
use serde::Serialize;

use super::Look;

/// Asked where no server is named, as public as a name's users are.
const RESOLVERS: [&str; 3] = ["1.1.1.1", "8.8.8.8", "9.9.9.9"];

/// A name, and where it is to lead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Leads {
    pub(crate) name: String,
    pub(crate) to: To,
}

/// Where a name leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum To {
    /// Exactly these addresses, all of one family.
    Addresses(BTreeSet<IpAddr>),
    /// This name, by a CNAME, or by an alias that answers with its addresses.
    Name(String),
}

/// For clap's `value_parser`: `NAME=ADDRESS[,ADDRESS]` or `NAME=OTHER`.
pub(crate) fn parse(text: &str) -> Result<Leads, String> {
    let wrong = || {
        "write NAME=OTHER-NAME or NAME=ADDRESS[,ADDRESS], as in api.example.org=d111.cloudfront.net"
            .to_owned()
    };
    let (name, to) = text.split_once('=').ok_or_else(wrong)?;
    let (name, whole) = (host(name).ok_or_else(wrong)?, to);
    let addresses: Result<BTreeSet<IpAddr>, _> = whole.split(',').map(|part| part.trim().parse()).collect();
    let to = match addresses {
        Ok(addresses) if addresses.iter().any(IpAddr::is_ipv4) && addresses.iter().any(IpAddr::is_ipv6) => {
            return Err("IPv4 and IPv6 are two records: repeat the flag".to_owned());
        }
        Ok(addresses) => To::Addresses(addresses),
        Err(_) => To::Name(host(whole).ok_or_else(wrong)?),
    };
    if to == To::Name(name.clone()) {
        return Err("a name can't lead to itself".to_owned());
    }
    Ok(Leads { name, to })
}

fn host(text: &str) -> Option<String> {
    let name = dns::normal(text);
    let label = |label: &str| {
        (1..64).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    // The last label of a host name is never a number (RFC 3696, section 2): that is an address written wrong.
    let numeric = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    (name.contains('.') && name.len() <= 253 && name.split('.').all(label) && !numeric).then_some(name)
}

impl Leads {
    pub(crate) fn name(&self) -> String {
        match &self.to {
            To::Name(to) => format!("{} as {to}", self.name),
            To::Addresses(of) => {
                let of: Vec<String> = of.iter().map(ToString::to_string).collect();
                format!("{} as {}", self.name, of.join(", "))
            }
        }
    }

    fn kind(&self) -> Kind {
        match &self.to {
            To::Addresses(of) if of.iter().any(IpAddr::is_ipv6) => Kind::Aaaa,
            _ => Kind::A,
        }
    }
}

/// Whether the answer is as wanted; `of` are the addresses of the wanted name, where it is one. Else what it is.
pub(crate) fn fits(leads: &Leads, answer: &[Record], of: &BTreeSet<IpAddr>) -> Result<String, String> {
    let cname = answer.iter().find_map(|record| match &record.data {
        Data::Cname(to) if record.name == leads.name => Some((to, record.ttl)),
        _ => None,
    });
    let found: BTreeSet<IpAddr> = answer
        .iter()
        .filter_map(|record| if let Data::Address(address) = record.data { Some(address) } else { None })
        .collect();
    let ttl = answer.iter().map(|record| record.ttl).max().unwrap_or_default();
    let listed = |of: &BTreeSet<IpAddr>| of.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let kept = format!("kept for another {ttl} s at most");
    match (&leads.to, cname) {
        (To::Name(wanted), Some((to, _))) if to == wanted => Ok(format!("CNAME {to}")),
        (To::Addresses(_), Some((to, ttl))) if found.is_empty() => {
            Err(format!("CNAME {to}, kept for another {ttl} s at most"))
        }
        (To::Name(_), Some((to, ttl))) => Err(format!("CNAME {to}, kept for another {ttl} s at most")),
        (_, None) if found.is_empty() => Err("no such record".to_owned()),
        // A load balancer has more addresses than one answer holds.
        (To::Name(wanted), None) => match stray(&found, of) {
            stray if stray.is_empty() => Ok(format!("{}, an address of {wanted}", listed(&found))),
            stray => Err(format!("{}, {kept}", listed(&stray))),
        },
        (To::Addresses(wanted), _) if found == *wanted => Ok(listed(&found)),
        _ => Err(format!("{}, {kept}", listed(&found))),
    }
}

/// The addresses of a family of which none is wanted. An alias is a record of its own for each family: of two, one can be left behind.
fn stray(found: &BTreeSet<IpAddr>, of: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
    let (four, six): (BTreeSet<IpAddr>, BTreeSet<IpAddr>) = found.iter().copied().partition(IpAddr::is_ipv4);
    [four, six].into_iter().filter(|family| family.is_disjoint(of)).flatten().collect()
}

/// A probe of one name.
#[derive(Debug)]
pub(crate) struct Answered {
    leads: Leads,
    servers: Vec<(Role, Server)>,
}

impl Answered {
    pub(crate) fn new(leads: Leads, name_servers: &[Server], resolvers: &[Server]) -> Self {
        let mut servers: Vec<(Role, Server)> =
            name_servers.iter().map(|server| (Role::Authority, server.clone())).collect();
        servers.extend(resolvers.iter().map(|server| (Role::Resolver, server.clone())));
        if servers.is_empty() {
            let public = RESOLVERS.iter().filter_map(|server| server.parse().ok());
            servers.extend(public.map(|server| (Role::Resolver, server)));
        }
        Self { leads, servers }
    }

    pub(crate) fn name(&self) -> String {
        self.leads.name()
    }

    pub(crate) async fn look(&self, limit: Duration) -> Look {
        let asked = join_all(self.servers.iter().map(|(role, server)| self.ask(*role, server, limit))).await;
        let line = |(server, said): (&(Role, Server), &String)| format!("{}: {said}", server.1);
        let bad: Vec<String> = self
            .servers
            .iter()
            .zip(&asked)
            .filter_map(|(server, said)| said.as_ref().err().map(|said| line((server, said))))
            .collect();
        if bad.is_empty() {
            let first = asked.into_iter().find_map(Result::ok).unwrap_or_default();
            return Look::healthy(format!("{first}, by {} servers", self.servers.len()));
        }
        let good = self.servers.len() - bad.len();
        Look::not_yet(format!(
            "{good} of {} servers answer as wanted; {}",
            self.servers.len(),
            bad.join("; ")
        ))
    }

    async fn ask(&self, role: Role, server: &Server, limit: Duration) -> Result<String, String> {
        let address = server.address().await.map_err(|error| error.to_string())?;
        let ask = async |name: &str, kind: Kind| {
            dns::ask(address, role, name, kind, limit).await.map_err(|error| error.to_string())
        };
        let To::Name(wanted) = &self.leads.to else {
            return fits(&self.leads, &ask(&self.leads.name, self.leads.kind()).await?, &BTreeSet::new());
        };
        // A zone's own server does not follow a CNAME out of its zones; what a resolver follows is what its users get, and it may keep the
        // addresses and not the name between.
        let names = |answer: &[Record]| {
            answer
                .iter()
                .any(|record| matches!(record.data, Data::Cname(_)) && record.name == self.leads.name)
        };
        let mut answer = Vec::new();
        if role == Role::Authority {
            answer = ask(&self.leads.name, Kind::Cname).await?;
        }
        for kind in [Kind::A, Kind::Aaaa] {
            if !names(&answer) {
                answer.extend(ask(&self.leads.name, kind).await?);
            }
        }
        if answer.is_empty() {
            answer = ask(&self.leads.name, Kind::Cname).await?;
        }
        let mut of = BTreeSet::new();
        if !names(&answer) && !answer.is_empty() {
            if role == Role::Resolver {
                for kind in [Kind::A, Kind::Aaaa] {
                    of.extend(ask(wanted, kind).await?.iter().filter_map(|record| match record.data {
                        Data::Address(address) => Some(address),
                        _ => None,
                    }));
                }
            } else if let Ok(found) = tokio::net::lookup_host((wanted.as_str(), 0)).await {
                of.extend(found.map(|place: SocketAddr| place.ip()));
            }
        }
        fits(&self.leads, &answer, &of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, data: Data) -> Record {
        Record { name: name.into(), ttl: 290, data }
    }

    fn address(text: &str) -> Data {
        Data::Address(text.parse().unwrap())
    }

    fn set(of: &[&str]) -> BTreeSet<IpAddr> {
        of.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_cname_must_be_the_very_one_and_an_alias_have_an_address_of_it() {
        let leads = parse("API.theboss.io.=Page.test").unwrap();
        let own = |to: &str| record("api.theboss.io", Data::Cname(to.into()));
        let chain = [own("page.test"), record("page.test", address("192.0.2.1"))];
        assert_eq!(fits(&leads, &chain, &set(&[])), Ok("CNAME page.test".into()));
        let old = [own("live.test"), record("live.test", Data::Cname("page.test".into()))];
        assert_eq!(
            fits(&leads, &old, &set(&[])),
            Err("CNAME live.test, kept for another 290 s at most".into())
        );
        let alias = [record("api.theboss.io", address("192.0.2.1"))];
        assert!(fits(&leads, &alias, &set(&["192.0.2.1", "192.0.2.2"])).is_ok());
        assert_eq!(fits(&leads, &alias, &set(&[])), Err("192.0.2.1, kept for another 290 s at most".into()));
        assert_eq!(fits(&leads, &[], &set(&[])), Err("no such record".into()));
        let both = [&alias[..], &[record("api.theboss.io", address("2001:db8::1"))]].concat();
        assert!(fits(&leads, &both, &set(&["192.0.2.1", "2001:db8::1"])).is_ok());
        // The AAAA was left behind: whoever comes by IPv6 is still led to the old place.
        assert_eq!(
            fits(&leads, &both, &set(&["192.0.2.1", "2001:db8::2"])),
            Err("2001:db8::1, kept for another 290 s at most".into())
        );
    }

    #[test]
    fn addresses_must_be_exactly_the_wanted_ones() {
        let leads = parse("api.theboss.io=192.0.2.1,192.0.2.2").unwrap();
        let answer = |of: &[&str]| -> Vec<Record> {
            of.iter().map(|text| record("api.theboss.io", address(text))).collect()
        };
        assert!(fits(&leads, &answer(&["192.0.2.2", "192.0.2.1"]), &set(&[])).is_ok());
        for other in [&["192.0.2.1"][..], &["192.0.2.1", "192.0.2.2", "192.0.2.3"], &["192.0.2.9"]] {
            assert!(fits(&leads, &answer(other), &set(&[])).is_err(), "{other:?}");
        }
        let out_of_the_zone = [record("api.theboss.io", Data::Cname("page.test".into()))];
        let said = fits(&leads, &out_of_the_zone, &set(&[])).unwrap_err();
        assert_eq!(said, "CNAME page.test, kept for another 290 s at most");
    }

    #[test]
    fn what_is_no_name_is_told() {
        for bad in [
            "api.test",
            "=x.test",
            "api.test=",
            "api=x.test",
            "api.test=1.2.3",
            "api.test=api.test",
            "a.test=192.0.2.1,::1",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(parse("a.test=2001:db8::1").unwrap().kind(), Kind::Aaaa);
    }
}
