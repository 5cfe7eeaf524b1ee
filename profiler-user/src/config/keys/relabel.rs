//! The keys of a rule, `[[labels.relabel_configs]]`: Prometheus' own, with its defaults.

use crate::attribute::relabel::Action;
use crate::config::group::settings;
use crate::config::key::Key;

settings! {
    /// A rule that rewrites labels or drops processes.
    pub struct RelabelRule {
        /// Labels whose values, joined by the separator, the rule looks at.
        source_labels: Vec<String> = Key::new("source_labels", "NAME").example("[\"__meta_systemd_unit\"]").reload();

        /// What joins the values.
        separator: String = Key::new("separator", "TEXT").default(";").reload();

        /// Pattern that the whole of the joined values has to match (RE2).
        regex: String = Key::new("regex", "REGEX").default("(.*)").reload();

        /// Divisor of `hashmod`.
        modulus: u64 = Key::new("modulus", "NUMBER").default("0").reload();

        /// Label that the result is written to.
        target_label: String = Key::new("target_label", "NAME").example("\"service_name\"").reload();

        /// The result; `$1` stands for the pattern's first group.
        replacement: String = Key::new("replacement", "TEXT").default("$1").reload();

        /// What is done: `replace`, `keep`, `drop`, `keepequal`, `dropequal`, `hashmod`, `labelmap`, `labeldrop`, `labelkeep`, `lowercase` or `uppercase`.
        action: Action = Key::new("action", "ACTION").default("replace").reload();
    }
}
