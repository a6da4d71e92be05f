//! One proof for every step: killed anywhere and run again, it ends as one undisturbed run; and whatever the network does, it
//! says what came of it and leaves nothing that the next run does not mend.
//!
//! A step takes part by a [`Stage`]: its world, its command, and all that it could change there. A step of `cutover --list`
//! without one fails [`every_step_is_proven`].

/// A test for each step, so that they run beside each other and a failure names its step.
macro_rules! for_each_step {
    ($proof:ident) => {
        for_each_step! {
            $proof:
            backup_db "backup-db",
            changeset_review "changeset-review",
            copy_objects "copy-objects",
            deploy_service "deploy-service",
            deploy_stack "deploy-stack",
            dispatch_workflow "dispatch-workflow",
            maintenance_toggle "maintenance-toggle",
            mute_alerts "mute-alerts",
            register_task_def "register-task-def",
            run_migration "run-migration",
            swap_upstream "swap-upstream",
            tag_release "tag-release",
            toggle_schedule "toggle-schedule",
            wait_healthy "wait-healthy",
        }
    };
    ($proof:ident: $($test:ident $step:literal,)+) => {
        $(#[tokio::test]
        async fn $test() {
            let cases = $crate::proof::stages::all();
            for case in cases.iter().filter(|case| case.step == $step && case.is_possible()) {
                $proof(case).await;
            }
        })+

        #[test]
        fn no_stage_is_left_out() {
            for case in $crate::proof::stages::all() {
                assert!([$($step),+].contains(&case.step), "{} has no test", case.name());
            }
        }
    };
}

mod canonical;
mod crash;
mod faults;
mod place;
mod stages;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use futures::future::{BoxFuture, FutureExt as _};
use serde_json::Value;
use testkit::front::Front;
use testkit::github::GithubWorld;
use tokio::process::Command;

use self::canonical::Names;
pub(crate) use self::faults::Wrong;
pub(crate) use self::place::{Place, Spot};
use crate::world::{Ran, World, run, run_bare};

/// A fresh world of one step. Two of one kind differ in nothing but the names that [`Stage::names`] tells.
pub(crate) trait Stage: Send + Sync {
    /// The world with the emulator, if it is this one: it tells where AWS is called and how the command runs.
    fn world(&self) -> Option<&World> {
        None
    }

    /// Where AWS is called.
    fn front(&self) -> Option<&Front> {
        self.world().map(|world| &world.front)
    }

    /// Where GitHub is called.
    fn github(&self) -> Option<&GithubWorld> {
        None
    }

    /// Where else the run is stopped and disturbed.
    fn place(&self) -> Option<&dyn Place> {
        None
    }

    /// Of the points there, one in so many is enough.
    fn stride(&self) -> usize {
        1
    }

    /// Where the command runs, and its receipts lie.
    fn dir(&self) -> &Path {
        self.world().expect("a stage of another world tells its folder").dir.path()
    }

    /// `cutover` with these arguments in this world's environment.
    fn cutover(&self, args: &[&str]) -> Command {
        self.world().expect("a stage of another world has commands of its own").command(args)
    }

    /// The arguments of the run that is proven, the step's name first; one thing at a time.
    fn args(&self) -> Vec<String>;

    /// What this world calls its own, and no other does: each with the word that stands for it.
    fn names(&self) -> Vec<(String, &'static str)> {
        Vec::new()
    }

    /// All that the run could change, looked at past the front.
    fn state(&self) -> BoxFuture<'_, Value>;

    /// Outputs that are numbers which the platform gives, other ones each time.
    fn given_by_the_platform(&self) -> &'static [&'static str] {
        &[]
    }

    /// Outputs that tell what this run did, as `changed` does: other ones where a run before it has done it.
    fn told_of_the_run(&self) -> &'static [&'static str] {
        &[]
    }

    /// Calls that may be made once more than in an undisturbed run, since the second has no effect of its own: with the reason.
    fn idempotent(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// Calls of which several are under way at once. Of a run that is killed at one of them, those beside it may have come to the
    /// front and not yet to the server: the next run finds nothing of them and makes them again, which is no doubling.
    fn concurrent(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether calls that have had an effect are counted: not where the state shows all that they can leave.
    fn counts_effects(&self) -> bool {
        true
    }

    /// What of the state is as it was before when the run is taken back: all of it, unless a history keeps what was done.
    fn comes_back(&self, state: Value) -> Value {
        state
    }

    /// Whether the run puts away again all that it makes, so that the state after it is the one before.
    fn leaves_nothing(&self) -> bool {
        false
    }

    /// Whether the run can be taken back at all.
    fn is_undoable(&self) -> bool {
        true
    }
}

/// A step in a situation.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) step: &'static str,
    /// What is done, in a few words.
    pub(crate) does: &'static str,
    pub(crate) start: fn() -> BoxFuture<'static, Box<dyn Stage>>,
}

