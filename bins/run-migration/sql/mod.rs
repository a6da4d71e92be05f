//! A SQL file as statements: where each begins, how it can be run, and what in it can't be run here at all.

mod kind;
mod token;

use serde::Serialize;
use squawk_lexer::{TokenKind, tokenize};

pub(crate) use self::kind::{Catalogue, Kind, PUBLISHER, Probe};
use self::token::{Shape, Token, unterminated};

/// A file's statements and what stands against running them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Script {
    /// The file itself.
    pub(crate) text: String,
    /// In order.
    pub(crate) statements: Vec<Statement>,
    /// Why the file can't be run through a connection, in a transaction or out of one.
    pub(crate) problems: Vec<Remark>,
    /// Its first line says that it is not to be run in one transaction.
    pub(crate) alone: bool,
}

/// One statement of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    /// Its text, without the semicolon.
    pub(crate) text: String,
    /// The byte of the file where it begins.
    pub(crate) start: usize,
    /// The line in the file where it begins, from 1.
    pub(crate) line: usize,
    /// How it can be run.
    pub(crate) kind: Kind,
    /// What it changes beyond the database that it is run in, as far as its words tell.
    pub(crate) beyond: Option<&'static str>,
    /// The data that it throws away, as far as its words tell.
    pub(crate) destroys: Option<Loss>,
    /// The table that it alters, indexes or rewrites, as the file writes it.
    pub(crate) table: Option<String>,
}

/// What a statement throws away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loss {
    /// The name with which `--allow` lets it through.
    pub(crate) rule: &'static str,
    pub(crate) what: &'static str,
    /// The one table that it is about, as the file writes it.
    pub(crate) table: Option<String>,
}

/// Something about a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Remark {
    /// The line in the file, from 1.
    pub(crate) line: usize,
    /// What is there, and why it is a problem.
    pub(crate) what: String,
}

/// The mark of a file that is not run in one transaction.
pub(crate) const MARK: &str = "-- cutover:no-transaction";

/// sqlx's mark, which it looks for at the very beginning of a file
/// (<https://docs.rs/sqlx/latest/sqlx/macro.migrate.html>).
pub(crate) const SQLX_MARK: &str = "-- no-transaction";

/// What is said of a statement that those who read it, PostgreSQL too, would have to descend into further than their stack goes
/// (<https://www.postgresql.org/docs/current/runtime-config-resource.html#GUC-MAX-STACK-DEPTH>).
const DEEP: &str = "it has 1,000 brackets in each other, or 10,000 words without a comma";

/// Comments that divide a file in the ways there and back for other tools. Run whole, such a file would do and undo.
const SECTIONS: [(&str, &str); 6] = [
    ("migrate:down", "dbmate"),
    ("+goose Down", "goose"),
    ("+migrate Down", "sql-migrate"),
    ("+micrate Down", "micrate"),
    ("//@UNDO", "MyBatis"),
    ("---- create above / drop below ----", "tern"),
];

/// Splits a file as psql does
/// (<https://github.com/postgres/postgres/blob/REL_18_STABLE/src/fe_utils/psqlscan.l>): a semicolon ends a statement
/// outside of quotes, comments, parentheses and the `BEGIN ATOMIC ... END` body of a function.
pub(crate) fn parse(text: &str) -> Script {
    let first = text.lines().next().unwrap_or_default().trim_end();
    let mut script = Script {
        text: text.to_owned(),
        alone: first == MARK || text.starts_with(SQLX_MARK),
        ..Script::default()
    };
    let mut open = Open::default();
    let mut at = 0;
    for token in tokenize(text) {
        let start = at;
        at += token.len as usize;
        let raw = text.get(start..at).unwrap_or_default();
        let problem = |what: String| Remark { line: line_of(text, start), what };
        if let Some(what) = unterminated(token.kind) {
            script.problems.push(problem(what.to_owned()));
        }
        let shape = match token.kind {
            TokenKind::LineComment => {
                script.problems.extend(odd_comment(raw, start).map(problem));
                continue;
            }
            TokenKind::Whitespace | TokenKind::BlockComment { .. } | TokenKind::Eof => continue,
            TokenKind::Semi if open.depth == 0 && open.begins == 0 => {
                let copies = open.finish(text, &mut script);
                if copies {
                    // What follows are rows, not SQL.
                    return script;
                }
                continue;
            }
            TokenKind::Unknown if raw == "\\" => {
                let rest = text.get(start..).unwrap_or_default();
                let command: String = rest.chars().take_while(|c| !c.is_whitespace()).collect();
                script.problems.push(problem(format!("{command} is a command of psql, not SQL")));
                return script;
            }
            TokenKind::Ident => Shape::Word(raw.to_uppercase()),
            TokenKind::QuotedIdent { .. } => Shape::Quoted,
            TokenKind::OpenParen => Shape::Open,
            TokenKind::CloseParen => Shape::Close,
            TokenKind::Comma => Shape::Comma,
            TokenKind::Dot => Shape::Dot,
            TokenKind::Literal { .. } => Shape::Literal(raw.to_uppercase()),
            _ => Shape::Other,
        };
        open.take(Token { shape, start, end: at });
    }
    open.finish(text, &mut script);
    script
}

