//! TOML: the place of a string by its path. A scanner, so that every other byte is kept.
//!
//! Source: <https://toml.io/en/v1.0.0>

use std::ops::Range;

/// A string of the document.
struct Leaf<'a> {
    path: Vec<String>,
    place: Range<usize>,
    value: &'a str,
}

/// The strings at a path: `package.version`; of an array of tables by one of its strings, as in `package[name=rally].version`.
pub(super) fn strings(text: &str, path: &str) -> Result<Vec<Range<usize>>, String> {
    let mut scanner = Scanner { text, at: 0, leaves: Vec::new(), arrays: Vec::new() };
    scanner.document().map_err(|why| {
        let line = text.get(..scanner.at).unwrap_or(text).lines().count().max(1);
        format!("it is not TOML: {why} in line {line}")
    })?;
    let steps = steps(path)?;
    let found = scanner.leaves.iter().filter(|leaf| is_at(&leaf.path, &steps, &scanner.leaves));
    Ok(found.map(|leaf| leaf.place.clone()).collect())
}

/// A part of a path, and which table of an array is meant.
struct Step {
    name: String,
    chosen: Option<(String, String)>,
}

fn steps(path: &str) -> Result<Vec<Step>, String> {
    let wrong = || format!("{path} is no path; write it as package.version or package[name=rally].version");
    let mut steps = Vec::new();
    let mut rest = path;
    loop {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let (chosen, after) = match after.strip_prefix('[') {
            None => (None, after),
            Some(inside) => {
                let (inside, after) = inside.split_once(']').ok_or_else(wrong)?;
                let (key, value) = inside.split_once('=').ok_or_else(wrong)?;
                (Some((key.to_owned(), value.to_owned())), after)
            }
        };
        if name.is_empty() {
            return Err(wrong());
        }
        steps.push(Step { name: name.to_owned(), chosen });
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(steps),
            None => return Err(wrong()),
        }
    }
}

/// Whether a leaf is at the path. A table of an array is a part of its own in the leaf's path: its number, behind a `#`.
fn is_at(path: &[String], steps: &[Step], all: &[Leaf<'_>]) -> bool {
    let mut at = 0;
    for step in steps {
        if path.get(at) != Some(&step.name) {
            return false;
        }
        at += 1;
        let numbered = path.get(at).is_some_and(|part| part.starts_with('#'));
        if let Some((key, value)) = &step.chosen {
            let table = path.get(..=at).unwrap_or_default();
            let has = |leaf: &Leaf<'_>| {
                leaf.value == value
                    && leaf.path.split_last().is_some_and(|(last, above)| last == key && above == table)
            };
            if !numbered || !all.iter().any(has) {
                return false;
            }
        }
        at += usize::from(numbered);
    }
    at == path.len()
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    leaves: Vec<Leaf<'a>>,
    /// The arrays of tables, with how many there are so far.
    arrays: Vec<(Vec<String>, usize)>,
}

type Scanned<T> = Result<T, &'static str>;

