//! The bytes of one session's part of a message, both ways, side by side.
//!
//! Instants travel as ages. Origins are written once per item and referred to by number. What an
//! honest node would not send, such as a write its vector does not cover, is malformed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    attributes::{Foreign, WireSlot, slots_from_wire, slots_to_wire},
    message::{DecodeLimits, Malformed},
    scale::{Scale, TOO_LATE, WireTag, stamp},
};
use crate::{
    config::Expiry,
    session::{
        Birth, CreatedMs, Delta, Item, MAX_CONTEXT_LENGTH, Origin, SecretHash, SecretState,
        Secrets, SessionParts, SessionState, Slot, Stamp, Tag, Tombstone, Vector,
    },
};

#[derive(Serialize, Deserialize)]
pub(super) enum WireItem<'a> {
    #[serde(borrow)]
    Delta(Box<WireDelta<'a>>),
    Full(Box<WireState<'a>>),
    Destroyed {
        age_ms: u64,
        keep_ms: u64,
    },
    Absent,
}

#[derive(Serialize, Deserialize)]
pub(super) struct WireDelta<'a> {
    origin: Origin,
    since: u64,
    /// Beyond `since`.
    upto: u64,
    #[serde(borrow)]
    birth: Option<WireBirth<'a>>,
    access: Option<WireAccess>,
    slots: Vec<WireSlot<'a>>,
    secrets: Vec<WireSecret>,
    expiry: Option<WireExpiry>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct WireState<'a> {
    #[serde(borrow)]
    birth: WireBirth<'a>,
    access: WireAccess,
    vector: Vec<(Origin, u64)>,
    slots: Vec<WireSlot<'a>>,
    secrets: Vec<WireSecret>,
    expiry: Option<WireExpiry>,
}

#[derive(Serialize, Deserialize)]
struct WireBirth<'a> {
    context: &'a str,
    route: Option<&'a str>,
    idle_ms: Option<u64>,
    absolute_ms: Option<u64>,
    age_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct WireAccess {
    stamp: u64,
    age_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct WireSecret {
    hash: SecretHash,
    tag: WireTag,
    dead_age_ms: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct WireExpiry {
    tag: WireTag,
    idle_ms: Option<u64>,
    absolute_ms: Option<u64>,
}

pub(super) fn to_wire(item: &Item, now_ms: u64) -> WireItem<'_> {
    match item {
        Item::Delta(delta) => WireItem::Delta(Box::new(delta_to_wire(delta, now_ms))),
        Item::Full(state) => WireItem::Full(Box::new(state_to_wire(state, now_ms))),
        Item::Destroyed(tombstone) => WireItem::Destroyed {
            age_ms: now_ms.saturating_sub(tombstone.destroyed_ms),
            keep_ms: tombstone.keep_ms,
        },
        Item::Absent => WireItem::Absent,
    }
}

pub(super) fn from_wire(
    item: WireItem<'_>,
    now_ms: u64,
    limits: &DecodeLimits,
) -> Result<Item, Malformed> {
    Ok(match item {
        WireItem::Delta(delta) => Item::Delta(Box::new(delta_from_wire(*delta, now_ms, limits)?)),
        WireItem::Full(state) => Item::Full(Box::new(state_from_wire(*state, now_ms, limits)?)),
        WireItem::Destroyed { keep_ms, .. } if keep_ms > Tombstone::MAX_KEEP_MS => {
            return Err(Malformed("a tombstone that is kept for too long"));
        }
        WireItem::Destroyed { age_ms, keep_ms } => Item::Destroyed(Tombstone {
            destroyed_ms: now_ms.saturating_sub(age_ms),
            keep_ms,
        }),
        WireItem::Absent => Item::Absent,
    })
}

fn delta_to_wire(delta: &Delta, now_ms: u64) -> WireDelta<'_> {
    let origins = [(delta.origin, delta.upto)];
    let scale = Scale {
        origins: &origins,
        since: delta.since,
        floor: Stamp::ZERO,
    };
    WireDelta {
        origin: delta.origin,
        since: delta.since.get(),
        upto: delta.upto.get().saturating_sub(delta.since.get()),
        birth: delta
            .birth
            .as_ref()
            .map(|(birth, created)| birth_to_wire(birth, now_ms.saturating_sub(created.0))),
        access: delta.access.map(|(stamp, at_ms)| WireAccess {
            stamp: stamp.get(),
            age_ms: now_ms.saturating_sub(at_ms),
        }),
        slots: slots_to_wire(&delta.slots, &scale),
        secrets: secrets_to_wire(&delta.secrets, &scale, now_ms),
        expiry: delta.expiry.map(|expiry| expiry_to_wire(expiry, &scale)),
    }
}