/// What a comment says to other programs and would be misread here.
fn odd_comment(raw: &str, start: usize) -> Option<String> {
    let body = raw.trim_start_matches('-').trim();
    if start > 0 && (raw.trim_end() == MARK || raw.trim_end() == SQLX_MARK) {
        return Some(format!("`{}` counts in the first line of a file only", raw.trim_end()));
    }
    let (_, tool) = SECTIONS.iter().find(|(mark, _)| {
        body.get(..mark.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(mark))
            || raw.trim_end().eq_ignore_ascii_case(mark)
    })?;
    Some(format!(
        "`{}` begins the way back of a file of {tool}, which would be run as well: put it into a file NAME.down.sql",
        raw.trim_end()
    ))
}

/// The statement being read.
#[derive(Default)]
struct Open {
    tokens: Vec<Token>,
    depth: usize,
    /// Nesting of `BEGIN` and `CASE` inside the body of `CREATE FUNCTION`, which both end with `END`.
    begins: usize,
}

impl Open {
    fn take(&mut self, token: Token) {
        match &token.shape {
            Shape::Open => self.depth += 1,
            Shape::Close => self.depth = self.depth.saturating_sub(1),
            Shape::Word(word) if self.depth == 0 && self.creates_routine() => match word.as_str() {
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
        // The first four tell; a statement may have a hundred thousand.
        let words = token::words(self.tokens.get(..4).unwrap_or(&self.tokens));
        let rest = match words.get(..3) {
            Some(["CREATE", "OR", "REPLACE"]) => words.get(3),
            _ => words.get(1),
        };
        words.first() == Some(&"CREATE") && matches!(rest, Some(&("FUNCTION" | "PROCEDURE")))
    }

    /// Ends the statement; whether it is a `COPY` whose rows follow in the file.
    fn finish(&mut self, text: &str, script: &mut Script) -> bool {
        let tokens = std::mem::take(self).tokens;
        let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else { return false };
        let line = line_of(text, first.start);
        if let Some((what, why)) = kind::never(&tokens) {
            script.problems.push(Remark { line, what: format!("{what} {why}") });
        }
        if token::is_deep(&tokens) {
            script.problems.push(Remark { line, what: DEEP.to_owned() });
        }
        script.statements.push(Statement {
            text: text.get(first.start..last.end).unwrap_or_default().to_owned(),
            start: first.start,
            line,
            kind: kind::kind(&tokens, text),
            beyond: kind::beyond(&tokens),
            destroys: kind::destroys(&tokens, text),
            table: kind::table(&tokens, text),
        });
        kind::is_copy_with_rows(&tokens)
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.get(..offset).unwrap_or_default().matches('\n').count() + 1
}

impl Script {
    /// Whether reading it further would have no end that a stack reaches.
    pub(crate) fn is_deep(&self) -> bool {
        self.problems.iter().any(|problem| problem.what == DEEP)
    }

    /// What can't be run in the one transaction of a file that is not marked.
    pub(crate) fn outside(&self) -> impl Iterator<Item = Remark> {
        let unmarked = self.statements.iter().filter(|_| !self.alone);
        unmarked.filter_map(|statement| match &statement.kind {
            Kind::Alone { what, .. } => {
                Some(Remark { line: statement.line, what: format!("{what} can't run inside a transaction") })
            }
            _ => None,
        })
    }

    /// What a marked file can't be continued after.
    pub(crate) fn not_resumable(&self) -> impl Iterator<Item = Remark> {
        let marked = self.statements.iter().filter(|_| self.alone);
        marked.filter_map(|statement| match &statement.kind {
            Kind::Forgotten(why) => Some(Remark { line: statement.line, what: (*why).to_owned() }),
            Kind::Alone { probe: Probe::Unnamed, .. } => Some(Remark {
                line: statement.line,
                what: "an index without a name can't be found again when its build was broken off: name it"
                    .to_owned(),
            }),
            _ => None,
        })
    }
}

impl Statement {
    /// The line in the file of a position that the server gave: a character of the statement, from 1.
    pub(crate) fn line_at(&self, position: u32) -> usize {
        let before = self.text.chars().take((position as usize).saturating_sub(1));
        self.line + before.filter(|c| *c == '\n').count()
    }

    /// Its beginning, in one line.
    pub(crate) fn head(&self) -> String {
        head(&self.text)
    }
}

/// The beginning of a statement, in one line.
pub(crate) fn head(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
