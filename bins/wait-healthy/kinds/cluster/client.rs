//! Requests to Elasticsearch or OpenSearch, and what their refusals mean.
//!
//! Source: <https://www.elastic.co/guide/en/elasticsearch/reference/8.17/rest-apis.html>

use std::path::Path;
use std::time::Duration;

use kit::{Env, Failure, Secret};
use probe::{Answer, Asked, NoAnswer, Write};
use serde_json::Value;
use url::Url;

use crate::kinds::WHOLE;

/// How much of a foreign text is shown, in characters.
const SHOWN: usize = 240;

/// A client of one cluster.
#[derive(Debug)]
pub(crate) struct Client {
    probe: probe::Probe,
    base: Url,
}

/// Why there is no answer to work with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// None where nothing came back: what was sent may have taken effect all the same.
    pub(crate) status: Option<u16>,
    /// One line.
    pub(crate) reason: String,
    pub(crate) help: Option<String>,
}

impl Client {
    /// Asks nothing yet. Certificates that can't be read are an error.
    pub(crate) fn new(
        base: &Url,
        headers: &[(String, Secret)],
        limit: Duration,
        ca_file: Option<&Path>,
        env: &Env,
    ) -> Result<Self, Failure> {
        let asked = Asked {
            url: base,
            connect_to: None,
            headers,
            follow_redirects: false,
            timeout: limit,
            user_agent: concat!("cutover-wait-healthy/", env!("CARGO_PKG_VERSION")),
        };
        let probe = probe::Probe::new(asked, ca_file, env)?.body_limit(WHOLE);
        Ok(Self { probe, base: base.clone() })
    }

    pub(crate) fn base(&self) -> &Url {
        &self.base
    }

    /// The JSON at a path, which begins with a slash.
    pub(crate) async fn get(&self, path: &str, limit: Duration) -> Result<Value, Trouble> {
        self.read(self.probe.look_at(&self.place(path)?, limit).await)
    }

    /// Puts a JSON document.
    pub(crate) async fn put(&self, path: &str, body: &Value, limit: Duration) -> Result<Value, Trouble> {
        let text = body.to_string();
        self.read(self.probe.write(&self.place(path)?, Write::Put(&text), limit).await)
    }

    pub(crate) async fn delete(&self, path: &str, limit: Duration) -> Result<Value, Trouble> {
        self.read(self.probe.write(&self.place(path)?, Write::Delete, limit).await)
    }

    fn place(&self, path: &str) -> Result<Url, Trouble> {
        let text = format!("{}{path}", self.base.as_str().trim_end_matches('/'));
        text.parse().map_err(|error| Trouble {
            status: Some(0),
            reason: format!("{text} is no URL: {error}"),
            ..Trouble::default()
        })
    }

    fn read(&self, answer: Result<Answer, NoAnswer>) -> Result<Value, Trouble> {
        match answer {
            Ok(answer) => judge(&answer),
            Err(NoAnswer { reason, help }) => {
                // A server that wants TLS ends a connection that begins without.
                let tls = self.base.scheme() == "http"
                    && (reason.starts_with("connection closed") || reason.starts_with("connection reset"));
                let help = if tls { Some("the server may want https://") } else { help };
                Err(Trouble { status: None, reason, help: help.map(str::to_owned) })
            }
        }
    }
}

