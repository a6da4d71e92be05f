//! The looks of one run: all probes at once, round after round, until all of them are as wanted in the same round.

use std::time::Duration;

use futures::future::join_all;
use kit::{Code, Cx, Failure, Poll, Wait};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::kinds::{Look, Probe};

/// How many changes of what was seen the job summary shows of one probe.
const SHOWN_CHANGES: usize = 50;

/// When to look, and when it is enough.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) once: bool,
    pub(crate) successes: u32,
    pub(crate) interval: Duration,
    pub(crate) limit: Duration,
    pub(crate) deadline: Instant,
}

/// The looks of one run.
pub(crate) struct Watch<'a> {
    cx: &'a Cx,
    pace: Pace,
    pub(crate) started: Instant,
    /// How many rounds of looks there were.
    pub(crate) attempts: u64,
    pub(crate) probes: Vec<Watched>,
    /// Whether a look said that no further one will help.
    fatal: bool,
}

/// One probe and what it saw so far.
pub(crate) struct Watched {
    pub(crate) probe: Probe,
    name: String,
    /// How often in a row it must be as wanted.
    wanted: u32,
    in_a_row: u32,
    /// In which time from the start it must have been as wanted.
    within: Option<Duration>,
    /// Whether it has been, so often as it must.
    was_met: bool,
    /// What the last look saw; none before the first.
    pub(crate) last: Option<Result<String, String>>,
    details: Map<String, Value>,
    help: Option<String>,
    /// What was seen, each time that it changed, with the time since the start.
    seen: Vec<(Duration, String)>,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(cx: &'a Cx, probes: Vec<Probe>, pace: Pace, within: &[(&str, Duration)]) -> Self {
        let watched = |probe: Probe| Watched {
            name: probe.name(),
            // Of several for one kind, the shortest.
            within: within.iter().filter(|(kind, _)| *kind == probe.kind()).map(|(_, time)| *time).min(),
            was_met: false,
            wanted: if pace.once { 1 } else { pace.successes.max(probe.least_successes()) },
            probe,
            in_a_row: 0,
            last: None,
            details: Map::new(),
            help: None,
            seen: Vec::new(),
        };
        let probes = probes.into_iter().map(watched).collect();
        Self { cx, pace, started: Instant::now(), attempts: 0, probes, fatal: false }
    }

    /// Looks until all probes are as wanted, so often in a row as they must be, in the same round.
    ///
    /// # Errors
    /// The deadline passed; with `once`, something is not as wanted; or a probe says that no further look will help.
    pub(crate) async fn until_healthy(&mut self) -> Result<(), Failure> {
        let (cx, pace) = (self.cx, self.pace);
        let what = self.what();
        let result = if pace.once {
            match cx.or_cancelled(self.round()).await? {
                Ok(()) if self.pending().is_empty() => Ok(()),
                Ok(()) => Err(Failure::failed(format!("check {what}")).because(self.pending().join("\n"))),
                Err(failure) => Err(failure),
            }
        } else {
            let what = match self.probes.as_slice() {
                [watched] => format!("{what} {}", watched.probe.wanted().0),
                _ => format!("{what} to be as wanted"),
            };
            let wait = Wait { what: &what, every: pace.interval, deadline: Some(pace.deadline) };
            cx.wait(wait, async || {
                self.round().await?;
                let pending = self.pending();
                Ok(if pending.is_empty() { Poll::Ready(()) } else { Poll::Pending(pending.join("; ")) })
            })
            .await
        };
        result.map_err(|failure| self.advise(failure))
    }

    /// The failure with what may help: against what is not as wanted, and to go on waiting. One that ended the wait by itself has
    /// its own.
    fn advise(&self, failure: Failure) -> Failure {
        let late = failure.code() == Code::Deadline;
        let unmet = self.pace.once && failure.code() == Code::Failed && !self.fatal;
        if !late && !unmet {
            return failure;
        }
        let mut helps: Vec<String> = self.probes.iter().filter_map(|probe| probe.help.clone()).collect();
        if late {
            let since = self.probes.iter().find_map(|watched| match &watched.probe {
                Probe::Log(log) => Some(log.since()),
                _ => None,
            });
            helps.extend(since.map(|since| {
                format!("run it again with --log-since {since}: lines that have come meanwhile count then")
            }));
            if self.cx.env().in_github_job()
                && let Some(run) = self.cx.env().get("GITHUB_RUN_ID")
            {
                helps.push(format!("in a workflow, that is: gh run rerun {run} --failed"));
            }
        }
        helps.dedup();
        helps.into_iter().fold(failure, Failure::help)
    }

    /// What is watched, for messages.
    pub(crate) fn what(&self) -> String {
        match self.probes.as_slice() {
            [probe] => probe.name.clone(),
            probes => format!("{} probes", probes.len()),
        }
    }

    /// Looks at everything once.
    async fn round(&mut self) -> Result<(), Failure> {
        self.attempts += 1;
        let (cx, limit, since) = (self.cx, self.pace.limit, self.started);
        // Not cut by the deadline: that would put "timed out" in the place of what is really missing.
        let looks = self.probes.iter_mut().map(|watched| async move {
            let looked = watched.probe.look(cx, limit).await;
            watched.take(cx, looked, since.elapsed())
        });
        // All looks are taken in before one of them ends the run, so that the table is whole.
        let ended: Result<(), Failure> = join_all(looks).await.into_iter().collect();
        self.fatal = self.fatal || ended.is_err();
        ended?;
        self.in_time()
    }

