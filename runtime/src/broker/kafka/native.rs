//! The one file that calls librdkafka itself, for what `rdkafka` does not offer: reading one partition in batches with the
//! positions of control markers, the generation of a member, and the ids of topics.
#![expect(unsafe_code, reason = "calls into a C library")]

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as c;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::producer::{BaseProducer, Producer as _, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;

use super::settings::Logs;
use crate::broker::Header;

/// A client that reads; what it does not join, it does not answer for.
pub(super) type Client = BaseConsumer<Logs>;

/// Records taken from librdkafka at a time.
const TAKEN_MAX: usize = 512;

/// One partition that is being fetched.
pub(super) struct Fetching {
    topic: NonNull<c::rd_kafka_topic_t>,
    partition: i32,
    taken: Vec<*mut c::rd_kafka_message_t>,
    _lives_longer_than_its_topic: Arc<Client>,
}

// SAFETY: librdkafka's objects may be used from any thread; this one is used by one at a time.
unsafe impl Send for Fetching {}

/// What a partition gave.
pub(super) enum Taken<'a> {
    Record {
        offset: i64,
        /// In milliseconds.
        appended_at: i64,
        key: Option<&'a [u8]>,
        value: Option<&'a [u8]>,
        headers: &'a [Header<'a>],
    },
    /// The end, and its offset.
    End(i64),
    Failed(RDKafkaErrorCode),
}

impl Fetching {
    /// Begins to fetch a partition at `offset`. A client fetches a partition once at a time.
    pub(super) fn start(client: &Arc<Client>, topic: &str, partition: u32, offset: u64) -> Result<Self, String> {
        let name = CString::new(topic).map_err(|error| error.to_string())?;
        // SAFETY: the client outlives the topic, the name the call.
        let topic = unsafe { c::rd_kafka_topic_new(client.client().native_ptr(), name.as_ptr(), ptr::null_mut()) };
        let topic = NonNull::new(topic).ok_or_else(|| last_error().to_string())?;
        let started = Self {
            topic,
            partition: partition as i32,
            taken: vec![ptr::null_mut(); TAKEN_MAX],
            _lives_longer_than_its_topic: client.clone(),
        };
        // SAFETY: the topic is alive.
        match unsafe { c::rd_kafka_consume_start(topic.as_ptr(), started.partition, offset as i64) } {
            0 => Ok(started),
            _ => Err(last_error().to_string()),
        }
    }

    /// Goes to `offset`; nothing that was fetched before comes any more.
    pub(super) fn seek(&self, offset: u64, timeout: Duration) -> Result<(), String> {
        // SAFETY: the topic is alive.
        let code =
            unsafe { c::rd_kafka_seek(self.topic.as_ptr(), self.partition, offset as i64, timeout.as_millis() as i32) };
        match RDKafkaErrorCode::from(code) {
            RDKafkaErrorCode::NoError => Ok(()),
            code => Err(code.to_string()),
        }
    }

    /// Shows what has been fetched, some of it, in order; waits for the first at most `timeout`. How much it was.
    pub(super) fn take(&mut self, timeout: Duration, visit: &mut dyn FnMut(Taken<'_>)) -> usize {
        let waited = if timeout.is_zero() { 0 } else { self.take_up_to(1, timeout, visit) };
        if waited == 0 && !timeout.is_zero() {
            return 0;
        }
        waited + self.take_up_to(TAKEN_MAX, Duration::ZERO, visit) // a call for many would wait until it has them all
    }

    fn take_up_to(&mut self, count: usize, timeout: Duration, visit: &mut dyn FnMut(Taken<'_>)) -> usize {
        let timeout = timeout.as_millis() as i32;
        // SAFETY: the topic is alive, and the buffer has room for `count`.
        let count = unsafe {
            c::rd_kafka_consume_batch(self.topic.as_ptr(), self.partition, timeout, self.taken.as_mut_ptr(), count)
        };
        let Ok(count) = usize::try_from(count) else {
            visit(Taken::Failed(last_error()));
            return 1;
        };
        let mut headers = Vec::new();
        for message in &self.taken[..count] {
            // SAFETY: librdkafka gave the message, which is alive until it is destroyed, here and once.
            unsafe {
                show(&**message, &mut headers, visit);
                c::rd_kafka_message_destroy(*message);
            }
        }
        count
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        // SAFETY: the topic is alive, and not used after.
        unsafe {
            c::rd_kafka_consume_stop(self.topic.as_ptr(), self.partition);
            c::rd_kafka_topic_destroy(self.topic.as_ptr());
        }
    }
}

/// # Safety
/// The message is alive, as librdkafka gave it.
unsafe fn show(message: &c::rd_kafka_message_t, headers: &mut Vec<Header<'static>>, visit: &mut dyn FnMut(Taken<'_>)) {
    match RDKafkaErrorCode::from(message.err) {
        RDKafkaErrorCode::NoError => {}
        RDKafkaErrorCode::PartitionEOF => return visit(Taken::End(message.offset)),
        code => return visit(Taken::Failed(code)),
    }
    headers.clear();
    // SAFETY: what is borrowed from the message here is not kept beyond `visit`.
    unsafe {
        read_headers(message, headers);
        visit(Taken::Record {
            offset: message.offset,
            appended_at: c::rd_kafka_message_timestamp(message, ptr::null_mut()),
            key: bytes(message.key, message.key_len),
            value: bytes(message.payload, message.len),
            headers,
        });
    }
    headers.clear();
}

/// # Safety
/// The message is alive for as long as the headers are used.
unsafe fn read_headers(message: &c::rd_kafka_message_t, into: &mut Vec<Header<'static>>) {
    // SAFETY: each call fills what it is given where it answers with no error.
    unsafe {
        let mut headers = ptr::null_mut();
        if c::rd_kafka_message_headers(message, &raw mut headers) != NO_ERROR {
            return;
        }
        let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
        while c::rd_kafka_header_get_all(headers, into.len(), &raw mut name, &raw mut value, &raw mut size) == NO_ERROR
        {
            let name = CStr::from_ptr(name).to_str().unwrap_or_default();
            into.push((name, bytes(value, size).unwrap_or_default()));
        }
    }
}

const NO_ERROR: c::rd_kafka_resp_err_t = c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;

/// # Safety
/// The bytes are alive for as long as the result is used.
unsafe fn bytes(at: *const c_void, length: usize) -> Option<&'static [u8]> {
    // SAFETY: see above; a null pointer is told apart.
    (!at.is_null()).then(|| unsafe { std::slice::from_raw_parts(at.cast(), length) })
}

