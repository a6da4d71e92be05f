//! Proves that the switch is seen: by Route 53's own servers, by the zone's name servers, by public resolvers, by a browser.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use aws::failure;
use dns::{Kind, Role, Server};
use kit::{Code, Cx, Failure, Poll, Secret, Wait};
use probe::{Asked, ConnectTo, Expectations, Probe, StatusSet};
use tokio::task::JoinSet;

use crate::answers::{fits, kind, leads_to, plain};
use crate::args::{Act, Request};
use crate::observe::World;
use crate::plan::Zone;
use crate::record_set::{RecordSet, shown};

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Time for one question.
const LIMIT: Duration = Duration::from_secs(4);
const FETCH: Duration = Duration::from_secs(10);
/// A server that was silent so often is left out, if another one answers.
const SILENT: u32 = 3;
const RESOLVERS: [&str; 3] = ["1.1.1.1", "8.8.8.8", "9.9.9.9"];
/// Names say nothing: whoever answers for a name decides what it is there.
const NO_HEADERS: &[(String, Secret)] = &[];

/// What is to be seen.
#[derive(Debug)]
pub(crate) struct Check<'a> {
    pub(crate) cx: &'a Cx,
    pub(crate) world: &'a World,
    pub(crate) request: &'a Request,
    pub(crate) zone: &'a Zone,
    /// The sets that lead the name now.
    pub(crate) sets: &'a [RecordSet],
}

/// Waits until Route 53 has the change on all of its servers.
///
/// Source: <https://docs.aws.amazon.com/Route53/latest/APIReference/API_GetChange.html>
pub(crate) async fn in_sync(cx: &Cx, world: &World, change: &str) -> Result<(), Failure> {
    let id = change.trim_start_matches("/change/");
    cx.wait(Wait::until("Route 53 to have the change on its servers", EVERY), async || {
        let answer = world.route53.get_change().id(id).send().await.map_err(|error| {
            let arn = format!("arn:aws:route53:::change/{id}");
            failure(format!("look at the change {id}"), "route53:GetChange", &arn, error)
        })?;
        let status = answer.change_info().map_or("", |change| change.status.as_str());
        Ok(if status == "INSYNC" { Poll::Ready(()) } else { Poll::Pending(status.to_owned()) })
    })
    .await
}

