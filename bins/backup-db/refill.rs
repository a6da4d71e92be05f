//! A stored dump into a database, and what the database is then.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;

use kit::{Cx, Failure};
use postgres::{Locale, Session, Target};
use s3::{Bucket, Sum};

use crate::catalogue::{self, all, text, value};
use crate::compare::{Expected, Found};
use crate::globals::conninfo;
use crate::readback::{Extent, Read, Stored, through};
use crate::rows::{self, Rows};
use crate::sql::{Statement, identifier, literal, split};
use crate::tools::{Runner, Version};

/// How a database is filled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filling<'a> {
    pub(crate) pg_restore: &'a Path,
    /// Of `pg_restore`.
    pub(crate) client: &'a Version,
    /// Of the server.
    pub(crate) server: &'a Version,
    /// Whether owners and privileges are restored.
    pub(crate) owners: bool,
    /// Whether the database is dropped afterwards: one with subscriptions can't be.
    pub(crate) for_a_while: bool,
}

impl Filling<'_> {
    /// From 17 on, `pg_restore` sets `transaction_timeout`, which an older server does not know: the one error that is none.
    fn sets_too_much(&self) -> bool {
        self.client.major >= (17, 0) && self.server.major < (17, 0)
    }
}

/// Streams a dump into a database. It is read to its end, and `Err` says why it was not restored whole: the first error ends
/// it.
pub(crate) async fn fill(
    cx: &Cx,
    store: &Bucket,
    dump: Stored<'_>,
    runner: &Runner,
    database: &Target,
    how: Filling<'_>,
) -> Result<Result<Sum, String>, Failure> {
    let mut command = runner.to(database.child_env()).command(how.pg_restore);
    command
        .args(["--no-password", "--no-tablespaces"])
        .arg(format!("--dbname={}", conninfo(&database.dbname)));
    if !how.sets_too_much() {
        command.arg("--exit-on-error");
    }
    if how.for_a_while {
        command.arg("--no-subscriptions");
    }
    if !how.owners {
        command.args(["--no-owner", "--no-privileges"]);
    }
    let read = through(cx, store, dump, command, Extent::Whole).await?;
    Ok(judge(&read, how.sets_too_much()).map(|()| read.sum))
}

/// What `pg_restore`'s end and words mean. Where it was let go on over errors, the only one may be that of a setting which
/// the server is too old for.
fn judge(read: &Read, lenient: bool) -> Result<(), String> {
    let ignored = read
        .said
        .last
        .iter()
        .find_map(|line| line.split_once("errors ignored on restore: ")?.1.trim().parse().ok());
    match (&read.reader, ignored) {
        (Ok(()), None) => Ok(()),
        (_, Some(1))
            if lenient && read.said.first.iter().any(|line| line.contains("\"transaction_timeout\"")) =>
        {
            Ok(())
        }
        (Err(why), None) => Err(why.clone()),
        (_, Some(number)) => {
            let first =
                read.said.first.iter().find(|line| line.contains("error:")).cloned().unwrap_or_default();
            let number: u64 = number;
            Err(format!("pg_restore met {number} errors, the first: {first}"))
        }
    }
}

/// The statement that makes a database like the one that was backed up.
pub(crate) fn create(name: &str, locale: Option<&Locale>, server: &Version) -> String {
    let mut sql = format!("CREATE DATABASE {} TEMPLATE template0", identifier(name));
    if let Some(locale) = locale {
        sql.push_str(&format!(
            " ENCODING {} LC_COLLATE {} LC_CTYPE {}",
            literal(&locale.encoding),
            literal(&locale.collate),
            literal(&locale.ctype)
        ));
        match (locale.provider.as_str(), &locale.locale) {
            ("icu", Some(own)) if server.major >= (15, 0) => {
                sql.push_str(&format!(" LOCALE_PROVIDER icu ICU_LOCALE {}", literal(own)));
            }
            ("builtin", Some(own)) if server.major >= (17, 0) => {
                sql.push_str(&format!(" LOCALE_PROVIDER builtin BUILTIN_LOCALE {}", literal(own)));
            }
            ("libc", _) if server.major >= (15, 0) => sql.push_str(" LOCALE_PROVIDER libc"),
            _ => {}
        }
    }
    sql
}

