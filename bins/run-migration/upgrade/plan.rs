//! `--action reindex`: which indexes are rebuilt, how, and what is recorded afterwards: pure.

use std::collections::BTreeSet;

use kit::{Action, Failure, Note, Plan};
use serde::Serialize;

use super::collation::{Collation, DEFAULT, State};
use super::observe::{Index, Seen, Server};
use super::{Exclusive, What};
use crate::lint::SMALL;

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) what: What,
    pub(super) exclusive: Exclusive,
    pub(super) amcheck: bool,
}

/// An index that a run has rebuilt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Done {
    /// Of the server, so that what `pg_upgrade` has carried over to another one is not taken for rebuilt there.
    pub(super) system: String,
    pub(super) database: u32,
    /// As SQL names it: rebuilding CONCURRENTLY gives it another oid.
    pub(super) index: String,
    pub(super) file: u32,
    pub(super) server_version: u32,
    /// [`orders`] when it was rebuilt.
    pub(super) orders: String,
}

/// The rebuilding of one server's indexes.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Reindex {
    pub(super) system: String,
    pub(super) server_version: u32,
    pub(super) databases: Vec<Part>,
    notes: Vec<Note>,
    unchanged: String,
}

/// What is done in one database.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) oid: u32,
    pub(super) items: Vec<Item>,
    /// What broken-off runs have left, which is dropped first.
    pub(super) leftovers: Vec<String>,
    pub(super) refreshes: Vec<Refresh>,
    /// Those that an earlier run has rebuilt.
    pub(super) done: usize,
}

/// An index to rebuild.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Item {
    pub(super) name: String,
    pub(super) table: String,
    pub(super) file: u32,
    pub(super) bytes: u64,
    /// Writers wait while it is built.
    pub(super) exclusive: bool,
    pub(super) btree: bool,
    pub(super) why: String,
    pub(super) orders: String,
}

/// A recorded version that is brought up to date.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Refresh {
    pub(super) oid: u32,
    pub(super) name: String,
    pub(super) recorded: String,
    pub(super) actual: String,
    pub(super) sql: String,
}

/// The versions of everything that orders the index, as they are now. Where a library tells none, the start of the server
/// stands for it: libraries are loaded then.
pub(super) fn orders(index: &Index, seen: &Seen, server: &Server) -> String {
    let of = index.collations.iter().filter_map(|oid| seen.collations.get(oid));
    let of = of.filter(|collation| collation.state() != State::Fixed).map(|collation| {
        let version = collation.actual.clone().unwrap_or_else(|| format!("as of {}", server.started));
        format!("{}={version}", collation.name)
    });
    of.collect::<Vec<_>>().join(" ")
}

/// The plan, or everything at once that forbids it.
pub(super) fn plan(
    request: Request,
    server: &Server,
    databases: &[Seen],
    done: &[Done],
    notes: Vec<Note>,
) -> Result<Reindex, Failure> {
    let attempt = "rebuild indexes";
    if server.in_recovery {
        return Err(Failure::refused(attempt)
            .because("the server is a standby, which takes no writes")
            .help("connect to the primary"));
    }
    let mut plan = Reindex {
        system: server.system.clone().unwrap_or_default(),
        server_version: server.version,
        databases: Vec::new(),
        notes,
        unchanged: String::new(),
    };
    let mut no = Vec::new();
    let mut common = BTreeSet::new();
    for seen in databases {
        let part = part(request, server, seen, done, &mut common, &mut plan.notes, &mut no);
        plan.databases.push(part);
    }
    refuse(attempt, no)?;
    let items: Vec<&Item> = plan.databases.iter().flat_map(|part| &part.items).collect();
    if let Some(largest) = items.iter().map(|item| item.bytes).max() {
        plan.notes.push(Note::Warning(format!(
            "free disk is not seen from here: each index needs its own size beside the old one while it is built, and may need as much again to sort; \
             the largest has {}, and the log of changes (WAL) grows by all {}",
            kit::size(largest),
            kit::size(items.iter().map(|item| item.bytes).sum())
        )));
    }
    plan.unchanged = unchanged(request, databases, &plan);
    Ok(plan)
}

/// A reason not to begin, with the next move.
struct No {
    why: String,
    help: String,
}

fn refuse(attempt: &str, no: Vec<No>) -> Result<(), Failure> {
    if no.is_empty() {
        return Ok(());
    }
    let all: Vec<&str> = no.iter().map(|no| no.why.as_str()).collect();
    let refusal = Failure::refused(attempt).because(all.join("; "));
    let helps: BTreeSet<&String> = no.iter().map(|no| &no.help).collect();
    Err(helps.into_iter().fold(refusal, |refusal, help| refusal.help(help.clone())))
}

