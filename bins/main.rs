//! `cutover`: every step in one executable, called as `cutover STEP ...` or by a link of the step's name.

mod pages;
mod policy;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use kit::{Env, Step};

/// musl's own takes one lock for every allocation, of all threads and of every size.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Every step. The action files, the documentation and the tests of all steps derive from this list.
const STEPS: [&Step; 15] = [
    &backup_db::STEP,
    &changeset_review::STEP,
    &copy_objects::STEP,
    &deploy_service::STEP,
    &deploy_stack::STEP,
    &dispatch_workflow::STEP,
    &maintenance_toggle::STEP,
    &mute_alerts::STEP,
    &register_task_def::STEP,
    &release_report::STEP,
    &run_migration::STEP,
    &swap_upstream::STEP,
    &tag_release::STEP,
    &toggle_schedule::STEP,
    &wait_healthy::STEP,
];

const COMMIT: Option<&str> = option_env!("CUTOVER_COMMIT");

fn main() -> ExitCode {
    let mut argv: Vec<String> = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let called = argv
        .first()
        .map(|name| Path::new(name).file_name().unwrap_or_default().to_string_lossy().into_owned());
    if let Some(step) = called.and_then(|name| find(&name)) {
        return kit::main_with(step, COMMIT, argv, Env::of_process());
    }
    let word = argv.get(1).cloned().unwrap_or_default();
    if let Some(step) = find(&word) {
        argv.remove(0);
        return kit::main_with(step, COMMIT, argv, Env::of_process());
    }
    match word.as_str() {
        "--list" => print(&STEPS.map(|step| format!("{}\n", step.name)).concat()),
        "--version" | "-V" => print(&format!("cutover {}\n", kit::version(COMMIT))),
        "--help" | "-h" => print(&usage()),
        "--action" => action(argv.get(2..).unwrap_or_default()),
        "--page" => page(argv.get(2..).unwrap_or_default()),
        "--policy" => match find(argv.get(2).map_or("", String::as_str)) {
            Some(step) => print(&format!("{:#}\n", policy::policy(step))),
            None => unknown(argv.get(2).map_or("", String::as_str)),
        },
        "--completions" => completions(&argv),
        "--man" => man(argv.get(2).map_or("", String::as_str)),
        "" => {
            let _ = std::io::stderr().write_all(usage().as_bytes());
            ExitCode::from(kit::Code::Usage.number())
        }
        other => unknown(other),
    }
}

/// For `make generate`: `--action [STEP] [--images STEPS CLIENTS]`, with both images where a release has them.
fn action(words: &[String]) -> ExitCode {
    let (name, images) = match words {
        [name, rest @ ..] if name != "--images" => (Some(name), rest),
        rest => (None, rest),
    };
    let images = match images {
        [] => Ok(kit::Images::default()),
        [_, steps, clients] => kit::Images::released(steps, clients),
        _ => Err("--images takes two images".to_owned()),
    };
    match (images, name.map(|name| (name, find(name)))) {
        (Err(what), _) => {
            failed(kit::Code::Usage, &what, "give the digests that the registry has answered with")
        }
        (_, Some((name, None))) => unknown(name),
        (Ok(images), None) => print(&kit::dispatcher_yml(&STEPS, &images)),
        (Ok(images), Some((_, Some(step)))) => print(&kit::action_yml(step, &images)),
    }
}

/// For `make generate`: `--page [STEP [--transcript FILE]]`.
fn page(words: &[String]) -> ExitCode {
    let (name, file) = match words {
        [] => return print(&pages::index(&STEPS)),
        [name] => (name, None),
        [name, flag, file] if flag == "--transcript" => (name, Some(file)),
        _ => return failed(kit::Code::Usage, "print a page", "cutover --page STEP --transcript FILE"),
    };
    let Some(step) = find(name) else { return unknown(name) };
    match file.map(std::fs::read_to_string).transpose() {
        Ok(transcript) => print(&pages::step(step, transcript.as_deref())),
        Err(error) => failed(
            kit::Code::Usage,
            &format!("read the transcript {}: {error}", file.map_or("", String::as_str)),
            "name the file of this step in docs/transcripts",
        ),
    }
}

fn completions(argv: &[String]) -> ExitCode {
    let name = argv.get(2).map_or("", String::as_str);
    let Some(shell) = pages::shell(name) else {
        let asked = if name.is_empty() {
            "no shell is named".to_owned()
        } else {
            format!("there are none for {name}")
        };
        return failed(
            kit::Code::Usage,
            &format!("print completions: {asked}"),
            &format!("the shells are {}", pages::shells()),
        );
    };
    let step = match argv.get(3) {
        None => None,
        Some(name) => match find(name) {
            Some(step) => Some(step),
            None => return unknown(name),
        },
    };
    print(&pages::completions(shell, step, &STEPS, COMMIT))
}

fn man(folder: &str) -> ExitCode {
    if folder.is_empty() {
        return failed(kit::Code::Usage, "write the man pages: no folder is named", "cutover --man DIR");
    }
    match pages::man(Path::new(folder), &STEPS, COMMIT) {
        Ok(number) => print(&format!("{number} pages in {folder}\n")),
        Err(error) => failed(
            kit::Code::Failed,
            &format!("write the man pages to {folder}: {error}"),
            "name a folder that can be written",
        ),
    }
}

fn find(name: &str) -> Option<&'static Step> {
    STEPS.into_iter().find(|step| step.name == name)
}

fn usage() -> String {
    let mut text = String::from(
        "The steps of an AWS release.\n\nUsage: cutover STEP [OPTIONS]\n       cutover --list | --version\n       cutover --completions SHELL [STEP]\n       cutover --man DIR\n       cutover --policy STEP\n\nSteps:\n",
    );
    for step in STEPS {
        let about = (step.command)().get_about().map(ToString::to_string).unwrap_or_default();
        text.push_str(&format!("  {:<20}{about}\n", step.name));
    }
    text.push_str("\n`cutover STEP --help` tells all of a step.\n");
    text
}

fn unknown(name: &str) -> ExitCode {
    let names = STEPS.map(|step| step.name).join(", ");
    failed(kit::Code::Usage, &format!("there is no step {name}"), &format!("the steps are {names}"))
}

fn failed(code: kit::Code, what: &str, help: &str) -> ExitCode {
    let state = if code == kit::Code::Usage { "  state: nothing was changed\n" } else { "" };
    let what = kit::log_line(&kit::clip(&kit::one_line(what), 1000));
    let _ = std::io::stderr().write_all(format!("error: {what}\n  help: {help}\n{state}").as_bytes());
    ExitCode::from(code.number())
}

fn print(text: &str) -> ExitCode {
    // Whoever closed the pipe has read enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}
