//! One server, database and role, resolved from flags and environment.

use std::fmt;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kit::{Env, Failure, Secret};
use serde::Serialize;

use crate::PgArgs;
use crate::sources::{Params, find_password, parse_service, parse_url};

/// Encryption and verification of a connection (<https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-PROTECTION>).
///
/// As in libpq, `require` verifies the chain (like `verify-ca`) when root certificates are given, and otherwise encrypts
/// without knowing to whom. Unlike libpq, `allow` is `prefer`, and a failed handshake under `prefer` is an error instead
/// of a silent second try in clear text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    /// Clear text.
    Disable,
    /// As prefer.
    Allow,
    /// Encrypted where the server can, else clear text.
    Prefer,
    /// Encrypted; verified only where root certificates are given.
    Require,
    /// Encrypted, and the certificate is signed by a root certificate.
    VerifyCa,
    /// Encrypted, and the certificate is signed by a root certificate for this host name.
    VerifyFull,
}

impl SslMode {
    /// libpq's word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Allow => "allow",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        <Self as clap::ValueEnum>::value_variants().iter().copied().find(|mode| mode.word() == text)
    }
}

/// Whether the login is bound to the TLS session (`channel_binding`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelBinding {
    /// Not used.
    Disable,
    /// Used where the server offers it.
    Prefer,
    /// A server that does not offer it is refused.
    Require,
}

impl ChannelBinding {
    const fn word(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
        }
    }
}

/// One server, database and role, with everything needed to connect.
#[derive(Clone, Debug)]
pub struct Target {
    /// The server's name or address, or the absolute folder of its Unix socket.
    pub host: String,
    /// The address to connect to in place of looking `host` up; `host` still is the name in the certificate.
    pub hostaddr: Option<IpAddr>,
    /// The TCP port, or the number in the socket's name.
    pub port: u16,
    /// The database.
    pub dbname: String,
    /// The role.
    pub user: String,
    /// The password, where any source has one.
    pub password: Option<Secret>,
    /// Where the password came from, or why there is none: for messages.
    pub password_source: String,
    /// The effective mode.
    pub sslmode: SslMode,
    /// The root certificates that the server's is checked against, a PEM file; `None` where nothing is verified.
    pub root_cert: Option<PathBuf>,
    /// For the whole of a connection attempt; `None` waits for ever, as `connect_timeout=0` asks.
    pub connect_timeout: Option<Duration>,
    /// What `pg_stat_activity` shows.
    pub application_name: String,
    /// Command-line options for the server process (`-c name=value`), in libpq's escaping.
    pub options: Option<String>,
    /// Whether the login is bound to the TLS session.
    pub channel_binding: ChannelBinding,
}

/// "database rally on db.example:5432 as rally".
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "database {} on {} as {}", self.dbname, self.server(), self.user)
    }
}

/// How long an attempt to connect may take where nothing says otherwise; libpq waits for ever.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// libpq's variables (<https://www.postgresql.org/docs/current/libpq-envars.html>) for the keywords that are understood.
const VARIABLES: [(&str, &str); 15] = [
    ("PGHOST", "host"),
    ("PGHOSTADDR", "hostaddr"),
    ("PGPORT", "port"),
    ("PGDATABASE", "dbname"),
    ("PGUSER", "user"),
    ("PGPASSWORD", "password"),
    ("PGPASSFILE", "passfile"),
    ("PGSERVICE", "service"),
    ("PGSERVICEFILE", "servicefile"),
    ("PGSSLMODE", "sslmode"),
    ("PGSSLROOTCERT", "sslrootcert"),
    ("PGCONNECT_TIMEOUT", "connect_timeout"),
    ("PGAPPNAME", "application_name"),
    ("PGOPTIONS", "options"),
    ("PGCHANNELBINDING", "channel_binding"),
];

