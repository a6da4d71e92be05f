//! Templates as CloudFormation has them.

use aws::failure;
use aws_sdk_cloudformation::error::ProvideErrorMetadata as _;
use aws_sdk_cloudformation::operation::get_template::builders::GetTemplateFluentBuilder;
use aws_sdk_cloudformation::types::TemplateStage;
use kit::{Cx, Failure};

use super::{Cfn, Node, is_absent, short};

/// The templates of one stack before and after a change set, with transforms processed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Templates {
    /// The logical ids that lead to the stack from the root; empty for the root.
    pub path: Vec<String>,
    /// As it is; none for a stack that is to be made.
    pub before: Option<String>,
    /// As it will be; none for one that goes, and where AWS gives none.
    pub after: Option<String>,
}

impl std::fmt::Debug for Templates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Passwords stand in templates of the world.
        f.debug_struct("Templates").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Cfn {
    /// The template of a stack, transforms processed; none where there is no such stack or it has none yet.
    ///
    /// Source: <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_GetTemplate.html>
    pub async fn template(&self, cx: &Cx, stack: &str) -> Result<Option<String>, Failure> {
        let call = self.client.get_template().stack_name(stack).template_stage(TemplateStage::Processed);
        self.get_template(cx, call, short(stack), &self.arn(stack)).await
    }

    /// The template of a stack as it was given.
    pub async fn original_template(&self, cx: &Cx, stack: &str) -> Result<Option<String>, Failure> {
        let call = self.client.get_template().stack_name(stack).template_stage(TemplateStage::Original);
        self.get_template(cx, call, short(stack), &self.arn(stack)).await
    }

    /// The template of a change set by its ARN, transforms processed; none where AWS gives none.
    pub async fn template_of_set(&self, cx: &Cx, arn: &str) -> Result<Option<String>, Failure> {
        let call = self.client.get_template().change_set_name(arn).template_stage(TemplateStage::Processed);
        self.get_template(cx, call, arn, &self.arn("*")).await
    }

    /// The templates of each stack of a change set, in the order of [`super::Described::nodes`].
    pub async fn templates_of(&self, cx: &Cx, nodes: &[Node]) -> Result<Vec<Templates>, Failure> {
        let mut templates = Vec::new();
        for node in nodes {
            let before = match &node.stack_id {
                Some(stack) => self.template(cx, stack).await?,
                None => None,
            };
            let after = match &node.set {
                Some(set) => self.template_of_set(cx, set).await?,
                None => None,
            };
            templates.push(Templates { path: node.path.clone(), before, after });
        }
        Ok(templates)
    }

    async fn get_template(
        &self,
        cx: &Cx,
        call: GetTemplateFluentBuilder,
        of: &str,
        resource: &str,
    ) -> Result<Option<String>, Failure> {
        match cx.or_cancelled(call.send()).await? {
            // A stack under review has none (<https://github.com/cdklabs/awscdk-v1-stack-finder/issues/273>), and one without
            // resources is none.
            Ok(answer) => {
                Ok(answer.template_body().filter(|body| !matches!(body.trim(), "" | "{}")).map(str::to_owned))
            }
            // It was deleted since.
            Err(error)
                if is_absent(&error)
                    || matches!(error.code(), Some("ChangeSetNotFound" | "ChangeSetNotFoundException")) =>
            {
                Ok(None)
            }
            Err(error) => Err(failure(
                format!("get the template of {of}"),
                "cloudformation:GetTemplate",
                resource,
                error,
            )),
        }
    }
}
