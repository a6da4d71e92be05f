//! `--action upgrade-check` and `--action reindex`: before and after an upgrade of the server or its operating system.
//!
//! The indexes are rebuilt by statements of our own and not by `reindexdb`: that can't choose by collation, goes on where it
//! skips (invalid indexes, exclusion constraints), begins anew when it was killed, leaves its remains, and waits for locks
//! without saying whose they are.

mod apply;
mod check;
mod collation;
mod done;
mod observe;
mod plan;
mod rules;
mod verify;

use std::collections::BTreeSet;

use clap::{Args, ValueEnum};
use kit::{Cx, Failure, Go, Note, Outcome, Receipt};
use postgres::{PgArgs, Session, Target};
use serde_json::json;

use self::observe::{Listed, Seen, Server};
use self::plan::Request;
use self::rules::{Rule, Scope, rules};
use crate::apply::Manner;
use crate::args::{MigrateArgs, Verb};
use crate::connection::Limits;
use crate::ledger::Ledger;

/// The flags of the upgrade form.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Options of --action upgrade-check and reindex")]
pub(crate) struct UpgradeArgs {
    /// With --action upgrade-check: the major version to upgrade to; the server's own asks only what is to be rebuilt
    #[arg(long, value_name = "N", required_if_eq("action", "upgrade-check"))]
    pub(crate) to_major: Option<u32>,

    /// Look at this database only [default: all that take connections]
    #[arg(long, value_name = "DBNAME")]
    pub(crate) only_database: Vec<String>,

    /// With --action reindex: which indexes
    #[arg(long, value_enum, value_name = "WHICH")]
    pub(crate) indexes: Option<What>,

    /// With --action reindex: which may be rebuilt while writers wait
    #[arg(long, value_enum, value_name = "WHICH")]
    pub(crate) exclusive: Option<Exclusive>,

    /// With --action reindex: check each rebuilt B-tree against its table, with the extension amcheck; where it is not installed it is made for the moment, as a superuser
    #[arg(long)]
    pub(crate) amcheck: bool,
}

/// Which indexes are rebuilt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// Those whose collation has another version than is recorded, and invalid ones (the default)
    #[default]
    Changed,
    /// These, and every one whose order a library makes
    Text,
    /// Every one, as `reindexdb --all`
    All,
}

/// Which indexes are rebuilt while writers wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Exclusive {
    /// What can't be rebuilt CONCURRENTLY, of tables up to 10 MiB (the default)
    #[default]
    Small,
    /// What can't be rebuilt CONCURRENTLY
    Needed,
    /// All, while nobody writes: faster, and the only way before 12
    All,
}

/// Databases of managed services that no customer can connect to, whatever their rights say.
const MANAGED: [&str; 4] = ["rdsadmin", "cloudsqladmin", "azure_maintenance", "azure_sys"];

impl UpgradeArgs {
    fn given(&self) -> bool {
        self.to_major.is_some()
            || !self.only_database.is_empty()
            || self.indexes.is_some()
            || self.exclusive.is_some()
            || self.amcheck
    }
}

/// Whether the flags go with the verb; the files of a migration have no part in an upgrade.
pub(crate) fn flags(args: &MigrateArgs) -> Result<(), Failure> {
    let verb = match args.action {
        Verb::UpgradeCheck => "--action upgrade-check",
        Verb::Reindex => "--action reindex",
        Verb::Apply | Verb::Revert if args.upgrade.given() => {
            return Err(Failure::usage("read the arguments").because(
                "--to-major, --only-database, --indexes, --exclusive and --amcheck belong to --action upgrade-check and reindex",
            ));
        }
        Verb::Apply | Verb::Revert => return Ok(()),
    };
    let check = args.action == Verb::UpgradeCheck;
    let others = [
        ("--migrations", args.migrations.is_some()),
        ("--task", args.task.task.is_some()),
        ("--chain", args.chain.chain.is_some()),
        ("--to", args.to.is_some()),
        ("--order", args.order.is_some()),
        ("--baseline", args.baseline.is_some()),
        ("--allow", !args.allow.is_empty()),
        ("--require-backup", args.require_backup.is_some()),
        ("--without-backup", args.without_backup.is_some()),
        ("--dry-run-into", args.dry_run_into.is_some()),
        ("--ledger sqlx", matches!(args.ledger, Ledger::Sqlx { .. })),
        ("--to-major", !check && args.upgrade.to_major.is_some()),
        ("--indexes", check && args.upgrade.indexes.is_some()),
        ("--exclusive", check && args.upgrade.exclusive.is_some()),
        ("--amcheck", check && args.upgrade.amcheck),
    ];
    let wrong: Vec<&str> = others.iter().filter(|(_, given)| *given).map(|(flag, _)| *flag).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Failure::usage("read the arguments").because(format!("{verb} has no use for {}", wrong.join(", "))))
}

