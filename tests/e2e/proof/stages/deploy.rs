//! A service that is put on another revision, and back.

use futures::future::{BoxFuture, FutureExt as _};
use serde_json::{Value, json};

use crate::proof::{Case, Stage, started, went_before};
use crate::world::{CLUSTER, SERVICE, World, repository};

pub(super) const CASES: [Case; 2] = [
    Case { step: "deploy-service", does: "deploys", start: || started(Deploy::new(false)) },
    Case { step: "deploy-service", does: "rolls back", start: || started(Deploy::new(true)) },
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
