//! A written value is read back, or refused where it is written: for values of every kind, in
//! comparison with `serde_json`.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::net::{IpAddr, SocketAddr};

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{payload, session};
use crate::error::Result;

/// A number of 16 bytes with a form for people, as UUIDs are written.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Uuid(u128);

impl Serialize for Uuid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => serializer.collect_str(&format_args!("{:032x}", self.0)),
            false => serializer.serialize_bytes(&self.0.to_be_bytes()),
        }
    }
}

impl<'de> Deserialize<'de> for Uuid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl serde::de::Visitor<'_> for Bytes {
            type Value = Uuid;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("16 bytes")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Uuid, E> {
                bytes.try_into().map(u128::from_be_bytes).map(Uuid).map_err(E::custom)
            }
        }

        match deserializer.is_human_readable() {
            true => u128::from_str_radix(&String::deserialize(deserializer)?, 16)
                .map(Uuid)
                .map_err(D::Error::custom),
            false => deserializer.deserialize_bytes(Bytes),
        }
    }
}

/// Bytes that are written as bytes.
#[derive(Debug, Clone, PartialEq)]
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyBytes;

        impl<'de> serde::de::Visitor<'de> for AnyBytes {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut seq: A,
            ) -> Result<Bytes, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = seq.next_element()? {
                    bytes.push(byte);
                }
                Ok(Bytes(bytes))
            }
        }

        deserializer.deserialize_byte_buf(AnyBytes)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Tuple();

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Pair(i8, Unit);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Side {
    Left,
    Right,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Plain {
    ip: IpAddr,
    socket: Option<SocketAddr>,
    id: Uuid,
    wide: u128,
    negative: i128,
    number: f64,
    small: f32,
    char: char,
    bytes: Bytes,
    nested: Option<Option<u8>>,
    nothing: Option<()>,
    unit: Option<Unit>,
    by_number: BTreeMap<u32, IpAddr>,
    by_negative: BTreeMap<i64, Side>,
    by_flag: BTreeMap<bool, char>,
    by_char: BTreeMap<char, u8>,
    by_side: BTreeMap<Side, Pair>,
    pair: Pair,
}

/// The parts that serde keeps in a buffer before it reads them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Part {
    ip: IpAddr,
    id: Uuid,
    number: Option<i64>,
    float: f64,
    by_number: BTreeMap<u32, String>,
    by_flag: BTreeMap<bool, u8>,
    side: Side,
    bytes: Bytes,
    pair: Pair,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Tagged {
    Nothing,
    Part(Part),
    At { ip: IpAddr, port: Option<u16> },
    Unit(Unit),
    Wide { wide: u128 },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "content")]
enum Adjacent {
    Nothing,
    Part(Part),
    Ip(IpAddr),
    Wide(i128),
    Keys(BTreeMap<i16, Uuid>),
    Two(IpAddr, Option<u8>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Ip(IpAddr),
    Part(Part),
    Keys { keys: BTreeMap<u8, Side> },
    Wide { wide: u128 },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Flat {
    name: String,
    #[serde(flatten)]
    part: Option<Part>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct FlatWide {
    name: String,
    #[serde(flatten)]
    wide: Option<Wide>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Wide {
    wide: i128,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct FlatKeys {
    name: String,
    #[serde(flatten)]
    scores: BTreeMap<u32, IpAddr>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum External {
    Nothing,
    Part(Part),
    Deep { tagged: Vec<Tagged>, adjacent: Option<Adjacent> },
}

fn uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid)
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Left), Just(Side::Right)]
}

fn pair() -> impl Strategy<Value = Pair> {
    any::<i8>().prop_map(|number| Pair(number, Unit))
}

fn float() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), Just(f64::NAN), Just(f64::INFINITY), Just(0.1), Just(3.0)]
}

