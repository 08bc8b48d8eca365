//! Auctions: a room for each lot, whose state is the lot. Bids are handled one at a time, so that the
//! highest one wins however many come at once.
//!
//! | a client sends | it gets | all in the room get |
//! | --- | --- | --- |
//! | (it connects) | `lot`: the state of the lot, with the last bids | `presence_diff` |
//! | `{"type": "bid", "amount": 5, "ref": 1}` | a reply, or an error with a code | `bid` |
//! | (it is outbid, or has won) | `outbid` or `won`, on each of its devices | |
//!
//! Another program opens an auction with a message by the operator's API:
//! `{"lot": "7", "item": "a boat", "from": 100, "seconds": 60}`. All in the room get `opened`, and at the
//! end `sold` or `not_sold`.
//!
//! Bidders are the users of the tokens that the host checks (`[channels.auction.token]`). With
//! `guests = "yes"` under `[channels.auction.settings]` there are no tokens, and they say their name:
//! `?name=Ann`.

#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use wharf::prelude::*;
use wharf::{event, optional_setting};

/// Name of the timer that ends an auction.
const CLOSE: TimerName = TimerName::new("close");

/// Time after which an auction does not wait for its timer any more, in milliseconds.
const LATE_MS: u64 = 10_000;

/// Time that is left after a bid at least, so that others can answer the last one.
const LAST_CALL: Duration = Duration::from_secs(10);

/// Bids of one connection within [`BIDS_WITHIN`].
const BIDS: u32 = 5;
const BIDS_WITHIN: Duration = Duration::from_secs(10);

/// Bids that newcomers are shown.
const HISTORY: usize = 20;

const LONGEST_NAME: usize = 40;
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
        let (lot, user) = (conn.param("lot")?, user_of(conn)?);
        conn.identify(&user)?;
        conn.join(&lot)?;
        conn.track(&lot, &user, json!({}))?;
        conn.watch_presence(&lot)?;
        // The room answers with its state, once the connection is open.
        Self::post(&lot, &LotEvent::Entered)?;
        Ok(Bidder { lot })
    }

    fn on_message(&mut self, conn: &Connection, request: Request<Incoming>) -> Result {
        conn.rate_limit("bids", BIDS, BIDS_WITHIN)?;
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

/// Returns the user of the token that the host has checked, or the name that a guest says. There are
/// either tokens or guests: a guest could say the name of a user.
fn user_of(conn: &Connection) -> Result<String, Refusal> {
    #[derive(Deserialize)]
    struct Claims {
        sub: String,
    }

    if optional_setting("guests").as_deref() == Some("yes") {
        let name = conn.query("name").unwrap_or_default();
        return match name.len() {
            1..=LONGEST_NAME => Ok(name),
            _ => Err(Refusal::bad_request("a name of 1 to 40 bytes is required: ?name=Ann")),
        };
    }
    let claims: Option<Claims> = conn.claims()?;
    claims.map(|Claims { sub }| sub).ok_or(Refusal::unauthorized("a token is required"))
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
        if room.timer_remaining(CLOSE)?.is_some_and(|left| left < LAST_CALL) {
            room.after(LAST_CALL, CLOSE, &())?;
            auction.ends_at_ms = wharf::unix_ms() + LAST_CALL.as_millis() as u64;
        }
        room.broadcast(json!({
            "type": "bid", "user": bid.user, "amount": bid.amount,
            "ends_at_ms": auction.ends_at_ms,
        }))?;
        if auction.bids.len() == HISTORY {
            auction.bids.pop_front();
        }
        let user = bid.user.clone();
        auction.bids.push_back(bid);
        Ok(before.filter(|before| before.user != user))
    }
}
