//! An open connection, who the server is, and what its errors mean.

use std::error::Error as _;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::ToSocketAddrs as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kit::{Cx, Failure};
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_postgres::config::{ChannelBinding as Binding, SslMode as Tls};
use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres::{AsyncMessage, Client, Config, Error, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{ChannelBinding, SslMode, Target, tls};

/// A server's version as PostgreSQL counts it (`server_version_num`: 150018 is 15.18).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ServerVersion(pub u32);

impl ServerVersion {
    /// The major version, which `pg_dump` must at least have.
    pub const fn major(self) -> u32 {
        self.0 / 10_000
    }
}

/// "15.18".
impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major(), self.0 % 10_000)
    }
}

/// What the server says it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// `current_database()`.
    pub database: String,
    /// `current_user`.
    pub user: String,
    /// `server_version_num`.
    pub server_version: ServerVersion,
    /// The cluster's unique number, from `pg_control_system()`; a physical copy of a cluster has the same.
    pub system_identifier: Option<String>,
    /// Why there is no system identifier: the role may not ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_identifier_unknown: Option<String>,
    /// Whether it is a standby, which takes no writes.
    pub in_recovery: bool,
    /// The server process of this connection.
    pub backend_pid: i32,
    /// Whether the connection is encrypted.
    pub encrypted: bool,
}

/// A NOTICE, WARNING or INFO that the server sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// `NOTICE`, `WARNING`, ...
    pub severity: String,
    /// The primary message.
    pub message: String,
}

/// An open connection.
///
/// Dropping it closes the connection, which rolls back what is not committed; [`Session::close`] waits for that.
pub struct Session {
    /// For queries.
    pub client: Client,
    /// Where it is connected to.
    pub target: Target,
    /// What the server says it is.
    pub identity: Identity,
    tls: MakeRustlsConnect,
    shared: Arc<Mutex<Shared>>,
    driver: JoinHandle<()>,
}

/// Cancels what a session is doing, from outside of it.
#[derive(Clone)]
pub struct Canceller {
    token: tokio_postgres::CancelToken,
    tls: MakeRustlsConnect,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("target", &self.target)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canceller").finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Shared {
    notices: Vec<Notice>,
    dropped: usize,
    /// Why the connection ended, when the server or the network ended it.
    ended: Option<String>,
}

/// More notices than this are counted, not kept.
const NOTICES: usize = 1000;

/// How long a server that has no room now, or starts up, is asked again.
const PATIENCE: Duration = Duration::from_mins(1);

/// The pause between two attempts.
const AGAIN: Duration = Duration::from_secs(2);

/// Opens a connection and asks the server who it is.
///
/// Each attempt takes at most `target.connect_timeout`. A server that has too many connections, starts up or shuts down is
/// asked again for a minute. An error (exit 1, without effect) says what to do about each of: unknown host, unreachable server
/// (transient), refused password, missing database, refused TLS, and those two (transient).
pub async fn connect(cx: &Cx, target: &Target) -> Result<Session, Failure> {
    open(cx, target, PATIENCE).await
}

/// [`connect`] in one attempt, for who looks again anyway.
pub async fn connect_once(cx: &Cx, target: &Target) -> Result<Session, Failure> {
    open(cx, target, Duration::ZERO).await
}