    /// What has a time of its own has been as wanted within it.
    fn in_time(&mut self) -> Result<(), Failure> {
        let since = self.started.elapsed();
        for watched in &mut self.probes {
            let Some((name, reason)) = watched.pending() else {
                watched.was_met = true;
                continue;
            };
            if let Some(within) = watched.within.filter(|within| !watched.was_met && since >= *within) {
                return Err(Failure::new(Code::Deadline, format!("wait for {name}"))
                    .because(format!("its --within of {within:?} passed; it was last seen so: {reason}"))
                    .help("run the same command again to go on waiting, with a longer --within if this is usual"));
            }
        }
        Ok(())
    }

    /// What is not as wanted, or not often enough, a line each.
    fn pending(&self) -> Vec<String> {
        let alone = self.probes.len() == 1;
        let lines = self.probes.iter().filter_map(Watched::pending);
        lines.map(|(name, reason)| if alone { reason } else { format!("{name}: {reason}") }).collect()
    }

    /// The table of several probes, as text.
    pub(crate) fn table(&self) -> String {
        let width = |of: fn(&Watched) -> usize| self.probes.iter().map(of).max().unwrap_or(0);
        // A name may be as long as anybody likes; a column may not, to Rust's formatter.
        let name = width(|probe| probe.name.chars().count()).min(80);
        self.probes
            .iter()
            .map(|probe| {
                let seen = kit::one_line(probe.line());
                format!("{:<8}  {:<name$}  {seen}\n", probe.word(), probe.name)
            })
            .collect()
    }

    /// The table as data.
    pub(crate) fn document(&self) -> Value {
        self.probes
            .iter()
            .map(|probe| {
                json!({
                    "probe": probe.probe.kind(),
                    "name": probe.name,
                    "healthy": probe.pending().is_none(),
                    "in-a-row": probe.in_a_row,
                    "seen": probe.line(),
                    "details": probe.details,
                })
            })
            .collect()
    }

    /// What was seen, as indented blocks: no text from outside can end one.
    pub(crate) fn markdown(&self) -> String {
        let mut out = format!("\nAsked {} times. What was seen:\n\n", self.attempts);
        for probe in &self.probes {
            if self.probes.len() > 1 {
                out.push_str(&format!("    {} ({})\n", kit::one_line(&probe.name), probe.word()));
            }
            let left_out = probe.seen.len().saturating_sub(SHOWN_CHANGES);
            if left_out > 0 {
                out.push_str(&format!("    ({left_out} earlier changes are left out)\n"));
            }
            for (since, line) in &probe.seen[left_out..] {
                out.push_str(&format!(
                    "    after {:.1}s: {}\n",
                    since.as_secs_f64(),
                    line.replace(['\n', '\r'], " ")
                ));
            }
        }
        out.push('\n');
        out
    }
}

impl Watched {
    /// Takes a look in. What is not transient comes back.
    fn take(&mut self, cx: &Cx, looked: Result<Look, Failure>, since: Duration) -> Result<(), Failure> {
        let (look, failed) = match looked {
            Ok(look) => (look, None),
            Err(failure) => {
                let cause = failure.chain().join(": ");
                let why = if cause.is_empty() { failure.to_string() } else { format!("{failure}: {cause}") };
                if failure.is_transient() {
                    (Look::not_yet(format!("could not look ({why})")), None)
                } else {
                    (Look::not_yet(why), Some(failure))
                }
            }
        };
        let Look { verdict, help, excerpt, details } = look;
        let line = match &verdict {
            Ok(line) | Err(line) => line.clone(),
        };
        let changed = self.seen.last().is_none_or(|(_, last)| *last != line);
        if changed {
            self.seen.push((since, line));
        }
        if verdict.is_ok() {
            self.in_a_row += 1;
        } else {
            self.in_a_row = 0;
            if changed && let Some(excerpt) = excerpt {
                cx.report().say("the answer's body begins:");
                cx.report().foreign(&excerpt);
            }
        }
        self.help = help;
        self.last = Some(verdict);
        self.details = details;
        failed.map_or(Ok(()), Err)
    }

    /// Its name, and why it is not enough yet.
    fn pending(&self) -> Option<(&str, String)> {
        let reason = match &self.last {
            None => "not looked at".to_owned(),
            Some(Err(reason)) => reason.clone(),
            Some(Ok(_)) if self.in_a_row >= self.wanted => return None,
            Some(Ok(seen)) => {
                format!("as wanted {} of {} times in a row ({seen})", self.in_a_row, self.wanted)
            }
        };
        Some((&self.name, reason))
    }

    fn word(&self) -> &'static str {
        if self.pending().is_none() { "healthy" } else { "not yet" }
    }

    /// What the last look saw.
    pub(crate) fn line(&self) -> &str {
        match &self.last {
            None => "not looked at",
            Some(Ok(line) | Err(line)) => line,
        }
    }
}
