//! A topic that is silenced, and rules that are disabled.

use futures::future::{BoxFuture, FutureExt as _};
use serde_json::{Value, json};

use crate::alerts::stage::Stage as World;
use crate::proof::{Case, Stage, started, went_before};

pub(super) const CASES: [Case; 4] = [
    Case { step: "mute-alerts", does: "silences", start: || started(Alerts::new("mute-alerts", "on")) },
    Case {
        step: "mute-alerts",
        does: "gives the voice back",
        start: || started(Alerts::new("mute-alerts", "off")),
    },
    Case {
        step: "toggle-schedule",
        does: "disables",
        start: || started(Alerts::new("toggle-schedule", "disable")),
    },
    Case {
        step: "toggle-schedule",
        does: "puts back",
        start: || started(Alerts::new("toggle-schedule", "restore")),
    },
];

struct Alerts {
    world: World,
    step: &'static str,
    action: &'static str,
    rules: [String; 2],
}

impl Alerts {
    async fn new(step: &'static str, action: &'static str) -> Self {
        let world = World::start().await;
        let rules = [world.rule("ENABLED").await, world.rule("DISABLED").await];
        let stage = Self { world, step, action, rules };
        let earlier = match action {
            "off" => Some("on"),
            "restore" => Some("disable"),
            _ => None,
        };
        if let Some(action) = earlier {
            went_before(&stage, &stage.with(action)).await;
        }
        stage
    }

    fn with(&self, action: &str) -> Vec<String> {
        let mut args = vec![self.step.to_owned(), "--action".to_owned(), action.to_owned()];
        if self.step == "mute-alerts" {
            let prefix = format!("{}-", self.world.name);
            args.extend(["--topic", &self.world.name, "--alarm-prefix", &prefix].map(str::to_owned));
        } else {
            args.extend(self.rules.iter().flat_map(|rule| ["--rule".to_owned(), rule.clone()]));
        }
        args
    }
}

impl Stage for Alerts {
    fn world(&self) -> Option<&crate::world::World> {
        Some(&self.world.world)
    }

    fn args(&self) -> Vec<String> {
        self.with(self.action)
    }

    fn names(&self) -> Vec<(String, &'static str)> {
        vec![
            (self.world.name.clone(), "TOPIC"),
            (self.rules[0].clone(), "ENABLED-RULE"),
            (self.rules[1].clone(), "DISABLED-RULE"),
        ]
    }

    fn state(&self) -> BoxFuture<'_, Value> {
        async {
            let mut rules = Vec::new();
            for rule in &self.rules {
                rules.push(self.world.rule_state(rule).await);
            }
            json!({"topic": self.world.state().await, "rules": rules})
        }
        .boxed()
    }
}
