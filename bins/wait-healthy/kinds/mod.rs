//! The kinds of probes: each looks at one thing and says what it saw.

use std::time::Duration;

use kit::{Cx, Failure};
use serde_json::{Map, Value};

pub(crate) mod cluster;
pub(crate) mod database;
#[cfg(test)]
mod foreign_tests;
pub(crate) mod http;
pub(crate) mod indexer;
pub(crate) mod log_line;
pub(crate) mod record;
pub(crate) mod redis_empty;
pub(crate) mod sealed;
pub(crate) mod service;
pub(crate) mod targets;

/// How much is read of an answer that has to be read whole: settings of thousands of indexes, what an indexer did to thousands of
/// objects.
pub(crate) const WHOLE: usize = 32 * 1024 * 1024;

/// Splits `URL[=STATE]`. What may be a password is not repeated.
fn address_and_state<'t, S: Copy>(
    (flag, what): (&str, &str),
    text: &'t str,
    states: &[(&str, S)],
    example: &str,
) -> Result<(&'t str, Option<S>), Failure> {
    let Some((address, named)) = text.rsplit_once('=') else { return Ok((text, None)) };
    if let Some((_, state)) = states.iter().find(|(name, _)| *name == named) {
        return Ok((address, Some(*state)));
    }
    let shown = if text.contains('@') { "" } else { named };
    let names: Vec<&str> = states.iter().map(|(name, _)| *name).collect();
    Err(Failure::usage(format!("use {flag}"))
        .because(format!("{shown:?} is no state of {what}; there are: {}", names.join(", ")))
        .help(format!("write URL or URL=STATE, as in {example}")))
}

/// What one look saw.
#[derive(Debug)]
pub(crate) struct Look {
    /// What was seen where all is as wanted; else what was seen and what is wanted. One line.
    pub(crate) verdict: Result<String, String>,
    /// What may help against the reason.
    pub(crate) help: Option<String>,
    /// The beginning of an answer that was not as wanted; somebody else wrote it.
    pub(crate) excerpt: Option<String>,
    /// What is to be reported beside the line.
    pub(crate) details: Map<String, Value>,
}

impl Look {
    fn of(verdict: Result<String, String>) -> Self {
        Self { verdict, help: None, excerpt: None, details: Map::new() }
    }

    /// As wanted.
    pub(crate) fn healthy(seen: impl Into<String>) -> Self {
        Self::of(Ok(seen.into()))
    }

    /// Not as wanted, or not to be seen.
    pub(crate) fn not_yet(reason: impl Into<String>) -> Self {
        Self::of(Err(reason.into()))
    }

    /// With what may help.
    #[must_use]
    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

/// Every [`Probe::kind`].
pub(crate) const KINDS: [&str; 13] = [
    "url",
    "redis-empty",
    "targets",
    "classic-targets",
    "ecs",
    "dns",
    "postgres",
    "postgres-same",
    "vault",
    "log",
    "es",
    "indexer",
    "indexer-same",
];

/// One thing to look at.
#[derive(Debug)]
pub(crate) enum Probe {
    Http(Box<http::Http>),
    RedisEmpty(redis_empty::RedisEmpty),
    Targets(targets::Targets),
    Service(service::SteadyService),
    Dns(record::Answered),
    Postgres(database::Database),
    PostgresSame(database::SamePlace),
    Vault(sealed::Unsealed),
    Log(log_line::LogLine),
    Cluster(Box<cluster::Cluster>),
    Indexer(Box<indexer::Indexer>),
    IndexerSame(indexer::SameSnapshot),
}

impl Probe {
    /// What it is called in the table, in messages and in the JSON document.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Http(http) => http.endpoint(),
            Self::RedisEmpty(redis) => redis.name(),
            Self::Targets(targets) => targets.name(),
            Self::Service(service) => service.name(),
            Self::Dns(dns) => dns.name(),
            Self::Postgres(database) => database.name(),
            Self::PostgresSame(same) => same.name(),
            Self::Vault(vault) => vault.name(),
            Self::Log(log) => log.name(),
            Self::Cluster(cluster) => cluster.name(),
            Self::Indexer(indexer) => indexer.name(),
            Self::IndexerSame(same) => same.name(),
        }
    }

    /// What is waited for, and what is so then: "NAME to be healthy", "NAME is healthy".
    pub(crate) fn wanted(&self) -> (&'static str, &'static str) {
        match self {
            Self::Http(_) | Self::Cluster(_) => ("to be healthy", "is healthy"),
            Self::Indexer(_) => ("to be idle", "is idle"),
            Self::RedisEmpty(_) => ("to be gone", "are gone"),
            Self::Targets(_) => ("to be in service", "are in service"),
            Self::Service(_) => ("to be steady", "is steady"),
            Self::Dns(_) => ("to be answered", "is answered"),
            Self::Postgres(_) | Self::Vault(_) => ("to answer", "answers"),
            Self::PostgresSame(_) | Self::IndexerSame(_) => ("to be the same", "are the same"),
            Self::Log(_) => ("to come", "has come"),
        }
    }

    /// The flag that names such a probe, without hyphens in front.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Http(_) => "url",
            Self::RedisEmpty(_) => "redis-empty",
            Self::Targets(targets) if targets.is_classic() => "classic-targets",
            Self::Targets(_) => "targets",
            Self::Service(_) => "ecs",
            Self::Dns(_) => "dns",
            Self::Postgres(_) => "postgres",
            Self::PostgresSame(_) => "postgres-same",
            Self::Vault(_) => "vault",
            Self::Log(_) => "log",
            Self::Cluster(_) => "es",
            Self::Indexer(_) => "indexer",
            Self::IndexerSame(_) => "indexer-same",
        }
    }

    /// How often in a row it must at least be as wanted.
    pub(crate) fn least_successes(&self) -> u32 {
        match self {
            Self::RedisEmpty(_) => redis_empty::SCANS,
            _ => 1,
        }
    }

    /// Looks once. A failure that is not transient says that further looks are of no use.
    pub(crate) async fn look(&mut self, cx: &Cx, limit: Duration) -> Result<Look, Failure> {
        match self {
            Self::Http(http) => http.look(cx.now(), limit).await,
            Self::RedisEmpty(redis) => redis.look(cx, limit).await,
            Self::Targets(targets) => in_time(limit, targets.look()).await,
            Self::Service(service) => in_time(limit, service.look(cx)).await,
            Self::Dns(dns) => Ok(dns.look(limit).await),
            Self::Postgres(database) => in_time(limit, database.look(cx)).await,
            Self::PostgresSame(same) => in_time(limit, same.look(cx)).await,
            Self::Vault(vault) => Ok(vault.look(limit).await),
            // Its pages are many where a log is long: the time is for each.
            Self::Log(log) => log.look(cx, limit).await,
            Self::Cluster(cluster) => cluster.look(limit).await,
            Self::Indexer(indexer) => Ok(indexer.look(limit).await),
            Self::IndexerSame(same) => Ok(same.look(limit).await),
        }
    }
}

async fn in_time(
    limit: Duration,
    look: impl Future<Output = Result<Look, Failure>>,
) -> Result<Look, Failure> {
    match tokio::time::timeout(limit, look).await {
        Ok(look) => look,
        Err(_) => Ok(Look::not_yet(format!("timed out after {limit:?}: no answer"))),
    }
}
