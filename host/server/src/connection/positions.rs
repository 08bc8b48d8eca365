//! The positions in the logs of rooms that a client brings in its handshake.
//!
//! A client that asks for positions gets each message of a room that keeps its messages behind a note with the
//! message's position. When it comes back it says where it was, and gets what it has missed. The channel does not
//! see the parameter.

use std::borrow::Cow;

use wharf_contract::router::decode;
use wharf_hub::history::AskedPositions;

/// Parameter of the query that asks for positions. Its value says where the client was.
const PARAMETER: &str = "wharf_recover=";

/// Returns a query without the parameter, and the positions if it had it.
pub fn take_parameter(query: Cow<'_, str>) -> (Cow<'_, str>, Option<AskedPositions>) {
    let Some(value) = query.split('&').find_map(|pair| pair.strip_prefix(PARAMETER)) else {
        return (query, None);
    };
    let value = decode(value).unwrap_or_default();
    let asked = AskedPositions::read(&value, |room| Some(decode(room)?.into_owned()));
    let others: Vec<_> = query.split('&').filter(|pair| !pair.starts_with(PARAMETER)).collect();
    (Cow::Owned(others.join("&")), Some(asked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameter_is_taken_out_of_a_query() {
        let take = |query| take_parameter(Cow::Borrowed(query));
        assert_eq!(take("a=1&b"), (Cow::Borrowed("a=1&b"), None));
        assert_eq!(take("wharf_recover=").1, Some(AskedPositions::default()));
        let (rest, asked) = take("a=1&wharf_recover=x%2500%2Cy%2C1&b=%20&wharf_recover=");
        assert_eq!((&*rest, asked), ("a=1&b=%20", Some(AskedPositions::default())));
    }

    #[test]
    fn a_rooms_name_is_encoded_twice() {
        let position = "a%252Cb%2C00000000000000ff%2C7";
        let (_, asked) = take_parameter(Cow::Owned(format!("wharf_recover={position}")));
        let expected = AskedPositions::read("a,00000000000000ff,7", |_| Some("a,b".to_owned()));
        assert_eq!(asked, Some(expected));
    }
}
