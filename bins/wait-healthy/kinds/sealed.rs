//! A Vault server that is unsealed, and active or standing by. Its health needs no token, and has no secret in it.
//!
//! Source: <https://developer.hashicorp.com/vault/api-docs/system/health>

use std::path::Path;
use std::time::Duration;

use kit::{Env, Failure};
use probe::Asked;
use serde::{Deserialize, Serialize};
use url::Url;
use vault::Health;

use super::Look;

/// What a server is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Wanted {
    /// Unsealed, and the one that answers.
    Active,
    /// Unsealed, and ready to take over.
    Standby,
    /// Either.
    Unsealed,
}

/// A server, and what it is to be.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Server {
    pub(crate) address: String,
    pub(crate) wanted: Wanted,
}

/// Reads `URL[=active|standby|unsealed]`.
///
/// # Errors
/// Anything else: exit 2. A password in the URL is not repeated.
pub(crate) fn parse(text: &str) -> Result<Server, Failure> {
    let (address, wanted) = match text.split_once('=') {
        None => (text, Wanted::Active),
        Some((address, "active")) => (address, Wanted::Active),
        Some((address, "standby")) => (address, Wanted::Standby),
        Some((address, "unsealed")) => (address, Wanted::Unsealed),
        Some((_, other)) => {
            let shown = if text.contains('@') { "" } else { other };
            return Err(Failure::usage("use --vault")
                .because(format!("{shown:?} is no state of a Vault server"))
                .help(
                    "write URL, URL=standby or URL=unsealed, as in https://vault.example.org:8200=unsealed",
                ));
        }
    };
    let mut url = probe::endpoint("--vault", address)?;
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    url.set_query(None);
    Ok(Server { address: url.as_str().trim_end_matches('/').to_owned(), wanted })
}

impl Server {
    pub(crate) fn name(&self) -> String {
        let wanted = match self.wanted {
            Wanted::Active => "active",
            Wanted::Standby => "a standby",
            Wanted::Unsealed => "unsealed",
        };
        format!("Vault at {} as {wanted}", self.address)
    }
}

/// What the health says beside what every edition of Vault has: an answer of an Enterprise server has these too.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Answered {
    #[serde(flatten)]
    health: Health,
    #[serde(default)]
    performance_standby: bool,
    #[serde(default)]
    replication_dr_mode: String,
}

/// Whether that is the wanted state.
pub(crate) fn judge(wanted: Wanted, answered: &Answered) -> Look {
    let health = &answered.health;
    let state = match health {
        Health { initialized: false, .. } => {
            return Look::not_yet("it has never been initialised").help(
                "check that its storage is the right one: `vault operator init` makes a new, empty Vault",
            );
        }
        Health { sealed: true, .. } => {
            return Look::not_yet("it is sealed")
                .help("it waits for its key: `vault operator unseal`, or the key of its auto-unseal");
        }
        _ if answered.replication_dr_mode == "secondary" => {
            return Look::not_yet("it is a secondary for disaster recovery, which serves nobody");
        }
        Health { standby: true, .. } => "standby",
        _ if answered.performance_standby => "standby",
        _ => "active",
    };
    let version = kit::one_line(&health.version);
    let seen = format!("unsealed, {state}, version {version}");
    match (wanted, state) {
        (Wanted::Active, "standby") => Look::not_yet(format!("{seen}; want it active")),
        (Wanted::Standby, "active") => Look::not_yet(format!("{seen}; want a standby")),
        _ => Look::healthy(seen),
    }
}

/// A probe of one server.
#[derive(Debug)]
pub(crate) struct Unsealed {
    server: Server,
    probe: probe::Probe,
}

