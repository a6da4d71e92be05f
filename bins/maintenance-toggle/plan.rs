//! What is to be done, from what was asked for and what was seen. Pure.

use kit::{Action, Failure, Note, Plan, clock};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::args::Act;
use crate::live::moved;
use crate::marker::{Marker, State, name_of};
use crate::page::{Target, page};
use crate::record_set::{RecordSet, same, shown};

pub(crate) const SWITCH: &str = "switch-record";

/// The hosted zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Zone {
    pub(crate) id: String,
    /// Without the last dot.
    pub(crate) name: String,
    pub(crate) private: bool,
}

/// What is there.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Seen {
    pub(crate) zone: Zone,
    /// Every record set of the name.
    pub(crate) at_name: Vec<RecordSet>,
    /// What lies at the marker's name.
    pub(crate) marker: Option<RecordSet>,
    /// Where the page is, if it was said.
    pub(crate) target: Option<Target>,
    /// Where the service is now, if it was said.
    pub(crate) live: Option<Target>,
    /// The CloudFormation stack that has the record, or why that is not known.
    pub(crate) stack: Result<Option<String>, String>,
}

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) act: Act,
    pub(crate) name: String,
    pub(crate) ttl: i64,
    pub(crate) expires: Duration,
    pub(crate) holder: String,
    pub(crate) leave_record: bool,
    pub(crate) now: OffsetDateTime,
}

/// Changes that Route 53 makes all or none of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Batch {
    pub(crate) delete: Vec<RecordSet>,
    pub(crate) create: Vec<RecordSet>,
}

impl Batch {
    /// What takes it back.
    pub(crate) fn inverse(&self) -> Self {
        Self { delete: self.create.clone(), create: self.delete.clone() }
    }
}

/// The plan.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Toggle {
    pub(crate) act: Act,
    pub(crate) zone: Zone,
    pub(crate) name: String,
    pub(crate) batch: Option<Batch>,
    /// What leads the name before and after.
    pub(crate) before: Vec<RecordSet>,
    pub(crate) after: Vec<RecordSet>,
    /// The saved state as it is afterwards.
    pub(crate) marker: Option<Marker>,
    pub(crate) warnings: Vec<String>,
    pub(crate) remarks: Vec<String>,
    pub(crate) unchanged: String,
}

/// How it stands with the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Stand {
    On,
    Off,
    /// The saved state says on, and the record is neither the page nor what was saved.
    Foreign,
}

impl Seen {
    pub(crate) fn leading(&self) -> Vec<RecordSet> {
        self.at_name.iter().filter(|set| set.leads()).cloned().collect()
    }

    /// The saved state.
    pub(crate) fn saved(&self, name: &str) -> Result<Option<Marker>, Failure> {
        let Some(set) = &self.marker else { return Ok(None) };
        Marker::of(set).map(Some).map_err(|why| {
            Failure::refused(format!("read the saved state at {}", dns::normal(&name_of(name))))
                .because(format!("{why}: {}", set.values.join(", ")))
                .help("see what it is; delete that TXT record by hand if it is nobody's")
        })
    }

    /// How it stands.
    pub(crate) fn stand(&self, saved: Option<&Marker>) -> Stand {
        match saved {
            None => Stand::Off,
            Some(marker) if same(&self.leading(), &marker.state.page) => Stand::On,
            Some(_) => Stand::Foreign,
        }
    }
}

/// The plan, or why there is none.
pub(crate) fn plan(wish: &Wish, seen: &Seen) -> Result<Toggle, Failure> {
    let saved = seen.saved(&wish.name)?;
    let mut toggle = Toggle {
        act: wish.act,
        zone: seen.zone.clone(),
        name: wish.name.clone(),
        batch: None,
        before: seen.leading(),
        after: seen.leading(),
        marker: saved.clone(),
        warnings: Vec::new(),
        remarks: Vec::new(),
        unchanged: String::new(),
    };
    match wish.act {
        Act::On => on(wish, seen, saved, &mut toggle)?,
        Act::Off => off(wish, seen, saved, &mut toggle)?,
        Act::Status => "this only looks".clone_into(&mut toggle.unchanged),
    }
    if toggle.batch.is_some() {
        let kept = toggle.before.iter().map(RecordSet::kept).max().unwrap_or_default();
        toggle.remarks.push(format!(
            "caches may keep the old answer for up to {kept} s after the switch, and some longer"
        ));
        let stays: Vec<&str> = seen
            .at_name
            .iter()
            .filter(|set| matches!(&*set.kind, "HTTPS" | "SVCB"))
            .map(|set| set.kind.as_str())
            .collect();
        if !stays.is_empty() {
            toggle.warnings.push(format!(
                "the {} record of {} stays; if it has addresses, browsers may go by it",
                stays.join(" and "),
                wish.name
            ));
        }
        match &seen.stack {
            Ok(Some(stack)) if wish.act == Act::On => toggle.warnings.push(format!(
                "the record belongs to the stack {stack}: an update that changes it there ends the maintenance early"
            )),
            Ok(_) => {}
            Err(why) => {
                toggle.remarks.push(format!("whether a CloudFormation stack has the record is not known: {why}"));
            }
        }
    }
    Ok(toggle)
}

