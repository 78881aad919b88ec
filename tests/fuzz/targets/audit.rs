//! Whatever an audit file holds: it is verified, asked, counted, exported, followed and watched without a panic, and what
//! was not written by us is not called whole.
#![no_main]

use std::fs;

use bartizan::alerts::{Config, Detectors};
use bartizan::audit::{Anchors, Filter, Form, Known, export, query, summarize, tail, verify};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("audit.jsonl");
    fs::write(&file, bytes).expect("written");
    let anchors = Anchors::read(&file).ok();
    for part in [false, true] {
        let report = verify(&file, Known { part, anchors: anchors.as_ref(), head: None }).expect("it can be read");
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        assert!(report.lines <= lines);
        assert!(report.fault.is_some() || report.lines > 0 || bytes.is_empty());
    }
    let mut detectors = Detectors::new(&Config::default()).expect("the defaults");
    for line in String::from_utf8_lossy(bytes).lines() {
        detectors.see(line);
    }
    query(&file, &Filter { result: Some(String::from("ok")), ..Filter::default() }, |_| true).expect("read");
    tail(&file, 3, &Filter::default()).expect("read");
    let summary = summarize(&file, &Filter::default()).expect("counted");
    assert!(summary.calls <= summary.lines);
    for form in [Form::Lines, Form::Csv] {
        export(&file, form, (Some("2020"), Some("2030")), &mut Vec::new()).expect("exported");
    }
});
