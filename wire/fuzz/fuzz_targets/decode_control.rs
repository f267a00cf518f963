//! Decodes arbitrary fields of a control message, the first byte its type: what is read from them is what its own
//! encoding means.

#![no_main]

use fluidity_wire::codec::{decode_control, encode_control, split_message};
use fluidity_wire::message::Control;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((kind, body)) = input.split_first() else {
        return;
    };
    let Ok(control) = decode_control(u64::from(*kind), body) else {
        return;
    };
    let mut bytes = Vec::new();
    encode_control(&control, &mut bytes);
    if control == Control::Unknown {
        return assert!(bytes.is_empty());
    }
    let raw = split_message(&bytes).expect("an encoding is whole");
    assert_eq!(raw.consumed, bytes.len());
    assert_eq!(decode_control(raw.kind, raw.body), Ok(control));
});
