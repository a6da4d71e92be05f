//! The server: names a call, lets faults strike it, has it answered, records it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, future, stream};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use super::Service;
use super::control;
use super::fault::{Effect, Faults, Strike, When};
use super::forward::{Body, Error, Upstream};
use super::lag::Lag;
use super::record::{Call, Kind, Record};
use super::request::{Answer, Request};

pub(super) struct State {
    pub(super) upstream: Option<Upstream>,
    pub(super) upstreams: HashMap<String, Upstream>,
    pub(super) services: HashMap<String, Vec<Arc<dyn Service>>>,
    pub(super) record: Record,
    pub(super) faults: Faults,
}

pub(super) async fn listen(listener: TcpListener, state: Arc<State>) {
    loop {
        // Accepting fails for want of file descriptors or on a client that has gone again: both pass.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        tokio::spawn(connection(stream, Arc::clone(&state)));
    }
}

async fn connection(stream: TcpStream, state: Arc<State>) {
    // Small answers would otherwise wait for the client's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let reset = Arc::new(AtomicBool::new(false));
    let io = TokioIo::new(Connection { stream, reset: Arc::clone(&reset) });
    let service = service_fn(|request: http::Request<Incoming>| {
        let (state, reset) = (Arc::clone(&state), Arc::clone(&reset));
        async move {
            // A task of its own: what AWS has received it carries out, whether or not the client still listens.
            if let Ok(Ok(response)) = tokio::spawn(respond(state, request)).await {
                Ok(response)
            } else {
                reset.store(true, Ordering::Relaxed);
                Err(Cut)
            }
        }
    });
    // An error here is the client's going away, or a reset that was asked for.
    let _ = http1::Builder::new().serve_connection(io, service).await;
}

/// The connection ends without an answer.
#[derive(Debug)]
struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("connection cut by a fault")
    }
}

impl std::error::Error for Cut {}

async fn respond(state: Arc<State>, incoming: http::Request<Incoming>) -> Result<Response<Body>, Cut> {
    let (head, body) = incoming.into_parts();
    if head.uri.path().starts_with("/_front/") {
        return Ok(control::answer(&state, &head, body).await);
    }
    let request = Request::from_head(&head);
    let (request, body) = if request.service == "s3" || is_emulators_own(head.uri.path()) {
        (request, body.map_err(Error::from).boxed_unsync())
    } else {
        let bytes = body.collect().await.map_err(|_| Cut)?.to_bytes();
        (request.with_body(bytes.clone()), full(bytes))
    };
    if is_emulators_own(head.uri.path()) {
        return Ok(forward(&state, &request, body).await.unwrap_or_else(response));
    }

    let mut call = Call::arriving(state.record.next_sequence(), &request);
    let strikes = state.faults.striking(&request);
    let outcome = carry_out(&state, &request, body, &strikes, &mut call).await;
    call.status = outcome.as_ref().ok().map(|response| response.status().as_u16());
    if let Err(error) = state.record.add(call) {
        state.record.add_unmatched(format!("the record file cannot be written: {error}"));
    }
    outcome
}

async fn carry_out(
    state: &State,
    request: &Request,
    body: Body,
    strikes: &[Strike],
    call: &mut Call,
) -> Result<Response<Body>, Cut> {
    if let Some(answer) = strike(state, request, strikes, When::BeforeForward, call).await? {
        // A connection closed with a body unread is reset, and the client may meet the reset before the answer.
        let mut body = body;
        while let Some(Ok(_)) = body.frame().await {}
        return Ok(response(answer));
    }
    let lag = state.faults.lag(&request.service);
    if call.kind == Kind::Read
        && let Some(stale) = lag.and_then(|lag| lag.stale(request))
    {
        call.fault = Some("stale".to_owned());
        return Ok(response(stale));
    }
    let answered = answer(state, request, body).await;
    call.effect = answered.is_ok();
    let answered = match (lag, answered) {
        (Some(lag), Ok(response)) => Ok(remembered(lag, request, call.kind, strikes, response).await?),
        (_, answered) => answered,
    };
    if let Some(answer) = strike(state, request, strikes, When::AfterEffect, call).await? {
        return Ok(response(answer));
    }
    let response = answered.unwrap_or_else(response);
    Ok(strikes.iter().fold(response, |response, strike| match strike.effect {
        Effect::Truncate(bytes) => response.map(|body| truncated(body, bytes)),
        Effect::Trickle(milliseconds) => {
            response.map(|body| trickling(body, Duration::from_millis(milliseconds)))
        }
        _ => response,
    }))
}

/// Keeps the answer to a read for later, and of a write that took effect lets later reads be behind.
async fn remembered(
    lag: &Lag,
    request: &Request,
    kind: Kind,
    strikes: &[Strike],
    answered: Response<Body>,
) -> Result<Response<Body>, Cut> {
    let (head, body) = answered.into_parts();
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
    let answer = Answer { status: head.status, headers: head.headers, body };
    if kind == Kind::Read {
        lag.answered(request, answer.clone());
    } else if answer.status.is_success() {
        for strike in strikes {
            if let Effect::Lag(milliseconds) = strike.effect {
                lag.begin(request, &answer, Duration::from_millis(milliseconds));
            }
        }
    }
    Ok(response(answer))
}

