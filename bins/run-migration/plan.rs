//! What will be applied, or why not: pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kit::{Action, Failure, Note};
use postgres::Rung;
use serde::Serialize;
use time::OffsetDateTime;

use crate::backup::Guard;
use crate::ledger::Ledger;
use crate::observe::{Directory, File, Row, SeenLedger, World};
use crate::sql::Remark;
use crate::version::{self, Order};

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) order: Option<Order>,
    pub(crate) ledger: &'a Ledger,
    pub(crate) baseline: Option<&'a str>,
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
    /// The ledger is made together with its first line; whether its schema is too.
    pub(crate) creates: Option<CreatesLedger>,
    /// The files are recorded, not run.
    pub(crate) baseline: bool,
    /// In order.
    pub(crate) files: Vec<Item>,
    /// The pending files that this run leaves alone, as with a baseline.
    pub(crate) left: usize,
    pub(crate) from_version: Option<String>,
    /// What brings the data back: the only undo there is.
    pub(crate) restore: String,
    pub(crate) notes: Vec<Note>,
}

/// The ledger does not exist yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct CreatesLedger {
    pub(crate) schema: bool,
}

/// A migration to apply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Item {
    /// The action's id.
    pub(crate) id: String,
    pub(crate) version: String,
    pub(crate) name: String,
    pub(crate) checksum: String,
    pub(crate) bytes: usize,
    pub(crate) statements: usize,
    pub(crate) destroys: Vec<Remark>,
}

const NO_UNDO: &str = "a migration has no inverse; \"to go back\" below says what to restore";

/// The one action of a baseline.
pub(crate) const BASELINE: &str = "record-baseline";

/// The files that the ledger does not have, in order; refuses a directory and a ledger that do not fit together.
pub(crate) fn pending(world: &World, order: Option<Order>) -> Result<Vec<&File>, Failure> {
    let files = ordered(&world.directory, order)?;
    let rows = rows(world)?;
    let attempt = format!("continue the migrations of {}", world.identity.database);
    let known: BTreeSet<&str> = files.iter().map(|file| file.version.as_str()).collect();
    let missing: Vec<&Row> =
        rows.values().filter(|row| !known.contains(row.version.as_str())).copied().collect();
    if !missing.is_empty() {
        let names: Vec<&str> = missing.iter().map(|row| row.name.as_str()).collect();
        return Err(Failure::refused(attempt)
            .because(format!("applied, and not in {}: {}", world.directory.path, names.join(", ")))
            .help("use the directory of the release that the database is at, or of a later one; an applied file must stay"));
    }
    for file in &files {
        if let Some(row) = rows.get(file.version.as_str())
            && row.checksum != file.checksum
        {
            return Err(Failure::refused(attempt)
                .because(format!(
                    "{} was edited after it was applied at {}: its SHA-256 then was {}, and now is {}",
                    file.name, row.applied_at, row.checksum, file.checksum
                ))
                .help("restore the file as it was applied (line ends too), and write the change as a new migration"));
        }
    }
    let first = files.iter().position(|file| !rows.contains_key(file.version.as_str()));
    let Some(first) = first else { return Ok(Vec::new()) };
    let (_, rest) = files.split_at(first);
    if let Some(applied) = rest.iter().find(|file| rows.contains_key(file.version.as_str())) {
        let early: Vec<&str> = rest
            .iter()
            .take_while(|file| file.name != applied.name)
            .filter(|file| !rows.contains_key(file.version.as_str()))
            .map(|file| file.name.as_str())
            .collect();
        return Err(Failure::refused(attempt)
            .because(format!("{} comes before {}, which is applied already", early.join(", "), applied.name))
            .help(
                "give it a version after the last applied one: no other database has run them in this order",
            ));
    }
    Ok(rest.to_vec())
}

fn rows(world: &World) -> Result<BTreeMap<&str, &Row>, Failure> {
    match &world.ledger {
        SeenLedger::Absent { .. } => Ok(BTreeMap::new()),
        SeenLedger::Rows(rows) => Ok(rows.iter().map(|row| (row.version.as_str(), row)).collect()),
        SeenLedger::Other(why) => Err(Failure::refused("read the ledger")
            .because(format!("a table of that name exists and is no ledger of this step: {why}"))
            .help("name another table with --ledger")),
    }
}

