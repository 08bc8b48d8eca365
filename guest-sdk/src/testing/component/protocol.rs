//! How things are written in what is said to the host and by it.

use std::str::FromStr;

use serde_json::{Value, json};

use crate::http::Response;
use crate::log::Level;
use crate::testing::client::Received;
use crate::testing::effects::Published;
use crate::testing::host::LogLine;
use crate::testing::http::{HttpAnswer, HttpRequest};

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes from hexadecimal digits; nothing where there are none.
pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    let digits = value.as_str().unwrap_or_default().as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default() as u8;
    digits
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |byte, next| byte << 4 | digit(*next)))
        .collect()
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(crate) fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

/// Pairs of texts.
pub(crate) fn pairs(value: &Value) -> Vec<(String, String)> {
    let pairs = value.as_array().into_iter().flatten();
    pairs.map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
}

/// Headers as they are sent over.
pub(crate) fn to_headers(headers: &[(String, Vec<u8>)]) -> Vec<Value> {
    headers.iter().map(|(name, value)| json!([name, hex(value)])).collect()
}

pub(crate) fn headers(value: &Value) -> Vec<(String, Vec<u8>)> {
    let pairs = value.as_array().into_iter().flatten();
    pairs.map(|pair| (text(&pair[0]), bytes(&pair[1]))).collect()
}

/// A message or a ping, if it is one.
pub(crate) fn received(value: &Value) -> Option<Received> {
    let of = |kind| value.get(kind);
    of("text").map(|of| Received::Text(text(of))).or_else(|| {
        let binary = of("binary").map(|of| Received::Binary(bytes(of)));
        binary.or_else(|| of("ping").map(|of| Received::Ping(bytes(of))))
    })
}

pub(crate) fn log_line(value: &Value) -> LogLine {
    LogLine {
        level: Level::from_str(&text(&value["level"])).unwrap_or(Level::Info),
        message: text(&value["message"]),
        fields: pairs(&value["fields"]),
    }
}

pub(crate) fn request(value: &Value) -> HttpRequest {
    HttpRequest {
        method: text(&value["method"]),
        url: text(&value["url"]),
        headers: headers(&value["headers"]),
        body: bytes(&value["body"]),
    }
}

pub(crate) fn published(value: &Value) -> Option<Published> {
    Some(Published {
        channel: text(&value["channel"]),
        room: text(&value["room"]),
        message: received(&value["message"])?,
    })
}

pub(crate) fn answer(answer: &HttpAnswer) -> Value {
    match answer.outcome() {
        Ok(Response { status, headers, body }) => json!({
            "response": { "status": status, "headers": to_headers(headers), "body": hex(body) },
        }),
        Err(error) => json!({ "failure": { "code": error.code, "detail": error.detail } }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_their_digits() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(bytes(&json!(hex(&all))), all);
        assert!(bytes(&Value::Null).is_empty());
    }
}
