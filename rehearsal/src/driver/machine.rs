//! One job's fresh machine, and what a step is started with on it.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::Instant;

use super::given::pairs;
use super::{Options, Trouble, Values};
use crate::workflow::expr::{all_rendered, rendered};
use crate::workflow::{Doc, Workflow, entries, items, local, text};

const ALWAYS: &str = "LANG=C.UTF-8 CI=true GITHUB_ACTIONS=true AWS_EC2_METADATA_DISABLED=true \
    AWS_ENDPOINT_URL=http://127.0.0.1:9";
/// Through these a step hands values to its runner.
const FILES: &str = "GITHUB_OUTPUT GITHUB_ENV GITHUB_PATH GITHUB_STEP_SUMMARY GITHUB_STATE";
/// GitHub ends a job after six hours: <https://docs.github.com/en/actions/reference/limits>.
const JOB_MINUTES: f64 = 360.0;

pub(crate) struct Machine {
    root: tempfile::TempDir,
    contexts: Value,
    /// Workflow and job `env`, then what steps wrote to `GITHUB_ENV`.
    pub(crate) env: Values,
    /// What steps wrote to `GITHUB_PATH`, the latest first.
    pub(crate) path: Vec<String>,
    pub(crate) status: &'static str,
    pub(crate) deadline: Instant,
}

/// When the time of a job or step is up; GitHub takes the whole minutes.
pub(crate) fn deadline(of: &Value, contexts: &Value) -> Result<Instant, Trouble> {
    let minutes = rendered(&of["timeout-minutes"], contexts)?;
    let minutes = if minutes.is_empty() { JOB_MINUTES } else { minutes.parse::<f64>()? };
    Ok(Instant::now() + Duration::try_from_secs_f64(minutes.floor() * 60.0)?)
}

