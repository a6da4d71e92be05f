//! What may be a secret in the values of properties: by the name that leads to it, and by its form.
//!
//! Structure stays, so that it is seen what changes. This guesses, and a mask too many costs little; values that are
//! known to be secret are [`kit::Secret`]'s.

use serde_json::Value;

/// What stands in the place of a secret.
pub const MASK: &str = "***";

/// `value` (plain text or JSON) of the property at `path` (a JSON pointer, or a name alone), with what may be a secret
/// masked; none when there is nothing to mask.
pub fn redact_value(path: &str, value: &str) -> Option<String> {
    let masked = text(value, at(path));
    (masked != value).then_some(masked)
}

/// What the names above a value say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Under {
    Plain,
    /// A secret, unless its form says that it only refers to one.
    Secret,
    /// All of it is masked, structure too.
    Whole,
}

/// The names of a path, from the outermost in.
fn at(path: &str) -> Under {
    let names: Vec<String> = path.split('/').map(|name| name.replace("~1", "/").replace("~0", "~")).collect();
    let mut under = Under::Plain;
    for name in &names {
        under = below(under, name);
    }
    // The path gives the number of a variable, not its name, and the value comes alone.
    let nameless = match names.as_slice() {
        [.., list, number, value] => {
            value == "Value"
                && number.parse::<usize>().is_ok()
                && ["Environment", "EnvironmentVariables", "EnvironmentVariablesOverride", "OptionSettings"]
                    .contains(&list.as_str())
        }
        _ => false,
    };
    if nameless && under == Under::Plain { Under::Secret } else { under }
}

fn below(under: Under, name: &str) -> Under {
    match under {
        Under::Whole => Under::Whole,
        // It names where the secret is.
        Under::Secret if name == "ValueFrom" => Under::Plain,
        Under::Secret => Under::Secret,
        // In base64 no name in it can be seen.
        Under::Plain if name.eq_ignore_ascii_case("UserData") => Under::Whole,
        Under::Plain if is_secret_name(name) => Under::Secret,
        Under::Plain => Under::Plain,
    }
}

/// Whether what has this name tends to be a secret: `MasterUserPassword`, `DB_TOKEN`, `x-api-key`.
fn is_secret_name(name: &str) -> bool {
    const WORDS: [&str; 21] = [
        "password",
        "passwords",
        "passwd",
        "passphrase",
        "pwd",
        "pass",
        "secret",
        "secrets",
        "token",
        "tokens",
        "credential",
        "credentials",
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
    // What is said of a secret, and of how somebody proves who he is, is not one.
    const SAID_OF: [&str; 26] = [
        "algorithm",
        "arn",
        "arns",
        "authority",
        "author",
        "count",
        "days",
        "enabled",
        "expiration",
        "hours",
        "length",
        "minutes",
        "mode",
        "name",
        "names",
        "policy",
        "required",
        "scopes",
        "seconds",
        "status",
        "ttl",
        "type",
        "types",
        "units",
        "validity",
        "version",
    ];
    let words = words(name);
    let Some(last) = words.last() else { return false };
    if SAID_OF.contains(&last.as_str()) {
        return false;
    }
    let whole = words.concat();
    words.iter().any(|word| {
        WORDS.contains(&word.as_str()) || (word.starts_with("auth") && !SAID_OF.contains(&word.as_str()))
    }) || words.windows(2).any(|pair| PAIRS.iter().any(|(a, b)| pair[0] == *a && pair[1] == *b))
        || ["password", "passwd", "secretkey", "apikey", "privatekey", "connectionstring"]
            .iter()
            .any(|word| whole.contains(word))
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

/// Text, which may be JSON.
fn text(value: &str, under: Under) -> String {
    if under == Under::Whole {
        return mask(value);
    }
    let looks = value.trim_start();
    if looks.starts_with(['{', '['])
        && !is_reference(value)
        && let Ok(mut json) = serde_json::from_str::<Value>(value)
    {
        let before = json.clone();
        walk(&mut json, under);
        // As it was written, unless something was masked in it.
        return if json == before { value.to_owned() } else { json.to_string() };
    }
    if under == Under::Secret && !is_reference(value) && !["true", "false", ""].contains(&value) {
        return MASK.to_owned();
    }
    forms(value)
}

fn mask(value: &str) -> String {
    if value.is_empty() || is_reference(value) { value.to_owned() } else { MASK.to_owned() }
}

fn walk(value: &mut Value, under: Under) {
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::Number(_) => {
            if under != Under::Plain {
                *value = MASK.into();
            }
        }
        Value::String(string) => *string = text(string, under),
        _ if under == Under::Whole => *value = MASK.into(),
        Value::Array(items) => {
            // `["--password", "x"]`
            let mut named = Under::Plain;
            for item in items {
                let flag = item.as_str().filter(|text| text.starts_with('-') && !text.contains('='));
                let next = if flag.is_some_and(is_secret_name) { Under::Secret } else { Under::Plain };
                walk(item, if named == Under::Secret && flag.is_none() { named } else { under });
                named = next;
            }
        }
        Value::Object(fields) => {
            // `{"Name": "DB_PASSWORD", "Value": "x"}`: the name is beside the value.
            let beside = ["Name", "name", "Key", "key", "ParameterKey", "OptionName", "HeaderName"]
                .iter()
                .find_map(|key| fields.get(*key).and_then(Value::as_str))
                .is_some_and(is_secret_name);
            let secure = fields.get("Type").and_then(Value::as_str) == Some("SecureString");
            let refers = fields.contains_key("ValueFrom");
            for (key, value) in fields.iter_mut() {
                let is_value =
                    ["Value", "value", "ParameterValue", "HeaderValue", "Values"].contains(&key.as_str());
                let inner = match below(under, key) {
                    Under::Plain if is_value && (beside || secure) => Under::Secret,
                    Under::Secret if refers && key == "Name" => Under::Plain,
                    other => other,
                };
                walk(value, inner);
            }
        }
    }
}

/// Whether it only says where a value is, or that it is not known yet.
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/dynamic-references.html>
fn is_reference(value: &str) -> bool {
    let dynamic = value.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")).is_some_and(|inner| {
        (inner.starts_with("resolve:") || inner.starts_with("changeSet:")) && !inner.contains(['{', '}'])
    });
    dynamic || (value.parse::<aws::Arn>().is_ok() && !value.contains(char::is_whitespace))
}

