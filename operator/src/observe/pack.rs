//! JSON that is kept small: an object is kept as what it has beyond a pattern, since the objects of thousands of pipelines hardly differ.

use std::sync::{Arc, OnceLock};

use lz4_flex::block::{compress_with_dict, decompress_with_dict};

/// What objects of one kind are like: the first one. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pattern(Arc<OnceLock<Arc<[u8]>>>);

/// A text that is like a pattern.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    pattern: Arc<[u8]>,
    length: u32,
    bytes: Box<[u8]>,
}

impl Pattern {
    /// Returns a text packed; the first one is the pattern from then on.
    pub(crate) fn pack(&self, text: &[u8]) -> Packed {
        let pattern = Arc::clone(self.0.get_or_init(|| text.into()));
        let length = u32::try_from(text.len()).expect("no object of the API server has 4 GiB");
        Packed { length, bytes: compress_with_dict(text, &pattern).into_boxed_slice(), pattern }
    }
}

impl Packed {
    /// Returns the text.
    pub(crate) fn unpack(&self) -> Vec<u8> {
        let length = usize::try_from(self.length).expect("a length that memory had fits");
        decompress_with_dict(&self.bytes, length, &self.pattern).expect("what was packed is unpacked with its pattern")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_out_and_what_is_alike_takes_little() {
        let pattern = Pattern::default();
        let object = |name: &str| serde_json::json!({ "name": name, "members": (0..200).collect::<Vec<_>>() }).to_string();
        for (text, most) in [(object("one"), 40), (object("another"), 60), (String::new(), 2), ("something else".to_owned(), 20)] {
            let packed = pattern.pack(text.as_bytes());
            assert_eq!(packed.unpack(), text.as_bytes());
            assert!(packed.bytes.len() < most, "{} bytes of {text}", packed.bytes.len());
        }
    }

    #[test]
    fn texts_longer_than_any_window_come_out_too() {
        let pattern = Pattern::default();
        let text: Vec<u8> = (0..300_000_u32).flat_map(|number| (number / 7).to_le_bytes()).collect();
        assert_eq!(pattern.pack(&text).unpack(), text);
        assert_eq!(pattern.pack(&text).unpack(), text);
    }
}
