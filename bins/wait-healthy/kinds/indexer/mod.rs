//! The indexer of an ENCODE site: a thread that carries what is new in PostgreSQL over to Elasticsearch.

use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use kit::{Env, Failure, Secret};
use probe::Asked;
use serde::Serialize;
use serde_json::{Map, Value};
use url::Url;

use super::{Look, WHOLE, address_and_state};
use crate::args::HealthyArgs;
use crate::kinds::http;

pub(super) mod judge;

use judge::{Agreed, Listener, State};

/// How often in a row two indexers must agree: E39 of the runbook.
const AGREEMENTS: u32 = 2;

/// Where an indexer answers, and what goes with each request.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Place {
    pub(crate) address: String,
    #[serde(skip)]
    pub(crate) headers: Vec<(String, Secret)>,
    #[serde(skip)]
    pub(crate) warning: Option<String>,
}

/// An indexer, and what it is to be.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Named {
    #[serde(flatten)]
    pub(crate) place: Place,
    pub(crate) wanted: State,
    #[serde(skip)]
    pub(crate) most_lag: Option<Duration>,
}

/// The indexers that the arguments name.
///
/// # Errors
/// Whatever can't work is a usage error.
pub(crate) fn named(args: &HealthyArgs, env: &Env) -> Result<Vec<Named>, Failure> {
    let headers = http::site_headers(args, env)?;
    let one = |text: &String| {
        let (url, wanted) = parse(text)?;
        Ok(Named { place: place("--indexer", url, &headers), wanted, most_lag: args.indexer_max_lag })
    };
    args.indexer.iter().map(one).collect()
}

