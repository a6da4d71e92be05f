//! Edits of a document, container by container: how they are written, and what they do.

use std::collections::BTreeSet;

use clap::Args;
use kit::{Failure, Note};
use serde_json::{Map, Value, json};

use crate::difference::speaks_of_secret;
use crate::document::containers;
use crate::image::{ContainerImage, ExpectedDigest, parse_container_image, parse_expected_digest};

/// The flags that change the document.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Edits")]
pub(crate) struct Edits {
    /// The image for one container, by the container's exact name; may be repeated
    #[arg(long, value_name = "CONTAINER=IMAGE", value_parser = parse_container_image)]
    pub(crate) image: Vec<ContainerImage>,

    /// Refuse when a container's image has another digest than the one that was tested; may be repeated
    #[arg(long, value_name = "CONTAINER=DIGEST", value_parser = parse_expected_digest)]
    pub(crate) expect_digest: Vec<ExpectedDigest>,

    /// Set an environment variable of one container; may be repeated
    #[arg(long, value_name = "CONTAINER:NAME=VALUE", value_parser = parse_named)]
    pub(crate) env: Vec<Named>,

    /// Remove an environment variable of one container; may be repeated
    #[arg(long, value_name = "CONTAINER:NAME", value_parser = parse_key)]
    pub(crate) unset_env: Vec<Key>,

    /// Take an environment variable from a Secrets Manager secret or an SSM parameter (ARN, or the parameter's name);
    /// may be repeated
    #[arg(long, value_name = "CONTAINER:NAME=ARN", value_parser = parse_named)]
    pub(crate) secret: Vec<Named>,

    /// Remove a secret of one container by the variable's name; may be repeated
    #[arg(long, value_name = "CONTAINER:NAME", value_parser = parse_key)]
    pub(crate) unset_secret: Vec<Key>,

    /// Set a container's command, as a JSON array of strings; may be repeated
    #[arg(long, value_name = "CONTAINER=JSON", value_parser = parse_command)]
    pub(crate) command: Vec<CommandEdit>,

    /// Set the task's CPU (512, "1 vCPU"), or a container's CPU units; may be repeated
    #[arg(long, value_name = "[CONTAINER=]CPU", value_parser = parse_size)]
    pub(crate) cpu: Vec<Size>,

    /// Set the task's memory (1024, "2 GB"), or a container's hard limit in MiB; may be repeated
    #[arg(long, value_name = "[CONTAINER=]MEMORY", value_parser = parse_size)]
    pub(crate) memory: Vec<Size>,

    /// Set a Docker label of one container; may be repeated
    #[arg(long, value_name = "CONTAINER:KEY=VALUE", value_parser = parse_named)]
    pub(crate) label: Vec<Named>,

    /// Remove a Docker label of one container; may be repeated
    #[arg(long, value_name = "CONTAINER:KEY", value_parser = parse_key)]
    pub(crate) unset_label: Vec<Key>,
}

/// `CONTAINER:NAME=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) container: String,
    pub(crate) name: String,
    pub(crate) value: String,
}

/// `CONTAINER:NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) container: String,
    pub(crate) name: String,
}

/// `CONTAINER=["word", ...]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommandEdit {
    container: String,
    words: Vec<String>,
}

/// `CPU` or `MEMORY` of the task, or `CONTAINER=` one of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    container: Option<String>,
    value: String,
}

// A container's name has letters, digits, hyphens and underscores alone, so the first colon ends it.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html
fn parse_key(text: &str) -> Result<Key, String> {
    match text.split_once(':') {
        Some((container, name)) if !container.is_empty() && !name.is_empty() => {
            Ok(Key { container: container.to_owned(), name: name.to_owned() })
        }
        _ => Err("write it as CONTAINER:NAME".to_owned()),
    }
}

fn parse_named(text: &str) -> Result<Named, String> {
    let shape = || "write it as CONTAINER:NAME=VALUE".to_owned();
    // The value may hold any further colon and equals sign.
    let (key, value) = text.split_once('=').ok_or_else(shape)?;
    let Key { container, name } = parse_key(key).map_err(|_| shape())?;
    if text.contains('\0') {
        return Err("it has a NUL character".to_owned());
    }
    Ok(Named { container, name, value: value.to_owned() })
}

fn parse_command(text: &str) -> Result<CommandEdit, String> {
    let shape = r#"write it as CONTAINER=["word","word"]"#;
    let (container, json) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or(shape)?;
    let words = serde_json::from_str(json).map_err(|error| format!("{shape}: {error}"))?;
    Ok(CommandEdit { container: container.to_owned(), words })
}

