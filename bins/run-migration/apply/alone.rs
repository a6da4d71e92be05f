//! A file that is not run in one transaction: statement by statement, each with a record of how far the file is.
//!
//! A statement that can run in a transaction runs in one of its own together with the record, so it is never in doubt. One
//! that can't is recorded as sent before it is sent: where its answer is lost, the next run looks for its effect.

use std::time::Instant;

use kit::Failure;
use tokio_postgres::error::SqlState;

use super::remains::Settled;
use super::{Patience, RESET, Stopped, Work};
use crate::files::{File, prefix};
use crate::ledger::Ledger;
use crate::ledger::{Stage, progress, sqlx};
use crate::plan::Item;
use crate::sql::{Kind, Probe, Script, Statement};
use crate::watch::Ended;

/// How far the file is.
pub(super) struct At {
    pub(super) done: usize,
    pub(super) stage: Stage,
    /// The statement that was sent or failed.
    pub(super) statement: String,
    /// Whether this run has changed anything of it.
    touched: bool,
}

/// A file that is being run.
#[derive(Clone, Copy)]
pub(super) struct Running<'a> {
    pub(super) item: &'a Item,
    pub(super) script: &'a Script,
}

impl Running<'_> {
    fn of(&self, n: usize) -> (usize, usize) {
        (n + 1, self.script.statements.len())
    }

    fn doing(&self, n: usize, statement: &Statement) -> String {
        let (n, count) = self.of(n);
        format!("{}: statement {n} of {count} (line {})", self.item.name, statement.line)
    }
}

