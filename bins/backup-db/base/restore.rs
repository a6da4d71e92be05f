//! `--mode base --action restore`: a base backup into a new folder.
//!
//! It is unpacked beside the folder and gets its name when every file was compared with PostgreSQL's manifest, so that a folder
//! of that name is never half a server.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kit::{Action, Cx, Failure, Go, Note, Outcome, Plan};
use postgres::{Manifest, Rung};
use rustix::fs::{FlockOperation, flock, statvfs};
use s3::{Bucket, Object};
use serde::Serialize;
use time::OffsetDateTime;

use super::archive::{private, sync};
use super::check::read_back;
use crate::args::Args;
use crate::dump::rfc3339;
use crate::key::{Kind, base_folder};
use crate::readback::Stored;
use crate::restore::{Source, latest, read};
use crate::shelf::{age, gather};
use crate::verify::whole;

/// What was seen.
#[derive(Clone, Debug, Serialize)]
struct World {
    #[serde(with = "time::serde::rfc3339")]
    now: OffsetDateTime,
    manifest: Manifest,
    object: Option<Object>,
    folder: Folder,
}

/// The folder of `--into-dir`.
#[derive(Clone, Debug, Serialize)]
struct Folder {
    path: PathBuf,
    /// Where it is unpacked until it is whole.
    interim: PathBuf,
    /// What of a run that was killed is there, and is removed.
    left: bool,
    /// Whether a living run unpacks there.
    busy: bool,
    /// Why it can't be used.
    trouble: Option<String>,
    /// Bytes that are free where it is.
    free: u64,
}

struct Request {
    max_age: Option<Duration>,
    min_rung: Rung,
}

#[derive(Clone, Debug, Serialize)]
struct RestorePlan {
    uri: String,
    into: PathBuf,
    bytes: u64,
    interim: PathBuf,
    remove_left: bool,
    #[serde(skip)]
    notes: Vec<Note>,
}

/// The ids of the actions.
const REMOVE: &str = "remove-leftover";
const UNPACK: &str = "unpack-base";

impl Plan for RestorePlan {
    fn actions(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.remove_left {
            actions.push(Action::irreversible(
                REMOVE,
                format!("remove {}, which a run that was killed left half unpacked", self.interim.display()),
                "no server ever ran on it",
            ));
        }
        actions.push(Action::irreversible(
            UNPACK,
            format!(
                "unpack {} ({}) into {}, and compare every file",
                self.uri,
                kit::size(self.bytes),
                self.into.display()
            ),
            "remove the folder by hand, when no server runs on it",
        ));
        actions
    }

    fn notes(&self) -> Vec<Note> {
        self.notes.clone()
    }

    fn unchanged(&self) -> String {
        String::new()
    }
}

pub(crate) async fn restore(
    cx: &Cx,
    args: &Args,
    store: &Bucket,
    source: Source,
) -> Result<Outcome, Failure> {
    if cx.undo().is_some() {
        return Err(Failure::refused("undo this restore")
            .because("a server may run on the folder by now")
            .help("remove the folder by hand, when none does"));
    }
    let request = Request { max_age: args.max_age, min_rung: args.min_rung() };
    let key = match source {
        Source::Manifest { key } => key,
        Source::Latest { to, .. } => {
            let shelf = gather(cx, store, &base_folder(&to.prefix)).await?.only(Kind::Base);
            latest(&shelf, "base backup", args.min_rung(), cx.now())?
        }
    };
    let manifest = read(cx, store, &key, Kind::Base).await?;
    let object = cx.or_cancelled(store.head(&manifest.key, None)).await??;
    let folder = look(args.into_dir.as_deref().unwrap_or(Path::new("")))?;
    let world = World { now: cx.now(), manifest, object, folder };
    cx.observed(&world);
    let (plan, object) = decide(&request, &world)?;
    if let Go::Stop(outcome) = cx.show(&plan)? {
        return Ok(outcome);
    }
    cx.output("manifest-uri", store.uri(&key));
    if plan.remove_left {
        let removed = async {
            // Held while it is removed: whoever made it a moment ago and takes its lock now learns of it.
            let _lock = claim(&plan.interim).map_err(|error| unclaimed(&plan, &error))?;
            fs::remove_dir_all(&plan.interim).map_err(|error| unwritten(&plan, &error))
        };
        cx.act(REMOVE, &serde_json::Value::Null, removed).await?;
    }
    let unpacked = Box::pin(unpack(cx, store, &world.manifest, object, &plan));
    cx.act(UNPACK, &serde_json::Value::Null, unpacked).await?;
    Ok(Outcome::changed(format!(
        "{} holds {}, every file compared; give it to the account of the server (chown -R), look through its configuration, \
         and start PostgreSQL {} on it",
        plan.into.display(),
        plan.uri,
        world.manifest.server_version
    )))
}

