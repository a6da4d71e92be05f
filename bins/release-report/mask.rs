//! What looks like a secret, in text that others gave: receipts have none, but an argument is whatever somebody typed.

/// Put in its place.
const MASK: &str = "***";

/// Beginnings of tokens, which the rest of the word is part of.
/// <https://docs.github.com/en/authentication/keeping-your-account-and-data-secure/about-authentication-to-github#githubs-token-formats>
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids>
const TOKENS: [(&str, usize); 8] = [
    ("github_pat_", 20),
    ("ghp_", 20),
    ("gho_", 20),
    ("ghu_", 20),
    ("ghs_", 20),
    ("ghr_", 20),
    ("AKIA", 16),
    ("ASIA", 16),
];

/// Words in a name whose value is not for everybody.
const NAMES: [&str; 9] =
    ["password", "passwd", "secret", "token", "apikey", "api_key", "api-key", "signature", "credential"];

/// `text` with `***` in place of what looks like a secret: passwords in URLs, values of names such as `DB_PASSWORD=` and
/// `X-Amz-Signature=`, tokens and access keys, private keys.
pub(crate) fn mask(text: &str) -> String {
    if let Some(at) = text.find("-----BEGIN ").filter(|_| text.contains("PRIVATE KEY")) {
        return format!("{}{MASK}", text.get(..at).unwrap_or_default());
    }
    let text = urls(text);
    let mut out = String::with_capacity(text.len());
    // The last two words: `"password": "x"` is a name, a colon and a value.
    let mut before = ["", ""];
    let mut between = String::new();
    let mut rest = text.as_str();
    loop {
        let end = rest.find(is_break).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let is_value = before[1] == ":" && is_secret(before[0]) && matches!(between.trim(), "\"" | "'");
        out.push_str(&if is_value && !word.is_empty() && !is_place(word) {
            MASK.to_owned()
        } else {
            masked(word)
        });
        if !word.is_empty() {
            before = [before[1], word];
            between.clear();
        }
        let mut chars = after.chars();
        let Some(char) = chars.next() else { return out };
        between.push(char);
        out.push(char);
        rest = chars.as_str();
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    NAMES.iter().any(|part| name.contains(part))
}

/// An ARN or a path says where a secret is kept, not what it is.
fn is_place(value: &str) -> bool {
    ["arn:", "/", "s3://", "https://", "http://", "ssm:"].iter().any(|sign| value.starts_with(sign))
}

/// What ends a word: a value reaches to here.
fn is_break(char: char) -> bool {
    char.is_whitespace() || "\"'`,;&?<>(){}[]|".contains(char)
}

fn masked(word: &str) -> String {
    for (at, _) in word.match_indices('=') {
        let (name, value) = (word.get(..at).unwrap_or_default(), word.get(at + 1..).unwrap_or_default());
        let last = name.rsplit([':', '/', '=']).next().unwrap_or(name);
        if is_secret(last) && !value.is_empty() && !is_place(value) {
            return format!("{name}={MASK}");
        }
    }
    tokens(word)
}

/// Each token of a word: several may stand in one, with colons or slashes between them.
fn tokens(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    let mut rest = word;
    let mut begins = true;
    while let Some(char) = rest.chars().next() {
        let sign = TOKENS.iter().find(|(sign, _)| begins && rest.starts_with(sign));
        let token = sign.and_then(|(sign, least)| {
            let length =
                rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
            (length >= sign.len() + least).then_some(length)
        });
        let taken = token.unwrap_or(char.len_utf8());
        out.push_str(if token.is_some() { MASK } else { rest.get(..taken).unwrap_or_default() });
        begins = !char.is_ascii_alphanumeric();
        rest = rest.get(taken..).unwrap_or_default();
    }
    out
}

/// Each `scheme://user:password@host` without the password, whatever characters are in that: a slash, too, which should have been
/// encoded.
fn urls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (head, tail) = rest.split_at(at + 3);
        let end = tail.find(|c: char| c.is_whitespace() || "\"'<>".contains(c)).unwrap_or(tail.len());
        let (whole, after) = tail.split_at(end);
        let authority = whole.split('/').next().unwrap_or_default();
        // `host:8080/path@x` and `[::1]:8080/path@x` begin with no user's name.
        let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
        let is_user = authority.contains('@')
            || !authority.starts_with('[')
                && authority.split_once(':').is_some_and(|(_, port)| !is_port(port));
        // The last `@`: what is taken for a part of the password is masked, and not the other way round.
        let parts = whole.rsplit_once('@').filter(|_| is_user);
        let parts = parts.and_then(|(user, host)| Some((user.split_once(':')?, host)));
        out.push_str(head);
        match parts {
            Some(((name, password), host)) if !password.is_empty() && !name.contains('@') => {
                out.push_str(&format!("{name}:{MASK}@{host}"));
            }
            _ => out.push_str(whole),
        }
        rest = after;
    }
    out + rest
}
