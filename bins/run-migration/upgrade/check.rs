//! `--action upgrade-check`: what was found, weighed: pure.

use std::collections::BTreeMap;

use kit::{Action, Failure, Note, Plan};
use serde::Serialize;

use super::collation::State;
use super::observe::{Found, Seen, Server};
use super::rules::{NEWEST, Rule, Weight};

/// So many names are shown of each finding; all are in the report as JSON and in the receipt.
const SHOWN: usize = 8;

/// One finding over all databases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) rule: String,
    pub(super) says: String,
    pub(super) next: String,
    pub(super) source: String,
    pub(super) names: Vec<String>,
}

impl Finding {
    fn text(&self) -> String {
        let mut names = self.names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
        if self.names.len() > SHOWN {
            names = format!("{names} and {} more", self.names.len() - SHOWN);
        }
        format!("{}: {names} ({})", self.says, self.names.len())
    }
}

/// What the check says.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Check {
    from: String,
    to: u32,
    databases: Vec<String>,
    /// What `pg_upgrade` refuses.
    pub(super) stumbles: Vec<Finding>,
    /// What has to be rebuilt, in any case or when a library changes.
    pub(super) rebuild: Vec<Finding>,
    know: Vec<Finding>,
    pub(super) text_indexes: usize,
    pub(super) invalid: usize,
    pub(super) unknown: usize,
    notes: Vec<Note>,
}

const TEXT: &str = "https://wiki.postgresql.org/wiki/Locale_data_changes";
const VERSIONS: &str = "https://www.postgresql.org/docs/current/sql-altercollation.html";