fn last_error() -> RDKafkaErrorCode {
    // SAFETY: reads a variable of this thread.
    unsafe { c::rd_kafka_last_error() }.into()
}

/// Sends what is queued, whatever lingers, and waits a little for everything to be acknowledged and heard of.
pub(super) fn flush<C: ProducerContext>(producer: &BaseProducer<C>, timeout: Duration) -> Result<(), RDKafkaErrorCode> {
    // SAFETY: the producer is alive.
    let code = unsafe { c::rd_kafka_flush(producer.client().native_ptr(), timeout.as_millis() as i32) };
    match RDKafkaErrorCode::from(code) {
        RDKafkaErrorCode::NoError => Ok(()),
        code => Err(code),
    }
}

/// Member id and generation of a consumer at this moment; a generation below 1 is none.
pub(super) fn membership<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> Option<(String, i32)> {
    // SAFETY: the consumer is alive; the metadata is ours, read before it is destroyed, once.
    unsafe {
        let metadata = c::rd_kafka_consumer_group_metadata(consumer.client().native_ptr());
        if metadata.is_null() {
            return None;
        }
        let member = c::rd_kafka_consumer_group_metadata_member_id(metadata);
        let member = if member.is_null() { String::new() } else { CStr::from_ptr(member).to_string_lossy().into() };
        let generation = c::rd_kafka_consumer_group_metadata_generation_id(metadata);
        c::rd_kafka_consumer_group_metadata_destroy(metadata);
        Some((member, generation))
    }
}

/// Name, id and count of partitions of those of the topics that exist. The id of a topic that was made anew is another one.
pub(super) fn describe_topics(
    client: &Client,
    names: &[&str],
    timeout: Duration,
) -> Result<Vec<(String, String, u32)>, RDKafkaErrorCode> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<CString> = names.iter().filter_map(|name| CString::new(*name).ok()).collect();
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    // SAFETY: the client and the names outlive the calls; queue, collection and event are ours, and destroyed once, after
    // the last use of what is in them.
    unsafe {
        let native = client.client().native_ptr();
        let queue = c::rd_kafka_queue_new(native);
        let topics = c::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        c::rd_kafka_DescribeTopics(native, topics, ptr::null(), queue);
        c::rd_kafka_TopicCollection_destroy(topics);
        let event = c::rd_kafka_queue_poll(queue, timeout.as_millis() as i32);
        let described = if event.is_null() {
            Err(RDKafkaErrorCode::OperationTimedOut)
        } else {
            match RDKafkaErrorCode::from(c::rd_kafka_event_error(event)) {
                RDKafkaErrorCode::NoError => described(event),
                code => Err(code),
            }
        };
        if !event.is_null() {
            c::rd_kafka_event_destroy(event);
        }
        c::rd_kafka_queue_destroy(queue);
        described
    }
}

/// # Safety
/// The event is alive, and the answer to a description.
unsafe fn described(event: *mut c::rd_kafka_event_t) -> Result<Vec<(String, String, u32)>, RDKafkaErrorCode> {
    // SAFETY: what is in the event lives as long as it, and is copied.
    unsafe {
        let mut count = 0;
        let result = c::rd_kafka_event_DescribeTopics_result(event);
        let topics = c::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        let mut described = Vec::new();
        for at in 0..count {
            let topic = *topics.add(at);
            match RDKafkaErrorCode::from(c::rd_kafka_error_code(c::rd_kafka_TopicDescription_error(topic))) {
                RDKafkaErrorCode::NoError => {}
                // What this client may not see may not be there.
                RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::TopicAuthorizationFailed => continue,
                code => return Err(code),
            }
            let name = CStr::from_ptr(c::rd_kafka_TopicDescription_name(topic)).to_string_lossy().into();
            let id = c::rd_kafka_TopicDescription_topic_id(topic);
            let high = c::rd_kafka_Uuid_most_significant_bits(id);
            let low = c::rd_kafka_Uuid_least_significant_bits(id);
            let mut partitions = 0;
            c::rd_kafka_TopicDescription_partitions(topic, &raw mut partitions);
            described.push((name, format!("{high:016x}{low:016x}"), partitions as u32));
        }
        Ok(described)
    }
}
