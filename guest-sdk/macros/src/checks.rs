//! Errors in an author's channel, reported at their place.
//!
//! Errors that the compiler explains well by itself, such as a wrong signature, are left to it.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::parse::{ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, FnArg, GenericArgument, Ident, ImplItem, ImplItemFn, Item, ItemImpl, LitStr,
    Meta, Path, PathArguments, Result, ReturnType, Token, Type, parse_quote,
};

use crate::dependency;
use crate::hints;
use crate::names::suggestion;

/// The callbacks of `wharf::Channel`.
const CALLBACKS: [&str; 17] = [
    "on_start",
    "on_connect",
    "on_message",
    "on_binary",
    "on_invalid_message",
    "on_ping",
    "on_pong",
    "on_notify",
    "on_timer",
    "on_room_event",
    "on_room_timer",
    "on_channel_timer",
    "on_presence",
    "on_outside_message",
    "on_error",
    "on_fault",
    "on_close",
];

/// The constants of `wharf::Channel`.
const CONSTANTS: [&str; 3] = ["PATHS", "SUBPROTOCOLS", "SESSION_FORMAT"];

/// A type of `wharf::Channel`, which may be left out if a callback shows it.
struct Shown {
    name: &'static str,
    by: &'static [(&'static str, Place)],
    /// Type that it has if no callback shows it.
    default: &'static str,
}

/// The place at which a callback shows a type.
#[derive(Clone, Copy)]
enum Place {
    Argument(usize),
    /// The `Result` that it returns.
    Returned,
}

const TYPES: [Shown; 6] = [
    Shown {
        name: "Message",
        by: &[("on_message", Place::Argument(2))],
        default: "::std::string::String",
    },
    Shown { name: "Notice", by: &[("on_notify", Place::Argument(2))], default: "()" },
    Shown {
        name: "RoomState",
        by: &[("on_room_event", Place::Argument(0)), ("on_room_timer", Place::Argument(0))],
        default: "()",
    },
    Shown { name: "RoomEvent", by: &[("on_room_event", Place::Argument(2))], default: "()" },
    Shown {
        name: "OutsideMessage",
        by: &[("on_outside_message", Place::Argument(0))],
        default: "()",
    },
    Shown { name: "OutsideReply", by: &[("on_outside_message", Place::Returned)], default: "()" },
];

/// An implementation of `Channel` that can be expanded.
pub struct Channel {
    /// The implementation as the author wrote it.
    pub item: ItemImpl,
    /// Types that have to be added.
    pub types: Vec<(Ident, Type)>,
    /// Place of `PATHS`, for errors in its value.
    pub paths: Span,
    /// The `#[cfg]`s of each written callback, by its name.
    pub callbacks: Vec<(String, Vec<Attribute>)>,
    /// The SDK's name in the author's crate.
    pub sdk: Path,
}

/// Reads the attribute's arguments and the item below it.
pub fn check(arguments: TokenStream, item: TokenStream) -> Result<Channel> {
    let sdk = name_of_the_sdk(arguments)?;
    let item = implementation(syn::parse2(item)?)?;
    let header = header(&item);
    let mut errors = Errors::default();
    let mut written: Vec<String> = Vec::new();
    let mut shown: Vec<(&str, Result<Type>)> = Vec::new();
    let mut paths = None;
    let mut callbacks: Vec<(String, Vec<Attribute>)> = Vec::new();
    for item in &item.items {
        match item {
            ImplItem::Fn(function) => {
                errors.note(callback(function));
                for Shown { name, by, .. } in TYPES {
                    for (callback, place) in by {
                        let ty = match place {
                            _ if function.sig.ident != callback => None,
                            Place::Argument(index) => argument(function, *index, name),
                            Place::Returned => returned(function, name),
                        };
                        shown.extend(ty.map(|ty| (name, ty)));
                    }
                }
                callbacks.push((function.sig.ident.to_string(), conditions(&function.attrs)));
            }
            ImplItem::Const(constant) => {
                errors.note(known(&constant.ident, "constant", &CONSTANTS));
                if constant.ident == "PATHS" {
                    paths = Some(&constant.expr);
                }
            }
            ImplItem::Type(alias) => {
                errors.note(known(&alias.ident, "type", &TYPES.map(|ty| ty.name)));
                written.push(alias.ident.to_string());
            }
            other => errors.note(Err(Error::new_spanned(
                other,
                "`#[wharf::channel]` has to see which callbacks there are: write them out here",
            ))),
        }
    }
    if paths.is_none() {
        errors.note(Err(Error::new_spanned(
            &header,
            "the channel has no path: add `const PATHS: &[&str] = &[\"/chat/:room_id\"];`",
        )));
    }
    if !callbacks.iter().any(|(name, _)| name == "on_connect") {
        errors.note(Err(Error::new_spanned(
            &header,
            "the channel has no `on_connect`, which makes the session of a new connection: add \
             `fn on_connect(conn: &Connection) -> Result<Self, Refusal> { … }`",
        )));
    }
    let mut types = Vec::new();
    for Shown { name, default, .. } in TYPES {
        if written.iter().any(|ident| ident == name) {
            continue;
        }
        let at = shown.iter().position(|(of, _)| *of == name);
        match at.map(|at| shown.swap_remove(at).1) {
            Some(Ok(ty)) => types.push((Ident::new(name, Span::call_site()), ty)),
            Some(Err(error)) => errors.note(Err(error)),
            None => types.push((Ident::new(name, Span::call_site()), syn::parse_str(default)?)),
        }
    }
    for hint in hints::of(&item, paths) {
        errors.note(Err(hint));
    }
    errors.finish()?;
    let paths = paths.map_or_else(Span::call_site, Spanned::span);
    Ok(Channel { item, types, paths, callbacks, sdk })
}