/// The files in their order.
fn ordered(directory: &Directory, order: Option<Order>) -> Result<Vec<&File>, Failure> {
    let attempt = format!("order the migrations in {}", directory.path);
    if directory.files.is_empty() {
        let ignored = match directory.ignored.as_slice() {
            [] => "it is empty".to_owned(),
            names => format!("it has no .sql file, only {}", names.join(", ")),
        };
        return Err(Failure::refused(format!("apply the migrations in {}", directory.path))
            .because(ignored)
            .help("check --migrations: a wrong folder must not look like nothing to do"));
    }
    let by_name: Vec<&File> = directory.files.iter().collect();
    let twice = |a: &File, b: &File| {
        let down =
            [".down.sql", ".undo.sql"].iter().any(|end| a.name.ends_with(end) || b.name.ends_with(end));
        let help = if down {
            "put the files that take back into another folder: this step only goes forward"
        } else {
            "give each its own version: the numbers that its name begins with"
        };
        Failure::refused(&attempt)
            .because(format!("{} and {} have the same version, {}", a.name, b.name, a.version))
            .help(help)
    };
    let mut seen: BTreeMap<&str, &File> = BTreeMap::new();
    for file in &by_name {
        if let Some(earlier) = seen.insert(&file.version, file) {
            return Err(twice(earlier, file));
        }
    }
    let mut numbered = Vec::new();
    let mut unnumbered = Vec::new();
    for file in &by_name {
        match version::numbers(&file.version) {
            Some(numbers) => numbered.push((numbers, *file)),
            None => unnumbered.push(*file),
        }
    }
    if order == Some(Order::Name) || (order.is_none() && numbered.is_empty()) {
        return Ok(by_name);
    }
    if let Some(file) = unnumbered.first() {
        return Err(Failure::refused(attempt)
            .because(format!("the name of {} does not begin with a number", file.name))
            .help("give it one, or say --order name"));
    }
    numbered.sort_by(|a, b| version::compare(&a.0, &b.0));
    if let Some([a, b]) = numbered.windows(2).find_map(|pair| match pair {
        [a, b] if version::compare(&a.0, &b.0).is_eq() => Some([a.1, b.1]),
        _ => None,
    }) {
        return Err(twice(a, b));
    }
    let by_number: Vec<&File> = numbered.into_iter().map(|(_, file)| file).collect();
    if order.is_none()
        && let Some((number, name)) = by_number.iter().zip(&by_name).find(|(a, b)| a.name != b.name)
    {
        return Err(Failure::refused(attempt)
            .because(format!(
                "by number {} comes where by name {} does, and nothing says which is meant",
                number.name, name.name
            ))
            .help("say --order numeric (1_, 2_, 10_) or --order name (1_, 10_, 2_)"));
    }
    Ok(by_number)
}

/// The plan, or the reason why nothing may be done.
pub(crate) fn plan(request: &Request<'_>, world: &World) -> Result<MigrationPlan, Failure> {
    let database = &world.identity.database;
    if world.identity.in_recovery {
        return Err(Failure::refused(format!("migrate {database}"))
            .because("the server is a standby, which takes no writes")
            .help("connect to the primary"));
    }
    let files = ordered(&world.directory, request.order)?;
    let pending = pending(world, request.order)?;
    let applied = files.len() - pending.len();
    let (todo, left) = match request.baseline {
        None => (pending, 0),
        Some(version) => up_to(version, &files, pending, database)?,
    };
    let baseline = request.baseline.is_some();
    let mut notes = notes(world, &todo);
    if !baseline {
        check_statements(&todo)?;
    }
    let restore =
        if todo.is_empty() || baseline { String::new() } else { guard(request, world).judge(&mut notes)? };
    let creates = match world.ledger {
        SeenLedger::Absent { schema } if !todo.is_empty() => Some(CreatesLedger { schema: !schema }),
        _ => None,
    };
    Ok(MigrationPlan {
        database: database.clone(),
        ledger: request.ledger.to_string(),
        creates,
        baseline,
        from_version: applied.checked_sub(1).and_then(|n| files.get(n)).map(|file| file.version.clone()),
        files: todo.into_iter().map(item).collect(),
        left,
        restore,
        notes,
    })
}

fn item(file: &File) -> Item {
    let script = file.script.clone().unwrap_or_default();
    Item {
        id: format!("apply-{}", file.version),
        version: file.version.clone(),
        name: file.name.clone(),
        checksum: file.checksum.clone(),
        bytes: file.bytes,
        statements: script.statements.len(),
        destroys: script.destroys,
    }
}

