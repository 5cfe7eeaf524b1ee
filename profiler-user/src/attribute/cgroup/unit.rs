//! Names of systemd's units: which are some, whose they are, and which part of one stays the same.
//!
//! ```text
//!   getty@tty1.service                     prefix getty, instance tty1
//!   app-gnome-firefox-4711.scope           app-gnome-firefox.scope: the number is another at each start
//!   session-3.scope, run-r9f….service      nothing in them stays
//! ```
//!
//! Pure. The rules of names are those of systemd.unit(5); the cgroup's own escape is a leading `_`.

/// Longest name of a unit (systemd.unit(5)).
const UNIT_NAME_BYTES_MAX: usize = 255;

/// Ends of the names of units that may hold processes of their own.
const WITH_PROCESSES: [&str; 5] = [".service", ".scope", ".mount", ".socket", ".swap"];

/// Services that run containers without being part of them.
const RUNTIMES: [&str; 9] = [
    "docker.service",
    "containerd.service",
    "crio.service",
    "podman.service",
    "kubelet.service",
    "k3s.service",
    "k3s-agent.service",
    "lxd.service",
    "garden.service",
];

/// systemd puts `_` before a name that would look like one of the kernel's files.
pub(super) fn unescaped(name: &str) -> &str {
    name.strip_prefix('_').unwrap_or(name)
}

/// Whether units with such a name have processes.
pub(super) fn has_processes(name: &str) -> bool {
    WITH_PROCESSES.iter().any(|end| name.len() > end.len() && name.ends_with(end))
}

/// Whether systemd would take the name.
pub(super) fn is_valid(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    name.len() <= UNIT_NAME_BYTES_MAX && name.bytes().all(is_allowed)
}

/// `user@1000.service` → 1000: the service that is a user's own systemd.
pub(super) fn user_of_manager(unit: &str) -> Option<u32> {
    unit.strip_prefix("user@")?.strip_suffix(".service")?.parse().ok()
}

/// `user-1000.slice` → 1000.
pub(super) fn user_of_slice(slice: &str) -> Option<u32> {
    slice.strip_prefix("user-")?.strip_suffix(".slice")?.parse().ok()
}

/// Whether a container in the unit's cgroup is the unit's work: not a runtime's, not a login's.
pub(super) fn may_own_a_container(unit: &str) -> bool {
    unit.ends_with(".service") && !RUNTIMES.contains(&unit) && user_of_manager(unit).is_none()
}

/// A template's unit → what stands before the `@`, and the instance with its escapes undone.
pub fn template(unit: &str) -> Option<(&str, String)> {
    let (name, _end) = unit.rsplit_once('.')?;
    let (prefix, instance) = name.split_once('@')?;
    (!prefix.is_empty() && !instance.is_empty()).then(|| (prefix, decoded(instance)))
}

