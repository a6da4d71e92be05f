//! Record sets of Route 53, whole: what is deleted must be named exactly as it is, and what is put back is what was there.
//!
//! Source: <https://docs.aws.amazon.com/Route53/latest/APIReference/API_ResourceRecordSet.html>. A field that AWS adds one day
//! would be missing here, and then the DELETE of the set is refused by AWS, since it is not what is there: nothing is lost.

use std::collections::BTreeSet;
use std::fmt;

use aws_sdk_route53::error::BuildError;
use aws_sdk_route53::types;
use serde::{Deserialize, Serialize};

/// One record set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordSet {
    /// As Route 53 has it: `api.theboss.io.`
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ttl: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) values: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) alias: Option<Alias>,
    #[serde(flatten)]
    pub(crate) routing: Routing,
}

/// The record of AWS that an alias answers as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Alias {
    pub(crate) zone: String,
    pub(crate) name: String,
    pub(crate) evaluate_health: bool,
}

/// Which of several sets of a name and type answers.
///
/// Source: <https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/routing-policy.html>
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Routing {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) set_identifier: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) weight: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failover: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) multi_value: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health_check: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) traffic_policy: Option<String>,
    /// Continent, country, subdivision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) geo: Option<[Option<String>; 3]>,
    /// Collection and location.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cidr: Option<[String; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) proximity: Option<Proximity>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Proximity {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) region: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) local_zone_group: Option<String>,
    /// Latitude and longitude.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) coordinates: Option<[String; 2]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bias: Option<i32>,
}

impl RecordSet {
    /// A simple one, without a routing policy.
    pub(crate) fn simple(name: &str, kind: &str, ttl: i64, value: impl Into<String>) -> Self {
        Self {
            name: absolute(name),
            kind: kind.to_owned(),
            ttl: Some(ttl),
            values: vec![value.into()],
            alias: None,
            routing: Routing::default(),
        }
    }

    /// Whether it is part of where the name leads.
    pub(crate) fn leads(&self) -> bool {
        matches!(&*self.kind, "A" | "AAAA" | "CNAME")
    }

    /// Whether both say the same: names without regard to case and the last dot, values in any order.
    pub(crate) fn same(&self, other: &Self) -> bool {
        self.compared() == other.compared()
    }

    fn compared(&self) -> impl PartialEq + use<> {
        let value = |value: &String| if self.kind == "CNAME" { dns::normal(value) } else { value.clone() };
        let alias = self
            .alias
            .as_ref()
            .map(|alias| (alias.zone.clone(), dns::normal(&alias.name), alias.evaluate_health));
        (
            dns::normal(&self.name),
            self.kind.clone(),
            self.ttl,
            self.values.iter().map(value).collect::<BTreeSet<_>>(),
            alias,
            self.routing.clone(),
        )
    }

    /// How long caches may keep it, in seconds. An alias to CloudFront or a load balancer answers with 60.
    ///
    /// Source: <https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/resource-record-sets-choosing-alias-non-alias.html>
    pub(crate) fn kept(&self) -> i64 {
        self.ttl.unwrap_or(60)
    }
}

/// Whether both are the same sets.
pub(crate) fn same(these: &[RecordSet], those: &[RecordSet]) -> bool {
    these.len() == those.len() && these.iter().all(|this| those.iter().any(|that| this.same(that)))
}

/// The sets in one line.
pub(crate) fn shown(sets: &[RecordSet]) -> String {
    if sets.is_empty() {
        return "nothing".to_owned();
    }
    sets.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The name with its last dot.
pub(crate) fn absolute(name: &str) -> String {
    format!("{}.", dns::normal(name))
}

impl fmt::Display for RecordSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind)?;
        match &self.alias {
            Some(alias) => write!(f, "alias of {}", dns::normal(&alias.name))?,
            None => f.write_str(&self.values.join(", "))?,
        }
        if let Some(ttl) = self.ttl {
            write!(f, " (TTL {ttl})")?;
        }
        let routing = &self.routing;
        if let Some(id) = &routing.set_identifier {
            write!(f, " [{id}")?;
            if let Some(weight) = routing.weight {
                write!(f, ", weight {weight}")?;
            }
            for (what, value) in [("region", &routing.region), ("failover", &routing.failover)] {
                if let Some(value) = value {
                    write!(f, ", {what} {value}")?;
                }
            }
            f.write_str("]")?;
        }
        Ok(())
    }
}

