//! Lines of text, compressed as they come. One object's worth.

use std::io::Write;

use bytes::Bytes;
use flate2::write::GzEncoder;
use stockpipeline::rules::LineCompression;
use zstd::zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd::zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer};

use crate::pieces::Pieces;

/// Bytes of lines that wait for the compressor; a buffer with less than this never makes one.
const STAGED_BYTES: usize = 65_536;

/// Bytes of a segment of the output, so that growth never copies what is there.
const SEGMENT_BYTES: usize = 262_144;

/// Zstandard level: the next one costs a third more and gains a few per cent.
const ZSTD_LEVEL: i32 = 1;

/// Logarithm of Zstandard's window: lines repeat what stood shortly before. Twice the window costs a tenth more time and saves 4 %;
/// the level's own, four times as large, also takes twice the memory.
const ZSTD_WINDOW_LOG: u32 = 17;

/// gzip level: the default takes four times as long.
const GZIP_LEVEL: u32 = 1;

/// What flate2 allocates for one stream, about.
const GZIP_STATE_BYTES: usize = 300_000;

/// Lines on their way to one object.
pub(crate) struct Lines {
    compression: LineCompression,
    staged: Vec<u8>,
    compressor: Option<Compressor>,
    output: Segments,
    count: u64,
}

enum Compressor {
    Gzip(Box<GzEncoder<Segments>>),
    Zstd(CCtx<'static>),
}

impl Lines {
    /// Returns no lines.
    pub(crate) fn new(compression: LineCompression) -> Self {
        Self { compression, staged: Vec::new(), compressor: None, output: Segments::default(), count: 0 }
    }

    /// Returns how many lines there are.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Returns where the next line goes; [`Lines::end_line`] ends it.
    #[inline]
    pub(crate) fn line(&mut self) -> &mut Vec<u8> {
        &mut self.staged
    }

    /// Ends the line.
    #[inline]
    pub(crate) fn end_line(&mut self) {
        self.staged.push(b'\n');
        self.count += 1;
        if self.staged.len() >= STAGED_BYTES {
            self.drain();
        }
    }

    /// Hands what is staged to the compressor.
    fn drain(&mut self) {
        match self.compression {
            LineCompression::None => self.output.append(&self.staged),
            LineCompression::Gzip | LineCompression::Zstd => {
                let compressor = self.compressor.get_or_insert_with(|| Compressor::of(self.compression));
                match compressor {
                    Compressor::Gzip(encoder) => encoder.write_all(&self.staged).expect("writing to memory cannot fail"),
                    Compressor::Zstd(context) => {
                        compress_zstd(context, &self.staged, ZSTD_EndDirective::ZSTD_e_continue, &mut self.output);
                    }
                }
            }
        }
        self.staged.clear();
        // One huge line must not hold its memory until the seal.
        self.staged.shrink_to(2 * STAGED_BYTES);
    }

    /// Returns the bytes of the object.
    pub(crate) fn finish(mut self) -> Pieces {
        self.drain();
        match self.compressor.take() {
            None => {}
            Some(Compressor::Gzip(encoder)) => self.output = encoder.finish().expect("writing to memory cannot fail"),
            Some(Compressor::Zstd(mut context)) => compress_zstd(&mut context, &[], ZSTD_EndDirective::ZSTD_e_end, &mut self.output),
        }
        self.output.into_pieces()
    }

    /// Returns the bytes of memory held.
    pub(crate) fn memory_bytes(&self) -> usize {
        let (state, written) = match &self.compressor {
            None => (0, 0),
            Some(Compressor::Gzip(encoder)) => (GZIP_STATE_BYTES, encoder.get_ref().memory_bytes()),
            Some(Compressor::Zstd(context)) => (context.sizeof(), 0),
        };
        self.staged.capacity() + state + written + self.output.memory_bytes()
    }
}

impl Compressor {
    fn of(compression: LineCompression) -> Self {
        if compression == LineCompression::Gzip {
            return Self::Gzip(Box::new(GzEncoder::new(Segments::default(), flate2::Compression::new(GZIP_LEVEL))));
        }
        let mut context = CCtx::create();
        for parameter in [CParameter::CompressionLevel(ZSTD_LEVEL), CParameter::WindowLog(ZSTD_WINDOW_LOG), CParameter::ChecksumFlag(true)]
        {
            context.set_parameter(parameter).expect("the parameters are within zstd's bounds");
        }
        Self::Zstd(context)
    }
}

fn compress_zstd(context: &mut CCtx<'static>, input: &[u8], end: ZSTD_EndDirective, output: &mut Segments) {
    let is_end = matches!(end, ZSTD_EndDirective::ZSTD_e_end);
    let mut input = InBuffer::around(input);
    loop {
        let segment = output.writable();
        let position = segment.len();
        let remaining = context
            .compress_stream2(&mut OutBuffer::around_pos(segment, position), &mut input, end)
            .expect("zstd fails only for lack of memory or wrong parameters");
        let is_done = if is_end { remaining == 0 } else { input.pos() == input.src.len() };
        if is_done {
            return;
        }
    }
}

/// Bytes in segments.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    segments: Vec<Vec<u8>>,
}

impl Segments {
    /// Returns a segment that has room.
    fn writable(&mut self) -> &mut Vec<u8> {
        if self.segments.last().is_none_or(|segment| segment.len() == segment.capacity()) {
            let size = if self.segments.is_empty() { SEGMENT_BYTES / 8 } else { SEGMENT_BYTES };
            self.segments.push(Vec::with_capacity(size));
        }
        let last = self.segments.len() - 1;
        &mut self.segments[last]
    }

    pub(crate) fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let segment = self.writable();
            let (now, later) = bytes.split_at(bytes.len().min(segment.capacity() - segment.len()));
            segment.extend_from_slice(now);
            bytes = later;
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.segments.iter().map(Vec::capacity).sum::<usize>() + self.segments.capacity() * size_of::<Vec<u8>>()
    }

    /// Returns the bytes as they lie. Only the last segment has room that it does not need: many small objects would hold much of it.
    pub(crate) fn into_pieces(mut self) -> Pieces {
        if let Some(last) = self.segments.last_mut() {
            last.shrink_to_fit();
        }
        self.segments.into_iter().map(Bytes::from).collect()
    }
}

impl Write for Segments {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.append(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn lines_of_every_size_read_back_in_their_order() {
        let line = |index: usize| format!("{index}{}", "x".repeat(if index % 100 == 99 { 700_000 } else { index % 97 }));
        for count in [0, 1, 5_000] {
            let expected: String = (0..count).map(|index| line(index) + "\n").collect();
            for compression in [LineCompression::None, LineCompression::Gzip, LineCompression::Zstd] {
                let mut lines = Lines::new(compression);
                for index in 0..count {
                    lines.line().extend_from_slice(line(index).as_bytes());
                    lines.end_line();
                }
                assert!(lines.staged.capacity() <= 2 * STAGED_BYTES);
                let bytes = lines.finish().to_bytes();
                let mut read = String::new();
                match compression {
                    LineCompression::None => read = String::from_utf8(bytes.to_vec()).unwrap(),
                    LineCompression::Gzip => drop(flate2::read::GzDecoder::new(bytes.as_ref()).read_to_string(&mut read).unwrap()),
                    LineCompression::Zstd => read = String::from_utf8(zstd::decode_all(bytes.as_ref()).unwrap()).unwrap(),
                }
                assert!(read == expected, "{compression:?} of {count} lines");
            }
        }
    }
}
