//! One loopback address through which all AWS traffic of a test or a rehearsal goes (`AWS_ENDPOINT_URL`).
//!
//! The front names each request (service from the signature, operation from the protocol), hands it to a [`Service`]
//! in this process or streams it to the emulator, records it, and injects faults. A call that nobody serves is
//! answered with 400: SDKs retry a 500, which would hide a missing answer behind a time-out.
//!
//! Other processes use `GET /_front/health`, `GET /_front/calls`, `GET /_front/unmatched`, `GET|POST|DELETE
//! /_front/faults`, `GET /_front/held` and `POST /_front/release` (an S3 bucket cannot have such a name).

mod control;
mod fault;
mod forward;
mod lag;
mod matcher;
mod record;
mod request;
mod rest;
mod s3;
mod serve;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use fault::{Effect, Fault, Hold, When};
use futures::future::BoxFuture;
pub use lag::EVENTUAL;
pub use matcher::Matcher;
pub use record::{Call, Kind};
pub use request::{Answer, Request};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// An AWS service, or a part of one, answered in this process.
pub trait Service: Send + Sync {
    /// The service's signing name: `ecs`, `s3`, `route53`.
    fn service(&self) -> &str;

    /// Answers a call; `None` passes it on to the next service of this name, and after the last to the emulator.
    ///
    /// The body of an S3 call is streamed and therefore empty here; every other body is whole.
    fn handle<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Option<Answer>>;
}

/// What the front is made of, before it listens.
#[derive(Default)]
pub struct Builder {
    upstream: Option<String>,
    upstreams: HashMap<String, String>,
    services: Vec<Arc<dyn Service>>,
    record: Option<PathBuf>,
    port: u16,
}

impl Builder {
    /// The emulator that answers what no service does, such as `http://127.0.0.1:4566`.
    #[must_use]
    pub fn upstream(mut self, url: impl Into<String>) -> Self {
        self.upstream = Some(url.into());
        self
    }

    /// A server of its own for one service, by its signing name, to which bodies are streamed as to the emulator.
    #[must_use]
    pub fn upstream_for(mut self, service: impl Into<String>, url: impl Into<String>) -> Self {
        self.upstreams.insert(service.into(), url.into());
        self
    }

    /// A service answered in this process. Several of one name are asked in the order in which they were added.
    #[must_use]
    pub fn service(mut self, service: Arc<dyn Service>) -> Self {
        self.services.push(service);
        self
    }

    /// A file to which every call is appended as one line of JSON.
    #[must_use]
    pub fn record(mut self, path: impl AsRef<Path>) -> Self {
        self.record = Some(path.as_ref().to_owned());
        self
    }

    /// The port to listen on; 0, the default, takes a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Listens on 127.0.0.1.
    ///
    /// # Errors
    /// The port is taken, the record file cannot be opened, or the emulator's address is not `http://HOST:PORT`.
    pub async fn start(self) -> io::Result<Front> {
        let upstream = self.upstream.as_deref().map(forward::Upstream::new).transpose()?;
        let upstreams =
            self.upstreams.into_iter().map(|(service, url)| Ok((service, forward::Upstream::new(&url)?)));
        let upstreams = upstreams.collect::<io::Result<_>>()?;
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))).await?;
        let address = listener.local_addr()?;
        let mut services: HashMap<String, Vec<Arc<dyn Service>>> = HashMap::new();
        for service in self.services {
            services.entry(service.service().to_owned()).or_default().push(service);
        }
        let state = Arc::new(serve::State {
            upstream,
            upstreams,
            services,
            record: record::Record::open(self.record.as_deref())?,
            faults: fault::Faults::default(),
        });
        let task = tokio::spawn(serve::listen(listener, Arc::clone(&state)));
        Ok(Front { url: format!("http://{address}"), port: address.port(), state, task })
    }
}

/// The running front; it stops listening when dropped, and leaves what was called in the folder of `CUTOVER_RECORD_DIR`, if
/// there is one: which step made which calls is judged when all tests are through.
pub struct Front {
    url: String,
    port: u16,
    state: Arc<serve::State>,
    task: JoinHandle<()>,
}

impl Front {
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The value for `AWS_ENDPOINT_URL`.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Every call that has ended, in the order of arrival.
    pub fn calls(&self) -> Vec<Call> {
        self.state.record.calls()
    }

    /// The calls that change something, in the order of arrival.
    pub fn writes(&self) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.kind == Kind::Write).collect()
    }

    /// The calls that nobody could answer, each with the reason. A test ends by asserting that there are none.
    pub fn unmatched(&self) -> Vec<String> {
        self.state.record.unmatched()
    }

    /// Forgets the calls recorded so far; the record file keeps them.
    pub fn forget(&self) {
        self.state.record.forget();
    }

    /// Replaces all faults, holds included; occurrences are counted from now.
    pub fn set_faults(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.faults.replace(faults.into_iter().collect());
    }

    /// Adds one fault beside those present.
    pub fn add_fault(&self, fault: Fault) {
        self.state.faults.add(fault);
    }

    /// Stops the matched call, for the test to see it arrive, and then to release or to drop it.
    pub fn hold(&self, at: impl Into<Matcher>, when: When) -> Hold {
        self.state.faults.hold(at.into(), when)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
        self.state.record.keep();
    }
}
