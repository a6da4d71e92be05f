//! A DNS server on loopback that answers from the zones of a Route 53 endpoint, some time late, as name servers and resolvers do.
//!
//! The server is hickory's, with its in-memory zones: packets, name compression, CNAME and negative answers are not ours. Ours is
//! only what AWS does behind Route 53: an alias answers with the addresses of what it leads to.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr as _;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use aws_sdk_route53::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_route53::types::{ResourceRecordSet, RrType};
use hickory_server::Server;
use hickory_server::net::runtime::{Time, TokioRuntimeProvider};
use hickory_server::proto::rr::rdata::{A, AAAA, CNAME, SOA};
use hickory_server::proto::rr::{LowerName, Name, RData, Record};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;

/// How often the zones are read.
const EVERY: Duration = Duration::from_millis(50);

/// What a server knows, and how late it is.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The zones, by name and ID.
    pub zones: Vec<(String, String)>,
    /// The addresses of names outside the zones: load balancers, distributions, pages.
    pub addresses: Vec<(String, IpAddr)>,
    /// How long it goes on answering what was before a change.
    pub delay: Duration,
}

/// A running server, which ends with this value.
#[derive(Debug)]
pub struct Dns {
    address: SocketAddr,
    tasks: Vec<JoinHandle<()>>,
}

/// The zones as they were at these times, oldest first.
type History = Arc<RwLock<Vec<(Instant, Arc<Catalog>)>>>;

struct Late {
    history: History,
    delay: Duration,
}

#[async_trait::async_trait]
impl RequestHandler for Late {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        response_handle: R,
    ) -> ResponseInfo {
        let catalog = {
            let history = self.history.read().unwrap_or_else(PoisonError::into_inner);
            let known = history.iter().rev().find(|(since, _)| since.elapsed() >= self.delay);
            known.or(history.first()).map(|(_, catalog)| Arc::clone(catalog)).unwrap_or_default()
        };
        catalog.handle_request::<R, T>(request, response_handle).await
    }
}

impl Dns {
    /// Serves the zones on a free port of loopback, over UDP and TCP.
    ///
    /// # Errors
    ///
    /// No port, or the endpoint does not list a zone.
    pub async fn start(endpoint: &str, options: Options) -> Result<Self, String> {
        let credentials = Credentials::new("test", "test", None, None, "testkit");
        let config = aws_sdk_route53::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(endpoint)
            .region(Region::new("us-east-1"))
            .credentials_provider(credentials)
            .build();
        let client = aws_sdk_route53::Client::from_conf(config);
        let first = read(&client, &options.zones).await?;
        let history: History =
            Arc::new(RwLock::new(vec![(Instant::now(), Arc::new(catalog(&first, &options.addresses)?))]));
        let tcp = TcpListener::bind("127.0.0.1:0").await.map_err(|error| error.to_string())?;
        let address = tcp.local_addr().map_err(|error| error.to_string())?;
        let udp = UdpSocket::bind(address).await.map_err(|error| error.to_string())?;
        let mut server = Server::new(Late { history: Arc::clone(&history), delay: options.delay });
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(5), 64);
        let serving = tokio::spawn(async move {
            let _ = server.block_until_done().await;
        });
        let reading = tokio::spawn(async move {
            let mut last = first;
            loop {
                tokio::time::sleep(EVERY).await;
                let Ok(now) = read(&client, &options.zones).await else { continue };
                if now != last
                    && let Ok(catalog) = catalog(&now, &options.addresses)
                {
                    history
                        .write()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((Instant::now(), Arc::new(catalog)));
                    last = now;
                }
            }
        });
        Ok(Self { address, tasks: vec![serving, reading] })
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Zone name to its record sets.
type Zones = BTreeMap<String, Vec<ResourceRecordSet>>;

async fn read(client: &aws_sdk_route53::Client, wanted: &[(String, String)]) -> Result<Zones, String> {
    let mut zones = Zones::new();
    for (name, id) in wanted {
        let sets = client.list_resource_record_sets().hosted_zone_id(id).send().await;
        let sets = sets.map_err(|error| format!("read the zone {name}: {error}"))?;
        zones.insert(name.clone(), sets.resource_record_sets);
    }
    Ok(zones)
}

fn catalog(zones: &Zones, addresses: &[(String, IpAddr)]) -> Result<Catalog, String> {
    let mut catalog = Catalog::new();
    let known: BTreeMap<String, IpAddr> =
        addresses.iter().map(|(name, address)| (absolute(name), *address)).collect();
    let mut all: BTreeMap<String, Vec<Record>> = BTreeMap::new();
    for (zone, sets) in zones {
        let records = all.entry(absolute(zone)).or_default();
        for set in sets {
            records.extend(records_of(set, &known)?);
        }
    }
    for (name, address) in &known {
        // Each outside name is a zone of its own.
        if !all.keys().any(|zone| name.ends_with(zone.as_str())) {
            all.entry(name.clone()).or_default().push(record(name, 60, data(*address))?);
        }
    }
    for (origin, records) in all {
        let name = parsed(&origin)?;
        let mut zone: InMemoryZoneHandler<TokioRuntimeProvider> =
            InMemoryZoneHandler::empty(name.clone(), ZoneType::Primary, AxfrPolicy::Deny);
        let soa = SOA::new(name.clone(), name.clone(), 1, 7200, 900, 1_209_600, 60);
        zone.upsert_mut(Record::from_rdata(name.clone(), 60, RData::SOA(soa)), 1);
        for record in records {
            zone.upsert_mut(record, 1);
        }
        catalog.upsert(LowerName::from(name), vec![Arc::new(zone)]);
    }
    Ok(catalog)
}

fn records_of(set: &ResourceRecordSet, known: &BTreeMap<String, IpAddr>) -> Result<Vec<Record>, String> {
    let ttl = u32::try_from(set.ttl.unwrap_or(60)).unwrap_or(60);
    if let Some(alias) = set.alias_target() {
        let address = known.get(&absolute(&alias.dns_name)).filter(|address| match set.r#type {
            RrType::A => address.is_ipv4(),
            _ => address.is_ipv6(),
        });
        return address.map(|address| record(&set.name, ttl, data(*address))).into_iter().collect();
    }
    let values = set.resource_records().iter().map(|record| record.value.as_str());
    match set.r#type {
        RrType::A | RrType::Aaaa => values
            .map(|value| {
                let address = value.parse().map_err(|error| format!("{value}: {error}"))?;
                record(&set.name, ttl, data(address))
            })
            .collect(),
        // Where the emulator knows no such resource, a stack's record may hold something that is no name.
        RrType::Cname => values
            .filter_map(|value| parsed(&absolute(value)).ok())
            .map(|name| record(&set.name, ttl, RData::CNAME(CNAME(name))))
            .collect(),
        _ => Ok(Vec::new()),
    }
}

fn data(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    }
}

fn record(name: &str, ttl: u32, data: RData) -> Result<Record, String> {
    Ok(Record::from_rdata(parsed(&absolute(name))?, ttl, data))
}

fn parsed(name: &str) -> Result<Name, String> {
    Name::from_str(name).map_err(|error| format!("{name}: {error}"))
}

fn absolute(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.').to_ascii_lowercase())
}
