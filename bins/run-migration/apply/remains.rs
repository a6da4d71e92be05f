//! What became of a statement whose answer was lost, and what a broken-off one has left: looked up, never guessed.

use kit::Failure;

use super::Work;
use super::alone::{At, Running};
use crate::ledger::{Stage, rows};
use crate::sql::{Catalogue, Kind, Probe, head, parse};

/// What is to be done about a statement that an earlier try has sent.
pub(super) enum Settled {
    /// It took effect.
    Done,
    /// It did not, and nothing of it is left.
    Send,
    /// Another statement brings it to its end.
    Instead(String),
}

/// What is there.
enum Found {
    /// The effect.
    Effect,
    /// Nothing of it.
    Nothing,
    /// What a broken-off one leaves: the names of invalid indexes.
    Invalid(Vec<String>),
    /// It is half done, and this statement does the rest.
    Half(String),
    /// It can't be looked up.
    Unknown,
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

impl Work<'_> {
    async fn look(&self, attempt: &str, probe: &Probe) -> Result<Found, Failure> {
        let attempt = format!("{attempt}: look what is there");
        let ask = async |query: String| {
            let answer = self.session.client.simple_query(&query).await;
            answer
                .map(|answer| rows(&answer).collect::<Vec<_>>())
                .map_err(|error| self.failed(&attempt, &error))
        };
        let is = |yes: bool| if yes { Found::Effect } else { Found::Nothing };
        Ok(match probe {
            Probe::Again => Found::Nothing,
            Probe::Unknown | Probe::Unnamed => Found::Unknown,
            Probe::Index { name, table } => {
                let found = ask(format!(
                    "SELECT i.indisvalid, format('%I.%I', n.nspname, c.relname) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
                     JOIN pg_namespace n ON n.oid = c.relnamespace WHERE i.indrelid = to_regclass({}) AND c.relname = (parse_ident({}))[1]::name",
                    literal(table),
                    literal(name)
                ))
                .await?;
                match found.first().map(Vec::as_slice) {
                    Some([valid, _]) if valid == "t" => Found::Effect,
                    Some([_, name]) => Found::Invalid(vec![name.clone()]),
                    _ => Found::Nothing,
                }
            }
            Probe::NoIndex { name } => {
                is(ask(format!("SELECT 1 WHERE to_regclass({}) IS NOT NULL", literal(name)))
                    .await?
                    .is_empty())
            }
            Probe::Rebuilt { index, name } => {
                let of = match name {
                    None => "true".to_owned(),
                    Some(name) if *index => {
                        format!(
                            "i.indrelid = (SELECT indrelid FROM pg_index WHERE indexrelid = to_regclass({}))",
                            literal(name)
                        )
                    }
                    Some(name) => format!("i.indrelid = to_regclass({})", literal(name)),
                };
                // https://www.postgresql.org/docs/current/sql-reindex.html#SQL-REINDEX-CONCURRENTLY names these endings.
                let found = ask(format!(
                    "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
                     JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT i.indisvalid AND c.relname ~ '_cc(new|old)[0-9]*$' \
                     AND n.nspname <> 'pg_toast' AND {of}"
                ))
                .await?;
                match found.into_iter().flatten().collect::<Vec<_>>() {
                    none if none.is_empty() => Found::Nothing,
                    names => Found::Invalid(names),
                }
            }
            Probe::Detached { parent, partition } => {
                let found = ask(format!(
                    "SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = to_regclass({}) AND inhparent = to_regclass({})",
                    literal(partition),
                    literal(parent)
                ))
                .await?;
                match found.first().and_then(|row| row.first()).map(String::as_str) {
                    None => Found::Effect,
                    Some("t") => {
                        Found::Half(format!("ALTER TABLE {parent} DETACH PARTITION {partition} FINALIZE"))
                    }
                    Some(_) => Found::Nothing,
                }
            }
            Probe::Object { catalogue, name, there } => {
                let (table, column) = match catalogue {
                    Catalogue::Database => ("pg_database", "datname"),
                    Catalogue::Tablespace => ("pg_tablespace", "spcname"),
                    Catalogue::Subscription => ("pg_subscription", "subname"),
                };
                let found = ask(format!(
                    "SELECT 1 FROM {table} WHERE {column} = (parse_ident({}))[1]::name",
                    literal(name)
                ))
                .await?;
                is(found.is_empty() != *there)
            }
        })
    }

