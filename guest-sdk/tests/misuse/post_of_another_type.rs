use wharf::prelude::*;

#[derive(Serialize, Deserialize)]
struct Chat;

#[derive(Serialize, Deserialize)]
struct Bid {
    amount: u64,
}

#[wharf::channel]
impl Channel for Chat {
    const PATHS: &[&str] = &["/chat"];

    fn on_connect(_: &Connection) -> Result<Self, Refusal> {
        Ok(Chat)
    }

    fn on_message(&mut self, _: &Connection, _: String) -> Result {
        Self::post("lot", &42u8)
    }

    fn on_room_event(_: &mut (), _: &Room, bid: Bid) -> Result {
        let _ = bid.amount;
        Ok(())
    }
}

fn main() {}
