//! The pages: what stands in them, that they are well-formed, and that nothing of a name is markup.

use crate::deliver::serve::targets_page::render;
use crate::deliver::serve::targets_query::TargetsQuery;
use crate::deliver::serve::tests::fixture::snapshot;
use crate::deliver::serve::{Target, TargetsSnapshot, pages};
use crate::host::WallNanos;

fn targets_page(query: &str) -> String {
    render(&snapshot(), &TargetsQuery::read(query), Some(3))
}

/// Elements that have no end tag.
const VOID: [&str; 4] = ["meta", "link", "input", "img"];

/// Fails unless every element is closed in turn, every attribute is quoted, and every `&` begins a reference.
fn assert_well_formed(html: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = html.strip_prefix("<!DOCTYPE html>").expect("a doctype");
    while let Some(start) = rest.find('<') {
        assert_references(&rest[..start]);
        let end = rest[start..].find('>').expect("a tag that ends") + start;
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name), "closes what was opened last"),
            None => {
                let name = tag.split(' ').next().unwrap();
                assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "{tag}");
                assert_attributes(&tag[name.len()..]);
                if !VOID.contains(&name) {
                    open.push(name);
                }
            }
        }
    }
    assert_references(rest);
    assert!(open.is_empty(), "left open: {open:?}");
}

fn assert_attributes(mut rest: &str) {
    while !rest.is_empty() {
        rest = rest.strip_prefix(' ').unwrap_or_else(|| panic!("a blank before {rest:?}"));
        let name_end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '-').unwrap_or(rest.len());
        assert!(name_end > 0, "a name before {rest:?}");
        rest = &rest[name_end..];
        if let Some(value) = rest.strip_prefix("=\"") {
            let end = value.find('"').expect("a closing quote");
            assert_references(&value[..end]);
            rest = &value[end + 1..];
        }
    }
}

fn assert_references(text: &str) {
    for (at, _) in text.match_indices('&') {
        let known = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"];
        assert!(known.iter().any(|reference| text[at..].starts_with(reference)), "{}", &text[at..]);
    }
}

#[test]
fn every_page_is_well_formed() {
    for query in ["", "show=dropped", "q=nothing", "q=%7B", "q=%3Cscript%3E%22%27", "sort=pid"] {
        assert_well_formed(&targets_page(query));
    }
    assert_well_formed(&render(&TargetsSnapshot::default(), &TargetsQuery::default(), None));
    assert_well_formed(&pages::start());
    assert_well_formed(&pages::profiles());
}

#[test]
fn the_checker_of_pages_finds_what_is_wrong() {
    let is_refused = |html: &'static str| std::panic::catch_unwind(|| assert_well_formed(html)).is_err();
    assert!(is_refused("<!DOCTYPE html><p><b></p></b>"));
    assert!(is_refused("<!DOCTYPE html><p a=b></p>"));
    assert!(is_refused("<!DOCTYPE html><p>a & b</p>"));
    assert!(is_refused("<!DOCTYPE html><p>"));
    assert!(!is_refused("<!DOCTYPE html><p a=\"b\">&amp;</p>"));
}

#[test]
fn names_stay_names() {
    let page = targets_page("q=%3Cscript%3E");
    assert!(!page.contains("<script") && !page.contains("<img") && !page.contains('\u{1b}'));
    assert!(page.contains("/tmp/&lt;script&gt;alert(1)&lt;/script&gt;\u{fffd}[2J"));
    assert!(page.contains("value=\"&lt;script&gt;\""));
}

#[test]
fn a_row_tells_everything_about_a_process() {
    let page = targets_page("q=shop");
    let row = page.lines().find(|line| line.contains("4242")).unwrap();
    expect_test::expect![[r#"<tr><td class="service">shop/web</td><td class="labels"><span><b>namespace</b>=prod</span> <span><b>pod</b>=web-1</span> </td><td class="number">4242</td><td class="path">/app/shop</td><td>go</td><td>kubernetes</td><td class="number">900</td><td class="number">99.7 %</td><td class="reason"></td><td class="links"><a href="/debug/pprof/profile?seconds=30&amp;pid=4242">process</a> <a href="/debug/pprof/profile?seconds=30&amp;service_name=shop%2Fweb">service</a></td></tr>"#]]
        .assert_eq(row);
}

#[test]
fn many_targets_are_paged() {
    let many = (1..=5_001).map(|pid| Target { pid, samples: 1, ..Target::default() }).collect();
    let snapshot = TargetsSnapshot::new("h".into(), WallNanos(1), many);
    let rows = |query: &str| {
        let page = render(&snapshot, &TargetsQuery::read(query), None);
        assert_well_formed(&page);
        assert!(page.contains("1 more with fewer samples are not listed."));
        page.matches("<td class=\"service\">").count()
    };
    assert_eq!((rows(""), rows("page=10"), rows("page=99")), (500, 500, 500));
    assert_eq!(rows("q=4711"), 1);
    let page = render(&snapshot, &TargetsQuery::read("page=2&sort=pid"), None);
    assert!(page.contains("<p>501 to 1000 of 5000.</p>"));
    assert!(page.contains("<b>2</b> <a href=\"?sort=pid&amp;page=3\">3</a>"));
}
