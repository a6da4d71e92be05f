//! A service that is put on another revision.

use std::path::Path;

use futures::future::{BoxFuture, FutureExt as _};
use serde_json::{Value, json};
use testkit::front::Front;
use tokio::process::Command;

use crate::proof::{Case, Stage};
use crate::world::{CLUSTER, SERVICE, World, repository};

pub(super) const CASES: [Case; 1] = [Case {
    step: "deploy-service",
    does: "deploys",
    start: || async { Box::new(Deploy::new().await) as Box<dyn Stage> }.boxed(),
}];

struct Deploy {
    world: World,
    revision: String,
}

impl Deploy {
    async fn new() -> Self {
        let world = World::start().await;
        let digest = "@sha256:1111111111111111111111111111111111111111111111111111111111111111";
        let revision = world.register(&repository("rally-prod", digest)).await;
        Self { world, revision }
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
        args.into_iter().map(str::to_owned).collect()
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
