//! A state's bytes from one place to another, with other stamps and instants and nothing else
//! changed. What is there has been looked at.

use super::{
    attributes::{COUNTER, JSON, REMOVED},
    bytes::{Reader, UNKNOWN, Writer},
    error::Malformed,
    tags::{BOTTOM, BY, OTHER, read_origin, write_origin},
};

/// What becomes of the stamps that count from a session's oldest, and of the ages of dead secrets.
pub(super) struct Relay<S, D> {
    pub(super) stamp: S,
    pub(super) death: D,
}

impl<S: Fn(u64) -> u64, D: Fn(u64) -> u64> Relay<S, D> {
    /// Vector, attributes, secrets and limits.
    pub(super) fn body(&self, from: &mut Reader<'_>, to: &mut Writer<'_>) -> Result<(), Malformed> {
        for _ in 0..count(from, to)? {
            write_origin(read_origin(from)?, to);
            self.stamp(from, to)?;
        }
        for _ in 0..count(from, to)? {
            to.bytes(from.bytes()?);
            self.tag(from, to)?;
            self.content(from, to)?;
        }
        for _ in 0..count(from, to)? {
            to.array(&from.array::<16>()?);
            self.tag(from, to)?;
            if flag(from, to)? {
                to.u64((self.death)(from.u64()?));
            }
        }
        if flag(from, to)? {
            self.tag(from, to)?;
            for _limit in 0..2 {
                if flag(from, to)? {
                    to.u64(from.u64()?);
                }
            }
        }
        Ok(())
    }

    fn content(&self, from: &mut Reader<'_>, to: &mut Writer<'_>) -> Result<(), Malformed> {
        let kind = from.byte()?;
        to.byte(kind);
        match kind {
            JSON => to.bytes(from.bytes()?),
            COUNTER => {
                to.i64(from.i64()?);
                for _ in 0..count(from, to)? {
                    to.u64(from.u64()?);
                    self.stamp(from, to)?;
                    to.i64(from.i64()?);
                }
            }
            REMOVED => {}
            _ => return Err(UNKNOWN),
        }
        Ok(())
    }

    fn tag(&self, from: &mut Reader<'_>, to: &mut Writer<'_>) -> Result<(), Malformed> {
        let kind = from.byte()?;
        to.byte(kind);
        match kind {
            BY => {
                to.u64(from.u64()?);
                self.stamp(from, to)?;
            }
            OTHER => {
                to.u64(from.u64()?);
                write_origin(read_origin(from)?, to);
            }
            BOTTOM => {}
            _ => return Err(UNKNOWN),
        }
        Ok(())
    }

    fn stamp(&self, from: &mut Reader<'_>, to: &mut Writer<'_>) -> Result<(), Malformed> {
        to.u64((self.stamp)(from.u64()?));
        Ok(())
    }
}

fn count(from: &mut Reader<'_>, to: &mut Writer<'_>) -> Result<usize, Malformed> {
    let count = from.count()?;
    to.count(count);
    Ok(count)
}

/// Whether something optional follows.
fn flag(from: &mut Reader<'_>, to: &mut Writer<'_>) -> Result<bool, Malformed> {
    let flag = from.byte()?;
    to.byte(flag);
    Ok(flag == 1)
}