fn unwritten(plan: &RestorePlan, error: &io::Error) -> Failure {
    Failure::failed(format!("unpack into {}", plan.into.display())).because(error.to_string())
}

const UNDER_WAY: &str = "another restore into this folder is under way";
const WAIT: &str = "wait for it to end, or name another folder with --into-dir";

fn unclaimed(plan: &RestorePlan, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::WouldBlock {
        return Failure::refused(format!("restore {}", plan.uri))
            .because(format!("{UNDER_WAY}: it holds {}", plan.interim.display()))
            .help(WAIT)
            .untouched(true);
    }
    unwritten(plan, error).untouched(true)
}

/// Takes the lock of a folder, which ends with this process however that ends. `WouldBlock` says that a living run has it, or
/// removed the folder.
fn claim(folder: &Path) -> io::Result<File> {
    let lock = File::open(folder)?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    let (held, named) = (lock.metadata()?, fs::symlink_metadata(folder));
    if named.is_ok_and(|named| (named.dev(), named.ino()) == (held.dev(), held.ino())) {
        return Ok(lock);
    }
    Err(io::ErrorKind::WouldBlock.into())
}

/// Makes the folder of this run alone.
fn begin(folder: &Path) -> io::Result<File> {
    private(folder).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => io::ErrorKind::WouldBlock.into(),
        _ => error,
    })?;
    claim(folder)
}

fn look(path: &Path) -> Result<Folder, Failure> {
    let attempt = || Failure::usage(format!("use --into-dir {}", path.display()));
    let absolute = std::path::absolute(path).map_err(|error| attempt().because(error))?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(attempt().because("it is no folder that can be made"));
    };
    let outer = fs::metadata(parent).map_err(|error| {
        attempt().because(format!("{}: {error}", parent.display())).help("make that folder first")
    })?;
    let trouble = match fs::symlink_metadata(&absolute) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(error.to_string()),
        Ok(meta) if !meta.is_dir() => Some("it is there, and is no folder".to_owned()),
        // The last act is to give it its name, which can't be done over a mount.
        Ok(meta) if meta.dev() != outer.dev() => {
            Some("it is where a disk is mounted: name a folder in it".to_owned())
        }
        Ok(_) => match fs::read_dir(&absolute).map(|mut entries| entries.next().is_some()) {
            Ok(false) => None,
            Ok(true) => Some("it is not empty".to_owned()),
            Err(error) => Some(error.to_string()),
        },
    };
    let disk =
        statvfs(parent).map_err(|error| attempt().because(format!("{}: {error}", parent.display())))?;
    let interim = parent.join(format!(".{}.cutover-unpacking", name.to_string_lossy()));
    Ok(Folder {
        busy: claim(&interim).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock),
        left: fs::symlink_metadata(&interim).is_ok(),
        interim,
        trouble,
        free: disk.f_bavail.saturating_mul(disk.f_frsize),
        path: absolute,
    })
}

/// Room for what a server writes when it starts, beside its files.
const MORE: u64 = 64 << 20;

fn decide<'a>(request: &Request, world: &'a World) -> Result<(RestorePlan, &'a Object), Failure> {
    let (manifest, folder) = (&world.manifest, &world.folder);
    let refused = |why: String| Failure::refused(format!("restore {}", manifest.uri())).because(why);
    let object = world.object.as_ref().filter(|object| whole(manifest, object)).ok_or_else(|| {
        refused("it is gone, or is no longer what its manifest says".to_owned())
            .help("choose another backup: --mode base --action list shows them")
    })?;
    if manifest.rung < request.min_rung {
        return Err(refused(format!(
            "it was verified up to {}, and --min-rung is {}",
            manifest.rung, request.min_rung
        ))
        .help("choose another backup, or accept less with --min-rung"));
    }
    if let Some(most) = request.max_age {
        let old = age(world.now, manifest.started);
        if old.is_none_or(|age| age > most) {
            let old =
                old.map_or_else(|| "from the future".to_owned(), |age| format!("{} old", kit::age(age)));
            return Err(refused(format!("it is {old}, and --max-age is {}", kit::age(most)))
                .help("choose another backup, or accept an older one with --max-age"));
        }
    }
    if let Some(trouble) = &folder.trouble {
        return Err(refused(format!("{}: {trouble}", folder.path.display()))
            .help("name a folder that is empty or not there yet"));
    }
    if folder.busy {
        return Err(refused(format!("{UNDER_WAY}: it holds {}", folder.interim.display())).help(WAIT));
    }
    let bytes = manifest.base.as_ref().map_or(manifest.bytes, |base| base.unpacked_bytes);
    if folder.free < bytes.saturating_add(MORE) {
        return Err(refused(format!(
            "it unpacks to {}, and {} are free for {}",
            kit::size(bytes),
            kit::size(folder.free),
            folder.path.display()
        ))
        .help("name a folder on a larger disk"));
    }
    let databases = manifest.base.as_ref().and_then(|base| base.databases.as_ref());
    let notes = vec![
        Note::Info(format!(
            "the server as it was on {}, with the databases {}; only PostgreSQL {} can be started on it",
            rfc3339(manifest.started),
            databases.map_or_else(|| "of then".to_owned(), |names| names.join(", ")),
            manifest.server_version
        )),
        Note::Warning(
            "its configuration is that of the server that was backed up: with the same archive_command it would write into the \
             same archive (start it with archive_mode = off), and files that lie elsewhere, such as Debian's /etc/postgresql, \
             are not in it"
                .to_owned(),
        ),
    ];
    let plan = RestorePlan {
        uri: manifest.uri(),
        into: folder.path.clone(),
        bytes,
        interim: folder.interim.clone(),
        remove_left: folder.left,
        notes,
    };
    Ok((plan, object))
}