/// Variables whose setting would change what a connection means and that are not understood here.
const UNSUPPORTED: [(&str, &str); 14] = [
    ("PGSSLCERT", "sslcert"),
    ("PGSSLKEY", "sslkey"),
    ("PGSSLCRL", "sslcrl"),
    ("PGSSLCRLDIR", "sslcrldir"),
    ("PGSSLNEGOTIATION", "sslnegotiation"),
    ("PGSSLMINPROTOCOLVERSION", "ssl_min_protocol_version"),
    ("PGSSLMAXPROTOCOLVERSION", "ssl_max_protocol_version"),
    ("PGSSLCERTMODE", "sslcertmode"),
    ("PGREQUIREAUTH", "require_auth"),
    ("PGREQUIREPEER", "requirepeer"),
    ("PGREQUIRESSL", "requiressl"),
    ("PGGSSENCMODE", "gssencmode"),
    ("PGTARGETSESSIONATTRS", "target_session_attrs"),
    ("PGLOADBALANCEHOSTS", "load_balance_hosts"),
];

/// Values of unsupported keywords that mean what is done here anyway.
const HARMLESS: [(&str, &[&str]); 10] = [
    ("sslnegotiation", &["postgres"]),
    ("gssencmode", &["disable", "prefer"]),
    ("target_session_attrs", &["any"]),
    ("load_balance_hosts", &["disable"]),
    ("sslcertmode", &["disable", "allow"]),
    ("ssl_min_protocol_version", &["TLSv1.2"]),
    ("requiressl", &["0"]),
    ("sslsni", &["1"]),
    ("sslcompression", &["0"]),
    ("client_encoding", &["UTF8", "utf8", "UTF-8", "auto"]),
];

/// Tuning that decides nothing about where a connection goes or how it is protected.
const IGNORED: [&str; 6] = [
    "fallback_application_name",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
];

/// Where the system keeps its certificates, by family of systems.
const SYSTEM_ROOTS: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

impl Target {
    pub(crate) fn resolve(args: &PgArgs, env: &Env) -> Result<Self, Failure> {
        let mut params = flags(args)?;
        let from_env: Params = VARIABLES
            .iter()
            .filter_map(|(name, key)| Some(((*key).to_owned(), env.get(name)?.to_owned())))
            .collect();
        for (name, key) in UNSUPPORTED {
            if let Some(value) = env.get(name) {
                check_known(key, value, name)?;
            }
        }
        let mut password_source =
            if params.contains_key("password") { String::new() } else { "PGPASSWORD".to_owned() };
        if let Some(service) = params.get("service").or_else(|| from_env.get("service")).cloned() {
            let path = params.get("servicefile").or_else(|| from_env.get("servicefile"));
            let (file, section) = read_service(&service, path.map(Path::new), env)?;
            for (key, value) in section {
                check_known(&key, &value, &format!("service {service} in {}", file.display()))?;
                if key == "password" {
                    password_source = format!("service {service} in {}", file.display());
                }
                params.entry(key).or_insert(value);
            }
        }
        for (key, value) in from_env {
            params.entry(key).or_insert(value);
        }
        let mut target = from_params(&params, env)?;
        target.find_password(&params, password_source, env);
        Ok(target)
    }

