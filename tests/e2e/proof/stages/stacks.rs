//! A stack that is updated as it was reviewed, and reviews, which leave nothing.

use std::collections::BTreeMap;
use std::path::Path;

use futures::future::{BoxFuture, FutureExt as _};
use serde_json::{Value, json};
use testkit::front::Front;
use tokio::process::Command;

use crate::proof::{Case, Stage, started};
use crate::stacks::{Approved, Stage as World, texts, tiles};

pub(super) const CASES: [Case; 4] = [
    Case {
        step: "changeset-review",
        does: "reviews a new stack",
        start: || started(Stacks::new(What::ReviewNew)),
    },
    Case {
        step: "changeset-review",
        does: "reviews an update",
        start: || started(Stacks::new(What::Review)),
    },
    Case { step: "deploy-stack", does: "creates", start: || started(Stacks::new(What::Create)) },
    Case { step: "deploy-stack", does: "updates", start: || started(Stacks::new(What::Update)) },
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    ReviewNew,
    Review,
    Create,
    Update,
}

impl What {
    fn is_of_new(self) -> bool {
        matches!(self, Self::ReviewNew | Self::Create)
    }

    fn is_review(self) -> bool {
        matches!(self, Self::ReviewNew | Self::Review)
    }
}

/// The stack, by its name.
const STACK: &str = "Core";

fn operand() -> String {
    format!("core:{STACK}=release.template")
}

struct Stacks {
    world: World,
    what: What,
    /// Of the stack before the run.
    resources: BTreeMap<String, String>,
    /// What a review came to that nothing disturbed.
    approved: Approved,
}

impl Stacks {
    async fn new(what: What) -> Self {
        let world = World::start().await;
        if !what.is_of_new() {
            world.tiles(STACK, &tiles("core", "one")).await;
        }
        world.file("release.template", &tiles("core", "two").to_string());
        let resources = world.resources(STACK).await;
        let (approved, _) = world.reviewed("approved.json", &["--stack", &operand()], 0).await;
        Self { world, what, resources, approved }
    }

    /// The topic's text, which the update changes.
    async fn text(&self, topic: &str) -> Vec<String> {
        let asked = [("Action", "GetTopicAttributes"), ("TopicArn", topic)];
        let answer = self.world.query("sns", "2010-03-31", &asked).await;
        let text = answer.split_once("<key>DisplayName</key><value>").map(|(_, rest)| rest);
        text.into_iter().filter_map(|rest| Some(rest.split_once("</value>")?.0.to_owned())).collect()
    }
}

impl Stage for Stacks {
    fn front(&self) -> Option<&Front> {
        Some(&self.world.front)
    }

    fn dir(&self) -> &Path {
        self.world.dir.path()
    }

    fn cutover(&self, args: &[&str]) -> Command {
        let (step, args) = args.split_first().expect("a step");
        self.world.command(step, args)
    }

    fn args(&self) -> Vec<String> {
        let (stack, approved) = (operand(), &self.approved);
        let args = if self.what.is_review() {
            vec!["changeset-review", "--report", "review.json", "--stack", &stack]
        } else {
            let action = if self.what == What::Create { "create" } else { "update" };
            let by = ["--review", &approved.file, "--fingerprint", &approved.fingerprint];
            [&["deploy-stack", "--action", action, "--stack", &stack][..], &by].concat()
        };
        args.into_iter().map(str::to_owned).collect()
    }

    fn names(&self) -> Vec<(String, &'static str)> {
        vec![
            (self.world.account.clone(), "ACCOUNT"),
            (self.approved.fingerprint.clone(), "FINGERPRINT-OF-THE-REVIEW"),
        ]
    }

    /// The stack as CloudFormation tells it, each resource, and what is left over: change sets, and other stacks.
    fn state(&self) -> BoxFuture<'_, Value> {
        async {
            let named = [("StackName", STACK)];
            let stack = self.world.cloudformation("DescribeStacks", &named).await;
            let told =
                ["StackStatus", "ParameterKey", "ParameterValue", "Key", "Value", "OutputKey", "OutputValue"];
            let told = told.map(|element| texts(&stack, element));
            let resources = self.world.resources(STACK).await;
            let mut kept = BTreeMap::new();
            for (logical, physical) in &resources {
                let before = self.resources.get(logical);
                kept.insert(
                    logical.clone(),
                    (before.map(|before| before == physical), self.text(physical).await),
                );
            }
            // The emulator tells that of a deleted stack by its name, too.
            let template = if told.iter().all(Vec::is_empty) {
                String::new()
            } else {
                self.world.cloudformation("GetTemplate", &named).await
            };
            let all = self.world.cloudformation("ListStacks", &[]).await;
            json!({
                "stack": told,
                "resources": kept,
                "template": texts(&template, "TemplateBody"),
                "sets": self.world.sets(STACK).await.len(),
                "stacks": texts(&all, "StackName").into_iter().zip(texts(&all, "StackStatus"))
                    .filter(|(_, status)| status != "DELETE_COMPLETE").collect::<BTreeMap<_, _>>(),
            })
        }
        .boxed()
    }

    /// What an update did is taken back by another; of a review, what is left is.
    fn is_undoable(&self) -> bool {
        self.what.is_review()
    }

    fn idempotent(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("cloudformation:CreateChangeSet", "a change set changes nothing until it is executed"),
            ("cloudformation:DeleteChangeSet", "and the one that a killed run left is deleted"),
            ("cloudformation:DeleteStack", "with the empty stack that it made"),
        ]
    }

    fn leaves_nothing(&self) -> bool {
        self.what.is_review()
    }
}
