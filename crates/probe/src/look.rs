//! One look at the endpoint: the only file that does I/O.

use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kit::{Env, Failure, Secret};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::tls::TlsInfo;
use reqwest::{Client, Method, Response, redirect};
use rustls::{CertificateError, InvalidMessage};
use rustls_pki_types::UnixTime;
use time::OffsetDateTime;
use url::Url;

use crate::certificate::not_after;
use crate::expect::{Answer, BODY_LIMIT, Redirect, cut};
use crate::place::ConnectTo;

/// How many redirects are followed.
const REDIRECTS: usize = 10;

/// Why there is no answer, in one line, and what may help.
#[derive(Debug, PartialEq, Eq)]
pub struct NoAnswer {
    pub reason: String,
    pub help: Option<&'static str>,
}

impl NoAnswer {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), help: None }
    }

    pub(crate) fn help(mut self, help: &'static str) -> Self {
        self.help = Some(help);
        self
    }
}

pub(crate) const OUTSIDE: &str =
    "the machine that runs this may be outside the VPC, or a security group may keep it out";

/// What is asked of an endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The address.
    pub url: &'a Url,
    /// Where connections are opened instead of where the URL's name leads.
    pub connect_to: Option<&'a ConnectTo>,
    /// Headers, in lower case, to send to the URL's own origin.
    pub headers: &'a [(String, Secret)],
    /// Whether redirects are followed.
    pub follow_redirects: bool,
    /// Half of it is for the connection.
    pub timeout: Duration,
    /// What the server's log knows us by.
    pub user_agent: &'a str,
}

/// What a writing request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write<'a> {
    /// PUT of a JSON document.
    Put(&'a str),
    /// DELETE.
    Delete,
}

/// One request: a GET where there is nothing to write.
#[derive(Clone, Copy)]
struct Request<'a>(Option<Write<'a>>);

/// A client for one endpoint.
#[derive(Debug)]
pub struct Probe {
    client: Client,
    url: Url,
    connect_to: Option<ConnectTo>,
    headers: HeaderMap,
    follow: bool,
    connect_timeout: Duration,
    body_limit: usize,
}

