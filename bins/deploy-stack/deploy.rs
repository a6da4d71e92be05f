//! Creating and updating: make the set again, judge again, compare with what was approved, execute exactly that set, follow.

use changeset::judge::Rules;
use changeset::live::{Cfn, Ended, Kind, Phase, SetRef, Shell, Since, Stack, set_name};
use changeset::look::{Looked, look};
use changeset::prepare::{Call, Prepared, Ready};
use changeset::request::StackArg;
use changeset::review::{Review, StackReview, State, Wishes};
use changeset::show::{Style, summary, terminal};
use kit::{Cx, Failure};
use serde::Serialize;

use crate::args::{Act, DeployArgs};
use crate::plan::{run_id, set_id};
use crate::reviewed::Reviewed;
use crate::verify::{Wished, goes_on, verify};

/// What all stacks of a call share.
pub(crate) struct Deploy<'a> {
    pub(crate) cx: &'a Cx,
    pub(crate) cfn: &'a Cfn,
    pub(crate) args: &'a DeployArgs,
    pub(crate) call: &'a Call,
    pub(crate) rules: &'a Rules,
    pub(crate) reviewed: &'a Reviewed,
}

/// The change set that was made, by the name chosen before.
#[derive(Serialize)]
struct Inverse<'a> {
    stack: &'a str,
    set: &'a str,
    is_new: bool,
}

