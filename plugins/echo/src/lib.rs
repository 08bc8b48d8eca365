//! Sends every message back: text as text, binary as binary.

#![forbid(unsafe_code)]

use wharf::prelude::*;

/// An empty session: an echo keeps nothing from one message to the next.
#[derive(Serialize, Deserialize)]
struct Echo;

#[wharf::channel]
impl Channel for Echo {
    const PATHS: &[&str] = &["/echo"];

    fn on_connect(_conn: &Connection) -> Result<Self, Refusal> {
        Ok(Echo)
    }

    fn on_message(&mut self, conn: &Connection, message: String) -> Result {
        conn.send(message)
    }

    fn on_binary(&mut self, conn: &Connection, data: Vec<u8>) -> Result {
        conn.send(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf::testing::TestHost;

    #[test]
    fn text_comes_back_as_text_and_binary_as_binary() {
        let client = TestHost::new::<Echo>().connect("/echo").expect_open();

        for text in ["hello", "", "\"not\" json", "ж\u{0}🙂"] {
            client.send(text);
            client.assert_received(text);
        }
        client.send(vec![0xff, 0x00]);
        client.assert_received(vec![0xff, 0x00]);
        client.assert_received_nothing();
    }

    #[test]
    fn there_is_nothing_to_remember() {
        let client = TestHost::new::<Echo>().connect("/echo").expect_open();
        client.send("hello");
        assert!(client.session_bytes().is_empty());
    }
}
