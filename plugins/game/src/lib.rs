//! A game for many players. They claim the cells of a board, one cell each in every turn.
//!
//! The board is the state of the game's room. Moves are posted to the room and handled one at a
//! time. So two players cannot claim the same cell, no move is lost, and all players see the same
//! order, even if many move at once.
//!
//! | a client sends | all players get |
//! | --- | --- |
//! | (it connects) | it alone: `board`, with the players and the claimed cells |
//! | `{"type": "join_game", "player_name": "Ann", "color": "red"}` | `player_joined` |
//! | `{"type": "move", "x": 3, "y": 4}` | `move_made`, and `turn` when all have moved |
//! | `{"type": "leave_game"}`, or its connection ends | `player_left` |
//!
//! A move against the rules is answered with `{"type": "error", "message": …}`.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wharf::event;
use wharf::prelude::*;

const WIDTH: u16 = 64;
const HEIGHT: u16 = 64;
const SEATS: usize = 100;
const LONGEST_NAME: usize = 40;

/// Interval between two searches for empty seats.
const ROUND: Duration = Duration::from_secs(10);
/// Number of rounds after which a turn is over, also if not all have moved.
const ROUNDS_A_TURN: u32 = 3;

#[derive(Serialize, Deserialize)]
struct Player {
    game: String,
    /// True once a client has asked to join: before that the room need not hear of it.
    #[serde(default)]
    has_joined: bool,
}

/// An event of the room.
#[derive(Serialize, Deserialize)]
enum GameEvent {
    /// A client has connected, and has not seen the board yet.
    Entered,
    Action(Action),
}

/// A message from a client, which is posted to the room unchanged.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Action {
    JoinGame { player_name: String, color: String },
    Move { x: u16, y: u16 },
    LeaveGame,
}

#[derive(Default, Serialize, Deserialize)]
struct Board {
    /// Players by the id of their connection.
    seats: BTreeMap<String, Seat>,
    /// The claimed cells, by their numbers.
    #[serde(default)]
    claims: BTreeMap<u16, Claim>,
    turn: u32,
    moves: u32,
    /// Rounds that the turn has taken.
    #[serde(default)]
    rounds: u32,
}

/// A claimed cell.
#[derive(Serialize, Deserialize)]
struct Claim {
    player: String,
    color: String,
}

#[derive(Serialize, Deserialize)]
struct Seat {
    name: String,
    color: String,
    has_moved: bool,
}

#[wharf::channel]
impl Channel for Player {
    const PATHS: &[&str] = &["/game/:game_id"];

    fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
        let game = conn.param("game_id")?;
        conn.join(&game)?;
        // The room shows its board, once the connection is open.
        Self::post(&game, &GameEvent::Entered)?;
        Ok(Player { game, has_joined: false })
    }

    fn on_message(&mut self, conn: &Connection, action: Action) -> Result {
        let refused = |rule: &str| conn.send(json!({ "type": "error", "message": rule }));
        match &action {
            Action::JoinGame { player_name, color } => {
                // Checked before it is posted: an event of a room has a largest size.
                if player_name.is_empty()
                    || player_name.len() > LONGEST_NAME
                    || color.len() > LONGEST_NAME
                {
                    return refused("A player needs a name of at most 40 bytes");
                }
                self.has_joined = true;
            }
            _ if !self.has_joined => return refused("Join the game first"),
            Action::Move { .. } | Action::LeaveGame => {}
        }
        match Self::post(&self.game, &GameEvent::Action(action)) {
            // A client that moves too fast is told, and the operator need not hear of it.
            Err(error) if error.host_error().is_some_and(|error| error.code == "inbox-full") => {
                refused("Too many moves at once")
            }
            posted => posted,
        }
    }

    fn on_close(&mut self, _: &Connection, _: Option<u16>, _: &str) -> Result {
        match self.has_joined {
            true => Self::post(&self.game, &GameEvent::Action(Action::LeaveGame)),
            false => Ok(()),
        }
    }

    /// Removes players who left while the room's inbox was full.
    fn on_room_timer(board: &mut Board, room: &Room, _: Timer) -> Result {
        let present: BTreeSet<String> = room.members().collect();
        let gone: Vec<String> =
            board.seats.keys().filter(|id| !present.contains(*id)).cloned().collect();
        for id in gone {
            let _ = board.leave(room, &id)?;
        }
        board.rounds += 1;
        if board.rounds >= ROUNDS_A_TURN {
            // A player who has not moved until now has passed.
            board.seats.values_mut().for_each(|seat| seat.has_moved = true);
        }
        board.next_turn(room)
    }

    fn on_room_event(board: &mut Board, room: &Room, event: GameEvent) -> Result {
        let Some(id) = event::sender() else { return Ok(()) };
        let played = match event {
            GameEvent::Entered => return event::send(board.shown()),
            GameEvent::Action(Action::JoinGame { player_name, color }) => {
                board.join(room, &id, player_name, color)
            }
            GameEvent::Action(Action::Move { x, y }) => board.play(room, &id, x, y),
            GameEvent::Action(Action::LeaveGame) => board.leave(room, &id),
        }?;
        match played {
            Ok(()) => board.next_turn(room),
            Err(rule) => event::send(json!({ "type": "error", "message": rule })),
        }
    }
}

