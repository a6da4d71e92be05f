//! Where a backup is proven: a scratch server of the run's own, or a database of the run's own on a server that was named.

use std::path::Path;

use kit::{Cx, Env, Failure};
use postgres::{Locale, PgArgs, Session, Target};
use serde::Serialize;

use crate::catalogue::{column, stay, value};
use crate::globals;
use crate::place::{self, Place};
use crate::refill::{create, lacking};
use crate::scratch::Scratch;
use crate::sql::{identifier, literal};
use crate::tools::{Runner, Version};

/// Where it will be, as it was found before anything was decided.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Site {
    /// A scratch server on this machine.
    Own(Place),
    /// A named server.
    Named(Box<Named>),
}

/// A server that a proof may use, as it describes itself.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Named {
    #[serde(skip)]
    pub(crate) target: Target,
    pub(crate) server: String,
    pub(crate) version: Version,
    pub(crate) system_identifier: Option<String>,
    /// Whether the role may make databases there.
    pub(crate) may_create: bool,
    /// Extensions of the database that it does not have.
    pub(crate) lacks_extensions: Vec<String>,
    /// Roles of the database that it does not have.
    pub(crate) lacks_roles: Vec<String>,
    /// Roles of the database that ours is no member of there, and can give nothing to.
    pub(crate) roles_of_others: Vec<String>,
    /// Databases of earlier proofs whose runs are dead.
    pub(crate) left: Vec<String>,
}

/// What such a database is called; the rest is the run's id.
const PREFIX: &str = "cutover_prove_";

/// The name of the database in which a run proves its backup.
pub(crate) fn database_of(run: &str) -> String {
    format!("{PREFIX}{}", run.replace('-', ""))
}

/// The server that `--prove-into` names. The variables of libpq belong to the server that is backed up: of them only the
/// password and service files count here.
pub(crate) fn named(url: &str, env: &Env) -> Result<Target, Failure> {
    const KEPT: [&str; 4] = ["HOME", "PGPASSFILE", "PGSERVICEFILE", "PGSYSCONFDIR"];
    let mut own: Vec<(String, String)> =
        KEPT.iter().filter_map(|name| Some(((*name).to_owned(), env.get(name)?.to_owned()))).collect();
    own.extend(env.get("PROVE_PGPASSWORD").map(|value| ("PGPASSWORD".to_owned(), value.to_owned())));
    let args = PgArgs { database_url: Some(url.to_owned()), ..PgArgs::default() };
    args.target(&own.into_iter().collect()).map_err(|failure| {
        Failure::usage("read --prove-into")
            .because(failure.chain().join(": "))
            .help("give postgresql://USER@HOST:PORT/DBNAME, or postgresql:///?service=NAME; the password comes from PROVE_PGPASSWORD or a password file")
    })
}

/// Asks a named server what it is.
pub(crate) async fn look(
    cx: &Cx,
    target: &Target,
    extensions: &[String],
    roles: &[String],
) -> Result<Named, Failure> {
    // By this name the session is known to be that of a living run.
    let own = Target { application_name: database_of(&cx.run_id()), ..target.clone() };
    let session = postgres::connect(cx, &own).await?;
    let attempt = "look at the server of --prove-into";
    let may_create =
        value(&session, attempt, "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user")
            .await?;
    let named = Named {
        server: own.server(),
        version: Version::of_server(session.identity.server_version.0),
        system_identifier: session.identity.system_identifier.clone(),
        may_create: may_create.as_deref() == Some("t"),
        lacks_extensions: lacking(&session, extensions.iter()).await?,
        lacks_roles: globals::missing(&session, roles).await?,
        roles_of_others: globals::not_ours(&session, roles).await?,
        left: leftovers(&session).await?,
        target: own,
    };
    session.close().await;
    Ok(named)
}

/// Databases of earlier proofs that nobody works on: made by this role, by that name, and without a session of that name.
async fn leftovers(session: &Session) -> Result<Vec<String>, Failure> {
    column(
        session,
        "look for what an earlier proof left",
        &format!(
            "SELECT d.datname FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba \
             WHERE r.rolname = current_user AND d.datname ~ '^{PREFIX}[0-9a-f]{{32}}$' \
             AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.application_name = d.datname) ORDER BY 1"
        ),
    )
    .await
}

/// A place that is ready for a database.
#[derive(Debug)]
pub(crate) enum Arena {
    Own(Box<Scratch>, Version),
    Named(Box<Session>, Version),
}

impl Arena {
    /// Starts the scratch server, or connects to the named one.
    pub(crate) async fn open(cx: &Cx, runner: &Runner, site: &Site) -> Result<Self, Failure> {
        match site {
            Site::Own(place) => {
                let scratch = Scratch::start(cx, runner, place).await?;
                Ok(Self::Own(Box::new(scratch), place.version.clone()))
            }
            Site::Named(named) => {
                let session = postgres::connect(cx, &named.target).await?;
                stay(&session).await?;
                Ok(Self::Named(Box::new(session), named.version.clone()))
            }
        }
    }

    pub(crate) fn version(&self) -> &Version {
        let (Self::Own(_, version) | Self::Named(_, version)) = self;
        version
    }

    async fn session(&self, cx: &Cx) -> Result<Session, Failure> {
        match self {
            Self::Own(scratch, _) => scratch.session(cx).await,
            Self::Named(session, _) => postgres::connect(cx, &session.target).await,
        }
    }

