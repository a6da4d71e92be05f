//! A search cluster that is healthy: Elasticsearch 1 to 9 or OpenSearch.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use kit::{Env, Failure, Secret};
use serde::Serialize;
use tokio::time::Instant;
use url::Url;

use super::{Look, address_and_state};
use crate::args::HealthyArgs;
use crate::kinds::http;

pub(crate) mod client;
pub(crate) mod judge;

pub(crate) use client::Client;
use client::Trouble;
use judge::{Health, Seen, State, Wanted};

/// A cluster, and what it is to be.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Named {
    pub(crate) address: String,
    #[serde(flatten)]
    pub(crate) wanted: Wanted,
    #[serde(skip)]
    pub(crate) headers: Vec<(String, Secret)>,
    #[serde(skip)]
    pub(crate) warning: Option<String>,
}

/// The clusters that the arguments name.
///
/// # Errors
/// Whatever can't work is a usage error.
pub(crate) fn named(args: &HealthyArgs, env: &Env) -> Result<Vec<Named>, Failure> {
    let headers = http::from_env("--es-header-env", &args.es_header_env, env)?;
    let mut named = Vec::new();
    for text in &args.es {
        let (url, state) = parse(text)?;
        named.push(Named {
            warning: http::in_clear("--es", &url, None, &headers),
            address: url.as_str().trim_end_matches('/').to_owned(),
            wanted: Wanted {
                state,
                cluster: args.es_cluster.clone(),
                nodes: args.es_nodes,
                names: args.es_node.clone(),
            },
            headers: headers.clone(),
        });
    }
    Ok(named)
}

/// Reads `URL[=green|yellow|settled]`. A password in the URL is not repeated.
fn parse(text: &str) -> Result<(Url, State), Failure> {
    let states = [("green", State::Green), ("yellow", State::Yellow), ("settled", State::Settled)];
    let example = "https://es.example.org:9200=yellow";
    let (address, state) = address_and_state(("--es", "a cluster"), text, &states, example)?;
    let mut url = probe::endpoint("--es", address)?;
    url.set_query(None);
    let path = url.path().trim_end_matches('/').to_owned();
    if path.split('/').any(|part| part.starts_with('_')) {
        return Err(Failure::usage(format!("use --es {url}"))
            .because("it names one of the cluster's APIs")
            .help("write the address of the cluster, as in https://es.example.org:9200"));
    }
    url.set_path(&path);
    Ok((url, state.unwrap_or(State::Green)))
}

/// A probe of one cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    named: Named,
    client: Client,
}

impl Cluster {
    /// Asks nothing yet. Certificates that can't be read are an error.
    pub(crate) fn new(
        named: Named,
        limit: Duration,
        ca_file: Option<&Path>,
        env: &Env,
    ) -> Result<Self, Failure> {
        let url = probe::endpoint("--es", &named.address)?;
        let client = Client::new(&url, &named.headers, limit, ca_file, env)?;
        Ok(Self { named, client })
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn name(&self) -> String {
        let state = match self.named.wanted.state {
            State::Yellow => "yellow at least",
            State::Green => "green",
            State::Settled => "green and settled",
        };
        format!("the search cluster at {} as {state}", self.named.address)
    }

    /// Looks once.
    ///
    /// # Errors
    /// It is another cluster than the one that is meant.
    pub(crate) async fn look(&self, limit: Duration) -> Result<Look, Failure> {
        let until = Instant::now() + limit;
        let wanted = &self.named.wanted;
        Ok(match self.see(until, limit).await {
            Ok(seen) => {
                let name = &seen.health.cluster_name;
                judge::meant(wanted.cluster.as_deref(), name, &self.named.address)?;
                judge::judge(wanted, &seen)
            }
            Err(trouble) => {
                let silent = trouble.status.is_none() && trouble.reason.starts_with("timed out");
                let help = trouble.help.or_else(|| silent.then(|| NO_MASTER.to_owned()));
                Look { help, ..Look::not_yet(trouble.reason) }
            }
        })
    }

    /// Asks for the health and the nodes; where shards are missing, for which and why, as far as the time reaches.
    async fn see(&self, until: Instant, limit: Duration) -> Result<Seen, Trouble> {
        let left = || until.saturating_duration_since(Instant::now());
        // A message about the time that was given names all of it.
        let health = self.client.get("/_cluster/health", limit).await?;
        let health: Health = serde_json::from_value(health).map_err(|error| Trouble {
            status: Some(200),
            reason: format!(
                "it does not answer as Elasticsearch does ({})",
                client::short(&error.to_string())
            ),
            help: Some(
                "write the address of the cluster's HTTP port, as in https://es.example.org:9200".to_owned(),
            ),
        })?;
        let nodes = self.client.get("/_nodes?filter_path=nodes.*.name,nodes.*.version", left()).await?;
        let mut seen =
            Seen { health, nodes: judge::nodes(&nodes), lacking: BTreeMap::new(), explained: None };
        if seen.health.status != "green" {
            let path = "/_cluster/health?level=indices&filter_path=indices.*.status";
            // Without these the verdict is the same, only with fewer words.
            if let Ok(answer) = self.client.get(path, left()).await {
                seen.lacking = judge::lacking(&answer);
            }
        }
        if seen.health.unassigned_shards > 0
            && let Ok(answer) = self.client.get("/_cluster/allocation/explain", left()).await
        {
            seen.explained = judge::explain(&answer);
        }
        Ok(seen)
    }
}

const NO_MASTER: &str =
    "a cluster without an elected master says so only after 30 seconds: --request-timeout 35s lets it";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_and_its_state() {
        for (text, address, state) in [
            ("http://localhost:9200", "http://localhost:9200", State::Green),
            ("http://localhost:9200/=yellow", "http://localhost:9200", State::Yellow),
            ("https://es.test/search/=settled", "https://es.test/search", State::Settled),
        ] {
            let (url, found) = parse(text).unwrap();
            assert_eq!((url.as_str().trim_end_matches('/'), found), (address, state), "{text}");
        }
        for (bad, why) in [
            ("es.test:9200", "no scheme"),
            ("https://es.test=red", "is no state"),
            ("https://es.test/_cluster/health", "names one of the cluster's APIs"),
            ("https://elastic:hunter22@es.test", "user name or password"),
            ("https://elastic:hunter22@es.test=red", "no state"),
        ] {
            let failure = parse(bad).unwrap_err();
            assert_eq!(failure.code(), kit::Code::Usage, "{bad}");
            let said = format!("{failure} {:?}", failure.chain());
            assert!(!said.contains("hunter22"), "{said}");
            assert!(said.contains(why), "{bad}: {said}");
        }
    }
}
