//! Where each pair stands, and the file that saves reading them all to know it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Result, Write};
use std::path::Path;

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_128;

const FILE: &str = "state.index";
const MAGIC: u64 = 0x0178_6469_7561_6b73; // with the version of the format
const PLACE_BYTES: usize = 12;
const HASH_BYTES: usize = 12;

/// A pair's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: u32,
    pub(super) at: u32,
    pub(super) length: u32,
}

/// How a key is called in the index.
pub(super) enum Name {
    /// By itself: it can be listed.
    Listed(Vec<u8>),
    /// By a hash: of a billion keys two have the same with a chance of 1 in 10^11.
    Hashed([u8; HASH_BYTES]),
}

/// A key by its hash; bytes and small numbers, so that it takes 24 bytes.
struct Slot {
    hash: [u8; HASH_BYTES],
    place: Place,
}

/// Where each pair stands.
#[derive(Default)]
pub(super) struct Index {
    listed: BTreeMap<Vec<u8>, Place>,
    hashed: HashTable<Slot>,
    /// Bytes of all their entries.
    pub(super) live: u64,
}

/// The part of a key that tells its kind: behind the owner, where the embedded broker puts one before it. `None` where the
/// owner is no task.
fn kind(key: &[u8]) -> Option<&[u8]> {
    let zero = key.iter().position(|byte| *byte == 0);
    match (key.strip_prefix(b"state/"), zero) {
        (Some(owner), Some(zero)) => owner.starts_with(b"task:").then_some(&key[zero + 1..]),
        _ => Some(key),
    }
}

/// States and rows of keys: most of what is stored, and never listed.
const UNLISTED: [&[u8]; 2] = [b"state/", b"row/"];

fn is_listed(key: &[u8]) -> bool {
    kind(key).is_none_or(|kind| !UNLISTED.iter().any(|unlisted| kind.starts_with(unlisted)))
}

/// Whether all keys that start with `prefix` are listed.
fn are_listed(prefix: &[u8]) -> bool {
    let apart = |kind: &[u8], unlisted: &[u8]| !kind.starts_with(unlisted) && !unlisted.starts_with(kind);
    kind(prefix).is_none_or(|kind| UNLISTED.iter().all(|unlisted| apart(kind, unlisted)))
}

fn hash(key: &[u8]) -> [u8; HASH_BYTES] {
    *xxh3_128(key).to_le_bytes().first_chunk().expect("16 bytes")
}

fn spread(hash: &[u8; HASH_BYTES]) -> u64 {
    u64::from_le_bytes(*hash.first_chunk().expect("12 bytes"))
}

impl Name {
    pub(super) fn of(key: &[u8]) -> Self {
        if is_listed(key) { Self::Listed(key.to_vec()) } else { Self::Hashed(hash(key)) }
    }
}

impl Index {
    pub(super) fn get(&self, key: &[u8]) -> Option<Place> {
        if is_listed(key) {
            return self.listed.get(key).copied();
        }
        let hash = hash(key);
        self.hashed.find(spread(&hash), |slot| slot.hash == hash).map(|slot| slot.place)
    }

    /// Notes where a pair stands, or that there is none.
    pub(super) fn set(&mut self, name: Name, place: Option<Place>) {
        let replaced = match (name, place) {
            (Name::Listed(key), Some(place)) => self.listed.insert(key, place),
            (Name::Listed(key), None) => self.listed.remove(&key),
            (Name::Hashed(hash), place) => self.set_hashed(hash, place),
        };
        self.live += place.map_or(0, |place| u64::from(place.length));
        self.live -= replaced.map_or(0, |place| u64::from(place.length));
    }

    fn set_hashed(&mut self, hash: [u8; HASH_BYTES], place: Option<Place>) -> Option<Place> {
        use hashbrown::hash_table::Entry;
        let entry = self.hashed.entry(spread(&hash), |slot| slot.hash == hash, |slot| spread(&slot.hash));
        match (entry, place) {
            (Entry::Occupied(mut entry), Some(place)) => Some(std::mem::replace(&mut entry.get_mut().place, place)),
            (Entry::Occupied(entry), None) => Some(entry.remove().0.place),
            (Entry::Vacant(entry), place) => {
                place.map(|place| entry.insert(Slot { hash, place }));
                None
            }
        }
    }

    /// Where the pairs stand whose keys may start with `prefix`: those and no others, unless some are not listed.
    pub(super) fn candidates(&self, prefix: &[u8]) -> Vec<Place> {
        let listed = self.listed.range(prefix.to_vec()..).take_while(|(key, _)| key.starts_with(prefix));
        let mut places: Vec<Place> = listed.map(|(_, place)| *place).collect();
        if !are_listed(prefix) {
            places.extend(self.hashed.iter().map(|slot| slot.place));
        }
        places
    }

    pub(super) fn keys(&self) -> usize {
        self.listed.len() + self.hashed.len()
    }
}

/// The mark that a snapshot was made at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    pub(super) file: u32,
    pub(super) mark: u32,
    pub(super) sequence: u64,
}