async fn open(cx: &Cx, target: &Target, patience: Duration) -> Result<Session, Failure> {
    let connector = tls::connector(target)?;
    let config = config(target);
    let until = (Instant::now() + patience).min(cx.deadline());
    let opened = loop {
        let opening = async {
            if let Some(failure) = unknown_host(target).await {
                return Err((failure, false));
            }
            let opened = config.connect(connector.clone()).await;
            opened.map_err(|error| (explain_connect(target, &error), has_no_room_now(&error)))
        };
        let opened = match target.connect_timeout {
            None => cx.or_cancelled(opening).await?,
            Some(time) => cx.or_cancelled(tokio::time::timeout(time, opening)).await?.unwrap_or_else(|_| {
                let why = format!("no answer within {} s", time.as_secs());
                Err((unreachable(target, &why), false))
            }),
        };
        match opened {
            Err((failure, true)) if Instant::now() + AGAIN < until => {
                cx.report().say(&format!("{failure}: {}; trying again", failure.chain().join(": ")));
                cx.or_cancelled(cx.pause(AGAIN)).await?;
            }
            opened => break opened.map_err(|(failure, _)| failure),
        }
    };
    let (client, mut connection) = opened?;
    let shared = Arc::new(Mutex::new(Shared::default()));
    let driver = tokio::spawn({
        let shared = Arc::clone(&shared);
        async move {
            while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
                let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
                match message {
                    Ok(AsyncMessage::Notice(notice)) if shared.notices.len() < NOTICES => {
                        shared.notices.push(Notice {
                            severity: notice.severity().to_owned(),
                            message: notice.message().to_owned(),
                        });
                    }
                    Ok(AsyncMessage::Notice(_)) => shared.dropped += 1,
                    Ok(_) => {}
                    Err(error) => {
                        shared.ended = Some(said(&error));
                        break;
                    }
                }
            }
        }
    });
    let mut session = Session {
        client,
        target: target.clone(),
        identity: Identity {
            database: String::new(),
            user: String::new(),
            server_version: ServerVersion(0),
            system_identifier: None,
            system_identifier_unknown: None,
            in_recovery: false,
            backend_pid: 0,
            encrypted: false,
        },
        tls: connector,
        shared,
        driver,
    };
    session.identity = cx.or_cancelled(session.identify()).await??;
    Ok(session)
}

impl Session {
    /// Asks the server again who it is.
    ///
    /// Simple queries only, so that it works through poolers too.
    pub async fn identify(&self) -> Result<Identity, Failure> {
        let attempt = format!("ask {} who it is", self.target.server());
        let row = self
            .one_row(
                "SELECT current_database(), current_user, current_setting('server_version_num'), pg_is_in_recovery(), \
                 pg_backend_pid(), (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid())",
            )
            .await
            .map_err(|error| self.failure(&attempt, &error).untouched(true))?;
        let mut row = row.into_iter().map(Option::unwrap_or_default);
        let mut next = || row.next().unwrap_or_default();
        let (database, user, version, in_recovery) = (next(), next(), next(), next());
        let (pid, ssl) = (next(), next());
        let number = |text: &str| {
            text.parse()
                .map_err(|_| Failure::failed(&attempt).because(format!("it answered {text:?} for a number")))
        };
        // EXECUTE is granted to everybody, but an administrator may have revoked it.
        let (system_identifier, system_identifier_unknown) =
            match self.one_row("SELECT system_identifier FROM pg_control_system()").await {
                Ok(row) => (row.into_iter().next().flatten(), None),
                Err(error) if error.as_db_error().is_some() => (None, Some(said(&error))),
                Err(error) => return Err(self.failure(attempt, &error).untouched(true)),
            };
        Ok(Identity {
            database,
            user,
            server_version: ServerVersion(number(&version)?),
            system_identifier,
            system_identifier_unknown,
            in_recovery: in_recovery == "t",
            backend_pid: i32::try_from(number(&pid)?).unwrap_or_default(),
            encrypted: ssl == "t",
        })
    }

    async fn one_row(&self, query: &str) -> Result<Vec<Option<String>>, Error> {
        let messages = self.client.simple_query(query).await?;
        let row = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        Ok(row.map_or_else(Vec::new, |row| (0..row.len()).map(|n| row.get(n).map(str::to_owned)).collect()))
    }

    /// The notices since the last call, and how many more there were than are kept.
    pub fn take_notices(&self) -> (Vec<Notice>, usize) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut shared.notices), std::mem::take(&mut shared.dropped))
    }

    /// [`failure`], with the reason why the connection ended where it did.
    pub fn failure(&self, attempt: impl Into<String>, error: &Error) -> Failure {
        let ended = self.shared.lock().unwrap_or_else(PoisonError::into_inner).ended.clone();
        match ended {
            Some(reason) if error.as_db_error().is_none() => Failure::failed(attempt)
                .because(format!("the connection to {} was lost: {reason}", self.target.server()))
                .transient(true),
            _ => failure(attempt, error),
        }
    }

    /// Whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed() || self.driver.is_finished()
    }

    /// A handle that cancels the running statement, for when the run is cancelled.
    pub fn canceller(&self) -> Canceller {
        Canceller { token: self.client.cancel_token(), tls: self.tls.clone() }
    }

    /// Says goodbye and waits until the connection is closed.
    pub async fn close(self) {
        drop(self.client);
        // A server that does not answer any more must not hold up the end.
        let _ = tokio::time::timeout(Duration::from_secs(2), self.driver).await;
    }
}

