//! One setting as data, and the macro that makes settings from a list of fields.

use figment::value::Value;

use super::{Config, SETTINGS};

/// One setting: the facts about a field of [`Config`] that flags, help, tables and checks need.
pub struct Setting {
    /// The key in the file, with its unit as suffix. The flag and the environment variable
    /// follow from it: see [`Setting::flag`] and [`Setting::variable`].
    pub key: &'static str,
    /// The heading under which help and tables show it.
    pub group: &'static str,
    pub(super) doc_lines: &'static [&'static str],
    pub(super) metavar: fn() -> &'static str,
    pub(super) allowed: fn() -> String,
    pub(super) default: fn() -> String,
    pub(super) is_list: fn() -> bool,
    pub(super) show: fn(&Config) -> toml::Value,
    pub(super) set: fn(&mut Config, &Value) -> bool,
}

impl Setting {
    /// Returns the setting with this key, if there is one.
    pub fn find(key: &str) -> Option<&'static Setting> {
        SETTINGS.iter().find(|setting| setting.key == key)
    }

    /// Returns the flag without its dashes: `max-message-bytes`.
    pub fn flag(&self) -> String {
        self.key.replace('_', "-")
    }

    /// Returns the environment variable: `WHARF_MAX_MESSAGE_BYTES`.
    pub fn variable(&self) -> String {
        format!("WHARF_{}", self.key.to_uppercase())
    }

    /// Returns the documentation: what the setting does and what happens at the limit, in sentences
    /// on one line.
    pub fn doc(&self) -> String {
        let lines: Vec<_> = self.doc_lines.iter().map(|line| line.trim()).collect();
        lines.join(" ")
    }

    /// Returns the placeholder for the value in help, such as `BYTES`.
    pub fn metavar(&self) -> &'static str {
        (self.metavar)()
    }

    /// Returns the allowed values, in words, with the unit.
    pub fn allowed(&self) -> String {
        (self.allowed)()
    }

    /// Returns the default value, in words if it depends on the environment.
    pub fn default(&self) -> String {
        (self.default)()
    }

    /// Returns its value in `config`, as it is written in the file.
    pub fn show(&self, config: &Config) -> String {
        (self.show)(config).to_string()
    }

    /// Returns true if it is on or off, so that the flag needs no value to switch it on.
    pub fn is_switch(&self) -> bool {
        (self.show)(&Config::default()).is_bool()
    }

    /// Returns true if it may be given several times.
    pub fn is_list(&self) -> bool {
        (self.is_list)()
    }
}

/// Makes `Config`, its default and [`SETTINGS`] from a list of `field => "key": Type = default,
/// Kind;` in groups. The key is the field's name unless it is given: durations have one, since
/// their unit is part of the key and not of the field.
macro_rules! settings {
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
    ($($group:literal {
        $(
            $(#[doc = $doc:literal])+
            $field:ident $(=> $key:literal)?: $type:ty = $default:expr, $kind:expr;
        )+
    })+) => {
        /// The whole configuration of the operator. Each value is within its range, and values that
        /// depend on each other fit.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config {
            $($(
                $(#[doc = $doc])+
                #[doc = ""]
                #[doc = concat!(
                    "Key `", settings!(@key $field $($key)?), "`, default `", stringify!($default),
                    "`, checked as `", stringify!($kind), "`.",
                )]
                pub $field: $type,
            )+)+
            /// Tables of single channels, by name: `[channels.NAME]`. [`Config::channel`] looks one
            /// up.
            pub channels: BTreeMap<String, Arc<ChannelConfig>>,
            /// Tokens that clients of all channels must bring, unless a channel's table says
            /// otherwise: the table `[token]`.
            pub token: Option<Arc<TokenConfig>>,
        }

        impl Default for Config {
            fn default() -> Config {
                Config { $($($field: $default,)+)+ channels: BTreeMap::new(), token: None }
            }
        }

        /// All settings, in the order of the fields of [`Config`].
        pub static SETTINGS: &[Setting] = {
            use kind::Kind;
            &[$($(
                Setting {
                    key: settings!(@key $field $($key)?),
                    group: $group,
                    metavar: || $kind.metavar(),
                    doc_lines: &[$($doc),+],
                    allowed: || $kind.allowed(),
                    is_list: || $kind.is_list(),
                    default: || $kind.show_default(&Config::default().$field),
                    show: |config| $kind.show(&config.$field),
                    set: |config, given| match $kind.read(given) {
                        Some(value) => {
                            config.$field = value;
                            true
                        }
                        None => false,
                    },
                },
            )+)+]
        };
    };
}
pub(super) use settings;
