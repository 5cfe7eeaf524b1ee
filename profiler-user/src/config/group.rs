//! Declares tables of keys: `settings!` makes of one declaration the struct, its table of keys and its reading.
//!
//! ```text
//!   settings! { /// About.                       ──▶ pub struct Sampling { pub rate: Hertz, … }
//!       pub struct Sampling {                    ──▶ Sampling::KEYS: path, default, bounds, description, …
//!           /// Description: help and docs.      ──▶ read: from options, variables, file, default
//!           rate: Hertz = Key::new(…)…;          ──▶ show: as TOML    changed, with_reloaded: for a reload
//!       } }
//! ```

use super::key::Key;
use super::reader::Reader;

/// Values of a table's keys as TOML, in the order of their declaration; `None` if not set.
pub(super) type Shown = Vec<(&'static Key, Option<toml::Value>)>;

/// A table of keys.
pub(super) trait Group: Sized + Clone + PartialEq + 'static {
    /// What the table is for, in lines.
    const ABOUT: &'static [&'static str];
    /// Its keys, in the order of their declaration.
    const KEYS: &'static [Key];

    /// Every key from the layer that has it. What is wrong is reported, and all keys are read.
    fn read(reader: &mut Reader<'_>) -> Option<Self>;

    /// Values as TOML, secrets masked.
    fn show(&self) -> Shown;

    /// The tables of a key that is a list of them.
    fn elements(&self, key: &Key) -> Vec<Shown>;

    /// The keys whose values differ.
    fn changed(&self, other: &Self) -> Vec<&'static Key>;

    /// These values, with those of the other that a reload can change.
    fn with_reloaded(&self, other: &Self) -> Self;
}

/// See the head of the file.
macro_rules! settings {
    (
        $(#[doc = $about:literal])+
        pub struct $name:ident {
            $( $(#[doc = $doc:literal])+ $field:ident: $type:ty = $key:expr; )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $field: $type, )+
        }

        impl $crate::config::group::Group for $name {
            const ABOUT: &'static [&'static str] = &[$($about),+];
            const KEYS: &'static [Key] = &[$( $key.described($crate::config::value::Kind::of::<$type>(), &[$($doc),+]) ),+];

            fn read(reader: &mut $crate::config::reader::Reader<'_>) -> Option<Self> {
                let mut keys = Self::KEYS.iter();
                // All are read before the first that is wrong ends it.
                $( let $field = keys.next().and_then(|key| <$type as $crate::config::value::Value>::read(reader, key)); )+
                Some(Self { $( $field: $field? ),+ })
            }

            fn show(&self) -> $crate::config::group::Shown {
                let values = [$( $crate::config::value::Value::to_toml(&self.$field) ),+];
                Self::KEYS.iter().zip(values).collect()
            }

            fn elements(&self, key: &Key) -> Vec<$crate::config::group::Shown> {
                let mut keys = Self::KEYS.iter();
                $(
                    if keys.next().is_some_and(|own| own.path == key.path) {
                        return $crate::config::value::Value::elements(&self.$field);
                    }
                )+
                Vec::new()
            }

            fn changed(&self, other: &Self) -> Vec<&'static Key> {
                let differs = [$( self.$field != other.$field ),+];
                Self::KEYS.iter().zip(differs).filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
            }

            fn with_reloaded(&self, other: &Self) -> Self {
                let mut keys = Self::KEYS.iter();
                let mut from = || match keys.next().map(|key| key.change) {
                    Some($crate::config::key::Change::Reload) => other,
                    _ => self,
                };
                Self { $( $field: from().$field.clone() ),+ }
            }
        }
    };
}

pub(super) use settings;
