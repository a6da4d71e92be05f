//! What every step of a release has in common, and nothing about AWS or HTTP.
//!
//! A step is a [`Step`] constant and an `async fn run(args, cx)` that goes through the contract's phases with the
//! [`Cx`] it was given:
//!
//! ```text
//! observe the world            cx.observed(&world)
//! plan, or refuse              a pure function; Err(Failure::refused(..))
//! show                         match cx.show(&plan)? { Go::Stop(outcome) => return Ok(outcome), Go::Apply => {} }
//! apply                        cx.act("action-id", &inverse, async { .. }).await?
//! verify                       Err(Failure::unverified(..)) when the effect is not seen
//! outputs                      cx.output("name", value)
//! ```
//!
//! [`main`] is the whole executable: arguments (flags, and `INPUT_*` as a GitHub action gives them), signals, the
//! receipt, the report and the exit code.

mod action;
mod args;
mod code;
mod cx;
mod env;
mod failure;
mod files;
#[cfg(test)]
mod foreign_tests;
mod github;
mod guess;
mod journal;
mod json;
mod nearest;
mod plan;
mod receipt;
mod release;
mod report;
mod run;
mod secret;
mod step;
pub mod testing;
mod wait;
mod words;

pub use action::{Images, action_yml, dispatcher_yml};
pub use args::{Common, Format, command, parse_duration};
pub use code::Code;
pub use cx::{Cx, Go, Outcome};
pub use env::Env;
pub use failure::{Cause, Failure, innermost};
pub use files::{create_folder, hand_over};
pub use github::{
    log_line, markdown_code, markdown_inline, markdown_marker, mermaid_label, one_line, shell_word,
};
pub use guess::redact_value;
pub use json::StrictJson;
pub use nearest::nearest;
pub use plan::{Action, Note, Plan, Undo};
pub use receipt::{ActionRecord, ActionState, Receipt, Verdict};
pub use release::{clock, parse_release};
pub use run::{main, main_with, version};
pub use secret::{Secret, redact};
pub use step::{ExitCode, Image, Output, Permission, Run, Step, bind};
pub use wait::{Poll, Wait};
pub use words::{age, clip, counted, hex, minute, size};
