//! Messages between nodes: those of the format that is out there are read as they were written, and no bytes harm a
//! node.

use std::borrow::Cow;

use bytes::Bytes;
use proptest::prelude::*;
use wharf_hub::connection_id::NodeId;
use wharf_node::wire::{
    Beat, Content, DisconnectOf, Entry, FORMAT, FrameFor, GroupName, Message, News, NoticeTo,
    OperatorRequest, Place, Reply, Report, Request, RoomEventFor, RoomOutcome, RoomTimer,
    RoomTimerFor, Step, To, Try, Unreadable,
};

fn node() -> NodeId {
    NodeId::numbered(0x2f0c_6a9d_51e3).expect("a node")
}

fn group() -> GroupName<'static> {
    GroupName { channel: Cow::Borrowed("chat"), is_user: false, name: Cow::Borrowed("red") }
}

fn part(is_over: bool) -> News<'static> {
    let present = Place::Present { key: Cow::Borrowed("ann"), meta: Cow::Borrowed("{\"at\":1}") };
    let entry = |connection, place| Entry { connection, place };
    News {
        group: group(),
        part: 3,
        number: 2,
        count: 4,
        is_over,
        entries: vec![entry(7, present), entry(8, Place::Absent), entry(9, Place::Ended)],
    }
}

fn to() -> To<'static> {
    To {
        rooms: vec![Cow::Borrowed("red"), Cow::Borrowed("blue")],
        except: vec![(1, 2)],
        labels: vec![(Cow::Borrowed("team"), Cow::Borrowed("left"))],
        ..To::default()
    }
}

/// Returns one content of each kind, with the bytes that version 0.1.0 has written for it.
fn contents() -> Vec<(Content<'static>, &'static str)> {
    let channel = Cow::Borrowed("chat");
    let beat = Beat {
        name: Cow::Borrowed("wharf-1"),
        version: Cow::Borrowed("0.1.0"),
        started: 1_795_827_000_123,
        connections: 812,
    };
    vec![
        (Content::Beat(beat), include_str!("wire/beat.hex")),
        (Content::Bye, include_str!("wire/bye.hex")),
        (Content::Restored, include_str!("wire/restored.hex")),
        (Content::News(part(false)), include_str!("wire/news.hex")),
        (Content::State(part(true)), include_str!("wire/state.hex")),
        (Content::Ask(vec![group()]), include_str!("wire/ask.hex")),
        (Content::Count { question: 5, group: group() }, include_str!("wire/count.hex")),
        (Content::Counted { question: 5, count: 9 }, include_str!("wire/counted.hex")),
        (
            Content::List { question: 6, group: group(), after: Some((1, 2)), limit: 100 },
            include_str!("wire/list.hex"),
        ),
        (
            Content::Listed { question: 6, connections: vec![3, 70_000] },
            include_str!("wire/listed.hex"),
        ),
        (
            Content::Frame(FrameFor {
                channel: channel.clone(),
                to: to(),
                is_binary: true,
                once: None,
                payload: b"\x00hello",
            }),
            include_str!("wire/frame.hex"),
        ),
        (
            Content::Disconnect(DisconnectOf {
                channel: channel.clone(),
                to: To { connection: Some(7), ..To::default() },
                code: 4001,
                reason: Cow::Borrowed("enough"),
            }),
            include_str!("wire/disconnect.hex"),
        ),
        (
            Content::Notice(NoticeTo {
                channel: channel.clone(),
                to: To { users: vec![Cow::Borrowed("ann")], ..To::default() },
                cause: Some((1, 2)),
                user: Some(Cow::Borrowed("bob")),
                reference: Some(Cow::Borrowed("17")),
                hops: 2,
                payload: b"{}",
            }),
            include_str!("wire/notice.hex"),
        ),
        (
            Content::RoomEvent(RoomEventFor {
                channel: channel.clone(),
                room: Cow::Borrowed("red"),
                cause: Some((1, 2)),
                user: Some(Cow::Borrowed("bob")),
                reference: None,
                hops: 2,
                question: Some(9),
                returned: 0,
                payload: b"{}",
            }),
            include_str!("wire/room_event.hex"),
        ),
        (
            Content::RoomOutcome {
                question: 9,
                outcome: RoomOutcome::Handled { generation: 3, is_state_changed: true },
            },
            include_str!("wire/room_outcome.hex"),
        ),
        (
            Content::RoomTimer(RoomTimerFor {
                channel: channel.clone(),
                room: Cow::Borrowed("red"),
                name: Cow::Borrowed("tick"),
                timer: Some(RoomTimer {
                    due_at: 1_795_827_000_123,
                    interval_ms: 250,
                    payload: b"1",
                }),
                returned: 0,
            }),
            include_str!("wire/room_timer.hex"),
        ),
        (
            Content::RoomsGivenUp { channel: channel.clone() },
            include_str!("wire/rooms_given_up.hex"),
        ),
        (
            Content::RoomReset { channel, room: Cow::Borrowed("red") },
            include_str!("wire/room_reset.hex"),
        ),
        (
            request(Request::Operator(OperatorRequest {
                path: "/api/channels/chat/rooms".to_owned(),
                query: Some("limit=2".to_owned()),
                body: None,
            })),
            include_str!("wire/request_question.hex"),
        ),
        (
            request(Request::Operator(OperatorRequest {
                path: "/api/channels/chat/connections/1-2/send".to_owned(),
                query: None,
                body: Some(Bytes::from_static(b"{\"text\":\"hello\"}")),
            })),
            include_str!("wire/request_command.hex"),
        ),
        (
            request(Request::Deploy(Step::Try(Try {
                deploy: 7,
                channel: "chat".to_owned(),
                sha256: "00ff".to_owned(),
                bytes: 70_000,
            }))),
            include_str!("wire/request_try.hex"),
        ),
        (
            request(Request::Deploy(Step::Forget { deploy: 7 })),
            include_str!("wire/request_forget.hex"),
        ),
        (
            request(Request::Deploy(Step::Look { number: 3, channel: "chat".to_owned() })),
            include_str!("wire/request_look.hex"),
        ),
        (
            reply(Reply::Operator { status: 200, body: Bytes::from_static(b"{}") }),
            include_str!("wire/reply_operator.hex"),
        ),
        (reply(Reply::Deploy(Report::Trying)), include_str!("wire/reply_trying.hex")),
        (reply(Reply::Deploy(Report::Ready)), include_str!("wire/reply_ready.hex")),
        (
            reply(Reply::Deploy(Report::Refused { reason: "it does not fit".to_owned() })),
            include_str!("wire/reply_refused.hex"),
        ),
        (reply(Reply::Deploy(Report::Busy)), include_str!("wire/reply_busy.hex")),
        (reply(Reply::Deploy(Report::Forgotten)), include_str!("wire/reply_forgotten.hex")),
        (
            reply(Reply::Deploy(Report::Looked {
                number: 3,
                generation: Some(2),
                reason: Some("its path is taken".to_owned()),
            })),
            include_str!("wire/reply_looked.hex"),
        ),
    ]
}

