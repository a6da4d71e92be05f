//! A way to a PostgreSQL server on which what a client sends is counted, stopped anywhere, and disturbed.
//!
//! It knows where messages begin and end (<https://www.postgresql.org/docs/current/protocol-message-formats.html>) and which of
//! them the server answers with `ReadyForQuery`, and carries the rest unread. A client that asks for TLS is told that there is
//! none. `COPY FROM STDIN` can be counted but not stopped after its effect.

use std::future::pending;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// The codes that stand in the place of a protocol's version.
const CANCEL: u32 = 80_877_102;
const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;

/// Neither the server nor the client sends one that is longer, here.
const LONGEST: usize = 64 << 20;

/// What a client has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Which connection it was sent on, from 1 in the order of their coming since [`Wire::forget`].
    pub line: usize,
    /// Its place among what was sent there, from 1.
    pub nth: usize,
    /// Its type's byte; 0 of the first message of a connection, which has none.
    pub kind: u8,
    /// The text of a simple query, else nothing.
    pub text: String,
}

impl Message {
    /// Whether `ReadyForQuery` ends its answer: a simple query, a function's call, the end of an extended query.
    pub fn is_answered(&self) -> bool {
        matches!(self.kind, b'Q' | b'F' | b'S')
    }
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// So many connections are refused with this SQLSTATE and message.
    Refused { times: u32, code: &'static str, message: &'static str },
    /// The first connection is reset in the place of this message.
    Reset { nth: usize },
    /// The connection is reset when the first `COMMIT` has taken effect, in the place of its answer.
    CommitUnanswered,
    /// Answers come byte by byte, so far apart.
    Trickle(Duration),
}

#[derive(Debug, Default)]
struct State {
    messages: Vec<Message>,
    /// The connections that have come.
    lines: usize,
    /// The connection and the message to stop at, and whether after its effect.
    hold: Option<(usize, usize, bool)>,
    fault: Option<Fault>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    held: Notify,
    /// How often what was held has been let go.
    cleared: watch::Sender<u64>,
}

/// What becomes of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Pass,
    /// It is not forwarded.
    HoldBefore,
    /// It is, and its answer is withheld.
    HoldAfter,
    Reset,
    /// It is forwarded, and the connection is reset in the place of its answer.
    ResetAfter,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sent(&self, message: Message) -> Fate {
        let mut state = self.state();
        let at = (message.line, message.nth);
        let is_commit = message.text == "COMMIT";
        state.messages.push(message);
        match (state.hold, &state.fault) {
            (Some((line, nth, after)), _) if (line, nth) == at => {
                state.hold = None;
                if after { Fate::HoldAfter } else { Fate::HoldBefore }
            }
            (_, Some(Fault::Reset { nth })) if (1, *nth) == at => Fate::Reset,
            (_, Some(Fault::CommitUnanswered)) if is_commit => {
                state.fault = None;
                Fate::ResetAfter
            }
            _ => Fate::Pass,
        }
    }

    /// The refusal of a new connection, where there is one.
    fn refusal(&self) -> Option<Vec<u8>> {
        let mut state = self.state();
        let Some(Fault::Refused { times, code, message }) = &mut state.fault else { return None };
        *times = times.checked_sub(1)?;
        let fields = format!("SFATAL\0VFATAL\0C{code}\0M{message}\0\0");
        let length = u32::try_from(fields.len() + 4).ok()?;
        Some([b"E", &length.to_be_bytes()[..], fields.as_bytes()].concat())
    }

    /// Waits for ever, and tells that there is somebody who waits.
    async fn stop<T>(&self) -> T {
        self.held.notify_one();
        pending().await
    }
}

