//! What a running step has at hand: report, receipt, clock, deadline, cancellation.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::journal::Journal;
use crate::plan::Shown;
use crate::receipt::{self, ActionState};
use crate::report::Report;
use crate::{Code, Env, Failure, Plan, Receipt};

/// The context of one run of a step. Cloning it is cheap and gives the same run.
#[derive(Clone, Debug)]
pub struct Cx(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) env: Env,
    pub(crate) report: Report,
    pub(crate) dry_run: bool,
    pub(crate) deadline: Instant,
    pub(crate) clock: fn() -> OffsetDateTime,
    pub(crate) undo: Option<(PathBuf, Receipt)>,
    pub(crate) cancelled: CancellationToken,
    pub(crate) signal: Mutex<Option<Code>>,
    pub(crate) journal: Mutex<Journal>,
    pub(crate) receipt_wanted: bool,
    pub(crate) declared_outputs: Vec<&'static str>,
}

/// How a step ended well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Whether this run changed anything.
    pub changed: bool,
    /// One line that says what is so now.
    pub headline: String,
}

impl Outcome {
    /// This run made the change that the headline tells.
    pub fn changed(headline: impl Into<String>) -> Self {
        Self { changed: true, headline: headline.into() }
    }

    /// The world was as wanted already.
    pub fn unchanged(headline: impl Into<String>) -> Self {
        Self { changed: false, headline: headline.into() }
    }
}

/// Whether to go on after a plan was shown.
#[derive(Debug)]
pub enum Go {
    /// Apply it.
    Apply,
    /// Dry run: stop here with this outcome. (An empty plan goes on, so that the step can verify and set outputs.)
    Stop(Outcome),
}

