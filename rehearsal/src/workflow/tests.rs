//! Expressions by table, and against GitHub's own evaluator.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::expr::{self, Status};

fn contexts() -> Value {
    json!({
        "inputs": { "tag": "v1.4.0", "dry-run": false, "count": 3, "odd": "it's", "none": null },
        "needs": { "plan": { "result": "success", "outputs": { "json": "{\"a\":[1,2]}", "tag": "v2" } },
                   "gate": { "result": "failure", "outputs": {} } },
        "env": { "Name": "exact" },
    })
}

const SAME: &[&str] = &[
    "1 == 1.0",
    "0xff",
    "'a' == 'A'",
    "null == ''",
    "null == 0",
    "false == 0",
    "'' == 0",
    "'1' == 1",
    "'abc' < 'abd'",
    "1 < '2'",
    "'x' > 1",
    "!''",
    "!'false'",
    "'a' && 'b'",
    "'' || 'b'",
    "false && fromJSON('[')",
    "true || fromJSON('[')",
    "inputs.tag",
    "inputs.TAG",
    "inputs['tag']",
    "inputs.missing",
    "inputs.dry-run",
    "!inputs.dry-run",
    "inputs.odd",
    "inputs.count > 2",
    "inputs.none == null",
    "inputs.odd == 'IT''S'",
    "inputs.dry-run == 'false'",
    "needs.plan.outputs.tag",
    "needs.gate.outputs.tag",
    "needs.gate.outputs.tag || 'none'",
    "contains(needs.*.result, 'failure')",
    "contains(needs.*.result, 'skipped')",
    "join(needs.*.result, '+')",
    "contains('Hello', 'hELL')",
    "contains(fromJSON('[\"a\",\"b\"]'), 'b')",
    "startsWith(inputs.tag, 'V1.')",
    "endsWith(inputs.tag, '.1')",
    "format('{0}-{{1}}-{1}', inputs.tag, 7)",
    "join(fromJSON('[1,2]'), ',')",
    "fromJSON('3') + ''",
    "fromJSON('[')",
    "fromJSON(needs.plan.outputs.json)",
    "1 ==",
    "'open",
    "nosuch(1)",
    "(inputs.dry-run || inputs.tag) && 'yes' || 'no'",
    "1e3",
    "-5",
    "+5",
    ".5",
    "1_000",
    "'NaN' == 'NaN'",
    "0x80000000 == '0x80000000'",
    "toJSON('a\"b')",
    "toJSON(null)",
    "case(true, 'a', 'b')",
    "case(inputs.dry-run, 1, 2)",
    "inputs.count == '3'",
    "inputs.count == ' 3 '",
    "2 >= 2",
    "'b' >= 'A'",
    "true > false",
    "fromJSON('1.50')",
    "fromJSON('100000000000')",
    "'ı' == 'I'",
];

/// Text and truth of each expression, or nothing where it is an error.
fn ours(source: &str) -> Option<(String, bool)> {
    let value = expr::evaluate(source, &contexts(), Status::default()).ok()?;
    Some((value.sema().to_string(), value.as_boolean()))
}

#[test]
fn expressions_have_the_documented_values() {
    for (source, text) in [
        ("null == ''", "true"),
        ("'a' == 'A'", "true"),
        ("inputs.missing", ""),
        ("inputs.odd", "it's"),
        ("contains(needs.*.result, 'failure')", "true"),
        ("env.Name", "exact"),
        ("env.NAME", ""),
        ("true || fromJSON('[')", "true"),
        ("format('{0} {1}', inputs.tag, inputs.count)", "v1.4.0 3"),
    ] {
        assert_eq!(ours(source).map(|(text, _)| text).as_deref(), Some(text), "{source}");
    }
    for (text, rendered) in
        [("a ${{ inputs.tag }}-${{ 1 }} b", "a v1.4.0-1 b"), ("${{ '}}' }}", "}}"), ("${", "${")]
    {
        assert_eq!(expr::render(text, &contexts()).as_deref(), Ok(rendered));
    }
    assert!(expr::render("${{ inputs.tag", &contexts()).is_err());
}

/// <https://docs.github.com/en/actions/reference/workflows-and-actions/expressions#status-check-functions>
#[test]
fn a_condition_has_an_implicit_success() {
    let failed = Status { failure: true, ..Status::default() };
    let fine = Status { success: true, ..Status::default() };
    for (condition, after_success, after_failure) in [
        ("", true, false),
        ("inputs.tag == 'v1.4.0'", true, false),
        ("${{ inputs.count == 3 }}", true, false),
        ("always()", true, true),
        ("always() && inputs.dry-run", false, false),
        ("failure()", false, true),
        ("!cancelled()", true, true),
        ("cancelled()", false, false),
        ("success() || failure()", true, true),
    ] {
        assert_eq!(expr::condition(condition, &contexts(), fine), Ok(after_success), "{condition}");
        assert_eq!(expr::condition(condition, &contexts(), failed), Ok(after_failure), "{condition}");
    }
}

/// Runs in the folder of the installed package; reads `{contexts, sources}`, writes `[text, truth]` or null for each.
const THEIRS: &str = r"
import {readFileSync} from 'node:fs';
import {Lexer, Parser, Evaluator, data} from '@actions/expressions';
const {contexts, sources} = JSON.parse(readFileSync(0, 'utf8'));
const dictionary = JSON.parse(JSON.stringify(contexts), data.reviver);
const truth = (v) => v.kind === data.Kind.Null ? false : v.kind === data.Kind.Boolean ? v.value
  : v.kind === data.Kind.Number ? v.value !== 0 && !Number.isNaN(v.value) : v.kind === data.Kind.String ? v.value !== '' : true;
console.log(JSON.stringify(sources.map((source) => {
  try {
    const tree = new Parser(new Lexer(source).lex().tokens, Object.keys(contexts), []).parse();
    const value = new Evaluator(tree, dictionary).evaluate();
    return [value.coerceString(), truth(value)];
  } catch { return null; }
})));
";

#[test]
fn expressions_agree_with_githubs_own_evaluator() {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    let folder = cache.unwrap_or_default().join("cutover/expressions");
    let node = Command::new("node").arg("--version").output().is_ok_and(|done| done.status.success());
    if !node || !folder.join("node_modules/@actions/expressions").exists() {
        // Straight to the stream: the test harness hides what a passing test prints.
        let why = if node { "run rehearsal/setup-expressions.sh" } else { "there is no node" };
        writeln!(std::io::stderr(), "SKIPPED: the comparison with @actions/expressions: {why}").unwrap();
        return;
    }
    let mut node = Command::new("node")
        .args(["--input-type=module", "-e", THEIRS])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let question = json!({ "contexts": contexts(), "sources": SAME });
    node.stdin.take().unwrap().write_all(question.to_string().as_bytes()).unwrap();
    let answer = node.wait_with_output().unwrap();
    let theirs: Vec<Option<(String, bool)>> = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!(theirs.len(), SAME.len());
    let differences = SAME.iter().zip(theirs).filter(|(source, theirs)| ours(source) != *theirs);
    let differences =
        differences.map(|(source, theirs)| format!("{source}: {:?}, GitHub {theirs:?}", ours(source)));
    assert_eq!(differences.collect::<Vec<_>>(), Vec::<String>::new());
}
