//! Which files become one, and which go: pure.

use std::collections::HashMap;

use iceberg::spec::{Literal, PartitionSpec, PrimitiveLiteral, Struct, Transform};

use super::files::Live;
use crate::limits::{COMPACT_BYTES_MAX, MERGE_FILES_MAX, QUIET_MICROS, SMALL_FILE_BYTES, TINY_FILE_BYTES};

const HOUR_MICROS: i64 = 3_600_000_000;
const DAY_MICROS: i64 = 24 * HOUR_MICROS;

/// The files that become one each, by their places in `live`: small ones of the same part of the table that are not new, and of
/// a part whose time goes on tiny ones, so that a day of small commits is not a file for each of them, and little is written
/// again. Those of a part stay as they are while there are fewer than `files_min`.
///
/// A part that rows still come to, days late, is none the less put in order: it is each file that has to be quiet.
pub(super) fn merges(live: &[Live], spec: &PartitionSpec, now: i64, files_min: usize) -> Vec<Vec<usize>> {
    let quiet_since = now - QUIET_MICROS;
    let mut parts: HashMap<&Struct, Vec<usize>> = HashMap::new();
    for (place, Live { spec_id, file, newest, .. }) in live.iter().enumerate() {
        let is_over = ends(spec, file.partition()) <= quiet_since;
        let is_small = file.file_size_in_bytes() < if is_over { SMALL_FILE_BYTES } else { TINY_FILE_BYTES };
        let is_quiet = newest.is_some_and(|newest| newest <= quiet_since);
        if is_small && is_quiet && *spec_id == spec.spec_id() {
            parts.entry(file.partition()).or_default().push(place);
        }
    }
    let mut merges = Vec::new();
    for places in parts.into_values().filter(|places| places.len() >= files_min.max(2)) {
        merges.extend(filled(&places, |place| live[place].file.file_size_in_bytes()));
    }
    merges.sort_unstable(); // the oldest first
    merges
}

/// In their order, as many together as may become one; one alone stays as it is.
fn filled(places: &[usize], bytes: impl Fn(usize) -> u64) -> Vec<Vec<usize>> {
    let (mut merges, mut total) = (vec![Vec::new()], 0);
    for place in places {
        let merge = merges.last().expect("there is one");
        if merge.len() == MERGE_FILES_MAX || total + bytes(*place) > COMPACT_BYTES_MAX {
            merges.push(Vec::new());
            total = 0;
        }
        total += bytes(*place);
        merges.last_mut().expect("there is one").push(*place);
    }
    merges.retain(|merge| merge.len() > 1);
    merges
}

/// When the time of a part ends, microseconds; a part without time has none that could go on.
fn ends(spec: &PartitionSpec, partition: &Struct) -> i64 {
    let ends = spec.fields().iter().zip(partition.iter()).filter_map(|(field, value)| {
        let Some(Literal::Primitive(PrimitiveLiteral::Int(number))) = value else { return None };
        match field.transform {
            Transform::Day => Some((i64::from(*number) + 1).saturating_mul(DAY_MICROS)),
            Transform::Hour => Some((i64::from(*number) + 1).saturating_mul(HOUR_MICROS)),
            _ => None,
        }
    });
    ends.max().unwrap_or(i64::MIN)
}

/// The files whose newest row the lake took in before `until`. Where that is not known a file stays.
pub(super) fn outlived(live: &[Live], until: i64) -> Vec<usize> {
    let is_old = |live: &Live| live.newest.is_some_and(|newest| newest < until);
    (0..live.len()).filter(|place| is_old(&live[*place])).collect()
}

#[cfg(test)]
mod tests {
    use iceberg::spec::{DataContentType, DataFileBuilder, DataFileFormat, NestedField, PrimitiveType, Schema, Type};

    use super::*;

    const MIB: u64 = 1 << 20;
    /// The end of day 3, and an hour more.
    const NOW: i64 = 4 * DAY_MICROS + HOUR_MICROS;

    fn spec() -> PartitionSpec {
        let time = NestedField::required(1, "observed_at", Type::Primitive(PrimitiveType::Timestamptz));
        let schema = Schema::builder().with_fields([time.into()]).build().expect("a field");
        let spec = PartitionSpec::builder(schema).add_partition_field("observed_at", "date", Transform::Day);
        spec.expect("a day").build().expect("a spec")
    }

    /// A file of a day, of so many MiB, with the hours since its newest row came.
    fn file(day: i32, mib: u64, hours: Option<i64>) -> Live {
        let file = DataFileBuilder::default()
            .content(DataContentType::Data)
            .file_path("x".into())
            .file_format(DataFileFormat::Parquet)
            .partition(Struct::from_iter([Some(Literal::date(day))]))
            .record_count(1)
            .file_size_in_bytes(mib * MIB)
            .build()
            .expect("whole");
        Live { spec_id: 0, sequence: 0, file, newest: hours.map(|hours| NOW - hours * HOUR_MICROS) }
    }

    fn check(files: &[Live], files_min: usize, expected: &[&[usize]]) {
        assert_eq!(merges(files, &spec(), NOW, files_min), expected);
    }

    #[test]
    fn small_files_of_a_day_that_is_over_become_one() {
        let files: Vec<Live> = (0..6).map(|place| file(2 + place % 2, 1, Some(1))).collect();
        check(&files, 3, &[&[0, 2, 4], &[1, 3, 5]]);
        check(&files, 4, &[]);
        assert_eq!(merges(&files, &spec(), NOW - 1, 3), [[0, 2, 4]; 0], "a microsecond less than an hour");
    }

    #[test]
    fn files_that_are_new_or_large_stay() {
        let files = [
            file(3, 1, Some(1)),
            file(3, 32, Some(1)),
            file(3, 1, Some(0)),
            file(3, 1, None),
            file(3, 31, Some(9)),
            Live { spec_id: 1, ..file(3, 1, Some(1)) },
        ];
        check(&files, 0, &[&[0, 4]]);
    }

    #[test]
    fn of_a_day_that_goes_on_tiny_files_become_one() {
        let files =
            [file(4, 3, Some(1)), file(4, 4, Some(1)), file(4, 0, Some(0)), file(4, 0, Some(1)), file(4, 31, Some(1))];
        check(&files, 2, &[&[0, 3]]);
        check(&files, 3, &[]);
    }

    #[test]
    fn a_merge_is_bounded_in_bytes_and_files() {
        let files: Vec<Live> = (0..19).map(|_| file(0, 30, Some(5))).collect();
        check(&files, 8, &[&[0, 1, 2, 3, 4, 5, 6, 7], &[8, 9, 10, 11, 12, 13, 14, 15], &[16, 17, 18]]);
        let files: Vec<Live> = (0..=MERGE_FILES_MAX).map(|_| file(0, 0, Some(5))).collect();
        let merges = merges(&files, &spec(), NOW, 8);
        assert_eq!(merges.iter().map(Vec::len).collect::<Vec<_>>(), [MERGE_FILES_MAX], "the last one alone stays");
    }

    #[test]
    fn a_file_goes_with_its_newest_row() {
        let files = [file(0, 1, Some(9)), file(0, 1, Some(10)), file(3, 1, Some(11)), file(0, 1, None)];
        assert_eq!(outlived(&files, NOW - 10 * HOUR_MICROS), [2]);
    }
}
