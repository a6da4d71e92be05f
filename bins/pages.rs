//! What `make generate` and packagers write from the steps' own definitions: a page of documentation for each step, shell
//! completions and man pages.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use clap::builder::ValueHint;
use clap::{Arg, ArgAction, Command, ValueEnum as _};
use clap_complete::Shell;
use clap_mangen::Man;
use kit::{Code, Step, markdown_code, markdown_inline};

use crate::policy;

/// `docs/steps/STEP.md`, with a transcript of a real run where there is one.
pub(crate) fn step(step: &'static Step, transcript: Option<&str>) -> String {
    let command = step.full_command(None);
    let mut out = format!(
        "<!-- Generated from the step's own help and arguments by `make generate`; a test compares. -->\n\n# {}\n\n",
        step.name
    );
    let _ = write!(
        out,
        "[At a terminal](#at-a-terminal) · [Flags](#flags) · [As an action](#as-an-action) · [Outputs](#outputs) · [Permissions](#permissions) · [Exit codes](#exit-codes)\n\n"
    );
    let help = command.get_long_about().map(ToString::to_string).unwrap_or_default();
    out.push_str(&prose(help.trim()));
    out.push_str("\n## At a terminal\n\n");
    let _ = write!(out, "```sh\n{}\n```\n\n", usage(step.name, &command));
    out.push_str(
        "In the multi-call executable and the image it is the same with `cutover` before it. Every flag can also come from the \
         environment, as an action's input does: `INPUT_<FLAG>`, hyphens kept.\n\n",
    );
    if let Some(transcript) = transcript {
        let fence = fence(transcript);
        let _ = write!(
            out,
            "Real runs, which a test repeats and compares. Credentials, region and connections come from the environment. \
             `[...]` stands for lines that are left out; times, addresses and ids are replaced by some that stay the \
             same.\n\n{fence}console\n{}\n{fence}\n\n",
            transcript.trim_end()
        );
    }
    flags(&mut out, &command);
    action(&mut out, step, &command);
    out.push_str("## Outputs\n\n| output | meaning |\n|---|---|\n");
    for (name, description) in step.all_outputs() {
        let _ = writeln!(out, "| {} | {} |", markdown_code(name), markdown_inline(description));
    }
    out.push_str("\n## Permissions\n\n");
    if step.permissions.is_empty() {
        out.push_str("None: it asks neither AWS nor GitHub for anything.\n");
    } else {
        out.push_str("| action | on | when |\n|---|---|---|\n");
        for permission in step.permissions {
            let when = if permission.when.is_empty() {
                "always".to_owned()
            } else {
                markdown_inline(permission.when)
            };
            let action = markdown_code(permission.action);
            let action = match policy::reference(permission.action) {
                Some(row) => format!("[{action}]({row})"),
                None => action,
            };
            let _ = writeln!(out, "| {action} | {} | {when} |", markdown_code(permission.resource));
        }
        if policy::policy(step)["Statement"].as_array().is_some_and(|statements| !statements.is_empty()) {
            let _ = write!(
                out,
                "\nAWS's [as a policy](../iam/{}.json): replace the words in capitals, and leave out what your releases never do.\n",
                step.name
            );
        }
    }
    out.push_str(
        "\n## Exit codes\n\nThe same for [every step](../exit-codes.md); where this one gives a code a narrower meaning, it stands here.\n\n| code | meaning |\n|--:|---|\n",
    );
    for code in Code::ALL {
        let own = step.exit_codes.iter().find(|own| own.code == code);
        let meaning = own.map_or(code.meaning(), |own| own.meaning);
        let _ = writeln!(out, "| {} | {} |", code.number(), markdown_inline(meaning));
    }
    out
}

