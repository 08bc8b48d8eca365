//! A serializer around another one, which refuses what could not be read back and knows the field.

use std::cell::{Cell, RefCell};

use serde::ser::{
    self, Error, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::kind::{Kind, kind_of};

/// The rules of one value that is written.
#[derive(Default)]
pub(super) struct Rules {
    /// Refuses what JSON has no words for: of numbers that are not finite it makes `null`.
    is_json: bool,
    /// Refuses `Some(None)`, `Some(())` and the like, which are read back as `None`.
    only_real_some: bool,
    /// True once a map had a key that is neither text nor a variant without data. Where serde keeps
    /// a value before it knows its type (tagged, untagged and flattened types), it takes such a key
    /// from JSON as text, and the type then refuses it.
    has_other_keys: Cell<bool>,
    /// Number of values around this one that have flattened fields.
    flattened: Cell<u32>,
    /// Names of the fields around an error, innermost first.
    path: RefCell<Vec<String>>,
}

impl Rules {
    /// Makes those of a session or a state, which are read back when they are written.
    pub(super) fn of_session() -> Self {
        Self { only_real_some: true, ..Self::default() }
    }

    /// Makes those of JSON, whose reader need not be known when it is written.
    pub(super) fn of_json() -> Self {
        Self { is_json: true, only_real_some: true, ..Self::default() }
    }

    /// Returns true if a map had a key that is neither text nor a variant without data.
    pub(super) fn saw_other_keys(&self) -> bool {
        self.has_other_keys.get()
    }

    /// Returns the place of the error, such as `player.position.x`; `None` for the value itself.
    pub(super) fn place(&self) -> Option<String> {
        let path = self.path.borrow();
        (!path.is_empty()).then(|| path.iter().rev().cloned().collect::<Vec<_>>().join("."))
    }

    fn within<R, E>(&self, name: impl FnOnce() -> String, result: Result<R, E>) -> Result<R, E> {
        if result.is_err() {
            self.path.borrow_mut().push(name());
        }
        result
    }

    fn see_key<T: Serialize + ?Sized>(&self, key: &T) {
        if self.is_json && !self.has_other_keys.get() {
            self.has_other_keys.set(!matches!(kind_of(key), Kind::Text(_)));
        }
    }
}

/// Returns the name of an entry by its key.
fn key_name<T: Serialize + ?Sized>(key: &T) -> String {
    match kind_of(key) {
        Kind::Text(name) | Kind::Scalar(name) => name,
        Kind::Nothing | Kind::Other => "…".to_owned(),
    }
}

/// A value that is written by the rules.
pub(super) struct Checked<'r, 'v, T: ?Sized>(pub(super) &'v T, pub(super) &'r Rules);

impl<T: Serialize + ?Sized> Serialize for Checked<'_, '_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(Strict { inner: serializer, rules: self.1 })
    }
}

struct Strict<'r, S> {
    inner: S,
    rules: &'r Rules,
}

impl<'r, S> Strict<'r, S> {
    fn parts<C, E>(self, open: impl FnOnce(S) -> Result<C, E>) -> Result<Parts<'r, C>, E> {
        Ok(Parts { rules: self.rules, at: 0, is_flat: false, inner: open(self.inner)? })
    }

    /// Checks a number of 128 bits. Beside flattened fields serde cannot read it, and takes an
    /// optional part with one for absent.
    fn check_wide<E: ser::Error>(&self) -> Result<(), E> {
        match self.rules.is_json && self.rules.flattened.get() > 0 {
            true => Err(E::custom("beside flattened fields serde reads no 128-bit number")),
            false => Ok(()),
        }
    }

    fn check_finite<E: ser::Error>(&self, is_finite: bool) -> Result<(), E> {
        match self.rules.is_json && !is_finite {
            true => Err(E::custom("JSON has no number for NaN and infinity")),
            false => Ok(()),
        }
    }
}

/// A composed value that is being written.
struct Parts<'r, C> {
    inner: C,
    rules: &'r Rules,
    at: usize,
    /// True for a map of unknown length, as structs with flattened fields are written.
    is_flat: bool,
}

impl<C> Parts<'_, C> {
    /// Returns the name of the next element.
    fn next(&mut self) -> impl FnOnce() -> String + use<C> {
        let at = self.at;
        self.at += 1;
        move || at.to_string()
    }

    /// Writes a value of a map.
    fn flattened<E>(&mut self, write: impl FnOnce(&mut Self) -> Result<(), E>) -> Result<(), E> {
        let around = self.rules.flattened.get();
        self.rules.flattened.set(around + u32::from(self.is_flat));
        let written = write(self);
        self.rules.flattened.set(around);
        written
    }
}

macro_rules! plain {
    ($($method:ident: $type:ty),* $(,)?) => {
        $(fn $method(self, value: $type) -> Result<S::Ok, S::Error> {
            self.inner.$method(value)
        })*
    };
}

