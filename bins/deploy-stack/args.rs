//! The arguments.

use std::path::PathBuf;
use std::time::Duration;

use aws::AwsArgs;
use changeset::approve::Approval;
use changeset::request::{ParamArg, ParamValue, StackArg};
use clap::ValueEnum;
use kit::Failure;

/// Create, update, delete or recreate CloudFormation stacks in the given order, as they were reviewed
#[derive(clap::Args, Clone, Debug)]
#[command(about, long_about = include_str!("help.md"))]
pub struct DeployArgs {
    /// What to do with the stacks
    #[arg(long, value_enum, value_name = "ACTION")]
    pub action: Act,

    /// A stack, in the order in which they are run; LABEL is what the review calls it
    #[arg(long, required = true, value_name = "[LABEL:]NAME[=TEMPLATE[,PARAMETERS]]", value_parser = parse::<StackArg>)]
    pub stack: Vec<StackArg>,

    /// A parameter's value; @STACK.OUTPUT takes a stack's output, @env:NAME a variable of the environment
    #[arg(long, value_name = "[LABEL.]KEY=VALUE", value_parser = parse::<ParamArg>)]
    pub param: Vec<ParamArg>,

    /// What CloudFormation may do beyond resources: `CAPABILITY_IAM`, `CAPABILITY_NAMED_IAM`, `CAPABILITY_AUTO_EXPAND`
    #[arg(long, value_name = "CAPABILITY")]
    pub capability: Vec<String>,

    /// Where templates of more than 51,200 bytes go, under their hash
    #[arg(long, value_name = "s3://BUCKET[/PREFIX]")]
    pub template_bucket: Option<String>,

    /// The review that was approved, as changeset-review wrote it with --report
    #[arg(long, value_name = "FILE", requires = "fingerprint")]
    pub review: Option<PathBuf>,

    /// The fingerprint that changeset-review gave as an output: a file alone proves nothing
    #[arg(long, value_name = "sha256:HEX", requires = "review")]
    pub fingerprint: Option<String>,

    /// Approve what is done to one resource beside what the review approved, each by name: `api/TileTable:replace-retain`
    #[arg(long, value_name = "STACK/LogicalId:ACTION[,ACTION]", value_delimiter = ' ', value_parser = parse::<Approval>)]
    pub allow: Vec<Approval>,

    /// Where what a stack was is saved before it is deleted: a folder, or a place in S3
    #[arg(long, value_name = "DIR|s3://BUCKET[/PREFIX]")]
    pub save_to: Option<String>,

    /// A program that must succeed right before a stack is deleted, with its arguments; there is no shell
    #[arg(long, value_name = "PROGRAM [ARGUMENT...]")]
    pub drain_check: Option<String>,

    /// A resource that a recovery leaves as it is: `LogicalId`, or `NestedStackName.LogicalId`
    #[arg(long, value_name = "[NestedStackName.]LogicalId")]
    pub skip: Vec<String>,

    /// Afterwards, write a stack policy that denies replacing and deleting what holds data
    #[arg(long)]
    pub protect: bool,

    /// Time between two looks at a change set or an operation
    #[arg(long, value_name = "DURATION", value_parser = kit::parse_duration, default_value = "3s")]
    pub interval: Duration,

    #[command(flatten)]
    pub aws: AwsArgs,
}

/// What to do with the stacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Act {
    /// Make stacks that do not exist
    Create,
    /// Change stacks that do
    Update,
    /// Delete them
    Delete,
    /// Delete them and make them again
    Recreate,
    /// End a running update; it is rolled back
    Cancel,
    /// Bring back a stack whose roll-back or update failed
    Recover,
}

impl Act {
    /// As it is written.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Recreate => "recreate",
            Self::Cancel => "cancel",
            Self::Recover => "recover",
        }
    }

    /// Whether it deletes.
    pub(crate) fn removes(self) -> bool {
        matches!(self, Self::Delete | Self::Recreate)
    }
}

fn parse<T: std::str::FromStr<Err = String>>(text: &str) -> Result<T, String> {
    text.parse()
}

impl DeployArgs {
    /// Refuses what can't be meant.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let word = self.action.word();
        if self.action.removes() && self.save_to.is_none() {
            return Err(Failure::usage(format!("{word} stacks"))
                .because("--save-to does not say where what they were is kept")
                .help("name a folder, or s3://BUCKET/PREFIX, which outlives the runner"));
        }
        if !self.skip.is_empty() && (self.action != Act::Recover || self.stack.len() != 1) {
            return Err(
                Failure::usage("skip resources").because("--skip belongs to the recovery of one stack")
            );
        }
        let needs_template = matches!(self.action, Act::Create | Act::Recreate);
        if let Some(stack) = self.stack.iter().find(|stack| needs_template && stack.template.is_none()) {
            return Err(Failure::usage(format!("{word} stack {}", stack.label))
                .because("no template is given")
                .help(format!("add =TEMPLATE[,PARAMETERS] to --stack {stack}")));
        }
        Ok(())
    }

    /// The command that reviews the stacks of this call, so that this same call can be given the review: those that have run are
    /// without changes then.
    pub(crate) fn review_command(&self) -> String {
        self.review_of(&self.stack)
    }

    /// The command that reviews a stack and those that come after it: of stacks that were made again a review would name the new
    /// ones as those that are to go.
    pub(crate) fn review_from(&self, label: &str) -> String {
        let at = self.stack.iter().position(|stack| stack.label == label).unwrap_or_default();
        self.review_of(self.stack.get(at..).unwrap_or_default())
    }

    fn review_of(&self, stacks: &[StackArg]) -> String {
        let mut command = "changeset-review".to_owned();
        let mut add = |flag: &str, value: &str| {
            command.push_str(&format!(" --{flag} {}", kit::shell_word(value)));
        };
        for stack in stacks {
            add("stack", &stack.to_string());
        }
        for stack in stacks.iter().filter(|_| self.action.removes()) {
            add(self.action.word(), &stack.label);
        }
        let is_meant = |label: &str| stacks.iter().any(|stack| stack.label == label);
        for param in self.param.iter().filter(|param| param.label.as_deref().is_none_or(is_meant)) {
            let mut param = param.clone();
            // A stack that is not of the call is known by its name.
            if let ParamValue::Output { stack, .. } = &mut param.value
                && !is_meant(stack)
                && let Some(arg) = self.stack.iter().find(|arg| arg.label == *stack)
            {
                stack.clone_from(&arg.stack);
            }
            add("param", &param.to_string());
        }
        self.capability.iter().for_each(|capability| add("capability", capability));
        self.template_bucket.iter().for_each(|bucket| add("template-bucket", bucket));
        add("report", "review.json");
        command
    }
}
