//! Uploading a file.

use std::path::Path;

use futures::TryStreamExt as _;
use http::{Request, Uri, header};
use http_body_util::StreamBody;
use hyper::body::Frame;
use kit::{Cx, Failure};
use octocrab::OctoBody;
use serde::de::DeserializeOwned;
use tokio_util::io::ReaderStream;

use crate::client::{Call, Github, upload_address};
use crate::encode;
use crate::error::failure;

impl Github {
    /// Sends a file once, without holding it in memory, to the `upload_url` of a release. Whether it arrived is for the caller
    /// to see: after a failure GitHub may have kept an asset in the state `starter`.
    ///
    /// Source: <https://docs.github.com/en/rest/releases/assets#upload-a-release-asset>
    pub async fn upload<T: DeserializeOwned>(
        &self,
        cx: &Cx,
        call: Call<'_>,
        upload_url: &str,
        name: &str,
        file: &Path,
    ) -> Result<T, Failure> {
        let failed = |why: String| Failure::failed(call.attempt).because(why);
        let address = self.upload_uri(upload_url, name).map_err(|why| failed(why).untouched(true))?;
        let opened = tokio::fs::File::open(file).await;
        let unread = |error: std::io::Error| failed(format!("{}: {error}", file.display())).untouched(true);
        let opened = opened.map_err(unread)?;
        let size = opened.metadata().await.map_err(unread)?.len();
        let stream = ReaderStream::with_capacity(opened, 256 * 1024).map_ok(Frame::data);
        let request = Request::post(address)
            .header(header::CONTENT_TYPE, content_type(name))
            .header(header::CONTENT_LENGTH, size)
            .body(OctoBody::new(StreamBody::new(stream)))
            .map_err(|error| failed(error.to_string()).untouched(true))?;
        let octocrab = self.rooted(cx)?;
        let sent = async {
            let answer = octocrab.execute(request).await?;
            let answer = octocrab::map_github_error(answer).await?;
            octocrab.body_to_string(answer).await
        };
        let text = cx
            .in_time(call.attempt, sent)
            .await?
            .map_err(|error| failure(call.attempt, call.permission, error))?;
        serde_json::from_str(&text)
            .map_err(|error| failed(format!("GitHub's answer could not be read: {error}")).transient(true))
    }

    /// The address for a file, on a host that may be given the token.
    fn upload_uri(&self, upload_url: &str, name: &str) -> Result<Uri, String> {
        let (address, _) = upload_url.split_once('{').unwrap_or((upload_url, ""));
        let uri: Uri = format!("{address}?name={}", encode(name).replace('/', "%2F"))
            .parse()
            .map_err(|error| format!("GitHub gave {upload_url} as the address for files: {error}"))?;
        let base: Uri = self
            .base()
            .parse()
            .map_err(|error: http::uri::InvalidUri| format!("{}: {error}", self.base()))?;
        let known = [base.authority().cloned(), upload_address(&base).authority().cloned()];
        let same_scheme = uri.scheme() == base.scheme();
        if !same_scheme || !known.contains(&uri.authority().cloned()) {
            return Err(format!(
                "GitHub gave {upload_url} as the address for files, which is another server's"
            ));
        }
        Ok(uri)
    }
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next().map(str::to_ascii_lowercase).as_deref() {
        Some("zip") => "application/zip",
        Some("gz" | "tgz") => "application/gzip",
        Some("json") => "application/json",
        Some("txt" | "md" | "sha256" | "asc") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
