//! A SQL file as statements: where each begins, and what in it can't be run here.

use serde::Serialize;
use squawk_lexer::{LiteralKind, TokenKind, tokenize};

/// A file's statements and what stands against running them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Script {
    /// In order.
    pub(crate) statements: Vec<Statement>,
    /// Why the file can't be run in one transaction through a connection.
    pub(crate) problems: Vec<Remark>,
    /// Statements that throw data away.
    pub(crate) destroys: Vec<Remark>,
}

/// One statement of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    /// Its text, without the semicolon.
    pub(crate) text: String,
    /// The line in the file where it begins, from 1.
    pub(crate) line: usize,
}

/// Something about a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Remark {
    /// The line in the file, from 1.
    pub(crate) line: usize,
    /// What is there, and for a problem why it is one.
    pub(crate) what: String,
}

/// What of a token matters for telling statements apart.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// A key word or unquoted name, in capitals.
    Word(String),
    Open,
    Close,
    Comma,
    Other,
}

const BLOCK: &str = "can't run inside a transaction";
const OWN: &str = "begins or ends a transaction, and the step runs each file in one of its own";

/// Splits a file as psql does
/// (<https://github.com/postgres/postgres/blob/REL_18_STABLE/src/fe_utils/psqlscan.l>): a semicolon ends a statement
/// outside of quotes, comments, parentheses and the `BEGIN ATOMIC ... END` body of a function.
pub(crate) fn parse(text: &str) -> Script {
    let mut script = Script::default();
    let mut open = Open::default();
    let mut at = 0;
    for token in tokenize(text) {
        let start = at;
        at += token.len as usize;
        let raw = text.get(start..at).unwrap_or_default();
        let problem = |what: &str| Remark { line: line_of(text, start), what: what.to_owned() };
        if let Some(what) = unterminated(token.kind) {
            script.problems.push(problem(what));
        }
        let token = match token.kind {
            TokenKind::Whitespace
            | TokenKind::LineComment
            | TokenKind::BlockComment { .. }
            | TokenKind::Eof => continue,
            TokenKind::Semi if open.depth == 0 && open.begins == 0 => {
                let copies = open.finish(text, start, &mut script);
                if copies {
                    // What follows are rows, not SQL.
                    return script;
                }
                continue;
            }
            TokenKind::Unknown if raw == "\\" => {
                let command: String = text
                    .get(start..)
                    .unwrap_or_default()
                    .chars()
                    .take_while(|c| !c.is_whitespace())
                    .collect();
                script.problems.push(problem(&format!("{command} is a command of psql, not SQL")));
                return script;
            }
            TokenKind::Ident => Token::Word(raw.to_uppercase()),
            TokenKind::OpenParen => Token::Open,
            TokenKind::CloseParen => Token::Close,
            TokenKind::Comma => Token::Comma,
            _ => Token::Other,
        };
        open.take(token, start, at);
    }
    open.finish(text, text.len(), &mut script);
    script
}

/// The statement being read.
#[derive(Default)]
struct Open {
    tokens: Vec<Token>,
    start: usize,
    end: usize,
    depth: usize,
    /// Nesting of `BEGIN` and `CASE` inside the body of `CREATE FUNCTION`, which both end with `END`.
    begins: usize,
}

impl Open {
    fn take(&mut self, token: Token, start: usize, end: usize) {
        if self.tokens.is_empty() {
            self.start = start;
        }
        self.end = end;
        match &token {
            Token::Open => self.depth += 1,
            Token::Close => self.depth = self.depth.saturating_sub(1),
            Token::Word(word) if self.depth == 0 && self.creates_routine() => match word.as_str() {
                "BEGIN" => self.begins += 1,
                "CASE" if self.begins > 0 => self.begins += 1,
                "END" => self.begins = self.begins.saturating_sub(1),
                _ => {}
            },
            _ => {}
        }
        self.tokens.push(token);
    }

