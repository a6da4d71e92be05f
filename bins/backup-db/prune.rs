//! `--action prune`: deletes backups that are not needed any more.

use std::collections::BTreeMap;
use std::time::Duration;

use kit::{Action, Cx, Failure, Go, Note, Outcome, Plan};
use postgres::Rung;
use s3::{Bucket, Listed};
use serde::Serialize;
use time::OffsetDateTime;

use crate::key::{Destination, Kind, base_folder, folder};
use crate::shelf::{Backup, Shelf, age, gather};

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The database whose dumps are meant; none where the base backups are.
    pub(crate) database: Option<String>,
    /// So many verified backups are kept of each server.
    pub(crate) keep: usize,
    /// Nothing younger is deleted.
    pub(crate) keep_for: Duration,
    /// What counts as verified.
    pub(crate) rung: Rung,
    /// How old the newest verified one may be.
    pub(crate) max_age: Duration,
}

impl Request {
    /// What it is about, for a person.
    fn what(&self) -> String {
        match &self.database {
            Some(database) => format!("backups of {database}"),
            None => "base backups".to_owned(),
        }
    }

    fn one(&self) -> String {
        match &self.database {
            Some(database) => format!("backup of {database}"),
            None => "base backup".to_owned(),
        }
    }
}

/// What will be deleted.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PrunePlan {
    pub(crate) bucket: String,
    pub(crate) deletions: Vec<Deletion>,
    /// What stays, and why.
    pub(crate) kept: Vec<String>,
    #[serde(skip)]
    notes: Vec<Note>,
    #[serde(skip)]
    stays: String,
}

/// A backup, or the rest of one.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Deletion {
    pub(crate) what: String,
    /// In this order: the manifest first, so that what is half deleted is not taken for a backup.
    pub(crate) objects: Vec<Listed>,
}

impl PrunePlan {
    fn ids(&self) -> impl Iterator<Item = (String, &Deletion)> {
        self.deletions.iter().enumerate().map(|(n, deletion)| (format!("delete-{}", n + 1), deletion))
    }
}

impl Plan for PrunePlan {
    fn actions(&self) -> Vec<Action> {
        self.ids()
            .map(|(id, deletion)| {
                let keys: Vec<String> = deletion
                    .objects
                    .iter()
                    .map(|object| format!("s3://{}/{}", self.bucket, object.key))
                    .collect();
                Action::irreversible(
                    id,
                    format!("delete {}", deletion.what),
                    "the backup is gone then; in a bucket with versions it can be fetched back",
                )
                .detail(keys.join("\n"))
            })
            .collect()
    }

    fn notes(&self) -> Vec<Note> {
        let kept = self.kept.iter().map(|kept| Note::Info(format!("stays: {kept}")));
        kept.chain(self.notes.iter().cloned()).collect()
    }

    fn unchanged(&self) -> String {
        self.stays.clone()
    }
}

/// A dump without a manifest may be that of a run which verifies it at the moment.
const LOOSE: Duration = Duration::from_hours(24);

