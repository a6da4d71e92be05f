//! Passing a call on to the emulator, streaming both ways.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, EXPECT, HeaderMap, HeaderName, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, Uri};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

pub(super) type Error = Box<dyn std::error::Error + Send + Sync>;
pub(super) type Body = UnsyncBoxBody<Bytes, Error>;

/// These belong to one connection and are not passed on. <https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1>
/// The front has answered `Expect: 100-continue` itself by reading the body.
const HOP_BY_HOP: [HeaderName; 5] =
    [CONNECTION, EXPECT, HeaderName::from_static("keep-alive"), TRANSFER_ENCODING, UPGRADE];

pub(super) struct Upstream {
    authority: Authority,
    client: Client<HttpConnector, Body>,
}

impl Upstream {
    pub(super) fn new(url: &str) -> io::Result<Self> {
        let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidInput, reason);
        let uri: Uri = url.parse().map_err(|error| invalid(format!("upstream {url}: {error}")))?;
        let authority = uri.authority().filter(|_| uri.scheme() == Some(&Scheme::HTTP)).cloned();
        let authority = authority
            .ok_or_else(|| invalid(format!("upstream {url} is not of the form http://HOST:PORT")))?;
        // An idle connection that the emulator closes while a request is on its way would look like a fault of its own.
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(2))
            .build_http();
        Ok(Self { authority, client })
    }

    pub(super) async fn send(
        &self,
        method: Method,
        uri: &Uri,
        mut headers: HeaderMap,
        body: Body,
    ) -> Result<Response<Body>, Error> {
        for name in HOP_BY_HOP {
            headers.remove(name);
        }
        let target = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let uri = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.authority.clone())
            .path_and_query(target)
            .build()?;
        let mut request = Request::builder().method(method).uri(uri).body(body)?;
        // `Host` stays as the client signed it.
        *request.headers_mut() = headers;
        let mut response = self.client.request(request).await?;
        for name in HOP_BY_HOP {
            response.headers_mut().remove(name);
        }
        Ok(response.map(|body| body.map_err(Error::from).boxed_unsync()))
    }
}
