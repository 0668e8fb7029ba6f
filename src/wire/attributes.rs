//! The bytes of attributes and counters.

use std::sync::Arc;

use super::{
    bytes::{Reader, UNKNOWN, Writer},
    error::Malformed,
    tags::{Author, TagContext, WireTag, read_wire_tag, write_stamp},
};
use crate::session::{Content, Count, Counter, MAX_NAME_LENGTH, Register, Tag, counts_are_sorted};

pub(super) fn write_registers(
    registers: &[(Arc<str>, Register)],
    context: &TagContext<'_>,
    to: &mut Writer<'_>,
) {
    to.count(registers.len());
    for (name, register) in registers {
        to.text(name);
        context.write_tag(register.tag, to);
        match &register.content {
            Content::Json(bytes) => {
                to.byte(JSON);
                to.bytes(bytes);
            }
            Content::Counter(counter) => {
                to.byte(COUNTER);
                to.i64(counter.base);
                write_counts(&counter.counts, context, to);
            }
            Content::Removed => to.byte(REMOVED),
        }
    }
}

/// The attributes that may be tagged by a write outside the item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Foreign {
    No,
    Counters,
}

pub(super) fn read_registers(
    from: &mut Reader<'_>,
    context: &TagContext<'_>,
    max_names: usize,
    foreign: Foreign,
    mut named: impl FnMut(&str) -> Arc<str>,
) -> Result<Vec<(Arc<str>, Register)>, Malformed> {
    let mut registers = Vec::with_capacity(from.clone().count(REGISTER)?.min(max_names));
    each_register(from, context, max_names, foreign, |name, tag, value| {
        let content = match value {
            Value::Json(bytes) => Content::Json(bytes.into()),
            Value::Counter(counter) => Content::Counter(counter),
            Value::Removed => Content::Removed,
        };
        registers.push((named(name), Register { tag, content }));
    })?;
    Ok(registers)
}

/// The last names of one reader, which it shares. Sessions of an app have the same ones, and most
/// arrive with writes of an attribute that the session here has already.
#[derive(Debug, Default)]
pub(super) struct Names {
    last: Vec<Arc<str>>,
    oldest: usize,
}

impl Names {
    pub(super) fn shared(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.last.iter().find(|known| ***known == *name) {
            return Arc::clone(known);
        }
        let new = Arc::<str>::from(name);
        if self.last.len() < FEW {
            self.last.push(Arc::clone(&new));
        } else {
            self.last[self.oldest] = Arc::clone(&new);
            self.oldest = (self.oldest + 1) % FEW;
        }
        new
    }
}

/// The value of an attribute, as far as it can be had without keeping anything.
pub(super) enum Value<'a> {
    Json(&'a [u8]),
    Counter(Counter),
    Removed,
}

impl Value<'_> {
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Json(bytes) => bytes.len(),
            Self::Counter(_) | Self::Removed => size_of_val(self.counts()),
        }
    }

    pub(super) fn counts(&self) -> &[Count] {
        match self {
            Self::Counter(counter) => &counter.counts,
            Self::Json(_) | Self::Removed => &[],
        }
    }
}

/// Calls `each` with name, tag and value of every attribute.
pub(super) fn each_register<'a>(
    from: &mut Reader<'a>,
    context: &TagContext<'_>,
    max_names: usize,
    foreign: Foreign,
    mut each: impl FnMut(&'a str, Tag, Value<'a>),
) -> Result<(), Malformed> {
    let count = from.count(REGISTER)?;
    if count > max_names {
        return Err(Malformed("too many attributes"));
    }
    let mut before = "";
    for _ in 0..count {
        let name = from.text()?;
        if name.is_empty() || name.len() > MAX_NAME_LENGTH {
            return Err(Malformed("attribute name of a wrong length"));
        }
        if name <= before {
            return Err(Malformed("attributes out of order"));
        }
        before = name;
        let (tag, value) = read_register(from, context, foreign)?;
        each(name, tag, value);
    }
    Ok(())
}

fn read_register<'a>(
    from: &mut Reader<'a>,
    context: &TagContext<'_>,
    foreign: Foreign,
) -> Result<(Tag, Value<'a>), Malformed> {
    let tag = read_wire_tag(from)?;
    match from.byte()? {
        JSON => {
            let value = Value::Json(from.bytes()?);
            Ok((context.tag(&tag)?, value))
        }
        REMOVED => Ok((context.tag(&tag)?, Value::Removed)),
        COUNTER => {
            let base = from.i64()?;
            if foreign == Foreign::Counters && base != 0 {
                return Err(Malformed("a delta with the base of a counter"));
            }
            let counts = read_counts(from, context)?;
            let counter = Counter { base, counts };
            Ok((reset_tag(&tag, context, foreign)?, Value::Counter(counter)))
        }
        _ => Err(UNKNOWN),
    }
}

/// Returns the tag of the reset that a counter's increments follow.
fn reset_tag(tag: &WireTag, context: &TagContext<'_>, foreign: Foreign) -> Result<Tag, Malformed> {
    match tag {
        WireTag::Bottom => Ok(Tag::BOTTOM),
        WireTag::Other(tag) if foreign == Foreign::Counters => {
            let is_ours = context.origins.iter().any(|entry| entry.0 == tag.origin);
            if is_ours && tag.stamp > context.since {
                return Err(Malformed("a reset that the delta does not cover"));
            }
            Ok(*tag)
        }
        tag => context.tag(tag),
    }
}

/// Appends the counts. Honest vectors number every origin that has counted; another is not sent.
fn write_counts(counts: &[Count], context: &TagContext<'_>, to: &mut Writer<'_>) {
    let numbered = |count: &Count| Some((context.number(count.origin)?, *count));
    to.count(counts.iter().filter_map(numbered).count());
    for (by, count) in counts.iter().filter_map(numbered) {
        to.u64(by.into());
        write_stamp(count.stamp, context.since, to);
        to.i64(count.sum);
    }
}

fn read_counts(from: &mut Reader<'_>, context: &TagContext<'_>) -> Result<Vec<Count>, Malformed> {
    let count = from.count(COUNT)?;
    if count > context.origins.len() {
        return Err(Malformed("more counts than origins"));
    }
    let counts = from.repeat(count, |from| {
        let tag = context.tag(&WireTag::By(from.u32()?, from.u64()?))?;
        Ok(Count {
            origin: tag.origin,
            stamp: tag.stamp,
            sum: from.i64()?,
        })
    })?;
    if context.author == Author::This || counts_are_sorted(&counts) {
        Ok(counts)
    } else {
        Err(Malformed("counter out of order"))
    }
}

const JSON: u8 = 0;
const COUNTER: u8 = 1;
const REMOVED: u8 = 2;
/// The fewest bytes of an attribute: a name of one, a tag and what it holds.
const REGISTER: usize = 2 + 1 + 1;
/// The fewest bytes of a count: the number of an origin, a stamp and a sum.
const COUNT: usize = 1 + 1 + 1;
/// Names that are looked through for each attribute.
const FEW: usize = 4;
