//! A call as its protocol names it, and answers in the form that its protocol has.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode, Uri, request};
use serde_json::{Map, Value, json};

use super::{rest, s3};

/// The protocols that differ in how they name an operation and shape an error.
/// <https://smithy.io/2.0/aws/protocols/index.html>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    AwsJson,
    Query,
    Ec2Query,
    RestJson,
    RestXml,
    S3,
    RpcCbor,
}

/// A call to AWS.
#[derive(Clone, Debug)]
pub struct Request {
    /// The signing name in the credential scope (`ecs`, `s3`); empty where the call carries no signature.
    pub service: String,
    /// The operation's name in AWS's documentation; for a REST service other than S3 its method and path.
    pub operation: String,
    /// The region in the credential scope.
    pub region: String,
    /// The access key that signed the call.
    pub access_key: String,
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    /// The whole body; empty for S3, whose bodies are streamed.
    pub body: Bytes,
    protocol: Protocol,
}

impl Request {
    /// What the head alone tells. Services of the Query protocol name their operation in the body: see
    /// [`Request::with_body`].
    pub(super) fn from_head(head: &request::Parts) -> Self {
        let scope = Scope::of(head);
        let mut request = Self {
            service: scope.service,
            operation: String::new(),
            region: scope.region,
            access_key: scope.access_key,
            method: head.method.clone(),
            uri: head.uri.clone(),
            headers: head.headers.clone(),
            body: Bytes::new(),
            protocol: Protocol::RestJson,
        };
        if let Some(target) = request.header("x-amz-target") {
            request.operation = target.rsplit('.').next().unwrap_or(target).to_owned();
            request.protocol = Protocol::AwsJson;
        } else if request.service == "s3" {
            request.operation = s3::operation(&request);
            request.protocol = Protocol::S3;
        } else if let Some((_, operation)) = head.uri.path().split_once("/operation/") {
            // Smithy RPC v2: POST /service/NAME/operation/NAME.
            operation.clone_into(&mut request.operation);
            request.protocol = Protocol::RpcCbor;
        } else {
            let (method, path) = (head.method.as_str(), head.uri.path());
            request.operation = rest::operation(&request.service, method, path)
                .map_or_else(|| format!("{method} {path}"), str::to_owned);
            if matches!(request.service.as_str(), "cloudfront" | "route53") {
                request.protocol = Protocol::RestXml;
            }
        }
        request
    }

    /// Adds the body, and with it the operation of a call of the Query protocol.
    pub(super) fn with_body(mut self, body: Bytes) -> Self {
        self.body = body;
        let is_form = self
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        if self.protocol != Protocol::S3 && (is_form || self.query("Action").is_some()) {
            let form = self.form();
            let field = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
            if let Some(action) = field("Action").or_else(|| self.query("Action")) {
                // These calls of STS are unsigned: the token in them is the credential.
                if self.service.is_empty() && action.starts_with("AssumeRoleWith") {
                    "sts".clone_into(&mut self.service);
                }
                self.operation = action;
                self.protocol = if self.service == "ec2" { Protocol::Ec2Query } else { Protocol::Query };
            }
        }
        self
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The first query parameter of this name, decoded; a parameter without a value is the empty text.
    pub fn query(&self, name: &str) -> Option<String> {
        pairs(self.uri.query().unwrap_or_default())
            .into_iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    }

    /// The body as a form.
    pub fn form(&self) -> Vec<(String, String)> {
        std::str::from_utf8(&self.body).map(pairs).unwrap_or_default()
    }

    /// The body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The bucket and the key of an S3 call, decoded.
    pub fn s3_object(&self) -> (String, String) {
        s3::object(self)
    }

    /// What the call asked for, for the record: the JSON body, the form, or an S3 call's bucket, key and query.
    pub fn content(&self) -> Value {
        match self.protocol {
            Protocol::S3 => {
                let (bucket, key) = self.s3_object();
                json!({ "bucket": bucket, "key": key, "query": self.uri.query() })
            }
            Protocol::Query | Protocol::Ec2Query => {
                let mut form = self.form();
                form.extend(pairs(self.uri.query().unwrap_or_default()));
                Value::Object(
                    form.into_iter().map(|(key, value)| (key, Value::String(value))).collect::<Map<_, _>>(),
                )
            }
            Protocol::AwsJson | Protocol::RestJson | Protocol::RestXml | Protocol::RpcCbor => self.json(),
        }
    }

    /// An error in the form in which this call's protocol has it, as an SDK reads it.
    pub fn error(&self, status: StatusCode, code: &str, message: &str) -> Answer {
        const REQUEST_ID: &str = "7a62c49f-347e-4fc4-9331-6e8eEXAMPLE";
        let (code_xml, message_xml) = (xml_text(code), xml_text(message));
        let kind = if status.is_server_error() { "Receiver" } else { "Sender" };
        let mut answer = match self.protocol {
            Protocol::AwsJson => Answer {
                status,
                headers: self.headers.get(CONTENT_TYPE).map(|value| (CONTENT_TYPE, value.clone())).into_iter().collect(),
                body: json!({ "__type": code, "message": message }).to_string().into(),
            },
            Protocol::RestJson => {
                let mut answer = Answer::json(&json!({ "message": message })).status(status);
                if let Ok(value) = HeaderValue::from_str(code) {
                    answer.headers.insert("x-amzn-errortype", value);
                }
                answer
            }
            Protocol::Query | Protocol::RestXml => Answer::xml(format!(
                "<ErrorResponse><Error><Type>{kind}</Type><Code>{code_xml}</Code><Message>{message_xml}</Message>\
                 </Error><RequestId>{REQUEST_ID}</RequestId></ErrorResponse>"
            ))
            .status(status),
            Protocol::Ec2Query => Answer::xml(format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{code_xml}</Code>\
                 <Message>{message_xml}</Message></Error></Errors><RequestID>{REQUEST_ID}</RequestID></Response>"
            ))
            .status(status),
            Protocol::RpcCbor => rpc_error(status, code, message, self.header("x-amzn-query-mode").map(|_| kind)),
            // An answer to HEAD has no body, so the SDK knows the status alone.
            Protocol::S3 if self.method == Method::HEAD => Answer::default().status(status),
            Protocol::S3 => Answer::xml(format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code_xml}</Code><Message>{message_xml}\
                 </Message><Resource>{}</Resource><RequestId>{REQUEST_ID}</RequestId></Error>",
                xml_text(self.uri.path())
            ))
            .status(status),
        };
        answer.headers.insert("x-amzn-requestid", HeaderValue::from_static(REQUEST_ID));
        answer
    }
}