fn since(marker: &Marker) -> String {
    format!("{}, since {}, until {}", marker.by, clock(marker.since), clock(marker.until))
}

/// The help for somebody who has to act for a release that is gone.
fn in_its_name(marker: &Marker) -> String {
    format!("if that release is gone, act in its name: --release '{}'", marker.by)
}

fn foreign(wish: &Wish, seen: &Seen, marker: &Marker, attempt: &str) -> Failure {
    Failure::refused(attempt)
        .because(format!(
            "somebody has changed {} since the page was switched on: it is now {}; the page is {}, and before it there was {}",
            wish.name,
            shown(&seen.leading()),
            shown(&marker.state.page),
            shown(&marker.state.found)
        ))
        .help(format!(
            "find out who and why; then put one of the two back by hand, or keep what is there with --action off --leave-record{}",
            if marker.by == wish.holder { String::new() } else { format!(" --release '{}'", marker.by) }
        ))
}

fn on(wish: &Wish, seen: &Seen, saved: Option<Marker>, toggle: &mut Toggle) -> Result<(), Failure> {
    let Some(target) = &seen.target else {
        return Err(
            Failure::usage("switch the maintenance page on").because("it is not said where the page is")
        );
    };
    let attempt = format!("lead {} to {}", wish.name, target.what);
    let others = || seen.at_name.iter().filter(|set| !set.leads()).cloned();
    if let Some(marker) = saved {
        let before: Vec<RecordSet> = marker.state.found.iter().cloned().chain(others()).collect();
        let wanted = page(&wish.name, &seen.zone.name, &before, target, wish.ttl)?;
        let ours = marker.by == wish.holder;
        if seen.stand(Some(&marker)) != Stand::On {
            return Err(foreign(wish, seen, &marker, &attempt));
        }
        if !ours && wish.now < marker.until {
            return Err(Failure::refused(attempt)
                .because(format!("another release has the maintenance page on: {}", since(&marker)))
                .help("wait for it to end")
                .help(in_its_name(&marker)));
        }
        if !same(&marker.state.page, &wanted) {
            return Err(Failure::refused(attempt)
                .because(format!(
                    "the page is on already, and it is another one: {}",
                    shown(&marker.state.page)
                ))
                .help("switch that one off first"));
        }
        if ours {
            toggle.unchanged = format!("the maintenance page is on: {}", since(&marker));
            return Ok(());
        }
        toggle.warnings.push(format!(
            "taken over from a release whose time was over: {}; what it had saved is kept",
            since(&marker)
        ));
        let taken =
            Marker { by: wish.holder.clone(), since: wish.now, until: wish.now + wish.expires, ..marker };
        let create = record_set(&taken, wish)?;
        toggle.batch = Some(Batch { delete: seen.marker.iter().cloned().collect(), create: vec![create] });
        toggle.marker = Some(taken);
        return Ok(());
    }
    let found = seen.leading();
    if found.is_empty() {
        let delegated = seen.at_name.iter().any(|set| set.kind == "NS");
        return Err(Failure::refused(attempt)
            .because(if delegated {
                format!("{} is delegated to other name servers, so no record of it here is seen", wish.name)
            } else {
                format!(
                    "the zone {} ({}) has no address or CNAME record of {}",
                    seen.zone.name, seen.zone.id, wish.name
                )
            })
            .help("check --name and --zone"));
    }
    let wanted = page(&wish.name, &seen.zone.name, &seen.at_name, target, wish.ttl)?;
    if let Some(policy) = found.iter().find_map(|set| set.routing.traffic_policy.as_ref()) {
        return Err(Failure::refused(attempt)
            .because(format!(
                "the record belongs to the traffic policy instance {policy}, which alone may change it"
            ))
            .help("change the traffic policy instead"));
    }
    if leads_there(&found, &wanted) {
        return Err(Failure::refused(attempt)
            .because(format!(
                "{} leads there already ({}), and nothing says what it was before",
                wish.name,
                shown(&found)
            ))
            .help("put the record of the live service back by hand first"));
    }
    let marker = Marker {
        by: wish.holder.clone(),
        since: wish.now,
        until: wish.now + wish.expires,
        state: State { found: found.clone(), page: wanted.clone() },
    };
    let mut create = vec![record_set(&marker, wish)?];
    create.extend(wanted.iter().cloned());
    toggle.batch = Some(Batch { delete: found, create });
    toggle.after = wanted;
    toggle.marker = Some(marker);
    Ok(())
}

