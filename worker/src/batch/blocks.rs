//! A long list in blocks, so that growth never copies what is already there and whole blocks can be freed.

/// Elements of a block.
pub(crate) const BLOCK: usize = 8_192;

/// A list of copyable elements.
#[derive(Debug)]
pub(crate) struct Blocks<T> {
    full: Vec<Vec<T>>,
    tail: Vec<T>,
}

impl<T> Default for Blocks<T> {
    fn default() -> Self {
        Self { full: Vec::new(), tail: Vec::new() }
    }
}

impl<T: Copy + Default> Blocks<T> {
    /// Appends an element.
    #[inline]
    pub(crate) fn push(&mut self, value: T) {
        if self.tail.len() == BLOCK {
            self.close_block();
        }
        self.tail.push(value);
    }

    #[cold]
    fn close_block(&mut self) {
        // A buffer that has filled one block will fill the next.
        self.full.push(std::mem::replace(&mut self.tail, Vec::with_capacity(BLOCK)));
    }

    /// Appends copies of an element until there are `len`.
    pub(crate) fn fill_to(&mut self, len: usize, value: T) {
        while self.len() < len {
            self.push(value);
        }
    }

    /// Returns how many elements were appended.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.full.len() * BLOCK + self.tail.len()
    }

    /// Returns an element; the default of one that is not there any more.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> T {
        let block = self.full.get(index / BLOCK).unwrap_or(&self.tail);
        block.get(index % BLOCK).copied().unwrap_or_default()
    }

    /// Returns all elements in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = T> {
        self.full.iter().flatten().chain(&self.tail).copied()
    }

    /// Frees a block; its elements must not be asked for again.
    pub(crate) fn free(&mut self, block: usize) {
        match self.full.get_mut(block) {
            Some(full) => *full = Vec::new(),
            None => self.tail = Vec::new(),
        }
    }

    /// Returns the bytes of memory held.
    pub(crate) fn memory_bytes(&self) -> usize {
        let elements = self.full.iter().map(Vec::capacity).sum::<usize>() + self.tail.capacity();
        elements * size_of::<T>() + self.full.capacity() * size_of::<Vec<T>>()
    }
}
