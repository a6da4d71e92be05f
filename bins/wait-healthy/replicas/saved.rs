//! The former numbers of copies, kept in the cluster itself where another job finds them.
//!
//! They stand in the `_meta` of a component template that no index template is composed of, so that it applies to no index. `_meta`
//! "may have any contents", is kept with the cluster's state, not in an index (whose own shards could be missing), and the
//! request that makes it can be told to replace none.
//! Source: <https://www.elastic.co/guide/en/elasticsearch/reference/8.17/indices-component-template.html>
//!
//! Elasticsearch before 7.8 has no component templates: there it is the `_meta` of the mapping of an index template, whose
//! pattern is one name that no index has.
//! Source: <https://www.elastic.co/guide/en/elasticsearch/reference/6.8/indices-templates.html>

use kit::Failure;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;

/// The template's name.
pub(super) const NAME: &str = "cutover-saved-replicas";
const VERSION: u64 = 1;

/// One index as it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Was {
    pub(super) name: String,
    /// An index that was made anew under the same name has another one.
    pub(super) uuid: String,
    pub(super) replicas: String,
}

/// What is saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Saved {
    /// What they were set to.
    pub(super) replicas: String,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) since: OffsetDateTime,
    /// Who did it.
    pub(super) by: String,
    pub(super) indexes: Vec<Was>,
}

/// Which kind of template holds it, by the server's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Keeper {
    /// Elasticsearch 7.8 and later, OpenSearch.
    Component,
    /// Elasticsearch 7.0 to 7.7: mappings have no type.
    Untyped,
    /// Elasticsearch 6: mappings have one.
    Typed,
    /// Before 6: and a template has one pattern.
    OnePattern,
}

impl Keeper {
    /// By `version` of `GET /`. None where it is no version.
    pub(super) fn of(distribution: &str, number: &str) -> Option<Self> {
        let mut parts = number.split(['.', '-']).map(str::parse::<u32>);
        let (major, minor) = (parts.next()?.ok()?, parts.next()?.ok()?);
        Some(match (distribution, major, minor) {
            ("opensearch", ..) | (_, 8.., _) | (_, 7, 8..) => Self::Component,
            (_, 7, _) => Self::Untyped,
            (_, 6, _) => Self::Typed,
            _ => Self::OnePattern,
        })
    }

    pub(super) fn path(self) -> String {
        match self {
            Self::Component => format!("/_component_template/{NAME}"),
            _ => format!("/_template/{NAME}"),
        }
    }

    /// The template's document.
    pub(super) fn document(self, saved: &Saved) -> Value {
        let meta = json!({"cutover": {"version": VERSION, "replicas": saved}});
        match self {
            Self::Component => json!({"template": {}, "_meta": meta}),
            Self::Untyped => json!({"index_patterns": [NAME], "order": 0, "mappings": {"_meta": meta}}),
            Self::Typed => {
                json!({"index_patterns": [NAME], "order": 0, "mappings": {"saved": {"_meta": meta}}})
            }
            Self::OnePattern => {
                json!({"template": NAME, "order": 0, "mappings": {"saved": {"_meta": meta}}})
            }
        }
    }

    /// What the answer to a GET of it has saved.
    ///
    /// # Errors
    /// A template of that name which this step did not write.
    pub(super) fn read(self, answer: &Value) -> Result<Option<Saved>, Failure> {
        let meta = match self {
            Self::Component => answer
                .get("component_templates")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .find(|one| one.get("name").and_then(Value::as_str) == Some(NAME))
                .map(|one| one.pointer("/component_template/_meta")),
            Self::Untyped => answer.get(NAME).map(|one| one.pointer("/mappings/_meta")),
            Self::Typed | Self::OnePattern => {
                answer.get(NAME).map(|one| one.pointer("/mappings/saved/_meta"))
            }
        };
        let Some(meta) = meta else { return Ok(None) };
        let ours = meta.and_then(|meta| meta.get("cutover"));
        let version = ours.and_then(|ours| ours.get("version")).and_then(Value::as_u64);
        let saved = ours.and_then(|ours| ours.get("replicas")).filter(|_| version == Some(VERSION));
        let saved: Option<Saved> = saved.and_then(|saved| Saved::deserialize(saved).ok());
        saved.map(Some).ok_or_else(|| {
            Failure::refused(format!("read the saved numbers of copies in the template {NAME}"))
                .because("this version did not write it")
                .help("use the version that wrote it, or look at it and delete it by hand")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keeper_is_what_the_version_has() {
        for (distribution, number, keeper) in [
            ("", "1.7.6", Some(Keeper::OnePattern)),
            ("", "5.6.16", Some(Keeper::OnePattern)),
            ("", "6.8.23", Some(Keeper::Typed)),
            ("", "7.7.1", Some(Keeper::Untyped)),
            ("", "7.8.0", Some(Keeper::Component)),
            ("", "7.10.2", Some(Keeper::Component)),
            ("", "9.0.0-beta1", Some(Keeper::Component)),
            ("opensearch", "1.3.20", Some(Keeper::Component)),
            ("opensearch", "3.1.0", Some(Keeper::Component)),
            ("", "x", None),
        ] {
            assert_eq!(Keeper::of(distribution, number), keeper, "{distribution} {number}");
        }
    }

    #[test]
    fn what_is_saved_is_read_back_and_nothing_else_is_taken_for_it() {
        let saved = Saved {
            replicas: "2".into(),
            since: OffsetDateTime::from_unix_timestamp(1_795_298_400).unwrap(),
            by: "run 4711".into(),
            indexes: vec![Was { name: "logs-2020.01.01".into(), uuid: "a".into(), replicas: "1".into() }],
        };
        // As each version answers a GET of the template.
        let answer = |keeper: Keeper| {
            let document = keeper.document(&saved);
            match keeper {
                Keeper::Component => {
                    json!({"component_templates": [{"name": NAME, "component_template": document}]})
                }
                _ => json!({NAME: document}),
            }
        };
        for keeper in [Keeper::Component, Keeper::Untyped, Keeper::Typed, Keeper::OnePattern] {
            assert_eq!(keeper.read(&answer(keeper)).unwrap().as_ref(), Some(&saved), "{keeper:?}");
            assert_eq!(keeper.read(&json!({})).unwrap(), None, "{keeper:?}");
        }
        let foreign = json!({NAME: {"index_patterns": ["x"], "mappings": {}}});
        assert_eq!(Keeper::Typed.read(&foreign).unwrap_err().code(), kit::Code::Refused);
        let newer = answer(Keeper::Component).to_string().replace("\"version\":1", "\"version\":2");
        assert!(Keeper::Component.read(&serde_json::from_str(&newer).unwrap()).is_err());
    }
}
