//! Tokens of a JSON text on its bytes, exactly as RFC 8259 has them: what is accepted here is JSON, all else is a [`Flaw`].
//!
//! Works on text that is known to be UTF-8. Never recurses, never allocates.

use super::escape;

/// Containers that may be open at once, the outermost included.
pub const MAX_DEPTH: u32 = 128;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Why a text is no JSON that is taken, and at which byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flaw {
    /// Position in the payload.
    pub(crate) at: usize,
    /// What was expected there.
    pub(crate) expected: Expected,
}

/// What a text lacks where it stops being JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// The text ended or something else stood there.
    Token(&'static str),
    /// Fewer open containers.
    LessDepth,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `null`.
    Null,
    /// `true`.
    True,
    /// `false`.
    False,
    /// A number.
    Number,
    /// A string that holds no escape.
    Plain,
    /// A string with at least one escape.
    Escaped,
    /// An array or object.
    Nested,
}

/// A value and where it stands; a string with its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    /// What it is.
    pub(crate) kind: Kind,
    /// First byte.
    pub(crate) start: usize,
    /// Byte after the last.
    pub(crate) end: usize,
}

/// A position in a text.
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    line_breaks: bool,
}

impl<'a> Scanner<'a> {
    /// Starts at the first byte.
    pub(crate) fn new(text: &'a str) -> Self {
        Self { bytes: text.as_bytes(), at: 0, line_breaks: false }
    }

    /// Returns the position.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Returns whether a line break stood between tokens so far.
    pub(crate) fn line_breaks(&self) -> bool {
        self.line_breaks
    }

    /// Returns the bytes from here on.
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Passes bytes that the caller has looked at.
    #[inline]
    pub(crate) fn pass(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// Passes white space and returns the byte after it without passing that.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        if byte > b' ' { Some(byte) } else { self.peek_after_space() }
    }

    #[cold]
    fn peek_after_space(&mut self) -> Option<u8> {
        loop {
            let byte = *self.bytes.get(self.at)?;
            match byte {
                b' ' | b'\t' => {}
                b'\n' | b'\r' => self.line_breaks = true,
                other => return Some(other),
            }
            self.at += 1;
        }
    }

    /// Returns a flaw at the current position.
    #[cold]
    pub(crate) fn flaw(&self, expected: &'static str) -> Flaw {
        Flaw { at: self.at, expected: Expected::Token(expected) }
    }

    /// Passes white space and one byte that must stand there.
    #[inline]
    pub(crate) fn take(&mut self, byte: u8, name: &'static str) -> Result<(), Flaw> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(self.flaw(name))
        }
    }

    /// Passes white space and a value that stands inside `depth` containers.
    #[inline]
    pub(crate) fn value(&mut self, depth: u32) -> Result<Token, Flaw> {
        let first = self.peek();
        let start = self.at;
        let kind = match first {
            Some(b'"') => self.string()?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word(b"true", Kind::True)?,
            Some(b'f') => self.word(b"false", Kind::False)?,
            Some(b'n') => self.word(b"null", Kind::Null)?,
            Some(b'{' | b'[') => self.nested(depth)?,
            _ => return Err(self.flaw("a value")),
        };
        Ok(Token { kind, start, end: self.at })
    }

    fn word(&mut self, word: &'static [u8], kind: Kind) -> Result<Kind, Flaw> {
        if self.rest().starts_with(word) {
            self.at += word.len();
            Ok(kind)
        } else {
            Err(self.flaw("a value"))
        }
    }

    /// Passes a string, whose quote stands here.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<Kind, Flaw> {
        self.at += 1;
        let mut kind = Kind::Plain;
        loop {
            self.pass_plain();
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(kind);
                }
                Some(b'\\') => {
                    kind = Kind::Escaped;
                    self.at += escape::length(self.rest()).ok_or_else(|| self.flaw("an escape of JSON"))?;
                }
                Some(_) => return Err(self.flaw("no control character in a string")),
                None => return Err(self.flaw("the end of a string")),
            }
        }
    }

    /// Passes bytes of a string up to a quote, a backslash, a control character or the end of the text.
    #[inline]
    fn pass_plain(&mut self) {
        while let Some(word) = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<8>) {
            let found = special(u64::from_le_bytes(*word));
            if found != 0 {
                self.at += found.trailing_zeros() as usize / 8;
                return;
            }
            self.at += 8;
        }
        while self.bytes.get(self.at).is_some_and(|byte| *byte >= b' ' && *byte != b'"' && *byte != b'\\') {
            self.at += 1;
        }
    }

    #[inline]
    fn number(&mut self) -> Result<Kind, Flaw> {
        if self.bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        match self.bytes.get(self.at) {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.flaw("a digit")),
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.some_digits()?;
        }
        Ok(Kind::Number)
    }

    #[inline]
    fn digits(&mut self) {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    #[inline]
    fn some_digits(&mut self) -> Result<(), Flaw> {
        let start = self.at;
        self.digits();
        if self.at == start { Err(self.flaw("a digit")) } else { Ok(()) }
    }

    /// Passes an array or object that stands inside `depth` containers; which of them are objects is a bit each.
    fn nested(&mut self, depth: u32) -> Result<Kind, Flaw> {
        let mut open = 0_u32;
        let mut objects = 0_u128;
        loop {
            // A value, or the end of a container that was just opened.
            match self.peek() {
                Some(bracket @ (b'{' | b'[')) => {
                    if depth + open >= MAX_DEPTH {
                        return Err(Flaw { at: self.at, expected: Expected::LessDepth });
                    }
                    self.at += 1;
                    open += 1;
                    objects = objects << 1 | u128::from(bracket == b'{');
                    let end = if bracket == b'{' { b'}' } else { b']' };
                    if self.peek() != Some(end) {
                        if bracket == b'{' {
                            self.name()?;
                        }
                        continue;
                    }
                    self.at += 1;
                    open -= 1;
                    objects >>= 1;
                }
                _ => {
                    self.value(MAX_DEPTH)?;
                }
            }
            // After a value: the next one, or the ends of containers.
            loop {
                if open == 0 {
                    return Ok(Kind::Nested);
                }
                let in_object = objects & 1 == 1;
                match self.peek() {
                    Some(b',') => {
                        self.at += 1;
                        if in_object {
                            self.name()?;
                        }
                        break;
                    }
                    Some(b'}') if in_object => {}
                    Some(b']') if !in_object => {}
                    _ => return Err(self.flaw(if in_object { "`,` or `}`" } else { "`,` or `]`" })),
                }
                self.at += 1;
                open -= 1;
                objects >>= 1;
            }
        }
    }

    fn name(&mut self) -> Result<(), Flaw> {
        if self.peek() != Some(b'"') {
            return Err(self.flaw("a name"));
        }
        self.string()?;
        self.take(b':', "`:`")
    }
}

/// Returns a word whose lowest set bit lies in the first byte that is a quote, a backslash or a control character; 0 without one.
#[inline]
pub(crate) fn special(word: u64) -> u64 {
    let quote = word ^ (ONES * u64::from(b'"'));
    let backslash = word ^ (ONES * u64::from(b'\\'));
    let zero_bytes = (quote.wrapping_sub(ONES) & !quote) | (backslash.wrapping_sub(ONES) & !backslash);
    let control = word.wrapping_sub(ONES * u64::from(b' ')) & !word;
    (zero_bytes | control) & HIGHS
}