impl<'a> Scanner<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take(&mut self, text: &str) -> bool {
        let is = self.rest().starts_with(text);
        self.at += if is { text.len() } else { 0 };
        is
    }

    fn blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start_matches([' ', '\t']).len();
    }

    /// Blanks, line ends and comments.
    fn space(&mut self) {
        loop {
            let before = self.at;
            self.at += self.rest().len() - self.rest().trim_start_matches([' ', '\t', '\r', '\n']).len();
            if self.peek() == Some('#') {
                self.at += self.rest().find('\n').unwrap_or(self.rest().len());
            }
            if self.at == before {
                return;
            }
        }
    }

    fn document(&mut self) -> Scanned<()> {
        self.take("\u{feff}");
        let mut table = Vec::new();
        loop {
            self.space();
            match self.peek() {
                None => return Ok(()),
                Some('[') => table = self.header()?,
                Some(_) => {
                    self.entry(&table)?;
                    self.blanks();
                    if !matches!(self.peek(), None | Some('#' | '\r' | '\n')) {
                        return Err("something stands behind a value");
                    }
                }
            }
        }
    }

    fn header(&mut self) -> Scanned<Vec<String>> {
        let many = self.take("[[");
        if !many {
            self.take("[");
        }
        let key = self.key()?;
        if !self.take(if many { "]]" } else { "]" }) {
            return Err("a table's header has no end");
        }
        let mut path = Vec::new();
        for (place, part) in key.iter().enumerate() {
            path.push(part.clone());
            let last = place + 1 == key.len();
            match self.arrays.iter_mut().find(|(of, _)| *of == path) {
                Some((_, count)) => {
                    *count += usize::from(last && many);
                    let number = format!("#{count}");
                    path.push(number);
                }
                None if last && many => {
                    self.arrays.push((path.clone(), 1));
                    path.push("#1".to_owned());
                }
                None => {}
            }
        }
        Ok(path)
    }

    fn key(&mut self) -> Scanned<Vec<String>> {
        let mut parts = Vec::new();
        loop {
            self.blanks();
            let part = if let Some('"' | '\'') = self.peek() {
                self.text.get(self.string()?).unwrap_or_default().to_owned()
            } else {
                let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
                let length = self.rest().find(|c| !bare(c)).unwrap_or(self.rest().len());
                let part = self.rest().get(..length).unwrap_or_default().to_owned();
                self.at += length;
                part
            };
            if part.is_empty() {
                return Err("there is no key");
            }
            parts.push(part);
            self.blanks();
            if !self.take(".") {
                return Ok(parts);
            }
        }
    }

    fn entry(&mut self, table: &[String]) -> Scanned<()> {
        let key = self.key()?;
        if !self.take("=") {
            return Err("a key has no value");
        }
        self.blanks();
        self.value(&[table, &key].concat())
    }

    fn value(&mut self, path: &[String]) -> Scanned<()> {
        match self.peek() {
            Some('"' | '\'') => {
                let several = self.rest().starts_with("\"\"\"") || self.rest().starts_with("'''");
                let place = self.string()?;
                if !several {
                    let value = self.text.get(place.clone()).unwrap_or_default();
                    self.leaves.push(Leaf { path: path.to_vec(), place, value });
                }
                Ok(())
            }
            Some('[') => self.list(']', |scanner| scanner.value(&[path, &["[]".to_owned()]].concat())),
            Some('{') => self.list('}', |scanner| scanner.entry(path)),
            _ => {
                let length = self.rest().find([',', ']', '}', '#', '\r', '\n']).unwrap_or(self.rest().len());
                if self.rest().get(..length).unwrap_or_default().trim().is_empty() {
                    return Err("a key has no value");
                }
                self.at += length;
                Ok(())
            }
        }
    }

    fn list(&mut self, end: char, mut item: impl FnMut(&mut Self) -> Scanned<()>) -> Scanned<()> {
        self.at += 1;
        loop {
            self.space();
            match self.peek() {
                None => return Err("a [ or { has no end"),
                Some(c) if c == end => {
                    self.at += 1;
                    return Ok(());
                }
                Some(',') => self.at += 1,
                Some(_) => item(self)?,
            }
        }
    }

    /// Passes a string; answers the place of what is between its quotes.
    fn string(&mut self) -> Scanned<Range<usize>> {
        for (quote, escapes, lines) in
            [("\"\"\"", true, true), ("'''", false, true), ("\"", true, false), ("'", false, false)]
        {
            if !self.take(quote) {
                continue;
            }
            let start = self.at;
            while let Some(next) = self.peek() {
                if self.rest().starts_with(quote) {
                    let end = self.at;
                    self.at += quote.len();
                    // `""""` ends with a quote of its own inside.
                    while lines && self.take(quote.get(..1).unwrap_or_default()) {}
                    return Ok(start..end);
                }
                if next == '\n' && !lines {
                    return Err("a string has no end");
                }
                self.at += next.len_utf8();
                if next == '\\' && escapes {
                    self.at += self.peek().map_or(0, char::len_utf8);
                }
            }
            return Err("a string has no end");
        }
        Err("there is no string")
    }
}
