//! Whether a snapshot is to be made, and whether what came of it is one. Pure.

use std::time::Duration;

use kit::{Action, Failure, Note, Plan};
use serde::Serialize;
use time::OffsetDateTime;

use super::calls::{BACKUP_ID, Database, Kind, Snapshot};

pub(super) const CREATE: &str = "create-snapshot";

pub(super) struct Request {
    pub(super) kind: Kind,
    pub(super) id: String,
    pub(super) backup_id: String,
    pub(super) max_age: Duration,
}

#[derive(Debug, Serialize)]
pub(super) struct World {
    #[serde(with = "time::serde::rfc3339")]
    pub(super) now: OffsetDateTime,
    pub(super) place: String,
    pub(super) database: Option<Database>,
    /// What a snapshot of this backup id is called.
    pub(super) name: String,
    pub(super) snapshot: Option<Snapshot>,
}

#[derive(Debug, Serialize)]
pub(super) struct SnapshotPlan {
    pub(super) name: String,
    pub(super) work: Work,
    does: String,
    #[serde(skip)]
    notes: Vec<Note>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Work {
    /// It is there.
    Keep(Box<Snapshot>),
    /// It is being made.
    Follow,
    Make,
}

/// The name of a snapshot: letters, digits and single hyphens, at most 255, as RDS keeps them, in lower case. The same for
/// every run of one backup id.
///
/// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBSnapshot.html>
pub(super) fn name(database: &str, backup_id: &str) -> String {
    let text = format!("cutover-{database}-{backup_id}").to_ascii_lowercase();
    let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let name: String = words.collect::<Vec<_>>().join("-").chars().take(255).collect();
    name.trim_end_matches('-').to_owned()
}

pub(super) fn plan(request: &Request, world: &World) -> Result<SnapshotPlan, Failure> {
    let (kind, id) = (request.kind.word(), &request.id);
    let refused = |why: String| Failure::refused(format!("make a snapshot of the {kind} {id}")).because(why);
    let flag = match request.kind {
        Kind::Instance => "--db-instance",
        Kind::Cluster => "--db-cluster",
    };
    let Some(database) = &world.database else {
        return Err(refused(format!("there is no such {kind} in {}", world.place))
            .help(format!("correct {flag}, --region or the credentials")));
    };
    if let Some(cluster) = &database.cluster {
        return Err(refused(format!("it belongs to the cluster {cluster}, which is what has snapshots"))
            .help(format!("use --db-cluster {cluster}")));
    }
    let mut notes = vec![Note::Info(
        "a snapshot is not proven: only restoring it shows that it can be restored".to_owned(),
    )];
    if !database.encrypted {
        notes.push(Note::Warning(format!("{id} is not encrypted, and so its snapshot is not")));
    }
    let does = format!(
        "make the snapshot {} of the {kind} {id} ({} {})",
        world.name, database.engine, database.version
    );
    let planned = |work: Work, notes: Vec<Note>| SnapshotPlan { name: world.name.clone(), work, does, notes };
    if let Some(snapshot) = &world.snapshot {
        let other = |why: String| {
            refused(why).help("give another --backup-id, or look at that snapshot and delete it by hand")
        };
        if snapshot.of != *id || snapshot.tag(BACKUP_ID) != Some(&request.backup_id) {
            return Err(other(format!("there is a snapshot {} already, and it is another's", snapshot.id)));
        }
        return match (snapshot.status.as_str(), snapshot.taken) {
            ("available", Some(taken)) => {
                let old = Duration::try_from(world.now - taken).unwrap_or_default();
                if old > request.max_age {
                    return Err(other(format!(
                        "the snapshot {} of the same id is {} old, and --max-age is {}",
                        snapshot.id,
                        kit::age(old),
                        kit::age(request.max_age)
                    )));
                }
                Ok(planned(Work::Keep(Box::new(snapshot.clone())), notes))
            }
            ("creating" | "pending", _) => {
                notes.push(Note::Info(format!(
                    "{} is being made by an earlier run: it is followed",
                    snapshot.id
                )));
                Ok(planned(Work::Follow, notes))
            }
            (status, _) => Err(other(format!("the snapshot {} of the same id is {status}", snapshot.id))),
        };
    }
    if !matches!(database.status.as_str(), "available" | "storage-optimization") {
        return Err(refused(format!(
            "it is {}, and RDS makes snapshots of available ones only",
            database.status
        ))
        .help("wait until it is available, and run it again"));
    }
    Ok(planned(Work::Make, notes))
}

/// Whether it is a snapshot of this database, of this backup, and of now.
pub(super) fn check(request: &Request, world: &World, snapshot: &Snapshot) -> Result<(), String> {
    if snapshot.of != request.id || snapshot.tag(BACKUP_ID) != Some(&request.backup_id) {
        return Err(format!("it is of {}, and made for another backup id", snapshot.of));
    }
    let encrypted = world.database.as_ref().is_some_and(|database| database.encrypted);
    if encrypted && !snapshot.encrypted {
        return Err(format!("{} is encrypted, and its snapshot is not", request.id));
    }
    match snapshot.taken {
        None => Err("RDS does not say when it was taken".to_owned()),
        Some(taken) if taken + request.max_age < world.now => {
            Err(format!("it was taken at {}", kit::minute(taken)))
        }
        Some(_) => Ok(()),
    }
}

impl Plan for SnapshotPlan {
    fn actions(&self) -> Vec<Action> {
        match self.work {
            Work::Make => vec![Action::new(
                CREATE,
                &self.does,
                "delete the snapshot, if it is still the one of this run",
            )],
            Work::Keep(_) | Work::Follow => Vec::new(),
        }
    }

