//! The arguments.

use std::path::PathBuf;
use std::time::Duration;

use aws::AwsArgs;
use changeset::approve::Approval;
use changeset::prepare::no_label;
use changeset::request::{ParamArg, StackArg};
use changeset::review::Operation;
use github::GithubArgs;
use kit::Failure;

/// Make change sets, judge what they would do to data, and say what needs an approval; nothing is ever executed
#[derive(clap::Args, Clone, Debug)]
#[command(about, long_about = include_str!("help.md"))]
pub struct ReviewArgs {
    /// A stack to review, in the order in which they are to be run; LABEL is what approvals and outputs call it
    #[arg(long, value_name = "[LABEL:]NAME[=TEMPLATE[,PARAMETERS]]", value_parser = parse::<StackArg>)]
    pub stack: Vec<StackArg>,

    /// A recorded answer of `DescribeChangeSet` to review instead, JSON as the AWS CLI prints it; every page, and those of nested
    /// sets
    #[arg(long, value_name = "FILE", conflicts_with_all = ["stack", "param", "delete", "recreate"])]
    pub from_file: Vec<PathBuf>,

    /// A parameter's value; @STACK.OUTPUT takes a stack's output, @env:NAME a variable of the environment
    #[arg(long, value_name = "[LABEL.]KEY=VALUE", value_parser = parse::<ParamArg>)]
    pub param: Vec<ParamArg>,

    /// A stack that is to be deleted
    #[arg(long, value_name = "LABEL")]
    pub delete: Vec<String>,

    /// A stack that is to be deleted and made again
    #[arg(long, value_name = "LABEL")]
    pub recreate: Vec<String>,

    /// Approve what is done to one resource, each by name: `api/TileTable:replace-retain`
    #[arg(long, value_name = "STACK/LogicalId:ACTION[,ACTION]", value_delimiter = ' ', value_parser = parse::<Approval>)]
    pub allow: Vec<Approval>,

    /// Count a type of resources as one that holds data
    #[arg(long, value_name = "TYPE")]
    pub stateful: Vec<String>,

    /// Count a type of resources as one that holds nothing
    #[arg(long, value_name = "TYPE")]
    pub stateless: Vec<String>,

    /// Judge types that hold an identity (an address, a name, a configuration) like those that hold data
    #[arg(long)]
    pub strict: bool,

    /// What CloudFormation may do beyond resources: `CAPABILITY_IAM`, `CAPABILITY_NAMED_IAM`, `CAPABILITY_AUTO_EXPAND`
    #[arg(long, value_name = "CAPABILITY")]
    pub capability: Vec<String>,

    /// Where templates of more than 51,200 bytes go, under their hash
    #[arg(long, value_name = "s3://BUCKET[/PREFIX]")]
    pub template_bucket: Option<String>,

    /// Leave the change sets where they are, to be looked at in the console
    #[arg(long)]
    pub keep: bool,

    /// Write the review as JSON here; deploy-stack compares with it
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// Write the review as a comment for a pull request here
    #[arg(long, value_name = "FILE")]
    pub comment_file: Option<PathBuf>,

    /// Keep the review as the one comment of this step on a pull request, by its number
    #[arg(long, value_name = "NUMBER")]
    pub pull_request: Option<u64>,

    /// Tells several reviews of one pull request apart, as by environment; each keeps its own comment
    #[arg(long, value_name = "NAME", default_value = "stacks")]
    pub comment_name: String,

    /// Show the values of properties in comments too
    #[arg(long)]
    pub comment_values: bool,

    /// Time between two looks at a change set that is being worked out
    #[arg(long, value_name = "DURATION", value_parser = kit::parse_duration, default_value = "3s")]
    pub interval: Duration,

    #[command(flatten)]
    pub aws: AwsArgs,

    #[command(flatten)]
    pub github: GithubArgs,
}

fn parse<T: std::str::FromStr<Err = String>>(text: &str) -> Result<T, String> {
    text.parse()
}

impl ReviewArgs {
    /// What is to be done to a stack instead of an update.
    pub(crate) fn removes(&self, label: &str) -> Option<Operation> {
        let named = |list: &[String]| list.iter().any(|name| name == label);
        if named(&self.delete) {
            Some(Operation::Delete)
        } else if named(&self.recreate) {
            Some(Operation::Recreate)
        } else {
            None
        }
    }

    /// Refuses what can't be meant.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.stack.is_empty() && self.from_file.is_empty() {
            return Err(Failure::usage("choose what to review")
                .because("neither --stack nor --from-file is given")
                .help("name a stack: --stack NAME=TEMPLATE[,PARAMETERS]"));
        }
        let labels: Vec<&str> = self.stack.iter().map(|stack| stack.label.as_str()).collect();
        for approval in self.allow.iter().filter(|_| self.from_file.is_empty()) {
            let label = approval.name.split('/').next().unwrap_or_default();
            if !labels.contains(&label) {
                return Err(no_label(&format!("approve {}", approval.name), label, &labels));
            }
        }
        for label in self.delete.iter().chain(&self.recreate) {
            if !labels.contains(&label.as_str()) {
                let flag = if self.delete.contains(label) { "--delete" } else { "--recreate" };
                return Err(no_label(&format!("use {flag} {label}"), label, &labels));
            }
            if self.delete.contains(label) && self.recreate.contains(label) {
                return Err(Failure::usage(format!("review stack {label}"))
                    .because("it is given with --delete and with --recreate")
                    .help("give one of them"));
            }
        }
        for approval in self.allow.iter().filter(|_| !labels.is_empty()) {
            let label = approval.name.split('/').next().unwrap_or_default();
            if !labels.contains(&label) {
                return Err(no_label(&format!("approve {}", approval.name), label, &labels));
            }
        }
        for stack in self.stack.iter().filter(|stack| self.removes(&stack.label) == Some(Operation::Recreate))
        {
            if stack.template.is_none() {
                return Err(Failure::usage(format!("review how stack {} is made again", stack.label))
                    .because("no template is given")
                    .help(format!("add =TEMPLATE[,PARAMETERS] to --stack {stack}")));
            }
        }
        Ok(())
    }
}