    /// `db.example:5432`, or the socket.
    pub fn server(&self) -> String {
        if self.is_socket() {
            format!("the socket {}/.s.PGSQL.{}", self.host, self.port)
        } else if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Whether the server is reached by a Unix socket.
    pub fn is_socket(&self) -> bool {
        self.host.starts_with('/')
    }

    /// Whether the server is on this machine.
    pub fn is_local(&self) -> bool {
        self.is_socket() || is_loopback(&self.host, self.hostaddr)
    }

    /// The same server and role with another database.
    #[must_use]
    pub fn with_database(&self, dbname: impl Into<String>) -> Self {
        Self { dbname: dbname.into(), ..self.clone() }
    }

    /// The same target with a server setting as a start-up option, which `RESET` inside the session returns to.
    #[must_use]
    pub fn with_option(&self, name: &str, value: &str) -> Self {
        // https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-OPTIONS: spaces are escaped.
        let escaped = value.replace('\\', "\\\\").replace(' ', "\\ ");
        let option = format!("-c {name}={escaped}");
        let options = match &self.options {
            Some(options) => format!("{options} {option}"),
            None => option,
        };
        Self { options: Some(options), ..self.clone() }
    }

    /// This connection as libpq's variables, for `pg_dump` and its like, which then need no connection arguments at all.
    pub fn child_env(&self) -> ChildEnv {
        let mut set = vec![
            ("PGHOST", self.host.clone()),
            ("PGPORT", self.port.to_string()),
            ("PGDATABASE", self.dbname.clone()),
            ("PGUSER", self.user.clone()),
            ("PGSSLMODE", self.sslmode.word().to_owned()),
            ("PGAPPNAME", self.application_name.clone()),
            ("PGCHANNELBINDING", self.channel_binding.word().to_owned()),
            ("PGCONNECT_TIMEOUT", self.connect_timeout.map_or(0, |time| time.as_secs().max(1)).to_string()),
            // The password was decided on here: no second look at a password file. (One that is not a plain file, such
            // as /dev/null, makes libpq warn.)
            ("PGPASSFILE", "/nonexistent/pgpass".to_owned()),
            // What is not verified here must not be verified there by a file that happens to lie about.
            ("PGSSLROOTCERT", "/nonexistent/root.crt".to_owned()),
        ];
        set.retain(|(name, _)| *name != "PGSSLROOTCERT" || self.root_cert.is_none());
        set.extend(self.root_cert.as_ref().map(|path| ("PGSSLROOTCERT", path.display().to_string())));
        set.extend(self.hostaddr.map(|addr| ("PGHOSTADDR", addr.to_string())));
        set.extend(self.options.clone().map(|options| ("PGOPTIONS", options)));
        ChildEnv { set, password: self.password.clone() }
    }

    fn find_password(&mut self, params: &Params, given_by: String, env: &Env) {
        if let Some(password) = params.get("password") {
            self.password = Some(Secret::new(password.clone()));
            self.password_source = given_by;
            return;
        }
        let named = params.get("passfile").map(PathBuf::from);
        let Some(path) = named.or_else(|| Some(Path::new(env.get("HOME")?).join(".pgpass"))) else {
            "no password is given (PGPASSWORD, a password file, or a service file)"
                .clone_into(&mut self.password_source);
            return;
        };
        let shown = path.display();
        let Ok(meta) = path.metadata() else {
            self.password_source =
                format!("no password is given: PGPASSWORD is not set and {shown} does not exist");
            return;
        };
        if meta.is_file() && meta.mode() & 0o077 != 0 {
            self.password_source = format!(
                "no password is given: {shown} is ignored, as libpq does, because others may read it (chmod 600 {shown})"
            );
            return;
        }
        let file = std::fs::read_to_string(&path).unwrap_or_default();
        // https://www.postgresql.org/docs/current/libpq-pgpass.html: the host as it was given, and `localhost` for the
        // default folder of sockets, which is /tmp or what the distribution chose.
        let host = match self.host.as_str() {
            "/tmp" | "/var/run/postgresql" | "/run/postgresql" => "localhost",
            host => host,
        };
        let found = find_password(&file, host, &self.port.to_string(), &self.dbname, &self.user);
        self.password_source = match found {
            Some(_) => format!("password file {shown}"),
            None => format!(
                "no password is given: PGPASSWORD is not set and {shown} has no line for {host}:{}:{}:{}",
                self.port, self.dbname, self.user
            ),
        };
        self.password = found.map(Secret::new);
    }
}

/// The environment of a child that speaks libpq.
#[derive(Clone, Debug)]
pub struct ChildEnv {
    set: Vec<(&'static str, String)>,
    password: Option<Secret>,
}

impl ChildEnv {
    /// Sets the variables of this connection on a child, and takes away every other one of libpq's.
    ///
    /// The password is in the child's environment and nowhere else.
    pub fn apply<'a>(&self, command: &'a mut tokio::process::Command) -> &'a mut tokio::process::Command {
        for name in VARIABLES.iter().chain(&UNSUPPORTED).map(|(name, _)| name) {
            command.env_remove(name);
        }
        for (name, value) in &self.set {
            command.env(name, value);
        }
        if let Some(password) = &self.password {
            command.env("PGPASSWORD", password.expose());
        }
        // A child must never wait for somebody to type, and its messages are parsed.
        command.env("LC_MESSAGES", "C").env("PGCLIENTENCODING", "UTF8")
    }

