//! Faults: what the front does to a matched call instead of, before or after passing it on.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, oneshot};

use super::lag::Lag;
use super::{Matcher, Request};

/// On which side of the call's effect the fault strikes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// AWS never sees the call.
    #[default]
    BeforeForward,
    /// AWS has done what was asked, and the client does not learn it.
    AfterEffect,
}

/// What happens to the call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// An error in the form of the call's protocol.
    Error { status: u16, code: String, message: String },
    /// An answer as it stands, such as a proxy's HTML page.
    Answer { status: u16, content_type: String, body: String },
    /// A pause in milliseconds, after which the call goes on.
    Delay(u64),
    /// The answer's body ends after so many bytes, and the connection with it.
    Truncate(u64),
    /// The answer's body comes a byte at a time, so many milliseconds apart.
    Trickle(u64),
    /// The connection is reset (RST) without an answer.
    Reset,
    /// The process of this number is killed (SIGKILL) and the connection reset.
    Kill(i32),
    /// For so many milliseconds after the call has taken effect, and for two of a kind at least, reads of its service are answered
    /// as they were before; struck [`When::AfterEffect`].
    Lag(u64),
    /// The call waits until it is released; see [`Hold`] and `POST /_front/release`.
    Hold,
}

/// A rule of the front.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    pub at: Matcher,
    #[serde(default)]
    pub when: When,
    pub effect: Effect,
    /// How many requests it strikes, from the `nth` (or the first) on; `None` strikes the `nth` alone, or each if no `nth` is
    /// given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
}

impl Fault {
    pub fn new(at: impl Into<Matcher>, effect: Effect) -> Self {
        Self { at: at.into(), when: When::BeforeForward, effect, times: None }
    }

    /// An error before the call takes effect.
    pub fn error(at: impl Into<Matcher>, status: u16, code: &str, message: &str) -> Self {
        Self::new(at, Effect::Error { status, code: code.to_owned(), message: message.to_owned() })
    }

    /// `ThrottlingException`, 400, "Rate exceeded": what ECS, ECR, SNS and most services say.
    ///
    /// The others: <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>,
    /// <https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/throttling-api-requests.html>; of CloudFormation and CloudWatch
    /// as clients have met it, <https://github.com/aws/aws-sdk-js/issues/412> and <https://github.com/aws/aws-sdk-js/issues/1822>.
    pub fn throttle(at: impl Into<Matcher>) -> Self {
        let at = at.into();
        match at.service.as_str() {
            "s3" => Self::error(at, 503, "SlowDown", "Please reduce your request rate."),
            "route53" | "cloudformation" | "monitoring" => {
                Self::error(at, 400, "Throttling", "Rate exceeded")
            }
            _ => Self::error(at, 400, "ThrottlingException", "Rate exceeded"),
        }
    }

    /// `AccessDeniedException` of the JSON services; S3 and the Query services say `AccessDenied` with 403.
    pub fn access_denied(at: impl Into<Matcher>) -> Self {
        let at = at.into();
        let message = format!("User: arn:aws:iam::000000000000:user/test is not authorized to perform: {at}");
        match at.service.as_str() {
            "s3" => Self::error(at, 403, "AccessDenied", "Access Denied"),
            "sts" | "iam" | "cloudformation" | "rds" | "elasticloadbalancing" => {
                Self::error(at, 403, "AccessDenied", &message)
            }
            _ => Self::error(at, 400, "AccessDeniedException", &message),
        }
    }

    /// Reads that follow the call are behind it for so many milliseconds.
    pub fn lag(at: impl Into<Matcher>, milliseconds: u64) -> Self {
        Self::new(at, Effect::Lag(milliseconds)).after_effect()
    }

    #[must_use]
    pub fn after_effect(mut self) -> Self {
        self.when = When::AfterEffect;
        self
    }

    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// Whether it strikes the request that is the `seen`th of those it matches.
    fn strikes(&self, seen: u64) -> bool {
        let first = self.at.nth.unwrap_or(1);
        match (self.at.nth, self.times) {
            (None, None) => true,
            (Some(nth), None) => seen == nth,
            (_, Some(times)) => (first..first.saturating_add(times)).contains(&seen),
        }
    }
}

/// A fault that strikes a request now.
#[derive(Clone)]
pub(super) struct Strike {
    pub(super) rule: u64,
    pub(super) when: When,
    pub(super) effect: Effect,
}

/// A call that waits for its release.
struct Held {
    rule: u64,
    name: String,
    release: oneshot::Sender<()>,
}

