//! Metrics over HTTP on a loopback address: a thread of its own, with few connections at a time, each of
//! which has little time.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ACCEPT, ALLOW, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    sync::{Mutex, Semaphore, oneshot},
    time::{sleep, timeout},
};

use crate::{
    clock,
    view::metrics::{Form, Sample, render},
};

use super::shared::{Job, Jobs};

/// Connections at a time. More wait in the kernel's queue.
pub const CONNECTIONS: usize = 16;
/// How long a client may take for its request's head.
const ASKING: Duration = Duration::from_secs(2);
/// How long a connection may take in all.
const WHOLE: Duration = Duration::from_secs(10);
/// After so long no answer comes from the table.
const TABLE_LATE: Duration = Duration::from_secs(5);
/// For so long the same numbers are shown again: whoever asks all the time costs the table little.
const KEPT: Duration = Duration::from_millis(100);
/// Bytes of a request's head.
const HEAD: usize = 16 << 10;
/// Rest after a failed accept(2).
const REST: Duration = Duration::from_millis(50);

/// Listens.
///
/// # Errors
/// The address is not a loopback address, or taken.
pub fn bind(address: SocketAddr) -> Result<TcpListener> {
    if !address.ip().to_canonical().is_loopback() {
        bail!(
            "--metrics {address}: not a loopback address: what is served there is open to all who reach \
             it (use 127.0.0.1 or [::1], and a proxy that asks who it is)"
        );
    }
    let listener = TcpListener::bind(address).with_context(|| format!("--metrics {address}"))?;
    listener
        .set_nonblocking(true)
        .with_context(|| format!("--metrics {address}"))?;
    Ok(listener)
}

/// Starts the thread that serves for ever.
///
/// # Errors
/// epoll(7), or no thread.
pub fn start(listener: TcpListener, jobs: Jobs) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let listener = {
        let _inside = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    let source = Arc::new(Source {
        jobs,
        last: Mutex::default(),
    });
    thread::Builder::new()
        .name("metrics".to_owned())
        .spawn(move || runtime.block_on(serve(listener, source)))?;
    Ok(())
}

async fn serve(listener: tokio::net::TcpListener, source: Arc<Source>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(&room).acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(REST).await;
            continue;
        };
        let source = Arc::clone(&source);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&source)));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(ASKING)
                .max_buf_size(HEAD)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            // A client that goes away or is too slow is its own affair.
            let _ = timeout(WHOLE, connection).await;
            drop(place);
        });
    }
}

/// Where the numbers come from.
struct Source {
    jobs: Jobs,
    last: Mutex<Option<(Instant, Arc<Sample>)>>,
}

impl Source {
    /// The numbers, or why there are none.
    async fn sample(&self) -> Result<Arc<Sample>, String> {
        // Those who ask at the same time wait here and get the same.
        let mut last = self.last.lock().await;
        if let Some((at, sample)) = &*last
            && clock::now().duration_since(*at) < KEPT
        {
            return Ok(Arc::clone(sample));
        }
        let (answer, sample) = oneshot::channel();
        if !self.jobs.submit(Job::Metrics(answer)) {
            return Err("too many requests wait for the table".to_owned());
        }
        let Ok(sample) = timeout(TABLE_LATE, sample).await else {
            let seconds = TABLE_LATE.as_secs();
            return Err(format!("the table gives no answer in {seconds} s"));
        };
        let sample = sample.map_err(|_| "the table has ended".to_owned())?;
        let sample =
            Arc::new(sample.map_err(|reason| format!("the table cannot be read: {reason}"))?);
        *last = Some((clock::now(), Arc::clone(&sample)));
        Ok(sample)
    }
}

async fn answer(
    request: Request<Incoming>,
    source: Arc<Source>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let refused = refusal(request.method(), request.uri().path(), request.headers());
    let response = match refused {
        Some(refused) => refused,
        None => match source.sample().await {
            Ok(sample) => {
                let accept = request.headers().get(ACCEPT);
                let accept = accept.and_then(|value| value.to_str().ok());
                let form = Form::of_accept(accept.unwrap_or_default());
                let text = render(&sample, form);
                with(StatusCode::OK, CONTENT_TYPE, form.content_type(), text)
            }
            Err(mut reason) => {
                reason.push('\n');
                let status = StatusCode::SERVICE_UNAVAILABLE;
                with(status, CONTENT_TYPE, "text/plain; charset=utf-8", reason)
            }
        },
    };
    Ok(response)
}

