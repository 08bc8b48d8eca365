//! The optional exports, as the SDK needs them: the contract's list with the names of the SDK's macros.

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;
use wharf_contract::exports::{CONTRACT_VERSION, OPTIONAL_EXPORTS, OptionalExport};

/// Returns the name of the macro that makes an export.
pub fn macro_of(export: &OptionalExport) -> Ident {
    Ident::new(&format!("export_{}", export.module), Span::call_site())
}

/// Returns the name of the module with an export's bindings, and of its field in `Exports`.
pub fn module_of(export: &OptionalExport) -> Ident {
    Ident::new(export.module, Span::call_site())
}

/// Calls the macro `each` with the list.
pub fn list(each: &TokenStream) -> TokenStream {
    let (major, minor, patch) = CONTRACT_VERSION;
    let exports = OPTIONAL_EXPORTS.iter().map(|export| {
        let module = module_of(export);
        let (world, name) = (export.world, macro_of(export).to_string());
        let here = format!("::wharf::__private::bindings::{module}");
        let uses = export.uses.iter().map(|interface| {
            let name = format!("wharf:channel/{interface}@{major}.{minor}.{patch}");
            let module = Ident::new(&interface.replace('-', "_"), Span::call_site());
            quote! { #name: #module }
        });
        quote! { #module = #world, #name, #here, uses [#(#uses),*]; }
    });
    quote! { #each! { #(#exports)* } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_the_world_the_macro_and_the_types_of_each_export() {
        let list = list(&quote! { bindings }).to_string().replace(' ', "");
        let one = concat!(
            r#"control_frames="with-control-frames","export_control_frames","#,
            r#""::wharf::__private::bindings::control_frames","#,
            r#"uses["wharf:channel/types@0.1.2":types,"wharf:channel/connection@0.1.2":connection];"#,
        );
        assert!(list.starts_with("bindings!{"), "{list}");
        assert!(list.contains(one), "{list}");
        assert_eq!(list.matches("uses[").count(), OPTIONAL_EXPORTS.len());
    }
}
