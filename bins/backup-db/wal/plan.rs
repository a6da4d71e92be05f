//! What is asked for, what was seen, and whether the tool is run: pure.

use std::path::PathBuf;
use std::time::Duration;

use kit::{Action, Env, Failure, Note, Plan};
use s3::Listed;
use serde::Serialize;
use time::OffsetDateTime;

use super::sentinel::{BACKUP_ID, Sentinel};
use crate::key::Destination;
use crate::tools::Version;

/// Which of the two tools is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Tool {
    WalE,
    WalG,
}

impl Tool {
    /// Its name, which is that of the mode and of the program.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::WalE => "wal-e",
            Self::WalG => "wal-g",
        }
    }

    /// Where it reads its prefix from; `wal-g` understands the name of the other, too.
    pub(super) const fn prefix_variables(self) -> &'static [&'static str] {
        match self {
            Self::WalE => &["WALE_S3_PREFIX"],
            Self::WalG => &["WALG_S3_PREFIX", "WALE_S3_PREFIX"],
        }
    }

    /// Where the tool's backups lie: what `--to` and its own variables say, which must be the same.
    pub(crate) fn prefix(self, to: Option<&Destination>, env: &Env) -> Result<Destination, Failure> {
        let attempt = || Failure::usage(format!("read where {} keeps its backups", self.word()));
        let mut found: Vec<(String, Destination)> =
            to.map(|to| ("--to".to_owned(), to.clone())).into_iter().collect();
        for name in self.prefix_variables() {
            if let Some(value) = env.get(name).filter(|value| !value.is_empty()) {
                let prefix =
                    value.parse().map_err(|why: String| attempt().because(format!("{name}: {why}")))?;
                found.push(((*name).to_owned(), prefix));
            }
        }
        let Some((_, first)) = found.first() else {
            return Err(attempt().because("neither --to nor the tool's own variable says it").help(format!(
                "give --to s3://BUCKET/PREFIX, or set {}",
                self.prefix_variables().first().copied().unwrap_or_default()
            )));
        };
        if found.iter().any(|(_, prefix)| prefix != first) {
            let all: Vec<String> = found
                .iter()
                .map(|(name, prefix)| format!("{name} says s3://{}/{}", prefix.bucket, prefix.prefix))
                .collect();
            return Err(attempt().because(all.join(", ")).help(
                "say the same in all of them: the write-ahead log goes where the server's archive_command puts it, and the \
                 backup must lie beside it",
            ));
        }
        Ok(first.clone())
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) backup_id: String,
    pub(super) max_age: Duration,
}

/// What was seen.
#[derive(Clone, Debug, Serialize)]
pub(super) struct World {
    #[serde(with = "time::serde::rfc3339")]
    pub(super) now: OffsetDateTime,
    pub(super) tool: Tool,
    pub(super) program: PathBuf,
    /// `s3://BUCKET/PREFIX/`
    pub(super) place: String,
    pub(super) server: Server,
    /// The folder that is backed up; none where `wal-g` copies the server over its connection.
    pub(super) data_dir: Option<DataDir>,
    /// The sentinels that were there before.
    pub(super) sentinels: Vec<Listed>,
    /// The newest of them, or why it can't be read.
    pub(super) newest: Option<Result<Sentinel, String>>,
    /// Whether `wal-g` can be told an id to keep with the backup.
    pub(super) takes_id: bool,
    /// Whether `wal-g` is told to look at the checksums of the pages.
    pub(super) checks_pages: bool,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Server {
    pub(super) address: String,
    pub(super) version: Version,
    pub(super) standby: bool,
    pub(super) system_identifier: Option<String>,
    pub(super) segment_bytes: u64,
    pub(super) archive_mode: String,
    /// Whether there is a command or a library that archives.
    pub(super) archives: bool,
    pub(super) archiver: Archiver,
}

/// `pg_stat_archiver`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Archiver {
    pub(super) last_archived: Option<String>,
    pub(super) failed: u64,
    pub(super) last_failed: Option<String>,
    /// When it failed, where that was after the last success.
    pub(super) failing_since: Option<String>,
}

/// The folder of `--data-dir`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct DataDir {
    pub(super) path: PathBuf,
    /// The identifier in its `global/pg_control`, or why that can't be read.
    pub(super) system_identifier: Result<String, String>,
}

/// What will be done.
#[derive(Clone, Debug, Serialize)]
pub(super) struct PushPlan {
    tool: Tool,
    program: PathBuf,
    pub(super) arguments: Vec<String>,
    place: String,
    address: String,
    version: Version,
    /// The backup of this id that is there already: it is looked at, and not made again.
    pub(super) keep: Option<Sentinel>,
    /// The id that `wal-g` is told to keep with the backup.
    pub(super) tells_id: Option<String>,
    #[serde(skip)]
    notes: Vec<Note>,
}

