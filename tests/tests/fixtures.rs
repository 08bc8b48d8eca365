//! Every fixture belongs to a test: one that no test names is dead weight.

use std::fs;
use std::path::Path;

#[test]
fn every_fixture_is_used_by_a_test() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests: String = fs::read_dir(folder.join("tests"))
        .expect("the tests")
        .map(|entry| fs::read_to_string(entry.expect("an entry").path()).expect("a test's source"))
        .collect();
    for entry in fs::read_dir(folder.join("fixtures")).expect("the fixtures") {
        let name = entry.expect("an entry").file_name().into_string().expect("a name");
        assert!(tests.contains(&format!("\"{name}\"")), "no test uses the fixture {name}");
    }
}
