//! The only writes of `--action reindex`: remains dropped, indexes rebuilt one at a time, versions recorded.

use std::time::{Duration, Instant};

use kit::{Cx, Failure, Poll, Wait};
use postgres::Session;
use postgres::tokio_postgres::Error;
use postgres::tokio_postgres::error::SqlState;
use serde_json::{Value, json};

use super::plan::{Item, Part, Reindex, Request};
use super::{Place, done, observe};
use crate::apply::patience::{Patience, again, lost};
use crate::ledger::{self, Ledger};
use crate::watch::{Ended, Watch};

/// Rebuilds what is planned, and returns the session of the ledger, which may be another one than before.
pub(super) async fn apply(
    place: &Place<'_>,
    ledger: &Ledger,
    request: Request,
    plan: &Reindex,
    main: Session,
) -> Result<Session, Failure> {
    let cx = place.cx;
    let limits = [place.manner.limits.lock, place.manner.patient_lock];
    let watch = Watch::new(cx, &place.target(&main.identity.database)?, limits);
    let all = plan.databases.iter().flat_map(|part| &part.items).map(|item| item.bytes).sum();
    let mut work = Work {
        place,
        cx,
        ledger,
        request,
        plan,
        main,
        watch,
        rebuilt: 0,
        bytes: (0, all),
        began: Instant::now(),
        broken: Vec::new(),
        unchecked: false,
    };
    done::create(&work.main, ledger, plan, &cx.run_id()).await?;
    let mut refreshed = 0;
    for part in &plan.databases {
        let broken = work.broken.len();
        if !part.items.is_empty() || !part.leftovers.is_empty() {
            let acted = cx.act(&part.rebuild_id(), &Value::Null, work.part(part)).await;
            if let Err(failure) = acted
                && work.broken.len() == broken
            {
                return Err(work.state(failure));
            }
        }
        // A version is true only when all that it orders is rebuilt.
        if work.broken.len() == broken && !part.refreshes.is_empty() {
            let acted = cx.act(&part.refresh_id(), &Value::Null, work.refresh(part)).await;
            refreshed += acted.map_err(|failure| work.state(failure))?;
            cx.output("refreshed", refreshed.to_string());
        }
    }
    if work.broken.is_empty() { Ok(work.main) } else { Err(work.duplicates()) }
}

/// An index that can't be built, since its table's rows forbid it.
struct Broken {
    what: String,
    why: String,
    find: Option<String>,
}

struct Work<'a> {
    place: &'a Place<'a>,
    cx: &'a Cx,
    ledger: &'a Ledger,
    request: Request,
    plan: &'a Reindex,
    /// In the database of the ledger.
    main: Session,
    watch: Watch,
    rebuilt: usize,
    /// Rebuilt, and all.
    bytes: (u64, u64),
    began: Instant,
    broken: Vec<Broken>,
    /// It was said that amcheck may not be asked.
    unchecked: bool,
}

/// How an index ended.
enum Built {
    Done,
    /// Somebody has dropped it meanwhile.
    Gone,
    /// Rows with the same key.
    Broken,
}

