//! Rooms and users for so many connections, and no more.

use wharf_tests::{Client, Ended, Value, Wharf, eventually, json};

const CLIENTS: usize = 50;

async fn ask(client: &mut Client, what: Value) -> Value {
    let mut order = what;
    order["ref"] = json!(1);
    client.ask_json(order).await["payload"].take()
}

async fn enter(client: &mut Client, room: &str, most: usize) -> bool {
    let answer = ask(client, json!({ "do": "enter", "room": room, "most": most })).await;
    answer.as_bool().expect("an answer")
}

async fn count(client: &mut Client, room: &str) -> u64 {
    ask(client, json!({ "do": "count", "room": room })).await.as_u64().expect("a count")
}

/// Connects many clients at the same moment, and returns those that were let in.
async fn let_in(wharf: &Wharf, path: &str) -> Vec<Client> {
    let attempts = (0..CLIENTS).map(|_| async {
        let mut client = wharf.connect(path).await;
        client.try_send(json!({ "do": "count", "room": "x", "ref": 1 }).to_string().into()).await;
        match client.message_or_end().await {
            Ok(_) => Some(client),
            Err(ended) => {
                assert_eq!(ended, Ended::Closed(4001, "full".to_owned()));
                None
            }
        }
    });
    futures_util::future::join_all(attempts).await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_50_clients_that_connect_at_once_no_more_enter_a_room_than_it_is_for() {
    let wharf = Wharf::start(&["limited"], &["--workers 4"]).await;
    for (room, most) in [("a", 2), ("b", 1), ("c", 49)] {
        let path = format!("/limited?room={room}&most={most}");
        let mut inside = let_in(&wharf, &path).await;
        assert_eq!(inside.len(), most, "{room}");
        assert_eq!(count(&mut inside[0], room).await, most as u64);
        // A client that goes leaves its place to another.
        inside.pop().expect("a client").close(1000, "").await;
        let mut another = wharf.connect("/limited").await;
        let enters = async || enter(&mut another, room, most).await.then_some(());
        eventually("the place to be free", enters).await;
        assert_eq!(let_in(&wharf, &path).await.len(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_50_clients_that_connect_at_once_no_more_become_a_users_than_it_may_have() {
    let wharf = Wharf::start(&["limited"], &["--workers 4"]).await;
    let path = "/limited?user=ann&most=3";
    let mut inside = let_in(&wharf, path).await;
    assert_eq!(inside.len(), 3);
    let connections = json!({ "do": "connections", "user": "ann" });
    assert_eq!(ask(&mut inside[0], connections.clone()).await, 3);
    // One that becomes another user's leaves its place as well.
    assert_eq!(
        ask(&mut inside[0], json!({ "do": "become", "user": "bob", "most": 1 })).await,
        true
    );
    assert_eq!(let_in(&wharf, path).await.len(), 1, "one place was free");
    assert_eq!(
        ask(&mut inside[0], json!({ "do": "become", "user": "bob", "most": 0 })).await,
        true
    );
    assert_eq!(
        ask(&mut inside[1], json!({ "do": "become", "user": "bob", "most": 1 })).await,
        false
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_50_open_clients_that_ask_at_once_no_more_enter_a_room_than_it_is_for() {
    let wharf = Wharf::start(&["limited"], &["--workers 4"]).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(wharf.connect("/limited").await);
    }
    for round in 0..20 {
        let room = format!("room {round}");
        // Some leave again in the same event, and enter again.
        let all = clients.iter_mut().enumerate().map(async |(number, client)| {
            let again = ["enter", "enter_again_and_again"][number % 2];
            let order = json!({ "do": again, "room": room, "most": 5 });
            ask(client, order).await == true
        });
        let entered = futures_util::future::join_all(all).await;
        let entered = entered.into_iter().filter(|entered| *entered).count();
        assert_eq!((entered, count(&mut clients[0], &room).await), (5, 5));
        let all =
            clients.iter_mut().map(|client| ask(client, json!({ "do": "leave", "room": room })));
        futures_util::future::join_all(all).await;
        assert_eq!(count(&mut clients[0], &room).await, 0);
    }
}

#[tokio::test]
async fn a_place_is_free_again_if_the_event_fails() {
    let wharf = Wharf::start(&["limited"], &[]).await;
    let mut ann = wharf.connect("/limited").await;
    let mut bob = wharf.connect("/limited").await;
    for (enter, is_in) in [
        (json!({ "do": "enter", "room": "a", "most": 1 }), json!({ "do": "count", "room": "a" })),
        (
            json!({ "do": "become", "user": "u", "most": 1 }),
            json!({ "do": "connections", "user": "u" }),
        ),
    ] {
        let fail = json!({ "do": "fail", "order": enter, "ref": 1 });
        assert_eq!(ann.ask_json(fail).await["message"], "as ordered");
        assert_eq!(ask(&mut bob, is_in.clone()).await, 0);
        let mut eve = wharf.connect("/limited").await;
        eve.send_json(json!({ "do": "panic", "order": enter })).await;
        assert_eq!(eve.close_code().await, 1011);
        assert_eq!(ask(&mut bob, enter.clone()).await, true);
        assert_eq!(ask(&mut ann, enter.clone()).await, false);
        assert_eq!(ask(&mut bob, enter).await, true, "it has a place already");
        assert_eq!(ask(&mut ann, is_in).await, 1);
    }
}

#[tokio::test]
async fn a_connection_that_leaves_and_enters_in_one_event_keeps_its_place() {
    let wharf = Wharf::start(&["limited"], &[]).await;
    let mut ann = wharf.connect("/limited").await;
    assert!(enter(&mut ann, "a", 1).await);
    ask(&mut ann, json!({ "do": "leave", "room": "a" })).await;
    let again = json!({ "do": "enter_again_and_again", "room": "a", "most": 1 });
    assert_eq!(ask(&mut ann, again).await, true);
    assert_eq!(count(&mut ann, "a").await, 1);
    assert!(!enter(&mut wharf.connect("/limited").await, "a", 1).await);
}
