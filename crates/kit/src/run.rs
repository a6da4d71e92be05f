//! The executable: arguments in, exit code out.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgMatches, Command, FromArgMatches as _};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::args::{recorded, with_inputs, with_recorded};
use crate::cx::Inner;
use crate::journal::{Journal, residue};
use crate::report::{Report, failure_json};
use crate::{Code, Common, Cx, Env, Failure, Format, Outcome, Receipt, Step, Verdict, github};

/// How long a cancelled step may take to put things away. GitHub sends SIGINT, SIGTERM after 7.5 seconds and SIGKILL
/// after 2.5 more (<https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-cancellation>).
const GRACE: Duration = Duration::from_secs(5);

/// How long a step may go on after its deadline, to put things away or to bring a call to its end, before it is cancelled: a wait
/// ends by itself, but an answer that trickles in would hold a step up for ever.
const OVERTIME: Duration = Duration::from_secs(30);

/// Runs one step with the process's own arguments and environment.
pub fn main(step: &'static Step, commit: Option<&'static str>) -> ExitCode {
    let argv = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    main_with(step, commit, argv, Env::of_process())
}

/// Runs one step; `argv[0]` is the name it was called by.
pub fn main_with(step: &'static Step, commit: Option<&'static str>, argv: Vec<String>, env: Env) -> ExitCode {
    let early = Report::new(step.name, Format::Text, &env);
    let (matches, cx) = match prepare(step, commit, argv, env) {
        Ok(ready) => ready,
        Err(Stop::Clap(error)) => return say_usage(&early, &error),
        Err(Stop::Failure(failure)) => {
            let failure = with_next_move(failure, step);
            early.failure(&failure, &["nothing was changed".to_owned()]);
            let _ = early.finish("", &BTreeMap::new(), Value::Null);
            return ExitCode::from(failure.code().number());
        }
    };
    install_panic_hook(&cx);
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            early.failure(&Failure::failed("start the runtime").because(error), &[]);
            return ExitCode::from(Code::Failed.number());
        }
    };
    let result = runtime.block_on(supervised(&cx, (step.run)(matches, cx.clone())));
    let code = conclude(step, &cx, result);
    // Work that can't be cancelled (a blocking read of a dead child) must not keep the process alive.
    runtime.shutdown_timeout(Duration::from_millis(200));
    ExitCode::from(code.number())
}

