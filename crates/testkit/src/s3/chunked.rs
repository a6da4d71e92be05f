//! Bodies in the `aws-chunked` coding, with the checksum in a trailer. The chunks' signatures are not looked at: the double
//! takes any credentials.
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html>

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf as _, Bytes, BytesMut};
use futures::{Stream, StreamExt as _, stream};

/// A line that is longer is no chunk's head and no trailer.
const LONGEST_LINE: usize = 4096;

/// The trailers of a body, there once it has been read to its end.
#[derive(Clone, Debug, Default)]
pub(super) struct Trailers(Arc<Mutex<Option<Vec<(String, String)>>>>);

impl Trailers {
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let trailers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = trailers.iter().flatten().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone())
    }

    fn set(&self, all: Vec<(String, String)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(all);
    }
}

enum Phase {
    /// Before `SIZE;chunk-signature=…`.
    Head,
    /// In a chunk of which so much is left.
    Data(usize),
    /// Before the line end that follows a chunk's data.
    End,
}

struct Decoder<S> {
    input: S,
    buffer: BytesMut,
    phase: Phase,
    trailers: Trailers,
}

/// The data of the chunks. An error is a body that ends too early or is not of this form.
pub(super) fn decode<S, E>(input: S, trailers: Trailers) -> impl Stream<Item = io::Result<Bytes>> + Send
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
    E: std::error::Error + Send + Sync + 'static,
{
    let decoder = Decoder { input, buffer: BytesMut::new(), phase: Phase::Head, trailers };
    stream::try_unfold(
        decoder,
        |mut decoder| async move { Ok(decoder.next().await?.map(|data| (data, decoder))) },
    )
}

impl<S, E> Decoder<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::error::Error + Send + Sync + 'static,
{
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            match self.phase {
                Phase::Head => {
                    let line = self.line().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
                    let size = line.split(';').next().unwrap_or_default();
                    let size = usize::from_str_radix(size, 16).map_err(|_| malformed())?;
                    if size == 0 {
                        return self.read_trailers().await.map(|()| None);
                    }
                    self.phase = Phase::Data(size);
                }
                Phase::Data(left) => {
                    if self.buffer.is_empty() && !self.fill().await? {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    let data = self.buffer.split_to(left.min(self.buffer.len())).freeze();
                    self.phase = if data.len() == left { Phase::End } else { Phase::Data(left - data.len()) };
                    return Ok(Some(data));
                }
                Phase::End => {
                    if !self.line().await?.ok_or(io::ErrorKind::UnexpectedEof)?.is_empty() {
                        return Err(malformed());
                    }
                    self.phase = Phase::Head;
                }
            }
        }
    }

    async fn read_trailers(&mut self) -> io::Result<()> {
        let mut trailers = Vec::new();
        while let Some(line) = self.line().await? {
            if line.is_empty() {
                continue;
            }
            let (name, value) = line.split_once(':').ok_or_else(malformed)?;
            trailers.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        self.trailers.set(trailers);
        Ok(())
    }

    /// The next line without its end, which is LF or CRLF; `None` at the end of the body.
    async fn line(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end);
                self.buffer.advance(1);
                let line = line.strip_suffix(b"\r").unwrap_or(&line);
                return String::from_utf8(line.to_vec()).map(Some).map_err(|_| malformed());
            }
            if self.buffer.len() > LONGEST_LINE {
                return Err(malformed());
            }
            if !self.fill().await? {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    async fn fill(&mut self) -> io::Result<bool> {
        let Some(data) = self.input.next().await else { return Ok(false) };
        let data = data.map_err(io::Error::other)?;
        if self.buffer.is_empty() {
            self.buffer = BytesMut::from(data);
        } else {
            self.buffer.extend_from_slice(&data);
        }
        Ok(true)
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the body is not in the aws-chunked coding")
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::TryStreamExt as _;

    use super::*;

    /// The body, given in pieces of every size, decoded.
    async fn decoded(body: &str, piece: usize) -> io::Result<(String, Trailers)> {
        let pieces: Vec<_> = body
            .as_bytes()
            .chunks(piece)
            .map(|part| Ok::<_, Infallible>(Bytes::copy_from_slice(part)))
            .collect();
        let trailers = Trailers::default();
        let data: Vec<Bytes> = Box::pin(decode(stream::iter(pieces), trailers.clone())).try_collect().await?;
        Ok((String::from_utf8(data.concat()).unwrap(), trailers))
    }

    #[tokio::test]
    async fn data_and_trailer_wherever_the_body_is_cut() {
        let body = "7\r\nMozilla\r\n11;chunk-signature=ab\r\nDeveloper Network\r\n0\r\nx-amz-checksum-crc32: Wg==\r\n\r\n";
        for piece in 1..body.len() {
            let (data, trailers) = decoded(body, piece).await.unwrap();
            assert_eq!(data, "MozillaDeveloper Network");
            assert_eq!(trailers.get("X-Amz-Checksum-Crc32").as_deref(), Some("Wg=="));
        }
    }

    #[tokio::test]
    async fn a_body_that_ends_early_or_is_no_such_body_is_an_error() {
        for body in ["", "7\r\nMozi", "7\r\nMozilla\r\n", "seven\r\nMozilla", "1\r\nMozilla\r\n0\r\n\r\n"] {
            assert!(decoded(body, 3).await.is_err(), "{body:?}");
        }
    }
}
