//! Asks each new server from where the proxy asks it, before anything is changed: a server that is down would be noticed only
//! once users are led there.

use std::time::Duration;

use kit::{Cx, Failure, Note, one_line};
use probe::{Answer, Expectations};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::Url;

use crate::args::Request;
use crate::edit::Swap;
use crate::place::Proxy;
use crate::plan::Target;
use crate::tree;

/// How long a server may take to answer.
const LIMIT: Duration = Duration::from_secs(15);

/// How much of an answer is read, in bytes.
const READ: u64 = 1024 * 1024;

const CLOSED: &str = "it closed the connection without an answer";

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    /// Bytes, which may be an answer.
    Bytes(Vec<u8>),
    /// There is no connection from there to it.
    Deaf(String),
    /// It could not be tried.
    Unasked(String),
}

/// Asks all new servers of what is to be edited.
///
/// # Errors
/// A server that takes no connection from a proxy is refused. What else is amiss comes back as notes.
pub(crate) async fn all(cx: &Cx, request: &Request, targets: &[Target]) -> Result<Vec<Note>, Failure> {
    let (mut deaf, mut notes) = (Vec::new(), Vec::new());
    let Some(url) = request.fetches.first().map(|fetch| &fetch.url) else { return Ok(notes) };
    for target in targets.iter().filter(|target| target.edits()) {
        for swap in &request.swaps {
            let (name, new) = (&target.proxy.name, &swap.new);
            let Some(place) = place(&target.after, swap) else {
                notes.push(Note::Info(format!(
                    "{name}: {new} is not asked beforehand: nginx is not seen to speak plain HTTP with it"
                )));
                continue;
            };
            match cx.or_cancelled(ask(request, &target.proxy, &place, url)).await? {
                Heard::Deaf(why) => deaf.push(format!("{name}: {new}: {why}")),
                Heard::Unasked(why) => {
                    notes.push(Note::Info(format!(
                        "{name}: {new} could not be asked from there beforehand: {why}"
                    )));
                }
                Heard::Bytes(bytes) => {
                    if let Err(why) = judge(&request.expect, &bytes, url) {
                        notes.push(Note::Warning(format!("{name}: {new} itself is not as wanted: {why}")));
                    }
                }
            }
        }
    }
    if deaf.is_empty() {
        return Ok(notes);
    }
    Err(Failure::refused("ask the new servers from the proxies, before anything is changed")
        .because(deaf.join("\n"))
        .help("start the server, or let the proxies in; --no-fetch goes on without asking"))
}

/// Where nginx asks the new server in plain HTTP: host and port; none where it does not, or this file does not say so.
fn place(text: &[u8], swap: &Swap) -> Option<(String, u16)> {
    let tree = tree::read(text).ok()?;
    let wanted = format!("http://{}", swap.upstream);
    let passes = tree::all(&tree).into_iter().filter(|directive| directive.is("proxy_pass"));
    let plain = |to: String| {
        to.strip_prefix(&wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '$']))
    };
    passes.filter_map(|pass| pass.arguments().first()).find(|to| plain(to.text()))?;
    if swap.new.starts_with("unix:") {
        return None;
    }
    // RFC 3986: what stands in brackets has colons of its own.
    let url = Url::parse(&format!("http://{}", swap.new)).ok()?;
    Some((url.host_str()?.trim_matches(['[', ']']).to_owned(), url.port().unwrap_or(80)))
}

async fn ask(request: &Request, proxy: &Proxy, (host, port): &(String, u16), url: &Url) -> Heard {
    // HTTP/1.0, as nginx itself by default: the answer comes whole and the connection ends.
    let name = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let text = format!(
        "GET {path} HTTP/1.0\r\nHost: {name}\r\nConnection: close\r\nX-Forwarded-Proto: {}\r\nUser-Agent: cutover-swap-upstream/{}\r\n\r\n",
        url.scheme(),
        env!("CARGO_PKG_VERSION")
    );
    let late = || Heard::Deaf(format!("it did not answer within {} seconds", LIMIT.as_secs()));
    if proxy.ssh.is_none() {
        let asked = async {
            match TcpStream::connect((host.as_str(), *port)).await {
                Ok(stream) => talk(stream, &text).await,
                Err(error) => Heard::Deaf(one_line(&error.to_string())),
            }
        };
        return tokio::time::timeout(LIMIT, asked).await.unwrap_or_else(|_| late());
    }
    let to = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let mut child = match request.reach.tunnel(proxy, &to).spawn() {
        Ok(child) => child,
        Err(error) => return Heard::Unasked(error.to_string()),
    };
    let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Heard::Unasked("ssh has no input".to_owned());
    };
    let talked = tokio::time::timeout(LIMIT, talk(tokio::io::join(stdout, stdin), &text)).await;
    match talked {
        Ok(Heard::Bytes(bytes)) => return Heard::Bytes(bytes),
        Err(_) => return late(),
        Ok(_) => {}
    }
    let Ok(Ok(output)) = tokio::time::timeout(LIMIT, child.wait_with_output()).await else { return late() };
    tunnel_closed(&String::from_utf8_lossy(&output.stderr))
}