fn part(
    request: Request,
    server: &Server,
    seen: &Seen,
    done: &[Done],
    common: &mut BTreeSet<u32>,
    notes: &mut Vec<Note>,
    no: &mut Vec<No>,
) -> Part {
    let mut part = Part {
        name: seen.name.clone(),
        oid: seen.oid,
        items: Vec::new(),
        leftovers: Vec::new(),
        refreshes: Vec::new(),
        done: 0,
    };
    for index in &seen.indexes {
        if index.leftover {
            if index.permitted {
                part.leftovers.push(index.name.clone());
            }
            continue;
        }
        if !index.live {
            notes.push(Note::Warning(format!(
                "{}: {} is half dropped; DROP INDEX {} ends that",
                seen.name, index.name, index.name
            )));
            continue;
        }
        // A system table of all databases is there once.
        if index.shared && !common.insert(index.oid) {
            continue;
        }
        let Some(why) = why(request.what, index, seen) else { continue };
        let orders = orders(index, seen, server);
        let is_done = index.valid
            && done.iter().any(|done| {
                Some(&done.system) == server.system.as_ref()
                    && (done.database, done.file) == (seen.oid, index.file)
                    && done.index == index.name
                    && done.orders == orders
                    && (request.what != What::All || done.server_version == server.version)
            });
        if is_done {
            part.done += 1;
            continue;
        }
        let never_concurrently = index.system || index.exclusion;
        let exclusive = never_concurrently || request.exclusive == Exclusive::All;
        let named = format!("{}: {}", seen.name, index.name);
        if !index.permitted {
            no.push(No {
                why: format!("{} may not rebuild {named}, of which it is not the owner", server.role),
                help: "connect as the owner or a superuser (--user); from 17 on GRANT MAINTAIN does too"
                    .to_owned(),
            });
        }
        if !exclusive && server.version < 120_000 {
            no.push(No {
                why: format!("{named}: servers before 12 can't rebuild CONCURRENTLY"),
                help: "--exclusive all, while nobody writes".to_owned(),
            });
        }
        if never_concurrently && request.exclusive == Exclusive::Small && index.table_bytes > SMALL {
            let what = if index.system { "of a system table" } else { "of an exclusion constraint" };
            no.push(No {
                why: format!(
                    "{named} is {what} and can't be rebuilt CONCURRENTLY: writers to {} ({}) would wait meanwhile",
                    index.table,
                    kit::size(index.table_bytes)
                ),
                help: "--exclusive needed lets that be, while nobody writes".to_owned(),
            });
        }
        if request.amcheck && index.method == "btree" && seen.amcheck.is_none() && !seen.amcheck_installable {
            no.push(No {
                why: format!("{}: --amcheck, and {} can't make the extension amcheck there", seen.name, server.role),
                help: "as a superuser: CREATE EXTENSION amcheck, and GRANT EXECUTE ON FUNCTION bt_index_check(regclass, boolean)"
                    .to_owned(),
            });
        }
        part.items.push(Item {
            name: index.name.clone(),
            table: index.table.clone(),
            file: index.file,
            bytes: index.bytes,
            exclusive,
            btree: index.method == "btree",
            why,
            orders,
        });
    }
    refreshes(server, seen, &mut part, notes, no);
    notes.extend(seen.invalid_partitioned.iter().map(|name| {
        Note::Warning(format!(
            "{}: {name} of a partitioned table is invalid; it becomes valid when each partition has a valid index attached",
            seen.name
        ))
    }));
    part
}

/// Why an index is rebuilt, if it is.
fn why(what: What, index: &Index, seen: &Seen) -> Option<String> {
    let of = |state: State| {
        let of = index.collations.iter().filter_map(|oid| seen.collations.get(oid));
        let of: Vec<String> = of.filter(|one| one.state() == state).map(Collation::text).collect();
        (!of.is_empty()).then(|| of.join(", "))
    };
    if let Some(collations) = of(State::Changed) {
        return Some(format!("its order is that of another version: {collations}"));
    }
    if !index.valid {
        return Some("it is invalid".to_owned());
    }
    match what {
        What::Changed => None,
        What::Text => of(State::Unknown)
            .or_else(|| of(State::Same))
            .map(|collations| format!("a library orders it: {collations}")),
        What::All => Some("all are asked for".to_owned()),
    }
}

