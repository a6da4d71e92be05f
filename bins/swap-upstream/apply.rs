//! Makes the switch on all proxies, or puts all back. The only file that writes.
//!
//! Lock all, edit all, `nginx -t` on all, reload all, then see the new workers and the new server through each; only then do the
//! locks go. Whatever fails, and a cancellation too, puts the former bytes back everywhere. A run that was killed leaves the locks
//! and the kept copies, from which the next one goes on.

use std::cell::Cell;
use std::time::Duration;

use futures::future::join_all;
use kit::{Code, Cx, Failure};
use tokio::time::Instant;

use crate::args::Request;
use crate::check;
use crate::edit::servers;
use crate::lock::{Found, Lock};
use crate::observe::{complaint, sum, test, workers};
use crate::plan::{LOCK, Switch, Target, Work, held};
use crate::script::{Answer, Kind, Script};

/// How often the processes of a reloading nginx are looked at.
const EVERY: Duration = Duration::from_millis(200);

/// How long the way back waits for the workers: it has to end, even when nobody waits any more.
const PATIENCE: Duration = Duration::from_secs(20);

/// How much longer than the step's own deadline a lock lasts: what is to be put back then takes its time.
const GRACE: Duration = Duration::from_mins(2);

/// One switch under way.
pub(crate) struct Switching<'a> {
    pub(crate) cx: &'a Cx,
    pub(crate) request: &'a Request,
    pub(crate) switch: &'a Switch,
    /// By target.
    reached: Vec<Reached>,
}

/// How far a target is. Where an answer was lost it counts as done: whether it was is seen when it is taken back.
#[derive(Clone, Debug, Default)]
struct Reached {
    locked: Cell<bool>,
    edited: Cell<bool>,
    reloaded: Cell<bool>,
}

impl<'a> Switching<'a> {
    pub(crate) fn new(cx: &'a Cx, request: &'a Request, switch: &'a Switch) -> Self {
        let reached = switch.targets.iter().map(|_| Reached::default()).collect();
        Self { cx, request, switch, reached }
    }