impl Canceller {
    /// Asks the server to cancel the running statement; whether it did shows in that statement's own answer.
    pub async fn cancel(&self) {
        let _ = tokio::time::timeout(Duration::from_secs(3), self.token.cancel_query(self.tls.clone())).await;
    }
}

fn config(target: &Target) -> Config {
    let mut config = Config::new();
    config
        .host(&target.host)
        .port(target.port)
        .dbname(&target.dbname)
        .user(&target.user)
        .application_name(&target.application_name)
        .ssl_mode(match target.sslmode {
            SslMode::Disable => Tls::Disable,
            SslMode::Allow | SslMode::Prefer => Tls::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => Tls::Require,
        })
        .channel_binding(match target.channel_binding {
            ChannelBinding::Disable => Binding::Disable,
            ChannelBinding::Prefer => Binding::Prefer,
            ChannelBinding::Require => Binding::Require,
        })
        // NAT gateways and load balancers forget idle connections after 350 s: a long statement must not look idle.
        .keepalives_idle(Duration::from_secs(30))
        .keepalives_interval(Duration::from_secs(10))
        .keepalives_retries(6);
    if let Some(addr) = target.hostaddr {
        config.hostaddr(addr);
    }
    if let Some(password) = &target.password {
        config.password(password.expose());
    }
    if let Some(options) = &target.options {
        config.options(options);
    }
    if let Some(time) = target.connect_timeout {
        config.connect_timeout(time);
    }
    config
}

/// A name that does not resolve is told apart from a server that does not answer: the next moves differ.
async fn unknown_host(target: &Target) -> Option<Failure> {
    if target.is_socket() || target.hostaddr.is_some() {
        return None;
    }
    let (host, port) = (target.host.clone(), target.port);
    let looked =
        tokio::task::spawn_blocking(move || (host.as_str(), port).to_socket_addrs().map(|_| ())).await;
    let error = looked.ok()?.err()?;
    Some(
        failed_to_connect(target)
            .because(format!("the host name {} is not known: {error}", target.host))
            .help("check --host (PGHOST); a name inside a VPC resolves only there, and the runner may be outside of it"),
    )
}

fn failed_to_connect(target: &Target) -> Failure {
    Failure::failed(format!("connect to {target}")).untouched(true)
}

fn unreachable(target: &Target, why: &str) -> Failure {
    let failure = failed_to_connect(target)
        .because(format!("{} can't be reached: {why}", target.server()))
        .transient(true);
    if target.is_local() {
        failure.help("check that the server runs and that host and port are right")
    } else {
        failure.help(
            "check host, port and security group; the runner may be outside the VPC: use one inside it (the workflow's `runner` input)",
        )
    }
}

fn explain_connect(target: &Target, error: &Error) -> Failure {
    let failed = failed_to_connect(target).because(said(error));
    if let Some(db) = error.as_db_error() {
        return explain_refusal(target, failed, db);
    }
    let text = said(error);
    if text.contains("password missing") {
        return failed_to_connect(target)
            .because(format!("the server asks for a password, and {}", target.password_source))
            .help("set PGPASSWORD, or add a line to the password file (~/.pgpass, PGPASSFILE)");
    }
    if text.contains("server does not support TLS") {
        return failed_to_connect(target)
            .because(format!("the server does not offer TLS, and sslmode is {}", target.sslmode.word()))
            .help("enable TLS on the server; --sslmode disable would send the data in clear text");
    }
    if text.contains("invalid peer certificate") || text.contains("InvalidCertificate") {
        return explain_certificate(target, &text);
    }
    if let Some(io) = find_io(error) {
        return match io.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => failed.help(
                "what listens there does not speak PostgreSQL as expected: check the port, and for a proxy its protocol",
            ),
            _ => unreachable(target, &io.to_string()),
        };
    }
    if text.contains("timeout") {
        return unreachable(target, &text);
    }
    failed
}

