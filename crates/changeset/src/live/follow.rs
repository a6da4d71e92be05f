//! Following an operation to its end, event by event, nested stacks included.

use std::collections::{BTreeMap, BTreeSet};

use kit::{Cx, Failure, Poll, Wait};
use serde::Serialize;

use super::events::Stop;
use super::first_failure::first_failure;
use super::{Cfn, Event, Operation, Output, Phase, Stack, short};

/// Where the followed operation begins among the stack's events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    /// After this event; from the first one when the stack had none.
    After(Option<String>),
    /// With this event.
    From(String),
}

impl From<&Operation> for Since {
    fn from(operation: &Operation) -> Self {
        Self::From(operation.first.id.clone())
    }
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ended {
    /// The status in which it left the stack; see [`Phase`].
    pub status: String,
    /// The reason that AWS gives for it.
    pub reason: Option<String>,
    /// Why it failed or was rolled back, in the deepest nested stack.
    pub first_failure: Option<Event>,
    /// Resources that left the stack and were kept (`DELETE_SKIPPED`).
    pub kept: Vec<Event>,
    /// Resources that could not be deleted, those of the cleaning up after an update included, which does not fail for it.
    pub undeleted: Vec<Event>,
    pub outputs: BTreeMap<String, Output>,
}

impl Ended {
    /// What the status comes to.
    pub fn phase(&self) -> Phase {
        Phase::of(&self.status)
    }
}

/// For so long an event can come that is older than one that was read.
const UNSETTLED_MILLIS: i64 = 30_000;

/// A stack whose events are read.
#[derive(Debug)]
struct Watched {
    /// The logical ids that lead to it; empty for the root.
    path: Vec<String>,
    /// Its own last event tells that it is through. A later event of its parent about it opens it again.
    over: bool,
    /// The time of its newest event that was read.
    newest: Option<i64>,
}

struct Follower<'a> {
    cfn: &'a Cfn,
    root: &'a str,
    since: Since,
    /// When the operation began; none before its first event came.
    began: Option<i64>,
    /// Parents before those nested in them, so that what a nested stack did is read after its parent says that it is through.
    order: Vec<String>,
    watched: BTreeMap<String, Watched>,
    /// By stack and id: AWS makes the ids of a resource of its name, its status and the time.
    seen: BTreeSet<(String, String)>,
    events: Vec<Event>,
    said: usize,
}

impl Cfn {
    /// The place after the newest event of a stack, to be taken before an operation begins, so that its events, and no
    /// earlier one's end, are taken for it.
    pub async fn mark(&self, cx: &Cx, stack_id: &str) -> Result<Since, Failure> {
        let mut newest = None;
        self.events_until(cx, stack_id, |event| {
            newest = Some(event.id.clone());
            Stop::Before
        })
        .await?;
        Ok(Since::After(newest))
    }

    /// Follows an operation, and says each event once, until the stack is in a state that does not change by itself: the
    /// cleaning up after an update or a roll-back is waited for.
    ///
    /// Whether that end is the wished one is the caller's to judge. The deadline is the step's (exit 6).
    pub async fn follow(&self, cx: &Cx, stack_id: &str, since: Since) -> Result<Ended, Failure> {
        let mut follower = Follower::new(self, stack_id, since);
        let what = format!("stack {}", short(stack_id));
        let stack = cx
            .wait(Wait::until(&what, self.every), async || {
                follower.look(cx).await?;
                follower.say(cx);
                let Some(status) = follower.status() else {
                    return Ok(Poll::Pending("it has not begun".to_owned()));
                };
                if !Phase::of(&status).is_over() {
                    return Ok(Poll::Pending(status));
                }
                // Both are asked: each of the two may be older than the other by some seconds.
                match self.observe_stack(cx, stack_id).await? {
                    Some(stack) if stack.status == status => Ok(Poll::Ready(stack)),
                    Some(stack) => Ok(Poll::Pending(stack.status)),
                    None => Ok(Poll::Ready(Stack { status, ..Stack::default() })),
                }
            })
            .await?;
        // Events of nested stacks can come later than the end of the root's.
        follower.reopen();
        match follower.look(cx).await {
            Ok(()) => follower.say(cx),
            Err(error) if error.is_transient() => {}
            Err(error) => return Err(error),
        }
        Ok(follower.ended(stack))
    }
}

impl<'a> Follower<'a> {
    fn new(cfn: &'a Cfn, root: &'a str, since: Since) -> Self {
        let (order, watched) = (Vec::new(), BTreeMap::new());
        let (seen, events) = (BTreeSet::new(), Vec::new());
        let mut follower = Self { cfn, root, since, began: None, order, watched, seen, events, said: 0 };
        follower.watched(root);
        follower
    }