impl Cx {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    pub(crate) fn journal(&self) -> MutexGuard<'_, Journal> {
        self.0.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn try_journal(&self) -> Option<MutexGuard<'_, Journal>> {
        self.0.journal.try_lock().ok()
    }

    /// The environment of the run.
    pub fn env(&self) -> &Env {
        &self.0.env
    }

    /// Where the run says what it says.
    pub fn report(&self) -> &Report {
        &self.0.report
    }

    /// Whether the run stops after the plan.
    pub fn dry_run(&self) -> bool {
        self.0.dry_run
    }

    /// The step's name.
    pub fn step(&self) -> &'static str {
        self.report().step()
    }

    /// When the step's `--timeout` is over.
    pub fn deadline(&self) -> Instant {
        self.0.deadline
    }

    /// How long the step may still take.
    pub fn remaining(&self) -> Duration {
        self.0.deadline.saturating_duration_since(Instant::now())
    }

    /// The time of day.
    pub fn now(&self) -> OffsetDateTime {
        (self.0.clock)()
    }

    /// A unique id of this run, in the receipt too.
    pub fn run_id(&self) -> String {
        self.journal().receipt.run.clone()
    }

    /// Where the receipt of this run is kept. What a bulk step did to each of many things lies in files beside it.
    pub fn receipt_path(&self) -> PathBuf {
        self.journal().path.clone()
    }

    /// Where the receipt of the run to take back lies, when `--undo` was given.
    pub fn undo_path(&self) -> Option<&Path> {
        self.0.undo.as_ref().map(|(path, _)| path.as_path())
    }

    /// The receipt of the run to take back, when `--undo` was given.
    pub fn undo(&self) -> Option<&Receipt> {
        self.0.undo.as_ref().map(|(_, receipt)| receipt)
    }

    /// Sleeps; waiting for something is [`Cx::wait`]'s work.
    pub async fn pause(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Ends early with the cancellation when a signal comes. What the future did not finish is dropped: use it around
    /// reading calls and pauses, never around a writing one.
    pub async fn or_cancelled<T>(&self, future: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::select! {
            biased;
            () = self.0.cancelled.cancelled() => Err(self.cancellation()),
            value = future => Ok(value),
        }
    }

    /// Awaits the future, but ends with the cancellation or the deadline if one of them comes first.
    pub async fn in_time<T>(&self, attempt: &str, future: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::select! {
            biased;
            () = self.cancelled() => Err(self.cancellation()),
            value = future => Ok(value),
            () = tokio::time::sleep_until(self.deadline()) => Err(Failure::new(Code::Deadline, attempt)
                .because("the deadline passed")
                .help("run it again with a longer --timeout")),
        }
    }

    /// Completes when the run was cancelled by a signal, for steps that have something to put away (a child process,
    /// an unfinished upload) within the five seconds that they are given.
    pub async fn cancelled(&self) {
        self.0.cancelled.cancelled().await;
    }

    /// Cancels the run as the signal behind `code` does.
    pub fn cancel(&self, code: Code) {
        self.0.signal.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(code);
        self.0.cancelled.cancel();
    }

    /// What cancelled the run, a signal or the deadline, as its exit code.
    pub(crate) fn signal(&self) -> Option<Code> {
        *self.0.signal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The failure with which a run ends that a signal or the deadline has cancelled.
    pub fn cancellation(&self) -> Failure {
        let code = self.signal().unwrap_or(Code::Interrupted);
        let what =
            match code {
                Code::Deadline => {
                    return Failure::new(code, "go on")
                    .because("the deadline passed, and a call has not come to its end")
                    .help("run the same command again to continue, with a longer --timeout if this is usual");
                }
                Code::Terminated => "cancelled by SIGTERM",
                _ => "cancelled by SIGINT",
            };
        Failure::new(code, what).help("run the same command again to continue")
    }

    /// Tells the receipt and the report which AWS account and region the run works on.
    pub fn set_place(&self, account: &str, region: &str) {
        let mut journal = self.journal();
        journal.receipt.account = Some(account.to_owned());
        journal.receipt.region = Some(region.to_owned());
    }

    /// Keeps what was observed in the receipt.
    pub fn observed(&self, world: &impl Serialize) {
        // A value that can't be serialized is left out of the receipt: it decides nothing.
        self.journal().receipt.observed = serde_json::to_value(world).unwrap_or(Value::Null);
    }

    /// Shows the plan, and unless this is a dry run puts it on disk as the receipt's list of planned actions.
    pub fn show(&self, plan: &impl Plan) -> Result<Go, Failure> {
        let shown =
            Shown::of(plan).map_err(|error| Failure::failed("write the plan as JSON").because(error))?;
        let place = {
            let journal = self.journal();
            journal.continues(&shown)?;
            match (&journal.receipt.account, &journal.receipt.region) {
                (Some(account), Some(region)) => format!("account {account}, region {region}"),
                _ => String::new(),
            }
        };
        self.report().plan(&shown, &place, self.dry_run());
        self.journal().plan(&shown);
        if self.dry_run() {
            let headline = match shown.actions.len() {
                0 => format!("nothing to do: {}", shown.unchanged),
                1 => "dry run: 1 change would be made".to_owned(),
                n => format!("dry run: {n} changes would be made"),
            };
            return Ok(Go::Stop(Outcome::unchanged(headline)));
        }
        if !shown.actions.is_empty() {
            self.journal().save_plan()?;
        }
        Ok(Go::Apply)
    }

    /// Makes one planned change: writes its inverse to the receipt, makes the call, writes what came of it.
    ///
    /// `id` is the action's id in the plan that was shown. When the call fails and surely had no effect
    /// ([`Failure::untouched`]) the action counts as not done; otherwise it stays in doubt.
    pub async fn act<T: Serialize>(
        &self,
        id: &str,
        inverse: &impl Serialize,
        call: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        if self.signal().is_some() {
            return Err(self.cancellation());
        }
        let inverse = serde_json::to_value(inverse)
            .map_err(|error| Failure::failed(format!("write the inverse of {id}")).because(error))?;
        self.mark(id, ActionState::Started, |action| action.inverse = inverse)?;
        match call.await {
            Ok(value) => {
                let result = serde_json::to_value(&value).unwrap_or(Value::Null);
                self.mark(id, ActionState::Done, |action| action.result = result)?;
                Ok(value)
            }
            Err(failure) => {
                if failure.untouched {
                    self.mark(id, ActionState::Planned, |_| {})?;
                }
                Err(failure)
            }
        }
    }

    /// [`Cx::act`] for one inverse of an `--undo` run: `taken_back` is the action of the receipt that it takes back,
    /// which is marked as undone there.
    pub async fn act_undo<T: Serialize>(
        &self,
        id: &str,
        taken_back: &crate::ActionRecord,
        call: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let value = self.act(id, &Value::Null, call).await?;
        self.mark_undone(taken_back)?;
        Ok(value)
    }

    /// [`Cx::act_undo`] where one call takes back several actions of the receipt, as of a run that was continued.
    pub async fn act_undo_all<T: Serialize>(
        &self,
        id: &str,
        taken_back: &[crate::ActionRecord],
        call: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        if taken_back.is_empty() {
            return Err(Failure::failed(format!("take {id} back"))
                .because("no action of the receipt has it; this is a bug in the step"));
        }
        let value = self.act(id, &Value::Null, call).await?;
        taken_back.iter().try_for_each(|action| self.mark_undone(action))?;
        Ok(value)
    }

    /// Takes back what an action of this very run made, as when it was made to be looked at. A run of which everything was
    /// taken back has changed nothing.
    pub async fn put_back<T>(
        &self,
        id: &str,
        call: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let value = call.await?;
        self.mark(id, ActionState::Undone, |_| {})?;
        Ok(value)
    }

    /// Marks an action of the receipt to undo as taken back, as when it is found to have had no effect.
    pub fn mark_undone(&self, taken_back: &crate::ActionRecord) -> Result<(), Failure> {
        let Some((path, _)) = &self.0.undo else { return Ok(()) };
        let mut receipt = Receipt::read(path)?;
        for action in &mut receipt.actions {
            if action.id == taken_back.id && action.run == taken_back.run {
                action.state = ActionState::Undone;
            }
        }
        receipt::save(path, &receipt)
            .map_err(|error| Failure::failed(format!("write the receipt {}", path.display())).because(error))
    }

    fn mark(
        &self,
        id: &str,
        state: ActionState,
        change: impl FnOnce(&mut crate::ActionRecord),
    ) -> Result<(), Failure> {
        let mut journal = self.journal();
        let Some(action) = journal.action(id) else {
            return Err(Failure::failed(format!("do {id}"))
                .because("the plan that was shown has no such action; this is a bug in the step")
                .untouched(true));
        };
        let before = action.clone();
        action.state = state;
        change(action);
        let saved = journal.save();
        if saved.is_err()
            && state == ActionState::Started
            && let Some(action) = journal.action(id)
        {
            // The call will not be made, so the action is not in doubt.
            *action = before;
        }
        saved
    }

    /// Sets one of the step's documented outputs.
    pub fn output(&self, name: &str, value: impl Into<String>) {
        debug_assert!(
            self.0.declared_outputs.contains(&name),
            "the output {name} is not declared in STEP.outputs"
        );
        self.journal().receipt.outputs.insert(name.to_owned(), value.into());
    }
}
