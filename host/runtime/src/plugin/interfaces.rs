//! The imports and exports of a component, read without compiling it.

use wasmparser::{Parser, Payload};

/// The names in a component's world, as they are written in it: `wharf:channel/rooms@0.1.2`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interfaces {
    /// Names of its imports.
    pub imports: Vec<String>,
    /// Names of its exports.
    pub exports: Vec<String>,
}

impl Interfaces {
    /// Reads the names; `None` if the bytes are not a component, or a broken one. The names are the
    /// author's: any text, of any length.
    pub fn read(bytes: &[u8]) -> Option<Interfaces> {
        let mut found = Interfaces::default();
        // Components contain modules and further components, with worlds of their own.
        let mut depth = 0;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.ok()? {
                Payload::Version { encoding, .. } => {
                    if depth == 0 && encoding != wasmparser::Encoding::Component {
                        return None;
                    }
                    depth += 1;
                }
                Payload::End(_) => depth -= 1,
                Payload::ComponentImportSection(section) if depth == 1 => {
                    for import in section {
                        found.imports.push(import.ok()?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 1 => {
                    for export in section {
                        found.exports.push(export.ok()?.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_and_rubbish_have_none() {
        let bytes: [&[u8]; 4] = [b"", b"(component)", b"\0asm\x01\0\0\0", b"\0asm\x0d\0\x01\0\x0a"];
        for bytes in bytes {
            assert_eq!(Interfaces::read(bytes), None, "{bytes:?}");
        }
        assert_eq!(Interfaces::read(b"\0asm\x0d\0\x01\0"), Some(Interfaces::default()));
    }
}
