//! `HashiCorp` Vault (and `OpenBao`, which speaks the same API) as the steps read it: health, mounts, and the secrets of a
//! key/value engine of either version.
//!
//! Where and as whom is told as Vault's own client is told: `VAULT_ADDR`, `VAULT_TOKEN` or the file `~/.vault-token`,
//! `VAULT_NAMESPACE`, `VAULT_CACERT` (<https://developer.hashicorp.com/vault/docs/commands#configure-environment-variables>).

#[cfg(test)]
mod foreign_tests;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use kit::{Cx, Env, Failure, Secret};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Client, StatusCode, redirect};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use url::Url;

/// How often a request that got no answer, or one that may pass, is sent.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(500);
/// A secret has at most 1 MiB by default (<https://developer.hashicorp.com/vault/docs/internals/limits>).
const PATIENCE: Duration = Duration::from_secs(30);

/// What stays as it is in a path's segment.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A Vault server and who asks.
#[derive(Clone, Debug)]
pub struct Vault {
    client: Client,
    address: Url,
    token: Secret,
    namespace: Option<String>,
}

/// The state of a server: <https://developer.hashicorp.com/vault/api-docs/system/health>.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether it has ever been set up.
    pub initialized: bool,
    /// Whether it lacks the key to its own storage.
    pub sealed: bool,
    /// Whether another server of the cluster answers for it.
    pub standby: bool,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// Names the cluster for good; a sealed server does not say it.
    #[serde(default)]
    pub cluster_id: Option<String>,
    /// Its name, for people.
    #[serde(default)]
    pub cluster_name: Option<String>,
}

/// The version of a key/value engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kv {
    /// One value a path: <https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v1>
    V1,
    /// Versions of each: <https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2>
    V2,
}

impl fmt::Display for Kv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "version 1",
            Self::V2 => "version 2",
        })
    }
}

/// A key/value engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// Where it is, without the slash at its end.
    pub path: String,
    /// Its version.
    pub kv: Kv,
}

/// What stands at a path, byte for byte as the server wrote it.
#[derive(Debug)]
pub struct Stored {
    /// Its names and values: a JSON object.
    pub data: Box<RawValue>,
    /// Which version it is, in an engine of version 2.
    pub version: Option<u64>,
}