    /// The variables without the password, for messages and tests.
    pub fn visible(&self) -> &[(&'static str, String)] {
        &self.set
    }
}

fn usage(what: &str, why: impl Into<String>) -> Failure {
    Failure::usage(what).because(why.into())
}

const READ: &str = "read which database to connect to";

/// The parameters that flags and the URL give; a flag beats the URL.
fn flags(args: &PgArgs) -> Result<Params, Failure> {
    let mut params = match &args.database_url {
        None => Params::new(),
        Some(url) => {
            // Of a URL that can't be read, too, the receipt keeps no password.
            let userinfo = url.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@'));
            if let Some((_, password)) = userinfo.and_then(|(userinfo, _)| userinfo.split_once(':')) {
                let _ = Secret::new(password);
            }
            let params = parse_url(url).map_err(|why| usage("read --database-url", why))?;
            if let Some(password) = params.get("password") {
                // From here on no output of the process shows it, whoever prints the arguments.
                let _ = Secret::new(password.clone());
                return Err(usage(
                    "read --database-url",
                    "it holds a password, and arguments are seen in the process list and in logs",
                )
                .help("leave it out of the URL, and give it by PGPASSWORD, a password file (PGPASSFILE, ~/.pgpass) or a service file"));
            }
            for (key, value) in &params {
                check_known(key, value, "--database-url")?;
            }
            params
        }
    };
    let given = [
        ("service", args.service.clone()),
        ("host", args.host.clone()),
        ("port", args.port.clone()),
        ("dbname", args.dbname.clone()),
        ("user", args.user.clone()),
        ("sslmode", args.sslmode.map(|mode| mode.word().to_owned())),
        ("sslrootcert", args.ssl_root_cert.as_ref().map(|path| path.display().to_string())),
    ];
    for (key, value) in given {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            params.insert(key.to_owned(), value);
        }
    }
    Ok(params)
}

/// A setting that is not understood is refused: ignoring one can mean a connection that is less protected, or to
/// another server, than whoever set it believes.
fn check_known(key: &str, value: &str, place: &str) -> Result<(), Failure> {
    let known = VARIABLES.iter().any(|(_, known)| *known == key) || IGNORED.contains(&key);
    let harmless = HARMLESS.iter().any(|(name, values)| *name == key && values.contains(&value));
    if known || harmless {
        return Ok(());
    }
    let supported: Vec<&str> = VARIABLES.iter().map(|(_, key)| *key).collect();
    Err(usage(READ, format!("{place} sets {key}, which is not supported"))
        .help(format!("remove it; supported are {}", supported.join(", "))))
}

fn read_service(service: &str, path: Option<&Path>, env: &Env) -> Result<(PathBuf, Params), Failure> {
    let what = format!("read the service {service}");
    let own =
        path.map(Path::to_path_buf).or_else(|| Some(Path::new(env.get("HOME")?).join(".pg_service.conf")));
    let system = env
        .get("PGSYSCONFDIR")
        .map_or_else(|| PathBuf::from("/etc/postgresql-common"), PathBuf::from)
        .join("pg_service.conf");
    let mut looked = Vec::new();
    for file in own.into_iter().chain([system]) {
        let shown = file.display().to_string();
        match std::fs::read_to_string(&file) {
            Ok(text) => {
                let section =
                    parse_service(&text, service).map_err(|why| usage(&what, format!("{shown}: {why}")))?;
                if let Some(section) = section {
                    return Ok((file, section));
                }
                looked.push(format!("{shown} has no [{service}]"));
            }
            Err(error) => looked.push(format!("{shown}: {error}")),
        }
    }
    Err(usage(&what, looked.join("; "))
        .help("name a section of the service file, or its file with PGSERVICEFILE"))
}

