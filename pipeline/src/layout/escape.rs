//! Escaping of Hive partition values in paths, as Hive, Spark and Trino do it.
//!
//! Those three escape the ASCII control characters, DEL and ``"#%'*/:=?\{[]^``, and unescape `%XX` to one character; other text,
//! non-ASCII included, stands in the path as it is. Escaping UTF-8 byte by byte would make them read other values from a path, so
//! it is done only for the characters that XML, and so a listing of a bucket, cannot hold at all (U+FFFE, U+FFFF).

use super::NULL_PARTITION;

/// Returns a Hive path value with everything percent-escaped that Hive escapes, and an empty value as Hive's null name.
#[must_use]
pub fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 16);
    if value.is_empty() {
        out.push_str(NULL_PARTITION);
    }
    escape_to(value, &mut out);
    out
}

/// Returns the value that [`escape`] was given, or None when the text is not its output.
///
/// Hive's null name comes back as itself: it stands for a null and for an empty value.
#[must_use]
pub fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let ([high, low], tail) = rest.split_first_chunk::<2>()?;
        bytes.push(hex_digit(*high)? << 4 | hex_digit(*low)?);
        rest = tail;
    }
    let value = String::from_utf8(bytes).ok()?;
    if escape(&value) == text { Some(value) } else { None }
}

/// Returns a text as one whole path segment: escaped, and never `.` or `..`.
pub(super) fn segment(text: &str) -> String {
    match text {
        "." | ".." => text.replace('.', "%2E"),
        text => escape(text),
    }
}

/// Appends the escaped text.
pub(super) fn escape_to(value: &str, out: &mut String) {
    for character in value.chars() {
        if is_plain(character) {
            out.push(character);
            continue;
        }
        for byte in character.encode_utf8(&mut [0; 4]).bytes() {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 0xf)]));
        }
    }
}

/// Returns the bytes of a character when it is escaped.
pub(super) fn escaped_bytes(character: char) -> usize {
    if is_plain(character) { character.len_utf8() } else { 3 * character.len_utf8() }
}

const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

fn is_plain(character: char) -> bool {
    !matches!(
        character,
        '\0'..='\x1f'
            | '\x7f'
            | '"'
            | '#'
            | '%'
            | '\''
            | '*'
            | '/'
            | ':'
            | '='
            | '?'
            | '\\'
            | '{'
            | '['
            | ']'
            | '^'
            | '\u{fffe}'
            | '\u{ffff}'
    )
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}