/// The server and how each of its databases is reached.
struct Place<'a> {
    cx: &'a Cx,
    pg: &'a PgArgs,
    manner: Manner,
}

impl Place<'_> {
    /// A password file can have another line for each database.
    fn target(&self, database: &str) -> Result<Target, Failure> {
        let pg = PgArgs { dbname: Some(database.to_owned()), ..self.pg.clone() };
        let mut target = pg.target(self.cx.env())?;
        if self.cx.env().get("PGAPPNAME").is_none() && target.application_name == "cutover" {
            "cutover run-migration".clone_into(&mut target.application_name);
        }
        Ok(target)
    }

    fn limits(&self) -> Limits {
        self.manner.limits
    }

    async fn open(&self, database: &str) -> Result<Session, Failure> {
        observe::open(self.cx, &self.target(database)?, self.limits()).await
    }

    /// Reads each database, with what the rules find in it.
    async fn look(
        &self,
        server: &Server,
        names: &[String],
        rules: &[&'static Rule],
    ) -> Result<Vec<Seen>, Failure> {
        let mut all = Vec::new();
        for name in names {
            let session = self.open(name).await?;
            let mut seen = self.cx.or_cancelled(observe::database(&session, server)).await??;
            seen.found = self.cx.or_cancelled(observe::found(&session, rules, Scope::Database)).await??;
            session.close().await;
            all.push(seen);
        }
        Ok(all)
    }
}

/// Which databases are looked at, and what is said of the others.
fn chosen(server: &Server, only: &[String], notes: &mut Vec<Note>) -> Result<Vec<String>, Failure> {
    let attempt = "choose the databases";
    let open: Vec<&Listed> = server.databases.iter().filter(|listed| listed.open).collect();
    if !only.is_empty() {
        let known: BTreeSet<&str> = open.iter().map(|listed| listed.name.as_str()).collect();
        let unknown: Vec<&str> =
            only.iter().map(String::as_str).filter(|name| !known.contains(name)).collect();
        if !unknown.is_empty() {
            return Err(Failure::refused(attempt)
                .because(format!("no database that takes connections has the name {}", unknown.join(", ")))
                .help(format!("there are {}", known.into_iter().collect::<Vec<_>>().join(", "))));
        }
        let wanted: BTreeSet<&String> = only.iter().collect();
        return Ok(wanted.into_iter().cloned().collect());
    }
    let (managed, open): (Vec<&Listed>, Vec<&Listed>) =
        open.into_iter().partition(|listed| MANAGED.contains(&listed.name.as_str()));
    notes.extend(managed.iter().map(|listed| {
        Note::Info(format!("{} is the managed service's own and is not looked at", listed.name))
    }));
    let closed: Vec<&str> =
        open.iter().filter(|listed| !listed.permitted).map(|listed| listed.name.as_str()).collect();
    if !closed.is_empty() {
        return Err(Failure::refused(attempt)
            .because(format!("{} may not connect to {}", server.role, closed.join(", ")))
            .help("GRANT CONNECT ON DATABASE, connect as a superuser (--user), or name those to look at (--only-database)"));
    }
    Ok(open.into_iter().map(|listed| listed.name.clone()).collect())
}

/// Keeps the server from ending the session that holds the ledger's lock, which is idle while others rebuild for hours.
/// `idle_session_timeout` is there from 14 on
/// (<https://www.postgresql.org/docs/current/runtime-config-client.html#GUC-IDLE-SESSION-TIMEOUT>).
async fn stay(session: &Session) -> Result<(), Failure> {
    let query = "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'";
    let set = session.client.simple_query(query).await;
    set.map(drop).map_err(|error| session.failure("keep the session open", &error).untouched(true))
}

/// Runs the verb.
pub(crate) async fn run(cx: &Cx, args: &MigrateArgs, manner: Manner) -> Result<Outcome, Failure> {
    let place = Place { cx, pg: &args.pg, manner };
    let target = args.pg.target(cx.env())?;
    let session = place.open(&target.dbname).await?;
    let server = cx.or_cancelled(observe::server(&session)).await??;
    let mut notes = Vec::new();
    let names = chosen(&server, &args.upgrade.only_database, &mut notes)?;
    if let (Verb::UpgradeCheck, Some(to)) = (args.action, args.upgrade.to_major) {
        return run_check(&place, &session, &server, to, &names, notes).await;
    }
    run_reindex(&place, args, session, &server, &names, notes).await
}

