//! A stranger's name → text fit for a terminal and a table: cut to its column, and without the control
//! characters by which it could write over what others say.

/// Of a function's name; longer ones are cut in the middle of nowhere by every terminal anyway.
const NAME_CHARS: usize = 56;

/// The name as it may be shown.
pub(super) fn shortened(name: &str) -> String {
    let mut chars = name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
    let mut head: String = chars.by_ref().take(NAME_CHARS).collect();
    if chars.next().is_some() {
        head.pop();
        head.push('…');
    }
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_cut_and_cannot_move_the_cursor() {
        assert_eq!(shortened("\u{1b}[2Jls"), "\u{fffd}[2Jls");
        assert_eq!(shortened(&"ä".repeat(56)), "ä".repeat(56));
        assert_eq!(shortened(&"ä".repeat(57)), "ä".repeat(55) + "…");
    }
}
