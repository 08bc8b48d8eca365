//! The fuzz target `plugins`: files of the plugin folder.

use super::{Engine, Interfaces, Machine};

/// Checks that a file is a component that fits the contract, or is refused with a reason.
#[test]
fn fuzz_plugins() {
    let engine = Engine::new(None, Machine::default()).expect("an engine");
    let words: [&[u8]; 9] = [
        b"\0asm\x0d\0\x01\0",
        b"\0asm\x01\0\0\0",
        b"wharf:channel/lifecycle@0.1.0",
        b"wharf:channel/rooms@0.1.0",
        b"wharf:channel/lifecycle@9.0.0",
        b"wasi:io/streams@0.2.0",
        b"cabi_realloc",
        b"\xff\xff\xff\xff\x0f",
        b"\x7f\x45LF",
    ];
    wharf_fuzz::run("plugins", &words, |input| {
        let interfaces = Interfaces::read(input).map(|found| found.exports.len());
        match engine.load(input, &[0; 32]) {
            Ok((_, was_cached)) => {
                assert!(!was_cached, "there is no cache");
                ("loaded".to_owned(), interfaces)
            }
            Err(error) => {
                let reason = error.to_string();
                assert!(!reason.is_empty() && reason.len() < 2000, "{reason}");
                // The numbers are places in the file.
                let reason = reason.chars().filter(|c| c.is_ascii_alphabetic() || *c == ' ');
                (reason.take(80).collect(), interfaces)
            }
        }
    });
}
