//! Named maxima of the Kafka broker.

use std::time::Duration;

/// Bytes of the largest record that a changelog takes.
pub(super) const RECORD_BYTES_MAX: usize = 16 << 20;
/// How long a question to the cluster may take.
pub(super) const ASK_MAX: Duration = Duration::from_secs(20);
/// How long a first answer is waited for at first, until what the client says meanwhile is listened to; then twice as long.
pub(super) const REACH_MIN: Duration = Duration::from_secs(1);
/// How long a client is listened to: a poll that may not wait hears one event.
pub(super) const LISTEN_MAX: Duration = Duration::from_millis(10);
/// How long a question to the schema registry may take.
pub(super) const REGISTRY_ASK_MAX: Duration = Duration::from_secs(10);
/// How long a producer may take to begin: it waits for the end of what its predecessor left open.
pub(super) const INIT_MAX: Duration = Duration::from_secs(30);
/// Time between two looks whether everything is acknowledged.
pub(super) const FLUSH_TICK: Duration = Duration::from_millis(1);
/// How long what is committed may take to show, besides the time for which another's transaction may stay open.
pub(super) const SETTLE_MAX: Duration = Duration::from_secs(15);
/// How long records that are known to be there may take to come.
pub(super) const FETCH_MAX: Duration = Duration::from_secs(30);
/// How long the restore of a state may stand still, besides the time for which a predecessor's transaction may stay open.
pub(super) const RESTORE_STALL_MAX: Duration = Duration::from_secs(75);
/// Time between two looks whether a commit shows.
pub(super) const SETTLE_TICK: Duration = Duration::from_millis(2);
/// Age at which what was applied to a store is written through to the disk.
pub(super) const STORE_FLUSH_MAX: Duration = Duration::from_secs(10);
/// Bytes of changes of one store after which they are written through to the disk.
pub(super) const STORE_CHANGED_BYTES_MAX: usize = 2 << 20;
/// Longest time between two heartbeats of a member.
pub(super) const HEARTBEAT_MAX: Duration = Duration::from_secs(3);
/// How long a group waits for a member that is alive and does not poll, or a session if that is longer.
pub(super) const POLL_INTERVAL_MAX: Duration = Duration::from_mins(5);
/// How long a member that leaves waits until it is out of the group.
pub(super) const LEAVE_MAX: Duration = Duration::from_secs(5);
/// Time to look at one partition while all are waited for.
pub(super) const LOOK_MAX: Duration = Duration::from_millis(5);
/// `delete.retention.ms` of changelogs: how long a tombstone can still be read.
pub(super) const TOMBSTONES_MAX: Duration = Duration::from_hours(7 * 24);
/// Time between two looks at what others have committed.
pub(super) const WAIT_MAX: Duration = Duration::from_millis(20);
