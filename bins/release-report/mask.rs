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
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(end) = rest.find(is_break) {
        let (word, after) = rest.split_at(end);
        out.push_str(&masked(word));
        let mut chars = after.chars();
        out.extend(chars.next());
        rest = chars.as_str();
    }
    out + &masked(rest)
}

/// What ends a word: a value reaches to here.
fn is_break(char: char) -> bool {
    char.is_whitespace() || "\"'`,;&?<>(){}[]|".contains(char)
}

fn masked(word: &str) -> String {
    let word = url(word);
    for (at, char) in word.char_indices() {
        if !matches!(char, '=' | ':') {
            continue;
        }
        let (name, value) = (word.get(..at).unwrap_or_default(), word.get(at + 1..).unwrap_or_default());
        let last = name.rsplit([':', '/', '=']).next().unwrap_or(name).to_ascii_lowercase();
        // An ARN or a path says where a secret is kept, not what it is.
        let is_place =
            ["arn:", "/", "s3://", "https://", "http://", "ssm:"].iter().any(|sign| value.starts_with(sign));
        if NAMES.iter().any(|part| last.contains(part)) && !value.is_empty() && !is_place && char == '=' {
            return format!("{name}={MASK}");
        }
    }
    for (sign, least) in TOKENS {
        if let Some(at) = word.find(sign) {
            let token: &str = word.get(at..).unwrap_or_default();
            let length =
                token.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
            let begins =
                word.get(..at).is_none_or(|before| !before.ends_with(|c: char| c.is_ascii_alphanumeric()));
            if begins && length >= sign.len() + least {
                let after = token.get(length..).unwrap_or_default();
                return format!("{}{MASK}{after}", word.get(..at).unwrap_or_default());
            }
        }
    }
    word
}

/// `scheme://user:password@host` without the password.
fn url(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else { return word.to_owned() };
    let authority = rest.split(['/', '#']).next().unwrap_or(rest);
    let Some((user, _)) = authority.rsplit_once('@') else { return word.to_owned() };
    let Some((name, password)) = user.split_once(':') else { return word.to_owned() };
    if password.is_empty() {
        return word.to_owned();
    }
    format!("{scheme}://{name}:{MASK}{}", rest.get(user.len()..).unwrap_or_default())
}
