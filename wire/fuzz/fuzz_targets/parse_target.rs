//! Parses arbitrary text as `host:port`: what is understood is written in one form, and that is understood the same.

#![no_main]

use fluidity_wire::{Port, Target};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let strict = Target::parse(text);
    if let Ok(target) = &strict {
        assert_eq!(Target::parse(&target.to_string()).as_ref(), Ok(target));
        assert_eq!(Target::parse_or(text, Port::HTTP).as_ref(), Ok(target));
    }
    if let Ok(target) = Target::parse_or(text, Port::HTTP) {
        assert_eq!(Target::parse(&target.to_string()), Ok(target.clone()));
        assert!(strict.is_ok() || target.port == Port::HTTP);
    }
});