fn parse_size(text: &str) -> Result<Size, String> {
    let (container, value) = match text.split_once('=') {
        Some((container, value)) => (Some(container), value.trim()),
        None => (None, text.trim()),
    };
    if container == Some("") {
        return Err("the container's name is missing before the =".to_owned());
    }
    let usable = match container {
        Some(_) => value.parse::<u32>().is_ok(),
        None => value.starts_with(|c: char| c.is_ascii_digit() || c == '.'),
    };
    if !usable {
        return Err(format!(
            "`{value}` is no size: for a container write a whole number, for the task also \"1 vCPU\" or \"2 GB\""
        ));
    }
    Ok(Size { container: container.map(str::to_owned), value: value.to_owned() })
}

impl Edits {
    /// Whether nothing is asked for.
    pub(crate) fn is_empty(&self) -> bool {
        let Self {
            image,
            expect_digest: _,
            env,
            unset_env,
            secret,
            unset_secret,
            command,
            cpu,
            memory,
            label,
            unset_label,
        } = self;
        image.is_empty()
            && [env, secret, label].iter().all(|list| list.is_empty())
            && [unset_env, unset_secret, unset_label].iter().all(|list| list.is_empty())
            && command.is_empty()
            && cpu.is_empty()
            && memory.is_empty()
    }

    /// Refuses edits that contradict each other, and values that must not be written into a definition: both without a
    /// look at the world.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        unique("--image", self.image.iter().map(|edit| edit.container.clone()))?;
        unique("--expect-digest", self.expect_digest.iter().map(|edit| edit.container.clone()))?;
        unique("--command", self.command.iter().map(|edit| edit.container.clone()))?;
        for (flag, sizes) in [("--cpu", &self.cpu), ("--memory", &self.memory)] {
            let of = |size: &Size| size.container.clone().unwrap_or_else(|| "the task".to_owned());
            unique(flag, sizes.iter().map(of))?;
        }
        for (kind, set, unset) in [
            ("env", &self.env, &self.unset_env),
            ("secret", &self.secret, &self.unset_secret),
            ("label", &self.label, &self.unset_label),
        ] {
            let all = set.iter().map(|edit| (&edit.container, &edit.name));
            let all = all.chain(unset.iter().map(|edit| (&edit.container, &edit.name)));
            unique(
                &format!("--{kind} or --unset-{kind}"),
                all.map(|(container, name)| format!("{container}:{name}")),
            )?;
        }
        for Named { container, name, value } in &self.env {
            if self.secret.iter().any(|edit| edit.container == *container && edit.name == *name) {
                return Err(Failure::usage(format!("set {name} of container {container}"))
                    .because("--env and --secret both set it"));
            }
            if speaks_of_secret(name, value) {
                return Err(Failure::refused(format!("set {name} of container {container} in plain text"))
                    .because("by its name or form it is a secret: everybody who may describe the task definition would read it, and so would readers of this job's log")
                    .help(format!("put it into Secrets Manager or SSM and use --secret {container}:{name}=ARN")));
            }
        }
        Ok(())
    }

    /// Makes all edits but those of images; the notes tell what was so already. `of` names the document in errors.
    pub(crate) fn apply(&self, document: &mut Value, of: &str) -> Result<Vec<Note>, Failure> {
        let mut notes = Vec::new();
        for (kind, keys) in [("environment", &self.unset_env), ("secrets", &self.unset_secret)] {
            for Key { container, name } in keys {
                let fields = container_mut(document, container, of)?;
                let list = fields.get_mut(kind).and_then(Value::as_array_mut);
                let before = list.as_ref().map_or(0, |list| list.len());
                let after = list.map_or(0, |list| {
                    list.retain(|item| item["name"] != name.as_str());
                    list.len()
                });
                if before == after {
                    notes.push(Note::Info(format!("{container} has no {name} in {kind}: nothing to remove")));
                }
            }
        }
        for Key { container, name } in &self.unset_label {
            let labels = container_mut(document, container, of)?.get_mut("dockerLabels");
            if labels.and_then(Value::as_object_mut).and_then(|map| map.shift_remove(name)).is_none() {
                notes.push(Note::Info(format!("{container} has no label {name}: nothing to remove")));
            }
        }
        for (kind, key, edits) in
            [("environment", "value", &self.env), ("secrets", "valueFrom", &self.secret)]
        {
            for edit in edits {
                set_variable(container_mut(document, &edit.container, of)?, kind, key, edit)?;
            }
        }
        for Named { container, name, value } in &self.label {
            let labels = container_mut(document, container, of)?.entry("dockerLabels");
            if let Some(labels) = labels.or_insert_with(|| json!({})).as_object_mut() {
                labels.insert(name.clone(), json!(value));
            }
        }
        for CommandEdit { container, words } in &self.command {
            container_mut(document, container, of)?.insert("command".to_owned(), json!(words));
        }
        for (field, sizes) in [("cpu", &self.cpu), ("memory", &self.memory)] {
            for Size { container, value } in sizes {
                match container {
                    None => document[field] = json!(value),
                    Some(container) => {
                        let number = value.parse::<u32>().unwrap_or_default();
                        container_mut(document, container, of)?.insert(field.to_owned(), json!(number));
                    }
                }
            }
        }
        for container in self.image.iter().map(|edit| &edit.container) {
            container_mut(document, container, of)?;
        }
        for container in self.expect_digest.iter().map(|edit| &edit.container) {
            container_mut(document, container, of)?;
        }
        Ok(notes)
    }
}

