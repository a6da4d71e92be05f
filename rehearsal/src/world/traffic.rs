//! A public name: its zone in the emulator, a DNS server that answers from that zone some time late, and the maintenance page.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use axum::http::{StatusCode, header};
use axum::routing::any;
use dns::{Data, Kind, Role, Server};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use testkit::dns::{Dns, Options};
use testkit::emulator::Emulator;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// How far the DNS server is behind the zone: enough to be waited for.
const DELAY: Duration = Duration::from_secs(2);
/// Where the page is served, on the port of the service: a public name has one port.
const PAGE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
const LIMIT: Duration = Duration::from_secs(5);

/// What others need to know of the name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Entry {
    pub name: String,
    pub zone: String,
    /// What serves the page: a host name.
    pub page: String,
    /// What the page has and the service has not.
    pub text: String,
    /// Without a path.
    pub url: String,
    /// The service itself, behind the name.
    pub live: String,
    /// The DNS server.
    pub dns: String,
}

/// Where a name leads before the release.
pub(super) struct Wanted<'a> {
    pub(super) zone: &'a str,
    pub(super) name: &'a str,
    /// The host name of the service's load balancer, to which the name is a CNAME.
    pub(super) live: &'a str,
    pub(super) page: &'a str,
    pub(super) text: &'a str,
    /// Of the service, on loopback.
    pub(super) port: u16,
}

/// Everything that runs for the name; ends with this value.
pub(super) struct Traffic {
    pub(super) entry: Entry,
    _dns: Dns,
    page: JoinHandle<()>,
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.page.abort();
    }
}

impl Traffic {
    /// A zone that is there stays as it is: the release may have changed it.
    pub(super) async fn start(emulator: &Emulator, wanted: &Wanted<'_>) -> io::Result<Self> {
        let id = zone(emulator, wanted).await?;
        let dns = Dns::start(
            emulator.url(),
            Options {
                zones: vec![(wanted.zone.to_owned(), id)],
                addresses: vec![
                    (wanted.live.to_owned(), IpAddr::V4(Ipv4Addr::LOCALHOST)),
                    (wanted.page.to_owned(), IpAddr::V4(PAGE)),
                ],
                delay: DELAY,
            },
        );
        let dns = dns.await.map_err(io::Error::other)?;
        let listener = TcpListener::bind((PAGE, wanted.port)).await?;
        let page = format!("<!doctype html>\n<title>{0}</title>\n<h1>{0}</h1>\n", wanted.text);
        let answer = move || async move {
            (StatusCode::SERVICE_UNAVAILABLE, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], page)
        };
        let router = axum::Router::new().fallback(any(answer));
        let page = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        let entry = Entry {
            name: wanted.name.to_owned(),
            zone: wanted.zone.to_owned(),
            page: wanted.page.to_owned(),
            text: wanted.text.to_owned(),
            url: format!("http://{}:{}", wanted.name, wanted.port),
            live: format!("127.0.0.1:{}", wanted.port),
            dns: dns.address().to_string(),
        };
        Ok(Self { entry, _dns: dns, page })
    }
}

impl Entry {
    /// What somebody sees who opens the name: the body's first line and the status, at the address that DNS tells.
    pub async fn seen(&self, path: &str) -> String {
        match self.fetch(path).await {
            Ok(seen) => seen,
            Err(error) => error.to_string(),
        }
    }

    async fn fetch(&self, path: &str) -> io::Result<String> {
        let server: Server = self.dns.parse().map_err(io::Error::other)?;
        let server = server.address().await.map_err(io::Error::other)?;
        let answer = dns::ask(server, Role::Resolver, &self.name, Kind::A, LIMIT).await;
        let answer = answer.map_err(io::Error::other)?;
        let address = answer.iter().find_map(|record| match record.data {
            Data::Address(address) => Some(address),
            _ => None,
        });
        let address = address.ok_or_else(|| io::Error::other(format!("{} has no address", self.name)))?;
        let client =
            reqwest::Client::builder().no_proxy().timeout(LIMIT).resolve(&self.name, (address, 0).into());
        let client = client.build().map_err(io::Error::other)?;
        let answer = client.get(format!("{}{path}", self.url)).send().await.map_err(io::Error::other)?;
        let status = answer.status();
        let body = answer.text().await.map_err(io::Error::other)?;
        Ok(if body.contains(&self.text) {
            format!("the page \"{}\" ({status})", self.text)
        } else {
            format!("{body} ({status})")
        })
    }
}

/// The ID of the zone, which is made with the name's record when it is not there.
async fn zone(emulator: &Emulator, wanted: &Wanted<'_>) -> io::Result<String> {
    let path = format!("/2013-04-01/hostedzonesbyname?dnsname={}&maxitems=1", wanted.zone);
    let listed = call(emulator, Method::GET, &path, String::new()).await?;
    if listed.contains(&format!("<Name>{}.</Name>", wanted.zone)) {
        return id(&listed);
    }
    let body = format!(
        "<CreateHostedZoneRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><Name>{0}</Name>\
         <CallerReference>{0}</CallerReference></CreateHostedZoneRequest>",
        wanted.zone
    );
    let id = id(&call(emulator, Method::POST, "/2013-04-01/hostedzone", body).await?)?;
    let body = format!(
        "<ChangeResourceRecordSetsRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><ChangeBatch><Changes>\
         <Change><Action>CREATE</Action><ResourceRecordSet><Name>{}.</Name><Type>CNAME</Type><TTL>60</TTL><ResourceRecords>\
         <ResourceRecord><Value>{}.</Value></ResourceRecord></ResourceRecords></ResourceRecordSet></Change></Changes>\
         </ChangeBatch></ChangeResourceRecordSetsRequest>",
        wanted.name, wanted.live
    );
    call(emulator, Method::POST, &format!("/2013-04-01/hostedzone/{id}/rrset"), body).await?;
    Ok(id)
}

fn id(answer: &str) -> io::Result<String> {
    let id = answer.split("<Id>/hostedzone/").nth(1).and_then(|rest| rest.split('<').next());
    id.map(str::to_owned).ok_or_else(|| io::Error::other(format!("no zone in {answer}")))
}

async fn call(emulator: &Emulator, method: Method, path: &str, body: String) -> io::Result<String> {
    let (status, answer) = emulator.rest("route53", method, path, body.into_bytes()).await?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    if (200..300).contains(&status) {
        Ok(text)
    } else {
        Err(io::Error::other(format!("the emulator answered {status} to {path}: {text}")))
    }
}
