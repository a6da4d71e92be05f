//! Which of an operation's events tells why it failed.

use super::Event;

/// The first failure of an operation, in the deepest nested stack that it can be followed to. `root` is the ARN of the stack
/// that the operation is of; the events are in the order of time.
///
/// Where no resource failed, as after a time-out or an alarm, it is what the stack itself gives as the reason of its
/// roll-back or failure.
pub(super) fn first_failure(events: &[Event], root: &str) -> Option<Event> {
    let mut stack = root;
    let mut found: Option<&Event> = None;
    loop {
        let within = || events.iter().filter(|event| event.stack_id == stack);
        let Some(event) = within()
            .find(|event| event.is_failure() && !event.is_of_the_stack())
            .or_else(|| within().find(|event| event.is_of_the_stack() && tells_why(event)))
        else {
            break;
        };
        found = Some(event);
        // The failure itself may lack the ARN of the nested stack that another event of the same resource has.
        let nested =
            within().filter(|other| other.logical_id == event.logical_id).find_map(Event::nested_stack);
        // The events of a nested stack name it by its ARN, whatever its parent calls it.
        let child = nested.and_then(|nested| {
            let ids = events.iter().map(|event| event.stack_id.as_str());
            ids.into_iter().find(|id| *id == nested || super::short(id) == nested)
        });
        match child {
            Some(child) if child != stack => stack = child,
            _ => break,
        }
    }
    found.cloned()
}

fn tells_why(event: &Event) -> bool {
    let failed = event.is_failure() || event.status.contains("ROLLBACK_IN_PROGRESS");
    failed && event.reason.as_deref().is_some_and(|reason| !reason.starts_with("User Initiated"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::STACK;

    fn event(stack: &str, id: &str, status: &str, reason: &str) -> Event {
        Event {
            stack_id: stack.into(),
            logical_id: id.into(),
            physical_id: Some(format!("physical-{id}")),
            resource_type: "AWS::SNS::Topic".into(),
            status: status.into(),
            reason: (!reason.is_empty()).then(|| reason.to_owned()),
            ..Event::default()
        }
    }

    fn of_stack(stack: &str, of: &str, status: &str, reason: &str) -> Event {
        let mut event = event(stack, of, status, reason);
        event.physical_id = Some(of.to_owned());
        event.resource_type = STACK.to_owned();
        event
    }

    #[test]
    fn the_resource_in_the_deepest_stack_is_told_and_not_those_given_up_for_it() {
        let events = [
            of_stack("arn:root", "arn:root", "CREATE_IN_PROGRESS", "User Initiated"),
            event("arn:root", "Topic", "CREATE_FAILED", "Resource creation cancelled"),
            event("arn:nested", "Bucket", "CREATE_FAILED", "jenkins-backups already exists"),
            event("arn:nested", "Policy", "CREATE_FAILED", "Resource creation cancelled"),
            of_stack(
                "arn:nested",
                "arn:nested",
                "CREATE_FAILED",
                "The following resource(s) failed: [Bucket]",
            ),
            of_stack(
                "arn:root",
                "arn:nested",
                "CREATE_FAILED",
                "Embedded stack arn:nested was not successfully created",
            ),
            event("arn:root", "Late", "CREATE_FAILED", "something else"),
            of_stack(
                "arn:root",
                "arn:root",
                "ROLLBACK_IN_PROGRESS",
                "The following resource(s) failed to create: [S3Res]",
            ),
        ];
        let first = first_failure(&events, "arn:root").unwrap();
        assert_eq!((first.logical_id.as_str(), first.stack_id.as_str()), ("Bucket", "arn:nested"));
    }

    #[test]
    fn an_alarm_rolls_back_without_a_failed_resource() {
        let events = [
            of_stack("arn:root", "arn:root", "UPDATE_IN_PROGRESS", "User Initiated"),
            event("arn:root", "Topic", "UPDATE_COMPLETE", ""),
            of_stack(
                "arn:root",
                "arn:root",
                "UPDATE_ROLLBACK_IN_PROGRESS",
                "Alarm arn:aws:cloudwatch:x went to ALARM",
            ),
        ];
        let first = first_failure(&events, "arn:root").unwrap();
        assert_eq!(first.reason.as_deref(), Some("Alarm arn:aws:cloudwatch:x went to ALARM"));
        assert_eq!(first_failure(&events[..2], "arn:root"), None);
    }
}