/// The extensions that a server can't make, of those that are needed.
pub(crate) async fn lacking<'a>(
    session: &Session,
    needed: impl Iterator<Item = &'a String>,
) -> Result<Vec<String>, Failure> {
    let there = catalogue::column(
        session,
        "list the extensions that the server has",
        "SELECT name FROM pg_available_extensions",
    )
    .await?;
    Ok(needed.filter(|name| !there.contains(name)).cloned().collect())
}

/// Looks at a restored database.
pub(crate) async fn look(cx: &Cx, database: &Target, expected: &Expected) -> Result<Found, Failure> {
    let session = postgres::connect(cx, database).await?;
    let found = async {
        session
            .client
            .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL row_security = off; SET LOCAL statement_timeout = 0")
            .await
            .map_err(|error| session.failure("look at what was restored", &error))?;
        let mut tables = rows::tables(&session).await?;
        let names: BTreeSet<String> = tables.iter().map(|table| table.name.clone()).collect();
        tables.retain(|table| expected.rows.contains_key(&table.name));
        let counted = Mutex::new(Rows::default());
        rows::count(&session, &tables, u64::MAX, &counted).await;
        let mut counted = counted.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        counted.give_up(&tables, "the connection was lost");
        Ok(Found {
            rows: counted.exact,
            unknown: counted.unknown,
            tables: names,
            roots: roots(&session).await?,
            objects: catalogue::objects(&session).await?,
        })
    };
    let found = cx.in_time("count what was restored", found).await?;
    session.close().await;
    found
}

/// The parent of all, for each partition: `pg_partition_root` is there from 12 on.
async fn roots(session: &Session) -> Result<std::collections::BTreeMap<String, String>, Failure> {
    if session.identity.server_version.0 < 120_000 {
        return Ok(std::collections::BTreeMap::new());
    }
    let rows = all(
        session,
        "list the partitions",
        "SELECT n.nspname, c.relname, rn.nspname, r.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_class r ON r.oid = pg_partition_root(c.oid) JOIN pg_namespace rn ON rn.oid = r.relnamespace \
         WHERE c.relispartition AND c.relkind = 'r'",
    )
    .await?;
    let name = |row: &[Option<String>], n: usize| {
        Some(postgres::manifest::qualified(text(row, n)?, text(row, n + 1)?))
    };
    Ok(rows.iter().filter_map(|row| Some((name(row, 0)?, name(row, 2)?))).collect())
}

/// The caller's assertions.
#[derive(Clone, Debug)]
pub(crate) struct Assertions {
    file: String,
    statements: Vec<Statement>,
}

impl Assertions {
    /// Reads them; a file without any, or one that is cut off, is a usage error.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let file = path.display().to_string();
        let failed = |why: String| {
            Failure::usage(format!("read the assertions {file}"))
                .because(why)
                .help("each statement of the file must be a query that returns one row of one value, true, as in SELECT count(*) > 0 FROM surveys;")
        };
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let statements = split(&text).map_err(failed)?;
        if statements.is_empty() {
            return Err(failed("it has no statement, and would prove nothing".to_owned()));
        }
        Ok(Self { file, statements })
    }

    /// Whether all of them hold. Says how many, or which does not.
    pub(crate) async fn hold(&self, cx: &Cx, database: &Target) -> Result<Result<String, String>, Failure> {
        let session =
            postgres::connect(cx, &database.with_option("default_transaction_read_only", "on")).await?;
        for statement in &self.statements {
            let place = format!("{}, line {}", self.file, statement.line);
            let asked = all(&session, "ask it", &statement.text);
            let answer = cx.in_time(&format!("ask the assertion of {place}"), asked).await?;
            let rows = match answer {
                Ok(rows) => rows,
                Err(failure) if session.is_closed() => return Err(failure),
                Err(failure) => {
                    return Ok(Err(format!(
                        "the assertion of {place} failed: {}",
                        failure.chain().join(": ")
                    )));
                }
            };
            if let Err(got) = is_true(&rows) {
                return Ok(Err(format!("the assertion of {place} does not hold: it returned {got}")));
            }
        }
        session.close().await;
        Ok(Ok(format!("{} assertions hold", self.statements.len())))
    }
}

