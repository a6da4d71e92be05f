//! YAML: the place of a scalar by its path.

use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle};

/// Where in the tree the parser is.
enum Level {
    /// Of a mapping; the key whose value comes next.
    Mapping(Option<String>),
    /// Of a sequence; the number of the item that comes next.
    Sequence(usize),
}

/// The scalars at a path, such as `image.tag` or `containers.0.image`.
pub(super) fn scalars(text: &str, path: &str) -> Result<Vec<Range<usize>>, String> {
    let bytes: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let mut levels: Vec<Level> = Vec::new();
    let mut found = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| format!("it is not YAML: {error}"))?;
        match event {
            Event::MappingStart(..) => levels.push(Level::Mapping(None)),
            Event::SequenceStart(..) => levels.push(Level::Sequence(0)),
            Event::MappingEnd | Event::SequenceEnd => {
                levels.pop();
                passed(&mut levels);
            }
            Event::Scalar(value, style, ..) => {
                if let Some(Level::Mapping(key @ None)) = levels.last_mut() {
                    *key = Some(value.into_owned());
                    continue;
                }
                if at(&levels) == path {
                    let place = |index: usize| bytes.get(index).copied().unwrap_or(text.len());
                    found.push(inside(text, place(span.start.index())..place(span.end.index()), style)?);
                }
                passed(&mut levels);
            }
            Event::Alias(_) => passed(&mut levels),
            _ => {}
        }
    }
    Ok(found)
}

/// A value is over: the next key, or the next item.
fn passed(levels: &mut [Level]) {
    match levels.last_mut() {
        Some(Level::Mapping(key)) => *key = None,
        Some(Level::Sequence(number)) => *number += 1,
        None => {}
    }
}

fn at(levels: &[Level]) -> String {
    let names: Vec<String> = levels
        .iter()
        .map(|level| match level {
            Level::Mapping(key) => key.clone().unwrap_or_default(),
            Level::Sequence(number) => number.to_string(),
        })
        .collect();
    names.join(".")
}

/// Without the quotes, and without blanks behind a plain one.
fn inside(text: &str, span: Range<usize>, style: ScalarStyle) -> Result<Range<usize>, String> {
    let told = text.get(span.clone()).unwrap_or_default();
    let trimmed = told.trim_end();
    let quoted = matches!(style, ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted);
    if trimmed.contains('\n') || trimmed.is_empty() || (!quoted && style != ScalarStyle::Plain) {
        return Err("its value is not a plain or quoted one on one line".to_owned());
    }
    let quotes = usize::from(quoted);
    Ok(span.start + quotes..span.start + trimmed.len() - quotes)
}
