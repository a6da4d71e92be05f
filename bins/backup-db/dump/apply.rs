//! Carries the plan of a backup out: the only file that writes.

use kit::{Cx, Failure};
use postgres::{Manifest, Rung};
use s3::{Bucket, Object};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::decide::emptied;
use super::document::document;
use super::observe::Scene;
use super::plan::{BackupPlan, Dump, GLOBALS, GlobalsPlan, PROVE, Request, UPLOAD, Work};
use super::take::{Taken, found, take};
use crate::arena::{self, Arena, Site, database_of};
use crate::catalogue;
use crate::compare::{Expected, compare};
use crate::earlier::write_manifest;
use crate::globals::Globals;
use crate::readback::Stored;
use crate::refill::{Assertions, Filling, fill, look};

/// What takes a written object back: `--undo` deletes it if this run wrote it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Inverse {
    pub(crate) bucket: String,
    pub(crate) key: String,
}

/// What is remembered of a written object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Written {
    pub(crate) etag: String,
    pub(crate) bytes: u64,
}

impl Written {
    pub(crate) fn of(stored: &Object) -> Self {
        Self { etag: stored.etag.clone(), bytes: stored.bytes }
    }
}

/// Makes the backup that the plan says. Gives its manifest and, where it was not proven as far as was asked, why: the backup is
/// there all the same.
pub(crate) async fn apply(
    cx: &Cx,
    store: &Bucket,
    scene: &Scene,
    request: &Request,
    assertions: Option<&Assertions>,
    plan: &BackupPlan,
) -> Result<(Manifest, Option<Failure>), Failure> {
    for (id, upload) in plan.aborts() {
        cx.act(&id, &Value::Null, store.abort(upload)).await?;
    }
    for (id, removal) in plan.removals() {
        cx.act(&id, &Value::Null, store.delete(&removal.key, None, &removal.etag)).await?;
    }
    if let Some(Site::Named(named)) = &scene.world.site {
        for (id, name) in plan.drops() {
            let call = async {
                let session = postgres::connect(cx, &named.target).await?;
                arena::drop_in(&session, &named.version, name).await
            };
            cx.act(&id, &Value::Null, call).await?;
        }
    }
    match &plan.work {
        Work::Keep(manifest) => Ok((Manifest::clone(manifest), None)),
        Work::Finish(finish) => {
            let taken = found(finish);
            let key = &finish.key;
            let earlier = finish
                .globals_key
                .as_ref()
                .map(|key| GlobalsPlan { key: key.clone(), recipients: sealed(key) });
            write_globals(cx, store, scene, finish.write_globals.as_ref()).await?;
            let globals = finish.write_globals.clone().or(earlier);
            let manifest =
                document(cx, store, &scene.world.database, key, &taken, globals.as_ref(), taken.proof.rung);
            write_manifest(cx, store, &manifest).await?;
            Ok((manifest, None))
        }
        Work::Dump(dump) => {
            // Before the dump: it would be a pity to learn after an hour that there is no place to prove it in.
            let arena = match &scene.world.site {
                Some(site) => Some(Box::pin(ready(cx, scene, site)).await?),
                None => None,
            };
            let made = Box::pin(make(cx, store, scene, request, arena.as_ref(), assertions, dump)).await;
            match arena {
                Some(arena) => {
                    let closed = arena.close().await;
                    let (manifest, unproven) = made?;
                    Ok((manifest, unproven.or(closed.err())))
                }
                None => made,
            }
        }
    }
}

/// Whom the globals of a run that died are encrypted to is in the file alone.
fn sealed(key: &str) -> Vec<String> {
    if key.ends_with(".age") { vec!["unknown".to_owned()] } else { Vec::new() }
}

/// The place of the proof, with all that the database needs there.
async fn ready(cx: &Cx, scene: &Scene, site: &Site) -> Result<Arena, Failure> {
    let arena = Arena::open(cx, &scene.runner, site).await?;
    let extensions: Vec<String> = catalogue::facts(&scene.session).await?.extensions.into_keys().collect();
    let lacks = arena.lacks(cx, &extensions).await?;
    if lacks.is_empty() {
        return Ok(arena);
    }
    let failure = Failure::refused("prove the backup")
        .because(format!("the server of the proof lacks the extensions {}", lacks.join(", ")))
        .help("install them beside its server, or name a server that has them with --prove-into, or ask for --verify read-back");
    arena.close().await?;
    Err(failure)
}

