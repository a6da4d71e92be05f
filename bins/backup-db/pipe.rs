//! What lies between a child's pipe and the object: cutting into parts, sums, and zstd, each way on a thread of its own.
//!
//! Memory is what the parts take and a few MiB for zstd, whatever the size of the stream.

use std::io::{self, PipeReader, PipeWriter, Read, Write as _};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use s3::{Hasher, PartSizes, Sum};
use tokio::sync::mpsc;
use zstd::zstd_safe::CParameter;

/// What is done to a stream on its way into parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// Nothing.
    AsItIs,
    /// Compressed by this many threads.
    Zstd { threads: u32 },
}

/// `zstd` takes this level too where none is named.
pub(crate) const LEVEL: i32 = 3;
/// What one thread compresses at a time. zstd's own choice for this level is four times as much, for each thread and each
/// buffer of its queue.
const JOB: u32 = 2 << 20;
/// What is read from the pipe at once.
const READ: usize = 256 << 10;
/// What the kernel keeps between a child and us, in place of 64 KiB: for so long each can go on while the other one waits for a
/// processor. More than this is for the superuser alone: <https://man7.org/linux/man-pages/man7/pipe.7.html>.
#[cfg(target_os = "linux")]
const PIPE: usize = 1 << 20;

/// What the parts of a stream may take together, from the moment when one is begun to that when it is dropped. Two parts there
/// must be: one that is filled and one that is sent.
pub(crate) const MEMORY: u64 = 32 << 20;

/// A part of the stream; the last one carries the sums of all.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) body: Bytes,
    pub(crate) last: Option<Sum>,
    /// To be kept as long as the body, and dropped after it.
    pub(crate) room: Room,
}

/// A part's place in memory, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    bytes: u64,
    body: Bytes,
    back: std::sync::mpsc::Sender<Freed>,
}

/// What a dropped part took, and its memory unless somebody else has it still. It is filled again: an allocator keeps what it was
/// given for a while, and parts at the pace of a network would take more than they may.
struct Freed {
    bytes: u64,
    buffer: Option<BytesMut>,
}

impl Drop for Room {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.body).try_into_mut().ok();
        // Nobody waits for it after the last part.
        let _ = self.back.send(Freed { bytes: self.bytes, buffer });
    }
}

/// The parts of a stream as they come.
#[derive(Debug)]
pub(crate) struct Parts {
    parts: mpsc::Receiver<io::Result<Part>>,
    read: Arc<AtomicU64>,
}

impl Parts {
    /// Cuts what comes out of the pipe into parts of `sizes`. The thread ends with the pipe, or when this is dropped.
    ///
    /// Whatever comes goes to `tap` too, before it is compressed, until whoever reads there has had enough.
    pub(crate) fn of(pipe: PipeReader, packing: Packing, sizes: PartSizes, tap: Option<PipeWriter>) -> Self {
        widen(&pipe);
        let (to, parts) = mpsc::channel(1);
        let read = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&read);
        std::thread::spawn(move || {
            let mut cutter = Cutter::new(to.clone(), sizes);
            let source = Source { pipe, tap, count };
            let cut = match packing {
                Packing::AsItIs => source.pump(&mut cutter),
                Packing::Zstd { threads } => source.compress(&mut cutter, threads),
            };
            // A receiver that is gone has ended the stream itself.
            let _ = match cut {
                Ok(()) => to.blocking_send(Ok(cutter.last())),
                Err(error) => to.blocking_send(Err(error)),
            };
        });
        Self { parts, read }
    }

    /// The next part; none after the last.
    pub(crate) async fn next(&mut self) -> Option<io::Result<Part>> {
        self.parts.recv().await
    }

    /// How much came out of the pipe.
    pub(crate) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

/// Where it can't be had, as when this user's pipes take all that they may together, it goes on as it is.
#[cfg(target_os = "linux")]
fn widen(pipe: impl AsFd) {
    let _ = rustix::pipe::fcntl_setpipe_size(pipe, PIPE);
}

