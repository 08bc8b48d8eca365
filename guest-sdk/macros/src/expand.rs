//! The code that the attribute adds to an author's channel.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::{Attribute, ImplItem, Meta, Path, parse_quote};

use wharf_contract::exports::{OPTIONAL_EXPORTS, OptionalExport};

use crate::checks::{Channel, conditions};
use crate::exports::{macro_of, module_of};

/// Returns the completed implementation, and the exports of the component.
pub fn expand(channel: Channel) -> TokenStream {
    let exports: Vec<Export> = OPTIONAL_EXPORTS.iter().map(|of| Export::of(of, &channel)).collect();
    let Channel { mut item, types, paths, sdk, .. } = channel;
    for function in item.items.iter_mut() {
        keep_in_backtraces(function);
    }
    for (name, ty) in types {
        item.items.push(parse_quote! { type #name = #ty; });
    }
    let fields = exports.iter().map(Export::field);
    item.items.push(parse_quote! {
        #[doc(hidden)]
        const __WRITE_WHARF_CHANNEL_ABOVE_THIS_IMPL: #sdk::__private::Exports =
            #sdk::__private::Exports { #(#fields),* };
    });
    let ty = &item.self_ty;
    // Added items are there where the implementation is.
    let here = conditions(&item.attrs);
    // Its errors point at the paths, as far as every token of the call does.
    let at_paths = sdk.to_token_stream().into_iter().map(|mut token| {
        token.set_span(paths);
        token
    });
    let at_paths: TokenStream = at_paths.collect();
    let checked = quote_spanned! { paths =>
        #(#here)*
        const _: () = #at_paths::__private::check_paths(<#ty as #at_paths::Channel>::PATHS);
    };
    let exports = exports.iter().map(|export| export.item(&sdk));
    quote! {
        #item
        #checked
        #(#here)*
        #[cfg(target_family = "wasm")]
        const _: () = {
            type __WharfComponentOfTheChannel = #sdk::__private::Component<#ty>;
            #sdk::__private::bindings::channel::export_channel!(
                __WharfComponentOfTheChannel with_types_in #sdk::__private::bindings::channel
            );
            #(#exports)*
        };
    }
}

/// Keeps a callback from becoming a part of the code that calls it, so that the backtrace of a panic
/// names the author's own function.
fn keep_in_backtraces(item: &mut ImplItem) {
    let ImplItem::Fn(function) = item else { return };
    if !function.attrs.iter().any(|attribute| attribute.path().is_ident("inline")) {
        function.attrs.push(parse_quote! { #[cfg_attr(target_family = "wasm", inline(never))] });
    }
}

/// An optional export of a channel.
struct Export {
    optional: &'static OptionalExport,
    written: Written,
}

impl Export {
    fn of(optional: &'static OptionalExport, channel: &Channel) -> Self {
        Self { optional, written: Written::of(channel, optional.callbacks) }
    }

    /// Returns its entry in the list of exports.
    fn field(&self) -> TokenStream {
        let (field, value) = (module_of(self.optional), self.written.expression());
        quote! { #field: #value }
    }

    /// Returns the tokens that make it. `sdk` is the SDK's name.
    fn item(&self, sdk: &Path) -> TokenStream {
        let (module, export) = (module_of(self.optional), macro_of(self.optional));
        self.written.item(quote! {
            #sdk::__private::bindings::#module::#export!(
                __WharfComponentOfTheChannel with_types_in #sdk::__private::bindings::#module
            );
        })
    }
}

/// The condition under which the author wrote any of some callbacks.
enum Written {
    No,
    Yes,
    /// They are written if one of these conditions holds.
    If(Vec<TokenStream>),
}

impl Written {
    fn of(channel: &Channel, names: &[&str]) -> Self {
        let written: Vec<_> = (channel.callbacks.iter())
            .filter(|(name, _)| names.contains(&name.as_str()))
            .map(|(_, cfgs)| cfgs)
            .collect();
        if written.is_empty() {
            Self::No
        } else if written.iter().any(|cfgs| cfgs.is_empty()) {
            Self::Yes
        } else {
            Self::If(written.into_iter().map(|cfgs| all(cfgs)).collect())
        }
    }

    fn expression(&self) -> TokenStream {
        match self {
            Self::No => quote! { false },
            Self::Yes => quote! { true },
            Self::If(conditions) => quote! { ::core::cfg!(any(#(#conditions),*)) },
        }
    }

    /// Returns the item, under the condition of its callbacks.
    fn item(&self, item: TokenStream) -> TokenStream {
        match self {
            Self::No => TokenStream::new(),
            Self::Yes => item,
            Self::If(conditions) => quote! { #[cfg(any(#(#conditions),*))] #item },
        }
    }
}

/// Returns the condition of a callback with several `#[cfg]`s.
fn all(cfgs: &[Attribute]) -> TokenStream {
    let conditions = cfgs.iter().filter_map(|attr| match &attr.meta {
        Meta::List(list) => Some(&list.tokens),
        _ => None,
    });
    quote! { all(#(#conditions),*) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::check;

    /// Returns the expansion of a channel with these callbacks besides `on_connect`, without
    /// spaces.
    fn expanded(callbacks: TokenStream) -> String {
        let item = quote! {
            impl Channel for Chat {
                const PATHS: &[&str] = &["/chat"];
                fn on_connect(_: &Connection) -> Result<Self, Refusal> { Ok(Chat) }
                #callbacks
            }
        };
        let channel = check(TokenStream::new(), item).expect("nothing is wrong with it");
        expand(channel).to_string().replace(' ', "")
    }

    #[test]
    fn every_path_begins_with_the_name_that_the_sdk_has() {
        for (argument, name) in [
            (quote! { crate = w }, "w"),
            (quote! { crate = ::w, }, "::w"),
            (quote! { crate = "w" }, "w"),
            (quote! { crate = crate::sdk }, "crate::sdk"),
        ] {
            let item = quote! {
                impl Channel for Chat {
                    const PATHS: &[&str] = &["/chat"];
                    fn on_connect(_: &Connection) -> Result<Self, Refusal> { Ok(Chat) }
                    fn on_fault(&mut self, c: &Connection, f: Fault) -> Result {}
                }
            };
            let expanded = expand(check(argument, item).expect("nothing is wrong with it"));
            let expanded = expanded.to_string().replace(' ', "");
            assert!(!expanded.contains("wharf::"), "{expanded}");
            let private = format!("{name}::__private::");
            assert_eq!(
                expanded.matches("::__private::").count(),
                expanded.matches(&private).count(),
                "{expanded}"
            );
        }
        let nothing = check(quote! { "/chat" }, quote! { impl Channel for Chat {} });
        assert!(nothing.is_err_and(|error| error.to_string().contains("`crate = name`")));
    }

    fn exports(expanded: &str) -> [bool; 3] {
        ["export_channel!", "export_control_frames!", "export_faults!"]
            .map(|export| expanded.contains(export))
    }

    #[test]
    fn only_what_the_author_wrote_is_exported() {
        let on_ping = quote! { fn on_ping(&mut self, c: &Connection, d: Vec<u8>) -> Result {} };
        let on_pong = quote! { fn on_pong(&mut self, c: &Connection, d: Vec<u8>) -> Result {} };
        let on_fault = quote! { fn on_fault(&mut self, c: &Connection, f: Fault) -> Result {} };
        assert_eq!(exports(&expanded(quote!())), [true, false, false]);
        assert_eq!(exports(&expanded(quote! { #on_ping })), [true, true, false]);
        assert_eq!(exports(&expanded(quote! { #on_pong })), [true, true, false]);
        assert_eq!(exports(&expanded(quote! { #on_fault })), [true, false, true]);
        let all = expanded(quote! { #on_ping #on_pong #on_fault });
        assert_eq!(exports(&all), [true, true, true]);
        assert_eq!(all.matches("export_control_frames!").count(), 1);
    }

    #[test]
    fn a_callback_under_a_condition_is_exported_under_it() {
        let on_ping = quote! { fn on_ping(&mut self, c: &Connection, d: Vec<u8>) -> Result {} };
        let on_pong = quote! { fn on_pong(&mut self, c: &Connection, d: Vec<u8>) -> Result {} };
        let some = expanded(quote! { #[cfg(a)] #[cfg(not(b))] #on_ping #[cfg(c)] #on_pong });
        assert!(some.contains("control_frames:::core::cfg!(any(all(a,not(b)),all(c)))"), "{some}");
        assert!(some.contains("#[cfg(any(all(a,not(b)),all(c)))]::wharf"), "{some}");
        // If one of them has no condition, the export is always there.
        let always = expanded(quote! { #[cfg(a)] #on_ping #on_pong });
        assert!(always.contains("control_frames:true"), "{always}");
    }

    #[test]
    fn a_condition_within_a_condition_is_seen() {
        let on_ping = quote! { fn on_ping(&mut self, c: &Connection, d: Vec<u8>) -> Result {} };
        let some = expanded(quote! { #[cfg_attr(a, cfg(b), allow(unused))] #on_ping });
        assert!(some.contains("#[cfg(any(all(any(not(a),b))))]::wharf"), "{some}");
    }

    #[test]
    fn what_is_added_is_there_where_the_implementation_is() {
        let item = quote! {
            #[cfg(feature = "chat")]
            impl Channel for Chat {
                const PATHS: &[&str] = &["/chat"];
                fn on_connect(_: &Connection) -> Result<Self, Refusal> { Ok(Chat) }
            }
        };
        let channel = check(TokenStream::new(), item).expect("nothing is wrong with it");
        let expanded = expand(channel).to_string().replace(' ', "");
        assert_eq!(expanded.matches("#[cfg(feature=\"chat\")]").count(), 3, "{expanded}");
    }

    #[test]
    fn what_is_answered_from_outside_is_what_the_callback_returns() {
        let with = |returned: TokenStream| {
            expanded(quote! { fn on_outside_message(m: Order) -> #returned { todo!() } })
        };
        let some = with(quote! { Result<Receipt> });
        assert!(some.contains("typeOutsideMessage=Order;"), "{some}");
        assert!(some.contains("typeOutsideReply=Receipt;"), "{some}");
        assert!(some.contains("export_outside_events!"), "{some}");
        assert!(with(quote! { Result }).contains("typeOutsideReply=();"));
        assert!(with(quote! { wharf::Result<Vec<u8>> }).contains("typeOutsideReply=Vec<u8>;"));
        assert!(expanded(quote!()).contains("typeOutsideReply=();"));
    }

    #[test]
    fn the_message_is_what_on_message_takes() {
        let on_message = quote! { fn on_message(&mut self, c: &Connection, m: Move) -> Result {} };
        assert!(expanded(quote! { #on_message }).contains("typeMessage=Move;"));
        assert!(expanded(quote!()).contains("typeMessage=::std::string::String;"));
        let written = expanded(quote! { type Message = Move; #on_message });
        assert_eq!(written.matches("typeMessage=").count(), 1);
    }
}