fn from_params(params: &Params, env: &Env) -> Result<Target, Failure> {
    let get = |key: &str| params.get(key).filter(|value| !value.is_empty());
    let need = |key: &str, how: &str| {
        get(key).cloned().ok_or_else(|| {
            usage(READ, format!("no {how} is given, and a release must not guess one"))
                .help(format!("give --database-url, or --{key}, or PG{}", variable(key)))
        })
    };
    let hostaddr: Option<IpAddr> = match get("hostaddr") {
        None => None,
        Some(text) => {
            Some(text.parse().map_err(|_| usage(READ, format!("hostaddr {text:?} is not one IP address")))?)
        }
    };
    let host = match (get("host"), hostaddr) {
        (None, Some(addr)) => addr.to_string(),
        _ => need("host", "host")?,
    };
    if host.contains(',') {
        return Err(usage(READ, format!("{host:?} names several hosts"))
            .help("name one: a release must know which server it works on"));
    }
    if host.starts_with('@') {
        return Err(usage(READ, format!("{host:?} is an abstract socket, which is not supported")));
    }
    let port =
        match get("port") {
            None => 5432,
            Some(text) => text.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
                usage(READ, format!("the port {text:?} is not a number between 1 and 65535"))
            })?,
        };
    let local = host.starts_with('/') || is_loopback(&host, hostaddr);
    let sslmode = match get("sslmode") {
        None if local => SslMode::Prefer,
        None => SslMode::VerifyFull,
        Some(text) => SslMode::parse(text).ok_or_else(|| {
            usage(
                READ,
                format!(
                    "sslmode {text:?} is none of disable, allow, prefer, require, verify-ca, verify-full"
                ),
            )
        })?,
    };
    // libpq ignores sslmode on Unix sockets.
    let sslmode = if host.starts_with('/') { SslMode::Disable } else { sslmode };
    let root_cert = root_cert(get("sslrootcert").map(String::as_str), sslmode, env)?;
    let connect_timeout = match get("connect_timeout") {
        None => Some(CONNECT_TIMEOUT),
        Some(text) => {
            let seconds: i64 = text
                .trim()
                .parse()
                .map_err(|_| usage(READ, format!("connect_timeout {text:?} is not a number of seconds")))?;
            u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs)
        }
    };
    let channel_binding = match get("channel_binding").map(String::as_str) {
        None | Some("prefer") => ChannelBinding::Prefer,
        Some("disable") => ChannelBinding::Disable,
        Some("require") => ChannelBinding::Require,
        Some(text) => {
            return Err(usage(READ, format!("channel_binding {text:?} is none of disable, prefer, require")));
        }
    };
    Ok(Target {
        dbname: need("dbname", "database")?,
        user: need("user", "role")?,
        host,
        hostaddr,
        port,
        password: None,
        password_source: String::new(),
        sslmode,
        root_cert,
        connect_timeout,
        application_name: get("application_name").cloned().unwrap_or_else(|| "cutover".to_owned()),
        options: get("options").cloned(),
        channel_binding,
    })
}

fn variable(key: &str) -> &'static str {
    match key {
        "dbname" => "DATABASE",
        "user" => "USER",
        _ => "HOST",
    }
}

