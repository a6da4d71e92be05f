//! A Redis or Valkey server that has none of the keys of a pattern any more.
//!
//! Keys are looked for by SCAN, which lets the server serve others meanwhile; KEYS does not. A full scan returns every key that is
//! there from its beginning to its end, so keys that come and go are caught by several scans in a row alone.
//!
//! Source: <https://redis.io/docs/latest/commands/scan/>

pub(super) mod judge;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kit::{Cx, Env, Failure, Secret};
use probe::ConnectTo;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, FromRedisValue, ProtocolVersion, RedisConnectionInfo};
use serde::Serialize;
use tokio::time::{Instant, timeout};
use url::{Host, Url};

use self::judge::{COUNTED, EXAMPLES, Info, Scanned, judge, refused};
use super::Look;

/// How many keys the server looks at before it serves somebody else.
const BATCH: u32 = 1000;
/// Scans in a row that must be empty, where more than one look is made.
pub(crate) const SCANS: u32 = 3;

/// Which keys are to be gone, and where.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Keys {
    server: ConnectTo,
    tls: bool,
    user: Option<String>,
    database: u32,
    pattern: String,
    #[serde(skip)]
    password: Option<Secret>,
}

/// Reads `redis[s]://[USER@]HOST[:PORT][/DATABASE]=PATTERN`; the password is that of `REDISCLI_AUTH`, as for redis-cli.
///
/// Source: <https://redis.io/docs/latest/develop/tools/cli/>
///
/// # Errors
/// Anything else: exit 2. A password in the URL is not repeated.
pub(crate) fn parse(text: &str, env: &Env) -> Result<Keys, Failure> {
    // What can't be read may have a password in it all the same.
    let shown = if text.contains('@') { "" } else { text };
    let wrong = |why: String| {
        Failure::usage(format!("use --redis-empty {shown}").trim_end().to_owned())
            .because(why)
            .help("write URL=PATTERN, as in rediss://boss.cache.example.org:6379/0=WRITE-CUBOID*")
    };
    let (address, pattern) = text
        .split_once('=')
        .filter(|(_, pattern)| !pattern.is_empty())
        .ok_or_else(|| wrong("it names no pattern of keys".to_owned()))?;
    let url = Url::parse(address).map_err(|error| wrong(error.to_string()))?;
    if url.password().is_some() {
        return Err(wrong("the URL has a password, and those are seen in process lists and logs".to_owned())
            .help("put the password into the environment variable REDISCLI_AUTH"));
    }
    let tls = match url.scheme() {
        "redis" => false,
        "rediss" => true,
        other => {
            return Err(wrong(format!("{other} is no scheme that this probe knows: redis and rediss are")));
        }
    };
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("the URL has more than a host, a port and a database".to_owned()));
    }
    let host = match url.host() {
        Some(Host::Ipv6(address)) => address.to_string(),
        Some(host) if !host.to_string().is_empty() => host.to_string(),
        _ => return Err(wrong("it names no host".to_owned())),
    };
    let database = match url.path().trim_start_matches('/') {
        "" => 0,
        number => number.parse().map_err(|_| wrong(format!("{number:?} is no number of a database")))?,
    };
    let user = Some(url.username()).filter(|name| !name.is_empty()).map(str::to_owned);
    let password = env.get("REDISCLI_AUTH").map(Secret::new);
    if user.is_some() && password.is_none() {
        return Err(wrong("the URL names a user, and there is no password".to_owned())
            .help("put the password into the environment variable REDISCLI_AUTH"));
    }
    Ok(Keys {
        server: ConnectTo { host, port: url.port().unwrap_or(6379) },
        tls,
        user,
        database,
        pattern: pattern.to_owned(),
        password,
    })
}

impl Keys {
    /// "keys WRITE-CUBOID* in database 0 of redis:6379".
    pub(crate) fn name(&self) -> String {
        format!("keys {} in database {} of {}", self.pattern, self.database, self.server)
    }

