//! The ECS stand-in behind the front.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::StatusCode;

use super::{Answer, Request, Service};
use crate::ecs::Ecs;

impl Service for Ecs {
    fn service(&self) -> &'static str {
        "ecs"
    }

    /// Answers everything: the emulator knows nothing of the clusters and services of the stand-in.
    fn handle<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Option<Answer>> {
        async {
            let answer = match self.call(&request.operation, request.json()).await {
                Ok(value) => Answer::json(&value),
                Err(error) => Answer::json(&error.body()).status(StatusCode::BAD_REQUEST),
            };
            Some(answer)
        }
        .boxed()
    }
}