    fn creates_routine(&self) -> bool {
        let words = words(&self.tokens);
        let rest = match words.get(..3) {
            Some(["CREATE", "OR", "REPLACE"]) => words.get(3),
            _ => words.get(1),
        };
        words.first() == Some(&"CREATE") && matches!(rest, Some(&("FUNCTION" | "PROCEDURE")))
    }

    /// Ends the statement; whether it is a `COPY` whose rows follow in the file.
    fn finish(&mut self, text: &str, end: usize, script: &mut Script) -> bool {
        let open = std::mem::take(self);
        if open.tokens.is_empty() {
            return false;
        }
        let line = line_of(text, open.start);
        let mut copies = false;
        if let Some((what, why)) = problem(&open.tokens) {
            copies = what == COPY;
            script.problems.push(Remark { line, what: format!("{what} {why}") });
        }
        if let Some(what) = destroys(&open.tokens) {
            script.destroys.push(Remark { line, what });
        }
        let text = text.get(open.start..open.end.min(end)).unwrap_or_default().to_owned();
        script.statements.push(Statement { text, line });
        copies
    }
}

fn unterminated(kind: TokenKind) -> Option<&'static str> {
    match kind {
        TokenKind::BlockComment { terminated: false } => Some("a comment that begins here is not closed"),
        TokenKind::QuotedIdent { terminated: false, .. } => {
            Some("a quoted name that begins here is not closed")
        }
        TokenKind::Literal {
            kind:
                LiteralKind::Str { terminated: false }
                | LiteralKind::NationalStr { terminated: false }
                | LiteralKind::ByteStr { terminated: false }
                | LiteralKind::BitStr { terminated: false }
                | LiteralKind::DollarQuotedString { terminated: false }
                | LiteralKind::UnicodeEscStr { terminated: false }
                | LiteralKind::EscStr { terminated: false },
        } => Some("a string that begins here is not closed"),
        _ => None,
    }
}

/// The words up to the first that is not one, at the depth of the statement itself.
fn words(tokens: &[Token]) -> Vec<&str> {
    tokens
        .iter()
        .map_while(|token| match token {
            Token::Word(word) => Some(word.as_str()),
            _ => None,
        })
        .collect()
}

const COPY: &str = "COPY with its rows in the file";