#[cfg(not(target_os = "linux"))]
fn widen(_: impl AsFd) {}

/// One thread for each processor, and few enough that their buffers are a small part of the memory.
pub(crate) fn threads() -> u32 {
    std::thread::available_parallelism()
        .map_or(1, |threads| u32::try_from(threads.get()).unwrap_or(1))
        .clamp(1, 4)
}

struct Source {
    pipe: PipeReader,
    tap: Option<PipeWriter>,
    count: Arc<AtomicU64>,
}

impl Source {
    /// Copies to the end. The tap is closed with it.
    fn pump(mut self, to: &mut impl io::Write) -> io::Result<()> {
        let mut buffer = vec![0; READ];
        loop {
            let length = match self.pipe.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.count.fetch_add(length as u64, Ordering::Relaxed);
            let bytes = buffer.get(..length).unwrap_or_default();
            if self.tap.as_mut().is_some_and(|tap| tap.write_all(bytes).is_err()) {
                self.tap = None;
            }
            to.write_all(bytes)?;
        }
    }

    fn compress(self, to: &mut Cutter, threads: u32) -> io::Result<()> {
        let mut encoder = zstd::Encoder::new(to, LEVEL)?;
        encoder.include_checksum(true)?;
        encoder.multithread(threads)?;
        encoder.set_parameter(CParameter::JobSize(JOB))?;
        self.pump(&mut encoder)?;
        encoder.finish()?;
        Ok(())
    }
}

/// Sums up what is written and cuts it into parts.
struct Cutter {
    to: mpsc::Sender<io::Result<Part>>,
    sizes: PartSizes,
    number: u32,
    part: BytesMut,
    room: Room,
    hasher: Hasher,
    /// How much the parts take that are not dropped yet, and where they say that they are.
    taken: u64,
    freed: std::sync::mpsc::Receiver<Freed>,
    spare: Vec<BytesMut>,
}

impl Cutter {
    fn new(to: mpsc::Sender<io::Result<Part>>, sizes: PartSizes) -> Self {
        let (back, freed) = std::sync::mpsc::channel();
        let room = Room { bytes: 0, body: Bytes::new(), back };
        Self {
            to,
            sizes,
            number: 1,
            part: BytesMut::new(),
            room,
            hasher: Hasher::new(),
            taken: 0,
            freed,
            spare: Vec::new(),
        }
    }

    fn size(&self) -> u64 {
        self.sizes.of(self.number)
    }

    /// Waits until there is room for the next part.
    fn make_room(&mut self) {
        let size = self.size();
        loop {
            let freed = if self.taken + size > MEMORY.max(2 * size) {
                // Whoever drops a part says so, in whichever way the stream ends.
                self.freed.recv().ok()
            } else if let Ok(freed) = self.freed.try_recv() {
                Some(freed)
            } else {
                break;
            };
            let Some(Freed { bytes, buffer }) = freed else { break };
            self.taken -= bytes;
            self.spare.extend(buffer);
        }
        self.taken += size;
        self.room.bytes = size;
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        // Smaller ones are of parts before they grew.
        self.spare.retain(|buffer| buffer.capacity() >= size);
        self.part = self.spare.pop().unwrap_or_default();
        self.part.clear();
        self.part.reserve(size);
    }

    fn cut(&mut self) -> Part {
        let back = self.room.back.clone();
        let body = std::mem::take(&mut self.part).freeze();
        let mut room = std::mem::replace(&mut self.room, Room { bytes: 0, body: Bytes::new(), back });
        room.body = body.clone();
        Part { body, last: None, room }
    }

    /// What is left, which may be nothing.
    fn last(mut self) -> Part {
        let part = self.cut();
        Part { last: Some(self.hasher.finish()), ..part }
    }
}

