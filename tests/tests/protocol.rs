//! RFC 6455, by the groups 1 to 7 of the Autobahn testsuite and in their order: what an echo answers to
//! frames good and bad, however TCP cuts them. `cargo xtask autobahn` runs the testsuite itself.

use wharf_tests::raw::frame;
use wharf_tests::{Raw, Wharf};

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Bit of the last frame of a message.
const FIN: u8 = 0x80;

/// The ways in which TCP may cut what a client sends.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// All frames together.
    Nowhere,
    /// Each frame by itself.
    BetweenFrames,
    /// Pieces of that many bytes.
    Pieces(usize),
}

const SMALL: [Cut; 3] = [Cut::Nowhere, Cut::BetweenFrames, Cut::Pieces(1)];
const LARGE: [Cut; 3] = [Cut::Nowhere, Cut::BetweenFrames, Cut::Pieces(997)];

/// Frames of a client with all that is answered.
struct Case {
    sent: Vec<Vec<u8>>,
    /// Opcodes and payloads of the frames before the close frame.
    heard: Vec<(u8, Vec<u8>)>,
    /// Payload of the close frame if the client closes, else its code.
    end: Result<Vec<u8>, u16>,
}

/// Returns frames that are answered with these and that break no rule. The client closes after them.
fn good(sent: Vec<Vec<u8>>, heard: Vec<(u8, Vec<u8>)>) -> Case {
    let code = 1000_u16.to_be_bytes().to_vec();
    let sent = [sent, vec![frame(FIN | CLOSE, &code)]].concat();
    Case { sent, heard, end: Ok(code) }
}

/// Returns frames that break a rule after these answers.
fn bad(sent: Vec<Vec<u8>>, heard: Vec<(u8, Vec<u8>)>, code: u16) -> Case {
    Case { sent, heard, end: Err(code) }
}

/// Returns a message of one frame.
fn whole(opcode: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(FIN | opcode, payload.as_ref())
}

fn heard(opcode: u8, payload: impl AsRef<[u8]>) -> (u8, Vec<u8>) {
    (opcode, payload.as_ref().to_vec())
}

/// Sends the frames of a case and compares everything that comes until the end of the stream.
async fn check(wharf: &Wharf, case: &Case, cut: Cut) {
    let mut raw = wharf.raw_websocket("/echo").await;
    let stream = case.sent.concat();
    let pieces: Vec<&[u8]> = match cut {
        Cut::Nowhere => vec![&stream],
        Cut::BetweenFrames => case.sent.iter().map(Vec::as_slice).collect(),
        Cut::Pieces(size) => stream.chunks(size).collect(),
    };
    for piece in pieces {
        // The host may have closed already, as it must.
        if !raw.try_write(piece).await {
            break;
        }
    }
    assert_answered(&mut raw, case, &format!("{:02x?} cut {cut:?}", beginning(&stream))).await;
}

async fn assert_answered(raw: &mut Raw, case: &Case, what: &str) {
    let (frames, close) = raw.until_close().await;
    assert!(frames.iter().all(|frame| frame.is_final), "{what}");
    let frames: Vec<_> = frames.into_iter().map(|frame| (frame.opcode, frame.payload)).collect();
    assert!(frames == case.heard, "{what}: {} frames were heard", frames.len());
    let close = close.unwrap_or_else(|| panic!("{what}: no close frame"));
    match &case.end {
        Ok(payload) => assert_eq!(&close.payload, payload, "{what}"),
        Err(code) => assert_eq!(close.close_code(), Some(*code), "{what}"),
    }
    raw.ended().await;
}

fn beginning(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(32)]
}

async fn check_all(cases: Vec<Case>, cuts: &[Cut]) {
    let wharf = Wharf::start(&["echo"], &[]).await;
    for case in &cases {
        for cut in cuts {
            check(&wharf, case, *cut).await;
        }
    }
}

#[tokio::test]
async fn group_1_messages_of_all_lengths_come_back() {
    let mut cases = Vec::new();
    for length in [0, 125, 126, 127, 128, 65_535, 65_536] {
        for (opcode, byte) in [(TEXT, b'*'), (BINARY, 0xfe)] {
            let payload = vec![byte; length];
            cases.push(good(vec![whole(opcode, &payload)], vec![heard(opcode, &payload)]));
        }
    }
    check_all(cases, &LARGE).await;
}