impl Probe {
    /// Makes no request. A file of certificates that can't be read is an error.
    pub fn new(request: Asked<'_>, ca_file: Option<&Path>, env: &Env) -> Result<Self, Failure> {
        let needed = request.url.scheme() == "https" || request.follow_redirects;
        let tls = tls::client(ca_file, env, needed)?;
        let mut headers = HeaderMap::new();
        for (name, value) in request.headers {
            let wrong = |error: Cause| Failure::usage(format!("send the header {name}")).because(error);
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| wrong(error.into()))?;
            let mut value = HeaderValue::from_str(value.expose()).map_err(|error| wrong(error.into()))?;
            value.set_sensitive(true);
            headers.append(name, value);
        }
        // Connections are not kept, so that each look sees the name as it resolves now and any of a balancer's targets.
        let connect_timeout = request.timeout / 2;
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .tls_info(true)
            .dns_resolver(Arc::new(Resolver(request.connect_to.cloned())))
            .no_proxy()
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .http1_only()
            .pool_max_idle_per_host(0)
            .connect_timeout(connect_timeout)
            .user_agent(request.user_agent)
            .build()
            .map_err(|error| Failure::failed("set up the HTTP client").because(error))?;
        Ok(Self {
            client,
            url: request.url.clone(),
            connect_to: request.connect_to.cloned(),
            headers,
            follow: request.follow_redirects,
            connect_timeout,
            body_limit: BODY_LIMIT,
        })
    }

    /// Reads so many bytes of each body, and not the 1 MiB that is enough for a page.
    #[must_use]
    pub fn body_limit(self, bytes: usize) -> Self {
        Self { body_limit: bytes, ..self }
    }

    /// Asks once and reads the answer, redirects included, within `limit`.
    pub async fn look(&self, limit: Duration) -> Result<Answer, NoAnswer> {
        self.within(limit, &self.url, Request(None)).await
    }

    /// Asks another place of the endpoint. Headers go to the endpoint's own origin alone.
    pub async fn look_at(&self, url: &Url, limit: Duration) -> Result<Answer, NoAnswer> {
        self.within(limit, url, Request(None)).await
    }

    /// Writes once to a place of the endpoint. It is never sent again, nor to where a redirect leads; without an answer it may
    /// have taken effect all the same.
    pub async fn write(&self, url: &Url, write: Write<'_>, limit: Duration) -> Result<Answer, NoAnswer> {
        self.within(limit, url, Request(Some(write))).await
    }

    async fn within(&self, limit: Duration, url: &Url, request: Request<'_>) -> Result<Answer, NoAnswer> {
        let read = Cell::new(None);
        match tokio::time::timeout(limit, self.ask(url, request, &read)).await {
            Ok(answer) => answer,
            Err(_) => Err(NoAnswer::new(match read.get() {
                None => format!("timed out after {limit:?}: no answer"),
                Some(bytes) => {
                    format!("timed out after {limit:?}: the body stopped coming after {bytes} bytes")
                }
            })),
        }
    }

    async fn ask(
        &self,
        url: &Url,
        request: Request<'_>,
        read: &Cell<Option<usize>>,
    ) -> Result<Answer, NoAnswer> {
        let mut url = url.clone();
        let mut followed = 0;
        loop {
            read.set(None);
            let response = self.send(&url, request).await?;
            let mut redirect = None;
            if let Some(to) = target(&response) {
                let next =
                    if request.0.is_none() { self.next(&url, &to, followed) } else { Err(String::new()) };
                match next {
                    Ok(next) => {
                        url = next;
                        followed += 1;
                        continue;
                    }
                    Err(held) => redirect = Some(Redirect { to, held }),
                }
            }
            return self.answer(response, &url, redirect, read).await;
        }
    }

    async fn send(&self, url: &Url, Request(write): Request<'_>) -> Result<Response, NoAnswer> {
        let mut asked = url.clone();
        let mut headers = HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_static("no-cache"))]);
        if url.origin() == self.url.origin() {
            headers.extend(self.headers.clone());
        }
        if let Some(place) = &self.connect_to {
            // A port in the URL beats the resolver's, so the port to connect to goes there and the real one to Host.
            let host = HeaderValue::from_str(&url[url::Position::BeforeHost..url::Position::AfterPort]);
            if let (Ok(host), Ok(())) = (host, asked.set_port(Some(place.port))) {
                headers.insert(HOST, host);
            }
        }
        let request = match write {
            None => self.client.get(asked),
            Some(Write::Delete) => self.client.request(Method::DELETE, asked),
            Some(Write::Put(json)) => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                self.client.request(Method::PUT, asked).body(json.to_owned())
            }
        };
        request.headers(headers).send().await.map_err(|error| self.why(url, &error))
    }

    /// Where to go from a redirect, or why not to; the latter is empty when following was not asked for.
    fn next(&self, from: &Url, to: &str, followed: usize) -> Result<Url, String> {
        if !self.follow {
            return Err(String::new());
        }
        if followed == REDIRECTS {
            return Err(format!("not followed: it is the {}th", REDIRECTS + 1));
        }
        let mut next = from.join(to).map_err(|error| format!("not followed: {error}"))?;
        if !matches!(next.scheme(), "http" | "https") {
            return Err("not followed: it is neither http nor https".to_owned());
        }
        if !next.username().is_empty() || next.password().is_some() {
            return Err("not followed: it has a user name or password".to_owned());
        }
        if self.connect_to.is_some() && next.origin() != self.url.origin() {
            return Err("not followed: it leads away from what --connect-to stands for".to_owned());
        }
        next.set_fragment(None);
        Ok(next)
    }

    async fn answer(
        &self,
        mut response: Response,
        url: &Url,
        redirect: Option<Redirect>,
        read: &Cell<Option<usize>>,
    ) -> Result<Answer, NoAnswer> {
        let mut body = Vec::new();
        let mut cut = false;
        read.set(Some(0));
        while let Some(chunk) = response.chunk().await.map_err(|error| {
            let why = self.why(url, &error);
            NoAnswer { reason: format!("the body ended early: {}", why.reason), ..why }
        })? {
            let room = self.body_limit - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            read.set(Some(body.len()));
            if chunk.len() > room {
                cut = true;
                break;
            }
        }
        let status = response.status();
        let tls = response.extensions().get::<TlsInfo>().and_then(TlsInfo::peer_certificate);
        Ok(Answer {
            certificate_ends: tls.and_then(not_after),
            status: status.as_u16(),
            status_line: match status.canonical_reason() {
                Some(reason) => format!("{} {reason}", status.as_u16()),
                None => status.as_u16().to_string(),
            },
            headers: response
                .headers()
                .iter()
                .map(|(name, value)| {
                    (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
                })
                .collect(),
            body,
            cut,
            url: url.to_string(),
            redirect,
        })
    }

    /// The plain reason behind an error of the client.
    fn why(&self, url: &Url, error: &reqwest::Error) -> NoAnswer {
        let place = match &self.connect_to {
            Some(place) => place.to_string(),
            None => format!(
                "{}:{}",
                url.host_str().unwrap_or_default(),
                url.port_or_known_default().unwrap_or_default()
            ),
        };
        if error.is_connect() && error.is_timeout() {
            let limit = self.connect_timeout;
            return NoAnswer::new(format!("timed out after {limit:?}: no connection to {place}"))
                .help(OUTSIDE);
        }
        let mut last = String::new();
        let mut next: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(cause) = next {
            if let Some(unresolved) = cause.downcast_ref::<Unresolved>() {
                return NoAnswer::new(unresolved.to_string()).help(OUTSIDE);
            }
            if let Some(error) = cause.downcast_ref::<rustls::Error>() {
                return refused(error, &place);
            }
            last = cause.to_string();
            // An io::Error's source is that of the error inside it, which would be passed over.
            let io = cause.downcast_ref::<io::Error>();
            if let Some(inner) = io.and_then(io::Error::get_ref) {
                next = Some(inner);
                continue;
            }
            if let Some(none) = io.and_then(|error| unreachable(error.kind(), &place)) {
                return none;
            }
            next = cause.source();
        }
        NoAnswer::new(cut(&last))
    }
}