fn unique(flag: &str, keys: impl Iterator<Item = String>) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    for key in keys {
        if !seen.insert(key.clone()) {
            return Err(Failure::usage(format!("change {key} twice"))
                .because(format!("{flag} names it more than once"))
                .help("say it once"));
        }
    }
    Ok(())
}

/// A variable is either in `environment` or in `secrets`: ECS refuses a definition that has it in both.
fn set_variable(fields: &mut Map<String, Value>, kind: &str, key: &str, edit: &Named) -> Result<(), Failure> {
    let Named { container, name, value } = edit;
    let (other, unset) = if kind == "environment" { ("secrets", "secret") } else { ("environment", "env") };
    let list = |kind: &str| fields.get(kind).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if list(other).iter().any(|item| item["name"] == name.as_str()) {
        return Err(Failure::refused(format!("set {name} in {kind} of container {container}"))
            .because(format!("the container has {name} in {other}, and a variable can't be in both"))
            .help(format!("add --unset-{unset} {container}:{name} if it is to move")));
    }
    let list = fields.entry(kind).or_insert_with(|| json!([]));
    if list.is_null() {
        *list = json!([]);
    }
    let Some(list) = list.as_array_mut() else { return Ok(()) };
    match list.iter_mut().find(|item| item["name"] == name.as_str()) {
        Some(item) => item[key] = json!(value),
        None => list.push(json!({"name": name, key: value})),
    }
    Ok(())
}

