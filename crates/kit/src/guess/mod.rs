//! What may be a secret in values that are shown: by the name that leads to it, and by its form.
//!
//! Structure stays, so that it is seen what changes. This guesses, and a mask too many costs little; values that are
//! known to be secret are [`crate::Secret`]'s.

mod form;
mod name;

use serde_json::Value;

use form::forms;
use name::{is_secret_flag, is_secret_name};

/// What stands in the place of a secret.
const MASK: &str = "***";

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
        Under::Secret if name.eq_ignore_ascii_case("ValueFrom") => Under::Plain,
        Under::Secret => Under::Secret,
        // In base64 no name in it can be seen.
        Under::Plain if name.eq_ignore_ascii_case("UserData") => Under::Whole,
        Under::Plain if is_secret_name(name) => Under::Secret,
        Under::Plain => Under::Plain,
    }
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
    if under == Under::Secret
        && !is_reference(value)
        && !["true", "false", ""].iter().any(|plain| value.eq_ignore_ascii_case(plain))
    {
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
                let word = item.as_str().unwrap_or_default();
                let next = if is_secret_flag(word) { Under::Secret } else { Under::Plain };
                let is_flag = word.starts_with('-') && !word.contains('=');
                if let Some((flag, value)) = word.split_once('=').filter(|(flag, _)| is_secret_flag(flag)) {
                    // All of it, whatever would end it in running text.
                    *item = format!("{flag}={}", mask(value)).into();
                } else {
                    walk(item, if named == Under::Secret && !is_flag { named } else { under });
                }
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
            let refers = ["ValueFrom", "valueFrom"].iter().any(|key| fields.contains_key(*key));
            for (key, value) in fields.iter_mut() {
                let is_value =
                    ["Value", "value", "ParameterValue", "HeaderValue", "Values"].contains(&key.as_str());
                let inner = match below(under, key) {
                    Under::Plain if is_value && (beside || secure) => Under::Secret,
                    Under::Secret if refers && key.eq_ignore_ascii_case("name") => Under::Plain,
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
    let parts: Vec<&str> = value.splitn(6, ':').collect();
    // arn:partition:service:region:account:resource
    let arn = matches!(parts.as_slice(), ["arn", partition, service, _, _, resource]
        if ![partition, service, resource].iter().any(|part| part.is_empty()));
    dynamic || (arn && !value.contains(char::is_whitespace))
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
            ("REDIS_AUTH", "hunter22"),
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
            shown(
                "Command",
                r#"["run","--password=a,b","--password","c","--no-password","d","PGPASSWORD=e psql"]"#
            ),
            r#"["run","--password=***","--password","***","--no-password","d","PGPASSWORD=*** psql"]"#
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
            ("exec run --password  hunter22 --port 1", "exec run --password  *** --port 1"),
            ("run --password 'a b' --no-password c", "run --password '***' --no-password c"),
            ("run --token \"$TOKEN\" --password --port 1", "run --token \"$TOKEN\" --password --port 1"),
            (
                "curl -H 'Authorization: Bearer hunter22' https://h",
                "curl -H 'Authorization: Bearer ***' https://h",
            ),
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
