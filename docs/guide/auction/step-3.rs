//! Step 3: newcomers see the lot, and everybody sees who is there.

use std::collections::VecDeque;
use std::time::Duration;

use wharf::event;
use wharf::prelude::*;

/// Name of the timer that ends an auction.
const CLOSE: TimerName = TimerName::new("close");

/// Time after which an auction does not wait for its timer any more, in milliseconds.
const LATE_MS: u64 = 10_000;

/// Bids that newcomers are shown.
const HISTORY: usize = 20;

const LONGEST_AUCTION: u64 = 7 * 24 * 60 * 60;

/// One connection of a bidder.
#[derive(Serialize, Deserialize)]
struct Bidder {
    lot: String,
}

/// The state of a room.
#[derive(Default, Serialize, Deserialize)]
struct Lot {
    auction: Option<Auction>,
}

#[derive(Serialize, Deserialize)]
struct Auction {
    item: String,
    from: u64,
    ends_at_ms: u64,
    is_over: bool,
    /// The last bids, the highest one at the end.
    bids: VecDeque<Bid>,
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
    Entered,
    Opened(Offer),
    Bid { amount: u64 },
}

/// A message from another program: an auction that begins.
#[derive(Serialize, Deserialize)]
struct Offer {
    lot: String,
    item: String,
    from: u64,
    seconds: u64,
}

#[wharf::channel]
impl Channel for Bidder {
    const PATHS: &[&str] = &["/auction/:lot"];

    fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
        let user = conn.query("name").ok_or(Refusal::unauthorized("a name is required"))?;
        let lot = conn.param("lot")?;
        conn.identify(&user)?;
        conn.join(&lot)?;
        conn.track(&lot, &user, json!({}))?;
        conn.watch_presence(&lot)?;
        // The room answers with its state, once the connection is open.
        Self::post(&lot, &LotEvent::Entered)?;
        Ok(Bidder { lot })
    }

    fn on_message(&mut self, _: &Connection, request: Request<Incoming>) -> Result {
        let Incoming::Bid { amount } = request.message;
        // The room decides, and answers the request.
        Self::post(&self.lot, &LotEvent::Bid { amount })
    }

    fn on_room_event(lot: &mut Lot, room: &Room, event: LotEvent) -> Result {
        match event {
            LotEvent::Entered => event::send(lot.shown(room)),
            LotEvent::Opened(offer) => lot.open(room, offer),
            LotEvent::Bid { amount } => {
                let user = event::user().context("bidders are identified")?;
                lot.bid(room, Bid { user, amount })?;
                event::reply(json!({ "highest": amount }))
            }
        }
    }

    fn on_room_timer(lot: &mut Lot, room: &Room, _: Timer) -> Result {
        let Some(auction) = lot.auction.as_mut().filter(|auction| !auction.is_over) else {
            return Ok(());
        };
        auction.is_over = true;
        match auction.bids.back() {
            None => room.broadcast(json!({ "type": "not_sold", "item": auction.item })),
            Some(Bid { user, amount }) => room.broadcast(json!({
                "type": "sold", "item": auction.item, "to": user, "amount": amount,
            })),
        }
    }

    fn on_outside_message(offer: Offer) -> Result<Value> {
        let mut invalid = Invalid::new("the auction cannot be opened");
        if offer.item.is_empty() {
            invalid.add_field("item", "is required");
        }
        if !(1..=LONGEST_AUCTION).contains(&offer.seconds) {
            invalid.add_field("seconds", format!("must be 1 to {LONGEST_AUCTION}"));
        }
        invalid.unless_fields_are_valid()?;
        if Self::room_state(&offer.lot)?.is_open() {
            return Err(Invalid::new("an auction is under way").code("UNDER_WAY").into());
        }
        let lot = offer.lot.clone();
        Self::post(&lot, &LotEvent::Opened(offer))?;
        Ok(json!({ "bidders": room_count(&lot) }))
    }
}

impl Lot {
    /// Returns true if another auction has to wait. One whose end has failed is over a little later.
    fn is_open(&self) -> bool {
        let now = wharf::unix_ms();
        let is_open = |auction: &Auction| !auction.is_over && now < auction.ends_at_ms + LATE_MS;
        self.auction.as_ref().is_some_and(is_open)
    }

    /// Returns the message for a client that has just come.
    fn shown(&self, room: &Room) -> Value {
        let Some(auction) = &self.auction else {
            return json!({ "type": "lot", "lot": room.name() });
        };
        let Auction { item, from, ends_at_ms, is_over, bids } = auction;
        json!({
            "type": "lot", "lot": room.name(), "item": item, "from": from, "is_over": is_over,
            "ends_at_ms": ends_at_ms, "bids": bids,
        })
    }

    fn open(&mut self, room: &Room, offer: Offer) -> Result {
        // Two programs may have asked at the same time.
        if self.is_open() {
            return Ok(());
        }
        let Offer { item, from, seconds, .. } = offer;
        let ends_at_ms = wharf::unix_ms() + seconds * 1000;
        room.after(Duration::from_secs(seconds), CLOSE, &())?;
        let opened = json!({
            "type": "opened", "item": item, "from": from, "ends_at_ms": ends_at_ms,
        });
        let bids = VecDeque::new();
        self.auction = Some(Auction { item, from, ends_at_ms, is_over: false, bids });
        room.broadcast(opened)
    }

    fn bid(&mut self, room: &Room, bid: Bid) -> Result {
        let Some(auction) = self.auction.as_mut().filter(|auction| !auction.is_over) else {
            return Err(Invalid::new("nothing is for sale").code("NO_AUCTION").into());
        };
        let least = auction.bids.back().map_or(auction.from, |highest| highest.amount + 1);
        if bid.amount < least {
            return Err(Invalid::new(format!("bid at least {least}")).code("TOO_LOW").into());
        }
        room.broadcast(json!({ "type": "bid", "user": bid.user, "amount": bid.amount }))?;
        if auction.bids.len() == HISTORY {
            auction.bids.pop_front();
        }
        auction.bids.push_back(bid);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf::testing::TestHost;

    #[test]
    fn a_newcomer_is_shown_the_lot_and_who_is_there() {
        let host = TestHost::new::<Bidder>();
        let ann = host.connect("/auction/7?name=Ann").expect_open();
        assert_eq!(ann.skip_to("lot"), json!({ "type": "lot", "lot": "7" }));
        let offer = json!({ "lot": "7", "item": "a boat", "from": 100, "seconds": 60 });
        host.outside_message(offer).expect("it is opened");
        for amount in 100..130 {
            ann.send(json!({ "type": "bid", "amount": amount }));
        }
        let bob = host.connect("/auction/7?name=Bob").expect_open();
        host.advance(Duration::from_secs(1));
        let messages: Vec<Value> = bob.received().iter().map(|message| message.json()).collect();
        let first = |kind: &str| messages.iter().find(|message| message["type"] == kind);
        let lot = first("lot").expect("the lot");
        assert_eq!(
            (&lot["item"], lot["bids"].as_array().map(Vec::len)),
            (&json!("a boat"), Some(HISTORY))
        );
        let present = first("presence_state").expect("the list");
        assert!(present["present"].get("Ann").is_some(), "{present}");
    }
}
