//! What will be applied or taken back, or why not: pure.

use std::time::Duration;

use kit::{Action, Failure, Note};
use postgres::Rung;
use serde::Serialize;
use time::OffsetDateTime;

use crate::backup::Guard;
use crate::files::{File, Way};
use crate::ledger::{Ledger, Progress, Stage};
use crate::lint::{Allow, Finding, findings, shown};
use crate::observe::{SeenLedger, World};
use crate::order;
use crate::todo::{todo, unfinished};
use crate::version::Order;

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) way: Way,
    pub(crate) order: Option<Order>,
    pub(crate) ledger: &'a Ledger,
    pub(crate) baseline: Option<&'a str>,
    /// The last version to apply, or the version to go back to.
    pub(crate) to: Option<&'a str>,
    pub(crate) allow: &'a [Allow],
    pub(crate) without_backup: Option<&'a str>,
    pub(crate) max_age: Duration,
    pub(crate) min_rung: Rung,
    pub(crate) dry_run: bool,
    pub(crate) now: OffsetDateTime,
}

/// The migrations of one run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct MigrationPlan {
    pub(crate) database: String,
    pub(crate) ledger: String,
    pub(crate) way: Way,
    /// The ledger is made together with its first line; whether its schema is too.
    pub(crate) creates: Option<CreatesLedger>,
    /// The ledger lacks the newest column.
    pub(crate) widens: bool,
    /// The files are recorded, not run.
    pub(crate) baseline: bool,
    /// In the order in which they run.
    pub(crate) files: Vec<Item>,
    /// The pending files that this run leaves alone, as with a baseline.
    pub(crate) left: usize,
    pub(crate) from_version: Option<String>,
    pub(crate) to_version: Option<String>,
    /// What brings the data back: the only undo there is.
    pub(crate) restore: String,
    pub(crate) notes: Vec<Note>,
}

/// The ledger does not exist yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct CreatesLedger {
    pub(crate) schema: bool,
}

/// A migration to apply or to take back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Item {
    /// The action's id.
    pub(crate) id: String,
    pub(crate) version: String,
    pub(crate) name: String,
    pub(crate) checksum: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) down_checksum: Option<String>,
    pub(crate) bytes: usize,
    pub(crate) statements: usize,
    /// Statement by statement, out of one transaction.
    pub(crate) alone: bool,
    /// An earlier run has begun it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) begun: Option<Progress>,
    /// What a reader should know of it, as it is shown.
    pub(crate) findings: Vec<String>,
}

const NO_UNDO: &str = "a migration has no inverse; \"to go back\" says what to restore";

/// The one action of a baseline.
pub(crate) const BASELINE: &str = "record-baseline";

/// The plan, or the reason why nothing may be done.
pub(crate) fn plan(request: &Request<'_>, world: &World) -> Result<MigrationPlan, Failure> {
    let database = &world.identity.database;
    if world.identity.in_recovery {
        return Err(Failure::refused(format!("migrate {database}"))
            .because("the server is a standby, which takes no writes")
            .help("connect to the primary"));
    }
    let state = order::state(world, order::order(request.ledger, request.order))?;
    let (todo, left) = todo(request, world)?;
    let is_baseline = request.baseline.is_some();
    unfinished(world, request.way, &todo, is_baseline)?;
    let mut notes = notes(request, world, &todo);
    let restore = if todo.is_empty() || is_baseline {
        String::new()
    } else {
        check_statements(&todo)?;
        check_dangers(request, world, &todo)?;
        guard(request, world).judge(&mut notes)?
    };
    let last = |files: &[&File]| files.last().map(|file| file.version.clone());
    let to_version = match request.way {
        Way::Up => last(&todo).or_else(|| last(&state.applied)),
        Way::Down => last(state.applied.get(..state.applied.len() - todo.len()).unwrap_or_default()),
    };
    Ok(MigrationPlan {
        database: database.clone(),
        ledger: request.ledger.to_string(),
        way: request.way,
        creates: match world.ledger {
            SeenLedger::Absent { schema } if !todo.is_empty() => Some(CreatesLedger { schema: !schema }),
            _ => None,
        },
        widens: matches!(world.ledger, SeenLedger::Rows { narrow: true, .. }),
        baseline: is_baseline,
        from_version: last(&state.applied),
        to_version,
        files: todo.into_iter().map(|file| item(file, world)).collect(),
        left,
        restore,
        notes,
    })
}

