//! JSON: the place of a string by its path.

use std::ops::Range;

use serde_json::Value;

/// The strings at a path: `version`, `a.b`, or a JSON pointer (<https://www.rfc-editor.org/rfc/rfc6901>), which can name an empty
/// key: `/packages//version`.
pub(super) fn strings(text: &str, path: &str) -> Result<Vec<Range<usize>>, String> {
    // After this, the scanner needs to see strings and brackets alone.
    serde_json::from_str::<Value>(text).map_err(|error| format!("it is not JSON: {error}"))?;
    let wanted: Vec<String> = match path.strip_prefix('/') {
        Some(pointer) => pointer.split('/').map(|part| part.replace("~1", "/").replace("~0", "~")).collect(),
        None => path.split('.').map(str::to_owned).collect(),
    };
    let mut scanner =
        Scanner { bytes: text.as_bytes(), text, at: 0, path: Vec::new(), wanted, found: Vec::new() };
    scanner.value();
    Ok(scanner.found)
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    path: Vec<String>,
    wanted: Vec<String>,
    found: Vec<Range<usize>>,
}

impl Scanner<'_> {
    fn peek(&mut self) -> Option<u8> {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    fn value(&mut self) {
        match self.peek() {
            Some(b'{') => self.members(b'}', true),
            Some(b'[') => self.members(b']', false),
            Some(b'"') => {
                let inside = self.string();
                if self.path == self.wanted {
                    self.found.push(inside);
                }
            }
            _ => {
                while self.bytes.get(self.at).is_some_and(|byte| !b",]} \t\r\n".contains(byte)) {
                    self.at += 1;
                }
            }
        }
    }

    fn members(&mut self, end: u8, named: bool) {
        self.at += 1;
        let mut number = 0;
        while let Some(byte) = self.peek() {
            if byte == end || byte == b',' {
                self.at += 1;
                if byte == end {
                    return;
                }
                continue;
            }
            let key = if named {
                let inside = self.string();
                let quoted = self.text.get(inside.start - 1..=inside.end).unwrap_or_default();
                // Past the colon.
                self.peek();
                self.at += 1;
                serde_json::from_str(quoted).unwrap_or_default()
            } else {
                number += 1;
                (number - 1).to_string()
            };
            self.path.push(key);
            self.value();
            self.path.pop();
        }
    }

    /// Passes a string; answers the place of what is between its quotes.
    fn string(&mut self) -> Range<usize> {
        let start = self.at + 1;
        self.at = start;
        while let Some(byte) = self.bytes.get(self.at) {
            match byte {
                b'\\' => self.at += 2,
                b'"' => break,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        start..self.at - 1
    }
}
