//! A stored file as the text in it: gzip (of any number of members), zip (of one file) or plain, told by its first bytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::CrcReader;
use flate2::bufread::{DeflateDecoder, MultiGzDecoder};
use zip::{CompressionMethod, ZipArchive};

use super::FeedError;
use super::places::Stored;

/// Bytes that are read from the stored file at once.
const READ_BYTES: usize = 128 * 1024;

/// The text of a stored file, from its start.
pub(super) struct Text {
    reader: Box<dyn Read + Send>,
    /// Bytes of the stored file that were used.
    used: Arc<AtomicU64>,
}

impl Text {
    /// Opens the text of a stored file. There is one reader of a file at a time.
    pub(super) fn open(stored: &Stored) -> Result<Self, FeedError> {
        let failed = |error| FeedError::Read { name: stored.name().to_owned(), error };
        let mut file = stored.rewound()?;
        let mut magic = [0; 6];
        let length = read_up_to(&mut file, &mut magic).map_err(failed)?;
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let used = Arc::new(AtomicU64::new(0));
        let reader: Box<dyn Read + Send> = match &magic[..length] {
            [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(Counted::new(file, &used))),
            [b'P', b'K', 3 | 5, 4 | 6, ..] => open_zip(file, &used, stored.name())?,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => return Err(unsupported(stored, "zstd")),
            [0xfd, b'7', b'z', b'X', b'Z', ..] => return Err(unsupported(stored, "xz")),
            [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A'] => return Err(unsupported(stored, "bzip2")),
            _ => Box::new(Counted::new(file, &used)),
        };
        Ok(Self { reader, used })
    }

    /// Returns how many bytes of the stored file were used.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

impl Read for Text {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.reader.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return outcome,
            }
        }
    }
}

fn unsupported(stored: &Stored, format: &'static str) -> FeedError {
    FeedError::Unsupported {
        name: stored.name().to_owned(),
        problem: format!("it is compressed with {format}; use gzip, zip or plain text"),
    }
}

fn read_up_to(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..])? {
            0 => break,
            read => length += read,
        }
    }
    Ok(length)
}

/// Opens the one file of a zip.
fn open_zip(file: File, used: &Arc<AtomicU64>, name: &str) -> Result<Box<dyn Read + Send>, FeedError> {
    let unsupported = |problem: String| FeedError::Unsupported { name: name.to_owned(), problem };
    let damaged =
        |error: zip::result::ZipError| FeedError::Unsupported { name: name.to_owned(), problem: format!("it is no whole zip: {error}") };
    let mut archive = ZipArchive::new(file).map_err(damaged)?;
    let mut files = Vec::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(damaged)?;
        // macOS puts its own notes on a file into a folder beside it.
        if entry.is_file() && !entry.name().map_err(damaged)?.starts_with("__MACOSX/") {
            files.push(index);
        }
    }
    let [index] = files[..] else {
        return Err(unsupported(format!("the zip holds {} files; it must hold exactly one", files.len())));
    };
    let entry = archive.by_index_raw(index).map_err(damaged)?;
    if entry.encrypted() {
        return Err(unsupported("the zip is encrypted; store it without a password".to_owned()));
    }
    let method = entry.compression();
    let (start, packed_bytes, bytes, crc) = (entry.data_start(), entry.compressed_size(), entry.size(), entry.crc32());
    let start = start.ok_or_else(|| unsupported("the zip names no place of its file's data".to_owned()))?;
    drop(entry);
    let mut file = archive.into_inner();
    used.store(start, Ordering::Relaxed);
    file.seek(SeekFrom::Start(start)).map_err(|error| FeedError::Read { name: name.to_owned(), error })?;
    let packed = Counted::new(file, used).take(packed_bytes);
    if method == CompressionMethod::Stored {
        Ok(Box::new(Proven { reader: CrcReader::new(packed), bytes, crc }))
    } else if method == CompressionMethod::Deflated {
        Ok(Box::new(Proven { reader: CrcReader::new(DeflateDecoder::new(packed)), bytes, crc }))
    } else {
        Err(unsupported(format!("the zip is packed by method {method}; use deflate")))
    }
}

/// The stored file, counting what was used of it.
struct Counted {
    reader: BufReader<File>,
    used: Arc<AtomicU64>,
}

impl Counted {
    fn new(file: File, used: &Arc<AtomicU64>) -> Self {
        Self { reader: BufReader::with_capacity(READ_BYTES, file), used: Arc::clone(used) }
    }
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.used.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl BufRead for Counted {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.used.fetch_add(amount as u64, Ordering::Relaxed);
        self.reader.consume(amount);
    }
}

/// The file of a zip, whose length and checksum are proven at its end.
struct Proven<R> {
    reader: CrcReader<R>,
    bytes: u64,
    crc: u32,
}

impl<R: Read> Read for Proven<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        if read == 0 && !buffer.is_empty() {
            let found = self.reader.crc();
            // The checksum counts bytes modulo 2^32.
            if u64::from(found.amount()) != self.bytes & u64::from(u32::MAX) {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the zip's file ends early"));
            }
            if found.sum() != self.crc {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the zip's checksum does not match"));
            }
        }
        Ok(read)
    }
}
