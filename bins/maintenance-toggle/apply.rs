//! Makes the switch. The only file that writes.

use std::time::Duration;

use aws::{failure, without_retry};
use aws_sdk_route53::error::ProvideErrorMetadata as _;
use aws_sdk_route53::types::{Change, ChangeAction, ChangeBatch, ResourceRecordSet};
use kit::{Cx, Failure};

use crate::observe::{World, marker, records};
use crate::plan::{Batch, Zone};
use crate::record_set::{RecordSet, same};

const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(2);
/// Before each look after a call without an answer. AWS may still be at work on it, or show it late: a single look at once would take
/// a change that comes a moment later for none, and the receipt would say that nothing was changed.
pub(crate) const LOOKS: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(2)];

/// What Route 53 calls the change; none where its answer was lost and the change was found made.
pub(crate) type ChangeId = Option<String>;

/// Makes all changes of the batch or none. It deletes what was seen and creates what was not there, so that a change by
/// somebody else in between makes it fail. The call has no token: a retry looks first.
///
/// Source: <https://docs.aws.amazon.com/Route53/latest/APIReference/API_ChangeResourceRecordSets.html>
pub(crate) async fn switch(
    cx: &Cx,
    world: &World,
    zone: &Zone,
    name: &str,
    batch: &Batch,
) -> Result<ChangeId, Failure> {
    let attempt = format!("change the record of {name} in the zone {}", zone.name);
    let built = build(batch).map_err(|error| Failure::failed(&attempt).because(error).untouched(true))?;
    let mut tries = 0;
    // Whether one of the tries may have taken effect all the same.
    let mut doubt = false;
    let left = |failure: Failure, doubt: bool| {
        let failure = failure.untouched(!doubt);
        if doubt {
            failure.state(format!("whether the record of {name} was changed is not known"))
        } else {
            failure
        }
    };
    loop {
        tries += 1;
        let call = world.route53.change_resource_record_sets().hosted_zone_id(&zone.id);
        let call = call.change_batch(built.clone()).customize();
        let sent = call
            .config_override(aws_sdk_route53::config::Builder::new().retry_config(without_retry()))
            .send();
        let error = match sent.await {
            Ok(answer) => return Ok(answer.change_info().map(|change| change.id.clone())),
            Err(error) => error,
        };
        let code = error.as_service_error().and_then(|error| error.code()).map(str::to_owned);
        let arn = format!("arn:aws:route53:::hostedzone/{}", zone.id);
        let failed = failure(&attempt, "route53:ChangeResourceRecordSets", &arn, error);
        doubt |= !failed.is_untouched();
        for pause in LOOKS.into_iter().filter(|_| doubt) {
            cx.or_cancelled(cx.pause(pause)).await.map_err(|cancelled| left(cancelled, doubt))?;
            if is_made(cx, world, zone, name, batch).await.map_err(|failed| left(failed, doubt))? {
                return Ok(None);
            }
        }
        if code.as_deref() == Some("InvalidChangeBatch") {
            // Somebody was faster: it is not this very change, whose answer was lost.
            let failed = Failure::waiting(attempt)
                .because(failed.chain().join(": "))
                .help("somebody has changed it meanwhile: run the same command again, which looks anew");
            return Err(left(failed, doubt));
        }
        if !failed.is_transient() || tries == TRIES {
            return Err(left(failed, doubt));
        }
        cx.or_cancelled(cx.pause(PAUSE)).await.map_err(|cancelled| left(cancelled, doubt))?;
    }
}

/// Whether the batch has taken effect: everything it creates is there, and nothing that it deletes is.
pub(crate) async fn is_made(
    cx: &Cx,
    world: &World,
    zone: &Zone,
    name: &str,
    batch: &Batch,
) -> Result<bool, Failure> {
    let mut there = records(cx, world, zone, name).await?;
    there.extend(marker(cx, world, zone, name).await?);
    let has =
        |set: &RecordSet| there.iter().any(|one| same(std::slice::from_ref(one), std::slice::from_ref(set)));
    Ok(batch.create.iter().all(has) && !batch.delete.iter().any(has))
}

fn build(batch: &Batch) -> Result<ChangeBatch, aws_sdk_route53::error::BuildError> {
    let change = |action: ChangeAction, set: &RecordSet| {
        Change::builder().action(action).resource_record_set(ResourceRecordSet::try_from(set)?).build()
    };
    // Deletions first: a CNAME can't be created beside the record that it takes the place of.
    let deleted = batch.delete.iter().map(|set| change(ChangeAction::Delete, set));
    let created = batch.create.iter().map(|set| change(ChangeAction::Create, set));
    let changes = deleted.chain(created).collect::<Result<Vec<_>, _>>()?;
    ChangeBatch::builder().comment("cutover maintenance-toggle").set_changes(Some(changes)).build()
}
