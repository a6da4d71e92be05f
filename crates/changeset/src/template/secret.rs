//! The value of a secret, which a template can set and others may have changed since.

use serde_json::Value;

use super::lossy::InPlaceRisk;
use super::value::{at, is_unknown, same};

/// The property of `AWS::SecretsManager::Secret`.
pub const SECRET_STRING: &str = "SecretString";

/// What a change of it does: "When you make a change to this property, a new secret version is created."
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-secretsmanager-secret.html>
pub const SECRET_REPLACED: &str = "the value that the secret holds now, one that was rotated or set by hand too, is replaced by the template's";

/// The risk of a changed value. The values themselves are not told.
pub(super) fn secret(before: &Value, after: &Value) -> Option<InPlaceRisk> {
    let (old, new) = (at(before, &[SECRET_STRING]), at(after, &[SECRET_STRING]));
    let why = match (old, new) {
        (None, None) => return None,
        (Some(old), Some(new)) if same(old, new) => return None,
        _ if [old, new].into_iter().flatten().any(is_unknown) => {
            format!("it may change, which can't be known here: {SECRET_REPLACED}")
        }
        (Some(_), None) => "it is left out, and what the secret holds then is not documented".to_owned(),
        _ => format!("it changes: {SECRET_REPLACED}"),
    };
    Some(InPlaceRisk { property: SECRET_STRING.to_owned(), why })
}
