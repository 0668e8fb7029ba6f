//! The bytes of an order.

use super::{
    bytes::{Reader, UNKNOWN, Writer},
    error::Malformed,
    item::{read_key, write_key},
    tags::{read_stamp, write_stamp},
};
use crate::session::{
    MAX_CONTEXT_LENGTH, MAX_HOPS, MAX_SEARCH_BYTES, Order, OrderContent, OrderId, Proof, Search,
    SecretHash, Stamp,
};

pub(super) fn write_order(order: &Order, now_ms: u64, to: &mut Writer<'_>) {
    to.array(order.id.bytes());
    to.u64(now_ms.saturating_sub(order.issued_ms));
    to.byte(order.hops);
    match &order.content {
        OrderContent::Session { key, proof } => {
            to.byte(SESSION);
            write_key(key, to);
            to.option(proof.as_ref(), |to, proof| {
                to.text(&proof.context);
                to.array(proof.secret.bytes());
            });
        }
        OrderContent::Search(search) => {
            to.byte(SEARCH);
            to.text(&search.context);
            to.text(&search.name);
            to.bytes(&search.json);
            to.option(search.keep.as_ref(), |to, key| write_key(key, to));
            write_stamp(search.upto, Stamp::ZERO, to);
        }
        OrderContent::Report {
            search,
            node,
            destroyed,
        } => {
            to.byte(REPORT);
            to.array(search.bytes());
            to.text(node);
            to.u64(*destroyed);
        }
    }
}

pub(super) fn read_order(from: &mut Reader<'_>, now_ms: u64) -> Result<Order, Malformed> {
    let id = OrderId::from_bytes(from.array()?);
    let issued_ms = now_ms.saturating_sub(from.u64()?);
    let hops = from.byte()?;
    if hops > MAX_HOPS {
        return Err(Malformed("an order passed on too often"));
    }
    let content = match from.byte()? {
        SESSION => OrderContent::Session {
            key: read_key(from)?,
            proof: from.option(|from| {
                Ok(Proof {
                    context: read_short(from, MAX_CONTEXT_LENGTH)?.into(),
                    secret: SecretHash::from_bytes(from.array()?),
                })
            })?,
        },
        SEARCH => {
            let search = Search {
                context: read_short(from, MAX_CONTEXT_LENGTH)?.into(),
                name: from.text()?.into(),
                json: from.bytes()?.into(),
                keep: from.option(read_key)?,
                upto: read_stamp(from, Stamp::ZERO)?,
            };
            if search.weight() > MAX_SEARCH_BYTES {
                return Err(Malformed("a search too long"));
            }
            OrderContent::Search(search)
        }
        REPORT => OrderContent::Report {
            search: OrderId::from_bytes(from.array()?),
            node: read_short(from, MAX_NODE_LENGTH)?.into(),
            destroyed: from.u64()?,
        },
        _ => return Err(UNKNOWN),
    };
    Ok(Order {
        id,
        issued_ms,
        hops,
        content,
    })
}

fn read_short<'a>(from: &mut Reader<'a>, longest: usize) -> Result<&'a str, Malformed> {
    let text = from.text()?;
    if text.len() > longest {
        return Err(Malformed("a name too long"));
    }
    Ok(text)
}

const SESSION: u8 = 0;
const SEARCH: u8 = 1;
const REPORT: u8 = 2;
/// Bytes of the shortest order.
pub(super) const ORDER: usize = 16 + 1 + 1 + 1 + 5;
/// Longer than a node's name may be.
const MAX_NODE_LENGTH: usize = 1024;