impl Check<'_> {
    /// Everything after the change, in order.
    pub(crate) async fn all(&self) -> Result<(), Failure> {
        let asked = self.by_dns().await?;
        if self.request.args.no_fetch {
            if asked == 0 {
                return Err(Failure::unverified(format!("see where {} leads", self.request.args.name))
                    .because("no DNS server can be asked from here, and --no-fetch forbids the other look")
                    .help("name a server that can be reached: --name-server, --resolver"));
            }
            return Ok(());
        }
        self.by_fetch().await
    }

    /// The number of servers that answered as they should.
    async fn by_dns(&self) -> Result<usize, Failure> {
        let args = &self.request.args;
        let mut asked = 0;
        for (what, role, servers) in [
            ("the zone's name servers", Role::Authority, self.name_servers().await?),
            ("the resolvers", Role::Resolver, self.resolvers()),
        ] {
            if servers.is_empty() {
                continue;
            }
            let all = servers.len();
            let mut open: BTreeMap<Server, u32> = servers.into_iter().map(|server| (server, 0)).collect();
            let mut done = 0;
            let waiting = format!("{what} to answer for {}", args.name);
            self.cx
                .wait(Wait::until(&waiting, EVERY), async || {
                    let addresses = self.addresses(&leads_to(self.sets)).await;
                    let mut state = Vec::new();
                    for (server, silent) in open.clone() {
                        match self.ask(&server, role, &addresses).await {
                            Asking::Fits => {
                                done += 1;
                                open.remove(&server);
                            }
                            Asking::Other(what) => {
                                open.insert(server.clone(), 0);
                                state.push(format!("{server}: {what}"));
                            }
                            Asking::Silent(why) if silent + 1 >= SILENT => {
                                self.cx.report().warn(&format!("{server} is left out: {why}"));
                                open.remove(&server);
                            }
                            Asking::Silent(why) => {
                                open.insert(server.clone(), silent + 1);
                                state.push(format!("{server}: {why}"));
                            }
                        }
                    }
                    Ok(if open.is_empty() { Poll::Ready(()) } else { Poll::Pending(state.join("; ")) })
                })
                .await
                .map_err(unseen)?;
            if done > 0 {
                self.cx.report().say(&format!("{what} answer as they should ({done} of {all})"));
            }
            asked += done;
        }
        Ok(asked)
    }

    async fn ask(&self, server: &Server, role: Role, addresses: &BTreeSet<IpAddr>) -> Asking {
        let name = &self.request.args.name;
        let address = match server.address().await {
            Ok(address) => address,
            Err(error) => return Asking::Silent(error.to_string()),
        };
        // A resolver follows the CNAME itself, and what it follows is what its users get.
        let wanted = match (role, kind(self.sets)) {
            (Role::Resolver, Kind::Cname) => Kind::A,
            (_, kind) => kind,
        };
        match dns::ask(address, role, name, wanted, LIMIT).await {
            Err(error) => Asking::Silent(error.to_string()),
            Ok(answer) => match fits(name, self.sets, &answer, addresses) {
                Ok(()) => Asking::Fits,
                Err(what) => Asking::Other(what),
            },
        }
    }

    /// Those of the arguments, else those that Route 53 gave the zone. A private zone has none that can be asked.
    ///
    /// Source: <https://docs.aws.amazon.com/Route53/latest/APIReference/API_GetHostedZone.html>
    async fn name_servers(&self) -> Result<Vec<Server>, Failure> {
        let given = &self.request.args.name_server;
        if !given.is_empty() || self.zone.private {
            return Ok(given.clone());
        }
        let sent = self.world.route53.get_hosted_zone().id(&self.zone.id).send();
        let attempt = format!("read the name servers of the zone {}", self.zone.name);
        let answer = self.cx.or_cancelled(sent).await?.map_err(|error| {
            let arn = format!("arn:aws:route53:::hostedzone/{}", self.zone.id);
            failure(&attempt, "route53:GetHostedZone", &arn, error)
        })?;
        let names = answer.delegation_set().map_or(&[][..], |set| set.name_servers());
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    fn resolvers(&self) -> Vec<Server> {
        resolvers(self.request)
    }

    /// The addresses of these names, as the resolvers or the system know them.
    async fn addresses(&self, names: &[String]) -> BTreeSet<IpAddr> {
        addresses(&self.resolvers(), names).await
    }

    /// Fetches the page, or the service, at the place where the name leads now.
    async fn by_fetch(&self) -> Result<(), Failure> {
        let mut names = leads_to(self.sets);
        names.dedup();
        answers_at(self.cx, self.request, &plain(self.sets), &names).await
    }
}

enum Asking {
    Fits,
    Other(String),
    /// No answer that says anything.
    Silent(String),
}

/// The change is made: what is missing is that it is seen.
fn unseen(failure: Failure) -> Failure {
    if failure.code() == Code::Deadline {
        failure.help("the change is made; --action off (or on) takes it back, as --undo does")
    } else {
        failure
    }
}

/// The addresses of these names, as the resolvers know them, or the system where none answers. All are asked at once: one that is
/// silent costs its time once.
async fn addresses(resolvers: &[Server], names: &[String]) -> BTreeSet<IpAddr> {
    let mut found = BTreeSet::new();
    for name in names {
        let mut asking = JoinSet::new();
        for server in resolvers {
            for kind in [Kind::A, Kind::Aaaa] {
                let (server, name) = (server.clone(), name.clone());
                asking.spawn(async move {
                    let Ok(server) = server.address().await else { return Vec::new() };
                    dns::ask(server, Role::Resolver, &name, kind, LIMIT).await.unwrap_or_default()
                });
            }
        }
        for answer in asking.join_all().await {
            found.extend(answer.iter().filter_map(|record| match record.data {
                dns::Data::Address(address) => Some(address),
                _ => None,
            }));
        }
        if found.is_empty()
            && let Ok(there) = tokio::net::lookup_host((name.as_str(), 0)).await
        {
            found.extend(there.map(|place: SocketAddr| place.ip()));
        }
    }
    found
}