async fn run_check(
    place: &Place<'_>,
    session: &Session,
    server: &Server,
    to: u32,
    names: &[String],
    mut notes: Vec<Note>,
) -> Result<Outcome, Failure> {
    let cx = place.cx;
    if server.in_recovery {
        notes.push(Note::Warning(
            "the server is a standby: replication slots are those of this server alone; ask the primary too"
                .to_owned(),
        ));
    }
    let rules: Vec<&'static Rule> = rules(server.version, to).collect();
    let of_server = cx.or_cancelled(observe::found(session, &rules, Scope::Server)).await??;
    let databases = place.look(server, names, &rules).await?;
    let check = check::check(server, to, &rules, &of_server, &databases, notes)?;
    cx.observed(&json!({ "server": server, "found": of_server, "databases": databases }));
    cx.output("blocking", check.blocking().to_string());
    cx.output("to-rebuild", check.to_rebuild().to_string());
    cx.output("text-indexes", check.text_indexes.to_string());
    cx.output("unknown-collations", check.unknown.to_string());
    cx.output("invalid-indexes", check.invalid.to_string());
    let _ = cx.show(&check)?;
    check.verdict()?;
    Ok(Outcome::unchanged(kit::Plan::unchanged(&check)))
}

async fn run_reindex(
    place: &Place<'_>,
    args: &MigrateArgs,
    session: Session,
    server: &Server,
    names: &[String],
    notes: Vec<Note>,
) -> Result<Outcome, Failure> {
    let (cx, ledger) = (place.cx, &args.ledger);
    let request = Request {
        what: args.upgrade.indexes.unwrap_or_default(),
        exclusive: args.upgrade.exclusive.unwrap_or_default(),
        amcheck: args.upgrade.amcheck,
    };
    let mut notes = notes;
    if server.system.is_none() {
        notes.push(Note::Warning(format!(
            "{} may not ask for the system identifier, by which a run that continues knows what is rebuilt: it would begin anew",
            server.role
        )));
    }
    let judge = async || -> Result<(plan::Reindex, Vec<Seen>), Failure> {
        let databases = if server.in_recovery { Vec::new() } else { place.look(server, names, &[]).await? };
        let done = done::read(&session, ledger).await?;
        let mut notes = notes.clone();
        notes.extend(unseen(request, &databases));
        Ok((plan::plan(request, server, &databases, &done, notes)?, databases))
    };
    let (mut plan, mut databases) = judge().await?;
    if !plan.is_empty() && !cx.dry_run() {
        // Another run may have been at work until the lock was ours.
        stay(&session).await?;
        crate::ledger::lock(cx, &session, ledger).await?;
        (plan, databases) = judge().await?;
    }
    cx.observed(&json!({ "server": server, "databases": databases }));
    cx.output("rebuilt", "0");
    cx.output("refreshed", "0");
    cx.output("pending", plan.count().to_string());
    cx.output("unknown-collations", databases.iter().map(unknown).sum::<usize>().to_string());
    match cx.show(&plan)? {
        Go::Stop(outcome) => return Ok(outcome),
        Go::Apply => {}
    }
    if plan.is_empty() {
        session.close().await;
        return Ok(Outcome::unchanged(kit::Plan::unchanged(&plan)));
    }
    let session = apply::apply(place, ledger, request, &plan, session).await?;
    let after = place.look(server, names, &[]).await?;
    session.close().await;
    verify::verify(&plan, &after)?;
    Ok(Outcome::changed(format!(
        "{} indexes are rebuilt and valid, {} recorded versions are those of the libraries",
        plan.count(),
        plan.refreshed()
    )))
}

/// Of how many indexes a change of order can't be seen.
fn unknown(seen: &Seen) -> usize {
    let unknown =
        |oid: &u32| seen.collations.get(oid).is_some_and(|one| one.state() == collation::State::Unknown);
    seen.indexes.iter().filter(|index| index.collations.iter().any(unknown)).count()
}

/// What a choice by recorded versions does not see.
fn unseen(request: Request, databases: &[Seen]) -> Vec<Note> {
    if request.what != What::Changed {
        return Vec::new();
    }
    let mut notes = vec![Note::Info(
        "after pg_upgrade the recorded versions can be those of the new server's libraries: where the operating system was changed with it, use --indexes text"
            .to_owned(),
    )];
    let count: usize = databases.iter().map(unknown).sum();
    if count > 0 {
        notes.push(Note::Warning(format!(
            "{count} indexes depend on collations of which the server keeps no version: whether their order has changed can't be seen; --indexes text rebuilds them"
        )));
    }
    notes
}

/// The refusal of `--undo`, where the receipt is of a rebuilding.
pub(crate) fn no_undo(receipt: &Receipt) -> Option<Failure> {
    let ours = |id: &str| id.starts_with("rebuild-") || id.starts_with("refresh-");
    receipt.actions.iter().any(|action| ours(&action.id)).then(|| {
        Failure::refused("undo run-migration --action reindex")
            .because("an index holds nothing that its table does not: what was rebuilt is as good as it was, or better")
    })
}
