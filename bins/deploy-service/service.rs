//! A service as one look found it, as plain data.

use std::collections::BTreeSet;

use aws_sdk_ecs::types as sdk;
use serde::Serialize;

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Service {
    pub(crate) task_definition: String,
    pub(crate) desired: i32,
    pub(crate) running: i32,
    pub(crate) pending: i32,
    pub(crate) controller: String,
    pub(crate) daemon: bool,
    pub(crate) settings: Settings,
    pub(crate) deployments: Vec<Deployment>,
    /// Newest first, as ECS gives them.
    pub(crate) events: Vec<Event>,
    /// ARN of the newest service deployment; absent for services that had none since October 2024.
    pub(crate) current: Option<String>,
    /// The target groups of its load balancers, alternate ones too.
    pub(crate) target_groups: BTreeSet<String>,
}

/// The `deploymentConfiguration`, with ECS's defaults for replica services.
///
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html>
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Settings {
    /// ROLLING, `BLUE_GREEN`, LINEAR or CANARY.
    pub(crate) strategy: String,
    pub(crate) minimum_percent: i32,
    pub(crate) maximum_percent: i32,
    pub(crate) breaker: Breaker,
    /// How many failed tasks trip the breaker, where the service says it itself.
    pub(crate) threshold: Option<Threshold>,
    pub(crate) bake_minutes: i32,
    pub(crate) linear: Option<Steps>,
    pub(crate) canary: Option<Steps>,
    /// The stages at which a person has to let the deployment go on.
    pub(crate) pauses: Vec<String>,
    /// Alarms roll a deployment back, or stop it.
    pub(crate) alarms: bool,
}

/// The deployment circuit breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) enum Breaker {
    /// A deployment that can't start goes on for ever.
    #[default]
    Off,
    /// It is marked as failed and left so.
    Stops,
    /// It is rolled back.
    RollsBack,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Threshold {
    pub(crate) kind: String,
    pub(crate) value: i32,
}

/// How traffic is shifted: so much at a time, with a pause after each.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Steps {
    pub(crate) percent: f64,
    pub(crate) bake_minutes: i32,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Deployment {
    pub(crate) id: String,
    /// PRIMARY, ACTIVE or INACTIVE.
    pub(crate) status: String,
    pub(crate) task_definition: String,
    /// Absent for services behind a Classic Load Balancer.
    pub(crate) rollout: Option<String>,
    pub(crate) rollout_reason: String,
    pub(crate) desired: i32,
    pub(crate) running: i32,
    pub(crate) pending: i32,
    pub(crate) failed: i32,
    /// Seconds since the epoch, by ECS's clock.
    pub(crate) created: f64,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) message: String,
}

impl Service {
    pub(crate) fn primary(&self) -> Option<&Deployment> {
        self.deployments.iter().find(|deployment| deployment.status == "PRIMARY")
    }

    pub(crate) fn deployment(&self, id: &str) -> Option<&Deployment> {
        self.deployments.iter().find(|deployment| deployment.id == id)
    }

    /// The revision that most running tasks are of; on a tie the newer deployment's.
    pub(crate) fn live(&self) -> Option<String> {
        let mut live: Option<&Deployment> = None;
        for deployment in self.deployments.iter().filter(|deployment| deployment.running > 0) {
            if live.is_none_or(|live| deployment.running > live.running) {
                live = Some(deployment);
            }
        }
        live.map(|deployment| deployment.task_definition.clone())
    }

    /// How many failed tasks trip the circuit breaker: half the wanted number, from 3 to 200, unless the service says
    /// otherwise. Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html>
    pub(crate) fn breaker_threshold(&self) -> i32 {
        let percent = |value: i32| self.desired.saturating_mul(value).saturating_add(99) / 100;
        match &self.settings.threshold {
            Some(Threshold { kind, value }) if kind == "COUNT" => *value,
            Some(Threshold { kind, value }) if kind == "UNBOUNDED_PERCENT" => percent(*value).max(1),
            Some(Threshold { value, .. }) => percent(*value).clamp(3, 200),
            None => percent(50).clamp(3, 200),
        }
    }
}