async fn make(
    cx: &Cx,
    store: &Bucket,
    scene: &Scene,
    request: &Request,
    arena: Option<&Arena>,
    assertions: Option<&Assertions>,
    dump: &Dump,
) -> Result<(Manifest, Option<Failure>), Failure> {
    let inverse = Inverse { bucket: store.name.clone(), key: dump.key.clone() };
    let taken = cx.act(UPLOAD, &inverse, Box::pin(take(cx, store, scene, request, dump))).await?;
    if let (Some(last), Some(rows)) = (&scene.world.last, &taken.counted.rows) {
        for what in emptied(last, rows) {
            cx.report().warn(&format!("since the last backup ({}): {what}", last.uri()));
        }
    }
    write_globals(cx, store, scene, dump.write_globals.as_ref()).await?;
    let mut rung = taken.proof.rung;
    let mut unproven = None;
    if let Some(arena) = arena {
        let draft =
            document(cx, store, &scene.world.database, &dump.key, &taken, dump.write_globals.as_ref(), rung);
        match proven(cx, store, scene, arena, assertions, dump, &taken, &draft).await {
            Ok(Ok(by)) => {
                cx.report().say(&format!("restored and compared: {by}"));
                rung = Rung::Restored;
            }
            Ok(Err(why)) => {
                unproven = Some(Failure::unverified(format!("restore {}", draft.uri())).because(why));
            }
            // A cancelled run has no time left; the next one of the same id begins anew.
            Err(failure) if cx.or_cancelled(std::future::ready(())).await.is_err() => return Err(failure),
            Err(failure) => {
                let mut why = Failure::unverified(format!("restore {}", draft.uri()))
                    .because(format!("{failure}: {}", failure.chain().join(": ")));
                if let Some(state) = arena.state() {
                    why = why.state(state);
                }
                unproven = Some(why);
            }
        }
    }
    let manifest =
        document(cx, store, &scene.world.database, &dump.key, &taken, dump.write_globals.as_ref(), rung);
    write_manifest(cx, store, &manifest).await?;
    let unproven = unproven.map(|failure| {
        failure
            .state(format!("the backup is kept, and is verified up to {rung}: all of it was read back"))
            .help("look at what the restore said before you rely on it")
    });
    Ok((manifest, unproven))
}

/// The proof in its place, and the end of what it made there.
#[expect(clippy::too_many_arguments, reason = "one part of `make`")]
async fn proven(
    cx: &Cx,
    store: &Bucket,
    scene: &Scene,
    arena: &Arena,
    assertions: Option<&Assertions>,
    dump: &Dump,
    taken: &Taken,
    draft: &Manifest,
) -> Result<Result<String, String>, Failure> {
    let name = dump.prove_in.clone().unwrap_or_else(|| database_of(&cx.run_id()));
    let restoring = Box::pin(restored(cx, store, scene, arena, assertions, dump, taken, draft, &name));
    if dump.prove_in.is_none() {
        return restoring.await;
    }
    let result = cx.act(PROVE, &json!({"database": name}), restoring).await;
    let dropped = cx.put_back(PROVE, arena::drop_database(arena, &name)).await;
    let result = result?;
    dropped?;
    Ok(result)
}

#[expect(clippy::too_many_arguments, reason = "one part of `make`")]
async fn restored(
    cx: &Cx,
    store: &Bucket,
    scene: &Scene,
    arena: &Arena,
    assertions: Option<&Assertions>,
    dump: &Dump,
    taken: &Taken,
    draft: &Manifest,
    name: &str,
) -> Result<Result<String, String>, Failure> {
    cx.report().say(&format!("restoring {} to prove it", draft.uri()));
    let script = match &scene.world.globals {
        Globals::Read { script, .. } => Some(&**script),
        _ => None,
    };
    let roles = draft.roles.clone().unwrap_or_default();
    for trouble in arena.make_roles(cx, script, &roles).await? {
        cx.report().say(&format!("of the roles: {trouble}"));
    }
    let database = arena.make_database(cx, name, draft.locale.as_ref()).await?;
    let owners = match &scene.world.site {
        Some(Site::Named(named)) => named.lacks_roles.is_empty() && named.roles_of_others.is_empty(),
        _ => true,
    };
    let how = Filling {
        pg_restore: &dump.tools.pg_restore,
        client: &dump.tools.version,
        server: arena.version(),
        owners,
        for_a_while: true,
    };
    let stored = Stored { key: &dump.key, object: &taken.stored };
    match fill(cx, store, stored, &scene.runner, &database, how).await? {
        Err(why) => return Ok(Err(why)),
        Ok(sum) if sum.sha256 != taken.sha256 => {
            return Ok(Err(format!(
                "what was restored has the SHA-256 {}, the dump {}",
                sum.sha256, taken.sha256
            )));
        }
        Ok(_) => {}
    }
    let expected = Expected::by(draft);
    let mut by = match compare(&expected, &look(cx, &database, &expected).await?) {
        Ok(by) => by,
        Err(why) => return Ok(Err(why)),
    };
    if let Some(assertions) = assertions {
        match assertions.hold(cx, &database).await? {
            Ok(held) => by = format!("{by}; {held}"),
            Err(why) => return Ok(Err(why)),
        }
    }
    Ok(Ok(by))
}

async fn write_globals(
    cx: &Cx,
    store: &Bucket,
    scene: &Scene,
    plan: Option<&GlobalsPlan>,
) -> Result<(), Failure> {
    let (Some(plan), Globals::Read { stored, .. }) = (plan, &scene.world.globals) else { return Ok(()) };
    let inverse = Inverse { bucket: store.name.clone(), key: plan.key.clone() };
    let kind = if plan.recipients.is_empty() { "application/sql" } else { "application/octet-stream" };
    let put = async { Ok(Written::of(&store.put(&plan.key, &cx.run_id(), kind, stored.clone()).await?)) };
    cx.act(GLOBALS, &inverse, put).await?;
    Ok(())
}