/// What is wanted of the answer: the page for `on`, anything but the page for `off`.
fn expectations(request: &Request) -> Expectations {
    let args = &request.args;
    let page: Vec<String> = args.page_contains.iter().cloned().collect();
    let (status, body, reject_body): (StatusSet, _, _) = match args.action {
        Act::On => (args.page_status.clone(), page, Vec::new()),
        _ => (args.live_status.clone(), args.live_contains.iter().cloned().collect(), page),
    };
    Expectations { status, header: Vec::new(), body, reject_body, json: Vec::new(), count: Vec::new() }
}

/// Looks once at the first of these places, with the name as Host and in TLS; or why it is not as wanted.
async fn look(
    cx: &Cx,
    request: &Request,
    expect: &Expectations,
    places: &BTreeSet<IpAddr>,
) -> Result<Result<(), String>, Failure> {
    // IPv4 addresses sort first: not every network has a way out over IPv6.
    let Some(place) = places.first() else { return Ok(Err("where it leads to has no address".to_owned())) };
    let place =
        ConnectTo { host: place.to_string(), port: request.url.port_or_known_default().unwrap_or(443) };
    let asked = Asked {
        url: &request.url,
        connect_to: Some(&place),
        headers: NO_HEADERS,
        follow_redirects: false,
        timeout: FETCH,
        user_agent: concat!("cutover-maintenance-toggle/", env!("CARGO_PKG_VERSION")),
    };
    let probe = Probe::new(asked, request.args.ca_file.as_deref(), cx.env())?;
    Ok(match probe.look(FETCH).await {
        Ok(answer) => expect.judge(&answer).map(|_| ()),
        Err(none) => Err(none.reason),
    })
}

/// Waits until the page, or the service, is fetched under the public name from these places and those that the names have.
pub(crate) async fn answers_at(
    cx: &Cx,
    request: &Request,
    places: &BTreeSet<IpAddr>,
    names: &[String],
) -> Result<(), Failure> {
    let what = match request.args.action {
        Act::On => format!("the maintenance page to be seen at {}", request.url),
        _ => format!("the service to answer at {}", request.url),
    };
    let resolvers = resolvers(request);
    let expect = expectations(request);
    cx.wait(Wait::until(&what, EVERY), async || {
        let places = places.union(&addresses(&resolvers, names).await).copied().collect();
        Ok(match look(cx, request, &expect, &places).await? {
            Ok(()) => Poll::Ready(()),
            Err(why) => Poll::Pending(why),
        })
    })
    .await
    .map_err(unseen)
}

/// Those of the arguments, else public ones; none for a private zone.
fn resolvers(request: &Request) -> Vec<Server> {
    let given = &request.args.resolver;
    if given.is_empty() && !request.args.private_zone {
        return RESOLVERS.iter().filter_map(|server| server.parse().ok()).collect();
    }
    given.clone()
}

/// Looks at the page, or the service, in its own place, before anybody is led there by these sets.
pub(crate) async fn is_served(cx: &Cx, request: &Request, sets: &[RecordSet]) -> Result<(), Failure> {
    let resolvers = resolvers(request);
    let names = leads_to(sets);
    let mut why = String::new();
    for _ in 0..SILENT {
        let mut found = cx.or_cancelled(addresses(&resolvers, &names)).await?;
        found.extend(plain(sets));
        match cx.or_cancelled(look(cx, request, &expectations(request), &found)).await?? {
            Ok(()) => return Ok(()),
            Err(reason) => why = reason,
        }
        cx.or_cancelled(cx.pause(EVERY)).await?;
    }
    let (what, help) = match request.args.action {
        Act::On => ("page", "mend the page first, or correct --page-contains, --page-status and --url"),
        _ => (
            "service",
            "mend the service first, say where it is now with --live-from, or correct --live-status, --live-contains and \
             --url; --no-fetch goes by DNS alone",
        ),
    };
    let places = if names.is_empty() { shown(sets) } else { names.join(", ") };
    Err(Failure::refused(format!("lead {} to {places}", request.args.name))
        .because(format!(
            "the {what} is not served there: asked for {}, it is not as wanted: {why}",
            request.url
        ))
        .help(help))
}
