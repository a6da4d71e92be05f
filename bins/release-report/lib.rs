#![doc = include_str!("help.md")]

mod expect;
mod facts;
#[cfg(test)]
mod foreign_tests;
mod html;
mod jobs;
mod markdown;
mod mask;
mod mermaid;
mod observe;
mod plan;
mod story;
#[cfg(test)]
mod tests;
mod text;
mod way_back;
mod words;
mod write;

use std::path::{Path, PathBuf};
use std::time::Duration;

use kit::{Code, Cx, ExitCode, Failure, Image, Outcome, Output, Step};

use crate::expect::Expect;
use crate::jobs::Jobs;
use crate::plan::Asked;
use crate::story::Story;

/// The step.
pub const STEP: Step = Step {
    name: "release-report",
    command: kit::command::<Args>,
    outputs: &[
        Output {
            name: "verdict",
            description: "how the release stands: done, incomplete (an expected receipt is missing), none, killed, or how the worst run ended: partial, unverified, deadline, waiting, terminated, interrupted, failed, refused, usage",
        },
        Output { name: "runs", description: "how many runs of steps left a receipt" },
        Output { name: "changes", description: "how many actions are done and not taken back" },
        Output {
            name: "in-doubt",
            description: "how many actions were begun, and nothing says how they ended",
        },
        Output { name: "missing", description: "what --expect named and has no receipt, one a line" },
        Output { name: "markdown", description: "the file with the Markdown; absent without --markdown" },
        Output { name: "html", description: "the file with the HTML; absent without --html" },
    ],
    permissions: &[],
    exit_codes: &[
        ExitCode { code: Code::Done, meaning: "the report is drawn, however the release went" },
        ExitCode {
            code: Code::Usage,
            meaning: "there is no receipt, or one that can't be read, or the arguments can't be used; nothing was written",
        },
    ],
    image: Image::Steps,
    timeout: Duration::from_mins(5),
    run: |matches, cx| kit::bind(matches, cx, |args: Args, cx| async move { run(&args, &cx) }),
};

/// Draw a whole release from its receipts
#[derive(clap::Args, Clone, Debug)]
#[command(about, long_about = include_str!("help.md"))]
pub struct Args {
    /// Where the receipts are: a folder, searched to its bottom, or a file; may be repeated
    #[arg(long, value_name = "PATH", required = true)]
    receipts: Vec<PathBuf>,

    /// A step that must have left a receipt; may be repeated
    #[arg(long, value_name = "[JOB/]STEP")]
    expect: Vec<Expect>,

    /// What the jobs came to, as the expression toJSON(needs) gives it: a job may fail and leave no receipt
    #[arg(long, value_name = "JSON", value_parser = jobs)]
    needs: Option<Jobs>,

    /// What the report is about [default: Release of REPOSITORY]
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,

    /// Write the report as Markdown here
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,

    /// Write the report as one HTML file here
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// No receipt at all, or no such folder, is no error: the report says so
    #[arg(long)]
    allow_none: bool,
}

fn jobs(text: &str) -> Result<Jobs, String> {
    text.parse()
}

fn run(args: &Args, cx: &Cx) -> Result<Outcome, Failure> {
    if cx.undo().is_some() {
        return Err(Failure::refused("take a report back")
            .because("it changed nothing but the files it wrote")
            .help("delete those, or run it again"));
    }
    check(args)?;
    let found = observe::observe(&args.receipts, args.allow_none)?;
    for file in [&args.markdown, &args.html].into_iter().flatten() {
        write::check(file, &found)?;
    }
    let asked = Asked {
        title: args.title.clone(),
        expect: args.expect.clone(),
        jobs: args.needs.clone().unwrap_or_default().0,
        places: args.receipts.clone(),
    };
    let story = plan::plan(found, &asked);
    outputs(cx, &story);
    cx.report().summarize(&markdown::summary(&story));
    let document =
        serde_json::to_value(&story).map_err(|error| Failure::failed("write the report").because(error))?;
    cx.report().result(text::text(&story), "report", document);
    let files: Vec<(&Path, String)> = [
        args.markdown.as_deref().map(|file| (file, markdown::file(&story))),
        args.html.as_deref().map(|file| (file, html::page(&story))),
    ]
    .into_iter()
    .flatten()
    .collect();
    if cx.dry_run() {
        for (file, text) in &files {
            cx.report().say(&format!("would write {} ({} bytes)", file.display(), text.len()));
        }
        return Ok(Outcome::unchanged(story.headline));
    }
    let written = write::all(&files)?;
    for (name, file) in [("markdown", &args.markdown), ("html", &args.html)] {
        if let Some(file) = file {
            cx.output(name, file.display().to_string());
        }
    }
    Ok(Outcome { changed: written > 0, headline: story.headline })
}

fn outputs(cx: &Cx, story: &Story) {
    cx.output("verdict", story.verdict.word());
    cx.output("runs", story.runs.len().to_string());
    cx.output("changes", story.changes.to_string());
    cx.output("in-doubt", story.in_doubt.to_string());
    cx.output("missing", story.missing.join("\n"));
}

fn check(args: &Args) -> Result<(), Failure> {
    if args.receipts.iter().any(|path| path.as_os_str().is_empty()) {
        return Err(Failure::usage("use --receipts").because("its value is empty"));
    }
    if args.markdown.is_some() && args.markdown == args.html {
        return Err(Failure::usage("write the report").because("--markdown and --html name the same file"));
    }
    Ok(())
}
