//! Which task is to run, or is running already, or why none may: pure.

use ecs::{LogSource, short};
use kit::{Action, Failure, Note};
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::args::TaskArgs;
use super::observe::{Container, Definition, SeenTask, World};
use super::overrides::{self, Asked};
use super::place::{Launch, launch, network};
use super::verdict::{self, Verdict};
use crate::backup::Guard;

/// The action's id.
pub(crate) const RUN: &str = "run-task";

/// What `startedBy` begins with in every task that this step starts.
const MARK: &str = "cutover-migration";

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) args: &'a TaskArgs,
    pub(crate) cluster: &'a str,
    pub(crate) asked: &'a Asked,
    /// Names the release; none at a terminal without `--run-id`.
    pub(crate) run: Option<&'a str>,
    pub(crate) guard: Guard<'a>,
}

/// One migration as a task.
#[derive(Debug, Serialize)]
pub(crate) struct TaskPlan {
    pub(crate) does: Does,
    pub(crate) family: String,
    pub(crate) cluster: String,
    pub(crate) definition: String,
    /// Its exit code decides.
    pub(crate) container: String,
    /// The document for `RunTask`, which is shown without the values of variables.
    #[serde(skip)]
    pub(crate) document: Value,
    pub(crate) started_by: String,
    pub(crate) detail: Vec<String>,
    pub(crate) restore: String,
    pub(crate) notes: Vec<Note>,
}

/// What is to be done about the migration.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "what")]
pub(crate) enum Does {
    /// Start it.
    Start,
    /// An earlier run started it, and it has not ended: wait for it.
    Attach { task: SeenTask },
    /// It has ended well in this release.
    Nothing { task: SeenTask },
}

/// The plan, or the reason why nothing may be done.
pub(crate) fn plan(request: &Request<'_>, world: &World) -> Result<TaskPlan, Failure> {
    let definition = &world.definition;
    let attempt = || format!("run {} as a task", short(&definition.arn));
    if definition.status != "ACTIVE" {
        return Err(Failure::refused(attempt())
            .because(format!("the revision is {}, and ECS runs none that is not ACTIVE", definition.status))
            .help("register it anew with register-task-def and give that ARN"));
    }
    let container = container(request, definition)?;
    let overrides = request.asked.document(&container, &definition.names())?;
    same_database(request, definition, &container, overrides.as_ref())?;
    let started_by = started_by(request, world, &container, overrides.as_ref());
    let mut notes = Vec::new();
    let mut plan = TaskPlan {
        does: Does::Start,
        family: definition.family.clone(),
        cluster: request.cluster.to_owned(),
        definition: definition.arn.clone(),
        container,
        document: Value::Null,
        started_by,
        detail: Vec::new(),
        restore: String::new(),
        notes: Vec::new(),
    };
    let mine: Vec<&SeenTask> = world.tasks.iter().filter(|task| task.started_by == plan.started_by).collect();
    if let Some(task) = mine.iter().find(|task| !task.stopped()) {
        plan.does = Does::Attach { task: (*task).clone() };
        return Ok(plan);
    }
    if request.run.is_some()
        && let Some(task) = mine.iter().find(|task| verdict::judge(task, &plan.container) == Verdict::Done)
    {
        plan.does = Does::Nothing { task: (*task).clone() };
        return Ok(plan);
    }
    alone(world, &mut notes)?;
    plan.restore = request.guard.judge(&mut notes)?;
    if let Some(earlier) = mine.first() {
        notes.push(Note::Info(earlier_try(earlier, &plan.container)));
    }
    plan.document = document(request, world, &plan, overrides.as_ref(), mine.first().copied(), &mut notes)?;
    plan.detail = detail(&plan, world, overrides.as_ref());
    plan.notes = notes;
    Ok(plan)
}

/// The container that decides: the one that is named, that is overridden, or that alone is essential.
fn container(request: &Request<'_>, definition: &Definition) -> Result<String, Failure> {
    let names = definition.names();
    let named = request.args.container.as_deref().or_else(|| request.asked.only_container());
    if let Some(name) = named {
        if names.contains(&name) {
            return Ok(name.to_owned());
        }
        return Err(Failure::refused(format!("use container {name}"))
            .because(format!("{} has no such container: it has {}", short(&definition.arn), names.join(", ")))
            .help("correct --container, or the name in --overrides"));
    }
    let essential: Vec<&str> = definition
        .containers
        .iter()
        .filter(|container| container.is_essential())
        .map(Container::name)
        .collect();
    match essential.as_slice() {
        [only] => Ok((*only).to_owned()),
        _ => {
            Err(Failure::refused(format!("choose the container of {} that migrates", short(&definition.arn)))
                .because(format!(
                    "several are essential, and one exit code has to decide: {}",
                    essential.join(", ")
                ))
                .help("name it with --container"))
        }
    }
}

