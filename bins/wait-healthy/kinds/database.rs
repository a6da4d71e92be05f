//! PostgreSQL servers: what they are, and whether two have come to the same place.
//!
//! Sources: <https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-ADMIN-BACKUP>,
//! <https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-RECOVERY-INFO>

use kit::{Cx, Env, Failure};
use postgres::tokio_postgres::SimpleQueryMessage;
use postgres::{PgArgs, Session, Target};
use serde::Serialize;

use super::Look;

/// What a server is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Wanted {
    /// Takes writes.
    Primary,
    /// Is in recovery: follows another one, and takes no writes.
    Standby,
    /// Answers at all.
    Accepting,
}

/// Reads `URL=primary|standby|accepting`; all else comes from libpq's environment.
///
/// # Errors
/// Anything else: exit 2.
pub(crate) fn parse(text: &str, env: &Env) -> Result<(Target, Wanted), Failure> {
    // The URL's own parameters have equals signs too.
    let (url, wanted) = match text.rsplit_once('=') {
        Some((url, "primary")) => (url, Wanted::Primary),
        Some((url, "standby")) => (url, Wanted::Standby),
        Some((url, "accepting")) => (url, Wanted::Accepting),
        _ => {
            return Err(Failure::usage("use --postgres")
                .because("it does not say what the server is to be")
                .help("write URL=primary, URL=standby or URL=accepting, as in postgresql://me@db.example.org/boss=primary"));
        }
    };
    Ok((target("--postgres", url, env)?, wanted))
}

/// The servers whose positions are compared: none, or two different ones at least.
///
/// # Errors
/// One alone, or the same one twice, which is always where it is itself: exit 2.
pub(crate) fn several(urls: &[String], env: &Env) -> Result<Vec<Target>, Failure> {
    let targets = urls.iter().map(|url| target("--postgres-same", url, env));
    let targets: Vec<Target> = targets.collect::<Result<_, _>>()?;
    let mut servers: Vec<String> = targets.iter().map(Target::server).collect();
    servers.sort_unstable();
    servers.dedup();
    if targets.len() == 1 || servers.len() < targets.len() {
        return Err(Failure::usage(format!("compare the positions of {}", servers.join(" and ")))
            .because("a server is always where it is itself")
            .help("name two different servers: --postgres-same URL --postgres-same URL"));
    }
    Ok(targets)
}

/// The server of a URL; the password and what else is missing come from libpq's environment.
fn target(flag: &str, url: &str, env: &Env) -> Result<Target, Failure> {
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        // The text itself is not shown: what is no URL may have a password in it.
        return Err(Failure::usage(format!("use {flag}"))
            .because("it does not begin with postgresql:// or postgres://")
            .help("write the URL as in postgresql://me@db.example.org/boss"));
    }
    PgArgs { database_url: Some(url.to_owned()), ..PgArgs::default() }.target(env)
}

/// Whether a server is what it is to be.
pub(crate) fn judge(wanted: Wanted, in_recovery: bool, version: &str) -> Look {
    let (is, seen) = if in_recovery {
        (Wanted::Standby, "a standby (in recovery)")
    } else {
        (Wanted::Primary, "a primary")
    };
    if wanted == Wanted::Accepting || wanted == is {
        Look::healthy(format!("{seen}, version {version}"))
    } else {
        let want = if wanted == Wanted::Primary { "a primary" } else { "a standby" };
        Look::not_yet(format!("it is {seen}, want {want}"))
    }
}

/// A probe of one server's state.
#[derive(Debug)]
pub(crate) struct Database {
    target: Target,
    wanted: Wanted,
}

impl Database {
    pub(crate) fn new(target: Target, wanted: Wanted) -> Self {
        Self { target, wanted }
    }

    pub(crate) fn name(&self) -> String {
        let wanted = match self.wanted {
            Wanted::Primary => " as a primary",
            Wanted::Standby => " as a standby",
            Wanted::Accepting => "",
        };
        format!("{}{wanted}", self.target)
    }

    pub(crate) async fn look(&self, cx: &Cx) -> Result<Look, Failure> {
        let session = connect(cx, &self.target).await?;
        let look =
            judge(self.wanted, session.identity.in_recovery, &session.identity.server_version.to_string());
        Ok(look)
    }
}

/// Connects. A name that does not resolve yet and a connection that ends half-way may be otherwise at the next look; a role that is
/// refused is not.
async fn connect(cx: &Cx, target: &Target) -> Result<Session, Failure> {
    postgres::connect_once(cx, target).await.map_err(|failure| {
        let passes = |line: &String| {
            line.starts_with("the host name ") || line.contains("error communicating with the server")
        };
        if failure.chain().iter().any(passes) { failure.transient(true) } else { failure }
    })
}

/// Where one server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) server: String,
    /// Of the cluster; a physical copy has the same.
    pub(crate) system: Option<String>,
    pub(crate) in_recovery: bool,
    /// What a primary has written, what a standby has replayed: `0/3000148`.
    pub(crate) at: String,
}

