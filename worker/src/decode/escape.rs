//! Escapes of JSON strings: how long they are, what they stand for, and the way back.

use super::scan::special;

/// Returns the length of the escape at the start of the bytes, both halves of a surrogate pair together,
/// or None where it is none of JSON's or half a pair.
pub(crate) fn length(bytes: &[u8]) -> Option<usize> {
    match bytes.get(1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => match code_unit(bytes)? {
            0xD800..=0xDBFF => match code_unit(bytes.get(6..)?)? {
                0xDC00..=0xDFFF => Some(12),
                _ => None,
            },
            0xDC00..=0xDFFF => None,
            _ => Some(6),
        },
        _ => None,
    }
}

/// Returns the code unit of a `\uXXXX` at the start of the bytes.
fn code_unit(bytes: &[u8]) -> Option<u32> {
    let digits = bytes.strip_prefix(b"\\u")?.first_chunk::<4>()?;
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
}

/// Appends the text that the inside of a valid JSON string stands for.
pub(crate) fn unescape(inside: &str, out: &mut String) {
    let mut rest = inside;
    while let Some(backslash) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(&rest[..backslash]);
        rest = &rest[backslash..];
        let length = length(rest.as_bytes()).unwrap_or(rest.len());
        out.push(character(&rest.as_bytes()[..length]));
        rest = &rest[length..];
    }
    out.push_str(rest);
}

fn character(escape: &[u8]) -> char {
    let code = match (escape.get(1), escape.len()) {
        (Some(b'b'), _) => 0x08,
        (Some(b'f'), _) => 0x0C,
        (Some(b'n'), _) => 0x0A,
        (Some(b'r'), _) => 0x0D,
        (Some(b't'), _) => 0x09,
        (Some(b'u'), 12) => {
            let high = code_unit(escape).unwrap_or_default() & 0x3FF;
            let low = code_unit(&escape[6..]).unwrap_or_default() & 0x3FF;
            0x1_0000 + (high << 10 | low)
        }
        (Some(b'u'), _) => code_unit(escape).unwrap_or_default(),
        (Some(byte), _) => u32::from(*byte),
        (None, _) => u32::from('\\'),
    };
    char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// Appends a text as the inside of a JSON string: quotes, backslashes and control characters are escaped.
pub(crate) fn escape_into(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut copied = 0;
    let mut at = 0;
    while at < bytes.len() {
        if let Some(word) = bytes[at..].first_chunk::<8>() {
            let found = special(u64::from_le_bytes(*word));
            if found == 0 {
                at += 8;
                continue;
            }
            at += found.trailing_zeros() as usize / 8;
        } else if bytes[at] >= b' ' && bytes[at] != b'"' && bytes[at] != b'\\' {
            at += 1;
            continue;
        }
        out.extend_from_slice(&bytes[copied..at]);
        escape_byte(bytes[at], out);
        at += 1;
        copied = at;
    }
    out.extend_from_slice(&bytes[copied..]);
}

fn escape_byte(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        other => out.extend_from_slice(&[b'\\', b'u', b'0', b'0', DIGITS[usize::from(other >> 4)], DIGITS[usize::from(other & 15)]]),
    }
}
