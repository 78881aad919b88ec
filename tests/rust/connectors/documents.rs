//! Vendors' own documents, where they are at hand: each loads whole.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use bartizan::connectors::openapi::load;
use bartizan::json::Value;

/// The folder with vendors' documents in `specs`, or `None` (and why) when this copy of the project stands alone.
pub(crate) fn shared() -> Option<PathBuf> {
    Some(crate::support::shared("specs")?.parent().unwrap().to_owned())
}

/// A file as it is, or unpacked.
pub(crate) fn contents(path: &std::path::Path) -> Vec<u8> {
    if path.extension().is_none_or(|extension| extension != "gz") {
        return std::fs::read(path).unwrap();
    }
    let output = Command::new("gzip").arg("-dc").arg(path).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success());
    output.stdout
}

/// What a plain reading of the JSON counts.
fn counted(document: &Value) -> usize {
    let methods = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];
    let paths = document["paths"].as_object().unwrap();
    paths.values().map(|item| methods.iter().filter(|method| item.get(**method).is_some()).count()).sum()
}

#[test]
fn every_vendor_document_loads_whole() {
    let Some(shared) = shared() else { return };
    let mut files: Vec<PathBuf> = ["akamai", "msgraph"]
        .iter()
        .flat_map(|vendor| std::fs::read_dir(shared.join("specs").join(vendor)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains(".json") && !path.to_string_lossy().contains("models"))
        .collect();
    files.sort();
    assert!(files.len() > 10);
    for file in files {
        let bytes = contents(&file);
        let expected = counted(&serde_json::from_slice(&bytes).unwrap());
        let start = Instant::now();
        let document = load(&bytes, None).unwrap();
        let loaded = start.elapsed();
        let start = Instant::now();
        let sizes: Vec<usize> = document
            .operations
            .iter()
            .filter_map(|operation| operation.body.as_ref())
            .map(|body| body.schema.value_within(16 << 10).to_string().len())
            .collect();
        println!(
            "{}: {} operations, {} refused, loaded in {loaded:?}; bodies {} KiB (largest {} KiB) in {:?}",
            file.file_name().unwrap().to_string_lossy(),
            document.operations.len(),
            document.refused.len(),
            sizes.iter().sum::<usize>() >> 10,
            sizes.iter().max().unwrap_or(&0) >> 10,
            start.elapsed()
        );
        let kinds: std::collections::BTreeSet<&String> =
            document.refused.iter().map(|it| &it.reason).collect();
        for reason in kinds {
            println!("    {reason}");
        }
        assert_eq!(document.operations.len(), expected, "{:?}", document.refused);
    }
    std::io::stdout().flush().unwrap();
}

#[test]
fn the_fabric_document_loads_whole_and_fast() {
    let Some(shared) = shared() else { return };
    let bytes = contents(&shared.join("specs/equinix/fabricv4.patched.yaml"));
    let start = Instant::now();
    let document = load(&bytes, shared.join("specs/equinix").to_str().map(std::path::Path::new)).unwrap();
    println!(
        "fabric: {} operations in {:?}; {:?}",
        document.operations.len(),
        start.elapsed(),
        document.refused
    );
    assert_eq!(document.operations.len(), 194);
    assert!(document.refused.is_empty());
    let destroying: Vec<&str> = document
        .operations
        .iter()
        .filter(|it| it.effect == bartizan::policy::Effect::Destroy && it.method != "DELETE")
        .map(|it| it.id.as_str())
        .collect();
    println!("destroying besides DELETE: {destroying:?}");
    let size: usize = document
        .operations
        .iter()
        .flat_map(|it| it.parameters.iter().map(|it| &it.schema).chain(it.body.iter().map(|it| &it.schema)))
        .map(|shape| shape.value().to_string().len())
        .sum();
    println!("schemas of all arguments: {} KiB", size >> 10);
    assert!(size < 4 << 20);
}