fn item(file: &File, world: &World) -> Item {
    let script = file.script.clone().unwrap_or_default();
    let version = world.identity.server_version;
    Item {
        id: format!("apply-{}", file.version),
        version: file.version.clone(),
        name: file.name.clone(),
        checksum: file.checksum.clone(),
        down_checksum: file.down.as_ref().map(|down| down.checksum.clone()),
        bytes: file.bytes,
        statements: script.statements.len(),
        alone: script.alone,
        begun: world.unfinished.iter().find(|progress| progress.version == file.version).cloned(),
        findings: shown(&findings(&script, version), &world.tables),
    }
}

fn notes(request: &Request<'_>, world: &World, todo: &[&File]) -> Vec<Note> {
    let mut notes = Vec::new();
    if !world.directory.ignored.is_empty() {
        notes.push(Note::Info(format!(
            "ignored in {}: {}",
            world.directory.path,
            world.directory.ignored.join(", ")
        )));
    }
    // sqlx's ledger keeps no names of files.
    if let (SeenLedger::Rows { rows, .. }, Ledger::Own { .. }) = (&world.ledger, request.ledger) {
        let renamed = rows.iter().filter_map(|row| {
            let file = world.directory.files.iter().find(|file| file.version == row.version)?;
            (file.name != row.name).then(|| format!("{} was applied as {}", file.name, row.name))
        });
        notes.extend(renamed.map(Note::Info));
    }
    for file in todo {
        if let Ok(script) = &file.script
            && script.statements.is_empty()
        {
            notes.push(Note::Warning(format!("{} has no statement", file.name)));
        }
        let script = file.script.as_ref().ok().filter(|_| request.baseline.is_none());
        let found = script.map(|script| findings(script, world.identity.server_version)).unwrap_or_default();
        let dangers = found.iter().filter(|finding| finding.is_dangerous(&world.tables));
        notes.extend(dangers.map(|finding| {
            Note::Warning(format!("allowed in {}: {}", file.name, finding.text(&world.tables)))
        }));
    }
    notes
}

/// Every file must be text, and able to run as its first line says.
fn check_statements(todo: &[&File]) -> Result<(), Failure> {
    let mut problems = Vec::new();
    let mut outside = Vec::new();
    for file in todo {
        match &file.script {
            Err(why) => problems.push(format!("{} {why}", file.name)),
            Ok(script) => {
                let at = |line: usize, what: &str| format!("{}, line {line}: {what}", file.name);
                problems.extend(script.problems.iter().map(|remark| at(remark.line, &remark.what)));
                problems.extend(script.not_resumable().map(|remark| at(remark.line, &remark.what)));
                outside.extend(script.outside().map(|remark| at(remark.line, &remark.what)));
            }
        }
    }
    if !problems.is_empty() {
        return Err(Failure::refused("read the statements of the files")
            .because([problems, outside].concat().join("; "))
            .help("take these statements out of the migrations, and run by hand what is needed of them"));
    }
    if !outside.is_empty() {
        return Err(Failure::refused("run each file in one transaction")
            .because(outside.join("; "))
            .help(format!(
                "give each of these statements a file of its own whose first line is `{}`: what is in it then runs statement by statement, and is continued where it stopped",
                crate::sql::MARK
            )));
    }
    Ok(())
}

/// What loses rows or locks a large table has to be allowed by its name.
fn check_dangers(request: &Request<'_>, world: &World, todo: &[&File]) -> Result<(), Failure> {
    let mut dangers = Vec::new();
    let mut allow = Vec::new();
    for file in todo {
        let Ok(script) = &file.script else { continue };
        for finding in findings(script, world.identity.server_version) {
            if finding.is_dangerous(&world.tables) && !finding.is_allowed(&file.name, request.allow) {
                dangers.push(format!("{}, {}", file.name, finding.text(&world.tables)));
                allow.push(format!("--allow {}@{}", finding.rule, file.name));
            }
        }
    }
    allow.dedup();
    if dangers.is_empty() {
        return Ok(());
    }
    Err(Failure::refused(format!("migrate {}", world.identity.database))
        .because(dangers.join("\n"))
        .help(format!("when that is meant, say so: {}", allow.join(" ")))
        .help("what each rule is about, and a way that does without: https://squawkhq.com/docs/rules and docs/migrations.md"))
}