/// The outcome of a player's message, or the rule against it.
type Played = Result<Result<(), &'static str>>;

impl Board {
    /// Returns the message for a client that has just come.
    fn shown(&self) -> Value {
        let players = self.seats.values();
        let players = players.map(|seat| json!({ "player": seat.name, "color": seat.color }));
        let cells = self.claims.iter().map(|(cell, Claim { player, color })| {
            json!({ "x": cell % WIDTH, "y": cell / WIDTH, "player": player, "color": color })
        });
        json!({
            "type": "board", "turn": self.turn, "width": WIDTH, "height": HEIGHT,
            "players": players.collect::<Value>(), "cells": cells.collect::<Value>(),
        })
    }

    fn join(&mut self, room: &Room, id: &str, name: String, color: String) -> Played {
        if self.seats.contains_key(id) {
            return Ok(Err("You have joined already"));
        }
        if self.seats.len() >= SEATS {
            return Ok(Err("Game is full"));
        }
        room.broadcast(json!({
            "type": "player_joined", "player": name, "color": color,
            "players": self.seats.len() + 1,
        }))?;
        if self.seats.is_empty() {
            room.every(ROUND, "who is there", &())?;
        }
        self.seats.insert(id.to_owned(), Seat { name, color, has_moved: false });
        Ok(Ok(()))
    }

    fn play(&mut self, room: &Room, id: &str, x: u16, y: u16) -> Played {
        let Some(seat) = self.seats.get_mut(id) else {
            return Ok(Err("Join the game first"));
        };
        if seat.has_moved {
            return Ok(Err("Wait for the next turn"));
        }
        if x >= WIDTH || y >= HEIGHT || self.claims.contains_key(&(y * WIDTH + x)) {
            return Ok(Err("Invalid move"));
        }
        seat.has_moved = true;
        self.moves += 1;
        room.broadcast(json!({
            "type": "move_made", "number": self.moves, "turn": self.turn,
            "player": seat.name, "color": seat.color, "x": x, "y": y,
        }))?;
        let claim = Claim { player: seat.name.clone(), color: seat.color.clone() };
        self.claims.insert(y * WIDTH + x, claim);
        Ok(Ok(()))
    }

    fn leave(&mut self, room: &Room, id: &str) -> Played {
        if let Some(seat) = self.seats.remove(id) {
            room.broadcast(json!({
                "type": "player_left", "player": seat.name, "players": self.seats.len(),
            }))?;
        }
        if self.seats.is_empty() {
            room.cancel_timer("who is there")?;
        }
        Ok(Ok(()))
    }

