//! Jobs and steps, in order.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::console::Console;
use super::machine::{Machine, deadline};
use super::process::{self, Cancel, Ended};
use super::standin::{self, Artifacts};
use super::{Options, Trouble, Values, files, given};
use crate::workflow::expr::{self, Status, all_rendered, rendered};
use crate::workflow::offer::StandIn;
use crate::workflow::{Workflow, items, needs, order, text};

/// A larger summary is dropped whole, not cut.
const SUMMARY_LIMIT: usize = 1024 * 1024;

/// What a job that ran out of time still has for its `if: always()` steps.
const CLEAN_UP: Duration = Duration::from_mins(5);

const SUCCESS: &str = "success";
const FAILURE: &str = "failure";
const CANCELLED: &str = "cancelled";
const SKIPPED: &str = "skipped";

struct Run<'a> {
    workflow: &'a Workflow,
    options: &'a Options,
    console: Console,
    cancel: Cancel,
    contexts: Value,
    artifacts: Artifacts,
    done: BTreeMap<String, Done>,
}

struct Done {
    result: &'static str,
    outputs: Map<String, Value>,
    took: Duration,
}

fn condition(of: &Value, contexts: &Value, status: &str) -> Result<bool, String> {
    let is = |other| status == other;
    let status = Status { success: is(SUCCESS), failure: is(FAILURE), cancelled: is(CANCELLED) };
    expr::condition(&text(&of["if"]), contexts, status)
}

pub(crate) async fn run(
    workflow: &Workflow,
    options: &Options,
    out: Box<dyn Write + Send>,
) -> io::Result<u8> {
    let mut console = Console::new(out);
    let contexts = match given::contexts(workflow, options) {
        Ok(contexts) => contexts,
        Err(what) => {
            console.line(&format!("error: {what}"));
            return Ok(2);
        }
    };
    options.secrets.iter().for_each(|(_, value)| console.mask(value));
    fs::create_dir_all(&options.artifacts)?;
    let artifacts = Artifacts { folder: fs::canonicalize(&options.artifacts)?, names: [].into() };
    let cancel = Cancel::listen()?;
    Ok(Run { workflow, options, console, cancel, contexts, artifacts, done: BTreeMap::new() }.all().await)
}

