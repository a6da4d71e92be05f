//! The words of an nginx configuration, each with its place. Pure.
//!
//! nginx has no written grammar: these are the rules by which it reads (`ngx_conf_read_token`), documented in part at
//! <https://nginx.org/en/docs/beginners_guide.html#conf_structure>. A quote, `#` or `}` has its meaning only where a word could
//! begin; `;` and `{` end a word that is not quoted, except the `{` of `${name}`; a backslash takes the next byte with it.

use std::ops::Range;

/// What is wrong, and in which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) line: usize,
    pub(crate) why: String,
}

/// A word of a directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    /// Where it stands, without its quotes.
    pub(crate) span: Range<usize>,
    /// What it says, with escapes resolved.
    pub(crate) value: Vec<u8>,
}

impl Word {
    pub(crate) fn is(&self, text: &str) -> bool {
        self.value == text.as_bytes()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.value).into_owned()
    }
}

/// What a run of words ends in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// `name arguments;`
    Simple(Vec<Word>),
    /// `name arguments {`
    Open(Vec<Word>),
    /// `}`
    Close,
}

/// Reads a file piece by piece.
pub(crate) struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    /// Where lines end.
    ends: Vec<usize>,
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).collect();
        Self { text, at: 0, ends }
    }

    /// The line of a place, from 1.
    pub(crate) fn line(&self, place: usize) -> usize {
        1 + self.ends.partition_point(|end| *end < place)
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn wrong<T>(&self, place: usize, why: impl Into<String>) -> Result<T, Malformed> {
        Err(Malformed { line: self.line(place), why: why.into() })
    }

    /// Where the piece that was read last ends.
    pub(crate) fn place(&self) -> usize {
        self.at
    }

    /// The next piece; none at the end.
    pub(crate) fn piece(&mut self) -> Result<Option<Piece>, Malformed> {
        let mut words = Vec::new();
        loop {
            self.skip_blank();
            let place = self.at;
            let Some(byte) = self.peek() else {
                if words.is_empty() {
                    return Ok(None);
                }
                return self.wrong(place, "the file ends where a ; or { should be");
            };
            match byte {
                b';' | b'{' if words.is_empty() => {
                    return self.wrong(place, format!("unexpected {}", char::from(byte)));
                }
                b';' => {
                    self.at += 1;
                    return Ok(Some(Piece::Simple(words)));
                }
                b'{' => {
                    self.at += 1;
                    return Ok(Some(Piece::Open(words)));
                }
                b'}' if words.is_empty() => {
                    self.at += 1;
                    return Ok(Some(Piece::Close));
                }
                b'}' => return self.wrong(place, "unexpected }"),
                quote @ (b'"' | b'\'') => words.push(self.quoted(quote)?),
                _ => words.push(self.plain()),
            }
        }
    }

    fn skip_blank(&mut self) {
        while let Some(byte) = self.peek() {
            if byte == b'#' {
                while self.peek().is_some_and(|byte| byte != b'\n') {
                    self.at += 1;
                }
            } else if is_space(byte) {
                self.at += 1;
            } else {
                return;
            }
        }
    }

    fn plain(&mut self) -> Word {
        let start = self.at;
        let mut variable = false;
        while let Some(byte) = self.peek() {
            if byte == b'{' && variable {
                variable = false;
            } else if is_space(byte) || matches!(byte, b';' | b'{') {
                break;
            } else {
                variable = byte == b'$';
                if byte == b'\\' {
                    self.at += 1;
                }
            }
            self.at += 1;
        }
        self.at = self.at.min(self.text.len());
        self.word(start..self.at)
    }

    fn quoted(&mut self, quote: u8) -> Result<Word, Malformed> {
        let open = self.at;
        let start = open + 1;
        self.at = start;
        loop {
            match self.peek() {
                None => return self.wrong(open, format!("{} is not closed", char::from(quote))),
                Some(b'\\') => self.at += 2,
                Some(byte) if byte == quote => break,
                Some(_) => self.at += 1,
            }
        }
        let word = self.word(start..self.at);
        self.at += 1;
        match self.peek() {
            // `if ($name = "value")`: the parenthesis is a word of its own.
            Some(byte) if is_space(byte) || matches!(byte, b';' | b'{' | b')') => Ok(word),
            None => Ok(word),
            Some(byte) => self.wrong(self.at, format!("unexpected {:?} after a quote", char::from(byte))),
        }
    }

    fn word(&self, span: Range<usize>) -> Word {
        let mut value = Vec::new();
        let mut bytes = self.text.get(span.clone()).unwrap_or_default().iter().copied().peekable();
        while let Some(byte) = bytes.next() {
            let escaped = match bytes.peek() {
                Some(next @ (b'"' | b'\'' | b'\\')) if byte == b'\\' => Some(*next),
                Some(b't') if byte == b'\\' => Some(b'\t'),
                Some(b'r') if byte == b'\\' => Some(b'\r'),
                Some(b'n') if byte == b'\\' => Some(b'\n'),
                _ => None,
            };
            value.push(escaped.unwrap_or(byte));
            if escaped.is_some() {
                bytes.next();
            }
        }
        Word { span, value }
    }

    /// Goes past a block of Lua, whose braces in texts and comments are none of nginx's. The `{` has been read.
    ///
    /// Source: <https://www.lua.org/manual/5.1/manual.html#2.1>
    pub(crate) fn skip_lua(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        let mut depth = 1;
        while depth > 0 {
            let rest = self.text.get(self.at..).unwrap_or_default();
            match rest {
                [] => return self.wrong(start, "a block of Lua is not closed"),
                [b'{', ..] => depth += 1,
                [b'}', ..] => depth -= 1,
                [quote @ (b'"' | b'\''), ..] => {
                    self.at += 1;
                    while self.peek().is_some_and(|byte| byte != *quote) {
                        self.at += if self.peek() == Some(b'\\') { 2 } else { 1 };
                    }
                }
                [b'-', b'-', comment @ ..] => match long_bracket(comment) {
                    Some(length) => self.at += 1 + length,
                    None => {
                        while self.peek().is_some_and(|byte| byte != b'\n') {
                            self.at += 1;
                        }
                    }
                },
                [b'[', ..] => self.at += long_bracket(rest).map_or(0, |length| length - 1),
                _ => {}
            }
            self.at += 1;
        }
        Ok(())
    }
}

/// The length of `[[...]]` or `[=[...]=]` at the beginning of `text`.
fn long_bracket(text: &[u8]) -> Option<usize> {
    let level = text.get(1..)?.iter().take_while(|byte| **byte == b'=').count();
    if text.first() != Some(&b'[') || text.get(1 + level) != Some(&b'[') {
        return None;
    }
    let close = [&b"]"[..], &b"=".repeat(level), b"]"].concat();
    let inner = text.get(level + 2..)?;
    let end = inner.windows(close.len()).position(|window| window == close);
    // Where it is not closed, everything belongs to it.
    Some(level + 2 + end.map_or(inner.len(), |end| end + close.len()))
}
