//! The bytes of an object in the pieces that they were written in: it is sent as it lies in memory, never copied into one.

use std::sync::Arc;

use bytes::Bytes;

/// Bytes in pieces, one behind another. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Pieces {
    pieces: Arc<[Bytes]>,
    len: usize,
}

impl Pieces {
    /// Returns the number of bytes of all pieces.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there is no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns a piece; none of them is empty.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&Bytes> {
        self.pieces.get(index)
    }

    /// Returns the pieces in order.
    pub fn iter(&self) -> impl Iterator<Item = &Bytes> {
        self.pieces.iter()
    }

    /// Returns the bytes in one piece; copied, unless there is only one.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        match &*self.pieces {
            [] => Bytes::new(),
            [only] => only.clone(),
            several => several.concat().into(),
        }
    }
}

impl FromIterator<Bytes> for Pieces {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        let pieces: Arc<[Bytes]> = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        let len = pieces.iter().map(Bytes::len).sum();
        Self { pieces, len }
    }
}

impl From<Bytes> for Pieces {
    fn from(bytes: Bytes) -> Self {
        Self::from_iter([bytes])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_their_bytes_whatever_they_are_cut_into() {
        let cuts: [(&[&'static str], &str); 4] = [(&[], ""), (&["", ""], ""), (&["abc"], "abc"), (&["a", "", "bc", "d"], "abcd")];
        for (cut, whole) in cuts {
            let pieces: Pieces = cut.iter().map(|piece| Bytes::from_static(piece.as_bytes())).collect();
            assert_eq!(pieces.to_bytes(), whole, "{cut:?}");
            assert_eq!((pieces.len(), pieces.is_empty()), (whole.len(), whole.is_empty()), "{cut:?}");
            assert!(pieces.iter().all(|piece| !piece.is_empty()), "{cut:?}");
        }
    }
}