/// What stands against running this statement in a transaction of the step's.
///
/// Source: the callers of `PreventInTransactionBlock` in PostgreSQL, and the notes of each command's page
/// (<https://www.postgresql.org/docs/current/sql-commands.html>). What is missed here the server refuses with SQLSTATE
/// 25001, and the file is rolled back.
fn problem(tokens: &[Token]) -> Option<(&'static str, &'static str)> {
    let head = words(tokens);
    let has = |wanted: &str| tokens.iter().any(|token| matches!(token, Token::Word(word) if word == wanted));
    let last = tokens.iter().rev().find_map(|token| match token {
        Token::Word(word) => Some(word.as_str()),
        _ => None,
    });
    // Options in parentheses stand between the command and its object: REINDEX (VERBOSE) DATABASE d.
    let object = tokens.iter().skip(1).scan(0_i32, |depth, token| {
        *depth += i32::from(*token == Token::Open);
        let here = *depth == 0;
        *depth -= i32::from(*token == Token::Close);
        Some((here, token))
    });
    let object = object.filter(|(here, _)| *here).find_map(|(_, token)| match token {
        Token::Word(word) if word != "VERBOSE" => Some(word.as_str()),
        _ => None,
    });
    Some(match *head.as_slice() {
        ["BEGIN", ..] => ("BEGIN", OWN),
        ["START", "TRANSACTION", ..] => ("START TRANSACTION", OWN),
        ["COMMIT", ..] => ("COMMIT", OWN),
        ["END", ..] => ("END", OWN),
        ["ABORT", ..] => ("ABORT", OWN),
        ["PREPARE", "TRANSACTION", ..] => ("PREPARE TRANSACTION", OWN),
        ["ROLLBACK", ..] if !has("TO") => ("ROLLBACK", OWN),
        ["CREATE", "INDEX", "CONCURRENTLY", ..] | ["CREATE", "UNIQUE", "INDEX", "CONCURRENTLY", ..] => {
            ("CREATE INDEX CONCURRENTLY", BLOCK)
        }
        ["DROP", "INDEX", "CONCURRENTLY", ..] => ("DROP INDEX CONCURRENTLY", BLOCK),
        ["REINDEX", ..] if has("CONCURRENTLY") => ("REINDEX CONCURRENTLY", BLOCK),
        ["REINDEX", ..] if matches!(object, Some("DATABASE" | "SYSTEM" | "SCHEMA")) => {
            ("REINDEX of more than a table", BLOCK)
        }
        ["ALTER", "TABLE", ..] if has("DETACH") && last == Some("CONCURRENTLY") => {
            ("DETACH PARTITION CONCURRENTLY", BLOCK)
        }
        ["VACUUM", ..] => ("VACUUM", BLOCK),
        ["CLUSTER", ..] if object.is_none() => ("CLUSTER of all tables", BLOCK),
        ["ALTER", "SYSTEM", ..] => ("ALTER SYSTEM", BLOCK),
        ["CREATE", "DATABASE", ..] => ("CREATE DATABASE", BLOCK),
        ["DROP", "DATABASE", ..] => ("DROP DATABASE", BLOCK),
        ["ALTER", "DATABASE", ..] if has("TABLESPACE") => ("ALTER DATABASE SET TABLESPACE", BLOCK),
        ["CREATE", "TABLESPACE", ..] => ("CREATE TABLESPACE", BLOCK),
        ["DROP", "TABLESPACE", ..] => ("DROP TABLESPACE", BLOCK),
        ["CREATE", "SUBSCRIPTION", ..] if !has("CREATE_SLOT") && !has("CONNECT") => {
            ("CREATE SUBSCRIPTION", BLOCK)
        }
        ["DISCARD", "ALL"] => ("DISCARD ALL", BLOCK),
        ["COPY", ..] if has("STDIN") => (COPY, "needs psql: write the rows as INSERT"),
        ["COPY", ..] if has("STDOUT") => ("COPY to standard output", "has nobody to read it"),
        _ => return None,
    })
}

/// What data the statement throws away, as far as its first words tell.
fn destroys(tokens: &[Token]) -> Option<String> {
    let head = words(tokens);
    let has = |wanted: &str| tokens.iter().any(|token| matches!(token, Token::Word(word) if word == wanted));
    match *head.as_slice() {
        ["DROP", what @ ("TABLE" | "SCHEMA" | "OWNED" | "SEQUENCE"), ..] => Some(format!("DROP {what}")),
        ["DROP", "MATERIALIZED", "VIEW", ..] => Some("DROP MATERIALIZED VIEW".to_owned()),
        ["TRUNCATE", ..] => Some("TRUNCATE".to_owned()),
        ["DELETE", "FROM", ..] if !has("WHERE") => Some("DELETE without WHERE".to_owned()),
        ["UPDATE", ..] if !has("WHERE") => Some("UPDATE without WHERE".to_owned()),
        ["ALTER", "TABLE", ..] => drops_column(tokens).then(|| "ALTER TABLE ... DROP COLUMN".to_owned()),
        _ => None,
    }
}