struct Rule {
    id: u64,
    fault: Fault,
    seen: u64,
}

#[derive(Default)]
struct Shared {
    rules: Mutex<Vec<Rule>>,
    held: Mutex<Vec<Held>>,
    next: AtomicU64,
    arrived: Notify,
    lag: Lag,
}

#[derive(Clone, Default)]
pub(super) struct Faults(Arc<Shared>);

impl Faults {
    pub(super) fn replace(&self, faults: Vec<Fault>) {
        let rules = faults.into_iter().map(|fault| self.rule(fault)).collect();
        *lock(&self.0.rules) = rules;
        lock(&self.0.held).clear();
        self.0.lag.forget();
    }

    pub(super) fn add(&self, fault: Fault) -> u64 {
        let rule = self.rule(fault);
        let id = rule.id;
        lock(&self.0.rules).push(rule);
        id
    }

    pub(super) fn list(&self) -> Vec<Fault> {
        lock(&self.0.rules).iter().map(|rule| rule.fault.clone()).collect()
    }

    pub(super) fn hold(&self, at: Matcher, when: When) -> Hold {
        let at = Matcher { nth: Some(at.nth.unwrap_or(1)), ..at };
        let rule = self.add(Fault { at, when, effect: Effect::Hold, times: None });
        Hold { faults: self.clone(), rule }
    }

    /// The faults that strike this request, in the order in which they were given; counts it for each that matches.
    pub(super) fn striking(&self, request: &Request) -> Vec<Strike> {
        let mut strikes = Vec::new();
        for rule in lock(&self.0.rules).iter_mut().filter(|rule| rule.fault.at.matches(request)) {
            rule.seen += 1;
            if rule.fault.strikes(rule.seen) {
                strikes.push(Strike {
                    rule: rule.id,
                    when: rule.fault.when,
                    effect: rule.fault.effect.clone(),
                });
            }
        }
        strikes
    }

    /// What reads were answered, where a rule lets the service's reads be behind.
    pub(super) fn lag(&self, service: &str) -> Option<&Lag> {
        let rules = lock(&self.0.rules);
        let lags = |fault: &Fault| matches!(fault.effect, Effect::Lag(_)) && fault.at.service == service;
        rules.iter().any(|rule| lags(&rule.fault)).then_some(&self.0.lag)
    }

    /// Waits until the call is released; false where it was dropped instead.
    pub(super) fn wait(&self, rule: u64, name: String) -> impl Future<Output = bool> + use<> {
        let (release, released) = oneshot::channel();
        lock(&self.0.held).push(Held { rule, name, release });
        self.0.arrived.notify_waiters();
        async move { released.await.is_ok() }
    }

    /// The names of the calls that wait.
    pub(super) fn held(&self) -> Vec<String> {
        lock(&self.0.held).iter().map(|held| held.name.clone()).collect()
    }

    /// Lets the waiting calls of one rule, or all, go on; says how many.
    pub(super) fn release(&self, rule: Option<u64>) -> usize {
        let mut held = lock(&self.0.held);
        let (released, kept) =
            held.drain(..).partition::<Vec<_>, _>(|held| rule.is_none_or(|rule| held.rule == rule));
        *held = kept;
        drop(held);
        released.into_iter().filter_map(|held| held.release.send(()).ok()).count()
    }

    fn remove(&self, rule: u64) {
        lock(&self.0.rules).retain(|present| present.id != rule);
        lock(&self.0.held).retain(|held| held.rule != rule);
    }

    fn rule(&self, fault: Fault) -> Rule {
        Rule { id: self.0.next.fetch_add(1, Ordering::Relaxed), fault, seen: 0 }
    }
}

/// A crash point: the first matching call stops here. Dropped without [`Hold::release`], it resets the connection, and a
/// call held before it was forwarded never reaches AWS.
pub struct Hold {
    faults: Faults,
    rule: u64,
}

impl Hold {
    /// Waits until the call has arrived (or, after its effect, has been answered by AWS).
    pub async fn arrived(&self) {
        loop {
            let notified = self.faults.0.arrived.notified();
            tokio::pin!(notified);
            // Registered before looking, or an arrival in between would be missed.
            notified.as_mut().enable();
            if lock(&self.faults.0.held).iter().any(|held| held.rule == self.rule) {
                return;
            }
            notified.await;
        }
    }

    /// Lets the call go on.
    pub fn release(self) {
        self.faults.release(Some(self.rule));
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.faults.remove(self.rule);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
