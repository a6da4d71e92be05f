//! A service that is put on another revision, and back; and one whose tasks are scaled down and restored.

use std::path::Path;

use futures::future::{BoxFuture, FutureExt as _};
use serde_json::{Value, json};
use testkit::front::Front;
use tokio::process::Command;

use crate::deploy_scenarios::{IN, Stage as Scenery};
use crate::proof::{Case, Stage, started, went_before};
use crate::world::{CLUSTER, SERVICE, World, repository};

pub(super) const CASES: [Case; 4] = [
    Case { step: "deploy-service", does: "deploys", start: || started(Deploy::new(false)) },
    Case { step: "deploy-service", does: "rolls back", start: || started(Deploy::new(true)) },
    Case { step: "deploy-service", does: "scales to none", start: || started(Scale::new("0")) },
    Case { step: "deploy-service", does: "restores the scale", start: || started(Scale::new("restore")) },
];

struct Deploy {
    world: World,
    revision: String,
    rolls_back: bool,
}

impl Deploy {
    async fn new(rolls_back: bool) -> Self {
        let world = World::start().await;
        let digest = "@sha256:1111111111111111111111111111111111111111111111111111111111111111";
        let revision = world.register(&repository("rally-prod", digest)).await;
        let stage = Self { world, revision, rolls_back: false };
        if rolls_back {
            went_before(&stage, &stage.args()).await;
        }
        Self { rolls_back, ..stage }
    }
}

impl Stage for Deploy {
    fn world(&self) -> Option<&World> {
        Some(&self.world)
    }

    fn args(&self) -> Vec<String> {
        let service = format!("{CLUSTER}/{SERVICE}");
        let args = [
            "deploy-service",
            "--service",
            &service,
            "--interval",
            "10ms",
            "--task-definition",
            &self.revision,
        ];
        let more: &[&str] = if self.rolls_back { &["--action", "roll-back"] } else { &[] };
        args.into_iter().chain(more.iter().copied()).map(str::to_owned).collect()
    }

    fn state(&self) -> BoxFuture<'_, Value> {
        async {
            self.world.settle().await;
            let service = self.world.service().await;
            let keep = [
                "taskDefinition",
                "desiredCount",
                "runningCount",
                "pendingCount",
                "tags",
                "deploymentConfiguration",
            ];
            let service: Value =
                keep.iter().map(|field| ((*field).to_owned(), service[field].clone())).collect();
            json!({ "service": service })
        }
        .boxed()
    }
}

struct Scale {
    world: Scenery,
    to: &'static str,
}

impl Scale {
    async fn new(to: &'static str) -> Self {
        let stage = Self { world: Scenery::load("scale").await, to };
        if to == "restore" {
            went_before(&stage, &Self::with("0")).await;
        }
        stage
    }

    fn with(to: &str) -> Vec<String> {
        ["deploy-service", "--interval", "10ms", "--service", IN, "--scale", to].map(str::to_owned).to_vec()
    }
}

impl Stage for Scale {
    fn front(&self) -> Option<&Front> {
        Some(&self.world.front)
    }

    fn dir(&self) -> &Path {
        self.world.dir.path()
    }

    fn cutover(&self, args: &[&str]) -> Command {
        self.world.command(args)
    }

    fn args(&self) -> Vec<String> {
        Self::with(self.to)
    }

    fn state(&self) -> BoxFuture<'_, Value> {
        async {
            let state = |resource| self.world.scenario.state(resource);
            json!({"count": state("count"), "tag": state("tag"), "scaling": state("scaling")})
        }
        .boxed()
    }

    /// What was there before is kept until it is restored; afterwards nothing tells it any more.
    fn told_of_the_run(&self) -> &'static [&'static str] {
        if self.to == "restore" { &["previous-desired-count"] } else { &[] }
    }
}