/// Writes a snapshot aside; [`publish`] puts it in its place.
pub(super) fn write(dir: &Path, index: &Index, at: At) -> Result<File> {
    let mut out = Summed {
        inner: BufWriter::with_capacity(1 << 16, File::create(dir.join(FILE).with_extension("new"))?),
        crc: 0,
    };
    out.write_all(&MAGIC.to_le_bytes())?;
    out.write_all(&at.file.to_le_bytes())?;
    out.write_all(&at.mark.to_le_bytes())?;
    out.write_all(&at.sequence.to_le_bytes())?;
    out.write_all(&(index.hashed.len() as u64).to_le_bytes())?;
    out.write_all(&(index.listed.len() as u64).to_le_bytes())?;
    for slot in &index.hashed {
        out.write_all(&slot.hash)?;
        out.write_all(&encode(slot.place))?;
    }
    for (key, place) in &index.listed {
        out.write_all(&encode(*place))?;
        out.write_all(&(key.len() as u32).to_le_bytes())?;
        out.write_all(key)?;
    }
    let crc = out.crc;
    out.write_all(&crc.to_le_bytes())?;
    out.inner.into_inner().map_err(std::io::IntoInnerError::into_error)
}

/// Makes what [`write`] wrote the snapshot.
pub(super) fn publish(dir: &Path, written: &File) -> Result<()> {
    written.sync_all()?;
    std::fs::rename(dir.join(FILE).with_extension("new"), dir.join(FILE))
}

/// The snapshot, if there is one and it is whole.
pub(super) fn read(dir: &Path) -> Option<(At, Index)> {
    let file = File::open(dir.join(FILE)).ok()?;
    let length = file.metadata().ok()?.len();
    let mut input = Summed { inner: BufReader::with_capacity(1 << 16, file), crc: 0 };
    if u64::from_le_bytes(array(&mut input)?) != MAGIC {
        return None;
    }
    let (file, mark) = (u32::from_le_bytes(array(&mut input)?), u32::from_le_bytes(array(&mut input)?));
    let at = At { file, mark, sequence: u64::from_le_bytes(array(&mut input)?) };
    let (hashed, listed) = (u64::from_le_bytes(array(&mut input)?), u64::from_le_bytes(array(&mut input)?));
    let mut index = Index::default();
    index.hashed.reserve(hashed.min(length / 24) as usize, |slot| spread(&slot.hash));
    for _ in 0..hashed {
        let name = Name::Hashed(array(&mut input)?);
        index.set(name, Some(decode(array(&mut input)?)));
    }
    for _ in 0..listed {
        let place = decode(array(&mut input)?);
        let bytes = u64::from(u32::from_le_bytes(array(&mut input)?));
        let mut key = vec![0; bytes.min(length) as usize];
        input.read_exact(&mut key).ok()?;
        index.set(Name::Listed(key), Some(place));
    }
    let crc = input.crc;
    (u32::from_le_bytes(array(&mut input)?) == crc).then_some((at, index))
}

fn array<const N: usize>(input: &mut impl Read) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

fn encode(place: Place) -> [u8; PLACE_BYTES] {
    let fields = [place.file, place.at, place.length];
    std::array::from_fn(|byte| fields[byte / 4].to_le_bytes()[byte % 4])
}

fn decode(bytes: [u8; PLACE_BYTES]) -> Place {
    let [file, at, length] =
        std::array::from_fn(|field| u32::from_le_bytes(std::array::from_fn(|byte| bytes[field * 4 + byte])));
    Place { file, at, length }
}

/// Sums up what goes through it.
struct Summed<T> {
    inner: T,
    crc: u32,
}

impl<T: Write> Write for Summed<T> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let written = self.inner.write(bytes)?;
        self.crc = crc32c::crc32c_append(self.crc, &bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Summed<T> {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize> {
        let read = self.inner.read(bytes)?;
        self.crc = crc32c::crc32c_append(self.crc, &bytes[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_is_found_by_its_prefix() {
        let listed: [&[u8]; 7] = [
            b"timer/x",
            b"group/g/t/0",
            b"\0start/\0",
            b"state/task:g/0\0timer/x",
            b"state/connector:c\0state/x",
            b"state/connector:c\0",
            b"rows",
        ];
        let others: [&[u8]; 4] = [b"state/k", b"row/s/k\0\0", b"state/task:g/0\0state/k", b"state/task:g/0\0row/s/k\0"];
        assert!(listed.iter().all(|key| is_listed(key)) && !others.iter().any(|key| is_listed(key)));
        for other in others {
            assert!((0..=other.len()).all(|length| !are_listed(&other[..length])), "its beginnings may be others");
        }
        let asked: [&[u8]; 6] =
            [b"timer/", b"seen/", b"group/", b"\0start/", b"state/task:g/0\0seen/", b"state/connector:c\0"];
        assert!(asked.iter().all(|prefix| are_listed(prefix)), "nothing is walked for what the program asks");
    }
}
