//! Requests → answers: the routes, and what each is answered from.

use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{ACCEPT, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use serde::Serialize;
use tokio::sync::{Semaphore, mpsc, watch};

use super::access::{Access, Peer, Refusal, is_authority};
use super::counts::ServeCounters;
use super::html::harmless;
use super::pull::{self, PULLS_MAX, PullRequest};
use super::targets::{Target, TargetsSnapshot};
use super::targets_query::TargetsQuery;
use super::{discovery, pages, respond, targets_page};
use crate::host::Clock;

/// The daemon's account of itself, as it is now. Asked on the thread that serves: answers must be at hand.
pub trait SelfAccount: Send + Sync {
    /// OpenMetrics text.
    fn metrics(&self) -> String;
    /// Whether it is alive.
    fn health(&self) -> Verdict;
    /// Whether it does its work.
    fn readiness(&self) -> Verdict;
}

/// An answer to "are you well?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Status 200 or 503.
    pub is_well: bool,
    /// A line each: why not, or what was looked at.
    pub lines: Vec<String>,
}

/// Everything that answers are made of.
pub struct Inputs {
    /// For targets' age.
    pub clock: Clock,
    /// Metrics and health.
    pub account: Arc<dyn SelfAccount>,
    /// Every process, anew each window.
    pub targets: watch::Receiver<Arc<TargetsSnapshot>>,
    /// Who may see what; may change while serving.
    pub access: watch::Receiver<Arc<Access>>,
    /// To whoever samples.
    pub pulls: mpsc::Sender<PullRequest>,
    /// `host:port` for service discovery; without it what the reader itself called us.
    pub advertised: Option<String>,
}

/// What handlers share.
pub(super) struct Shared {
    clock: Clock,
    account: Arc<dyn SelfAccount>,
    targets: watch::Receiver<Arc<TargetsSnapshot>>,
    access: watch::Receiver<Arc<Access>>,
    pub(super) pulls: mpsc::Sender<PullRequest>,
    pub(super) pulls_permitted: Semaphore,
    advertised: Option<String>,
    pub(super) counters: Arc<ServeCounters>,
}

impl Shared {
    pub(super) fn new(inputs: Inputs, counters: Arc<ServeCounters>) -> Self {
        let Inputs { clock, account, targets, access, pulls, advertised } = inputs;
        let pulls_permitted = Semaphore::new(PULLS_MAX);
        Self { clock, account, targets, access, pulls, pulls_permitted, advertised, counters }
    }

    pub(super) fn targets(&self) -> Arc<TargetsSnapshot> {
        Arc::clone(&self.targets.borrow())
    }
}

type Context = State<Arc<Shared>>;

/// Paths that everybody may ask for who reaches the address.
const OPEN: [&str; 3] = ["/metrics", "/healthz", "/readyz"];

/// Every route; also the labels of the metric.
const ROUTES: [&str; 12] = [
    "/",
    "/style.css",
    OPEN[0],
    OPEN[1],
    OPEN[2],
    "/targets",
    "/targets.json",
    "/sd/targets",
    "/debug/pprof",
    "/debug/pprof/",
    "/debug/pprof/profile",
    SELECTED_PROFILE,
];
const SELECTED_PROFILE: &str = "/targets/{selector}/debug/pprof/profile";

pub(super) fn router(shared: Arc<Shared>) -> Router {
    let html = |text: fn() -> String| {
        get(move || async move { respond::bytes(StatusCode::OK, respond::HTML, text()) })
    };
    Router::new()
        .route("/", html(pages::start))
        .route("/style.css", get(style))
        .route("/metrics", get(metrics))
        .route("/healthz", get(async |State(shared): Context| verdict(&shared.account.health())))
        .route("/readyz", get(async |State(shared): Context| verdict(&shared.account.readiness())))
        .route("/targets", get(targets))
        .route("/targets.json", get(targets_json))
        .route("/sd/targets", get(service_discovery))
        .route("/debug/pprof", get(async || respond::see("/debug/pprof/")))
        .route("/debug/pprof/", html(pages::profiles))
        .route("/debug/pprof/profile", get(profile).head(async || pull::head()))
        .route(SELECTED_PROFILE, get(profile).head(async || pull::head()))
        .fallback(async || respond::text(StatusCode::NOT_FOUND, "there is nothing here; see /"))
        .method_not_allowed_fallback(async || {
            respond::text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered")
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), admit))
        .with_state(shared)
}

/// Before every route: who asks, and whether it is a request that can be answered; after it: counted.
async fn admit(State(shared): Context, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let route = ROUTES.into_iter().find(|&route| route == path);
    let response = match refusal(&shared, &request, route) {
        Some(refused) => refused,
        None => next.run(request).await,
    };
    shared.counters.request(route.unwrap_or("other"), response.status().as_u16());
    response
}

