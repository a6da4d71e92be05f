use std::path::Path;
use std::sync::{Arc, Mutex};

use clap::FromArgMatches as _;
use kit::Env;
use testkit::tls::Authority;
use time::OffsetDateTime;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::*;
use serde_json::Map;

/// The arguments of a command line.
pub(crate) fn args(argv: &[&str]) -> Result<HealthyArgs, clap::Error> {
    let argv = std::iter::once("wait-healthy").chain(argv.iter().copied());
    HealthyArgs::from_arg_matches(&STEP.full_command(None).try_get_matches_from(argv)?)
}

/// What the server does with one connection.
#[derive(Clone, Debug)]
enum Reply {
    /// Answers, closes.
    Answer(String),
    /// Answers so much and no more, and keeps the connection open.
    Stall(&'static str),
    /// Resets the connection once the request is there.
    Reset,
    /// Closes the connection once the request is there.
    Close,
}

fn answer(head: &str, body: &str) -> Reply {
    Reply::Answer(format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
}

fn version(version: &str) -> Reply {
    answer("200 OK\r\ncontent-type: application/json", &format!(r#"{{"version":"{version}"}}"#))
}

/// A server on loopback that gives its replies in order, one a connection, and the last one from then on.
struct Server {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Server {
    async fn start(replies: Vec<Reply>) -> Self {
        Self::start_with(replies, None).await
    }

    async fn start_with(replies: Vec<Reply>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&heads);
        let accepting = tokio::spawn(async move {
            let mut next = 0;
            while let Ok((stream, _)) = listener.accept().await {
                let reply = replies[next.min(replies.len() - 1)].clone();
                next += 1;
                let (seen, tls) = (Arc::clone(&seen), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        // A client that trusts nobody ends the handshake: nothing to serve then.
                        Some(tls) => {
                            if let Ok(mut stream) = tls.accept(stream).await {
                                serve(&mut stream, reply, &seen).await;
                            }
                        }
                        None if matches!(reply, Reply::Reset) => reset(stream, &seen).await,
                        None => {
                            let mut stream = stream;
                            serve(&mut stream, reply, &seen).await;
                        }
                    }
                });
            }
        });
        Self { port, heads, accepting }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn place(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The request heads so far.
    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn head(stream: &mut (impl AsyncRead + Unpin), seen: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            // A TLS handshake begins with this byte (RFC 8446, section 5.1).
            Ok(0x16) | Err(_) => return,
            Ok(byte) => head.push(byte),
        }
    }
    seen.lock().unwrap().push(String::from_utf8(head).unwrap());
}

async fn reset(mut stream: TcpStream, seen: &Mutex<Vec<String>>) {
    head(&mut stream, seen).await;
    stream.set_zero_linger().unwrap();
}

async fn serve(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), reply: Reply, seen: &Mutex<Vec<String>>) {
    head(stream, seen).await;
    // The client may have read enough and gone.
    match reply {
        Reply::Answer(text) => {
            let _ = stream.write_all(text.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
        Reply::Stall(text) => {
            let _ = stream.write_all(text.as_bytes()).await;
            let _ = stream.flush().await;
            std::future::pending::<()>().await;
        }
        Reply::Close | Reply::Reset => {}
    }
}

/// How a run ended: what was healthy, or the failure; the looks; and the story.
struct Ended {
    result: Result<(String, Map<String, Value>), Failure>,
    attempts: u64,
    summary: String,
    story: Vec<String>,
    last_url: Option<String>,
}

impl Ended {
    fn failure(&self) -> &Failure {
        self.result.as_ref().unwrap_err()
    }

    /// The reason of a run with --once.
    fn reason(&self) -> String {
        self.failure().chain().join("; ")
    }

    fn seen(&self) -> &str {
        &self.result.as_ref().unwrap().0
    }
}

async fn watch(argv: &[&str], env: &[(&str, &str)], time: Duration) -> Ended {
    let env: Env = env.iter().copied().collect();
    let cx = kit::testing::cx_in(env.clone());
    let args = args(&[&["--interval", "10ms"], argv].concat()).unwrap();
    let request = plan::request(&args, &env).unwrap();
    let probes = probes(&args, &request, &cx).await.unwrap();
    let pace = Pace { deadline: Instant::now() + time, ..pace(&request, &cx) };
    let mut watch = Watch::new(&cx, probes, pace, &args.within);
    let result = watch.until_healthy().await;
    let Probe::Http(http) = &watch.probes[0].probe else { panic!("no endpoint") };
    Ended {
        result: result.map(|()| (watch.probes[0].line().to_owned(), http.values.clone())),
        attempts: watch.attempts,
        summary: watch.markdown(),
        last_url: http.answer.as_ref().map(|answer| answer.url.clone()),
        story: cx.report().story(),
    }
}

const LONG: Duration = Duration::from_mins(1);

async fn once(argv: &[&str]) -> Ended {
    watch(&[argv, &["--once"]].concat(), &[], LONG).await
}

#[tokio::test]
async fn healthy_at_once_is_one_request() {
    let server = Server::start(vec![version("2.1.0")]).await;
    let ended =
        watch(&["--url", &server.url("/version?full=1#x"), "--expect-json", "/version=2.1.0"], &[], LONG)
            .await;
    assert_eq!(ended.seen(), r#"HTTP 200 OK, /version is "2.1.0""#);
    assert_eq!(ended.result.as_ref().unwrap().1["/version"], "2.1.0");
    assert_eq!(ended.attempts, 1);
    let heads = server.heads();
    assert_eq!(heads.len(), 1);
    let head = heads[0].to_ascii_lowercase();
    assert!(head.starts_with("get /version?full=1 http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nhost: {}\r\n", server.place())), "{head}");
    assert!(!head.contains("authorization"), "{head}");
}

#[tokio::test]
async fn it_waits_through_every_kind_of_not_yet_and_says_each_once() {
    let server = Server::start(vec![
        Reply::Reset,
        Reply::Close,
        answer("503 Service Unavailable", "<h1>Down for Maintenance</h1>\nBack soon"),
        answer("503 Service Unavailable", "<h1>Down for Maintenance</h1>\nBack soon"),
        version("2.0.1.11"),
        version("2.1.0"),
    ])
    .await;
    let url = server.url("/");
    let ended = watch(&["--url", &url, "--expect-json", "/version=2.1.0"], &[], LONG).await;
    assert_eq!(ended.seen(), r#"HTTP 200 OK, /version is "2.1.0""#);
    assert_eq!(ended.attempts, 6);
    let waiting = format!("waiting for {url} to be healthy: ");
    assert_eq!(
        ended.story,
        [
            &format!("{waiting}connection reset by {}", server.place()),
            &format!("{waiting}connection closed before message completed"),
            "the answer's body begins:",
            "  | <h1>Down for Maintenance</h1>",
            &format!("{waiting}HTTP 503 Service Unavailable, want 200-299"),
            "the answer's body begins:",
            r#"  | {"version":"2.0.1.11"}"#,
            &format!(r#"{waiting}/version is "2.0.1.11", want "2.1.0""#),
        ]
    );
    assert!(ended.summary.contains(r#"s: /version is "2.0.1.11", want "2.1.0""#), "{}", ended.summary);
    assert_eq!(ended.summary.matches("HTTP 503").count(), 1, "{}", ended.summary);
}

#[tokio::test]
async fn never_healthy_ends_with_the_deadline_and_what_was_last_seen() {
    let server = Server::start(vec![version("2.0.1.11")]).await;
    let ended = watch(
        &["--url", &server.url("/"), "--expect-json", "/version=2.1.0"],
        &[],
        Duration::from_millis(200),
    )
    .await;
    assert_eq!(ended.failure().code(), Code::Deadline);
    assert!(ended.reason().contains(r#"/version is "2.0.1.11", want "2.1.0""#), "{}", ended.reason());
    assert!(ended.attempts > 1, "{}", ended.attempts);
}

#[tokio::test]
async fn a_time_of_its_own_ends_the_wait_before_the_deadline() {
    let server = Server::start(vec![version("2.0.1.11")]).await;
    let url = server.url("/");
    let old = ["--url", &url, "--expect-json", "/version=2.1.0", "--within", "url=100ms"];
    let ended = watch(&old, &[], LONG).await;
    assert_eq!(ended.failure().code(), Code::Deadline);
    assert!(ended.reason().contains("its --within of 100ms passed"), "{}", ended.reason());
    assert!(ended.reason().contains(r#"/version is "2.0.1.11", want "2.1.0""#), "{}", ended.reason());
}

#[tokio::test]
async fn what_was_as_wanted_in_its_time_may_be_waited_for_again() {
    let bad = || answer("502 Bad Gateway", "");
    let good = || answer("200 OK", "");
    let flaps = Server::start(vec![good(), bad(), good()]).await;
    let health = r#"{"initialized":true,"sealed":false,"standby":false,"version":"1.15.0"}"#;
    let late = Server::start(vec![bad(), bad(), answer("200 OK", health)]).await;
    let (flaps, late) = (flaps.url("/"), late.url(""));
    // Only the first look is within the time.
    let argv = ["--url", &flaps, "--vault", &late, "--interval", "30ms", "--within", "url=20ms"];
    let ended = watch(&argv, &[], LONG).await;
    assert!(ended.result.is_ok(), "{:?}", ended.failure());
    assert_eq!(ended.attempts, 3);
}

#[tokio::test]
async fn successes_count_only_in_a_row() {
    let bad = || answer("502 Bad Gateway", "");
    let good = || answer("200 OK", "");
    let server = Server::start(vec![good(), good(), bad(), good(), bad(), good()]).await;
    let ended = watch(&["--url", &server.url("/"), "--successes", "3"], &[], LONG).await;
    assert_eq!(ended.seen(), "HTTP 200 OK");
    assert_eq!(ended.attempts, 8);
    assert_eq!(server.heads().len(), 8, "each look is a connection of its own");
    assert!(ended.story[0].ends_with("as wanted 1 of 3 times in a row (HTTP 200 OK)"), "{:?}", ended.story);
}

#[tokio::test]
async fn once_fails_at_once() {
    let server = Server::start(vec![version("2.0.1.11"), version("2.1.0")]).await;
    let ended = once(&["--url", &server.url("/"), "--expect-json", "/version=2.1.0"]).await;
    assert_eq!(ended.failure().code(), Code::Failed);
    assert_eq!(ended.reason(), r#"/version is "2.0.1.11", want "2.1.0""#);
    assert_eq!(server.heads().len(), 1);
}

#[tokio::test]
async fn a_body_that_stops_coming_is_timed_out() {
    let server =
        Server::start(vec![Reply::Stall("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello")]).await;
    let ended = once(&["--url", &server.url("/"), "--request-timeout", "300ms"]).await;
    assert_eq!(ended.reason(), "timed out after 300ms: the body stopped coming after 5 bytes");
    let server = Server::start(vec![Reply::Stall("")]).await;
    let ended = once(&["--url", &server.url("/"), "--request-timeout", "300ms"]).await;
    assert_eq!(ended.reason(), "timed out after 300ms: no answer");
}

#[tokio::test]
async fn a_body_that_ends_early_is_not_an_answer() {
    let server =
        Server::start(vec![Reply::Answer("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello".into())])
            .await;
    let ended = once(&["--url", &server.url("/")]).await;
    assert!(ended.reason().starts_with("the body ended early: "), "{}", ended.reason());
}

#[tokio::test]
async fn a_huge_body_is_read_up_to_its_bound() {
    // Without a length, as a stream that never ends would be.
    let endless = format!("HTTP/1.1 200 OK\r\n\r\npong{}", "x".repeat(3 * 1024 * 1024));
    let server = Server::start(vec![Reply::Answer(endless)]).await;
    let url = server.url("/");
    assert!(once(&["--url", &url, "--expect-body", "pong"]).await.result.is_ok());
    let ended = once(&["--url", &url, "--expect-body", "ready"]).await;
    assert_eq!(ended.reason(), r#"body does not contain "ready" in its first 1 MiB"#);
    assert!(ended.story.iter().all(|line| line.chars().count() <= 130), "{:?}", ended.story);
    let ended = once(&["--url", &url, "--expect-json", "/a=1"]).await;
    assert_eq!(ended.reason(), "body is not JSON (it is longer than 1 MiB), want /a to be 1");
}

#[tokio::test]
async fn nobody_there_and_no_such_name() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let ended = once(&["--url", &format!("http://127.0.0.1:{port}/")]).await;
    assert_eq!(ended.reason(), format!("connection refused by 127.0.0.1:{port}"));
    // RFC 6761, section 6.4: names under .invalid never resolve.
    let ended = once(&["--url", "http://rally.invalid/"]).await;
    assert!(ended.reason().starts_with("name rally.invalid does not resolve: "), "{}", ended.reason());
}

#[tokio::test]
async fn a_redirect_is_reported_and_followed_only_when_asked() {
    let there = Server::start(vec![answer("200 OK", "here")]).await;
    let to = there.url("/login");
    let here = Server::start(vec![answer(&format!("302 Found\r\nlocation: {to}"), "")]).await;
    let url = here.url("/");
    let ended = once(&["--url", &url]).await;
    assert_eq!(ended.reason(), format!("HTTP 302 Found, a redirect to {to}, want 200-299"));
    assert_eq!(ended.last_url, Some(url.clone()));
    assert_eq!(there.heads().len(), 0);

    let argv =
        ["--url", &url, "--follow-redirects", "--expect-body", "here", "--bearer-env", "TOKEN", "--once"];
    let ended = watch(&argv, &[("TOKEN", "sesame-4711")], LONG).await;
    assert_eq!(ended.seen(), "HTTP 200 OK");
    assert_eq!(ended.last_url, Some(to));
    let sent = |server: &Server| server.heads().last().unwrap().contains("authorization: Bearer sesame-4711");
    assert!(sent(&here));
    assert!(!sent(&there), "a secret goes to no other origin");
}

#[tokio::test]
async fn redirects_that_lead_nowhere() {
    let server = Server::start(vec![answer("301 Moved Permanently\r\nlocation: /again", "")]).await;
    let ended = once(&["--url", &server.url("/"), "--follow-redirects"]).await;
    assert_eq!(
        ended.reason(),
        "HTTP 301 Moved Permanently, a redirect to /again (not followed: it is the 11th), want 200-299"
    );
    assert_eq!(server.heads().len(), 11);
    let server = Server::start(vec![answer("302 Found\r\nlocation: file:///etc/passwd", "")]).await;
    let ended = once(&["--url", &server.url("/"), "--follow-redirects"]).await;
    assert!(ended.reason().contains("(not followed: it is neither http nor https)"), "{}", ended.reason());
}

#[tokio::test]
async fn behind_the_maintenance_page() {
    let server = Server::start(vec![version("2.1.0")]).await;
    let argv = |url: &'static str| ["--url", url, "--connect-to"];
    for (url, host) in [
        ("http://rally.invalid/version", "rally.invalid"),
        ("http://rally.invalid:8080/version", "rally.invalid:8080"),
    ] {
        let ended = once(&[&argv(url)[..], &[&server.place()]].concat()).await;
        assert_eq!(ended.seen(), "HTTP 200 OK");
        assert_eq!(ended.last_url.as_deref(), Some(url));
        let head = server.heads().pop().unwrap();
        assert!(head.contains(&format!("\r\nhost: {host}\r\n")), "{head}");
    }
    let away =
        Server::start(vec![answer("301 Moved Permanently\r\nlocation: https://rally.invalid/", "")]).await;
    let argv = ["--url", "http://rally.invalid/", "--follow-redirects", "--connect-to", &away.place()];
    let ended = once(&argv).await;
    assert!(ended.reason().contains("it leads away from what --connect-to stands for"), "{}", ended.reason());
}

#[tokio::test]
async fn secrets_are_sent_and_not_shown() {
    let server = Server::start(vec![answer("403 Forbidden", "no entry for key-8086")]).await;
    let argv = ["--url", &server.url("/"), "--header-env", "X-Api-Key=KEY", "--once"];
    let ended = watch(&argv, &[("KEY", "key-8086")], LONG).await;
    assert!(server.heads()[0].contains("x-api-key: key-8086"));
    assert!(ended.story.contains(&"  | no entry for ***".to_owned()), "{:?}", ended.story);
}

#[tokio::test]
async fn tls_is_checked_and_its_faults_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let ca = ca.to_str().unwrap();
    let day = |text: &str| OffsetDateTime::from_unix_timestamp(text.parse().unwrap()).unwrap();
    // 2001-09-09, 2017-07-14, 2096-10-02.
    let (early, past, late) = (day("1000000000"), day("1500000000"), day("4000000000"));
    let server = |from, until| {
        let tls = authority.acceptor("rally.test", from, until).unwrap();
        Server::start_with(vec![version("2.1.0")], Some(tls))
    };
    let good = server(early, late).await;
    let place = good.place();
    let argv = ["--url", "https://rally.test/", "--connect-to", &place, "--once"];
    let with_ca = [&argv[..], &["--ca-file", ca]].concat();
    let watch_at = async |place: &str| {
        let argv = ["--url", "https://rally.test/", "--connect-to", place, "--once", "--ca-file", ca];
        watch(&argv, &[], LONG).await
    };
    assert_eq!(watch(&with_ca, &[], LONG).await.seen(), "HTTP 200 OK");
    let days = |days: &'static str| [&with_ca[..], &["--min-tls-days", days]].concat();
    assert_eq!(watch(&days("10000"), &[], LONG).await.seen(), "HTTP 200 OK");
    let ends = watch(&days("1000000"), &[], LONG).await.reason();
    assert!(ends.starts_with("its certificate ends on 2096-10-02, in "), "{ends}");
    assert_eq!(watch(&argv, &[("SSL_CERT_FILE", ca)], LONG).await.seen(), "HTTP 200 OK");
    assert_eq!(watch(&argv, &[("AWS_CA_BUNDLE", ca)], LONG).await.seen(), "HTTP 200 OK");
    assert_eq!(good.heads().len(), 5);
    let stranger = watch(&argv, &[], LONG).await;
    assert_eq!(stranger.reason(), "TLS: certificate's issuer is not trusted");

    let other = ["--url", "https://api.test/", "--connect-to", &place, "--once", "--ca-file", ca];
    assert_eq!(
        watch(&other, &[], LONG).await.reason(),
        "TLS: certificate is for rally.test, not for api.test"
    );
    for (from, until, reason) in [
        (early, past, "TLS: certificate expired on 2017-07-14"),
        (late, day("4100000000"), "TLS: certificate is not valid before 2096-10-02"),
    ] {
        let server = server(from, until).await;
        let ended = watch_at(&server.place()).await;
        assert_eq!(ended.reason(), reason);
    }
    let of_the_ca = Server::start_with(vec![version("2.1.0")], Some(authority.own_acceptor().unwrap())).await;
    assert_eq!(
        watch_at(&of_the_ca.place()).await.reason(),
        "TLS: the server shows the certificate of a CA as its own"
    );
    let plain = Server::start(vec![answer("400 Bad Request", "")]).await;
    let ended = watch_at(&plain.place()).await;
    assert_eq!(ended.reason(), format!("TLS: {} does not speak TLS", plain.place()));
}

#[tokio::test]
async fn certificates_that_cannot_be_read_stop_it_before_any_request() {
    let probe = async |argv: &[&str], env: &[(&str, &str)]| {
        let env: Env = env.iter().copied().collect();
        let args = args(argv).unwrap();
        let request = plan::request(&args, &env).unwrap();
        probes(&args, &request, &kit::testing::cx_in(env)).await.map(|_| ())
    };
    let missing = "/nonexistent/ca.pem";
    let https = ["--url", "https://rally.test/"];
    let given = probe(&[&https[..], &["--ca-file", missing]].concat(), &[]).await.unwrap_err();
    assert_eq!(given.code(), Code::Usage);
    for name in ["SSL_CERT_FILE", "AWS_CA_BUNDLE"] {
        let failure = probe(&https, &[(name, missing)]).await.unwrap_err();
        assert_eq!(failure.code(), Code::Refused);
        assert!(failure.to_string().contains(name), "{failure}");
        assert!(
            probe(&["--url", "http://127.0.0.1:1/"], &[(name, missing)]).await.is_ok(),
            "http needs none"
        );
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let no_pem =
        probe(&[&https[..], &["--ca-file", here.to_str().unwrap()]].concat(), &[]).await.unwrap_err();
    assert_eq!(no_pem.chain(), ["there is no certificate in it"]);
}

#[test]
fn arguments_that_cannot_work_are_usage_errors() {
    for bad in [
        &["--expect-status", "2xx"][..],
        &["--expect-json", "version=2"],
        &["--expect-json", "/a~b=2"],
        &["--expect-header", "x-version"],
        &["--reject-body", ""],
        &["--successes", "0"],
        &["--interval", "0s"],
        &["--request-timeout", "soon"],
        &["--connect-to", "::1:80"],
        &["--header-env", "API_KEY"],
    ] {
        let argv = [&["--url", "http://rally.test/"], bad].concat();
        assert_eq!(args(&argv).unwrap_err().exit_code(), 2, "{bad:?}");
    }
    assert_eq!(args(&[]).unwrap_err().exit_code(), 2);
}