/// For [`Case::start`].
pub(crate) fn started<S: Stage + 'static>(
    stage: impl Future<Output = S> + Send + 'static,
) -> BoxFuture<'static, Box<dyn Stage>> {
    stage.map(|stage| Box::new(stage) as Box<dyn Stage>).boxed()
}

/// Steps that change nothing anywhere: a kill leaves nothing behind, by what they are.
const CHANGE_NOTHING: [&str; 1] = ["release-report"];

impl Case {
    async fn stage(&self) -> Box<dyn Stage> {
        let stage = (self.start)().await;
        if let Some(front) = stage.front() {
            front.forget();
        }
        if let Some(github) = stage.github() {
            github.forget_calls();
        }
        if let Some(place) = stage.place() {
            place.forget();
        }
        stage
    }

    /// Whether this machine has what the world is made of; where it has not, that is said.
    fn is_possible(&self) -> bool {
        let lacks_nginx = self.step == "swap-upstream" && testkit::nginx::installation().is_none();
        if lacks_nginx {
            testkit::inputs::skipped("swap-upstream: there is no nginx on this machine");
        }
        !lacks_nginx
    }

    fn name(&self) -> String {
        format!("{}: {}", self.step, self.does)
    }
}

/// The names that are this stage's, and the state without them.
async fn seen(stage: &dyn Stage) -> Value {
    Names::of(stage).canonical(&stage.state().await)
}

fn outputs(stage: &dyn Stage, ran: &Ran) -> Value {
    let mut outputs = Names::of(stage).canonical(&ran.json()["outputs"]);
    for name in stage.given_by_the_platform() {
        outputs.as_object_mut().and_then(|outputs| outputs.insert((*name).to_owned(), "GIVEN".into()));
    }
    outputs
}

fn command(stage: &dyn Stage, receipt: &str) -> Command {
    let args = stage.args();
    let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
    args.extend(["--format", "json", "--receipt", receipt]);
    let mut command = stage.cutover(&args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What a stage is to have behind it when it starts.
pub(crate) async fn went_before(stage: &dyn Stage, args: &[String]) {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    run(stage.cutover(&args)).await.expect(0);
}

async fn again(stage: &dyn Stage, receipt: &str) -> Ran {
    run(command(stage, receipt)).await
}

/// Takes a run back, by its receipt alone.
async fn undo(stage: &dyn Stage, receipt: &str) -> Ran {
    let args = stage.args();
    run(stage.cutover(&[&args[0], "--undo", receipt, "--receipt", "undo.json"])).await
}

/// How often each writing call has had an effect. Refused ones had none; of one of GitHub's that was cut off, the caller knows.
fn effects(stage: &dyn Stage, is_unanswered_done: bool) -> BTreeMap<String, usize> {
    let mut effects = BTreeMap::new();
    for call in stage.front().into_iter().flat_map(Front::writes) {
        if call.effect && call.status.is_none_or(|status| status < 400) {
            *effects.entry(call.name()).or_default() += 1;
        }
    }
    for call in stage.github().into_iter().flat_map(GithubWorld::writes) {
        if call.status.map_or(is_unanswered_done, |status| status < 400) {
            *effects.entry(format!("{} {}", call.method, kind(&call.path))).or_default() += 1;
        }
    }
    effects
}

/// A path of GitHub without what is particular: `/repos/{owner}/{repo}/git/refs`.
fn kind(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let parts = path.split('/').skip(4).map(|part| {
        let is_particular = part.bytes().any(|byte| byte.is_ascii_digit());
        if is_particular { "*" } else { part }
    });
    parts.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn every_step_is_proven() {
    let listed = run_bare(&["--list".to_owned()]).await.expect(0).stdout;
    let proven: Vec<&str> = stages::all().iter().map(|case| case.step).collect();
    let missing: Vec<&str> =
        listed.lines().filter(|step| !proven.contains(step) && !CHANGE_NOTHING.contains(step)).collect();
    assert_eq!(missing, [""; 0], "steps that no stage proves");
    let strange: Vec<&&str> = proven
        .iter()
        .chain(&CHANGE_NOTHING)
        .filter(|step| !listed.lines().any(|listed| listed == **step))
        .collect();
    assert!(strange.is_empty(), "{strange:?} are no steps");
}
