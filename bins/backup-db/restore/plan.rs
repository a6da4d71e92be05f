//! Decides what a restore does: pure.

use std::time::Duration;

use kit::{Action, Failure, Note, Plan};
use postgres::{Manifest, Rung};
use serde::Serialize;
use time::OffsetDateTime;

use crate::shelf::age;
use crate::tools::{Tools, Version};

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) into: String,
    pub(crate) manifest_uri: String,
    pub(crate) manifest: Manifest,
    pub(crate) max_age: Option<Duration>,
    pub(crate) min_rung: Rung,
    pub(crate) owners: bool,
}

/// What was seen.
#[expect(clippy::struct_excessive_bools, reason = "facts are independent of each other")]
#[derive(Clone, Debug, Serialize)]
pub(crate) struct World {
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) now: OffsetDateTime,
    pub(crate) server: String,
    pub(crate) version: Version,
    pub(crate) in_recovery: bool,
    pub(crate) tools: Tools,
    pub(crate) may_create: bool,
    pub(crate) lacks_extensions: Vec<String>,
    pub(crate) lacks_roles: Vec<String>,
    /// Roles that ours is no member of, and can give nothing to.
    pub(crate) roles_of_others: Vec<String>,
    /// The database that has the name already.
    pub(crate) present: Option<Present>,
    /// Its name until it is verified.
    pub(crate) interim: String,
    /// Whether there is one of that name, which a run left that was killed.
    pub(crate) left: bool,
    /// Whether a living run works on it.
    pub(crate) busy: bool,
}

/// A database that is there.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Present {
    pub(crate) comment: Option<String>,
}

/// What will be done.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RestorePlan {
    pub(crate) into: String,
    pub(crate) interim: String,
    /// The comment by which a restored database is known.
    pub(crate) mark: String,
    pub(crate) drop_left: bool,
    pub(crate) owners: bool,
    pub(crate) work: Work,
    does: String,
    #[serde(skip)]
    notes: Vec<Note>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Work {
    /// It was restored from this backup already.
    Keep,
    Restore,
}

pub(crate) const DROP: &str = "drop-half-restored";
pub(crate) const RESTORE: &str = "restore-database";

impl Plan for RestorePlan {
    fn actions(&self) -> Vec<Action> {
        if self.work == Work::Keep {
            return Vec::new();
        }
        let mut actions = Vec::new();
        if self.drop_left {
            actions.push(Action::irreversible(
                DROP,
                format!("drop the database {}, which an earlier restore left half done", self.interim),
                "it was never complete, and never had its name",
            ));
        }
        actions.push(
            Action::new(
                RESTORE,
                &self.does,
                format!(
                    "drop the database {}, if nobody wrote to it and nobody is connected to it",
                    self.into
                ),
            )
            .detail(format!(
                "as {} until its rows and objects are those of the manifest, then it gets its name",
                self.interim
            )),
        );
        actions
    }

    fn notes(&self) -> Vec<Note> {
        self.notes.clone()
    }

    fn unchanged(&self) -> String {
        format!("{} was restored from this backup already", self.into)
    }
}

/// Decides; refuses whatever would touch a database that is there, or end half-way.
pub(crate) fn plan(request: &Request, world: &World) -> Result<RestorePlan, Failure> {
    let manifest = &request.manifest;
    let refused = |why: String| {
        Failure::refused(format!("restore {} into {}", manifest.uri(), request.into)).because(why)
    };
    let mark = format!("restored by cutover backup-db from {}", request.manifest_uri);
    let mut notes = Vec::new();
    let planned = |work: Work, notes: Vec<Note>| RestorePlan {
        into: request.into.clone(),
        interim: world.interim.clone(),
        mark: mark.clone(),
        drop_left: world.left,
        owners: request.owners,
        does: format!(
            "restore {} ({}, {}, of {}) into the new database {} on {}",
            manifest.uri(),
            kit::size(manifest.bytes),
            manifest.rung,
            kit::minute(manifest.started),
            request.into,
            world.server
        ),
        work,
        notes,
    };
    if let Some(present) = &world.present {
        if present.comment.as_deref() == Some(&mark) {
            return Ok(planned(Work::Keep, notes));
        }
        return Err(refused(format!("there is a database {} on {}", request.into, world.server))
            .help("name a new database with --into: a restore never goes into one that is there"));
    }
    if world.busy {
        return Err(refused("another restore into this name is under way".to_owned())
            .help("wait for it, or name another database with --into"));
    }
    if manifest.kind != "dump" {
        return Err(refused(format!("it is a {}, and only a dump can be restored", manifest.kind)));
    }
    if manifest.rung < request.min_rung {
        return Err(refused(format!("it was verified up to {} only", manifest.rung))
            .help(format!("choose another, or accept it with --min-rung {}", manifest.rung)));
    }
    match (age(world.now, manifest.started), request.max_age) {
        (None, _) => notes.push(Note::Warning(
            "the manifest says that the backup is from the future: a clock is wrong".to_owned(),
        )),
        (Some(age), Some(most)) if age > most => {
            return Err(refused(format!("it is {} old, and --max-age is {}", kit::age(age), kit::age(most)))
                .help("choose a newer one, or a longer --max-age"));
        }
        (Some(age), _) => notes.push(Note::Info(format!("the backup is {} old", kit::age(age)))),
    }
    if world.in_recovery {
        return Err(refused(format!("{} is a standby, which takes no writes", world.server)));
    }
    let from = Version::parse(&manifest.server_version);
    if let Some(from) = from.filter(|from| from.major > world.version.major) {
        return Err(refused(format!(
            "it is of PostgreSQL {from}, and {} is {}, which is older",
            world.server, world.version
        ))
        .help("restore into a server of the same version or newer"));
    }
    if !world.may_create {
        return Err(refused("the role may not make databases".to_owned())
            .help("ALTER ROLE ... CREATEDB, or connect as another role"));
    }
    if !world.lacks_extensions.is_empty() {
        return Err(refused(format!(
            "{} lacks the extensions {}",
            world.server,
            world.lacks_extensions.join(", ")
        ))
        .help("install them there first"));
    }
    if request.owners && !world.lacks_roles.is_empty() {
        let script = manifest.globals_key.as_ref().map_or_else(
            || "make them there".to_owned(),
            |key| format!("make them there: s3://{}/{key} has them", manifest.bucket),
        );
        return Err(refused(format!("{} lacks the roles {}", world.server, world.lacks_roles.join(", ")))
            .help(format!("{script}, or restore without owners and privileges (--no-owner)")));
    }
    if request.owners && !world.roles_of_others.is_empty() {
        notes.push(Note::Warning(format!(
            "this role is no member of {}: if one of them owns something, the restore ends there; become a member or \
             connect as a superuser, or restore without owners (--no-owner)",
            world.roles_of_others.join(", ")
        )));
    }
    if request.owners && manifest.roles.is_none() {
        notes.push(Note::Warning(
            "the manifest does not say which roles the database needs: one that is missing ends the restore"
                .to_owned(),
        ));
    }
    if manifest.rows.is_none() {
        notes.push(Note::Warning(
            "the manifest has no row counts: that all rows are there can't be verified".to_owned(),
        ));
    }
    notes.push(Note::Info(
        "settings and privileges of the database itself (ALTER DATABASE, GRANT ... ON DATABASE) are not part of a dump; \
         run ANALYZE in it before it is used"
            .to_owned(),
    ));
    Ok(planned(Work::Restore, notes))
}

