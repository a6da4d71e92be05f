//! Properties, and texts by what stands around the version. Neither has to be UTF-8.

use std::ops::Range;

use crate::scheme::Pattern;

/// The value of a key.
///
/// Source: <https://docs.oracle.com/en/java/javase/21/docs/api/java.base/java/util/Properties.html#load(java.io.Reader)>
pub(super) fn property(content: &[u8], key: &str) -> Result<Vec<Range<usize>>, String> {
    let mut found = Vec::new();
    let mut continued = false;
    for line in lines(content) {
        let bytes = content.get(line.clone()).unwrap_or_default();
        let escaped = bytes.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1;
        let is_rest = std::mem::replace(&mut continued, escaped);
        let first = bytes.iter().position(|byte| !is_blank(*byte)).unwrap_or(bytes.len());
        let Some(told) = bytes.get(first..).filter(|told| !told.starts_with(b"#") && !told.starts_with(b"!"))
        else {
            continued = is_rest && continued;
            continue;
        };
        let Some(rest) = told.strip_prefix(key.as_bytes()).filter(|_| !is_rest) else { continue };
        let blanks = rest.iter().take_while(|byte| is_blank(**byte)).count();
        let separated = rest.get(blanks).is_some_and(|byte| b"=:".contains(byte));
        if !separated && blanks == 0 {
            continue;
        }
        if escaped {
            return Err(format!("the value of {key} goes on in the next line"));
        }
        let mut start = line.start + first + key.len() + blanks + usize::from(separated);
        let value = content.get(start..line.end).unwrap_or_default();
        start += value.iter().take_while(|byte| is_blank(**byte)).count();
        let value = content.get(start..line.end).unwrap_or_default();
        let trailing = value.iter().rev().take_while(|byte| is_blank(**byte)).count();
        found.push(start..line.end - trailing);
    }
    Ok(found)
}

fn is_blank(byte: u8) -> bool {
    b" \t\x0c".contains(&byte)
}

/// The lines without their ends, whichever they are.
fn lines(content: &[u8]) -> Vec<Range<usize>> {
    let mut lines = Vec::new();
    let mut start = 0;
    for (at, byte) in content.iter().enumerate() {
        if b"\r\n".contains(byte) {
            lines.push(start..at);
            start = at + 1;
        }
    }
    lines.push(start..content.len());
    lines
}

/// Every version in this spelling between the two texts.
pub(super) fn text(content: &[u8], before: &str, after: &str, pattern: &Pattern) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for start in 0..content.len() {
        let Some(rest) = content.get(start..).and_then(|rest| rest.strip_prefix(before.as_bytes())) else {
            continue;
        };
        // A number that begins before is another one.
        let cut =
            before.is_empty() && start > 0 && content.get(start - 1).is_some_and(u8::is_ascii_alphanumeric);
        let at = start + before.len();
        if cut || found.last().is_some_and(|last| at < last.end) {
            continue;
        }
        let ascii = rest.iter().take_while(|byte| byte.is_ascii()).count();
        let rest = std::str::from_utf8(rest.get(..ascii).unwrap_or_default()).unwrap_or_default();
        let ends = |length: &usize| {
            let rest = rest.get(*length..).unwrap_or_default();
            let word = |c: char| c.is_ascii_alphanumeric();
            let joined = rest.strip_prefix(['.', '-', '+', '_']).unwrap_or(rest);
            rest.starts_with(after) && !(after.is_empty() && joined.starts_with(word))
        };
        if let Some(length) = pattern.starts(rest).into_iter().filter(ends).max() {
            found.push(at..at + length);
        }
    }
    found
}
