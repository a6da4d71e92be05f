//! Every flag of every step with values that are missing, empty, too long, of the wrong type or hostile, as an argument and as an
//! action's input: a clear refusal or an honest failure, nothing obeyed on the way to it, and nothing changed.

mod flags;
mod given;
mod judge;
mod receipts;
mod texts;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use testkit::front::{Answer, Front, Request, Service};
use testkit::github::{GithubWorld, Options, TOKEN};
use tokio::process::Command;

use self::flags::{Flag, Step};
use self::judge::{Ended, complaints};
use self::texts::{Text, Way, texts_for};
use crate::world::{ACCOUNT, REGION, run_bare, scrubbed};

/// A run that goes on for so long does not end by itself.
const HANGS: Duration = Duration::from_secs(90);

/// As many runs as are under way at once: most of their time some wait.
const AT_ONCE: usize = 8;

/// Knows who asks, and nothing else: every other call is answered with 400.
struct Caller;

impl Service for Caller {
    fn service(&self) -> &'static str {
        "sts"
    }

    /// <https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html#API_GetCallerIdentity_Examples>
    fn handle<'a>(&'a self, _: &'a Request) -> BoxFuture<'a, Option<Answer>> {
        let text = format!(
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult><Arn>arn:aws:iam::{ACCOUNT}:user/Alice</Arn><UserId>AIDACKCEVSQ6C2EXAMPLE</UserId><Account>{ACCOUNT}</Account></GetCallerIdentityResult><ResponseMetadata><RequestId>01234567-89ab-cdef-0123-456789abcdef</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
        );
        async move { Some(Answer::xml(text)) }.boxed()
    }
}

/// Where nothing is that could be changed.
struct Nothing {
    front: Front,
    github: GithubWorld,
    fixtures: tempfile::TempDir,
}

impl Nothing {
    async fn start() -> Self {
        let fixtures = tempfile::tempdir().unwrap();
        given::make(fixtures.path());
        let front = Front::builder().service(Arc::new(Caller)).start().await.unwrap();
        let github = GithubWorld::start(Options::default()).await.unwrap();
        Self { front, github, fixtures }
    }

    fn given(&self, step: &str) -> Vec<String> {
        given::given(step, self.fixtures.path())
            .unwrap_or_else(|| panic!("write a command line that is right for {step} into given.rs"))
    }

    /// A run of the step, with a deadline, in a folder of its own; in a GitHub job where `inputs` are given.
    async fn run(&self, step: &str, args: &[String], inputs: Option<&[(String, String)]>) -> Ended {
        let dir = tempfile::tempdir().unwrap();
        let (work, job) = (dir.path().join("work"), dir.path().join("job"));
        std::fs::create_dir(&work).unwrap();
        std::fs::create_dir(&job).unwrap();
        let mut command = scrubbed(env!("CARGO_BIN_EXE_cutover"), &work);
        command.arg(step).args(args);
        self.environment(&mut command);
        if let Some(inputs) = inputs {
            command.env("GITHUB_ACTIONS", "true").env("GITHUB_OUTPUT", job.join("outputs"));
            command.env("GITHUB_STEP_SUMMARY", job.join("summary"));
            command.envs(inputs.iter().map(|(name, value)| (name, value)));
        }
        let output = tokio::time::timeout(HANGS, command.output()).await;
        let output = output.unwrap_or_else(|_| panic!("{step} {args:.200?} {inputs:.200?} does not end"));
        let output = output.expect("the executable starts");
        let read = |name: &str| std::fs::read_to_string(job.join(name)).unwrap_or_default();
        Ended {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: output.stderr,
            outputs: read("outputs"),
            summary: read("summary"),
            made: names(&work),
        }
    }

    fn environment(&self, command: &mut Command) {
        command
            .env("AWS_ENDPOINT_URL", self.front.url())
            .env("AWS_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "planted-secret-key")
            .env("GITHUB_API_URL", self.github.url())
            .env("GITHUB_TOKEN", TOKEN)
            // Names are looked up nowhere: https://man7.org/linux/man-pages/man5/resolv.conf.5.html
            .env("RES_OPTIONS", "timeout:1 attempts:1");
    }
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// One way to give a flag a bad value.
struct Case<'a> {
    step: &'a Step,
    flag: &'a Flag,
    /// None where the value is empty or missing.
    text: Option<Text>,
    args: Vec<String>,
    input: Option<(String, String)>,
}

fn input(flag: &Flag, value: &str) -> (String, String) {
    (format!("INPUT_{}", flag.name.to_uppercase()), value.to_owned())
}

fn cases<'a>(world: &Nothing, step: &'a Step) -> Vec<Case<'a>> {
    let mut all = Vec::new();
    let given = world.given(&step.name);
    for flag in &step.flags {
        let mut args = given::without(&given, &flag.name);
        if flag.name != "timeout" {
            args.extend(["--timeout".to_owned(), "1s".to_owned()]);
        }
        let long = format!("--{}", flag.name);
        let with = |word: String| [args.as_slice(), &[word]].concat();
        all.push(Case { step, flag, text: None, args: with(format!("{long}=")), input: None });
        if flag.value.is_some() {
            all.push(Case { step, flag, text: None, args: with(long.clone()), input: None });
        }
        for (way, text) in texts_for(flag) {
            let (args, input) = match way {
                Way::Argument => (with(format!("{long}={}", text.value)), None),
                Way::Input => (args.clone(), Some(input(flag, &text.value))),
            };
            all.push(Case { step, flag, text: Some(text), args, input });
        }
    }
    all
}

