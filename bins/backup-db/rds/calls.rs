//! The calls to RDS, of instances and of clusters alike.

use ::aws::Aws;
use aws_sdk_rds::Client;
use aws_sdk_rds::config::Builder;
use aws_sdk_rds::error::ProvideErrorMetadata as _;
use aws_sdk_rds::types::{DbClusterSnapshot, DbSnapshot, Tag};
use aws_smithy_types::DateTime;
use kit::Failure;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// The tag that holds the whole backup id: a snapshot's name has fewer characters to choose from.
pub(super) const BACKUP_ID: &str = "cutover-backup-id";

/// What the snapshot is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Instance,
    Cluster,
}

impl Kind {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Instance => "DB instance",
            Self::Cluster => "DB cluster",
        }
    }
}

/// An instance or a cluster.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Database {
    pub(super) id: String,
    pub(super) status: String,
    pub(super) engine: String,
    pub(super) version: String,
    pub(super) encrypted: bool,
    /// The cluster that an instance belongs to.
    pub(super) cluster: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Snapshot {
    pub(super) id: String,
    pub(super) arn: String,
    /// The instance or cluster.
    pub(super) of: String,
    pub(super) status: String,
    pub(super) percent: Option<i32>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub(super) taken: Option<OffsetDateTime>,
    pub(super) engine: String,
    pub(super) gib: i32,
    pub(super) encrypted: bool,
    pub(super) tags: Vec<(String, String)>,
}

