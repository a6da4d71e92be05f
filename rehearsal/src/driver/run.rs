//! Jobs and steps, in order.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use github_actions_expressions::Evaluation;
use github_actions_models::common::{Env, If, expr::LoE};
use github_actions_models::workflow::{Defaults, Job as AnyJob, job};
use serde_json::{Map, Value, json};
use tokio::process::Command;
use tokio::time::Instant;

use super::Options;
use super::check;
use super::console::Console;
use super::expr::{self, Status};
use super::files;
use super::process::{self, Cancel, Ended};
use super::standin::{self, Artifacts, StandIn, Values};
use super::workflow::{Action, Node, Workflow, local, text};

/// Nobody listens there: what no `--env` leads into the world leads nowhere.
const NOWHERE: &str = "http://127.0.0.1:9";

/// The `github` context and, but for the token, the `GITHUB_*` variables, with what a rehearsal starts from.
pub(crate) const GITHUB: &[(&str, &str)] = &[
    ("action", ""), ("actor", "rehearsal"), ("api_url", NOWHERE), ("base_ref", ""),
    ("event_name", "workflow_dispatch"), ("event_path", ""), ("head_ref", ""), ("job", ""),
    ("ref", "refs/heads/main"), ("ref_name", "main"), ("ref_type", "branch"), ("repository", "example/rehearsal"),
    ("repository_owner", "example"), ("run_attempt", "1"), ("run_id", "1"), ("run_number", "1"),
    ("server_url", "https://github.com"), ("sha", "0000000000000000000000000000000000000000"), ("token", ""),
    ("triggering_actor", "rehearsal"), ("workflow", ""), ("workspace", ""),
];

/// <https://docs.github.com/en/actions/reference/limits>: a job ends after six hours.
const JOB_MINUTES: f64 = 360.0;
/// A larger summary is dropped whole, not cut.
const SUMMARY_LIMIT: u64 = 1024 * 1024;

const SUCCESS: &str = "success";
const FAILURE: &str = "failure";
const CANCELLED: &str = "cancelled";
const SKIPPED: &str = "skipped";

struct Run<'a> {
    workflow: &'a Workflow,
    options: &'a Options,
    console: Console,
    cancel: Cancel,
    github: Map<String, Value>,
    inputs: Value,
    artifacts: Artifacts,
    done: BTreeMap<String, Done>,
}

struct Done {
    result: &'static str,
    outputs: Value,
    took: Duration,
}

/// One job's fresh machine.
struct Machine {
    root: tempfile::TempDir,
    contexts: Value,
    /// Workflow and job `env`, then what steps wrote to `GITHUB_ENV`.
    env: Values,
    path: Vec<String>,
    steps: Map<String, Value>,
    status: &'static str,
    deadline: Instant,
}