fn delta_from_wire(
    wire: WireDelta<'_>,
    now_ms: u64,
    limits: &DecodeLimits,
) -> Result<Delta, Malformed> {
    let since = stamp(wire.since)?;
    let upto = stamp(wire.since.checked_add(wire.upto).ok_or(TOO_LATE)?)?;
    let origins = [(wire.origin, upto)];
    let scale = Scale {
        origins: &origins,
        since,
        floor: Stamp::ZERO,
    };
    // Only a counter may name a foreign write: the reset that its increments follow.
    let slots = slots_from_wire(wire.slots, &scale, limits, Foreign::Counters)?;
    if wire.birth.is_some() && (since != Stamp::ZERO || wire.access.is_none()) {
        return Err(Malformed("a partial delta with a birth"));
    }
    if wire.birth.is_some() {
        // It becomes a session as it is, which must be one that others take from here.
        let foreign = |slot: &Slot| slot.tag != Tag::BOTTOM && slot.tag.origin != wire.origin;
        if upto == Stamp::ZERO || slots.iter().any(|(_, slot)| foreign(slot)) {
            return Err(Malformed("a whole session that others wrote, or nobody"));
        }
    }
    Ok(Delta {
        origin: wire.origin,
        since,
        upto,
        birth: wire
            .birth
            .map(|birth| birth_from_wire(&birth, now_ms))
            .transpose()?,
        access: wire
            .access
            .map(|access| {
                let at_ms = now_ms.saturating_sub(access.age_ms);
                Ok((stamp(access.stamp)?, at_ms))
            })
            .transpose()?,
        slots,
        secrets: secrets_from_wire(wire.secrets, &scale, now_ms)?,
        expiry: wire
            .expiry
            .map(|expiry| expiry_from_wire(&expiry, &scale))
            .transpose()?,
    })
}

fn state_to_wire(state: &SessionState, now_ms: u64) -> WireState<'_> {
    let scale = Scale {
        origins: state.vector().entries(),
        since: Stamp::ZERO,
        floor: state.floor(),
    };
    WireState {
        birth: birth_to_wire(state.birth(), now_ms.saturating_sub(state.created_ms())),
        access: WireAccess {
            stamp: state.access().get(),
            age_ms: now_ms.saturating_sub(state.accessed_ms()),
        },
        vector: state
            .vector()
            .entries()
            .iter()
            .map(|(origin, stamp)| (*origin, stamp.get()))
            .collect(),
        slots: slots_to_wire(state.slots(), &scale),
        secrets: secrets_to_wire(state.secrets(), &scale, now_ms),
        expiry: state
            .expiry_register()
            .map(|expiry| expiry_to_wire(expiry, &scale)),
    }
}

fn state_from_wire(
    wire: WireState<'_>,
    now_ms: u64,
    limits: &DecodeLimits,
) -> Result<SessionState, Malformed> {
    if wire.vector.len() > MAX_ORIGINS {
        return Err(Malformed("too many origins"));
    }
    let entries = wire
        .vector
        .into_iter()
        .map(|(origin, raw)| Ok((origin, stamp(raw)?)))
        .collect::<Result<Vec<_>, Malformed>>()?;
    let vector = Vector::from_sorted(entries).ok_or(Malformed("vector out of order"))?;
    if vector.entries().is_empty() {
        return Err(Malformed("a session nobody wrote"));
    }
    let (birth, created) = birth_from_wire(&wire.birth, now_ms)?;
    let scale = Scale {
        origins: vector.entries(),
        since: Stamp::ZERO,
        floor: vector.floor(birth.memory_ms()),
    };
    let slots = slots_from_wire(wire.slots, &scale, limits, Foreign::No)?;
    let secrets = secrets_from_wire(wire.secrets, &scale, now_ms)?;
    let expiry = wire
        .expiry
        .map(|expiry| expiry_from_wire(&expiry, &scale))
        .transpose()?;
    Ok(SessionState::from_parts(SessionParts {
        birth,
        created,
        access: stamp(wire.access.stamp)?,
        accessed_ms: now_ms.saturating_sub(wire.access.age_ms),
        slots,
        secrets,
        expiry,
        vector,
    }))
}

