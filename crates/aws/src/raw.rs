//! Documents that AWS may extend travel as JSON through the SDK's own request path: its signing, endpoint and
//! connection serve, and no field is mapped by hand, so none is lost.

use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::AfterDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use serde_json::Value;

/// Keeps the body of an answer: `client.describe_x().customize().interceptor(raw.clone()).send()`, then
/// [`RawAnswer::json`].
#[derive(Clone, Debug, Default)]
pub struct RawAnswer(Arc<Mutex<Option<Vec<u8>>>>);

impl RawAnswer {
    /// The answer as JSON; an error names what it was instead.
    pub fn json(&self) -> Result<Value, String> {
        let body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = body.as_deref().ok_or("the answer had no body")?;
        serde_json::from_slice(bytes).map_err(|error| format!("the answer is not JSON: {error}"))
    }
}

impl Intercept for RawAnswer {
    fn name(&self) -> &'static str {
        "RawAnswer"
    }

    // Only after deserialization is the whole body in memory.
    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let bytes = context.response().body().bytes().map(<[u8]>::to_vec);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = bytes;
        Ok(())
    }
}

/// For `customize().mutate_request(..)`: sends this document in place of the body that the SDK made.
pub fn send_json(document: &Value) -> impl Fn(&mut HttpRequest) + Send + Sync + 'static + use<> {
    let body = document.to_string();
    move |request| {
        request.headers_mut().insert("content-length", body.len().to_string());
        *request.body_mut() = SdkBody::from(body.as_str());
    }
}
