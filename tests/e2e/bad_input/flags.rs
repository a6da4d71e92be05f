//! Every flag of every step, as the product itself tells them: a new step or flag is tested without being named here.

use std::collections::BTreeSet;

use crate::world::run_bare;

/// A step with what its command line takes and what it puts out.
pub(super) struct Step {
    pub(super) name: String,
    pub(super) flags: Vec<Flag>,
    pub(super) outputs: BTreeSet<String>,
}

/// A flag by its long name.
#[derive(Clone)]
pub(super) struct Flag {
    pub(super) name: String,
    /// What its help calls the value, as in `CONTAINER=IMAGE`; absent where it is a boolean.
    pub(super) value: Option<String>,
}

impl Flag {
    /// A value of the form that the help shows, with `text` in the place of its last part; none where it has no parts.
    pub(super) fn shaped(&self, text: &str) -> Option<String> {
        let shape = without_options(self.value.as_deref()?);
        let shape = shape.split('|').next().unwrap_or_default();
        let last = shape.rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == ' '))?;
        Some(format!(
            "{}{text}",
            shape.get(..=last)?.replace("POINTER", "/pointer").replace("HOST", "127.0.0.1")
        ))
    }
}

/// `NAME` of `[LABEL:]NAME[=TEMPLATE[,PARAMETERS]]`.
fn without_options(shape: &str) -> String {
    let mut depth = 0;
    let mut out = String::new();
    for c in shape.chars() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            c if depth == 0 => out.push(c),
            _ => {}
        }
    }
    out
}

/// `      --flag <VALUE>` and `      --flag[=<BOOL>]`, as clap writes them; the text of a help is never so deep in.
fn flag(line: &str) -> Option<Flag> {
    let rest = line.strip_prefix("      --").or_else(|| line.strip_prefix("  -h, --"))?;
    let (name, value) = rest.split_once([' ', '[']).unwrap_or((rest, ""));
    let value = value.strip_prefix("=<BOOL>]").map_or_else(|| value.strip_prefix('<'), |_| None);
    let value = match value {
        Some(value) => Some(value.strip_suffix('>')?.to_owned()),
        None if rest == name || rest.ends_with("[=<BOOL>]") => None,
        None => return None,
    };
    Some(Flag { name: name.to_owned(), value })
}

/// Every step, from `--list`, `--help` and the generated action.
pub(super) async fn steps() -> Vec<Step> {
    let ask = async |words: &[&str]| {
        run_bare(&words.iter().map(ToString::to_string).collect::<Vec<_>>()).await.expect(0).stdout
    };
    let mut steps = Vec::new();
    for name in ask(&["--list"]).await.lines() {
        let help = ask(&[name, "--help"]).await;
        let action: yaml_serde::Value = yaml_serde::from_str(&ask(&["--action", name]).await).unwrap();
        let keys = |part: &str| -> BTreeSet<String> {
            action[part].as_mapping().unwrap().keys().map(|key| key.as_str().unwrap().to_owned()).collect()
        };
        let inputs = keys("inputs");
        let mut flags: Vec<Flag> =
            help.lines().filter_map(flag).filter(|it| inputs.contains(&it.name)).collect();
        flags.dedup_by(|one, other| one.name == other.name);
        let named: BTreeSet<String> = flags.iter().map(|flag| flag.name.clone()).collect();
        assert_eq!(
            named, inputs,
            "the help of {name} and its action differ, or its help is not read right here"
        );
        steps.push(Step { name: name.to_owned(), flags, outputs: keys("outputs") });
    }
    steps
}

#[test]
fn the_form_of_a_value_is_read_from_the_help() {
    let shaped = |line: &str| flag(line).and_then(|flag| flag.shaped("X"));
    assert_eq!(shaped("      --image <CONTAINER=IMAGE>").as_deref(), Some("CONTAINER=X"));
    assert_eq!(shaped("      --stack <[LABEL:]NAME[=TEMPLATE[,PARAMETERS]]>"), None);
    assert_eq!(shaped("      --swap <UPSTREAM=OLD..NEW>").as_deref(), Some("UPSTREAM=OLD..X"));
    assert_eq!(shaped("      --dry-run[=<BOOL>]"), None);
    assert!(flag("      --dry-run[=<BOOL>]").is_some_and(|flag| flag.value.is_none()));
    assert!(flag("      --stack core:Core=core.template \\").is_none());
}
