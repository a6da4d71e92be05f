//! The production workflow can be rehearsed, and what somebody breaks in it is noticed by name before anything runs.

use std::path::Path;

use rehearsal::workflow::{Workflow, policy};

const FILE: &str = ".github/workflows/release-rally.yml";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What loading and the policy say of the workflow after a change to its text.
fn findings(change: impl Fn(&str) -> String) -> String {
    let text = std::fs::read_to_string(root().join(FILE)).unwrap();
    let changed = change(&text);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("release-rally.yml");
    std::fs::write(&path, changed).unwrap();
    let found = match Workflow::load(&path, root(), root()) {
        Ok(workflow) => policy::check(&workflow),
        Err(findings) => findings,
    };
    found.iter().map(|finding| format!("{finding}\n")).collect()
}

/// The text with one occurrence replaced, which has to be there.
fn replace(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "the workflow has no `{from}`");
    text.replacen(from, to, 1)
}

#[test]
fn the_workflow_is_within_what_can_be_rehearsed_and_within_the_policy() {
    assert_eq!(findings(str::to_owned), "");
}

#[test]
fn each_alteration_is_noticed_by_name() {
    let cases: [(&str, &str, &[&str]); 9] = [
        // A dropped `needs`: the outputs of that job are not there.
        (
            "needs: [register, data]\n",
            "needs: data\n",
            &["needs.register.outputs.task-definition-arn", "`register`"],
        ),
        // A renamed output, of a job and of a step.
        (
            "task-definition-arn: ${{ steps.register.outputs.task-definition-arn }}",
            "arn: ${{ steps.register.outputs.task-definition-arn }}",
            &["task-definition-arn"],
        ),
        ("steps.backup.outputs.manifest-uri", "steps.backup.outputs.manifest", &["manifest"]),
        // The gate removed: what it let through is no longer behind one.
        ("    environment: ${{ inputs.environment }}\n", "", &["environment"]),
        // A key that GitHub does not know.
        ("    timeout-minutes: 15\n", "    timeout-minuts: 15\n", &["timeout-minuts"]),
        // An input that the action does not declare.
        ("          from-service:", "          service-from:", &["service-from"]),
        // An input that the workflow does not declare.
        ("${{ inputs.url }}/version", "${{ inputs.uri }}/version", &["uri"]),
        // An action by tag.
        (
            "actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683",
            "actions/checkout@v4",
            &["actions/checkout@v4"],
        ),
        // An expression in a script.
        ("run: echo \"$TAG", "run: echo \"${{ inputs.tag }}", &["run"]),
    ];
    for (from, to, named) in cases {
        let found = findings(|text| replace(text, from, to));
        for name in named {
            assert!(found.contains(name), "`{from}` -> `{to}`: `{name}` is not in: {found}");
        }
    }
}
