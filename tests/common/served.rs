//! A run that serves HTTP on a port of its own.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::{Project, Running, wait_until};

/// The file beside the config that a run says things into.
pub const LOG: &str = "log";

pub struct Served<'a> {
    pub project: &'a Project,
    pub running: Running,
    pub address: String,
}

/// Lets runs of the project serve.
pub fn listens(project: &mut Project) {
    project.edit("[topics]", "[http]\nlisten = \"127.0.0.1:0\"\n\n[topics]");
    project.set("SKUFLOW_LOG", "warn,skuflow=info");
}

/// Runs a project that [`listens`].
pub fn serve(project: &Project) -> Served<'_> {
    let running = project.start_logged(&["run"], LOG);
    let address = || Some(project.read(LOG).split_once("address=")?.1.split_whitespace().next()?.to_owned());
    wait_until("HTTP is served", || address().is_some());
    Served { project, running, address: address().expect("found") }
}

impl Served<'_> {
    /// The status and the text of an answer.
    pub fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("not zero");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address).expect("open");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("UTF-8, in time");
        let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, body.to_owned())
    }

    /// The lines of parts that are not ready; none where everything is.
    pub fn not_ready(&self) -> Vec<String> {
        let (status, text) = self.get("/readyz?verbose");
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with("[-]")).map(str::to_owned).collect();
        assert_eq!((status == 200, text.ends_with("\nready\n")), (lines.is_empty(), lines.is_empty()), "{text}");
        lines
    }
}
