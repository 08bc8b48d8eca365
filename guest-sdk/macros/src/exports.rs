//! The optional exports, as the SDK needs them: the contract's list with the names of the SDK's macros.

use proc_macro2::{Ident, Span};
use wharf_contract::exports::OptionalExport;

/// Returns the name of the macro that makes an export.
pub fn macro_of(export: &OptionalExport) -> Ident {
    Ident::new(&format!("export_{}", export.module), Span::call_site())
}

/// Returns the name of the module with an export's bindings, and of its field in `Exports`.
pub fn module_of(export: &OptionalExport) -> Ident {
    Ident::new(export.module, Span::call_site())
}