impl Snapshot {
    pub(super) fn tag(&self, name: &str) -> Option<&String> {
        self.tags.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

pub(crate) struct Rds {
    client: Client,
    region: String,
    account: String,
}

impl Rds {
    pub(crate) fn new(aws: &Aws) -> Self {
        Self { client: Client::new(&aws.config), region: aws.region.clone(), account: aws.account.clone() }
    }

    fn arn(&self, kind: &str, id: &str) -> String {
        format!("arn:aws:rds:{}:{}:{kind}:{id}", self.region, self.account)
    }

    /// The instance or cluster of exactly this name.
    pub(super) async fn database(&self, kind: Kind, id: &str) -> Result<Option<Database>, Failure> {
        let attempt = || format!("look at the {} {id}", kind.word());
        match kind {
            Kind::Instance => {
                let sent = self.client.describe_db_instances().db_instance_identifier(id).send().await;
                let answer = match sent {
                    Ok(answer) => answer,
                    Err(error) if error.code().is_some_and(|code| code.starts_with("DBInstanceNotFound")) => {
                        return Ok(None);
                    }
                    Err(error) => {
                        let arn = self.arn("db", id);
                        return Err(::aws::failure(attempt(), "rds:DescribeDBInstances", &arn, error));
                    }
                };
                let found =
                    answer.db_instances().iter().find(|found| found.db_instance_identifier() == Some(id));
                Ok(found.map(|found| Database {
                    id: id.to_owned(),
                    status: found.db_instance_status().unwrap_or_default().to_owned(),
                    engine: found.engine().unwrap_or_default().to_owned(),
                    version: found.engine_version().unwrap_or_default().to_owned(),
                    encrypted: found.storage_encrypted().unwrap_or_default(),
                    cluster: found
                        .db_cluster_identifier()
                        .filter(|cluster| !cluster.is_empty())
                        .map(str::to_owned),
                }))
            }
            Kind::Cluster => {
                let sent = self.client.describe_db_clusters().db_cluster_identifier(id).send().await;
                let answer = match sent {
                    Ok(answer) => answer,
                    Err(error) if error.code().is_some_and(|code| code.starts_with("DBClusterNotFound")) => {
                        return Ok(None);
                    }
                    Err(error) => {
                        let arn = self.arn("cluster", id);
                        return Err(::aws::failure(attempt(), "rds:DescribeDBClusters", &arn, error));
                    }
                };
                let found =
                    answer.db_clusters().iter().find(|found| found.db_cluster_identifier() == Some(id));
                Ok(found.map(|found| Database {
                    id: id.to_owned(),
                    status: found.status().unwrap_or_default().to_owned(),
                    engine: found.engine().unwrap_or_default().to_owned(),
                    version: found.engine_version().unwrap_or_default().to_owned(),
                    encrypted: found.storage_encrypted().unwrap_or_default(),
                    cluster: None,
                }))
            }
        }
    }

    /// The snapshot of exactly this name.
    pub(super) async fn snapshot(&self, kind: Kind, name: &str) -> Result<Option<Snapshot>, Failure> {
        let attempt = || format!("look at the snapshot {name}");
        match kind {
            Kind::Instance => {
                let sent = self.client.describe_db_snapshots().db_snapshot_identifier(name).send().await;
                match sent {
                    Ok(answer) => {
                        Ok(answer.db_snapshots().iter().map(instance).find(|found| found.id == name))
                    }
                    Err(error) if error.code().is_some_and(|code| code.starts_with("DBSnapshotNotFound")) => {
                        Ok(None)
                    }
                    Err(error) => {
                        let arn = self.arn("snapshot", name);
                        Err(::aws::failure(attempt(), "rds:DescribeDBSnapshots", &arn, error))
                    }
                }
            }
            Kind::Cluster => {
                let sent = self
                    .client
                    .describe_db_cluster_snapshots()
                    .db_cluster_snapshot_identifier(name)
                    .send()
                    .await;
                match sent {
                    Ok(answer) => {
                        Ok(answer.db_cluster_snapshots().iter().map(cluster).find(|found| found.id == name))
                    }
                    Err(error)
                        if error.code().is_some_and(|code| code.starts_with("DBClusterSnapshotNotFound")) =>
                    {
                        Ok(None)
                    }
                    Err(error) => {
                        let arn = self.arn("cluster-snapshot", name);
                        Err(::aws::failure(attempt(), "rds:DescribeDBClusterSnapshots", &arn, error))
                    }
                }
            }
        }
    }

    /// Asks for a snapshot, once.
    ///
    /// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBSnapshot.html>
    pub(super) async fn create(
        &self,
        kind: Kind,
        database: &str,
        name: &str,
        tags: &[(&str, String)],
    ) -> Result<Snapshot, Failure> {
        let attempt = || format!("make the snapshot {name} of the {} {database}", kind.word());
        let once = || Builder::new().retry_config(::aws::without_retry());
        let tags = tags.iter().map(|(key, value)| Tag::builder().key(*key).value(value).build()).collect();
        let made = match kind {
            Kind::Instance => {
                let call = self.client.create_db_snapshot().db_instance_identifier(database);
                let call = call.db_snapshot_identifier(name).set_tags(Some(tags)).customize();
                let sent = call.config_override(once()).send().await;
                let arn = self.arn("snapshot", name);
                let answer =
                    sent.map_err(|error| ::aws::failure(attempt(), "rds:CreateDBSnapshot", &arn, error))?;
                answer.db_snapshot().map(instance)
            }
            Kind::Cluster => {
                let call = self.client.create_db_cluster_snapshot().db_cluster_identifier(database);
                let call = call.db_cluster_snapshot_identifier(name).set_tags(Some(tags)).customize();
                let sent = call.config_override(once()).send().await;
                let arn = self.arn("cluster-snapshot", name);
                let answer = sent
                    .map_err(|error| ::aws::failure(attempt(), "rds:CreateDBClusterSnapshot", &arn, error))?;
                answer.db_cluster_snapshot().map(cluster)
            }
        };
        made.ok_or_else(|| Failure::failed(attempt()).because("the answer has no snapshot").transient(true))
    }

    pub(super) async fn delete(&self, kind: Kind, name: &str) -> Result<(), Failure> {
        let attempt = || format!("delete the snapshot {name}");
        match kind {
            Kind::Instance => {
                let sent = self.client.delete_db_snapshot().db_snapshot_identifier(name).send().await;
                let arn = self.arn("snapshot", name);
                sent.map(drop).map_err(|error| ::aws::failure(attempt(), "rds:DeleteDBSnapshot", &arn, error))
            }
            Kind::Cluster => {
                let call = self.client.delete_db_cluster_snapshot().db_cluster_snapshot_identifier(name);
                let arn = self.arn("cluster-snapshot", name);
                call.send()
                    .await
                    .map(drop)
                    .map_err(|error| ::aws::failure(attempt(), "rds:DeleteDBClusterSnapshot", &arn, error))
            }
        }
    }
}

fn at(time: Option<&DateTime>) -> Option<OffsetDateTime> {
    time.and_then(|time| OffsetDateTime::from_unix_timestamp(time.secs()).ok())
}

fn tags(tags: &[Tag]) -> Vec<(String, String)> {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    tags.iter().map(|tag| (text(tag.key()), text(tag.value()))).collect()
}

fn instance(found: &DbSnapshot) -> Snapshot {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    Snapshot {
        id: text(found.db_snapshot_identifier()),
        arn: text(found.db_snapshot_arn()),
        of: text(found.db_instance_identifier()),
        status: text(found.status()),
        percent: found.percent_progress(),
        taken: at(found.snapshot_create_time()),
        engine: text(found.engine()),
        gib: found.allocated_storage().unwrap_or_default(),
        encrypted: found.encrypted().unwrap_or_default(),
        tags: tags(found.tag_list()),
    }
}

fn cluster(found: &DbClusterSnapshot) -> Snapshot {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    Snapshot {
        id: text(found.db_cluster_snapshot_identifier()),
        arn: text(found.db_cluster_snapshot_arn()),
        of: text(found.db_cluster_identifier()),
        status: text(found.status()),
        percent: found.percent_progress(),
        taken: at(found.snapshot_create_time()),
        engine: text(found.engine()),
        gib: found.allocated_storage().unwrap_or_default(),
        encrypted: found.storage_encrypted().unwrap_or_default(),
        tags: tags(found.tag_list()),
    }
}