/// The container of exactly that name.
fn container_mut<'a>(
    document: &'a mut Value,
    name: &str,
    of: &str,
) -> Result<&'a mut Map<String, Value>, Failure> {
    let names = containers(document).join(", ");
    let count = containers(document).iter().filter(|seen| **seen == name).count();
    let refused = || Failure::refused(format!("change container {name}"));
    if count > 1 {
        return Err(refused().because(format!("{of} has {count} containers of that name")));
    }
    let list = document["containerDefinitions"].as_array_mut().into_iter().flatten();
    list.filter(|item| item["name"] == name).find_map(Value::as_object_mut).ok_or_else(|| {
        refused().because(format!("{of} has the containers {names}")).help("name one of them, exactly")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::Code;

    fn document() -> Value {
        json!({"family": "web", "cpu": "256", "memory": "512", "containerDefinitions": [
            {"name": "app", "image": "x", "environment": [{"name": "A", "value": "1"}, {"name": "B", "value": ""}],
             "secrets": [{"name": "DB", "valueFrom": "/db"}], "dockerLabels": {"a": "1", "b": "2"}},
            {"name": "proxy", "image": "y"},
        ]})
    }

    fn named(text: &str) -> Vec<Named> {
        vec![parse_named(text).unwrap()]
    }

    #[test]
    fn values_keep_every_colon_equals_sign_and_line() {
        let named = parse_named("app:URL=http://h:80/?a=b=c\nsecond line ").unwrap();
        assert_eq!(named.name, "URL");
        assert_eq!(named.value, "http://h:80/?a=b=c\nsecond line ");
        assert_eq!(parse_named("app:EMPTY=").unwrap().value, "");
        for bad in ["app", "app:A", "A=1", ":A=1", "app:=1", "app=A:B", "app:A=\0"] {
            assert!(parse_named(bad).is_err(), "{bad}");
        }
        let words = parse_command(r#"app=["sh","-c","a = b"]"#).unwrap().words;
        assert_eq!(words, ["sh", "-c", "a = b"]);
        for bad in ["app=sh -c x", "app=[1]", r#"=["x"]"#, "app"] {
            assert!(parse_command(bad).is_err(), "{bad}");
        }
        for bad in ["app=1 vCPU", "much", "=5", "app=-1"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn each_edit_changes_what_it_names_and_nothing_else() {
        let edits = Edits {
            env: [named("app:A=2=3"), named("app:NEW=n")].concat(),
            unset_env: vec![parse_key("app:B").unwrap()],
            secret: named("proxy:TOKEN=arn:aws:ssm:us-east-1:123456789012:parameter/t"),
            unset_secret: vec![parse_key("app:DB").unwrap()],
            command: vec![parse_command(r#"app=["run"]"#).unwrap()],
            cpu: vec![parse_size("1 vCPU").unwrap(), parse_size("app=128").unwrap()],
            memory: vec![parse_size("2048").unwrap()],
            label: named("app:b=3"),
            unset_label: vec![parse_key("app:a").unwrap()],
            ..Edits::default()
        };
        edits.check().unwrap();
        let mut edited = document();
        assert!(edits.apply(&mut edited, "web:1").unwrap().is_empty());
        assert_eq!(
            edited,
            json!({"family": "web", "cpu": "1 vCPU", "memory": "2048", "containerDefinitions": [
                {"name": "app", "image": "x", "environment": [{"name": "A", "value": "2=3"}, {"name": "NEW", "value": "n"}],
                 "secrets": [], "dockerLabels": {"b": "3"}, "command": ["run"], "cpu": 128},
                {"name": "proxy", "image": "y",
                 "secrets": [{"name": "TOKEN", "valueFrom": "arn:aws:ssm:us-east-1:123456789012:parameter/t"}]},
            ]})
        );
    }

    #[test]
    fn a_variable_moves_between_environment_and_secrets_only_on_purpose() {
        let edits = Edits { env: named("app:DB=here"), ..Edits::default() };
        let refused = edits.apply(&mut document(), "web:1").unwrap_err();
        assert_eq!(refused.code(), Code::Refused);
        assert!(format!("{refused:?}").contains("--unset-secret app:DB"), "{refused:?}");
        let moved = Edits { unset_secret: vec![parse_key("app:DB").unwrap()], ..edits };
        assert!(moved.apply(&mut document(), "web:1").is_ok());
        let reverse = Edits { secret: named("app:A=/a"), ..Edits::default() };
        assert!(
            format!("{:?}", reverse.apply(&mut document(), "web:1").unwrap_err())
                .contains("--unset-env app:A")
        );
    }

    #[test]
    fn removing_what_is_not_there_is_said_and_is_no_error() {
        let edits = Edits { unset_env: vec![parse_key("proxy:A").unwrap()], ..Edits::default() };
        let mut same = document();
        assert_eq!(edits.apply(&mut same, "web:1").unwrap().len(), 1);
        assert_eq!(same, document());
    }

    #[test]
    fn contradictions_and_plain_secrets_are_refused() {
        let code = |edits: Edits| edits.check().unwrap_err().code();
        let twice = Edits { env: [named("app:A=1"), named("app:A=2")].concat(), ..Edits::default() };
        assert_eq!(code(twice), Code::Usage);
        let both =
            Edits { env: named("app:A=1"), unset_env: vec![parse_key("app:A").unwrap()], ..Edits::default() };
        assert_eq!(code(both), Code::Usage);
        for plain in [
            "app:DB_PASSWORD=correct horse",
            "app:URL=postgres://u:pw@h/db",
            "app:API_KEY=abcdef",
            "app:DB_PASS=hunter2",
        ] {
            assert_eq!(code(Edits { env: named(plain), ..Edits::default() }), Code::Refused, "{plain}");
        }
        for fine in [
            "app:USE_TOKEN=false",
            "app:CACHE_KEY_PREFIX=web",
            "app:PWD=/srv",
            "app:DB_PASSWORD=",
            "app:URL=http://h/x",
        ] {
            assert!(Edits { env: named(fine), ..Edits::default() }.check().is_ok(), "{fine}");
        }
    }

    #[test]
    fn an_unknown_container_lists_those_that_are_there() {
        let edits = Edits { env: named("web:A=1"), ..Edits::default() };
        let refused = edits.apply(&mut document(), "web:1").unwrap_err();
        assert_eq!(refused.chain(), ["web:1 has the containers app, proxy"]);
    }
}
