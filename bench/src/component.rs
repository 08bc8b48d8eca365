//! Changes to a component's bytes that leave its behaviour as it is.

use anyhow::{bail, ensure};

/// Magic number, version and layer of a component in the binary format.
const COMPONENT: [u8; 8] = *b"\0asm\x0d\x00\x01\x00";
/// Magic number, version and layer of a core module.
const MODULE: [u8; 8] = *b"\0asm\x01\x00\x00\x00";

/// The custom section that [`changed`] appends.
const SECTION_NAME: &str = "wharf-bench";

/// Returns the component with a custom section at its end. It stays valid and behaves as before,
/// but its bytes and so their hash differ: a host takes it for new code.
///
/// # Errors
///
/// The bytes are not a component.
pub fn changed(component: &[u8], payload: &[u8]) -> anyhow::Result<Vec<u8>> {
    if component.starts_with(&MODULE) {
        bail!("this is a core module, not a component");
    }
    ensure!(component.starts_with(&COMPONENT), "this is no component");
    let mut section = leb128(SECTION_NAME.len());
    section.extend(SECTION_NAME.as_bytes());
    section.extend(payload);
    let mut changed = component.to_vec();
    // Section 0 is a custom section, in components as in modules.
    changed.push(0);
    changed.extend(leb128(section.len()));
    changed.extend(section);
    Ok(changed)
}

/// Returns the component with another path of the same length in its data.
///
/// # Errors
///
/// The bytes are not a component, do not contain the path, or the new path is not as long.
pub fn moved(component: &[u8], from: &str, to: &str) -> anyhow::Result<Vec<u8>> {
    ensure!(component.starts_with(&COMPONENT), "this is no component");
    ensure!(from.len() == to.len(), "the paths {from} and {to} differ in length");
    let mut moved = component.to_vec();
    let mut found = false;
    let mut at = 0;
    while let Some(next) =
        moved[at..].windows(from.len()).position(|bytes| bytes == from.as_bytes())
    {
        at += next;
        moved[at..at + to.len()].copy_from_slice(to.as_bytes());
        at += to.len();
        found = true;
    }
    ensure!(found, "the plugin does not have the path {from} in its data");
    Ok(moved)
}

/// Encodes an unsigned number in LEB128: 7 bits a byte, least significant first.
fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7F) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_encoded_as_in_the_specification() {
        assert_eq!(leb128(0), [0x00]);
        assert_eq!(leb128(127), [0x7F]);
        assert_eq!(leb128(128), [0x80, 0x01]);
        assert_eq!(leb128(624_485), [0xE5, 0x8E, 0x26]);
    }

    #[test]
    fn the_section_follows_the_unchanged_component() {
        let component = [&COMPONENT[..], b"sections"].concat();
        let changed = changed(&component, b"7").expect("a component");
        let section = changed.strip_prefix(&component[..]).expect("unchanged");
        assert_eq!(section, b"\x00\x0d\x0bwharf-bench7");
    }

    #[test]
    fn a_long_payload_has_a_long_size() {
        let changed = changed(&COMPONENT, &[b'x'; 300]).expect("a component");
        let section = &changed[COMPONENT.len()..];
        // 1 byte of name length, 11 of name, 300 of payload.
        assert_eq!(section[..3], [0x00, 0xB8, 0x02]);
        assert_eq!(section.len(), 3 + 312);
    }

    #[test]
    fn a_plugin_is_moved_wherever_its_path_is_named() {
        let component = [&COMPONENT[..], b"a/echo/echob"].concat();
        let there = moved(&component, "/echo", "/e007").expect("moved");
        assert_eq!(there, [&COMPONENT[..], b"a/e007/e007b"].concat());
        assert!(moved(&component, "/echo", "/longer").is_err());
        assert!(moved(&component, "/chat", "/e007").is_err());
    }

    #[test]
    fn what_is_no_component_is_refused() {
        let module = changed(&MODULE, b"").expect_err("a module");
        assert!(module.to_string().contains("core module"), "{module}");
        assert!(changed(b"\x7fELF", b"").is_err());
    }
}
