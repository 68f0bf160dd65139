//! Programs that tests start: on a leash that a killed test lets go of, out of a cache in cargo's target folder.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const START_MAX: Duration = Duration::from_secs(90);

/// Holds a program: the shell's input is a pipe from the test's process, which says when to kill the program and when to
/// start it again. Whichever way that process ends, the pipe closes, and the shell ends the program and removes what it wrote.
const SHELL: &str = r#"start() { "$@" >>"$DIR/server.log" 2>&1 & pid=$!; }
start "$@"
while read -r word; do
    case $word in
        kill) kill -"$END" $pid; wait $pid 2>/dev/null ;;
        start) start "$@" ;;
    esac
done
kill -"$END" $pid; wait $pid 2>/dev/null; rm -rf "$DIR""#;

/// A running program that listens on a port of the loopback.
pub(super) struct Leash {
    shell: Child,
    name: &'static str,
    pub(super) dir: PathBuf,
    pub(super) port: u16,
}

impl Leash {
    /// Starts `command` and waits until it listens on `port`. What it writes in `dir` goes with it. The signal `end` ends it
    /// at once.
    pub(super) fn start(name: &'static str, dir: PathBuf, port: u16, command: &Command, end: &str) -> Self {
        let shell = Command::new("sh")
            .args(["-c", SHELL, "sh"])
            .arg(command.get_program())
            .args(command.get_args())
            .current_dir(command.get_current_dir().unwrap_or(Path::new(".")))
            .env("DIR", &dir)
            .env("END", end)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let leash = Self { shell, name, dir, port };
        leash.wait_until("starts", |is_there| is_there);
        leash
    }

    /// Ends the program at once.
    pub(super) fn kill(&mut self) {
        self.say("kill\n");
        self.wait_until("ends", |is_there| !is_there);
    }

    /// Starts it again, with what it had.
    pub(super) fn start_again(&mut self) {
        self.say("start\n");
        self.wait_until("starts", |is_there| is_there);
    }

    fn say(&mut self, word: &str) {
        let shell = self.shell.stdin.as_mut().expect("it is held until it is dropped");
        shell.write_all(word.as_bytes()).expect("the shell listens");
    }

    fn wait_until(&self, what: &str, holds: impl Fn(bool) -> bool) {
        let until = Instant::now() + START_MAX;
        while !holds(TcpStream::connect(("127.0.0.1", self.port)).is_ok()) {
            let log = || fs::read_to_string(self.dir.join("server.log")).unwrap_or_default();
            assert!(Instant::now() < until, "{} {what}: not within {START_MAX:?}: {}", self.name, log());
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _it_ends_by_itself = self.shell.wait();
    }
}

/// Waits until it is so.
pub(super) fn until(what: &str, holds: impl Fn() -> bool) {
    let until = Instant::now() + START_MAX;
    while !holds() {
        assert!(Instant::now() < until, "{what}: not within {START_MAX:?}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// The folder `name` in cargo's target folder. The first process that needs it makes it: `fill` gets a folder beside, and says
/// which one in there is it.
pub(super) fn cached(name: &str, fill: impl FnOnce(&Path) -> io::Result<PathBuf>) -> io::Result<PathBuf> {
    let target = target_dir()?;
    let folder = target.join(name);
    let lock = File::create(target.join(format!("{name}.lock")))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;
    if !folder.exists() {
        let aside = tempfile::tempdir_in(&target)?;
        fs::rename(fill(aside.path())?, &folder)?;
    }
    Ok(folder)
}

/// Runs a command; what it said where it fails.
pub(super) fn run(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(io::Error::other(String::from_utf8_lossy(&said).into_owned()))
}

/// Whether a program can be called.
pub(super) fn is_there(program: &str) -> bool {
    Command::new(program).arg("-version").output().is_ok()
}

pub(super) fn free_ports<const N: usize>() -> [u16; N] {
    let bound = [(); N].map(|()| TcpListener::bind(("127.0.0.1", 0)).expect("a free port"));
    bound.map(|listener| listener.local_addr().expect("bound").port())
}

/// The folder that cargo marks as a cache, above this program.
fn target_dir() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().find(|dir| dir.join("CACHEDIR.TAG").exists());
    target.map(Path::to_owned).ok_or_else(|| io::Error::other("a test runs in cargo's target folder"))
}
