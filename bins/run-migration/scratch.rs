//! `--dry-run-into`: everything is run in a scratch database, a restore of the backup, and timed; the target is only read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kit::{Cx, Failure};
use postgres::{PgArgs, Session, Target};
use serde::Serialize;
use serde_json::json;

use crate::connection::{Limits, connect};
use crate::files::{Directory, File, Way};
use crate::ledger::{Ledger, Line, rows};
use crate::observe::{self, Row, SeenLedger, World};
use crate::plan::MigrationPlan;
use crate::sql::{Kind, PUBLISHER, Statement};

/// One statement as it went.
#[derive(Debug, Serialize)]
struct Timed {
    file: String,
    line: usize,
    statement: String,
    ms: u128,
    /// Until the end of its transaction, which is how long others wait for its locks.
    held_ms: u128,
    /// Tables that were there before, and the strongest lock that the statement was the first to take on each.
    locks: BTreeMap<String, String>,
}

/// `DBNAME` on the same server, or a URL.
pub(crate) fn target(text: &str, own: &Target, cx: &Cx) -> Result<Target, Failure> {
    if !text.contains("://") {
        return Ok(own.with_database(text));
    }
    PgArgs { database_url: Some(text.to_owned()), ..PgArgs::default() }.target(cx.env())
}

/// What is to be tried, and the database that it is meant for.
pub(crate) struct Trial<'a> {
    pub(crate) cx: &'a Cx,
    /// To the database to migrate, which is only read.
    pub(crate) session: &'a Session,
    pub(crate) ledger: &'a Ledger,
    pub(crate) world: &'a World,
    pub(crate) plan: &'a MigrationPlan,
}

impl Trial<'_> {
    /// Runs the plan there and reports; returns a line about it.
    pub(crate) async fn run(&self, target: &Target, limits: Limits) -> Result<String, Failure> {
        let Self { cx, ledger, world, plan, .. } = *self;
        let session = connect(cx, target, limits).await?;
        let name = session.identity.database.clone();
        let attempt = format!("run the migrations in the scratch database {name}");
        other(&attempt, &session, world)?;
        let ledger = ledger.clone().find(&session).await?;
        let (seen, unfinished) = observe::ledger(&session, &ledger).await?;
        if !unfinished.is_empty() || !world.unfinished.is_empty() {
            return Err(Failure::refused(attempt)
                .because(
                    "a file has begun and not ended, and a run that continues it can't be tried elsewhere",
                )
                .help("finish it first"));
        }
        let alike = lines(&seen) == lines(&world.ledger)
            && tables(&attempt, &session).await? == tables(&attempt, self.session).await?;
        if !alike {
            return Err(Failure::refused(attempt)
                .because("its ledger or its tables are not those of the database to migrate: it is no restore of it as it is now, or was used already")
                .help("restore the newest backup into a new database (backup-db --action restore) and name that"));
        }
        let keeps = plan.files.iter().any(|item| item.alone);
        if keeps {
            stays_within(
                &attempt,
                plan,
                &world.directory,
                same_server(&attempt, &session, self.session).await?,
            )?;
            cx.report().say(&format!(
                "a file is not run in one transaction, so {name} keeps what is done to it: drop it afterwards"
            ));
        }
        let mut dry = Dry {
            cx,
            session,
            ledger,
            name,
            keeps,
            timed: Vec::new(),
            before: BTreeSet::new(),
            held: Vec::new(),
        };
        let result = dry.files(&attempt, plan, &world.directory, &seen).await;
        let _ = dry.session.client.batch_execute("ROLLBACK").await;
        dry.report();
        let took: u128 = dry.timed.iter().map(|timed| timed.ms).sum();
        let count = dry.timed.len();
        let kept = if keeps { "; it keeps them: drop it" } else { ", rolled back" };
        let headline = format!("in {} {count} statements took {took} ms{kept}", dry.name);
        dry.session.close().await;
        result.map(|()| headline)
    }
}