impl Work<'_> {
    pub(super) async fn statement_by_statement(
        &mut self,
        item: &Item,
        file: &File,
        started: Instant,
    ) -> Result<(), Failure> {
        let attempt = format!("apply {}", item.name);
        let script = file.script.clone().unwrap_or_default();
        let running = Running { item, script: &script };
        let mut at = if let Some(begun) = &item.begun {
            At { done: begun.done, stage: begun.stage, statement: begun.statement.clone(), touched: false }
        } else {
            self.begin_alone(&attempt, running).await?;
            At { done: 0, stage: Stage::Ready, statement: String::new(), touched: true }
        };
        let ran = self.statements(&attempt, running, &mut at).await;
        self.say_notices(&item.name);
        if let Err(failure) = ran {
            self.rollback().await;
            let next = match at.stage {
                Stage::Sent => "looks what became of the next one",
                Stage::Ready | Stage::Failed => "continues with the next one",
            };
            return Err(failure.untouched(!at.touched).state(format!(
                "{} of {} statements of {} have taken effect; running again {next}",
                at.done,
                script.statements.len(),
                item.name
            )));
        }
        self.run_sql(&attempt, RESET).await?;
        self.run_sql(&attempt, "BEGIN").await?;
        self.enter(&attempt, item, started.elapsed(), false).await?;
        self.run_sql(&attempt, &progress::remove(self.job.ledger, &item.version)).await?;
        self.commit(&attempt, &item.version).await.map_err(|stopped| stopped.failure)
    }

    async fn begin_alone(&mut self, attempt: &str, running: Running<'_>) -> Result<(), Failure> {
        let (ledger, item) = (self.job.ledger, running.item);
        let nothing = prefix(running.script, 0);
        self.begin(attempt).await?;
        self.run_sql(attempt, &progress::create(ledger)).await?;
        let line = progress::begin(ledger, &item.version, self.job.plan.way, &item.name, &nothing, &self.run);
        self.run_sql(attempt, &line).await?;
        if let Ledger::Sqlx { .. } = ledger {
            let begun = sqlx::begun(&ledger.quoted(), &item.version, &item.name, &item.checksum);
            self.run_sql(attempt, &begun).await?;
        }
        self.run_sql(attempt, "COMMIT").await?;
        self.ledger_made = true;
        Ok(())
    }

    async fn statements(&mut self, attempt: &str, running: Running<'_>, at: &mut At) -> Result<(), Failure> {
        self.settings(attempt, running, at).await?;
        let mut patience = Patience::new(self.job.manner.retry_for);
        let mut last = at.done;
        while let Some(statement) = running.script.statements.get(at.done) {
            if at.done != last {
                last = at.done;
                patience = Patience::new(self.job.manner.retry_for);
            }
            let Err(stopped) = self.one(running, at.done, statement, at).await else { continue };
            if stopped.lost || self.session.is_closed() {
                self.take_up(attempt, running, at, &mut patience, stopped).await?;
            } else {
                self.again(&mut patience, &running.item.name, stopped).await?;
            }
        }
        Ok(())
    }

    /// Settings of the session are gone with the connection that they were made on.
    async fn settings(&self, attempt: &str, running: Running<'_>, at: &At) -> Result<(), Failure> {
        self.run_sql(attempt, RESET).await?;
        let done = running.script.statements.iter().take(at.done);
        for statement in done.filter(|one| one.kind == Kind::Session) {
            self.run_sql(attempt, &statement.text).await?;
        }
        Ok(())
    }

    /// After the connection was lost: how far the file is stands in the database, as for a run that was killed.
    async fn take_up(
        &mut self,
        attempt: &str,
        running: Running<'_>,
        at: &mut At,
        patience: &mut Patience,
        stopped: Stopped,
    ) -> Result<(), Failure> {
        let (name, failure) = (&running.item.name, stopped.failure);
        let Some(pause) = patience.next(self.cx.deadline()) else { return Err(failure) };
        self.cx
            .report()
            .warn(&format!("{name}: {failure}: {}; looking how far it is", failure.chain().join(": ")));
        self.cx.or_cancelled(self.cx.pause(pause)).await?;
        self.reconnect().await?;
        let lines = progress::read(&self.session, self.job.ledger).await?;
        let ours = lines.into_iter().find(|line| line.version == running.item.version);
        let Some(line) = ours.filter(|line| line.done <= running.script.statements.len()) else {
            return Err(
                failure.state("what stood beside the ledger of this file is gone: somebody has changed it")
            );
        };
        (at.done, at.stage) = (line.done, line.stage);
        at.statement = line.statement;
        self.settings(attempt, running, at).await
    }

    async fn one(
        &mut self,
        running: Running<'_>,
        n: usize,
        statement: &Statement,
        at: &mut At,
    ) -> Result<(), Stopped> {
        match &statement.kind {
            Kind::Alone { probe, patient, .. } => {
                self.outside(running, n, statement, (probe, *patient), at).await
            }
            Kind::Procedure => self.outside(running, n, statement, (&Probe::Unknown, false), at).await,
            Kind::Plain | Kind::Session | Kind::Forgotten(_) => self.inside(running, n, statement, at).await,
        }
    }

    /// A statement and the record of it, in one transaction.
    async fn inside(
        &self,
        running: Running<'_>,
        n: usize,
        statement: &Statement,
        at: &mut At,
    ) -> Result<(), Stopped> {
        let doing = running.doing(n, statement);
        if at.stage != Stage::Ready && at.statement != statement.text {
            // A statement that was corrected: what the one before it left is put away.
            self.settle(running, n, at).await?;
        }
        self.run_sql(&doing, "BEGIN").await?;
        let ended = self.interruptible(&doing, self.session.client.batch_execute(&statement.text)).await;
        let answer = match ended {
            Ended::Answered(answer) => answer,
            Ended::Stopped(stop, _) => {
                self.rollback().await;
                return Err(stop.into());
            }
        };
        let written = match answer {
            Ok(()) => self.session.client.batch_execute(&self.record(running, n + 1, Stage::Ready, "")).await,
            Err(error) => Err(error),
        };
        let committed = match written {
            Ok(()) => self.session.client.batch_execute("COMMIT").await,
            Err(error) => Err(error),
        };
        if let Err(error) = committed {
            self.rollback().await;
            // Some commands can't for certain objects only, which the server knows: REINDEX of a table with partitions, DROP
            // SUBSCRIPTION of one with a slot.
            if error.code() == Some(&SqlState::ACTIVE_SQL_TRANSACTION) {
                return Box::pin(self.outside(running, n, statement, (&Probe::Unknown, false), at)).await;
            }
            return Err(self.explain(running.item, running.of(n), statement, &error));
        }
        (at.done, at.stage, at.touched) = (n + 1, Stage::Ready, true);
        at.statement.clear();
        Ok(())
    }

    /// A statement that can't run in a transaction.
    async fn outside(
        &self,
        running: Running<'_>,
        n: usize,
        statement: &Statement,
        (probe, patient): (&Probe, bool),
        at: &mut At,
    ) -> Result<(), Stopped> {
        let doing = running.doing(n, statement);
        let mut text = statement.text.clone();
        let settled = match at.stage {
            Stage::Ready => self.before(&doing, probe).await.map(|()| Settled::Send)?,
            Stage::Sent | Stage::Failed => self.settle(running, n, at).await?,
        };
        match settled {
            Settled::Done => {
                self.cx.report().say(&format!("{doing} has taken effect in an earlier run"));
                return Ok(self.step(running, n, at).await?);
            }
            Settled::Instead(sql) => text = sql,
            Settled::Send => {}
        }
        self.run_sql(&doing, &self.record(running, n, Stage::Sent, &statement.text)).await?;
        (at.stage, at.touched) = (Stage::Sent, true);
        at.statement.clone_from(&statement.text);
        if patient {
            self.patient_lock(&doing).await?;
        }
        let ended = self.interruptible(&doing, self.session.client.batch_execute(&text)).await;
        let (answer, stop) = match ended {
            Ended::Answered(answer) => (Some(answer), None),
            Ended::Stopped(stop, answer) => (answer, Some(stop)),
        };
        let Some(answer) = answer else {
            return Err(stop.unwrap_or_else(|| self.cx.cancellation()).into());
        };
        if let Err(error) = &answer {
            // A server process that ends says so, and nothing of its last statement is known for sure.
            if error.as_db_error().is_some() && !self.session.is_closed() {
                let marked =
                    self.run_sql(&doing, &self.record(running, n, Stage::Failed, &statement.text)).await;
                if marked.is_ok() {
                    at.stage = Stage::Failed;
                }
            }
            return Err(match stop {
                Some(stop) => stop.into(),
                None => self.explain(running.item, running.of(n), statement, error),
            });
        }
        if patient {
            self.usual_lock(&doing).await?;
        }
        self.after(&doing, probe).await?;
        self.step(running, n, at).await?;
        stop.map_or(Ok(()), |stop| Err(stop.into()))
    }

    /// Records that a statement has taken effect.
    async fn step(&self, running: Running<'_>, n: usize, at: &mut At) -> Result<(), Failure> {
        let record = self.record(running, n + 1, Stage::Ready, "");
        self.run_sql(&format!("record how far {} is", running.item.name), &record).await?;
        (at.done, at.stage, at.touched) = (n + 1, Stage::Ready, true);
        at.statement.clear();
        Ok(())
    }

    pub(super) fn record(&self, running: Running<'_>, done: usize, stage: Stage, statement: &str) -> String {
        let prefix = prefix(running.script, done);
        progress::set(self.job.ledger, &running.item.version, (done, &prefix), stage, statement)
    }

    /// The longer lock time-out, unless the file has set one of its own. Such a statement waits for the end of transactions
    /// that are older than itself while everybody goes on reading and writing, and one that is broken off has built for
    /// nothing.
    pub(super) async fn patient_lock(&self, attempt: &str) -> Result<(), Failure> {
        let sql = format!(
            "SELECT set_config('lock_timeout', '{}', false) FROM pg_settings WHERE name = 'lock_timeout' AND setting = reset_val",
            self.job.manner.patient_lock.as_millis()
        );
        self.run_sql(attempt, &sql).await
    }

    pub(super) async fn usual_lock(&self, attempt: &str) -> Result<(), Failure> {
        let sql = format!(
            "SELECT set_config('lock_timeout', reset_val, false) FROM pg_settings WHERE name = 'lock_timeout' AND setting = '{}'",
            self.job.manner.patient_lock.as_millis()
        );
        self.run_sql(attempt, &sql).await
    }
}
