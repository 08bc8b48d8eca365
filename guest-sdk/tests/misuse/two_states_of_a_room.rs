use wharf::prelude::*;

#[derive(Serialize, Deserialize)]
struct Chat;

#[derive(Default, Serialize, Deserialize)]
struct Board;

#[derive(Default, Serialize, Deserialize)]
struct Clock;

#[wharf::channel]
impl Channel for Chat {
    const PATHS: &[&str] = &["/chat"];

    fn on_connect(_: &Connection) -> Result<Self, Refusal> {
        Ok(Chat)
    }

    fn on_room_event(_: &mut Board, _: &Room, _: String) -> Result {
        Ok(())
    }

    fn on_room_timer(_: &mut Clock, _: &Room, _: Timer) -> Result {
        Ok(())
    }
}

fn main() {}
