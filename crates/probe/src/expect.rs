//! What an answer should be, and the judgement whether it is. Pure.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::json::{self, CountIs, JsonIs};

/// How much of a body is read where nothing else is said, in bytes.
pub(crate) const BODY_LIMIT: usize = 1024 * 1024;

/// How much foreign text is shown, in characters.
const SHOWN: usize = 120;

/// One answer of the endpoint.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The status as it is shown: "503 Service Unavailable".
    pub status_line: String,
    /// Header names in lower case, with their values, in order.
    pub headers: Vec<(String, String)>,
    /// At most as much as the probe reads.
    pub body: Vec<u8>,
    /// Whether the body went on.
    pub cut: bool,
    /// Where the answer came from, after redirects.
    pub url: String,
    /// Where a redirect that was not followed leads, and why it was not.
    pub redirect: Option<Redirect>,
    /// When the server's certificate ends; none without TLS.
    pub certificate_ends: Option<OffsetDateTime>,
}

/// A redirect that was not followed.
#[derive(Clone, Debug)]
pub struct Redirect {
    /// Its target, as the server wrote it.
    pub to: String,
    /// Why it was not followed; empty when that was not asked for.
    pub held: String,
}

impl Answer {
    /// The first line of the body that says anything, cut.
    pub fn excerpt(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.body);
        text.lines().map(str::trim).find(|line| !line.is_empty()).map(cut)
    }

    fn contains(&self, text: &str) -> bool {
        memmem(&self.body, text.as_bytes())
    }
}

fn memmem(haystack: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || haystack.windows(needle.len()).any(|window| window == needle)
}

/// `text` as one line of at most 120 characters, control characters shown as such.
pub(crate) fn cut(text: &str) -> String {
    let mut chars = text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c });
    let mut out: String = chars.by_ref().take(SHOWN).collect();
    if chars.next().is_some() {
        out.push('…');
    }
    out
}

/// Everything that an answer should be.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Expectations {
    pub status: StatusSet,
    pub header: Vec<HeaderIs>,
    pub body: Vec<String>,
    pub reject_body: Vec<String>,
    pub json: Vec<JsonIs>,
    pub count: Vec<CountIs>,
}

/// Status codes: `200`, `200-299`, `200,204,300-303`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusSet(Vec<(u16, u16)>);

impl Default for StatusSet {
    fn default() -> Self {
        Self(vec![(200, 299)])
    }
}

impl StatusSet {
    fn has(&self, status: u16) -> bool {
        self.0.iter().any(|(low, high)| (*low..=*high).contains(&status))
    }
}

impl FromStr for StatusSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let code = |text: &str| match text.trim().parse::<u16>() {
            // RFC 9110, section 15: three digits, the first of them 1 to 5.
            Ok(code @ 100..=599) => Ok(code),
            _ => Err(format!("{text:?} is no status code; write 200, 200-299 or 200,204,301-303")),
        };
        let range = |part: &str| {
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            let (low, high) = (code(low)?, code(high)?);
            if low > high { Err(format!("the range {part} is empty")) } else { Ok((low, high)) }
        };
        text.split(',').map(range).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (low, high)) in self.0.iter().enumerate() {
            f.write_str(if n == 0 { "" } else { "," })?;
            if low == high { write!(f, "{low}")? } else { write!(f, "{low}-{high}")? }
        }
        Ok(())
    }
}

impl Serialize for StatusSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A header that one of the answer's headers must equal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeaderIs {
    name: String,
    value: String,
}

impl FromStr for HeaderIs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no header; write 'name: value'");
        let (name, value) = text.split_once(':').ok_or_else(wrong)?;
        let (name, value) = (name.trim(), value.trim());
        if value.is_empty() || !is_header_name(name) {
            return Err(wrong());
        }
        Ok(Self { name: name.to_ascii_lowercase(), value: value.to_owned() })
    }
}

/// A token as RFC 9110, section 5.6.2, has it.
pub fn is_header_name(name: &str) -> bool {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !name.is_empty() && name.chars().all(is_token)
}