impl Deploy<'_> {
    /// The stack as it is, after whatever goes on there has come to its end.
    ///
    /// # Errors
    /// That end is none that lets the run go on (exit 7): this run began nothing of it.
    pub(crate) async fn settled(&self, arg: &StackArg) -> Result<Option<Stack>, Failure> {
        let Some(stack) = self.cfn.observe_stack(self.cx, &arg.stack).await? else { return Ok(None) };
        if stack.phase() != Phase::InProgress {
            return Ok(Some(stack));
        }
        let Some(running) = self.cfn.last_operation(self.cx, &stack.id).await? else {
            return Err(Failure::failed(format!("follow what goes on in stack {}", arg.label))
                .because(format!("it is {}, and AWS tells of no operation", stack.status))
                .help("run the same command again"));
        };
        self.cx.report().group(&format!("{}: {} goes on, followed to its end", arg.label, stack.status));
        let ended = self.cfn.follow(self.cx, &stack.id, Since::from(&running)).await?;
        self.cx.report().end_group();
        if let Some(told) = goes_on(arg, &stack.status, &ended, self.args.action)? {
            self.cx.report().warn(&told);
        }
        self.cfn.observe_stack(self.cx, &stack.id).await
    }

    /// Runs one stack; false when it was as wanted already.
    pub(crate) async fn change(&self, arg: &StackArg) -> Result<bool, Failure> {
        if let Some(why) = self.reviewed.provisional(&arg.label) {
            return Err(self.unplanned(arg, why));
        }
        self.settled(arg).await?;
        match self.call.prepare(self.cx, self.cfn, arg, &[]).await? {
            Prepared::Ready(ready) => self.run(&ready).await,
            Prepared::Provisional(why) => Err(self.unplanned(arg, &why)),
        }
    }

    fn unplanned(&self, arg: &StackArg, why: &str) -> Failure {
        Failure::waiting(format!("run stack {}", arg.label))
            .because(format!("it was not reviewed, as it could not be planned then: {why}"))
            .help(format!("review it now: {}", self.args.review_command()))
            .help("look at that review, and run the same command with it: stacks that have run pass")
    }

    /// Makes the set, compares and executes it.
    pub(crate) async fn run(&self, ready: &Ready) -> Result<bool, Failure> {
        let (cx, cfn, label) = (self.cx, self.cfn, &ready.arg.label);
        let id = set_id(label);
        let name = set_name("deploy", &cx.run_id());
        let left = cfn.left(cx, &ready.arg.stack, &set_name("deploy", "")).await?;
        // Where an earlier run was cut off before its first set of a stack was executed, the empty stack is that run's.
        let is_new = ready.absent || (ready.observed.is_none() && !left.is_empty());
        let inverse = Inverse { stack: &ready.arg.stack, set: &name, is_new };
        let mut want = ready.want.clone();
        "made by deploy-stack to be executed at once".clone_into(&mut want.description);
        let set = cx
            .act(&id, &inverse, async {
                for set in &left {
                    if let Err(error) = cfn.delete_set(set).await {
                        let why = error.chain().join(": ");
                        cx.report().warn(&format!("{error}, which an earlier run left: {why}"));
                    }
                }
                if let Some(body) = &ready.body {
                    want.template = cfn.template_source(cx, body, self.call.bucket.as_ref()).await?;
                }
                cfn.make_set(&want, &name).await
            })
            .await?;
        let mut review = match self.admitted(ready, &set).await {
            Ok(review) => review,
            Err(failure) => {
                self.take_away(&id, &set, is_new).await;
                return Err(failure);
            }
        };
        if review.state == State::NoChanges {
            self.take_away(&id, &set, false).await;
            cx.report().say(&format!("{label}: nothing changes"));
            return Ok(false);
        }
        self.show(&mut review);
        cx.report().group(&format!("{label}: events"));
        let since = cfn.mark(cx, &set.stack_id).await?;
        // One token for one set: a retry of the call starts nothing twice.
        let token = format!("run-{name}");
        if let Err(failure) = cx.act(&run_id(label), &set, cfn.execute(&set, &token)).await {
            cx.report().end_group();
            // One that is being executed all the same, AWS does not delete.
            self.take_away(&id, &set, is_new).await;
            return Err(failure);
        }
        let ended = cfn.follow(cx, &set.stack_id, since).await?;
        cx.report().end_group();
        let again = self.args.action == Act::Recreate;
        verify(&ready.arg, &ended, if again { Wished::Again } else { Wished::Settled })?;
        self.tell(label, &ended);
        Ok(true)
    }

    async fn admitted(&self, ready: &Ready, set: &SetRef) -> Result<StackReview, Failure> {
        let label = &ready.arg.label;
        match look(self.cx, self.cfn, ready, set, self.rules).await? {
            Looked::Failed { reason, details } => {
                Err(Failure::failed(format!("make a change set for stack {label}"))
                    .because(std::iter::once(reason).chain(details).collect::<Vec<_>>().join("\n"))
                    .help("correct what it names, review and run again"))
            }
            Looked::Review(mut review) => {
                let is_there = ready.want.kind == Kind::Update;
                if self.args.action == Act::Update && !is_there {
                    return Err(Failure::refused(format!("update stack {label}"))
                        .because("it does not exist any more")
                        .help("make it with --action create, when that is what is wanted"));
                }
                if self.args.action == Act::Recreate && is_there && review.state != State::NoChanges {
                    review.change_set = None;
                    self.show(&mut review);
                    return Err(Failure::refused(format!("make stack {label} again"))
                        .because(
                            "it was deleted and made anew already, and is not as the template and the parameters say",
                        )
                        .help("change it with --action update")
                        .help(format!(
                            "or review it again, when it is to be deleted once more: {}",
                            self.args.review_command()
                        )));
                }
                if self.args.action == Act::Create && review.state != State::NoChanges && is_there {
                    review.change_set = None;
                    self.show(&mut review);
                    return Err(Failure::refused(format!("create stack {label}"))
                        .because("it exists, and is not as the template and the parameters say")
                        .help("change it with --action update; nothing is deleted to make room"));
                }
                if let Err(refused) = self.admit(&mut review) {
                    // It will be gone: a link to it would lead nowhere.
                    review.change_set = None;
                    self.show(&mut review);
                    return Err(refused.help(format!("review again: {}", self.args.review_command())));
                }
                Ok(*review)
            }
        }
    }

    /// Marks what is approved, and refuses the rest.
    pub(crate) fn admit(&self, review: &mut StackReview) -> Result<(), Failure> {
        for idle in self.reviewed.admit(review)? {
            self.cx.report().warn(&idle);
        }
        Ok(())
    }

    /// The same report as the review's.
    pub(crate) fn show(&self, review: &mut StackReview) {
        let mut one = Review::new(env!("CARGO_PKG_VERSION"), None, Wishes::default(), vec![review.clone()]);
        // It would be another than the one that was approved.
        one.fingerprint.clear();
        self.cx.report().group(&format!("{}: what it does", review.label));
        for line in terminal(&one, Style::default()) {
            self.cx.report().say(&line);
        }
        self.cx.report().end_group();
        self.cx.report().summarize(&summary(&one));
    }

    /// A set that is not executed is not left behind. The failure that led here is the story, so this one is a warning.
    async fn take_away(&self, id: &str, set: &SetRef, is_new: bool) {
        let gone = self.cx.put_back(id, async {
            self.cfn.delete_set(set).await?;
            if is_new {
                let token = format!("shell-{}", self.cx.run_id());
                if let Shell::Kept(why) = self.cfn.delete_shell(self.cx, &set.stack_id, &token).await? {
                    self.cx.report().say(&format!("the empty stack is left: {why}"));
                }
            }
            Ok(())
        });
        if let Err(error) = gone.await {
            let shell = if is_new { ", or the empty stack that it made," } else { "" };
            let why = std::iter::once(error.to_string()).chain(error.chain()).collect::<Vec<_>>();
            self.cx.report().warn(&format!(
                "the change set {}{shell} is left ({}); the same command run again takes it away",
                set.arn,
                why.join(": ")
            ));
        }
    }

    /// What an operation left beside its success.
    pub(crate) fn tell(&self, label: &str, ended: &Ended) {
        let report = self.cx.report();
        report.say(&format!("{label}: {}", ended.status));
        for event in &ended.kept {
            let physical = event.physical_id.as_deref().unwrap_or("without a name");
            report.warn(&format!(
                "{} was kept, outside the stack: {physical} ({})",
                event.path, event.resource_type
            ));
        }
        for event in &ended.undeleted {
            report.warn(&format!(
                "{} could not be deleted, and is left outside the stack: {}",
                event.path,
                event.reason.as_deref().unwrap_or("AWS gives no reason")
            ));
        }
    }
}
