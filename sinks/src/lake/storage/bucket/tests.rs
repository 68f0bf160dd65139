//! What is made in a bucket.

use std::sync::atomic::{AtomicU32, Ordering};

use skuflow_runtime::testing::s3::{S3, seaweedfs, versitygw};

use super::*;

#[expect(dead_code, reason = "the tests of lakes use all of it")]
#[path = "../../../../tests/lake/proxy.rs"]
mod proxy;

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop").block_on(future)
}

/// A lake of its own for each `name`.
fn bucket(server: &S3, name: &str) -> Bucket {
    reached_by(server.endpoint(), name)
}

fn reached_by(endpoint: String, name: &str) -> Bucket {
    let place = BucketPlace { bucket: S3::BUCKET.into(), prefix: format!("files/{name}") };
    let keys = Keys { id: S3::KEY_ID.into(), secret: S3::SECRET.into(), token: None };
    let (endpoint, keys) = (Some(endpoint), Some(keys));
    Bucket::open(&place, &Access { endpoint, keys, allow_http: true, ..Access::default() }).expect("opens")
}

fn servers() -> impl Iterator<Item = &'static S3> {
    [seaweedfs(), versitygw()].into_iter().flatten()
}

#[test]
fn what_is_there_says_what_a_call_came_to() {
    use io::ErrorKind::{AlreadyExists, Other};
    assert_eq!(next(AlreadyExists, Found::Ours, 3), Next::Done, "our own call, whose answer got lost");
    assert_eq!(next(Other, Found::Ours, 0), Next::Done);
    assert_eq!(next(AlreadyExists, Found::Another, 3), Next::Fails(AlreadyExists));
    assert_eq!(next(Other, Found::Another, 3), Next::Fails(AlreadyExists));
    assert_eq!(next(AlreadyExists, Found::Nothing, 1), Next::Again, "a conflict that is over");
    assert_eq!(next(AlreadyExists, Found::Nothing, 0), Next::Fails(Other), "there is none, whatever was said");
    assert_eq!(next(Other, Found::Nothing, 0), Next::Fails(Other));
}

#[test]
fn the_bucket_is_in_the_path_or_in_the_name_of_the_host() {
    assert_eq!(host_of("http://127.0.0.1:1/", None), "http://127.0.0.1:1");
    assert_eq!(host_of("https://s3.example.com", Some("bkt")), "https://bkt.s3.example.com");
}

#[test]
fn the_environment_says_who_asks_and_not_where() {
    let said = [
        ("AWS_ACCESS_KEY_ID", "me"),
        ("AWS_ENDPOINT_URL", "http://x"),
        ("AWS_ENDPOINT_URL_S3", "http://y"),
        ("HOME", "/"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let builder = from_environment(said.into_iter());
    let found = |key| builder.get_config_value(&key);
    assert_eq!(found(AmazonS3ConfigKey::AccessKeyId).as_deref(), Some("me"));
    assert_eq!((found(AmazonS3ConfigKey::Endpoint), found(AmazonS3ConfigKey::S3Endpoint)), (None, None));
}

#[test]
fn an_address_names_what_is_in_the_bucket() {
    let place = BucketPlace { bucket: "bkt".into(), prefix: "lake".into() };
    let keys = Keys { id: "me".into(), secret: "hidden".into(), token: None };
    let bucket = Bucket::open(&place, &Access { keys: Some(keys), ..Access::default() }).expect("opens");
    let address = bucket.address("t/customer=%2E/x");
    assert_eq!(address, "s3://bkt/lake/t/customer=%2E/x");
    let (store, key) = bucket.object(&address).expect("in it");
    assert_eq!((key.as_ref(), store.to_string().as_str()), ("lake/t/customer=%2E/x", "AmazonS3(bkt)"), "as it is");
    let (other, _) = bucket.object("s3://bkt2/k").expect("where a catalog places a table");
    assert_eq!(other.to_string(), "AmazonS3(bkt2)");
    for other in ["file:///bkt/k", "s3://bkt"] {
        assert_eq!(bucket.object(other).expect_err("nowhere").kind(), io::ErrorKind::InvalidData, "{other}");
    }
    let shown = format!("{bucket:?} {}", serde_json::to_string(&bucket as &dyn Storage).expect("plain"));
    assert!(!shown.contains("hidden"), "{shown}");
}

#[test]
fn an_object_is_made_once() {
    for server in servers() {
        wait(async {
            let bucket = bucket(server, "once");
            let address = bucket.address("t/customer=%2E/x y");
            let ((), bytes) = bucket.create(&address, |out| out.write_all(b"first")).await.expect("new");
            let again = bucket.create(&address, |out| out.write_all(b"second")).await.expect_err("there is one");
            assert_eq!((bytes, again.kind()), (5, io::ErrorKind::AlreadyExists), "{again}");
            let same = bucket.create(&address, |out| out.write_all(b"first")).await.expect_err("it is another's");
            assert_eq!(same.kind(), io::ErrorKind::AlreadyExists, "{same}");
            let other = bucket.address("y");
            let failing = bucket.create(&other, |_| Err::<(), _>(io::ErrorKind::StorageFull.into()));
            assert_eq!(failing.await.expect_err("no space").kind(), io::ErrorKind::StorageFull);
            assert_eq!(bucket.get(&address).await.expect("there"), "first");
            let mut copy = String::new();
            bucket.source(&address).await.expect("there").read_to_string(&mut copy).expect("a file");
            assert_eq!(copy, "first");
            let listed = bucket.list(&bucket.address("t")).await.expect("answers");
            assert_eq!(listed.iter().map(|file| (&file.address, file.bytes)).collect::<Vec<_>>(), [(&address, 5)]);
            assert_eq!(bucket.list(&bucket.address("none")).await.expect("answers"), []);
            let hint = bucket.address("hint");
            for text in ["1", "22"] {
                bucket.replace(&hint, text).await.expect("there or not");
                assert_eq!(bucket.get(&hint).await.expect("there"), text);
            }
            for _ in 0..2 {
                bucket.remove(&address).await.expect("there or not");
            }
            assert!(bucket.exists(&hint).await.expect("answers") && !bucket.exists(&address).await.expect("answers"));
            assert_eq!(
                bucket.list(&bucket.address("t/customer=%2E")).await.expect("answers"),
                [],
                "a folder is no file"
            );
            assert_eq!(bucket.get(&address).await.expect_err("gone").kind(), io::ErrorKind::NotFound);
        });
    }
}

/// A file that is put in parts, no two of them alike.
fn large() -> Vec<u8> {
    let mut state = 1_u64;
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_le_bytes()
    });
    words.flatten().take(PUT_BYTES_MAX as usize + 12_345).collect()
}