    pub(crate) fn warning(&self) -> Option<String> {
        (self.password.is_some() && !self.tls && !probe::loopback(&self.server.host)).then(|| {
            format!(
                "the password of {} goes over the network in clear: its URL is redis://, not rediss://",
                self.server
            )
        })
    }
}

/// A probe of one server's keys.
#[derive(Debug)]
pub(crate) struct RedisEmpty {
    keys: Keys,
    tls: Option<Arc<probe::ClientConfig>>,
    /// The server's start that the earlier looks saw.
    run: Option<String>,
}

/// Why a look ended before the scan did.
enum Stop {
    NotYet(Look),
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl RedisEmpty {
    /// Connects to nothing. Certificates that can't be read are an error.
    pub(crate) fn new(keys: Keys, ca_file: Option<&Path>, env: &Env) -> Result<Self, Failure> {
        let tls = if keys.tls { Some(Arc::new(tls::client(ca_file, env, true)?)) } else { None };
        Ok(Self { keys, tls, run: None })
    }

    pub(crate) fn name(&self) -> String {
        self.keys.name()
    }

    pub(crate) async fn look(&mut self, cx: &Cx, limit: Duration) -> Result<Look, Failure> {
        let server = self.keys.server.to_string();
        let scanned = match self.scan(cx.deadline() + limit, limit).await {
            Ok(scanned) => scanned,
            Err(Stop::NotYet(look)) => return Ok(look),
            Err(Stop::Failed(failure)) => return Err(failure),
        };
        let look = judge(&server, self.keys.database, &self.keys.pattern, &scanned)?;
        let before = self.run.replace(scanned.after.run.clone());
        if before.is_some_and(|before| before != scanned.after.run) {
            cx.report().warn(&format!(
                "{server} was started anew while this waited, or is another server now: keys that were not on disk, or not copied yet, are gone \
                 without having been worked off"
            ));
            return Ok(Look::not_yet("the server was started anew since the last look, or is another one"));
        }
        Ok(look)
    }

    async fn scan(&self, end: Instant, limit: Duration) -> Result<Scanned, Stop> {
        let mut session = Session::open(&self.keys, self.tls.as_ref(), limit).await?;
        let before = Info::parse(&session.ask::<String>("ask for the state of", &redis::cmd("INFO")).await?);
        before.usable(&session.server)?.map_err(|reason| Stop::NotYet(Look::not_yet(reason)))?;
        let mut select = redis::cmd("SELECT");
        session.ask::<()>("select the database of", select.arg(self.keys.database)).await?;
        let mut found: HashSet<Vec<u8>> = HashSet::new();
        let mut cursor = "0".to_owned();
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(&cursor).arg("MATCH").arg(&self.keys.pattern).arg("COUNT").arg(BATCH);
            let (next, names) = session.ask::<(String, Vec<Vec<u8>>)>("look for keys in", &scan).await?;
            // A scan may return a key more than once.
            found.extend(names);
            cursor = next;
            if cursor == "0" || found.len() >= COUNTED {
                break;
            }
            if Instant::now() > end {
                let so_far = found.len();
                return Err(Stop::NotYet(Look::not_yet(format!(
                    "the deadline passed within a scan, with {so_far} keys found so far"
                ))));
            }
        }
        let after = Info::parse(&session.ask::<String>("ask for the state of", &redis::cmd("INFO")).await?);
        // In an order of their own, or each scan would seem to see something new.
        let mut names: Vec<Vec<u8>> = found.into_iter().collect();
        names.sort_unstable();
        let matching = names.len().min(COUNTED);
        names.truncate(EXAMPLES);
        Ok(Scanned { before, after, matching, names })
    }
}

