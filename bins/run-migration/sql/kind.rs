//! How a statement can be run, how its end can be looked up, and what it throws away.
//!
//! Source: the callers of `PreventInTransactionBlock` in PostgreSQL, and the notes of each command's page
//! (<https://www.postgresql.org/docs/current/sql-commands.html>). What is missed here the server refuses with SQLSTATE 25001.

use super::Loss;
use super::token::{Shape, Token, find, has, name, words};

/// How a statement can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// In a transaction.
    Plain,
    /// In a transaction; it changes a setting of the session, so a run that continues after it sends it again.
    Session,
    /// In a transaction, and what it makes ends with the connection; says why a file can't be continued after it.
    Forgotten(&'static str),
    /// In a transaction, unless it commits by itself as a procedure may.
    Procedure,
    /// Outside of any transaction.
    Alone {
        what: &'static str,
        /// How to find out whether it took effect when its answer was lost.
        probe: Probe,
        /// While it waits for a lock it stops nobody, and breaking the wait off leaves work undone.
        patient: bool,
    },
}

/// How the effect of a statement shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// Sent twice it does what it does when sent once.
    Again,
    /// An index of that name on that table; an invalid one is what an interrupted build leaves.
    Index { name: String, table: String },
    /// As before, and nothing says which index it would be.
    Unnamed,
    /// No index of that name.
    NoIndex { name: String },
    /// Sent again it does its work again; what an interrupted one left has to be dropped first. The index or table; all of
    /// the database without one.
    Rebuilt { index: bool, name: Option<String> },
    /// The partition belongs to its parent no more.
    Detached { parent: String, partition: String },
    /// A row of a catalogue.
    Object { catalogue: Catalogue, name: String, there: bool },
    /// Nothing that can be looked up.
    Unknown,
}

/// Where an object without a schema is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Catalogue {
    Database,
    Tablespace,
    Subscription,
}

const OWN: &str = "begins or ends a transaction, and the step itself decides where one begins and ends";
const COPY: &str = "COPY with its rows in the file";

/// What can't be run by this step at all, and why.
pub(super) fn never(tokens: &[Token]) -> Option<(&'static str, &'static str)> {
    Some(match *words(tokens).as_slice() {
        ["BEGIN", ..] => ("BEGIN", OWN),
        ["START", "TRANSACTION", ..] => ("START TRANSACTION", OWN),
        ["COMMIT", ..] => ("COMMIT", OWN),
        ["END", ..] => ("END", OWN),
        ["ABORT", ..] => ("ABORT", OWN),
        ["PREPARE", "TRANSACTION", ..] => ("PREPARE TRANSACTION", OWN),
        ["ROLLBACK", ..] if !has(tokens, "TO") => ("ROLLBACK", OWN),
        ["DISCARD", "ALL"] => ("DISCARD ALL", "would free the lock under which migrations run"),
        ["COPY", ..] if has(tokens, "STDIN") => (COPY, "needs psql: write the rows as INSERT"),
        ["COPY", ..] if has(tokens, "STDOUT") => ("COPY to standard output", "has nobody to read it"),
        _ => return None,
    })
}

pub(super) fn is_copy_with_rows(tokens: &[Token]) -> bool {
    never(tokens).is_some_and(|(what, _)| what == COPY)
}

/// What a statement about a subscription changes: on the server that publishes, wherever the database is.
pub(crate) const PUBLISHER: &str = "the slots of a publisher";

/// What of a statement reaches beyond the database that it is run in: all databases of the server have it, or another server does.
///
/// Source: <https://www.postgresql.org/docs/current/manage-ag-overview.html>, and the pages of the commands.
pub(super) fn beyond(tokens: &[Token]) -> Option<&'static str> {
    Some(match *words(tokens).as_slice() {
        ["CREATE" | "ALTER" | "DROP", "USER", "MAPPING", ..] => return None,
        ["CREATE" | "ALTER" | "DROP", "ROLE" | "USER" | "GROUP", ..] => "roles",
        ["GRANT" | "REVOKE", ..] if !has(tokens, "ON") => "the members of roles",
        ["GRANT" | "REVOKE", ..] if has(tokens, "DATABASE") => "the rights of a database",
        ["GRANT" | "REVOKE", ..] if has(tokens, "TABLESPACE") => "the rights of a tablespace",
        ["GRANT" | "REVOKE", ..] if has(tokens, "PARAMETER") => "the rights of a setting",
        ["REASSIGN" | "DROP", "OWNED", ..] => "what a role owns, databases too",
        ["CREATE" | "ALTER" | "DROP", "DATABASE", ..] => "databases",
        ["CREATE" | "ALTER" | "DROP", "TABLESPACE", ..] => "tablespaces",
        ["COMMENT", "ON", "DATABASE" | "ROLE" | "TABLESPACE", ..] => "what all databases share",
        ["ALTER", "SYSTEM", ..] => "the server's settings",
        ["CREATE" | "ALTER" | "DROP", "SUBSCRIPTION", ..] => PUBLISHER,
        _ => return None,
    })
}

