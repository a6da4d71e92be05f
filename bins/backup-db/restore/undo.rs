//! `--undo` of a restore: drops the database, as long as it is what the restore made and nobody uses it.
//!
//! A restored database is soon the one that an application writes to, and dropping it can't be taken back: what can't be told is
//! refused, and nobody's session is ended for it.

use kit::{Action, ActionRecord, Cx, Failure, Go, Note, Outcome, Plan, Receipt};
use postgres::Session;
use s3::Bucket;
use serde::Serialize;

use super::observe::{busy, read};
use super::plan::RESTORE;
use super::writes::{Writes, seen, untouched};
use super::{Inverse, Restored};
use crate::arena::drop_in;
use crate::args::Args;
use crate::catalogue::value;
use crate::compare::{Expected, compare};
use crate::key::Kind;
use crate::refill::{look, oid};
use crate::sql::{identifier, literal};
use crate::tools::Version;

#[derive(Serialize)]
struct UndoPlan {
    drops: Vec<Drop>,
    #[serde(skip)]
    notes: Vec<Note>,
}

#[derive(Serialize)]
struct Drop {
    id: String,
    database: String,
    /// Of a restore that came to its end: what the server had counted of it when this was planned.
    writes: Option<Writes>,
    #[serde(skip)]
    takes_back: ActionRecord,
}

impl Plan for UndoPlan {
    fn actions(&self) -> Vec<Action> {
        self.drops
            .iter()
            .map(|drop| {
                Action::irreversible(
                    &drop.id,
                    format!("drop the database {}", drop.database),
                    "nobody wrote to it and nobody is connected to it: it can be restored again",
                )
            })
            .collect()
    }

    fn notes(&self) -> Vec<Note> {
        self.notes.clone()
    }

    fn unchanged(&self) -> String {
        "nothing of that restore is there any more".to_owned()
    }
}

pub(crate) async fn undo(
    cx: &Cx,
    args: &Args,
    store: &Bucket,
    receipt: &Receipt,
) -> Result<Outcome, Failure> {
    let target = args.pg.target(cx.env())?;
    let session = postgres::connect(cx, &target).await?;
    let version = Version::of_server(session.identity.server_version.0);
    let mut plan = UndoPlan { drops: Vec::new(), notes: Vec::new() };
    let mut gone = Vec::new();
    for record in receipt.undoable().into_iter().filter(|record| record.id == RESTORE) {
        let inverse: Inverse = serde_json::from_value(record.inverse.clone())
            .map_err(|error| Failure::usage(format!("read the inverse of {}", record.id)).because(error))?;
        let restored: Option<Restored> = serde_json::from_value(record.result.clone()).ok();
        let there = oid(&session, &inverse.database).await?;
        let (database, writes) = match (there, oid(&session, &inverse.interim).await?) {
            (Some(there), _) => {
                let writes = kept(cx, store, &session, &inverse, restored.as_ref(), &there).await?;
                (inverse.database, Some(writes))
            }
            (None, Some(_)) if busy(&session, &inverse.interim).await? => {
                return Err(Failure::refused(format!("drop the database {}", inverse.interim))
                    .because(format!(
                        "another restore into {} is under way, and works in it",
                        inverse.database
                    ))
                    .help("wait for it; its own receipt takes it back"));
            }
            (None, Some(_)) => (inverse.interim, None),
            (None, None) => {
                plan.notes.push(Note::Info(format!("the database {} is not there", inverse.database)));
                gone.push(record.clone());
                continue;
            }
        };
        plan.drops.push(Drop {
            id: format!("undo-{}", record.id),
            database,
            writes,
            takes_back: record.clone(),
        });
    }
    if let Go::Stop(outcome) = cx.show(&plan)? {
        return Ok(outcome);
    }
    for record in &gone {
        cx.mark_undone(record)?;
    }
    for drop in &plan.drops {
        let call = async {
            match drop.writes {
                Some(writes) => drop_unused(cx, &session, &drop.database, writes).await,
                None => drop_in(&session, &version, &drop.database).await,
            }
        };
        cx.act_undo(&drop.id, &drop.takes_back, call).await?;
    }
    session.close().await;
    Ok(match plan.drops.first() {
        None => Outcome::unchanged(plan.unchanged()),
        Some(drop) => Outcome::changed(format!("the database {} is dropped", drop.database)),
    })
}

fn refused(database: &str, why: String) -> Failure {
    Failure::refused(format!("drop the database {database}"))
        .because(why)
        .help("look what is in it and who uses it; drop it by hand if it is to go")
}

/// Refuses to drop a database that is not as the restore left it, or that somebody uses. Gives what the server has counted of it.
async fn kept(
    cx: &Cx,
    store: &Bucket,
    session: &Session,
    inverse: &Inverse,
    restored: Option<&Restored>,
    there: &str,
) -> Result<Writes, Failure> {
    let refused = |why: String| refused(&inverse.database, why);
    let comment = format!(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = {}",
        literal(&inverse.database)
    );
    let comment = value(session, "look at the database", &comment).await?;
    let same =
        comment.as_ref() == Some(&inverse.mark) && restored.is_none_or(|restored| restored.oid == *there);
    if !same {
        return Err(refused("it is not the one that the restore made".to_owned()));
    }
    let manifest = read(cx, store, &inverse.manifest_key, Kind::Dump).await?;
    let database = session.target.with_database(&inverse.database);
    let now = seen(cx, &database, 0).await?;
    untouched(&manifest, restored.and_then(|restored| restored.writes), &now).map_err(refused)?;
    let expected = Expected::by(&manifest);
    let found = look(cx, &database, &expected).await?;
    compare(&expected, &found)
        .map_err(|why| refused(format!("it was changed since it was restored: {why}")))?;
    now.writes.ok_or_else(|| refused("the server does not count what is written to it".to_owned()))
}

/// Drops a database that nobody is connected to and nobody wrote to since it was looked at: a person may have thought about the
/// plan for an hour. The server itself refuses it while somebody is connected.
async fn drop_unused(cx: &Cx, session: &Session, name: &str, writes: Writes) -> Result<(), Failure> {
    let now = seen(cx, &session.target.with_database(name), 0).await?;
    if !now.others.is_empty() {
        return Err(refused(name, format!("somebody is connected to it: {}", now.others.join("; "))));
    }
    if now.writes != Some(writes) {
        return Err(refused(name, "it was written to since it was looked at".to_owned()));
    }
    let drop = format!("DROP DATABASE {}", identifier(name));
    session.client.simple_query(&drop).await.map(|_| ()).map_err(|error| {
        session
            .failure(format!("drop the database {name} on {}", session.target.server()), &error)
            .help("if somebody is connected to it, it may be in use: look who it is; drop it by hand if it is to go")
    })
}
