//! A search cluster whose indexes get another number of copies, and their own again.

use std::path::Path;

use futures::future::{BoxFuture, FutureExt as _};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::healthy::search_double::{Fault, Search};
use crate::proof::{Case, Place, Spot, Stage, Wrong, started, went_before};
use crate::world::scrubbed;

pub(super) const CASES: [Case; 2] = [
    Case {
        step: "wait-healthy",
        does: "restores the numbers of copies",
        start: || {
            started(async {
                let mut stage = Copies::new().await;
                went_before(&stage, &stage.args()).await;
                stage.is_set = true;
                stage
            })
        },
    },
    Case { step: "wait-healthy", does: "sets the numbers of copies", start: || started(Copies::new()) },
];

struct Copies {
    search: Search,
    dir: TempDir,
    is_set: bool,
}

impl Copies {
    async fn new() -> Self {
        let search = Search::start("7.17.0", 5, &[("award", "1"), ("experiment", "1"), ("snp", "0")]).await;
        Self { search, dir: tempfile::tempdir().unwrap(), is_set: false }
    }
}

/// Points are requests that write.
impl Place for Search {
    fn forget(&self) {
        Self::forget(self);
    }

    fn points(&self) -> Vec<Spot> {
        let spots = (1..=self.writes().len()).flat_map(|nth| [false, true].map(|after| (nth, after)));
        spots.map(|(nth, after)| Spot { line: 1, nth, after }).collect()
    }

    fn hold(&self, spot: Spot) {
        let fault = if spot.after { Fault::HoldAfter(spot.nth) } else { Fault::HoldBefore(spot.nth) };
        self.state().fault = Some(fault);
    }

    fn held(&self) -> BoxFuture<'_, ()> {
        Self::held(self).boxed()
    }

    fn clear(&self) {
        self.state().fault = None;
    }

    fn trouble(&self, wrong: Wrong, _: usize) -> bool {
        let refused =
            |from, times, status, kind, reason| Fault::Refused { from, times, status, kind, reason };
        self.state().fault = Some(match wrong {
            // https://www.elastic.co/docs/troubleshoot/elasticsearch/rejected-requests
            Wrong::Throttled => {
                refused(1, 2, 429, "es_rejected_execution_exception", "rejected execution of a request")
            }
            Wrong::ServerErrors => refused(1, 1, 500, "exception", "internal error"),
            Wrong::Unavailable => Fault::Unavailable(1),
            Wrong::CutOff => Fault::Lost(1),
            Wrong::Slow => Fault::Slow,
            Wrong::Expired => refused(3, 1000, 401, "security_exception", "token expired"),
            Wrong::Denied => {
                refused(1, 1000, 403, "security_exception", "the action is unauthorized for this user")
            }
            _ => return false,
        });
        true
    }

    fn varies(&self, _: Spot) -> bool {
        false
    }
}

impl Stage for Copies {
    fn place(&self) -> Option<&dyn Place> {
        Some(&self.search)
    }

    fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn cutover(&self, args: &[&str]) -> Command {
        let mut command = scrubbed(env!("CARGO_BIN_EXE_cutover"), self.dir.path());
        command.args(args);
        command
    }

    fn args(&self) -> Vec<String> {
        let verb = if self.is_set { "restore-replicas" } else { "set-replicas" };
        let mut args = vec!["wait-healthy", "--action", verb, "--es", &self.search.url, "--interval", "20ms"];
        if !self.is_set {
            args.extend(["--replicas", "2"]);
        }
        args.into_iter().map(str::to_owned).collect()
    }

    fn told_of_the_run(&self) -> &'static [&'static str] {
        &["attempts", "indexes", "waited"]
    }

    fn state(&self) -> BoxFuture<'_, Value> {
        async { self.search.contents() }.boxed()
    }
}
