//! What the driver, the Makefile and tests need to know of Rally's world.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use testkit::github::{self, GithubWorld};
use testkit::postgres::Postgres;

use super::definition::Definition;
use super::seed;
use crate::world::{Aws, Entry, Fail};

/// The document. All addresses are on loopback; the password is of this world alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct World {
    pub pids: Pids,
    pub aws: Aws,
    pub service: Service,
    pub registry: Registry,
    pub database: Database,
    pub backups: Backups,
    pub github: Github,
    pub release: Release,
    /// The public name, where the release closes it.
    pub maintenance: Option<Entry>,
}

/// Process numbers. The tasks' are ECS's affair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pids {
    pub world: u32,
    pub emulator: u32,
    pub postgres: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Service {
    /// Where the load balancer serves; `/version` and `/health` answer.
    pub url: String,
    pub cluster: String,
    pub name: String,
    pub family: String,
    /// The container whose image is released.
    pub container: String,
}

impl Service {
    pub(super) fn new(url: String, definition: &Definition) -> Self {
        Self {
            url,
            cluster: seed::CLUSTER.to_owned(),
            name: seed::SERVICE.to_owned(),
            family: definition.family.clone(),
            container: definition.container.clone(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registry {
    pub repository: String,
    /// Repository with the registry's host, as in a task definition.
    pub uri: String,
    /// Digest by tag.
    pub images: BTreeMap<String, String>,
}

impl Registry {
    pub(super) fn new(images: BTreeMap<String, String>) -> Self {
        Self { repository: seed::REPOSITORY.to_owned(), uri: seed::repository_uri(), images }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Database {
    pub host: String,
    pub port: u16,
    pub name: String,
    /// The owner of the database, no superuser.
    pub user: String,
    pub password: String,
    /// Where the server's own `pg_dump`, `pg_restore` and `psql` are.
    pub bin_dir: PathBuf,
}

impl Database {
    pub(super) fn new(postgres: &Postgres, password: &str) -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: postgres.port,
            name: seed::DATABASE.to_owned(),
            user: seed::USER.to_owned(),
            password: password.to_owned(),
            bin_dir: postgres.bin_dir.clone(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backups {
    pub bucket: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Github {
    /// For `GITHUB_API_URL`.
    pub api: String,
    /// Owner and name.
    pub repository: String,
    pub branch: String,
    /// The commit that is released: the head of the branch.
    pub commit: String,
    /// For `GITHUB_TOKEN`.
    pub token: String,
}

impl Github {
    pub(super) fn new(github: &GithubWorld, commit: String) -> Self {
        Self {
            api: github.url().to_owned(),
            repository: seed::GITHUB_REPOSITORY.to_owned(),
            branch: seed::BRANCH.to_owned(),
            commit,
            token: github::TOKEN.to_owned(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Release {
    /// The version that served before, as `/version` says it.
    pub from: String,
    /// The version released, likewise.
    pub to: String,
    /// The tag in git.
    pub tag: String,
    /// The file in the repository that the version stands in.
    pub version_file: String,
    /// The tag of the image.
    pub image_tag: String,
    /// The workflow that builds it.
    pub build_workflow: String,
    /// The folder of SQL migrations.
    pub migrations: PathBuf,
    /// What goes wrong with it.
    pub fail: Option<Fail>,
}

impl Release {
    pub(super) fn new(migrations: PathBuf, fail: Option<Fail>) -> Self {
        Self {
            from: seed::OLD.version.to_owned(),
            to: seed::NEW.version.to_owned(),
            tag: seed::TAG.to_owned(),
            version_file: seed::VERSION_FILE.to_owned(),
            image_tag: seed::NEW.tag.to_owned(),
            build_workflow: seed::BUILD.to_owned(),
            migrations,
            fail,
        }
    }
}