    /// Reads what is new. Nothing of a stack is kept before all of its pages were read, so an error loses no event.
    async fn look(&mut self, cx: &Cx) -> Result<(), Failure> {
        let mut n = 0;
        // Reading one can add to the list.
        while let Some(id) = self.order.get(n).cloned() {
            if !self.watched(&id).over {
                self.read(cx, &id).await?;
            }
            n += 1;
        }
        Ok(())
    }

    async fn read(&mut self, cx: &Cx, stack: &str) -> Result<(), Failure> {
        let is_root = stack == self.root;
        let settled = self.watched(stack).newest.map(|newest| newest - UNSETTLED_MILLIS);
        let (began, seen, since) = (self.began, &self.seen, &self.since);
        if !is_root && began.is_none() {
            return Ok(());
        }
        let new = self
            .cfn
            .events_until(cx, stack, |event| {
                if seen.contains(&event.key()) {
                    return if Some(event.millis) < settled { Stop::Before } else { Stop::Past };
                }
                match since {
                    _ if !is_root => {
                        if Some(event.millis) < began {
                            Stop::Before
                        } else {
                            Stop::No
                        }
                    }
                    Since::After(Some(id)) if *id == event.id => Stop::Before,
                    Since::From(id) if *id == event.id => Stop::After,
                    _ => Stop::No,
                }
            })
            .await?;
        let Some(new) = new else {
            // A nested stack that never came to be, or that is gone: its parent's events tell of it.
            self.watched(stack).over = !is_root;
            return Ok(());
        };
        let path = self.watched(stack).path.clone();
        for mut event in new {
            self.seen.insert(event.key());
            let watched = self.watched(stack);
            watched.newest = watched.newest.max(Some(event.millis));
            if event.is_of_the_stack() {
                if is_root {
                    self.began.get_or_insert(event.millis);
                } else {
                    event.path = path.join("/");
                }
                self.watched(stack).over = !is_root && Phase::of(&event.status).is_over();
            } else {
                let own: Vec<String> = path.iter().cloned().chain([event.logical_id.clone()]).collect();
                event.path = own.join("/");
                if let Some(nested) = event.nested_stack() {
                    let child = self.watched(nested);
                    child.path = own;
                    child.over = false;
                }
            }
            self.events.push(event);
        }
        Ok(())
    }

    /// The stack of that id, which is watched from now on.
    fn watched(&mut self, id: &str) -> &mut Watched {
        if !self.watched.contains_key(id) {
            self.order.push(id.to_owned());
        }
        self.watched.entry(id.to_owned()).or_insert(Watched { path: Vec::new(), over: false, newest: None })
    }

    /// Says what was not said, in the order of time.
    fn say(&mut self, cx: &Cx) {
        let said = self.said.min(self.events.len());
        let (_, new) = self.events.split_at_mut(said);
        new.sort_by_key(|event| event.millis);
        for event in new.iter().filter(|event| event.stack_id == self.root || !is_told_by_the_parent(event)) {
            let clock = event.time.get(11..19).unwrap_or_default();
            cx.report().say(&format!("{clock} {event}"));
        }
        self.said = self.events.len();
    }

    /// The newest status that the stack itself gave in this operation.
    fn status(&self) -> Option<String> {
        // An empty stack under review is no operation's end.
        let own = |event: &&Event| {
            event.stack_id == self.root
                && event.is_of_the_stack()
                && Phase::of(&event.status) != Phase::Review
        };
        self.events.iter().filter(own).max_by_key(|event| event.millis).map(|event| event.status.clone())
    }

    fn reopen(&mut self) {
        for stack in self.watched.values_mut() {
            stack.over = false;
        }
    }

    fn ended(mut self, stack: Stack) -> Ended {
        self.events.sort_by_key(|event| event.millis);
        let of = |status: &str| -> Vec<Event> {
            let resources = self.events.iter().filter(|event| !event.is_of_the_stack());
            resources.filter(|event| event.status == status).cloned().collect()
        };
        Ended {
            first_failure: match stack.phase() {
                Phase::Settled | Phase::Deleted => None,
                _ => first_failure(&self.events, self.root),
            },
            kept: of("DELETE_SKIPPED"),
            undeleted: of("DELETE_FAILED"),
            status: stack.status,
            reason: stack.status_reason,
            outputs: stack.outputs,
        }
    }
}

/// Whether the event of a nested stack itself says no more than its parent's event about it.
fn is_told_by_the_parent(event: &Event) -> bool {
    event.is_of_the_stack()
        && !["FAILED", "ROLLBACK", "CLEANUP"].iter().any(|word| event.status.contains(word))
}
