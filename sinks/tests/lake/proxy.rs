//! What is between us and a server, and answers as it likes.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is done, and answered with an error of the server.
    Answered500,
    /// It is done, and answered with a conflict.
    Answered409,
    /// It is done, and not answered.
    Unanswered,
    /// It is not done, and answered with a conflict.
    Refused409,
    /// It is not done, and not answered.
    Dropped,
    /// It is done, and the answer ends in the middle of its body.
    Cut,
}

/// Says what becomes of the next request, by method and path.
type Decide = Box<dyn FnMut(&str, &str) -> Option<Fault> + Send>;

/// Listens until the process ends.
pub struct Proxy {
    port: u16,
}

impl Proxy {
    /// In front of `endpoint`.
    pub fn start(endpoint: &str, decide: impl FnMut(&str, &str) -> Option<Fault> + Send + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let server = endpoint.strip_prefix("http://").expect("a plain one").to_owned();
        let decide: Arc<Mutex<Decide>> = Arc::new(Mutex::new(Box::new(decide)));
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (server, decide) = (server.clone(), decide.clone());
                std::thread::spawn(move || drop(serve(connection, &server, &decide)));
            }
        });
        Self { port }
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// One request, as a connection is closed behind its answer.
fn serve(mut client: TcpStream, server: &str, decide: &Mutex<Decide>) -> io::Result<()> {
    let mut from = BufReader::new(client.try_clone()?);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let before = head.len();
        if from.read_line(&mut head)? == 0 {
            return Ok(());
        }
        let line = head[before..].to_ascii_lowercase();
        if line == "\r\n" {
            head.insert_str(before, "Connection: close\r\n");
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().expect("a number");
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let fault = (*decide.lock().expect("no panics"))(method, path);
    let mut answer = Vec::new();
    if !matches!(fault, Some(Fault::Refused409 | Fault::Dropped)) {
        let mut upstream = TcpStream::connect(server)?;
        upstream.write_all(head.as_bytes())?;
        upstream.write_all(&body)?;
        upstream.read_to_end(&mut answer)?;
    }
    match fault {
        None => client.write_all(&answer),
        Some(Fault::Cut) => {
            let body = answer.windows(4).position(|at| at == b"\r\n\r\n").map_or(0, |at| at + 4);
            client.write_all(&answer[..usize::midpoint(body, answer.len())])
        }
        Some(Fault::Answered500) => client.write_all(&refusal("500 Internal Server Error", "InternalError")),
        Some(Fault::Answered409 | Fault::Refused409) => {
            client.write_all(&refusal("409 Conflict", "ConditionalRequestConflict"))
        }
        Some(Fault::Unanswered | Fault::Dropped) => Ok(()),
    }
}

fn refusal(status: &str, code: &str) -> Vec<u8> {
    let body = format!("<Error><Code>{code}</Code><Message>as the test wants it</Message></Error>");
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}