/// Undoes `systemd-escape`: `-` was a slash, `\x2d` a dash. Escapes that are none stay.
pub(super) fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let escaped = || {
            let digits = behind.strip_prefix(b"x")?.get(..2)?;
            u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
        };
        match (byte, escaped()) {
            (b'\\', Some(decoded)) => {
                bytes.push(decoded);
                rest = behind.get(3..).unwrap_or_default();
            }
            (b'-', _) => {
                bytes.push(b'/');
                rest = behind;
            }
            _ => {
                bytes.push(byte);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The part of a unit's name that is the same at its next start, with its ending. `None` where there is none: logins and
/// transient units that nobody named. A label with the rest in it would make a new series at each start.
pub fn lasting(unit: &str) -> Option<String> {
    let (name, end) = unit.rsplit_once('.')?;
    if end == "scope" && name.strip_prefix("session-").is_some_and(is_login) {
        return None;
    }
    if let Some(rest) = name.strip_prefix("run-") {
        // `systemd-run` without --unit: run-u12, run-r0123456789abcdef, run-p123-i456.
        return (!rest.split('-').all(is_serial)).then(|| unit.to_owned());
    }
    let (above, last) = name.rsplit_once(['-', '@']).unwrap_or((name, ""));
    if name.starts_with("app-") && is_random(last) {
        return Some(format!("{above}.{end}"));
    }
    if end == "scope" {
        if let Some(named) = before_uuid(name) {
            return (named != "vte-spawn").then(|| format!("{named}.scope"));
        }
        if last.len() > 2 && last.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some(format!("{above}.scope"));
        }
    }
    Some(unit.to_owned())
}

/// `3`, `c2` (a greeter's), `12`.
fn is_login(text: &str) -> bool {
    let digits = text.strip_prefix('c').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// `u12`, `p123`, `i456`, `r` and 16 digits or more.
fn is_serial(text: &str) -> bool {
    let (kind, digits) = text.split_at_checked(1).unwrap_or_default();
    match kind {
        "r" => digits.len() >= 16 && is_hex(digits),
        "u" | "p" | "i" => !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()),
        _ => false,
    }
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What desktops put behind an application's id: a pid or some random digits.
fn is_random(text: &str) -> bool {
    is_hex(text) && text.bytes().any(|byte| byte.is_ascii_digit())
}

/// `snap.firefox.firefox-9f2c0f6e-1b3c-4d5e-8f90-123456789abc` → `snap.firefox.firefox`.
fn before_uuid(name: &str) -> Option<&str> {
    let (named, uuid) = name.split_at_checked(name.len().checked_sub(37)?)?;
    let parts: Vec<usize> =
        uuid.strip_prefix('-')?.split('-').filter(|part| is_hex(part)).map(str::len).collect();
    (parts == [8, 4, 4, 4, 12]).then_some(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_lose_their_escapes() {
        let instance = |unit| template(unit).map(|(prefix, instance)| format!("{prefix} {instance}"));
        assert_eq!(instance("getty@tty1.service").as_deref(), Some("getty tty1"));
        assert_eq!(instance(r"postgresql@15\x2dmain.service").as_deref(), Some("postgresql 15-main"));
        assert_eq!(instance("foo@var-lib-x.service").as_deref(), Some("foo var/lib/x"));
        assert_eq!(instance(r"foo@a\xzz\x2.service").as_deref(), Some(r"foo a\xzz\x2"));
        assert_eq!(instance(r"foo@\xff.service").as_deref(), Some("foo \u{fffd}"));
        for plain in ["nginx.service", "@x.service", "x@.service", "x", ""] {
            assert_eq!(template(plain), None, "{plain}");
        }
    }

    #[test]
    fn only_what_lasts_is_kept_of_a_name() {
        let cases = [
            ("nginx.service", Some("nginx.service")),
            ("postgresql@15-main.service", Some("postgresql@15-main.service")),
            ("init.scope", Some("init.scope")),
            ("session-3.scope", None),
            ("session-c2.scope", None),
            ("session-manager.scope", Some("session-manager.scope")),
            ("run-u12.service", None),
            ("run-r0b2c6c9b1f4f4f1c8a5a0e7a9d1c2b3e.scope", None),
            ("run-p1234-i5678.service", None),
            ("run-docker.mount", Some("run-docker.mount")),
            ("run-rpc_pipefs.mount", Some("run-rpc_pipefs.mount")),
            ("app-gnome-org.gnome.Terminal-4711.scope", Some("app-gnome-org.gnome.Terminal.scope")),
            ("app-firefox@9f2c0f6e1b3c4d5e.service", Some("app-firefox.service")),
            ("app-gnome-firefox.scope", Some("app-gnome-firefox.scope")),
            ("vte-spawn-9f2c0f6e-1b3c-4d5e-8f90-123456789abc.scope", None),
            (
                "snap.firefox.firefox-9f2c0f6e-1b3c-4d5e-8f90-123456789abc.scope",
                Some("snap.firefox.firefox.scope"),
            ),
            ("podman-123456.scope", Some("podman.scope")),
            ("tmux-spawn-9f2c0f6e-1b3c-4d5e-8f90-123456789abc.scope", Some("tmux-spawn.scope")),
            (r"machine-qemu\x2d1\x2dweb.scope", Some(r"machine-qemu\x2d1\x2dweb.scope")),
            ("nodot", None),
        ];
        for (unit, expected) in cases {
            assert_eq!(lasting(unit).as_deref(), expected, "{unit}");
        }
    }
}
