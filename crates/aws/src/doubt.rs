//! What the SDK's own retries hide: that an attempt before the last one may have taken effect.
//!
//! The SDK says what came of the last attempt alone. Where the first answer was lost, or was a server's error, and the second
//! attempt is refused, "refused" is not "nothing was done". The attempts of one call share their `amz-sdk-invocation-id`.
//!
//! Source: <https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html>

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

const CALL: &str = "amz-sdk-invocation-id";
const MARK: &str = "x-cutover-earlier-attempt-in-doubt";

/// The calls of which an attempt may have taken effect without an answer that says so.
type Doubtful = Arc<Mutex<HashSet<String>>>;

/// The client, with a mark on each answer to a call of which an earlier attempt is in doubt; [`is_marked`] reads it.
pub(crate) fn marking(client: SharedHttpClient) -> SharedHttpClient {
    let doubtful = Doubtful::default();
    http_client_fn(move |settings: &HttpConnectorSettings, components: &RuntimeComponents| {
        let inner = client.http_connector(settings, components);
        SharedHttpConnector::new(Marking { inner, doubtful: doubtful.clone() })
    })
}

/// Whether an attempt before the one that was answered so may have taken effect.
pub(crate) fn is_marked(answer: &HttpResponse) -> bool {
    answer.headers().get(MARK).is_some()
}

#[derive(Debug)]
struct Marking {
    inner: SharedHttpConnector,
    doubtful: Doubtful,
}

impl HttpConnector for Marking {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let call = request.headers().get(CALL).map(str::to_owned);
        let sent = self.inner.call(request);
        let Some(call) = call else { return sent };
        let doubtful = self.doubtful.clone();
        HttpConnectorFuture::new(async move {
            let mut answer = sent.await;
            let mut doubtful = doubtful.lock().unwrap_or_else(PoisonError::into_inner);
            match &mut answer {
                Ok(answer) if answer.status().as_u16() < 500 => {
                    if doubtful.remove(&call) {
                        answer.headers_mut().insert(MARK, "true");
                    }
                }
                _ => {
                    doubtful.insert(call);
                }
            }
            answer
        })
    }
}
