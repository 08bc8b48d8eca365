use super::*;

const TIMING: PresenceTiming =
    PresenceTiming { interval: Duration::from_millis(100), grace: Duration::from_millis(2_000) };

fn id(number: u64) -> ConnectionId {
    ConnectionId::local(number)
}

fn text(value: &str) -> Arc<str> {
    Arc::from(value)
}

/// Returns the number of frames that wait for a client that never reads.
fn waiting(outbound: &Outbound) -> usize {
    outbound.queued_bytes()
}

async fn pass(millis: u64) {
    // Tasks that the time wakes run before this one goes on.
    tokio::time::sleep(Duration::from_millis(millis)).await;
    tokio::task::yield_now().await;
}

#[tokio::test(start_paused = true)]
async fn changes_are_told_together_and_what_changes_back_is_not_told() {
    let rooms = PresenceRooms::new(TIMING);
    let (room, watcher) = (text("lobby"), Outbound::new(100_000, Default::default()));
    let mut writes = PendingWrites::default();
    rooms.watch(&room, id(1), &watcher, &mut writes);
    let state = waiting(&watcher);
    assert!(state > 0, "the list is sent at once");
    for number in 2..10 {
        rooms.track(&room, id(number), &text(&number.to_string()), &text("{}"));
    }
    assert_eq!(waiting(&watcher), state);
    pass(101).await;
    let told = waiting(&watcher);
    assert!(told > state);
    rooms.track(&room, id(10), &text("10"), &text("{}"));
    rooms.untrack(&room, id(10));
    pass(300).await;
    assert_eq!(waiting(&watcher), told);
    rooms.unwatch(&room, id(1));
    rooms.track(&room, id(11), &text("11"), &text("{}"));
    pass(300).await;
    assert_eq!(waiting(&watcher), told);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_nobody_is_in_and_nobody_watches_is_forgotten_and_its_number_is_not() {
    let rooms = PresenceRooms::new(TIMING);
    let (room, ann, meta) = (text("lobby"), text("ann"), text("{}"));
    rooms.track(&room, id(1), &ann, &meta);
    rooms.untrack(&room, id(1));
    assert!(rooms.is_empty());
    assert_eq!(rooms.page(&room, None, 9, None), (2, Vec::new()));
    rooms.track(&room, id(2), &ann, &meta);
    assert_eq!(rooms.page(&room, None, 9, None).0, 3);
    rooms.end(&room, id(2));
    assert_eq!((rooms.len(), rooms.count(&room, None)), (1, 0));
    pass(1_990).await;
    assert_eq!(rooms.page(&room, None, 9, None).1.len(), 1, "within the grace");
    pass(20).await;
    assert!(rooms.is_empty());
    assert_eq!(rooms.bytes(), 0);
    let watcher = Outbound::new(100_000, Default::default());
    rooms.watch(&room, id(3), &watcher, &mut PendingWrites::default());
    rooms.end(&room, id(3));
    assert!(rooms.is_empty(), "a watcher that has ended watches no longer");
}

#[tokio::test(start_paused = true)]
async fn no_time_to_come_back_is_possible() {
    let rooms = PresenceRooms::new(PresenceTiming { grace: Duration::ZERO, ..TIMING });
    let (room, ann) = (text("lobby"), text("ann"));
    rooms.track(&room, id(1), &ann, &text("{}"));
    rooms.end(&room, id(1));
    assert!(rooms.is_empty());
}

#[tokio::test(start_paused = true)]
async fn newcomers_of_one_interval_get_one_list_together_with_all_of_them() {
    const NEWCOMERS: u64 = 1000;
    let rooms = PresenceRooms::new(TIMING);
    let room = text("lobby");
    let outbounds: Vec<_> =
        (0..NEWCOMERS).map(|_| Outbound::new(1 << 20, Default::default())).collect();
    let mut writes = PendingWrites::default();
    for (number, outbound) in (0..).zip(&outbounds) {
        rooms.track(&room, id(number), &text(&format!("key-{number}")), &text("{}"));
        rooms.watch(&room, id(number), outbound, &mut writes);
    }
    let early = outbounds.iter().filter(|outbound| waiting(outbound) > 0).count();
    // The first finds nobody to tell of changes, and the second begins the interval.
    assert_eq!(early, 2, "the first get their list at once");
    // One leaves again, and one is not interested any more.
    rooms.leave(&room, id(7));
    rooms.unwatch(&room, id(8));
    pass(200).await;
    let seen = |number: usize| String::from_utf8_lossy(&outbounds[number].waiting()).into_owned();
    let lists = |number: usize| seen(number).matches("presence_state").count();
    for number in (1..NEWCOMERS as usize).filter(|number| ![7, 8].contains(number)) {
        assert_eq!(lists(number), 1, "of {number}");
        assert!(seen(number).contains("key-0\"") && seen(number).contains("key-999\""));
        assert!(!seen(number).contains("key-7\""));
    }
    assert_eq!((seen(7), seen(8)), (String::new(), String::new()));
    assert_eq!(lists(0), 1);
    assert!(seen(0).contains("key-999\""), "by a diff");
    // They are watchers like any other from now on.
    rooms.untrack(&room, id(3));
    pass(200).await;
    assert!(seen(500).contains("presence_diff"));
}

/// A listener that notes the changes.
struct Notes(Arc<Mutex<Vec<Diff>>>, OnceLock<PresenceRooms>);

impl Listener for Arc<Notes> {
    fn listens(&self) -> bool {
        true
    }

    fn tell(&self, room: Arc<PresenceRoom>) -> bool {
        let notes = self.clone();
        tokio::spawn(async move {
            let rooms = notes.1.get().expect("it is set");
            while let Some(diff) = rooms.next_untold(&room) {
                // It is slow, and gets all changes of that time at once.
                tokio::time::sleep(Duration::from_millis(1_000)).await;
                notes.0.lock().push(diff);
            }
        });
        true
    }
}

/// A listener that is told of changes and asks for none. It counts the times.
struct Busy(Arc<AtomicUsize>);

impl Listener for Busy {
    fn listens(&self) -> bool {
        true
    }

    fn tell(&self, _: Arc<PresenceRoom>) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed);
        true
    }
}

