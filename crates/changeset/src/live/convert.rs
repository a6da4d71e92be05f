//! One answer of the SDK as [`Answer`]; words that the SDK does not know are kept.

use aws_sdk_cloudformation::operation::describe_change_set::DescribeChangeSetOutput;
use aws_sdk_cloudformation::types;

use crate::answer::{
    Action, Answer, Attribute, Change, ChangeSource, Detail, Evaluation, Parameter, PolicyAction,
    Replacement, RequiresRecreation, ResourceChange, Target,
};

pub(super) fn answer(page: &DescribeChangeSetOutput) -> Answer {
    Answer {
        change_set_name: page.change_set_name.clone(),
        change_set_id: page.change_set_id.clone(),
        stack_id: page.stack_id.clone(),
        stack_name: page.stack_name.clone(),
        status: page.status().map(|word| word.as_str().to_owned()),
        execution_status: page.execution_status().map(|word| word.as_str().to_owned()),
        // Query answers have the element also where there is nothing to say.
        status_reason: page.status_reason.clone().filter(|reason| !reason.is_empty()),
        parameters: page.parameters().iter().map(parameter).collect(),
        changes: page.changes().iter().map(change).collect(),
        next_token: page.next_token.clone().filter(|token| !token.is_empty()),
        include_nested_stacks: page.include_nested_stacks,
        parent_change_set_id: page.parent_change_set_id.clone(),
        root_change_set_id: page.root_change_set_id.clone(),
        deployment_mode: page.deployment_mode().map(|word| word.as_str().to_owned()),
        stack_drift_status: page.stack_drift_status().map(|word| word.as_str().to_owned()),
    }
}

fn parameter(parameter: &types::Parameter) -> Parameter {
    Parameter {
        parameter_key: parameter.parameter_key.clone().unwrap_or_default(),
        parameter_value: parameter.parameter_value.clone(),
        use_previous_value: parameter.use_previous_value,
        resolved_value: parameter.resolved_value.clone(),
    }
}

fn change(change: &types::Change) -> Change {
    Change {
        kind: change.r#type().map(|word| word.as_str().to_owned()),
        resource_change: change.resource_change().map(resource_change),
    }
}

fn resource_change(change: &types::ResourceChange) -> ResourceChange {
    ResourceChange {
        policy_action: change.policy_action().map(|word| PolicyAction::from(word.as_str())),
        action: change.action().map(|word| Action::from(word.as_str())),
        logical_resource_id: change.logical_resource_id.clone().unwrap_or_default(),
        physical_resource_id: change.physical_resource_id.clone().filter(|id| !id.is_empty()),
        resource_type: change.resource_type.clone().unwrap_or_default(),
        replacement: change.replacement().map(|word| Replacement::from(word.as_str())),
        scope: change.scope().iter().map(|word| Attribute::from(word.as_str())).collect(),
        details: change.details().iter().map(detail).collect(),
        change_set_id: change.change_set_id.clone().filter(|id| !id.is_empty()),
        before_context: change.before_context.clone(),
        after_context: change.after_context.clone(),
        resource_drift_status: change.resource_drift_status().map(|word| word.as_str().to_owned()),
    }
}

fn detail(detail: &types::ResourceChangeDetail) -> Detail {
    Detail {
        target: detail.target().map(target),
        evaluation: detail.evaluation().map(|word| Evaluation::from(word.as_str())),
        change_source: detail.change_source().map(|word| ChangeSource::from(word.as_str())),
        causing_entity: detail.causing_entity.clone(),
    }
}

fn target(target: &types::ResourceTargetDefinition) -> Target {
    Target {
        attribute: target.attribute().map(|word| Attribute::from(word.as_str())),
        name: target.name.clone(),
        requires_recreation: target.requires_recreation().map(|word| RequiresRecreation::from(word.as_str())),
        path: target.path.clone(),
        before_value: target.before_value.clone(),
        after_value: target.after_value.clone(),
        attribute_change_type: target.attribute_change_type().map(|word| word.as_str().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_the_sdk_does_not_know_stays_what_it_is() {
        let page = DescribeChangeSetOutput::builder()
            .status("CREATE_COMPLETE".into())
            .changes(
                types::Change::builder()
                    .r#type("Resource".into())
                    .resource_change(
                        types::ResourceChange::builder()
                            .action("Transmute".into())
                            .policy_action("ReplaceAndForget".into())
                            .replacement("Perhaps".into())
                            .logical_resource_id("TileTable")
                            .scope("Soul".into())
                            .build(),
                    )
                    .build(),
            )
            .build();
        let answer = answer(&page);
        let change = answer.changes[0].resource_change.as_ref().unwrap();
        assert_eq!(change.action, Some(Action::Unknown("Transmute".into())));
        assert_eq!(change.policy_action, Some(PolicyAction::Unknown("ReplaceAndForget".into())));
        assert_eq!(change.replacement, Some(Replacement::Unknown("Perhaps".into())));
        assert_eq!(change.scope, [Attribute::Unknown("Soul".into())]);
    }
}