/// Whether all servers are at the same place. `again` is where the first of them was after the others were asked: one that went
/// on meanwhile was not equal to them at any instant that was seen.
///
/// # Errors
/// They are no copies of one another, whose places say nothing of each other.
pub(crate) fn same(positions: &[Position], again: &Position) -> Result<Look, Failure> {
    let [first, others @ ..] = positions else { return Ok(Look::not_yet("no server was asked")) };
    let line = |position: &Position| {
        let verb = if position.in_recovery { "has replayed" } else { "has written" };
        format!("{} {verb} {}", position.server, position.at)
    };
    for other in others {
        if let (Some(one), Some(two)) = (&first.system, &other.system)
            && one != two
        {
            return Err(Failure::refused(format!("compare {} with {}", first.server, other.server))
                .because(format!("they are different clusters: system identifiers {one} and {two}"))
                .help("name a server and its physical copies (streaming replication, or a restored base backup)"));
        }
    }
    let seen: Vec<String> = positions.iter().map(line).collect();
    if others.iter().any(|other| other.at != first.at) {
        return Ok(Look::not_yet(seen.join("; ")));
    }
    if again.at != first.at {
        return Ok(Look::not_yet(format!("{} went on to {} meanwhile", first.server, again.at)));
    }
    Ok(Look::healthy(format!("all are at {}", first.at)))
}

/// A probe of the places of several servers.
#[derive(Debug)]
pub(crate) struct SamePlace(pub(crate) Vec<Target>);

impl SamePlace {
    pub(crate) fn name(&self) -> String {
        let servers: Vec<String> = self.0.iter().map(Target::server).collect();
        format!("the positions of {}", servers.join(" and "))
    }

    pub(crate) async fn look(&self, cx: &Cx) -> Result<Look, Failure> {
        let mut sessions = Vec::new();
        for target in &self.0 {
            sessions.push(connect(cx, target).await?);
        }
        let mut positions = Vec::new();
        for session in &sessions {
            positions.push(position(session).await?);
        }
        let Some(first) = sessions.first() else { return Ok(Look::not_yet("no server was asked")) };
        same(&positions, &position(first).await?)
    }
}

async fn position(session: &Session) -> Result<Position, Failure> {
    let server = session.target.server();
    let attempt = format!("ask {server} for its position");
    let rows = session
        .client
        .simple_query(
            "SELECT pg_is_in_recovery(), CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END",
        )
        .await
        .map_err(|error| session.failure(&attempt, &error))?;
    let row = rows.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some((row.get(0) == Some("t"), row.get(1).map(str::to_owned))),
        _ => None,
    });
    let Some((in_recovery, Some(at))) = row else {
        return Err(Failure::failed(attempt)
            .because("it has none yet: nothing was replayed since it was started")
            .transient(true));
    };
    Ok(Position { server, system: session.identity.system_identifier.clone(), in_recovery, at })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::Code;

    #[test]
    fn what_a_server_is() {
        assert!(judge(Wanted::Primary, false, "15.8").verdict.is_ok());
        assert!(judge(Wanted::Standby, true, "15.8").verdict.is_ok());
        assert!(judge(Wanted::Accepting, true, "15.8").verdict.is_ok());
        assert_eq!(
            judge(Wanted::Primary, true, "15.8").verdict,
            Err("it is a standby (in recovery), want a primary".to_owned())
        );
    }

    #[test]
    fn equal_is_equal_while_nothing_moves() {
        let at = |server: &str, in_recovery: bool, at: &str| Position {
            server: server.into(),
            system: Some("7".into()),
            in_recovery,
            at: at.into(),
        };
        let (one, two) = (at("one:5432", false, "0/3000148"), at("two:5432", true, "0/3000148"));
        let pair = [one.clone(), two.clone()];
        assert_eq!(same(&pair, &one).unwrap().verdict, Ok("all are at 0/3000148".to_owned()));
        let on = at("one:5432", false, "0/3000200");
        assert!(same(&pair, &on).unwrap().verdict.unwrap_err().contains("went on to 0/3000200"));
        let behind = at("two:5432", true, "0/2000000");
        assert_eq!(
            same(&[one.clone(), behind], &one).unwrap().verdict,
            Err("one:5432 has written 0/3000148; two:5432 has replayed 0/2000000".to_owned())
        );
        let other = Position { system: Some("8".into()), ..two };
        assert_eq!(same(&[one.clone(), other], &one).unwrap_err().code(), Code::Refused);
    }

    #[test]
    fn one_server_or_the_same_twice_is_nothing_to_compare() {
        let env: Env = [("PGPASSWORD", "sesame"), ("PGUSER", "me")].into_iter().collect();
        let (one, two) =
            ("postgresql://127.0.0.1:5433/a".to_owned(), "postgresql://127.0.0.1:5434/a".to_owned());
        let same = "postgresql://you@127.0.0.1:5433/b".to_owned();
        assert_eq!(several(&[one.clone(), two], &env).unwrap().len(), 2);
        assert_eq!(several(std::slice::from_ref(&one), &env).unwrap_err().code(), Code::Usage);
        assert_eq!(several(&[one, same], &env).unwrap_err().code(), Code::Usage);
    }

    #[test]
    fn a_server_is_named_by_its_url_and_its_state() {
        let env: Env = [("PGPASSWORD", "sesame"), ("PGUSER", "me")].into_iter().collect();
        let (target, wanted) =
            parse("postgresql://127.0.0.1:5433/boss?sslmode=disable=standby", &env).unwrap();
        assert_eq!((target.server().as_str(), wanted), ("127.0.0.1:5433", Wanted::Standby));
        for bad in [
            "postgresql://127.0.0.1/boss",
            "postgresql://127.0.0.1/boss=sealed",
            "postgresql://me:pw@127.0.0.1/boss=primary",
        ] {
            assert_eq!(parse(bad, &env).unwrap_err().code(), Code::Usage, "{bad}");
        }
    }
}
