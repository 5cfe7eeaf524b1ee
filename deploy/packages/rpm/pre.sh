# The user, before files that are its group's; rpm 4.19 and newer do it of themselves.
systemd-sysusers --replace=/usr/lib/sysusers.d/flamekeeper.conf - <<'LINES' >/dev/null || :
u flamekeeper - "Flamekeeper profiler"
LINES