/// The indexers that are compared: none, or two different ones at least.
///
/// # Errors
/// One alone, or the same one twice: exit 2.
pub(crate) fn several(args: &HealthyArgs, env: &Env) -> Result<Vec<Place>, Failure> {
    let headers = http::site_headers(args, env)?;
    let mut places = Vec::new();
    for text in &args.indexer_same {
        places.push(place("--indexer-same", address("--indexer-same", text)?, &headers));
    }
    let mut addresses: Vec<&str> = places.iter().map(|place| place.address.as_str()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    if places.len() == 1 || addresses.len() < places.len() {
        return Err(Failure::usage(format!("compare the snapshots of {}", addresses.join(" and ")))
            .because("an indexer is always where it is itself")
            .help("name two different ones: --indexer-same URL --indexer-same URL"));
    }
    Ok(places)
}

fn place(flag: &str, url: Url, headers: &[(String, Secret)]) -> Place {
    Place {
        warning: http::in_clear(flag, &url, None, headers),
        address: url.into(),
        headers: headers.to_vec(),
    }
}

/// Reads `URL[=idle|indexed|standby|primary]`.
fn parse(text: &str) -> Result<(Url, State), Failure> {
    let states = [
        ("idle", State::Idle),
        ("indexed", State::Indexed),
        ("standby", State::Standby),
        ("primary", State::Primary),
    ];
    let (url, state) =
        address_and_state(("--indexer", "an indexer"), text, &states, "https://v37.example.org=indexed")?;
    Ok((address("--indexer", url)?, state.unwrap_or(State::Idle)))
}

/// The address of the site is enough: `/_indexer` is where its indexer answers.
fn address(flag: &str, text: &str) -> Result<Url, Failure> {
    let mut url = probe::endpoint(flag, text)?;
    if url.path() == "/" {
        url.set_path("/_indexer");
    }
    Ok(url)
}

/// One indexer to ask.
#[derive(Debug)]
struct Source {
    address: String,
    probe: probe::Probe,
}

impl Source {
    fn new(place: &Place, limit: Duration, ca_file: Option<&Path>, env: &Env) -> Result<Self, Failure> {
        let url = probe::endpoint("--indexer", &place.address)?;
        let asked = Asked {
            url: &url,
            connect_to: None,
            headers: &place.headers,
            follow_redirects: false,
            timeout: limit,
            user_agent: concat!("cutover-wait-healthy/", env!("CARGO_PKG_VERSION")),
        };
        let probe = probe::Probe::new(asked, ca_file, env)?.body_limit(WHOLE);
        Ok(Self { address: place.address.clone(), probe })
    }

    async fn read(&self, limit: Duration) -> Result<Listener, Look> {
        let answer = match self.probe.look(limit).await {
            Ok(answer) => answer,
            Err(none) => {
                return Err(Look { help: none.help.map(str::to_owned), ..Look::not_yet(none.reason) });
            }
        };
        if answer.status != 200 {
            let to =
                answer.redirect.map(|redirect| format!(", a redirect to {}", kit::one_line(&redirect.to)));
            return Err(Look::not_yet(format!("HTTP {}{}", answer.status_line, to.unwrap_or_default())));
        }
        if answer.cut {
            return Err(Look::not_yet("its answer has more than 32 MiB, which is more than this step reads"));
        }
        let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
        body.as_ref().and_then(Listener::read).ok_or_else(|| {
            Look::not_yet("it does not answer as ENCODE's indexer does (status, errors and results in JSON)")
                .help("name the place where the indexer's state is, which on an ENCODE site is /_indexer")
        })
    }
}

/// A probe of one indexer.
#[derive(Debug)]
pub(crate) struct Indexer {
    named: Named,
    source: Source,
}

impl Indexer {
    /// Asks nothing yet. Certificates that can't be read are an error.
    pub(crate) fn new(
        named: Named,
        limit: Duration,
        ca_file: Option<&Path>,
        env: &Env,
    ) -> Result<Self, Failure> {
        let source = Source::new(&named.place, limit, ca_file, env)?;
        Ok(Self { named, source })
    }

    pub(crate) fn name(&self) -> String {
        let wanted = match self.named.wanted {
            State::Idle => "",
            State::Indexed => " as done with its first indexing",
            State::Standby => " on a standby",
            State::Primary => " on a primary",
        };
        format!("the indexer at {}{wanted}", self.source.address)
    }

    pub(crate) async fn look(&self, limit: Duration) -> Look {
        match self.source.read(limit).await {
            Ok(listener) => judge::judge(self.named.wanted, self.named.most_lag, &listener),
            Err(look) => look,
        }
    }
}

/// A probe of several indexers, which are to have come to the same place.
#[derive(Debug)]
pub(crate) struct SameSnapshot {
    sources: Vec<Source>,
    agreed: Agreed,
    /// How often they must agree in a row.
    wanted: u32,
}

impl SameSnapshot {
    /// With `once` one agreement is enough, since there is one look.
    pub(crate) fn new(
        places: &[Place],
        once: bool,
        limit: Duration,
        ca_file: Option<&Path>,
        env: &Env,
    ) -> Result<Self, Failure> {
        let source = |place: &Place| Source::new(place, limit, ca_file, env);
        Ok(Self {
            sources: places.iter().map(source).collect::<Result<_, _>>()?,
            agreed: Agreed::default(),
            wanted: if once { 1 } else { AGREEMENTS },
        })
    }

    pub(crate) fn name(&self) -> String {
        let addresses: Vec<&str> = self.sources.iter().map(|source| source.address.as_str()).collect();
        format!("the snapshots of the indexers at {}", addresses.join(" and "))
    }

    pub(crate) async fn look(&mut self, limit: Duration) -> Look {
        let read = join_all(self.sources.iter().map(|source| source.read(limit))).await;
        let mut listeners = Vec::new();
        let mut silent = Vec::new();
        let mut help = None;
        for (source, read) in self.sources.iter().zip(read) {
            match read {
                Ok(listener) => listeners.push((source.address.clone(), listener)),
                Err(look) => {
                    let why = look.verdict.err().unwrap_or_default();
                    silent.push(format!("{}: {why}", source.address));
                    help = help.or(look.help);
                }
            }
        }
        if !silent.is_empty() {
            self.agreed.take(None);
            return Look { help, ..Look::not_yet(silent.join("; ")) };
        }
        let looked = judge::same(&listeners);
        let times = self.agreed.take(looked.as_ref().ok());
        match looked {
            Err(why) => Look::not_yet(why),
            Ok(at) => {
                let seen = format!("all wait in recovery at snapshot {}", at.snapshot);
                let mut look = if times >= self.wanted {
                    Look::healthy(seen)
                } else {
                    let newest = at.timestamps.join(" and ");
                    Look::not_yet(format!(
                        "{seen}, seen so {times} of {} times; each looks at its database anew about once a minute, last at {newest}",
                        self.wanted
                    ))
                };
                look.details = Map::from_iter([("snapshot".to_owned(), Value::from(at.snapshot))]);
                look
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_indexer_and_its_state() {
        for (text, address, state) in [
            ("https://v37.test", "https://v37.test/_indexer", State::Idle),
            ("https://v37.test/=indexed", "https://v37.test/_indexer", State::Indexed),
            ("https://v37.test/_indexer_state=standby", "https://v37.test/_indexer_state", State::Standby),
            ("https://v37.test/_visindexer=primary", "https://v37.test/_visindexer", State::Primary),
        ] {
            let (url, found) = parse(text).unwrap();
            assert_eq!((url.as_str(), found), (address, state), "{text}");
        }
        for bad in ["v37.test", "https://v37.test=waiting", "https://me:hunter22@v37.test=x"] {
            let failure = parse(bad).unwrap_err();
            assert_eq!(failure.code(), kit::Code::Usage);
            assert!(!format!("{failure:?}").contains("hunter22"));
        }
    }
}
