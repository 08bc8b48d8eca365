//! Rooms with a limited number of members, as docs/guide/at-most-n.md recommends them.

use wharf_tests::{Wharf, eventually};

#[tokio::test]
async fn no_more_clients_are_let_in_than_a_room_has_seats_however_many_come_at_once() {
    let wharf = Wharf::start(&["seated"], &[]).await;
    for path in ["/seated/quick", "/seated/slow?slow"] {
        let attempts = (0..50).map(|_| wharf.try_connect(path, &[]));
        let attempts = futures_util::future::join_all(attempts).await;
        let (mut let_in, mut refused) = (Vec::new(), 0);
        for attempt in attempts {
            match attempt {
                Ok(client) => let_in.push(client),
                Err(rejected) => {
                    assert_eq!(rejected.status, 409);
                    refused += 1;
                }
            }
        }
        assert_eq!((let_in.len(), refused), (2, 48), "{path}");
        let mut seats = Vec::new();
        for client in &mut let_in {
            seats.push(client.ask_for_json("x").await["seat"].as_u64().expect("a seat"));
        }
        seats.sort_unstable();
        assert_eq!(seats, [0, 1]);
        // A client that goes leaves a seat.
        drop(let_in.pop());
        eventually("the seat is free", async || wharf.try_connect(path, &[]).await.ok()).await;
    }
}
