//! A release with all that it has: a version's file, an asset, a tag that moves.

use std::path::Path;

use futures::future::{BoxFuture, FutureExt as _};
use serde_json::Value;
use testkit::github::GithubWorld;
use tokio::process::Command;

use crate::proof::{Case, Stage, started};
use crate::tag_release::{RELEASE, Stage as World};

pub(super) const CASES: [Case; 1] =
    [Case { step: "tag-release", does: "releases", start: || started(async { Tag(World::new().await) }) }];

struct Tag(World);

impl Stage for Tag {
    fn github(&self) -> Option<&GithubWorld> {
        Some(&self.0.github)
    }

    fn dir(&self) -> &Path {
        self.0.dir.path()
    }

    fn cutover(&self, args: &[&str]) -> Command {
        self.0.cutover(args)
    }

    fn args(&self) -> Vec<String> {
        std::iter::once("tag-release").chain(RELEASE.into_iter().take(12)).map(str::to_owned).collect()
    }

    fn state(&self) -> BoxFuture<'_, Value> {
        async { self.0.state() }.boxed()
    }

    /// A commit is taken back by another.
    fn comes_back(&self, mut state: Value) -> Value {
        for told_of_the_history in ["parents", "changed"] {
            state.as_object_mut().and_then(|state| state.remove(told_of_the_history));
        }
        state
    }

    /// Commits and tags have the second in them in which they were made.
    fn given_by_the_platform(&self) -> &'static [&'static str] {
        &["release-id", "sha", "tag-sha"]
    }

    fn idempotent(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("POST git/blobs", "the same bytes are the same object"),
            ("POST git/trees", "the same entries are the same object"),
            ("POST git/commits", "nothing refers to the first one, which GitHub drops in time"),
            ("POST git/tags", "nothing refers to the first one, which GitHub drops in time"),
        ]
    }
}