/// The id of the action.
pub(super) const PUSH: &str = "push-backup";

/// Decides; refuses where the backup would be useless, or of another server.
pub(super) fn plan(request: &Request, world: &World) -> Result<PushPlan, Failure> {
    let server = &world.server;
    let tool = world.tool.word();
    let refused =
        |why: String| Failure::refused(format!("back up {} with {tool}", server.address)).because(why);
    if world.tool == Tool::WalE {
        // https://www.postgresql.org/docs/release/15.0/: "Remove long-deprecated exclusive backup mode".
        if server.version.major >= (15, 0) {
            return Err(refused(format!(
                "the server is version {}, and wal-e calls pg_start_backup, which is gone since 15",
                server.version
            ))
            .help("use --mode wal-g, which reads the same prefix, or --mode base"));
        }
        if server.standby {
            return Err(refused(
                "it is a standby, and wal-e can begin a backup on a primary alone".to_owned(),
            )
            .help("run it on the primary"));
        }
    }
    if server.archive_mode == "off" {
        return Err(refused(
            "its archive_mode is off: the backup is useless without the write-ahead log of the time that it takes".to_owned(),
        )
        .help("set archive_mode = on and an archive_command, and restart the server; or use --mode base, which needs neither"));
    }
    if !server.archives {
        return Err(refused("it has neither archive_command nor archive_library".to_owned()).help(format!(
            "set archive_command to `{tool} wal-push %p` with this prefix, and reload the server"
        )));
    }
    if let Some(since) = &server.archiver.failing_since {
        return Err(refused(format!(
            "its archiver fails: at last with {}, at {since}, and has archived nothing since",
            server.archiver.last_failed.as_deref().unwrap_or("a segment")
        ))
        .help("the server's log says why; run this again when pg_stat_archiver shows a newer success"));
    }
    if let Some(folder) = &world.data_dir {
        of_this_server(folder, server).map_err(|(why, help)| refused(why).help(help))?;
    }
    let mut notes = Vec::new();
    let newest = match &world.newest {
        Some(Ok(newest)) => Some(newest),
        Some(Err(why)) => {
            notes.push(Note::Warning(format!("the newest sentinel there can't be read: {why}")));
            None
        }
        None => None,
    };
    if let Some(newest) = newest
        && let (Some(theirs), Some(ours)) = (&newest.system_identifier, &server.system_identifier)
        && theirs != ours
    {
        return Err(refused(format!(
            "the newest backup in {} is of another server (system identifier {theirs}, this one's is {ours})",
            world.place
        ))
        .help(
            "give each server a prefix of its own: two that share one overwrite each other's write-ahead log",
        ));
    }
    let tells_id = world.takes_id.then(|| request.backup_id.clone());
    let keep = newest.filter(|newest| {
        let at = world.sentinels.iter().map(|sentinel| sentinel.modified).max();
        let young = at.is_some_and(|at| world.now - at <= request.max_age);
        newest.backup_id.is_some() && newest.backup_id == tells_id && young
    });
    remarks(world, tells_id.is_none(), &mut notes);
    let mut arguments = vec!["backup-push".to_owned()];
    arguments.extend(world.data_dir.as_ref().map(|folder| folder.path.display().to_string()));
    Ok(PushPlan {
        tool: world.tool,
        program: world.program.clone(),
        arguments,
        place: world.place.clone(),
        address: server.address.clone(),
        version: server.version.clone(),
        keep: keep.cloned(),
        tells_id,
        notes,
    })
}

/// A wrong folder makes a backup that only its restore shows to be none (<https://github.com/wal-g/wal-g/issues/277>).
fn of_this_server(folder: &DataDir, server: &Server) -> Result<(), (String, &'static str)> {
    let path = folder.path.display();
    match (&folder.system_identifier, &server.system_identifier) {
        (Err(why), _) => Err((
            format!("{path} can't be read as a server's data folder: {why}"),
            "give --data-dir as `SHOW data_directory` says it, and run this on the server's own machine as its account (postgres)",
        )),
        (Ok(theirs), Some(ours)) if theirs != ours => Err((
            format!("{path} is of another server: its system identifier is {theirs}, this one's is {ours}"),
            "give --data-dir as `SHOW data_directory` says it, or correct the connection",
        )),
        _ => Ok(()),
    }
}