/// `docs/steps/README.md`.
pub(crate) fn index(steps: &[&'static Step]) -> String {
    let mut out = String::from(
        "<!-- Generated from the steps' own help by `make generate`; a test compares. -->\n\n# The steps\n\n| step | what it does |\n|---|---|\n",
    );
    for step in steps {
        let about = step.full_command(None).get_about().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(out, "| [{0}]({0}.md) | {1} |", step.name, markdown_inline(&about));
    }
    out
}

/// Help text is Markdown that is laid out for a terminal: two blanks begin what is to stay as it is.
fn prose(text: &str) -> String {
    let mut out = String::new();
    let mut fenced = false;
    for line in text.lines() {
        let is_code = line.starts_with("  ") && !line.trim().is_empty();
        if is_code && !fenced {
            if !out.ends_with("\n\n") && !out.is_empty() {
                out.push('\n');
            }
            out.push_str("```text\n");
            fenced = true;
        } else if fenced && !is_code {
            out.push_str("```\n");
            fenced = false;
            if !line.trim().is_empty() {
                out.push('\n');
            }
        }
        let line =
            if fenced { line.strip_prefix("  ").unwrap_or(line).to_owned() } else { outside_code(line) };
        out.push_str(line.trim_end());
        out.push('\n');
    }
    if fenced {
        out.push_str("```\n");
    }
    out
}

/// `<` and `*` mean something to Markdown, and in help text they mean themselves, but for the address of a page.
fn outside_code(line: &str) -> String {
    line.split('`')
        .enumerate()
        .map(|(at, part)| match at % 2 {
            0 => part
                .replace('<', "&lt;")
                .replace("&lt;https://", "<https://")
                .replace('*', "\\*")
                .replace('|', "\\|"),
            _ => part.to_owned(),
        })
        .collect::<Vec<_>>()
        .join("`")
}

/// One that no line of the text ends: longer than any row of backticks in it.
/// <https://spec.commonmark.org/0.31.2/#fenced-code-blocks>
fn fence(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or_default();
    "`".repeat(3.max(longest + 1))
}

/// The required flags; the others are in the table.
fn usage(name: &str, command: &Command) -> String {
    let mut text = name.to_owned();
    for arg in shown(command).filter(|arg| arg.is_required_set()) {
        let _ = write!(text, " --{} {}", arg.get_long().unwrap_or_default(), value(arg));
    }
    text + " [OPTIONS]"
}

fn shown(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| {
        !arg.is_hide_set() && arg.get_long().is_some_and(|long| !matches!(long, "help" | "version"))
    })
}

fn is_switch(arg: &Arg) -> bool {
    arg.get_num_args().is_some_and(|range| range.min_values() == 0)
}

fn value(arg: &Arg) -> String {
    arg.get_value_names().into_iter().flatten().next().map(ToString::to_string).unwrap_or_default()
}

fn flags(out: &mut String, command: &Command) {
    out.push_str("## Flags\n\n");
    // By name: a heading of clap goes on to the arguments that follow it.
    let (common, own): (Vec<&Arg>, Vec<&Arg>) = shown(command).partition(|arg| {
        matches!(arg.get_long().unwrap_or_default(), "dry-run" | "format" | "receipt" | "undo" | "timeout")
    });
    for (title, args) in [("", own), ("Of every step:\n\n", common)] {
        if args.is_empty() {
            continue;
        }
        out.push_str(title);
        out.push_str("| flag | meaning |\n|---|---|\n");
        for arg in args {
            let _ = writeln!(out, "| {} | {} |", markdown_code(&flag(arg)), meaning(arg));
        }
        out.push('\n');
    }
}

fn flag(arg: &Arg) -> String {
    let long = arg.get_long().unwrap_or_default();
    if is_switch(arg) { format!("--{long}") } else { format!("--{long} {}", value(arg)) }
}

fn meaning(arg: &Arg) -> String {
    let help = arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut text =
        help.split("\n\n").map(|part| inline(part.trim_end_matches('.'))).collect::<Vec<_>>().join(". ");
    let values = arg.get_possible_values();
    if !values.is_empty() && !is_switch(arg) {
        let all: Vec<String> = values
            .iter()
            .filter(|value| !value.is_hide_set())
            .map(|value| {
                let help = value.get_help().map(|help| inline(help.to_string().trim_end_matches('.')));
                let name = markdown_code(value.get_name());
                help.map_or(name.clone(), |help| format!("{name} ({help})"))
            })
            .collect();
        let _ = write!(text, ": {}", all.join(", "));
    }
    if matches!(arg.get_action(), ArgAction::Append) {
        text.push_str("; as an input one a line");
    }
    if arg.is_required_set() {
        text.push_str(". **Required**");
    }
    let default = arg.get_default_values().first().filter(|_| !is_switch(arg));
    if let Some(default) = default {
        let _ = write!(text, ". Default: {}", markdown_code(&default.to_string_lossy()));
    }
    text
}

/// Help of an argument, in which backticks mean code already.
fn inline(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.split('`')
        .enumerate()
        .map(|(at, part)| match at % 2 {
            // The blanks at the ends of a part belong to the sentence.
            0 => {
                let (head, tail) = (part.starts_with(' '), part.len() > 1 && part.ends_with(' '));
                let space = |yes: bool| if yes { " " } else { "" };
                format!("{}{}{}", space(head), markdown_inline(part), space(tail))
            }
            _ => markdown_code(part),
        })
        .collect()
}