enum Stop {
    Clap(clap::Error),
    Failure(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// Says what clap says: help and version as they are; of an error that the arguments are wrong, in which a value may be anybody's,
/// what can be printed, and in a GitHub job as any other failure.
fn say_usage(report: &Report, error: &clap::Error) -> ExitCode {
    if error.exit_code() == 0 {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    let harmless: Vec<String> = github::lines(&text).lines().map(github::readable).collect();
    let harmless = harmless.join("\n");
    if report.in_github() {
        let said = harmless.trim();
        let attempt = said.strip_prefix("error: ").unwrap_or(said);
        report.failure(&Failure::usage(attempt), &["nothing was changed".to_owned()]);
        let _ = report.finish("", &BTreeMap::new(), Value::Null);
    } else if text.trim_end() == harmless {
        // With clap's colours.
        let _ = error.print();
    } else {
        report.say(&harmless);
    }
    ExitCode::from(Code::Usage.number())
}

/// Who has used a flag in a way that can't be meant, and is not told another, is told where all of them are.
fn with_next_move(failure: Failure, step: &Step) -> Failure {
    if failure.code() != Code::Usage || !failure.help.is_empty() {
        return failure;
    }
    failure.help(format!("{} --help tells what each flag takes, and what goes together", step.name))
}

/// The version line: the workspace's version, and the commit where the build knew it.
pub fn version(commit: Option<&str>) -> String {
    let version = env!("CARGO_PKG_VERSION");
    commit.map_or_else(|| version.to_owned(), |commit| format!("{version} ({commit})"))
}

/// The command of a step with its name, version and the tables of outputs, permissions and exit codes.
pub(crate) fn full_command(step: &'static Step, commit: Option<&str>) -> Command {
    use std::fmt::Write as _;
    let mut after = String::from(
        "Every flag can also come from the environment as INPUT_<FLAG>, as a GitHub action passes it.\n",
    );
    after.push_str("\nOutputs:\n");
    for (name, description) in step.all_outputs() {
        let _ = writeln!(after, "  {name}: {description}");
    }
    if !step.permissions.is_empty() {
        after.push_str("\nPermissions:\n");
        for permission in step.permissions {
            let when =
                if permission.when.is_empty() { String::new() } else { format!(" ({})", permission.when) };
            let _ = writeln!(after, "  {} on {}{when}", permission.action, permission.resource);
        }
    }
    after.push_str("\nExit codes:\n");
    for code in Code::ALL {
        let own = step.exit_codes.iter().find(|own| own.code == code);
        let _ = writeln!(after, "  {}: {}", code.number(), own.map_or(code.meaning(), |own| own.meaning));
    }
    let minutes = humantime::format_duration(step.timeout);
    let _ = writeln!(after, "\nThe default of --timeout is {minutes}.");
    (step.command)().name(step.name).bin_name(step.name).version(version(commit)).after_long_help(after)
}

fn prepare(
    step: &'static Step,
    commit: Option<&'static str>,
    argv: Vec<String>,
    env: Env,
) -> Result<(ArgMatches, Cx), Stop> {
    let command = full_command(step, commit);
    let is_alone = argv.len() <= 2;
    let mut argv = with_inputs(&command, &argv, &env);
    let undo = match value_of(&argv, "undo") {
        None => None,
        Some(path) => {
            let path = PathBuf::from(path);
            let receipt = Receipt::read(&path)?;
            if receipt.step != step.name {
                return Err(Failure::usage(format!("undo {}", path.display()))
                    .because(format!("it is a receipt of {}", receipt.step))
                    .help(format!("{} --undo {}", receipt.step, path.display()))
                    .into());
            }
            argv = with_recorded(&command, &argv, &receipt.arguments)?;
            Some((path, receipt))
        }
    };
    let arguments = recorded(&command, &argv);
    let matches = command.try_get_matches_from(&argv).map_err(|error| {
        // Success would be taken for that of the step, where a version to release was meant.
        if error.kind() == ErrorKind::DisplayVersion && !is_alone {
            return Failure::usage("read the arguments")
                .because("--version says which version of the step this is, and nothing else is done with it")
                .help(format!(
                    "leave it out, or the other arguments; {} --help shows what there is",
                    step.name
                ))
                .into();
        }
        Stop::Clap(error)
    })?;
    let common = Common::from_arg_matches(&matches).map_err(Stop::Clap)?;
    let now = OffsetDateTime::now_utc();
    let run = uuid::Uuid::new_v4().to_string();
    let path = match &common.receipt {
        Some(path) if path.to_string_lossy().starts_with("s3://") => {
            return Err(Failure::usage(format!("write the receipt to {}", path.display()))
                .because("a receipt is written to a file")
                .help("name a file; in a workflow, upload it as an artifact")
                .into());
        }
        Some(path) => path.clone(),
        None => {
            let (date, (hour, minute, second)) = (now.date(), now.to_hms());
            let short = run.split('-').next().unwrap_or("run");
            PathBuf::from("cutover-receipts")
                .join(format!("{}-{date}T{hour:02}{minute:02}{second:02}Z-{short}.json", step.name))
        }
    };
    if undo.as_ref().is_some_and(|(undo, _)| *undo == path) {
        return Err(Failure::usage(format!("undo {}", path.display()))
            .because("--receipt names the receipt to undo")
            .help("leave --receipt out or name another file: undoing leaves a receipt of its own")
            .into());
    }
    let receipt = Receipt {
        arguments,
        github: github_run(&env),
        undo_of: undo.as_ref().map(|(_, receipt)| receipt.run.clone()),
        ..Receipt::new(step.name, &version(commit), run, now)
    };
    let report = Report::new(step.name, common.format, &env);
    let cx = Cx::new(Inner {
        report,
        dry_run: common.dry_run,
        deadline: Instant::now() + common.timeout.unwrap_or(step.timeout),
        clock: OffsetDateTime::now_utc,
        undo,
        cancelled: CancellationToken::new(),
        signal: Mutex::default(),
        journal: Mutex::new(Journal::open(path, receipt)?),
        receipt_wanted: common.receipt.is_some(),
        declared_outputs: step.outputs.iter().map(|output| output.name).collect(),
        env,
    });
    Ok((matches, cx))
}

/// The value of a flag in arguments that are not parsed yet: `--undo` decides how the others are read.
fn value_of<'a>(argv: &'a [String], flag: &str) -> Option<&'a str> {
    let mut words = argv.iter();
    while let Some(word) = words.next() {
        if let Some(rest) = word.strip_prefix("--").and_then(|word| word.strip_prefix(flag)) {
            if let Some(value) = rest.strip_prefix('=') {
                return Some(value);
            }
            if rest.is_empty() {
                return words.next().map(String::as_str);
            }
        }
    }
    None
}

fn github_run(env: &Env) -> Option<BTreeMap<String, String>> {
    let names = [
        "GITHUB_REPOSITORY",
        "GITHUB_RUN_ID",
        "GITHUB_RUN_ATTEMPT",
        "GITHUB_SHA",
        "GITHUB_JOB",
        "GITHUB_ACTOR",
    ];
    env.in_github_job().then(|| {
        names.iter().filter_map(|name| Some(((*name).to_owned(), env.get(name)?.to_owned()))).collect()
    })
}

/// Runs the step until it ends, or until a signal or long after its deadline, and the time it has to put things away.
async fn supervised(cx: &Cx, run: crate::Run) -> Result<Outcome, Failure> {
    // Handlers are installed before the step begins: as PID 1 in a container, an unhandled SIGTERM is ignored.
    let (mut interrupt, mut terminate) =
        match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
            (Ok(interrupt), Ok(terminate)) => (interrupt, terminate),
            (Err(error), _) | (_, Err(error)) => {
                return Err(Failure::failed("install the signal handlers").because(error));
            }
        };
    let watch = async {
        let (code, why) = tokio::select! {
            _ = interrupt.recv() => (Code::Interrupted, "cancelled"),
            _ = terminate.recv() => (Code::Terminated, "cancelled"),
            () = tokio::time::sleep_until(cx.deadline() + OVERTIME) => (Code::Deadline, "the deadline has passed"),
        };
        cx.report().say(&format!("{why}: putting things away"));
        cx.cancel(code);
        tokio::time::sleep(GRACE).await;
    };
    let result = tokio::select! {
        biased;
        result = run => result,
        () = watch => Err(cx.cancellation()),
    };
    match (result, cx.signal()) {
        (Err(mut failure), Some(code)) => {
            failure.code = code;
            Err(failure)
        }
        (result, _) => result,
    }
}