/// The names of the tables, by which a database that has nothing to do with the other is told from a restore of it.
async fn tables(attempt: &str, session: &Session) -> Result<Vec<Vec<String>>, Failure> {
    let query = "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^(pg_|information_schema$)' ORDER BY 1, 2";
    let answer = session.client.simple_query(query).await;
    answer
        .map(|answer| rows(&answer).collect())
        .map_err(|error| session.failure(attempt, &error).untouched(true))
}

/// The scratch database must be another one, surely.
fn other(attempt: &str, session: &Session, world: &World) -> Result<(), Failure> {
    let (ours, theirs) = (&world.identity, &session.identity);
    if ours.database != theirs.database {
        return Ok(());
    }
    match (&ours.system_identifier, &theirs.system_identifier) {
        (Some(ours), Some(theirs)) if ours != theirs => Ok(()),
        _ => Err(Failure::refused(attempt)
            .because("it has the name of the database to migrate, and can't be told apart from it: a server restored from a snapshot has the same system identifier too")
            .help("restore the backup into a database of another name, and name that")),
    }
}

/// Whether both are databases of one running server. Its identifier does not tell: a server restored from a snapshot has the same.
async fn same_server(attempt: &str, scratch: &Session, own: &Session) -> Result<bool, Failure> {
    let began = async |session: &Session| {
        let answer = session.client.simple_query("SELECT pg_postmaster_start_time()").await;
        answer
            .map(|answer| rows(&answer).collect::<Vec<_>>())
            .map_err(|error| session.failure(attempt, &error).untouched(true))
    };
    Ok(began(scratch).await? == began(own).await?)
}

/// What is kept there must not be kept elsewhere: roles, databases and settings are the whole server's, and a subscription's slot is
/// another server's.
fn stays_within(
    attempt: &str,
    plan: &MigrationPlan,
    directory: &Directory,
    same_server: bool,
) -> Result<(), Failure> {
    let files = plan.files.iter().filter_map(|item| {
        let file = directory.files.iter().find(|file| file.version == item.version)?;
        Some(match plan.way {
            Way::Up => file,
            Way::Down => file.down.as_deref().unwrap_or(file),
        })
    });
    let statements = files.flat_map(|file| {
        file.script.iter().flat_map(|script| &script.statements).map(move |one| (file, one))
    });
    let beyond: Vec<String> = statements
        .filter(|(_, one)| one.beyond.is_some_and(|what| same_server || what == PUBLISHER))
        .map(|(file, one)| {
            format!("{}:{}: {} changes {}", file.name, one.line, one.head(), one.beyond.unwrap_or_default())
        })
        .collect();
    if beyond.is_empty() {
        return Ok(());
    }
    let refused = Failure::refused(attempt)
        .because("a file is marked, so that what is run is kept, and some of it would reach beyond the scratch database")
        .help("restore the backup on another server and name a database there, or leave --dry-run-into out")
        .untouched(true);
    Err(beyond.into_iter().fold(refused, Failure::state))
}

fn lines(seen: &SeenLedger) -> BTreeSet<(&str, &str, bool)> {
    match seen {
        SeenLedger::Rows { rows, .. } => {
            rows.iter().map(|row: &Row| (row.version.as_str(), row.checksum.as_str(), row.success)).collect()
        }
        SeenLedger::Absent { .. } | SeenLedger::Other(_) => BTreeSet::new(),
    }
}

struct Dry<'a> {
    cx: &'a Cx,
    session: Session,
    ledger: Ledger,
    name: String,
    /// Each file is committed, since one of them can't be rolled back.
    keeps: bool,
    timed: Vec<Timed>,
    /// The tables that were there before.
    before: BTreeSet<String>,
    /// The locks that the transaction has, as table and mode.
    held: Vec<(String, String)>,
}

/// The table locks of a server process, weakest first. `ACCESS SHARE`, which every query takes, is left out.
fn locks(pid: &str) -> String {
    format!(
        "SELECT c.oid, c.oid::regclass::text, l.mode FROM pg_locks l JOIN pg_class c ON c.oid = l.relation \
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE l.pid = {pid} AND l.locktype = 'relation' AND l.granted \
         AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND c.relkind IN ('r', 'p', 'm', 'f') \
         AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND l.mode <> 'AccessShareLock' \
         ORDER BY array_position(ARRAY['RowShareLock', 'RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareLock', \
         'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'], l.mode)"
    )
}

