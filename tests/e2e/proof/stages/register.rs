//! A revision with a pinned image.

use futures::future::{BoxFuture, FutureExt as _};
use serde_json::{Value, json};

use crate::proof::{Case, Stage, started};
use crate::register_task_def::{FROM, push};
use crate::world::{CONTAINER, FAMILY, World, repository};

pub(super) const CASES: [Case; 1] =
    [Case { step: "register-task-def", does: "registers", start: || started(Register::new()) }];

struct Register {
    world: World,
    repository: String,
    digest: String,
}

impl Register {
    async fn new() -> Self {
        let world = World::start().await;
        let (repository, digest) = push(&world, "V2").await;
        Self { world, repository, digest }
    }

    /// The revisions in a status, whole.
    async fn revisions(&self, status: &str) -> Vec<Value> {
        let request = json!({"familyPrefix": FAMILY, "status": status});
        let listed = self.world.call("ListTaskDefinitions", request).await;
        let mut revisions = Vec::new();
        for arn in listed["taskDefinitionArns"].as_array().into_iter().flatten() {
            let request = json!({"taskDefinition": arn, "include": ["TAGS"]});
            revisions.push(self.world.call("DescribeTaskDefinition", request).await);
        }
        revisions
    }
}

impl Stage for Register {
    fn world(&self) -> Option<&World> {
        Some(&self.world)
    }

    fn args(&self) -> Vec<String> {
        let image = format!("{CONTAINER}={}", repository(&self.repository, ":V2"));
        ["register-task-def", "--from-service", FROM, "--image", &image].map(str::to_owned).to_vec()
    }

    fn names(&self) -> Vec<(String, &'static str)> {
        vec![(self.repository.clone(), "REPOSITORY"), (self.digest.clone(), "DIGEST")]
    }

    fn state(&self) -> BoxFuture<'_, Value> {
        async {
            json!({
                "active": self.revisions("ACTIVE").await,
                "inactive": self.revisions("INACTIVE").await,
                "service": self.world.service().await["taskDefinition"],
            })
        }
        .boxed()
    }

    /// A revision that is deregistered stays, inactive, and its number is not given again.
    /// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deregister-task-definition-v2.html>
    fn comes_back(&self, mut state: Value) -> Value {
        state.as_object_mut().and_then(|state| state.remove("inactive"));
        state
    }
}
