//! Who keeps a statement waiting: looked up from a second connection while it waits.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kit::{Code, Cx, Failure};
use postgres::tokio_postgres::Error;
use postgres::{Session, Target};
use tokio::task::JoinHandle;

use crate::ledger::rows;

/// How long without news before it is said that a statement still runs.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// How a statement ended that was waited for.
pub(crate) enum Ended {
    /// The server answered.
    Answered(Result<(), Error>),
    /// The run was cancelled or is out of time; what the server answered to that, if it still did.
    Stopped(Failure, Option<Result<(), Error>>),
}

/// A second connection.
#[derive(Clone)]
pub(crate) struct Watch {
    cx: Cx,
    target: Target,
    first: Duration,
    session: Arc<tokio::sync::Mutex<Option<Session>>>,
    seen: Arc<Mutex<Vec<String>>>,
}

/// Ends the watching when dropped.
pub(crate) struct Watching(JoinHandle<()>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Who blocks a server process: the text of their statements can hold anything, so only its first word is shown.
fn query(pid: i32) -> String {
    format!(
        "SELECT CASE WHEN a.pid IS NULL THEN 'a prepared transaction (pg_prepared_xacts)' ELSE \
         format('server process %s (%s%s%s)%s%s', a.pid, coalesce(nullif(a.application_name, ''), a.backend_type, 'unnamed'), \
           ' as ' || a.usename, ' from ' || coalesce(host(a.client_addr), 'the server itself'), \
           ', in a transaction since ' || a.xact_start::timestamptz(0), \
           CASE WHEN a.state IS NULL THEN '' ELSE ', ' || a.state || coalesce(': ' || upper(substring(a.query from '^\\s*(\\w+)')) || ' ...', '') END) END \
         FROM unnest(pg_blocking_pids({pid})) AS b(pid) LEFT JOIN pg_stat_activity a ON a.pid = b.pid GROUP BY 1, a.pid ORDER BY a.pid LIMIT 5"
    )
}

impl Watch {
    /// Takes the first look well before the shortest of the lock time-outs is over, and opens the connection for it now.
    pub(crate) fn new(cx: &Cx, target: &Target, lock_timeouts: [Duration; 2]) -> Self {
        let mut target = target.clone();
        target.application_name.push_str(" (watching)");
        let shortest = lock_timeouts.into_iter().filter(|time| !time.is_zero()).min();
        let first = shortest.map_or(Duration::from_secs(1), |time| time / 4);
        let watch = Self {
            cx: cx.clone(),
            target,
            first: first.clamp(Duration::from_millis(50), Duration::from_secs(1)),
            session: Arc::default(),
            seen: Arc::default(),
        };
        let opening = watch.clone();
        tokio::spawn(async move {
            // Where it can't be opened, that is said when it is needed.
            let _ = opening.open().await;
        });
        watch
    }

    async fn open(&self) -> Result<tokio::sync::MutexGuard<'_, Option<Session>>, String> {
        let mut session = self.session.lock().await;
        if session.as_ref().is_none_or(Session::is_closed) {
            let opened = postgres::connect_once(&self.cx, &self.target).await;
            *session = Some(opened.map_err(|failure| failure.chain().join(": "))?);
        }
        Ok(session)
    }

    /// Watches a server process until the answer is dropped, and says each time another one keeps it waiting.
    pub(crate) fn start(&self, pid: i32, what: &str) -> Watching {
        self.seen().clear();
        let (watch, what) = (self.clone(), what.to_owned());
        Watching(tokio::spawn(async move {
            let mut pause = watch.first;
            let mut said = String::new();
            loop {
                watch.cx.pause(pause).await;
                pause = Duration::from_secs(1);
                match watch.look(pid).await {
                    Ok(found) if found.is_empty() => {}
                    Ok(found) => {
                        let line = found.join("; ");
                        watch.seen().clone_from(&found);
                        if line != said {
                            watch.cx.report().say(&format!("{what} waits for a lock of {line}"));
                            said = line;
                        }
                    }
                    Err(why) => {
                        watch.cx.report().say(&format!("who keeps it waiting can't be seen: {why}"));
                        return;
                    }
                }
            }
        }))
    }

    /// Waits for a statement, says that it still runs and who it waits for, and cancels it when the run is cancelled or out
    /// of time.
    pub(crate) async fn interruptible(
        &self,
        session: &Session,
        doing: &str,
        statement: impl Future<Output = Result<(), Error>>,
    ) -> Ended {
        let (cx, pid, started) = (&self.cx, session.identity.backend_pid, Instant::now());
        let _watching = self.start(pid, doing);
        let mut statement = std::pin::pin!(statement);
        let mut beat = tokio::time::interval(HEARTBEAT);
        beat.tick().await;
        let stop = loop {
            tokio::select! {
                biased;
                result = &mut statement => return Ended::Answered(result),
                () = cx.cancelled() => break cx.cancellation(),
                () = tokio::time::sleep_until(cx.deadline()) => break Failure::new(Code::Deadline, doing.to_owned())
                    .because("--timeout was over while it ran, and the statement was cancelled")
                    .help("run again with a longer --timeout"),
                _ = beat.tick() => self.still(pid, doing, started),
            }
        };
        session.canceller().cancel().await;
        // The statement's own end says that the server is done with it; one that can't be reached any more says nothing.
        let answer = tokio::time::timeout(Duration::from_secs(3), statement).await.ok();
        Ended::Stopped(stop, answer)
    }

    /// Says that a statement still runs and, of the build of an index, how far it is.
    fn still(&self, pid: i32, doing: &str, started: Instant) {
        let (watch, doing, seconds) = (self.clone(), doing.to_owned(), started.elapsed().as_secs());
        tokio::spawn(async move {
            let far = watch.progress(pid).await.unwrap_or_default();
            watch.cx.report().say(&format!("{doing} still runs, {seconds} s{far}"));
        });
    }

    /// <https://www.postgresql.org/docs/current/progress-reporting.html#CREATE-INDEX-PROGRESS-REPORTING>, from 12 on.
    async fn progress(&self, pid: i32) -> Option<String> {
        let query = format!(
            "SELECT phase, CASE WHEN tuples_total > 0 THEN 100 * tuples_done / tuples_total WHEN blocks_total > 0 \
             THEN 100 * blocks_done / blocks_total END FROM pg_stat_progress_create_index WHERE pid = {pid}"
        );
        let session = self.open().await.ok()?;
        let answer = session.as_ref()?.client.simple_query(&query).await.ok()?;
        match crate::ledger::cells(&answer).as_slice() {
            [phase, percent] if !percent.is_empty() => Some(format!(": {phase}, {percent} %")),
            [phase, _] if !phase.is_empty() => Some(format!(": {phase}")),
            _ => None,
        }
    }

    async fn look(&self, pid: i32) -> Result<Vec<String>, String> {
        let session = self.open().await?;
        let Some(session) = session.as_ref() else { return Ok(Vec::new()) };
        let answer = session.client.simple_query(&query(pid)).await;
        let answer = answer.map_err(|error| session.failure("look", &error).chain().join(": "))?;
        Ok(rows(&answer).filter_map(|cells| cells.into_iter().next()).collect())
    }

    /// Who was last seen to keep the statement waiting that is watched or was watched last.
    pub(crate) fn blockers(&self) -> Vec<String> {
        self.seen().clone()
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
