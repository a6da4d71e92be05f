//! What nobody should be able to do harm with as a value.

use super::flags::Flag;

/// A value of a flag, and what stands in it that a message about it shows.
#[derive(Clone)]
pub(super) struct Text {
    pub(super) name: &'static str,
    pub(super) value: String,
    mark: &'static str,
}

impl Text {
    /// Whether a message shows the value.
    pub(super) fn is_in(&self, message: &str) -> bool {
        message.contains(self.mark)
    }
}

/// Workflow commands of both forms, a line that would set an output in either form of the file, and delimiters that GitHub's own
/// toolkit and its documentation use.
///
/// <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#multiline-strings>
const LINES: &str = "planted\n::set-output name=changed::true\n::error::planted\n  ::add-mask::e\n##[error]planted\nEOF\nghadelimiter_0\nchanged=true\nchanged<<EOF\nplanted\nEOF\r::warning::planted\r\n::stop-commands::planted";

/// Colours, a title, a cleared screen in both spellings, and text that is read backwards or not at all.
///
/// <https://www.unicode.org/reports/tr36/#Bidirectional_Text_Spoofing>
const TERMINAL: &str = "planted\u{1b}[31m\u{1b}]0;planted\u{7}\u{9b}2J\u{8}\u{7f}\u{202e}detnalp\u{2066}\u{200b}\u{e0041}\u{feff}";

const SHELL: &str = "planted$(touch pwned)`touch pwned`; touch pwned | touch pwned & touch pwned #'\" ' OR 1=1 --; DROP TABLE planted; ${{ github.token }} %0A::error::x {{.}} ../../pwned *?";

/// How a value comes to a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// As an argument, in a terminal.
    Argument,
    /// As an action's input, in a GitHub job.
    Input,
}

/// What a flag is given: texts that are bad for every kind of value, alone and where the help shows a form in it too. What is about
/// terminals and runners comes both ways, what is about types and lengths one.
pub(super) fn texts_for(flag: &Flag) -> Vec<(Way, Text)> {
    let hostile = format!("{LINES}{TERMINAL}");
    let Some(shape) = &flag.value else {
        let hostile = Text { name: "hostile", value: hostile, mark: "planted" };
        return vec![
            (Way::Argument, Text { name: "word", value: "yes".to_owned(), mark: "yes" }),
            (Way::Input, hostile),
        ];
    };
    // An argument of Linux has at most 131,072 bytes: https://man7.org/linux/man-pages/man2/execve.2.html
    let long = "A".repeat(100_000);
    let mut all = Vec::new();
    for (name, value, mark, ways) in [
        ("hostile", hostile.as_str(), "planted", &[Way::Argument, Way::Input][..]),
        ("shell", SHELL, "planted", &[Way::Argument]),
        ("long", long.as_str(), "AAAA", &[Way::Input]),
        ("number", "18446744073709551615", "18446744073709551615", &[Way::Argument]),
        ("duration", "18446744073709551615s", "18446744073709551615s", &[Way::Input]),
        ("folder", ".", ".", &[Way::Argument]),
    ] {
        let is_of = |parts: &[&str]| parts.iter().any(|part| shape.contains(part));
        let fits = match name {
            "folder" => is_of(&["FILE", "DIR", "PATH", "RECEIPT"]),
            "duration" => is_of(&["DURATION", "TIME"]),
            "number" => !is_of(&["DURATION", "TIME", "FILE", "DIR", "PATH"]),
            _ => true,
        };
        if !fits {
            continue;
        }
        let formed = if name == "hostile" || name == "shell" { flag.shaped(value) } else { None };
        for way in ways {
            let formed = formed.clone().map(|value| Text { name: "formed", value, mark });
            let alone = Text { name, value: value.to_owned(), mark };
            all.extend([alone].into_iter().chain(formed).map(|text| (*way, text)));
        }
    }
    all
}
