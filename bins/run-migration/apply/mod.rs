//! The only writes: the files and their lines in the ledger.

mod alone;
pub(crate) mod patience;
mod remains;
mod whole;

use std::future::Future;
use std::time::{Duration, Instant};

use kit::{Cx, Failure, Poll, Wait};
use postgres::tokio_postgres::Error;
use postgres::tokio_postgres::error::{ErrorPosition, SqlState};
use postgres::{Session, Target};
use serde_json::{Value, json};

use self::patience::Patience;
use crate::connection::{Limits, connect};
use crate::files::{Directory, File, Way};
use crate::ledger::{self, Ledger, Line, cells};
use crate::plan::{BASELINE, Item, MigrationPlan};
use crate::sql::Statement;
use crate::watch::{Ended, Watch};

/// What a file must not leave to the next one: settings, role, temporary tables, cursors, prepared statements. A rerun that
/// begins at a later file then sees what an undisturbed run saw. (`DISCARD ALL` would also free the lock.)
///
/// The last statement lets the server notice within seconds that this process was killed: else it would go on with the
/// running statement, and hold the lock, until that ends. Servers before 14 have no such setting.
const RESET: &str = "RESET SESSION AUTHORIZATION; RESET ALL; CLOSE ALL; UNLISTEN *; DEALLOCATE ALL; DISCARD TEMP; \
                     DISCARD SEQUENCES; SELECT set_config(name, '2s', false) FROM pg_settings \
                     WHERE name = 'client_connection_check_interval'";

/// How this run goes about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    pub(crate) limits: Limits,
    /// The lock time-out of statements that stop nobody while they wait.
    pub(crate) patient_lock: Duration,
    /// How long a file is tried again after a lock time-out, a deadlock or a serialization failure.
    pub(crate) retry_for: Duration,
}

/// What the run works with.
pub(crate) struct Job<'a> {
    pub(crate) cx: &'a Cx,
    /// Without the settings of `manner`.
    pub(crate) target: &'a Target,
    pub(crate) ledger: &'a Ledger,
    pub(crate) plan: &'a MigrationPlan,
    pub(crate) directory: &'a Directory,
    pub(crate) manner: Manner,
}

/// Applies the plan, and returns the session, which may be another one than before if the connection was lost.
pub(crate) async fn apply(job: &Job<'_>, session: Session) -> Result<Session, Failure> {
    let (cx, plan) = (job.cx, job.plan);
    let watch = Watch::new(cx, job.target, [job.manner.limits.lock, job.manner.patient_lock]);
    let mut work = Work { job, cx, session, watch, run: cx.run_id(), ledger_made: false };
    if plan.baseline {
        let inverse = json!({ "restore": "delete the lines of this run from the ledger by hand" });
        cx.act(BASELINE, &inverse, work.baseline()).await?;
        cx.output("applied", plan.files.len().to_string());
        cx.output("pending", plan.left.to_string());
        return Ok(work.session);
    }
    let count = plan.files.len();
    let before = |n: usize| match plan.way {
        Way::Up => n
            .checked_sub(1)
            .and_then(|n| plan.files.get(n))
            .map(|item| item.version.clone())
            .or_else(|| plan.from_version.clone()),
        Way::Down => plan.files.get(n).map(|item| item.version.clone()).or_else(|| plan.to_version.clone()),
    };
    for (n, item) in plan.files.iter().enumerate() {
        let Some(file) = job.file(item) else { continue };
        let inverse = json!({ "restore": plan.restore });
        let result = cx.act(&item.id, &inverse, work.file(item, file)).await;
        let reached = if result.is_ok() { before(n + 1) } else { before(n) };
        cx.output("to-version", reached.unwrap_or_default());
        let took = result.map_err(|failure| match n {
            0 => failure,
            _ => failure
                .help(format!("{n} of {count} files are done; running again continues at {}", item.name)),
        })?;
        let ms = took.get("duration_ms").and_then(Value::as_i64).unwrap_or_default();
        let (done, output, pending) = match plan.way {
            Way::Up => ("applied", "applied", count - n - 1 + plan.left),
            Way::Down => ("took back with", "reverted", plan.left + n + 1),
        };
        cx.output(output, (n + 1).to_string());
        cx.output("pending", pending.to_string());
        cx.report().say(&format!("{done} {} in {ms} ms ({} of {count})", item.name, n + 1));
    }
    Ok(work.session)
}

