//! The SDK carries its own copy of the contract, so that it works outside the repository.

use std::collections::BTreeMap;
use std::path::Path;

fn interfaces(folder: &Path) -> BTreeMap<String, String> {
    let entries = folder.read_dir().expect("the folder can be listed");
    let files = entries.map(|entry| entry.expect("its entries can be read").path());
    let wit = files.filter(|file| file.extension().is_some_and(|extension| extension == "wit"));
    wit.map(|file| {
        let name = file.file_name().expect("a file has a name").to_string_lossy().into_owned();
        (name, std::fs::read_to_string(&file).expect("a file can be read"))
    })
    .collect()
}

#[test]
fn the_copy_of_the_contract_is_identical_to_the_original() {
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR"));
    let copy = interfaces(&sdk.join("wit"));
    assert!(copy.contains_key("lifecycle.wit"));
    let original = sdk.join("../wit");
    if original.join("lifecycle.wit").exists() {
        assert_eq!(copy, interfaces(&original), "copy wit/ to guest-sdk/wit/");
    }
}
