//! Parses arbitrary text as a host: it has one canonical form, and a name never looks like an address.

#![no_main]

use fluidity_wire::Host;
use libfuzzer_sys::fuzz_target;
use std::net::IpAddr;

fuzz_target!(|text: &str| {
    let Ok(host) = Host::parse(text) else { return };
    let canonical = host.to_string();
    assert_eq!(Host::parse(&canonical).as_ref(), Ok(&host));
    if let Host::Name(name) = &host {
        assert!(!name.is_empty() && name.len() <= 253 && !name.ends_with('.'));
        assert!(
            name.bytes()
                .all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase())
        );
        assert!(name.parse::<IpAddr>().is_err());
        let last = name.rsplit('.').next().unwrap_or_default();
        assert!(!last.bytes().all(|byte| byte.is_ascii_digit()));
    }
});
