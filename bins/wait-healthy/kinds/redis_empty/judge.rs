//! Whether a Redis server has none of the keys, and whether it can say so at all. Pure.

use kit::Failure;

use crate::kinds::Look;

/// How many keys are counted: more of them are not fewer than wanted either.
pub(crate) const COUNTED: usize = 10_000;
/// How many names of keys are shown, and how much of each.
pub(crate) const EXAMPLES: usize = 3;
const SHOWN: usize = 60;

/// What the server says of itself: <https://redis.io/docs/latest/commands/info/>.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Info {
    mode: String,
    role: String,
    primary: Option<String>,
    cluster: bool,
    loading: bool,
    /// Another one after each start.
    pub(crate) run: String,
    /// Databases that have keys at all, with the number of them.
    databases: Vec<(String, u64)>,
}

impl Info {
    pub(crate) fn parse(text: &str) -> Self {
        let mut info = Self::default();
        let (mut host, mut port) = ("", "");
        for (name, value) in text.lines().filter_map(|line| line.trim().split_once(':')) {
            match name {
                "redis_mode" | "server_mode" => value.clone_into(&mut info.mode),
                "role" => value.clone_into(&mut info.role),
                "master_host" => host = value,
                "master_port" => port = value,
                "cluster_enabled" => info.cluster = value == "1",
                "loading" => info.loading = value == "1",
                "run_id" => value.clone_into(&mut info.run),
                _ => {
                    // db0:keys=2,expires=0,avg_ttl=0
                    let number = name.strip_prefix("db").filter(|rest| rest.parse::<u32>().is_ok());
                    let keys = value.split(',').find_map(|field| field.strip_prefix("keys=")?.parse().ok());
                    if let (Some(number), Some(keys)) = (number, keys) {
                        info.databases.push((number.to_owned(), keys));
                    }
                }
            }
        }
        if !host.is_empty() {
            info.primary = Some(format!("{host}:{port}"));
        }
        info
    }

    /// Whether what is read here is what the service reads: a replica, and one node of several, may have none of the keys
    /// while others have them. `Err` where that is not going to change, the inner reason where it may.
    pub(crate) fn usable(&self, server: &str) -> Result<Result<(), String>, Failure> {
        let refused = |why: String, help: String| {
            Err(Failure::refused(format!("look for keys in {server}")).because(why).help(help))
        };
        if self.mode == "sentinel" {
            return refused(
                "it is a Sentinel, which keeps no keys".to_owned(),
                "name the server that it watches over: SENTINEL GET-MASTER-ADDR-BY-NAME tells its address"
                    .to_owned(),
            );
        }
        if self.cluster || self.mode == "cluster" {
            return refused(
                "it is one node of a cluster (cluster_enabled:1), and keys of other nodes are not seen here".to_owned(),
                "this probe reads a server that has all of the keys; count those of a cluster with redis-cli --cluster call"
                    .to_owned(),
            );
        }
        match (self.role.as_str(), &self.primary) {
            ("master", _) if self.loading => Ok(Err("the server is loading its data".to_owned())),
            ("master", _) => Ok(Ok(())),
            ("slave" | "replica", primary) => refused(
                "it is a replica, which may be behind its primary or have lost it".to_owned(),
                match primary {
                    Some(primary) => {
                        format!("name the primary: it says that this is {}", kit::one_line(primary))
                    }
                    None => "name the primary".to_owned(),
                },
            ),
            _ => refused(
                "it does not say that it is a primary (`role` in the answer to INFO)".to_owned(),
                "name the server itself, not a proxy before it".to_owned(),
            ),
        }
    }
}

/// What one scan of the whole database saw.
#[derive(Clone, Debug)]
pub(crate) struct Scanned {
    pub(crate) before: Info,
    pub(crate) after: Info,
    /// How many keys fit, [`COUNTED`] at most.
    pub(crate) matching: usize,
    /// Some of their names, as they are.
    pub(crate) names: Vec<Vec<u8>>,
}

