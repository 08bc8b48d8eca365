//! Step 4: bidders are told on each of their devices.

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

/// A notice for each device of a bidder.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Notice {
    Outbid { lot: String, amount: u64 },
    Won { lot: String, item: String, amount: u64 },
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
                let outbid = lot.bid(room, Bid { user, amount })?;
                if let Some(Bid { user, .. }) = outbid {
                    let lot = room.name().to_owned();
                    Self::tell(&user, &Notice::Outbid { lot, amount })?;
                }
                event::reply(json!({ "highest": amount }))
            }
        }
    }

    fn on_room_timer(lot: &mut Lot, room: &Room, _: Timer) -> Result {
        let Some(auction) = lot.auction.as_mut().filter(|auction| !auction.is_over) else {
            return Ok(());
        };
        auction.is_over = true;
        let item = auction.item.clone();
        let Some(Bid { user, amount }) = auction.bids.back().cloned() else {
            return room.broadcast(json!({ "type": "not_sold", "item": item }));
        };
        room.broadcast(json!({ "type": "sold", "item": item, "to": user, "amount": amount }))?;
        let lot = room.name().to_owned();
        Self::tell(&user, &Notice::Won { lot, item, amount })
    }

    fn on_notify(&mut self, conn: &Connection, notice: Notice) -> Result {
        conn.send(Json(notice))
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

impl Bidder {
    /// Notifies a user, who may have gone.
    fn tell(user: &str, notice: &Notice) -> Result {
        match Self::notify_user(user, notice) {
            Err(error) if error.is_gone() => Ok(()),
            told => told.map(drop),
        }
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

    /// Takes a bid. Returns the one that it has outbid, of another user.
    fn bid(&mut self, room: &Room, bid: Bid) -> Result<Option<Bid>> {
        let Some(auction) = self.auction.as_mut().filter(|auction| !auction.is_over) else {
            return Err(Invalid::new("nothing is for sale").code("NO_AUCTION").into());
        };
        let before = auction.bids.back().cloned();
        let least = before.as_ref().map_or(auction.from, |highest| highest.amount + 1);
        if bid.amount < least {
            return Err(Invalid::new(format!("bid at least {least}")).code("TOO_LOW").into());
        }
        room.broadcast(json!({ "type": "bid", "user": bid.user, "amount": bid.amount }))?;
        if auction.bids.len() == HISTORY {
            auction.bids.pop_front();
        }
        let user = bid.user.clone();
        auction.bids.push_back(bid);
        Ok(before.filter(|before| before.user != user))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf::testing::TestHost;

    #[test]
    fn a_bidder_is_told_on_each_device() {
        let host = TestHost::new::<Bidder>();
        let [phone, laptop] = [(); 2].map(|()| host.connect("/auction/7?name=Ann").expect_open());
        let bob = host.connect("/auction/7?name=Bob").expect_open();
        let offer = json!({ "lot": "7", "item": "a boat", "from": 100, "seconds": 60 });
        host.outside_message(offer).expect("it is opened");
        phone.send(json!({ "type": "bid", "amount": 100 }));
        bob.send(json!({ "type": "bid", "amount": 120 }));
        for device in [&phone, &laptop] {
            assert_eq!(device.skip_to("outbid")["amount"], 120);
        }
        host.advance(Duration::from_secs(60));
        assert_eq!(bob.skip_to("won")["item"], "a boat");
    }
}
