//! A client that keeps its position in a room.

use crate::{Client, Value, Wharf, json};

/// A client as the convention describes it, without a library.
pub struct Reader {
    /// The connection.
    pub client: Client,
    /// The last note that told its place in the room, as after a join.
    pub joined: Value,
    /// The epoch of its position in the room, as the notes have told it.
    pub epoch: String,
    /// The offset.
    pub offset: u64,
    /// Offsets of the messages that came, and the steps that they tell of.
    pub got: Vec<(u64, Value)>,
}

impl Reader {
    /// Connects, says where it was, and joins a room.
    pub async fn join(wharf: &Wharf, name: &str, at: &str, room: &str) -> Reader {
        let path = format!("/scripted/{name}?wharf_recover={at}");
        let client = wharf.connect(&path).await;
        let (joined, epoch) = (Value::Null, String::new());
        let mut reader = Reader { client, joined, epoch, offset: 0, got: Vec::new() };
        reader.client.send_json(json!({ "do": "join", "room": room })).await;
        reader
            .read_until(|reader, message| message.get("done").is_some() && reader.is_joined())
            .await;
        reader
    }

    fn is_joined(&self) -> bool {
        self.joined != Value::Null
    }

    /// Returns its position, as it says it when it comes back.
    pub fn at(&self, room: &str) -> String {
        self.at_offset(room, self.offset)
    }

    /// Returns a position with another offset.
    pub fn at_offset(&self, room: &str, offset: u64) -> String {
        format!("{room},{},{offset}", self.epoch)
    }

    /// Reads until the message of a room with this offset.
    pub async fn read_to(&mut self, offset: u64) {
        if self.offset < offset {
            self.read_until(|reader, _| reader.offset >= offset).await;
        }
    }

    /// Reads until a message is the last one that is wanted. A position must follow the one before.
    pub async fn read_until(&mut self, is_last: impl Fn(&Reader, &Value) -> bool) {
        let mut at = None;
        loop {
            let message = self.client.json().await;
            if let Some(offset) = at.take() {
                self.offset = offset;
                self.got.push((offset, message["step"].clone()));
            } else if message["type"] == "wharf:history" {
                self.epoch = message["epoch"].as_str().expect("an epoch").to_owned();
                self.offset = message["offset"].as_u64().expect("an offset");
                self.joined = message.clone();
            } else if message["type"] == "wharf:position" {
                let offset = message["offset"].as_u64().expect("an offset");
                assert_eq!(offset, self.offset + 1, "no gap");
                assert_eq!(message["epoch"], self.epoch);
                match message["skipped"] == true {
                    true => self.offset = offset,
                    false => at = Some(offset),
                }
            }
            if at.is_none() && is_last(self, &message) {
                return;
            }
        }
    }

    /// Returns the offsets of the messages that came.
    pub fn offsets(&self) -> Vec<u64> {
        self.got.iter().map(|(offset, _)| *offset).collect()
    }
}