/// The tables whose size decides whether a statement is dangerous.
pub(crate) fn tables(world: &World, todo: &[&File]) -> Vec<String> {
    let mut names: Vec<String> = todo
        .iter()
        .filter_map(|file| file.script.as_ref().ok())
        .flat_map(|script| findings(script, world.identity.server_version))
        .filter_map(|finding: Finding| finding.table)
        .collect();
    names.sort();
    names.dedup();
    names
}

fn guard<'a>(request: &Request<'a>, world: &'a World) -> Guard<'a> {
    Guard {
        database: &world.identity.database,
        server: Some(&world.identity),
        backup: world.backup.as_ref(),
        without_backup: request.without_backup,
        max_age: request.max_age,
        min_rung: request.min_rung,
        dry_run: request.dry_run,
        now: request.now,
    }
}

impl MigrationPlan {
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// How many files are pending before anything is applied.
    pub(crate) fn pending_now(&self) -> usize {
        match self.way {
            Way::Up => self.files.len() + self.left,
            Way::Down => self.left,
        }
    }

    /// One line for the end.
    pub(crate) fn done(&self) -> String {
        let files = kit::counted(self.files.len(), "migration");
        let to = self.to_version.as_deref();
        match (self.way, to) {
            (Way::Up, to) if self.baseline => format!(
                "{} is recorded as being at {}: {files} not run, {} pending",
                self.database,
                to.unwrap_or_default(),
                self.left
            ),
            (Way::Up, to) => format!("{} is at {}: {files} applied", self.database, to.unwrap_or_default()),
            (Way::Down, Some(to)) => format!("{} is back at {to}: {files} taken back", self.database),
            (Way::Down, None) => format!("{} has no migration any more: {files} taken back", self.database),
        }
    }
}

impl Item {
    fn detail(&self) -> String {
        let mut lines = vec![format!(
            "version {}, {}, checksum {}",
            self.version,
            kit::counted(self.statements, "statement"),
            self.checksum
        )];
        if self.alone {
            lines.push("statement by statement, not in one transaction".to_owned());
        }
        if let Some(begun) = &self.begun {
            let next = match begun.stage {
                Stage::Ready => String::new(),
                Stage::Failed => "; the next one failed, and is tried again".to_owned(),
                Stage::Sent => "; what became of the next one is looked up".to_owned(),
            };
            lines
                .push(format!("begun at {}: {} statements have taken effect{next}", begun.began, begun.done));
        }
        lines.extend(self.findings.iter().cloned());
        lines.join("\n")
    }
}

impl kit::Plan for MigrationPlan {
    fn actions(&self) -> Vec<Action> {
        let made = if self.creates.is_some() {
            format!(", and make the ledger {}", self.ledger)
        } else {
            String::new()
        };
        if self.baseline {
            let names: Vec<&str> = self.files.iter().map(|item| item.name.as_str()).collect();
            let (Some(first), Some(last)) = (names.first(), names.last()) else { return Vec::new() };
            return vec![
                Action::irreversible(
                    BASELINE,
                    format!(
                        "record {} files as applied without running them, {first} to {last}{made}",
                        names.len()
                    ),
                    "delete the lines from the ledger by hand; nothing else is changed",
                )
                .detail(names.join("\n")),
            ];
        }
        let action = |(n, item): (usize, &Item)| {
            let made = if n == 0 { made.as_str() } else { "" };
            let does = match self.way {
                Way::Up => format!("apply {}{made}", item.name),
                Way::Down => format!("take version {} back with {}", item.version, item.name),
            };
            Action::irreversible(&item.id, does, NO_UNDO).detail(item.detail())
        };
        self.files.iter().enumerate().map(action).collect()
    }

    fn notes(&self) -> Vec<Note> {
        let restore = (!self.restore.is_empty()).then(|| Note::Info(format!("to go back: {}", self.restore)));
        self.notes.iter().cloned().chain(restore).collect()
    }

    fn unchanged(&self) -> String {
        let at =
            self.from_version.as_ref().map_or_else(String::new, |version| format!(" is at {version}, and"));
        match (self.way, self.left) {
            (Way::Down, _) => format!("{}{at} has nothing after it", self.database),
            (Way::Up, 0) => format!("{}{at} has every migration of the directory", self.database),
            (Way::Up, left) if self.baseline => {
                format!("{}{at} has the baseline; {left} pending", self.database)
            }
            (Way::Up, left) => format!("{}{at} is where it was to be; {left} pending", self.database),
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