/// Whether both lead to the same place, whatever their TTL.
fn leads_there(these: &[RecordSet], those: &[RecordSet]) -> bool {
    let place = |set: &RecordSet| match &set.alias {
        Some(alias) => vec![dns::normal(&alias.name)],
        None => set.values.iter().map(|value| dns::normal(value)).collect(),
    };
    let mut these: Vec<_> = these.iter().flat_map(place).collect();
    let mut those: Vec<_> = those.iter().flat_map(place).collect();
    these.sort_unstable();
    these.dedup();
    those.sort_unstable();
    those.dedup();
    these == those
}

fn record_set(marker: &Marker, wish: &Wish) -> Result<RecordSet, Failure> {
    marker.record_set(&wish.name).ok_or_else(|| {
        Failure::refused(format!("save the record sets of {}", wish.name))
            .because(format!(
                "{} sets are more than a TXT record can hold (4,000 characters of ASCII)",
                marker.state.found.len()
            ))
            .help("switch this name by hand")
    })
}

fn off(wish: &Wish, seen: &Seen, saved: Option<Marker>, toggle: &mut Toggle) -> Result<(), Failure> {
    let attempt = format!("lead {} back to its service", wish.name);
    let leading = seen.leading();
    let Some(marker) = saved else {
        let Some(target) = &seen.target else {
            return Err(Failure::refused(attempt)
                .because(format!(
                    "nothing is saved at {}, and the record is {}: whether that is the page is not known",
                    dns::normal(&name_of(&wish.name)),
                    shown(&leading)
                ))
                .help("if the page is off already, say where it is (--to-...), so that this can be seen"));
        };
        let wanted = page(&wish.name, &seen.zone.name, &seen.at_name, target, wish.ttl)?;
        if leading.is_empty() || leads_there(&leading, &wanted) {
            return Err(Failure::refused(attempt)
                .because(format!(
                    "nothing is saved at {}, and the record is {}: what it was before is not known",
                    dns::normal(&name_of(&wish.name)),
                    shown(&leading)
                ))
                .help("put the record of the live service back by hand"));
        }
        toggle.unchanged = format!("the maintenance page is off: {}", shown(&leading));
        return Ok(());
    };
    if marker.by != wish.holder && wish.now < marker.until {
        return Err(Failure::refused(attempt)
            .because(format!("the maintenance is another release's: {}", since(&marker)))
            .help(in_its_name(&marker)));
    }
    let markers: Vec<RecordSet> = seen.marker.iter().cloned().collect();
    toggle.marker = None;
    let found = match &seen.live {
        Some(live) => moved(&wish.name, &marker.state.found, live)?,
        None => marker.state.found.clone(),
    };
    if !same(&found, &marker.state.found) {
        toggle.warnings.push(format!(
            "before the page it was {}, and the service is elsewhere by now",
            shown(&marker.state.found)
        ));
    }
    if wish.leave_record || same(&leading, &found) {
        if !wish.leave_record {
            toggle.remarks.push("the record leads to the service already".to_owned());
        }
        toggle.batch = Some(Batch { delete: markers, create: Vec::new() });
        return Ok(());
    }
    if seen.stand(Some(&marker)) != Stand::On {
        return Err(foreign(wish, seen, &marker, &attempt));
    }
    let delete = markers.into_iter().chain(leading).collect();
    toggle.batch = Some(Batch { delete, create: found.clone() });
    toggle.after = found;
    Ok(())
}

impl Toggle {
    /// Whether the name will lead to another place than now.
    pub(crate) fn leads_elsewhere(&self) -> bool {
        self.batch.is_some() && !same(&self.before, &self.after)
    }
}

impl Plan for Toggle {
    fn actions(&self) -> Vec<Action> {
        let Some(batch) = &self.batch else { return Vec::new() };
        let (does, undo) = if same(&self.before, &self.after) {
            let kept =
                if self.marker.is_some() { "take the saved state over" } else { "delete the saved state" };
            (format!("{kept} at {}", dns::normal(&name_of(&self.name))), "puts it back as it was".to_owned())
        } else {
            let to = if self.act == Act::On { "to the maintenance page" } else { "back to its service" };
            (
                format!("lead {} {to}: {} becomes {}", self.name, shown(&self.before), shown(&self.after)),
                format!("leads it to {} again", shown(&self.before)),
            )
        };
        let line = |sign: &str, set: &RecordSet| format!("{sign} {} {set}", dns::normal(&set.name));
        let lines: Vec<String> = batch
            .delete
            .iter()
            .map(|set| line("-", set))
            .chain(batch.create.iter().map(|set| line("+", set)))
            .collect();
        vec![Action::new(SWITCH, does, undo).detail(lines.join("\n"))]
    }

    fn notes(&self) -> Vec<Note> {
        let zone = Note::Info(format!(
            "{} zone {} ({})",
            if self.zone.private { "private" } else { "public" },
            self.zone.name,
            self.zone.id
        ));
        let remarks = self.remarks.iter().cloned().map(Note::Info);
        let warnings = self.warnings.iter().cloned().map(Note::Warning);
        std::iter::once(zone).chain(remarks).chain(warnings).collect()
    }

    fn unchanged(&self) -> String {
        self.unchanged.clone()
    }
}
