//! How versions are written: in tags, and in other spellings of the same version. Pure.

use std::cmp::Ordering;
use std::fmt;

use semver::{BuildMetadata, Prerelease};
use serde::Serialize;

/// The number of a version that a placeholder stands for, and that a bump counts up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Part {
    Major,
    Minor,
    Patch,
    /// The fourth.
    Build,
}

impl Part {
    const ALL: [Self; 4] = [Self::Major, Self::Minor, Self::Patch, Self::Build];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Major => "major",
            Self::Minor => "minor",
            Self::Patch => "patch",
            Self::Build => "build",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// A version, whatever its spelling: up to four numbers, and what semver has beside them.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Version {
    numbers: [u64; 4],
    pre: Prerelease,
    build: BuildMetadata,
}

impl Version {
    pub(crate) fn number(&self, part: Part) -> u64 {
        self.numbers.get(part.index()).copied().unwrap_or_default()
    }

    pub(crate) fn is_prerelease(&self) -> bool {
        !self.pre.is_empty()
    }

    fn set(&mut self, part: Part, number: u64) {
        if let Some(place) = self.numbers.get_mut(part.index()) {
            *place = number;
        }
    }

    fn of_semver(version: semver::Version) -> Self {
        let numbers = [version.major, version.minor, version.patch, 0];
        Self { numbers, pre: version.pre, build: version.build }
    }

    /// The next version; a pre-release of it is no reason to count further.
    pub(crate) fn next(&self, part: Part) -> Self {
        let below = self.numbers.iter().skip(part.index() + 1).all(|number| *number == 0);
        let mut next = Self { numbers: self.numbers, ..Self::default() };
        if !(self.is_prerelease() && below) {
            next.set(part, self.number(part) + 1);
            Part::ALL.iter().filter(|other| **other > part).for_each(|other| next.set(*other, 0));
        }
        next
    }
}

impl Ord for Version {
    /// The precedence of <https://semver.org/#spec-item-11>, with four numbers. What it calls equal is told apart by the build.
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |version: &Self| (version.numbers, version.pre.clone(), version.build.clone());
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Text(String),
    Number(Part),
    Semver,
    /// Written unless all numbers in it are 0.
    Optional(Vec<Token>),
}

/// One way to write versions: `v{semver}`, `sprint{major}`, `RALLY-V{major}_{minor}_{patch}_{build}-RELEASE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    text: String,
    tokens: Vec<Token>,
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The most bytes of a text that is looked at as a version: git keeps the name of a tag as that of a file.
const LONGEST: usize = 255;

const PLACES: &str = "{semver}, {major}, {minor}, {patch}, {build}";