/// Weighs what was found.
pub(super) fn check(
    server: &Server,
    to: u32,
    rules: &[&'static Rule],
    of_server: &[Found],
    databases: &[Seen],
    mut notes: Vec<Note>,
) -> Result<Check, Failure> {
    let from = server.version / 10_000;
    let attempt = format!("check the upgrade from {} to {to}", server.version_text);
    if to < from {
        return Err(Failure::refused(attempt)
            .because("pg_upgrade can't go back: the server is newer")
            .help(format!("--to-major is the version to upgrade to, {from} or later")));
    }
    if to > NEWEST || from > NEWEST {
        notes.push(Note::Warning(format!(
            "{} is not known to this step, which knows versions up to {NEWEST}: read its release notes too (https://www.postgresql.org/docs/release/)",
            to.max(from)
        )));
    }
    let (mut stumbles, mut rebuild, mut know) = (Vec::new(), Vec::new(), Vec::new());
    for rule in rules {
        let names = names(rule.id, of_server, databases);
        if names.is_empty() {
            continue;
        }
        let finding = Finding {
            rule: rule.id.to_owned(),
            says: rule.says.to_owned(),
            next: rule.next.to_owned(),
            source: rule.source.to_owned(),
            names,
        };
        match rule.weight {
            Weight::Stumbles => stumbles.push(finding),
            Weight::Rebuild => rebuild.push(finding),
            Weight::Know => know.push(finding),
        }
    }
    let counts = orders(databases, &mut rebuild);
    let invalid = invalid(databases, &mut rebuild);
    ranges(databases, &mut know);
    notes.push(Note::Info(
        "pg_upgrade --check, on the machine with both versions, also sees what SQL does not: libraries, tablespace folders, how the servers were built"
            .to_owned(),
    ));
    if to > from {
        notes.push(Note::Info(
            "afterwards: vacuumdb --all --analyze-in-stages, and --action reindex; what the new server has recorded of its collations may be the \
             new library's and not that of the indexes, so --indexes text where the operating system changes"
                .to_owned(),
        ));
    }
    Ok(Check {
        from: server.version_text.clone(),
        to,
        databases: databases.iter().map(|seen| seen.name.clone()).collect(),
        stumbles,
        rebuild,
        know,
        text_indexes: counts.0,
        invalid,
        unknown: counts.1,
        notes,
    })
}

/// Where a rule has found something, with the database before the name.
fn names(rule: &str, of_server: &[Found], databases: &[Seen]) -> Vec<String> {
    let of = |found: &[Found]| {
        found
            .iter()
            .filter(|found| found.rule == rule)
            .flat_map(|found| found.names.clone())
            .collect::<Vec<_>>()
    };
    let mut all = of(of_server);
    for seen in databases {
        all.extend(of(&seen.found).into_iter().map(|name| format!("{}: {name}", seen.name)));
    }
    all
}

/// The indexes whose order a library makes, by collation; their number, and of how many a change can't be seen.
fn orders(databases: &[Seen], rebuild: &mut Vec<Finding>) -> (usize, usize) {
    let mut by_state: BTreeMap<(u8, String), Vec<String>> = BTreeMap::new();
    let (mut text, mut unknown) = (0, 0);
    for seen in databases {
        for index in &seen.indexes {
            let of = |state: State| {
                let mut of = index.collations.iter().filter_map(|oid| seen.collations.get(oid));
                of.find(|collation| collation.state() == state)
            };
            let name = || format!("{}: {} ({})", seen.name, index.name, kit::size(index.bytes));
            let (rank, collation) = match (of(State::Changed), of(State::Unknown), of(State::Same)) {
                (Some(collation), _, _) => (0, collation),
                (None, Some(collation), _) => (1, collation),
                (None, None, Some(collation)) => (2, collation),
                (None, None, None) => continue,
            };
            text += 1;
            unknown += usize::from(rank == 1);
            by_state.entry((rank, collation.text())).or_default().push(name());
        }
    }
    for ((rank, collation), names) in by_state {
        let (rule, says, next, source) = match rank {
            0 => (
                "changed-collation",
                format!("indexes in the order of another version of the collation {collation}"),
                "they may miss rows and let duplicates in already: --action reindex",
                VERSIONS,
            ),
            1 => (
                "unknown-collation",
                format!(
                    "a change of the library can't be seen, since the server keeps no version; these indexes depend on the collation {collation}"
                ),
                "--action reindex --indexes text when the operating system or its C library was or will be changed",
                TEXT,
            ),
            _ => (
                "text-indexes",
                format!("indexes that depend on the collation {collation}"),
                "to be rebuilt when the new server's library has another version: --action reindex --indexes text",
                TEXT,
            ),
        };
        rebuild.push(Finding {
            rule: rule.to_owned(),
            says,
            next: next.to_owned(),
            source: source.to_owned(),
            names,
        });
    }
    (text, unknown)
}

fn invalid(databases: &[Seen], rebuild: &mut Vec<Finding>) -> usize {
    let names: Vec<String> = databases
        .iter()
        .flat_map(|seen| {
            let plain = seen.indexes.iter().filter(|index| !index.valid).map(|index| index.name.clone());
            plain.chain(seen.invalid_partitioned.iter().cloned()).map(|name| format!("{}: {name}", seen.name))
        })
        .collect();
    let count = names.len();
    if count > 0 {
        rebuild.push(Finding {
            rule: "invalid-indexes".to_owned(),
            says:
                "invalid indexes, which no query uses: a build that was broken off, or one that is under way"
                    .to_owned(),
            next: "--action reindex, or DROP INDEX CONCURRENTLY".to_owned(),
            source:
                "https://www.postgresql.org/docs/current/sql-createindex.html#SQL-CREATEINDEX-CONCURRENTLY"
                    .to_owned(),
            names,
        });
    }
    count
}

fn ranges(databases: &[Seen], know: &mut Vec<Finding>) {
    let names: Vec<String> = databases
        .iter()
        .flat_map(|seen| {
            let library = seen.ranges.iter().filter(|ranges| {
                let mut of = ranges.collations.iter().filter_map(|oid| seen.collations.get(oid));
                of.any(|collation| collation.state() != State::Fixed)
            });
            library.map(|ranges| format!("{}: {}", seen.name, ranges.table))
        })
        .collect();
    if !names.is_empty() {
        know.push(Finding {
            rule: "text-ranges".to_owned(),
            says: "tables partitioned by ranges of text: another order puts rows into the wrong partition, which no REINDEX mends".to_owned(),
            next: "when the library changes, dump and load them".to_owned(),
            source: TEXT.to_owned(),
            names,
        });
    }
}

impl Check {
    /// How many objects stand in the way.
    pub(super) fn blocking(&self) -> usize {
        self.stumbles.iter().map(|finding| finding.names.len()).sum()
    }

    /// How many objects are to be rebuilt whatever the new server is.
    pub(super) fn to_rebuild(&self) -> usize {
        let surely = self
            .rebuild
            .iter()
            .filter(|finding| !matches!(finding.rule.as_str(), "text-indexes" | "unknown-collation"));
        surely.map(|finding| finding.names.len()).sum()
    }

    /// The refusal, with everything that stands in the way.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        if self.stumbles.is_empty() {
            return Ok(());
        }
        let all: Vec<String> = self.stumbles.iter().map(Finding::text).collect();
        let refusal =
            Failure::refused(format!("upgrade from {} to {}", self.from, self.to)).because(all.join("; "));
        Err(self.stumbles.iter().fold(refusal, |refusal, finding| {
            refusal.help(format!("{}: {} ({})", finding.rule, finding.next, finding.source))
        }))
    }
}

impl Plan for Check {
    fn actions(&self) -> Vec<Action> {
        Vec::new()
    }

    fn notes(&self) -> Vec<Note> {
        let text = |finding: &Finding| format!("{}; {} [{}]", finding.text(), finding.next, finding.source);
        let mut notes: Vec<Note> =
            self.stumbles.iter().map(|one| Note::Warning(format!("in the way: {}", text(one)))).collect();
        for finding in &self.rebuild {
            let line = format!("to rebuild: {}", text(finding));
            // What only a new library would change is no warning yet.
            notes.push(if finding.rule == "text-indexes" { Note::Info(line) } else { Note::Warning(line) });
        }
        notes.extend(self.know.iter().map(|finding| Note::Info(text(finding))));
        notes.extend(self.notes.iter().cloned());
        notes
    }

    fn unchanged(&self) -> String {
        let databases = self.databases.len();
        match self.blocking() {
            0 => format!(
                "an upgrade from {} to {} finds nothing in its way in {databases} databases; {} indexes depend on a library's order of text",
                self.from, self.to, self.text_indexes
            ),
            n => format!("the check only reads; {n} objects stand in the way"),
        }
    }
}