    fn notes(&self) -> Vec<Note> {
        self.notes.clone()
    }

    fn unchanged(&self) -> String {
        match self.work {
            Work::Follow => format!("{} is being made already", self.name),
            _ => format!("{} was made for the same id", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use kit::Code;

    use super::*;

    fn at(ago: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_795_262_400 - ago).unwrap()
    }

    fn snapshot(status: &str, ago: i64) -> Snapshot {
        Snapshot {
            id: "cutover-rally-release-7".into(),
            arn: "arn:aws:rds:us-east-1:123456789012:snapshot:cutover-rally-release-7".into(),
            of: "rally".into(),
            status: status.into(),
            percent: Some(40),
            taken: Some(at(ago)),
            engine: "postgres".into(),
            gib: 100,
            encrypted: true,
            tags: vec![(BACKUP_ID.into(), "release/7".into())],
        }
    }

    fn world(snapshot: Option<Snapshot>) -> World {
        let database = Database {
            id: "rally".into(),
            status: "available".into(),
            engine: "postgres".into(),
            version: "15.8".into(),
            encrypted: true,
            cluster: None,
        };
        World {
            now: at(0),
            place: "account 123456789012, region us-east-1".into(),
            database: Some(database),
            name: name("rally", "release/7"),
            snapshot,
        }
    }

    fn request() -> Request {
        let max_age = Duration::from_hours(1);
        Request { kind: Kind::Instance, id: "rally".into(), backup_id: "release/7".into(), max_age }
    }

    /// The constraints of `CreateDBSnapshot`'s reference page.
    #[test]
    fn a_name_is_one_that_rds_takes_and_keeps() {
        for (database, id, expected) in [
            ("rally", "release/7", "cutover-rally-release-7"),
            ("Rally-DB", "acme/x/77//build_1", "cutover-rally-db-acme-x-77-build-1"),
            ("rally", "--", "cutover-rally"),
        ] {
            assert_eq!(name(database, id), expected);
        }
        let long = name("rally", &"ab-".repeat(200));
        assert!(long.len() <= 255 && !long.ends_with('-') && !long.contains("--"), "{long}");
    }

    #[test]
    fn one_of_the_same_id_is_kept_followed_or_refused() {
        assert_eq!(plan(&request(), &world(None)).unwrap().work, Work::Make);
        assert!(matches!(
            plan(&request(), &world(Some(snapshot("available", 60)))).unwrap().work,
            Work::Keep(_)
        ));
        assert_eq!(plan(&request(), &world(Some(snapshot("creating", 60)))).unwrap().work, Work::Follow);
        let mut of_another = snapshot("available", 60);
        of_another.tags[0].1 = "release-7".into();
        for (there, why) in [
            (snapshot("available", 7200), "2 h 0 min old"),
            (snapshot("failed", 60), "is failed"),
            (snapshot("deleting", 60), "is deleting"),
            (of_another, "another's"),
        ] {
            let refused = plan(&request(), &world(Some(there))).unwrap_err();
            assert_eq!(refused.code(), Code::Refused);
            assert!(refused.chain()[0].contains(why), "{why}: {:?}", refused.chain());
        }
    }

    #[test]
    fn what_can_have_no_snapshot_is_refused_with_the_next_move() {
        type Change = fn(&mut World);
        let cases: [(Change, &str); 3] = [
            (|world| world.database = None, "there is no such DB instance in account 123456789012"),
            (
                |world| {
                    if let Some(database) = &mut world.database {
                        database.cluster = Some("boss".into());
                    }
                },
                "belongs to the cluster boss",
            ),
            (
                |world| {
                    if let Some(database) = &mut world.database {
                        database.status = "modifying".into();
                    }
                },
                "it is modifying",
            ),
        ];
        for (change, why) in cases {
            let mut world = world(None);
            change(&mut world);
            let refused = plan(&request(), &world).unwrap_err();
            assert!(refused.chain()[0].contains(why), "{:?}", refused.chain());
        }
    }

    #[test]
    fn what_came_of_it_is_checked() {
        let seen = world(None);
        assert_eq!(check(&request(), &seen, &snapshot("available", -5)), Ok(()));
        let mut clear = snapshot("available", -5);
        clear.encrypted = false;
        assert!(check(&request(), &seen, &clear).unwrap_err().contains("is encrypted"));
        assert!(check(&request(), &seen, &snapshot("available", 86_400)).unwrap_err().contains("taken at"));
        let of_another = Snapshot { of: "other".into(), ..snapshot("available", -5) };
        assert!(check(&request(), &seen, &of_another).is_err());
    }
}
