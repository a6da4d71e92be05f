//! Where the service is now, when that is no longer where it was before the page. Pure.

use std::fmt;
use std::str::FromStr;

use kit::Failure;

use crate::page::Target;
use crate::record_set::{Alias, RecordSet, absolute, shown};

/// A load balancer among a stack's resources, by its logical ID, or an output of the stack that holds a DNS name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StackPart {
    pub(crate) stack: String,
    pub(crate) part: String,
}

impl FromStr for StackPart {
    type Err = String;

    /// The name of a stack has no dot (<https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_CreateStack.html>).
    fn from_str(text: &str) -> Result<Self, String> {
        match text.rsplit_once('.') {
            Some((stack, part)) if !stack.is_empty() && !part.is_empty() => {
                Ok(Self { stack: stack.to_owned(), part: part.to_owned() })
            }
            _ => Err("write STACK.RESOURCE or STACK.OUTPUT, as in api.LoadBalancer".to_owned()),
        }
    }
}

impl fmt::Display for StackPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.stack, self.part)
    }
}

/// What the console writes before the name of a load balancer in an alias, so that it has IPv6 addresses too.
///
/// Source: <https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/routing-to-elb-load-balancer.html>
const DUALSTACK: &str = "dualstack.";

/// The saved sets as they are when they lead to the service's present place: nothing else of them changes.
///
/// # Errors
///
/// Saved sets that lead to more than one place, or to addresses: which of them is this service's is not known.
pub(crate) fn moved(name: &str, saved: &[RecordSet], live: &Target) -> Result<Vec<RecordSet>, Failure> {
    let refused = |why: String| {
        Failure::refused(format!("lead {name} back to {}", live.what))
            .because(why)
            .help("leave --live-from out, and correct the record afterwards")
    };
    let mut places: Vec<String> = Vec::new();
    for set in saved {
        let place = match &set.alias {
            Some(alias) => bare(&alias.name),
            None if set.kind == "CNAME" && set.values.len() == 1 => {
                set.values.iter().map(|value| bare(value)).collect()
            }
            None => return Err(refused(format!("what was saved are addresses: {}", shown(saved)))),
        };
        if !places.contains(&place) {
            places.push(place);
        }
    }
    let [place] = &places[..] else {
        return Err(refused(format!("what was saved leads to several places: {}", shown(saved))));
    };
    if *place == bare(&live.dns) {
        return Ok(saved.to_vec());
    }
    saved
        .iter()
        .map(|set| {
            led_to(set, live)
                .ok_or_else(|| refused(format!("no alias to it is known, and what was saved is {set}")))
        })
        .collect()
}

fn led_to(set: &RecordSet, live: &Target) -> Option<RecordSet> {
    let Some(alias) = &set.alias else {
        return Some(RecordSet { values: vec![absolute(&live.dns)], ..set.clone() });
    };
    let prefix = if dns::normal(&alias.name).starts_with(DUALSTACK) { DUALSTACK } else { "" };
    let alias = Alias {
        zone: live.alias_zone.clone()?,
        name: absolute(&format!("{prefix}{}", bare(&live.dns))),
        evaluate_health: alias.evaluate_health,
    };
    Some(RecordSet { alias: Some(alias), ..set.clone() })
}

fn bare(name: &str) -> String {
    let name = dns::normal(name);
    name.strip_prefix(DUALSTACK).map_or(name.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::Code;

    const OLD: &str = "api-1.us-east-1.elb.amazonaws.com.";

    fn live(dns: &str) -> Target {
        Target {
            what: "the load balancer of api".into(),
            dns: dns.into(),
            alias_zone: Some("Z35SXDOTRQ7X7K".into()),
            ipv6: false,
        }
    }

    fn alias(kind: &str, to: &str) -> RecordSet {
        let alias = Alias { zone: "Z1".into(), name: to.into(), evaluate_health: true };
        RecordSet {
            alias: Some(alias),
            ttl: None,
            values: Vec::new(),
            ..RecordSet::simple("api.x.org", kind, 1, "")
        }
    }

    #[test]
    fn the_same_place_is_put_back_as_it_was() {
        for saved in [
            RecordSet::simple("api.x.org", "CNAME", 300, OLD),
            alias("A", "dualstack.API-1.us-east-1.elb.amazonaws.com."),
        ] {
            let saved = [saved];
            assert_eq!(
                moved("api.x.org", &saved, &live("api-1.us-east-1.elb.amazonaws.com")).unwrap(),
                saved
            );
        }
    }

    #[test]
    fn another_place_takes_the_old_ones_and_the_rest_stays() {
        let now = live("api-2.us-east-1.elb.amazonaws.com");
        let cname = moved("api.x.org", &[RecordSet::simple("api.x.org", "CNAME", 300, OLD)], &now).unwrap();
        assert_eq!(
            cname,
            [RecordSet::simple("api.x.org", "CNAME", 300, "api-2.us-east-1.elb.amazonaws.com.")]
        );
        let both = [
            alias("A", "dualstack.api-1.us-east-1.elb.amazonaws.com."),
            alias("AAAA", "dualstack.api-1.us-east-1.elb.amazonaws.com."),
        ];
        let moved = moved("api.x.org", &both, &now).unwrap();
        for (set, kind) in moved.iter().zip(["A", "AAAA"]) {
            let alias = set.alias.as_ref().unwrap();
            assert_eq!(set.kind, kind);
            assert_eq!(alias.name, "dualstack.api-2.us-east-1.elb.amazonaws.com.");
            assert_eq!((alias.zone.as_str(), alias.evaluate_health), ("Z35SXDOTRQ7X7K", true));
        }
    }

    #[test]
    fn what_is_not_one_place_is_refused() {
        let now = live("api-2.us-east-1.elb.amazonaws.com");
        let nowhere = Target { alias_zone: None, ..now.clone() };
        let two = [alias("A", OLD), alias("AAAA", "other.example.org.")];
        let address = [RecordSet::simple("api.x.org", "A", 60, "192.0.2.1")];
        for (saved, live, why) in [
            (&two[..], &now, "several places"),
            (&address[..], &now, "are addresses"),
            (&two[..1], &nowhere, "no alias to it"),
        ] {
            let refused = moved("api.x.org", saved, live).unwrap_err();
            assert_eq!(refused.code(), Code::Refused);
            assert!(refused.chain().join(" ").contains(why), "{:?}", refused.chain());
        }
    }

    #[test]
    fn a_part_of_a_stack_is_named_by_both() {
        let part: StackPart = "ApiProductionBoss.EndpointAppLoadBalancer".parse().unwrap();
        assert_eq!(
            (part.stack.as_str(), part.part.as_str()),
            ("ApiProductionBoss", "EndpointAppLoadBalancer")
        );
        for wrong in ["api", "api.", ".LoadBalancer", ""] {
            assert!(wrong.parse::<StackPart>().is_err(), "{wrong}");
        }
    }
}
