//! One connection, over TLS or not, for what is no HTTP.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::look::{NoAnswer, OUTSIDE, refused, unreachable, unresolved};
use crate::place::ConnectTo;

/// An open connection.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Connects to one of the place's addresses, the first that takes the connection.
///
/// # Errors
/// The plain reason why there is no connection within `limit`.
pub async fn connect(
    to: &ConnectTo,
    tls: Option<&Arc<ClientConfig>>,
    limit: Duration,
) -> Result<Box<dyn Connection>, NoAnswer> {
    let place = to.to_string();
    let late = || NoAnswer::new(format!("timed out after {limit:?}: no connection to {place}")).help(OUTSIDE);
    timeout(limit, open(to, tls, &place)).await.unwrap_or_else(|_| Err(late()))
}

async fn open(
    to: &ConnectTo,
    tls: Option<&Arc<ClientConfig>>,
    place: &str,
) -> Result<Box<dyn Connection>, NoAnswer> {
    let plain = |error: &io::Error| {
        unreachable(error.kind(), place).unwrap_or_else(|| NoAnswer::new(kit::one_line(&error.to_string())))
    };
    let mut last = None;
    let found = tokio::net::lookup_host((to.host.as_str(), to.port))
        .await
        .map_err(|error| NoAnswer::new(unresolved(&to.host, &error)).help(OUTSIDE))?;
    for address in found {
        let stream = match TcpStream::connect(address).await {
            Ok(stream) => stream,
            Err(error) => {
                last = Some(plain(&error));
                continue;
            }
        };
        let Some(config) = tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(to.host.clone())
            .map_err(|_| NoAnswer::new(format!("TLS: {} is no name of a server", to.host)))?;
        return match TlsConnector::from(Arc::clone(config)).connect(name, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => {
                Err(match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                    Some(error) => refused(error, place),
                    None if error.kind() == io::ErrorKind::UnexpectedEof => {
                        NoAnswer::new(format!("TLS: {place} closed the connection instead of answering"))
                            .help("it may not speak TLS")
                    }
                    None => plain(&error),
                })
            }
        };
    }
    Err(last.unwrap_or_else(|| NoAnswer::new(format!("name {} has no address", to.host)).help(OUTSIDE)))
}
