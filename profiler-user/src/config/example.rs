//! The table of keys → a configuration file to start from: every key with its default and what it is for, all as comments.
//!
//! ```text
//!   # Samples per second on each CPU. From 1 to 999.     description: "# "
//!   #rate = 19                                           key: "#"
//! ```
//!
//! `deploy/config.example.toml` is this text; a test compares them.

use super::DaemonConfig;
use super::key::{Key, paragraphs};

const WIDTH: usize = 100;

const HEAD: &str = "\
# Flamekeeper's configuration: flamekeeper daemon --config FILE

# Everything here is optional and shown with its default; lines to be changed begin with `#` alone. Each key is also an
# option and a variable: spool.max_bytes is --spool-max-bytes and FLAMEKEEPER_SPOOL_MAX_BYTES; those of [sampling] have no
# prefix, rate is --rate and FLAMEKEEPER_RATE. An option wins over a variable, a variable over this file.
#
# A changed file is read again within ten seconds, or at once after SIGHUP. Keys marked [restart] need a restart.
# `flamekeeper daemon --check-config --config FILE` tells what is wrong, and what is in force.
";

/// The text of `deploy/config.example.toml`.
pub fn example() -> String {
    let mut text = String::from(HEAD);
    for section in DaemonConfig::sections() {
        text.push_str(&format!("\n\n# --- {}\n#\n", section.title));
        text.push_str(&comment(&paragraphs(section.about)));
        if let Some(table) = section.table() {
            text.push_str(&format!("[{table}]\n"));
        }
        for key in section.keys {
            text.push('\n');
            if key.elements.is_empty() {
                entry(&mut text, key, key.name());
            } else {
                elements(&mut text, key);
            }
        }
    }
    text
}

/// A list of tables, of which one is shown.
fn elements(text: &mut String, key: &Key) {
    text.push_str(&comment(&paragraphs(key.docs)));
    text.push_str(&format!("#[[{}]]\n", key.path));
    for element in key.elements {
        text.push('\n');
        entry(text, element, element.path);
    }
}

/// A key with its default or, where that shows nothing, an example.
fn entry(text: &mut String, key: &Key, name: &str) {
    text.push_str(&comment(&paragraphs(key.docs)));
    if !key.notes().is_empty() {
        text.push_str(&comment(&[key.notes()]));
    }
    let default = key.default_value().filter(|_| key.example.is_empty());
    let value = default.map_or_else(|| key.example.to_owned(), |value| value.to_string());
    text.push_str(&format!("#{name} = {value}\n"));
}

/// Paragraphs as comments, broken between words.
fn comment(paragraphs: &[String]) -> String {
    let mut text = String::new();
    for paragraph in paragraphs {
        let mut line = String::from("#");
        for word in paragraph.split_whitespace() {
            if line.chars().count() + 1 + word.chars().count() > WIDTH {
                text.push_str(&line);
                text.push('\n');
                line = String::from("#");
            }
            line.push(' ');
            line.push_str(word);
        }
        text.push_str(&line);
        text.push('\n');
    }
    text
}