impl Unsealed {
    /// Asks nothing yet. Certificates that can't be read are an error.
    pub(crate) fn new(
        server: Server,
        limit: Duration,
        ca_file: Option<&Path>,
        env: &Env,
    ) -> Result<Self, Failure> {
        // Each state has a status code of its own; with these all of them are 200.
        let codes = [
            "activecode",
            "standbycode",
            "drsecondarycode",
            "performancestandbycode",
            "sealedcode",
            "uninitcode",
        ];
        let query = codes.map(|code| format!("{code}=200")).join("&");
        let text = format!("{}/v1/sys/health?{query}", server.address);
        let url: Url = text
            .parse()
            .map_err(|error| Failure::usage(format!("use --vault {}", server.address)).because(error))?;
        let asked = Asked {
            url: &url,
            connect_to: None,
            headers: &[],
            follow_redirects: false,
            timeout: limit,
            user_agent: concat!("cutover-wait-healthy/", env!("CARGO_PKG_VERSION")),
        };
        let own = env.get("VAULT_CACERT").map(Path::new).filter(|_| ca_file.is_none());
        let probe = probe::Probe::new(asked, own.or(ca_file), env).map_err(|failure| match own {
            Some(_) => failure.help("this file is what VAULT_CACERT names"),
            None => failure,
        })?;
        Ok(Self { server, probe })
    }

    pub(crate) fn name(&self) -> String {
        self.server.name()
    }

    pub(crate) async fn look(&self, limit: Duration) -> Look {
        let answer = match self.probe.look(limit).await {
            Ok(answer) => answer,
            Err(none) => return Look { help: none.help.map(str::to_owned), ..Look::not_yet(none.reason) },
        };
        match serde_json::from_slice::<Answered>(&answer.body) {
            Ok(health) if answer.status == 200 => judge(self.server.wanted, &health),
            _ => Look::not_yet(format!("it does not answer as Vault does (HTTP {})", answer.status_line))
                .help("write the address of the server, without /v1 or /ui"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(text: &str) -> Answered {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn each_state_is_told() {
        // As the documentation shows them, shortened.
        let active = r#"{"initialized":true,"sealed":false,"standby":false,"version":"1.17.2"}"#;
        let standby = r#"{"initialized":true,"sealed":false,"standby":true,"version":"1.17.2"}"#;
        let sealed = r#"{"initialized":true,"sealed":true,"standby":true,"version":"1.17.2"}"#;
        let empty = r#"{"initialized":false,"sealed":true,"standby":true,"version":"1.17.2"}"#;
        for (wanted, text, good) in [
            (Wanted::Active, active, true),
            (Wanted::Active, standby, false),
            (Wanted::Standby, standby, true),
            (Wanted::Standby, active, false),
            (Wanted::Unsealed, active, true),
            (Wanted::Unsealed, standby, true),
            (Wanted::Unsealed, sealed, false),
            (Wanted::Standby, sealed, false),
            (Wanted::Unsealed, empty, false),
            (
                Wanted::Active,
                &active.replace("\"version\"", "\"performance_standby\":true,\"version\""),
                false,
            ),
            (
                Wanted::Unsealed,
                &active.replace("\"version\"", "\"replication_dr_mode\":\"secondary\",\"version\""),
                false,
            ),
            (
                Wanted::Active,
                &active.replace("\"version\"", "\"replication_dr_mode\":\"primary\",\"version\""),
                true,
            ),
        ] {
            assert_eq!(judge(wanted, &health(text)).verdict.is_ok(), good, "{wanted:?} {text}");
        }
        assert_eq!(judge(Wanted::Active, &health(sealed)).verdict, Err("it is sealed".to_owned()));
        assert_eq!(
            judge(Wanted::Active, &health(empty)).verdict,
            Err("it has never been initialised".to_owned())
        );
    }

    #[test]
    fn a_server_and_its_state() {
        assert_eq!(
            parse("https://vault.test:8200/").unwrap().name(),
            "Vault at https://vault.test:8200 as active"
        );
        assert_eq!(parse("https://vault.test:8200=standby").unwrap().wanted, Wanted::Standby);
        for bad in ["vault.test:8200", "https://vault.test=sealed", "https://me:hunter22@vault.test"] {
            let failure = parse(bad).unwrap_err();
            assert_eq!(failure.code(), kit::Code::Usage);
            assert!(!format!("{failure:?}").contains("hunter22"));
        }
    }
}
