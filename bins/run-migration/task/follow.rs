//! Following one task to its end, with its log.

use std::time::Duration;

use ecs::{LogSource, Tail, short};
use kit::{Code, Cx, Failure, Poll, Wait};
use tokio::time::Instant;

use super::apply;
use super::args::{OnCancel, TaskArgs};
use super::observe::{Ecs, Look, SeenTask};

/// ECS is eventually consistent: for about a minute it may not show what it has started.
const UNSEEN: Duration = Duration::from_mins(1);

/// The longest that a stopped task's log is drained.
const DRAIN: Duration = Duration::from_secs(30);

/// How long a call may take that is made while the run is being cancelled; the whole of it has five seconds.
const LAST_CALL: Duration = Duration::from_secs(3);

/// One task, and where its log is.
pub(crate) struct Follow<'a> {
    pub(crate) ecs: &'a Ecs<'a>,
    pub(crate) task: &'a str,
    /// The deciding container.
    pub(crate) container: &'a str,
    /// Its log, or why there is none.
    pub(crate) log: &'a Result<LogSource, String>,
    pub(crate) args: &'a TaskArgs,
}

impl Follow<'_> {
    /// Waits until the task has stopped, however fast it went there, and hands its log on as it comes.
    pub(crate) async fn to_the_end(&self, cx: &Cx) -> Result<SeenTask, Failure> {
        let mut say = |line: &str| cx.report().foreign(line);
        let mut tail = self.log.as_ref().ok().map(|source| Tail::new(self.ecs.aws, source.clone()));
        let what = format!("task {} to stop", short(self.task));
        let mut known_at = Instant::now();
        let ended = cx
            .wait(Wait::until(&what, self.args.interval), async || {
                let look = self.ecs.look(self.task).await;
                if let Some(tail) = &mut tail {
                    tail.tick(&mut say).await;
                }
                match look? {
                    Look::Found(task) if task.stopped() => Ok(Poll::Ready(Some(task))),
                    Look::Found(task) => {
                        known_at = Instant::now();
                        Ok(Poll::Pending(format!("it is {}", task.status)))
                    }
                    Look::Missing if known_at.elapsed() < UNSEEN => {
                        Ok(Poll::Pending("ECS does not show it yet".to_owned()))
                    }
                    Look::Missing => Ok(Poll::Ready(None)),
                }
            })
            .await;
        let task = match ended {
            Ok(Some(task)) => task,
            Ok(None) => return Err(self.forgotten()),
            Err(failure) => return Err(self.unfinished(failure, &mut tail, &mut say).await),
        };
        cx.report().say(&format!(
            "task {} has stopped: {}",
            short(self.task),
            task.stopped_reason.as_deref().unwrap_or("ECS gives no reason")
        ));
        self.drain(cx, &task, tail, &mut say).await?;
        Ok(task)
    }

    /// Reads what the agent still sends. A container that never ran has no log to wait for.
    async fn drain(
        &self,
        cx: &Cx,
        task: &SeenTask,
        tail: Option<Tail>,
        say: &mut impl FnMut(&str),
    ) -> Result<(), Failure> {
        let ran = task.containers.iter().any(|seen| seen.name == self.container && seen.exit_code.is_some());
        let Some(mut tail) = tail.filter(|_| ran || task.stop_code.as_deref() != Some("TaskFailedToStart"))
        else {
            return Ok(());
        };
        // The outcome is known: a run that is cancelled now ends with it, and without the rest of the log.
        let drained = cx.or_cancelled(tail.drain(self.args.log_quiet, DRAIN, say)).await;
        match tail.trouble() {
            Some(why) => cx.report().warn(&format!("the log is not whole: {why}")),
            None if drained.is_err() => {
                cx.report().warn(&format!("the log is not whole; all of it: {}", tail.source().command()));
            }
            None => {
                let lines = kit::counted(tail.lines(), "line");
                cx.report().say(&format!("the log has {lines}: {}", tail.source()));
            }
        }
        Ok(())
    }

    /// A wait that ended without the task: what becomes of it was chosen beforehand, and where it is to be found is said in
    /// any case.
    async fn unfinished(
        &self,
        failure: Failure,
        tail: &mut Option<Tail>,
        say: &mut impl FnMut(&str),
    ) -> Failure {
        let given_up = matches!(failure.code(), Code::Deadline | Code::Interrupted | Code::Terminated);
        let id = short(self.task);
        let stop = given_up && self.args.on_cancel == OnCancel::Stop;
        let failure = if stop {
            let reason = match failure.code() {
                Code::Deadline => "cutover run-migration: --timeout was over",
                _ => "cutover run-migration: cancelled",
            };
            match apply::stop(self.ecs, self.task, reason, LAST_CALL).await {
                Ok(()) => failure.state(format!(
                    "task {id} was told to stop (--on-cancel stop): the migration may have been ended half-way"
                )),
                Err(unstopped) => failure.state(format!(
                    "task {id} could not be stopped and may still run: {unstopped}: {}",
                    unstopped.chain().join(": ")
                )),
            }
        } else {
            failure.state(format!(
                "task {id} may still run: it goes on by itself, and the same command takes it up again"
            ))
        };
        if let Some(tail) = tail {
            // What it has written so far, if AWS is quick.
            let _ = tokio::time::timeout(Duration::from_secs(1), tail.tick(say)).await;
        }
        self.moves().into_iter().fold(failure.state(format!("task: {}", self.task)), Failure::help)
    }

    /// The commands for whoever goes on by hand.
    fn moves(&self) -> Vec<String> {
        let (cluster, region) = (&self.ecs.cluster, &self.ecs.aws.region);
        let mut moves = vec![format!(
            "look at it: aws ecs describe-tasks --region {region} --cluster {cluster} --tasks {}",
            self.task
        )];
        if let Ok(source) = self.log {
            moves.push(format!("read its log: {}", source.command()));
        }
        moves.push(format!(
            "end it: aws ecs stop-task --region {region} --cluster {cluster} --task {}",
            self.task
        ));
        moves
    }

    fn forgotten(&self) -> Failure {
        let failure = Failure::unverified(format!("follow task {}", short(self.task)))
            .because("ECS does not know it any more, as it forgets a task an hour after it has stopped, so how it ended can't be seen")
            .state(format!("task: {}", self.task))
            .help("look into the database; to start the migration once more, name another release with --run-id");
        match self.log {
            Ok(source) => failure.help(format!("read its log: {}", source.command())),
            Err(_) => failure,
        }
    }
}
