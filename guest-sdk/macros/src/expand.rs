//! What the attribute adds to an author's channel.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Attribute, Meta, parse_quote};

use crate::checks::Channel;

/// The implementation, completed, and the exports of the component that it is.
pub fn expand(channel: Channel) -> TokenStream {
    let control_frames = Written::of(&channel, &["on_ping", "on_pong"]);
    let faults = Written::of(&channel, &["on_fault"]);
    let Channel { mut item, message, paths, .. } = channel;
    if let Some(message) = message {
        item.items.push(parse_quote! { type Message = #message; });
    }
    let (has_control_frames, has_faults) = (control_frames.expression(), faults.expression());
    item.items.push(parse_quote! {
        #[doc(hidden)]
        const __WRITE_WHARF_CHANNEL_ABOVE_THIS_IMPL: ::wharf::__private::Exports =
            ::wharf::__private::Exports {
                control_frames: #has_control_frames,
                faults: #has_faults,
            };
    });
    let ty = &item.self_ty;
    let checked = quote_spanned! { paths =>
        const _: () = ::wharf::__private::check_paths(<#ty as ::wharf::Channel>::PATHS);
    };
    let control_frames = control_frames.item(quote! {
        ::wharf::__private::bindings::control_frames::export_control_frames!(
            WharfComponent with_types_in ::wharf::__private::bindings::control_frames
        );
    });
    let faults = faults.item(quote! {
        ::wharf::__private::bindings::faults::export_faults!(
            WharfComponent with_types_in ::wharf::__private::bindings::faults
        );
    });
    quote! {
        #item
        #checked
        #[cfg(target_family = "wasm")]
        const _: () = {
            type WharfComponent = ::wharf::__private::Component<#ty>;
            ::wharf::__private::bindings::channel::export_channel!(
                WharfComponent with_types_in ::wharf::__private::bindings::channel
            );
            #control_frames
            #faults
        };
    }
}

/// Whether the author wrote any of some callbacks.
enum Written {
    No,
    Yes,
    /// Only where one of these conditions holds.
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

    /// The item, where the callbacks are written.
    fn item(&self, item: TokenStream) -> TokenStream {
        match self {
            Self::No => TokenStream::new(),
            Self::Yes => item,
            Self::If(conditions) => quote! { #[cfg(any(#(#conditions),*))] #item },
        }
    }
}

/// The condition of a callback with several `#[cfg]`s.
fn all(cfgs: &[Attribute]) -> TokenStream {
    let conditions = cfgs.iter().filter_map(|attr| match &attr.meta {
        Meta::List(list) => Some(&list.tokens),
        _ => None,
    });
    quote! { all(#(#conditions),*) }
}