/// One row of one value, true.
fn is_true(rows: &catalogue::Rows) -> Result<(), String> {
    match rows.as_slice() {
        [row] => match row.as_slice() {
            [Some(value)] if value == "t" => Ok(()),
            [Some(value)] => Err(value.chars().take(60).collect()),
            [None] => Err("NULL".to_owned()),
            columns => Err(format!("a row of {} values", columns.len())),
        },
        rows => Err(format!("{} rows", rows.len())),
    }
}

/// The number by which a server knows a database, for as long as it exists.
pub(crate) async fn oid(session: &Session, name: &str) -> Result<Option<String>, Failure> {
    value(
        session,
        "look for the database",
        &format!("SELECT oid FROM pg_database WHERE datname = {}", literal(name)),
    )
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::Said;

    fn read(reader: Result<(), String>, lines: &[&str]) -> Read {
        let lines = || lines.iter().map(|line| (*line).to_owned());
        Read {
            sum: s3::Hasher::new().finish(),
            unpacked: Ok(()),
            reader,
            said: Said { first: lines().collect(), last: lines().collect() },
            printed: Vec::new(),
        }
    }

    /// The words are those of `pg_restore` 16 and 18.
    #[test]
    fn errors_that_were_ignored_are_errors() {
        let ignored = |n: u32| format!("pg_restore: warning: errors ignored on restore: {n}");
        let ended = || Err("pg_restore ended with exit code 1".to_owned());
        assert_eq!(judge(&read(Ok(()), &[]), false), Ok(()));
        assert!(judge(&read(Ok(()), &[&ignored(3)]), false).is_err());
        assert!(judge(&read(ended(), &["pg_restore: error: could not execute query"]), false).is_err());
        let setting = "pg_restore: error: could not execute query: ERROR:  unrecognized configuration parameter \"transaction_timeout\"";
        assert_eq!(judge(&read(ended(), &[setting, &ignored(1)]), true), Ok(()));
        assert!(judge(&read(ended(), &[setting, &ignored(1)]), false).is_err());
        assert!(judge(&read(ended(), &[setting, &ignored(2)]), true).unwrap_err().contains("2 errors"));
        assert!(judge(&read(ended(), &[&ignored(1)]), true).is_err());
    }

    #[test]
    fn a_database_is_made_with_the_locale_of_the_first() {
        let version = |text: &str| Version::parse(text).unwrap();
        let locale = |provider: &str, own: Option<&str>| Locale {
            encoding: "UTF8".into(),
            collate: "de_DE.UTF-8".into(),
            ctype: "de_DE.UTF-8".into(),
            provider: provider.into(),
            locale: own.map(str::to_owned),
        };
        let libc = "ENCODING 'UTF8' LC_COLLATE 'de_DE.UTF-8' LC_CTYPE 'de_DE.UTF-8'";
        assert_eq!(create("a\"b", None, &version("14.1")), "CREATE DATABASE \"a\"\"b\" TEMPLATE template0");
        assert_eq!(
            create("a", Some(&locale("libc", None)), &version("14.1")),
            format!("CREATE DATABASE \"a\" TEMPLATE template0 {libc}")
        );
        assert!(create("a", Some(&locale("libc", None)), &version("18.1")).ends_with("LOCALE_PROVIDER libc"));
        assert!(create("a", Some(&locale("icu", Some("de"))), &version("16.1")).ends_with("ICU_LOCALE 'de'"));
        assert!(
            create("a", Some(&locale("builtin", Some("C.UTF-8"))), &version("17.1"))
                .ends_with("BUILTIN_LOCALE 'C.UTF-8'")
        );
    }

    #[test]
    fn only_one_row_of_one_true_value_is_true() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(is_true(&vec![vec![some("t")]]), Ok(()));
        for (rows, got) in [
            (vec![], "0 rows"),
            (vec![vec![some("f")]], "f"),
            (vec![vec![None]], "NULL"),
            (vec![vec![some("t"), some("t")]], "a row of 2 values"),
            (vec![vec![some("t")], vec![some("t")]], "2 rows"),
            (vec![vec![some("true story")]], "true story"),
        ] {
            assert_eq!(is_true(&rows), Err(got.to_owned()));
        }
    }
}