fn request(request: Request) -> Content<'static> {
    Content::Request { question: 8, request }
}

fn reply(reply: Reply) -> Content<'static> {
    Content::Reply { question: 8, reply }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.trim().as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.map(|pair| byte(pair).expect("two digits")).collect()
}

// A change of these files is a change of the format.
#[test]
fn messages_of_the_format_that_is_out_there_are_written_and_read_as_they_were() {
    for (content, kept) in contents() {
        let written = Message::new(node(), content.clone()).encode();
        assert_eq!(hex(&written), kept.trim(), "{content:?}");
        assert_eq!(Message::read(&bytes(kept)), Ok((node(), content)));
    }
}

#[test]
fn a_later_version_may_add_fields_and_kinds() {
    // {"from": 1, "content": {"counted": {"question": 5, "count": 9, "more": true}}, "also": 1}
    let more = b"\x01\x83\xa4from\x01\xa7content\x81\xa7counted\x83\xa8question\x05\xa5count\x09\xa4more\xc3\xa4also\x01";
    let one = NodeId::numbered(1).expect("a node");
    assert_eq!(Message::read(more), Ok((one, Content::Counted { question: 5, count: 9 })));
    let unknown = b"\x01\x82\xa4from\x01\xa7content\xa6unseen";
    assert!(matches!(Message::read(unknown), Err(Unreadable::Content(_))));
    assert_eq!(Message::read(&[FORMAT + 1, 0]), Err(Unreadable::Format(FORMAT + 1)));
    let of_nobody = b"\x01\x82\xa4from\x00\xa7content\xa3bye";
    assert!(matches!(Message::read(of_nobody), Err(Unreadable::Content(_))));
}

proptest! {
    #[test]
    fn no_bytes_make_reading_panic(
        at in 0..contents().len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        end in any::<prop::sample::Index>(),
        noise in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let _ = Message::read(&noise);
        let mut message = bytes(contents()[at].1);
        for (place, byte) in changes {
            let place = place.index(message.len());
            message[place] = byte;
        }
        let _ = Message::read(&message);
        message.truncate(end.index(message.len()));
        let _ = Message::read(&message);
    }
}
