//! Known-wrong variants of the rules, each of which breaks a promise. The simulations switch them
//! on one at a time to show that they would notice. Outside tests they do not exist.

pub(super) mod delta;

/// One rule left out or turned round. Names say what the wrong code does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(test),
    allow(
        dead_code,
        reason = "some break rules of a feature, or are what the simulation does"
    )
)]
pub(crate) enum Mutant {
    /// A session is sent at its last record in the log instead of its first.
    CoalesceLate,
    /// A delta is applied whatever it builds on.
    IgnoreSince,
    /// Digest repair never runs.
    NeverRepair,
    /// A delta is sent although another origin has beaten a part of what it claims.
    ClaimBeatenWrites,
    /// A delta is sent although its origin is forgotten in the vector, so that it claims nothing.
    ClaimForgottenWrites,
    /// A delta of an origin that is forgotten here is applied as if it were new.
    ApplyForgotten,
    /// A copy that comes later undoes a destruction.
    AliveBeatsDestroyed,
    /// The values of a refused delta are merged all the same.
    MergeRefused,
    /// A batch is acknowledged although a delta of it was refused.
    AcknowledgeRefused,
    /// A delta claims all writes but carries those that were committed when it was logged.
    CarryCommittedOnly,
    /// What a peer skipped counts as acknowledged by it.
    AcknowledgeSkipped,
    /// A delta creates a session of which it is only a part.
    CreatePartially,
    /// The last access is part of the version as an instant, which differs on every node.
    InstantInVersion,
    /// A node that dropped a session and got it back writes as the origin it was.
    KeepOrigin,
    /// A count that arrives replaces all others.
    ReplaceCounts,
    /// A living secret that arrives revives a dead one.
    ReviveSecrets,
    /// A stamp is the clock's, whatever the session has seen.
    StampByClockOnly,
    /// The age of a tombstone starts anew on every node.
    RejuvenateTombstones,
    /// A node that was away longer than tombstones live keeps what others may have destroyed.
    KeepOutdated,
    /// A node that holds nothing is not taken for one that may have destroyed what another one holds.
    KeepBesideEmpty,
    /// Such a node drops all it held, also what the others have.
    DropConfirmed,
    /// Such a node holds for true what the first peer says that it is compared with.
    TrustFirstComparison,
    /// Such a node tells others that doubt what it doubts itself that it lacks that.
    AnswerInDoubt,
    /// Such nodes wait for each other as long as they doubt anything.
    WaitInCircles,
    /// What was begun after the last contact that is known counts as unknown to the peer.
    TrustLastContact,
    /// A node takes a day for long, also where tombstones live shorter.
    AwayAfterADay,
    /// Tombstones live as long as their own node has room for, whatever the others forget.
    RetainAlone,
    /// Only nodes that are found equal know of each other what they hold.
    ContactByEqualityOnly,
    /// A delta of a counter is applied although its reset is not known here.
    IgnoreResets,
    /// A node is ready after its first donor.
    ReadyAfterDonor,
    /// A restarted node takes the boot id it had.
    ReuseBoot,
    /// A peer is not waited for while another link takes the place of the one it had.
    ForgetReplaced,
    /// A peer is not waited for from the moment on in which its link breaks.
    ForgetBrokenLinks,
    /// The time for which a peer without a link is waited for goes on while the process is stopped.
    CountStoppedTime,
    /// A peer that has applied nothing yet is not waited for with what it missed when its link broke.
    ForgetFirstChanges,
    /// The answer to a question from before a request began is enough for it.
    AcceptEarlierAnswer,
    /// Nothing waits for the acknowledgement of a change that has left the log.
    ForgetOverrun,
    /// What a peer's log skips is left to the join, also when that is over.
    LeaveSkipsToJoin,
    /// What nobody waits for is never acknowledged.
    NeverAcknowledgeLate,
    /// Of two crossing dials each node keeps its own.
    KeepOwnDial,
    /// The version says nothing of attributes.
    VersionOfVectorOnly,
    /// Every background round leaves out what has just changed.
    NeverThorough,
    /// A session that arrives behind the order to destroy it lives.
    ForgetOrders,
    /// An order goes to the peers of the node that gave it, and no further.
    PassNoOrderOn,
    /// Peers are told of use when the request ends.
    TellUseAtEnd,
    /// A session stays unconfirmed although its client has come back.
    LeaveUnconfirmed,
    /// A node that joins is ready with what another one that joins has given.
    TrustUnreadyDonor,
    /// A member that refuses a node counts as one that is not there.
    TakeRefusalForAbsence,
    /// A session is created under an id that another one has, or had until it was destroyed.
    CreateTwice,
    /// A node that leaves waits for nobody but those for whom requests wait.
    LeaveBehind,
    /// A node that leaves does not wait for peers that join.
    LeaveJoiners,
    /// What is left of destroyed sessions is not written to disk.
    SaveNoTombstones,
    /// A batch is said to cover changes that were made while it was read.
    CoverLaterChanges,
    /// A node writes down the last contact before what it knew by then.
    SaveContactFirst,
    /// The vector of a session is written apart from its values.
    SaveVectorApart,
    /// Orders are not written to disk.
    SaveNoOrders,
    /// What is left of a destroyed session grows older while no node runs.
    AgeWhileDown,
    /// The contact of a node that was down was a moment ago.
    ForgetAbsence,
    /// A node that was down remembers no longer than others what was destroyed.
    ForgetStops,
    /// Two nodes that were both down know by each other what the rest has destroyed.
    MeetInAbsence,
    /// The acknowledgement of a batch covers changes of sessions in doubt, which were left out.
    PassOverDoubted,
    /// A peer that has refused a change of a session in doubt is told that there is no such session.
    DenyDoubted,
    /// A clock that has gone back while a node was down is believed.
    TrustClockSetBack,
    /// A directory does not say that nobody knows how long ago the last contact was.
    ForgetLostTime,
    /// A secret dies later than a node loads it, by a clock that has gone back.
    KeepDeathsToCome,
    /// A node that has loaded its sessions writes as the run that saved them.
    LoadAsOwn,
    /// A node that has loaded its sessions has met nobody, and leaves no tombstones.
    LoadAlone,
    /// A response does not wait for the disk where no peer is waited for.
    SkipDiskAlone,
    /// The index does not learn what changes in a session, nor of one that begins.
    LeaveChangesOutOfIndex,
    /// The index does not learn of a session that is taken in packed.
    LeavePackedOutOfIndex,
    /// The index keeps a session that is dropped or destroyed.
    KeepDroppedInIndex,
    /// What the index has of a session is forgotten when that is used again.
    ForgetPlacesOfCold,
    /// Sessions beyond a limit of how many may have one value live on.
    LeaveSurplus,
    /// Which sessions end beyond a limit depends on their ids.
    EndAnyBeyondLimit,
    /// Who of two got a value last is what the clocks say.
    RankByClockOnly,
    /// Whether a value was written after a search is what the clocks say.
    WriteBeforeSearches,
    /// A map of the app ends like a session whose client does not come back.
    LeaveMapsUnconfirmed,
    /// A map of the app is destroyed like a session.
    DestroyMaps,
    /// A node that was away takes a map of the app for one that others may have destroyed.
    DoubtMaps,
}

