//! Which names tend to be those of secrets: of properties, of environment variables, of flags.

/// Words that make a secret of what has them in its name.
const WORDS: [&str; 19] = [
    "password",
    "passwords",
    "passwd",
    "passphrase",
    "pwd",
    "pass",
    "dbpass",
    "pgpass",
    "requirepass",
    "masterauth",
    "apikey",
    "privatekey",
    "secretkey",
    "connectionstring",
    "dsn",
    "webhook",
    "cookie",
    "pat",
    "jwt",
];

/// As [`WORDS`], and at the end of a word too: `ACCESSTOKEN`.
const ENDINGS: [&str; 6] = ["secret", "secrets", "token", "tokens", "credential", "credentials"];

/// Two words that make one together.
const PAIRS: [(&str, &str); 10] = [
    ("api", "key"),
    ("private", "key"),
    ("access", "key"),
    ("signing", "key"),
    ("encryption", "key"),
    ("session", "key"),
    ("shared", "key"),
    ("account", "key"),
    ("license", "key"),
    ("connection", "string"),
];

/// Keys that open nothing: `SORT_KEY`, `S3_KEY`. Of an environment variable every other one is taken for a secret.
const HARMLESS_KEYS: [&str; 11] = [
    "public",
    "partition",
    "sort",
    "hash",
    "range",
    "primary",
    "foreign",
    "object",
    "s3",
    "cache",
    "routing",
];

/// Last words of what is said of a secret, and of how somebody proves who he is, which is not one.
const SAID_OF: [&str; 43] = [
    "algorithm",
    "arn",
    "arns",
    "audience",
    "author",
    "authority",
    "authors",
    "count",
    "days",
    "disabled",
    "domain",
    "enabled",
    "expiration",
    "file",
    "host",
    "hours",
    "issuer",
    "length",
    "minutes",
    "mode",
    "name",
    "names",
    "path",
    "policy",
    "port",
    "provider",
    "rate",
    "realm",
    "region",
    "required",
    "scopes",
    "seconds",
    "secure",
    "size",
    "status",
    "stdin",
    "timeout",
    "ttl",
    "type",
    "types",
    "units",
    "validity",
    "version",
];

/// Whether what has this name tends to be a secret: `MasterUserPassword`, `DB_TOKEN`, `REDIS_AUTH`, `x-api-key`.
pub(super) fn is_secret_name(name: &str) -> bool {
    let words = words(name);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let Some(last) = words.last() else { return false };
    if SAID_OF.contains(last) {
        return false;
    }
    let speaks = |word: &&str| {
        WORDS.contains(word)
            || ENDINGS.iter().any(|ending| word.ends_with(ending))
            || (word.starts_with("auth") && !SAID_OF.contains(word))
    };
    let whole = words.concat();
    words.iter().any(speaks) && !words.windows(2).any(|pair| pair == ["pass", "through"])
        || words.windows(2).any(|pair| PAIRS.iter().any(|(a, b)| pair == [*a, *b]))
        || is_key_variable(name, &words)
        || ["password", "passwd", "passphrase", "secretkey", "apikey", "privatekey", "connectionstring"]
            .iter()
            .any(|word| whole.contains(word))
}

/// `APP_KEY`, in the capitals of an environment variable: a property's `SortKey` or `Key` is none.
fn is_key_variable(name: &str, words: &[&str]) -> bool {
    let before = words.len().checked_sub(2).and_then(|n| words.get(n));
    !name.contains(char::is_lowercase)
        && words.last() == Some(&"key")
        && before.is_none_or(|word| !HARMLESS_KEYS.contains(word))
}

/// Whether a word of a command line is a flag that the word after it gives a secret to: `--password`.
pub(super) fn is_secret_flag(word: &str) -> bool {
    let Some(name) = word.strip_prefix('-').filter(|name| !name.contains('=')) else { return false };
    let name = name.trim_start_matches('-');
    // `--no-password` takes no value.
    let denied = ["no-", "skip-", "without-", "disable-"].iter().any(|no| name.starts_with(no));
    !denied && is_secret_name(name)
}

/// The words of a name in whatever case it is written.
fn words(name: &str) -> Vec<String> {
    let chars: Vec<char> = name.chars().collect();
    let mut words: Vec<String> = vec![String::new()];
    for (n, c) in chars.iter().enumerate() {
        if !c.is_alphanumeric() {
            words.push(String::new());
            continue;
        }
        let before = n.checked_sub(1).and_then(|n| chars.get(n));
        let after_lower = before.is_some_and(|c| c.is_lowercase() || c.is_ascii_digit());
        let ends_capitals =
            before.is_some_and(|c| c.is_uppercase()) && chars.get(n + 1).is_some_and(|c| c.is_lowercase());
        if c.is_uppercase() && (after_lower || ends_capitals) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets() {
        for name in [
            "DB_PASS",
            "DBPASS",
            "REDIS_AUTH",
            "REDISCLI_AUTH",
            "MYSQL_PWD",
            "PGPASSWORD",
            "SMTP_PASSWORD_2",
            "APP_KEY",
            "KEY",
            "DJANGO_SECRET_KEY",
            "SECRET_KEY_BASE",
            "ACCESSTOKEN",
            "clientSecret",
            "splunk-token",
            "SENTRY_DSN",
            "SLACK_WEBHOOK_URL",
            "GIT_CREDENTIALS",
            "requirepass",
            "x-api-key",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "PASSENGER_COUNT",
            "PASSENGER_APP_ENV",
            "AUTHOR",
            "GIT_AUTHOR_EMAIL",
            "AUTHORS",
            "BYPASS",
            "BYPASS_CACHE",
            "COMPASS_URL",
            "PASSIVE_MODE",
            "PASS_THROUGH_HEADERS",
            "PATH",
            "PATTERN",
            "KEYCLOAK_URL",
            "MONKEY",
            "KEYBOARD",
            "S3_KEY",
            "SORT_KEY",
            "SortKey",
            "Key",
            "TOKENIZER",
            "TOKEN_TTL",
            "SECRETARY_EMAIL",
            "PASSWORD_MIN_LENGTH",
            "DB_PASSWORD_FILE",
            "SESSION_COOKIE_DOMAIN",
            "JWT_ISSUER",
            "AUTH_MODE",
            "DESCRIPTION",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn flags_of_secrets() {
        for word in ["--password", "-password", "--db-pass", "--requirepass"] {
            assert!(is_secret_flag(word), "{word}");
        }
        for word in ["password", "--no-password", "--password-stdin", "--password-file", "--password=x", "-p"]
        {
            assert!(!is_secret_flag(word), "{word}");
        }
    }
}
