//! The check that a stack is drained before it is deleted.

use std::process::Stdio;

use kit::{Cx, Failure};
use tokio::process::Command;

/// Runs the program; it must succeed.
///
/// # Errors
/// It can't be started or fails (exit 3): nothing of the stack was deleted.
pub(crate) async fn check(cx: &Cx, label: &str, program: &str) -> Result<(), Failure> {
    let refused = || Failure::refused(format!("delete stack {label}"));
    let words = words(program)?;
    let Some((name, arguments)) = words.split_first() else {
        return Err(Failure::usage("check that a stack is drained").because("--drain-check names no program"));
    };
    cx.report().say(&format!("{label}: {program}"));
    let mut command = Command::new(name);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = cx.or_cancelled(command.output()).await?.map_err(|error| {
        refused()
            .because(format!("the drain check {name} can't be run: {error}"))
            .help("name a program that is there")
    })?;
    for text in [&output.stdout, &output.stderr] {
        cx.report().foreign(&String::from_utf8_lossy(text));
    }
    if output.status.success() {
        return Ok(());
    }
    Err(refused()
        .because(format!("its drain check ended with {}", output.status))
        .help("wait until nothing is left in it that is still needed, and run the same command again"))
}

/// Words separated by blanks; quotes of either kind group, and nothing else means anything.
pub(crate) fn words(text: &str) -> Result<Vec<String>, Failure> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    for c in text.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            Some(_) | None => word.get_or_insert_default().push(c),
        }
    }
    if let Some(open) = quote {
        return Err(Failure::usage("read --drain-check")
            .because(format!("a quote {open} is not closed"))
            .help("write it as PROGRAM ARGUMENT ..., with quotes around what has blanks"));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_grouped_by_quotes_and_nothing_else() {
        assert_eq!(words("redis-cli -h  host 'keys *'").unwrap(), ["redis-cli", "-h", "host", "keys *"]);
        assert_eq!(words(r#"a "" b"c d"e $HOME ; x"#).unwrap(), ["a", "", "bc de", "$HOME", ";", "x"]);
        assert_eq!(words("  ").unwrap(), Vec::<String>::new());
        assert!(words("a 'b").is_err());
    }

    #[tokio::test]
    async fn only_success_lets_it_go_on() {
        let cx = kit::testing::cx();
        check(&cx, "redis", "true").await.unwrap();
        for (program, said) in [("false", "exit status: 1"), ("no-such-program-here", "can't be run")] {
            let refused = check(&cx, "redis", program).await.unwrap_err();
            assert_eq!(refused.code(), kit::Code::Refused, "{program}");
            assert!(refused.chain()[0].contains(said), "{refused:?}");
        }
    }
}
