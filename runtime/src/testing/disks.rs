//! File systems of a test's own, which take root.
#![expect(clippy::print_stderr, reason = "a test says what it skips")]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use super::is_required;

/// A file system with room for a number of bytes.
pub struct SmallDisk(TempDir);

impl SmallDisk {
    /// Mounts one. `None` where that cannot be done, which is said, and is a failure where `SKUFLOW_REQUIRE` wants it.
    ///
    /// # Panics
    /// See above.
    pub fn mount(bytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let size = format!("size={bytes}");
        if run(
            "mount",
            ["-t", "tmpfs", "-o", &size, "tmpfs"].map(OsStr::new).into_iter().chain([dir.path().as_os_str()]),
        ) {
            return Some(Self(dir));
        }
        assert!(!is_required("tmpfs"), "tmpfs is required");
        eprintln!("skipped: tmpfs (mounting needs root)");
        None
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(self.0.path());
    }
}

const DEVICE_BYTES: u64 = 32 << 20;

/// A file system on a device that can be seen as a loss of power would leave it: what is not flushed is not there.
pub struct Device {
    home: TempDir,
    has_journal: bool,
    copies: AtomicU32,
}

impl Device {
    /// Makes one with ext4, with a journal or without: without, a flushed file may still have no name. `None` where that
    /// cannot be done, see [`SmallDisk::mount`].
    ///
    /// # Panics
    /// See above.
    pub fn mount(has_journal: bool) -> Option<Self> {
        let home = tempfile::tempdir().expect("a temporary directory");
        let device = Self { home, has_journal, copies: AtomicU32::new(0) };
        fs::create_dir(device.path()).expect("new");
        let image = device.image();
        File::create_new(&image).and_then(|file| file.set_len(DEVICE_BYTES)).expect("writable");
        let journal = if has_journal { "has_journal" } else { "^has_journal" };
        let made = run("mkfs.ext4", ["-q", "-F", "-O", journal].map(OsStr::new).into_iter().chain([image.as_os_str()]));
        if made && device.attach() {
            return Some(device);
        }
        assert!(!is_required("ext4"), "ext4 on a loop device is required");
        eprintln!("skipped: ext4 (mounting needs root, loop devices and mkfs.ext4)");
        None
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.home.path().join("mounted")
    }

    /// A copy of the device as it is.
    ///
    /// # Panics
    /// Where there is no space.
    pub fn copy(&self) -> PathBuf {
        let copy = self.home.path().join(format!("copy-{}", self.copies.fetch_add(1, Ordering::Relaxed)));
        let copied = run("cp", [OsStr::new("--sparse=always"), self.image().as_os_str(), copy.as_os_str()]);
        assert!(copied, "the device is copied");
        copy
    }

    /// Starts again from a copy, mended as a machine does that starts.
    ///
    /// # Panics
    /// Where it cannot be mended.
    pub fn start_from(&self, copy: &Path) {
        unmount(&self.path());
        fs::rename(copy, self.image()).expect("both are there");
        // it says by its exit code whether there was something to mend
        run("e2fsck", [OsStr::new("-fy"), self.image().as_os_str()]);
        assert!(self.attach(), "the mended file system is mounted");
    }

    fn image(&self) -> PathBuf {
        self.home.path().join("image")
    }

    /// Mounts the image; what is in no flushed file waits for longer than a test takes.
    fn attach(&self) -> bool {
        let options = ["-o", if self.has_journal { "loop,commit=300" } else { "loop" }].map(OsStr::new);
        run("mount", options.into_iter().chain([self.image().as_os_str(), self.path().as_os_str()]))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        unmount(&self.path());
    }
}

fn unmount(path: &Path) {
    run("umount", [OsStr::new("-l"), path.as_os_str()]); // the directory goes anyway
}

/// Whether it could be run, and did what it should.
fn run<'a>(program: &str, arguments: impl IntoIterator<Item = &'a OsStr>) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}