/// What the scan says of the keys of `pattern` in `database`.
///
/// # Errors
/// The server is none that could say.
pub(crate) fn judge(server: &str, database: u32, pattern: &str, scanned: &Scanned) -> Result<Look, Failure> {
    if let Err(reason) = scanned.after.usable(server)? {
        return Ok(Look::not_yet(reason));
    }
    if scanned.before.run != scanned.after.run {
        return Ok(Look::not_yet("the server was started anew during the scan"));
    }
    if scanned.matching > 0 {
        let more = if scanned.matching >= COUNTED { " or more" } else { "" };
        let names: Vec<String> = scanned.names.iter().take(EXAMPLES).map(|name| shown(name)).collect();
        let (keys, fit) = if scanned.matching == 1 { ("key", "fits") } else { ("keys", "fit") };
        return Ok(Look::not_yet(format!(
            "{}{more} {keys} of database {database} {fit} {pattern}, such as {}",
            scanned.matching,
            names.join(", ")
        )));
    }
    let here = database.to_string();
    let keys =
        scanned.after.databases.iter().find(|(number, _)| *number == here).map_or(0, |(_, keys)| *keys);
    let others: Vec<String> = scanned
        .after
        .databases
        .iter()
        .filter(|(number, _)| *number != here)
        .map(|(number, keys)| format!("database {number} has {keys}"))
        .collect();
    let mut seen = match keys {
        0 => format!("database {database} has no keys at all"),
        keys => format!("none of the {keys} keys of database {database} fits {pattern}"),
    };
    if keys == 0 && !others.is_empty() {
        seen.push_str(&format!(" ({})", others.join(", ")));
    }
    Ok(Look::healthy(seen))
}

fn shown(name: &[u8]) -> String {
    kit::clip(&kit::one_line(&String::from_utf8_lossy(name)), SHOWN)
}

