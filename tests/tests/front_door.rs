//! The tests through the front door, in one program: as programs of their own they would all compile and link
//! the same libraries.
//!
//! Only the tests of the kit are apart, since they change the environment, which all threads share.
//!
//! The ignored tests need Chromium, and are in modules `chromium`, or a server of Redis or NATS: those are the tests of
//! what several hosts share, and run on one host as well. `cargo xtask test` has a step for each of the two.

mod adding;
mod asks;
mod at_most_n;
mod auction;
mod author;
mod bad_plugins;
mod budgets;
mod cache;
mod chromium;
mod cli;
mod clients;
mod contracts;
mod crashes;
mod dashboard;
mod data_commands;
mod demo;
mod deploys;
mod dev_inputs;
mod endings;
mod failures;
mod faulty_disks;
mod fetches;
mod fetches_by;
mod game;
mod handshake;
mod health;
mod history;
mod keepalive;
mod labels;
mod limits;
mod listen;
mod loading;
mod logs;
mod messages;
mod mounts;
mod notices;
mod operator;
mod operator_access;
mod operator_audit;
mod operator_examples;
mod operator_kept;
mod operator_outcomes;
mod operator_streams;
mod origins;
mod passing;
mod presence;
mod protocol;
mod proxies;
mod proxy_protocol;
mod publish;
mod rate_limits;
mod refusals;
mod restarts;
mod robust;
mod room_events;
mod rooms;
mod samples;
mod seats;
mod seats_of_rooms;
mod secure;
mod settings;
mod shares;
mod shutdown;
mod starts;
mod stores;
mod surroundings;
mod swaps;
mod test_command;
mod timers;
mod tls;
mod token_fetches;
mod token_keys;
mod token_places;
mod tokens;
mod transactions;
mod turned_away;
mod users;
mod waiting;
mod workspaces;
mod written;
