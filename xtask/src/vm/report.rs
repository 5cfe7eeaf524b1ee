//! Results of all guests → the matrix for people, and JUnit's XML for programs.

use super::results::{TestResult, Verdict};
use std::time::Duration;

/// A guest that has been booted.
pub(super) struct GuestReport {
    /// As `--kernel` names it.
    pub(super) kernel: String,
    /// Debian's name.
    pub(super) arch: &'static str,
    /// Its package's version.
    pub(super) version: String,
    pub(super) took: Duration,
    pub(super) results: Vec<TestResult>,
}

impl GuestReport {
    pub(super) fn failures(&self) -> impl Iterator<Item = &TestResult> {
        self.results.iter().filter(|result| result.verdict == Verdict::Failed)
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.results.iter().filter(|result| result.verdict == verdict).count()
    }
}

/// A row for each test of each guest, then a row for each guest.
pub(super) fn table(guests: &[GuestReport]) -> String {
    let mut text = format!(
        "{:<8} {:<6} {:<25} {:<9} {:>8} {:>10} {:>9} {:>11} {:>8}\n",
        "kernel", "arch", "test", "verdict", "seconds", "complete %", "verified", "ns a sample", "samples"
    );
    for guest in guests {
        for result in &guest.results {
            let words = match result.verdict {
                Verdict::Failed | Verdict::Untested => format!("  {}", result.words),
                Verdict::Passed => String::new(),
            };
            text += &format!(
                "{:<8} {:<6} {:<25} {:<9} {:>8} {:>10} {:>9} {:>11} {:>8}{words}\n",
                guest.kernel,
                guest.arch,
                result.name,
                result.verdict.word(),
                result.figure("seconds"),
                result.figure("complete"),
                result.figure("verified"),
                result.figure("nanos"),
                result.figure("samples"),
            );
        }
    }
    text.push('\n');
    for guest in guests {
        let [passed, failed, untested] =
            [Verdict::Passed, Verdict::Failed, Verdict::Untested].map(|verdict| guest.count(verdict));
        text += &format!(
            "{:<8} {:<6} {:<22} {passed} passed, {failed} failed, {untested} untested, {} s\n",
            guest.kernel,
            guest.arch,
            guest.version,
            guest.took.as_secs()
        );
    }
    text
}

/// A test suite a guest.
pub(super) fn junit(guests: &[GuestReport]) -> String {
    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n".to_owned();
    for guest in guests {
        let suite = escaped(&format!("{} {} {}", guest.kernel, guest.arch, guest.version));
        text += &format!(
            "  <testsuite name=\"{suite}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" time=\"{}\">\n",
            guest.results.len(),
            guest.count(Verdict::Failed),
            guest.count(Verdict::Untested),
            guest.took.as_secs()
        );
        for result in &guest.results {
            let words = escaped(&result.words);
            let time = result.figures().find(|(key, _)| *key == "seconds").map_or("0", |(_, value)| value);
            let inner = match result.verdict {
                Verdict::Passed => String::new(),
                Verdict::Failed => format!("<failure message=\"{words}\"/>"),
                Verdict::Untested => format!("<skipped message=\"{words}\"/>"),
            };
            let properties: String = result
                .figures()
                .map(|(key, value)| {
                    format!("<property name=\"{}\" value=\"{}\"/>", escaped(key), escaped(value))
                })
                .collect();
            let name = escaped(&result.name);
            text += &format!(
                "    <testcase classname=\"{suite}\" name=\"{name}\" time=\"{time}\">\
                 <properties>{properties}</properties>{inner}</testcase>\n"
            );
        }
        text += "  </testsuite>\n";
    }
    text + "</testsuites>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::results;
    use super::*;

    fn guests() -> Vec<GuestReport> {
        let console = "VM: test record-c ok seconds=9.1 complete=99.87 verified=31002 nanos=5120 samples=812 |\n\
                       VM: test suspend untested seconds=0.0 | no pm_test\n\
                       VM: test leaks failed seconds=3.0 | 2 maps < \"left\"";
        let lines: Vec<String> = console.lines().map(str::to_owned).collect();
        vec![GuestReport {
            kernel: "6.1".to_owned(),
            arch: "amd64",
            version: "6.1.170-1".to_owned(),
            took: Duration::from_secs(61),
            results: results::read(&lines, Some(1)),
        }]
    }

    #[test]
    fn the_matrix_has_a_row_for_each_test_and_each_guest() {
        expect_test::expect![[r#"
            kernel   arch   test                      verdict    seconds complete %  verified ns a sample  samples
            6.1      amd64  record-c                  ok             9.1      99.87     31002        5120      812
            6.1      amd64  suspend                   untested       0.0          -         -           -        -  no pm_test
            6.1      amd64  leaks                     FAILED         3.0          -         -           -        -  2 maps < "left"

            6.1      amd64  6.1.170-1              1 passed, 1 failed, 1 untested, 61 s
        "#]]
        .assert_eq(&table(&guests()));
    }

    #[test]
    fn junit_counts_failures_and_escapes_words() {
        let text = junit(&guests());
        assert!(text.contains("tests=\"3\" failures=\"1\" skipped=\"1\" time=\"61\""), "{text}");
        assert!(text.contains("<failure message=\"2 maps &lt; &quot;left&quot;\"/>"), "{text}");
        assert!(text.contains("<property name=\"nanos\" value=\"5120\"/>"), "{text}");
    }
}
