//! The merge of two copies of a session. It is associative, commutative and idempotent, as long as
//! nothing is forgotten of them. Copies that forgot in another order become equal when they meet.

use std::sync::Arc;

use super::{
    Delta, Life, Mutant, Origin, Register, SecretSet, SessionState, Stamp, Tag, Vector, mutant,
};

impl SessionState {
    /// Merges another copy.
    ///
    /// Both copies first forget what the joined vector allows: were each cleaned by its own vector,
    /// copies with equal vectors could differ in whom they name. What one of them lacks although its
    /// vector covers it was removed there, and the removal forgotten; so it goes from the other
    /// one, too.
    ///
    /// Returns the latest of `own`'s stamps that another origin's write has beaten here, zero when
    /// none was. A delta that claims it would claim a write it does not hold.
    pub(crate) fn merge(&mut self, mut incoming: Self, own: Origin) -> Stamp {
        let mut joined = self.vector.clone();
        joined.join(&incoming.vector);
        let gc_horizon = joined.gc_horizon(self.meta.gc_grace_ms());
        let watermark = gc_horizon.watermark;
        let mut lost = self.collect_garbage(gc_horizon, own);
        incoming.collect_garbage(gc_horizon, own);
        let (ours, theirs) = (&self.vector, &incoming.vector);
        let seen_here = |tag: Tag| ours.covers(tag) || tag.stamp < watermark;
        let seen_there = |tag: Tag| theirs.covers(tag) || tag.stamp < watermark;
        let (registers, beaten) = join_registers(
            std::mem::take(&mut self.registers),
            std::mem::take(&mut incoming.registers),
            |register| register.drop_forgotten(seen_there),
            |register| register.drop_forgotten(seen_here),
            own,
        );
        self.registers = registers;
        lost = lost.max(beaten);
        let (ours, theirs) = (&mut self.secrets, &mut incoming.secrets);
        lost = lost.max(ours.drop_forgotten(theirs, seen_there, own));
        theirs.drop_forgotten(ours, seen_here, own);
        lost = lost.max(self.merge_secrets_and_life(&incoming.secrets, incoming.life, own));
        self.created_ms = self.created_ms.min(incoming.created_ms);
        self.merge_access(incoming.access, incoming.accessed_ms);
        self.vector.join(&incoming.vector);
        // Two copies together may remember more than one may.
        lost.max(self.forget_removals(own))
    }

    /// Applies one origin's writes, all or nothing. Returns what [`merge`](Self::merge) does, `None`
    /// when this copy needs the full state: it lacks writes the delta builds on, or may have
    /// forgotten those that the delta begins with.
    pub(crate) fn apply(&mut self, delta: Delta, own: Origin) -> Option<Stamp> {
        let held = self.vector.of(delta.origin);
        // The counts of a counter mean nothing without the reset that they follow.
        let knows_resets = delta.registers.iter().all(|(_, register)| {
            let reset = register.tag;
            reset == Tag::BOTTOM || reset.origin == delta.origin || self.covers(reset)
        });
        let is_complete = held >= delta.since || Mutant::IgnoreSince.is_on();
        // Writes from before the watermark are covered, and must not come as new.
        let may_be_forgotten = held == Stamp::ZERO
            && self.may_have_forgotten(&delta)
            && !Mutant::ApplyForgotten.is_on();
        if may_be_forgotten || !is_complete || !(knows_resets || Mutant::IgnoreResets.is_on()) {
            mutant::delta::merge_refused(self, delta, own);
            return None;
        }
        self.vector.raise(delta.origin, delta.upto);
        let mut lost = self.collect_garbage_alone(own);
        if held < delta.upto {
            for (name, register) in delta.registers {
                lost = lost.max(self.merge_register(name, register, own));
            }
            lost = lost.max(self.merge_secrets_and_life(&delta.secrets, delta.life, own));
        }
        if let Some((access, at_ms)) = delta.access {
            self.merge_access(access, at_ms);
        }
        Some(lost.max(self.forget_removals(own)))
    }

