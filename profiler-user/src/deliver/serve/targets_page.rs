//! Targets and a query → the page `/targets`: every process, its labels, the rule that named it, and why it is not sampled.
//!
//! Sorting and paging are links, the filter is a form: nothing in the page runs.

use std::fmt::{self, Write as _};

use super::html::{Escaped, page, percent};
use super::targets::{Target, TargetsSnapshot};
use super::targets_query::{Column, Found, PAGE_ROWS, Show, TargetsQuery};

/// The page. `age_seconds`: of the picture.
pub(super) fn render(snapshot: &TargetsSnapshot, query: &TargetsQuery, age_seconds: Option<u64>) -> String {
    // Writing to a `String` does not fail.
    let body = body(snapshot, query, age_seconds).unwrap_or_default();
    page(&format!("Targets on {}", snapshot.host), &body)
}

fn body(
    snapshot: &TargetsSnapshot,
    query: &TargetsQuery,
    age_seconds: Option<u64>,
) -> Result<String, fmt::Error> {
    let found = query.find(snapshot);
    let pages = found.targets.len().div_ceil(PAGE_ROWS).max(1);
    let page_number = query.page.min(pages);
    let first = (page_number - 1) * PAGE_ROWS;
    let rows: Vec<_> = found.targets.iter().copied().skip(first).take(PAGE_ROWS).collect();
    let mut out = String::with_capacity(1024 + rows.len() * 640);
    heading(&mut out, snapshot, age_seconds)?;
    form(&mut out, query)?;
    told(&mut out, snapshot, &found, first, rows.len())?;
    if !rows.is_empty() {
        table(&mut out, query, &rows)?;
    }
    if pages > 1 {
        pager(&mut out, query, page_number, pages)?;
    }
    Ok(out)
}

fn heading(out: &mut String, snapshot: &TargetsSnapshot, age_seconds: Option<u64>) -> fmt::Result {
    let dropped = snapshot.targets().iter().filter(|target| target.dropped.is_some()).count();
    let sampled = snapshot.targets().len() - dropped;
    writeln!(out, "<header><nav><a href=\"/\">flamekeeper</a></nav>")?;
    write!(out, "<h1>Targets on {}</h1>\n<p>", Escaped(&snapshot.host))?;
    match age_seconds {
        None => write!(out, "Nothing has been sampled yet.")?,
        Some(age) => write!(out, "{sampled} processes are sampled, {dropped} are not; as of {age} s ago.")?,
    }
    out.write_str("</p></header>\n")
}

fn form(out: &mut String, query: &TargetsQuery) -> fmt::Result {
    write!(
        out,
        "<form action=\"/targets\" method=\"get\"><label>Filter <input type=\"search\" name=\"q\" value=\"{}\" \
         placeholder=\"text, pid, or {{namespace=&quot;shop&quot;}}\"></label>\n<select name=\"show\" aria-label=\"Show\">",
        Escaped(&query.text)
    )?;
    for show in Show::ALL {
        let selected = if show == query.show { " selected" } else { "" };
        write!(out, "<option value=\"{0}\"{selected}>{0}</option>", show.name())?;
    }
    write!(out, "</select><input type=\"hidden\" name=\"sort\" value=\"{}\">", query.sort_name())?;
    out.write_str("<button type=\"submit\">Show</button></form>\n")
}

fn told(
    out: &mut String,
    snapshot: &TargetsSnapshot,
    found: &Found<'_>,
    first: usize,
    rows: usize,
) -> fmt::Result {
    if let Some(mistake) = &found.mistake {
        writeln!(out, "<p class=\"mistake\">{}</p>", Escaped(mistake))?;
    } else if rows == 0 {
        out.write_str("<p>None fits.</p>\n")?;
    } else if rows < found.targets.len() {
        writeln!(out, "<p>{} to {} of {}.</p>", first + 1, first + rows, found.targets.len())?;
    }
    if snapshot.left_out() > 0 {
        writeln!(out, "<p>{} more with fewer samples are not listed.</p>", snapshot.left_out())?;
    }
    Ok(())
}

