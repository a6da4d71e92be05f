//! The directives of a configuration, with the blocks they stand in. Pure.

use crate::token::{Malformed, Piece, Reader, Word};

/// A directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Directive {
    pub(crate) words: Vec<Word>,
    /// In the order of the file; none without a block.
    pub(crate) block: Option<Vec<Directive>>,
    /// Its line, from 1.
    pub(crate) line: usize,
}

impl Directive {
    pub(crate) fn is(&self, name: &str) -> bool {
        self.words.first().is_some_and(|word| word.is(name))
    }

    /// The words after the name.
    pub(crate) fn arguments(&self) -> &[Word] {
        self.words.get(1..).unwrap_or_default()
    }

    fn children(&self) -> &[Directive] {
        self.block.as_deref().unwrap_or_default()
    }
}

/// The most blocks that stand in each other: what is made of them is taken apart block by block on the stack.
const DEEPEST: usize = 200;

/// Reads a whole file.
pub(crate) fn read(text: &[u8]) -> Result<Vec<Directive>, Malformed> {
    let mut reader = Reader::new(text);
    let mut open: Vec<(Directive, Vec<Directive>)> = Vec::new();
    let mut level = Vec::new();
    while let Some(piece) = reader.piece()? {
        match piece {
            Piece::Simple(words) => {
                level.push(Directive { line: begins(&reader, &words), words, block: None });
            }
            Piece::Open(words) => {
                let line = begins(&reader, &words);
                let directive = Directive { line, words, block: Some(Vec::new()) };
                if directive.words.first().is_some_and(|name| name.value.ends_with(b"_by_lua_block")) {
                    reader.skip_lua()?;
                    level.push(directive);
                } else if open.len() == DEEPEST {
                    return Err(Malformed { line, why: format!("more than {DEEPEST} blocks in each other") });
                } else {
                    open.push((directive, std::mem::take(&mut level)));
                }
            }
            Piece::Close => {
                let Some((mut directive, outer)) = open.pop() else {
                    let line = reader.line(reader.place().saturating_sub(1));
                    return Err(Malformed { line, why: "unexpected }".to_owned() });
                };
                directive.block = Some(std::mem::replace(&mut level, outer));
                level.push(directive);
            }
        }
    }
    match open.pop() {
        None => Ok(level),
        Some((directive, _)) => Err(Malformed {
            line: directive.line,
            why: format!(
                "the block {} is not closed",
                directive.words.first().map(Word::text).unwrap_or_default()
            ),
        }),
    }
}

fn begins(reader: &Reader<'_>, words: &[Word]) -> usize {
    words.first().map_or(0, |word| reader.line(word.span.start))
}

/// Whether nginx could be started with this file: a part that another file includes has no `events`.
pub(crate) fn is_whole(tree: &[Directive]) -> bool {
    tree.iter().any(|directive| directive.is("events") && directive.block.is_some())
}

/// The value of `pid` in the main context.
pub(crate) fn pid(tree: &[Directive]) -> Option<String> {
    let found = tree.iter().find(|directive| directive.is("pid"))?;
    found.arguments().first().map(Word::text)
}

/// Every directive, at whatever depth, outer ones first.
pub(crate) fn all(tree: &[Directive]) -> Vec<&Directive> {
    let mut found = Vec::new();
    let mut rest: Vec<&Directive> = tree.iter().rev().collect();
    while let Some(directive) = rest.pop() {
        found.push(directive);
        rest.extend(directive.children().iter().rev());
    }
    found
}

/// The blocks `upstream NAME`, of `http` and `stream` alike.
pub(crate) fn upstreams(tree: &[Directive]) -> Vec<(&Directive, String)> {
    let named = |directive: &'_ Directive| match directive.arguments() {
        [name] if directive.is("upstream") && directive.block.is_some() => Some(name.text()),
        _ => None,
    };
    all(tree).into_iter().filter_map(|directive| Some((directive, named(directive)?))).collect()
}

/// The `server` lines of an upstream.
pub(crate) fn servers(upstream: &Directive) -> Vec<&Word> {
    let servers = upstream.children().iter().filter(|directive| directive.is("server"));
    servers.filter_map(|directive| directive.arguments().first()).collect()
}