fn remarks(world: &World, no_id: bool, notes: &mut Vec<Note>) {
    if no_id {
        notes.push(Note::Info(format!(
            "{} keeps no id with a backup: running this again makes another one",
            world.tool.word()
        )));
    }
    if world.tool == Tool::WalE {
        notes.push(Note::Warning(
            "wal-e is not maintained any more; wal-g reads its prefix and its variables".to_owned(),
        ));
    }
    if world.tool == Tool::WalG && !world.checks_pages {
        notes.push(Note::Info(
            "wal-g is not told to look at the checksums of the pages: WALG_VERIFY_PAGE_CHECKSUMS=true has it do so, and bad \
             ones fail this step"
                .to_owned(),
        ));
    }
    if world.server.standby {
        notes.push(Note::Info(
            "the server is a standby: whether its write-ahead log is archived is seen in the bucket alone"
                .to_owned(),
        ));
    }
    notes.push(Note::Info(format!(
        "{} backups lie there; the server has archived up to {}",
        world.sentinels.len(),
        world.server.archiver.last_archived.as_deref().unwrap_or("nothing yet")
    )));
}

impl Plan for PushPlan {
    fn actions(&self) -> Vec<Action> {
        if self.keep.is_some() {
            return Vec::new();
        }
        let id = self.tells_id.as_ref().map(|id| format!("\nwith the user data {BACKUP_ID}: {id}"));
        let action = Action::irreversible(
            PUSH,
            format!(
                "run {} {} for {} (PostgreSQL {})",
                self.program.display(),
                self.arguments.join(" "),
                self.address,
                self.version
            ),
            format!("{} deletes its backups itself; --undo says with which command", self.tool.word()),
        );
        vec![action.detail(format!(
            "into {}; then judged by its sentinel, its archives and the write-ahead log that it needs, not by the exit code{}",
            self.place,
            id.unwrap_or_default()
        ))]
    }

    fn notes(&self) -> Vec<Note> {
        self.notes.clone()
    }

    fn unchanged(&self) -> String {
        match &self.keep {
            Some(kept) => format!("{} was made for the same id", kept.name),
            None => String::new(),
        }
    }
}

/// What of a finished push was seen in the bucket, for the judgement and the outputs.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Seen {
    pub(super) sentinel: Sentinel,
    /// The URI of its sentinel.
    pub(super) uri: String,
    pub(super) archives: usize,
    pub(super) stored_bytes: u64,
    /// Files with bad blocks.
    pub(super) corrupt: Vec<String>,
}

/// Whether the backup is one of this server, and a whole one, but for its write-ahead log.
pub(super) fn judge(seen: &Seen, server: &Server) -> Result<(), String> {
    if let (Some(theirs), Some(ours)) = (&seen.sentinel.system_identifier, &server.system_identifier)
        && theirs != ours
    {
        return Err(format!("it is of the server {theirs}, and this one is {ours}"));
    }
    if let Some(path) = seen.corrupt.first() {
        let more = match seen.corrupt.len() {
            1 => String::new(),
            more => format!(" and {} other files", more - 1),
        };
        return Err(format!(
            "wal-g found blocks with a wrong checksum in {path}{more}, and ended well all the same"
        ));
    }
    Ok(())
}

/// How far the write-ahead log of the backup is archived.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Archived {
    All,
    /// Not yet; what is awaited.
    Waiting(String),
    /// It won't be by itself.
    Failing(String),
}

/// The server tries a segment so often in a row before it pauses for a minute (`NUM_ARCHIVE_RETRIES`,
/// <https://github.com/postgres/postgres/blob/master/src/backend/postmaster/pgarch.c>).
const TRIES: u64 = 3;

/// Judges what the bucket lacks and what the archiver says, compared with what it said before.
pub(super) fn archived(
    sentinel: &Sentinel,
    missing: &[String],
    standby: bool,
    (before, now): (&Archiver, &Archiver),
) -> Archived {
    if let Some(since) = now.failing_since.as_ref().filter(|_| now.failed >= before.failed + TRIES) {
        return Archived::Failing(format!(
            "the archiver has failed {} times meanwhile, at last with {} at {since}",
            now.failed - before.failed,
            now.last_failed.as_deref().unwrap_or("a segment")
        ));
    }
    if let Some(first) = missing.first() {
        return Archived::Waiting(format!(
            "{} of its segments are not in the bucket, such as {first}",
            missing.len()
        ));
    }
    // Names of one length, of which the timeline comes first: they are ordered as the log is. `.backup` and the like come after
    // the segment that they are about.
    let reached = now.last_archived.as_deref().and_then(|name| name.get(..24)).unwrap_or_default();
    if standby || reached >= sentinel.last.as_str() {
        Archived::All
    } else {
        let reached = if reached.is_empty() { "nothing" } else { reached };
        Archived::Waiting(format!(
            "the server says that it has archived up to {reached}, and {} is needed",
            sentinel.last
        ))
    }
}

/// The words with which a person reads how much a backup is.
pub(super) fn in_words(seen: &Seen) -> String {
    format!(
        "{} ({} in {} archives, {} unpacked)",
        seen.sentinel.name,
        kit::size(seen.stored_bytes),
        seen.archives,
        kit::size(seen.sentinel.bytes)
    )
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
