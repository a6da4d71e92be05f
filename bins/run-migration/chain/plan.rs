//! Which commands of a chain are to run, or why none may: pure.

use kit::{Action, Failure, Note};
use serde::Serialize;

use crate::observe::S3Uri;

/// A command that goes from one version to a later one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Link {
    pub(crate) name: String,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) executable: bool,
}

/// What the folder and the bucket hold.
#[derive(Debug, Serialize)]
pub(crate) struct World {
    pub(crate) folder: String,
    /// By the version that they begin with.
    pub(crate) links: Vec<Link>,
    pub(crate) ignored: Vec<String>,
    /// The keys beneath the prefix.
    pub(crate) keys: Vec<String>,
}

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) progress: &'a S3Uri,
}

/// The commands of one run, in order.
#[derive(Debug, Serialize)]
pub(crate) struct ChainPlan {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) links: Vec<Todo>,
    pub(crate) done: Vec<String>,
    pub(crate) notes: Vec<Note>,
}

/// A command to run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Todo {
    pub(crate) id: String,
    pub(crate) link: Link,
    /// From 1; a later try than the first after one that failed.
    pub(crate) attempt: u32,
    /// What the keys of this try begin with.
    pub(crate) key: String,
}

/// The versions that a name begins with: eight digits, four for each (`00010002_dns.py`), or `1-2_dns.sh`.
pub(crate) fn versions(name: &str) -> Option<(u64, u64)> {
    let (head, _) = name.split_once('_')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (from, to) = match head.split_once('-') {
        Some(pair) => pair,
        None if head.len() == 8 => (head.get(..4)?, head.get(4..)?),
        None => return None,
    };
    if digits(from) && digits(to) { Some((from.parse().ok()?, to.parse().ok()?)) } else { None }
}

/// What became of a command in earlier runs.
enum Past {
    /// It has not run, or failed in so many tries.
    Open(u32),
    Done,
    /// The try of this number has begun and nothing says how it ended.
    Begun(u32),
}

fn past(link: &Link, prefix: &str, keys: &[String]) -> Past {
    let begin = format!("{prefix}/{}-{}/", link.from, link.to);
    let tries = |ending: &str| -> Vec<u32> {
        keys.iter().filter_map(|key| key.strip_prefix(&begin)?.strip_suffix(ending)?.parse().ok()).collect()
    };
    let (started, done, failed) = (tries(".started.json"), tries(".done.json"), tries(".failed.json"));
    if !done.is_empty() {
        return Past::Done;
    }
    let last = started.into_iter().max().unwrap_or_default();
    if last > failed.into_iter().max().unwrap_or_default() { Past::Begun(last) } else { Past::Open(last) }
}

/// The plan, or the reason why nothing may be done.
pub(crate) fn plan(request: &Request<'_>, world: &World) -> Result<ChainPlan, Failure> {
    let Request { from, to, progress } = *request;
    let attempt = format!("go from version {from} to {to} with the commands in {}", world.folder);
    let refused = |why: String, help: &str| Failure::refused(&attempt).because(why).help(help);
    if from > to {
        return Err(refused(
            format!("{to} is before {from}"),
            "a chain goes forward only: check --from and --to",
        ));
    }
    let chain = contiguous(request, world, &refused)?;
    if let Some(link) = chain.iter().find(|link| !link.executable) {
        return Err(refused(
            format!("{} is not executable", link.name),
            "chmod +x, with the program that runs it in its first line",
        ));
    }
    let (mut links, mut done) = (Vec::new(), Vec::new());
    for link in chain {
        let key = |attempt: u32| format!("{}/{}-{}/{attempt}", progress.key, link.from, link.to);
        match past(link, &progress.key, &world.keys) {
            Past::Done if links.is_empty() => done.push(link.name.clone()),
            Past::Done => {
                return Err(refused(
                    format!("{} has run, and a command before it has not", link.name),
                    "check that --progress is the prefix of this very chain and system",
                ));
            }
            Past::Begun(tried) => {
                let object = |word: &str| {
                    format!(
                        "aws s3api put-object --bucket {} --key {}.{word}.json",
                        progress.bucket,
                        key(tried)
                    )
                };
                return Err(refused(
                    format!(
                        "{} was started ({}.started.json), and nothing says how it ended: it still runs, or was killed with its run",
                        link.name,
                        key(tried)
                    ),
                    "when another run is at it, wait; else look how far it came, and say so",
                )
                .help(format!("when it has done its work: {}", object("done")))
                .help(format!("when it is to run again: {}", object("failed"))));
            }
            Past::Open(tried) => links.push(Todo {
                id: format!("run-{}-{}", link.from, link.to),
                link: link.clone(),
                attempt: tried + 1,
                key: key(tried + 1),
            }),
        }
    }
    let mut notes = Vec::new();
    if !world.ignored.is_empty() {
        notes.push(Note::Info(format!("ignored in {}: {}", world.folder, world.ignored.join(", "))));
    }
    if !done.is_empty() {
        notes.push(Note::Info(format!("run before: {}", done.join(", "))));
    }
    Ok(ChainPlan { from, to, links, done, notes })
}

