//! Settings from all sources, each with its place, for `serde` to read.

use std::collections::{BTreeMap, btree_map};

use serde::{
    Deserializer,
    de::{DeserializeSeed, IntoDeserializer, MapAccess, Visitor},
    forward_to_deserialize_any,
};
use toml::de::ValueDeserializer;

use super::{fault::Fault, text::Text};

/// A table of settings, and of tables of settings.
#[derive(Default)]
pub(super) struct Table<'i>(BTreeMap<String, Entry<'i>>);

pub(super) struct Entry<'i> {
    /// The file and line, or the variable.
    pub(super) place: String,
    pub(super) node: Node<'i>,
}

pub(super) enum Node<'i> {
    Table(Table<'i>),
    Toml(ValueDeserializer<'i>),
    Text(Text),
}

/// The place of each setting, by its names joined with dots.
pub(super) struct Places(BTreeMap<String, String>);

impl<'i> Table<'i> {
    pub(super) fn set(&mut self, name: String, entry: Entry<'i>) {
        self.0.insert(name, entry);
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Entry<'i>> {
        self.0.remove(name)
    }

    /// Returns the table inside this one, made anew at `place` where there is none.
    pub(super) fn at(&mut self, names: &[&str], place: &str) -> &mut Self {
        let Some((name, rest)) = names.split_first() else {
            return self;
        };
        let entry = self.0.entry((*name).to_owned()).or_insert_with(|| Entry {
            place: place.to_owned(),
            node: Node::Table(Self::default()),
        });
        if !matches!(entry.node, Node::Table(_)) {
            entry.node = Node::Table(Self::default());
        }
        match &mut entry.node {
            Node::Table(table) => table.at(rest, place),
            Node::Toml(_) | Node::Text(_) => unreachable!("it was made a table"),
        }
    }

    pub(super) fn places(&self) -> Places {
        let mut places = Places(BTreeMap::new());
        self.note_places("", &mut places);
        places
    }

    fn note_places(&self, outer: &str, places: &mut Places) {
        for (name, entry) in &self.0 {
            let setting = format!("{outer}{name}");
            if let Node::Table(table) = &entry.node {
                table.note_places(&format!("{setting}."), places);
            }
            places.0.insert(setting, entry.place.clone());
        }
    }
}

impl Places {
    /// Finds the place of a setting by the name of its setter. A list is in the plural.
    pub(super) fn of(&self, setting: &str) -> Option<&str> {
        let place = self.0.get(setting);
        let place = place.or_else(|| self.0.get(&format!("{setting}s")));
        place.map(String::as_str)
    }
}

impl<'de> Deserializer<'de> for Table<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_map(Entries {
            rest: self.0.into_iter(),
            next: None,
        })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// Passes each call on to what is inside.
macro_rules! to_the_inside {
    ($($call:ident($($argument:ident: $type:ty),*)),* $(,)?) => {
        $(
            fn $call<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, Fault> {
                match self {
                    Self::Table(table) => table.$call($($argument,)* visitor),
                    Self::Toml(value) => value.$call($($argument,)* visitor).map_err(|error| of_toml(&error)),
                    Self::Text(text) => text.$call($($argument,)* visitor),
                }
            }
        )*
    };
}

impl<'de> Deserializer<'de> for Node<'de> {
    type Error = Fault;

    to_the_inside! {
        deserialize_any(), deserialize_bool(), deserialize_u16(), deserialize_u32(),
        deserialize_u64(), deserialize_option(), deserialize_seq(),
        deserialize_newtype_struct(name: &'static str),
        deserialize_struct(name: &'static str, fields: &'static [&'static str]),
        deserialize_enum(name: &'static str, variants: &'static [&'static str]),
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple
        tuple_struct map identifier ignored_any
    }
}

/// Returns an error without the lines of the text around it: they may be those of a secret.
fn of_toml(error: &toml::de::Error) -> Fault {
    serde::de::Error::custom(error.message())
}

/// The entries of a table, of which `next` has given its name.
struct Entries<'i> {
    rest: btree_map::IntoIter<String, Entry<'i>>,
    next: Option<(String, Entry<'i>)>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let Some((name, entry)) = self.rest.next() else {
            return Ok(None);
        };
        let key = seed
            .deserialize(name.as_str().into_deserializer())
            .map_err(|fault: Fault| fault.at(&entry.place))?;
        self.next = Some((name, entry));
        Ok(Some(key))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let (name, entry) = self.next.take().expect("its name was asked for");
        seed.deserialize(entry.node)
            .map_err(|fault| fault.inside(&name).at(&entry.place))
    }
}