/// `DROP [COLUMN] name` among the actions of an `ALTER TABLE`; `ALTER [COLUMN] name DROP ...` drops a property of it.
fn drops_column(tokens: &[Token]) -> bool {
    let mut depth = 0_usize;
    let mut actions = vec![Vec::new()];
    for token in tokens.iter().skip(2) {
        match token {
            Token::Open => depth += 1,
            Token::Close => depth = depth.saturating_sub(1),
            Token::Comma if depth == 0 => actions.push(Vec::new()),
            _ if depth == 0 => {
                if let Some(action) = actions.last_mut() {
                    action.push(token);
                }
            }
            _ => {}
        }
    }
    let word =
        |wanted: &'static str| move |token: &&Token| matches!(token, Token::Word(word) if word == wanted);
    actions.iter().any(|action| {
        let after = action.iter().skip_while(|token| !word("DROP")(token)).nth(1);
        !action.iter().any(|token| word("ALTER")(token))
            && after.is_some_and(|token| !word("CONSTRAINT")(token))
    })
}

fn line_of(text: &str, offset: usize) -> usize {
    text.get(..offset).unwrap_or_default().matches('\n').count() + 1
}

impl Statement {
    /// The line in the file of a position that the server gave: a character of the statement, from 1.
    pub(crate) fn line_at(&self, position: u32) -> usize {
        let before = self.text.chars().take((position as usize).saturating_sub(1));
        self.line + before.filter(|c| *c == '\n').count()
    }

