//! AWS for every step: one client configuration, who and where we are, and errors that name the next move.

mod arn;
mod client;
mod doubt;
mod error;
mod raw;
mod session;

pub use arn::Arn;
pub use client::{Aws, AwsArgs, without_retry};
pub use error::failure;
pub use raw::{RawAnswer, send_json};