impl HeaderIs {
    fn unmet(&self, answer: &Answer) -> Option<String> {
        let (name, want) = (&self.name, &self.value);
        let seen: Vec<&String> =
            answer.headers.iter().filter(|(header, _)| header == name).map(|(_, value)| value).collect();
        if seen.contains(&want) {
            return None;
        }
        Some(if seen.is_empty() {
            format!("header {name} is absent, want {want:?}")
        } else {
            let seen: Vec<String> = seen.into_iter().map(|value| format!("{:?}", cut(value))).collect();
            format!("header {name} is {}, want {want:?}", seen.join(" and "))
        })
    }
}

/// What an answer that is as expected showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Healthy {
    /// "HTTP 200 OK, /version is \"2.1.0\"".
    pub seen: String,
    /// JSON pointer to value, of each `--expect-json`.
    pub values: Map<String, Value>,
    /// JSON pointer to the number of members, of each `--expect-count`.
    pub counts: Map<String, Value>,
}

impl Expectations {
    /// Whether the answer is as expected; if not, what was seen and what is wanted, in one line.
    pub fn judge(&self, answer: &Answer) -> Result<Healthy, String> {
        let mut unmet: Vec<String> = Vec::new();
        let rejected = self.reject_body.iter().filter(|text| answer.contains(text));
        unmet.extend(rejected.map(|text| format!("body contains {:?}, which is rejected", cut(text))));
        if !self.status.has(answer.status) {
            let redirect = answer.redirect.as_ref().map_or_else(String::new, |redirect| {
                let held =
                    if redirect.held.is_empty() { String::new() } else { format!(" ({})", redirect.held) };
                format!(", a redirect to {}{held}", cut(&redirect.to))
            });
            unmet.insert(0, format!("HTTP {}{redirect}, want {}", answer.status_line, self.status));
            return Err(unmet.join("; "));
        }
        unmet.extend(self.header.iter().filter_map(|header| header.unmet(answer)));
        let bound = if answer.cut { " in its first 1 MiB" } else { "" };
        let missing = self.body.iter().filter(|text| !answer.contains(text));
        unmet.extend(missing.map(|text| format!("body does not contain {:?}{bound}", cut(text))));
        let (mut values, mut counts) = (Map::new(), Map::new());
        if !self.json.is_empty() || !self.count.is_empty() {
            match parse(answer) {
                Err(why) => {
                    let value =
                        self.json.first().map(|json| format!("{} to be {}", json.place(), json.wanted()));
                    let wanted = value.or_else(|| self.count.first().map(CountIs::wanted));
                    unmet.push(format!("body is not JSON ({why}), want {}", wanted.unwrap_or_default()));
                }
                Ok(body) => {
                    unmet.extend(self.json.iter().filter_map(|json| json.unmet(&body)));
                    unmet.extend(self.count.iter().filter_map(|count| count.unmet(&body)));
                    counts = self
                        .count
                        .iter()
                        .filter_map(|count| Some((count.pointer.clone(), count.of(&body)?.into())))
                        .collect();
                    values = self
                        .json
                        .iter()
                        .filter_map(|json| Some((json.pointer.clone(), body.pointer(&json.pointer)?.clone())))
                        .collect();
                }
            }
        }
        if !unmet.is_empty() {
            return Err(unmet.join("; "));
        }
        let mut seen = format!("HTTP {}", answer.status_line);
        for json in &self.json {
            if let Some(value) = values.get(&json.pointer) {
                seen.push_str(&format!(", {} is {}", json.place(), cut(&value.to_string())));
            }
        }
        for (pointer, count) in &counts {
            seen.push_str(&format!(", {} has {count}", json::place(pointer)));
        }
        Ok(Healthy { seen, values, counts })
    }

    /// The expectations as lines: "status 200-299", "/version is \"2.1.0\"".
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("status {}", self.status)];
        lines
            .extend(self.header.iter().map(|header| format!("header {} is {:?}", header.name, header.value)));
        lines.extend(self.body.iter().map(|text| format!("body contains {text:?}")));
        lines.extend(self.reject_body.iter().map(|text| format!("body does not contain {text:?}")));
        lines.extend(self.json.iter().map(|json| format!("{} is {}", json.place(), json.wanted())));
        lines.extend(self.count.iter().map(CountIs::wanted));
        lines
    }
}