async fn wrong_with(world: &Nothing, case: Case<'_>) -> Vec<String> {
    let input = case.input.clone().map(|input| vec![input]);
    let ended = world.run(&case.step.name, &case.args, input.as_deref()).await;
    let in_job = case.input.is_some();
    let wrong = complaints(&ended, &case.flag.name, case.text.as_ref(), &case.step.outputs, in_job);
    let name = case.text.as_ref().map_or("empty or missing", |text| text.name);
    let told: String = String::from_utf8_lossy(&ended.stderr).chars().take(400).collect();
    let at =
        format!("{} --{} {name}{}", case.step.name, case.flag.name, if in_job { " as an input" } else { "" });
    wrong.into_iter().map(|what| format!("{at}: {what}\n    {told:?}")).collect()
}

/// As GitHub passes the inputs that a workflow does not set.
#[tokio::test]
async fn an_input_that_is_empty_is_absent() {
    let world = Nothing::start().await;
    for step in flags::steps().await {
        let args = [world.given(&step.name), vec!["--timeout".to_owned(), "1s".to_owned()]].concat();
        let inputs: Vec<(String, String)> = step.flags.iter().map(|flag| input(flag, "")).collect();
        let (with, without) = (
            world.run(&step.name, &args, Some(&inputs)).await,
            world.run(&step.name, &args, Some(&[])).await,
        );
        assert_eq!(with.code, without.code, "{}: {}", step.name, String::from_utf8_lossy(&with.stderr));
    }
}

#[tokio::test]
async fn no_value_of_any_flag_does_harm() {
    let world = Nothing::start().await;
    let only = std::env::var("CUTOVER_BAD_INPUT").unwrap_or_default();
    let steps = flags::steps().await;
    let all = steps.iter().filter(|step| step.name.contains(&only)).flat_map(|step| cases(&world, step));
    let wrong: Vec<String> = futures::stream::iter(all)
        .map(|case| wrong_with(&world, case))
        .buffer_unordered(AT_ONCE)
        .flat_map(futures::stream::iter)
        .collect()
        .await;
    assert!(wrong.is_empty(), "{} things are wrong:\n{}", wrong.len(), wrong.join("\n"));
    let writes: Vec<String> = world.front.writes().iter().map(testkit::front::Call::name).collect();
    assert!(writes.is_empty(), "AWS was written to: {writes:?}");
    assert!(world.github.writes().is_empty(), "GitHub was written to: {:?}", world.github.writes());
}

/// Without this, every case of a step could end of the same mistake here.
#[tokio::test]
async fn the_rest_of_each_command_line_is_right() {
    let world = Nothing::start().await;
    for step in flags::steps().await {
        let args = [world.given(&step.name), vec!["--timeout".to_owned(), "1s".to_owned()]].concat();
        let ended = world.run(&step.name, &args, None).await;
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(matches!(ended.code, Some(0 | 1 | 3 | 6)), "{}: {:?}\n{said}", step.name, ended.code);
    }
}

#[tokio::test]
async fn words_of_the_multi_call_executable_are_told_harmlessly() {
    for word in ["\u{1b}[2J\u{202e}", "a\n::error::b", &"A".repeat(100_000)] {
        for words in [
            &[word][..],
            &["--page", word],
            &["--action", word],
            &["--policy", word],
            &["--completions", word],
        ] {
            let ran = run_bare(&words.iter().map(ToString::to_string).collect::<Vec<_>>()).await.expect(2);
            assert_eq!(
                ran.stderr.lines().filter(|line| line.starts_with("error: ")).count(),
                1,
                "{words:.80?}"
            );
            assert!(!ran.stderr.contains(['\u{1b}', '\u{202e}']), "{}", ran.stderr);
            assert!(!ran.stderr.contains("\n::") && ran.stderr.len() < 10_000, "{:.400}", ran.stderr);
        }
    }
}
