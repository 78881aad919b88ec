//! Whatever an `.edgerc` holds: it is read or refused, and neither the refusal nor what is asked of it tells more.
#![no_main]

use bartizan::vault::edgerc::{Field, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = parse(bytes) else { return };
    let text = String::from_utf8_lossy(bytes);
    for field in Field::ALL {
        if let Ok(value) = file.get("default", *field) {
            assert!(!value.is_empty() && text.contains(value.expose()));
            assert!(!value.expose().contains(char::is_control));
        }
        let unknown = file.get("a section that nobody has", *field).expect_err("it is not there");
        assert!(unknown.message().len() < 200);
    }
    assert!(file.len() <= bytes.len() / 3);
});
