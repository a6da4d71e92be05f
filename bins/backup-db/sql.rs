//! SQL text: split into statements, and names and strings written safely.

/// One statement of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    /// The line on which it begins, counted from 1.
    pub(crate) line: usize,
    /// Without its semicolon and without comments before it.
    pub(crate) text: String,
}

/// The statements of a script.
///
/// Lines that begin with a backslash where a statement could begin are `psql`'s own (`pg_dumpall` writes `\restrict`) and
/// are left out. The lexical rules are those of
/// <https://www.postgresql.org/docs/current/sql-syntax-lexical.html>; what is left open at the end is an error that names
/// its line.
pub(crate) fn split(script: &str) -> Result<Vec<Statement>, String> {
    let mut found = Vec::new();
    let mut rest = Cursor { text: script, at: 0, line: 1 };
    let mut begun: Option<(usize, usize)> = None;
    while let Some(c) = rest.peek() {
        let (at, line) = (rest.at, rest.line);
        match c {
            ';' => {
                if let Some((from, line)) = begun.take() {
                    found.push(Statement {
                        line,
                        text: script.get(from..at).unwrap_or_default().trim().to_owned(),
                    });
                }
                rest.take(1);
            }
            '-' if rest.starts("--") => rest.until("\n"),
            '/' if rest.starts("/*") => rest.comment().ok_or_else(|| open("comment", line))?,
            '\\' if begun.is_none() => rest.until("\n"),
            c if c.is_whitespace() => rest.take(c.len_utf8()),
            c => {
                begun.get_or_insert((at, line));
                match c {
                    '\'' => rest.quoted('\'', false).ok_or_else(|| open("string", line))?,
                    '"' => rest.quoted('"', false).ok_or_else(|| open("quoted name", line))?,
                    '$' if !rest.after_word() => {
                        rest.dollar().ok_or_else(|| open("dollar-quoted string", line))?;
                    }
                    'e' | 'E' if rest.starts_at(1, "'") && !rest.after_word() => {
                        rest.take(1);
                        rest.quoted('\'', true).ok_or_else(|| open("string", line))?;
                    }
                    c => rest.take(c.len_utf8()),
                }
            }
        }
    }
    if let Some((from, line)) = begun {
        found.push(Statement { line, text: script.get(from..).unwrap_or_default().trim().to_owned() });
    }
    Ok(found)
}