fn parse(answer: &Answer) -> Result<Value, String> {
    if answer.cut {
        return Err("it is longer than 1 MiB".to_owned());
    }
    if answer.body.is_empty() {
        return Err("it is empty".to_owned());
    }
    serde_json::from_slice(&answer.body).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, line: &str, body: &str) -> Answer {
        Answer {
            status,
            status_line: line.into(),
            headers: vec![
                ("content-type".into(), "application/json".into()),
                ("x-version".into(), "2.0.1.11".into()),
                ("x-version".into(), "2.0.2".into()),
            ],
            body: body.into(),
            cut: false,
            url: "http://rally.test/".into(),
            redirect: None,
            certificate_ends: None,
        }
    }

    fn ok(body: &str) -> Answer {
        answer(200, "200 OK", body)
    }

    fn json(text: &str) -> Expectations {
        Expectations { json: vec![text.parse().unwrap()], ..Expectations::default() }
    }

    #[test]
    fn status_sets() {
        for (text, yes, no) in [
            ("200", vec![200], vec![199, 201, 404]),
            ("200-299", vec![200, 204, 299], vec![199, 300, 503]),
            ("200, 204,301-303", vec![200, 204, 301, 303], vec![201, 300, 304]),
        ] {
            let set: StatusSet = text.parse().unwrap();
            assert!(yes.iter().all(|code| set.has(*code)), "{text}");
            assert!(!no.iter().any(|code| set.has(*code)), "{text}");
        }
        for bad in ["", "2xx", "99", "600", "299-200", "200-", "-200", "200,,204", "+200-300x"] {
            assert!(bad.parse::<StatusSet>().is_err(), "{bad}");
        }
        assert_eq!("200,204-206".parse::<StatusSet>().unwrap().to_string(), "200,204-206");
    }

    #[test]
    fn json_pointers_are_those_of_rfc_6901() {
        // The document and the values of RFC 6901, section 5.
        let document = r#"{"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "k\"l": 6, " ": 7, "m~n": 8}"#;
        for met in [
            r#"/foo=["bar","baz"]"#,
            "/foo/0=bar",
            "/=0",
            "/a~1b=1",
            "/c%d=2",
            "/e^f=3",
            "/g|h=4",
            "/k\"l=6",
            "/ =7",
            "/m~0n=8",
        ] {
            assert!(json(met).judge(&ok(document)).is_ok(), "{met}");
        }
        for (bad, why) in [
            ("version=2", "write /version"),
            ("/a~b=1", "~0 for ~"),
            ("/a~=1", "~0 for ~"),
            ("/version", "POINTER=VALUE"),
        ] {
            let error = bad.parse::<JsonIs>().unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    #[test]
    fn json_values() {
        for (want, body, met) in [
            ("/version=2.1.0", r#"{"version":"2.1.0"}"#, true),
            ("/version=2.1", r#"{"version":"2.1"}"#, true),
            ("/version=2.1", r#"{"version":2.1}"#, true),
            ("/version=2.10", r#"{"version":"2.1"}"#, false),
            ("/version=\"2.1\"", r#"{"version":"2.1"}"#, true),
            ("/version=\"2.1\"", r#"{"version":2.1}"#, false),
            ("/n=1", r#"{"n":1.0}"#, true),
            ("/n=9007199254740993", r#"{"n":9007199254740992}"#, false),
            ("/ok=true", r#"{"ok":true}"#, true),
            ("/ok=true", r#"{"ok":false}"#, false),
            ("/error=null", r#"{"error":null}"#, true),
            ("/error=null", "{}", false),
            ("/o={\"a\":1,\"b\":2}", r#"{"o":{"b":2,"a":1}}"#, true),
            ("/a=", r#"{"a":""}"#, true),
            ("/a=b=c", r#"{"a":"b=c"}"#, true),
            ("=ok", "\"ok\"", true),
        ] {
            assert_eq!(json(want).judge(&ok(body)).is_ok(), met, "{want} of {body}");
        }
    }

    #[test]
    fn each_reason_names_what_was_seen_and_what_is_wanted() {
        let header = |text: &str| Expectations { header: vec![text.parse().unwrap()], ..Default::default() };
        let body = |text: &str| Expectations { body: vec![text.into()], ..Default::default() };
        let reject = |text: &str| Expectations { reject_body: vec![text.into()], ..Default::default() };
        let version = json("/version=2.1.0");
        let cases: [(&Expectations, Answer, &str); 12] = [
            (
                &version,
                answer(503, "503 Service Unavailable", "x"),
                "HTTP 503 Service Unavailable, want 200-299",
            ),
            (&version, ok(r#"{"version":"2.0.1.11"}"#), r#"/version is "2.0.1.11", want "2.1.0""#),
            (&version, ok("{}"), r#"/version is absent, want "2.1.0""#),
            (&version, ok(""), r#"body is not JSON (it is empty), want /version to be "2.1.0""#),
            (
                &version,
                ok("<html>"),
                r#"body is not JSON (expected value at line 1 column 1), want /version to be "2.1.0""#,
            ),
            (&json("/n=2"), ok(r#"{"n":"a\u001b[31m"}"#), r#"/n is "a\u001b[31m", want 2"#),
            (
                &header("X-Version: 2.1.0"),
                ok(""),
                r#"header x-version is "2.0.1.11" and "2.0.2", want "2.1.0""#,
            ),
            (&header("x-other: 1"), ok(""), r#"header x-other is absent, want "1""#),
            (&body("pong"), ok("ping"), r#"body does not contain "pong""#),
            (
                &body("pong"),
                Answer { cut: true, ..ok("ping") },
                r#"body does not contain "pong" in its first 1 MiB"#,
            ),
            (
                &reject("Down for Maintenance"),
                answer(503, "503 Service Unavailable", "<h1>Down for Maintenance</h1>"),
                r#"HTTP 503 Service Unavailable, want 200-299; body contains "Down for Maintenance", which is rejected"#,
            ),
            (
                &version,
                Answer {
                    redirect: Some(Redirect { to: "https://rally.test/login".into(), held: String::new() }),
                    ..answer(302, "302 Found", "")
                },
                "HTTP 302 Found, a redirect to https://rally.test/login, want 200-299",
            ),
        ];
        for (expect, answer, reason) in cases {
            assert_eq!(expect.judge(&answer).unwrap_err(), reason);
        }
        assert!(header("x-VERSION:2.0.2").judge(&ok("")).is_ok());
    }

    #[test]
    fn an_expected_redirect_is_as_expected() {
        let expect = Expectations { status: "301,302".parse().unwrap(), ..Default::default() };
        assert_eq!(expect.judge(&answer(302, "302 Found", "")).unwrap().seen, "HTTP 302 Found");
    }

    #[test]
    fn what_is_shown_of_a_body_is_one_short_line() {
        let long = format!("\r\n  \n<h1>{}\nmore", "é".repeat(500));
        let excerpt = ok(&long).excerpt().unwrap();
        assert!(excerpt.starts_with("<h1>é") && excerpt.ends_with("é…"), "{excerpt}");
        assert_eq!(excerpt.chars().count(), 121);
        assert_eq!(ok("\u{1b}[2J::error::x").excerpt().unwrap(), "\u{fffd}[2J::error::x");
        assert_eq!(ok(" \n").excerpt(), None);
        let mut binary = ok("");
        binary.body = vec![0xff, 0xfe, b'a'];
        assert_eq!(binary.excerpt().unwrap(), "\u{fffd}\u{fffd}a");
        let reason = json("/a=1").judge(&ok(&format!("{{\"a\":\"{}\"}}", "x".repeat(10_000)))).unwrap_err();
        assert!(reason.len() < 200, "{reason}");
    }

    #[test]
    fn headers_that_are_none_are_told_apart() {
        for bad in ["x-version", "x version: 1", ": 1", "x-version:", "x-version: "] {
            assert!(bad.parse::<HeaderIs>().is_err(), "{bad}");
        }
    }
}
