//! A name in a zone of the emulator, a DNS server that answers from it, and two web servers: the service and the page.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde_json::Value;
use testkit::dns::{Dns, Options};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::world::{Ran, World, own, run, shared_emulator};

const LIVE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const PAGE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));

pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) zone: String,
    pub(crate) zone_id: String,
    pub(crate) name: String,
    dns: Dns,
    port: u16,
    servers: Vec<JoinHandle<()>>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        for server in &self.servers {
            server.abort();
        }
    }
}

impl Stage {
    /// `api.ZONE` with a CNAME of a TTL of 300 to `live.test`.
    pub(crate) async fn start() -> Self {
        Self::late(Duration::ZERO).await
    }

    /// The same with DNS servers that answer what was so long ago.
    pub(crate) async fn late(delay: Duration) -> Self {
        Self::with(delay, true).await
    }

    /// A zone without the name.
    pub(crate) async fn empty() -> Self {
        Self::with(Duration::ZERO, false).await
    }

    async fn with(delay: Duration, named: bool) -> Self {
        let world = World::start().await;
        let zone = format!("{}.test", own("theboss"));
        let name = format!("api.{zone}");
        let zone_id = create_zone(&zone).await;
        if named {
            change(&zone_id, "CREATE", &record(&name, "CNAME", 300, "live.test.")).await;
        }
        let options = Options {
            zones: vec![(zone.clone(), zone_id.clone())],
            addresses: vec![
                ("live.test".into(), LIVE),
                ("page.test".into(), PAGE),
                ("d111111abcdef8.cloudfront.net".into(), PAGE),
            ],
            delay,
        };
        let dns = Dns::start(shared_emulator().await.url(), options).await.unwrap();
        // The same port for both, as the public name has one.
        let (live, page) = loop {
            let live = TcpListener::bind((LIVE, 0)).await.unwrap();
            let port = live.local_addr().unwrap().port();
            if let Ok(page) = TcpListener::bind((PAGE, port)).await {
                break (live, page);
            }
        };
        let port = live.local_addr().unwrap().port();
        let servers = vec![
            tokio::spawn(serve(live, "200 OK", "{\"version\": \"2.1.0\"}")),
            tokio::spawn(serve(page, "503 Service Unavailable", "<h1>Down for Maintenance</h1>")),
        ];
        world.front.forget();
        Self { world, zone, zone_id, name, dns, port, servers }
    }

    pub(crate) fn cname(&self, to: &str, ttl: u32) -> String {
        record(&self.name, "CNAME", ttl, to)
    }

    pub(crate) async fn create(&self, set: &str) {
        change(&self.zone_id, "CREATE", set).await;
    }

    pub(crate) async fn delete(&self, set: &str) {
        change(&self.zone_id, "DELETE", set).await;
    }

    /// The zone, as the emulator lists it.
    pub(crate) async fn records(&self) -> String {
        let path = format!("/2013-04-01/hostedzone/{}/rrset", self.zone_id);
        let emulator = shared_emulator().await;
        let (status, answer) =
            emulator.rest("route53", reqwest::Method::GET, &path, Vec::new()).await.unwrap();
        assert_eq!(status, 200);
        String::from_utf8(answer).unwrap()
    }

    /// Where the DNS server listens.
    pub(crate) fn server(&self) -> String {
        self.dns.address().to_string()
    }

    /// The address of the service, and of the page when the name leads there.
    pub(crate) fn url(&self) -> String {
        format!("http://{}:{}/", self.name, self.port)
    }

    /// What leads the name there or back, and proves it with this DNS server and these two servers.
    pub(crate) fn args(&self, action: &str, more: &[&str]) -> Vec<String> {
        let (server, url) = (self.server(), self.url());
        let args = [
            &[
                "maintenance-toggle",
                "--action",
                action,
                "--name",
                &self.name,
                "--zone",
                &self.zone,
                "--url",
                &url,
            ][..],
            &["--name-server", &server, "--resolver", &server, "--page-contains", "Down for Maintenance"],
            more,
        ]
        .concat();
        args.into_iter().map(str::to_owned).collect()
    }

    pub(crate) fn command(&self, action: &str, more: &[&str]) -> tokio::process::Command {
        let mut command = self.world.command(&[]);
        command.args(self.args(action, more)).args(["--format", "json"]);
        command
    }

    pub(crate) async fn toggle(&self, action: &str, more: &[&str]) -> Ran {
        run(self.command(action, more)).await
    }

    pub(crate) async fn on(&self, more: &[&str]) -> Ran {
        self.toggle("on", &[&["--to-name", "page.test"], more].concat()).await
    }

    pub(crate) async fn off(&self, more: &[&str]) -> Ran {
        self.toggle("off", more).await
    }
}

pub(crate) fn outputs(ran: &Ran) -> Value {
    ran.json()["outputs"].clone()
}

pub(crate) fn record(name: &str, kind: &str, ttl: u32, value: &str) -> String {
    format!(
        "<ResourceRecordSet><Name>{name}.</Name><Type>{kind}</Type><TTL>{ttl}</TTL><ResourceRecords><ResourceRecord>\
         <Value>{value}</Value></ResourceRecord></ResourceRecords></ResourceRecordSet>"
    )
}

async fn change(zone_id: &str, action: &str, set: &str) {
    let body = format!(
        "<ChangeResourceRecordSetsRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><ChangeBatch><Changes>\
         <Change><Action>{action}</Action>{set}</Change></Changes></ChangeBatch></ChangeResourceRecordSetsRequest>"
    );
    let path = format!("/2013-04-01/hostedzone/{zone_id}/rrset");
    let emulator = shared_emulator().await;
    let (status, answer) =
        emulator.rest("route53", reqwest::Method::POST, &path, body.into_bytes()).await.unwrap();
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
}

/// The ID of a new zone.
pub(crate) async fn create_zone(name: &str) -> String {
    let body = format!(
        "<CreateHostedZoneRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><Name>{name}</Name>\
         <CallerReference>{}</CallerReference></CreateHostedZoneRequest>",
        own("zone")
    );
    let emulator = shared_emulator().await;
    let answer =
        emulator.rest("route53", reqwest::Method::POST, "/2013-04-01/hostedzone", body.into_bytes()).await;
    let (status, answer) = answer.unwrap();
    let text = String::from_utf8(answer).unwrap();
    assert_eq!(status, 201, "{text}");
    let id = text.split("<Id>/hostedzone/").nth(1).and_then(|rest| rest.split('<').next());
    id.expect("an ID").to_owned()
}

async fn serve(listener: TcpListener, status: &'static str, body: &'static str) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { return };
        tokio::spawn(async move {
            let mut request = vec![0; 4096];
            let _ = stream.read(&mut request).await;
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        });
    }
}
