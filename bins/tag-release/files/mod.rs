//! Files that a version stands in, and where in them. Pure: content in, content out, every other byte kept.

mod json;
mod lines;
#[cfg(test)]
mod tests;
mod toml;
mod yaml;

use std::ops::Range;

use kit::Failure;

use crate::scheme::{Pattern, Spelling, Version};

/// A place for the version: `PATH=FORMAT:KEY`, with `={SPELLING}` at its end where it is not the plain version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VersionFile {
    pub(crate) path: String,
    format: Format,
    /// Of the text format: what stands before the version.
    key: String,
    /// Of the text format: what stands after it.
    after: String,
    /// `version`, `tag`, or the name of a `--spelling`.
    spelling: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Properties,
    Toml,
    Json,
    Yaml,
    Text,
}

const FORM: &str = "write it as PATH=FORMAT:KEY, where FORMAT is properties, toml, json, yaml or text";

pub(crate) fn parse(text: &str) -> Result<VersionFile, String> {
    let (path, rest) = text.split_once('=').ok_or(FORM)?;
    let (format, key) = rest.split_once(':').ok_or(FORM)?;
    if path.is_empty() || path.split('/').any(|part| ["", ".", ".."].contains(&part)) {
        return Err("the path is that of a file in the repository, such as src/version.properties".to_owned());
    }
    let format = match format {
        "properties" => Format::Properties,
        "toml" => Format::Toml,
        "json" => Format::Json,
        "yaml" => Format::Yaml,
        "text" => Format::Text,
        other => return Err(format!("{other} is no format; {FORM}")),
    };
    let name = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let (key, spelling, after) = if format == Format::Text {
        let place =
            || "a text has one place for the version in its key: text:image rally:{version}".to_owned();
        let (key, rest) = key.split_once('{').ok_or_else(place)?;
        let (spelling, after) = rest.split_once('}').ok_or_else(place)?;
        if after.contains(['{', '}']) {
            return Err(place());
        }
        (key, spelling, after)
    } else {
        match key.rsplit_once("={").and_then(|(key, rest)| Some((key, rest.strip_suffix('}')?))) {
            Some((key, spelling)) => (key, spelling, ""),
            None => (key, "version", ""),
        }
    };
    if (key.is_empty() && format != Format::Text) || !name(spelling) {
        return Err(FORM.to_owned());
    }
    let owned = str::to_owned;
    Ok(VersionFile {
        path: owned(path),
        format,
        key: owned(key),
        after: owned(after),
        spelling: owned(spelling),
    })
}

/// How a version is written in files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writing<'a> {
    pub(crate) scheme: &'a Pattern,
    pub(crate) spellings: &'a [Spelling],
    pub(crate) version: &'a Version,
}

impl Writing<'_> {
    fn pattern(&self, file: &VersionFile) -> Result<Pattern, Failure> {
        match file.spelling.as_str() {
            "tag" => return Ok(self.scheme.clone()),
            "version" => return Ok(self.scheme.bare_pattern()),
            _ => {}
        }
        let found = self.spellings.iter().find(|spelling| spelling.name == file.spelling);
        found.map(|spelling| spelling.pattern.clone()).ok_or_else(|| {
            Failure::usage(format!("write the version into {}", file.path))
                .because(format!("there is no --spelling {}", file.spelling))
                .help(format!(
                    "add --spelling {}=PATTERN, or leave {{{0}}} out for the plain version",
                    file.spelling
                ))
        })
    }
}

/// What one file had, and the content with the version in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Changed {
    pub(crate) before: String,
    pub(crate) after: String,
    pub(crate) content: Vec<u8>,
}

/// Puts the version into the content.
///
/// Refused: a place that is not there, or there twice; a version that is newer than the wanted one.
pub(crate) fn change(file: &VersionFile, content: &[u8], writing: Writing<'_>) -> Result<Changed, Failure> {
    let refused = || Failure::refused(format!("write the version into {}", file.path));
    let pattern = writing.pattern(file)?;
    let after = pattern.write(writing.version).ok_or_else(|| {
        Failure::usage(format!("write the version into {}", file.path))
            .because(format!("{pattern} has no place for all of its numbers"))
    })?;
    let plain = |c: char| c.is_ascii_graphic() && !"\"'\\#".contains(c);
    if file.format != Format::Text && !after.chars().all(plain) {
        return Err(Failure::usage(format!("write {after} into {}", file.path))
            .because("it has characters that would need quoting there"));
    }
    let place = place(file, &pattern, content)
        .map_err(|why| refused().because(why).help("correct --version-file: PATH=FORMAT:KEY"))?;
    let before = String::from_utf8_lossy(content.get(place.clone()).unwrap_or_default()).into_owned();
    match pattern.read(&before) {
        Some(there) if there > *writing.version => {
            return Err(refused()
                .because(format!("it has {before} already, which is newer than {after}"))
                .help("correct --tag, or look who has released meanwhile"));
        }
        Some(_) => {}
        // Another spelling than the one that belongs there, or no version at all.
        None => {
            return Err(refused()
                .because(format!("it has {before} there, which is not written as {pattern}"))
                .help("say how it is written: --spelling NAME=PATTERN, and ={NAME} at the end of --version-file; or correct the key"));
        }
    }
    let mut changed = content.to_vec();
    changed.splice(place, after.bytes());
    Ok(Changed { before, after, content: changed })
}

fn place(file: &VersionFile, pattern: &Pattern, content: &[u8]) -> Result<Range<usize>, String> {
    let text = || std::str::from_utf8(content).map_err(|_| "it is not UTF-8".to_owned());
    let found = match file.format {
        Format::Properties => lines::property(content, &file.key)?,
        Format::Text => lines::text(content, &file.key, &file.after, pattern),
        Format::Toml => toml::strings(text()?, &file.key)?,
        Format::Json => json::strings(text()?, &file.key)?,
        Format::Yaml => yaml::scalars(text()?, &file.key)?,
    };
    let what = if file.format == Format::Text {
        format!("`{}` with a version written as {pattern} behind it", file.key)
    } else {
        format!("the key {}", file.key)
    };
    match found.as_slice() {
        [place] => Ok(place.clone()),
        [] => Err(format!("it does not have {what}")),
        several => Err(format!("it has {what} {} times", several.len())),
    }
}