/// An error of Smithy RPC v2: a map in CBOR (RFC 8949) of two texts. A client of a service that once spoke the Query protocol asks
/// for the code of then, which comes in a header with who is at fault.
///
/// Sources: <https://smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2.html#operation-error-serialization>,
/// <https://smithy.io/2.0/aws/protocols/aws-query-protocol.html#aws-protocols-awsquerycompatible-trait>
fn rpc_error(status: StatusCode, code: &str, message: &str, query: Option<&str>) -> Answer {
    let text = |text: &str| {
        // Major type 3 with a length of two bytes.
        let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
        let bytes = text.bytes().take(usize::from(length));
        [0x79].into_iter().chain(length.to_be_bytes()).chain(bytes).collect::<Vec<u8>>()
    };
    // Major type 5 with two pairs.
    let body = [vec![0xa2], text("__type"), text(code), text("message"), text(message)].concat();
    let mut answer = Answer { status, body: body.into(), ..Answer::default() };
    answer.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/cbor"));
    answer.headers.insert("smithy-protocol", HeaderValue::from_static("rpc-v2-cbor"));
    if let Some(fault) = query
        && let Ok(value) = HeaderValue::from_str(&format!("{code};{fault}"))
    {
        answer.headers.insert("x-amzn-query-error", value);
    }
    answer
}

/// The answer to a call.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// 200 with a JSON document, as services of the AWS JSON protocol answer.
    pub fn json(value: &Value) -> Self {
        Self::default().with(CONTENT_TYPE, "application/x-amz-json-1.1").body(value.to_string())
    }

    /// 200 with an XML document.
    pub fn xml(text: impl Into<Bytes>) -> Self {
        Self::default().with(CONTENT_TYPE, "text/xml").body(text)
    }

    #[must_use]
    pub fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    #[must_use]
    pub fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }
}

#[derive(Default)]
struct Scope {
    access_key: String,
    region: String,
    service: String,
}

impl Scope {
    /// Reads `Credential=KEY/DATE/REGION/SERVICE/aws4_request` from the header, or of a presigned URL from its query.
    /// The scope of an asymmetric signature (`SigV4A`) has no region.
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>
    fn of(head: &request::Parts) -> Self {
        let header = head.headers.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let credential = header
            .and_then(|value| value.split_once("Credential="))
            .and_then(|(_, rest)| rest.split([',', ' ']).next())
            .map(ToOwned::to_owned)
            .or_else(|| {
                pairs(head.uri.query().unwrap_or_default())
                    .into_iter()
                    .find(|(key, _)| key == "X-Amz-Credential")
                    .map(|(_, value)| value)
            });
        let Some(credential) = credential else { return Self::default() };
        match credential.split('/').collect::<Vec<_>>().as_slice() {
            [key, _date, region, service, "aws4_request"] => {
                Self { access_key: (*key).into(), region: (*region).into(), service: (*service).into() }
            }
            [key, _date, service, "aws4_request"] => {
                Self { access_key: (*key).into(), region: String::new(), service: (*service).into() }
            }
            _ => Self::default(),
        }
    }
}

/// Decodes `a=b&c`, as forms and query strings have it.
pub(super) fn pairs(text: &str) -> Vec<(String, String)> {
    url::form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

fn xml_text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
