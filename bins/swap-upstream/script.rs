//! The scripts that run where a proxy's file is, in the POSIX shell, here and over SSH alike.
//!
//! A script goes over standard input, so neither a login shell nor `sudo` reads any of it, and nothing of it is seen in a process
//! list. It is a function that is called in its last line: of one that was cut off, nothing runs.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const PRELUDE: &str = include_str!("scripts/prelude.sh");

/// A script with its variables.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    body: &'static str,
    head: String,
}

/// What each looks at or does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Nginx,
    Workers,
    Lock,
    Finish,
    Unlock,
    Write,
    Reload,
}

impl Script {
    pub(crate) fn new(kind: Kind) -> Self {
        let body = match kind {
            Kind::Read => include_str!("scripts/read.sh"),
            Kind::Nginx => include_str!("scripts/nginx.sh"),
            Kind::Workers => include_str!("scripts/workers.sh"),
            Kind::Lock => include_str!("scripts/lock.sh"),
            Kind::Finish => include_str!("scripts/finish.sh"),
            Kind::Unlock => include_str!("scripts/unlock.sh"),
            Kind::Write => include_str!("scripts/write.sh"),
            Kind::Reload => include_str!("scripts/reload.sh"),
        };
        Self { body, head: String::new() }
    }

    /// A variable of the script.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.head.push_str(&format!("{name}={}\n", quoted(value)));
        self
    }

    /// A function of the script that prints these bytes.
    #[must_use]
    pub(crate) fn with_bytes(mut self, name: &str, bytes: &[u8]) -> Self {
        let encoded = STANDARD.encode(bytes);
        let lines: Vec<&str> = (0..encoded.len())
            .step_by(76)
            .filter_map(|at| encoded.get(at..encoded.len().min(at + 76)))
            .collect();
        self.head
            .push_str(&format!("{name}() {{ base64 -d <<'CUTOVER'\n{}\nCUTOVER\n}}\n", lines.join("\n")));
        self
    }

    /// The whole of it; what it answers stands between two lines that `mark` is in, since a login may print what it likes.
    pub(crate) fn text(&self, mark: &str) -> String {
        let (head, body) = (&self.head, self.body);
        format!(
            "run_all() {{\n{PRELUDE}\n{head}\n{body}\nprintf '%s\\n' 'begin {mark}'\n( main )\nprintf '%s\\n' 'end {mark}'\n}}\nrun_all\n"
        )
    }
}

/// One word of a POSIX shell, whatever is in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// What a script answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer(BTreeMap<String, Vec<String>>);

impl Answer {
    /// Reads what stands between the two lines; none when it was cut off.
    pub(crate) fn read(text: &str, mark: &str) -> Option<Self> {
        let (_, rest) = text.split_once(&format!("begin {mark}\n"))?;
        let (lines, _) = rest.split_once(&format!("end {mark}\n"))?;
        let mut answer = Self::default();
        for line in lines.lines() {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            answer.0.entry(key.to_owned()).or_default().push(value.to_owned());
        }
        Some(answer)
    }

    pub(crate) fn all(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.all(key).first().map(String::as_str)
    }

    /// How it ended: `done`, or the word for why not.
    pub(crate) fn outcome(&self) -> &str {
        self.get("outcome").unwrap_or("nothing")
    }

    pub(crate) fn number(&self, key: &str) -> Option<i64> {
        self.get(key)?.trim().parse().ok()
    }

    pub(crate) fn bytes(&self, key: &str) -> Option<Vec<u8>> {
        STANDARD.decode(self.get(key)?).ok()
    }

    /// A text that somebody else wrote, its lines kept.
    pub(crate) fn text(&self, key: &str) -> String {
        self.bytes(key).map_or_else(String::new, |bytes| lossy(&bytes))
    }

    pub(crate) fn texts(&self, key: &str) -> Vec<String> {
        let read = |value: &String| STANDARD.decode(value).ok().map(|bytes| lossy(&bytes));
        self.all(key).iter().filter_map(read).collect()
    }

    /// Why it did not end well, in one line.
    pub(crate) fn why(&self) -> String {
        kit::one_line(self.text("why").trim())
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    fn sh(text: &str) -> String {
        let mut child = Command::new("sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    }

    #[test]
    fn values_reach_the_script_as_they_are() {
        let odd = "a'b\"c $(id) `id` \\ ;\n#{}*?~";
        let script = Script {
            body: "main() { printf '%s' \"$VALUE\" | blob value; data | blob data; }",
            head: String::new(),
        };
        let bytes: Vec<u8> = (0..=255).collect();
        let text = script.with("VALUE", odd).with_bytes("data", &bytes).text("m");
        let answer = Answer::read(&format!("Welcome!\n{}", sh(&text)), "m").unwrap();
        assert_eq!(answer.text("value"), odd);
        assert_eq!(answer.bytes("data").unwrap(), bytes);
    }

    #[test]
    fn of_a_script_that_is_cut_off_nothing_runs() {
        let script = Script { body: "main() { say did something; }", head: String::new() };
        let text = script.text("m");
        assert!(sh(&text).contains("did something"));
        // Without its last line nothing is called, wherever it is cut.
        let end = text.trim_end().len() - "run_all".len();
        for at in (0..end).filter(|at| text.is_char_boundary(*at)).step_by(7).chain([end]) {
            assert_eq!(sh(&text[..at]), "", "cut at {at}");
        }
        assert_eq!(Answer::read("begin m\noutcome done\n", "m"), None);
    }
}