    /// Starts the next turn when all players have moved.
    fn next_turn(&mut self, room: &Room) -> Result {
        if self.seats.is_empty() || self.seats.values().any(|seat| !seat.has_moved) {
            return Ok(());
        }
        self.turn += 1;
        self.rounds = 0;
        if self.claims.len() == usize::from(WIDTH * HEIGHT) {
            self.claims.clear();
            room.broadcast(json!({ "type": "new_board" }))?;
        }
        self.seats.values_mut().for_each(|seat| seat.has_moved = false);
        room.broadcast(json!({ "type": "turn", "turn": self.turn }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf::testing::TestHost;

    #[test]
    fn a_latecomer_sees_the_board() {
        let host = TestHost::new::<Player>();
        let ann = host.connect("/game/1").expect_open();
        assert_eq!(ann.skip_to("board")["cells"], json!([]));
        ann.send(json!({ "type": "join_game", "player_name": "Ann", "color": "red" }));
        ann.send(json!({ "type": "move", "x": 3, "y": 2 }));
        let ben = host.connect("/game/1").expect_open();
        ben.assert_received(json!({
            "type": "board", "turn": 1, "width": 64, "height": 64,
            "players": [{ "player": "Ann", "color": "red" }],
            "cells": [{ "x": 3, "y": 2, "player": "Ann", "color": "red" }],
        }));
    }

    #[test]
    fn a_player_who_does_not_move_holds_nobody_up() {
        let host = TestHost::new::<Player>();
        let [ann, ben] = ["Ann", "Ben"].map(|name| {
            let player = host.connect("/game/1").expect_open();
            player.send(json!({ "type": "join_game", "player_name": name, "color": "red" }));
            player
        });
        ann.send(json!({ "type": "move", "x": 0, "y": 0 }));
        host.advance(ROUND * (ROUNDS_A_TURN - 1));
        ann.received();
        host.advance(ROUND);
        ann.assert_received(json!({ "type": "turn", "turn": 1 }));
        assert!(ben.is_open());
    }

    #[test]
    fn a_visitor_who_does_not_join_leaves_nothing_behind() {
        let host = TestHost::new::<Player>();
        let visitor = host.connect("/game/1").expect_open();
        assert_eq!(visitor.next_json()["type"], "board");
        visitor.send(json!({ "type": "move", "x": 0, "y": 0 }));
        visitor.assert_received(json!({ "type": "error", "message": "Join the game first" }));
        let name = "x".repeat(100_000);
        visitor.send(json!({ "type": "join_game", "player_name": name, "color": "red" }));
        assert_eq!(visitor.next_json()["type"], "error");
        visitor.vanish();
        assert_eq!(host.room_state::<Player>("1").moves, 0);
        assert!(host.errors().is_empty());
        let long = format!("/game/{}", "x".repeat(256));
        assert_eq!(host.connect(&long).expect_refused().status(), Some(400));
    }

    #[test]
    fn a_turn_is_over_when_all_have_moved_or_left() {
        let host = TestHost::new::<Player>();
        let players = ["Ann", "Ben", "Cy"].map(|name| {
            let player = host.connect("/game/1").expect_open();
            player.send(json!({ "type": "join_game", "player_name": name, "color": "red" }));
            player
        });
        let [ann, ben, cy] = &players;
        ann.received();
        ann.send(json!({ "type": "move", "x": 0, "y": 0 }));
        ann.assert_received(json!({
            "type": "move_made", "number": 1, "turn": 0, "player": "Ann", "color": "red",
            "x": 0, "y": 0,
        }));
        ann.send(json!({ "type": "move", "x": 1, "y": 0 }));
        ann.assert_received(json!({ "type": "error", "message": "Wait for the next turn" }));
        ben.received();
        ben.send(json!({ "type": "move", "x": 0, "y": 0 }));
        ben.assert_received(json!({ "type": "error", "message": "Invalid move" }));
        ben.send(json!({ "type": "move", "x": 0, "y": 1 }));
        assert_eq!(ann.next_json()["number"], 2);
        cy.vanish();
        ann.assert_received(json!({ "type": "player_left", "player": "Cy", "players": 2 }));
        ann.assert_received(json!({ "type": "turn", "turn": 1 }));
        assert_eq!(host.room_state::<Player>("1").moves, 2);
    }
}
