//! The tests through the front door, in one program: as programs of their own they would all compile and link
//! the same libraries.
//!
//! Only the tests of the kit are apart, since they change the environment, which all threads share.

mod author;
mod bad_plugins;
mod browser;
mod budgets;
mod cache;
mod cli;
mod clients;
mod contracts;
mod endings;
mod failures;
mod fetches;
mod game;
mod handshake;
mod keepalive;
mod labels;
mod limits;
mod loading;
mod logs;
mod messages;
mod notices;
mod operator;
mod operator_access;
mod operator_examples;
mod origins;
mod page;
mod passing;
mod presence;
mod publish;
mod refusals;
mod robust;
mod room_events;
mod rooms;
mod seats;
mod secure;
mod settings;
mod shutdown;
mod stores;
mod surroundings;
mod swaps;
mod test_command;
mod timers;
mod tokens;
mod transactions;
mod turned_away;
mod users;
mod waiting;
mod written;
