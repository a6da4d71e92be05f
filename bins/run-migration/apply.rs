//! The only writes: each file and its line in the ledger in one transaction.

use std::future::Future;
use std::time::{Duration, Instant};

use kit::{Code, Cx, Failure, Poll, Wait};
use postgres::tokio_postgres::Error;
use postgres::tokio_postgres::error::{ErrorPosition, SqlState};
use postgres::tokio_postgres::types::ToSql;
use postgres::{Session, Target};
use serde_json::{Value, json};

use crate::ledger::{self, Ledger, cells};
use crate::observe::{Directory, File};
use crate::plan::{BASELINE, Item, MigrationPlan};
use crate::sql::Statement;

/// How long without news before it is said that a statement still runs.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// What a file must not leave to the next one: settings, role, temporary tables, cursors, prepared statements. A rerun that
/// begins at a later file then sees what an undisturbed run saw. (`DISCARD ALL` would also free the lock.)
///
/// The last statement lets the server notice within seconds that this process was killed: else it would go on with the
/// running statement, and hold the lock, until that ends. Servers before 14 have no such setting.
const RESET: &str = "RESET SESSION AUTHORIZATION; RESET ALL; CLOSE ALL; UNLISTEN *; DEALLOCATE ALL; DISCARD TEMP; \
                     DISCARD SEQUENCES; SELECT set_config(name, '2s', false) FROM pg_settings \
                     WHERE name = 'client_connection_check_interval'";

/// Applies the plan, and returns the session, which may be another one than before if the connection was lost.
pub(crate) async fn apply(
    cx: &Cx,
    target: &Target,
    session: Session,
    ledger: &Ledger,
    plan: &MigrationPlan,
    directory: &Directory,
) -> Result<Session, Failure> {
    let mut work = Work { cx, target, session, ledger, plan, run: cx.run_id() };
    if plan.baseline {
        let inverse = json!({ "restore": "delete the lines of this run from the ledger by hand" });
        cx.act(BASELINE, &inverse, work.baseline()).await?;
        cx.output("applied", plan.files.len().to_string());
        cx.output("pending", plan.left.to_string());
        return Ok(work.session);
    }
    let count = plan.files.len();
    for (n, item) in plan.files.iter().enumerate() {
        let Some(file) = directory.files.iter().find(|file| file.version == item.version) else { continue };
        let inverse = json!({ "restore": plan.restore });
        let result = cx.act(&item.id, &inverse, work.file(n, item, file)).await;
        cx.output(
            "to-version",
            result.as_ref().ok().map_or_else(
                || {
                    n.checked_sub(1)
                        .and_then(|n| plan.files.get(n))
                        .map(|item| item.version.clone())
                        .or_else(|| plan.from_version.clone())
                        .unwrap_or_default()
                },
                |_| item.version.clone(),
            ),
        );
        let took = result.map_err(|failure| match n {
            0 => failure,
            _ => failure
                .help(format!("{n} of {count} files are applied; running again continues at {}", item.name)),
        })?;
        cx.output("applied", (n + 1).to_string());
        cx.output("pending", (count - n - 1).to_string());
        let ms = took.get("duration_ms").and_then(Value::as_i64).unwrap_or_default();
        cx.report().say(&format!("applied {} in {} ms ({} of {count})", item.name, ms, n + 1));
    }
    Ok(work.session)
}

struct Work<'a> {
    cx: &'a Cx,
    target: &'a Target,
    session: Session,
    ledger: &'a Ledger,
    plan: &'a MigrationPlan,
    run: String,
}

/// How the statements of a file ended, when none failed.
enum Ran {
    /// In the transaction in which they began.
    Whole,
    /// In another one, or in none.
    OutOfTransaction,
}

/// A line of the ledger to write.
struct Line<'a> {
    item: &'a Item,
    duration: Duration,
    baseline: bool,
}

