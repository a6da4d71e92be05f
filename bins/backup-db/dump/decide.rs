//! Decides what is to be done: pure.

use kit::{Failure, Note};
use postgres::{Manifest, Rung};
use s3::PartSizes;

use super::plan::{BackupPlan, Dump, Finish, GlobalsPlan, Method, Request, Work, World};
use crate::arena::{Site, database_of};
use crate::args::Compression;
use crate::earlier::{Asked, Removal, SHRINK, kept, shrunk};
use crate::globals::Globals;
use crate::key::globals_of;
use crate::pipe::MEMORY;
use crate::place;
use crate::rows::Rows;

/// Decides; refuses what would replace a good backup by a doubtful one, or write over anything.
pub(crate) fn plan(request: &Request, world: &World) -> Result<BackupPlan, Failure> {
    let mut notes: Vec<Note> = world.warnings.iter().cloned().map(Note::Warning).collect();
    let mut remove = Vec::new();
    let uri = |key: &str| format!("s3://{}/{key}", request.bucket);
    let planned = |work: Work, remove: Vec<Removal>, notes: Vec<Note>| BackupPlan {
        bucket: request.bucket.clone(),
        database: world.database.clone(),
        abort: world.unfinished.clone(),
        remove,
        drop: match &world.site {
            Some(Site::Named(named)) => named.left.clone(),
            _ => Vec::new(),
        },
        work,
        notes,
    };

    let asked = Asked {
        subject: &world.database.name,
        system: world.database.system_identifier.as_deref(),
        backup_id: &request.backup_id,
        rung: request.rung,
        max_age: request.max_age,
        now: world.now,
    };
    if let Some(kept) = kept(&asked, &world.same, &mut notes)? {
        return Ok(planned(Work::Keep(Box::new(kept)), remove, notes));
    }

    if let Globals::Denied(why) = &world.globals {
        notes.push(Note::Warning(format!(
            "roles and tablespaces are not backed up, which a restore into a new server needs: {why}"
        )));
    }
    let write_globals = |dump: &str| match &world.globals {
        Globals::Read { recipients, .. } => Some(GlobalsPlan {
            key: globals_of(dump, !recipients.is_empty()),
            recipients: recipients.clone(),
        }),
        _ => None,
    };
    let mut finish = None;
    for unproven in &world.unproven {
        match &unproven.proof {
            Some(Ok(sum)) => {
                finish = Some(Finish {
                    key: unproven.key.clone(),
                    stored: unproven.stored.clone(),
                    origin: unproven.origin.clone(),
                    sum: sum.clone(),
                    write_globals: match &unproven.globals_key {
                        None => write_globals(&unproven.key),
                        Some(_) => None,
                    },
                    globals_key: unproven.globals_key.clone(),
                });
            }
            Some(Err(why)) => remove.push(Removal {
                key: unproven.key.clone(),
                etag: unproven.stored.etag.clone(),
                why: why.clone(),
            }),
            None => notes.push(Note::Warning(format!(
                "{} has no manifest: the run that wrote it died, {}; nothing relies on it",
                uri(&unproven.key),
                if let Some(why) = &unproven.unread {
                    why
                } else if request.rung == Rung::Restored {
                    "and the rows that it had counted are lost with it"
                } else {
                    "and it is older than --max-age"
                }
            ))),
        }
    }
    if let Some(finish) = finish {
        notes.push(Note::Info(format!(
            "an earlier run of this backup left {} whole; it was read back and only the rest is missing",
            uri(&finish.key)
        )));
        return Ok(planned(Work::Finish(Box::new(finish)), remove, notes));
    }

    if world.key_taken {
        return Err(Failure::refused(format!("write {}", uri(&world.key)))
            .because("there is an object with this key")
            .help("run again in a second, or with another --backup-id"));
    }
    let last = world.last.as_ref().filter(|_| !request.allow_shrink);
    if let Some(last) = last
        && let Some(before) = last.database_bytes
        && world.database.bytes < before / SHRINK
    {
        return Err(shrunk(&last.database, "the database has", world.database.bytes, before, last));
    }
    let method = match request.compression {
        Compression::Zstd if world.tools.zstd => Method::ZstdInside,
        Compression::Zstd => Method::ZstdAround,
        Compression::Gzip => Method::Gzip,
        Compression::None => Method::None,
    };
    // Sizes of dumps tell something only where they were compressed alike; `pg_dump`'s own default is gzip.
    let alike = last.filter(|last| last.compression.as_deref().unwrap_or("gzip") == method.word());
    let part = PartSizes::for_about(world.database.bytes).of(1);
    if part * 2 > MEMORY {
        notes.push(Note::Info(format!(
            "a database of this size is uploaded in parts of {}, of which two are in memory at a time",
            kit::size(part)
        )));
    }
    if world.database.standby {
        notes.push(Note::Info(
            "the server is a standby: unlogged tables are dumped without their rows, and a query that conflicts with \
             recovery ends the dump (hot_standby_feedback prevents that)"
                .to_owned(),
        ));
    }
    let prove_in = prove_in(request, world, &mut notes)?;
    let dump = Dump {
        write_globals: write_globals(&world.key),
        key: world.key.clone(),
        tools: world.tools.clone(),
        rung: request.rung,
        method,
        count_limit: request.count_limit,
        prove_in,
        at_least: alike.map(|last| last.bytes / SHRINK),
    };
    Ok(planned(Work::Dump(Box::new(dump)), remove, notes))
}

