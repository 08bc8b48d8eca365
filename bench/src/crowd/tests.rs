use super::log::Log;
use super::*;

/// Returns the payload of message `sequence` of `sender`, as a member receives it.
fn payload(sender: usize, sequence: u64) -> Vec<u8> {
    let mut messages = Messages::new(sender, 32);
    let frame = messages.frame(sequence).to_vec();
    let (header, masked) = frame.split_at(frame.len() - 32);
    let mask = &header[header.len() - 4..];
    masked.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect()
}

/// Makes a log of a room of two in which the members 0 and 1 have sent two messages each.
fn log() -> Log {
    let mut log = Log::new(2);
    for (sender, sequence) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        log.sent(sender, sequence, Instant::now());
    }
    log
}

fn deliver(log: &mut Log, position: usize, payload: &[u8]) -> anyhow::Result<log::Delivery> {
    log.deliver(position, payload, &Messages::new(0, 32))
}

#[test]
fn any_order_will_do_that_is_the_same_for_all_members() {
    let mut log = log();
    for (position, (sender, sequence)) in [(1, 0), (0, 0), (0, 1), (1, 1)].into_iter().enumerate() {
        let first = deliver(&mut log, position, &payload(sender, sequence)).expect("first");
        assert_eq!((first.sender, first.is_last), (sender, false));
        let last = deliver(&mut log, position, &payload(sender, sequence)).expect("last");
        assert_eq!((last.sender, last.is_last), (sender, true));
    }
}

#[test]
fn another_order_for_another_member_is_an_error() {
    let mut log = log();
    deliver(&mut log, 0, &payload(0, 0)).expect("the first");
    deliver(&mut log, 1, &payload(1, 0)).expect("the second");
    let error = deliver(&mut log, 0, &payload(1, 0)).expect_err("the second first");
    assert!(error.to_string().contains("in another order"), "{error}");
}

#[test]
fn what_a_sender_sent_comes_in_its_order_and_once() {
    let error = deliver(&mut log(), 0, &payload(0, 1)).expect_err("the second first");
    assert!(
        error.to_string().contains("message 1 of connection 0 came where 0 was due"),
        "{error}"
    );
    let mut log = log();
    for sequence in [0, 1] {
        deliver(&mut log, sequence as usize, &payload(1, sequence)).expect("in order");
    }
    let error = deliver(&mut log, 2, &payload(1, 1)).expect_err("doubled");
    assert!(error.to_string().contains("came twice"), "{error}");
}

#[test]
fn what_nobody_here_sent_is_an_error() {
    let error = deliver(&mut log(), 0, &payload(7, 0)).expect_err("foreign");
    assert!(error.to_string().contains("another room"), "{error}");
    let mut changed = payload(0, 0);
    changed[20] ^= 1;
    assert!(deliver(&mut log(), 0, &changed).is_err());
    assert!(deliver(&mut log(), 0, b"short").is_err());
}

/// Makes a log in which both members have received the four messages, those of 0 before those of 1.
fn told() -> (Log, Vec<[u8; 16]>) {
    let mut log = log();
    let mut stamps = Vec::new();
    for (position, (sender, sequence)) in [(0, 0), (0, 1), (1, 0), (1, 1)].into_iter().enumerate() {
        let message = payload(sender, sequence);
        for _ in 0..2 {
            deliver(&mut log, position, &message).expect("in order");
        }
        stamps.push(*message.first_chunk().expect("a stamp"));
    }
    (log, stamps)
}

#[test]
fn a_visitor_receives_what_follows_from_some_message_that_was_sent_before_it_came() {
    let (log, stamps) = told();
    assert_eq!(log.sent_so_far(), 4);
    log.check_visit(2, &stamps[2..]).expect("from the one that was sent next");
    log.check_visit(2, &stamps[1..3]).expect("from one that was under way, and gone early");
    log.check_visit(2, &[]).expect("gone at once");
}

#[test]
fn a_visitor_that_misses_a_message_or_has_one_twice_or_too_early_is_an_error() {
    let (log, stamps) = told();
    let [a, b, c, d] = stamps[..] else { panic!("four messages") };
    let wrong = |since, received: &[[u8; 16]]| {
        log.check_visit(since, received).expect_err("wrong").to_string()
    };
    assert!(wrong(2, &[d]).contains("was lost on its way"));
    assert!(wrong(0, &[a, c]).contains("was due"));
    assert!(wrong(0, &[a, a]).contains("was due"));
    assert!(wrong(0, &[a, c, b]).contains("in another order"));
    assert!(wrong(0, &[a, b, c, d, d]).contains("where nothing was due"));
    assert!(wrong(0, &[[b'x'; 16]]).contains("to a visitor alone"));
}