impl<'r, S: Serializer> Serializer for Strict<'r, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Parts<'r, S::SerializeSeq>;
    type SerializeTuple = Parts<'r, S::SerializeTuple>;
    type SerializeTupleStruct = Parts<'r, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Parts<'r, S::SerializeTupleVariant>;
    type SerializeMap = Parts<'r, S::SerializeMap>;
    type SerializeStruct = Parts<'r, S::SerializeStruct>;
    type SerializeStructVariant = Parts<'r, S::SerializeStructVariant>;

    plain! {
        serialize_bool: bool,
        serialize_i8: i8,
        serialize_i16: i16,
        serialize_i32: i32,
        serialize_i64: i64,
        serialize_u8: u8,
        serialize_u16: u16,
        serialize_u32: u32,
        serialize_u64: u64,
        serialize_char: char,
        serialize_str: &str,
        serialize_bytes: &[u8],
    }

    fn serialize_i128(self, value: i128) -> Result<S::Ok, S::Error> {
        self.check_wide()?;
        self.inner.serialize_i128(value)
    }

    fn serialize_u128(self, value: u128) -> Result<S::Ok, S::Error> {
        self.check_wide()?;
        self.inner.serialize_u128(value)
    }

    fn serialize_f32(self, value: f32) -> Result<S::Ok, S::Error> {
        self.check_finite(value.is_finite())?;
        self.inner.serialize_f32(value)
    }

    fn serialize_f64(self, value: f64) -> Result<S::Ok, S::Error> {
        self.check_finite(value.is_finite())?;
        self.inner.serialize_f64(value)
    }

    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.inner.serialize_none()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        if self.rules.only_real_some && kind_of(value) == Kind::Nothing {
            return Err(S::Error::custom("a `Some` without content would be read back as `None`"));
        }
        self.inner.serialize_some(&Checked(value, self.rules))
    }

    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit()
    }

    /// Writes it as `()`, and not as MessagePack's empty list, which serde does not read from a
    /// buffer.
    fn serialize_unit_struct(self, _: &'static str) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit_variant(name, index, variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.inner.serialize_newtype_struct(name, &Checked(value, self.rules))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let value = Checked(value, self.rules);
        let written = self.inner.serialize_newtype_variant(name, index, variant, &value);
        self.rules.within(|| variant.to_owned(), written)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        self.parts(|inner| inner.serialize_seq(len))
    }

    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, S::Error> {
        self.parts(|inner| inner.serialize_tuple(len))
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        self.parts(|inner| inner.serialize_tuple_struct(name, len))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        self.parts(|inner| inner.serialize_tuple_variant(name, index, variant, len))
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        let parts = self.parts(|inner| inner.serialize_map(len))?;
        Ok(Parts { is_flat: len.is_none(), ..parts })
    }

    fn serialize_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStruct, S::Error> {
        self.parts(|inner| inner.serialize_struct(name, len))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        self.parts(|inner| inner.serialize_struct_variant(name, index, variant, len))
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! elements {
    ($($kind:ident: $method:ident),* $(,)?) => {
        $(impl<C: $kind> $kind for Parts<'_, C> {
            type Ok = C::Ok;
            type Error = C::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
                let name = self.next();
                let written = self.inner.$method(&Checked(value, self.rules));
                self.rules.within(name, written)
            }

            fn end(self) -> Result<C::Ok, C::Error> {
                self.inner.end()
            }
        })*
    };
}

elements! {
    SerializeSeq: serialize_element,
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field,
}

macro_rules! fields {
    ($($kind:ident),*) => {
        $(impl<C: $kind> $kind for Parts<'_, C> {
            type Ok = C::Ok;
            type Error = C::Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), C::Error> {
                let written = self.inner.serialize_field(name, &Checked(value, self.rules));
                self.rules.within(|| name.to_owned(), written)
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), C::Error> {
                self.inner.skip_field(name)
            }

            fn end(self) -> Result<C::Ok, C::Error> {
                self.inner.end()
            }
        })*
    };
}

fields!(SerializeStruct, SerializeStructVariant);

impl<C: SerializeMap> SerializeMap for Parts<'_, C> {
    type Ok = C::Ok;
    type Error = C::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), C::Error> {
        self.rules.see_key(key);
        self.rules.within(|| key_name(key), self.inner.serialize_key(key))
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        self.flattened(|parts| parts.inner.serialize_value(&Checked(value, parts.rules)))
    }

    fn serialize_entry<K: Serialize + ?Sized, V: Serialize + ?Sized>(
        &mut self,
        key: &K,
        value: &V,
    ) -> Result<(), C::Error> {
        self.rules.see_key(key);
        let entry =
            |parts: &mut Self| parts.inner.serialize_entry(key, &Checked(value, parts.rules));
        let written = self.flattened(entry);
        self.rules.within(|| key_name(key), written)
    }

    fn end(self) -> Result<C::Ok, C::Error> {
        self.inner.end()
    }
}