/// See the module. Ends when dropped.
#[derive(Debug)]
pub struct Wire {
    port: u16,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Wire {
    /// A way to the server at this port of 127.0.0.1.
    ///
    /// # Errors
    /// No port can be listened on.
    pub async fn start(server: u16) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let shared =
            Arc::new(Shared { state: Mutex::default(), held: Notify::new(), cleared: watch::Sender::new(0) });
        let ours = Arc::clone(&shared);
        let serving = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = Arc::clone(&ours);
                tokio::spawn(async move {
                    let mut cleared = shared.cleared.subscribe();
                    tokio::select! {
                        // What a connection ends with, its client has seen.
                        _ = connection(client, server, &shared) => {}
                        () = async { if cleared.changed().await.is_err() { pending().await } } => {}
                    }
                });
            }
        });
        Ok(Self { port, shared, serving })
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What was sent since the start or [`Wire::forget`], over all connections, in the order of arrival.
    pub fn messages(&self) -> Vec<Message> {
        self.shared.state().messages.clone()
    }

    /// Counts from 1 again.
    pub fn forget(&self) {
        let mut state = self.shared.state();
        state.messages.clear();
        state.lines = 0;
    }

    /// Stops at the nth message of a connection: before it is forwarded, or when the server has answered it and nothing of the
    /// answer has come to the client.
    pub fn hold(&self, line: usize, nth: usize, after: bool) {
        self.shared.state().hold = Some((line, nth, after));
    }

    /// Comes back when a connection has stopped there.
    pub async fn held(&self) {
        self.shared.held.notified().await;
    }

    /// Puts this in the place of what was wrong before.
    pub fn fault(&self, fault: Fault) {
        self.shared.state().fault = Some(fault);
    }

    /// Nothing is held or wrong any more. All connections end, as when their client has died.
    pub fn clear(&self) {
        let mut state = self.shared.state();
        (state.hold, state.fault) = (None, None);
        drop(state);
        self.shared.cleared.send_modify(|times| *times += 1);
    }
}

/// A length that counts itself, and what it counts.
async fn counted(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let length = from.read_u32().await?;
    let rest = usize::try_from(length).ok().and_then(|length| length.checked_sub(4));
    let rest = rest.filter(|rest| *rest <= LONGEST);
    let rest = rest.ok_or_else(|| io::Error::other(format!("a message of {length} bytes")))?;
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.resize(4 + rest, 0);
    from.read_exact(bytes.get_mut(4..).unwrap_or_default()).await?;
    Ok(bytes)
}

async fn connection(mut client: TcpStream, server: u16, shared: &Shared) -> io::Result<()> {
    client.set_nodelay(true)?;
    let first = loop {
        let first = counted(&mut client).await?;
        let code = first.get(4..8).and_then(|code| code.try_into().ok()).map_or(0, u32::from_be_bytes);
        match code {
            // https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL
            SSL | GSS => client.write_all(b"N").await?,
            CANCEL => return TcpStream::connect(("127.0.0.1", server)).await?.write_all(&first).await,
            _ => break first,
        }
    };
    let number = {
        let mut state = shared.state();
        state.lines += 1;
        state.lines
    };
    match shared.sent(Message { line: number, nth: 1, kind: 0, text: String::new() }) {
        Fate::HoldBefore | Fate::HoldAfter => shared.stop().await,
        Fate::Reset | Fate::ResetAfter => return client.set_zero_linger(),
        Fate::Pass => {}
    }
    if let Some(refusal) = shared.refusal() {
        client.write_all(&refusal).await?;
        return client.shutdown().await;
    }
    let mut upstream = TcpStream::connect(("127.0.0.1", server)).await?;
    upstream.set_nodelay(true)?;
    upstream.write_all(&first).await?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = upstream.into_split();
    // The first `ReadyForQuery` ends the start.
    let line = Line { shared, number, asked: AtomicUsize::new(1), withheld: Mutex::new(None) };
    tokio::select! {
        ended = line.forth(from_client, to_server) => ended,
        ended = line.back(from_server, to_client) => ended,
    }
}

/// One connection.
struct Line<'a> {
    shared: &'a Shared,
    number: usize,
    /// How many `ReadyForQuery` the server owes or has sent.
    asked: AtomicUsize,
    /// Which of them is not let through, nor what comes before it as part of the same answer.
    withheld: Mutex<Option<(usize, Fate)>>,
}

