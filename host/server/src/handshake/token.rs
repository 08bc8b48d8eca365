//! The token of a client's request.

use std::borrow::Cow;
use std::sync::Arc;

use hyper::Request;
use hyper::header::{AUTHORIZATION, HeaderMap};
use percent_encoding::percent_decode_str;
use wharf_contract::handshake::TurnedAway;
use wharf_hub::token::Token;
use wharf_runtime::ports::{TokenVerifier, Unacceptable};

use super::subprotocol::Subprotocols;

/// The client's token, and the rules that it must satisfy.
pub(super) struct BroughtToken {
    rules: Option<Arc<dyn TokenVerifier>>,
    token: Option<String>,
}

impl BroughtToken {
    /// Finds the token in a request: in the header `Authorization`, among the subprotocols, or in the
    /// query. It is not looked for if the channel has no token rules.
    pub(super) fn find<B>(
        rules: Option<Arc<dyn TokenVerifier>>,
        request: &Request<B>,
        subprotocols: &Subprotocols,
    ) -> BroughtToken {
        let token = rules.as_ref().and_then(|rules| {
            let in_query = || {
                let query = request.uri().query().unwrap_or_default();
                query_value(query, rules.query_parameter()?)
            };
            let in_header = bearer(request.headers()).or(subprotocols.token());
            in_header.map(Cow::Borrowed).or_else(in_query).map(Cow::into_owned)
        });
        BroughtToken { rules, token }
    }

    /// Checks the token, if the channel has token rules. `None` if there is no token, and none is
    /// needed.
    ///
    /// # Errors
    ///
    /// The token is not acceptable, or is missing.
    pub(super) async fn check(self) -> Result<Option<Token>, Unacceptable> {
        match (self.rules, self.token) {
            (Some(rules), Some(token)) => rules.check_patiently(&token).await.map(Some),
            (Some(rules), None) if rules.is_required() => Err(Unacceptable::Missing),
            _ => Ok(None),
        }
    }
}

/// Returns the reason that the client hears.
pub(super) fn turned_away(unacceptable: &Unacceptable) -> TurnedAway {
    match unacceptable {
        Unacceptable::Missing => TurnedAway::TokenRequired,
        Unacceptable::Expired => TurnedAway::TokenExpired,
        Unacceptable::Invalid(_) | Unacceptable::UnknownKey => TurnedAway::TokenInvalid,
        Unacceptable::NoKeys => TurnedAway::TokenUnchecked,
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
