//! The fuzz target `frames`: places at which a stream is cut, and the stream.

use super::tests::{Read, end_alike, ours, theirs};

/// Checks that a stream is read as another implementation reads it, in any pieces.
#[test]
fn fuzz_frames() {
    let hello = [0x81, 0x85, 0, 0, 0, 0, b'h', b'e', b'l', b'l', b'o'];
    let words: [&[u8]; 10] = [
        &hello,
        &[0x01, 0x80, 0, 0, 0, 0],
        &[0x80, 0x80, 0, 0, 0, 0],
        &[0x89, 0x80, 0, 0, 0, 0],
        &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8],
        &[0xfe, 0x00, 0x7e],
        &[0xff, 0, 0, 0, 0, 0, 0, 0, 0x7e],
        &[0xff, 0x80, 0, 0, 0, 0, 0, 0, 0],
        "é€😀".as_bytes(),
        &[0xed, 0xa0, 0x80],
    ];
    wharf_fuzz::run("frames", &words, |input| {
        let (&count, rest) = input.split_first().unwrap_or((&0, &[]));
        let (cuts, rest) = rest.split_at(usize::from(count % 8).min(rest.len()));
        let cuts: Vec<usize> = cuts.iter().map(|&cut| usize::from(cut) + 1).collect();
        let early = usize::from(count / 8);
        let (mut ours, mut theirs) = (ours(rest, &cuts, early, 512), theirs(rest));
        let (our_end, their_end) = (ours.pop(), theirs.pop());
        // We name what is wrong at its first byte, and they wait for the rest of its frame.
        let is_earlier = matches!(
            (&our_end, &their_end),
            (Some(Read::Violated(_)), Some(Read::Ended | Read::Violated(_)))
        );
        let alike = is_earlier || end_alike(their_end.as_ref(), our_end.as_ref());
        assert!(alike, "{their_end:?}, {our_end:?}");
        assert_eq!(ours, theirs);
        let kinds: Vec<_> = ours.iter().map(std::mem::discriminant).collect();
        (kinds, our_end.as_ref().map(std::mem::discriminant))
    });
}