#[tokio::test(start_paused = true)]
async fn keys_that_come_and_go_while_the_listener_is_busy_are_forgotten() {
    let rooms = PresenceRooms::new(TIMING);
    rooms.tell_to(Box::new(Busy(Arc::default())));
    let room = text("lobby");
    rooms.track(&room, id(0), &text("stays"), &text("{}"));
    for number in 1..100u64 {
        rooms.track(&room, id(number), &text(&number.to_string()), &text("{}"));
        pass(200).await;
        rooms.leave(&room, id(number));
        pass(5_000).await;
        let kept = rooms.0.by_name.read().get(&room).map(|room| room.state.lock().untold.len());
        assert!(kept.is_some_and(|kept| kept <= 2 * FEW_UNTOLD), "{kept:?} after {number}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_is_slow_hears_everything_in_fewer_pieces() {
    let rooms = PresenceRooms::new(TIMING);
    let notes = Arc::new(Notes(Arc::default(), OnceLock::new()));
    let _ = notes.1.set(rooms.clone());
    rooms.tell_to(Box::new(notes.clone()));
    let room = text("lobby");
    for number in 0..10u64 {
        rooms.track(&room, id(number), &text(&number.to_string()), &text("{}"));
        pass(150).await;
    }
    rooms.leave(&room, id(0));
    pass(5_000).await;
    let told = notes.0.lock().clone();
    assert!((2..8).contains(&told.len()), "{told:?}");
    let mut present = std::collections::BTreeSet::new();
    for diff in &told {
        present.extend(diff.joins.iter().map(|(key, _)| key.clone()));
        present.retain(|key| !diff.leaves.contains(key));
    }
    let expected: Vec<Arc<str>> = (1..10).map(|number| text(&number.to_string())).collect();
    assert_eq!(present.into_iter().collect::<Vec<_>>(), expected);
    assert!(told.is_sorted_by(|a, b| a.sequence < b.sequence));
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_is_told_between_two_diffs_knows_the_list_afterwards() {
    for (comes, changes) in [(true, [false, true]), (false, [true, false])] {
        let rooms = PresenceRooms::new(TIMING);
        let told = Arc::new(AtomicUsize::new(0));
        rooms.tell_to(Box::new(Busy(told.clone())));
        let (room, meta) = (text("lobby"), text("{}"));
        let is_there = |is_there| match is_there {
            true => rooms.track(&room, id(1), &text("ann"), &meta),
            false => rooms.untrack(&room, id(1)),
        };
        rooms.track(&room, id(0), &text("stays"), &meta);
        is_there(!comes);
        pass(150).await;
        let list = rooms.get("lobby").expect("a list");
        let mut known = std::collections::BTreeSet::new();
        let mut ask = || {
            assert_eq!(told.swap(0, Ordering::Relaxed), 1);
            while let Some(diff) = rooms.next_untold(&list) {
                known.extend(diff.joins.into_iter().map(|(key, _)| key));
                known.retain(|key| !diff.leaves.contains(key));
            }
            known.contains("ann")
        };
        assert_eq!(ask(), !comes);
        // The listener asks late: at that time the next change has come already.
        is_there(comes);
        pass(150).await;
        is_there(changes[0]);
        assert_eq!(ask(), !comes);
        is_there(changes[1]);
        pass(150).await;
        assert_eq!(ask(), comes);
    }
}
