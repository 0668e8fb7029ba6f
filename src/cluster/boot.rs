//! Which run of a node's process this is.

use crate::session::{BootId, Mutant};

/// Makes the id of a process that starts. It must be random: a node that forgot all it held must
/// not write as the origin that it was, since others hold writes of that one.
pub(crate) fn boot_id(node: &str, random: [u8; 8]) -> BootId {
    if Mutant::ReuseBoot.is_on() {
        let mut bytes = [0; 8];
        bytes
            .iter_mut()
            .zip(node.bytes())
            .for_each(|(to, from)| *to = from);
        return BootId::from_bytes(bytes);
    }
    BootId::from_bytes(random)
}
