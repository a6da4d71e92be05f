//! The load balancer before a service.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::Ecs;

/// Larger request bodies are refused: what is forwarded may have to be sent twice.
const BODY_LIMIT: usize = 10 << 20;

/// Not to be forwarded (RFC 9110, section 7.6.1), and what the client sets itself.
const HOP_BY_HOP: [header::HeaderName; 6] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// An HTTP proxy that hands requests in turn to the healthy tasks of one service; 503 when there are none. It ends when it is
/// dropped.
pub struct Balancer {
    address: SocketAddr,
    task: tokio::task::JoinHandle<io::Result<()>>,
}

struct Proxy {
    ecs: Ecs,
    cluster: String,
    service: String,
    turn: AtomicUsize,
    client: reqwest::Client,
}

impl Balancer {
    /// Listens on the address (port 0 for a free one).
    ///
    /// # Errors
    /// The address is in use.
    pub async fn start(listen: SocketAddr, ecs: Ecs, cluster: &str, service: &str) -> io::Result<Self> {
        let listener = tokio::net::TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(io::Error::other)?;
        let proxy = Arc::new(Proxy {
            ecs,
            cluster: cluster.to_owned(),
            service: service.to_owned(),
            turn: AtomicUsize::new(0),
            client,
        });
        let app = axum::Router::new().fallback(move |request: Request| {
            let proxy = Arc::clone(&proxy);
            async move { proxy.forward(request).await }
        });
        let task = tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self { address, task })
    }

    /// Its address as a URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    async fn forward(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let Ok(body) = to_bytes(body, BODY_LIMIT).await else {
            return (StatusCode::PAYLOAD_TOO_LARGE, "the request is too large\n").into_response();
        };
        let path = parts.uri.path_and_query().map_or("/", |p| p.as_str());
        let mut targets = self.ecs.targets(&self.cluster, &self.service).await;
        if !targets.is_empty() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % targets.len();
            targets.rotate_left(turn);
        }
        for target in targets {
            let sent = self
                .client
                .request(parts.method.clone(), format!("http://{target}{path}"))
                .headers(end_to_end(&parts.headers))
                .body(body.clone())
                .send()
                .await;
            match sent {
                Ok(answer) => {
                    let (status, headers) = (answer.status(), end_to_end(answer.headers()));
                    return (status, headers, Body::from_stream(answer.bytes_stream())).into_response();
                }
                // It has just ended; the next one gets the request, unless it may have been carried out.
                Err(error) if error.is_connect() || parts.method.is_safe() => {}
                Err(_) => {
                    return (StatusCode::BAD_GATEWAY, "the task ended while it answered\n").into_response();
                }
            }
        }
        (StatusCode::SERVICE_UNAVAILABLE, "no healthy task\n").into_response()
    }
}

fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    headers
}