/// Reads the argument `crate = name`.
fn name_of_the_sdk(arguments: TokenStream) -> Result<Path> {
    if arguments.is_empty() {
        return Ok(dependency::sdk());
    }
    let argument = |input: ParseStream| {
        input.parse::<Token![crate]>()?;
        input.parse::<Token![=]>()?;
        let path = match input.peek(LitStr) {
            true => input.parse::<LitStr>()?.parse()?,
            false => input.call(Path::parse_mod_style)?,
        };
        input.parse::<Option<Token![,]>>()?;
        Ok(path)
    };
    argument.parse2(arguments.clone()).map_err(|_| {
        Error::new_spanned(
            arguments,
            "`#[wharf::channel]` takes no arguments but `crate = name`, for a dependency on the SDK \
             with another name than `wharf`; paths belong in the implementation: \
             `const PATHS: &[&str] = &[\"/chat/:room_id\"];`",
        )
    })
}

/// Returns the `#[cfg]`s among attributes. One in a `#[cfg_attr]` holds under the condition of that.
pub fn conditions(attributes: &[Attribute]) -> Vec<Attribute> {
    let mut conditions = Vec::new();
    for attribute in attributes {
        if attribute.path().is_ident("cfg") {
            conditions.push(attribute.clone());
        }
        if !attribute.path().is_ident("cfg_attr") {
            continue;
        }
        let list = Punctuated::<Meta, Token![,]>::parse_terminated;
        // The compiler complains about attributes that cannot be read.
        let Ok(list) = attribute.parse_args_with(list) else { continue };
        let mut list = list.into_iter();
        let Some(when) = list.next() else { continue };
        for meta in list {
            if let Meta::List(inner) = meta
                && inner.path.is_ident("cfg")
            {
                let condition = inner.tokens;
                conditions.push(parse_quote! { #[cfg(any(not(#when), #condition))] });
            }
        }
    }
    conditions
}

/// Returns the tokens `Channel for Chat`, for errors to point at.
fn header(item: &ItemImpl) -> TokenStream {
    let path = item.trait_.as_ref().map(|(path, _)| path);
    let (for_token, ty) = (item.trait_.as_ref().map(|(_, token)| token), &item.self_ty);
    let mut header = path.to_token_stream();
    for_token.to_tokens(&mut header);
    ty.to_tokens(&mut header);
    header
}

/// Returns the item if it is `impl Channel for` some type.
fn implementation(item: Item) -> Result<ItemImpl> {
    let item = match item {
        Item::Impl(item) => item,
        Item::Struct(item) => return Err(not_on_a_type(&item.ident)),
        Item::Enum(item) => return Err(not_on_a_type(&item.ident)),
        other => {
            return Err(Error::new_spanned(
                other,
                "`#[wharf::channel]` belongs above `impl Channel for …`",
            ));
        }
    };
    let ty = item.self_ty.to_token_stream();
    let Some((path, _)) = &item.trait_ else {
        return Err(Error::new_spanned(
            &item.self_ty,
            format!(
                "`#[wharf::channel]` belongs above `impl Channel for {ty}`, and is not needed \
                     above an implementation without a trait"
            ),
        ));
    };
    let is_channel = path.segments.last().is_some_and(|segment| segment.ident == "Channel");
    if item.modifiers.polarity.is_some() || !is_channel {
        return Err(Error::new_spanned(
            path,
            format!("`#[wharf::channel]` belongs above `impl Channel for {ty}`"),
        ));
    }
    if let Some(error) = borrowing(&item.self_ty, "a session") {
        return Err(error);
    }
    if !item.generics.params.is_empty() || item.generics.where_clause.is_some() {
        return Err(Error::new_spanned(
            &item.generics.params,
            "a channel cannot be generic: a plugin exports one channel, whose session has one type",
        ));
    }
    Ok(item)
}

fn not_on_a_type(name: &Ident) -> Error {
    Error::new_spanned(
        name,
        format!("`#[wharf::channel]` belongs above `impl Channel for {name}`, not above the type"),
    )
}

fn callback(function: &ImplItemFn) -> Result<()> {
    known(&function.sig.ident, "callback", &CALLBACKS)?;
    match &function.sig.asyncness {
        Some(asyncness) => Err(Error::new_spanned(
            asyncness,
            "callbacks are not async: host calls that wait hold up this connection only, since \
             other connections' events run on other instances",
        )),
        None => Ok(()),
    }
}

/// Returns the type of an argument of a callback, if it is one that `type {name}` can be. Other
/// errors in the signature are left to the compiler.
fn argument(function: &ImplItemFn, index: usize, name: &str) -> Option<Result<Type>> {
    if hints::connection_elsewhere(function).is_some() {
        // One error is enough, and the arguments are not where they belong.
        return None;
    }
    let FnArg::Typed(argument) = function.sig.inputs.iter().nth(index)? else { return None };
    let ty = match (&*argument.ty, name) {
        // A handler borrows the state to change it.
        (Type::Reference(lent), "RoomState") => &*lent.elem,
        (ty, _) => ty,
    };
    Some(match ty {
        Type::Reference(_) => Err(Error::new_spanned(
            ty,
            format!(
                "`{}` owns what it is given: take `String` for the text as it came, or your own \
                 type for its JSON",
                function.sig.ident
            ),
        )),
        ty => named(ty, name),
    })
}

/// Returns the type in the `Result` that a callback returns.
fn returned(function: &ImplItemFn, name: &str) -> Option<Result<Type>> {
    let ReturnType::Type(_, ty) = &function.sig.output else { return None };
    let Type::Path(path) = &**ty else { return None };
    let ty = match &path.path.segments.last()?.arguments {
        PathArguments::AngleBracketed(arguments) => match arguments.args.first()? {
            GenericArgument::Type(ty) => ty.clone(),
            _ => return None,
        },
        // A bare `Result` has no value.
        _ => parse_quote! { () },
    };
    Some(match ty {
        Type::ImplTrait(_) => Err(Error::new_spanned(
            ty,
            format!(
                "say what it is: `wharf::serde_json::Value` or a type of your own, as `{name}`"
            ),
        )),
        ty => named(&ty, name),
    })
}

/// Returns the error of a type that borrows, if it does.
fn borrowing(ty: &Type, what: &str) -> Option<Error> {
    let borrows = |tokens: &TokenStream| has_lifetime(tokens.clone());
    borrows(&ty.to_token_stream()).then(|| {
        Error::new_spanned(
            ty,
            format!(
                "{what} owns its data, because the host keeps it or its text is gone: use `String` \
                 in place of `&str`, `Vec<T>` in place of `&[T]`, and no lifetimes"
            ),
        )
    })
}

/// Returns true if there is a lifetime other than `'static`.
fn has_lifetime(tokens: TokenStream) -> bool {
    let mut after_tick = false;
    for token in tokens {
        match token {
            TokenTree::Group(group) if has_lifetime(group.stream()) => return true,
            TokenTree::Ident(name) if after_tick && name != "static" => return true,
            TokenTree::Punct(punct) => after_tick = punct.as_char() == '\'',
            _ => after_tick = false,
        }
    }
    false
}

/// Returns the type, unless it is one that has to be named.
fn named(ty: &Type, name: &str) -> Result<Type> {
    if let Some(error) = borrowing(ty, &format!("a `{name}`")) {
        return Err(error);
    }
    match ty {
        Type::Path(path) if path.path.segments.first().is_some_and(|s| s.ident == "Self") => {
            Err(Error::new_spanned(ty, format!("say what it is: `type {name} = …;` is missing")))
        }
        ty => Ok(ty.clone()),
    }
}

/// Checks that `Channel` has the name.
fn known(name: &Ident, what: &str, names: &[&str]) -> Result<()> {
    let text = name.to_string();
    if names.contains(&text.as_str()) {
        return Ok(());
    }
    let hint = suggestion(&text, names).unwrap_or_else(|| {
        format!("it has {}; your own belong in an `impl` without a trait", list(names))
    });
    Err(Error::new_spanned(name, format!("`Channel` has no {what} `{text}`: {hint}")))
}

fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Collects errors, so that an author sees all of them at once.
#[derive(Default)]
struct Errors(Option<Error>);

impl Errors {
    fn note(&mut self, result: Result<()>) {
        if let Err(error) = result {
            match &mut self.0 {
                Some(errors) => errors.combine(error),
                none => *none = Some(error),
            }
        }
    }

    fn finish(self) -> Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}
