//! `--undo` of a restore: drops the database, as long as it is what the restore made.

use kit::{Action, ActionRecord, Cx, Failure, Go, Note, Outcome, Plan, Receipt};
use s3::Bucket;
use serde::Serialize;

use super::observe::read;
use super::plan::RESTORE;
use super::{Inverse, Restored};
use crate::arena::drop_in;
use crate::args::Args;
use crate::catalogue::value;
use crate::compare::{Expected, compare};
use crate::key::Kind;
use crate::refill::{look, oid};
use crate::sql::literal;
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
                    "it holds what the backup holds, and can be restored again",
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
        let database = match (there, oid(&session, &inverse.interim).await?) {
            (Some(there), _) => {
                let comment = format!(
                    "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = {}",
                    literal(&inverse.database)
                );
                let comment = value(&session, "look at the database", &comment).await?;
                let same = comment.as_ref() == Some(&inverse.mark)
                    && restored.as_ref().is_none_or(|restored| restored.oid == there);
                let refused = |why: String| {
                    Failure::refused(format!("drop the database {}", inverse.database))
                        .because(why)
                        .help("look what is in it; drop it by hand if it is to go")
                };
                if !same {
                    return Err(refused("it is not the one that the restore made".to_owned()));
                }
                let manifest = read(cx, store, &inverse.manifest_key, Kind::Dump).await?;
                let expected = Expected::by(&manifest);
                let found = look(cx, &target.with_database(&inverse.database), &expected).await?;
                compare(&expected, &found)
                    .map_err(|why| refused(format!("it was changed since it was restored: {why}")))?;
                inverse.database
            }
            (None, Some(_)) => inverse.interim,
            (None, None) => {
                plan.notes.push(Note::Info(format!("the database {} is not there", inverse.database)));
                gone.push(record.clone());
                continue;
            }
        };
        plan.drops.push(Drop { id: format!("undo-{}", record.id), database, takes_back: record.clone() });
    }
    if let Go::Stop(outcome) = cx.show(&plan)? {
        return Ok(outcome);
    }
    for record in &gone {
        cx.mark_undone(record)?;
    }
    for drop in &plan.drops {
        cx.act_undo(&drop.id, &drop.takes_back, drop_in(&session, &version, &drop.database)).await?;
    }
    session.close().await;
    Ok(match plan.drops.first() {
        None => Outcome::unchanged(plan.unchanged()),
        Some(drop) => Outcome::changed(format!("the database {} is dropped", drop.database)),
    })
}