/// The JSON of an answer, or what kept it back.
pub(crate) fn judge(answer: &Answer) -> Result<Value, Trouble> {
    let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let trouble = |reason: String, help: Option<&str>| {
        Err(Trouble { status: Some(answer.status), reason, help: help.map(str::to_owned) })
    };
    let line = &answer.status_line;
    match (answer.status, body) {
        (200..=299, Some(body)) => Ok(body),
        (200..=299, None) if answer.cut => {
            trouble(format!("HTTP {line}, with more than 32 MiB, which is more than this step reads"), None)
        }
        (200..=299, None) => trouble(
            format!("HTTP {line}, and no JSON: it does not answer as Elasticsearch does"),
            Some("write the address of the cluster's HTTP port, as in https://es.example.org:9200"),
        ),
        (300..=399, _) => trouble(
            format!("HTTP {line}: it redirects, as a cluster does not"),
            Some("write the address of the cluster itself, not of its dashboard"),
        ),
        (status, body) => {
            let said = body.as_ref().map(said).unwrap_or_default();
            let help = match status {
                401 => Some(
                    "send credentials: --es-header-env authorization=VARIABLE, whose value begins with ApiKey, Basic or Bearer",
                ),
                // As Amazon OpenSearch Service words it where its access policy wants a signature.
                403 if said.contains("is not authorized to perform: es:") => Some(
                    "this step does not sign requests for AWS: let its address in by the domain's access policy, or send the \
                     credentials of a user of fine-grained access control",
                ),
                403 => Some(
                    "let the user do it: the cluster privilege `monitor`, and to change replicas `manage_index_templates` and the \
                     index privilege `manage`",
                ),
                _ => None,
            };
            let said = if said.is_empty() { String::new() } else { format!(": {said}") };
            trouble(format!("HTTP {line}{said}"), help)
        }
    }
}

/// What an error's body says: `error` is a text in Elasticsearch 1 and an object since; AWS has a message of its own.
fn said(body: &Value) -> String {
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let said = match (text("/error/type"), text("/error/reason")) {
        ("", "") => [text("/error"), text("/Message"), text("/message")]
            .into_iter()
            .find(|text| !text.is_empty())
            .unwrap_or_default()
            .to_owned(),
        (kind, "") => kind.to_owned(),
        (_, reason) => reason.to_owned(),
    };
    short(&said)
}

/// A foreign text as one line that is not too long.
pub(crate) fn short(text: &str) -> String {
    kit::clip(&kit::one_line(text), SHOWN)
}

/// One part of a path: an index's name as it stands in a URL.
pub(crate) fn segment(name: &str) -> String {
    use std::fmt::Write as _;
    name.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, line: &str, body: &str) -> Answer {
        Answer {
            status,
            status_line: line.to_owned(),
            headers: Vec::new(),
            body: body.as_bytes().to_vec(),
            cut: false,
            url: String::new(),
            redirect: None,
            certificate_ends: None,
        }
    }

    #[test]
    fn each_way_of_refusing_is_told_with_a_next_move() {
        // Elasticsearch's documentation of its security features, and OpenSearch issue 16872, for the shape.
        let denied = r#"{"error":{"root_cause":[],"type":"security_exception","reason":"missing authentication credentials for REST request [/_cluster/health]"},"status":401}"#;
        let trouble = judge(&answer(401, "401 Unauthorized", denied)).unwrap_err();
        assert_eq!(
            trouble.reason,
            "HTTP 401 Unauthorized: missing authentication credentials for REST request [/_cluster/health]"
        );
        assert!(trouble.help.unwrap().contains("--es-header-env authorization=VARIABLE"));
        // <https://docs.aws.amazon.com/opensearch-service/latest/developerguide/handling-errors.html>
        let aws = r#"{"Message":"User: anonymous is not authorized to perform: es:ESHttpGet with an explicit deny"}"#;
        let trouble = judge(&answer(403, "403 Forbidden", aws)).unwrap_err();
        assert!(trouble.help.unwrap().contains("does not sign requests"), "{}", trouble.reason);
        // Elasticsearch 1.7: the error is a text.
        let old = r#"{"error":"MasterNotDiscoveredException[waited for [30s]]","status":503}"#;
        let trouble = judge(&answer(503, "503 Service Unavailable", old)).unwrap_err();
        assert_eq!(
            trouble.reason,
            "HTTP 503 Service Unavailable: MasterNotDiscoveredException[waited for [30s]]"
        );
        let page = judge(&answer(200, "200 OK", "<html>Kibana</html>")).unwrap_err();
        assert!(page.reason.contains("does not answer as Elasticsearch"), "{}", page.reason);
        let cut = Answer { cut: true, ..answer(200, "200 OK", "{\"a\":") };
        assert!(judge(&cut).unwrap_err().reason.contains("more than 32 MiB"));
    }

    #[test]
    fn a_name_stands_in_a_path_as_one_part_of_it() {
        assert_eq!(segment("logs-2020.01.01"), "logs-2020.01.01");
        assert_eq!(segment("a+b%é"), "a%2Bb%25%C3%A9");
    }
}
