//! The fuzz target `sdk`: a byte that chooses what is decoded, and the bytes that clients or earlier
//! generations wrote.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::IpAddr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{payload, session};
use crate::Request;
use crate::incoming::{InvalidMessage, decode};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Session {
    user: String,
    #[serde(default)]
    room: Option<String>,
    #[serde(default)]
    addresses: Vec<IpAddr>,
    #[serde(default)]
    scores: BTreeMap<u32, i64>,
    #[serde(default)]
    wide: Option<u128>,
    #[serde(flatten)]
    step: Step,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Step {
    Ping,
    Say { text: String, to: Option<Vec<u64>> },
    Move(BTreeMap<String, i32>),
}

/// Decodes, and encodes what came of it. Returns the kind of an error.
fn there_and_back<T: DeserializeOwned + Debug + PartialEq>(
    bytes: &[u8],
    decode: fn(&[u8]) -> crate::Result<T>,
    encode: fn(&T) -> crate::Result<Vec<u8>>,
) -> String {
    let value = match decode(bytes) {
        Ok(value) => value,
        Err(error) => return beginning(&error),
    };
    match encode(&value) {
        Ok(bytes) => {
            assert_eq!(decode(&bytes).expect("what was written can be read"), value);
            format!("{}", bytes.len() / 16)
        }
        Err(error) => beginning(&error),
    }
}

fn beginning(error: &dyn std::fmt::Display) -> String {
    error.to_string().chars().filter(|c| c.is_ascii_alphabetic()).take(24).collect()
}

fn kind(invalid: &InvalidMessage) -> String {
    assert!(!invalid.explanation().is_empty());
    assert_eq!(invalid.for_client()["type"], "error");
    let place = (invalid.is_json(), invalid.reference().is_some());
    format!("{place:?} {}", beginning(invalid.error()))
}

/// Checks that a message which serde_json reads is read, alone and in a request. Others are explained.
fn message(text: &str) -> String {
    let ours = decode::<Step>(text.to_owned());
    if let Ok(theirs) = serde_json::from_str::<Step>(text) {
        assert_eq!(ours.as_ref().expect("serde_json reads it").0, theirs);
    }
    let request = decode::<Request<Step>>(text.to_owned());
    match (ours, request) {
        (Ok((step, _)), request) => {
            let request = request.expect("a request of a message is one").0.message;
            assert_eq!(request, step);
            "read".to_owned()
        }
        (Err(invalid), Ok(_)) => format!("request {}", kind(&invalid)),
        (Err(invalid), Err(of_request)) => {
            kind(&of_request);
            kind(&invalid)
        }
    }
}

/// Checks that bytes are read or refused, and that a value that was read can be written.
#[test]
fn fuzz_sdk() {
    let words: [&[u8]; 26] = [
        b"\x00",
        b"\x01",
        b"\x02",
        b"user",
        b"room",
        b"addresses",
        b"scores",
        b"wide",
        b"type",
        b"ping",
        b"say",
        b"move",
        b"text",
        b"\"type\":\"ping\"",
        b"\"ref\":1",
        b"\"ref\":\"a\"",
        b"\"payload\":{",
        b"\xa4user\xa3ann",
        b"\xa4type\xa4ping",
        b"\xc0",
        b"\x80",
        b"\xc1\0\0\0",
        b"null",
        b"\\ud800",
        b"127.0.0.1",
        b"18446744073709551616",
    ];
    wharf_fuzz::run("sdk", &words, |input| {
        let (first, bytes) = input.split_first().unwrap_or((&0, &[]));
        match first % 3 {
            0 => {
                let decode = session::decode::<Session>;
                if let Err(error) = decode(bytes) {
                    let explained = session::explained::<Session>("the session", bytes, error, 2);
                    assert!(explained.to_string().contains("does not fit"));
                }
                there_and_back(bytes, decode, session::encode)
            }
            1 => {
                let encode = |value: &Session| payload::encode("the payload", value);
                there_and_back(bytes, payload::decode, encode)
            }
            _ => message(&String::from_utf8_lossy(bytes)),
        }
    });
}