/// Secrets that are known by their form, wherever they stand.
fn forms(value: &str) -> String {
    let mut out = pem(value);
    out = userinfo(&out);
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
        let quoted = rest.get(space..).and_then(|value| value.chars().next()).filter(|c| "\"'".contains(*c));
        let begin = space + usize::from(quoted.is_some());
        let value = rest.get(begin..).unwrap_or_default();
        let end = match quoted {
            Some(quote) => value.find(quote),
            None => value.find(|c: char| c.is_whitespace() || ";,&\"'".contains(c)),
        };
        let (value, after) = value.split_at(end.unwrap_or(value.len()));
        // `{{resolve:secretsmanager:...}}`, `token://`, `$TOKEN`
        if value.is_empty() || value.starts_with(['{', '$', '/', ':']) || (sign == ":" && space == 0) {
            continue;
        }
        out.push_str(rest.get(..begin).unwrap_or_default());
        out.push_str(MASK);
        rest = after;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What is shown of a value.
    fn shown(path: &str, value: &str) -> String {
        redact_value(path, value).unwrap_or_else(|| value.to_owned())
    }

    #[test]
    fn a_value_goes_by_the_names_that_lead_to_it() {
        for (path, value) in [
            ("/Properties/MasterUserPassword", "hunter22"),
            ("MasterUserPassword", "hunter22"),
            ("/Properties/AuthToken", "0123456789abcdef"),
            ("/Properties/SecretString", "x"),
            ("/Properties/Environment/Variables/DB_PASSWORD", "x"),
            ("/Properties/Environment/Variables/STRIPE_API_KEY", "x"),
            ("/Properties/Environment/Variables/pgpassword", "x"),
            ("/Properties/ContainerDefinitions/0/Environment/3/Value", "x"),
            ("/Properties/OriginCustomHeaders/PrivateKey", "x"),
            ("/Properties/ConnectionString", "Server=db;Uid=sa"),
            ("/Properties/Credentials/Code", "x"),
            ("/Properties/UserData", "IyEvYmluL2Jhc2gK"),
            ("/Properties/LaunchTemplateData/UserData", "{\"Fn::Base64\":\"#!/bin/bash\"}"),
        ] {
            assert_eq!(shown(path, value), "***", "{path}");
        }
        for (path, value) in [
            ("/Properties/KeySchema/0/AttributeName", "id"),
            ("/Properties/KeyName", "prod"),
            ("/Properties/AuthorizationType", "NONE"),
            ("/Properties/ManageMasterUserPassword", "true"),
            ("/Properties/PasswordPolicy/MinimumLength", "8"),
            ("/Properties/SecretArn", "arn:aws:secretsmanager:us-east-1:111111111111:secret:db"),
            ("/Properties/MasterUserPassword", "{{resolve:secretsmanager:db:SecretString:password}}"),
            ("/Properties/MasterUserPassword", "{{changeSet:KNOWN_AFTER_APPLY}}"),
            ("/Properties/ContainerDefinitions/0/Secrets/0/ValueFrom", "/prod/db"),
            ("/Properties/KmsKeyId", "0d990263-1ca6-4b1b-b1c6-9b9ea4bb4b3f"),
            ("/Properties/CertificateAuthority", "x"),
            ("/Properties/Tags/0/Value", "boss"),
        ] {
            assert_eq!(shown(path, value), value, "{path}");
        }
    }

    #[test]
    fn the_structure_stays() {
        let before = r#"{"Type":"AWS::RDS::DBInstance","Properties":{"MasterUsername":"boss","MasterUserPassword":"hunter22","Port":5432}}"#;
        assert_eq!(
            shown("", before),
            r#"{"Type":"AWS::RDS::DBInstance","Properties":{"MasterUsername":"boss","MasterUserPassword":"***","Port":5432}}"#
        );
        assert_eq!(
            shown(
                "/Properties/ContainerDefinitions",
                r#"[{"Environment":[{"Name":"DB_PASSWORD","Value":"x"},{"Name":"DB_HOST","Value":"db"}],"Command":["--token","x","--port","1"],"Secrets":[{"Name":"K","ValueFrom":"/k"}]}]"#
            ),
            r#"[{"Environment":[{"Name":"DB_PASSWORD","Value":"***"},{"Name":"DB_HOST","Value":"db"}],"Command":["--token","***","--port","1"],"Secrets":[{"Name":"K","ValueFrom":"/k"}]}]"#
        );
        assert_eq!(
            shown("/Properties", r#"{"Name":"/prod/x","Type":"SecureString","Value":"x"}"#),
            r#"{"Name":"/prod/x","Type":"SecureString","Value":"***"}"#
        );
        assert_eq!(
            shown("/Properties/SecretString", r#"{"username":"a","password":"b","n":1,"on":true}"#),
            r#"{"username":"***","password":"***","n":"***","on":true}"#
        );
        // JSON in a string of JSON.
        assert_eq!(
            shown("", r#"{"Body":"{\"password\":\"x\",\"a\":1}"}"#),
            r#"{"Body":"{\"password\":\"***\",\"a\":1}"}"#
        );
        let plain = "{ \"ReadCapacityUnits\" : 1.50 }";
        assert_eq!(redact_value("/Properties/ProvisionedThroughput", plain), None);
    }

    #[test]
    fn a_secret_is_known_by_its_form() {
        let key = ["AKIA", "IOSFODNN7EXAMPLE"].concat();
        let secret = ["wJalrXUtnFEMI/K7MDENG/", "bPxRfiCYEXAMPLEKEY"].concat();
        for (value, expected) in [
            ("postgres://boss:hunter22@db:5432/boss?x=1", "postgres://boss:***@db:5432/boss?x=1"),
            ("redis://:hunter22@cache", "redis://:***@cache"),
            ("https://boss:a/b#c@db/x", "https://boss:***@db/x"),
            ("https://git@host/x and https://db:5432/a@b", "https://git@host/x and https://db:5432/a@b"),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
                "-----BEGIN RSA PRIVATE KEY-----***-----END RSA PRIVATE KEY-----",
            ),
            ("-----BEGIN PRIVATE KEY-----\nMIIE", "-----BEGIN PRIVATE KEY-----***"),
            ("run --password=hunter22 --port=1", "run --password=*** --port=1"),
            ("password: 'a b'; Uid=sa;Pwd=x;", "password: '***'; Uid=sa;Pwd=***;"),
            ("export TOKEN=$OTHER", "export TOKEN=$OTHER"),
            (
                "{{resolve:secretsmanager:db:SecretString:password}}",
                "{{resolve:secretsmanager:db:SecretString:password}}",
            ),
            ("3e1f0b7a9c8d5e4f3a2b1c0d9e8f7a6b5c4d3e2f", "3e1f0b7a9c8d5e4f3a2b1c0d9e8f7a6b5c4d3e2f"),
            (key.as_str(), "***"),
            (secret.as_str(), "***"),
            ("arn:aws:iam::111111111111:role/boss", "arn:aws:iam::111111111111:role/boss"),
        ] {
            assert_eq!(shown("/Properties/X", value), expected, "{value}");
        }
    }
}