impl io::Write for Cutter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.part.len() as u64 == self.size() {
            let part = self.cut();
            self.to.blocking_send(Ok(part)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
            self.number += 1;
        }
        if self.part.capacity() == 0 {
            self.make_room();
        }
        let room = usize::try_from(self.size()).unwrap_or(usize::MAX) - self.part.len();
        let taken = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        self.part.extend_from_slice(taken);
        self.hasher.update(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The way back: chunks of an object into a child's standard input.
#[derive(Debug)]
pub(crate) struct Feed {
    chunks: mpsc::Sender<Bytes>,
    thread: std::thread::JoinHandle<io::Result<()>>,
}

impl Feed {
    /// Writes to the pipe what is given, decompressed if `zstd`.
    ///
    /// A child that wants no more is no error. Then, unless `whole`, [`Self::give`] says that nothing more is wanted.
    pub(crate) fn into(pipe: PipeWriter, zstd: bool, whole: bool) -> Self {
        widen(&pipe);
        let (chunks, received) = mpsc::channel(4);
        let thread = std::thread::spawn(move || {
            let mut source = Chunks { received, chunk: Bytes::new() };
            let written = if zstd {
                zstd::Decoder::new(&mut source).and_then(|decoder| write(decoder, pipe))
            } else {
                write(&mut source, pipe)
            };
            if whole {
                while source.received.blocking_recv().is_some() {}
            }
            written
        });
        Self { chunks, thread }
    }

    /// Whether more is wanted.
    pub(crate) async fn give(&self, chunk: Bytes) -> bool {
        self.chunks.send(chunk).await.is_ok()
    }

    /// Ends the stream. `Err` says why it could not be decompressed.
    pub(crate) async fn end(self) -> Result<(), String> {
        drop(self.chunks);
        let joined = tokio::task::spawn_blocking(|| self.thread.join()).await;
        match joined {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => Err(format!("it can't be decompressed: {error}")),
            Ok(Err(_)) | Err(_) => Err("it can't be decompressed".to_owned()),
        }
    }
}

/// Copies until the source ends or nobody reads any more.
fn write(mut source: impl Read, mut pipe: PipeWriter) -> io::Result<()> {
    let mut buffer = vec![0; READ];
    loop {
        let length = source.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..length).filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
        if pipe.write_all(bytes).is_err() {
            return Ok(());
        }
    }
}

struct Chunks {
    received: mpsc::Receiver<Bytes>,
    chunk: Bytes,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.received.blocking_recv() {
                Some(chunk) => self.chunk = chunk,
                None => return Ok(0),
            }
        }
        let bytes = self.chunk.split_to(buffer.len().min(self.chunk.len()));
        if let Some(to) = buffer.get_mut(..bytes.len()) {
            to.copy_from_slice(&bytes);
        }
        Ok(bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that no compressor makes smaller: the first of xorshift64 (Marsaglia 2003).
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 88_172_645_463_325_252_u64;
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_child_may_be_a_megabyte_ahead() {
        let (from, to) = io::pipe().unwrap();
        let _parts = Parts::of(from, Packing::AsItIs, PartSizes::for_about(0), None);
        assert_eq!(rustix::pipe::fcntl_getpipe_size(&to).unwrap(), 1 << 20);
        let (from, to) = io::pipe().unwrap();
        let _feed = Feed::into(to, false, false);
        assert_eq!(rustix::pipe::fcntl_getpipe_size(&from).unwrap(), 1 << 20);
    }

    async fn parts(content: Vec<u8>, packing: Packing) -> (Vec<usize>, Vec<u8>, Sum) {
        let (from, mut to) = io::pipe().unwrap();
        let writer = std::thread::spawn(move || to.write_all(&content));
        let mut parts = Parts::of(from, packing, PartSizes::for_about(0), None);
        let (mut sizes, mut all, mut sum) = (Vec::new(), Vec::new(), None);
        while let Some(part) = parts.next().await {
            let part = part.unwrap();
            sizes.push(part.body.len());
            all.extend_from_slice(&part.body);
            sum = part.last;
        }
        writer.join().unwrap().unwrap();
        (sizes, all, sum.unwrap())
    }

    #[tokio::test]
    async fn parts_are_whole_in_order_and_summed() {
        let content = noise((33 << 20) + 5);
        let (sizes, all, sum) = parts(content.clone(), Packing::AsItIs).await;
        assert_eq!(sizes, [8 << 20, 8 << 20, 8 << 20, 8 << 20, (1 << 20) + 5]);
        assert!(all == content);
        let mut hasher = Hasher::new();
        hasher.update(&content);
        assert_eq!(sum, hasher.finish());
        // A stream that ends where a part does has a last part of its own size.
        let (sizes, ..) = parts(noise(16 << 20), Packing::AsItIs).await;
        assert_eq!(sizes, [8 << 20, 8 << 20]);
        let (sizes, ..) = parts(Vec::new(), Packing::AsItIs).await;
        assert_eq!(sizes, [0]);
    }

    #[tokio::test]
    async fn no_more_parts_are_begun_than_there_is_room_for() {
        let (from, mut to) = io::pipe().unwrap();
        let writer = std::thread::spawn(move || {
            let chunk = vec![7; 1 << 20];
            (0..100).try_for_each(|_| to.write_all(&chunk))
        });
        let mut parts = Parts::of(from, Packing::AsItIs, PartSizes::for_about(0), None);
        let mut kept = Vec::new();
        for _ in 0..4 {
            kept.push(parts.next().await.unwrap().unwrap());
        }
        // Four of 8 MiB are all that fits: what is read beyond them is less than the pipe and one buffer hold.
        let more = tokio::time::timeout(std::time::Duration::from_millis(200), parts.next()).await;
        assert!(more.is_err() && parts.read() < (33 << 20), "{}", parts.read());
        let places: Vec<*const u8> = kept.iter().map(|part| part.body.as_ptr()).collect();
        drop(kept);
        let mut rest = 0;
        while let Some(part) = parts.next().await {
            let part = part.unwrap();
            assert!(places.contains(&part.body.as_ptr()), "a part lies elsewhere than those that are gone");
            rest += part.body.len();
        }
        assert_eq!(rest, 68 << 20);
        writer.join().unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_was_compressed_comes_back_the_same_and_damage_is_found() {
        let content =
            [b"COPY public.surveys (id, title) FROM stdin;\n".repeat(100_000), noise(3 << 20)].concat();
        let (_, packed, sum) = parts(content.clone(), Packing::Zstd { threads: 2 }).await;
        assert!(packed.len() < content.len() - (4 << 20), "{}", packed.len());
        assert_eq!(sum.bytes, packed.len() as u64);
        let unpack = async |packed: Vec<u8>| {
            let (mut from, to) = io::pipe().unwrap();
            let reader = std::thread::spawn(move || {
                let mut all = Vec::new();
                from.read_to_end(&mut all).map(|_| all)
            });
            let feed = Feed::into(to, true, true);
            for chunk in packed.chunks(100_000) {
                assert!(feed.give(Bytes::copy_from_slice(chunk)).await);
            }
            let ended = feed.end().await;
            (ended, reader.join().unwrap().unwrap())
        };
        let (ended, all) = unpack(packed.clone()).await;
        assert_eq!(ended, Ok(()));
        assert!(all == content);
        let (ended, _) = unpack(packed[..packed.len() - 9].to_vec()).await;
        assert!(ended.unwrap_err().contains("can't be decompressed"));
        let mut flipped = packed;
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        assert!(unpack(flipped).await.0.is_err());
    }

    #[tokio::test]
    async fn a_child_that_wants_no_more_ends_the_feed_or_lets_it_run_dry() {
        for (whole, wanted) in [(true, true), (false, false)] {
            let (from, to) = io::pipe().unwrap();
            drop(from);
            let feed = Feed::into(to, false, whole);
            let mut more = true;
            for _ in 0..50 {
                more = feed.give(Bytes::from(noise(READ))).await;
            }
            assert_eq!((more, feed.end().await), (wanted, Ok(())));
        }
    }
}
