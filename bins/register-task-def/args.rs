//! The arguments, and what of them fits together.

use std::path::PathBuf;

use aws::AwsArgs;
use clap::{ArgAction, Args};
use ecs::{ServiceRef, parse_service};
use kit::Failure;

use crate::edit::Edits;

/// Register a task-definition revision: what runs, a file or another revision, edited and pinned by digest
#[derive(Args, Debug)]
#[command(about, long_about = include_str!("help.md"))]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct RegisterArgs {
    /// The service whose running revision is the base; with --file, the service to compare with
    #[arg(long, value_name = "CLUSTER/SERVICE", value_parser = parse_service)]
    pub(crate) from_service: Option<ServiceRef>,

    /// A JSON file as the base: a definition, or the answer of describe-task-definition; - is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// The family whose newest active revision is the base
    #[arg(long, value_name = "NAME")]
    pub(crate) family: Option<String>,

    /// One revision as the base, by ARN or as FAMILY:REVISION
    #[arg(long, value_name = "REVISION")]
    pub(crate) base: Option<String>,

    /// Register a file although it has fields that this version does not know
    #[arg(long)]
    pub(crate) allow_unknown_fields: bool,

    #[command(flatten)]
    pub(crate) edits: Edits,

    /// Register a new revision even when one is exactly this already
    #[arg(long)]
    pub(crate) always: bool,

    /// Check that roles, log groups, parameters and secrets exist; =false leaves it out
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_parser = parse_bool, value_name = "BOOL")]
    pub(crate) preflight: bool,

    /// Go on although this role, log group, parameter or secret is missing; named as in the definition; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) allow_missing: Vec<String>,

    /// With --dry-run: show the plan although the image is not in ECR yet, as before its build
    #[arg(long)]
    pub(crate) allow_absent_image: bool,

    #[command(flatten)]
    pub(crate) aws: AwsArgs,
}

impl RegisterArgs {
    /// Refuses combinations that mean nothing (exit 2), and edits that contradict each other.
    pub(crate) fn check(&self, dry_run: bool) -> Result<(), Failure> {
        let given = [
            ("--from-service", self.from_service.is_some()),
            ("--file", self.file.is_some()),
            ("--family", self.family.is_some()),
            ("--base", self.base.is_some()),
        ];
        let given: Vec<&str> = given.iter().filter(|(_, given)| *given).map(|(flag, _)| *flag).collect();
        match given.as_slice() {
            [_] | ["--from-service", "--file"] => {}
            [] => {
                return Err(Failure::usage("register a task definition from nothing")
                    .because("no base is given")
                    .help("give --from-service CLUSTER/SERVICE (what it runs), --file FILE, --family NAME (its newest revision) or --base FAMILY:REVISION"));
            }
            several => {
                return Err(Failure::usage(format!("start from {}", several.join(" and ")))
                    .because("a revision has one base (--from-service can stand beside --file, to compare)")
                    .help("leave all but one out"));
            }
        }
        if let Some(family) = &self.family
            && (family.contains(':') || family.is_empty())
        {
            return Err(Failure::usage(format!("start from the family {family}"))
                .because("a family's name has no colon")
                .help("name one revision with --base"));
        }
        if let Some(base) = &self.base
            && !ecs::short(base).contains(':')
        {
            return Err(Failure::usage(format!("start from the revision {base}"))
                .because("it names no revision")
                .help("write it as FAMILY:REVISION, or use --family for the newest one"));
        }
        let may_be_as_it_is = self.file.is_some() || self.base.is_some() || self.always;
        if self.edits.is_empty() && !may_be_as_it_is {
            return Err(Failure::usage("register the same revision again")
                .because("no edit is given, so nothing would be another")
                .help("give --image, --env, --secret, --command, --cpu, --memory or --label (or --always, for one more revision of the same)"));
        }
        if self.allow_absent_image && !dry_run {
            return Err(Failure::usage("use --allow-absent-image")
                .because("it is for plans: a revision with an image that does not exist can't start")
                .help("add --dry-run, or build the image first"));
        }
        self.edits.check()
    }
}

/// `true` and `false` in the spellings that every other switch takes.
fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "true" | "True" | "TRUE" => Ok(true),
        "false" | "False" | "FALSE" => Ok(false),
        _ => Err("write true or false".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory as _, Parser};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: RegisterArgs,
    }

    fn check(line: &[&str]) -> Result<(), String> {
        let line = Line::try_parse_from([&["x"], line].concat()).map_err(|error| error.to_string())?;
        line.args.check(false).map_err(|failure| format!("{failure}: {}", failure.chain().join("; ")))
    }

    #[test]
    fn one_base_and_something_to_do() {
        Line::command().debug_assert();
        for fine in [
            &["--from-service", "c/s", "--env", "app:A=1"][..],
            &["--file", "web.json"],
            &["--file", "web.json", "--from-service", "c/s"],
            &["--base", "web:3"],
            &["--base", "arn:aws:ecs:us-east-1:123456789012:task-definition/web:3", "--preflight=false"],
            &["--family", "web", "--always"],
        ] {
            assert_eq!(check(fine), Ok(()), "{fine:?}");
        }
        let cases: [(&[&str], &str); 6] = [
            (&[], "no base is given"),
            (&["--file", "a", "--family", "web"], "a revision has one base"),
            (&["--from-service", "c/s"], "no edit is given"),
            (&["--family", "web:3", "--always"], "has no colon"),
            (&["--base", "web"], "it names no revision"),
            (&["--file", "a", "--allow-absent-image"], "it is for plans"),
        ];
        for (line, why) in cases {
            let said = check(line).unwrap_err();
            assert!(said.contains(why), "{line:?}: {said}");
        }
    }
}
