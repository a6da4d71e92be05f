//! Where a review goes: standard output, the job's summary, files, a comment on a pull request.

use std::path::Path;

use changeset::review::Review;
use changeset::show::{CommentOptions, Style, comment, marker, summary, terminal};
use github::{Github, Posted, sticky_comment};
use kit::{Cx, Failure};
use serde_json::Value;

use crate::ReviewArgs;

pub(crate) async fn publish(
    args: &ReviewArgs,
    cx: &Cx,
    review: &Review,
    document: &Value,
) -> Result<(), Failure> {
    let style = Style { colour: cx.report().colours_result(), ..Style::default() };
    let text: String = terminal(review, style).iter().map(|line| format!("{line}\n")).collect();
    // First of all, so that it is seen whatever becomes of the rest.
    cx.report().result(text, "review", document.clone());
    cx.report().summarize(&format!("\n{}", summary(review)));
    if let Some(file) = &args.report {
        write(file, &kit::redact(&format!("{document:#}\n")))?;
        cx.output("report", file.display().to_string());
    }
    let mut options = CommentOptions::new(&args.comment_name, run_page(cx));
    options.values = args.comment_values;
    if let Some(file) = &args.comment_file {
        write(file, &kit::redact(&comment(review, &options)))?;
    }
    if let Some(number) = args.pull_request {
        post(args, cx, number, &options, review).await;
    }
    Ok(())
}

/// The comment is for reading: that it can't be made stops no review.
async fn post(args: &ReviewArgs, cx: &Cx, number: u64, options: &CommentOptions, review: &Review) {
    let posted = match Github::new(cx, &args.github) {
        Ok(github) => {
            let marker = marker(&options.target);
            sticky_comment(cx, &github, number, &marker, &comment(review, options)).await
        }
        Err(error) => Err(error),
    };
    match posted {
        Ok(Posted::Created(url)) => cx.report().say(&format!("commented: {url}")),
        Ok(Posted::Updated(url)) => cx.report().say(&format!("brought the comment up to date: {url}")),
        Ok(Posted::Unchanged(url)) => cx.report().say(&format!("the comment says so already: {url}")),
        Err(error) => {
            let why = std::iter::once(error.to_string()).chain(error.chain()).collect::<Vec<_>>().join(": ");
            let denied = ["HTTP 401", "HTTP 403", "HTTP 404"].iter().any(|status| why.contains(status));
            let help = if denied {
                "; it takes a GITHUB_TOKEN with the permission pull-requests: write"
            } else {
                ""
            };
            cx.report().warn(&format!("there is no comment on pull request {number}: {why}{help}"));
        }
    }
}

/// <https://docs.github.com/en/actions/reference/workflows-and-actions/variables>
fn run_page(cx: &Cx) -> Option<String> {
    let of = |name: &str| cx.env().get(name);
    Some(format!(
        "{}/{}/actions/runs/{}",
        of("GITHUB_SERVER_URL")?,
        of("GITHUB_REPOSITORY")?,
        of("GITHUB_RUN_ID")?
    ))
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let made = folder.map_or(Ok(()), kit::create_folder);
    made.and_then(|()| std::fs::write(file, text)).and_then(|()| kit::hand_over(file)).map_err(|error| {
        Failure::failed(format!("write {}", file.display()))
            .because(error)
            .help("name a file that can be written")
    })
}
