//! Addresses → a server: sockets that listen, connections within limits, an orderly end.
//!
//! A connection holds at most some 20 KiB until a whole request is there, and has to bring it within a time; who does not
//! read the answer is dropped too. When all connections are taken, further ones wait in the kernel's backlog.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::access::Peer;
use super::counts::ServeCounters;
use super::listen::{ListenAddress, Listening};
use super::router::{Inputs, Shared, router};
use super::stall::Impatient;

/// What clients may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time, over all addresses.
    pub connections: usize,
    /// A request's head, bytes; 8 KiB at least.
    pub head_bytes: usize,
    /// Until a request's head is there; also how long a connection may idle between requests.
    pub head_time: Duration,
    /// Without any byte of an answer being taken.
    pub stall_time: Duration,
    /// For what is under way when the server is told to stop.
    pub drain_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            head_bytes: 16 << 10,
            head_time: Duration::from_secs(10),
            stall_time: Duration::from_secs(20),
            drain_time: Duration::from_secs(5),
        }
    }
}

/// Most header lines of a request.
const HEADERS_MAX: usize = 64;
/// Hyper takes no smaller buffer.
const HEAD_BYTES_MIN: usize = 8 << 10;
/// After a failure to accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: ListenAddress,
        /// Why.
        source: io::Error,
    },
}

/// Sockets that listen; [`Server::run`] serves them.
#[derive(Debug)]
pub struct Server {
    listening: Vec<(ListenAddress, Listening)>,
    limits: Limits,
    counters: Arc<ServeCounters>,
}

impl Server {
    /// Listens on every address, or on none if one fails. Needs no runtime: may come before privileges are dropped.
    pub fn bind(addresses: &[ListenAddress], limits: Limits) -> Result<Self, ServeError> {
        let bind = |address: &ListenAddress| {
            let failed = |source| ServeError::Listen { address: address.clone(), source };
            let listening = Listening::bind(address).map_err(failed)?;
            let bound = listening.address().map_err(failed)?;
            Ok((bound, listening))
        };
        let listening = addresses.iter().map(bind).collect::<Result<_, _>>()?;
        Ok(Self { listening, limits, counters: Arc::default() })
    }

    /// Where it listens, with the ports that were free.
    pub fn addresses(&self) -> impl Iterator<Item = &ListenAddress> {
        self.listening.iter().map(|(address, _)| address)
    }

    /// What it counts while it serves.
    pub fn counters(&self) -> Arc<ServeCounters> {
        Arc::clone(&self.counters)
    }

    /// Serves until `stop`, then finishes what is under way, within the drain time.
    pub async fn run(self, inputs: Inputs, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
        let Self { listening, limits, counters } = self;
        let router = router(Arc::new(Shared::new(inputs, Arc::clone(&counters))));
        let (stopping, stopped) = watch::channel(false);
        // An address that nobody connects to holds one seat while it waits.
        let seats = Arc::new(Semaphore::new(limits.connections.saturating_add(listening.len())));
        let mut accepting = JoinSet::new();
        for (address, listening) in listening {
            let failed = |source| ServeError::Listen { address, source };
            let hall = Hall {
                router: router.clone(),
                limits,
                counters: Arc::clone(&counters),
                seats: Arc::clone(&seats),
                stopped: stopped.clone(),
            };
            match listening {
                Listening::Tcp(listener) => {
                    let listener = TcpListener::from_std(listener).map_err(failed)?;
                    accepting.spawn(async move { hall.serve(&listener).await });
                }
                Listening::Unix(listener, file) => {
                    let listener = UnixListener::from_std(listener).map_err(failed)?;
                    accepting.spawn(async move {
                        hall.serve(&listener).await;
                        drop(file);
                    });
                }
            }
        }
        stop.await;
        // Nobody listens only if every task has ended already.
        let _all_ended = stopping.send(true);
        while accepting.join_next().await.is_some() {}
        Ok(())
    }
}

/// What comes out of accepting.
trait Accepting: Sync {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    fn accept_one(&self) -> impl Future<Output = io::Result<(Self::Stream, Peer)>> + Send;
}

impl Accepting for TcpListener {
    type Stream = tokio::net::TcpStream;

    async fn accept_one(&self) -> io::Result<(Self::Stream, Peer)> {
        let (stream, remote) = self.accept().await?;
        let local = stream.local_addr()?;
        stream.set_nodelay(true)?;
        Ok((stream, Peer::Tcp { remote, local }))
    }
}

impl Accepting for UnixListener {
    type Stream = tokio::net::UnixStream;

    async fn accept_one(&self) -> io::Result<(Self::Stream, Peer)> {
        let (stream, _unnamed) = self.accept().await?;
        Ok((stream, Peer::Unix))
    }
}

/// One listening socket and its connections.
struct Hall {
    router: Router,
    limits: Limits,
    counters: Arc<ServeCounters>,
    seats: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
}

impl Hall {
    async fn serve<L: Accepting>(mut self, listener: &L) {
        let mut connections = JoinSet::new();
        let graceful = GracefulShutdown::new();
        let mut stopped = self.stopped.clone();
        let mut stopped = pin!(async move { drop(stopped.wait_for(|&stopped| stopped).await) });
        loop {
            tokio::select! {
                () = &mut stopped => break,
                Some(_) = connections.join_next() => {}
                seated = self.next(listener) => match seated {
                    Ok((stream, peer, seat)) => {
                        let connection = graceful.watch(self.connection(stream, peer));
                        let counters = Arc::clone(&self.counters);
                        connections.spawn(async move {
                            let _seat = seat;
                            let _open = counters.connection();
                            // Its end is the client's business: a broken or slow one is no event here.
                            let _ended = connection.await;
                        });
                    }
                    Err(_) => {
                        self.counters.accept_failure();
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        let _late = tokio::time::timeout(self.limits.drain_time, graceful.shutdown()).await;
        connections.shutdown().await;
    }

    /// A connection that has a seat. Cancelled at any await it loses at most a connection that had none yet.
    async fn next<L: Accepting>(
        &mut self,
        listener: &L,
    ) -> io::Result<(L::Stream, Peer, tokio::sync::OwnedSemaphorePermit)> {
        let closed = |_| io::Error::other("the server ends");
        let seat = Arc::clone(&self.seats).acquire_owned().await.map_err(closed)?;
        let (stream, peer) = listener.accept_one().await?;
        Ok((stream, peer, seat))
    }

    fn connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        stream: S,
        peer: Peer,
    ) -> http1::Connection<TokioIo<Impatient<S>>, Introducing> {
        let stream = TokioIo::new(Impatient::new(stream, self.limits.stall_time));
        let service = Introducing { router: TowerToHyperService::new(self.router.clone()), peer };
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head_time)
            .max_buf_size(self.limits.head_bytes.max(HEAD_BYTES_MIN))
            .max_headers(HEADERS_MAX)
            .serve_connection(stream, service)
    }
}

/// Tells the routes who asks.
#[derive(Clone)]
struct Introducing {
    router: TowerToHyperService<Router>,
    peer: Peer,
}

impl hyper::service::Service<Request<Incoming>> for Introducing {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer);
        Box::pin(hyper::service::Service::call(&self.router, request))
    }
}
