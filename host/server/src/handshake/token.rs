//! The token of a client's request.

use std::borrow::Cow;

use hyper::Request;
use hyper::header::{AUTHORIZATION, HeaderMap};
use percent_encoding::percent_decode_str;
use wharf_contract::handshake::TurnedAway;
use wharf_hub::token::Token;
use wharf_runtime::channel::Channel;
use wharf_runtime::ports::Unacceptable;

/// Checks the client's token, if the channel has token rules. `None` if it has no token and needs
/// none.
///
/// # Errors
///
/// The token is not acceptable, or is missing.
pub(super) fn check<B>(
    channel: &Channel,
    request: &Request<B>,
) -> Result<Option<Token>, Unacceptable> {
    let Some(verifier) = channel.context.token_verifier() else {
        return Ok(None);
    };
    let parameter = verifier.query_parameter();
    let found = bearer(request.headers()).map(Cow::Borrowed).or_else(|| {
        let query = request.uri().query().unwrap_or_default();
        query_value(query, parameter?)
    });
    match found {
        Some(token) => verifier.check(&token).map(Some),
        None if verifier.is_required() => Err(Unacceptable::Missing),
        None => Ok(None),
    }
}

/// Returns the reason that the client hears.
pub(super) fn turned_away(unacceptable: &Unacceptable) -> TurnedAway {
    match unacceptable {
        Unacceptable::Missing => TurnedAway::TokenRequired,
        Unacceptable::Expired => TurnedAway::TokenExpired,
        Unacceptable::Invalid(_) => TurnedAway::TokenInvalid,
    }
}

/// Returns the token of a header `Authorization: Bearer …` (RFC 6750, 2.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let credentials = headers.get_all(AUTHORIZATION).iter().filter_map(|value| value.to_str().ok());
    let mut schemes = credentials.filter_map(|value| value.trim().split_once(' '));
    let (_, token) = schemes.find(|(scheme, _)| scheme.eq_ignore_ascii_case("Bearer"))?;
    Some(token.trim())
}

/// Returns the first value of a parameter in a query.
fn query_value<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let decoded = |text: &'a str| percent_decode_str(text).decode_utf8().ok();
    let mut pairs = pairs.filter(|(key, _)| decoded(key).as_deref() == Some(name));
    decoded(pairs.next()?.1)
}