fn plain() -> impl Strategy<Value = Plain> {
    let first = (
        any::<IpAddr>(),
        any::<Option<SocketAddr>>(),
        uuid(),
        any::<u128>(),
        any::<i128>(),
        float(),
        any::<f32>(),
        any::<char>(),
        vec(any::<u8>(), 0..4),
    );
    let second = (
        any::<Option<Option<u8>>>(),
        any::<Option<()>>(),
        proptest::option::of(Just(Unit)),
        btree_map(any::<u32>(), any::<IpAddr>(), 0..3),
        btree_map(any::<i64>(), side(), 0..3),
        btree_map(any::<bool>(), any::<char>(), 0..2),
        btree_map(any::<char>(), any::<u8>(), 0..2),
        btree_map(side(), pair(), 0..2),
        pair(),
    );
    (first, second).prop_map(|(first, second)| {
        let (ip, socket, id, wide, negative, number, small, char, bytes) = first;
        let (nested, nothing, unit, by_number, by_negative, by_flag, by_char, by_side, pair) =
            second;
        let bytes = Bytes(bytes);
        Plain {
            ip,
            socket,
            id,
            wide,
            negative,
            number,
            small,
            char,
            bytes,
            nested,
            nothing,
            unit,
            by_number,
            by_negative,
            by_flag,
            by_char,
            by_side,
            pair,
        }
    })
}

fn part() -> impl Strategy<Value = Part> {
    (
        any::<IpAddr>(),
        uuid(),
        any::<Option<i64>>(),
        float(),
        btree_map(any::<u32>(), any::<String>(), 0..3),
        btree_map(any::<bool>(), any::<u8>(), 0..2),
        side(),
        vec(any::<u8>(), 0..4).prop_map(Bytes),
        pair(),
    )
        .prop_map(|(ip, id, number, float, by_number, by_flag, side, bytes, pair)| Part {
            ip,
            id,
            number,
            float,
            by_number,
            by_flag,
            side,
            bytes,
            pair,
        })
}

fn tagged() -> impl Strategy<Value = Tagged> {
    prop_oneof![
        Just(Tagged::Nothing),
        part().prop_map(Tagged::Part),
        any::<(IpAddr, Option<u16>)>().prop_map(|(ip, port)| Tagged::At { ip, port }),
        Just(Tagged::Unit(Unit)),
        any::<u128>().prop_map(|wide| Tagged::Wide { wide }),
    ]
}

fn adjacent() -> impl Strategy<Value = Adjacent> {
    prop_oneof![
        Just(Adjacent::Nothing),
        part().prop_map(Adjacent::Part),
        any::<IpAddr>().prop_map(Adjacent::Ip),
        any::<i128>().prop_map(Adjacent::Wide),
        btree_map(any::<i16>(), uuid(), 0..3).prop_map(Adjacent::Keys),
        any::<(IpAddr, Option<u8>)>().prop_map(|(ip, byte)| Adjacent::Two(ip, byte)),
    ]
}

fn untagged() -> impl Strategy<Value = Untagged> {
    prop_oneof![
        any::<IpAddr>().prop_map(Untagged::Ip),
        part().prop_map(Untagged::Part),
        btree_map(any::<u8>(), side(), 0..3).prop_map(|keys| Untagged::Keys { keys }),
        any::<u128>().prop_map(|wide| Untagged::Wide { wide }),
    ]
}

fn external() -> impl Strategy<Value = External> {
    prop_oneof![
        Just(External::Nothing),
        part().prop_map(External::Part),
        (vec(tagged(), 0..3), proptest::option::of(adjacent()))
            .prop_map(|(tagged, adjacent)| External::Deep { tagged, adjacent }),
    ]
}

/// Returns true if `serde_json` reads a value back as it was.
fn is_kept_by_json<T: Serialize + DeserializeOwned + Debug>(value: &T) -> bool {
    let read = serde_json::to_string(value).and_then(|json| serde_json::from_str::<T>(&json));
    read.is_ok_and(|read| format!("{read:?}") == format!("{value:?}"))
}

/// Checks that a value is read back as it was, or refused. NaN is not equal to itself, so that the
/// texts are compared.
fn same<T: Debug>(
    way: &str,
    value: &T,
    written: Result<Vec<u8>>,
    read: impl FnOnce(&[u8]) -> Result<T>,
) -> Result<bool, TestCaseError> {
    let Ok(bytes) = written else { return Ok(false) };
    match read(&bytes) {
        Ok(read) => prop_assert_eq!(format!("{read:?}"), format!("{value:?}"), "{}", way),
        Err(error) => prop_assert!(false, "{}: {:?} was written: {}", way, value, error),
    }
    Ok(true)
}

fn every_way<T>(value: &T) -> Result<(), TestCaseError>
where
    T: Serialize + DeserializeOwned + Debug + 'static,
{
    let session = same("session", value, session::encode(value), session::decode)?;
    let posted = payload::posted("the event", value, Some(payload::can_read::<T>));
    let event = same("event", value, posted, payload::decode)?;
    let stored = payload::to_json("the value", value)
        .and_then(|json| payload::check_json::<T>("the value", &json).map(|()| json));
    let store = same("store", value, stored, payload::from_json)?;
    if is_kept_by_json(value) {
        prop_assert!(session && event && store, "refused, but JSON keeps it: {:?}", value);
    }
    Ok(())
}