impl Work<'_> {
    fn state(&self, failure: Failure) -> Failure {
        failure.state(format!(
            "{} of {} indexes are rebuilt; every other one is as it was and in use; running again does the rest",
            self.rebuilt,
            self.plan.count()
        ))
    }

    fn duplicates(&self) -> Failure {
        let what: Vec<String> =
            self.broken.iter().map(|broken| format!("{}: {}", broken.what, broken.why)).collect();
        let failure = Failure::failed("rebuild indexes whose rows have the same key twice")
            .because(what.join("; "))
            .help("an order that changed has let duplicates in: decide which rows stay, delete the others by ctid, and run again");
        let failure = self
            .broken
            .iter()
            .filter_map(|broken| broken.find.as_ref())
            .fold(failure, |failure, find| failure.help(find.clone()));
        self.state(failure).state(
            "nothing was deleted; the old indexes are in use, and their version is left as it is recorded",
        )
    }

    async fn open(&self, database: &str) -> Result<Session, Failure> {
        let session = self.place.open(database).await?;
        // The server notices within seconds that this process was killed. Servers before 14 have no such setting.
        let interval = "SELECT set_config(name, '2s', false) FROM pg_settings WHERE name = 'client_connection_check_interval'";
        session.client.batch_execute(interval).await.map_err(|error| {
            session.failure(format!("use the connection to {database}"), &error).untouched(true)
        })?;
        Ok(session)
    }

    async fn reopen(&self, database: &str) -> Result<Session, Failure> {
        let what = format!("a new connection to {database}");
        self.cx
            .wait(Wait::until(&what, Duration::from_secs(2)), async || {
                self.open(database).await.map(Poll::Ready)
            })
            .await
    }

    async fn part(&mut self, part: &Part) -> Result<Value, Failure> {
        let mut session = self.open(&part.name).await?;
        for name in &part.leftovers {
            self.put_away(&session, name).await?;
        }
        let before = (self.rebuilt, self.broken.len());
        for item in &part.items {
            if let Built::Done = self.item(&mut session, part, item).await? {
                self.rebuilt += 1;
                self.cx.output("rebuilt", self.rebuilt.to_string());
            }
            self.bytes.0 += item.bytes;
            self.cx.output("pending", (self.plan.count() - self.rebuilt).to_string());
        }
        session.close().await;
        if self.broken.len() > before.1 {
            return Err(Failure::failed(format!("rebuild the indexes of {}", part.name)));
        }
        Ok(json!({ "rebuilt": self.rebuilt - before.0 }))
    }

    async fn item(&mut self, session: &mut Session, part: &Part, item: &Item) -> Result<Built, Failure> {
        let doing = format!("{}: rebuild {} ({})", part.name, item.name, kit::size(item.bytes));
        let concurrently = if item.exclusive { "" } else { "CONCURRENTLY " };
        let sql = format!("REINDEX INDEX {concurrently}{}", item.name);
        let started = Instant::now();
        let mut patience = Patience::new(self.place.manner.retry_for);
        loop {
            let (answer, stop) = match self.send(session, &doing, item.exclusive, &sql).await? {
                Ended::Answered(answer) => (Some(answer), None),
                Ended::Stopped(stop, answer) => (answer, Some(stop)),
            };
            if let Some(Ok(())) = answer {
                self.rebuilt(session, part, item, started).await?;
                return stop.map_or(Ok(Built::Done), Err);
            }
            if let Some(stop) = stop {
                return Err(stop);
            }
            let Some(Err(error)) = answer else { continue };
            let failure = session.failure(&doing, &error);
            if session.is_closed() || lost(&error) {
                self.cx
                    .report()
                    .warn(&format!("{failure}: {}; looking what became of it", failure.chain().join(": ")));
                *session = self.reopen(&part.name).await?;
                match observe::state(session, &item.name).await? {
                    None => return Ok(self.gone(&doing)),
                    Some((file, true)) if file != item.file => {
                        self.rebuilt(session, part, item, started).await?;
                        return Ok(Built::Done);
                    }
                    Some(_) => {}
                }
                self.sweep(session, item).await?;
                self.pause(&mut patience, &doing, "the connection was lost", failure).await?;
                continue;
            }
            match error.code() {
                Some(&SqlState::UNIQUE_VIOLATION | &SqlState::EXCLUSION_VIOLATION) => {
                    self.sweep(session, item).await?;
                    return Ok(self.duplicate(session, part, item, failure).await);
                }
                Some(&SqlState::UNDEFINED_TABLE | &SqlState::UNDEFINED_OBJECT)
                    if observe::state(session, &item.name).await?.is_none() =>
                {
                    return Ok(self.gone(&doing));
                }
                _ => {}
            }
            self.sweep(session, item).await?;
            match again(&error) {
                Some(why) => self.pause(&mut patience, &doing, why, failure).await?,
                None => return Err(explain(failure, &error)),
            }
        }
    }

    fn gone(&self, doing: &str) -> Built {
        self.cx.report().warn(&format!("{doing}: it is not there any more, somebody has dropped it"));
        Built::Gone
    }

    /// Sends a statement under the lock time-out of its kind. What waits CONCURRENTLY stops nobody.
    async fn send(
        &self,
        session: &Session,
        doing: &str,
        exclusive: bool,
        sql: &str,
    ) -> Result<Ended, Failure> {
        let manner = &self.place.manner;
        let lock = if exclusive { manner.limits.lock } else { manner.patient_lock };
        let set = format!("SET lock_timeout = {}", lock.as_millis());
        if let Err(error) = session.client.batch_execute(&set).await {
            return Ok(Ended::Answered(Err(error)));
        }
        Ok(self.watch.interruptible(session, doing, session.client.batch_execute(sql)).await)
    }

    /// Waits before the next try, or gives up.
    async fn pause(
        &self,
        patience: &mut Patience,
        doing: &str,
        why: &str,
        failure: Failure,
    ) -> Result<(), Failure> {
        let blockers = self.watch.blockers().join("; ");
        let failure =
            if blockers.is_empty() { failure } else { failure.help(format!("in its way stood {blockers}")) };
        let Some(pause) = patience.next(self.cx.deadline()) else {
            let failure = failure.help(
                "run again when it has ended, or raise --concurrent-lock-timeout, --lock-timeout or --retry-for",
            );
            return Err(match patience.tries() {
                0 => failure,
                n => failure.state(format!("it was tried {} times, until --retry-for was over", n + 1)),
            });
        };
        let by = if blockers.is_empty() { blockers } else { format!(" (in its way stood {blockers})") };
        self.cx.report().warn(&format!("{doing}: {why}{by}; tried again in {:.1} s", pause.as_secs_f64()));
        self.cx.or_cancelled(self.cx.pause(pause)).await
    }

    /// Drops what broken-off builds have left on the index's table. One that is under way holds a lock of the table, so this
    /// waits for it.
    async fn sweep(&self, session: &Session, item: &Item) -> Result<(), Failure> {
        for name in observe::leftovers(session, &item.table).await? {
            self.put_away(session, &name).await?;
        }
        Ok(())
    }

    async fn put_away(&self, session: &Session, name: &str) -> Result<(), Failure> {
        let doing = format!("{}: drop {name}, the rest of a broken-off build", session.identity.database);
        let sql = format!("DROP INDEX CONCURRENTLY IF EXISTS {name}");
        let mut patience = Patience::new(self.place.manner.retry_for);
        loop {
            let error = match self.send(session, &doing, false, &sql).await? {
                Ended::Answered(Ok(())) => {
                    self.cx.report().say(&format!("{doing}: done"));
                    return Ok(());
                }
                Ended::Answered(Err(error)) => error,
                Ended::Stopped(stop, _) => return Err(stop),
            };
            let failure = session.failure(&doing, &error);
            match again(&error) {
                Some(why) => self.pause(&mut patience, &doing, why, failure).await?,
                None => return Err(explain(failure, &error)),
            }
        }
    }

    /// An index that the server has rebuilt: looked at, checked, recorded.
    async fn rebuilt(
        &mut self,
        session: &Session,
        part: &Part,
        item: &Item,
        started: Instant,
    ) -> Result<(), Failure> {
        let attempt = format!("{}: find {} rebuilt", part.name, item.name);
        let file = match observe::state(session, &item.name).await? {
            Some((file, true)) if file != item.file => file,
            Some((_, valid)) => {
                let what = if valid { "it lies in the file that it had before" } else { "it is not valid" };
                return Err(Failure::unverified(attempt)
                    .because(format!("the server said that it has ended well, and {what}"))
                    .help("look at the server's log, and run again"));
            }
            None => return Ok(()),
        };
        self.check(session, part, item).await?;
        let record = done::record(self.ledger, self.plan, part, item, file, &self.cx.run_id());
        if self.main.is_closed() {
            let database = self.main.identity.database.clone();
            self.main = self.reopen(&database).await?;
            super::stay(&self.main).await?;
            ledger::lock(self.cx, &self.main, self.ledger).await?;
        }
        self.main
            .client
            .batch_execute(&record)
            .await
            .map_err(|error| self.main.failure(format!("record that {} is rebuilt", item.name), &error))?;
        let (done, all) = (self.bytes.0 + item.bytes, self.bytes.1);
        let left = match self.began.elapsed().as_secs() {
            seconds if seconds >= 10 && done > 0 && all > done => {
                format!(", about {} min left", (seconds * (all - done) / done).div_ceil(60))
            }
            _ => String::new(),
        };
        self.cx.report().say(&format!(
            "{}: rebuilt {} in {:.1} s ({} of {}{left})",
            part.name,
            item.name,
            started.elapsed().as_secs_f64(),
            self.rebuilt + 1,
            self.plan.count()
        ));
        Ok(())
    }

    /// amcheck, where it is installed or asked for: that every row of the table is in the index, in order
    /// (<https://www.postgresql.org/docs/current/amcheck.html>).
    async fn check(&mut self, session: &Session, part: &Part, item: &Item) -> Result<(), Failure> {
        if !item.btree {
            return Ok(());
        }
        let attempt = format!("{}: check {} with amcheck", part.name, item.name);
        let installed = "SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'amcheck'";
        let found = session.client.simple_query(installed).await;
        let found =
            ledger::cells(&found.map_err(|error| session.failure(&attempt, &error))?).into_iter().next();
        let heap = if self.plan.server_version >= 110_000 { ", true" } else { "" };
        let call = |schema: &str| {
            format!("SELECT {schema}.bt_index_check(to_regclass({}){heap})", observe::literal(&item.name))
        };
        let sql = match (found, self.request.amcheck) {
            (Some(schema), _) => call(&schema),
            // It is there only inside of this transaction.
            (None, true) => format!(
                "BEGIN; CREATE SCHEMA cutover_amcheck; CREATE EXTENSION amcheck SCHEMA cutover_amcheck; {}; ROLLBACK",
                call("cutover_amcheck")
            ),
            (None, false) => return Ok(()),
        };
        let error = match self.send(session, &attempt, false, &sql).await? {
            Ended::Answered(Ok(())) => return Ok(()),
            Ended::Answered(Err(error)) => error,
            Ended::Stopped(stop, _) => return Err(stop),
        };
        let _ = session.client.batch_execute("ROLLBACK").await;
        let failure = session.failure(&attempt, &error);
        match error.code() {
            Some(&SqlState::INDEX_CORRUPTED | &SqlState::DATA_CORRUPTED) => {
                Err(Failure::unverified(attempt).because(failure.chain().join(": ")).help(
                    "the table or the server's storage may be damaged: look with pg_amcheck before going on",
                ))
            }
            Some(&SqlState::INSUFFICIENT_PRIVILEGE) if !self.request.amcheck => {
                if !self.unchecked {
                    self.cx
                        .report()
                        .warn(&format!("{attempt}: {}; indexes are not checked", failure.chain().join(": ")));
                }
                self.unchecked = true;
                Ok(())
            }
            _ => Err(failure),
        }
    }

    async fn duplicate(&mut self, session: &Session, part: &Part, item: &Item, failure: Failure) -> Built {
        let broken = Broken {
            what: format!("{}: {}", part.name, item.name),
            why: failure.chain().join(": "),
            find: observe::duplicates(session, &item.name).await,
        };
        self.cx.report().warn(&format!("{} can't be rebuilt: {}", broken.what, broken.why));
        self.broken.push(broken);
        Built::Broken
    }

    async fn refresh(&self, part: &Part) -> Result<usize, Failure> {
        let session = self.open(&part.name).await?;
        for refresh in &part.refreshes {
            let sent = session.client.batch_execute(&refresh.sql).await;
            sent.map_err(|error| session.failure(format!("{}: {}", part.name, refresh.sql), &error))?;
        }
        session.close().await;
        Ok(part.refreshes.len())
    }
}

fn explain(failure: Failure, error: &Error) -> Failure {
    match error.code() {
        Some(&SqlState::DISK_FULL) => failure.help(
            "free disk on the server: an index needs its own size beside the old one, and as much to sort",
        ),
        Some(&SqlState::QUERY_CANCELED) => failure.help(
            "it was cancelled by --statement-timeout or by an administrator: raise the one or ask the other",
        ),
        _ => failure,
    }
}