impl Machine {
    fn folder(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn contexts(&self, env: &Values) -> Value {
        let mut contexts = self.contexts.clone();
        contexts["env"] = json!(env);
        contexts["steps"] = Value::Object(self.steps.clone());
        contexts["job"] = json!({ "status": self.status });
        contexts
    }

    fn condition(&self, condition: Option<&If>, env: &Values, status: &str) -> Result<bool, String> {
        let is = |other| status == other;
        let status = Status { success: is(SUCCESS), failure: is(FAILURE), cancelled: is(CANCELLED) };
        expr::condition(&condition_text(condition), &self.contexts(env), status)
    }
}

pub(crate) async fn run(workflow: &Workflow, options: &Options, out: Box<dyn Write + Send>) -> io::Result<u8> {
    let mut console = Console::new(out);
    let given = |name: &str| options.github.iter().rfind(|(known, _)| known == name).map(|(_, value)| value);
    let secret = |name: &str| options.secrets.iter().find(|(known, _)| known == name).map(|(_, value)| value);
    let mut github = Map::new();
    for (name, start) in GITHUB {
        github.insert((*name).to_owned(), given(name).map_or(*start, String::as_str).into());
    }
    let unknown = options.github.iter().find(|(name, _)| !github.contains_key(name));
    let checked = match unknown {
        Some((name, _)) => Err(format!("--github {name}: the context has no such member")),
        None => inputs(workflow, &options.inputs).and_then(|inputs| loopback(&options.env).map(|()| inputs)),
    };
    let inputs = match checked {
        Ok(inputs) => inputs,
        Err(what) => {
            console.line(&format!("error: {what}"));
            return Ok(2);
        }
    };
    github.insert("event".into(), json!({ "inputs": inputs }));
    github.insert("workflow".into(), workflow.model.name.as_deref().unwrap_or(&workflow.file).into());
    if let Some(token) = secret("GITHUB_TOKEN") {
        github.insert("token".into(), token.as_str().into());
    }
    if let Some((_, url)) = options.env.iter().find(|(name, _)| name == "GITHUB_API_URL") {
        github.insert("api_url".into(), url.as_str().into());
    }
    options.secrets.iter().for_each(|(_, value)| console.mask(value));
    fs::create_dir_all(&options.artifacts)?;
    let artifacts = Artifacts { folder: fs::canonicalize(&options.artifacts)?, names: [].into() };
    let cancel = Cancel::listen()?;
    Run { workflow, options, console, cancel, github, inputs, artifacts, done: BTreeMap::new() }.all().await
}

/// The inputs with their types, from what was given and the declared defaults.
fn inputs(workflow: &Workflow, given: &[(String, String)]) -> Result<Value, String> {
    let declared = workflow.doc.path(&["on", "workflow_dispatch", "inputs"]);
    let mut inputs = Map::new();
    for (name, input) in declared.map_or(&[][..], Node::entries) {
        let kind = input.get("type").map_or_else(|| "string".into(), Node::text);
        let value = given.iter().rfind(|(n, _)| n == name).map(|(_, value)| value.clone());
        let required = input.get("required").is_some_and(|required| required.text() == "true");
        if required && value.as_ref().is_none_or(String::is_empty) && input.get("default").is_none() {
            return Err(format!("Required input '{name}' not provided: --input {name}=..."));
        }
        let value = value.unwrap_or_else(|| input.get("default").map_or_else(String::new, Node::text));
        let options = input.get("options").map_or(&[][..], Node::items);
        let typed = match kind.as_str() {
            "boolean" if value.is_empty() => Some(false.into()),
            "boolean" => value.parse::<bool>().ok().map(Value::from),
            "number" if value.is_empty() => Some(Value::Null),
            "number" => serde_json::from_str(&value).ok().filter(Value::is_number),
            "choice" => options.iter().any(|o| o.text() == value).then(|| value.as_str().into()),
            _ => Some(value.as_str().into()),
        };
        let typed = typed.ok_or_else(|| format!("input `{name}`: `{value}` is no {kind} of the workflow"))?;
        inputs.insert(name.clone(), typed);
    }
    match given.iter().find(|(name, _)| !inputs.contains_key(name)) {
        Some((name, _)) => Err(format!("Unexpected inputs provided: {name}")),
        None => Ok(Value::Object(inputs)),
    }
}

/// No variable that names an endpoint may lead off this machine.
fn loopback<'e>(env: impl IntoIterator<Item = &'e (String, String)>) -> Result<(), String> {
    let names = |name: &str| {
        name.starts_with("AWS_ENDPOINT_URL") || name == "GITHUB_API_URL" || name == "INPUT_ENDPOINT-URL"
    };
    for (name, value) in env.into_iter().filter(|(name, value)| names(name) && !value.is_empty()) {
        let local = url::Url::parse(value).is_ok_and(|url| match url.host() {
            Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
            Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
            Some(url::Host::Domain(domain)) => domain == "localhost",
            None => false,
        });
        if !local {
            return Err(format!("{name}={value} is not on loopback: a rehearsal never leaves this machine"));
        }
    }
    Ok(())
}

fn condition_text(condition: Option<&If>) -> String {
    match condition {
        None => String::new(),
        Some(If::Bool(value)) => value.to_string(),
        Some(If::Expr(text)) => text.clone(),
    }
}

/// The entries of an `env` or `with`, rendered.
fn render(env: &Env, contexts: &Value) -> Result<Vec<(String, String)>, String> {
    env.iter().map(|(k, v)| Ok((k.clone(), expr::render(&v.to_string(), contexts)?))).collect()
}

