//! The grammar under the messages: varints, fields in rising order, and the values that they hold.

use super::DecodeError;
use crate::plain::plain;
use bytes::{Buf, BufMut};
use quinn::VarInt;

pub(super) fn unknown(tag: u64) -> Result<(), DecodeError> {
    if tag % 2 == 1 {
        Err(DecodeError::UnknownCritical(tag))
    } else {
        Ok(())
    }
}

pub(super) fn number(tag: u64, mut value: &[u8]) -> Result<u64, DecodeError> {
    match varint(&mut value) {
        Some(number) if value.is_empty() => Ok(number),
        _ => Err(DecodeError::BadField(tag)),
    }
}

pub(super) fn fixed<const N: usize>(tag: u64, value: &[u8]) -> Result<[u8; N], DecodeError> {
    value.try_into().map_err(|_| DecodeError::BadField(tag))
}

/// A text of the peer as it may be shown: nobody behind this point has to think of what a terminal does with it.
pub(super) fn text(tag: u64, value: &[u8], limit: usize) -> Result<String, DecodeError> {
    match std::str::from_utf8(value) {
        Ok(text) if text.len() <= limit => Ok(plain(text, limit)),
        _ => Err(DecodeError::BadField(tag)),
    }
}

pub(super) fn cut(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

pub(super) fn fields(mut body: &[u8]) -> impl Iterator<Item = Result<(u64, &[u8]), DecodeError>> {
    let mut last = None;
    std::iter::from_fn(move || {
        if body.is_empty() {
            return None;
        }
        let field = next_field(&mut body).and_then(|(tag, value)| {
            if last.replace(tag).is_some_and(|last| last >= tag) {
                return Err(DecodeError::FieldOrder(tag));
            }
            Ok((tag, value))
        });
        if field.is_err() {
            body = &[];
        }
        Some(field)
    })
}

fn next_field<'a>(body: &mut &'a [u8]) -> Result<(u64, &'a [u8]), DecodeError> {
    let tag = varint(body).ok_or(DecodeError::BadField(0))?;
    let length = varint(body).ok_or(DecodeError::BadField(tag))?;
    let size = usize::try_from(length).map_err(|_| DecodeError::BadField(tag))?;
    let (value, rest) = body.split_at_checked(size).ok_or(DecodeError::BadField(tag))?;
    *body = rest;
    Ok((tag, value))
}

/// Reads a varint (RFC 9000 §16), or nothing where the bytes end inside it.
pub(crate) fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let size = varint_len(*bytes.first()?);
    let (mut value, rest) = bytes.split_at_checked(size)?;
    *bytes = rest;
    Some(value.get_uint(size) & (u64::MAX >> (64 - (size * 8 - 2))))
}

/// How long a varint is, from its first byte.
pub(crate) fn varint_len(first: u8) -> usize {
    1 << (first >> 6)
}

pub(super) fn put_varint(out: &mut impl BufMut, number: u64) {
    let number = number.min(VarInt::MAX.into_inner());
    match number {
        0..0x40 => out.put_uint(number, 1),
        0x40..0x4000 => out.put_uint(0x4000 | number, 2),
        0x4000..0x4000_0000 => out.put_uint(0x8000_0000 | number, 4),
        _ => out.put_u64(0xc000_0000_0000_0000 | number),
    }
}

/// Collects the fields of one message, then writes it with its length.
pub(super) fn message(out: &mut impl BufMut, kind: u64, fill: impl FnOnce(&mut Fields)) {
    let mut fields = Fields(Vec::with_capacity(64));
    fill(&mut fields);
    put_varint(out, kind);
    put_varint(out, u64::try_from(fields.0.len()).unwrap_or(u64::MAX));
    out.put_slice(&fields.0);
}

pub(super) struct Fields(pub(super) Vec<u8>);

impl Fields {
    pub(super) fn number(&mut self, tag: u64, number: u64) {
        let mut value = Vec::with_capacity(8);
        put_varint(&mut value, number);
        self.bytes(tag, &value);
    }

    pub(super) fn bytes(&mut self, tag: u64, value: &[u8]) {
        put_varint(&mut self.0, tag);
        put_varint(&mut self.0, u64::try_from(value.len()).unwrap_or(u64::MAX));
        self.0.put_slice(value);
    }
}
