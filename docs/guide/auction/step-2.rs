//! Step 2: an auction has an end. Another program opens it.

use std::time::Duration;

use wharf::event;
use wharf::prelude::*;

/// Name of the timer that ends an auction.
const CLOSE: TimerName = TimerName::new("close");

/// Time after which an auction does not wait for its timer any more, in milliseconds.
const LATE_MS: u64 = 10_000;

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
    /// The bids, the highest one at the end.
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
        Ok(Bidder { lot })
    }

    fn on_message(&mut self, _: &Connection, request: Request<Incoming>) -> Result {
        let Incoming::Bid { amount } = request.message;
        // The room decides, and answers the request.
        Self::post(&self.lot, &LotEvent::Bid { amount })
    }

    fn on_room_event(lot: &mut Lot, room: &Room, event: LotEvent) -> Result {
        match event {
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
        match auction.bids.last() {
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
        self.auction = Some(Auction { item, from, ends_at_ms, is_over: false, bids: Vec::new() });
        room.broadcast(opened)
    }

    fn bid(&mut self, room: &Room, bid: Bid) -> Result {
        let Some(auction) = self.auction.as_mut().filter(|auction| !auction.is_over) else {
            return Err(Invalid::new("nothing is for sale").code("NO_AUCTION").into());
        };
        let least = auction.bids.last().map_or(auction.from, |highest| highest.amount + 1);
        if bid.amount < least {
            return Err(Invalid::new(format!("bid at least {least}")).code("TOO_LOW").into());
        }
        room.broadcast(json!({ "type": "bid", "user": bid.user, "amount": bid.amount }))?;
        auction.bids.push(bid);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf::testing::TestHost;

    #[test]
    fn another_program_opens_an_auction_and_it_ends_by_itself() {
        let host = TestHost::new::<Bidder>();
        let ann = host.connect("/auction/7?name=Ann").expect_open();
        let offer = json!({ "lot": "7", "item": "a boat", "from": 100, "seconds": 60 });
        assert_eq!(host.outside_message(offer.clone()), Ok(json!({ "bidders": 1 })));
        let refusal = host.outside_message(offer).expect_err("one is under way");
        assert_eq!(refusal.body["error"]["code"], "UNDER_WAY");
        assert_eq!(ann.skip_to("opened")["item"], "a boat");
        ann.send(json!({ "type": "bid", "amount": 100, "ref": 1 }));
        assert_eq!(ann.skip_to("reply")["status"], "ok");
        host.advance(Duration::from_secs(60));
        assert_eq!(ann.skip_to("sold")["to"], "Ann");
        ann.send(json!({ "type": "bid", "amount": 200, "ref": 2 }));
        assert_eq!(ann.skip_to("error")["code"], "NO_AUCTION");
    }
}
