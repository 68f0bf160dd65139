//! What the id in a frame says while a record is inside.
//!
//! ```text
//!   0 ………………………… release (8 bits)      one of ours; written here
//!   1 registry's id (23 bits) release (8 bits)      came by a registry; the release is 0 where its schema is none of ours
//! ```
//! So the same bytes are read everywhere, whatever registry a record came by, and go out again under the id they came with.

const CAME_BY_REGISTRY: u32 = 1 << 31;
const RELEASE_BITS: u32 = 8;

/// Largest id of a registry that a frame can carry.
pub const REGISTRY_ID_MAX: u32 = (1 << (31 - RELEASE_BITS)) - 1;

/// The id for a frame whose schema is `theirs` in a registry and `release` here, if it is known here. An id that is too
/// large stays what it is, which nobody knows.
pub fn carried_id(theirs: u32, release: Option<u32>) -> u32 {
    if theirs > REGISTRY_ID_MAX {
        return theirs;
    }
    CAME_BY_REGISTRY | theirs << RELEASE_BITS | release.unwrap_or(0)
}

/// The registry's id, where the id of a frame carries one.
pub fn registry_id(id: u32) -> Option<u32> {
    (id & CAME_BY_REGISTRY != 0).then_some((id & !CAME_BY_REGISTRY) >> RELEASE_BITS)
}

/// The id of one of our releases, if the id of a frame names any.
pub(super) fn release_id(id: u32) -> u32 {
    registry_id(id).map_or(id, |_| id & ((1 << RELEASE_BITS) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registrys_id_goes_in_and_comes_out() {
        for (theirs, release) in [(1, Some(7)), (7, None), (100_001, Some(1)), (REGISTRY_ID_MAX, Some(11))] {
            let id = carried_id(theirs, release);
            assert_eq!((registry_id(id), release_id(id)), (Some(theirs), release.unwrap_or(0)));
        }
        let id = carried_id(REGISTRY_ID_MAX + 1, Some(1));
        assert_eq!((registry_id(id), release_id(id)), (None, REGISTRY_ID_MAX + 1), "nobody's");
        assert_eq!((registry_id(7), release_id(7)), (None, 7), "written here");
    }
}
