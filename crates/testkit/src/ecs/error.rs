//! Errors as the awsJson1.1 protocol carries them.

use serde_json::{Value, json};

/// An answer other than success.
///
/// The common errors are listed on
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/CommonErrors.html>, those of an operation on its own page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EcsError {
    /// ECS refused the call.
    Api {
        /// The exception's name, as in `__type`.
        code: &'static str,
        /// The text that a person sees.
        message: String,
    },
    /// The stand-in has no such operation: a gap in the stand-in, or a misspelt name.
    UnknownOperation(String),
}

impl EcsError {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self::Api { code, message: message.into() }
    }

    pub(super) fn client(message: impl Into<String>) -> Self {
        Self::new("ClientException", message)
    }

    pub(super) fn parameter(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterException", message)
    }

    /// The exception's name.
    pub fn code(&self) -> &str {
        match self {
            Self::Api { code, .. } => code,
            Self::UnknownOperation(_) => "UnknownOperationException",
        }
    }

    /// The text that a person sees.
    pub fn message(&self) -> String {
        match self {
            Self::Api { message, .. } => message.clone(),
            Self::UnknownOperation(name) => format!("the ECS stand-in has no operation {name:?}"),
        }
    }

    /// The body of the answer. Its status is 400 for each of these errors, as 500 would be retried by every SDK.
    pub fn body(&self) -> Value {
        json!({"__type": self.code(), "message": self.message()})
    }
}

impl std::fmt::Display for EcsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code(), self.message())
    }
}

impl std::error::Error for EcsError {}