fn action(out: &mut String, step: &Step, command: &Command) {
    let _ = write!(
        out,
        "## As an action\n\nEvery flag is an input of the same name, and takes the same values; a flag that is a switch takes `true` or `false`.\n\n```yaml\n- id: {0}\n  uses: OWNER/cutover/actions/{0}@COMMIT\n",
        step.name
    );
    let mut with: Vec<String> = shown(command)
        .filter(|arg| arg.is_required_set())
        .map(|arg| format!("    {}: {}\n", arg.get_long().unwrap_or_default(), placeholder(arg)))
        .collect();
    with.push(format!("    receipt: receipts/{}.json\n", step.name));
    let _ = write!(out, "  with:\n{}", with.concat());
    if step
        .permissions
        .iter()
        .any(|permission| !permission.action.contains(':') || permission.action.contains(": "))
    {
        out.push_str("  env:\n    GITHUB_TOKEN: ${{ github.token }}\n");
    }
    out.push_str("```\n\n");
    if let Some(first) = step.outputs.first() {
        let _ = write!(
            out,
            "Later steps read its outputs, as in `${{{{ steps.{}.outputs.{} }}}}`.\n\n",
            step.name, first.name
        );
    }
}

/// What stands for a value in YAML.
fn placeholder(arg: &Arg) -> String {
    let values = arg.get_possible_values();
    let text = values.first().map_or_else(|| value(arg), |first| first.get_name().to_owned());
    format!("'{}'", text.replace('\'', "''"))
}

/// Every step as a subcommand, as a shell and a manual see it.
pub(crate) fn whole(steps: &[&'static Step], commit: Option<&'static str>) -> Command {
    let command = Command::new("cutover")
        .bin_name("cutover")
        .about("The steps of an AWS release")
        .version(kit::version(commit))
        .disable_help_subcommand(true)
        .subcommand_required(true)
        .args([
            Arg::new("list").long("list").action(ArgAction::SetTrue).help("Print the steps' names"),
            Arg::new("completions")
                .long("completions")
                .value_names(["SHELL", "STEP"])
                .num_args(1..=2)
                .help("Print the completions for a shell: of cutover, or of a step called by its own name"),
            Arg::new("man")
                .long("man")
                .value_name("DIR")
                .value_hint(ValueHint::DirPath)
                .help("Write the man pages of cutover and of every step into a folder"),
        ]);
    steps.iter().fold(command, |command, step| {
        let name = step.name;
        command.subcommand(hinted(step.full_command(commit)).bin_name(format!("cutover {name}")))
    })
}

/// Where a flag takes a file or a folder, shells complete one.
fn hinted(command: Command) -> Command {
    command.mut_args(|arg| {
        let name = arg.get_value_names().into_iter().flatten().next().map(ToString::to_string);
        match name.as_deref() {
            Some("FILE" | "RECEIPT" | "PATH") => arg.value_hint(ValueHint::AnyPath),
            Some("DIR" | "FOLDER") => arg.value_hint(ValueHint::DirPath),
            _ => arg,
        }
    })
}

/// The completions of `cutover`, or of one step called by its own name.
pub(crate) fn completions(
    shell: Shell,
    step: Option<&'static Step>,
    steps: &[&'static Step],
    commit: Option<&'static str>,
) -> String {
    let mut script = Vec::new();
    match step {
        None => clap_complete::generate(shell, &mut whole(steps, commit), "cutover", &mut script),
        Some(step) => {
            clap_complete::generate(shell, &mut hinted(step.full_command(commit)), step.name, &mut script);
        }
    }
    String::from_utf8_lossy(&script).into_owned()
}

/// The shells that there are completions for.
pub(crate) fn shell(name: &str) -> Option<Shell> {
    Shell::value_variants().iter().copied().find(|shell| shell.to_string() == name)
}

pub(crate) fn shells() -> String {
    Shell::value_variants().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// `cutover.1`, and for each step `cutover-STEP.1` and `STEP.1`, which leads to it.
pub(crate) fn man(folder: &Path, steps: &[&'static Step], commit: Option<&'static str>) -> io::Result<usize> {
    std::fs::create_dir_all(folder)?;
    let mut number = 1;
    let mut text = Vec::new();
    // No date: the same version gives the same bytes.
    Man::new(whole(steps, commit)).date("").render(&mut text)?;
    std::fs::write(folder.join("cutover.1"), text)?;
    for step in steps {
        let mut text = Vec::new();
        let name = format!("cutover-{}", step.name);
        Man::new(step.full_command(commit)).title(name.clone()).date("").render(&mut text)?;
        std::fs::write(folder.join(format!("{name}.1")), text)?;
        // <https://man7.org/linux/man-pages/man7/groff_man.7.html>: `.so` reads another page, from the root of the manual.
        std::fs::write(folder.join(format!("{}.1", step.name)), format!(".so man1/{name}.1\n"))?;
        number += 2;
    }
    Ok(number)
}
