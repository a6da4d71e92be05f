//! Following one deployment, by its id, to its end, and collecting on the way why tasks stop.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use aws_sdk_ecs::types::TaskDefinition;
use ecs::{LogSource, clean, last_lines, short};
use kit::{Cx, Failure, Poll, Wait};

use crate::observe::Ecs;
use crate::plan::{Call, Deploy};
use crate::rollout::{Newer, Pause, Rollout};
use crate::service::{Breaker, Service};
use crate::tasks::Stop;
use crate::verify::{Judgement, Ours, amiss, judge};
use crate::why::{Cause, Stops, plainly};

/// For this long after a change ECS's reads may be older than it.
const FRESH: Duration = Duration::from_mins(1);
/// Seconds by which a deployment and its service deployment may differ in age.
const SKEW: f64 = 15.0;
/// Between two looks at the load balancer.
const TARGETS: Duration = Duration::from_secs(30);
/// Of a failing container's log.
const LOG_LINES: u16 = 20;
/// In the message at the end, which repeats the story's most important lines.
const LAST_LINES: usize = 8;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) interval: Duration,
    /// So many stops for one reason end the wait; 0 for never.
    pub(crate) fail_after: usize,
    pub(crate) wait_paused: bool,
}

/// How the following ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    Judged(Judgement),
    /// Its tasks stop for the same reason again and again; the deployment goes on.
    CannotStart(String),
}

pub(crate) struct Follower<'a> {
    cx: &'a Cx,
    ecs: &'a Ecs<'a>,
    plan: &'a Deploy,
    options: Options,
    ours: Ours,
    /// The service deployment that carries ours, once it is known.
    carrier: Carrier,
    /// As it was last seen.
    pub(crate) rollout: Option<Rollout>,
    definition: Option<TaskDefinition>,
    stops: Stops,
    /// Stopped tasks that were described and change no more.
    known: BTreeSet<String>,
    /// The ids of those that are told, or were there before.
    events: BTreeSet<String>,
    targets: Targets,
    began: Instant,
    announced: bool,
    warned: bool,
    stops_denied: bool,
}

enum Carrier {
    Unknown,
    Known(String),
    /// Our deployment's own id decides.
    None,
}

#[derive(Default)]
struct Targets {
    looked: Option<Instant>,
    said: Vec<String>,
    denied: bool,
}

impl<'a> Follower<'a> {
    /// `id` is the deployment's, `target` the revision that it brings.
    pub(crate) fn new(
        cx: &'a Cx,
        ecs: &'a Ecs<'a>,
        plan: &'a Deploy,
        id: &str,
        target: &str,
        options: Options,
    ) -> Self {
        let ours = Ours {
            id: id.to_owned(),
            target: target.to_owned(),
            before: plan.before.clone(),
            seen: false,
            fresh: true,
        };
        // Clocks differ and ids do not: what was there before is known by its id.
        let earlier = plan.events.iter().filter(|event| !event.message.contains(id));
        let events = earlier.map(|event| event.id.clone()).collect();
        let carrier = match &plan.call {
            Call::Continue { rollout, .. }
            | Call::Return { rollout, .. }
            | Call::Stop { rollout, .. }
            | Call::FollowBack { rollout, .. } => Carrier::Known(rollout.clone()),
            _ => Carrier::Unknown,
        };
        Self {
            cx,
            ecs,
            plan,
            options,
            ours,
            carrier,
            rollout: None,
            definition: None,
            stops: Stops::default(),
            known: BTreeSet::new(),
            events,
            targets: Targets::default(),
            began: Instant::now(),
            announced: false,
            warned: false,
            stops_denied: false,
        }
    }

    /// Waits until the deployment has ended, well or badly, or a person is needed.
    pub(crate) async fn run(&mut self) -> Result<End, Failure> {
        let cx = self.cx;
        let what = format!("deployment {} of {}", self.ours.id, short(&self.ours.target));
        let ended = cx.wait(Wait::until(&what, self.options.interval), async || self.poll().await).await;
        self.complete_logs().await;
        ended
    }