/// The plain reason of an error of the connection, where its kind says it.
pub(crate) fn unreachable(kind: io::ErrorKind, place: &str) -> Option<NoAnswer> {
    match kind {
        io::ErrorKind::ConnectionRefused => Some(NoAnswer::new(format!("connection refused by {place}"))),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            Some(NoAnswer::new(format!("connection reset by {place}")))
        }
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            Some(NoAnswer::new(format!("{place} can't be reached")).help(OUTSIDE))
        }
        _ => None,
    }
}

type Cause = kit::Cause;

/// Where the answer redirects to (RFC 9110, section 15.4).
fn target(response: &Response) -> Option<String> {
    let moved = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response.headers().get(LOCATION).filter(|_| moved)?;
    Some(String::from_utf8_lossy(location.as_bytes()).into_owned())
}

/// The plain reason of a TLS error.
pub(crate) fn refused(error: &rustls::Error, place: &str) -> NoAnswer {
    let day = |time: &UnixTime| {
        i64::try_from(time.as_secs())
            .ok()
            .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
            .map_or_else(|| "an unknown day".to_owned(), |time| time.date().to_string())
    };
    let certificate = match error {
        rustls::Error::InvalidCertificate(certificate) => certificate,
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            return NoAnswer::new(format!("TLS: {place} does not speak TLS"));
        }
        _ => return NoAnswer::new(cut(&format!("TLS: {error}"))),
    };
    match certificate {
        CertificateError::ExpiredContext { not_after, .. } => {
            NoAnswer::new(format!("TLS: certificate expired on {}", day(not_after)))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            NoAnswer::new(format!("TLS: certificate is not valid before {}", day(not_before)))
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            // rustls shows alternative names as `DnsName("rally.test")`.
            let names: Vec<&str> = presented
                .iter()
                .map(|name| name.split_once('"').map_or(name.as_str(), |(_, rest)| rest.trim_end_matches(['"', ')'])))
                .collect();
            let presented = if names.is_empty() { "no name".to_owned() } else { cut(&names.join(", ")) };
            NoAnswer::new(format!("TLS: certificate is for {presented}, not for {}", expected.to_str()))
        }
        CertificateError::UnknownIssuer => NoAnswer::new("TLS: certificate's issuer is not trusted").help(
            "name the issuer's certificate with --ca-file; a machine without any root certificates needs the package ca-certificates",
        ),
        // rustls passes webpki's reason on as it stands.
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            NoAnswer::new("TLS: the server shows the certificate of a CA as its own").help(
                "give the server a certificate with CA:FALSE; `openssl req -x509` makes one with CA:TRUE unless it is told otherwise",
            )
        }
        _ => NoAnswer::new(cut(&format!("TLS: {error}"))),
    }
}

/// Resolves names by the system, or every name to the place of `--connect-to`.
struct Resolver(Option<ConnectTo>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (host, port) = match &self.0 {
            Some(place) => (place.host.clone(), place.port),
            None => (name.as_str().to_owned(), 0),
        };
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), port)).await.map(Iterator::collect::<Vec<_>>);
            match found {
                Ok(found) => Ok(Box::new(found.into_iter()) as Addrs),
                Err(error) => Err(Unresolved(host, error).into()),
            }
        })
    }
}

/// What is said of a name that has no address.
pub(crate) fn unresolved(host: &str, error: &io::Error) -> String {
    let error = error.to_string();
    let error = error.strip_prefix("failed to lookup address information: ").unwrap_or(&error);
    format!("name {host} does not resolve: {error}")
}

#[derive(Debug)]
struct Unresolved(String, io::Error);

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(host, error) = self;
        f.write_str(&unresolved(host, error))
    }
}

impl Error for Unresolved {}
