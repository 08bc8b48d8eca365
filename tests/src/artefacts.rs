//! Places of the compiled plugins, fixtures and the host's binary.
//!
//! `cargo xtask test` builds them and names their places in variables. Without these the tests look
//! in the workspace's `target` folder.

use std::path::{Path, PathBuf};

/// Returns the path of the host's binary.
pub fn binary() -> PathBuf {
    existing(located("WHARF_BIN", "debug/wharf"))
}

/// Returns the bytes of a compiled plugin or fixture, by its package's name.
pub fn component(name: &str) -> Vec<u8> {
    let path = component_file(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

/// Returns the file of a compiled plugin or fixture.
pub fn component_file(name: &str) -> PathBuf {
    let file = format!("{name}.wasm");
    let places =
        [located("WHARF_FIXTURES_DIR", "fixtures"), located("WHARF_PLUGINS_DIR", "plugins")];
    let found = places.iter().map(|folder| folder.join(&file)).find(|path| path.is_file());
    found.unwrap_or_else(|| existing(places[0].join(&file)))
}

/// Returns the folder for the host's setting `demo`, with versions of plugins and with texts.
pub fn demo() -> PathBuf {
    existing(located("WHARF_DEMO_DIR", "demo"))
}

/// Returns the folder with the clients of other ecosystems.
pub fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

/// Returns a folder for code that cargo compiles while tests act as an author. It is kept from run
/// to run.
pub fn author_cache() -> PathBuf {
    let binary = binary();
    let target = binary.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
    target.expect("the binary is in a target folder").join("author")
}

/// Returns the cache of compiled plugins that all tests share, except those of the cache. Hosts write each
/// entry once, by rename, so that no test can see what another has left half done.
pub fn compiled_plugins() -> PathBuf {
    author_cache().join("compiled")
}

/// Returns the folder for pictures of pages, which is not in the repository.
pub fn screenshots() -> PathBuf {
    let folder = located("WHARF_SCREENSHOTS_DIR", "screenshots");
    std::fs::create_dir_all(&folder).expect("a folder for pictures");
    folder
}

fn located(variable: &str, in_target: &str) -> PathBuf {
    match std::env::var_os(variable) {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target").join(in_target),
    }
}

/// Returns the path if it exists. A missing artefact fails a test; it never skips it.
pub fn existing(path: PathBuf) -> PathBuf {
    assert!(path.exists(), "{} is missing: run `cargo xtask test`", path.display());
    path
}

/// Replaces all occurrences of some bytes by as many others, so that nothing moves.
pub fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(from.len()).position(|window| window == from) {
        at += found;
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}

/// Returns a component that does the same and takes some seconds to compile, on one core: it has a
/// module besides, of which nothing makes an instance. `salt` makes it another file each time.
pub fn slow_to_compile(component: &[u8], salt: u8) -> Vec<u8> {
    const STEPS: usize = 60_000;
    // A function (i64) -> i64 without further variables.
    let mut body = vec![0];
    for step in 0..STEPS {
        // Constants of four bytes as signed LEB128, in which each byte but the last has the high bit.
        let [a, b, ..] = step.to_le_bytes();
        let constant = [a | 0x80, b | 0x80, salt | 0x80, 0x01];
        // local.get 0, i64.const, i64.mul, local.get 0, i64.xor, local.set 0
        body.extend([0x20, 0, 0x42].iter().chain(&constant).chain(&[0x7e, 0x20, 0, 0x85, 0x21, 0]));
    }
    body.extend([0x20, 0, 0x0b]);
    let code = [vec![1], sized(&body)].concat();
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    for (id, content) in [(1, &[1, 0x60, 1, 0x7e, 1, 0x7e][..]), (3, &[1, 0]), (10, &code)] {
        module.push(id);
        module.extend(sized(content));
    }
    // Section 1 of a component is a core module.
    [component, &[1], &sized(&module)].concat()
}

/// Returns a component that does the same and has this number of core instances more, of a module that
/// does nothing and has this number of memories. One that is composed of others has as many, and modules
/// between them that use the memories of both.
pub fn with_core_instances(component: &[u8], count: usize, memories: u8) -> Vec<u8> {
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    if memories > 0 {
        // Each has one page.
        module.extend([5, 1 + 2 * memories, memories]);
        module.extend([0, 1].repeat(memories.into()));
    }
    // The new module is the next one after those of the component's own sections.
    let modules = sections(component).filter(|id| *id == 1).count();
    let index = u8::try_from(modules).expect("a few modules");
    let mut instances = number(count);
    instances.extend([0, index, 0].repeat(count));
    [component, &[1], &sized(&module), &[2], &sized(&instances)].concat()
}

/// Returns the ids of the sections of a component.
fn sections(component: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = &component[8..];
    std::iter::from_fn(move || {
        let (&id, after) = rest.split_first()?;
        let (mut size, mut shift, mut at) = (0_usize, 0, 0);
        loop {
            size |= usize::from(after[at] & 0x7f) << shift;
            (shift, at) = (shift + 7, at + 1);
            if after[at - 1] & 0x80 == 0 {
                break;
            }
        }
        rest = &after[at + size..];
        Some(id)
    })
}

/// Returns a component that does the same and is larger by about this number of bytes.
pub fn padded(component: &[u8], bytes: usize) -> Vec<u8> {
    let content = [&b"\x07padding"[..], &vec![0; bytes]].concat();
    // Section 0 is for whatever tools want to add.
    [component, &[0], &sized(&content)].concat()
}

/// Returns bytes behind their number.
fn sized(bytes: &[u8]) -> Vec<u8> {
    [&number(bytes.len()), bytes].concat()
}

/// Returns a number as unsigned LEB128.
fn number(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}
