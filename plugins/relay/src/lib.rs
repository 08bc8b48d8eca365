//! Passes every message on, unchanged, to all members of a room, the sender included. The room is the
//! last part of the path, `/room/:room_id`.

#![forbid(unsafe_code)]

use wharf::prelude::*;

#[derive(Serialize, Deserialize)]
struct Relay {
    room: String,
}

#[wharf::channel]
impl Channel for Relay {
    const PATHS: &[&str] = &["/room/:room_id"];

    fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
        let room = conn.param("room_id")?;
        // The client chose the name, so a bad one is the client's mistake, not a failure of the plugin.
        if conn.join(&room).is_err() {
            return Err(Refusal::bad_request("a room's name has 1 to 255 bytes"));
        }
        Ok(Relay { room })
    }

    fn on_message(&mut self, conn: &Connection, message: String) -> Result {
        conn.broadcast_to_room(&self.room, message)
    }

    fn on_binary(&mut self, conn: &Connection, data: Vec<u8>) -> Result {
        conn.broadcast_to_room(&self.room, data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf::testing::TestHost;

    #[test]
    fn all_members_receive_a_message_as_it_came_the_sender_included() {
        let host = TestHost::new::<Relay>();
        let ann = host.connect("/room/lobby").expect_open();
        let bob = host.connect("/room/lobby").expect_open();

        ann.send("{ not json");
        ann.send(vec![0, 255]);

        for member in [ann, bob] {
            member.assert_received("{ not json");
            member.assert_received(vec![0, 255]);
            member.assert_received_nothing();
        }
    }

    #[test]
    fn other_rooms_receive_nothing() {
        let host = TestHost::new::<Relay>();
        let ann = host.connect("/room/lobby").expect_open();
        let eve = host.connect("/room/cellar").expect_open();

        ann.send("hello");

        eve.assert_received_nothing();
    }

    #[test]
    fn a_name_that_no_room_can_have_is_the_clients_mistake() {
        let host = TestHost::new::<Relay>();
        let target = format!("/room/{}", "x".repeat(256));
        assert_eq!(host.connect(&target).expect_refused().status(), Some(400));
    }
}
