//! A service that is put on another revision, and back.

use std::path::Path;

use futures::future::{BoxFuture, FutureExt as _};
use serde_json::{Value, json};
use testkit::front::Front;
use tokio::process::Command;

use crate::proof::{Case, Stage};
use crate::world::{CLUSTER, SERVICE, World, repository};

pub(super) const CASES: [Case; 2] = [
    Case {
        step: "deploy-service",
        does: "deploys",
        start: || async { Box::new(Deploy::new(false).await) as Box<dyn Stage> }.boxed(),
    },
    Case {
        step: "deploy-service",
        does: "rolls back",
        start: || async { Box::new(Deploy::new(true).await) as Box<dyn Stage> }.boxed(),
    },
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
            let args = stage.args();
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            stage.world.cutover(&args).await.expect(0);
        }
        Self { rolls_back, ..stage }
    }
}

impl Stage for Deploy {
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
