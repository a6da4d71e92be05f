//! The listener: takes the signature off a request, decodes its body, and remembers what nobody could answer.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, HeaderName, HeaderValue,
    TRANSFER_ENCODING,
};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use s3s::service::S3Service;
use s3s::{Body, HttpError};
use tokio::net::{TcpListener, TcpStream};

use super::chunked::{Trailers, decode};
use super::{Arrival, World};

const CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const DECODED_LENGTH: HeaderName = HeaderName::from_static("x-amz-decoded-content-length");
const TRAILER: HeaderName = HeaderName::from_static("x-amz-trailer");

pub(super) async fn listen(listener: TcpListener, service: S3Service, world: Arc<World>) {
    loop {
        // Accepting fails for want of file descriptors or on a client that has gone again: both pass.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        tokio::spawn(connection(stream, service.clone(), Arc::clone(&world)));
    }
}

async fn connection(stream: TcpStream, service: S3Service, world: Arc<World>) {
    // Small answers would otherwise wait for the client's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let answering = service_fn(|request| answer(service.clone(), Arc::clone(&world), request));
    // An error here is the client's going away.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answering).await;
}

async fn answer(
    service: S3Service,
    world: Arc<World>,
    request: Request<Incoming>,
) -> Result<Response<Body>, HttpError> {
    let name = format!("{} {}", request.method(), request.uri());
    let is_attributes =
        request.uri().query().is_some_and(|query| query.split('&').any(|word| word == "attributes"));
    let mut response = service.call(prepare(request)).await?;
    // s3s answers HEAD of a part of an object with 200.
    if response.headers().contains_key(CONTENT_RANGE) && response.status() == StatusCode::OK {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    if response.status() == StatusCode::NOT_IMPLEMENTED {
        world.refuse(name);
    }
    Ok(if is_attributes { without_quotes(response).await } else { response })
}

/// `GetObjectAttributes` alone has the entity tag without the quotes, with which s3s writes all of them.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectAttributes.html>
async fn without_quotes(response: Response<Body>) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    let body = BodyExt::collect(body).await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let text = String::from_utf8_lossy(&body).replace("<ETag>\"", "<ETag>").replace("\"</ETag>", "</ETag>");
    head.headers.remove(CONTENT_LENGTH);
    Response::from_parts(head, Body::from(text))
}

fn prepare(request: Request<Incoming>) -> Request<Body> {
    let (mut head, body) = request.into_parts();
    let arrival = Arrival {
        access_key: access_key(&head.headers),
        content_sha256: text(&head.headers, &CONTENT_SHA256)
            .filter(|sum| sum.len() == 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit())),
        announced: words(&head.headers, &TRAILER),
        trailers: Trailers::default(),
    };
    let is_chunked = text(&head.headers, &CONTENT_SHA256).is_some_and(|sum| sum.starts_with("STREAMING-"));
    // Without a signature s3s asks for none.
    for name in [AUTHORIZATION, CONTENT_SHA256, TRAILER] {
        head.headers.remove(name);
    }
    let body = if is_chunked {
        unwrap_coding(&mut head.headers);
        let data = decode(body.into_data_stream(), arrival.trailers.clone());
        let frames = data.map(|data: io::Result<Bytes>| data.map(Frame::data));
        Body::http_body_unsync(StreamBody::new(frames))
    } else {
        Body::from(body)
    };
    head.extensions.insert(arrival);
    Request::from_parts(head, body)
}

/// The headers as they would be without the coding, which S3 does not store.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html>
fn unwrap_coding(headers: &mut HeaderMap) {
    headers.remove(TRANSFER_ENCODING);
    headers.remove(CONTENT_LENGTH);
    if let Some(length) = headers.remove(DECODED_LENGTH) {
        headers.insert(CONTENT_LENGTH, length);
    }
    let others = words(headers, &CONTENT_ENCODING).into_iter().filter(|coding| coding != "aws-chunked");
    let others = others.collect::<Vec<_>>().join(",");
    headers.remove(CONTENT_ENCODING);
    if let Ok(value) = HeaderValue::from_str(&others)
        && !others.is_empty()
    {
        headers.insert(CONTENT_ENCODING, value);
    }
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

fn words(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    let words = values.flat_map(|value| value.split(',')).map(|word| word.trim().to_ascii_lowercase());
    words.filter(|word| !word.is_empty()).collect()
}

/// `Credential=KEY/DATE/REGION/s3/aws4_request`.
fn access_key(headers: &HeaderMap) -> String {
    let credential = text(headers, &AUTHORIZATION)
        .and_then(|value| Some(value.split_once("Credential=")?.1.split('/').next()?.to_owned()));
    credential.unwrap_or_default()
}
