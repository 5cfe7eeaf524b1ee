//! The start page and the list of profiles: what there is, and how to ask for it.

use super::html::{is_misleading, page};

/// The one style sheet: light and dark by the reader's setting.
pub(super) const STYLE: &str = include_str!("style.css");

/// `/`.
pub(super) fn start() -> String {
    page(
        "flamekeeper",
        "<header><h1>flamekeeper</h1>\n<p>Profiles the CPU time of every process on this host.</p></header>\n<ul>\n\
         <li><a href=\"/targets\">Targets</a>: every process, its labels, and why it is sampled or not \
         (<a href=\"/targets.json\">JSON</a>)</li>\n\
         <li><a href=\"/debug/pprof/\">Profiles on demand</a>, in pprof's format</li>\n\
         <li><a href=\"/sd/targets\">Service discovery</a> for collectors that pull, in Prometheus' HTTP format</li>\n\
         <li><a href=\"/metrics\">Metrics</a> of flamekeeper itself</li>\n\
         <li><a href=\"/healthz\">Health</a> and <a href=\"/readyz\">readiness</a></li>\n</ul>\n",
    )
}

/// `/debug/pprof/`.
pub(super) fn profiles() -> String {
    page(
        "Profiles on demand",
        "<header><nav><a href=\"/\">flamekeeper</a></nav>\n<h1>Profiles on demand</h1></header>\n\
         <p><a href=\"/debug/pprof/profile\">profile</a>: CPU time of the whole host over the next 30 seconds. \
         There is no other kind of profile here.</p>\n\
         <table>\n<thead><tr><th scope=\"col\">Parameter</th><th scope=\"col\">Meaning</th></tr></thead>\n<tbody>\n\
         <tr><td><code>seconds=10</code></td><td>how long: 1 to 300, 30 if nothing is said</td></tr>\n\
         <tr><td><code>hz=99</code></td><td>samples a second on each CPU: 1 to 99; never fewer than are taken \
         anyway</td></tr>\n\
         <tr><td><code>pid=1234</code></td><td>only this process</td></tr>\n\
         <tr><td><code>service_name=shop</code></td><td>only processes with this label; any label that \
         <a href=\"/targets\">targets</a> have</td></tr>\n\
         <tr><td><code>match={pod=~\"web-.*\"}</code></td><td>Prometheus' matchers, percent-encoded</td></tr>\n\
         </tbody>\n</table>\n\
         <p>The same as a path, for collectors that only know a prefix: \
         <code>/targets/service_name=shop/debug/pprof/profile</code>.</p>\n\
         <pre>go tool pprof 'http://127.0.0.1:4041/debug/pprof/profile?seconds=10&amp;service_name=shop'</pre>\n",
    )
}

/// A sentence that may have strangers' names in it, for plain text.
pub(super) fn harmless(sentence: &str) -> String {
    sentence.chars().map(|c| if is_misleading(c) { '\u{fffd}' } else { c }).collect()
}