/// The root certificates for a mode: those given, libpq's own file, or for the verifying modes the system's.
fn root_cert(given: Option<&str>, mode: SslMode, env: &Env) -> Result<Option<PathBuf>, Failure> {
    if mode == SslMode::Disable {
        return Ok(None);
    }
    let system = || {
        let named = env.get("SSL_CERT_FILE").map(PathBuf::from);
        named.into_iter().chain(SYSTEM_ROOTS.map(PathBuf::from)).find(|path| path.is_file())
    };
    let verifies = mode >= SslMode::VerifyCa;
    let own = env.get("HOME").map(|home| Path::new(home).join(".postgresql/root.crt"));
    match (given, own.filter(|path| path.is_file())) {
        (Some("system"), _) if mode != SslMode::VerifyFull => {
            Err(usage(READ, format!("sslrootcert=system needs sslmode=verify-full, not {}", mode.word())))
        }
        (Some(path), _) if path != "system" => Ok(Some(PathBuf::from(path))),
        (None, Some(own)) => Ok(Some(own)),
        (None, None) if !verifies => Ok(None),
        _ => system().map(Some).ok_or_else(|| {
            usage(READ, "this system has no root certificates, and the server's certificate is to be verified")
                .help("give --ssl-root-cert (for RDS: https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem)")
        }),
    }
}

