//! A name that leads to its maintenance page, and back.

use futures::future::{BoxFuture, FutureExt as _};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::maintenance::stage::Stage as World;
use crate::proof::{Case, Stage, started};

pub(super) const CASES: [Case; 2] = [
    Case { step: "maintenance-toggle", does: "leads to the page", start: || started(Maintenance::new("on")) },
    Case { step: "maintenance-toggle", does: "leads back", start: || started(Maintenance::new("off")) },
];

struct Maintenance {
    world: World,
    action: &'static str,
}

impl Maintenance {
    async fn new(action: &'static str) -> Self {
        let world = World::start().await;
        if action == "off" {
            world.on(&["--release", "sprint43"]).await.expect(0);
        }
        Self { world, action }
    }
}

impl Stage for Maintenance {
    fn world(&self) -> Option<&crate::world::World> {
        Some(&self.world.world)
    }

    /// In an environment that names the DNS server, for the taking back too.
    fn cutover(&self, args: &[&str]) -> Command {
        let mut command = self.world.world.command(args);
        for input in ["INPUT_NAME-SERVER", "INPUT_RESOLVER"] {
            command.env(input, self.world.server());
        }
        command
    }

    fn args(&self) -> Vec<String> {
        self.world.args(self.action, &["--release", "sprint43", "--to-name", "page.test"])
    }

    fn names(&self) -> Vec<(String, &'static str)> {
        vec![(self.world.zone.clone(), "ZONE"), (self.world.zone_id.clone(), "ZONE-ID")]
    }

    fn state(&self) -> BoxFuture<'_, Value> {
        async { json!(self.world.records().await) }.boxed()
    }

    fn told_of_the_run(&self) -> &'static [&'static str] {
        &["waited"]
    }
}