fn explain_certificate(target: &Target, text: &str) -> Failure {
    let roots =
        target.root_cert.as_ref().map_or_else(|| "none".to_owned(), |path| path.display().to_string());
    let reason = text.split("invalid peer certificate: ").nth(1).unwrap_or(text);
    let reason = match reason {
        _ if reason.contains("CaUsedAsEndEntity") => "it is self-signed",
        "UnknownIssuer" => "none of the root certificates signed it",
        _ => reason,
    };
    let failed = failed_to_connect(target).because(format!(
        "the server's certificate is refused: {reason} (sslmode {}, root certificates {roots})",
        target.sslmode.word()
    ));
    if text.contains("not valid for name") || text.contains("NotValidForName") {
        failed.help(format!(
            "connect by a name that the certificate is for; {} is not among its subject alternative names",
            target.host
        ))
    } else {
        failed.help(
            "give the authority that signed it with --ssl-root-cert (for RDS https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem); --sslmode require encrypts without knowing to whom",
        )
    }
}

/// What passes by itself, as the server says.
fn has_no_room_now(error: &Error) -> bool {
    let codes = [SqlState::TOO_MANY_CONNECTIONS, SqlState::CANNOT_CONNECT_NOW];
    error.code().is_some_and(|code| codes.contains(code))
}

fn explain_refusal(target: &Target, failed: Failure, db: &DbError) -> Failure {
    match *db.code() {
        SqlState::INVALID_PASSWORD => failed.help(match &target.password {
            Some(_) => format!("the password came from {}; check it and the role", target.password_source),
            None => target.password_source.clone(),
        }),
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            failed.help("the server's pg_hba.conf does not let this role in from here, or not without TLS (--sslmode)")
        }
        SqlState::INVALID_CATALOG_NAME => {
            failed.help(format!("there is no database {} there: check --dbname (PGDATABASE)", target.dbname))
        }
        SqlState::TOO_MANY_CONNECTIONS => {
            failed.transient(true).help("the server has no free connection: wait, or end idle ones, and run again")
        }
        SqlState::CANNOT_CONNECT_NOW => {
            failed.transient(true).help("the server is starting up or shutting down: run again in a moment")
        }
        SqlState::INSUFFICIENT_PRIVILEGE => {
            failed.help(format!("GRANT CONNECT ON DATABASE {} TO {}", target.dbname, target.user))
        }
        _ if db.message().contains("unsupported startup parameter") => failed.help(
            "a connection pooler refuses start-up options: connect to the database directly, not through the pooler",
        ),
        _ => failed,
    }
}

/// Explains the error of one query: SQLSTATE, the server's message, detail and hint.
///
/// A lost connection is transient, and so are serialization failures, deadlocks, lock timeouts and a server that is
/// shutting down. Whether the statement took effect is for the caller to know.
pub fn failure(attempt: impl Into<String>, error: &Error) -> Failure {
    let failed = Failure::failed(attempt).because(said(error));
    let Some(db) = error.as_db_error() else {
        return failed.transient(true);
    };
    let again = [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::TOO_MANY_CONNECTIONS,
    ];
    let failed = failed.transient(again.contains(db.code()));
    if *db.code() == SqlState::INSUFFICIENT_PRIVILEGE {
        return failed.help("grant it to the role, or connect as the one that owns the object (--user)");
    }
    failed
}

/// An error in one line.
fn said(error: &Error) -> String {
    if let Some(db) = error.as_db_error() {
        let mut text = format!("{} (SQLSTATE {})", db.message(), db.code().code());
        for (name, part) in [("detail", db.detail()), ("hint", db.hint()), ("context", db.where_())] {
            if let Some(part) = part {
                text = format!("{text}; {name}: {}", part.lines().collect::<Vec<_>>().join(" "));
            }
        }
        return text;
    }
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let line = cause.to_string();
        if !text.contains(&line) {
            text = format!("{text}: {line}");
        }
        next = cause.source();
    }
    text
}

fn find_io(error: &Error) -> Option<&io::Error> {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return Some(io);
        }
        next = cause.source();
    }
    None
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