#[tokio::test]
async fn group_2_pings_are_answered_and_pongs_are_not() {
    let mut cases: Vec<Case> =
        [b"".as_slice(), b"Hello, world!", b"\x00\xff\xfe\x00", &[0xfe; 125]]
            .into_iter()
            .map(|payload| good(vec![whole(PING, payload)], vec![heard(PONG, payload)]))
            .collect();
    cases.push(bad(vec![whole(PING, [0xfe; 126])], vec![], 1002));
    cases.push(good(vec![whole(PONG, "")], vec![]));
    cases.push(good(vec![whole(PONG, "unasked")], vec![]));
    let both = vec![whole(PONG, "unasked"), whole(PING, "asked")];
    cases.push(good(both, vec![heard(PONG, "asked")]));
    let payloads = || (0..10).map(|number| format!("payload-{number}"));
    cases.push(good(
        payloads().map(|payload| whole(PING, payload)).collect(),
        payloads().map(|payload| heard(PONG, payload)).collect(),
    ));
    check_all(cases, &SMALL).await;
}

#[tokio::test]
async fn group_3_reserved_bits_are_refused() {
    let mut cases = Vec::new();
    for bits in 1..=7 {
        for opcode in [CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG] {
            let reserved = frame(FIN | bits << 4 | opcode, b"");
            cases.push(bad(vec![reserved.clone(), whole(PING, "")], vec![], 1002));
            let sent = vec![whole(TEXT, "Hello"), reserved, whole(PING, "")];
            cases.push(bad(sent, vec![heard(TEXT, "Hello")], 1002));
        }
    }
    check_all(cases, &SMALL).await;
}

#[tokio::test]
async fn group_4_reserved_opcodes_are_refused() {
    let mut cases = Vec::new();
    for opcode in (3..=7).chain(11..=15) {
        for payload in ["", "payload"] {
            cases.push(bad(vec![whole(opcode, payload)], vec![], 1002));
            let sent = vec![whole(TEXT, "Hello"), whole(opcode, payload), whole(PING, "")];
            cases.push(bad(sent, vec![heard(TEXT, "Hello")], 1002));
        }
    }
    check_all(cases, &SMALL).await;
}

#[tokio::test]
async fn group_5_fragments_make_a_message_and_control_frames_have_none() {
    let part = |opcode, payload: &str| frame(opcode, payload.as_bytes());
    let mut cases = Vec::new();
    for opcode in [CLOSE, PING, PONG] {
        let sent = vec![part(opcode, "one"), whole(CONTINUATION, "two")];
        cases.push(bad(sent, vec![], 1002));
    }
    let echo = || vec![heard(TEXT, "onetwo")];
    cases.push(good(vec![part(TEXT, "one"), whole(CONTINUATION, "two")], echo()));
    let pinged = vec![part(TEXT, "one"), whole(PING, "between"), whole(CONTINUATION, "two")];
    cases.push(good(pinged, vec![heard(PONG, "between"), heard(TEXT, "onetwo")]));
    // A continuation of nothing, the last one or not, before any message and after one.
    for first in [FIN | CONTINUATION, CONTINUATION] {
        cases.push(bad(vec![part(first, "none"), whole(TEXT, "Hello")], vec![], 1002));
        let message = vec![part(first, "none"), part(TEXT, "one"), whole(CONTINUATION, "two")];
        cases.push(bad(message, vec![], 1002));
        let after = vec![
            part(TEXT, "one"),
            whole(CONTINUATION, "two"),
            part(first, "none"),
            whole(TEXT, "Hello"),
        ];
        cases.push(bad(after, echo(), 1002));
    }
    for second in [TEXT, BINARY] {
        cases.push(bad(vec![part(TEXT, "one"), whole(second, "two")], vec![], 1002));
    }
    let five = vec![
        part(TEXT, "1"),
        part(CONTINUATION, "2"),
        whole(PING, "first"),
        part(CONTINUATION, "3"),
        part(CONTINUATION, "4"),
        whole(PING, "second"),
        whole(CONTINUATION, "5"),
    ];
    let answers = vec![heard(PONG, "first"), heard(PONG, "second"), heard(TEXT, "12345")];
    cases.push(good(five, answers));
    check_all(cases, &SMALL).await;
}

/// A word of multi-byte characters, and the same with a surrogate and with a number beyond Unicode.
const WORD: &[u8] = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5";
const SURROGATE: &[u8] = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited";
const BEYOND: &[u8] = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited";
/// Place of the byte with which the latter two are wrong.
const WRONG_AT: usize = 12;

/// Returns fragments of one byte each.
fn in_bytes(bytes: &[u8]) -> Vec<Vec<u8>> {
    let last = bytes.len() - 1;
    let fragment = |(at, byte): (usize, &u8)| {
        let opcode = if at == 0 { TEXT } else { CONTINUATION };
        frame(if at == last { FIN | opcode } else { opcode }, &[*byte])
    };
    bytes.iter().enumerate().map(fragment).collect()
}