/// Why nothing came through the tunnel: what ssh says of the channel that could not be opened.
///
/// Source: <https://www.rfc-editor.org/rfc/rfc4254#section-5.1>
fn tunnel_closed(stderr: &str) -> Heard {
    let said = stderr.lines().map(one_line).find(|line| line.contains("open failed")).unwrap_or_default();
    let reason = said.split("open failed: ").nth(1).unwrap_or_default();
    if let Some(why) = reason.strip_prefix("connect failed: ") {
        return Heard::Deaf(why.to_owned());
    }
    if reason.is_empty() { Heard::Deaf(CLOSED.to_owned()) } else { Heard::Unasked(reason.to_owned()) }
}

async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin, text: &str) -> Heard {
    let mut bytes = Vec::new();
    if let Err(error) = stream.write_all(text.as_bytes()).await {
        return Heard::Deaf(one_line(&error.to_string()));
    }
    let _ = stream.flush().await;
    match stream.take(READ).read_to_end(&mut bytes).await {
        // What came before the connection broke may be enough.
        Ok(_) | Err(_) if !bytes.is_empty() => Heard::Bytes(bytes),
        Err(error) => Heard::Deaf(one_line(&error.to_string())),
        Ok(_) => Heard::Deaf(CLOSED.to_owned()),
    }
}

/// Whether the answer is as wanted.
fn judge(expect: &Expectations, bytes: &[u8], url: &Url) -> Result<(), String> {
    let answer = parse(bytes, url).ok_or("what it answers is not HTTP")?;
    expect.judge(&answer).map(|_| ())
}

/// An answer in HTTP/1.x: <https://www.rfc-editor.org/rfc/rfc9112#section-2.1>.
fn parse(bytes: &[u8], url: &Url) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(bytes.get(..end)?).into_owned();
    let mut lines = head.lines();
    let (version, status_line) = lines.next()?.split_once(' ')?;
    if !version.starts_with("HTTP/1.") {
        return None;
    }
    let status = status_line.split(' ').next()?.parse().ok()?;
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
    };
    Some(Answer {
        status,
        status_line: one_line(status_line.trim()),
        headers: lines.filter_map(header).collect(),
        body: bytes.get(end + 4..)?.to_vec(),
        cut: bytes.len() as u64 >= READ,
        url: url.to_string(),
        redirect: None,
        certificate_ends: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_asked_where_nginx_asks_it_in_plain_http() {
        let of = |pass: &str, new: &str| {
            let text = format!("http {{ server {{ location / {{ proxy_pass {pass}; }} }} }}");
            place(text.as_bytes(), &format!("a=old..{new}").parse().unwrap())
        };
        let at = |host: &str, port: u16| Some((host.to_owned(), port));
        assert_eq!(of("http://a", "v37.test"), at("v37.test", 80));
        assert_eq!(of("http://a/x/", "v37.test:8080"), at("v37.test", 8080));
        assert_eq!(of("http://a$request_uri", "[2001:db8::7]:81"), at("2001:db8::7", 81));
        assert_eq!(of("https://a", "v37.test"), None);
        assert_eq!(of("http://ab", "v37.test"), None);
        assert_eq!(of("http://a", "unix:/run/x"), None);
    }

    #[test]
    fn an_answer_is_judged_as_the_one_through_the_proxy_will_be() {
        let url = Url::parse("http://www.test/").unwrap();
        let expect = Expectations { json: vec!["/version=v37".parse().unwrap()], ..Expectations::default() };
        let of = |text: &str| judge(&expect, text.as_bytes(), &url);
        assert_eq!(of("HTTP/1.1 200 OK\r\nX: y\r\n\r\n{\"version\": \"v37\"}"), Ok(()));
        assert!(
            of("HTTP/1.0 200 OK\r\n\r\n{\"version\": \"v31\"}")
                .unwrap_err()
                .contains("\"v31\", want \"v37\"")
        );
        assert_eq!(of("HTTP/1.1 503 Busy\r\n\r\n").unwrap_err(), "HTTP 503 Busy, want 200-299");
        assert_eq!(of("SSH-2.0-OpenSSH_9.2\r\n").unwrap_err(), "what it answers is not HTTP");
    }

    #[test]
    fn ssh_tells_a_server_that_is_down_from_a_tunnel_that_is_forbidden() {
        let down = "channel 0: open failed: connect failed: Connection refused\nstdio forwarding failed\n";
        assert_eq!(tunnel_closed(down), Heard::Deaf("Connection refused".into()));
        let forbidden =
            "channel 0: open failed: administratively prohibited: open failed\nstdio forwarding failed\n";
        assert!(
            matches!(tunnel_closed(forbidden), Heard::Unasked(why) if why.contains("administratively prohibited"))
        );
        assert!(matches!(tunnel_closed(""), Heard::Deaf(_)));
    }
}