fn entries(env: &LoE<Env>, contexts: &Value) -> Result<Vec<(String, String)>, String> {
    match env {
        LoE::Literal(env) => render(env, contexts),
        LoE::Expr(text) => Err(format!("`{}` in place of a mapping", text.as_curly())),
    }
}

fn typed<T: Clone>(
    field: &LoE<T>,
    contexts: &Value,
    convert: impl Fn(&Evaluation) -> T,
) -> Result<T, String> {
    match field {
        LoE::Literal(value) => Ok(value.clone()),
        LoE::Expr(text) => Ok(convert(&expr::evaluate(text.as_bare(), contexts, Status::default())?)),
    }
}

/// GitHub takes the whole minutes.
fn minutes(field: Option<&LoE<f64>>, contexts: &Value, otherwise: f64) -> Result<Duration, String> {
    let minutes = field.map_or(Ok(otherwise), |field| typed(field, contexts, Evaluation::as_number))?;
    Duration::try_from_secs_f64(minutes.floor() * 60.0).map_err(|e| format!("timeout-minutes: {e}"))
}

impl Run<'_> {
    async fn all(mut self) -> io::Result<u8> {
        let base = json!({ "github": self.github, "inputs": self.inputs, "vars": self.vars() });
        let title = self.workflow.model.run_name.as_deref().map(|name| expr::render(name, &base));
        let title = title.transpose().unwrap_or_else(Some);
        self.console.line(&format!("{}  {}", text(&self.github["workflow"]), title.unwrap_or_default()));
        self.console.line("Standing in: local executables for docker actions, one machine for every runs-on.");
        let order = check::order(&self.workflow.doc).map_err(io::Error::other)?;
        for name in &order {
            if let AnyJob::NormalJob(job) = &self.workflow.model.jobs[name] {
                let started = Instant::now();
                self.console.begin_job(name);
                let (result, outputs) = self.job(name, job).await?;
                let took = started.elapsed();
                self.console.line(&format!("Job {name}: {result}"));
                self.done.insert(name.clone(), Done { result, outputs, took });
            }
        }
        self.console.line("");
        for annotation in self.console.annotations() {
            self.console.line(&format!("{annotation}"));
        }
        let width = order.iter().map(String::len).max().unwrap_or(0).max(3);
        self.console.line(&format!("{:width$}  {:9}  {:>10}", "job", "result", "duration"));
        for name in &order {
            let Done { result, took, .. } = &self.done[name];
            self.console.line(&format!("{name:width$}  {result:9}  {:>8.1} s", took.as_secs_f64()));
        }
        let ended = |results: &[&str]| self.done.values().all(|done| results.contains(&done.result));
        Ok(if self.cancel.asked > 0 { 130 } else { u8::from(!ended(&[SUCCESS, SKIPPED])) })
    }

    fn vars(&self) -> BTreeMap<&String, &String> {
        self.options.vars.iter().map(|(name, value)| (name, value)).collect()
    }

    /// Every job that `name` needs, however far up: GitHub's `success()` and `failure()` look at all of them.
    fn ancestors(&self, name: &str) -> Vec<&str> {
        let needs = self.workflow.doc.path(&["jobs", name]).map(check::needs).unwrap_or_default();
        needs.iter().flat_map(|n| [vec![self.done[n].result], self.ancestors(n)].concat()).collect()
    }

    fn job_contexts(&self, name: &str, job: &job::NormalJob) -> Value {
        let mut github = self.github.clone();
        github.insert("job".into(), name.into());
        let needs = job.needs.iter().map(|needed| {
            let Done { result, outputs, .. } = &self.done[needed];
            (needed.clone(), json!({ "result": result, "outputs": outputs }))
        });
        let secrets = self.options.secrets.iter().map(|(n, v)| (n, v)).collect::<BTreeMap<_, _>>();
        json!({ "github": github, "inputs": self.inputs, "vars": self.vars(), "secrets": secrets,
                "needs": needs.collect::<Map<_, _>>() })
    }

    async fn job(&mut self, name: &str, job: &job::NormalJob) -> io::Result<(&'static str, Value)> {
        let mut contexts = self.job_contexts(name, job);
        let shown = job.name.as_deref().and_then(|name| expr::render(name, &contexts).ok());
        self.console.line(&format!("\n=== Job {name}{}", shown.map(|n| format!(": {n}")).unwrap_or_default()));
        let ancestors = self.ancestors(name);
        let status = Status {
            success: self.cancel.asked == 0 && ancestors.iter().all(|result| *result == SUCCESS),
            failure: self.cancel.asked == 0 && ancestors.contains(&FAILURE),
            cancelled: self.cancel.asked > 0,
        };
        let nothing = |result| Ok((result, json!({})));
        match expr::condition(&condition_text(job.r#if.as_ref()), &contexts, status) {
            Ok(true) if self.cancel.asked < 2 => {}
            Ok(_) if self.cancel.asked > 0 => return nothing(CANCELLED),
            Ok(_) => return nothing(SKIPPED),
            Err(what) => {
                self.console.error(&what);
                return nothing(FAILURE);
            }
        }
        let prepared = self.prepare(job, &mut contexts);
        let mut machine = match prepared {
            Ok(machine) => machine,
            Err(what) => {
                self.console.error(&what);
                return nothing(FAILURE);
            }
        };
        for (index, step) in job.steps.iter().enumerate() {
            self.step(&mut machine, job, index, step).await?;
        }
        let contexts = machine.contexts(&machine.env);
        let mut outputs = Map::new();
        for (name, value) in &job.outputs {
            match expr::render(&value.to_string(), &contexts) {
                Ok(value) if self.console.holds_secret(&value) => {
                    let why = format!("Skip output '{name}' since it may contain secret.");
                    self.console.annotate("warning", "", &why);
                }
                Ok(value) => drop(outputs.insert(name.clone(), value.into())),
                Err(what) => {
                    self.console.error(&what);
                    machine.status = FAILURE;
                }
            }
        }
        if let Some(job::DeploymentEnvironment::NameURL { url: Some(url), .. }) = &job.environment {
            self.console.line(&format!("Environment URL: {}", expr::render(url, &contexts).unwrap_or_default()));
        }
        Ok((machine.status, Value::Object(outputs)))
    }

    /// The gate, then a fresh machine.
    fn prepare(&mut self, job: &job::NormalJob, contexts: &mut Value) -> Result<Machine, String> {
        use job::DeploymentEnvironment::{Name, NameURL};
        if let Some(Name(name) | NameURL { name, .. }) = &job.environment {
            let name = expr::render(name, contexts)?;
            match self.options.approve.as_slice() {
                [] => self.console.line(&format!("Gate: environment {name}: opened by the rehearsal, nobody asked")),
                approved if approved.contains(&name) => {
                    self.console.line(&format!("Gate: environment {name}: approved"));
                }
                _ => return Err(format!("Gate: environment {name}: the deployment was rejected")),
            }
        }
        let root = tempfile::Builder::new().prefix("rehearsal-").tempdir().map_err(|e| e.to_string())?;
        for folder in ["work", "home", "temp/_github_home", "temp/_runner_file_commands", "temp/_github_workflow"] {
            fs::create_dir_all(root.path().join(folder)).map_err(|e| e.to_string())?;
        }
        let (temp, event) = (root.path().join("temp"), root.path().join("temp/_github_workflow/event.json"));
        fs::write(&event, self.github["event"].to_string()).map_err(|e| e.to_string())?;
        contexts["github"]["event_path"] = event.display().to_string().into();
        contexts["github"]["workspace"] = root.path().join("work").display().to_string().into();
        contexts["runner"] = json!({ "os": "Linux", "arch": "X64", "name": "rehearsal", "temp": temp,
            "environment": "github-hosted", "tool_cache": root.path().join("tools") });
        let mut env = Values::new();
        env.extend(entries(&self.workflow.model.env, contexts)?);
        contexts["env"] = json!(env);
        env.extend(entries(&job.env, contexts)?);
        let deadline = Instant::now() + minutes(job.timeout_minutes.as_ref(), contexts, JOB_MINUTES)?;
        let (contexts, path, steps) = (contexts.take(), Vec::new(), Map::new());
        Ok(Machine { root, contexts, env, path, steps, status: SUCCESS, deadline })
    }

    async fn step(
        &mut self,
        machine: &mut Machine,
        job: &job::NormalJob,
        index: usize,
        step: &job::Step,
    ) -> io::Result<()> {
        let (shared, default_name) = match step {
            job::Step::Run(step) => (&step.shared, step.run.lines().next().unwrap_or_default()),
            job::Step::Uses(step) => (&step.shared, step.uses.raw()),
            _ => return Ok(()),
        };
        self.console.begin_step();
        let id = shared.id.clone().unwrap_or_else(|| format!("__{index}"));
        machine.contexts["github"]["action"] = id.as_str().into();
        let mut env = machine.env.clone();
        let condition = entries(&shared.env, &machine.contexts(&env)).and_then(|own| {
            env.extend(own);
            machine.condition(shared.r#if.as_ref(), &env, machine.status)
        });
        let contexts = machine.contexts(&env);
        let name = shared.name.as_deref().and_then(|name| expr::render(name, &contexts).ok());
        let name = name.unwrap_or_else(|| format!("Run {default_name}"));
        let mut outputs = Vec::new();
        let outcome = match condition {
            Ok(false) => SKIPPED,
            Ok(true) if self.cancel.asked > 1 => SKIPPED,
            Ok(true) => {
                self.console.line(&format!("--- {name}"));
                let spared = machine.condition(shared.r#if.as_ref(), &env, CANCELLED).unwrap_or(false);
                match self.perform(machine, job, index, step, &env, &mut outputs, spared).await? {
                    Ok(outcome) => outcome,
                    Err(what) => {
                        self.console.error(&what);
                        FAILURE
                    }
                }
            }
            Err(what) => {
                self.console.line(&format!("--- {name}"));
                self.console.error(&what);
                FAILURE
            }
        };
        if outcome == SKIPPED {
            self.console.line(&format!("--- {name} (skipped)"));
        }
        let goes_on = typed(&shared.continue_on_error, &contexts, Evaluation::as_boolean).unwrap_or(false);
        let conclusion = if outcome == FAILURE && goes_on { SUCCESS } else { outcome };
        let outputs = outputs.into_iter().map(|(k, v)| (k, Value::from(v))).collect::<Map<_, _>>();
        let result = json!({ "outcome": outcome, "conclusion": conclusion, "outputs": outputs });
        machine.steps.insert(id, result);
        if self.cancel.asked > 0 || conclusion == CANCELLED {
            machine.status = CANCELLED;
        } else if conclusion == FAILURE && machine.status == SUCCESS {
            machine.status = FAILURE;
        }
        Ok(())
    }

    /// The outer result is the driver's own trouble, the inner one the step's.
    #[expect(clippy::too_many_arguments, reason = "one step's whole situation; a struct for one call says less")]
    async fn perform(
        &mut self,
        machine: &mut Machine,
        job: &job::NormalJob,
        index: usize,
        step: &job::Step,
        env: &Values,
        outputs: &mut Vec<(String, String)>,
        spared: bool,
    ) -> io::Result<Result<&'static str, String>> {
        let contexts = machine.contexts(env);
        let prepared = match step {
            job::Step::Run(step) => self.script(machine, job, index, step, &contexts),
            job::Step::Uses(step) => match self.workflow.actions.get(step.uses.raw()) {
                Some(action) => self.container(machine, step, action, &contexts),
                None => return Ok(self.stand_in(machine, step, &contexts, outputs)),
            },
            _ => return Ok(Ok(SKIPPED)),
        };
        let shared = match step {
            job::Step::Run(step) => &step.shared,
            job::Step::Uses(step) => &step.shared,
            _ => return Ok(Ok(SKIPPED)),
        };
        let limit = minutes(shared.timeout_minutes.as_ref(), &contexts, JOB_MINUTES);
        let (mut command, mut own, limit) = match prepared.and_then(|(command, own)| Ok((command, own, limit?))) {
            Ok(prepared) => prepared,
            Err(what) => return Ok(Err(what)),
        };
        let written = machine.folder("temp/_runner_file_commands");
        for file in ["output", "env", "path", "step_summary", "state"] {
            let path = written.join(format!("{file}_{index}"));
            fs::write(&path, "")?;
            let name = if file == "step_summary" { "GITHUB_STEP_SUMMARY".into() } else { format!("GITHUB_{}", file.to_uppercase()) };
            own.push((name, path.display().to_string()));
        }
        let all = self.environment(machine, env, &contexts, own);
        if let Err(what) = loopback(&all) {
            return Ok(Err(what));
        }
        command.env_clear().envs(all);
        let deadline = machine.deadline.min(Instant::now() + limit);
        let ran = process::run(command, &mut self.console, &mut self.cancel, spared, deadline).await;
        let (ended, clean) = match ran {
            Ok(ran) => ran,
            Err(e) => return Ok(Err(format!("the step could not be started: {e}"))),
        };
        let read = |file: &str| fs::read(written.join(format!("{file}_{index}"))).map(|b| String::from_utf8_lossy(&b).into_owned());
        let mut broken = !clean;
        for file in ["output", "env"] {
            match files::pairs(&read(file)?) {
                Ok(pairs) if file == "output" => outputs.extend(pairs),
                Ok(pairs) => machine.env.extend(pairs),
                Err(what) => {
                    self.console.error(&format!("Unable to process file command '{file}' successfully."));
                    self.console.error(&what);
                    broken = true;
                }
            }
        }
        for line in read("path")?.lines().filter(|line| !line.is_empty()) {
            machine.path.retain(|known| known != line);
            machine.path.insert(0, line.to_owned());
        }
        self.summary(&read("step_summary")?)?;
        Ok(match ended {
            Ended::Exited(0) if !broken => Ok(SUCCESS),
            Ended::Exited(0) => Ok(FAILURE),
            Ended::Exited(code) => Err(format!("Process completed with exit code {code}.")),
            Ended::Cancelled => {
                self.console.error("The operation was canceled.");
                Ok(CANCELLED)
            }
            Ended::TimedOut if Instant::now() >= machine.deadline => {
                self.console.error("The job has exceeded the maximum execution time.");
                Ok(CANCELLED)
            }
            Ended::TimedOut => Err(format!("The action has timed out after {} minutes.", limit.as_secs() / 60)),
        })
    }

    fn summary(&mut self, text: &str) -> io::Result<()> {
        if text.len() as u64 > SUMMARY_LIMIT {
            let size = text.len() / 1024;
            let message = format!("$GITHUB_STEP_SUMMARY upload aborted, supports content up to a size of 1024k, got {size}k.");
            self.console.error(&message);
        } else if let (Some(file), false) = (&self.options.summary, text.is_empty()) {
            let mut file = fs::OpenOptions::new().create(true).append(true).open(file)?;
            writeln!(file, "{}", self.console.masked(text))?;
        }
        Ok(())
    }

    /// All that a process gets to see.
    fn environment(
        &self,
        machine: &Machine,
        env: &Values,
        contexts: &Value,
        own: Vec<(String, String)>,
    ) -> Vec<(String, String)> {
        let mut all = BTreeMap::new();
        let path = std::env::var("PATH").unwrap_or_default();
        all.insert("PATH".to_owned(), [machine.path.as_slice(), &[path]].concat().join(":"));
        for (name, value) in [("LANG", "C.UTF-8"), ("CI", "true"), ("GITHUB_ACTIONS", "true"),
            ("AWS_EC2_METADATA_DISABLED", "true"), ("AWS_ENDPOINT_URL", NOWHERE)] {
            all.insert(name.to_owned(), value.to_owned());
        }
        all.extend(self.options.env.iter().cloned());
        all.extend(env.iter().map(|(name, value)| (name.clone(), value.clone())));
        let github = GITHUB.iter().map(|(name, _)| ("github", *name)).filter(|(_, name)| *name != "token");
        let runner = ["os", "arch", "name", "environment", "temp", "tool_cache"].map(|name| ("runner", name));
        for (context, name) in github.chain(runner) {
            all.insert(format!("{context}_{name}").to_uppercase(), text(&contexts[context][name]));
        }
        all.extend(own);
        all.into_iter().collect()
    }

    fn script(
        &self,
        machine: &Machine,
        job: &job::NormalJob,
        index: usize,
        step: &job::RunStep,
        contexts: &Value,
    ) -> Result<(Command, Vec<(String, String)>), String> {
        let script = machine.folder("temp").join(format!("step_{index}.sh"));
        fs::write(&script, expr::render(&step.run, contexts)?).map_err(|e| e.to_string())?;
        let defaults = [job.defaults.as_ref(), self.workflow.model.defaults.as_ref()];
        let defaults = defaults.into_iter().filter_map(|defaults: Option<&Defaults>| defaults?.run.as_ref());
        let shell = step.shell.is_some() || defaults.clone().any(|run| run.shell.is_some());
        let folder = step.working_directory.as_ref();
        let folder = folder.or_else(|| defaults.clone().find_map(|run| run.working_directory.as_ref()));
        let mut command = Command::new("bash");
        // A shell that is asked for by name gets more options than the one that is merely assumed:
        // https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#jobsjob_idstepsshell
        command.args(if shell { &["--noprofile", "--norc", "-eo", "pipefail"][..] } else { &["-e"] });
        let folder = expr::render(folder.map_or("", String::as_str), contexts)?;
        command.arg(script).current_dir(machine.folder("work").join(folder));
        Ok((command, vec![("HOME".to_owned(), machine.folder("home").display().to_string())]))
    }

    fn container(
        &mut self,
        machine: &Machine,
        step: &job::UsesStep,
        action: &Action,
        contexts: &Value,
    ) -> Result<(Command, Vec<(String, String)>), String> {
        let raw = step.uses.raw();
        let here = local(raw).map(|path| machine.folder("work").join(path).join("action.yml"));
        if raw.starts_with("./") && !here.is_some_and(|file| file.exists()) {
            return Err(format!("Can't find 'action.yml' under '{raw}'. Did you forget to run actions/checkout?"));
        }
        let with = entries(&step.with, contexts)?;
        let mut inputs = Values::new();
        for (name, input) in action.doc.get("inputs").map_or(&[][..], Node::entries) {
            let given = with.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone());
            let default = || expr::render(&input.get("default").map_or_else(String::new, Node::text), contexts);
            inputs.insert(name.clone(), given.map_or_else(default, Ok)?);
        }
        for (key, value) in &with {
            self.console.line(&format!("  {key}: {value}"));
        }
        let mut inner = contexts.clone();
        inner["inputs"] = json!(inputs);
        let runs = |key| action.doc.path(&["runs", key]);
        let entrypoint = runs("entrypoint").map(Node::text).unwrap_or_default();
        let program = Path::new(&entrypoint).file_name().unwrap_or_default();
        let program = fs::canonicalize(&self.options.bin_dir).map(|bin| bin.join(program)).map_err(|e| e.to_string())?;
        let mut command = Command::new(program);
        for arg in runs("args").map_or(&[][..], Node::items) {
            command.arg(expr::render(&arg.text(), &inner)?);
        }
        command.current_dir(machine.folder("work"));
        let mut own = vec![("HOME".to_owned(), machine.folder("temp/_github_home").display().to_string())];
        for (name, value) in runs("env").map_or(&[][..], Node::entries) {
            own.push((name.clone(), expr::render(&value.text(), &inner)?));
        }
        // Only spaces are replaced; hyphens stay.
        own.extend(inputs.into_iter().map(|(k, v)| (format!("INPUT_{}", k.to_uppercase().replace(' ', "_")), v)));
        Ok((command, own))
    }

    fn stand_in(
        &mut self,
        machine: &mut Machine,
        step: &job::UsesStep,
        contexts: &Value,
        outputs: &mut Vec<(String, String)>,
    ) -> Result<&'static str, String> {
        let with = entries(&step.with, contexts)?.into_iter().collect::<Values>();
        let workspace = machine.folder("work");
        let console = &mut self.console;
        match StandIn::of(step.uses.raw()) {
            Some(StandIn::Checkout) => standin::checkout(&self.options.repo, &workspace, console)?,
            Some(StandIn::Upload) => standin::upload(&with, &workspace, &mut self.artifacts, console)?,
            Some(StandIn::Download) => {
                outputs.extend(standin::download(&with, &workspace, &self.artifacts, console)?);
            }
            Some(StandIn::Credentials) => {
                let pairs = standin::credentials(&with, &self.options.aws_credentials, console)?;
                machine.env.extend(pairs);
            }
            None => return Err(format!("nothing stands in for `{}`", step.uses.raw())),
        }
        Ok(SUCCESS)
    }
}