#[test]
fn a_large_object_is_made_of_parts_and_whole_or_not_at_all() {
    let large = large();
    for server in servers() {
        wait(async {
            let bucket = bucket(server, "large");
            let address = bucket.address("large");
            let ((), bytes) = bucket.create(&address, |out| out.write_all(&large)).await.expect("new");
            assert_eq!(bytes, large.len() as u64);
            assert!(bucket.get(&address).await.expect("there") == large, "the same bytes");
            let again = bucket.create(&address, |out| out.write_all(&large)).await.expect_err("there is one");
            assert_eq!(again.kind(), io::ErrorKind::AlreadyExists, "{again}");
            bucket.remove(&address).await.expect("there");

            let breaks = bucket.address("breaks");
            let mut half = large[..large.len() / 2].chain(Breaks);
            let broken = bucket.put_parts(&breaks, &mut half, bytes).await.expect_err("its end is missing");
            assert_eq!(broken.kind(), io::ErrorKind::UnexpectedEof, "{broken}");
            assert!(!bucket.exists(&breaks).await.expect("answers"));
        });
    }
    let parts = versitygw().map(|server| server.folder().join(".sgwtmp/multipart"));
    let left = parts.and_then(|parts| std::fs::read_dir(parts).ok()).into_iter().flatten();
    let left: Vec<_> =
        left.flatten().flat_map(|of| std::fs::read_dir(of.path()).expect("a folder").flatten()).collect();
    assert!(left.is_empty(), "parts stay: {left:?}");
}

/// The answer that says that all parts are one object gets lost, or is an error, and nothing more is said of what is made. What is
/// not made is asked for again.
#[test]
fn a_large_object_whose_last_answer_got_lost_is_made() {
    let large = large();
    for server in servers() {
        for fault in [proxy::Fault::Unanswered, proxy::Fault::Answered500, proxy::Fault::Dropped] {
            let completions = Arc::new(AtomicU32::new(0));
            let counted = completions.clone();
            let proxy = proxy::Proxy::start(&server.endpoint(), move |method, path| {
                let is_completion = method == "POST" && path.contains("uploadId=");
                match is_completion.then(|| counted.fetch_add(1, Ordering::Relaxed))? {
                    0 => Some(fault),
                    _ => (fault != proxy::Fault::Dropped).then_some(proxy::Fault::Refused409),
                }
            });
            let bucket = reached_by(proxy.endpoint(), &format!("lost-{fault:?}"));
            wait(async {
                let address = bucket.address("large");
                bucket.create(&address, |out| out.write_all(&large)).await.expect("made");
                assert!(bucket.get(&address).await.expect("there") == large, "{fault:?}: the same bytes");
                bucket.remove(&address).await.expect("there");
            });
            assert!(completions.load(Ordering::Relaxed) > 0, "{fault:?}");
        }
    }
}

/// What cannot be read.
struct Breaks;

impl Read for Breaks {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}