#[cfg(test)]
mod tests {
    use kit::Code;

    use super::*;
    use crate::shelf::testing::at;

    fn request() -> Request {
        Request {
            into: "rally_restored".into(),
            manifest_uri: "s3://b/rally/then.dump.manifest.json".into(),
            manifest: Manifest {
                rows: Some([].into()),
                roles: Some(Vec::new()),
                ..crate::tests::manifest(at(3))
            },
            max_age: None,
            min_rung: Rung::ReadBack,
            owners: true,
        }
    }

    fn world() -> World {
        let version = Version::parse("15.18").unwrap();
        World {
            now: at(0),
            server: "db.example:5432".into(),
            version: version.clone(),
            in_recovery: false,
            tools: crate::tests::tools(),
            may_create: true,
            lacks_extensions: Vec::new(),
            lacks_roles: Vec::new(),
            roles_of_others: Vec::new(),
            present: None,
            interim: "cutover_restore_1".into(),
            left: false,
            busy: false,
        }
    }

    fn ids(plan: &RestorePlan) -> Vec<String> {
        plan.actions().into_iter().map(|action| action.id).collect()
    }

    #[test]
    fn a_new_database_is_restored_and_a_half_restored_one_dropped_before() {
        assert_eq!(ids(&plan(&request(), &world()).unwrap()), [RESTORE]);
        let left = World { left: true, ..world() };
        assert_eq!(ids(&plan(&request(), &left).unwrap()), [DROP, RESTORE]);
    }

    #[test]
    fn a_database_that_is_there_is_kept_if_it_is_this_backup_and_refused_if_not() {
        let with = |comment: Option<&str>| World {
            present: Some(Present { comment: comment.map(str::to_owned) }),
            left: true,
            ..world()
        };
        let same = "restored by cutover backup-db from s3://b/rally/then.dump.manifest.json";
        assert!(ids(&plan(&request(), &with(Some(same))).unwrap()).is_empty());
        for other in [
            None,
            Some("mine"),
            Some("restored by cutover backup-db from s3://b/rally/other.dump.manifest.json"),
        ] {
            let refused = plan(&request(), &with(other)).unwrap_err();
            assert_eq!(refused.code(), Code::Refused);
            assert!(refused.chain()[0].contains("there is a database rally_restored"));
        }
    }

    #[test]
    fn what_would_end_half_way_is_refused_before_anything_is_made() {
        type Change = fn(&mut Request, &mut World);
        let cases: [(Change, &str); 9] = [
            (|_, world| world.busy = true, "under way"),
            (|request, _| request.manifest.rung = Rung::Contents, "contents only"),
            (|request, _| request.max_age = Some(Duration::from_hours(1)), "3 h 0 min old"),
            (|_, world| world.in_recovery = true, "standby"),
            (|request, _| request.manifest.server_version = "16.1".into(), "older"),
            (|_, world| world.may_create = false, "may not make databases"),
            (|_, world| world.lacks_extensions = vec!["postgis".into()], "postgis"),
            (|_, world| world.lacks_roles = vec!["rally".into()], "roles rally"),
            (|request, _| request.manifest.kind = "snapshot".into(), "a snapshot"),
        ];
        for (change, why) in cases {
            let (mut request, mut world) = (request(), world());
            change(&mut request, &mut world);
            let refused = plan(&request, &world).unwrap_err();
            assert_eq!(refused.code(), Code::Refused);
            assert!(refused.chain()[0].contains(why), "{why}: {:?}", refused.chain());
        }
        let mut without = request();
        without.owners = false;
        let lacking = World { lacks_roles: vec!["rally".into()], ..world() };
        assert!(plan(&without, &lacking).is_ok());
    }
}
