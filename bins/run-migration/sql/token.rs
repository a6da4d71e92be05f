//! What of a token matters for telling statements apart.

use squawk_lexer::{LiteralKind, TokenKind};

/// A token of a statement and where it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) shape: Shape,
    pub(super) start: usize,
    pub(super) end: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A key word or unquoted name, in capitals.
    Word(String),
    /// A quoted name.
    Quoted,
    /// A string or a number, in capitals.
    Literal(String),
    Open,
    Close,
    Comma,
    Dot,
    Other,
}

impl Token {
    pub(super) fn word(&self) -> Option<&str> {
        match &self.shape {
            Shape::Word(word) => Some(word.as_str()),
            _ => None,
        }
    }

    pub(super) fn is(&self, word: &str) -> bool {
        self.word() == Some(word)
    }
}

/// Whether a reader that descends into brackets and operators could come to the end of its stack.
pub(super) fn is_deep(tokens: &[Token]) -> bool {
    let (mut open, mut run) = (0_usize, 0_usize);
    tokens.iter().any(|token| {
        match token.shape {
            Shape::Open => open += 1,
            Shape::Close => open = open.saturating_sub(1),
            _ => {}
        }
        run = if token.shape == Shape::Comma { 0 } else { run + 1 };
        open >= 1_000 || run >= 10_000
    })
}

/// The words up to the first token that is not one.
pub(super) fn words(tokens: &[Token]) -> Vec<&str> {
    tokens.iter().map_while(Token::word).collect()
}

/// Whether a word stands anywhere in the statement.
pub(super) fn has(tokens: &[Token], wanted: &str) -> bool {
    tokens.iter().any(|token| token.is(wanted))
}

/// The name that begins at a token, qualified or not, as the file writes it, and the number of its tokens.
pub(super) fn name<'a>(tokens: &[Token], at: usize, text: &'a str) -> Option<(&'a str, usize)> {
    let part = |n: usize| tokens.get(n).filter(|token| matches!(token.shape, Shape::Word(_) | Shape::Quoted));
    let first = part(at)?;
    let mut last = first;
    let mut n = at + 1;
    while tokens.get(n).is_some_and(|token| token.shape == Shape::Dot) {
        last = part(n + 1)?;
        n += 2;
    }
    Some((text.get(first.start..last.end)?, n - at))
}

/// Where the words begin in the statement, at the depth of the statement itself.
pub(super) fn find(tokens: &[Token], wanted: &[&str]) -> Option<usize> {
    let mut depth = 0_usize;
    for (n, token) in tokens.iter().enumerate() {
        match token.shape {
            Shape::Open => depth += 1,
            Shape::Close => depth = depth.saturating_sub(1),
            Shape::Word(_) if depth == 0 => {
                let here = tokens.iter().skip(n);
                if here.clone().count() >= wanted.len()
                    && here.zip(wanted).all(|(token, wanted)| token.is(wanted))
                {
                    return Some(n);
                }
            }
            _ => {}
        }
    }
    None
}

pub(super) fn unterminated(kind: TokenKind) -> Option<&'static str> {
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