/// Decides; refuses to delete anything where there is no new enough verified backup.
pub(crate) fn decide(
    request: &Request,
    shelf: &Shelf,
    now: OffsetDateTime,
    bucket: &str,
) -> Result<PrunePlan, Failure> {
    let mut plan = PrunePlan {
        bucket: bucket.to_owned(),
        deletions: Vec::new(),
        kept: Vec::new(),
        notes: Vec::new(),
        stays: String::new(),
    };
    let mut servers: BTreeMap<&str, Vec<&Backup>> = BTreeMap::new();
    for backup in &shelf.backups {
        let server = backup.manifest.system_identifier.as_deref().unwrap_or("unknown");
        servers.entry(server).or_default().push(backup);
    }
    let in_words = |backup: &Backup| {
        let age = age(now, backup.manifest.started)
            .map_or_else(|| "from the future".to_owned(), |age| format!("{} old", kit::age(age)));
        format!(
            "the backup of {} ({age}, {}, {})",
            kit::minute(backup.manifest.started),
            kit::size(backup.manifest.bytes),
            if backup.whole() { backup.manifest.rung.word() } else { "not whole" }
        )
    };
    let mut fresh = false;
    let mut newest: Option<Duration> = None;
    for (server, backups) in &servers {
        // The newest first. One from the future is no proof that backups are still made.
        let verified: Vec<&&Backup> = backups
            .iter()
            .filter(|backup| backup.verified(request.rung) && age(now, backup.manifest.started).is_some())
            .collect();
        let youngest = verified.first().and_then(|backup| age(now, backup.manifest.started));
        newest = newest.into_iter().chain(youngest).min();
        if youngest.is_none_or(|age| age > request.max_age) {
            plan.kept.push(format!(
                "all {} of the server {server}: {}",
                backups.len(),
                youngest.map_or_else(
                    || format!("none of them is verified ({})", request.rung),
                    |age| format!("the newest verified one is {} old, more than --max-age", kit::age(age))
                )
            ));
            continue;
        }
        fresh = true;
        // What is not older than the last of those that are kept.
        let oldest = verified.get(request.keep - 1).map(|backup| backup.manifest.started);
        for backup in backups {
            let young = age(now, backup.manifest.started).is_none_or(|age| age <= request.keep_for);
            let why = match oldest {
                None => Some(format!("there are only {} verified", verified.len())),
                Some(oldest) if backup.manifest.started >= oldest => {
                    Some(format!("within the last {} verified", request.keep))
                }
                Some(_) if young => Some("younger than --keep-for".to_owned()),
                Some(_) => None,
            };
            match why {
                Some(why) => plan.kept.push(format!("{}: {why}", in_words(backup))),
                None => plan.deletions.push(Deletion {
                    what: in_words(backup),
                    objects: [backup.at.clone()]
                        .into_iter()
                        .chain(backup.objects.iter().rev().cloned())
                        .collect(),
                }),
            }
        }
    }
    if !fresh {
        let why = match newest {
            Some(newest) => {
                format!("the newest verified {} is {} old", request.one(), kit::age(newest))
            }
            None => format!("there is no verified {} ({})", request.one(), request.rung),
        };
        return Err(Failure::refused(format!("prune the {}", request.what())).because(why).help(
            "make a new one first (--action back-up); old backups are deleted only after that. --max-age and --min-rung say what is enough",
        ));
    }
    for loose in &shelf.loose {
        let old = age(now, loose.dump.modified).is_some_and(|age| age > request.keep_for.max(LOOSE));
        let what = format!(
            "{} of {} without a manifest ({})",
            loose.in_words(),
            kit::minute(loose.dump.modified),
            kit::size(loose.dump.bytes)
        );
        if old {
            let objects = [loose.dump.clone()].into_iter().chain(loose.beside.iter().cloned()).collect();
            plan.deletions.push(Deletion { what, objects });
        } else {
            plan.kept.push(format!("{what}: a run may be working on it"));
        }
    }
    for bad in &shelf.unreadable {
        plan.notes.push(Note::Warning(format!(
            "s3://{bucket}/{} can't be read ({}): it and what lies beside it stay",
            bad.key, bad.why
        )));
    }
    plan.stays = format!("nothing of the {} {} is to go", shelf.backups.len(), request.what());
    Ok(plan)
}

pub(crate) async fn prune(
    cx: &Cx,
    store: &Bucket,
    to: &Destination,
    request: &Request,
) -> Result<Outcome, Failure> {
    let (prefix, kind) = match &request.database {
        Some(database) => (folder(&to.prefix, database), Kind::Dump),
        None => (base_folder(&to.prefix), Kind::Base),
    };
    let shelf = gather(cx, store, &prefix).await?.only(kind);
    cx.observed(&shelf);
    let mut plan = decide(request, &shelf, cx.now(), &store.name)?;
    let first = plan.deletions.iter().flat_map(|deletion| &deletion.objects).next();
    let versioned = match first {
        Some(object) => cx
            .or_cancelled(store.head(&object.key, None))
            .await??
            .is_some_and(|found| found.version.is_some()),
        None => false,
    };
    if versioned {
        plan.notes.push(Note::Warning(
            "the bucket keeps versions: what is deleted stays there, and is paid for, as a version until a lifecycle rule expires it"
                .to_owned(),
        ));
    }
    if let Go::Stop(outcome) = cx.show(&plan)? {
        return Ok(outcome);
    }
    for (id, deletion) in plan.ids() {
        let call = async {
            for (n, object) in deletion.objects.iter().enumerate() {
                // After the manifest it goes on although the run was cancelled: two or three calls, and nothing is left half.
                let gone = store.delete(&object.key, None, &object.etag).await;
                gone.map_err(|failure| {
                    if n == 0 {
                        failure
                    } else {
                        failure.untouched(false).state(format!(
                            "its manifest is gone, so that it is no backup any more; s3://{}/{} is left, and the next prune deletes it",
                            plan.bucket, object.key
                        ))
                    }
                })?;
            }
            Ok(())
        };
        cx.act(&id, &serde_json::Value::Null, call).await?;
    }
    Ok(match plan.deletions.len() {
        0 => Outcome::unchanged(plan.stays.clone()),
        n => {
            let bytes: u64 =
                plan.deletions.iter().flat_map(|deletion| &deletion.objects).map(|object| object.bytes).sum();
            let what = if n == 1 { "1 backup is".to_owned() } else { format!("{n} backups are") };
            Outcome::changed(format!("{what} deleted ({}), {} stay", kit::size(bytes), plan.kept.len()))
        }
    })
}

#[cfg(test)]
mod tests {
    use kit::Code;

    use super::*;
    use crate::shelf::testing::{at, backup, object};
    use crate::shelf::{Loose, Unreadable};

