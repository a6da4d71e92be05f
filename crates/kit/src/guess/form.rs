//! What is a secret by its form, wherever it stands.

use super::name::{is_secret_flag, is_secret_name};
use super::{MASK, is_reference};

/// Secrets that are known by their form, wherever they stand.
pub(super) fn forms(value: &str) -> String {
    let mut out = pem(value);
    out = userinfo(&out);
    out = flags(&out);
    out = assignments(&out);
    out = tokens(&out);
    out
}

/// What is between the lines of a PEM block.
fn pem(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, block)) = rest.split_once("-----BEGIN ") {
        out.push_str(before);
        let Some((label, body)) = block.split_once("-----") else {
            return format!("{out}-----BEGIN {MASK}");
        };
        out.push_str(&format!("-----BEGIN {label}-----{MASK}"));
        match body.split_once("-----END ") {
            Some((_, after)) => {
                out.push_str("-----END ");
                rest = after;
            }
            None => return out,
        }
    }
    out.push_str(rest);
    out
}

/// The passwords of URLs.
fn userinfo(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, url) = rest.split_at(at + 3);
        out.push_str(before);
        let end = url.find(|c: char| c.is_whitespace() || "\"'<>".contains(c)).unwrap_or(url.len());
        let (url, after) = url.split_at(end);
        let authority = url.split(['/', '?', '#']).next().unwrap_or_default();
        // A password that should have been encoded, and was not, may hold what ends an authority.
        let part = match (authority.rsplit_once('@'), url.split_once(':')) {
            (Some(_), _) => authority,
            (None, Some((_, rest))) if rest.contains('@') && !is_port(rest) => url,
            _ => "",
        };
        match part.rsplit_once('@').and_then(|(user, _)| Some((user.len(), user.split_once(':')?))) {
            Some((len, (user, password))) if !password.is_empty() && !is_reference(password) => {
                out.push_str(&format!("{user}:{MASK}{}", url.get(len..).unwrap_or_default()));
            }
            _ => out.push_str(url),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

fn is_port(rest: &str) -> bool {
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    digits > 0 && rest.get(digits..).is_none_or(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']))
}

/// `PASSWORD=x`, `--token=x`, `password: x` in running text.
fn assignments(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['=', ':']) {
        let (before, after) = rest.split_at(at);
        let (sign, after) = after.split_at(1);
        out.push_str(before);
        out.push_str(sign);
        rest = after;
        let name_at = before.rfind(|c: char| !(c.is_alphanumeric() || "_-.".contains(c))).map_or(0, |at| {
            at + before.get(at..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8)
        });
        let name = before.get(name_at..).unwrap_or_default();
        if !is_secret_name(name) {
            continue;
        }
        let space = rest.len() - rest.trim_start_matches(' ').len();
        let (begin, value) = valued(rest, space, ";,&\"'");
        // `{{resolve:secretsmanager:...}}`, `token://`, `$TOKEN`
        if value.is_empty() || value.starts_with(['{', '$', '/', ':']) || (sign == ":" && space == 0) {
            continue;
        }
        out.push_str(rest.get(..begin).unwrap_or_default());
        out.push_str(MASK);
        rest = rest.get(begin + value.len()..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// The value after a name, its quotes left out, and where it begins. `space` are the blanks before it; one of `signs` ends it,
/// where it has no quotes.
fn valued<'a>(text: &'a str, space: usize, signs: &str) -> (usize, &'a str) {
    let quoted = text.get(space..).and_then(|value| value.chars().next()).filter(|c| "\"'".contains(*c));
    let begin = space + usize::from(quoted.is_some());
    let value = text.get(begin..).unwrap_or_default();
    let ends = |c: char| c.is_whitespace() || signs.contains(c);
    let end = match quoted {
        Some(quote) => value.find(quote),
        None => value.find(ends),
    };
    let (first, after) = value.split_at(end.unwrap_or(value.len()));
    // `Authorization: Bearer x`: https://www.rfc-editor.org/rfc/rfc9110#name-authorization
    let scheme = ["basic", "bearer", "token"].contains(&first.to_lowercase().as_str());
    match after.strip_prefix(' ').filter(|next| scheme && !next.is_empty() && !next.starts_with(ends)) {
        Some(next) => (begin + first.len() + 1, next.split(ends).next().unwrap_or_default()),
        None => (begin, first),
    }
}

/// `--password x` in running text, as a shell is given it.
fn flags(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(' ') {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        rest = after;
        let word =
            before.rsplit(|c: char| c.is_whitespace() || "\"'`;&|(".contains(c)).next().unwrap_or_default();
        let space = rest.len() - rest.trim_start_matches(' ').len();
        let (begin, value) = valued(rest, space, ";&|)\"'");
        if !is_secret_flag(word) || value.is_empty() || value.starts_with(['-', '$', '{', '|', '>', '<']) {
            out.push_str(rest.get(..space).unwrap_or_default());
            rest = rest.get(space..).unwrap_or_default();
            continue;
        }
        out.push_str(rest.get(..begin).unwrap_or_default());
        out.push_str(MASK);
        rest = rest.get(begin + value.len()..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// Keys that are known by how they begin or how they are made.
fn tokens(text: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    let part = |c: char| c.is_ascii_alphanumeric() || "+/=_-.".contains(c);
    for c in text.chars().chain(std::iter::once(' ')) {
        if part(c) {
            word.push(c);
            continue;
        }
        out.push_str(if is_token(&word) { MASK } else { &word });
        word.clear();
        out.push(c);
    }
    out.pop();
    out
}

fn is_token(word: &str) -> bool {
    // https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-prefixes
    let access_key = word.len() == 20
        && (word.starts_with("AKIA") || word.starts_with("ASIA"))
        && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    let any = |test: fn(&u8) -> bool| word.as_bytes().iter().any(test);
    // A secret access key has forty characters of base64; a commit's SHA has no capitals.
    let secret_key = word.len() == 40
        && any(u8::is_ascii_uppercase)
        && any(u8::is_ascii_lowercase)
        && any(u8::is_ascii_digit)
        && !any(|byte| b"=_-.".contains(byte))
        && !word.starts_with('/');
    let others =
        ["ghp_", "gho_", "ghs_", "ghu_", "ghr_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "sk_live_"];
    let json_web_token = word.starts_with("eyJ") && word.matches('.').count() == 2;
    access_key
        || secret_key
        || json_web_token
        || others.iter().any(|prefix| word.strip_prefix(prefix).is_some_and(|rest| rest.len() >= 8))
}