pub(super) fn kind(tokens: &[Token], text: &str) -> Kind {
    if let Some(alone) = alone(tokens, text) {
        return alone;
    }
    let commits = || {
        tokens.iter().any(|token| {
            matches!(&token.shape, Shape::Literal(body) if body.contains("COMMIT") || body.contains("ROLLBACK"))
        })
    };
    match *words(tokens).as_slice() {
        ["SET", "ROLE", ..] | ["SET", "SESSION", "AUTHORIZATION" | "ROLE", ..] => {
            Kind::Forgotten("SET ROLE: under another role the step could not record how far the file is")
        }
        ["SET", "LOCAL" | "TRANSACTION" | "CONSTRAINTS", ..] => Kind::Plain,
        ["SET" | "RESET", ..] => Kind::Session,
        ["SELECT", ..] if has(tokens, "SET_CONFIG") => Kind::Session,
        ["CREATE", "TEMP" | "TEMPORARY", ..] | ["CREATE", "GLOBAL" | "LOCAL", "TEMP" | "TEMPORARY", ..] => {
            Kind::Forgotten("a temporary table is gone when the file is continued after an interruption")
        }
        ["PREPARE" | "DECLARE", ..] => {
            Kind::Forgotten("what it prepares is gone when the file is continued after an interruption")
        }
        ["CALL", ..] => Kind::Procedure,
        ["DO", ..] if commits() => Kind::Procedure,
        _ => Kind::Plain,
    }
}

fn alone(tokens: &[Token], text: &str) -> Option<Kind> {
    let kind = |what, probe| Some(Kind::Alone { what, probe, patient: false });
    let patient = |what, probe| Some(Kind::Alone { what, probe, patient: true });
    let named = |at: usize| name(tokens, at, text).map(|(name, _)| name.to_owned());
    let concurrently = has(tokens, "CONCURRENTLY");
    let object = object(tokens);
    let catalogue = |catalogue, there| match named(skip_if(tokens, 2)) {
        Some(name) => Probe::Object { catalogue, name, there },
        None => Probe::Unknown,
    };
    match *words(tokens).as_slice() {
        ["CREATE", "INDEX", "CONCURRENTLY", ..] => {
            patient("CREATE INDEX CONCURRENTLY", index(tokens, 3, text))
        }
        ["CREATE", "UNIQUE", "INDEX", "CONCURRENTLY", ..] => {
            patient("CREATE INDEX CONCURRENTLY", index(tokens, 4, text))
        }
        ["DROP", "INDEX", "CONCURRENTLY", ..] => {
            let probe = named(skip_if(tokens, 3)).map_or(Probe::Unknown, |name| Probe::NoIndex { name });
            patient("DROP INDEX CONCURRENTLY", probe)
        }
        ["REINDEX", ..] if concurrently => patient("REINDEX CONCURRENTLY", rebuilt(tokens, text)),
        ["REINDEX", ..] if matches!(object, Some("DATABASE" | "SYSTEM" | "SCHEMA")) => {
            kind("REINDEX of more than a table", Probe::Again)
        }
        ["ALTER", "TABLE", ..]
            if has(tokens, "DETACH") && tokens.last().is_some_and(|t| t.is("CONCURRENTLY")) =>
        {
            patient("DETACH PARTITION CONCURRENTLY", detached(tokens, text))
        }
        ["VACUUM", ..] => kind("VACUUM", Probe::Again),
        ["CLUSTER", ..] if object.is_none() => kind("CLUSTER of all tables", Probe::Again),
        ["ALTER", "SYSTEM", ..] => kind("ALTER SYSTEM", Probe::Again),
        ["ALTER", "DATABASE", ..] if has(tokens, "TABLESPACE") => {
            kind("ALTER DATABASE SET TABLESPACE", Probe::Again)
        }
        ["CREATE", "DATABASE", ..] => kind("CREATE DATABASE", catalogue(Catalogue::Database, true)),
        ["DROP", "DATABASE", ..] => kind("DROP DATABASE", catalogue(Catalogue::Database, false)),
        ["CREATE", "TABLESPACE", ..] => kind("CREATE TABLESPACE", catalogue(Catalogue::Tablespace, true)),
        ["DROP", "TABLESPACE", ..] => kind("DROP TABLESPACE", catalogue(Catalogue::Tablespace, false)),
        // Without a slot on the publisher, both can run in a transaction.
        ["CREATE", "SUBSCRIPTION", ..] if !has(tokens, "CREATE_SLOT") && !has(tokens, "CONNECT") => {
            kind("CREATE SUBSCRIPTION", catalogue(Catalogue::Subscription, true))
        }
        _ => None,
    }
}

