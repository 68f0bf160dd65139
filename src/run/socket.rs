//! `control.sock`: other commands ask a running `run`, which owns the data directory.
//!
//! One request per connection, a line of JSON; the answer is a line of JSON.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use skuflow_runtime::stage::Control;

use crate::config::Loaded;
use crate::inspect::{Answer, Remedy, Request, answer};
use crate::run::Opened;

/// Longest request.
const REQUEST_BYTES_MAX: u64 = 1 << 20;
/// How long a client may take to ask.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a stop is looked for.
const TICK: Duration = Duration::from_millis(20);

/// Where the socket of a data directory is.
pub fn socket_path(data_dir: &Path) -> PathBuf {
    data_dir.join("control.sock")
}

/// Asks the `run` that owns `data_dir`; `None` where there is none.
pub fn ask(data_dir: &Path, request: &Request) -> Option<std::io::Result<Answer>> {
    let mut stream = UnixStream::connect(socket_path(data_dir)).ok()?;
    let exchange = |stream: &mut UnixStream| {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line)?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(serde_json::from_str(&text)?)
    };
    Some(exchange(&mut stream))
}

/// Answers until it is dropped.
pub(super) struct Socket {
    path: PathBuf,
    closing: Arc<std::sync::atomic::AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.closing.store(true, std::sync::atomic::Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _a_panic_was_reported_there = thread.join();
        }
        let _nobody_connects_any_more = std::fs::remove_file(&self.path);
    }
}

/// Opens the socket; a run goes on without one where it cannot be made.
pub(super) fn serve(loaded: &Arc<Loaded>, broker: Opened, control: &Arc<Control>) -> Option<Socket> {
    let path = socket_path(&loaded.data_dir());
    let _left_by_a_run_that_was_killed = std::fs::remove_file(&path);
    let bound = UnixListener::bind(&path).and_then(|listener| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    let listener = match bound {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "other commands cannot reach this run");
            return None;
        }
    };
    let closing = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (loaded, control, until) = (loaded.clone(), control.clone(), closing.clone());
    let thread = std::thread::spawn(move || {
        while !until.load(std::sync::atomic::Ordering::Relaxed) {
            match listener.accept() {
                Ok((stream, _)) => {
                    if let Err(error) = reply(stream, &loaded, &broker, &control) {
                        tracing::debug!(%error, "a request was not answered");
                    }
                }
                Err(_) => std::thread::park_timeout(TICK),
            }
        }
    });
    Some(Socket { path, closing, thread: Some(thread) })
}

fn reply(stream: UnixStream, loaded: &Loaded, broker: &Opened, _control: &Control) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(ASK_TIMEOUT))?;
    stream.set_write_timeout(Some(ASK_TIMEOUT))?;
    let mut line = String::new();
    BufReader::new(stream.try_clone()?).take(REQUEST_BYTES_MAX).read_line(&mut line)?;
    let answer = match serde_json::from_str::<Request>(&line) {
        Ok(Request::DropOffsets { .. }) => {
            let reason = "a run is at work, and retention goes by the positions it knows; stop it first".to_owned();
            Answer::Failed(Remedy::Wait, reason)
        }
        Ok(request) => answer(&request, &**broker, loaded),
        Err(error) => Answer::Failed(Remedy::Ask, format!("the request does not decode: {error}")),
    };
    let answer = match answer {
        Answer::Failed(remedy, reason) => Answer::Failed(remedy, loaded.variables.conceal(&reason)),
        rows @ Answer::Rows(_) => rows,
    };
    (&stream).write_all(&serde_json::to_vec(&answer)?)
}