/// What is recorded once every index in the old order is rebuilt. Ranges of partitions can't be rebuilt here, so the
/// server goes on warning of them.
fn refreshes(server: &Server, seen: &Seen, part: &mut Part, notes: &mut Vec<Note>, no: &mut Vec<No>) {
    for collation in seen.collations.values().filter(|collation| collation.state() == State::Changed) {
        let sql = if collation.oid == DEFAULT {
            format!("ALTER DATABASE {} REFRESH COLLATION VERSION", quoted(&seen.name))
        } else {
            format!("ALTER COLLATION {} REFRESH VERSION", collation.name)
        };
        let ranges: Vec<&str> = seen
            .ranges
            .iter()
            .filter(|ranges| ranges.collations.contains(&collation.oid))
            .map(|ranges| ranges.table.as_str())
            .collect();
        if !ranges.is_empty() {
            notes.push(Note::Warning(format!(
                "{}: the version of the collation {} is left as it is recorded, since {} have ranges of text: rows may lie in the wrong partition, \
                 which no REINDEX mends; move them (or dump and load the tables), and then: {sql}",
                seen.name,
                collation.name,
                ranges.join(", ")
            )));
            continue;
        }
        if !collation.owned {
            let what = if collation.oid == DEFAULT { "the database" } else { "the collation" };
            no.push(No {
                why: format!(
                    "{}: {} may not record the version of the collation {}, since it does not own {what}",
                    seen.name, server.role, collation.name
                ),
                help: "connect as the owner or a superuser (--user)".to_owned(),
            });
        }
        part.refreshes.push(Refresh {
            oid: collation.oid,
            name: collation.name.clone(),
            recorded: collation.recorded.clone().unwrap_or_default(),
            actual: collation.actual.clone().unwrap_or_default(),
            sql,
        });
    }
}

/// A name as SQL has it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn unchanged(request: Request, databases: &[Seen], plan: &Reindex) -> String {
    let done: usize = plan.databases.iter().map(|part| part.done).sum();
    let count = databases.len();
    let mut text = match request.what {
        What::Changed => {
            format!("in {count} databases no index is invalid or in the order of another version")
        }
        What::Text => format!("in {count} databases no index is left that a library orders"),
        What::All => format!("in {count} databases every index is rebuilt"),
    };
    if done > 0 {
        text = format!("{text}; {done} were rebuilt by an earlier run");
    }
    text
}

impl Reindex {
    pub(super) fn is_empty(&self) -> bool {
        self.databases
            .iter()
            .all(|part| part.items.is_empty() && part.leftovers.is_empty() && part.refreshes.is_empty())
    }

    pub(super) fn count(&self) -> usize {
        self.databases.iter().map(|part| part.items.len()).sum()
    }

    pub(super) fn refreshed(&self) -> usize {
        self.databases.iter().map(|part| part.refreshes.len()).sum()
    }
}

impl Part {
    /// The action of rebuilding.
    pub(super) fn rebuild_id(&self) -> String {
        format!("rebuild-{}", self.name)
    }

    /// The action of recording versions.
    pub(super) fn refresh_id(&self) -> String {
        format!("refresh-{}", self.name)
    }

    fn rebuild(&self) -> Action {
        let bytes = self.items.iter().map(|item| item.bytes).sum();
        let exclusive = self.items.iter().filter(|item| item.exclusive).count();
        let manner = match exclusive {
            0 => "CONCURRENTLY".to_owned(),
            n if n == self.items.len() => "while writers wait".to_owned(),
            n => format!("CONCURRENTLY, but for {n} while writers wait"),
        };
        let mut does = match self.items.len() {
            0 => format!("put away what broken-off builds have left in {}", self.name),
            n => format!("rebuild {n} indexes in {} ({}), {manner}", self.name, kit::size(bytes)),
        };
        if self.done > 0 {
            does = format!("{does}; {} were rebuilt by an earlier run", self.done);
        }
        let mut detail: Vec<String> = self
            .leftovers
            .iter()
            .map(|name| format!("drop {name}, the rest of a broken-off build"))
            .collect();
        detail.extend(self.items.iter().map(|item| {
            let waits = if item.exclusive { ", writers wait" } else { "" };
            format!("{} on {} ({}{waits}): {}", item.name, item.table, kit::size(item.bytes), item.why)
        }));
        Action::irreversible(
            self.rebuild_id(),
            does,
            "an index holds nothing that its table does not: there is nothing to take back",
        )
        .detail(detail.join("\n"))
    }

    fn refresh(&self) -> Action {
        let detail: Vec<String> = self
            .refreshes
            .iter()
            .map(|one| format!("{} (from {} to {})", one.sql, one.recorded, one.actual))
            .collect();
        let does =
            format!("record in {} that its indexes are in the order of the library's version", self.name);
        Action::irreversible(self.refresh_id(), does, "the version that was recorded is no more true")
            .detail(detail.join("\n"))
    }
}

impl Plan for Reindex {
    fn actions(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        for part in &self.databases {
            if !part.items.is_empty() || !part.leftovers.is_empty() {
                actions.push(part.rebuild());
            }
            if !part.refreshes.is_empty() {
                actions.push(part.refresh());
            }
        }
        actions
    }

    fn notes(&self) -> Vec<Note> {
        self.notes.clone()
    }

    fn unchanged(&self) -> String {
        self.unchanged.clone()
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