impl Work<'_> {
    /// One file: its statements and its line, all or nothing.
    async fn file(&mut self, n: usize, item: &Item, file: &File) -> Result<Value, Failure> {
        let attempt = format!("apply {}", item.name);
        let statements = file.script.as_ref().map(|script| script.statements.as_slice()).unwrap_or_default();
        let started = Instant::now();
        let ran = self.run_file(&attempt, n == 0, item, statements, started).await;
        self.say_notices(&item.name);
        match ran {
            Ok(Ran::Whole) => {}
            Ok(Ran::OutOfTransaction) => {
                self.rollback().await;
                return Err(Failure::failed(attempt)
                    .because("a statement of the file ended the transaction that the step had begun: what came before it is committed")
                    .help("take that statement out of the file, undo by hand what the file did, and run again"));
            }
            Err(failure) => {
                self.rollback().await;
                return Err(failure.untouched(true));
            }
        }
        self.commit(&attempt, &item.version).await?;
        Ok(json!({ "duration_ms": millis(started.elapsed()) }))
    }

    async fn baseline(&mut self) -> Result<(), Failure> {
        let attempt = "record the baseline";
        let written = async {
            self.begin(attempt, true).await?;
            for item in &self.plan.files {
                self.write(attempt, Line { item, duration: Duration::ZERO, baseline: true }).await?;
            }
            Ok(())
        };
        if let Err(failure) = written.await {
            self.rollback().await;
            return Err(Failure::untouched(failure, true));
        }
        let last = self.plan.files.last().map(|item| item.version.clone()).unwrap_or_default();
        self.commit(attempt, &last).await
    }

    /// Everything of a file up to `COMMIT`: whatever fails in here, nothing of it stays.
    async fn run_file(
        &self,
        attempt: &str,
        first: bool,
        item: &Item,
        statements: &[Statement],
        started: Instant,
    ) -> Result<Ran, Failure> {
        self.begin(attempt, first).await?;
        let transaction = self.transaction(attempt).await?;
        for (n, statement) in statements.iter().enumerate() {
            let doing = format!(
                "{}: statement {} of {} (line {})",
                item.name,
                n + 1,
                statements.len(),
                statement.line
            );
            let ran = self.interruptible(&doing, self.session.client.batch_execute(&statement.text)).await?;
            ran.map_err(|error| self.explain(item, (n + 1, statements.len()), statement, &error))?;
        }
        // The statements were looked through before; this is for a COMMIT that was missed.
        if self.transaction(attempt).await? != transaction {
            return Ok(Ran::OutOfTransaction);
        }
        self.session
            .client
            .batch_execute("RESET SESSION AUTHORIZATION")
            .await
            .map_err(|error| self.failed(attempt, &error))?;
        self.write(attempt, Line { item, duration: started.elapsed(), baseline: false }).await?;
        Ok(Ran::Whole)
    }

    async fn begin(&self, attempt: &str, first: bool) -> Result<(), Failure> {
        let mut sql = vec![RESET.to_owned(), "BEGIN".to_owned()];
        sql.extend(self.plan.creates.filter(|_| first).map(|creates| self.ledger.create(creates.schema)));
        for sql in sql {
            self.session.client.batch_execute(&sql).await.map_err(|error| self.failed(attempt, &error))?;
        }
        Ok(())
    }

    async fn transaction(&self, attempt: &str) -> Result<Vec<String>, Failure> {
        let answer = self.session.client.simple_query("SELECT txid_current()").await;
        answer.map(|answer| cells(&answer)).map_err(|error| self.failed(attempt, &error))
    }

    async fn write(&self, attempt: &str, line: Line<'_>) -> Result<(), Failure> {
        let Line { item, duration, baseline } = line;
        let duration = millis(duration);
        let values: [&(dyn ToSql + Sync); 6] =
            [&item.version, &item.name, &item.checksum, &duration, &self.run, &baseline];
        let written = self.session.client.execute(&self.ledger.insert(), &values).await;
        written.map(|_| ()).map_err(|error| {
            self.failed(format!("{attempt}: write its line in the ledger {}", self.ledger), &error)
        })
    }

    /// Waits for a statement, says that it still runs, and cancels it when the run is cancelled or out of time.
    async fn interruptible(
        &self,
        doing: &str,
        statement: impl Future<Output = Result<(), Error>>,
    ) -> Result<Result<(), Error>, Failure> {
        let started = Instant::now();
        let mut statement = std::pin::pin!(statement);
        let mut beat = tokio::time::interval(HEARTBEAT);
        beat.tick().await;
        let stop = loop {
            tokio::select! {
                biased;
                result = &mut statement => return Ok(result),
                () = self.cx.cancelled() => break self.cx.cancellation(),
                () = tokio::time::sleep_until(self.cx.deadline()) => break Failure::new(Code::Deadline, doing.to_owned())
                    .because("--timeout was over while it ran; the statement was cancelled and its file rolled back")
                    .help("run again with a longer --timeout"),
                _ = beat.tick() => self.cx.report().say(&format!("{doing} still runs, {} s", started.elapsed().as_secs())),
            }
        };
        self.session.canceller().cancel().await;
        // The statement's own end says that the server is done with it; one that can't be reached any more says nothing.
        let _ = tokio::time::timeout(Duration::from_secs(3), statement).await;
        Err(stop)
    }

    async fn rollback(&self) {
        // Without a connection the server rolls back by itself.
        let _ =
            tokio::time::timeout(Duration::from_secs(3), self.session.client.batch_execute("ROLLBACK")).await;
    }

    async fn commit(&mut self, attempt: &str, version: &str) -> Result<(), Failure> {
        let error = match self.session.client.batch_execute("COMMIT").await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if error
            .as_db_error()
            .is_some_and(|db| !matches!(db.code(), &SqlState::ADMIN_SHUTDOWN | &SqlState::CRASH_SHUTDOWN))
        {
            // A deferred constraint: the server has rolled back.
            return Err(self.failed(format!("{attempt}: commit"), &error).untouched(true));
        }
        let lost = self.failed(format!("{attempt}: commit"), &error);
        self.cx.report().warn(&format!("{lost}: {}; looking into the ledger", lost.chain().join(": ")));
        if self.committed(version).await? { Ok(()) } else { Err(lost.untouched(true)) }
    }

    /// Connects again and looks whether the line of this run is in the ledger. The lock comes first: the server process of
    /// the lost connection frees it when it has ended, and only then is the answer final.
    async fn committed(&mut self, version: &str) -> Result<bool, Failure> {
        let (cx, target) = (self.cx, self.target);
        let what = format!("a new connection to {}", target.server());
        self.session = cx
            .wait(Wait::until(&what, Duration::from_secs(2)), async || {
                postgres::connect(cx, target).await.map(Poll::Ready)
            })
            .await?;
        ledger::lock(cx, &self.session, self.ledger).await?;
        let attempt = format!("look for {version} in the ledger {}", self.ledger);
        let exists = self.session.client.simple_query(&self.ledger.exists_query()).await;
        let exists = exists.map(|answer| cells(&answer)).map_err(|error| self.failed(&attempt, &error))?;
        if exists.get(1).map(String::as_str) != Some("t") {
            return Ok(false);
        }
        let found = self.session.client.query(&self.ledger.has_query(), &[&version, &self.run]).await;
        found.map(|rows| !rows.is_empty()).map_err(|error| self.failed(attempt, &error))
    }

    fn failed(&self, attempt: impl Into<String>, error: &Error) -> Failure {
        self.session.failure(attempt, error)
    }

    /// The error of one statement: which one, where in the file, and what to do.
    fn explain(&self, item: &Item, of: (usize, usize), statement: &Statement, error: &Error) -> Failure {
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
                .help("another session holds a lock that this statement needs: run again when it has ended, or raise --lock-timeout"),
            Some(&SqlState::QUERY_CANCELED) => failure
                .help("it was cancelled by --statement-timeout or by an administrator: raise the one or ask the other"),
            Some(_) => failure.help(format!("correct {} and run again", item.name)),
            None => failure.help("run again: what was not committed is rolled back by the server"),
        };
        failure.state(format!("{} was rolled back whole", item.name))
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
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