fn table(out: &mut String, query: &TargetsQuery, rows: &[&Target]) -> fmt::Result {
    out.write_str("<table>\n<thead><tr>")?;
    for column in Column::ALL {
        let (aria, arrow) = match (column == query.sort, query.downwards) {
            (true, true) => (" aria-sort=\"descending\"", " ▼"),
            (true, false) => (" aria-sort=\"ascending\"", " ▲"),
            (false, _) => ("", ""),
        };
        let link = query.sorted_by(column).to_query();
        let title = title(column);
        let class = if column.is_number() { " class=\"number\"" } else { "" };
        write!(
            out,
            "<th scope=\"col\"{class}{aria}><a href=\"?{}\">{title}{arrow}</a></th>",
            Escaped(&link)
        )?;
        if column == Column::Service {
            out.write_str("<th scope=\"col\">Labels</th>")?;
        }
    }
    out.write_str("<th scope=\"col\">Profile</th></tr></thead>\n<tbody>\n")?;
    rows.iter().try_for_each(|target| row(out, target))?;
    out.write_str("</tbody>\n</table>\n")
}

fn title(column: Column) -> &'static str {
    match column {
        Column::Pid => "PID",
        Column::Executable => "Executable",
        Column::Service => "Service",
        Column::Rule => "Named by",
        Column::Language => "Language",
        Column::Samples => "Samples",
        Column::Complete => "Whole stacks",
        Column::Dropped => "Not sampled because",
    }
}

/// Labels that are not repeated among the others.
const HAVE_COLUMNS: [&str; 2] = ["service_name", "language"];

fn row(out: &mut String, target: &Target) -> fmt::Result {
    out.write_str(if target.dropped.is_some() { "<tr class=\"dropped\">" } else { "<tr>" })?;
    write!(out, "<td class=\"service\">{}</td><td class=\"labels\">", Escaped(target.service()))?;
    for (name, value) in target.labels.iter().filter(|(name, _)| !HAVE_COLUMNS.contains(name)) {
        write!(out, "<span><b>{}</b>={}</span> ", Escaped(name), Escaped(value))?;
    }
    write!(
        out,
        "</td><td class=\"number\">{}</td><td class=\"path\">{}</td><td>{}</td><td>{}</td>",
        target.pid,
        Escaped(&target.executable),
        Escaped(&target.language),
        Escaped(&target.rule)
    )?;
    write!(out, "<td class=\"number\">{}</td><td class=\"number\">", target.samples)?;
    if let Some(permille) = target.complete_permille {
        write!(out, "{}.{} %", permille / 10, permille % 10)?;
    }
    write!(
        out,
        "</td><td class=\"reason\">{}</td><td class=\"links\">",
        Escaped(target.dropped.as_deref().unwrap_or_default())
    )?;
    if target.dropped.is_none() {
        profile_links(out, target)?;
    }
    out.write_str("</td></tr>\n")
}

fn profile_links(out: &mut String, target: &Target) -> fmt::Result {
    write!(out, "<a href=\"/debug/pprof/profile?seconds=30&amp;pid={}\">process</a>", target.pid)?;
    if !target.service().is_empty() {
        let service = percent(target.service());
        write!(out, " <a href=\"/debug/pprof/profile?seconds=30&amp;service_name={service}\">service</a>")?;
    }
    Ok(())
}

fn pager(out: &mut String, query: &TargetsQuery, current: usize, pages: usize) -> fmt::Result {
    out.write_str("<nav class=\"pages\" aria-label=\"Pages\">")?;
    for number in 1..=pages {
        if number == current {
            write!(out, "<b>{number}</b> ")?;
        } else {
            let link = TargetsQuery { page: number, ..query.clone() }.to_query();
            write!(out, "<a href=\"?{}\">{number}</a> ", Escaped(&link))?;
        }
    }
    out.write_str("</nav>\n")
}