    /// Before a statement is sent for the first time: what it would leave if it were broken off must not be there already,
    /// or nobody could tell later whose it is.
    pub(super) async fn before(&self, attempt: &str, probe: &Probe) -> Result<(), Failure> {
        let Found::Invalid(names) = self.look(attempt, probe).await? else { return Ok(()) };
        Err(Failure::refused(attempt)
            .because(format!(
                "there is an invalid index already, left by a build that was broken off and not by this file: {}",
                names.join(", ")
            ))
            .help(format!("when nobody is building it: {}", drops(&names).join("; "))))
    }

    /// After a statement has ended well: its effect must be seen. `IF NOT EXISTS` ends well where it did nothing.
    pub(super) async fn after(&self, attempt: &str, probe: &Probe) -> Result<(), Failure> {
        let what = match (probe, self.look(attempt, probe).await?) {
            (Probe::Index { name, table }, Found::Invalid(_)) => {
                format!("the index {name} on {table} is not valid")
            }
            (Probe::Index { name, table }, Found::Nothing) => format!("{table} has no index {name}"),
            (Probe::NoIndex { name }, Found::Nothing) => format!("the index {name} is still there"),
            (Probe::Detached { partition, .. }, Found::Nothing | Found::Half(_)) => {
                format!("{partition} still is a partition")
            }
            (Probe::Rebuilt { .. }, Found::Invalid(names)) => format!("left invalid: {}", names.join(", ")),
            _ => return Ok(()),
        };
        Err(Failure::unverified(attempt)
            .because(format!("the server said that it has ended well, and {what}"))
            .help("correct the statement (another index may have that name) and run again"))
    }

    /// What became of the statement that an earlier try has sent.
    pub(super) async fn settle(&self, running: Running<'_>, n: usize, at: &At) -> Result<Settled, Failure> {
        let attempt = format!("continue {}: statement {}, {}", running.item.name, n + 1, head(&at.statement));
        let sent = parse(&at.statement).statements.into_iter().next();
        let probe = match sent.map(|statement| statement.kind) {
            Some(Kind::Alone { probe, .. }) => probe,
            _ => Probe::Unknown,
        };
        let same = running.script.statements.get(n).is_some_and(|now| now.text == at.statement);
        match (self.look(&attempt, &probe).await?, at.stage) {
            (Found::Effect, Stage::Sent) if same => Ok(Settled::Done),
            (Found::Effect, Stage::Sent) => Err(Failure::refused(attempt)
                .because("it has taken effect, and the file has another statement in its place now")
                .help("restore the statement as it was sent, and write the change after it")),
            (Found::Half(sql), _) if same => {
                self.cx.report().say(&format!("{attempt}: it is half done; {sql} does the rest"));
                Ok(Settled::Instead(sql))
            }
            (Found::Half(sql), _) => Err(Failure::refused(attempt)
                .because("it is half done, and the file has another statement in its place now")
                .help(format!("restore the statement, or end it by hand: {sql}"))),
            (Found::Invalid(names), _) => {
                self.cx.report().say(&format!(
                    "{attempt}: it was broken off, and what it has left is dropped first: {}",
                    names.join(", ")
                ));
                self.patient_lock(&attempt).await?;
                for sql in drops(&names) {
                    self.run_sql(&attempt, &sql).await?;
                }
                self.usual_lock(&attempt).await?;
                Ok(Settled::Send)
            }
            (Found::Unknown, Stage::Sent) => Err(self.ask_somebody(attempt, running, n)),
            (Found::Effect | Found::Nothing | Found::Unknown, _) => Ok(Settled::Send),
        }
    }

    fn ask_somebody(&self, attempt: String, running: Running<'_>, n: usize) -> Failure {
        let done = self.record(running, n + 1, Stage::Ready, "");
        let failed = self.record(running, n, Stage::Failed, "");
        Failure::refused(attempt)
            .because("it was sent, its answer was lost, and whether it took effect can't be looked up by this step")
            .help("look whether it took effect, say so in the database, and run again")
            .help(format!("when it did: {done}"))
            .help(format!("when it did not, or may be sent again: {failed}"))
    }
}

fn drops(names: &[String]) -> Vec<String> {
    names.iter().map(|name| format!("DROP INDEX CONCURRENTLY IF EXISTS {name}")).collect()
}
