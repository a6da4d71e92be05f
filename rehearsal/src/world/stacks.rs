//! What the worlds of CloudFormation have in common: the emulator behind the front, stacks made before the release begins, and
//! the templates of the release, as files.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use testkit::emulator::{self, Emulator};
use testkit::front::Front;
use testkit::same_port;
use testkit::templates::{self, Derived};

use super::folder::Folder;
use super::traffic::Entry;
use super::{Aws, Fail, PATIENCE, port_of};

/// AWS's account for documentation, which the recorded templates name too.
pub(super) const ACCOUNT: &str = "123456789012";
pub(super) const REGION: &str = "us-east-1";
/// Where templates go that are too long for a request.
pub(super) const TEMPLATES: &str = "release-templates";
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html>
const TEMPLATE_BODY: usize = 51_200;

/// What a workflow is started with.
pub type Inputs = BTreeMap<String, String>;

/// A world of stacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Stacks {
    pub pids: StackPids,
    pub aws: Aws,
    pub inputs: Inputs,
    /// The stacks of the release, in its order.
    pub stacks: Vec<Deployed>,
    /// Names of stacks that the release has to leave alone.
    pub untouched: Vec<String>,
    /// A table with one item in it, which is there after the release.
    pub table: Option<String>,
    /// The templates that the emulator takes only as copies.
    pub copies: Vec<Copied>,
    pub fail: Option<Fail>,
    /// The public name, where the release closes it.
    #[serde(default)]
    pub maintenance: Option<Entry>,
    /// The topic of SNS that is silenced meanwhile, by its ARN.
    #[serde(default)]
    pub topic: Option<String>,
    /// Secrets of the workflow.
    #[serde(default)]
    pub secrets: BTreeMap<String, String>,
}

/// Process numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackPids {
    pub world: u32,
    pub emulator: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployed {
    /// As the workflow's reports call it.
    pub label: String,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    pub template: String,
    /// What is another thing in the copy, a line each.
    pub changes: Vec<String>,
}

/// Everything that runs; what serves ends before what it needs.
pub(super) struct Running {
    pub(super) description: Stacks,
    _front: Front,
    /// What runs beside the stacks.
    _beside: Option<Box<dyn Send>>,
    _emulator: Arc<Emulator>,
}

/// What the world keeps from run to run.
#[derive(Serialize, Deserialize)]
struct Kept {
    front_port: u16,
    /// Of what runs beside the stacks.
    #[serde(default)]
    ports: Vec<u16>,
}

/// A world that is being made.
pub(super) struct Making<'a> {
    folder: &'a Folder,
    emulator: Arc<Emulator>,
    copies: Vec<Copied>,
    /// Where what runs beside the stacks answers.
    ports: Vec<u16>,
    beside: Option<Box<dyn Send>>,
}

/// A stack's name, template and parameters.
pub(super) struct Stack<'a> {
    pub(super) name: &'a str,
    pub(super) template: &'a str,
    pub(super) parameters: &'a BTreeMap<String, String>,
}

impl<'a> Making<'a> {
    pub(super) async fn new(folder: &'a Folder) -> io::Result<Self> {
        let emulator = Emulator::start(emulator::Options {
            account: ACCOUNT.to_owned(),
            region: REGION.to_owned(),
            state: Some(folder.path("aws")),
            port: 0,
        })
        .await?;
        emulator.create_bucket(TEMPLATES).await?;
        Ok(Self { folder, emulator: Arc::new(emulator), copies: Vec::new(), ports: Vec::new(), beside: None })
    }

    pub(super) fn emulator(&self) -> &Arc<Emulator> {
        &self.emulator
    }

    /// The template as the emulator takes it; what is different in it is noted once under its name.
    pub(super) fn copy(
        &mut self,
        template: &str,
        text: &str,
        parameters: &BTreeMap<String, String>,
    ) -> io::Result<String> {
        let Derived { text, changes } = templates::derive(text, parameters)
            .map_err(|error| io::Error::other(format!("{template}: {error}")))?;
        let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
        if !changes.is_empty() && self.copies.iter().all(|copied| copied.template != template) {
            self.copies.push(Copied { template: template.to_owned(), changes });
        }
        Ok(text)
    }