impl Pattern {
    /// Reads a scheme: one of the names, or a pattern.
    pub(crate) fn scheme(text: &str) -> Result<Self, String> {
        let pattern = match text {
            "semver" => "v{semver}",
            "vN.M" => "v{major}.{minor}",
            "sprintN" => "sprint{major}",
            other => other,
        };
        if !pattern.contains('{') {
            return Err(format!("write semver, vN.M, sprintN, or a pattern with {PLACES}"));
        }
        let pattern = Self::parse(pattern)?;
        let parts = pattern.parts();
        if Part::ALL.iter().zip(&parts).any(|(expected, part)| expected != part) {
            return Err(
                "a scheme has {major}, {minor}, {patch} and {build} in this order, from the first on"
                    .to_owned(),
            );
        }
        Ok(pattern)
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        let mut optional: Option<Vec<Token>> = None;
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let within = optional.is_some();
            let list = optional.as_mut().unwrap_or(&mut tokens);
            match first {
                '{' => {
                    let (name, after) = rest
                        .get(1..)
                        .and_then(|rest| rest.split_once('}'))
                        .ok_or("a { without its }: placeholders are {major} and the like")?;
                    let token = if name == "semver" {
                        Token::Semver
                    } else {
                        let part = Part::ALL.into_iter().find(|part| part.word() == name);
                        Token::Number(part.ok_or(format!("{{{name}}} is none of {PLACES}"))?)
                    };
                    list.push(token);
                    rest = after;
                    continue;
                }
                '[' if !within => optional = Some(Vec::new()),
                ']' => match optional.take() {
                    Some(inner) if inner.iter().any(|token| matches!(token, Token::Number(_))) => {
                        tokens.push(Token::Optional(inner));
                    }
                    _ => {
                        return Err(
                            "[ ] goes around a number that is left out when it is 0: [.{build}]".to_owned()
                        );
                    }
                },
                '[' | '}' => return Err(format!("{first} has no place here")),
                _ => match list.last_mut() {
                    Some(Token::Text(text)) => text.push(first),
                    _ => list.push(Token::Text(first.to_string())),
                },
            }
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        }
        if optional.is_some() {
            return Err("a [ without its ]".to_owned());
        }
        let pattern = Self { text: text.to_owned(), tokens };
        pattern.check()?;
        Ok(pattern)
    }

    fn check(&self) -> Result<(), String> {
        let flat = flat(&self.tokens);
        let parts = self.parts();
        let semver = flat.iter().filter(|token| matches!(token, Token::Semver)).count();
        let twice = parts.iter().enumerate().any(|(at, part)| parts.iter().skip(at + 1).any(|it| it == part));
        let numbers = flat.iter().filter(|token| matches!(token, Token::Number(_))).count();
        if semver + numbers == 0 {
            return Err(format!("it has no placeholder; there are {PLACES}"));
        }
        if semver > 1 || (semver == 1 && numbers > 0) || twice {
            return Err("each placeholder stands once, and {semver} alone".to_owned());
        }
        let clash = |pair: &[&Token]| match pair {
            [Token::Number(_), Token::Number(_)] => true,
            [Token::Number(_), Token::Text(text)] => text.starts_with(|c: char| c.is_ascii_digit()),
            _ => false,
        };
        if flat.windows(2).any(clash) {
            return Err("two numbers without a character between them can't be told apart".to_owned());
        }
        Ok(())
    }

    /// The numbers that it has a place for, in its order.
    pub(crate) fn parts(&self) -> Vec<Part> {
        let part = |token: &&Token| match token {
            Token::Number(part) => vec![*part],
            Token::Semver => vec![Part::Major, Part::Minor, Part::Patch],
            _ => Vec::new(),
        };
        flat(&self.tokens).iter().flat_map(part).collect()
    }

    /// The version, if the whole text is written so.
    pub(crate) fn read(&self, text: &str) -> Option<Version> {
        if text.len() > LONGEST {
            return None;
        }
        let found = matches(&self.tokens, text);
        let (_, version) = found.into_iter().find(|(length, _)| *length == text.len())?;
        // From the largest number there is none to count on to.
        if version.numbers.contains(&u64::MAX) {
            return None;
        }
        // `v2.1.0.0` is not how `v{major}.{minor}.{patch}[.{build}]` writes 2.1.0.
        (self.write(&version).as_deref() == Some(text)).then_some(version)
    }

    /// The beginnings of the text that are written so, by their lengths.
    pub(crate) fn starts(&self, text: &str) -> Vec<usize> {
        matches(&self.tokens, text).into_iter().map(|(length, _)| length).collect()
    }

    /// The same without what stands before the first number and after the last.
    pub(crate) fn bare_pattern(&self) -> Self {
        let is_text = |token: &Token| matches!(token, Token::Text(_));
        let mut tokens = self.tokens.clone();
        if tokens.first().is_some_and(is_text) {
            tokens.remove(0);
        }
        if tokens.last().is_some_and(is_text) {
            tokens.pop();
        }
        Self { text: self.bare(&self.text).to_owned(), tokens }
    }

    /// The version in this spelling; none where it has no place for all of it.
    pub(crate) fn write(&self, version: &Version) -> Option<String> {
        let parts = self.parts();
        let lost = |part: &Part| version.number(*part) != 0 && !parts.contains(part);
        let semver = self.tokens.contains(&Token::Semver);
        if Part::ALL.iter().any(lost) || (!semver && (version.is_prerelease() || !version.build.is_empty())) {
            return None;
        }
        Some(written(&self.tokens, version))
    }

    /// What of a text in this spelling is the version: without what stands before the first number and after the last.
    pub(crate) fn bare<'a>(&self, text: &'a str) -> &'a str {
        let mut bare = text;
        if let Some(Token::Text(before)) = self.tokens.first() {
            bare = bare.strip_prefix(before.as_str()).unwrap_or(bare);
        }
        if let Some(Token::Text(after)) = self.tokens.last() {
            bare = bare.strip_suffix(after.as_str()).unwrap_or(bare);
        }
        bare
    }
}

