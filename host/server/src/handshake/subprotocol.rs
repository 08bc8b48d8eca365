//! The subprotocols that a client asks for, one of which may be its token.
//!
//! A page cannot set headers, but it can name subprotocols. So a client may ask for the operator's word
//! (`bearer`) and for its token next to it: `Sec-WebSocket-Protocol: chat.v1, bearer, TOKEN`.

use hyper::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use wharf_contract::handshake::agree_on_subprotocol;
use wharf_contract::text::{cut, escape};

use crate::reply::MAX_SHOWN_BYTES;

/// Replacement for a token in the log.
const HIDDEN: &str = "***";

/// The word that may announce a token where the operator has not set one.
const USUAL_WORD: &[u8] = b"bearer";

/// The beginning of a JSON Web Token: `{"` in base64url.
const TOKEN_BEGINNING: &[u8] = b"eyJ";

/// The subprotocols that a client asks for.
#[derive(Debug)]
pub(super) struct Subprotocols<'a> {
    /// All but the word and the token.
    names: Vec<&'a [u8]>,
    /// The word and the token.
    announced: Option<(&'a [u8], &'a str)>,
}

/// The subprotocol of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Agreed {
    /// One of the channel's.
    pub of_channel: Option<String>,
    /// The one in the answer: that of the channel, or the word that announced a token. A browser ends a
    /// connection without one if it has asked for any.
    pub in_answer: Option<String>,
}

impl<'a> Subprotocols<'a> {
    /// Reads the headers. `word` announces a token, if there may be any.
    pub(super) fn read(headers: &'a HeaderMap, word: Option<&str>) -> Subprotocols<'a> {
        let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().map(HeaderValue::as_bytes);
        let items = values.flat_map(|value| value.split(|byte| *byte == b','));
        let mut items = items.map(<[u8]>::trim_ascii).filter(|item| !item.is_empty()).peekable();
        let (mut names, mut announced) = (Vec::new(), None);
        while let Some(name) = items.next() {
            let token = match word {
                Some(word) if announced.is_none() && name == word.as_bytes() => {
                    items.peek().and_then(|token| std::str::from_utf8(token).ok())
                }
                _ => None,
            };
            match token {
                Some(token) => {
                    announced = Some((name, token));
                    items.next();
                }
                None => names.push(name),
            }
        }
        Subprotocols { names, announced }
    }

    /// Returns the token.
    pub(super) fn token(&self) -> Option<&'a str> {
        self.announced.map(|(_, token)| token)
    }

    /// Returns the connection's subprotocol: the first of the channel's that is asked for.
    pub(super) fn agree(&self, offered: &[String]) -> Agreed {
        let of_channel = agree_on_subprotocol(offered, &self.names).cloned();
        // A word that could not be a text cannot have been the operator's.
        let word = self.announced.map(|(word, _)| String::from_utf8_lossy(word).into_owned());
        Agreed { in_answer: of_channel.clone().or(word), of_channel }
    }

    /// Returns true if none is asked for, apart from a token.
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Returns the list for the log, without what may be a token.
    pub(super) fn shown(&self) -> String {
        let mut shown: Vec<u8> = Vec::new();
        let mut before: &[u8] = b"";
        for name in &self.names {
            let is_token =
                name.starts_with(TOKEN_BEGINNING) || before.eq_ignore_ascii_case(USUAL_WORD);
            if !shown.is_empty() {
                shown.extend_from_slice(b", ");
            }
            shown.extend_from_slice(if is_token { HIDDEN.as_bytes() } else { name });
            before = name;
        }
        escape(cut(&String::from_utf8_lossy(&shown), MAX_SHOWN_BYTES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let value = |value: &&str| {
            let value = HeaderValue::from_str(value).expect("a value of a header");
            (SEC_WEBSOCKET_PROTOCOL, value)
        };
        values.iter().map(value).collect()
    }

    fn read(values: &[&str], offered: &[&str]) -> (Option<String>, Agreed, String) {
        let headers = headers(values);
        let subprotocols = Subprotocols::read(&headers, Some("bearer"));
        let offered: Vec<String> = offered.iter().map(|name| (*name).to_owned()).collect();
        let token = subprotocols.token().map(str::to_owned);
        (token, subprotocols.agree(&offered), subprotocols.shown())
    }

    #[test]
    fn the_token_is_the_one_after_the_word_and_is_never_agreed_on_or_shown() {
        let some = |text: &str| Some(text.to_owned());
        for values in [
            &["chat.v1, bearer, a.b.c"][..],
            &["bearer,a.b.c", "chat.v1"],
            &["bearer", "a.b.c,chat.v1"],
        ] {
            let (token, agreed, shown) = read(values, &["chat.v1", "a.b.c"]);
            assert_eq!((token, shown.as_str()), (some("a.b.c"), "chat.v1"), "{values:?}");
            assert_eq!(agreed, Agreed { of_channel: some("chat.v1"), in_answer: some("chat.v1") });
        }
        let (token, agreed, shown) = read(&["bearer, a.b.c"], &["chat.v1"]);
        assert_eq!((token, shown.as_str()), (some("a.b.c"), ""));
        assert_eq!(agreed, Agreed { of_channel: None, in_answer: some("bearer") });
        // The word without a token is a name like others.
        let (token, agreed, shown) = read(&["chat, bearer"], &["bearer"]);
        assert_eq!((token, shown.as_str()), (None, "chat, bearer"));
        assert_eq!(agreed.in_answer, some("bearer"));
    }

    #[test]
    fn tokens_of_clients_that_a_channel_does_not_ask_for_are_not_shown_either() {
        let headers = headers(&["Bearer, secret, eyJhbGciOiJub25lIn0.e30.AAAA, chat"]);
        assert_eq!(Subprotocols::read(&headers, None).shown(), "Bearer, ***, ***, chat");
    }

    proptest! {
        #[test]
        fn whatever_is_asked_for_the_token_is_not_in_the_answer(value in "[ ,a-c]{0,12}(bearer)?[ ,a-c]{0,12}") {
            let headers = headers(&[&value]);
            let subprotocols = Subprotocols::read(&headers, Some("bearer"));
            let agreed = subprotocols.agree(&["a".to_owned(), "bearer".to_owned()]);
            if let (Some(token), Some(answer)) = (subprotocols.token(), agreed.in_answer) {
                let times = value.split(',').filter(|item| item.trim() == token).count();
                prop_assert!(answer != token || times > 1, "{value:?}");
            }
        }
    }
}
