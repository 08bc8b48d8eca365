//! The imports and exports of a component, read without compiling it.

use wasmparser::{
    ComponentType, ComponentTypeRef, InstanceTypeDeclaration as Declaration, Parser, Payload,
};

/// The function of the contract that reads the claims of a client's token.
const CLAIMS: &str = "[method]connection.claims";

/// The names in a component's world, as they are written in it: `wharf:channel/rooms@0.1.2`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interfaces {
    /// Names of its imports.
    pub imports: Vec<String>,
    /// Names of its exports.
    pub exports: Vec<String>,
    /// True if it imports the function that reads claims. Linkers leave out functions that no code
    /// calls, but code that calls it may never run, or may do without claims.
    pub reads_claims: bool,
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
                Payload::ComponentTypeSection(section) if depth == 1 => {
                    for kind in section {
                        if let ComponentType::Instance(declarations) = kind.ok()? {
                            found.reads_claims |= declarations.iter().any(is_claims);
                        }
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

/// Returns true if an instance type has the function that reads claims.
fn is_claims(declaration: &Declaration<'_>) -> bool {
    matches!(
        declaration,
        Declaration::Export { name, ty: ComponentTypeRef::Func(_) } if name.name == CLAIMS
    )
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