impl From<&sdk::Service> for Service {
    fn from(seen: &sdk::Service) -> Self {
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let mut target_groups = BTreeSet::new();
        for balancer in seen.load_balancers() {
            target_groups.extend(balancer.target_group_arn().map(str::to_owned));
            let alternate =
                balancer.advanced_configuration().and_then(|more| more.alternate_target_group_arn());
            target_groups.extend(alternate.map(str::to_owned));
        }
        Self {
            task_definition: text(seen.task_definition()),
            desired: seen.desired_count(),
            running: seen.running_count(),
            pending: seen.pending_count(),
            controller: seen
                .deployment_controller()
                .map_or("ECS", |controller| controller.r#type().as_str())
                .to_owned(),
            daemon: seen.scheduling_strategy().is_some_and(|strategy| strategy.as_str() == "DAEMON"),
            settings: Settings::from(seen.deployment_configuration()),
            deployments: seen.deployments().iter().map(Deployment::from).collect(),
            events: seen
                .events()
                .iter()
                .map(|event| Event { id: text(event.id()), message: text(event.message()) })
                .collect(),
            current: seen.current_service_deployment().map(str::to_owned),
            target_groups,
        }
    }
}

impl From<Option<&sdk::DeploymentConfiguration>> for Settings {
    fn from(configuration: Option<&sdk::DeploymentConfiguration>) -> Self {
        let Some(seen) = configuration else {
            return Self {
                strategy: "ROLLING".into(),
                minimum_percent: 100,
                maximum_percent: 200,
                ..Self::default()
            };
        };
        let breaker = seen.deployment_circuit_breaker();
        let hooks = seen.lifecycle_hooks().iter();
        let pausing = hooks.filter(|hook| hook.target_type().is_some_and(|kind| kind.as_str() == "PAUSE"));
        Self {
            strategy: seen.strategy().map_or("ROLLING", |strategy| strategy.as_str()).to_owned(),
            minimum_percent: seen.minimum_healthy_percent().unwrap_or(100),
            maximum_percent: seen.maximum_percent().unwrap_or(200),
            breaker: match breaker {
                Some(breaker) if breaker.enable() && breaker.rollback() => Breaker::RollsBack,
                Some(breaker) if breaker.enable() => Breaker::Stops,
                _ => Breaker::Off,
            },
            threshold: breaker.and_then(|breaker| breaker.threshold_configuration()).map(|threshold| {
                Threshold { kind: threshold.r#type().as_str().to_owned(), value: threshold.value() }
            }),
            bake_minutes: seen.bake_time_in_minutes().unwrap_or(0),
            linear: seen.linear_configuration().map(|linear| Steps {
                percent: linear.step_percent().unwrap_or(10.0),
                bake_minutes: linear.step_bake_time_in_minutes().unwrap_or(6),
            }),
            canary: seen.canary_configuration().map(|canary| Steps {
                percent: canary.canary_percent().unwrap_or(5.0),
                bake_minutes: canary.canary_bake_time_in_minutes().unwrap_or(10),
            }),
            pauses: pausing
                .flat_map(|hook| hook.lifecycle_stages().iter().map(|stage| stage.as_str().to_owned()))
                .collect(),
            alarms: seen.alarms().is_some_and(sdk::DeploymentAlarms::enable),
        }
    }
}

impl From<&sdk::Deployment> for Deployment {
    fn from(seen: &sdk::Deployment) -> Self {
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        Self {
            id: text(seen.id()),
            status: text(seen.status()),
            task_definition: text(seen.task_definition()),
            rollout: seen.rollout_state().map(|state| state.as_str().to_owned()),
            rollout_reason: text(seen.rollout_state_reason()),
            desired: seen.desired_count(),
            running: seen.running_count(),
            pending: seen.pending_count(),
            failed: seen.failed_tasks(),
            created: seen.created_at().map_or(0.0, aws_sdk_ecs::primitives::DateTime::as_secs_f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_breakers_threshold_follows_the_page() {
        let of = |desired, kind: Option<&str>, value| {
            let threshold = kind.map(|kind| Threshold { kind: kind.into(), value });
            let settings = Settings { threshold, ..Settings::default() };
            Service { desired, settings, ..Service::default() }.breaker_threshold()
        };
        // "1 -> 3, 25 -> 13, 400 -> 200, 800 -> 200": the page's own table.
        for (desired, wanted) in [(1, 3), (25, 13), (400, 200), (800, 200)] {
            assert_eq!(of(desired, None, 0), wanted);
        }
        assert_eq!(of(10, Some("COUNT"), 7), 7);
        assert_eq!(of(10, Some("UNBOUNDED_PERCENT"), 10), 1);
        assert_eq!(of(10, Some("BOUNDED_PERCENT"), 10), 3);
    }
}
