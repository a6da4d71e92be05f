//! Arguments: one set of flags that can also come from a GitHub action's inputs.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, Args, Command, ValueEnum};

use crate::{Env, Failure};

/// The flags that every step has.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Common options")]
pub struct Common {
    /// Show the plan and stop before the first change
    #[arg(long)]
    pub dry_run: bool,

    /// How the result is written to standard output
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    pub format: Format,

    /// Where the receipt is written [default: cutover-receipts/STEP-TIME-ID.json]
    ///
    /// An earlier receipt of the same step at this place is continued: its actions stay in it.
    #[arg(long, value_name = "FILE")]
    pub receipt: Option<PathBuf>,

    /// Take back what the run with this receipt did
    ///
    /// The arguments of that run are taken from the receipt; those given here beat them.
    #[arg(long, value_name = "RECEIPT")]
    pub undo: Option<PathBuf>,

    /// How long to go on before giving up, as in 90s, 30m or 1h30m
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
}

/// How the result is written to standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Lines for a person.
    Text,
    /// One JSON document.
    Json,
}

/// A hundred years of 365.25 days, the longest duration that is taken: a moment so far from now can still be told, by every clock here.
const LONGEST: Duration = Duration::from_hours(876_600);

/// A duration such as `90s`, `30m`, `1h30m`, of at most a hundred years.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time > LONGEST => {
            Err("more than a hundred years; write it as in 90s, 30m or 1h30m".into())
        }
        Ok(time) => Ok(time),
        Err(error) => Err(format!("{error}; write it as in 90s, 30m or 1h30m")),
    }
}

/// The command of a step: its own arguments and the common ones, with booleans that take `true` and `false`.
pub fn command<A: Args>() -> Command {
    // The step goes last: each sets the description of the command. Its flags are not among the common ones.
    let common = Common::augment_args(Command::new("step")).next_help_heading(None);
    let command = A::augment_args(common);
    command.args_override_self(true).mut_args(|arg| {
        if matches!(arg.get_action(), ArgAction::SetTrue) {
            arg.action(ArgAction::Set)
                .num_args(0..=1)
                .require_equals(true)
                .default_value("false")
                .default_missing_value("true")
                .value_name("BOOL")
                .hide_default_value(true)
                .hide_possible_values(true)
                .value_parser(ValueParser::new(parse_bool))
        } else {
            arg
        }
    })
}

/// `true` and `false` in the spellings of YAML 1.2's core schema (<https://yaml.org/spec/1.2.2/#1032-tag-resolution>).
fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "true" | "True" | "TRUE" => Ok(true),
        "false" | "False" | "FALSE" => Ok(false),
        _ => Err("write true or false".to_owned()),
    }
}

/// The name under which a GitHub runner passes an input to a container: upper-cased, spaces to `_`, hyphens kept.
pub(crate) fn input_name(flag: &str) -> String {
    format!("INPUT_{}", flag.to_uppercase().replace(' ', "_"))
}

/// Whether `argv` mentions `--flag`.
fn mentions(argv: &[String], flag: &str) -> bool {
    argv.iter().take_while(|arg| *arg != "--").any(|arg| {
        arg.strip_prefix("--").is_some_and(|rest| {
            rest == flag || rest.strip_prefix(flag).is_some_and(|tail| tail.starts_with('='))
        })
    })
}

/// `argv` with the inputs of a GitHub action put in as flags where the flag itself is not given.
///
/// A list comes newline-separated in an input, blank lines left out. Values are passed as `--flag=value`, so that one
/// that begins with a hyphen is still a value.
pub(crate) fn with_inputs(command: &Command, argv: &[String], env: &Env) -> Vec<String> {
    let mut out = argv.to_vec();
    for arg in command.get_arguments() {
        let Some(long) = arg.get_long() else { continue };
        if mentions(argv, long) {
            continue;
        }
        if let Some(value) = env.get(&input_name(long)) {
            out.extend(as_flags(arg, long, value));
        }
    }
    out
}

fn as_flags(arg: &Arg, long: &str, value: &str) -> Vec<String> {
    match arg.get_action() {
        ArgAction::Append => value
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(|line| format!("--{long}={line}"))
            .collect(),
        ArgAction::Set => vec![format!("--{long}={value}")],
        _ => Vec::new(),
    }
}