/// What an error answer means: not yet, or a refusal with the next move.
///
/// Source: <https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors>
pub(crate) fn refused(server: &str, attempt: &str, code: &str, detail: &str) -> Result<Look, Failure> {
    let said = kit::one_line(format!("{code} {detail}").trim());
    let refusal =
        |help: String| Err(Failure::refused(format!("{attempt} {server}")).because(said.clone()).help(help));
    match code {
        "LOADING" => Ok(Look::not_yet("the server is loading its data")),
        "BUSY" | "TRYAGAIN" | "CLUSTERDOWN" | "MASTERDOWN" => Ok(Look::not_yet(said)),
        "NOAUTH" => refusal("put the password into the environment variable REDISCLI_AUTH".to_owned()),
        "WRONGPASS" => refusal(
            "correct REDISCLI_AUTH, or the user's name in the URL (redis://NAME@HOST); without a name it is `default`"
                .to_owned(),
        ),
        "NOPERM" => refusal("let the user do it: ACL SETUSER NAME +info +select +scan".to_owned()),
        "MOVED" | "ASK" => refusal(
            "it is one node of a cluster; this probe reads a server that has all of the keys".to_owned(),
        ),
        "DENIED" => refusal("the server takes connections from its own machine alone (protected mode)".to_owned()),
        _ if detail.contains("max number of clients") => Ok(Look::not_yet(said)),
        // 6 and later, and before.
        _ if detail.contains("without any password") || detail.contains("no password is set") => {
            refusal("the server wants no password: unset REDISCLI_AUTH".to_owned())
        }
        _ if detail.contains("invalid password") => refusal("correct REDISCLI_AUTH".to_owned()),
        _ if detail.contains("DB index") => {
            refusal("correct the database's number, the part of the URL after the last slash".to_owned())
        }
        _ => refusal("check that it is a Redis or Valkey server, and not a proxy before one".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::Code;

    // As 6.2.5 answers, shortened.
    const PRIMARY: &str = "# Server\r\nredis_version:6.2.5\r\nredis_mode:standalone\r\nrun_id:aaaa\r\n\r\n\
        # Persistence\r\nloading:0\r\n\r\n# Replication\r\nrole:master\r\nconnected_slaves:0\r\n\r\n\
        # Cluster\r\ncluster_enabled:0\r\n\r\n# Keyspace\r\ndb0:keys=7,expires=0,avg_ttl=0\r\n";

    fn scanned(info: &str, matching: usize, names: &[&str]) -> Scanned {
        let info = Info::parse(info);
        let names = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        Scanned { before: info.clone(), after: info, matching, names }
    }

    fn verdict(scanned: &Scanned) -> Result<String, String> {
        judge("redis:6379", 0, "WRITE-CUBOID*", scanned).unwrap().verdict
    }

    #[test]
    fn only_a_primary_that_has_all_the_keys_can_say_that_there_are_none() {
        let none = |info: &str| judge("redis:6379", 0, "WRITE-CUBOID*", &scanned(info, 0, &[]));
        assert!(none(PRIMARY).unwrap().verdict.is_ok());
        for (from, to, why) in [
            ("role:master", "role:slave\r\nmaster_host:10.0.0.1\r\nmaster_port:6379", "it is a replica"),
            ("cluster_enabled:0", "cluster_enabled:1", "one node of a cluster"),
            ("redis_mode:standalone", "redis_mode:sentinel", "it is a Sentinel"),
            ("role:master", "role:", "does not say that it is a primary"),
        ] {
            let failure = none(&PRIMARY.replace(from, to)).unwrap_err();
            assert_eq!(failure.code(), Code::Refused);
            assert!(failure.chain()[0].contains(why), "{:?}", failure.chain());
        }
        assert_eq!(
            none(&PRIMARY.replace("loading:0", "loading:1")).unwrap().verdict,
            Err("the server is loading its data".to_owned())
        );
    }

    #[test]
    fn one_that_lost_its_place_or_its_data_during_the_scan_says_nothing() {
        let mut scan = scanned(PRIMARY, 0, &[]);
        scan.after = Info::parse(&PRIMARY.replace("run_id:aaaa", "run_id:bbbb"));
        assert_eq!(verdict(&scan), Err("the server was started anew during the scan".to_owned()));
        scan.after = Info::parse(&PRIMARY.replace("role:master", "role:slave"));
        assert!(judge("redis:6379", 0, "*", &scan).is_err(), "a new replica begins without any key");
    }

    #[test]
    fn what_is_left_is_counted_and_named_but_not_whole() {
        assert_eq!(
            verdict(&scanned(PRIMARY, 4, &["WRITE-CUBOID&1", "WRITE-CUBOID\x1b[2J", "c", "d"])),
            Err("4 keys of database 0 fit WRITE-CUBOID*, such as WRITE-CUBOID&1, WRITE-CUBOID\u{fffd}[2J, c"
                .to_owned())
        );
        let long = "x".repeat(100);
        let said = verdict(&scanned(PRIMARY, COUNTED, &[&long])).unwrap_err();
        assert!(said.starts_with("10000 or more keys") && said.ends_with("x…") && said.len() < 150, "{said}");
    }

    #[test]
    fn a_database_that_has_nothing_at_all_says_where_there_is_something() {
        assert_eq!(
            verdict(&scanned(PRIMARY, 0, &[])),
            Ok("none of the 7 keys of database 0 fits WRITE-CUBOID*".to_owned())
        );
        assert_eq!(
            verdict(&scanned(&PRIMARY.replace("db0:", "db1:"), 0, &[])),
            Ok("database 0 has no keys at all (database 1 has 7)".to_owned())
        );
    }

    #[test]
    fn an_error_answer_is_not_yet_or_has_a_next_move() {
        let look = |code: &str, detail: &str| refused("redis:6379", "log in to", code, detail);
        assert!(look("LOADING", "Redis is loading the dataset in memory").unwrap().verdict.is_err());
        assert!(look("ERR", "max number of clients reached").unwrap().verdict.is_err());
        for (code, detail, help) in [
            ("NOAUTH", "Authentication required.", "into the environment variable REDISCLI_AUTH"),
            ("WRONGPASS", "invalid username-password pair or user is disabled.", "correct REDISCLI_AUTH"),
            (
                "ERR",
                "AUTH <password> called without any password configured for the default user.",
                "unset REDISCLI_AUTH",
            ),
            ("ERR", "DB index is out of range", "the database's number"),
            ("MOVED", "3999 127.0.0.1:6381", "one node of a cluster"),
            ("ERR", "unknown command `SCAN`", "not a proxy"),
        ] {
            let failure = look(code, detail).unwrap_err();
            assert_eq!(failure.code(), Code::Refused);
            assert!(format!("{failure:?}").contains(help), "{failure:?}");
        }
    }
}