/// Options in parentheses stand between the command and its object: `REINDEX (VERBOSE) DATABASE d`.
fn object(tokens: &[Token]) -> Option<&str> {
    let mut depth = 0_usize;
    for token in tokens.iter().skip(1) {
        match &token.shape {
            Shape::Open => depth += 1,
            Shape::Close => depth = depth.saturating_sub(1),
            Shape::Word(word) if depth == 0 && word != "VERBOSE" => return Some(word),
            Shape::Quoted if depth == 0 => return Some(""),
            _ => {}
        }
    }
    None
}

/// After `IF EXISTS` or `IF NOT EXISTS`.
fn skip_if(tokens: &[Token], at: usize) -> usize {
    let words = |n: usize| tokens.get(at + n).and_then(Token::word);
    match (words(0), words(1), words(2)) {
        (Some("IF"), Some("NOT"), Some("EXISTS")) => at + 3,
        (Some("IF"), Some("EXISTS"), _) => at + 2,
        _ => at,
    }
}

/// After `ONLY` and `TABLE`.
fn skip_only(tokens: &[Token], at: usize) -> usize {
    let mut at = at;
    while tokens.get(at).is_some_and(|token| token.is("ONLY") || token.is("TABLE")) {
        at += 1;
    }
    at
}

fn index(tokens: &[Token], at: usize, text: &str) -> Probe {
    let at = skip_if(tokens, at);
    if tokens.get(at).is_some_and(|token| token.is("ON")) {
        return Probe::Unnamed;
    }
    let Some((index, length)) = name(tokens, at, text) else { return Probe::Unnamed };
    match name(tokens, skip_only(tokens, at + length + 1), text) {
        Some((table, _)) => Probe::Index { name: index.to_owned(), table: table.to_owned() },
        None => Probe::Unknown,
    }
}

fn rebuilt(tokens: &[Token], text: &str) -> Probe {
    let index = find(tokens, &["INDEX"]);
    let at = index.or_else(|| find(tokens, &["TABLE"])).map(|at| at + 1);
    let at = at.map(|at| at + usize::from(tokens.get(at).is_some_and(|token| token.is("CONCURRENTLY"))));
    let name = at.and_then(|at| name(tokens, at, text)).map(|(name, _)| name.to_owned());
    Probe::Rebuilt { index: index.is_some(), name }
}

fn detached(tokens: &[Token], text: &str) -> Probe {
    let parent = name(tokens, skip_only(tokens, skip_if(tokens, 2)), text);
    let partition = find(tokens, &["DETACH", "PARTITION"]).and_then(|at| name(tokens, at + 2, text));
    match (parent, partition) {
        (Some((parent, _)), Some((partition, _))) => {
            Probe::Detached { parent: parent.to_owned(), partition: partition.to_owned() }
        }
        _ => Probe::Unknown,
    }
}

/// The table that a statement alters, indexes or rewrites.
pub(super) fn table(tokens: &[Token], text: &str) -> Option<String> {
    let at = match *words(tokens).as_slice() {
        ["ALTER", "TABLE", ..] => skip_only(tokens, skip_if(tokens, 2)),
        ["CREATE", "INDEX", ..] | ["CREATE", "UNIQUE", "INDEX", ..] => {
            skip_only(tokens, find(tokens, &["ON"])? + 1)
        }
        ["REINDEX", ..] => find(tokens, &["TABLE"])? + 1,
        ["CLUSTER", ..] => 1,
        _ => return None,
    };
    name(tokens, at, text).map(|(name, _)| name.to_owned())
}

