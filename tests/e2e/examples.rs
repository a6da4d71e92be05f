//! What the documentation shows to copy calls workflows and actions that are there, with inputs that they have.

use std::path::{Path, PathBuf};

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn yaml(text: &str) -> Value {
    let value: yaml_serde::Value =
        yaml_serde::from_str(text).unwrap_or_else(|error| panic!("{error}:\n{text}"));
    serde_json::to_value(value).unwrap()
}

/// Every page below a folder.
fn pages(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(pages(&path));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    found
}

/// The text between "```yaml" and "```", each.
fn blocks(page: &str) -> Vec<String> {
    let fenced = page.split("\n```").collect::<Vec<_>>();
    let yaml = fenced.iter().filter_map(|part| part.strip_prefix("yaml\n"));
    yaml.map(str::to_owned).collect()
}

/// What is wrong with one `uses` and its `with`.
fn judge(uses: &str, with: &Value) -> Result<(), String> {
    let (path, pin) = uses.split_once('@').ok_or("no ref")?;
    if pin != "COMMIT" && !(pin.len() == 40 && pin.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        return Err(format!("{uses} is not pinned"));
    }
    let path = path.strip_prefix("OWNER/cutover/").ok_or("another repository")?;
    let workflow = path.starts_with(".github/");
    let file = if workflow { root().join(path) } else { root().join(path).join("action.yml") };
    let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let callee = yaml(&text);
    let inputs = if workflow { &callee["on"]["workflow_call"]["inputs"] } else { &callee["inputs"] };
    let inputs = inputs.as_object().ok_or_else(|| format!("{path} can't be called"))?;
    let given: Vec<&String> = with.as_object().into_iter().flatten().map(|(name, _)| name).collect();
    if let Some(name) = given.iter().find(|name| !inputs.contains_key(**name)) {
        return Err(format!("{path} has no input {name}"));
    }
    let missing =
        inputs.iter().find(|(name, input)| input["required"] == Value::Bool(true) && !given.contains(name));
    missing.map_or(Ok(()), |(name, _)| Err(format!("{path} needs {name}")))
}

#[test]
fn the_examples_of_the_documentation_call_what_is_there() {
    let mut all = pages(&root().join("docs"));
    all.push(root().join("README.md"));
    let (mut calls, mut wrong) = (0, Vec::new());
    for page in all {
        let text = std::fs::read_to_string(&page).unwrap();
        for block in blocks(&text) {
            let example = yaml(&block);
            let jobs = example["jobs"].as_object().into_iter().flatten().map(|(_, job)| job.clone());
            let steps = example.as_array().cloned().unwrap_or_default();
            for one in jobs.chain(steps) {
                let inner = one["steps"].as_array().cloned().unwrap_or_default();
                for call in inner.iter().chain([&one]) {
                    let uses = call["uses"].as_str().unwrap_or_default();
                    if uses.contains("/cutover/") {
                        calls += 1;
                        wrong.extend(
                            judge(uses, &call["with"])
                                .err()
                                .map(|what| format!("{}: {what}", page.display())),
                        );
                    }
                }
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
    assert!(calls >= 5, "only {calls} examples were found");
}

#[test]
fn an_example_of_what_is_not_there_is_noticed() {
    let with = |text: &str| serde_json::from_str(text).unwrap();
    for (uses, given, says) in [
        ("OWNER/cutover/actions/mute-alarts@COMMIT", "{}", "mute-alarts"),
        ("OWNER/cutover/actions/run-migration@v1", "{}", "not pinned"),
        ("OWNER/cutover/actions/tag-release@COMMIT", r#"{"tags": "v1"}"#, "no input tags"),
        ("OWNER/cutover/.github/workflows/review-stacks.yml@COMMIT", r#"{"role": "x"}"#, "needs"),
    ] {
        let what = judge(uses, &with(given)).unwrap_err();
        assert!(what.contains(says), "{uses}: {what}");
    }
}
