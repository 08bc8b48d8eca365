//! A channel as the fake host holds it, with the same entry points as a component.

use crate::channel::{Channel, Exports};
use crate::connection::Connection;
use crate::dispatch;
use crate::encoding::payload::Readers;
use crate::fault::Fault;
use crate::incoming::Incoming;
use crate::log;
use crate::outside_messages::OutsideRefusal;
use crate::refusal::Answer;
use crate::timers::Timer;

type Handled = Option<Vec<u8>>;
type OnPresence = fn(String, u64, Vec<(String, Vec<String>)>, Vec<String>);

/// The entry points of one channel, without its type. So a reload can put another channel in its
/// place, while its connections stay open.
#[derive(Clone, Copy)]
pub(crate) struct Plugin {
    pub(crate) paths: &'static [&'static str],
    pub(crate) subprotocols: &'static [&'static str],
    pub(crate) exports: Exports,
    pub(crate) readers: Readers,
    pub(crate) on_start: fn() -> Result<(), String>,
    pub(crate) on_connect: fn(&Connection) -> Result<Vec<u8>, Answer>,
    pub(crate) on_message: fn(&Connection, &[u8], Incoming) -> Handled,
    pub(crate) on_ping: fn(&Connection, &[u8], Vec<u8>) -> Handled,
    pub(crate) on_pong: fn(&Connection, &[u8], Vec<u8>) -> Handled,
    pub(crate) on_notify: fn(&Connection, &[u8], &[u8]) -> Handled,
    pub(crate) on_timer: fn(&Connection, &[u8], Timer) -> Handled,
    pub(crate) on_room_event: fn(String, Option<&[u8]>, &[u8]) -> Handled,
    pub(crate) on_room_timer: fn(String, Option<&[u8]>, Timer) -> Handled,
    pub(crate) on_presence: OnPresence,
    pub(crate) on_channel_timer: fn(Timer),
    pub(crate) on_outside_message: fn(&[u8]) -> Result<Vec<u8>, OutsideRefusal>,
    pub(crate) on_fault: fn(&Connection, &[u8], Fault) -> Handled,
    pub(crate) on_close: fn(&Connection, &[u8], Option<u16>, &str),
}

impl Plugin {
    pub(crate) fn of<C: Channel>() -> Self {
        log::install::<C>();
        Self {
            paths: C::PATHS,
            subprotocols: C::SUBPROTOCOLS,
            exports: C::__WRITE_WHARF_CHANNEL_ABOVE_THIS_IMPL,
            readers: Readers::of::<C>(),
            on_start: dispatch::on_start::<C>,
            on_connect: dispatch::on_connect::<C>,
            on_message: dispatch::on_message::<C>,
            on_ping: dispatch::on_ping::<C>,
            on_pong: dispatch::on_pong::<C>,
            on_notify: dispatch::on_notify::<C>,
            on_timer: dispatch::on_timer::<C>,
            on_room_event: dispatch::on_room_event::<C>,
            on_room_timer: dispatch::on_room_timer::<C>,
            on_presence: dispatch::on_presence::<C>,
            on_channel_timer: dispatch::on_channel_timer::<C>,
            on_outside_message: dispatch::on_outside_message::<C>,
            on_fault: dispatch::on_fault::<C>,
            on_close: dispatch::on_close::<C>,
        }
    }
}