#[tokio::test]
async fn group_6_text_is_utf8_wherever_it_is_cut() {
    let mut cases = vec![
        good(vec![whole(TEXT, "")], vec![heard(TEXT, "")]),
        good(
            vec![frame(TEXT, b""), frame(CONTINUATION, b""), whole(CONTINUATION, "")],
            vec![heard(TEXT, "")],
        ),
        good(
            vec![frame(TEXT, b""), frame(CONTINUATION, b"middle"), whole(CONTINUATION, "")],
            vec![heard(TEXT, "middle")],
        ),
        good(
            vec![frame(TEXT, "Hello-µ@ßöä".as_bytes()), whole(CONTINUATION, "üàá-UTF-8!!")],
            vec![heard(TEXT, "Hello-µ@ßöäüàá-UTF-8!!")],
        ),
    ];
    for text in ["Hello-µ@ßöäüàá-UTF-8!!".as_bytes(), WORD] {
        cases.push(good(in_bytes(text), vec![heard(TEXT, text)]));
    }
    for text in [SURROGATE, BEYOND] {
        cases.push(bad(in_bytes(text), vec![], 1007));
    }
    check_all(cases, &SMALL).await;
}

#[tokio::test]
async fn group_6_text_is_refused_with_the_first_wrong_fragment() {
    let wharf = Wharf::start(&["echo"], &[]).await;
    for text in [SURROGATE, BEYOND] {
        for first in [WORD.len(), WRONG_AT] {
            let (right, rest) = text.split_at(first);
            // The message is never finished, so that only the wrong byte can be the reason.
            let wrong = &rest[..=WRONG_AT - first];
            let mut raw = wharf.raw_websocket("/echo").await;
            raw.write([frame(TEXT, right), frame(CONTINUATION, wrong)].concat()).await;
            let case = bad(vec![], vec![], 1007);
            assert_answered(&mut raw, &case, &format!("{right:02x?} {wrong:02x?}")).await;
        }
    }
}

/// Returns byte sequences at the borders of UTF-8, good and bad, after Markus Kuhn's list.
fn sequences() -> Vec<Vec<u8>> {
    let mut sequences: Vec<Vec<u8>> = (1..=WORD.len()).map(|end| WORD[..end].to_vec()).collect();
    let listed: [&[u8]; 78] = [
        // One character of each length among others.
        b"hello\x24world",
        b"hello\xc2\xa2world",
        b"hello\xe2\x82\xacworld",
        b"hello\xf0\xa4\xad\xa2world",
        // The first and the last character of each length, and lengths that are not Unicode's.
        b"\x00",
        b"\xc2\x80",
        b"\xe0\xa0\x80",
        b"\xf0\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xfc\x84\x80\x80\x80\x80",
        b"\x7f",
        b"\xdf\xbf",
        b"\xef\xbf\xbf",
        b"\xf4\x8f\xbf\xbf",
        b"\xf7\xbf\xbf\xbf",
        b"\xfb\xbf\xbf\xbf\xbf",
        b"\xfd\xbf\xbf\xbf\xbf\xbf",
        // The borders of the surrogates and of Unicode.
        b"\xed\x9f\xbf",
        b"\xee\x80\x80",
        b"\xef\xbf\xbd",
        b"\xf4\x90\x80\x80",
        // Continuations of nothing.
        b"\x80",
        b"\xbf",
        b"\x80\xbf",
        b"\x80\xbf\x80",
        b"\x80\xbf\x80\xbf",
        b"\x80\xbf\x80\xbf\x80",
        b"\x80\xbf\x80\xbf\x80\xbf",
        // Beginnings without an end.
        b"\xc0 \xdf ",
        b"\xe0 \xef ",
        b"\xf0 \xf7 ",
        b"\xf8 \xfb ",
        b"\xfc \xfd ",
        b"\xc0",
        b"\xe0\x80",
        b"\xf0\x80\x80",
        b"\xf8\x80\x80\x80",
        b"\xfc\x80\x80\x80\x80",
        b"\xdf",
        b"\xef\xbf",
        b"\xf7\xbf\xbf",
        b"\xfb\xbf\xbf\xbf",
        b"\xfd\xbf\xbf\xbf\xbf",
        b"\xc0\xe0\x80\xf0\x80\x80\xf8\x80\x80\x80\xdf\xef\xbf\xf7\xbf\xbf",
        // Bytes that are not in UTF-8.
        b"\xfe",
        b"\xff",
        b"\xfe\xfe\xff\xff",
        // Characters that are written too long.
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xf0\x80\x80\xaf",
        b"\xf8\x80\x80\x80\xaf",
        b"\xfc\x80\x80\x80\x80\xaf",
        b"\xc1\xbf",
        b"\xe0\x9f\xbf",
        b"\xf0\x8f\xbf\xbf",
        b"\xf8\x87\xbf\xbf\xbf",
        b"\xfc\x83\xbf\xbf\xbf\xbf",
        b"\xc0\x80",
        b"\xe0\x80\x80",
        b"\xf0\x80\x80\x80",
        // Surrogates, alone and in pairs.
        b"\xed\xa0\x80",
        b"\xed\xad\xbf",
        b"\xed\xae\x80",
        b"\xed\xaf\xbf",
        b"\xed\xb0\x80",
        b"\xed\xbe\x80",
        b"\xed\xbf\xbf",
        b"\xed\xa0\x80\xed\xb0\x80",
        b"\xed\xad\xbf\xed\xbf\xbf",
        b"\xed\xae\x80\xed\xb0\x80",
        b"\xed\xaf\xbf\xed\xbf\xbf",
        // Characters that are none, and special ones.
        b"\xef\xbf\xbe",
        b"\xf0\x9f\xbf\xbe",
        b"\xf3\xbf\xbf\xbf",
        b"\xf4\x8f\xbf\xbe",
        b"\xef\xbf\xb9",
        b"\xef\xbf\xba",
        b"\xef\xbf\xbc",
    ];
    sequences.extend(listed.map(<[u8]>::to_vec));
    sequences
}

