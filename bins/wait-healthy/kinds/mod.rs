//! The kinds of probes: each looks at one thing and says what it saw.

use std::time::Duration;

use kit::{Cx, Failure};
use serde_json::{Map, Value};

pub(crate) mod http;
pub(crate) mod redis_empty;

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

/// One thing to look at.
#[derive(Debug)]
pub(crate) enum Probe {
    Http(http::Http),
    RedisEmpty(redis_empty::RedisEmpty),
}

impl Probe {
    /// What it is called in the table, in messages and in the output `probes`.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Http(http) => http.endpoint(),
            Self::RedisEmpty(redis) => redis.name(),
        }
    }

    /// What is waited for, and what is so then: "NAME to be healthy", "NAME is healthy".
    pub(crate) fn wanted(&self) -> (&'static str, &'static str) {
        match self {
            Self::Http(_) => ("to be healthy", "is healthy"),
            Self::RedisEmpty(_) => ("to be gone", "are gone"),
        }
    }

    /// The flag that names such a probe, without hyphens in front.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Http(_) => "url",
            Self::RedisEmpty(_) => "redis-empty",
        }
    }

    /// How often in a row it must at least be as wanted.
    pub(crate) fn least_successes(&self) -> u32 {
        match self {
            Self::RedisEmpty(_) => redis_empty::SCANS,
            Self::Http(_) => 1,
        }
    }

    /// Looks once. A failure that is not transient says that further looks are of no use.
    pub(crate) async fn look(&mut self, cx: &Cx, limit: Duration) -> Result<Look, Failure> {
        match self {
            Self::Http(http) => Ok(http.look(limit).await),
            Self::RedisEmpty(redis) => redis.look(cx, limit).await,
        }
    }
}
