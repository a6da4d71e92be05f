//! Which files come in which order, and which of them the ledger has: pure.

use std::collections::{BTreeMap, BTreeSet};

use kit::Failure;

use crate::files::{Directory, File, Way};
use crate::ledger::Ledger;
use crate::observe::{Row, SeenLedger, World};
use crate::version::{self, Order};

/// The files of the folder against the lines of the ledger.
#[derive(Debug)]
pub(crate) struct State<'a> {
    /// In order.
    pub(crate) applied: Vec<&'a File>,
    /// In order.
    pub(crate) pending: Vec<&'a File>,
    pub(crate) rows: BTreeMap<&'a str, &'a Row>,
}

/// The order that a ledger of sqlx implies.
pub(crate) fn order(ledger: &Ledger, asked: Option<Order>) -> Option<Order> {
    match ledger {
        Ledger::Own { .. } => asked,
        Ledger::Sqlx { .. } => Some(Order::Numeric),
    }
}

/// What is applied and what is pending; refuses a folder and a ledger that do not fit together.
pub(crate) fn state(world: &World, order: Option<Order>) -> Result<State<'_>, Failure> {
    let files = ordered(&world.directory, order)?;
    let all = rows(world)?;
    let attempt = format!("continue the migrations of {}", world.identity.database);
    let known: BTreeSet<&str> = files.iter().map(|file| file.version.as_str()).collect();
    let missing: Vec<&str> = all
        .values()
        .filter(|row| !known.contains(row.version.as_str()))
        .map(|row| row.name.as_str())
        .collect();
    if !missing.is_empty() {
        return Err(Failure::refused(attempt)
            .because(format!("applied, and not in {}: {}", world.directory.path, missing.join(", ")))
            .help("use the directory of the release that the database is at, or of a later one; an applied file must stay"));
    }
    let begun = |version: &str| {
        world.unfinished.iter().find(|progress| progress.version == version).map(|progress| progress.way)
    };
    let mut done = BTreeMap::new();
    for file in &files {
        let Some(row) = all.get(file.version.as_str()) else { continue };
        if !row.success {
            match begun(&row.version) {
                Some(Way::Up) => continue,
                Some(Way::Down) => {
                    done.insert(file.version.as_str(), *row);
                    continue;
                }
                None => {}
            }
            return Err(Failure::refused(attempt)
                .because(format!(
                    "the ledger says of version {} ({}) that it did not end well (success = false), and this step did not begin it",
                    row.version, row.name
                ))
                .help("look what of the file has taken effect; take that back and DELETE the line, or finish the file by hand and set success to true"));
        }
        if row.checksum != file.checksum {
            return Err(Failure::refused(attempt)
                .because(format!(
                    "{} was edited after it was applied at {}: its checksum then was {}, and now is {}",
                    file.name, row.applied_at, row.checksum, file.checksum
                ))
                .help("restore the file as it was applied (line ends too), and write the change as a new migration"));
        }
        done.insert(file.version.as_str(), *row);
    }
    let first =
        files.iter().position(|file| !done.contains_key(file.version.as_str())).unwrap_or(files.len());
    let (applied, pending) = files.split_at(first);
    if let Some(late) = pending.iter().find(|file| done.contains_key(file.version.as_str())) {
        let early: Vec<&str> = pending
            .iter()
            .take_while(|file| file.name != late.name)
            .filter(|file| !done.contains_key(file.version.as_str()))
            .map(|file| file.name.as_str())
            .collect();
        return Err(Failure::refused(attempt)
            .because(format!("{} comes before {}, which is applied already", early.join(", "), late.name))
            .help(
                "give it a version after the last applied one: no other database has run them in this order",
            ));
    }
    Ok(State { applied: applied.to_vec(), pending: pending.to_vec(), rows: done })
}

fn rows(world: &World) -> Result<BTreeMap<&str, &Row>, Failure> {
    match &world.ledger {
        SeenLedger::Absent { .. } => Ok(BTreeMap::new()),
        SeenLedger::Rows { rows, .. } => Ok(rows.iter().map(|row| (row.version.as_str(), row)).collect()),
        SeenLedger::Other(why) => Err(Failure::refused("read the ledger")
            .because(format!("a table of that name exists and is no ledger of this step: {why}"))
            .help("name another table with --ledger")),
    }
}

fn unreadable(directory: &Directory) -> Failure {
    Failure::refused(format!("read the migrations in {}", directory.path))
        .because(directory.problems.join("; "))
        .help("each file needs a version of its own, and a NAME.down.sql the NAME.up.sql or NAME.sql that it takes back")
}

/// The files in their order.
pub(crate) fn ordered(directory: &Directory, order: Option<Order>) -> Result<Vec<&File>, Failure> {
    let attempt = format!("order the migrations in {}", directory.path);
    if directory.files.is_empty() {
        if !directory.problems.is_empty() {
            return Err(unreadable(directory));
        }
        let ignored = match directory.ignored.as_slice() {
            [] => "it is empty".to_owned(),
            names => format!("it has no .sql file, only {}", names.join(", ")),
        };
        return Err(Failure::refused(format!("apply the migrations in {}", directory.path))
            .because(ignored)
            .help("check --migrations: a wrong folder must not look like nothing to do"));
    }
    if !directory.problems.is_empty() {
        return Err(unreadable(directory));
    }
    let by_name: Vec<&File> = directory.files.iter().collect();
    let twice = |a: &File, b: &File| {
        Failure::refused(&attempt)
            .because(format!("{} and {} have the same version, {}", a.name, b.name, a.version))
            .help("give each its own version: the numbers that its name begins with")
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
