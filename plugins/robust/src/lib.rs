//! A shop that sells tea, and everything that can go wrong in it: each error of a handler, the answer
//! to the client, and the line in the operator's log.
//!
//! | error | the client gets | the operator reads |
//! | --- | --- | --- |
//! | `?credit=x` while connecting | status 400 with JSON | nothing |
//! | text that is not JSON, or not a message of the shop | `INVALID_JSON` | nothing |
//! | a message that is not valid: an [`Invalid`] | `INVALID`, and a text for each wrong field | nothing |
//! | a rule of the shop: a `Trouble` | `SOLD_OUT` or `TOO_EXPENSIVE` | the error |
//! | any other error: a coupon without a number | `INTERNAL_ERROR` | the error |
//! | a panic: a machine that breaks | `COME_BACK`, and close code 1011 | the fault |
//!
//! A failed handler has done nothing: the session is unchanged, and no client has got anything. A
//! client that makes five mistakes is closed with code 4008. A message may carry a `ref`, which its
//! answer repeats, error or not.

#![forbid(unsafe_code)]

use std::fmt;

use wharf::prelude::*;

#[derive(Serialize, Deserialize)]
struct Robust {
    credit: u32,
    mistakes: u32,
}

#[derive(Deserialize)]
#[serde(tag = "type", content = "payload", rename_all = "snake_case")]
enum Incoming {
    Buy {
        tea: String,
        cups: u32,
    },
    /// A coupon such as `TEA-20`, which adds 20 to the credit.
    Redeem {
        coupon: String,
    },
    BreakTheMachine,
}

/// Reasons for which the shop cannot fill a valid order.
#[derive(Debug)]
enum Trouble {
    SoldOut,
    TooExpensive { price: u32, credit: u32 },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::SoldOut => f.write_str("there is none left"),
            Trouble::TooExpensive { price, credit } => {
                write!(f, "it costs {price}, and the credit is {credit}")
            }
        }
    }
}

impl std::error::Error for Trouble {}

const PRICE: u32 = 5;
const MOST_CUPS: u32 = 100;
const MOST_MISTAKES: u32 = 5;

#[wharf::channel]
impl Channel for Robust {
    const PATHS: &[&str] = &["/robust"];

    fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
        let credit = conn.query("credit").unwrap_or("50".to_owned());
        let credit = (credit.parse())
            .map_err(|error| Invalid::new("the shop cannot be entered").field("credit", error))?;
        Ok(Robust { credit, mistakes: 0 })
    }

    fn on_message(&mut self, conn: &Connection, request: Request<Incoming>) -> Result {
        request.answer(conn, |message| {
            match message {
                Incoming::Buy { tea, cups } => self.buy(&tea, cups)?,
                Incoming::Redeem { coupon } => self.redeem(&coupon)?,
                Incoming::BreakTheMachine => panic!("the machine is broken"),
            }
            Ok(json!({ "credit": self.credit }))
        })
    }

    fn on_binary(&mut self, _conn: &Connection, _data: Vec<u8>) -> Result {
        Err(Invalid::new("orders are text").code("TEXT_ONLY"))?
    }

    fn on_invalid_message(&mut self, conn: &Connection, invalid: InvalidMessage) -> Result {
        conn.send(invalid.for_client())?;
        self.count_mistake(conn)
    }

    /// Counts the mistake. The handler's own changes have been undone by now.
    fn on_error(&mut self, conn: &Connection, error: Error) -> Result {
        match error.downcast_ref::<Trouble>() {
            Some(trouble) => {
                let code = match trouble {
                    Trouble::SoldOut => "SOLD_OUT",
                    Trouble::TooExpensive { .. } => "TOO_EXPENSIVE",
                };
                conn.reply_error(error.reference(), Invalid::new(trouble).code(code))?;
            }
            None => conn.send(error.for_client())?,
        }
        self.count_mistake(conn)
    }

    fn on_fault(&mut self, conn: &Connection, fault: Fault) -> Result {
        warn!(code = fault.code, credit = self.credit; "a customer is lost: {}", fault.detail);
        conn.send(json!({ "type": "error", "code": "COME_BACK", "credit": self.credit }))
    }
}

impl Robust {
    fn buy(&mut self, tea: &str, cups: u32) -> Result {
        let mut invalid = Invalid::new("this cannot be ordered");
        if !["black", "green", "white"].contains(&tea) {
            invalid.add_field("tea", "must be black, green or white");
        }
        if !(1..=MOST_CUPS).contains(&cups) {
            invalid.add_field("cups", format!("must be 1 to {MOST_CUPS}"));
        }
        invalid.unless_fields_are_valid()?;
        if tea == "white" {
            return Err(Trouble::SoldOut)?;
        }
        let (price, credit) = (PRICE * cups, self.credit);
        self.credit = credit.checked_sub(price).ok_or(Trouble::TooExpensive { price, credit })?;
        info!(tea, cups; "sold");
        Ok(())
    }

    fn redeem(&mut self, coupon: &str) -> Result {
        let worth = coupon.strip_prefix("TEA-").ok_or(Invalid::new("no coupon of ours"))?;
        let worth: u8 = worth.parse().with_context(|| format!("the coupon {coupon:?}"))?;
        self.credit = self.credit.saturating_add(worth.into());
        Ok(())
    }

    fn count_mistake(&mut self, conn: &Connection) -> Result {
        self.mistakes += 1;
        match self.mistakes {
            MOST_MISTAKES.. => conn.close(4008, "too many mistakes"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