impl Run<'_> {
    async fn all(mut self) -> u8 {
        let value = &self.workflow.doc.value;
        let title = rendered(&value["run-name"], &self.contexts).unwrap_or_default();
        self.console.line(format!("{}  {title}", text(&value["name"])).trim_end());
        self.console.line("Standing in: executables for docker actions, this machine for every runs-on.");
        let order = order(value).unwrap_or_default();
        for &name in &order {
            let started = Instant::now();
            self.console.begin_job(name);
            let (result, outputs) = self.job(name, &value["jobs"][name]).await.unwrap_or_else(|what| {
                self.console.error(&what.to_string());
                (FAILURE, Map::new())
            });
            self.console.line(&format!("Job {name}: {result}"));
            self.done.insert(name.clone(), Done { result, outputs, took: started.elapsed() });
        }
        self.console.line("");
        self.console.annotations();
        let width = order.iter().map(|name| name.len()).max().unwrap_or(0).max(3);
        self.console.line(&format!("{:width$}  {:9}  {:>10}", "job", "result", "duration"));
        for &name in &order {
            let Done { result, took, .. } = &self.done[name];
            self.console.line(&format!("{name:width$}  {result:9}  {:>8.1} s", took.as_secs_f64()));
        }
        let failed = self.done.values().any(|done| [FAILURE, CANCELLED].contains(&done.result));
        if self.cancel.asked > 0 { 130 } else { u8::from(failed) }
    }

    /// Every job that `job` needs, however far up: GitHub's `success()` and `failure()` look at all of them.
    fn ancestors(&self, job: &Value) -> Vec<&str> {
        let jobs = &self.workflow.doc.value["jobs"];
        let above = |name: &String| [vec![self.done[name].result], self.ancestors(&jobs[name])].concat();
        needs(job).iter().flat_map(above).collect()
    }

    async fn job(&mut self, name: &str, job: &Value) -> Result<(&'static str, Map<String, Value>), Trouble> {
        let mut contexts = self.contexts.clone();
        contexts["github"]["job"] = name.into();
        contexts["needs"] = needs(job)
            .into_iter()
            .map(|needed| {
                let Done { result, outputs, .. } = &self.done[&needed];
                (needed, json!({ "result": result, "outputs": outputs }))
            })
            .collect();
        let shown = rendered(&job["name"], &contexts)?;
        self.console.line(format!("\n=== Job {name} {shown}").trim_end());
        self.cancel.noticed().await;
        let ancestors = self.ancestors(job);
        let status = match self.cancel.asked {
            0 if ancestors.contains(&FAILURE) => FAILURE,
            0 if ancestors.iter().all(|result| *result == SUCCESS) => SUCCESS,
            0 => SKIPPED,
            _ => CANCELLED,
        };
        if !condition(job, &contexts, status)? || self.cancel.asked > 1 {
            return Ok((if status == CANCELLED { CANCELLED } else { SKIPPED }, Map::new()));
        }
        let gate = rendered(job["environment"].get("name").unwrap_or(&job["environment"]), &contexts)?;
        let opened = match self.options.approve.as_slice() {
            [] => "opened by the rehearsal, nobody was asked",
            some if some.contains(&gate) => "approved",
            _ => "the deployment was rejected",
        };
        if !gate.is_empty() {
            self.console.line(&format!("Gate: environment {gate}: {opened}"));
            if opened.ends_with("rejected") {
                return Ok((FAILURE, Map::new()));
            }
        }
        let mut machine = Machine::new(self.workflow, job, contexts)?;
        for (index, step) in items(&job["steps"]).enumerate() {
            self.step(&mut machine, job, index, step).await;
        }
        let contexts = machine.contexts(&machine.env);
        let mut outputs = Map::new();
        for (name, value) in all_rendered(&job["outputs"], &contexts)? {
            if self.console.holds_secret(&value) {
                let why = format!("Skip output '{name}' since it may contain secret.");
                self.console.annotate("warning", "", &why);
            } else {
                outputs.insert(name, value.into());
            }
        }
        let url = rendered(&job["environment"]["url"], &contexts)?;
        if !url.is_empty() {
            self.console.line(&format!("Environment: {url}"));
        }
        Ok((machine.status, outputs))
    }

    async fn step(&mut self, machine: &mut Machine, job: &Value, index: usize, step: &Value) {
        self.console.begin_step();
        self.cancel.noticed().await;
        if self.cancel.asked > 0 {
            machine.status = CANCELLED;
        }
        let id = step["id"].as_str().map_or_else(|| format!("__{index}"), ToOwned::to_owned);
        machine.begin(&id);
        let mut env = machine.env.clone();
        let runs = all_rendered(&step["env"], &machine.contexts(&env)).and_then(|own| {
            env.extend(own);
            Ok(condition(step, &machine.contexts(&env), machine.status)? && self.cancel.asked < 2)
        });
        let contexts = machine.contexts(&env);
        let mut name = rendered(&step["name"], &contexts).unwrap_or_default();
        if name.is_empty() {
            let run = text(&step["run"]);
            name = format!("Run {}{}", text(&step["uses"]), run.lines().next().unwrap_or_default());
        }
        let skipped = matches!(runs, Ok(false));
        self.console.line(&format!("--- {name}{}", if skipped { " (skipped)" } else { "" }));
        let mut outputs = Values::new();
        let outcome = match runs {
            Ok(false) => Ok(SKIPPED),
            Ok(true) => self.perform(machine, job, step, &env, &contexts, &mut outputs).await,
            Err(what) => Err(what.into()),
        };
        let outcome = outcome.unwrap_or_else(|what| {
            self.console.error(&what.to_string());
            FAILURE
        });
        let goes_on = rendered(&step["continue-on-error"], &contexts).is_ok_and(|text| text == "true");
        let conclusion = if outcome == FAILURE && goes_on { SUCCESS } else { outcome };
        machine.end(&id, json!({ "outcome": outcome, "conclusion": conclusion, "outputs": outputs }));
        if self.cancel.asked > 0 || conclusion == CANCELLED {
            machine.status = CANCELLED;
        } else if conclusion == FAILURE && machine.status == SUCCESS {
            machine.status = FAILURE;
        }
    }

    async fn perform(
        &mut self,
        machine: &mut Machine,
        job: &Value,
        step: &Value,
        env: &Values,
        contexts: &Value,
        outputs: &mut Values,
    ) -> Result<&'static str, Trouble> {
        let uses = text(&step["uses"]);
        let with = all_rendered(&step["with"], contexts)?;
        for (key, value) in &with {
            self.console.line(&format!("  {key}: {}", value.trim_end().replace('\n', "\n    ")));
        }
        let (mut command, own) = match (self.workflow.actions.get(&uses), StandIn::of(&uses)) {
            (Some(action), _) => machine.container(self.options, &uses, action, &with, contexts)?,
            (_, Some(stand_in)) => return self.stand_in(machine, stand_in, &with, outputs),
            _ => {
                let defaults = [&job["defaults"]["run"], &self.workflow.doc.value["defaults"]["run"]];
                machine.script([step, defaults[0], defaults[1]], contexts)?
            }
        };
        let all = machine.environment(self.options, env, own)?;
        given::loopback(&all)?;
        command.env_clear().envs(&all);
        // The runner does not interrupt a step that would run in a cancelled job.
        let spared = condition(step, contexts, CANCELLED)?;
        let limit = deadline(step, contexts)?;
        let until = limit.min(machine.deadline);
        let ran = process::run(command, &mut self.console, &mut self.cancel, spared, until).await;
        let (ended, mut clean) = ran.map_err(|e| format!("the step could not be started: {e}"))?;
        let written = machine.written()?;
        for (name, target) in [("GITHUB_OUTPUT", outputs), ("GITHUB_ENV", &mut machine.env)] {
            match files::pairs(&written[name]) {
                Ok(pairs) => target.extend(pairs),
                Err(what) => {
                    let file = name.trim_start_matches("GITHUB_").to_lowercase();
                    let what = format!("Unable to process file command '{file}' successfully.\n{what}");
                    self.console.error(&what);
                    clean = false;
                }
            }
        }
        for line in written["GITHUB_PATH"].lines().filter(|line| !line.is_empty()) {
            machine.path.retain(|known| known != line);
            machine.path.insert(0, line.to_owned());
        }
        self.summary(&written["GITHUB_STEP_SUMMARY"])?;
        match ended {
            Ended::Exited(0) => Ok(if clean { SUCCESS } else { FAILURE }),
            Ended::Exited(code) => Err(format!("Process completed with exit code {code}.").into()),
            Ended::TimedOut if limit <= machine.deadline => {
                let minutes = rendered(&step["timeout-minutes"], contexts)?;
                Err(format!("The action has timed out after {minutes} minutes.").into())
            }
            Ended::TimedOut => {
                self.console.error("The job has exceeded the maximum execution time.");
                machine.deadline = Instant::now() + CLEAN_UP;
                Ok(CANCELLED)
            }
            Ended::Cancelled => {
                self.console.error("The operation was canceled.");
                Ok(CANCELLED)
            }
        }
    }

    fn summary(&mut self, text: &str) -> io::Result<()> {
        if text.len() > SUMMARY_LIMIT {
            let got = text.len() / 1024;
            self.console.error(&format!("$GITHUB_STEP_SUMMARY supports content up to 1024k, got {got}k"));
        } else if let (Some(file), false) = (&self.options.summary, text.is_empty()) {
            let mut file = fs::OpenOptions::new().create(true).append(true).open(file)?;
            writeln!(file, "{}", self.console.masked(text))?;
        }
        Ok(())
    }

    fn stand_in(
        &mut self,
        machine: &mut Machine,
        stand_in: StandIn,
        with: &Values,
        outputs: &mut Values,
    ) -> Result<&'static str, Trouble> {
        let work = machine.folder("work");
        self.console.line(&format!("  Standing in for {}", stand_in.stands_for()));
        match stand_in {
            StandIn::Checkout => self.console.line(&standin::checkout(&self.options.repo, &work)?),
            StandIn::Upload => match self.artifacts.upload(with, &work)? {
                (true, warning) => self.console.annotate("warning", "", &warning),
                (false, said) => self.console.line(&said),
            },
            StandIn::Download => {
                let target = self.artifacts.download(with, &work)?.display().to_string();
                self.console.line(&format!("  to {target}"));
                outputs.insert("download-path".to_owned(), target);
            }
            StandIn::Credentials => {
                let env = standin::credentials(with, &self.options.aws_credentials)?;
                self.console.line("  test credentials; no role is assumed");
                self.console.mask(&env["AWS_SECRET_ACCESS_KEY"]);
                self.console.mask(&env["AWS_SESSION_TOKEN"]);
                machine.env.extend(env);
            }
        }
        Ok(SUCCESS)
    }
}