/// What data the statement throws away, as far as its own words tell.
pub(super) fn destroys(tokens: &[Token], text: &str) -> Option<Loss> {
    let cascades = has(tokens, "CASCADE");
    let loss = |rule, what, table: Option<String>| Some(Loss { rule, what, table });
    // A list of tables is none that could be looked up as one.
    let only = |at: usize| {
        let (name, length) = name(tokens, at, text)?;
        let listed = tokens.get(at + length).is_some_and(|token| token.shape == Shape::Comma);
        (!listed).then(|| name.to_owned())
    };
    match *words(tokens).as_slice() {
        ["DROP", "TABLE", ..] => loss("ban-drop-table", "DROP TABLE", only(skip_if(tokens, 2))),
        ["DROP", "SCHEMA", ..] if cascades => loss("ban-drop-schema", "DROP SCHEMA ... CASCADE", None),
        ["DROP", "DATABASE", ..] => loss("ban-drop-database", "DROP DATABASE", None),
        ["DROP", "OWNED", ..] => loss("drop-owned", "DROP OWNED", None),
        ["DROP", "SEQUENCE", ..] => loss("ban-drop-sequence", "DROP SEQUENCE", None),
        ["DROP", "TYPE", ..] if cascades => loss("ban-drop-type", "DROP TYPE ... CASCADE", None),
        ["DROP", "DOMAIN", ..] if cascades => loss("ban-drop-domain", "DROP DOMAIN ... CASCADE", None),
        ["DROP", "EXTENSION", ..] if cascades => {
            loss("ban-drop-extension", "DROP EXTENSION ... CASCADE", None)
        }
        ["TRUNCATE", ..] if cascades => loss("truncate", "TRUNCATE ... CASCADE", None),
        ["TRUNCATE", ..] => loss("truncate", "TRUNCATE", only(skip_only(tokens, 1))),
        ["DELETE" | "UPDATE" | "WITH", ..] => rewrites(tokens, text),
        ["ALTER", "TYPE", ..] if has(tokens, "ATTRIBUTE") && has(tokens, "DROP") => {
            loss("ban-drop-column", "ALTER TYPE ... DROP ATTRIBUTE", None)
        }
        ["ALTER", "TABLE", ..] if drops_column(tokens) => loss(
            "ban-drop-column",
            "ALTER TABLE ... DROP COLUMN",
            only(skip_only(tokens, skip_if(tokens, 2))),
        ),
        _ => None,
    }
}

/// `DELETE` and `UPDATE` of every row of a table.
fn rewrites(tokens: &[Token], text: &str) -> Option<Loss> {
    if find(tokens, &["WHERE"]).is_some() {
        return None;
    }
    let table = |at| name(tokens, skip_only(tokens, at), text).map(|(name, _)| name.to_owned());
    if let Some(at) = find(tokens, &["DELETE", "FROM"]) {
        let table = table(at + 2);
        return Some(Loss { rule: "delete-without-where", what: "DELETE without WHERE", table });
    }
    let at = find(tokens, &["UPDATE"])
        .filter(|_| find(tokens, &["INSERT"]).is_none() && find(tokens, &["SET"]).is_some())?;
    Some(Loss { rule: "update-without-where", what: "UPDATE without WHERE", table: table(at + 1) })
}

/// `DROP [COLUMN] name` among the actions of an `ALTER TABLE`; `ALTER [COLUMN] name DROP ...` drops a property of it.
fn drops_column(tokens: &[Token]) -> bool {
    let mut depth = 0_usize;
    let mut actions = vec![Vec::new()];
    for token in tokens.iter().skip(2) {
        match token.shape {
            Shape::Open => depth += 1,
            Shape::Close => depth = depth.saturating_sub(1),
            Shape::Comma if depth == 0 => actions.push(Vec::new()),
            _ if depth == 0 => {
                if let Some(action) = actions.last_mut() {
                    action.push(token);
                }
            }
            _ => {}
        }
    }
    actions.iter().any(|action| {
        let after = action.iter().skip_while(|token| !token.is("DROP")).nth(1);
        !action.iter().any(|token| token.is("ALTER")) && after.is_some_and(|token| !token.is("CONSTRAINT"))
    })
}