/// One connection, logged in.
struct Session {
    server: String,
    limit: Duration,
    connection: MultiplexedConnection,
    tls: bool,
    driver: tokio::task::JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    async fn open(
        keys: &Keys,
        tls: Option<&Arc<probe::ClientConfig>>,
        limit: Duration,
    ) -> Result<Self, Stop> {
        let server = keys.server.to_string();
        let stream = probe::connect(&keys.server, tls, limit / 2).await.map_err(|none| {
            Stop::NotYet(Look { help: none.help.map(str::to_owned), ..Look::not_yet(none.reason) })
        })?;
        // Logging in is a command of its own below, for its error's sake.
        let settings =
            RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP2).set_skip_set_lib_name();
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let (connection, driver) = MultiplexedConnection::new_with_config(&settings, stream, config)
            .await
            .map_err(|error| Stop::NotYet(Look::not_yet(kit::one_line(&error.to_string()))))?;
        let mut session = Self { server, limit, connection, tls: keys.tls, driver: tokio::spawn(driver) };
        if let Some(password) = &keys.password {
            let mut auth = redis::cmd("AUTH");
            if let Some(user) = &keys.user {
                auth.arg(user);
            }
            session.ask::<()>("log in to", auth.arg(password.expose())).await?;
        }
        Ok(session)
    }

    async fn ask<T: FromRedisValue>(&mut self, attempt: &str, command: &Cmd) -> Result<T, Stop> {
        let not_yet = |look: Look| Err(Stop::NotYet(look));
        let error = match timeout(self.limit, command.query_async::<T>(&mut self.connection)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error,
            Err(_) => {
                let (limit, server) = (self.limit, &self.server);
                return not_yet(Look::not_yet(format!("timed out after {limit:?}: no answer from {server}")));
            }
        };
        if let (Some(code), false) = (error.code(), error.is_io_error()) {
            return match refused(&self.server, attempt, code, error.detail().unwrap_or_default()) {
                Ok(look) => not_yet(look),
                Err(failure) => Err(Stop::Failed(failure)),
            };
        }
        let look = if error.kind() == ErrorKind::Parse {
            Look::not_yet(format!("{} does not answer as Redis does", self.server))
        } else {
            Look::not_yet(format!("{} closed the connection", self.server))
        };
        not_yet(if self.tls {
            look
        } else {
            look.help("a server that speaks TLS does that: write rediss:// then")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::Code;

    fn keys(text: &str) -> Result<Keys, Failure> {
        parse(text, &[("REDISCLI_AUTH", "sesame-4711")].into_iter().collect())
    }

    #[test]
    fn where_and_which() {
        for (text, name, user) in [
            ("redis://cache.test=WRITE-CUBOID*", "keys WRITE-CUBOID* in database 0 of cache.test:6379", None),
            (
                "rediss://boss@cache.test:6380/2=a=b",
                "keys a=b in database 2 of cache.test:6380",
                Some("boss"),
            ),
            ("redis://[::1]:6379/=*", "keys * in database 0 of [::1]:6379", None),
        ] {
            let keys = keys(text).unwrap();
            assert_eq!((keys.name().as_str(), keys.user.as_deref()), (name, user), "{text}");
            assert!(!format!("{keys:?}").contains("4711"));
        }
    }

    #[test]
    fn what_cannot_work_is_a_usage_error_that_repeats_no_password() {
        for (text, why) in [
            ("redis://cache.test", "no pattern"),
            ("redis://cache.test=", "no pattern"),
            ("cache.test:6379=a*", "no scheme"),
            ("redis://=a*", "no host"),
            ("redis://cache.test/x=a*", "no number"),
            ("redis://cache.test/-1=a*", "no number"),
            ("redis://cache.test?db=1=a*", "more than a host"),
            ("redis://:hunter22@cache.test=a*", "has a password"),
            ("redis://bob:hunter22@cache.test:x=a*", "invalid port"),
        ] {
            let failure = keys(text).unwrap_err();
            assert_eq!(failure.code(), Code::Usage, "{text}");
            let said = format!("{failure} {:?}", failure.chain());
            assert!(said.contains(why) && !said.contains("hunter22"), "{text}: {said}");
        }
    }

    #[test]
    fn a_password_in_clear_is_a_warning() {
        assert!(keys("redis://cache.test=a").unwrap().warning().is_some());
        assert!(keys("rediss://cache.test=a").unwrap().warning().is_none());
        assert!(keys("redis://127.0.0.1=a").unwrap().warning().is_none());
    }
}
