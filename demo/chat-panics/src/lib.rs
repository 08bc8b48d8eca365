//! A version of the chat that panics when the host tries it out, so that it never serves.
#![cfg(target_family = "wasm")]
#![expect(unsafe_code, reason = "the bindings that `export!` makes are unsafe")]

wit_bindgen::generate!({ world: "channel", path: "../../wit" });

use exports::wharf::channel::lifecycle::{
    Connection, Description, Guest, Handshake, Message, Refusal, Session,
};

struct Chat;

export!(Chat);

impl Guest for Chat {
    /// Panics in the first call, in which a plugin names its paths.
    fn describe(_into: &Description) {
        panic!("I am not ready yet")
    }

    fn on_connect(_conn: &Connection, _shake: &Handshake) -> Result<Session, Refusal> {
        Ok(Vec::new())
    }

    fn on_message(_conn: &Connection, _session: Session, _message: Message) -> Option<Session> {
        None
    }

    fn on_close(_conn: &Connection, _session: Session, _code: Option<u16>, _reason: String) {}
}
