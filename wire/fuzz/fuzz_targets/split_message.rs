//! Finds the first message in arbitrary bytes: it lies inside them, and only its last byte makes it whole.

#![no_main]

use fluidity_wire::codec::{DecodeError, MAX_MESSAGE, split_message};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(raw) = split_message(bytes) else { return };
    assert!(raw.body.len() <= MAX_MESSAGE);
    let (message, _) = bytes.split_at(raw.consumed);
    assert!(message.ends_with(raw.body));
    assert_eq!(split_message(message), Ok(raw));
    assert_eq!(
        split_message(&message[..message.len() - 1]),
        Err(DecodeError::Incomplete)
    );
});
