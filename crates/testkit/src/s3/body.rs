//! What is stored: small bodies in memory, large ones in files, and, where the double is to keep none, their length alone.

use std::fs::File;
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::Stream;
use futures::stream;

/// What is read from a file at a time.
const CHUNK: usize = 1 << 18;

/// Where bodies go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bodies {
    /// All are kept.
    Keep,
    /// What is larger is counted and checksummed and then forgotten; reading it is refused. For measuring clients.
    DiscardAbove(usize),
}

/// A sequence of pieces that objects share: copying an object copies no data.
#[derive(Clone, Debug, Default)]
pub(super) struct Body {
    pieces: Vec<Piece>,
    length: u64,
}

#[derive(Clone, Debug)]
enum Piece {
    Memory(Bytes),
    File { file: Arc<File>, range: Range<u64> },
    Forgotten(u64),
}

impl Piece {
    fn length(&self) -> u64 {
        match self {
            Self::Memory(data) => data.len() as u64,
            Self::File { range, .. } => range.end - range.start,
            Self::Forgotten(length) => *length,
        }
    }

    fn slice(&self, from: u64, to: u64) -> Self {
        match self {
            Self::Memory(data) => Self::Memory(data.slice(index(from)..index(to))),
            Self::File { file, range } => {
                Self::File { file: Arc::clone(file), range: range.start + from..range.start + to }
            }
            Self::Forgotten(_) => Self::Forgotten(to - from),
        }
    }
}

fn index(position: u64) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}

impl Body {
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Whether the data is gone.
    pub(super) fn is_forgotten(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Forgotten(length) if *length > 0))
    }

    pub(super) fn join<'a>(bodies: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut whole = Self::default();
        for body in bodies {
            whole.pieces.extend(body.pieces.iter().cloned());
            whole.length += body.length;
        }
        whole
    }

    pub(super) fn slice(&self, range: Range<u64>) -> Self {
        let mut slice = Self { pieces: Vec::new(), length: range.end - range.start };
        let mut start = 0;
        for piece in &self.pieces {
            let end = start + piece.length();
            let (from, to) = (range.start.max(start), range.end.min(end));
            if from < to {
                slice.pieces.push(piece.slice(from - start, to - start));
            }
            start = end;
        }
        slice
    }

    /// The data in chunks, read when asked for.
    pub(super) fn chunks(&self) -> impl Iterator<Item = io::Result<Bytes>> + Send + use<> {
        self.clone().pieces.into_iter().flat_map(|piece| {
            let mut piece = Some(piece);
            std::iter::from_fn(move || {
                let next = piece.take()?;
                match next {
                    Piece::Memory(data) => Some(Ok(data)),
                    Piece::Forgotten(_) => Some(Err(io::Error::other("the double keeps no large bodies"))),
                    Piece::File { file, range } => {
                        let length = (range.end - range.start).min(CHUNK as u64);
                        if length == 0 {
                            return None;
                        }
                        let mut data = BytesMut::zeroed(index(length));
                        let read = file.read_exact_at(&mut data, range.start);
                        if read.is_ok() {
                            piece = Some(Piece::File { file, range: range.start + length..range.end });
                        }
                        Some(read.map(|()| data.freeze()))
                    }
                }
            })
        })
    }

    /// The data as it is sent.
    pub(super) fn stream(&self) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
        stream::iter(self.chunks())
    }

    pub(super) fn read(&self) -> io::Result<Vec<u8>> {
        let mut data = Vec::with_capacity(index(self.length));
        for chunk in self.chunks() {
            data.extend_from_slice(&chunk?);
        }
        Ok(data)
    }
}

impl From<Bytes> for Body {
    fn from(data: Bytes) -> Self {
        Self { length: data.len() as u64, pieces: vec![Piece::Memory(data)] }
    }
}

/// Takes a body in.
pub(super) struct Sink {
    bodies: Bodies,
    memory: BytesMut,
    file: Option<File>,
    length: u64,
}

impl Sink {
    /// What is larger goes to a file.
    const IN_MEMORY: usize = 1 << 20;

    pub(super) fn new(bodies: Bodies) -> Self {
        Self { bodies, memory: BytesMut::new(), file: None, length: 0 }
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.length += data.len() as u64;
        if let Bodies::DiscardAbove(limit) = self.bodies
            && self.length > limit as u64
        {
            self.memory = BytesMut::new();
            return Ok(());
        }
        if let Some(file) = &mut self.file {
            return file.write_all(data);
        }
        self.memory.extend_from_slice(data);
        if self.memory.len() > Self::IN_MEMORY {
            // It has no name: the space is free again when the last object that has a piece of it is gone.
            let mut file = tempfile::tempfile()?;
            file.write_all(&self.memory)?;
            self.memory = BytesMut::new();
            self.file = Some(file);
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Body {
        let piece = match (self.file, self.bodies) {
            (_, Bodies::DiscardAbove(limit)) if self.length > limit as u64 => Piece::Forgotten(self.length),
            (Some(file), _) => Piece::File { file: Arc::new(file), range: 0..self.length },
            (None, _) => Piece::Memory(self.memory.freeze()),
        };
        Body { pieces: vec![piece], length: self.length }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(bodies: Bodies, data: &[u8]) -> Body {
        let mut sink = Sink::new(bodies);
        for part in data.chunks(100_000) {
            sink.write(part).unwrap();
        }
        sink.finish()
    }

    #[test]
    fn slices_and_joins_are_those_of_the_data() {
        let large: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let whole = Body::join([&body(Bodies::Keep, b"small"), &body(Bodies::Keep, &large)]);
        let data = [b"small".as_slice(), &large].concat();
        assert_eq!((whole.length(), whole.read().unwrap()), (data.len() as u64, data.clone()));
        for range in [0..0, 0..5, 3..9, 5..3_000_005, 2_999_999..3_000_005] {
            let slice = whole.slice(range.clone());
            assert_eq!(slice.read().unwrap(), data[index(range.start)..index(range.end)], "{range:?}");
            assert_eq!(slice.length(), range.end - range.start);
        }
    }

    #[test]
    fn what_is_discarded_has_a_length_and_no_data() {
        let bodies = Bodies::DiscardAbove(1000);
        assert_eq!(body(bodies, &[7; 1000]).read().unwrap(), [7; 1000]);
        let large = body(bodies, &vec![7; 250_000]);
        assert_eq!(large.length(), 250_000);
        assert!(large.is_forgotten() && large.read().is_err());
    }
}