impl Vault {
    /// A client; it asks nothing yet. `address` is what a flag says, and goes before `VAULT_ADDR`.
    ///
    /// # Errors
    /// No address or token, a malformed address, a password in it, a certificate file that can't be read.
    pub fn new(env: &Env, address: Option<&str>) -> Result<Self, Failure> {
        let attempt = "reach Vault";
        let address = address.or_else(|| env.get("VAULT_ADDR")).ok_or_else(|| {
            Failure::usage(attempt)
                .because("no address is given")
                .help("give --vault-addr, or set VAULT_ADDR, as in https://vault.example.com:8200")
        })?;
        let wrong = |why: &str| {
            Failure::usage(attempt)
                .because(format!("its address {why}"))
                .help("write it as in https://vault.example.com:8200")
        };
        let mut url = Url::parse(address).map_err(|error| wrong("is no URL").because(error))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("is neither http nor https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("has a user name or password in it, which Vault does not take"));
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        url.set_query(None);
        url.set_fragment(None);
        let ca_file = env.get("VAULT_CACERT").map(Path::new);
        let tls = tls::client(ca_file, env, url.scheme() == "https")?;
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            // A standby passes requests on by itself; a redirect would carry the token elsewhere.
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(PATIENCE / 3)
            .timeout(PATIENCE)
            .user_agent(concat!("cutover/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Failure::failed("set up the HTTP client").because(error))?;
        Ok(Self {
            client,
            address: url,
            token: token(env)?,
            namespace: env.get("VAULT_NAMESPACE").map(str::to_owned),
        })
    }

    /// Where it is, for people.
    pub fn address(&self) -> &str {
        self.address.as_str().trim_end_matches('/')
    }

    /// The namespace that is asked, where one is.
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// The state of the server, whatever it is.
    ///
    /// # Errors
    /// It can't be reached, or answers something else.
    pub async fn health(&self, cx: &Cx) -> Result<Health, Failure> {
        let attempt = format!("ask {} for its health", self.address());
        // Each state has a status code of its own; with these all of them are 200.
        let codes = [
            "activecode",
            "standbycode",
            "drsecondarycode",
            "performancestandbycode",
            "sealedcode",
            "uninitcode",
        ]
        .map(|name| format!("{name}=200"));
        let path = format!("sys/health?{}", codes.join("&"));
        match self.get::<Health>(cx, &attempt, &path).await? {
            Answer::Found(health) => Ok(health),
            Answer::Absent | Answer::Denied => Err(Failure::failed(attempt)
                .because("it does not answer as Vault does")
                .help("check --vault-addr: the address of the server, without /v1 or /ui")),
        }
    }

    /// The key/value engine at a path.
    ///
    /// Source: <https://developer.hashicorp.com/vault/api-docs/system/internal-ui-mounts>, which Vault's own client asks before
    /// each `vault kv`.
    ///
    /// # Errors
    /// There is none, it is of another kind, or the token may not see it (which the server does not tell apart).
    pub async fn mount(&self, cx: &Cx, path: &str) -> Result<Mount, Failure> {
        #[derive(Deserialize)]
        struct Seen {
            #[serde(rename = "type")]
            kind: String,
            #[serde(default)]
            options: Option<std::collections::BTreeMap<String, String>>,
        }
        let path = path.trim_matches('/').to_owned();
        let attempt = format!("look at the engine {path}/ of {}", self.address());
        let place = format!("sys/internal/ui/mounts/{}", encoded(&path));
        let seen = match self.get::<Data<Seen>>(cx, &attempt, &place).await? {
            Answer::Found(answer) => answer.data,
            Answer::Absent | Answer::Denied => {
                return Err(Failure::refused(attempt)
                    .because("there is no such engine, or the token may not use it")
                    .help("correct --vault-mount, or give the token's policy `read` and `list` on what lies below it"));
            }
        };
        let version = seen.options.as_ref().and_then(|options| options.get("version")).map(String::as_str);
        let kv = match (seen.kind.as_str(), version) {
            ("kv", Some("2")) => Kv::V2,
            // `generic` is what version 1 was called before 0.8.
            ("kv" | "generic", _) => Kv::V1,
            (other, _) => {
                return Err(Failure::refused(attempt)
                    .because(format!("it is a {other} engine, and keeps no keys and values"))
                    .help("name a key/value engine with --vault-mount"));
            }
        };
        Ok(Mount { path, kv })
    }

    /// What lies directly below a folder (empty, or ending in a slash): secrets, and folders, which end in a slash.
    ///
    /// # Errors
    /// The token may not list it.
    pub async fn list(&self, cx: &Cx, mount: &Mount, folder: &str) -> Result<Vec<String>, Failure> {
        #[derive(Deserialize)]
        struct Keys {
            keys: Vec<String>,
        }
        let at = match mount.kv {
            Kv::V1 => format!("{}/{folder}", mount.path),
            Kv::V2 => format!("{}/metadata/{folder}", mount.path),
        };
        let attempt = format!("list {}/{folder}", mount.path);
        // GET with a parameter is the documented form for proxies that don't let the method LIST through.
        match self.get::<Data<Keys>>(cx, &attempt, &format!("{}?list=true", encoded(&at))).await? {
            Answer::Found(answer) => named(attempt, answer.data.keys),
            Answer::Absent => Ok(Vec::new()),
            Answer::Denied => Err(denied(attempt, "list", &at)),
        }
    }

    /// What stands at a path now; nothing where its newest version is deleted or destroyed.
    ///
    /// # Errors
    /// The token may not read it.
    pub async fn read(&self, cx: &Cx, mount: &Mount, path: &str) -> Result<Option<Stored>, Failure> {
        let attempt = format!("read {}/{path}", mount.path);
        match mount.kv {
            Kv::V1 => {
                let at = format!("{}/{path}", mount.path);
                match self.get::<Data<Box<RawValue>>>(cx, &attempt, &encoded(&at)).await? {
                    Answer::Found(answer) => {
                        Ok(Some(Stored { data: object(attempt, answer.data)?, version: None }))
                    }
                    Answer::Absent => Ok(None),
                    Answer::Denied => Err(denied(attempt, "read", &at)),
                }
            }
            Kv::V2 => {
                let at = format!("{}/data/{path}", mount.path);
                match self.get::<Data<Versioned>>(cx, &attempt, &encoded(&at)).await? {
                    Answer::Found(Data { data: Versioned { data: Some(data), metadata } }) => {
                        Ok(Some(Stored { data: object(attempt, data)?, version: Some(metadata.version) }))
                    }
                    Answer::Found(_) | Answer::Absent => Ok(None),
                    Answer::Denied => Err(denied(attempt, "read", &at)),
                }
            }
        }
    }

    async fn get<T: DeserializeOwned>(
        &self,
        cx: &Cx,
        attempt: &str,
        path: &str,
    ) -> Result<Answer<T>, Failure> {
        let mut tries = 0;
        loop {
            tries += 1;
            let failure = match cx.in_time(attempt, self.ask(attempt, path)).await? {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            if !failure.is_transient() || tries == TRIES {
                return Err(failure);
            }
            cx.or_cancelled(cx.pause(PAUSE * 2_u32.pow(tries))).await?;
        }
    }

    async fn ask<T: DeserializeOwned>(&self, attempt: &str, path: &str) -> Result<Answer<T>, Failure> {
        let url = format!("{}/v1/{path}", self.address());
        let mut request = self
            .client
            .get(url)
            .header("x-vault-token", self.token.expose())
            // Agents and proxies may insist on it: <https://developer.hashicorp.com/vault/api-docs#the-x-vault-request-header>.
            .header("x-vault-request", "true");
        if let Some(namespace) = &self.namespace {
            request = request.header("x-vault-namespace", namespace);
        }
        let response = request.send().await.map_err(|error| {
            let failure = Failure::failed(attempt).because(kit::innermost(&error)).transient(true);
            failure.help("check --vault-addr, and whether this machine can reach it")
        })?;
        let status = response.status();
        let body = response
            .bytes()
            .await
            .map_err(|error| Failure::failed(attempt).because(kit::innermost(&error)).transient(true))?;
        judge(attempt, status, &body)
    }
}

/// What an answer says.
fn judge<T: DeserializeOwned>(attempt: &str, status: StatusCode, body: &[u8]) -> Result<Answer<T>, Failure> {
    match status {
        StatusCode::OK => serde_json::from_slice(body).map(Answer::Found).map_err(|_| undocumented(attempt)),
        // A proxy has pages of its own for both: taken for Vault's word, each of them would be a secret that is deleted.
        StatusCode::NOT_FOUND if is_own(body) => Ok(Answer::Absent),
        StatusCode::FORBIDDEN if is_own(body) => Ok(Answer::Denied),
        StatusCode::NOT_FOUND => Err(undocumented(attempt)),
        _ => Err(Failure::failed(attempt)
            .because(format!("Vault answered {status}{}", errors(body)))
            // 412: a replica has not yet seen what was written; 503: sealed, or under maintenance.
            .transient(status.is_server_error() || matches!(status.as_u16(), 412 | 429))),
    }
}

/// The body may hold secrets: it is not shown.
fn undocumented(attempt: impl Into<String>) -> Failure {
    Failure::failed(attempt)
        .because("the answer is not the JSON that Vault's documentation describes")
        .help("check --vault-addr: the address of the server, without /v1 or /ui, and what stands before it")
}

/// Whether Vault itself wrote it: errors, none of them included, or the data of a version that is deleted.
///
/// Source: <https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2#read-secret-version>
fn is_own(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Own {
        errors: Option<Vec<String>>,
        data: Option<Value>,
    }
    serde_json::from_slice::<Own>(body).is_ok_and(|own| own.errors.is_some() || own.data.is_some())
}

/// The names of a folder, each of which leads to a place of its own right below it.
fn named(attempt: String, keys: Vec<String>) -> Result<Vec<String>, Failure> {
    let leads = |key: &str| {
        let name = key.strip_suffix('/').unwrap_or(key);
        // In a URL, the last two lead elsewhere however they are encoded: <https://url.spec.whatwg.org/#double-dot-path-segment>.
        !name.is_empty() && !name.contains('/') && !matches!(name, "." | "..")
    };
    match keys.iter().find(|key| !leads(key)) {
        None => Ok(keys),
        Some(key) => Err(Failure::failed(attempt)
            .because(format!("it has the name {:?}, which can't be asked for", kit::one_line(key)))
            .help("write what lies there under another name, and delete it")),
    }
}

/// The names and values of a secret.
fn object(attempt: String, data: Box<RawValue>) -> Result<Box<RawValue>, Failure> {
    if data.get().trim_start().starts_with('{') { Ok(data) } else { Err(undocumented(attempt)) }
}

/// `{"errors": ["..."]}`, which names no secret: <https://developer.hashicorp.com/vault/api-docs#error-response>.
fn errors(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<String>,
    }
    match serde_json::from_slice::<Errors>(body) {
        Ok(Errors { errors }) if !errors.is_empty() => format!(": {}", errors.join("; ")),
        _ => String::new(),
    }
}

#[derive(Debug)]
enum Answer<T> {
    Found(T),
    Absent,
    Denied,
}

#[derive(Debug, Deserialize)]
struct Data<T> {
    data: T,
}

#[derive(Debug, Deserialize)]
struct Versioned {
    /// Absent (with status 404) or null when the version is deleted.
    data: Option<Box<RawValue>>,
    metadata: VersionMetadata,
}

#[derive(Debug, Deserialize)]
struct VersionMetadata {
    version: u64,
}

fn denied(attempt: String, capability: &str, path: &str) -> Failure {
    Failure::failed(attempt)
        .because("Vault says: permission denied")
        .help(format!("give the token's policy the capability `{capability}` on {path}"))
        .help("or the token has expired: a new one goes into VAULT_TOKEN")
}

/// The path, each segment percent-encoded.
fn encoded(path: &str) -> String {
    let segments = path.split('/').map(|segment| utf8_percent_encode(segment, SEGMENT).to_string());
    segments.collect::<Vec<_>>().join("/")
}

fn token(env: &Env) -> Result<Secret, Failure> {
    if let Some(token) = env.get("VAULT_TOKEN") {
        return Ok(Secret::new(token));
    }
    let file = env.get("HOME").map(|home| Path::new(home).join(".vault-token"));
    let kept = file.and_then(|file| std::fs::read_to_string(file).ok());
    match kept.as_deref().map(str::trim).filter(|token| !token.is_empty()) {
        Some(token) => Ok(Secret::new(token)),
        None => Err(Failure::usage("log in to Vault")
            .because("there is no token")
            .help("set VAULT_TOKEN, or run `vault login`, which leaves one in ~/.vault-token")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Env {
        pairs.iter().copied().collect()
    }

    #[test]
    fn a_segment_of_a_path_is_encoded_and_a_slash_is_none() {
        assert_eq!(encoded("secret/data/a b/ä?#%"), "secret/data/a%20b/%C3%A4%3F%23%25");
        assert_eq!(encoded("secret/auth/"), "secret/auth/");
    }

    #[test]
    fn where_and_as_whom_is_told_before_anything_is_asked() {
        let token = ("VAULT_TOKEN", "hvs.example");
        let vault = Vault::new(&env(&[token, ("VAULT_ADDR", "https://vault.test:8200/")]), None);
        assert_eq!(
            vault.map(|vault| vault.address().to_owned()).ok().as_deref(),
            Some("https://vault.test:8200")
        );
        for (pairs, says) in [
            (&[token][..], "no address is given"),
            (&[token, ("VAULT_ADDR", "vault.test:8200")], "is neither http nor https"),
            (&[token, ("VAULT_ADDR", "https://me:word@vault.test")], "has a user name or password"),
            (&[("VAULT_ADDR", "https://vault.test")], "there is no token"),
        ] {
            let failure = Vault::new(&env(pairs), None).unwrap_err();
            assert_eq!(failure.code(), kit::Code::Usage);
            assert!(failure.chain().join(" ").contains(says), "{failure:?}");
        }
    }
}