    /// The extensions that can't be made here, of those that are needed.
    pub(crate) async fn lacks(&self, cx: &Cx, extensions: &[String]) -> Result<Vec<String>, Failure> {
        let session = self.session(cx).await?;
        let lacks = lacking(&session, extensions.iter()).await;
        session.close().await;
        lacks
    }

    /// Makes the roles, where the server is ours alone. Says what did not work.
    pub(crate) async fn make_roles(
        &self,
        cx: &Cx,
        script: Option<&[u8]>,
        needed: &[String],
    ) -> Result<Vec<String>, Failure> {
        let Self::Own(..) = self else { return Ok(Vec::new()) };
        let session = self.session(cx).await?;
        let made = cx.in_time("make the roles", globals::apply(&session, script, needed)).await?;
        session.close().await;
        made
    }

    /// Makes the database. A collation that this machine does not have is replaced by `C` on a scratch server, and said.
    pub(crate) async fn make_database(
        &self,
        cx: &Cx,
        name: &str,
        locale: Option<&Locale>,
    ) -> Result<Target, Failure> {
        let attempt = format!("make the database {name} to prove the backup in");
        let session = self.session(cx).await?;
        let sql = create(name, locale, self.version());
        let mut made = session.client.simple_query(&sql).await;
        if let (Err(error), Some(locale), Self::Own(..)) = (&made, locale, self) {
            cx.report().say(&format!(
                "{}; it is proven with the collation C, which may order texts in another way",
                session.failure("", error).chain().join(": ")
            ));
            let plain = Locale {
                collate: "C".to_owned(),
                ctype: "C".to_owned(),
                provider: "libc".to_owned(),
                locale: None,
                encoding: locale.encoding.clone(),
            };
            made = session.client.simple_query(&create(name, Some(&plain), self.version())).await;
        }
        made.map_err(|error| session.failure(attempt, &error))?;
        let target = session.target.with_database(name);
        session.close().await;
        Ok(target)
    }

    /// Why something failed here beyond what it said: a server that has no room, or that has ended.
    pub(crate) fn state(&self) -> Option<String> {
        let Self::Own(scratch, _) = self else { return None };
        Some(format!(
            "{} are free for the scratch server; its last words: {}",
            kit::size(scratch.free()),
            scratch.log()
        ))
    }

    /// Ends the scratch server with all that is in it; a database on a named server is dropped by [`drop_database`].
    pub(crate) async fn close(self) -> Result<(), Failure> {
        match self {
            Self::Own(scratch, _) => scratch.end().await,
            Self::Named(session, _) => {
                session.close().await;
                Ok(())
            }
        }
    }
}

/// Drops a database of a proof on a named server, whoever is connected to it. It works when the run is cancelled, too.
pub(crate) async fn drop_database(arena: &Arena, name: &str) -> Result<(), Failure> {
    let Arena::Named(session, version) = arena else { return Ok(()) };
    drop_in(session, version, name).await
}

/// See [`drop_database`].
pub(crate) async fn drop_in(session: &Session, version: &Version, name: &str) -> Result<(), Failure> {
    // `FORCE` is there from 13 on; before, whoever is connected is told to leave.
    let force = if version.major >= (13, 0) {
        " WITH (FORCE)"
    } else {
        let end = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {}",
            literal(name)
        );
        let _ = session.client.simple_query(&end).await;
        ""
    };
    session
        .client
        .simple_query(&format!("DROP DATABASE IF EXISTS {}{force}", identifier(name)))
        .await
        .map(drop)
        .map_err(|error| {
            session
                .failure(format!("drop the database {name} on {}", session.target.server()), &error)
                .help("drop it by hand, or leave it to the next proof on this server")
        })
}

/// The scratch server that can be had here.
pub(crate) async fn own(
    runner: &Runner,
    tools: &crate::tools::Tools,
    server: &Version,
    folder: Option<&Path>,
    env: &Env,
) -> Result<Place, Failure> {
    place::find(runner, tools, server, folder, env).await.map_err(|why| {
        Failure::refused("prove the backup in a scratch server")
            .because(why)
            .help("install the server of PostgreSQL beside its client, or name a server with --prove-into, or ask for --verify read-back")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_of_the_proof_takes_nothing_from_the_variables_of_the_other() {
        let env: Env = [
            ("PGHOST", "prod"),
            ("PGDATABASE", "rally"),
            ("PGUSER", "u"),
            ("PGPASSWORD", "prod-pw"),
            ("PROVE_PGPASSWORD", "own-pw"),
        ]
        .into_iter()
        .collect();
        let failure = named("postgresql://u@/d", &env).unwrap_err();
        assert!(failure.chain()[0].contains("no host"), "{:?}", failure.chain());
        let target = named("postgresql://tester@127.0.0.1:5433/postgres", &env).unwrap();
        assert_eq!(
            (target.host.as_str(), target.port, target.dbname.as_str()),
            ("127.0.0.1", 5433, "postgres")
        );
        assert_eq!(target.password.unwrap().expose(), "own-pw");
        assert!(
            named("postgresql://u:secret@h/d", &env).unwrap_err().chain()[0].contains("holds a password")
        );
    }

    #[test]
    fn a_database_of_a_proof_has_a_name_of_its_own() {
        let name = database_of("1b4e28ba-2fa1-11d2-883f-0016d3cca427");
        assert_eq!(name, "cutover_prove_1b4e28ba2fa111d2883f0016d3cca427");
        assert!(name.len() < 63);
    }
}
