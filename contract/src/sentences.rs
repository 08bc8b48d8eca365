//! The macro behind enums whose variants are sentences.

/// Makes an enum of reasons. Each has a sentence that may show its fields, and constants.
///
/// `SENTENCES` lists the sentences as they are written, `{…}` included, so that documents can be
/// compared with them.
macro_rules! sentences {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $(
                $(#[$doc:meta])+
                $variant:ident $({ $($field:ident: $type:ty),+ $(,)? })? = $sentence:literal;
            )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $name {
            $(
                $(#[$doc])+
                $variant $({ $(
                    #[doc = concat!("The `{", stringify!($field), "}` of the sentence.")]
                    $field: $type,
                )+})?,
            )+
        }

        impl $name {
            /// All sentences, with `{…}` in the place of their fields.
            pub const SENTENCES: &[&str] = &[$($sentence),+];
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    $($name::$variant $({ $($field),+ })? => write!(f, $sentence),)+
                }
            }
        }

        impl std::error::Error for $name {}
    };
}
pub(crate) use sentences;