/// The one way from a version to another. Nothing in between is left out, and nothing is there twice.
fn contiguous<'a>(
    request: &Request<'_>,
    world: &'a World,
    refused: &dyn Fn(String, &str) -> Failure,
) -> Result<Vec<&'a Link>, Failure> {
    let Request { from, to, .. } = *request;
    if let Some(link) = world.links.iter().find(|link| link.to <= link.from) {
        return Err(refused(
            format!("{} goes from {} to {}", link.name, link.from, link.to),
            "a command goes from a version to a later one",
        ));
    }
    // Those that lie outside of the way are the history and the future.
    let within: Vec<&Link> = world.links.iter().filter(|link| link.to > from && link.from < to).collect();
    let mut chain: Vec<&Link> = Vec::new();
    let mut at = from;
    for link in within {
        if link.from < at {
            let other = chain.last().map_or_else(|| format!("version {from}"), |last| last.name.clone());
            return Err(refused(
                format!("{} (from {}) overlaps with {other}", link.name, link.from),
                "each version is left by one command only",
            ));
        }
        if link.from > at {
            return Err(gap(at, link.from, refused));
        }
        at = link.to;
        chain.push(link);
    }
    if at < to {
        return Err(gap(at, to, refused));
    }
    match chain.last() {
        Some(last) if at > to => Err(refused(
            format!("{} goes beyond {to}, to {}", last.name, last.to),
            "give a version as --to at which a command ends",
        )),
        _ => Ok(chain),
    }
}

fn gap(at: u64, next: u64, refused: &dyn Fn(String, &str) -> Failure) -> Failure {
    refused(
        format!("no command goes from {at}, and the way goes on at {next} only"),
        "add the command that is missing, or correct --from",
    )
}

impl ChainPlan {
    /// The version that the chain has brought the system to before this run.
    pub(crate) fn reached(&self) -> u64 {
        self.links.first().map_or(self.to, |todo| todo.link.from)
    }
}

impl kit::Plan for ChainPlan {
    fn actions(&self) -> Vec<Action> {
        let action = |todo: &Todo| {
            let again = if todo.attempt > 1 { format!(", try {}", todo.attempt) } else { String::new() };
            Action::irreversible(
                &todo.id,
                format!("run {} (from {} to {}{again})", todo.link.name, todo.link.from, todo.link.to),
                "what a command does has no inverse that this step knows",
            )
        };
        self.links.iter().map(action).collect()
    }

    fn notes(&self) -> Vec<Note> {
        self.notes.clone()
    }