/// Ends the receipt, reports, and says the exit code.
fn conclude(step: &'static Step, cx: &Cx, result: Result<Outcome, Failure>) -> Code {
    let (outcome, mut failure) = match result {
        Ok(outcome) => (outcome, None),
        Err(failure) => (Outcome::unchanged(""), Some(with_next_move(failure, step))),
    };
    let mut code = Code::Done;
    let mut state = Vec::new();
    let mut changed = outcome.changed;
    let (outputs, document) = {
        let mut journal = cx.journal();
        if let Some(failure) = &mut failure {
            (failure.code, changed, state) = residue(journal.own(), failure.code, &journal.path);
            code = failure.code;
        }
        journal.receipt.ended = Some(cx.now());
        journal.receipt.verdict = Some(Verdict {
            code: code.number(),
            message: failure.as_ref().map_or_else(|| outcome.headline.clone(), ToString::to_string),
            causes: failure.as_ref().map(Failure::chain).unwrap_or_default(),
            help: failure.as_ref().map(|failure| failure.help.clone()).unwrap_or_default(),
            state: failure.as_ref().map(|failure| failure.state.clone()).unwrap_or_default(),
        });
        journal.receipt.outputs.insert("changed".to_owned(), changed.to_string());
        let stays = failure.is_some()
            && journal.stays().unwrap_or_else(|unwritten| {
                code = cx.report().afterthought(&unwritten, code);
                true
            });
        if !cx.dry_run() && !stays && (cx.inner().receipt_wanted || journal.own().next().is_some()) {
            let path = journal.path.display().to_string();
            journal.receipt.outputs.insert("receipt".to_owned(), path);
            if let Err(unwritten) = journal.save() {
                code = cx.report().afterthought(&unwritten, code);
            }
        }
        let document = json!({
            "schema": "cutover-result/1",
            "step": step.name,
            "version": journal.receipt.version,
            "code": code.number(),
            "verdict": code,
            "changed": changed,
            "headline": outcome.headline,
            "account": journal.receipt.account,
            "region": journal.receipt.region,
            "plan": journal.receipt.plan,
            "actions": journal.own().collect::<Vec<_>>(),
            "outputs": journal.receipt.outputs,
            "error": failure.as_ref().map(|failure| failure_json(failure, &state)),
        });
        (journal.receipt.outputs.clone(), document)
    };
    if let Some(failure) = &failure {
        cx.report().failure(failure, &state);
    }
    if let Err(unwritten) = cx.report().finish(&outcome.headline, &outputs, document) {
        code = cx.report().afterthought(&unwritten, code);
    }
    code
}

/// Leaves the receipt whole when the step has a bug: the hook runs before `panic = "abort"` ends the process.
fn install_panic_hook(cx: &Cx) {
    static RUN: OnceLock<Cx> = OnceLock::new();
    let _ = RUN.set(cx.clone());
    std::panic::set_hook(Box::new(|panic| {
        let Some(cx) = RUN.get() else { return };
        let failure = Failure::failed("go on: this is a bug in the step")
            .because(panic.to_string())
            .help("report it with the command line and the lines above");
        let mut state = Vec::new();
        let mut code = Code::Failed;
        // The panic may have come while the journal was held; then the file on disk is whole already.
        if let Some(mut journal) = cx.try_journal() {
            (code, _, state) = residue(journal.own(), code, &journal.path);
            journal.receipt.ended = Some(cx.now());
            journal.receipt.verdict = Some(Verdict {
                code: code.number(),
                message: failure.to_string(),
                causes: failure.chain(),
                help: failure.help.clone(),
                state: Vec::new(),
            });
            if journal.own().next().is_some() && !journal.stays().unwrap_or_default() {
                let _ = journal.save();
            }
        }
        cx.report().failure(&failure, &state);
        #[expect(clippy::exit, reason = "the documented exit code, where an abort would say 134")]
        std::process::exit(i32::from(code.number()));
    }));
}