/// A hosted runner's machine takes its steps with it when it dies, so a step must not outlive a killed driver.
fn mortal(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

impl Machine {
    pub(crate) fn new(workflow: &Workflow, job: &Value, mut contexts: Value) -> Result<Self, Trouble> {
        let root = tempfile::Builder::new().prefix("rehearsal-").tempdir()?;
        for folder in ["work", "home", "temp/_github_home", "temp/_files"] {
            fs::create_dir_all(root.path().join(folder))?;
        }
        let inside = |name: &str| root.path().join(name);
        fs::write(inside("temp/event.json"), contexts["github"]["event"].to_string())?;
        contexts["github"]["event_path"] = json!(inside("temp/event.json"));
        contexts["github"]["workspace"] = json!(inside("work"));
        contexts["runner"] = json!({ "os": "Linux", "arch": "X64", "name": "rehearsal", "temp": inside("temp"),
            "environment": "github-hosted", "tool_cache": inside("tools") });
        contexts["steps"] = json!({});
        let mut env = all_rendered(&workflow.doc.value["env"], &contexts)?;
        env.extend(all_rendered(&job["env"], &contexts)?);
        let deadline = deadline(job, &contexts)?;
        Ok(Self { root, contexts, env, path: Vec::new(), status: "success", deadline })
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn shown(&self, name: &str) -> String {
        self.folder(name).display().to_string()
    }

    /// The contexts of a step, whose own `env` counts as well.
    pub(crate) fn contexts(&self, env: &Values) -> Value {
        let mut contexts = self.contexts.clone();
        contexts["env"] = json!(env);
        contexts["job"] = json!({ "status": self.status });
        contexts
    }

    pub(crate) fn begin(&mut self, id: &str) {
        self.contexts["github"]["action"] = id.into();
    }

    pub(crate) fn end(&mut self, id: &str, result: Value) {
        self.contexts["steps"][id] = result;
    }

    /// All that a process gets to see; the files it may write to are there and empty.
    pub(crate) fn environment(
        &self,
        options: &Options,
        env: &Values,
        own: Values,
    ) -> Result<Values, Trouble> {
        let mut all = pairs(ALWAYS).collect::<Values>();
        let path = [self.path.as_slice(), &[std::env::var("PATH")?]].concat().join(":");
        all.insert("PATH".to_owned(), path);
        all.extend(options.env.iter().cloned());
        all.extend(env.clone());
        for context in ["github", "runner"] {
            for (name, value) in entries(&self.contexts[context]).filter(|(_, value)| value.is_string()) {
                all.insert(format!("{context}_{name}").to_uppercase(), text(value));
            }
        }
        all.remove("GITHUB_TOKEN"); // only a context, unless a step asks for it in its `env`
        all.extend(env.get("GITHUB_TOKEN").map(|token| ("GITHUB_TOKEN".to_owned(), token.clone())));
        for name in FILES.split(' ') {
            fs::write(self.folder("temp/_files").join(name), "")?;
            all.insert(name.to_owned(), self.shown(&format!("temp/_files/{name}")));
        }
        all.extend(own);
        Ok(all)
    }

    /// What the last step wrote to its files.
    pub(crate) fn written(&self) -> Result<Values, Trouble> {
        let read = |name: &str| fs::read(self.folder("temp/_files").join(name));
        let text = |name| Ok((String::from(name), String::from_utf8_lossy(&read(name)?).into_owned()));
        FILES.split(' ').map(text).collect()
    }

    /// A `run`: the places are the step and the defaults of job and workflow.
    pub(crate) fn script(&self, places: [&Value; 3], contexts: &Value) -> Result<(Command, Values), Trouble> {
        let script = self.folder("temp/step.sh");
        fs::write(&script, rendered(&places[0]["run"], contexts)?)?;
        let first = |key: &str| places.iter().map(|place| &place[key]).find(|value| !value.is_null());
        let mut command = mortal("bash");
        // A shell that is asked for by name gets more options than the one that is merely assumed:
        // https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#jobsjob_idstepsshell
        let named = first("shell").is_some();
        command.args(if named { &["--noprofile", "--norc", "-eo", "pipefail"][..] } else { &["-e"] });
        let folder = rendered(first("working-directory").unwrap_or(&Value::Null), contexts)?;
        command.arg(script).current_dir(self.folder("work").join(folder));
        Ok((command, [("HOME".to_owned(), self.shown("home"))].into()))
    }

    /// A docker action, as the executable of its entrypoint's name.
    pub(crate) fn container(
        &self,
        options: &Options,
        uses: &str,
        action: &Doc,
        with: &Values,
        contexts: &Value,
    ) -> Result<(Command, Values), Trouble> {
        let here = local(uses).map(|path| self.folder("work").join(path).join("action.yml"));
        if uses.starts_with("./") && !here.is_some_and(|file| file.exists()) {
            let ask = "Did you forget to run actions/checkout?";
            return Err(format!("Can't find 'action.yml' under '{uses}'. {ask}").into());
        }
        let mut inputs = Values::new();
        for (name, input) in entries(&action.value["inputs"]) {
            let given = with.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
            let value =
                given.map_or_else(|| rendered(&input["default"], contexts), |value| Ok(value.clone()));
            inputs.insert(name.clone(), value?);
        }
        let mut inner = contexts.clone();
        inner["inputs"] = json!(inputs);
        let runs = &action.value["runs"];
        let program = text(&runs["entrypoint"]);
        let program = Path::new(&program).file_name().ok_or("`entrypoint` is no path")?;
        // The link itself is started, not what it points to: a multi-call executable goes by its name.
        let program = fs::canonicalize(&options.bin_dir)?.join(program);
        if !program.exists() {
            return Err(format!("--bin-dir holds no executable {}", program.display()).into());
        }
        let mut command = mortal(program);
        command.current_dir(self.folder("work"));
        for arg in items(&runs["args"]) {
            command.arg(rendered(arg, &inner)?);
        }
        let mut env = all_rendered(&runs["env"], &inner)?;
        env.insert("HOME".to_owned(), self.shown("temp/_github_home"));
        // Only spaces are replaced; hyphens stay.
        env.extend(
            inputs.into_iter().map(|(k, v)| (format!("INPUT_{}", k.to_uppercase().replace(' ', "_")), v)),
        );
        Ok((command, env))
    }
}
