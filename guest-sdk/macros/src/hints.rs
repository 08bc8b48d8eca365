//! Mistakes within callbacks that the compiler would explain poorly, or not at all.

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{
    Block, Error, Expr, ExprCall, FnArg, ImplItemFn, ItemImpl, Lit, LitStr, Pat, Stmt, Type,
};

use crate::names::suggestion;

/// The callbacks without a connection.
const DETACHED: [&str; 6] = [
    "on_start",
    "on_room_event",
    "on_room_timer",
    "on_channel_timer",
    "on_presence",
    "on_outside_message",
];

/// Returns the mistakes within an implementation. `paths` is the value of `PATHS`.
pub fn of(item: &ItemImpl, paths: Option<&Expr>) -> Vec<Error> {
    let mut errors = Vec::new();
    let parameters = paths.and_then(parameters);
    for item in &item.items {
        let syn::ImplItem::Fn(function) = item else { continue };
        errors.extend(connection_elsewhere(function));
        if let Some(parameters) = &parameters {
            unknown_parameters(function, parameters, &mut errors);
        }
        unfit_errors(function, &mut errors);
    }
    errors.extend(two_states(item));
    errors
}

/// Returns the error of a callback that wants a connection where there is none.
pub fn connection_elsewhere(function: &ImplItemFn) -> Option<Error> {
    let name = function.sig.ident.to_string();
    if !DETACHED.contains(&name.as_str()) {
        return None;
    }
    let at = function.sig.inputs.iter().find(|input| is_connection(input))?;
    let instead = match name.as_str() {
        "on_room_event" => {
            "`wharf::event::sender()` and `event::user()` name the one that posted, `event::send(…)` \
             sends to it, and `room.broadcast(…)` to all"
        }
        "on_room_timer" | "on_presence" => {
            "`room.broadcast(…)` sends to all in the room, `send_to(…)` to one by its id"
        }
        "on_start" => "it is called before the first event",
        _ => "`send_to(…)` sends to one by its id, `send_to_user(…)` to a user",
    };
    Some(Error::new_spanned(at, format!("`{name}` has no connection: {instead}")))
}

/// Returns the error of a room timer whose state is not that of the room's events.
fn two_states(item: &ItemImpl) -> Option<Error> {
    let state_of = |wanted: &str| {
        item.items.iter().find_map(|item| match item {
            syn::ImplItem::Fn(function) if function.sig.ident == wanted => {
                match function.sig.inputs.first()? {
                    FnArg::Typed(argument) => match &*argument.ty {
                        Type::Reference(lent) => Some(lent.elem.clone()),
                        _ => None,
                    },
                    FnArg::Receiver(_) => None,
                }
            }
            _ => None,
        })
    };
    let (of_events, of_timers) = (state_of("on_room_event")?, state_of("on_room_timer")?);
    let text = |ty: &Type| ty.to_token_stream().to_string();
    (text(&of_events) != text(&of_timers)).then(|| {
        let (one, other) = (text(&of_events), text(&of_timers));
        Error::new_spanned(
            &of_timers,
            format!("a room has one state: `on_room_event` has `{one}`, and this is `{other}`"),
        )
    })
}

fn is_connection(input: &FnArg) -> bool {
    let FnArg::Typed(argument) = input else { return false };
    let Type::Reference(lent) = &*argument.ty else { return false };
    match &*lent.elem {
        Type::Path(path) => path.path.segments.last().is_some_and(|s| s.ident == "Connection"),
        _ => false,
    }
}

/// Returns the names of the parameters in `PATHS`, if it is a list of texts.
fn parameters(paths: &Expr) -> Option<Vec<String>> {
    let Expr::Reference(lent) = paths else { return None };
    let Expr::Array(list) = &*lent.expr else { return None };
    let mut names = Vec::new();
    for path in &list.elems {
        let Expr::Lit(literal) = path else { return None };
        let Lit::Str(text) = &literal.lit else { return None };
        let text = text.value();
        let segments = text.split('/');
        names.extend(segments.filter_map(|s| s.strip_prefix([':', '*'])).map(str::to_owned));
    }
    Some(names)
}

/// Finds `conn.param("…")` of a name that no path has.
fn unknown_parameters(function: &ImplItemFn, known: &[String], errors: &mut Vec<Error>) {
    let connections: Vec<String> = (function.sig.inputs.iter())
        .filter(|input| is_connection(input))
        .filter_map(|input| match input {
            FnArg::Typed(argument) => match &*argument.pat {
                Pat::Ident(name) => Some(name.ident.to_string()),
                _ => None,
            },
            FnArg::Receiver(_) => None,
        })
        .collect();
    let mut asked = Vec::new();
    asked_parameters(function.block.to_token_stream(), &connections, &mut asked);
    for (name, span) in asked {
        if known.contains(&name) {
            continue;
        }
        let names: Vec<&str> = known.iter().map(String::as_str).collect();
        let hint = match names.as_slice() {
            [] => format!("name it in `PATHS`, as in `/chat/:{name}`"),
            names => suggestion(&name, names)
                .unwrap_or_else(|| format!("there is `{}`", names.join("`, `"))),
        };
        errors.push(Error::new(span, format!("no path has a parameter `{name}`: {hint}")));
    }
}