/// Checks the ways of values whose reader is not known when they are written.
fn untyped_ways<T>(value: &T) -> Result<(), TestCaseError>
where
    T: Serialize + DeserializeOwned + Debug,
{
    same("timer", value, payload::encode("the payload", value), payload::decode)?;
    same("store", value, payload::to_json("the value", value), payload::from_json)?;
    Ok(())
}

macro_rules! kinds {
    ($($name:ident: $strategy:expr),* $(,)?) => {
        proptest! {
            $(#[test]
            fn $name(value in $strategy) {
                every_way(&value)?;
            })*
        }
    };
}

kinds! {
    plain_values: plain(),
    parts: part(),
    tagged_enums: tagged(),
    adjacently_tagged_enums: adjacent(),
    untagged_enums: untagged(),
    optional_flattened_parts: (any::<String>(), proptest::option::of(part()))
        .prop_map(|(name, part)| Flat { name, part }),
    flattened_wide_numbers: (any::<String>(), any::<Option<i128>>())
        .prop_map(|(name, wide)| FlatWide { name, wide: wide.map(|wide| Wide { wide }) }),
    flattened_maps: ("[a-z]{0,4}", btree_map(any::<u32>(), any::<IpAddr>(), 0..3))
        .prop_map(|(name, scores)| FlatKeys { name, scores }),
    enums_with_variants_as_keys: external(),
    lists_of_options: vec(any::<Option<Option<bool>>>(), 0..4),
    tuples: (any::<(u8, Option<i16>)>(), uuid()).prop_map(|(pair, id)| (pair, id, Tuple(), Unit)),
}

proptest! {
    #[test]
    fn timers_of_plain_values(value in plain()) {
        untyped_ways(&value)?;
    }

    #[test]
    fn timers_of_parts(value in part()) {
        untyped_ways(&value)?;
    }

    #[test]
    fn timers_of_tagged_parts(value in part()) {
        untyped_ways(&Tagged::Part(value.clone()))?;
        untyped_ways(&Adjacent::Part(value.clone()))?;
        untyped_ways(&Untagged::Part(value))?;
    }

    #[test]
    fn timers_of_flattened_wide_numbers(name: String, wide: Option<i128>) {
        untyped_ways(&FlatWide { name, wide: wide.map(|wide| Wide { wide }) })?;
    }

    #[test]
    fn a_session_of_an_earlier_sdk_is_read(value in plain()) {
        // It wrote the form for machines, and did not see what it lost.
        let value = Plain { socket: None, ..value };
        let bytes = rmp_serde::to_vec_named(&value).expect("it can be encoded");
        let lost = Plain {
            nested: value.nested.filter(Option::is_some),
            nothing: None,
            unit: value.unit.clone(),
            ..value.clone()
        };
        let read: Plain = session::decode(&bytes).expect("it can be decoded");
        prop_assert_eq!(format!("{read:?}"), format!("{lost:?}"));
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Lobby {
    Lobby,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Grown {
    Lobby,
    Game(u32),
}

#[test]
fn a_session_without_data_is_read_back_and_may_grow() {
    fn kept<T: Serialize + DeserializeOwned + Debug + PartialEq + 'static>(value: &T) -> Vec<u8> {
        let bytes = session::encode(value).expect("it can be encoded");
        assert_eq!(session::decode::<T>(&bytes).expect("it can be decoded"), *value);
        bytes
    }
    assert!(kept(&Unit).is_empty());
    assert_eq!(session::decode::<Grown>(&kept(&Lobby::Lobby)).expect("a name"), Grown::Lobby);
    kept(&Grown::Game(3));
    kept(&Tuple());
    kept(&());
    assert!(session::decode::<Unit>(&kept(&7_u8)).is_ok(), "a type without data reads nothing");
}

fn refused<T: Serialize + DeserializeOwned + Debug + 'static>(value: &T) -> String {
    session::encode(value).expect_err("it cannot be read back").to_string()
}

#[test]
fn what_would_not_be_read_back_is_refused_by_the_name_of_its_field() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Player {
        name: String,
        place: Tagged,
        choice: Option<Option<u8>>,
    }

    let name = || "Ann".to_owned();
    let wide = Tagged::Wide { wide: 7 };
    let error = refused(&Player { name: name(), place: wide, choice: None });
    assert!(error.contains("Player` would not be read back: its field `place.wide`"), "{error}");
    let error = refused(&FlatWide { name: name(), wide: Some(Wide { wide: 7 }) });
    assert!(error.contains("FlatWide` would not be read back: its field `wide`"), "{error}");
    let error = refused(&Player { name: name(), place: Tagged::Nothing, choice: Some(None) });
    assert!(error.contains("Player`, field `choice`: a `Some` without content"), "{error}");
}