fn refusal(shared: &Shared, request: &Request, route: Option<&'static str>) -> Option<Response> {
    let headers = request.headers();
    let has_body = headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    if has_body {
        return Some(respond::text(StatusCode::PAYLOAD_TOO_LARGE, "no request here has a body"));
    }
    // A connection without a peer does not exist; if it did, it would come from nowhere near.
    let peer = request.extensions().get::<Peer>().copied();
    let is_open = route.is_some_and(|route| OPEN.contains(&route));
    let admitted = match peer {
        Some(peer) => {
            let access = Arc::clone(&shared.access.borrow());
            access.admit(peer, request.version(), headers, is_open)
        }
        None => Err(Refusal::Unauthorized),
    };
    let why = admitted.err()?;
    shared.counters.refusal(why);
    let from = peer.map_or_else(String::new, |peer| peer.to_string());
    tracing::warn!(reason = why.label(), from, path = request.uri().path(), "a request was refused");
    let status = match why {
        Refusal::Unauthorized => StatusCode::UNAUTHORIZED,
        Refusal::BadHost => StatusCode::BAD_REQUEST,
        Refusal::ForeignName => StatusCode::MISDIRECTED_REQUEST,
        Refusal::NoTokenConfigured | Refusal::CrossSite => StatusCode::FORBIDDEN,
    };
    let mut response = respond::text(status, &why.to_string());
    if status == StatusCode::UNAUTHORIZED {
        let ways = ["Bearer realm=\"flamekeeper\"", "Basic realm=\"flamekeeper\", charset=\"UTF-8\""];
        for way in ways {
            response.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static(way));
        }
    }
    Some(response)
}

async fn style() -> Response {
    respond::bytes(StatusCode::OK, "text/css; charset=utf-8", pages::STYLE)
}

async fn metrics(State(shared): Context, headers: HeaderMap) -> Response {
    // A browser would offer to save what it does not know; a person wants to read it.
    let is_browser = headers
        .get(ACCEPT)
        .is_some_and(|accept| accept.to_str().is_ok_and(|accept| accept.contains("text/html")));
    let content_type = if is_browser { respond::PLAIN } else { respond::OPEN_METRICS };
    respond::bytes(StatusCode::OK, content_type, shared.account.metrics())
}

fn verdict(verdict: &Verdict) -> Response {
    let status = if verdict.is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    respond::text(status, &verdict.lines.join("\n"))
}

async fn targets(State(shared): Context, uri: Uri) -> Response {
    let snapshot = shared.targets();
    let taken_at = snapshot.taken_at.0;
    let now = shared.clock.wall_now().0;
    let age_seconds = (taken_at > 0).then(|| now.saturating_sub(taken_at) / 1_000_000_000);
    let query = TargetsQuery::read(uri.query().unwrap_or_default());
    let page = targets_page::render(&snapshot, &query, age_seconds);
    respond::bytes(StatusCode::OK, respond::HTML, page)
}

async fn targets_json(State(shared): Context, uri: Uri) -> Response {
    #[derive(Serialize)]
    struct Document<'a> {
        host: &'a str,
        taken_at_unix_ms: u64,
        left_out: usize,
        targets: Vec<&'a Target>,
    }
    let snapshot = shared.targets();
    let found = TargetsQuery::read(uri.query().unwrap_or_default()).find(&snapshot);
    if let Some(mistake) = found.mistake {
        return respond::text(StatusCode::BAD_REQUEST, &harmless(&mistake));
    }
    let document = Document {
        host: &snapshot.host,
        taken_at_unix_ms: snapshot.taken_at.0 / 1_000_000,
        left_out: snapshot.left_out(),
        targets: found.targets,
    };
    match serde_json::to_vec(&document) {
        Ok(json) => respond::bytes(StatusCode::OK, respond::JSON, json),
        Err(error) => respond::text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

async fn service_discovery(State(shared): Context, headers: HeaderMap) -> Response {
    let called = headers.get(HOST).and_then(|host| host.to_str().ok()).filter(|host| is_authority(host));
    match shared.advertised.as_deref().or(called) {
        Some(address) => {
            let document = discovery::document(&shared.targets(), address);
            respond::bytes(StatusCode::OK, respond::JSON, document)
        }
        None => respond::text(
            StatusCode::BAD_REQUEST,
            "a `Host` header is needed: it becomes the targets' address",
        ),
    }
}

async fn profile(State(shared): Context, uri: Uri) -> Response {
    // Of the path as it was sent: decoding comes after dividing (selector.rs).
    let selector = uri.path().strip_prefix("/targets/").and_then(|rest| rest.split('/').next());
    pull::answer(&shared, selector, uri.query().unwrap_or_default()).await
}
