//! The field lines of an answer's head or trailer section: mended where RFC 9112 says how, refused where they could be
//! read in two ways. Pure.

use super::AnswerError;
use bytes::{BufMut, BytesMut};
use std::borrow::Cow;

/// One field, its lines joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub(super) name: &'a [u8],
    pub(super) value: Cow<'a, [u8]>,
    /// Control characters in the value became spaces.
    pub(super) mended: bool,
}

impl Field<'_> {
    /// Whether it has this name.
    pub(super) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// Reads lines up to the empty one, or to the end.
pub(super) fn read(lines: &[u8], most: usize) -> Result<Vec<Field<'_>>, AnswerError> {
    let mut fields: Vec<Field<'_>> = Vec::with_capacity(32);
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match line.first() {
            None => break,
            Some(b' ' | b'\t' | b'\r') => {
                // RFC 9112 §2.2: before the first field, such a line is a field to one reader and nothing to another.
                let field = fields
                    .last_mut()
                    .ok_or(AnswerError::Field("there is whitespace before its first field"))?;
                field.unfold(line);
            }
            Some(_) if fields.len() >= most => return Err(AnswerError::TooManyFields(most)),
            Some(_) => fields.push(Field::parse(line)?),
        }
    }
    Ok(fields)
}

impl<'a> Field<'a> {
    fn parse(line: &'a [u8]) -> Result<Self, AnswerError> {
        let colon = line.iter().position(|byte| *byte == b':');
        let colon = colon.ok_or(AnswerError::Field("a line among its fields has no colon"))?;
        let (name, value) = line.split_at(colon);
        // RFC 9112 §5.1: whitespace before the colon is taken out.
        let name = trim(name);
        if name.is_empty() || name.len() > LONGEST_NAME || !name.iter().all(is_token) {
            return Err(AnswerError::Field("a field's name is malformed"));
        }
        let (value, mended) = mend(value.get(1..).unwrap_or_default());
        Ok(Self { name, value, mended })
    }

    /// RFC 9112 §5.2: a folded line goes on behind a space.
    fn unfold(&mut self, line: &[u8]) {
        let (more, mended) = mend(line);
        self.mended |= mended;
        if !more.is_empty() {
            let value = self.value.to_mut();
            if !value.is_empty() {
                value.push(b' ');
            }
            value.extend_from_slice(&more);
        }
    }
}

/// Writes one as it is to be.
pub(super) fn write(text: &mut BytesMut, name: &[u8], value: &[u8]) {
    text.put_slice(name);
    // No space: what is written is never longer than what was read, but for line ends.
    text.put_u8(b':');
    text.put_slice(value);
    text.put_slice(b"\r\n");
}

/// RFC 9110 §5.5: control characters are dangerous, and a space in their place is not. Anything else passes.
pub(super) const fn visible(byte: u8) -> u8 {
    if byte.is_ascii_control() && byte != b'\t' {
        b' '
    } else {
        byte
    }
}

fn mend(value: &[u8]) -> (Cow<'_, [u8]>, bool) {
    let value = trim(value);
    if value.iter().all(|byte| visible(*byte) == *byte) {
        return (Cow::Borrowed(value), false);
    }
    let mended: Vec<u8> = value.iter().map(|byte| visible(*byte)).collect();
    (Cow::Owned(trim(&mended).to_vec()), true)
}

fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// RFC 9110 §5.6.2.
fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

/// The longest that the `http` crate takes.
const LONGEST_NAME: usize = 65_535;
