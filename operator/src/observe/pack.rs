//! JSON that is kept small: an object is kept as what it has beyond a pattern, since the objects of thousands of pipelines hardly differ.

use std::sync::{Arc, PoisonError, RwLock};

use lz4_flex::block::{compress_with_dict, decompress_with_dict};

/// Bytes of a pattern at most: an object of an unusual size says little about the others.
const MAX_PATTERN: usize = 16 * 1_024;

/// What objects of one kind are like: the longest one so far, since the first ones that come have no status yet. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pattern(Arc<RwLock<Arc<[u8]>>>);

/// A text that is like a pattern.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    pattern: Arc<[u8]>,
    length: u32,
    bytes: Box<[u8]>,
}

impl Pattern {
    /// Returns a text packed; one that is longer than the pattern by an eighth is the pattern from then on. So there are only so many
    /// patterns, and what was packed keeps its own.
    pub(crate) fn pack(&self, text: &[u8]) -> Packed {
        let is_longer = |pattern: &[u8]| text.len() > pattern.len() + pattern.len() / 8 && text.len() <= MAX_PATTERN;
        let mut pattern = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        if is_longer(&pattern) {
            let mut latest = self.0.write().unwrap_or_else(PoisonError::into_inner);
            if is_longer(&latest) {
                *latest = text.into();
            }
            pattern = Arc::clone(&latest);
        }
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
    fn objects_that_grow_after_the_first_one_take_little_too_and_one_of_an_unusual_size_does_not_stand_for_all() {
        let pattern = Pattern::default();
        let status = |number: u32| (number..number + 200).map(|number| number.to_string()).collect::<Vec<_>>();
        let object = |name: &str, grown: bool| serde_json::json!({ "name": name, "status": grown.then(|| status(7)) }).to_string();
        pattern.pack(object("one", false).as_bytes());
        pattern.pack(object("one", true).as_bytes());
        pattern.pack(&(0..60_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>());
        let packed = pattern.pack(object("another", true).as_bytes());
        assert!(packed.bytes.len() < 60, "{} bytes", packed.bytes.len());
        assert_eq!(packed.unpack(), object("another", true).as_bytes());
    }

    #[test]
    fn texts_longer_than_any_window_come_out_too() {
        let pattern = Pattern::default();
        let text: Vec<u8> = (0..300_000_u32).flat_map(|number| (number / 7).to_le_bytes()).collect();
        assert_eq!(pattern.pack(&text).unpack(), text);
        assert_eq!(pattern.pack(&text).unpack(), text);
    }
}