fn is_loopback(host: &str, hostaddr: Option<IpAddr>) -> bool {
    match hostaddr.or_else(|| host.parse().ok()) {
        Some(addr) => addr.is_loopback(),
        None => host == "localhost",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::Code;
    use std::os::unix::fs::PermissionsExt as _;

    fn resolve(args: PgArgs, env: &[(&str, &str)]) -> Result<Target, Failure> {
        args.target(&env.iter().copied().collect())
    }

    fn url(url: &str) -> PgArgs {
        PgArgs { database_url: Some(url.to_owned()), ..PgArgs::default() }
    }

    const ENV: [(&str, &str); 4] =
        [("PGHOST", "127.0.0.1"), ("PGDATABASE", "envdb"), ("PGUSER", "envuser"), ("PGPASSWORD", "env-pass")];

    #[test]
    fn a_flag_beats_the_url_which_beats_the_service_which_beats_the_environment() {
        let home = tempfile::tempdir().unwrap();
        let service = home.path().join("services.conf");
        std::fs::write(&service, "[rally]\nhost=127.0.0.2\ndbname=servicedb\nuser=serviceuser\nport=6000\n")
            .unwrap();
        let mut env = ENV.to_vec();
        let path = service.display().to_string();
        env.extend([("PGSERVICEFILE", path.as_str()), ("PGSERVICE", "rally"), ("PGPORT", "7000")]);
        let args = PgArgs { user: Some("flaguser".into()), ..url("postgresql://urluser@/urldb") };
        let target = resolve(args, &env).unwrap();
        assert_eq!(target.to_string(), "database urldb on 127.0.0.2:6000 as flaguser");
        assert_eq!(target.password.unwrap().expose(), "env-pass");
        let missing =
            resolve(PgArgs { service: Some("other".into()), ..PgArgs::default() }, &env).unwrap_err();
        assert_eq!(missing.code(), Code::Usage);
        assert!(missing.chain()[0].contains("has no [other]"), "{:?}", missing.chain());
    }

    #[test]
    fn a_password_in_the_url_is_refused_and_never_shown() {
        for given in ["postgresql://rally:hunter2@db/rally", "postgresql://rally@db/rally?password=hunter2"] {
            let refused = resolve(url(given), &[]).unwrap_err();
            assert_eq!(refused.code(), Code::Usage);
            let text = format!("{refused:?}");
            assert!(!text.contains("hunter2"), "{text}");
            assert!(
                text.contains("PGPASSWORD") && text.contains("~/.pgpass") && text.contains("service file"),
                "{text}"
            );
            assert_eq!(kit::redact("hunter2"), "***");
        }
    }

    #[test]
    fn nothing_that_decides_where_a_release_writes_is_guessed() {
        for (without, said) in [("PGHOST", "no host"), ("PGDATABASE", "no database"), ("PGUSER", "no role")] {
            let env: Vec<_> = ENV.iter().copied().filter(|(name, _)| *name != without).collect();
            let refused = resolve(PgArgs::default(), &env).unwrap_err();
            assert_eq!(refused.code(), Code::Usage);
            assert!(refused.chain()[0].contains(said), "{:?}", refused.chain());
        }
        let several = PgArgs { host: Some("a,b".into()), ..PgArgs::default() };
        assert!(resolve(several, &ENV).unwrap_err().chain()[0].contains("several hosts"));
    }

    #[test]
    fn a_setting_that_would_be_ignored_is_refused() {
        let mut env = ENV.to_vec();
        env.push(("PGSSLCRL", "/crl.pem"));
        assert!(resolve(PgArgs::default(), &env).unwrap_err().chain()[0].contains("PGSSLCRL sets sslcrl"));
        let refused = resolve(url("postgresql://u@h/d?require_auth=scram-sha-256"), &[]).unwrap_err();
        assert!(refused.chain()[0].contains("--database-url sets require_auth"));
        assert!(
            resolve(url("postgresql://u@127.0.0.1/d?target_session_attrs=any&keepalives=1"), &[]).is_ok()
        );
    }

    #[test]
    fn off_this_machine_the_default_is_to_verify() {
        let roots = tempfile::NamedTempFile::new().unwrap();
        let file = roots.path().display().to_string();
        let env = [("SSL_CERT_FILE", file.as_str())];
        let table = [
            ("postgresql://u@db.example/d", SslMode::VerifyFull, true),
            ("postgresql://u@127.0.0.1/d", SslMode::Prefer, false),
            ("postgresql://u@[::1]/d", SslMode::Prefer, false),
            ("postgresql://u@localhost/d", SslMode::Prefer, false),
            ("postgresql://u@%2Frun/d?sslmode=verify-full", SslMode::Disable, false),
            ("postgresql://u@db.example/d?sslmode=require", SslMode::Require, false),
            ("postgresql://u@db.example/d?sslmode=disable", SslMode::Disable, false),
            ("postgresql://u@db.example/d?sslmode=verify-ca", SslMode::VerifyCa, true),
            ("postgresql://u@db.example/d?sslmode=verify-full&sslrootcert=system", SslMode::VerifyFull, true),
        ];
        for (given, mode, verified) in table {
            let target = resolve(url(given), &env).unwrap();
            assert_eq!((target.sslmode, target.root_cert.is_some()), (mode, verified), "{given}");
        }
        let weak = resolve(url("postgresql://u@h/d?sslmode=require&sslrootcert=system"), &env).unwrap_err();
        assert!(weak.chain()[0].contains("needs sslmode=verify-full"));
    }

    #[test]
    fn a_password_file_that_others_can_read_is_ignored_and_that_is_said() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(".pgpass");
        std::fs::write(&file, "127.0.0.1:5432:envdb:envuser:from-file\n").unwrap();
        let path = home.path().display().to_string();
        let env = [ENV[0], ENV[1], ENV[2], ("HOME", path.as_str())];
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        let open = resolve(PgArgs::default(), &env).unwrap();
        assert!(open.password.is_none());
        assert!(open.password_source.contains("chmod 600"), "{}", open.password_source);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let closed = resolve(PgArgs::default(), &env).unwrap();
        assert_eq!(closed.password.unwrap().expose(), "from-file");
    }

    #[test]
    fn a_child_gets_this_connection_and_nothing_else_of_libpq() {
        let target = resolve(PgArgs::default(), &ENV).unwrap().with_option("lock_timeout", "5 s");
        let mut command = tokio::process::Command::new("env");
        target.child_env().apply(&mut command);
        let set: std::collections::BTreeMap<_, _> = command
            .as_std()
            .get_envs()
            .map(|(name, value)| (name.to_str().unwrap(), value.map(|value| value.to_str().unwrap())))
            .collect();
        assert_eq!(set["PGHOST"], Some("127.0.0.1"));
        assert_eq!(set["PGPASSWORD"], Some("env-pass"));
        assert_eq!(set["PGSSLMODE"], Some("prefer"));
        assert_eq!(set["PGOPTIONS"], Some("-c lock_timeout=5\\ s"));
        assert_eq!(set["PGSERVICE"], None, "removed, so that the child does not read the service again");
        assert!(!format!("{:?}", target.child_env()).contains("env-pass"));
    }
}