    /// Returns whether some of the delta's writes are from before the watermark.
    fn may_have_forgotten(&self, delta: &Delta) -> bool {
        let watermark = self.watermark();
        let is_old = |oldest| oldest < watermark;
        watermark > Stamp::ZERO && delta.oldest_stamp().is_some_and(is_old)
    }

    /// Returns the session that `delta` is the whole of, `None` when it is only a part.
    pub(crate) fn from_delta(mut delta: Delta) -> Option<Self> {
        mutant::delta::pass_for_whole(&mut delta);
        let (meta, created) = delta.meta?;
        let (access, accessed_ms) = delta.access?;
        let mut vector = Vector::default();
        vector.raise(delta.origin, delta.upto);
        Some(Self {
            meta,
            created_ms: created.0,
            vector,
            access,
            accessed_ms,
            registers: delta.registers,
            secrets: delta.secrets,
            life: delta.life,
        })
    }

    /// Merges the last access. Only when it advances the instant is set, which is reckoned from an
    /// age and differs on every node.
    fn merge_access(&mut self, access: Stamp, accessed_ms: u64) {
        if access > self.access {
            self.access = access;
            self.accessed_ms = self.accessed_ms.max(accessed_ms);
        }
    }

    pub(super) fn merge_register(
        &mut self,
        name: Arc<str>,
        incoming: Register,
        own: Origin,
    ) -> Stamp {
        match self.position(&name) {
            Ok(at) => merge_registers(&mut self.registers[at].1, incoming, own),
            Err(at) => {
                self.registers.reserve_exact(1);
                self.registers.insert(at, (name, incoming));
                Stamp::ZERO
            }
        }
    }

    fn merge_secrets_and_life(
        &mut self,
        secrets: &SecretSet,
        life: Option<(Tag, Life)>,
        own: Origin,
    ) -> Stamp {
        let mut lost = self.secrets.merge(secrets, own);
        if let Some(incoming) = life {
            match self.life {
                Some(held) if held.0 >= incoming.0 => {}
                held => {
                    self.life = Some(incoming);
                    if let Some((tag, _)) = held.filter(|held| held.0.origin == own) {
                        lost = lost.max(tag.stamp);
                    }
                }
            }
        }
        lost
    }
}

/// Joins the registers of two copies, both sorted by name, in one pass. Of a register that only one
/// of them has, `keep_ours` and `keep_theirs` leave what the other one has not seen, if anything.
/// Returns the latest of `own`'s stamps that no longer shows, too.
fn join_registers(
    held: Vec<(Arc<str>, Register)>,
    incoming: Vec<(Arc<str>, Register)>,
    keep_ours: impl Fn(&mut Register) -> bool,
    keep_theirs: impl Fn(&mut Register) -> bool,
    own: Origin,
) -> (Vec<(Arc<str>, Register)>, Stamp) {
    let mut joined = Vec::with_capacity(held.len().max(incoming.len()));
    let mut lost = Stamp::ZERO;
    let mut incoming = incoming.into_iter().peekable();
    for (name, mut register) in held {
        while let Some(mut theirs) = incoming.next_if(|(other, _)| *other < name) {
            if keep_theirs(&mut theirs.1) {
                joined.push(theirs);
            }
        }
        if let Some((_, theirs)) = incoming.next_if(|(other, _)| *other == name) {
            lost = lost.max(merge_registers(&mut register, theirs, own));
        } else {
            let before = register.stamp_of(own);
            let stays = keep_ours(&mut register);
            let after = if stays {
                register.stamp_of(own)
            } else {
                Stamp::ZERO
            };
            lost = lost.max(beaten(before, after));
            if !stays {
                continue;
            }
        }
        joined.push((name, register));
    }
    joined.extend(
        incoming
            .filter_map(|(name, mut theirs)| keep_theirs(&mut theirs).then_some((name, theirs))),
    );
    (joined, lost)
}

/// Returns the latest of `own`'s stamps that the merge has beaten.
fn merge_registers(held: &mut Register, incoming: Register, own: Origin) -> Stamp {
    let before = held.stamp_of(own);
    held.merge(incoming);
    beaten(before, held.stamp_of(own))
}

fn beaten(before: Stamp, after: Stamp) -> Stamp {
    if after < before { before } else { Stamp::ZERO }
}