    async fn poll(&mut self) -> Result<Poll<End>, Failure> {
        self.ours.fresh = self.began.elapsed() < FRESH;
        // The service deployment first: the service is then at least as new as its status.
        let rollout = self.look_at_rollout().await?;
        let service = match self.ecs.service_if_known().await? {
            Ok(service) => service,
            Err(why) if self.ours.fresh => {
                return Ok(Poll::Pending(format!("ECS does not show the service ({why})")));
            }
            Err(why) => {
                return Err(Failure::unverified(format!("follow the deployment of {}", self.ecs.of))
                    .because(format!("the service is gone: {why}"))
                    .help("find out who deleted it"));
            }
        };
        if matches!(self.carrier, Carrier::Unknown) {
            self.find_carrier(&service).await?;
        }
        self.ours.seen |= service.deployment(&self.ours.id).is_some();
        self.say_events(&service);
        self.look_at_stops().await?;
        self.look_at_targets(&service).await?;
        self.decide(&service, judge(&service, &self.ours, rollout.as_ref())).await
    }

    async fn decide(&mut self, service: &Service, judgement: Judgement) -> Result<Poll<End>, Failure> {
        let goes_back = self.plan.call.goes_back();
        match judgement {
            Judgement::Going(state) => Ok(match self.cannot_start(service).await? {
                Some(why) => Poll::Ready(End::CannotStart(why)),
                None => Poll::Pending(state),
            }),
            Judgement::RollingBack { reason, state } => {
                if !self.announced {
                    self.announced = true;
                    let line = format!("ECS is rolling deployment {} back: {reason}", self.ours.id);
                    if goes_back { self.cx.report().say(&line) } else { self.cx.report().warn(&line) }
                }
                Ok(Poll::Pending(state))
            }
            Judgement::Paused(pause) => {
                if let Call::Continue { hook, .. } | Call::Return { hook, .. } = &self.plan.call
                    && *hook == pause.id
                    && self.ours.fresh
                {
                    return Ok(Poll::Pending("the answer to its pause is not in effect yet".to_owned()));
                }
                if !self.options.wait_paused {
                    return Ok(Poll::Ready(End::Judged(Judgement::Paused(pause))));
                }
                if !self.announced {
                    self.announced = true;
                    self.cx
                        .report()
                        .warn(&format!("the deployment waits for a person: {}", self.commands().join("; ")));
                }
                Ok(Poll::Pending(paused(&pause)))
            }
            Judgement::Completed => {
                self.settled(service, &self.ours.target.clone(), Judgement::Completed).await
            }
            Judgement::RolledBack(why) if goes_back => {
                self.settled(service, &self.plan.target.clone(), Judgement::RolledBack(why)).await
            }
            end => Ok(Poll::Ready(End::Judged(end))),
        }
    }

    /// The tasks themselves have the last word.
    async fn settled(&self, service: &Service, target: &str, end: Judgement) -> Result<Poll<End>, Failure> {
        Ok(match amiss(target, service, &self.ecs.running_tasks().await?) {
            Some(amiss) => Poll::Pending(format!("ECS says that it is done, but {amiss}")),
            None => Poll::Ready(End::Judged(end)),
        })
    }

    async fn look_at_rollout(&mut self) -> Result<Option<Rollout>, Failure> {
        let Carrier::Known(arn) = &self.carrier else { return Ok(None) };
        match self.ecs.rollout(arn).await? {
            Newer::There(rollout) => {
                self.rollout = Some(rollout.clone());
                Ok(Some(rollout))
            }
            Newer::NotThere => Ok(None),
            Newer::Unavailable(why) => {
                self.without_carrier(&why);
                Ok(None)
            }
        }
    }

    /// The service deployment may be shown later than the deployment.
    async fn find_carrier(&mut self, service: &Service) -> Result<(), Failure> {
        // ECS's own time of our deployment; the two are created one after the other.
        let own = service.deployment(&self.ours.id).filter(|own| own.created > 0.0);
        let after = own.map(|own| own.created - SKEW);
        let found = self
            .ecs
            .find_rollout(&self.ours.target, service.current.as_deref(), self.plan.not.as_deref(), after)
            .await?;
        match found {
            Newer::There(rollout) => {
                self.carrier = Carrier::Known(rollout.arn.clone());
                self.rollout = Some(rollout);
            }
            Newer::NotThere if self.ours.fresh && !matches!(self.plan.call, Call::Nothing { .. }) => {}
            Newer::NotThere => {
                if !matches!(self.plan.call, Call::Nothing { .. }) {
                    self.without_carrier("ECS shows no service deployment of this revision");
                }
                self.carrier = Carrier::None;
            }
            Newer::Unavailable(why) => self.without_carrier(&why),
        }
        Ok(())
    }