impl Line<'_> {
    fn withheld(&self) -> MutexGuard<'_, Option<(usize, Fate)>> {
        self.withheld.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until the client has gone.
    async fn forth(&self, mut client: OwnedReadHalf, mut server: OwnedWriteHalf) -> io::Result<()> {
        let mut nth = 1;
        loop {
            nth += 1;
            let kind = client.read_u8().await?;
            let bytes = counted(&mut client).await?;
            let text = if kind == b'Q' { bytes.get(4..bytes.len() - 1).unwrap_or_default() } else { &[] };
            let message =
                Message { line: self.number, nth, kind, text: String::from_utf8_lossy(text).into_owned() };
            let is_answered = message.is_answered();
            let fate = self.shared.sent(message);
            match fate {
                Fate::HoldBefore => self.shared.stop().await,
                Fate::Reset => return client.as_ref().set_zero_linger(),
                Fate::HoldAfter | Fate::ResetAfter | Fate::Pass => {}
            }
            if is_answered {
                let asked = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
                if fate != Fate::Pass {
                    *self.withheld() = Some((asked, fate));
                }
            }
            server.write_all(&[&[kind], &bytes[..]].concat()).await?;
        }
    }

    /// Until the server has ended the connection.
    async fn back(&self, mut server: OwnedReadHalf, mut client: OwnedWriteHalf) -> io::Result<()> {
        let mut ready = 0;
        loop {
            let Ok(kind) = server.read_u8().await else { return client.shutdown().await };
            let bytes = counted(&mut server).await?;
            let withheld = *self.withheld();
            let is_end = kind == b'Z';
            ready += usize::from(is_end);
            if let Some((at, fate)) = withheld
                && ready + usize::from(!is_end) >= at
            {
                match (is_end, fate) {
                    (true, Fate::ResetAfter) => return client.as_ref().set_zero_linger(),
                    (true, _) => self.shared.stop().await,
                    (false, _) => continue,
                }
            }
            let pause = match self.shared.state().fault {
                Some(Fault::Trickle(pause)) => Some(pause),
                _ => None,
            };
            let bytes = [&[kind], &bytes[..]].concat();
            match pause {
                None => client.write_all(&bytes).await?,
                Some(pause) => {
                    for byte in bytes {
                        client.write_all(&[byte]).await?;
                        tokio::time::sleep(pause).await;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_postgres::NoTls;
    use tokio_postgres::error::SqlState;

    use super::super::{Options, Postgres, USER};
    use super::{Fault, Wire};

    async fn client(
        postgres: &Postgres,
        wire: &Wire,
    ) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(wire.port()).user(USER).password(&postgres.password).dbname("postgres");
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    #[tokio::test]
    async fn what_is_held_before_has_no_effect_and_what_is_held_after_has_one_that_is_not_told() {
        let postgres = Postgres::start(Options::default()).await.unwrap();
        let wire = Wire::start(postgres.port).await.unwrap();
        postgres.psql("CREATE TABLE t (n int)").await.unwrap();
        for (after, rows) in [(false, "0"), (true, "1")] {
            wire.forget();
            let ours = client(&postgres, &wire).await.unwrap();
            ours.batch_execute("SELECT 1").await.unwrap();
            wire.hold(1, wire.messages().len() + 1, after);
            let insert = ours.batch_execute("INSERT INTO t VALUES (1)");
            tokio::pin!(insert);
            tokio::select! {
                ended = &mut insert => panic!("it is held, and gave {ended:?}"),
                () = wire.held() => {}
            }
            assert_eq!(postgres.psql("SELECT count(*) FROM t").await.unwrap(), rows, "{after}");
            wire.clear();
            assert!(insert.await.is_err());
            assert_eq!(postgres.psql("SELECT count(*) FROM t").await.unwrap(), rows, "{after}");
            assert_eq!(wire.messages().last().unwrap().text, "INSERT INTO t VALUES (1)");
        }
    }

    #[tokio::test]
    async fn a_commit_that_is_cut_off_is_done_and_a_message_that_is_cut_off_is_not() {
        let postgres = Postgres::start(Options::default()).await.unwrap();
        let wire = Wire::start(postgres.port).await.unwrap();
        postgres.psql("CREATE TABLE t (n int)").await.unwrap();
        let ours = client(&postgres, &wire).await.unwrap();
        wire.fault(Fault::CommitUnanswered);
        ours.batch_execute("BEGIN").await.unwrap();
        ours.batch_execute("INSERT INTO t VALUES (1)").await.unwrap();
        assert!(ours.batch_execute("COMMIT").await.is_err());
        assert_eq!(postgres.psql("SELECT count(*) FROM t").await.unwrap(), "1");

        wire.forget();
        let ours = client(&postgres, &wire).await.unwrap();
        wire.fault(Fault::Reset { nth: wire.messages().len() + 2 });
        ours.batch_execute("INSERT INTO t VALUES (2)").await.unwrap();
        assert!(ours.batch_execute("INSERT INTO t VALUES (3)").await.is_err());
        assert_eq!(postgres.psql("SELECT string_agg(n::text, ' ') FROM t").await.unwrap(), "1 2");

        wire.fault(Fault::Refused { times: 1, code: "53300", message: "sorry, too many clients already" });
        let error = client(&postgres, &wire).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::TOO_MANY_CONNECTIONS));
        client(&postgres, &wire).await.unwrap();
    }
}