/// Whatever fails before it has its name, nothing is left.
async fn unpack(
    cx: &Cx,
    store: &Bucket,
    manifest: &Manifest,
    object: &Object,
    plan: &RestorePlan,
) -> Result<(), Failure> {
    // Held until it has its name, and gone with this process.
    let _lock = begin(&plan.interim).map_err(|error| unclaimed(plan, &error))?;
    let archive = Stored { key: &manifest.key, object };
    let system = manifest.system_identifier.as_deref();
    let read =
        read_back(cx, store, archive, Some(&manifest.sha256), system, Some(plan.interim.clone())).await;
    let done = match read {
        Ok(Ok(_)) => sync(&plan.interim)
            .and_then(|()| fs::rename(&plan.interim, &plan.into))
            .map_err(|error| unwritten(plan, &error)),
        Ok(Err(why)) => Err(Failure::unverified(format!("restore {}", plan.uri)).because(why)),
        Err(failure) => Err(failure),
    };
    let Err(failure) = done else { return Ok(()) };
    match fs::remove_dir_all(&plan.interim) {
        Ok(()) => Err(failure.untouched(true)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(failure.untouched(true)),
        Err(error) => Err(failure.untouched(false).state(format!(
            "{} is left half unpacked ({error}); running again removes it",
            plan.interim.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use kit::Code;

    use super::*;

    fn world(path: &Path) -> World {
        let base = postgres::manifest::Base {
            files: 1,
            unpacked_bytes: 100 << 20,
            wal: Vec::new(),
            databases: Some(vec!["rally".into()]),
        };
        let now = OffsetDateTime::from_unix_timestamp(1_795_262_400).unwrap();
        let manifest = Manifest {
            kind: "base".into(),
            base: Some(base),
            ..crate::tests::manifest(now - Duration::from_hours(3))
        };
        World {
            now,
            object: Some(Object { crc64nvme: None, ..Object::bare(manifest.bytes, &manifest.etag) }),
            manifest,
            folder: look(path).unwrap(),
        }
    }

    #[test]
    fn only_an_empty_or_new_folder_with_room_gets_a_whole_and_verified_backup() {
        let parent = tempfile::tempdir().unwrap();
        let into = parent.path().join("data");
        let request = Request { max_age: None, min_rung: Rung::ReadBack };
        let said = |world: &World, request: &Request| {
            let failure = decide(request, world).unwrap_err();
            assert_eq!(failure.code(), Code::Refused);
            failure.chain().join("; ")
        };
        let good = world(&into);
        assert!(decide(&request, &good).is_ok());
        let old = Request { max_age: Some(Duration::from_hours(2)), min_rung: Rung::ReadBack };
        assert!(said(&good, &old).contains("3 h 0 min old"));
        let higher = Request { min_rung: Rung::Restored, max_age: None };
        assert!(said(&good, &higher).contains("--min-rung"));
        assert!(said(&World { object: None, ..good.clone() }, &higher).contains("it is gone"));
        let mut full = good;
        full.folder.free = 120 << 20;
        assert!(said(&full, &Request { max_age: None, min_rung: Rung::ReadBack }).contains("are free"));

        fs::create_dir(&into).unwrap();
        let request = Request { max_age: None, min_rung: Rung::ReadBack };
        assert!(decide(&request, &world(&into)).is_ok(), "an empty one");
        fs::write(into.join("x"), "").unwrap();
        assert!(said(&world(&into), &request).contains("it is not empty"));
        assert!(said(&world(&into.join("x")), &request).contains("no folder"));
        assert!(look(&parent.path().join("absent/data")).is_err());
    }
}
