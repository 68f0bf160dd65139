//! A hash table that grows bit by bit: of several tables, each larger than the one before, one at a time doubles.

use hashbrown::HashTable;

/// An id as the table holds it; bytes only, so that it has no padding.
pub(super) struct Entry {
    pub(super) id: [u8; 12],
    pub(super) body: [u8; 8],
    pub(super) day: [u8; 2],
}

/// Of 256 ids each part takes so many, from one part to the next about 2^(1/16) times as many: when the whole has doubled, each
/// has once, evenly apart.
const SHARES: [u8; 16] = [11, 12, 12, 13, 13, 14, 15, 15, 16, 17, 17, 18, 19, 20, 21, 23];

/// The part of the ids with a byte.
const PART_OF: [u8; 256] = {
    let (mut parts, mut byte, mut part) = ([0; 256], 0, 0);
    while part < SHARES.len() {
        let mut left = SHARES[part];
        while left > 0 {
            parts[byte] = part as u8;
            (byte, left) = (byte + 1, left - 1);
        }
        part += 1;
    }
    assert!(byte == parts.len(), "each byte has a part");
    parts
};

#[derive(Default)]
pub(super) struct Table {
    parts: [HashTable<Entry>; SHARES.len()],
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(HashTable::len).sum()
    }

    /// Makes room for so many ids.
    pub(super) fn reserve(&mut self, ids: usize) {
        for (part, share) in self.parts.iter_mut().zip(SHARES) {
            part.reserve(ids * usize::from(share) / PART_OF.len(), hash_entry);
        }
    }

    pub(super) fn find(&self, id: [u8; 12], is_it: impl FnMut(&Entry) -> bool) -> Option<&Entry> {
        self.parts[part_of(id)].find(hash(id), is_it)
    }

    /// Adds what is not in it.
    pub(super) fn insert(&mut self, entry: Entry) {
        self.parts[part_of(entry.id)].insert_unique(hash(entry.id), entry, hash_entry);
    }

    pub(super) fn remove(&mut self, id: [u8; 12], is_it: impl FnMut(&Entry) -> bool) {
        if let Ok(found) = self.parts[part_of(id)].find_entry(hash(id), is_it) {
            found.remove();
        }
    }

    pub(super) fn retain(&mut self, mut stays: impl FnMut(&Entry) -> bool) {
        self.parts.iter_mut().for_each(|part| part.retain(|entry| stays(entry)));
    }
}

/// The part of an id that is kept.
pub(super) fn prefix(id: &[u8; 16]) -> [u8; 12] {
    *id.first_chunk().expect("12 of 16")
}

/// An id is a piece of SHA-256: any 8 bytes of it are a hash. Of these a table takes the lowest bits for the place and the
/// highest seven for a tag.
fn hash(id: [u8; 12]) -> u64 {
    u64::from_le_bytes(id[..8].try_into().expect("8 bytes"))
}

fn hash_entry(entry: &Entry) -> u64 {
    hash(entry.id)
}

/// By bits that the table itself has no use for.
fn part_of(id: [u8; 12]) -> usize {
    PART_OF[usize::from(id[5])].into()
}

#[cfg(test)]
mod tests {
    use skuflow_schemas::{EventId, Family};

    use super::*;

    #[test]
    fn it_never_grows_by_much_at_once() {
        let mut table = Table::default();
        let (mut size, mut ids) = (0, 0_u32);
        while ids < 300_000 {
            let id = prefix(&EventId::of(Family::Sale, "demo", &[&ids.to_le_bytes()]).0);
            table.insert(Entry { id, body: [0; 8], day: [0; 2] });
            ids += 1;
            let now = table.parts.iter().map(HashTable::allocation_size).sum();
            assert!(ids < 10_000 || now <= size + size / 8, "from {size} to {now} bytes with id {ids}");
            assert!(ids < 10_000 || now < 48 * ids as usize, "{now} bytes for {ids} ids");
            size = now;
        }
        assert_eq!(table.len(), 300_000);
    }
}
