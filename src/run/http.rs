//! Health, metrics and the lake's catalog over HTTP, on loopback: `/livez`, `/readyz`, `/metrics`, `/v1/…`. Anyone on the
//! machine may read them; they change nothing. The catalog tells where files are; nothing else holds values from the
//! environment.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::sync::{Semaphore, oneshot};

use super::overview::Overview;
use super::{OpenError, catalog};

/// Connections at a time; one more is closed at once.
const CONNECTIONS_MAX: usize = 16;
/// How long a connection may take, from its first byte to its last.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer waits for what the broker tells.
const LOOK_MAX: Duration = Duration::from_secs(3);
/// Threads that look at the broker, which may take a moment; `/livez` does not wait for them.
const LOOKING_THREADS_MAX: usize = 2;

const PLAIN: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const DEFECT: &str = "this is a defect of skuflow\n";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Takes the address, before anything is started.
///
/// # Errors
/// Where it cannot be had.
pub(super) fn bind(listen: SocketAddr) -> Result<TcpListener, OpenError> {
    let bound = TcpListener::bind(listen).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|error| {
        OpenError::InUse(format!("cannot listen on {listen}: {error}; choose another port in [http] of the config"))
    })
}

/// Answers until it is dropped.
pub(super) struct Server {
    close: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.close.take());
        if let Some(thread) = self.thread.take() {
            let _a_panic_was_reported_there = thread.join();
        }
    }
}

/// Serves in a thread of its own.
///
/// # Errors
/// Where the machine has no resources for it.
pub(super) fn serve(listener: TcpListener, overview: Overview) -> std::io::Result<Server> {
    let event_loop =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(LOOKING_THREADS_MAX).build()?;
    let address = listener.local_addr()?;
    tracing::info!(%address, "health and metrics are served");
    let (close, closed) = oneshot::channel();
    let overview = Arc::new(overview);
    let thread = std::thread::Builder::new().name("http".into()).spawn(move || {
        event_loop.block_on(async {
            tokio::select! {
                () = accept(listener, overview) => {}
                _ = closed => {}
            }
        });
    })?;
    Ok(Server { close: Some(close), thread: Some(thread) })
}

async fn accept(listener: TcpListener, overview: Arc<Overview>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::warn!(%error, "health and metrics cannot be served"),
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(20)).await; // out of file descriptors, for one
            continue;
        };
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let overview = overview.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| respond(request, overview.clone()));
            let connection = hyper::server::conn::http1::Builder::new()
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            let _who_went_away_needs_no_answer = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await;
            drop(place);
        });
    }
}

async fn respond(request: Request<Incoming>, overview: Arc<Overview>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, kind, text) = if request.uri().path().starts_with(catalog::ROOT) {
        let answered = tokio::task::spawn_blocking(move || catalog_page(&request, &overview)).await;
        answered.unwrap_or((StatusCode::INTERNAL_SERVER_ERROR, PLAIN, DEFECT.to_owned()))
    } else if !matches!(*request.method(), Method::GET | Method::HEAD) {
        (StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET\n".to_owned())
    } else if request.uri().path() == "/livez" {
        (StatusCode::OK, PLAIN, "alive\n".to_owned())
    } else {
        let (path, query) = (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
        if path == "/metrics" {
            let overview = overview.clone();
            let look = tokio::task::spawn_blocking(move || overview.look());
            let _what_takes_longer_is_shown_next_time = tokio::time::timeout(LOOK_MAX, look).await;
        }
        let page = tokio::task::spawn_blocking(move || page(&path, &query, &overview)).await;
        page.unwrap_or((StatusCode::INTERNAL_SERVER_ERROR, PLAIN, DEFECT.to_owned()))
    };
    let answer = Response::builder().status(status).header(CONTENT_TYPE, kind).header(CACHE_CONTROL, "no-store");
    let answer = if status == StatusCode::METHOD_NOT_ALLOWED { answer.header(ALLOW, "GET, HEAD") } else { answer };
    Ok(answer.body(Full::new(Bytes::from(text))).expect("constant headers"))
}

fn catalog_page<T>(request: &Request<T>, overview: &Overview) -> (StatusCode, &'static str, String) {
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    let path = path.trim_start_matches(catalog::ROOT);
    let (status, body) = catalog::answer(request.method(), path, query, &overview.loaded);
    let text = if status == StatusCode::NO_CONTENT { String::new() } else { body.to_string() };
    (status, JSON, text)
}

fn page(path: &str, query: &str, overview: &Overview) -> (StatusCode, &'static str, String) {
    match path {
        "/readyz" => {
            let is_verbose = query.split('&').any(|option| option.split('=').next() == Some("verbose"));
            let (is_ready, text) = overview.readiness(is_verbose);
            (if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, PLAIN, text)
        }
        "/metrics" => (StatusCode::OK, PROMETHEUS, overview.metrics()),
        _ => (
            StatusCode::NOT_FOUND,
            PLAIN,
            "there are /livez, /readyz, /readyz?verbose, /metrics and /v1/config\n".to_owned(),
        ),
    }
}
