//! The kind of a value, asked of its own `Serialize`.

use std::fmt;

use serde::ser::{self, Impossible, Serialize, Serializer};

/// The kind of a value, as far as a reader may confuse it with another one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `None`, `()` or a value that is written like them.
    Nothing,
    /// A text, or a variant without data.
    Text(String),
    /// A number or a truth value: as the key of a map, JSON makes it a text.
    Scalar(String),
    /// Anything else.
    Other,
}

/// Returns the kind of a value. The parts of a composed value are not looked at.
pub(super) fn kind_of<T: Serialize + ?Sized>(value: &T) -> Kind {
    value.serialize(Probe).unwrap_or(Kind::Other)
}

/// A serializer that ends at the first sign of a composed value.
struct Probe;

/// The sign.
#[derive(Debug)]
struct Composed;

impl fmt::Display for Composed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a composed value")
    }
}

impl std::error::Error for Composed {}

impl ser::Error for Composed {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

type Composite = Impossible<Kind, Composed>;

macro_rules! scalars {
    ($($method:ident: $type:ty),* $(,)?) => {
        $(fn $method(self, value: $type) -> Result<Kind, Composed> {
            Ok(Kind::Scalar(value.to_string()))
        })*
    };
}

impl Serializer for Probe {
    type Ok = Kind;
    type Error = Composed;
    type SerializeSeq = Composite;
    type SerializeTuple = Composite;
    type SerializeTupleStruct = Composite;
    type SerializeTupleVariant = Composite;
    type SerializeMap = Composite;
    type SerializeStruct = Composite;
    type SerializeStructVariant = Composite;

    scalars! {
        serialize_bool: bool,
        serialize_i8: i8,
        serialize_i16: i16,
        serialize_i32: i32,
        serialize_i64: i64,
        serialize_i128: i128,
        serialize_u8: u8,
        serialize_u16: u16,
        serialize_u32: u32,
        serialize_u64: u64,
        serialize_u128: u128,
        serialize_f32: f32,
        serialize_f64: f64,
    }

    fn serialize_char(self, value: char) -> Result<Kind, Composed> {
        Ok(Kind::Text(value.to_string()))
    }

    fn serialize_str(self, value: &str) -> Result<Kind, Composed> {
        Ok(Kind::Text(value.to_owned()))
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<Kind, Composed> {
        Err(Composed)
    }

    fn serialize_none(self) -> Result<Kind, Composed> {
        Ok(Kind::Nothing)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Kind, Composed> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Kind, Composed> {
        Ok(Kind::Nothing)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Kind, Composed> {
        Ok(Kind::Nothing)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<Kind, Composed> {
        Ok(Kind::Text(variant.to_owned()))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Kind, Composed> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Kind, Composed> {
        Err(Composed)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Composite, Composed> {
        Err(Composed)
    }

    fn serialize_tuple(self, _: usize) -> Result<Composite, Composed> {
        Err(Composed)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Composite, Composed> {
        Err(Composed)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Composite, Composed> {
        Err(Composed)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Composite, Composed> {
        Err(Composed)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Composite, Composed> {
        Err(Composed)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Composite, Composed> {
        Err(Composed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Serialize)]
    struct Unit;

    #[derive(serde::Serialize)]
    struct Id(u32);

    #[derive(serde::Serialize)]
    enum Side {
        Left,
        Right(u8),
    }

    #[test]
    fn a_kind_is_that_of_what_is_written() {
        assert_eq!(kind_of(&None::<u8>), Kind::Nothing);
        assert_eq!(kind_of(&Some(Some(()))), Kind::Nothing);
        assert_eq!(kind_of(&Unit), Kind::Nothing);
        assert_eq!(kind_of(&Some(Id(7))), Kind::Scalar("7".to_owned()));
        assert_eq!(kind_of(&Side::Left), Kind::Text("Left".to_owned()));
        assert_eq!(kind_of("x"), Kind::Text("x".to_owned()));
        assert_eq!(kind_of(&Side::Right(1)), Kind::Other);
        assert_eq!(kind_of(&[1, 2]), Kind::Other);
    }
}
