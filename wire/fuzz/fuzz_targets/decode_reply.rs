//! Decodes arbitrary fields of a `Reply`: what is read from them is what its own encoding means.

#![no_main]

use fluidity_wire::codec::{decode_reply, encode_reply, split_message};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let Ok(reply) = decode_reply(0x03, body) else {
        return;
    };
    let mut bytes = Vec::new();
    encode_reply(&reply, &mut bytes);
    let raw = split_message(&bytes).expect("an encoding is whole");
    assert_eq!(raw.consumed, bytes.len());
    assert_eq!(decode_reply(raw.kind, raw.body), Ok(reply));
});