fn birth_to_wire(birth: &Birth, age_ms: u64) -> WireBirth<'_> {
    WireBirth {
        context: &birth.context,
        route: birth.route.as_ref().map(|route| route.as_str()),
        idle_ms: birth.expiry.idle_ms(),
        absolute_ms: birth.expiry.absolute_ms(),
        age_ms,
    }
}

fn birth_from_wire(
    wire: &WireBirth<'_>,
    now_ms: u64,
) -> Result<(Arc<Birth>, CreatedMs), Malformed> {
    if wire.context.len() > MAX_CONTEXT_LENGTH {
        return Err(Malformed("context too long"));
    }
    let birth = Birth {
        context: wire.context.into(),
        route: wire
            .route
            .map(|route| route.parse().map_err(|_| Malformed("invalid route")))
            .transpose()?,
        expiry: limits_from_wire(wire.idle_ms, wire.absolute_ms)?,
    };
    let created = CreatedMs(now_ms.saturating_sub(wire.age_ms));
    Ok((Arc::new(birth), created))
}

fn secrets_to_wire(secrets: &Secrets, scale: &Scale<'_>, now_ms: u64) -> Vec<WireSecret> {
    let wire = |state: &SecretState| WireSecret {
        hash: state.hash,
        tag: scale.to_wire(state.tag),
        dead_age_ms: state.dead_at_ms.map(|at| now_ms.saturating_sub(at)),
    };
    secrets.states().iter().map(wire).collect()
}

fn secrets_from_wire(
    wire: Vec<WireSecret>,
    scale: &Scale<'_>,
    now_ms: u64,
) -> Result<Secrets, Malformed> {
    if wire.len() > MAX_SECRETS {
        return Err(Malformed("too many secrets"));
    }
    let states = wire
        .into_iter()
        .map(|secret| {
            Ok(SecretState {
                hash: secret.hash,
                tag: scale.tag(&secret.tag)?,
                dead_at_ms: secret.dead_age_ms.map(|age| now_ms.saturating_sub(age)),
            })
        })
        .collect::<Result<Vec<_>, Malformed>>()?;
    Secrets::from_sorted(states).ok_or(Malformed("secrets out of order"))
}

fn expiry_to_wire((tag, expiry): (Tag, Expiry), scale: &Scale<'_>) -> WireExpiry {
    WireExpiry {
        tag: scale.to_wire(tag),
        idle_ms: expiry.idle_ms(),
        absolute_ms: expiry.absolute_ms(),
    }
}

fn expiry_from_wire(wire: &WireExpiry, scale: &Scale<'_>) -> Result<(Tag, Expiry), Malformed> {
    let expiry = limits_from_wire(wire.idle_ms, wire.absolute_ms)?;
    Ok((scale.tag(&wire.tag)?, expiry))
}

fn limits_from_wire(idle_ms: Option<u64>, absolute_ms: Option<u64>) -> Result<Expiry, Malformed> {
    let too_long = |ms: Option<u64>| ms.is_some_and(|ms| ms > Expiry::MAX_MS);
    if too_long(idle_ms) || too_long(absolute_ms) {
        return Err(Malformed("limits of more than a century"));
    }
    Ok(Expiry::from_millis(idle_ms, absolute_ms))
}

/// Origins of one vector at most: one per boot and epoch that wrote.
pub(crate) const MAX_ORIGINS: usize = 4096;
/// Secrets of one session at most: the dead that are remembered, and one alive per node at once.
pub(crate) const MAX_SECRETS: usize = 256;
