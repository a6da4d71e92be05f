//! octocrab configured from the environment, and GitHub's errors explained.
//!
//! Reading calls are tried again by themselves. A writing call is sent once ([`Github::write`]): octocrab's own retries
//! would send a body again whose first try took effect, so before each further try the caller looks.

mod client;
mod comment;
#[cfg(test)]
mod comment_tests;
mod error;
#[cfg(test)]
mod tests;
mod tls;
mod upload;

pub use client::{Call, Github, GithubArgs, Method, Once, Repository};
pub use comment::{Posted, sticky_comment};
pub use error::failure;

/// A path segment or a ref's name, encoded for a URL; `/` separates a ref's parts and is kept.
pub fn encode(name: &str) -> String {
    use std::fmt::Write as _;
    name.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}