impl From<&types::ResourceRecordSet> for RecordSet {
    fn from(set: &types::ResourceRecordSet) -> Self {
        let text = |text: Option<&str>| text.map(str::to_owned);
        Self {
            name: unescaped(&set.name),
            kind: set.r#type.as_str().to_owned(),
            ttl: set.ttl,
            values: set.resource_records().iter().map(|record| record.value.clone()).collect(),
            alias: set.alias_target().map(|alias| Alias {
                zone: alias.hosted_zone_id.clone(),
                name: alias.dns_name.clone(),
                evaluate_health: alias.evaluate_target_health,
            }),
            routing: Routing {
                set_identifier: set.set_identifier.clone(),
                weight: set.weight,
                region: set.region.as_ref().map(|region| region.as_str().to_owned()),
                failover: set.failover.as_ref().map(|failover| failover.as_str().to_owned()),
                multi_value: set.multi_value_answer,
                health_check: set.health_check_id.clone(),
                traffic_policy: set.traffic_policy_instance_id.clone(),
                geo: set.geo_location.as_ref().map(|geo| {
                    [text(geo.continent_code()), text(geo.country_code()), text(geo.subdivision_code())]
                }),
                cidr: set
                    .cidr_routing_config
                    .as_ref()
                    .map(|cidr| [cidr.collection_id.clone(), cidr.location_name.clone()]),
                proximity: set.geo_proximity_location.as_ref().map(|place| Proximity {
                    region: place.aws_region.clone(),
                    local_zone_group: place.local_zone_group.clone(),
                    coordinates: place
                        .coordinates
                        .as_ref()
                        .map(|place| [place.latitude.clone(), place.longitude.clone()]),
                    bias: place.bias,
                }),
            },
        }
    }
}

impl TryFrom<&RecordSet> for types::ResourceRecordSet {
    type Error = BuildError;

    fn try_from(set: &RecordSet) -> Result<Self, BuildError> {
        let routing = &set.routing;
        let records = set.values.iter().map(|value| types::ResourceRecord::builder().value(value).build());
        let records = records.collect::<Result<Vec<_>, _>>()?;
        let alias = set.alias.as_ref().map(|alias| {
            types::AliasTarget::builder()
                .hosted_zone_id(&alias.zone)
                .dns_name(&alias.name)
                .evaluate_target_health(alias.evaluate_health)
                .build()
        });
        let geo = routing.geo.as_ref().map(|[continent, country, subdivision]| {
            types::GeoLocation::builder()
                .set_continent_code(continent.clone())
                .set_country_code(country.clone())
                .set_subdivision_code(subdivision.clone())
                .build()
        });
        let cidr = routing.cidr.as_ref().map(|[collection, location]| {
            types::CidrRoutingConfig::builder().collection_id(collection).location_name(location).build()
        });
        let proximity = routing.proximity.as_ref().map(|place| {
            let coordinates = place.coordinates.as_ref().map(|[latitude, longitude]| {
                types::Coordinates::builder().latitude(latitude).longitude(longitude).build()
            });
            Ok::<_, BuildError>(
                types::GeoProximityLocation::builder()
                    .set_aws_region(place.region.clone())
                    .set_local_zone_group(place.local_zone_group.clone())
                    .set_coordinates(coordinates.transpose()?)
                    .set_bias(place.bias)
                    .build(),
            )
        });
        Self::builder()
            .name(&set.name)
            .r#type(types::RrType::from(set.kind.as_str()))
            .set_ttl(set.ttl)
            .set_resource_records((!records.is_empty()).then_some(records))
            .set_alias_target(alias.transpose()?)
            .set_set_identifier(routing.set_identifier.clone())
            .set_weight(routing.weight)
            .set_region(routing.region.as_deref().map(types::ResourceRecordSetRegion::from))
            .set_failover(routing.failover.as_deref().map(types::ResourceRecordSetFailover::from))
            .set_multi_value_answer(routing.multi_value)
            .set_health_check_id(routing.health_check.clone())
            .set_traffic_policy_instance_id(routing.traffic_policy.clone())
            .set_geo_location(geo)
            .set_cidr_routing_config(cidr.transpose()?)
            .set_geo_proximity_location(proximity.transpose()?)
            .build()
    }
}

/// The name with `\052` and its like as the characters they are.
///
/// Source: <https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/DomainNameFormat.html>
pub(crate) fn unescaped(name: &str) -> String {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = (first == b'\\').then(|| after.get(..3)).flatten();
        let code = code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 8).ok());
        if let Some(byte) = code {
            out.push(byte);
            rest = &after[3..];
        } else {
            out.push(first);
            rest = after;
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| name.to_owned())
}