/// Collects the literal names in calls of `param` and `param_as` on these variables.
fn asked_parameters(tokens: TokenStream, connections: &[String], asked: &mut Vec<(String, Span)>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => asked_parameters(group.stream(), connections, asked),
            TokenTree::Ident(name) if connections.iter().any(|conn| name == conn) => {
                let [TokenTree::Punct(dot), TokenTree::Ident(method), rest @ ..] =
                    &tokens[at + 1..]
                else {
                    continue;
                };
                if dot.as_char() != '.' || !(method == "param" || method == "param_as") {
                    continue;
                }
                // Between the method and its arguments may be `::<T>`.
                let arguments = rest.iter().find_map(|token| match token {
                    TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis => {
                        Some(group.stream())
                    }
                    _ => None,
                });
                if let Some(Ok(literal)) = arguments.map(syn::parse2::<LitStr>) {
                    asked.push((literal.value(), literal.span()));
                }
            }
            _ => {}
        }
    }
}

/// Finds `Err("…")` and `Err(Refusal::…)` as the result of a callback that has another error.
fn unfit_errors(function: &ImplItemFn, errors: &mut Vec<Error>) {
    let name = function.sig.ident.to_string();
    let mut results = Vec::new();
    results_of_block(&function.block, true, &mut results);
    for call in results {
        let Some(unfit) = Unfit::of(call) else { continue };
        let hint = match (unfit, name.as_str()) {
            (Unfit::Text, "on_connect") => {
                "a refusal says it to the client: `Err(Refusal::forbidden(\"…\"))`; for the operator \
                 only, `bail!(\"…\")`"
            }
            (Unfit::Refusal, "on_connect") => continue,
            (Unfit::Text, _) => {
                "for the operator, `bail!(\"…\")`; for the client, `Err(Invalid::new(\"…\").into())`"
            }
            (Unfit::Refusal, _) => {
                "a refusal answers a handshake, and the connection is open: tell the client with \
                 `Err(Invalid::new(\"…\").into())`, or end it with `conn.close(4000, \"…\")`"
            }
        };
        errors.push(Error::new_spanned(call, hint));
    }
}

/// An error of another type than callbacks have.
#[derive(Clone, Copy)]
enum Unfit {
    Text,
    Refusal,
}

impl Unfit {
    fn of(call: &ExprCall) -> Option<Self> {
        let Expr::Path(function) = &*call.func else { return None };
        if !function.path.is_ident("Err") || call.args.len() != 1 {
            return None;
        }
        // A conversion at the end may make the right type of it.
        let mut error = call.args.first()?;
        while let Expr::MethodCall(method) = error {
            if !["to_string", "to_owned"].iter().any(|name| method.method == name) {
                break;
            }
            error = &method.receiver;
        }
        match error {
            Expr::Lit(literal) if matches!(literal.lit, Lit::Str(_)) => Some(Self::Text),
            Expr::Macro(text) if text.mac.path.is_ident("format") => Some(Self::Text),
            Expr::Call(call) => match &*call.func {
                Expr::Path(path) => match path.path.segments.first()?.ident.to_string().as_str() {
                    "Refusal" => Some(Self::Refusal),
                    "String" => Some(Self::Text),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        }
    }
}

/// Collects the calls that are the result of a block, or are returned within it. Closures have
/// results of their own.
fn results_of_block<'e>(block: &'e Block, is_result: bool, results: &mut Vec<&'e ExprCall>) {
    let last = block.stmts.len().saturating_sub(1);
    for (at, statement) in block.stmts.iter().enumerate() {
        match statement {
            Stmt::Expr(expr, semicolon) => {
                let is_last = at == last && semicolon.is_none();
                results_of(expr, is_result && is_last, results);
            }
            Stmt::Local(local) => {
                if let Some(otherwise) = local.init.as_ref().and_then(|i| i.diverge.as_ref()) {
                    results_of(&otherwise.1, false, results);
                }
            }
            Stmt::Item(_) | Stmt::Macro(_) => {}
        }
    }
}

fn results_of<'e>(expr: &'e Expr, is_result: bool, results: &mut Vec<&'e ExprCall>) {
    match expr {
        Expr::Call(call) if is_result => results.push(call),
        Expr::Return(returned) => {
            if let Some(expr) = &returned.expr {
                results_of(expr, true, results);
            }
        }
        Expr::Block(block) => results_of_block(&block.block, is_result, results),
        Expr::If(either) => {
            results_of_block(&either.then_branch, is_result, results);
            if let Some((_, otherwise)) = &either.else_branch {
                results_of(otherwise, is_result, results);
            }
        }
        Expr::Match(cases) => {
            cases.arms.iter().for_each(|arm| results_of(&arm.body, is_result, results));
        }
        Expr::ForLoop(repeated) => results_of_block(&repeated.body, false, results),
        Expr::While(repeated) => results_of_block(&repeated.body, false, results),
        Expr::Loop(repeated) => results_of_block(&repeated.body, false, results),
        _ => {}
    }
}