/// The answer to what is no request for metrics.
fn refusal(method: &Method, path: &str, headers: &HeaderMap) -> Option<Response<Full<Bytes>>> {
    let host = headers.get(HOST);
    if !host.is_none_or(|host| host.to_str().is_ok_and(is_local)) {
        let text = "only by a loopback address or as localhost\n";
        return Some(plain(StatusCode::FORBIDDEN, text));
    }
    if path != "/metrics" {
        let text = "metrics are at /metrics\n";
        return Some(plain(StatusCode::NOT_FOUND, text));
    }
    if method != Method::GET && method != Method::HEAD {
        let text = "GET or HEAD only\n";
        return Some(with(
            StatusCode::METHOD_NOT_ALLOWED,
            ALLOW,
            "GET, HEAD",
            text.to_owned(),
        ));
    }
    None
}

/// Whether a `Host` header names this host's loopback: a page in a browser that has its own name
/// resolved to 127.0.0.1 is not to read what is here.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    with(
        status,
        CONTENT_TYPE,
        "text/plain; charset=utf-8",
        text.to_owned(),
    )
}

fn with(
    status: StatusCode,
    name: HeaderName,
    value: &'static str,
    text: String,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let value = HeaderValue::from_static(value);
    response.headers_mut().insert(name, value);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_listened_on() {
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
            let error = bind(address.parse().expect("an address")).expect_err(address);
            assert!(error.to_string().contains("loopback"), "{error}");
        }
        bind("127.0.0.1:0".parse().expect("an address")).expect("a loopback address");
    }

    /// What is told of a sample that `table` answers for.
    fn told(table: impl FnOnce(Job) + Send + 'static) -> String {
        let (jobs, inbox) = super::super::shared::jobs().expect("an eventfd");
        let table = thread::spawn(move || table(inbox.queue.recv().expect("a job")));
        let source = Source {
            jobs,
            last: Mutex::default(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let answer = runtime.expect("a runtime").block_on(source.sample());
        table.join().expect("the table's stand-in");
        answer.expect_err("there is no sample")
    }

    #[test]
    fn a_failed_sample_names_its_cause() {
        let reason = told(|job| {
            let Job::Metrics(answer) = job else {
                panic!("another job");
            };
            let failed = answer.send(Err("run the refresh program: EPERM".to_owned()));
            failed.expect("it waits");
        });
        assert_eq!(
            reason,
            "the table cannot be read: run the refresh program: EPERM"
        );
        assert_eq!(told(drop), "the table has ended");
    }

    #[test]
    fn only_local_names_are_answered() {
        for host in [
            "127.0.0.1:9464",
            "localhost",
            "LOCALHOST:1",
            "[::1]:9464",
            "127.9.9.9",
            "[::ffff:127.0.0.1]:9464",
        ] {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:9464",
            "127.0.0.1.evil.example",
            "",
            "10.0.0.1:1",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }

    #[test]
    fn what_is_no_request_for_metrics_is_refused() {
        let status = |method: &Method, path: &str| {
            refusal(method, path, &HeaderMap::new()).map(|response| response.status().as_u16())
        };
        assert_eq!(status(&Method::GET, "/metrics"), None);
        assert_eq!(status(&Method::HEAD, "/metrics"), None);
        assert_eq!(status(&Method::POST, "/metrics"), Some(405));
        assert_eq!(status(&Method::GET, "/../etc/passwd"), Some(404));
        let mut headers = HeaderMap::new();
        let bytes = HeaderValue::from_bytes(b"\xe9vil").expect("a header's value");
        headers.insert(HOST, bytes);
        let refused = refusal(&Method::GET, "/metrics", &headers);
        assert_eq!(refused.expect("refused").status(), StatusCode::FORBIDDEN);
    }
}
