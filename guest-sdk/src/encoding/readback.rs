//! The proof that what was written is read back as it was.

use std::any::{TypeId, type_name};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Context, Error, Result};

use super::session::{decode, encoded};
use super::strict::Rules;
use super::tree::{blamed, lacking, parse, shape};

/// True where every write is read back: in tests and in debug builds. Otherwise that is done for
/// each new shape of a value only.
const EVERY_TIME: bool = cfg!(debug_assertions) || !cfg!(target_family = "wasm");

/// Largest number of shapes that are known to be read back.
const MOST_SHAPES: usize = 64;

/// Shapes that have been read back. Those of another instance are looked at again.
static SHAPES: Mutex<Vec<u64>> = Mutex::new(Vec::new());

/// Checks that bytes are read back as the value that they were written from. `what` names it in
/// the error.
pub(super) fn check<C>(what: &str, bytes: &[u8]) -> Result
where
    C: Serialize + DeserializeOwned + 'static,
{
    if EVERY_TIME {
        return compare::<C>(what, bytes);
    }
    let Some(shape) = shape(bytes).map(|shape| shape ^ of_type::<C>()) else {
        return compare::<C>(what, bytes);
    };
    if SHAPES.lock().unwrap_or_else(PoisonError::into_inner).contains(&shape) {
        return Ok(());
    }
    compare::<C>(what, bytes)?;
    let mut shapes = SHAPES.lock().unwrap_or_else(PoisonError::into_inner);
    if shapes.len() == MOST_SHAPES {
        shapes.remove(0);
    }
    shapes.push(shape);
    Ok(())
}

/// Returns a number for a type.
fn of_type<C: 'static>() -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    TypeId::of::<C>().hash(&mut hasher);
    hasher.finish()
}

fn compare<C: Serialize + DeserializeOwned>(what: &str, bytes: &[u8]) -> Result {
    let read = decode::<C>(bytes)
        .map_err(|error| refused::<C>(what, &place_of_error::<C>(bytes), &error.to_string()))?;
    // The second writing only shows what was lost, so that its own rules do not matter.
    let again = encoded(&read, &Rules::default()).with_context(|| {
        format!("{what} `{}` cannot be written a second time", type_name::<C>())
    })?;
    let lost = parse(bytes).zip(parse(&again)).and_then(|(one, other)| one.first_loss(&other));
    match lost {
        None => Ok(()),
        Some(place) => {
            let why = "it is not what was written (serde does not say why)";
            Err(refused::<C>(what, &place.join("."), why))
        }
    }
}

/// Returns the place for which bytes cannot be read as a `C`: names of fields with dots between
/// them; empty for the value as a whole.
pub(super) fn place_of_error<C: DeserializeOwned>(bytes: &[u8]) -> String {
    let read = |bytes: &[u8]| decode::<C>(bytes).err().map(|error| error.to_string());
    let missing = read(bytes).and_then(|error| {
        let (_, name) = error.split_once("missing field `")?;
        Some(name.split_once('`')?.0.to_owned())
    });
    let place = match missing {
        // Of the fields that are there none is to blame.
        Some(name) => lacking(bytes, &name, &read).unwrap_or_default(),
        None => blamed(bytes, &read),
    };
    place.join(".")
}

/// Returns the error of a value that would not be read back.
fn refused<C>(what: &str, place: &str, why: &str) -> Error {
    let field = match place {
        "" => String::new(),
        place => format!(": its field `{place}`"),
    };
    Error::msg(format_args!(
        "{what} `{}` would not be read back{field}: {why}. A type must read what it writes; in a \
         tagged, untagged or flattened type serde reads no 128-bit numbers and no raw JSON",
        type_name::<C>()
    ))
}