#[test]
fn what_json_cannot_say_is_refused_by_the_name_of_its_field() {
    #[derive(Serialize)]
    struct Move {
        steps: Vec<(f64, f64)>,
    }

    let error = payload::encode("the payload", &Move { steps: vec![(0.0, 1.0), (f64::NAN, 0.0)] });
    let error = error.expect_err("it is no number").to_string();
    assert!(error.contains("Move`, field `steps.1.0` cannot be written as JSON"), "{error}");
    assert!(error.contains("NaN"), "{error}");
}

#[test]
fn a_payload_with_numbers_as_keys_is_read_as_json_too() {
    let written = BTreeMap::from([(1, "one".to_owned()), (2, "two".to_owned())]);
    let payload = payload::encode("the payload", &written).expect("it can be encoded");
    let value: serde_json::Value = payload::decode(&payload).expect("it is JSON as well");
    assert_eq!(value, serde_json::json!({ "1": "one", "2": "two" }));
    let json = payload::encode("the payload", &value).expect("it can be encoded");
    assert_eq!(json, br#"{"1":"one","2":"two"}"#);
    let read: BTreeMap<u32, String> = payload::decode(&json).expect("keys are numbers");
    assert_eq!(read, BTreeMap::from([(1, "one".to_owned()), (2, "two".to_owned())]));
}

/// Returns the error of a value that an earlier generation wrote, to be read as a `T`.
fn unfit<T: DeserializeOwned + 'static>(written: &serde_json::Value) -> String {
    let bytes = rmp_serde::to_vec_named(written).expect("it can be encoded");
    let error = session::decode::<T>(&bytes).map(drop).expect_err("it does not fit");
    session::explained::<T>("the session", &bytes, error, 2).to_string()
}

#[test]
fn a_field_that_an_earlier_generation_did_not_have_is_named_and_no_other() {
    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only its fields' names matter")]
    struct Counts {
        n: u32,
        name: String,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only its fields' names matter")]
    struct Party {
        scores: BTreeMap<String, u32>,
        players: Vec<Counts>,
        host: Counts,
        #[serde(flatten)]
        rest: BTreeMap<String, u32>,
    }

    let says = |error: &str, beginning: &str, end: &str| {
        assert!(error.starts_with(&format!("the session does not fit `{beginning} (")), "{error}");
        assert!(error.ends_with(&format!("): {end}")), "{error}");
    };
    let here = module_path!();
    let whole =
        format!("{here}::a_field_that_an_earlier_generation_did_not_have_is_named_and_no_other");
    let (counts, party) = (format!("{whole}::Counts`"), format!("{whole}::Party`"));
    let json = |text: &str| serde_json::from_str(text).expect("JSON");
    says(&unfit::<Counts>(&json(r#"{"n": 1}"#)), &counts, "missing field `name`");
    says(&unfit::<Counts>(&json(r#"{"name": "x"}"#)), &counts, "missing field `n`");
    let old = r#"{"scores": {"a": 1}, "players": [], "host": {"n": 1}, "more": 1}"#;
    says(&unfit::<Party>(&json(old)), &format!("{party}, field `host`"), "missing field `name`");
    let old = r#"{"scores": {}, "players": [{"n": 1, "name": "x"}, {"n": 1}],
        "host": {"n": 1, "name": "x"}}"#;
    let place = format!("{party}, field `players.1`");
    says(&unfit::<Party>(&json(old)), &place, "missing field `name`");
    let old = r#"{"scores": {}, "host": {"n": 1, "name": "x"}}"#;
    says(&unfit::<Party>(&json(old)), &party, "missing field `players`");
    // A field of another type is still the one to name.
    let error = unfit::<Counts>(&json(r#"{"n": "one", "name": "x"}"#));
    assert!(error.contains("Counts`, field `n` ("), "{error}");
}
