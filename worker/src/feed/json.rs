//! A row's fields spliced into a JSON object: the source's own names, in the file's order.

use stockpipeline::schema::{Column, ColumnType, TimeReading};

/// How the text of a column is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As a string.
    Text,
    /// Bare where it is a JSON number, else as a string.
    Number,
    /// Bare where it is `true` or `false`, else as a string.
    Boolean,
}

impl Form {
    /// Returns the form that every column takes that is read from one field; a field that no column is read from is text.
    pub(super) fn of<'a>(columns: impl Iterator<Item = &'a Column>) -> Self {
        let mut form = None;
        for column in columns {
            let own = Self::of_type(&column.column_type);
            if *form.get_or_insert(own) != own {
                return Self::Text;
            }
        }
        form.unwrap_or(Self::Text)
    }

    fn of_type(column_type: &ColumnType) -> Self {
        match column_type {
            ColumnType::Int
            | ColumnType::Bigint
            | ColumnType::Double
            | ColumnType::Decimal { .. }
            | ColumnType::Timestamp { reading: TimeReading::Epoch { .. } } => Self::Number,
            ColumnType::Boolean => Self::Boolean,
            ColumnType::String
            | ColumnType::Date { .. }
            | ColumnType::Timestamp { reading: TimeReading::Iso { .. } | TimeReading::Format { .. } } => Self::Text,
        }
    }
}

/// One field of the object: its name, written once, and its form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    /// `{"name":"` or `,"name":"`; without the last quote before a bare value.
    prefix: Box<[u8]>,
    form: Form,
}

impl Member {
    /// Returns the member of a name; the first one opens the object.
    pub(super) fn new(name: &str, form: Form, position: usize) -> Self {
        let mut prefix = vec![if position == 0 { b'{' } else { b',' }, b'"'];
        escape(name.as_bytes(), &mut prefix);
        prefix.extend_from_slice(b"\":\"");
        Self { prefix: prefix.into(), form }
    }

    /// Appends name and null.
    pub(super) fn write_null(&self, json: &mut Vec<u8>) {
        json.extend_from_slice(&self.prefix[..self.prefix.len() - 1]);
        json.extend_from_slice(b"null");
    }

    /// Appends name and text.
    pub(super) fn write(&self, text: &[u8], json: &mut Vec<u8>) {
        let bare = match self.form {
            Form::Text => false,
            Form::Number => is_number(text),
            Form::Boolean => text == b"true" || text == b"false",
        };
        if bare {
            json.extend_from_slice(&self.prefix[..self.prefix.len() - 1]);
            json.extend_from_slice(text);
        } else {
            json.extend_from_slice(&self.prefix);
            escape(text, json);
            json.push(b'"');
        }
    }

    /// Returns the most bytes of a value beside its text: name, quotes or null.
    pub(super) fn most_name_bytes(&self) -> usize {
        self.prefix.len() + b"null".len()
    }
}

/// Returns whether a text is a number as JSON writes it.
pub(super) fn is_number(text: &[u8]) -> bool {
    let start = usize::from(text.first() == Some(&b'-'));
    let mut at = digits_end(text, start);
    if at == start || (at > start + 1 && text[start] == b'0') {
        return false;
    }
    if at == text.len() {
        return true;
    }
    if text[at] == b'.' {
        let fraction = at + 1;
        at = digits_end(text, fraction);
        if at == fraction {
            return false;
        }
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        let exponent = at + 1 + usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        at = digits_end(text, exponent);
        if at == exponent {
            return false;
        }
    }
    at == text.len()
}

/// Returns where the digits end that start at `from`.
fn digits_end(text: &[u8], from: usize) -> usize {
    let mut at = from;
    while at < text.len() && text[at].wrapping_sub(b'0') < 10 {
        at += 1;
    }
    at
}

/// Whether a byte must be escaped in a JSON string.
const ESCAPED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table
};

/// Appends a text as it stands within a JSON string.
pub(super) fn escape(text: &[u8], json: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| ESCAPED[usize::from(*byte)]) {
        json.extend_from_slice(&rest[..at]);
        match rest[at] {
            b'"' => json.extend_from_slice(b"\\\""),
            b'\\' => json.extend_from_slice(b"\\\\"),
            b'\n' => json.extend_from_slice(b"\\n"),
            b'\r' => json.extend_from_slice(b"\\r"),
            b'\t' => json.extend_from_slice(b"\\t"),
            control => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                json.extend_from_slice(b"\\u00");
                json.push(HEX[usize::from(control >> 4)]);
                json.push(HEX[usize::from(control & 15)]);
            }
        }
        rest = &rest[at + 1..];
    }
    json.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_numbers_stay_bare() {
        for number in ["0", "-0", "1", "10", "-12.5", "0.0", "1e5", "1E+05", "-1.25e-10", "140457056939342", "335.90698726000005"] {
            assert!(is_number(number.as_bytes()), "{number}");
            assert!(serde_json::from_str::<f64>(number).is_ok(), "{number}");
        }
        for text in ["", "-", "+1", "01", "-01", ".5", "5.", "1e", "1e+", "1.e5", "NaN", "Infinity", "1 ", " 1", "1,5", "0x1", "1_0", "--1"]
        {
            assert!(!is_number(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn members_are_json_for_every_form_and_text() {
        for (form, text, expected) in [
            (Form::Text, "1", r#"{"a \"b\"":"1""#),
            (Form::Number, "1.50", r#"{"a \"b\"":1.50"#),
            (Form::Number, "1,5", r#"{"a \"b\"":"1,5""#),
            (Form::Boolean, "true", r#"{"a \"b\"":true"#),
            (Form::Boolean, "TRUE", r#"{"a \"b\"":"TRUE""#),
            (Form::Text, "x\"\\\n\r\t\u{0}\u{1f}é", r#"{"a \"b\"":"x\"\\\n\r\t\u0000\u001fé""#),
        ] {
            let mut json = Vec::new();
            Member::new("a \"b\"", form, 0).write(text.as_bytes(), &mut json);
            assert_eq!(String::from_utf8(json.clone()).unwrap(), expected);
            json.push(b'}');
            serde_json::from_slice::<serde_json::Value>(&json).unwrap();
        }
    }

    #[test]
    fn every_escape_is_read_back_by_a_json_parser() {
        let text: String = (0..0x300).filter_map(char::from_u32).collect();
        let mut json = vec![b'"'];
        escape(text.as_bytes(), &mut json);
        json.push(b'"');
        assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), text);
    }
}