/// The database that the container is plainly told to use must be the one that the backup is of.
fn same_database(
    request: &Request<'_>,
    definition: &Definition,
    container: &str,
    overrides: Option<&Value>,
) -> Result<(), Failure> {
    let database = request.guard.database;
    let defined = definition.container(container).and_then(|seen| seen.variable("PGDATABASE"));
    let overridden = overrides::of(overrides, container)
        .and_then(|one| one["environment"].as_array())
        .into_iter()
        .flatten()
        .filter(|pair| pair["name"] == "PGDATABASE")
        .find_map(|pair| pair["value"].as_str());
    match overridden.or(defined) {
        Some(told) if told != database => Err(Failure::refused(format!("migrate {database}"))
            .because(format!("container {container} has PGDATABASE={told}"))
            .help("correct --dbname, or give the backup of the database that the task migrates")),
        _ => Ok(()),
    }
}

/// No two migrations of one family at a time.
fn alone(world: &World, notes: &mut Vec<Note>) -> Result<(), Failure> {
    for task in world.tasks.iter().filter(|task| !task.stopped()) {
        let id = short(&task.arn);
        if task.started_by.starts_with(MARK) {
            return Err(Failure::refused(format!("start a migration of {}", world.definition.family))
                .because(format!(
                    "another one is not finished: task {id} of {} is {}, started by {}",
                    short(&task.definition),
                    task.status,
                    task.started_by
                ))
                .help("wait until it has stopped and run this again; where it is to be waited for, repeat the command that started it")
                .help(format!("look at it: aws ecs describe-tasks --cluster {} --tasks {id}", cluster_of(&task.arn))));
        }
        let by = if task.started_by.is_empty() { "somebody" } else { task.started_by.as_str() };
        notes.push(Note::Warning(format!(
            "another one-off task of {} is {}, started by {by}: {id}; make sure that it is no migration",
            world.definition.family, task.status
        )));
    }
    Ok(())
}

fn cluster_of(task_arn: &str) -> &str {
    task_arn.rsplit('/').nth(1).unwrap_or_default()
}

fn earlier_try(task: &SeenTask, container: &str) -> String {
    let when = OffsetDateTime::from_unix_timestamp(task.created).ok().and_then(|at| at.format(&Rfc3339).ok());
    let how = match verdict::judge(task, container) {
        Verdict::Done => "ended well".to_owned(),
        Verdict::Said { why, .. } | Verdict::NeverRan { why } | Verdict::Unknown { why } => why,
    };
    format!(
        "the same migration was started before, as task {} at {}: {how}",
        short(&task.arn),
        when.unwrap_or_default()
    )
}

/// What tells this migration of this release from every other task: a retried job has the same, whatever its attempt.
///
/// At most 128 letters, digits, `-`, `_` and `/`
/// (<https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html>).
fn started_by(request: &Request<'_>, world: &World, container: &str, overrides: Option<&Value>) -> String {
    let what = json!([
        request.run,
        world.account,
        world.region,
        request.cluster,
        world.definition.arn,
        container,
        overrides
    ]);
    let digest = kit::hex(&Sha256::digest(what.to_string()));
    let digest = digest.get(..24).unwrap_or(&digest);
    format!("{MARK}/{}/{digest}", request.args.run_id.as_deref().unwrap_or("run"))
}

/// The same for each try to start one task, and another one after that task has ended: what failed can be run again.
/// At most 64 characters (<https://docs.aws.amazon.com/AmazonECS/latest/APIReference/ECS_Idempotency.html>).
fn client_token(started_by: &str, earlier: Option<&SeenTask>) -> String {
    let seed = format!("{started_by}\n{}", earlier.map_or("", |task| task.arn.as_str()));
    kit::hex(&Sha256::digest(seed))
}

/// The document for `RunTask`.
fn document(
    request: &Request<'_>,
    world: &World,
    plan: &TaskPlan,
    overrides: Option<&Value>,
    earlier: Option<&SeenTask>,
    notes: &mut Vec<Note>,
) -> Result<Value, Failure> {
    let mut document = Map::new();
    let mut put = |key: &str, value: Value| document.insert(key.to_owned(), value);
    put("cluster", json!(request.cluster));
    put("taskDefinition", json!(plan.definition));
    put("count", json!(1));
    put("clientToken", json!(client_token(&plan.started_by, earlier)));
    put("startedBy", json!(plan.started_by));
    if let Some(overrides) = overrides {
        put("overrides", overrides.clone());
    }
    let like = world.like.as_ref();
    if let Some(network) = network(request.args, &world.definition, like)? {
        put("networkConfiguration", network);
    }
    let launch = launch(request.args, like);
    if launch.spot() {
        notes.push(Note::Warning(
            "the capacity is FARGATE_SPOT, which AWS may take back in the middle of the migration with two minutes' notice: --launch-type FARGATE runs it on demand".to_owned(),
        ));
    }
    let fargate = launch.fargate();
    match launch {
        Launch::Type(launch_type) => {
            put("launchType", json!(launch_type));
        }
        Launch::Providers(providers) => {
            put("capacityProviderStrategy", json!(providers));
        }
        Launch::ClusterDefault => {
            notes
                .push(Note::Info("the cluster's default capacity providers decide where it runs".to_owned()));
        }
    }
    let version = request
        .args
        .platform_version
        .as_ref()
        .or_else(|| like.and_then(|like| like.platform_version.as_ref()).filter(|_| fargate));
    if let Some(version) = version {
        put("platformVersion", json!(version));
    }
    if world.definition.task_role && like.is_some_and(|like| like.execute_command) {
        put("enableExecuteCommand", json!(true));
    }
    if let Some(like) = like.filter(|like| like.task_definition != plan.definition) {
        notes.push(Note::Info(format!("the {} runs {}", like.service, short(&like.task_definition))));
    }
    Ok(Value::Object(document))
}

