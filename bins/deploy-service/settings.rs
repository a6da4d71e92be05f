//! What the service's deployment settings mean for a deployment: refused where it could never end, told where it matters.

use std::time::Duration;

use ecs::{ServiceRef, short};
use kit::{Failure, Note};

use crate::service::{Breaker, Service, Steps};

/// The strategies of the ECS controller.
const STRATEGIES: [&str; 4] = ["ROLLING", "BLUE_GREEN", "LINEAR", "CANARY"];

/// Refuses a service that this step can't deploy to at all.
pub(crate) fn check_kind(name: &ServiceRef, service: &Service) -> Result<(), Failure> {
    if service.controller != "ECS" {
        return Err(Failure::refused(format!("deploy to {name}"))
            .because(format!("its deployment controller is {}", service.controller))
            .help("deploy it with the tool of that controller"));
    }
    if !STRATEGIES.contains(&service.settings.strategy.as_str()) {
        return Err(Failure::refused(format!("deploy to {name}")).because(format!(
            "its deployment strategy is {}, which this version does not know",
            service.settings.strategy
        )));
    }
    Ok(())
}

/// A rolling update needs room for one task more or one less: with neither it never ends.
///
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html> (the minimum is
/// rounded up, the maximum down).
pub(crate) fn check_room(name: &ServiceRef, service: &Service) -> Result<(), Failure> {
    let desired = service.desired;
    let (minimum, maximum) = (service.settings.minimum_percent, service.settings.maximum_percent);
    // The other strategies bring up a second set of tasks whatever the percentages are.
    if service.daemon || desired <= 0 || service.settings.strategy != "ROLLING" {
        return Ok(());
    }
    let least = (desired * minimum + 99) / 100;
    let most = desired * maximum / 100;
    if most > desired || least < desired {
        return Ok(());
    }
    Err(Failure::refused(format!("deploy to {name}"))
        .because(format!(
            "with {desired} tasks wanted, minimumHealthyPercent {minimum} and maximumPercent {maximum} allow neither one task \
             more (at most {most}) nor one less (at least {least}), so no task can ever be replaced"
        ))
        .help("raise maximumPercent or lower minimumHealthyPercent of the service"))
}

/// Refuses a deadline that passes before the deployment can end: it bakes for a set time.
pub(crate) fn check_time(name: &ServiceRef, service: &Service, budget: Duration) -> Result<(), Failure> {
    let minutes = least_minutes(service);
    let least = Duration::from_secs(minutes * 60);
    if least < budget || minutes == 0 {
        return Ok(());
    }
    Err(Failure::refused(format!("deploy to {name}"))
        .because(format!(
            "its {} deployment bakes for {minutes} minutes, and the deadline is in {} minutes",
            service.settings.strategy,
            (budget.as_secs() + 30) / 60
        ))
        .help(format!("give --timeout {}m or more: tasks have to start, too", minutes + 30)))
}

/// The minutes that pass at least, by the settings: the bake time and the pauses between shifts of traffic.
fn least_minutes(service: &Service) -> u64 {
    let settings = &service.settings;
    let bake = settings.bake_minutes;
    let steps = |steps: Option<Steps>, shifts: f64| {
        steps.map_or(0, |steps| {
            #[expect(clippy::cast_possible_truncation, reason = "a hundred shifts of one percent at most")]
            let pauses = shifts.clamp(0.0, 100.0) as i32;
            steps.bake_minutes.saturating_mul(pauses)
        })
    };
    let linear = settings.linear.filter(|_| settings.strategy == "LINEAR");
    // The last shift is followed by the bake time and not by a pause.
    let shifts = linear.map_or(0.0, |linear| (100.0 / linear.percent.max(1.0)).ceil() - 1.0);
    let canary = settings.canary.filter(|_| settings.strategy == "CANARY");
    let all = match settings.strategy.as_str() {
        "ROLLING" => bake,
        _ => bake.saturating_add(steps(linear, shifts)).saturating_add(steps(canary, 1.0)),
    };
    u64::try_from(all).unwrap_or(0)
}

/// What the reader should know before the deployment begins.
pub(crate) fn notes(service: &Service, target: &str) -> Vec<Note> {
    let mut notes = Vec::new();
    let settings = &service.settings;
    let threshold = service.breaker_threshold();
    match settings.breaker {
        Breaker::Off => notes.push(Note::Warning(
            "the deployment circuit breaker is off: tasks that can't start are retried for ever, and nothing is rolled back by \
             itself"
                .to_owned(),
        )),
        Breaker::Stops => notes.push(Note::Warning(format!(
            "the deployment circuit breaker stops a deployment after {threshold} failed tasks and does not roll it back"
        ))),
        Breaker::RollsBack => notes.push(Note::Info(format!(
            "the deployment circuit breaker rolls the deployment back after {threshold} failed tasks: tasks that crash until a \
             database migration is done would undo the release, so migrate before"
        ))),
    }
    if settings.strategy != "ROLLING" {
        let minutes = least_minutes(service);
        notes.push(Note::Info(format!(
            "the deployment strategy is {}: it takes {minutes} minutes and the tasks' start at least",
            settings.strategy
        )));
    }
    if !settings.pauses.is_empty() {
        notes.push(Note::Warning(format!(
            "the deployment pauses for a person at {}: this run then ends with exit 7 unless --wait-paused is given",
            settings.pauses.join(", ")
        )));
    }
    if settings.alarms {
        notes.push(Note::Info("CloudWatch alarms of the service can end the deployment, too".to_owned()));
    }
    if service.desired == 0 && !service.daemon {
        notes.push(Note::Warning(
            "no tasks are wanted (desired count 0), so nothing shows whether the revision works".to_owned(),
        ));
    }
    let family = |arn: &str| short(arn).rsplit_once(':').map(|(family, _)| family.to_owned());
    if family(target) != family(&service.task_definition) {
        notes.push(Note::Warning(format!(
            "{} is of another family than {}, which the service runs",
            short(target),
            short(&service.task_definition)
        )));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Settings;

    fn name() -> ServiceRef {
        ServiceRef { cluster: "rally-prod".into(), service: "rally-prod-service".into() }
    }

    fn service(strategy: &str) -> Service {
        let settings = Settings {
            strategy: strategy.into(),
            minimum_percent: 100,
            maximum_percent: 200,
            ..Settings::default()
        };
        Service { desired: 2, controller: "ECS".into(), settings, ..Service::default() }
    }

    #[test]
    fn settings_under_which_nothing_can_be_replaced_are_refused() {
        let room = |desired, minimum_percent, maximum_percent| {
            let mut seen = service("ROLLING");
            seen.desired = desired;
            (seen.settings.minimum_percent, seen.settings.maximum_percent) =
                (minimum_percent, maximum_percent);
            check_room(&name(), &seen).is_ok()
        };
        assert!(!room(2, 100, 100));
        // 150 % of one task is still one task; 50 % of one task, rounded up, is one.
        assert!(!room(1, 50, 150));
        assert!(room(2, 100, 150));
        assert!(room(2, 50, 100));
        assert!(room(0, 100, 100));
    }

    #[test]
    fn a_deadline_before_the_end_of_the_bake_time_is_refused() {
        let refused = |change: fn(&mut Service), strategy, minutes: u64| {
            let mut seen = service(strategy);
            seen.settings.bake_minutes = 20;
            change(&mut seen);
            check_time(&name(), &seen, Duration::from_secs(minutes * 60)).is_err()
        };
        assert!(refused(|_| {}, "BLUE_GREEN", 20));
        assert!(!refused(|_| {}, "BLUE_GREEN", 21));
        // Four shifts of 25 %, with three pauses of ten minutes between them.
        let linear: fn(&mut Service) =
            |seen| seen.settings.linear = Some(Steps { percent: 25.0, bake_minutes: 10 });
        assert!(refused(linear, "LINEAR", 50));
        assert!(!refused(linear, "LINEAR", 51));
        let canary: fn(&mut Service) =
            |seen| seen.settings.canary = Some(Steps { percent: 5.0, bake_minutes: 15 });
        assert!(refused(canary, "CANARY", 35));
        assert!(!refused(canary, "CANARY", 36));
        assert!(!refused(|seen| seen.settings.bake_minutes = 0, "ROLLING", 1));
    }

    #[test]
    fn what_could_surprise_is_told() {
        let said = |change: fn(&mut Service)| {
            let mut seen = service("ROLLING");
            seen.task_definition = "a/rally:7".into();
            change(&mut seen);
            serde_json::to_string(&notes(&seen, "a/rally:8")).unwrap()
        };
        assert!(said(|_| {}).contains("circuit breaker is off"));
        assert!(said(|seen| seen.settings.breaker = Breaker::RollsBack).contains("after 3 failed tasks"));
        assert!(said(|seen| seen.desired = 0).contains("desired count 0"));
        assert!(said(|seen| seen.settings.pauses.push("POST_SCALE_UP".into())).contains("POST_SCALE_UP"));
        assert!(said(|seen| seen.task_definition = "a/other:1".into()).contains("another family"));
    }
}