    /// Puts a template where a nested stack finds it; gives its URL.
    pub(super) async fn upload(&self, key: &str, text: &str) -> io::Result<String> {
        self.emulator.put_object(TEMPLATES, key, text.as_bytes()).await?;
        Ok(format!("https://s3.{REGION}.amazonaws.com/{TEMPLATES}/{key}"))
    }

    /// Makes a stack and waits for it. One that is there stays as it is: the release may have changed it.
    pub(super) async fn create(&self, stack: &Stack<'_>) -> io::Result<()> {
        if self.status(stack.name).await?.is_some() {
            return Ok(());
        }
        let mut request = vec![
            ("Action".to_owned(), "CreateStack".to_owned()),
            ("Version".to_owned(), "2010-05-15".to_owned()),
            ("StackName".to_owned(), stack.name.to_owned()),
            ("Capabilities.member.1".to_owned(), "CAPABILITY_NAMED_IAM".to_owned()),
        ];
        request.push(if stack.template.len() > TEMPLATE_BODY {
            let url = self.upload(&format!("before/{}.json", stack.name), stack.template).await?;
            ("TemplateURL".to_owned(), url)
        } else {
            ("TemplateBody".to_owned(), stack.template.to_owned())
        });
        for (index, (key, value)) in stack.parameters.iter().enumerate() {
            let member = format!("Parameters.member.{}", index + 1);
            request.push((format!("{member}.ParameterKey"), key.clone()));
            request.push((format!("{member}.ParameterValue"), value.clone()));
        }
        self.query(&request).await?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status(stack.name).await?.unwrap_or_default();
            if status == "CREATE_COMPLETE" {
                return Ok(());
            }
            if !status.ends_with("_IN_PROGRESS") || Instant::now() > deadline {
                let events = self.about("DescribeStackEvents", stack.name).await?;
                let reasons = texts(&events, "ResourceStatusReason").join("; ");
                return Err(io::Error::other(format!("{} came to {status}: {reasons}", stack.name)));
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    /// The physical ids of a stack's resources, by logical id.
    pub(super) async fn resources(&self, stack: &str) -> io::Result<BTreeMap<String, String>> {
        let answer = self.about("DescribeStackResources", stack).await?;
        let ids = texts(&answer, "LogicalResourceId").into_iter();
        Ok(ids.zip(texts(&answer, "PhysicalResourceId")).collect())
    }

    pub(super) async fn outputs(&self, stack: &str) -> io::Result<BTreeMap<String, String>> {
        let answer = self.about("DescribeStacks", stack).await?;
        Ok(texts(&answer, "OutputKey").into_iter().zip(texts(&answer, "OutputValue")).collect())
    }

    /// `None` where there is no such stack.
    async fn status(&self, stack: &str) -> io::Result<Option<String>> {
        let request =
            [("Action", "DescribeStacks"), ("Version", "2010-05-15"), ("StackName", stack)].map(owned);
        let (status, answer) = self.send(&request).await?;
        if status == 400 && answer.contains("does not exist") {
            return Ok(None);
        }
        Ok(texts(&answer, "StackStatus").into_iter().next())
    }

    async fn about(&self, action: &str, stack: &str) -> io::Result<String> {
        self.query(&[("Action", action), ("Version", "2010-05-15"), ("StackName", stack)].map(owned)).await
    }

    async fn query(&self, request: &[(String, String)]) -> io::Result<String> {
        let (status, answer) = self.send(request).await?;
        if status == 200 {
            return Ok(answer);
        }
        Err(io::Error::other(format!("the emulator answered {status}: {answer}")))
    }

    async fn send(&self, request: &[(String, String)]) -> io::Result<(u16, String)> {
        let request: Vec<(&str, &str)> =
            request.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.emulator.query("cloudformation", &request).await
    }

    /// Ports that what runs beside the stacks had before, or 0.
    pub(super) fn ports<const N: usize>(&self) -> io::Result<[u16; N]> {
        let kept: Option<Kept> = self.folder.kept()?;
        let mut kept = kept.map(|kept| kept.ports).unwrap_or_default().into_iter();
        Ok(std::array::from_fn(|_| kept.next().unwrap_or(0)))
    }

    /// Runs as long as the world, at these URLs.
    pub(super) fn beside(&mut self, urls: &[&str], running: impl Send + 'static) -> io::Result<()> {
        self.ports = urls.iter().map(|url| port_of(url)).collect::<io::Result<_>>()?;
        self.beside = Some(Box::new(running));
        Ok(())
    }

    /// Writes the template and the parameters of a stack as files; gives the folder that all of them are in.
    pub(super) fn file(
        &self,
        name: &str,
        template: &str,
        parameters: &BTreeMap<String, String>,
    ) -> io::Result<PathBuf> {
        let folder = self.folder.path("templates");
        fs::create_dir_all(&folder)?;
        let list: Vec<Value> = parameters
            .iter()
            .map(|(key, value)| json!({ "ParameterKey": key, "ParameterValue": value }))
            .collect();
        fs::write(folder.join(format!("{name}.template")), template)?;
        fs::write(folder.join(format!("{name}.arguments")), serde_json::to_vec_pretty(&list)?)?;
        Ok(folder)
    }

    /// The front comes up last: what is recorded is what the release calls.
    pub(super) async fn finish(self, describe: impl FnOnce(Aws, StackPids) -> Stacks) -> io::Result<Running> {
        let kept: Option<Kept> = self.folder.kept()?;
        let front = Front::builder()
            .upstream(self.emulator.url())
            .record(self.folder.path("calls.jsonl"))
            .port(same_port(kept.map_or(0, |kept| kept.front_port)).await?)
            .start()
            .await?;
        self.folder.keep(&Kept { front_port: front.port(), ports: self.ports })?;
        let aws =
            Aws { endpoint: front.url().to_owned(), account: ACCOUNT.to_owned(), region: REGION.to_owned() };
        let mut description =
            describe(aws, StackPids { world: std::process::id(), emulator: self.emulator.pid() });
        description.copies = self.copies;
        Ok(Running { description, _front: front, _beside: self.beside, _emulator: self.emulator })
    }
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// The texts of all elements of that name in an answer of the Query protocol, in order.
pub(crate) fn texts(xml: &str, element: &str) -> Vec<String> {
    let (opening, closing) = (format!("<{element}>"), format!("</{element}>"));
    let parts = xml.split(&opening).skip(1);
    parts.filter_map(|part| part.split_once(&closing)).map(|(text, _)| text.to_owned()).collect()
}

/// A file of the recorded inputs as text.
pub(super) fn read(path: &Path) -> io::Result<String> {
    fs::read_to_string(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// CloudFormation's list of parameters.
pub(super) fn parameters(text: &str) -> io::Result<BTreeMap<String, String>> {
    let list: Vec<Value> = serde_json::from_str(text)?;
    let pair = |item: &Value| {
        let key = item["ParameterKey"].as_str()?.to_owned();
        Some((key, item["ParameterValue"].as_str()?.to_owned()))
    };
    Ok(list.iter().filter_map(pair).collect())
}

/// The folder of one repository's files within the recorded inputs: below `--inputs` by the repository's name, or `--inputs` itself.
pub(super) fn repository(
    inputs: Option<&Path>,
    name: &str,
    must_have: &str,
    fetch: &str,
) -> Result<PathBuf, String> {
    let place = inputs.map_or_else(testkit::inputs::place, Path::to_owned);
    let candidates = [place.join(name), place.clone()];
    let found = candidates.into_iter().find(|folder| folder.join(must_have).is_file());
    found.ok_or_else(|| {
        format!("there is no {must_have} in {}: {fetch}, and give its folder as INPUTS=DIR", place.display())
    })
}