/// The same bytes, each a frame of its own after a pause.
fn trickling(body: Body, pause: Duration) -> Body {
    let bytes = body.into_data_stream().flat_map(move |data| {
        let frames: Vec<Result<Bytes, Error>> = match data {
            Ok(data) => (0..data.len()).map(|at| Ok(data.slice(at..=at))).collect(),
            Err(error) => vec![Err(error)],
        };
        stream::iter(frames)
    });
    let slow = bytes.then(move |byte| async move {
        tokio::time::sleep(pause).await;
        byte.map(Frame::data)
    });
    StreamBody::new(slow).boxed_unsync()
}

/// The body up to `limit` bytes, and then an error, on which the server ends the connection without ending the body.
fn truncated(body: Body, limit: u64) -> Body {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let start = body.into_data_stream().scan(limit, |left, data| {
        let frame = data.map(|mut data| {
            data.truncate(*left);
            *left -= data.len();
            Frame::data(data)
        });
        let is_over = frame.as_ref().is_ok_and(|frame| frame.data_ref().is_none_or(Bytes::is_empty));
        future::ready((!is_over).then_some(frame))
    });
    let end = stream::once(async {
        // The server sends what it has when the body makes it wait, and throws it away on an error.
        tokio::task::yield_now().await;
        Err(Error::from(Cut))
    });
    StreamBody::new(start.chain(end)).boxed_unsync()
}

/// Lets the faults of one side strike; an answer ends the call, and so does a cut.
async fn strike(
    state: &State,
    request: &Request,
    strikes: &[Strike],
    when: When,
    call: &mut Call,
) -> Result<Option<Answer>, Cut> {
    for strike in strikes.iter().filter(|strike| strike.when == when) {
        call.fault = Some(match &strike.effect {
            Effect::Error { status, code, .. } => format!("{status} {code}"),
            Effect::Answer { status, .. } => format!("{status}"),
            Effect::Delay(milliseconds) => format!("delay {milliseconds} ms"),
            Effect::Truncate(bytes) => format!("truncate {bytes}"),
            Effect::Trickle(milliseconds) => format!("trickle {milliseconds} ms"),
            Effect::Lag(milliseconds) => format!("lag {milliseconds} ms"),
            Effect::Reset => "reset".to_owned(),
            Effect::Kill(pid) => format!("kill {pid}"),
            Effect::Hold => "hold".to_owned(),
        });
        match &strike.effect {
            Effect::Error { status, code, message } => {
                return Ok(Some(request.error(status_code(*status), code, message)));
            }
            Effect::Answer { status, content_type, body } => {
                let mut answer = Answer::default().status(status_code(*status)).body(body.clone());
                if let Ok(value) = HeaderValue::from_str(content_type) {
                    answer.headers.insert(CONTENT_TYPE, value);
                }
                return Ok(Some(answer));
            }
            Effect::Delay(milliseconds) => tokio::time::sleep(Duration::from_millis(*milliseconds)).await,
            // They strike the answer, when there is one, or those to later calls.
            Effect::Truncate(_) | Effect::Trickle(_) | Effect::Lag(_) => {}
            Effect::Reset => return Err(Cut),
            Effect::Kill(pid) => {
                // One that has ended already is as dead as the test wants it.
                let _ = Pid::from_raw(*pid).map(|pid| kill_process(pid, Signal::KILL));
                return Err(Cut);
            }
            Effect::Hold => {
                if !state.faults.wait(strike.rule, call.name()).await {
                    return Err(Cut);
                }
            }
        }
    }
    Ok(None)
}

/// Has the call answered by a service or by the emulator; the error is the answer to a call that neither could.
async fn answer(state: &State, request: &Request, body: Body) -> Result<Response<Body>, Answer> {
    for service in state.services.get(&request.service).into_iter().flatten() {
        if let Some(answer) = service.handle(request).await {
            return Ok(response(answer));
        }
    }
    forward(state, request, body).await
}

async fn forward(state: &State, request: &Request, body: Body) -> Result<Response<Body>, Answer> {
    let name = format!("{}:{}", request.service, request.operation);
    let Some(upstream) = state.upstreams.get(&request.service).or(state.upstream.as_ref()) else {
        return Err(unmatched(
            state,
            request,
            format!("{name} is answered by no service, and the front has no emulator"),
        ));
    };
    let sent = upstream.send(request.method.clone(), &request.uri, request.headers.clone(), body).await;
    sent.map_err(|error| {
        let cause = std::iter::successors(Some(&*error as &dyn std::error::Error), |error| error.source())
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": ");
        unmatched(state, request, format!("{name} could not be passed on to the emulator: {cause}"))
    })
}

fn unmatched(state: &State, request: &Request, reason: String) -> Answer {
    let answer = request.error(StatusCode::BAD_REQUEST, "UnmatchedCall", &format!("front: {reason}"));
    state.record.add_unmatched(reason);
    answer
}

/// `/_ministack/health` and its like are no calls to AWS.
fn is_emulators_own(path: &str) -> bool {
    path.starts_with("/_ministack/") || path.starts_with("/moto-api/")
}

fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

pub(super) fn response(answer: Answer) -> Response<Body> {
    let body = if answer.body.is_empty() { empty() } else { full(answer.body) };
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(infallible).boxed_unsync()
}

fn empty() -> Body {
    Empty::new().map_err(infallible).boxed_unsync()
}

fn infallible(never: Infallible) -> Error {
    match never {}
}

/// A connection that can be reset: closed with RST instead of FIN.
struct Connection {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Relaxed) {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
