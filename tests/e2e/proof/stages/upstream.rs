//! Two proxies that are led to another server.

use std::path::Path;

use futures::future::{BoxFuture, FutureExt as _};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::proof::{Case, Place, Spot, Stage, Wrong, started};
use crate::upstream::World;
use crate::upstream::killed::Switchman;
use crate::world::scrubbed;

pub(super) const CASES: [Case; 1] =
    [Case { step: "swap-upstream", does: "leads to the new server", start: || started(Upstream::new()) }];

struct Upstream {
    world: World,
    switchman: Switchman,
}

impl Upstream {
    async fn new() -> Self {
        let world = World::start(&[false, false]).await.expect("a case that is possible");
        let switchman = Switchman::new(&world);
        switchman.told("never");
        Self { world, switchman }
    }
}

/// Points are the commands that the step runs. The switchman himself kills the step that called him.
impl Place for Switchman {
    fn forget(&self) {
        self.told("never");
    }

    /// After a command is before the next one: what the killed run had noted of it is gone with the run.
    fn points(&self) -> Vec<Spot> {
        (1..=self.count()).map(|nth| Spot { line: 1, nth, after: true }).collect()
    }

    fn hold(&self, spot: Spot) {
        self.told(&format!("after {}", spot.nth));
    }

    fn held(&self) -> BoxFuture<'_, ()> {
        std::future::pending().boxed()
    }

    fn clear(&self) {
        let when = std::fs::read_to_string(self.folder.join("when")).unwrap();
        if let Some(nth) = when.trim().strip_prefix("after ") {
            let is_reached = self.count() >= nth.parse().unwrap();
            assert_eq!(is_reached, self.folder.join("struck").exists(), "{when}");
        }
        self.told("never");
    }

    /// There is no network between the step and files of its own machine.
    fn trouble(&self, _: Wrong, _: usize) -> bool {
        false
    }

    /// How often the workers are looked at varies from run to run.
    fn varies(&self, _: Spot) -> bool {
        true
    }
}

impl Stage for Upstream {
    fn place(&self) -> Option<&dyn Place> {
        Some(&self.switchman)
    }

    fn dir(&self) -> &Path {
        self.world.dir.path()
    }

    fn cutover(&self, args: &[&str]) -> Command {
        let mut command = scrubbed(env!("CARGO_BIN_EXE_cutover"), self.dir());
        self.switchman.before(&mut command);
        command.args(args);
        command
    }

    fn args(&self) -> Vec<String> {
        std::iter::once("swap-upstream".to_owned()).chain(self.world.args()).collect()
    }

    fn names(&self) -> Vec<(String, &'static str)> {
        let mut names = vec![(self.world.old.server(), "OLD"), (self.world.new.server(), "NEW")];
        for (proxy, word) in self.world.proxies.iter().zip(["STANFORD", "BACKUP"]) {
            names.push((proxy.nginx.config.parent().unwrap().display().to_string(), word));
        }
        names
    }

    fn state(&self) -> BoxFuture<'_, Value> {
        async {
            let files: Vec<_> = self.world.proxies.iter().map(crate::upstream::Proxy::files).collect();
            json!({"texts": self.world.texts(), "versions": self.world.versions().await, "files": files})
        }
        .boxed()
    }

    fn told_of_the_run(&self) -> &'static [&'static str] {
        &["edited", "reloaded"]
    }

    /// The former file stays beside.
    fn comes_back(&self, mut state: Value) -> Value {
        for files in state["files"].as_array_mut().into_iter().flatten() {
            if let Some(files) = files.as_array_mut() {
                files.retain(|name| *name != ".nginx.conf.cutover-before");
            }
        }
        state
    }
}
