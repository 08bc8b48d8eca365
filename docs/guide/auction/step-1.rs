//! Step 1: a lot, and bids.

use wharf::event;
use wharf::prelude::*;

/// One connection of a bidder.
#[derive(Serialize, Deserialize)]
struct Bidder {
    lot: String,
}

/// The state of a room: the bids, the highest one at the end.
#[derive(Default, Serialize, Deserialize)]
struct Lot {
    bids: Vec<Bid>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Bid {
    user: String,
    amount: u64,
}

/// A message from a client.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Incoming {
    Bid { amount: u64 },
}

/// An event of a room.
#[derive(Serialize, Deserialize)]
enum LotEvent {
    Bid { amount: u64 },
}

#[wharf::channel]
impl Channel for Bidder {
    const PATHS: &[&str] = &["/auction/:lot"];

    fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
        let user = conn.query("name").ok_or(Refusal::unauthorized("a name is required"))?;
        let lot = conn.param("lot")?;
        conn.identify(&user)?;
        conn.join(&lot)?;
        Ok(Bidder { lot })
    }

    fn on_message(&mut self, _: &Connection, request: Request<Incoming>) -> Result {
        let Incoming::Bid { amount } = request.message;
        // The room decides, and answers the request.
        Self::post(&self.lot, &LotEvent::Bid { amount })
    }

    fn on_room_event(lot: &mut Lot, room: &Room, event: LotEvent) -> Result {
        let LotEvent::Bid { amount } = event;
        let user = event::user().context("bidders are identified")?;
        lot.bid(room, Bid { user, amount })?;
        event::reply(json!({ "highest": amount }))
    }
}

impl Lot {
    fn bid(&mut self, room: &Room, bid: Bid) -> Result {
        let least = self.bids.last().map_or(1, |highest| highest.amount + 1);
        if bid.amount < least {
            return Err(Invalid::new(format!("bid at least {least}")).code("TOO_LOW").into());
        }
        room.broadcast(json!({ "type": "bid", "user": bid.user, "amount": bid.amount }))?;
        self.bids.push(bid);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf::testing::TestHost;

    #[test]
    fn the_highest_bid_counts_and_each_bidder_is_answered() {
        let host = TestHost::new::<Bidder>();
        let ann = host.connect("/auction/7?name=Ann").expect_open();
        let bob = host.connect("/auction/7?name=Bob").expect_open();
        ann.send(json!({ "type": "bid", "amount": 100, "ref": 1 }));
        assert_eq!(ann.skip_to("reply")["payload"], json!({ "highest": 100 }));
        assert_eq!(bob.skip_to("bid")["user"], "Ann");
        bob.send(json!({ "type": "bid", "amount": 100, "ref": 2 }));
        let error = bob.skip_to("error");
        assert_eq!((&error["ref"], &error["code"]), (&json!(2), &json!("TOO_LOW")));
        assert_eq!(host.room_state::<Bidder>("7").bids.len(), 1);
    }
}