    /// # Errors
    /// All is as it was before, unless the failure says which proxy is not.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        // In the receipt before the first of them is there: a run that is killed in between can be taken back.
        if let Err(failure) = self.cx.act(LOCK, &self.switch.inverses(), self.lock_all()).await {
            self.give_up_locks().await;
            return Err(failure);
        }
        match self.forward().await {
            Ok(()) => {
                if self.finish_all().await {
                    self.unlock_all().await;
                }
                Ok(())
            }
            Err(failure) => Err(self.back(failure).await),
        }
    }

    /// What there is something to do about.
    fn working(&self) -> impl Iterator<Item = (&'a Target, &Reached)> {
        let switch: &'a Switch = self.switch;
        switch.targets.iter().zip(&self.reached).filter(|(target, _)| target.reloads())
    }

    async fn lock_all(&self) -> Result<(), Failure> {
        // Always in the same order: two releases that want the same proxies don't each get some of them.
        let mut order: Vec<_> = self.working().collect();
        let place =
            |target: &Target| (target.proxy.ssh.as_ref().map(|ssh| ssh.host.clone()), target.real.clone());
        order.sort_by_key(|(target, _)| place(target));
        for (target, reached) in order {
            reached.locked.set(true);
            self.lock(target).await?;
        }
        Ok(())
    }

    async fn lock(&self, target: &Target) -> Result<(), Failure> {
        let cx = self.cx;
        let left = self.cx.remaining() + GRACE;
        let lock = Lock {
            release: self.request.release.clone(),
            run: cx.run_id(),
            before: sum(&target.before),
            after: sum(&target.after),
            expires: 0,
            done: false,
        };
        let script = self
            .script(Kind::Lock, target)
            .with_bytes("lock_lines", lock.lines().as_bytes())
            .with("TTL", &left.as_secs().to_string())
            .with("SEEN", target.lock.as_deref().unwrap_or_default());
        let attempt = format!("lock {}", target.proxy);
        let answer = self
            .request
            .reach
            .run(cx, &target.proxy, &script)
            .await
            .map_err(|failure| failure.untouched(true))?;
        match answer.outcome() {
            "done" => Ok(()),
            "held" => {
                let found = answer.bytes("lock").unwrap_or_default();
                let found =
                    Found::of(&String::from_utf8_lossy(&found), String::new(), cx.now().unix_timestamp());
                Err(Failure::refused(attempt)
                    .because(format!("somebody was faster: {}", held(&found, &target.real)))
                    .help("wait for that run to end, then run this again"))
            }
            _ => Err(unwritten(attempt, &answer, self.request.reach.sudo)),
        }
    }

    fn script(&self, kind: Kind, target: &Target) -> Script {
        Script::new(kind).with("FILE", &target.proxy.path).with("RUN", &self.cx.run_id())
    }

    /// Writes into all locks that the run has ended well, before the first of them goes; says whether all have it. One lock that
    /// outlived the run would else be taken for that of an unfinished one, and its file alone be put back when a later run fails.
    /// Where one could not be written, all stay: the others tell of it.
    async fn finish_all(&self) -> bool {
        let working: Vec<_> = self.working().map(|(target, _)| target).collect();
        let answers = working.iter().map(|target| self.of_lock(Kind::Finish, target));
        let mut all = true;
        for (target, answer) in working.iter().zip(join_all(answers).await) {
            if let Err(why) = answer {
                self.still_there(target, &why);
                all = false;
            }
        }
        if !all {
            self.cx
                .report()
                .warn("so the locks are left on all proxies: the same command again takes them away");
        }
        all
    }

    /// Whether all of them are gone; the warning says which are not.
    async fn unlock_all(&self) -> bool {
        let locked = self.working().filter(|(_, reached)| reached.locked.get());
        join_all(locked.map(|(target, _)| self.unlock(target))).await.into_iter().all(|gone| gone)
    }

    /// Takes the locks of a run that changes nothing away, those of a half-done locking too, and notes that they are gone.
    async fn give_up_locks(&self) {
        let is_any = self.working().any(|(_, reached)| reached.locked.get());
        if is_any && self.unlock_all().await {
            // Where the receipt can't be written it says less than there is, and all is as it was.
            let _ = self.cx.put_back(LOCK, std::future::ready(Ok(()))).await;
        }
    }

    async fn unlock(&self, target: &Target) -> bool {
        let answer = self.of_lock(Kind::Unlock, target).await;
        answer.inspect_err(|why| self.still_there(target, why)).is_ok()
    }

    /// What is done to a lock that is this run's; or why it is not.
    async fn of_lock(&self, kind: Kind, target: &Target) -> Result<(), String> {
        match self.request.reach.run(self.cx, &target.proxy, &self.script(kind, target)).await {
            Ok(answer) if answer.outcome() == "done" => Ok(()),
            Ok(answer) => Err(answer.why()),
            Err(failure) => Err(failure.chain().join(": ")),
        }
    }

    fn still_there(&self, target: &Target, why: &str) {
        self.cx.report().warn(&format!(
            "the lock beside {} is still there ({why}): this release may go on in its place, others once it is over",
            target.proxy
        ));
    }

    async fn forward(&self) -> Result<(), Failure> {
        let cx = self.cx;
        for (target, reached) in self.working().filter(|(target, _)| target.edits()) {
            let write = self.write(target, &target.before, &target.after, Some(reached));
            cx.act(&target.edit_id(), &[target.inverse()], write).await?;
        }
        for (target, _) in self.working() {
            self.test(target).await?;
        }
        let mut old = Vec::new();
        for (target, reached) in self.working() {
            old.push((target, self.workers(target).await?));
            let reload = async {
                reached.reloaded.set(true);
                self.reload(target).await
            };
            cx.act(&target.reload_id(), &[target.inverse()], reload).await?;
        }
        for (target, old) in old {
            self.renewed(target, &old, Instant::now() + self.request.settle, true).await?;
        }
        check::all(cx, self.request).await
    }

    /// Puts `to` in the place of `from`; on the way forward a copy of the former file is kept.
    async fn write(
        &self,
        target: &Target,
        from: &[u8],
        to: &[u8],
        forward: Option<&Reached>,
    ) -> Result<(), Failure> {
        let edited = |yes: bool| forward.iter().for_each(|reached| reached.edited.set(yes));
        edited(true);
        let attempt = format!("edit {}", target.proxy);
        let script = self
            .script(Kind::Write, target)
            .with("REAL", &target.real)
            .with("FROM", &sum(from))
            .with("TO", &sum(to))
            .with("KEEP", if forward.is_some() { "yes" } else { "no" })
            .with_bytes("new_text", to);
        let answer = self.request.reach.run(self.cx, &target.proxy, &script).await?;
        if matches!(answer.outcome(), "done" | "already") {
            return Ok(());
        }
        edited(false);
        match answer.outcome() {
            "changed" | "missing" => Err(Failure::waiting(attempt)
                .because(format!("somebody has changed it meanwhile: {}", answer.why()))
                .help("see what was changed, then run this again")
                .untouched(true)),
            "unlocked" => Err(Failure::waiting(attempt)
                .because("its lock is not this run's any more: another release has taken it over")
                .help("see who is at work on it, then run this again")
                .untouched(true)),
            _ => Err(unwritten(attempt, &answer, self.request.reach.sudo)),
        }
    }

    async fn test(&self, target: &Target) -> Result<(), Failure> {
        let nginx = self.request.nginx(&target.proxy);
        let script = test(self.request, &target.proxy, target.whole).with("DUMP", "no");
        let answer = self.request.reach.run(self.cx, &target.proxy, &script).await?;
        match complaint(&answer, nginx) {
            None => Ok(()),
            Some(complaint) => {
                Err(Failure::failed(format!("test the configuration on {}", target.proxy.name))
                    .because(format!("`nginx -t` fails: {complaint}")))
            }
        }
    }

    async fn workers(&self, target: &Target) -> Result<Vec<i64>, Failure> {
        match workers(self.cx, self.request, &target.proxy, &target.running()).await? {
            Ok(found) => Ok(found.active.iter().map(|(pid, _)| *pid).collect()),
            Err(why) => {
                Err(Failure::failed(format!("see the workers of nginx on {}", target.proxy.name))
                    .because(why))
            }
        }
    }

    async fn reload(&self, target: &Target) -> Result<(), Failure> {
        let nginx = self.request.nginx(&target.proxy);
        let command = match self.request.reload_command(&target.proxy) {
            Some(command) => command.to_owned(),
            None if target.whole => format!("{nginx} -s reload -c \"$FILE\""),
            None => format!("{nginx} -s reload"),
        };
        let script = self.script(Kind::Reload, target).with("RELOAD", &command);
        let answer = self.request.reach.run(self.cx, &target.proxy, &script).await?;
        if answer.number("code") == Some(0) {
            return Ok(());
        }
        let code = answer.get("code").unwrap_or("none").to_owned();
        let output = answer.text("output");
        let said: Vec<String> = output.lines().map(kit::one_line).collect();
        Err(Failure::failed(format!("reload nginx on {}", target.proxy.name)).because(format!(
            "`{}` ended with code {code}: {}",
            kit::one_line(&command.replace("\"$FILE\"", &target.proxy.path)),
            said.join("\n")
        )))
    }

    /// Waits until none of the old workers takes connections any more, and others do: that nginx has accepted the new
    /// configuration. Where it can't, it goes on with the old one and says so in its log alone.
    ///
    /// Source: <https://nginx.org/en/docs/control.html#reconfiguration>
    async fn renewed(
        &self,
        target: &Target,
        old: &[i64],
        until: Instant,
        forward: bool,
    ) -> Result<(), Failure> {
        let name = &target.proxy.name;
        loop {
            let why = match workers(self.cx, self.request, &target.proxy, &target.running()).await? {
                Ok(found) => {
                    let stale = found.active.iter().filter(|(pid, _)| old.contains(pid)).count();
                    if stale == 0 && !found.active.is_empty() {
                        if forward && found.leaving > 0 {
                            let old = kit::counted(found.leaving, "old worker");
                            self.cx.report().say(&format!(
                                "{name}: {old} still there, for the connections that are open"
                            ));
                        }
                        return Ok(());
                    }
                    format!(
                        "{stale} workers with the former configuration go on, {} are new",
                        found.active.len() - stale
                    )
                }
                Err(why) => why,
            };
            if Instant::now() + EVERY > until {
                return Err(Failure::unverified(format!(
                    "see nginx on {name} run the configuration that was reloaded"
                ))
                .because(format!("{why}; its error log says why it did not take it")));
            }
            if forward {
                self.cx.or_cancelled(self.cx.pause(EVERY)).await?;
            } else {
                self.cx.pause(EVERY).await;
            }
        }
    }

    /// Puts everything back, and says why and how far.
    async fn back(self, failure: Failure) -> Failure {
        let cx = self.cx;
        let touched = |target: &Target, reached: &Reached| {
            target.work == Work::GoOn || reached.edited.get() || reached.reloaded.get()
        };
        let todo: Vec<_> = self.working().filter(|(target, reached)| touched(target, reached)).collect();
        let reloaded = todo.iter().any(|(_, reached)| reached.reloaded.get());
        if !todo.is_empty() {
            let why: Vec<String> = [failure.to_string()].into_iter().chain(failure.chain()).collect();
            cx.report().warn(&format!("putting all back: {}", why.join(": ")));
        }
        let mut states = Vec::new();
        let mut left = Vec::new();
        // A cancelled run has five seconds: all at once, and nothing is waited for.
        let hurried = cx.or_cancelled(std::future::ready(())).await.is_err();
        let back = todo.iter().map(|(target, reached)| self.put_back(target, reached, hurried));
        for ((target, _), back) in todo.iter().zip(join_all(back).await) {
            match back {
                Ok(state) => states.push(state),
                Err(problem) => {
                    let chain = problem.chain().join(": ");
                    left.push(format!("{} is NOT as it was: {problem}: {chain}", target.proxy));
                }
            }
        }
        if left.is_empty() {
            self.give_up_locks().await;
        }
        if !todo.is_empty() {
            for target in self.switch.targets.iter().filter(|target| !target.reloads()) {
                let leads = servers(&target.after, &self.request.swaps).join(", ");
                states.push(format!("{}: nothing was done there: {leads}", target.proxy));
            }
        }
        let code = match (left.is_empty(), reloaded) {
            (false, _) => Code::Partial,
            (true, true) => Code::Unverified,
            (true, false) => failure.code(),
        };
        let attempt =
            if self.switch.undo { "take the run back on all proxies" } else { "switch all proxies" };
        let mut told = Failure::new(code, attempt).because(failure);
        told = if left.is_empty() {
            told.help("mend that, and run the same command again")
        } else {
            told.help("mend that, and run the same command again, which goes on; or take it back with --undo and the receipt")
        };
        states.into_iter().chain(left).fold(told, Failure::state)
    }

    async fn put_back(&self, target: &Target, reached: &Reached, hurried: bool) -> Result<String, Failure> {
        let cx = self.cx;
        if !target.edits() {
            return Ok(format!("{}: nginx was reloaded, with the file as it was found", target.proxy.name));
        }
        cx.put_back(&target.edit_id(), self.write(target, &target.after, &target.before, None)).await?;
        if !reached.reloaded.get() && target.work != Work::GoOn {
            return Ok(format!("{} has its former bytes again; nginx was not reloaded", target.proxy));
        }
        let again = async {
            if hurried {
                return self.reload(target).await;
            }
            self.test(target).await?;
            let old = self.workers(target).await?;
            self.reload(target).await?;
            self.renewed(target, &old, Instant::now() + PATIENCE, false).await
        };
        cx.put_back(&target.reload_id(), again).await?;
        Ok(format!("{} has its former bytes again, and nginx was reloaded with them", target.proxy))
    }
}

/// What a script could not write, and what helps.
fn unwritten(attempt: String, answer: &Answer, sudo: bool) -> Failure {
    let why = answer.why();
    let failure = Failure::failed(attempt).untouched(true);
    let full = ["No space left", "disk full", "Disk quota"].iter().any(|text| why.contains(text));
    let denied = why.contains("Permission denied") || why.contains("Operation not permitted");
    let failure = failure.because(if why.is_empty() {
        format!("the shell there answered {:?}", answer.outcome())
    } else {
        why
    });
    if full {
        failure.help("make room on that disk")
    } else if denied && !sudo {
        failure.help("log in as a user who may, or add --sudo")
    } else {
        failure
    }
}