/// Refuses a place where the backup can't be proven. The name of the database that it gets on a named server.
fn prove_in(request: &Request, world: &World, notes: &mut Vec<Note>) -> Result<Option<String>, Failure> {
    let refused = |why: String| Failure::refused("prove the backup").because(why);
    match &world.site {
        None => Ok(None),
        Some(Site::Own(place)) => {
            let need = place::need(world.database.bytes);
            if place.free < need {
                return Err(refused(format!(
                    "a scratch server for a database of {} needs about {}, and {} has {} free",
                    kit::size(world.database.bytes),
                    kit::size(need),
                    place.folder.display(),
                    kit::size(place.free)
                ))
                .help("name a larger folder with --scratch-dir, or a server with --prove-into"));
            }
            notes.push(Note::Info(format!(
                "it is proven in a scratch server of PostgreSQL {} in {} ({} of {} free are needed){}",
                place.version,
                place.folder.display(),
                kit::size(need),
                kit::size(place.free),
                place.user.as_ref().map(|user| format!(", run as {}", user.name)).unwrap_or_default()
            )));
            Ok(None)
        }
        Some(Site::Named(named)) => {
            let other =
                "name another server with --prove-into, or leave it out for a scratch server on this machine";
            if named.system_identifier.is_some()
                && named.system_identifier == world.database.system_identifier
            {
                return Err(refused(format!("{} is the server that is backed up", named.server)).help(other));
            }
            if named.version.major < world.database.version.major {
                return Err(refused(format!(
                    "{} is version {}, older than what is backed up ({})",
                    named.server, named.version, world.database.version
                ))
                .help(other));
            }
            if !named.may_create {
                return Err(refused(format!("the role may not make databases on {}", named.server))
                    .help("ALTER ROLE ... CREATEDB, or another role in --prove-into"));
            }
            if !named.lacks_extensions.is_empty() {
                return Err(refused(format!(
                    "{} lacks the extensions {}",
                    named.server,
                    named.lacks_extensions.join(", ")
                ))
                .help(format!("install them there, or {other}")));
            }
            for (roles, how) in [
                (&named.lacks_roles, "does not have"),
                (&named.roles_of_others, "does not let this one act for"),
            ] {
                if !roles.is_empty() {
                    notes.push(Note::Warning(format!(
                        "{} {how} the roles {}: it is proven without owners and privileges",
                        named.server,
                        roles.join(", ")
                    )));
                }
            }
            Ok(Some(database_of(&request.run)))
        }
    }
}

/// The tables that had rows in the last backup and have none now, or are gone: what somebody should know before the old
/// backups are.
pub(crate) fn emptied(last: &Manifest, now: &Rows) -> Vec<String> {
    let before = last.rows.iter().flatten().chain(last.rows_estimated.iter().flatten());
    before
        .filter(|(_, rows)| **rows > 0)
        .filter_map(|(name, rows)| match now.exact.get(name) {
            Some(0) => Some(format!("{name} had {rows} rows and has none")),
            Some(_) => None,
            None if now.estimated.contains_key(name) || now.unknown.contains_key(name) => None,
            None => Some(format!("{name} had {rows} rows and is gone")),
        })
        .collect()
}

/// The next move for what `pg_dump` most often says.
pub(crate) fn advice(said: &str) -> Option<&'static str> {
    let table = [
        (
            "row-level security policy",
            "a policy hides rows from this role, and a dump without them is none: connect as the owner of the table, a superuser, or a role with BYPASSRLS",
        ),
        (
            "permission denied for",
            "grant the role what it lacks; GRANT pg_read_all_data TO ... lets it read everything (PostgreSQL 14 and later)",
        ),
        (
            "conflict with recovery",
            "the standby had to go on with recovery: set hot_standby_feedback = on or raise max_standby_streaming_delay there, or dump from the primary",
        ),
        ("server version mismatch", "name a pg_dump of the server's version or newer with --pg-dump"),
        ("lock timeout", "something changes the tables at the moment: run again when it is through"),
    ];
    table.into_iter().find(|(sign, _)| said.contains(sign)).map(|(_, advice)| advice)
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