/// The files that a baseline records, and how many pending ones it leaves.
fn up_to<'a>(
    version: &str,
    files: &[&File],
    pending: Vec<&'a File>,
    database: &str,
) -> Result<(Vec<&'a File>, usize), Failure> {
    let attempt = format!("record the baseline {version} of {database}");
    let Some(last) = files.iter().position(|file| file.version == version) else {
        return Err(Failure::refused(attempt)
            .because("no file has that version")
            .help("give the version as the plan shows it, such as 0007 for 0007_add_user.sql"));
    };
    let applied = files.len() - pending.len();
    if applied > last {
        return Ok((Vec::new(), pending.len()));
    }
    if applied > 0 {
        return Err(Failure::refused(attempt)
            .because(format!(
                "the ledger has {applied} versions already, so the files after them are pending, not done"
            ))
            .help("leave --baseline out to apply them"));
    }
    let mut todo = pending;
    let left = todo.split_off(last + 1).len();
    Ok((todo, left))
}

fn notes(world: &World, todo: &[&File]) -> Vec<Note> {
    let mut notes = Vec::new();
    if !world.directory.ignored.is_empty() {
        notes.push(Note::Info(format!(
            "ignored in {}: {}",
            world.directory.path,
            world.directory.ignored.join(", ")
        )));
    }
    if let SeenLedger::Rows(rows) = &world.ledger {
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
    }
    notes
}

/// Every pending file must be text, and able to run in one transaction.
fn check_statements(todo: &[&File]) -> Result<(), Failure> {
    let mut problems = Vec::new();
    for file in todo {
        match &file.script {
            Err(why) => problems.push(format!("{} {why}", file.name)),
            Ok(script) => problems.extend(
                script.problems.iter().map(|at| format!("{}, line {}: {}", file.name, at.line, at.what)),
            ),
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(Failure::refused("run each pending file in one transaction")
        .because(problems.join("; "))
        .help("take these statements out of the migrations and run them by hand, one at a time, outside of a transaction"))
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

    /// The version that the database will be at.
    pub(crate) fn to_version(&self) -> Option<String> {
        self.files.last().map(|item| item.version.clone()).or_else(|| self.from_version.clone())
    }

    /// How many files are pending before anything is applied.
    pub(crate) fn pending_now(&self) -> usize {
        self.files.len() + self.left
    }

    /// One line for the end.
    pub(crate) fn done(&self) -> String {
        let to = self.to_version().unwrap_or_default();
        let n = self.files.len();
        let files = if n == 1 { "1 migration".to_owned() } else { format!("{n} migrations") };
        if self.baseline {
            format!("{} is recorded as being at {to}: {files} not run, {} pending", self.database, self.left)
        } else {
            format!("{} is at {to}: {files} applied", self.database)
        }
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
            let mut detail = vec![format!(
                "version {}, {} statements, SHA-256 {}",
                item.version, item.statements, item.checksum
            )];
            detail.extend(
                item.destroys.iter().map(|at| format!("line {} throws data away: {}", at.line, at.what)),
            );
            Action::irreversible(&item.id, format!("apply {}{made}", item.name), NO_UNDO)
                .detail(detail.join("\n"))
        };
        self.files.iter().enumerate().map(action).collect()
    }

    fn notes(&self) -> Vec<Note> {
        let destroys: Vec<String> = self
            .files
            .iter()
            .filter(|item| !item.destroys.is_empty() && !self.baseline)
            .map(|item| {
                let what: Vec<&str> = item.destroys.iter().map(|at| at.what.as_str()).collect();
                format!("{} throws data away: {}", item.name, what.join(", "))
            })
            .collect();
        let own = self.notes.iter().cloned();
        let restore = (!self.restore.is_empty()).then(|| Note::Info(format!("to go back: {}", self.restore)));
        own.chain(restore).chain(destroys.into_iter().map(Note::Warning)).collect()
    }

    fn unchanged(&self) -> String {
        let at =
            self.from_version.as_ref().map_or_else(String::new, |version| format!(" is at {version}, and"));
        match self.left {
            0 => format!("{}{at} has every migration of the directory", self.database),
            left => format!("{}{at} has the baseline; {left} pending", self.database),
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