    fn request(keep: usize) -> Request {
        Request {
            database: Some("rally".into()),
            keep,
            keep_for: Duration::from_hours(48),
            rung: Rung::ReadBack,
            max_age: Duration::from_hours(25),
        }
    }

    fn daily(days: i64) -> Shelf {
        let backups = (0..days)
            .map(|day| backup(&format!("202611{:02}T120000Z-1-a", 21 - day), 24 * day + 1))
            .collect();
        Shelf { backups, ..Shelf::default() }
    }

    fn gone(plan: &PrunePlan) -> Vec<String> {
        plan.deletions
            .iter()
            .map(|deletion| deletion.objects[0].key.replace("x/rally/", "").chars().take(8).collect())
            .collect()
    }

    #[test]
    fn so_many_verified_ones_and_all_that_is_young_stay() {
        let plan = decide(&request(2), &daily(6), at(0), "b").unwrap();
        assert_eq!(gone(&plan), ["20261119", "20261118", "20261117", "20261116"]);
        assert!(plan.deletions[0].objects[0].key.ends_with(".manifest.json"), "the manifest goes first");
        assert!(plan.deletions[0].objects[1].key.ends_with(".dump"));
        assert_eq!(gone(&decide(&request(5), &daily(6), at(0), "b").unwrap()), ["20261116"]);
        assert!(gone(&decide(&request(6), &daily(6), at(0), "b").unwrap()).is_empty());
        assert!(gone(&decide(&request(60), &daily(6), at(0), "b").unwrap()).is_empty());
    }

    #[test]
    fn what_is_not_verified_does_not_count_among_those_that_are_kept() {
        let mut shelf = daily(6);
        shelf.backups[0].objects[0].etag = "\"other\"".into();
        shelf.backups[1].manifest.rung = Rung::Contents;
        let failure = decide(&request(2), &shelf, at(0), "b").unwrap_err();
        assert_eq!(failure.code(), Code::Refused);
        assert!(failure.chain()[0].contains("2 d 1 h old"), "{:?}", failure.chain());
        let lenient = Request { max_age: Duration::from_hours(72), ..request(2) };
        assert_eq!(gone(&decide(&lenient, &shelf, at(0), "b").unwrap()), ["20261117", "20261116"]);
    }

    #[test]
    fn one_verified_backup_is_never_deleted_however_old_the_rest() {
        let mut shelf = daily(4);
        for backup in &mut shelf.backups[1..] {
            backup.manifest.rung = Rung::Present;
        }
        let plan = decide(&Request { keep_for: Duration::ZERO, ..request(1) }, &shelf, at(0), "b").unwrap();
        assert_eq!(gone(&plan), ["20261120", "20261119", "20261118"]);
        let two = decide(&Request { keep_for: Duration::ZERO, ..request(2) }, &shelf, at(0), "b").unwrap();
        assert!(gone(&two).is_empty(), "only one of two is there");
    }

    #[test]
    fn nothing_goes_without_a_new_verified_backup() {
        let old = Shelf { backups: daily(6).backups.split_off(3), ..Shelf::default() };
        assert_eq!(decide(&request(1), &old, at(0), "b").unwrap_err().code(), Code::Refused);
        assert_eq!(decide(&request(1), &Shelf::default(), at(0), "b").unwrap_err().code(), Code::Refused);
        // One from the future proves nothing: it stays, and does not make the others go.
        let mut shelf = old;
        shelf.backups.insert(0, backup("20271121T120000Z-1-a", -8760));
        assert_eq!(decide(&request(1), &shelf, at(0), "b").unwrap_err().code(), Code::Refused);
    }

    #[test]
    fn each_server_is_judged_by_its_own_backups() {
        let mut shelf = daily(6);
        for backup in &mut shelf.backups[3..] {
            backup.manifest.system_identifier = Some("99".into());
        }
        let plan = decide(&request(1), &shelf, at(0), "b").unwrap();
        assert_eq!(gone(&plan), ["20261119"], "of the server that is backed up still");
        assert!(plan.kept.iter().any(|kept| kept.starts_with("all 3 of the server 99")), "{:?}", plan.kept);
    }

    #[test]
    fn what_cannot_be_read_stays_and_so_does_what_lies_beside_it() {
        let mut shelf = daily(1);
        let loose = |name: &str, hours: i64| Loose {
            dump: object(&format!("x/rally/{name}"), hours),
            beside: Vec::new(),
        };
        shelf.loose = vec![loose("20261101T000000Z-1-a.dump", 400), loose("20261121T000000Z-1-a.dump", 5)];
        shelf.unreadable = vec![Unreadable {
            key: "x/rally/20261102T000000Z-1-a.dump.manifest.json".into(),
            why: "cut off".into(),
        }];
        let plan = decide(&request(1), &shelf, at(0), "b").unwrap();
        assert_eq!(gone(&plan), ["20261101"], "the dump of a run that was killed weeks ago");
        assert!(
            plan.notes().iter().any(|note| matches!(note, Note::Warning(text) if text.contains("cut off")))
        );
    }
}
