//! The driver as a person meets it: a repository, a workflow, executables, and what appears on the terminal.

#![expect(clippy::unwrap_used, reason = "the helpers below are test code outside of test functions")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rehearsal::workflow::{Workflow, policy};
use tempfile::TempDir;

const RELEASE: &str = include_str!("driver/release.yml");
const ACTION: &str = include_str!("driver/action.yml");
const STEPS: [&str; 3] = ["register-task-def", "deploy-service", "wait-healthy"];

/// A repository with a workflow and its actions, and a folder with their executables.
struct Stage {
    root: TempDir,
}

impl Stage {
    fn new(workflow: &str) -> Self {
        let stage = Self { root: tempfile::tempdir().unwrap() };
        stage.file("repo/release.yml", workflow);
        for step in STEPS {
            stage.file(&format!("repo/actions/{step}/action.yml"), &ACTION.replace("STEP", step));
            stage.executable(step, "exit 0");
        }
        stage.executable(
            "register-task-def",
            r#"echo "arguments: $*"
               tr '\0' '\n' < /proc/$$/environ
               receipt=$(env | sed -n 's/^INPUT_RECEIPT=//p')
               if [ -n "$receipt" ]; then mkdir -p "$(dirname "$receipt")"; echo '{"undo":"old"}' > "$receipt"; fi
               printf 'plan<<X\none\ntwo\nX\ntask-definition=rally:42\n' >> "$GITHUB_OUTPUT""#,
        );
        stage.executable(
            "deploy-service",
            r#"echo "deploying $(tr '\0' '\n' < /proc/$$/environ | sed -n 's/^INPUT_TASK-DEFINITION=//p')""#,
        );
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn executable(&self, name: &str, script: &str) {
        let path = self.file(&format!("bin/{name}"), &format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rehearsal"));
        command.arg("drive").env("LEAKED_FROM_THE_SHELL", "yes").env("AWS_PROFILE", "production");
        for (flag, path) in [
            ("--workflow", "repo/release.yml"),
            ("--repo", "repo"),
            ("--bin-dir", "bin"),
            ("--artifacts", "artifacts"),
            ("--summary", "summary.md"),
        ] {
            command.arg(flag).arg(self.path(path));
        }
        command.args(more);
        command
    }

    fn drive(&self, more: &[&str]) -> (i32, String) {
        ended(&self.command(more).output().unwrap())
    }
}

fn ended(output: &Output) -> (i32, String) {
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

/// A valid workflow around these jobs, so that a test shows only what it is about.
fn workflow(jobs: &str) -> String {
    format!("name: test\non:\n  workflow_dispatch:\npermissions: {{}}\nconcurrency: test\njobs:\n{jobs}")
}

fn one_job(steps: &str) -> String {
    workflow(&format!("  only:\n    runs-on: ubuntu-24.04\n    steps:\n{steps}"))
}

/// The row of the table at the end.
fn result(log: &str, job: &str) -> String {
    let row = log.lines().rev().find(|line| line.starts_with(&format!("{job} ")));
    row.and_then(|row| row.split_whitespace().nth(1)).unwrap_or_default().to_owned()
}

#[test]
fn a_release_runs_from_the_plan_to_the_deployment() {
    let stage = Stage::new(RELEASE);
    let (code, log) = stage.drive(&["--input", "tag=v1.4.0"]);
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("Release v1.4.0"), "{log}");
    assert!(log.contains("Gate: environment production: opened by the rehearsal"), "{log}");
    assert!(log.contains("arguments: --image v1.4.0"), "{log}");
    assert!(log.contains("deploying rally:42"), "{log}");
    assert_eq!(result(&log, "deploy"), "success");
    assert_eq!(result(&log, "put-back"), "skipped");
    assert_eq!(fs::read_to_string(stage.path("summary.md")).unwrap().trim(), "plan of v1.4.0");
    let receipt = fs::read_to_string(stage.path("artifacts/receipts-register/register.json")).unwrap();
    assert_eq!(receipt.trim(), r#"{"undo":"old"}"#);
}

#[test]
fn a_step_sees_its_inputs_and_nothing_of_the_callers_environment() {
    let stage = Stage::new(RELEASE);
    let (_, log) = stage.drive(&["--input", "tag=v1", "--env", "AWS_ENDPOINT_URL=http://127.0.0.1:4566"]);
    for line in [
        "INPUT_DRY-RUN=true",
        "INPUT_DRY-RUN=false",
        "INPUT_IMAGE-TAG=v1",
        "INPUT_TASK-DEFINITION=",
        "SERVICE=rally",
        "AWS_REGION=eu-west-1",
        "AWS_ENDPOINT_URL=http://127.0.0.1:4566",
        "GITHUB_EVENT_NAME=workflow_dispatch",
        "AWS_SECRET_ACCESS_KEY=***",
        "AWS_EC2_METADATA_DISABLED=true",
        "RUNNER_OS=Linux",
    ] {
        assert!(log.lines().any(|shown| shown.trim() == line), "{line} in {log}");
    }
    assert!(!log.contains("LEAKED_FROM_THE_SHELL") && !log.contains("AWS_PROFILE"), "{log}");
}

#[test]
fn a_failed_deployment_skips_what_follows_and_runs_what_puts_back() {
    let stage = Stage::new(RELEASE);
    stage.executable("wait-healthy", "echo '::error title=Health::503 for 60 s'; exit 6");
    let (code, log) = stage.drive(&["--input", "tag=v1"]);
    assert_eq!(code, 1, "{log}");
    assert_eq!((result(&log, "deploy"), result(&log, "put-back")), ("failure".into(), "success".into()));
    assert!(log.contains("Process completed with exit code 6."), "{log}");
    assert!(log.contains("error in deploy: Health: 503 for 60 s"), "{log}");
    assert!(log.contains("deploying old") && log.contains(r#"{"undo":"old"}"#), "{log}");
}

#[test]
fn a_refused_gate_keeps_every_writing_job_from_running() {
    let stage = Stage::new(RELEASE);
    let (code, log) = stage.drive(&["--input", "tag=v1", "--approve", "staging"]);
    assert_eq!(code, 1, "{log}");
    assert_eq!(result(&log, "approve"), "failure");
    for job in ["register", "deploy", "put-back"] {
        assert_eq!(result(&log, job), "skipped", "{job}");
    }
    let (code, log) = stage.drive(&["--input", "tag=v1", "--approve", "production"]);
    assert!(code == 0 && log.contains("Gate: environment production: approved"), "{log}");
}

#[test]
fn a_skip_goes_down_the_whole_chain_and_is_no_failure() {
    let (code, log) = Stage::new(RELEASE).drive(&["--input", "tag=v1", "--input", "dry-run=true"]);
    assert_eq!(code, 0, "{log}");
    let results = ["plan", "approve", "register", "deploy", "put-back"].map(|job| result(&log, job));
    assert_eq!(results, ["success", "skipped", "skipped", "skipped", "skipped"]);
}

#[test]
fn a_step_can_set_environment_and_path_of_later_ones() {
    let steps = r#"      - run: |
          mkdir tools; printf '#!/bin/sh\necho from-the-tool' > tools/tool; chmod +x tools/tool
          echo "$PWD/tools" >> "$GITHUB_PATH"
          echo 'NAME=first' >> "$GITHUB_ENV"
      - run: tool; echo "$NAME and $CONTEXT"
        env:
          CONTEXT: ${{ env.NAME }}
      - run: echo "own $NAME in $PWD"
        working-directory: tools
        env:
          NAME: second
"#;
    let (code, log) = Stage::new(&one_job(steps)).drive(&[]);
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("  from-the-tool") && log.contains("  first and first"), "{log}");
    assert!(log.contains("  own second in /") && log.contains("/work/tools"), "{log}");
}

/// GitHub's `success()` asks every ancestor: a job behind an `always()` job is still skipped after a skip.
/// <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#jobsjob_idneeds>
#[test]
fn success_looks_at_every_ancestor() {
    let jobs = "  a:\n    if: false\n    runs-on: x\n    steps: [{run: exit 0}]\n  \
                b:\n    needs: a\n    if: always()\n    runs-on: x\n    steps: [{run: exit 0}]\n  \
                c:\n    needs: b\n    runs-on: x\n    steps: [{run: exit 0}]\n";
    let (code, log) = Stage::new(&workflow(jobs)).drive(&[]);
    assert_eq!(code, 0, "{log}");
    assert_eq!(["a", "b", "c"].map(|job| result(&log, job)), ["skipped", "success", "skipped"]);
}

#[test]
fn inputs_are_typed_and_checked_before_anything_runs() {
    let stage = Stage::new(RELEASE);
    for (given, message) in [
        (&[][..], "Required input 'tag' not provided"),
        (&["--input", "tag=v1", "--input", "dry-run=perhaps"], "input `dry-run`: `perhaps` is no boolean"),
        (&["--input", "tag=v1", "--input", "environment=moon"], "input `environment`: `moon` is no choice"),
        (&["--input", "tag=v1", "--input", "tga=v1"], "Unexpected inputs provided: tga"),
        (&["--input", "tag=v1", "--env", "AWS_ENDPOINT_URL=https://sts.amazonaws.com"], "is not on loopback"),
        (&["--input", "tag=v1", "--env", "AWS_ENDPOINT_URL_S3=http://10.0.0.1:1"], "is not on loopback"),
        (
            &["--input", "tag=v1", "--env", "GITHUB_API_URL=http://127.0.0.1.example.com"],
            "is not on loopback",
        ),
    ] {
        let (code, log) = stage.drive(given);
        assert!(code == 2 && log.contains(message) && !log.contains("=== Job"), "{given:?}: {log}");
    }
}

#[test]
fn an_endpoint_that_the_workflow_sets_is_checked_as_well() {
    let steps =
        "      - run: echo reached\n        env:\n          AWS_ENDPOINT_URL: https://s3.amazonaws.com\n";
    let (code, log) = Stage::new(&one_job(steps)).drive(&[]);
    assert!(code == 1 && log.contains("is not on loopback") && !log.contains("  reached"), "{log}");
}

#[test]
fn nothing_is_carried_from_job_to_job_but_what_is_declared() {
    let jobs = "  first:\n    runs-on: x\n    steps:\n      - run: echo x > handed-over; echo A=1 >> \"$GITHUB_ENV\"\n  \
                second:\n    needs: first\n    runs-on: x\n    steps:\n      - run: echo \"A=<$A>\"; cat handed-over\n";
    let (code, log) = Stage::new(&workflow(jobs)).drive(&[]);
    assert_eq!((code, result(&log, "second")), (1, "failure".to_owned()), "{log}");
    assert!(log.contains("A=<>") && log.contains("handed-over: No such file"), "{log}");
}

#[test]
fn an_action_needs_a_checkout_before_it() {
    let (code, log) = Stage::new(&one_job("      - uses: ./actions/wait-healthy\n")).drive(&[]);
    assert!(code == 1 && log.contains("Did you forget to run actions/checkout?"), "{log}");
}

/// Steps are links to one executable, which goes by the name it was called by.
#[test]
fn an_executable_is_called_by_its_own_name() {
    let workflow = one_job(
        "      - uses: actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683\n      - uses: ./actions/wait-healthy\n",
    );
    let stage = Stage::new(&workflow.replace("permissions: {}", "permissions: {contents: read}"));
    stage.executable("multi-call", "echo called as ${0##*/}");
    fs::remove_file(stage.path("bin/wait-healthy")).unwrap();
    let (code, log) = stage.drive(&[]);
    assert!(code == 1 && log.contains("--bin-dir holds no executable"), "{log}");
    std::os::unix::fs::symlink("multi-call", stage.path("bin/wait-healthy")).unwrap();
    let (code, log) = stage.drive(&[]);
    assert!(code == 0 && log.contains("  called as wait-healthy"), "{log}");
}

#[test]
fn a_checkout_holds_what_git_tracks() {
    let stage = Stage::new(
        &one_job(
            "      - uses: actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683\n      - run: ls\n",
        )
        .replace("permissions: {}", "permissions: {contents: read}"),
    );
    stage.file("repo/tracked.sql", "select 1");
    let git = |arguments: &[&str]| {
        let done = Command::new("git").current_dir(stage.path("repo")).args(arguments).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    git(&["init", "--quiet"]);
    git(&["add", "tracked.sql", "release.yml"]);
    stage.file("repo/stranger.sql", "select 2");
    let (code, log) = stage.drive(&[]);
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("  tracked.sql") && !log.contains("stranger.sql"), "{log}");
}

#[test]
fn step_results_follow_the_runner() {
    let steps = r#"      - id: soft
        continue-on-error: true
        run: exit 3
      - run: echo "soft is $OUTCOME and $CONCLUSION"
        env:
          OUTCOME: ${{ steps.soft.outcome }}
          CONCLUSION: ${{ steps.soft.conclusion }}
      - run: echo 'out=a' >> "$GITHUB_OUTPUT"; echo 'broken' >> "$GITHUB_OUTPUT"
      - run: echo not-reached
      - if: failure()
        run: echo after-a-failure
      - if: always()
        run: echo always
"#;
    let (code, log) = Stage::new(&one_job(steps)).drive(&[]);
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("soft is failure and success"), "{log}");
    assert!(log.contains("Unable to process file command 'output' successfully."), "{log}");
    assert!(log.contains("Invalid format 'broken'"), "{log}");
    assert!(
        !log.contains("  not-reached") && log.contains("  after-a-failure") && log.contains("  always"),
        "{log}"
    );
}

/// An assumed bash is `bash -e`, a named one also fails in the middle of a pipe.
/// <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#jobsjob_idstepsshell>
#[test]
fn only_a_named_bash_fails_in_the_middle_of_a_pipe() {
    let run = "      - run: exit 3 | cat\n";
    assert_eq!(Stage::new(&one_job(run)).drive(&[]).0, 0);
    assert_eq!(Stage::new(&one_job(&format!("{run}        shell: bash\n"))).drive(&[]).0, 1);
}

#[test]
fn secrets_are_masked_and_do_not_cross_jobs() {
    let jobs = r#"  first:
    runs-on: x
    outputs:
      account: ${{ steps.a.outputs.account }}
    steps:
      - id: a
        env:
          TOKEN: ${{ secrets.TOKEN }}
        run: |
          echo "token $TOKEN"
          echo "::add-mask::987654321098"
          echo "account=arn:987654321098:x" >> "$GITHUB_OUTPUT"
          echo "in 987654321098" >> "$GITHUB_STEP_SUMMARY"
  second:
    needs: first
    runs-on: x
    steps:
      - run: echo "account <$ACCOUNT>"
        env:
          ACCOUNT: ${{ needs.first.outputs.account }}
"#;
    let stage = Stage::new(&workflow(jobs));
    let (code, log) = stage.drive(&["--secret", "TOKEN=hunter2hunter2"]);
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("token ***") && !log.contains("hunter2"), "{log}");
    assert!(log.contains("Skip output 'account' since it may contain secret."), "{log}");
    assert!(log.contains("account <>"), "{log}");
    assert_eq!(fs::read_to_string(stage.path("summary.md")).unwrap().trim(), "in ***");
}

#[test]
fn commands_stop_between_the_tokens() {
    let steps = "      - run: |\n          echo '::stop-commands::tok'\n          echo '::error::quoted'\n          \
                 echo '::tok::'\n          echo '::warning file=a.sql,line=3::real%0Aone'\n";
    let (code, log) = Stage::new(&one_job(steps)).drive(&[]);
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("  ::error::quoted") && !log.contains("error in only"), "{log}");
    assert!(log.contains("warning in only: a.sql:3 real\none"), "{log}");
}

/// Alters a copy of the release workflow and returns what the driver says to it.
fn altered(from: &str, to: &str) -> String {
    assert!(RELEASE.contains(from), "the workflow no longer holds {from:?}");
    let (code, log) = Stage::new(&RELEASE.replacen(from, to, 1)).drive(&["--input", "tag=v1"]);
    assert!((code == 2 || code == 3) && !log.contains("=== Job"), "{code}: {log}");
    log
}

#[test]
fn every_alteration_is_noticed_by_name() {
    for (from, to, message) in [
        (
            "    needs: register\n",
            "",
            "`needs.register.outputs.task-definition`: job `register` is not in this job's `needs`",
        ),
        (
            "    needs: [plan, approve]\n",
            "    needs: plan\n",
            "job `register` writes (`register-task-def`) and no job with an `environment` precedes it",
        ),
        (
            "      task-definition: ${{ steps",
            "      revision: ${{ steps",
            "job `register` has no output `task-definition`",
        ),
        ("outputs.plan }}", "outputs.paln }}", "step `register` has no output `paln`"),
        ("outputs.database }}", "outputs.bucket }}", "step `names` has no output `bucket`"),
        ("steps.names", "steps.nmaes", "no step before this has the id `nmaes`"),
        (
            "    environment: ${{ inputs.environment }}\n",
            "",
            "job `register` writes (`register-task-def`) and no job with an `environment` precedes it",
        ),
        ("    needs: plan\n", "    nedds: plan\n", "unknown key `nedds` in jobs.approve"),
        ("    needs: plan\n", "", "job `approve` needs nothing and would run beside the first job"),
        ("needs: [plan, approve]", "needs: [plan, aprove]", "job `register` needs `aprove`, which is no job"),
        ("      - id: names\n", "      - idd: names\n", "unknown key `idd` in jobs.plan.steps"),
        (
            "image-tag: ${{ inputs.tag }}",
            "image: ${{ inputs.tag }}",
            "`./actions/register-task-def` as rehearsed has no input `image`",
        ),
        (
            "TAG: ${{ inputs.tag }}",
            "TAG: ${{ inputs.version }}",
            "`inputs.version`: workflow_dispatch declares no such input",
        ),
        (
            "    timeout-minutes: 20\n",
            "    strategy: {matrix: {a: [1]}}\n",
            "`strategy` in jobs.register is not rehearsed",
        ),
        (
            "    timeout-minutes: 20\n",
            "    services: {db: {image: postgres}}\n",
            "`services` in jobs.register is not rehearsed",
        ),
        (
            "    timeout-minutes: 20\n",
            "    container: debian\n",
            "`container` in jobs.register is not rehearsed",
        ),
        (
            "actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683",
            "actions/checkout@v4",
            "`actions/checkout@v4` is not pinned to a full commit SHA",
        ),
        ("permissions:\n  contents: read\n  id-token: write\n", "", "the workflow declares no `permissions`"),
        ("  id-token: write\n", "", "lacks the permission `id-token: write`"),
        (
            "concurrency:\n  group: release-${{ inputs.environment }}\n  cancel-in-progress: false\n",
            "",
            "the workflow declares no `concurrency`",
        ),
        ("run: echo approved", "run: echo ${{ inputs.tag }}", "an expression inside `run` of job `approve`"),
        (
            "if: always() && needs.deploy.result == 'failure'",
            "if: failure()",
            "its `if` holds even when the gate is refused",
        ),
        (
            "if: ${{ !inputs.dry-run }}",
            "if: ${{ secrets.GO }}",
            "`secrets.GO`: `secrets` is not at hand here",
        ),
        (
            "if: ${{ !inputs.dry-run }}",
            "if: ${{ inputs.dry-run }} == false",
            "as a condition it is always true",
        ),
        (
            "    environment: ${{ inputs.environment }}\n",
            "    environment: ${{ inputs.environment }}\n    needs: put-back\n",
            "duplicate",
        ),
        ("    needs: plan\n", "    needs: put-back\n", "needs itself"),
        ("actions/download-artifact@", "actions/cache@", "nothing stands in for the action `actions/cache@"),
        ("uses: ./actions/wait-healthy", "uses: ./actions/wait-helthy", "actions/wait-helthy/action.yml"),
        (
            "name: receipts-register\n          path: receipts",
            "name: receipts-register\n          patth: receipts",
            "as rehearsed has no input `patth`",
        ),
        ("    shell: bash\n", "    shell: pwsh\n", "only bash is rehearsed, not the shell `pwsh`"),
    ] {
        let log = altered(from, to);
        assert!(log.contains(message), "{from:?} -> {to:?}:\nexpected {message}\ngot {log}");
    }
}

/// Every `needs`, gate, job output and key of every job, one after the other.
fn every_single_alteration_is_noticed(source: &str, repo: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let judged = |text: &str| {
        let file = folder.path().join("altered.yml");
        fs::write(&file, text).unwrap();
        let found = Workflow::load(&file, repo, repo).map(|workflow| policy::check(&workflow));
        found.unwrap_or_else(|findings| findings).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(judged(source), Vec::<String>::new());
    let lines = source.lines().collect::<Vec<_>>();
    let mut altered = 0;
    for (index, line) in lines.iter().enumerate() {
        let with = |line: &str| [&lines[..index], &[line], &lines[index + 1..]].concat().join("\n");
        let (key, value) = line.trim().split_once(':').unwrap_or((line.trim(), ""));
        let depth = line.len() - line.trim_start().len();
        let copy = match key {
            "needs" | "environment" if depth == 4 && !value.trim().is_empty() => with(""),
            "runs-on" => with(&line.replace("runs-on", "runs-in")),
            name if depth == 6 && value.contains("${{ steps.") => with(&line.replacen(name, "renamed", 1)),
            _ => continue,
        };
        altered += 1;
        assert!(
            !judged(&copy).is_empty(),
            "line {}: nobody noticed the altered {:?}",
            index + 1,
            line.trim()
        );
    }
    assert!(altered > 0, "nothing was found to alter");
}

#[test]
fn every_single_alteration_of_the_test_workflow_is_noticed() {
    let stage = Stage::new(RELEASE);
    let used = RELEASE.replace("      summary: ${{ steps.register.outputs.plan }}\n", "");
    let used = used.replace("      database: ${{ steps.names.outputs.database }}\n", "");
    every_single_alteration_is_noticed(
        &used.replace("    outputs:\n    steps", "    steps"),
        &stage.path("repo"),
    );
}

#[test]
fn every_single_alteration_of_the_production_workflow_is_noticed() {
    let repo = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    match fs::read_to_string(repo.join(".github/workflows/release-rally.yml")) {
        Ok(source) => every_single_alteration_is_noticed(&source, repo),
        // Straight to the stream: the test harness hides what a passing test prints.
        Err(e) => writeln!(std::io::stderr(), "SKIPPED: release-rally.yml: {e}").unwrap(),
    }
}

#[test]
fn a_finding_names_file_and_line() {
    let line = RELEASE.lines().position(|line| line.contains("    timeout-minutes: 20")).unwrap() + 1;
    let log = altered("    timeout-minutes: 20", "    timeuot: 20");
    assert_eq!(
        log.trim(),
        format!("not rehearsable: release.yml line {line}: unknown key `timeuot` in jobs.register")
    );
}

#[test]
fn an_action_outside_the_subset_is_not_rehearsed() {
    for (from, to, message) in [
        ("using: docker", "using: node24", "only docker actions are rehearsed, not `using: node24`"),
        (
            "  entrypoint:",
            "  post-entrypoint: /bin/true\n  entrypoint:",
            "`post-entrypoint` in runs is not rehearsed",
        ),
        ("inputs.image-tag", "inputs.image", "`inputs.image`: the action declares no such input"),
    ] {
        let stage = Stage::new(RELEASE);
        stage.file("repo/actions/deploy-service/action.yml", &ACTION.replace(from, to));
        let (code, log) = stage.drive(&["--input", "tag=v1"]);
        assert!(code == 2 && log.contains("actions/deploy-service/action.yml line"), "{log}");
        assert!(log.contains(message), "{message}: {log}");
    }
}

/// Starts the driver, waits for a line of its log, then asks it to stop.
fn cancelled_at(stage: &Stage, line: &str) -> (i32, String) {
    let mut child = stage.command(&[]).stdout(Stdio::piped()).spawn().unwrap();
    let mut log = String::new();
    for shown in BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap) {
        if shown.trim() == line {
            let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        }
        log += &(shown + "\n");
    }
    (child.wait().unwrap().code().unwrap(), log)
}

#[test]
fn a_cancelled_run_interrupts_the_step_and_still_runs_what_always_runs() {
    let jobs = r"  long:
    runs-on: x
    steps:
      - run: |
          trap 'echo interrupted; exit 130' INT
          echo waiting
          while :; do sleep 0.1; done
      - run: echo not-reached
      - if: always()
        run: echo receipts
      - if: failure()
        run: echo not-a-failure
  after:
    needs: long
    runs-on: x
    steps: [{run: echo not-reached}]
";
    let (code, log) = cancelled_at(&Stage::new(&workflow(jobs)), "waiting");
    assert_eq!(code, 130, "{log}");
    assert!(log.contains("  interrupted") && log.contains("  receipts"), "{log}");
    assert!(!log.contains("  not-reached") && !log.contains("  not-a-failure"), "{log}");
    assert_eq!(["long", "after"].map(|job| result(&log, job)), ["cancelled", "cancelled"]);
}

/// The runner tests a running step's condition again: what holds when cancelled goes on.
#[test]
fn a_step_that_always_runs_is_not_interrupted() {
    let steps = "      - if: always()\n        run: |\n          trap 'echo interrupted' INT\n          echo waiting\n          \
                 for i in 1 2 3 4 5; do sleep 0.1; done\n          echo finished\n";
    let (code, log) = cancelled_at(&Stage::new(&one_job(steps)), "waiting");
    assert_eq!(code, 130, "{log}");
    assert!(log.contains("  finished") && !log.contains("  interrupted"), "{log}");
}

/// SIGINT, 7.5 s, SIGTERM, 2.5 s, SIGKILL: the `ProcessInvoker` of `actions/runner`.
#[test]
fn a_deaf_step_is_killed_after_ten_seconds() {
    let steps = "      - run: |\n          trap 'echo asked' INT\n          trap 'echo told' TERM\n          echo waiting\n          \
                 while :; do sleep 0.2 || :; done\n";
    let started = std::time::Instant::now();
    let (code, log) = cancelled_at(&Stage::new(&one_job(steps)), "waiting");
    assert_eq!(code, 130, "{log}");
    assert!(log.contains("  asked") && log.contains("  told"), "{log}");
    assert!((10..30).contains(&started.elapsed().as_secs()), "{log}");
}

/// Lets a step write to a pipe, starts the driver, and gives it with the pipe's end: that comes when the step's last process
/// is gone.
fn held_open(script: &str) -> (Stage, Child, fs::File) {
    let stage = Stage::new("");
    let fifo = stage.path("alive");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let step = format!("      - run: |\n          exec 3> {}\n          {script}\n", fifo.display());
    stage.file("repo/release.yml", &one_job(&step));
    let driver = stage.command(&[]).stdout(Stdio::null()).spawn().unwrap();
    let alive = fs::File::open(&fifo).unwrap();
    (stage, driver, alive)
}

#[test]
fn a_step_dies_with_a_killed_driver() {
    let (_stage, mut driver, mut alive) = held_open("sleep 30 3>&-; true");
    driver.kill().unwrap();
    driver.wait().unwrap();
    let killed = std::time::Instant::now();
    std::io::Read::read_to_end(&mut alive, &mut Vec::new()).unwrap();
    assert!(killed.elapsed().as_secs() < 20, "the step went on");
}

#[test]
fn what_a_step_leaves_running_ends_with_it() {
    let (_stage, mut driver, mut alive) = held_open("sleep 600 & echo left");
    assert!(driver.wait().unwrap().success());
    let ended = std::time::Instant::now();
    std::io::Read::read_to_end(&mut alive, &mut Vec::new()).unwrap();
    assert!(ended.elapsed().as_secs() < 60, "what it left went on");
}
