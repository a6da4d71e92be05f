//! A file in one transaction with its line in the ledger: all of it or nothing.

use std::time::{Duration, Instant};

use kit::Failure;

use super::{RESET, Stopped, Work, patience};
use crate::files::{File, Way};
use crate::plan::Item;
use crate::sql::Statement;
use crate::watch::Ended;

/// How the statements of a file ended, when none failed.
enum Ran {
    /// In the transaction in which they began.
    Whole,
    /// In another one, or in none.
    OutOfTransaction,
}

impl Work<'_> {
    /// One try.
    pub(super) async fn whole(&mut self, item: &Item, file: &File, started: Instant) -> Result<(), Stopped> {
        let attempt = format!("apply {}", item.name);
        let statements = file.script.as_ref().map(|script| script.statements.as_slice()).unwrap_or_default();
        let ran = self.run_whole(&attempt, item, statements, started).await;
        self.say_notices(&item.name);
        match ran {
            Ok(Ran::Whole) => {}
            Ok(Ran::OutOfTransaction) => {
                self.rollback().await;
                return Err(Failure::failed(attempt)
                    .because("a statement of the file ended the transaction that the step had begun: what came before it is committed")
                    .help("take that statement out of the file, undo by hand what the file did, and run again")
                    .into());
            }
            Err(stopped) => {
                self.rollback().await;
                let failure =
                    stopped.failure.untouched(true).state(format!("{} was rolled back whole", item.name));
                return Err(Stopped { failure, ..stopped });
            }
        }
        self.commit(&attempt, &item.version).await
    }

    /// The lines of a baseline.
    pub(super) async fn baseline(&mut self) -> Result<(), Failure> {
        let attempt = "record the baseline";
        let written = async {
            self.begin(attempt).await?;
            for item in &self.job.plan.files {
                self.enter(attempt, item, Duration::ZERO, true).await?;
            }
            Ok(())
        };
        if let Err(failure) = written.await {
            self.rollback().await;
            return Err(Failure::untouched(failure, true));
        }
        let last = self.job.plan.files.last().map(|item| item.version.clone()).unwrap_or_default();
        self.commit(attempt, &last).await.map_err(|stopped| stopped.failure)
    }

    /// Everything of a file up to `COMMIT`: whatever fails in here, nothing of it stays.
    async fn run_whole(
        &self,
        attempt: &str,
        item: &Item,
        statements: &[Statement],
        started: Instant,
    ) -> Result<Ran, Stopped> {
        self.begin(attempt).await?;
        let transaction = self.transaction(attempt).await?;
        for (n, statement) in statements.iter().enumerate() {
            let doing = format!(
                "{}: statement {} of {} (line {})",
                item.name,
                n + 1,
                statements.len(),
                statement.line
            );
            match self.interruptible(&doing, self.session.client.batch_execute(&statement.text)).await {
                Ended::Answered(Ok(())) => {}
                Ended::Answered(Err(error)) => {
                    return Err(self.explain(item, (n + 1, statements.len()), statement, &error));
                }
                Ended::Stopped(stop, _) => return Err(stop.into()),
            }
        }
        // The statements were looked through before; this is for a COMMIT that was missed.
        if self.transaction(attempt).await? != transaction {
            return Ok(Ran::OutOfTransaction);
        }
        self.run_sql(attempt, "RESET SESSION AUTHORIZATION").await?;
        self.enter(attempt, item, started.elapsed(), false).await?;
        Ok(Ran::Whole)
    }

    pub(super) async fn begin(&self, attempt: &str) -> Result<(), Failure> {
        self.run_sql(attempt, RESET).await?;
        self.run_sql(attempt, "BEGIN").await?;
        self.make_ledger(attempt).await
    }

    async fn transaction(&self, attempt: &str) -> Result<Vec<String>, Failure> {
        self.cells(attempt, "SELECT txid_current()").await
    }

    pub(super) async fn commit(&mut self, attempt: &str, version: &str) -> Result<(), Stopped> {
        let error = match self.session.client.batch_execute("COMMIT").await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if !patience::lost(&error) {
            // A deferred constraint, a serialization failure: the server has rolled back.
            let failure = self.failed(format!("{attempt}: commit"), &error).untouched(true);
            return Err(Stopped { failure, again: patience::again(&error), lost: false });
        }
        let lost = self.failed(format!("{attempt}: commit"), &error);
        self.cx.report().warn(&format!("{lost}: {}; looking into the ledger", lost.chain().join(": ")));
        if self.committed(version).await? { Ok(()) } else { Err(lost.untouched(true).into()) }
    }

    /// Whether the line of a version is as the lost `COMMIT` was to leave it. Before it was sent, under the same lock, the
    /// line was not there (or, on the way back, was).
    async fn committed(&mut self, version: &str) -> Result<bool, Failure> {
        self.reconnect().await?;
        let ledger = self.job.ledger;
        let attempt = format!("look for {version} in the ledger {ledger}");
        let exists = self.cells(&attempt, &ledger.exists_query()).await?;
        if exists.get(1).map(String::as_str) != Some("t") {
            return Ok(false);
        }
        let found = self.session.client.simple_query(&ledger.has_query(version)).await;
        let found = found.map_err(|error| self.failed(attempt, &error))?;
        let there = crate::ledger::rows(&found).next().is_some();
        Ok(there == (self.job.plan.way == Way::Up))
    }
}