    fn unchanged(&self) -> String {
        format!("every command from {} to {} has run", self.from, self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(names: &[&str], from: u64, to: u64, keys: &[&str]) -> Result<Vec<String>, String> {
        let mut links: Vec<Link> = names
            .iter()
            .map(|name| {
                let (from, to) = versions(name).unwrap();
                Link { name: (*name).to_owned(), from, to, executable: !name.ends_with(".txt") }
            })
            .collect();
        links.sort_by_key(|link| link.from);
        let keys = keys.iter().map(|key| format!("core/{key}.json")).collect();
        let world = World { folder: "m".to_owned(), links, ignored: Vec::new(), keys };
        let progress = S3Uri { bucket: "b".to_owned(), key: "core".to_owned() };
        plan(&Request { from, to, progress: &progress }, &world)
            .map(|plan| plan.links.iter().map(|todo| format!("{} {}", todo.link.name, todo.key)).collect())
            .map_err(|failure| failure.chain().join(": "))
    }

    // The names of boss-manage, cloud_formation/configs/migrations/core.
    const CORE: [&str; 2] = ["00010002_vault_backend.py", "00020003_keycloak11.py"];

    #[test]
    fn versions_are_numbers() {
        assert_eq!(versions("00010002_vault_backend.py"), Some((1, 2)));
        assert_eq!(versions("9-10_x"), Some((9, 10)));
        for name in ["README.md", "0001002_x", "000100020_x", "a001b002_x", "00010002", "-1_x", "1-_x"] {
            assert_eq!(versions(name), None, "{name}");
        }
    }

    #[test]
    fn the_way_is_contiguous_or_refused_with_names() {
        assert_eq!(
            judge(&CORE, 1, 3, &[]).unwrap(),
            ["00010002_vault_backend.py core/1-2/1", "00020003_keycloak11.py core/2-3/1"]
        );
        assert_eq!(judge(&CORE, 2, 3, &[]).unwrap(), ["00020003_keycloak11.py core/2-3/1"]);
        assert_eq!(judge(&CORE, 3, 3, &[]).unwrap(), Vec::<String>::new());
        assert_eq!(judge(&["9-10_a", "10-11_b"], 9, 11, &[]).unwrap().len(), 2, "numbers, not letters");
        for (names, from, to, why) in [
            (&CORE[..1], 1, 3, "no command goes from 2, and the way goes on at 3 only"),
            (&CORE[1..], 1, 3, "no command goes from 1, and the way goes on at 2 only"),
            (&CORE, 1, 2, ""),
            (&["00010003_a", "00020003_b"], 1, 3, "00020003_b (from 2) overlaps with 00010003_a"),
            (&["00010002_a", "00010002_b"], 1, 2, "00010002_b (from 1) overlaps with 00010002_a"),
            (&["00010003_a"], 2, 3, "00010003_a (from 1) overlaps with version 2"),
            (&["00010003_a"], 1, 2, "00010003_a goes beyond 2, to 3"),
            (&["00020001_a"], 1, 2, "00020001_a goes from 2 to 1"),
            (&["00010002_a.txt"], 1, 2, "00010002_a.txt is not executable"),
            (&CORE, 3, 1, "1 is before 3"),
        ] {
            match judge(names, from, to, &[]) {
                Ok(_) => assert_eq!(why, "", "{names:?}"),
                Err(said) => assert_eq!(said, why, "{names:?}"),
            }
        }
    }

    #[test]
    fn what_has_run_is_not_run_again_and_what_is_in_doubt_is_asked() {
        let done = ["1-2/1.started", "1-2/1.done"];
        assert_eq!(judge(&CORE, 1, 3, &done).unwrap(), ["00020003_keycloak11.py core/2-3/1"]);
        let failed = [&done[..], &["2-3/1.started", "2-3/1.failed", "2-3/9.failed.x"]].concat();
        assert_eq!(judge(&CORE, 1, 3, &failed).unwrap(), ["00020003_keycloak11.py core/2-3/2"]);
        let tenth: Vec<String> =
            (1..=10).flat_map(|n| [format!("1-2/{n}.started"), format!("1-2/{n}.failed")]).collect();
        let tenth: Vec<&str> = tenth.iter().map(String::as_str).collect();
        assert_eq!(judge(&CORE, 1, 2, &tenth).unwrap(), ["00010002_vault_backend.py core/1-2/11"]);
        let begun = judge(&CORE, 1, 3, &["1-2/1.started"]).unwrap_err();
        assert!(begun.contains("nothing says how it ended"), "{begun}");
        let odd = judge(&CORE, 1, 3, &["2-3/1.started", "2-3/1.done"]).unwrap_err();
        assert!(odd.contains("00020003_keycloak11.py has run, and a command before it has not"), "{odd}");
    }
}