    fn without_carrier(&mut self, why: &str) {
        self.carrier = Carrier::None;
        self.cx.report().say(&format!("note: {why}: the deployment's own id ({}) decides", self.ours.id));
    }

    /// Each event once, oldest first.
    fn say_events(&mut self, service: &Service) {
        for event in service.events.iter().rev() {
            if self.events.insert(event.id.clone()) {
                self.cx.report().foreign(&event.message);
                if event.message.contains("unable to place a task") {
                    self.cx.report().warn(
                        "there is no capacity for a task: add instances, or change its size, platform or availability zones",
                    );
                }
            }
        }
    }

    async fn look_at_stops(&mut self) -> Result<(), Failure> {
        if self.stops_denied {
            return Ok(());
        }
        let found = match self.ecs.stops(&self.ours.id, &mut self.known).await {
            Ok(found) => found,
            Err(error) if error.is_transient() => return Ok(()),
            Err(error) if error.code() == kit::Code::Failed => {
                self.stops_denied = true;
                let why = error.chain().join(": ");
                self.cx.report().warn(&format!("why tasks stop can't be told: could not {error}: {why}"));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        for stop in self.stops.add(found) {
            self.cx.report().warn(&format!("task {} stopped: {}", stop.id(), stop.text()));
            let log = self.log_of(&stop).await;
            if let Some(sentence) = plainly(&stop, log.as_deref().unwrap_or_default()) {
                self.cx.report().say(&format!("  that means: {sentence}"));
            }
            match &log {
                Ok(lines) => {
                    self.cx.report().say("  the end of its log:");
                    for line in lines {
                        self.cx.report().foreign(line);
                    }
                }
                Err(why) => self.cx.report().say(&format!("  no log: {why}")),
            }
            self.stops.log(&stop, log);
        }
        Ok(())
    }

    /// The newest lines of the failing container's log, or why there are none. Never fatal.
    async fn log_of(&mut self, stop: &Stop) -> Result<Vec<String>, String> {
        let Some(name) = &stop.container else {
            return Err("ECS does not say which container failed".to_owned());
        };
        // A task that never started has written nothing.
        if stop.exit_code.is_none() && stop.code == "TaskFailedToStart" {
            return Err("the container never started".to_owned());
        }
        if self.definition.is_none() {
            let found = self.ecs.definition(&self.ours.target).await;
            self.definition = Some(found.map_err(|error| format!("could not {error}"))?);
        }
        let containers =
            self.definition.as_ref().map(TaskDefinition::container_definitions).unwrap_or_default();
        let container = containers
            .iter()
            .find(|container| container.name() == Some(name))
            .ok_or_else(|| format!("the task definition has no container {name}"))?;
        let source = LogSource::of(container, stop.id(), &self.ecs.aws.region)?;
        last_lines(self.cx, &source.client(&self.ecs.aws), &source, LOG_LINES).await
    }

    /// A log may arrive after its task has stopped: what was not there is asked for once more at the end.
    async fn complete_logs(&mut self) {
        let missing: Vec<Cause> = self
            .stops
            .causes()
            .into_iter()
            .take(3)
            .filter(|cause| !matches!(cause.log, Some(Ok(_))))
            .collect();
        for cause in missing {
            let log = self.log_of(&cause.stop).await;
            self.stops.log(&cause.stop, log);
        }
    }

    async fn look_at_targets(&mut self, service: &Service) -> Result<(), Failure> {
        let due = self.targets.looked.is_none_or(|looked| looked.elapsed() >= TARGETS);
        let runs = service.deployment(&self.ours.id).is_some_and(|own| own.running > 0);
        if self.targets.denied || !due || !runs || service.target_groups.is_empty() {
            return Ok(());
        }
        self.targets.looked = Some(Instant::now());
        match self.ecs.failing_targets(&service.target_groups).await {
            Ok(failing) if failing.is_empty() || failing == self.targets.said => {}
            Ok(failing) => {
                for line in &failing {
                    self.cx.report().warn(&format!("the load balancer: {line}"));
                }
                self.targets.said = failing;
            }
            Err(error) if error.is_transient() => {}
            Err(error) if error.code() == kit::Code::Failed => {
                self.targets.denied = true;
                let why = error.chain().join(": ");
                self.cx.report().say(&format!("note: could not {error}: {why}"));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Whether the tasks stop for one reason again and again without any of them ever having worked, and nothing but this run
    /// would notice.
    async fn cannot_start(&mut self, service: &Service) -> Result<Option<String>, Failure> {
        let (row, limit) = (self.stops.in_a_row(), self.options.fail_after);
        if limit == 0 || row < limit {
            return Ok(None);
        }
        let running = match self.ecs.running_tasks().await {
            Ok(running) => running,
            // Not seeing the tasks is no reason to give a deployment up.
            Err(error) if error.is_transient() || error.code() == kit::Code::Failed => return Ok(None),
            Err(error) => return Err(error),
        };
        if self.stops.outlived_by(&self.ours.id, &running) {
            self.stops.forgive();
            return Ok(None);
        }
        let same = format!("{row} tasks stopped for the same reason, and none has been healthy since");
        if service.settings.breaker == Breaker::Off {
            return Ok(Some(same));
        }
        let threshold = usize::try_from(service.breaker_threshold()).unwrap_or(limit);
        if !self.warned {
            self.warned = true;
            let acts =
                if service.settings.breaker == Breaker::RollsBack { "rolls it back" } else { "stops it" };
            self.cx.report().warn(&format!(
                "{same}; the circuit breaker {acts} after {threshold} failed tasks, and this run leaves that to it"
            ));
        }
        // It does not count a task that was RUNNING for a moment: such a deployment goes on for hours.
        // https://github.com/aws/copilot-cli/issues/1879
        Ok((row >= 2 * threshold.max(limit))
            .then(|| format!("{same}; the circuit breaker, which acts after {threshold}, has not")))
    }

    /// For the output.
    pub(crate) fn reasons(&self) -> Vec<String> {
        self.stops.causes().iter().map(Cause::text).chain(self.targets.said.iter().cloned()).collect()
    }

    pub(crate) fn status(&self) -> Option<&str> {
        self.rollout.as_ref().map(|rollout| rollout.status.as_str())
    }

    /// A failure with what is known of its reasons.
    pub(crate) fn with_reasons(&self, mut failure: Failure) -> Failure {
        for (n, cause) in self.stops.causes().iter().take(5).enumerate() {
            failure = failure.state(format!("stopped: {}", cause.text()));
            if let Some(sentence) = cause.plainly() {
                failure = failure.state(format!("that means: {sentence}"));
            }
            match &cause.log {
                Some(Ok(lines)) if n == 0 => {
                    let name = cause.stop.container.as_deref().unwrap_or("container");
                    for line in lines.iter().skip(lines.len().saturating_sub(LAST_LINES)) {
                        failure = failure.state(format!("log of {name}: {}", clean(line)));
                    }
                }
                Some(Err(why)) if n == 0 => failure = failure.state(format!("no log: {why}")),
                _ => {}
            }
        }
        for line in &self.targets.said {
            failure = failure.state(format!("the load balancer: {line}"));
        }
        failure
    }

    /// What a person can run to go on, or back.
    pub(crate) fn commands(&self) -> [String; 2] {
        let of = &self.ecs.of;
        let base = format!(
            "deploy-service --service {}/{} --task-definition {} --action",
            of.cluster, of.service, self.ours.target
        );
        [format!("let it go on: {base} continue"), format!("roll it back: {base} roll-back")]
    }
}

/// "waits at hook X until 2026-11-21T12:00:00Z, when ECS goes on by itself".
pub(crate) fn paused(pause: &Pause) -> String {
    let mut text = format!("it waits for a person at its pause (hook {})", pause.id);
    if let Some(expires) = &pause.expires {
        let then = match pause.then.as_deref() {
            Some("CONTINUE") => "goes on by itself",
            Some("ROLLBACK") => "rolls it back",
            _ => "ends the pause",
        };
        text.push_str(&format!(" until {expires}, when ECS {then}"));
    }
    text
}