impl Dry<'_> {
    async fn files(
        &mut self,
        attempt: &str,
        plan: &MigrationPlan,
        directory: &Directory,
        seen: &SeenLedger,
    ) -> Result<(), Failure> {
        let all = self.ask(attempt, "SELECT oid FROM pg_class").await?;
        self.before = all.into_iter().flatten().collect();
        if self.keeps
            && let SeenLedger::Absent { schema } = seen
        {
            self.sql(attempt, &self.ledger.create(!schema)).await?;
        } else if self.keeps && plan.widens {
            self.sql(attempt, &self.ledger.widen()).await?;
        }
        if !self.keeps {
            self.sql(attempt, "BEGIN").await?;
        }
        for item in &plan.files {
            let Some(file) = directory.files.iter().find(|file| file.version == item.version) else {
                continue;
            };
            let file = match plan.way {
                Way::Up => file,
                Way::Down => file.down.as_deref().unwrap_or(file),
            };
            let reset = "RESET SESSION AUTHORIZATION; RESET ALL";
            self.sql(attempt, reset).await?;
            let started = Instant::now();
            if item.alone {
                self.alone(file).await?;
            } else {
                self.whole(file).await?;
            }
            if self.keeps {
                let line = Line {
                    version: &item.version,
                    name: &item.name,
                    checksum: &item.checksum,
                    down_checksum: item.down_checksum.as_deref(),
                    duration: started.elapsed(),
                    run: "dry run",
                    baseline: false,
                };
                let written = match plan.way {
                    Way::Up => self.ledger.write(&self.session, &line).await,
                    Way::Down => self.session.client.batch_execute(&self.ledger.remove(&item.version)).await,
                };
                written.map_err(|error| self.session.failure(attempt, &error))?;
            }
        }
        Ok(())
    }

    async fn whole(&mut self, file: &File) -> Result<(), Failure> {
        let script = file.script.clone().unwrap_or_default();
        let first = self.timed.len();
        let started = Instant::now();
        if self.keeps {
            self.sql("begin", "BEGIN").await?;
        }
        for statement in &script.statements {
            let began = Instant::now();
            self.statement(file, statement).await?;
            let ms = began.elapsed().as_millis();
            let now = self.locks().await?;
            // The weakest first, so that the strongest of a table is what remains.
            let fresh = now.iter().filter(|lock| !self.held.contains(lock)).cloned().collect();
            self.held = now;
            self.push(file, statement, ms, fresh, began - started);
        }
        if self.keeps {
            self.sql("commit", "COMMIT").await?;
            self.held.clear();
        }
        // Until now `held_ms` says when the statement began: its locks are kept until the file's end.
        let whole = started.elapsed().as_millis();
        for timed in self.timed.iter_mut().skip(first) {
            timed.held_ms = whole.saturating_sub(timed.held_ms);
        }
        Ok(())
    }

    async fn alone(&mut self, file: &File) -> Result<(), Failure> {
        let script = file.script.clone().unwrap_or_default();
        let second = connect(
            self.cx,
            &self.session.target,
            Limits { lock: Duration::ZERO, statement: Duration::ZERO },
        );
        // It sees the locks while the statement holds them.
        let second = second.await.ok();
        for statement in &script.statements {
            let began = Instant::now();
            let seen = Arc::new(Mutex::new(BTreeMap::new()));
            let query = locks(&self.session.identity.backend_pid.to_string());
            let sampling = async {
                loop {
                    if let Some(second) = &second
                        && let Ok(answer) = second.client.simple_query(&query).await
                    {
                        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                        for row in rows(&answer) {
                            if let [oid, table, mode] = row.as_slice()
                                && self.before.contains(oid)
                            {
                                seen.insert(table.clone(), mode.clone());
                            }
                        }
                    }
                    self.cx.pause(Duration::from_millis(20)).await;
                }
            };
            tokio::select! {
                biased;
                ran = self.statement(file, statement) => ran?,
                () = sampling => {}
            }
            let ms = began.elapsed().as_millis();
            let locks = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
            self.push(file, statement, ms, locks, Duration::ZERO);
            if let Some(timed) = self.timed.last_mut() {
                timed.held_ms = ms;
            }
        }
        Ok(())
    }

    fn push(
        &mut self,
        file: &File,
        statement: &Statement,
        ms: u128,
        locks: BTreeMap<String, String>,
        began: Duration,
    ) {
        self.timed.push(Timed {
            file: file.name.clone(),
            line: statement.line,
            statement: statement.head(),
            ms,
            held_ms: began.as_millis(),
            locks,
        });
    }

    /// The locks on tables that were there before, the weakest first.
    async fn locks(&self) -> Result<Vec<(String, String)>, Failure> {
        let found = self.ask("look at the locks", &locks("pg_backend_pid()")).await?;
        Ok(found
            .into_iter()
            .filter_map(|row| match <[String; 3]>::try_from(row) {
                Ok([oid, table, mode]) => self.before.contains(&oid).then_some((table, mode)),
                Err(_) => None,
            })
            .collect())
    }

    async fn statement(&self, file: &File, statement: &Statement) -> Result<(), Failure> {
        let ran = self.session.client.batch_execute(&statement.text);
        let ended = tokio::select! {
            biased;
            ended = ran => ended,
            () = self.cx.cancelled() => {
                self.session.canceller().cancel().await;
                return Err(self.cx.cancellation());
            }
        };
        ended.map_err(|error| {
            let failure = self.session.failure(
                format!(
                    "{} in the scratch database {}: line {}, {}",
                    file.name,
                    self.name,
                    statement.line,
                    statement.head()
                ),
                &error,
            );
            let failure = match &statement.kind {
                Kind::Procedure => failure.help(
                    "a procedure that commits needs a file of its own that is not run in one transaction",
                ),
                _ => failure
                    .help(format!("correct {}: in the database to migrate it would fail so too", file.name)),
            };
            failure.untouched(true)
        })
    }

    async fn sql(&self, attempt: &str, sql: &str) -> Result<(), Failure> {
        self.session.client.batch_execute(sql).await.map_err(|error| self.session.failure(attempt, &error))
    }

    async fn ask(&self, attempt: &str, query: &str) -> Result<Vec<Vec<String>>, Failure> {
        let answer = self.session.client.simple_query(query).await;
        answer
            .map(|answer| rows(&answer).collect())
            .map_err(|error| self.session.failure(attempt, &error).untouched(true))
    }

    fn report(&self) {
        let mut text = String::new();
        for timed in &self.timed {
            text.push_str(&format!("{}:{}  {} ms  {}\n", timed.file, timed.line, timed.ms, timed.statement));
            for (table, mode) in &timed.locks {
                text.push_str(&format!("    {} on {table} for {} ms\n", words(mode), timed.held_ms));
            }
        }
        if !self.keeps && !self.timed.is_empty() {
            text.push_str(
                "all in one transaction, so a lock that an earlier file has taken is not told again\n",
            );
        }
        let document = json!({ "database": self.name, "kept": self.keeps, "statements": self.timed });
        self.cx.report().result(text, "scratch", document);
    }
}

/// `AccessExclusiveLock` is what the documentation calls ACCESS EXCLUSIVE.
fn words(mode: &str) -> String {
    let mut out = String::new();
    for c in mode.trim_end_matches("Lock").chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push(' ');
        }
        out.push(c.to_ascii_uppercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_called_as_in_the_documentation() {
        // https://www.postgresql.org/docs/current/explicit-locking.html#LOCKING-TABLES
        for (mode, name) in [
            ("AccessExclusiveLock", "ACCESS EXCLUSIVE"),
            ("ShareUpdateExclusiveLock", "SHARE UPDATE EXCLUSIVE"),
            ("ShareLock", "SHARE"),
        ] {
            assert_eq!(words(mode), name);
        }
    }
}
