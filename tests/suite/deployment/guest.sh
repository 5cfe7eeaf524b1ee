# What every script in a guest begins with, in bash. Lines that matter begin with "VM:"; the last one is "VM: exit" and a code.
set -eu

journal() { journalctl --unit flamekeeper --output cat --no-pager; }
finish() {
    code=$?
    journal | sed 's/^/LOG: /'
    echo "VM: exit $code"
    systemctl poweroff --force --force
}
trap finish EXIT

# The body of an answer.
get() {
    exec 3<> /dev/tcp/127.0.0.1/4041
    printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$1" >&3
    sed '1,/^\r$/d' <&3
    exec 3>&-
}
# Waits until a command succeeds, for at most so many seconds. Each is far longer than a quiet machine takes.
until_true() {
    local limit=$1 waited=0
    shift
    until "$@"; do
        waited=$((waited + 1))
        if [ "$waited" -gt "$limit" ]; then
            echo "VM: never: $*"
            return 1
        fi
        sleep 1
    done
}
of_unit() { systemctl show --property "$1" --value flamekeeper; }
same() { [ "$(of_unit MainPID)" = "$pid" ] && echo same; }
# Value of a metric, without a fraction.
metric() { get /metrics 2> /dev/null | sed -n "s/^flamekeeper_$1 \([0-9]*\).*/\1/p"; }
metric_is() { [ "$(metric "$1")" = "$2" ]; }
windows() { find /var/lib/flamekeeper -name '*.window' | wc -l; }
has_windows() { [ "$(windows)" -ge "$1" ]; }
has_restarted() { [ "$(of_unit NRestarts)" -ge 1 ] && [ "$(systemctl is-active flamekeeper)" = active ]; }
target() { get /targets.json 2> /dev/null | grep -o "{\"pid\":$1,[^}]*"; }
has_samples() { [ "$(target "$1" | sed -n 's/.*"samples":\([0-9]*\).*/\1/p')" -ge "$2" ] 2> /dev/null; }