#[cfg(test)]
impl Mutant {
    /// Those of all nodes.
    pub(crate) const OF_NODES: &[Self] = &[
        Self::CoalesceLate,
        Self::IgnoreSince,
        Self::NeverRepair,
        Self::ClaimBeatenWrites,
        Self::ClaimForgottenWrites,
        Self::ApplyForgotten,
        Self::AliveBeatsDestroyed,
        Self::MergeRefused,
        Self::AcknowledgeRefused,
        Self::CarryCommittedOnly,
        Self::AcknowledgeSkipped,
        Self::CreatePartially,
        Self::InstantInVersion,
        Self::KeepOrigin,
        Self::ReplaceCounts,
        Self::ReviveSecrets,
        Self::StampByClockOnly,
        Self::RejuvenateTombstones,
        Self::KeepOutdated,
        Self::KeepBesideEmpty,
        Self::TrustLastContact,
        Self::AwayAfterADay,
        Self::RetainAlone,
        Self::DropConfirmed,
        Self::ContactByEqualityOnly,
        Self::IgnoreResets,
        Self::ReadyAfterDonor,
        Self::ReuseBoot,
        Self::ForgetReplaced,
        Self::ForgetBrokenLinks,
        Self::CountStoppedTime,
        Self::ForgetFirstChanges,
        Self::AcceptEarlierAnswer,
        Self::ForgetOverrun,
        Self::LeaveSkipsToJoin,
        Self::NeverAcknowledgeLate,
        Self::KeepOwnDial,
        Self::VersionOfVectorOnly,
        Self::NeverThorough,
        Self::ForgetOrders,
        Self::PassNoOrderOn,
        Self::TellUseAtEnd,
        Self::LeaveUnconfirmed,
        Self::TrustUnreadyDonor,
        Self::TakeRefusalForAbsence,
        Self::CreateTwice,
        Self::LeaveBehind,
        Self::LeaveJoiners,
        Self::LeaveChangesOutOfIndex,
        Self::LeavePackedOutOfIndex,
        Self::KeepDroppedInIndex,
        Self::ForgetPlacesOfCold,
        Self::LeaveSurplus,
        Self::EndAnyBeyondLimit,
        Self::RankByClockOnly,
        Self::WriteBeforeSearches,
        Self::LeaveMapsUnconfirmed,
        Self::DestroyMaps,
        Self::DoubtMaps,
    ];

    /// Those of nodes with directories.
    pub(crate) const OF_DISKS: &[Self] = &[
        Self::SaveNoTombstones,
        Self::CoverLaterChanges,
        Self::SaveContactFirst,
        Self::SaveVectorApart,
        Self::SaveNoOrders,
        Self::AgeWhileDown,
        Self::ForgetAbsence,
        Self::ForgetStops,
        Self::MeetInAbsence,
        Self::TrustFirstComparison,
        Self::AnswerInDoubt,
        Self::WaitInCircles,
        Self::PassOverDoubted,
        Self::DenyDoubted,
        Self::TrustClockSetBack,
        Self::ForgetLostTime,
        Self::KeepDeathsToCome,
        Self::LoadAsOwn,
        Self::LoadAlone,
        Self::SkipDiskAlone,
    ];

    pub(crate) fn is_on(self) -> bool {
        ACTIVE.get() == Some(self)
    }

    /// Runs with one rule broken, on this thread.
    pub(crate) fn with<R>(self, run: impl FnOnce() -> R) -> R {
        ACTIVE.set(Some(self));
        let result = run();
        ACTIVE.set(None);
        result
    }
}

#[cfg(not(test))]
impl Mutant {
    pub(crate) const fn is_on(self) -> bool {
        false
    }
}

#[cfg(test)]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}