#[tokio::test]
async fn group_6_the_borders_of_utf8_are_those_of_the_standard_library() {
    let case = |bytes: Vec<u8>| match std::str::from_utf8(&bytes) {
        Ok(_) => good(vec![whole(TEXT, &bytes)], vec![heard(TEXT, &bytes)]),
        Err(_) => bad(vec![whole(TEXT, &bytes)], vec![], 1007),
    };
    let cases: Vec<Case> = sequences().into_iter().map(case).collect();
    let refused = cases.iter().filter(|case| case.end.is_err()).count();
    assert_eq!((cases.len(), refused), (89, 62));
    check_all(cases, &[Cut::Nowhere, Cut::Pieces(1)]).await;
}

/// Returns a client's close frame that is answered with the same.
fn closes(payload: &[u8]) -> Case {
    Case { sent: vec![whole(CLOSE, payload)], heard: vec![], end: Ok(payload.to_vec()) }
}

fn code(code: u16, reason: impl AsRef<[u8]>) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_ref()].concat()
}

#[tokio::test]
async fn group_7_a_close_frame_ends_the_conversation() {
    let normal = || whole(CLOSE, code(1000, ""));
    let end = || Ok(code(1000, ""));
    let silent = |sent| Case { sent, heard: vec![], end: end() };
    let mut cases = vec![
        good(vec![whole(TEXT, "Hello")], vec![heard(TEXT, "Hello")]),
        silent(vec![normal(), whole(CLOSE, "")]),
        silent(vec![normal(), whole(PING, "")]),
        silent(vec![normal(), whole(TEXT, "Hello")]),
        silent(vec![frame(TEXT, b"one"), normal(), whole(CONTINUATION, "two")]),
        closes(b""),
        closes(&code(1000, "Hello")),
        closes(&code(1000, "*".repeat(123))),
        bad(vec![whole(CLOSE, "a")], vec![], 1002),
        bad(vec![whole(CLOSE, code(1000, "*".repeat(124)))], vec![], 1002),
        bad(vec![whole(CLOSE, code(1000, SURROGATE))], vec![], 1007),
    ];
    for valid in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
        cases.push(closes(&code(valid, "")));
    }
    for invalid in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        cases.push(bad(vec![whole(CLOSE, code(invalid, ""))], vec![], 1002));
    }
    check_all(cases, &SMALL).await;
}

#[tokio::test]
async fn group_7_what_was_sent_before_a_close_frame_is_answered_first() {
    let large = "BAsd7&jh23".repeat(26_215);
    let sent = vec![
        whole(TEXT, &large),
        whole(TEXT, "Hello"),
        whole(CLOSE, code(1000, "")),
        whole(PING, ""),
    ];
    let answers = vec![heard(TEXT, &large), heard(TEXT, "Hello")];
    check_all(vec![Case { sent, heard: answers, end: Ok(code(1000, "")) }], &LARGE).await;
}