fn flat(tokens: &[Token]) -> Vec<&Token> {
    tokens
        .iter()
        .flat_map(|token| match token {
            Token::Optional(inner) => flat(inner),
            token => vec![token],
        })
        .collect()
}

fn written(tokens: &[Token], version: &Version) -> String {
    let one = |token: &Token| match token {
        Token::Text(text) => text.clone(),
        Token::Number(part) => version.number(*part).to_string(),
        Token::Semver => {
            let [major, minor, patch, _] = version.numbers;
            let (pre, build) = (version.pre.clone(), version.build.clone());
            semver::Version { major, minor, patch, pre, build }.to_string()
        }
        Token::Optional(inner) => {
            let zero = |token: &Token| !matches!(token, Token::Number(part) if version.number(*part) != 0);
            if inner.iter().all(zero) { String::new() } else { written(inner, version) }
        }
    };
    tokens.iter().map(one).collect()
}

/// Every beginning of the text that the tokens fit, as its length and the version.
fn matches(tokens: &[Token], text: &str) -> Vec<(usize, Version)> {
    let mut found = vec![(0, Version::default())];
    for token in tokens {
        found = found
            .into_iter()
            .flat_map(|(at, version)| {
                let rest = text.get(at..).unwrap_or_default();
                step(token, rest, version).into_iter().map(move |(length, version)| (at + length, version))
            })
            .collect();
    }
    found
}

fn step(token: &Token, rest: &str, version: Version) -> Vec<(usize, Version)> {
    match token {
        Token::Text(text) if rest.starts_with(text.as_str()) => vec![(text.len(), version)],
        Token::Text(_) => Vec::new(),
        Token::Number(part) => {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let number = rest.get(..digits).filter(|digits| *digits == "0" || !digits.starts_with('0'));
            let Some(number) = number.and_then(|digits| digits.parse().ok()) else { return Vec::new() };
            let mut version = version;
            version.set(*part, number);
            vec![(digits, version)]
        }
        Token::Semver => {
            let longest =
                rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || b".-+".contains(byte)).count();
            let read = |length: usize| {
                let version = semver::Version::parse(rest.get(..length)?).ok()?;
                Some((length, Version::of_semver(version)))
            };
            (1..=longest).filter_map(read).collect()
        }
        Token::Optional(inner) => {
            let mut found = vec![(0, version.clone())];
            for (length, read) in matches(inner, rest) {
                let mut version = version.clone();
                for part in Part::ALL.into_iter().filter(|part| read.number(*part) != 0) {
                    version.set(part, read.number(part));
                }
                found.push((length, version));
            }
            found
        }
    }
}

/// Another spelling of the version: `image=RALLY-V{major}_{minor}_{patch}_{build}-RELEASE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spelling {
    pub(crate) name: String,
    pub(crate) pattern: Pattern,
}

pub(crate) fn parse_spelling(text: &str) -> Result<Spelling, String> {
    let (name, pattern) = text.split_once('=').ok_or("write it as NAME=PATTERN")?;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || !name.chars().all(plain) {
        return Err("the name is of lower-case letters, digits and hyphens".to_owned());
    }
    if ["version", "tag"].contains(&name) {
        return Err(format!("`{name}` has its meaning already; choose another name"));
    }
    Ok(Spelling { name: name.to_owned(), pattern: Pattern::parse(pattern)? })
}