/// The task for a reader: everything that is sent, but of variables the names alone.
fn detail(plan: &TaskPlan, world: &World, overrides: Option<&Value>) -> Vec<String> {
    let document = &plan.document;
    let list = |value: &Value| {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
    };
    let mut lines = vec![format!("cluster {}, container {} decides", plan.cluster, plan.container)];
    for one in overrides.and_then(|all| all["containerOverrides"].as_array()).into_iter().flatten() {
        let name = one["name"].as_str().unwrap_or_default();
        for (field, value) in one.as_object().into_iter().flatten().filter(|(field, _)| *field != "name") {
            let shown = match field.as_str() {
                "environment" => value
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|pair| pair["name"].as_str())
                    .collect::<Vec<_>>()
                    .join(", "),
                _ => value.to_string(),
            };
            lines.push(format!("{name}: {field} {shown}"));
        }
    }
    for (field, value) in overrides.and_then(Value::as_object).into_iter().flatten() {
        if field != "containerOverrides" {
            lines.push(format!("task: {field} {value}"));
        }
    }
    let network = &document["networkConfiguration"]["awsvpcConfiguration"];
    if network.is_object() {
        let groups = list(&network["securityGroups"]);
        let groups = if groups.is_empty() { "the VPC's default".to_owned() } else { groups };
        let public_ip = network["assignPublicIp"].as_str().unwrap_or("DISABLED").to_lowercase();
        lines.push(format!(
            "subnets {}; security groups {groups}; public address {public_ip}",
            list(&network["subnets"])
        ));
    }
    let providers: Vec<String> = document["capacityProviderStrategy"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one["capacityProvider"].as_str())
        .map(str::to_owned)
        .collect();
    let launch = match document["launchType"].as_str() {
        Some(launch_type) => format!("launch type {launch_type}"),
        None if providers.is_empty() => "default capacity of the cluster".to_owned(),
        None => format!("capacity {}", providers.join(", ")),
    };
    let version = document["platformVersion"]
        .as_str()
        .map_or_else(String::new, |version| format!(", platform {version}"));
    lines.push(format!("{launch}{version}"));
    lines.push(match log_source(world, &plan.container, "TASK-ID") {
        Ok(source) => format!("log: {source}"),
        Err(why) => format!("no log to follow: {why}"),
    });
    lines.push(format!("started by {}", plan.started_by));
    lines
}

/// Where the deciding container writes its log.
pub(crate) fn log_source(world: &World, container: &str, task_id: &str) -> Result<LogSource, String> {
    let of = world.definition.container(container);
    of.ok_or_else(|| format!("the definition has no container {container}"))?.log(task_id, &world.region)
}

const NO_UNDO: &str = "a migration has no inverse; \"to go back\" says what to restore";

impl kit::Plan for TaskPlan {
    fn actions(&self) -> Vec<Action> {
        match &self.does {
            Does::Start => vec![
                Action::irreversible(
                    RUN,
                    format!("start a task of {} that runs the migration", short(&self.definition)),
                    NO_UNDO,
                )
                .detail(self.detail.join("\n")),
            ],
            Does::Attach { task } => vec![Action::irreversible(
                RUN,
                format!("take up task {} ({}), which an earlier run started", short(&task.arn), task.status),
                "a migration has no inverse",
            )],
            Does::Nothing { .. } => Vec::new(),
        }
    }

    fn notes(&self) -> Vec<Note> {
        let restore = (!self.restore.is_empty()).then(|| Note::Info(format!("to go back: {}", self.restore)));
        self.notes.iter().cloned().chain(restore).collect()
    }

    fn unchanged(&self) -> String {
        match &self.does {
            Does::Nothing { task } => {
                format!(
                    "task {} of this release has run {} and ended well",
                    short(&task.arn),
                    short(&self.definition)
                )
            }
            Does::Start | Does::Attach { .. } => "there is something to do".to_owned(),
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