impl Job<'_> {
    fn file(&self, item: &Item) -> Option<&File> {
        let file = self.directory.files.iter().find(|file| file.version == item.version)?;
        match self.plan.way {
            Way::Up => Some(file),
            Way::Down => file.down.as_deref(),
        }
    }
}

struct Work<'a> {
    job: &'a Job<'a>,
    cx: &'a Cx,
    session: Session,
    watch: Watch,
    run: String,
    /// Whether this run has made or widened the ledger.
    ledger_made: bool,
}

/// Why a try did not end well.
struct Stopped {
    failure: Failure,
    /// It may end well when it is tried again: what stood in its way, in a word.
    again: Option<&'static str>,
    /// The connection was lost, so what the server made of the statement is not known.
    lost: bool,
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self { failure, again: None, lost: false }
    }
}

impl Work<'_> {
    /// One file, and its line.
    async fn file(&mut self, item: &Item, file: &File) -> Result<Value, Failure> {
        let started = Instant::now();
        if item.alone {
            self.statement_by_statement(item, file, started).await?;
        } else {
            let mut patience = Patience::new(self.job.manner.retry_for);
            while let Err(stopped) = self.whole(item, file, started).await {
                self.again(&mut patience, &item.name, stopped).await?;
            }
        }
        self.ledger_made = true;
        Ok(json!({ "duration_ms": millis(started.elapsed()) }))
    }

    /// Waits before the next try, or gives up.
    async fn again(&self, patience: &mut Patience, name: &str, stopped: Stopped) -> Result<(), Failure> {
        let Stopped { failure, again, .. } = stopped;
        let Some(why) = again else { return Err(failure) };
        let blockers = self.watch.blockers();
        let by = if blockers.is_empty() {
            String::new()
        } else {
            format!(" (in its way stood {})", blockers.join("; "))
        };
        let Some(pause) = patience.next(self.cx.deadline()) else {
            let failure = if blockers.is_empty() {
                failure
            } else {
                failure.help(format!("in its way stood {}", blockers.join("; ")))
            };
            return Err(match patience.tries() {
                0 => failure,
                n => failure.state(format!("it was tried {} times, until --retry-for was over", n + 1)),
            });
        };
        self.cx.report().warn(&format!(
            "{name}: {why}{by}; {failure}: {}; tried again in {:.1} s",
            failure.chain().join(": "),
            pause.as_secs_f64()
        ));
        // What failed was rolled back before this pause.
        self.cx.or_cancelled(self.cx.pause(pause)).await.map_err(|stop| stop.untouched(true))
    }

    async fn run_sql(&self, attempt: &str, sql: &str) -> Result<(), Failure> {
        self.session.client.batch_execute(sql).await.map_err(|error| self.failed(attempt, &error))
    }

    /// Makes the ledger, once in a run, inside the transaction of its first line.
    async fn make_ledger(&self, attempt: &str) -> Result<(), Failure> {
        let plan = self.job.plan;
        if self.ledger_made {
            return Ok(());
        }
        if let Some(creates) = plan.creates {
            self.run_sql(attempt, &self.job.ledger.create(creates.schema)).await?;
        }
        if plan.widens {
            self.run_sql(attempt, &self.job.ledger.widen()).await?;
        }
        Ok(())
    }

    /// Writes or removes the line of a file that has ended.
    async fn enter(
        &self,
        attempt: &str,
        item: &Item,
        duration: Duration,
        baseline: bool,
    ) -> Result<(), Failure> {
        let ledger = self.job.ledger;
        let line = Line {
            version: &item.version,
            name: &item.name,
            checksum: &item.checksum,
            down_checksum: item.down_checksum.as_deref(),
            duration,
            run: &self.run,
            baseline,
        };
        let written = match self.job.plan.way {
            Way::Up => ledger.write(&self.session, &line).await,
            Way::Down => self.session.client.batch_execute(&ledger.remove(&item.version)).await,
        };
        written
            .map_err(|error| self.failed(format!("{attempt}: write its line in the ledger {ledger}"), &error))
    }

    /// Waits for a statement, says that it still runs and who it waits for, and cancels it when the run is cancelled or out
    /// of time.
    async fn interruptible(&self, doing: &str, statement: impl Future<Output = Result<(), Error>>) -> Ended {
        self.watch.interruptible(&self.session, doing, statement).await
    }

    async fn rollback(&self) {
        // Without a connection the server rolls back by itself.
        let _ =
            tokio::time::timeout(Duration::from_secs(3), self.session.client.batch_execute("ROLLBACK")).await;
    }

    /// Connects again. The lock comes first: the server process of the lost connection frees it when it has ended, and only
    /// then is what is read final.
    async fn reconnect(&mut self) -> Result<(), Failure> {
        let (cx, target) = (self.cx, self.job.target);
        let limits = self.job.manner.limits;
        let what = format!("a new connection to {}", target.server());
        self.session = cx
            .wait(Wait::until(&what, Duration::from_secs(2)), async || {
                connect(cx, target, limits).await.map(Poll::Ready)
            })
            .await?;
        ledger::lock(cx, &self.session, self.job.ledger).await
    }

    fn failed(&self, attempt: impl Into<String>, error: &Error) -> Failure {
        self.session.failure(attempt, error)
    }

    /// The error of one statement: which one, where in the file, and what to do.
    fn explain(&self, item: &Item, of: (usize, usize), statement: &Statement, error: &Error) -> Stopped {
        let line = match error.as_db_error().and_then(|db| db.position()) {
            Some(ErrorPosition::Original(position)) => statement.line_at(*position),
            _ => statement.line,
        };
        let attempt = format!(
            "apply {}: statement {} of {} (line {line}), {}",
            item.name,
            of.0,
            of.1,
            statement.head()
        );
        let failure = self.failed(attempt, error);
        let failure = match error.code() {
            Some(&SqlState::LOCK_NOT_AVAILABLE) => failure
                .help("another session holds a lock that this statement needs: run again when it has ended, or raise --lock-timeout or --retry-for"),
            Some(&SqlState::QUERY_CANCELED) => failure
                .help("it was cancelled by --statement-timeout or by an administrator: raise the one or ask the other"),
            Some(&SqlState::ACTIVE_SQL_TRANSACTION) if item.alone => failure
                .help("it is a function or block that calls what can't run in one: write the command itself into the file"),
            Some(&SqlState::ACTIVE_SQL_TRANSACTION) => failure
                .help(format!("give the statement a file of its own whose first line is `{}`", crate::sql::MARK)),
            Some(_) => failure.help(format!("correct {} and run again", item.name)),
            None => failure.help("run again: what was not committed is rolled back by the server"),
        };
        Stopped { failure, again: patience::again(error), lost: patience::lost(error) }
    }

    fn say_notices(&self, name: &str) {
        let (notices, more) = self.session.take_notices();
        let shown: Vec<String> = notices
            .iter()
            .filter(|notice| notice.severity != "DEBUG")
            .map(|notice| format!("{}: {}", notice.severity, notice.message))
            .collect();
        if shown.is_empty() {
            return;
        }
        self.cx.report().say(&format!("the server said while {name} ran:"));
        self.cx.report().foreign(&shown.join("\n"));
        if more > 0 {
            self.cx.report().say(&format!("and {more} more"));
        }
    }

    async fn cells(&self, attempt: &str, query: &str) -> Result<Vec<String>, Failure> {
        let answer = self.session.client.simple_query(query).await;
        answer.map(|answer| cells(&answer)).map_err(|error| self.failed(attempt, &error))
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