    /// Its beginning, in one line.
    pub(crate) fn head(&self) -> String {
        let line = self.text.split_whitespace().collect::<Vec<_>>().join(" ");
        match line.char_indices().nth(60) {
            Some((end, _)) => format!("{}...", line.get(..end).unwrap_or_default()),
            None => line,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sql: &str) -> Vec<String> {
        parse(sql).statements.into_iter().map(|statement| statement.text).collect()
    }

    #[test]
    fn a_semicolon_ends_a_statement_only_where_it_is_one() {
        // Forms of https://www.postgresql.org/docs/current/sql-syntax-lexical.html
        for (sql, statements) in [
            ("", 0),
            (" -- nothing; here\n;;", 0),
            ("SELECT 1; SELECT 2", 2),
            ("SELECT ';' , \"a;b\", 'it''s; one'", 1),
            ("SELECT E'a\\';b'; SELECT 2", 2),
            ("SELECT 'a\\'; SELECT 2", 2),
            ("/* a; /* nested; */ b; */ SELECT 1;", 1),
            ("SELECT $$a;b$$; SELECT $x$ ; $$ ; $x$;", 2),
            ("SELECT U&'d\\0061;t' ; SELECT $1;", 2),
            ("CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); SELECT 3", 2),
            (
                "CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 1 END; END; \
                 SELECT 2",
                2,
            ),
            (
                "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END; $$; SELECT 1",
                2,
            ),
        ] {
            assert_eq!(texts(sql).len(), statements, "{sql}: {:?}", texts(sql));
        }
        assert_eq!(texts(" SELECT 1 -- one\n ; "), ["SELECT 1"]);
    }

    #[test]
    fn what_can_not_run_in_a_transaction_is_found_with_its_line() {
        for (sql, what) in [
            ("CREATE INDEX CONCURRENTLY i ON t (a)", "CREATE INDEX CONCURRENTLY"),
            ("create unique index concurrently if not exists i on t (a)", "CREATE INDEX CONCURRENTLY"),
            ("DROP INDEX CONCURRENTLY i", "DROP INDEX CONCURRENTLY"),
            ("REINDEX TABLE CONCURRENTLY t", "REINDEX CONCURRENTLY"),
            ("REINDEX (CONCURRENTLY, VERBOSE) INDEX i", "REINDEX CONCURRENTLY"),
            ("REINDEX (VERBOSE) DATABASE d", "REINDEX of more than a table"),
            ("VACUUM FULL t", "VACUUM"),
            ("CLUSTER", "CLUSTER of all tables"),
            ("CLUSTER (VERBOSE)", "CLUSTER of all tables"),
            ("ALTER SYSTEM SET work_mem = '1GB'", "ALTER SYSTEM"),
            ("CREATE DATABASE d", "CREATE DATABASE"),
            ("DROP TABLESPACE s", "DROP TABLESPACE"),
            ("ALTER TABLE t DETACH PARTITION p CONCURRENTLY", "DETACH PARTITION CONCURRENTLY"),
            ("BEGIN", "BEGIN"),
            ("start transaction read only", "START TRANSACTION"),
            ("COMMIT AND CHAIN", "COMMIT"),
            ("END", "END"),
            ("ROLLBACK", "ROLLBACK"),
            ("COPY t FROM STDIN", COPY),
            ("\\i other.sql", "\\i is a command of psql"),
            ("\\copy t from 'x'", "\\copy is a command of psql"),
            ("SELECT 'open", "a string that begins here"),
            ("SELECT 1 /* open", "a comment that begins here"),
            ("DO $x$ BEGIN END $y$", "a string that begins here"),
        ] {
            let script = parse(&format!("SELECT 1;\n\n-- a comment\n{sql}\n"));
            assert_eq!(script.problems.len(), 1, "{sql}: {:?}", script.problems);
            assert!(script.problems[0].what.starts_with(what), "{sql}: {:?}", script.problems);
            assert_eq!(script.problems[0].line, 4, "{sql}");
        }
    }

    #[test]
    fn what_only_looks_like_it_is_let_through() {
        for sql in [
            "CREATE INDEX i ON t (a); -- CONCURRENTLY",
            "SELECT 'VACUUM'; /* COMMIT; */",
            "CREATE INDEX \"concurrently\" ON t (a)",
            "SAVEPOINT a; ROLLBACK TO SAVEPOINT a; RELEASE a; ROLLBACK WORK TO a",
            "DO $$ BEGIN PERFORM 1; END $$",
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END",
            "REINDEX TABLE t; CLUSTER t USING i; REFRESH MATERIALIZED VIEW CONCURRENTLY v",
            "COPY t FROM '/srv/rows.csv'; PREPARE p AS SELECT 1",
            "INSERT INTO t VALUES ('a\\b')",
        ] {
            assert_eq!(parse(sql).problems, [], "{sql}");
        }
    }

    #[test]
    fn rows_in_the_file_are_not_read_as_sql() {
        let script = parse("COPY t (a) FROM STDIN;\nit's \\N a row\n\\.\nSELECT 1;");
        assert_eq!(script.problems.len(), 1, "{:?}", script.problems);
    }

    #[test]
    fn statements_that_throw_data_away_are_noticed() {
        for (sql, expected) in [
            ("DROP TABLE a", Some("DROP TABLE")),
            ("TRUNCATE a", Some("TRUNCATE")),
            ("DELETE FROM a", Some("DELETE without WHERE")),
            ("DELETE FROM a WHERE b", None),
            ("ALTER TABLE a DROP COLUMN b", Some("ALTER TABLE ... DROP COLUMN")),
            ("ALTER TABLE a DROP b", Some("ALTER TABLE ... DROP COLUMN")),
            ("ALTER TABLE s.a ADD COLUMN c int, DROP \"b\"", Some("ALTER TABLE ... DROP COLUMN")),
            ("ALTER TABLE a DROP CONSTRAINT b", None),
            ("ALTER TABLE a ALTER COLUMN b DROP DEFAULT", None),
            ("ALTER TABLE a ALTER b DROP NOT NULL", None),
            ("DROP FUNCTION f", None),
            ("DROP INDEX i", None),
        ] {
            let found = parse(sql).destroys.into_iter().map(|remark| remark.what).next();
            assert_eq!(found.as_deref(), expected, "{sql}");
        }
    }

    #[test]
    fn a_position_of_the_server_is_a_line_of_the_file() {
        let script = parse("SELECT 1;\nSELECT 'ä',\n  nope\n");
        // The server counts characters from 1: `nope` is the 15th of the second statement.
        assert_eq!(script.statements[1].line_at(15), 3);
        assert_eq!(script.statements[1].line_at(1), 2);
    }
}