/// The arguments as a receipt keeps them: a flag's values as they were given, wherever they came from.
pub(crate) fn recorded(command: &Command, argv: &[String]) -> serde_json::Map<String, serde_json::Value> {
    let mut map = serde_json::Map::new();
    for arg in command.get_arguments() {
        let Some(long) = arg.get_long() else { continue };
        if PER_RUN.contains(&long) {
            continue;
        }
        let mut values = Vec::new();
        let mut rest = argv.iter();
        while let Some(word) = rest.next() {
            let Some(word) = word.strip_prefix("--") else { continue };
            if let Some(value) = word.strip_prefix(long).and_then(|tail| tail.strip_prefix('=')) {
                values.push(value.to_owned());
            } else if word == long {
                let is_switch = arg.get_num_args().is_some_and(|n| n.min_values() == 0);
                values.push(if is_switch { "true".into() } else { rest.next().cloned().unwrap_or_default() });
            }
        }
        let value = match (arg.get_action(), values.pop()) {
            (_, None) => continue,
            (ArgAction::Append, Some(last)) => values.into_iter().chain([last]).collect(),
            (_, Some(last)) => serde_json::Value::String(last),
        };
        map.insert(long.to_owned(), value);
    }
    map
}

/// Flags that belong to one run, not to what the step is about.
const PER_RUN: [&str; 5] = ["dry-run", "format", "receipt", "undo", "timeout"];

/// `argv` with what a receipt recorded put in where it is not given, for `--undo`.
pub(crate) fn with_recorded(
    command: &Command,
    argv: &[String],
    recorded: &serde_json::Map<String, serde_json::Value>,
) -> Result<Vec<String>, Failure> {
    let mut out = argv.to_vec();
    for (long, value) in recorded {
        if mentions(argv, long) || PER_RUN.contains(&long.as_str()) {
            continue;
        }
        if !command.get_arguments().any(|arg| arg.get_long() == Some(long)) {
            return Err(Failure::usage(format!(
                "the receipt has the argument --{long}, which this version does not know"
            ))
            .help("undo with the version that wrote the receipt"));
        }
        match value {
            serde_json::Value::Array(items) => {
                out.extend(
                    items.iter().filter_map(|item| item.as_str()).map(|item| format!("--{long}={item}")),
                );
            }
            serde_json::Value::String(text) => out.push(format!("--{long}={text}")),
            _ => {}
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::FromArgMatches as _;

    #[derive(Args, Debug)]
    struct Example {
        #[arg(long)]
        image: Vec<String>,
        #[arg(long)]
        family: Option<String>,
        #[arg(long)]
        wait: bool,
    }

    fn parse(argv: &[&str], inputs: &[(&str, &str)]) -> Result<(Example, Common), clap::Error> {
        let env: Env = inputs.iter().copied().collect();
        let argv: Vec<String> = std::iter::once("x").chain(argv.iter().copied()).map(str::to_owned).collect();
        let matches =
            command::<Example>().try_get_matches_from(with_inputs(&command::<Example>(), &argv, &env))?;
        Ok((Example::from_arg_matches(&matches)?, Common::from_arg_matches(&matches)?))
    }

    #[test]
    fn an_input_is_a_flag_and_the_flag_beats_it() {
        let (args, common) = parse(
            &["--family", "web"],
            &[
                ("INPUT_FAMILY", "api"),
                ("INPUT_IMAGE", "a=1\n\n  b=-2\n"),
                ("INPUT_DRY-RUN", "True"),
                ("INPUT_WAIT", ""),
            ],
        )
        .unwrap();
        assert_eq!(args.family.as_deref(), Some("web"));
        assert_eq!(args.image, ["a=1", "b=-2"]);
        assert!(common.dry_run);
        assert!(!args.wait);
    }

    #[test]
    fn a_duration_that_no_clock_can_tell_the_end_of_is_refused() {
        // The largest number of seconds that the syntax can say: adding it to a moment would overflow.
        for text in ["18446744073709551615s", "101y", "90"] {
            assert!(parse(&["--timeout", text], &[]).is_err(), "{text}");
        }
        // A year is 365.25 days: https://docs.rs/humantime/latest/humantime/fn.parse_duration.html
        assert_eq!(parse_duration("100y"), Ok(LONGEST));
    }

    #[test]
    fn booleans_take_yaml_spellings_and_no_others() {
        assert!(parse(&["--wait"], &[]).unwrap().0.wait);
        assert!(!parse(&["--wait=FALSE"], &[]).unwrap().0.wait);
        assert!(
            parse(&[], &[("INPUT_WAIT", "yes")]).unwrap_err().to_string().contains("write true or false")
        );
    }

    #[test]
    fn what_was_given_is_recorded_and_can_be_given_again() {
        let command = command::<Example>();
        let argv: Vec<String> =
            ["x", "--image", "a=1", "--image=b=2", "--wait", "--receipt", "r.json"].map(str::to_owned).into();
        let map = recorded(&command, &argv);
        assert_eq!(serde_json::json!(map), serde_json::json!({"image": ["a=1", "b=2"], "wait": "true"}));
        let again = with_recorded(&command, &["x".into(), "--image=c=3".into()], &map).unwrap();
        assert_eq!(again, ["x", "--image=c=3", "--wait=true"]);
    }
}
