//! Which files a run is about: pending ones up to a version, those of a baseline, or the ways back down to a version. Pure.

use kit::Failure;

use crate::files::{File, Way, prefix};
use crate::observe::World;
use crate::order::{self, State};
use crate::plan::Request;

/// `--to` for a database without any migration.
pub(crate) const NONE: &str = "none";

/// The files that a run is about, and how many pending ones it leaves.
pub(crate) fn todo<'a>(request: &Request<'_>, world: &'a World) -> Result<(Vec<&'a File>, usize), Failure> {
    let state = order::state(world, order::order(request.ledger, request.order))?;
    let database = &world.identity.database;
    match (request.way, request.baseline, request.to) {
        (Way::Up, Some(version), _) => baseline(version, &state, database),
        (Way::Up, None, None) => Ok((state.pending, 0)),
        (Way::Up, None, Some(version)) => up_to(version, state, database),
        (Way::Down, _, version) => back_to(version.unwrap_or_default(), state, database),
    }
}

/// The files that a baseline records.
fn baseline<'a>(version: &str, state: &State<'a>, database: &str) -> Result<(Vec<&'a File>, usize), Failure> {
    let attempt = format!("record the baseline {version} of {database}");
    if state.applied.iter().any(|file| file.version == version) {
        return Ok((Vec::new(), state.pending.len()));
    }
    let Some(last) = state.pending.iter().position(|file| file.version == version) else {
        return Err(no_version(attempt));
    };
    if !state.applied.is_empty() {
        return Err(Failure::refused(attempt)
            .because(format!(
                "the ledger has {} versions already, so the files after them are pending, not done",
                state.applied.len()
            ))
            .help("leave --baseline out to apply them"));
    }
    let mut todo = state.pending.clone();
    let left = todo.split_off(last + 1).len();
    Ok((todo, left))
}

fn no_version(attempt: String) -> Failure {
    Failure::refused(attempt)
        .because("no file has that version")
        .help("give the version as the plan shows it, such as 0007 for 0007_add_user.sql")
}

/// The pending files up to a version.
fn up_to<'a>(version: &str, state: State<'a>, database: &str) -> Result<(Vec<&'a File>, usize), Failure> {
    let attempt = format!("bring {database} to {version}");
    let mut todo = state.pending;
    if let Some(last) = todo.iter().position(|file| file.version == version) {
        let left = todo.split_off(last + 1).len();
        return Ok((todo, left));
    }
    match state.applied.last() {
        Some(file) if file.version == version => Ok((Vec::new(), todo.len())),
        Some(file) if state.applied.iter().any(|file| file.version == version) => {
            Err(Failure::refused(attempt)
                .because(format!("it is at {} already, which is later", file.version))
                .help(format!("to go back: --action revert --to {version}")))
        }
        _ => Err(no_version(attempt)),
    }
}

/// The ways back of everything after a version, last first.
fn back_to<'a>(version: &str, state: State<'a>, database: &str) -> Result<(Vec<&'a File>, usize), Failure> {
    let attempt = format!("take {database} back to {version}");
    let keep = match state.applied.iter().position(|file| file.version == version) {
        Some(last) => last + 1,
        None if version == NONE => 0,
        None if state.pending.iter().any(|file| file.version == version) => {
            return Err(Failure::refused(attempt)
                .because("that version is not applied")
                .help("leave --action revert out to go forward to it"));
        }
        None => return Err(no_version(attempt)),
    };
    let (_, back) = state.applied.split_at(keep);
    let missing: Vec<&str> =
        back.iter().filter(|file| file.down.is_none()).map(|file| file.name.as_str()).collect();
    if !missing.is_empty() {
        return Err(Failure::refused(attempt)
            .because(format!("no way back is written for {}", missing.join(", ")))
            .help("write NAME.down.sql beside each, go back less far, or write a migration that goes forward to what you want"));
    }
    let downs: Vec<&File> = back.iter().rev().filter_map(|file| file.down.as_deref()).collect();
    for down in &downs {
        let then = state.rows.get(down.version.as_str()).and_then(|row| row.down_checksum.as_ref());
        if let Some(then) = then.filter(|then| **then != down.checksum) {
            return Err(Failure::refused(attempt)
                .because(format!(
                    "{} was edited after its migration was applied: its checksum then was {then}, and now is {}",
                    down.name, down.checksum
                ))
                .help("restore it as it was: what takes a migration back was reviewed together with it"));
        }
    }
    Ok((downs, state.pending.len()))
}

/// A file that has begun must be the next one, in the same direction, and still begin with the statements that have run.
pub(crate) fn unfinished(world: &World, way: Way, todo: &[&File], baseline: bool) -> Result<(), Failure> {
    for begun in &world.unfinished {
        let attempt = format!("continue with {} ({})", begun.name, begun.version);
        let first =
            todo.first().filter(|file| file.version == begun.version && begun.way == way && !baseline);
        let Some(file) = first else {
            let next = match begun.way {
                Way::Up => "run without --action, --to and --baseline to finish it".to_owned(),
                Way::Down => "finish it with --action revert and a --to before it".to_owned(),
            };
            return Err(Failure::refused(attempt)
                .because(format!(
                    "it has begun at {} and not ended ({} statements have taken effect), and it is not what this run begins with",
                    begun.began, begun.done
                ))
                .help(next));
        };
        let Ok(script) = &file.script else { continue };
        if begun.done > script.statements.len() || prefix(script, begun.done) != begun.prefix {
            return Err(Failure::refused(attempt)
                .because(format!(
                    "its first {} statements have run, and the file has others there now",
                    begun.done
                ))
                .help("restore them as they were; the statements after them may be corrected"));
        }
        if !script.alone {
            return Err(Failure::refused(attempt)
                .because(
                    "it was begun statement by statement, and its first line does not ask for that any more",
                )
                .help(format!("restore the line `{}`", crate::sql::MARK)));
        }
    }
    Ok(())
}