fn open(what: &str, line: usize) -> String {
    format!("the {what} that begins on line {line} has no end")
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl Cursor<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn starts(&self, with: &str) -> bool {
        self.rest().starts_with(with)
    }

    fn starts_at(&self, offset: usize, with: &str) -> bool {
        self.rest().get(offset..).is_some_and(|rest| rest.starts_with(with))
    }

    /// Whether what is here continues a word, as the `$` in `a$b$` or the `e` in `datE'..'` does.
    fn after_word(&self) -> bool {
        let before = self.text.get(..self.at).and_then(|text| text.chars().next_back());
        before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$')
    }

    fn take(&mut self, bytes: usize) {
        let taken = self.rest().get(..bytes).map_or(0, |text| text.matches('\n').count());
        self.line += taken;
        self.at += bytes;
    }

    /// To the end of the next `mark`, or of the text.
    fn until(&mut self, mark: &str) {
        let length = self.rest().find(mark).map_or(self.rest().len(), |at| at + mark.len());
        self.take(length);
    }

    /// Comments nest.
    fn comment(&mut self) -> Option<()> {
        let mut depth = 0;
        loop {
            if self.starts("/*") {
                depth += 1;
                self.take(2);
            } else if self.starts("*/") {
                depth -= 1;
                self.take(2);
            } else {
                let c = self.peek()?;
                self.take(c.len_utf8());
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// A doubled quote is one of the text, which needs no care here: it ends one string and begins the next.
    fn quoted(&mut self, quote: char, backslashes: bool) -> Option<()> {
        self.take(1);
        loop {
            let c = self.peek()?;
            self.take(c.len_utf8());
            if c == quote {
                return Some(());
            }
            if backslashes && c == '\\' {
                let c = self.peek()?;
                self.take(c.len_utf8());
            }
        }
    }

    /// `$tag$ ... $tag$`; a lone `$` is that of a parameter.
    fn dollar(&mut self) -> Option<()> {
        let rest = self.rest().get(1..).unwrap_or_default();
        let end = rest.find('$').filter(|end| {
            let tag = rest.get(..*end).unwrap_or_default();
            tag.chars().all(|c| c.is_alphanumeric() || c == '_')
                && !tag.starts_with(|c: char| c.is_ascii_digit())
        });
        let Some(end) = end else {
            self.take(1);
            return Some(());
        };
        let tag = self.rest().get(..end + 2).unwrap_or_default().to_owned();
        self.take(tag.len());
        if !self.rest().contains(&tag) {
            return None;
        }
        self.until(&tag);
        Some(())
    }
}

/// A name as an SQL identifier.
pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as an SQL string, whatever `standard_conforming_strings` says.
pub(crate) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(script: &str) -> Vec<String> {
        split(script).unwrap().into_iter().map(|statement| statement.text).collect()
    }

    #[test]
    fn semicolons_inside_of_strings_names_and_comments_end_nothing() {
        assert_eq!(
            texts("SELECT 'a;''b'; -- ; not here\nSELECT \"x;\"\"y\"; /* ; /* ; */ ; */ SELECT $t$;$$;$t$ ;"),
            ["SELECT 'a;''b'", "SELECT \"x;\"\"y\"", "SELECT $t$;$$;$t$"]
        );
        assert_eq!(
            texts(r"SELECT E'it\'s; '; SELECT 'c:\'; SELECT 2"),
            [r"SELECT E'it\'s; '", r"SELECT 'c:\'", "SELECT 2"]
        );
        assert_eq!(texts("SELECT $1; SELECT a$b$ FROM c$b$"), ["SELECT $1", "SELECT a$b$ FROM c$b$"]);
        assert_eq!(texts(" ;;\n-- nothing\n"), Vec::<String>::new());
    }

    #[test]
    fn a_statement_knows_its_line() {
        let lines: Vec<usize> = split("-- first\n\nSELECT\n1;\n\n\nSELECT 'a\nb'; SELECT 3")
            .unwrap()
            .iter()
            .map(|s| s.line)
            .collect();
        assert_eq!(lines, [3, 7, 8]);
    }

    /// As `pg_dumpall --globals-only` of 15.14 and later begins.
    #[test]
    fn commands_of_psql_are_left_out() {
        let script = "--\n-- PostgreSQL database cluster dump\n--\n\n\\restrict h2K9\n\nSET default_transaction_read_only = off;\n\n\
                      CREATE ROLE \"odd; name\";\nALTER ROLE \"odd; name\" WITH NOSUPERUSER;\n\n\\unrestrict h2K9\n\n";
        assert_eq!(
            texts(script),
            [
                "SET default_transaction_read_only = off",
                "CREATE ROLE \"odd; name\"",
                "ALTER ROLE \"odd; name\" WITH NOSUPERUSER"
            ]
        );
    }

    #[test]
    fn what_is_left_open_is_an_error_with_its_line() {
        for (script, why) in [
            ("SELECT 1;\nSELECT 'x", "string that begins on line 2"),
            ("/* a", "comment that begins on line 1"),
            ("SELECT \"a", "quoted name that begins on line 1"),
            ("SELECT $a$ ", "dollar-quoted string that begins on line 1"),
        ] {
            assert!(split(script).unwrap_err().contains(why), "{script}");
        }
    }

    #[test]
    fn names_and_strings_are_quoted() {
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"c:\'"), r"E'c:\\'''");
    }
}
