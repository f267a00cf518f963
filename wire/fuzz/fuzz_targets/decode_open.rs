//! Decodes arbitrary fields of an `Open`: what is read from them is what its own encoding means.

#![no_main]

use fluidity_wire::codec::{decode_open, encode_open, split_message};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let Ok(open) = decode_open(0x01, body) else { return };
    let mut bytes = Vec::new();
    encode_open(&open, &mut bytes);
    let raw = split_message(&bytes).expect("an encoding is whole");
    assert_eq!(raw.consumed, bytes.len());
    assert_eq!(decode_open(raw.kind, raw.body), Ok(open));
});
