//! The plugins whose rooms have state, under many connections.

use std::collections::{BTreeMap, BTreeSet};

use wharf_tests::{Value, Wharf, json};

#[tokio::test]
async fn concurrent_moves_of_a_hundred_players_lose_nothing_and_all_see_one_order() {
    const PLAYERS: usize = 100;
    const TURNS: u64 = 3;
    let wharf = Wharf::start(&["game"], &["--workers 4", "--room-inbox-events 10000"]).await;
    let mut players = Vec::new();
    for _ in 0..PLAYERS {
        players.push(wharf.connect("/game/1").await);
    }
    for (number, player) in players.iter_mut().enumerate() {
        let join =
            json!({ "type": "join_game", "player_name": format!("p{number}"), "color": "red" });
        player.send_json(join).await;
    }
    let playing = players.into_iter().enumerate().map(|(number, mut player)| {
        tokio::spawn(async move {
            let (mut moves, mut turn, mut joined) = (Vec::new(), 0, 0);
            let place = |turn: u64| {
                let cell = turn * PLAYERS as u64 + number as u64;
                json!({ "type": "move", "x": cell % 64, "y": cell / 64 })
            };
            // No player moves before all have joined, so that every turn counts all players.
            while turn < TURNS {
                let message = player.json().await;
                match message["type"].as_str() {
                    Some("board") => {}
                    Some("player_joined") => {
                        joined += 1;
                        if joined == PLAYERS {
                            player.send_json(place(0)).await;
                        }
                    }
                    Some("move_made") => moves.push(message),
                    Some("turn") => {
                        turn += 1;
                        assert_eq!(message["turn"], turn);
                        if turn < TURNS {
                            player.send_json(place(turn)).await;
                        }
                    }
                    other => panic!("{other:?}: {message}"),
                }
            }
            moves
        })
    });
    let mut seen: Vec<Vec<Value>> = Vec::new();
    for player in playing.collect::<Vec<_>>() {
        seen.push(player.await.expect("a player"));
    }
    let moves = &seen[0];
    assert_eq!(moves.len(), PLAYERS * TURNS as usize);
    assert!(seen.iter().all(|other| other == moves), "all see the same moves in the same order");
    for (at, made) in moves.iter().enumerate() {
        assert_eq!(made["number"], at + 1);
    }
    let mut by_player: BTreeMap<&str, u64> = BTreeMap::new();
    let mut cells = BTreeSet::new();
    for made in moves {
        *by_player.entry(made["player"].as_str().expect("a player")).or_default() += 1;
        assert!(cells.insert((made["x"].as_u64(), made["y"].as_u64())));
    }
    assert_eq!(by_player.len(), PLAYERS);
    assert!(by_player.values().all(|made| *made == TURNS), "each moved once a turn");
}

#[tokio::test]
async fn of_two_players_that_want_one_cell_one_gets_it() {
    let wharf = Wharf::start(&["game"], &[]).await;
    let mut ann = wharf.connect("/game/1").await;
    let mut bob = wharf.connect("/game/1").await;
    for (player, name) in [(&mut ann, "Ann"), (&mut bob, "Bob")] {
        player
            .send_json(json!({ "type": "join_game", "player_name": name, "color": "blue" }))
            .await;
        while player.json().await["player"] != name {}
    }
    assert_eq!(ann.json().await["player"], "Bob");
    let wanted = json!({ "type": "move", "x": 1, "y": 1 });
    ann.send_json(wanted.clone()).await;
    bob.send_json(wanted).await;
    let mut outcomes = Vec::new();
    for player in [&mut ann, &mut bob] {
        // The player gets the other's move and then a refusal, or its own move alone.
        let first = player.json().await;
        outcomes.push(first);
    }
    let refused: usize = {
        let mut refused = 0;
        for (mut player, name) in [(ann, "Ann"), (bob, "Bob")] {
            player.send_json(json!({ "type": "leave_game" })).await;
            loop {
                let message = player.json().await;
                refused += usize::from(message["type"] == "error");
                // The other's message may come before the refusal; the player's own comes after it.
                if message["type"] == "player_left" && message["player"] == name {
                    break;
                }
            }
        }
        refused + outcomes.iter().filter(|outcome| outcome["type"] == "error").count()
    };
    assert_eq!(refused, 1);
    assert!(outcomes.iter().any(|outcome| outcome["type"] == "move_made"));
}

#[tokio::test]
async fn messages_of_a_hundred_connections_come_in_batches_of_ten_or_after_their_time() {
    const CLIENTS: usize = 100;
    let wharf = Wharf::start(&["batched"], &["--workers 4"]).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(wharf.connect("/batched").await);
    }
    // There are 105 messages: the last five wait for the timer.
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("{number}")).await;
    }
    for (number, client) in clients.iter_mut().take(5).enumerate() {
        client.send(format!("more {number}")).await;
    }
    let mut told: Option<Vec<Value>> = None;
    for mut client in clients {
        let mut batches = Vec::new();
        let mut messages = 0;
        while messages < CLIENTS + 5 {
            let batch = client.json().await;
            let size = batch["messages"].as_array().expect("messages").len();
            assert!((1..=10).contains(&size));
            messages += size;
            batches.push(batch);
            assert_eq!(batches.last().expect("a batch")["number"], batches.len());
        }
        assert_eq!(messages, CLIENTS + 5);
        assert!(told.get_or_insert_with(|| batches.clone()) == &batches, "one order for all");
    }
    let told = told.expect("batches");
    let all = told.iter().flat_map(|batch| batch["messages"].as_array().expect("messages"));
    let texts: BTreeSet<&str> = all.filter_map(|entry| entry["message"].as_str()).collect();
    assert_eq!(texts.len(), CLIENTS + 5, "nothing lost, nothing twice");
}
